/* Who waits for which key to change. Hashed by key, so that a write looks only at those who wait for its key,
 * and costs one comparison while nobody waits at all.
 *
 * No memory of its own beside one table: a waiter is embedded in its owner. */
#ifndef DATA_WATCH_H
#define DATA_WATCH_H

#include <stdint.h>

#include "data/store.h"

enum { WATCH_BUCKETS = 4096 };

struct watch_waiter {
    struct watch_waiter *next, **at; /* at is NULL while it does not stand in a list */
    uint32_t shard, hash;            /* of the key */
};

/* Waiters on keys, and those that were woken and not yet taken out. */
struct watch {
    struct watch_waiter *buckets[WATCH_BUCKETS];
    struct watch_waiter *woken;
    struct watch_waiter **woken_end;
    uint32_t waiting;
};

void watch_init(struct watch *watch);

void watch_add(struct watch *watch, struct watch_waiter *waiter, const struct store_key *key);

/* Takes a waiter out, waiting or woken; does nothing when it is in no list. */
void watch_remove(struct watch *watch, struct watch_waiter *waiter);

/* Moves all that wait for a key of this hash to the woken ones (two keys of one hash wake each other's waiters, who
 * look for themselves). */
void watch_wake(struct watch *watch, const struct store_key *key);

/* The next one that was woken, taken out; NULL when there is none. */
struct watch_waiter *watch_next(struct watch *watch);

#endif
