/* What must be true once all faults have ended. */
#include <stdio.h>
#include <string.h>

#include "cluster.h"
#include "role/cluster_state.h"
#include "role/node_state.h"

enum {
    SECOND = 1000 * 1000,
    PASSED_ON_US = SECOND,      /* a goodbye that was heard is known to all after it */
    AGREE_US_MAX = 60 * SECOND, /* after the last fault */
    SETTLED_US = 10 * SECOND,   /* who was there for so long is known to all */
    QUIET_US_MAX =
        525 *
        SECOND, /* what the fullest cable (faults.c) takes by the slowest way (cluster_troubles.c) */
    PUSH_AGREE_US_MAX =
        5 * SECOND, /* the same when nothing was lost: what is under way has to arrive */
};

static struct node *node_at(struct sim_cluster *cluster, unsigned i)
{
    struct sim_node *node = &cluster->nodes[i];
    return node->running && !node->draining ? node->process.node : NULL;
}

/* Why the nodes are not of one mind yet; NULL once they are. */
static const char *disagreement(struct sim_cluster *cluster)
{
    const struct node *first = NULL;
    for (unsigned i = 0; i < cluster->node_count; i++) {
        const struct node *node = node_at(cluster, i);
        if (cluster->nodes[i].start_us || cluster->nodes[i].draining)
            return "a node is not back yet";
        if (!node)
            continue;
        if (!cluster_is_ready(node->cluster))
            return cluster_why_unready(node->cluster);
        if (first && store_digest(first->store) != store_digest(node->store))
            return "digests differ";
        first = first ? first : node;
    }
    return first ? NULL : "no node is left";
}

struct record *cluster_record_at(const struct sim_cluster *cluster, struct node *node, unsigned key)
{
    struct store_key place = store_key(node->store, slice_of(cluster->keys[key]));
    return store_find(node->store, &place);
}

/* For the trace: what each node has of each key. */
static void tell_records(struct sim_cluster *cluster)
{
    for (unsigned key = 0; key < cluster->key_count; key++)
        for (unsigned i = 0; i < cluster->node_count; i++) {
            struct node *node = node_at(cluster, i);
            const struct record *record = node ? cluster_record_at(cluster, node, key) : NULL;
            if (record)
                world_trace(&cluster->world, cluster->nodes[i].process.host.name,
                            "ends with key %u: version %llu flags %u", key,
                            (unsigned long long)record->version, record->flags);
        }
}

/* Whether a node says that it is to be restarted, as it was dropped. */
static bool is_refused(struct sim_cluster *cluster, unsigned number)
{
    struct node *node = node_at(cluster, number);
    return node && node->cluster->refused;
}

/* Whether another one says so of it. */
static bool is_dropped(struct sim_cluster *cluster, unsigned number)
{
    struct node *node = node_at(cluster, number);
    for (unsigned i = 0; node && i < cluster->node_count; i++) {
        const struct node *other = node_at(cluster, i);
        const struct member *member =
            other
                ? members_find(&other->cluster->members, members_self(&node->cluster->members)->id)
                : NULL;
        if (member && member->state == MEMBER_DROPPED)
            return true;
    }
    return false;
}

/* Whether one has not known the other for so long that it does not remember having dropped it. */
static bool is_stranger(const struct sim_cluster *cluster, unsigned to, unsigned number)
{
    uint64_t since_us = cluster->nodes[to].strangers_us[number];
    return since_us && cluster->world.now_us > since_us + 3 * cluster->limits.forget_us;
}

/* Whether one has heard of the other's life, from a third one, but has never been answered by it. */
static bool is_hearsay(struct sim_cluster *cluster, unsigned to, unsigned number)
{
    const struct members *members = &node_at(cluster, to)->cluster->members;
    const struct members *others = &node_at(cluster, number)->cluster->members;
    const struct member *member = members_find(members, members_self(others)->id);
    return member && member->peer && !member->peer->asked_us;
}

/* Whether two do not know each other any more. By a clock that is ahead one of them may have forgotten alone; and what one only knows by
 * hearsay, the other one need not know at all. */
static bool are_strangers(struct sim_cluster *cluster, unsigned a, unsigned b)
{
    bool own = is_stranger(cluster, a, b), other = is_stranger(cluster, b, a);
    return (own && other) || (own && (cluster->clocks_differ || is_hearsay(cluster, b, a))) ||
           (other && (cluster->clocks_differ || is_hearsay(cluster, a, b)));
}

static bool is_forgotten(struct sim_cluster *cluster, unsigned number)
{
    for (unsigned i = 0; node_at(cluster, number) && i < cluster->node_count; i++)
        if (node_at(cluster, i) && are_strangers(cluster, number, i))
            return true;
    return false;
}

/* Returns whether one was stopped. The last one is not. */
static bool stop_those(struct sim_cluster *cluster,
                       bool (*which)(struct sim_cluster *cluster, unsigned number))
{
    unsigned running = cluster_running(cluster);
    for (unsigned i = 0; i < cluster->node_count && cluster_running(cluster) > 1; i++)
        if (which(cluster, i))
            cluster_node_end(cluster, &cluster->nodes[i], true);
    return cluster_running(cluster) < running;
}

/* Who was cut off for longer than members are remembered is stopped: first those that say so themselves, then one of two that have dropped
 * each other, or have done so long ago. */
static void stop_dropped(struct sim_cluster *cluster)
{
    if (!stop_those(cluster, is_refused) && !stop_those(cluster, is_dropped))
        stop_those(cluster, is_forgotten);
}

/* Whether some node has little room left, in pieces that may not do for a value, as its limit is that of a toy. */
static bool is_crowded(struct sim_cluster *cluster)
{
    for (unsigned i = 0; i < cluster->node_count; i++) {
        const struct node *node = node_at(cluster, i);
        uint64_t limit = cluster->nodes[i].memory_max;
        if (node && limit && heap_used(store_heap(node->store)) > limit / 4 * 3)
            return true;
    }
    return false;
}

static void check_agreement(struct sim_cluster *cluster)
{
    struct world *world = &cluster->world;
    const char *why;
    uint64_t patience_us = cluster->push_alone ? PUSH_AGREE_US_MAX : AGREE_US_MAX;
    bool emptied = false;
    while ((why = disagreement(cluster)) && !world->failed) {
        stop_dropped(cluster);
        if (world->now_us > cluster->calm_us + patience_us && !emptied && is_crowded(cluster)) {
            emptied = true;
            cluster_make_room(cluster, true); /* as an operator does who reads the log */
            continue;
        }
        if (world->now_us > cluster->calm_us + patience_us || !world_step(world)) {
            tell_records(cluster);
            world_fail(world, "nodes do not agree %d s after the faults: %s",
                       (int)((world->now_us - cluster->calm_us) / SECOND), why);
            return;
        }
    }
}

bool cluster_may_follow(const struct sim_cluster *cluster, const struct sim_write *before,
                        const struct sim_write *after)
{
    return after->version >= before->version ||
           (cluster_forgets(cluster) && after->sent_us > before->sent_us);
}

bool cluster_may_be_gone(const struct sim_cluster *cluster, const struct sim_write *floor)
{
    for (unsigned i = 0; i < cluster->write_count; i++) {
        const struct sim_write *write = cluster->writes[i];
        if (write->key == floor->key && !write->refused && (write->tombstone || write->ttl_us) &&
            (write == floor || write->version == 0 || cluster_may_follow(cluster, floor, write)))
            return true;
    }
    return false;
}

unsigned cluster_ends_since(const struct sim_cluster *cluster, uint64_t us)
{
    unsigned count = 0;
    for (unsigned i = 0; i < cluster->boot_count; i++)
        count += cluster->boots[i].until_us >= us;
    return count;
}

static unsigned deaths_since(const struct sim_cluster *cluster, uint64_t us)
{
    unsigned count = 0;
    for (unsigned i = 0; i < cluster->boot_count; i++)
        count += cluster->boots[i].until_us >= us && cluster->boots[i].died;
    return count;
}

unsigned cluster_holders(struct sim_cluster *cluster, const struct sim_node *but,
                         const struct sim_write *write)
{
    unsigned count = 0;
    for (unsigned i = 0; i < cluster->node_count; i++) {
        const struct sim_node *node = &cluster->nodes[i];
        const struct record *record =
            node != but && node->running
                ? cluster_record_at(cluster, node->process.node, write->key)
                : NULL;
        count += record && record->version >= write->version;
    }
    return count;
}

/* Whether it has no descriptor left to meet others with: connections whose other ends have gone keep theirs until they are idle for long. */
static bool is_shut_in(const struct sim_cluster *cluster, const struct sim_node *node)
{
    uint32_t files_max = cluster->faults.files_max;
    return files_max && node->process.io.open_count >= files_max;
}

/* Who stays, could have been given all, and lacks a write; NULL for nobody. */
static const struct sim_node *who_lacks(const struct sim_cluster *cluster,
                                        const struct sim_node *leaving,
                                        const struct sim_write *write)
{
    for (unsigned i = 0; i < cluster->node_count; i++) {
        const struct sim_node *node = &cluster->nodes[i];
        if (node == leaving || !node->running || node->draining || leaving->strangers_us[i] ||
            !cluster_is_ready(node->process.node->cluster) || !cluster_is_reached(cluster, i) ||
            cluster->boots[node->boot].from_us + SETTLED_US > leaving->drain_us ||
            node->process.busy_until_us > leaving->drain_us || is_shut_in(cluster, node))
            continue;
        const struct record *record = cluster_record_at(cluster, node->process.node, write->key);
        if (!record || record->version < write->version)
            return node;
    }
    return NULL;
}

/* Whoever says goodbye leaves what it has to others, and as many copies as there were, unless too few stay. */
static void check_handed_on(struct sim_cluster *cluster, const struct sim_node *leaving,
                            struct sim_write *write)
{
    unsigned have = cluster_holders(cluster, leaving, write);
    unsigned ended = deaths_since(cluster, write->sent_us) + write->goodbyes;
    const struct sim_node *lacks = NULL;
    if (have + ended < write->have) {
        lacks = who_lacks(cluster, leaving, write);
        write->goodbyes += write->have - have - ended;
    }
    if (have == 0)
        world_fail(&cluster->world, "%s has left, and write %llu of key %u with it",
                   leaving->process.host.name, (unsigned long long)write->id, write->key);
    if (lacks)
        world_fail(&cluster->world,
                   "%s has left %u copies of write %llu of key %u, but %s has none",
                   leaving->process.host.name, have, (unsigned long long)write->id, write->key,
                   lacks->process.host.name);
}

static void check_goodbye(struct sim_cluster *cluster, const struct sim_node *leaving)
{
    for (unsigned i = 0; i < cluster->write_count; i++) {
        struct sim_write *write = cluster->writes[i];
        const struct record *record = cluster_record_at(cluster, leaving->process.node, write->key);
        bool forgotten = cluster_forgets(cluster) && record && record_is_tombstone(record);
        if (!write->acked)
            write->goodbyes++; /* it may be one of those that had it when it was answered */
        else if (!write->excused && record && !forgotten && record->version >= write->version)
            check_handed_on(cluster, leaving, write);
    }
}

/* How many others have it; *leaving are those of them that have said goodbye: who has is only waiting for that to be heard, and was right to
 * say it when whoever dies now had everything. */
static unsigned who_keeps(struct sim_cluster *cluster, const struct sim_node *but,
                          const struct sim_write *write, unsigned *leaving)
{
    unsigned stay = 0;
    *leaving = 0;
    for (unsigned i = 0; i < cluster->node_count; i++) {
        const struct sim_node *node = &cluster->nodes[i];
        if (node == but || !node->running)
            continue;
        const struct record *record = cluster_record_at(cluster, node->process.node, write->key);
        if (record && record->version >= write->version)
            *(node->process.node->cluster->goodbye ? leaving : &stay) += 1;
    }
    return stay;
}

/* A node ends: by a goodbye that was heard, which is no death; or what nobody else has may be lost, if as many died as had it. */
void cluster_check_end_of(struct sim_cluster *cluster, const struct sim_node *node, bool died,
                          bool told)
{
    if (!died) {
        check_goodbye(cluster, node);
        return;
    }
    for (unsigned i = 0; i < cluster->write_count; i++) {
        struct sim_write *write = cluster->writes[i];
        unsigned leaving;
        if (!write->acked || write->excused || who_keeps(cluster, node, write, &leaving))
            continue;
        unsigned gone = deaths_since(cluster, write->sent_us) + write->goodbyes + leaving;
        write->excused = told || gone >= write->have;
    }
}

/* Whether a write must still count. */
static bool must_survive(const struct sim_write *write)
{
    return write->acked && !write->excused;
}

static bool explains(const struct sim_write *write, unsigned key, const struct record *record)
{
    char value[40];
    if (write->key != key || write->refused)
        return false;
    if (record_is_tombstone(record))
        return write->tombstone || write->ttl_us;
    int bytes = snprintf(value, sizeof value, "k%uw%llu.", key, (unsigned long long)write->id);
    return !write->tombstone &&
           slice_starts(record_value(record), (struct slice){value, (size_t)bytes});
}

/* The write that a record comes from: one that is known to have its version, or else one whose version nobody was told. */
static const struct sim_write *explain(struct sim_cluster *cluster, unsigned key,
                                       const struct record *record)
{
    const struct sim_write *unknown = NULL;
    for (unsigned i = 0; i < cluster->write_count; i++) {
        const struct sim_write *write = cluster->writes[i];
        if (!explains(write, key, record))
            continue;
        if (write->version == record->version)
            return write;
        if (write->version == 0)
            unknown = write;
    }
    if (!unknown)
        world_fail(&cluster->world, "key %u ends as version %llu (%s), which nobody wrote", key,
                   (unsigned long long)record->version,
                   record_is_tombstone(record) ? "deleted" : "value");
    return unknown;
}

/* A tombstone may be forgotten after the grace period, also one that stands for what has expired. */
static bool may_be_forgotten(const struct sim_cluster *cluster, const struct sim_write *last)
{
    return cluster_forgets(cluster) && (last->tombstone || last->ttl_us);
}

/* For the trace: what became of each write of a key. */
static void tell_writes(struct sim_cluster *cluster, unsigned key)
{
    for (unsigned i = 0; i < cluster->write_count; i++) {
        const struct sim_write *w = cluster->writes[i];
        if (w->key == key)
            world_trace(&cluster->world, "write",
                        "%u at %llu: %s version %llu, %s%s, %u copies, ttl %llu", i,
                        (unsigned long long)w->sent_us, w->tombstone ? "delete" : "value",
                        (unsigned long long)w->version,
                        w->acked     ? "acked"
                        : w->refused ? "refused"
                                     : "lost",
                        w->excused ? ", excused" : "", w->have, (unsigned long long)w->ttl_us);
    }
    world_trace(&cluster->world, "world", "grace %llu us",
                (unsigned long long)cluster->limits.grace_us);
}

/* The newest write of a key that must not be lost; NULL when there is none. */
static const struct sim_write *last_of(const struct sim_cluster *cluster, unsigned key)
{
    const struct sim_write *last = NULL;
    for (unsigned i = 0; i < cluster->write_count; i++) {
        const struct sim_write *write = cluster->writes[i];
        if (write->key == key && must_survive(write) && (!last || write->version > last->version))
            last = write;
    }
    return last;
}

/* Whether a later delete, that nobody acknowledged, may have been carried out and forgotten. */
static bool was_deleted_since(const struct sim_cluster *cluster, const struct sim_write *last)
{
    for (unsigned i = 0; i < cluster->write_count; i++) {
        const struct sim_write *write = cluster->writes[i];
        if (write->key == last->key && !write->refused && may_be_forgotten(cluster, write) &&
            (write->version == 0 || (write != last && write->version >= last->version)))
            return true;
    }
    return false;
}

/* Whether an older record than `last` may be all that is left. */
static bool may_end_as(struct sim_cluster *cluster, const struct sim_write *last,
                       const struct sim_write *final, const struct record *record)
{
    /* Once a delete is forgotten, what is written through a node whose clock is behind may have a smaller version. */
    if (cluster_forgets(cluster) && final && final->sent_us > last->sent_us)
        return true;
    /* A delete that was forgotten, and an older one that was not. */
    if (record_is_tombstone(record) &&
        (may_be_forgotten(cluster, last) || was_deleted_since(cluster, last)))
        return true;
    /* Two clusters that do not know each other forget their deletes each by itself. */
    return may_be_forgotten(cluster, last) && cluster->strangers_us >= last->sent_us;
}

static void check_gone(struct sim_cluster *cluster, unsigned key, const struct sim_write *last)
{
    if (was_deleted_since(cluster, last))
        return;
    world_fail(&cluster->world, "key %u is gone, but write %llu had version %llu", key,
               (unsigned long long)last->id, (unsigned long long)last->version);
}

static void check_key(struct sim_cluster *cluster, struct node *node, unsigned key)
{
    const struct record *record = cluster_record_at(cluster, node, key);
    const struct sim_write *last = last_of(cluster, key);
    const struct sim_write *final = record ? explain(cluster, key, record) : NULL;
    if (last && record && record->version < last->version &&
        !may_end_as(cluster, last, final, record))
        world_fail(&cluster->world, "key %u ends as version %llu, but write %llu (%s) had %llu",
                   key, (unsigned long long)record->version, (unsigned long long)last->id,
                   last->tombstone ? "a delete" : "a value", (unsigned long long)last->version);
    if (last && !record && !may_be_forgotten(cluster, last))
        check_gone(cluster, key, last);
}

static bool is_taken(const struct sim_cluster *cluster, const struct address *address)
{
    for (unsigned i = 0; i < cluster->node_count; i++) {
        const struct sim_node *node = &cluster->nodes[i];
        if (node->running && memcmp(node->process.address.ip, address->ip, 16) == 0)
            return true;
    }
    return false;
}

/* Whether somebody died when a life ended: it may have been the one who had heard the goodbye. */
static bool has_died_with(const struct sim_cluster *cluster, const struct sim_boot *life)
{
    for (unsigned i = 0; i < cluster->boot_count; i++) {
        const struct sim_boot *boot = &cluster->boots[i];
        if (boot->died && boot->until_us + PASSED_ON_US > life->until_us &&
            boot->until_us < life->until_us + PASSED_ON_US)
            return true;
    }
    return false;
}

/* Whether a member that a node counts is one: up, or dead without a goodbye and not replaced. */
static bool member_is_right(const struct sim_cluster *cluster, const struct cluster *own,
                            const struct member *member, unsigned *up)
{
    if (member->state != MEMBER_HERE)
        return true;
    if (cluster_peer_figures(own, member).is_up) {
        ++*up;
        return true;
    }
    for (unsigned i = 0; i < cluster->boot_count; i++)
        if (cluster->boots[i].id == member->id)
            return has_died_with(cluster, &cluster->boots[i]) &&
                   !is_taken(cluster, &member->address);
    return false;
}

/* Who has gone is gone for all, and who is there is known to all. */
static bool members_are_right(struct sim_cluster *cluster)
{
    unsigned here = 0;
    for (unsigned i = 0; i < cluster->node_count; i++)
        here += node_at(cluster, i) != NULL;
    for (unsigned i = 0; i < cluster->node_count; i++) {
        struct node *node = node_at(cluster, i);
        unsigned up = 0;
        if (!node)
            continue;
        const struct members *members = cluster_list(node->cluster);
        for (unsigned m = 0; m < members->count; m++)
            if (!member_is_right(cluster, node->cluster, members->list[m], &up))
                return false;
        if (up != here)
            return false;
    }
    return true;
}

static void check_members(struct sim_cluster *cluster)
{
    struct world *world = &cluster->world;
    while (!world->failed && !members_are_right(cluster))
        if (world->now_us > cluster->calm_us + AGREE_US_MAX || !world_step(world))
            world_fail(world, "a node does not know who is there");
}

/* What went by a slow way may be on it still, until the connection is given up. */
static void check_limits(struct sim_cluster *cluster)
{
    struct world *world = &cluster->world;
    for (unsigned i = 0; i < cluster->node_count && !world->failed; i++) {
        const char *why = NULL;
        uint64_t until_us = world->now_us + QUIET_US_MAX;
        while (!world->failed && node_at(cluster, i) &&
               (why = cluster_excess(cluster, &cluster->nodes[i], true)))
            if (world->now_us > until_us || !world_step(world))
                world_fail(world, "n%u, when all is quiet: %s", i, why);
    }
}

static void check_keys(struct sim_cluster *cluster)
{
    struct world *world = &cluster->world;
    for (unsigned i = 0; i < cluster->node_count && !world->failed; i++) {
        struct node *node = node_at(cluster, i);
        for (unsigned key = 0; node && key < cluster->key_count && !world->failed; key++) {
            check_key(cluster, node, key);
            if (world->failed)
                tell_writes(cluster, key);
        }
    }
}

void cluster_check_end(struct sim_cluster *cluster)
{
    struct world *world = &cluster->world;
    check_agreement(cluster);
    uint64_t until_us = world->now_us + 5 * SECOND;
    while (!world->failed && world->now_us < until_us && world_step(world))
        ;
    check_agreement(cluster);
    check_keys(cluster);
    if (!world->failed)
        check_members(cluster);
    if (!world->failed)
        check_limits(cluster);
}
