// Operators that treat every element alike, and the sum of squares.
#ifndef CK_ELEMENTWISE_H
#define CK_ELEMENTWISE_H

#include "ck_dropout.h"

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
    const ck_dropout *_Nullable dropout;  // of element 0 of x
    size_t count;
    int32_t output_is_f32;
} ck_round_args;

typedef struct {
    const float *_Nonnull x;      // [count]
    double *_Nonnull block_sums;  // [blocks]; overwritten
    size_t count;
} ck_squares_args;

typedef struct {
    void (*_Nonnull add)(const ck_add_args *_Nonnull, int32_t member, int32_t member_count);
    void (*_Nonnull round)(const ck_round_args *_Nonnull, int32_t member, int32_t member_count);
    // Members take whole blocks.
    void (*_Nonnull squares)(const ck_squares_args *_Nonnull, int32_t member,
                             int32_t member_count);
} ck_elementwise_kernels;

#endif
