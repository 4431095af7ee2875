/* One remote server:
 *
 *   upstream_call ─► text and pieces of this turn ──end of turn──► conn ─► server
 *                        │
 *   calls under way:  first ─► … ─► last       an answer belongs to the first, which leaves when it is whole
 *                        ▲
 *   owner ◄─ on_head, on_body, on_end ─┘◄── parsed ◄── shared input ◄── conn
 *
 * Whatever ends the connection, the calls under way are ended at the end of the turn, so that an owner never hears of it from
 * inside of a function that it calls. Calls that find no connection wait for that moment in a list of their own, as the
 * connection may stand by then. */
#include "net/upstream_parts.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum { READS_PER_TURN = 4 }; /* of one upstream */

/* Lists of calls */

static void calls_init(struct calls *calls)
{
    calls->first = NULL;
    calls->end = &calls->first;
}

void calls_append(struct calls *calls, struct call *call)
{
    call->next = NULL;
    *calls->end = call;
    calls->end = &call->next;
}

static struct call *calls_take(struct calls *calls)
{
    struct call *call = calls->first;
    calls->first = call->next;
    if (!calls->first)
        calls->end = &calls->first;
    return call;
}

/* Who has something to do at the end of the turn */

void upstream_due(struct upstream *upstream)
{
    struct upstreams *all = upstream->all;
    if (upstream->due)
        return;
    upstream->due = true;
    upstream->next_due = NULL;
    *all->due_end = upstream;
    all->due_end = &upstream->next_due;
    all->loop->again |= all->turn == all->loop->turns;
}

static void upstream_not_due(struct upstream *upstream)
{
    struct upstreams *all = upstream->all;
    struct upstream **at = &all->due;
    if (!upstream->due)
        return;
    while (*at != upstream)
        at = &(*at)->next_due;
    *at = upstream->next_due;
    if (all->due_end == &upstream->next_due)
        all->due_end = at;
    upstream->due = false;
}

/* The end of calls */

static void output_drop(struct upstream *upstream)
{
    for (unsigned i = 0; i < upstream->count; i++)
        if (upstream->pieces[i].release)
            upstream->pieces[i].release(upstream->pieces[i].context, upstream->pieces[i].owner);
    upstream->count = 0;
    upstream->used = upstream->piece_start = 0;
}

void call_end(struct upstream *upstream, enum call_result result)
{
    struct call *call = calls_take(&upstream->under_way);
    upstream->depth--;
    if (upstream->open_call == call)
        upstream->open_call = NULL;
    call->upstream = NULL;
    call->ops->on_end(call, result);
}

bool call_is_unsent(const struct upstream *upstream, const struct call *call)
{
    return call->output_begin >= upstream->conn.sent_bytes;
}

/* The connection is gone, so none comes to them from inside of these callbacks. */
static void calls_end(struct upstream *upstream)
{
    output_drop(upstream);
    for (struct call *call; (call = upstream->under_way.first);)
        call_end(upstream, call_is_unsent(upstream, call) ? CALL_UNSENT : CALL_LOST);
}

/* Ends those that were refused up to `last`, or all: who calls again at once, from inside of on_end, must not hold up the turn. */
static void refused_end(struct upstream *upstream, const struct call *last)
{
    for (bool more = true; more && upstream->refused.first;) {
        struct call *call = calls_take(&upstream->refused);
        more = call != last;
        call->upstream = NULL;
        call->ops->on_end(call, CALL_UNSENT);
    }
}

static struct call *refused_last(const struct upstream *upstream)
{
    struct call *last = upstream->refused.first;
    while (last && last->next)
        last = last->next;
    return last;
}

static void upstream_free(struct upstream *upstream)
{
    upstream_not_due(upstream);
    loop_timer_release(upstream->all->loop, &upstream->timer);
    free(upstream->text);
    free(upstream);
}

static void upstream_on_deferred(struct loop_deferred *deferred);

void upstream_defer(struct upstream *upstream)
{
    if (upstream->deferring)
        return;
    upstream->deferring = true;
    loop_defer(upstream->all->loop, &upstream->deferred, upstream_on_deferred);
}

/* Tells what is to be told. Any of the callbacks may destroy the upstream. */
static void upstream_tell(struct upstream *upstream)
{
    bool ending = upstream->state == UPSTREAM_ENDING;
    if (ending)
        calls_end(upstream);
    const struct call *last = refused_last(upstream);
    if (last)
        refused_end(upstream, last);
    if (!ending || upstream->state != UPSTREAM_ENDING)
        return; /* also when one of these callbacks has closed it: that is told next */
    upstream->state = UPSTREAM_CLOSED;
    loop_timer_clear(upstream->all->loop, &upstream->timer);
    free(upstream->text);
    upstream->text = NULL;
    upstream->ops->on_closed(upstream, upstream->error);
}

/* While it runs, nothing is deferred anew, so the memory stays until its end. */
static void upstream_on_deferred(struct loop_deferred *deferred)
{
    struct upstream *upstream =
        (struct upstream *)((char *)deferred - offsetof(struct upstream, deferred));
    if (upstream->state != UPSTREAM_DESTROYED)
        upstream_tell(upstream);
    upstream->deferring = false;
    if (upstream->state == UPSTREAM_DESTROYED)
        upstream_free(upstream);
    else if (upstream->state == UPSTREAM_ENDING)
        upstream_defer(upstream);
    else if (upstream->refused.first)
        upstream_due(upstream);
}

static void upstream_on_conn_closed(struct conn *conn)
{
    struct upstream *upstream = (struct upstream *)conn;
    if (upstream->state == UPSTREAM_DESTROYED)
        return;
    if (upstream->error == 0)
        upstream->error = conn->error;
    upstream->state = UPSTREAM_ENDING;
    upstream->open_call = NULL;
    upstream_defer(upstream);
}

void upstream_close(struct upstream *upstream, int error)
{
    if (upstream->state != UPSTREAM_OPEN && upstream->state != UPSTREAM_CONNECTING)
        return;
    upstream->error = error;
    conn_close(&upstream->conn);
}

/* Hundreds may send large values at a time. */
static void upstream_on_readable(struct conn *conn)
{
    struct upstream *upstream = (struct upstream *)conn;
    for (int reads = 0; reads < READS_PER_TURN; reads++)
        if (!upstream_read(upstream, true) ||
            !loop_share_take(upstream->all->loop, &upstream->all->reads))
            return;
}

static void upstream_look_at_sent(struct upstream *upstream);

/* What was said in this turn goes out at its end, and comes before this. */
static void upstream_shut(struct upstream *upstream)
{
    bool said = upstream->used > 0 || upstream->count > 0 || conn_blocked(&upstream->conn);
    if (upstream->state == UPSTREAM_OPEN && upstream->finishing && !said)
        conn_shut(&upstream->conn);
}

static void upstream_on_drained(struct conn *conn)
{
    struct upstream *upstream = (struct upstream *)conn;
    upstream_look_at_sent(upstream);
    upstream_shut(upstream);
    if (upstream->state == UPSTREAM_OPEN && upstream->ops->on_drained)
        upstream->ops->on_drained(upstream);
}

/* Time */

static void upstream_set_timer(struct upstream *upstream, uint64_t at_us)
{
    if (at_us && (!upstream->timer.place || upstream->timer.at_us > at_us))
        loop_timer_set(upstream->all->loop, &upstream->timer, at_us);
}

/* As long as the kernel takes of the oldest call, it is being sent. */
static void upstream_look_at_sent(struct upstream *upstream)
{
    struct call *call = upstream->under_way.first;
    uint64_t sent_bytes = upstream->conn.sent_bytes;
    if (call && upstream->seen_bytes < call->output_end && upstream->seen_bytes < sent_bytes)
        call->sent_us = upstream->all->loop->now_us;
    upstream->seen_bytes = sent_bytes;
}

/* Since when the server has been silent that owes something. */
static uint64_t upstream_silent_us(const struct upstream *upstream)
{
    const struct call *call = upstream->under_way.first;
    return call && call->sent_us > upstream->waits_us ? call->sent_us : upstream->waits_us;
}

/* When the connection is to be cut, as things stand; 0 for never. While the owner has yet to go on with a body, the server
 * owes nothing. */
static uint64_t upstream_deadline(const struct upstream *upstream)
{
    const struct call *call = upstream->under_way.first;
    if (upstream->state == UPSTREAM_CONNECTING)
        return upstream->waits_us + upstream->config.connect_us;
    if (upstream->state != UPSTREAM_OPEN || !call || upstream->paused ||
        upstream->config.answer_us == 0)
        return 0;
    if (call == upstream->open_call && !conn_blocked(&upstream->conn))
        return 0;
    return upstream_silent_us(upstream) + upstream->config.answer_us + call->held_us;
}

static void upstream_on_time(struct loop_timer *timer)
{
    struct upstream *upstream =
        (struct upstream *)((char *)timer - offsetof(struct upstream, timer));
    upstream_look_at_sent(upstream);
    uint64_t deadline = upstream_deadline(upstream);
    if (deadline && deadline <= upstream->all->loop->now_us)
        upstream_close(upstream, -ETIMEDOUT);
    else
        upstream_set_timer(upstream, deadline);
}

/* Connecting */

static void upstream_on_connected(struct conn *conn)
{
    struct upstream *upstream = (struct upstream *)conn;
    upstream->state = UPSTREAM_OPEN;
    upstream->heard_us = upstream->waits_us = upstream->all->loop->now_us;
    loop_timer_clear(upstream->all->loop, &upstream->timer);
    upstream->ops->on_open(upstream);
}

static const struct conn_ops upstream_conn_ops = {
    .on_connected = upstream_on_connected,
    .on_readable = upstream_on_readable,
    .on_drained = upstream_on_drained,
    .on_closed = upstream_on_conn_closed,
};

int upstream_connect(struct upstream *upstream, const struct address *address)
{
    struct loop *loop = upstream->all->loop;
    if (upstream->state != UPSTREAM_CLOSED)
        return -EBUSY;
    int fd = loop->io->ops->connect(loop->io, address);
    if (fd < 0)
        return fd;
    int error = conn_connect(&upstream->conn, loop, fd, &upstream_conn_ops);
    if (error) {
        loop->io->ops->close(loop->io, fd);
        return error;
    }
    upstream->conn.duplex = true;
    upstream->state = UPSTREAM_CONNECTING;
    upstream->error = 0;
    upstream->part = ANSWER_HEAD;
    upstream->last = upstream->finishing = upstream->paused = upstream->resumed = false;
    upstream->called_bytes = upstream->seen_bytes = 0;
    upstream->heard_us = upstream->waits_us = loop->now_us;
    upstream_set_timer(upstream, upstream_deadline(upstream));
    return 0;
}

bool upstream_is_open(const struct upstream *upstream)
{
    return upstream->state == UPSTREAM_OPEN && !upstream->last && !upstream->finishing;
}

bool upstream_is_occupied(const struct upstream *upstream)
{
    return upstream->open_call != NULL;
}

void upstream_abandon(struct call *call)
{
    struct upstream *upstream = call->upstream;
    call->abandoned = true;
    if (upstream && upstream->open_call == call)
        upstream_close(upstream, -ECANCELED);
}

void upstream_finish(struct upstream *upstream)
{
    assert(!upstream->open_call);
    upstream->finishing = true;
    upstream_due(upstream);
}

unsigned upstream_depth(const struct upstream *upstream)
{
    return upstream->depth;
}

bool upstream_blocked(const struct upstream *upstream)
{
    return upstream->state == UPSTREAM_OPEN && conn_blocked(&upstream->conn);
}

void upstream_pause(struct upstream *upstream, bool paused)
{
    if (upstream->state != UPSTREAM_OPEN || upstream->paused == paused)
        return;
    uint64_t now_us = upstream->all->loop->now_us, silent_us = upstream_silent_us(upstream);
    upstream->paused = paused;
    conn_pause(&upstream->conn, paused);
    if (paused) {
        upstream->paused_us = now_us;
        return;
    }
    bool waited = silent_us < upstream->paused_us;
    upstream->waits_us = waited ? now_us - (upstream->paused_us - silent_us) : now_us;
    upstream->resumed = true;
    upstream_due(upstream);
}

uint64_t upstream_heard_us(const struct upstream *upstream)
{
    return upstream->heard_us;
}

void *upstream_owner(const struct upstream *upstream)
{
    return upstream->owner;
}

int upstream_error(const struct upstream *upstream)
{
    return upstream->error;
}

/* Life */

struct upstream *upstream_new(struct upstreams *upstreams, const struct upstream_config *config,
                              const struct upstream_ops *ops, void *owner)
{
    struct upstream *upstream = calloc(1, sizeof *upstream);
    if (!upstream || loop_timer_reserve(upstreams->loop) != 0) {
        free(upstream);
        return NULL;
    }
    upstream->all = upstreams;
    upstream->config = *config;
    upstream->ops = ops;
    upstream->owner = owner;
    calls_init(&upstream->under_way);
    calls_init(&upstream->refused);
    upstream->timer.on_time = upstream_on_time;
    return upstream;
}

void upstream_destroy(struct upstream *upstream)
{
    bool connected = upstream->state == UPSTREAM_OPEN || upstream->state == UPSTREAM_CONNECTING;
    upstream->state = UPSTREAM_DESTROYED;
    upstream->open_call = NULL;
    if (connected)
        conn_close(&upstream->conn);
    calls_end(upstream);
    refused_end(upstream, NULL);
    upstream_defer(upstream);
}

/* At the end of a turn: sends, goes on with what was paused, ends what was refused. */
static void upstream_settle(struct upstream *upstream)
{
    if (upstream->refused.first)
        upstream_defer(upstream);
    if (upstream->state != UPSTREAM_OPEN)
        return;
    upstream_flush(upstream);
    upstream_shut(upstream);
    upstream_look_at_sent(upstream);
    upstream_set_timer(upstream, upstream_deadline(upstream));
    if (upstream->state == UPSTREAM_OPEN && upstream->resumed && !upstream->paused)
        upstream_read(upstream, false);
}

static void upstreams_on_turn_end(struct loop_hook *hook)
{
    struct upstreams *all = (struct upstreams *)((char *)hook - offsetof(struct upstreams, hook));
    struct upstream *upstream;
    for (unsigned steps = 0; (upstream = all->due) && steps < LOOP_EVENTS_MAX; steps++) {
        upstream_not_due(upstream);
        upstream_settle(upstream);
    }
    all->turn = all->loop->turns;
    all->loop->again |= all->due != NULL;
}

struct upstreams *upstreams_new(struct loop *loop)
{
    struct upstreams *all = calloc(1, sizeof *all);
    if (!all)
        return NULL;
    all->loop = loop;
    all->due_end = &all->due;
    http_reader_init(&all->reader);
    all->input = malloc(HTTP_HEAD_BYTES_MAX + UPSTREAM_INPUT_BYTES);
    if (!all->input) {
        free(all);
        return NULL;
    }
    all->hook.on_turn_end = upstreams_on_turn_end;
    loop_hook_add(loop, &all->hook);
    return all;
}

void upstreams_destroy(struct upstreams *all)
{
    loop_run_deferred(all->loop);
    loop_hook_remove(all->loop, &all->hook);
    free(all->input);
    free(all);
}
