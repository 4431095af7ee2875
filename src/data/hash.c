#include "data/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "data/hash_avx2.h"

enum { LONG_BYTES_MIN = 512 }; /* below, the choice costs as much as it saves */

uint64_t hash_bytes(const void *data, size_t len)
{
    return len >= LONG_BYTES_MIN ? hash_seeded(data, len, 0) : XXH3_64bits(data, len);
}

uint64_t hash_seeded(const void *data, size_t len, uint64_t seed)
{
#ifdef HASH_HAS_AVX2
    if (len >= LONG_BYTES_MIN && __builtin_cpu_supports("avx2"))
        return hash_seeded_avx2(data, len, seed);
#endif
    return XXH3_64bits_withSeed(data, len, seed);
}
