// Causal attention over packed 64-key tiles: forward, backward, and the forward of new tokens.
//
// N query heads, G key-value heads (G divides N), H head width (even), T tokens. A row of qkv is
// q of every query head, then k, then v of every key-value head. Matrices are row-major in the
// operand type (bf16 or f32) without padding. All sizes are elements unless they say bytes.
#ifndef CK_ATTENTION_H
#define CK_ATTENTION_H

#include <stddef.h>
#include <stdint.h>

#include "ck_matmul.h"

// H at most. A constant, so that a generated row accumulates on the stack.
enum { CK_ATTENTION_WIDTH_MAX = 256 };

// Rows that attend only within themselves: [start, end).
typedef struct {
    ptrdiff_t start, end;
} ck_attention_segment;

// What a head looks like and how its products are computed.
typedef struct {
    ck_tile tile;  // of the variant and of the operand type
    int32_t is_bf16;
    size_t head_count, key_value_head_count, head_width;  // N, G, H
} ck_attention_shape;

// Forward and backward over whole segments. A unit of work is one key-value head of one segment,
// so that packed keys and values serve all query heads of its group.
typedef struct {
    ck_attention_shape shape;
    size_t token_count;  // T
    const ck_attention_segment *segments;
    size_t segment_count;
    const void *qkv;      // [T, (N + 2G) H]
    void *output;         // [T, N H]; the forward writes, the backward reads
    float *log_sum_exp;   // [N, T]; the forward writes, the backward reads
    const void *d_output;  // [T, N H]; backward only, as all below
    void *d_qkv;           // [T, (N + 2G) H], rotary undone on q and k
    const float *cosine, *sine;  // [positions, H / 2]
    const int32_t *positions;    // [T]
    char *workspace;
    size_t workspace_stride_bytes;  // of one member
} ck_attention_args;

// One stream of a generation: its cache and its new tokens.
typedef struct {
    char *tiles;         // [tile][G][K panel, V panels], see ck_attention_tile_bytes
    size_t token_count;  // tokens in the cache before this call
    size_t first_row;    // of its new tokens in qkv and output
    size_t row_count;    // new tokens
} ck_attention_stream;

// Appends the new tokens of every stream to its cache and attends from them. A unit of work is
// one key-value head of one stream.
typedef struct {
    ck_attention_shape shape;
    const ck_attention_stream *streams;
    size_t stream_count;
    const void *qkv;  // [rows, (N + 2G) H]
    void *output;     // [rows, N H]
} ck_attention_decode_args;

// Workspace of one member for segments of up to segment_length tokens.
size_t ck_attention_workspace_bytes(int is_bf16, size_t head_width, size_t segment_length);

// Packed keys and values of 64 tokens of one key-value head.
size_t ck_attention_tile_bytes(int is_bf16, size_t head_width);

typedef struct {
    const char *name;
    void (*forward)(const ck_attention_args *args, int member, int member_count);
    void (*backward)(const ck_attention_args *args, int member, int member_count);
    void (*decode)(const ck_attention_decode_args *args, int member, int member_count);
} ck_attention_kernels;

// The kernels compiled for a variant, or NULL where this build has none of that name.
const ck_attention_kernels *ck_attention_named(const char *name);

#endif
