// What a team runs: the part of one member. Not the other members' parts.
#ifndef CK_JOB_H
#define CK_JOB_H

#include <stdint.h>

// args points to the argument struct of the operator. (Swift can hold a C function only if its
// type is concrete, and one job type serves all operators: hence no typed pointer.)
typedef void (*ck_job)(const void *_Nonnull args, int32_t member, int32_t member_count);

#endif
