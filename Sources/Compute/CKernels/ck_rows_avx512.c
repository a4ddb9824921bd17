#pragma STDC FP_CONTRACT OFF
#if defined(__x86_64__)
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <immintrin.h>
#define CK_AVX512
#define CK_TARGET "avx512f,avx512bw,avx512dq,avx512vl,fma"
#pragma clang attribute push(__attribute__((target(CK_TARGET))), apply_to = function)
#define CK_NAME(operator) ck_##operator##_avx512
#include "ck_rows.inc"
#pragma clang attribute pop
#endif
