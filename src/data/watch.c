#include "data/watch.h"

#include <string.h>

static struct watch_waiter **bucket_of(struct watch *watch, const struct store_key *key)
{
    return &watch->buckets[(key->shard ^ key->hash) % WATCH_BUCKETS];
}

void watch_init(struct watch *watch)
{
    memset(watch, 0, sizeof *watch);
    watch->woken_end = &watch->woken;
}

void watch_add(struct watch *watch, struct watch_waiter *waiter, const struct store_key *key)
{
    struct watch_waiter **head = bucket_of(watch, key);
    waiter->shard = key->shard;
    waiter->hash = key->hash;
    waiter->next = *head;
    waiter->at = head;
    if (waiter->next)
        waiter->next->at = &waiter->next;
    *head = waiter;
    watch->waiting++;
}

static void unlink_waiter(struct watch *watch, struct watch_waiter *waiter)
{
    *waiter->at = waiter->next;
    if (waiter->next)
        waiter->next->at = waiter->at;
    else if (watch->woken_end == &waiter->next)
        watch->woken_end = waiter->at;
    waiter->at = NULL;
    waiter->next = NULL;
    watch->waiting--;
}

void watch_remove(struct watch *watch, struct watch_waiter *waiter)
{
    if (waiter->at)
        unlink_waiter(watch, waiter);
}

static void add_woken(struct watch *watch, struct watch_waiter *waiter)
{
    waiter->next = NULL;
    waiter->at = watch->woken_end;
    *watch->woken_end = waiter;
    watch->woken_end = &waiter->next;
    watch->waiting++;
}

void watch_wake(struct watch *watch, const struct store_key *key)
{
    if (watch->waiting == 0)
        return;
    struct watch_waiter *waiter = *bucket_of(watch, key);
    while (waiter) {
        struct watch_waiter *next = waiter->next;
        if (waiter->shard == key->shard && waiter->hash == key->hash) {
            unlink_waiter(watch, waiter);
            add_woken(watch, waiter);
        }
        waiter = next;
    }
}

struct watch_waiter *watch_next(struct watch *watch)
{
    struct watch_waiter *waiter = watch->woken;
    if (waiter)
        unlink_waiter(watch, waiter);
    return waiter;
}
