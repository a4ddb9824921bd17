// Causal attention over packed 64-key tiles: forward, backward, and the forward of new tokens.
//
// N query heads, G key-value heads (G divides N), H head width (even), T tokens. A row of qkv is
// q of every query head, then k, then v of every key-value head. Matrices are row-major in the
// operand type (bf16 or f32) without padding. Sizes are elements unless they say bytes.
#ifndef CK_ATTENTION_H
#define CK_ATTENTION_H

#include <stddef.h>
#include <stdint.h>

#include "ck_job.h"
#include "ck_matmul.h"

// H at most. A constant, so that a generated row accumulates on the stack.
enum { CK_ATTENTION_WIDTH_MAX = 256 };

// Rows that attend only within themselves: begin..<end.
typedef struct {
    ptrdiff_t begin, end;
} ck_attention_segment;

// What heads look like and how their products are computed.
typedef struct {
    ck_tile _Nonnull tile;  // of the operand type
    int32_t is_f32;         // the operand type is f32
    size_t head_count, key_value_head_count, head_width;  // N, G, H
} ck_attention_shape;

// A unit of work is one key-value head of one segment, so that its packed keys and values serve
// all query heads of the group. Members split the units.
typedef struct {
    ck_attention_shape shape;
    size_t token_count;  // T
    const ck_attention_segment *_Nonnull segments;
    size_t segment_count;
    const void *_Nonnull qkv;       // [T, (N + 2G) H]
    void *_Nonnull output;          // [T, N H]; the forward writes it, the backward reads it
    float *_Nonnull log_sum_exp;    // [N, T]; likewise
    char *_Nonnull workspace;       // ck_attention_workspace_bytes for every member
    size_t workspace_stride_bytes;  // from one member to the next
} ck_attention_args;

typedef struct {
    ck_attention_args forward;
    const void *_Nonnull d_output;       // [T, N H]
    void *_Nonnull d_qkv;                // [T, (N + 2G) H], the rotation of q and k undone
    const float *_Nonnull cosines;       // [positions, rotary_row_stride]: H / 2 of every position,
    const float *_Nonnull sines;         // and 8 floats more that may be read
    size_t rotary_row_stride;
    const int32_t *_Nonnull positions;   // [T]
} ck_attention_backward_args;

// One stream of a generation: its cache and its new tokens.
typedef struct {
    char *_Nonnull tiles;  // [tile][G][ck_attention_tile_bytes], room for the new tokens included
    size_t token_count;    // in the cache before this call
    size_t first_row;      // of its new tokens in qkv and output
    size_t row_count;      // new tokens
} ck_attention_stream;

// Appends the new tokens of every stream to its cache and attends from them. A unit of work is
// one key-value head of one stream. Members split the units.
typedef struct {
    ck_attention_shape shape;
    const ck_attention_stream *_Nonnull streams;
    size_t stream_count;
    const void *_Nonnull qkv;  // [rows, (N + 2G) H]
    void *_Nonnull output;     // [rows, N H]
} ck_attention_decode_args;

// Bytes of one member's workspace for segments of up to segment_length tokens.
size_t ck_attention_workspace_bytes(int32_t is_f32, size_t head_width, size_t segment_length);

// Bytes of the packed keys and values of 64 tokens of one key-value head.
size_t ck_attention_tile_bytes(int32_t is_f32, size_t head_width);

// The softmax of one head of one segment whose scores lie in memory: what is left of attention
// between its products. Rows are queries, columns keys; row t sees columns 0...t.
typedef struct {
    const float *_Nonnull scores;      // [count, count]; what a row does not see is not read
    const float *_Nonnull d_weights;   // backward: the gradient of weights, likewise
    void *_Nonnull weights;            // [count, count], operand type; zero where not seen
    void *_Nonnull d_scores;           // backward: likewise, of the scores before scaling
    float *_Nonnull log_sum_exp;       // [count]; the forward writes it, the backward reads it
    size_t count;                      // tokens
    float scale;                       // of scores: 1 / sqrt(H)
    int32_t is_f32;                    // the operand type
} ck_soften_args;

typedef struct {
    const char *_Nonnull name;
    ck_job _Nonnull forward;   // of ck_attention_args
    ck_job _Nonnull backward;  // of ck_attention_backward_args
    ck_job _Nonnull decode;    // of ck_attention_decode_args
    // Of ck_soften_args; members split the rows. Forward: weights and log_sum_exp. Backward:
    // weights again, and d_scores.
    ck_job _Nonnull soften, soften_backward;
} ck_attention_kernels;

// The kernels of a variant, or NULL if this architecture has none of that name.
const ck_attention_kernels *_Nullable ck_attention_named(const char *_Nonnull variant);

#endif
