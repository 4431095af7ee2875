#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"
#include "net/io_epoll.h"
#include "net/resolver_ares.h"
#include "version.h"

enum {
    STATUS_US = 1000 * 1000, /* how often systemd is told how it goes, when that has changed */
    FILES_RESERVED = 64,     /* file descriptors that are not for clients */
    FILES_PART_UPSTREAM = 8, /* the same of a front-end, as a part of all */
    FILES_PART_FELLOWS = 4,  /* the same of a node, but no more than */
    FILES_FELLOWS_MAX = 704,
    CONNECTIONS_MAX_DEFAULT = 65000,
};
static_assert(FILES_FELLOWS_MAX == FILES_RESERVED + SERVER_REFUSED_MAX + 2 * SERVER_FELLOWS_MAX,
              "there is room for who is told no, and for fellows both ways");

enum { EXIT_USAGE = 2 };

/* All that lives as long as the process. */
struct world {
    struct io *io;
    struct loop loop;
    struct log log;
    struct config config;
    struct resolver *resolver;
    struct node *node; /* this, or one of the next two, by the role */
    struct frontend *frontend;
    struct command command; /* or a command, which ends by itself */
    const struct command_ops *command_ops;
    void *command_state;
    int print_error; /* the last one of what the command has to say */
    bool unread;     /* nobody reads that any more */
    struct loop_watcher signals;
    struct loop_timer watchdog, status;
    bool told_ready;
    char told_status[256]; /* what systemd was told last */
};

static uint64_t world_wall_us(void *clock)
{
    struct io *io = clock;
    return io->ops->wall_us(io);
}

/* Returns 0 or -errno. */
static int print(const char *text)
{
    return fputs(text, stdout) < 0 || fflush(stdout) != 0 ? -errno : 0;
}

static void command_on_print(void *context, const char *text)
{
    struct world *world = context;
    int error = print(text);
    bool hung_up = error == -EIO && world->command.terminal && world->command.options.watch;
    if (error == -EPIPE || hung_up)
        world->unread = world->loop.stopped = true;
    else if (error)
        world->print_error = error;
}

/* The role's own part of each step of a life. */

static bool command_new(struct world *world)
{
    bool terminal = isatty(STDOUT_FILENO);
    const char *no_color = getenv("NO_COLOR"); /* https://no-color.org */
    world->command = (struct command){
        .loop = &world->loop,
        .resolver = world->resolver,
        .options = world->config.command,
        .reshard = &world->config.reshard,
        .terminal = terminal,
        .colours = terminal && !(no_color && *no_color),
        .print = command_on_print,
        .context = world,
        .exit = COMMAND_WRONG,
    };
    world->command_state = world->command_ops->start(&world->command);
    return world->command_state;
}

static bool role_new(struct world *world)
{
    struct config *config = &world->config;
    world->command_ops = config_command_ops(config->role);
    if (world->command_ops)
        return command_new(world);
    if (config->role == CONFIG_FRONTEND)
        world->frontend = frontend_new(&world->loop, &world->log, &config->frontend);
    else
        world->node = node_new(&world->loop, &world->log, &config->node);
    return world->frontend || world->node;
}

static void role_destroy(struct world *world)
{
    if (world->command_ops && world->command_state)
        world->command_ops->destroy(world->command_state);
    if (world->frontend)
        frontend_destroy(world->frontend);
    if (world->node)
        node_destroy(world->node);
}

static int role_listen(struct world *world, struct address *address, int inherited)
{
    return world->frontend ? frontend_listen(world->frontend, address, inherited)
                           : node_listen(world->node, address, inherited);
}

static void role_drain(struct world *world)
{
    if (world->command_ops)
        world->command_ops->stop(world->command_state);
    else if (world->frontend)
        frontend_drain(world->frontend);
    else
        node_drain(world->node);
}

static bool role_is_draining(const struct world *world)
{
    if (world->command_ops)
        return false;
    return world->frontend ? frontend_is_draining(world->frontend) : node_is_draining(world->node);
}

static char *role_summary(const struct world *world, char *out, size_t room)
{
    return world->frontend ? frontend_summary(world->frontend, out, room)
                           : node_summary(world->node, out, room);
}

static void tell_status(struct world *world)
{
    char text[sizeof world->told_status] = "STATUS=";
    role_summary(world, text + 7, sizeof text - 7);
    if (strcmp(text, world->told_status) != 0 && io_epoll_notify(world->io, text))
        memcpy(world->told_status, text, sizeof text);
}

/* While much starts at once systemd may have no room for it; who was not ready in time is killed. */
static void tell_ready(struct world *world)
{
    if (!world->told_ready && !role_is_draining(world))
        world->told_ready = io_epoll_notify(world->io, "READY=1");
}

static void on_status(struct loop_timer *timer)
{
    struct world *world = (struct world *)((char *)timer - offsetof(struct world, status));
    tell_ready(world);
    tell_status(world);
    loop_timer_set(&world->loop, timer, world->loop.now_us + STATUS_US);
}

static void on_watchdog(struct loop_timer *timer)
{
    struct world *world = (struct world *)((char *)timer - offsetof(struct world, watchdog));
    io_epoll_notify(world->io, "WATCHDOG=1");
    loop_timer_set(&world->loop, timer, world->loop.now_us + io_epoll_watchdog_us(world->io));
}

/* The first SIGTERM or SIGINT drains, the second one does not wait for it. A command whose terminal is closed stops, too. */
static void world_stop(struct world *world, int number, bool again)
{
    log_event(&world->log, LOG_INFO_LEVEL, "signal", "signal=%s",
              number == SIGTERM  ? "SIGTERM"
              : number == SIGINT ? "SIGINT"
                                 : "SIGHUP");
    if (again) {
        world->loop.stopped = true;
        return;
    }
    io_epoll_notify(world->io, "STOPPING=1");
    role_drain(world);
}

static void on_signals(struct loop_watcher *watcher, unsigned ready)
{
    struct world *world = (struct world *)((char *)watcher - offsetof(struct world, signals));
    (void)ready;
    for (int number; (number = io_epoll_next_signal(world->io));)
        if (number == SIGHUP && !world->command_ops)
            log_event(&world->log, LOG_INFO_LEVEL, "signal",
                      "signal=SIGHUP msg=\"there is nothing to reload\"");
        else
            world_stop(world, number, role_is_draining(world));
}

static uint32_t connections_max(uint64_t files, uint64_t reserved)
{
    uint64_t most = files > 2 * reserved ? files - reserved : reserved;
    return (uint32_t)(most < CONNECTIONS_MAX_DEFAULT ? most : CONNECTIONS_MAX_DEFAULT);
}

/* Those of a node that are not for clients: for who is told no, and for fellows, both ways. */
static uint64_t files_for_fellows(uint64_t files)
{
    uint64_t part = files / FILES_PART_FELLOWS;
    if (part > FILES_FELLOWS_MAX)
        return FILES_FELLOWS_MAX;
    return part > FILES_RESERVED ? part : FILES_RESERVED;
}

/* Limits that follow from the machine, unless they were given. The table gets what is left of the memory beside the
 * program itself; a front-end needs files for its connections to nodes. */
static void fill_in_limits(struct config *config)
{
    struct node_config *node = &config->node;
    struct frontend_config *frontend = &config->frontend;
    uint64_t files = io_epoll_files_max(), part = files / FILES_PART_UPSTREAM;
    if (!config->memory_max_given)
        node->memory_max = io_epoll_memory_bytes() / 4 * 3;
    node->memory_own = io_epoll_resident_bytes() + NODE_FIXED_BYTES;
    if (!config->connections_max_given) {
        node->server.connections_max = connections_max(files, files_for_fellows(files));
        frontend->server.connections_max =
            connections_max(files, part > FILES_RESERVED ? part : FILES_RESERVED);
    }
    node->resident_bytes = frontend->resident_bytes = io_epoll_resident_bytes;
    node->cpu_us = frontend->cpu_us = io_epoll_cpu_us;
    node->files_max = frontend->files_max = io_epoll_files_max;
}

/* Who has asked for any port is told which one it is, whatever --log-level is. */
static void tell_listening(struct world *world, const struct address *address)
{
    char text[ADDRESS_TEXT_BYTES];
    enum log_level level = world->log.level;
    if (world->config.listen.port == 0 && level < LOG_INFO_LEVEL)
        world->log.level = LOG_INFO_LEVEL;
    log_event(&world->log, LOG_INFO_LEVEL, "listening", "address=%s version=" VELOUR_FOG_VERSION,
              address_format(address, text));
    world->log.level = level;
}

static int world_listen(struct world *world)
{
    char text[ADDRESS_TEXT_BYTES];
    struct address address = world->config.listen;
    int inherited = io_epoll_inherited_listener(world->io, &address);
    bool broken = inherited < 0 && inherited != -ENOENT;
    int error = broken ? inherited : role_listen(world, &address, inherited);
    if (inherited == -EINVAL)
        fprintf(stderr, "velour-fog: what LISTEN_FDS hands over is no listening TCP socket.\n");
    else if (inherited == -E2BIG)
        fprintf(stderr, "velour-fog: LISTEN_FDS hands over several sockets, and one can be served; "
                        "leave one ListenStream= in the socket unit.\n");
    else if (error == -EADDRINUSE)
        fprintf(stderr,
                "velour-fog: %s is in use by another program; choose another with --listen.\n",
                address_format(&address, text));
    else if (error)
        fprintf(stderr, "velour-fog: cannot listen on %s: %s.\n", address_format(&address, text),
                strerror(-error));
    else
        tell_listening(world, &address);
    return error;
}

static int world_start(struct world *world)
{
    world->io = io_epoll_new();
    if (!world->io)
        return -errno;
    if (!config_command_ops(world->config.role)) /* a command has what it says to one person */
        io_epoll_unblock_stderr();
    world->log = (struct log){.level = world->config.log_level,
                              .journald = io_epoll_stderr_is_journal(),
                              .wall_us = world_wall_us,
                              .clock = world->io,
                              .write = io_epoll_write_stderr};
    if (world->config.reuse_port)
        io_epoll_reuse_ports(world->io);
    loop_init(&world->loop, world->io);
    fill_in_limits(&world->config);
    world->signals.on_ready = on_signals;
    world->status.on_time = on_status;
    world->watchdog.on_time = on_watchdog;
    for (int timers = 0; timers < 2; timers++)
        if (loop_timer_reserve(&world->loop) != 0)
            return -ENOMEM;
    world->resolver = resolver_ares_new(&world->loop, NULL);
    if (!world->resolver)
        return -ENOMEM;
    world->config.node.resolver = world->config.frontend.resolver = world->resolver;
    if (!role_new(world))
        return -ENOMEM;
    return io_epoll_watch_signals(world->io, &world->signals);
}

static void world_serve(struct world *world)
{
    tell_ready(world);
    tell_status(world);
    loop_timer_set(&world->loop, &world->status, world->loop.now_us + STATUS_US);
    if (io_epoll_watchdog_us(world->io))
        on_watchdog(&world->watchdog);
    loop_run(&world->loop);
    log_event(&world->log, LOG_INFO_LEVEL, "stopped", "%s", "");
}

/* It serves nobody, and ends by itself. Returns the exit code. */
static int world_command(struct world *world)
{
    if (!world->command.over)
        loop_run(&world->loop);
    if (world->unread && !world->command.over)
        world->command_ops->stop(world->command_state);
    if (*world->command.failure)
        fprintf(stderr, "velour-fog: %s\n", world->command.failure);
    if (world->print_error && world->command.exit == COMMAND_FINE) {
        fprintf(stderr, "velour-fog: cannot print: %s.\n", strerror(-world->print_error));
        return COMMAND_WRONG;
    }
    return (int)world->command.exit;
}

static void world_end(struct world *world)
{
    role_destroy(world);
    if (world->resolver)
        resolver_ares_destroy(world->resolver);
    if (world->io) {
        loop_free(&world->loop);
        io_epoll_destroy(world->io);
    }
}

static int world_run(struct world *world)
{
    int error = world_start(world), code = EXIT_SUCCESS;
    if (error)
        fprintf(stderr, "velour-fog: cannot start: %s.\n", strerror(-error));
    else if (world->command_ops)
        code = world_command(world);
    else
        error = world_listen(world);
    if (!error && !world->command_ops)
        world_serve(world);
    world_end(world);
    return error ? EXIT_FAILURE : code;
}

/* Else the next file or connection that is opened gets the number of one that was closed, and what is said there goes to it. Writing fails
 * as it would without this. */
static void fill_standard_files(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDONLY);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

int main(int argc, char **argv)
{
    struct world world = {0};
    fill_standard_files();
    if (config_parse(&world.config, argc, argv, getenv) != 0) {
        fprintf(stderr, "velour-fog: %s\n", world.config.error);
        return EXIT_USAGE;
    }
    switch (world.config.action) {
    case CONFIG_HELP:
        return print(config_help(world.config.role)) ? EXIT_FAILURE : EXIT_SUCCESS;
    case CONFIG_VERSION:
        return print("velour-fog " VELOUR_FOG_VERSION "\n") ? EXIT_FAILURE : EXIT_SUCCESS;
    case CONFIG_RUN:
        break;
    }
    return world_run(&world);
}
