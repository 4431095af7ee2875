/* Prefer: copies=K: who waits until so many members have a write. In order of their batches, so that a confirmation looks only at
 * those that it is about. */
#include <stdlib.h>

#include "role/cluster_state.h"

struct copies *cluster_await_copies(struct cluster *cluster, struct record *record, unsigned wanted,
                                    void (*on_enough)(void *owner), void *owner)
{
    struct copies *copies = malloc(sizeof *copies);
    if (!copies)
        return NULL;
    *copies = (struct copies){
        .record = record,
        .batch = cluster->batch_number,
        .have = 1,
        .wanted = wanted,
        .on_enough = on_enough,
        .owner = owner,
        .at = cluster->copies_end,
    };
    record_retain(record);
    cluster->changed =
        true; /* so that the next turn's batch has another number, also while nobody is told */
    *cluster->copies_end = copies;
    cluster->copies_end = &copies->next;
    return copies;
}

unsigned copies_have(const struct copies *copies)
{
    return copies->have;
}

bool copies_are_enough(const struct copies *copies)
{
    return copies->have >= copies->wanted;
}

struct record *copies_record(const struct copies *copies)
{
    return copies->record;
}

static void copies_unlink(struct cluster *cluster, struct copies *copies)
{
    if (!copies->at)
        return;
    *copies->at = copies->next;
    if (copies->next)
        copies->next->at = copies->at;
    else
        cluster->copies_end = copies->at;
    copies->at = NULL;
}

void cluster_forget_copies(struct cluster *cluster, struct copies *copies)
{
    copies_unlink(cluster, copies);
    record_release(store_heap(cluster->store), copies->record);
    free(copies);
}

void copies_confirm(struct cluster *cluster, uint64_t from, uint64_t to)
{
    for (struct copies *copies = cluster->copies, *next; copies && copies->batch < to;
         copies = next) {
        next = copies->next;
        if (copies->batch < from || ++copies->have < copies->wanted)
            continue;
        copies_unlink(cluster, copies);
        copies->on_enough(copies->owner);
    }
}
