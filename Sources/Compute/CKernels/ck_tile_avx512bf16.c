// The bf16 tile of Zen 4 and Cooper Lake and later: vdpbf16ps.
//
// 6 rows x 4 zmm = 24 sums + 4 of B + up to 3 broadcast pairs of A fill the 32 registers. One
// vdpbf16ps takes a pair of k into each sum; it rounds after each of the two additions and flushes
// subnormals, so results differ from the portable tile by rounding only. f32 products are those of
// avx512.
#pragma STDC FP_CONTRACT OFF
#if defined(__x86_64__)
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "include/ck_matmul.h"

#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma,avx512bf16")))
#define INLINE TARGET static inline __attribute__((always_inline))
#define UNROLL _Pragma("clang loop unroll(full)")

enum { VECTORS = CK_TILE_COLUMNS / 16, UNIT_BYTES = 4 * CK_TILE_COLUMNS };
_Static_assert(CK_TILE_ROWS * VECTORS + VECTORS + 1 <= 32, "the tile must fit in registers");

INLINE __m512bh load_pairs(const char *p) { return (__m512bh)_mm512_loadu_si512(p); }

INLINE __m512bh broadcast_pair(const char *p) {
    int32_t pair;
    memcpy(&pair, p, sizeof pair);
    return (__m512bh)_mm512_set1_epi32(pair);
}

INLINE void tile_rows(size_t unit_count, const char *a, size_t a_row_stride, size_t a_unit_stride,
                      const char *b, float *c, size_t c_row_stride, int rows, int mode,
                      const ck_ahead *ahead) {
    __m512 sum[CK_TILE_ROWS][VECTORS];
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int j = 0; j < VECTORS; j++)
            sum[i][j] = mode == CK_CONTINUE ? _mm512_loadu_ps(c + (size_t)i * c_row_stride + 16 * j)
                                            : _mm512_setzero_ps();
    for (size_t p = 0; p < unit_count; p++, a += a_unit_stride, b += UNIT_BYTES) {
        __m512bh b_pairs[VECTORS];
        __builtin_prefetch((const char *)ahead->start + p * ahead->step, 0, 2);
        UNROLL for (int j = 0; j < VECTORS; j++) b_pairs[j] = load_pairs(b + 64 * j);
        UNROLL for (int i = 0; i < rows; i++) {
            __m512bh a_pair = broadcast_pair(a + (size_t)i * a_row_stride);
            UNROLL for (int j = 0; j < VECTORS; j++)
                sum[i][j] = _mm512_dpbf16_ps(sum[i][j], a_pair, b_pairs[j]);
        }
    }
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int j = 0; j < VECTORS; j++) {
            float *to = c + (size_t)i * c_row_stride + 16 * j;
            __m512 value = sum[i][j];
            if (mode == CK_ACCUMULATE) value = _mm512_add_ps(_mm512_loadu_ps(to), value);
            _mm512_storeu_ps(to, value);
        }
}

TARGET static void tile_bf16(size_t unit_count, const void *a, size_t a_row_stride,
                             size_t a_unit_stride, const void *b, float *c, size_t c_row_stride,
                             size_t row_count, int mode, const ck_ahead *ahead) {
#define ROWS(n) \
    tile_rows(unit_count, a, a_row_stride, a_unit_stride, b, c, c_row_stride, n, mode, ahead)
    switch (row_count) {
    case 1: return ROWS(1);
    case 2: return ROWS(2);
    case 3: return ROWS(3);
    case 4: return ROWS(4);
    case 5: return ROWS(5);
    default: return ROWS(6);
    }
#undef ROWS
}

static void tile_f32(size_t unit_count, const void *a, size_t a_row_stride, size_t a_unit_stride,
                     const void *b, float *c, size_t c_row_stride, size_t row_count, int mode,
                     const ck_ahead *ahead) {
    extern const ck_tile_kernels ck_tile_avx512;
    ck_tile_avx512.f32(unit_count, a, a_row_stride, a_unit_stride, b, c, c_row_stride, row_count,
                       mode, ahead);
}

const ck_tile_kernels ck_tile_avx512bf16 = {"avx512bf16", tile_bf16, tile_f32, NULL, NULL};
#endif
