/* What must be true of a cluster all the time: memory and queues stay in their limits. And what is only to be known by looking again
 * and again: who does not know whom, and when push has to do alone. */
#include <stdio.h>

#include "cluster.h"
#include "net/conn.h"
#include "role/cluster_state.h"
#include "role/node_state.h"

enum {
    SECOND = 1000 * 1000,
    WATCH_US = 250 * 1000,
    HEAP_SLACK = 64 * 1024, /* what is on its way in and out */
};

static struct sim_cluster *of_event(struct world_event *event)
{
    return (struct sim_cluster *)((char *)event - offsetof(struct sim_cluster, watch));
}

/* Limits */

static const char *queue_excess(const struct upstream *upstream)
{
    const struct conn *conn = (const struct conn *)(const void *)upstream; /* stands first in it */
    bool open = upstream && upstream_is_open(upstream);
    return open && conn->queue && conn_queued_bytes(conn) > PUSH_WINDOW_BYTES + 2 * PUSH_BATCH_BYTES
               ? "a queue to a member is longer than the window"
               : NULL;
}

static const char *peer_excess(const struct peer *peer)
{
    const char *why = queue_excess(peer->push);
    if (peer->sending_count > PUSH_BATCHES_MAX)
        return "more batches are on their way than may be";
    if (peer->sending_bytes > PUSH_WINDOW_BYTES + 2 * PUSH_BATCH_BYTES)
        return "more bytes are on their way than may be";
    if (peer->lag && peer->lag->count > STORE_SHARDS)
        return "a lag has more shards than there are";
    if (peer->push_state == PUSH_DOWN && (peer->lag || peer->sending_count))
        return "something is kept for a member that is down";
    why = why ? why : queue_excess(peer->bulk);
    return why ? why : queue_excess(peer->control);
}

static const char *heap_excess(const struct sim_cluster *cluster, const struct sim_node *sim_node,
                               bool quiet)
{
    const struct node *node = sim_node->process.node;
    const struct heap *heap = store_heap(node->store);
    uint64_t limit = sim_node->memory_max, used = heap_used(heap);
    if (limit && heap_resident(heap) > limit + limit / 64 + HEAP_SLACK)
        return "the heap is beyond its limit";
    bool due = quiet || (cluster->world.now_us / WATCH_US % 16 == 0 && !cluster->large);
    if (due && used > process_table_bytes(node) + (quiet ? HEAP_SLACK / 16U : HEAP_SLACK))
        return "the heap has records that the table has not";
    return NULL;
}

const char *cluster_excess(const struct sim_cluster *cluster, const struct sim_node *node,
                           bool quiet)
{
    const struct node *own = node->process.node;
    const struct members *members = &own->cluster->members;
    const char *why = heap_excess(cluster, node, quiet);
    if (server_connections(own->server) >
        cluster->limits.connections_max + SERVER_REFUSED_MAX + SERVER_FELLOWS_MAX)
        return "it has more connections than it may have";
    if (members->count > cluster->boot_count)
        return "it has more members than ever lived";
    for (unsigned i = 1; !why && i < members->count; i++)
        if (members->list[i]->peer)
            why = peer_excess(members->list[i]->peer);
    return why;
}

/* Who knows whom */

bool cluster_knows(const struct sim_cluster *cluster, unsigned a, unsigned b)
{
    const struct cluster *own = cluster->nodes[a].process.node->cluster;
    const struct cluster *other = cluster->nodes[b].process.node->cluster;
    const struct member *member = members_find(&own->members, members_self(&other->members)->id);
    return member && member->state == MEMBER_HERE;
}

/* Two nodes that do not know each other are two clusters: each forgets its deletes without the other. */
static void watch_strangers(struct sim_cluster *cluster, unsigned a, unsigned b)
{
    uint64_t now_us = cluster->world.now_us, *since_us = &cluster->nodes[a].strangers_us[b];
    if (!cluster->nodes[b].running || cluster_knows(cluster, a, b)) {
        *since_us = 0;
        return;
    }
    if (*since_us == 0)
        *since_us = now_us;
    if (now_us > *since_us + cluster->limits.grace_us / 2)
        cluster->strangers_us = now_us;
}

/* Clocks */

void cluster_watch_clocks(struct sim_cluster *cluster)
{
    uint64_t old_us = 1700000000ULL * SECOND + cluster->world.now_us + cluster->limits.grace_us;
    unsigned ahead = 0;
    for (unsigned i = 0; i < cluster->node_count; i++) {
        const struct sim_node *node = &cluster->nodes[i];
        if (node->running && io_sim_wall_us(&node->process.io) < old_us)
            return;
        ahead += node->running;
    }
    cluster->all_ahead |= ahead > 0;
}

/* Push alone */

static bool is_settled(const struct sim_cluster *cluster, const struct sim_node *node)
{
    if (!node->running || !cluster_is_ready(node->process.node->cluster))
        return false;
    const struct cluster *own = node->process.node->cluster;
    for (unsigned i = 1; i < own->members.count; i++) {
        const struct member *member = own->members.list[i];
        if (member->state == MEMBER_HERE &&
            (!member->peer || member->peer->push_state != PUSH_LIVE || member->peer->missed))
            return false;
    }
    return members_here(&own->members) == cluster->node_count &&
           store_digest(node->process.node->store) ==
               store_digest(cluster->nodes[0].process.node->store);
}

static uint64_t repairs(const struct sim_cluster *cluster)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < cluster->node_count; i++)
        count += cluster->nodes[i].process.node->cluster->counters.repairs;
    return count;
}

/* In a gentle world repair ends once all are there, have the same and tell each other. */
static void watch_push(struct sim_cluster *cluster)
{
    for (unsigned i = 0; i < cluster->node_count; i++)
        if (!is_settled(cluster, &cluster->nodes[i]))
            return;
    world_trace(&cluster->world, "world", "from here on push has to do alone");
    cluster->push_alone = true;
    cluster->repairs = repairs(cluster);
    for (unsigned i = 0; i < cluster->node_count; i++)
        cluster->nodes[i].process.node->config.repair_us = UINT64_MAX / 2;
}

/* Newcomers: whoever is ready has all that the others had when it came */

static struct sim_cluster *watched;

void cluster_watch_ready(struct sim_cluster *cluster)
{
    watched = cluster;
}

static bool had_all(struct sim_cluster *cluster, const struct sim_node *node,
                    const struct sim_write *write)
{
    return write->acked && !write->tombstone && !write->ttl_us &&
           write->sent_us + 3 * SECOND < cluster->boots[node->boot].from_us &&
           !cluster_may_be_gone(cluster, write) &&
           cluster_holders(cluster, node, write) + 1 == cluster->node_count;
}

static void check_ready(struct sim_cluster *cluster, struct sim_node *node)
{
    for (unsigned i = 0; i < cluster->write_count; i++) {
        const struct sim_write *write = cluster->writes[i];
        if (had_all(cluster, node, write) &&
            cluster_holders(cluster, NULL, write) < cluster->node_count)
            world_fail(&cluster->world, "n%u is ready without write %u, which all others have",
                       (unsigned)(node - cluster->nodes), i);
    }
}

/* Called by whatever is new to this node or by it to the others; becoming ready is. */
void __real_cluster_hurry(struct cluster *own);
void __wrap_cluster_hurry(struct cluster *own);

void __wrap_cluster_hurry(struct cluster *own)
{
    __real_cluster_hurry(own);
    for (unsigned i = 0; watched && watched->gentle && i < watched->node_count; i++) {
        struct sim_node *node = &watched->nodes[i];
        bool is_it = node->running && node->process.node && node->process.node->cluster == own;
        if (!is_it || watched->boots[node->boot].was_ready || !cluster_is_ready(own))
            continue;
        watched->boots[node->boot].was_ready = true;
        check_ready(watched, node);
    }
    if (watched && watched->gentle)
        cluster_prompt_meet(watched);
}

void cluster_on_watch(struct world_event *event)
{
    struct sim_cluster *cluster = of_event(event);
    const char *why = NULL;
    for (unsigned i = 0; i < cluster->node_count && !why; i++) {
        const struct sim_node *node = &cluster->nodes[i];
        if (!node->running)
            continue;
        why = cluster_excess(cluster, node, false);
        if (why)
            world_fail(&cluster->world, "n%u: %s", i, why);
        for (unsigned j = 0; j < cluster->node_count; j++)
            if (j != i)
                watch_strangers(cluster, i, j);
    }
    cluster_watch_clocks(cluster);
    if (cluster->gentle && !cluster->push_alone)
        watch_push(cluster);
    if (cluster->push_alone && repairs(cluster) != cluster->repairs)
        world_fail(&cluster->world, "a repair, where push had to do alone");
    world_event_set(&cluster->world, event, cluster->world.now_us + WATCH_US);
}
