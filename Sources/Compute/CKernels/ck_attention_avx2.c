#pragma STDC FP_CONTRACT OFF
#if defined(__x86_64__)
#include "ck_attention_variants.h"

#define CK_TARGET "avx2,fma,f16c"
#pragma clang attribute push(__attribute__((target(CK_TARGET))), apply_to = function)
#include "ck_attention.inc"
#pragma clang attribute pop

const ck_attention_kernels ck_attention_avx2 = {
    "avx2", forward, backward, decode, soften_rows, soften_rows_backward};
#endif
