/* Prefer: copies=K: who waits until so many members have a write. In lists by their batches, so that a confirmation looks only at those that
 * it is about, though thousands wait for a member that is down. A member may be killed while others are waited for: so who has confirmed is noted, and counted as it is asked for. */
#include <stdlib.h>

#include "role/cluster_state.h"

static struct copies **list_of(struct cluster *cluster, uint64_t batch)
{
    return &cluster->copies[batch % COPIES_LISTS];
}

static void copies_link(struct cluster *cluster, struct copies *copies)
{
    struct copies **first = list_of(cluster, copies->batch);
    copies->next = *first;
    copies->at = first;
    if (copies->next)
        copies->next->at = &copies->next;
    *first = copies;
    cluster->copies_count++;
}

struct copies *cluster_await_copies(struct cluster *cluster, struct record *record, unsigned wanted,
                                    void (*on_enough)(void *owner), void *owner)
{
    unsigned room = cluster->members.count - 1;
    struct copies *copies = malloc(sizeof *copies + room * sizeof *copies->by);
    if (!copies)
        return NULL;
    *copies = (struct copies){
        .record = record,
        .batch = cluster->batch_number,
        .wanted = wanted,
        .on_enough = on_enough,
        .owner = owner,
        .cluster = cluster,
        .room = room,
    };
    record_retain(record);
    cluster->changed =
        true; /* so that the next turn's batch has another number, also while nobody is told */
    copies_link(cluster, copies);
    return copies;
}

/* Of two lives of one node, the process that is there counts. */
static bool is_there(const struct cluster *cluster, uint64_t id)
{
    const struct member *member = members_find(&cluster->members, id);
    return member && member->peer && member->peer->up && members_counts(&cluster->members, member);
}

unsigned copies_have(const struct copies *copies)
{
    unsigned have = 1;
    for (unsigned i = 0; i < copies->count; i++)
        have += is_there(copies->cluster, copies->by[i]);
    return have;
}

bool copies_are_enough(const struct copies *copies)
{
    return copies->count + 1 >= copies->wanted && copies_have(copies) >= copies->wanted;
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
    copies->at = NULL;
    cluster->copies_count--;
}

void cluster_forget_copies(struct cluster *cluster, struct copies *copies)
{
    copies_unlink(cluster, copies);
    record_release(store_heap(cluster->store), copies->record);
    free(copies);
}

static void copies_look(struct cluster *cluster, struct copies *copies)
{
    if (!copies_are_enough(copies))
        return;
    copies_unlink(cluster, copies);
    copies->on_enough(copies->owner);
}

/* Those of one list whose batch is one of these. */
static void list_confirm(struct cluster *cluster, struct copies *first, uint64_t id, uint64_t from,
                         uint64_t to)
{
    for (struct copies *copies = first, *next; copies; copies = next) {
        next = copies->next;
        if (copies->batch < from || copies->batch >= to || copies->count == copies->room)
            continue;
        copies->by[copies->count++] = id;
        copies_look(cluster, copies);
    }
}

void copies_confirm(struct cluster *cluster, uint64_t id, uint64_t from, uint64_t to)
{
    for (uint64_t batch = from; batch < to && batch < from + COPIES_LISTS; batch++)
        list_confirm(cluster, *list_of(cluster, batch), id, from, to);
}

void copies_look_again(struct cluster *cluster)
{
    for (unsigned i = 0; i < COPIES_LISTS; i++)
        for (struct copies *copies = cluster->copies[i], *next; copies; copies = next) {
            next = copies->next;
            copies_look(cluster, copies);
        }
}
