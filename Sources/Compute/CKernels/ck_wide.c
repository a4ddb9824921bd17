// Products for processors that multiply no bf16: operands are widened, the f32 tile does the rest.
//
// A group of strips meets a chunk of panels, k in blocks. A block of the group's rows is widened
// once for the chunk and a block of a panel once for the group, and the sums of all their tiles
// wait between the blocks: so widening takes 1 / 12 and 1 / 33 of the work that it took tile by
// tile. A block of a panel (32 KiB) and a strip lie in the first-level cache, the rest (740 KiB) in
// the second. Six strips (the 32 texts of a decoding step) take shorter blocks, so that they, their
// sums and the block of the panel lie in the first.
#pragma STDC FP_CONTRACT OFF
#include <string.h>

#include "ck_strips.h"

// 33 strips are 198 rows, or 3 panels of a packed A.
enum { BLOCK = 128 /* of k */, GROUP = 33, CHUNK = 12, FEW = 6, FEW_BLOCK = 96 };

// Floats between values of k of a packed strip: 6 rows, padded.
enum { ROW = 8 };

// What a member works in.
typedef struct {
    // Strip after strip: [6][BLOCK] where A is row-major, [BLOCK][ROW] where it is packed.
    float a[GROUP][BLOCK * ROW];
    float b[BLOCK * PANEL + ROW];  // [BLOCK][64], and what a packed strip reads past its end
    float sums[CHUNK][GROUP][CK_TILE_ROWS * PANEL];
} space;

size_t ck_matmul_space_bytes(const ck_tile_kernels *tiles) {
    return tiles->widen_row ? (sizeof(space) + 63) / 64 * 64 : 0;
}

// Units from..<from + count of k.
typedef struct {
    size_t from, count;
    int is_last, is_odd;  // the last block; of an odd K in row-major A
} block;

static void widen_rows(const ck_matmul_args *args, ck_range group, block k, space *at) {
    for (size_t index = group.begin; index < group.end; index++) {
        const strip s = find_strip(args, index);
        for (size_t i = 0; i < s.row_count; i++)
            args->tiles.widen_row(2 * k.count - (size_t)(k.is_last && k.is_odd),
                                  s.a + i * s.a_row_stride + k.from * 4,
                                  at->a[index - group.begin] + i * BLOCK);
    }
}

// Takes the strips of a packed panel of A apart: a strip alone then fits beside a block of B.
static void widen_packed(const ck_matmul_args *args, ck_range group, block k, space *at) {
    for (size_t index = group.begin; index < group.end; index++) {
        const strip s = find_strip(args, index);
        const size_t inside = s.row % PANEL;
        if (index == group.begin || inside == 0)
            args->tiles.widen_panel(k.count, s.a - inside * 4 + k.from * UNIT_ROW, at->b);
        float *rows = at->a[index - group.begin];
        for (size_t i = 0; i < 2 * k.count; i++)
            memcpy(rows + i * ROW, at->b + i * PANEL + inside, ROW * sizeof(float));
    }
}

// A panel's block meets the group; `next` is the block that comes after it.
static void sum_panel(const ck_matmul_args *args, ck_range group, block k, const char *next,
                      size_t column, float sums[][CK_TILE_ROWS * PANEL], space *at) {
    const size_t k_count = 2 * k.count, share = k_count * (group.end - group.begin);
    const size_t step = (k.count * UNIT_ROW + share - 1) / share;
    for (size_t index = group.begin; index < group.end; index++) {
        const size_t place = index - group.begin;
        const strip s = find_strip(args, index);
        const ck_ahead ahead = {next + place * k_count * step, step};
        if (k.is_last) prefetch_output(&args->epilogue_args, &s, column);
        args->tiles.f32(k_count, at->a[place], args->a_is_packed ? 4 : BLOCK * 4,
                        args->a_is_packed ? ROW * 4 : 4, at->b, sums[place], PANEL, s.row_count,
                        k.from == 0 ? CK_OVERWRITE : CK_CONTINUE, &ahead);
        if (k.is_last) finish_tile(args, &s, sums[place], column);
    }
}

static void do_chunk(const ck_matmul_args *args, ck_range group, ck_range chunk, space *at) {
    const size_t units = unit_count(args), panel_bytes = units * UNIT_ROW;
    const size_t block_max = group.end - group.begin <= FEW ? FEW_BLOCK : BLOCK;
    block k = {0, 0, 0, args->k_count % 2 == 1};
    for (; k.from < units; k.from += k.count) {
        k.count = ck_least(block_max / 2, units - k.from);
        k.is_last = k.from + k.count == units;
        if (args->a_is_packed) widen_packed(args, group, k, at);
        else widen_rows(args, group, k, at);
        for (size_t panel = chunk.begin; panel < chunk.end; panel++) {
            const char *b = (const char *)args->b + panel * panel_bytes + k.from * UNIT_ROW;
            const char *next = panel + 1 < chunk.end
                                   ? b + panel_bytes
                                   : b - (panel - chunk.begin) * panel_bytes + k.count * UNIT_ROW;
            args->tiles.widen_panel(k.count, b, at->b);
            sum_panel(args, group, k, next, panel * PANEL, at->sums[panel - chunk.begin], at);
        }
    }
}

// What a part of so many strips and panels costs, in tenths of a cycle for each k: a tile takes 12
// cycles, ten widened operands about one.
static size_t cost_of(size_t strips, size_t panels) {
    const size_t chunks = (panels + CHUNK - 1) / CHUNK, groups = (strips + GROUP - 1) / GROUP;
    return 120 * strips * panels + CK_TILE_ROWS * strips * chunks + PANEL * panels * groups;
}

// A member's strips and panels: of all grids of members, that whose largest part costs least.
static void find_part(size_t strips, size_t panels, size_t member, size_t count, ck_range *rows,
                      ck_range *columns) {
    size_t least = SIZE_MAX, across = 1;
    for (size_t c = count; c >= 1; c--) {
        if (count % c != 0) continue;
        const size_t r = count / c;
        const size_t cost = cost_of((strips + r - 1) / r, (panels + c - 1) / c);
        if (cost < least) {
            least = cost;
            across = c;
        }
    }
    *rows = ck_part(strips, 1, (int32_t)(member / across), (int32_t)(count / across));
    *columns = ck_part(panels, 1, (int32_t)(member % across), (int32_t)across);
}

void ck_wide_matmul(const ck_matmul_args *args, int32_t member, int32_t member_count) {
    space *at = (space *)(args->space + (size_t)member * ck_matmul_space_bytes(&args->tiles));
    ck_range rows, columns;
    find_part(strip_count(args), (args->column_count + PANEL - 1) / PANEL, (size_t)member,
              (size_t)member_count, &rows, &columns);
    for (size_t strip = rows.begin; strip < rows.end; strip += GROUP) {
        const ck_range group = {strip, ck_least(strip + GROUP, rows.end)};
        for (size_t panel = columns.begin; panel < columns.end; panel += CHUNK) {
            const ck_range chunk = {panel, ck_least(panel + CHUNK, columns.end)};
            do_chunk(args, group, chunk, at);
        }
    }
}
