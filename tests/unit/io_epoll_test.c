/* Real sockets, on the loopback: connecting, who is at the other end, and an upstream over them. */
#include "net/io_epoll.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net/upstream.h"
#include "unit.h"

static struct io *io;

static int set_up(void **state)
{
    (void)state;
    io = io_epoll_new();
    assert_non_null(io);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    io_epoll_destroy(io);
    return 0;
}

static struct address parse(const char *text)
{
    struct address address;
    assert_int_equal(address_parse(slice_of(text), &address), 0);
    return address;
}

static unsigned wait_for(int fd, unsigned interest)
{
    struct io_event event = {0};
    assert_int_equal(io->ops->watch(io, fd, interest, &event), 0);
    assert_int_equal(io->ops->wait(io, &event, 1, 5000000), 1);
    io->ops->unwatch(io, fd);
    return event.ready;
}

static void check_address(const struct address *is, const struct address *wanted)
{
    assert_memory_equal(is->ip, wanted->ip, sizeof is->ip);
    assert_int_equal(is->port, wanted->port);
}

static void test_remote(void **state)
{
    struct address wanted = parse("127.0.0.1:0"), bound, peer, remote;
    (void)state;
    int listener = io->ops->listen(io, &wanted, &bound);
    assert_true(listener >= 0 && bound.port != 0);
    int near = io->ops->connect(io, &bound);
    assert_true(near >= 0);
    assert_true(wait_for(near, IO_WRITE) & IO_WRITE);
    wait_for(listener, IO_READ);
    int far = io->ops->accept(io, listener, &peer);
    assert_true(far >= 0);
    io->ops->remote(io, near, &remote);
    check_address(&remote, &bound);
    io->ops->remote(io, far, &remote);
    check_address(&remote, &peer);
    io->ops->remote(io, listener, &remote); /* there is nobody */
    check_address(&remote, &(struct address){0});
    io->ops->close(io, near);
    io->ops->close(io, far);
    io->ops->close(io, listener);
}

static unsigned told(void)
{
    struct io_event event = {0};
    return io->ops->wait(io, &event, 1, 0) ? event.ready : 0;
}

/* A connection, one end of which is watched for edges. */
static void open_edge(int *near, int *far)
{
    struct address wanted = parse("127.0.0.1:0"), bound, peer;
    int listener = io->ops->listen(io, &wanted, &bound);
    *near = io->ops->connect(io, &bound);
    wait_for(*near, IO_WRITE);
    wait_for(listener, IO_READ);
    *far = io->ops->accept(io, listener, &peer);
    assert_true(*far >= 0);
    io->ops->close(io, listener);
    assert_int_equal(io->ops->watch(io, *far, IO_READ | IO_EDGE, NULL), 0);
}

/* Once; again after a rewatch, and when more comes. The end is told with the bytes before it. */
static void test_edges(void **state)
{
    struct iovec piece = {(char[]){"ab"}, 2};
    char room[8];
    int near, far;
    (void)state;
    open_edge(&near, &far);
    assert_int_equal(told(), 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(io->ops->send(io, near, &piece, 1), 2);
        assert_int_equal(told(), IO_READ);
        assert_int_equal(told(), 0);
    }
    io->ops->rewatch(io, far, IO_READ | IO_EDGE, NULL);
    assert_int_equal(told(), IO_READ);
    assert_int_equal(io->ops->recv(io, far, room, sizeof room), 4);
    assert_int_equal(told(), 0);
    assert_int_equal(io->ops->send(io, near, &piece, 1), 2);
    io->ops->shutdown(io, near);
    assert_int_equal(told(), IO_READ | IO_ENDED);
    io->ops->close(io, near);
    io->ops->close(io, far);
}

/* Room to write: once, again after a rewatch, and when there is some where a send has found too little. */
static void test_edges_of_room(void **state)
{
    static char zeros[1024 * 1024], room[1024 * 1024];
    struct iovec piece = {zeros, sizeof zeros};
    ssize_t sent, got;
    int near, far;
    (void)state;
    open_edge(&near, &far);
    for (unsigned i = 0; i < 2; i++) {
        io->ops->rewatch(io, far, IO_WRITE | IO_EDGE, NULL);
        assert_int_equal(told(), IO_WRITE);
        assert_int_equal(told(), 0);
    }
    do
        sent = io->ops->send(io, far, &piece, 1);
    while (sent > 0);
    assert_int_equal(sent, -EAGAIN);
    io->ops->rewatch(io, far, IO_WRITE | IO_EDGE, NULL);
    assert_int_equal(told(), 0);
    unsigned now = 0;
    for (unsigned tries = 0; !now && tries < 1000; tries++) {
        got = io->ops->recv(io, near, room, sizeof room);
        assert_true(got > 0 || got == -EAGAIN);
        now = told();
    }
    assert_int_equal(now, IO_WRITE);
    io->ops->close(io, near);
    io->ops->close(io, far);
}

/* A read stops before a byte that was sent as urgent, though more is there: that is told as the end is. */
static void test_urgent_bytes(void **state)
{
    struct iovec piece = {(char[]){"ab"}, 2};
    char room[8];
    int near, far;
    (void)state;
    open_edge(&near, &far);
    assert_int_equal(io->ops->send(io, near, &piece, 1), 2);
    assert_int_equal(send(near, "!", 1, MSG_OOB), 1);
    assert_int_equal(io->ops->send(io, near, &piece, 1), 2);
    assert_int_equal(told(), IO_READ | IO_ENDED);
    assert_int_equal(io->ops->recv(io, far, room, sizeof room), 2);
    assert_int_equal(told(), 0);
    io->ops->rewatch(io, far, IO_READ | IO_EDGE, NULL);
    assert_int_equal(told(), IO_READ | IO_ENDED);
    assert_int_equal(io->ops->recv(io, far, room, sizeof room), 2);
    io->ops->rewatch(io, far, IO_READ | IO_EDGE, NULL);
    assert_int_equal(told(), 0);
    io->ops->close(io, near);
    io->ops->close(io, far);
}

/* What the kernel takes for a client that reads nothing. */
static size_t bytes_taken(int listener, const struct address *bound)
{
    static char zeros[1024 * 1024];
    struct iovec piece = {zeros, sizeof zeros};
    struct address peer;
    size_t taken = 0;
    ssize_t sent;
    int near = io->ops->connect(io, bound);
    assert_true(wait_for(near, IO_WRITE) & IO_WRITE);
    wait_for(listener, IO_READ);
    int far = io->ops->accept(io, listener, &peer);
    assert_true(far >= 0);
    while ((sent = io->ops->send(io, far, &piece, 1)) > 0)
        taken += (size_t)sent;
    assert_int_equal(sent, -EAGAIN);
    io->ops->close(io, near);
    io->ops->close(io, far);
    return taken;
}

/* Ten thousand clients that read slowly do not use up the kernel's memory; a few that are busy have what they like. */
static void test_many_slow_readers(void **state)
{
    enum { MANY = 2100, WINDOW_BYTES = 256 * 1024 };
    struct address wanted = parse("127.0.0.1:0"), bound;
    int fds[MANY], count = 0;
    (void)state;
    int listener = io->ops->listen(io, &wanted, &bound);
    size_t few = bytes_taken(listener, &bound);
    while (count < MANY && (fds[count] = dup(listener)) >= 0)
        count++;
    size_t many = count == MANY ? bytes_taken(listener, &bound) : 0;
    for (int i = 0; i < count; i++)
        io->ops->close(io, fds[i]);
    io->ops->close(io, listener);
    if (count < MANY)
        skip();
    assert_true(few >= many); /* how much that is, is the kernel's business */
    assert_in_range(many, 1, WINDOW_BYTES);
}

/* A port is shared only by those who all say so. */
static void test_reused_port(void **state)
{
    struct address wanted = parse("127.0.0.1:0"), bound, again;
    (void)state;
    int alone = io->ops->listen(io, &wanted, &bound);
    assert_true(alone >= 0);
    assert_int_equal(io->ops->listen(io, &bound, &again), -EADDRINUSE);
    io_epoll_reuse_ports(io);
    assert_int_equal(io->ops->listen(io, &bound, &again), -EADDRINUSE);
    io->ops->close(io, alone);
    int first = io->ops->listen(io, &bound, &again);
    int second = io->ops->listen(io, &bound, &again);
    assert_true(first >= 0 && second >= 0);
    check_address(&again, &bound);
    io->ops->close(io, first);
    io->ops->close(io, second);
}

/* An upstream whose server is the test. */

static struct {
    struct loop loop;
    unsigned opened, closed, ended;
    int error;
    uint16_t status;
    enum call_result result;
    char body[16];
    size_t len;
} own;

static void on_open(struct upstream *upstream)
{
    (void)upstream;
    own.opened++;
}

static void on_closed(struct upstream *upstream, int error)
{
    (void)upstream;
    own.closed++;
    own.error = error;
}

static const struct upstream_ops ops = {on_open, on_closed, NULL};

static void on_head(struct call *call, const struct http_response *head)
{
    (void)call;
    own.status = head->status;
}

static void on_body(struct call *call, struct slice bytes)
{
    (void)call;
    assert_true(own.len + bytes.len <= sizeof own.body);
    memcpy(own.body + own.len, bytes.data, bytes.len);
    own.len += bytes.len;
}

static void on_end(struct call *call, enum call_result result)
{
    (void)call;
    own.ended++;
    own.result = result;
}

static const struct call_ops call_ops = {on_head, NULL, on_body, on_end};

static void turn_until(const unsigned *count)
{
    for (int i = 0; i < 100 && *count == 0; i++)
        loop_turn(&own.loop, 100000);
    assert_int_equal(*count, 1);
}

static void send_text(int fd, const char *text)
{
    struct iovec piece = {(void *)(uintptr_t)text, strlen(text)};
    assert_int_equal(io->ops->send(io, fd, &piece, 1), piece.iov_len);
}

static void test_upstream(void **state)
{
    static const struct upstream_config config = {5000000, 5000000};
    struct address wanted = parse("127.0.0.1:0"), bound, peer;
    struct call call = {.ops = &call_ops};
    struct conn_piece piece = {.data = "GET /a HTTP/1.1\r\n\r\n", .len = 19};
    char request[64];
    (void)state;
    memset(&own, 0, sizeof own);
    loop_init(&own.loop, io);
    int listener = io->ops->listen(io, &wanted, &bound);
    struct upstreams *all = upstreams_new(&own.loop);
    struct upstream *upstream = upstream_new(all, &config, &ops, NULL);
    assert_int_equal(upstream_connect(upstream, &bound), 0);
    turn_until(&own.opened);
    int far = io->ops->accept(io, listener, &peer);
    upstream_call(upstream, &call, &piece, 1);
    loop_turn(&own.loop, 0);
    wait_for(far, IO_READ);
    assert_int_equal(io->ops->recv(io, far, NULL, 4), 4); /* thrown away */
    assert_int_equal(io->ops->recv(io, far, request, sizeof request), piece.len - 4);
    assert_memory_equal(request, piece.data + 4, piece.len - 4);
    send_text(far, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel");
    loop_turn(&own.loop, 1000000);
    send_text(far, "lo");
    turn_until(&own.ended);
    assert_int_equal(own.result, CALL_DONE);
    assert_int_equal(own.status, 200);
    check_slice((struct slice){own.body, own.len}, SLICE("hello"), "body");
    io->ops->close(io, far);
    turn_until(&own.closed);
    assert_int_equal(own.error, 0);

    /* Nobody listens there any more. */
    io->ops->close(io, listener);
    own.closed = 0;
    int error = upstream_connect(upstream, &bound);
    if (error == 0)
        turn_until(&own.closed);
    assert_int_equal(error ? error : own.error, -ECONNREFUSED);
    assert_int_equal(own.opened, 1);
    upstream_destroy(upstream);
    upstreams_destroy(all);
    loop_free(&own.loop);
}

/* Undoes what the tests before have left behind: a child has the slice of who forks it. */
static bool take_ordinary_slices(void)
{
    uint64_t attributes[6]; /* sched_attr; the fourth is the slice, 0 for an ordinary one */
    if (syscall(SYS_sched_getattr, 0, attributes, sizeof attributes, 0) != 0)
        return false;
    attributes[3] = 0;
    return syscall(SYS_sched_setattr, 0, attributes, 0) == 0;
}

/* From now on sched_setattr does nothing and returns `error`, and who calls sched_yield is killed. */
static bool filter_calls(unsigned error)
{
    struct sock_filter lines[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sched_setattr, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sched_yield, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof lines / sizeof *lines, lines};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* A yield costs an ordinary slice where slices cannot be chosen: before Linux 6.12, which says all the same that all is well, and where
 * a filter forbids it. */
static void test_no_yield_of_an_ordinary_slice(void **state)
{
    static const unsigned errors[] = {0, EPERM, ENOSYS};
    (void)state;
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        int status;
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            struct io_event event;
            bool ready = take_ordinary_slices() && filter_calls(errors[i]);
            struct io *filtered = ready ? io_epoll_new() : NULL;
            if (filtered)
                filtered->ops->wait(filtered, &event, 1, 0);
            _exit(filtered ? 0 : 1);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_remote, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_edges, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_edges_of_room, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_urgent_bytes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_many_slow_readers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_reused_port, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_upstream, set_up, tear_down),
        cmocka_unit_test(test_no_yield_of_an_ordinary_slice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
