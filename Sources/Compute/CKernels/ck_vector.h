// Sixteen f32 lanes on every instruction set, and the functions of one variable that kernels need.
//
// A kernel body is written once with these types and compiled once per instruction set, from a
// small file that sets CK_TARGET and includes the body. Clang maps the 64-byte vectors to one zmm,
// two ymm or four NEON registers, or to scalars. The lanes and the order of every addition are in
// the source, so all builds of a body give the same bits. FMA is written out; contraction is off.
//
// Not a public header: it is included after
//   #pragma clang attribute push(__attribute__((target(CK_TARGET))), apply_to = function)
// A file that compiles for AVX-512 defines CK_AVX512 first: partial loads and stores then take one
// masked instruction instead of a call to memcpy.
#ifndef CK_VECTOR_H
#define CK_VECTOR_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef CK_AVX512
#include <immintrin.h>
#endif

// Clang warns that a 64-byte vector travels differently between functions of different targets.
// Here every function that takes one is inlined, so none ever travels.
#pragma clang diagnostic ignored "-Wpsabi"

enum { CK_LANES = 16 };

typedef float ck_f32x16 __attribute__((vector_size(64)));
typedef int32_t ck_i32x16 __attribute__((vector_size(64)));
typedef uint32_t ck_u32x16 __attribute__((vector_size(64)));
typedef uint16_t ck_u16x16 __attribute__((vector_size(32)));

#define CK_INLINE static inline __attribute__((always_inline))

CK_INLINE ck_f32x16 ck_splat(float x) {
    return (ck_f32x16){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x};
}

CK_INLINE ck_f32x16 ck_load(const float *p) {
    ck_f32x16 v;
    memcpy(&v, p, sizeof v);
    return v;
}

CK_INLINE void ck_store(float *p, ck_f32x16 v) { memcpy(p, &v, sizeof v); }

// The first count lanes from memory, the others zero.
CK_INLINE ck_f32x16 ck_load_first(const float *p, size_t count) {
#ifdef CK_AVX512
    return (ck_f32x16)_mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), p);
#else
    ck_f32x16 v = ck_splat(0.0f);
    memcpy(&v, p, count * sizeof(float));
    return v;
#endif
}

CK_INLINE void ck_store_first(float *p, ck_f32x16 v, size_t count) {
#ifdef CK_AVX512
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << count) - 1), (__m512)v);
#else
    memcpy(p, &v, count * sizeof(float));
#endif
}

CK_INLINE ck_f32x16 ck_fma(ck_f32x16 a, ck_f32x16 b, ck_f32x16 c) {
    return __builtin_elementwise_fma(a, b, c);
}

CK_INLINE ck_f32x16 ck_select(ck_i32x16 mask, ck_f32x16 yes, ck_f32x16 no) {
    return (ck_f32x16)((mask & (ck_i32x16)yes) | (~mask & (ck_i32x16)no));
}

// Lane by lane, as the > operator decides: a NaN in a gives b.
CK_INLINE ck_f32x16 ck_max(ck_f32x16 a, ck_f32x16 b) { return ck_select(a > b, a, b); }

// bf16 bits to f32, exact.
CK_INLINE ck_f32x16 ck_load_bf16(const uint16_t *p) {
    ck_u16x16 bits;
    memcpy(&bits, p, sizeof bits);
    return (ck_f32x16)(__builtin_convertvector(bits, ck_u32x16) << 16);
}

// f32 rounded to bf16 in the high half of a word: to nearest, ties to even; a NaN stays quiet.
// The low half is not cleared.
CK_INLINE ck_u32x16 ck_round_bf16_word(ck_f32x16 v) {
    ck_u32x16 bits = (ck_u32x16)v;
    ck_u32x16 rounded = bits + 0x7FFF + ((bits >> 16) & 1);
    ck_u32x16 is_nan = (ck_u32x16)(v != v);
    return (is_nan & (bits | 0x400000)) | (~is_nan & rounded);
}

CK_INLINE ck_u32x16 ck_round_bf16_low(ck_f32x16 v) { return ck_round_bf16_word(v) >> 16; }
CK_INLINE ck_u32x16 ck_round_bf16_high(ck_f32x16 v) {
    return ck_round_bf16_word(v) & 0xFFFF0000u;
}

CK_INLINE ck_u16x16 ck_round_bf16(ck_f32x16 v) {
    return __builtin_convertvector(ck_round_bf16_low(v), ck_u16x16);
}

CK_INLINE void ck_store_bf16(uint16_t *p, ck_f32x16 v) {
    ck_u16x16 bits = ck_round_bf16(v);
    memcpy(p, &bits, sizeof bits);
}

typedef float ck_f32x8 __attribute__((vector_size(32)));
typedef float ck_f32x4 __attribute__((vector_size(16)));
typedef float ck_f32x2 __attribute__((vector_size(8)));
typedef int32_t ck_i32x8 __attribute__((vector_size(32)));
typedef int32_t ck_i32x4 __attribute__((vector_size(16)));

// p[0], p[0], p[1], p[1], ... p[7], p[7].
CK_INLINE ck_f32x16 ck_load_twice(const float *p) {
    ck_f32x8 v;
    memcpy(&v, p, sizeof v);
    return __builtin_shufflevector(v, v, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
}

// The first count bf16 values from memory, the other lanes zero.
CK_INLINE ck_f32x16 ck_load_bf16_first(const uint16_t *p, size_t count) {
#ifdef CK_AVX512
    ck_u16x16 bits =
        (ck_u16x16)_mm256_maskz_loadu_epi16((__mmask16)((1u << count) - 1), p);
#else
    ck_u16x16 bits = {0};
    memcpy(&bits, p, count * sizeof(uint16_t));
#endif
    return (ck_f32x16)(__builtin_convertvector(bits, ck_u32x16) << 16);
}

CK_INLINE void ck_store_bf16_first(uint16_t *p, ck_f32x16 v, size_t count) {
    ck_u16x16 bits = ck_round_bf16(v);
#ifdef CK_AVX512
    _mm256_mask_storeu_epi16(p, (__mmask16)((1u << count) - 1), (__m256i)bits);
#else
    memcpy(p, &bits, count * sizeof(uint16_t));
#endif
}

CK_INLINE ck_u32x16 ck_zip_low(ck_u32x16 a, ck_u32x16 b) {
    return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}

CK_INLINE ck_u32x16 ck_zip_high(ck_u32x16 a, ck_u32x16 b) {
    return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15,
                                   31);
}

// Row r of 16 x 16 units becomes column r: four perfect shuffles.
CK_INLINE void ck_transpose(ck_u32x16 block[16]) {
    ck_u32x16 other[16];
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 8; i++) {
            other[2 * i] = ck_zip_low(block[i], block[i + 8]);
            other[2 * i + 1] = ck_zip_high(block[i], block[i + 8]);
        }
        for (int i = 0; i < 8; i++) {
            block[2 * i] = ck_zip_low(other[i], other[i + 8]);
            block[2 * i + 1] = ck_zip_high(other[i], other[i + 8]);
        }
    }
}

// The one order in which sixteen lanes become one number: lane i with lane i + 8, then i + 4,
// i + 2, i + 1.
CK_INLINE float ck_sum_lanes(ck_f32x16 v) {
    ck_f32x8 a = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
                 __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
    ck_f32x4 b = __builtin_shufflevector(a, a, 0, 1, 2, 3) +
                 __builtin_shufflevector(a, a, 4, 5, 6, 7);
    ck_f32x2 c = __builtin_shufflevector(b, b, 0, 1) + __builtin_shufflevector(b, b, 2, 3);
    return c[0] + c[1];
}

// The largest lane, in the order of ck_sum_lanes. A NaN may or may not survive.
CK_INLINE float ck_max_lanes(ck_f32x16 v) {
    ck_f32x8 low = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7);
    ck_f32x8 high = __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
    ck_i32x8 larger = low > high;
    ck_f32x8 a = (ck_f32x8)((larger & (ck_i32x8)low) | (~larger & (ck_i32x8)high));
    ck_f32x4 left = __builtin_shufflevector(a, a, 0, 1, 2, 3);
    ck_f32x4 right = __builtin_shufflevector(a, a, 4, 5, 6, 7);
    ck_i32x4 above = left > right;
    ck_f32x4 b = (ck_f32x4)((above & (ck_i32x4)left) | (~above & (ck_i32x4)right));
    float c = b[0] > b[2] ? b[0] : b[2], d = b[1] > b[3] ? b[1] : b[3];
    return c > d ? c : d;
}

// e^x. Range reduction x = n ln 2 + r, |r| <= ln 2 / 2, then 1 + r + r^2 q(r) with the q of degree
// 4 whose relative error is least (3.1e-9, coefficients rounded one by one). Over all floats in
// [-87.3, 88.7] the result is within 0.9 ulp; above, it stays at its value at 88.7. exp(0) is
// exactly 1 (the online softmax relies on it); below -87.3, -infinity included, the result is
// exactly 0; NaN stays.
CK_INLINE ck_f32x16 ck_exp(ck_f32x16 x) {
    const ck_f32x16 log2_e = ck_splat(0x1.715476p+0f);
    const ck_f32x16 ln2_high = ck_splat(0x1.62e400p-1f), ln2_low = ck_splat(0x1.7f7d1cp-20f);
    const ck_f32x16 shift = ck_splat(0x1.8p23f);  // adding it rounds to an integer
    ck_f32x16 y = ck_select(x > ck_splat(88.7f), ck_splat(88.7f), x);
    ck_f32x16 shifted = ck_fma(y, log2_e, shift);
    ck_f32x16 n = shifted - shift;
    ck_f32x16 r = ck_fma(-n, ln2_high, y);
    r = ck_fma(-n, ln2_low, r);
    ck_f32x16 p = ck_splat(0x1.6a4ce4p-10f);
    p = ck_fma(p, r, ck_splat(0x1.123988p-7f));
    p = ck_fma(p, r, ck_splat(0x1.5558b0p-5f));
    p = ck_fma(p, r, ck_splat(0x1.555492p-3f));
    p = ck_fma(p, r, ck_splat(0x1.fffffcp-2f));
    p = ck_fma(p, r, ck_splat(1.0f));
    p = ck_fma(p, r, ck_splat(1.0f));
    // The low bits of shifted are n: moved into the exponent field they multiply p by 2^n. In the
    // range the sum of the exponents stays within 1...254, at n = 128 too, where p < 1.
    ck_f32x16 result = (ck_f32x16)((ck_u32x16)p + ((ck_u32x16)shifted << 23));
    result = ck_select(x < ck_splat(-87.3f), ck_splat(0.0f), result);
    return ck_select(x != x, x, result);
}

#endif
