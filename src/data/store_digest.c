#include "data/store_parts.h"

/* Digests */

/* What a record adds to the digests. With XOR that is also what it takes away. */
static uint64_t digest_of(const struct record *record)
{
    return !record || store_is_buried(record) ? 0 : record_digest(record);
}

static void digest_change(struct store *store, uint32_t shard, uint64_t change)
{
    store->shards[shard].digest ^= change;
    store->group_digests[shard / STORE_SHARDS_PER_GROUP] ^= change;
    store->digest ^= change;
}

void store_digest_replace(struct store *store, uint32_t shard, const struct record *old,
                          const struct record *record)
{
    digest_change(store, shard, digest_of(old) ^ digest_of(record));
}

uint64_t store_shard_digest(const struct store *store, uint32_t shard)
{
    return store->shards[shard].digest;
}

uint64_t store_group_digest(const struct store *store, uint32_t group)
{
    return store->group_digests[group];
}

uint64_t store_digest(const struct store *store)
{
    return store->digest;
}

/* Tombstones past the grace period */

bool store_is_past_grace(const struct store *store, const struct record *record, uint64_t now_us)
{
    uint64_t since_us = record_since_us(record);
    if (!record_is_tombstone(record))
        return false;
    if (!store->agreement)
        return since_us < now_us && now_us - since_us > store->grace_us;
    /* By the version alone: when a value expired is not told to others with its tombstone. */
    uint64_t counts_us = store->agreement->alone ? since_us : record->version;
    return counts_us < store->agreement->horizon_us(store->agreement);
}

bool store_lists(const struct store *store, uint32_t shard, const struct record *record)
{
    if (store_is_buried(record))
        return false;
    if (!store->agreement || !store_is_past_grace(store, record, 0))
        return true;
    return record->flags & RECORD_REVIVED &&
           store->revived_at[shard] == store->agreement->horizon_us(store->agreement);
}

/* Takes a tombstone out of what the shard says, or puts it back in. */
static void set_buried(struct store *store, uint32_t shard, struct record *record, bool buried)
{
    digest_change(store, shard, record_digest(record));
    record->flags ^= RECORD_BURIED;
    record->flags &= (uint8_t)~RECORD_REVIVED;
    store->counts.buried += buried ? 1 : UINT64_MAX;
}

void store_bury(struct store *store, uint32_t shard, struct record *record)
{
    set_buried(store, shard, record, true);
    store->buried_us[shard] = store->agreement->clock_us(store->agreement);
}

void store_revive(struct store *store, uint32_t shard, struct record *record)
{
    if (!store->agreement || !store_is_past_grace(store, record, 0))
        return;
    store->counts.revived += !store_lists(store, shard, record);
    if (store_is_buried(record))
        set_buried(store, shard, record, false);
    record->flags |= RECORD_REVIVED;
    store->revived_at[shard] = store->agreement->horizon_us(store->agreement);
}
