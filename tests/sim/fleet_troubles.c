#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "fleet.h"

enum { SECOND = 1000 * 1000, SETTLED_US = 4 * SECOND };

static struct fleet *of_event(struct world_event *event, size_t offset)
{
    return (struct fleet *)((char *)event - offset);
}

static bool is_node(const struct fleet_process *process)
{
    return process->number < FLEET_NODES_MAX;
}

static void disturb(struct fleet *fleet, const struct fleet_process *process)
{
    if (!is_node(process))
        return;
    fleet->disturbed[process->cluster]++;
    fleet->quiet_us[process->cluster] = 0;
}

/* Ways */

static struct fleet_process *process_of(struct fleet *fleet, const struct cable_host *host)
{
    for (unsigned i = 0; i < FLEET_PROCESSES_MAX; i++)
        if (&fleet->processes[i].process.host == host)
            return &fleet->processes[i];
    return NULL;
}

bool fleet_is_cut(void *context, const struct cable_host *from, const struct cable_host *to)
{
    struct fleet *fleet = context;
    const struct fleet_process *a = process_of(fleet, from), *b = process_of(fleet, to);
    return a && b && a->cut_us[b->number] > fleet->world.now_us;
}

static void cut(struct fleet *fleet, struct fleet_process *a, struct fleet_process *b,
                uint64_t until_us)
{
    world_trace(&fleet->world, "net", "%s cannot reach %s until %llu us", a->process.host.name,
                b->process.host.name, (unsigned long long)until_us);
    a->cut_us[b->number] = until_us;
    if (!fleet->troubles.one_way || rng_chance(&fleet->rng, 500000))
        b->cut_us[a->number] = until_us;
    disturb(fleet, a);
    disturb(fleet, b);
}

/* Processes that start */

void fleet_start_at(struct fleet *fleet, struct fleet_process *process, uint64_t at_us)
{
    process->start_us = at_us + 1;
    world_event_hasten(&fleet->world, &fleet->start, at_us + 1);
}

static struct cli *cli_begin(struct fleet *fleet, const struct fleet_process *process,
                             const char *role)
{
    return cli_new(&fleet->world,
                   fleet_lot(process->number) + (uint64_t)1000 * (process->boots + 1), role);
}

static void node_boot(struct fleet *fleet, struct fleet_process *process)
{
    struct cli *cli = cli_begin(fleet, process, "node");
    char names[FLEET_CLUSTER_MAX][24];
    const char *joins[FLEET_CLUSTER_MAX];
    unsigned side = fleet_side_of(fleet, process->cluster);
    unsigned size = fleet->cluster_size[process->cluster];
    assert(size <= FLEET_CLUSTER_MAX);
    for (unsigned i = 0; i < size; i++) {
        unsigned place = process->cluster * FLEET_CLUSTER_MAX + i;
        fleet_name(fleet, place, names[i]);
        joins[i] = names[i];
    }
    process_cli_limits(cli, &fleet->limits);
    cli_members(cli, "join", joins, size);
    cli_option(cli, "memory-max", "16M", "0");
    cli_option(cli, "grace", "1ms", "%llus", (unsigned long long)fleet->limits.grace_us / SECOND);
    cli_option(cli, "forget-after", "1ms", "%llus",
               (unsigned long long)fleet->limits.forget_us / SECOND);
    cli_option(cli, "partition", "0/9", "%u/%u", process->cluster - fleet_side_first(fleet, side),
               fleet->side_count[side]);
    process_boot_cli(&process->process, &fleet->cables, cli, process->host_number,
                     ++process->boots);
}

/* While keys move: which clusters it writes to, and which others it knows. */
static void put_clusters_moving(struct fleet *fleet, const struct fleet_process *process,
                                struct cli *cli)
{
    const struct frontend_cluster *told = fleet->clusters[process->number - FLEET_NODES_MAX];
    unsigned own = fleet_stage_side(process->stage), other = 1 - own;
    cli_clusters(cli, "cluster", told + fleet_side_first(fleet, own), fleet->side_count[own]);
    if (process->stage == 1 || process->stage == 2)
        cli_clusters(cli, process->stage == 1 ? "next-cluster" : "previous-cluster",
                     told + fleet_side_first(fleet, other), fleet->side_count[other]);
}

static void frontend_boot(struct fleet *fleet, struct fleet_process *process)
{
    unsigned i = process->number - FLEET_NODES_MAX;
    struct cli *cli = cli_begin(fleet, process, "frontend");
    process_cli_limits(cli, &fleet->limits);
    cli_option(cli, "read-from", NULL, "%s", fleet->read_home ? "home" : "any");
    if (fleet->moves)
        put_clusters_moving(fleet, process, cli);
    else
        cli_clusters(cli, "cluster", fleet->clusters[i], fleet->told_count[i]);
    process->booted_stage = process->stage;
    for (unsigned k = 0; k < fleet->key_count; k++)
        fleet->keys[k].answered[i] = (struct fleet_answered){0};
    process_boot_cli(&process->process, &fleet->cables, cli, process->host_number,
                     ++process->boots);
}

/* Nodes have one clock, unless this seed is about skew; front-ends' are hours off. */
static void clock_set(struct fleet *fleet, struct fleet_process *process)
{
    struct io_sim *io = &process->process.io;
    bool skewed = !is_node(process) || (fleet->troubles.skewed && !fleet->calm_us);
    if (!fleet->offset_us)
        fleet->offset_us = io->steps[0].offset_us;
    io->steps[0].offset_us = fleet->offset_us;
    if (skewed)
        io_sim_step(io, (int64_t)rng_spread(&fleet->rng, 1000, 3600ULL * SECOND) *
                            (rng_chance(&fleet->rng, 500000) ? 1 : -1));
    loop_update_time(&process->process.loop);
}

static void process_up(struct fleet *fleet, struct fleet_process *process)
{
    world_trace(&fleet->world, process->process.host.name, "starts");
    if (is_node(process))
        node_boot(fleet, process);
    else if (process->number == FLEET_RESHARD)
        fleet_move_boot(fleet, process);
    else if (process->number == FLEET_OPERATOR)
        fleet_operator_boot(fleet, process);
    else
        frontend_boot(fleet, process);
    clock_set(fleet, process);
    process->running = true;
    process->draining = false;
    process->sound_us = 0;
    process->start_us = process->paused_until_us = 0;
    disturb(fleet, process);
}

static void process_down(struct fleet *fleet, struct fleet_process *process, const char *how)
{
    world_trace(&fleet->world, process->process.host.name, "%s", how);
    if (is_node(process))
        fleet_history_death(fleet, process);
    process_end(&process->process);
    process->running = process->draining = false;
    process->ended_us = fleet->world.now_us;
    disturb(fleet, process);
}

void fleet_on_start(struct world_event *event)
{
    struct fleet *fleet = of_event(event, offsetof(struct fleet, start));
    uint64_t now_us = fleet->world.now_us;
    for (unsigned i = 0; i < FLEET_PROCESSES_MAX; i++) {
        struct fleet_process *process = &fleet->processes[i];
        if (process->running && process->draining && process->process.stopped_us) {
            process_down(fleet, process, "ends");
            if (!process->retired)
                fleet_start_at(fleet, process,
                               now_us + rng_spread(&fleet->rng, 1000, fleet->troubles.down_us_max));
        } else if (!process->running && process->start_us && now_us >= process->start_us) {
            process_up(fleet, process);
        }
    }
    world_event_set(&fleet->world, event, now_us + 5000);
}

/* Troubles */

static unsigned running(const struct fleet *fleet, unsigned cluster)
{
    unsigned count = 0;
    for (unsigned i = 0; i < fleet->cluster_size[cluster]; i++) {
        const struct fleet_process *process = &fleet->processes[cluster * FLEET_CLUSTER_MAX + i];
        count += process->running && !process->draining;
    }
    return count;
}

void fleet_kill(struct fleet *fleet, struct fleet_process *process)
{
    process_down(fleet, process, "dies");
    if (!process->retired)
        fleet_start_at(fleet, process,
                       fleet->world.now_us +
                           rng_spread(&fleet->rng, SECOND / 20, fleet->troubles.down_us_max));
}

void fleet_stop(struct fleet *fleet, struct fleet_process *process)
{
    world_trace(&fleet->world, process->process.host.name, "is told to stop");
    process->draining = true;
    process->start_us = 0;
    process_drain(&process->process);
    disturb(fleet, process);
}

static void stand_still(struct fleet *fleet, struct fleet_process *process)
{
    uint64_t us = rng_spread(&fleet->rng, SECOND / 100, fleet->troubles.pause_us_max);
    if (process->paused_until_us < fleet->world.now_us + us)
        process->paused_until_us = fleet->world.now_us + us;
    world_trace(&fleet->world, process->process.host.name, "stands still for %llu us",
                (unsigned long long)us);
    process_pause(&process->process, process->paused_until_us);
    disturb(fleet, process);
}

static void step_clock(struct fleet *fleet, struct fleet_process *process)
{
    io_sim_step(&process->process.io, (int64_t)rng_spread(&fleet->rng, 1000, 3600ULL * SECOND) *
                                          (rng_chance(&fleet->rng, 500000) ? 1 : -1));
}

static struct fleet_process *some_process(struct fleet *fleet, bool frontends)
{
    struct rng *rng = &fleet->rng;
    if (frontends)
        return fleet_frontend(fleet, (unsigned)rng_below(rng, fleet->frontend_count));
    unsigned c = (unsigned)rng_below(rng, fleet->cluster_count);
    return &fleet->processes[c * FLEET_CLUSTER_MAX +
                             (unsigned)rng_below(rng, fleet->cluster_size[c])];
}

/* One node of each cluster at a time, and only once all have come back and settled. */
static void trouble_gently(struct fleet *fleet)
{
    struct fleet_process *process = some_process(fleet, false);
    uint64_t quiet_us = fleet->quiet_us[process->cluster];
    bool settled = quiet_us && fleet->world.now_us > quiet_us + SETTLED_US;
    if (!settled || fleet->cluster_size[process->cluster] < 2)
        return;
    fleet->troubles_made++;
    switch (rng_below(&fleet->rng, 3)) {
    case 0:
        fleet_kill(fleet, process);
        break;
    case 1:
        fleet_stop(fleet, process);
        break;
    default:
        stand_still(fleet, process);
        break;
    }
}

static void trouble_frontend(struct fleet *fleet)
{
    struct fleet_process *process = some_process(fleet, true);
    if (fleet->moves && rng_chance(&fleet->rng, 300000))
        process = &fleet->processes[FLEET_RESHARD];
    if (!process->running || process->draining)
        return;
    switch (rng_below(&fleet->rng, 4)) {
    case 0:
        fleet_kill(fleet, process);
        break;
    case 1:
        fleet_stop(fleet, process);
        break;
    case 2:
        stand_still(fleet, process);
        break;
    default:
        step_clock(fleet, process);
        break;
    }
}

/* From whom a node is to be cut off while keys move. */
static struct fleet_process *somebody(struct fleet *fleet, const struct fleet_process *node)
{
    struct rng *rng = &fleet->rng;
    unsigned c = node->cluster;
    switch (rng_below(rng, 4)) {
    case 0:
        return &fleet->processes[FLEET_RESHARD];
    case 1:
        return some_process(fleet, true);
    case 2:
        return some_process(fleet, false);
    default:
        return &fleet->processes[c * FLEET_CLUSTER_MAX +
                                 (unsigned)rng_below(rng, fleet->cluster_size[c])];
    }
}

static void trouble_node(struct fleet *fleet)
{
    const struct fleet_troubles *t = &fleet->troubles;
    struct rng *rng = &fleet->rng;
    struct fleet_process *process = some_process(fleet, false);
    bool up = process->running && !process->draining;
    bool spare = running(fleet, process->cluster) > 1 || rng_chance(rng, t->blackout_ppm);
    if (up && spare && rng_chance(rng, t->crash_ppm))
        fleet_kill(fleet, process);
    else if (up && spare && rng_chance(rng, t->goodbye_ppm))
        fleet_stop(fleet, process);
    else if (up && rng_chance(rng, t->pause_ppm))
        stand_still(fleet, process);
    else if (up && t->skewed && rng_chance(rng, t->step_ppm))
        step_clock(fleet, process);
    else if (rng_chance(rng, t->cut_ppm))
        cut(fleet, process,
            fleet->moves ? somebody(fleet, process) : some_process(fleet, rng_chance(rng, 500000)),
            fleet->world.now_us + rng_spread(rng, 1000, t->cut_us_max));
}

void fleet_part(struct fleet *fleet, unsigned cluster)
{
    unsigned size = fleet->cluster_size[cluster], first = cluster * FLEET_CLUSTER_MAX;
    unsigned alone = (unsigned)rng_below(&fleet->rng, size);
    uint64_t until_us = fleet->world.now_us + rng_spread(&fleet->rng, 5 * SECOND, 60 * SECOND);
    for (unsigned i = 0; i < size; i++)
        if (i != alone)
            cut(fleet, &fleet->processes[first + alone], &fleet->processes[first + i], until_us);
    fleet->troubles_made++;
}

void fleet_on_trouble(struct world_event *event)
{
    struct fleet *fleet = of_event(event, offsetof(struct fleet, trouble));
    if (fleet->gentle) {
        trouble_gently(fleet);
    } else if (rng_chance(&fleet->rng, fleet->troubles.frontend_ppm)) {
        fleet->troubles_made++;
        trouble_frontend(fleet);
    } else {
        fleet->troubles_made++;
        trouble_node(fleet);
    }
    world_event_set(&fleet->world, event,
                    fleet->world.now_us +
                        rng_spread(&fleet->rng, SECOND / 5, fleet->troubles.apart_us_max));
}

static uint32_t often(struct rng *rng)
{
    return rng_chance(rng, 500000) ? (uint32_t)rng_spread(rng, 30000, 600000) : 0;
}

void fleet_troubles_pick(struct fleet *fleet)
{
    struct rng *rng = &fleet->rng;
    struct fleet_troubles *t = &fleet->troubles;
    t->crash_ppm = often(rng);
    t->goodbye_ppm = often(rng);
    t->pause_ppm = often(rng);
    t->cut_ppm = often(rng);
    t->step_ppm = often(rng);
    t->frontend_ppm = often(rng) / 2;
    t->blackout_ppm = rng_chance(rng, 200000) ? 300000 : 0;
    t->apart_us_max = rng_spread(rng, SECOND, 20 * SECOND);
    t->down_us_max = rng_spread(rng, SECOND / 10, 20 * SECOND);
    t->pause_us_max = rng_spread(rng, SECOND / 10, 12 * SECOND);
    t->cut_us_max = rng_spread(rng, SECOND / 10, (fleet->moves ? 60 : 20) * SECOND);
    t->one_way = rng_chance(rng, 500000);
    t->skewed = !fleet->gentle && rng_chance(rng, 250000);
    if (t->skewed) /* a member whose clock is wrong by more than that counts as forgotten */
        fleet->limits.forget_us = 86400ULL * SECOND;
    if (t->crash_ppm + t->goodbye_ppm + t->pause_ppm + t->cut_ppm == 0)
        t->crash_ppm = 500000;
}

/* No faults any more; who is down comes back. */
void fleet_calm(struct fleet *fleet)
{
    struct world *world = &fleet->world;
    world_trace(world, "world", "faults end");
    fleet->calm_us = world->now_us;
    world_event_clear(world, &fleet->trouble);
    faults_end(&fleet->faults);
    for (unsigned i = 0; i < FLEET_PROCESSES_MAX; i++)
        memset(fleet->processes[i].cut_us, 0, sizeof fleet->processes[i].cut_us);
}
