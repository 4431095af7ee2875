#include "cluster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "role/node_state.h"

enum {
    SECOND = 1000 * 1000,
    MINUTES_MAX = 20, /* of a story */
    REPLIES_MIN = 10,
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

static bool is_cut(void *context, const struct cable_host *from, const struct cable_host *to)
{
    struct sim_cluster *cluster = context;
    const struct sim_node *a = node_of_host(cluster, from), *b = node_of_host(cluster, to);
    return a && b && a->cut_us[b - cluster->nodes] > cluster->world.now_us;
}

static void cut(struct sim_cluster *cluster, unsigned a, unsigned b, uint64_t until_us)
{
    world_trace(&cluster->world, "net", "n%u cannot reach n%u until %llu us", a, b,
                (unsigned long long)until_us);
    cluster->nodes[a].cut_us[b] = until_us;
    if (!cluster->troubles.one_way || rng_chance(&cluster->rng, 500000))
        cluster->nodes[b].cut_us[a] = until_us;
}

/* Nodes */

static void node_plan_start(struct sim_cluster *cluster, struct sim_node *node, uint64_t at_us)
{
    node->start_us = at_us + 1;
    world_event_hasten(&cluster->world, &cluster->start, at_us + 1);
}

static void node_boot(struct sim_cluster *cluster, struct sim_node *node)
{
    struct node_config config = process_config(&cluster->limits);
    unsigned number = (unsigned)(node - cluster->nodes);
    if (cluster->boot_count == SIM_BOOTS_MAX)
        return;
    for (unsigned i = 0; i < node->join_count; i++)
        config.joins[i] = node->joins[i];
    config.join_count = node->join_count;
    config.repair_us = cluster->repair_us;
    node->boot = cluster->boot_count;
    cluster->boots[cluster->boot_count++] =
        (struct sim_boot){.node = number, .from_us = cluster->world.now_us};
    world_trace(&cluster->world, node->process.host.name, "starts");
    process_boot(&node->process, &cluster->cables, &config, number, ++node->boots);
    node->running = true;
    node->draining = false;
    node->start_us = 0;
    if (cluster->troubles.skewed && !cluster->calm_us)
        io_sim_step(&node->process.io, (int64_t)rng_spread(&cluster->rng, 1000, 3600ULL * SECOND) *
                                           (rng_chance(&cluster->rng, 500000) ? 1 : -1));
}

static void node_end(struct sim_cluster *cluster, struct sim_node *node, bool died)
{
    struct sim_boot *boot = &cluster->boots[node->boot];
    world_trace(&cluster->world, node->process.host.name, died ? "dies" : "ends");
    boot->until_us = cluster->world.now_us;
    boot->died = died;
    if (died)
        cluster_check_death(cluster, node, node->draining);
    process_end(&node->process);
    node->running = node->draining = false;
}

/* Whether the node knows somebody who is up and stays: it cannot give what it has to others. */
static bool has_ready_fellow(const struct sim_node *node)
{
    const struct cluster *own = node->process.node->cluster;
    const struct members *members = cluster_list(own);
    for (unsigned i = 1; i < members->count; i++)
        if (members->list[i]->state == MEMBER_HERE && members->list[i]->phase == PHASE_READY &&
            cluster_peer_figures(own, members->list[i]).is_up)
            return true;
    return false;
}

/* Nodes that have stopped by themselves, and those that are to be started. A goodbye counts as heard when no fault may have kept it
 * from a ready member. */
static void on_start(struct world_event *event)
{
    struct sim_cluster *cluster = of_event(event, offsetof(struct sim_cluster, start));
    uint64_t now_us = cluster->world.now_us;
    for (unsigned i = 0; i < cluster->node_count; i++) {
        struct sim_node *node = &cluster->nodes[i];
        if (node->running && node->draining && node->process.stopped_us) {
            bool cut_off = false;
            for (unsigned j = 0; j < cluster->node_count; j++)
                cut_off |= node->cut_us[j] + 10 * SECOND > now_us ||
                           cluster->nodes[j].cut_us[i] + 10 * SECOND > now_us;
            bool slow =
                now_us + 1000 >= node->process.stopped_us &&
                node->process.stopped_us - node->start_us > cluster->limits.drain_us - 100000;
            node->start_us = 0;
            node_end(cluster, node, cut_off || slow || !has_ready_fellow(node));
            node_plan_start(cluster, node,
                            now_us +
                                rng_spread(&cluster->rng, 1000, cluster->troubles.down_us_max));
        } else if (!node->running && node->start_us && now_us >= node->start_us) {
            node_boot(cluster, node);
        }
    }
    world_event_set(&cluster->world, event, now_us + 5000);
}

/* Troubles */

static unsigned running(const struct sim_cluster *cluster)
{
    unsigned count = 0;
    for (unsigned i = 0; i < cluster->node_count; i++)
        count += cluster->nodes[i].running && !cluster->nodes[i].draining;
    return count;
}

static void trouble_make(struct sim_cluster *cluster)
{
    const struct sim_troubles *t = &cluster->troubles;
    struct rng *rng = &cluster->rng;
    uint64_t now_us = cluster->world.now_us;
    unsigned a = (unsigned)rng_below(rng, cluster->node_count);
    unsigned b = (unsigned)rng_below(rng, cluster->node_count);
    struct sim_node *node = &cluster->nodes[a];
    bool up = node->running && !node->draining;
    cluster->troubles_made++;
    if (up && running(cluster) > 1 && rng_chance(rng, t->crash_ppm)) {
        node_end(cluster, node, true);
        node_plan_start(cluster, node, now_us + rng_spread(rng, SECOND / 20, t->down_us_max));
    } else if (up && running(cluster) > 1 && rng_chance(rng, t->goodbye_ppm)) {
        world_trace(&cluster->world, node->process.host.name, "is told to stop");
        node->draining = true;
        node->start_us = now_us;
        process_drain(&node->process);
    } else if (up && rng_chance(rng, t->pause_ppm)) {
        process_pause(&node->process, now_us + rng_spread(rng, 1000, t->pause_us_max));
    } else if (up && rng_chance(rng, t->step_ppm)) {
        io_sim_step(&node->process.io, (int64_t)rng_spread(rng, 1000, 3600ULL * SECOND) *
                                           (rng_chance(rng, 500000) ? 1 : -1));
    } else if (rng_chance(rng, t->part_ppm)) {
        uint64_t until_us = now_us + rng_spread(rng, 1000, t->cut_us_max);
        uint64_t side = rng_next(rng);
        for (unsigned i = 0; i < cluster->node_count; i++)
            for (unsigned j = i + 1; j < cluster->node_count; j++)
                if ((side >> i & 1) != (side >> j & 1))
                    cut(cluster, i, j, until_us + rng_below(rng, 2 * SECOND));
    } else if (a != b && rng_chance(rng, t->cut_ppm)) {
        cut(cluster, a, b, now_us + rng_spread(rng, 1000, t->cut_us_max));
    }
}

static void on_trouble(struct world_event *event)
{
    struct sim_cluster *cluster = of_event(event, offsetof(struct sim_cluster, trouble));
    trouble_make(cluster);
    world_event_set(&cluster->world, event,
                    cluster->world.now_us +
                        rng_spread(&cluster->rng, SECOND / 5, cluster->troubles.apart_us_max));
}

/* Beginning */

static uint32_t often(struct rng *rng)
{
    return rng_chance(rng, 500000) ? (uint32_t)rng_spread(rng, 30000, 600000) : 0;
}

static void troubles_pick(struct sim_cluster *cluster)
{
    struct rng *rng = &cluster->rng;
    struct sim_troubles *t = &cluster->troubles;
    *t = (struct sim_troubles){often(rng),
                               often(rng),
                               often(rng),
                               often(rng),
                               often(rng),
                               often(rng),
                               .apart_us_max = rng_spread(rng, SECOND, 20 * SECOND),
                               .down_us_max = rng_spread(rng, SECOND / 10, 20 * SECOND),
                               .pause_us_max = rng_spread(rng, SECOND / 10, 12 * SECOND),
                               .cut_us_max = rng_spread(rng, SECOND / 10, 30 * SECOND),
                               .one_way = rng_chance(rng, 500000),
                               .skewed = rng_chance(rng, 300000)};
    if (t->crash_ppm + t->goodbye_ppm + t->pause_ppm + t->cut_ppm + t->part_ppm == 0)
        t->crash_ppm = 500000;
}

/* A kernel's faults as for one node, but none that make a node unreachable for good. */
static void faults_choose(struct sim_cluster *cluster, uint64_t seed)
{
    struct faults *f = &cluster->faults;
    faults_pick(f, seed);
    f->cuts = 0;
    f->clock_steps = 0;
    if (f->files_max)
        f->files_max = (uint32_t)rng_between(&cluster->rng, 20, 60);
    f->pipe_bytes_min = f->pipe_bytes_min < 4096 ? 4096 : f->pipe_bytes_min;
    f->pipe_bytes_max =
        f->pipe_bytes_max < f->pipe_bytes_min ? f->pipe_bytes_min : f->pipe_bytes_max;
    f->backlog_max = f->backlog_max < 16 ? 16 : f->backlog_max;
}

static void limits_choose(struct sim_cluster *cluster)
{
    struct rng *rng = &cluster->rng;
    cluster->limits = (struct limits){
        .idle_us = 300ULL * SECOND,
        .request_us = 30 * SECOND,
        .stall_us = 60 * SECOND,
        .drain_us = 10 * SECOND,
        .grace_us =
            rng_chance(rng, 300000) ? rng_spread(rng, SECOND, 20 * SECOND) : 86400ULL * SECOND,
        .value_max = 4096,
        .connections_max = 1000,
    };
}

/* Whom a node joins: some of the others, itself, nobody, somebody who is never there. */
static void joins_choose(struct sim_cluster *cluster, unsigned number)
{
    struct sim_node *node = &cluster->nodes[number];
    struct rng *rng = &cluster->rng;
    bool all = cluster->full_joins;
    for (unsigned i = 0; i < cluster->node_count; i++)
        if (all || (i == 0 && number > 0) || rng_chance(rng, 300000))
            snprintf(node->joins[node->join_count++], sizeof node->joins[0], "10.0.0.%u:%d", i + 1,
                     PROCESS_PORT);
    if (number == 0 && cluster->node_count > 1 && node->join_count == 0)
        snprintf(node->joins[node->join_count++], sizeof node->joins[0], "10.0.0.2:%d",
                 PROCESS_PORT);
    if (rng_chance(rng, 200000))
        snprintf(node->joins[node->join_count++], sizeof node->joins[0], "10.0.9.9:%d",
                 PROCESS_PORT);
}

static void begin(struct sim_cluster *cluster, uint64_t seed, bool trace, enum mutant mutant,
                  uint64_t again)
{
    world_init(&cluster->world, seed, trace, mutant);
    cluster->world.run = again;
    rng_seed(&cluster->rng, seed, 0x636c7573746572);
    cables_init(&cluster->cables, &cluster->world, &cluster->faults);
    cluster->cables.is_cut = is_cut;
    cluster->cables.context = cluster;
    faults_choose(cluster, seed);
    limits_choose(cluster);
    troubles_pick(cluster);
    cluster->node_count = (unsigned)rng_between(&cluster->rng, 2, 5);
    if (rng_chance(&cluster->rng, 100000))
        cluster->node_count = SIM_NODES_MAX;
    cluster->key_count = (unsigned)rng_between(&cluster->rng, 1, SIM_KEYS_MAX);
    cluster->repair_us = rng_chance(&cluster->rng, 200000) ? 10000ULL * SECOND : 0;
    cluster->full_joins = rng_chance(&cluster->rng, 500000);
    cluster->start.run = on_start;
    cluster->trouble.run = on_trouble;
    for (unsigned i = 0; i < cluster->node_count; i++) {
        process_host(&cluster->nodes[i].process, &cluster->cables, i);
        joins_choose(cluster, i);
        node_plan_start(cluster, &cluster->nodes[i], rng_spread(&cluster->rng, 1, 10 * SECOND));
    }
    cluster->client_count = (unsigned)rng_between(&cluster->rng, 1, SIM_CLIENTS_MAX);
    for (unsigned i = 0; i < cluster->client_count; i++)
        cluster_client_init(&cluster->clients[i], cluster, i);
    world_event_set(&cluster->world, &cluster->trouble,
                    rng_spread(&cluster->rng, SECOND, 20 * SECOND));
}

static void end(struct sim_cluster *cluster)
{
    for (unsigned i = 0; i < cluster->client_count; i++)
        cluster_client_free(&cluster->clients[i]);
    for (unsigned i = 0; i < cluster->node_count; i++)
        if (cluster->nodes[i].running)
            process_end(&cluster->nodes[i].process);
    for (unsigned i = 0; i < cluster->write_count; i++)
        free(cluster->writes[i]);
    free(cluster->writes);
    cables_free(&cluster->cables);
    world_free(&cluster->world);
}

/* No faults any more; who is down comes back, save some who stay away. */
static void calm(struct sim_cluster *cluster)
{
    struct world *world = &cluster->world;
    world_trace(world, "world", "faults end");
    cluster->calm_us = world->now_us;
    cluster->repair_us = 0;
    world_event_clear(world, &cluster->trouble);
    faults_end(&cluster->faults);
    for (unsigned i = 0; i < cluster->node_count; i++) {
        struct sim_node *node = &cluster->nodes[i];
        memset(node->cut_us, 0, sizeof node->cut_us);
        if (node->running)
            node->process.node->config.repair_us = 0;
        if (!node->running && cluster->full_joins && rng_chance(&cluster->rng, 300000) &&
            running(cluster) > 0)
            node->start_us = 0;
    }
}

static void story(struct sim_cluster *cluster)
{
    struct world *world = &cluster->world;
    while (!cluster_clients_are_done(cluster) && world->now_us < MINUTES_MAX * 60ULL * SECOND)
        if (!world_step(world))
            break;
    if (!world->failed && !cluster_clients_are_done(cluster))
        world_fail(world, "clients are not done after %d minutes", MINUTES_MAX);
    calm(cluster);
    if (!world->failed)
        cluster_check_end(cluster);
    if (!world->failed && world->counts.replies + world->counts.timeouts < REPLIES_MIN)
        world_fail(world, "too little was done: %llu replies",
                   (unsigned long long)world->counts.replies);
}

void cluster_run_seed(uint64_t seed, bool trace, enum mutant mutant, uint64_t again,
                      struct run_result *result)
{
    struct sim_cluster *cluster = calloc(1, sizeof *cluster);
    if (!cluster)
        abort();
    begin(cluster, seed, trace, mutant, again);
    story(cluster);
    const struct world *world = &cluster->world;
    *result = (struct run_result){.failed = world->failed,
                                  .now_us = world->now_us,
                                  .hash = world->hash,
                                  .counts = world->counts};
    memcpy(result->failure, world->failure, sizeof result->failure);
    result->counts.virtual_us = world->now_us;
    result->counts.faults += cluster->troubles_made;
    end(cluster);
    free(cluster);
}
