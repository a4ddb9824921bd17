// A matrix and the product of two narrow ones, as an adapter changes its matrix.
#ifndef CK_LOW_RANK_H
#define CK_LOW_RANK_H

#include "ck_job.h"

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const float *_Nonnull base;   // [rows, columns]
    const float *_Nonnull left;   // B, [rows, rank]
    const float *_Nonnull right;  // A, [rank, columns]
    float *_Nonnull output;       // [rows, columns]; overwritten
    size_t row_count, column_count, rank;
    float scale;
} ck_low_rank_args;

typedef struct {
    // output = base + scale (left right): FMAs over the rank ascending from 0, then one with the
    // scale. Members take rows.
    ck_job _Nonnull add;  // ck_low_rank_args
} ck_low_rank_kernels;

#endif
