/* The event loop: wait, dispatch, timers, end of turn. It knows no sockets; those are the io's.
 *
 * One turn: wait for events → call each event's watcher → serve the line → fire due timers → run the end-of-turn hooks
 * (where work gathered in the turn is done in one go) → run what was deferred (frees). */
#ifndef NET_LOOP_H
#define NET_LOOP_H

#include <stdbool.h>

#include "base/histogram.h"
#include "net/io.h"

enum {
    LOOP_EVENTS_MAX = 512,       /* taken from the io in one turn */
    LOOP_TIMERS_PER_TURN = 1024, /* fired in one turn; the rest in the next */
    LOOP_SHARE_US = 100, /* of a turn, for each kind of work of which there may be any amount */
    LOOP_LATE_US = 50 * 1000,      /* so long not looked at what came: the process did not run */
    LOOP_CATCH_UP_US = 500 * 1000, /* after that timers are held back so long at most, see loop.c */
};

/* What an io event belongs to. Embedded in its owner. */
struct loop_watcher {
    void (*on_ready)(struct loop_watcher *watcher, unsigned ready);
};

/* Fires once, at or after its time. Embedded in its owner, who zeroes it first. */
struct loop_timer {
    void (*on_time)(struct loop_timer *timer);
    uint64_t at_us; /* of the loop's now_us */
    uint64_t order; /* timers of one time fire in the order in which they were set */
    uint32_t place; /* in the heap, counted from 1; 0 while not set */
};

/* Runs at the end of every turn, in the order in which the hooks were added. */
struct loop_hook {
    void (*on_turn_end)(struct loop_hook *hook);
    struct loop_hook *next;
};

/* Runs once, after the hooks of the turn. */
struct loop_deferred {
    void (*run)(struct loop_deferred *deferred);
    struct loop_deferred *next;
};

/* Part of each turn, for work of which there may be any amount. Embedded in its owner, who zeroes it first. */
struct loop_share {
    uint64_t turn, until_us; /* when that turn's part is over */
};

/* Stands in the line of those who wait for time of the bulk's part of a turn. Embedded in its owner, who zeroes it first. */
struct loop_waiter {
    void (*on_turn)(struct loop_waiter *waiter); /* it is its turn; it has left the line */
    struct loop_waiter *next, **place;           /* place is NULL while it stands in no line */
};

struct loop {
    struct io *io;
    uint64_t now_us;        /* monotonic, read once a turn and after each batch of work */
    uint64_t wall_us;       /* read with it */
    uint64_t turns;         /* begun so far */
    struct loop_share bulk; /* conn.c: for those who read slowly, or are wrong */
    struct loop_waiter *line, **line_end;
    uint64_t looked_us; /* what came before this was looked at: timers up to it are due */
    uint64_t behind_us; /* until then at most it catches up; 0 while it does not */
    bool again;         /* work is left: the next turn does not wait */
    bool stopped;
    struct loop_timer **heap;
    uint32_t timer_count, timer_room, timer_reserved; /* set, allocated, promised */
    uint64_t timer_order;
    struct loop_hook *hooks;
    struct loop_deferred *deferred;
    uint64_t received_bytes, sent_bytes; /* by all conns */
    struct histogram turn_us;            /* how long turns took, waiting apart */
};

void loop_init(struct loop *loop, struct io *io);
void loop_free(struct loop *loop);

/* One turn; waits for `wait_max_us` at most (negative: no end of its own). */
void loop_turn(struct loop *loop, int64_t wait_max_us);

/* Turns until loop->stopped. */
void loop_run(struct loop *loop);

/* When the next timer is due, in terms of now_us; UINT64_MAX when there is none. */
uint64_t loop_deadline(const struct loop *loop);

/* The wall clock as it is now, and not as of the turn. */
uint64_t loop_clock_us(const struct loop *loop);

/* Reads the clocks anew into now_us and wall_us. */
void loop_update_time(struct loop *loop);

/* Makes room for one more timer, so that loop_timer_set on a new timer cannot fail. Returns 0 or -ENOMEM. */
int loop_timer_reserve(struct loop *loop);

/* Sets or moves a timer. Room must have been reserved for each timer that exists (loop_timer_reserve
 * once in its life; loop_timer_release gives it back). */
void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t at_us);
void loop_timer_clear(struct loop *loop, struct loop_timer *timer);
void loop_timer_release(struct loop *loop, struct loop_timer *timer);

void loop_hook_add(struct loop *loop, struct loop_hook *hook);
void loop_hook_remove(struct loop *loop, struct loop_hook *hook);

void loop_defer(struct loop *loop, struct loop_deferred *deferred,
                void (*run)(struct loop_deferred *));

/* Whether the turn under way still has time for one more piece of such work: it has for a first one, and then for LOOP_SHARE_US. Who is
 * told no leaves the piece for the next turn. */
bool loop_share_take(struct loop *loop, struct loop_share *share);

/* Joins the line at its end, if it does not stand there. It is served behind the events of this turn or a later one, first come, first
 * served: the io may report the same ones first in each turn. */
void loop_line_join(struct loop *loop, struct loop_waiter *waiter);

/* Leaves the line, if it stands there. */
void loop_line_leave(struct loop *loop, struct loop_waiter *waiter);

/* Runs what is deferred now: for the end, when no turn follows. */
void loop_run_deferred(struct loop *loop);

#endif
