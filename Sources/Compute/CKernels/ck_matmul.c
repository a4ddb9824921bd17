// The walk over a product: tiles of 6 rows x 64 columns, each summed over all of K at once.
//
// The grid of tiles is walked panel by panel: the panel (K x 64) stays in the second-level cache
// while strips of 6 rows pass through the first. Members cut the walk into equal runs of tiles, so
// any shape balances to one tile; a tile's bits do not depend on who computes it.
#pragma STDC FP_CONTRACT OFF
#include "ck_matmul.h"

#include <string.h>

enum { PANEL = CK_TILE_COLUMNS, UNIT_ROW = 4 * PANEL /* bytes */ };

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

// A packed operand has 64 rows per panel: 10 strips of 6 and one of 4.
enum { PANEL_STRIPS = (PANEL + CK_TILE_ROWS - 1) / CK_TILE_ROWS };

typedef struct {
    size_t row, row_count;
    const char *a;
    size_t a_row_stride, a_unit_stride;
} strip;

static strip find_strip(const ck_matmul_args *args, size_t index) {
    strip s;
    if (args->a_is_packed) {
        size_t units = args->is_f32 ? args->k_count : (args->k_count + 1) / 2;
        size_t panel = index / PANEL_STRIPS, inside = index % PANEL_STRIPS * CK_TILE_ROWS;
        s.row = panel * PANEL + inside;
        s.row_count = least(least(CK_TILE_ROWS, PANEL - inside), args->row_count - s.row);
        s.a = (const char *)args->a + panel * units * UNIT_ROW + inside * 4;
        s.a_row_stride = 4;
        s.a_unit_stride = UNIT_ROW;
    } else {
        s.row = index * CK_TILE_ROWS;
        s.row_count = least(CK_TILE_ROWS, args->row_count - s.row);
        s.a = (const char *)args->a + s.row * args->a_row_stride;
        s.a_row_stride = args->a_row_stride;
        s.a_unit_stride = 4;
    }
    return s;
}

static size_t strip_count(const ck_matmul_args *args) {
    if (!args->a_is_packed) return (args->row_count + CK_TILE_ROWS - 1) / CK_TILE_ROWS;
    size_t whole = args->row_count / PANEL, rest = args->row_count % PANEL;
    return whole * PANEL_STRIPS + (rest + CK_TILE_ROWS - 1) / CK_TILE_ROWS;
}

// What the epilogue will read or write arrives while the tile is computed.
static void prefetch_output(const ck_epilogue_args *args, size_t row, size_t column,
                            size_t row_count) {
    for (size_t i = 0; i < row_count; i++) {
        size_t offset = args->row_offsets ? (size_t)args->row_offsets[row + i]
                                          : (row + i) * args->column_count;
        for (size_t j = 0; j < PANEL; j += 16) {
            __builtin_prefetch(args->output + offset + column + j, 1);
            if (args->input) __builtin_prefetch(args->input + offset + column + j);
        }
    }
}

// The last k of an odd K in row-major bf16 has no partner in memory: it is paired with zero in a
// copy, and the sum goes on from the tile.
static void add_last_element(const ck_matmul_args *args, const strip *s, const char *b,
                             float *tile) {
    uint32_t units[CK_TILE_ROWS] = {0};
    for (size_t i = 0; i < s->row_count; i++) {
        uint16_t last;
        memcpy(&last, s->a + i * s->a_row_stride + (args->k_count - 1) * 2, sizeof last);
        units[i] = last;
    }
    args->tile(1, units, 4, 4, b + args->k_count / 2 * UNIT_ROW, tile, PANEL, s->row_count,
               CK_CONTINUE);
}

void ck_matmul(const void *raw, int32_t member, int32_t member_count) {
    const ck_matmul_args *args = raw;
    size_t units = args->is_f32 ? args->k_count : (args->k_count + 1) / 2;
    int has_last = !args->is_f32 && !args->a_is_packed && args->k_count % 2 == 1;
    size_t strips = strip_count(args), panels = (args->column_count + PANEL - 1) / PANEL;
    size_t begin = strips * panels * (size_t)member / (size_t)member_count;
    size_t end = strips * panels * (size_t)(member + 1) / (size_t)member_count;
    _Alignas(64) float tile[CK_TILE_ROWS * PANEL];
    for (size_t t = begin; t < end; t++) {
        size_t column = t / strips * PANEL;
        strip s = find_strip(args, t % strips);
        const char *b = (const char *)args->b + column / PANEL * units * UNIT_ROW;
        if (args->epilogue_args.output)
            prefetch_output(&args->epilogue_args, s.row, column, s.row_count);
        args->tile(units - (size_t)has_last, s.a, s.a_row_stride, s.a_unit_stride, b, tile, PANEL,
                   s.row_count, CK_OVERWRITE);
        if (has_last) add_last_element(args, &s, b, tile);
        args->epilogue(&args->epilogue_args, tile, s.row, column, s.row_count,
                       least(PANEL, args->column_count - column));
    }
}
