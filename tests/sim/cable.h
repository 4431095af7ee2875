/* The simulated network: hosts, listeners, and cables, which are what TCP connections are from outside.
 *
 *   end 0 (who called) ──► in-flight segments ──► arrived, not read ──► end 1 (who was called)
 *                      ◄──                    ◄──
 *
 * Bytes go in segments, each with its own delay, in order. A cable may be reset at any byte; a host may be
 * cut off for a while. What close, shutdown and a reset mean is as Linux has it. */
#ifndef SIM_CABLE_H
#define SIM_CABLE_H

#include <sys/types.h>
#include <sys/uio.h>

#include "faults.h"
#include "net/address.h"

enum { CABLE_SEGMENTS = 32 }; /* in flight in one direction; more are joined to the last */

struct cables;
struct cable;
struct cable_listener;

/* A machine with an address. Embedded in its owner. */
struct cable_host {
    struct cable_host *next;
    struct cable_listener *listeners;
    uint8_t ip[16];
    uint16_t port;         /* the last one that was given out */
    char name[12];         /* in the trace */
    uint64_t cut_until_us; /* nothing gets through to or from it before */
};

struct cable_segment {
    uint64_t at_us;
    uint64_t end; /* position of the byte after its last one */
    bool is_end, is_reset;
};

/* One end of a cable, with what comes to it. */
struct cable_end {
    struct cable *cable;
    struct cable_host *host;
    uint16_t port;
    struct world_event arrival;

    char *data; /* a ring of `room` bytes, a power of two */
    uint64_t room, capacity, low_water;
    uint64_t sent, arrived, taken; /* positions: put in by the peer, come here, read here */
    struct cable_segment segments[CABLE_SEGMENTS];
    unsigned segment_first, segment_count;
    uint64_t last_at_us; /* of the last segment */
    uint64_t retry_us;   /* while the way is cut */

    /* Takes note of a change in what cable_ready says; must not call back. */
    void (*on_change)(struct cable_end *end);
    void *owner;
    int error; /* to be told by the next read or write */
    bool connecting;
    bool shut;  /* its sending side was ended here */
    bool ended; /* the peer's end has come */
    bool reset;
    bool closed; /* by its owner */
};

struct cable {
    struct cable_end ends[2]; /* who called, who was called */
    struct cables *cables;
    struct cable *next, *previous;
    struct cable_listener *waiting; /* in whose backlog ends[1] is */
    struct world_event knock;       /* the call on its way */
    struct address to;
    uint64_t id;
    unsigned knocks;
    bool accepted;
    uint8_t tag; /* for who wants to tell cables apart; 0 at first */
    uint64_t accepted_us;
    bool troubled; /* a fault was made here: it may end at any time, and be late */
};

struct cable_listener {
    struct cable_listener *next;
    struct cable_host *host;
    uint16_t port;
    uint32_t backlog;
    struct cable_end *waiting[128];
    unsigned waiting_count;
    void (*on_change)(struct cable_listener *listener);
    void *owner;
};

struct cables {
    struct world *world;
    struct faults *faults;
    struct rng rng;
    struct cable_host *hosts;
    struct cable *all;
    uint64_t ids;

    /* Whether nothing gets through from one host to another now; may be NULL. */
    bool (*is_cut)(void *context, const struct cable_host *from, const struct cable_host *to);

    /* How much gets through in a second; 0 for as much as one likes; may be NULL. */
    uint64_t (*bytes_per_s)(void *context, const struct cable_host *from,
                            const struct cable_host *to);
    void *context;
    uint64_t
        give_up_us; /* what is sent again for about so long is lost, and its connection ends; 0: see GIVE_UP_US */
};

void cables_init(struct cables *cables, struct world *world, struct faults *faults);
void cables_free(struct cables *cables);

/* The host must stay until cables_free. */
void cable_host_add(struct cables *cables, struct cable_host *host);
void cable_host_cut(struct cables *cables, struct cable_host *host, uint64_t until_us);

/* Returns 0 or -EADDRINUSE. A port of 0 takes a free one. The listener is the caller's. */
int cable_listen(struct cables *cables, struct cable_host *host, struct cable_listener *listener,
                 uint16_t port);

/* Resets whoever waits. */
void cable_listen_end(struct cable_listener *listener);

/* The next one who waits, or NULL. */
struct cable_end *cable_accept(struct cable_listener *listener);

/* Begins to call. The end is the caller's until cable_close. */
struct cable_end *cable_connect(struct cables *cables, struct cable_host *host,
                                const struct address *to);

/* As the functions of struct io_ops. */
ssize_t cable_recv(struct cable_end *end, void *out, size_t bytes);
ssize_t cable_send(struct cable_end *end, const struct iovec *pieces, int count, size_t bytes_max);
void cable_shutdown(struct cable_end *end);
void cable_close(struct cable_end *end);

/* Closes with a reset. */
void cable_abort(struct cable_end *end);

/* Breaks it for both sides, as a fault. */
void cable_break(struct cable *cable, int error);

/* Grows when there is something new to read. */
uint64_t cable_news(const struct cable_end *end);

/* IO_READ, IO_WRITE, IO_ENDED, IO_BROKEN. */
unsigned cable_ready(const struct cable_end *end);

/* Bytes that can be read now. */
uint64_t cable_readable(const struct cable_end *end);

struct cable_end *cable_peer(struct cable_end *end);

#endif
