#include "data/store.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "data/hash.h"
#include "data/store_parts.h"

/* uthash takes its memory from the store's heap: each function here that adds or deletes has a `store`. */
#define HASH_NONFATAL_OOM 1
#define uthash_malloc(bytes) heap_alloc(store->heap, (bytes), HEAP_RESERVE)
#define uthash_free(memory, bytes) heap_release(store->heap, (memory), (bytes))
#define uthash_nonfatal_oom(entry) ((void)0) /* (entry)->hh.tbl is NULL then */
#include <uthash.h>

/* A shard of a small table has few keys: start with less than uthash's 32 buckets. */
#undef HASH_INITIAL_NUM_BUCKETS
#undef HASH_INITIAL_NUM_BUCKETS_LOG2
#define HASH_INITIAL_NUM_BUCKETS 4U
#define HASH_INITIAL_NUM_BUCKETS_LOG2 2U

enum {
    /* At most, so 2 to 4 on average. Twice the buckets would cost 6 bytes a record, and save 40 ns
     * a look-up at a million keys. */
    ENTRIES_PER_BUCKET = 4,
    TABLE_MOVED_MAX = 256, /* records of a shard whose table moves */
    PREFETCH_HOPS = 3,     /* of a chain; few are longer */
    LINE_BYTES = 64,
    HEAD_LINES = 2,  /* of a record: its links, and what a look-up compares */
    VALUE_LINES = 2, /* and more of it */
};

/* A record as uthash sees it. */
struct entry {
    UT_hash_handle hh;
};
static_assert(sizeof(UT_hash_handle) <= RECORD_LINK_BYTES,
              "a record has room for its uthash handle");
static_assert(offsetof(UT_hash_handle, key) == RECORD_HASH_AT && sizeof(void *) == 8,
              "a record's hash stands where uthash has the key's address");

static struct entry *entry_of(struct record *record)
{
    return (struct entry *)(void *)record->links;
}

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

/* To gcc a prefetch has no effect, so it drops calls of functions that do nothing else; the empty asm
 * has one. */
static inline void prefetch(const void *line)
{
    __builtin_prefetch(line);
    __asm__ volatile("");
}

struct store_key store_key(const struct store *store, struct slice bytes)
{
    uint64_t place = hash_bytes(bytes.data, bytes.len);
    uint64_t hash = hash_seeded(bytes.data, bytes.len, store->seed);
    uint32_t shard = (uint32_t)(place >> (64 - STORE_SHARD_BITS));
    prefetch(&store->shards[shard]);
    return (struct store_key){bytes, shard, (uint32_t)hash, false};
}

/* Looking up */

static UT_hash_handle *chain_of(const struct shard *shard, uint32_t hash)
{
    return shard->buckets ? shard->buckets[hash & shard->bucket_mask].hh_head : NULL;
}

static bool handle_has_key(const UT_hash_handle *handle, const struct store_key *key)
{
    return handle->hashv == key->hash &&
           slice_equal(record_key((const struct record *)(const void *)handle), key->bytes);
}

struct record *store_find(const struct store *store, const struct store_key *key)
{
    UT_hash_handle *handle = chain_of(&store->shards[key->shard], key->hash);
    while (handle && !handle_has_key(handle, key))
        handle = handle->hh_next;
    return (struct record *)(void *)handle;
}

struct record *store_get(const struct store *store, const struct store_key *key, uint64_t now_us)
{
    struct record *record = store_find(store, key);
    return record && record_is_live(record, now_us) ? record : NULL;
}

/* The steps of a look-up, each for all keys before the next: the shard (store_key), the bucket, the
 * records of its chain, the one that is it, and for a write its neighbours. */

void store_prefetch_buckets(const struct store *store, const struct store_key *const *keys,
                            unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        const struct shard *shard = &store->shards[keys[i]->shard];
        if (shard->buckets)
            prefetch(&shard->buckets[keys[i]->hash & shard->bucket_mask]);
    }
}

static void prefetch_lines(const void *from, unsigned lines)
{
    for (unsigned i = 0; i < lines; i++)
        prefetch((const char *)from + (size_t)i * LINE_BYTES);
}

static void prefetch_hop(const UT_hash_handle **at, const struct store_key *const *keys,
                         unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (!at[i] || at[i]->hashv == keys[i]->hash)
            continue;
        at[i] = at[i]->hh_next;
        if (at[i])
            prefetch_lines(at[i], HEAD_LINES);
    }
}

/* Of the record that was found: its value, which a read copies out, and whose place is that of the next record to be written. Also,
 * since a write replaces it, its neighbours in the shard's order and in its chain, and the table's struct. */
static void prefetch_found(const UT_hash_handle *handle, bool for_write)
{
    prefetch_lines((const char *)handle + (size_t)HEAD_LINES * LINE_BYTES, VALUE_LINES);
    if (!for_write)
        return;
    prefetch(handle->tbl);
    prefetch(handle->prev);
    prefetch(handle->next);
    prefetch(handle->hh_next);
}

static void prefetch_records(const struct store *store, const struct store_key *const *keys,
                             unsigned count)
{
    const UT_hash_handle *at[STORE_PREFETCH_MAX];
    for (unsigned i = 0; i < count; i++) {
        at[i] = chain_of(&store->shards[keys[i]->shard], keys[i]->hash);
        if (at[i])
            prefetch_lines(at[i], HEAD_LINES);
    }
    for (unsigned hop = 0; hop < PREFETCH_HOPS; hop++)
        prefetch_hop(at, keys, count);
    for (unsigned i = 0; i < count; i++) {
        if (at[i] && at[i]->hashv != keys[i]->hash)
            at[i] = NULL;
        if (at[i])
            prefetch_found(at[i], keys[i]->for_write);
    }
    for (unsigned i = 0; i < count; i++)
        if (at[i] && keys[i]->for_write)
            prefetch(at[i]->tbl->tail);
}

void store_prefetch(const struct store *store, const struct store_key *const *keys, unsigned count)
{
    for (unsigned done = 0; done < count; done += STORE_PREFETCH_MAX) {
        unsigned left = count - done;
        prefetch_records(store, keys + done, left < STORE_PREFETCH_MAX ? left : STORE_PREFETCH_MAX);
    }
}

/* Changing */

static void shard_update(struct shard *shard)
{
    const struct UT_hash_table *table = shard->head ? shard->head->hh.tbl : NULL;
    shard->buckets = table ? table->buckets : NULL;
    shard->bucket_mask = table ? table->num_buckets - 1 : 0;
    shard->count = table ? table->num_items : 0;
}

/* Grows the shard's table before chains get long. That it cannot is no failure: chains grow then. */
static void shard_grow(struct store *store, struct shard *shard)
{
    struct UT_hash_table *table = shard->head->hh.tbl;
    int failed = 0;
    if (table->num_items > ENTRIES_PER_BUCKET * table->num_buckets && !table->noexpand)
        HASH_EXPAND_BUCKETS(hh, table, failed);
    (void)failed;
}

/* The key's address, of which uthash only takes a copy, is not given: see RECORD_HASH_AT. */
static int shard_add(struct store *store, struct shard *shard, const struct store_key *key,
                     struct record *record)
{
    struct entry *entry = entry_of(record);
    HASH_ADD_KEYPTR_BYHASHVALUE(hh, shard->head, entry->hh.key, record->key_bytes, key->hash,
                                entry);
    if (!entry->hh.tbl)
        return -1;
    shard_grow(store, shard);
    shard_update(shard);
    return 0;
}

static void bucket_join(struct UT_hash_bucket *bucket, UT_hash_handle *handle)
{
    handle->hh_prev = NULL;
    handle->hh_next = bucket->hh_head;
    if (handle->hh_next)
        handle->hh_next->hh_prev = handle;
    bucket->hh_head = handle;
    bucket->count++;
}

/* Once there are two buckets for each key, which uthash would keep until there is none. That it cannot is no failure here, either. */
static void shard_shrink(struct store *store, const struct shard *shard)
{
    struct UT_hash_table *table = shard->head ? shard->head->hh.tbl : NULL;
    if (!table || table->num_buckets < 4 * HASH_INITIAL_NUM_BUCKETS ||
        table->num_items * 2 > table->num_buckets)
        return;
    unsigned count = table->num_buckets / 4;
    struct UT_hash_bucket *buckets = heap_alloc(store->heap, count * sizeof *buckets, HEAP_MOVE);
    if (!buckets)
        return;
    memset(buckets, 0, count * sizeof *buckets);
    for (struct entry *entry = shard->head; entry; entry = entry->hh.next)
        bucket_join(&buckets[entry->hh.hashv & (count - 1)], &entry->hh);
    uthash_free(table->buckets, table->num_buckets * sizeof *buckets);
    table->buckets = buckets;
    table->num_buckets = count;
    table->log2_num_buckets -= 2;
}

static void shard_delete(struct store *store, struct shard *shard, struct record *record)
{
    struct entry *entry = entry_of(record);
    HASH_DELETE(hh, shard->head, entry);
    shard_shrink(store, shard);
    shard_update(shard);
}

/* `handle`, whose links are set, takes the place in its chain of who had these links. */
static void chain_take(UT_hash_handle *handle)
{
    struct UT_hash_table *table = handle->tbl;
    if (handle->hh_prev)
        handle->hh_prev->hh_next = handle;
    else
        table->buckets[handle->hashv & (table->num_buckets - 1)].hh_head = handle;
    if (handle->hh_next)
        handle->hh_next->hh_prev = handle;
}

/* Puts it at the end of the order. */
static void order_join(struct UT_hash_table *table, UT_hash_handle *handle)
{
    handle->prev = table->tail;
    handle->next = NULL;
    table->tail->next = handle;
    table->tail = handle;
}

/* Puts the new record of a key into the old one's place in its chain, and at the end of the order. */
static void shard_overwrite(const UT_hash_handle *old, UT_hash_handle *handle)
{
    struct UT_hash_table *table = old->tbl;
    handle->tbl = table;
    handle->hh_prev = old->hh_prev;
    handle->hh_next = old->hh_next;
    handle->keylen = old->keylen;
    handle->hashv = old->hashv;
    chain_take(handle);
    order_join(table, handle);
}

/* Takes a record that is not the last one out of the order. */
static void order_leave(struct shard *shard, const UT_hash_handle *old)
{
    struct entry *previous = old->prev, *next = old->next;
    next->hh.prev = previous;
    if (previous)
        previous->hh.next = next;
    else
        shard->head = next;
}

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
    struct shard *shard = &store->shards[key->shard];
    /* A delete of what is not here makes no room, and leaves the last of it to those that do. */
    if (!old && record_is_tombstone(record) && heap_reserve_is_low(store->heap))
        return STORE_NO_ROOM;
    if (old)
        shard_overwrite(&entry_of(old)->hh, &entry_of(record)->hh);
    else if (shard_add(store, shard, key, record) != 0)
        return STORE_NO_ROOM;
    store_digest_replace(store, key->shard, old, record);
    count_record(&store->counts, record, 1);
    schedule(store, record, now_us);
    tell_change(store, key, old, record);
    if (old) {
        store_sweep_passes(store, old);
        order_leave(shard, &entry_of(old)->hh);
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
    UT_hash_handle *handle = &entry_of(record)->hh;
    if (store->observer)
        store->observer->on_drop(store->observer, key->shard, record);
    if (handle->next) {
        store_sweep_passes(store, record);
        order_leave(&store->shards[key->shard], handle);
        order_join(handle->tbl, handle);
    }
    record->flags |= RECORD_LOCAL;
    tell_change(store, key, NULL, record);
}

/* `copy` takes the place of the entry that it was copied from, in its shard's order and in its chain. */
static void entry_moved(struct shard *shard, struct entry *copy)
{
    struct entry *previous = copy->hh.prev, *next = copy->hh.next;
    if (previous)
        previous->hh.next = copy;
    else
        shard->head = copy;
    if (next)
        next->hh.prev = copy;
    else
        copy->hh.tbl->tail = &copy->hh;
    chain_take(&copy->hh);
}

void store_move(struct store *store, uint32_t shard, struct record *record)
{
    struct record *copy = record_copy(store->heap, record);
    if (!copy)
        return;
    entry_moved(&store->shards[shard], entry_of(copy));
    wheel_moved(copy);
    if (store->observer)
        store->observer->on_move(store->observer, shard, record, copy);
    record_release(store->heap, record);
}

/* A copy of what uthash has taken, in a better place; NULL when it is to stay where it is. */
static void *moved_copy(struct store *store, void *memory, size_t bytes)
{
    void *copy = heap_should_move(store->heap, memory, bytes)
                     ? heap_alloc(store->heap, bytes, HEAP_MOVE)
                     : NULL;
    if (!copy)
        return NULL;
    memcpy(copy, memory, bytes);
    heap_release(store->heap, memory, bytes);
    return copy;
}

static void buckets_move(struct store *store, struct UT_hash_table *table)
{
    void *copy =
        moved_copy(store, table->buckets, table->num_buckets * sizeof(struct UT_hash_bucket));
    if (copy)
        table->buckets = copy;
}

static void table_move(struct store *store, const struct shard *shard)
{
    struct UT_hash_table *copy = moved_copy(store, shard->head->hh.tbl, sizeof *copy);
    for (struct entry *entry = shard->head; copy && entry; entry = entry->hh.next)
        entry->hh.tbl = copy;
}

void store_move_table(struct store *store, uint32_t shard)
{
    struct shard *moved = &store->shards[shard];
    if (moved->count == 0)
        return;
    buckets_move(store, moved->head->hh.tbl);
    if (moved->count <= TABLE_MOVED_MAX)
        table_move(store, moved);
    shard_update(moved);
}

void store_drop(struct store *store, uint32_t shard, struct record *record)
{
    if (store->observer)
        store->observer->on_drop(store->observer, shard, record);
    store_digest_replace(store, shard, record, NULL);
    shard_delete(store, &store->shards[shard], record);
    forget(store, record);
    store->counts.dropped++;
}

/* Shards */

unsigned store_shard_count(const struct store *store, uint32_t shard)
{
    return store->shards[shard].count;
}

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

struct record *store_first(const struct store *store, uint32_t shard)
{
    return (struct record *)(void *)store->shards[shard].head;
}

struct record *store_after(const struct record *record)
{
    return ((const struct entry *)(const void *)record->links)->hh.next;
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
