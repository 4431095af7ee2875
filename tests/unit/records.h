/* Records for tests, made of what they say. */
#ifndef UNIT_RECORDS_H
#define UNIT_RECORDS_H

#include "data/record.h"
#include "unit.h"

/* All that a record says. */
struct said {
    struct slice key, type, value;
    uint64_t version, expires_us;
    bool tombstone;
};

/* A sealed record that says so; NULL when the heap says no. */
static inline struct record *said_record(struct heap *heap, const struct said *said)
{
    struct record_form form = {
        .key = said->key,
        .type = said->type,
        .version = said->version,
        .expires_us = said->expires_us,
        .value_bytes = said->value.len,
        .tombstone = said->tombstone,
    };
    struct record *record = record_new(heap, &form, said->tombstone ? HEAP_RESERVE : HEAP_NORMAL);
    if (!record)
        return NULL;
    if (said->value.len)
        memcpy(record_value_room(record), said->value.data, said->value.len);
    record_seal(record);
    return record;
}

static inline bool record_says(const struct record *record, const struct said *said)
{
    return slice_equal(record_key(record), said->key) &&
           slice_equal(record_type(record), said->type) &&
           slice_equal(record_value(record), said->value) && record->version == said->version &&
           record_expires_us(record) == said->expires_us &&
           record_is_tombstone(record) == said->tombstone;
}

static inline bool said_equal(const struct said *a, const struct said *b)
{
    return slice_equal(a->key, b->key) && slice_equal(a->type, b->type) &&
           slice_equal(a->value, b->value) && a->version == b->version &&
           a->expires_us == b->expires_us && a->tombstone == b->tombstone;
}

#endif
