// Register-only probes: independent chains of multiply-adds, as many as hide the latency. The empty
// asm makes every result opaque, so that the compiler neither drops nor merges a step.
#pragma STDC FP_CONTRACT OFF
#include "ck_probe.h"

#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#define KEEP(x) __asm__ volatile("" : "+v"(x))
#else
#define KEEP(x) __asm__ volatile("" : "+w"(x))
#endif

enum { CHAINS = 12 };

// Defines a probe over CHAINS sums of type Vector, advanced by STEP(sum, a, b), which is flop
// floating-point operations.
#define PROBE(name, attributes, Vector, flop, STEP)                                              \
    attributes static double name(size_t round_count) {                                          \
        Vector sums[CHAINS] = {0}, a = {0}, b = {0};                                             \
        KEEP(a);                                                                                 \
        KEEP(b);                                                                                 \
        for (size_t r = 0; r < round_count; r++) {                                               \
            _Pragma("clang loop unroll(full)") for (int i = 0; i < CHAINS; i++) {                \
                sums[i] = STEP(sums[i], a, b);                                                   \
                KEEP(sums[i]);                                                                   \
            }                                                                                    \
        }                                                                                        \
        return (double)round_count * CHAINS * (flop);                                            \
    }

#define MULTIPLY_THEN_ADD(sum, a, b) ((sum) + (a) * (b))

#if defined(__x86_64__)
#define AVX512BF16 __attribute__((target("avx512f,avx512bf16")))
#define AVX512 __attribute__((target("avx512f,fma")))
#define AVX2 __attribute__((target("avx2,fma")))
#define BF16_STEP(sum, a, b) _mm512_dpbf16_ps(sum, (__m512bh)(a), (__m512bh)(b))
#define AVX512_STEP(sum, a, b) _mm512_fmadd_ps(a, b, sum)
#define AVX2_STEP(sum, a, b) _mm256_fmadd_ps(a, b, sum)
PROBE(probe_avx512bf16, AVX512BF16, __m512, 64, BF16_STEP)
PROBE(probe_avx512, AVX512, __m512, 32, AVX512_STEP)
PROBE(probe_avx2, AVX2, __m256, 16, AVX2_STEP)
#elif defined(__aarch64__)
typedef float f32x4 __attribute__((vector_size(16)));
#define NEON_STEP(sum, a, b) __builtin_elementwise_fma(a, b, sum)
PROBE(probe_neon, , f32x4, 8, NEON_STEP)
#endif
PROBE(probe_scalar, , float, 2, MULTIPLY_THEN_ADD)

double ck_probe(const char *variant, int32_t is_f32, size_t round_count) {
    (void)is_f32;  // one instruction for both precisions, except in avx512bf16
#if defined(__x86_64__)
    if (strcmp(variant, "avx512bf16") == 0)
        return is_f32 ? probe_avx512(round_count) : probe_avx512bf16(round_count);
    if (strcmp(variant, "avx512") == 0) return probe_avx512(round_count);
    if (strcmp(variant, "avx2") == 0) return probe_avx2(round_count);
#elif defined(__aarch64__)
    if (strcmp(variant, "neon") == 0) return probe_neon(round_count);
#endif
    return strcmp(variant, "scalar") == 0 ? probe_scalar(round_count) : 0;
}
