#include "cluster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "role/cluster_state.h"
#include "role/node_state.h"

enum {
    SECOND = 1000 * 1000,
    MINUTES_MAX = 20, /* of a story, at the usual pace */
    SLOW_EVERY = 997, /* seeds one lasts for hours */
    SLOW_PACE_MIN = 20,
    SLOW_PACE_MAX = 200,
    MORE_CALLS = 10, /* of each client, when too little has happened */
    WATCH_US = 250 * 1000,
    FOREVER_S = 1000 * 1000,
    MEMORY_BYTES_MIN =
        256 * 1024, /* whose reserve is a page, without which no delete could go on */
    MEMORY_BYTES_MAX = 448 * 1024,
};

bool cluster_forgets(const struct sim_cluster *cluster)
{
    return cluster->limits.grace_us < 3600ULL * SECOND || cluster->all_ahead;
}

struct sim_write *cluster_write_new(struct sim_cluster *cluster, unsigned key)
{
    if (cluster->write_count == cluster->write_room) {
        cluster->write_room = cluster->write_room ? cluster->write_room * 2 : 256;
        cluster->writes =
            realloc(cluster->writes, cluster->write_room * sizeof(struct sim_write *));
        if (!cluster->writes)
            abort();
    }
    struct sim_write *write = calloc(1, sizeof *write);
    if (!write)
        abort();
    write->cluster = cluster;
    write->key = key;
    write->id = cluster->write_count;
    write->sent_us = cluster->world.now_us;
    cluster->writes[cluster->write_count++] = write;
    cluster->world.counts.writes++;
    return write;
}

/* Beginning */

/* In a gentle world nothing is lost and nobody refuses, but all is slow at times, and comes in pieces. */
static void faults_be_gentle(struct faults *f)
{
    f->reset_ppm = f->accept_failure_ppm = f->accept_abort_ppm = f->watch_failure_ppm = 0;
    f->files_max = f->knock_ppm = 0;
    f->pause_ppm /= 4;
    f->pause_us_max = f->pause_us_max < SECOND / 2 ? f->pause_us_max : SECOND / 2;
    f->backlog_max = 128;
}

/* A kernel's faults as for one node, but none that make a node unreachable for good. */
static void faults_choose(struct sim_cluster *cluster, uint64_t seed)
{
    struct faults *f = &cluster->faults;
    struct rng *rng = &cluster->rng;
    faults_pick(f, seed);
    f->knock_ppm = seed % 4 == 3 ? 300000 : 0; /* so that members lag while others write */
    f->cuts = 0;
    f->clock_steps = 0;
    f->files_max =
        rng_chance(rng, 150000) ? (uint32_t)rng_between(rng, 4 * cluster->node_count, 60) : 0;
    f->pipe_bytes_min = f->pipe_bytes_min < 4096 ? 4096 : f->pipe_bytes_min;
    f->pipe_bytes_max =
        f->pipe_bytes_max < f->pipe_bytes_min ? f->pipe_bytes_min : f->pipe_bytes_max;
    f->backlog_max = f->backlog_max < 16 ? 16 : f->backlog_max;
    if (cluster->gentle)
        faults_be_gentle(f);
}

/* The memory of some is less than what clients write. */
static void limits_choose(struct sim_cluster *cluster, uint64_t seed)
{
    struct rng *rng = &cluster->rng;
    cluster->limits = (struct limits){
        .idle_us = 300ULL * SECOND,
        .request_us = 30 * SECOND,
        .stall_us = 60 * SECOND,
        .drain_us = 10 * SECOND,
        .grace_us = rng_chance(rng, 300000) && !cluster->gentle
                        ? rng_spread(rng, SECOND, 20 * SECOND)
                        : 86400ULL * SECOND,
        /* Of half of them, nodes are older than others remember; of a quarter, also the ways between them are cut for longer. */
        .forget_us = (seed % 2   ? 86400ULL
                      : seed % 4 ? 90
                                 : 10) *
                     SECOND,
        .value_max = SIM_VALUE_BYTES_MAX,
        .memory_max = cluster->tight ? rng_between(rng, MEMORY_BYTES_MIN, MEMORY_BYTES_MAX) : 0,
        .connections_max = rng_chance(rng, 100000) && !cluster->gentle
                               ? (uint32_t)rng_between(rng, 4 * cluster->node_count, 40)
                               : 1000,
    };
    if (cluster->limits.connections_max <
        1000) /* whose other ends nobody will ever hear of count, too */
        cluster->limits.idle_us = 20 * SECOND;
}

/* Of half of those whose memory is less than what clients write, each node has another limit, or none at all. */
static void memory_choose(struct sim_cluster *cluster, uint64_t seed)
{
    struct rng rng;
    rng_seed(&rng, seed, 0x6d656d6f7279);
    bool uneven = cluster->tight && rng_chance(&rng, 500000);
    for (unsigned i = 0; i < cluster->node_count; i++) {
        uint64_t max = cluster->limits.memory_max;
        if (uneven)
            max = rng_chance(&rng, 200000) ? 0 : rng_between(&rng, MEMORY_BYTES_MIN, 3 * max);
        cluster->nodes[i].memory_max = max;
    }
}

/* Whom a node joins: some of the others, itself, nobody, somebody who is never there. */
static void joins_choose(struct sim_cluster *cluster, unsigned number)
{
    struct sim_node *node = &cluster->nodes[number];
    struct rng *rng = &cluster->rng;
    for (unsigned i = 0; i < cluster->node_count; i++)
        if (cluster->full_joins || (i == 0 && number > 0) || rng_chance(rng, 300000))
            node->joins_whom |= 1u << i;
    if (number == 0 && node->joins_whom == 0)
        node->joins_whom = 2;
    node->joins_nobody = rng_chance(rng, 200000);
}

static void swarm_choose(struct sim_cluster *cluster)
{
    struct rng *rng = &cluster->rng;
    cluster->node_count = (unsigned)rng_between(rng, 2, 4);
    if (rng_chance(rng, 250000))
        cluster->node_count = (unsigned)rng_between(rng, 5, SIM_NODES_MAX);
    cluster->gentle = rng_chance(rng, 200000);
    cluster->large = rng_chance(rng, 120000);
    cluster->tight = cluster->large && !cluster->gentle && rng_chance(rng, 600000);
    cluster->key_count = (unsigned)rng_between(rng, cluster->tight ? 16 : 1, SIM_KEYS_MAX);
    cluster->bursty = cluster->world.seed / 8 % 4 == 1;
    cluster->keys = cluster_keys(rng_chance(rng, 400000) || cluster->bursty);
    cluster->repair_us =
        rng_chance(rng, 150000) && !cluster->gentle ? (uint64_t)FOREVER_S * SECOND : 0;
    cluster->full_joins = cluster->gentle || rng_chance(rng, 500000);
    cluster->mends_clocks = rng_chance(rng, 500000);
}

/* Nothing is on its way for longer than deletes are remembered; half of the time nodes are cut off for much longer than that. */
static void forget_early(struct sim_cluster *cluster, uint64_t seed)
{
    struct sim_troubles *t = &cluster->troubles;
    if (seed / 8 % 2 == 0) {
        cluster->limits.grace_us = rng_between(&cluster->lives, SECOND, 3 * SECOND);
        t->cut_us_max = 30 * SECOND;
        t->part_ppm = t->part_ppm > 300000 ? t->part_ppm : 300000;
        uint64_t apart_us = 4ULL * SECOND * cluster->pace;
        t->apart_us_max = t->apart_us_max < apart_us ? t->apart_us_max : apart_us;
    }
    cluster->cables.give_up_us = cluster->limits.grace_us / 4;
    t->crash_ppm += t->slow_ppm;
    t->slow_ppm = 0;
}

static void begin(struct sim_cluster *cluster, uint64_t seed, bool trace, enum mutant mutant,
                  uint64_t again)
{
    struct rng *rng = &cluster->rng;
    world_init(&cluster->world, seed, trace, mutant);
    cluster->world.run = again;
    cluster_mutants_begin(cluster);
    cluster_watch_ready(cluster);
    rng_seed(rng, seed, 0x636c7573746572);
    rng_seed(&cluster->lives, seed, 0x6c69766573);
    cables_init(&cluster->cables, &cluster->world, &cluster->faults);
    cluster->cables.is_cut = cluster_is_cut;
    cluster->cables.bytes_per_s = cluster_bytes_per_s;
    cluster->cables.context = cluster;
    swarm_choose(cluster);
    cluster->far_clocks = seed % 8 == 6;
    faults_choose(cluster, seed);
    limits_choose(cluster, seed);
    memory_choose(cluster, seed);
    cluster->pace = seed % SLOW_EVERY == SLOW_EVERY - 1
                        ? (unsigned)rng_between(rng, SLOW_PACE_MIN, SLOW_PACE_MAX)
                        : 1;
    cluster->world.events_max *= cluster->pace;
    cluster_troubles_pick(cluster);
    if (cluster_forgets(cluster))
        forget_early(cluster, seed);
    cluster->full_joins |= cluster->troubles.moves; /* else nobody may be where the others look */
    cluster->start.run = cluster_on_start;
    cluster->trouble.run = cluster_on_trouble;
    cluster->watch.run = cluster_on_watch;
    fetcher_init(&cluster->fetcher, &cluster->cables);
    for (unsigned i = 0; i < cluster->node_count; i++) {
        process_host(&cluster->nodes[i].process, &cluster->cables, i);
        joins_choose(cluster, i);
        bool late = i + 1 == cluster->node_count && cluster->gentle && rng_chance(rng, 500000);
        cluster_node_start_at(cluster, &cluster->nodes[i],
                              rng_spread(rng, 1, 10 * SECOND) + (late ? 20 * SECOND : 0));
    }
    cluster->client_count = (unsigned)rng_between(rng, 1, SIM_CLIENTS_MAX);
    for (unsigned i = 0; i < cluster->client_count; i++)
        cluster_client_init(&cluster->clients[i], cluster, i);
    world_event_set(&cluster->world, &cluster->trouble, rng_spread(rng, SECOND, 20 * SECOND));
    world_event_set(&cluster->world, &cluster->watch, WATCH_US);
}

static void end(struct sim_cluster *cluster)
{
    fetcher_close(&cluster->fetcher);
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
    cluster_mutants_end();
    cluster_watch_ready(NULL);
}

static void mend_clock(struct sim_cluster *cluster, struct sim_node *node)
{
    cluster_thaw(cluster, node, true);
    if (!cluster->mends_clocks)
        return;
    uint64_t right_us = 1700000000ULL * SECOND + cluster->world.now_us;
    io_sim_step(&node->process.io, (int64_t)(right_us - io_sim_wall_us(&node->process.io)));
}

/* What was there until now is not forgotten: it may have kept a goodbye from being heard. */
static void end_by(uint64_t *until_us, uint64_t now_us)
{
    if (*until_us > now_us)
        *until_us = now_us;
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
    cluster_clients_leave(cluster);
    cluster_prompt_end(cluster);
    for (unsigned i = 0; i < cluster->node_count; i++) {
        struct sim_node *node = &cluster->nodes[i];
        for (unsigned j = 0; j < cluster->node_count; j++) {
            end_by(&node->cut_us[j], world->now_us);
            end_by(&node->slow_us[j], world->now_us);
        }
        if (node->running)
            mend_clock(cluster, node);
        if (node->running && !cluster->push_alone)
            node->process.node->config.repair_us = 0;
        if (!node->running && cluster->full_joins && rng_chance(&cluster->rng, 300000) &&
            cluster_running(cluster) > 0)
            node->start_us = 0;
    }
}

/* Whether enough was written, and enough went wrong. */
static bool is_enough(const struct sim_cluster *cluster)
{
    return cluster->acked >= SIM_ACKED_MIN && cluster->troubles_made >= SIM_TROUBLES_MIN;
}

static bool clients_write(struct sim_cluster *cluster)
{
    struct world *world = &cluster->world;
    while (!world->failed && world->now_us < MINUTES_MAX * 60ULL * SECOND * cluster->pace) {
        if (!cluster_clients_are_done(cluster)) {
            world_step(world);
            continue;
        }
        if (is_enough(cluster))
            return true;
        cluster_clients_go_on(cluster, MORE_CALLS);
    }
    return false;
}

static void story(struct sim_cluster *cluster)
{
    struct world *world = &cluster->world;
    if (!clients_write(cluster))
        world_fail(world, "too little was done in %u minutes: %u writes and %u troubles",
                   MINUTES_MAX * cluster->pace, cluster->acked, cluster->troubles_made);
    if (world->failed)
        return;
    calm(cluster);
    if (cluster->limits.memory_max)
        cluster_make_room(cluster, false);
    if (!world->failed)
        cluster_check_end(cluster);
    if (!world->failed)
        cluster_finale(cluster);
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
