#include "data/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "data/hash_avx2.h"

enum { LONG_BYTES_MIN = 512 }; /* below, the choice costs as much as it saves */

uint64_t hash_bytes(const void *data, size_t len)
{
#ifdef HASH_HAS_AVX2
    if (len >= LONG_BYTES_MIN && __builtin_cpu_supports("avx2"))
        return hash_bytes_avx2(data, len);
#endif
    return XXH3_64bits(data, len);
}

uint64_t hash_seeded(const void *data, size_t len, uint64_t seed)
{
    return XXH3_64bits_withSeed(data, len, seed);
}
