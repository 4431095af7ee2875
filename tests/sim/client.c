#include "client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/io.h"

enum {
    READ_BYTES = 64 * 1024,
    PATIENCE_US = 45 * 1000 * 1000,
    PATIENCE_IN_TROUBLE_US = 600 * 1000 * 1000,
    PATIENCE_IN_BACKLOG_US =
        2000 * 1000 * 1000, /* all others are idle first, one after the other */
    RETRY_US = 1000 * 1000, /* after a connection that failed */
    NAP_US = 30 * 1000 * 1000,
};

typedef unsigned long long ull;

static struct world *world_of(struct sim_client *client)
{
    return &client->scene->world;
}

static uint64_t now_of(const struct sim_client *client)
{
    return client->scene->world.now_us;
}

static struct call *call_at(struct sim_client *client, unsigned index)
{
    return &client->calls[(client->call_first + index) % CLIENT_DEPTH_MAX];
}

static bool is_troubled(const struct sim_client *client)
{
    return client->end->cable->troubled;
}

/* A limit of the node's that is certainly not reached yet after this time, whatever stood still. */
static uint64_t safe_part(const struct sim_client *client, uint64_t limit_us)
{
    const struct faults *faults = &client->scene->faults;
    uint64_t lost_us = faults->pause_ppm ? faults->pause_us_max : 0;
    return limit_us / 2 > lost_us ? limit_us / 2 - lost_us : 0;
}

/* Whether a request took so long to send that the node may have had enough of it. */
static bool is_slow_sender(const struct sim_client *client)
{
    uint64_t limit_us = safe_part(client, client->scene->limits.request_us);
    for (unsigned i = 0; i < client->call_count; i++) {
        const struct call *call = &client->calls[(client->call_first + i) % CLIENT_DEPTH_MAX];
        uint64_t until_us = call->sent_us ? call->sent_us : now_of(client);
        if (call->begun_us && until_us - call->begun_us >= limit_us)
            return true;
    }
    return false;
}

/* Connections */

static void on_change(struct cable_end *end)
{
    struct sim_client *client = end->owner;
    world_event_hasten(world_of(client), &client->tick, now_of(client));
}

static void client_connect(struct sim_client *client)
{
    struct scene *scene = client->scene;
    client->end = cable_connect(&scene->cables, &client->host, &scene->address);
    client->end->on_change = on_change;
    client->end->owner = client;
    client->out.len = 0;
    client->out_base = client->sent = client->received = 0;
    client->call_first = client->call_count = 0;
    client->session_left = (uint32_t)rng_between(&client->rng, 1, scene->habits.session_max);
    client->response_begun = false;
    memset(client->own_floors, 0, scene->model.key_count * sizeof *client->own_floors);
    client->leave_at = client->hold_until_us = UINT64_MAX;
    client->last = client->half_close = client->shut = false;
    client->heard_close = client->send_failed = client->raced = false;
    client->ignores_rest = client->stopped = client->naps = false;
    client->read_at_us = client->send_at_us = 0;
    client->quiet_us = client->progress_us = now_of(client);
    client->sent_at_us = 0;
    client->place = (struct judge_place){
        .scene = scene,
        .who = client->host.name,
        .own_floors = client->own_floors,
        .begun_us = now_of(client),
        .first = true,
    };
    world_trace(&scene->world, client->host.name, "connects, cable %llu",
                (ull)client->end->cable->id);
}

/* No connection any more: what was not answered stays open in the model. */
static void client_forget(struct sim_client *client, uint64_t retry_us)
{
    for (unsigned i = 0; i < client->call_count; i++) {
        struct call *call = call_at(client, i);
        if (call->write)
            model_write_lost(&client->scene->model, call->write);
    }
    client->call_count = 0;
    client->end = NULL;
    client->done = client->calls_left == 0;
    client->next_us = now_of(client) + retry_us;
}

/* Leaving in the middle, as `leave_how` says. */
static void client_leave(struct sim_client *client)
{
    world_trace(world_of(client), client->host.name, "leaves at byte %llu", (ull)client->sent);
    world_of(client)->counts.left++;
    client->leave_at = UINT64_MAX;
    client->out.len = (size_t)(client->sent - client->out_base);
    if (client->leave_how == LEAVE_HALF) {
        cable_shutdown(client->end);
        client->shut = client->last = true;
        return;
    }
    if (client->leave_how == LEAVE_STOP) {
        client->stopped = client->last = true;
        return;
    }
    if (client->leave_how == LEAVE_ABORT)
        cable_abort(client->end);
    else
        cable_close(client->end);
    client_forget(client, rng_spread(&client->rng, 1, client->scene->habits.think_us_max));
}

void sim_client_leave(struct sim_client *client)
{
    if (client->end) {
        client->leave_how = LEAVE_CLOSE;
        client_leave(client);
    }
    client->calls_left = 0;
    client->done = true;
    world_event_clear(world_of(client), &client->tick);
}

/* The end of a connection, by the node or by a fault */

/* Whether a node that stops may leave this unanswered: it had not read it when it was told to stop, since
 * it was busy with the call before; or its time is over; or what was still being sent made the network forget the answer (a reset). */
static bool drain_is_excuse(struct sim_client *client)
{
    const struct scene *scene = client->scene;
    const struct call *call = call_at(client, 0);
    uint64_t slack_us = faults_slack_us(&scene->faults);
    if (!scene->draining)
        return false;
    bool waits =
        client->received == 0 && (scene->faults.accept_failure_ppm || scene->faults.files_max);
    bool idle = client->place.previous_us + slack_us < scene->draining_us;
    bool early = idle && client->call_count && call->sent_us &&
                 call->sent_us + slack_us < scene->draining_us;
    bool sends = client->sent_at_us + slack_us >= scene->draining_us;
    return !early || waits || sends ||
           now_of(client) >= scene->draining_us + scene->limits.drain_us / 10 * 9;
}

/* Whether the node, or the network, may cut this connection in the middle of something. */
static bool end_is_excused(struct sim_client *client)
{
    const struct scene *scene = client->scene;
    const struct call *call = call_at(client, 0);
    bool nothing_came = client->received == 0;
    if (is_troubled(client) || drain_is_excuse(client) || client->raced || client->slow_reader ||
        client->naps)
        return true;
    if (client->call_count &&
        (call->unfinished || (call->too_large && call->end - call->begin > 100000)))
        return true;
    return is_slow_sender(client) || (scene->crowded && nothing_came);
}

static void end_check_idle(struct sim_client *client)
{
    uint64_t quiet_us = now_of(client) - client->quiet_us;
    bool expected = client->last || client->shut || client->heard_close || client->stranger;
    quiet_us += faults_slack_us(&client->scene->faults);
    if (!expected && quiet_us < client->scene->limits.idle_us && !end_is_excused(client))
        world_fail(world_of(client), "%s: an idle connection was ended after %llu of %llu us",
                   client->host.name, (ull)quiet_us, (ull)client->scene->limits.idle_us);
}

static void end_check_busy(struct sim_client *client)
{
    const struct call *call = call_at(client, 0);
    if (end_is_excused(client))
        return;
    world_fail(
        world_of(client),
        "%s: cable %llu ended with %u calls unanswered, the first at byte %llu (%llu received)",
        client->host.name, (ull)client->end->cable->id, client->call_count, (ull)call->begin,
        (ull)client->received);
}

static void client_reply(struct sim_client *client);

static void client_end(struct sim_client *client, ssize_t error)
{
    struct world *world = world_of(client);
    world_trace(world, client->host.name, "cable %llu ends (%lld)", (ull)client->end->cable->id,
                (long long)error);
    if (client->response_begun && response_end(&client->response) && error == 0)
        client_reply(client);
    if (error == -ECONNREFUSED && !client->scene->draining)
        world_fail(world, "%s: the connection was refused", client->host.name);
    if (client->call_count)
        end_check_busy(client);
    else
        end_check_idle(client);
    cable_close(client->end);
    client_forget(client, client->received ? rng_spread(&client->rng, 1, RETRY_US) : RETRY_US);
}

/* Replies */

static void call_pop(struct sim_client *client)
{
    client->call_first = (client->call_first + 1) % CLIENT_DEPTH_MAX;
    client->call_count--;
    if (client->call_count == 0)
        client->quiet_us = now_of(client);
}

/* A reply has said that the connection ends: what stands behind its call never happens. */
static void client_hear_close(struct sim_client *client)
{
    client->heard_close = client->last = true;
    client->leave_at = UINT64_MAX;
    client->out.len = (size_t)(client->sent - client->out_base);
    for (; client->call_count; call_pop(client))
        if (call_at(client, 0)->write)
            model_write_refused(&client->scene->model, call_at(client, 0)->write);
}

static void client_hear_continue(struct sim_client *client, struct call *call)
{
    if (!call->expect || call->continued)
        world_fail(world_of(client), "%s: 100 Continue that nobody waits for", client->host.name);
    call->continued = true;
    client->hold_until_us = UINT64_MAX;
}

static void calls_mutate(struct sim_client *client)
{
    struct call *one = call_at(client, 0), *two = call_at(client, 1);
    if (client->call_count > 1 && one->kind == two->kind && !one->head && !two->head &&
        one->sent_us && two->sent_us && one->kind != CALL_BAD &&
        world_mutates(world_of(client), MUTANT_SWAPPED_REPLIES, 200000)) {
        struct call swap = *one;
        *one = *two;
        *two = swap;
    }
}

/* A 503 to nobody in particular: there is no place for this connection. */
static void client_hear_crowd(struct sim_client *client)
{
    if (client->response.status != 503 || !client->response.close)
        world_fail(world_of(client), "%s: %u, though nothing was asked", client->host.name,
                   client->response.status);
    client_hear_close(client);
}

/* Whether what the node sends is here at once. The first may wait long to be accepted. */
static bool is_prompt(const struct sim_client *client)
{
    const struct faults *faults = &client->scene->faults;
    bool waits = client->place.first && (faults->accept_failure_ppm || faults->files_max);
    return !waits && !client->slow_reader && !client->naps && !is_troubled(client) &&
           client->response.length + 1000 < faults->pipe_bytes_min;
}

static void client_reply(struct sim_client *client)
{
    struct response *response = &client->response;
    struct judge_place *place = &client->place;
    struct call *call = call_at(client, 0);
    bool unasked = response->status == 408 || (response->status == 503 && place->first);
    client->response_begun = false;
    client->ignores_rest = unasked && response->no_body;
    world_trace(world_of(client), client->host.name, "hears %u, %llu B, version %llu, ETag %s",
                response->status, (ull)response->fold.bytes, (ull)response->version,
                response->has_etag ? response->etag : "none");
    if (client->call_count == 0) {
        client_hear_crowd(client);
        return;
    }
    if (response->status == 100) {
        client_hear_continue(client, call);
        return;
    }
    calls_mutate(client);
    place->prompt = is_prompt(client);
    place->slow = is_slow_sender(client) || is_troubled(client);
    place->shut = client->shut;
    judge_reply(place, call, response);
    place->previous_us = now_of(client);
    place->first = client->raced = false;
    client->hold_until_us = UINT64_MAX;
    call_pop(client);
    if (response->close)
        client_hear_close(client);
}

static bool may_be_answered(const struct sim_client *client)
{
    if (client->stranger || client->heard_close)
        return false;
    return client->call_count > 0 || (client->scene->crowded && client->place.first);
}

static void client_begin_response(struct sim_client *client)
{
    const struct call *call = call_at(client, 0);
    bool asked = client->call_count > 0;
    response_init(&client->response, asked && call->head, asked && call->old, NULL);
    client->response_begun = true;
}

static void client_feed(struct sim_client *client, const char *data, size_t bytes)
{
    while (bytes > 0 && !client->ignores_rest && !world_of(client)->failed) {
        if (!client->response_begun && !may_be_answered(client)) {
            world_fail(world_of(client), "%s: %zu bytes that nobody asked for: %.*s",
                       client->host.name, bytes, (int)(bytes < 100 ? bytes : 100), data);
            return;
        }
        if (!client->response_begun)
            client_begin_response(client);
        size_t used = response_feed(&client->response, data, bytes);
        data += used;
        bytes -= used;
        if (client->response.wrong)
            world_fail(world_of(client), "%s: in the reply to the call at byte %llu: %s",
                       client->host.name, (ull)call_at(client, 0)->begin, client->response.wrong);
        else if (client->response.state == RESPONSE_DONE)
            client_reply(client);
    }
    if (!client->response_begun && world_mutates(world_of(client), MUTANT_EXTRA_BYTE, 2000))
        client_feed(client, "x", 1);
}

/* Reading */

static size_t client_read_size(struct sim_client *client)
{
    if (!client->slow_reader)
        return READ_BYTES;
    uint64_t bytes = cable_readable(client->end) / 20 + rng_spread(&client->rng, 1, 4096);
    client->read_at_us = now_of(client) + rng_spread(&client->rng, 100, 100000);
    return bytes < READ_BYTES ? (size_t)bytes : READ_BYTES;
}

static void client_mutate_wake(struct sim_client *client)
{
    if (client->call_count && call_at(client, 0)->wait_us && cable_readable(client->end) &&
        client->read_at_us == 0 && world_mutates(world_of(client), MUTANT_LATE_WAKE, 300000))
        client->read_at_us = now_of(client) + 10000000;
}

/* Stops reading after this burst, for longer than any of the node's limits. */
static void client_nap(struct sim_client *client)
{
    const struct limits *limits = &client->scene->limits;
    uint64_t nap_us = 2 * limits->stall_us + limits->idle_us + limits->request_us + NAP_US +
                      10 * faults_slack_us(&client->scene->faults);
    client->naps = client->last = true;
    client->nap_us = now_of(client);
    client->read_at_us = now_of(client) + nap_us;
    world_trace(world_of(client), client->host.name, "naps until %llu us", (ull)client->read_at_us);
}

/* What a napper finds when it wakes: all that was sent to it, and then the end. */
static void client_check_nap(struct sim_client *client)
{
    const struct cable *cable = client->end->cable;
    bool awaited = cable->accepted && cable->accepted_us <= client->nap_us;
    if (client->naps && awaited && !client->end->ended && !is_troubled(client))
        world_fail(world_of(client), "%s: the node has kept a connection that took nothing",
                   client->host.name);
}

static void client_read(struct sim_client *client)
{
    char data[READ_BYTES];
    client_mutate_wake(client);
    while (client->end && now_of(client) >= client->read_at_us && !world_of(client)->failed) {
        client_check_nap(client);
        if (!cable_readable(client->end) && !client->end->ended)
            return;
        ssize_t got = cable_recv(client->end, data, client_read_size(client));
        if (got == -EAGAIN)
            return;
        if (got <= 0) {
            client_end(client, got);
            return;
        }
        client->progress_us = now_of(client);
        client->received += (uint64_t)got;
        client_feed(client, data, (size_t)got);
    }
}

/* Composing */

static struct model_key *client_pick_key(struct sim_client *client)
{
    const struct habits *habits = &client->scene->habits;
    uint64_t pick = rng_below(&client->rng, habits->keys_shared + habits->keys_own);
    if (pick >= habits->keys_shared)
        pick += (uint64_t)client->number * habits->keys_own;
    return &client->scene->model.keys[pick];
}

/* The client will leave in the middle of this call. */
static void client_plan_leave(struct sim_client *client, struct call *call)
{
    call->unfinished = client->last = true;
    client->leave_at = rng_between(&client->rng, call->begin, call->end - 1);
    client->leave_how = (enum client_leave)rng_below(&client->rng, LEAVES);
    if (call->kind == CALL_WRITE && world_mutates(world_of(client), MUTANT_TORN_WRITE, 500000)) {
        client->leave_at = call->end;
        client->leave_how = LEAVE_CLOSE;
        call->hold = 0;
    }
}

static void client_compose_one(struct sim_client *client)
{
    const struct habits *habits = &client->scene->habits;
    struct call *call = call_at(client, client->call_count);
    call_compose(call, client->scene, &client->rng, client_pick_key(client), &client->out,
                 client->out_base);
    client->call_count++;
    client->calls_left--;
    client->session_left--;
    if (call->kind == CALL_BAD || call->old || call->close)
        client->last = true;
    else if (rng_chance(&client->rng, habits->leave_ppm))
        client_plan_leave(client, call);
    else if (client->calls_left == 0 || client->session_left == 0)
        client->last = true;
    if (client->last && !call->unfinished)
        client->half_close = rng_chance(&client->rng, habits->half_close_ppm);
}

/* A stranger has one question only, and gets no answer. */
static void client_compose_strange(struct sim_client *client)
{
    bytes_print(&client->out, "GET /k0 HTTP/1.1\r\nHost: x\r\n\r\n");
    client->calls_left--;
    client->last = true;
}

static void client_compose(struct sim_client *client)
{
    uint64_t count = rng_between(&client->rng, 1, client->depth);
    bool may_begin = client->call_count == 0 && now_of(client) >= client->next_us;
    if (client->last || client->end->connecting)
        return;
    if (client->calls_left == 0) {
        client->last = true;
        return;
    }
    if (client->stranger && may_begin) {
        client_compose_strange(client);
        return;
    }
    if (!may_begin && !(client->sliding && client->call_count > 0))
        return;
    while (client->call_count < count && !client->last)
        client_compose_one(client);
    client->next_us =
        now_of(client) + rng_spread(&client->rng, 1, client->scene->habits.think_us_max);
    if (!client->last && rng_chance(&client->rng, client->scene->habits.nap_ppm))
        client_nap(client);
}

/* Sending */

/* Up to which position may be sent now. */
static uint64_t client_send_limit(struct sim_client *client)
{
    uint64_t limit = client->out_base + client->out.len;
    if (client->leave_at < limit)
        limit = client->leave_at;
    for (unsigned i = 0; i < client->call_count; i++) {
        struct call *call = call_at(client, i);
        if (call->expect && !call->continued && call->hold && call->hold < limit)
            limit = call->hold;
    }
    return limit;
}

static size_t client_chop(struct sim_client *client, uint64_t bytes)
{
    if (!client->chopper)
        return (size_t)bytes;
    uint64_t most = bytes / 40 + rng_spread(&client->rng, 1, 64);
    client->send_at_us = now_of(client) + rng_spread(&client->rng, 1, 20000);
    return (size_t)(most < bytes ? most : bytes);
}

static void call_note_sent(struct sim_client *client, struct call *call)
{
    uint64_t now_us = now_of(client);
    if (client->sent > call->begin && !call->begun_us)
        call->begun_us = now_us;
    if (client->sent < call->end || call->sent_us || call->unfinished)
        return;
    call->sent_us = now_us;
    if (call->write)
        model_write_sent(&client->scene->model, call->write);
}

static void client_note_sent(struct sim_client *client, uint64_t bytes)
{
    uint64_t quiet_us = now_of(client) - client->quiet_us;
    bool was_quiet = client->call_count && client->sent <= call_at(client, 0)->begin;
    if (was_quiet && quiet_us > safe_part(client, client->scene->limits.idle_us))
        client->raced = true;
    client->sent += bytes;
    client->progress_us = client->sent_at_us = now_of(client);
    for (unsigned i = 0; i < client->call_count; i++)
        call_note_sent(client, call_at(client, i));
    if (client->sent == client->out_base + client->out.len) {
        client->out_base = client->sent;
        client->out.len = 0;
    }
}

/* Stands before a body whose head asked for 100: waits a while, then goes on without. */
static void client_hold(struct sim_client *client)
{
    for (unsigned i = 0; i < client->call_count; i++) {
        struct call *call = call_at(client, i);
        if (!call->expect || call->continued || call->hold != client->sent)
            continue;
        if (client->hold_until_us == UINT64_MAX)
            client->hold_until_us = now_of(client) + rng_spread(&client->rng, 1000, 1000000);
        if (now_of(client) < client->hold_until_us)
            continue;
        call->hold = 0;
        client->hold_until_us = UINT64_MAX;
    }
}

static void client_send(struct sim_client *client)
{
    client_hold(client);
    while (!client->send_failed && now_of(client) >= client->send_at_us) {
        uint64_t limit = client_send_limit(client);
        if (client->sent >= limit)
            break;
        struct iovec piece = {client->out.data + (client->sent - client->out_base),
                              client_chop(client, limit - client->sent)};
        ssize_t sent = cable_send(client->end, &piece, 1, piece.iov_len);
        if (sent == -EAGAIN)
            break;
        if (sent < 0)
            client->send_failed = true; /* what came before the end may still be read */
        else
            client_note_sent(client, (uint64_t)sent);
    }
    if (client->sent == client->leave_at)
        client_leave(client);
}

/* Nothing is left to send or to wait for. */
static void client_finish(struct sim_client *client)
{
    bool all_sent = client->sent == client->out_base + client->out.len;
    if (!client->last || !all_sent || client->shut || client->stopped || client->naps)
        return;
    if (client->half_close && !client->heard_close) {
        cable_shutdown(client->end);
        client->shut = true;
        return;
    }
    bool sleeps = client->sleeper && client->calls_left == 0; /* its last connection */
    if (client->call_count || client->heard_close || sleeps || client->stranger)
        return;
    cable_close(client->end);
    client_forget(client, rng_spread(&client->rng, 1, client->scene->habits.think_us_max));
}

/* Patience and plans */

static uint64_t client_patience_us(struct sim_client *client)
{
    uint64_t patience_us = PATIENCE_US + 10 * faults_slack_us(&client->scene->faults);
    if (is_troubled(client) || client->slow_reader)
        patience_us += PATIENCE_IN_TROUBLE_US;
    if (!client->end->cable->accepted)
        patience_us += PATIENCE_IN_BACKLOG_US;
    if (client->call_count && call_at(client, 0)->unfinished)
        patience_us += client->scene->limits.request_us + client->scene->limits.idle_us;
    if (client->call_count == 0)
        patience_us += client->scene->limits.idle_us;
    return patience_us;
}

/* When it has waited long enough. */
static uint64_t client_patience_end_us(struct sim_client *client)
{
    uint64_t since_us = client->end->cable->accepted_us;
    if (since_us < client->progress_us)
        since_us = client->progress_us;
    if (client->naps && since_us < client->read_at_us)
        since_us = client->read_at_us;
    return since_us + client_patience_us(client);
}

static void client_lose_patience(struct sim_client *client)
{
    if (now_of(client) < client_patience_end_us(client))
        return;
    world_fail(world_of(client),
               "%s: nothing happens on cable %llu since %llu us; %u calls are unanswered, %s",
               client->host.name, (ull)client->end->cable->id, (ull)client->progress_us,
               client->call_count,
               client->call_count ? "the first was sent" : "it is to be closed");
}

static void sooner(uint64_t *at_us, uint64_t other_us)
{
    if (other_us < *at_us)
        *at_us = other_us;
}

static void client_plan(struct sim_client *client)
{
    uint64_t at_us = UINT64_MAX;
    if (client->done)
        return;
    if (!client->end) {
        world_event_set(world_of(client), &client->tick, client->next_us);
        return;
    }
    unsigned ready = cable_ready(client->end);
    if (ready & IO_READ)
        sooner(&at_us, client->read_at_us);
    if (ready & IO_WRITE && !client->send_failed && client->sent < client_send_limit(client))
        sooner(&at_us, client->send_at_us);
    sooner(&at_us, client->hold_until_us);
    if (client->call_count == 0 && !client->last && !client->end->connecting)
        sooner(&at_us, client->next_us);
    sooner(&at_us, client_patience_end_us(client));
    world_event_set(world_of(client), &client->tick, at_us);
}

static void on_tick(struct world_event *event)
{
    struct sim_client *client =
        (struct sim_client *)((char *)event - offsetof(struct sim_client, tick));
    if (!client->end && now_of(client) >= client->next_us)
        client_connect(client);
    client_read(client);
    if (client->end)
        client_compose(client);
    if (client->end)
        client_send(client);
    if (client->end)
        client_finish(client);
    if (client->end)
        client_lose_patience(client);
    client_plan(client);
}

/* Life */

/* Addresses of the networks that may connect by default, and of some that may not. */
static void client_set_address(struct sim_client *client)
{
    static const uint8_t mapped[12] = {[10] = 255, [11] = 255};
    static const uint8_t friends[][3] = {
        {10, 1, 2}, {192, 168, 7}, {172, 31, 0}, {127, 0, 0}, {169, 254, 3}};
    static const uint8_t strangers[][3] = {
        {203, 0, 113}, {8, 8, 8}, {172, 32, 0}, {11, 0, 0}, {192, 169, 0}};
    uint8_t *ip = client->host.ip;
    uint64_t pick = rng_below(&client->rng, 6);
    if (pick < 5) {
        memcpy(ip, mapped, sizeof mapped);
        memcpy(ip + 12, client->stranger ? strangers[pick] : friends[pick], 3);
    } else {
        ip[0] = client->stranger ? 0x20 : 0xfd;
        ip[1] = 1;
    }
    ip[15] = (uint8_t)(client->number + 10);
    snprintf(client->host.name, sizeof client->host.name, client->stranger ? "s%u" : "c%u",
             client->number);
}

void sim_client_init(struct sim_client *client, struct scene *scene, unsigned number)
{
    const struct habits *habits = &scene->habits;
    memset(client, 0, sizeof *client);
    client->scene = scene;
    client->number = number;
    client->tick.run = on_tick;
    rng_seed(&client->rng, scene->world.seed, 0x636c69656e74 + number);
    struct rng *rng = &client->rng;
    client->chopper = rng_chance(rng, habits->chopper_ppm);
    client->slow_reader = rng_chance(rng, habits->slow_reader_ppm);
    client->stranger = number > 0 && rng_chance(rng, habits->stranger_ppm);
    client->sleeper = rng_chance(rng, habits->sleeper_ppm);
    client->sliding = rng_chance(rng, 500000);
    client->depth = (uint32_t)rng_between(rng, 1, habits->depth_max);
    client->calls_left = (uint32_t)rng_between(rng, habits->calls_min, habits->calls_max);
    if (client->stranger)
        client->calls_left = 3;
    client_set_address(client);
    client->own_floors = calloc(scene->model.key_count, sizeof *client->own_floors);
    if (!client->own_floors)
        abort();
    cable_host_add(&scene->cables, &client->host);
    client->next_us = rng_spread(rng, 1, habits->think_us_max);
    world_event_set(&scene->world, &client->tick, client->next_us);
}

void sim_client_call_again(struct sim_client *client, uint32_t calls)
{
    client->calls_left = calls;
    client->done = calls == 0;
    client->next_us = now_of(client) + rng_spread(&client->rng, 1, 1000);
    if (!client->done)
        world_event_set(world_of(client), &client->tick, client->next_us);
}

void sim_client_free(struct sim_client *client)
{
    world_event_clear(world_of(client), &client->tick);
    bytes_free(&client->out);
    free(client->own_floors);
}
