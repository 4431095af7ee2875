#include "net/server.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "net/client.h"

/* Batches */

static void batch_latency(struct server *server, uint64_t started_us)
{
    loop_update_time(server->loop);
    histogram_add(&server->counters.latency_us, server->loop->now_us - started_us,
                  server->request_count);
    server->counters.batches++;
}

/* Answers some runs from `first` on, as many as have SERVER_GROUP_MIN requests. Returns the next one. */
static unsigned server_run_group(struct server *server, unsigned first)
{
    unsigned end = first, requests = 0;
    while (end < server->run_count && requests < SERVER_GROUP_MIN)
        requests += server->runs[end++].count;
    server->service->on_group(server->service, server->requests + server->runs[first].first,
                              requests);
    for (unsigned run = first; run < end; run++)
        client_run(server, &server->runs[run]);
    return end;
}

void server_run_batch(struct server *server)
{
    uint64_t started_us = server->loop->now_us;
    if (server->request_count > 0) {
        server->service->on_batch(server->service, server->requests, server->request_count);
        for (unsigned run = 0; run < server->run_count;)
            run = server_run_group(server, run);
        batch_latency(server, started_us);
    }
    server->request_count = server->run_count = 0;
    server->input_used = server->scratch_used = 0;
}

static struct ready_clients *ready_of(struct client *client)
{
    return client->takes_long ? &client->server->ready_long : &client->server->ready;
}

void server_ready(struct client *client)
{
    struct server *server = client->server;
    if (client->in_ready)
        return;
    client->in_ready = true;
    client->takes_long = client->state == CLIENT_STREAMING || client_reads_direct(client);
    client->next_ready = NULL;
    struct ready_clients *ready = ready_of(client);
    *ready->end = client;
    ready->end = &client->next_ready;
    ready->count++;
    server->loop->again |= server->turn == server->loop->turns; /* its batches are over already */
}

static void server_unready(struct client *client)
{
    struct ready_clients *ready = ready_of(client);
    struct client **at = &ready->first;
    while (*at != client)
        at = &(*at)->next_ready;
    *at = client->next_ready;
    if (ready->end == &client->next_ready)
        ready->end = at;
    ready->count--;
    client->in_ready = false;
}

static bool server_has_ready(const struct server *server)
{
    return server->ready.first || server->ready_long.first;
}

static void server_go_on(struct client *client)
{
    server_unready(client);
    if (client->conn.state == CONN_OPEN && !conn_blocked(&client->conn))
        client_go_on(client);
    conn_resume(&client->conn);
}

/* Clients with something to go on with, as of now: all that ask for little, as each answer of a front-end's is one, and then of the
 * others as many as these have time for. What they leave is for the next pass. Returns whether there is time left. */
static bool server_run_ready(struct server *server)
{
    for (unsigned left = server->ready.count; left > 0 && server->ready.first; left--)
        server_go_on(server->ready.first);
    for (unsigned left = server->ready_long.count; left > 0 && server->ready_long.first; left--) {
        if (!loop_share_take(server->loop, &server->longs))
            return false;
        server_go_on(server->ready_long.first);
    }
    return true;
}

static void server_on_turn_end(struct loop_hook *hook)
{
    struct server *server = (struct server *)((char *)hook - offsetof(struct server, hook));
    server_run_batch(server);
    if (server_has_ready(server))
        loop_update_time(server->loop);
    bool going = true;
    for (int pass = 0; pass < SERVER_PASSES_PER_TURN && server_has_ready(server) && going; pass++) {
        going = server_run_ready(server);
        server_run_batch(server);
    }
    if (server->loop->now_us >= server->trim_us) {
        pool_trim(&server->exchanges);
        server->trim_us = server->loop->now_us + SERVER_TRIM_US;
    }
    server->turn = server->loop->turns;
    if (server_has_ready(server))
        server->loop->again = true;
}

/* Who may connect */

static void server_accept_resume(struct server *server)
{
    struct io *io = server->loop->io;
    if (server->accepting || server->fd < 0)
        return;
    server->accepting = true;
    loop_timer_clear(server->loop, &server->accept_timer);
    io->ops->rewatch(io, server->fd, IO_READ, &server->listener);
}

/* New clients wait in the backlog until there is room again. */
static void server_accept_pause(struct server *server)
{
    struct io *io = server->loop->io;
    server->counters.accept_failures++;
    log_condition(server->log, LOG_WARN_LEVEL, "accept-paused", "",
                  "connections=%u msg=\"out of file descriptors or memory; new clients wait\" "
                  "do=\"raise the limit of open files (LimitNOFILE), or lower --connections-max\"",
                  server->connections);
    server->accepting = false;
    io->ops->rewatch(io, server->fd, 0, &server->listener);
    loop_timer_set(server->loop, &server->accept_timer,
                   server->loop->now_us + SERVER_ACCEPT_PAUSE_US);
}

static void server_on_accept_time(struct loop_timer *timer)
{
    server_accept_resume((struct server *)((char *)timer - offsetof(struct server, accept_timer)));
}

static void server_add(struct server *server, struct client *client)
{
    client->previous = NULL;
    client->next = server->clients;
    if (client->next)
        client->next->previous = client;
    server->clients = client;
    server->connections++;
    server->counters.accepted++;
}

void server_forget(struct client *client)
{
    struct server *server = client->server;
    if (client->previous)
        client->previous->next = client->next;
    else
        server->clients = client->next;
    if (client->next)
        client->next->previous = client->previous;
    server->connections--;
    if (client->in_ready)
        server_unready(client);
    server_accept_resume(server);
}

static void server_tell_full(struct server *server)
{
    server->counters.refused_full++;
    log_condition(
        server->log, LOG_WARN_LEVEL, "connections-full", "",
        "connections=%u msg=\"new clients get 503\" do=\"raise --connections-max and the limit "
        "of open files (LimitNOFILE), or look for the client that opens so many\"",
        server->connections);
}

static void server_tell_stranger(struct server *server, const struct address *peer)
{
    char text[ADDRESS_TEXT_BYTES];
    server->counters.refused_network++;
    log_condition(server->log, LOG_WARN_LEVEL, "client-refused", "",
                  "address=%s msg=\"it is in no network that may connect\" do=\"add its network to "
                  "--allow, if it is one of yours\"",
                  address_format(peer, text));
}

static bool server_is_full(const struct server *server)
{
    return server->connections >= server->config.connections_max;
}

static bool is_fellow(const struct server *server, const struct address *address)
{
    struct service *service = server->service;
    return service->is_fellow && service->is_fellow(service, address);
}

static void server_admit(struct server *server, int fd, bool refused)
{
    struct client *client = client_new(server, fd);
    if (!client) {
        server->counters.accept_failures++;
        return;
    }
    server_add(server, client);
    if (!refused)
        return;
    server_tell_full(server);
    client_refuse(client, "This server has as many connections as it may (--connections-max).");
}

/* Returns 0 or -errno when there is nobody to accept. */
static int server_accept(struct server *server)
{
    struct io *io = server->loop->io;
    struct address peer;
    int fd = io->ops->accept(io, server->fd, &peer);
    if (fd < 0)
        return fd;
    bool allowed = allow_list_has(&server->config.allow, &peer);
    bool fellow = allowed && server_is_full(server) && is_fellow(server, &peer);
    uint32_t most = SERVER_REFUSED_MAX + (fellow ? SERVER_FELLOWS_MAX : 0);
    bool full = server->connections >= server->config.connections_max + most;
    if (allowed && !full) {
        server_admit(server, fd, server_is_full(server) && !fellow);
        return 0;
    }
    if (allowed)
        server_tell_full(server);
    else
        server_tell_stranger(server, &peer);
    io->ops->close(io, fd);
    return 0;
}

static void server_on_listener(struct loop_watcher *watcher, unsigned ready)
{
    struct server *server = (struct server *)((char *)watcher - offsetof(struct server, listener));
    (void)ready;
    while (server->accepting && loop_share_take(server->loop, &server->accepts)) {
        int error = server_accept(server);
        if (io_is_out_of_room(error))
            server_accept_pause(server);
        if (error == -EAGAIN)
            return;
    }
}

/* Life */

struct server *server_new(struct loop *loop, struct log *log, const struct server_config *config,
                          struct service *service)
{
    struct server *server = calloc(1, sizeof *server);
    if (!server || loop_timer_reserve(loop) != 0) {
        free(server);
        return NULL;
    }
    server->loop = loop;
    server->log = log;
    server->config = *config;
    server->service = service;
    http_reader_init(&server->reader);
    pool_init(&server->exchanges, sizeof(struct exchange));
    server->fd = -1;
    server->ready.end = &server->ready.first;
    server->ready_long.end = &server->ready_long.first;
    server->listener.on_ready = server_on_listener;
    server->accept_timer.on_time = server_on_accept_time;
    server->hook.on_turn_end = server_on_turn_end;
    server->input = malloc(SERVER_INPUT_BYTES);
    server->scratch = malloc((size_t)2 * SCRATCH_BYTES + SERVER_SCRATCH_ROOM);
    server->output.text = malloc(SERVER_TEXT_BYTES);
    loop_hook_add(loop, &server->hook);
    if (server->input && server->scratch && server->output.text)
        return server;
    server_destroy(server);
    return NULL;
}

/* A socket of systemd's is open there too, so that closing it here ends no watch. */
static void server_stop_listening(struct server *server)
{
    struct io *io = server->loop->io;
    if (server->fd >= 0) {
        io->ops->unwatch(io, server->fd);
        io->ops->close(io, server->fd);
    }
    server->fd = -1;
    server->accepting = false;
    loop_timer_clear(server->loop, &server->accept_timer);
}

void server_cut(struct server *server)
{
    while (server->clients)
        conn_close(&server->clients->conn);
}

void server_destroy(struct server *server)
{
    server_stop_listening(server);
    server_cut(server);
    loop_run_deferred(server->loop);
    loop_hook_remove(server->loop, &server->hook);
    loop_timer_release(server->loop, &server->accept_timer);
    pool_destroy(&server->exchanges);
    free(server->input);
    free(server->scratch);
    free(server->output.text);
    free(server);
}

int server_adopt(struct server *server, int fd)
{
    struct io *io = server->loop->io;
    int error = io->ops->watch(io, fd, IO_READ, &server->listener);
    if (error)
        return error;
    server->fd = fd;
    server->accepting = true;
    return 0;
}

int server_listen(struct server *server, struct address *address)
{
    struct io *io = server->loop->io;
    struct address bound;
    int fd = io->ops->listen(io, address, &bound);
    if (fd < 0)
        return fd;
    int error = server_adopt(server, fd);
    if (error)
        io->ops->close(io, fd);
    else
        *address = bound;
    return error;
}

/* Who is connected as the kernel and the client see it gets an answer, and not a reset. */
static void server_accept_rest(struct server *server)
{
    for (int i = 0; i < SERVER_ACCEPTS_LAST_MAX && server->accepting; i++) {
        int error = server_accept(server);
        if (error == -EAGAIN || io_is_out_of_room(error))
            return;
    }
}

void server_drain(struct server *server)
{
    server_accept_rest(server);
    server->draining = true;
    server_stop_listening(server);
    for (struct client *client = server->clients, *next; client; client = next) {
        next = client->next;
        client_drain(client);
    }
}

char *server_scratch(struct server *server)
{
    return server->scratch + server->scratch_used;
}

void server_scratch_use(struct server *server, size_t bytes)
{
    assert(bytes <= SERVER_SCRATCH_BYTES);
    server->scratch_used += bytes;
}

void request_remote(const struct request *request, struct address *address)
{
    struct io *io = request->server->loop->io;
    io->ops->remote(io, request->client->conn.fd, address);
}

uint32_t server_connections(const struct server *server)
{
    return server->connections;
}

uint32_t server_held(const struct server *server)
{
    return server->held;
}

const struct server_counters *server_counters(const struct server *server)
{
    return &server->counters;
}
