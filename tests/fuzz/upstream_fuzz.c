/* Fuzzes a front-end by what a member answers, whatever that is.
 *
 *   byte 0: how the bytes are cut, 0 for not at all
 *   byte 1: bits 0-2 what the clients ask for; 3 the member is silent behind the bytes, 4 it
 *           resets, else it closes; 5 a long filler follows them
 *   the rest: what the member says on each connection on which it is asked for a key
 *
 * A client is answered with what stands in these bytes at the place of its own request, with a refusal of the front-end's, or its
 * connection ends in the middle; never with a part of another answer. Fields that are about the connection to the member stay there. Once
 * the member behaves again, all works as before. */
#include <string.h>

#include "member.h"
#include "role/backend.h"
#include "role/frontend_state.h"
#include "role/lane.h"
#include "role/partition.h"
#include "talk.h"

enum { FILLER_BYTES = 150 * 1000, ASKED_MAX = 256, HANGS = 8, RESETS = 16, FILLS = 32 };

/* What clients ask for. */
static const char *const scripts[] = {
    "GET /a HTTP/1.1\r\nHost: h\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\nGET /c HTTP/1.1\r\nHost: "
    "h\r\n\r\n",
    "PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nxGET /a HTTP/1.1\r\nHost: h\r\n\r\n"
    "DELETE /b HTTP/1.1\r\nHost: h\r\n\r\n",
    "HEAD /a HTTP/1.1\r\nHost: h\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\nHEAD /c "
    "HTTP/1.1\r\nHost: h\r\n\r\n",
    "PUT /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    "GET /b HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET /a HTTP/1.1\r\nHost: h\r\nIf-None-Match: \"1\"\r\nPrefer: wait=1\r\n\r\nGET /b "
    "HTTP/1.0\r\n\r\n",
    "PUT /a HTTP/1.1\r\nHost: h\r\nPrefer: copies=2, wait=1\r\nFog-Version: 7\r\nContent-Length: "
    "0\r\n\r\n"
    "GET /a HTTP/1.1\r\nHost: h\r\n\r\n",
    "PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n",
    "PUT /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nTransfer-Encoding: "
    "chunked\r\n\r\n186a0\r\n",
};

/* A request that the member was asked, and where it stood on its connection. */
struct asked {
    unsigned place;
    char target;
    uint8_t method;
    enum http_method methods[BENCH_REQUESTS_MAX]; /* of those before it */
};

static struct bench bench;
static struct frontend *frontend;
static struct talk talk;
static char filler[FILLER_BYTES];
static struct slice bytes;
static uint8_t cut, how;
static bool behaves, due[BENCH_SOCKETS_MAX]; /* due: on a connection, all that the member says */

static struct {
    enum http_method methods[BENCH_SOCKETS_MAX][BENCH_REQUESTS_MAX];
    struct asked list[ASKED_MAX];
    unsigned count;
} asked;

/* The member */

static void note(int fd, unsigned place, const struct bench_request *request)
{
    require(place < BENCH_REQUESTS_MAX && asked.count < ASKED_MAX);
    struct asked *to = &asked.list[asked.count++];
    *to = (struct asked){.place = place,
                         .target = request->head.target.data[1],
                         .method = (uint8_t)request->head.method};
    asked.methods[fd][place] = request->head.method;
    memcpy(to->methods, asked.methods[fd], (place + 1) * sizeof to->methods[0]);
}

static void on_request(struct member_play *play, int fd, const struct bench_request *request)
{
    static const char fine[] = "HTTP/1.1 200 OK\r\nFog-Version: 1\r\nContent-Length: 0\r\n\r\n";
    unsigned place = play->asked[fd] - 1;
    if (behaves) {
        member_say(play, fd, fine, sizeof fine - 1);
        return;
    }
    note(fd, place, request);
    due[fd] |= place == 0;
}

static void say_all(struct member_play *play, int fd)
{
    due[fd] = false;
    if (!bench_feed(&bench, fd, bytes, cut))
        return;
    if (how & FILLS)
        member_say(play, fd, filler, sizeof filler);
    if (how & RESETS)
        bench_hang_up(&bench, fd);
    else if (!(how & HANGS))
        bench_finish(&bench, fd);
}

/* What it says on a connection, it says once it was asked all that comes in one go. */
static bool on_quiet(struct member_play *play)
{
    bool more = false;
    for (int fd = 0; fd < bench.sockets_used; fd++)
        if (due[fd]) {
            say_all(play, fd);
            more = true;
        }
    return more;
}

static struct member_play play = {
    .bench = &bench, .host = 2, .on_request = on_request, .on_quiet = on_quiet};

static void start(void)
{
    memset(filler, 'f', sizeof filler);
    bench_start(&bench);
    frontend = bench_frontend(&bench, 3, 2);
    member_pass(&play, BENCH_SECOND);
    require(frontend->partitions[0].usable_count == 1);
}

/* What it has said, as one text with its filler */

static char said[FILLER_BYTES + (1 << 20)];

static struct slice all_said(void)
{
    size_t len = bytes.len < sizeof said - FILLER_BYTES ? bytes.len : sizeof said - FILLER_BYTES;
    memcpy(said, bytes.data, len);
    if (how & FILLS)
        memcpy(said + len, filler, sizeof filler);
    return (struct slice){said, len + (how & FILLS ? sizeof filler : 0)};
}

struct response {
    unsigned status;
    bool bodiless;
    struct slice body; /* as far as it is there, when it has a length */
    uint64_t length;
};

static bool skip_chunks(struct slice *rest)
{
    struct http_chunked chunked;
    struct http_error error;
    struct slice body;
    http_chunked_init(&chunked);
    while (rest->len > 0) {
        size_t used = 0;
        enum http_result result = http_chunked_parse(&chunked, *rest, &used, &body, &error);
        *rest = (struct slice){rest->data + used, rest->len - used};
        if (result != HTTP_MORE)
            return result == HTTP_OK;
    }
    return false;
}

/* The next final response in *rest. Returns false when there is none; *rest is empty when nothing can follow it. */
static bool next_response(struct slice *rest, enum http_method method, struct response *out)
{
    struct http_response head;
    struct http_error error;
    do {
        if (rest->len == 0 ||
            http_response_parse(NULL, rest->data, rest->len, &head, &error) != HTTP_OK ||
            head.status == 101)
            return false;
        *rest = (struct slice){rest->data + head.head_bytes, rest->len - head.head_bytes};
    } while (head.status < 200);
    out->status = head.status;
    out->bodiless = method == HTTP_HEAD || head.status == 204 || head.status == 304;
    out->length = out->bodiless || !head.has_length ? 0 : head.content_length;
    size_t take = out->length < rest->len ? (size_t)out->length : rest->len;
    out->body = (struct slice){rest->data, take};
    *rest = (struct slice){rest->data + take, rest->len - take};
    bool goes_on = out->bodiless || head.has_length || (head.chunked && skip_chunks(rest));
    if (!goes_on || !head.keep_alive)
        rest->len = 0;
    return true;
}

/* Whether an answer, perhaps not whole, is what the member has said to one request. */
static bool fits(const struct asked *to, struct slice all, unsigned status, struct slice body,
                 bool whole)
{
    struct response response = {0};
    for (unsigned place = 0; place <= to->place; place++)
        if (!next_response(&all, to->methods[place], &response))
            return false;
    if (response.status != status)
        return false;
    if (whole)
        return slice_equal(response.body, body) && response.body.len == response.length;
    return body.len <= response.body.len && memcmp(body.data, response.body.data, body.len) == 0;
}

/* Clients */

/* A refusal is the front-end's own when it does not fit; the status of one can be the member's. */
static void check_answer(const struct bench_request *request, unsigned status, struct slice body,
                         bool whole)
{
    struct slice all = all_said();
    for (unsigned i = 0; i < asked.count; i++)
        if (asked.list[i].target == request->head.target.data[1] &&
            asked.list[i].method == request->head.method &&
            fits(&asked.list[i], all, status, body, whole))
            return;
    require(status >= 400 && whole);
    require(body.len < 200 && (body.len == 0 || body.data[body.len - 1] == '\n'));
}

/* What is about one connection alone is said by the front-end, once, or not at all. */
static void check_fields(struct slice head, const struct answer *answer)
{
    static const struct slice names[] = {
        {"Connection", 10}, {"Content-Length", 14}, {"Transfer-Encoding", 17},
        {"Date", 4},        {"Keep-Alive", 10},     {"Upgrade", 7},
        {"Trailer", 7},
    };
    unsigned counts[sizeof names / sizeof *names] = {0};
    for (const char *at = head.data, *end;
         (end = memchr(at, '\n', (size_t)(head.data + head.len - at))); at = end + 1) {
        const char *colon = memchr(at, ':', (size_t)(end - at));
        struct slice name = {at, colon ? (size_t)(colon - at) : 0};
        for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
            counts[i] += slice_equal_nocase(name, names[i]);
    }
    require(counts[0] == answer->close && counts[1] <= 1 && counts[3] <= 1);
    require(counts[1] + counts[2] <= 1 && counts[4] + counts[5] + counts[6] == 0);
}

/* Reads the head of an answer whose body is not whole. */
static bool head_of(struct slice rest, struct answer *answer)
{
    const char *end = rest.len ? memmem(rest.data, rest.len, "\r\n\r\n", 4) : NULL;
    if (!end || rest.len < 12)
        return false;
    answer->head = (struct slice){rest.data, (size_t)(end - rest.data) + 4};
    answer->status = (unsigned)strtoul(rest.data + 9, NULL, 10);
    answer->body = (struct slice){end + 4, rest.len - answer->head.len};
    return true;
}

static void check_client(int fd)
{
    struct slice rest = bench_output(&bench, fd);
    const struct bench_requests *requests = &talk.requests;
    for (unsigned i = 0; i < requests->count && rest.len > 0; i++) {
        const struct bench_request *request = &requests->list[i];
        struct answer answer;
        enum answer_result result =
            answer_parse(&rest, request->head.method == HTTP_HEAD, true, &answer);
        require(result != ANSWER_BAD);
        if (result == ANSWER_MORE) { /* cut off in the middle of a body */
            require(head_of(rest, &answer));
            check_answer(request, answer.status, answer.body, false);
            return;
        }
        check_fields(answer.head, &answer);
        check_answer(request, answer.status, answer.body, true);
        require(!answer.close || rest.len == 0);
    }
}

/* Whether an answer is owed that nobody waits for any more. */
static bool owes(void)
{
    const struct partition *partition = &frontend->partitions[0];
    for (unsigned i = 0; i < partition->backend_count; i++)
        for (const struct lane *lane = partition->backends[i]->lanes; lane; lane = lane->next)
            if (lane->first)
                return true;
    return false;
}

/* The first request that is served once the member behaves. */
static void check_works(void)
{
    static const char get[] = "GET /z HTTP/1.1\r\nHost: h\r\n\r\n";
    for (unsigned s = 0; owes(); s++) {
        require(s < 10);
        member_pass(&play, BENCH_SECOND);
    }
    behaves = true;
    for (unsigned s = 0; frontend->partitions[0].usable_count == 0; s++) {
        require(s < 10);
        member_pass(&play, BENCH_SECOND);
    }
    int fd = talk_begin(&bench, 3, (struct slice){get, sizeof get - 1}, 0, &talk);
    member_settle(&play);
    require(!bench.sockets[fd].open);
    talk_end(&bench, fd, &talk);
    require(talk.count == 1 && talk.answers[0].status == 200);
    require(slice_equal(talk_field(&talk.answers[0], "Fog-Version"), SLICE("1")));
    bench_forget(&bench, fd);
    behaves = false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    if (!frontend)
        start();
    cut = data[0];
    how = data[1];
    bytes = (struct slice){(const char *)data + 2, size - 2};
    asked.count = 0;
    frontend->partitions[0].retry_tokens = (uint64_t)RETRY_TOKENS_MAX * RETRY_TOKEN_PARTS;
    int fd = talk_begin(&bench, 3, slice_of(scripts[how & 7]), 0, &talk);
    member_settle(&play);
    for (unsigned s = 0; bench.sockets[fd].open; s++) {
        require(s < 200);
        member_pass(&play, BENCH_SECOND);
    }
    check_client(fd);
    bench_forget(&bench, fd);
    require(server_connections(frontend->server) == 0 && server_held(frontend->server) == 0);
    require(frontend->waiting == 0 && frontend->partitions[0].parked_count == 0);
    check_works();
    return 0;
}
