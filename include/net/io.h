/* The world, passed in: sockets, clocks, entropy. Two makers: io_epoll.c for the real one, and the
 * simulator of the tests. Nothing else in the program touches the operating system's side of these.
 *
 * Sockets are stream sockets, never block, and are named by a small number as file descriptors are. */
#ifndef NET_IO_H
#define NET_IO_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "net/address.h"

enum {
    IO_READ = 1,   /* there is something to read, or the end, or an error that a read will tell */
    IO_WRITE = 2,  /* there is room to write, or an error that a write will tell */
    IO_BROKEN = 4, /* reported, never asked for: reset, or both directions are closed */
    IO_ENDED =
        8, /* reported beside IO_READ: its end is among what there is to read, or an urgent byte, where a read stops, too */
    IO_EDGE = 16, /* asked for beside IO_READ, or IO_WRITE: see watch */
};

struct io_event {
    void *data; /* as given to watch */
    unsigned ready;
};

struct io {
    const struct io_ops *ops;
};

struct io_ops {
    /* Microseconds that never step back, from an arbitrary start. */
    uint64_t (*monotonic_us)(struct io *io);

    /* Microseconds since 1970, as the machine believes; may step either way. */
    uint64_t (*wall_us)(struct io *io);

    /* Fills `out` with unpredictable bytes. Does not fail. */
    void (*random)(struct io *io, void *out, size_t bytes);

    /* Returns a listening socket, or -errno (-EADDRINUSE …). *bound is the address with its real port. */
    int (*listen)(struct io *io, const struct address *address, struct address *bound);

    /* Returns a new socket and its *peer, -EAGAIN when nobody waits, -EMFILE, -ENFILE, -ENOMEM or
     * -ENOBUFS when the system has no room (the client goes on waiting in the backlog), or another
     * -errno for a client that is gone already. */
    int (*accept)(struct io *io, int listener, struct address *peer);

    /* Starts to connect. Returns a socket that becomes writable once connected or failed, or -errno. */
    int (*connect)(struct io *io, const struct address *address);

    /* The address at the other end of a connected socket; all zero when it cannot be told. */
    void (*remote)(struct io *io, int fd, struct address *address);

    /* Returns the count of bytes read, 0 at the end, -EAGAIN, or another -errno. With `out` NULL they are thrown away. */
    ssize_t (*recv)(struct io *io, int fd, void *out, size_t bytes);

    /* Returns the count of bytes taken, which may be fewer than given, -EAGAIN, or another -errno. */
    ssize_t (*send)(struct io *io, int fd, const struct iovec *pieces, int count);

    /* No more will be sent; what was sent still arrives. */
    void (*shutdown)(struct io *io, int fd);

    /* Ends it, and its watch. What was taken by send still arrives if nothing unread is left here. */
    void (*close)(struct io *io, int fd);

    /* Begins to report IO_READ and IO_WRITE as asked by `interest` (level-triggered; 0 reports only
     * IO_BROKEN). With IO_EDGE it is reported once, and again when more has come, or there is room where a send
     * found too little, or after a rewatch (the edge-triggered way of epoll(7)): to look again at what was read already costs a hundredth of
     * a request, and thousands that there is room for would have others told of later in every turn. Returns 0 or -errno (-ENOMEM,
     * -ENOSPC). */
    int (*watch)(struct io *io, int fd, unsigned interest, void *data);

    /* Changes what is reported of a socket that is watched. */
    void (*rewatch)(struct io *io, int fd, unsigned interest, void *data);

    /* Ends the watch of a socket that goes on, or that somebody else closes. Events of it that a wait gave already
     * may still be on their way. */
    void (*unwatch)(struct io *io, int fd);

    /* Waits for events, `timeout_us` at most (0 does not wait, negative has no end). Returns how many
     * were written to `events`; 0 also when interrupted. */
    int (*wait)(struct io *io, struct io_event *events, int max, int64_t timeout_us);
};

/* Whether a call that returned this error has failed for want of memory or descriptors here: that says nothing of who is at the other
 * end, and may be over soon. */
static inline bool io_is_out_of_room(int error)
{
    return error == -EMFILE || error == -ENFILE || error == -ENOMEM || error == -ENOBUFS ||
           error == -ENOSPC;
}

#endif
