#pragma STDC FP_CONTRACT OFF
#include "include/ck_attention.h"

#include <string.h>

#include "ck_attention_variants.h"

// Sizes in 64-token tiles: keys as columns, values as rows, f32 blocks; see ck_attention.inc.
static size_t padded_width(size_t head_width) { return (head_width + 63) / 64 * 64; }
static size_t columns_bytes(int32_t is_f32, size_t head_width) {
    return (is_f32 ? head_width : head_width / 2) * 64 * 4;
}
static size_t rows_bytes(int32_t is_f32, size_t head_width) {
    return padded_width(head_width) * 64 * (is_f32 ? 4 : 2);
}

size_t ck_attention_tile_bytes(int32_t is_f32, size_t head_width) {
    return columns_bytes(is_f32, head_width) + rows_bytes(is_f32, head_width);
}

size_t ck_attention_workspace_bytes(int32_t is_f32, size_t head_width, size_t segment_length) {
    const size_t tile_count = (segment_length + 63) / 64;
    const size_t columns = columns_bytes(is_f32, head_width);
    const size_t rows = rows_bytes(is_f32, head_width);
    const size_t block = 64 * padded_width(head_width) * sizeof(float);
    const size_t forward = tile_count * (columns + rows) + block;
    const size_t statistics = 2 * 64 * sizeof(float), d_scores = 64 * 64 * sizeof(float);
    const size_t backward = tile_count * (rows + 2 * block) + 2 * columns + 2 * rows + block +
                            d_scores + statistics;
    return forward > backward ? forward : backward;
}

static const ck_attention_kernels *const variants[] = {
#if defined(__x86_64__)
    &ck_attention_avx512bf16, &ck_attention_avx512, &ck_attention_avx2,
#elif defined(__aarch64__)
    &ck_attention_neon,
#endif
    &ck_attention_scalar,
};

const ck_attention_kernels *ck_attention_named(const char *variant) {
    for (size_t i = 0; i < sizeof variants / sizeof variants[0]; i++)
        if (strcmp(variants[i]->name, variant) == 0) return variants[i];
    return NULL;
}
