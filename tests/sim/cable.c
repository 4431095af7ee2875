#include "cable.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/io.h"

enum {
    RETRY_US = 200 * 1000, /* the first time that a lost segment is sent again; doubles */
    KNOCK_RETRY_US = 1000 * 1000,
    KNOCKS_MAX = 7,
    GIVE_UP_US = 120 * 1000 * 1000,
};

#define EVENT_OWNER(event, type, field) ((type *)((char *)(event)-offsetof(type, field)))

struct cable_end *cable_peer(struct cable_end *end)
{
    return end == &end->cable->ends[0] ? &end->cable->ends[1] : &end->cable->ends[0];
}

static struct world *world_of(const struct cable_end *end)
{
    return end->cable->cables->world;
}

static const char *name_of(const struct cable_end *end, char out[40])
{
    snprintf(out, 40, "cable %llu to %s", (unsigned long long)end->cable->id, end->host->name);
    return out;
}

static void changed(struct cable_end *end)
{
    if (end->on_change && !end->closed)
        end->on_change(end);
}

/* How long the next segment takes. */
static uint64_t way_us(struct cables *cables)
{
    const struct faults *faults = cables->faults;
    uint64_t us = rng_between(&cables->rng, faults->latency_us_min, faults->latency_us_max);
    if (rng_chance(&cables->rng, faults->delay_ppm))
        us += faults->delay_us;
    return us + 1;
}

/* Segments */

static struct cable_segment *segment_last(struct cable_end *to)
{
    return &to->segments[(to->segment_first + to->segment_count - 1) % CABLE_SEGMENTS];
}

static void segment_schedule(struct cable_end *to)
{
    if (to->segment_count)
        world_event_set(world_of(to), &to->arrival, to->segments[to->segment_first].at_us);
    else
        world_event_clear(world_of(to), &to->arrival);
}

/* How long bytes take beside that, each after the one before it. */
static uint64_t slowness_us(struct cable_end *to, uint64_t bytes)
{
    const struct cables *cables = to->cable->cables;
    const struct cable_host *from = cable_peer(to)->host;
    uint64_t rate = cables->bytes_per_s && from && to->host
                        ? cables->bytes_per_s(cables->context, from, to->host)
                        : 0;
    return rate ? bytes * 1000000 / rate : 0;
}

static void segment_push(struct cable_end *to, uint64_t end, bool is_end, bool is_reset)
{
    uint64_t at_us = world_of(to)->now_us + way_us(to->cable->cables);
    uint64_t before = to->segment_count ? segment_last(to)->end : to->arrived;
    if (at_us < to->last_at_us)
        at_us = to->last_at_us;
    at_us += slowness_us(to, end - before);
    to->last_at_us = at_us;
    struct cable_segment segment = {at_us, end, is_end, is_reset};
    if (to->segment_count == CABLE_SEGMENTS) {
        struct cable_segment *last = segment_last(to);
        segment.is_end |= last->is_end;
        segment.is_reset |= last->is_reset;
        *last = segment;
    } else {
        to->segment_count++;
        *segment_last(to) = segment;
    }
    if (to->segment_count == 1)
        segment_schedule(to);
}

/* What is on its way to `to` gets lost. */
static void segments_drop(struct cable_end *to)
{
    to->segment_count = 0;
    to->sent = to->arrived;
    to->last_at_us = 0;
    world_event_clear(world_of(to), &to->arrival);
}

/* Resets */

static void end_reset(struct cable_end *end, int error)
{
    if (end->reset)
        return;
    char name[40];
    world_trace(world_of(end), "net", "%s: error %d arrives", name_of(end, name), error);
    end->reset = end->ended = true;
    end->connecting = false;
    end->error = error;
    segments_drop(end);
    if (end->cable->cables->faults->reset_discards)
        end->taken = end->arrived;
    changed(end);
}

/* Sends a reset from `from` to its peer. */
static void reset_send(struct cable_end *from)
{
    struct cable_end *to = cable_peer(from);
    if (to->reset)
        return;
    world_trace(world_of(from), from->host->name, "resets cable %llu",
                (unsigned long long)from->cable->id);
    if (rng_chance(&from->cable->cables->rng, 500000))
        segments_drop(to);
    segment_push(to, to->sent, false, true);
}

void cable_break(struct cable *cable, int error)
{
    cable->troubled = true;
    cable->cables->world->counts.resets++;
    world_event_clear(cable->cables->world, &cable->knock);
    end_reset(&cable->ends[0], error);
    if (cable->ends[1].host) /* the call has come to somebody */
        end_reset(&cable->ends[1], error);
}

/* Arrival */

static bool way_is_cut(const struct cable *cable)
{
    uint64_t now_us = cable->cables->world->now_us;
    return cable->ends[0].host->cut_until_us > now_us ||
           (cable->ends[1].host && cable->ends[1].host->cut_until_us > now_us);
}

static bool pair_is_cut(const struct cables *cables, const struct cable_host *from,
                        const struct cable_host *to)
{
    return cables->is_cut && from && to && cables->is_cut(cables->context, from, to);
}

/* Puts the next segment off until the way may be free; gives up in the end. */
static void arrival_put_off(struct cable_end *end)
{
    end->cable->troubled = true;
    end->retry_us = end->retry_us ? end->retry_us * 2 : RETRY_US;
    uint64_t give_up_us = end->cable->cables->give_up_us;
    if (give_up_us && end->retry_us > give_up_us) {
        end_reset(cable_peer(end), ETIMEDOUT);
        segments_drop(end);
        return;
    }
    if (end->retry_us > GIVE_UP_US)
        end_reset(cable_peer(end), ETIMEDOUT);
    world_event_set(world_of(end), &end->arrival, world_of(end)->now_us + end->retry_us);
}

/* Returns false when nothing more can arrive. */
static bool segment_arrive(struct cable_end *end, struct cable_segment segment)
{
    struct cables *cables = end->cable->cables;
    if (segment.is_reset) {
        end_reset(end, end->connecting ? ECONNREFUSED : ECONNRESET);
        return false;
    }
    uint64_t fresh = segment.end - end->arrived;
    if (fresh && rng_chance(&cables->rng, cables->faults->reset_ppm)) {
        end->arrived += rng_below(&cables->rng, fresh + 1);
        cable_break(end->cable, ECONNRESET);
        return false;
    }
    end->arrived = segment.end;
    end->ended |= segment.is_end;
    if (!end->closed)
        return true;
    end->taken = end->arrived;
    if (fresh)
        reset_send(end); /* nobody is there any more */
    return true;
}

static void on_arrival(struct world_event *event)
{
    struct cable_end *end = EVENT_OWNER(event, struct cable_end, arrival);
    if (way_is_cut(end->cable) ||
        pair_is_cut(end->cable->cables, cable_peer(end)->host, end->host)) {
        arrival_put_off(end);
        return;
    }
    end->retry_us = 0;
    bool going = true;
    while (going && end->segment_count &&
           end->segments[end->segment_first].at_us <= world_of(end)->now_us) {
        struct cable_segment segment = end->segments[end->segment_first];
        end->segment_first = (end->segment_first + 1) % CABLE_SEGMENTS;
        end->segment_count--;
        going = segment_arrive(end, segment);
    }
    segment_schedule(end);
    changed(end);
}

/* Rings */

static void ring_grow(struct cable_end *end, uint64_t bytes)
{
    uint64_t room = end->room ? end->room : 1024;
    while (room < bytes)
        room *= 2;
    char *data = malloc(room);
    if (!data)
        abort();
    for (uint64_t at = end->taken; at < end->sent; at++)
        data[at & (room - 1)] = end->data[at & (end->room - 1)];
    free(end->data);
    end->data = data;
    end->room = room;
}

/* Copies between `bytes` and the ring at position `at`, in up to two runs. */
static void ring_put(struct cable_end *end, uint64_t at, const char *data, uint64_t bytes)
{
    uint64_t place = at & (end->room - 1);
    uint64_t first = bytes < end->room - place ? bytes : end->room - place;
    memcpy(end->data + place, data, first);
    memcpy(end->data, data + first, bytes - first);
}

static void ring_get(const struct cable_end *end, uint64_t at, char *out, uint64_t bytes)
{
    uint64_t place = at & (end->room - 1);
    uint64_t first = bytes < end->room - place ? bytes : end->room - place;
    memcpy(out, end->data + place, first);
    memcpy(out + first, end->data, bytes - first);
}

/* Sending and receiving */

static uint64_t space_to(const struct cable_end *to)
{
    uint64_t used = to->sent - to->taken;
    return used < to->capacity ? to->capacity - used : 0;
}

/* Plants a mistake in what comes to a client. */
static void bytes_mutate(struct cable_end *end, char *data, ssize_t *bytes)
{
    struct world *world = world_of(end);
    bool is_client = end == &end->cable->ends[0];
    if (!is_client || *bytes <= 0 || world->mutant == MUTANT_NONE)
        return;
    size_t at = (size_t)rng_below(&world->mutant_rng, (uint64_t)*bytes);
    if (world_mutates(world, MUTANT_FLIPPED_BIT, 20000))
        data[at] ^= 1;
    if (*bytes > 1 && world_mutates(world, MUTANT_DROPPED_BYTE, 20000)) {
        memmove(data + at, data + at + 1, (size_t)*bytes - at - 1);
        --*bytes;
    }
}

/* The error that waits to be told, once. */
static ssize_t error_take(struct cable_end *end)
{
    int error = end->error;
    end->error = 0;
    return -error;
}

ssize_t cable_recv(struct cable_end *end, void *out, size_t bytes)
{
    uint64_t there = end->arrived - end->taken;
    if (there == 0 && end->error)
        return error_take(end);
    if (there == 0)
        return end->ended ? 0 : -EAGAIN;
    struct cable_end *peer = cable_peer(end);
    bool was_full = !(cable_ready(peer) & IO_WRITE);
    ssize_t got = (ssize_t)(there < bytes ? there : bytes);
    if (out)
        ring_get(end, end->taken, out, (uint64_t)got);
    end->taken += (uint64_t)got;
    if (was_full && cable_ready(peer) & IO_WRITE)
        changed(peer);
    if (out)
        bytes_mutate(end, out, &got);
    return got;
}

/* Cuts bytes that were put in the ring up to to->sent into segments. */
static void segments_cut(struct cable_end *to, uint64_t from)
{
    struct cables *cables = to->cable->cables;
    uint64_t count = rng_between(&cables->rng, 1, cables->faults->segments_max);
    while (count-- > 1 && to->sent - from > 1) {
        from += rng_between(&cables->rng, 1, to->sent - from - 1);
        segment_push(to, from, false, false);
    }
    segment_push(to, to->sent, false, false);
}

static void bytes_note(struct cable_end *from, const char *data, size_t bytes)
{
    struct world *world = world_of(from);
    bool back = from == &from->cable->ends[1];
    world_note(world, from->cable->id << 1 | back, data, bytes);
    world->counts.bytes += bytes;
    if (world->trace) {
        char what[40];
        snprintf(what, sizeof what, "sends on cable %llu", (unsigned long long)from->cable->id);
        world_trace_bytes(world, from->host->name, what, data, bytes);
    }
}

ssize_t cable_send(struct cable_end *end, const struct iovec *pieces, int count, size_t bytes_max)
{
    struct cable_end *to = cable_peer(end);
    if (end->error)
        return error_take(end);
    if (end->reset || end->shut)
        return -EPIPE;
    uint64_t left = end->connecting ? 0 : space_to(to);
    left = left < bytes_max ? left : bytes_max;
    if (left == 0)
        return -EAGAIN;
    uint64_t from = to->sent;
    for (int i = 0; i < count && left > 0; i++) {
        uint64_t bytes = pieces[i].iov_len < left ? pieces[i].iov_len : left;
        if (bytes == 0)
            continue;
        if (to->sent - to->taken + bytes > to->room)
            ring_grow(to, to->sent - to->taken + bytes);
        ring_put(to, to->sent, pieces[i].iov_base, bytes);
        bytes_note(end, pieces[i].iov_base, bytes);
        to->sent += bytes;
        left -= bytes;
    }
    if (to->sent > from)
        segments_cut(to, from);
    return (ssize_t)(to->sent - from);
}

void cable_shutdown(struct cable_end *end)
{
    if (end->shut || end->reset)
        return;
    end->shut = true;
    struct cable_end *to = cable_peer(end);
    world_note(world_of(end), end->cable->id << 1 | (end == &end->cable->ends[1]), "end", 3);
    world_trace(world_of(end), end->host->name, "ends its side of cable %llu",
                (unsigned long long)end->cable->id);
    segment_push(to, to->sent, true, false);
}

uint64_t cable_readable(const struct cable_end *end)
{
    return end->arrived - end->taken;
}

uint64_t cable_news(const struct cable_end *end)
{
    return end->arrived + end->ended + end->reset;
}

unsigned cable_ready(const struct cable_end *end)
{
    if (end->connecting)
        return 0;
    const struct cable_end *to =
        end == &end->cable->ends[0] ? &end->cable->ends[1] : &end->cable->ends[0];
    unsigned ready = 0;
    if (end->arrived > end->taken || end->ended)
        ready |= IO_READ;
    if (end->ended)
        ready |= IO_ENDED;
    if (end->shut || end->reset || space_to(to) >= to->low_water)
        ready |= IO_WRITE;
    if (end->reset || (end->shut && end->ended))
        ready |= IO_BROKEN;
    return ready;
}

/* Closing */

static void cable_destroy(struct cable *cable)
{
    for (int i = 0; i < 2; i++) {
        world_event_clear(cable->cables->world, &cable->ends[i].arrival);
        free(cable->ends[i].data);
    }
    world_event_clear(cable->cables->world, &cable->knock);
    if (cable->previous)
        cable->previous->next = cable->next;
    else
        cable->cables->all = cable->next;
    if (cable->next)
        cable->next->previous = cable->previous;
    free(cable);
}

static void end_close(struct cable_end *end)
{
    struct cable *cable = end->cable;
    end->closed = true;
    end->on_change = NULL;
    end->taken = end->arrived;
    bool nobody_came = end == &cable->ends[0] && !cable->ends[1].host;
    if (nobody_came || cable_peer(end)->closed)
        cable_destroy(cable);
}

void cable_abort(struct cable_end *end)
{
    if (!end->reset && cable_peer(end)->host)
        reset_send(end);
    end_close(end);
}

void cable_close(struct cable_end *end)
{
    if (end->connecting || end->arrived > end->taken) {
        cable_abort(end);
        return;
    }
    cable_shutdown(end);
    end_close(end);
}

/* Calling and listening */

void cable_host_add(struct cables *cables, struct cable_host *host)
{
    host->next = cables->hosts;
    host->listeners = NULL;
    host->port = 32768;
    cables->hosts = host;
}

void cable_host_cut(struct cables *cables, struct cable_host *host, uint64_t until_us)
{
    world_trace(cables->world, "net", "%s is cut off until %llu us", host->name,
                (unsigned long long)until_us);
    host->cut_until_us = until_us;
}

static struct cable_listener *listener_find(struct cable_host *host, uint16_t port)
{
    struct cable_listener *listener = host ? host->listeners : NULL;
    while (listener && listener->port != port)
        listener = listener->next;
    return listener;
}

static struct cable_host *host_find(const struct cables *cables, const struct address *address)
{
    struct cable_host *host = cables->hosts;
    while (host && memcmp(host->ip, address->ip, sizeof host->ip) != 0)
        host = host->next;
    return host;
}

int cable_listen(struct cables *cables, struct cable_host *host, struct cable_listener *listener,
                 uint16_t port)
{
    if (port && listener_find(host, port))
        return -EADDRINUSE;
    *listener = (struct cable_listener){.host = host, .port = port ? port : ++host->port};
    listener->backlog = cables->faults->backlog_max;
    listener->next = host->listeners;
    host->listeners = listener;
    return 0;
}

void cable_listen_end(struct cable_listener *listener)
{
    struct cable_listener **at = &listener->host->listeners;
    while (*at != listener)
        at = &(*at)->next;
    *at = listener->next;
    for (unsigned i = 0; i < listener->waiting_count; i++) {
        listener->waiting[i]->cable->waiting = NULL;
        cable_abort(listener->waiting[i]);
    }
    listener->waiting_count = 0;
}

struct cable_end *cable_accept(struct cable_listener *listener)
{
    if (listener->waiting_count == 0)
        return NULL;
    struct cable_end *end = listener->waiting[0];
    listener->waiting_count--;
    memmove(listener->waiting, listener->waiting + 1,
            listener->waiting_count * sizeof listener->waiting[0]);
    end->cable->waiting = NULL;
    end->cable->accepted = true;
    end->cable->accepted_us = end->cable->cables->world->now_us;
    return end;
}

static void end_init(struct cables *cables, struct cable_end *end, struct cable *cable)
{
    end->cable = cable;
    end->arrival.run = on_arrival;
    end->capacity =
        rng_spread(&cables->rng, cables->faults->pipe_bytes_min, cables->faults->pipe_bytes_max);
    end->low_water = cables->faults->pipe_low_water ? end->capacity / 3 + 1 : 1;
}

/* The call has reached somebody who listens. */
static void knock_enter(struct cable *cable, struct cable_listener *listener)
{
    struct cable_end *caller = &cable->ends[0], *called = &cable->ends[1];
    called->host = listener->host;
    called->port = listener->port;
    cable->waiting = listener;
    listener->waiting[listener->waiting_count++] = called;
    segment_push(caller, 0, false, false); /* the answer; data that follows comes after it */
    if (listener->on_change)
        listener->on_change(listener);
}

static void knock_again(struct cable *cable)
{
    cable->troubled = true;
    if (++cable->knocks == KNOCKS_MAX)
        end_reset(&cable->ends[0], ETIMEDOUT);
    else
        world_event_set(cable->cables->world, &cable->knock,
                        cable->cables->world->now_us + ((uint64_t)KNOCK_RETRY_US << cable->knocks));
}

static void on_knock(struct world_event *event)
{
    struct cable *cable = EVENT_OWNER(event, struct cable, knock);
    struct cable_host *host = host_find(cable->cables, &cable->to);
    struct cable_listener *listener = listener_find(host, cable->to.port);
    bool cut = way_is_cut(cable) || (host && host->cut_until_us > cable->cables->world->now_us) ||
               pair_is_cut(cable->cables, cable->ends[0].host, host);
    if (cut || (listener && listener->waiting_count >= listener->backlog))
        knock_again(cable);
    else if (listener)
        knock_enter(cable, listener);
    else
        end_reset(&cable->ends[0], ECONNREFUSED);
}

static void on_answer(struct world_event *event)
{
    struct cable_end *caller = EVENT_OWNER(event, struct cable_end, arrival);
    if (!way_is_cut(caller->cable) &&
        !pair_is_cut(caller->cable->cables, cable_peer(caller)->host, caller->host)) {
        caller->connecting = false;
        caller->arrival.run = on_arrival;
    }
    on_arrival(event);
}

struct cable_end *cable_connect(struct cables *cables, struct cable_host *host,
                                const struct address *to)
{
    struct cable *cable = calloc(1, sizeof *cable);
    if (!cable)
        abort();
    cable->cables = cables;
    cable->next = cables->all;
    if (cable->next)
        cable->next->previous = cable;
    cables->all = cable;
    cable->id = ++cables->ids;
    cable->to = *to;
    cable->knock.run = on_knock;
    end_init(cables, &cable->ends[0], cable);
    end_init(cables, &cable->ends[1], cable);
    cable->ends[0].host = host;
    cable->ends[0].port = ++host->port;
    cable->ends[0].connecting = true;
    cable->ends[0].arrival.run = on_answer;
    uint64_t us = way_us(cables);
    if (cables->faults->knock_ppm && rng_chance(&cables->rng, cables->faults->knock_ppm))
        us += rng_below(&cables->rng, KNOCK_US_MAX);
    world_event_set(cables->world, &cable->knock, cables->world->now_us + us);
    cables->world->counts.connections++;
    return &cable->ends[0];
}

void cables_init(struct cables *cables, struct world *world, struct faults *faults)
{
    memset(cables, 0, sizeof *cables);
    cables->world = world;
    cables->faults = faults;
    rng_seed(&cables->rng, world->seed, 0x6361626c6573);
}

void cables_free(struct cables *cables)
{
    for (struct cable *cable = cables->all, *next; cable; cable = next) {
        next = cable->next;
        cable_destroy(cable);
    }
}
