#pragma STDC FP_CONTRACT OFF
#define _GNU_SOURCE
#include "csystem.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void cs_futex_wait(const void *word, uint32_t expected, int64_t timeout_nanoseconds) {
    struct timespec limit = {timeout_nanoseconds / 1000000000, timeout_nanoseconds % 1000000000};
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected,
            timeout_nanoseconds < 0 ? NULL : &limit, NULL, 0);
}

void cs_futex_wake_all(const void *word) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

int cs_signal_when_starter_ends(int signal) { return prctl(PR_SET_PDEATHSIG, signal); }

int cs_pin_to_processor(int processor) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(processor, &set);
    return sched_setaffinity(0, sizeof set, &set) == 0 ? 0 : errno;
}

int cs_allowed_processors(int *out, int capacity) {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 0;
    int count = 0;
    for (int processor = 0; processor < CPU_SETSIZE; processor++) {
        if (!CPU_ISSET(processor, &set)) continue;
        if (count < capacity) out[count] = processor;
        count++;
    }
    return count;
}

uint64_t cs_flush_subnormals(void) {
#if defined(__x86_64__)
    uint32_t control = __builtin_ia32_stmxcsr();
    // Bit 15 flushes results, bit 6 treats subnormal operands as zero.
    __builtin_ia32_ldmxcsr(control | 0x8040);
    return control;
#elif defined(__aarch64__)
    uint64_t control;
    __asm__ volatile("mrs %0, fpcr" : "=r"(control));
    __asm__ volatile("msr fpcr, %0" : : "r"(control | (1ull << 24)));
    return control;
#else
    return 0;
#endif
}

void cs_restore_float_control(uint64_t control) {
#if defined(__x86_64__)
    __builtin_ia32_ldmxcsr((uint32_t)control);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"(control));
#endif
}
