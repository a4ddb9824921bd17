// What happens to a tile of a product while it is still in the first-level cache.
//
// The matmul driver computes 6 x 64 elements of Y [M, N] into a scratch tile and calls one epilogue
// on it. Rows and columns are those of Y. Y's row stride in memory is column_count (N) everywhere.
// "Operand type" is bf16 (rounded to nearest even) or, if is_f32, f32.
#ifndef CK_EPILOGUE_H
#define CK_EPILOGUE_H

#include <stddef.h>
#include <stdint.h>

#include "ck_dropout.h"

enum { CK_TILE_COLUMNS = 64, CK_TILE_ROWS = 6 };

// One struct for all kinds; each reads the members it names.
typedef struct {
    size_t column_count;  // N
    int32_t is_f32;       // the operand type is f32

    // store: output = Y. residual: output = input + drop(Y); element row * N + column is the
    // dropout's element index. scatter: row n of Y goes to output + row_offsets[n].
    float *_Nullable output;                // [M, N], or the flat gradient for scatter
    const float *_Nullable input;           // residual: [M, N]; may be output
    const ptrdiff_t *_Nullable row_offsets;  // scatter: [M]
    int32_t accumulates;                    // scatter: output += Y instead of output = Y
    ck_dropout dropout;                     // residual; threshold 0: none

    // operand: Y rounded. rotary: the first rotary_column_count columns are heads of head_width
    // columns whose rotary pairs are adjacent (2i, 2i + 1); they are turned by the angle of the
    // row's position (y_even = x_even cos - x_odd sin, y_odd = x_odd cos + x_even sin), then
    // rounded; the other columns are rounded as they are.
    void *_Nullable operand;            // [M, N], operand type
    const float *_Nullable cosines;      // rotary: [positions, rotary_row_stride]
    const float *_Nullable sines;        // rotary: [positions, rotary_row_stride]
    const int32_t *_Nullable positions;  // rotary: [M]
    size_t rotary_row_stride, rotary_column_count, head_width;

    // swiglu: Y is [M, 2F], columns 2f and 2f + 1 are gate and up of feature f. gate_up receives Y
    // rounded, hidden [M, F] receives silu(gate) * up computed from the unrounded Y.
    // swiglu_backward: Y is d_hidden [M, F]; gate_up [M, 2F] is what the forward stored;
    // d_gate_up [M, 2F] receives the gradients, rounded, interleaved likewise.
    void *_Nullable gate_up;
    void *_Nullable hidden;
    void *_Nullable d_gate_up;
} ck_epilogue_args;

// Finishes tile (row stride 64), which holds rows row..<row + row_count and columns
// column..<column + column_count of Y. column is a multiple of 64; row_count <= 6; column_count
// <= 64, less only at the right edge. What the tile holds beyond them is unspecified.
typedef void (*ck_epilogue)(const ck_epilogue_args *_Nonnull args, const float *_Nonnull tile,
                            size_t row, size_t column, size_t row_count, size_t column_count);

// ck_store_*: the plain kinds. ck_fused_*: the kinds that belong to an operator.
typedef struct {
    ck_epilogue _Nonnull store, operand, residual, scatter;
} ck_store_kernels;

typedef struct {
    ck_epilogue _Nonnull rotary, swiglu, swiglu_backward;
} ck_fused_kernels;

// The kernels of a variant, or NULL if this architecture has none of that name.
const ck_store_kernels *_Nullable ck_store_named(const char *_Nonnull variant);
const ck_fused_kernels *_Nullable ck_fused_named(const char *_Nonnull variant);

#endif
