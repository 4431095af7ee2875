/* One connection's requests:
 *
 *   READY ──head──► batch ──► answered ─────────────────────────────► READY
 *     │                         ├─ server_hold ──► HELD ──answer──────►  │
 *     │                         └─ server_stream ► STREAMING ──end────►  │
 *     └─ a body that comes in parts ─► BODY ──whole──► batch ► answered ─┘
 *   any of these, when the connection is to end ──► FINISHING
 *
 * While a request is under way in BODY, HELD or STREAMING, what follows it on the connection waits unparsed. */
#include "net/client.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "net/reply.h"

enum {
    DIRECT_READ_BYTES_MIN = SERVER_READ_BYTES, /* less room than that is read through the shared buffer */
    DIRECT_READ_BYTES_MAX = 512 * 1024,        /* of one body in one turn */
};

static const struct http_error gone = {503, "This node is out of memory for requests; try again."};

/* Exchanges: requests with memory of their own, kept for reuse. */

static struct exchange *exchange_new(struct server *server)
{
    struct exchange *exchange = server->free_exchanges;
    if (exchange)
        server->free_exchanges = exchange->next_free;
    else
        exchange = malloc(sizeof *exchange);
    return exchange;
}

static void request_end(struct request *request)
{
    struct service *service = request->server->service;
    if (request->service_data)
        service->on_request_end(service, request);
    request->service_data = NULL;
}

static void exchange_free(struct client *client)
{
    struct exchange *exchange = client->exchange;
    if (!exchange)
        return;
    client->server->held -= client->state == CLIENT_HELD;
    request_end(&exchange->request);
    client->exchange = NULL;
    exchange->next_free = client->server->free_exchanges;
    client->server->free_exchanges = exchange;
}

/* Moves a request of the batch to memory of its own. Its slices die. */
static struct exchange *request_detach(struct request *request)
{
    struct client *client = request->client;
    if (request->detached)
        return client->exchange;
    struct exchange *exchange = exchange_new(client->server);
    if (!exchange)
        return NULL;
    exchange->request = *request;
    exchange->request.detached = true;
    request->service_data = NULL;
    client->exchange = exchange;
    return exchange;
}

static void request_forget_slices(struct request *request)
{
    request->body = request->head.target = (struct slice){0};
    request->head.field_count = 0;
}

/* Time limits: one timer a client, set to the earliest time at which something may be over, and looked at
 * anew then. Activity only moves limits further away, so it costs nothing. */

static uint64_t body_allowance_us(const struct client *client)
{
    return client->body_bytes / SERVER_BODY_BYTES_PER_S * 1000000;
}

static uint64_t client_deadline(const struct client *client)
{
    const struct server_config *config = &client->server->config;
    if (client->conn.state == CONN_LINGERING)
        return client->active_us + SERVER_LINGER_US;
    if (conn_blocked(&client->conn))
        return client->active_us + config->stall_us;
    if (client->state == CLIENT_HELD)
        return client->exchange->hold_until_us;
    if (client->reading)
        return client->request_us + config->request_us + body_allowance_us(client);
    return client->active_us + config->idle_us;
}

static void client_set_timer(struct client *client)
{
    uint64_t deadline = client_deadline(client);
    if (client->timer.place == 0 || deadline < client->timer.at_us)
        loop_timer_set(client->server->loop, &client->timer, deadline);
}

static void client_finish(struct client *client)
{
    client->state = CLIENT_FINISHING;
    client->more = client->reading = false;
    client->active_us = client->server->loop->now_us;
    conn_finish(&client->conn);
    if (client->conn.state != CONN_CLOSED)
        client_set_timer(client);
}

/* The request under way is not coming to its end: what is there of it is dropped. */
static void client_reject(struct client *client, unsigned status, const char *sentence)
{
    struct server *server = client->server;
    struct request unread = {.client = client, .server = server};
    unread.head.method = HTTP_OTHER;
    unread.head.minor = 1;
    struct request *request = client->exchange ? &client->exchange->request : &unread;
    request->close = true;
    output_start(&server->output, client);
    if (!request->replied)
        reply_text(request, status, sentence);
    output_flush(&server->output);
    exchange_free(client);
    client_finish(client);
}

static void client_time_is_up(struct client *client)
{
    struct server *server = client->server;
    if (client->conn.state != CONN_LINGERING && conn_blocked(&client->conn)) {
        server->counters.timeouts++;
        conn_close(&client->conn);
    } else if (client->conn.state != CONN_OPEN || client->state == CLIENT_FINISHING) {
        conn_close(&client->conn);
    } else if (client->state == CLIENT_HELD) {
        server_answer(&client->exchange->request, server->service->on_hold_end);
    } else if (client->reading) {
        server->counters.timeouts++;
        client_reject(client, 408, "The request was not complete in time.");
    } else {
        client_finish(client); /* idle */
    }
}

static void client_on_time(struct loop_timer *timer)
{
    struct client *client = (struct client *)((char *)timer - offsetof(struct client, timer));
    /* Bytes that the kernel took since are activity too. */
    if (client->conn.sent_bytes != client->sent_bytes) {
        client->sent_bytes = client->conn.sent_bytes;
        client->active_us = client->server->loop->now_us;
    }
    if (client->in_batch || client->in_ready || client_deadline(client) > client->server->loop->now_us)
        loop_timer_set(client->server->loop, timer,
                       client->in_batch || client->in_ready ? client->server->loop->now_us + 1
                                                            : client_deadline(client));
    else
        client_time_is_up(client);
}

/* Bodies that come in parts */

static void body_refuse(struct client *client, struct request *request)
{
    request->close = true;
    client->state = CLIENT_READY;
    client->reading = false;
}

/* Copies body bytes to where the service wants them. Returns false when it refuses. */
static bool body_put(struct request *request, struct slice bytes)
{
    struct service *service = request->server->service;
    while (bytes.len > 0) {
        struct server_room room = service->on_body_room(service, request);
        if (room.len == 0)
            return false;
        size_t take = bytes.len < room.len ? bytes.len : room.len;
        memcpy(room.data, bytes.data, take);
        service->on_body_filled(service, request, take);
        if (request->error.status)
            return false;
        bytes.data += take;
        bytes.len -= take;
    }
    return true;
}

enum body_result { BODY_NEEDS_INPUT, BODY_WHOLE, BODY_REFUSED };

static enum body_result body_take_fixed(struct exchange *exchange, struct slice data, size_t *used)
{
    size_t take = data.len < exchange->body_left ? data.len : (size_t)exchange->body_left;
    *used = take;
    if (!body_put(&exchange->request, (struct slice){data.data, take}))
        return BODY_REFUSED;
    exchange->body_left -= take;
    return exchange->body_left == 0 ? BODY_WHOLE : BODY_NEEDS_INPUT;
}

static enum body_result body_take_chunked(struct exchange *exchange, struct slice data, size_t *used)
{
    *used = 0;
    while (*used < data.len) {
        struct slice body, rest = {data.data + *used, data.len - *used};
        size_t step = 0;
        enum http_result result = http_chunked_parse(&exchange->chunked, rest, &step, &body,
                                                     &exchange->request.error);
        *used += step;
        if (result == HTTP_BAD || !body_put(&exchange->request, body))
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
    enum body_result result = exchange->request.head.chunked
                                  ? body_take_chunked(exchange, data, used)
                                  : body_take_fixed(exchange, data, used);
    if (result == BODY_REFUSED)
        body_refuse(client, &exchange->request);
    if (result == BODY_WHOLE) {
        client->state = CLIENT_READY;
        client->reading = false;
    }
    return result;
}

static void client_send_continue(struct client *client)
{
    struct conn_piece piece = {.data = "HTTP/1.1 100 Continue\r\n\r\n", .len = 25};
    conn_send(&client->conn, &piece, 1);
}

/* Begins a body of which `have` bytes are here. On refusal request->error says why. */
static void body_start(struct client *client, struct request *request, size_t have)
{
    struct exchange *exchange = request_detach(request);
    if (!exchange) {
        request->error = gone;
        return;
    }
    struct service *service = client->server->service;
    exchange->body_left = request->head.content_length;
    http_chunked_init(&exchange->chunked);
    exchange->request.body_parts = true;
    service->on_body_start(service, &exchange->request, exchange->body_left);
    request_forget_slices(&exchange->request);
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
    batch_add(run, request);
    run->stop = RUN_CLOSE;
}

/* A body of which only a part is here, or that is chunked. Such a request stands first in its run, since by
 * then all before it are answered. */
static bool run_parse_body(struct run *run, struct request *request)
{
    struct client *client = run->client;
    size_t start = run->parsed + request->head.head_bytes;
    if (run->count > 0) {
        run->stop = RUN_AGAIN;
        return false;
    }
    if (!request->error.status)
        body_start(client, request, run->len - start);
    if (client->exchange)
        request = &client->exchange->request;
    run->parsed = start;
    if (request->error.status) {
        request->close = true;
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
    enum http_result result = http_head_parse(data, len, &request->head, &request->error);
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
        if (server->request_count == SERVER_BATCH_MAX) {
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

/* What is left of a run's input is kept, and what comes next is settled. */
static void client_settle(struct client *client, struct slice rest, enum run_stop stop)
{
    struct conn *conn = &client->conn;
    if (conn->state != CONN_OPEN)
        return;
    client->active_us = client->server->loop->now_us;
    if (stop == RUN_CLOSE && client->state == CLIENT_READY) {
        client_finish(client);
        return;
    }
    client->more = stop == RUN_AGAIN;
    conn_keep(conn, rest);
    if (conn->state != CONN_OPEN)
        return;
    bool busy = client->state == CLIENT_HELD || client->state == CLIENT_STREAMING;
    conn_pause(conn, busy);
    if (client->state == CLIENT_READY && !client->more) {
        bool partial = rest.len > 0;
        if (partial && !client->reading)
            client->request_us = client->active_us;
        client->reading = partial;
    }
    if (client->more && !busy && !conn_blocked(conn))
        server_ready(client);
    else if (conn->ended && !client->more && !busy)
        client_finish(client);
    else if (client->reading || busy || conn_blocked(conn))
        client_set_timer(client);
}

/* Reads straight to where the body goes. Returns false when that does not pay. */
static bool client_read_direct(struct client *client)
{
    struct exchange *exchange = client->exchange;
    struct service *service = client->server->service;
    if (client->state != CLIENT_BODY || exchange->request.head.chunked ||
        exchange->body_left < DIRECT_READ_BYTES_MIN || client->conn.kept)
        return false;
    struct server_room room = service->on_body_room(service, &exchange->request);
    if (room.len < DIRECT_READ_BYTES_MIN)
        return false; /* also when it refuses: the other way finds that out too */
    size_t want = room.len < exchange->body_left ? room.len : (size_t)exchange->body_left;
    want = want < DIRECT_READ_BYTES_MAX ? want : DIRECT_READ_BYTES_MAX;
    size_t got = conn_recv(&client->conn, room.data, want);
    if (client->conn.state != CONN_OPEN)
        return true;
    exchange->body_left -= got;
    client->body_bytes += got;
    if (got > 0)
        service->on_body_filled(service, &exchange->request, got);
    if (exchange->request.error.status) {
        body_refuse(client, &exchange->request);
        client_batch_body(client);
    } else if (exchange->body_left == 0) {
        client->state = CLIENT_READY;
        client->reading = false;
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
        server->request_count == SERVER_BATCH_MAX || server->input_used + need > SERVER_INPUT_BYTES || server->scratch_used > SCRATCH_BYTES)
        server_run_batch(server);
}

void client_read(struct client *client, bool may_recv)
{
    struct server *server = client->server;
    struct conn *conn = &client->conn;
    server_make_room(server, client);
    if (conn->state != CONN_OPEN || conn->paused || conn_blocked(conn) || client->in_ready)
        return;
    if (may_recv && client_read_direct(client))
        return;
    char *room = server->input + server->input_used;
    size_t len = conn_fill(conn, room, conn->kept_bytes + (size_t)SERVER_READ_BYTES, may_recv);
    if (conn->state != CONN_OPEN)
        return;
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

/* Answering */

/* Returns whether the connection ends with this answer. */
static bool request_answer(struct request *request)
{
    struct service *service = request->server->service;
    request->server->answering = request->client;
    if (request->error.status)
        reply_text(request, request->error.status, request->error.sentence);
    else
        service->on_request(service, request);
    request->server->answering = NULL;
    bool later = request->client->state == CLIENT_HELD || request->client->state == CLIENT_STREAMING;
    if (later)
        return false;
    assert(request->replied);
    bool closes = request->close;
    if (request->detached)
        exchange_free(request->client);
    else
        request_end(request);
    return closes;
}

static void stream_continue(struct client *client)
{
    struct request *request = &client->exchange->request;
    enum server_stream_result result = output_stream(&client->server->output, request);
    if (client->conn.state != CONN_OPEN || result == SERVER_STREAM_MORE)
        return;
    bool close = request->close;
    exchange_free(client);
    client->state = CLIENT_READY;
    if (result == SERVER_STREAM_BROKEN)
        conn_close(&client->conn);
    else if (close)
        client_finish(client);
}

/* A piece of a streamed reply, and what comes after it. One piece a turn, so that others get theirs. */
static void client_stream(struct client *client)
{
    output_start(&client->server->output, client);
    stream_continue(client);
    if (client->conn.state != CONN_OPEN || client->state == CLIENT_FINISHING)
        return;
    client->active_us = client->server->loop->now_us;
    if (conn_blocked(&client->conn)) {
        client_set_timer(client);
        return;
    }
    conn_pause(&client->conn, client->state == CLIENT_STREAMING);
    client->more |= client->conn.kept != NULL;
    if (client->state == CLIENT_STREAMING || client->more)
        server_ready(client);
    else if (client->conn.ended)
        client_finish(client);
}

/* Whether the run goes on after a request: it was answered, and the answer was taken. */
static bool run_goes_on(const struct client *client, bool closes)
{
    return !closes && client->state == CLIENT_READY && client->conn.state == CONN_OPEN &&
           !conn_blocked(&client->conn);
}

void client_run(struct server *server, struct run *run)
{
    struct client *client = run->client;
    unsigned answered = 0;
    bool closes = false;
    client->in_batch = false;
    if (client->conn.state != CONN_OPEN)
        return;
    assert(client->state == CLIENT_READY);
    output_start(&server->output, client);
    do
        closes = request_answer(server->requests[run->first + answered++]);
    while (answered < run->count && run_goes_on(client, closes));
    output_flush(&server->output);
    if (client->state == CLIENT_STREAMING && client->conn.state == CONN_OPEN && !conn_blocked(&client->conn))
        server_ready(client);
    bool all = answered == run->count;
    size_t offset = all ? run->parsed : server->requests[run->first + answered]->offset;
    enum run_stop stop = all ? run->stop : RUN_AGAIN;
    if (closes)
        stop = RUN_CLOSE;
    client->reading = false;
    client_settle(client, (struct slice){run->data + offset, run->len - offset}, stop);
}

struct request *server_hold(struct request *request, uint64_t until_us)
{
    struct exchange *exchange = request_detach(request);
    if (!exchange)
        return NULL;
    request_forget_slices(&exchange->request);
    exchange->hold_until_us = until_us;
    request->client->state = CLIENT_HELD;
    request->server->held++;
    return &exchange->request;
}

struct request *server_stream(struct request *request)
{
    struct exchange *exchange = request_detach(request);
    if (!exchange)
        return NULL;
    request_forget_slices(&exchange->request);
    request->client->state = CLIENT_STREAMING;
    return &exchange->request;
}

void server_answer(struct request *held, void (*answer)(struct service *, struct request *))
{
    struct client *client = held->client;
    struct server *server = client->server;
    assert(client->state == CLIENT_HELD && held->detached);
    server->held--;
    client->state = CLIENT_READY;
    output_start(&server->output, client);
    server->answering = client;
    answer(server->service, held);
    server->answering = NULL;
    bool close = held->close;
    exchange_free(client);
    output_flush(&server->output);
    if (client->conn.state != CONN_OPEN)
        return;
    client->active_us = server->loop->now_us;
    conn_pause(&client->conn, false);
    client->more |= client->conn.kept != NULL;
    if (close)
        client_finish(client);
    else if (conn_blocked(&client->conn))
        client_set_timer(client);
    else if (client->more)
        server_ready(client);
    else if (client->conn.ended)
        client_finish(client);
}

/* The conn's events */

static void client_on_readable(struct conn *conn)
{
    client_read((struct client *)conn, true);
}

static void client_on_drained(struct conn *conn)
{
    struct client *client = (struct client *)conn;
    client->active_us = client->server->loop->now_us;
    if (conn->state == CONN_LINGERING)
        client_set_timer(client);
    else if (client->state == CLIENT_STREAMING || client->more)
        server_ready(client);
    else if (client->state == CLIENT_READY && conn->ended)
        client_finish(client);
}

static void client_free(struct loop_deferred *deferred)
{
    struct client *client = (struct client *)((char *)deferred - offsetof(struct client, deferred));
    exchange_free(client);
    free(client);
}

static void client_on_closed(struct conn *conn)
{
    struct client *client = (struct client *)conn;
    struct server *server = client->server;
    /* A request in the batch, or one that is being answered, is still in use: it is freed with the client. */
    if (client->state != CLIENT_READY && server->answering != client)
        exchange_free(client);
    client->state = CLIENT_FINISHING;
    loop_timer_release(server->loop, &client->timer);
    server_forget(client);
    loop_defer(server->loop, &client->deferred, client_free);
}

static const struct conn_ops client_conn_ops = {
    .on_readable = client_on_readable,
    .on_drained = client_on_drained,
    .on_closed = client_on_closed,
};

struct client *client_new(struct server *server, int fd)
{
    struct io *io = server->loop->io;
    struct client *client = calloc(1, sizeof *client);
    if (!client || loop_timer_reserve(server->loop) != 0)
        goto failed;
    client->server = server;
    client->active_us = server->loop->now_us;
    client->timer.on_time = client_on_time;
    if (conn_open(&client->conn, server->loop, fd, &client_conn_ops) == 0) {
        client_set_timer(client);
        return client;
    }
    loop_timer_release(server->loop, &client->timer);
failed:
    io->ops->close(io, fd);
    free(client);
    return NULL;
}

void client_refuse(struct client *client, const char *sentence)
{
    client_reject(client, 503, sentence);
}

void client_drain(struct client *client)
{
    if (client->state == CLIENT_HELD)
        server_answer(&client->exchange->request, client->server->service->on_hold_end);
    else if (client->state == CLIENT_READY && !client->reading && !client->more && !client->in_batch &&
             !conn_blocked(&client->conn)) {
        client_read(client, true); /* a request may have come that was not read yet */
        if (client->conn.state == CONN_OPEN && !client->in_batch && !client->reading &&
            client->state == CLIENT_READY)
            client_finish(client);
    }
}

void client_go_on(struct client *client)
{
    if (client->state == CLIENT_STREAMING)
        client_stream(client);
    else
        client_read(client, false);
}
