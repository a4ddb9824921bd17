// AdamW (Loshchilov & Hutter 2019, algorithm 2) over flat ranges, in one pass over memory.
#ifndef CK_ADAMW_H
#define CK_ADAMW_H

#include "ck_job.h"

#include <stddef.h>
#include <stdint.h>

typedef struct {
    float *_Nonnull master;         // [count]; updated
    float *_Nonnull first_moment;   // [count]; updated
    float *_Nonnull second_moment;  // [count]; updated
    const float *_Nonnull gradient;  // [count]
    size_t count;
    float scale;         // multiplies the gradient: 1 / tokens, clip included
    float beta1, beta2;
    float gain1, gain2;  // 1 - beta1, 1 - beta2
    float step;          // learning rate / (1 - beta1^t)
    float root_scale;    // 1 / sqrt(1 - beta2^t)
    float epsilon;
    float keep;          // 1 - learning rate * weight decay
} ck_adamw_args;

typedef struct {
    // Members take ranges.
    ck_job _Nonnull update;  // ck_adamw_args
    // The calling thread updates elements begin..<end, so that it can pack them while they are
    // in its cache. Same bits as update, whatever the ranges.
    void (*_Nonnull update_range)(const ck_adamw_args *_Nonnull, size_t begin, size_t end);
} ck_adamw_kernels;

#endif
