/* The inside of the hash room: the same hash in AVX2's instructions, in a file of its own, since what it includes is
 * compiled for them. gcc on x86-64 only; others do without. */
#ifndef DATA_HASH_AVX2_H
#define DATA_HASH_AVX2_H

#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define HASH_HAS_AVX2 1

/* Only for processors that have AVX2. */
uint64_t hash_seeded_avx2(const void *data, size_t len, uint64_t seed);
#endif

#endif
