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

#include "ck_part.h"

enum { PANEL = CK_TILE_COLUMNS, UNIT_ROW = 4 * PANEL /* bytes */ };

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
    args->tiles.bf16(1, units, 4, 4, b + args->k_count / 2 * UNIT_ROW, tile, PANEL, s->row_count,
                     CK_CONTINUE, (ck_ahead){0});
}

// How a run of strips meets its panel: k in blocks, for each block strip after strip.
typedef struct {
    size_t block_units;  // of k that a visit to the panel takes
    size_t group;        // strips whose sums wait in memory between blocks
    int is_wide;         // operands are widened to f32 before the tiles
} schedule;

// Where tiles would widen bf16 themselves, again for every strip, a block of the panel is widened
// once for its strips: 2 x 64 of k are 32 KiB, and the sums of 32 strips 48 KiB, which stay in the
// second-level cache. With fewer than 3 strips it does not pay. Where sums may wait in memory of
// the caller, a block is 256 KiB of panel and 24 KiB of strip.
enum { WIDE_UNITS = 64, WIDE_STRIPS = 32, WIDE_STRIPS_MIN = 3, BLOCK_UNITS = 1024 };

static schedule find_schedule(const ck_matmul_args *args, size_t strips) {
    size_t units = args->is_f32 ? args->k_count : (args->k_count + 1) / 2;
    int is_wide = !args->is_f32 && args->tiles.widen_row && strips >= WIDE_STRIPS_MIN;
    schedule narrow = {args->sums ? BLOCK_UNITS : units, args->sums ? strips : 1, 0};
    schedule wide = {WIDE_UNITS, args->sums ? strips : WIDE_STRIPS, 1};
    return is_wide ? wide : narrow;
}

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

static void sum_narrow(const ck_matmul_args *args, const strip *s, k_block block, ck_ahead ahead,
                       float *c) {
    ck_tile tile = args->is_f32 ? args->tiles.f32 : args->tiles.bf16;
    tile(block.count - (size_t)block.is_last, s->a + block.from * s->a_unit_stride,
         s->a_row_stride, s->a_unit_stride, block.b + block.from * UNIT_ROW, c, PANEL,
         s->row_count, block.from == 0 ? CK_OVERWRITE : CK_CONTINUE, ahead);
    if (block.is_last) add_last_element(args, s, block.b, c);
}

// Operands of a block as f32: a value of k after the other, where a unit was a pair of them.
typedef struct {
    float b[2 * WIDE_UNITS * PANEL], packed_a[2 * WIDE_UNITS * PANEL];
    float a[CK_TILE_ROWS][2 * WIDE_UNITS];
} wide_block;

static void widen(const ck_matmul_args *args, const strip *first, k_block block, wide_block *w) {
    args->tiles.widen_panel(block.count, block.b + block.from * UNIT_ROW, w->b);
    if (!args->a_is_packed) return;
    const char *panel = first->a - first->row % PANEL * 4;
    args->tiles.widen_panel(block.count, panel + block.from * UNIT_ROW, w->packed_a);
}

static void sum_wide(const ck_matmul_args *args, const strip *s, k_block block, wide_block *w,
                     ck_ahead ahead, float *c) {
    const float *a = w->packed_a + s->row % PANEL;
    size_t row_stride = s->a_row_stride, k_stride = UNIT_ROW;
    if (!args->a_is_packed) {
        for (size_t i = 0; i < s->row_count; i++)
            args->tiles.widen_row(2 * block.count - (size_t)block.is_last,
                                  s->a + i * s->a_row_stride + block.from * 4, w->a[i]);
        a = w->a[0];
        row_stride = sizeof w->a[0];
        k_stride = sizeof(float);
    }
    args->tiles.f32(2 * block.count, a, row_stride, k_stride, w->b, c, PANEL, s->row_count,
                    block.from == 0 ? CK_OVERWRITE : CK_CONTINUE, ahead);
}

static void finish_tile(const ck_matmul_args *args, const strip *s, const float *tile,
                        size_t column) {
    args->epilogue(&args->epilogue_args, tile, s->row, column, s->row_count,
                   ck_least(PANEL, args->column_count - column));
}

// Strips begin..<end of a run; their sums are in c, or in the caller's memory.
static void do_group(const ck_matmul_args *args, const schedule *plan, const run *whole,
                     size_t begin, size_t end, float *c) {
    const size_t column = whole->column;
    size_t units = args->is_f32 ? args->k_count : (args->k_count + 1) / 2;
    int is_odd = !args->is_f32 && !args->a_is_packed && args->k_count % 2 == 1;
    size_t rows_padded = (args->row_count + CK_TILE_ROWS - 1) / CK_TILE_ROWS * CK_TILE_ROWS;
    if (args->sums) c = args->sums + column * rows_padded + begin * CK_TILE_ROWS * PANEL;
    k_block block = {(const char *)args->b + column / PANEL * units * UNIT_ROW, 0, 0, 0};
    wide_block wide;
    for (; block.from < units; block.from += block.count) {
        block.count = ck_least(plan->block_units, units - block.from);
        int is_end = block.from + block.count == units;
        block.is_last = is_end && is_odd;
        for (size_t index = begin; index < end; index++) {
            strip s = find_strip(args, index);
            float *sums = c + (index - begin) * CK_TILE_ROWS * PANEL;
            if (plan->is_wide && index == begin) widen(args, &s, block, &wide);
            if (is_end) prefetch_output(&args->epilogue_args, &s, column);
            const ck_ahead ahead =
                next_block(block, whole, index, plan->is_wide ? 2 * block.count : block.count);
            if (plan->is_wide) sum_wide(args, &s, block, &wide, ahead, sums);
            else sum_narrow(args, &s, block, ahead, sums);
            if (is_end) finish_tile(args, &s, sums, column);
        }
    }
}

static void do_panel(const ck_matmul_args *args, const run *whole) {
    _Alignas(64) float sums[WIDE_STRIPS * CK_TILE_ROWS * PANEL];
    const schedule plan = find_schedule(args, whole->end - whole->begin);
    for (size_t first = whole->begin; first < whole->end; first += plan.group)
        do_group(args, &plan, whole, first, ck_least(first + plan.group, whole->end), sums);
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
