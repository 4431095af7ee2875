/* Requests while keys move to another number of partitions. Each key then has two homes: its own cluster, where this front-end writes,
 * and the other one, where it may have been written before, or be written by a front-end that still goes by the old number (or
 * already by the new one). So whatever is asked, the other cluster is first asked for the key's version:
 *
 *   HEAD to the other ──► a write: to its own cluster, with a version that wins over both
 *                   └───► a read: from its own cluster ──older than the other's──► from the other
 *                                       ▲                                               │
 *                                       └──── older still, as another node says it ─────┘
 *
 * It does not matter then who writes where: each front-end that knows both sees the newest of both. A cluster that cannot be asked
 * for versions is done without; what its own cluster does not know at all is then asked for there nevertheless, so that the answer
 * is 503 and never a false 204. */
#include "role/moving.h"

#include "role/backend.h"
#include "role/frontend_state.h"
#include "role/lane.h"
#include "role/partition.h"
#include "role/relay.h"

/* Begins a new round of tries. */
static void turn_to(struct relay *relay, struct partition *partition)
{
    relay->partition = partition;
    relay->avoid = NULL;
    relay->tries = 0;
    relay->state = RELAY_SENDING;
}

void moving_ask_version(struct relay *relay)
{
    turn_to(relay, relay->other);
    relay->asks_version = true;
    relay->unasked = relay->settled = false;
    relay->other_version = relay->own_version = 0;
    relay_send(relay);
}

static void moving_end_asking(struct relay *relay)
{
    relay->asks_version = false;
    turn_to(relay, relay->own);
    relay_send(relay);
}

void moving_go_on(struct relay *relay)
{
    relay->unasked = true;
    moving_end_asking(relay);
}

bool moving_is_older(struct relay *relay, uint64_t version)
{
    if (!relay->other || relay->write || relay->settled)
        return false;
    if (relay->partition == relay->other)
        return version < relay->own_version;
    relay->own_version = version;
    return relay->unasked ? version == 0 : version < relay->other_version;
}

/* The node that was asked for the version and the one that is asked for the value may be two, of which the second one lags: what its own
 * cluster has is newer than that. */
void moving_look_there(struct relay *relay)
{
    relay->settled = relay->partition == relay->other;
    turn_to(relay, relay->settled ? relay->own : relay->other);
    relay_send(relay);
}

/* The answer with the version */

static void version_on_head(struct call *call, const struct http_response *head)
{
    struct relay *relay = ((struct attempt *)call)->relay;
    relay->misrouted = head->status == 421;
    relay->elsewhere = head->status != 200 && head->status != 204;
    relay->other_version = relay_learn_version((struct attempt *)call, head);
}

static void version_on_end(struct call *call, enum call_result result)
{
    struct attempt *attempt = (struct attempt *)call;
    struct relay *relay = attempt->relay;
    struct backend *backend = attempt->lane->backend;
    attempt_end(attempt, result == CALL_DONE);
    if (!relay)
        return;
    backend->failures += result != CALL_DONE;
    backend->partition->failures += result != CALL_DONE;
    relay->attempt = NULL;
    if (result == CALL_DONE && !relay->elsewhere) {
        moving_end_asking(relay);
        return;
    }
    if (result == CALL_DONE && relay->misrouted) {
        backend->wrong = true;
        backend_update(backend);
    }
    relay->avoid = backend;
    relay_failed(relay, false);
}

const struct call_ops moving_call_ops = {
    .on_head = version_on_head,
    .on_end = version_on_end,
};

/* Waiting: what is to be changed may be changed in either cluster, so both are asked again and again. */

bool moving_wait(struct relay *relay)
{
    struct frontend *frontend = relay->frontend;
    if (relay->status != 304 || frontend->loop->now_us >= relay->wait_until_us)
        return false;
    uint64_t again_us = frontend->loop->now_us + RELAY_ASK_AGAIN_US;
    relay_wait(relay, &frontend->asking,
               again_us < relay->wait_until_us ? again_us : relay->wait_until_us);
    return true;
}
