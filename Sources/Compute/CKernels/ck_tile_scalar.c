#pragma STDC FP_CONTRACT OFF
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#define CK_VARIANT "scalar"
#define CK_PASS_VECTORS 1
#define CK_NAME(family) ck_##family##_scalar
#include "ck_tile.inc"
