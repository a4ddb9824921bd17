// Sixteen draws of Tensors.RandomStream at once. Not a public header; included after ck_vector.h.
#ifndef CK_RANDOM_H
#define CK_RANDOM_H

#include "ck_dropout.h"

// The finalizer of RandomStream.mix32.
CK_INLINE ck_u32x16 ck_mix32(ck_u32x16 x) {
    x ^= x >> 16;
    x *= 0x7FEB352Du;
    x ^= x >> 15;
    x *= 0x846CA68Bu;
    return x ^ (x >> 16);
}

// RandomStream.bits(at:) of sixteen consecutive indices.
CK_INLINE ck_u32x16 ck_random_bits(uint32_t key0, uint32_t key1, uint64_t first_index) {
    const ck_u32x16 lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    uint32_t first = (uint32_t)first_index;
    ck_u32x16 low = lane + first;
    ck_u32x16 carry = (ck_u32x16)(low < first) & 1;  // an index in the run may pass 2^32
    ck_u32x16 high = carry + (uint32_t)(first_index >> 32);
    return ck_mix32((ck_mix32(low ^ key0) ^ key1) + high * 0x9E3779B9u);
}

// v with dropped elements zero and kept ones scaled; lane i is element first + i.
// The draw is a whole number below 2^24 over 2^24, so comparing the numbers decides as comparing
// the floats would.
CK_INLINE ck_f32x16 ck_drop(ck_f32x16 v, const ck_dropout *dropout, uint64_t first) {
    ck_u32x16 bits = ck_random_bits(dropout->key0, dropout->key1, dropout->first_index + first);
    ck_i32x16 kept = (ck_i32x16)((bits >> 8) >= dropout->threshold);
    return ck_select(kept, v * dropout->scale, ck_splat(0.0f));
}

#endif
