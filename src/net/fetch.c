#include "net/fetch.h"

#include <assert.h>
#include <stdlib.h>

static void fetch_on_head(struct call *call, const struct http_response *head)
{
    struct fetch *fetch = (struct fetch *)call;
    fetch->status = head->status;
    fetch->content_length = head->content_length;
}

static bool fetch_grow(struct fetch *fetch, size_t need)
{
    size_t room = fetch->room ? fetch->room : 1024;
    while (room < need)
        room *= 2;
    if (room > fetch->room) {
        char *body = realloc(fetch->body, room);
        if (!body)
            return false;
        fetch->body = body;
        fetch->room = room;
    }
    return true;
}

static void fetch_on_body(struct call *call, struct slice bytes)
{
    struct fetch *fetch = (struct fetch *)call;
    if (fetch->overflow || bytes.len == 0)
        return;
    fetch->overflow =
        bytes.len > fetch->body_max - fetch->len || !fetch_grow(fetch, fetch->len + bytes.len);
    if (fetch->overflow)
        return;
    memcpy(fetch->body + fetch->len, bytes.data, bytes.len);
    fetch->len += bytes.len;
}

static void fetch_on_end(struct call *call, enum call_result result)
{
    struct fetch *fetch = (struct fetch *)call;
    bool whole = result == CALL_DONE && !fetch->overflow;
    char *body = fetch->body;
    struct slice bytes = {body ? body : "", whole ? fetch->len : 0};
    fetch->body = NULL;
    fetch->room = fetch->len = 0;
    fetch->busy = false;
    fetch->on_done(fetch, whole ? fetch->status : 0, bytes);
    free(body);
}

static const struct call_ops fetch_ops = {
    .on_head = fetch_on_head,
    .on_body = fetch_on_body,
    .on_end = fetch_on_end,
};

void fetch_start(struct fetch *fetch, struct upstream *upstream, const struct conn_piece *pieces,
                 unsigned count)
{
    assert(!fetch->busy);
    fetch->call = (struct call){.ops = &fetch_ops, .head = fetch->head_only};
    fetch->busy = true;
    fetch->overflow = false;
    fetch->status = 0;
    upstream_call(upstream, &fetch->call, pieces, count);
}
