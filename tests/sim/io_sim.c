#include "io_sim.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { EPOCH_S = 1700000000 }; /* when worlds begin, about */

struct io_sim_socket {
    struct io_sim *io;
    struct cable_end *end;          /* NULL for a listener */
    struct cable_listener listener; /* used when end is NULL */
    int fd;
    bool watched;
    bool armed;    /* what is there to read was not told yet, or is to be told again: see IO_EDGE */
    uint64_t told; /* cable_news at the time */
    bool room_told;      /* that it is writable; no send has found too little room since */
    bool deaf, restless; /* by mutants */
    unsigned interest;
    void *data;
};

static struct io_sim *sim_of(struct io *io)
{
    return (struct io_sim *)io;
}

static struct io_sim_socket *socket_of(struct io *io, int fd)
{
    struct io_sim *sim = sim_of(io);
    assert(fd >= IO_SIM_FILES_FIRST && fd < sim->room && sim->sockets[fd]);
    return sim->sockets[fd];
}

/* Clocks and entropy */

static uint64_t sim_monotonic_us(struct io *io)
{
    return sim_of(io)->start_us + sim_of(io)->world->now_us;
}

uint64_t io_sim_wall_us(const struct io_sim *io)
{
    return io->frozen_us ? io->frozen_us
                         : io->world->now_us + io->steps[io->step_count - 1].offset_us;
}

void io_sim_freeze(struct io_sim *io)
{
    io->frozen_us = io_sim_wall_us(io);
}

void io_sim_thaw(struct io_sim *io, bool catches_up)
{
    uint64_t stood_us = io->frozen_us;
    io->frozen_us = 0;
    if (!catches_up)
        io_sim_step(io, (int64_t)(stood_us - io_sim_wall_us(io)));
}

static uint64_t sim_wall_us(struct io *io)
{
    return io_sim_wall_us(sim_of(io));
}

void io_sim_step(struct io_sim *io, int64_t by_us)
{
    uint64_t offset_us = io->steps[io->step_count - 1].offset_us + (uint64_t)by_us;
    world_trace(io->world, io->host->name, "wall clock steps by %lld us", (long long)by_us);
    if (io->step_count < IO_SIM_STEPS_MAX)
        io->steps[io->step_count++] = (struct io_sim_step){io->world->now_us, offset_us};
}

void io_sim_wall_range(const struct io_sim *io, uint64_t from_us, uint64_t to_us,
                       uint64_t *least_us, uint64_t *most_us)
{
    *least_us = UINT64_MAX;
    *most_us = 0;
    for (unsigned i = 0; i < io->step_count; i++) {
        uint64_t begin = io->steps[i].at_us;
        uint64_t end = i + 1 < io->step_count ? io->steps[i + 1].at_us : UINT64_MAX;
        if (end < from_us || begin > to_us)
            continue;
        begin = begin > from_us ? begin : from_us;
        end = end < to_us ? end : to_us;
        if (begin + io->steps[i].offset_us < *least_us)
            *least_us = begin + io->steps[i].offset_us;
        if (end + io->steps[i].offset_us > *most_us)
            *most_us = end + io->steps[i].offset_us;
    }
}

static void sim_random(struct io *io, void *out, size_t bytes)
{
    struct io_sim *sim = sim_of(io);
    unsigned char *at = out;
    for (size_t i = 0; i < bytes; i++)
        at[i] = (unsigned char)rng_next(&sim->entropy);
}

/* Numbers of sockets: the lowest free one, as Unix does, so that numbers come again soon. */

enum { WORD_BITS = 64 };

static void stir(struct io_sim_socket *socket)
{
    socket->io->stirred[socket->fd / WORD_BITS] |= (uint64_t)1 << socket->fd % WORD_BITS;
}

static void settle(struct io_sim_socket *socket)
{
    socket->io->stirred[socket->fd / WORD_BITS] &= ~((uint64_t)1 << socket->fd % WORD_BITS);
}

/* The first number from `fd` on whose socket may be ready; `top` when there is none. */
static int stirred_from(const struct io_sim *io, int fd)
{
    while (fd < io->top) {
        uint64_t word = io->stirred[fd / WORD_BITS] >> fd % WORD_BITS;
        if (word)
            return fd + __builtin_ctzll(word);
        fd += WORD_BITS - fd % WORD_BITS;
    }
    return io->top;
}

static void stirred_grow(struct io_sim *io, int room)
{
    size_t had = (size_t)(io->room / WORD_BITS), words = (size_t)(room / WORD_BITS) + 1;
    io->stirred = realloc(io->stirred, words * sizeof *io->stirred);
    if (!io->stirred)
        abort();
    memset(io->stirred + had, 0, (words - had) * sizeof *io->stirred);
}

static void wake(struct io_sim_socket *socket)
{
    struct io_sim *io = socket->io;
    stir(socket);
    if (io->on_wake)
        io->on_wake(io);
}

static void on_end_change(struct cable_end *end)
{
    wake(end->owner);
}

static void on_listener_change(struct cable_listener *listener)
{
    wake(listener->owner);
}

static bool files_are_out(const struct io_sim *io)
{
    return io->faults->files_max && io->open_count >= io->faults->files_max;
}

static struct io_sim_socket *socket_add(struct io_sim *io, struct cable_end *end)
{
    int fd = IO_SIM_FILES_FIRST;
    while (fd < io->room && io->sockets[fd])
        fd++;
    if (fd >= io->room) {
        int room = io->room ? io->room * 2 : WORD_BITS;
        io->sockets = realloc(io->sockets, (size_t)room * sizeof(struct io_sim_socket *));
        if (!io->sockets)
            abort();
        memset(io->sockets + io->room, 0,
               (size_t)(room - io->room) * sizeof(struct io_sim_socket *));
        stirred_grow(io, room);
        io->room = room;
    }
    struct io_sim_socket *socket = calloc(1, sizeof *socket);
    if (!socket)
        abort();
    *socket = (struct io_sim_socket){.io = io, .end = end, .fd = fd};
    io->sockets[fd] = socket;
    if (fd >= io->top)
        io->top = fd + 1;
    io->open_count++;
    io->progress++;
    if (end) {
        end->owner = socket;
        end->on_change = on_end_change;
    }
    return socket;
}

static void socket_remove(struct io_sim_socket *socket)
{
    struct io_sim *io = socket->io;
    settle(socket);
    io->sockets[socket->fd] = NULL;
    while (io->top > 0 && !io->sockets[io->top - 1])
        io->top--;
    io->open_count--;
    io->progress++;
    free(socket);
}

/* Listening and calling */

static int sim_listen(struct io *io, const struct address *address, struct address *bound)
{
    struct io_sim *sim = sim_of(io);
    struct io_sim_socket *socket = socket_add(sim, NULL);
    int error = cable_listen(sim->cables, sim->host, &socket->listener, address->port);
    if (error) {
        socket_remove(socket);
        return error;
    }
    socket->listener.owner = socket;
    socket->listener.on_change = on_listener_change;
    *bound = *address;
    bound->port = socket->listener.port;
    return socket->fd;
}

/* A fault of accept: -errno, or 0 for none. */
static int accept_fault(struct io_sim *sim, struct cable_listener *listener)
{
    static const int errors[] = {EMFILE, ENFILE, ENOMEM, ENOBUFS};
    if (rng_chance(&sim->chance, sim->faults->accept_failure_ppm)) {
        sim->world->counts.faults++;
        return -errors[rng_below(&sim->chance, 4)];
    }
    if (rng_chance(&sim->chance, sim->faults->accept_abort_ppm)) {
        struct cable_end *end = cable_accept(listener);
        sim->world->counts.faults++;
        sim->progress++;
        end->cable->troubled = true;
        cable_abort(end);
        return -ECONNABORTED;
    }
    return 0;
}

static int sim_accept(struct io *io, int fd, struct address *peer)
{
    struct io_sim *sim = sim_of(io);
    struct io_sim_socket *socket = socket_of(io, fd);
    assert(!socket->end);
    if (socket->listener.waiting_count == 0)
        return -EAGAIN;
    if (files_are_out(sim)) {
        sim->world->counts.faults++;
        return -EMFILE;
    }
    int error = accept_fault(sim, &socket->listener);
    if (error)
        return error;
    struct cable_end *end = cable_accept(&socket->listener);
    memcpy(peer->ip, cable_peer(end)->host->ip, sizeof peer->ip);
    peer->port = cable_peer(end)->port;
    return socket_add(sim, end)->fd;
}

static int sim_connect(struct io *io, const struct address *address)
{
    struct io_sim *sim = sim_of(io);
    if (files_are_out(sim)) {
        sim->world->counts.faults++;
        return -EMFILE;
    }
    return socket_add(sim, cable_connect(sim->cables, sim->host, address))->fd;
}

static void sim_remote(struct io *io, int fd, struct address *address)
{
    struct cable_end *peer = cable_peer(socket_of(io, fd)->end);
    *address = (struct address){0};
    if (peer->host)
        memcpy(address->ip, peer->host->ip, sizeof address->ip);
    address->port = peer->port;
}

/* Reading and writing */

static ssize_t sim_recv(struct io *io, int fd, void *out, size_t bytes)
{
    struct io_sim *sim = sim_of(io);
    struct io_sim_socket *socket = socket_of(io, fd);
    assert(bytes > 0);
    if (bytes > 1 && rng_chance(&sim->chance, sim->faults->short_read_ppm)) {
        bytes = (size_t)rng_spread(&sim->chance, 1, bytes - 1);
        socket->armed = true; /* as if the rest had come just after */
    }
    ssize_t got = cable_recv(socket->end, out, bytes);
    sim->progress += got != -EAGAIN;
    return got;
}

static size_t iov_bytes(const struct iovec *pieces, int count)
{
    size_t bytes = 0;
    for (int i = 0; i < count; i++)
        bytes += pieces[i].iov_len;
    return bytes;
}

static ssize_t sim_send(struct io *io, int fd, const struct iovec *pieces, int count)
{
    struct io_sim *sim = sim_of(io);
    struct io_sim_socket *socket = socket_of(io, fd);
    size_t bytes = iov_bytes(pieces, count);
    assert(bytes > 0);
    if (bytes > 1 && rng_chance(&sim->chance, sim->faults->short_write_ppm))
        bytes = (size_t)rng_spread(&sim->chance, 1, bytes - 1);
    ssize_t sent = cable_send(socket->end, pieces, count, bytes);
    sim->progress += sent != -EAGAIN;
    socket->room_told &= sent == (ssize_t)iov_bytes(pieces, count);
    if (sent == -EAGAIN && world_mutates(sim->world, MUTANT_BLOCKED, 200000))
        socket->deaf = true;
    return sent;
}

static void sim_shutdown(struct io *io, int fd)
{
    sim_of(io)->progress++;
    cable_shutdown(socket_of(io, fd)->end);
    stir(socket_of(io, fd));
}

static void sim_close(struct io *io, int fd)
{
    struct io_sim *sim = sim_of(io);
    struct io_sim_socket *socket = socket_of(io, fd);
    if (!socket->end)
        cable_listen_end(&socket->listener);
    else
        cable_close(socket->end);
    socket_remove(socket);
    if (world_mutates(sim->world, MUTANT_LEAK, 10000))
        sim->open_count++;
}

/* Readiness */

/* What a wait reports of a socket. */
static unsigned socket_ready(const struct io_sim_socket *socket)
{
    unsigned ready;
    if (!socket || !socket->watched)
        return 0;
    if (socket->end)
        ready = cable_ready(socket->end);
    else
        ready = socket->listener.waiting_count ? IO_READ : 0;
    if (socket->end && socket->interest & IO_EDGE && !socket->armed &&
        socket->told == cable_news(socket->end))
        ready &= socket->room_told ? 0 : IO_WRITE;
    if (socket->deaf)
        ready = 0;
    if (socket->restless)
        ready = IO_READ;
    return ready & (socket->interest | IO_BROKEN | (socket->interest & IO_EDGE ? IO_ENDED : 0));
}

static void watch_as(struct io_sim_socket *socket, unsigned interest, void *data)
{
    socket->armed = true;
    socket->room_told = false;
    socket->interest = interest;
    socket->data = data;
    if (socket_ready(socket))
        wake(socket);
}

static int sim_watch(struct io *io, int fd, unsigned interest, void *data)
{
    struct io_sim *sim = sim_of(io);
    struct io_sim_socket *socket = socket_of(io, fd);
    assert(!socket->watched);
    if (socket->end && rng_chance(&sim->chance, sim->faults->watch_failure_ppm)) {
        sim->world->counts.faults++;
        socket->end->cable->troubled = true;
        return rng_chance(&sim->chance, 500000) ? -ENOMEM : -ENOSPC;
    }
    socket->watched = true;
    watch_as(socket, interest, data);
    return 0;
}

static void sim_rewatch(struct io *io, int fd, unsigned interest, void *data)
{
    struct io_sim_socket *socket = socket_of(io, fd);
    assert(socket->watched);
    watch_as(socket, interest, data);
}

static void sim_unwatch(struct io *io, int fd)
{
    struct io_sim_socket *socket = socket_of(io, fd);
    assert(socket->watched);
    socket->watched = false;
}

static int next_socket(const struct io_sim *io, int fd)
{
    return io->many ? stirred_from(io, fd) : fd;
}

bool io_sim_ready(const struct io_sim *io)
{
    for (int fd = next_socket(io, IO_SIM_FILES_FIRST); fd < io->top; fd = next_socket(io, fd + 1)) {
        if (socket_ready(io->sockets[fd]))
            return true;
        if (io->sockets[fd])
            settle(io->sockets[fd]);
    }
    return false;
}

static void socket_mutate(struct io_sim *sim, struct io_sim_socket *socket)
{
    if (socket->end && world_mutates(sim->world, MUTANT_DEAF, 2000))
        socket->deaf = true;
    if (socket->end && world_mutates(sim->world, MUTANT_RESTLESS, 2000))
        socket->restless = true;
    if (socket->end && world_mutates(sim->world, MUTANT_CUT_OFF, 2000))
        cable_shutdown(socket->end);
}

/* Events come in any order. */
static void events_shuffle(struct io_sim *sim, struct io_event *events, int count)
{
    for (int i = count - 1; i > 0; i--) {
        int j = (int)rng_below(&sim->chance, (uint64_t)i + 1);
        struct io_event event = events[i];
        events[i] = events[j];
        events[j] = event;
    }
}

static void socket_tell(struct io_sim_socket *socket, struct io_event *event, unsigned ready)
{
    *event = (struct io_event){socket->data, ready};
    socket->armed = false;
    socket->room_told |= ready & IO_WRITE;
    if (socket->end)
        socket->told = cable_news(socket->end);
}

static int sim_wait(struct io *io, struct io_event *events, int max, int64_t timeout_us)
{
    struct io_sim *sim = sim_of(io);
    int count = 0;
    (void)timeout_us; /* the world's events are what time waits for */
    sim->reported = false;
    if (rng_chance(&sim->chance, sim->faults->interrupt_ppm)) {
        sim->world->counts.interrupted++;
        return 0;
    }
    for (int fd = next_socket(sim, IO_SIM_FILES_FIRST); fd < sim->top && count < max;
         fd = next_socket(sim, fd + 1)) {
        struct io_sim_socket *socket = sim->sockets[fd];
        if (!socket || !socket->watched)
            continue;
        unsigned ready = socket_ready(socket);
        if (!ready)
            settle(socket);
        sim->reported |=
            ready != 0; /* what is said by mistake may be said of somebody in each turn */
        if (!ready && socket->interest && rng_chance(&sim->chance, sim->faults->false_ready_ppm))
            ready = socket->interest & (IO_READ | IO_WRITE);
        if (ready)
            socket_tell(socket, &events[count++], ready);
        socket_mutate(sim, socket);
    }
    events_shuffle(sim, events, count);
    return count;
}

static const struct io_ops io_sim_ops = {
    .monotonic_us = sim_monotonic_us,
    .wall_us = sim_wall_us,
    .random = sim_random,
    .listen = sim_listen,
    .accept = sim_accept,
    .connect = sim_connect,
    .remote = sim_remote,
    .recv = sim_recv,
    .send = sim_send,
    .shutdown = sim_shutdown,
    .close = sim_close,
    .watch = sim_watch,
    .rewatch = sim_rewatch,
    .unwatch = sim_unwatch,
    .wait = sim_wait,
};

/* Life */

void io_sim_init(struct io_sim *io, struct cables *cables, struct cable_host *host, uint64_t stream)
{
    memset(io, 0, sizeof *io);
    io->io.ops = &io_sim_ops;
    io->world = cables->world;
    io->cables = cables;
    io->faults = cables->faults;
    io->host = host;
    uint64_t again = io->world->mutant == MUTANT_CHANCE ? io->world->run : 0;
    rng_seed(&io->chance, io->world->seed + again, 0x6368616e6365 + stream);
    rng_seed(&io->entropy, io->world->seed, 0x656e74726f7079 + stream);
    io->start_us = rng_below(&io->chance, (uint64_t)1 << 40);
    io->steps[0].offset_us = (uint64_t)EPOCH_S * 1000000 + rng_below(&io->chance, 10000000);
    io->step_count = 1;
}

void io_sim_free(struct io_sim *io)
{
    for (int fd = IO_SIM_FILES_FIRST; fd < io->room; fd++)
        if (io->sockets[fd])
            sim_close(&io->io, fd);
    free(io->sockets);
    free(io->stirred);
    io->sockets = NULL;
    io->stirred = NULL;
    io->room = 0;
}

struct cable_end *io_sim_end(struct io *io, int fd)
{
    return socket_of(io, fd)->end;
}

void io_sim_break(struct io *io, int fd, int error)
{
    cable_break(socket_of(io, fd)->end->cable, error);
}

unsigned io_sim_connections(const struct io_sim *io)
{
    unsigned listeners = 0;
    for (int fd = IO_SIM_FILES_FIRST; fd < io->room; fd++)
        listeners += io->sockets[fd] && !io->sockets[fd]->end;
    return io->open_count - listeners;
}
