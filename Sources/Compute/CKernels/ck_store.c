#pragma STDC FP_CONTRACT OFF
#include "ck_epilogue.h"

#include <string.h>

extern const ck_store_kernels ck_store_scalar;
#if defined(__x86_64__)
extern const ck_store_kernels ck_store_avx2, ck_store_avx512;
#elif defined(__aarch64__)
extern const ck_store_kernels ck_store_neon;
#endif

const ck_store_kernels *ck_store_named(const char *variant) {
    static const struct {
        const char *name;
        const ck_store_kernels *kernels;
    } known[] = {
#if defined(__x86_64__)
        {"avx512bf16", &ck_store_avx512},
        {"avx512", &ck_store_avx512},
        {"avx2", &ck_store_avx2},
#elif defined(__aarch64__)
        {"neon", &ck_store_neon},
#endif
        {"scalar", &ck_store_scalar},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(known[i].name, variant) == 0) return known[i].kernels;
    return NULL;
}
