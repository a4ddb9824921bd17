// Prints a digest for every kernel family, precision and variant that this processor runs:
//
//     FAMILY PRECISION DIGEST VARIANT
//
// The profile `portable` promises one digest per family and precision, whatever the variant and
// the machine. Operands are fixed, fill no tile, strip or block, and come in two sizes: ordinary,
// and so small that products and sums fall around 2^-126, where subnormals are flushed. Every job
// runs as the three members of a team would run it. Built and compared by the script beside it.
#pragma STDC FP_CONTRACT OFF
#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "ckernels.h"
#include "csystem.h"

enum { ROWS = 13, COLUMNS = 150, DEPTH = 75, MEMBERS = 3 };

// The kernels of one variant at one precision.
typedef struct {
    const char *variant;
    int32_t is_f32;
    ck_tile_kernels tiles;
    const ck_pack_kernels *pack;
    const ck_store_kernels *store;
    const ck_fused_kernels *fused;
    const ck_head_kernels *head;
    const ck_rows_kernels *rows;
    const ck_attention_kernels *attention;
} kernels;

// Memory of one run of a family. What lies between two results is scratch.
static _Alignas(64) char memory[16 << 20];
static size_t used;
static struct {
    const void *start;
    size_t bytes;
} results[16];
static size_t result_count;
static uint32_t draw_count;  // of this run: every operand has draws of its own
static bool is_tiny;

static void *room(size_t bytes) {
    void *start = memory + used;
    used += (bytes + 63) / 64 * 64;
    assert(used <= sizeof memory);
    return memset(start, 0, bytes);
}

// Room whose contents are hashed after the run.
static void *hashed(const void *start, size_t bytes) {
    assert(result_count < sizeof results / sizeof results[0]);
    results[result_count].start = start;
    results[result_count++].bytes = bytes;
    return (void *)(uintptr_t)start;
}
static void *result(size_t bytes) { return hashed(room(bytes), bytes); }

static uint32_t mix(uint32_t x) {
    x = (x ^ x >> 16) * 0x7FEB352Du;
    x = (x ^ x >> 15) * 0x846CA68Bu;
    return x ^ x >> 16;
}

// Uniform in -size ..< size, some of it zero, subnormal, or times 2^-62: a product of two such
// values is about 2^-126, so that sums of them lie on both sides.
static float *floats(size_t count, float size) {
    float *values = room(count * sizeof(float));
    const uint32_t seed = mix(++draw_count);
    for (size_t i = 0; i < count; i++) {
        const uint32_t random = mix((uint32_t)i ^ seed), sign = random << 31;
        const float value = ((float)(random >> 8) * 0x1p-23f - 1.0f) * size;
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        if (random % 16 == 0) bits = sign;
        if (random % 16 == 1) bits = sign | (random >> 10 & 0x3FFFFF);
        const bool is_small = is_tiny || random % 16 == 2;
        if (is_small && (bits >> 23 & 0xFF) > 62) bits -= 62u << 23;
        memcpy(&values[i], &bits, sizeof bits);
    }
    return values;
}

static float *magnitudes(size_t count, float size) {
    float *values = floats(count, size);
    for (size_t i = 0; i < count; i++) values[i] = __builtin_fabsf(values[i]);
    return values;
}

static size_t operand_bytes(const kernels *k, size_t count) { return count * (k->is_f32 ? 4 : 2); }

// The same in the operand type: the upper halves for bf16.
static void *operands(const kernels *k, size_t count, float size) {
    float *values = floats(count, size);
    uint16_t *halves = (uint16_t *)values;  // never overtakes what it reads
    for (size_t i = 0; i < count && !k->is_f32; i++) memcpy(&halves[i], (char *)&values[i] + 2, 2);
    return values;
}

static ck_dropout dropout(void) {
    // Draws pass 2^32 inside every operand; a quarter is dropped.
    return (ck_dropout){12345, 67890, (1ull << 32) - 100, 1 << 22, 4.0f / 3.0f};
}

static void run(ck_job job, const void *args) {
    for (int32_t member = 0; member < MEMBERS; member++) job(args, member, MEMBERS);
}

static const ptrdiff_t *offsets(size_t count, size_t width) {
    ptrdiff_t *offset = room(count * sizeof *offset);
    for (size_t i = 0; i < count; i++) offset[i] = (ptrdiff_t)((count - 1 - i) * width);
    return offset;
}

static const int32_t *positions(size_t count) {
    int32_t *position = room(count * sizeof *position);
    for (size_t i = 0; i < count; i++) position[i] = (int32_t)(i % 5);
    return position;
}

static ck_pack_weights_args packed_weights(const kernels *k, size_t rows, size_t columns) {
    const ck_pack_weights_args args = {
        floats(rows * columns, 1), offsets(rows, columns), rows, columns,
        room(ck_packed_bytes(rows, columns, k->is_f32)),
        room(ck_packed_bytes(columns, rows, k->is_f32)), k->is_f32};
    run(k->pack->weights, &args);
    return args;
}

static void *packed_pairs(const kernels *k, size_t rows, size_t columns) {
    const size_t units = k->is_f32 ? rows : (rows + 1) / 2;
    const ck_pack_pairs_args args = {
        operands(k, rows * columns, 1), rows, columns, operand_bytes(k, columns),
        room(ck_packed_bytes(columns, rows, k->is_f32)), units, k->is_f32};
    run(k->pack->pairs, &args);
    return args.packed;
}

static void packing(const kernels *k) {
    const ck_pack_weights_args args = packed_weights(k, COLUMNS, DEPTH);
    hashed(args.rows_as_columns, ck_packed_bytes(COLUMNS, DEPTH, k->is_f32));
    hashed(args.rows_as_k, ck_packed_bytes(DEPTH, COLUMNS, k->is_f32));
    hashed(packed_pairs(k, ROWS, COLUMNS), ck_packed_bytes(COLUMNS, ROWS, k->is_f32));
}

// A product [ROWS, columns] that lacks its epilogue.
static ck_matmul_args product(const kernels *k, size_t columns, size_t depth) {
    return (ck_matmul_args){
        .tiles = k->tiles, .a = operands(k, ROWS * depth, 1),
        .a_row_stride = operand_bytes(k, depth),
        .b = packed_weights(k, columns, depth).rows_as_columns, .row_count = ROWS,
        .column_count = columns, .k_count = depth, .is_f32 = k->is_f32,
        .space = room(ck_matmul_space_bytes(&k->tiles)),
        .epilogue_args = {.column_count = columns, .is_f32 = k->is_f32}};
}

static void matmul_store(const kernels *k) {
    ck_matmul_args args = product(k, COLUMNS, DEPTH);
    args.epilogue = k->store->store;
    args.epilogue_args.output = result(ROWS * COLUMNS * 4);
    run(ck_matmul, &args);
}

// k in more than one block of 1,024 units.
static void matmul_blocks(const kernels *k) {
    const size_t columns = 70, padded = 128, padded_rows = 18;
    ck_matmul_args args = product(k, columns, 2600);
    args.epilogue = k->store->store;
    args.epilogue_args.output = result(ROWS * columns * 4);
    args.sums = room(padded_rows * padded * 4);
    run(ck_matmul, &args);
}

static void matmul_operand(const kernels *k) {
    ck_matmul_args args = product(k, COLUMNS, DEPTH);
    args.epilogue = k->store->operand;
    args.epilogue_args.operand = result(operand_bytes(k, ROWS * COLUMNS));
    run(ck_matmul, &args);
}

static void matmul_residual(const kernels *k) {
    ck_matmul_args args = product(k, COLUMNS, DEPTH);
    args.epilogue = k->store->residual;
    args.epilogue_args.dropout = dropout();
    args.epilogue_args.input = floats(ROWS * COLUMNS, 1);
    args.epilogue_args.output = result(ROWS * COLUMNS * 4);
    run(ck_matmul, &args);
}

static void matmul_rotary(const kernels *k) {
    const size_t head_width = 24, stride = head_width / 2 + 8;
    ck_matmul_args args = product(k, COLUMNS, DEPTH);
    ck_epilogue_args *epilogue = &args.epilogue_args;
    args.epilogue = k->fused->rotary;
    epilogue->operand = result(operand_bytes(k, ROWS * COLUMNS));
    epilogue->cosines = floats(5 * stride, 1);
    epilogue->sines = floats(5 * stride, 1);
    epilogue->positions = positions(ROWS);
    epilogue->rotary_row_stride = stride;
    epilogue->rotary_column_count = 5 * head_width;
    epilogue->head_width = head_width;
    run(ck_matmul, &args);
}

static void matmul_swiglu(const kernels *k) {
    ck_matmul_args args = product(k, COLUMNS, DEPTH);
    args.epilogue = k->fused->swiglu;
    args.epilogue_args.gate_up = result(operand_bytes(k, ROWS * COLUMNS));
    args.epilogue_args.hidden = result(operand_bytes(k, ROWS * COLUMNS / 2));
    run(ck_matmul, &args);
}

static void matmul_swiglu_backward(const kernels *k) {
    ck_matmul_args args = product(k, DEPTH, COLUMNS);
    args.epilogue = k->fused->swiglu_backward;
    args.epilogue_args.gate_up = operands(k, 2 * ROWS * DEPTH, 4);
    args.epilogue_args.d_gate_up = result(operand_bytes(k, 2 * ROWS * DEPTH));
    run(ck_matmul, &args);
}

// A weight gradient: both operands packed, the output scattered and added to.
static void matmul_scatter(const kernels *k) {
    const size_t rows = 70;
    ck_matmul_args args = {
        .tiles = k->tiles, .epilogue = k->store->scatter, .a = packed_pairs(k, ROWS, rows),
        .b = packed_pairs(k, ROWS, COLUMNS), .row_count = rows, .column_count = COLUMNS,
        .k_count = ROWS, .a_is_packed = 1, .is_f32 = k->is_f32,
        .space = room(ck_matmul_space_bytes(&k->tiles))};
    args.epilogue_args.column_count = COLUMNS;
    args.epilogue_args.output = hashed(floats(rows * COLUMNS, 1), rows * COLUMNS * 4);
    args.epilogue_args.row_offsets = offsets(rows, COLUMNS);
    args.epilogue_args.accumulates = 1;
    run(ck_matmul, &args);
}

// Gates from -100 to 100 in steps of 1/32, through silu: the whole range of exp.
static void exponential(const kernels *k) {
    enum { TILES = 34, PAIRS = CK_TILE_ROWS * CK_TILE_COLUMNS / 2 };
    ck_epilogue_args args = {.column_count = CK_TILE_COLUMNS, .is_f32 = k->is_f32};
    args.gate_up = room(operand_bytes(k, 2 * TILES * PAIRS));
    args.hidden = result(operand_bytes(k, TILES * PAIRS));
    for (size_t t = 0; t < TILES; t++) {
        float *tile = room(2 * PAIRS * sizeof(float));
        for (size_t i = 0; i < PAIRS; i++) {
            tile[2 * i] = (float)(t * PAIRS + i) * 0x1p-5f - 100.0f;
            tile[2 * i + 1] = is_tiny ? 0x1p-100f : 1.0f;
        }
        k->fused->swiglu(&args, tile, t * CK_TILE_ROWS, 0, CK_TILE_ROWS, CK_TILE_COLUMNS);
    }
}

static void norm(const kernels *k) {
    enum { COUNT = 70 };  // more than a block of rows
    const ck_norm_forward_args forward = {
        floats(COUNT * COLUMNS, 2), floats(COLUMNS, 1), 1e-5f,
        result(operand_bytes(k, COUNT * COLUMNS)), result(COUNT * 4), COUNT, COLUMNS, k->is_f32};
    run(k->rows->norm.forward, &forward);
    const ck_norm_backward_args backward = {
        forward.x, forward.gain, forward.inverse_rms, floats(COUNT * COLUMNS, 1),
        hashed(floats(COUNT * COLUMNS, 1), COUNT * COLUMNS * 4), room(2 * COLUMNS * 4),
        hashed(floats(COLUMNS, 1), COLUMNS * 4), COUNT, COLUMNS};
    run(k->rows->norm.backward, &backward);
    run(k->rows->norm.reduce_gain, &backward);
}

static void embedding(const kernels *k) {
    uint32_t *ids = room(ROWS * sizeof *ids);
    ptrdiff_t *rows = room(ROWS * sizeof *rows);
    for (size_t t = 0; t < ROWS; t++) ids[t] = (uint32_t)(rows[t] = (ptrdiff_t)(t * t % 7));
    const ck_embedding_forward_args forward = {
        ids, floats(7 * DEPTH, 1), result(ROWS * DEPTH * 4), dropout(), ROWS, DEPTH};
    run(k->rows->embedding.forward, &forward);
    const ck_embedding_backward_args backward = {
        rows, floats(ROWS * DEPTH, 1), hashed(floats(7 * DEPTH, 1), 7 * DEPTH * 4), dropout(),
        ROWS, DEPTH};
    run(k->rows->embedding.backward, &backward);
}

static void elementwise(const kernels *k) {
    const size_t count = CK_SQUARES_BLOCK + 77;
    const float *x = floats(count, 3);
    const ck_add_args add = {x, hashed(floats(count, 1), count * 4), count};
    run(k->rows->elementwise.add, &add);
    const ck_round_args rounding = {
        x, result(operand_bytes(k, count)), dropout(), count, k->is_f32};
    run(k->rows->elementwise.round, &rounding);
    const ck_squares_args squares = {x, result(2 * sizeof(double)), count};
    run(k->rows->elementwise.squares, &squares);
}

static void adamw(const kernels *k) {
    const size_t count = 1007;
    const ck_adamw_args args = {
        hashed(floats(count, 1), count * 4), hashed(floats(count, 1), count * 4),
        hashed(magnitudes(count, 1), count * 4), floats(count, 1), count, 0.37f, 0.9f, 0.95f,
        1 - 0.9f, 1 - 0.95f, 3e-4f, 1.7f, 1e-8f, 1 - 3e-5f};
    run(k->rows->adamw.update, &args);
}

// Segments of more and of less than a tile; two query heads share a key-value head.
enum { TOKENS = 73, HEADS = 4, GROUPS = 2 };
static const ck_attention_segment segments[] = {{0, 70}, {70, TOKENS}};

static ck_attention_shape attention_shape(const kernels *k, size_t head_width) {
    return (ck_attention_shape){
        k->is_f32 ? k->tiles.f32 : k->tiles.bf16, k->is_f32, HEADS, GROUPS, head_width};
}

static void *queries_keys_values(const kernels *k, size_t head_width) {
    return operands(k, TOKENS * (HEADS + 2 * GROUPS) * head_width, 2);
}

static ck_attention_args attend(const kernels *k, size_t head_width) {
    const size_t bytes = ck_attention_workspace_bytes(k->is_f32, head_width, 70);
    const size_t stride = (bytes + 63) / 64 * 64;
    const ck_attention_args args = {
        attention_shape(k, head_width), TOKENS, segments, 2, queries_keys_values(k, head_width),
        result(operand_bytes(k, TOKENS * HEADS * head_width)), result(HEADS * TOKENS * 4),
        room(MEMBERS * stride), stride};
    run(k->attention->forward, &args);
    return args;
}

static void attention_forward(const kernels *k) {
    attend(k, 20);
    attend(k, 80);  // wider than a panel
}

static void attention_backward(const kernels *k) {
    for (size_t head_width = 20; head_width <= 80; head_width += 60) {
        const size_t stride = head_width / 2 + 8, width = (HEADS + 2 * GROUPS) * head_width;
        const ck_attention_backward_args args = {
            attend(k, head_width), operands(k, TOKENS * HEADS * head_width, 1),
            result(operand_bytes(k, TOKENS * width)), floats(5 * stride, 1), floats(5 * stride, 1),
            stride, positions(TOKENS)};
        run(k->attention->backward, &args);
    }
}

// Two streams: a prompt each, then tokens one by one and a few at once, past the edge of a tile.
static void attention_decode(const kernels *k) {
    enum { WIDTH = 20 };
    static const size_t new_rows[3][2] = {{62, 3}, {1, 5}, {3, 1}};
    const size_t tile_bytes = 2 * GROUPS * ck_attention_tile_bytes(k->is_f32, WIDTH);
    ck_attention_stream streams[2] = {{.tiles = room(tile_bytes)}, {.tiles = room(tile_bytes)}};
    for (size_t call = 0; call < 3; call++) {
        for (size_t s = 0; s < 2; s++) streams[s].row_count = new_rows[call][s];
        streams[1].first_row = streams[0].row_count;
        const size_t row_count = streams[0].row_count + streams[1].row_count;
        const ck_attention_decode_args args = {
            attention_shape(k, WIDTH), streams, 2, queries_keys_values(k, WIDTH),
            result(operand_bytes(k, row_count * HEADS * WIDTH))};
        run(k->attention->decode, &args);
        for (size_t s = 0; s < 2; s++) streams[s].token_count += new_rows[call][s];
    }
}

static void head(const kernels *k) {
    enum { VOCABULARY = 1100, STRIDE = 1152 };  // more than a block of 1,024
    uint32_t *targets = room(ROWS * sizeof *targets);
    bool *is_target = room(ROWS);
    for (size_t t = 0; t < ROWS; t++) {
        targets[t] = (uint32_t)(t * 83);
        is_target[t] = t % 5 != 3;
    }
    const ck_head_args args = {
        hashed(floats(ROWS * STRIDE, 60), ROWS * STRIDE * 4), ROWS, VOCABULARY, STRIDE, targets,
        is_target, result(ROWS * sizeof(double)), floats(ROWS, 61), 1, k->is_f32};
    run(k->head->cross_entropy, &args);
}

static void draw(const kernels *k) {
    enum { VOCABULARY = 2100, STRIDE = 2112 };
    ck_draw *draws = room(ROWS * sizeof *draws);
    for (size_t t = 0; t < ROWS; t++) {
        draws[t].scale = t == 0 ? __builtin_inff() : 0.5f + (float)t;
        draws[t].top_p = t % 2 == 0 ? 1 : 0.9;
        draws[t].uniform = (double)t / ROWS;
    }
    const ck_draw_args args = {
        floats(ROWS * STRIDE, 62), ROWS, STRIDE, VOCABULARY, draws, room(MEMBERS * STRIDE * 4),
        room(MEMBERS * STRIDE * 8), result(ROWS * 4)};
    run(k->head->draw, &args);
}

static const struct {
    const char *name;
    void (*run)(const kernels *);
} families[] = {
    {"packing", packing}, {"matmul_store", matmul_store}, {"matmul_blocks", matmul_blocks},
    {"matmul_operand", matmul_operand}, {"matmul_residual", matmul_residual},
    {"matmul_rotary", matmul_rotary}, {"matmul_swiglu", matmul_swiglu},
    {"matmul_swiglu_backward", matmul_swiglu_backward}, {"matmul_scatter", matmul_scatter},
    {"exponential", exponential}, {"norm", norm}, {"embedding", embedding},
    {"elementwise", elementwise}, {"adamw", adamw}, {"attention_forward", attention_forward},
    {"attention_backward", attention_backward}, {"attention_decode", attention_decode},
    {"head", head},
    {"draw", draw},
};

static void hash_results(cs_sha256 *hash) {
    for (size_t i = 0; i < result_count; i++)
        cs_sha256_update(hash, results[i].start, results[i].bytes);
    used = result_count = draw_count = 0;
}

static void print_family(size_t family, const kernels *k) {
    cs_sha256 hash;
    cs_sha256_start(&hash, 0);
    for (int pass = 0; pass < 2; pass++) {
        is_tiny = pass == 1;
        families[family].run(k);
        hash_results(&hash);
    }
    uint8_t digest[32];
    cs_sha256_finish(&hash, digest);
    printf("%s %s ", families[family].name, k->is_f32 ? "f32" : "bf16");
    for (int i = 0; i < 8; i++) printf("%02x", digest[i]);
    printf(" %s\n", k->variant);
}

int main(void) {
    cs_flush_subnormals();  // as every compute thread
    const char *name;
    for (size_t i = 0; (name = ck_variant_name(i)) != NULL; i++) {
        for (int32_t is_f32 = 0; is_f32 < 2; is_f32++) {
            // Its bf16 products are a profile of their own.
            if (!is_f32 && strcmp(name, "avx512bf16") == 0) continue;
            const kernels k = {
                name, is_f32, *ck_tile_named(name), ck_pack_named(name), ck_store_named(name),
                ck_fused_named(name), ck_head_named(name), ck_rows_named(name),
                ck_attention_named(name)};
            for (size_t f = 0; f < sizeof families / sizeof families[0]; f++) print_family(f, &k);
        }
    }
    return 0;
}
