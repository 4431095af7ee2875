/* Real nodes on real sockets: one starts, serves, is joined by another one, both push, one leaves, then the other one; and each system call
 * that io_epoll.c makes meanwhile fails, in each way that its man page has, one at a time. Whatever fails: what cannot start says so, and
 * starts when it is started again; each answer is right, or a refusal, or the connection ends; all that was acknowledged is on both; each
 * node ends when it is told to; and no descriptor is left.
 *
 * Linked with --wrap for these calls. Time is made up: where a wait would find nothing, the clock goes on. Each story is told by a child, so that
 * a crash or an endless loop is told of by its name. STARVED_EVERY=1 in the environment tells all of them, and not each 16th;
 * STARVED_CASE="send 12 ENOBUFS" one. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "answer.h"
#include "net/io_epoll.h"
#include "role/cluster_state.h"
#include "role/node_state.h"

enum {
    SECOND = 1000 * 1000,
    EVERY = 16,
    STUCK_S = 20, /* of the processor, one story */
    LARGE = 300 * 1000,
    CLOCK_STEP_US = 20 * 1000,
    SOON_US = 15 * SECOND,
    AGREE_US = 60 * SECOND,
    DRAIN_US = 10 * SECOND,
    OUTPUT_MAX = 512 * 1024,
    CHILDREN_MAX = 8,
};

/* The calls, and how they fail */

#define CALLS(X)                                                                                   \
    X(socket, EACCES, EAFNOSUPPORT, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPROTONOSUPPORT)              \
    X(bind, EACCES, EADDRINUSE, EADDRNOTAVAIL)                                                     \
    X(listen, EADDRINUSE, EOPNOTSUPP)                                                              \
    X(accept4, EAGAIN, EINTR, ECONNABORTED, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPERM, EPROTO,        \
      ENETDOWN, ENOPROTOOPT, EHOSTDOWN, ENONET, EHOSTUNREACH, EOPNOTSUPP, ENETUNREACH, ETIMEDOUT)  \
    X(connect, EACCES, EPERM, EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT, EAGAIN, EALREADY,           \
      ECONNREFUSED, EINTR, ENETUNREACH, EHOSTUNREACH, ETIMEDOUT)                                   \
    X(getsockname, ENOBUFS)                                                                        \
    X(getpeername, ENOTCONN, ENOBUFS)                                                              \
    X(setsockopt, ENOPROTOOPT, ENOMEM, ENOBUFS)                                                    \
    X(recv, EAGAIN, EINTR, ECONNREFUSED, ECONNRESET, ENOMEM, ENOTCONN, ETIMEDOUT, EHOSTUNREACH)    \
    X(send, EAGAIN, EINTR, EACCES, EPERM, ECONNRESET, ENOBUFS, ENOMEM, ENOTCONN, EPIPE, ETIMEDOUT, \
      ENETDOWN, EHOSTUNREACH)                                                                      \
    X(sendmsg, EAGAIN, EINTR, EACCES, EPERM, ECONNRESET, ENOBUFS, ENOMEM, ENOTCONN, EPIPE,         \
      ETIMEDOUT, ENETDOWN, EHOSTUNREACH)                                                           \
    X(shutdown, ENOTCONN)                                                                          \
    X(close, EINTR, EIO)                                                                           \
    X(epoll_create1, EMFILE, ENFILE, ENOMEM)                                                       \
    X(epoll_ctl, ENOMEM, ENOSPC)                                                                   \
    X(epoll_wait, EINTR)                                                                           \
    X(getrandom, EINTR)

enum call_kind {
#define X(name, ...) CALL_##name,
    CALLS(X)
#undef X
        CALL_KINDS,
};

static const char *const names[] = {
#define X(name, ...) #name,
    CALLS(X)
#undef X
};

static const int *const errors[] = {
#define X(name, ...) (const int[]){__VA_ARGS__, 0},
    CALLS(X)
#undef X
};

static struct {
    bool inside; /* a node makes the calls, not the test */
    bool struck;
    enum call_kind kind;
    unsigned number; /* from 1; 0 for none */
    int error;
    unsigned seen[CALL_KINDS];
    int open; /* descriptors of nodes */
} starved;

static uint64_t now_us; /* of the made-up clock */

static bool fails(enum call_kind kind)
{
    if (!starved.inside)
        return false;
    starved.seen[kind]++;
    if (starved.struck || starved.kind != kind || starved.number != starved.seen[kind])
        return false;
    starved.struck = true;
    errno = starved.error;
    return true;
}

/* A descriptor that a node got; or not. */
static int opened(int fd)
{
    starved.open += starved.inside && fd >= 0;
    return fd;
}

#define WRAP(result, name, parameters, arguments, ...) \
    result __real_##name parameters;                   \
    result __wrap_##name parameters;                   \
    result __wrap_##name parameters                    \
    {                                                  \
        __VA_ARGS__                                    \
        return __real_##name arguments;                \
    }
#define FAILING(name)       \
    if (fails(CALL_##name)) \
        return -1;

WRAP(int, bind, (int fd, const struct sockaddr *at, socklen_t len), (fd, at, len), FAILING(bind))
WRAP(int, listen, (int fd, int backlog), (fd, backlog), FAILING(listen))
WRAP(int, connect, (int fd, const struct sockaddr *to, socklen_t len), (fd, to, len),
     FAILING(connect))
WRAP(int, getsockname, (int fd, struct sockaddr *at, socklen_t *len), (fd, at, len),
     FAILING(getsockname))
WRAP(int, getpeername, (int fd, struct sockaddr *at, socklen_t *len), (fd, at, len),
     FAILING(getpeername))
WRAP(int, setsockopt, (int fd, int level, int name, const void *value, socklen_t len),
     (fd, level, name, value, len), FAILING(setsockopt))
WRAP(ssize_t, recv, (int fd, void *out, size_t bytes, int flags), (fd, out, bytes, flags),
     FAILING(recv))
WRAP(ssize_t, send, (int fd, const void *data, size_t bytes, int flags), (fd, data, bytes, flags),
     FAILING(send))
WRAP(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags), (fd, message, flags),
     FAILING(sendmsg))
WRAP(int, shutdown, (int fd, int how), (fd, how), FAILING(shutdown))
WRAP(ssize_t, getrandom, (void *out, size_t bytes, unsigned flags), (out, bytes, flags),
     FAILING(getrandom))

int __real_socket(int family, int type, int protocol);
int __wrap_socket(int family, int type, int protocol);

int __wrap_socket(int family, int type, int protocol)
{
    return fails(CALL_socket) ? -1 : opened(__real_socket(family, type, protocol));
}

int __real_accept4(int fd, struct sockaddr *from, socklen_t *len, int flags);
int __wrap_accept4(int fd, struct sockaddr *from, socklen_t *len, int flags);

int __wrap_accept4(int fd, struct sockaddr *from, socklen_t *len, int flags)
{
    return fails(CALL_accept4) ? -1 : opened(__real_accept4(fd, from, len, flags));
}

int __real_epoll_create1(int flags);
int __wrap_epoll_create1(int flags);

int __wrap_epoll_create1(int flags)
{
    return fails(CALL_epoll_create1) ? -1 : opened(__real_epoll_create1(flags));
}

/* Linux gives the descriptor up whatever it returns (close(2)). */
int __real_close(int fd);
int __wrap_close(int fd);

int __wrap_close(int fd)
{
    bool failed = fails(CALL_close);
    starved.open -= starved.inside;
    int result = __real_close(fd);
    if (failed)
        errno = starved.error;
    return failed ? -1 : result;
}

/* To change or end a watch allocates nothing (fs/eventpoll.c): it fails for descriptors alone that are not watched. */
int __real_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event);

int __wrap_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
    if (operation == EPOLL_CTL_ADD && fails(CALL_epoll_ctl))
        return -1;
    return __real_epoll_ctl(epoll, operation, fd, event);
}

/* Nothing waits: see turn. */
int __real_epoll_wait(int epoll, struct epoll_event *events, int max, int timeout);
int __wrap_epoll_wait(int epoll, struct epoll_event *events, int max, int timeout);

int __wrap_epoll_wait(int epoll, struct epoll_event *events, int max, int timeout)
{
    (void)timeout;
    return fails(CALL_epoll_wait) ? -1 : __real_epoll_wait(epoll, events, max, 0);
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *out);

int __wrap_clock_gettime(clockid_t clock, struct timespec *out)
{
    uint64_t us = now_us + (clock == CLOCK_REALTIME ? 1700000000ULL * SECOND : 0);
    *out =
        (struct timespec){.tv_sec = (time_t)(us / SECOND), .tv_nsec = (long)(us % SECOND) * 1000};
    return 0;
}

/* Of the child that tells a story: it ends here. */
static void wrong(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

static const char *now_doing;

static void wrong(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s: ", now_doing);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    _exit(1);
}

/* Nodes */

static struct live {
    struct io *io;
    struct loop loop;
    struct log log;
    struct node_config config;
    struct node *node;
    struct address address;
    bool running;
} nodes[2];

static char join_text[ADDRESS_TEXT_BYTES];

static bool log_nothing(void *sink, const char *line, unsigned bytes)
{
    (void)sink;
    (void)line;
    (void)bytes;
    return true;
}

static uint64_t no_clock(void *clock)
{
    (void)clock;
    return 0;
}

static int node_up(struct live *live, const char *join)
{
    live->config = (struct node_config){
        .server = {.connections_max = 100,
                   .idle_us = 300ULL * SECOND,
                   .request_us = 30 * SECOND,
                   .stall_us = 60 * SECOND},
        .value_max = 1 << 20,
        .grace_us = 86400ULL * SECOND,
        .forget_us = 86400ULL * SECOND,
        .drain_us = DRAIN_US,
        .joins = {join},
        .join_count = join != NULL,
    };
    allow_list_private(&live->config.server.allow);
    live->log = (struct log){.level = LOG_ERROR_LEVEL, .wall_us = no_clock, .write = log_nothing};
    address_parse(SLICE("127.0.0.1:0"), &live->address);
    live->io = io_epoll_new();
    if (!live->io)
        return -ENOMEM;
    loop_init(&live->loop, live->io);
    live->node = node_new(&live->loop, &live->log, &live->config);
    return live->node ? node_listen(live->node, &live->address, -1) : -ENOMEM;
}

static void node_down(struct live *live)
{
    starved.inside = true;
    if (live->node)
        node_destroy(live->node);
    if (live->io) {
        loop_free(&live->loop);
        io_epoll_destroy(live->io);
    }
    starved.inside = false;
    *live = (struct live){0};
}

/* What cannot start is started once more. */
static void start(struct live *live, const char *join)
{
    for (int tries = 0; tries < 2; tries++) {
        starved.inside = true;
        int error = node_up(live, join);
        starved.inside = false;
        live->running = !error;
        if (!error)
            return;
        if (!starved.struck)
            wrong("it does not start: %s", strerror(-error));
        node_down(live);
    }
    wrong("it does not start again");
}

/* Each loop turns once; where none has anything to do, time goes on. */
static void turn(void)
{
    bool busy = false;
    for (size_t i = 0; i < COUNT(nodes); i++) {
        struct live *live = &nodes[i];
        if (!live->running || live->loop.stopped)
            continue;
        unsigned before = starved.seen[CALL_recv] + starved.seen[CALL_send] +
                          starved.seen[CALL_sendmsg] + starved.seen[CALL_accept4];
        starved.inside = true;
        loop_turn(&live->loop, 0);
        starved.inside = false;
        busy |= live->loop.again || before != starved.seen[CALL_recv] + starved.seen[CALL_send] +
                                                  starved.seen[CALL_sendmsg] +
                                                  starved.seen[CALL_accept4];
    }
    now_us += busy ? 10 : CLOCK_STEP_US;
    if (!busy)
        sched_yield();
}

static void pass(uint64_t us)
{
    for (uint64_t until_us = now_us + us; now_us < until_us;)
        turn();
}

static void stop(struct live *live)
{
    uint64_t until_us = now_us + DRAIN_US + 2 * SECOND;
    starved.inside = true;
    node_drain(live->node);
    starved.inside = false;
    while (!live->loop.stopped) {
        turn();
        if (now_us > until_us)
            wrong("it does not end");
    }
    node_down(live);
}

/* A client */

static struct {
    char data[OUTPUT_MAX];
    size_t bytes;
} output;

static int client_connect(const struct live *live)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(live->address.port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0)
        wrong("a client cannot connect: %s", strerror(errno));
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

/* Sends and receives what goes. Returns false at the end of the connection. */
static bool client_go_on(int fd, struct slice *request)
{
    ssize_t sent = request->len ? send(fd, request->data, request->len, MSG_NOSIGNAL) : 0;
    if (sent > 0)
        *request = (struct slice){request->data + sent, request->len - (size_t)sent};
    ssize_t got = recv(fd, output.data + output.bytes, sizeof output.data - output.bytes, 0);
    output.bytes += got > 0 ? (size_t)got : 0;
    return got > 0 || (got < 0 && errno == EAGAIN);
}

/* One try. Returns the status, 0 for no answer. */
static unsigned try(const struct live *live, struct slice request, struct answer *answer)
{
    uint64_t until_us = now_us + 10 * SECOND;
    unsigned status = 0;
    int fd = client_connect(live);
    output.bytes = 0;
    for (bool open = true; open && !status && now_us < until_us;) {
        open = client_go_on(fd, &request);
        struct slice rest = {output.data, output.bytes};
        enum answer_result result = answer_parse(&rest, false, !open, answer);
        if (result == ANSWER_BAD)
            wrong("no HTTP: %.*s", (int)output.bytes, output.data);
        status = result == ANSWER_OK ? answer->status : 0;
        turn();
    }
    close(fd);
    return status;
}

/* Until it is no refusal: that may only come when something has failed, and not for long. */
static unsigned ask(const struct live *live, struct slice request, struct answer *answer)
{
    uint64_t until_us = now_us + SOON_US;
    for (;;) {
        unsigned status = try(live, request, answer);
        if (status && status != 503 && status != 507)
            return status;
        if (!starved.struck || now_us > until_us)
            wrong("%.20s gets %u", request.data, status);
        pass(SECOND / 4);
    }
}

static char value_byte(unsigned seed, size_t at)
{
    return (char)('a' + (seed + at + at / 26 * 3) % 26);
}

static void put(const struct live *live, const char *name, unsigned seed, size_t bytes)
{
    static char text[LARGE + 200];
    struct answer answer;
    int head = snprintf(text, 200, "PUT /%s HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n",
                        name, bytes);
    for (size_t i = 0; i < bytes; i++)
        text[(size_t)head + i] = value_byte(seed, i);
    unsigned status = ask(live, (struct slice){text, (size_t)head + bytes}, &answer);
    if (status != 200)
        wrong("PUT gets %u", status);
}

static void get(const struct live *live, const char *name, unsigned seed, size_t bytes)
{
    char text[200];
    struct answer answer;
    snprintf(text, sizeof text, "GET /%s HTTP/1.1\r\nHost: h\r\n\r\n", name);
    unsigned status = ask(live, slice_of(text), &answer);
    if (status != 200 || answer.body.len != bytes)
        wrong("GET /%s gets %u and %zu bytes", name, status, answer.body.len);
    for (size_t i = 0; i < bytes; i++)
        if (answer.body.data[i] != value_byte(seed, i))
            wrong("GET /%s gets another value", name);
}

static void ask_nonsense(const struct live *live)
{
    struct answer answer;
    unsigned status = ask(live, SLICE("GET  /one HTTP/1.1\r\nHost: h\r\n\r\n"), &answer);
    if (status != 400)
        wrong("nonsense gets %u", status);
    pass(SECOND); /* the connection lingers */
}

/* Both are ready and have the same. */
static void agree(void)
{
    const struct cluster *a = nodes[0].node->cluster, *b = nodes[1].node->cluster;
    uint64_t until_us = now_us + AGREE_US;
    while (!cluster_is_ready(a) || !cluster_is_ready(b) || members_here(&a->members) != 2 ||
           members_here(&b->members) != 2 ||
           store_digest(nodes[0].node->store) != store_digest(nodes[1].node->store)) {
        turn();
        if (now_us > until_us)
            wrong("the two do not come to agree");
    }
}

static void story(void)
{
    now_doing = "start";
    start(&nodes[0], NULL);
    address_format(&nodes[0].address, join_text);
    now_doing = "serve";
    put(&nodes[0], "one", 1, 10);
    put(&nodes[0], "large", 2, LARGE);
    get(&nodes[0], "one", 1, 10);
    get(&nodes[0], "large", 2, LARGE);
    ask_nonsense(&nodes[0]);
    now_doing = "join";
    start(&nodes[1], join_text);
    agree();
    get(&nodes[1], "large", 2, LARGE);
    now_doing = "push";
    put(&nodes[1], "large", 3, LARGE);
    put(&nodes[0], "one", 4, 100);
    agree();
    get(&nodes[0], "large", 3, LARGE);
    get(&nodes[1], "one", 4, 100);
    now_doing = "drain";
    put(&nodes[0], "last", 5, LARGE);
    stop(&nodes[0]);
    get(&nodes[1], "last", 5, LARGE);
    get(&nodes[1], "one", 4, 100);
    stop(&nodes[1]);
    if (starved.open)
        wrong("%d descriptors are left", starved.open);
}

/* Telling them all */

static struct child {
    pid_t pid;
    enum call_kind kind;
    unsigned number;
    int error;
} children[CHILDREN_MAX];

static unsigned running, failed, told;

static void reap(void)
{
    int status;
    pid_t pid = wait(&status);
    unsigned i = 0;
    while (i < running && children[i].pid != pid)
        i++;
    if (i == running)
        return;
    const struct child *child = &children[i];
    if (status) {
        failed++;
        print_error("\"%s %u %s\": wait status %d\n", names[child->kind], child->number,
                    strerrorname_np(child->error), status);
    }
    children[i] = children[--running];
}

static void tell(enum call_kind kind, unsigned number, int error)
{
    struct itimerval limit = {.it_value = {.tv_sec = STUCK_S}};
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    while (running >= CHILDREN_MAX || (running && running >= processors))
        reap();
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        setitimer(ITIMER_VIRTUAL, &limit, NULL);
        starved.kind = kind;
        starved.number = number;
        starved.error = error;
        memset(starved.seen, 0, sizeof starved.seen);
        story();
        _exit(0);
    }
    children[running++] = (struct child){pid, kind, number, error};
    told++;
}

/* How often each call is made when none fails, which is told by a child, too. */
static void count_calls(unsigned counts[CALL_KINDS])
{
    int pipes[2], status;
    assert_int_equal(pipe(pipes), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        story();
        _exit(write(pipes[1], starved.seen, sizeof starved.seen) != sizeof starved.seen);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(read(pipes[0], counts, sizeof starved.seen), sizeof starved.seen);
    close(pipes[0]);
    close(pipes[1]);
}

/* Of each call the first way is among them, since some calls are made once or twice only. */
static void tell_all(const unsigned counts[CALL_KINDS], unsigned every)
{
    unsigned ways = 0;
    for (enum call_kind kind = 0; kind < CALL_KINDS; kind++) {
        unsigned of_kind = 0;
        for (unsigned number = 1; number <= counts[kind]; number++)
            for (const int *error = errors[kind]; *error; error++)
                if (of_kind++ % every == 0)
                    tell(kind, number, *error);
        ways += of_kind;
    }
    print_message("%u of %u ways to fail\n", told, ways);
}

static void tell_one(const char *text)
{
    char name[32], error_name[32];
    unsigned number;
    assert_int_equal(sscanf(text, "%31s %u %31s", name, &number, error_name), 3);
    for (enum call_kind kind = 0; kind < CALL_KINDS; kind++)
        for (const int *error = errors[kind]; *error; error++)
            if (strcmp(names[kind], name) == 0 && strcmp(strerrorname_np(*error), error_name) == 0)
                tell(kind, number, *error);
    assert_int_equal(told, 1);
}

static void test_each_call_fails(void **state)
{
    const char *one = getenv("STARVED_CASE"), *every = getenv("STARVED_EVERY");
    unsigned counts[CALL_KINDS];
    (void)state;
    count_calls(counts);
    for (enum call_kind kind = 0; kind < CALL_KINDS; kind++)
        check(counts[kind] > 0, "%s is never called", names[kind]);
    if (one)
        tell_one(one);
    else
        tell_all(counts, every ? (unsigned)strtoul(every, NULL, 10) : EVERY);
    while (running)
        reap();
    assert_int_equal(failed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_call_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
