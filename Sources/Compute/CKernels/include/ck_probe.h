// The arithmetic peak of the calling thread's core: multiply-adds on registers only.
#ifndef CK_PROBE_H
#define CK_PROBE_H

#include <stddef.h>
#include <stdint.h>

// Runs round_count rounds of independent multiply-adds with the instruction of the variant's
// products and returns how many floating-point operations that was; 0 if there is no such variant.
// Never writes memory.
double ck_probe(const char *_Nonnull variant, int32_t is_f32, size_t round_count);

#endif
