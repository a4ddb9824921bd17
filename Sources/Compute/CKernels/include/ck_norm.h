// RMSNorm (Zhang & Sennrich 2019, eq. 4) over the rows of x [row_count, width].
#ifndef CK_NORM_H
#define CK_NORM_H

#include "ck_job.h"

#include <stddef.h>
#include <stdint.h>

// The gain's gradient is summed over blocks of this many rows, then over blocks in a tree.
enum { CK_NORM_BLOCK_ROWS = 64 };

typedef struct {
    const float *_Nonnull x;     // [row_count, width]
    const float *_Nonnull gain;  // [width]
    float epsilon;
    void *_Nonnull output;         // [row_count, width], bf16 or f32; overwritten
    float *_Nonnull inverse_rms;   // [row_count]; overwritten, read by the backward pass
    size_t row_count, width;
    int32_t output_is_f32;
} ck_norm_forward_args;

typedef struct {
    const float *_Nonnull x;            // [row_count, width]
    const float *_Nonnull gain;         // [width]
    const float *_Nonnull inverse_rms;  // [row_count]
    const float *_Nonnull d_output;     // [row_count, width]
    float *_Nonnull d_residual;         // [row_count, width]; d_x is added
    float *_Nonnull block_gains;        // [blocks, width]; overwritten
    float *_Nonnull d_gain;             // [width]; added to by norm_reduce_gain
    size_t row_count, width;
} ck_norm_backward_args;

typedef struct {
    // Members take rows.
    ck_job _Nonnull forward;  // ck_norm_forward_args
    // Members take whole blocks; fills block_gains.
    ck_job _Nonnull backward;  // ck_norm_backward_args
    // Members take columns; runs after every member has finished backward.
    ck_job _Nonnull reduce_gain;  // ck_norm_backward_args
} ck_norm_kernels;

#endif
