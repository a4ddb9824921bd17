#pragma STDC FP_CONTRACT OFF
#define CK_NAME(operator) ck_##operator##_scalar
#include "ck_rows.inc"
