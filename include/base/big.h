/* Numbers as big-endian bytes, as they go over the wire. */
#ifndef BASE_BIG_H
#define BASE_BIG_H

#include <stdint.h>

static inline void big_put(char *at, uint64_t value, unsigned bytes)
{
    for (unsigned i = bytes; i-- > 0; value >>= 8)
        at[i] = (char)(value & 255);
}

static inline uint64_t big_get(const char *at, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value = value << 8 | (unsigned char)at[i];
    return value;
}

#endif
