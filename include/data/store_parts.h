/* The inside of the store, shared by store.c (reads and writes), store_table.c (what they are done to), store_digest.c (what counts) and
 * store_sweep.c (what goes by itself). Nobody else includes this. */
#ifndef DATA_STORE_PARTS_H
#define DATA_STORE_PARTS_H

#include "data/store.h"
#include "data/wheel.h"

/* What a look-up needs of a shard's uthash table stands beside its head, to save it two cache misses. */
struct shard {
    struct entry *head;
    struct UT_hash_bucket *buckets;
    uint64_t digest;
    uint32_t bucket_mask;
    uint32_t count;
};

struct store {
    struct heap *heap;
    struct store_observer *observer;
    struct store_agreement *agreement;
    uint64_t seed;
    uint64_t grace_us;
    struct store_counts counts;
    struct wheel wheel;
    bool wheel_started;
    uint32_t sweep_shard;      /* where store_sweep goes on, */
    struct record *sweep_next; /* with this one, NULL at the end of the shard */
    uint32_t sweep_seen;       /* records of it that were looked at */
    struct shard shards[STORE_SHARDS];
    uint64_t buried_us[STORE_SHARDS];  /* when a tombstone was last buried there */
    uint64_t revived_at[STORE_SHARDS]; /* the horizon at which tombstones there were revived */
    uint64_t digest, group_digests[STORE_GROUPS]; /* as shard.digest */
};

static inline bool store_is_buried(const struct record *record)
{
    return record->flags & RECORD_BURIED;
}

/* A record that is not the last one leaves its place in its shard's order, and it is not the sweep that has it go. */
static inline void store_sweep_passes(struct store *store, const struct record *record)
{
    if (store->sweep_next == record)
        store->sweep_next = store_after(record);
}

/* store_table.c: a shard has one record of each key, in the order of their last change */

/* Puts in the first record of a key, as the last one. Returns 0 or -1 when out of memory. */
int store_table_add(struct store *store, const struct store_key *key, struct record *record);

/* The same for one whose key has an `old` one. That is not found any more then, but stands in the order until it leaves it. */
void store_table_overwrite(struct record *old, struct record *record);

/* Takes one that is not the last out of the order. */
void store_table_leave(struct store *store, uint32_t shard, struct record *record);

/* Makes one that is not the last the last. */
void store_table_rejoin(struct store *store, uint32_t shard, struct record *record);

/* Takes it out. */
void store_table_delete(struct store *store, uint32_t shard, struct record *record);

/* `copy` takes the place of the record that it was copied from. */
void store_table_moved(struct store *store, uint32_t shard, struct record *copy);

/* Copies what a shard has beside its records to another place in memory, as store_move: else the room between those of shards that are
 * empty again, or have grown, would never be won. */
void store_table_move(struct store *store, uint32_t shard);

/* store_digest.c */

/* Makes the digests say `record` instead of `old`; NULL stands for nothing. */
void store_digest_replace(struct store *store, uint32_t shard, const struct record *old,
                          const struct record *record);

/* False for values. `now_us` matters only where there is no agreement. */
bool store_is_past_grace(const struct store *store, const struct record *record, uint64_t now_us);

/* Takes a tombstone past the grace period out of what its shard says. There must be an agreement. */
void store_bury(struct store *store, uint32_t shard, struct record *record);

/* A tombstone past the grace period that somebody does not know counts again. Does nothing for other records. */
void store_revive(struct store *store, uint32_t shard, struct record *record);

/* store.c; the observer hears of each */

/* Puts `record` in the place of `old`, which may be NULL. Takes over the caller's reference only when it is STORE_APPLIED; the
 * other answer is STORE_NO_ROOM. */
enum store_result store_replace(struct store *store, const struct store_key *key,
                                struct record *old, struct record *record, uint64_t now_us);

/* Copies a record that nobody else refers to into another place in memory, and releases it; does nothing when there is none. */
void store_move(struct store *store, uint32_t shard, struct record *record);

/* Takes a record out, and nothing comes in its place. */
void store_drop(struct store *store, uint32_t shard, struct record *record);

#endif
