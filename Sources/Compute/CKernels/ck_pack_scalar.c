#pragma STDC FP_CONTRACT OFF
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#define CK_NAME(family) ck_##family##_scalar
#include "ck_pack.inc"
#include "ck_plain.inc"
