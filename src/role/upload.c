/* A body that comes in parts, on its way to a node.
 *
 *   client ─► relay->sent (head, what is there of the body) ─► connection of its own ─► node
 *
 * One of RELAY_WHOLE_BYTES_MAX at most is collected, and then is a request like any other, that can be sent again. A larger one is
 * passed on as it comes: it cannot. While the node takes nothing, no more is read from the client. */
#include "role/upload.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "role/frontend_state.h"
#include "role/lane.h"

enum {
    PART_BYTES = 64 * 1024,   /* room for a part of a body that streams */
    EARLY_BYTES = 64 * 1024,  /* that come before the connection stands: then the client waits */
    CHUNKED_BYTES = 4 * 1024, /* room for a body of unknown length, at first */
    CHUNK_LINE_BYTES = 24,
};

const char upload_too_large[] = "The value is larger than this front-end takes (--value-max).";

static size_t body_at(const struct relay *relay)
{
    return relay->head_bytes + 2;
}

static size_t body_bytes(const struct relay *relay)
{
    return relay->sent.len - body_at(relay);
}

static void upload_stream(struct relay *relay)
{
    relay->upload->streams = true;
    relay_begin(relay);
}

int upload_start(struct relay *relay, uint64_t bytes, bool chunked)
{
    relay->upload = calloc(1, sizeof *relay->upload);
    if (!relay->upload)
        return -ENOMEM;
    relay->state = RELAY_UPLOADING;
    relay->upload->chunked = chunked;
    bool large = !chunked && bytes > RELAY_WHOLE_BYTES_MAX;
    size_t room = chunked ? CHUNKED_BYTES : large ? PART_BYTES : (size_t)bytes;
    if (relay_reserve(relay, relay->sent.len + room) != 0)
        return -ENOMEM;
    if (large)
        upload_stream(relay);
    return 0;
}

/* Passes on what came since the last time, and makes its place free. */
static void upload_pass(struct relay *relay)
{
    struct upload *upload = relay->upload;
    size_t bytes = body_bytes(relay);
    if (!upload->begun || !relay->attempt || bytes == 0)
        return;
    char line[CHUNK_LINE_BYTES];
    int line_bytes = upload->chunked ? snprintf(line, sizeof line, "%zx\r\n", bytes) : 0;
    struct conn_piece pieces[] = {
        {.data = line, .len = (size_t)line_bytes},
        {.data = relay->sent.data + body_at(relay), .len = bytes},
        {.data = "\r\n", .len = 2},
    };
    upstream_call_part(&relay->attempt->call, pieces, upload->chunked ? 3 : 2);
    relay->sent.len = body_at(relay);
}

static void upload_pass_end(struct relay *relay)
{
    struct conn_piece end = {.data = "0\r\n\r\n", .len = 5};
    if (!relay->attempt)
        return;
    if (relay->upload->chunked)
        upstream_call_part(&relay->attempt->call, &end, 1);
    upstream_call_end(&relay->attempt->call);
}

void upload_begin(struct relay *relay, struct lane *lane, struct attempt *attempt)
{
    struct conn_piece pieces[RELAY_PIECES_MAX];
    char room[RELAY_LINES_BYTES];
    unsigned count = relay_pieces(relay, pieces, room);
    relay->upload->begun = true;
    upstream_call_begin(lane->upstream, &attempt->call, pieces, count);
    upload_pass(relay);
    if (relay->upload->whole)
        upload_pass_end(relay);
    else
        server_pause_body(relay->request, false);
}

/* Room for at least one more byte of a body that is collected, or not begun. */
static int upload_grow(struct relay *relay, uint64_t left)
{
    const struct relay_bytes *sent = &relay->sent;
    size_t want = left < PART_BYTES ? (size_t)left : PART_BYTES;
    if (sent->len + want <= sent->size || (want == 0 && sent->len < sent->size))
        return 0;
    size_t need = sent->len + (want ? want : 1), twice = 2 * sent->size;
    return relay_reserve(relay, need > twice ? need : twice);
}

struct server_room upload_room(struct relay *relay, struct request *request, uint64_t left)
{
    struct upload *upload = relay->upload;
    struct relay_bytes *sent = &relay->sent;
    if (left > relay->frontend->config.value_max - upload->bytes) {
        request_refuse(request, 413, upload_too_large);
        return (struct server_room){0};
    }
    if (upload->chunked && !upload->streams && body_bytes(relay) >= RELAY_WHOLE_BYTES_MAX)
        upload_stream(relay);
    if (request->error.status)
        return (struct server_room){0};
    if (upload_grow(relay, left) != 0) {
        request_refuse(request, 503, "This front-end is out of memory for requests; try again.");
        return (struct server_room){0};
    }
    return (struct server_room){sent->data + sent->len, sent->size - sent->len};
}

void upload_filled(struct relay *relay, size_t bytes)
{
    struct upload *upload = relay->upload;
    upload->bytes += bytes;
    relay->sent.len += bytes;
    if (!upload->streams)
        return;
    upload_pass(relay);
    bool blocked =
        upload->begun && relay->attempt && upstream_blocked(relay->attempt->lane->upstream);
    if (blocked || body_bytes(relay) >= EARLY_BYTES)
        server_pause_body(relay->request, true);
}

void upload_on_drained(struct relay *relay)
{
    if (relay->upload->begun && !relay->upload->whole)
        server_pause_body(relay->request, false);
}

void upload_end(struct relay *relay)
{
    struct upload *upload = relay->upload;
    upload->whole = true;
    relay_set_wait(relay, &frontend_work_of(relay->request)->options);
    if (!upload->streams)
        relay_start(relay, relay->request);
    else if (upload->begun)
        upload_pass_end(relay);
    if (relay->frontend->draining)
        relay_hurry(relay);
}
