#include "data/store_parts.h"

enum {
    SPARSE_BYTES_MIN = 512 * 1024,
    SWEEP_SHARDS_MAX = 512, /* looked at in one call, however empty they are */
};

/* Expiry */

/* An expired value becomes a tombstone of its version, so that its memory is free and no older value can come back. */
static bool expire(struct store *store, struct record *record, uint64_t now_us)
{
    struct store_key key = store_key(store, record_key(record));
    struct record_form form = {
        .key = key.bytes,
        .version = record->version,
        .expires_us = record_expires_us(record),
        .tombstone = true,
    };
    struct record *tombstone = record_new(store->heap, &form, HEAP_RESERVE);
    if (!tombstone)
        return false;
    record_seal(tombstone);
    key.bytes = record_key(tombstone);
    if (store_replace(store, &key, record, tombstone, now_us) != STORE_APPLIED) {
        record_release(store->heap, tombstone);
        return false;
    }
    store->counts.expired++;
    return true;
}

bool store_expire(struct store *store, uint64_t now_us, unsigned steps)
{
    struct record *record;
    if (!store->wheel_started)
        return false;
    while ((record = wheel_next(&store->wheel, now_us, &steps)))
        if (!expire(store, record, now_us))
            wheel_add(&store->wheel, record); /* no memory just now: the next second tries again */
    return steps == 0;
}

/* Sweeping */

bool store_is_sparse(const struct store *store)
{
    return heap_movable(store->heap) > heap_used(store->heap) / 32 + SPARSE_BYTES_MIN;
}

/* Whether it is a value that has expired within the grace period. */
static bool expired_lately(const struct store *store, const struct record *tombstone,
                           uint64_t now_us)
{
    uint64_t since_us = record_since_us(tombstone);
    return since_us > tombstone->version &&
           (since_us >= now_us || now_us - since_us <= store->grace_us);
}

enum swept { SWEPT_STAYS, SWEPT_BURIED, SWEPT_DROPPED };

/* What a tombstone past the grace period may do now: go, or be buried when that is what must come first. Others do not know when a value
 * has expired; who is alone can go by it, too. */
static enum swept sweep_tombstone(struct store *store, struct record *record, uint64_t now_us)
{
    struct store_agreement *agreement = store->agreement;
    uint32_t shard = store->sweep_shard;
    uint64_t agreed_us = agreement ? agreement->agreed_us(agreement, shard) : UINT64_MAX;
    bool buried = store_is_buried(record), alone = agreed_us == UINT64_MAX;
    bool may_go = alone ? !expired_lately(store, record, now_us)
                        : buried && agreed_us > store->buried_us[shard];
    if (may_go) {
        store_drop(store, shard, record);
        return SWEPT_DROPPED;
    }
    if (buried || store_lists(store, shard, record))
        return SWEPT_STAYS;
    store_bury(store, shard, record);
    return SWEPT_BURIED;
}

static enum swept sweep_record(struct store *store, struct record *record, uint64_t now_us)
{
    enum swept swept = SWEPT_STAYS;
    if (store_is_past_grace(store, record, now_us))
        swept = sweep_tombstone(store, record, now_us);
    if (swept != SWEPT_DROPPED && record_should_move(store->heap, record))
        store_move(store, store->sweep_shard, record);
    return swept;
}

/* The record at which the sweep goes on; NULL when it has seen as many as its shard has, as those that are overwritten come last again. */
static struct record *sweep_at(const struct store *store)
{
    bool over = store->sweep_seen >= store_shard_count(store, store->sweep_shard);
    return over ? NULL : store->sweep_next;
}

static void sweep_shard_begin(struct store *store)
{
    store->sweep_shard = (store->sweep_shard + 1) % STORE_SHARDS;
    store->counts.sweeps += store->sweep_shard == 0;
    store->sweep_seen = 0;
    store->sweep_next = store_first(store, store->sweep_shard);
    store_table_move(store, store->sweep_shard);
}

unsigned store_sweep(struct store *store, uint64_t now_us, unsigned records)
{
    unsigned went = 0;
    for (unsigned shards = 0; records > 0 && shards < SWEEP_SHARDS_MAX;) {
        struct record *record = sweep_at(store);
        if (!record) {
            sweep_shard_begin(store);
            shards++;
            continue;
        }
        store->sweep_next = store_after(record);
        enum swept swept = sweep_record(store, record, now_us);
        store->sweep_seen += swept != SWEPT_DROPPED;
        went += swept != SWEPT_STAYS;
        records--;
    }
    return went;
}
