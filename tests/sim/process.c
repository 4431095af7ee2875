#include "process.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "role/node_state.h"

enum {
    TABLE_BYTES_PER_RECORD = 512, /* of uthash, at most, when shards have few records each */
    IDLE_TURNS_MAX = 2000,        /* a loop that is called so often for nothing spins */
};

static struct process *process_of(struct world_event *event)
{
    return (struct process *)((char *)event - offsetof(struct process, turn));
}

static void process_hasten(struct process *process, uint64_t at_us)
{
    if (process->stopped_us)
        return;
    if (at_us < process->busy_until_us)
        at_us = process->busy_until_us;
    world_event_hasten(process->world, &process->turn, at_us);
}

static void on_wake(struct io_sim *io)
{
    struct process *process = io->owner;
    uint64_t delay_us = rng_between(&io->chance, 1, PROCESS_WAKE_US_MAX);
    process_hasten(process, process->world->now_us + delay_us);
}

/* How long the turn takes that was just made, and whether the process then stands still. */
static void process_be_busy(struct process *process)
{
    struct io_sim *io = &process->io;
    const struct faults *faults = io->faults;
    uint64_t busy_us = rng_spread(&io->chance, 1, faults->turn_us_max);
    if (rng_chance(&io->chance, faults->pause_ppm)) {
        uint64_t pause_us = rng_between(&io->chance, 0, faults->pause_us_max);
        world_trace(process->world, process->host.name, "stands still for %llu us",
                    (unsigned long long)pause_us);
        process->paused_us += pause_us;
        process->world->counts.faults++;
        busy_us += pause_us;
        process->still_until_us = process->world->now_us + busy_us;
    }
    process->busy_until_us = process->world->now_us + busy_us;
}

/* A loop that turns again and again and achieves nothing would burn a processor. */
static void process_watch_idling(struct process *process, uint64_t progress_before, bool had_events)
{
    bool idle = process->io.progress == progress_before && had_events;
    process->idle_turns = idle ? process->idle_turns + 1 : 0;
    if (process->idle_turns > IDLE_TURNS_MAX)
        world_fail(process->world, "the loop of %s spins: %u turns in a row achieved nothing",
                   process->host.name, process->idle_turns);
}

static void process_plan(struct process *process)
{
    uint64_t deadline = loop_deadline(&process->loop);
    if (process->loop.again || io_sim_ready(&process->io))
        process_hasten(process, process->busy_until_us);
    else if (deadline != UINT64_MAX)
        process_hasten(process,
                       deadline > process->io.start_us ? deadline - process->io.start_us : 0);
}

static void on_turn(struct world_event *event)
{
    struct process *process = process_of(event);
    uint64_t progress = process->io.progress;
    bool again = process->loop.again;
    process->world->counts.turns++;
    loop_turn(&process->loop, 0);
    if (process->loop.stopped) {
        process->stopped_us = process->world->now_us;
        world_trace(process->world, process->host.name, "stopped");
        if (process->on_stopped)
            process->on_stopped(process);
        return;
    }
    process_be_busy(process);
    process_watch_idling(process, progress, again || process->io.reported);
    process_plan(process);
}

static void on_signal(struct loop_timer *timer)
{
    struct process *process = (struct process *)((char *)timer - offsetof(struct process, signal));
    if (process->command_state)
        process->command_ops->stop(process->command_state);
    else if (process->frontend)
        frontend_drain(process->frontend);
    else
        node_drain(process->node);
}

static uint64_t log_wall_us(void *clock)
{
    const struct process *process = clock;
    return io_sim_wall_us(&process->io);
}

static bool log_write(void *sink, const char *line, unsigned bytes)
{
    const struct process *process = sink;
    if (bytes && line[bytes - 1] == '\n')
        bytes--;
    world_trace(process->world, process->host.name, "log: %.*s", (int)bytes, line);
    return true;
}

uint64_t process_table_bytes(const struct node *node)
{
    uint64_t bytes = 0;
    for (uint32_t shard = 0; shard < STORE_SHARDS; shard++)
        for (struct record *at = store_first(node->store, shard); at; at = store_after(at))
            bytes += record_footprint(at) + TABLE_BYTES_PER_RECORD;
    return bytes;
}

struct node_config process_config(const struct limits *limits)
{
    struct node_config config = {
        .server =
            {
                .connections_max = limits->connections_max,
                .idle_us = limits->idle_us,
                .request_us = limits->request_us,
                .stall_us = limits->stall_us,
            },
        .memory_max = limits->memory_max,
        .value_max = limits->value_max,
        .grace_us = limits->grace_us,
        .drain_us = limits->drain_us,
        .forget_us = limits->forget_us,
    };
    allow_list_private(&config.server.allow);
    return config;
}

static void host_init(struct process *process, unsigned number)
{
    struct cable_host *host = &process->host;
    snprintf(host->name, sizeof host->name, "n%u", number);
    host->ip[10] = host->ip[11] = 255;
    host->ip[12] = 10;
    host->ip[13] = (uint8_t)((number + 1) >> 8);
    host->ip[15] = (uint8_t)(number + 1);
    memcpy(process->address.ip, host->ip, sizeof host->ip);
    process->address.port = PROCESS_PORT;
}

void process_host(struct process *process, struct cables *cables, unsigned number)
{
    memset(process, 0, sizeof *process);
    process->world = cables->world;
    host_init(process, number);
    cable_host_add(cables, &process->host);
}

void process_move(struct process *process, unsigned time)
{
    process->host.ip[14] = (uint8_t)(16 + time % 200);
    memcpy(process->address.ip, process->host.ip, sizeof process->host.ip);
}

void process_take_ip(struct process *process, const uint8_t ip[16])
{
    memcpy(process->host.ip, ip, sizeof process->host.ip);
    memcpy(process->address.ip, ip, sizeof process->host.ip);
}

/* A process without a role. */
static void process_begin(struct process *process, struct cables *cables, unsigned number,
                          unsigned boot)
{
    io_sim_init(&process->io, cables, &process->host, number + (uint64_t)1000 * boot);
    process->io.on_wake = on_wake;
    process->io.owner = process;
    process->turn = (struct world_event){.run = on_turn};
    process->busy_until_us = process->stopped_us = process->paused_us = 0;
    process->still_until_us = 0;
    process->idle_turns = 0;
    process->draining = false;
    process->log = (struct log){
        .level = process->world->trace ? LOG_DEBUG_LEVEL : LOG_ERROR_LEVEL,
        .wall_us = log_wall_us,
        .clock = process,
        .write = log_write,
        .sink = process,
    };
    process->signal = (struct loop_timer){.on_time = on_signal};
    loop_init(&process->loop, &process->io.io);
    loop_timer_reserve(&process->loop);
}

static void process_go(struct process *process, int error)
{
    process->start_error = error;
    if (error && process->may_not_start)
        return;
    if (error)
        world_fail(process->world, "%s does not start: %d", process->host.name, error);
    process_plan(process);
    process_hasten(process, process->world->now_us);
}

void process_boot(struct process *process, struct cables *cables, const struct node_config *config,
                  unsigned number, unsigned boot)
{
    struct address address = {.port = PROCESS_PORT};
    process_begin(process, cables, number, boot);
    process->node = node_new(&process->loop, &process->log, config);
    process_go(process, process->node ? node_listen(process->node, &address, -1) : -ENOMEM);
}

void process_boot_frontend(struct process *process, struct cables *cables,
                           const struct frontend_config *config, unsigned number, unsigned boot)
{
    struct address address = {.port = PROCESS_PORT};
    process_begin(process, cables, number, boot);
    process->frontend = frontend_new(&process->loop, &process->log, config);
    process_go(process,
               process->frontend ? frontend_listen(process->frontend, &address, -1) : -ENOMEM);
}

void process_cli_limits(struct cli *cli, const struct limits *limits)
{
    typedef unsigned long long ull;
    const uint64_t second = 1000000;
    cli->stall_us = limits->stall_us;
    cli_option(cli, "listen", "10.0.3.77:9",
               rng_chance(&cli->rng, 500000) ? "[::]:%d" : "0.0.0.0:%d", PROCESS_PORT);
    cli_option(cli, "connections-max", "1", "%u", limits->connections_max);
    cli_option(cli, "idle-timeout", "1ms", "%llu", (ull)(limits->idle_us / second));
    cli_option(cli, "request-timeout", "1ms", "%llus", (ull)(limits->request_us / second));
    cli_option(cli, "drain-time", "1h", "%llums", (ull)(limits->drain_us / 1000));
    cli_option(cli, "value-max", "9", "%llu", (ull)limits->value_max);
    cli_option(cli, "log-level", "error", "debug");
    if (rng_chance(&cli->rng, 300000))
        cli_option(cli, "allow", "192.0.2.0/24", "10.0.0.0/8,127.0.0.1/32");
}

static void on_print(void *context, const char *text)
{
    struct process *process = context;
    world_trace(process->world, process->host.name, "says: %.*s", (int)strcspn(text, "\n"), text);
    bytes_add(&process->said, text, strlen(text));
}

static int boot_command(struct process *process, const struct config *config)
{
    process->command = (struct command){
        .loop = &process->loop,
        .resolver = &process->resolver.resolver,
        .options = config->command,
        .reshard = &config->reshard,
        .terminal = process->cli->terminal,
        .colours = process->cli->terminal,
        .print = on_print,
        .context = process,
        .exit = COMMAND_WRONG,
    };
    process->command_state = process->command_ops->start(&process->command);
    return process->command_state ? 0 : -ENOMEM;
}

static int boot_frontend(struct process *process, struct config *config)
{
    config->frontend.server.stall_us = process->cli->stall_us;
    process->frontend = frontend_new(&process->loop, &process->log, &config->frontend);
    return process->frontend ? frontend_listen(process->frontend, &config->listen, -1) : -ENOMEM;
}

static int boot_node(struct process *process, struct config *config)
{
    config->node.server.stall_us = process->cli->stall_us;
    process->node = node_new(&process->loop, &process->log, &config->node);
    return process->node ? node_listen(process->node, &config->listen, -1) : -ENOMEM;
}

void process_boot_cli(struct process *process, struct cables *cables, struct cli *cli,
                      unsigned number, unsigned boot)
{
    struct config *config = cli_parse(cli);
    process_begin(process, cables, number, boot);
    process->cli = cli;
    resolver_sim_init(&process->resolver, cables, &process->loop, number + (uint64_t)1000 * boot);
    process->resolver.sure = config->role != CONFIG_NODE;
    config->node.resolver = config->frontend.resolver = &process->resolver.resolver;
    process->command_ops = config_command_ops(config->role);
    if (process->command_ops)
        process_go(process, boot_command(process, config));
    else if (config->role == CONFIG_FRONTEND)
        process_go(process, boot_frontend(process, config));
    else
        process_go(process, boot_node(process, config));
}

void process_start(struct process *process, struct cables *cables, const struct limits *limits,
                   unsigned number)
{
    struct node_config config = process_config(limits);
    process_host(process, cables, number);
    process_boot(process, cables, &config, number, 0);
}

void process_pause(struct process *process, uint64_t until_us)
{
    if (until_us > process->busy_until_us)
        process->busy_until_us = process->still_until_us = until_us;
    if (process->turn.place)
        world_event_set(process->world, &process->turn, process->busy_until_us);
}

void process_close(struct process *process)
{
    if (process->node)
        node_destroy(process->node);
    if (process->frontend)
        frontend_destroy(process->frontend);
    if (process->command_state)
        process->command_ops->destroy(process->command_state);
    process->node = NULL;
    process->frontend = NULL;
    process->command_state = NULL;
}

void process_end(struct process *process)
{
    process_close(process);
    if (process->cli)
        resolver_sim_free(&process->resolver);
    loop_timer_release(&process->loop, &process->signal);
    loop_free(&process->loop);
    io_sim_free(&process->io);
    world_event_clear(process->world, &process->turn);
    bytes_free(&process->said);
    if (process->cli)
        cli_destroy(process->cli);
    process->cli = NULL;
}

void process_drain(struct process *process)
{
    process->draining = true;
    if (!world_mutates(process->world, MUTANT_ENDLESS_DRAIN, 1000000))
        loop_timer_set(&process->loop, &process->signal, process->loop.now_us);
    process_hasten(process, process->world->now_us);
}

unsigned process_members_up(const struct node *node)
{
    const struct members *members = cluster_list(node->cluster);
    unsigned up = 0;
    for (unsigned i = 0; i < members->count; i++)
        up += members->list[i]->state == MEMBER_HERE &&
              cluster_peer_figures(node->cluster, members->list[i]).is_up;
    return up;
}
