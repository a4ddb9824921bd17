// Operators that treat every element alike, and the sum of squares.
#ifndef CK_ELEMENTWISE_H
#define CK_ELEMENTWISE_H

#include "ck_dropout.h"
#include "ck_job.h"

#include <stddef.h>
#include <stdint.h>

// The sum of squares is taken over blocks of this many elements (DESIGN: fixed blocks).
enum { CK_SQUARES_BLOCK = 65536 };

typedef struct {
    const float *_Nonnull x;  // [count]
    float *_Nonnull y;        // [count]; x is added
    size_t count;
} ck_add_args;

typedef struct {
    const float *_Nonnull x;            // [count]
    void *_Nonnull output;              // [count], bf16 or f32; overwritten
    ck_dropout dropout;  // of element 0 of x
    size_t count;
    int32_t output_is_f32;
} ck_round_args;

typedef struct {
    const float *_Nonnull x;      // [count]
    double *_Nonnull block_sums;  // [blocks]; overwritten
    size_t count;
} ck_squares_args;

typedef struct {
    ck_job _Nonnull add;  // ck_add_args
    ck_job _Nonnull round;  // ck_round_args
    // Members take whole blocks.
    ck_job _Nonnull squares;  // ck_squares_args
} ck_elementwise_kernels;

#endif
