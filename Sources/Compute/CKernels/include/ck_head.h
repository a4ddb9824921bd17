// Cross-entropy over the rows of a chunk of logits: losses, and the logits' gradient.
#ifndef CK_HEAD_H
#define CK_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ck_job.h"

// A row's exponentials are summed in blocks of this many columns (sixteen f32 lanes in a block, a
// tree of f64 over blocks); see docs/numerics.md.
enum { CK_HEAD_BLOCK = 1024 };

typedef struct {
    float *_Nonnull logits;  // [row_count, row_stride]; overwritten by exp(logit - maximum)
    size_t row_count, column_count;  // tokens, V
    size_t row_stride;               // elements of a row of logits; V rounded up to 64
    const uint32_t *_Nonnull targets;  // [row_count], each below V where is_target
    // [row_count]; other rows have loss 0 and gradient 0. NULL: every row has a target.
    const bool *_Nullable is_target;
    double *_Nonnull losses;           // [row_count], nats; overwritten
    const float *_Nullable weights;    // [row_count], of the gradients, not the losses; NULL: 1
    // 1: each row of logits is overwritten by its gradient, (softmax - one-hot) * weight in the
    // operand type, from the row's start; columns past V up to the stride are zero.
    int32_t is_gradient_wanted;
    int32_t is_f32;  // the operand type
} ck_head_args;

typedef struct {
    ck_job _Nonnull cross_entropy;  // over ck_head_args; members take rows
} ck_head_kernels;

// The kernels of a variant, or NULL if this architecture has none of that name. All give the same
// bits.
const ck_head_kernels *_Nullable ck_head_named(const char *_Nonnull variant);

#endif
