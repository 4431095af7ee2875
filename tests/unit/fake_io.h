/* A world for tests: sockets whose other end the test holds in its hands, and a clock that moves
 * only while somebody waits. What may never be done to a socket fails the test.
 *
 *   int fd = fake_connect(io, "10.0.0.1:5000");
 *   fake_feed(io, fd, SLICE("GET / HTTP/1.0\r\n\r\n"));
 *   loop_turn(&loop, 0);
 *   … fake_output(io, fd) …
 *
 * Numbers of sockets are not used twice, so a socket can be looked at when it is closed. */
#ifndef UNIT_FAKE_IO_H
#define UNIT_FAKE_IO_H

#include <stdbool.h>

#include "base/slice.h"
#include "net/io.h"

enum { FAKE_SOCKETS_MAX = 4096, FAKE_STEPS_MAX = 64 };

/* What single calls of recv or send do, in order: take that many bytes at most, or fail with that
 * -errno. For recv 0 is the peer's end. Once they are used up, things go their usual way. */
struct fake_steps {
    ssize_t steps[FAKE_STEPS_MAX];
    unsigned count, at;
};

struct fake_socket {
    bool open, watched, listening, waiting; /* waiting: to be accepted */
    bool shut;                              /* by the program */
    bool broken;                            /* IO_BROKEN is reported */
    unsigned interest;                      /* IO_EDGE apart */
    bool edge, armed;                       /* what is there to read is told once; it was not yet */
    bool room_told; /* the same of room to write; no send has found too little of it since */
    void *data;
    struct address peer;

    /* Towards the program. */
    char *in;
    size_t in_len, in_taken, in_room;
    size_t recv_max; /* bytes in one call */
    bool in_ended;
    int in_error; /* what a read says once all is read: 0 or -errno */
    struct fake_steps recv_steps;
    unsigned recvs;

    /* From the program. */
    char *out;
    size_t out_len, out_room;
    size_t space;    /* bytes that it takes before -EAGAIN */
    size_t send_max; /* bytes in one call */
    int out_error;   /* what a write says: 0 or -errno */
    struct fake_steps send_steps;
    unsigned sends;
};

struct fake_io {
    struct io io; /* first, so that an io leads here */
    uint64_t now_us;
    uint64_t wall_ahead_us; /* of now_us */
    uint64_t tick_us;       /* what reading the monotonic clock takes */
    uint64_t recv_us;       /* what reading from a socket takes */
    uint64_t entropy;
    int accept_error, watch_error, listen_error; /* -errno, until set to 0 */
    bool may_connect;  /* the program may connect: to sockets that are connected already */
    int connect_error; /* -errno */
    int64_t wait_us;   /* what the last wait was told */
    int events;        /* what it returned */
    unsigned waits;
    struct fake_socket *sockets[FAKE_SOCKETS_MAX];
    int count;
};

struct fake_io *fake_io_new(void);

/* Fails the test when the program left a socket open. */
void fake_io_destroy(struct fake_io *io);

/* A socket that is connected already. */
int fake_socket_new(struct fake_io *io);

/* A client knocks. */
int fake_connect(struct fake_io *io, const char *peer);

void fake_feed(struct fake_io *io, int fd, struct slice bytes);

/* The peer sends no more. */
void fake_end(struct fake_io *io, int fd);

/* Reset: both directions fail with `error` (-errno) from now on. */
void fake_break(struct fake_io *io, int fd, int error);

struct fake_socket *fake_socket(struct fake_io *io, int fd);

/* All that the program has sent, and was not forgotten. */
struct slice fake_output(struct fake_io *io, int fd);
void fake_forget(struct fake_io *io, int fd);

/* What was fed and not read yet. */
size_t fake_unread(struct fake_io *io, int fd);

/* Sockets that are open, the listener apart. */
int fake_open(const struct fake_io *io);

void fake_steps_set(struct fake_steps *steps, const ssize_t *from, unsigned count);

#endif
