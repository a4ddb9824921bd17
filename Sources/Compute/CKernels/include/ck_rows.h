// The operators over rows and elements, all of one instruction set.
#ifndef CK_ROWS_H
#define CK_ROWS_H

#include "ck_adamw.h"
#include "ck_elementwise.h"
#include "ck_embedding.h"
#include "ck_low_rank.h"
#include "ck_memory.h"
#include "ck_norm.h"

typedef struct {
    ck_norm_kernels norm;
    ck_elementwise_kernels elementwise;
    ck_embedding_kernels embedding;
    ck_adamw_kernels adamw;
    ck_low_rank_kernels low_rank;
    ck_memory_kernels memory;
} ck_rows_kernels;

// The kernels of a variant (scalar, avx2, avx512, avx512bf16, neon), or NULL if this machine's
// architecture has no such variant. Whether the processor runs it is for the caller to know.
// All variants give the same bits; avx512bf16 is avx512 here.
const ck_rows_kernels *_Nullable ck_rows_named(const char *_Nonnull variant);

#endif
