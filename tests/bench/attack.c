/*
 * attack: one bounded misuse of one server, as by a broken or hostile client. Loopback only.
 *
 *   pace -> open -> mode's first bytes ~~> server ~~> what comes is counted and thrown away
 *             ^        a beat a second, or the next request            |
 *             +------------ closed by the server: open again ----------+
 *
 * It says "ready" once it does what it was asked to do, ends by itself, and says then what it got.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum {
    connections_max = 100000,
    source_connections =
        10000, /* from one address: of its 28,000 ports the kernel finds half quickly */
    opens_per_turn = 64,
    events_max = 256,
    inbox_bytes = 8192,
    slow_read_bytes = 256,
    slow_buffer_bytes = 4096,
    head_bytes_huge = 1000000,
    value_bytes_huge = 64 * 1024 * 1024,
    value_interval_us = 10000,
    filling_bytes = 8192, /* in one call, after which the kernel lets the probe in */
    batch = 16,           /* requests sent at once with keys that collide */
    key_bytes = 16,
    shard_bits = 14,
    tag_bytes = 64,
    request_bytes_max = 2048,
};

static const uint64_t ns_per_second = 1000000000;
static const char chunk_head[] = "1ff8\r\n",
                  last_chunk[] = "0\r\n\r\n"; /* a chunk fills filling_bytes */

struct attack;
struct conn;

/* What an attack does. All but the name may be missing. */
struct mode {
    const char *name;
    void (*on_open)(struct attack *, struct conn *);
    void (*on_bytes)(struct attack *, struct conn *, const char *data, size_t count);
    void (*on_beat)(struct attack *, struct conn *);
    bool deaf;      /* reads on its beats only */
    bool demanding; /* ready only when all are connected and none was refused */
};

struct options {
    struct sockaddr_in server;
    const struct mode *mode;
    uint64_t connections, first, rate, keys, low_bits, wake_ms, seconds;
    bool random, once, chunked;
};

struct conn {
    int fd;
    unsigned number, source; /* its address is so many above 127.0.0.2 */
    bool connected;
    const char
        *head; /* what is to be sent: a head, then so many bytes of filling, and what ends chunks */
    size_t head_left;
    uint64_t filling_left;
    bool ends;
    uint64_t answers;  /* heads that ended */
    unsigned end_seen; /* bytes of an empty line */
    char status;       /* the first digit of the last answer's */
    unsigned status_at;
    char tag[tag_bytes];
    unsigned tag_at, tag_found;
};

struct tally {
    uint64_t opened, closed, failed, answered, refused, received, sent, late;
};

struct attack {
    struct options options;
    int epoll_fd, signal_fd;
    struct conn *conns;
    struct conn waker;
    char *filling, *inbox, *texts;
    char (*keys)[key_bytes];
    uint64_t now_ns, start_ns, beat_ns, next_value_ns, next_wake_ns;
    size_t open_cursor, beat_cursor, value_cursor, key_cursor, open, connected;
    bool ready, stopped;
    struct tally tally;
};

static void die(const char *what)
{
    fprintf(stderr, "attack: %s: %s\n", what, errno ? strerror(errno) : "bad usage, see --help");
    exit(2);
}

static void *memory_new(size_t count, size_t bytes)
{
    void *memory = calloc(count ? count : 1, bytes);

    if (!memory)
        die("memory");
    return memory;
}

static uint64_t clock_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * ns_per_second + (uint64_t)now.tv_nsec;
}

static char *text_of(struct attack *attack, const struct conn *conn)
{
    return attack->texts + (size_t)conn->number * request_bytes_max;
}

/* ---- connections ---- */

static bool conn_has_more(const struct conn *conn)
{
    return conn->head_left > 0 || conn->filling_left > 0 || conn->ends;
}

/* Whatever was to be sent is not. */
static void conn_forget(struct conn *conn)
{
    conn->head_left = 0;
    conn->filling_left = 0;
    conn->ends = false;
}

static void conn_watch(struct attack *attack, struct conn *conn, int operation)
{
    bool sends = !conn->connected || conn_has_more(conn);
    struct epoll_event event = {.data = {.ptr = conn}};

    if (sends)
        event.events |= EPOLLOUT;
    if (!attack->options.mode->deaf || conn == &attack->waker)
        event.events |= EPOLLIN;
    if (epoll_ctl(attack->epoll_fd, operation, conn->fd, &event) != 0)
        die("epoll_ctl");
}

static void conn_close(struct attack *attack, struct conn *conn)
{
    if (conn->fd < 0)
        return;
    close(conn->fd);
    attack->open--;
    attack->connected -= conn->connected;
    conn->fd = -1;
    conn->connected = false;
    conn_forget(conn);
    attack->tally.closed++;
}

static struct conn conn_unopened(const struct attack *attack, uint64_t number)
{
    uint64_t source = (attack->options.first + number) / source_connections;

    return (struct conn){.fd = -1, .number = (unsigned)number, .source = (unsigned)source};
}

static void conn_bind_source(const struct conn *conn)
{
    struct sockaddr_in source = {.sin_family = AF_INET};
    int yes = 1;

    source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + conn->source);
    setsockopt(conn->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof(yes));
    if (bind(conn->fd, (struct sockaddr *)&source, sizeof(source)) != 0)
        die("bind");
}

/* Returns false when there is nothing to open it with; that is tried again. */
static bool conn_open(struct attack *attack, struct conn *conn)
{
    int yes = 1, small = slow_buffer_bytes;

    conn->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (conn->fd < 0) {
        attack->tally.failed++;
        return false;
    }
    conn->connected = false;
    conn_forget(conn);
    conn->end_seen = conn->status_at = conn->tag_at = 0;
    setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
    if (attack->options.mode->deaf)
        setsockopt(conn->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    conn_bind_source(conn);
    if (connect(conn->fd, (const struct sockaddr *)&attack->options.server,
                sizeof(attack->options.server)) != 0 &&
        errno != EINPROGRESS) {
        close(conn->fd);
        conn->fd = -1;
        attack->tally.failed++;
        return false;
    }
    attack->tally.opened++;
    attack->open++;
    conn_watch(attack, conn, EPOLL_CTL_ADD);
    return true;
}

/* The next of what is to be sent. */
static size_t conn_next(struct attack *attack, struct conn *conn, const char **from)
{
    if (conn->head_left == 0 && conn->filling_left == 0) {
        conn->head = last_chunk;
        conn->head_left = strlen(last_chunk);
        conn->ends = false;
    }
    if (conn->head_left > 0) {
        *from = conn->head;
        return conn->head_left;
    }
    size_t left = (size_t)((conn->filling_left - 1) % filling_bytes + 1);
    *from = attack->filling + filling_bytes - left;
    return left;
}

/* Sends what the socket takes of what is to be sent. */
static void conn_flush(struct attack *attack, struct conn *conn)
{
    while (conn->fd >= 0 && conn_has_more(conn)) {
        const char *from;
        size_t want = conn_next(attack, conn, &from);
        ssize_t sent = send(conn->fd, from, want, MSG_NOSIGNAL);

        if (sent < 0 && errno != EAGAIN && errno != EINTR)
            conn_forget(conn); /* reading finds the end */
        if (sent < 0)
            return;
        attack->tally.sent += (uint64_t)sent;
        if (conn->head_left) {
            conn->head += sent;
            conn->head_left -= (size_t)sent;
        } else {
            conn->filling_left -= (uint64_t)sent;
        }
    }
}

static void conn_say(struct attack *attack, struct conn *conn, const char *head, size_t bytes,
                     uint64_t filling)
{
    conn->head = head;
    conn->head_left = bytes;
    conn->filling_left = filling;
    conn_flush(attack, conn);
    if (conn->fd >= 0)
        conn_watch(attack, conn, EPOLL_CTL_MOD);
}

static void conn_say_text(struct attack *attack, struct conn *conn, const char *text)
{
    conn_say(attack, conn, text, strlen(text), 0);
}

/* Counts answers: heads end with an empty line, and no body here has one. Keeps the last entity tag. */
static void conn_count_answers(struct attack *attack, struct conn *conn, const char *data,
                               size_t count)
{
    static const char begin[] = "HTTP/1.1 ", end[] = "\r\n\r\n", tag[] = "\nETag: ";

    for (size_t i = 0; i < count; i++) {
        if (conn->status_at < sizeof(begin) - 1)
            conn->status_at = data[i] == begin[conn->status_at] ? conn->status_at + 1 : 0;
        else if (conn->status_at == sizeof(begin) - 1)
            conn->status = data[i], conn->status_at++;
        if (conn->tag_at < sizeof(tag) - 1) {
            conn->tag_at = data[i] == tag[conn->tag_at] ? conn->tag_at + 1 : data[i] == tag[0];
            conn->tag_found = 0;
        } else if (data[i] == '\r' || conn->tag_found == tag_bytes - 1) {
            conn->tag_at = 0;
        } else {
            conn->tag[conn->tag_found++] = data[i];
            conn->tag[conn->tag_found] = 0;
        }
        conn->end_seen = data[i] == end[conn->end_seen] ? conn->end_seen + 1 : data[i] == end[0];
        if (conn->end_seen == sizeof(end) - 1) {
            conn->end_seen = conn->status_at = 0;
            conn->answers++;
            if (conn->status == '2' || conn->status == '3')
                attack->tally.answered++;
            else
                attack->tally.refused++;
        }
    }
}

/* ---- the attacks ---- */

static const char slow_head[] = "GET /slow HTTP/1.1\r\nHost: fog\r\nSlow: ";
static const char slow_body[] =
    "POST /slow-body HTTP/1.1\r\nHost: fog\r\nContent-Length: 10000\r\n\r\n";
static const char slow_read[] = "GET /attack-large HTTP/1.1\r\nHost: fog\r\n\r\n";
static const char huge_head[] = "GET /huge HTTP/1.1\r\nHost: fog\r\nHuge: ";
static const char list_keys[] = "GET /-/keys HTTP/1.1\r\nHost: fog\r\nConnection: close\r\n\r\n";
static const char list_records[] =
    "GET /-/records HTTP/1.1\r\nHost: fog\r\nConnection: close\r\n\r\n";

static void slow_head_open(struct attack *attack, struct conn *conn)
{
    conn_say(attack, conn, slow_head, sizeof(slow_head) - 1, 1000);
}

static void slow_body_open(struct attack *attack, struct conn *conn)
{
    conn_say(attack, conn, slow_body, sizeof(slow_body) - 1, 1000);
}

static void one_byte_beat(struct attack *attack, struct conn *conn)
{
    if (!conn_has_more(conn))
        conn_say(attack, conn, NULL, 0, 1);
}

static void slow_read_open(struct attack *attack, struct conn *conn)
{
    conn_say(attack, conn, slow_read, sizeof(slow_read) - 1, 0);
}

static void slow_read_beat(struct attack *attack, struct conn *conn)
{
    char some[slow_read_bytes];
    ssize_t got = recv(conn->fd, some, sizeof(some), 0);

    if (got > 0)
        attack->tally.received += (uint64_t)got;
    else if (got == 0 || (errno != EAGAIN && errno != EINTR))
        conn_close(attack, conn);
}

static void wait_ask(struct attack *attack, struct conn *conn)
{
    char *text = text_of(attack, conn);

    snprintf(text, request_bytes_max,
             "GET /attack-wait HTTP/1.1\r\nHost: fog\r\nPrefer: wait=600\r\nIf-None-Match: "
             "%s\r\n\r\n",
             conn->tag[0] ? conn->tag : "\"absent\"");
    conn_say_text(attack, conn, text);
}

static void wait_bytes(struct attack *attack, struct conn *conn, const char *data, size_t count)
{
    uint64_t before = conn->answers;

    conn_count_answers(attack, conn, data, count);
    if (conn->answers > before)
        wait_ask(attack, conn);
}

static void huge_head_open(struct attack *attack, struct conn *conn)
{
    conn_say(attack, conn, huge_head, sizeof(huge_head) - 1, head_bytes_huge);
}

static void listing_open(struct attack *attack, struct conn *conn)
{
    conn_say_text(attack, conn, conn->number % 2 ? list_records : list_keys);
}

static void value_say(struct attack *attack, struct conn *conn)
{
    char *text = text_of(attack, conn);
    int used = snprintf(text, request_bytes_max, "PUT /attack-value HTTP/1.1\r\nHost: fog\r\n");

    if (attack->options.chunked)
        strcpy(text + used, "Transfer-Encoding: chunked\r\n\r\n");
    else
        sprintf(text + used, "Content-Length: %d\r\n\r\n", (int)value_bytes_huge);
    conn->ends = attack->options.chunked;
    conn_say(attack, conn, text, strlen(text), value_bytes_huge);
}

/* Each 10 ms one more, on a connection that has nothing under way. */
static void value_pace(struct attack *attack)
{
    uint64_t count = attack->options.connections;

    while (attack->next_value_ns <= attack->now_ns) {
        struct conn *conn = NULL;

        attack->next_value_ns += (uint64_t)value_interval_us * 1000;
        for (uint64_t i = 0; i < count && !conn; i++) {
            struct conn *at = &attack->conns[(attack->value_cursor + i) % count];

            if (at->connected && !conn_has_more(at) && at->answers > 0)
                conn = at;
        }
        if (!conn) {
            attack->tally.late++;
            continue;
        }
        attack->value_cursor = conn->number + 1;
        conn->answers = 0;
        value_say(attack, conn);
    }
}

static void value_open(struct attack *attack, struct conn *conn)
{
    (void)attack;
    conn->answers = 1; /* free */
}

/* The next batch: a SET and a GET of each key by turns. */
static void collide_ask(struct attack *attack, struct conn *conn)
{
    char *text = text_of(attack, conn);
    size_t used = 0;

    for (unsigned i = 0; i < batch; i++) {
        const char *key = attack->keys[attack->key_cursor++ / 2 % attack->options.keys];

        used +=
            (size_t)snprintf(text + used, request_bytes_max - used,
                             attack->key_cursor % 2
                                 ? "PUT /%.16s HTTP/1.1\r\nHost: fog\r\nContent-Length: 2\r\n\r\nab"
                                 : "GET /%.16s HTTP/1.1\r\nHost: fog\r\n\r\n",
                             key);
    }
    conn->answers = 0;
    conn_say(attack, conn, text, used, 0);
}

static void collide_bytes(struct attack *attack, struct conn *conn, const char *data, size_t count)
{
    conn_count_answers(attack, conn, data, count);
    if (conn->answers == batch)
        collide_ask(attack, conn);
}

static const struct mode modes[] = {
    {"slow-head", slow_head_open, conn_count_answers, one_byte_beat, false, true},
    {"slow-body", slow_body_open, conn_count_answers, one_byte_beat, false, true},
    {"slow-read", slow_read_open, NULL, slow_read_beat, true, true},
    {"flood", NULL, conn_count_answers, NULL, false, false},
    {"wait", wait_ask, wait_bytes, NULL, false, false},
    {"collide", collide_ask, collide_bytes, NULL, false, true},
    {"huge-value", value_open, conn_count_answers, NULL, false, true},
    {"huge-head", huge_head_open, conn_count_answers, NULL, false, false},
    {"listing", listing_open, NULL, NULL, false, false},
};

/* ---- keys of one shard, and of one chain there if the table's hash had no seed ---- */

static void key_next(char *key)
{
    size_t at = key_bytes - 1;

    while (key[at] == 'z')
        key[at--] = 'a';
    key[at]++;
}

static void keys_find(struct attack *attack)
{
    const struct options *options = &attack->options;
    uint64_t low = ((uint64_t)1 << options->low_bits) - 1;
    char key[key_bytes];
    uint64_t wanted = 0;

    attack->keys = memory_new(options->keys, key_bytes);
    memcpy(key, "attackaaaaaaaaaa", key_bytes);
    for (uint64_t found = 0; found < options->keys; key_next(key)) {
        uint64_t hash = XXH3_64bits(key, key_bytes);

        if (found == 0)
            wanted = hash;
        if (!options->random &&
            (hash >> (64 - shard_bits) != wanted >> (64 - shard_bits) || (hash ^ wanted) & low))
            continue;
        memcpy(attack->keys[found++], key, key_bytes);
    }
}

/* ---- the loop ---- */

static void conn_receive(struct attack *attack, struct conn *conn)
{
    ssize_t got = recv(conn->fd, attack->inbox, inbox_bytes, 0);

    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        conn_close(attack, conn);
        return;
    }
    attack->tally.received += (uint64_t)got;
    if (conn != &attack->waker && attack->options.mode->on_bytes)
        attack->options.mode->on_bytes(attack, conn, attack->inbox, (size_t)got);
}

static void conn_connected(struct attack *attack, struct conn *conn)
{
    conn->connected = true;
    attack->connected++;
    conn_watch(attack, conn, EPOLL_CTL_MOD);
    if (conn != &attack->waker && attack->options.mode->on_open)
        attack->options.mode->on_open(attack, conn);
}

static void attack_dispatch(struct attack *attack, const struct epoll_event *event)
{
    struct conn *conn = event->data.ptr;

    if (!conn) {
        attack->stopped = true;
        return;
    }
    if (conn->fd < 0)
        return;
    if (event->events & (EPOLLERR | EPOLLHUP) && !conn->connected) {
        attack->tally.failed++;
        conn_close(attack, conn);
        return;
    }
    if (event->events & EPOLLOUT && !conn->connected) {
        conn_connected(attack, conn);
    } else if (event->events & EPOLLOUT) {
        conn_flush(attack, conn);
        conn_watch(attack, conn, EPOLL_CTL_MOD);
    }
    if (conn->fd >= 0 && event->events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        if (attack->options.mode->deaf && !(event->events & EPOLLIN))
            conn_close(attack, conn);
        else
            conn_receive(attack, conn);
    }
}

/* Opens those that are closed, as many as the pace allows. */
static void attack_open(struct attack *attack)
{
    uint64_t allowed = attack->options.rate * (attack->now_ns - attack->start_ns) / ns_per_second;
    uint64_t count = attack->options.connections;
    unsigned opened = 0;

    if (attack->options.once && attack->tally.opened >= count)
        return;
    if (attack->tally.opened + attack->tally.failed + count / 10 < allowed) /* no burst later on */
        attack->start_ns = attack->now_ns - (attack->tally.opened + attack->tally.failed) *
                                                ns_per_second / attack->options.rate;
    for (uint64_t i = 0; i < count && attack->open < count && opened < opens_per_turn &&
                         attack->tally.opened + attack->tally.failed < allowed;
         i++) {
        struct conn *conn = &attack->conns[attack->open_cursor];

        attack->open_cursor = (attack->open_cursor + 1) % count;
        if (conn->fd >= 0)
            continue;
        if (!conn_open(attack, conn))
            return;
        opened++;
    }
}

static void attack_beat(struct attack *attack)
{
    uint64_t count = attack->options.connections;
    uint64_t due = (attack->now_ns - attack->beat_ns) * count / ns_per_second;

    if (!attack->options.mode->on_beat)
        return;
    attack->beat_ns += due * ns_per_second / count;
    for (uint64_t i = 0; i < due && i < count; i++) {
        struct conn *conn = &attack->conns[attack->beat_cursor];

        attack->beat_cursor = (attack->beat_cursor + 1) % count;
        if (conn->fd >= 0 && conn->connected)
            attack->options.mode->on_beat(attack, conn);
    }
}

/* Changes the key that all wait for. */
static void attack_wake(struct attack *attack)
{
    static const char text[] =
        "PUT /attack-wait HTTP/1.1\r\nHost: fog\r\nContent-Length: 4\r\n\r\nwake";

    if (attack->options.wake_ms == 0 || !attack->ready || attack->now_ns < attack->next_wake_ns)
        return;
    attack->next_wake_ns = attack->now_ns + attack->options.wake_ms * 1000000;
    if (attack->waker.fd < 0)
        conn_open(attack, &attack->waker);
    else if (attack->waker.connected)
        conn_say(attack, &attack->waker, text, sizeof(text) - 1, 0);
}

static void attack_tell_ready(struct attack *attack)
{
    uint64_t asked = attack->tally.opened;

    if (attack->ready)
        return;
    if (attack->options.mode->demanding ? attack->connected < attack->options.connections
                                        : asked < attack->options.connections)
        return;
    attack->ready = true;
    attack->beat_ns = attack->next_wake_ns = attack->next_value_ns = attack->now_ns;
    printf("ready connected=%zu opened=%" PRIu64 "\n", attack->connected, asked);
    fflush(stdout);
}

static void attack_turn(struct attack *attack)
{
    struct epoll_event events[events_max];
    int count = epoll_wait(attack->epoll_fd, events, events_max, 2);

    attack->now_ns = clock_now_ns();
    for (int i = 0; i < count; i++)
        attack_dispatch(attack, &events[i]);
    attack_open(attack);
    attack_tell_ready(attack);
    if (!attack->ready)
        return;
    attack_beat(attack);
    attack_wake(attack);
    if (attack->options.mode->on_open == value_open)
        value_pace(attack);
}

static void attack_init(struct attack *attack)
{
    struct epoll_event event = {.events = EPOLLIN};
    uint64_t count = attack->options.connections;
    struct rlimit limit;
    sigset_t signals;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    attack->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC);
    attack->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (attack->epoll_fd < 0 || attack->signal_fd < 0 ||
        epoll_ctl(attack->epoll_fd, EPOLL_CTL_ADD, attack->signal_fd, &event) != 0)
        die("epoll");
    attack->conns = memory_new(count, sizeof(*attack->conns));
    attack->texts = memory_new(count + 1, request_bytes_max);
    attack->inbox = memory_new(inbox_bytes, 1);
    attack->filling = memory_new(filling_bytes, 1);
    memset(attack->filling, 'x', filling_bytes);
    if (attack->options.chunked) {
        memcpy(attack->filling, chunk_head, strlen(chunk_head));
        memcpy(attack->filling + filling_bytes - 2, "\r\n", 2);
    }
    for (uint64_t i = 0; i < count; i++)
        attack->conns[i] = conn_unopened(attack, i);
    attack->waker = conn_unopened(attack, count);
    if (strcmp(attack->options.mode->name, "collide") == 0)
        keys_find(attack);
}

static void attack_free(struct attack *attack)
{
    for (uint64_t i = 0; i < attack->options.connections; i++)
        if (attack->conns[i].fd >= 0)
            close(attack->conns[i].fd);
    if (attack->waker.fd >= 0)
        close(attack->waker.fd);
    free(attack->conns);
    free(attack->texts);
    free(attack->inbox);
    free(attack->filling);
    free(attack->keys);
    close(attack->epoll_fd);
    close(attack->signal_fd);
}

static void attack_print(const struct attack *attack)
{
    const struct tally *tally = &attack->tally;

    printf("connected=%zu opened=%" PRIu64 " closed=%" PRIu64 " failed=%" PRIu64
           " answered=%" PRIu64 " refused=%" PRIu64 " received=%" PRIu64 " sent=%" PRIu64
           " late=%" PRIu64 "\n",
           attack->connected, tally->opened, tally->closed, tally->failed, tally->answered,
           tally->refused, tally->received, tally->sent, tally->late);
}

/* ---- options ---- */

static const char usage[] =
    "usage: attack --port PORT --mode MODE [options]\n"
    "  --mode MODE        slow-head, slow-body, slow-read: a byte, or 256 read, a second and "
    "connection\n"
    "                     flood: connections that ask nothing, opened again when they are closed\n"
    "                     wait: `Prefer: wait` on one key, asked again when it is answered\n"
    "                     collide: SET and GET of keys that hash alike without a seed\n"
    "                     huge-value: 64 MiB every 10 ms   huge-head: a million header bytes\n"
    "                     listing: /-/keys and /-/records\n"
    "  --connections N    (100)      --rate N      connections opened a second (10000)\n"
    "  --first N          of one attack by several processes: how many connections others have "
    "(0)\n"
    "  --seconds S        ends after (60)\n"
    "  --keys N           of collide (20000)\n"
    "  --low-bits N       of their hashes that are equal, beside the shard's (0)\n"
    "  --random           other keys of the same length instead\n"
    "  --chunked          huge-value: in chunks of 8 KB, so that its length is not known\n"
    "  --once             what is closed is not opened again\n"
    "  --wake-ms N        change the key of wait so often (0: never)\n"
    "Connects to 127.0.0.1 only. Prints a line when it is under way and one at its end.\n";

struct number_option {
    const char *name;
    size_t offset;
    uint64_t min, max;
};

static const struct number_option number_options[] = {
    {"--connections", offsetof(struct options, connections), 1, connections_max},
    {"--first", offsetof(struct options, first), 0, connections_max},
    {"--rate", offsetof(struct options, rate), 1, 1000000},
    {"--seconds", offsetof(struct options, seconds), 1, 3600},
    {"--keys", offsetof(struct options, keys), 1, 1000000},
    {"--low-bits", offsetof(struct options, low_bits), 0, 16},
    {"--wake-ms", offsetof(struct options, wake_ms), 0, 60000},
};

static uint64_t number_parse(const char *text, uint64_t min, uint64_t max)
{
    char *end;
    uint64_t number = strtoull(text, &end, 10);

    if (*text < '0' || *text > '9' || *end || number < min || number > max)
        die(text);
    return number;
}

static void option_parse(struct options *options, const char *name, const char *text)
{
    if (strcmp(name, "--port") == 0) {
        options->server.sin_port = htons((uint16_t)number_parse(text, 1, 65535));
        return;
    }
    for (size_t i = 0; i < sizeof(modes) / sizeof(*modes); i++) {
        if (strcmp(name, "--mode") == 0 && strcmp(text, modes[i].name) == 0) {
            options->mode = &modes[i];
            return;
        }
    }
    for (size_t i = 0; i < sizeof(number_options) / sizeof(*number_options); i++) {
        const struct number_option *option = &number_options[i];

        if (strcmp(name, option->name) == 0) {
            *(uint64_t *)(void *)((char *)options + option->offset) =
                number_parse(text, option->min, option->max);
            return;
        }
    }
    die(name);
}

static void options_parse(struct options *options, char **args)
{
    for (; *args; args++) {
        if (strcmp(*args, "--help") == 0) {
            fputs(usage, stdout);
            exit(0);
        }
        if (strcmp(*args, "--random") == 0) {
            options->random = true;
            continue;
        }
        if (strcmp(*args, "--chunked") == 0) {
            options->chunked = true;
            continue;
        }
        if (strcmp(*args, "--once") == 0) {
            options->once = true;
            continue;
        }
        if (!args[1])
            die(*args);
        option_parse(options, args[0], args[1]);
        args++;
    }
    if (!options->mode || !options->server.sin_port)
        die("--mode and --port");
}

int main(int argc, char **argv)
{
    struct attack *attack = memory_new(1, sizeof(*attack));
    uint64_t end_ns;

    attack->options = (struct options){
        .server = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}},
        .connections = 100,
        .rate = 10000,
        .keys = 20000,
        .seconds = 60,
    };
    errno = 0;
    options_parse(&attack->options, argv + (argc > 0));
    attack_init(attack);
    attack->now_ns = attack->start_ns = clock_now_ns();
    end_ns = attack->now_ns + attack->options.seconds * ns_per_second;
    while (!attack->stopped && attack->now_ns < end_ns)
        attack_turn(attack);
    attack_print(attack);
    attack_free(attack);
    free(attack);
    return 0;
}
