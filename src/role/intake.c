#include "role/intake.h"

void intake_init(struct intake *intake, struct store *store, uint64_t value_max, bool local)
{
    *intake = (struct intake){.store = store, .local = local};
    wire_reader_init(&intake->reader, store_heap(store), value_max);
}

void intake_free(struct intake *intake)
{
    wire_reader_free(&intake->reader);
}

static bool intake_record(struct intake *intake, struct record *record, uint64_t now_us)
{
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
    return result == STORE_STALE;
}

bool intake_filled(struct intake *intake, size_t bytes, uint64_t now_us)
{
    struct record *record = NULL;
    switch (wire_reader_filled(&intake->reader, bytes, &record)) {
    case WIRE_MORE:
        return true;
    case WIRE_RECORD:
        return intake_record(intake, record, now_us);
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
