// Rows of a table by token, and the sum of gradients by row.
#ifndef CK_EMBEDDING_H
#define CK_EMBEDDING_H

#include "ck_dropout.h"

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const uint32_t *_Nonnull ids;         // [token_count], each below the table's rows
    const float *_Nonnull table;          // [rows, width]
    float *_Nonnull output;               // [token_count, width]; overwritten
    const ck_dropout *_Nullable dropout;  // of element 0 of the output
    size_t token_count, width;
} ck_embedding_forward_args;

typedef struct {
    const ptrdiff_t *_Nonnull rows;       // [token_count]: the gradient row of each token
    const float *_Nonnull d_output;       // [token_count, width]
    float *_Nonnull d_table;              // [rows, width]; added to, in token order
    const ck_dropout *_Nullable dropout;  // the forward pass's
    size_t token_count, width;
} ck_embedding_backward_args;

typedef struct {
    // Members take tokens.
    void (*_Nonnull forward)(const ck_embedding_forward_args *_Nonnull, int32_t member,
                             int32_t member_count);
    // Members take columns, so that each element is summed by one member in token order.
    void (*_Nonnull backward)(const ck_embedding_backward_args *_Nonnull, int32_t member,
                              int32_t member_count);
} ck_embedding_kernels;

#endif
