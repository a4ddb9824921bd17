// Sizes of attention's tiles and how its workspace is cut. Not a public header.
#ifndef CK_ATTENTION_GEOMETRY_H
#define CK_ATTENTION_GEOMETRY_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "include/ck_attention.h"

// 64 keys or queries are a tile; its panel rows are 64 units of 4 bytes. A strip is what the
// product kernel computes at once.
enum { TILE = CK_TILE_COLUMNS, STRIP = CK_TILE_ROWS, PANEL_ROW = TILE * 4 /* bytes */ };

static inline size_t tiles_of(size_t token_count) { return (token_count + TILE - 1) / TILE; }
static inline size_t element_bytes(int is_bf16) { return is_bf16 ? 2 : 4; }
// Units that hold n elements of the type.
static inline size_t units_of(int is_bf16, size_t n) { return is_bf16 ? (n + 1) / 2 : n; }

// What follows from the shape.
typedef struct {
    ck_tile tile;
    int is_bf16;
    float scale;                 // 1 / sqrt(H)
    size_t width, padded_width;  // H, and H in whole panels
    size_t units;                // of one head's row
    size_t panel_count;          // over padded_width
    size_t group;                // query heads per key-value head
    size_t head_bytes;           // of one head's row
    size_t row_bytes;            // of a row of qkv
    size_t output_row_bytes;
    size_t columns_bytes;        // 64 rows packed as columns
    size_t rows_bytes;           // 64 rows packed as k, all panels
    size_t block_bytes;          // 64 rows of f32, padded
} geometry;

static inline geometry geometry_of(const ck_attention_shape *shape) {
    geometry g;
    g.tile = shape->tile;
    g.is_bf16 = !shape->is_f32;
    g.scale = 1.0f / sqrtf((float)shape->head_width);
    g.width = shape->head_width;
    g.panel_count = (g.width + TILE - 1) / TILE;
    g.padded_width = g.panel_count * TILE;
    g.units = units_of(g.is_bf16, g.width);
    g.group = shape->head_count / shape->key_value_head_count;
    g.head_bytes = g.width * element_bytes(g.is_bf16);
    g.row_bytes = (shape->head_count + 2 * shape->key_value_head_count) * g.head_bytes;
    g.output_row_bytes = shape->head_count * g.head_bytes;
    g.columns_bytes = g.units * PANEL_ROW;
    g.rows_bytes = g.panel_count * units_of(g.is_bf16, TILE) * PANEL_ROW;
    g.block_bytes = TILE * g.padded_width * sizeof(float);
    return g;
}

// Cuts size bytes off a workspace. An address of 0 measures instead.
static inline void *cut(uintptr_t *at, size_t size) {
    void *part = (void *)*at;
    *at += size;
    return part;
}

// What the forward pass keeps per unit of work.
typedef struct {
    char *keys;     // [tile] keys as columns
    char *values;   // [tile] values as k
    float *output;  // [64, padded_width] of a block of queries, before division
    uintptr_t end;
} forward_space;

static inline forward_space forward_space_of(const geometry *g, size_t tile_count, uintptr_t at) {
    forward_space space;
    space.keys = cut(&at, tile_count * g->columns_bytes);
    space.values = cut(&at, tile_count * g->rows_bytes);
    space.output = cut(&at, g->block_bytes);
    space.end = at;
    return space;
}

// What the backward pass keeps per unit of work and per block of 64 queries.
typedef struct {
    char *key_rows;            // [tile] keys as k
    float *d_keys, *d_values;  // [tile, 64, padded_width], d_keys before the scale
    char *query_columns, *d_output_columns;  // of the block: Q^T and dO^T
    char *query_rows, *d_output_rows;        // Q and dO as k
    float *d_queries;          // [64, padded_width] of the block
    char *d_scores;            // dS with pairs of keys interleaved: [keys in units][64 queries]
    float *log_sum_exp;        // [64], infinity where the block has no query
    float *delta;              // [64], 0 likewise
    uintptr_t end;
} backward_space;

static inline backward_space backward_space_of(const geometry *g, size_t tile_count, uintptr_t at) {
    backward_space space;
    space.key_rows = cut(&at, tile_count * g->rows_bytes);
    space.d_keys = cut(&at, tile_count * g->block_bytes);
    space.d_values = cut(&at, tile_count * g->block_bytes);
    space.query_columns = cut(&at, g->columns_bytes);
    space.d_output_columns = cut(&at, g->columns_bytes);
    space.query_rows = cut(&at, g->rows_bytes);
    space.d_output_rows = cut(&at, g->rows_bytes);
    space.d_queries = cut(&at, g->block_bytes);
    space.d_scores = cut(&at, TILE * PANEL_ROW);
    space.log_sum_exp = cut(&at, TILE * sizeof(float));
    space.delta = cut(&at, TILE * sizeof(float));
    space.end = at;
    return space;
}

#endif
