#include "data/store.h"

#include <stdlib.h>

#include "data/store_parts.h"

struct store *store_new(uint64_t memory_max, uint64_t grace_us, uint64_t seed)
{
    struct store *store = calloc(1, sizeof *store);
    if (!store)
        return NULL;
    store->heap = heap_new(memory_max);
    store->seed = seed;
    store->grace_us = grace_us;
    if (store->heap)
        return store;
    free(store);
    return NULL;
}

void store_destroy(struct store *store)
{
    heap_destroy(store->heap);
    free(store);
}

void store_observe(struct store *store, struct store_observer *observer)
{
    store->observer = observer;
}

void store_agree(struct store *store, struct store_agreement *agreement)
{
    store->agreement = agreement;
}

struct heap *store_heap(struct store *store)
{
    return store->heap;
}

struct store_counts store_counts(const struct store *store)
{
    return store->counts;
}

struct record *store_get(const struct store *store, const struct store_key *key, uint64_t now_us)
{
    struct record *record = store_find(store, key);
    return record && record_is_live(record, now_us) ? record : NULL;
}

/* Changing */

static void count_record(struct store_counts *counts, const struct record *record, int sign)
{
    uint64_t *count = record_is_tombstone(record) ? &counts->tombstones : &counts->keys;
    *count += (uint64_t)(int64_t)sign;
    if (store_is_buried(record))
        counts->buried += (uint64_t)(int64_t)sign;
}

static void wheel_start(struct store *store, uint64_t now_us)
{
    if (store->wheel_started)
        return;
    wheel_init(&store->wheel, now_us);
    store->wheel_started = true;
}

static void schedule(struct store *store, struct record *record, uint64_t now_us)
{
    if (!record_due(record) || record_is_tombstone(record))
        return;
    wheel_start(store, now_us);
    wheel_add(&store->wheel, record);
}

/* After a record has left its shard. */
static void forget(struct store *store, struct record *record)
{
    wheel_remove(record);
    count_record(&store->counts, record, -1);
    record_release(store->heap, record);
}

static void tell_change(struct store *store, const struct store_key *key, struct record *old,
                        struct record *record)
{
    if (store->observer)
        store->observer->on_change(store->observer, key, old, record);
}

enum store_result store_replace(struct store *store, const struct store_key *key,
                                struct record *old, struct record *record, uint64_t now_us)
{
    /* A delete of what is not here makes no room, and leaves the last of it to those that do. */
    if (!old && record_is_tombstone(record) && heap_reserve_is_low(store->heap))
        return STORE_NO_ROOM;
    if (old)
        store_table_overwrite(old, record);
    else if (store_table_add(store, key, record) != 0)
        return STORE_NO_ROOM;
    store_digest_replace(store, key->shard, old, record);
    count_record(&store->counts, record, 1);
    schedule(store, record, now_us);
    tell_change(store, key, old, record);
    if (old) {
        store_sweep_passes(store, old);
        store_table_leave(store, key->shard, old);
        forget(store, old);
    }
    return STORE_APPLIED;
}

static uint64_t horizon_of(const struct store *store)
{
    return store->agreement ? store->agreement->horizon_us(store->agreement) : 0;
}

static uint64_t next_version(const struct store *store, const struct record *old, uint64_t version,
                             uint64_t now_us)
{
    uint64_t horizon_us = horizon_of(store), least = now_us > horizon_us ? now_us : horizon_us;
    if (version < least)
        version = least;
    return old && old->version >= version ? old->version + (old->version < UINT64_MAX) : version;
}

uint64_t store_next_version(const struct store *store, const struct store_key *key,
                            uint64_t version, uint64_t now_us)
{
    return next_version(store, store_find(store, key), version, now_us);
}

enum store_result store_write(struct store *store, const struct store_key *key,
                              struct record *record, uint64_t now_us)
{
    struct record *old = store_find(store, key);
    record->version = next_version(store, old, record->version, now_us);
    record->flags |= RECORD_LOCAL;
    return store_replace(store, key, old, record, now_us);
}

enum store_result store_write_begun(struct store *store, const struct store_key *key,
                                    struct record *record, uint64_t now_us)
{
    struct record *old = store_find(store, key);
    if (old && old->version > record->version)
        return STORE_STALE;
    if (record->version < horizon_of(store) || (old && old->version == record->version))
        return store_write(store, key, record, now_us);
    record->flags |= RECORD_LOCAL;
    return store_replace(store, key, old, record, now_us);
}

enum store_result store_merge(struct store *store, const struct store_key *key,
                              struct record *record, uint64_t now_us)
{
    struct record *old = store_find(store, key);
    int order = old ? record_compare(record, old) : 1;
    if (order <= 0)
        store_revive(store, key->shard, old);
    if (order <= 0)
        return STORE_STALE;
    enum store_result result = store_replace(store, key, old, record, now_us);
    if (result == STORE_APPLIED)
        store_revive(store, key->shard, record);
    return result;
}

enum store_result store_adopt(struct store *store, const struct store_key *key,
                              struct record *record, uint64_t now_us)
{
    struct record *old = store_find(store, key);
    bool known = old && record_compare(record, old) <= 0;
    if (known || !store->agreement || !store_is_past_grace(store, record, 0))
        return store_merge(store, key, record, now_us);
    enum store_result result = store_replace(store, key, old, record, now_us);
    if (result == STORE_APPLIED)
        store_bury(store, key->shard, record);
    return result;
}

void store_tell(struct store *store, const struct store_key *key, struct record *record)
{
    if (store->observer)
        store->observer->on_drop(store->observer, key->shard, record);
    if (store_after(record)) {
        store_sweep_passes(store, record);
        store_table_rejoin(store, key->shard, record);
    }
    record->flags |= RECORD_LOCAL;
    tell_change(store, key, NULL, record);
}

void store_move(struct store *store, uint32_t shard, struct record *record)
{
    struct record *copy = record_copy(store->heap, record);
    if (!copy)
        return;
    store_table_moved(store, shard, copy);
    wheel_moved(copy);
    if (store->observer)
        store->observer->on_move(store->observer, shard, record, copy);
    record_release(store->heap, record);
}

void store_drop(struct store *store, uint32_t shard, struct record *record)
{
    if (store->observer)
        store->observer->on_drop(store->observer, shard, record);
    store_digest_replace(store, shard, record, NULL);
    store_table_delete(store, shard, record);
    forget(store, record);
    store->counts.dropped++;
}

/* Shards */

unsigned store_shard_records(const struct store *store, uint32_t shard, bool all,
                             struct record **out, unsigned max)
{
    unsigned count = 0;
    for (struct record *at = store_first(store, shard); at && count < max; at = store_after(at))
        if (all || store_lists(store, shard, at)) {
            record_retain(at);
            out[count++] = at;
        }
    return count;
}

unsigned store_record_digests(const struct store *store, uint32_t shard, uint64_t *out,
                              unsigned max)
{
    unsigned count = 0;
    for (struct record *at = store_first(store, shard); at && count < max; at = store_after(at))
        if (store_lists(store, shard, at))
            out[count++] = record_digest(at);
    return count;
}
