/* Upstreams in trouble: what owners do from inside of callbacks, silence, backpressure, memory that is out, and all of it at
 * random. Linked with --wrap for malloc, calloc and realloc: see failing.h. */
#include "net/upstream.h"

#include <errno.h>

#include "failing.h"
#include "fake_io.h"
#include "unit.h"

enum { ANSWER_US = 1000000, CONNECT_US = 500000, CALLS_MAX = 64 };

static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
static const char big[] = "HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n";

/* What an owner does in a callback. */
enum moment { NEVER, OPEN, HEAD, CONTINUE, BODY, END, CLOSED, DRAINED, MOMENTS };
enum deed { NOTHING, DESTROY, CLOSE, CALL, ABANDON, PAUSE, CONNECT, DEEDS };

struct told {
    struct call call; /* first */
    unsigned heads, continues, ends;
    uint16_t status;
    enum call_result result;
    uint64_t bytes;
};

static struct fake_io *io;
static struct loop loop;
static struct upstreams *all;
static struct upstream *upstream; /* NULL once it is destroyed */
static struct told calls[CALLS_MAX];
static unsigned made, opened, closed, drained;
static int closed_error, fd;
static enum moment when;
static enum deed what;
static unsigned inside;  /* a function of upstream.h: no callback may come from there */
static unsigned retries; /* how often on_end may call again */
static size_t body_in_turn;

static const struct call_ops call_ops;
static const struct address address = {.port = 8000};

static struct told *begin_call(struct conn_piece piece)
{
    assert_true(made < CALLS_MAX);
    struct told *told = &calls[made++];
    *told = (struct told){.call = {.ops = &call_ops}};
    inside++;
    upstream_call_begin(upstream, &told->call, &piece, 1);
    inside--;
    return told;
}

static void part(struct told *told, struct slice bytes)
{
    struct conn_piece piece = {.data = bytes.data, .len = bytes.len};
    inside++;
    upstream_call_part(&told->call, &piece, 1);
    inside--;
}

static struct told *call(const char *text)
{
    struct told *told = begin_call((struct conn_piece){.data = text, .len = strlen(text)});
    inside++;
    upstream_call_end(&told->call);
    inside--;
    return told;
}

static void destroy(void)
{
    upstream_destroy(upstream); /* calls end from inside of this */
    upstream = NULL;
}

static int connect_again(void)
{
    inside++;
    int error = upstream_connect(upstream, &address);
    inside--;
    if (error == 0)
        fd = io->count - 1;
    return error;
}

static void act(enum moment moment, struct call *at)
{
    assert_int_equal(inside, 0);
    if (moment != when || !upstream)
        return;
    enum deed deed = what;
    when = NEVER;
    inside += deed != DESTROY;
    if (deed == DESTROY)
        destroy();
    else if (deed == CLOSE)
        upstream_close(upstream, -ECANCELED);
    else if (deed == CALL && !upstream_is_occupied(upstream))
        call("again");
    else if (deed == ABANDON && at)
        upstream_abandon(at);
    else if (deed == PAUSE)
        upstream_pause(upstream, true);
    else if (deed == CONNECT)
        connect_again();
    inside -= deed != DESTROY;
}

static void on_open(struct upstream *one)
{
    assert_ptr_equal(upstream_owner(one), &opened);
    opened++;
    act(OPEN, NULL);
}

static void on_closed(struct upstream *one, int error)
{
    assert_ptr_equal(one, upstream);
    assert_false(upstream_is_open(one));
    assert_int_equal(upstream_depth(one), 0);
    closed++;
    closed_error = error;
    act(CLOSED, NULL);
}

static void on_drained(struct upstream *one)
{
    assert_false(upstream_blocked(one));
    drained++;
    act(DRAINED, NULL);
}

static const struct upstream_ops ops = {on_open, on_closed, on_drained};

static void on_head(struct call *at, const struct http_response *head)
{
    struct told *told = (struct told *)at;
    assert_false(at->abandoned);
    assert_int_equal(told->heads++ + told->ends, 0);
    told->status = head->status;
    act(HEAD, at);
}

static void on_continue(struct call *at)
{
    struct told *told = (struct told *)at;
    assert_int_equal(told->heads + told->ends, 0);
    told->continues++;
    act(CONTINUE, at);
}

static void on_body(struct call *at, struct slice bytes)
{
    struct told *told = (struct told *)at;
    assert_false(at->abandoned);
    assert_true(told->heads == 1 && told->ends == 0);
    assert_true(bytes.len > 0);
    told->bytes += bytes.len;
    body_in_turn += bytes.len;
    act(BODY, at);
}

static void on_end(struct call *at, enum call_result result)
{
    struct told *told = (struct told *)at;
    assert_null(at->upstream);
    assert_int_equal(told->ends++, 0);
    told->result = result;
    if (retries > 0 && upstream) {
        retries--;
        call("retry");
    }
    act(END, at);
}

static const struct call_ops call_ops = {on_head, on_continue, on_body, on_end};

static void turn(void)
{
    body_in_turn = 0;
    loop_turn(&loop, 0);
}

static void wait_us(uint64_t us)
{
    io->now_us += us;
    turn();
}

static void feed(const char *text)
{
    fake_feed(io, fd, slice_of(text));
}

static void check_end(const struct told *told, enum call_result result)
{
    assert_int_equal(told->ends, 1);
    assert_int_equal(told->result, result);
}

static void check_output(struct slice wanted)
{
    check_slice(fake_output(io, fd), wanted, "output");
}

/* Also anew within a test. */
static void start(void)
{
    static const struct upstream_config config = {CONNECT_US, ANSWER_US};
    memset(calls, 0, sizeof calls);
    made = opened = closed = drained = 0;
    closed_error = 1;
    inside = retries = 0;
    when = NEVER;
    io = fake_io_new();
    io->may_connect = true;
    loop_init(&loop, &io->io);
    all = upstreams_new(&loop);
    upstream = upstream_new(all, &config, &ops, &opened);
    assert_non_null(upstream);
    assert_int_equal(connect_again(), 0);
}

static void stop(void)
{
    when = NEVER;
    retries = 0;
    if (upstream)
        destroy();
    upstreams_destroy(all);
    for (unsigned i = 0; i < made; i++)
        check(calls[i].ends == 1, "call %u of %u ended %u times", i, made, calls[i].ends);
    assert_int_equal(loop.timer_reserved, 0);
    loop_free(&loop);
    fake_io_destroy(io);
}

static int set_up(void **state)
{
    (void)state;
    start();
    turn();
    assert_int_equal(opened, 1);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    stop();
    return 0;
}

static void restart(void)
{
    stop();
    set_up(NULL);
}

/* Borrowed bytes: released exactly once. */

static unsigned lent, given_back;

static void give_back(void *context, void *owner)
{
    assert_ptr_equal(owner, &lent);
    given_back++;
    free(context);
}

static struct conn_piece loan(struct slice bytes)
{
    failing_pause();
    char *copy = malloc(bytes.len);
    failing_resume();
    memcpy(copy, bytes.data, bytes.len);
    lent++;
    return (struct conn_piece){copy, bytes.len, give_back, copy, &lent};
}

static struct slice text_of(size_t from, size_t len)
{
    static char text[1 << 20];
    if (text[0] == 0)
        for (size_t i = 0; i < sizeof text; i++)
            text[i] = (char)('a' + (i + i / 1000) % 26);
    return (struct slice){text + from % (sizeof text / 2), len};
}

/* Calls that find no connection */

static void test_a_refused_call_ends_no_other(void **state)
{
    (void)state;
    stop();
    start();
    struct told *early = call("early"); /* it does not stand yet */
    when = OPEN;
    what = CALL;
    turn();
    struct told *late = &calls[1];
    check_end(early, CALL_UNSENT);
    assert_int_equal(late->ends, 0);
    check_output(SLICE("again"));
    feed(ok);
    turn();
    check_end(late, CALL_DONE);
    assert_int_equal(closed, 0);
}

/* The others end before the end is told, also if it is the end of a refused call that closes. */
static void test_closing_when_a_refused_call_ends(void **state)
{
    (void)state;
    struct told *sent = call("sent");
    turn();
    feed("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nab");
    turn();
    struct told *refused = call("refused");
    when = END;
    what = CLOSE;
    turn();
    check_end(refused, CALL_UNSENT);
    check_end(sent, CALL_LOST);
    assert_int_equal(closed, 1);
    assert_int_equal(closed_error, -ECANCELED);
}

static void test_calling_again_does_not_hold_up_the_turn(void **state)
{
    (void)state;
    upstream_close(upstream, 0);
    retries = 10;
    call("x");
    turn();
    assert_int_equal(closed, 1);
    assert_true(made > 1 && made < 4);
    for (int i = 0; i < 12; i++) {
        assert_true(loop.again || retries == 0);
        turn();
    }
    assert_int_equal(retries, 0);
    for (unsigned i = 0; i < made; i++)
        check_end(&calls[i], CALL_UNSENT);
}

/* From what is deferred: the hook of this turn has run. */
static void test_calls_behind_the_hook_do_not_wait(void **state)
{
    (void)state;
    static const struct upstream_config config = {CONNECT_US, ANSWER_US};
    struct upstream *first = upstream;
    int first_fd = fd;
    upstream = upstream_new(all, &config, &ops, &opened);
    upstream_close(upstream, 0); /* does nothing */
    struct told *refused = call("x");
    struct upstream *second = upstream;
    upstream = first;
    when = END;
    what = CALL;
    turn();
    check_end(refused, CALL_UNSENT);
    assert_int_equal(fake_output(io, first_fd).len, 0);
    assert_true(loop.again);
    turn();
    check_slice(fake_output(io, first_fd), SLICE("again"), "output");
    upstream_destroy(second);
}

static void test_no_calls_once_it_will_close(void **state)
{
    (void)state;
    struct told *first = call("a"), *behind = call("b");
    turn();
    feed("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nab");
    turn();
    assert_false(upstream_is_open(upstream));
    struct told *late = call("c");
    turn();
    check_end(late, CALL_UNSENT);
    assert_int_equal(first->ends, 0);
    feed("cd");
    turn();
    check_end(first, CALL_DONE);
    check_end(behind, CALL_LOST);
    assert_int_equal(closed, 1);
    assert_int_equal(closed_error, 0);
    check_output(SLICE("ab"));
    assert_int_equal(connect_again(), 0);
    turn();
    assert_int_equal(opened, 2);
}

/* What an owner does from inside of callbacks */

/* Everything happens here: a 100, a body in two parts, a chunked one, blocked output, an orderly end. */
static void everything(void)
{
    fake_socket(io, fd)->space = 3;
    struct told *streamed = NULL;
    if (upstream) {
        call("one");
        call("two");
        struct conn_piece piece = loan(SLICE("three"));
        streamed = begin_call(piece);
    }
    turn();
    fake_socket(io, fd)->space = 1000;
    turn();
    if (upstream && streamed && streamed->call.upstream) {
        part(streamed, SLICE("rest"));
        upstream_call_end(&streamed->call);
    }
    turn();
    feed("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
    turn();
    feed("cdHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n1\r\ny\r\n0\r\n\r\n"
         "HTTP/1.1 200 OK\r\n\r\nto the end");
    turn();
    fake_end(io, fd);
    turn();
    turn();
}

static void test_any_deed_at_any_moment(void **state)
{
    (void)state;
    for (int moment = OPEN; moment < MOMENTS; moment++)
        for (int deed = NOTHING; deed < DEEDS; deed++) {
            stop();
            start();
            lent = given_back = 0;
            when = (enum moment)moment;
            what = (enum deed)deed;
            turn();
            everything();
            check(when == NEVER || deed == NOTHING || moment == DRAINED, "moment %d did not come",
                  moment);
            check(deed != DESTROY || !upstream, "moment %d", moment);
            if (deed == PAUSE && upstream)
                upstream_pause(upstream, false);
            turn();
            turn();
            check(!upstream || closed > 0 || deed == CONNECT || deed == PAUSE, "moment %d, deed %d",
                  moment, deed);
            if (upstream)
                destroy();
            loop_run_deferred(&loop);
            check(lent == given_back, "moment %d, deed %d: %u lent, %u back", moment, deed, lent,
                  given_back);
        }
}

static void test_an_ended_call_can_be_used_anew(void **state)
{
    (void)state;
    static struct told *again;
    retries = 1;
    call("x");
    turn();
    feed(ok);
    turn();
    again = &calls[1];
    assert_int_equal(again->ends, 0);
    feed(ok);
    turn();
    check_end(again, CALL_DONE);
    check_output(SLICE("xretry"));
}

static void test_abandoning_an_unfinished_body_cuts(void **state)
{
    (void)state;
    struct told *before = call("a");
    struct told *streamed = begin_call((struct conn_piece){.data = "b", .len = 1});
    turn();
    upstream_abandon(&streamed->call);
    part(streamed, SLICE("more"));
    assert_int_equal(streamed->ends, 0);
    turn();
    check_end(before, CALL_LOST);
    check_end(streamed, CALL_LOST);
    assert_int_equal(closed_error, -ECANCELED);
}

/* Bodies of requests that come bit by bit */

static void test_parts_with_backpressure(void **state)
{
    (void)state;
    struct told *before = call("");
    struct told *told = begin_call((struct conn_piece){.data = "head", .len = 4});
    size_t given = 0, total = 400000;
    turn();
    fake_forget(io, fd);
    fake_socket(io, fd)->space = 0;
    for (int turns = 0; given < total || upstream_blocked(upstream); turns++) {
        assert_true(turns < 10000);
        while (!upstream_blocked(upstream) && given < total) {
            part(told, text_of(given, 10000));
            given += 10000;
            upstream_flush(upstream);
        }
        if (turns == 1) /* it is read while it is blocked */
            feed(ok);
        fake_socket(io, fd)->space = 3000;
        turn();
        if (turns == 1) {
            check_end(before, CALL_DONE);
            assert_true(upstream_blocked(upstream));
        }
    }
    assert_int_equal(drained, total / 10000);
    upstream_call_end(&told->call);
    turn();
    check_output(text_of(0, total));
    feed(ok);
    turn();
    check_end(told, CALL_DONE);
    assert_int_equal(closed, 0);
}

/* What was said last waits for the end of the turn, while room for what came before it is told of sooner. */
static void test_a_finish_comes_behind_what_was_said(void **state)
{
    (void)state;
    struct told *told = begin_call((struct conn_piece){.data = "head", .len = 4});
    fake_socket(io, fd)->space = 1;
    turn();
    assert_true(upstream_blocked(upstream));
    part(told, SLICE("rest"));
    upstream_call_end(&told->call);
    upstream_finish(upstream);
    fake_socket(io, fd)->space = 100;
    turn();
    check_output(SLICE("headrest"));
    assert_true(fake_socket(io, fd)->shut);
    feed(ok);
    turn();
    check_end(told, CALL_DONE);
}

static void test_an_early_answer_to_a_finished_body_keeps_the_connection(void **state)
{
    (void)state;
    struct told *told = begin_call((struct conn_piece){.data = "head", .len = 4});
    turn();
    feed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
    turn();
    assert_int_equal(told->heads, 1);
    part(told, SLICE("rest"));
    upstream_call_end(&told->call);
    feed("ok");
    turn();
    check_end(told, CALL_DONE);
    turn();
    assert_int_equal(closed, 0);
    check_output(SLICE("headrest"));
}

static void test_the_end_of_a_connection_frees_it_for_calls(void **state)
{
    (void)state;
    struct told *told = begin_call((struct conn_piece){.data = "head", .len = 4});
    turn();
    upstream_close(upstream, -EPIPE);
    assert_false(upstream_is_occupied(upstream));
    struct told *late = call("x");
    upstream_call_end(&told->call); /* does nothing */
    turn();
    check_end(told, CALL_LOST);
    check_end(late, CALL_UNSENT);
    assert_int_equal(closed_error, -EPIPE);
}

/* Time */

static void test_a_slow_body_is_not_the_servers_fault(void **state)
{
    (void)state;
    struct told *told = begin_call((struct conn_piece){.data = "head", .len = 4});
    for (int i = 0; i < 5; i++) {
        wait_us(10ULL * ANSWER_US);
        part(told, SLICE("x"));
        turn();
    }
    wait_us(10ULL * ANSWER_US);
    assert_int_equal(closed, 0);
    upstream_call_end(&told->call);
    turn();
    wait_us(ANSWER_US - 1);
    assert_int_equal(closed, 0);
    wait_us(1);
    assert_int_equal(closed, 1);
    assert_int_equal(closed_error, -ETIMEDOUT);
    check_end(told, CALL_LOST);
}

static void test_a_server_that_takes_nothing_is_cut(void **state)
{
    (void)state;
    struct told *told = begin_call((struct conn_piece){.data = "head", .len = 4});
    wait_us(10ULL * ANSWER_US);
    fake_socket(io, fd)->space = 0;
    part(told, SLICE("x"));
    turn();
    assert_true(upstream_blocked(upstream));
    wait_us(ANSWER_US - 1);
    assert_int_equal(closed, 0);
    wait_us(1);
    check_end(told, CALL_LOST);
    assert_int_equal(closed_error, -ETIMEDOUT);
}

static void test_what_is_still_being_sent_has_time(void **state)
{
    (void)state;
    fake_socket(io, fd)->space = 10;
    struct told *told = begin_call(loan(text_of(0, 100)));
    upstream_call_end(&told->call);
    turn();
    for (int i = 0; i < 9; i++) {
        fake_socket(io, fd)->space = 10;
        wait_us(ANSWER_US - 1);
        assert_int_equal(closed, 0);
    }
    assert_false(upstream_blocked(upstream));
    wait_us(ANSWER_US - 1);
    assert_int_equal(closed, 0);
    wait_us(1);
    check_end(told, CALL_LOST);
}

/* That later calls are sent well says nothing of a server that is silent. */
static void test_later_calls_give_no_time(void **state)
{
    (void)state;
    struct told *first = call("first");
    turn();
    for (int i = 0; i < 9; i++) {
        wait_us(ANSWER_US / 10);
        assert_int_equal(closed, 0);
        call("more");
        turn();
    }
    wait_us(ANSWER_US / 10);
    assert_int_equal(closed, 1);
    check_end(first, CALL_LOST);
}

static void test_the_clock_stands_while_paused(void **state)
{
    (void)state;
    call("x");
    turn();
    wait_us(ANSWER_US * 3 / 4);
    upstream_pause(upstream, true);
    wait_us(50ULL * ANSWER_US);
    wait_us(50ULL * ANSWER_US);
    assert_int_equal(closed, 0);
    upstream_pause(upstream, false);
    turn();
    wait_us(ANSWER_US / 4 - 1);
    assert_int_equal(closed, 0);
    wait_us(1);
    assert_int_equal(closed_error, -ETIMEDOUT);
}

static void test_a_call_made_while_paused_has_all_its_time(void **state)
{
    (void)state;
    upstream_pause(upstream, true);
    wait_us(5ULL * ANSWER_US);
    call("x");
    turn();
    wait_us(5ULL * ANSWER_US);
    upstream_pause(upstream, false);
    turn();
    wait_us(ANSWER_US - 1);
    assert_int_equal(closed, 0);
    wait_us(1);
    assert_int_equal(closed, 1);
}

static void test_heard(void **state)
{
    (void)state;
    uint64_t at = upstream_heard_us(upstream);
    call("x");
    wait_us(1000);
    upstream_pause(upstream, true);
    wait_us(1000);
    upstream_pause(upstream, false);
    turn();
    assert_int_equal(upstream_heard_us(upstream), at);
    feed("H");
    wait_us(1000);
    assert_int_equal(upstream_heard_us(upstream), at + 3000);
}

/* Connecting */

static void test_connecting_takes_too_long(void **state)
{
    (void)state;
    stop();
    start();
    fake_socket(io, fd)->space = 0;
    turn();
    wait_us(CONNECT_US - 1);
    assert_int_equal(closed, 0);
    wait_us(1);
    assert_int_equal(closed, 1);
    assert_int_equal(closed_error, -ETIMEDOUT);
    assert_int_equal(opened, 0);
}

static void test_connecting_that_fails(void **state)
{
    (void)state;
    stop();
    start();
    fake_break(io, fd, -ECONNREFUSED);
    when = CLOSED;
    what = CONNECT;
    turn();
    assert_int_equal(closed, 1);
    assert_int_equal(closed_error, -ECONNREFUSED);
    turn();
    assert_int_equal(opened, 1);
    upstream_close(upstream, 0);
    turn();
    unsigned before = closed;
    io->connect_error = -ENETUNREACH;
    assert_int_equal(connect_again(), -ENETUNREACH);
    io->connect_error = 0;
    io->watch_error = -ENOSPC;
    assert_int_equal(connect_again(), -ENOSPC);
    io->watch_error = 0;
    turn();
    assert_int_equal(closed, before);
    assert_int_equal(fake_open(io), 0);
}

static void test_destroyed_while_connecting(void **state)
{
    (void)state;
    stop();
    start();
    call("x");
    destroy();
    turn();
    assert_int_equal(opened + closed, 0);
    check_end(&calls[0], CALL_UNSENT);
}

/* Errors of the socket */

static void test_an_answer_before_a_reset_is_not_lost(void **state)
{
    (void)state;
    for (int blocked = 0; blocked < 2; blocked++) {
        static const ssize_t steps[] = {-EPIPE};
        restart();
        struct told *told = begin_call((struct conn_piece){.data = "head", .len = 4});
        turn();
        fake_socket(io, fd)->space = blocked ? 0 : 100;
        part(told, SLICE("part"));
        if (blocked)
            turn();
        feed("HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n");
        fake_socket(io, fd)->space = 100;
        fake_socket(io, fd)->in_error = -ECONNRESET;
        fake_steps_set(&fake_socket(io, fd)->send_steps, steps, 1);
        if (!blocked)
            upstream_flush(upstream);
        assert_int_equal(closed, 0);
        turn();
        check_end(told, CALL_DONE);
        assert_int_equal(told->status, 413);
        turn();
        assert_int_equal(closed, 1);
    }
}

/* After a reset that was met in writing, the kernel may tell of an end that the server never meant. */
static void test_a_reset_does_not_end_a_body(void **state)
{
    (void)state;
    static const ssize_t steps[] = {-ECONNRESET};
    struct told *told = begin_call((struct conn_piece){.data = "head", .len = 4});
    turn();
    feed("HTTP/1.1 200 OK\r\n\r\nhalf a bo");
    turn();
    part(told, SLICE("part"));
    fake_steps_set(&fake_socket(io, fd)->send_steps, steps, 1);
    fake_end(io, fd);
    upstream_flush(upstream);
    turn();
    check_end(told, CALL_LOST);
    assert_int_equal(closed_error, -ECONNRESET);
}

/* The peer is gone, and nobody may write to it again. */
static void test_a_reset_met_in_writing(void **state)
{
    (void)state;
    struct told *first = call("x");
    turn();
    fake_break(io, fd, -ECONNRESET);
    call("y");
    upstream_flush(upstream);
    call("z");
    upstream_flush(upstream);
    assert_int_equal(fake_socket(io, fd)->sends, 2);
    turn();
    check_end(first, CALL_LOST);
    check_end(&calls[1], CALL_UNSENT);
    check_end(&calls[2], CALL_UNSENT);
    assert_int_equal(closed_error, -ECONNRESET);
}

static void test_other_errors(void **state)
{
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        const ssize_t steps[] = {-ENOBUFS};
        restart();
        struct told *told = call("x");
        if (kind == 1) {
            turn();
            feed(ok);
        }
        fake_steps_set(kind ? &fake_socket(io, fd)->recv_steps : &fake_socket(io, fd)->send_steps,
                       steps, 1);
        turn();
        check_end(told, kind ? CALL_LOST : CALL_UNSENT);
        assert_int_equal(closed_error, -ENOBUFS);
    }
}

static void test_the_server_ends_in_the_middle(void **state)
{
    (void)state;
    for (size_t len = 0; len < sizeof ok - 1; len++) {
        restart();
        struct told *told = call("x"), *behind = call("y");
        turn();
        struct told *unsent = call("z");
        fake_feed(io, fd, (struct slice){ok, len});
        fake_end(io, fd);
        turn();
        turn();
        check_end(told, CALL_LOST);
        check_end(behind, CALL_LOST);
        /* It may have been sent before the end was seen. */
        check_end(unsent, fake_output(io, fd).len == 2 ? CALL_UNSENT : CALL_LOST);
        assert_int_equal(closed, 1);
        assert_int_equal(closed_error, 0);
    }
}

/* Half a call in the kernel is a lost one; those behind it are not. */
static void test_unsent_means_not_a_byte(void **state)
{
    (void)state;
    for (size_t space = 0; space <= 9; space++) {
        restart();
        fake_socket(io, fd)->space = space;
        for (int i = 0; i < 3; i++)
            call("abc");
        turn();
        upstream_close(upstream, 0);
        turn();
        for (unsigned i = 0; i < 3; i++)
            check_end(&calls[i], i * 3 < space ? CALL_LOST : CALL_UNSENT);
    }
}

/* Volume */

static void test_one_large_body_leaves_turns_to_others(void **state)
{
    (void)state;
    struct told *told = call("x");
    turn();
    feed(big);
    for (size_t fed = 0; fed < 10000000; fed += 500000)
        fake_feed(io, fd, text_of(fed, 500000));
    for (int turns = 0; told->ends == 0; turns++) {
        assert_true(turns < 1000);
        turn();
        assert_true(body_in_turn <= 256 * 1024);
    }
    check_end(told, CALL_DONE);
    assert_int_equal(told->bytes, 10000000);
}

static void test_a_pause_takes_no_more_than_was_read(void **state)
{
    (void)state;
    struct told *told = call("x");
    turn();
    feed(big);
    for (size_t fed = 0; fed < 10000000; fed += 500000)
        fake_feed(io, fd, text_of(fed, 500000));
    uint64_t before = 0;
    for (int turns = 0; told->ends == 0; turns++) {
        assert_true(turns < 1000);
        when = BODY;
        what = PAUSE;
        turn();
        assert_true(told->bytes - before <= UPSTREAM_INPUT_BYTES);
        turn();
        if (told->ends)
            break;
        assert_true(told->bytes - before <= UPSTREAM_INPUT_BYTES);
        before = told->bytes;
        upstream_pause(upstream, false);
    }
    assert_int_equal(told->bytes, 10000000);
}

static void test_much_output_goes_early_and_in_order(void **state)
{
    (void)state;
    struct conn_piece pieces[CONN_PIECES_MAX];
    size_t total = 0;
    lent = given_back = 0;
    for (int i = 0; i < 30; i++) {
        for (unsigned n = 0; n < CONN_PIECES_MAX; n++) {
            struct slice bytes = text_of(total, 1 + (n * 37 + (unsigned)i * 11) % 150);
            pieces[n] =
                n % 3 ? (struct conn_piece){.data = bytes.data, .len = bytes.len} : loan(bytes);
            total += bytes.len;
        }
        made = made < CALLS_MAX ? made : 0;
        struct told *told = &calls[made++];
        *told = (struct told){.call = {.ops = &call_ops}};
        upstream_call(upstream, &told->call, pieces, CONN_PIECES_MAX);
    }
    assert_true(total < 500000);
    assert_true(fake_output(io, fd).len > 100000); /* the turn has not ended */
    struct told *told =
        begin_call((struct conn_piece){.data = text_of(total, 200000).data, .len = 200000});
    upstream_call_end(&told->call);
    turn();
    total += 200000;
    check_output(text_of(0, total));
    assert_int_equal(lent, given_back);
}

static void test_no_allocation_for_a_call(void **state)
{
    (void)state;
    for (int i = 0; i < 1000; i++) {
        made = 0;
        call("GET /a HTTP/1.1\r\n\r\n");
        call("GET /b HTTP/1.1\r\n\r\n");
        turn();
        fake_forget(io, fd);
        feed(ok);
        feed("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
        if (i == 10)
            failing_start(UINT32_MAX, false);
        turn();
        check_end(&calls[0], CALL_DONE);
        check_end(&calls[1], CALL_DONE);
    }
    assert_int_equal(failing_seen(), 0);
    failing_stop();
}

/* Without memory */

static void test_the_nth_allocation_fails(void **state)
{
    (void)state;
    bool failed = true;
    for (unsigned nth = 1; failed; nth++) {
        assert_true(nth < 200);
        lent = given_back = 0;
        stop();
        start();
        failing_start(nth, false);
        turn();
        everything();
        failed = failing_stop();
        if (upstream)
            destroy();
        loop_run_deferred(&loop);
        assert_int_equal(lent, given_back);
    }
}

static void test_making_them_without_memory(void **state)
{
    (void)state;
    static const struct upstream_config config = {CONNECT_US, ANSWER_US};
    struct loop other;
    loop_init(&other, &io->io);
    for (unsigned nth = 1; nth < 20; nth++) {
        failing_start(nth, false);
        struct upstreams *made_all = upstreams_new(&other);
        struct upstream *one = made_all ? upstream_new(made_all, &config, &ops, NULL) : NULL;
        bool failed = failing_stop();
        assert_true(failed == !one);
        if (one)
            upstream_destroy(one);
        if (made_all)
            upstreams_destroy(made_all);
    }
    loop_free(&other);
}

static void test_a_call_without_memory(void **state)
{
    (void)state;
    failing_start(1, false);
    struct told *told = call("x");
    assert_true(failing_stop());
    turn();
    check_end(told, CALL_UNSENT);
    assert_int_equal(closed_error, -ENOMEM);
}

static void test_keeping_without_memory(void **state)
{
    (void)state;
    struct told *told = call("x");
    turn();
    feed("HTTP/1.1 200 O");
    failing_start(1, false);
    turn();
    assert_true(failing_stop());
    check_end(told, CALL_LOST);
    assert_int_equal(closed_error, -ENOMEM);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_refused_call_ends_no_other),
        TEST(test_closing_when_a_refused_call_ends),
        TEST(test_calling_again_does_not_hold_up_the_turn),
        TEST(test_calls_behind_the_hook_do_not_wait),
        TEST(test_no_calls_once_it_will_close),
        TEST(test_any_deed_at_any_moment),
        TEST(test_an_ended_call_can_be_used_anew),
        TEST(test_abandoning_an_unfinished_body_cuts),
        TEST(test_parts_with_backpressure),
        TEST(test_a_finish_comes_behind_what_was_said),
        TEST(test_an_early_answer_to_a_finished_body_keeps_the_connection),
        TEST(test_the_end_of_a_connection_frees_it_for_calls),
        TEST(test_a_slow_body_is_not_the_servers_fault),
        TEST(test_a_server_that_takes_nothing_is_cut),
        TEST(test_what_is_still_being_sent_has_time),
        TEST(test_later_calls_give_no_time),
        TEST(test_the_clock_stands_while_paused),
        TEST(test_a_call_made_while_paused_has_all_its_time),
        TEST(test_heard),
        TEST(test_connecting_takes_too_long),
        TEST(test_connecting_that_fails),
        TEST(test_destroyed_while_connecting),
        TEST(test_an_answer_before_a_reset_is_not_lost),
        TEST(test_a_reset_does_not_end_a_body),
        TEST(test_a_reset_met_in_writing),
        TEST(test_other_errors),
        TEST(test_the_server_ends_in_the_middle),
        TEST(test_unsent_means_not_a_byte),
        TEST(test_one_large_body_leaves_turns_to_others),
        TEST(test_a_pause_takes_no_more_than_was_read),
        TEST(test_much_output_goes_early_and_in_order),
        TEST(test_no_allocation_for_a_call),
        TEST(test_the_nth_allocation_fails),
        TEST(test_making_them_without_memory),
        TEST(test_a_call_without_memory),
        TEST(test_keeping_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
