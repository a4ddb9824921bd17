#pragma STDC FP_CONTRACT OFF
#if defined(__x86_64__)
#include "ck_attention_variants.h"

#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma"))), apply_to = function)
#include "ck_attention.inc"
#pragma clang attribute pop

const ck_attention_kernels ck_attention_avx512 = {"avx512", forward, backward, decode};
#endif
