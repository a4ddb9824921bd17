#pragma STDC FP_CONTRACT OFF
// CRC-32C (Castagnoli, reflected polynomial 0x82F63B78): the checksum of frames, records and files.
#include "csystem.h"

#include <string.h>

// Eight bytes per look-up round (slicing by 8, Kounavis & Berry 2005), for CPUs without SSE 4.2.
static uint32_t table[8][256];

__attribute__((constructor)) static void fill_table(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78u : 0);
        table[0][byte] = crc;
    }
    for (int row = 1; row < 8; row++) {
        for (int byte = 0; byte < 256; byte++) {
            uint32_t crc = table[row - 1][byte];
            table[row][byte] = crc >> 8 ^ table[0][crc & 255];
        }
    }
}

uint32_t cs_crc32c_portable(uint32_t seed, const void *start, size_t byte_count) {
    const uint8_t *bytes = start;
    uint32_t crc = ~seed;
    for (; byte_count >= 8; byte_count -= 8, bytes += 8) {
        uint64_t word;
        memcpy(&word, bytes, 8);
        word ^= crc;
        crc = 0;
        for (int i = 0; i < 8; i++) crc ^= table[7 - i][word >> 8 * i & 255];
    }
    for (; byte_count > 0; byte_count--) crc = crc >> 8 ^ table[0][(crc ^ *bytes++) & 255];
    return ~crc;
}

#if defined(__aarch64__)
#include <sys/auxv.h>
#define WITH_CRC __attribute__((target("crc")))
#define CRC_64(crc, word) __builtin_arm_crc32cd((uint32_t)(crc), word)
#define CRC_8(crc, byte) __builtin_arm_crc32cb(crc, byte)
// Bit 7 of the first word of hardware capabilities is HWCAP_CRC32.
static int has_crc(void) { return (getauxval(AT_HWCAP) >> 7 & 1) != 0; }
#elif defined(__x86_64__)
#include <immintrin.h>
#define WITH_CRC __attribute__((target("sse4.2")))
#define CRC_64(crc, word) __builtin_ia32_crc32di(crc, word)
#define CRC_8(crc, byte) __builtin_ia32_crc32qi(crc, byte)
static int has_crc(void) { return __builtin_cpu_supports("sse4.2") != 0; }
#endif

#if defined(CRC_64)

// The crc32 instruction has a latency of 3 cycles, so three strips run side by side; a strip's CRC
// is moved past the next strip by a table of the linear map "append STRIP zero bytes".
enum { STRIP = 4096 };
static uint32_t skip[4][256];

static uint32_t append_zeros(uint32_t crc, size_t byte_count) {
    for (; byte_count > 0; byte_count--) crc = crc >> 8 ^ table[0][crc & 255];
    return crc;
}

__attribute__((constructor(65535))) static void fill_skip(void) {
    if (table[0][1] == 0) fill_table();
    uint32_t basis[32];
    for (int bit = 0; bit < 32; bit++) basis[bit] = append_zeros(1u << bit, STRIP);
    for (int row = 0; row < 4; row++) {
        for (int byte = 0; byte < 256; byte++) {
            uint32_t sum = 0;
            for (int bit = 0; bit < 8; bit++) {
                if (byte >> bit & 1) sum ^= basis[8 * row + bit];
            }
            skip[row][byte] = sum;
        }
    }
}

static uint32_t past_strip(uint32_t crc) {
    return skip[0][crc & 255] ^ skip[1][crc >> 8 & 255] ^ skip[2][crc >> 16 & 255] ^
           skip[3][crc >> 24];
}

static uint64_t word_at(const uint8_t *bytes) {
    uint64_t word;
    memcpy(&word, bytes, 8);
    return word;
}

WITH_CRC static uint32_t hardware(uint32_t seed, const uint8_t *bytes, size_t byte_count) {
    uint64_t crc = (uint32_t)~seed;
    for (; byte_count >= 3 * STRIP; byte_count -= 3 * STRIP, bytes += 3 * STRIP) {
        uint64_t second = 0, third = 0;
        for (size_t i = 0; i < STRIP; i += 8) {
            crc = CRC_64(crc, word_at(bytes + i));
            second = CRC_64(second, word_at(bytes + STRIP + i));
            third = CRC_64(third, word_at(bytes + 2 * STRIP + i));
        }
        crc = past_strip(past_strip((uint32_t)crc) ^ (uint32_t)second) ^ (uint32_t)third;
    }
    for (; byte_count >= 8; byte_count -= 8, bytes += 8) {
        crc = CRC_64(crc, word_at(bytes));
    }
    uint32_t rest = (uint32_t)crc;
    for (; byte_count > 0; byte_count--) rest = CRC_8(rest, *bytes++);
    return ~rest;
}

#if defined(__x86_64__)

// Long runs by carry-less multiplication, 64 bytes at a time (Gopal et al. 2009, Intel): a block of
// 128 bits is moved past D bits of the message by multiplying its first half with x^(D + 64) and
// its second with x^D, both mod P. Bits are reflected, which makes the product of two halves too
// large by x: hence the exponents below. Four runs of 64 bytes go side by side.
enum { FOLD = 64, FOLDS = 4, FOLDED_MIN = 2 * FOLD * FOLDS };
typedef struct {
    long long first, second;
} multipliers;
static multipliers past_one, past_all;

static multipliers multipliers_of(size_t bit_count) {
    multipliers found = {0, 0};
    uint32_t power = 1u << 31;  // x^0
    for (size_t n = 0; n < bit_count + 63; n++) {
        if (n == bit_count - 1) found.second = (long long)((uint64_t)power << 32);
        power = power >> 1 ^ (power & 1 ? 0x82F63B78u : 0);
    }
    found.first = (long long)((uint64_t)power << 32);
    return found;
}

__attribute__((constructor)) static void fill_multipliers(void) {
    past_one = multipliers_of(8 * FOLD);
    past_all = multipliers_of(8 * FOLD * FOLDS);
}

#define WITH_FOLDING __attribute__((target("avx512f,vpclmulqdq,sse4.2")))

WITH_FOLDING static inline __m512i broadcast(multipliers by) {
    return _mm512_set_epi64(by.second, by.first, by.second, by.first, by.second, by.first,
                            by.second, by.first);
}

WITH_FOLDING static inline __m512i fold(__m512i block, __m512i by, __m512i onto) {
    return _mm512_xor_si512(
        onto, _mm512_xor_si512(_mm512_clmulepi64_epi128(block, by, 0x00),
                               _mm512_clmulepi64_epi128(block, by, 0x11)));
}

WITH_FOLDING static uint32_t folded(uint32_t seed, const uint8_t *bytes, size_t byte_count) {
    __m512i runs[FOLDS], by = broadcast(past_all);
    for (int i = 0; i < FOLDS; i++) runs[i] = _mm512_loadu_si512(bytes + FOLD * i);
    runs[0] = _mm512_xor_si512(runs[0], _mm512_zextsi128_si512(_mm_cvtsi32_si128((int)~seed)));
    size_t done = FOLD * FOLDS;
    for (; byte_count - done >= FOLD * FOLDS; done += FOLD * FOLDS) {
        for (int i = 0; i < FOLDS; i++)
            runs[i] = fold(runs[i], by, _mm512_loadu_si512(bytes + done + FOLD * i));
    }
    by = broadcast(past_one);
    for (int i = 1; i < FOLDS; i++) runs[i] = fold(runs[i - 1], by, runs[i]);
    // What is left is congruent to all that was read.
    uint8_t rest[FOLD];
    _mm512_storeu_si512(rest, runs[FOLDS - 1]);
    return hardware(hardware(~0u, rest, FOLD), bytes + done, byte_count - done);
}

static int has_folding(void) {
    return __builtin_cpu_supports("vpclmulqdq") && __builtin_cpu_supports("avx512f");
}

#else

enum { FOLDED_MIN = 0 };
static int has_folding(void) { return 0; }
static uint32_t folded(uint32_t seed, const uint8_t *bytes, size_t byte_count) {
    return hardware(seed, bytes, byte_count);
}

#endif

uint32_t cs_crc32c(uint32_t seed, const void *start, size_t byte_count) {
    if (!has_crc()) return cs_crc32c_portable(seed, start, byte_count);
    return byte_count >= FOLDED_MIN && has_folding() ? folded(seed, start, byte_count)
                                                     : hardware(seed, start, byte_count);
}

#else

uint32_t cs_crc32c(uint32_t seed, const void *start, size_t byte_count) {
    return cs_crc32c_portable(seed, start, byte_count);
}

#endif
