#pragma STDC FP_CONTRACT OFF
#if defined(__aarch64__)
#include "ck_attention_variants.h"

#include "ck_attention.inc"

const ck_attention_kernels ck_attention_neon = {
    "neon", forward, backward, decode, soften_rows, soften_rows_backward};
#endif
