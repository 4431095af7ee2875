#include "fake_io.h"

#include <errno.h>

#include "failing.h"
#include "unit.h"

enum { FD_FIRST = 3 };

static struct fake_io *fake_of(struct io *io)
{
    return (struct fake_io *)io;
}

struct fake_socket *fake_socket(struct fake_io *io, int fd)
{
    check(fd >= FD_FIRST && fd < io->count, "no socket %d", fd);
    return io->sockets[fd];
}

static struct fake_socket *open_socket(struct io *io, int fd, const char *call)
{
    struct fake_socket *socket = fake_socket(fake_of(io), fd);
    check(socket->open && !socket->waiting, "%s on a socket that is not open", call);
    return socket;
}

/* Memory of the test itself: never made to fail. */
static void *more(void *old, size_t bytes)
{
    failing_pause();
    void *memory = realloc(old, bytes);
    failing_resume();
    assert_non_null(memory);
    return memory;
}

static void append(char **data, size_t *len, size_t *room, const void *bytes, size_t count)
{
    if (*len + count > *room) {
        *room = 2 * (*len + count);
        *data = more(*data, *room);
    }
    if (count)
        memcpy(*data + *len, bytes, count);
    *len += count;
}

/* How far the next call goes: `usual`, or what the next step says. */
static ssize_t step(struct fake_steps *steps, ssize_t usual)
{
    if (steps->at == steps->count)
        return usual;
    ssize_t next = steps->steps[steps->at++];
    return next < 0 || next < usual || usual < 0 ? next : usual;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* The functions of struct io_ops */

static uint64_t fake_monotonic_us(struct io *io)
{
    return fake_of(io)->now_us += fake_of(io)->tick_us;
}

static uint64_t fake_wall_us(struct io *io)
{
    return fake_of(io)->now_us + fake_of(io)->wall_ahead_us;
}

static void fake_random(struct io *io, void *out, size_t bytes)
{
    struct chance chance = {fake_of(io)->entropy++};
    for (size_t i = 0; i < bytes; i++)
        ((char *)out)[i] = (char)chance_next(&chance);
}

static int fake_listen(struct io *io, const struct address *address, struct address *bound)
{
    if (fake_of(io)->listen_error)
        return fake_of(io)->listen_error;
    int fd = fake_socket_new(fake_of(io));
    fake_socket(fake_of(io), fd)->listening = true;
    *bound = *address;
    if (bound->port == 0)
        bound->port = 4711;
    return fd;
}

static int fake_accept(struct io *io, int listener, struct address *peer)
{
    struct fake_io *fake = fake_of(io);
    assert_true(open_socket(io, listener, "accept")->listening);
    if (fake->accept_error)
        return fake->accept_error;
    for (int fd = FD_FIRST; fd < fake->count; fd++)
        if (fake->sockets[fd]->waiting) {
            fake->sockets[fd]->waiting = false;
            *peer = fake->sockets[fd]->peer;
            return fd;
        }
    return -EAGAIN;
}

static int fake_call(struct io *io, const struct address *address)
{
    struct fake_io *fake = fake_of(io);
    check(fake->may_connect, "nobody should connect here");
    if (fake->connect_error)
        return fake->connect_error;
    int fd = fake_socket_new(fake);
    fake_socket(fake, fd)->peer = *address;
    return fd;
}

static void fake_remote(struct io *io, int fd, struct address *address)
{
    *address = open_socket(io, fd, "remote")->peer;
}

static ssize_t fake_recv(struct io *io, int fd, void *out, size_t bytes)
{
    struct fake_socket *socket = open_socket(io, fd, "recv");
    size_t here = socket->in_len - socket->in_taken;
    ssize_t usual = (ssize_t)least(least(here, bytes), socket->recv_max);
    assert_true(bytes > 0);
    socket->recvs++;
    fake_of(io)->now_us += fake_of(io)->recv_us;
    if (here == 0)
        usual = socket->in_error ? socket->in_error : socket->in_ended ? 0 : -EAGAIN;
    ssize_t got = step(&socket->recv_steps, usual);
    socket->armed |=
        got > 0 && (size_t)got < least(here, bytes); /* as if the rest had come just after */
    if (got <= 0)
        return got;
    check((size_t)got <= here, "a step of recv wants bytes that were not fed");
    if (out)
        memcpy(out, socket->in + socket->in_taken, (size_t)got);
    socket->in_taken += (size_t)got;
    return got;
}

static ssize_t fake_send(struct io *io, int fd, const struct iovec *pieces, int count)
{
    struct fake_socket *socket = open_socket(io, fd, "send");
    size_t bytes = 0;
    check(!socket->shut, "send on a socket that was shut");
    for (int i = 0; i < count; i++)
        bytes += pieces[i].iov_len;
    socket->sends++;
    size_t room = least(least(bytes, socket->space), socket->send_max);
    ssize_t usual = socket->out_error ? socket->out_error
                    : room || !bytes  ? (ssize_t)room
                                      : -EAGAIN;
    ssize_t taken = step(&socket->send_steps, usual);
    size_t left = taken > 0 ? (size_t)taken : 0;
    socket->room_told &=
        socket->space >= bytes; /* one that fails for want of memory is not told of room */
    socket->space -= least(socket->space, left);
    for (int i = 0; i < count && left > 0; i++) {
        size_t part = least(left, pieces[i].iov_len);
        append(&socket->out, &socket->out_len, &socket->out_room, pieces[i].iov_base, part);
        left -= part;
    }
    return taken;
}

static void fake_shutdown(struct io *io, int fd)
{
    struct fake_socket *socket = open_socket(io, fd, "shutdown");
    check(!socket->shut, "shutdown twice");
    socket->shut = true;
}

static void fake_close(struct io *io, int fd)
{
    struct fake_socket *socket = open_socket(io, fd, "close");
    socket->open = socket->watched = false;
}

static void watch_as(struct fake_socket *socket, unsigned interest)
{
    socket->interest = interest & ~(unsigned)IO_EDGE;
    socket->edge = interest & IO_EDGE;
    socket->armed = true;
    socket->room_told = false;
}

static int fake_watch(struct io *io, int fd, unsigned interest, void *data)
{
    struct fake_socket *socket = open_socket(io, fd, "watch");
    check(!socket->watched, "watch twice");
    if (fake_of(io)->watch_error)
        return fake_of(io)->watch_error;
    socket->watched = true;
    watch_as(socket, interest);
    socket->data = data;
    return 0;
}

static void fake_rewatch(struct io *io, int fd, unsigned interest, void *data)
{
    struct fake_socket *socket = open_socket(io, fd, "rewatch");
    check(socket->watched, "rewatch of a socket that is not watched");
    watch_as(socket, interest);
    socket->data = data;
}

static void fake_unwatch(struct io *io, int fd)
{
    struct fake_socket *socket = open_socket(io, fd, "unwatch");
    check(socket->watched, "unwatch of a socket that is not watched");
    socket->watched = false;
}

static bool someone_waits(const struct fake_io *io)
{
    for (int fd = FD_FIRST; fd < io->count; fd++)
        if (io->sockets[fd]->waiting)
            return true;
    return false;
}

static bool can_read(const struct fake_io *io, const struct fake_socket *socket)
{
    if (socket->listening)
        return someone_waits(io);
    return socket->in_taken < socket->in_len || socket->in_ended || socket->in_error;
}

static unsigned ready(const struct fake_io *io, const struct fake_socket *socket)
{
    unsigned now = socket->broken ? IO_BROKEN : 0;
    if (!socket->watched)
        return 0;
    if (socket->edge && socket->in_ended)
        now |= IO_ENDED;
    if (socket->interest & IO_READ && can_read(io, socket))
        now |= IO_READ;
    if (socket->interest & IO_WRITE && (socket->space || socket->out_error))
        now |= IO_WRITE;
    if (socket->edge && !socket->armed)
        now &= socket->room_told ? 0 : IO_WRITE;
    return now;
}

static int fake_wait(struct io *io, struct io_event *events, int max, int64_t timeout_us)
{
    struct fake_io *fake = fake_of(io);
    int count = 0;
    for (int fd = FD_FIRST; fd < fake->count && count < max; fd++) {
        unsigned now = ready(fake, fake->sockets[fd]);
        if (!now)
            continue;
        events[count++] = (struct io_event){fake->sockets[fd]->data, now};
        fake->sockets[fd]->armed = false;
        fake->sockets[fd]->room_told |= now & IO_WRITE;
    }
    fake->wait_us = timeout_us;
    fake->events = count;
    fake->waits++;
    if (count == 0 && timeout_us > 0)
        fake->now_us += (uint64_t)timeout_us;
    return count;
}

static const struct io_ops fake_ops = {
    .monotonic_us = fake_monotonic_us,
    .wall_us = fake_wall_us,
    .random = fake_random,
    .listen = fake_listen,
    .accept = fake_accept,
    .connect = fake_call,
    .remote = fake_remote,
    .recv = fake_recv,
    .send = fake_send,
    .shutdown = fake_shutdown,
    .close = fake_close,
    .watch = fake_watch,
    .rewatch = fake_rewatch,
    .unwatch = fake_unwatch,
    .wait = fake_wait,
};

/* The other end */

struct fake_io *fake_io_new(void)
{
    struct fake_io *io = more(NULL, sizeof *io);
    *io = (struct fake_io){.io.ops = &fake_ops, .count = FD_FIRST};
    io->now_us = 5000000;
    io->wall_ahead_us = 1795348800000000; /* 2026-11-22T12:00:00Z */
    return io;
}

void fake_io_destroy(struct fake_io *io)
{
    for (int fd = FD_FIRST; fd < io->count; fd++) {
        struct fake_socket *socket = io->sockets[fd];
        check(!socket->open || socket->waiting, "socket %d was left open", fd);
        free(socket->in);
        free(socket->out);
        free(socket);
    }
    free(io);
}

int fake_socket_new(struct fake_io *io)
{
    assert_true(io->count < FAKE_SOCKETS_MAX);
    struct fake_socket *socket = more(NULL, sizeof *socket);
    *socket = (struct fake_socket){
        .open = true, .recv_max = SIZE_MAX, .send_max = SIZE_MAX, .space = SIZE_MAX};
    io->sockets[io->count] = socket;
    return io->count++;
}

int fake_connect(struct fake_io *io, const char *peer)
{
    int fd = fake_socket_new(io);
    assert_int_equal(address_parse(slice_of(peer), &fake_socket(io, fd)->peer), 0);
    fake_socket(io, fd)->waiting = true;
    return fd;
}

void fake_feed(struct fake_io *io, int fd, struct slice bytes)
{
    struct fake_socket *socket = fake_socket(io, fd);
    append(&socket->in, &socket->in_len, &socket->in_room, bytes.data, bytes.len);
    socket->armed = true;
}

void fake_end(struct fake_io *io, int fd)
{
    struct fake_socket *socket = fake_socket(io, fd);
    socket->in_ended = socket->armed = true;
}

void fake_break(struct fake_io *io, int fd, int error)
{
    struct fake_socket *socket = fake_socket(io, fd);
    socket->in_taken = socket->in_len;
    socket->in_error = socket->out_error = error;
    socket->broken = socket->armed = true;
}

struct slice fake_output(struct fake_io *io, int fd)
{
    const struct fake_socket *socket = fake_socket(io, fd);
    return (struct slice){socket->out, socket->out_len};
}

void fake_forget(struct fake_io *io, int fd)
{
    fake_socket(io, fd)->out_len = 0;
}

size_t fake_unread(struct fake_io *io, int fd)
{
    const struct fake_socket *socket = fake_socket(io, fd);
    return socket->in_len - socket->in_taken;
}

int fake_open(const struct fake_io *io)
{
    int count = 0;
    for (int fd = FD_FIRST; fd < io->count; fd++)
        count += io->sockets[fd]->open && !io->sockets[fd]->listening;
    return count;
}

void fake_steps_set(struct fake_steps *steps, const ssize_t *from, unsigned count)
{
    assert_true(count <= FAKE_STEPS_MAX);
    memcpy(steps->steps, from, count * sizeof *from);
    steps->count = count;
    steps->at = 0;
}
