/* Connections to one member, and the tries of requests that are under way on them: most share one, what may take long has one of its
 * own. Inside of the front-end alone. */
#ifndef ROLE_LANE_H
#define ROLE_LANE_H

#include "net/upstream.h"

enum {
    LANE_ANSWER_US =
        5 * 1000 *
        1000, /* a head that a member owes must be whole within it, and more of a body come */
    LANE_COPIES_US =
        5 * 1000 *
        1000, /* the same, beyond that, when it waits for copies and nobody said how long */
    LANES_APART_US =
        1000 *
        1000, /* the two that are for what is shared were not last used within one such time */
    LANES_IDLE_MAX =
        8, /* connections for one request at a time that are kept for later ones, of each member; of more, one goes each tick */
    LANES_MAX = 4096, /* of each member */
    LANES_KEPT = 256, /* of these, for what is shared: without any, the member is of no use */
};

struct backend;
struct relay;

enum lane_kind {
    LANE_SHARED, /* many requests at a time */
    LANE_ALONE,  /* one at a time */
};

/* One connection to a member. */
struct lane {
    struct backend *backend;
    struct upstream *upstream;
    struct lane *previous, *next; /* of its backend */
    struct attempt *first, *last;
    enum lane_kind kind;
    bool waiting; /* for the connection, to send the first attempt */
    bool yielded; /* it was shared once, see lane_yield: it serves no other request */
    bool idle;    /* in the list of those that are kept for a later request */
    struct lane *idle_previous, *idle_next;
};

/* One try of a request at one member. It outlives its relay when nobody wants the answer any more. */
struct attempt {
    struct call call;    /* first, so that a call leads here */
    struct relay *relay; /* NULL: given up */
    struct lane *lane;
    struct attempt *previous, *next; /* of its lane, in the order of calls */
    bool counted;                    /* in its backend's in_flight */
    bool begun;                      /* its answer is the one under way */
};

/* Returns NULL when out of memory, or when there are LANES_MAX; LANES_KEPT fewer for one that is not shared. */
struct lane *lane_new(struct backend *backend, enum lane_kind kind);
bool lane_is_open(const struct lane *lane);

/* A connection for one request, an idle one if there is any; else as lane_new. */
struct lane *lane_take(struct backend *backend);

/* Whether there is one of these, as far as their number goes. */
bool lane_has_place(const struct backend *backend);

/* Sends a relay's request there. Returns 0 or -ENOMEM. */
int lane_send(struct lane *lane, struct relay *relay);

/* The answer that comes now takes long: those behind it go elsewhere, and the connection is this one's. Not without a place for one more
 * connection: the last ones that are shared would be gone. */
bool lane_may_yield(const struct lane *lane);
void lane_yield(struct lane *lane);

/* A call has ended: the attempt is freed, and its lane used for another one, or closed. */
void attempt_end(struct attempt *attempt, bool done);

/* Nobody wants the answer. */
void attempt_give_up(struct attempt *attempt);

/* Ends one at once; its calls end from inside of this. */
void lane_destroy(struct lane *lane);

/* Closes one that is idle, if there are many. */
void lanes_trim(struct backend *backend);

/* Closes all of a backend's. */
void lanes_close(struct backend *backend);

#endif
