/* A front-end over a fake io, in virtual time; the test plays its clients and the two nodes of its one cluster, and those of another one
 * that keys move from, or are to move to. Linked with --wrap for malloc, calloc, realloc and pool_take: see failing.h. */
#include "role/frontend_state.h"

#include <errno.h>

#include "answer.h"
#include "failing.h"
#include "fake_io.h"
#include "role/backend.h"
#include "role/haul.h"
#include "role/lane.h"
#include "role/partition.h"
#include "role/relay.h"
#include "role/search.h"
#include "unit.h"

enum {
    MS = 1000,
    SECOND = 1000 * MS,
    ASKED_MAX = 256,
    VALUE_BYTES = 500 * 1000,
    FILES_MAX = 2048,
    PIECE_BYTES = 10000,
};

static struct fake_io *io;
static struct loop loop;
static struct log quiet;
static struct frontend *frontend;
static char value[VALUE_BYTES];

/* Nodes: whatever connects and is no client of the test's. Their hellos are answered at once; the rest is for the test. */

struct asked {
    int fd;
    char text[600]; /* the head */
};

static struct {
    bool is_client[FILES_MAX], deaf; /* deaf: nobody answers anything */
    size_t taken[FILES_MAX];
    struct asked asked[ASKED_MAX];
    unsigned count;
    bool closed_for[4]; /* a node that does not answer hellos */
    bool foreign[4];    /* of another cluster */
    bool alone;         /* each lists only itself */
    const char *partition;
} nodes;

static char logged[16 * 1024]; /* all of it, as far as there is room */

static bool log_keep(void *sink, const char *line, unsigned len)
{
    size_t end = strlen(logged);
    (void)sink;
    if (end + len < sizeof logged)
        memcpy(logged + end, line, len);
    return true;
}

static uint64_t log_clock(void *clock)
{
    (void)clock;
    return 0;
}

/* 0 and 1 are of its cluster, 2 and 3 of the other one. */
static unsigned node_of(int fd)
{
    return fake_socket(io, fd)->peer.ip[15] - 1u;
}

static void say(int fd, const char *text)
{
    if (fake_socket(io, fd)->open)
        fake_feed(io, fd, slice_of(text));
}

static void say_hello(int fd)
{
    char body[400], text[600];
    unsigned node = node_of(fd) + 1, fellow = (node_of(fd) ^ 1) + 1;
    snprintf(body, sizeof body,
             "protocol 1\ncluster %s\npartition %s\njoined 1\nclock %llu\n"
             "member 10.0.0.%u:8000 ready 000000000000000%u 1 0 0\n"
             "member 10.0.0.%u:8000 %s 000000000000000%u 1 0 0\n",
             nodes.foreign[node - 1] ? "foreign" : "fog", nodes.partition,
             (unsigned long long)(io->now_us + io->wall_ahead_us), node, node, fellow,
             nodes.alone ? "left" : "ready", fellow);
    snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(body),
             body);
    say(fd, text);
}

static void node_hears(int fd, struct slice head)
{
    if (nodes.deaf || nodes.closed_for[node_of(fd)])
        return;
    if (slice_starts(head, SLICE("GET /-/ready ")))
        say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    else if (slice_starts(head, SLICE("GET /-/members ")))
        say_hello(fd);
    else if (nodes.count < ASKED_MAX) {
        struct asked *asked = &nodes.asked[nodes.count++];
        asked->fd = fd;
        snprintf(asked->text, sizeof asked->text, "%.*s", (int)head.len, head.data);
    }
}

static size_t body_bytes(struct slice head)
{
    const char *at = memmem(head.data, head.len, "Content-Length: ", 16);
    return at ? strtoul(at + 16, NULL, 10) : 0;
}

static bool node_listens(int fd)
{
    struct slice all = fake_output(io, fd);
    if (nodes.taken[fd] > all.len)
        return false; /* a body that is not whole */
    struct slice rest = {all.data + nodes.taken[fd], all.len - nodes.taken[fd]};
    const char *end = rest.len ? memmem(rest.data, rest.len, "\r\n\r\n", 4) : NULL;
    if (!end)
        return false;
    struct slice head = {rest.data, (size_t)(end - rest.data) + 4};
    nodes.taken[fd] += head.len + body_bytes(head);
    node_hears(fd, head);
    return true;
}

/* Turns until nothing happens any more without time. */
static void settle(void)
{
    bool more = true;
    for (int turns = 0; more || loop.again || io->events > 0; turns++) {
        check(turns < 20000, "it goes on for ever");
        loop_turn(&loop, 0);
        more = false;
        for (int fd = 0; fd < io->count && fd < FILES_MAX; fd++)
            if (io->sockets[fd] && !nodes.is_client[fd] && !io->sockets[fd]->listening)
                while (node_listens(fd))
                    more = true;
    }
}

static void pass(uint64_t us)
{
    uint64_t until = loop.now_us + us;
    settle();
    while (loop.now_us < until) {
        uint64_t step = until - loop.now_us < 10 * MS ? until - loop.now_us : 10 * MS;
        loop_turn(&loop, (int64_t)step);
        settle();
    }
}

/* SIDE_OWN: there are no others. */
static void begin(enum side other_side)
{
    static const char *const seeds[] = {"10.0.0.1:8000", "10.0.0.2:8000"};
    static const char *const others[] = {"10.0.0.3:8000", "10.0.0.4:8000"};
    static const struct frontend_cluster cluster = {seeds, 2}, other = {others, 2};
    struct frontend_config config = {
        .server = {.connections_max = 2000,
                   .idle_us = (uint64_t)300 * SECOND,
                   .request_us = 30 * SECOND,
                   .stall_us = 60 * SECOND},
        .clusters = &cluster,
        .cluster_count = 1,
        .others = &other,
        .other_count = other_side != SIDE_OWN,
        .other_side = other_side,
        .value_max = 1 << 20,
        .drain_us = 5 * SECOND,
    };
    struct address address = {.port = 8000};
    allow_list_private(&config.server.allow);
    memset(&nodes, 0, sizeof nodes);
    memset(logged, 0, sizeof logged);
    nodes.partition = "0/1";
    io = fake_io_new();
    io->may_connect = true;
    loop_init(&loop, &io->io);
    quiet = (struct log){
        .level = LOG_WARN_LEVEL, .journald = false, .wall_us = log_clock, .write = log_keep};
    frontend = frontend_new(&loop, &quiet, &config);
    assert_non_null(frontend);
    assert_int_equal(frontend_listen(frontend, &address, -1), 0);
    for (size_t i = 0; i < sizeof value; i++)
        value[i] = (char)('a' + (i + i / 26 * 7) % 26);
    pass(SECOND);
}

static int set_up(void **state)
{
    (void)state;
    begin(SIDE_OWN);
    return 0;
}

static int set_up_moving(void **state)
{
    (void)state;
    begin(SIDE_PREVIOUS);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    failing_stop();
    frontend_destroy(frontend);
    assert_int_equal(loop.timer_reserved, 0);
    loop_free(&loop);
    fake_io_destroy(io);
    return 0;
}

/* Clients */

struct reader {
    int fd;
    size_t at;
};

static struct reader reader_new(void)
{
    struct reader reader = {.fd = fake_connect(io, "10.0.0.9:5555")};
    nodes.is_client[reader.fd] = true;
    settle();
    return reader;
}

static bool is_open(const struct reader *reader)
{
    const struct fake_socket *socket = fake_socket(io, reader->fd);
    return socket->open && !socket->shut;
}

static void ask(const struct reader *reader, const char *text)
{
    say(reader->fd, text);
    settle();
}

static enum answer_result next_answer(struct reader *reader, struct answer *answer)
{
    struct slice output = fake_output(io, reader->fd);
    struct slice rest = {output.data + reader->at, output.len - reader->at};
    enum answer_result result = answer_parse(&rest, false, !is_open(reader), answer);
    if (result == ANSWER_OK)
        reader->at = output.len - rest.len;
    return result;
}

static void expect(struct reader *reader, unsigned status, const char *body)
{
    struct answer answer;
    check(next_answer(reader, &answer) == ANSWER_OK, "no answer, but %u was due", status);
    check(answer.status == status, "%u in place of %u: %.*s", answer.status, status,
          (int)answer.body.len, answer.body.data);
    if (body)
        check_slice(answer.body, slice_of(body), "body");
}

static void expect_nothing(const struct reader *reader)
{
    assert_int_equal(fake_output(io, reader->fd).len, reader->at);
}

#define GET(key) "GET /" key " HTTP/1.1\r\nHost: h\r\n\r\n"
#define PUT(key) "PUT /" key " HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nxyz"
#define PUT_COPIES(prefer) \
    "PUT /a HTTP/1.1\r\nHost: h\r\nPrefer: " prefer "\r\nContent-Length: 0\r\n\r\n"
#define WAIT(version, fields) \
    "GET /a " version "\r\nHost: h\r\nIf-None-Match: \"1\"\r\nPrefer: wait=60\r\n" fields "\r\n"
#define KEYS "-/keys?limit=5&prefix=a"
#define OK "HTTP/1.1 200 OK\r\nETag: \"1\"\r\nFog-Version: 7\r\nContent-Length: 0\r\n\r\n"

static bool asked_has(unsigned i, const char *text)
{
    return i < nodes.count && strstr(nodes.asked[i].text, text) != NULL;
}

/* The number of the last request for a key. */
static unsigned asked_for(const char *key)
{
    char line[100];
    snprintf(line, sizeof line, " /%s HTTP/1.1\r\n", key);
    for (unsigned i = nodes.count; i > 0; i--)
        if (asked_has(i - 1, line))
            return i - 1;
    fail_msg("nobody was asked for %s", key);
    return 0;
}

/* OK is of version 7. */
static void answer_of_version(const char *key, const char *text, unsigned version)
{
    char answer[300];
    snprintf(answer, sizeof answer,
             "HTTP/1.1 200 OK\r\nETag: \"%s\"\r\nFog-Version: %u\r\nContent-Length: %zu\r\n\r\n%s",
             text, version, strlen(text), text);
    say(nodes.asked[asked_for(key)].fd, answer);
    settle();
}

static void answer_value(const char *key, const char *text)
{
    answer_of_version(key, text, 7);
}

static void lose(int fd)
{
    fake_break(io, fd, -ECONNRESET);
    settle();
}

/* A value of `all` bytes: its head, and some of it. */
static void answer_part(int fd, const char *etag, size_t all, size_t from, size_t bytes)
{
    char head[200];
    snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nETag: \"%s\"\r\nContent-Length: %zu\r\n\r\n",
             etag, all);
    if (from == 0)
        say(fd, head);
    fake_feed(io, fd, (struct slice){value + from, bytes});
    settle();
}

static void expect_bytes(struct reader *reader, size_t bytes)
{
    struct answer answer;
    check(next_answer(reader, &answer) == ANSWER_OK, "the value");
    assert_int_equal(answer.body.len, bytes);
    assert_memory_equal(answer.body.data, value, bytes);
}

/* A long value. */
static void answer_long(int fd, const char *etag, size_t from, size_t bytes)
{
    answer_part(fd, etag, VALUE_BYTES, from, bytes);
}

static void expect_long(struct reader *reader)
{
    expect_bytes(reader, VALUE_BYTES);
}

/* Pipelining */

/* The nodes answer in any order, the client hears in its own. */
static void test_answers_in_order(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader, GET("a") GET("b") GET("c") GET("d") GET("e") GET("f"));
    assert_int_equal(nodes.count, 6);
    const char *keys[] = {"a", "b", "c", "d", "e", "f"};
    for (unsigned node = 2; node-- > 0;) /* all that one was asked, then the other */
        for (unsigned i = 0; i < COUNT(keys); i++)
            if (node_of(nodes.asked[asked_for(keys[i])].fd) == node)
                answer_value(keys[i], keys[i]);
    for (unsigned i = 0; i < COUNT(keys); i++)
        expect(&reader, 200, keys[i]);
    expect_nothing(&reader);
}

/* Answers that were waited for go out in the turn in which they come, however many these are, and however long that takes. */
static void test_answers_in_one_turn(void **state)
{
    (void)state;
    struct reader readers[40];
    for (size_t i = 0; i < COUNT(readers); i++) {
        readers[i] = reader_new();
        ask(&readers[i], GET("a"));
    }
    assert_int_equal(nodes.count, COUNT(readers));
    for (size_t i = 0; i < COUNT(readers); i++)
        say(nodes.asked[i].fd, OK);
    io->tick_us = LOOP_SHARE_US / 4;
    loop_turn(&loop, 0);
    for (size_t i = 0; i < COUNT(readers); i++)
        expect(&readers[i], 200, "");
}

/* What is not for a node waits for those before it. */
static void test_others_wait(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader,
        GET("a") GET("-/healthy") "PATCH /a HTTP/1.1\r\nHost: h\r\n\r\n" GET("%zz") GET("b"));
    expect_nothing(&reader);
    assert_int_equal(nodes.count, 1);
    answer_value("a", "one");
    expect(&reader, 200, "one");
    expect(&reader, 200, "healthy\n");
    expect(&reader, 405, NULL);
    expect(&reader, 400, NULL);
    answer_value("b", "two");
    expect(&reader, 200, "two");
}

static void test_half_closed(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader, GET("a") GET("b"));
    fake_end(io, reader.fd);
    settle();
    answer_value("b", "two");
    answer_value("a", "one");
    expect(&reader, 200, "one");
    expect(&reader, 200, "two");
    assert_false(is_open(&reader));
}

static void test_client_leaves(void **state)
{
    (void)state;
    struct reader reader = reader_new(), other = reader_new();
    ask(&reader, GET("a") GET("b") PUT("c"));
    lose(reader.fd);
    assert_int_equal(frontend->relays.used, 0);
    ask(&other, GET("d"));
    answer_value("a", "one"); /* to nobody */
    answer_value("b", "two");
    say(nodes.asked[asked_for("c")].fd, OK);
    answer_value("d", "four");
    expect(&other, 200, "four");
}

/* As a gateway (RFC 9110, 7.6) */

/* Who has passed a request on stands in it, this front-end last, with the version that it came in. */
static void test_via(void **state)
{
    (void)state;
    struct reader reader = reader_new(), old = reader_new();
    ask(&reader, GET("a") PUT("b"));
    assert_true(asked_has(asked_for("a"), "\r\nVia: 1.1 fog\r\n"));
    assert_true(asked_has(asked_for("b"), "\r\nVia: 1.1 fog\r\n"));
    ask(&reader, "GET /c HTTP/1.9\r\nHost: h\r\nVia: 1.0 one, 1.1 two\r\nvia: 2 three\r\n\r\n");
    assert_true(
        asked_has(asked_for("c"), "\r\nVia: 1.0 one, 1.1 two\r\nVia: 2 three\r\nVia: 1.1 fog\r\n"));
    ask(&old, "GET /d HTTP/1.0\r\n\r\n");
    assert_true(asked_has(asked_for("d"), "\r\nVia: 1.0 fog\r\n"));
    assert_true(asked_has(asked_for("d"), "\r\nHost: "));
}

/* What nodes look at is passed on to them as it came; all else, and so what is about the client's connection, is not. */
static void test_fields_for_nodes(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader, "GET /a HTTP/1.1\r\nHost: secret\r\nConnection: X-Hop, "
                 "If-Modified-Since\r\nX-Hop: secret\r\n"
                 "Keep-Alive: secret\r\nProxy-Connection: secret\r\nTE: secret\r\nTrailer: "
                 "secret\r\nUpgrade: "
                 "secret\r\nProxy-Authorization: secret\r\nIf-Match: \"x\"\r\nIf-Match: *\r\n"
                 "If-None-Match: W/\"y\", \"z\"\r\nIf-None-Match: *\r\nPrefer: odd\r\n\r\n");
    unsigned asked = asked_for("a");
    assert_true(asked_has(asked, "\r\nIf-Match: \"x\"\r\nIf-Match: *\r\n"));
    assert_true(asked_has(asked, "\r\nIf-None-Match: W/\"y\", \"z\"\r\nIf-None-Match: *\r\n"));
    assert_true(asked_has(asked, "\r\nPrefer: odd\r\n"));
    assert_false(asked_has(asked, "secret"));
    assert_false(asked_has(asked, "Connection"));
    reader = reader_new();
    ask(&reader, "PUT /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                 "3;secret\r\nxyz\r\n0\r\nFog-TTL: secret\r\nContent-Type: secret\r\n\r\n");
    asked = asked_for("b");
    assert_true(asked_has(asked, "\r\nContent-Length: 3\r\n"));
    assert_false(asked_has(asked, "Transfer-Encoding"));
    assert_false(asked_has(asked, "secret"));
}

/* What a client may say fits into a head together with all that a front-end adds. */
static void test_most_fields(void **state)
{
    static const char *const heads[] = {
        "GET /a HTTP/1.1\r\nHost: h\r\nPrefer: wait=9\r\n",
        "PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nFog-After: 5\r\nPrefer: copies=2, "
        "wait=9\r\n",
    };
    (void)state;
    for (size_t i = 0; i < COUNT(heads); i++) {
        struct reader reader = reader_new();
        char text[600];
        size_t used = (size_t)snprintf(text, sizeof text, "%s", heads[i]);
        for (size_t known = i + 1; known < HTTP_FIELDS_OWN; known++)
            used += (size_t)snprintf(text + used, sizeof text - used, "If-None-Match: \"%zu\"\r\n",
                                     known);
        snprintf(text + used, sizeof text - used, "\r\n");
        if (i == 1) /* a condition on a write is refused */
            for (char *at = text; (at = strstr(at, "If-None-Match: "));)
                memcpy(at, "Prefer: x=y; a=", 15);
        nodes.count = 0;
        ask(&reader, text);
        lose(nodes.asked[0].fd);
        pass(RELAY_LATE_US + 2 * FRONTEND_TICK_US);
        assert_int_equal(nodes.count, 2);
        for (unsigned n = 0; n < 2; n++) {
            struct http_head head;
            struct http_error error;
            const char *said = nodes.asked[n].text;
            check(http_head_parse(NULL, said, strlen(said), &head, &error) == HTTP_OK, "%s", said);
        }
    }
}

/* What a node says of its connection stays there, however it writes it; a Date is this front-end's own, and there is one length. */
static void test_fields_of_nodes(void **state)
{
    static const char *const heads[] = {
        "ETag: \"1\"\r\nDate: secret\r\nConnection: X-Hop\r\nX-Hop: secret\r\nKeep-Alive: "
        "secret\r\nX-Own: x\r\nContent-Length: 3\r\n",
        "etag: \"1\"\r\ndate: secret\r\nx-hop: secret\r\nconnection: , close ,x-HOP,\r\n"
        "X-Own: x\r\nkeep-alive: secret\r\ncontent-length: 3\r\n",
        "x-own: x\r\nX-Hop: secret\r\nX-Hop: secret\r\nX-Ho: y\r\nX-Hops: z\r\nX-Two: secret\r\n"
        "Connection: keep-alive, X-Hop\r\nCONNECTION: x-two\r\nContent-Length: 3\r\n",
        "ETag: \"1\"\r\nX-Own: x\r\nContent-Length: 3\r\n",
    };
    (void)state;
    struct reader reader = reader_new();
    for (size_t i = 0; i < COUNT(heads); i++) {
        char text[400];
        struct answer answer;
        snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\n%s\r\nabc", heads[i]);
        ask(&reader, GET("a"));
        say(nodes.asked[asked_for("a")].fd, text);
        settle();
        assert_int_equal(next_answer(&reader, &answer), ANSWER_OK);
        check_slice(answer.body, SLICE("abc"), "the value");
        check_slice(answer_field(&answer, "X-Own"), SLICE("x"), "a field of the node's");
        assert_int_equal(answer_field(&answer, "Date").len, 29);
        assert_null(memmem(answer.head.data, answer.head.len, "secret", 6));
        assert_null(answer_field(&answer, "Connection").data);
        pass(SECOND);
    }
}

/* One that this front-end does not know is passed on, with the blank that must stand behind it. */
static void test_odd_statuses(void **state)
{
    static const char *const statuses[] = {"299", "418", "451", "499", "599"};
    (void)state;
    struct reader reader = reader_new();
    for (size_t i = 0; i < COUNT(statuses); i++) {
        char text[100], wanted[20];
        snprintf(text, sizeof text, "HTTP/1.1 %s\r\nContent-Length: 2\r\n\r\nab", statuses[i]);
        snprintf(wanted, sizeof wanted, "HTTP/1.1 %s \r\n", statuses[i]);
        ask(&reader, GET("a"));
        say(nodes.asked[asked_for("a")].fd, text);
        settle();
        struct slice output = fake_output(io, reader.fd);
        struct slice answer = {output.data + reader.at, output.len - reader.at};
        check(slice_starts(answer, slice_of(wanted)), "%s: %.*s", statuses[i], (int)answer.len,
              answer.data);
        check_slice((struct slice){answer.data + answer.len - 6, 6}, SLICE("\r\n\r\nab"), "body");
        reader.at = output.len;
    }
}

/* A 304 may say how long the value is that it stands for (RFC 9110, 8.6); it has no body all the same. */
static void test_unchanged_long_value(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader, "GET /a HTTP/1.1\r\nHost: h\r\nIf-None-Match: \"1\"\r\n\r\n" GET("b"));
    say(nodes.asked[asked_for("a")].fd,
        "HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\nContent-Length: 500000\r\n\r\n");
    settle();
    answer_value("b", "two");
    expect(&reader, 304, "");
    expect(&reader, 200, "two");
}

/* A node ends the connection that several share in the midst of them, or says more than it was asked for: those behind are asked again,
 * once, and none of them hears what was not for it. */
static void test_end_of_what_is_shared(void **state)
{
    static const char *const ends[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n1",
        "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n1",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1more than it said",
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n1"
         "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong"),
    };
    (void)state;
    nodes.closed_for[1] = true;
    pass(3 * SECOND);
    for (size_t i = 0; i < COUNT(ends); i++) {
        struct reader first = reader_new(), second = reader_new(), third = reader_new();
        uint64_t retries = frontend->counters.retries;
        nodes.count = 0;
        ask(&first, GET("a"));
        ask(&second, GET("b"));
        ask(&third, GET("c") PUT("d"));
        assert_int_equal(nodes.asked[3].fd, nodes.asked[0].fd);
        say(nodes.asked[0].fd, ends[i]);
        settle();
        expect(&first, 200, "1");
        pass(RELAY_LATE_US + 2 * FRONTEND_TICK_US);
        assert_int_equal(nodes.count, 4 + 3);
        assert_int_equal(frontend->counters.retries, retries + 3);
        assert_true(asked_has(6, "PUT /d ") && asked_has(6, "Fog-Version: "));
        answer_value("b", "two");
        answer_value("c", "three");
        answer_value("d", "");
        expect(&second, 200, "two");
        expect(&third, 200, "three");
        expect(&third, 200, "");
        pass(SECOND);
    }
}

/* Interim answers are for this front-end, which has asked for none. */
static void test_interim_answers(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader, GET("a") GET("b"));
    int fd = nodes.asked[asked_for("a")].fd;
    say(fd, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n");
    settle();
    expect_nothing(&reader);
    answer_value("a", "one");
    answer_value("b", "two");
    expect(&reader, 200, "one");
    expect(&reader, 200, "two");
}

/* An answer that can be read in two ways is none: its connection ends, and another node is asked. */
static void test_malformed_answers(void **state)
{
    static const char *const answers[] = {
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    };
    (void)state;
    for (size_t i = 0; i < COUNT(answers); i++) {
        struct reader reader = reader_new();
        ask(&reader, GET("a"));
        unsigned first = asked_for("a");
        say(nodes.asked[first].fd, answers[i]);
        settle();
        unsigned again = asked_for("a");
        check(again != first, "row %zu: nobody else was asked", i);
        check(!fake_socket(io, nodes.asked[first].fd)->open, "row %zu: its connection stands", i);
        say(nodes.asked[again].fd, OK);
        settle();
        expect(&reader, 200, "");
        expect_nothing(&reader);
        pass(2 * SECOND);
    }
}

/* What made no sense at one node, until that was lost, says nothing of what another one answers. */
static void test_nonsense_and_then_sense(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader, GET("a"));
    say(nodes.asked[0].fd, "HTTP/1.1 200 OK\r\n\r\nno end");
    settle();
    lose(nodes.asked[0].fd);
    answer_value("a", "value");
    expect(&reader, 200, "value");
}

/* When all that are asked talk nonsense, the client is told so. */
static void test_nothing_but_nonsense(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader, GET("a"));
    for (unsigned i = 0; i < nodes.count && i < RELAY_TRIES_MAX; i++) {
        say(nodes.asked[i].fd, "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n");
        pass(2 * SECOND);
    }
    expect(&reader, 502, "No node of this key's partition has answered so that it made sense.\n");
}

/* Tries */

/* The first try must be carried out soon or never; the second comes after that, and has the first one's version. */
static void test_write_again(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader, PUT("a"));
    unsigned first = asked_for("a");
    assert_true(asked_has(first, "Fog-Before: "));
    assert_false(asked_has(first, "Fog-Version: "));
    unsigned node = node_of(nodes.asked[first].fd);
    uint64_t clock_us = io->now_us + io->wall_ahead_us;
    uint64_t before_us = strtoull(strstr(nodes.asked[first].text, "Fog-Before: ") + 12, NULL, 10);
    assert_true(before_us <= clock_us + RELAY_LATE_US);
    lose(nodes.asked[first].fd);
    pass(RELAY_LATE_US - FRONTEND_TICK_US);
    assert_int_equal(asked_for("a"), first);
    pass(2 * FRONTEND_TICK_US);
    unsigned again = asked_for("a");
    assert_int_not_equal(again, first);
    assert_int_not_equal(node_of(nodes.asked[again].fd), node);
    assert_false(asked_has(again, "Fog-Before: "));
    const char *at = strstr(nodes.asked[again].text, "Fog-Version: ");
    assert_non_null(at);
    uint64_t version = strtoull(at + 13, NULL, 10);
    assert_true(version <= clock_us && version + SECOND > clock_us);
    say(nodes.asked[again].fd, OK);
    settle();
    expect(&reader, 200, "");
}

/* One that no node can have carried out is made anew: with the version of its first try it could lose to what the key had before that. */
static void test_refused_write(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader, PUT("a"));
    say(nodes.asked[0].fd, "HTTP/1.1 503 Leaving\r\nContent-Length: 0\r\n\r\n");
    settle();
    assert_int_equal(nodes.count, 2);
    assert_int_not_equal(node_of(nodes.asked[1].fd), node_of(nodes.asked[0].fd));
    assert_true(asked_has(1, "Fog-Before: "));
    assert_false(asked_has(1, "Fog-Version: "));
    say(nodes.asked[1].fd, OK);
    settle();
    expect(&reader, 200, "");
}

#define LATE "HTTP/1.1 412 Late\r\nContent-Length: 0\r\n\r\n"

static uint64_t number_in(unsigned asked, const char *field)
{
    const char *at = strstr(nodes.asked[asked].text, field);
    return at ? strtoull(at + strlen(field), NULL, 10) : 0;
}

/* A node's clock was set forward, and this front-end does not know yet. A write that is refused for that is made anew, as a later
 * version than what its client has seen there: by the same node, whose clock the next hello tells. */
static void test_late_write(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    io->wall_ahead_us += 10 * SECOND;
    uint64_t clock_us = io->now_us + io->wall_ahead_us;
    ask(&reader, PUT("a"));
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(nodes.count, i + 1);
        assert_true(number_in(i, "Fog-Before: ") < clock_us);
        assert_false(asked_has(i, "Fog-Version: "));
        say(nodes.asked[i].fd, LATE);
        settle();
    }
    assert_int_equal(nodes.count, 2);
    pass(BACKEND_HELLO_US + 2 * FRONTEND_TICK_US);
    assert_int_equal(nodes.count, 3);
    assert_int_equal(node_of(nodes.asked[2].fd), node_of(nodes.asked[0].fd));
    assert_true(number_in(2, "Fog-Before: ") > clock_us);
    assert_false(asked_has(2, "Fog-Version: "));
    say(nodes.asked[2].fd, OK);
    settle();
    expect(&reader, 200, "");
}

/* Writes /a, and before it a key whose home is the other node. */
static void write_two_homes(struct reader *reader)
{
    for (int key = 'b'; key <= 'z'; key++) {
        char text[200];
        nodes.count = 0;
        snprintf(text, sizeof text, "PUT /%c HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
                 key);
        ask(reader, text);
        ask(reader, PUT("a"));
        assert_int_equal(nodes.count, 2);
        if (nodes.asked[0].fd != nodes.asked[1].fd)
            return;
        say(nodes.asked[0].fd, OK OK);
        settle();
        expect(reader, 200, "");
        expect(reader, 200, "");
    }
    fail_msg("no such key");
}

/* Of two writes of a key the second one is not sent before the first one has its answer: carried out or not when its connection breaks,
 * tried again or refused as too late, it cannot come after the second one. What is behind them does not wait. */
static void test_write_behind_a_write(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    write_two_homes(&reader);
    ask(&reader, PUT("a") GET("B"));
    assert_true(nodes.count == 3 && asked_has(2, "GET /B "));
    say(nodes.asked[0].fd, OK);
    settle();
    expect(&reader, 200, "");
    assert_int_equal(nodes.count, 3);
    lose(nodes.asked[1].fd);
    answer_value("B", "value");
    pass(SECOND);
    unsigned again = asked_for("a");
    assert_true(again > 2 && asked_has(again, "Fog-Version: "));
    say(nodes.asked[again].fd, OK);
    settle();
    expect(&reader, 200, "");
    unsigned second = asked_for("a");
    assert_true(second > again && !asked_has(second, "Fog-Version: "));
    say(nodes.asked[second].fd, OK);
    settle();
    expect(&reader, 200, "");
    expect(&reader, 200, "value");
}

/* A read of the key is sent when the write has its answer, however often that is tried, and to where it was carried out. */
static void test_read_behind_a_write(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader, PUT("a") GET("a") GET("a") PUT("a") GET("a"));
    say(nodes.asked[0].fd, LATE);
    settle();
    lose(nodes.asked[1].fd);
    pass(SECOND);
    assert_true(nodes.count == 3 && asked_has(2, "PUT /a "));
    unsigned writer = node_of(nodes.asked[2].fd);
    say(nodes.asked[2].fd, OK);
    settle();
    expect(&reader, 200, "");
    assert_int_equal(nodes.count, 5);
    for (unsigned i = 3; i < 5; i++)
        assert_true(asked_has(i, "GET /a ") && node_of(nodes.asked[i].fd) == writer);
    answer_value("a", "new");
    answer_value("a", "new");
    expect(&reader, 200, "new");
    expect(&reader, 200, "new");
    assert_true(nodes.count == 6 && asked_has(5, "PUT /a "));
    say(nodes.asked[5].fd, "HTTP/1.1 507 Full\r\nContent-Length: 0\r\n\r\n");
    settle();
    expect(&reader, 507, "");
    assert_true(nodes.count == 7 && asked_has(6, "GET /a "));
}

/* The write's answer waits for its turn for long: for who hears of it then it was just written. */
static void test_read_behind_an_answered_write(void **state)
{
    (void)state;
    struct reader reader = reader_new(), other = reader_new();
    write_two_homes(&reader);
    unsigned writer = node_of(nodes.asked[1].fd);
    say(nodes.asked[1].fd, OK);
    settle();
    pass(RECENT_US);
    for (unsigned i = 2; i < 10; i++) {
        ask(&reader, GET("a"));
        assert_int_equal(node_of(nodes.asked[i].fd), writer);
    }
    say(nodes.asked[0].fd, OK);
    settle();
    expect(&reader, 200, "");
    expect(&reader, 200, "");
    for (unsigned i = 10; i < 18; i++) {
        ask(&other, GET("a"));
        assert_int_equal(node_of(nodes.asked[i].fd), writer);
    }
}

/* What waits at a node begins to do so when it is sent. */
static void test_wait_behind_a_read(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader, GET("a") PUT_COPIES("copies=2, wait=3"));
    pass(4 * SECOND);
    assert_int_equal(nodes.count, 1);
    answer_value("a", "old");
    expect(&reader, 200, "old");
    assert_int_equal(nodes.count, 2);
    pass(6 * SECOND);
    assert_int_equal(nodes.count, 2);
    say(nodes.asked[1].fd, OK);
    settle();
    expect(&reader, 200, "");
}

/* Nor does it where its client sends no more meanwhile. */
static void test_hurry_behind_a_write(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader, PUT("a") WAIT("HTTP/1.1", ""));
    fake_end(io, reader.fd);
    settle();
    say(nodes.asked[0].fd, OK);
    settle();
    assert_true(nodes.count == 2 && asked_has(1, "GET /a ") && !asked_has(1, "Prefer"));
    say(nodes.asked[1].fd, OK);
    settle();
    expect(&reader, 200, "");
    expect(&reader, 200, "");
    assert_false(is_open(&reader));
}

/* One that leaves while the second one waits for the first one. */
static void test_leaver_behind_a_write(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader, PUT("a") GET("a") PUT("a"));
    lose(reader.fd);
    assert_true(frontend->relays.used == 0 && frontend->behind == 0);
}

/* An answer that only waits for its turn is one. */
static void test_write_behind_an_answered_write(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    write_two_homes(&reader);
    say(nodes.asked[1].fd, OK);
    settle();
    expect_nothing(&reader);
    ask(&reader, PUT("a"));
    assert_int_equal(nodes.count, 3);
}

/* Soon after a write, reads of it go to who carried it out, and who does not have it yet is not believed. */
static void test_read_after_a_write(void **state)
{
    (void)state;
    struct reader reader = reader_new(), other = reader_new();
    ask(&reader, PUT("a"));
    unsigned writer = node_of(nodes.asked[0].fd);
    say(nodes.asked[0].fd, OK);
    settle();
    expect(&reader, 200, "");
    for (unsigned i = 1; i <= 8; i++) {
        ask(&other, GET("a"));
        assert_int_equal(node_of(nodes.asked[i].fd), writer);
        answer_value("a", "new");
        expect(&other, 200, "new");
    }
    ask(&other, GET("a"));
    lose(nodes.asked[9].fd);
    assert_int_equal(nodes.count, 11);
    assert_int_not_equal(node_of(nodes.asked[10].fd), writer);
    answer_of_version("a", "old", 6);
    assert_int_equal(nodes.count, 12);
    assert_int_equal(node_of(nodes.asked[11].fd), writer);
    answer_value("a", "new");
    expect(&other, 200, "new");
}

/* What is long, and too old, is not waited for; and the next one has a connection of its own. */
static void test_outdated_long_value(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    char head[200];
    ask(&reader, PUT("a"));
    say(nodes.asked[0].fd, OK);
    settle();
    expect(&reader, 200, "");
    ask(&reader, GET("a"));
    lose(nodes.asked[1].fd);
    snprintf(head, sizeof head,
             "HTTP/1.1 200 OK\r\nETag: \"o\"\r\nFog-Version: 6\r\nContent-Length: %d\r\n\r\n",
             VALUE_BYTES);
    for (unsigned i = 2; i < RELAY_TRIES_MAX; i += 2) {
        assert_int_equal(nodes.count, i + 1);
        int fd = nodes.asked[i].fd;
        say(fd, head);
        settle();
        assert_int_equal(nodes.count, i + 2);
        assert_int_equal(fake_socket(io, fd)->open, i == 2); /* the first one was shared */
        assert_int_equal(node_of(nodes.asked[i + 1].fd), node_of(nodes.asked[0].fd));
        assert_int_not_equal(nodes.asked[i + 1].fd, nodes.asked[1].fd);
        lose(nodes.asked[i + 1].fd);
    }
    answer_long(nodes.asked[nodes.count - 1].fd, "o", 0, VALUE_BYTES);
    expect_long(&reader);
}

/* That is not where all writes of the key go. */
static void test_read_after_a_write_that_was_carried_out_elsewhere(void **state)
{
    (void)state;
    struct reader reader = reader_new(), other = reader_new();
    ask(&reader, PUT("a"));
    say(nodes.asked[0].fd, "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n");
    settle();
    assert_int_not_equal(node_of(nodes.asked[1].fd), node_of(nodes.asked[0].fd));
    say(nodes.asked[1].fd, OK);
    settle();
    expect(&reader, 200, "");
    pass(RECENT_US / 2);
    for (unsigned i = 2; i <= 9; i++) {
        ask(&other, GET("a"));
        assert_int_equal(node_of(nodes.asked[i].fd), node_of(nodes.asked[1].fd));
        answer_value("a", "new");
        expect(&other, 200, "new");
    }
}

/* Who carried it out has it no more, as it may have expired: others are not asked, since they have nothing newer. And nobody who can be
 * asked has it, or it was long ago: what there is is told. */
static void test_read_after_a_lost_write(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader, PUT("a"));
    say(nodes.asked[0].fd, OK);
    settle();
    expect(&reader, 200, "");
    ask(&reader, GET("a"));
    answer_of_version("a", "old", 6);
    expect(&reader, 200, "old");
    assert_int_equal(nodes.count, 2);
    pass(RECENT_US);
    ask(&reader, GET("a"));
    answer_of_version("a", "old", 6);
    expect(&reader, 200, "old");
    assert_int_equal(nodes.count, 3);
}

/* A read that is tried again does not see what was only written after it. */
static void test_write_behind_a_read(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader, GET("a") GET("a") PUT("a"));
    assert_int_equal(nodes.count, 2);
    lose(nodes.asked[0].fd);
    pass(SECOND);
    answer_value("a", "old");
    answer_value("a", "old");
    expect(&reader, 200, "old");
    expect(&reader, 200, "old");
    assert_true(asked_has(nodes.count - 1, "PUT /a "));
}

/* Who has seen a version writes with a larger one, and says so once. */
static void test_write_after(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    char text[200];
    unsigned long long ahead = io->now_us + io->wall_ahead_us + (uint64_t)3600 * SECOND;
    snprintf(text, sizeof text,
             "PUT /a HTTP/1.1\r\nHost: h\r\nFog-After: %llu\r\nContent-Length: 0\r\n\r\n", ahead);
    ask(&reader, text);
    const char *at = strstr(nodes.asked[0].text, "Fog-After: ");
    assert_non_null(at);
    unsigned long long after = strtoull(at + 11, NULL, 10);
    assert_true(after >= ahead && after < ahead + 10);
    assert_null(strstr(at + 1, "Fog-After: "));
    say(nodes.asked[0].fd, OK);
    settle();
    expect(&reader, 200, "");
}

static void see_ahead(struct reader *reader, uint64_t us)
{
    char text[200];
    unsigned count = nodes.count;
    ask(reader, GET("a"));
    snprintf(text, sizeof text,
             "HTTP/1.1 200 OK\r\nFog-Version: %llu\r\nETag: \"1\"\r\nContent-Length: 0\r\n\r\n",
             (unsigned long long)(io->now_us + io->wall_ahead_us + us));
    say(nodes.asked[count].fd, text);
    settle();
    expect(reader, 200, "");
}

/* Whether a write that is tried again says that its version is no time, after that was seen of another key. */
static bool follows_after(struct reader *reader, uint64_t us)
{
    see_ahead(reader, us);
    unsigned count = nodes.count;
    ask(reader, PUT("b"));
    assert_true(asked_has(count, "Fog-After: "));
    lose(nodes.asked[count].fd);
    pass(RELAY_LATE_US + FRONTEND_TICK_US);
    unsigned again = asked_for("b");
    assert_int_not_equal(again, count);
    bool follows = asked_has(again, "Fog-After: ");
    assert_true(!follows ||
                number_in(again, "Fog-After: ") == number_in(again, "Fog-Version: ") - 1);
    say(nodes.asked[again].fd, OK);
    settle();
    expect(reader, 200, "");
    return follows;
}

/* A version that is ahead by seconds may be a time by another node's clock, which goes on; one that is ahead by more stands still, so that
 * the next ones say nothing of when they were given. */
static void test_again_after_the_future(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    assert_false(follows_after(&reader, 5 * SECOND));
    assert_true(follows_after(&reader, (uint64_t)60 * SECOND));
}

/* So it is with a client that tries again itself. */
static void test_client_says_that_a_version_follows(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader, "PUT /a HTTP/1.1\r\nHost: h\r\nFog-Version: 7\r\nContent-Length: 0\r\n\r\n");
    assert_true(asked_has(0, "Fog-Version: 7\r\n"));
    assert_false(asked_has(0, "Fog-After: "));
    say(nodes.asked[0].fd, OK);
    settle();
    expect(&reader, 200, "");
    ask(&reader, "PUT /a HTTP/1.1\r\nHost: h\r\nFog-Version: 7\r\nFog-After: 6\r\n"
                 "Content-Length: 0\r\n\r\n");
    assert_true(asked_has(1, "Fog-Version: 7\r\n"));
    assert_true(asked_has(1, "Fog-After: 6\r\n"));
    lose(nodes.asked[1].fd);
    assert_true(asked_has(2, "Fog-Version: 7\r\n"));
    assert_true(asked_has(2, "Fog-After: 6\r\n"));
    say(nodes.asked[2].fd, OK);
    settle();
    expect(&reader, 200, "");
}

/* A version from the far future concerns its own key alone. */
static void test_far_future(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader, GET("a"));
    say(nodes.asked[0].fd, "HTTP/1.1 200 OK\r\nFog-Version: 18446744073709551615\r\n"
                           "ETag: \"1\"\r\nContent-Length: 0\r\n\r\n");
    settle();
    expect(&reader, 200, "");
    ask(&reader, PUT("b"));
    assert_false(asked_has(1, "Fog-After: "));
    lose(nodes.asked[1].fd);
    assert_false(asked_has(2, "Fog-Version: 18446744073709551615"));
}

/* 503 says that nothing was done: not when a first try may have been carried out. */
static void test_unsure(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader, PUT("a"));
    lose(nodes.asked[0].fd);
    pass(RELAY_LATE_US + FRONTEND_TICK_US);
    for (unsigned i = 1; i < nodes.count && i < RELAY_TRIES_MAX; i++) {
        say(nodes.asked[i].fd, "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n");
        settle();
    }
    expect(&reader, 502,
           "The node did not answer: the write may or may not have been carried out.\n");
}

/* The connection of one request ends while the spare one stands: the request goes on with that. */
static void test_spare_connection(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    nodes.closed_for[1] = true;
    pass(3 * SECOND);
    ask(&reader, GET("a"));
    assert_int_equal(node_of(nodes.asked[0].fd), 0);
    lose(nodes.asked[0].fd);
    assert_int_equal(nodes.count, 2);
    answer_value("a", "one");
    expect(&reader, 200, "one");
}

/* A node closes what is idle for a while: not both of its connections at the same moment. */
static void test_spare_connection_is_younger(void **state)
{
    (void)state;
    pass(10 * SECOND);
    for (unsigned i = 0; i < 2; i++) {
        const struct backend *backend = frontend->partitions[0].backends[i];
        uint64_t shared_us = upstream_heard_us(backend->shared->upstream);
        uint64_t spare_us = upstream_heard_us(backend->spare->upstream);
        check(spare_us >= shared_us + LANES_APART_US, "both are idle since the same moment");
        check(spare_us < loop.now_us - 6 * SECOND, "it is opened again and again");
    }
    assert_int_equal(frontend->counters.parked, 0);
}

/* Nobody is there: a request waits a moment for somebody. */
static void test_parked(void **state)
{
    (void)state;
    struct reader reader = reader_new(), other = reader_new();
    nodes.deaf = true;
    pass(1400 * MS); /* they hang, and are left */
    ask(&reader, GET("a") GET("b"));
    assert_int_equal(frontend->partitions[0].parked_count, 2);
    nodes.deaf = false;
    pass(1200 * MS);
    answer_value("b", "two");
    answer_value("a", "one");
    expect(&reader, 200, "one");
    expect(&reader, 200, "two");
    nodes.deaf = true;
    ask(&other, GET("c"));
    pass(5 * SECOND);
    expect(&other, 503, "No node of this key's partition is ready; try again.\n");
}

static void nodes_are_ready(struct partition *partition, bool ready)
{
    for (unsigned i = 0; i < partition->backend_count; i++) {
        partition->backends[i]->is_ready = ready;
        backend_update(partition->backends[i]);
    }
    assert_int_equal(partition->reached, ready);
}

/* The node is back, and what waited for it is about to be sent: what a client has sent behind its write stays behind it, also where so many
 * requests come at once that some are answered before. */
static void test_nobody_overtakes_parked(void **state)
{
    (void)state;
    struct partition *partition = &frontend->partitions[0];
    struct reader reader = reader_new(), many = reader_new(), last = reader_new();
    nodes_are_ready(partition, false);
    ask(&reader, PUT("a"));
    assert_int_equal(partition->parked_count, 1);
    nodes_are_ready(partition, true);
    say(reader.fd, GET("a"));
    for (unsigned i = 0; i < SERVER_BATCH_MAX; i++)
        say(many.fd, GET("b"));
    say(last.fd, GET("c"));
    settle();
    for (unsigned i = 0; !asked_has(i, "PUT /a "); i++)
        assert_false(asked_has(i, "GET /a "));
}

/* As many as may wait, and one more. */
static void test_parked_to_the_last_place(void **state)
{
    (void)state;
    static struct reader readers[PARKED_MAX / SERVER_DEFERRED_MAX];
    const unsigned count = sizeof readers / sizeof *readers;
    struct partition *partition = &frontend->partitions[0];
    nodes.deaf = true;
    nodes_are_ready(partition, false);
    for (unsigned i = 0; i < count; i++) {
        readers[i] = reader_new();
        for (unsigned k = 0; k < SERVER_DEFERRED_MAX; k++)
            say(readers[i].fd, GET("a"));
    }
    settle();
    assert_int_equal(partition->parked_count, PARKED_MAX);
    struct reader other = reader_new();
    ask(&other, GET("a"));
    expect(&other, 503, "No node of this key's partition is ready; try again.\n");
    pass(2 * FRONTEND_TICK_US);
    assert_int_equal(partition->parked_count, PARKED_MAX);
    pass(RELAY_PARK_US);
    assert_int_equal(partition->parked_count, 0);
    for (unsigned i = 0; i < count; i++)
        expect(&readers[i], 503, "No node of this key's partition is ready; try again.\n");
}

static void test_misrouted(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader, PUT("a"));
    say(nodes.asked[0].fd, "HTTP/1.1 421 Not here\r\nContent-Length: 0\r\n\r\n");
    settle();
    expect(&reader, 502, NULL);
    assert_int_equal(frontend->counters.misrouted, 1);
    nodes.partition = "1/2";
    pass(2 * SECOND);
    ask(&reader, PUT("a"));
    pass(2 * SECOND);
    expect(&reader, 502, NULL);
    assert_int_equal(nodes.count, 1);
    nodes.deaf = true; /* what a node that is gone was is nobody's trouble any more */
    pass(5 * SECOND);
    ask(&reader, PUT("a"));
    expect(&reader, 503, NULL);
}

/* At a member's address there is a node of another cluster now, which has other keys. */
static void test_foreign_node(void **state)
{
    (void)state;
    struct partition *partition = &frontend->partitions[0];
    struct reader reader = reader_new();
    assert_int_equal(partition->usable_count, 2);
    nodes.foreign[1] = true;
    pass(SECOND);
    assert_int_equal(partition->usable_count, 1);
    for (unsigned i = 0; i < 20; i++) {
        ask(&reader, GET("a") PUT("b"));
        assert_int_equal(node_of(nodes.asked[2 * i].fd), 0);
        assert_int_equal(node_of(nodes.asked[2 * i + 1].fd), 0);
        say(nodes.asked[2 * i].fd, OK OK);
        settle();
    }
    nodes.foreign[1] = false;
    pass(SECOND);
    assert_int_equal(partition->usable_count, 2);
}

/* Once nobody names or lists its address any more it is forgotten, though it answers; so is one of another partition. */
static void test_foreign_node_is_forgotten(void **state)
{
    (void)state;
    struct partition *partition = &frontend->partitions[0];
    partition->seed_count = 1;
    partition->backends[1]->seed = NULL;
    nodes.alone = true;
    pass(2 * SECOND);
    assert_int_equal(partition->backend_count, 2); /* it answers as one of them */
    nodes.foreign[1] = true;
    pass(2 * SECOND);
    assert_int_equal(partition->backend_count, 1);
}

/* Waiting */

static void test_wait_again(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader, "GET /a HTTP/1.1\r\nHost: h\r\nIf-None-Match: \"1\"\r\nPrefer: wait=10\r\n\r\n");
    assert_true(asked_has(0, "Prefer: wait=10\r\n"));
    pass(6 * SECOND);
    lose(nodes.asked[0].fd);
    assert_int_equal(nodes.count, 2);
    assert_true(asked_has(1, "Prefer: wait=4\r\n"));
    assert_true(asked_has(1, "If-None-Match: \"1\"\r\n"));
    answer_value("a", "new");
    expect(&reader, 200, "new");
}

/* In an hour more nodes may be lost than a request is tried at in a row. */
static void test_wait_through_many_losses(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader, "GET /a HTTP/1.1\r\nHost: h\r\nIf-None-Match: \"1\"\r\nPrefer: wait=3600\r\n\r\n");
    for (unsigned i = 0; i < 2 * RELAY_TRIES_MAX; i++) {
        pass(LANE_ANSWER_US + SECOND);
        assert_int_equal(nodes.count, i + 1);
        lose(nodes.asked[i].fd);
    }
    for (unsigned i = 1; i < RELAY_TRIES_MAX; i++) {
        expect_nothing(&reader);
        lose(nodes.asked[nodes.count - 1].fd);
    }
    lose(nodes.asked[nodes.count - 1].fd);
    expect(&reader, 503, "No node of this key's partition has answered; try again.\n");
}

#define STOPS "HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\nConnection: close\r\n\r\n"
#define SAME "HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n"

/* A node that stops answers at once what it holds; another one holds it for the time that is left, as often as it takes. */
static void test_wait_goes_on_elsewhere(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader, "GET /a HTTP/1.1\r\nHost: h\r\nIf-None-Match: \"1\"\r\nPrefer: wait=600\r\n\r\n");
    for (unsigned i = 0; i < 2 * RELAY_TRIES_MAX; i++) {
        pass(LANE_ANSWER_US + SECOND);
        assert_int_equal(nodes.count, i + 1);
        say(nodes.asked[i].fd, STOPS);
        settle();
        expect_nothing(&reader);
        assert_int_equal(nodes.count, i + 2);
        assert_int_not_equal(node_of(nodes.asked[i + 1].fd), node_of(nodes.asked[i].fd));
        assert_true(asked_has(i + 1, "If-None-Match: \"1\"\r\n"));
    }
    assert_true(asked_has(2 * RELAY_TRIES_MAX, "Prefer: wait=528\r\n"));
    answer_value("a", "new");
    expect(&reader, 200, "new");
}

/* It is told as it is when nobody else can hold it, when its node goes on, and when its time is over. */
static void test_wait_that_ends_early(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader, WAIT("HTTP/1.1", ""));
    say(nodes.asked[0].fd, SAME);
    settle();
    expect(&reader, 304, "");
    ask(&reader, WAIT("HTTP/1.1", ""));
    pass(60 * SECOND);
    say(nodes.asked[1].fd, STOPS);
    settle();
    expect(&reader, 304, "");
    ask(&reader, WAIT("HTTP/1.1", ""));
    nodes.closed_for[1 - node_of(nodes.asked[2].fd)] = true;
    pass(3 * SECOND);
    say(nodes.asked[2].fd, STOPS);
    settle();
    expect(&reader, 304, "");
    assert_int_equal(nodes.count, 3);
}

/* The same when there is no place for it at the other one. */
static void test_wait_that_nobody_has_room_for(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    struct partition *partition = &frontend->partitions[0];
    ask(&reader, WAIT("HTTP/1.1", ""));
    unsigned counts[2];
    for (unsigned i = 0; i < COUNT(counts); i++) {
        counts[i] = partition->usable[i]->lane_count;
        partition->usable[i]->lane_count = LANES_MAX - LANES_KEPT;
    }
    say(nodes.asked[0].fd, STOPS);
    loop_turn(&loop, 0);
    loop_turn(&loop, 0);
    for (unsigned i = 0; i < COUNT(counts); i++)
        partition->usable[i]->lane_count -= LANES_MAX - LANES_KEPT - counts[i];
    settle();
    expect(&reader, 304, "");
    assert_int_equal(nodes.count, 1);
}

#define FULL "HTTP/1.1 503 Full\r\nContent-Length: 0\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"

/* Whom a wait was moved to has no room for one more connection: it is told as it is, by one that is shared. */
static void test_wait_that_is_refused_elsewhere(void **state)
{
    (void)state;
    for (unsigned others = 0; others < 2; others++) {
        struct reader reader = reader_new();
        nodes.count = 0;
        ask(&reader, WAIT("HTTP/1.1", ""));
        unsigned first = node_of(nodes.asked[0].fd);
        say(nodes.asked[0].fd, STOPS);
        settle();
        assert_int_equal(nodes.count, 2);
        nodes.closed_for[first] = others == 0;
        pass(others == 0 ? 3 * SECOND : 0);
        unsigned last = others == 0 ? 2 : RELAY_TRIES_MAX - 1;
        for (unsigned i = 1; i < last; i++) {
            assert_true(asked_has(i, "Prefer: wait="));
            say(nodes.asked[i].fd, FULL);
            settle();
            expect_nothing(&reader);
            assert_int_equal(nodes.count, i + 2);
        }
        assert_false(asked_has(last, "Prefer: "));
        assert_true(asked_has(last, "If-None-Match: \"1\"\r\n"));
        say(nodes.asked[last].fd, SAME);
        settle();
        expect(&reader, 304, "");
        nodes.closed_for[first] = false;
        pass(3 * SECOND);
    }
}

/* The same when it breaks off whatever is one connection more. */
static void test_wait_that_is_cut_off_elsewhere(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader, WAIT("HTTP/1.1", ""));
    for (unsigned i = 0; i < RELAY_TRIES_MAX && asked_has(i, "Prefer: wait="); i++) {
        lose(nodes.asked[i].fd);
        assert_int_equal(nodes.count, i + 2);
    }
    say(nodes.asked[nodes.count - 1].fd, SAME);
    settle();
    expect(&reader, 304, "");
}

/* The same when its node has died, and this front-end has as many connections to the other one as it may have. */
static void test_wait_without_a_place_elsewhere(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    struct partition *partition = &frontend->partitions[0];
    ask(&reader, WAIT("HTTP/1.1", ""));
    unsigned other = 1 - node_of(nodes.asked[0].fd), count = 0;
    struct backend *backend = NULL;
    for (unsigned i = 0; i < partition->usable_count; i++)
        if (partition->usable[i]->address.ip[15] - 1u == other)
            backend = partition->usable[i];
    assert_non_null(backend);
    count = backend->lane_count;
    backend->lane_count = LANES_MAX - LANES_KEPT;
    lose(nodes.asked[0].fd);
    backend->lane_count -= LANES_MAX - LANES_KEPT - count;
    assert_int_equal(nodes.count, 2);
    assert_int_equal(node_of(nodes.asked[1].fd), other);
    assert_false(asked_has(1, "Prefer: "));
    say(nodes.asked[1].fd, SAME);
    settle();
    expect(&reader, 304, "");
}

/* What is too large a number is cut, and not passed over. */
static void test_wait_for_ever(void **state)
{
    (void)state;
    struct reader reader = reader_new(), other = reader_new();
    ask(&reader, "GET /a HTTP/1.1\r\nHost: h\r\nIf-None-Match: \"1\"\r\n"
                 "Prefer: wait=18446744073709551615\r\n\r\n");
    ask(&other, PUT_COPIES("copies=5000000000, wait=2147483647"));
    assert_int_equal(frontend->waiting, 1);
    lose(nodes.asked[0].fd);
    lose(nodes.asked[1].fd);
    pass(RELAY_LATE_US + 2 * FRONTEND_TICK_US);
    assert_true(asked_has(2, "Prefer: wait=3600\r\n"));
    assert_true(asked_has(3, "Prefer: copies=4294967294\r\nPrefer: wait=3600\r\n"));
}

/* What goes on a connection of its own would overtake what came before, or be overtaken by what follows. */
static void test_order_with_long_bodies(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader, "PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n");
    fake_feed(io, reader.fd, (struct slice){value, 100000});
    ask(&reader, GET("a"));
    assert_int_equal(nodes.count, 1);
    say(nodes.asked[0].fd, OK);
    settle();
    assert_int_equal(nodes.count, 2);
    assert_true(asked_has(1, "GET /a "));
    answer_value("a", "new");
    expect(&reader, 200, "");
    expect(&reader, 200, "new");
}

/* By then the write is answered, but another node may not have it yet. */
static void test_read_behind_a_long_body_goes_where_it_went(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    for (unsigned i = 0; i < 16; i++) {
        nodes.count = 0;
        say(reader.fd, "PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n");
        fake_feed(io, reader.fd, (struct slice){value, 100000});
        ask(&reader, GET("a"));
        say(nodes.asked[0].fd, OK);
        settle();
        assert_int_equal(nodes.count, 2);
        assert_int_equal(node_of(nodes.asked[1].fd), node_of(nodes.asked[0].fd));
        answer_value("a", "new");
        expect(&reader, 200, "");
        expect(&reader, 200, "new");
    }
}

static void test_order_with_copies(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader,
        PUT("a") "PUT /a HTTP/1.1\r\nHost: h\r\nPrefer: copies=2\r\nContent-Length: 0\r\n\r\n" GET(
            "a"));
    assert_int_equal(nodes.count, 1);
    say(nodes.asked[0].fd, OK);
    settle();
    assert_int_equal(nodes.count, 2);
    assert_true(asked_has(1, "Prefer: copies=2"));
    say(nodes.asked[1].fd, OK);
    settle();
    assert_true(nodes.count == 3 && asked_has(2, "GET /a "));
}

/* A node that goes on saying that it is ready, and says nothing of this. */
static void test_wait_without_answer(void **state)
{
    (void)state;
    struct reader reader = reader_new(), other = reader_new();
    ask(&reader, "GET /a HTTP/1.1\r\nHost: h\r\nIf-None-Match: \"1\"\r\nPrefer: wait=10\r\n\r\n");
    ask(&other, "PUT /b HTTP/1.1\r\nHost: h\r\nPrefer: copies=2\r\nContent-Length: 0\r\n\r\n");
    pass(9 * SECOND);
    assert_int_equal(nodes.count, 2);
    pass(2 * SECOND);
    assert_int_equal(nodes.count, 3);
    assert_true(asked_has(2, "PUT /b ") && asked_has(2, "Fog-Version: "));
    say(nodes.asked[2].fd, OK);
    settle();
    expect(&other, 200, "");
    pass(5 * SECOND);
    assert_int_equal(nodes.count, 4);
    assert_true(asked_has(3, "GET /a ") && !asked_has(3, "Prefer:"));
    say(nodes.asked[3].fd, OK);
    settle();
    expect(&reader, 200, "");
}

/* What a node's answer says of its connection, in whatever case, is not said to the client. */
static void test_fields_of_connections(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader, GET("a"));
    say(nodes.asked[0].fd, "HTTP/1.1 200 OK\r\ncontent-length: 3\r\nDATE: x\r\nkeep-alive: "
                           "timeout=5\r\nUpgrade: h2c\r\n"
                           "Trailer: T\r\nconnection: close\r\nX-Other: y\r\n\r\nabc");
    settle();
    struct slice output = fake_output(io, reader.fd);
    assert_non_null(memmem(output.data, output.len, "\r\nX-Other: y\r\n", 14));
    assert_null(memmem(output.data, output.len, "content-length", 14));
    static const char *const names[] = {"DATE", "keep-alive", "Upgrade", "Trailer", "connection"};
    for (size_t i = 0; i < COUNT(names); i++)
        check(!memmem(output.data, output.len, names[i], strlen(names[i])), "%s", names[i]);
    expect(&reader, 200, "abc");
    assert_true(is_open(&reader));
}

static void test_copies_again(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader, "PUT /a HTTP/1.1\r\nHost: h\r\nPrefer: copies=all, wait=10\r\n"
                 "Content-Length: 0\r\n\r\n");
    pass(6 * SECOND);
    lose(nodes.asked[0].fd);
    assert_true(asked_has(1, "Prefer: copies=all\r\nPrefer: wait=4\r\n"));
    pass(6 * SECOND);
    lose(nodes.asked[1].fd);
    assert_true(asked_has(2, "Prefer: copies=all\r\nPrefer: wait=0\r\n"));
    say(nodes.asked[2].fd, OK);
    settle();
    expect(&reader, 200, "");
}

/* A node that holds a write is told, by the end of what it is sent, that its client waits no more. */
static void expect_hurried(struct reader *reader, unsigned asked)
{
    int fd = nodes.asked[asked].fd;
    assert_true(fake_socket(io, fd)->shut);
    assert_int_equal(nodes.count, asked + 1);
    say(fd, "HTTP/1.1 202 Accepted\r\nFog-Version: 7\r\nFog-Copies: 1/2\r\n"
            "Content-Length: 0\r\n\r\n");
    settle();
    expect(reader, 202, "");
    assert_false(fake_socket(io, fd)->open);
}

static void test_drain_hurries_copies(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader, PUT_COPIES("copies=2, wait=60"));
    int fd = nodes.asked[0].fd;
    assert_false(fake_socket(io, fd)->shut);
    frontend_drain(frontend);
    settle();
    expect_hurried(&reader, 0);
    assert_false(is_open(&reader));
    settle();
    assert_true(loop.stopped);
}

/* What is still being sent goes out first. */
static void test_drain_hurries_a_long_body_with_copies(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader, "PUT /a HTTP/1.1\r\nHost: h\r\nPrefer: copies=2\r\n"
                 "Content-Length: 100000\r\n\r\n");
    int fd = nodes.asked[0].fd;
    frontend_drain(frontend);
    fake_socket(io, fd)->space = 90000;
    for (size_t at = 0; at < 100000; at += PIECE_BYTES)
        fake_feed(io, reader.fd, (struct slice){value + at, PIECE_BYTES});
    settle();
    assert_false(fake_socket(io, fd)->shut);
    fake_socket(io, fd)->space = SIZE_MAX;
    settle();
    expect_hurried(&reader, 0);
}

/* One that is not with a node yet is sent with no wait. */
static void test_drain_before_copies(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader, PUT_COPIES("copies=2"));
    lose(nodes.asked[0].fd);
    frontend_drain(frontend);
    pass(SECOND);
    assert_int_equal(nodes.count, 2);
    assert_true(asked_has(1, "Prefer: copies=2\r\nPrefer: wait=0\r\n"));
    say(nodes.asked[1].fd, OK);
    settle();
    expect(&reader, 200, "");
}

/* As on a node: who sends no more waits no more. */
static void test_end_hurries_copies(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader, PUT_COPIES("copies=all, wait=60"));
    fake_end(io, reader.fd);
    settle();
    expect_hurried(&reader, 0);
}

/* The same of whose connection ends with this answer, and of who has sent more behind it. */
static void test_end_of_who_waits(void **state)
{
    static const char *const waits[] = {
        WAIT("HTTP/1.1", ""),
        WAIT("HTTP/1.1", "Connection: close\r\n"),
        WAIT("HTTP/1.0", ""),
        WAIT("HTTP/1.1", "") GET("b"),
        WAIT("HTTP/1.1", "Connection: close\r\n") GET("b"),
        PUT_COPIES("copies=2, wait=60\r\nConnection: close"),
        PUT_COPIES("copies=2, wait=60") GET("b"),
    };
    (void)state;
    for (size_t i = 0; i < 2 * COUNT(waits); i++) {
        struct reader reader = reader_new();
        nodes.count = 0;
        ask(&reader, waits[i / 2]);
        assert_int_equal(nodes.count, 1);
        int fd = nodes.asked[0].fd;
        if (i % 2 == 0) { /* it has left */
            lose(reader.fd);
            check(frontend->relays.used == 0, "row %zu: it goes on", i / 2);
            assert_false(fake_socket(io, fd)->open);
            continue;
        }
        fake_end(io, reader.fd);
        settle();
        if (waits[i / 2][0] == 'P') {
            check(fake_socket(io, fd)->shut, "row %zu: it goes on", i / 2);
        } else {
            check(nodes.count == 2 && !asked_has(1, "Prefer: "), "row %zu: it goes on", i / 2);
            fd = nodes.asked[1].fd;
        }
        say(fd, OK);
        settle();
        expect(&reader, 200, "");
        if (strstr(waits[i / 2], "GET /b ") && !strstr(waits[i / 2], "close")) {
            answer_value("b", "two");
            expect(&reader, 200, "two");
        }
        assert_false(is_open(&reader));
    }
}

/* How long it has waited says nothing of how long answers take, even if it was told to wait no more. */
static void test_latency_of_who_waits(void **state)
{
    (void)state;
    struct reader reader = reader_new(), other = reader_new();
    ask(&reader, WAIT("HTTP/1.1", ""));
    ask(&other, GET("b"));
    pass(SECOND);
    fake_end(io, reader.fd);
    settle();
    say(nodes.asked[2].fd, OK);
    settle();
    expect(&reader, 200, "");
    assert_int_equal(histogram_count(&frontend->latency_us), 0);
    answer_value("b", "two");
    assert_int_equal(histogram_count(&frontend->latency_us), 1);
}

/* What it sends meanwhile is read up to a point. */
static void test_input_of_who_waits(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader, WAIT("HTTP/1.1", ""));
    for (unsigned i = 0; i < 5000; i++)
        say(reader.fd, GET("b"));
    settle();
    assert_true(fake_unread(io, reader.fd) > 5000 * strlen(GET("b")) - 2 * HTTP_HEAD_BYTES_MAX);
    assert_int_equal(nodes.count, 1);
    answer_value("a", "one");
    expect(&reader, 200, "one");
    assert_true(nodes.count > 1);
}

/* The time of what it has begun to send meanwhile begins with the answer. */
static void test_time_behind_who_waits(void **state)
{
    static const char *const rests[] = {"", "h\r\nContent-Length: 20000\r\n\r\n"};
    (void)state;
    for (size_t i = 0; i < COUNT(rests); i++) {
        struct reader reader = reader_new();
        nodes.count = 0;
        ask(&reader, WAIT("HTTP/1.1", "") "PUT /b HTTP/1.1\r\nHost: ");
        ask(&reader, rests[i]);
        pass(45 * (uint64_t)SECOND);
        say(nodes.asked[0].fd, OK);
        settle();
        expect(&reader, 200, "");
        pass(20 * SECOND);
        expect_nothing(&reader);
        pass(11 * SECOND);
        expect(&reader, 408, NULL);
    }
}

static void test_time_behind_a_slow_node(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader, GET("a") "PUT /b HTTP/1.1\r\nHost: ");
    int fd = nodes.asked[0].fd;
    for (size_t at = 0; at < VALUE_BYTES; at += PIECE_BYTES) {
        answer_long(fd, "v", at, PIECE_BYTES);
        pass(SECOND);
    }
    expect_long(&reader);
    pass(20 * SECOND);
    expect_nothing(&reader);
    pass(11 * SECOND);
    expect(&reader, 408, NULL);
}

/* Long values */

/* The connection that brought the last part of a value while it was paused serves the next request. */
static void test_stream_to_a_slow_client(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    fake_socket(io, reader.fd)->space = 20000;
    ask(&reader, GET("a"));
    int fd = nodes.asked[0].fd;
    answer_long(fd, "v", 0, VALUE_BYTES);
    for (int i = 0; i < 100; i++) {
        fake_socket(io, reader.fd)->space = 20000;
        settle();
    }
    fake_socket(io, reader.fd)->space = SIZE_MAX;
    settle();
    expect_long(&reader);
    for (int i = 0; i < 8; i++) {
        ask(&reader,
            "GET /b HTTP/1.1\r\nHost: h\r\nIf-None-Match: \"1\"\r\nPrefer: wait=9\r\n\r\n");
        answer_value("b", "next");
        expect(&reader, 200, "next");
    }
}

/* What is kept of a value whose client takes nothing is bounded, and others do not wait behind it. */
static void test_stream_gives_way(void **state)
{
    (void)state;
    struct reader reader = reader_new(), other = reader_new();
    nodes.closed_for[1] = true;
    pass(3 * SECOND);
    fake_socket(io, reader.fd)->space = 0;
    ask(&reader, GET("a"));
    ask(&other, GET("b"));
    int fd = nodes.asked[0].fd;
    assert_int_equal(nodes.asked[1].fd, fd);
    answer_long(fd, "v", 0, VALUE_BYTES);
    assert_true(fake_unread(io, fd) > 0);
    assert_int_equal(nodes.count, 3); /* again, elsewhere */
    assert_int_not_equal(nodes.asked[2].fd, fd);
    answer_value("b", "two");
    expect(&other, 200, "two");
    fake_socket(io, reader.fd)->space = SIZE_MAX;
    settle();
    expect_long(&reader);
}

static void test_stream_goes_on_elsewhere(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader, GET("a"));
    answer_long(nodes.asked[0].fd, "v", 0, 123457);
    lose(nodes.asked[0].fd);
    assert_int_equal(nodes.count, 2);
    answer_long(nodes.asked[1].fd, "v", 0, VALUE_BYTES);
    expect_long(&reader);
}

/* Nobody is ready in the middle of it: it goes on once somebody is. */
static void test_stream_is_parked(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader, GET("a"));
    answer_long(nodes.asked[0].fd, "v", 0, 123457);
    nodes.deaf = true;
    pass(1400 * MS);
    assert_int_equal(frontend->partitions[0].parked_count, 1);
    nodes.deaf = false;
    pass(1200 * MS);
    answer_long(nodes.asked[asked_for("a")].fd, "v", 0, VALUE_BYTES);
    expect_long(&reader);
}

static void test_stream_is_lost(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader, GET("a"));
    answer_long(nodes.asked[0].fd, "v", 0, 123457);
    nodes.deaf = true;
    pass(6 * SECOND);
    assert_false(is_open(&reader));
    assert_int_equal(frontend->relays.used, 0);
}

/* The value has changed meanwhile: what went out is not completed with something else. */
static void test_stream_of_another_value(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader, GET("a"));
    answer_long(nodes.asked[0].fd, "v", 0, 123457);
    lose(nodes.asked[0].fd);
    answer_long(nodes.asked[1].fd, "w", 0, VALUE_BYTES);
    assert_false(is_open(&reader));
    assert_true(fake_output(io, reader.fd).len < VALUE_BYTES);
}

/* Two requests at once, to two nodes. */
static void ask_both(struct reader *reader)
{
    for (int i = 0; i < 40; i++) {
        nodes.count = 0;
        ask(reader, GET("a") GET("b"));
        if (nodes.asked[asked_for("a")].fd != nodes.asked[asked_for("b")].fd)
            return;
        answer_value("a", "no");
        answer_value("b", "no");
        expect(reader, 200, "no");
        expect(reader, 200, "no");
    }
    fail_msg("all goes to one node");
}

/* It is not its turn yet: then the new value is as good. */
static void test_stream_begins_anew(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask_both(&reader);
    answer_long(nodes.asked[asked_for("b")].fd, "v", 0, 123457);
    lose(nodes.asked[asked_for("b")].fd);
    answer_value("a", "one");
    answer_value("b", "short");
    expect(&reader, 200, "one");
    expect(&reader, 200, "short");
}

/* The same of a value that may begin before its turn. */
static void test_stream_begins_anew_before_its_turn(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask_both(&reader);
    answer_part(nodes.asked[asked_for("b")].fd, "v", 100000, 0, 70000);
    lose(nodes.asked[asked_for("b")].fd);
    assert_int_equal(nodes.count, 3);
    answer_value("a", "one");
    answer_value("b", "short");
    expect(&reader, 200, "one");
    expect(&reader, 200, "short");
}

/* Two requests of two clients, to two nodes. */
static void two_ask_both(struct reader *first, struct reader *second)
{
    for (int i = 0; i < 40; i++) {
        nodes.count = 0;
        ask(first, GET("a"));
        ask(second, GET("b"));
        if (node_of(nodes.asked[0].fd) != node_of(nodes.asked[1].fd))
            return;
        answer_value("a", "no");
        answer_value("b", "no");
        expect(first, 200, "no");
        expect(second, 200, "no");
    }
    fail_msg("all goes to one node");
}

enum { MEDIUM_BYTES = 100000 };

/* On one connection: a value of which nothing is taken for now, and behind it another one, not as long, that began elsewhere. Returns
 * the connection. */
static int two_streams(struct reader *first, struct reader *second)
{
    two_ask_both(first, second);
    fake_socket(io, first->fd)->space = fake_socket(io, second->fd)->space = 0;
    int shared = nodes.asked[0].fd, fd = nodes.asked[1].fd;
    answer_part(fd, "w", MEDIUM_BYTES, 0, 70000);
    answer_long(shared, "v", 0, 70000);
    lose(fd);
    assert_int_equal(nodes.asked[asked_for("b")].fd, shared);
    assert_int_equal(nodes.count, 3);
    return shared;
}

static void test_stream_gives_way_to_a_stream(void **state)
{
    (void)state;
    struct reader first = reader_new(), second = reader_new();
    int fd = two_streams(&first, &second);
    answer_long(fd, "v", 70000, VALUE_BYTES - 70000);
    pass(SECOND);
    int other = nodes.asked[asked_for("b")].fd;
    assert_int_not_equal(other, fd);
    answer_part(other, "w", MEDIUM_BYTES, 0, MEDIUM_BYTES);
    fake_socket(io, first.fd)->space = fake_socket(io, second.fd)->space = SIZE_MAX;
    settle();
    expect_long(&first);
    expect_bytes(&second, MEDIUM_BYTES);
}

static void test_leaver_behind_a_stream(void **state)
{
    (void)state;
    struct reader first = reader_new(), second = reader_new();
    int fd = two_streams(&first, &second);
    lose(second.fd);
    assert_true(fake_socket(io, fd)->open);
    fake_socket(io, first.fd)->space = SIZE_MAX;
    answer_long(fd, "v", 70000, VALUE_BYTES - 70000);
    expect_long(&first);
    assert_int_equal(nodes.count, 3); /* none was asked again but the lost one */
}

/* What is kept of answers before their turn */

enum { NUMBERED_MAX = SERVER_DEFERRED_MAX, NUMBERED_STEP = 100 };

/* Reads of the keys k00 to k63, pipelined; each has a value of its own. */
static void ask_numbered(const struct reader *reader, unsigned count)
{
    char text[NUMBERED_MAX * 40];
    size_t len = 0;
    for (unsigned i = 0; i < count; i++)
        len += (size_t)snprintf(text + len, sizeof text - len,
                                "GET /k%02u HTTP/1.1\r\nHost: h\r\n\r\n", i);
    ask(reader, text);
}

static void answer_numbered(unsigned asked, size_t bytes)
{
    char head[200];
    unsigned number;
    assert_int_equal(sscanf(nodes.asked[asked].text, "GET /k%u ", &number), 1);
    snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nETag: \"%u\"\r\nContent-Length: %zu\r\n\r\n",
             number, bytes);
    say(nodes.asked[asked].fd, head);
    if (fake_socket(io, nodes.asked[asked].fd)->open)
        fake_feed(io, nodes.asked[asked].fd,
                  (struct slice){value + (size_t)number * NUMBERED_STEP, bytes});
    settle();
}

/* All that are asked from that one on, those too that only are then. Returns how many were. */
static unsigned answer_all_numbered(unsigned from, size_t bytes)
{
    unsigned i = from;
    while (i < nodes.count)
        answer_numbered(i++, bytes);
    return i - from;
}

static void expect_numbered(struct reader *reader, unsigned number, size_t bytes)
{
    struct answer answer;
    check(next_answer(reader, &answer) == ANSWER_OK, "value %u", number);
    assert_int_equal(answer.body.len, bytes);
    assert_memory_equal(answer.body.data, value + (size_t)number * NUMBERED_STEP, bytes);
}

/* The key's value is long for now, so that its next read has a connection of its own: others can be answered before it. */
static void make_alone(const char *key)
{
    struct reader reader = reader_new();
    char text[100];
    snprintf(text, sizeof text, "GET /%s HTTP/1.1\r\nHost: h\r\n\r\n", key);
    ask(&reader, text);
    answer_long(nodes.asked[asked_for(key)].fd, key, 0, VALUE_BYTES);
    expect_long(&reader);
    nodes.count = 0;
}

/* The first of the deferred ones, as long as something is asked of a node. */
static struct request *first_deferred(void)
{
    const struct partition *partition = &frontend->partitions[0];
    for (unsigned i = 0; i < partition->usable_count; i++)
        for (const struct lane *lane = partition->usable[i]->lanes; lane; lane = lane->next)
            for (const struct attempt *one = lane->first; one; one = one->next)
                if (one->relay)
                    return request_deferred_first(one->relay->request);
    fail_msg("nobody is asked for anything");
    return NULL;
}

/* Behind that one. */
static size_t kept_behind(const struct request *first)
{
    size_t bytes = 0;
    for (struct request *one = request_deferred_next(first); one;
         one = request_deferred_next(one)) {
        const struct relay *relay = one->service_data;
        bytes += (relay->got.size > RELAY_ROOM_BYTES ? relay->got.size : 0) + relay->block_bytes;
    }
    return bytes;
}

/* So many, of which all but the first one, k00, are answered. */
static void ask_and_answer_behind(const struct reader *reader, unsigned count, size_t bytes)
{
    make_alone("k00");
    ask_numbered(reader, count);
    assert_int_equal(nodes.count, count);
    for (unsigned i = 0; i < count; i++)
        if (!asked_has(i, "GET /k00 "))
            answer_numbered(i, bytes);
    assert_int_equal(nodes.count, count);
}

static const size_t numbered_bytes[] = {60000, 100000};

/* A client that takes nothing: what there is no room for is asked again once it takes something, and costs no retry. */
static void test_kept_before_its_turn(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(numbered_bytes); i++) {
        size_t bytes = numbered_bytes[i];
        unsigned kept = RELAY_ASIDE_BYTES / (unsigned)bytes;
        struct reader reader = reader_new();
        ask_and_answer_behind(&reader, NUMBERED_MAX, bytes);
        uint64_t tokens = frontend->partitions[0].retry_tokens;
        assert_in_range(kept_behind(first_deferred()), kept * bytes, RELAY_ASIDE_BYTES);
        fake_socket(io, reader.fd)->space = 0;
        answer_numbered(asked_for("k00"), bytes);
        pass(SECOND);
        assert_int_equal(nodes.count, NUMBERED_MAX);
        fake_socket(io, reader.fd)->space = SIZE_MAX;
        settle();
        assert_true(nodes.count > NUMBERED_MAX);
        assert_int_equal(answer_all_numbered(NUMBERED_MAX, bytes), NUMBERED_MAX - 1 - kept);
        for (unsigned k = 0; k < NUMBERED_MAX; k++)
            expect_numbered(&reader, k, bytes);
        assert_true(frontend->partitions[0].retry_tokens >= tokens);
        assert_int_equal(frontend->counters.retries, 0);
        assert_int_equal(frontend->relays.used, 0);
    }
}

/* Once one answer was long, no more are asked for than there is room for. */
static void test_asked_before_its_turn(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask_numbered(&reader, 1);
    answer_numbered(0, 60000);
    expect_numbered(&reader, 0, 60000);
    ask_numbered(&reader, 30);
    assert_int_equal(nodes.count, 1 + 1 + RELAY_ASIDE_BYTES / 60000);
    answer_all_numbered(1, 60000);
    assert_int_equal(nodes.count, 1 + 30); /* each once */
    for (unsigned k = 0; k < 30; k++)
        expect_numbered(&reader, k, 60000);
}

/* What was long the last time is not even asked before its turn. */
static void test_long_before_its_turn(void **state)
{
    (void)state;
    struct reader reader = reader_new(), other = reader_new();
    ask(&reader, GET("b"));
    answer_long(nodes.asked[0].fd, "b", 0, VALUE_BYTES);
    expect_long(&reader);
    nodes.count = 0;
    ask(&reader, GET("a") GET("b") GET("c"));
    ask(&other, GET("d"));
    assert_true(nodes.count == 2 && asked_has(0, "GET /a ") && asked_has(1, "GET /d "));
    answer_value("a", "one");
    answer_value("d", "four");
    expect(&reader, 200, "one");
    expect(&other, 200, "four");
    assert_int_equal(nodes.count, 4);
    answer_value("c", "three");
    answer_long(nodes.asked[asked_for("b")].fd, "b", 0, VALUE_BYTES);
    expect_long(&reader);
    expect(&reader, 200, "three");
}

/* Its head comes before its turn: others do not wait for the rest of it. */
static void test_long_head_before_its_turn(void **state)
{
    (void)state;
    struct reader reader = reader_new(), other = reader_new();
    ask_both(&reader);
    unsigned b = asked_for("b");
    int fd = nodes.asked[b].fd;
    while (nodes.asked[nodes.count - 1].fd != fd || nodes.count == 2)
        ask(&other, GET("c")); /* behind it */
    unsigned count = nodes.count;
    answer_long(fd, "b", 0, 70000);
    assert_false(fake_socket(io, fd)->open);
    check(nodes.count > count && asked_has(nodes.count - 1, "GET /c "), "it is sent elsewhere");
    assert_int_equal(asked_for("b"), b);
    count = nodes.count;
    answer_value("a", "one");
    expect(&reader, 200, "one");
    assert_true(nodes.count == count + 1 && asked_has(count, "GET /b "));
    answer_long(nodes.asked[count].fd, "b", 0, VALUE_BYTES);
    expect_long(&reader);
    assert_int_equal(frontend->counters.retries, 0);
}

/* Nodes are lost while some stand aside, and while they are asked again. */
static void test_aside_and_lost(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask_and_answer_behind(&reader, 30, 60000);
    lose(nodes.asked[asked_for("k00")].fd);
    assert_int_equal(nodes.count, 31); /* the first one */
    answer_numbered(30, 60000);
    assert_true(nodes.count > 31);
    lose(nodes.asked[31].fd);
    answer_all_numbered(31, 60000);
    for (unsigned k = 0; k < 30; k++)
        expect_numbered(&reader, k, 60000);
    assert_int_equal(frontend->relays.used, 0);
}

/* Nobody is left whom to ask. */
static void test_aside_without_nodes(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask_and_answer_behind(&reader, 20, 60000);
    nodes.deaf = true;
    pass(6 * SECOND);
    unsigned whole = 0;
    struct answer answer;
    for (unsigned k = 0; k < 20; k++) {
        check(next_answer(&reader, &answer) == ANSWER_OK, "answer %u", k);
        assert_true(answer.status == 503 || (answer.status == 200 && answer.body.len == 60000));
        whole += answer.status == 200;
    }
    assert_int_equal(whole, RELAY_ASIDE_BYTES / 60000); /* those that were kept */
    assert_int_equal(frontend->relays.used, 0);
}

static void test_aside_of_who_leaves(void **state)
{
    (void)state;
    struct reader reader = reader_new(), other = reader_new();
    ask_and_answer_behind(&reader, NUMBERED_MAX, 100000);
    lose(reader.fd);
    assert_int_equal(frontend->relays.used, 0);
    ask(&other, GET("a"));
    answer_value("a", "one");
    expect(&other, 200, "one");
}

/* A read that stands aside sees what was written before it, however late it is asked; and a write behind it is not overtaken. */
static void test_order_with_who_stands_aside(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask_and_answer_behind(&reader, 12, 60000);
    ask(&reader, PUT("a") GET("a") GET("a") GET("a") GET("a") GET("a") GET("a") PUT("a"));
    assert_int_equal(nodes.count, 13);
    unsigned writer = node_of(nodes.asked[12].fd);
    say(nodes.asked[12].fd, OK);
    settle();
    assert_int_equal(nodes.count, 13);
    fake_socket(io, reader.fd)->space = 0;
    answer_numbered(asked_for("k00"), 60000);
    pass(SECOND);
    assert_int_equal(nodes.count, 13);
    fake_socket(io, reader.fd)->space = SIZE_MAX;
    settle();
    unsigned reads = 0;
    for (unsigned i = 13; i < nodes.count; i++) {
        if (asked_has(i, "GET /k")) {
            answer_numbered(i, 60000);
            continue;
        }
        assert_true(asked_has(i, "GET /a ") && node_of(nodes.asked[i].fd) == writer);
        answer_value("a", "new");
        if (++reads == 6)
            break;
    }
    for (unsigned k = 0; k < 12; k++)
        expect_numbered(&reader, k, 60000);
    expect(&reader, 200, "");
    for (unsigned i = 0; i < 6; i++)
        expect(&reader, 200, "new");
    assert_true(asked_has(nodes.count - 1, "PUT /a "));
}

/* A key's value was long: its next reads have connections of their own, and hold up nobody; until it is short. */
static void test_long_reads_go_alone(void **state)
{
    (void)state;
    struct reader reader = reader_new(), others[3] = {reader_new(), reader_new(), reader_new()};
    nodes.closed_for[1] = true;
    pass(3 * SECOND);
    ask(&reader, GET("a"));
    int shared = nodes.asked[0].fd;
    answer_long(shared, "v", 0, VALUE_BYTES);
    expect_long(&reader);
    ask(&reader, GET("a"));
    ask(&others[0], GET("a"));
    ask(&others[1], GET("b"));
    int alone = nodes.asked[1].fd;
    assert_int_equal(nodes.count, 4);
    assert_true(alone != shared && nodes.asked[2].fd != shared && nodes.asked[2].fd != alone);
    assert_int_equal(nodes.asked[3].fd, shared);
    say(alone, OK);
    settle();
    expect(&reader, 200, "");
    ask(&others[2], GET("a"));
    assert_int_equal(nodes.asked[4].fd, shared);
}

/* The connections of many long reads at a time are there for the next ones, and go by and by when there are none. */
static void test_lanes_are_kept(void **state)
{
    enum { READERS = 3 * LANES_IDLE_MAX };
    struct reader readers[READERS];
    (void)state;
    nodes.closed_for[1] = true;
    pass(3 * SECOND);
    readers[0] = reader_new();
    ask(&readers[0], GET("a"));
    answer_long(nodes.asked[0].fd, "v", 0, VALUE_BYTES);
    expect_long(&readers[0]);
    for (unsigned i = 1; i < READERS; i++)
        readers[i] = reader_new();
    const struct backend *backend = frontend->partitions[0].usable[0];
    for (unsigned round = 0; round < 2; round++) {
        unsigned from = nodes.count;
        for (unsigned i = 0; i < READERS; i++)
            ask(&readers[i], GET("a"));
        for (unsigned i = 0; i < READERS; i++)
            answer_long(nodes.asked[from + i].fd, "v", 0, VALUE_BYTES);
        for (unsigned i = 0; i < READERS; i++)
            expect_long(&readers[i]);
        assert_in_range(backend->idle_count, READERS - 2, READERS);
        assert_in_range(backend->lane_count, READERS, READERS + 2);
    }
    pass(2 * SECOND);
    assert_int_equal(backend->idle_count, LANES_IDLE_MAX);
}

/* One that stood behind two that took long is taken for a long one itself. A connection that was given to one of these ends with it,
 * whatever else it was to bring, and another one takes its place at once. */
static void test_displaced_reads_go_alone(void **state)
{
    (void)state;
    struct reader slow[2] = {reader_new(), reader_new()}, reader = reader_new();
    nodes.closed_for[1] = true;
    pass(3 * SECOND);
    fake_socket(io, slow[0].fd)->space = fake_socket(io, slow[1].fd)->space = 0;
    ask(&slow[0], GET("a"));
    ask(&slow[1], GET("b"));
    ask(&reader, GET("c"));
    int first = nodes.asked[0].fd, second;
    answer_long(first, "v", 0, VALUE_BYTES);
    second = nodes.asked[asked_for("c")].fd;
    assert_true(second != first && nodes.asked[asked_for("b")].fd == second);
    answer_long(second, "w", 0, VALUE_BYTES);
    assert_int_equal(nodes.count, 6);
    int alone = nodes.asked[asked_for("c")].fd;
    assert_true(alone != first && alone != second);
    answer_value("c", "three");
    expect(&reader, 200, "three");
    ask(&reader, GET("d"));
    assert_int_not_equal(nodes.asked[asked_for("d")].fd, alone);
    assert_int_equal(frontend->partitions[0].usable_count, 1);
    fake_socket(io, slow[0].fd)->space = SIZE_MAX;
    settle();
    expect_long(&slow[0]);
    assert_false(fake_socket(io, first)->open); /* the answers to b and c did not come */
}

/* Waits leave places for what is shared; when these are taken, too, a value that its client does not take is cut off. */
static void test_places_for_what_is_shared(void **state)
{
    (void)state;
    struct reader reader = reader_new(), other = reader_new();
    nodes.closed_for[1] = true;
    pass(3 * SECOND);
    struct backend *backend = frontend->partitions[0].usable[0];
    unsigned count = backend->lane_count;
    backend->lane_count = LANES_MAX - LANES_KEPT;
    ask(&reader, "GET /w HTTP/1.1\r\nHost: h\r\nIf-None-Match: \"1\"\r\nPrefer: wait=9\r\n\r\n");
    expect(&reader, 503, "This front-end has no room for one more request; try again.\n");
    fake_socket(io, reader.fd)->space = 0;
    ask(&reader, GET("a"));
    int fd = nodes.asked[0].fd;
    backend->lane_count = LANES_MAX;
    answer_long(fd, "v", 0, VALUE_BYTES);
    assert_int_equal(frontend->counters.yielded, 0);
    ask(&other, GET("b"));
    assert_int_equal(nodes.asked[1].fd, fd);
    answer_value("b", "two");
    expect(&other, 200, "two");
    fake_socket(io, reader.fd)->space = SIZE_MAX;
    settle();
    assert_false(is_open(&reader));
    assert_true(fake_output(io, reader.fd).len < VALUE_BYTES);
    backend->lane_count = count;
}

/* Draining */

static void test_drain_behind_a_stream(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    fake_socket(io, reader.fd)->space = 20000;
    ask(&reader, GET("a") GET("b"));
    answer_long(nodes.asked[asked_for("a")].fd, "v", 0, VALUE_BYTES);
    frontend_drain(frontend);
    settle();
    fake_socket(io, reader.fd)->space = SIZE_MAX;
    settle();
    answer_value("b", "two");
    expect_long(&reader);
    expect(&reader, 200, "two");
    assert_false(is_open(&reader));
}

/* Hauls: records that are given to a cluster, or read of it, by one who asks its nodes as a front-end does. */

static uint64_t hauled; /* records that were new there */

static void haul_prints(void *context, const char *text)
{
    (void)context, (void)text;
}

static void haul_on_merged(const struct batch *batch, uint64_t fresh)
{
    (void)batch;
    hauled += fresh;
}

static void haul_on_record(struct source *source, const struct record *record)
{
    (void)source, (void)record;
}

static bool haul_is_full(const struct haul *haul)
{
    (void)haul;
    return false;
}

static struct command command;
static struct haul haul;

static struct partition *haul_begin(void)
{
    static const char *const seeds[] = {"10.0.0.1:8000"};
    static const struct frontend_cluster cluster = {seeds, 1};
    static const struct frontend_config clusters = {.clusters = &cluster, .cluster_count = 1};
    static const struct haul_ops ops = {haul_is_full, haul_on_record, haul_on_merged};
    command = (struct command){.loop = &loop, .print = haul_prints};
    haul = (struct haul){.command = &command, .ops = &ops, .flowing = true, .repeat = "Go on."};
    hauled = 0;
    assert_int_equal(haul_init(&haul, &clusters), 0);
    pass(SECOND);
    return &haul.frontend->partitions[0];
}

/* Returns whether it is not over yet. */
static bool haul_for(struct target *target, struct source *source, uint64_t us)
{
    for (uint64_t until_us = loop.now_us + us; loop.now_us < until_us && !command.over;) {
        if (target)
            target_tick(target);
        if (source)
            source_tick(source);
        pass(HAUL_TICK_US);
    }
    loop.stopped = false;
    return !command.over;
}

static void give_record(struct target *target, const char *key)
{
    struct record_form form = {.key = slice_of(key), .tombstone = true};
    struct record *record = record_new(haul.heap, &form, HEAP_NORMAL);
    record_seal(record);
    assert_int_equal(target_add(target, record, false), 0);
    record_release(haul.heap, record);
    target_flush(target);
}

static void take_record(void)
{
    assert_true(asked_has(nodes.count - 1, "POST /-/merge "));
    say(nodes.asked[nodes.count - 1].fd, "HTTP/1.1 200 OK\r\nContent-Length: 51\r\n\r\n"
                                         "1 records were read, 1 of them were new here......\n");
}

/* The first record of a long answer; the rest does not come. */
static void bring_record(const char *key)
{
    char head[WIRE_HEAD_BYTES];
    int fd = nodes.asked[nodes.count - 1].fd;
    struct record_form form = {.key = slice_of(key), .tombstone = true};
    struct record *record = record_new(haul.heap, &form, HEAP_NORMAL);
    assert_true(asked_has(nodes.count - 1, "GET /-/records?from=0 "));
    record_seal(record);
    wire_head(record, head);
    say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
    fake_feed(io, fd, (struct slice){head, sizeof head});
    fake_feed(io, fd, wire_data(record));
    settle();
    record_release(haul.heap, record);
}

static void expect_given_up(void)
{
    assert_true(command.over);
    assert_int_equal(command.exit, COMMAND_WRONG);
    check_slice(slice_of(command.failure),
                SLICE("No node of partition 0 is able to answer: every try of the last 60 s has "
                      "failed, the last one at 10.0.0.1:8000. Go on."),
                "the sentence");
}

/* Nodes say that they are ready, and nothing to what they are given: that is borne for a minute, and for another one once something was
 * taken. */
static void test_haul_to_who_does_not_answer(void **state)
{
    (void)state;
    struct target target = {0};
    assert_int_equal(target_init(&target, &haul, haul_begin(), "partition 0"), 0);
    give_record(&target, "a");
    assert_true(haul_for(&target, NULL, 65 * SECOND));
    assert_true(nodes.count > 3);
    take_record();
    settle();
    assert_int_equal(hauled, 1);
    give_record(&target, "b");
    assert_true(haul_for(&target, NULL, 65 * SECOND));
    assert_string_equal(haul.waiting, "a node of partition 0 that answers");
    assert_false(haul_for(&target, NULL, 15 * SECOND));
    expect_given_up();
    target_free(&target);
    haul_free(&haul);
}

/* The same of who is read: from a record of a later shard on, the minute begins anew. */
static void test_haul_from_who_does_not_answer(void **state)
{
    (void)state;
    struct source source = {0};
    assert_int_equal(source_init(&source, &haul, haul_begin(), "partition 0"), 0);
    source_begin(&source, 0);
    assert_true(haul_for(NULL, &source, 65 * SECOND));
    bring_record("a");
    assert_true(source.shard > 0);
    assert_true(haul_for(NULL, &source, 65 * SECOND));
    assert_string_equal(haul.waiting, "a node of partition 0 that answers");
    assert_false(haul_for(NULL, &source, 15 * SECOND));
    expect_given_up();
    source_free(&source);
    haul_free(&haul);
}

/* Uploads */

static void upload_begin_by(const struct reader *reader, size_t bytes)
{
    char head[200];
    snprintf(head, sizeof head, "PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n", bytes);
    ask(reader, head);
}

static void upload_some(const struct reader *reader, size_t from, size_t bytes)
{
    fake_feed(io, reader->fd, (struct slice){value + from, bytes});
    settle();
}

static void test_upload(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    upload_begin_by(&reader, VALUE_BYTES);
    for (size_t at = 0; at < VALUE_BYTES; at += PIECE_BYTES)
        upload_some(&reader, at, PIECE_BYTES);
    int fd = nodes.asked[0].fd;
    struct slice sent = fake_output(io, fd);
    assert_true(sent.len > VALUE_BYTES);
    assert_memory_equal(sent.data + sent.len - VALUE_BYTES, value, VALUE_BYTES);
    say(fd, OK);
    settle();
    expect(&reader, 200, "");
}

/* A long value takes its time to the other nodes. */
static void test_read_after_a_long_write(void **state)
{
    (void)state;
    struct reader reader = reader_new(), other = reader_new();
    upload_begin_by(&reader, VALUE_BYTES);
    for (size_t at = 0; at < VALUE_BYTES; at += PIECE_BYTES)
        upload_some(&reader, at, PIECE_BYTES);
    unsigned writer = node_of(nodes.asked[0].fd);
    say(nodes.asked[0].fd, OK);
    settle();
    expect(&reader, 200, "");
    pass(RECENT_US + VALUE_BYTES / RECENT_BYTES_EACH_US / 2);
    for (unsigned i = 1; i <= 8; i++) {
        ask(&other, GET("a"));
        assert_int_equal(node_of(nodes.asked[i].fd), writer);
        answer_value("a", "new");
        expect(&other, 200, "new");
    }
}

static void test_upload_is_lost(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    upload_begin_by(&reader, VALUE_BYTES);
    upload_some(&reader, 0, 100000);
    lose(nodes.asked[0].fd);
    expect(&reader, 502, "The node was lost before it had the whole value; nothing has changed.\n");
    assert_false(is_open(&reader));
}

/* It must begin soon or never: else it may come over what was written since its client was told of an error. It cannot be sent again. */
static void test_upload_comes_too_late(void **state)
{
    (void)state;
    for (unsigned whole = 0; whole < 2; whole++) {
        struct reader reader = reader_new();
        nodes.count = 0;
        upload_begin_by(&reader, 100000);
        upload_some(&reader, 0, whole ? 100000 : 50000);
        uint64_t before_us = number_in(0, "Fog-Before: "),
                 clock_us = io->now_us + io->wall_ahead_us;
        assert_in_range(before_us, clock_us, clock_us + RELAY_LONG_LATE_US);
        say(nodes.asked[0].fd, LATE);
        settle();
        expect(&reader, 503,
               "The node was too busy to take the value; nothing has changed. Try again.\n");
        assert_int_equal(nodes.count, 1);
    }
}

static void test_upload_is_misrouted(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    upload_begin_by(&reader, VALUE_BYTES);
    upload_some(&reader, 0, 100000);
    say(nodes.asked[0].fd, "HTTP/1.1 421 Not here\r\nContent-Length: 0\r\n\r\n");
    settle();
    expect(&reader, 502, NULL);
    assert_int_equal(frontend->counters.misrouted, 1);
}

/* Every 503 of the front-end's own says when to try again: of a request that is there, of a value that streams, of a list. */
static void test_retry_after(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct reader reader = reader_new();
        struct answer answer;
        if (i == 0) {
            nodes.deaf = true;
            pass(4 * SECOND);
        }
        if (i == 0)
            ask(&reader, GET("a"));
        else if (i == 1)
            ask(&reader, GET(KEYS));
        else if (i == 2)
            ask(&reader, GET("-/ready"));
        else
            upload_begin_by(&reader, VALUE_BYTES);
        assert_int_equal(next_answer(&reader, &answer), ANSWER_OK);
        assert_int_equal(answer.status, 503);
        check_slice(answer_field(&answer, "Retry-After"), SLICE("1"), "when to try again");
    }
}

/* A node refuses a value before it has all of it: its client hears why. */
static void test_upload_is_refused(void **state)
{
    static const struct {
        const char *head, *body;
        unsigned status;
        const char *told;
    } rows[] = {
        {"HTTP/1.1 413 No\r\nContent-Length: 10\r\nConnection: close\r\n\r\n", "Too large.", 413,
         NULL},
        {"HTTP/1.1 413 No\r\nContent-Length: 11\r\nConnection: close\r\n\r\n", "Too large.\n", 413,
         "Too large.\n"},
        {"HTTP/1.1 507 No\r\nContent-Length: 11\r\n\r\n", "No memory.\n", 507, "No memory.\n"},
        {"HTTP/1.1 507 No\r\nContent-Length: 8\r\n\r\n", "Two.\nX.\n", 507, NULL},
        {"HTTP/1.1 507 No\r\nContent-Length: 1\r\n\r\n", "\n", 507, NULL},
        {"HTTP/1.1 507 No\r\nContent-Length: 0\r\n\r\n", "", 507, NULL},
        {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "ok\n", 502, NULL},
    };
    static const char general[] = "The node has refused the value before it was whole.\n";
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct reader reader = reader_new();
        nodes.count = 0;
        upload_begin_by(&reader, VALUE_BYTES);
        upload_some(&reader, 0, 100000);
        say(nodes.asked[0].fd, rows[i].head);
        settle();
        say(nodes.asked[0].fd, rows[i].body);
        settle();
        expect(&reader, rows[i].status, rows[i].told ? rows[i].told : general);
        assert_false(is_open(&reader));
        pass(SECOND);
    }
}

/* A front-end speaks of its own limit, whether it knows how much comes or not. */
static void test_upload_is_too_large(void **state)
{
    static const char *const heads[] = {
        "PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1048577\r\n\r\n",
        "PUT /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n100001\r\n",
    };
    (void)state;
    for (size_t i = 0; i < COUNT(heads); i++) {
        struct reader reader = reader_new();
        ask(&reader, heads[i]);
        expect(&reader, 413, "The value is larger than this front-end takes (--value-max).\n");
    }
}

/* Who asks for ever, and takes its time to answer nobody, is asked for no more. */
static void test_requests_of_one_connection_have_a_limit(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    for (unsigned i = 0; i < 2 * SERVER_DEFERRED_MAX; i++)
        ask(&reader, GET("a"));
    assert_int_equal(nodes.count, SERVER_DEFERRED_MAX);
    for (unsigned i = 0; i < 2 * SERVER_DEFERRED_MAX; i++) {
        say(nodes.asked[i].fd, OK);
        settle();
        assert_true(nodes.count <= i + 1 + SERVER_DEFERRED_MAX);
    }
    for (unsigned i = 0; i < 2 * SERVER_DEFERRED_MAX; i++)
        expect(&reader, 200, "");
}

/* Values that no node takes do not fill the memory: who sends more is refused, or waits behind those that are there. */
static void test_requests_have_a_limit_of_bytes(void **state)
{
    (void)state;
    static const size_t too_long[] = {PIECE_BYTES, RELAY_WHOLE_BYTES_MAX, VALUE_BYTES};
    struct reader reader = reader_new(), other = reader_new();
    upload_begin_by(&reader, PIECE_BYTES);
    upload_some(&reader, 0, PIECE_BYTES);
    assert_int_equal(nodes.count, 1);
    assert_true(frontend->kept_bytes > PIECE_BYTES / 2);
    size_t rest = RELAYS_BYTES_MAX - frontend->kept_bytes - 1000;
    frontend->kept_bytes += rest;
    for (size_t i = 0; i < COUNT(too_long); i++) {
        struct reader refused = reader_new();
        upload_begin_by(&refused, too_long[i]);
        expect(&refused, 503, "This front-end is out of memory for requests; try again.\n");
    }
    ask(&other, GET("b"));
    answer_value("b", "two");
    expect(&other, 200, "two");
    say(reader.fd, "PUT /c HTTP/1.1\r\nHost: h\r\nContent-Length: 10000\r\n\r\n");
    upload_some(&reader, 0, PIECE_BYTES);
    assert_int_equal(nodes.count, 2);
    say(nodes.asked[0].fd, OK);
    settle();
    expect(&reader, 200, "");
    frontend->kept_bytes -= rest;
    answer_value("c", "");
    expect(&reader, 200, "");
    assert_int_equal(frontend->kept_bytes, 0);
}

/* Where all goes wrong, front-ends do not make it worse. */
static void test_retries_have_a_limit(void **state)
{
    (void)state;
    struct partition *partition = &frontend->partitions[0];
    for (unsigned i = 0; i < RETRY_TOKENS_MAX; i++)
        assert_true(partition_may_retry(partition));
    assert_false(partition_may_retry(partition));
    struct reader reader = reader_new();
    for (unsigned i = 0; i < RETRY_TOKEN_PARTS; i++) {
        assert_false(partition_may_retry(partition));
        ask(&reader, GET("a"));
    }
    assert_true(partition_may_retry(partition));
}

/* What has an answer that will do is not asked for again with the retries that are left for what has none. */
static void test_half_of_the_retries_is_for_what_was_lost(void **state)
{
    (void)state;
    struct reader reader = reader_new(), other = reader_new();
    struct partition *partition = &frontend->partitions[0];
    ask(&reader, WAIT("HTTP/1.1", ""));
    ask(&other, WAIT("HTTP/1.1", ""));
    partition->retry_tokens = RETRY_TOKENS_MAX * RETRY_TOKEN_PARTS / 2;
    say(nodes.asked[0].fd, STOPS);
    settle();
    expect(&reader, 304, "");
    lose(nodes.asked[1].fd);
    assert_int_equal(nodes.count, 3);
    say(nodes.asked[2].fd, SAME);
    settle();
    expect(&other, 304, "");
}

/* What is not known to be large is passed on once it is, and has its limit at any chunk. */
static void test_upload_of_many_chunks(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    size_t bytes = 0;
    ask(&reader, "PUT /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (; bytes + PIECE_BYTES <= 1 << 20; bytes += PIECE_BYTES) {
        assert_true(bytes <= 2 * RELAY_WHOLE_BYTES_MAX || nodes.count > 0);
        say(reader.fd, "2710\r\n");
        fake_feed(io, reader.fd, (struct slice){value, PIECE_BYTES});
        ask(&reader, "\r\n");
    }
    expect_nothing(&reader);
    ask(&reader, "2710\r\n");
    expect(&reader, 413, "The value is larger than this front-end takes (--value-max).\n");
}

/* How long it may wait for copies counts from its end on, as on the node. */
static void test_slow_upload_with_copies(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader, "PUT /a HTTP/1.1\r\nHost: h\r\nPrefer: copies=2, wait=10\r\n"
                 "Transfer-Encoding: chunked\r\n\r\n3\r\n");
    pass(9 * SECOND);
    ask(&reader, "xyz\r\n0\r\n\r\n");
    assert_int_equal(nodes.count, 1);
    pass(10 * SECOND);
    assert_int_equal(nodes.count, 1); /* it is not asked of another one */
    lose(nodes.asked[0].fd);
    pass(RELAY_LATE_US + 2 * FRONTEND_TICK_US);
    assert_true(asked_has(1, "Prefer: wait=0\r\n"));
    say(nodes.asked[1].fd, OK);
    settle();
    expect(&reader, 200, "");
}

/* A node that takes nothing stops the client, too. */
static void test_upload_has_backpressure(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    upload_begin_by(&reader, VALUE_BYTES);
    upload_some(&reader, 0, PIECE_BYTES);
    fake_socket(io, nodes.asked[0].fd)->space = 0;
    upload_some(&reader, PIECE_BYTES, VALUE_BYTES - PIECE_BYTES);
    assert_true(fake_unread(io, reader.fd) > VALUE_BYTES / 4);
    fake_socket(io, nodes.asked[0].fd)->space = SIZE_MAX;
    settle();
    assert_int_equal(fake_unread(io, reader.fd), 0);
    say(nodes.asked[0].fd, OK);
    settle();
    expect(&reader, 200, "");
}

/* The client's own Fog-Before, of a value that cannot be sent again, and of one that could. */
static void test_upload_is_late(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    for (unsigned i = 0; i < 2; i++) {
        size_t bytes = i == 0 ? 100000 : 100;
        char head[200];
        snprintf(head, sizeof head,
                 "PUT /a HTTP/1.1\r\nHost: h\r\nFog-Before: 1\r\nContent-Length: %zu\r\n\r\n",
                 bytes);
        ask(&reader, head);
        for (size_t at = 0; at < bytes; at += PIECE_BYTES)
            upload_some(&reader, at, bytes < PIECE_BYTES ? bytes : PIECE_BYTES);
        assert_int_equal(nodes.count, i + 1);
        assert_true(asked_has(i, "Fog-Before: 1\r\n"));
        say(nodes.asked[i].fd, "HTTP/1.1 412 Late\r\nContent-Length: 6\r\n\r\nlate.\n");
        settle();
        expect(&reader, 412, "late.\n");
        assert_int_equal(nodes.count, i + 1);
    }
}

/* Lists of keys */

#define KEYS_ANSWER "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\na1\na2\n"

static void test_keys(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader, GET(KEYS) GET("b"));
    answer_value("b", "value");
    expect_nothing(&reader);
    say(nodes.asked[asked_for(KEYS)].fd, KEYS_ANSWER);
    settle();
    expect(&reader, 200, "a1\na2\n");
    expect(&reader, 200, "value");
    ask(&reader, GET(KEYS));
    say(nodes.asked[asked_for(KEYS)].fd, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    settle();
    expect(&reader, 200, "");
    assert_int_equal(frontend->searches, 0);
}

static void test_keys_are_lost(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader, GET(KEYS));
    for (unsigned tries = 0; tries < RELAY_TRIES_MAX; tries++) {
        assert_int_equal(nodes.count, tries + 1);
        expect_nothing(&reader);
        lose(nodes.asked[tries].fd);
    }
    expect(&reader, 503, "A node did not answer, so not all keys can be listed; try again.\n");
    assert_int_equal(nodes.count, RELAY_TRIES_MAX);
    assert_int_equal(frontend->searches, 0);
}

/* One that dies, that does not want to, or that hangs is as much as for a key: another one is asked. */
static void test_keys_of_another_member(void **state)
{
    (void)state;
    enum { DIES, REFUSES, HANGS, HOW };
    for (int how = 0; how < HOW; how++) {
        struct reader reader = reader_new();
        nodes.count = 0;
        ask(&reader, GET(KEYS) GET("b"));
        int fd = nodes.asked[asked_for(KEYS)].fd;
        answer_value("b", "value");
        if (how == DIES)
            lose(fd);
        else if (how == REFUSES)
            say(fd, "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n");
        else
            nodes.closed_for[node_of(fd)] = true;
        pass(BACKEND_HELLO_US + BACKEND_HANG_US + 2 * FRONTEND_TICK_US);
        int again = nodes.asked[asked_for(KEYS)].fd;
        assert_int_not_equal(node_of(again), node_of(fd));
        assert_false(fake_socket(io, fd)->open);
        say(again, KEYS_ANSWER);
        settle();
        expect(&reader, 200, "a1\na2\n");
        expect(&reader, 200, "value");
        assert_int_equal(frontend->searches, 0);
    }
}

/* Who takes as long as a list may take is not followed by others that take as long. */
static void test_keys_that_take_too_long(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader, GET(KEYS));
    pass(SEARCH_ANSWER_US + SECOND);
    expect(&reader, 503, "A node did not answer, so not all keys can be listed; try again.\n");
    assert_int_equal(nodes.count, 1);
}

/* What there is no room for is not refused before those in front of it on the connection are answered, and by then there may be room. */
static void test_keys_without_room(void **state)
{
    (void)state;
    struct reader reader = reader_new(), other = reader_new();
    ask(&reader, GET("a"));
    for (unsigned i = 0; i <= SEARCHES_MAX; i++)
        ask(&reader, GET(KEYS));
    assert_int_equal(frontend->searches, SEARCHES_MAX);
    expect_nothing(&reader);
    ask(&other, GET(KEYS));
    expect(&other, 503, "This front-end has no room for one more request; try again.\n");
    answer_value("a", "value");
    expect(&reader, 200, "value");
    for (unsigned i = 0; i <= SEARCHES_MAX; i++) {
        say(nodes.asked[i + 1].fd, KEYS_ANSWER);
        settle();
        expect(&reader, 200, "a1\na2\n");
    }
    assert_int_equal(frontend->searches, 0);
}

/* What was written on the same connection stands in the list. */
static void test_keys_behind_a_write(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader, GET("b") PUT("a1") PUT("a2") GET(KEYS) GET("c"));
    assert_int_equal(nodes.count, 3);
    answer_value("b", "value");
    say(nodes.asked[asked_for("a1")].fd, OK);
    settle();
    assert_int_equal(nodes.count, 3);
    say(nodes.asked[asked_for("a2")].fd, OK);
    settle();
    assert_int_equal(nodes.count, 5);
    answer_value("c", "last");
    say(nodes.asked[asked_for(KEYS)].fd, KEYS_ANSWER);
    settle();
    expect(&reader, 200, "value");
    expect(&reader, 200, "");
    expect(&reader, 200, "");
    expect(&reader, 200, "a1\na2\n");
    expect(&reader, 200, "last");
}

static void test_keys_for_who_has_left(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader, GET(KEYS));
    int fd = nodes.asked[asked_for(KEYS)].fd;
    assert_int_equal(frontend->searches, 1);
    fake_break(io, reader.fd, -ECONNRESET);
    settle();
    assert_int_equal(frontend->searches, 0);
    assert_false(fake_socket(io, fd)->open);
}

/* Who sends no more, and a front-end that stops, do not hurry it. */
static void test_keys_are_not_hurried(void **state)
{
    (void)state;
    struct reader reader = reader_new(), other = reader_new();
    say(reader.fd, GET(KEYS));
    fake_end(io, reader.fd); /* before a node is asked */
    settle();
    say(nodes.asked[asked_for(KEYS)].fd, KEYS_ANSWER);
    settle();
    expect(&reader, 200, "a1\na2\n");
    nodes.count = 0;
    say(other.fd, GET(KEYS));
    loop_turn(&loop, 0);
    frontend_drain(frontend);
    settle();
    say(nodes.asked[asked_for(KEYS)].fd, KEYS_ANSWER);
    settle();
    expect(&other, 200, "a1\na2\n");
}

/* Out of memory, at each allocation in turn: an answer comes, or the connection ends; then all is well again. */

static void try_all(struct reader *reader)
{
    ask(reader, GET("a") PUT("b") "DELETE /c HTTP/1.1\r\nHost: h\r\n\r\n");
    for (unsigned i = 0; i < nodes.count; i++)
        say(nodes.asked[i].fd, OK);
    nodes.count = 0;
    settle();
    ask(reader,
        "POST /d HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n");
    ask(reader, "GET /e HTTP/1.1\r\nHost: h\r\nIf-None-Match: \"1\"\r\nPrefer: wait=1\r\n\r\n");
    for (unsigned i = 0; i < nodes.count; i++)
        say(nodes.asked[i].fd, OK);
    nodes.count = 0;
    settle();
    ask(reader, GET("f"));
    for (unsigned i = 0; i < nodes.count; i++)
        answer_long(nodes.asked[i].fd, "v", 0, VALUE_BYTES);
    nodes.count = 0;
    ask(reader, GET(KEYS));
    for (unsigned i = 0; i < nodes.count; i++) { /* another one may be asked for it */
        say(nodes.asked[i].fd, KEYS_ANSWER);
        settle();
    }
    nodes.count = 0;
    upload_begin_by(reader, 100000);
    if (is_open(reader))
        upload_some(reader, 0, 100000);
    for (unsigned i = 0; i < nodes.count; i++)
        say(nodes.asked[i].fd, OK);
    nodes.count = 0;
    settle();
}

static void test_without_memory(void **state)
{
    (void)state;
    unsigned nth = 1;
    for (unsigned more = 1; more; nth++) {
        struct reader reader = reader_new(), well = reader_new();
        failing_start(nth, false);
        try_all(&reader);
        more = failing_stop();
        check(nth < 2000, "there is no end to it");
        fake_end(io, reader.fd);
        pass(200 * MS);
        nodes.count = 0;
        ask(&well, GET("z"));
        pass(300 * MS);
        answer_value("z", "well");
        expect(&well, 200, "well");
        fake_end(io, well.fd);
        pass(2 * SECOND);
        check(frontend->relays.used == 0, "%u requests are left, allocation %u",
              frontend->relays.used, nth);
        check(frontend->searches == 0, "a list of keys is left, allocation %u", nth);
        if (io->count > FILES_MAX - 60) {
            tear_down(NULL);
            begin(SIDE_OWN);
        }
    }
    assert_true(nth > 10); /* memory is kept from one round to the next, so few are left */
}

/* What is refused for want of memory is so in its turn. */
static void test_order_without_memory(void **state)
{
    static const char *const keys[] = {"a", "b", "c"};
    (void)state;
    unsigned nth = 1;
    for (bool more = true; more; nth++) {
        struct reader reader = reader_new();
        struct answer answer;
        nodes.count = 0;
        failing_start(nth, false);
        ask(&reader, GET("a") GET("b") GET("c"));
        more = failing_stop();
        for (unsigned i = 0; i < nodes.count; i++)
            answer_value((char[]){nodes.asked[i].text[5], 0}, (char[]){nodes.asked[i].text[5], 0});
        for (size_t i = 0; i < COUNT(keys) && next_answer(&reader, &answer) == ANSWER_OK; i++) {
            check(answer.status == 200 || answer.status == 503, "%u", answer.status);
            if (answer.status == 200)
                check_slice(answer.body, slice_of(keys[i]), "body");
        }
        fake_break(io, reader.fd, -ECONNRESET);
        pass(2 * SECOND);
        check(frontend->relays.used == 0, "a request is left, allocation %u", nth);
    }
    assert_true(nth > 3);
}

/* Keys on the move */

/* The next question is for this method, and goes to this cluster; it has this version there, 0 for none. */
static void answer_version(unsigned i, const char *method, bool other, unsigned version)
{
    char answer[200];
    check(i + 1 == nodes.count, "%u questions in place of %u", nodes.count, i + 1);
    check(asked_has(i, method), "%s: %s", method, nodes.asked[i].text);
    check((node_of(nodes.asked[i].fd) >= 2) == other, "question %u goes to the wrong cluster", i);
    if (version)
        snprintf(
            answer, sizeof answer,
            "HTTP/1.1 200 OK\r\nETag: \"%u\"\r\nFog-Version: %u\r\nContent-Length: %d\r\n\r\n%s",
            version, version, *method == 'H' ? 100 : 1,
            *method == 'H' ? "" : (const char[]){(char)('0' + version), 0});
    else
        snprintf(answer, sizeof answer, "HTTP/1.1 204 No Content\r\n\r\n");
    say(nodes.asked[i].fd, answer);
    settle();
}

static void test_moving_read(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader, GET("a"));
    answer_version(0, "HEAD /a ", true, 6);
    answer_version(1, "GET /a ", false, 7);
    expect(&reader, 200, "7");
    ask(&reader, GET("a"));
    answer_version(2, "HEAD /a ", true, 8);
    answer_version(3, "GET /a ", false, 7);
    answer_version(4, "GET /a ", true, 8);
    expect(&reader, 200, "8");
}

/* What its own cluster has is long, and older: the other one is asked at once. */
static void test_moving_read_of_a_long_value(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader, GET("a"));
    answer_version(0, "HEAD /a ", true, 8);
    answer_long(nodes.asked[1].fd, "v", 0, 1000);
    answer_version(2, "GET /a ", true, 8);
    expect(&reader, 200, "8");
}

/* Tries at the other cluster that end without an answer are counted there; not one that its client has left. */
/* One that stood aside begins anew, in both. */
static void test_moving_read_before_its_turn(void **state)
{
    (void)state;
    struct reader reader = reader_new(), other = reader_new();
    ask(&other, GET("a"));
    answer_version(0, "HEAD /a ", true, 0);
    answer_long(nodes.asked[1].fd, "a", 0, VALUE_BYTES);
    expect_long(&other);
    nodes.count = 0;
    ask(&reader, GET("a"));
    answer_version(0, "HEAD /a ", true, 0);
    ask(&reader, GET("b"));
    answer_version(2, "HEAD /b ", true, 0);
    assert_int_equal(nodes.count, 4);
    answer_long(nodes.asked[3].fd, "b", 0, VALUE_BYTES);
    assert_int_equal(nodes.count, 4);
    answer_long(nodes.asked[1].fd, "a", 0, VALUE_BYTES);
    expect_long(&reader);
    answer_version(4, "HEAD /b ", true, 0);
    answer_long(nodes.asked[5].fd, "b", 0, VALUE_BYTES);
    expect_long(&reader);
    assert_int_equal(frontend->relays.used, 0);
}

static void test_moving_failures(void **state)
{
    (void)state;
    struct reader reader = reader_new();
    ask(&reader, GET("a"));
    lose(nodes.asked[0].fd);
    assert_int_equal(frontend->others[0].failures, 1);
    answer_version(1, "HEAD /a ", true, 6);
    answer_version(2, "GET /a ", false, 7);
    expect(&reader, 200, "7");
    ask(&reader, GET("a"));
    lose(reader.fd);
    lose(nodes.asked[3].fd);
    assert_int_equal(frontend->others[0].failures, 1);
    assert_int_equal(frontend->partitions[0].failures, 0);
}

/* Of two nodes of the other cluster one has told of a version, and the other one, which is asked for its value, lags behind both
 * clusters: what is older than what its own cluster has is no answer. */
static void test_moving_read_from_who_lags(void **state)
{
    (void)state;
    for (unsigned lags = 0; lags < 7; lags += 5) {
        struct reader reader = reader_new();
        nodes.count = 0;
        ask(&reader, GET("a"));
        answer_version(0, "HEAD /a ", true, 8);
        answer_version(1, "GET /a ", false, 7);
        answer_version(2, "GET /a ", true, lags);
        expect_nothing(&reader);
        answer_version(3, "GET /a ", false, 7);
        expect(&reader, 200, "7");
    }
}

enum breaking { WELL, LOST, FOREIGN, APART, WRONG };

/* What becomes of the others; or of all, which makes no difference to what is told of them. */
static void break_others(enum breaking how)
{
    nodes.closed_for[2] = nodes.closed_for[3] = how == LOST;
    nodes.foreign[3] = how == FOREIGN;
    nodes.alone = how == APART;
    if (how == WRONG)
        nodes.partition = "1/2";
    pass(15 * SECOND);
}

/* What is told, or logged when there is no request. */
static const char *told(const char *request)
{
    static char said[64 * 1024];
    struct reader reader = reader_new();
    struct answer answer;
    if (!request)
        return logged;
    ask(&reader, request);
    assert_int_equal(next_answer(&reader, &answer), ANSWER_OK);
    snprintf(said, sizeof said, "%.*s", (int)answer.body.len, answer.body.data);
    return said;
}

#define STATUS GET("-/status")
#define LINES GET("")
#define METRICS GET("-/metrics")
#define MOVE(word)                                                                                \
    {                                                                                             \
        {WELL, STATUS, "\"" word "_partitions\": [\n    {"}, {WELL, LINES, word " 0: reached"},   \
            {WELL, METRICS, "velour_fog_frontend_partition_reached{partition=\"" word "-0\"} 1"}, \
            {LOST, STATUS, "\"No node of the " word " partition 0 is ready"},                     \
            {LOST, LINES, word " 0: NOT REACHED"},                                                \
            {LOST, NULL, "event=partition-lost " word "=0 "},                                     \
            {FOREIGN, STATUS,                                                                     \
             "first in the " word " partition 0, and is not asked: correct --" word               \
             "-cluster, or"},                                                                     \
            {FOREIGN, NULL, "event=wrong-cluster " word "=0 "},                                   \
            {FOREIGN, NULL, "do=\"correct --" word "-cluster; where"},                            \
            {APART, STATUS, "are asked for the " word " partition 0"},                            \
            {APART, STATUS, "of one of the two, or --" word "-cluster."},                         \
            {APART, NULL, "of one of the two, or --" word "-cluster\""},                          \
            {WRONG, STATUS, "the order or number of --" word "-cluster is wrong"},                \
            {WRONG, NULL, "is the order and number of --" word "-cluster right?"},                \
            {WRONG, NULL, "do=\"correct --" word "-cluster: see wrong-partition\""},              \
    }

/* Which way keys move is told right wherever it is told. */
static void test_direction_of_a_move(void **state)
{
    static const struct {
        enum breaking how;
        const char *request, *wanted;
    } rows[SIDES][15] = {[SIDE_PREVIOUS] = MOVE("previous"), [SIDE_NEXT] = MOVE("next")};
    (void)state;
    for (enum side side = SIDE_PREVIOUS; side < SIDES; side++) {
        const char *empty =
            side == SIDE_NEXT ? "\"previous_partitions\": []" : "\"next_partitions\": []";
        tear_down(NULL);
        begin(side);
        for (size_t i = 0; i < COUNT(rows[side]); i++) {
            if (i > 0 && rows[side][i].how != rows[side][i - 1].how)
                break_others(rows[side][i].how);
            const char *said = told(rows[side][i].request);
            check(strstr(said, rows[side][i].wanted) != NULL, "no %s in %s", rows[side][i].wanted,
                  said);
            if (rows[side][i].request && strcmp(rows[side][i].request, STATUS) == 0)
                assert_non_null(strstr(said, empty));
            else
                assert_null(strstr(said, side == SIDE_NEXT ? "previous" : "next"));
        }
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define TEST_MOVING(name) cmocka_unit_test_setup_teardown(name, set_up_moving, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_answers_in_order),
        TEST(test_answers_in_one_turn),
        TEST(test_others_wait),
        TEST(test_half_closed),
        TEST(test_client_leaves),
        TEST(test_via),
        TEST(test_fields_for_nodes),
        TEST(test_most_fields),
        TEST(test_fields_of_nodes),
        TEST(test_odd_statuses),
        TEST(test_unchanged_long_value),
        TEST(test_end_of_what_is_shared),
        TEST(test_interim_answers),
        TEST(test_malformed_answers),
        TEST(test_nonsense_and_then_sense),
        TEST(test_nothing_but_nonsense),
        TEST(test_write_again),
        TEST(test_refused_write),
        TEST(test_late_write),
        TEST(test_write_behind_a_write),
        TEST(test_read_behind_a_write),
        TEST(test_read_behind_an_answered_write),
        TEST(test_wait_behind_a_read),
        TEST(test_hurry_behind_a_write),
        TEST(test_leaver_behind_a_write),
        TEST(test_write_behind_an_answered_write),
        TEST(test_write_behind_a_read),
        TEST(test_read_after_a_write),
        TEST(test_outdated_long_value),
        TEST(test_read_after_a_lost_write),
        TEST(test_write_after),
        TEST(test_again_after_the_future),
        TEST(test_client_says_that_a_version_follows),
        TEST(test_far_future),
        TEST(test_unsure),
        TEST(test_spare_connection),
        TEST(test_spare_connection_is_younger),
        TEST(test_parked),
        TEST(test_nobody_overtakes_parked),
        TEST(test_parked_to_the_last_place),
        TEST(test_misrouted),
        TEST(test_foreign_node),
        TEST(test_foreign_node_is_forgotten),
        TEST(test_wait_again),
        TEST(test_wait_through_many_losses),
        TEST(test_wait_goes_on_elsewhere),
        TEST(test_wait_that_ends_early),
        TEST(test_wait_that_nobody_has_room_for),
        TEST(test_wait_that_is_refused_elsewhere),
        TEST(test_wait_that_is_cut_off_elsewhere),
        TEST(test_wait_without_a_place_elsewhere),
        TEST(test_wait_for_ever),
        TEST(test_order_with_long_bodies),
        TEST(test_read_behind_a_long_body_goes_where_it_went),
        TEST(test_order_with_copies),
        TEST(test_wait_without_answer),
        TEST(test_fields_of_connections),
        TEST(test_copies_again),
        TEST(test_drain_hurries_copies),
        TEST(test_drain_hurries_a_long_body_with_copies),
        TEST(test_drain_before_copies),
        TEST(test_end_hurries_copies),
        TEST(test_end_of_who_waits),
        TEST(test_latency_of_who_waits),
        TEST(test_input_of_who_waits),
        TEST(test_time_behind_who_waits),
        TEST(test_time_behind_a_slow_node),
        TEST(test_stream_to_a_slow_client),
        TEST(test_stream_gives_way),
        TEST(test_stream_goes_on_elsewhere),
        TEST(test_stream_is_parked),
        TEST(test_stream_is_lost),
        TEST(test_stream_of_another_value),
        TEST(test_stream_begins_anew),
        TEST(test_stream_gives_way_to_a_stream),
        TEST(test_leaver_behind_a_stream),
        TEST(test_long_reads_go_alone),
        TEST(test_lanes_are_kept),
        TEST(test_displaced_reads_go_alone),
        TEST(test_places_for_what_is_shared),
        TEST(test_drain_behind_a_stream),
        TEST(test_haul_to_who_does_not_answer),
        TEST(test_haul_from_who_does_not_answer),
        TEST(test_upload),
        TEST(test_read_after_a_long_write),
        TEST(test_upload_is_lost),
        TEST(test_upload_comes_too_late),
        TEST(test_upload_is_misrouted),
        TEST(test_requests_of_one_connection_have_a_limit),
        TEST(test_read_after_a_write_that_was_carried_out_elsewhere),
        TEST(test_requests_have_a_limit_of_bytes),
        TEST(test_retries_have_a_limit),
        TEST(test_half_of_the_retries_is_for_what_was_lost),
        TEST(test_upload_of_many_chunks),
        TEST(test_slow_upload_with_copies),
        TEST(test_retry_after),
        TEST(test_upload_is_refused),
        TEST(test_upload_is_too_large),
        TEST(test_upload_has_backpressure),
        TEST(test_upload_is_late),
        TEST(test_keys),
        TEST(test_keys_are_lost),
        TEST(test_keys_of_another_member),
        TEST(test_keys_that_take_too_long),
        TEST(test_keys_without_room),
        TEST(test_keys_behind_a_write),
        TEST(test_keys_for_who_has_left),
        TEST(test_keys_are_not_hurried),
        TEST(test_kept_before_its_turn),
        TEST(test_asked_before_its_turn),
        TEST(test_long_before_its_turn),
        TEST(test_long_head_before_its_turn),
        TEST(test_aside_and_lost),
        TEST(test_aside_without_nodes),
        TEST(test_aside_of_who_leaves),
        TEST(test_order_with_who_stands_aside),
        TEST(test_stream_begins_anew_before_its_turn),
        TEST(test_without_memory),
        TEST(test_order_without_memory),
        TEST_MOVING(test_moving_read),
        TEST_MOVING(test_moving_read_of_a_long_value),
        TEST_MOVING(test_moving_read_before_its_turn),
        TEST_MOVING(test_moving_failures),
        TEST_MOVING(test_moving_read_from_who_lags),
        TEST_MOVING(test_direction_of_a_move),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
