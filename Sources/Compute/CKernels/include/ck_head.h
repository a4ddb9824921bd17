// What follows logits: losses and the logits' gradient, or a token drawn for each row.
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

// How a row's token is chosen.
typedef struct {
    float scale;     // of logits: 1 / temperature; infinity takes the likeliest
    double top_p;    // share of the total weight that the likeliest ids kept must reach; 1: all ids
    double uniform;  // the draw, 0 ..< 1
} ck_draw;

typedef struct {
    const float *_Nonnull logits;  // [row_count, row_stride]
    size_t row_count, row_stride;
    size_t id_count;                // ids that may be drawn: the first of a row
    const ck_draw *_Nonnull draws;  // [row_count]
    float *_Nonnull weights;        // [members, row_stride], scratch
    uint64_t *_Nonnull heap;        // [members, row_stride], scratch
    uint32_t *_Nonnull tokens;      // [row_count], overwritten
} ck_draw_args;

typedef struct {
    ck_job _Nonnull cross_entropy;  // over ck_head_args; members take rows
    ck_job _Nonnull draw;           // over ck_draw_args; members take rows
} ck_head_kernels;

// The kernels of a variant, or NULL if this architecture has none of that name. All give the same
// bits.
const ck_head_kernels *_Nullable ck_head_named(const char *_Nonnull variant);

#endif
