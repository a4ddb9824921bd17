#pragma STDC FP_CONTRACT OFF
#include <string.h>

#include "ck_attention_geometry.h"
#include "ck_attention_variants.h"

// One head: enough to know sizes that do not depend on the number of heads. No product is computed.
static geometry geometry_of_head(int32_t is_f32, size_t head_width) {
    const ck_attention_shape shape = {ck_tile_named("scalar")->f32, is_f32, 1, 1, head_width};
    return geometry_of(&shape);
}

size_t ck_attention_tile_bytes(int32_t is_f32, size_t head_width) {
    const geometry g = geometry_of_head(is_f32, head_width);
    return g.columns_bytes + g.rows_bytes;
}

size_t ck_attention_workspace_bytes(int32_t is_f32, size_t head_width, size_t segment_length) {
    const geometry g = geometry_of_head(is_f32, head_width);
    const size_t tile_count = tiles_of(segment_length);
    const size_t forward = forward_space_of(&g, tile_count, 0).end;
    const size_t backward = backward_space_of(&g, tile_count, 0).end;
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
