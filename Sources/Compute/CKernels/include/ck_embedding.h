// Rows of a table by token, and the sum of gradients by row.
#ifndef CK_EMBEDDING_H
#define CK_EMBEDDING_H

#include "ck_dropout.h"
#include "ck_job.h"

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const uint32_t *_Nonnull ids;         // [token_count], each below the table's rows
    const float *_Nonnull table;          // [rows, width]
    float *_Nonnull output;               // [token_count, width]; overwritten
    ck_dropout dropout;  // of element 0 of the output
    size_t token_count, width;
} ck_embedding_forward_args;

typedef struct {
    const ptrdiff_t *_Nonnull rows;       // [token_count]: the gradient row of each token
    const float *_Nonnull d_output;       // [token_count, width]
    float *_Nonnull d_table;              // [rows, width]; added to, in token order
    ck_dropout dropout;  // the forward pass's
    size_t token_count, width;
} ck_embedding_backward_args;

typedef struct {
    // Members take tokens.
    ck_job _Nonnull forward;  // ck_embedding_forward_args
    // Members take columns, so that each element is summed by one member in token order.
    ck_job _Nonnull backward;  // ck_embedding_backward_args
} ck_embedding_kernels;

#endif
