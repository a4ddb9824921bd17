// Products: the tile that all of them are made of, and the driver that walks a matrix with it.
//
// A "unit" is the 4 bytes of an operand that one step over k consumes: a pair (k, k + 1) of bf16,
// or one f32. A panel is 64 columns of B, unit after unit: [unit][64] (see ck_pack.h).
//
// One element, one order: c is summed over k ascending in one f32 accumulator (avx512bf16: by
// vdpbf16ps over pairs; all other variants: one FMA per k), whatever rows are computed beside it.
#ifndef CK_MATMUL_H
#define CK_MATMUL_H

#include <stddef.h>
#include <stdint.h>

#include "ck_epilogue.h"

// What a tile does with what c held before.
enum {
    CK_OVERWRITE = 0,
    CK_ACCUMULATE = 1,  // c += product, the product summed from 0 first
    CK_CONTINUE = 2,    // the sum goes on from c: k in several calls gives the bits of one call
};

// Memory that a tile asks for while it computes: what lies at start + unit * step (bytes), one
// prefetch for each unit. It need not exist.
typedef struct {
    const void *_Nullable start;
    size_t step;
} ck_ahead;

// Computes row_count (1...6) rows x 64 columns of c from unit_count units. Unit p of row i of A
// lies at a + i * a_row_stride + p * a_unit_stride (bytes, any alignment): row-major activations
// have a unit stride of 4 and their row stride; a row inside a packed panel has a unit stride of
// 256 and a row stride of 4. b is a panel. 64 columns of each row of c are written, whatever its
// alignment.
typedef void (*ck_tile)(size_t unit_count, const void *_Nonnull a, size_t a_row_stride,
                        size_t a_unit_stride, const void *_Nonnull b, float *_Nonnull c,
                        size_t c_row_stride_elements, size_t row_count, int mode,
                        const ck_ahead *_Nonnull ahead);

typedef struct {
    const char *_Nonnull name;
    ck_tile _Nonnull bf16;
    ck_tile _Nonnull f32;
    // Where bf16 is multiplied as f32: count values of a row, followed by zeros up to a multiple of
    // 16; and units of a panel, [unit][64] pairs to [k][64]. NULL where the processor multiplies
    // bf16 itself. f32 of the result has the bits of bf16 of the operands.
    void (*_Nullable widen_row)(size_t count, const void *_Nonnull from, float *_Nonnull to);
    void (*_Nullable widen_panel)(size_t unit_count, const void *_Nonnull from,
                                  float *_Nonnull to);
} ck_tile_kernels;

// The tiles of a variant, or NULL if this architecture has none of that name.
const ck_tile_kernels *_Nullable ck_tile_named(const char *_Nonnull variant);

// Y [row_count, column_count] = A B, tile by tile through an epilogue.
typedef struct {
    ck_tile_kernels tiles;
    ck_epilogue _Nonnull epilogue;
    ck_epilogue_args epilogue_args;
    const void *_Nonnull a;      // row-major rows, or packed panels whose columns are the rows of A
    const void *_Nonnull b;      // panels of k_count
    size_t row_count, column_count, k_count;  // M, N, K in elements
    size_t a_row_stride;         // bytes; row-major only (ck_blas.h: packed too)
    int32_t a_is_packed;
    int32_t is_f32;
    // Where sums wait between blocks of k, [panels of 64 columns][M rounded up to 6][64]; NULL sums
    // each tile over all of k at once. For a K whose panel leaves the second-level cache; row-major
    // A with an even K (or f32). Same bits.
    float *_Nullable sums;
    // ck_matmul_space_bytes for every member: room to widen bf16 in. NULL where that is 0.
    char *_Nullable space;
} ck_matmul_args;

// What a member works in, 0 where the processor multiplies bf16 itself.
size_t ck_matmul_space_bytes(const ck_tile_kernels *_Nonnull tiles);

// An epilogue on a product that lies in memory.
typedef struct {
    ck_epilogue _Nonnull epilogue;
    ck_epilogue_args epilogue_args;
    const float *_Nonnull product;  // Y, [row_count, column_count]
    size_t row_count, column_count;
} ck_finish_args;

// A ck_job over ck_finish_args: the member's strips of rows. The bits of ck_matmul with the same
// epilogue.
void ck_finish(const void *_Nonnull args, int32_t member, int32_t member_count);

// A ck_job over ck_matmul_args: the member's tiles. Members split the grid of tiles, never k.
void ck_matmul(const void *_Nonnull args, int32_t member, int32_t member_count);

#endif
