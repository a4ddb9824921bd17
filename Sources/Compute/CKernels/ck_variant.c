#pragma STDC FP_CONTRACT OFF
#include "ck_variant.h"

#if defined(__x86_64__)
static int has_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("f16c");
}

static int has_avx512(void) {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

static int has_avx512bf16(void) { return has_avx512() && __builtin_cpu_supports("avx512bf16"); }
#endif

static int always(void) { return 1; }

const char *ck_variant_name(size_t index) {
    static const struct {
        const char *name;
        int (*is_supported)(void);
    } known[] = {
#if defined(__x86_64__)
        {"avx512bf16", has_avx512bf16},
        {"avx512", has_avx512},
        {"avx2", has_avx2},
#elif defined(__aarch64__)
        {"neon", always},
#endif
        {"scalar", always},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (known[i].is_supported() && index-- == 0) return known[i].name;
    return NULL;
}
