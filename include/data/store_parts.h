/* The inside of the store, shared by store.c and store_sweep.c. Nobody else includes this. */
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
    uint32_t sweep_shard; /* where store_sweep goes on */
    uint32_t sweep_seen;  /* records of it that were looked at */
    struct shard shards[STORE_SHARDS];
    uint64_t buried_us[STORE_SHARDS];  /* when a tombstone was last buried there */
    uint64_t revived_at[STORE_SHARDS]; /* the horizon at which tombstones there were revived */
    uint64_t digest, group_digests[STORE_GROUPS]; /* as shard.digest */
};

static inline bool store_is_buried(const struct record *record)
{
    return record->flags & RECORD_BURIED;
}

bool store_is_past_grace(const struct store *store, const struct record *record, uint64_t now_us);

/* Takes a tombstone past the grace period out of what its shard says; there must be an agreement. */
void store_bury(struct store *store, uint32_t shard, struct record *record);

/* Puts `record` in the place of `old`, which may be NULL. Takes over the caller's reference only when it is STORE_APPLIED; the
 * other answer is STORE_NO_ROOM. */
enum store_result store_replace(struct store *store, const struct store_key *key,
                                struct record *old, struct record *record, uint64_t now_us);

/* Puts a record that nobody else refers to into another place in memory, if there is one. */
void store_move(struct store *store, uint32_t shard, struct record *record);

/* Forgets a record. */
void store_drop(struct store *store, uint32_t shard, struct record *record);

#endif
