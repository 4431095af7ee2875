#include "data/record.h"

#include <assert.h>
#include <stddef.h>

#include "data/hash.h"

enum { PACKED = offsetof(struct record, rest), ALIGNED = (PACKED + 7) & ~7 };

/* Where key, type and value begin. */
static size_t data_offset(unsigned flags)
{
    return flags & RECORD_EXPIRES ? ALIGNED + sizeof(struct record_due) : PACKED;
}

static size_t data_bytes(const struct record *record)
{
    return (size_t)record->key_bytes + record->type_bytes + record->value_bytes;
}

static size_t record_bytes(const struct record *record)
{
    return data_offset(record->flags) + data_bytes(record);
}

static char *data_of(const struct record *record)
{
    return (char *)(uintptr_t)record + data_offset(record->flags);
}

static uint64_t content_hash(const struct record *record)
{
    uint64_t hash;
    memcpy(&hash, record->links + RECORD_HASH_AT, sizeof hash);
    return hash;
}

static void set_content_hash(struct record *record, uint64_t hash)
{
    memcpy(record->links + RECORD_HASH_AT, &hash, sizeof hash);
}

static unsigned flags_of(const struct record_form *form)
{
    unsigned flags = 0;
    if (form->tombstone)
        flags |= RECORD_TOMBSTONE;
    if (form->expires_us)
        flags |= RECORD_EXPIRES;
    return flags;
}

static void record_init(struct record *record, const struct record_form *form, unsigned flags)
{
    record->version = form->version;
    record->references = 1;
    record->value_bytes = (uint32_t)form->value_bytes;
    record->key_bytes = (uint16_t)form->key.len;
    record->type_bytes = (uint8_t)form->type.len;
    record->flags = (uint8_t)flags;
    if (flags & RECORD_EXPIRES)
        *record_due(record) = (struct record_due){.due_us = form->expires_us};
    if (form->key.data)
        memcpy(data_of(record), form->key.data, form->key.len);
    if (form->type.data)
        memcpy(data_of(record) + form->key.len, form->type.data, form->type.len);
}

static size_t form_bytes(const struct record_form *form)
{
    return data_offset(flags_of(form)) + form->key.len + form->type.len + form->value_bytes;
}

size_t record_bytes_max(size_t value_bytes)
{
    return data_offset(RECORD_EXPIRES) + RECORD_KEY_BYTES_MAX + RECORD_TYPE_BYTES_MAX + value_bytes;
}

struct record *record_new(struct heap *heap, const struct record_form *form, enum heap_use use)
{
    assert(form->key.len > 0 && form->key.len <= RECORD_KEY_BYTES_MAX);
    assert(form->type.len <= RECORD_TYPE_BYTES_MAX && form->value_bytes <= RECORD_VALUE_BYTES_MAX);
    assert(!form->tombstone || (form->value_bytes == 0 && form->type.len == 0));
    struct record *record = heap_alloc(heap, form_bytes(form), use);
    if (record)
        record_init(record, form, flags_of(form));
    return record;
}

static struct record *resize_in_place(struct heap *heap, struct record *record, size_t value_bytes)
{
    size_t from = record_bytes(record), to = from - record->value_bytes + value_bytes;
    if (!heap_resize_growing(heap, record, from, to))
        return NULL;
    record->value_bytes = (uint32_t)value_bytes;
    return record;
}

struct record *record_resize(struct heap *heap, struct record *record, size_t value_bytes,
                             size_t filled)
{
    assert(record->references == 1 && filled <= value_bytes && filled <= record->value_bytes);
    if (record->flags & RECORD_GROWN)
        return resize_in_place(heap, record, value_bytes);
    struct record_form form = {
        .key = record_key(record),
        .type = record_type(record),
        .version = record->version,
        .expires_us = record_expires_us(record),
        .value_bytes = value_bytes,
    };
    bool grows = value_bytes > RECORD_COPIED_MAX;
    struct record *resized = grows ? heap_alloc_growing(heap, form_bytes(&form))
                                   : heap_alloc(heap, form_bytes(&form), HEAP_NORMAL);
    if (!resized)
        return NULL;
    record_init(resized, &form, flags_of(&form) | (grows ? RECORD_GROWN : 0));
    memcpy(record_value_room(resized), record_value_room(record), filled);
    set_content_hash(resized, content_hash(record)); /* of the blocks so far */
    record_release(heap, record);
    return resized;
}

/* Each block's hash is the seed of the next one's, so the hash of one block alone is plain XXH3. */
static void hash_block(struct record *record, size_t at, size_t bytes)
{
    uint64_t seed = at ? content_hash(record) : 0;
    set_content_hash(record, hash_seeded(data_of(record) + at, bytes, seed));
}

size_t record_hash_blocks(struct record *record, size_t filled, size_t hashed)
{
    size_t have = (size_t)record->key_bytes + record->type_bytes + filled;
    for (; have - hashed >= RECORD_BLOCK_BYTES; hashed += RECORD_BLOCK_BYTES)
        hash_block(record, hashed, RECORD_BLOCK_BYTES);
    return hashed;
}

void record_seal_rest(struct record *record, size_t hashed)
{
    hashed = record_hash_blocks(record, record->value_bytes, hashed);
    if (data_bytes(record) > hashed)
        hash_block(record, hashed, data_bytes(record) - hashed);
}

void record_seal(struct record *record)
{
    record_seal_rest(record, 0);
}

void record_retain(struct record *record)
{
    assert(record->references < UINT32_MAX);
    record->references++;
}

void record_release(struct heap *heap, struct record *record)
{
    assert(record->references > 0);
    if (--record->references > 0)
        return;
    if (record->flags & RECORD_GROWN)
        heap_release_growing(heap, record, record_bytes(record));
    else
        heap_release(heap, record, record_bytes(record));
}

struct slice record_key(const struct record *record)
{
    return (struct slice){data_of(record), record->key_bytes};
}

struct slice record_type(const struct record *record)
{
    return (struct slice){data_of(record) + record->key_bytes, record->type_bytes};
}

struct slice record_value(const struct record *record)
{
    return (struct slice){data_of(record) + record->key_bytes + record->type_bytes,
                          record->value_bytes};
}

char *record_value_room(struct record *record)
{
    return data_of(record) + record->key_bytes + record->type_bytes;
}

struct record_due *record_due(struct record *record)
{
    if (!(record->flags & RECORD_EXPIRES))
        return NULL;
    return (struct record_due *)(void *)((char *)record + ALIGNED);
}

static uint64_t due_us_of(const struct record *record)
{
    if (!(record->flags & RECORD_EXPIRES))
        return 0;
    return ((const struct record_due *)(const void *)((const char *)record + ALIGNED))->due_us;
}

uint64_t record_expires_us(const struct record *record)
{
    return record_is_tombstone(record) ? 0 : due_us_of(record);
}

uint64_t record_since_us(const struct record *record)
{
    uint64_t due_us = due_us_of(record);
    return due_us > record->version ? due_us : record->version;
}

unsigned record_said_flags(const struct record *record)
{
    if (record_is_tombstone(record))
        return RECORD_TOMBSTONE;
    return record->flags & RECORD_EXPIRES;
}

bool record_is_live(const struct record *record, uint64_t now_us)
{
    if (record_is_tombstone(record))
        return false;
    return !(record->flags & RECORD_EXPIRES) || record_expires_us(record) > now_us;
}

uint64_t record_digest(const struct record *record)
{
    uint64_t lengths = (uint64_t)record->value_bytes << 32 | (uint64_t)record->key_bytes << 16 |
                       (uint64_t)record->type_bytes << 8 | record_said_flags(record);
    uint64_t words[4] = {content_hash(record), record->version, record_expires_us(record), lengths};
    for (int i = 0; i < 4 && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__; i++)
        words[i] = __builtin_bswap64(words[i]);
    return hash_bytes(words, sizeof words);
}

static int slice_compare(struct slice a, struct slice b)
{
    size_t shared = a.len < b.len ? a.len : b.len;
    int order = shared ? memcmp(a.data, b.data, shared) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

int record_compare(const struct record *a, const struct record *b)
{
    if (a->version != b->version)
        return a->version > b->version ? 1 : -1;
    if (record_is_tombstone(a) != record_is_tombstone(b))
        return record_is_tombstone(a) ? 1 : -1;
    int order = slice_compare(record_value(a), record_value(b));
    if (order == 0)
        order = slice_compare(record_type(a), record_type(b));
    if (order)
        return order;
    uint64_t a_expires = record_expires_us(a), b_expires = record_expires_us(b);
    return (a_expires > b_expires) - (a_expires < b_expires);
}

struct record *record_copy(struct heap *heap, const struct record *record)
{
    size_t bytes = record_bytes(record);
    assert(record->references == 1);
    struct record *copy = heap_alloc(heap, bytes, HEAP_MOVE);
    if (copy)
        memcpy(copy, record, bytes);
    return copy;
}

bool record_should_move(struct heap *heap, struct record *record)
{
    return record->references == 1 && heap_should_move(heap, record, record_bytes(record));
}

size_t record_footprint(const struct record *record)
{
    return heap_footprint(record_bytes(record));
}
