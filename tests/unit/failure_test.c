/* A whole node, and a client that asks it for everything that it can do, while the nth allocation
 * fails, for n = 1, 2, 3 and so on until none does. Whatever fails: nothing crashes or leaks, each
 * answer is right, or says 503 or 507, or the connection is closed; and afterwards a new connection
 * works and finds all that was acknowledged.
 *
 * Linked with --wrap for malloc, calloc, realloc, heap_alloc and pool_take: see failing.h. */
#include "answer.h"

#include <errno.h>

#include "data/hash.h"
#include "data/store.h"
#include "data/wire.h"
#include "failing.h"
#include "fake_io.h"
#include "records.h"
#include "role/node.h"

enum {
    VALUE_MAX = 1 << 20,
    LARGE = 100 * 1000,
    GRACE_S = 5,
    KEYS_MAX = 100,
    STREAM_MAX = 400 * 1000,
    MERGED_SMALL = 3,
    MERGED_LARGE = 40,
};

static const uint64_t second_us = 1000000;

static struct fake_io *io;
static struct loop loop;
static struct log quiet;
static struct node *node;
static char large[LARGE];

static bool log_nothing(void *sink, const char *line, unsigned len)
{
    (void)sink;
    (void)line;
    (void)len;
    return true;
}

static uint64_t no_clock(void *clock)
{
    (void)clock;
    return 0;
}

static struct node_config config_make(void)
{
    struct node_config config = {
        .server = {.connections_max = 100,
                   .idle_us = 300 * second_us,
                   .request_us = 30 * second_us,
                   .stall_us = 300 * second_us},
        .memory_max = 64 << 20,
        .value_max = VALUE_MAX,
        .grace_us = GRACE_S * second_us,
        .drain_us = 10 * second_us,
    };
    allow_list_private(&config.server.allow);
    return config;
}

static void world_start(void)
{
    io = fake_io_new();
    quiet = (struct log){
        .level = LOG_ERROR_LEVEL, .journald = false, .wall_us = no_clock, .write = log_nothing};
    loop_init(&loop, &io->io);
    for (size_t i = 0; i < sizeof large; i++)
        large[i] = (char)('A' + (i + i / 26 * 3) % 26);
}

static void world_end(void)
{
    loop_free(&loop);
    fake_io_destroy(io);
}

/* Returns whether it serves. */
static bool node_start(void)
{
    struct node_config config = config_make();
    struct address address;
    assert_int_equal(address_parse(SLICE("127.0.0.1:8000"), &address), 0);
    node = node_new(&loop, &quiet, &config);
    return node && node_listen(node, &address, -1) == 0;
}

static void settle(void)
{
    int turns = 0;
    do {
        loop_turn(&loop, 0);
        check(turns++ < 100000, "it goes on for ever");
    } while (loop.again || io->events > 0);
}

static void pass(uint64_t us)
{
    uint64_t until = loop.now_us + us;
    settle();
    while (loop.now_us < until)
        loop_turn(&loop, (int64_t)(until - loop.now_us));
    settle();
}

/* What the client knows of the keys: what each has, and, when answers to writes were lost, may have
 * instead. */

enum { DOUBTS_MAX = 8 };

struct known {
    char name[16];
    struct slice has; /* NULL as data for nothing */
    struct slice may[DOUBTS_MAX];
    unsigned doubts;
};

static struct {
    struct known keys[KEYS_MAX];
    unsigned count;
    int fd; /* of the connection in use; 0 for none */
    size_t read;
    char etag[64]; /* of the last answer that had one */
    char step[64];
} mine;

static struct known *known_of(const char *name)
{
    for (unsigned i = 0; i < mine.count; i++)
        if (strcmp(mine.keys[i].name, name) == 0)
            return &mine.keys[i];
    assert_true(mine.count < KEYS_MAX);
    struct known *known = &mine.keys[mine.count++];
    *known = (struct known){.doubts = 0};
    snprintf(known->name, sizeof known->name, "%s", name);
    return known;
}

static bool same_value(struct slice a, struct slice b)
{
    return !a.data == !b.data && slice_equal(a, b);
}

static bool may_have(const struct known *known, struct slice value)
{
    bool may = same_value(value, known->has);
    for (unsigned i = 0; i < known->doubts; i++)
        may |= same_value(value, known->may[i]);
    return may;
}

static void known_is(struct known *known, struct slice value)
{
    known->has = value;
    known->doubts = 0;
}

/* A GET found this. */
static void known_seen(struct known *known, struct slice value)
{
    check(may_have(known, value), "%s: %s has %.40s", mine.step, known->name,
          value.data ? value.data : "nothing");
    struct slice is = known->has;
    for (unsigned i = 0; i < known->doubts; i++)
        if (same_value(value, known->may[i]))
            is = known->may[i]; /* it outlives the answer */
    known_is(known, same_value(value, known->has) ? known->has : is);
}

/* A write was answered: with 200 it is done, with 503 or 507 nothing was; without an answer nobody
 * knows. */
static void known_written(const char *name, struct slice value, unsigned status)
{
    struct known *known = known_of(name);
    if (status == 200)
        known_is(known, value);
    if (status == 0 && !may_have(known, value)) {
        assert_true(known->doubts < DOUBTS_MAX);
        known->may[known->doubts++] = value;
    }
}

/* Asking */

static bool is_open(int fd)
{
    return fd && fake_socket(io, fd)->open;
}

static int connect_client(void)
{
    int fd = fake_connect(io, "10.0.0.7:7");
    settle();
    return fd;
}

static void use_open_connection(void)
{
    if (is_open(mine.fd) && !fake_socket(io, mine.fd)->shut)
        return;
    mine.fd = connect_client();
    mine.read = 0;
}

static void feed(const char *text)
{
    fake_feed(io, mine.fd, slice_of(text));
}

/* The next answer on a connection, if there is one. Without, or with 503 or 507, something must
 * have failed. Returns its status, or 0 when the connection was closed instead. */
static unsigned take_answer(int fd, size_t *read, bool no_body, struct answer *answer)
{
    struct slice output = fake_output(io, fd);
    struct slice rest = {output.data + *read, output.len - *read};
    const struct fake_socket *socket = fake_socket(io, fd);
    enum answer_result result = answer_parse(&rest, no_body, !socket->open || socket->shut, answer);
    check(result != ANSWER_BAD, "%s: %.*s", mine.step, (int)rest.len, rest.data);
    if (result == ANSWER_MORE) {
        check(!socket->open, "%s: no answer, and the connection stays", mine.step);
        check(failing_has_struck(), "%s: no answer", mine.step);
        *answer = (struct answer){0};
        return 0;
    }
    *read = output.len - rest.len;
    struct slice etag = answer_field(answer, "ETag");
    if (etag.data)
        snprintf(mine.etag, sizeof mine.etag, "%.*s", (int)etag.len, etag.data);
    bool no_memory = answer->status == 503 || answer->status == 507;
    check(!no_memory || failing_has_struck(), "%s: %u", mine.step, answer->status);
    return answer->status;
}

static unsigned next(bool no_body, struct answer *answer)
{
    return take_answer(mine.fd, &mine.read, no_body, answer);
}

/* Asks, on a connection that was open before. Returns as next. */
static unsigned ask(const char *text, struct answer *answer)
{
    use_open_connection();
    feed(text);
    settle();
    return next(strncmp(text, "HEAD", 4) == 0, answer);
}

static bool is_no_memory(unsigned status)
{
    return status == 0 || status == 503 || status == 507;
}

static void check_status(unsigned status, unsigned wanted)
{
    check(status == wanted || is_no_memory(status), "%s: %u in place of %u", mine.step, status,
          wanted);
}

static void step(const char *name)
{
    snprintf(mine.step, sizeof mine.step, "%s", name);
}

static void get_with(const char *name, const char *fields, struct answer *answer)
{
    char text[400];
    snprintf(text, sizeof text, "GET /%s HTTP/1.1\r\nHost: h\r\n%s\r\n", name, fields);
    unsigned status = ask(text, answer);
    if (status == 200)
        known_seen(known_of(name), answer->body.data ? answer->body : SLICE(""));
    else if (status == 204)
        known_seen(known_of(name), (struct slice){0});
    else
        check_status(status, 304);
}

static void get(const char *name)
{
    struct answer answer;
    get_with(name, "", &answer);
    check(answer.status != 304, "%s: 304", mine.step);
}

static void put_with(const char *name, const char *fields, struct slice value)
{
    char head[400];
    struct answer answer;
    snprintf(head, sizeof head, "PUT /%s HTTP/1.1\r\nHost: h\r\n%sContent-Length: %zu\r\n\r\n",
             name, fields, value.len);
    use_open_connection();
    feed(head);
    fake_feed(io, mine.fd, value);
    settle();
    unsigned status = next(false, &answer);
    check_status(status, 200);
    known_written(name, value, status);
}

static void put(const char *name, const char *value)
{
    put_with(name, "", slice_of(value));
}

/* The steps of the story */

static void reading_and_writing(void)
{
    struct answer answer;
    char fields[200];
    step("GET of nothing");
    get("one");
    step("PUT");
    put("one", "1");
    step("GET");
    get("one");
    step("GET with If-None-Match");
    snprintf(fields, sizeof fields, "If-None-Match: %s\r\n", mine.etag);
    get_with("one", fields, &answer);
    check(answer.status == 304 || failing_has_struck(), "%s: %u", mine.step, answer.status);
    step("HEAD");
    check_status(ask("HEAD /one HTTP/1.1\r\nHost: h\r\n\r\n", &answer),
                 known_of("one")->has.data ? 200 : 204);
    step("DELETE");
    unsigned status = ask("DELETE /one HTTP/1.1\r\nHost: h\r\n\r\n", &answer);
    check_status(status, 200);
    known_written("one", (struct slice){0}, status);
    get("one");
    put("empty", "");
    get("empty");
    put("one", "once more");
}

static void lives_for_a_while(void)
{
    step("PUT with Fog-TTL");
    put_with("brief", "Fog-TTL: 2\r\nContent-Type: text/plain\r\n", SLICE("soon gone"));
    get("brief");
    pass(second_us);
    get("brief");
    pass(3 * second_us);
    struct known *known = known_of("brief");
    known_is(known, (struct slice){0}); /* whatever became of it */
    get("brief");
}

/* A GET that waits, and somebody else who writes; or nobody. */
static void waiting(const char *value)
{
    char text[300];
    struct answer answer;
    size_t read = 0;
    step("wait");
    get("one");
    if (!known_of("one")->has.data || !mine.etag[0])
        return;
    int waits = connect_client();
    snprintf(text, sizeof text,
             "GET /one HTTP/1.1\r\nHost: h\r\nPrefer: wait=10\r\nIf-None-Match: %s\r\n\r\n",
             mine.etag);
    fake_feed(io, waits, slice_of(text));
    settle();
    check(fake_output(io, waits).len == 0 || failing_has_struck(), "%s: it does not wait",
          mine.step);
    if (value)
        put("one", value);
    pass(value ? 1 : 11 * second_us);
    if (is_open(waits) && fake_output(io, waits).len == 0)
        pass(11 * second_us); /* the write did not come to pass */
    unsigned status = take_answer(waits, &read, false, &answer);
    check(status == (value ? 200 : 304) || failing_has_struck(), "%s: %u", mine.step, status);
    if (status == 200)
        known_seen(known_of("one"), answer.body);
    else
        check_status(status, 304);
    if (is_open(waits))
        fake_end(io, waits);
    settle();
}

/* A large value that comes in parts. */
static void large_value(bool chunked)
{
    struct answer answer;
    const char *name = chunked ? "chunked" : "large";
    char text[200];
    step(chunked ? "PUT, chunked" : "PUT in parts");
    use_open_connection();
    snprintf(text, sizeof text, "PUT /%s HTTP/1.1\r\nHost: h\r\n%s\r\n", name,
             chunked ? "Transfer-Encoding: chunked\r\n" : "Content-Length: 100000\r\n");
    feed(text);
    for (size_t at = 0; at < LARGE; at += LARGE / 4) {
        if (chunked)
            feed("61a8\r\n"); /* a quarter */
        fake_feed(io, mine.fd, (struct slice){large + at, LARGE / 4});
        if (chunked)
            feed("\r\n");
        settle();
    }
    feed(chunked ? "0\r\n\r\n" : "");
    settle();
    unsigned status = next(false, &answer);
    check_status(status, 200);
    known_written(name, (struct slice){large, LARGE}, status);
    if (answer.close || !is_open(mine.fd))
        mine.fd = 0; /* what was sent behind a refusal is nobody's request */
    step("GET of it");
    get(name);
}

static void body_that_nobody_wants(void)
{
    struct answer answer;
    step("DELETE with a body in parts");
    use_open_connection();
    feed("DELETE /large HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabc");
    settle();
    feed("def");
    settle();
    unsigned status = next(false, &answer);
    check_status(status, 200);
    known_written("large", (struct slice){0}, status);
    if (answer.close)
        mine.fd = 0;
    get("large");
}

/* Answers that do not go out at once. */
static void blocked_output(void)
{
    struct answer answer;
    step("blocked output");
    use_open_connection();
    struct fake_socket *socket = fake_socket(io, mine.fd);
    socket->space = 3000;
    for (int i = 0; i < 4; i++)
        feed(i % 2 ? "GET /chunked HTTP/1.1\r\nHost: h\r\n\r\n"
                   : "GET /one HTTP/1.1\r\nHost: h\r\n\r\n");
    feed("GET /-/keys HTTP/1.1\r\nHost: h\r\n\r\n");
    for (int i = 0; i < 40; i++) {
        settle();
        socket->space = 10000;
    }
    socket->space = SIZE_MAX;
    settle();
    for (int i = 0; i < 4; i++) {
        unsigned status = next(false, &answer);
        const char *name = i % 2 ? "chunked" : "one";
        if (status == 200 || status == 204)
            known_seen(known_of(name), status == 200 ? answer.body : (struct slice){0});
        else
            check_status(status, 200);
        if (status == 0)
            return;
    }
    check_status(next(false, &answer), 200);
}

static void pipelining(void)
{
    struct answer answer;
    step("pipelining");
    use_open_connection();
    for (int i = 0; i < 10; i++) {
        char text[200];
        snprintf(text, sizeof text,
                 "PUT /pipe%d HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n%dGET /pipe%d "
                 "HTTP/1.1\r\nHost: h\r\n\r\n",
                 i, i, i);
        feed(text);
    }
    settle();
    bool lost = false;
    for (int i = 0; i < 10; i++) {
        char name[16];
        snprintf(name, sizeof name, "pipe%d", i);
        unsigned status = lost ? 0 : next(false, &answer);
        check_status(status, 200);
        known_written(name, (struct slice){"0123456789" + i, 1}, status);
        status = lost || status == 0 ? 0 : next(false, &answer);
        lost |= status == 0;
        if (status == 200 || status == 204)
            known_seen(known_of(name), status == 200 ? answer.body : (struct slice){0});
        else
            check_status(status, 200);
    }
}

static void refusals(void)
{
    static const struct {
        const char *text;
        unsigned status;
    } rows[] = {
        {"GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        {"PUT /-/x HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx", 403},
        {"GET /-/x HTTP/1.1\r\nHost: h\r\n\r\n", 404},
        {"PATCH /one HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx", 405},
        {"PUT /one HTTP/1.1\r\nHost: h\r\nIf-Match: *\r\nContent-Length: 1\r\n\r\nx", 501},
        {"POST /-/merge HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabcde", 400},
        {"PUT /one HTTP/1.1\r\nHost: h\r\nContent-Length: 9999999\r\n\r\nx", 413},
        {"PUT /one HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n989680\r\nx", 413},
        {"GET /one HTTP/1.1\r\n\r\n", 400},
    };
    struct answer answer;
    for (size_t i = 0; i < COUNT(rows); i++) {
        step(rows[i].text);
        check_status(ask(rows[i].text, &answer), rows[i].status);
        if (answer.close)
            mine.fd = 0;
    }
}

static void operations(void)
{
    static const struct {
        const char *target, *fields, *part;
    } rows[] = {
        {"/-/healthy", "", "healthy"},           {"/-/ready", "", "ready"},
        {"/-/status", "", "\"keys\": "},         {"/-/metrics", "", "velour_fog_keys "},
        {"/-/history", "", "\"samples\": "},     {"/-/digest", "", "all "},
        {"/-/digest/07", "", "07/00 "},          {"/-/digest/07/08", "", ""},
        {"/-/keys?prefix=none", "", ""},         {"/", "", ""},
        {"/", "Accept: text/html\r\n", "<html"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char text[200];
        struct answer answer;
        step(rows[i].target);
        snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: h\r\n%s\r\n", rows[i].target,
                 rows[i].fields);
        unsigned status = ask(text, &answer);
        check_status(status, 200);
        bool has = answer.body.len >= strlen(rows[i].part) &&
                   (!rows[i].part[0] ||
                    memmem(answer.body.data, answer.body.len, rows[i].part, strlen(rows[i].part)));
        check(has || status != 200, "%s: no %s", mine.step, rows[i].part);
    }
}

/* Each key that is there for sure stands in the list, and none that is not. */
static void listing(void)
{
    struct answer answer;
    step("/-/keys");
    if (ask("GET /-/keys HTTP/1.1\r\nHost: h\r\n\r\n", &answer) != 200)
        return;
    unsigned lines = 0, least = 0, most = 0;
    for (size_t i = 0; i < answer.body.len; i++)
        lines += answer.body.data[i] == '\n';
    for (unsigned i = 0; i < mine.count; i++) {
        const struct known *known = &mine.keys[i];
        char line[32];
        int len = snprintf(line, sizeof line, "%s\n", known->name);
        bool listed = memmem(answer.body.data, answer.body.len, line, (size_t)len) != NULL;
        bool may = known->has.data, must = may;
        for (unsigned doubt = 0; doubt < known->doubts; doubt++) {
            may |= known->may[doubt].data != NULL;
            must &= known->may[doubt].data != NULL;
        }
        check((listed || !must) && (!listed || may), "%s: %s", mine.step, known->name);
        least += must;
        most += may;
    }
    check(lines >= least && lines <= most, "%s: %u lines", mine.step, lines);
}

static char stream[STREAM_MAX];

static size_t stream_put(struct heap *heap, size_t at, const struct said *said)
{
    struct record *record = said_record(heap, said);
    struct slice data = wire_data(record);
    wire_head(record, stream + at);
    memcpy(stream + at + WIRE_HEAD_BYTES, data.data, data.len);
    at += WIRE_HEAD_BYTES + data.len;
    record_release(heap, record);
    return at;
}

/* Streams of records that are new, made without the node. */
static size_t stream_make(const char *prefix, unsigned records, size_t value_bytes)
{
    failing_pause();
    struct heap *heap = heap_new(0);
    size_t at = 0;
    for (unsigned i = 0; i < records; i++) {
        char name[16];
        snprintf(name, sizeof name, "%s%u", prefix, i);
        struct said said = {
            .key = slice_of(name), .value = {large + i, value_bytes}, .version = 1000 + i};
        at = stream_put(heap, at, &said);
        assert_true(at + WIRE_HEAD_BYTES < sizeof stream);
    }
    wire_end(records, stream + at);
    heap_destroy(heap);
    failing_resume();
    return at + WIRE_HEAD_BYTES;
}

static void merging(const char *prefix, unsigned records, size_t value_bytes, size_t pieces)
{
    char head[200];
    struct answer answer;
    step("/-/merge");
    size_t len = stream_make(prefix, records, value_bytes);
    use_open_connection();
    snprintf(head, sizeof head, "POST /-/merge HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n",
             len);
    feed(head);
    for (size_t at = 0; at < len; at += len / pieces + 1) {
        size_t piece = len / pieces + 1 < len - at ? len / pieces + 1 : len - at;
        fake_feed(io, mine.fd, (struct slice){stream + at, piece});
        if (pieces > 1)
            settle();
    }
    settle();
    unsigned status = next(false, &answer);
    check_status(status, 200);
    if (answer.close || status == 0)
        mine.fd = 0;
    char wanted[100];
    int wanted_len =
        snprintf(wanted, sizeof wanted, "%u records were read, %u of them were new here.\n",
                 records, records);
    check(status != 200 || slice_equal(answer.body, (struct slice){wanted, (size_t)wanted_len}),
          "%s: %.*s", mine.step, (int)answer.body.len, answer.body.data);
    for (unsigned i = 0; i < records; i++) { /* of one that was refused some may be in */
        char name[16];
        snprintf(name, sizeof name, "%s%u", prefix, i);
        known_written(name, (struct slice){large + i, value_bytes}, status == 200 ? 200 : 0);
    }
    for (unsigned i = 0; i < records; i += records / 3)
        get(mine.keys[mine.count - 1 - i].name);
}

/* A backup is whole, or seen not to be; and it brings nothing new to where it came from. */
static void backup_and_restore(void)
{
    struct answer answer;
    char head[200];
    step("/-/records");
    if (ask("GET /-/records HTTP/1.1\r\nHost: h\r\n\r\n", &answer) != 200)
        return;
    assert_true(answer.body.len < sizeof stream);
    size_t len = answer.body.len;
    memcpy(stream, answer.body.data, len);
    step("restore");
    use_open_connection();
    snprintf(head, sizeof head, "POST /-/merge HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n",
             len);
    feed(head);
    fake_feed(io, mine.fd, (struct slice){stream, len});
    settle();
    unsigned status = next(false, &answer);
    check_status(status, 200);
    check(status != 200 ||
              memmem(answer.body.data, answer.body.len, ", 0 of them were new here.\n", 27),
          "%s: %.*s", mine.step, (int)answer.body.len, answer.body.data);
    if (answer.close || status == 0)
        mine.fd = 0;
}

/* Three keys of one shard, so that a listing stops in the middle of it. */
static void one_shard(void)
{
    char name[16];
    uint64_t shard = hash_bytes("x0", 2) >> (64 - STORE_SHARD_BITS);
    step("one shard");
    for (unsigned number = 0, found = 0; found < 3; number++) {
        int len = snprintf(name, sizeof name, "x%u", number);
        if (hash_bytes(name, (size_t)len) >> (64 - STORE_SHARD_BITS) != shard)
            continue;
        put_with(name, "", (struct slice){large, 60000});
        found++;
    }
}

/* Clients that leave in the middle: nothing comes of it. */
static void leaving(void)
{
    static const char *const texts[] = {
        "PUT /one HTTP/1.1\r\nHost: h\r\nContent-Length: 50000\r\n\r\nhalf",
        "PUT /one HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "DELETE /one HTTP/1.1\r\nHost: h\r\nContent-Length: 50\r\n\r\nhalf",
        "POST /-/merge HTTP/1.1\r\nHost: h\r\nContent-Length: 50000\r\n\r\n",
        "GET /-/records HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /-/keys HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /chunked HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /nothing HTTP/1.1\r\nHost: h\r\nPrefer: wait=99\r\nIf-None-Match: \"absent\"\r\n\r\n",
    };
    step("leaving");
    size_t len = stream_make("never", 1, 30000);
    for (size_t i = 0; i < COUNT(texts); i++)
        for (size_t space = 3000; space < 400000;
             space += strstr(texts[i], "records") ? 80000 : 400000) {
            int fd = connect_client();
            fake_socket(io, fd)->space = space;
            fake_feed(io, fd, slice_of(texts[i]));
            if (strstr(texts[i], "merge"))
                fake_feed(io, fd, (struct slice){stream, len / 2});
            settle();
            if (is_open(fd))
                fake_break(io, fd, -ECONNRESET);
            settle();
            check(!is_open(fd), "%s: %s", mine.step, texts[i]);
        }
    get("one");
    get("never0");
}

static void story(void)
{
    reading_and_writing();
    lives_for_a_while();
    waiting("another");
    waiting(NULL);
    large_value(false);
    large_value(true);
    pipelining();
    blocked_output();
    body_that_nobody_wants();
    refusals();
    merging("m", MERGED_SMALL, 100, 1);
    merging("n", MERGED_LARGE, 3000, 7);
    operations();
    listing();
    backup_and_restore();
    one_shard();
    leaving();
}

/* With memory again: all that was acknowledged is there, on a new connection, and all of it can be
 * deleted. */
static void afterwards(void)
{
    mine.fd = 0;
    step("afterwards");
    for (unsigned i = 0; i < mine.count; i++)
        get(mine.keys[i].name);
    listing();
    for (unsigned i = 0; i < mine.count; i++) {
        char text[100];
        struct answer answer;
        snprintf(text, sizeof text, "DELETE /%s HTTP/1.1\r\nHost: h\r\n\r\n", mine.keys[i].name);
        check(ask(text, &answer) == 200, "%s: DELETE of %s", mine.step, mine.keys[i].name);
    }
    struct answer answer;
    pass((GRACE_S + 5) * second_us);
    check(ask("GET /-/status HTTP/1.1\r\nHost: h\r\n\r\n", &answer) == 200, "%s: status",
          mine.step);
    check(memmem(answer.body.data, answer.body.len, "\"table_bytes\": 0,", 17),
          "a record was lost: %.*s", (int)answer.body.len, answer.body.data);
    check(memmem(answer.body.data, answer.body.len, "\"held\": 0,", 10),
          "a request is held for ever");
    mine.count = 0;
    put("last", "words");
    get("last");
}

static void leave(void)
{
    node_drain(node);
    for (int i = 0; i < 1000 && !loop.stopped; i++)
        loop_turn(&loop, 100000);
    assert_true(loop.stopped);
    assert_int_equal(fake_open(io), 0);
    node_destroy(node);
}

/* Returns whether anything failed. */
static bool story_with_failure(unsigned nth, bool all_after)
{
    memset(&mine, 0, sizeof mine);
    world_start();
    assert_true(node_start());
    failing_start(nth, all_after);
    story();
    bool failed = failing_stop();
    afterwards();
    leave();
    world_end();
    return failed;
}

static void test_nothing_fails(void **state)
{
    (void)state;
    assert_false(story_with_failure(UINT32_MAX, false));
}

static void test_one_fails(void **state)
{
    (void)state;
    unsigned nth = 1;
    while (story_with_failure(nth, false))
        nth++;
    print_message("%u allocations\n", nth - 1);
    assert_true(nth > 200);
}

static void test_all_fail_from_one_on(void **state)
{
    (void)state;
    for (unsigned nth = 1; story_with_failure(nth, true); nth += 5)
        ;
}

/* A node that does not come up leaves nothing behind. */
static void test_start(void **state)
{
    (void)state;
    bool failed = true;
    unsigned nth;
    for (nth = 1; failed; nth++) {
        world_start();
        failing_start(nth, false);
        bool serves = node_start();
        failed = failing_stop();
        assert_int_equal(serves, !failed);
        if (node)
            node_destroy(node);
        loop_turn(&loop, 0);
        assert_true(loop_deadline(&loop) == UINT64_MAX);
        world_end();
    }
    assert_true(nth > 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_fails),
        cmocka_unit_test(test_start),
        cmocka_unit_test(test_one_fails),
        cmocka_unit_test(test_all_fail_from_one_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
