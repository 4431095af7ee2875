/* XXH3 (64 bits, https://xxhash.com), the one hash of this program: shards, chains, digests. Its values are the same on
 * all machines; long inputs use AVX2 where the processor has it, which hashes a mebibyte in 22 µs instead of 70. */
#ifndef DATA_HASH_H
#define DATA_HASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t hash_bytes(const void *data, size_t len);

/* With seed 0 the same as hash_bytes; with a secret one, unpredictable to who does not know it. */
uint64_t hash_seeded(const void *data, size_t len, uint64_t seed);

#endif
