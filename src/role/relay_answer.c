/* The answer to a relay's request: taken from the node, kept until it is its turn on the client's connection, written.
 *
 *   short:  lines of the head, body ──► got ──whole──► one reply
 *   long:   lines of the head ──► got ──► the reply's head;  body ──► blocks ──as the client takes them──► reply
 *
 * What is kept of a long one is bounded: the node's connection is not read while its client takes nothing. When the node dies in
 * the middle, another one is asked for the same value, and what went out already is passed over. */
#include "role/relay.h"

#include <errno.h>
#include <stdlib.h>

#include "net/reply.h"
#include "role/backend.h"
#include "role/frontend_state.h"
#include "role/lane.h"
#include "role/moving.h"
#include "role/partition.h"
#include "role/upload.h"

static struct relay *relay_of(struct call *call)
{
    return ((struct attempt *)call)->relay;
}

/* Writing it */

/* Its turn has come. Who waits for a change or for copies takes as long as its client wants. */
static void begin_reply(struct relay *relay, const struct request *request)
{
    struct frontend *frontend = relay->frontend;
    relay_leave_line(relay);
    if (!relay->alone && !relay->waits)
        histogram_add(&frontend->latency_us, frontend->loop->now_us - request->received_us, 1);
}

static void reply_refusal(struct service *service, struct request *request)
{
    struct relay *relay = request->service_data;
    (void)service;
    begin_reply(relay, request);
    reply_text(request, relay->status, relay->sentence);
}

static const char unsure[] =
    "The node did not answer: the write may or may not have been carried out.";

void relay_refuse(struct relay *relay, unsigned status, const char *sentence)
{
    if (relay->streaming) {
        relay_break(relay);
        return;
    }
    if (relay->write && relay->lost) {
        status = 502;
        sentence = unsure;
    }
    relay->status = (uint16_t)status;
    relay->sentence = sentence;
    if (relay->upload && !relay->upload->whole) {
        request_refuse(relay->request, relay->status, sentence);
        server_refuse_body(relay->request);
    } else {
        server_answer_deferred(relay->request, reply_refusal);
    }
    relay_end(relay);
}

static void release_bytes(void *context, void *owner)
{
    (void)context;
    free(owner);
}

/* The body is given away with the memory that it is in. */
static void reply_large_body(struct relay *relay, struct request *request)
{
    struct relay_bytes *got = &relay->got;
    struct conn_piece piece = {got->data + relay->lines_bytes, got->len - relay->lines_bytes,
                               release_bytes, NULL, got->data};
    relay_bytes_init(got);
    reply_body_ref(request, piece);
}

static void reply_whole(struct service *service, struct request *request)
{
    struct relay *relay = request->service_data;
    struct relay_bytes *got = &relay->got;
    struct slice body = {got->data + relay->lines_bytes, got->len - relay->lines_bytes};
    (void)service;
    begin_reply(relay, request);
    if (relay->write && relay->writer)
        relay_was_written(relay);
    reply_start(request, relay->status);
    reply_lines(request, (struct slice){got->data, relay->lines_bytes});
    if (relay->head_only || relay->status == 204 || relay->status == 304)
        reply_end(request);
    else if (body.len <= SERVER_COPY_BYTES_MAX)
        reply_body(request, body);
    else
        reply_large_body(relay, request);
}

void relay_answer(struct relay *relay)
{
    server_answer_deferred(relay->request, reply_whole);
    relay_end(relay);
}

static void reply_streaming(struct service *service, struct request *request)
{
    struct relay *relay = request->service_data;
    struct request *streaming = server_stream(request, true);
    (void)service;
    begin_reply(relay, streaming);
    relay->request = streaming;
    relay->told = true;
    reply_start(streaming, relay->status);
    reply_lines(streaming, (struct slice){relay->got.data, relay->lines_bytes});
    reply_stream_sized(streaming, relay->body_bytes);
}

/* Streaming */

void relay_blocks_free(struct relay *relay)
{
    while (relay->blocks) {
        struct relay_block *block = relay->blocks;
        relay->blocks = block->next;
        free(block);
    }
    relay->block_bytes = 0;
}

void relay_rewind(struct relay *relay)
{
    if (!relay->streaming || relay->told)
        return;
    relay_blocks_free(relay);
    relay->taken_bytes = relay->skip_bytes = 0;
    relay->streaming = relay->broken = false;
    relay->state = RELAY_SENDING;
    server_unanswer_deferred(relay->request);
}

static void relay_resume(struct relay *relay)
{
    if (!relay->paused || relay->block_bytes > RELAY_STREAM_BYTES / 2 || !relay->attempt)
        return;
    relay->paused = false;
    upstream_pause(relay->attempt->lane->upstream, false);
}

enum server_stream_result relay_on_stream(struct relay *relay, struct request *request)
{
    while (relay->blocks && !reply_chunk_full(request)) {
        struct relay_block *block = relay->blocks;
        relay->blocks = block->next;
        relay->block_bytes -= block->len;
        reply_chunk_ref(request,
                        (struct conn_piece){block->data, block->len, release_bytes, NULL, block});
    }
    relay_resume(relay);
    if (relay->blocks)
        return SERVER_STREAM_MORE;
    if (relay->broken)
        return SERVER_STREAM_BROKEN;
    return relay->taken_bytes == relay->body_bytes ? SERVER_STREAM_END : SERVER_STREAM_WAIT;
}

void relay_break(struct relay *relay)
{
    relay->broken = true;
    server_stream_wake(relay->request);
    relay_end(relay);
}

/* Rather than that all others wait behind it, a value that its client does not take is cut off. */
static void relay_pause(struct relay *relay)
{
    struct lane *lane = relay->attempt->lane;
    if (lane->kind == LANE_SHARED && !lane_may_yield(lane)) {
        relay_break(relay);
        return;
    }
    relay->paused = true;
    if (lane->kind == LANE_SHARED)
        lane_yield(lane);
    upstream_pause(lane->upstream, true);
}

/* Passes over what a first try has brought already. */
static struct slice skip_known(struct relay *relay, struct slice bytes)
{
    size_t skip = relay->skip_bytes < bytes.len ? (size_t)relay->skip_bytes : bytes.len;
    relay->skip_bytes -= skip;
    return (struct slice){bytes.data + skip, bytes.len - skip};
}

static void stream_body(struct relay *relay, struct slice bytes)
{
    bytes = skip_known(relay, bytes);
    if (bytes.len == 0 || relay->broken)
        return;
    struct relay_block *block = malloc(sizeof *block + bytes.len);
    if (!block) {
        relay_break(relay);
        return;
    }
    block->next = NULL;
    block->len = bytes.len;
    memcpy(block->data, bytes.data, bytes.len);
    if (!relay->blocks)
        relay->blocks_end = &relay->blocks;
    *relay->blocks_end = block;
    relay->blocks_end = &block->next;
    relay->block_bytes += bytes.len;
    relay->taken_bytes += bytes.len;
    if (relay->block_bytes > RELAY_STREAM_BYTES && !relay->paused)
        relay_pause(relay);
    server_stream_wake(relay->request);
}

/* Taking it */

/* Takes the first line of *lines, with its end. Returns false when there is none. */
static bool line_next(struct slice *lines, struct slice *line)
{
    if (lines->len == 0)
        return false;
    const char *end = (const char *)memchr(lines->data, '\n', lines->len) + 1;
    *line = (struct slice){lines->data, (size_t)(end - lines->data)};
    *lines = (struct slice){end, lines->len - line->len};
    return true;
}

static bool line_has_name(struct slice line, struct slice name)
{
    return line.len > name.len && line.data[name.len] == ':' &&
           slice_equal_nocase((struct slice){line.data, name.len}, name);
}

/* Whether a Connection field names that line's field as one that is about one connection alone (RFC 9110, 7.6.1). */
static bool is_hop_option(struct slice lines, struct slice line)
{
    const struct slice connection = SLICE("Connection");
    for (struct slice one, option; line_next(&lines, &one);) {
        if (!line_has_name(one, connection))
            continue;
        struct slice options = {one.data + connection.len + 1, one.len - connection.len - 3};
        while (slice_next(&options, ',', &option))
            if (option.len > 0 && line_has_name(line, option))
                return true;
    }
    return false;
}

/* Whether its field is about the connection to the node alone, or is told anew: Date, and Content-Length with the body. Most lines
 * have a first letter that none of these has. */
static bool is_passed_on(const struct relay *relay, struct slice line)
{
    switch (*line.data | 32) {
    case 'c':
        return !line_has_name(line, SLICE("Connection")) &&
               (relay->head_only || !line_has_name(line, SLICE("Content-Length")));
    case 'd':
        return !line_has_name(line, SLICE("Date"));
    case 'k':
        return !line_has_name(line, SLICE("Keep-Alive"));
    case 'p':
        return !line_has_name(line, SLICE("Proxy-Connection"));
    case 't':
        return !line_has_name(line, SLICE("TE")) && !line_has_name(line, SLICE("Trailer")) &&
               !line_has_name(line, SLICE("Transfer-Encoding"));
    case 'u':
        return !line_has_name(line, SLICE("Upgrade"));
    default:
        return true;
    }
}

static int take_lines(struct relay *relay, const struct http_response *head)
{
    struct slice lines = head->lines, line;
    relay->got.len = 0;
    if (relay_bytes_reserve(&relay->got, lines.len) != 0)
        return -ENOMEM;
    while (line_next(&lines, &line))
        if (is_passed_on(relay, line) && !(head->hop_options && is_hop_option(head->lines, line)))
            relay_bytes_put(&relay->got, line);
    relay->lines_bytes = relay->got.len;
    return 0;
}

static bool lines_have(const struct relay *relay, struct slice etag)
{
    return memmem(relay->got.data, relay->lines_bytes, etag.data, etag.len) != NULL;
}

/* The same value again, from another node? */
static bool is_the_same(const struct relay *relay, const struct http_response *head)
{
    const struct http_field *etag = http_response_find(head, HTTP_FIELD_ETAG);
    return head->status == relay->status && head->content_length == relay->body_bytes && etag &&
           lines_have(relay, etag->value);
}

uint64_t relay_learn_version(const struct attempt *attempt, const struct http_response *head)
{
    const struct backend *backend = attempt->lane->backend;
    const struct http_field *field = http_response_find(head, HTTP_FIELD_FOG_VERSION);
    unsigned long long version;
    if (!field || !slice_number(field->value, UINT64_MAX, &version))
        return 0;
    frontend_learn_version(backend->partition->frontend, version, backend_clock_us(backend));
    return version;
}

/* Whether it is worth asking another member: this one stops, or has not gathered everything. */
static bool is_for_another(const struct relay *relay, const struct http_response *head)
{
    bool streams = upload_streams(relay);
    return head->status == 503 && !streams && relay->tries < RELAY_TRIES_MAX &&
           relay->partition->usable_count > 1;
}

/* A wait that its node ends early, as it stops: another one holds it for the time that is left. */
static bool is_cut_short(const struct relay *relay, const struct http_response *head)
{
    return head->status == 304 && !head->keep_alive && relay->waits && relay->alone &&
           relay->frontend->loop->now_us < relay->held_until_us && relay->tries < RELAY_TRIES_MAX &&
           partition_has_place(relay->partition, relay->attempt->lane->backend) &&
           partition_has_spare_retry(relay->partition);
}

/* Nobody else has room for what was held before. */
static bool is_held_by_nobody(struct relay *relay, const struct http_response *head)
{
    return head->status == 503 && relay_end_wait(relay);
}

/* What it says follows from what the node has of the key. */
static bool is_of_key(unsigned status)
{
    return status == 200 || status == 204 || status == 304 || status == 412;
}

/* A read that does not see what was written before it: another member has that. (Unless who wrote it has it no more, since it has expired.) */
static bool is_outdated(const struct relay *relay, const struct http_response *head,
                        uint64_t version)
{
    return !relay->write && version < relay->after && !relay->streaming &&
           relay->attempt->lane->backend->id != relay->writer && is_of_key(head->status) &&
           relay->tries < RELAY_TRIES_MAX && relay->partition->usable_count > 1 &&
           partition_has_spare_retry(relay->partition);
}

/* A first try that came too late to be carried out. */
static bool is_late(const struct relay *relay, const struct http_response *head)
{
    return head->status == 412 && relay->write && relay_ends_soon(relay);
}

static bool is_long(const struct relay *relay, const struct http_response *head)
{
    return head->content_length > RELAY_STREAM_BYTES && head->status == 200 && !relay->write;
}

/* A key's value was long, or is so no more. Short answers to what shares a connection, as most are, tell nothing new. */
static void remember_length(const struct relay *relay, const struct http_response *head)
{
    bool long_now = is_long(relay, head);
    if (relay->write || (!long_now && relay->attempt->lane->kind == LANE_SHARED))
        return;
    uint64_t *known = &relay->frontend->long_keys[relay->key_hash % LONG_KEYS_MAX];
    if (long_now)
        *known = relay->key_hash;
    else if (*known == relay->key_hash)
        *known = 0;
}

/* Without a body, in any case. */
static bool is_bare(unsigned status)
{
    return status == 204 || status == 304;
}

static void answer_head_first(struct relay *relay, const struct http_response *head)
{
    relay->status = head->status;
    remember_length(relay, head);
    bool bare = is_bare(head->status);
    relay->broken = take_lines(relay, head) != 0 || head->chunked || (!head->has_length && !bare);
    if (relay->broken)
        return;
    if (bare || relay->head_only || relay->upload)
        return;
    if (head->content_length <=
        RELAY_WHOLE_BYTES_MAX) { /* no more than that: it is what is counted */
        relay->broken =
            relay_bytes_reserve(&relay->got, relay->got.len + (size_t)head->content_length) != 0;
        return;
    }
    relay->streaming = true;
    relay->body_bytes = head->content_length;
    server_answer_deferred(relay->request, reply_streaming);
}

/* What comes is not what its client is told. */
static bool is_passed_over(const struct relay *relay)
{
    return relay->elsewhere || relay->misrouted || relay->older || relay->late;
}

static void relay_done(struct relay *relay, struct backend *backend);

/* What is long, and is not what its client is told, is not waited for: on a connection that is shared it goes by. */
static void leave_long(struct relay *relay, const struct http_response *head)
{
    struct backend *backend = relay->attempt->lane->backend;
    remember_length(relay, head);
    attempt_give_up(relay->attempt);
    relay_done(relay, backend);
}

/* There is no room for it before its turn: then it is asked anew. The rest of it goes by; of a long one, others do not wait for that. */
static void leave_aside(struct relay *relay, const struct http_response *head)
{
    struct lane *lane = relay->attempt->lane;
    remember_length(relay, head);
    if (is_long(relay, head) && lane_may_yield(lane))
        lane_yield(lane);
    attempt_give_up(relay->attempt);
}

static void relay_on_head(struct call *call, const struct http_response *head)
{
    struct relay *relay = relay_of(call);
    struct attempt *attempt = (struct attempt *)call;
    uint64_t version = relay_learn_version(attempt, head);
    attempt->begun = true;
    bool cut_short = is_cut_short(relay, head);
    relay->held |= cut_short;
    relay->elsewhere = cut_short || is_for_another(relay, head) ||
                       is_outdated(relay, head, version) || is_held_by_nobody(relay, head);
    relay->late = is_late(relay, head);
    relay->misrouted = head->status == 421;
    relay->older = is_of_key(head->status) && !relay->streaming && moving_is_older(relay, version);
    if (is_passed_over(relay)) {
        if (is_long(relay, head) && !relay->head_only)
            leave_long(relay, head);
        return;
    }
    if (relay->write && version) {
        relay->after = version;
        relay->writer = attempt->lane->backend->id;
        relay_will_be_written(relay);
    }
    if (!relay->streaming &&
        !relay_has_room(relay, is_bare(head->status) ? 0 : head->content_length))
        leave_aside(relay, head);
    else if (!relay->streaming)
        answer_head_first(relay, head);
    else if (is_the_same(relay, head))
        relay->skip_bytes = relay->taken_bytes;
    else
        relay_break(relay);
}

static void relay_on_body(struct call *call, struct slice bytes)
{
    struct relay *relay = relay_of(call);
    if (is_passed_over(relay) || relay->broken)
        return;
    if (relay->streaming)
        stream_body(relay, bytes);
    else if (relay->got.len + bytes.len > RELAY_WHOLE_BYTES_MAX + HTTP_HEAD_BYTES_MAX ||
             relay_bytes_add(&relay->got, bytes) != 0)
        relay->broken = true;
}

/* Its end */

static void answer_misrouted(struct relay *relay, struct backend *backend)
{
    relay->frontend->counters.misrouted++;
    backend->wrong = true;
    backend_update(backend);
    relay_refuse(relay, 502,
                 "The node that was asked holds another partition: this front-end's clusters are "
                 "named in the wrong order, or are too few or too many.");
}

static void relay_done(struct relay *relay, struct backend *backend)
{
    if (relay->elsewhere) {
        relay_was_refused(relay, backend);
    } else if (relay->late) {
        relay_was_late(relay);
    } else if (relay->misrouted) {
        answer_misrouted(relay, backend);
    } else if (relay->streaming) {
        server_stream_wake(relay->request);
        relay_end(relay);
    } else if (relay->older) {
        moving_look_there(relay);
    } else if (relay->write && relay->lost && relay->status >= 400) {
        relay_refuse(relay, 502, unsure); /* this one has not done it, the first one perhaps has */
    } else if (relay->broken) {
        relay_refuse(relay, 502, "The node's answer made no sense, or there was no room for it.");
    } else if (!moving_wait(relay)) {
        relay_answer(relay);
    }
}

/* The one sentence that the node has said, without its newline; NULL when it is none. It lives as long as the relay. */
static const char *node_sentence(struct relay *relay)
{
    struct relay_bytes *got = &relay->got;
    char *text = got->data + relay->lines_bytes;
    size_t bytes = got->len - relay->lines_bytes;
    if (relay->broken || bytes < 2 || bytes > RELAY_ROOM_BYTES || memchr(text, 0, bytes) ||
        memchr(text, '\n', bytes) != text + bytes - 1)
        return NULL;
    text[bytes - 1] = 0;
    return text;
}

/* The node has answered before it had the whole body: it does not want the rest. */
static void upload_answered(struct relay *relay)
{
    const char *said = relay->status >= 400 ? node_sentence(relay) : NULL;
    relay_refuse(relay, relay->status >= 400 ? relay->status : 502,
                 said ? said : "The node has refused the value before it was whole.");
}

/* Tries that follow each other are counted: a node that has held the request for a while, as its client wants it, was well. */
static void forgive_tries(struct relay *relay, const struct call *call)
{
    uint64_t now_us = relay->frontend->loop->now_us;
    if (relay->waits && now_us < relay->held_until_us && now_us > call->sent_us + LANE_ANSWER_US)
        relay->tries = 1; /* with less time left than the first one had, see put_wait */
}

static void relay_on_end(struct call *call, enum call_result result)
{
    struct attempt *attempt = (struct attempt *)call;
    struct relay *relay = attempt->relay;
    if (relay && (result != CALL_DONE || relay->elsewhere))
        forgive_tries(relay, call);
    struct backend *backend = attempt->lane->backend;
    bool nonsense = result == CALL_LOST && upstream_error(attempt->lane->upstream) == -EPROTO;
    attempt_end(attempt, result == CALL_DONE);
    if (!relay)
        return;
    relay->nonsense = nonsense;
    backend->failures += result != CALL_DONE;
    backend->partition->failures += result != CALL_DONE;
    relay->attempt = NULL;
    relay->paused = false;
    if (result == CALL_DONE && relay->upload && !relay->upload->whole && !relay->misrouted &&
        !relay->late) {
        upload_answered(relay);
    } else if (result == CALL_DONE) {
        relay_done(relay, backend);
    } else {
        relay->avoid = backend;
        relay_failed(relay, result == CALL_LOST);
    }
}

const struct call_ops relay_call_ops = {
    .on_head = relay_on_head,
    .on_body = relay_on_body,
    .on_end = relay_on_end,
};
