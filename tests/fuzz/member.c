#pragma clang attribute push(__attribute__((no_sanitize("coverage"))), apply_to = function)

#include "member.h"

#include <string.h>

void member_say(const struct member_play *play, int fd, const char *bytes, size_t len)
{
    if (play->bench->sockets[fd].open)
        bench_feed(play->bench, fd, (struct slice){bytes, len}, 0);
}

static void say_hello(const struct member_play *play, int fd)
{
    char body[300], text[500];
    int bytes = snprintf(body, sizeof body,
                         "protocol 1\ncluster fog\npartition -\njoined 1\nclock %llu\n"
                         "member 10.0.0.%u:%d ready 0000000000000001 1 0 0\n",
                         (unsigned long long)play->bench->io.ops->wall_us(&play->bench->io),
                         play->host, BENCH_PORT);
    int len =
        snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", bytes, body);
    member_say(play, fd, text, (size_t)len);
}

static void hear(struct member_play *play, int fd, const struct bench_request *request)
{
    static const char ready[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    if (play->plays_all)
        play->on_request(play, fd, request);
    else if (slice_equal(request->head.target, SLICE("/-/ready")))
        member_say(play, fd, ready, sizeof ready - 1);
    else if (slice_equal(request->head.target, SLICE("/-/members")))
        say_hello(play, fd);
    else
        play->on_request(play, fd, request);
}

/* Whether there was a request. A front-end says nothing else. */
static bool listen_to(struct member_play *play, int fd)
{
    static struct bench_request request;
    struct bench_bytes *out = &play->bench->sockets[fd].out;
    unsigned status;
    if (out->at == out->len)
        return false;
    if (out->at == 0)
        play->asked[fd] = 0;
    enum http_result result = bench_read_request(
        (struct slice){out->data + out->at, out->len - out->at}, &request, &status);
    require(result != HTTP_BAD);
    if (result != HTTP_OK)
        return false;
    out->at += request.head.head_bytes + request.body.len;
    play->asked[fd]++;
    hear(play, fd, &request);
    return true;
}

void member_settle(struct member_play *play)
{
    bool more = true;
    for (unsigned rounds = 0; more; rounds++) {
        require(rounds < 2000);
        bench_settle(play->bench);
        more = false;
        for (int fd = -1; (fd = bench_next_call(play->bench, play->host, fd)) >= 0;)
            while (play->bench->sockets[fd].open && listen_to(play, fd))
                more = true;
        if (!more && play->on_quiet)
            more = play->on_quiet(play);
    }
}

void member_pass(struct member_play *play, uint64_t us)
{
    struct bench *bench = play->bench;
    uint64_t until_us = bench->now_us + us;
    member_settle(play);
    while (bench->now_us < until_us) {
        loop_turn(&bench->loop, (int64_t)(until_us - bench->now_us));
        member_settle(play);
    }
}

#pragma clang attribute pop
