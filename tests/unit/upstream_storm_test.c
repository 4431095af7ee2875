/* One upstream and a server that is made up, at random: any cuts, pauses, ends, silence, refusals of memory, and owners that do
 * anything at any time. What is checked is what upstream.h promises. Linked with --wrap: see failing.h. */
#include "net/upstream.h"

#include <errno.h>

#include "failing.h"
#include "fake_io.h"
#include "unit.h"

enum { ANSWER_US = 1000000, CONNECT_US = 500000, CALLS_MAX = 200, REQUEST_BYTES_MAX = 30000 };

/* How the server answers a call. */
enum kind { LENGTH, CHUNKED, NO_CONTENT, NOT_MODIFIED, HEAD, EMPTY, TO_THE_END, CLOSING, KINDS };

struct told {
    struct call call; /* first */
    enum kind kind;
    bool made, ended, headed, finished;
    enum call_result result;
    unsigned connection;           /* in which it was called; 0 for none */
    uint64_t begin, bytes;         /* of its request on that connection */
    uint64_t answered, told_bytes; /* length of the body that the server sends; how much came */
};

static struct {
    struct chance chance;
    struct fake_io *io;
    struct loop loop;
    struct upstreams *all;
    struct upstream *upstream; /* NULL once it is destroyed */
    struct told calls[CALLS_MAX];
    unsigned count, next_end; /* calls end in the order in which they were made, per connection */
    struct told *open;
    bool is_open;
    unsigned inside, connection;
    unsigned continues;
    uint64_t output; /* given to this connection */
    int fd;
    size_t lent, given_back;
    /* the server */
    unsigned answer_next; /* the call that is answered next */
    bool server_done;
    char *answers;
    size_t answers_len, answers_fed;
    unsigned done, lost, unsent; /* over all rounds */
} all;

static const struct call_ops call_ops;
static const struct address address = {.port = 8000};

static size_t below(size_t end)
{
    return chance_below(&all.chance, end);
}

static bool once_in(size_t times)
{
    return chance_once_in(&all.chance, times);
}

static struct slice text_of(size_t from, size_t len)
{
    static char text[1 << 17];
    if (text[0] == 0)
        for (size_t i = 0; i < sizeof text; i++)
            text[i] = (char)('a' + (i + i / 1000) % 26);
    return (struct slice){text + from % (sizeof text / 2), len};
}

/* The owner */

static void give_back(void *context, void *owner)
{
    (void)owner;
    all.given_back++;
    free(context);
}

/* The requests of a connection are one text, so that what came can be told from its place. */
static unsigned make_pieces(struct conn_piece *pieces, size_t len)
{
    unsigned count = 0;
    while (len > 0) {
        size_t take = count < 5 ? 1 + below(len) : len;
        struct slice bytes = text_of(all.output, take);
        pieces[count] = (struct conn_piece){.data = bytes.data, .len = take};
        if (once_in(3)) {
            failing_pause();
            char *copy = malloc(take);
            failing_resume();
            memcpy(copy, bytes.data, take);
            pieces[count] = (struct conn_piece){copy, take, give_back, copy, NULL};
            all.lent++;
        }
        count++;
        all.output += take;
        len -= take;
    }
    return count;
}

static size_t some_bytes(void)
{
    return 1 + below(once_in(10) ? REQUEST_BYTES_MAX : 100);
}

static void finish(struct told *told)
{
    upstream_call_end(&told->call);
    told->finished = true;
    told->bytes = all.output - told->begin;
    all.open = NULL;
}

static void make_call(void)
{
    struct conn_piece pieces[8];
    if (all.count == CALLS_MAX || !all.upstream || all.open)
        return;
    if (!upstream_is_open(all.upstream) && !once_in(10))
        return;
    struct told *told = &all.calls[all.count++];
    bool open = upstream_is_open(all.upstream);
    uint64_t output = all.output;
    *told = (struct told){.kind = (enum kind)below(KINDS), .made = true};
    if ((told->kind == TO_THE_END || told->kind == CLOSING) && !once_in(5))
        told->kind = LENGTH;
    told->call = (struct call){.ops = &call_ops, .head = told->kind == HEAD};
    told->connection = open ? all.connection : 0;
    told->begin = output;
    unsigned count = make_pieces(pieces, some_bytes());
    all.open = told;
    all.inside++;
    upstream_call_begin(all.upstream, &told->call, pieces, count);
    if (!open)
        all.output = output;
    if (!open || !upstream_is_open(all.upstream) || !once_in(4))
        finish(told);
    all.inside--;
}

static void go_on(void)
{
    struct conn_piece pieces[8];
    if (!all.open)
        return;
    all.inside++;
    if (once_in(3)) {
        finish(all.open);
    } else {
        unsigned count = make_pieces(pieces, some_bytes());
        upstream_call_part(&all.open->call, pieces, count);
    }
    all.inside--;
}

static void abandon(void)
{
    struct told *told = all.count ? &all.calls[below(all.count)] : NULL;
    if (!told || told->ended)
        return;
    all.inside++;
    upstream_abandon(&told->call);
    all.inside--;
}

static void anything(void)
{
    if (!all.upstream)
        return;
    all.inside++;
    switch (below(60)) {
    case 0:
        upstream_close(all.upstream, -ECANCELED);
        break;
    case 1:
        if (once_in(4)) {
            struct upstream *upstream = all.upstream;
            all.upstream = NULL;
            all.inside--;
            upstream_destroy(upstream);
            all.inside++;
        }
        break;
    case 2:
    case 3:
        upstream_pause(all.upstream, true);
        break;
    case 4:
        upstream_flush(all.upstream);
        break;
    case 5:
        abandon();
        break;
    case 6:
    case 7:
    case 8:
    case 9:
        make_call();
        break;
    case 10:
    case 11:
        go_on();
        break;
    case 12:
    case 13:
    case 14:
    case 15:
        upstream_pause(all.upstream, false);
        break;
    default:
        break;
    }
    all.inside--;
}

static void on_head(struct call *call, const struct http_response *head)
{
    struct told *told = (struct told *)call;
    assert_int_equal(all.inside, 0);
    assert_true(!told->headed && !told->ended && !call->abandoned);
    told->headed = true;
    assert_int_equal(head->status, told->kind == NO_CONTENT     ? 204
                                   : told->kind == NOT_MODIFIED ? 304
                                                                : 200);
    const struct http_field *etag = http_response_find(head, HTTP_FIELD_ETAG);
    assert_int_equal(strtoul(etag->value.data + 1, NULL, 10), told - all.calls);
    anything();
}

static void on_continue(struct call *call)
{
    assert_int_equal(all.inside, 0);
    assert_false(((struct told *)call)->headed);
    all.continues++;
    anything();
}

static void on_body(struct call *call, struct slice bytes)
{
    struct told *told = (struct told *)call;
    assert_int_equal(all.inside, 0);
    assert_true(told->headed && !told->ended && !call->abandoned && bytes.len > 0);
    assert_memory_equal(bytes.data, text_of(told->told_bytes, bytes.len).data, bytes.len);
    told->told_bytes += bytes.len;
    assert_true(told->told_bytes <= told->answered);
    anything();
}

static void on_end(struct call *call, enum call_result result)
{
    struct told *told = (struct told *)call;
    assert_int_equal(all.inside, 0);
    assert_true(told->made && !told->ended);
    told->ended = true;
    told->result = result;
    if (all.open == told)
        all.open = NULL;
    all.done += result == CALL_DONE;
    all.lost += result == CALL_LOST;
    all.unsent += result == CALL_UNSENT;
    if (told->connection) {
        /* in order */
        for (const struct told *other = all.calls; other < told; other++)
            assert_true(other->ended || other->connection != told->connection);
        uint64_t sent = fake_output(all.io, all.fd).len;
        assert_true((result == CALL_UNSENT) == (sent <= told->begin));
    } else {
        assert_int_equal(result, CALL_UNSENT);
    }
    if (result == CALL_DONE && !call->abandoned) {
        assert_true(told->headed);
        /* Of a body that goes on to the end nobody knows whether it is whole. */
        assert_true(told->told_bytes == told->answered || told->kind == TO_THE_END);
    }
    anything();
}

static const struct call_ops call_ops = {on_head, on_continue, on_body, on_end};

static void on_open(struct upstream *upstream)
{
    assert_true(upstream == all.upstream && !all.is_open && all.inside == 0);
    all.is_open = true;
    anything();
}

static void on_closed(struct upstream *upstream, int error)
{
    (void)error;
    assert_true(upstream == all.upstream && all.inside == 0);
    all.is_open = false;
    for (unsigned i = 0; i < all.count; i++)
        assert_true(all.calls[i].ended || all.calls[i].connection == 0);
}

static void on_drained(struct upstream *upstream)
{
    assert_true(all.inside == 0 && !upstream_blocked(upstream));
    anything();
}

static const struct upstream_ops ops = {on_open, on_closed, on_drained};

static void connect_again(void)
{
    if (!all.upstream)
        return;
    all.inside++;
    if (upstream_connect(all.upstream, &address) == 0) {
        all.fd = all.io->count - 1;
        all.connection++;
        all.output = 0;
        all.server_done = false;
        all.answers_len = all.answers_fed = 0;
        all.answer_next = all.count;
        fake_socket(all.io, all.fd)->space = below(5000);
    }
    all.inside--;
}

/* The server */

static void say(const void *data, size_t len)
{
    failing_pause();
    all.answers = realloc(all.answers, all.answers_len + len + 1);
    failing_resume();
    memcpy(all.answers + all.answers_len, data, len);
    all.answers_len += len;
}

static void say_head(const struct told *told, const char *status, const char *fields)
{
    char head[256];
    int len = snprintf(head, sizeof head, "HTTP/1.1 %s\r\nETag: \"%u\"\r\n%s\r\n", status,
                       (unsigned)(told - all.calls), fields);
    say(head, (size_t)len);
}

static void say_chunks(const struct told *told)
{
    for (size_t at = 0; at < told->answered;) {
        char line[32];
        size_t take = 1 + below((size_t)told->answered - at);
        int len = snprintf(line, sizeof line, "%zx%s\r\n", take, once_in(3) ? ";x=\"y\"" : "");
        say(line, (size_t)len);
        say(text_of(at, take).data, take);
        say("\r\n", 2);
        at += take;
    }
    if (once_in(2))
        say("0\r\n\r\n", 5);
    else
        say("0\r\nX: y\r\n\r\n", 11);
}

static void answer(struct told *told)
{
    char fields[64] = "";
    if (once_in(5))
        say("HTTP/1.1 100 Continue\r\n\r\n", 25);
    if (once_in(9))
        say("HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n", 34);
    bool body = told->kind == LENGTH || told->kind == CHUNKED || told->kind == TO_THE_END ||
                told->kind == CLOSING;
    told->answered = body ? below(once_in(5) ? 20000 : 200) : 0;
    if (told->kind == CHUNKED)
        snprintf(fields, sizeof fields, "Transfer-Encoding: chunked\r\n");
    else if (told->kind != TO_THE_END && told->kind != NO_CONTENT)
        snprintf(fields, sizeof fields, "%sContent-Length: %u\r\n",
                 told->kind == CLOSING ? "Connection: close\r\n" : "",
                 told->kind == HEAD ? 77 : (unsigned)told->answered);
    say_head(told,
             told->kind == NO_CONTENT     ? "204 No Content"
             : told->kind == NOT_MODIFIED ? "304 Not Modified"
                                          : "200 OK",
             fields);
    if (told->kind == CHUNKED)
        say_chunks(told);
    else
        say(text_of(0, (size_t)told->answered).data, (size_t)told->answered);
    all.server_done = told->kind == TO_THE_END || told->kind == CLOSING;
}

/* Answers whose requests have come: whole, or at times in part. */
static void serve(void)
{
    struct fake_socket *socket = fake_socket(all.io, all.fd);
    if (!socket->open || socket->broken)
        return;
    while (all.answer_next < all.count && !all.server_done && !once_in(6)) {
        struct told *told = &all.calls[all.answer_next];
        if (told->connection == all.connection) {
            bool whole = told->finished && socket->out_len >= told->begin + told->bytes;
            bool some = socket->out_len > told->begin;
            if (!whole && (!some || !once_in(20)))
                return;
            answer(told);
        } else if (told->connection) {
            return;
        }
        all.answer_next++;
    }
    size_t left = all.answers_len - all.answers_fed;
    size_t take = left ? below(once_in(3) ? left + 1 : 40) : 0;
    take = take < left ? take : left;
    fake_feed(all.io, all.fd, (struct slice){all.answers + all.answers_fed, take});
    all.answers_fed += take;
    if (all.server_done && all.answers_fed == all.answers_len)
        fake_end(all.io, all.fd);
}

static void step(void)
{
    struct fake_socket *socket = fake_socket(all.io, all.fd);
    serve();
    switch (below(40)) {
    case 0:
        if (once_in(5))
            fake_end(all.io, all.fd);
        break;
    case 1:
        if (once_in(5))
            fake_break(all.io, all.fd, -ECONNRESET);
        break;
    case 2:
        all.io->now_us += once_in(5) ? 2 * ANSWER_US : ANSWER_US / 8;
        break;
    case 3:
        connect_again();
        break;
    case 4:
        /* Between answers, since in a body it would be content. */
        if (once_in(20) && socket->open && !socket->in_ended && !socket->broken &&
            all.answers_fed == all.answers_len) {
            fake_feed(all.io, all.fd, SLICE("nonsense\r\n\r\n"));
            all.server_done = true;
        }
        break;
    case 5:
        socket->recv_max = 1 + below(100);
        break;
    case 6:
        socket->recv_max = SIZE_MAX;
        break;
    case 7:
    case 8:
    case 9:
        if (all.upstream)
            upstream_pause(all.upstream, false);
        break;
    default:
        break;
    }
    anything();
    make_call();
    go_on();
    if (once_in(2))
        socket->space = below(once_in(3) ? 20000 : 500);
    loop_turn(&all.loop, 0);
    size_t sent = fake_output(all.io, all.fd).len;
    if (sent <= 60000)
        assert_memory_equal(sent ? fake_output(all.io, all.fd).data : "", text_of(0, sent).data,
                            sent);
}

static void one_round(bool fails)
{
    static const struct upstream_config config = {CONNECT_US, ANSWER_US};
    all.io = fake_io_new();
    all.io->may_connect = true;
    loop_init(&all.loop, &all.io->io);
    all.all = upstreams_new(&all.loop);
    all.upstream = upstream_new(all.all, &config, &ops, NULL);
    memset(all.calls, 0, sizeof all.calls);
    all.count = all.connection = all.inside = 0;
    all.lent = all.given_back = 0;
    all.is_open = false;
    all.open = NULL;
    connect_again();
    if (fails)
        failing_start(1 + (unsigned)below(60), once_in(20));
    for (int i = 0; i < 150 && all.output < 60000; i++)
        step();
    failing_stop();
    struct upstream *upstream = all.upstream;
    all.upstream = NULL;
    if (upstream)
        upstream_destroy(upstream);
    upstreams_destroy(all.all);
    for (unsigned i = 0; i < all.count; i++)
        assert_true(all.calls[i].ended);
    assert_int_equal(all.lent, all.given_back);
    assert_int_equal(all.loop.timer_reserved, 0);
    loop_free(&all.loop);
    fake_io_destroy(all.io);
    free(all.answers);
    all.answers = NULL;
}

static void test_storm(void **state)
{
    (void)state;
    uint64_t seed = chance_start(21).state;
    const char *rounds = getenv("UNIT_ROUNDS");
    for (int round = 0; round < (rounds ? atoi(rounds) : 1500); round++) {
        all.chance = (struct chance){seed + (uint64_t)round};
        if (getenv("UNIT_ROUNDS"))
            print_message("seed %llu\n", (unsigned long long)all.chance.state);
        one_round(all.chance.state % 3 == 0);
    }
    print_message("%u done, %u lost, %u unsent, %u continued\n", all.done, all.lost, all.unsent,
                  all.continues);
    if (!rounds) {
        assert_true(all.done > 3000);
        assert_true(all.lost > 500 && all.unsent > 500 && all.continues > 500);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_storm)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
