/* Linked with --wrap for malloc, calloc and realloc: see failing.h. */
#include "net/conn.h"

#include <errno.h>

#include "failing.h"
#include "fake_io.h"
#include "unit.h"

static struct fake_io *io;
static struct loop loop;

/* The conn under test, and what its owner heard of it. */
static struct {
    struct conn conn; /* first, so that a conn leads here */
    int fd;
    unsigned readable, drained, closed, connected;
    size_t reads; /* so many bytes at a time, as soon as there are some; 0 to read nothing */
} own;

static void on_readable(struct conn *conn)
{
    assert_ptr_equal(conn, &own.conn);
    assert_int_equal(own.closed, 0);
    check(!conn_blocked(conn) || conn->duplex, "read while something is queued");
    own.readable++;
    char room[100];
    if (own.reads)
        conn_recv(conn, room, own.reads);
}

static void on_drained(struct conn *conn)
{
    assert_ptr_equal(conn, &own.conn);
    assert_int_equal(own.closed, 0);
    assert_false(conn_blocked(conn));
    own.drained++;
}

static void on_closed(struct conn *conn)
{
    assert_ptr_equal(conn, &own.conn);
    assert_int_equal(conn->state, CONN_CLOSED);
    own.closed++;
}

static void on_connected(struct conn *conn)
{
    assert_ptr_equal(conn, &own.conn);
    assert_int_equal(own.readable + own.drained + own.closed, 0);
    own.connected++;
}

static const struct conn_ops ops = {on_connected, on_readable, on_drained, on_closed};

/* Closes the one before. */
static void open_conn(void)
{
    if (own.fd)
        conn_close(&own.conn);
    memset(&own, 0xa5, sizeof own);
    own.readable = own.drained = own.closed = own.connected = 0;
    own.reads = 0;
    own.fd = fake_socket_new(io);
    assert_int_equal(conn_open(&own.conn, &loop, own.fd, &ops), 0);
    assert_int_equal(own.conn.state, CONN_OPEN);
}

static struct fake_socket *socket_of_conn(void)
{
    return fake_socket(io, own.fd);
}

/* Closed, and told so once; the socket too. */
static void check_closed(void)
{
    assert_int_equal(own.conn.state, CONN_CLOSED);
    assert_int_equal(own.closed, 1);
    assert_false(socket_of_conn()->open);
    assert_null(own.conn.queue);
    assert_null(own.conn.kept);
}

static void check_open(void)
{
    assert_int_equal(own.conn.state, CONN_OPEN);
    assert_int_equal(own.closed, 0);
    assert_true(socket_of_conn()->open);
}

static int set_up(void **state)
{
    (void)state;
    io = fake_io_new();
    loop_init(&loop, &io->io);
    own.fd = 0;
    open_conn();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    conn_close(&own.conn);
    check_closed();
    fake_io_destroy(io);
    loop_free(&loop);
    return 0;
}

static void turn(void)
{
    loop_turn(&loop, 0);
}

/* As turn, for events that a socket would not report on its own. */
static void report(unsigned ready)
{
    own.conn.watcher.on_ready(&own.conn.watcher, ready);
}

/* Parcels: borrowed bytes that must be released exactly once. They are gone then, so that a later
 * use is found. */

enum { PARCELS_MAX = 1000 };

static struct {
    char *data[PARCELS_MAX];
    unsigned released[PARCELS_MAX];
    unsigned count;
} parcels;

static void parcel_release(void *context, void *owner)
{
    unsigned number = (unsigned)(uintptr_t)owner - 1;
    assert_ptr_equal(context, &parcels);
    check(number < parcels.count, "release of parcel %u", number);
    parcels.released[number]++;
    check(parcels.released[number] == 1, "parcel %u is released twice", number);
    free(parcels.data[number]);
}

static struct conn_piece parcel(struct slice bytes)
{
    assert_true(parcels.count < PARCELS_MAX);
    failing_pause();
    char *data = malloc(bytes.len + 1);
    failing_resume();
    assert_non_null(data);
    if (bytes.len)
        memcpy(data, bytes.data, bytes.len);
    parcels.data[parcels.count] = data;
    parcels.released[parcels.count++] = 0;
    return (struct conn_piece){data, bytes.len, parcel_release, &parcels,
                               (void *)(uintptr_t)parcels.count};
}

static unsigned parcels_released(void)
{
    unsigned count = 0;
    for (unsigned i = 0; i < parcels.count; i++)
        count += parcels.released[i];
    return count;
}

static void parcels_check_all_released(void)
{
    check(parcels_released() == parcels.count, "%u parcels, %u released", parcels.count,
          parcels_released());
    parcels.count = 0;
}

/* Text, so that a wrong byte shows where it came from. */
static struct slice text_of(size_t from, size_t len)
{
    static char text[1 << 20];
    if (text[0] == 0)
        for (size_t i = 0; i < sizeof text; i++)
            text[i] = "abcdefghijklmnopqrstuvwxyz0123456789"[(i + i / 1000) % 36];
    assert_true(from + len <= sizeof text);
    return (struct slice){text + from, len};
}

static void check_output(size_t from, size_t len)
{
    struct slice is = fake_output(io, own.fd), wanted = text_of(from, len);
    check(slice_equal(is, wanted), "%zu bytes of %zu, or others", is.len, wanted.len);
}

static struct conn_piece copied(struct slice bytes)
{
    return (struct conn_piece){.data = bytes.data, .len = bytes.len};
}

static void send_text(const char *text)
{
    struct conn_piece piece = copied(slice_of(text));
    conn_send(&own.conn, &piece, 1);
}

/* Opening and reading */

static void test_open_that_fails(void **state)
{
    (void)state;
    struct conn conn;
    int fd = fake_socket_new(io);
    io->watch_error = -ENOSPC;
    assert_int_equal(conn_open(&conn, &loop, fd, &ops), -ENOSPC);
    assert_true(fake_socket(io, fd)->open);
    io->watch_error = 0;
    io->io.ops->close(&io->io, fd);
}

/* Once, as looking costs time; but until it is read. */
static void test_what_there_is_to_read_is_told(void **state)
{
    (void)state;
    own.reads = 4;
    fake_feed(io, own.fd, SLICE("0123456789"));
    for (unsigned i = 1; i <= 5; i++) {
        turn();
        assert_int_equal(own.readable, i < 3 ? i : 3);
    }
    fake_feed(io, own.fd, SLICE("0123"));
    turn();
    turn();
    assert_int_equal(own.readable, 4);
    own.reads = 0;
    fake_feed(io, own.fd, SLICE("0"));
    turn();
    turn();
    assert_int_equal(own.readable, 6);
}

/* A kernel does not do this; but nothing would ever be read again. */
static void test_what_a_read_did_not_find_is_told_again(void **state)
{
    (void)state;
    const ssize_t steps[] = {-EAGAIN};
    own.reads = 100;
    fake_steps_set(&socket_of_conn()->recv_steps, steps, 1);
    fake_feed(io, own.fd, SLICE("late"));
    turn();
    assert_int_equal(loop.received_bytes, 0);
    turn();
    assert_int_equal(loop.received_bytes, 4);
}

static void test_an_end_behind_the_last_bytes_is_told(void **state)
{
    (void)state;
    own.reads = 100;
    fake_feed(io, own.fd, SLICE("last"));
    fake_end(io, own.fd);
    turn();
    assert_false(own.conn.ended);
    turn();
    assert_true(own.conn.ended);
    turn();
    assert_int_equal(own.readable, 2);
}

static void test_reading(void **state)
{
    (void)state;
    char room[100];
    assert_int_equal(socket_of_conn()->interest, IO_READ);
    turn();
    assert_int_equal(own.readable, 0);
    fake_feed(io, own.fd, SLICE("hello"));
    turn();
    assert_int_equal(own.readable, 1);
    assert_int_equal(conn_fill(&own.conn, room, sizeof room, true), 5);
    assert_memory_equal(room, "hello", 5);
    assert_int_equal(loop.received_bytes, 5);
    assert_int_equal(conn_fill(&own.conn, room, sizeof room, true), 0);
    turn();
    assert_int_equal(own.readable, 1);
    check_open();
    assert_false(own.conn.ended);
}

static void test_reading_takes_no_more_than_the_room(void **state)
{
    (void)state;
    char room[4] = "...";
    fake_feed(io, own.fd, SLICE("hello"));
    assert_int_equal(conn_fill(&own.conn, room, 3, true), 3);
    assert_memory_equal(room, "hel", 4);
    assert_int_equal(conn_fill(&own.conn, room, 3, true), 2);
    assert_memory_equal(room, "lol", 4);
}

static void test_kept_bytes_come_first(void **state)
{
    (void)state;
    char room[100];
    fake_feed(io, own.fd, SLICE("new"));
    conn_keep(&own.conn, SLICE("old-"));
    assert_int_equal(own.conn.kept_bytes, 4);
    assert_int_equal(conn_fill(&own.conn, room, sizeof room, false), 4);
    assert_int_equal(socket_of_conn()->recvs, 0);
    conn_keep(&own.conn, SLICE("old-"));
    assert_int_equal(conn_fill(&own.conn, room, sizeof room, true), 7);
    assert_memory_equal(room, "old-new", 7);
    assert_int_equal(own.conn.kept_bytes, 0);
    conn_keep(&own.conn, SLICE("full"));
    fake_feed(io, own.fd, SLICE("!"));
    assert_int_equal(conn_fill(&own.conn, room, 4, true),
                     4); /* no room for more: it is not asked for */
    assert_int_equal(fake_unread(io, own.fd), 1);
    conn_keep(&own.conn, (struct slice){0});
    assert_null(own.conn.kept);
}

static void test_kept_bytes_are_copied(void **state)
{
    (void)state;
    char mine[] = "mine", room[10];
    conn_keep(&own.conn, slice_of(mine));
    memset(mine, '#', sizeof mine);
    assert_int_equal(conn_fill(&own.conn, room, sizeof room, true), 4);
    assert_memory_equal(room, "mine", 4);
}

/* However input is cut, and however little of it is used up at a time, it is one stream. */
static void test_keeping_at_random(void **state)
{
    (void)state;
    struct chance chance = chance_start(6);
    for (int round = 0; round < 200; round++) {
        size_t total = chance_below(&chance, 5000), fed = 0, used = 0;
        open_conn();
        while (used < total) {
            char room[6000];
            size_t more = chance_below(&chance, 300);
            more = more < total - fed ? more : total - fed;
            fake_feed(io, own.fd, text_of(fed, more));
            fed += more;
            socket_of_conn()->recv_max = 1 + chance_below(&chance, 400);
            size_t len = conn_fill(&own.conn, room, sizeof room, !chance_once_in(&chance, 4));
            assert_memory_equal(room, text_of(used, len).data, len);
            size_t take = len ? chance_below(&chance, len + 1) : 0;
            conn_keep(&own.conn, (struct slice){room + take, len - take});
            assert_int_equal(own.conn.kept_bytes, len - take);
            used += take;
        }
        check_open();
        conn_close(&own.conn);
        check_closed();
    }
}

static void test_the_end(void **state)
{
    (void)state;
    char room[10];
    fake_feed(io, own.fd, SLICE("last"));
    fake_end(io, own.fd);
    assert_int_equal(conn_fill(&own.conn, room, sizeof room, true), 4);
    assert_false(own.conn.ended);
    turn();
    assert_int_equal(own.readable, 1);
    assert_int_equal(conn_fill(&own.conn, room, sizeof room, true), 0);
    assert_true(own.conn.ended);
    check_open();
    assert_int_equal(socket_of_conn()->interest, 0);
    turn();
    assert_int_equal(own.readable, 1);
    unsigned recvs = socket_of_conn()->recvs;
    assert_int_equal(conn_fill(&own.conn, room, sizeof room, true), 0); /* not asked again */
    assert_int_equal(socket_of_conn()->recvs, recvs);
    send_text("reply"); /* a half-closed peer still listens */
    check_slice(fake_output(io, own.fd), SLICE("reply"), "output");
}

static void test_the_end_behind_kept_bytes(void **state)
{
    (void)state;
    char room[10];
    conn_keep(&own.conn, SLICE("half"));
    fake_end(io, own.fd);
    assert_int_equal(conn_fill(&own.conn, room, sizeof room, true), 4);
    assert_true(own.conn.ended);
    check_open();
}

static void test_read_errors_close(void **state)
{
    (void)state;
    static const int errors[] = {-ECONNRESET, -ETIMEDOUT, -EPIPE, -ENOMEM};
    char room[10];
    for (size_t i = 0; i < COUNT(errors); i++)
        for (int kept = 0; kept < 2; kept++) {
            open_conn();
            if (kept)
                conn_keep(&own.conn, SLICE("half"));
            fake_break(io, own.fd, errors[i]);
            assert_int_equal(conn_fill(&own.conn, room, sizeof room, true), 0);
            check_closed();
        }
    open_conn();
    fake_break(io, own.fd, -ECONNRESET);
    assert_int_equal(conn_recv(&own.conn, room, sizeof room), 0);
    check_closed();
}

static void test_direct_reading(void **state)
{
    (void)state;
    char room[10];
    fake_feed(io, own.fd, SLICE("0123456789abc"));
    assert_int_equal(conn_recv(&own.conn, room, 10), 10);
    assert_memory_equal(room, "0123456789", 10);
    assert_int_equal(conn_recv(&own.conn, room, 10), 3);
    assert_int_equal(conn_recv(&own.conn, room, 10), 0);
    assert_false(own.conn.ended);
    fake_end(io, own.fd);
    assert_int_equal(conn_recv(&own.conn, room, 10), 0);
    assert_true(own.conn.ended);
    assert_int_equal(loop.received_bytes, 13);
    check_open();
}

static void test_keep_without_memory_closes(void **state)
{
    (void)state;
    failing_start(1, false);
    conn_keep(&own.conn, SLICE("half"));
    assert_true(failing_stop());
    check_closed();
    conn_keep(&own.conn, SLICE("half")); /* closed already: nothing is kept */
    assert_null(own.conn.kept);
}

/* Writing */

static void test_sent_at_once(void **state)
{
    (void)state;
    struct conn_piece pieces[] = {copied(text_of(0, 10)), parcel(text_of(10, 20)),
                                  parcel(text_of(30, 0)), copied(text_of(30, 5))};
    failing_start(1, true); /* takes no memory */
    conn_send(&own.conn, pieces, COUNT(pieces));
    failing_stop();
    check_open();
    assert_false(conn_blocked(&own.conn));
    check_output(0, 35);
    assert_int_equal(socket_of_conn()->sends, 1);
    assert_int_equal(own.conn.sent_bytes, 35);
    assert_int_equal(loop.sent_bytes, 35);
    assert_int_equal(own.drained, 0);
    parcels_check_all_released();
}

/* Three pieces of two kinds, cut at every byte. */
static void test_cut_at_every_byte(void **state)
{
    (void)state;
    enum { TOTAL = 24 };
    for (unsigned kinds = 0; kinds < 8; kinds++)
        for (ssize_t cut = 0; cut <= TOTAL; cut++)
            for (ssize_t second = 1; second <= TOTAL; second += 5) {
                open_conn();
                struct conn_piece pieces[3];
                for (unsigned i = 0; i < 3; i++) {
                    struct slice part = text_of((size_t)8 * i, 8);
                    pieces[i] = kinds >> i & 1 ? parcel(part) : copied(part);
                }
                const ssize_t steps[] = {cut ? cut : -EAGAIN, -EAGAIN, second, -EAGAIN};
                fake_steps_set(&socket_of_conn()->send_steps, steps, COUNT(steps));
                conn_send(&own.conn, pieces, 3);
                assert_int_equal(conn_blocked(&own.conn), cut < TOTAL);
                for (int i = 0; i < 4; i++)
                    turn();
                check_output(0, TOTAL);
                check_open();
                assert_int_equal(own.drained, cut < TOTAL);
                assert_int_equal(own.conn.sent_bytes, TOTAL);
                parcels_check_all_released();
                conn_close(&own.conn);
            }
}

static void test_blocked(void **state)
{
    (void)state;
    socket_of_conn()->space = 3;
    fake_feed(io, own.fd, SLICE("more"));
    struct conn_piece pieces[] = {parcel(text_of(0, 8)), copied(text_of(8, 8))};
    conn_send(&own.conn, pieces, 2);
    assert_true(conn_blocked(&own.conn));
    assert_int_equal(socket_of_conn()->interest, IO_WRITE);
    assert_int_equal(parcels_released(), 0);
    for (int i = 0; i < 3; i++)
        turn();
    assert_int_equal(own.readable, 0); /* nothing is read meanwhile */
    assert_int_equal(socket_of_conn()->recvs, 0);
    assert_int_equal(socket_of_conn()->sends, 1);
    socket_of_conn()->space = 5;
    turn();
    assert_int_equal(parcels_released(), 1);
    assert_true(conn_blocked(&own.conn));
    assert_int_equal(own.drained, 0);
    socket_of_conn()->space = 100;
    turn();
    assert_int_equal(own.drained, 1);
    assert_false(conn_blocked(&own.conn));
    assert_int_equal(conn_queued_bytes(&own.conn), 0);
    assert_int_equal(socket_of_conn()->interest, IO_READ);
    check_output(0, 16);
    turn();
    assert_int_equal(own.readable, 1);
    parcels_check_all_released();
}

/* What is sent while something is queued goes behind it, and the socket is not bothered. */
static void test_sends_while_blocked(void **state)
{
    (void)state;
    size_t at = 0;
    socket_of_conn()->space = 0;
    for (unsigned i = 0; i < 200; i++) {
        size_t len = i % 7 ? i : i * 50;
        struct conn_piece piece = i % 3 ? copied(text_of(at, len)) : parcel(text_of(at, len));
        conn_send(&own.conn, &piece, 1);
        at += len;
    }
    assert_int_equal(socket_of_conn()->sends, 2); /* the first was empty, the second blocked */
    socket_of_conn()->space = SIZE_MAX;
    turn();
    check_output(0, at);
    assert_int_equal(own.drained, 1);
    parcels_check_all_released();
}

/* A socket that takes all gets a part at a time, so that others have their turns between. */
static void test_large_pieces_go_in_parts(void **state)
{
    (void)state;
    static const size_t len = 2 * CONN_SEND_BYTES;
    for (unsigned duplex = 0; duplex < 2; duplex++) {
        turn(); /* a new one, that has sent nothing */
        struct conn_piece pieces[] = {parcel(text_of(0, 100)), parcel(text_of(100, len - 100))};
        own.conn.duplex = duplex;
        own.drained = 0;
        conn_send(&own.conn, pieces, 2);
        check_output(0, CONN_SEND_BYTES);
        assert_true(conn_blocked(&own.conn));
        turn();
        check_output(0, len);
        assert_int_equal(own.drained, 1);
        fake_forget(io, own.fd);
        parcels_check_all_released();
    }
}

/* Thousands may ask for what is large at a time. */
static void test_large_pieces_wait_when_the_turn_has_sent_enough_of_them(void **state)
{
    (void)state;
    static const size_t len = 2 * CONN_SEND_BYTES;
    loop_share_take(own.conn.loop, &own.conn.loop->bulk);
    io->now_us += LOOP_SHARE_US;
    struct conn_piece large = parcel(text_of(0, len));
    conn_send(&own.conn, &large, 1);
    check_output(0, 0);
    turn();
    check_output(0, len);
    fake_forget(io, own.fd);
    loop_share_take(own.conn.loop, &own.conn.loop->bulk);
    io->now_us += LOOP_SHARE_US;
    struct conn_piece small = parcel(text_of(0, CONN_SEND_BYTES));
    conn_send(&own.conn, &small, 1);
    check_output(0, CONN_SEND_BYTES);
    parcels_check_all_released();
}

/* Those that are read as fast as they are written to take turns, though the io reports them in the same order each time; one that is
 * closed meanwhile leaves the line. */
enum { FAST = 4, FAST_PARTS = 6, FAST_BYTES = FAST_PARTS * CONN_SEND_BYTES };

static void on_nothing(struct conn *conn)
{
    (void)conn;
}

/* Of each of which more is queued than a turn has time for; it has for one. */
static void open_fast(struct conn conns[FAST])
{
    static const struct conn_ops nothing = {on_nothing, on_nothing, on_nothing, on_nothing};
    static char zeros[FAST_BYTES];
    struct conn_piece piece = {.data = zeros, .len = sizeof zeros};
    for (size_t i = 0; i < FAST; i++) {
        assert_int_equal(conn_open(&conns[i], &loop, fake_socket_new(io), &nothing), 0);
        conn_send(&conns[i], &piece, 1);
    }
    io->tick_us = LOOP_SHARE_US;
}

static void test_fast_readers_take_turns(void **state)
{
    (void)state;
    struct conn conns[FAST];
    open_fast(conns);
    for (size_t i = 0; i < FAST; i++)
        turn();
    for (size_t i = 0; i < FAST; i++)
        assert_in_range(fake_output(io, conns[i].fd).len, CONN_SEND_BYTES, 3 * CONN_SEND_BYTES);
    conn_close(&conns[FAST / 2]);
    while (conn_blocked(&conns[0]) || conn_blocked(&conns[1]) || conn_blocked(&conns[FAST - 1]))
        turn();
    for (size_t i = 0; i < FAST; i++) {
        if (i != FAST / 2)
            assert_int_equal(fake_output(io, conns[i].fd).len, FAST_BYTES);
        conn_close(&conns[i]);
    }
    io->tick_us = 0;
}

static void test_copies_are_copies(void **state)
{
    (void)state;
    char mine[] = "mine";
    socket_of_conn()->space = 1;
    send_text(mine);
    memset(mine, '#', sizeof mine);
    socket_of_conn()->space = 100;
    turn();
    check_slice(fake_output(io, own.fd), SLICE("mine"), "output");
}

/* Those that are not served in a turn stand in the line: the io has to tell of others. */
static void test_room_is_told_once(void **state)
{
    (void)state;
    struct conn conns[FAST];
    open_fast(conns);
    turn();
    assert_int_equal(io->events, FAST);
    for (size_t turns = 0; turns < FAST * FAST_PARTS; turns++) {
        turn();
        assert_int_equal(io->events, 0);
    }
    for (size_t i = 0; i < FAST; i++) {
        assert_int_equal(fake_output(io, conns[i].fd).len, FAST_BYTES);
        conn_close(&conns[i]);
    }
    turn();
}

/* The kernel had no memory for it: there is room all the time, so none becomes free. */
static void test_room_is_told_again_when_a_send_took_nothing(void **state)
{
    (void)state;
    static const size_t len = 3 * CONN_SEND_BYTES / 2;
    struct conn_piece piece = parcel(text_of(0, len));
    turn(); /* a new one, that has sent nothing */
    socket_of_conn()->send_steps = (struct fake_steps){{CONN_SEND_BYTES, -EAGAIN, -EAGAIN}, 3, 0};
    conn_send(&own.conn, &piece, 1);
    for (int turns = 0; turns < 3; turns++) {
        check_output(0, CONN_SEND_BYTES);
        turn();
    }
    check_output(0, len);
    assert_false(conn_blocked(&own.conn));
    parcels_check_all_released();
}

/* Small copies share memory; what is borrowed takes none. */
static void test_memory_of_the_queue(void **state)
{
    (void)state;
    socket_of_conn()->space = 0;
    assert_int_equal(conn_queued_bytes(&own.conn), 0);
    for (size_t i = 0; i < 1000; i++) {
        struct conn_piece piece = copied(text_of(10 * i, 10));
        conn_send(&own.conn, &piece, 1);
        assert_true(conn_queued_bytes(&own.conn) >= 10 * (i + 1));
    }
    assert_true(conn_queued_bytes(&own.conn) < 10000 + 8192);
    size_t before = conn_queued_bytes(&own.conn);
    struct conn_piece piece = parcel(text_of(10000, 100000));
    conn_send(&own.conn, &piece, 1);
    assert_int_equal(conn_queued_bytes(&own.conn), before);
    piece = copied(text_of(110000, 100000));
    conn_send(&own.conn, &piece, 1);
    assert_true(conn_queued_bytes(&own.conn) >= before + 100000);
    socket_of_conn()->space = 110000; /* all but the last */
    turn();
    assert_int_equal(conn_queued_bytes(&own.conn), 100000);
    socket_of_conn()->space = SIZE_MAX;
    turn();
    check_output(0, 210000);
    parcels_check_all_released();
}

/* At each call of send, for two kinds of pieces: the conn closes, nothing is released twice or not
 * at all. */
static void test_write_errors_close(void **state)
{
    (void)state;
    static const ssize_t errors[] = {-EPIPE, -ECONNRESET, -ETIMEDOUT};
    for (size_t i = 0; i < COUNT(errors); i++)
        for (unsigned good = 0; good < 6; good++) {
            open_conn();
            ssize_t steps[8];
            for (unsigned j = 0; j < good; j++)
                steps[j] = j % 2 ? -EAGAIN : 5;
            steps[good] = errors[i];
            fake_steps_set(&socket_of_conn()->send_steps, steps, good + 1);
            struct conn_piece pieces[] = {parcel(text_of(0, 8)), copied(text_of(8, 8)),
                                          parcel(text_of(16, 8)), parcel(text_of(24, 0))};
            conn_send(&own.conn, pieces, 4);
            for (int j = 0; j < 8 && own.conn.state != CONN_CLOSED; j++)
                turn();
            check_closed();
            check_output(0, 5 * ((good + 1) / 2));
            parcels_check_all_released();
            turn();
        }
}

static void test_send_after_the_end_releases(void **state)
{
    (void)state;
    struct conn_piece pieces[] = {parcel(text_of(0, 8)), parcel(text_of(8, 8))};
    conn_close(&own.conn);
    conn_send(&own.conn, pieces, 2);
    check_closed();
    parcels_check_all_released();
    open_conn();
    conn_finish(&own.conn, true);
    assert_int_equal(own.conn.state, CONN_LINGERING);
    pieces[0] = parcel(text_of(0, 8));
    conn_send(&own.conn, pieces, 1);
    parcels_check_all_released();
    assert_int_equal(fake_output(io, own.fd).len, 0);
}

static void test_close_drops_the_queue(void **state)
{
    (void)state;
    struct conn_piece pieces[] = {copied(text_of(0, 8)), parcel(text_of(8, 8)),
                                  parcel(text_of(16, 8))};
    socket_of_conn()->space = 12;
    conn_send(&own.conn, pieces, 3);
    conn_close(&own.conn);
    check_closed();
    parcels_check_all_released();
    conn_close(&own.conn);
    check_closed();
    report(IO_READ | IO_WRITE | IO_BROKEN); /* an event of the same turn comes too late */
    assert_int_equal(own.readable + own.drained, 0);
    check_closed();
}

/* Without memory the conn closes, whichever allocation it was; what was taken of the pieces is
 * released. */
static void test_send_without_memory(void **state)
{
    (void)state;
    bool failed = true;
    unsigned nth;
    for (nth = 1; failed; nth++) {
        open_conn();
        struct conn_piece pieces[] = {parcel(text_of(0, 8)),     copied(text_of(8, 5000)),
                                      parcel(text_of(5008, 8)),  copied(text_of(5016, 10)),
                                      copied(text_of(5026, 10)), parcel(text_of(5036, 8))};
        socket_of_conn()->space = 4;
        failing_start(nth, false);
        conn_send(&own.conn, pieces, 3);
        conn_send(&own.conn, pieces + 3, 3);
        failed = failing_stop();
        if (failed)
            check_closed();
        else
            check_open();
        check_output(0, 4);
        socket_of_conn()->space = SIZE_MAX;
        turn();
        check_output(0, failed ? 4 : 5044);
        parcels_check_all_released();
        conn_close(&own.conn);
    }
    assert_true(nth > 5);
}

/* Pausing */

static void test_pause(void **state)
{
    (void)state;
    fake_feed(io, own.fd, SLICE("x"));
    conn_pause(&own.conn, true);
    assert_int_equal(socket_of_conn()->interest, 0);
    turn();
    assert_int_equal(own.readable, 0);
    conn_pause(&own.conn, false);
    assert_int_equal(socket_of_conn()->interest, IO_READ);
    turn();
    assert_int_equal(own.readable, 1);
}

static void test_pause_while_blocked(void **state)
{
    (void)state;
    socket_of_conn()->space = 0;
    send_text("x");
    conn_pause(&own.conn, true);
    assert_int_equal(socket_of_conn()->interest, IO_WRITE);
    socket_of_conn()->space = 1;
    turn();
    assert_int_equal(own.drained, 1);
    assert_int_equal(socket_of_conn()->interest, 0);
    conn_pause(&own.conn, false);
    assert_int_equal(socket_of_conn()->interest, IO_READ);
    socket_of_conn()->space = 0;
    send_text("x");
    conn_pause(&own.conn, true);
    conn_pause(&own.conn, false);
    socket_of_conn()->space = 1;
    turn();
    assert_int_equal(socket_of_conn()->interest, IO_READ);
}

/* A reset is heard of while nothing is read. */
static void test_broken(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        open_conn();
        if (kind == 1)
            conn_pause(&own.conn, true);
        if (kind == 2)
            conn_finish(&own.conn, true);
        if (kind == 3) {
            struct conn_piece piece = parcel(text_of(0, 8));
            socket_of_conn()->space = 4;
            conn_send(&own.conn, &piece, 1);
        }
        fake_break(io, own.fd, -ECONNRESET);
        turn();
        if (kind == 0) {
            char room[10];
            assert_int_equal(own.readable, 1); /* the read finds out */
            assert_int_equal(conn_fill(&own.conn, room, sizeof room, true), 0);
        }
        check_closed();
        parcels_check_all_released();
    }
}

/* Both directions were closed while input is still there: that comes first. */
static void test_broken_with_input(void **state)
{
    (void)state;
    char room[10];
    fake_feed(io, own.fd, SLICE("last"));
    fake_end(io, own.fd);
    socket_of_conn()->broken = true;
    turn();
    assert_int_equal(own.readable, 1);
    assert_int_equal(conn_fill(&own.conn, room, sizeof room, true), 4);
    check_open();
}

/* Finishing */

static void test_finish_with_nothing_unread(void **state)
{
    (void)state;
    send_text("bye");
    conn_finish(&own.conn, false);
    check_closed();
    assert_false(socket_of_conn()->shut);
    check_slice(fake_output(io, own.fd), SLICE("bye"), "output");
}

static void test_finish_finds_out_what_is_unread(void **state)
{
    (void)state;
    fake_feed(io, own.fd, SLICE("one more request"));
    conn_finish(&own.conn, false);
    assert_int_equal(own.conn.state, CONN_LINGERING);
    assert_true(socket_of_conn()->shut);
    turn();
    assert_int_equal(fake_unread(io, own.fd), 0);
    assert_int_equal(own.readable, 0);
    fake_end(io, own.fd);
    turn();
    check_closed();
}

/* Though it was told of that before, and it was not read. */
static void test_finish_discards_what_was_told_already(void **state)
{
    (void)state;
    fake_feed(io, own.fd, SLICE("the rest of a body"));
    socket_of_conn()->armed = false;
    conn_finish(&own.conn, true);
    turn();
    assert_int_equal(fake_unread(io, own.fd), 0);
    assert_int_equal(own.conn.state, CONN_LINGERING);
}

static void test_finish_when_the_peer_has_ended(void **state)
{
    (void)state;
    for (int unread = 0; unread < 2; unread++) {
        char room[10];
        open_conn();
        fake_end(io, own.fd);
        conn_fill(&own.conn, room, sizeof room, true);
        conn_finish(&own.conn, unread);
        check_closed();
    }
}

static void test_finish_sends_the_queue_first(void **state)
{
    (void)state;
    for (int unread = 0; unread < 2; unread++) {
        open_conn();
        struct conn_piece pieces[] = {parcel(text_of(0, 8)), copied(text_of(8, 8))};
        socket_of_conn()->space = 5;
        fake_feed(io, own.fd, SLICE("not wanted"));
        conn_send(&own.conn, pieces, 2);
        conn_finish(&own.conn, unread);
        conn_finish(&own.conn, unread); /* does nothing */
        assert_int_equal(own.conn.state, CONN_FINISHING);
        assert_int_equal(socket_of_conn()->interest, IO_WRITE);
        struct conn_piece last = parcel(text_of(16, 8)); /* still possible */
        conn_send(&own.conn, &last, 1);
        turn();
        assert_false(socket_of_conn()->shut);
        socket_of_conn()->space = 100;
        turn();
        check_output(0, 24);
        assert_true(socket_of_conn()->shut);
        assert_int_equal(own.conn.state, CONN_LINGERING);
        assert_int_equal(own.drained, 1);
        assert_int_equal(socket_of_conn()->interest, IO_READ);
        parcels_check_all_released();
        turn();
        assert_int_equal(own.readable, 0);
        fake_end(io, own.fd);
        turn();
        check_closed();
    }
}

static void test_finish_after_pause_still_discards(void **state)
{
    (void)state;
    conn_pause(&own.conn, true);
    conn_finish(&own.conn, true);
    assert_int_equal(socket_of_conn()->interest, IO_READ);
    conn_pause(&own.conn, true); /* too late */
    assert_int_equal(socket_of_conn()->interest, IO_READ);
    fake_end(io, own.fd);
    turn();
    check_closed();
}

static void test_finish_with_kept_input(void **state)
{
    (void)state;
    conn_keep(&own.conn, SLICE("half a request"));
    conn_finish(&own.conn, true);
    fake_end(io, own.fd);
    turn();
    check_closed();
}

/* A write error while finishing, at the first try and at a later one. */
static void test_finish_with_errors(void **state)
{
    (void)state;
    for (int late = 0; late < 2; late++) {
        open_conn();
        struct conn_piece pieces[] = {parcel(text_of(0, 8)), copied(text_of(8, 8))};
        const ssize_t steps[] = {late ? 5 : -EAGAIN, late ? 5 : -ECONNRESET, -ECONNRESET};
        fake_steps_set(&socket_of_conn()->send_steps, steps, COUNT(steps));
        conn_send(&own.conn, pieces, 2);
        conn_finish(&own.conn, true);
        turn();
        check_closed();
        assert_int_equal(own.drained, 0);
        parcels_check_all_released();
    }
}

static void test_lingering_ends_with_an_error(void **state)
{
    (void)state;
    conn_finish(&own.conn, true);
    fake_feed(io, own.fd, SLICE("some"));
    turn();
    assert_int_equal(own.conn.state, CONN_LINGERING);
    report(IO_READ); /* for nothing */
    assert_int_equal(own.conn.state, CONN_LINGERING);
    fake_break(io, own.fd, -ECONNRESET);
    turn();
    check_closed();
}

/* An urgent byte is told of that came before others which stand before it: there is nothing to read, and nothing to do until there is. */
static void test_lingering_waits_for_what_is_not_there(void **state)
{
    (void)state;
    conn_finish(&own.conn, true);
    turn();
    fake_end(io, own.fd); /* told in the same way */
    socket_of_conn()->recv_steps = (struct fake_steps){{-EAGAIN}, 1, 0};
    turn();
    unsigned recvs = socket_of_conn()->recvs;
    turn();
    assert_int_equal(io->events, 0);
    assert_int_equal(socket_of_conn()->recvs, recvs);
    fake_feed(io, own.fd, SLICE("the others"));
    socket_of_conn()->recv_steps = (struct fake_steps){0};
    turn();
    assert_int_equal(fake_unread(io, own.fd), 0);
    turn();
    check_closed();
}

/* Of who goes on sending no more is read, no earlier than at the limit and not much later; the reply is still there to be read, until
 * the owner's time is over. */
static void test_lingering_has_a_limit(void **state)
{
    (void)state;
    conn_finish(&own.conn, true);
    size_t fed = 0;
    while (fake_unread(io, own.fd) < 200000) {
        fake_feed(io, own.fd, text_of(0, 10000));
        fed += 10000;
        turn();
        assert_int_equal(own.conn.state, CONN_LINGERING);
        assert_true(fed < CONN_LINGER_BYTES_MAX + 300000);
    }
    assert_true(fed > CONN_LINGER_BYTES_MAX);
    assert_int_equal(own.readable, 0);
    conn_close(&own.conn);
    check_closed();
}

/* However much has come at a time, and also when the end has come with it. */
static void test_lingering_reads_all(void **state)
{
    (void)state;
    const size_t sizes[] = {1, CONN_DISCARD_BYTES, CONN_DISCARD_BYTES + 1, 3 * CONN_DISCARD_BYTES};
    for (unsigned i = 0; i < COUNT(sizes); i++) {
        open_conn();
        conn_finish(&own.conn, true);
        fake_feed(io, own.fd, text_of(0, sizes[i]));
        fake_end(io, own.fd);
        for (int turns = 0; turns < 6 && own.closed == 0; turns++)
            turn();
        assert_int_equal(fake_unread(io, own.fd), 0);
        check_closed();
    }
}

/* Connecting */

static void connect_conn(void)
{
    conn_close(&own.conn);
    own.readable = own.drained = own.closed = own.connected = 0;
    own.fd = fake_socket_new(io);
    socket_of_conn()->space = 0; /* it is not writable yet */
    assert_int_equal(conn_connect(&own.conn, &loop, own.fd, &ops), 0);
}

static void test_connect(void **state)
{
    (void)state;
    connect_conn();
    assert_int_equal(socket_of_conn()->interest, IO_WRITE);
    fake_feed(io, own.fd, SLICE("early"));
    send_text("queued until it stands");
    turn();
    assert_int_equal(own.connected + own.readable, 0);
    assert_int_equal(socket_of_conn()->sends, 0);
    socket_of_conn()->space = 100;
    turn();
    assert_int_equal(own.connected, 1);
    turn();
    check_slice(fake_output(io, own.fd), SLICE("queued until it stands"), "output");
    assert_int_equal(own.drained, 1);
    turn();
    assert_int_equal(own.readable, 1);
    assert_int_equal(own.connected, 1);
}

static void test_connect_that_fails(void **state)
{
    (void)state;
    static const int errors[] = {-ECONNREFUSED, -ETIMEDOUT, -EHOSTUNREACH};
    for (size_t i = 0; i < COUNT(errors); i++) {
        connect_conn();
        fake_break(io, own.fd, errors[i]);
        turn();
        check_closed();
        assert_int_equal(own.conn.error, errors[i]);
        assert_int_equal(own.connected, 0);
    }
    connect_conn(); /* broken, and a read does not tell why */
    report(IO_WRITE | IO_BROKEN);
    check_closed();
    assert_int_equal(own.conn.error, -ECONNREFUSED);
    connect_conn();
    conn_close(&own.conn);
    check_closed();
    struct conn conn;
    int fd = fake_socket_new(io);
    io->watch_error = -ENOSPC;
    assert_int_equal(conn_connect(&conn, &loop, fd, &ops), -ENOSPC);
    io->watch_error = 0;
    io->io.ops->close(&io->io, fd);
}

/* Both directions at once */

static void test_duplex_reads_while_blocked(void **state)
{
    (void)state;
    char room[10];
    own.conn.duplex = true;
    socket_of_conn()->space = 0;
    send_text("x");
    assert_int_equal(socket_of_conn()->interest, IO_READ | IO_WRITE);
    fake_feed(io, own.fd, SLICE("in"));
    turn();
    assert_int_equal(own.readable, 1);
    assert_true(conn_blocked(&own.conn));
    assert_int_equal(conn_fill(&own.conn, room, sizeof room, true), 2);
    fake_feed(io, own.fd, SLICE("in"));
    socket_of_conn()->space = 10;
    turn(); /* both in one event */
    assert_int_equal(own.drained, 1);
    assert_int_equal(own.readable, 2);
    assert_int_equal(socket_of_conn()->interest, IO_READ);
}

static void test_duplex_pauses_and_ends(void **state)
{
    (void)state;
    char room[10];
    own.conn.duplex = true;
    socket_of_conn()->space = 0;
    send_text("x");
    conn_pause(&own.conn, true);
    assert_int_equal(socket_of_conn()->interest, IO_WRITE);
    conn_pause(&own.conn, false);
    assert_int_equal(socket_of_conn()->interest, IO_READ | IO_WRITE);
    fake_end(io, own.fd);
    assert_int_equal(conn_fill(&own.conn, room, sizeof room, true), 0);
    assert_true(own.conn.ended);
    assert_int_equal(socket_of_conn()->interest, IO_WRITE);
    conn_finish(&own.conn, false);
    assert_int_equal(socket_of_conn()->interest, IO_WRITE);
    socket_of_conn()->space = 10;
    turn();
    check_closed();
    check_slice(fake_output(io, own.fd), SLICE("x"), "output");
}

/* What the peer said before it left is read, then the error is told; nothing is written meanwhile. */
static void test_duplex_reads_what_came_before_a_reset(void **state)
{
    (void)state;
    for (int blocked = 0; blocked < 2; blocked++) {
        const ssize_t steps[] = {blocked ? -ECONNRESET : -EPIPE};
        struct conn_piece piece;
        char room[10];
        open_conn();
        own.conn.duplex = true;
        piece = parcel(text_of(0, 8));
        if (blocked) {
            socket_of_conn()->space = 0;
            conn_send(&own.conn, &piece, 1);
            socket_of_conn()->space = 100;
        }
        fake_feed(io, own.fd, SLICE("last"));
        socket_of_conn()->in_error = -ECONNRESET;
        fake_steps_set(&socket_of_conn()->send_steps, steps, 1);
        if (!blocked)
            conn_send(&own.conn, &piece, 1);
        turn();
        check_open();
        assert_int_equal(own.readable, 1);
        assert_false(conn_blocked(&own.conn));
        parcels_check_all_released();
        unsigned sends = socket_of_conn()->sends;
        piece = parcel(text_of(0, 8));
        conn_send(&own.conn, &piece, 1);
        parcels_check_all_released();
        assert_int_equal(socket_of_conn()->sends, sends);
        check_open();
        assert_int_equal(conn_fill(&own.conn, room, sizeof room, true), 4);
        assert_int_equal(conn_fill(&own.conn, room, sizeof room, true), 0);
        check_closed();
        assert_int_equal(own.conn.error, -ECONNRESET);
        assert_int_equal(own.drained, 0);
    }
}

/* All of it, at random, with and without memory */

struct storm {
    struct chance chance;
    size_t sent; /* bytes that were given to conn_send */
};

static void storm_send(struct storm *storm)
{
    struct conn_piece pieces[CONN_PIECES_MAX];
    unsigned count = (unsigned)chance_below(&storm->chance, 6);
    if (chance_once_in(&storm->chance, 20))
        count = CONN_PIECES_MAX;
    for (unsigned i = 0; i < count; i++) {
        size_t len = chance_below(&storm->chance, chance_once_in(&storm->chance, 10) ? 6000 : 50);
        struct slice part = text_of(storm->sent, len);
        pieces[i] = chance_once_in(&storm->chance, 2) ? parcel(part) : copied(part);
        storm->sent += len;
    }
    conn_send(&own.conn, pieces, count);
}

static void storm_read(struct storm *storm)
{
    char room[3000];
    if (own.conn.state != CONN_OPEN || conn_blocked(&own.conn))
        return;
    fake_feed(io, own.fd, text_of(0, chance_below(&storm->chance, 1000)));
    size_t len = conn_fill(&own.conn, room, sizeof room, true);
    size_t keep = len ? chance_below(&storm->chance, len < 1000 ? len : 1000) : 0;
    conn_keep(&own.conn, (struct slice){room, keep});
}

static void storm_step(struct storm *storm)
{
    switch (chance_below(&storm->chance, 40)) {
    case 0:
        conn_finish(&own.conn, chance_once_in(&storm->chance, 2));
        break;
    case 1:
        fake_end(io, own.fd);
        break;
    case 2:
        fake_break(io, own.fd, -ECONNRESET);
        break;
    case 3:
        conn_close(&own.conn);
        break;
    case 4:
    case 5:
        conn_pause(&own.conn, chance_once_in(&storm->chance, 2));
        break;
    case 6:
    case 7:
    case 8:
    case 9:
        storm_read(storm);
        break;
    case 10:
    case 11:
    case 12:
    case 13:
    case 14:
    case 15:
        if (own.conn.state == CONN_OPEN)
            storm_send(storm);
        break;
    default:
        socket_of_conn()->space = chance_below(&storm->chance, 4000);
        turn();
        break;
    }
}

static void test_storm(void **state)
{
    (void)state;
    struct storm storm = {.chance = chance_start(7)};
    for (int round = 0; round < 3000; round++) {
        storm.sent = 0;
        open_conn();
        socket_of_conn()->space = chance_below(&storm.chance, 2000);
        if (chance_once_in(&storm.chance, 3))
            failing_start(1 + (unsigned)chance_below(&storm.chance, 20), false);
        for (int i = 0; i < 60 && own.conn.state != CONN_CLOSED && parcels.count < 800; i++) {
            storm_step(&storm);
            if (own.conn.state == CONN_CLOSED)
                break;
            check(!conn_blocked(&own.conn) || socket_of_conn()->interest == IO_WRITE, "round %d",
                  round);
            check(!own.closed, "round %d", round);
        }
        if (failing_stop() && own.conn.state != CONN_CLOSED)
            fail_msg("round %d: out of memory, and still open", round);
        conn_close(&own.conn);
        check_closed();
        struct slice output = fake_output(io, own.fd);
        check(output.len <= storm.sent, "round %d", round);
        assert_memory_equal(output.data ? output.data : "", text_of(0, output.len).data,
                            output.len);
        parcels_check_all_released();
        if (fake_open(io) == 0 && io->count > FAKE_SOCKETS_MAX - 10) {
            fake_io_destroy(io);
            io = fake_io_new();
            loop.io = &io->io;
            own.fd = 0;
            open_conn();
            conn_close(&own.conn);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_open_that_fails, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_there_is_to_read_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_a_read_did_not_find_is_told_again, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_an_end_behind_the_last_bytes_is_told, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_reading, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_reading_takes_no_more_than_the_room, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_kept_bytes_come_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_kept_bytes_are_copied, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_keeping_at_random, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_end_behind_kept_bytes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_read_errors_close, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_direct_reading, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_keep_without_memory_closes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_sent_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cut_at_every_byte, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_blocked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_sends_while_blocked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_large_pieces_go_in_parts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_large_pieces_wait_when_the_turn_has_sent_enough_of_them, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_fast_readers_take_turns, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_room_is_told_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_room_is_told_again_when_a_send_took_nothing, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_copies_are_copies, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_memory_of_the_queue, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_write_errors_close, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_send_after_the_end_releases, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_close_drops_the_queue, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_send_without_memory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_pause, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_pause_while_blocked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_broken, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_broken_with_input, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_finish_with_nothing_unread, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_finish_finds_out_what_is_unread, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_finish_discards_what_was_told_already, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_finish_when_the_peer_has_ended, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_finish_sends_the_queue_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_finish_after_pause_still_discards, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_finish_with_kept_input, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_finish_with_errors, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lingering_ends_with_an_error, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lingering_waits_for_what_is_not_there, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_lingering_has_a_limit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lingering_reads_all, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_connect, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_connect_that_fails, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_duplex_reads_while_blocked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_duplex_pauses_and_ends, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_duplex_reads_what_came_before_a_reset, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_storm, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
