/* A record: one version of one key, as a value or as a tombstone. Immutable once it stands in a store,
 * reference-counted, one allocation.
 *
 * Versions are ordered by one pure function, record_compare, on every path by which records meet, so all
 * nodes pick the same one, in whatever order they hear of them. */
#ifndef DATA_RECORD_H
#define DATA_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "data/heap.h"

enum {
    RECORD_KEY_BYTES_MAX = 4096,
    RECORD_TYPE_BYTES_MAX = 255,
    RECORD_VALUE_BYTES_MAX = 2147483647,
    RECORD_LINK_BYTES = 56, /* a uthash handle */
    RECORD_HASH_AT =
        40, /* in it: uthash keeps the key's address there, which the record itself knows */
    RECORD_BLOCK_BYTES = 64 * 1024,  /* of key, type and value, hashed in one go */
    RECORD_COPIED_MAX = 1024 * 1024, /* a value larger than this grows in place */
};

enum record_flag {
    RECORD_TOMBSTONE = 1, /* the key is deleted; no value, no type */
    /* Has a struct record_due: it is gone at due_us; of a tombstone, its value was gone then. */
    RECORD_EXPIRES = 2,

    /* Of this node alone, no part of what the record says: */
    RECORD_LOCAL = 8,    /* written through this node, so it is for this node to tell others */
    RECORD_BURIED = 16,  /* a tombstone past the grace period, see store_sweep */
    RECORD_REVIVED = 32, /* one that somebody had to be told of again */
    RECORD_GROWN = 64,   /* a growing object of the heap's */
};

struct record {
    /* The store's; but 8 bytes at RECORD_HASH_AT are the hash of key, type and value, so that what a record says is known
     * without reading it all again. */
    unsigned char links[RECORD_LINK_BYTES];
    uint64_t version; /* µs since 1970 */
    uint32_t references;
    uint32_t value_bytes;
    uint16_t key_bytes;
    uint8_t type_bytes;
    uint8_t flags;
    char rest[]; /* due?, key, type, value */
};

/* When a value expires, and where it stands in the store's wheel. */
struct record_due {
    uint64_t due_us;
    struct record *next, **at;
};

/* What a new record is made of. */
struct record_form {
    struct slice key, type;
    uint64_t version;
    uint64_t expires_us; /* 0 for never */
    size_t value_bytes;
    bool tombstone;
};

/* Returns a record with one reference, its value's bytes not yet filled in, or NULL when the heap says no. */
struct record *record_new(struct heap *heap, const struct record_form *form, enum heap_use use);

/* Gives a record that is still being filled another value size; `filled` bytes of its value are kept. Returns the record,
 * which may have moved if its value had RECORD_COPIED_MAX bytes or less, or NULL and leaves it. A larger size than
 * that needs heap_set_growing_max(heap, record_bytes_max(the largest value)). */
struct record *record_resize(struct heap *heap, struct record *record, size_t value_bytes,
                             size_t filled);

/* The most that a record of so large a value takes. */
size_t record_bytes_max(size_t value_bytes);

/* To be called once the value is filled in, and before anything below is asked: hashes the content. */
void record_seal(struct record *record);

/* The same while the value comes in, so that its bytes are hashed as long as they are in the processor's
 * cache: hashes the whole blocks of what is there when `filled` bytes of the value are. `hashed` is what
 * the last call returned, 0 at first; record_seal_rest ends it. */
size_t record_hash_blocks(struct record *record, size_t filled, size_t hashed);
void record_seal_rest(struct record *record, size_t hashed);

void record_retain(struct record *record);
void record_release(struct heap *heap, struct record *record);

struct slice record_key(const struct record *record);
struct slice record_type(const struct record *record);
struct slice record_value(const struct record *record);

/* Where the value goes while the record is being filled. */
char *record_value_room(struct record *record);

/* NULL when it has none. */
struct record_due *record_due(struct record *record);

/* When it expires, 0 for never (and for tombstones, of which it is no part of what they say). */
uint64_t record_expires_us(const struct record *record);

static inline bool record_is_tombstone(const struct record *record)
{
    return record->flags & RECORD_TOMBSTONE;
}

/* Since when it says what it says, as far as this node is concerned: its version, or when its value expired. */
uint64_t record_since_us(const struct record *record);

/* The flags that are part of what a record says. */
unsigned record_said_flags(const struct record *record);

/* Whether a GET finds it: a value that has not expired. */
bool record_is_live(const struct record *record, uint64_t now_us);

/* A hash of all that a record says: key, version, flags, expiry, type, value. Equal records have equal digests on
 * all nodes. docs/http.md gives the formula. */
uint64_t record_digest(const struct record *record);

/* Below 0 when b wins over a, above 0 when a wins, 0 when they say the same. By version; then a tombstone over a
 * value; then by the values' bytes, a longer one over its own prefix; then by type, then by expiry. A total order
 * on what records of one key can say, so the larger of two is commutative, associative and idempotent. */
int record_compare(const struct record *a, const struct record *b);

/* Copies a record that nobody else refers to into a new place, links and all; NULL when there is none. Both stay the
 * caller's. */
struct record *record_copy(struct heap *heap, const struct record *record);

/* Whether the heap would like it to move. */
bool record_should_move(struct heap *heap, struct record *record);

/* Bytes of heap that it takes. */
size_t record_footprint(const struct record *record);

#endif
