// The walk over a product: tiles of 6 rows x 64 columns, each summed over all of K at once.
//
// The grid of tiles is walked panel by panel: the panel (K x 64) stays in the second-level cache
// while strips of 6 rows pass through the first. Where A is packed (a weight gradient, whose
// output is large and scattered), 64 rows meet all panels before the next 64 rows, so that each
// part of the output is visited once. Members cut the walk into equal runs of tiles, so any shape
// balances to one tile; a tile's bits do not depend on who computes it.
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

static void prefetch_lines(const void *from, size_t byte_count) {
    for (size_t i = 0; i < byte_count; i += 64) __builtin_prefetch((const char *)from + i, 1);
}

// What the epilogue will read or write arrives while the tile is computed.
static void prefetch_output(const ck_epilogue_args *args, const strip *s, size_t column) {
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

// Units of k that one visit to a panel takes when sums may wait in memory: 256 KiB of panel and
// 24 KiB of strip.
enum { BLOCK_UNITS = 1024 };

// Units from..<from + count of one tile.
static void sum_tile(const ck_matmul_args *args, const strip *s, const char *b, size_t from,
                     size_t count, float *c, size_t c_row_stride) {
    args->tile(count, s->a + from * s->a_unit_stride, s->a_row_stride, s->a_unit_stride,
               b + from * UNIT_ROW, c, c_row_stride, s->row_count,
               from == 0 ? CK_OVERWRITE : CK_CONTINUE);
}

static void finish_tile(const ck_matmul_args *args, const strip *s, const float *tile,
                        size_t column) {
    args->epilogue(&args->epilogue_args, tile, s->row, column, s->row_count,
                   least(PANEL, args->column_count - column));
}

// Strips begin..<end of one panel, one tile after the other.
static void do_panel(const ck_matmul_args *args, size_t column, size_t begin, size_t end) {
    size_t units = args->is_f32 ? args->k_count : (args->k_count + 1) / 2;
    int has_last = !args->is_f32 && !args->a_is_packed && args->k_count % 2 == 1;
    const char *b = (const char *)args->b + column / PANEL * units * UNIT_ROW;
    _Alignas(64) float tile[CK_TILE_ROWS * PANEL];
    for (size_t index = begin; index < end; index++) {
        strip s = find_strip(args, index);
        prefetch_output(&args->epilogue_args, &s, column);
        sum_tile(args, &s, b, 0, units - (size_t)has_last, tile, PANEL);
        if (has_last) add_last_element(args, &s, b, tile);
        finish_tile(args, &s, tile, column);
    }
}

// The same in blocks of k, all strips for each block.
static void do_panel_in_blocks(const ck_matmul_args *args, size_t column, size_t begin,
                               size_t end) {
    size_t units = args->is_f32 ? args->k_count : (args->k_count + 1) / 2;
    const char *b = (const char *)args->b + column / PANEL * units * UNIT_ROW;
    size_t rows_padded = (args->row_count + CK_TILE_ROWS - 1) / CK_TILE_ROWS * CK_TILE_ROWS;
    float *sums = args->sums + column * rows_padded;
    for (size_t from = 0; from < units; from += BLOCK_UNITS) {
        size_t count = least(BLOCK_UNITS, units - from);
        for (size_t index = begin; index < end; index++) {
            strip s = find_strip(args, index);
            float *c = sums + s.row * PANEL;
            sum_tile(args, &s, b, from, count, c, PANEL);
            if (from + count == units) finish_tile(args, &s, c, column);
        }
    }
}

// Strips that meet one panel without a change of panel.
typedef struct {
    size_t column, begin, end;
} run;

// The run that starts at the tile-th tile of the walk.
static run find_run(const ck_matmul_args *args, size_t tile, size_t strips, size_t panels) {
    size_t group = args->a_is_packed ? PANEL_STRIPS : strips;  // strips that share a visit
    size_t first = tile / (group * panels) * group;
    size_t size = least(group, strips - first), inside = tile - first * panels;
    run r = {inside / size * PANEL, first + inside % size, first + size};
    return r;
}

void ck_matmul(const void *raw, int32_t member, int32_t member_count) {
    const ck_matmul_args *args = raw;
    size_t strips = strip_count(args), panels = (args->column_count + PANEL - 1) / PANEL;
    size_t tile = strips * panels * (size_t)member / (size_t)member_count;
    size_t end = strips * panels * (size_t)(member + 1) / (size_t)member_count;
    while (tile < end) {
        run r = find_run(args, tile, strips, panels);
        r.end = least(r.end, r.begin + (end - tile));
        if (args->sums) {
            do_panel_in_blocks(args, r.column, r.begin, r.end);
        } else {
            do_panel(args, r.column, r.begin, r.end);
        }
        tile += r.end - r.begin;
    }
}
