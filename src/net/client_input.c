/* The input of one connection: heads and bodies, into the batch.
 *
 *   shared buffer:  [ kept from last time | new bytes ]
 *                     head body head head bod…
 *                     └── run: requests whose bodies are whole ──┘ └ kept for next time
 *
 * A body that is not whole goes part by part to where the service wants it; from the first part on it is read
 * straight to there, past the shared buffer, when it is large, and so is each large chunk. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "net/client.h"

enum {
    DIRECT_READ_BYTES_MIN = SERVER_READ_BYTES, /* less is read through the shared buffer */
    DIRECT_READ_BYTES_MAX = 128 * 1024,        /* at a time: a part of the processor's cache */
    HEAD_READ_BYTES =
        2 * 1024, /* when a large body or chunk is likely to follow, to copy less of it */
};

static const struct http_error gone = {503, "This node is out of memory for requests; try again."};

/* Bodies that come in parts */

static void body_end(struct client *client)
{
    client->state = CLIENT_READY;
    client->reading = client->body_paused = false;
}

static void body_refuse(struct client *client, struct request *request)
{
    client->rejected = true;
    request->close = true;
    body_end(client);
}

/* Copies body bytes to where the service wants them; `left` are known to come, these among them. Returns false when it
 * refuses. */
static bool body_put(struct request *request, struct slice bytes, uint64_t left)
{
    struct service *service = request->server->service;
    while (bytes.len > 0) {
        struct server_room room = service->on_body_room(service, request, left);
        if (room.len == 0)
            return false;
        size_t take = bytes.len < room.len ? bytes.len : room.len;
        memcpy(room.data, bytes.data, take);
        service->on_body_filled(service, request, take);
        if (request->error.status)
            return false;
        bytes.data += take;
        bytes.len -= take;
        left -= take;
    }
    return true;
}

/* A chunk says how long it is before it comes: whether the service will take that much. */
static bool body_expected(struct request *request, uint64_t left)
{
    struct service *service = request->server->service;
    return left == 0 || service->on_body_room(service, request, left).len > 0;
}

/* Bytes of a body that are known to come, and nothing else before them. */
static uint64_t body_due(const struct exchange *exchange)
{
    return exchange->request.head.chunked ? http_chunked_left(&exchange->chunked)
                                          : exchange->body_left;
}

enum body_result { BODY_NEEDS_INPUT, BODY_WHOLE, BODY_REFUSED };

static enum body_result body_take_fixed(struct exchange *exchange, struct slice data, size_t *used)
{
    size_t take = data.len < exchange->body_left ? data.len : (size_t)exchange->body_left;
    *used = take;
    if (!body_put(&exchange->request, (struct slice){data.data, take}, exchange->body_left))
        return BODY_REFUSED;
    exchange->body_left -= take;
    return exchange->body_left == 0 ? BODY_WHOLE : BODY_NEEDS_INPUT;
}

static enum body_result body_take_chunked(struct exchange *exchange, struct slice data,
                                          size_t *used)
{
    *used = 0;
    while (*used < data.len) {
        struct slice body, rest = {data.data + *used, data.len - *used};
        size_t step = 0;
        enum http_result result =
            http_chunked_parse(&exchange->chunked, rest, &step, &body, &exchange->request.error);
        *used += step;
        uint64_t left = http_chunked_left(&exchange->chunked);
        if (result == HTTP_BAD || !body_put(&exchange->request, body, left + body.len) ||
            !body_expected(&exchange->request, left))
            return BODY_REFUSED;
        if (result == HTTP_OK)
            return BODY_WHOLE;
    }
    return BODY_NEEDS_INPUT;
}

/* Takes what `data` has of the body under way. */
static enum body_result body_take(struct client *client, struct slice data, size_t *used)
{
    struct exchange *exchange = client->exchange;
    client->body_bytes += data.len;
    enum body_result result;
    if (exchange->request.head.chunked) {
        result = body_take_chunked(exchange, data, used);
        client->large_bodies = body_due(exchange) >= DIRECT_READ_BYTES_MIN;
    } else {
        result = body_take_fixed(exchange, data, used);
    }
    if (result == BODY_REFUSED)
        body_refuse(client, &exchange->request);
    if (result == BODY_WHOLE)
        body_end(client);
    return result;
}

static void client_send_continue(struct client *client)
{
    struct conn_piece piece = {.data = "HTTP/1.1 100 Continue\r\n\r\n", .len = 25};
    conn_send(&client->conn, &piece, 1);
}

/* The service does not want the body, so it has not taken what it needs of the head: that is kept, and looked at again
 * when the body is over. */
static int head_keep(struct exchange *exchange, const char *head)
{
    size_t bytes = exchange->request.head.head_bytes;
    exchange->head = malloc(bytes);
    if (!exchange->head)
        return -ENOMEM;
    memcpy(exchange->head, head, bytes);
    return 0;
}

static void head_restore(struct exchange *exchange)
{
    struct request *request = &exchange->request;
    struct service *service = request->server->service;
    if (!exchange->head)
        return;
    enum http_result result =
        http_head_parse(&request->server->reader, exchange->head, request->head.head_bytes,
                        &request->head, &request->error);
    assert(result == HTTP_OK); /* as it was the first time */
    memset(request->service_room, 0, sizeof request->service_room);
    service->on_head(service, request);
}

/* Begins a body of which `have` bytes are here. On refusal request->error says why. */
static void body_start(struct client *client, struct request *request, const char *head,
                       size_t have)
{
    struct exchange *exchange = request_detach(request);
    if (!exchange) {
        request->error = gone;
        return;
    }
    struct service *service = client->server->service;
    exchange->body_left = request->head.content_length;
    client->large_bodies = exchange->body_left >= DIRECT_READ_BYTES_MIN;
    http_chunked_init(&exchange->chunked);
    exchange->request.body_parts = true;
    service->on_body_start(service, &exchange->request, exchange->body_left);
    request_forget_slices(&exchange->request);
    if (!exchange->request.service_data && !exchange->request.error.status &&
        head_keep(exchange, head) != 0)
        exchange->request.error = gone;
    if (exchange->request.error.status)
        return;
    client->state = CLIENT_BODY;
    client->body_bytes = 0;
    if (!client->reading)
        client->request_us = client->server->loop->now_us;
    client->reading = true;
    if (request->head.expect_continue && have == 0)
        client_send_continue(client);
}

/* Batches */

static void batch_add(struct run *run, struct request *request)
{
    struct server *server = run->client->server;
    server->requests[server->request_count++] = request;
    run->count++;
}

static struct request *request_start(struct run *run, size_t offset)
{
    struct server *server = run->client->server;
    struct request *request = &server->pool[server->request_count];
    memset(request, 0, offsetof(struct request, head));
    request->client = run->client;
    request->server = server;
    request->offset = (uint32_t)offset;
    request->received_us = server->loop->now_us;
    return request;
}

static void run_bad_head(struct run *run, struct request *request)
{
    request->head = (struct http_head){.method = HTTP_OTHER, .minor = 1};
    request->close = true;
    run->client->rejected = true;
    batch_add(run, request);
    run->stop = RUN_CLOSE;
}

/* A body of which only a part is here, or that is chunked. Such a request stands first in its run, since by
 * then all before it are answered. */
static bool run_parse_body(struct run *run, struct request *request)
{
    struct client *client = run->client;
    size_t start = run->parsed + request->head.head_bytes;
    if (run->count > 0 || client->pending) {
        run->stop = run->count > 0 ? RUN_AGAIN : RUN_WAIT;
        return false;
    }
    if (!request->error.status)
        body_start(client, request, run->data + run->parsed, run->len - start);
    if (client->exchange)
        request = &client->exchange->request;
    run->parsed = start;
    if (request->error.status) {
        request->close = true;
        client->rejected = true;
        batch_add(run, request);
        run->stop = RUN_CLOSE;
        return false;
    }
    return client->conn.state == CONN_OPEN;
}

/* Parses one request. Returns false when the run stops here. */
static bool run_parse_request(struct run *run)
{
    struct server *server = run->client->server;
    struct request *request = request_start(run, run->parsed);
    const char *data = run->data + run->parsed;
    size_t len = run->len - run->parsed;
    enum http_result result =
        http_head_parse(&server->reader, data, len, &request->head, &request->error);
    if (result == HTTP_MORE)
        return false;
    if (result == HTTP_BAD) {
        run_bad_head(run, request);
        return false;
    }
    server->service->on_head(server->service, request);
    uint64_t body_bytes = request->head.content_length;
    if (request->head.chunked || body_bytes > len - request->head.head_bytes)
        return run_parse_body(run, request);
    request->body = (struct slice){data + request->head.head_bytes, (size_t)body_bytes};
    run->parsed += request->head.head_bytes + (size_t)body_bytes;
    batch_add(run, request);
    if (request->head.keep_alive)
        return true;
    run->stop = RUN_CLOSE;
    return false;
}

/* Goes on with the body under way. Returns false when the run stops here. */
static bool run_parse_parts(struct run *run)
{
    struct slice data = {run->data + run->parsed, run->len - run->parsed};
    size_t used = 0;
    struct request *request = &run->client->exchange->request;
    enum body_result result = data.len ? body_take(run->client, data, &used) : BODY_NEEDS_INPUT;
    run->parsed += used;
    if (result == BODY_NEEDS_INPUT)
        return false;
    if (result == BODY_WHOLE)
        head_restore(run->client->exchange);
    request->received_us = run->client->server->loop->now_us;
    request->offset = 0;
    batch_add(run, request);
    if (result == BODY_WHOLE && request->head.keep_alive)
        return true;
    run->stop = RUN_CLOSE;
    return false;
}

static void run_parse(struct run *run)
{
    struct server *server = run->client->server;
    bool going = true;
    while (going && run->client->conn.state == CONN_OPEN) {
        bool full = run->parsed < run->len && run->count >= run->client->run_max;
        if (full || server->request_count == SERVER_BATCH_MAX) {
            run->stop = RUN_AGAIN;
            return;
        }
        if (run->client->state == CLIENT_BODY)
            going = run_parse_parts(run);
        else
            going = run->parsed < run->len && run_parse_request(run);
    }
}

/* A direct read has completed a body: a run of that one request. */
static void client_batch_body(struct client *client)
{
    struct server *server = client->server;
    struct run *run = &server->runs[server->run_count++];
    *run = (struct run){.client = client, .data = server->input, .first = server->request_count};
    run->stop = client->exchange->request.close || !client->exchange->request.head.keep_alive
                    ? RUN_CLOSE
                    : RUN_NEEDS_INPUT;
    client->exchange->request.received_us = server->loop->now_us;
    client->exchange->request.offset = 0;
    batch_add(run, &client->exchange->request);
    client->in_batch = true;
}

bool client_reads_direct(const struct client *client)
{
    const struct exchange *exchange = client->exchange;
    return client->state == CLIENT_BODY && body_due(exchange) >= DIRECT_READ_BYTES_MIN &&
           !client->conn.kept;
}

/* Bytes of the body under way that were read straight to their place. */
static void body_filled(struct client *client, size_t bytes)
{
    struct exchange *exchange = client->exchange;
    struct service *service = client->server->service;
    if (exchange->request.head.chunked) {
        http_chunked_take(&exchange->chunked, bytes);
        client->large_bodies = true;
    } else {
        exchange->body_left -= bytes;
    }
    client->body_bytes += bytes;
    service->on_body_filled(service, &exchange->request, bytes);
}

/* Reads straight to where the body goes. Returns false when that does not pay. */
static bool client_read_direct(struct client *client)
{
    struct exchange *exchange = client->exchange;
    struct service *service = client->server->service;
    if (!client_reads_direct(client))
        return false;
    uint64_t due = body_due(exchange);
    struct server_room room = service->on_body_room(service, &exchange->request, due);
    if (room.len < DIRECT_READ_BYTES_MIN)
        return false; /* also when it refuses: the other way finds that out too */
    size_t want = room.len < due ? room.len : (size_t)due;
    want = want < DIRECT_READ_BYTES_MAX ? want : DIRECT_READ_BYTES_MAX;
    size_t got = conn_recv(&client->conn, room.data, want);
    if (client->conn.state != CONN_OPEN)
        return true;
    if (got > 0)
        body_filled(client, got);
    if (exchange->request.error.status) {
        body_refuse(client, &exchange->request);
        client_batch_body(client);
    } else if (!exchange->request.head.chunked && exchange->body_left == 0) {
        body_end(client);
        head_restore(exchange);
        client_batch_body(client);
    } else if (client->conn.ended) {
        client_settle(client, (struct slice){0}, RUN_NEEDS_INPUT);
    }
    return true;
}

/* Makes sure that the batch and the input buffer have room for one more connection. */
static void server_make_room(struct server *server, struct client *client)
{
    size_t need = client->conn.kept_bytes + (size_t)SERVER_READ_BYTES;
    if (client->in_batch || server->run_count == SERVER_BATCH_MAX ||
        server->request_count == SERVER_BATCH_MAX ||
        server->input_used + need > SERVER_INPUT_BYTES || server->scratch_used > SCRATCH_BYTES)
        server_run_batch(server);
}

/* While a request is held, or what is deferred keeps all else waiting, the connection is read to see the client's end: who sends no more
 * gets the answer at once, since most of them have left. */
static void client_read_waiting(struct client *client)
{
    struct server *server = client->server;
    struct conn *conn = &client->conn;
    char *room = server->input + server->input_used;
    size_t len = conn_fill(conn, room, conn->kept_bytes + (size_t)SERVER_READ_BYTES, true);
    conn_keep(conn, (struct slice){room, len});
    if (conn->state != CONN_OPEN)
        return;
    client->more |= len > 0;
    conn_pause(conn, client_pauses(client));
    if (conn->ended && client->state == CLIENT_HELD)
        server_answer(&client->exchange->request, server->service->on_hold_end);
    else if (conn->ended)
        client_hurry(client);
}

void client_read(struct client *client, bool may_recv)
{
    struct server *server = client->server;
    struct conn *conn = &client->conn;
    server_make_room(server, client);
    if (conn->state != CONN_OPEN || conn->paused || conn_blocked(conn) || client->in_ready)
        return;
    if (client->state == CLIENT_HELD || client->waiting) {
        client_read_waiting(client);
        return;
    }
    if (may_recv && client_read_direct(client))
        return;
    char *room = server->input + server->input_used;
    size_t want = client->large_bodies ? HEAD_READ_BYTES : SERVER_READ_BYTES;
    size_t kept = conn->kept_bytes, len = conn_fill(conn, room, kept + want, may_recv);
    if (conn->state != CONN_OPEN)
        return;
    if (may_recv && len == kept && !conn->ended) {
        conn_keep(conn, (struct slice){room, len}); /* nothing came: no activity */
        return;
    }
    struct run *run = &server->runs[server->run_count];
    *run = (struct run){client, room, len, 0, server->request_count, 0, RUN_NEEDS_INPUT};
    run_parse(run);
    if (run->count == 0) {
        client_settle(client, (struct slice){room + run->parsed, len - run->parsed}, run->stop);
        return;
    }
    server->input_used += len;
    server->run_count++;
    client->in_batch = true;
}
