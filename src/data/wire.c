#include "data/wire.h"

#include <assert.h>

#include "base/big.h"
#include "data/hash.h"

enum {
    FORMAT = 1,
    FLAG_NOTE = 64,
    FLAG_END = 128,
    CHECK_AT = 28,
};

void wire_head(const struct record *record, char out[WIRE_HEAD_BYTES])
{
    memset(out, 0, WIRE_HEAD_BYTES);
    out[0] = FORMAT;
    out[1] = (char)record_said_flags(record);
    big_put(out + 2, record->key_bytes, 2);
    big_put(out + 4, record->type_bytes, 1);
    big_put(out + 8, record->value_bytes, 4);
    big_put(out + 12, record->version, 8);
    big_put(out + 20, record_expires_us(record), 8);
    big_put(out + CHECK_AT, record_digest(record), 8);
}

struct slice wire_data(const struct record *record)
{
    struct slice key = record_key(record);
    return (struct slice){key.data, key.len + record->type_bytes + (size_t)record->value_bytes};
}

/* Of what has no key. */
static uint64_t end_check(const char *head)
{
    return hash_bytes(head, CHECK_AT);
}

void wire_end(uint64_t count, char out[WIRE_HEAD_BYTES])
{
    memset(out, 0, WIRE_HEAD_BYTES);
    out[0] = FORMAT;
    out[1] = (char)FLAG_END;
    big_put(out + 12, count, 8);
    big_put(out + CHECK_AT, end_check(out), 8);
}

static uint64_t note_check(const char *head, struct slice text)
{
    return hash_seeded(text.data, text.len, end_check(head));
}

void wire_note(struct slice text, char out[WIRE_HEAD_BYTES])
{
    assert(text.len > 0 && text.len <= WIRE_NOTE_BYTES_MAX);
    memset(out, 0, WIRE_HEAD_BYTES);
    out[0] = FORMAT;
    out[1] = FLAG_NOTE;
    big_put(out + 8, text.len, 4);
    big_put(out + CHECK_AT, note_check(out, text), 8);
}

void wire_reader_init(struct wire_reader *reader, struct heap *heap, uint64_t value_max)
{
    *reader = (struct wire_reader){.heap = heap, .value_max = value_max};
}

void wire_reader_free(struct wire_reader *reader)
{
    if (reader->record)
        record_release(reader->heap, reader->record);
    reader->record = NULL;
}

bool wire_reader_at_end(const struct wire_reader *reader)
{
    return reader->filled == 0 && !reader->record && reader->note_bytes == 0 &&
           reader->since_end == 0;
}

static size_t record_data_bytes(const struct record *record)
{
    return wire_data(record).len;
}

char *wire_reader_room(struct wire_reader *reader, size_t *room)
{
    if (reader->note_bytes) {
        *room = reader->note_bytes - reader->filled;
        return reader->note_room + reader->filled;
    }
    if (!reader->record) {
        *room = WIRE_HEAD_BYTES - reader->filled;
        return reader->head + reader->filled;
    }
    *room = record_data_bytes(reader->record) - reader->filled;
    return (char *)(uintptr_t)wire_data(reader->record).data + reader->filled;
}

static enum wire_result broken(struct wire_reader *reader, const char *reason)
{
    reader->reason = reason;
    return WIRE_BROKEN;
}

/* An end frame: counts must agree. */
static enum wire_result read_end(struct wire_reader *reader)
{
    const char *head = reader->head;
    if (big_get(head + CHECK_AT, 8) != end_check(head) || big_get(head + 2, 6) ||
        big_get(head + 8, 4) || big_get(head + 20, 8))
        return broken(reader, "the end mark is damaged");
    if (big_get(head + 12, 8) != reader->since_end)
        return broken(reader, "the end mark counts another number of records");
    reader->since_end = 0;
    reader->filled = 0;
    reader->offset += WIRE_HEAD_BYTES;
    return WIRE_MORE;
}

static enum wire_result read_note_head(struct wire_reader *reader)
{
    const char *head = reader->head;
    uint64_t bytes = big_get(head + 8, 4);
    if (big_get(head + 2, 6) || big_get(head + 12, 8) || big_get(head + 20, 8) || bytes == 0 ||
        bytes > WIRE_NOTE_BYTES_MAX)
        return broken(reader, "a note's frame makes no sense");
    reader->note_bytes = (size_t)bytes;
    reader->filled = 0;
    return WIRE_MORE;
}

static enum wire_result read_note(struct wire_reader *reader)
{
    reader->note = (struct slice){reader->note_room, reader->note_bytes};
    if (big_get(reader->head + CHECK_AT, 8) != note_check(reader->head, reader->note))
        return broken(reader, "a note is damaged");
    reader->offset += WIRE_HEAD_BYTES + reader->note_bytes;
    reader->note_bytes = reader->filled = 0;
    return WIRE_NOTE;
}

static bool head_is_sane(const char *head)
{
    unsigned flags = (unsigned char)head[1];
    uint64_t key_bytes = big_get(head + 2, 2), value_bytes = big_get(head + 8, 4),
             expires = big_get(head + 20, 8);
    bool tombstone = flags & RECORD_TOMBSTONE;
    if (flags & ~(unsigned)(RECORD_TOMBSTONE | RECORD_EXPIRES) || big_get(head + 5, 3))
        return false;
    if (key_bytes == 0 || key_bytes > RECORD_KEY_BYTES_MAX || value_bytes > RECORD_VALUE_BYTES_MAX)
        return false;
    if (tombstone && (value_bytes || head[4] || expires))
        return false;
    return (expires != 0) == ((flags & RECORD_EXPIRES) != 0);
}

static enum wire_result read_head(struct wire_reader *reader)
{
    const char *head = reader->head;
    if (head[0] != FORMAT)
        return broken(reader, "there is no record of a format that is known here");
    if ((unsigned char)head[1] == FLAG_END)
        return read_end(reader);
    if ((unsigned char)head[1] == FLAG_NOTE)
        return read_note_head(reader);
    if (!head_is_sane(head))
        return broken(reader, "the record's frame makes no sense");
    struct record_form form = {
        .key = {NULL, (size_t)big_get(head + 2, 2)},
        .type = {NULL, (unsigned char)head[4]},
        .version = big_get(head + 12, 8),
        .expires_us = big_get(head + 20, 8),
        .value_bytes = (size_t)big_get(head + 8, 4),
        .tombstone = head[1] & RECORD_TOMBSTONE,
    };
    if (form.value_bytes > reader->value_max)
        return broken(reader, "a value is damaged, or larger than this node takes (--value-max)");
    reader->reason = "this node is out of memory (--memory-max)";
    reader->record = record_new(reader->heap, &form, form.tombstone ? HEAP_RESERVE : HEAP_NORMAL);
    if (!reader->record)
        return WIRE_NO_ROOM;
    reader->reason = NULL;
    reader->check = big_get(head + CHECK_AT, 8);
    reader->filled = reader->hashed = 0;
    return WIRE_MORE;
}

/* As it comes, since all of a large value at once would take the time of many turns. */
static void hash_some(struct wire_reader *reader)
{
    const struct record *record = reader->record;
    size_t before_value = (size_t)record->key_bytes + record->type_bytes;
    if (reader->filled > before_value)
        reader->hashed =
            record_hash_blocks(reader->record, reader->filled - before_value, reader->hashed);
}

static enum wire_result read_record(struct wire_reader *reader, struct record **out)
{
    struct record *record = reader->record;
    record_seal_rest(record, reader->hashed);
    if (record_digest(record) != reader->check)
        return broken(reader, "the record's check does not fit its bytes");
    reader->offset += WIRE_HEAD_BYTES + record_data_bytes(record);
    reader->records++;
    reader->since_end++;
    reader->record = NULL;
    reader->filled = 0;
    *out = record;
    return WIRE_RECORD;
}

enum wire_result wire_reader_filled(struct wire_reader *reader, size_t bytes,
                                    struct record **record)
{
    reader->filled += bytes;
    if (reader->note_bytes)
        return reader->filled < reader->note_bytes ? WIRE_MORE : read_note(reader);
    if (!reader->record) {
        assert(reader->filled <= WIRE_HEAD_BYTES);
        return reader->filled < WIRE_HEAD_BYTES ? WIRE_MORE : read_head(reader);
    }
    size_t whole = record_data_bytes(reader->record);
    assert(reader->filled <= whole);
    if (reader->filled == whole)
        return read_record(reader, record);
    hash_some(reader);
    return WIRE_MORE;
}
