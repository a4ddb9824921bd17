#pragma STDC FP_CONTRACT OFF
#if defined(__x86_64__)
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), \
    apply_to = function)
#define CK_NAME(family) ck_##family##_avx2
#include "ck_pack.inc"
#include "ck_plain.inc"
#pragma clang attribute pop
#endif
