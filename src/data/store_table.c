/* The table's shards, each a uthash table: looking up, putting in, taking out, and what is moved in memory. What a write means is
 * store.c's. */
#include <assert.h>
#include <stddef.h>
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
 * since a write replaces it, its neighbours in the shard's order and in its chain, the table's struct, and what the heap knows of
 * its place. */
static void prefetch_found(const UT_hash_handle *handle, bool for_write)
{
    prefetch_lines((const char *)handle + (size_t)HEAD_LINES * LINE_BYTES, VALUE_LINES);
    if (!for_write)
        return;
    prefetch(handle->tbl);
    prefetch(handle->prev);
    prefetch(handle->next);
    prefetch(handle->hh_next);
    heap_prefetch_release(handle);
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
int store_table_add(struct store *store, const struct store_key *key, struct record *record)
{
    struct shard *shard = &store->shards[key->shard];
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

void store_table_delete(struct store *store, uint32_t shard, struct record *record)
{
    struct shard *left = &store->shards[shard];
    struct entry *entry = entry_of(record);
    HASH_DELETE(hh, left->head, entry);
    shard_shrink(store, left);
    shard_update(left);
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

void store_table_overwrite(struct record *old, struct record *record)
{
    const UT_hash_handle *from = &entry_of(old)->hh;
    UT_hash_handle *handle = &entry_of(record)->hh;
    struct UT_hash_table *table = from->tbl;
    handle->tbl = table;
    handle->hh_prev = from->hh_prev;
    handle->hh_next = from->hh_next;
    handle->keylen = from->keylen;
    handle->hashv = from->hashv;
    chain_take(handle);
    order_join(table, handle);
}

void store_table_leave(struct store *store, uint32_t shard, struct record *record)
{
    struct entry *entry = entry_of(record), *previous = entry->hh.prev, *next = entry->hh.next;
    next->hh.prev = previous;
    if (previous)
        previous->hh.next = next;
    else
        store->shards[shard].head = next;
}

void store_table_rejoin(struct store *store, uint32_t shard, struct record *record)
{
    UT_hash_handle *handle = &entry_of(record)->hh;
    store_table_leave(store, shard, record);
    order_join(handle->tbl, handle);
}

/* Moving */

void store_table_moved(struct store *store, uint32_t shard, struct record *copy)
{
    struct entry *entry = entry_of(copy), *previous = entry->hh.prev, *next = entry->hh.next;
    if (previous)
        previous->hh.next = entry;
    else
        store->shards[shard].head = entry;
    if (next)
        next->hh.prev = entry;
    else
        entry->hh.tbl->tail = &entry->hh;
    chain_take(&entry->hh);
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

void store_table_move(struct store *store, uint32_t shard)
{
    struct shard *moved = &store->shards[shard];
    if (moved->count == 0)
        return;
    buckets_move(store, moved->head->hh.tbl);
    if (moved->count <= TABLE_MOVED_MAX)
        table_move(store, moved);
    shard_update(moved);
}

/* Going through it */

unsigned store_shard_count(const struct store *store, uint32_t shard)
{
    return store->shards[shard].count;
}

struct record *store_first(const struct store *store, uint32_t shard)
{
    return (struct record *)(void *)store->shards[shard].head;
}

struct record *store_after(const struct record *record)
{
    return ((const struct entry *)(const void *)record->links)->hh.next;
}
