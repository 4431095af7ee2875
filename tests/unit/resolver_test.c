/* The real resolver on the real loop, with a DNS server that lives in the same loop: so nothing waits for time, but for what
 * happens. The resolver's clock can be put forward. Linked with --wrap for malloc, calloc and realloc (see failing.h), which
 * c-ares is made to use too. */
#include "net/resolver_ares.h"

#include <ares.h>
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "failing.h"
#include "net/io_epoll.h"
#include "unit.h"

enum { PATIENCE_US = 30 * 1000 * 1000, TYPE_A = 1, TYPE_AAAA = 28, RECORDS_MAX = 100 };

static struct io *io;
static struct io_ops ops; /* io's, with what follows put between */
static const struct io_ops *real_ops;
static struct loop loop;
static uint64_t ahead_us; /* of the real clock */
static int watched;       /* sockets, now */
static bool watch_fails;

static uint64_t shifted_us(struct io *of)
{
    return real_ops->monotonic_us(of) + ahead_us;
}

static int counted_watch(struct io *of, int fd, unsigned interest, void *data)
{
    int error = watch_fails ? -ENOSPC : real_ops->watch(of, fd, interest, data);
    watched += error == 0;
    return error;
}

static void counted_unwatch(struct io *of, int fd)
{
    real_ops->unwatch(of, fd);
    watched--;
}

/* What ares_init_options says, and how often it was called. */
static struct {
    int status, status_without_file;
    unsigned calls;
    int timeout_ms, tries; /* as it was last told */
} init;

int __real_ares_init_options(ares_channel *channel, struct ares_options *options, int chosen);
int __wrap_ares_init_options(ares_channel *channel, struct ares_options *options, int chosen);

int __wrap_ares_init_options(ares_channel *channel, struct ares_options *options, int chosen)
{
    int status = chosen & ARES_OPT_RESOLVCONF ? init.status_without_file : init.status;
    init.calls++;
    init.timeout_ms = options->timeout;
    init.tries = options->tries;
    return status ? status : __real_ares_init_options(channel, options, chosen);
}

/* A DNS server that knows names under "test". It watches its sockets past the counting. */

static struct {
    struct loop_watcher udp_watcher, listener_watcher, stream_watcher;
    int udp, listener, stream;
    unsigned udp_questions, tcp_questions;
    char address[32]; /* for resolver_ares_new */
} server;

static void put(unsigned char *out, size_t *len, const void *bytes, size_t count)
{
    memcpy(out + *len, bytes, count);
    *len += count;
}

static void put_record(unsigned char *out, size_t *len, unsigned type, unsigned number)
{
    const unsigned char head[] = {0xc0, 12, 0, (unsigned char)type, 0, 1, 0, 0, 0, 60, 0};
    const unsigned char v4[] = {4, 10, 0, 0, (unsigned char)number};
    const unsigned char v6[] = {
        16, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, (unsigned char)number};
    put(out, len, head, sizeof head);
    put(out, len, type == TYPE_A ? v4 : v6, type == TYPE_A ? sizeof v4 : sizeof v6);
    out[7]++;
}

/* Dots in place of the lengths of labels; returns where the name ends in the question. */
static size_t name_of(const unsigned char *question, size_t len, char *out)
{
    size_t at = 12, used = 0;
    while (at < len && question[at]) {
        size_t label = question[at++];
        assert_true(at + label < len);
        memcpy(out + used, question + at, label);
        used += label;
        at += label;
        out[used++] = '.';
    }
    out[used ? used - 1 : 0] = 0;
    return at + 1;
}

/* Returns how long the answer is; 0 for none. */
static size_t answer(const unsigned char *question, size_t len, bool tcp, unsigned char *out)
{
    static const unsigned char lots[] = {1, 2, 2, 1, 3};
    char name[300];
    size_t end = name_of(question, len, name), used = end + 4;
    unsigned type = question[end + 1];
    assert_true(used <= len);
    memcpy(out, question, used);
    out[2] |= 0x84;
    out[3] = 0;
    memset(out + 6, 0, 6);
    if (strcasecmp(name, "silent.test") == 0)
        return 0;
    if (strcasecmp(name, "garbage.test") == 0) {
        memset(out + 3, 0xee, 40);
        return 43;
    }
    if (strcasecmp(name, "broken.test") == 0)
        return put_record(out, &used, type, 1), used - 2;
    if (strcasecmp(name, "large.test") == 0 && !tcp) {
        out[2] |= 2; /* it is cut: come by TCP */
        return used;
    }
    if (strcasecmp(name, "one.test") == 0 && type == TYPE_A)
        put_record(out, &used, type, 1);
    else if (strcasecmp(name, "six.test") == 0 && type == TYPE_AAAA)
        put_record(out, &used, type, 6);
    else if (strcasecmp(name, "several.test") == 0)
        for (size_t i = 0; i < sizeof lots; i++)
            put_record(out, &used, type, lots[i]);
    else if (strcasecmp(name, "large.test") == 0)
        for (unsigned i = 0; i < RECORDS_MAX; i++)
            put_record(out, &used, type, i);
    else if (strcasecmp(name, "failing.test") == 0)
        out[3] = 2; /* SERVFAIL */
    else if (!strstr(name, "one.test") && !strstr(name, "six.test"))
        out[3] = 3; /* NXDOMAIN */
    return used;
}

static void on_udp(struct loop_watcher *watcher, unsigned ready)
{
    unsigned char question[1024], reply[4096];
    struct sockaddr_in from;
    socklen_t from_bytes = sizeof from;
    ssize_t got;
    (void)watcher;
    (void)ready;
    while ((got = recvfrom(server.udp, question, sizeof question, MSG_DONTWAIT,
                           (struct sockaddr *)&from, &from_bytes)) > 0) {
        size_t len = answer(question, (size_t)got, false, reply);
        server.udp_questions++;
        if (len)
            sendto(server.udp, reply, len, 0, (struct sockaddr *)&from, from_bytes);
    }
}

static void stream_end(void)
{
    if (server.stream >= 0)
        io->ops->close(io, server.stream);
    server.stream = -1;
}

/* Questions come whole, as they are small. */
static void on_stream(struct loop_watcher *watcher, unsigned ready)
{
    unsigned char in[2048], reply[4096];
    (void)watcher;
    (void)ready;
    ssize_t got = io->ops->recv(io, server.stream, in, sizeof in);
    if (got == -EAGAIN)
        return;
    for (ssize_t at = 0; at + 2 < got;) {
        size_t len = (size_t)in[at] << 8 | in[at + 1];
        assert_true(at + 2 + (ssize_t)len <= got);
        size_t out = answer(in + at + 2, len, true, reply + 2);
        reply[0] = (unsigned char)(out >> 8);
        reply[1] = (unsigned char)out;
        struct iovec piece = {reply, out + 2};
        server.tcp_questions++;
        assert_int_equal(io->ops->send(io, server.stream, &piece, 1), out + 2);
        at += 2 + (ssize_t)len;
    }
    if (got <= 0)
        stream_end();
}

static void on_listener(struct loop_watcher *watcher, unsigned ready)
{
    struct address peer;
    (void)watcher;
    (void)ready;
    stream_end();
    server.stream = io->ops->accept(io, server.listener, &peer);
    if (server.stream >= 0)
        assert_int_equal(real_ops->watch(io, server.stream, IO_READ, &server.stream_watcher), 0);
}

/* One port for both kinds. */
static void server_start(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct address tcp = {0};
    for (server.listener = -1; server.listener < 0;) {
        socklen_t bytes = sizeof at;
        server.udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        at.sin_port = 0;
        assert_int_equal(bind(server.udp, (struct sockaddr *)&at, sizeof at), 0);
        assert_int_equal(getsockname(server.udp, (struct sockaddr *)&at, &bytes), 0);
        snprintf(server.address, sizeof server.address, "127.0.0.1:%u", ntohs(at.sin_port));
        assert_int_equal(address_parse(slice_of(server.address), &tcp), 0);
        server.listener = io->ops->listen(io, &tcp, &tcp);
        if (server.listener < 0)
            close(server.udp);
    }
    server.stream = -1;
    server.udp_questions = server.tcp_questions = 0;
    server.udp_watcher.on_ready = on_udp;
    server.listener_watcher.on_ready = on_listener;
    server.stream_watcher.on_ready = on_stream;
    assert_int_equal(real_ops->watch(io, server.udp, IO_READ, &server.udp_watcher), 0);
    assert_int_equal(real_ops->watch(io, server.listener, IO_READ, &server.listener_watcher), 0);
}

static struct resolver *resolver;

static int set_up(void **state)
{
    (void)state;
    io = io_epoll_new();
    assert_non_null(io);
    real_ops = io->ops;
    ops = *real_ops;
    ops.monotonic_us = shifted_us;
    ops.watch = counted_watch;
    ops.unwatch = counted_unwatch;
    io->ops = &ops;
    ahead_us = 0;
    watched = 0;
    watch_fails = false;
    memset(&init, 0, sizeof init);
    loop_init(&loop, io);
    server_start();
    resolver = resolver_ares_new(&loop, server.address);
    assert_non_null(resolver);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    if (resolver)
        resolver_ares_destroy(resolver);
    assert_int_equal(watched, 0);
    assert_int_equal(loop.timer_reserved, 0);
    stream_end();
    io->ops->close(io, server.listener);
    close(server.udp);
    loop_free(&loop);
    io->ops = real_ops;
    io_epoll_destroy(io);
    return 0;
}

/* Somebody who asks. */
struct asker {
    struct lookup lookup; /* first, so that a lookup leads here */
    unsigned answers, count;
    struct address addresses[RESOLVER_ADDRESSES_MAX];
    struct asker *cancels, *asks; /* others, when it is answered */
    const char *name;             /* what those are to ask */
};

static void on_answer(struct lookup *lookup, const struct address *addresses, unsigned count)
{
    struct asker *asker = (struct asker *)lookup;
    assert_null(lookup->data);
    assert_true(count <= RESOLVER_ADDRESSES_MAX);
    asker->answers++;
    asker->count = count;
    if (count)
        memcpy(asker->addresses, addresses, count * sizeof *addresses);
    if (asker->cancels)
        resolver->ops->cancel(resolver, &asker->cancels->lookup);
    if (asker->asks)
        assert_int_equal(resolver->ops->ask(resolver, &asker->asks->lookup, asker->name), 0);
}

static int ask(struct asker *asker, const char *name)
{
    unsigned answers = asker->answers;
    asker->lookup.on_answer = on_answer;
    int error = resolver->ops->ask(resolver, &asker->lookup, name);
    check(asker->answers == answers, "%s is answered from inside of ask", name);
    check(!asker->lookup.data == !!error, "%s: %d", name, error);
    return error;
}

/* When an allocation has failed, and nothing comes of it for a while, the time limit is what ends it. */
static void wait_until_answered(struct asker *asker)
{
    uint64_t end_us = real_ops->monotonic_us(io) + PATIENCE_US;
    while (!asker->answers) {
        uint64_t before_us = real_ops->monotonic_us(io);
        check(before_us < end_us, "no answer");
        loop_turn(&loop, failing_has_struck() ? 5000 : 1000000);
        if (failing_has_struck() && !asker->answers &&
            real_ops->monotonic_us(io) - before_us >= 5000)
            ahead_us += RESOLVER_LIMIT_US;
    }
}

static void check_answer(const char *name, unsigned count, const char *const *wanted)
{
    struct asker asker = {0};
    char text[ADDRESS_TEXT_BYTES];
    check(ask(&asker, name) == 0, "%s", name);
    wait_until_answered(&asker);
    check(asker.answers == 1 && asker.count == count, "%s has %u addresses", name, asker.count);
    for (unsigned i = 0; i < count; i++)
        check_slice(slice_of(address_format(&asker.addresses[i], text)), slice_of(wanted[i]), name);
}

#define CHECK_ANSWER(name, ...) \
    check_answer((name), COUNT(((const char *[]){__VA_ARGS__})), (const char *[]){__VA_ARGS__})

static void test_names(void **state)
{
    (void)state;
    CHECK_ANSWER("one.test", "10.0.0.1:0");
    CHECK_ANSWER("six.test", "[fd00::6]:0");
    CHECK_ANSWER("ONE.Test.", "10.0.0.1:0");
    CHECK_ANSWER("several.test", "10.0.0.1:0", "10.0.0.2:0", "10.0.0.3:0", "[fd00::1]:0",
                 "[fd00::2]:0", "[fd00::3]:0");
    check_answer("none.test", 0, NULL);
    check_answer("failing.test", 0, NULL);
}

/* That a name has no address is one thing, that nobody can tell another. */
static void test_no_address_and_no_answer_differ(void **state)
{
    static const struct {
        const char *name;
        bool failed;
    } names[] = {{"failing.test", true}, {"none.test", false}, {"one.test", false}};
    (void)state;
    for (size_t i = 0; i < COUNT(names); i++) {
        struct asker asker = {.lookup.failed = !names[i].failed};
        check(ask(&asker, names[i].name) == 0, "%s", names[i].name);
        wait_until_answered(&asker);
        check(asker.lookup.failed == names[i].failed, "%s", names[i].name);
    }
}

static void test_many_addresses(void **state)
{
    (void)state;
    struct asker asker = {0};
    assert_int_equal(ask(&asker, "large.test"), 0);
    wait_until_answered(&asker);
    assert_int_equal(asker.count, RESOLVER_ADDRESSES_MAX);
    assert_true(server.tcp_questions > 0);
    for (unsigned i = 0; i < asker.count; i++) {
        assert_true(address_is_ipv4(&asker.addresses[i]));
        assert_int_equal(asker.addresses[i].ip[15], i);
    }
}

static void test_addresses_ask_nobody(void **state)
{
    (void)state;
    CHECK_ANSWER("10.1.2.3", "10.1.2.3:0");
    CHECK_ANSWER("fd00::8", "[fd00::8]:0");
    CHECK_ANSWER("::ffff:10.1.2.3", "10.1.2.3:0");
    CHECK_ANSWER("0.0.0.0", "0.0.0.0:0");
    assert_int_equal(init.calls, 0);
    assert_int_equal(server.udp_questions, 0);
}

/* A name in this machine's /etc/hosts that has to be looked up there; skips the test when there is none. */
static const char *name_of_hosts(char room[256])
{
    FILE *file = fopen("/etc/hosts", "r");
    char line[1024];
    bool found = false;
    while (file && !found && fgets(line, sizeof line, file))
        found = sscanf(line, "%*[0-9.] %255[a-zA-Z0-9.-]", room) == 1 &&
                strcasecmp(room, "localhost") != 0;
    if (file)
        (void)fclose(file);
    if (!found)
        skip();
    return room;
}

/* The file of hosts comes before the servers. */
static void test_file_of_hosts(void **state)
{
    (void)state;
    char room[256];
    struct asker asker = {0};
    assert_int_equal(ask(&asker, name_of_hosts(room)), 0);
    wait_until_answered(&asker);
    assert_true(asker.count > 0);
    assert_int_equal(server.udp_questions, 0);
}

/* It means this machine, whatever files and servers say, or when there are none. */
static void test_localhost(void **state)
{
    (void)state;
    CHECK_ANSWER("localhost", "127.0.0.1:0", "[::1]:0");
    CHECK_ANSWER("LocalHost", "127.0.0.1:0", "[::1]:0");
    assert_int_equal(init.calls, 0);
    assert_int_equal(server.udp_questions, 0);
}

static void test_what_is_no_name(void **state)
{
    (void)state;
    char long_name[RESOLVER_NAME_BYTES_MAX + 2], long_label[100];
    static const char *const names[] = {"",      " ",     "a b",         "a\n",
                                        "[::1]", "a:80",  "10.0.0.0/8",  "b\xc3\xbc",
                                        "a@b",   "x\x7f", "fe80::1%eth0"};
    struct asker asker = {0};
    for (size_t i = 0; i < COUNT(names); i++)
        check(ask(&asker, names[i]) == -EINVAL, "\"%s\"", names[i]);
    memset(long_name, 'a', sizeof long_name);
    for (size_t i = 50; i < sizeof long_name; i += 50)
        long_name[i] = '.';
    long_name[RESOLVER_NAME_BYTES_MAX + 1] = 0;
    assert_int_equal(ask(&asker, long_name), -EINVAL);
    loop_turn(&loop, 0);
    assert_int_equal(asker.answers, 0);
    assert_int_equal(init.calls, 0);
    /* These have the form of a name, but nobody has it. */
    long_name[RESOLVER_NAME_BYTES_MAX] = 0;
    check_answer(long_name, 0, NULL);
    memset(long_label, 'a', sizeof long_label);
    long_label[sizeof long_label - 1] = 0;
    check_answer(long_label, 0, NULL);
    check_answer("..", 0, NULL);
    check_answer("a..test", 0, NULL);
    check_answer(".", 0, NULL);
}

/* Until the time limit, and not beyond. */
static void check_overdue(const char *name)
{
    struct asker asker = {0};
    assert_int_equal(ask(&asker, name), 0);
    for (unsigned asked = server.udp_questions; !watch_fails && server.udp_questions == asked;)
        loop_turn(&loop, 1000000);
    ahead_us += RESOLVER_LIMIT_US - 1000000;
    loop_turn(&loop, 0);
    check(asker.answers == 0, "%s is given up too early", name);
    ahead_us += 1000000;
    loop_turn(&loop, 0);
    check(asker.answers == 1 && asker.count == 0, "%s: %u answers", name, asker.answers);
    assert_true(asker.lookup.failed);
    assert_int_equal(watched, 0);
}

static void test_nobody_answers(void **state)
{
    (void)state;
    check_overdue("silent.test");
    check_overdue("silent.test");
    CHECK_ANSWER("one.test", "10.0.0.1:0");
}

/* c-ares asks each server for the time that it is told, then for twice that, and tells half of an answer only when
 * it is through: some say nothing to questions for IPv6. That must be before the time is over, however many servers there are. */
static void test_several_servers(void **state)
{
    (void)state;
    static char servers[128];
    for (int count = 1; count < 5; count++) {
        int used = snprintf(servers, sizeof servers, "%s", server.address);
        for (int i = 1; i < count; i++)
            used += snprintf(servers + used, sizeof servers - (size_t)used, ",127.0.0.%d:53", i);
        resolver_ares_destroy(resolver);
        resolver = resolver_ares_new(&loop, servers);
        CHECK_ANSWER("one.test", "10.0.0.1:0");
        int last_ms = count * init.timeout_ms * ((1 << init.tries) - 1);
        assert_in_range(last_ms, RESOLVER_LIMIT_US / 1000 / 2, RESOLVER_LIMIT_US / 1000 - 100);
    }
}

static void test_garbage(void **state)
{
    (void)state;
    check_answer("broken.test", 0, NULL);
    check_overdue("garbage.test");
    CHECK_ANSWER("one.test", "10.0.0.1:0");
}

/* No server there: the kernel says so, and nothing waits for the limit. */
static void test_nobody_listens(void **state)
{
    (void)state;
    struct asker asker = {0};
    uint64_t start_us = real_ops->monotonic_us(io);
    close(server.udp);
    assert_int_equal(ask(&asker, "one.test"), 0);
    wait_until_answered(&asker);
    assert_int_equal(asker.count, 0);
    assert_true(real_ops->monotonic_us(io) - start_us < RESOLVER_LIMIT_US);
    server.udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0); /* for tear_down */
}

static void test_sockets_cannot_be_watched(void **state)
{
    (void)state;
    watch_fails = true;
    check_overdue("one.test");
    watch_fails = false;
    CHECK_ANSWER("one.test", "10.0.0.1:0");
}

static void test_many_at_once(void **state)
{
    (void)state;
    static struct asker askers[150];
    static const char *const names[] = {"one.test", "several.test", "none.test", "10.0.0.1",
                                        "localhost"};
    memset(askers, 0, sizeof askers);
    for (size_t i = 0; i < COUNT(askers); i++)
        assert_int_equal(ask(&askers[i], names[i % COUNT(names)]), 0);
    for (size_t i = 0; i < COUNT(askers); i += 3)
        resolver->ops->cancel(resolver, &askers[i].lookup);
    for (size_t i = 0; i < COUNT(askers); i++)
        if (i % 3)
            wait_until_answered(&askers[i]);
    for (size_t i = 0; i < COUNT(askers); i++) {
        check(askers[i].answers == (i % 3 > 0), "%zu: %u answers", i, askers[i].answers);
        assert_null(askers[i].lookup.data);
    }
    assert_int_equal(init.calls, 1);
}

static void test_cancel(void **state)
{
    (void)state;
    struct asker asked = {0}, ip = {0}, never = {0}, last = {0};
    assert_int_equal(ask(&asked, "one.test"), 0);
    assert_int_equal(ask(&ip, "10.0.0.1"), 0);
    resolver->ops->cancel(resolver, &asked.lookup);
    resolver->ops->cancel(resolver, &asked.lookup);
    resolver->ops->cancel(resolver, &ip.lookup);
    resolver->ops->cancel(resolver, &never.lookup);
    assert_null(asked.lookup.data);
    assert_int_equal(watched, 0);
    /* and is asked again at once */
    assert_int_equal(ask(&asked, "one.test"), 0);
    wait_until_answered(&asked);
    assert_int_equal(ask(&last, "10.0.0.1"), 0);
    wait_until_answered(&last);
    assert_int_equal(asked.answers, 1);
    assert_int_equal(asked.count, 1);
    assert_int_equal(ip.answers + never.answers, 0);
}

/* Of two that are answered in the same turn; of one whose answer is not there; of oneself. */
static void test_cancel_inside_of_answers(void **state)
{
    (void)state;
    struct asker a = {0}, b = {0}, c = {0};
    a.cancels = &b;
    assert_int_equal(ask(&a, "10.0.0.1") | ask(&b, "10.0.0.2") | ask(&c, "10.0.0.3"), 0);
    wait_until_answered(&c);
    assert_int_equal(a.answers, 1);
    assert_int_equal(b.answers, 0);
    a.cancels = &b;
    a.answers = c.answers = 0;
    c.cancels = &c;
    assert_int_equal(ask(&b, "silent.test") | ask(&a, "one.test") | ask(&c, "several.test"), 0);
    wait_until_answered(&a);
    wait_until_answered(&c);
    assert_int_equal(b.answers, 0);
    assert_int_equal(watched, 0);
}

/* Overdue ones, too. */
static void test_cancel_inside_of_overdue_answers(void **state)
{
    (void)state;
    struct asker a = {0}, b = {0}, c = {0};
    a.cancels = &b;
    assert_int_equal(ask(&a, "silent.test") | ask(&b, "silent.test") | ask(&c, "silent.test"), 0);
    ahead_us += RESOLVER_LIMIT_US;
    wait_until_answered(&c);
    assert_int_equal(a.answers, 1);
    assert_int_equal(b.answers, 0);
}

static void test_ask_inside_of_answers(void **state)
{
    (void)state;
    struct asker a = {0}, b = {0}, c = {.lookup = {.on_answer = on_answer}};
    a.asks = b.asks = &c;
    b.lookup.on_answer = on_answer;
    a.asks = &b;
    a.name = "one.test";
    b.name = "10.0.0.9";
    assert_int_equal(ask(&a, "10.0.0.1"), 0);
    wait_until_answered(&c);
    assert_int_equal(a.answers + b.answers + c.answers, 3);
    assert_int_equal(b.count, 1);
}

/* One that asks again for an address whenever it is answered does not hold up the loop. */
static void test_ask_again_and_again(void **state)
{
    (void)state;
    struct asker asker = {.name = "10.0.0.1"};
    asker.asks = &asker;
    assert_int_equal(ask(&asker, "10.0.0.1"), 0);
    loop_turn(&loop, 0);
    assert_in_range(asker.answers, 1, LOOP_TIMERS_PER_TURN);
    resolver->ops->cancel(resolver, &asker.lookup);
}

static void test_destroy_with_questions(void **state)
{
    (void)state;
    struct asker a = {0}, b = {0}, c = {0};
    assert_int_equal(ask(&a, "silent.test") | ask(&b, "10.0.0.1") | ask(&c, "none.test"), 0);
    resolver_ares_destroy(resolver);
    resolver = NULL;
    loop_turn(&loop, 0);
    assert_int_equal(a.answers + b.answers + c.answers, 0);
    assert_true(!a.lookup.data && !b.lookup.data && !c.lookup.data);
}

static void test_settings_are_read_again(void **state)
{
    (void)state;
    struct asker silent = {0};
    CHECK_ANSWER("one.test", "10.0.0.1:0");
    CHECK_ANSWER("one.test", "10.0.0.1:0");
    assert_int_equal(init.calls, 1);
    ahead_us += RESOLVER_REREAD_US;
    loop_update_time(&loop);
    CHECK_ANSWER("one.test", "10.0.0.1:0");
    CHECK_ANSWER("one.test", "10.0.0.1:0");
    assert_int_equal(init.calls, 2);
    ahead_us += RESOLVER_REREAD_US - RESOLVER_LIMIT_US / 2;
    loop_update_time(&loop);
    assert_int_equal(ask(&silent, "silent.test"), 0);
    ahead_us += RESOLVER_LIMIT_US / 2 + 1000;
    loop_update_time(&loop);
    CHECK_ANSWER("one.test", "10.0.0.1:0"); /* one is under way */
    assert_int_equal(init.calls, 2);
    assert_int_equal(silent.answers, 0);
    resolver->ops->cancel(resolver, &silent.lookup);
    CHECK_ANSWER("one.test", "10.0.0.1:0");
    assert_int_equal(init.calls, 3);
}

static void test_settings_cannot_be_read(void **state)
{
    (void)state;
    struct asker asker = {0};
    init.status = ARES_EFILE;
    CHECK_ANSWER("one.test", "10.0.0.1:0");
    assert_int_equal(init.calls, 2);
    ahead_us += RESOLVER_REREAD_US;
    loop_update_time(&loop);
    init.status_without_file = ARES_EFILE;
    assert_int_equal(ask(&asker, "one.test"), -EIO);
    init.status = ARES_ENOMEM;
    assert_int_equal(ask(&asker, "one.test"), -ENOMEM);
    init.status = ARES_SUCCESS;
    CHECK_ANSWER("one.test", "10.0.0.1:0");
    CHECK_ANSWER("10.0.0.1", "10.0.0.1:0");
}

static void test_servers_that_are_none(void **state)
{
    (void)state;
    struct asker asker = {0};
    resolver_ares_destroy(resolver);
    resolver = resolver_ares_new(&loop, "nonsense");
    assert_non_null(resolver);
    assert_int_equal(ask(&asker, "one.test"), -EIO);
    CHECK_ANSWER("10.0.0.1", "10.0.0.1:0");
}

/* The system's servers: whoever they are, it has to work without them. */
static void test_servers_of_the_system(void **state)
{
    (void)state;
    char room[256];
    struct asker asker = {0};
    const char *name = name_of_hosts(room);
    resolver_ares_destroy(resolver);
    resolver = resolver_ares_new(&loop, NULL);
    assert_non_null(resolver);
    assert_int_equal(ask(&asker, name), 0);
    wait_until_answered(&asker);
    assert_true(asker.count > 0);
}

/* Every allocation fails in turn, ours and those of c-ares: then there is an error, or an answer without addresses. */
static void test_failing_allocations(void **state)
{
    (void)state;
    int version;
    ares_version(&version);
    if (version >= 0x012200)
        skip(); /* 1.34 uses what it has freed when there is no memory for /etc/hosts */
    for (int all_after = 0; all_after < 2; all_after++) {
        bool failed = true;
        resolver_ares_destroy(resolver);
        resolver = NULL;
        for (unsigned nth = 1; failed; nth++) {
            struct asker asker = {0};
            check(nth < 2000, "it never comes to an end");
            failing_start(nth, all_after);
            struct resolver *made = resolver = resolver_ares_new(&loop, server.address);
            int error = made ? ask(&asker, "several.test") : -ENOMEM;
            if (!error)
                wait_until_answered(&asker);
            failed = failing_stop();
            check(failed || asker.count == 6, "%u: %d, %u addresses", nth, error, asker.count);
            if (made)
                CHECK_ANSWER("one.test", "10.0.0.1:0");
            if (made)
                resolver_ares_destroy(made);
            loop_free(&loop); /* so that room for timers is allocated anew */
            loop_init(&loop, io);
        }
        resolver = resolver_ares_new(&loop, server.address);
    }
}

static void *counted_malloc(size_t bytes)
{
    return malloc(bytes);
}

static void *counted_realloc(void *old, size_t bytes)
{
    return realloc(old, bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(test_names),
        TEST(test_no_address_and_no_answer_differ),
        TEST(test_many_addresses),
        TEST(test_addresses_ask_nobody),
        TEST(test_file_of_hosts),
        TEST(test_localhost),
        TEST(test_what_is_no_name),
        TEST(test_nobody_answers),
        TEST(test_several_servers),
        TEST(test_garbage),
        TEST(test_nobody_listens),
        TEST(test_sockets_cannot_be_watched),
        TEST(test_many_at_once),
        TEST(test_cancel),
        TEST(test_cancel_inside_of_answers),
        TEST(test_cancel_inside_of_overdue_answers),
        TEST(test_ask_inside_of_answers),
        TEST(test_ask_again_and_again),
        TEST(test_destroy_with_questions),
        TEST(test_settings_are_read_again),
        TEST(test_settings_cannot_be_read),
        TEST(test_servers_that_are_none),
        TEST(test_servers_of_the_system),
        TEST(test_failing_allocations),
#undef TEST
    };
    ares_library_init_mem(ARES_LIB_INIT_ALL, counted_malloc, free, counted_realloc);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    ares_library_cleanup();
    return failed;
}
