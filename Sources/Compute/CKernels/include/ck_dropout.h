// Which elements a dropout keeps. The draws are those of Tensors.RandomStream.
#ifndef CK_DROPOUT_H
#define CK_DROPOUT_H

#include <stdint.h>

typedef struct {
    uint32_t key0, key1;   // of the stream
    uint64_t first_index;  // draw of element 0
    uint32_t threshold;    // an element stays if its 24 random bits are >= threshold; 0: no dropout
    float scale;           // 1 / (1 - rate)
} ck_dropout;

#endif
