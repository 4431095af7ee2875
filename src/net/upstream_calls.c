/* What goes to the server. Small pieces are copied into one text, large ones borrowed; all of a turn is written in one go. */
#include "net/upstream_parts.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { PIECES_ROOM = CONN_PIECES_MAX - 2 };

/* Output */

void upstream_flush(struct upstream *upstream)
{
    unsigned count = upstream->count;
    size_t len = upstream->used - upstream->piece_start;
    if (len > 0)
        upstream->pieces[count++] =
            (struct conn_piece){.data = upstream->text + upstream->piece_start, .len = len};
    upstream->count = 0;
    upstream->used = upstream->piece_start = 0;
    if (count > 0)
        conn_send(&upstream->conn, upstream->pieces, count);
}

static void output_copy(struct upstream *upstream, struct slice bytes)
{
    while (bytes.len > 0) {
        size_t room = UPSTREAM_OUTPUT_BYTES - upstream->used;
        size_t take = bytes.len < room ? bytes.len : room;
        memcpy(upstream->text + upstream->used, bytes.data, take);
        upstream->used += take;
        bytes.data += take;
        bytes.len -= take;
        if (upstream->used == UPSTREAM_OUTPUT_BYTES)
            upstream_flush(upstream);
    }
}

static void output_borrow(struct upstream *upstream, const struct conn_piece *piece)
{
    size_t len = upstream->used - upstream->piece_start;
    if (len > 0)
        upstream->pieces[upstream->count++] =
            (struct conn_piece){.data = upstream->text + upstream->piece_start, .len = len};
    upstream->piece_start = upstream->used;
    upstream->pieces[upstream->count++] = *piece;
    if (upstream->count >= PIECES_ROOM)
        upstream_flush(upstream);
}

static void output_add(struct upstream *upstream, const struct conn_piece *pieces, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        upstream->called_bytes += pieces[i].len;
        if (pieces[i].release)
            output_borrow(upstream, &pieces[i]);
        else
            output_copy(upstream, (struct slice){pieces[i].data, pieces[i].len});
    }
    upstream_due(upstream);
}

static void pieces_drop(const struct conn_piece *pieces, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (pieces[i].release)
            pieces[i].release(pieces[i].context, pieces[i].owner);
}

/* Calls */

/* Whether a call can be sent. Out of memory closes the connection. */
static bool upstream_can_send(struct upstream *upstream)
{
    if (!upstream_is_open(upstream))
        return false;
    if (!upstream->text)
        upstream->text = malloc(UPSTREAM_OUTPUT_BYTES);
    if (!upstream->text)
        upstream_close(upstream, -ENOMEM);
    return upstream->text != NULL;
}

void upstream_call_begin(struct upstream *upstream, struct call *call,
                         const struct conn_piece *pieces, unsigned count)
{
    assert(!upstream->open_call && upstream->state != UPSTREAM_DESTROYED);
    call->upstream = upstream;
    call->abandoned = false;
    call->sent_us = upstream->all->loop->now_us;
    call->output_begin = upstream->called_bytes;
    call->output_end = UINT64_MAX;
    if (!upstream_can_send(upstream)) {
        calls_append(&upstream->refused, call);
        upstream_defer(upstream);
        pieces_drop(pieces, count);
        return;
    }
    calls_append(&upstream->under_way, call);
    upstream->depth++;
    upstream->open_call = call;
    output_add(upstream, pieces, count);
}

void upstream_call_part(struct call *call, const struct conn_piece *pieces, unsigned count)
{
    struct upstream *upstream = call->upstream;
    if (!upstream || upstream->open_call != call) {
        pieces_drop(pieces, count);
        return;
    }
    if (!conn_blocked(&upstream->conn))
        call->sent_us = upstream->all->loop->now_us;
    output_add(upstream, pieces, count);
}

void upstream_call_end(struct call *call)
{
    struct upstream *upstream = call->upstream;
    if (!upstream || upstream->open_call != call)
        return;
    if (!conn_blocked(&upstream->conn))
        call->sent_us = upstream->all->loop->now_us;
    call->output_end = upstream->called_bytes;
    upstream->open_call = NULL;
    upstream_due(upstream);
}

void upstream_call(struct upstream *upstream, struct call *call, const struct conn_piece *pieces,
                   unsigned count)
{
    upstream_call_begin(upstream, call, pieces, count);
    upstream_call_end(call);
}
