// What Swift cannot spell: futex waits, pinning, processor features, checksums in hardware.
#ifndef CSYSTEM_H
#define CSYSTEM_H

#include <stdint.h>

// Tells the core that the thread is spinning.
static inline void cs_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

// Sleeps while *word == expected, until woken or after timeout_nanoseconds (negative: no limit).
void cs_futex_wait(const void *word, uint32_t expected, int64_t timeout_nanoseconds);

// Wakes every thread that sleeps on word.
void cs_futex_wake_all(const void *word);

// Keeps the calling thread on one processor. Returns 0, or an errno value.
int cs_pin_to_processor(int processor);

// Fills out with the processors this thread may use, at most capacity; returns how many there are.
int cs_allowed_processors(int *out, int capacity);

// Subnormal results and operands become zero on the calling thread, as every kernel expects.
void cs_flush_subnormals(void);

#endif
