// The builds of ck_attention.inc. Each defines one of these.
#ifndef CK_ATTENTION_VARIANTS_H
#define CK_ATTENTION_VARIANTS_H

#include <math.h>

#include "include/ck_attention.h"

extern const ck_attention_kernels ck_attention_scalar, ck_attention_avx2, ck_attention_avx512,
    ck_attention_avx512bf16, ck_attention_neon;

#endif
