/* A cluster that is read: all records of one of its members, shard by shard. When that fails, another member goes on from the shard that was
 * come to, since shards are the same on all. */
#include <errno.h>
#include <stdio.h>

#include "data/hash.h"
#include "role/haul.h"

static struct source *source_of_call(struct call *call)
{
    return (struct source *)(void *)((char *)call - offsetof(struct source, call));
}

uint32_t source_shard_of(const struct record *record)
{
    struct slice key = record_key(record);
    return (uint32_t)(hash_bytes(key.data, key.len) >> (64 - STORE_SHARD_BITS));
}

static void source_record(struct source *source, const struct record *record)
{
    uint32_t shard = source_shard_of(record);
    if (record->version > source->newest)
        source->newest = record->version;
    if (shard != source->shard)
        contact_went_on(&source->contact);
    source->shard = shard;
    source->contact.haul->ops->on_record(source, record);
}

static void source_leave(struct source *source, const char *trouble)
{
    source->good = false;
    source->trouble = trouble;
    upstream_close(source->contact.upstream, -ECONNRESET);
}

/* Returns false when the stream makes no sense. */
static bool source_take(struct source *source, struct slice bytes)
{
    struct wire_reader *reader = &source->reader;
    while (bytes.len > 0) {
        size_t room;
        char *to = wire_reader_room(reader, &room);
        size_t take = bytes.len < room ? bytes.len : room;
        struct record *record = NULL;
        memcpy(to, bytes.data, take);
        bytes.data += take;
        bytes.len -= take;
        enum wire_result result = wire_reader_filled(reader, take, &record);
        if (result == WIRE_RECORD) {
            source_record(source, record);
            record_release(source->contact.haul->heap, record);
        } else if (result != WIRE_MORE && result != WIRE_NOTE) {
            return false;
        }
    }
    return true;
}

static void source_pause(struct source *source)
{
    const struct haul *haul = source->contact.haul;
    bool full = haul->ops->is_full(haul);
    if (!source->calling || full == source->paused)
        return;
    source->paused = full;
    upstream_pause(source->contact.upstream, full);
}

static void on_head(struct call *call, const struct http_response *head)
{
    source_of_call(call)->good = head->status == 200;
}

static void on_body(struct call *call, struct slice bytes)
{
    struct source *source = source_of_call(call);
    struct haul *haul = source->contact.haul;
    if (!source->good || !haul->flowing)
        return;
    haul->bytes += bytes.len;
    if (!source_take(source, bytes))
        source_leave(source, source->reader.reason);
    else
        source_pause(source);
}

/* All of one member, from the beginning to the end? */
static void source_read(struct source *source)
{
    struct backend *member = contact_member(&source->contact);
    contact_went_on(&source->contact);
    source->done = true;
    source->damaged = 0;
    if (!member || source->broken)
        return;
    if (member->read_pass > 0 && member->read_pass == source->pass - 1)
        member->twice_pass = source->pass;
    member->read_pass = source->pass;
}

static bool counts(const struct backend *member, unsigned counts_from)
{
    return member->twice_pass >= counts_from;
}

/* Whether the member that was just read for the second time is as it was when it was begun to be read for the first time. */
static bool is_as_read(const struct source *source, unsigned counts_from)
{
    const struct backend *read = contact_member(&source->contact);
    return read && read->twice_pass == source->pass && counts(read, counts_from) &&
           source->digest == source->before && read->digest == source->digest;
}

/* Whether it is not known yet if this member can be read. */
static bool is_open(const struct backend *member)
{
    bool elsewhere = member->wrong || member->foreign;
    bool known = member->up ? !member->is_ready || elsewhere : member->backoff_us > 0;
    return (member->listed || member->seed) && !member->usable && !member->leaving && !known;
}

/* Who stands behind a name is not known before the name server has answered. */
static bool is_asked_for(const struct seed *seed)
{
    return seed->asking || !seed->next_us;
}

bool source_is_open(const struct source *source)
{
    const struct partition *partition = source->contact.partition;
    for (unsigned i = 0; i < partition->seed_count; i++)
        if (is_asked_for(&partition->seeds[i]))
            return true;
    for (unsigned i = 0; i < partition->backend_count; i++)
        if (is_open(partition->backends[i]))
            return true;
    return false;
}

bool source_is_covered(const struct source *source, unsigned counts_from)
{
    const struct partition *partition = source->contact.partition;
    bool as_read = is_as_read(source, counts_from);
    if (source_is_open(source))
        return false;
    for (unsigned i = 0; i < partition->usable_count; i++) {
        const struct backend *member = partition->usable[i];
        if (!counts(member, counts_from) && !(as_read && member->digest == source->digest))
            return false;
    }
    return true;
}

static void on_end(struct call *call, enum call_result result)
{
    struct source *source = source_of_call(call);
    bool whole = result == CALL_DONE && source->good && source->reader.offset > 0 &&
                 wire_reader_at_end(&source->reader);
    source->calling = source->paused = false;
    wire_reader_free(&source->reader);
    if (haul_is_over(source->contact.haul))
        return;
    if (whole) {
        source_read(source);
        upstream_close(source->contact.upstream, 0);
        return;
    }
    source->broken = true;
    source->damaged = source->trouble ? source->damaged + 1 : source->damaged;
    upstream_close(source->contact.upstream, -ECONNRESET);
}

static const struct call_ops source_call_ops = {
    .on_head = on_head,
    .on_body = on_body,
    .on_end = on_end,
};

static void source_call(struct source *source)
{
    char head[96];
    int len =
        snprintf(head, sizeof head, "GET /-/records?from=%u HTTP/1.1\r\nHost: fog\r\n%s\r\n",
                 source->shard, source->contact.haul->all_deletes ? "Prefer: deletes=all\r\n" : "");
    struct conn_piece piece = {.data = head, .len = (size_t)len};
    if (source->calling || source->done || !source->contact.haul->flowing)
        return;
    const struct backend *member = contact_member(&source->contact);
    if (!source->broken)
        source->digest = member ? member->digest : 0;
    wire_reader_init(&source->reader, source->contact.haul->heap, RECORD_VALUE_BYTES_MAX);
    source->trouble = NULL;
    source->good = false;
    source->calling = true;
    source->call = (struct call){.ops = &source_call_ops};
    upstream_call(source->contact.upstream, &source->call, &piece, 1);
}

static void on_open(struct upstream *upstream)
{
    source_call(upstream_owner(upstream));
}

static void on_closed(struct upstream *upstream, int error)
{
    struct source *source = upstream_owner(upstream);
    contact_closed(&source->contact, error);
    if (error && !source->done)
        contact_failed(&source->contact);
}

static const struct upstream_ops source_ops = {
    .on_open = on_open,
    .on_closed = on_closed,
};

void source_begin(struct source *source, uint32_t shard)
{
    source->newest = 0;
    source->before = source->digest;
    source->shard = shard;
    source->pass++;
    source->done = source->broken = false;
}

void source_stay(struct source *source, unsigned counts_from)
{
    const struct backend *member = contact_member(&source->contact);
    bool stays = member && member->read_pass == source->pass && !counts(member, counts_from);
    source->contact.wanted = stays ? &source->contact.address : NULL;
}

void source_tick(struct source *source)
{
    source_pause(source);
    if (source->damaged >= HAUL_DAMAGED_MAX)
        haul_fail(source->contact.haul, "What %s sends makes no sense: %s.", source->contact.name,
                  source->trouble);
    else if (!source->done && contact_tend(&source->contact))
        source_call(source);
}

int source_init(struct source *source, struct haul *haul, struct partition *partition,
                const char *name)
{
    return contact_init(&source->contact, haul, partition, name, &source_ops, source);
}

void source_free(struct source *source)
{
    contact_free(&source->contact);
}
