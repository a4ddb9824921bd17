#pragma STDC FP_CONTRACT OFF
#define _GNU_SOURCE
#include "csystem.h"

#include <fcntl.h>
#include <stdio.h>

int cs_exchange(const char *path, const char *other) {
    return renameat2(AT_FDCWD, path, AT_FDCWD, other, RENAME_EXCHANGE);
}
