#pragma STDC FP_CONTRACT OFF
#include "ck_pack.h"

#include <string.h>

extern const ck_pack_kernels ck_pack_scalar;
#if defined(__x86_64__)
extern const ck_pack_kernels ck_pack_avx2, ck_pack_avx512;
#elif defined(__aarch64__)
extern const ck_pack_kernels ck_pack_neon;
#endif

const ck_pack_kernels *ck_pack_named(const char *variant) {
    static const struct {
        const char *name;
        const ck_pack_kernels *kernels;
    } known[] = {
#if defined(__x86_64__)
        {"avx512bf16", &ck_pack_avx512},
        {"avx512", &ck_pack_avx512},
        {"avx2", &ck_pack_avx2},
#elif defined(__aarch64__)
        {"neon", &ck_pack_neon},
#endif
        {"scalar", &ck_pack_scalar},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(known[i].name, variant) == 0) return known[i].kernels;
    return NULL;
}
