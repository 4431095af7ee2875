/* Connections to one member. Most requests share one, pipelined; what may take long has one of its own:
 *
 *   shared  ═ request request request … ═►      spare: the same, ready to take its place
 *   alone   ── a wait, or a long body ──►       kept for the next such when it is idle
 *
 * An answer on the shared one that turns out to take long makes that its own: those behind it are sent again elsewhere, and the
 * spare one is shared from then on. That throws away what was on its way to them, so a read that is likely to take long, as its key's
 * value was long the last time or as it was sent again so twice, has one of its own from the beginning. */
#include "role/lane.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "role/backend.h"
#include "role/frontend_state.h"
#include "role/moving.h"
#include "role/partition.h"
#include "role/relay.h"
#include "role/upload.h"

/* Attempts */

static void attempt_add(struct lane *lane, struct attempt *attempt)
{
    attempt->lane = lane;
    attempt->next = NULL;
    attempt->previous = lane->last;
    if (lane->last)
        lane->last->next = attempt;
    else
        lane->first = attempt;
    lane->last = attempt;
}

static void attempt_remove(struct attempt *attempt)
{
    struct lane *lane = attempt->lane;
    if (attempt->previous)
        attempt->previous->next = attempt->next;
    else
        lane->first = attempt->next;
    if (attempt->next)
        attempt->next->previous = attempt->previous;
    else
        lane->last = attempt->previous;
}

/* It is no load any more, as far as choosing goes. */
static void attempt_uncount(struct attempt *attempt)
{
    attempt->lane->backend->in_flight -= attempt->counted;
    attempt->counted = false;
}

static void attempt_free(struct attempt *attempt)
{
    struct frontend *frontend = attempt->lane->backend->partition->frontend;
    attempt_uncount(attempt);
    attempt_remove(attempt);
    pool_give(&frontend->attempts, attempt);
}

/* Idle lanes: with thousands that wait, nobody looks through all of them for one */

static void lane_rest(struct lane *lane)
{
    struct backend *backend = lane->backend;
    lane->idle = true;
    lane->idle_previous = NULL;
    lane->idle_next = backend->idle;
    if (backend->idle)
        backend->idle->idle_previous = lane;
    backend->idle = lane;
    backend->idle_count++;
}

static void lane_wake(struct lane *lane)
{
    struct backend *backend = lane->backend;
    if (!lane->idle)
        return;
    *(lane->idle_previous ? &lane->idle_previous->idle_next : &backend->idle) = lane->idle_next;
    if (lane->idle_next)
        lane->idle_next->idle_previous = lane->idle_previous;
    lane->idle = false;
    backend->idle_count--;
}

/* Those that a moment has left idle are wanted again in the next one, most likely; and each that is closed here keeps its port for a
 * minute, of which there are 28,000. So they go by and by. */
void lanes_trim(struct backend *backend)
{
    if (backend->idle_count > LANES_IDLE_MAX)
        upstream_close(backend->idle->upstream, 0);
}

void attempt_end(struct attempt *attempt, bool done)
{
    struct lane *lane = attempt->lane;
    attempt_free(attempt);
    upstream_pause(lane->upstream, false); /* as it may be since the last part of the body */
    if (lane->kind == LANE_SHARED || (lane->first && !lane->yielded))
        return; /* what comes behind the one that a lane was yielded to is for nobody */
    if (done && !lane->yielded)
        lane_rest(lane);
    else
        upstream_close(lane->upstream, 0);
}

/* Its relay goes its own way. */
static void attempt_detach(struct attempt *attempt)
{
    struct lane *lane = attempt->lane;
    attempt->relay->attempt = NULL;
    attempt->relay = NULL;
    attempt_uncount(attempt);
    if (lane->waiting) { /* it was never called */
        lane->waiting = false;
        attempt_free(attempt);
    } else {
        upstream_abandon(&attempt->call);
    }
}

void attempt_give_up(struct attempt *attempt)
{
    struct lane *lane = attempt->lane;
    if (attempt->begun && attempt->relay->streaming && lane_may_yield(lane))
        lane_yield(lane); /* the rest of it would hold up others */
    attempt_detach(attempt);
    if (lane->kind == LANE_ALONE)
        upstream_close(lane->upstream, -ECANCELED);
}

/* Lanes */

bool lane_is_open(const struct lane *lane)
{
    return lane && upstream_is_open(lane->upstream);
}

static void lane_call(struct lane *lane, struct attempt *attempt)
{
    struct conn_piece pieces[RELAY_PIECES_MAX];
    char room[RELAY_LINES_BYTES];
    struct relay *relay = attempt->relay;
    lane->waiting = false;
    lane->backend->requests++;
    if (upload_streams(relay) && !relay->asks_version) {
        upload_begin(relay, lane, attempt);
        return;
    }
    unsigned count = relay_pieces(relay, pieces, room);
    upstream_call(lane->upstream, &attempt->call, pieces, count);
}

/* How long the member may keep it, as it is asked to. */
static uint64_t held_us(const struct relay *relay)
{
    uint64_t now_us = relay->frontend->loop->now_us;
    if (!relay->alone)
        return 0;
    if (relay->held_until_us == 0)
        return LANE_COPIES_US;
    return relay->held_until_us > now_us ? relay->held_until_us - now_us : 0;
}

int lane_send(struct lane *lane, struct relay *relay)
{
    struct attempt *attempt = pool_take(&lane->backend->partition->frontend->attempts);
    if (!attempt)
        return -ENOMEM;
    const struct call_ops *ops = relay->asks_version ? &moving_call_ops : &relay_call_ops;
    *attempt = (struct attempt){.call = {.ops = ops,
                                         .held_us = held_us(relay),
                                         .head = relay->head_only || relay->asks_version},
                                .relay = relay,
                                .counted = lane->kind == LANE_SHARED};
    lane->backend->in_flight += attempt->counted;
    lane_wake(lane);
    attempt_add(lane, attempt);
    relay->attempt = attempt;
    if (lane->kind == LANE_ALONE && !lane_is_open(lane))
        lane->waiting = true;
    else
        lane_call(lane, attempt);
    return 0;
}

static void lane_on_open(struct upstream *upstream)
{
    struct lane *lane = upstream_owner(upstream);
    if (lane->waiting)
        lane_call(lane, lane->first);
    else if (lane->kind == LANE_ALONE && !lane->first)
        upstream_close(upstream, 0); /* its request was given up meanwhile */
    else
        backend_update(lane->backend);
}

static void lane_on_drained(struct upstream *upstream)
{
    const struct lane *lane = upstream_owner(upstream);
    struct relay *relay = lane->first ? lane->first->relay : NULL;
    if (relay && relay->upload)
        upload_on_drained(relay);
}

void lane_destroy(struct lane *lane)
{
    struct backend *backend = lane->backend;
    upstream_destroy(lane->upstream);
    lane_wake(lane);
    if (lane->previous)
        lane->previous->next = lane->next;
    else
        backend->lanes = lane->next;
    if (lane->next)
        lane->next->previous = lane->previous;
    if (backend->shared == lane)
        backend->shared = NULL;
    if (backend->spare == lane)
        backend->spare = NULL;
    backend->lane_count--;
    free(lane);
}

static void lane_on_closed(struct upstream *upstream, int error)
{
    struct lane *lane = upstream_owner(upstream);
    struct backend *backend = lane->backend;
    struct relay *relay = NULL;
    (void)error;
    if (lane->waiting) {
        relay = lane->first->relay;
        relay->attempt = NULL;
        relay->avoid = backend;
        attempt_free(lane->first);
    }
    lane_destroy(lane);
    backend_update(backend);
    if (relay)
        relay_failed(relay, false);
}

static const struct upstream_ops lane_ops = {
    .on_open = lane_on_open,
    .on_closed = lane_on_closed,
    .on_drained = lane_on_drained,
};

struct lane *lane_new(struct backend *backend, enum lane_kind kind)
{
    static const struct upstream_config config = {BACKEND_CONNECT_US, LANE_ANSWER_US};
    struct frontend *frontend = backend->partition->frontend;
    unsigned max = kind == LANE_SHARED ? LANES_MAX : LANES_MAX - LANES_KEPT;
    struct lane *lane = backend->lane_count < max ? calloc(1, sizeof *lane) : NULL;
    if (!lane)
        return NULL;
    lane->backend = backend;
    lane->kind = kind;
    lane->upstream = upstream_new(frontend->upstreams, &config, &lane_ops, lane);
    if (!lane->upstream || upstream_connect(lane->upstream, &backend->address) != 0) {
        if (lane->upstream)
            upstream_destroy(lane->upstream);
        free(lane);
        return NULL;
    }
    lane->next = backend->lanes;
    if (lane->next)
        lane->next->previous = lane;
    backend->lanes = lane;
    backend->lane_count++;
    return lane;
}

struct lane *lane_take(struct backend *backend)
{
    for (struct lane *lane = backend->idle; lane; lane = lane->idle_next)
        if (lane_is_open(lane)) /* not one whose end is still to be told */
            return lane;
    return lane_new(backend, LANE_ALONE);
}

bool lane_has_place(const struct backend *backend)
{
    return backend->idle || backend->lane_count < LANES_MAX - LANES_KEPT;
}

/* Those behind the first are taken off, to be sent again: the nodes' answers to them are passed over when they come. */
static struct relay *lane_take_relays(struct lane *lane)
{
    struct relay *relays = NULL, **end = &relays;
    for (struct attempt *attempt = lane->first->next, *next; attempt; attempt = next) {
        struct relay *relay = attempt->relay;
        next = attempt->next;
        if (!relay)
            continue;
        attempt_detach(attempt);
        relay->next = NULL;
        *end = relay;
        end = &relay->next;
    }
    return relays;
}

bool lane_may_yield(const struct lane *lane)
{
    return lane->kind == LANE_SHARED && lane->backend->lane_count < LANES_MAX;
}

void lane_yield(struct lane *lane)
{
    struct backend *backend = lane->backend;
    assert(lane->kind == LANE_SHARED);
    struct relay *relays = lane_take_relays(lane);
    lane->kind = LANE_ALONE;
    lane->yielded = true;
    backend->partition->frontend->counters.yielded++;
    if (backend->shared == lane) {
        backend->shared = backend->spare;
        backend->spare = NULL;
    } else if (backend->spare == lane) {
        backend->spare = NULL;
    }
    backend_tend_lanes(backend);
    backend_update(backend);
    while (relays) {
        struct relay *relay = relays;
        relays = relay->next;
        if (relay->displaced < RELAY_DISPLACED_MAX)
            relay->displaced++;
        relay_send_again(relay, true);
    }
}

void lanes_close(struct backend *backend)
{
    for (struct lane *lane = backend->lanes, *next; lane; lane = next) {
        next = lane->next;
        upstream_close(lane->upstream, -ECONNRESET);
    }
}
