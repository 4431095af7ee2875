/* One request on its way:
 *
 *   UPLOADING ──body is whole──► SENDING ──whole answer, or a refusal──► ANSWERED
 *                                ▲ │ ▲  ▲ │
 *   BEHIND ───those before it ───┘ │ │  │ ▼ it must not be
 *             are answered         ▼ │  WAITING  sent anew yet
 *              nobody is ready   PARKED
 *
 * A read whose answer has no room before its turn is ASIDE until there is some, or its turn comes (relay_aside.c); then it is SENDING anew.
 * A long answer is passed on from its head on (`streaming`); another try goes on with it.
 *
 * A try that ends without an answer is followed by one at another member. A write that is tried again carries the time of its first
 * try as its version, so that it cannot overwrite what came after that. The first try has its version from the node, which is later; so
 * it is refused there after a while (Fog-Before), and the next one is not sent before that. Else the first one, when it was held
 * up on its way, could come back over what was written once the next one was seen. A first try that was refused so was not carried out;
 * then the next one has its version from the node, too. */
#include "role/relay.h"

#include <stdlib.h>

#include "role/backend.h"
#include "role/frontend_state.h"
#include "role/lane.h"
#include "role/moving.h"
#include "role/partition.h"
#include "role/upload.h"

/* Life */

static void relay_give_back(struct relay *relay)
{
    struct frontend *frontend = relay->frontend;
    frontend->waiting -= relay->waits;
    pool_give(&frontend->relays, relay);
}

/* While keys move, a change may come about in either cluster: no node can wait for it. Who drains has nobody wait. */
void relay_set_wait(struct relay *relay, const struct key_options *options)
{
    const struct frontend *frontend = relay->frontend;
    if (!relay->waits && !(relay->alone && (options->waits || frontend->draining)))
        return;
    uint64_t until_us =
        frontend->loop->now_us + (frontend->draining ? 0 : options->wait_seconds * 1000000ULL);
    if (!relay->other || relay->write) {
        relay->held_until_us = until_us;
        return;
    }
    relay->alone = false;
    relay->hurried = true;
    relay->wait_until_us = until_us;
}

/* Reads that come soon after a write: the push from where it was carried out may not have come to all nodes yet. */

static struct recent_write *recent_place(const struct relay *relay)
{
    return &relay->frontend->recent[relay->key_hash % RECENT_MAX];
}

/* NULL when there is none. Where nobody has written just now the table is not looked at, since it is not in the processor's cache. */
static const struct recent_write *recent_find(const struct relay *relay)
{
    uint64_t now_us = relay->frontend->loop->now_us;
    if (relay->frontend->recent_until_us <= now_us)
        return NULL;
    const struct recent_write *recent = recent_place(relay);
    return recent->key_hash == relay->key_hash && recent->until_us > now_us ? recent : NULL;
}

void relay_will_be_written(const struct relay *relay)
{
    __builtin_prefetch(recent_place(relay), 1);
}

void relay_was_written(const struct relay *relay)
{
    const struct recent_write *recent = recent_find(relay);
    if (recent && recent->version >= relay->after)
        return;
    uint64_t bytes = relay->upload ? relay->upload->bytes : 0;
    uint64_t until_us = relay->frontend->loop->now_us + RECENT_US + bytes / RECENT_BYTES_EACH_US;
    /* It comes to other nodes behind the long one that it replaces. */
    if (recent && recent->until_us > until_us)
        until_us = recent->until_us;
    if (relay->frontend->recent_until_us < until_us)
        relay->frontend->recent_until_us = until_us;
    *recent_place(relay) =
        (struct recent_write){relay->key_hash, relay->after, relay->writer, until_us};
}

static void relay_follow(struct relay *relay, uint64_t version, uint64_t writer)
{
    if (version < relay->after)
        return;
    relay->after = version;
    relay->writer = writer;
    relay->home = true;
}

static void read_init(struct relay *relay)
{
    const struct recent_write *recent = recent_find(relay);
    relay->home = relay->frontend->config.read_home;
    if (recent)
        relay_follow(relay, recent->version, recent->node);
}

struct relay *relay_new(struct frontend *frontend, struct request *request)
{
    struct frontend_work *work = frontend_work_of(request);
    struct relay *relay = pool_take(&frontend->relays);
    if (!relay)
        return NULL;
    memset(relay, 0, offsetof(struct relay, sent));
    relay->frontend = frontend;
    relay->partition = relay->own = &frontend->partitions[work->partition];
    relay->other = frontend->others ? &frontend->others[work->other_partition] : NULL;
    relay->request = request;
    relay->key_hash = work->key_hash;
    relay->state = RELAY_SENDING;
    relay->write = request->head.method >= HTTP_POST;
    relay->versioned = work->options.exact;
    *(relay->versioned ? &relay->version : &relay->after) = work->options.version;
    relay->follows = relay->versioned && work->options.follows;
    relay->before_us = work->options.before_us;
    relay->copies = work->options.copies;
    relay->head_only = request->head.method == HTTP_HEAD;
    relay->alone = request->exclusive;
    relay->waits = relay->alone && !relay->write;
    relay_set_wait(relay, &work->options);
    if (!relay->write)
        read_init(relay);
    relay_bytes_init(&relay->sent);
    relay_bytes_init(&relay->got);
    frontend->waiting += relay->waits;
    if (relay_write(relay, request) == 0)
        return relay;
    relay_free(relay);
    return NULL;
}

/* Waiting */

void relay_wait(struct relay *relay, struct relay_list *list, uint64_t until_us)
{
    relay->again_us = until_us;
    relay->state = RELAY_WAITING;
    relay->list = list;
    relay->next = NULL;
    relay->previous = list->last;
    *(list->last ? &list->last->next : &list->first) = relay;
    list->last = relay;
}

static void relay_stop_waiting(struct relay *relay)
{
    struct relay_list *list = relay->list;
    *(relay->previous ? &relay->previous->next : &list->first) = relay->next;
    *(relay->next ? &relay->next->previous : &list->last) = relay->previous;
    relay->state = RELAY_SENDING;
}

static void list_tick(struct relay_list *list, uint64_t now_us, void (*send)(struct relay *))
{
    while (list->first && list->first->again_us <= now_us) {
        struct relay *relay = list->first;
        relay_stop_waiting(relay);
        send(relay);
    }
}

void relays_tick(struct frontend *frontend)
{
    list_tick(&frontend->settling, frontend->loop->now_us, relay_send);
    list_tick(&frontend->asking, frontend->loop->now_us, moving_ask_version);
}

void relay_free(struct relay *relay)
{
    if (relay->attempt)
        attempt_give_up(relay->attempt);
    if (relay->state == RELAY_PARKED)
        partition_unpark(relay->partition, relay);
    if (relay->state == RELAY_WAITING)
        relay_stop_waiting(relay);
    relay->frontend->behind -= relay->state == RELAY_BEHIND;
    relay_leave_line(relay);
    relay_blocks_free(relay);
    relay->frontend->kept_bytes -= relay->sent.size - RELAY_ROOM_BYTES;
    relay_bytes_free(&relay->sent);
    relay_bytes_free(&relay->got);
    free(relay->upload);
    relay_give_back(relay);
}

/* Those of one key on one client's connection, a write among them, are under way one after the other: if one that came before a write were
 * tried again, it could overwrite that, or read what was only written after it; and a read has to see what was written before it. */

/* A deferred request on a key has its relay. */
static struct relay *relay_of_key(uint64_t key_hash, struct request *request)
{
    const struct frontend_work *work = frontend_work_of(request);
    return work->on_key && work->key_hash == key_hash ? request->service_data : NULL;
}

/* Whether one before it is still on its way. A read follows the writes that are not. A connection has SERVER_DEFERRED_MAX requests at
 * most. */
static bool is_behind(struct relay *relay)
{
    struct request *one = relay->write || request_follows_write(relay->request)
                              ? request_deferred_first(relay->request)
                              : NULL;
    for (; one && one != relay->request; one = request_deferred_next(one)) {
        const struct relay *other = relay_of_key(relay->key_hash, one);
        if (!other || (!other->write && !relay->write))
            continue;
        if (other->state != RELAY_ANSWERED)
            return true;
        if (!relay->write && other->writer)
            relay_follow(relay, other->after, other->writer);
    }
    return false;
}

/* How long it waits, if it does, counts from now on. */
static void relay_step_up(struct relay *relay)
{
    relay->state = RELAY_SENDING;
    relay->frontend->behind--;
    if (!relay->hurried)
        relay_set_wait(relay, &frontend_work_of(relay->request)->options);
    relay_begin(relay);
}

void relay_end(struct relay *relay)
{
    relay->state = RELAY_ANSWERED;
    struct request *one = relay->frontend->behind > 0 && relay->request->deferred
                              ? request_deferred_next(relay->request)
                              : NULL;
    for (; one; one = request_deferred_next(one)) {
        struct relay *other = relay_of_key(relay->key_hash, one);
        if (!other || other->state != RELAY_BEHIND)
            continue;
        relay_step_up(other);
        if (other->state == RELAY_BEHIND)
            return;
    }
}

/* Sending */

static void count_request(struct partition *partition)
{
    partition->requests++;
    if (partition->retry_tokens < RETRY_TOKENS_MAX * RETRY_TOKEN_PARTS)
        partition->retry_tokens++;
}

void relay_begin(struct relay *relay)
{
    if (is_behind(relay)) {
        relay->state = RELAY_BEHIND;
        relay->frontend->behind++;
        return;
    }
    count_request(relay->own);
    if (!relay->other) {
        relay_send(relay);
        return;
    }
    count_request(relay->other);
    moving_ask_version(relay);
}

void relay_start(struct relay *relay, struct request *deferred)
{
    relay->request = deferred;
    relay_begin(relay);
}

/* By the node's clock, not by this machine's: what the node gives it on the first try is not less, so that what comes after that is
 * newer than another try, and what came before is older, however wrong the clock here is. */
static void relay_stamp(struct relay *relay, const struct backend *backend)
{
    struct frontend *frontend = relay->frontend;
    uint64_t clock_us = backend_clock_us(backend);
    if (relay->after <= relay->other_version && relay->other)
        relay->after = relay->other_version + (relay->other_version < UINT64_MAX);
    frontend_learn_version(frontend, relay->after, clock_us);
    relay->version = frontend_version(frontend, clock_us);
    if (relay->version < relay->after)
        relay->version = relay->after;
    relay->ahead = relay->version > clock_us || relay->other;
    relay->follows = relay->version > clock_us + RELAY_AHEAD_US;
    relay->late_us = clock_us + (upload_streams(relay) ? RELAY_LONG_LATE_US : RELAY_LATE_US);
    relay->settled_us = frontend->loop->now_us + RELAY_LATE_US;
}

/* A read whose answer is likely to be long. */
static bool is_long(const struct relay *relay)
{
    bool known = relay->frontend->long_keys[relay->key_hash % LONG_KEYS_MAX] == relay->key_hash;
    return (known || relay->displaced == RELAY_DISPLACED_MAX) && !relay->write && !relay->head_only;
}

/* The connection for it. What is only likely to take long may share one when there is no other; NULL when there must be. */
static struct lane *relay_lane(const struct relay *relay, struct backend *backend)
{
    bool alone = relay->alone || upload_streams(relay);
    if (relay->asks_version || (!alone && !is_long(relay)))
        return backend->shared;
    struct lane *lane = lane_take(backend);
    return lane || alone ? lane : backend->shared;
}

/* A try of a write: is it the first one with its version, and does it get that now? It is when none before it can have been carried out. */
static void write_begin_try(struct relay *relay, const struct backend *backend)
{
    relay->first = !relay->lost || relay->late;
    if (relay->first && !relay->versioned)
        relay_stamp(relay, backend);
    relay->late = false;
}

bool relay_end_wait(struct relay *relay)
{
    if (!relay->held || !relay->alone || !relay->waits)
        return false;
    relay->hurried = true;
    relay->alone = false;
    return true;
}

void relay_send(struct relay *relay)
{
    bool unsettled = relay->write && relay->lost && !relay->versioned;
    if (unsettled && relay->settled_us > relay->frontend->loop->now_us) {
        relay_wait(relay, &relay->frontend->settling, relay->settled_us);
        return;
    }
    if (relay_stands_aside(relay))
        return;
    struct backend *backend = partition_choose(relay->partition, relay);
    if (!backend) {
        partition_park(relay->partition, relay);
        return;
    }
    if (relay->tries + 1 == RELAY_TRIES_MAX)
        relay_end_wait(relay);
    struct lane *lane = relay_lane(relay, backend);
    if (!lane && relay_end_wait(relay))
        lane = backend->shared;
    if (relay->write && !relay->asks_version)
        write_begin_try(relay, backend);
    relay->tries++;
    if (!lane || lane_send(lane, relay) != 0)
        relay_refuse(relay, 503, "This front-end has no room for one more request; try again.");
}

static void relay_unanswered(struct relay *relay)
{
    relay->frontend->counters.unanswered++;
    if (relay->nonsense)
        relay_refuse(relay, 502,
                     "No node of this key's partition has answered so that it made sense.");
    else
        relay_refuse(relay, 503, "No node of this key's partition has answered; try again.");
}

void relay_send_again(struct relay *relay, bool lost)
{
    relay->lost |= lost && !relay->asks_version;
    relay_send(relay);
}

static bool may_try_again(struct relay *relay)
{
    bool may = relay->tries < RELAY_TRIES_MAX && partition_may_retry(relay->partition);
    relay->frontend->counters.retries += may;
    relay->frontend->counters.retries_refused += !may;
    return may;
}

void relay_failed(struct relay *relay, bool lost)
{
    const struct upload *upload = relay->upload;
    bool given =
        upload && upload->streams && upload->begun && !relay->asks_version; /* and not kept */
    lost &= !given || upload->whole;
    relay->lost |= lost && !relay->asks_version;
    relay->held |= lost;
    relay_rewind(relay);
    if (given) {
        relay_refuse(relay, 502,
                     "The node was lost before it had the whole value; nothing has changed.");
        return;
    }
    if (!may_try_again(relay)) {
        if (relay->asks_version)
            moving_go_on(relay);
        else
            relay_unanswered(relay);
        return;
    }
    relay_send_again(relay, lost);
}

void relay_was_refused(struct relay *relay, struct backend *by)
{
    relay->avoid = by;
    relay_failed(relay, false);
}

/* By the same node, since what its client has seen of it may have versions by a clock that was just set forward. When that was it, the
 * next hello tells. */
void relay_was_late(struct relay *relay)
{
    struct frontend *frontend = relay->frontend;
    if (upload_streams(relay)) { /* and are not kept */
        relay_refuse(relay, 503,
                     "The node was too busy to take the value; nothing has changed. Try again.");
        return;
    }
    if (!may_try_again(relay)) {
        relay_unanswered(relay);
        return;
    }
    relay->late = true;
    if (relay->tries > 1)
        relay_wait(relay, &frontend->settling,
                   frontend->loop->now_us + BACKEND_HELLO_US + FRONTEND_TICK_US);
    else
        relay_send(relay);
}

/* It was sent, and is to be sent no second time: the node that holds it is told instead that nothing more comes on that connection, and
 * then says how many copies there are. */
static void write_hurry(struct relay *relay)
{
    bool whole = !relay->upload || relay->upload->whole;
    if (!relay->alone || relay->hurried || !whole)
        return;
    relay->hurried = true;
    relay->held_until_us = relay->frontend->loop->now_us;
    if (relay->attempt && !relay->attempt->lane->waiting && !relay->asks_version)
        upstream_finish(relay->attempt->lane->upstream);
}

void relay_hurry(struct relay *relay)
{
    relay->wait_until_us = 0;
    if (relay->write) {
        write_hurry(relay);
        return;
    }
    if (relay->state == RELAY_WAITING && relay->list == &relay->frontend->asking) {
        relay_stop_waiting(relay);
        relay_answer(relay);
        return;
    }
    if (!relay->alone || relay->state == RELAY_ANSWERED || relay->hurried || relay->streaming)
        return;
    relay->hurried = true;
    relay->alone = false;
    if (relay->state == RELAY_PARKED || relay->state == RELAY_WAITING ||
        relay->state == RELAY_BEHIND)
        return;
    if (relay->attempt)
        attempt_give_up(relay->attempt);
    relay_send(relay);
}
