#pragma STDC FP_CONTRACT OFF
#if defined(__aarch64__)
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#define CK_NAME(family) ck_##family##_neon
#include "ck_pack.inc"
#include "ck_plain.inc"
#endif
