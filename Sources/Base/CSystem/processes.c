#pragma STDC FP_CONTRACT OFF
#define _GNU_SOURCE
#include "csystem.h"

#include <errno.h>
#include <sys/uio.h>

int cs_read_process(int process, uint64_t address, void *into, size_t byte_count) {
    char *out = into;
    while (byte_count > 0) {
        struct iovec here = {out, byte_count}, there = {(void *)(uintptr_t)address, byte_count};
        const ssize_t count = process_vm_readv(process, &here, 1, &there, 1, 0);
        if (count <= 0) return count < 0 ? errno : EFAULT;
        out += count;
        address += (uint64_t)count;
        byte_count -= (size_t)count;
    }
    return 0;
}
