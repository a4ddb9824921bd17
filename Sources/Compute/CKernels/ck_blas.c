// The walk over a product whose panels a CBLAS computes (contract: ck_blas.h).
//
// 128 x 256: a taller panel would pad the head's blocks of 128 tokens; OpenBLAS 0.3.21 gains 8 %
// from 256 rows and loses 11 % at 64, and is flat in the columns from 128 to 512. The sums of a
// panel (128 KiB) stay in the second-level cache until the epilogue has seen them.
#pragma STDC FP_CONTRACT OFF
#include "ck_blas.h"

#include <string.h>

#include "ck_part.h"

enum { ROW_MAJOR = 101, AS_IS = 111, TRANSPOSED = 112 };  // of cblas.h

static int takes_bf16(const ck_blas_args *args) {
    return !args->product.is_f32 && args->sbgemm != NULL;
}

static size_t element_bytes(const ck_blas_args *args) { return takes_bf16(args) ? 2 : 4; }

static void widen_row(const uint16_t *from, float *to, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint32_t bits = (uint32_t)from[i] << 16;
        memcpy(to + i, &bits, sizeof bits);
    }
}

// Rows row..<row + 128 of a row-major A, k..<k + depth, into scratch; zeros past the last row.
static void load_rows(const ck_blas_args *args, float *rows, size_t row, size_t k, size_t depth) {
    const ck_matmul_args *product = &args->product;
    size_t operand = product->is_f32 ? 4 : 2, element = element_bytes(args);
    for (size_t i = 0; i < CK_BLAS_ROWS; i++) {
        char *to = (char *)rows + i * CK_BLAS_DEPTH * element;
        const char *from =
            (const char *)product->a + (row + i) * product->a_row_stride + k * operand;
        if (row + i >= product->row_count) {
            memset(to, 0, depth * element);
        } else if (operand == element) {
            memcpy(to, from, depth * element);
        } else {
            widen_row((const uint16_t *)from, (float *)to, depth);
        }
    }
}

// One call: rows x columns of sums from depth values of k.
static void call(const ck_blas_args *args, const void *a, size_t a_stride, const void *b,
                 float *sums, size_t rows, size_t columns, size_t depth, int continues) {
    int32_t a_form = args->product.a_is_packed ? TRANSPOSED : AS_IS;
    int32_t b_form = args->b_is_transposed ? TRANSPOSED : AS_IS;
    float beta = continues ? 1.0f : 0.0f;
    if (takes_bf16(args)) {
        args->sbgemm(ROW_MAJOR, a_form, b_form, (int32_t)rows, (int32_t)columns, (int32_t)depth,
                     1.0f, a, (int32_t)a_stride, b, (int32_t)args->b_stride, beta, sums,
                     CK_BLAS_COLUMNS);
    } else {
        args->sgemm(ROW_MAJOR, a_form, b_form, (int32_t)rows, (int32_t)columns, (int32_t)depth,
                    1.0f, a, (int32_t)a_stride, b, (int32_t)args->b_stride, beta, sums,
                    CK_BLAS_COLUMNS);
    }
}

// k..<k + depth of the panel at row, column.
static void add_block(const ck_blas_args *args, float *scratch, size_t row, size_t column,
                      size_t rows, size_t columns, size_t k, size_t depth) {
    const ck_matmul_args *product = &args->product;
    size_t element = element_bytes(args), a_stride = CK_BLAS_DEPTH;
    const char *a = (const char *)(scratch + CK_BLAS_SUMS);
    if (product->a_is_packed) {
        a = (const char *)product->a + k * product->a_row_stride + row * element;
        a_stride = product->a_row_stride / element;
    } else {
        load_rows(args, scratch + CK_BLAS_SUMS, row, k, depth);
    }
    size_t b_start = args->b_is_transposed ? column * args->b_stride + k
                                           : k * args->b_stride + column;
    const char *b = (const char *)product->b + b_start * element;
    call(args, a, a_stride, b, scratch, rows, columns, depth, k > 0);
}

// Hands the first rows of the panel's sums to the epilogue, tile by tile.
static void finish_panel(const ck_matmul_args *product, const float *sums, size_t row,
                         size_t column, size_t rows, size_t columns) {
    _Alignas(64) float tile[CK_TILE_ROWS * CK_TILE_COLUMNS];
    for (size_t i = 0; i < rows; i += CK_TILE_ROWS)
        for (size_t j = 0; j < columns; j += CK_TILE_COLUMNS) {
            size_t tile_rows = ck_least(CK_TILE_ROWS, rows - i);
            for (size_t r = 0; r < tile_rows; r++)
                memcpy(tile + r * CK_TILE_COLUMNS, sums + (i + r) * CK_BLAS_COLUMNS + j,
                       CK_TILE_COLUMNS * sizeof(float));
            product->epilogue(&product->epilogue_args, tile, row + i, column + j, tile_rows,
                              ck_least(CK_TILE_COLUMNS, columns - j));
        }
}

static void do_panel(const ck_blas_args *args, float *scratch, size_t row, size_t column) {
    const ck_matmul_args *product = &args->product;
    size_t rows = ck_least(CK_BLAS_ROWS, product->row_count - row);
    size_t columns = ck_least(CK_BLAS_COLUMNS, product->column_count - column);
    size_t called_rows = product->a_is_packed ? rows : CK_BLAS_ROWS;
    for (size_t k = 0; k < product->k_count; k += CK_BLAS_DEPTH)
        add_block(args, scratch, row, column, called_rows, columns, k,
                  ck_least(CK_BLAS_DEPTH, product->k_count - k));
    finish_panel(product, scratch, row, column, rows, columns);
}

void ck_blas_matmul(const void *raw, int32_t member, int32_t member_count) {
    const ck_blas_args *args = raw;
    size_t row_panels = (args->product.row_count + CK_BLAS_ROWS - 1) / CK_BLAS_ROWS;
    size_t column_panels = (args->product.column_count + CK_BLAS_COLUMNS - 1) / CK_BLAS_COLUMNS;
    ck_range part = ck_part(row_panels * column_panels, 1, member, member_count);
    // Column by column, so that a member's consecutive calls read the same weights.
    for (size_t index = part.begin; index < part.end; index++)
        do_panel(args, args->scratch + (size_t)member * CK_BLAS_SCRATCH_FLOATS,
                 index % row_panels * CK_BLAS_ROWS, index / row_panels * CK_BLAS_COLUMNS);
}
