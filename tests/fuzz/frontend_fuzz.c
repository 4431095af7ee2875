/* Fuzzes a front-end by what one client sends on one connection, before a member that answers everything.
 *
 *   byte 0: how the bytes are cut, 0 for not at all
 *   byte 1: what kinds of answers the member gives
 *   the rest: what the client sends, and then no more
 *
 * What it is answered is what talk.h says; each answer that came from the member is that of its own request; and the member was asked
 * for nothing but what the client has asked for: method, key and value. */
#include <string.h>

#include "data/hash.h"
#include "member.h"
#include "role/frontend_state.h"
#include "role/partition.h"
#include "talk.h"

enum { LONG_BYTES = 100 * 1000 };

static struct bench bench;
static struct frontend *frontend;
static struct talk talk;
static uint8_t kinds;
static char room[1 << 20], other_room[1 << 20];

static bool same_request(const struct bench_request *a, const struct bench_request *b)
{
    bool sets = a->head.method == HTTP_POST || a->head.method == HTTP_PUT; /* others take no body */
    return a->head.method == b->head.method && slice_equal(a->head.target, b->head.target) &&
           (!sets || slice_equal(bench_body(a, room), bench_body(b, other_room)));
}

/* A list of keys is asked for in a way of the front-end's own. */
static bool is_search(const struct bench_request *request)
{
    return request->head.method <= HTTP_HEAD &&
           slice_starts(request->head.target, SLICE("/-/keys?"));
}

static void check_asked(const struct bench_request *request)
{
    const struct bench_requests *all = &talk.requests;
    bool found = false;
    for (unsigned i = 0; i < all->count && !found; i++)
        found =
            is_search(request) ? is_search(&all->list[i]) : same_request(request, &all->list[i]);
    require(found);
}

/* The target again and again, `len` bytes. */
static void say_target(const struct member_play *play, int fd, struct slice target, size_t len)
{
    for (size_t said = 0; said < len; said += target.len)
        member_say(play, fd, target.data, len - said < target.len ? len - said : target.len);
}

static void say_value(const struct member_play *play, int fd, const struct bench_request *request,
                      size_t len)
{
    char head[200];
    bool set = request->head.method >= HTTP_POST;
    int bytes = snprintf(
        head, sizeof head,
        "HTTP/1.1 200 OK\r\nETag: \"%llx\"\r\nFog-Version: 1795348800000000\r\n"
        "Content-Length: %zu\r\n\r\n",
        (unsigned long long)hash_bytes(request->head.target.data, request->head.target.len),
        set ? 0 : len);
    member_say(play, fd, head, (size_t)bytes);
    if (!set && request->head.method != HTTP_HEAD)
        say_target(play, fd, request->head.target, len);
}

static void on_request(struct member_play *play, int fd, const struct bench_request *request)
{
    static const char none[] = "HTTP/1.1 204 No Content\r\n\r\n",
                      full[] = "HTTP/1.1 507 Insufficient Storage\r\nContent-Length: 0\r\n\r\n",
                      same[] = "HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n";
    check_asked(request);
    switch ((kinds + hash_bytes(request->head.target.data, request->head.target.len)) % 8) {
    case 0:
        member_say(play, fd, none, sizeof none - 1);
        break;
    case 1:
        member_say(play, fd, full, sizeof full - 1);
        break;
    case 2:
        member_say(play, fd, same, sizeof same - 1);
        break;
    case 3:
        say_value(play, fd, request, LONG_BYTES);
        break;
    case 4: /* it is gone, the first time */
        if (kinds & 64) {
            kinds &= 63;
            bench_hang_up(&bench, fd);
            break;
        }
        /* fall through */
    default:
        say_value(play, fd, request, request->head.target.len);
    }
}

static struct member_play play = {.bench = &bench, .host = 2, .on_request = on_request};

static void start(void)
{
    bench_start(&bench);
    frontend = bench_frontend(&bench, 3, 2);
    member_pass(&play, BENCH_SECOND);
    require(frontend->partitions[0].usable_count == 1);
}

/* What came from the member has its target in it. */
static void check_answer(const struct talk_answer *answer, struct slice target)
{
    struct slice body = answer->body;
    if (answer->status != 200 || !talk_field(answer, "Fog-Version").data || body.len == 0)
        return;
    require(body.len == target.len || body.len == LONG_BYTES);
    for (size_t at = 0; at < body.len; at += target.len)
        require(memcmp(body.data + at, target.data,
                       body.len - at < target.len ? body.len - at : target.len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    if (!frontend)
        start();
    kinds = data[1];
    frontend->partitions[0].retry_tokens = (uint64_t)RETRY_TOKENS_MAX * RETRY_TOKEN_PARTS;
    int client =
        talk_begin(&bench, 3, (struct slice){(const char *)data + 2, size - 2}, data[0], &talk);
    member_settle(&play);
    for (unsigned s = 0; bench.sockets[client].open; s++) {
        require(s < 40);
        member_pass(&play, BENCH_SECOND);
    }
    talk_end(&bench, client, &talk);
    for (unsigned i = 0; i < talk.count && i < talk.requests.count; i++)
        check_answer(&talk.answers[i], talk.requests.list[i].head.target);
    bench_forget(&bench, client);
    require(server_connections(frontend->server) == 0 && server_held(frontend->server) == 0);
    require(frontend->waiting == 0 && frontend->partitions[0].parked_count == 0);
    if (frontend->partitions[0].usable_count == 0)
        member_pass(&play, 5 * BENCH_SECOND);
    require(frontend->partitions[0].usable_count == 1);
    return 0;
}
