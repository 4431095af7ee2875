/* Simulated clients: each connects again and again, sends calls in bursts, and holds every reply against
 * the model. Some are slow, rude or not welcome; each is told apart by what it must put up with.
 *
 * A client has one event, its tick: at it, it reads what it may, composes, sends, and plans the next. */
#ifndef SIM_CLIENT_H
#define SIM_CLIENT_H

#include "judge.h"

enum { CLIENT_DEPTH_MAX = 30 };

enum client_leave {
    LEAVE_CLOSE,
    LEAVE_ABORT,
    LEAVE_HALF, /* ends its sending side, and waits for what comes */
    LEAVE_STOP, /* sends nothing more, and waits for what comes */
    LEAVES,
};

struct sim_client {
    struct scene *scene;
    struct world_event tick;
    struct cable_host host;
    struct rng rng;
    unsigned number;

    /* What it is like. */
    bool chopper, slow_reader, stranger, sleeper, sliding;
    uint32_t depth;
    uint32_t calls_left;
    bool done;

    /* The connection; all is set anew by each. */
    struct cable_end *end; /* NULL while there is none */
    struct bytes out;      /* what is not sent yet, and a part of what is */
    uint64_t out_base;     /* position of its first byte */
    uint64_t sent;         /* position */
    struct call calls[CLIENT_DEPTH_MAX];
    unsigned call_first, call_count;
    uint32_t session_left;
    struct response response;
    bool response_begun;
    struct judge_place place;
    uint64_t *own_floors;
    uint64_t leave_at; /* position, UINT64_MAX for never */
    enum client_leave leave_how;
    bool last;       /* no more calls on this connection */
    bool half_close; /* after the last */
    bool shut;
    bool heard_close; /* a reply has said that it ends */
    bool send_failed;
    bool stopped;      /* sending, in the middle of a request */
    bool naps;         /* reads nothing for longer than the node may bear */
    bool ignores_rest; /* of a refusal by a node that did not know yet that a HEAD was asked */
    bool raced;        /* the call may have met an end of the connection for idleness */
    uint64_t received;
    uint64_t next_us;    /* when the next burst or connection begins */
    uint64_t nap_us;     /* since when it naps */
    uint64_t read_at_us; /* not before */
    uint64_t send_at_us;
    uint64_t hold_until_us; /* waiting for 100; UINT64_MAX while it is not */
    uint64_t quiet_us;      /* since when nothing is outstanding */
    uint64_t progress_us;   /* when it last sent or received something */
    uint64_t sent_at_us;    /* when it last sent something */
};

void sim_client_init(struct sim_client *client, struct scene *scene, unsigned number);
void sim_client_free(struct sim_client *client);

/* Everybody leaves who is still there. */
void sim_client_leave(struct sim_client *client);

/* Gives it so many more calls; it is not done any more. */
void sim_client_call_again(struct sim_client *client, uint32_t calls);

#endif
