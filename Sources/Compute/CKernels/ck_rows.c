#pragma STDC FP_CONTRACT OFF
#include "ck_rows.h"

#include "ck_epilogue.h"

#include <string.h>

extern const ck_rows_kernels ck_rows_scalar;
extern const ck_fused_kernels ck_fused_scalar;
#if defined(__x86_64__)
extern const ck_rows_kernels ck_rows_avx2, ck_rows_avx512;
extern const ck_fused_kernels ck_fused_avx2, ck_fused_avx512;
#elif defined(__aarch64__)
extern const ck_rows_kernels ck_rows_neon;
extern const ck_fused_kernels ck_fused_neon;
#endif

typedef struct {
    const char *name;
    const ck_rows_kernels *rows;
    const ck_fused_kernels *fused;
} ck_named;

static const ck_named *ck_find(const char *variant) {
    static const ck_named known[] = {
#if defined(__x86_64__)
        {"avx512bf16", &ck_rows_avx512, &ck_fused_avx512},
        {"avx512", &ck_rows_avx512, &ck_fused_avx512},
        {"avx2", &ck_rows_avx2, &ck_fused_avx2},
#elif defined(__aarch64__)
        {"neon", &ck_rows_neon, &ck_fused_neon},
#endif
        {"scalar", &ck_rows_scalar, &ck_fused_scalar},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(known[i].name, variant) == 0) return &known[i];
    return NULL;
}

const ck_rows_kernels *ck_rows_named(const char *variant) {
    const ck_named *found = ck_find(variant);
    return found ? found->rows : NULL;
}

const ck_fused_kernels *ck_fused_named(const char *variant) {
    const ck_named *found = ck_find(variant);
    return found ? found->fused : NULL;
}
