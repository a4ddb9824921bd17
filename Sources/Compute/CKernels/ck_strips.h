// Strips of a product, 6 rows of A each, and what both walks do with them. Not a public header.
#ifndef CK_STRIPS_H
#define CK_STRIPS_H

#include "ck_matmul.h"
#include "ck_part.h"

enum { PANEL = CK_TILE_COLUMNS, UNIT_ROW = 4 * PANEL /* bytes */ };

// A packed operand has 64 rows per panel: 10 strips of 6 and one of 4.
enum { PANEL_STRIPS = (PANEL + CK_TILE_ROWS - 1) / CK_TILE_ROWS };

typedef struct {
    size_t row, row_count;
    const char *a;
    size_t a_row_stride, a_unit_stride;
} strip;

static inline strip find_strip(const ck_matmul_args *args, size_t index) {
    strip s;
    if (args->a_is_packed) {
        size_t units = args->is_f32 ? args->k_count : (args->k_count + 1) / 2;
        size_t panel = index / PANEL_STRIPS, inside = index % PANEL_STRIPS * CK_TILE_ROWS;
        s.row = panel * PANEL + inside;
        s.row_count = ck_least(ck_least(CK_TILE_ROWS, PANEL - inside), args->row_count - s.row);
        s.a = (const char *)args->a + panel * units * UNIT_ROW + inside * 4;
        s.a_row_stride = 4;
        s.a_unit_stride = UNIT_ROW;
    } else {
        s.row = index * CK_TILE_ROWS;
        s.row_count = ck_least(CK_TILE_ROWS, args->row_count - s.row);
        s.a = (const char *)args->a + s.row * args->a_row_stride;
        s.a_row_stride = args->a_row_stride;
        s.a_unit_stride = 4;
    }
    return s;
}

static inline size_t strip_count(const ck_matmul_args *args) {
    if (!args->a_is_packed) return (args->row_count + CK_TILE_ROWS - 1) / CK_TILE_ROWS;
    size_t whole = args->row_count / PANEL, rest = args->row_count % PANEL;
    return whole * PANEL_STRIPS + (rest + CK_TILE_ROWS - 1) / CK_TILE_ROWS;
}

static inline void prefetch_lines(const void *from, size_t byte_count) {
    for (size_t i = 0; i < byte_count; i += 64) __builtin_prefetch((const char *)from + i, 1);
}

// What the epilogue will read or write arrives while the tile is computed.
static inline void prefetch_output(const ck_epilogue_args *args, const strip *s, size_t column) {
    size_t operand_bytes = args->is_f32 ? 4 : 2;
    for (size_t row = s->row; row < s->row + s->row_count; row++) {
        size_t at = row * args->column_count + column;
        if (args->operand)
            prefetch_lines((char *)args->operand + at * operand_bytes, PANEL * operand_bytes);
        if (args->input) prefetch_lines(args->input + at, PANEL * sizeof(float));
        if (args->row_offsets) at = (size_t)args->row_offsets[row] + column;
        if (args->output) prefetch_lines(args->output + at, PANEL * sizeof(float));
    }
}

static inline void finish_tile(const ck_matmul_args *args, const strip *s, const float *tile,
                               size_t column) {
    args->epilogue(&args->epilogue_args, tile, s->row, column, s->row_count,
                   ck_least(PANEL, args->column_count - column));
}

// Units of all of k.
static inline size_t unit_count(const ck_matmul_args *args) {
    return args->is_f32 ? args->k_count : (args->k_count + 1) / 2;
}

// Products whose operands are widened to f32 first (ck_wide.c): the member's tiles.
void ck_wide_matmul(const ck_matmul_args *args, int32_t member, int32_t member_count);

#endif
