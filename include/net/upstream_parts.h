/* The inside of the room of upstreams, shared by upstream.c (connections, their ends, their time), upstream_calls.c (what goes to the
 * server) and upstream_answers.c (what comes from it). Nobody else includes this. */
#ifndef NET_UPSTREAM_PARTS_H
#define NET_UPSTREAM_PARTS_H

#include "net/upstream.h"

enum upstream_state {
    UPSTREAM_CLOSED,
    UPSTREAM_CONNECTING,
    UPSTREAM_OPEN,
    UPSTREAM_ENDING, /* the connection is gone, and its end is told at the end of the turn */
    UPSTREAM_DESTROYED,
};

/* What comes next from the server. */
enum answer_part {
    ANSWER_HEAD,
    ANSWER_BODY, /* `left` bytes */
    ANSWER_CHUNKED,
    ANSWER_UNTIL_END, /* of the connection */
};

struct calls {
    struct call *first, **end;
};

struct upstream {
    struct conn conn; /* first, so that a conn leads here */
    struct upstreams *all;
    struct upstream_config config;
    const struct upstream_ops *ops;
    void *owner;
    struct loop_timer timer;
    struct loop_deferred deferred;
    struct upstream *next_due; /* has something to write, or input to go on with */
    struct calls under_way, refused;
    struct call *open_call; /* whose body is not ended */
    unsigned depth;
    int error;
    uint8_t state; /* enum upstream_state */
    bool due, deferring, paused;
    bool resumed;   /* since input was last parsed; some may be kept */
    bool last;      /* the connection ends with this answer */
    bool finishing; /* no more calls are made, see upstream_finish */
    uint64_t heard_us;
    uint64_t waits_us;   /* since then the server owes something, if anything is owed */
    uint64_t paused_us;  /* when it was paused */
    uint64_t seen_bytes; /* conn.sent_bytes as of the last look at it */
    /* the answer under way */
    uint8_t part; /* enum answer_part */
    uint64_t left;
    struct http_chunked chunked;
    /* the output of this turn */
    char *text;
    size_t used, piece_start;
    uint64_t called_bytes; /* position of its end on the connection */
    unsigned count;
    struct conn_piece pieces[CONN_PIECES_MAX];
};

struct upstreams {
    struct loop *loop;
    struct loop_hook hook;
    struct upstream *due, **due_end;
    uint64_t
        turn; /* of the loop, in which the hook has run: what becomes due since then is for the next one */
    char *input;
    struct loop_share reads; /* of those from which more has come than one read takes */
    struct http_reader reader;
};

/* upstream.c */

/* The first of those under way has ended: it leaves, and is told. */
void call_end(struct upstream *upstream, enum call_result result);

/* Whether none of a call was given to the kernel. */
bool call_is_unsent(const struct upstream *upstream, const struct call *call);

/* It has something to do at the end of the turn. */
void upstream_due(struct upstream *upstream);

/* The ends of its calls are told after the hooks of the turn. */
void upstream_defer(struct upstream *upstream);

void calls_append(struct calls *calls, struct call *call);

/* upstream_answers.c */

/* Parses what is kept and, if may_recv, what is new. Returns whether there may be more to read. */
bool upstream_read(struct upstream *upstream, bool may_recv);

#endif
