// Kernels in C: one fused operator family per header. Only Operators includes them.
#ifndef CKERNELS_H
#define CKERNELS_H

#include "ck_rows.h"

#endif
