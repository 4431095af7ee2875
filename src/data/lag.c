#include "data/lag.h"

#include <stdlib.h>

struct lag *lag_new(void)
{
    return calloc(1, sizeof(struct lag));
}

static void ring_join(struct lag *lag, uint32_t shard)
{
    lag->waiting[shard] = true;
    lag->ring[(lag->first + lag->count++) % STORE_SHARDS] = (uint16_t)shard;
}

static uint32_t ring_leave(struct lag *lag)
{
    uint32_t shard = lag->ring[lag->first];
    lag->waiting[shard] = false;
    lag->first = (lag->first + 1) % STORE_SHARDS;
    lag->count--;
    return shard;
}

void lag_on_change(struct lag *lag, uint32_t shard, struct record *old, struct record *record)
{
    /* Whoever has not been told of the old one yet has to hear of what came in its place, whoever wrote that. */
    if (old && lag->at[shard] && old->flags & RECORD_LOCAL)
        record->flags |= RECORD_LOCAL;
    if (old && lag->at[shard] == old)
        lag->at[shard] = store_after(old);
    if (!(record->flags & RECORD_LOCAL) || lag->at[shard])
        return;
    lag->at[shard] = record;
    if (!lag->waiting[shard])
        ring_join(lag, shard);
}

void lag_on_move(struct lag *lag, uint32_t shard, const struct record *from, struct record *to)
{
    if (lag->at[shard] == from)
        lag->at[shard] = to;
}

void lag_on_drop(struct lag *lag, uint32_t shard, struct record *record)
{
    if (lag->at[shard] == record)
        lag->at[shard] = store_after(record);
}

/* Shards take turns: one that is written faster than it is told has no end to wait for. */
struct record *lag_next(struct lag *lag, unsigned *steps)
{
    for (; lag->count > 0 && *steps > 0; --*steps) {
        uint32_t shard = ring_leave(lag);
        struct record *record = lag->at[shard];
        if (!record)
            continue;
        lag->at[shard] = store_after(record);
        if (lag->at[shard])
            ring_join(lag, shard);
        if (!(record->flags & RECORD_LOCAL))
            continue;
        *steps -= !lag->at[shard]; /* the end of a shard is one, too */
        return record;
    }
    return NULL;
}
