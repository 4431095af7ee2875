#include "model.h"

#include <stdlib.h>
#include <string.h>

typedef unsigned long long ull; /* for printing */

/* Arrays that grow. Returns the array, with room for one more. */
static void *array_room(void *array, unsigned count, unsigned *room, size_t bytes)
{
    if (count < *room)
        return array;
    *room = *room ? *room * 2 : 16;
    array = realloc(array, *room * bytes);
    if (!array)
        abort();
    return array;
}

void model_init(struct model *model, struct world *world, const struct io_sim *io, unsigned keys)
{
    *model = (struct model){.world = world, .io = io, .key_count = keys};
    model->keys = calloc(keys, sizeof *model->keys);
    if (!model->keys)
        abort();
    for (unsigned i = 0; i < keys; i++)
        model->keys[i].number = i;
}

void model_free(struct model *model)
{
    for (unsigned i = 0; i < model->key_count; i++) {
        struct model_key *key = &model->keys[i];
        for (unsigned w = 0; w < key->write_count; w++)
            free(key->writes[w]);
        free(key->writes);
        free(key->records);
        free(key->floors);
        free(key->name);
    }
    free(model->keys);
    model->keys = NULL;
    model->key_count = 0;
}

void model_key_name(struct model_key *key, char *name, size_t bytes)
{
    key->name = name;
    key->name_bytes = bytes;
}

/* Floors */

uint64_t model_floor_at(const struct model_key *key, uint64_t at_us)
{
    for (unsigned i = key->floor_count; i-- > 0;)
        if (key->floors[i].at_us <= at_us)
            return key->floors[i].version;
    return 0;
}

uint64_t model_past_since(const struct model_key *key, uint64_t version)
{
    uint64_t since_us = UINT64_MAX;
    for (unsigned i = key->floor_count; i-- > 0 && key->floors[i].version > version;)
        since_us = key->floors[i].at_us;
    return since_us;
}

static void floor_raise(struct model *model, struct model_key *key, uint64_t version)
{
    if (version <= model_floor_at(key, UINT64_MAX))
        return;
    key->floors = array_room(key->floors, key->floor_count, &key->floor_room, sizeof *key->floors);
    key->floors[key->floor_count++] = (struct model_floor){model->world->now_us, version};
}

/* The least version that a request may see, or must exceed. */
static uint64_t floor_of(const struct model_sight *sight)
{
    uint64_t floor = model_floor_at(sight->key, sight->sent_us);
    return floor > sight->own_floor ? floor : sight->own_floor;
}

/* Writes */

struct model_write *model_write_begin(struct model *model, struct model_key *key,
                                      struct model_content content, bool tombstone, uint64_t ttl_us)
{
    struct model_write *write = malloc(sizeof *write);
    if (!write)
        abort();
    *write = (struct model_write){key,        content, tombstone,    ttl_us, model->world->now_us,
                                  UINT64_MAX, 0,       MODEL_PENDING};
    key->writes = array_room(key->writes, key->write_count, &key->write_room, sizeof *key->writes);
    key->writes[key->write_count++] = write;
    model->write_count++;
    return write;
}

void model_write_sent(struct model *model, struct model_write *write)
{
    write->sent_us = model->world->now_us;
}

void model_write_lost(struct model *model, struct model_write *write)
{
    (void)model;
    if (write->fate == MODEL_PENDING)
        write->fate = write->sent_us == UINT64_MAX ? MODEL_NEVER : MODEL_LOST;
}

/* Records */

static struct model_record *record_find(const struct model_key *key, uint64_t version)
{
    for (unsigned i = key->record_count; i-- > 0;)
        if (key->records[i].version == version)
            return &key->records[i];
    return NULL;
}

const struct model_record *model_record_by_etag(const struct model_key *key, const char *etag)
{
    for (unsigned i = key->record_count; i-- > 0;)
        if (strcmp(key->records[i].etag, etag) == 0)
            return &key->records[i];
    return NULL;
}

static bool content_equal(const struct model_content *a, const struct model_content *b)
{
    return a->hash == b->hash && a->bytes == b->bytes && a->type == b->type &&
           a->expires == b->expires;
}

/* When a record expires, as far as can be told from outside: its write was stamped between the first byte
 * sent and now. */
static void record_set_expiry(struct model *model, struct model_record *record)
{
    const struct model_write *write = record->write;
    uint64_t least_us, most_us;
    record->first_us = write->first_us;
    record->expires = write->ttl_us != 0;
    if (!record->expires)
        return;
    io_sim_wall_range(model->io, write->first_us, record->seen_us, &least_us, &most_us);
    record->expires_least_us = least_us + write->ttl_us;
    record->expires_most_us = most_us + write->ttl_us;
    if (world_mutates(model->world, MUTANT_LATE_EXPIRY, 1000000)) {
        record->expires_least_us -= 900000;
        record->expires_most_us -= 900000;
    }
}

static struct model_record *record_add(struct model *model, struct model_write *write,
                                       uint64_t version, const char *etag)
{
    struct model_key *key = write->key;
    if (strlen(etag) >= MODEL_ETAG_BYTES) {
        world_fail(model->world, "the ETag %s is too long for the model", etag);
        return NULL;
    }
    const struct model_record *twin = *etag ? model_record_by_etag(key, etag) : NULL;
    if (twin) {
        world_fail(model->world, "key %u: versions %llu and %llu share the ETag %s", key->number,
                   (ull)twin->version, (ull)version, etag);
        return NULL;
    }
    key->records =
        array_room(key->records, key->record_count, &key->record_room, sizeof *key->records);
    struct model_record *record = &key->records[key->record_count++];
    *record = (struct model_record){.version = version,
                                    .content = write->content,
                                    .tombstone = write->tombstone,
                                    .seen_us = model->world->now_us,
                                    .write = write};
    memcpy(record->etag, etag, strlen(etag) + 1);
    write->version = version;
    record_set_expiry(model, record);
    return record;
}

/* A record that was seen before must look the same. */
static void record_check_etag(struct model *model, const struct model_key *key,
                              struct model_record *record, const char *etag)
{
    if (*etag && strcmp(record->etag, etag) != 0)
        world_fail(model->world, "key %u: version %llu has the ETags %s and %s", key->number,
                   (ull)record->version, record->etag, etag);
}

/* A write of this content that was wholly sent, and that nobody has seen yet. */
static struct model_write *write_find(const struct model_key *key, bool tombstone,
                                      const struct model_content *content, uint64_t version)
{
    for (unsigned i = key->write_count; i-- > 0;) {
        struct model_write *write = key->writes[i];
        bool open = write->fate == MODEL_PENDING || write->fate == MODEL_LOST;
        if (open && write->version == 0 && write->sent_us != UINT64_MAX &&
            write->tombstone == tombstone &&
            (tombstone || content_equal(&write->content, content)) &&
            version > model_floor_at(key, write->sent_us))
            return write;
    }
    return NULL;
}

/* The record was ascribed to a write that turns out to be another one: finds a new author for it. Only
 * small values, which several writes may share, come here. */
static bool record_ascribe_anew(struct model *model, struct model_record *record)
{
    struct model_write *old = record->write;
    struct model_write *other =
        write_find(old->key, record->tombstone, &record->content, record->version);
    if (!other)
        return false;
    record->write = other;
    other->version = record->version;
    old->version = 0;
    record_set_expiry(model, record);
    return true;
}

void model_write_refused(struct model *model, struct model_write *write)
{
    write->fate = MODEL_NEVER;
    struct model_record *record = write->version ? record_find(write->key, write->version) : NULL;
    if (record && !record_ascribe_anew(model, record))
        world_fail(model->world, "key %u: a write was refused, but version %llu of it was seen",
                   write->key->number, (ull)record->version);
}

/* Acknowledged writes */

/* The stamp is max(the node's clock, the version before + 1). */
static void version_check_clock(struct model *model, const struct model_write *write,
                                uint64_t version)
{
    uint64_t least_us, most_us, most_ever_us, unused;
    uint64_t now_us = model->world->now_us;
    io_sim_wall_range(model->io, write->first_us, now_us, &least_us, &most_us);
    io_sim_wall_range(model->io, 0, now_us, &unused, &most_ever_us);
    if (version < least_us || version > most_ever_us + model->write_count)
        world_fail(model->world,
                   "key %u: version %llu is not from between %llu and %llu, what the clock said",
                   write->key->number, (ull)version, (ull)least_us, (ull)most_ever_us);
}

/* The version that a write turns out to have may have been ascribed to another, which is free again. */
static void author_release(const struct model_write *write, uint64_t version)
{
    const struct model_record *record = record_find(write->key, version);
    if (record && record->write != write && record->write->fate != MODEL_ACKED)
        record->write->version = 0;
}

static void acked_record(struct model *model, struct model_write *write,
                         const struct model_sight *sight)
{
    struct model_record *record = record_find(write->key, sight->version);
    if (!record) {
        record_add(model, write, sight->version, sight->etag);
        return;
    }
    record_check_etag(model, write->key, record, sight->etag);
    bool same = record->tombstone == write->tombstone &&
                (write->tombstone || content_equal(&record->content, &write->content));
    bool taken = record->write != write && record->write->fate == MODEL_ACKED;
    if (!same || taken) {
        world_fail(model->world, "key %u: version %llu stands for two writes", write->key->number,
                   (ull)sight->version);
        return;
    }
    record->write = write;
    write->version = record->version;
    record_set_expiry(model, record);
}

uint64_t model_write_acked(struct model *model, struct model_write *write,
                           const struct model_sight *sight)
{
    struct model_key *key = write->key;
    uint64_t floor = floor_of(sight);
    if (sight->version <= floor)
        world_fail(
            model->world,
            "key %u: a write got version %llu, but the key had reached %llu before it was sent",
            key->number, (ull)sight->version, (ull)floor);
    version_check_clock(model, write, sight->version);
    author_release(write, sight->version);
    struct model_record *other = write->version ? record_find(key, write->version) : NULL;
    if (other && other->version != sight->version && !record_ascribe_anew(model, other))
        world_fail(model->world, "key %u: one write was seen as version %llu and as %llu",
                   key->number, (ull)other->version, (ull)sight->version);
    if (model->world->failed)
        return floor;
    acked_record(model, write, sight);
    write->fate = MODEL_ACKED;
    floor_raise(model, key, sight->version);
    return sight->version;
}

/* Reads */

/* Whether a record that is seen at some time from `from_us` until now may be there: the wall clock had not
 * reached its expiry all the time. */
static bool record_may_live(const struct model *model, const struct model_record *record,
                            uint64_t from_us)
{
    uint64_t least_us, most_us;
    if (!record->expires)
        return true;
    io_sim_wall_range(model->io, from_us, model->world->now_us, &least_us, &most_us);
    return least_us < record->expires_most_us;
}

/* Whether the seconds that it is said to have left can be right; they are rounded up. */
static bool ttl_may_be(const struct model *model, const struct model_record *record,
                       const struct model_sight *sight)
{
    uint64_t least_us, most_us;
    io_sim_wall_range(model->io, sight->sent_us, model->world->now_us, &least_us, &most_us);
    uint64_t left_us = sight->ttl_s * 1000000;
    return least_us + left_us < record->expires_most_us + 1000000 &&
           most_us + left_us >= record->expires_least_us;
}

/* Whether it may have expired by now. Once found expired it stays so, whatever the clock does. */
static bool record_may_be_expired(const struct model *model, const struct model_record *record)
{
    uint64_t least_us, most_us;
    if (!record->expires)
        return false;
    io_sim_wall_range(model->io, record->first_us, model->world->now_us, &least_us, &most_us);
    return most_us >= record->expires_least_us;
}

static uint64_t record_was_read(struct model *model, const struct model_sight *sight,
                                const struct model_record *record)
{
    uint64_t floor = floor_of(sight);
    if (record->tombstone)
        world_fail(model->world, "key %u: version %llu is a delete, but reads as a value",
                   sight->key->number, (ull)record->version);
    if (record->version < floor)
        world_fail(model->world,
                   "key %u: version %llu is stale: %llu was known before the request was sent",
                   sight->key->number, (ull)record->version, (ull)floor);
    if (sight->ttl_s && record->expires && !ttl_may_be(model, record, sight))
        world_fail(model->world, "key %u: version %llu has %llu s to live", sight->key->number,
                   (ull)record->version, (ull)sight->ttl_s);
    if (!record_may_live(model, record, sight->sent_us))
        world_fail(model->world, "key %u: version %llu is visible after its expiry",
                   sight->key->number, (ull)record->version);
    floor_raise(model, sight->key, record->version);
    return record->version > floor ? record->version : floor;
}

uint64_t model_read_value(struct model *model, const struct model_sight *sight)
{
    struct model_key *key = sight->key;
    struct model_record *record = record_find(key, sight->version);
    if (!record) {
        struct model_write *write = write_find(key, false, &sight->content, sight->version);
        if (write)
            record = record_add(model, write, sight->version, sight->etag);
        else
            world_fail(
                model->world,
                "key %u: no write explains version %llu with %llu bytes, type %u; floor %llu",
                key->number, (ull)sight->version, (ull)sight->content.bytes, sight->content.type,
                (ull)model_floor_at(key, UINT64_MAX));
    } else if (!content_equal(&record->content, &sight->content)) {
        world_fail(
            model->world,
            "key %u: version %llu has %llu bytes of type %u, but %llu of type %u were written",
            key->number, (ull)sight->version, (ull)sight->content.bytes, sight->content.type,
            (ull)record->content.bytes, record->content.type);
    } else {
        record_check_etag(model, key, record, sight->etag);
    }
    return record ? record_was_read(model, sight, record) : 0;
}

/* Whether some write that nobody has seen yet would look so from outside. */
static bool write_may_have(const struct model_key *key, const struct model_content *content)
{
    for (unsigned i = key->write_count; i-- > 0;) {
        const struct model_write *write = key->writes[i];
        bool open = write->fate == MODEL_PENDING || write->fate == MODEL_LOST;
        if (open && write->version == 0 && write->sent_us != UINT64_MAX && !write->tombstone &&
            write->content.bytes == content->bytes && write->content.type == content->type &&
            write->content.expires == content->expires)
            return true;
    }
    return false;
}

uint64_t model_read_head(struct model *model, const struct model_sight *sight)
{
    struct model_sight full = *sight;
    const struct model_record *record = record_find(sight->key, sight->version);
    if (record) {
        full.content.hash = record->content.hash;
        return model_read_value(model, &full);
    }
    uint64_t floor = floor_of(sight);
    if (sight->version < floor || !write_may_have(sight->key, &sight->content))
        world_fail(model->world, "key %u: no write explains version %llu with %llu bytes, type %u",
                   sight->key->number, (ull)sight->version, (ull)sight->content.bytes,
                   sight->content.type);
    floor_raise(model, sight->key, sight->version);
    return sight->version > floor ? sight->version : floor;
}

uint64_t model_read_same(struct model *model, const struct model_sight *sight)
{
    const struct model_record *record = model_record_by_etag(sight->key, sight->etag);
    if (record)
        return record_was_read(model, sight, record);
    world_fail(model->world, "key %u: a 304 with the ETag %s, which nobody was given",
               sight->key->number, sight->etag);
    return 0;
}

/* The least version that explains that a key is absent, or UINT64_MAX when nothing does. */
static uint64_t absence_version(const struct model *model, const struct model_key *key,
                                uint64_t floor)
{
    uint64_t least = floor == 0 ? 0 : UINT64_MAX;
    /* A write that nobody has seen came after all that is known, or it would not show. It may be what an
     * earlier absence was ascribed to: then the floor is a guess at its version, and no record has it. */
    uint64_t unseen = record_find(key, floor) ? floor + 1 : floor;
    for (unsigned i = 0; i < key->record_count; i++) {
        const struct model_record *record = &key->records[i];
        if (record->version >= floor && record->version < least &&
            (record->tombstone || record_may_be_expired(model, record)))
            least = record->version;
    }
    for (unsigned i = 0; i < key->write_count && least > unseen; i++) {
        struct model_write *write = key->writes[i];
        bool open = write->fate == MODEL_PENDING || write->fate == MODEL_LOST;
        if (!open || write->version || write->sent_us == UINT64_MAX)
            continue;
        struct model_record maybe = {.write = write, .seen_us = model->world->now_us};
        record_set_expiry((struct model *)(uintptr_t)model, &maybe);
        if (write->tombstone || record_may_be_expired(model, &maybe))
            least = unseen;
    }
    return least;
}

uint64_t model_read_absent(struct model *model, const struct model_sight *sight)
{
    uint64_t floor = floor_of(sight);
    uint64_t least = absence_version(model, sight->key, floor);
    if (least == UINT64_MAX) {
        world_fail(model->world,
                   "key %u: it is absent, but version %llu was known and nothing ended it",
                   sight->key->number, (ull)floor);
        return floor;
    }
    floor_raise(model, sight->key, least);
    return least > floor ? least : floor;
}
