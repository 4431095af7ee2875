#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleet.h"

enum {
    SECOND = 1000 * 1000,
    READ_BYTES = 64 * 1024,
    ANSWER_US = 60 * SECOND,     /* whatever goes wrong, an answer is there after it */
    ANSWER_SOON_US = 3 * SECOND, /* when only one node of its cluster is lost */
    SLOW_US = 600 * SECOND,
};

static struct fleet_client *client_of(struct world_event *event)
{
    return (struct fleet_client *)((char *)event - offsetof(struct fleet_client, tick));
}

static uint64_t now_of(const struct fleet_client *client)
{
    return client->fleet->world.now_us;
}

static struct fleet_call *call_at(struct fleet_client *client, unsigned i)
{
    return &client->calls[(client->call_first + i) % FLEET_DEPTH_MAX];
}

static struct fleet_process *frontend_of(struct fleet_client *client)
{
    return fleet_frontend(client->fleet, client->frontend);
}

static void on_change(struct cable_end *end)
{
    struct fleet_client *client = end->owner;
    world_event_hasten(&client->fleet->world, &client->tick,
                       now_of(client) + 1 + rng_below(&client->rng, 20));
}

/* Connections */

/* The wrong front-end has one client, all others have the others. */
static unsigned frontend_pick(struct fleet_client *client)
{
    const struct fleet *fleet = client->fleet;
    if (client->lost)
        return fleet->frontend_count - 1;
    return (unsigned)rng_below(&client->rng, fleet->frontend_count - fleet->has_wrong);
}

static void client_connect(struct fleet_client *client)
{
    struct fleet *fleet = client->fleet;
    client->frontend = frontend_pick(client);
    const struct fleet_process *frontend = frontend_of(client);
    client->boots = frontend->boots;
    client->end = cable_connect(&fleet->cables, &client->host, &frontend->process.address);
    client->end->owner = client;
    client->end->on_change = on_change;
    client->shut = client->closing = client->turned_away = client->response_begun = false;
    world_trace(&fleet->world, client->host.name, "connects to %s, cable %llu",
                frontend->process.host.name, (unsigned long long)client->end->cable->id);
}

/* What was not answered stays open. */
static void client_forget(struct fleet_client *client)
{
    if (client->end)
        cable_close(client->end);
    client->end = NULL;
    client->call_count = 0;
    client->out.len = client->sent = 0;
    client->leave_us = UINT64_MAX;
    client->next_us = now_of(client) + rng_spread(&client->rng, 10, SECOND);
}

/* A value that was written anew while it streamed cannot be gone on with. */
static bool streaming_is_excused(const struct fleet_client *client, const struct fleet_call *call)
{
    const struct fleet *fleet = client->fleet;
    bool begun = client->response_begun && client->response.state == RESPONSE_BODY;
    for (unsigned i = 0; i < fleet->write_count; i++) {
        const struct fleet_write *write = fleet->writes[i];
        if (write->key == call->key &&
            (!write->known_us || write->known_us + 5 * SECOND > call->begun_us))
            return begun || (fleet->faults.reset_discards && call->kind == FLEET_GET);
    }
    return false;
}

/* The connection has ended with something unanswered. */
static void client_check_end(struct fleet_client *client)
{
    const struct fleet *fleet = client->fleet;
    const struct fleet_process *frontend = frontend_of(client);
    bool alive = frontend->running && !frontend->draining && frontend->boots == client->boots;
    if (client->call_count == 0 || client->turned_away || !alive || client->end->cable->troubled)
        return;
    bool excused = !fleet->gentle && !fleet->strict;
    for (unsigned i = 0; i < client->call_count && !excused; i++)
        excused = streaming_is_excused(client, call_at(client, i));
    if (!excused)
        world_fail(&client->fleet->world, "%s: the connection ends with %u calls unanswered",
                   client->host.name, client->call_count);
}

static void client_ended(struct fleet_client *client)
{
    world_trace(&client->fleet->world, client->host.name, "is cut off, %u calls unanswered",
                client->call_count);
    client_check_end(client);
    client_forget(client);
}

/* Answers */

static void client_answered(struct fleet_client *client)
{
    struct fleet_call *call = call_at(client, 0);
    client->response_begun = false;
    client->progress_us = now_of(client);
    if (client->response.status == 100) {
        if (!call->expects)
            world_fail(&client->fleet->world, "%s: a 100 that nobody expects", client->host.name);
        return;
    }
    world_trace(&client->fleet->world, client->host.name, "hears %u of kind %u key %u version %llu",
                client->response.status, call->kind, call->key,
                (unsigned long long)client->response.version);
    fleet_call_judge(client, call);
    client->call_first = (client->call_first + 1) % FLEET_DEPTH_MAX;
    client->call_count--;
    client->closing = client->response.close;
}

static void client_feed(struct fleet_client *client, const char *data, size_t bytes)
{
    struct world *world = &client->fleet->world;
    while (bytes > 0 && !client->closing && !world->failed) {
        if (client->call_count == 0) {
            world_fail(world, "%s: %zu bytes that nobody asked for: %.*s", client->host.name, bytes,
                       (int)(bytes < 80 ? bytes : 80), data);
            return;
        }
        if (!client->response_begun)
            response_init(&client->response, call_at(client, 0)->kind == FLEET_HEAD, false, NULL);
        client->response_begun = true;
        size_t used = response_feed(&client->response, data, bytes);
        data += used;
        bytes -= used;
        if (client->response.wrong)
            world_fail(world, "%s: %s", client->host.name, client->response.wrong);
        else if (client->response.state == RESPONSE_DONE)
            client_answered(client);
    }
}

/* Returns false at the end of the connection. */
static bool client_receive(struct fleet_client *client)
{
    static char data[READ_BYTES];
    while (!client->closing && now_of(client) >= client->read_us) {
        size_t want = client->slow ? (size_t)rng_spread(&client->rng, 1, 8192) : sizeof data;
        ssize_t got = cable_recv(client->end, data, want);
        if (got == -EAGAIN)
            return true;
        if (got <= 0)
            return false;
        if (client->slow)
            client->read_us = now_of(client) + rng_spread(&client->rng, 100, 50000);
        client_feed(client, data, (size_t)got);
    }
    return !client->closing;
}

/* Requests */

static void note_sent(struct fleet_client *client)
{
    for (unsigned i = 0; i < client->call_count; i++) {
        struct fleet_call *call = call_at(client, i);
        if (!call->sent_us && client->sent >= call->end)
            call->sent_us = now_of(client);
    }
}

static bool client_send(struct fleet_client *client)
{
    while (client->sent < client->out.len && now_of(client) >= client->send_us) {
        size_t left = client->out.len - client->sent;
        size_t take = client->chops ? (size_t)rng_spread(&client->rng, 1, 4096) : left;
        struct iovec piece = {client->out.data + client->sent, take < left ? take : left};
        ssize_t sent = cable_send(client->end, &piece, 1, piece.iov_len);
        if (sent == -EAGAIN)
            return true;
        if (sent <= 0)
            return sent == -EPIPE; /* what has come can still be read */
        client->sent += (size_t)sent;
        client->progress_us = now_of(client);
        note_sent(client);
        if (client->chops)
            client->send_us = now_of(client) + rng_spread(&client->rng, 10, 10000);
    }
    if (client->sent == client->out.len && client->half_closes && !client->shut) {
        cable_shutdown(client->end);
        client->shut = true;
    }
    return true;
}

static void client_compose(struct fleet_client *client)
{
    struct rng *rng = &client->rng;
    unsigned depth = (unsigned)rng_spread(rng, 1, client->depth_max);
    depth = depth < client->calls_left ? depth : client->calls_left;
    client->out.len = client->sent = 0;
    client->half_closes = rng_chance(rng, 100000);
    client->leave_us =
        rng_chance(rng, 50000) ? now_of(client) + rng_spread(rng, 1, 2 * SECOND) : UINT64_MAX;
    client->progress_us = now_of(client);
    bool last = false;
    for (unsigned i = 0; i < depth && !last; i++) {
        struct fleet_call *call = call_at(client, i);
        fleet_call_compose(client, call);
        client->call_count++;
        client->calls_left--;
        last = call->kind == FLEET_TOO_LARGE;
        if (client->out.len > 4 * FLEET_VALUE_BYTES_MAX)
            break;
    }
}

/* Time */

/* How long it may take from here on, whatever goes wrong. */
static void client_check_patience(struct fleet_client *client)
{
    const struct fleet *fleet = client->fleet;
    const struct fleet_call *call = call_at(client, 0);
    const struct fleet_process *frontend = frontend_of(client);
    uint64_t since_us = call->sent_us > client->progress_us ? call->sent_us : client->progress_us;
    if (frontend->paused_until_us > since_us)
        since_us = frontend->paused_until_us;
    uint64_t limit_us = client->slow || client->chops ? SLOW_US : ANSWER_US;
    if (limit_us == ANSWER_US && (fleet->gentle || fleet->strict))
        limit_us = fleet->moves ? 2 * ANSWER_SOON_US : ANSWER_SOON_US; /* two clusters are asked */
    if (call->sent_us && now_of(client) > since_us + limit_us + call->wait_us)
        world_fail(&client->fleet->world, "%s: a request of kind %u, key %u, is not answered by %s",
                   client->host.name, call->kind, call->key, frontend->process.host.name);
}

static void client_leave(struct fleet_client *client)
{
    world_trace(&client->fleet->world, client->host.name, "leaves");
    client->fleet->world.counts.left++;
    if (rng_chance(&client->rng, 500000)) {
        cable_abort(client->end);
        client->end = NULL;
    }
    client_forget(client);
}

static void client_begin(struct fleet_client *client)
{
    if (client->end && (client->shut || rng_chance(&client->rng, 100000)))
        client_forget(client);
    if (!client->end)
        client_connect(client);
    client_compose(client);
}

static void client_step(struct fleet_client *client)
{
    if (client->end && client->call_count && now_of(client) >= client->leave_us)
        client_leave(client);
    if (!client->call_count && client->calls_left && now_of(client) >= client->next_us)
        client_begin(client);
    if (!client->end)
        return;
    bool busy = client->call_count > 0;
    if (!client_send(client) || !client_receive(client))
        client_ended(client);
    else if (client->call_count)
        client_check_patience(client);
    else if (busy)
        client->next_us = now_of(client) + rng_spread(&client->rng, 10, 3 * SECOND);
}

static uint64_t soonest(uint64_t at_us, uint64_t other_us, uint64_t now_us)
{
    return other_us > now_us && other_us < at_us ? other_us : at_us;
}

static void on_tick(struct world_event *event)
{
    struct fleet_client *client = client_of(event);
    client_step(client);
    uint64_t now_us = now_of(client), at_us = now_us + SECOND;
    if (client->call_count == 0 && client->calls_left == 0)
        return;
    at_us = soonest(at_us, client->next_us, now_us);
    at_us = soonest(at_us, client->leave_us, now_us);
    at_us = soonest(at_us, client->send_us, now_us);
    at_us = soonest(at_us, client->read_us, now_us);
    world_event_hasten(&client->fleet->world, event, at_us);
}

/* Life */

void fleet_client_init(struct fleet_client *client, struct fleet *fleet, unsigned number)
{
    *client = (struct fleet_client){.fleet = fleet, .number = number, .leave_us = UINT64_MAX};
    rng_seed(&client->rng, fleet->world.seed, 0x666c636c69656e74 + number);
    client->host.ip[10] = client->host.ip[11] = 255;
    client->host.ip[12] = 10;
    client->host.ip[14] = 1;
    client->host.ip[15] = (uint8_t)(number + 1);
    snprintf(client->host.name, sizeof client->host.name, "c%u", number);
    cable_host_add(&fleet->cables, &client->host);
    client->tick.run = on_tick;
    client->calls_left = (unsigned)rng_spread(&client->rng, 30, 400);
    client->depth_max = rng_chance(&client->rng, 400000)
                            ? 1
                            : (unsigned)rng_between(&client->rng, 2, FLEET_DEPTH_MAX);
    client->slow = rng_chance(&client->rng, 150000);
    client->chops = rng_chance(&client->rng, 200000);
    client->lost = fleet->has_wrong && number == 0;
    client->next_us = rng_below(&client->rng, 5 * SECOND);
    world_event_set(&fleet->world, &client->tick, client->next_us);
}

void fleet_client_free(struct fleet_client *client)
{
    world_event_clear(&client->fleet->world, &client->tick);
    if (client->end)
        cable_close(client->end);
    client->end = NULL;
    bytes_free(&client->out);
}

void fleet_client_go_on(struct fleet_client *client, unsigned calls)
{
    client->calls_left = calls;
    client->next_us = now_of(client);
    world_event_hasten(&client->fleet->world, &client->tick, now_of(client));
}

bool fleet_clients_are_done(const struct fleet *fleet)
{
    for (unsigned i = 0; i < fleet->client_count; i++)
        if (fleet->clients[i].call_count || fleet->clients[i].calls_left)
            return false;
    return true;
}
