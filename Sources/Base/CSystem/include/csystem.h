// What Swift cannot spell: futex waits, pinning, processor features, checksums in hardware.
#ifndef CSYSTEM_H
#define CSYSTEM_H

#include <stddef.h>
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
// Returns the floating-point control word as it was.
uint64_t cs_flush_subnormals(void);

// Sets the calling thread's floating-point control word.
void cs_restore_float_control(uint64_t control);

// Has the signal sent to this process when the thread that started it ends. Returns 0, or -1 with
// errno set.
int cs_signal_when_starter_ends(int signal);

// Copies bytes from the memory of a process, this one or another. Returns 0, or an errno value: the
// first bytes may have been copied then.
int cs_read_process(int process, uint64_t address, void *into, size_t byte_count);

// Swaps two paths in one step. Returns 0, or -1 with errno set.
int cs_exchange(const char *path, const char *other);

// A SHA-256 in progress.
typedef struct {
    uint32_t state[8];
    uint64_t byte_count;
    uint8_t buffer[64];
    int is_portable;
} cs_sha256;

// Starts a hash. is_portable keeps it off the SHA instructions (for the test that compares both).
void cs_sha256_start(cs_sha256 *hash, int is_portable);

// Appends bytes.
void cs_sha256_update(cs_sha256 *hash, const void *start, size_t byte_count);

// The digest of everything appended so far; the hash may go on.
void cs_sha256_finish(const cs_sha256 *hash, uint8_t digest[32]);

// CRC-32C of the bytes, continuing from seed (0 to start): crc(a + b) == crc(crc(a), b).
uint32_t cs_crc32c(uint32_t seed, const void *start, size_t byte_count);

// The same without CRC instructions.
uint32_t cs_crc32c_portable(uint32_t seed, const void *start, size_t byte_count);

#endif
