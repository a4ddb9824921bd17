// What the machine's memory allows: the reads and writes of operators, with next to no arithmetic.
#ifndef CK_MEMORY_H
#define CK_MEMORY_H

#include "ck_job.h"

#include <stddef.h>
#include <stdint.h>

typedef struct {
    float *_Nonnull grown[3];        // [count] each; read, the gradient added, written
    const float *_Nonnull gradient;  // [count]
    float *_Nonnull packed;          // [count]; overwritten: as many bytes as two forms of bf16
    size_t count;
} ck_memory_update_args;

typedef struct {
    const float *_Nonnull x;    // [count]
    size_t count;
    float *_Nonnull sums;       // [16 x members]; overwritten: what a member has read, added up
} ck_memory_read_args;

typedef struct {
    ck_job _Nonnull update;  // ck_memory_update_args: what AdamW and packing touch
    ck_job _Nonnull read;    // ck_memory_read_args
} ck_memory_kernels;

#endif
