#pragma STDC FP_CONTRACT OFF
#if defined(__x86_64__)
#include <immintrin.h>

#define CK_HAS_BF16 1
#include "ck_attention_variants.h"

#define CK_TARGET "avx512f,avx512bw,avx512dq,avx512vl,fma,avx512bf16"
#pragma clang attribute push(__attribute__((target(CK_TARGET))), apply_to = function)
#include "ck_attention.inc"
#pragma clang attribute pop

const ck_attention_kernels ck_attention_avx512bf16 = {
    "avx512bf16", forward, backward, decode, soften_rows, soften_rows_backward};
#endif
