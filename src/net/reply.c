#include "net/reply.h"

#include <assert.h>

#include "base/digits.h"
#include "net/client.h"

enum {
    HEAD_BYTES_MAX = 1024, /* a status line and the fields of one reply, the longest value apart */
    CHUNK_HEAD_BYTES = 10, /* "0001fffe\r\n": always 8 digits, filled in afterwards */
};

void output_start(struct output *output, struct client *client)
{
    output->client = client;
    output->used = output->piece_start = 0;
    output->count = 0;
}

/* What was written since the last piece becomes a piece. */
static void output_close_piece(struct output *output)
{
    size_t len = output->used - output->piece_start;
    if (len == 0)
        return;
    output->pieces[output->count++] =
        (struct conn_piece){.data = output->text + output->piece_start, .len = len};
    output->piece_start = output->used;
}

void output_flush(struct output *output)
{
    output_close_piece(output);
    if (output->count)
        conn_send(&output->client->conn, output->pieces, output->count);
    output_start(output, output->client);
}

/* Makes room for `bytes` of text and two more pieces. */
static void output_room(struct output *output, size_t bytes)
{
    assert(bytes <= SERVER_TEXT_BYTES);
    if (output->used + bytes > SERVER_TEXT_BYTES || output->count + 3 > CONN_PIECES_MAX)
        output_flush(output);
}

static void output_text(struct output *output, struct slice text)
{
    if (text.len)
        memcpy(output->text + output->used, text.data, text.len);
    output->used += text.len;
}

static void output_ref(struct output *output, struct conn_piece piece)
{
    output_close_piece(output);
    output->pieces[output->count++] = piece;
}

static void output_number(struct output *output, uint64_t value)
{
    output->used += digits_decimal(value, output->text + output->used);
}

static struct output *output_of(struct request *request)
{
    return &request->server->output;
}

/* "HTTP/1.1 200 OK" and Date are the same in all replies of a second. */
static void update_date(struct server *server)
{
    uint64_t second = server->loop->wall_us / 1000000;
    if (second == server->date_second)
        return;
    server->date_second = second;
    memcpy(server->ok_head, "HTTP/1.1 200 OK\r\nDate: ", OK_DATE_AT);
    date_http(second, server->ok_head + OK_DATE_AT);
    memcpy(server->ok_head + OK_DATE_AT + DATE_HTTP_BYTES, "\r\n", 2);
}

static void put_status_line(struct output *output, unsigned status, const struct server *server)
{
    struct slice date = {server->ok_head + OK_DATE_AT, DATE_HTTP_BYTES + 2};
    if (status == 200) {
        output_text(output, (struct slice){server->ok_head, OK_HEAD_BYTES});
        return;
    }
    output_text(output, SLICE("HTTP/1.1 "));
    output_number(output, status);
    output_text(output, SLICE(" "));
    output_text(output, slice_of(http_status_text(status)));
    output_text(output, SLICE("\r\nDate: "));
    output_text(output, date);
}

/* A client is told when the connection ends, and one of HTTP/1.0 when it does not (RFC 9112, 9.3). */
static void put_connection(struct output *output, struct request *request)
{
    bool more = request->deferred && request->client->pending; /* requests behind it are answered */
    request->close |= !request->head.keep_alive || (request->server->draining && !more);
    if (request->close)
        output_text(output, SLICE("Connection: close\r\n"));
    else if (request->head.minor == 0)
        output_text(output, SLICE("Connection: keep-alive\r\n"));
}

void reply_start(struct request *request, unsigned status)
{
    struct output *output = output_of(request);
    struct server *server = request->server;
    assert(!request->replied && status >= 100 && status < 100 + SERVER_STATUSES);
    request->replied = true;
    request->status = (uint16_t)status;
    server->counters.replies[request->head.method][status - 100]++;
    output_room(output, HEAD_BYTES_MAX);
    update_date(server);
    put_status_line(output, status, server);
    put_connection(output, request);
}

void reply_field(struct request *request, struct slice name, struct slice value)
{
    struct output *output = output_of(request);
    output_room(output, name.len + value.len + 4);
    output_text(output, name);
    output_text(output, SLICE(": "));
    output_text(output, value);
    output_text(output, SLICE("\r\n"));
}

void reply_lines(struct request *request, struct slice lines)
{
    struct output *output = output_of(request);
    output_room(output, lines.len);
    output_text(output, lines);
}

void reply_field_number(struct request *request, struct slice name, uint64_t value)
{
    char digits[DIGITS_DECIMAL_MAX];
    reply_field(request, name, (struct slice){digits, digits_decimal(value, digits)});
}

static void put_length(struct output *output, uint64_t bytes)
{
    output_room(output, 64);
    output_text(output, SLICE("Content-Length: "));
    output_number(output, bytes);
    output_text(output, SLICE("\r\n\r\n"));
}

void reply_body(struct request *request, struct slice body)
{
    struct output *output = output_of(request);
    put_length(output, body.len);
    if (request->head.method == HTTP_HEAD)
        return;
    /* It may be longer than the buffer: a list of members is as long as others have made it. */
    while (body.len > 0) {
        size_t take = body.len < SERVER_TEXT_BYTES / 2 ? body.len : SERVER_TEXT_BYTES / 2;
        output_room(output, take);
        output_text(output, (struct slice){body.data, take});
        body.data += take;
        body.len -= take;
    }
}

void reply_body_ref(struct request *request, struct conn_piece piece)
{
    struct output *output = output_of(request);
    put_length(output, piece.len);
    if (request->head.method == HTTP_HEAD || piece.len == 0)
        piece.release(piece.context, piece.owner);
    else
        output_ref(output, piece);
}

void reply_end(struct request *request)
{
    struct output *output = output_of(request);
    output_room(output, 2);
    output_text(output, SLICE("\r\n"));
}

static const struct slice text_plain = {"text/plain; charset=utf-8", 25};

void reply_sentence(struct request *request, const char *sentence)
{
    struct output *output = output_of(request);
    size_t len = strlen(sentence);
    reply_field(request, SLICE("Content-Type"), text_plain);
    put_length(output, len + 1);
    if (request->head.method == HTTP_HEAD)
        return;
    output_room(output, len + 1);
    output_text(output, (struct slice){sentence, len});
    output_text(output, SLICE("\n"));
}

void reply_not_allowed(struct request *request, struct slice methods)
{
    reply_start(request, 405);
    reply_field(request, SLICE("Allow"), methods);
    bool write = request->head.method >= HTTP_POST && request->head.method < HTTP_OTHER;
    if (write && slice_equal(request->head.target, SLICE("/")))
        reply_sentence(request,
                       "There is no key in this URL: it stands behind the slash, as in /KEY.");
    else
        reply_sentence(request, "That method means nothing here; Allow names those that do.");
}

void reply_text(struct request *request, unsigned status, const char *sentence)
{
    const char *retry_after = request->server->service->retry_after;
    reply_start(request, status);
    if (status == 503 && retry_after)
        reply_field(request, SLICE("Retry-After"), slice_of(retry_after));
    reply_sentence(request, sentence);
}

void reply_content(struct request *request, unsigned status, struct slice type,
                   struct slice content)
{
    reply_start(request, status);
    reply_field(request, SLICE("Content-Type"), type);
    reply_body(request, content);
}

void reply_stream(struct request *request)
{
    request->chunked_reply = request->head.minor > 0;
    if (request->chunked_reply)
        reply_field(request, SLICE("Transfer-Encoding"), SLICE("chunked"));
    reply_end(request);
}

void reply_stream_sized(struct request *request, uint64_t bytes)
{
    struct output *output = output_of(request);
    request->chunked_reply = false;
    put_length(output, bytes);
}

void reply_chunk(struct request *request, struct slice data)
{
    struct output *output = output_of(request);
    /* A chunk's size stands before it, so a chunk that is begun is never flushed in parts. */
    assert(output->used + data.len + CHUNK_HEAD_BYTES <= SERVER_TEXT_BYTES);
    output_text(output, data);
    output->stream_bytes += data.len;
}

void reply_chunk_ref(struct request *request, struct conn_piece piece)
{
    struct output *output = output_of(request);
    assert(output->count + 3 <= CONN_PIECES_MAX);
    output_ref(output, piece);
    output->stream_bytes += piece.len;
}

bool reply_chunk_full(const struct request *request)
{
    const struct output *output = &request->server->output;
    return output->stream_bytes >= SERVER_STREAM_BYTES || output->count + 4 > CONN_PIECES_MAX;
}

static void put_chunk_size(char *at, size_t bytes)
{
    static const char digits[] = "0123456789abcdef";
    for (int i = 7; i >= 0; i--, bytes >>= 4)
        at[i] = digits[bytes & 15];
}

enum server_stream_result output_stream(struct output *output, struct request *request)
{
    assert(output->used == 0 && output->count == 0);
    if (request->chunked_reply)
        output_text(output, SLICE("00000000\r\n"));
    output->stream_bytes = 0;
    enum server_stream_result result =
        request->server->service->on_stream(request->server->service, request);
    if (request->chunked_reply && output->stream_bytes == 0)
        output_start(output, output->client); /* a chunk of no bytes would be the last one */
    else if (request->chunked_reply) {
        put_chunk_size(output->text, output->stream_bytes);
        output_text(output, SLICE("\r\n"));
    }
    if (request->chunked_reply && result == SERVER_STREAM_END)
        output_text(output, SLICE("0\r\n\r\n"));
    output_flush(output);
    return result;
}
