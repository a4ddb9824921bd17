// The instruction sets that kernels are compiled for, and which of them this processor runs.
#ifndef CK_VARIANT_H
#define CK_VARIANT_H

#include <stddef.h>
#include <stdint.h>

// Name of the index-th variant that this processor runs, best first, or NULL past the last one,
// which is "scalar".
const char *_Nullable ck_variant_name(size_t index);

#endif
