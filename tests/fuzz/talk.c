#include "talk.h"

#include "data/hash.h"

#define CONTINUE "HTTP/1.1 100 Continue\r\n\r\n"

static struct slice expand(struct slice bytes, char room[TALK_BYTES_MAX])
{
    size_t len = 0;
    for (size_t i = 0; i < bytes.len && len < TALK_BYTES_MAX; i++) {
        bool fills = i + 2 < bytes.len && memcmp(bytes.data + i, "\xff\xff", 2) == 0;
        size_t count = fills ? (size_t)(unsigned char)bytes.data[i + 2] * 1024 : 1;
        count = count < TALK_BYTES_MAX - len ? count : TALK_BYTES_MAX - len;
        memset(room + len, fills ? 'x' : bytes.data[i], count);
        len += count;
        i += fills ? 2 : 0;
    }
    return (struct slice){room, len};
}

int talk_begin(struct bench *bench, unsigned host, struct slice bytes, unsigned cut,
               struct talk *talk)
{
    talk->count = 0;
    bytes = expand(bytes, talk->said);
    bench_read_requests(bytes, &talk->requests);
    int fd = bench_connect(bench, host);
    bench_feed(bench, fd, bytes, cut);
    bench_finish(bench, fd);
    return fd;
}

static const struct talk_answer *take_answer(struct talk *talk, struct slice *rest, bool no_body)
{
    struct answer answer;
    do
        require(answer_parse(rest, no_body, true, &answer) == ANSWER_OK);
    while (answer.status == 100);
    require(!answer.close || rest->len == 0);
    struct talk_answer *to = &talk->answers[talk->count++];
    *to = (struct talk_answer){answer.status, answer.close, answer.head, answer.body,
                               hash_bytes(answer.body.data, answer.body.len)};
    return to;
}

/* What stands behind the requests that are whole: nothing, part of one, or what is none. */
static void check_last(struct talk *talk, struct slice rest)
{
    const struct bench_requests *requests = &talk->requests;
    bool head = requests->result != HTTP_OK &&
                requests->list[requests->count].head.method == HTTP_HEAD &&
                requests->list[requests->count].head.target.len > 0;
    if (requests->result == HTTP_BAD) {
        const struct talk_answer *last = take_answer(talk, &rest, head);
        require(last->status >= 400 && last->close);
    } else if (requests->result == HTTP_MORE && !slice_equal(rest, SLICE(CONTINUE)) && rest.len > 0)
        require(take_answer(talk, &rest, head)->close);
    else
        require(requests->result == HTTP_MORE || rest.len == 0 ||
                requests->count == BENCH_REQUESTS_MAX);
}

void talk_end(struct bench *bench, int fd, struct talk *talk)
{
    const struct bench_requests *requests = &talk->requests;
    struct slice rest = bench_output(bench, fd);
    bool closed = false;
    require(!bench->sockets[fd].open);
    for (unsigned i = 0; i < requests->count && !closed; i++) {
        const struct http_head *head = &requests->list[i].head;
        const struct talk_answer *is = take_answer(talk, &rest, head->method == HTTP_HEAD);
        closed = is->close;
        require(closed ? is->status >= 400 || !head->keep_alive : head->keep_alive);
    }
    if (!closed)
        check_last(talk, rest);
}

struct slice talk_field(const struct talk_answer *answer, const char *name)
{
    struct answer is = {.head = answer->head};
    return answer_field(&is, name);
}
