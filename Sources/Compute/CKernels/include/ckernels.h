// Kernels in C: one fused operator family per header. Only Operators includes them.
#ifndef CKERNELS_H
#define CKERNELS_H

#include "ck_job.h"
#include "ck_variant.h"
#include "ck_blas.h"
#include "ck_epilogue.h"
#include "ck_head.h"
#include "ck_matmul.h"
#include "ck_pack.h"
#include "ck_attention.h"
#include "ck_probe.h"
#include "ck_rows.h"

#endif
