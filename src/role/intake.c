#include "role/intake.h"

#include <stdlib.h>

enum { KEPT_ROOM = 16 }; /* records, at first */

void intake_init(struct intake *intake, struct store *store, uint64_t value_max, bool local)
{
    *intake = (struct intake){.store = store, .local = local};
    wire_reader_init(&intake->reader, store_heap(store), value_max);
}

void intake_free(struct intake *intake)
{
    while (intake->kept_count > 0)
        record_release(store_heap(intake->store), intake->kept[--intake->kept_count]);
    free(intake->kept);
    wire_reader_free(&intake->reader);
}

static bool is_foreign(const struct intake *intake, const struct record *record)
{
    return intake->route && route_partition(intake->route, record_key(record)) != intake->partition;
}

static bool intake_record(struct intake *intake, struct record *record, uint64_t now_us)
{
    if (is_foreign(intake, record)) {
        record_release(store_heap(intake->store), record);
        intake->foreign = true;
        return false;
    }
    struct store_key key = store_key(intake->store, record_key(record));
    record->flags |= intake->local ? RECORD_LOCAL : 0;
    intake->shard = key.shard;
    enum store_result result = intake->copy ? store_adopt(intake->store, &key, record, now_us)
                                            : store_merge(intake->store, &key, record, now_us);
    if (result == STORE_APPLIED) {
        intake->applied++;
        return true;
    }
    record_release(store_heap(intake->store), record);
    if (result == STORE_STALE)
        intake->stale++;
    else
        intake->full = true;
    return result == STORE_STALE || intake->deletes;
}

static bool intake_keep(struct intake *intake, struct record *record)
{
    if (intake->kept_count == INTAKE_KEPT_MAX) {
        record_release(store_heap(intake->store), record);
        intake->reader.reason = "a member tells more records at once than it may";
        intake->broken = true;
        return false;
    }
    if (intake->kept_count == intake->kept_room) {
        unsigned room = intake->kept_room ? intake->kept_room * 2 : KEPT_ROOM;
        struct record **kept = realloc(intake->kept, room * sizeof(struct record *));
        if (!kept) {
            record_release(store_heap(intake->store), record);
            intake->full = true;
            return false;
        }
        intake->kept = kept;
        intake->kept_room = room;
    }
    intake->kept[intake->kept_count++] = record;
    return true;
}

/* The end mark has come. Where a delete of what is not here finds no room, the rest goes in all the same, as it has its memory. */
static void intake_kept(struct intake *intake, uint64_t now_us)
{
    for (unsigned i = 0; i < intake->kept_count; i++)
        intake_record(intake, intake->kept[i], now_us);
    intake->kept_count = 0;
}

bool intake_filled(struct intake *intake, size_t bytes, uint64_t now_us)
{
    struct record *record = NULL;
    switch (wire_reader_filled(&intake->reader, bytes, &record)) {
    case WIRE_MORE:
        if (intake->reader.since_end == 0)
            intake_kept(intake, now_us);
        return true;
    case WIRE_RECORD:
        return intake->whole ? intake_keep(intake, record) : intake_record(intake, record, now_us);
    case WIRE_NOTE:
        return true;
    case WIRE_BROKEN:
        intake->broken = true;
        return false;
    case WIRE_NO_ROOM:
        intake->full = true;
        return false;
    }
    return false;
}

bool intake_take(struct intake *intake, struct slice bytes, uint64_t now_us)
{
    while (bytes.len > 0) {
        size_t room;
        char *to = wire_reader_room(&intake->reader, &room);
        size_t take = bytes.len < room ? bytes.len : room;
        memcpy(to, bytes.data, take);
        bytes.data += take;
        bytes.len -= take;
        if (!intake_filled(intake, take, now_us))
            return false;
    }
    return true;
}
