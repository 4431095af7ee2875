/* Requests of one connection whose answers come later, in whatever order, and go out in the order of the requests:
 *
 *   batch ──server_defer──► deferred:  first ─► … ─► last
 *                                        │ has its answer: written, and the next one looked at
 *
 * A request that cannot be deferred waits, unparsed, until all before it are answered. */
#include "net/client.h"

#include <assert.h>

bool client_may_defer(const struct client *client, const struct request *request)
{
    return !client->pending || (request->deferrable && !request->error.status &&
                                !client->pending_last->request.exclusive &&
                                client->pending_count < SERVER_DEFERRED_MAX);
}

static bool is_write(const struct request *request)
{
    return request->head.method >= HTTP_POST;
}

bool request_follows_write(const struct request *request)
{
    return request->client->pending_writes > 0;
}

static struct request *request_of(struct exchange *exchange)
{
    return exchange ? &exchange->request : NULL;
}

struct request *request_deferred_first(const struct request *request)
{
    return request_of(request->client->pending);
}

struct request *request_deferred_next(const struct request *deferred)
{
    assert(deferred->deferred);
    return request_of(((const struct exchange *)(const void *)deferred)->next);
}

struct server_line *request_line(const struct request *request)
{
    return &request->client->line;
}

struct request *server_defer(struct request *request)
{
    struct client *client = request->client;
    assert(request->deferrable);
    struct exchange *exchange = request_detach(request);
    if (!exchange)
        return NULL;
    request->deferred = exchange->request.deferred = true;
    request_forget_slices(&exchange->request);
    exchange->next = NULL;
    exchange->answer = NULL;
    client->exchange = NULL;
    if (client->pending)
        client->pending_last->next = exchange;
    else
        client->pending = exchange;
    client->pending_last = exchange;
    client->pending_count++;
    client->pending_writes += is_write(&exchange->request);
    return &exchange->request;
}

bool server_postpone(struct request *request)
{
    assert(request->deferrable && !request->deferred);
    request->postponed = request->client->pending != NULL;
    assert(!request->postponed ||
           !request->detached); /* a body in parts is not begun behind others */
    return request->postponed;
}

static struct exchange *deferred_take(struct client *client)
{
    struct exchange *exchange = client->pending;
    client->pending = exchange->next;
    client->pending_count--;
    client->pending_writes -= is_write(&exchange->request);
    return exchange;
}

void client_drop_deferred(struct client *client)
{
    while (client->pending)
        exchange_end(client->server, deferred_take(client));
}

bool client_can_answer(const struct client *client)
{
    return client->pending && client->pending->answer && client->state != CLIENT_STREAMING;
}

void client_hurry(struct client *client)
{
    struct service *service = client->server->service;
    for (struct exchange *exchange = client->pending; exchange; exchange = exchange->next)
        if (!exchange->answer)
            service->on_hold_end(service, &exchange->request);
}

void server_answer_deferred(struct request *deferred,
                            void (*answer)(struct service *, struct request *))
{
    struct exchange *exchange = (struct exchange *)deferred;
    struct client *client = deferred->client;
    exchange->answer = answer;
    if (client_can_answer(client) && !conn_blocked(&client->conn))
        server_ready(client);
}

/* Answers the first one. Returns whether the connection ends with this answer. */
static bool deferred_answer(struct client *client)
{
    struct server *server = client->server;
    struct exchange *exchange = deferred_take(client);
    client->exchange = exchange;
    server->answering = client;
    exchange->answer(server->service, &exchange->request);
    server->answering = NULL;
    if (client->state == CLIENT_STREAMING)
        return false;
    bool closes = exchange->request.close;
    client->exchange = NULL;
    exchange_end(server, exchange);
    return closes;
}

/* What comes after the answers. */
static void client_settle_deferred(struct client *client)
{
    struct conn *conn = &client->conn;
    client_begin_anew(client);
    if (client->waiting && !client->last && client->pending_count <= SERVER_DEFERRED_MAX / 2)
        client->waiting = false;
    conn_pause(conn, client_pauses(client));
    bool streams = client->state == CLIENT_STREAMING;
    if (!conn_blocked(conn) && (streams || (client->more && !client->waiting)))
        server_ready(client);
    else if (!conn_blocked(conn) && conn->ended && !client->pending && !streams)
        client_finish(client, false);
    else
        client_set_timer(client);
}

void client_tell_turn(struct client *client)
{
    struct service *service = client->server->service;
    if (service->on_turn && client->pending && client->conn.state == CONN_OPEN &&
        !conn_blocked(&client->conn))
        service->on_turn(service, &client->pending->request);
}

void client_answer_deferred(struct client *client)
{
    struct server *server = client->server;
    bool closes = false;
    output_start(&server->output, client);
    while (!closes && client_can_answer(client) && client->conn.state == CONN_OPEN &&
           !conn_blocked(&client->conn))
        closes = deferred_answer(client);
    output_flush(&server->output);
    if (client->conn.state != CONN_OPEN)
        return;
    if (closes)
        client_finish(client, client->rejected || client->more);
    else
        client_settle_deferred(client);
    client_tell_turn(client);
}

void server_unanswer_deferred(struct request *deferred)
{
    assert(deferred->deferred && !deferred->replied);
    ((struct exchange *)deferred)->answer = NULL;
}

void server_pause_body(struct request *request, bool paused)
{
    struct client *client = request->client;
    assert(request->detached);
    if (client->state != CLIENT_BODY || client->conn.state != CONN_OPEN ||
        client->body_paused == paused)
        return;
    client->body_paused = paused;
    conn_pause(&client->conn, paused);
    client_begin_anew(client);
    client_set_timer(client);
}

void server_refuse_body(struct request *request)
{
    assert(request->detached && request->error.status);
    if (request->client->conn.state == CONN_OPEN)
        server_ready(request->client);
}

void server_stream_wake(struct request *request)
{
    struct client *client = request->client;
    if (!client->starved)
        return;
    client->starved = false;
    if (client->conn.state == CONN_OPEN && !conn_blocked(&client->conn))
        server_ready(client);
}
