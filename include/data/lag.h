/* What a peer that cannot keep up has yet to be told: a cursor into each shard's order of changes, no queue. A key that is written
 * again moves to the end of its shard, so it is told once, with its newest value, and a write costs nothing but one look at a
 * cursor.
 *
 *      shard 7:  a ─ b ─ c ─ d ─ e     told up to b: the cursor stands on c
 *                        ▲
 *      c is written again: a ─ b ─ d ─ e ─ c', and the cursor steps on to d first
 */
#ifndef DATA_LAG_H
#define DATA_LAG_H

#include "data/store.h"

struct lag {
    struct record *at[STORE_SHARDS]; /* the first one to tell; NULL when there is none */
    uint16_t ring[STORE_SHARDS];     /* the shards that are waiting, who waits longest first */
    bool waiting[STORE_SHARDS];      /* stands in the ring */
    uint32_t first, count;           /* of the ring */
};

/* Returns NULL when out of memory. The caller owns it until free. */
struct lag *lag_new(void);

/* To be called for every change of the store, as store_observer tells it, while the lag exists. A record that is RECORD_LOCAL
 * is one to tell; so becomes one that may take the place of such a one before it was told. */
void lag_on_change(struct lag *lag, uint32_t shard, struct record *old, struct record *record);
void lag_on_move(struct lag *lag, uint32_t shard, const struct record *from, struct record *to);
void lag_on_drop(struct lag *lag, uint32_t shard, struct record *record);

/* The next record to tell, which counts as told then; NULL when there is none. Valid until the store changes. Each comes from
 * the shard that waits longest, so one that is written all the time keeps no other waiting. Passes over `*steps` records and shards at
 * most that have nothing (more) to tell, and counts them down; NULL also at 0. */
struct record *lag_next(struct lag *lag, unsigned *steps);

/* Whether nothing is left to tell. */
static inline bool lag_is_empty(const struct lag *lag)
{
    return lag->count == 0;
}

#endif
