/* The HTTP server with a service of the test's own, over a fake io, in virtual time. Linked with
 * --wrap for malloc, calloc and realloc: see failing.h. */
#include "net/server.h"

#include <errno.h>
#include <inttypes.h>

#include "answer.h"
#include "failing.h"
#include "fake_io.h"
#include "net/reply.h"
#include "unit.h"

static const uint64_t second_us = 1000000;

enum { IDLE_S = 300, REQUEST_S = 30, STALL_S = 60, CONNECTIONS_MAX = 200, BYTES_MAX = 1 << 20 };

static struct fake_io *io;
static struct loop loop;
static struct log quiet;
static struct server *server;
static int listener;

/* The service: a target is /WHAT/NUMBER.
 *
 *   text/N    N bytes, copied             hold/N     held for N us
 *   ref/N     N bytes, from their place   stream/N   N pieces of STREAM_PIECE_BYTES
 *   sum/N     length and sum of the body  broken/N   the same, but then it cannot go on
 *   ignore    takes no body               refuse/N   at the place N (REFUSE_HEAD …)
 *   defer/N   deferred, to answer takes N us */
enum what { TEXT, REF, SUM, HOLD, STREAM, BROKEN, IGNORE, REFUSE, DEFER, UNKNOWN };
enum { REFUSE_HEAD, REFUSE_START, REFUSE_ROOM, REFUSE_FILLED };
enum { STREAM_PIECE_BYTES = 10000 };
enum { STORM_CLIENTS = 12, STORM_REQUESTS = 40 };

static const char *const names[] = {"text",   "ref",    "sum",    "hold", "stream",
                                    "broken", "ignore", "refuse", "defer"};

/* What a request is about, in its service_room. */
struct about {
    uint64_t what, number;
};

/* What the service keeps for a request, in its service_data. */
struct keeps {
    char *room;
    size_t room_bytes;
    uint64_t sum, bytes, left;
    struct request *held;
};

static struct {
    struct service service;
    struct address remote; /* of the last head */
    unsigned heads, starts, answers, hold_ends, request_ends, keeps, batches, batch_most;
    unsigned batched, grouped; /* requests */
    unsigned refs, released;
    struct request *held[STORM_CLIENTS * STORM_REQUESTS];
    unsigned held_count;
} mine;

static char bytes[BYTES_MAX];

static const struct http_error refusals[] = {
    {413, "At the head."}, {507, "At the start."}, {413, "For want of room."}, {400, "Filled."}};

static struct about *about_of(struct request *request)
{
    return (struct about *)(void *)request->service_room;
}

static uint64_t sum_of(uint64_t sum, const char *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        sum = (sum ^ (unsigned char)data[i]) * UINT64_C(1099511628211);
    return sum;
}

static void on_head(struct service *service, struct request *request)
{
    struct slice rest = request->head.target, part;
    struct about *about = about_of(request);
    assert_ptr_equal(service, &mine.service);
    mine.heads++;
    request_remote(request, &mine.remote);
    about->what = UNKNOWN;
    slice_next(&rest, '/', &part);
    if (!slice_next(&rest, '/', &part))
        return;
    for (about->what = 0; about->what < UNKNOWN; about->what++)
        if (slice_equal(part, slice_of(names[about->what])))
            break;
    unsigned long long number = 0;
    slice_number(rest, UINT64_MAX, &number);
    about->number = number;
    if (about->what == REFUSE && number == REFUSE_HEAD)
        request->error = refusals[REFUSE_HEAD];
    request->deferrable = about->what == DEFER;
}

static struct keeps *keeps_new(void)
{
    failing_pause();
    struct keeps *keeps = calloc(1, sizeof *keeps);
    failing_resume();
    assert_non_null(keeps);
    mine.keeps++;
    return keeps;
}

static void on_body_start(struct service *service, struct request *request, uint64_t length)
{
    struct about *about = about_of(request);
    (void)service;
    mine.starts++;
    assert_int_equal(length, request->head.chunked ? 0 : request->head.content_length);
    assert_true(request->head.target.len > 0); /* the slices are still there */
    if (about->what == REFUSE && about->number == REFUSE_START) {
        request->error = refusals[REFUSE_START];
        return;
    }
    if (about->what != SUM && about->what != REFUSE)
        return;
    struct keeps *keeps = keeps_new();
    keeps->room_bytes = about->what == SUM && about->number ? about->number : 1000;
    keeps->room = malloc(keeps->room_bytes);
    keeps->sum = 1;
    request->service_data = keeps;
    if (!keeps->room)
        request->error = (struct http_error){503, "No memory."};
}

static struct server_room on_body_room(struct service *service, struct request *request,
                                       uint64_t left)
{
    static char scrap[20000];
    const struct keeps *keeps = request->service_data;
    const struct about *about = about_of(request);
    (void)service;
    assert_true(left > 0);
    if (about->what == REFUSE && about->number == REFUSE_ROOM && keeps->bytes >= 5000) {
        request->error = refusals[REFUSE_ROOM];
        return (struct server_room){0};
    }
    return keeps ? (struct server_room){keeps->room, keeps->room_bytes}
                 : (struct server_room){scrap, sizeof scrap};
}

static void on_body_filled(struct service *service, struct request *request, size_t count)
{
    struct keeps *keeps = request->service_data;
    const struct about *about = about_of(request);
    (void)service;
    assert_true(count > 0);
    if (!keeps)
        return;
    assert_true(count <= keeps->room_bytes);
    keeps->sum = sum_of(keeps->sum, keeps->room, count);
    keeps->bytes += count;
    if (about->what == REFUSE && about->number == REFUSE_FILLED && keeps->bytes >= 5000)
        request->error = refusals[REFUSE_FILLED];
}

static void on_batch(struct service *service, struct request *const *requests, unsigned count)
{
    (void)service;
    assert_true(count > 0 && count <= SERVER_BATCH_MAX);
    for (unsigned i = 0; i < count; i++)
        assert_false(requests[i]->replied);
    mine.batches++;
    mine.batched += count;
    mine.batch_most = count > mine.batch_most ? count : mine.batch_most;
}

static void on_group(struct service *service, struct request *const *requests, unsigned count)
{
    (void)service;
    assert_true(count > 0 && count <= SERVER_BATCH_MAX);
    for (unsigned i = 0; i < count; i++)
        assert_false(requests[i]->replied);
    mine.grouped += count;
}

static void release_ref(void *context, void *owner)
{
    assert_ptr_equal(context, &mine);
    assert_ptr_equal(owner, bytes);
    mine.released++;
}

static void answer_sum(struct request *request)
{
    const struct keeps *keeps = request->service_data;
    char text[100];
    uint64_t sum = 1, count = request->body.len;
    if (request->body_parts) {
        sum = keeps->sum;
        count = keeps->bytes;
    } else {
        sum = sum_of(sum, request->body.data, request->body.len);
    }
    int len = snprintf(text, sizeof text, "%" PRIu64 " %" PRIx64, count, sum);
    reply_content(request, 200, SLICE("text/plain"), (struct slice){text, (size_t)len});
}

static void answer_hold(struct request *request)
{
    struct request *held = server_hold(request, loop.now_us + about_of(request)->number);
    if (!held) {
        reply_text(request, 503, "No memory.");
        return;
    }
    struct keeps *keeps = keeps_new();
    held->service_data = keeps;
    keeps->held = held;
    assert_true(mine.held_count < COUNT(mine.held));
    mine.held[mine.held_count++] = held;
}

static void answer_stream(struct request *request)
{
    struct request *stream = request;
    if (request->head.method != HTTP_HEAD)
        stream = server_stream(request, false);
    if (!stream) {
        reply_text(request, 503, "No memory.");
        return;
    }
    if (stream != request) {
        struct keeps *keeps = keeps_new();
        keeps->left = about_of(request)->number;
        stream->service_data = keeps;
    }
    reply_start(stream, 200);
    reply_field(stream, SLICE("Content-Type"), SLICE("text/plain"));
    reply_stream(stream);
}

static void answer_slowly(struct service *service, struct request *request)
{
    (void)service;
    io->now_us += about_of(request)->number;
    reply_text(request, 200, "answered slowly");
}

static void answer_defer(struct request *request)
{
    struct request *deferred = server_defer(request);
    if (!deferred) {
        reply_text(request, 503, "No memory.");
        return;
    }
    deferred->service_data = keeps_new();
    server_answer_deferred(deferred, answer_slowly);
}

/* Where nobody took the body, the head is as it was, whatever came in between. */
static void check_head(struct request *request)
{
    struct about about = *about_of(request);
    mine.heads--;
    on_head(&mine.service, request);
    assert_memory_equal(&about, about_of(request), sizeof about);
    assert_true(request->head.target.len > 0);
}

static void on_request(struct service *service, struct request *request)
{
    const struct about *about = about_of(request);
    (void)service;
    mine.answers++;
    if (!request->service_data)
        check_head(request);
    switch (about->what) {
    case TEXT:
        reply_content(request, 200, SLICE("text/plain"),
                      (struct slice){bytes, (size_t)about->number});
        break;
    case REF:
        mine.refs++;
        reply_start(request, 200);
        reply_body_ref(
            request, (struct conn_piece){bytes, (size_t)about->number, release_ref, &mine, bytes});
        break;
    case SUM:
        answer_sum(request);
        break;
    case HOLD:
        answer_hold(request);
        break;
    case DEFER:
        answer_defer(request);
        break;
    case STREAM:
    case BROKEN:
        answer_stream(request);
        break;
    case IGNORE:
        reply_text(request, 200, "ignored");
        break;
    default:
        reply_text(request, 404, "What?");
        break;
    }
}

static void on_hold_end(struct service *service, struct request *request)
{
    (void)service;
    mine.hold_ends++;
    reply_text(request, 200, "held to the end");
}

static void answer_early(struct service *service, struct request *request)
{
    (void)service;
    reply_text(request, 200, "answered early");
}

static enum server_stream_result on_stream(struct service *service, struct request *request)
{
    struct keeps *keeps = request->service_data;
    (void)service;
    if (keeps->left == 0)
        return about_of(request)->what == BROKEN ? SERVER_STREAM_BROKEN : SERVER_STREAM_END;
    assert_false(reply_chunk_full(request));
    reply_chunk(request, (struct slice){bytes, STREAM_PIECE_BYTES});
    return --keeps->left == 0 && about_of(request)->what == STREAM ? SERVER_STREAM_END
                                                                   : SERVER_STREAM_MORE;
}

static void on_request_end(struct service *service, struct request *request)
{
    struct keeps *keeps = request->service_data;
    (void)service;
    assert_non_null(keeps);
    for (unsigned i = 0; i < mine.held_count; i++)
        if (mine.held[i] == keeps->held)
            mine.held[i] = NULL;
    mine.request_ends++;
    free(keeps->room);
    free(keeps);
}

static const struct service my_service = {
    .on_head = on_head,
    .on_body_start = on_body_start,
    .on_body_room = on_body_room,
    .on_body_filled = on_body_filled,
    .on_batch = on_batch,
    .on_group = on_group,
    .on_request = on_request,
    .on_hold_end = on_hold_end,
    .on_stream = on_stream,
    .on_request_end = on_request_end,
};

/* The world of a test */

static unsigned log_lines;

static bool log_count(void *sink, const char *line, unsigned len)
{
    (void)sink;
    (void)line;
    (void)len;
    log_lines++;
    return true;
}

static uint64_t log_clock(void *clock)
{
    (void)clock;
    return 0;
}

static struct server_config config_make(void)
{
    struct server_config config = {
        .connections_max = CONNECTIONS_MAX,
        .idle_us = IDLE_S * second_us,
        .request_us = REQUEST_S * second_us,
        .stall_us = STALL_S * second_us,
    };
    allow_list_private(&config.allow);
    return config;
}

static void world_start(const struct server_config *config)
{
    struct address address;
    memset(&mine, 0, sizeof mine);
    mine.service = my_service;
    log_lines = 0;
    io = fake_io_new();
    loop_init(&loop, &io->io);
    quiet = (struct log){
        .level = LOG_WARN_LEVEL, .journald = false, .wall_us = log_clock, .write = log_count};
    server = server_new(&loop, &quiet, config, &mine.service);
    assert_non_null(server);
    assert_int_equal(address_parse(SLICE("127.0.0.1:0"), &address), 0);
    listener = io->count;
    assert_int_equal(server_listen(server, &address), 0);
    assert_true(address.port != 0);
}

static int set_up(void **state)
{
    (void)state;
    struct server_config config = config_make();
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)('a' + (i + i / 26 * 7) % 26);
    world_start(&config);
    return 0;
}

/* Whatever happened, each request has ended once, and every borrowed piece was given back. */
static int tear_down(void **state)
{
    (void)state;
    failing_stop();
    if (server)
        server_destroy(server);
    server = NULL;
    assert_int_equal(mine.request_ends, mine.keeps);
    assert_int_equal(mine.released, mine.refs);
    assert_int_equal(mine.grouped, mine.batched);
    assert_true(loop_deadline(&loop) == UINT64_MAX);
    assert_int_equal(loop.timer_reserved, 0);
    loop_free(&loop);
    fake_io_destroy(io);
    return 0;
}

/* Turns until nothing happens any more without time. That it comes to this is a test of its own: no
 * turning for nothing. */
static void settle(void)
{
    int turns = 0;
    do {
        loop_turn(&loop, 0);
        check(turns++ < 100000, "it goes on for ever");
    } while (loop.again || io->events > 0);
}

/* Lets time pass. */
static void pass(uint64_t us)
{
    uint64_t until = loop.now_us + us;
    settle();
    while (loop.now_us < until)
        loop_turn(&loop, (int64_t)(until - loop.now_us));
    settle();
}

static int client_new_settled(void)
{
    int fd = fake_connect(io, "10.0.0.9:5555");
    settle();
    return fd;
}

static void feed(int fd, const char *text)
{
    fake_feed(io, fd, slice_of(text));
}

static bool is_open(int fd)
{
    return fake_socket(io, fd)->open;
}

/* What a client has read so far; each answer is taken off. */
struct reader {
    int fd;
    size_t at;
};

static enum answer_result next_answer(struct reader *reader, bool no_body, struct answer *answer)
{
    struct slice output = fake_output(io, reader->fd);
    struct slice rest = {output.data + reader->at, output.len - reader->at};
    const struct fake_socket *socket = fake_socket(io, reader->fd);
    enum answer_result result = answer_parse(&rest, no_body, !socket->open || socket->shut, answer);
    if (result == ANSWER_OK)
        reader->at = output.len - rest.len;
    return result;
}

static void expect(struct reader *reader, unsigned status, const char *body)
{
    struct answer answer;
    enum answer_result result = next_answer(reader, false, &answer);
    check(result == ANSWER_OK, "no answer, but %u \"%s\" was due", status, body ? body : "");
    check(answer.status == status, "%u in place of %u", answer.status, status);
    if (body)
        check_slice(answer.body, slice_of(body), "body");
}

static void expect_bytes(struct reader *reader, size_t count)
{
    struct answer answer;
    check(next_answer(reader, false, &answer) == ANSWER_OK, "%zu bytes", count);
    assert_int_equal(answer.status, 200);
    check(slice_equal(answer.body, (struct slice){bytes, count}), "%zu bytes in place of %zu",
          answer.body.len, count);
}

static void expect_stream(struct reader *reader, size_t pieces)
{
    struct answer answer;
    check(next_answer(reader, false, &answer) == ANSWER_OK, "%zu pieces", pieces);
    check(answer.status == 200 && answer.body.len == pieces * STREAM_PIECE_BYTES, "%zu pieces",
          pieces);
    for (size_t i = 0; i < pieces; i++)
        assert_memory_equal(answer.body.data + i * STREAM_PIECE_BYTES, bytes, STREAM_PIECE_BYTES);
}

static void expect_nothing(const struct reader *reader)
{
    struct slice output = fake_output(io, reader->fd);
    check(output.len == reader->at, "%.*s", (int)(output.len - reader->at),
          output.data + reader->at);
}

static void expect_sum(struct reader *reader, size_t count)
{
    char text[100];
    snprintf(text, sizeof text, "%zu %" PRIx64, count, sum_of(1, bytes, count));
    expect(reader, 200, text);
}

#define GET(target) "GET " target " HTTP/1.1\r\nHost: h\r\n\r\n"

static void feed_body_head(int fd, const char *target, size_t length)
{
    char head[200];
    snprintf(head, sizeof head, "PUT %s HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n", target,
             length);
    feed(fd, head);
}

static void feed_bytes(int fd, size_t from, size_t count)
{
    fake_feed(io, fd, (struct slice){bytes + from, count});
}

/* Requests and batches */

static void test_one_request(void **state)
{
    (void)state;
    struct reader reader = {.fd = client_new_settled()};
    feed(reader.fd, GET("/text/5"));
    loop_turn(&loop, 0);
    check_slice(fake_output(io, reader.fd),
                SLICE("HTTP/1.1 200 OK\r\nDate: Sun, 22 Nov 2026 12:00:05 GMT\r\n"
                      "Content-Type: text/plain\r\nContent-Length: 5\r\n\r\nabcde"),
                "output");
    assert_true(is_open(reader.fd));
    assert_int_equal(fake_socket(io, reader.fd)->sends, 1);
    expect_bytes(&reader, 5);
    const struct server_counters *counters = server_counters(server);
    assert_int_equal(counters->replies[HTTP_GET][200 - 100], 1);
    assert_int_equal(histogram_count(&counters->latency_us), 1);
    assert_int_equal(counters->batches, 1);
    assert_int_equal(counters->accepted, 1);
    assert_int_equal(server_connections(server), 1);
    struct address remote;
    assert_int_equal(address_parse(SLICE("10.0.0.9:5555"), &remote), 0);
    assert_memory_equal(mine.remote.ip, remote.ip, sizeof remote.ip);
    assert_int_equal(mine.remote.port, remote.port);
}

/* All that came in one turn, of all connections, is answered in one batch. */
static void test_one_batch_for_all(void **state)
{
    (void)state;
    struct reader readers[60];
    for (size_t i = 0; i < COUNT(readers); i++)
        readers[i] = (struct reader){.fd = client_new_settled()};
    for (size_t i = 0; i < COUNT(readers); i++)
        for (int n = 0; n < 3; n++)
            feed(readers[i].fd, GET("/text/7"));
    loop_turn(&loop, 0);
    assert_int_equal(mine.batches, 1);
    assert_int_equal(mine.batch_most, 180);
    for (size_t i = 0; i < COUNT(readers); i++) {
        assert_int_equal(fake_socket(io, readers[i].fd)->sends, 1); /* its answers in one call */
        for (int n = 0; n < 3; n++)
            expect_bytes(&readers[i], 7);
        expect_nothing(&readers[i]);
    }
}

static void test_thousands_at_once(void **state)
{
    (void)state;
    enum { REQUESTS = 5000 };
    struct reader reader = {.fd = client_new_settled()};
    for (int i = 0; i < REQUESTS; i++) {
        char text[100];
        snprintf(text, sizeof text, "GET /text/%d HTTP/1.1\r\nHost: h\r\n\r\n", i % 50);
        feed(reader.fd, text);
    }
    settle();
    assert_int_equal(mine.batch_most, SERVER_BATCH_MAX);
    for (int i = 0; i < REQUESTS; i++)
        expect_bytes(&reader, (size_t)i % 50);
    expect_nothing(&reader);
    assert_int_equal(mine.answers, REQUESTS);
    assert_true(is_open(reader.fd));
}

/* Who sends much does not keep the others waiting. */
static void test_one_does_not_hold_up_the_others(void **state)
{
    (void)state;
    struct reader greedy = {.fd = client_new_settled()}, modest = {.fd = client_new_settled()};
    for (int i = 0; i < 20000; i++)
        feed(greedy.fd, GET("/text/1"));
    feed(modest.fd, GET("/text/2"));
    loop_turn(&loop, 0);
    expect_bytes(&modest, 2);
    assert_true(mine.answers < 10000);
    settle();
    for (int i = 0; i < 20000; i++)
        expect_bytes(&greedy, 1);
}

static void test_byte_by_byte(void **state)
{
    (void)state;
    static const char text[] =
        GET("/text/3") "PUT /sum/9 HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nabcd"
                       "PUT /sum/9 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: "
                       "chunked\r\n\r\n3;x=y\r\nabc\r\n1\r\nd\r\n0\r\nT: t\r\n\r\n" GET("/text/4");
    struct reader reader = {.fd = client_new_settled()};
    for (size_t i = 0; i < sizeof text - 1; i++) {
        fake_feed(io, reader.fd, (struct slice){text + i, 1});
        loop_turn(&loop, 0);
    }
    expect_bytes(&reader, 3);
    expect_sum(&reader, 4);
    expect_sum(&reader, 4);
    expect_bytes(&reader, 4);
    expect_nothing(&reader);
}

static void test_many_connections_cut_anywhere(void **state)
{
    (void)state;
    static const char text[] =
        GET("/text/3") "PUT /sum/5 HTTP/1.1\r\nHost: h\r\nContent-Length: "
                       "20\r\n\r\nabcdefghijklmnopqrst" GET("/stream/1") GET("/ref/9000");
    struct reader readers[sizeof text - 1];
    settle();
    for (size_t cut = 0; cut < COUNT(readers); cut++) {
        readers[cut] = (struct reader){.fd = fake_connect(io, "[::1]:9")};
        fake_feed(io, readers[cut].fd, (struct slice){text, cut});
    }
    settle();
    for (size_t cut = 0; cut < COUNT(readers); cut++)
        fake_feed(io, readers[cut].fd, (struct slice){text + cut, sizeof text - 1 - cut});
    settle();
    for (size_t cut = 0; cut < COUNT(readers); cut++) {
        expect_bytes(&readers[cut], 3);
        expect_sum(&readers[cut], 20);
        expect_stream(&readers[cut], 1);
        expect_bytes(&readers[cut], 9000);
        expect_nothing(&readers[cut]);
    }
}

/* Answers of all sizes, taken by the client in pieces of any size. */
static void test_answers_of_all_sizes(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 8191, 8192, 8193, 65536, 131072, 131073, 300000};
    struct chance chance = chance_start(27);
    for (int round = 0; round < 60; round++) {
        struct reader reader = {.fd = client_new_settled()};
        size_t wanted[40];
        bool ref[40];
        for (size_t i = 0; i < COUNT(wanted); i++) {
            char text[100];
            wanted[i] = chance_once_in(&chance, 2) ? chance_below(&chance, 300)
                                                   : sizes[chance_below(&chance, COUNT(sizes))];
            ref[i] = chance_once_in(&chance, 2);
            snprintf(text, sizeof text, "GET /%s/%zu HTTP/1.1\r\nHost: h\r\n\r\n",
                     ref[i] ? "ref" : "text", wanted[i]);
            feed(reader.fd, text);
        }
        struct fake_socket *socket = fake_socket(io, reader.fd);
        socket->space = round % 3 ? chance_below(&chance, 10000) : SIZE_MAX;
        socket->recv_max = 1 + chance_below(&chance, 2000);
        for (int turns = 0;
             turns < 2000 &&
             fake_unread(io, reader.fd) + (size_t)conn_blocked((struct conn *)socket->data) > 0;
             turns++) {
            loop_turn(&loop, 0);
            if (round % 3)
                socket->space += chance_below(&chance, 50000);
        }
        socket->space = SIZE_MAX;
        settle();
        for (size_t i = 0; i < COUNT(wanted); i++)
            expect_bytes(&reader, wanted[i]);
        expect_nothing(&reader);
        fake_end(io, reader.fd);
        settle();
        assert_false(is_open(reader.fd));
    }
}

/* HEAD has no body, whatever the reply would be made of. */
static void test_head(void **state)
{
    (void)state;
    static const char *const targets[] = {"/text/100", "/ref/9000", "/ref/0", "/stream/3",
                                          "/nothing"};
    struct reader reader = {.fd = client_new_settled()};
    struct answer answer;
    for (size_t i = 0; i < COUNT(targets); i++) {
        char text[100];
        snprintf(text, sizeof text, "HEAD %s HTTP/1.1\r\nHost: h\r\n\r\n", targets[i]);
        feed(reader.fd, text);
        settle();
        assert_int_equal(next_answer(&reader, true, &answer), ANSWER_OK);
        expect_nothing(&reader);
    }
    assert_int_equal(mine.refs, mine.released);
}

/* Old clients */

static void test_http_1_0(void **state)
{
    (void)state;
    struct reader reader = {.fd = client_new_settled()};
    feed(reader.fd,
         "GET /text/3 HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /text/4 HTTP/1.0\r\n\r\n" GET(
             "/text/5"));
    settle();
    struct answer answer;
    assert_int_equal(next_answer(&reader, false, &answer), ANSWER_OK);
    check_slice(answer_field(&answer, "Connection"), SLICE("keep-alive"), "the first");
    assert_int_equal(next_answer(&reader, false, &answer), ANSWER_OK);
    assert_true(answer.close);
    expect_nothing(&reader); /* what comes behind the last request is not answered */
    pass(2 * second_us);
    assert_false(is_open(reader.fd));
}

static void test_streams_for_http_1_0_end_with_the_connection(void **state)
{
    (void)state;
    struct reader reader = {.fd = client_new_settled()};
    feed(reader.fd, "GET /stream/5 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    settle();
    struct answer answer;
    assert_int_equal(next_answer(&reader, false, &answer), ANSWER_OK);
    assert_true(answer.until_end && !answer.chunked);
    assert_int_equal(answer.body.len, 5 * STREAM_PIECE_BYTES);
    assert_false(is_open(reader.fd));
    /* A HEAD may end or not, but does as it says. */
    reader = (struct reader){.fd = client_new_settled()};
    feed(reader.fd, "HEAD /stream/5 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    settle();
    assert_int_equal(next_answer(&reader, true, &answer), ANSWER_OK);
    assert_int_equal(is_open(reader.fd), !answer.close);
}

static void test_connection_close(void **state)
{
    (void)state;
    static const char *const targets[] = {"/text/3", "/ref/9000", "/stream/2", "/hold/5",
                                          "/nothing"};
    for (size_t i = 0; i < COUNT(targets); i++) {
        struct reader reader = {.fd = client_new_settled()};
        char text[100];
        struct answer answer;
        snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
                 targets[i]);
        feed(reader.fd, text);
        pass(second_us);
        assert_int_equal(next_answer(&reader, false, &answer), ANSWER_OK);
        check(answer.close, "%s", targets[i]);
        check(!is_open(reader.fd), "%s", targets[i]);
    }
}

/* Bad heads close, after an answer; what came before is answered first. */
static void test_bad_heads(void **state)
{
    (void)state;
    struct reader reader = {.fd = client_new_settled()};
    feed(reader.fd, GET("/text/3") "GET /text/4 HTTP/1.1\r\n\r\n" GET("/text/5"));
    settle();
    struct answer answer;
    expect_bytes(&reader, 3);
    assert_int_equal(next_answer(&reader, false, &answer), ANSWER_OK);
    assert_int_equal(answer.status, 400);
    assert_true(answer.close);
    expect_nothing(&reader);
    assert_true(is_open(reader.fd) &&
                fake_socket(io, reader.fd)->shut); /* more may be on its way */
    pass(SERVER_LINGER_US + 1);
    assert_false(is_open(reader.fd));
    assert_int_equal(server_counters(server)->replies[HTTP_OTHER][400 - 100], 1);
}

/* Bodies */

static void test_bodies_around_the_read_size(void **state)
{
    (void)state;
    static const size_t around[] = {0, SERVER_READ_BYTES, 2 * SERVER_READ_BYTES, 65536, 524288};
    static const size_t rooms[] = {100, SERVER_READ_BYTES - 1, SERVER_READ_BYTES, 100000};
    static const size_t by_head = 60;
    for (size_t a = 0; a < COUNT(around); a++)
        for (size_t r = 0; r < COUNT(rooms); r++)
            for (size_t way = 0; way < 4; way++) {
                struct reader reader = {.fd = client_new_settled()};
                for (size_t by = 0; by < 5; by++) {
                    static const size_t offsets[] = {0, 1, 59, 60, 61};
                    size_t size = around[a] + offsets[by] < by_head
                                      ? offsets[by]
                                      : around[a] + offsets[by] - by_head;
                    char target[100];
                    snprintf(target, sizeof target, "/sum/%zu", rooms[r]);
                    fake_socket(io, reader.fd)->recv_max = way == 2 ? 1000 : SIZE_MAX;
                    feed_body_head(reader.fd, target, size);
                    if (way == 1 || way == 3)
                        settle();
                    feed_bytes(reader.fd, 0, way == 3 ? size / 2 : size);
                    if (way == 3) {
                        settle();
                        feed_bytes(reader.fd, size / 2, size - size / 2);
                    }
                    if (by % 2)
                        feed(reader.fd, GET("/text/3")); /* right behind it */
                    for (int turns = 0; fake_unread(io, reader.fd) && turns < 1000; turns++)
                        loop_turn(&loop, 0);
                    settle();
                    expect_sum(&reader, size);
                    if (by % 2)
                        expect_bytes(&reader, 3);
                    expect_nothing(&reader);
                }
                fake_end(io, reader.fd);
                settle();
                assert_false(is_open(reader.fd));
            }
    assert_true(mine.starts > 10);
}

/* A body in parts stands in its place between other requests. */
static void test_bodies_keep_their_order(void **state)
{
    (void)state;
    struct reader reader = {.fd = client_new_settled()};
    feed(reader.fd, GET("/text/1") GET("/text/2"));
    feed_body_head(reader.fd, "/sum/7", 50000);
    feed_bytes(reader.fd, 0, 10);
    settle();
    expect_bytes(&reader, 1);
    expect_bytes(&reader, 2);
    expect_nothing(&reader);
    feed_bytes(reader.fd, 10, 49990);
    feed(reader.fd, GET("/text/3"));
    feed_body_head(reader.fd, "/sum/7", 5);
    feed_bytes(reader.fd, 0, 5);
    feed_body_head(reader.fd, "/sum/7", 40000);
    feed_bytes(reader.fd, 0, 40000);
    feed(reader.fd, GET("/text/4"));
    settle();
    expect_sum(&reader, 50000);
    expect_bytes(&reader, 3);
    expect_sum(&reader, 5);
    expect_sum(&reader, 40000);
    expect_bytes(&reader, 4);
    expect_nothing(&reader);
}

/* A chunked body's head, and the first line of a chunk. */
static void feed_chunk_head(int fd, const char *path, size_t length)
{
    char head[200];
    snprintf(head, sizeof head,
             "POST %s HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n%zx\r\n", path,
             length);
    feed(fd, head);
}

static void feed_chunked(int fd, size_t size, struct chance *chance)
{
    feed(fd, "POST /sum/777 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (size_t at = 0; at < size;) {
        size_t chunk = 1 + chance_below(chance, chance_once_in(chance, 5) ? 30000 : 30);
        chunk = chunk < size - at ? chunk : size - at;
        char line[40];
        snprintf(line, sizeof line, chance_once_in(chance, 2) ? "%zx\r\n" : "%zX ; a=\"b\"\r\n",
                 chunk);
        feed(fd, line);
        feed_bytes(fd, at, chunk);
        feed(fd, "\r\n");
        at += chunk;
    }
    feed(fd, chance_once_in(chance, 2) ? "0\r\n\r\n" : "0\r\nTrailer: x\r\n\r\n");
}

static void test_chunked_bodies(void **state)
{
    (void)state;
    struct chance chance = chance_start(28);
    struct reader reader = {.fd = client_new_settled()};
    for (int round = 0; round < 150; round++) {
        size_t size = chance_below(&chance, chance_once_in(&chance, 2) ? 100 : 100000);
        fake_socket(io, reader.fd)->recv_max =
            1 + chance_below(&chance, chance_once_in(&chance, 2) ? 50000 : 500);
        feed_chunked(reader.fd, size, &chance);
        feed(reader.fd, GET("/text/3"));
        for (int turns = 0; fake_unread(io, reader.fd) && turns < 20000; turns++)
            loop_turn(&loop, 0);
        settle();
        expect_sum(&reader, size);
        expect_bytes(&reader, 3);
        expect_nothing(&reader);
    }
}

static void test_bad_chunks(void **state)
{
    (void)state;
    struct reader reader = {.fd = client_new_settled()};
    feed(reader.fd,
         "POST /sum/9 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    settle();
    expect_nothing(&reader);
    feed(reader.fd, "x\r\nabc\r\n");
    settle();
    expect(&reader, 400, NULL);
    assert_int_equal(mine.request_ends, 1);
    pass(2 * second_us);
    assert_false(is_open(reader.fd));
}

/* Bodies that the service does not take, and its slices of them. */
static void test_ignored_bodies(void **state)
{
    (void)state;
    struct chance chance = chance_start(29);
    struct reader reader = {.fd = client_new_settled()};
    for (size_t size = 0; size < 60000; size = size * 2 + 1)
        for (int cut = 0; cut < 2; cut++) {
            feed_body_head(reader.fd, "/ignore", size);
            if (cut)
                settle();
            feed_bytes(reader.fd, 0, size);
            settle();
            expect(&reader, 200, "ignored\n");
            feed_body_head(reader.fd, "/text/7", size);
            if (cut)
                settle();
            feed_bytes(reader.fd, 0, size);
            settle();
            expect_bytes(&reader, 7); /* the head is still known */
        }
    feed_chunked(reader.fd, 100, &chance);
    settle();
    expect_sum(&reader, 100);
    expect_nothing(&reader);
}

static void test_expect_continue(void **state)
{
    (void)state;
    static const char head[] =
        "PUT /sum/500 HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 30\r\n\r\n";
    struct reader reader = {.fd = client_new_settled()};
    feed(reader.fd, GET("/text/3"));
    feed(reader.fd, head);
    settle();
    expect_bytes(&reader, 3);
    expect(&reader, 100, "");
    expect_nothing(&reader);
    feed_bytes(reader.fd, 0, 30);
    settle();
    expect_sum(&reader, 30);
    /* Not to a client that did not wait. */
    feed(reader.fd, head);
    feed_bytes(reader.fd, 0, 10);
    settle();
    expect_nothing(&reader);
    feed_bytes(reader.fd, 10, 20);
    settle();
    expect_sum(&reader, 30);
    feed(reader.fd, head);
    feed_bytes(reader.fd, 0, 30);
    settle();
    expect_sum(&reader, 30);
    /* Nor where there is nothing to wait for. */
    feed(reader.fd,
         "PUT /sum/9 HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n");
    settle();
    expect_sum(&reader, 0);
    expect_nothing(&reader);
}

/* At each place where the service can say no, with the body sent or not, whole or chunked: one
 * answer, then the end. */
static void test_refusals(void **state)
{
    (void)state;
    for (unsigned place = REFUSE_HEAD; place <= REFUSE_FILLED; place++)
        for (int way = 0; way < 4; way++) {
            struct reader reader = {.fd = client_new_settled()};
            char head[200];
            snprintf(head, sizeof head, "PUT /refuse/%u HTTP/1.1\r\nHost: h\r\n%s%s\r\n", place,
                     way == 1 ? "Transfer-Encoding: chunked\r\n" : "Content-Length: 100000\r\n",
                     way == 2 ? "Expect: 100-continue\r\n" : "");
            unsigned ends = mine.request_ends, keeps = mine.keeps;
            feed(reader.fd, GET("/text/2"));
            feed(reader.fd, head);
            if (way == 3)
                settle();
            if (way == 1)
                feed(reader.fd, "186a0\r\n");
            if (way != 2)
                feed_bytes(reader.fd, 0, 100000);
            settle();
            expect_bytes(&reader, 2);
            if (way == 2 && place >= REFUSE_ROOM) {
                expect(&reader, 100, "");
                feed_bytes(reader.fd, 0, 100000);
                settle();
            }
            struct answer answer;
            check(next_answer(&reader, false, &answer) == ANSWER_OK, "place %u, way %d", place,
                  way);
            check(answer.status == refusals[place].status, "place %u, way %d: %u", place, way,
                  answer.status);
            check(answer.close, "place %u, way %d", place, way);
            expect_nothing(&reader);
            check(mine.request_ends - ends == mine.keeps - keeps, "place %u, way %d", place, way);
            pass(SERVER_LINGER_US + 1);
            check(!is_open(reader.fd), "place %u, way %d", place, way);
        }
}

/* A refused request whose body came whole is no reason to end. */
static void test_refusal_with_the_whole_body(void **state)
{
    (void)state;
    struct reader reader = {.fd = client_new_settled()};
    feed(reader.fd,
         "PUT /refuse/0 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc" GET("/text/3"));
    settle();
    expect(&reader, 413, "At the head.\n");
    expect_bytes(&reader, 3);
    assert_true(is_open(reader.fd));
}

/* Held and streamed requests */

static void test_hold_ends_with_its_time(void **state)
{
    (void)state;
    struct reader reader = {.fd = client_new_settled()};
    feed(reader.fd, GET("/hold/5000000") GET("/text/3"));
    pass(4999999);
    expect_nothing(&reader);
    assert_int_equal(server_held(server), 1);
    pass(1);
    expect(&reader, 200, "held to the end\n");
    expect_bytes(&reader, 3); /* what follows waits for it */
    assert_int_equal(server_held(server), 0);
    assert_true(is_open(reader.fd));
}

static void test_hold_that_is_answered(void **state)
{
    (void)state;
    struct reader reader = {.fd = client_new_settled()};
    feed(reader.fd, GET("/text/1") GET("/hold/5000000"));
    settle();
    feed(reader.fd, GET("/text/2") "GET /tex");
    settle();
    expect_bytes(&reader, 1);
    expect_nothing(&reader);
    server_answer(mine.held[0], answer_early);
    settle();
    expect(&reader, 200, "answered early\n");
    expect_bytes(&reader, 2);
    feed(reader.fd, "t/3 HTTP/1.1\r\nHost: h\r\n\r\n");
    settle();
    expect_bytes(&reader, 3);
    pass(10 * second_us);
    expect_nothing(&reader);
    assert_int_equal(mine.hold_ends, 0);
}

/* Longer than any other time limit. */
static void test_hold_outlasts_the_other_limits(void **state)
{
    (void)state;
    struct reader reader = {.fd = client_new_settled()};
    feed(reader.fd, GET("/hold/3600000000"));
    pass(3599 * second_us);
    assert_true(is_open(reader.fd));
    expect_nothing(&reader);
    pass(2 * second_us);
    expect(&reader, 200, "held to the end\n");
}

/* Its time runs from when it was held, also when the answer before it was still on its way then. */
static void test_hold_behind_a_blocked_answer(void **state)
{
    (void)state;
    struct reader reader = {.fd = client_new_settled()};
    fake_socket(io, reader.fd)->space = 100;
    feed(reader.fd, GET("/text/5000") GET("/hold/5000000"));
    settle();
    fake_socket(io, reader.fd)->space = SIZE_MAX;
    settle();
    expect_bytes(&reader, 5000);
    pass(4 * second_us);
    expect_nothing(&reader);
    pass(second_us + 1);
    expect(&reader, 200, "held to the end\n");
}

static void test_many_holds(void **state)
{
    (void)state;
    struct reader readers[100];
    for (size_t i = 0; i < COUNT(readers); i++) {
        char text[100];
        readers[i] = (struct reader){.fd = client_new_settled()};
        snprintf(text, sizeof text, "GET /hold/%zu HTTP/1.1\r\nHost: h\r\n\r\n",
                 (i * 37 % 100 + 1) * 1000000);
        feed(readers[i].fd, text);
    }
    settle();
    assert_int_equal(server_held(server), COUNT(readers));
    for (size_t s = 0; s < 100; s++) {
        pass(second_us);
        assert_int_equal(server_held(server), 99 - s);
    }
    for (size_t i = 0; i < COUNT(readers); i++)
        expect(&readers[i], 200, "held to the end\n");
}

/* Clients that leave while they wait: a reset ends the request, a half-close is answered. */
static void test_clients_that_leave_while_held(void **state)
{
    (void)state;
    struct reader gone = {.fd = client_new_settled()}, half = {.fd = client_new_settled()};
    struct reader both = {.fd = client_new_settled()};
    feed(gone.fd, GET("/hold/50000000"));
    feed(half.fd, GET("/hold/50000000"));
    feed(both.fd, GET("/hold/50000000") GET("/text/2"));
    settle();
    fake_break(io, gone.fd, -ECONNRESET);
    fake_end(io, half.fd);
    fake_end(io, both.fd);
    settle();
    assert_int_equal(server_held(server), 0);
    assert_int_equal(mine.request_ends, 3);
    assert_false(is_open(gone.fd));
    expect(&half, 200, "held to the end\n");
    expect(&both, 200, "held to the end\n");
    expect_bytes(&both, 2);
    assert_false(is_open(half.fd) || is_open(both.fd));
}

/* Who has sent two such requests and nothing more gets both answers at once. */
static void test_half_close_behind_two_holds(void **state)
{
    (void)state;
    struct reader reader = {.fd = client_new_settled()};
    feed(reader.fd, GET("/hold/50000000") GET("/hold/50000000"));
    settle();
    fake_end(io, reader.fd);
    settle();
    expect(&reader, 200, "held to the end\n");
    expect(&reader, 200, "held to the end\n");
    assert_false(is_open(reader.fd));
}

/* What waits behind others is not parsed again for each of them. */
static void test_pipelined_holds(void **state)
{
    (void)state;
    enum { REQUESTS = 200 };
    struct reader reader = {.fd = client_new_settled()};
    for (int i = 0; i < REQUESTS; i++)
        feed(reader.fd, GET("/hold/1000"));
    for (int i = 0; i < REQUESTS; i++) {
        pass(1000);
        expect(&reader, 200, "held to the end\n");
    }
    assert_true(mine.heads < 4 * REQUESTS);
}

/* A client that pipelines while it waits is not read for ever. */
static void test_input_while_held_has_a_limit(void **state)
{
    (void)state;
    enum { REQUESTS = 10000 };
    struct reader reader = {.fd = client_new_settled()};
    feed(reader.fd, GET("/hold/5000000"));
    for (int i = 0; i < REQUESTS; i++)
        feed(reader.fd, GET("/text/3"));
    settle();
    assert_true(fake_unread(io, reader.fd) > 200000);
    pass(6 * second_us);
    expect(&reader, 200, "held to the end\n");
    for (int i = 0; i < REQUESTS; i++)
        expect_bytes(&reader, 3);
}

static void test_streams(void **state)
{
    (void)state;
    struct reader reader = {.fd = client_new_settled()};
    feed(reader.fd, GET("/text/1") GET("/stream/30") GET("/stream/0") GET("/text/2")
                        GET("/stream/1") GET("/text/3"));
    settle();
    expect_bytes(&reader, 1);
    expect_stream(&reader, 30);
    expect_stream(&reader, 0);
    expect_bytes(&reader, 2);
    expect_stream(&reader, 1);
    expect_bytes(&reader, 3);
    expect_nothing(&reader);
    assert_int_equal(mine.request_ends, 3);
}

/* A stream goes no faster than its client, and does not stop for good, wherever it is blocked. */
static void test_streams_with_a_slow_client(void **state)
{
    (void)state;
    for (size_t step = 5000; step < 60000; step += 4999) {
        struct reader reader = {.fd = client_new_settled()};
        struct fake_socket *socket = fake_socket(io, reader.fd);
        socket->space = step;
        feed(reader.fd, GET("/stream/5"));
        settle();
        check(fake_output(io, reader.fd).len <= step, "steps of %zu", step);
        for (int i = 0; i < 30; i++) {
            socket->space = step;
            settle();
        }
        expect_stream(&reader, 5);
        /* The connection goes on. */
        feed(reader.fd, GET("/text/3"));
        settle();
        expect_bytes(&reader, 3);
        fake_end(io, reader.fd);
        settle();
        check(!is_open(reader.fd), "steps of %zu", step);
    }
}

/* The same with the next request there already. */
static void test_pipelining_behind_a_slow_stream(void **state)
{
    (void)state;
    for (size_t step = 5000; step < 60000; step += 4999) {
        struct reader reader = {.fd = client_new_settled()};
        struct fake_socket *socket = fake_socket(io, reader.fd);
        socket->space = step;
        feed(reader.fd, GET("/stream/5") GET("/text/3") GET("/stream/2") GET("/text/4"));
        for (int i = 0; i < 40; i++) {
            settle();
            socket->space = step;
        }
        expect_stream(&reader, 5);
        expect_bytes(&reader, 3);
        expect_stream(&reader, 2);
        expect_bytes(&reader, 4);
        expect_nothing(&reader);
    }
}

/* A stream that cannot go on is cut, so that nobody takes it for whole. */
static void test_broken_streams(void **state)
{
    (void)state;
    for (unsigned pieces = 0; pieces < 3; pieces++)
        for (unsigned minor = 0; minor < 2; minor++) {
            struct reader reader = {.fd = client_new_settled()};
            char text[100];
            struct answer answer;
            snprintf(text, sizeof text, "GET /broken/%u HTTP/1.%u\r\nHost: h\r\n\r\n", pieces,
                     minor);
            feed(reader.fd, text);
            settle();
            assert_false(is_open(reader.fd));
            if (minor == 1)
                assert_int_equal(next_answer(&reader, false, &answer), ANSWER_MORE);
        }
}

static void test_many_streams_share(void **state)
{
    (void)state;
    struct reader readers[20], other = {.fd = client_new_settled()};
    for (size_t i = 0; i < COUNT(readers); i++)
        readers[i] = (struct reader){.fd = client_new_settled()};
    for (size_t i = 0; i < COUNT(readers); i++)
        feed(readers[i].fd, GET("/stream/60"));
    loop_turn(&loop, 0);
    for (size_t i = 0; i < COUNT(readers); i++) { /* each has got something, none of them all */
        size_t got = fake_output(io, readers[i].fd).len;
        assert_true(got > STREAM_PIECE_BYTES && got < (size_t)30 * STREAM_PIECE_BYTES);
    }
    feed(other.fd, GET("/text/3"));
    loop_turn(&loop, 0);
    expect_bytes(&other, 3);
    settle();
    for (size_t i = 0; i < COUNT(readers); i++)
        expect_stream(&readers[i], 60);
}

enum { LONG_CLIENTS = 50, LONG_PER_TURN = 4, LONG_BODY_BYTES = 60000 };

/* A clock that lets so many steps of what takes long go by in a turn; one more begins before the time is up. */
static void tick_as_if_long(void)
{
    io->tick_us = LOOP_SHARE_US / LONG_PER_TURN;
}

static size_t sent_by(const struct reader *readers, size_t count)
{
    size_t sent = 0;
    for (size_t i = 0; i < count; i++)
        sent += fake_output(io, readers[i].fd).len;
    return sent;
}

/* However many streams there are, a turn has a few pieces, each stream's in order. */
static void test_streams_leave_time_for_others(void **state)
{
    (void)state;
    struct reader readers[LONG_CLIENTS], other = {.fd = client_new_settled()};
    for (size_t i = 0; i < LONG_CLIENTS; i++)
        readers[i] = (struct reader){.fd = client_new_settled()};
    for (size_t i = 0; i < LONG_CLIENTS; i++)
        feed(readers[i].fd, GET("/stream/20"));
    tick_as_if_long();
    size_t before = 0;
    for (size_t turn = 0; turn < LONG_CLIENTS; turn++) {
        loop_turn(&loop, 0);
        size_t sent = sent_by(readers, LONG_CLIENTS), pieces = (sent - before) / STREAM_PIECE_BYTES;
        assert_in_range(pieces, 1, LONG_PER_TURN + 1);
        before = sent;
    }
    for (size_t i = 0; i < LONG_CLIENTS; i++)
        assert_in_range(fake_output(io, readers[i].fd).len / STREAM_PIECE_BYTES, LONG_PER_TURN - 1,
                        LONG_PER_TURN + 1);
    feed(other.fd, GET("/text/3"));
    loop_turn(&loop, 0);
    expect_bytes(&other, 3);
    settle();
    for (size_t i = 0; i < LONG_CLIENTS; i++)
        expect_stream(&readers[i], 20);
}

/* The same for who is answered later than its batch, as each is whose answer comes from another server. */
static void test_streams_leave_time_for_late_answers(void **state)
{
    (void)state;
    struct reader readers[LONG_CLIENTS], other = {.fd = client_new_settled()};
    for (size_t i = 0; i < LONG_CLIENTS; i++)
        readers[i] = (struct reader){.fd = client_new_settled()};
    feed(other.fd, GET("/hold/1000") GET("/text/3"));
    for (size_t i = 0; i < LONG_CLIENTS; i++)
        feed(readers[i].fd, GET("/stream/200"));
    loop_turn(&loop, 0);
    tick_as_if_long();
    io->now_us += 1000;
    for (unsigned turn = 0; turn < 2; turn++)
        loop_turn(&loop, 0);
    expect(&other, 200, "held to the end\n");
    expect_bytes(&other, 3);
    io->tick_us = 0;
    settle();
    for (size_t i = 0; i < LONG_CLIENTS; i++)
        expect_stream(&readers[i], 200);
}

/* Nor do they take the time of those that stream. */
static void test_late_answers_leave_time_for_streams(void **state)
{
    (void)state;
    struct reader readers[LONG_CLIENTS], others[LONG_CLIENTS];
    for (size_t i = 0; i < LONG_CLIENTS; i++) {
        readers[i] = (struct reader){.fd = client_new_settled()};
        others[i] = (struct reader){.fd = client_new_settled()};
    }
    tick_as_if_long();
    for (size_t i = 0; i < LONG_CLIENTS; i++)
        feed(readers[i].fd, GET("/stream/200"));
    loop_turn(&loop, 0);
    for (size_t i = 0; i < LONG_CLIENTS; i++)
        feed(others[i].fd, GET("/defer/100"));
    size_t before = sent_by(readers, LONG_CLIENTS);
    loop_turn(&loop, 0);
    for (size_t i = 0; i < LONG_CLIENTS; i++)
        expect(&others[i], 200, "answered slowly\n");
    size_t pieces = (sent_by(readers, LONG_CLIENTS) - before) / STREAM_PIECE_BYTES;
    assert_in_range(pieces, LONG_PER_TURN - 1, LONG_PER_TURN + 1);
    io->tick_us = 0;
    settle();
    for (size_t i = 0; i < LONG_CLIENTS; i++)
        expect_stream(&readers[i], 200);
}

static void large_bodies_leave_time(bool chunked)
{
    struct reader readers[LONG_CLIENTS], other = {.fd = client_new_settled()};
    for (size_t i = 0; i < LONG_CLIENTS; i++) {
        readers[i] = (struct reader){.fd = client_new_settled()};
        if (chunked)
            feed_chunk_head(readers[i].fd, "/sum/60000", LONG_BODY_BYTES);
        else
            feed_body_head(readers[i].fd, "/sum/60000", LONG_BODY_BYTES);
    }
    settle();
    for (size_t i = 0; i < LONG_CLIENTS; i++)
        feed_bytes(readers[i].fd, 0, LONG_BODY_BYTES);
    tick_as_if_long();
    for (size_t turn = 0, before = 0; turn < 5; turn++) {
        size_t whole = 0;
        loop_turn(&loop, 0);
        for (size_t i = 0; i < LONG_CLIENTS; i++)
            whole += fake_unread(io, readers[i].fd) == 0;
        assert_in_range(whole - before, 1, LONG_PER_TURN + 1);
        assert_true(turn == 0 || io->events == 0); /* who waits for its turn is known */
        before = whole;
    }
    feed(other.fd, GET("/text/3"));
    fake_break(io, readers[LONG_CLIENTS - 1].fd, -ECONNRESET);
    loop_turn(&loop, 0);
    expect_bytes(&other, 3);
    settle();
    for (size_t i = 0; i < LONG_CLIENTS - 1 && chunked; i++)
        feed(readers[i].fd, "\r\n0\r\n\r\n");
    settle();
    for (size_t i = 0; i < LONG_CLIENTS - 1; i++)
        expect_sum(&readers[i], LONG_BODY_BYTES);
    assert_false(is_open(readers[LONG_CLIENTS - 1].fd));
}

/* The same for those who send large bodies, or large chunks. One that leaves while it waits for its turn is nothing special. */
static void test_large_bodies_leave_time_for_others(void **state)
{
    (void)state;
    large_bodies_leave_time(false);
}

static void test_large_chunks_leave_time_for_others(void **state)
{
    (void)state;
    large_bodies_leave_time(true);
}

/* The same for what is thrown away of those who were refused in the middle of what they send. */
static void test_refused_ones_leave_time_for_others(void **state)
{
    (void)state;
    struct reader readers[LONG_CLIENTS], other = {.fd = client_new_settled()};
    for (size_t i = 0; i < LONG_CLIENTS; i++) {
        readers[i] = (struct reader){.fd = client_new_settled()};
        feed(readers[i].fd, "BAD\r\n\r\n");
    }
    loop_turn(&loop, 0);
    for (size_t i = 0; i < LONG_CLIENTS; i++)
        feed_bytes(readers[i].fd, 0, 10000);
    feed(other.fd, GET("/text/3"));
    tick_as_if_long();
    loop_turn(&loop, 0);
    expect_bytes(&other, 3);
    size_t read = 0;
    for (size_t i = 0; i < LONG_CLIENTS; i++)
        read += fake_unread(io, readers[i].fd) == 0;
    assert_in_range(read, 1, LONG_PER_TURN + 1);
    settle();
    for (size_t i = 0; i < LONG_CLIENTS; i++)
        assert_int_equal(fake_unread(io, readers[i].fd), 0);
}

/* The same for those who read slowly, all of whom have room again. */
static void test_slow_readers_leave_time_for_others(void **state)
{
    (void)state;
    struct reader readers[LONG_CLIENTS], other = {.fd = client_new_settled()};
    for (size_t i = 0; i < LONG_CLIENTS; i++) {
        readers[i] = (struct reader){.fd = client_new_settled()};
        fake_socket(io, readers[i].fd)->space = 100;
        feed(readers[i].fd, GET("/ref/9000"));
    }
    settle();
    for (size_t i = 0; i < LONG_CLIENTS; i++)
        fake_socket(io, readers[i].fd)->space = 1000000;
    feed(other.fd, GET("/text/3"));
    tick_as_if_long();
    loop_turn(&loop, 0);
    expect_bytes(&other, 3);
    size_t whole = 0;
    for (size_t i = 0; i < LONG_CLIENTS; i++)
        whole += fake_output(io, readers[i].fd).len > 9000;
    assert_in_range(whole, 1, LONG_PER_TURN + 1);
    settle();
    for (size_t i = 0; i < LONG_CLIENTS; i++)
        expect_bytes(&readers[i], 9000);
}

/* The same for those who connect. */
static void test_newcomers_leave_time_for_others(void **state)
{
    (void)state;
    struct reader other = {.fd = client_new_settled()};
    unsigned before = server_connections(server);
    for (size_t i = 0; i < LONG_CLIENTS; i++)
        fake_connect(io, "10.0.0.1:5");
    feed(other.fd, GET("/text/3"));
    tick_as_if_long();
    loop_turn(&loop, 0);
    expect_bytes(&other, 3);
    assert_in_range(server_connections(server) - before, 1, LONG_PER_TURN + 1);
    settle();
    assert_int_equal(server_connections(server) - before, LONG_CLIENTS);
}

/* Clients that leave */

/* In the middle of anything, in any way. */
static void test_clients_that_leave(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "GET /te",
        GET("/text/3"),
        GET("/text/3") "GET /te",
        "PUT /sum/9 HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nabc",
        "PUT /sum/20000 HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nabc",
        "PUT /sum/9 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "PUT /sum/9 HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n",
        GET("/hold/9000000"),
        GET("/stream/1000"),
        GET("/ref/900000"),
        GET("/text/900") GET("/ref/900000") GET("/text/900"),
        GET("/nothing") GET("/hold/9000000") GET("/stream/9"),
        "GET /text/3 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
        "BAD\r\n\r\n",
    };
    for (size_t i = 0; i < COUNT(texts); i++)
        for (int way = 0; way < 4; way++)
            for (size_t space = 0; space < 3; space++)
                for (int turns = 0; turns < 4; turns++) {
                    int fd = client_new_settled();
                    fake_socket(io, fd)->space = space == 0 ? 0 : space == 1 ? 5000 : SIZE_MAX;
                    feed(fd, texts[i]);
                    for (int t = 0; t < turns; t++)
                        loop_turn(&loop, 0);
                    if (way == 0 || way == 3)
                        fake_end(io, fd);
                    if (way == 1)
                        fake_break(io, fd, -ECONNRESET);
                    if (way == 2)
                        fake_socket(io, fd)->out_error = -EPIPE;
                    if (way == 3) {
                        loop_turn(&loop, 0);
                        if (is_open(fd))
                            fake_break(io, fd, -ECONNRESET);
                    }
                    settle();
                    fake_socket(io, fd)->space = is_open(fd) ? SIZE_MAX : 0;
                    pass(10 * second_us);
                    if (way == 2 && is_open(fd)) /* nothing was written that could have failed */
                        fake_end(io, fd);
                    settle();
                    check(!is_open(fd), "%s: way %d, space %zu, %d turns", texts[i], way, space,
                          turns);
                    assert_int_equal(mine.request_ends, mine.keeps);
                }
    assert_int_equal(server_connections(server), 0);
    assert_int_equal(server_held(server), 0);
}

/* The connection breaks while the answers of a batch are being written, at any of them. */
static void test_reset_in_the_middle_of_a_batch(void **state)
{
    (void)state;
    static const char *const lasts[] = {GET("/text/3"),
                                        GET("/ref/9000"),
                                        GET("/hold/5"),
                                        GET("/stream/5"),
                                        GET("/broken/1"),
                                        GET("/text/120000"),
                                        "HEAD /stream/2 HTTP/1.1\r\nHost: h\r\n\r\n"};
    for (size_t last = 0; last < COUNT(lasts); last++)
        for (int before = 26; before < 36; before++) {
            int fd = client_new_settled();
            for (int i = 0; i < before; i++)
                feed(fd, GET("/ref/9000"));
            feed(fd, lasts[last]);
            feed(fd, GET("/text/5"));
            fake_socket(io, fd)->out_error = -ECONNRESET;
            settle();
            check(!is_open(fd), "%s behind %d", lasts[last], before);
            assert_int_equal(mine.refs, mine.released);
            assert_int_equal(mine.request_ends, mine.keeps);
        }
    for (int before = 1; before < 5; before++) {
        int fd = client_new_settled();
        for (int i = 0; i < before; i++)
            feed(fd, GET("/text/120000"));
        feed(fd, GET("/stream/5") GET("/text/5"));
        fake_socket(io, fd)->out_error = -ECONNRESET;
        settle();
        assert_false(is_open(fd));
    }
}

static void test_half_closed_clients_get_their_answers(void **state)
{
    (void)state;
    struct reader reader = {.fd = client_new_settled()};
    feed(reader.fd, GET("/text/3"));
    feed_body_head(reader.fd, "/sum/8", 30000);
    feed_bytes(reader.fd, 0, 30000);
    feed(reader.fd, GET("/stream/10") GET("/ref/20000") "GET /inco");
    fake_end(io, reader.fd);
    fake_socket(io, reader.fd)->space = 4000;
    for (int i = 0; i < 100; i++) {
        settle();
        fake_socket(io, reader.fd)->space = 4000;
    }
    expect_bytes(&reader, 3);
    expect_sum(&reader, 30000);
    expect_stream(&reader, 10);
    expect_bytes(&reader, 20000);
    expect_nothing(&reader);
    assert_false(is_open(reader.fd));
}

/* Time limits */

/* Who was not woken in time finds the end of the wait and the request at once: the request counts. */
static void test_idle_and_woken_late(void **state)
{
    (void)state;
    struct reader reader = {.fd = client_new_settled()};
    feed(reader.fd, GET("/text/3"));
    io->now_us += (IDLE_S + 1) * second_us;
    settle();
    expect_bytes(&reader, 3);
    assert_true(is_open(reader.fd));
}

static void test_idle(void **state)
{
    (void)state;
    struct reader reader = {.fd = client_new_settled()};
    pass(IDLE_S * second_us - 1);
    assert_true(is_open(reader.fd));
    pass(1);
    assert_false(is_open(reader.fd));
    expect_nothing(&reader);
    /* Counted from the last request. */
    reader = (struct reader){.fd = client_new_settled()};
    for (int i = 0; i < 5; i++) {
        pass((IDLE_S - 10) * second_us);
        assert_true(is_open(reader.fd));
        feed(reader.fd, GET("/text/3"));
        settle();
        expect_bytes(&reader, 3);
    }
    pass(IDLE_S * second_us - 1);
    assert_true(is_open(reader.fd));
    pass(1);
    assert_false(is_open(reader.fd));
    assert_int_equal(server_counters(server)->timeouts, 0);
}

/* An empty line behind a request, as some clients send one, is not the beginning of the next one. */
static void test_idle_behind_an_empty_line(void **state)
{
    static const char *const lines[] = {"\r", "\r\n", "\r\n\r\n"};
    (void)state;
    for (size_t i = 0; i < COUNT(lines); i++) {
        struct reader reader = {.fd = client_new_settled()};
        feed(reader.fd, GET("/text/3"));
        feed(reader.fd, lines[i]);
        settle();
        expect_bytes(&reader, 3);
        pass(IDLE_S * second_us - 1);
        expect_nothing(&reader);
        assert_true(is_open(reader.fd));
        pass(1);
        assert_false(is_open(reader.fd));
        expect_nothing(&reader);
    }
}

static void check_408(struct reader *reader)
{
    struct answer answer;
    check(next_answer(reader, false, &answer) == ANSWER_OK, "no 408");
    assert_int_equal(answer.status, 408);
    assert_true(answer.close);
    expect_nothing(reader);
}

static void test_heads_in_time(void **state)
{
    (void)state;
    struct reader slow = {.fd = client_new_settled()}, dripping = {.fd = client_new_settled()};
    pass(50 * second_us); /* no request is under way: this does not count */
    feed(slow.fd, "GET /te");
    feed(dripping.fd, "G");
    for (int s = 0; s < REQUEST_S - 1; s++) {
        pass(second_us);
        feed(dripping.fd, "G");
    }
    assert_true(is_open(slow.fd) && is_open(dripping.fd));
    pass(second_us - 1);
    expect_nothing(&slow);
    expect_nothing(&dripping);
    pass(1);
    check_408(&slow);
    check_408(&dripping);
    pass(SERVER_LINGER_US + 1);
    assert_false(is_open(slow.fd) || is_open(dripping.fd));
    assert_int_equal(server_counters(server)->timeouts, 2);
}

/* Each request has its own time. */
static void test_time_begins_anew_with_each_request(void **state)
{
    (void)state;
    struct reader reader = {.fd = client_new_settled()};
    for (int i = 0; i < 5; i++) {
        feed(reader.fd, "GET /text/3 HT");
        pass((REQUEST_S - 1) * second_us);
        feed(reader.fd, "TP/1.1\r\nHost: h\r\n\r\n");
        settle();
        expect_bytes(&reader, 3);
    }
    for (int i = 0; i < 5; i++) { /* with the next one begun in the same packet */
        feed(reader.fd, i ? "TP/1.1\r\nHost: h\r\n\r\nGET /text/3 HT" : "GET /text/3 HT");
        pass((REQUEST_S - 1) * second_us);
        if (i)
            expect_bytes(&reader, 3);
        assert_true(is_open(reader.fd));
    }
}

/* The same for a body whose client has not read the 100 yet that it waits for. */
static void test_time_of_a_body_behind_a_blocked_answer(void **state)
{
    (void)state;
    struct reader reader = {.fd = client_new_settled()};
    fake_socket(io, reader.fd)->space = 10;
    feed(reader.fd,
         "PUT /sum/9 HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n");
    settle();
    fake_socket(io, reader.fd)->space = SIZE_MAX;
    settle();
    expect(&reader, 100, "");
    pass(REQUEST_S * second_us + 1);
    check_408(&reader);
}

/* A body has a second more for each 16 KiB that have come. */
static void test_bodies_in_time(void **state)
{
    (void)state;
    struct reader stuck = {.fd = client_new_settled()}, slow = {.fd = client_new_settled()};
    struct reader steady = {.fd = client_new_settled()}, direct = {.fd = client_new_settled()};
    feed_body_head(stuck.fd, "/sum/5", 1000000);
    feed_body_head(slow.fd, "/sum/5", 1000000);
    feed_body_head(steady.fd, "/sum/5", 60 * 16384);
    feed_body_head(direct.fd, "/sum/20000", 60 * 16384);
    for (size_t s = 0; s < 60; s++) {
        if (is_open(slow.fd))
            feed_bytes(slow.fd, s * 100, 100);
        feed_bytes(steady.fd, s * 16384, 16384);
        feed_bytes(direct.fd, s * 16384, 16384);
        pass(second_us - 1);
        check(is_open(stuck.fd) == (s < REQUEST_S + 1), "%zu s", s);
        pass(1);
    }
    check_408(&stuck);
    check_408(&slow);
    expect_sum(&steady, 60 * 16384);
    expect_sum(&direct, 60 * 16384);
    assert_true(is_open(steady.fd) && is_open(direct.fd));
    assert_int_equal(mine.request_ends, 4);
}

/* A client that takes nothing is closed after stall_us; one that takes a little is not. */
static void test_stalled_clients(void **state)
{
    (void)state;
    struct reader stalled = {.fd = client_new_settled()}, slow = {.fd = client_new_settled()};
    struct reader stream = {.fd = client_new_settled()};
    pass(100 * second_us); /* they have been here for some time */
    for (int i = 0; i < 3; i++) {
        int fd = i == 0 ? stalled.fd : i == 1 ? slow.fd : stream.fd;
        feed(fd, GET("/text/3"));
        settle();
        fake_socket(io, fd)->space = 100;
        feed(fd, i == 2 ? GET("/stream/100") : GET("/ref/500000"));
    }
    for (int s = 0; s < STALL_S - 1; s++) {
        pass(second_us);
        fake_socket(io, slow.fd)->space = 10;
    }
    assert_true(is_open(stalled.fd) && is_open(stream.fd) && is_open(slow.fd));
    for (int s = 0; s < 2 * STALL_S; s++) {
        pass(second_us);
        fake_socket(io, slow.fd)->space = 10;
    }
    assert_false(is_open(stalled.fd) || is_open(stream.fd));
    assert_true(is_open(slow.fd));
    assert_int_equal(server_counters(server)->timeouts, 2);
    for (int s = 0; s < 20 * STALL_S; s++) {
        pass(second_us);
        fake_socket(io, slow.fd)->space = 10;
    }
    assert_true(is_open(slow.fd));
}

/* Not much later than it says. */
static void test_stall_time_is_kept(void **state)
{
    (void)state;
    struct reader reader = {.fd = client_new_settled()};
    feed(reader.fd, GET("/text/3"));
    pass(20 * second_us);
    fake_socket(io, reader.fd)->space = 100;
    feed(reader.fd, GET("/ref/500000"));
    pass((STALL_S + 1) * second_us);
    assert_false(is_open(reader.fd));
}

static void test_lingering_has_its_time(void **state)
{
    (void)state;
    int fd = client_new_settled();
    feed(fd, "BAD\r\n\r\n");
    pass(SERVER_LINGER_US - 1);
    assert_true(is_open(fd));
    feed(fd, "more"); /* thrown away, and no reason to stay longer */
    pass(1);
    assert_false(is_open(fd));
}

/* Who may connect, and how many */

static void test_allow_list(void **state)
{
    (void)state;
    static const struct {
        const char *peer;
        bool allowed;
    } rows[] = {
        {"10.1.2.3:5", true},  {"[::1]:5", true},          {"[::ffff:10.1.2.3]:5", true},
        {"8.8.8.8:5", false},  {"[2001:db8::1]:5", false}, {"[::ffff:8.8.8.8]:5", false},
        {"[fe80::1]:5", true},
    };
    unsigned allowed = 0;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct reader reader = {.fd = fake_connect(io, rows[i].peer)};
        feed(reader.fd, GET("/text/3"));
        settle();
        check(is_open(reader.fd) == rows[i].allowed, "%s", rows[i].peer);
        if (rows[i].allowed)
            expect_bytes(&reader, 3);
        else
            expect_nothing(&reader);
        allowed += rows[i].allowed;
    }
    assert_int_equal(server_counters(server)->refused_network, COUNT(rows) - allowed);
    assert_int_equal(server_counters(server)->accepted, allowed);
    assert_int_equal(server_connections(server), allowed);
}

/* Those past the limit are told so, with a 503; those far past it are closed; and each that leaves
 * makes room. */
static void test_connections_max(void **state)
{
    (void)state;
    enum { MORE = 50 };
    static struct reader readers[CONNECTIONS_MAX + SERVER_REFUSED_MAX + MORE];
    for (size_t i = 0; i < COUNT(readers); i++) {
        readers[i] = (struct reader){.fd = fake_connect(io, "10.0.0.1:1")};
        feed(readers[i].fd, GET("/text/3"));
    }
    settle();
    for (size_t i = 0; i < COUNT(readers); i++) {
        if (i < CONNECTIONS_MAX) {
            expect_bytes(&readers[i], 3);
            assert_true(is_open(readers[i].fd));
        } else if (i < CONNECTIONS_MAX + SERVER_REFUSED_MAX) {
            struct answer answer;
            check(next_answer(&readers[i], false, &answer) == ANSWER_OK && answer.status == 503,
                  "%zu", i);
            assert_true(answer.close);
        } else {
            check(!is_open(readers[i].fd), "%zu", i);
            expect_nothing(&readers[i]);
        }
    }
    assert_int_equal(server_counters(server)->refused_full, SERVER_REFUSED_MAX + MORE);
    pass(SERVER_LINGER_US + 1);
    assert_int_equal(server_connections(server), CONNECTIONS_MAX);
    struct reader next = {.fd = client_new_settled()};
    expect(&next, 503, NULL);
    fake_end(io, readers[0].fd);
    fake_end(io, next.fd);
    settle();
    next = (struct reader){.fd = client_new_settled()};
    feed(next.fd, GET("/text/4"));
    settle();
    expect_bytes(&next, 4);
}

/* Out of file descriptors: those who are here go on, those who wait come in when there is room
 * again. */
static void test_accept_pauses(void **state)
{
    (void)state;
    static const int errors[] = {-EMFILE, -ENFILE, -ENOMEM, -ENOBUFS};
    struct reader here = {.fd = client_new_settled()};
    for (size_t i = 0; i < COUNT(errors); i++) {
        io->accept_error = errors[i];
        struct reader waits = {.fd = fake_connect(io, "10.0.0.1:1")};
        feed(waits.fd, GET("/text/3"));
        settle();
        unsigned waits_before = io->waits;
        pass(SERVER_ACCEPT_PAUSE_US / 2);
        assert_true(io->waits - waits_before < 100); /* no turning for nothing */
        feed(here.fd, GET("/text/5"));
        settle();
        expect_bytes(&here, 5);
        assert_true(fake_socket(io, waits.fd)->waiting);
        io->accept_error = 0;
        pass(SERVER_ACCEPT_PAUSE_US);
        expect_bytes(&waits, 3);
    }
    assert_true(server_counters(server)->accept_failures >= COUNT(errors));
    assert_int_equal(log_lines, 1); /* within LOG_AGAIN_US all of them are one condition */
}

/* It says so once, however long it lasts; and a connection that closes makes it try at once. */
static void test_accept_resumes(void **state)
{
    (void)state;
    int here = client_new_settled();
    io->accept_error = -EMFILE;
    struct reader waits = {.fd = fake_connect(io, "10.0.0.1:1")};
    feed(waits.fd, GET("/text/3"));
    pass(50 * SERVER_ACCEPT_PAUSE_US);
    assert_int_equal(log_lines, 1);
    assert_true(server_counters(server)->accept_failures >= 50);
    loop_turn(&loop, 0);
    io->accept_error = 0;
    uint64_t now = loop.now_us;
    fake_end(io, here);
    settle();
    assert_int_equal(loop.now_us, now);
    expect_bytes(&waits, 3);
}

static void test_other_accept_errors_are_nothing(void **state)
{
    (void)state;
    static const int errors[] = {-ECONNABORTED, -EPROTO, -EINTR};
    io->tick_us = 1; /* a turn ends by its clock */
    for (size_t i = 0; i < COUNT(errors); i++) {
        io->accept_error = errors[i];
        struct reader reader = {.fd = fake_connect(io, "10.0.0.1:1")};
        feed(reader.fd, GET("/text/3"));
        loop_turn(&loop, 0);
        loop_turn(&loop, 0);
        assert_true(fake_socket(io, listener)->interest & IO_READ);
        io->accept_error = 0;
        settle();
        expect_bytes(&reader, 3);
    }
    assert_int_equal(log_lines, 0);
}

static void test_watch_errors(void **state)
{
    (void)state;
    io->watch_error = -ENOSPC;
    struct reader reader = {.fd = fake_connect(io, "10.0.0.1:1")};
    settle();
    assert_false(is_open(reader.fd));
    assert_int_equal(server_connections(server), 0);
    assert_int_equal(server_counters(server)->accept_failures, 1);
    io->watch_error = 0;
    reader = (struct reader){.fd = client_new_settled()};
    feed(reader.fd, GET("/text/3"));
    settle();
    expect_bytes(&reader, 3);
}

static void test_listen_errors(void **state)
{
    (void)state;
    struct address address, before;
    assert_int_equal(address_parse(SLICE("127.0.0.1:80"), &address), 0);
    before = address;
    server_destroy(server);
    struct server_config config = config_make();
    server = server_new(&loop, &quiet, &config, &mine.service);
    assert_non_null(server);
    io->listen_error = -EADDRINUSE;
    assert_int_equal(server_listen(server, &address), -EADDRINUSE);
    io->listen_error = 0;
    io->watch_error = -ENOSPC;
    assert_int_equal(server_listen(server, &address), -ENOSPC);
    io->watch_error = 0;
    assert_memory_equal(&address, &before, sizeof address);
    assert_int_equal(fake_open(io), 0);
    assert_int_equal(server_listen(server, &address), 0);
}

/* Memory */

static void test_server_without_memory(void **state)
{
    (void)state;
    struct server_config config = config_make();
    struct server *other = NULL;
    unsigned nth;
    for (nth = 1; !other; nth++) {
        failing_start(nth, false);
        other = server_new(&loop, &quiet, &config, &mine.service);
        assert_int_equal(failing_stop(), other == NULL);
        loop_turn(&loop, 0);
    }
    assert_true(nth > 4);
    server_destroy(other);
}

static void test_clients_without_memory(void **state)
{
    (void)state;
    bool failed = true;
    for (unsigned nth = 1; failed; nth++) {
        struct reader reader = {.fd = fake_connect(io, "10.0.0.1:1")};
        feed(reader.fd, GET("/text/3"));
        failing_start(nth, false);
        settle();
        failed = failing_stop();
        if (failed) {
            assert_false(is_open(reader.fd));
            expect_nothing(&reader);
        } else {
            expect_bytes(&reader, 3);
        }
    }
    assert_int_equal(server_connections(server), 1);
}

/* Draining */

static void drain(void)
{
    server_drain(server);
    settle();
}

static void check_ended(struct reader *reader, unsigned status, const char *body)
{
    struct answer answer;
    check(next_answer(reader, false, &answer) == ANSWER_OK, "%s", body);
    check(answer.status == status && answer.close, "%s", body);
    expect_nothing(reader);
    pass(SERVER_LINGER_US + 1);
    check(!is_open(reader->fd), "%s", body);
}

static void test_drain_takes_nobody_new(void **state)
{
    (void)state;
    drain();
    assert_false(fake_socket(io, listener)->open);
    int fd = client_new_settled();
    assert_true(fake_socket(io, fd)->waiting);
    drain(); /* does nothing */
}

static void test_drain_ends_what_is_idle(void **state)
{
    (void)state;
    struct reader fresh = {.fd = client_new_settled()}, used = {.fd = client_new_settled()};
    feed(used.fd, GET("/text/3"));
    settle();
    expect_bytes(&used, 3);
    pass(SERVER_LAST_US + 1);
    drain();
    assert_false(is_open(fresh.fd) || is_open(used.fd));
    expect_nothing(&fresh);
    expect_nothing(&used);
    assert_int_equal(server_connections(server), 0);
}

/* Who was busy a moment ago may have sent a request that is still on its way: else it would see its connection break. */
static void test_drain_waits_a_moment_for_who_is_busy(void **state)
{
    (void)state;
    struct reader fresh = {.fd = client_new_settled()}, used = {.fd = client_new_settled()};
    struct reader silent = {.fd = client_new_settled()};
    feed(used.fd, GET("/text/3"));
    settle();
    expect_bytes(&used, 3);
    drain();
    assert_true(is_open(fresh.fd) && is_open(used.fd) && is_open(silent.fd));
    feed(fresh.fd, GET("/text/4"));
    feed(used.fd, GET("/text/5"));
    pass(SERVER_LAST_US + 1);
    assert_false(is_open(silent.fd));
    expect_nothing(&silent);
    check_ended(&fresh, 200, "a first request");
    check_ended(&used, 200, "one more request");
    assert_int_equal(server_connections(server), 0);
}

/* Who connected before the listener was closed is not reset, but accepted and answered. */
static void test_drain_accepts_who_waits(void **state)
{
    (void)state;
    struct reader reader = {.fd = fake_connect(io, "10.0.0.9:5555")};
    feed(reader.fd, GET("/text/3"));
    drain();
    check_ended(&reader, 200, "who was not accepted yet");
}

/* A request that was sent before the end was told is answered. */
static void test_drain_answers_what_has_come(void **state)
{
    (void)state;
    struct reader reader = {.fd = client_new_settled()};
    feed(reader.fd, GET("/text/3"));
    drain();
    check_ended(&reader, 200, "a request that has come");
}

static void test_drain_lets_requests_become_complete(void **state)
{
    (void)state;
    struct reader head = {.fd = client_new_settled()}, body = {.fd = client_new_settled()};
    struct reader large = {.fd = client_new_settled()};
    feed(head.fd, "GET /text/3 HT");
    feed_body_head(body.fd, "/sum/9", 100);
    feed_bytes(body.fd, 0, 50);
    feed_body_head(large.fd, "/sum/20000", 100000);
    feed_bytes(large.fd, 0, 50000);
    settle();
    drain();
    assert_true(is_open(head.fd) && is_open(body.fd) && is_open(large.fd));
    feed(head.fd, "TP/1.1\r\nHost: h\r\n\r\n" GET("/text/4"));
    feed_bytes(body.fd, 50, 50);
    feed_bytes(large.fd, 50000, 50000);
    settle();
    check_ended(&head, 200, "a head under way");
    check_ended(&body, 200, "a body under way");
    check_ended(&large, 200, "a large body under way");
}

static void test_drain_ends_holds(void **state)
{
    (void)state;
    struct reader readers[10];
    for (size_t i = 0; i < COUNT(readers); i++) {
        readers[i] = (struct reader){.fd = client_new_settled()};
        feed(readers[i].fd, GET("/hold/3600000000"));
    }
    settle();
    drain();
    assert_int_equal(server_held(server), 0);
    for (size_t i = 0; i < COUNT(readers); i++)
        check_ended(&readers[i], 200, "a held request");
}

static void test_drain_ends_streams_with_their_end(void **state)
{
    (void)state;
    for (int slow = 0; slow < 2; slow++) {
        struct reader reader = {.fd = client_new_settled()};
        fake_socket(io, reader.fd)->space = 3 * STREAM_PIECE_BYTES;
        feed(reader.fd, GET("/stream/30"));
        settle();
        drain();
        assert_true(is_open(reader.fd));
        for (int i = 0; i < 100; i++) {
            fake_socket(io, reader.fd)->space = slow ? 7777 : SIZE_MAX;
            settle();
        }
        expect_stream(&reader, 30);
        expect_nothing(&reader);
        check(!is_open(reader.fd), "slow: %d", slow);
        tear_down(NULL);
        set_up(NULL);
    }
}

static void test_drain_ends_blocked_answers_with_their_end(void **state)
{
    (void)state;
    struct reader reader = {.fd = client_new_settled()}, more = {.fd = client_new_settled()};
    fake_socket(io, reader.fd)->space = fake_socket(io, more.fd)->space = 1000;
    feed(reader.fd, GET("/ref/50000"));
    for (int i = 0; i < 3; i++) /* more than is written at a time */
        feed(more.fd, GET("/text/120000"));
    feed(more.fd, GET("/text/3"));
    settle();
    drain();
    assert_true(is_open(reader.fd) && is_open(more.fd));
    fake_socket(io, reader.fd)->space = fake_socket(io, more.fd)->space = SIZE_MAX;
    settle();
    expect_bytes(&reader, 50000);
    expect_nothing(&reader);
    assert_false(is_open(reader.fd));
    for (int i = 0; i < 3; i++)
        expect_bytes(&more, 120000);
    check_ended(&more, 200, "a request behind a blocked answer");
}

static void test_drain_of_what_ends_already(void **state)
{
    (void)state;
    struct reader finishing = {.fd = client_new_settled()},
                  lingering = {.fd = client_new_settled()};
    fake_socket(io, finishing.fd)->space = 50;
    feed(finishing.fd, "GET /text/500 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    feed(lingering.fd, "BAD\r\n\r\n");
    settle();
    drain();
    assert_true(is_open(finishing.fd) && is_open(lingering.fd));
    fake_socket(io, finishing.fd)->space = SIZE_MAX;
    pass(SERVER_LINGER_US + 1);
    expect_bytes(&finishing, 500);
    assert_false(is_open(finishing.fd) || is_open(lingering.fd));
}

static void test_destroy_in_the_middle_of_everything(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "GET /te",
        "PUT /sum/9 HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nabc",
        GET("/hold/9000000") GET("/text/1"),
        GET("/stream/1000"),
        GET("/ref/900000"),
        "BAD\r\n\r\n",
    };
    for (size_t i = 0; i < COUNT(texts); i++)
        for (int turns = 0; turns < 3; turns++) {
            int fd = client_new_settled();
            fake_socket(io, fd)->space = 1000;
            feed(fd, texts[i]);
            for (int t = 0; t < turns; t++)
                loop_turn(&loop, 0);
        }
    /* The rest is the tear-down's. */
}

/* All at random */

struct storm_client {
    struct reader reader;
    struct {
        enum what what;
        size_t number;
    } asked[STORM_REQUESTS];
    size_t asked_count, answered;
    char *text; /* of all its requests */
    size_t len, fed;
};

static void storm_ask(struct storm_client *client, struct chance *chance)
{
    static const enum what whats[] = {TEXT, TEXT, TEXT, REF, SUM, SUM, SUM, HOLD, STREAM, IGNORE};
    enum what what = whats[chance_below(chance, COUNT(whats))];
    size_t most = what == STREAM ? 9 : what == HOLD ? 3000 : chance_once_in(chance, 2) ? 60000 : 60;
    size_t number = chance_below(chance, most), used = client->len;
    client->text = realloc(client->text, used + 200000);
    char *at = client->text + used;
    if (what == SUM && chance_once_in(chance, 2)) {
        used += (size_t)sprintf(
            at, "PUT /sum/%zu HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", number);
        for (size_t put = 0; put < number;) {
            size_t chunk = 1 + chance_below(chance, number - put);
            used += (size_t)sprintf(client->text + used, "%zx\r\n", chunk);
            memcpy(client->text + used, bytes + put, chunk);
            used += chunk;
            used += (size_t)sprintf(client->text + used, "\r\n");
            put += chunk;
        }
        used += (size_t)sprintf(client->text + used, "0\r\n\r\n");
    } else if (what == SUM || what == IGNORE) {
        used +=
            (size_t)sprintf(at, "PUT /%s/%zu HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n",
                            names[what], number, number);
        memcpy(client->text + used, bytes, number);
        used += number;
    } else {
        used += (size_t)sprintf(at, "GET /%s/%zu HTTP/1.1\r\nHost: h\r\n\r\n", names[what], number);
    }
    client->len = used;
    client->asked[client->asked_count].what = what;
    client->asked[client->asked_count++].number = number;
}

static void storm_expect(struct storm_client *client)
{
    for (size_t i = 0; i < client->asked_count; i++) {
        size_t number = client->asked[i].number;
        switch (client->asked[i].what) {
        case TEXT:
        case REF:
            expect_bytes(&client->reader, number);
            break;
        case SUM:
            expect_sum(&client->reader, number);
            break;
        case HOLD:
            expect(&client->reader, 200, NULL);
            break;
        case STREAM:
            expect_stream(&client->reader, number);
            break;
        default:
            expect(&client->reader, 200, "ignored\n");
            break;
        }
    }
    expect_nothing(&client->reader);
}

static void storm_step(struct storm_client *client, struct chance *chance)
{
    struct fake_socket *socket = fake_socket(io, client->reader.fd);
    size_t piece = chance_below(chance, chance_once_in(chance, 3) ? 60000 : 300);
    piece = piece < client->len - client->fed ? piece : client->len - client->fed;
    fake_feed(io, client->reader.fd, (struct slice){client->text + client->fed, piece});
    client->fed += piece;
    socket->recv_max = 1 + chance_below(chance, chance_once_in(chance, 2) ? 60000 : 100);
    socket->space = chance_below(chance, chance_once_in(chance, 3) ? 100000 : 3000);
}

/* Clients that ask for everything, in pieces of any size, and read at any speed: each gets its
 * answers, in order. */
static void test_storm(void **state)
{
    (void)state;
    struct chance chance = chance_start(30);
    for (int round = 0; round < 10; round++) {
        static struct storm_client clients[STORM_CLIENTS];
        memset(clients, 0, sizeof clients);
        mine.held_count = 0;
        bool left = true;
        for (size_t i = 0; i < STORM_CLIENTS; i++) {
            clients[i].reader.fd = client_new_settled();
            for (int n = 0; n < STORM_REQUESTS; n++)
                storm_ask(&clients[i], &chance);
        }
        for (int turns = 0; left && turns < 30000; turns++) {
            storm_step(&clients[chance_below(&chance, STORM_CLIENTS)], &chance);
            loop_turn(&loop, chance_once_in(&chance, 5) ? 1000 : 0);
            if (mine.held_count && mine.held[mine.held_count - 1] && chance_once_in(&chance, 3))
                server_answer(mine.held[mine.held_count - 1], answer_early);
            left = false;
            for (size_t i = 0; i < STORM_CLIENTS; i++)
                left |= clients[i].fed < clients[i].len;
        }
        for (size_t i = 0; i < STORM_CLIENTS; i++) {
            fake_socket(io, clients[i].reader.fd)->space = SIZE_MAX;
            fake_socket(io, clients[i].reader.fd)->recv_max = SIZE_MAX;
        }
        pass(second_us);
        assert_false(left);
        for (size_t i = 0; i < STORM_CLIENTS; i++) {
            storm_expect(&clients[i]);
            assert_true(is_open(clients[i].reader.fd));
            fake_end(io, clients[i].reader.fd);
            free(clients[i].text);
        }
        settle();
        assert_int_equal(server_connections(server), 0);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_one_request),
        TEST(test_one_batch_for_all),
        TEST(test_thousands_at_once),
        TEST(test_one_does_not_hold_up_the_others),
        TEST(test_byte_by_byte),
        TEST(test_many_connections_cut_anywhere),
        TEST(test_answers_of_all_sizes),
        TEST(test_head),
        TEST(test_http_1_0),
        TEST(test_streams_for_http_1_0_end_with_the_connection),
        TEST(test_connection_close),
        TEST(test_bad_heads),
        TEST(test_bodies_around_the_read_size),
        TEST(test_bodies_keep_their_order),
        TEST(test_chunked_bodies),
        TEST(test_bad_chunks),
        TEST(test_ignored_bodies),
        TEST(test_expect_continue),
        TEST(test_refusals),
        TEST(test_refusal_with_the_whole_body),
        TEST(test_hold_ends_with_its_time),
        TEST(test_hold_that_is_answered),
        TEST(test_hold_outlasts_the_other_limits),
        TEST(test_hold_behind_a_blocked_answer),
        TEST(test_many_holds),
        TEST(test_clients_that_leave_while_held),
        TEST(test_half_close_behind_two_holds),
        TEST(test_pipelined_holds),
        TEST(test_input_while_held_has_a_limit),
        TEST(test_streams),
        TEST(test_streams_with_a_slow_client),
        TEST(test_pipelining_behind_a_slow_stream),
        TEST(test_broken_streams),
        TEST(test_many_streams_share),
        TEST(test_streams_leave_time_for_others),
        TEST(test_large_bodies_leave_time_for_others),
        TEST(test_large_chunks_leave_time_for_others),
        TEST(test_refused_ones_leave_time_for_others),
        TEST(test_streams_leave_time_for_late_answers),
        TEST(test_late_answers_leave_time_for_streams),
        TEST(test_slow_readers_leave_time_for_others),
        TEST(test_newcomers_leave_time_for_others),
        TEST(test_clients_that_leave),
        TEST(test_reset_in_the_middle_of_a_batch),
        TEST(test_half_closed_clients_get_their_answers),
        TEST(test_idle),
        TEST(test_idle_behind_an_empty_line),
        TEST(test_idle_and_woken_late),
        TEST(test_heads_in_time),
        TEST(test_time_begins_anew_with_each_request),
        TEST(test_time_of_a_body_behind_a_blocked_answer),
        TEST(test_bodies_in_time),
        TEST(test_stalled_clients),
        TEST(test_stall_time_is_kept),
        TEST(test_lingering_has_its_time),
        TEST(test_allow_list),
        TEST(test_connections_max),
        TEST(test_accept_pauses),
        TEST(test_accept_resumes),
        TEST(test_other_accept_errors_are_nothing),
        TEST(test_watch_errors),
        TEST(test_listen_errors),
        TEST(test_server_without_memory),
        TEST(test_clients_without_memory),
        TEST(test_drain_takes_nobody_new),
        TEST(test_drain_ends_what_is_idle),
        TEST(test_drain_waits_a_moment_for_who_is_busy),
        TEST(test_drain_accepts_who_waits),
        TEST(test_drain_answers_what_has_come),
        TEST(test_drain_lets_requests_become_complete),
        TEST(test_drain_ends_holds),
        TEST(test_drain_ends_streams_with_their_end),
        TEST(test_drain_ends_blocked_answers_with_their_end),
        TEST(test_drain_of_what_ends_already),
        TEST(test_destroy_in_the_middle_of_everything),
        TEST(test_storm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
