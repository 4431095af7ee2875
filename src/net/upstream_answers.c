/* What comes from the server: heads, bodies of known length, in chunks, or until the connection ends, each for the first call under way. */
#include "net/upstream_parts.h"

#include <errno.h>

static bool has_body(const struct call *call, const struct http_response *head)
{
    return !call->head && head->status != 204 && head->status != 304 &&
           (head->chunked || !head->has_length || head->content_length > 0);
}

/* The answer of the first call is whole. */
static void answer_end(struct upstream *upstream)
{
    bool unfinished = upstream->open_call == upstream->under_way.first;
    upstream->part = ANSWER_HEAD;
    call_end(upstream, CALL_DONE);
    if (upstream->last || unfinished)
        upstream_close(upstream, 0);
}

static void answer_final(struct upstream *upstream, const struct http_response *head)
{
    struct call *call = upstream->under_way.first;
    bool body = has_body(call, head);
    upstream->waits_us = upstream->all->loop->now_us;
    upstream->last |= !head->keep_alive || (body && !head->chunked && !head->has_length) ||
                      (upstream->finishing && !call->next);
    if (!call->abandoned)
        call->ops->on_head(call, head);
    if (upstream->state != UPSTREAM_OPEN)
        return;
    if (!body) {
        answer_end(upstream);
        return;
    }
    upstream->left = head->content_length;
    http_chunked_init(&upstream->chunked);
    upstream->part = head->chunked      ? ANSWER_CHUNKED
                     : head->has_length ? ANSWER_BODY
                                        : ANSWER_UNTIL_END;
}

/* Returns how much was used: 0 when more must come. */
static size_t answer_head(struct upstream *upstream, struct slice data)
{
    struct http_response head;
    struct http_error error;
    struct call *call = upstream->under_way.first;
    switch (http_response_parse(&upstream->all->reader, data.data, data.len, &head, &error)) {
    case HTTP_MORE:
        return 0;
    case HTTP_BAD:
        upstream_close(upstream, -EPROTO);
        return 0;
    case HTTP_OK:
        break;
    }
    if (head.status == 101)
        upstream_close(upstream, -EPROTO);
    else if (head.status >= 200)
        answer_final(upstream, &head);
    else if (head.status == 100 && call->ops->on_continue && !call->abandoned)
        call->ops->on_continue(call);
    return head.head_bytes;
}

static void answer_give(struct upstream *upstream, struct slice bytes)
{
    struct call *call = upstream->under_way.first;
    if (bytes.len > 0 && call->ops->on_body && !call->abandoned)
        call->ops->on_body(call, bytes);
}

static size_t answer_chunked(struct upstream *upstream, struct slice data)
{
    size_t used = 0;
    struct slice body;
    struct http_error error;
    enum http_result result = http_chunked_parse(&upstream->chunked, data, &used, &body, &error);
    if (result == HTTP_BAD) {
        upstream_close(upstream, -EPROTO);
        return 0;
    }
    answer_give(upstream, body);
    if (result == HTTP_OK && upstream->state == UPSTREAM_OPEN)
        answer_end(upstream);
    return used;
}

static size_t answer_body(struct upstream *upstream, struct slice data)
{
    bool counted = upstream->part == ANSWER_BODY;
    size_t take = counted && upstream->left < data.len ? (size_t)upstream->left : data.len;
    if (counted)
        upstream->left -= take;
    answer_give(upstream, (struct slice){data.data, take});
    if (counted && upstream->left == 0 && upstream->state == UPSTREAM_OPEN)
        answer_end(upstream);
    return take;
}

/* Whether an answer that begins now is to something that was asked. */
static bool answer_is_due(const struct upstream *upstream)
{
    const struct call *call = upstream->under_way.first;
    return call && !call_is_unsent(upstream, call);
}

/* Returns how much of the input was used. */
static size_t answers_parse(struct upstream *upstream, struct slice data)
{
    size_t used = 0, step = 1;
    while (used < data.len && step > 0 && upstream->state == UPSTREAM_OPEN && !upstream->paused) {
        struct slice rest = {data.data + used, data.len - used};
        if (upstream->part == ANSWER_HEAD && !answer_is_due(upstream)) {
            upstream_close(upstream, -EPROTO);
            break;
        }
        if (upstream->part == ANSWER_HEAD)
            step = answer_head(upstream, rest);
        else if (upstream->part == ANSWER_CHUNKED)
            step = answer_chunked(upstream, rest);
        else
            step = answer_body(upstream, rest);
        used += step;
    }
    return used;
}

bool upstream_read(struct upstream *upstream, bool may_recv)
{
    struct conn *conn = &upstream->conn;
    char *input = upstream->all->input;
    size_t kept = conn->kept_bytes;
    size_t room = HTTP_HEAD_BYTES_MAX + UPSTREAM_INPUT_BYTES;
    size_t len = conn_fill(conn, input,
                           kept + UPSTREAM_INPUT_BYTES < room ? kept + UPSTREAM_INPUT_BYTES : room,
                           may_recv);
    bool more = len == kept + UPSTREAM_INPUT_BYTES;
    if (upstream->state != UPSTREAM_OPEN)
        return false;
    upstream->resumed = false;
    if (len > kept)
        upstream->heard_us = upstream->all->loop->now_us;
    if (len > kept && upstream->part != ANSWER_HEAD)
        upstream->waits_us = upstream->all->loop->now_us;
    size_t used = answers_parse(upstream, (struct slice){input, len});
    if (upstream->state != UPSTREAM_OPEN)
        return false;
    conn_keep(conn, (struct slice){input + used, len - used});
    if (conn->ended && conn->state == CONN_OPEN && !upstream->paused) {
        if (upstream->part == ANSWER_UNTIL_END && !conn->error) /* a reset is no proper end */
            answer_end(upstream);
        upstream_close(upstream, 0);
    }
    return more && upstream->state == UPSTREAM_OPEN && !upstream->paused;
}
