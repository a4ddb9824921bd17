#pragma STDC FP_CONTRACT OFF
#include "ck_matmul.h"

#include <string.h>

extern const ck_tile_kernels ck_tile_scalar;
#if defined(__x86_64__)
extern const ck_tile_kernels ck_tile_avx2, ck_tile_avx512, ck_tile_avx512bf16;
#elif defined(__aarch64__)
extern const ck_tile_kernels ck_tile_neon;
#endif

const ck_tile_kernels *ck_tile_named(const char *variant) {
    static const struct {
        const char *name;
        const ck_tile_kernels *kernels;
    } known[] = {
#if defined(__x86_64__)
        {"avx512bf16", &ck_tile_avx512bf16},
        {"avx512", &ck_tile_avx512},
        {"avx2", &ck_tile_avx2},
#elif defined(__aarch64__)
        {"neon", &ck_tile_neon},
#endif
        {"scalar", &ck_tile_scalar},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(known[i].name, variant) == 0) return known[i].kernels;
    return NULL;
}
