#pragma STDC FP_CONTRACT OFF
#if defined(__x86_64__)
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), \
    apply_to = function)
#define CK_VARIANT "avx2"
#define CK_PASS_VECTORS 1
#define CK_NAME(family) ck_##family##_avx2
#include "ck_tile.inc"
#pragma clang attribute pop
#endif
