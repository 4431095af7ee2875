/* Calls on one remote server, over a fake io: what is sent, how answers are told, and what ends how. */
#include "net/upstream.h"

#include <errno.h>

#include "fake_io.h"
#include "net/fetch.h"
#include "unit.h"

enum { ANSWER_US = 1000000, CONNECT_US = 500000 };

struct told {
    struct call call; /* first */
    unsigned heads, continues, ends;
    uint16_t status;
    enum call_result result;
    char body[256];
    size_t len;
};

static struct fake_io *io;
static struct loop loop;
static struct upstreams *all;
static struct upstream *upstream;
static unsigned opened, closed;
static int closed_error, fd;
static struct told calls[8];

static void on_open(struct upstream *one)
{
    assert_ptr_equal(upstream_owner(one), &opened);
    opened++;
}

static void on_closed(struct upstream *one, int error)
{
    (void)one;
    closed++;
    closed_error = error;
}

static const struct upstream_ops ops = {.on_open = on_open, .on_closed = on_closed};

static void on_head(struct call *call, const struct http_response *head)
{
    ((struct told *)call)->heads++;
    ((struct told *)call)->status = head->status;
}

static void on_continue(struct call *call)
{
    ((struct told *)call)->continues++;
}

static void on_body(struct call *call, struct slice bytes)
{
    struct told *told = (struct told *)call;
    assert_true(told->len + bytes.len <= sizeof told->body);
    memcpy(told->body + told->len, bytes.data, bytes.len);
    told->len += bytes.len;
}

static void on_end(struct call *call, enum call_result result)
{
    ((struct told *)call)->ends++;
    ((struct told *)call)->result = result;
}

static const struct call_ops call_ops = {on_head, on_continue, on_body, on_end};

static void turn(void)
{
    loop_turn(&loop, 0);
}

static int begin(void **state)
{
    static const struct upstream_config config = {CONNECT_US, ANSWER_US};
    static const struct address address = {.port = 8000};
    (void)state;
    io = fake_io_new();
    io->may_connect = true;
    loop_init(&loop, (struct io *)io);
    all = upstreams_new(&loop);
    opened = closed = 0;
    memset(calls, 0, sizeof calls);
    upstream = upstream_new(all, &config, &ops, &opened);
    assert_int_equal(upstream_connect(upstream, &address), 0);
    assert_int_equal(upstream_connect(upstream, &address), -EBUSY);
    fd = 3;
    assert_false(upstream_is_open(upstream));
    turn();
    assert_true(upstream_is_open(upstream));
    assert_int_equal(opened, 1);
    return 0;
}

static int end(void **state)
{
    (void)state;
    if (upstream)
        upstream_destroy(upstream);
    upstreams_destroy(all);
    loop_free(&loop);
    fake_io_destroy(io);
    return 0;
}

static void call(unsigned i, const char *text)
{
    struct conn_piece piece = {.data = text, .len = strlen(text)};
    calls[i] = (struct told){.call = {.ops = &call_ops, .head = calls[i].call.head}};
    upstream_call(upstream, &calls[i].call, &piece, 1);
}

static void feed(const char *text)
{
    fake_feed(io, fd, slice_of(text));
}

static void ended(unsigned i, enum call_result result)
{
    assert_int_equal(calls[i].ends, 1);
    assert_int_equal(calls[i].result, result);
}

static void answered(unsigned i, unsigned status, const char *body)
{
    ended(i, CALL_DONE);
    assert_int_equal(calls[i].heads, 1);
    assert_int_equal(calls[i].status, status);
    assert_true(slice_equal((struct slice){calls[i].body, calls[i].len}, slice_of(body)));
}

static void test_calls_of_a_turn_are_written_in_one_go(void **state)
{
    (void)state;
    call(0, "GET /a\n");
    call(1, "GET /b\n");
    assert_int_equal(fake_output(io, fd).len, 0);
    turn();
    assert_true(slice_equal(fake_output(io, fd), SLICE("GET /a\nGET /b\n")));
    assert_int_equal(upstream_depth(upstream), 2);
}

/* Others of its kind may have as much to read: one whose turn's part is over reads once. */
static void test_long_answers_share_a_turn(void **state)
{
    (void)state;
    static char body[8 * UPSTREAM_INPUT_BYTES];
    static const struct call_ops no_body = {on_head, on_continue, NULL, on_end};
    memset(body, 'x', sizeof body);
    calls[0].call = (struct call){.ops = &no_body};
    upstream_call(upstream, &calls[0].call, &(struct conn_piece){.data = "x", .len = 1}, 1);
    turn();
    fake_feed(io, fd, SLICE("HTTP/1.1 200 OK\r\nContent-Length: 524288\r\n\r\n"));
    turn();
    fake_feed(io, fd, (struct slice){body, sizeof body});
    io->tick_us = LOOP_SHARE_US; /* a turn has time for one, beside the first */
    for (size_t parts = 2; parts <= 8; parts += 2) {
        turn();
        assert_int_equal(fake_unread(io, fd), (8 - parts) * UPSTREAM_INPUT_BYTES);
    }
    assert_int_equal(calls[0].ends, 1);
}

static void test_answers_come_in_order_in_any_pieces(void **state)
{
    (void)state;
    static const char answers[] = "HTTP/1.1 100 Continue\r\n\r\n"
                                  "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"
                                  "HTTP/1.1 204 No Content\r\n\r\n"
                                  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                                  "2\r\nxy\r\n1;e=f\r\nz\r\n0\r\n\r\n"
                                  "HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n";
    for (size_t step = 1; step < sizeof answers; step = step * 2 + 1) {
        for (unsigned i = 0; i < 4; i++)
            call(i, "x");
        turn();
        for (size_t at = 0; at < sizeof answers - 1; at += step) {
            size_t left = sizeof answers - 1 - at;
            fake_feed(io, fd, (struct slice){answers + at, left < step ? left : step});
            turn();
        }
        assert_int_equal(calls[0].continues, 1);
        answered(0, 200, "abc");
        answered(1, 204, "");
        answered(2, 200, "xyz");
        answered(3, 304, "");
    }
    assert_int_equal(closed, 0);
}

static void test_a_head_has_no_body(void **state)
{
    (void)state;
    calls[0].call.head = true;
    call(0, "HEAD");
    call(1, "GET");
    turn();
    feed("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: "
         "1\r\n\r\nx");
    turn();
    answered(0, 200, "");
    answered(1, 200, "x");
}

static void test_a_body_may_go_on_to_the_end(void **state)
{
    (void)state;
    call(0, "x");
    turn();
    feed("HTTP/1.0 200 OK\r\n\r\nabc");
    turn();
    assert_int_equal(calls[0].ends, 0);
    fake_end(io, fd);
    turn();
    answered(0, 200, "abc");
    assert_int_equal(closed, 1);
    assert_int_equal(closed_error, 0);
}

static void test_what_was_not_sent_is_told_so(void **state)
{
    (void)state;
    call(0, "a");
    turn();
    call(1, "b"); /* in the turn that ends the connection */
    fake_break(io, fd, -ECONNRESET);
    turn();
    ended(0, CALL_LOST);
    ended(1, CALL_UNSENT);
    assert_int_equal(closed, 1);
    assert_int_equal(closed_error, -ECONNRESET);
    call(2, "c"); /* nobody is there */
    assert_int_equal(calls[2].ends, 0);
    turn();
    ended(2, CALL_UNSENT);
}

static void test_close_ends_those_behind(void **state)
{
    (void)state;
    call(0, "a");
    call(1, "b");
    turn();
    feed("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    turn();
    turn();
    answered(0, 200, "");
    ended(1, CALL_LOST);
    assert_int_equal(closed, 1);
}

static void test_nonsense_ends_it(void **state)
{
    static const char *const nonsense[] = {
        "HTTP/2.0 200 OK\r\n\r\n",
        "nonsense\r\n\r\n",
        "HTTP/1.1 99 Low\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\n folded\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxx\r\n",
    };
    for (size_t i = 0; i < sizeof nonsense / sizeof *nonsense; i++) {
        if (i > 0) {
            end(state);
            begin(state);
        }
        call(0, "x");
        turn();
        feed(nonsense[i]);
        turn();
        ended(0, CALL_LOST);
        assert_int_equal(closed_error, -EPROTO);
    }
}

static void test_bytes_that_nobody_asked_for_end_it(void **state)
{
    (void)state;
    feed("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    turn();
    assert_int_equal(closed, 1);
    assert_int_equal(closed_error, -EPROTO);
}

/* What a server says of its own accord must not be taken for the answer to a call that is only now made. */
static void test_an_answer_before_the_call_was_sent_is_none(void **state)
{
    (void)state;
    call(0, "x");
    feed("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
    turn();
    assert_int_equal(calls[0].heads, 0);
    ended(0, CALL_UNSENT);
    assert_int_equal(closed_error, -EPROTO);
}

static void test_silence_ends_it(void **state)
{
    (void)state;
    call(0, "x");
    turn();
    io->now_us += ANSWER_US - 1000;
    turn();
    assert_int_equal(closed, 0);
    feed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na");
    turn();
    io->now_us += ANSWER_US - 1000;
    turn();
    assert_int_equal(closed, 0);
    io->now_us += 2000;
    turn();
    turn();
    ended(0, CALL_LOST);
    assert_int_equal(closed_error, -ETIMEDOUT);
}

/* Who says something again and again, but no answer, would hold up all behind it. */
static void talk_without_answering(const char *first, const char *again)
{
    call(0, "x");
    call(1, "y");
    turn();
    feed(first);
    for (unsigned i = 0; i < 5 && !closed; i++) {
        turn();
        io->now_us += ANSWER_US / 4;
        turn();
        if (!closed)
            feed(again);
    }
    turn();
    ended(0, CALL_LOST);
    ended(1, CALL_LOST);
    assert_int_equal(closed_error, -ETIMEDOUT);
}

static void test_a_head_that_drips_ends_it(void **state)
{
    (void)state;
    talk_without_answering("HTTP/1.1 200 OK\r\nX: ", "a");
}

static void test_interim_answers_without_end_end_it(void **state)
{
    static const char interim[] = "HTTP/1.1 102 Processing\r\n\r\n";
    (void)state;
    talk_without_answering(interim, interim);
}

/* The time of each answer counts from the end of the one before. */
static void test_slow_answers_have_a_time_each(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++)
        call(i, "x");
    turn();
    for (unsigned i = 0; i < 3; i++) {
        io->now_us += ANSWER_US - 1000;
        turn();
        feed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na");
        turn();
        io->now_us += ANSWER_US - 1000;
        turn();
        feed("b");
        turn();
        answered(i, 200, "ab");
    }
    assert_int_equal(closed, 0);
}

static void test_who_owes_nothing_may_be_silent(void **state)
{
    (void)state;
    io->now_us += 100ULL * ANSWER_US;
    turn();
    assert_int_equal(closed, 0);
}

static void test_a_pause_holds_back(void **state)
{
    (void)state;
    call(0, "x");
    turn();
    upstream_pause(upstream, true);
    feed("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na");
    turn();
    io->now_us += 3ULL * ANSWER_US;
    turn();
    assert_int_equal(calls[0].heads, 0);
    assert_int_equal(closed, 0);
    upstream_pause(upstream, false);
    turn();
    answered(0, 200, "a");
}

static void test_nobody_hears_of_what_was_abandoned(void **state)
{
    (void)state;
    call(0, "x");
    call(1, "y");
    upstream_abandon(&calls[0].call);
    turn();
    feed("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 200 OK\r\nContent-Length: "
         "1\r\n\r\nb");
    turn();
    assert_int_equal(calls[0].heads, 0);
    ended(0, CALL_DONE);
    answered(1, 200, "b");
}

static void test_a_body_in_parts(void **state)
{
    (void)state;
    struct conn_piece piece = {.data = "ab", .len = 2};
    calls[0].call.ops = &call_ops;
    upstream_call_begin(upstream, &calls[0].call, &piece, 1);
    assert_true(upstream_is_occupied(upstream));
    turn();
    upstream_call_part(&calls[0].call, &piece, 1);
    upstream_call_end(&calls[0].call);
    assert_false(upstream_is_occupied(upstream));
    turn();
    assert_true(slice_equal(fake_output(io, fd), SLICE("abab")));
    feed("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    turn();
    answered(0, 200, "");
    assert_int_equal(closed, 0);
}

static void test_an_early_answer_ends_an_unfinished_body(void **state)
{
    (void)state;
    struct conn_piece piece = {.data = "ab", .len = 2};
    calls[0].call.ops = &call_ops;
    upstream_call_begin(upstream, &calls[0].call, &piece, 1);
    turn();
    feed("HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n");
    turn();
    turn();
    answered(0, 413, "");
    upstream_call_part(&calls[0].call, &piece, 1); /* is ignored */
    assert_int_equal(closed, 1);
}

static void test_destroying_ends_what_is_under_way(void **state)
{
    (void)state;
    call(0, "x");
    turn();
    call(1, "y");
    upstream_destroy(upstream);
    upstream = NULL;
    ended(0, CALL_LOST);
    ended(1, CALL_UNSENT);
    assert_int_equal(closed, 0);
}

static void test_finishing_sends_what_was_called_and_hears_the_answers(void **state)
{
    (void)state;
    fake_socket(io, fd)->space = 3;
    call(0, "GET /a\n");
    call(1, "GET /b\n");
    upstream_finish(upstream);
    assert_false(upstream_is_open(upstream));
    turn();
    call(2, "GET /c\n");
    assert_false(fake_socket(io, fd)->shut);
    fake_socket(io, fd)->space = SIZE_MAX;
    turn();
    ended(2, CALL_UNSENT);
    assert_true(fake_socket(io, fd)->shut);
    assert_true(slice_equal(fake_output(io, fd), SLICE("GET /a\nGET /b\n")));
    feed("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na");
    turn();
    answered(0, 200, "a");
    assert_int_equal(closed, 0);
    feed("HTTP/1.1 200 OK\r\n\r\nto the end");
    turn();
    fake_end(io, fd);
    turn();
    answered(1, 200, "to the end");
    assert_int_equal(closed, 1);
    assert_int_equal(closed_error, 0);
}

static unsigned fetched;

static void on_fetched(struct fetch *fetch, unsigned status, struct slice body)
{
    (void)fetch;
    fetched = status;
    assert_true(status != 200 || slice_equal(body, SLICE("hello")));
}

static void test_a_fetch_collects(void **state)
{
    (void)state;
    struct fetch fetch = {.on_done = on_fetched, .body_max = 5};
    struct conn_piece piece = {.data = "x", .len = 1};
    fetch_start(&fetch, upstream, &piece, 1);
    turn();
    feed("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    fetched = 1;
    turn();
    assert_int_equal(fetched, 200);
    assert_false(fetch.busy);
    fetch_start(&fetch, upstream, &piece, 1);
    turn();
    feed("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello!"); /* more than is wanted */
    turn();
    assert_int_equal(fetched, 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_calls_of_a_turn_are_written_in_one_go),
        TEST(test_long_answers_share_a_turn),
        TEST(test_answers_come_in_order_in_any_pieces),
        TEST(test_a_head_has_no_body),
        TEST(test_a_body_may_go_on_to_the_end),
        TEST(test_what_was_not_sent_is_told_so),
        TEST(test_close_ends_those_behind),
        TEST(test_nonsense_ends_it),
        TEST(test_bytes_that_nobody_asked_for_end_it),
        TEST(test_an_answer_before_the_call_was_sent_is_none),
        TEST(test_silence_ends_it),
        TEST(test_a_head_that_drips_ends_it),
        TEST(test_interim_answers_without_end_end_it),
        TEST(test_slow_answers_have_a_time_each),
        TEST(test_who_owes_nothing_may_be_silent),
        TEST(test_a_pause_holds_back),
        TEST(test_nobody_hears_of_what_was_abandoned),
        TEST(test_a_body_in_parts),
        TEST(test_an_early_answer_ends_an_unfinished_body),
        TEST(test_destroying_ends_what_is_under_way),
        TEST(test_finishing_sends_what_was_called_and_hears_the_answers),
        TEST(test_a_fetch_collects),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
