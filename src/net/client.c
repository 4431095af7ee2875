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

/* Exchanges: requests with memory of their own. */

static void request_end(struct request *request)
{
    struct service *service = request->server->service;
    if (request->service_data)
        service->on_request_end(service, request);
    request->service_data = NULL;
}

void exchange_end(struct server *server, struct exchange *exchange)
{
    request_end(&exchange->request);
    free(exchange->head);
    pool_give(&server->exchanges, exchange);
}

static void exchange_free(struct client *client)
{
    struct exchange *exchange = client->exchange;
    if (!exchange)
        return;
    client->server->held -= client->state == CLIENT_HELD;
    client->exchange = NULL;
    exchange_end(client->server, exchange);
}

struct exchange *request_detach(struct request *request)
{
    struct client *client = request->client;
    if (request->detached)
        return client->exchange;
    struct exchange *exchange = pool_take(&client->server->exchanges);
    if (!exchange)
        return NULL;
    size_t fields_bytes = request->head.field_count * sizeof *request->head.fields;
    memcpy(&exchange->request, request, offsetof(struct request, head.fields) + fields_bytes);
    exchange->request.detached = true;
    exchange->head = NULL;
    request->service_data = NULL;
    client->exchange = exchange;
    return exchange;
}

void request_forget_slices(struct request *request)
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

/* Whether it is the service that keeps the client waiting: no limit of the client's runs. */
static bool client_awaits_service(const struct client *client)
{
    return client->pending || client->body_paused || client->starved;
}

/* Connected or answered a moment ago: a request is likely on its way. */
static bool client_is_busy(const struct client *client)
{
    return client->server->loop->now_us < client->active_us + SERVER_LAST_US;
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
    if (client_awaits_service(client))
        return client->server->loop->now_us + config->idle_us;
    if (client->reading)
        return client->request_us + config->request_us + body_allowance_us(client);
    if (client->server->draining)
        return client->active_us + SERVER_LAST_US;
    return client->active_us + config->idle_us;
}

void client_begin_anew(struct client *client)
{
    client->active_us = client->request_us = client->server->loop->now_us;
}

void client_set_timer(struct client *client)
{
    client->sent_bytes = client->conn.sent_bytes; /* all that was sent up to active_us */
    uint64_t deadline = client_deadline(client);
    if (client->timer.place == 0 || deadline < client->timer.at_us)
        loop_timer_set(client->server->loop, &client->timer, deadline);
}

void client_finish(struct client *client, bool unread)
{
    client_drop_deferred(client);
    client->state = CLIENT_FINISHING;
    client->more = client->reading = false;
    client->active_us = client->server->loop->now_us;
    conn_finish(&client->conn, unread);
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
    client_finish(client, true);
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
        client_finish(client, false); /* idle */
    }
}

static void client_on_time(struct loop_timer *timer)
{
    struct client *client = (struct client *)((char *)timer - offsetof(struct client, timer));
    /* Bytes that the kernel took since are activity too. */
    if (conn_blocked(&client->conn) && client->conn.sent_bytes != client->sent_bytes) {
        client->sent_bytes = client->conn.sent_bytes;
        client->active_us = client->server->loop->now_us;
    }
    if (client->in_batch || client->in_ready ||
        client_deadline(client) > client->server->loop->now_us)
        loop_timer_set(client->server->loop, timer,
                       client->in_batch || client->in_ready ? client->server->loop->now_us + 1
                                                            : client_deadline(client));
    else
        client_time_is_up(client);
}

bool client_pauses(const struct client *client)
{
    bool held = client->state == CLIENT_HELD;
    if (client->state == CLIENT_STREAMING || client->body_paused)
        return true;
    if (!client->waiting && !held)
        return false;
    bool takes_long = held || (client->pending && client->pending_last->request.exclusive);
    return !takes_long || client->conn.kept_bytes >= HTTP_HEAD_BYTES_MAX;
}

/* Whether a request has begun there: empty lines before one are not yet it. */
static bool has_begun(struct slice rest)
{
    size_t i = 0;
    while (i < rest.len && (rest.data[i] == '\r' || rest.data[i] == '\n'))
        i++;
    return i < rest.len;
}

void client_settle(struct client *client, struct slice rest, enum run_stop stop)
{
    struct conn *conn = &client->conn;
    if (conn->state != CONN_OPEN)
        return;
    client->active_us = client->server->loop->now_us;
    if (stop == RUN_CLOSE && client->state == CLIENT_READY) {
        client->last = true;
        client->rejected |= rest.len > 0;
        if (!client->pending) {
            client_finish(client, client->rejected);
            return;
        }
        stop = RUN_WAIT; /* it is never looked at */
    }
    client->more = stop == RUN_AGAIN || stop == RUN_WAIT;
    client->waiting = stop == RUN_WAIT;
    conn_keep(conn, rest);
    if (conn->state != CONN_OPEN)
        return;
    bool busy =
        client->state == CLIENT_HELD || client->state == CLIENT_STREAMING || client->waiting;
    conn_pause(conn, client_pauses(client));
    if (client->state == CLIENT_READY && !client->more) {
        bool partial = has_begun(rest);
        if (partial && !client->reading)
            client->request_us = client->active_us;
        client->reading = partial;
    }
    if (conn->ended)
        client_hurry(client);
    if (client->state == CLIENT_HELD && conn->ended)
        server_answer(&client->exchange->request, client->server->service->on_hold_end);
    else if (client->more && !busy && !conn_blocked(conn))
        server_ready(client);
    else if (conn->ended && !client->more && !busy && !client->pending)
        client_finish(client, false);
    else
        client_set_timer(client);
}

/* Answering */

/* Returns whether the connection ends with this answer. *waits: it is to come again, see server_postpone. */
static bool request_answer(struct request *request, bool *waits)
{
    struct service *service = request->server->service;
    request->server->answering = request->client;
    if (request->error.status)
        reply_text(request, request->error.status, request->error.sentence);
    else
        service->on_request(service, request);
    request->server->answering = NULL;
    *waits = request->postponed;
    bool later = request->client->state == CLIENT_HELD ||
                 request->client->state == CLIENT_STREAMING || request->deferred || *waits;
    if (later)
        return false;
    bool closed = request->client->conn.state == CONN_CLOSED; /* while it was being answered */
    assert(request->replied || closed);
    bool closes = request->close || closed;
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
    client->starved = result == SERVER_STREAM_WAIT;
    if (client->conn.state != CONN_OPEN || result <= SERVER_STREAM_WAIT)
        return;
    bool close = request->close || (client->server->draining && !client->pending);
    exchange_free(client);
    client->state = CLIENT_READY;
    if (result == SERVER_STREAM_BROKEN)
        conn_close(&client->conn);
    else if (close)
        client_finish(client, false);
}

/* A piece of a streamed reply, and what comes after it. One piece a turn, so that others get theirs. */
static void client_stream(struct client *client)
{
    output_start(&client->server->output, client);
    stream_continue(client);
    if (client->conn.state != CONN_OPEN || client->state == CLIENT_FINISHING)
        return;
    client_begin_anew(client);
    conn_pause(&client->conn, client_pauses(client));
    client->more |= client->conn.kept != NULL;
    if (conn_blocked(&client->conn))
        client_set_timer(client);
    else if (client->starved)
        client_set_timer(client);
    else if (client->state == CLIENT_STREAMING || client->more || client_can_answer(client))
        server_ready(client);
    else if (client->conn.ended && !client->pending)
        client_finish(client, false);
}

/* Whether the run goes on after a request: it was answered, and the answer was taken, or both can wait. */
static bool run_goes_on(const struct client *client, bool closes)
{
    return !closes && client->state == CLIENT_READY && client->conn.state == CONN_OPEN &&
           !conn_blocked(&client->conn);
}

/* Answers from the first request of a run on; returns how many. */
static unsigned run_answer(struct server *server, const struct run *run, bool *closes, bool *waits)
{
    struct client *client = run->client;
    unsigned answered = 0;
    while (answered < run->count && !*waits && run_goes_on(client, *closes)) {
        struct request *request = server->requests[run->first + answered];
        *waits = !client_may_defer(client, request);
        if (!*waits)
            *closes = request_answer(request, waits);
        answered += !*waits;
    }
    return answered;
}

/* What had to wait behind others is parsed once more then, so no more is than was answered in one go the last time; twice as much when that
 * was all. */
static void client_learn_pace(struct client *client, unsigned seen, unsigned answered)
{
    if (answered < seen)
        client->run_max = (uint16_t)(answered > 0 ? answered : 1);
    else if (seen == client->run_max && seen < SERVER_BATCH_MAX)
        client->run_max = (uint16_t)(2 * seen < SERVER_BATCH_MAX ? 2 * seen : SERVER_BATCH_MAX);
}

void client_run(struct server *server, struct run *run)
{
    struct client *client = run->client;
    bool closes = false, waits = false;
    client->in_batch = false;
    if (client->conn.state != CONN_OPEN)
        return;
    assert(client->state == CLIENT_READY);
    output_start(&server->output, client);
    unsigned answered = run_answer(server, run, &closes, &waits);
    if (server->run_count == 1 && server->service->on_answers)
        server->service->on_answers(server->service);
    output_flush(&server->output);
    if (client->state == CLIENT_STREAMING && client->conn.state == CONN_OPEN &&
        !conn_blocked(&client->conn))
        server_ready(client);
    bool all = answered == run->count;
    client_learn_pace(client, run->count, answered);
    size_t offset = all ? run->parsed : server->requests[run->first + answered]->offset;
    enum run_stop stop = all ? run->stop : waits ? RUN_WAIT : RUN_AGAIN;
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

struct request *server_stream(struct request *request, bool sized)
{
    struct exchange *exchange = request_detach(request);
    if (!exchange)
        return NULL;
    request_forget_slices(&exchange->request);
    exchange->request.close |=
        request->head.minor == 0 && !sized; /* whose end is the end of the reply */
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
    server->loop->again |= client->more; /* the turn's batches may be over already */
    if (close)
        client_finish(client, client->more);
    else if (client->more && !conn_blocked(&client->conn))
        server_ready(client);
    else if (client->conn.ended && !conn_blocked(&client->conn))
        client_finish(client, false);
    else
        client_set_timer(client);
}

/* The conn's events */

/* Who sends a large body takes turns with others that keep the server busy, behind those who ask for little. */
static void client_on_readable(struct conn *conn)
{
    struct client *client = (struct client *)conn;
    if (!client_reads_direct(client)) {
        client_read(client, true);
        return;
    }
    server_ready(client);
    conn_put_off(conn);
}

static void client_on_drained(struct conn *conn)
{
    struct client *client = (struct client *)conn;
    client_begin_anew(client); /* nothing was read while it was blocked */
    client->body_bytes = 0;
    client_tell_turn(client);
    bool open = conn->state == CONN_OPEN && client->state != CLIENT_HELD;
    bool over = !client->pending && (conn->ended || (client->server->draining && !client->reading));
    bool streams = client->state == CLIENT_STREAMING && !client->starved;
    if (open && (streams || client->more || client_can_answer(client)))
        server_ready(client);
    else if (open && client->state == CLIENT_READY && over)
        client_finish(client, false);
    else
        client_set_timer(client);
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
    client_drop_deferred(client);
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
    client->run_max = SERVER_BATCH_MAX;
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
    client_hurry(client);
    if (client->state == CLIENT_HELD)
        server_answer(&client->exchange->request, client->server->service->on_hold_end);
    else if (client->state == CLIENT_READY && !client->reading && !client->more &&
             !client->in_batch && !client->pending && !conn_blocked(&client->conn)) {
        client_read(client, true); /* a request may have come that was not read yet */
        if (client->conn.state != CONN_OPEN || client->in_batch || client->reading ||
            client->pending || client->state != CLIENT_READY)
            return;
        if (client_is_busy(client))
            client_set_timer(client);
        else
            client_finish(client, false);
    }
}

void client_go_on(struct client *client)
{
    const struct http_error *error = client->exchange ? &client->exchange->request.error : NULL;
    if (client->state == CLIENT_BODY && error && error->status)
        client_reject(client, error->status, error->sentence);
    else if (client->state == CLIENT_STREAMING && !client->starved)
        client_stream(client);
    else if (client_can_answer(client))
        client_answer_deferred(client);
    else if (client->state != CLIENT_STREAMING && !client->waiting)
        client_read(client, client_reads_direct(client));
}
