#pragma STDC FP_CONTRACT OFF
#if defined(__x86_64__)
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#define CK_TARGET "avx2,fma,f16c"
#pragma clang attribute push(__attribute__((target(CK_TARGET))), apply_to = function)
#define CK_NAME(operator) ck_##operator##_avx2
#include "ck_rows.inc"
#pragma clang attribute pop
#endif
