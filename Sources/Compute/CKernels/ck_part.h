// Shares of work: the least of two counts, and what one team member does. Not a public header.
#ifndef CK_PART_H
#define CK_PART_H

#include <stddef.h>
#include <stdint.h>

static inline size_t ck_least(size_t a, size_t b) { return a < b ? a : b; }

typedef struct {
    size_t begin, end;
} ck_range;

// Cuts count elements into pieces of grain and gives member its run of whole pieces. Depends on
// nothing but its arguments, so a sum that one member makes has one order.
static inline ck_range ck_part(size_t count, size_t grain, int32_t member, int32_t member_count) {
    size_t pieces = (count + grain - 1) / grain;
    size_t begin = pieces * (size_t)member / (size_t)member_count * grain;
    size_t end = pieces * (size_t)(member + 1) / (size_t)member_count * grain;
    ck_range part = {begin < count ? begin : count, end < count ? end : count};
    return part;
}

#endif
