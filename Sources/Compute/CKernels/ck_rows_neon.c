#pragma STDC FP_CONTRACT OFF
#if defined(__aarch64__)
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#define CK_TARGET "neon"
#pragma clang attribute push(__attribute__((target(CK_TARGET))), apply_to = function)
#define CK_NAME(operator) ck_##operator##_neon
#include "ck_rows.inc"
#pragma clang attribute pop
#endif
