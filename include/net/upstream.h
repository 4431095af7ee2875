/* One remote server: a connection to it that is kept, and calls (requests) on it, pipelined. It parses the answers and gives
 * them to whoever called. It makes no decision: when to connect again, whom to try next is the owner's.
 *
 * What is called in one turn is written in one go, at the end of the turn, so many calls cost one system call.
 *
 *      upstream_call ──► output of this turn ──flush──► conn ──► server
 *      call->ops     ◄── parsed, in order ◄── shared input ◄── conn
 */
#ifndef NET_UPSTREAM_H
#define NET_UPSTREAM_H

#include "net/conn.h"
#include "net/http.h"

enum {
    UPSTREAM_INPUT_BYTES = 64 * 1024,  /* taken from one upstream at a time */
    UPSTREAM_OUTPUT_BYTES = 64 * 1024, /* copied in a turn; more is written early */
};

/* What all upstreams of one loop share: the input buffer, and who has something to write. */
struct upstreams;

/* Adds a hook to the loop that writes what was called in the turn: so hooks that call are added before. Returns NULL when
 * out of memory. The caller owns it until upstreams_destroy, when no upstream may be left. */
struct upstreams *upstreams_new(struct loop *loop);
void upstreams_destroy(struct upstreams *all);

enum call_result {
    CALL_DONE,   /* the answer is whole */
    CALL_UNSENT, /* there is no connection, or it ended, and surely the server did not carry it out: none of it was given
                    to the kernel. Bytes that come before that are no answer to it: they cut the connection */
    CALL_LOST, /* the connection ended, or the answer took too long or made no sense: it may or may not have been carried out */
};

struct call;

struct call_ops {
    /* A final status (100 is told by on_continue, other 1xx are passed over). Slices live until it returns. */
    void (*on_head)(struct call *call, const struct http_response *head);

    /* A 100 (Continue) came. May be NULL. */
    void (*on_continue)(struct call *call);

    /* Part of the body. May be NULL when nobody wants it. May call upstream_pause. */
    void (*on_body)(struct call *call, struct slice bytes);

    /* Exactly once for each call, never from inside upstream_call and its like: the call's memory is the owner's again. */
    void (*on_end)(struct call *call, enum call_result result);
};

/* One request on its way. Embedded in its owner, who sets ops (and head and held_us) and zeroes the rest. */
struct call {
    const struct call_ops *ops;
    struct call *next;
    struct upstream *upstream;
    uint64_t sent_us; /* loop time at which it was called, or some of it was last seen to be sent */
    uint64_t
        output_end; /* position in the connection's output of its end; UINT64_MAX while its body goes on */
    uint64_t output_begin;
    uint64_t
        held_us;    /* the server was asked to hold it: it may take so much longer than answer_us */
    bool head;      /* the answer has no body: HEAD */
    bool abandoned; /* see upstream_abandon */
};

struct upstream_config {
    uint64_t connect_us; /* a connection must stand after it */
    uint64_t
        answer_us; /* while answers are due, a head must be whole within it, and more of a body come, else the connection is cut;
                      0: no limit. It counts from the later of the sending of the oldest call and the end of the answer before, of
                      its own head, or what came last of its body; interim answers (1xx) do not count. It stands still while
                      paused. While that call's body goes on and the kernel takes it nothing is due, a 100 (Continue) neither: who
                      waits for one has a limit of his own */
};

struct upstream;

/* What an upstream's owner hears. None of these is called from inside a function of the owner's calling. */
struct upstream_ops {
    void (*on_open)(struct upstream *upstream); /* calls can be made */

    /* It is not open any more, or never was (error, 0 for the server's orderly end); all calls have had their on_end, save those
     * that an on_end has made meanwhile: their turn is the next. From now on (inside of this too) upstream_connect may be called
     * again, or upstream_destroy. */
    void (*on_closed)(struct upstream *upstream, int error);

    /* All output was taken by the kernel after upstream_blocked was true. May be NULL. */
    void (*on_drained)(struct upstream *upstream);
};

/* Returns NULL when out of memory. Not connected at first. `owner` is for upstream_owner. */
struct upstream *upstream_new(struct upstreams *upstreams, const struct upstream_config *config,
                              const struct upstream_ops *ops, void *owner);

/* Ends it at once; calls under way get CALL_LOST or CALL_UNSENT from inside of this, on_closed is not called. */
void upstream_destroy(struct upstream *upstream);

void *upstream_owner(const struct upstream *upstream);

/* Why its connection has ended: as on_closed says, and before that, when calls are told their ends. -EPROTO: an answer made no
 * sense. */
int upstream_error(const struct upstream *upstream);

/* Begins to connect. Returns 0 or -errno (then on_closed is not called); -EBUSY while it is open, connecting, or its end was not
 * told yet. */
int upstream_connect(struct upstream *upstream, const struct address *address);

/* Cuts the connection, if there is any; on_closed follows at the end of the turn. */
void upstream_close(struct upstream *upstream, int error);

/* Whether calls can be made. Not any more after upstream_finish, or once the server has said that it will close. */
bool upstream_is_open(const struct upstream *upstream);

/* Makes a call: `pieces` are the whole request (as for conn_send: borrowed ones stay until their release, others are copied).
 * When it is not open, the call ends as CALL_UNSENT at the end of the turn, or of the next one when an on_end has made it. Calls
 * are answered in order. */
void upstream_call(struct upstream *upstream, struct call *call, const struct conn_piece *pieces,
                   unsigned count);

/* The same for a request whose body comes bit by bit: begin with the head, then its parts, then end. Until the end no other
 * call may be made. Parts are ignored when the call has ended meanwhile: the caller learns it by on_end. */
void upstream_call_begin(struct upstream *upstream, struct call *call,
                         const struct conn_piece *pieces, unsigned count);
void upstream_call_part(struct call *call, const struct conn_piece *pieces, unsigned count);
void upstream_call_end(struct call *call);

/* Whether a call that was begun has not been ended. */
bool upstream_is_occupied(const struct upstream *upstream);

/* Nobody wants the answer any more: on_head and on_body are not called, on_end is. A call whose body is unfinished cuts the
 * connection. */
void upstream_abandon(struct call *call);

/* Makes no more calls: the server hears so once all that was called is sent, and answers what it holds (server_hold). Not while a call's
 * body is unfinished. The connection ends with the last answer. */
void upstream_finish(struct upstream *upstream);

/* Calls under way. */
unsigned upstream_depth(const struct upstream *upstream);

/* Whether the kernel has not taken all output: bodies that come bit by bit should wait for on_drained. */
bool upstream_blocked(const struct upstream *upstream);

/* Reads nothing more until it is called with false: backpressure for the answer that is coming. */
void upstream_pause(struct upstream *upstream, bool paused);

/* Writes what was called so far in this turn, now. */
void upstream_flush(struct upstream *upstream);

/* The loop time at which bytes last came from the server; of the connection's beginning while none came. */
uint64_t upstream_heard_us(const struct upstream *upstream);

#endif
