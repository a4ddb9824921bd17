#pragma STDC FP_CONTRACT OFF
#include "ck_attention_variants.h"

#include "ck_attention.inc"

const ck_attention_kernels ck_attention_scalar = {
    "scalar", forward, backward, decode, soften_rows, soften_rows_backward};
