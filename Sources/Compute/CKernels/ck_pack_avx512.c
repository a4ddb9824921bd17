#pragma STDC FP_CONTRACT OFF
#if defined(__x86_64__)
#define CK_AVX512
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma"))), \
    apply_to = function)
#define CK_NAME(family) ck_##family##_avx512
#include "ck_pack.inc"
#include "ck_plain.inc"
#pragma clang attribute pop
#endif
