/* The request as it is sent to a node: once the bytes of a whole one, and before each try what is said anew. */
#include <errno.h>
#include <stdlib.h>

#include "base/digits.h"
#include "role/frontend_state.h"
#include "role/relay.h"
#include "role/upload.h"

/* Bytes */

void relay_bytes_init(struct relay_bytes *bytes)
{
    bytes->data = bytes->room;
    bytes->len = 0;
    bytes->size = sizeof bytes->room;
}

void relay_bytes_free(struct relay_bytes *bytes)
{
    if (bytes->data != bytes->room)
        free(bytes->data);
    relay_bytes_init(bytes);
}

int relay_bytes_reserve(struct relay_bytes *bytes, size_t size)
{
    if (size <= bytes->size)
        return 0;
    bool own = bytes->data != bytes->room;
    char *data = realloc(own ? bytes->data : NULL, size);
    if (!data)
        return -ENOMEM;
    if (!own)
        memcpy(data, bytes->room, bytes->len);
    bytes->data = data;
    bytes->size = size;
    return 0;
}

int relay_reserve(struct relay *relay, size_t size)
{
    struct frontend *frontend = relay->frontend;
    size_t before = relay->sent.size;
    if (size > before && frontend->kept_bytes + (size - before) > RELAYS_BYTES_MAX)
        return -ENOMEM;
    int error = relay_bytes_reserve(&relay->sent, size);
    frontend->kept_bytes += relay->sent.size - before;
    return error;
}

int relay_bytes_add(struct relay_bytes *bytes, struct slice data)
{
    size_t need = bytes->len + data.len;
    if (need > bytes->size &&
        relay_bytes_reserve(bytes, need > 2 * bytes->size ? need : 2 * bytes->size) != 0)
        return -ENOMEM;
    if (data.len)
        memcpy(bytes->data + bytes->len, data.data, data.len);
    bytes->len += data.len;
    return 0;
}

/* The request as it is sent. What clients say beside these fields is about their own connection, or means nothing here; Fog-After is
 * said anew, see put_version. */

static const struct slice field_names[] = {
    [HTTP_FIELD_CONTENT_TYPE] = {"Content-Type: ", 14},
    [HTTP_FIELD_FOG_TTL] = {"Fog-TTL: ", 9},
    [HTTP_FIELD_FOG_VERSION] = {"Fog-Version: ", 13},
    [HTTP_FIELD_IF_MATCH] = {"If-Match: ", 10},
    [HTTP_FIELD_IF_NONE_MATCH] = {"If-None-Match: ", 15},
    [HTTP_FIELD_PREFER] = {"Prefer: ", 8},
    [HTTP_FIELD_VIA] = {"Via: ", 5},
};

enum { FIELD_NAMES = sizeof field_names / sizeof *field_names };

static const struct slice method_names[] = {
    [HTTP_GET] = {"GET ", 4}, [HTTP_HEAD] = {"HEAD ", 5},     [HTTP_POST] = {"POST ", 5},
    [HTTP_PUT] = {"PUT ", 4}, [HTTP_DELETE] = {"DELETE ", 7},
};

/* The most that a head comes to, beside its values. */
enum { HEAD_FIXED_BYTES = 96, FIELD_FIXED_BYTES = 20 };

static size_t head_room(const struct request *request)
{
    size_t bytes = HEAD_FIXED_BYTES + request->head.target.len;
    for (unsigned i = 0; i < request->head.field_count; i++)
        bytes += FIELD_FIXED_BYTES + request->head.fields[i].value.len;
    return bytes;
}

static void put_field(struct relay_bytes *bytes, const struct http_field *field)
{
    relay_bytes_put(bytes, field_names[field->name]);
    relay_bytes_put(bytes, field->value);
    relay_bytes_put(bytes, SLICE("\r\n"));
}

static bool is_passed_on(const struct http_field *field, bool prefers)
{
    return (unsigned)field->name < (unsigned)FIELD_NAMES && field_names[field->name].len > 0 &&
           (field->name == HTTP_FIELD_PREFER) == prefers;
}

/* Prefer stands last, so that it can be left out. */
static void put_fields(struct relay_bytes *bytes, const struct http_head *head, bool prefers)
{
    for (unsigned i = 0; i < head->field_count; i++)
        if (is_passed_on(&head->fields[i], prefers))
            put_field(bytes, &head->fields[i]);
}

static void put_length(struct relay_bytes *bytes, uint64_t length)
{
    relay_bytes_put(bytes, SLICE("Content-Length: "));
    bytes->len += digits_decimal(length, bytes->data + bytes->len);
    relay_bytes_put(bytes, SLICE("\r\n"));
}

/* The whole request as far as it is there. */
int relay_write(struct relay *relay, const struct request *request)
{
    const struct http_head *head = &request->head;
    struct relay_bytes *bytes = &relay->sent;
    bool sets = key_is_set(request);
    size_t body_bytes = sets ? request->body.len : 0;
    if (relay_reserve(relay, head_room(request) + body_bytes) != 0)
        return -ENOMEM;
    relay_bytes_put(bytes, method_names[head->method]);
    relay->method_bytes = bytes->len;
    relay_bytes_put(bytes, head->target);
    relay_bytes_put(bytes, SLICE(" HTTP/1.1\r\nHost: fog\r\n"));
    relay->path_bytes = bytes->len - relay->method_bytes;
    put_fields(bytes, head, false);
    relay_bytes_put(bytes, head->minor > 0 ? SLICE("Via: 1.1 fog\r\n") : SLICE("Via: 1.0 fog\r\n"));
    if (sets && !head->chunked)
        put_length(bytes, head->content_length);
    size_t before = bytes->len;
    put_fields(bytes, head, true);
    relay->prefer_bytes = bytes->len - before;
    relay->head_bytes = bytes->len;
    relay_bytes_put(bytes, SLICE("\r\n"));
    if (body_bytes)
        relay_bytes_put(bytes, request->body);
    return 0;
}

static size_t put_text(char *room, struct slice text)
{
    memcpy(room, text.data, text.len);
    return text.len;
}

/* Adds a line with a number to others. Returns how long they are. */
static size_t put_number(char room[RELAY_LINES_BYTES], size_t used, struct slice name,
                         uint64_t number)
{
    used += put_text(room + used, name);
    used += digits_decimal(number, room + used);
    return used + put_text(room + used, SLICE("\r\n"));
}

bool relay_ends_soon(const struct relay *relay)
{
    return relay->first && !relay->versioned &&
           (!relay->before_us || relay->before_us > relay->late_us);
}

/* What a write says of its version: of the first try when it is another one, and whether that was no time but followed another version;
 * else, when the node may know less than this front-end, that it shall win over all that was seen here. A first try must not be carried
 * out any more when another one may have been. Returns the length of the lines. */
static size_t put_version(const struct relay *relay, char room[RELAY_LINES_BYTES])
{
    size_t used = 0;
    uint64_t before_us = relay->before_us;
    if (!relay->write)
        return 0;
    bool again = !relay->versioned && !relay->first;
    if (again)
        used = put_number(room, used, SLICE("Fog-Version: "), relay->version);
    if (again || relay->versioned ? relay->follows : relay->ahead)
        used = put_number(room, used, SLICE("Fog-After: "), relay->version - 1);
    if (relay_ends_soon(relay))
        before_us = relay->late_us;
    return before_us ? put_number(room, used, SLICE("Fog-Before: "), before_us) : used;
}

/* What waits and is tried again has less time left, and none once it is hurried. A GET without any does not wait; a write still wants to
 * know of its copies. Returns the length of the lines. */
static size_t put_wait(const struct relay *relay, char room[RELAY_LINES_BYTES], size_t used)
{
    uint64_t now_us = relay->frontend->loop->now_us;
    uint64_t left_us = relay->held_until_us > now_us ? relay->held_until_us - now_us : 0;
    if (!relay->write && (relay->hurried || left_us == 0))
        return used;
    if (relay->copies == UINT32_MAX)
        used += put_text(room + used, SLICE("Prefer: copies=all\r\n"));
    else if (relay->write)
        used = put_number(room, used, SLICE("Prefer: copies="), relay->copies);
    return put_number(room, used, SLICE("Prefer: wait="), (left_us + 999999) / 1000000);
}

/* A body that came in chunks and is whole, or is passed on in chunks. */
static const struct upload *unknown_length(const struct relay *relay)
{
    return relay->upload && relay->upload->chunked ? relay->upload : NULL;
}

/* HEAD, whatever the client wants, and nothing but the key. */
static unsigned version_pieces(const struct relay *relay,
                               struct conn_piece pieces[RELAY_PIECES_MAX])
{
    pieces[0] = (struct conn_piece){.data = "HEAD ", .len = 5};
    pieces[1] = (struct conn_piece){.data = relay->sent.data + relay->method_bytes,
                                    .len = relay->path_bytes};
    pieces[2] = (struct conn_piece){.data = "\r\n", .len = 2};
    return 3;
}

unsigned relay_pieces(struct relay *relay, struct conn_piece pieces[RELAY_PIECES_MAX],
                      char room[RELAY_LINES_BYTES])
{
    if (relay->asks_version)
        return version_pieces(relay, pieces);
    const struct relay_bytes *sent = &relay->sent;
    const struct upload *upload = unknown_length(relay);
    bool streams = upload_streams(relay);
    size_t body_at = relay->head_bytes + 2, body_bytes = streams ? 0 : sent->len - body_at;
    bool again =
        relay->held_until_us && (relay->tries > 1 || relay->hurried || relay->frontend->draining);
    size_t used = put_version(relay, room);
    if (used == 0 && !relay->hurried && !again && !relay->upload) {
        pieces[0] = (struct conn_piece){.data = sent->data, .len = sent->len};
        return 1;
    }
    if (upload && streams)
        used += put_text(room + used, SLICE("Transfer-Encoding: chunked\r\n"));
    else if (upload)
        used = put_number(room, used, SLICE("Content-Length: "), body_bytes);
    if (again)
        used = put_wait(relay, room, used);
    used += put_text(room + used, SLICE("\r\n"));
    size_t head_bytes = relay->head_bytes - (relay->hurried || again ? relay->prefer_bytes : 0);
    pieces[0] = (struct conn_piece){.data = sent->data, .len = head_bytes};
    pieces[1] = (struct conn_piece){.data = room, .len = used};
    pieces[2] = (struct conn_piece){.data = sent->data + body_at, .len = body_bytes};
    return body_bytes ? 3 : 2;
}
