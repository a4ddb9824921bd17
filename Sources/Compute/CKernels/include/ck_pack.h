// Operands in the order in which a tile consumes them.
//
// A packed operand of C columns and K values of k is [panel of 64 columns][unit][64]: 4 bytes per
// unit and column, the pair (k, k + 1) in bf16 (low half first) or one f32. Missing columns and the
// missing half of an odd K are zero.
//
// Its plain form, for a CBLAS, is [K][C] row-major: operand type, or widened (a bf16 as f32). A
// weight matrix W [N, K] has one plain form, [N][K], which serves both products.
#ifndef CK_PACK_H
#define CK_PACK_H

#include <stddef.h>
#include <stdint.h>

#include "ck_job.h"

// One weight matrix W [row_count, column_count], f32, in both orientations.
typedef struct {
    const float *_Nonnull source;           // flat; row n starts at row_offsets[n]
    const ptrdiff_t *_Nonnull row_offsets;  // [row_count]
    size_t row_count, column_count;         // N, K
    void *_Nonnull rows_as_columns;  // column n, k over W's columns: the forward product's B; or
                                     // the plain form
    void *_Nonnull rows_as_k;        // column k, k over W's rows: the input gradient's B; the plain
                                     // form leaves it alone
    int32_t is_f32;                  // of the packed form
} ck_pack_weights_args;

// One product operand X [row_count, column_count] of the operand type, rows become k.
typedef struct {
    const void *_Nonnull source;
    size_t row_count, column_count;
    size_t row_stride;   // bytes
    void *_Nonnull packed;  // where the first row's unit lies in the first panel
    size_t panel_units;  // units from one panel to the next: more than row_count has where the rows
                         // are a part of the operand's k, which then starts at an even row
    int32_t is_f32;
} ck_pack_pairs_args;

typedef struct {
    // Over ck_pack_weights_args. Members take blocks of 64 rows; both orientations in one visit.
    ck_job _Nonnull weights;
    // Over ck_pack_pairs_args. Members take panels of 64 columns.
    ck_job _Nonnull pairs;
    // The calling thread packs block block (64 rows) of the weights.
    void (*_Nonnull weight_block)(const ck_pack_weights_args *_Nonnull, size_t block);
} ck_pack_kernels;

// The packers of a variant, or NULL if this architecture has none of that name. All give the same
// bytes. ck_plain_named: the plain form, in the operand type. ck_widened_named: bf16 as f32.
typedef ck_pack_kernels ck_plain_kernels, ck_widened_kernels;
const ck_pack_kernels *_Nullable ck_pack_named(const char *_Nonnull variant);
const ck_plain_kernels *_Nullable ck_plain_named(const char *_Nonnull variant);
const ck_widened_kernels *_Nullable ck_widened_named(const char *_Nonnull variant);

// Bytes of a packed operand.
static inline size_t ck_packed_bytes(size_t column_count, size_t k_count, int32_t is_f32) {
    size_t units = is_f32 ? k_count : (k_count + 1) / 2;
    return (column_count + 63) / 64 * units * 256;
}

#endif
