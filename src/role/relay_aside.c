/* What is kept of answers before their turn. All reads of a connection are asked at once, but written in order: a client that takes
 * nothing would make the front-end keep all of them. So those behind the first one share RELAY_ASIDE_BYTES.
 *
 *   first          asked, and kept, whatever it takes
 *   behind it      asked while there is room for what is kept, or to be expected, of all of them
 *   ASIDE          there is none: not asked, or its answer was not taken. Asked (anew) when those before it were written
 *
 * How long an answer will be is only known once its head is there. Until then it is expected to be as long as the one that came last
 * on the connection. */
#include "role/backend.h"
#include "role/frontend_state.h"
#include "role/moving.h"

/* Writes are answered shortly; of what waits for a change there is one, as nothing is looked at behind it. */
static bool is_bounded(const struct relay *relay)
{
    return !relay->write && !relay->waits && !relay->head_only && !relay->told;
}

static bool is_known_long(const struct relay *relay)
{
    return relay->frontend->long_keys[relay->key_hash % LONG_KEYS_MAX] == relay->key_hash;
}

/* NULL for a deferred request that is no key's. */
static struct relay *relay_of(const struct request *deferred)
{
    return frontend_work_of((struct request *)(uintptr_t)deferred)->on_key ? deferred->service_data
                                                                           : NULL;
}

static void set_room(struct relay *relay, uint64_t bytes)
{
    struct server_line *line = request_line(relay->request);
    line->bytes += bytes - relay->room;
    relay->room = bytes;
}

static bool is_first(const struct relay *relay)
{
    return request_deferred_first(relay->request) == relay->request;
}

/* What is longer than a stream may hold keeps a node's connection busy besides: it is never begun before its turn. */
static bool has_room(const struct relay *relay, uint64_t bytes)
{
    if (is_first(relay))
        return true;
    const struct request *first = request_deferred_first(relay->request);
    const struct relay *other = first ? relay_of(first) : NULL;
    uint64_t all = request_line(relay->request)->bytes - relay->room + bytes;
    return bytes <= RELAY_STREAM_BYTES && all - (other ? other->room : 0) <= RELAY_ASIDE_BYTES;
}

/* More than 0, so that it can be told from one for which no room was looked for. */
static uint64_t expected_bytes(const struct relay *relay)
{
    if (is_known_long(relay))
        return RELAY_STREAM_BYTES + 1;
    uint64_t bytes = relay->length ? relay->length : request_line(relay->request)->length;
    return bytes ? bytes : 1;
}

/* It has been asked by nobody, as far as its tries go: that a node had an answer is no failure. */
static void stand_aside(struct relay *relay)
{
    set_room(relay, 0);
    relay->tries = 0;
    relay->avoid = NULL;
    relay->state = RELAY_ASIDE;
    request_line(relay->request)->aside++;
}

bool relay_stands_aside(struct relay *relay)
{
    if (relay->room > 0 || !is_bounded(relay) || is_first(relay))
        return false;
    uint64_t bytes = expected_bytes(relay);
    if (request_line(relay->request)->aside > 0 || !has_room(relay, bytes)) {
        stand_aside(relay);
        return true;
    }
    set_room(relay, bytes);
    return false;
}

bool relay_has_room(struct relay *relay, uint64_t bytes)
{
    if (!is_bounded(relay))
        return true;
    request_line(relay->request)->length = bytes;
    if (is_first(relay))
        return true;
    if (has_room(relay, bytes)) {
        set_room(relay, bytes ? bytes : 1);
        return true;
    }
    relay->length = bytes;
    stand_aside(relay);
    return false;
}

void relay_leave_line(struct relay *relay)
{
    set_room(relay, 0);
    request_line(relay->request)->aside -= relay->state == RELAY_ASIDE;
}

/* Nothing of an earlier answer was shown, so that it may as well be asked from the beginning. */
static void step_in(struct relay *relay, uint64_t bytes)
{
    request_line(relay->request)->aside--;
    relay->state = RELAY_SENDING;
    set_room(relay, bytes);
    if (relay->other)
        moving_ask_version(relay);
    else
        relay_send(relay);
}

/* One that is long is passed over, as it waits for its turn anyway; else those behind would take its room again and again. */
void relays_turn(struct request *first)
{
    const struct server_line *line = request_line(first);
    for (struct request *one = first; one && line->aside > 0; one = request_deferred_next(one)) {
        struct relay *relay = relay_of(one);
        if (!relay || relay->state != RELAY_ASIDE)
            continue;
        uint64_t bytes = expected_bytes(relay);
        if (has_room(relay, bytes))
            step_in(relay, bytes);
        else if (bytes <= RELAY_STREAM_BYTES)
            return;
    }
}
