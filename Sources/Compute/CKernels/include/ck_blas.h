// Products by a CBLAS of the system: the same arguments and epilogues, other tiles.
//
// Y is cut into panels of 128 rows x 256 columns, k into blocks of 1024. A panel is one call per
// block, on the thread that owns the panel, so the library never sees more than a panel and its
// threads, if it has any, have no part. Rows of A are copied (and widened) into scratch memory, the
// ones that a panel lacks as zeros: rows and row stride of every call are the same, whatever M, so
// the bits of a row do not depend on the rows beside it. Columns and k depend on the weights' shape
// only.
#ifndef CK_BLAS_H
#define CK_BLAS_H

#include <stddef.h>
#include <stdint.h>

#include "ck_matmul.h"

enum { CK_BLAS_ROWS = 128, CK_BLAS_COLUMNS = 256, CK_BLAS_DEPTH = 1024 };

// cblas_sgemm and cblas_sbgemm of a library whose integers have 32 bits.
typedef void (*ck_sgemm)(int32_t order, int32_t a_is_transposed, int32_t b_is_transposed,
                         int32_t m, int32_t n, int32_t k, float alpha, const float *_Nonnull a,
                         int32_t a_stride, const float *_Nonnull b, int32_t b_stride, float beta,
                         float *_Nonnull c, int32_t c_stride);
typedef void (*ck_sbgemm)(int32_t order, int32_t a_is_transposed, int32_t b_is_transposed,
                          int32_t m, int32_t n, int32_t k, float alpha,
                          const uint16_t *_Nonnull a, int32_t a_stride,
                          const uint16_t *_Nonnull b, int32_t b_stride, float beta,
                          float *_Nonnull c, int32_t c_stride);

// What one member computes in: the sums of a panel, then the rows of A of one block.
enum {
    CK_BLAS_SUMS = CK_BLAS_ROWS * CK_BLAS_COLUMNS,
    CK_BLAS_SCRATCH_FLOATS = CK_BLAS_SUMS + CK_BLAS_ROWS * CK_BLAS_DEPTH
};

typedef struct {
    // tile and sums are not used. a is row-major rows of the operand type, or plain with k as its
    // rows (a_is_packed). b is plain. Plain operands are widened unless sbgemm is there.
    ck_matmul_args product;
    ck_sgemm _Nonnull sgemm;
    ck_sbgemm _Nullable sbgemm;  // nil, or takes bf16 operands in the place of sgemm
    int32_t b_is_transposed;     // b is [N][K], else [K][N]
    size_t b_stride;             // elements from row to row of b
    float *_Nonnull scratch;     // CK_BLAS_SCRATCH_FLOATS for each member, on cache lines
} ck_blas_args;

// A ck_job over ck_blas_args: the member's panels. Members split the grid of panels, never k.
void ck_blas_matmul(const void *_Nonnull args, int32_t member, int32_t member_count);

#endif
