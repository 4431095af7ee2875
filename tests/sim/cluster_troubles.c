/* What goes wrong in a cluster: lives of nodes, ways between them, clocks. */
#include <stdio.h>
#include <string.h>

#include "cluster.h"
#include "role/node_state.h"

enum {
    SECOND = 1000 * 1000,
    TROUBLES_PPM_MIN = 100000,
    STILL_US_MAX = 12 * SECOND, /* a node stands still for */
    NEAR_US = 10 * SECOND, /* a cut so long ago may still have kept a goodbye from being heard */
};

static struct sim_cluster *of_event(struct world_event *event, size_t offset)
{
    return (struct sim_cluster *)((char *)event - offset);
}

/* Ways between nodes */

static struct sim_node *node_of_host(struct sim_cluster *cluster, const struct cable_host *host)
{
    for (unsigned i = 0; i < cluster->node_count; i++)
        if (&cluster->nodes[i].process.host == host)
            return &cluster->nodes[i];
    return NULL;
}

bool cluster_is_cut(void *context, const struct cable_host *from, const struct cable_host *to)
{
    struct sim_cluster *cluster = context;
    const struct sim_node *a = node_of_host(cluster, from), *b = node_of_host(cluster, to);
    return a && b && a->cut_us[b - cluster->nodes] > cluster->world.now_us;
}

uint64_t cluster_bytes_per_s(void *context, const struct cable_host *from,
                             const struct cable_host *to)
{
    struct sim_cluster *cluster = context;
    const struct sim_node *a = node_of_host(cluster, from), *b = node_of_host(cluster, to);
    bool slow = a && b && a->slow_us[b - cluster->nodes] > cluster->world.now_us;
    return slow ? a->slow_bytes[b - cluster->nodes] : 0;
}

static void cut(struct sim_cluster *cluster, unsigned a, unsigned b, uint64_t until_us)
{
    world_trace(&cluster->world, "net", "n%u cannot reach n%u until %llu us", a, b,
                (unsigned long long)until_us);
    cluster->nodes[a].cut_us[b] = until_us;
    if (!cluster->troubles.one_way || rng_chance(&cluster->rng, 500000))
        cluster->nodes[b].cut_us[a] = until_us;
}

static void part(struct sim_cluster *cluster, uint64_t until_us)
{
    uint64_t side = rng_next(&cluster->rng);
    for (unsigned i = 0; i < cluster->node_count; i++)
        for (unsigned j = i + 1; j < cluster->node_count; j++)
            if ((side >> i & 1) != (side >> j & 1))
                cut(cluster, i, j, until_us + rng_below(&cluster->rng, 2 * SECOND));
}

/* As a modem: some KB a second. */
static void slow(struct sim_cluster *cluster, unsigned a, unsigned b, uint64_t until_us)
{
    uint64_t bytes = rng_spread(&cluster->rng, 500, 20000);
    world_trace(&cluster->world, "net", "n%u and n%u have %llu bytes a second until %llu us", a, b,
                (unsigned long long)bytes, (unsigned long long)until_us);
    cluster->nodes[a].slow_us[b] = cluster->nodes[b].slow_us[a] = until_us;
    cluster->nodes[a].slow_bytes[b] = cluster->nodes[b].slow_bytes[a] = bytes;
}

/* Its machine goes, not the process alone: nobody refuses a connection, and none is reset. */
static void go_silent(struct sim_cluster *cluster, struct sim_node *node, uint64_t until_us)
{
    unsigned number = (unsigned)(node - cluster->nodes);
    world_trace(&cluster->world, node->process.host.name, "has no power until %llu us",
                (unsigned long long)until_us);
    for (unsigned i = 0; i < cluster->node_count; i++) {
        uint64_t *in = &cluster->nodes[i].cut_us[number], *out = &node->cut_us[i];
        *in = *in > until_us ? *in : until_us;
        *out = *out > until_us ? *out : until_us;
    }
}

/* Clocks */

static void step(struct sim_cluster *cluster, struct sim_node *node)
{
    uint64_t most_us = (cluster->far_clocks ? 365 * 24 : 1) * 3600ULL * SECOND;
    int64_t by_us = (int64_t)rng_spread(&cluster->rng, 1000, most_us);
    io_sim_step(&node->process.io, rng_chance(&cluster->rng, 500000) ? by_us : -by_us);
    cluster->clocks_differ = true;
    cluster_watch_clocks(cluster);
}

static void freeze(struct sim_cluster *cluster, struct sim_node *node, uint64_t until_us)
{
    world_trace(&cluster->world, node->process.host.name, "wall clock stands still");
    io_sim_freeze(&node->process.io);
    node->thaw_us = until_us;
    cluster->clocks_differ = true;
}

void cluster_thaw(struct sim_cluster *cluster, struct sim_node *node, bool catches_up)
{
    if (!node->thaw_us)
        return;
    world_trace(&cluster->world, node->process.host.name, "wall clock goes on");
    io_sim_thaw(&node->process.io, catches_up);
    node->thaw_us = 0;
}

/* Lives */

void cluster_node_start_at(struct sim_cluster *cluster, struct sim_node *node, uint64_t at_us)
{
    node->start_us = at_us + 1;
    world_event_hasten(&cluster->world, &cluster->start, at_us + 1);
}

/* Its --join: where those that it is to name are by now. */
static void name_joins(struct sim_cluster *cluster, struct sim_node *node,
                       struct node_config *config)
{
    node->join_count = 0;
    for (unsigned i = 0; i < cluster->node_count; i++)
        if (node->joins_whom >> i & 1) {
            const uint8_t *ip = cluster->nodes[i].process.host.ip;
            snprintf(node->joins[node->join_count++], sizeof node->joins[0], "10.0.%u.%u:%d",
                     ip[14], ip[15], PROCESS_PORT);
        }
    if (node->joins_nobody)
        snprintf(node->joins[node->join_count++], sizeof node->joins[0], "10.0.9.9:%d",
                 PROCESS_PORT);
    for (unsigned i = 0; i < node->join_count; i++)
        config->joins[i] = node->joins[i];
    config->join_count = node->join_count;
}

/* It gets the address of another one that is down, as machines do that are given theirs anew: and that one gets its. */
static void swap_address(struct sim_cluster *cluster, struct sim_node *node)
{
    for (unsigned i = 0; i < cluster->node_count; i++) {
        struct process *own = &node->process, *other = &cluster->nodes[i].process;
        if (other == own || cluster->nodes[i].running)
            continue;
        uint8_t ip[sizeof own->host.ip];
        memcpy(ip, own->host.ip, sizeof ip);
        process_take_ip(own, other->host.ip);
        process_take_ip(other, ip);
        world_trace(&cluster->world, own->host.name, "has the address that n%u had", i);
        return;
    }
}

static void node_boot(struct sim_cluster *cluster, struct sim_node *node)
{
    struct node_config config = process_config(&cluster->limits);
    unsigned number = (unsigned)(node - cluster->nodes);
    if (cluster->boot_count == SIM_BOOTS_MAX)
        return;
    if (node->boots && cluster->troubles.moves && rng_chance(&cluster->rng, 300000))
        process_move(&node->process, node->boots);
    if (node->boots && cluster->troubles.swaps && rng_chance(&cluster->lives, 500000))
        swap_address(cluster, node);
    name_joins(cluster, node, &config);
    config.memory_max = node->memory_max;
    config.repair_us = cluster->repair_us;
    node->boot = cluster->boot_count;
    cluster->boots[cluster->boot_count++] =
        (struct sim_boot){.node = number, .from_us = cluster->world.now_us};
    world_trace(&cluster->world, node->process.host.name, "starts");
    process_boot(&node->process, &cluster->cables, &config, number, ++node->boots);
    cluster->boots[node->boot].id = members_self(cluster_list(node->process.node->cluster))->id;
    node->running = true;
    node->draining = false;
    node->start_us = node->thaw_us = 0;
    memset(node->strangers_us, 0, sizeof node->strangers_us);
    if (cluster->troubles.skewed && !cluster->calm_us)
        step(cluster, node);
}

void cluster_node_end(struct sim_cluster *cluster, struct sim_node *node, bool died)
{
    struct sim_boot *boot = &cluster->boots[node->boot];
    world_trace(&cluster->world, node->process.host.name, died ? "dies" : "ends");
    boot->until_us = cluster->world.now_us;
    boot->died = died;
    cluster_check_end_of(cluster, node, died, node->draining);
    process_end(&node->process);
    node->running = node->draining = false;
}

/* Whether a member came while the node, which was told to stop then, stood still: by all that it knew, it was the last one, and left when it
 * went on. */
static bool came_unseen(const struct sim_cluster *cluster, const struct sim_node *node,
                        const struct member *member)
{
    uint64_t still_us = node->process.still_until_us;
    if (still_us < node->drain_us)
        return false;
    for (unsigned i = 0; i < cluster->boot_count; i++)
        if (cluster->boots[i].id == member->id)
            return cluster->boots[i].from_us + STILL_US_MAX > still_us;
    return false;
}

/* Whether the node knows somebody who is up and stays: it cannot give what it has to others. */
static bool has_ready_fellow(const struct sim_cluster *cluster, const struct sim_node *node)
{
    const struct cluster *own = node->process.node->cluster;
    const struct members *members = cluster_list(own);
    for (unsigned i = 1; i < members->count; i++)
        if (members->list[i]->state == MEMBER_HERE && members->list[i]->phase == PHASE_READY &&
            cluster_peer_figures(own, members->list[i]).is_up &&
            !came_unseen(cluster, node, members->list[i]))
            return true;
    return false;
}

bool cluster_is_reached(const struct sim_cluster *cluster, unsigned number)
{
    uint64_t now_us = cluster->world.now_us;
    const struct sim_node *node = &cluster->nodes[number];
    for (unsigned i = 0; i < cluster->node_count; i++) {
        const struct sim_node *other = &cluster->nodes[i];
        if (node->cut_us[i] + NEAR_US > now_us || other->cut_us[number] + NEAR_US > now_us ||
            node->slow_us[i] + NEAR_US > now_us)
            return false;
    }
    return true;
}

/* A node has stopped by itself. Its goodbye counts as heard when no fault may have kept it from a ready member. */
static void node_ended(struct sim_cluster *cluster, struct sim_node *node)
{
    uint64_t stopped_us = node->process.stopped_us;
    bool slow = stopped_us - node->drain_us > cluster->limits.drain_us - 100000;
    cluster_node_end(cluster, node,
                     slow || !cluster_is_reached(cluster, (unsigned)(node - cluster->nodes)) ||
                         !has_ready_fellow(cluster, node));
    cluster_node_start_at(cluster, node,
                          cluster->world.now_us +
                              rng_spread(&cluster->rng, 1000, cluster->troubles.down_us_max));
}

/* Nodes that have stopped by themselves, those that are to be started, clocks that go on. */
void cluster_on_start(struct world_event *event)
{
    struct sim_cluster *cluster = of_event(event, offsetof(struct sim_cluster, start));
    uint64_t now_us = cluster->world.now_us;
    for (unsigned i = 0; i < cluster->node_count; i++) {
        struct sim_node *node = &cluster->nodes[i];
        if (node->running && node->draining && node->process.stopped_us)
            node_ended(cluster, node);
        else if (!node->running && node->start_us && now_us >= node->start_us)
            node_boot(cluster, node);
        if (node->running && node->thaw_us && now_us >= node->thaw_us)
            cluster_thaw(cluster, node, rng_chance(&cluster->rng, 500000));
    }
    world_event_set(&cluster->world, event, now_us + (cluster->pace > 1 ? 100000 : 5000));
}

unsigned cluster_running(const struct sim_cluster *cluster)
{
    unsigned count = 0;
    for (unsigned i = 0; i < cluster->node_count; i++)
        count += cluster->nodes[i].running && !cluster->nodes[i].draining;
    return count;
}

/* Troubles */

static void node_trouble(struct sim_cluster *cluster, struct sim_node *node)
{
    const struct sim_troubles *t = &cluster->troubles;
    struct rng *rng = &cluster->rng;
    uint64_t now_us = cluster->world.now_us;
    bool others = cluster_running(cluster) > 1;
    cluster->troubles_made++;
    if (others && rng_chance(rng, t->crash_ppm)) {
        uint64_t back_us = now_us + rng_spread(rng, SECOND / 20, t->down_us_max);
        if (rng_chance(&cluster->lives, t->power_ppm))
            go_silent(cluster, node, back_us);
        cluster_node_end(cluster, node, true);
        cluster_node_start_at(cluster, node, back_us);
    } else if (others && rng_chance(rng, t->goodbye_ppm)) {
        world_trace(&cluster->world, node->process.host.name, "is told to stop");
        node->draining = true;
        node->drain_us = now_us;
        process_drain(&node->process);
    } else if (rng_chance(rng, t->pause_ppm)) {
        process_pause(&node->process, now_us + rng_spread(rng, 1000, t->pause_us_max));
    } else if (rng_chance(rng, t->step_ppm)) {
        step(cluster, node);
    } else if (!node->thaw_us && rng_chance(rng, t->freeze_ppm)) {
        freeze(cluster, node, now_us + rng_spread(rng, SECOND, 60 * SECOND));
    } else {
        cluster->troubles_made--;
    }
}

static void way_trouble(struct sim_cluster *cluster, unsigned a)
{
    const struct sim_troubles *t = &cluster->troubles;
    struct rng *rng = &cluster->rng;
    uint64_t now_us = cluster->world.now_us;
    unsigned b = (unsigned)rng_below(rng, cluster->node_count);
    cluster->troubles_made++;
    if (rng_chance(rng, t->part_ppm))
        part(cluster, now_us + rng_spread(rng, 1000, t->cut_us_max));
    else if (a != b && rng_chance(rng, t->cut_ppm))
        cut(cluster, a, b, now_us + rng_spread(rng, 1000, t->cut_us_max));
    else if (a != b && rng_chance(rng, t->slow_ppm))
        slow(cluster, a, b, now_us + rng_spread(rng, SECOND, 30 * SECOND));
    else
        cluster->troubles_made--;
}

void cluster_on_trouble(struct world_event *event)
{
    struct sim_cluster *cluster = of_event(event, offsetof(struct sim_cluster, trouble));
    unsigned number = (unsigned)rng_below(&cluster->rng, cluster->node_count);
    struct sim_node *node = &cluster->nodes[number];
    unsigned before = cluster->troubles_made;
    if (node->running && !node->draining)
        node_trouble(cluster, node);
    if (cluster->troubles_made == before)
        way_trouble(cluster, number);
    world_event_set(&cluster->world, event,
                    cluster->world.now_us +
                        rng_spread(&cluster->rng, SECOND / 5, cluster->troubles.apart_us_max));
}

static uint32_t often(struct rng *rng)
{
    return rng_chance(rng, 400000) ? (uint32_t)rng_spread(rng, 30000, 600000) : 0;
}

void cluster_troubles_pick(struct sim_cluster *cluster)
{
    struct rng *rng = &cluster->rng;
    struct sim_troubles *t = &cluster->troubles;
    *t = (struct sim_troubles){.crash_ppm = often(rng),
                               .goodbye_ppm = often(rng),
                               .pause_ppm = often(rng),
                               .cut_ppm = often(rng),
                               .part_ppm = often(rng),
                               .step_ppm = often(rng) / 2,
                               .freeze_ppm = often(rng) / 2,
                               .slow_ppm = often(rng),
                               .apart_us_max = rng_spread(rng, SECOND, 20 * SECOND) * cluster->pace,
                               .down_us_max = rng_spread(rng, SECOND / 10, 20 * SECOND),
                               .pause_us_max = rng_spread(rng, SECOND / 10, STILL_US_MAX),
                               .cut_us_max = rng_spread(rng, SECOND / 10, 30 * SECOND),
                               .one_way = rng_chance(rng, 500000),
                               .skewed = rng_chance(rng, 250000),
                               .moves = rng_chance(rng, 250000)};
    t->power_ppm = rng_chance(&cluster->lives, 500000) ? 500000 : 0;
    t->swaps = t->moves && rng_chance(&cluster->lives, 500000);
    if (cluster->gentle) {
        *t = (struct sim_troubles){.step_ppm = t->step_ppm,
                                   .freeze_ppm = t->freeze_ppm,
                                   .pause_ppm = 300000 + t->pause_ppm,
                                   .pause_us_max = SECOND,
                                   .apart_us_max = t->apart_us_max,
                                   .skewed = t->skewed};
        return;
    }
    uint32_t sum =
        t->crash_ppm + t->goodbye_ppm + t->pause_ppm + t->cut_ppm + t->part_ppm + t->slow_ppm;
    if (sum < TROUBLES_PPM_MIN)
        t->crash_ppm = 500000;
}
