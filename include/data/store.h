/* The table: every key's newest record. The only user of uthash.
 *
 * It is split into STORE_SHARDS uthash tables by an unseeded hash of the key, so that a shard holds the same keys on
 * all nodes, and growing one never takes long; inside a shard keys are hashed with a secret seed. In a shard, records stand in the
 * order of their last change, oldest first.
 *
 * Pure: no clock, no socket. Times are wall clock µs and come in as arguments. */
#ifndef DATA_STORE_H
#define DATA_STORE_H

#include "data/record.h"

enum {
    STORE_SHARD_BITS = 14,
    STORE_SHARDS = 1 << STORE_SHARD_BITS,
    STORE_GROUPS = 128, /* of STORE_SHARDS / STORE_GROUPS shards, for digests */
    STORE_SHARDS_PER_GROUP = STORE_SHARDS / STORE_GROUPS,
    STORE_PREFETCH_MAX = 64, /* look-ups that are prefetched together; 16 to 32 do best */
};

struct store;

/* A key that is being looked for. */
struct store_key {
    struct slice bytes;
    uint32_t shard;
    uint32_t hash;  /* within the shard */
    bool for_write; /* the caller's, for store_prefetch: the key will be written */
};

struct store_counts {
    uint64_t keys; /* values that have not been found expired */
    uint64_t tombstones;
    uint64_t buried;  /* of these */
    uint64_t expired; /* so far */
    uint64_t dropped; /* tombstones, so far */
    uint64_t revived; /* of those that were past the grace period, so far */
    uint64_t sweeps;  /* rounds of the sweep through all records, so far */
};

enum store_result {
    STORE_APPLIED,
    STORE_STALE,   /* what the store has wins */
    STORE_NO_ROOM, /* 507; nothing changed */
};

/* Hears of every change. */
struct store_observer {
    /* `record` is what the key has now, last in its shard's order. `old`, which may be NULL, stands in the order for the last
     * time. */
    void (*on_change)(struct store_observer *observer, const struct store_key *key,
                      struct record *old, struct record *record);

    /* `to` takes the place of `from`, of which it is a copy. */
    void (*on_move)(struct store_observer *observer, uint32_t shard, struct record *from,
                    struct record *to);

    /* `record`, which still stands in the order, goes, and nothing comes in its place. */
    void (*on_drop)(struct store_observer *observer, uint32_t shard, struct record *record);
};

/* What all members of the cluster were seen to agree on: tombstones go only then. */
struct store_agreement {
    /* A clock that never steps back, in µs, 1 or more. */
    uint64_t (*clock_us)(struct store_agreement *agreement);

    /* The latest time of that clock at which every other member was known to have had the same records in this shard: 0 for
     * never, UINT64_MAX when there is no other member. */
    uint64_t (*agreed_us)(struct store_agreement *agreement, uint32_t shard);

    /* Tombstones from before this time (wall clock µs) are past the grace period: the same on all nodes, whatever their clocks. */
    uint64_t (*horizon_us)(struct store_agreement *agreement);

    /* There is no other member: of a value that has expired it counts since when. Others are not told that, so to them its version alone does. */
    bool alone;
};

/* `memory_max` in bytes, 0 for no limit; `grace_us` is how long a tombstone stays. Returns NULL when out of memory. */
struct store *store_new(uint64_t memory_max, uint64_t grace_us, uint64_t seed);
void store_destroy(struct store *store);

/* One observer, or NULL. */
void store_observe(struct store *store, struct store_observer *observer);

/* NULL, as at first, stands for a store that has no fellows. */
void store_agree(struct store *store, struct store_agreement *agreement);

struct heap *store_heap(struct store *store);
struct store_counts store_counts(const struct store *store);

/* The key's place. The slice stays the caller's. */
struct store_key store_key(const struct store *store, struct slice bytes);

/* Bring what a look-up of each key will touch into the processor's cache, all keys step by step
 * together: a look-up alone would wait for memory at each step (316 ns a key against 104, at 100,000
 * keys). store_key has begun with it; first the buckets of as many keys as one likes, then the
 * records of those that are looked up next. */
void store_prefetch_buckets(const struct store *store, const struct store_key *const *keys,
                            unsigned count);
void store_prefetch(const struct store *store, const struct store_key *const *keys, unsigned count);

/* The record of a key, tombstones and expired ones too, or NULL. Valid until the store changes; retain it to keep it. */
struct record *store_find(const struct store *store, const struct store_key *key);

/* As store_find, but NULL for tombstones and what has expired. */
struct record *store_get(const struct store *store, const struct store_key *key, uint64_t now_us);

/* A write of this node: stamps `record` (sealed but for its version) with max(now, the key's version + 1, the version that the
 * record has already) and puts it in. A clock that is behind by more than the grace period does not make it older than deletes that
 * were forgotten: it is never from before the horizon. Takes over the caller's reference only when it is STORE_APPLIED; the other
 * answer is STORE_NO_ROOM. */
enum store_result store_write(struct store *store, const struct store_key *key,
                              struct record *record, uint64_t now_us);

/* The version that store_write would give a write of this key now that is to have at least `version`. */
uint64_t store_next_version(const struct store *store, const struct store_key *key,
                            uint64_t version, uint64_t now_us);

/* A write that was begun a while ago, when `record` got its version of store_next_version: STORE_STALE when the key was written since, with
 * a larger one. If it has the same one by now, or deletes of that time may be forgotten, it is a write of now. Else as store_write. */
enum store_result store_write_begun(struct store *store, const struct store_key *key,
                                    struct record *record, uint64_t now_us);

/* A record that comes from elsewhere: goes in if it wins over what is there. Takes over the reference as store_write. */
enum store_result store_merge(struct store *store, const struct store_key *key,
                              struct record *record, uint64_t now_us);

/* As store_merge, for a copy of all that another member has (see store_shard_records): a tombstone past the grace period is buried
 * here too, and not news to anybody. */
enum store_result store_adopt(struct store *store, const struct store_key *key,
                              struct record *record, uint64_t now_us);

/* Tells of what a key has as if that had been written just now: it becomes the last of its shard's order, and this node's to tell others. The
 * observer hears that it goes and comes. */
void store_tell(struct store *store, const struct store_key *key, struct record *record);

/* Turns values that have expired into tombstones, `steps` of them at most. Returns whether more may be due. */
bool store_expire(struct store *store, uint64_t now_us, unsigned steps);

/* Whether sweeping would win so much memory that doing it faster pays: not so after a round. */
bool store_is_sparse(const struct store *store);

/* Looks at `records` records, each call going on where the last one stopped: drops tombstones, and moves records whose place in
 * memory would be better left (heap_should_move), so that memory that was freed in pieces can be used for records of other
 * sizes.
 *
 * A tombstone past the grace period goes in two steps. From that time on it stands in no listing, and once the sweep finds it, it is
 * buried: no part of the digest any more either. So nodes may bury it at different times and agree nevertheless. But it still wins
 * over older records of its key. If one comes, or the tombstone itself comes from elsewhere, somebody does not know it: it is
 * revived, that is counts again until the grace period's next step, so that all hear of it. Then, once all members were seen to
 * agree on its shard after that, none of them has an older record, and it is dropped.
 *
 * Returns how many took one of these steps. */
unsigned store_sweep(struct store *store, uint64_t now_us, unsigned records);

/* How many records a shard has, buried ones too. */
unsigned store_shard_count(const struct store *store, uint32_t shard);

/* The first `max` records of a shard, oldest change first, each with a reference for the caller; those past the grace period only
 * when `all` are wanted. Returns how many. */
unsigned store_shard_records(const struct store *store, uint32_t shard, bool all,
                             struct record **out, unsigned max);

/* The records of a shard in order of their last change, buried ones too: the first one, and the one behind another. NULL at the
 * end. */
struct record *store_first(const struct store *store, uint32_t shard);
struct record *store_after(const struct record *record);

/* Whether a record counts when tables are compared or copied: it is no tombstone past the grace period. */
bool store_lists(const struct store *store, uint32_t shard, const struct record *record);

/* The digests of the first `max` records of a shard that count. Returns how many. */
unsigned store_record_digests(const struct store *store, uint32_t shard, uint64_t *out,
                              unsigned max);

/* XOR of the digests of a shard's, a group's or all records: equal on two nodes when their records are. */
uint64_t store_shard_digest(const struct store *store, uint32_t shard);
uint64_t store_group_digest(const struct store *store, uint32_t group);
uint64_t store_digest(const struct store *store);

#endif
