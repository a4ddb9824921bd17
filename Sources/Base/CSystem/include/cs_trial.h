// A function that may crash, tried where a crash does no harm.
#ifndef CS_TRIAL_H
#define CS_TRIAL_H

#include <stdint.h>

// Runs function(argument, 0, 1), which may crash or hang, in a forked copy of this process; its
// writes are lost. Returns 0 when it returned, the number of the signal that ended it, -1 where
// there is no child, -2 when it had to be ended after timeout_milliseconds.
int cs_try_in_child(void (*_Nonnull function)(const void *_Nonnull, int32_t, int32_t),
                    const void *_Nonnull argument, int timeout_milliseconds);

#endif
