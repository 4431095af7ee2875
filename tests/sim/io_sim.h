/* `struct io` of one simulated process: its sockets on simulated cables, its clocks, its entropy.
 *
 * Readiness is level-triggered as epoll's is; a closed socket's events are never delivered. All of
 * struct faults that a kernel can do to its process is done here. */
#ifndef SIM_IO_SIM_H
#define SIM_IO_SIM_H

#include "cable.h"
#include "net/io.h"

enum {
    IO_SIM_STEPS_MAX = 64, /* of the wall clock */
    IO_SIM_FILES_FIRST = 3,
};

struct io_sim_socket;

/* From `at_us` on the wall clock is the virtual time plus `offset_us`. */
struct io_sim_step {
    uint64_t at_us;
    uint64_t offset_us;
};

struct io_sim {
    struct io io; /* first, so that an io leads here */
    struct world *world;
    struct cables *cables;
    struct cable_host *host;
    struct faults *faults;
    struct rng chance, entropy;
    uint64_t start_us; /* what the monotonic clock said when the world began */
    struct io_sim_step steps[IO_SIM_STEPS_MAX];
    unsigned step_count;
    uint64_t frozen_us;             /* where the wall clock stands still; 0 while it goes */
    struct io_sim_socket **sockets; /* by number */
    uint64_t *stirred; /* a bit for each of these: something has changed since it was not ready */
    bool many; /* they are so many that only those are looked at: then room that comes about as the
                  peer closes may not be seen, nor what is reported by mistakes and false_ready */
    int room;
    int top;       /* all sockets are below it */
    bool reported; /* whether the last wait had anything to report */
    unsigned open_count;
    uint64_t
        progress; /* counts what calls achieved, so that a loop that turns for nothing is noticed */
    void (*on_wake)(struct io_sim *io); /* something may be ready; takes note only */
    void *owner;
};

/* `stream` tells processes apart. The host must be added to the cables. */
void io_sim_init(struct io_sim *io, struct cables *cables, struct cable_host *host,
                 uint64_t stream);

/* Closes all sockets, as a process does that ends. */
void io_sim_free(struct io_sim *io);

/* Whether a wait would report something. */
bool io_sim_ready(const struct io_sim *io);

/* Sockets that are open, listeners apart. */
unsigned io_sim_connections(const struct io_sim *io);

/* The wall clock steps by so many microseconds, either way. */
void io_sim_step(struct io_sim *io, int64_t by_us);

/* It stands still, and goes on: from where it stood, or (`catches_up`) as if nothing had been. */
void io_sim_freeze(struct io_sim *io);
void io_sim_thaw(struct io_sim *io, bool catches_up);

/* The end of a cable that a connection's socket is. */
struct cable_end *io_sim_end(struct io *io, int fd);

/* Breaks a connection for both sides, as a fault. */
void io_sim_break(struct io *io, int fd, int error);

uint64_t io_sim_wall_us(const struct io_sim *io);

/* The least and the most that the wall clock said in a span of virtual time. */
void io_sim_wall_range(const struct io_sim *io, uint64_t from_us, uint64_t to_us,
                       uint64_t *least_us, uint64_t *most_us);

#endif
