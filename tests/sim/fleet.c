#include "fleet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/hash.h"
#include "role/frontend_state.h"

enum {
    SECOND = 1000 * 1000,
    MINUTES_MAX = 20,
    MOVE_FAULTS_US_MAX = 150 * SECOND,
    MOVE_CALLS = 10, /* of each client, again and again until the keys have moved */
    BIG_EVERY = 48,  /* seeds there is a fleet of all sizes that are possible */
    BIG_SEED = 11,
    BEYOND_USUAL = 210, /* the first number of a node beyond the usual ones */
};

/* What the fleet looks like */

static void limits_choose(struct fleet *fleet)
{
    fleet->limits = (struct limits){
        .idle_us = 300ULL * SECOND,
        .request_us = 30 * SECOND,
        .stall_us = 120 * SECOND,
        .drain_us = 10 * SECOND,
        .grace_us = 86400ULL * SECOND,
        .forget_us = 100 * SECOND, /* so that nodes are older than others remember */
        .value_max = FLEET_VALUE_BYTES_MAX,
        .connections_max = 1000,
    };
}

/* A kernel's faults as for one node, but none that make a node unreachable for good; gentle ones only delay. */
static void faults_choose(struct fleet *fleet, uint64_t seed)
{
    struct faults *f = &fleet->faults;
    faults_pick(f, seed);
    f->cuts = 0;
    f->clock_steps = 0;
    f->latency_us_max = f->latency_us_max > 5000 ? 5000 : f->latency_us_max;
    f->latency_us_min = f->latency_us_min > 2000 ? 2000 : f->latency_us_min;
    if (f->files_max)
        f->files_max = (uint32_t)rng_between(&fleet->rng, 60, 120);
    f->pipe_bytes_min = f->pipe_bytes_min < 4096 ? 4096 : f->pipe_bytes_min;
    f->pipe_bytes_max =
        f->pipe_bytes_max < f->pipe_bytes_min ? f->pipe_bytes_min : f->pipe_bytes_max;
    f->backlog_max = f->backlog_max < 32 ? 32 : f->backlog_max;
    if (!fleet->gentle)
        return;
    f->reset_ppm = f->accept_failure_ppm = f->accept_abort_ppm = f->watch_failure_ppm = 0;
    f->pause_ppm = f->files_max = f->delay_ppm = 0;
}

static bool shares_place(const struct fleet_key *a, const struct fleet_key *b)
{
    return (hash_bytes(a->name, strlen(a->name)) - hash_bytes(b->name, strlen(b->name))) %
               RECENT_MAX ==
           0;
}

static void keys_choose(struct fleet *fleet)
{
    static const char *const names[] = {"key", "a b", "caf\xc3\xa9", "%", "q?", "a//", "../"};
    fleet->key_count = (unsigned)rng_between(&fleet->rng, 1, FLEET_KEYS_MAX);
    for (unsigned i = 0; i < fleet->key_count; i++) {
        struct fleet_key *key = &fleet->keys[i];
        snprintf(key->name, sizeof key->name, "%s%u", names[rng_below(&fleet->rng, 7)], i);
        struct slice name = {key->name, strlen(key->name)};
        for (unsigned other = 0; other < i; other++)
            if (shares_place(key, &fleet->keys[other]))
                key->shares_place = fleet->keys[other].shares_place = true;
        key->home[0] = key->home[1] = route_partition(fleet->routes[0], name);
        if (fleet->moves)
            key->home[1] = fleet->side_count[0] + route_partition(fleet->routes[1], name);
    }
}

unsigned fleet_lot(unsigned place)
{
    unsigned cluster = place / FLEET_CLUSTER_MAX, i = place % FLEET_CLUSTER_MAX;
    if (place >= FLEET_NODES_MAX)
        return place - FLEET_NODES_MAX + FLEET_CLUSTERS_MAX * FLEET_CLUSTER_USUAL;
    return i < FLEET_CLUSTER_USUAL ? cluster * FLEET_CLUSTER_USUAL + i : BEYOND_USUAL + cluster;
}

void fleet_name(const struct fleet *fleet, unsigned place, char out[24])
{
    unsigned lot = place == FLEET_NOBODY ? FLEET_NOBODY : fleet_lot(place);
    if (place < FLEET_NODES_MAX && (fleet->world.seed + lot) % 3 == 0)
        snprintf(out, 24, "n%u:%d", lot, PROCESS_PORT);
    else
        snprintf(out, 24, "10.0.0.%u:%d", lot + 1, PROCESS_PORT);
}

static void put_seed(struct fleet *fleet, unsigned frontend, unsigned told, unsigned place)
{
    char *text = fleet->seeds[frontend][told][fleet->clusters[frontend][told].seed_count];
    fleet_name(fleet, place, text);
    fleet->seed_list[frontend][told][fleet->clusters[frontend][told].seed_count++] = text;
}

/* Some members of a cluster, and perhaps somebody who is never there. Reshard is told all. */
static void seeds_choose(struct fleet *fleet, unsigned frontend, unsigned told, unsigned cluster)
{
    struct rng *rng = &fleet->rng;
    unsigned first = cluster * FLEET_CLUSTER_MAX, size = fleet->cluster_size[cluster];
    unsigned sure = (unsigned)rng_below(rng, size);
    fleet->clusters[frontend][told].seeds = fleet->seed_list[frontend][told];
    for (unsigned i = 0; i < size; i++)
        if (i == sure || fleet->gentle || frontend == FLEET_FRONTENDS_MAX ||
            rng_chance(rng, 300000))
            put_seed(fleet, frontend, told, first + i);
    if (rng_chance(rng, 200000))
        put_seed(fleet, frontend, told, FLEET_NOBODY);
}

/* The clusters in their order; the wrong front-end has the order turned round, or one too few or too many. */
static void frontend_tell(struct fleet *fleet, unsigned i)
{
    struct fleet_process *process = fleet_frontend(fleet, i);
    unsigned count = fleet->cluster_count;
    unsigned mistake = process->wrong ? 1 + (unsigned)rng_below(&fleet->rng, 3) : 0;
    unsigned told = mistake == 2 ? count - 1 : mistake == 3 ? count + 1 : count;
    fleet->told_count[i] = told;
    for (unsigned n = 0; n < told; n++)
        seeds_choose(fleet, i, n, mistake == 1 ? (n + 1) % count : n % count);
}

void fleet_host(struct fleet *fleet, unsigned place, unsigned number, const char *letter)
{
    struct fleet_process *process = &fleet->processes[place];
    process->host_number = fleet_lot(place);
    if (!fleet->moves && place >= FLEET_NODES_MAX)
        process->host_number -= FLEET_CLUSTERS_MAX * FLEET_CLUSTER_USUAL / FLEET_SIDES;
    process_host(&process->process, &fleet->cables, process->host_number);
    snprintf(process->process.host.name, sizeof process->process.host.name, "%s%u", letter, number);
    process->number = place;
}

static void processes_choose(struct fleet *fleet)
{
    struct rng *rng = &fleet->rng;
    for (unsigned c = 0; c < fleet->cluster_count; c++) {
        fleet->cluster_size[c] = (unsigned)rng_between(
            rng, fleet->gentle ? 2 : 1, fleet->moves ? fleet->cluster_max - 1 : fleet->cluster_max);
        for (unsigned i = 0; i < fleet->cluster_size[c]; i++) {
            unsigned place = c * FLEET_CLUSTER_MAX + i;
            fleet_host(fleet, place, fleet_lot(place), "n");
            fleet_start_at(fleet, &fleet->processes[place], rng_spread(rng, 1, 3 * SECOND));
            fleet->processes[place].cluster = c;
        }
    }
    fleet->has_wrong = !fleet->moves && fleet->cluster_count > 1 && rng_chance(rng, 250000);
    fleet->frontend_count = (unsigned)rng_between(rng, 1, 3) + fleet->has_wrong;
    for (unsigned i = 0; i < fleet->frontend_count; i++) {
        fleet_frontend(fleet, i)->wrong = fleet->has_wrong && i + 1 == fleet->frontend_count;
        fleet_host(fleet, FLEET_NODES_MAX + i, i, "f");
        fleet_start_at(fleet, fleet_frontend(fleet, i), rng_spread(rng, 1, 3 * SECOND));
        fleet_frontend(fleet, i)->wrong = fleet->has_wrong && i + 1 == fleet->frontend_count;
        frontend_tell(fleet, i);
    }
    if (fleet->moves) {
        fleet_host(fleet, FLEET_RESHARD, 0, "r");
        for (unsigned c = 0; c < fleet->cluster_count; c++)
            seeds_choose(fleet, FLEET_FRONTENDS_MAX, c, c);
    }
}

/* How many partitions there are; and shall be. */
static void sides_choose(struct fleet *fleet)
{
    struct rng *rng = &fleet->rng;
    unsigned *count = fleet->side_count;
    count[0] = (unsigned)rng_between(rng, 1, FLEET_PARTITIONS_MAX);
    if (fleet->moves)
        count[1] = 1 + (unsigned)(count[0] - 1 + rng_between(rng, 1, FLEET_PARTITIONS_MAX - 1)) %
                           FLEET_PARTITIONS_MAX;
    fleet->cluster_count = count[0] + count[1];
    for (unsigned side = 0; side < FLEET_SIDES; side++)
        if (count[side])
            fleet->routes[side] = route_new(count[side]);
}

/* By a chance of its own, so that all other seeds tell the same story as ever. */
static void ahead_choose(struct fleet *fleet, uint64_t seed)
{
    rng_seed(&fleet->ahead_rng, seed, 0x6168656164);
    fleet->ahead = rng_chance(&fleet->ahead_rng, 125000);
    uint64_t kind = rng_below(&fleet->ahead_rng, 3);
    fleet->ahead_us = kind == 0   ? 0
                      : kind == 1 ? UINT64_C(1) << 62
                                  : (UINT64_C(1) << 63) - FLEET_AHEAD_US / 2;
}

static void begin(struct fleet *fleet, uint64_t seed, bool trace, enum mutant mutant,
                  uint64_t again)
{
    world_init(&fleet->world, seed, trace, mutant);
    fleet->world.run = again;
    rng_seed(&fleet->rng, seed, 0x666c656574);
    cables_init(&fleet->cables, &fleet->world, &fleet->faults);
    fleet->cables.is_cut = fleet_is_cut;
    fleet->cables.context = fleet;
    bool big = seed % BIG_EVERY == BIG_SEED;
    fleet->cluster_max = big ? FLEET_CLUSTER_MAX : FLEET_CLUSTER_USUAL;
    fleet->client_max = big ? FLEET_CLIENTS_MAX : FLEET_CLIENTS_USUAL;
    fleet->gentle = rng_chance(&fleet->rng, 300000);
    fleet->large = rng_chance(&fleet->rng, 400000);
    fleet->read_home = rng_chance(&fleet->rng, 300000);
    ahead_choose(fleet, seed);
    sides_choose(fleet);
    faults_choose(fleet, seed);
    limits_choose(fleet);
    fleet_troubles_pick(fleet);
    keys_choose(fleet);
    fleet->start.run = fleet_on_start;
    fleet->trouble.run = fleet_on_trouble;
    fleet->watch.run = fleet_on_watch;
    processes_choose(fleet);
    fleet->client_count = (unsigned)rng_between(&fleet->rng, 1, fleet->client_max);
    fleet_mutants_begin(fleet);
    for (unsigned i = 0; i < fleet->client_count; i++)
        fleet_client_init(&fleet->clients[i], fleet, i);
    if (fleet->moves)
        fleet_move_begin(fleet);
    fleet_operator_begin(fleet);
    fleet_monitor_begin(fleet);
    world_event_set(&fleet->world, &fleet->watch, SECOND / 10);
    world_event_set(&fleet->world, &fleet->trouble, rng_spread(&fleet->rng, SECOND, 10 * SECOND));
}

static void end(struct fleet *fleet)
{
    for (unsigned i = 0; i < fleet->client_count; i++)
        fleet_client_free(&fleet->clients[i]);
    for (unsigned i = 0; i < FLEET_PROCESSES_MAX; i++)
        if (fleet->processes[i].running)
            process_end(&fleet->processes[i].process);
    fleet_operator_end(fleet);
    fleet_monitor_end(fleet);
    fleet_mutants_end();
    for (unsigned i = 0; i < fleet->write_count; i++)
        free(fleet->writes[i]);
    free(fleet->writes);
    for (unsigned i = 0; i < fleet->key_count; i++)
        free(fleet->keys[i].floors);
    for (unsigned side = 0; side < FLEET_SIDES; side++)
        if (fleet->routes[side])
            route_destroy(fleet->routes[side]);
    cables_free(&fleet->cables);
    world_free(&fleet->world);
}

/* Clients go on until the keys have moved; the faults end before, or not. */
static void move_story(struct fleet *fleet)
{
    struct world *world = &fleet->world;
    uint64_t calm_us = rng_spread(&fleet->rng, 20 * SECOND, MOVE_FAULTS_US_MAX);
    while (!fleet->move.over && fleet_step(fleet)) {
        if (!fleet->calm_us && world->now_us > calm_us)
            fleet_calm(fleet);
        for (unsigned i = 0; i < fleet->client_count; i++)
            if (!fleet->clients[i].call_count && !fleet->clients[i].calls_left)
                fleet_client_go_on(&fleet->clients[i], MOVE_CALLS);
    }
}

static void story(struct fleet *fleet)
{
    struct world *world = &fleet->world;
    if (fleet->moves)
        move_story(fleet);
    while (!fleet_clients_are_done(fleet) && world->now_us < MINUTES_MAX * 60ULL * SECOND)
        if (!fleet_step(fleet))
            break;
    if (!world->failed && !fleet_clients_are_done(fleet))
        world_fail(world, "clients are not done after %d minutes", MINUTES_MAX);
    if (!fleet->calm_us)
        fleet_calm(fleet);
    if (!world->failed)
        fleet_check_end(fleet);
    if (!world->failed && world->counts.replies < FLEET_REPLIES_MIN)
        world_fail(world, "too little was done: %llu replies",
                   (unsigned long long)world->counts.replies);
}

void fleet_run_seed(uint64_t seed, bool moves, bool trace, enum mutant mutant, uint64_t again,
                    const char *block, struct run_result *result)
{
    struct fleet *fleet = calloc(1, sizeof *fleet);
    if (!fleet)
        abort();
    fleet->block = block;
    fleet->moves = moves;
    begin(fleet, seed, trace, mutant, again);
    story(fleet);
    const struct world *world = &fleet->world;
    *result = (struct run_result){.failed = world->failed,
                                  .now_us = world->now_us,
                                  .hash = world->hash,
                                  .counts = world->counts};
    memcpy(result->failure, world->failure, sizeof result->failure);
    result->counts.virtual_us = world->now_us;
    result->counts.faults += fleet->troubles_made;
    end(fleet);
    free(fleet);
}
