/* Names of keys. In a table of 16,384 shards two dozen keys would never meet, so some clusters have all of them in three shards. */
#include <stdio.h>

#include "cluster.h"
#include "data/hash.h"
#include "data/store.h"

enum { CROWDED_SHARDS = 3 };

static uint32_t shard_of(const char *name, int bytes)
{
    return (uint32_t)(hash_bytes(name, (size_t)bytes) >> (64 - STORE_SHARD_BITS));
}

static void name_key(char name[16], unsigned key, bool crowded)
{
    int bytes = snprintf(name, 16, "key%u", key);
    for (unsigned i = 0; crowded && shard_of(name, bytes) >= CROWDED_SHARDS; i++)
        bytes = snprintf(name, 16, "k%u-%x", key, i);
}

const char (*cluster_keys(bool crowded))[16]
{
    static char names[2][SIM_KEYS_MAX][16];
    char(*wanted)[16] = names[crowded];
    for (unsigned key = 0; key < SIM_KEYS_MAX && !wanted[SIM_KEYS_MAX - 1][0]; key++)
        name_key(wanted[key], key, crowded);
    return (const char(*)[16])wanted;
}
