// The tables of products by variant name. A new instruction set adds one line to each list.
#pragma STDC FP_CONTRACT OFF
#include "ck_epilogue.h"
#include "ck_head.h"
#include "ck_matmul.h"
#include "ck_pack.h"

#include <string.h>

// Defines ck_<family>_named. Only tiles have code of their own for avx512bf16; the other families
// serve it with avx512.
#if defined(__x86_64__)
#define DECLARE(family) extern const ck_##family##_kernels ck_##family##_avx2, ck_##family##_avx512;
#define ENTRIES(family, best) \
    {"avx512bf16", &best}, {"avx512", &ck_##family##_avx512}, {"avx2", &ck_##family##_avx2},
#elif defined(__aarch64__)
#define DECLARE(family) extern const ck_##family##_kernels ck_##family##_neon;
#define ENTRIES(family, best) {"neon", &ck_##family##_neon},
#else
#define DECLARE(family)
#define ENTRIES(family, best)
#endif

#define NAMED(family, best)                                                            \
    extern const ck_##family##_kernels ck_##family##_scalar;                           \
    DECLARE(family)                                                                    \
    const ck_##family##_kernels *ck_##family##_named(const char *variant) {            \
        static const struct {                                                          \
            const char *name;                                                          \
            const ck_##family##_kernels *kernels;                                      \
        } known[] = {ENTRIES(family, best){"scalar", &ck_##family##_scalar}};          \
        for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)                    \
            if (strcmp(known[i].name, variant) == 0) return known[i].kernels;          \
        return NULL;                                                                   \
    }

extern const ck_tile_kernels ck_tile_avx512bf16;
NAMED(tile, ck_tile_avx512bf16)
NAMED(store, ck_store_avx512)
NAMED(pack, ck_pack_avx512)
NAMED(plain, ck_plain_avx512)
NAMED(widened, ck_widened_avx512)
NAMED(head, ck_head_avx512)
