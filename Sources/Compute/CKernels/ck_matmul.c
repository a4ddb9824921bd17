// The walk over a product: tiles of 6 rows x 64 columns, each summed over all of K at once. Where
// the processor multiplies no bf16 most products take the walk of ck_wide.c.
//
// The grid of tiles is walked panel by panel: the panel (K x 64) stays in the second-level cache
// while strips of 6 rows pass through the first. Where A is packed (a weight gradient, whose
// output is large and scattered), 64 rows meet all panels before the next 64 rows, so that each
// part of the output is visited once. Members cut the walk into equal runs of tiles, so any shape
// balances to one tile; a tile's bits do not depend on who computes it.
#pragma STDC FP_CONTRACT OFF
#include "ck_matmul.h"

#include <string.h>

#include "ck_part.h"
#include "ck_strips.h"

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
    args->tiles.bf16(1, units, 4, 4, b + args->k_count / 2 * UNIT_ROW, tile, PANEL, s->row_count,
                     CK_CONTINUE, &(ck_ahead){0});
}

// Where sums may wait in memory of the caller, k is cut into blocks: 256 KiB of panel and 24 KiB of
// strip, for each block strip after strip.
enum { BLOCK_UNITS = 1024 };

// With fewer strips it does not pay to widen a panel for them.
enum { WIDE_STRIPS_MIN = 3 };

// Strips that meet one panel without a change of panel.
typedef struct {
    size_t column, begin, end;
} run;

// Units from..<from + count of k of one panel.
typedef struct {
    const char *b;
    size_t from, count;
    int is_last;  // of an odd K in row-major bf16
} k_block;

// The block of B behind this one is asked for while the strips of a run pass, each for its share,
// unit by unit of its tile: with the few rows of a decoding step every block comes from far away,
// and a share asked for at once would stall the tile. What lies behind the last block is asked for
// in vain.
static ck_ahead next_block(k_block block, const run *whole, size_t strip, size_t tile_units) {
    size_t share = tile_units * (whole->end - whole->begin);
    size_t step = (block.count * UNIT_ROW + share - 1) / share;
    ck_ahead ahead = {block.b + (block.from + block.count) * UNIT_ROW
                          + (strip - whole->begin) * tile_units * step, step};
    return ahead;
}

static void sum_tile(const ck_matmul_args *args, const strip *s, k_block block, ck_ahead ahead,
                     float *c) {
    ck_tile tile = args->is_f32 ? args->tiles.f32 : args->tiles.bf16;
    tile(block.count - (size_t)block.is_last, s->a + block.from * s->a_unit_stride,
         s->a_row_stride, s->a_unit_stride, block.b + block.from * UNIT_ROW, c, PANEL,
         s->row_count, block.from == 0 ? CK_OVERWRITE : CK_CONTINUE, &ahead);
    if (block.is_last) add_last_element(args, s, block.b, c);
}

// A run of strips; their sums are in the caller's memory, or each strip's in a tile of its own.
static void do_panel(const ck_matmul_args *args, const run *whole) {
    _Alignas(64) float tile[CK_TILE_ROWS * PANEL];
    const size_t column = whole->column, units = unit_count(args);
    const int is_odd = !args->is_f32 && !args->a_is_packed && args->k_count % 2 == 1;
    const size_t rows_padded = (args->row_count + CK_TILE_ROWS - 1) / CK_TILE_ROWS * CK_TILE_ROWS;
    k_block block = {(const char *)args->b + column / PANEL * units * UNIT_ROW, 0, 0, 0};
    for (; block.from < units; block.from += block.count) {
        block.count = args->sums ? ck_least(BLOCK_UNITS, units - block.from) : units;
        int is_end = block.from + block.count == units;
        block.is_last = is_end && is_odd;
        for (size_t index = whole->begin; index < whole->end; index++) {
            strip s = find_strip(args, index);
            float *sums = args->sums ? args->sums + column * rows_padded + s.row * PANEL : tile;
            if (is_end) prefetch_output(&args->epilogue_args, &s, column);
            sum_tile(args, &s, block, next_block(block, whole, index, block.count), sums);
            if (is_end) finish_tile(args, &s, sums, column);
        }
    }
}

// The run that starts at the tile-th tile of the walk.
static run find_run(const ck_matmul_args *args, size_t tile, size_t strips, size_t panels) {
    size_t group = args->a_is_packed ? PANEL_STRIPS : strips;  // strips that share a visit
    size_t first = tile / (group * panels) * group;
    size_t size = ck_least(group, strips - first), inside = tile - first * panels;
    run r = {inside / size * PANEL, first + inside % size, first + size};
    return r;
}

void ck_finish(const void *raw, int32_t member, int32_t member_count) {
    const ck_finish_args *args = raw;
    _Alignas(64) float tile[CK_TILE_ROWS * PANEL] = {0};
    const ck_range rows = ck_part(args->row_count, CK_TILE_ROWS, member, member_count);
    for (size_t row = rows.begin; row < rows.end; row += CK_TILE_ROWS) {
        const size_t row_count = ck_least(CK_TILE_ROWS, rows.end - row);
        for (size_t column = 0; column < args->column_count; column += PANEL) {
            const size_t column_count = ck_least(PANEL, args->column_count - column);
            for (size_t i = 0; i < row_count; i++)
                memcpy(tile + i * PANEL, args->product + (row + i) * args->column_count + column,
                       column_count * sizeof(float));
            args->epilogue(&args->epilogue_args, tile, row, column, row_count, column_count);
        }
    }
}

void ck_matmul(const void *raw, int32_t member, int32_t member_count) {
    const ck_matmul_args *args = raw;
    if (!args->is_f32 && args->space && strip_count(args) >= WIDE_STRIPS_MIN)
        return ck_wide_matmul(args, member, member_count);
    size_t strips = strip_count(args), panels = (args->column_count + PANEL - 1) / PANEL;
    size_t tile = strips * panels * (size_t)member / (size_t)member_count;
    size_t end = strips * panels * (size_t)(member + 1) / (size_t)member_count;
    while (tile < end) {
        run r = find_run(args, tile, strips, panels);
        r.end = ck_least(r.end, r.begin + (end - tile));
        do_panel(args, &r);
        tile += r.end - r.begin;
    }
}
