#include "run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SECOND = 1000 * 1000 };

static const uint64_t virtual_us_max = (uint64_t)100000 * SECOND;

static struct run *run_of_step(struct world_event *event)
{
    return (struct run *)((char *)event - offsetof(struct run, step));
}

/* The node's wall clock steps. */
static void on_step(struct world_event *event)
{
    struct run *run = run_of_step(event);
    const struct faults *faults = &run->scene.faults;
    if (run->steps_left == 0)
        return;
    run->steps_left--;
    int64_t by_us = (int64_t)rng_spread(&run->rng, 1, faults->clock_step_us_max);
    if (rng_chance(&run->rng, 500000))
        by_us = -by_us;
    io_sim_step(&run->node.io, by_us);
    run->scene.world.counts.faults++;
    world_event_set(&run->scene.world, event,
                    run->scene.world.now_us + rng_spread(&run->rng, 1000, 20 * SECOND));
}

/* A client's way is cut. */
static void on_cut(struct world_event *event)
{
    struct run *run = (struct run *)((char *)event - offsetof(struct run, cut));
    struct world *world = &run->scene.world;
    if (run->cuts_left == 0)
        return;
    run->cuts_left--;
    struct sim_client *client = &run->clients[rng_below(&run->rng, run->client_count)];
    cable_host_cut(&run->scene.cables, &client->host,
                   world->now_us + rng_spread(&run->rng, 1000, run->scene.faults.cut_us_max));
    world->counts.faults++;
    world_event_set(world, event, world->now_us + rng_spread(&run->rng, 1000, 20 * SECOND));
}

static void run_plan_faults(struct run *run)
{
    struct world *world = &run->scene.world;
    run->step.run = on_step;
    run->cut.run = on_cut;
    run->steps_left = run->scene.faults.clock_steps;
    run->cuts_left = run->scene.faults.cuts;
    if (run->steps_left)
        world_event_set(world, &run->step, rng_spread(&run->rng, 1000, 10 * SECOND));
    if (run->cuts_left)
        world_event_set(world, &run->cut, rng_spread(&run->rng, 1000, 10 * SECOND));
    run->backup_done = run->restore_done = rng_chance(&run->rng, 300000);
    run->backup_at_us = rng_spread(&run->rng, 1000, 20 * SECOND);
    run->restore_at_us = run->backup_at_us + rng_spread(&run->rng, 1, 20 * SECOND);
}

/* What this seed is about. */
static void run_trace(const struct scene *scene)
{
    const struct world *world = &scene->world;
    const struct faults *f = &scene->faults;
    const struct habits *h = &scene->habits;
    const struct limits *l = &scene->limits;
    typedef unsigned long long ull;
    world_trace(world, "limits",
                "idle %llu us, request %llu us, stall %llu us, drain %llu us, "
                "memory %llu B, value %llu B, %u connections",
                (ull)l->idle_us, (ull)l->request_us, (ull)l->stall_us, (ull)l->drain_us,
                (ull)l->memory_max, (ull)l->value_max, l->connections_max);
    world_trace(world, "habits",
                "%u clients, %u to %u calls, depth %u, think %llu us, keys %u and %u", h->clients,
                h->calls_min, h->calls_max, h->depth_max, (ull)h->think_us_max, h->keys_own,
                h->keys_shared);
    world_trace(world, "faults",
                "latency %llu to %llu us, delay %u ppm, reset %u ppm, pipes %llu to "
                "%llu B, backlog %u, %u files",
                (ull)f->latency_us_min, (ull)f->latency_us_max, f->delay_ppm, f->reset_ppm,
                (ull)f->pipe_bytes_min, (ull)f->pipe_bytes_max, f->backlog_max, f->files_max);
    world_trace(world, "faults",
                "short reads %u, short writes %u, accept %u and %u, watch %u, interrupt "
                "%u, false %u, pause %u ppm up to %llu us",
                f->short_read_ppm, f->short_write_ppm, f->accept_failure_ppm, f->accept_abort_ppm,
                f->watch_failure_ppm, f->interrupt_ppm, f->false_ready_ppm, f->pause_ppm,
                (ull)f->pause_us_max);
    world_trace(world, "faults",
                "turn %llu us, %u clock steps up to %llu us, %u cuts up to %llu us",
                (ull)f->turn_us_max, f->clock_steps, (ull)f->clock_step_us_max, f->cuts,
                (ull)f->cut_us_max);
}

static void run_begin(struct run *run, uint64_t seed, bool trace, enum mutant mutant,
                      uint64_t again)
{
    struct scene *scene = &run->scene;
    world_init(&scene->world, seed, trace, mutant);
    scene->world.run = again;
    rng_seed(&run->rng, seed, 0x72756e);
    faults_pick(&scene->faults, seed);
    habits_pick(&scene->habits, seed);
    limits_pick(&scene->limits, &scene->habits, seed);
    scene->crowded = scene->limits.connections_max < LIMITS_CONNECTIONS;
    run_trace(scene);
    cables_init(&scene->cables, &scene->world, &scene->faults);
    process_start(&run->node, &scene->cables, &scene->limits, 0);
    run->has_node = true;
    scene->address = run->node.address;
    scene->io = &run->node.io;
    fetcher_init(&run->fetcher, &scene->cables);
}

static void run_begin_clients(struct run *run)
{
    struct scene *scene = &run->scene;
    const struct habits *habits = &scene->habits;
    unsigned keys = habits->keys_shared + habits->keys_own * habits->clients;
    model_init(&scene->model, &scene->world, scene->io, keys);
    for (unsigned i = 0; i < keys; i++)
        call_name_key(&scene->model.keys[i], &run->rng);
    run->client_count = habits->clients;
    for (unsigned i = 0; i < run->client_count; i++)
        sim_client_init(&run->clients[i], scene, i);
}

static void run_end(struct run *run)
{
    for (unsigned i = 0; i < run->client_count; i++) {
        sim_client_leave(&run->clients[i]);
        sim_client_free(&run->clients[i]);
    }
    fetcher_close(&run->fetcher);
    if (run->has_node)
        process_end(&run->node);
    if (run->has_second)
        process_end(&run->second);
    free(run->backup.data);
    model_free(&run->scene.model);
    cables_free(&run->scene.cables);
    world_free(&run->scene.world);
}

/* A backup while clients write, if the connection holds. */
static void run_take_backup(struct run *run)
{
    struct response response;
    struct bytes request = {0};
    run->backup_done = true;
    run->backup_sent_us = run->scene.world.now_us;
    bytes_print(&request, "GET /-/records HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n\r\n");
    bool whole =
        fetch(&run->fetcher, &run->scene.address, &request, &response, &run->backup, 60 * SECOND);
    fetcher_close(&run->fetcher);
    bytes_free(&request);
    if (!whole || response.status != 200)
        run->backup.bytes = 0;
}

/* The node gets its own backup again while clients write. All in it is known, so nothing may change. */
static void run_restore_backup(struct run *run)
{
    struct response response;
    struct bytes request = {0};
    run->restore_done = true;
    if (run->backup.bytes == 0)
        return;
    bytes_print(&request,
                "POST /-/merge HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n"
                "Content-Length: %zu\r\n\r\n",
                run->backup.bytes);
    bytes_add(&request, run->backup.data, run->backup.bytes);
    bool whole = fetch(&run->fetcher, &run->scene.address, &request, &response, NULL, 60 * SECOND);
    fetcher_close(&run->fetcher);
    bytes_free(&request);
    if (whole && response.status == 200 &&
        !memmem(response.kept, response.kept_bytes, " 0 of them", 10))
        world_fail(&run->scene.world, "a node learns something from its own backup: %.*s",
                   (int)response.kept_bytes, response.kept);
}

bool run_until(struct run *run, bool (*is_over)(const struct run *run), uint64_t until_us)
{
    struct world *world = &run->scene.world;
    while (!is_over(run)) {
        if (!run->backup_done && world->now_us >= run->backup_at_us)
            run_take_backup(run);
        if (!run->restore_done && world->now_us >= run->restore_at_us)
            run_restore_backup(run);
        if (world->now_us >= until_us || !world_step(world))
            return false;
    }
    return true;
}

static bool clients_are_done(const struct run *run)
{
    for (unsigned i = 0; i < run->client_count; i++)
        if (!run->clients[i].done)
            return false;
    return true;
}

static void run_story(struct run *run)
{
    struct world *world = &run->scene.world;
    if (!run_until(run, clients_are_done, virtual_us_max))
        world_fail(world, "clients are not done after %llu s",
                   (unsigned long long)(world->now_us / SECOND));
    run->steps_left = run->cuts_left = 0;
    run->backup_done = run->restore_done = true;
    if (!world->failed)
        finale(run);
    if (world->counts.replies < RUN_REPLIES_MIN)
        world_fail(world, "too little was done: %llu replies",
                   (unsigned long long)world->counts.replies);
}

void run_seed(uint64_t seed, bool trace, enum mutant mutant, uint64_t again, const char *block,
              struct run_result *result)
{
    struct run *run = calloc(1, sizeof *run);
    if (!run)
        abort();
    run->scene.block = block;
    run_begin(run, seed, trace, mutant, again);
    run_begin_clients(run);
    run_plan_faults(run);
    run_story(run);
    const struct world *world = &run->scene.world;
    *result = (struct run_result){.failed = world->failed,
                                  .now_us = world->now_us,
                                  .hash = world->hash,
                                  .counts = world->counts};
    memcpy(result->failure, world->failure, sizeof result->failure);
    result->counts.virtual_us = world->now_us;
    run_end(run);
    free(run);
}
