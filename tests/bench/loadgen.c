/*
 * loadgen: one bounded load on one server, every reply checked, the same code for every protocol.
 *
 *   next key -> request text -> sendmsg ~~> server ~~> recv -> head -> body (memcmp) -> tail -> tally
 *      ^                                                                                          |
 *      +------------- a connection asks its next batch when its last one is answered ------------+
 *
 * A batch is `depth` requests in one send; depth 1 is plain request and reply. The value of a key
 * is a window into one fixed text at an offset that depends on the key, so that a checked reply
 * costs one memcmp, a sent value costs no copy, and a value under the wrong key is noticed.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum {
    key_bytes = 16,
    depth_max = 256,
    connections_max = 100000,
    request_text_bytes_max = 256,  /* one request, its value left out */
    value_copied_bytes_max = 4096, /* a longer value is sent from where it stands */
    reply_head_bytes_max = 8192,
    inbox_bytes = 256 * 1024,           /* small enough to stay in the core's cache */
    pattern_offsets = 16 * 1024 * 1024, /* this many keys in a row have different values */
    complaints_max = 5,
    cpu_tasks_max = 64,
    events_max = 256,
    latency_steps = 128, /* per power of two: percentiles are right within 1 % */
    latency_slots = 64 * latency_steps,
};

static const uint64_t ns_per_second = 1000000000;
static const uint64_t value_bytes_limit = (uint64_t)1 << 30;

enum protocol { protocol_http, protocol_redis, protocol_memcached, protocol_count };
enum verb { verb_get, verb_set, verb_delete, verb_count };
enum op { op_get, op_set, op_mixed, op_fill, op_verify, op_delete, op_files, op_count };

static const char *const protocol_names[] = {"http", "redis", "memcached"};
static const char *const op_names[] = {"get", "set", "mixed", "fill", "verify", "delete", "files"};

struct options {
    uint64_t protocol, op;
    const char *address, *directory;
    uint64_t connections, idle, depth;
    uint64_t first, keys, stride;
    uint64_t value_bytes_min, value_bytes_max;
    uint64_t set_percent, requests, seed, cpu_pid, timeout_seconds, pause_us;
    double seconds, warmup_seconds;
    bool shared_value, allow_absent, allow_refused, cpu_each, spin;
};

/* What is sent around key, length and value. Without `between`'s length there is no value. */
struct wording {
    const char *before, *between, *after, *end;
};

static const struct wording wordings[protocol_count][verb_count] = {
    [protocol_http] =
        {
            [verb_get] = {"GET /", " HTTP/1.1\r\nHost: fog\r\n\r\n", NULL, NULL},
            [verb_set] = {"POST /", " HTTP/1.1\r\nHost: fog\r\nContent-Length: ", "\r\n\r\n", ""},
            [verb_delete] = {"DELETE /", " HTTP/1.1\r\nHost: fog\r\n\r\n", NULL, NULL},
        },
    [protocol_redis] =
        {
            [verb_get] = {"*2\r\n$3\r\nGET\r\n$16\r\n", "\r\n", NULL, NULL},
            [verb_set] = {"*3\r\n$3\r\nSET\r\n$16\r\n", "\r\n$", "\r\n", "\r\n"},
            [verb_delete] = {"*2\r\n$3\r\nDEL\r\n$16\r\n", "\r\n", NULL, NULL},
        },
    [protocol_memcached] =
        {
            [verb_get] = {"get ", "\r\n", NULL, NULL},
            [verb_set] = {"set ", " 0 0 ", "\r\n", "\r\n"},
            [verb_delete] = {"delete ", "\r\n", NULL, NULL},
        },
};

enum outcome { outcome_value, outcome_absent, outcome_done, outcome_refused, outcome_unexpected };

/* One reply as its head announces it. */
struct reply {
    enum outcome outcome;
    uint64_t body_bytes;
    const char *tail; /* what must follow the body */
    bool closes;      /* the server said that it closes after this one */
};

struct request {
    uint64_t index;
    enum verb verb;
};

enum stage { stage_head, stage_body, stage_tail };

struct conn {
    int fd;
    unsigned number, depth;
    bool waits_to_send, busy, greets, closing;
    uint64_t resume_ns; /* pauses until then; 0: does not */

    struct request *requests; /* the batch under way, `depth` of them */
    unsigned asked, answered;
    uint64_t start_ns;

    char *text; /* the batch's bytes save long values */
    size_t text_bytes;
    struct iovec *pieces;
    unsigned piece_count, piece_sent;
    bool piece_open; /* the last piece ends where `text` ends */

    enum stage stage;
    struct reply reply;
    uint64_t stage_done; /* bytes of this stage's body or tail that came */
    bool same;
    char *stash; /* the beginning of a reply head whose rest is still to come */
    size_t stash_bytes;
};

struct latency {
    uint64_t slots[latency_slots];
    uint64_t count, max_ns;
};

struct tally {
    uint64_t hits, absent, done, refused; /* as the server said, and rightly */
    uint64_t wrong;                       /* replies that were not right */
    uint64_t failed;                      /* requests and idle connections that were cut off */
    struct latency latency;
    struct latency cpu; /* server CPU from batch to batch, with cpu_each */
};

/* The CPU time of one process, all its threads. */
struct cpu_watch {
    int fds[cpu_tasks_max];
    unsigned count;
    bool in_ticks; /* no schedstat here: the coarser /proc/PID/stat */
};

struct load {
    const struct options *options;
    struct sockaddr_storage server;
    socklen_t server_bytes;
    int epoll_fd, signal_fd;
    struct conn *conns;
    size_t conn_count;
    char *pattern, *inbox;

    struct cpu_watch cpu;
    uint64_t cpu_last_ns;

    uint64_t random;
    uint64_t now_ns, phase_end_ns, phase_limit_ns;
    uint64_t requests_left, next_in_order;
    size_t busy, live;
    bool stopped, timed_out;
    unsigned complaints;
    struct tally tally;
};

/* ---- small things ---- */

static void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

static void die(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fputs("loadgen: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(2);
}

static void *memory_new(size_t count, size_t bytes)
{
    void *memory = calloc(count ? count : 1, bytes);

    if (!memory)
        die("out of memory");
    return memory;
}

static uint64_t clock_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * ns_per_second + (uint64_t)now.tv_nsec;
}

/* splitmix64: all bits of the answer depend on all bits of x. */
static uint64_t number_mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15U;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
    return x ^ (x >> 31);
}

/* Below `limit`, which is at most 2^32. */
static uint64_t load_random(struct load *load, uint64_t limit)
{
    load->random++;
    return ((number_mix(load->random) >> 32) * limit) >> 32;
}

/* Only the first few errors are told in words; all are counted. */
static void load_complain(struct load *load, const struct conn *conn, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void load_complain(struct load *load, const struct conn *conn, const char *format, ...)
{
    va_list args;

    if (load->complaints++ >= complaints_max)
        return;
    va_start(args, format);
    fprintf(stderr, "loadgen: connection %u: ", conn->number);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

/* ---- latency: counts in slots that grow with the value ---- */

static size_t latency_slot(uint64_t ns)
{
    unsigned shift = 0;

    if (ns >= latency_steps)
        shift = 63U - (unsigned)__builtin_clzll(ns) - 7U + 1U;
    if (shift == 0)
        return (size_t)ns;
    /* ns >> (shift - 1) is in [steps, 2 * steps) */
    return (size_t)(shift - 1) * latency_steps + (size_t)(ns >> (shift - 1));
}

/* The largest value that the slot holds. */
static uint64_t latency_slot_ns(size_t slot)
{
    size_t shift;

    if (slot < (size_t)2 * latency_steps)
        return slot;
    shift = slot / latency_steps - 1;
    return ((uint64_t)(slot % latency_steps + latency_steps + 1) << shift) - 1;
}

static void latency_add(struct latency *latency, uint64_t ns)
{
    latency->slots[latency_slot(ns)]++;
    latency->count++;
    if (ns > latency->max_ns)
        latency->max_ns = ns;
}

static double latency_us(const struct latency *latency, double share)
{
    uint64_t seen = 0;
    uint64_t wanted = (uint64_t)((double)latency->count * share);
    size_t slot = 0;

    while (slot < latency_slots - 1 && (seen += latency->slots[slot]) <= wanted)
        slot++;
    if (latency_slot_ns(slot) > latency->max_ns)
        return (double)latency->max_ns / 1e3;
    return (double)latency_slot_ns(slot) / 1e3;
}

static uint64_t latency_count_above(const struct latency *latency, uint64_t ns)
{
    uint64_t count = 0;

    for (size_t slot = latency_slot(ns) + 1; slot < latency_slots; slot++)
        count += latency->slots[slot];
    return count;
}

/* ---- the server's CPU time ---- */

static void cpu_watch_open(struct cpu_watch *watch, uint64_t pid)
{
    char path[320];
    DIR *tasks;
    const struct dirent *task;

    snprintf(path, sizeof(path), "/proc/%" PRIu64 "/task", pid);
    tasks = opendir(path);
    if (!tasks)
        die("no process %" PRIu64, pid);
    while ((task = readdir(tasks)) && watch->count < cpu_tasks_max) {
        if (task->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "/proc/%" PRIu64 "/task/%s/schedstat", pid, task->d_name);
        watch->fds[watch->count] = open(path, O_RDONLY | O_CLOEXEC);
        if (watch->fds[watch->count] >= 0)
            watch->count++;
    }
    closedir(tasks);
    if (watch->count > 0)
        return;
    snprintf(path, sizeof(path), "/proc/%" PRIu64 "/stat", pid);
    watch->fds[0] = open(path, O_RDONLY | O_CLOEXEC);
    watch->count = watch->fds[0] >= 0;
    watch->in_ticks = true;
}

/*
 * utime and stime are the 14th and 15th fields. The 2nd, the name, may hold spaces, but it ends in
 * the line's last ')'.
 */
static uint64_t cpu_stat_ns(const char *line)
{
    const char *at = strrchr(line, ')');
    uint64_t ticks;
    char *end;

    for (int field = 2; at && field < 14; field++)
        at = strchr(at + 1, ' ');
    if (!at)
        return 0;
    ticks = strtoull(at, &end, 10);
    ticks += strtoull(end, NULL, 10);
    return ticks * (ns_per_second / (uint64_t)sysconf(_SC_CLK_TCK));
}

static uint64_t cpu_watch_ns(const struct cpu_watch *watch)
{
    char line[1024];
    uint64_t sum = 0;

    for (unsigned i = 0; i < watch->count; i++) {
        ssize_t count = pread(watch->fds[i], line, sizeof(line) - 1, 0);

        line[count > 0 ? count : 0] = '\0';
        sum += watch->in_ticks ? cpu_stat_ns(line) : strtoull(line, NULL, 10);
    }
    return sum;
}

/* ---- keys and values ---- */

static void key_write(char *key, uint64_t index)
{
    static const char prefix[4] = {'k', 'e', 'y', '-'};
    static const char digits[] = "0123456789abcdef";

    memcpy(key, prefix, sizeof(prefix));
    for (size_t i = key_bytes - 1; i >= sizeof(prefix); i--) {
        key[i] = digits[index & 15];
        index >>= 4;
    }
}

static const char *value_of(const struct load *load, uint64_t index)
{
    return load->pattern + (load->options->shared_value ? 0 : index % pattern_offsets);
}

static uint64_t value_bytes_of(const struct options *options, uint64_t index)
{
    uint64_t spread = options->value_bytes_max - options->value_bytes_min + 1;

    if (spread == 1)
        return options->value_bytes_min;
    return options->value_bytes_min + number_mix(index) % spread;
}

/* Printable, so that a reply can be read and a value can stand in a configuration file. */
static char *pattern_new(const struct options *options)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint64_t last = options->first + options->keys * options->stride;
    uint64_t bytes = options->value_bytes_max + (last < pattern_offsets ? last : pattern_offsets);
    char *pattern = memory_new(bytes, 1);
    uint64_t bits = 0;

    for (uint64_t i = 0; i < bytes; i++) {
        if (i % 8 == 0)
            bits = number_mix(i);
        pattern[i] = letters[bits & 63];
        bits >>= 8;
    }
    return pattern;
}

/* ---- which request comes next ---- */

static bool op_in_order(uint64_t op)
{
    return op == op_fill || op == op_verify || op == op_delete;
}

static enum verb load_pick_verb(struct load *load)
{
    switch ((enum op)load->options->op) {
    case op_set:
    case op_fill:
        return verb_set;
    case op_delete:
        return verb_delete;
    case op_mixed:
        return load_random(load, 100) < load->options->set_percent ? verb_set : verb_get;
    case op_get:
    case op_verify:
    case op_files:
    case op_count:
        break;
    }
    return verb_get;
}

/* False when the phase has no more requests to give. */
static bool load_next(struct load *load, const struct conn *conn, struct request *request)
{
    const struct options *options = load->options;
    uint64_t place;

    if (load->requests_left == 0 || load->now_ns >= load->phase_end_ns || load->stopped)
        return false;
    load->requests_left--;
    request->verb = conn->greets ? verb_get : load_pick_verb(load);
    if (op_in_order(options->op) && !conn->greets)
        place = load->next_in_order++;
    else
        place = load_random(load, options->keys);
    request->index = options->first + place * options->stride;
    return true;
}

/* ---- a connection: opening and closing ---- */

static void conn_watch(const struct load *load, struct conn *conn, int action, bool to_send)
{
    struct epoll_event event = {.events = EPOLLIN | (to_send ? EPOLLOUT : 0U), .data.ptr = conn};

    conn->waits_to_send = to_send;
    if (epoll_ctl(load->epoll_fd, action, conn->fd, &event) != 0)
        die("epoll: %s", strerror(errno));
}

/* Connects while blocking, so that thousands are opened without a storm; then talks non-blocking. */
static void conn_open(struct load *load, struct conn *conn)
{
    int on = 1;

    conn->fd = socket(load->server.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (conn->fd < 0)
        die("socket: %s", strerror(errno));
    if (connect(conn->fd, (const struct sockaddr *)&load->server, load->server_bytes) != 0)
        die("connection %u to %s: %s", conn->number, load->options->address, strerror(errno));
    setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (fcntl(conn->fd, F_SETFL, O_NONBLOCK) != 0)
        die("fcntl: %s", strerror(errno));
    conn_watch(load, conn, EPOLL_CTL_ADD, false);
    load->live++;
}

static void conn_init(const struct load *load, struct conn *conn, unsigned number, bool greets)
{
    uint64_t copied = load->options->value_bytes_max;

    if (copied > value_copied_bytes_max)
        copied = value_copied_bytes_max;
    if (greets)
        copied = 0; /* it only GETs */
    conn->number = number;
    conn->greets = greets;
    conn->depth = greets ? 1 : (unsigned)load->options->depth;
    conn->requests = memory_new(conn->depth, sizeof(*conn->requests));
    conn->text = memory_new(conn->depth, request_text_bytes_max + copied);
    conn->pieces = memory_new(2 * (size_t)conn->depth + 1, sizeof(*conn->pieces));
}

static void conn_free(struct conn *conn)
{
    if (conn->fd >= 0)
        close(conn->fd);
    free(conn->requests);
    free(conn->text);
    free(conn->pieces);
    free(conn->stash);
}

static void conn_rest(struct load *load, struct conn *conn)
{
    if (conn->busy)
        load->busy--;
    conn->busy = false;
}

static void conn_close(struct load *load, struct conn *conn)
{
    conn_rest(load, conn);
    close(conn->fd);
    conn->fd = -1;
    conn->closing = false;
    conn->stage = stage_head;
    conn->stash_bytes = 0;
    conn->asked = conn->answered = 0;
    conn->piece_count = conn->piece_sent = 0;
    load->live--;
}

/* The connection is of no more use; what it still owed has failed. */
static void conn_fail(struct load *load, struct conn *conn, const char *why)
{
    unsigned missing = conn->asked - conn->answered;

    load_complain(load, conn, "%s, %u replies missing", why, missing);
    load->tally.failed += missing > 0 ? missing : 1;
    conn_close(load, conn);
}

/* ---- a connection: sending ---- */

static void conn_add_piece(struct conn *conn, const char *bytes, size_t count)
{
    /* An iovec's base is not const, though sendmsg only reads it. */
    const union {
        const void *read;
        void *base;
    } piece = {.read = bytes};

    assert(conn->piece_count < 2 * conn->depth + 1);
    conn->pieces[conn->piece_count].iov_base = piece.base;
    conn->pieces[conn->piece_count].iov_len = count;
    conn->piece_count++;
}

static void conn_add_text(struct conn *conn, const char *bytes, size_t count)
{
    char *end = conn->text + conn->text_bytes;

    memcpy(end, bytes, count);
    conn->text_bytes += count;
    if (conn->piece_open)
        conn->pieces[conn->piece_count - 1].iov_len += count;
    else
        conn_add_piece(conn, end, count);
    conn->piece_open = true;
}

static void conn_add_number(struct conn *conn, uint64_t number)
{
    char digits[20];
    size_t at = sizeof(digits);

    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    conn_add_text(conn, digits + at, sizeof(digits) - at);
}

static void conn_add_value(struct conn *conn, const char *value, uint64_t bytes)
{
    if (bytes <= value_copied_bytes_max) {
        conn_add_text(conn, value, bytes);
        return;
    }
    conn_add_piece(conn, value, bytes);
    conn->piece_open = false;
}

static void conn_add_request(const struct load *load, struct conn *conn,
                             const struct request *request)
{
    const struct wording *wording = &wordings[load->options->protocol][request->verb];
    uint64_t bytes;
    char key[key_bytes];

    key_write(key, request->index);
    conn_add_text(conn, wording->before, strlen(wording->before));
    conn_add_text(conn, key, sizeof(key));
    conn_add_text(conn, wording->between, strlen(wording->between));
    if (!wording->after)
        return;
    bytes = value_bytes_of(load->options, request->index);
    conn_add_number(conn, bytes);
    conn_add_text(conn, wording->after, strlen(wording->after));
    conn_add_value(conn, value_of(load, request->index), bytes);
    conn_add_text(conn, wording->end, strlen(wording->end));
}

static void conn_sent(struct conn *conn, size_t count)
{
    while (conn->piece_sent < conn->piece_count) {
        struct iovec *piece = &conn->pieces[conn->piece_sent];

        if (count < piece->iov_len) {
            piece->iov_base = (char *)piece->iov_base + count;
            piece->iov_len -= count;
            return;
        }
        count -= piece->iov_len;
        conn->piece_sent++;
    }
}

static void conn_send(struct load *load, struct conn *conn)
{
    bool full = false;

    while (conn->piece_sent < conn->piece_count && !full) {
        struct msghdr message = {
            .msg_iov = conn->pieces + conn->piece_sent,
            .msg_iovlen = conn->piece_count - conn->piece_sent,
        };
        ssize_t count = sendmsg(conn->fd, &message, MSG_NOSIGNAL);

        if (count >= 0)
            conn_sent(conn, (size_t)count);
        else if (errno == EAGAIN)
            full = true;
        else if (errno == EPIPE || errno == ECONNRESET)
            break; /* a last reply may wait to be read; reading finds the end */
        else if (errno != EINTR)
            die("send: %s", strerror(errno));
    }
    if (full != conn->waits_to_send)
        conn_watch(load, conn, EPOLL_CTL_MOD, full);
}

/* Asks the next batch; a connection that gets no request rests. */
static void conn_ask(struct load *load, struct conn *conn)
{
    conn->asked = conn->answered = 0;
    conn->text_bytes = 0;
    conn->piece_count = conn->piece_sent = 0;
    conn->piece_open = false;
    while (conn->asked < conn->depth && load_next(load, conn, &conn->requests[conn->asked])) {
        conn_add_request(load, conn, &conn->requests[conn->asked]);
        conn->asked++;
    }
    if (conn->asked == 0) {
        conn_rest(load, conn);
        return;
    }
    if (!conn->busy)
        load->busy++;
    conn->busy = true;
    conn->start_ns = load->now_ns;
    conn_send(load, conn);
}

/* ---- reply heads: each parser returns the head's bytes, 0 to wait for more, -1 for nonsense ---- */

static bool text_begins(const char *text, size_t count, const char *beginning)
{
    size_t length = strlen(beginning);

    return count >= length && memcmp(text, beginning, length) == 0;
}

/* Digits up to `stop`; false for anything else or for a number that no value has. */
static bool number_read(const char *text, const char *end, char stop, uint64_t *number)
{
    const char *at = text;

    *number = 0;
    while (at < end && *at >= '0' && *at <= '9' && *number <= value_bytes_limit)
        *number = *number * 10 + (uint64_t)(*at++ - '0');
    return at > text && at < end && *at == stop && *number <= value_bytes_limit;
}

/* The line's bytes with CR LF; 0 when its end is still to come. */
static size_t line_bytes(const char *text, size_t count)
{
    const char *end = memchr(text, '\n', count);

    if (!end)
        return 0;
    return (size_t)(end - text) + 1;
}

static const char *header_find(const char *line, size_t bytes, const char *name)
{
    size_t length = strlen(name);
    const char *at = line + length;

    if (bytes < length + 2 || strncasecmp(line, name, length) != 0)
        return NULL;
    while (at < line + bytes && *at == ' ')
        at++;
    return at;
}

/* One header line. False when it frames the body in a way that isn't checked here. */
static bool header_read(const char *line, size_t bytes, struct reply *reply, bool *has_length)
{
    const char *value;

    /* All three names begin with C or T: the others cost one comparison. */
    if ((line[0] | 32) != 'c' && (line[0] | 32) != 't')
        return true;
    value = header_find(line, bytes, "content-length:");
    if (value) {
        *has_length = true;
        return number_read(value, line + bytes, '\r', &reply->body_bytes);
    }
    value = header_find(line, bytes, "connection:");
    if (value && strncasecmp(value, "close", 5) == 0)
        reply->closes = true;
    return !header_find(line, bytes, "transfer-encoding:");
}

static enum outcome http_outcome(unsigned status, const struct reply *reply, enum verb verb)
{
    if (status == 200 && verb == verb_get)
        return outcome_value;
    if (status == 200 && reply->body_bytes == 0)
        return outcome_done;
    if (status == 204 && verb == verb_get)
        return outcome_absent;
    return status == 507 ? outcome_refused : outcome_unexpected;
}

static ssize_t http_read_head(const char *text, size_t count, const struct request *request,
                              struct reply *reply)
{
    uint64_t status;
    bool has_length = false;
    size_t at = line_bytes(text, count);

    if (at == 0)
        return 0;
    if (!text_begins(text, count, "HTTP/1.1 ") || !number_read(text + 9, text + at, ' ', &status))
        return -1;
    for (;;) {
        size_t bytes = line_bytes(text + at, count - at);

        if (bytes == 0)
            return 0;
        at += bytes;
        if (bytes == 2 && text[at - 2] == '\r')
            break;
        if (!header_read(text + at - bytes, bytes, reply, &has_length))
            return -1;
    }
    if (status == 204)
        reply->body_bytes = 0;
    else if (!has_length)
        return -1;
    reply->outcome = http_outcome((unsigned)status, reply, request->verb);
    return (ssize_t)at;
}

static ssize_t redis_read_head(const char *text, size_t count, const struct request *request,
                               struct reply *reply)
{
    size_t bytes = line_bytes(text, count);

    if (bytes == 0)
        return 0;
    if (text[0] == '$' && text_begins(text, bytes, "$-1\r\n")) {
        reply->outcome = outcome_absent;
    } else if (text[0] == '$') {
        reply->outcome = outcome_value;
        reply->tail = "\r\n";
        if (!number_read(text + 1, text + bytes, '\r', &reply->body_bytes))
            return -1;
    } else if (text_begins(text, bytes, "-OOM ")) {
        reply->outcome = outcome_refused;
    } else if (text_begins(text, bytes, request->verb == verb_set ? "+OK\r\n" : ":")) {
        reply->outcome = outcome_done;
    } else if (text[0] != '-' && text[0] != '+' && text[0] != ':') {
        return -1;
    }
    return (ssize_t)bytes;
}

/* VALUE key flags bytes */
static bool memcached_read_value(const char *text, size_t bytes, const struct request *request,
                                 struct reply *reply)
{
    char expected[6 + key_bytes + 3];

    memcpy(expected, "VALUE ", 6);
    key_write(expected + 6, request->index);
    memcpy(expected + 6 + key_bytes, " 0 ", 3);
    reply->outcome = outcome_value;
    reply->tail = "\r\nEND\r\n";
    return bytes > sizeof(expected) && memcmp(text, expected, sizeof(expected)) == 0 &&
           number_read(text + sizeof(expected), text + bytes, '\r', &reply->body_bytes);
}

static ssize_t memcached_read_head(const char *text, size_t count, const struct request *request,
                                   struct reply *reply)
{
    size_t bytes = line_bytes(text, count);

    if (bytes == 0)
        return 0;
    if (text_begins(text, bytes, "VALUE "))
        return memcached_read_value(text, bytes, request, reply) ? (ssize_t)bytes : -1;
    if (text_begins(text, bytes, "END\r\n"))
        reply->outcome = outcome_absent;
    else if (text_begins(text, bytes, request->verb == verb_set ? "STORED\r\n" : "DELETED\r\n") ||
             text_begins(text, bytes, "NOT_FOUND\r\n"))
        reply->outcome = request->verb == verb_get ? outcome_unexpected : outcome_done;
    else if (text_begins(text, bytes, "SERVER_ERROR out of memory"))
        reply->outcome = outcome_refused;
    return (ssize_t)bytes;
}

static ssize_t head_read(const struct load *load, const char *text, size_t count,
                         const struct request *request, struct reply *reply)
{
    *reply = (struct reply){.outcome = outcome_unexpected, .tail = ""};
    switch ((enum protocol)load->options->protocol) {
    case protocol_http:
        return http_read_head(text, count, request, reply);
    case protocol_redis:
        return redis_read_head(text, count, request, reply);
    case protocol_memcached:
        return memcached_read_head(text, count, request, reply);
    case protocol_count:
        break;
    }
    return -1;
}

/* ---- a connection: receiving and checking ---- */

static bool reply_is_right(const struct load *load, const struct conn *conn, enum verb verb)
{
    switch (conn->reply.outcome) {
    case outcome_value:
        return verb == verb_get && conn->same;
    case outcome_absent:
        return verb == verb_get && load->options->allow_absent;
    case outcome_done:
        return verb != verb_get;
    case outcome_refused:
        /* also to a DELETE: the mark of a key that never was takes memory, too */
        return verb != verb_get && load->options->allow_refused;
    case outcome_unexpected:
        break;
    }
    return false;
}

static void tally_add(struct tally *tally, enum outcome outcome, bool right)
{
    if (!right)
        tally->wrong++;
    else if (outcome == outcome_value)
        tally->hits++;
    else if (outcome == outcome_absent)
        tally->absent++;
    else if (outcome == outcome_done)
        tally->done++;
    else if (outcome == outcome_refused)
        tally->refused++;
}

/* What went wrong stays counted. */
static void tally_restart(struct tally *tally)
{
    uint64_t wrong = tally->wrong;
    uint64_t failed = tally->failed;

    memset(tally, 0, sizeof(*tally));
    tally->wrong = wrong;
    tally->failed = failed;
}

static void conn_answered(struct load *load, struct conn *conn)
{
    static const char *const verb_names[] = {"GET", "SET", "DELETE"};
    static const char *const outcome_names[] = {"a value", "absent", "done", "refused",
                                                "an unexpected reply"};
    const struct request *request = &conn->requests[conn->answered];
    bool right = reply_is_right(load, conn, request->verb);

    if (!right)
        load_complain(load, conn, "wrong reply to %s of key %" PRIu64 ": %s, %" PRIu64 " bytes%s",
                      verb_names[request->verb], request->index, outcome_names[conn->reply.outcome],
                      conn->reply.body_bytes, conn->same ? "" : ", not the bytes that were set");
    tally_add(&load->tally, conn->reply.outcome, right);
    latency_add(&load->tally.latency, load->now_ns - conn->start_ns);
    conn->answered++;
    conn->closing = conn->reply.closes;
    conn->stage = stage_head;
}

static ssize_t conn_read_head(struct load *load, struct conn *conn, const char *data, size_t count)
{
    const struct request *request = &conn->requests[conn->answered];
    ssize_t used = head_read(load, data, count, request, &conn->reply);

    if (used <= 0)
        return count >= reply_head_bytes_max ? -1 : used;
    conn->same = conn->reply.outcome != outcome_value ||
                 conn->reply.body_bytes == value_bytes_of(load->options, request->index);
    conn->stage = stage_body;
    conn->stage_done = 0;
    return used;
}

static size_t conn_read_body(const struct load *load, struct conn *conn, const char *data,
                             size_t count)
{
    const char *expected = value_of(load, conn->requests[conn->answered].index);
    uint64_t left = conn->reply.body_bytes - conn->stage_done;
    size_t used = count < left ? count : (size_t)left;

    /* `same` is false when the lengths differ, so this never reads past the expected value. */
    if (conn->reply.outcome == outcome_value && conn->same)
        conn->same = memcmp(data, expected + conn->stage_done, used) == 0;
    conn->stage_done += used;
    if (used == left) {
        conn->stage = stage_tail;
        conn->stage_done = 0;
    }
    return used;
}

static ssize_t conn_read_tail(struct load *load, struct conn *conn, const char *data, size_t count)
{
    const char *expected = conn->reply.tail + conn->stage_done;
    size_t left = strlen(expected);
    size_t used = count < left ? count : left;

    if (memcmp(data, expected, used) != 0)
        return -1;
    conn->stage_done += used;
    if (used == left)
        conn_answered(load, conn);
    return (ssize_t)used;
}

/* One reply, or what is there of it: the bytes used, 0 to wait for more, -1 for nonsense. */
static ssize_t conn_read_reply(struct load *load, struct conn *conn, const char *data, size_t count)
{
    ssize_t used;
    size_t at = 0;

    if (conn->stage == stage_head) {
        used = conn_read_head(load, conn, data, count);
        if (used <= 0)
            return used;
        at = (size_t)used;
    }
    if (conn->stage == stage_body)
        at += conn_read_body(load, conn, data + at, count - at);
    if (conn->stage == stage_tail) {
        used = conn_read_tail(load, conn, data + at, count - at);
        if (used < 0)
            return -1;
        at += (size_t)used;
    }
    return (ssize_t)at;
}

/* All replies that are there: the bytes used, -1 for nonsense. */
static ssize_t conn_read(struct load *load, struct conn *conn, const char *data, size_t count)
{
    size_t at = 0;

    while (at < count && conn->answered < conn->asked && !conn->closing) {
        ssize_t used = conn_read_reply(load, conn, data + at, count - at);

        if (used < 0)
            return -1;
        if (used == 0)
            break;
        at += (size_t)used;
    }
    return (ssize_t)at;
}

/* The rest of an unfinished head waits outside the shared inbox. */
static void conn_stash(struct conn *conn, const char *data, size_t count)
{
    assert(count < reply_head_bytes_max);
    if (count > 0 && !conn->stash)
        conn->stash = memory_new(reply_head_bytes_max, 1);
    if (count > 0)
        memcpy(conn->stash, data, count);
    conn->stash_bytes = count;
}

static void load_sample_cpu(struct load *load)
{
    uint64_t now_ns = cpu_watch_ns(&load->cpu);

    latency_add(&load->tally.cpu, now_ns - load->cpu_last_ns);
    load->cpu_last_ns = now_ns;
}

/* After new replies: the next batch, a new connection when the server closes this one, or nothing. */
static void conn_go_on(struct load *load, struct conn *conn)
{
    if (conn->closing) {
        load->tally.failed += conn->asked - conn->answered;
        conn_close(load, conn);
        conn_open(load, conn);
        conn_ask(load, conn);
        return;
    }
    /* A reply may come before its request is all sent (a refusal): its rest must go out first. */
    if (conn->answered < conn->asked || conn->piece_sent < conn->piece_count)
        return;
    if (load->options->cpu_each)
        load_sample_cpu(load);
    if (load->options->pause_us > 0)
        conn->resume_ns = load->now_ns + load->options->pause_us * 1000;
    else
        conn_ask(load, conn);
}

static void conn_receive(struct load *load, struct conn *conn)
{
    size_t held = conn->stash_bytes;
    ssize_t count = recv(conn->fd, load->inbox + held, inbox_bytes, 0);
    ssize_t used;

    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (count <= 0) {
        conn_fail(load, conn, count == 0 ? "closed by the server" : strerror(errno));
        return;
    }
    if (held > 0)
        memcpy(load->inbox, conn->stash, held);
    load->now_ns = clock_now_ns();
    count += (ssize_t)held;
    used = conn_read(load, conn, load->inbox, (size_t)count);
    if (used < 0 || (used < count && conn->answered == conn->asked && !conn->closing)) {
        conn_fail(load, conn,
                  used < 0 ? "a reply that makes no sense" : "more replies than requests");
        return;
    }
    conn_stash(conn, load->inbox + used, conn->closing ? 0 : (size_t)(count - used));
    if (conn->busy)
        conn_go_on(load, conn);
}

/* ---- a phase: from rest to rest ---- */

static void load_dispatch(struct load *load, const struct epoll_event *event)
{
    struct conn *conn = event->data.ptr;

    if (!conn) { /* the signal: finish what is under way, then report */
        load->stopped = true;
        epoll_ctl(load->epoll_fd, EPOLL_CTL_DEL, load->signal_fd, NULL);
        return;
    }
    if (event->events & EPOLLOUT) {
        conn_send(load, conn);
        if (conn->busy && conn->answered == conn->asked)
            conn_go_on(load, conn);
    }
    if (conn->fd >= 0 && (event->events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        conn_receive(load, conn);
}

/* Those whose pause is over ask; returns how long it is to the end of the next one, `wait_ns` at most. */
static uint64_t load_resume(struct load *load, uint64_t wait_ns)
{
    if (load->options->pause_us == 0)
        return wait_ns;
    for (size_t i = 0; i < load->options->connections; i++) {
        struct conn *conn = &load->conns[i];

        if (conn->resume_ns == 0 || !conn->busy)
            continue;
        load->now_ns = clock_now_ns();
        if (conn->resume_ns <= load->now_ns) {
            conn->resume_ns = 0;
            conn_ask(load, conn);
        } else if (conn->resume_ns - load->now_ns < wait_ns) {
            wait_ns = conn->resume_ns - load->now_ns;
        }
    }
    return load->busy > 0 ? wait_ns : 0;
}

static void load_turn(struct load *load, int wait_ms)
{
    struct epoll_event events[events_max];
    uint64_t wait_ns = load_resume(load, (uint64_t)wait_ms * 1000000);
    struct timespec wait = {.tv_nsec = load->options->spin ? 0 : (long)wait_ns};
    int count = epoll_pwait2(load->epoll_fd, events, events_max, &wait, NULL);

    load->now_ns = clock_now_ns();
    for (int i = 0; i < count; i++)
        load_dispatch(load, &events[i]);
}

/* Runs conns [from, to) until the time or the requests are used up AND all replies are there. */
static void load_run(struct load *load, size_t from, size_t to, double seconds, uint64_t requests)
{
    load->now_ns = clock_now_ns();
    load->phase_end_ns = load->now_ns + (uint64_t)(seconds * 1e9);
    load->phase_limit_ns = load->phase_end_ns + load->options->timeout_seconds * ns_per_second;
    load->requests_left = requests;
    for (size_t i = from; i < to; i++) {
        load->now_ns = clock_now_ns();
        if (load->conns[i].fd >= 0)
            conn_ask(load, &load->conns[i]);
    }
    while (load->busy > 0 && !load->timed_out) {
        load_turn(load, 100);
        load->timed_out = load->now_ns > load->phase_limit_ns;
    }
    if (!load->timed_out)
        return;
    for (size_t i = from; i < to; i++)
        if (load->conns[i].busy)
            conn_fail(load, &load->conns[i], "no answer in time");
}

/* Holds the idle connections; all that can happen to them is to be closed. */
static void load_hold(struct load *load)
{
    uint64_t end_ns = clock_now_ns() + (uint64_t)(load->options->seconds * 1e9);

    while (load->live > 0 && !load->stopped && clock_now_ns() < end_ns)
        load_turn(load, 100);
}

/* ---- setting up, reporting ---- */

static void load_find_server(struct load *load)
{
    char host[256];
    const char *address = load->options->address;
    const char *colon = strrchr(address, ':');
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found;
    int error;

    if (!colon || (size_t)(colon - address) >= sizeof(host))
        die("--address is HOST:PORT, not '%s'", address);
    if (address[0] == '[' && colon > address + 1 && colon[-1] == ']')
        snprintf(host, sizeof(host), "%.*s", (int)(colon - address) - 2, address + 1);
    else
        snprintf(host, sizeof(host), "%.*s", (int)(colon - address), address);
    error = getaddrinfo(host, colon + 1, &hints, &found);
    if (error)
        die("%s: %s", address, gai_strerror(error));
    memcpy(&load->server, found->ai_addr, found->ai_addrlen);
    load->server_bytes = found->ai_addrlen;
    freeaddrinfo(found);
}

static void limits_raise(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static void load_watch_signals(struct load *load)
{
    struct epoll_event event = {.events = EPOLLIN};
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    load->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC);
    if (load->signal_fd < 0 ||
        epoll_ctl(load->epoll_fd, EPOLL_CTL_ADD, load->signal_fd, &event) != 0)
        die("signals: %s", strerror(errno));
}

static void load_init(struct load *load, const struct options *options)
{
    load->options = options;
    load->random = number_mix(options->seed);
    load->pattern = pattern_new(options);
    if (options->op == op_files)
        return;
    load->inbox = memory_new(reply_head_bytes_max + inbox_bytes, 1);
    load->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (load->epoll_fd < 0)
        die("epoll: %s", strerror(errno));
    limits_raise();
    load_find_server(load);
    load_watch_signals(load);
    if (options->cpu_pid)
        cpu_watch_open(&load->cpu, options->cpu_pid);
    load->conn_count = options->connections + options->idle;
    load->conns = memory_new(load->conn_count, sizeof(*load->conns));
    for (size_t i = 0; i < load->conn_count; i++) {
        conn_init(load, &load->conns[i], (unsigned)i, i >= options->connections);
        conn_open(load, &load->conns[i]);
    }
}

static void load_free(struct load *load)
{
    for (size_t i = 0; i < load->conn_count; i++)
        conn_free(&load->conns[i]);
    for (unsigned i = 0; i < load->cpu.count; i++)
        close(load->cpu.fds[i]);
    free(load->conns);
    free(load->pattern);
    free(load->inbox);
    free(load);
}

static void latency_print(const char *name, const struct latency *latency)
{
    printf(" %sp50_us=%.1f %sp99_us=%.1f %sp999_us=%.1f %smax_us=%.1f", name,
           latency_us(latency, 0.5), name, latency_us(latency, 0.99), name,
           latency_us(latency, 0.999), name, (double)latency->max_ns / 1e3);
}

static void load_print(const struct load *load, uint64_t elapsed_ns, uint64_t cpu_ns)
{
    const struct options *options = load->options;
    const struct tally *tally = &load->tally;
    double requests = (double)tally->latency.count;
    double seconds = (double)elapsed_ns / 1e9;

    printf("protocol=%s op=%s connections=%" PRIu64 " idle=%" PRIu64 " depth=%" PRIu64
           " keys=%" PRIu64,
           protocol_names[options->protocol], op_names[options->op], options->connections,
           options->idle, options->depth, options->keys);
    printf(" value_bytes=%" PRIu64 " requests=%.0f seconds=%.6f requests_per_second=%.0f",
           options->value_bytes_max, requests, seconds, seconds > 0 ? requests / seconds : 0);
    latency_print("", &tally->latency);
    printf(" hits=%" PRIu64 " absent=%" PRIu64 " done=%" PRIu64 " refused=%" PRIu64
           " wrong=%" PRIu64 " failed=%" PRIu64,
           tally->hits, tally->absent, tally->done, tally->refused, tally->wrong, tally->failed);
    if (options->cpu_pid)
        printf(" cpu_clock=%s cpu_seconds=%.6f cpu_us_per_request=%.4f",
               load->cpu.in_ticks ? "ticks" : "ns", (double)cpu_ns / 1e9,
               requests > 0 ? (double)cpu_ns / 1e3 / requests : 0);
    if (options->cpu_each) {
        latency_print("cpu_batch_", &tally->cpu);
        printf(" cpu_batch_above_1ms=%" PRIu64,
               latency_count_above(&tally->cpu, ns_per_second / 1000));
    }
    printf("\n");
}

/* The idle ones ask once each, so that they have been in use before they rest. */
static void load_greet(struct load *load)
{
    const struct options *options = load->options;

    if (options->idle == 0)
        return;
    load_run(load, options->connections, load->conn_count, (double)options->timeout_seconds,
             options->idle);
    printf("idle_ready=%zu wrong=%" PRIu64 " failed=%" PRIu64 "\n",
           load->live - options->connections, load->tally.wrong, load->tally.failed);
    fflush(stdout);
}

static void load_warm(struct load *load)
{
    if (load->options->warmup_seconds > 0 && !op_in_order(load->options->op))
        load_run(load, 0, load->options->connections, load->options->warmup_seconds, UINT64_MAX);
}

/* The measured phase begins and ends at rest, so that its CPU time is that of its requests. */
static void load_measure(struct load *load)
{
    const struct options *options = load->options;
    bool in_order = op_in_order(options->op);
    uint64_t requests = in_order            ? options->keys
                        : options->requests ? options->requests
                                            : UINT64_MAX;
    bool counted = requests != UINT64_MAX;
    uint64_t start_ns;
    uint64_t cpu_ns;

    tally_restart(&load->tally);
    cpu_ns = load->cpu_last_ns = cpu_watch_ns(&load->cpu);
    start_ns = clock_now_ns();
    load_run(load, 0, options->connections,
             counted ? (double)options->timeout_seconds : options->seconds, requests);
    if (options->connections == 0)
        load_hold(load);
    cpu_ns = cpu_watch_ns(&load->cpu) - cpu_ns;
    if (counted && load->requests_left > 0 && load->live > 0 && !load->stopped) {
        fprintf(stderr, "loadgen: %" PRIu64 " requests were not sent in time\n",
                load->requests_left);
        load->tally.failed += load->requests_left;
    }
    load_print(load, clock_now_ns() - start_ns, cpu_ns);
}

/* Each key's value in a file of its name, for a server of files. */
static void load_write_files(const struct load *load)
{
    const struct options *options = load->options;
    char path[4096];
    char key[key_bytes + 1] = {0};

    for (uint64_t i = 0; i < options->keys; i++) {
        uint64_t index = options->first + i * options->stride;
        size_t bytes = (size_t)value_bytes_of(options, index);
        FILE *file;

        key_write(key, index);
        snprintf(path, sizeof(path), "%s/%s", options->directory, key);
        file = fopen(path, "we");
        if (!file || fwrite(value_of(load, index), 1, bytes, file) != bytes || fclose(file) != 0)
            die("%s: %s", path, strerror(errno));
    }
}

/* ---- options ---- */

static const char usage[] =
    "usage: loadgen --address HOST:PORT [options]\n"
    "  --protocol http|redis|memcached   (http)\n"
    "  --op OP            get, set, mixed: random keys, for --seconds or --requests\n"
    "                     fill, verify, delete: set, get, delete each key once, in order\n"
    "                     files: write each value to a file of its key's name in --directory\n"
    "  --connections N    (64); 0 with --idle only holds those, until --seconds or SIGTERM\n"
    "  --idle N           more connections, which ask once and then rest (0)\n"
    "  --depth N          requests a batch and connection (1)\n"
    "  --keys N           (100000)   --first N     number of the first key (0)\n"
    "  --stride N         (1): each Nth key\n"
    "  --value-bytes N    (100), or MIN-MAX: a length that depends on the key\n"
    "  --shared-value     all keys have the first key's value\n"
    "  --set-percent N    of mixed (10)\n"
    "  --seconds S        (5)        --requests N  stop after so many\n"
    "  --warmup S         the same load before, not counted (0)\n"
    "  --pause-us N       rest so long after each batch of a connection (0)\n"
    "  --timeout S        give up on replies, and on counted runs, after (600)\n"
    "  --seed N           of the order of keys (1)\n"
    "  --allow-absent     a GET may find nothing\n"
    "  --allow-refused    a SET or DELETE may find memory full\n"
    "  --cpu-pid PID      report the CPU time of that process, all threads\n"
    "  --cpu-each         and its distribution from batch to batch (one connection)\n"
    "  --spin             poll without sleeping\n"
    "Prints one line of name=value. Exit: 0, 1 when a reply was wrong or missing, 2 for bad usage "
    "or no server.\n";

struct number_option {
    const char *name;
    size_t offset;
    uint64_t min, max;
};

static const struct number_option number_options[] = {
    {"--connections", offsetof(struct options, connections), 0, connections_max},
    {"--idle", offsetof(struct options, idle), 0, connections_max},
    {"--depth", offsetof(struct options, depth), 1, depth_max},
    {"--first", offsetof(struct options, first), 0, (uint64_t)1 << 40},
    {"--keys", offsetof(struct options, keys), 1, (uint64_t)1 << 32}, /* load_random's limit */
    {"--stride", offsetof(struct options, stride), 1, 1000000},
    {"--set-percent", offsetof(struct options, set_percent), 0, 100},
    {"--requests", offsetof(struct options, requests), 1, (uint64_t)1 << 40},
    {"--seed", offsetof(struct options, seed), 0, UINT64_MAX},
    {"--cpu-pid", offsetof(struct options, cpu_pid), 1, INT32_MAX},
    {"--timeout", offsetof(struct options, timeout_seconds), 1, 86400},
    {"--pause-us", offsetof(struct options, pause_us), 0, 1000000},
};

struct flag_option {
    const char *name;
    size_t offset;
};

static const struct flag_option flag_options[] = {
    {"--shared-value", offsetof(struct options, shared_value)},
    {"--allow-absent", offsetof(struct options, allow_absent)},
    {"--allow-refused", offsetof(struct options, allow_refused)},
    {"--cpu-each", offsetof(struct options, cpu_each)},
    {"--spin", offsetof(struct options, spin)},
};

static uint64_t number_parse(const char *name, const char *text, uint64_t min, uint64_t max)
{
    char *end;
    uint64_t number;

    errno = 0;
    number = strtoull(text, &end, 10);
    if (errno || *text < '0' || *text > '9' || *end || number < min || number > max)
        die("%s takes a number from %" PRIu64 " to %" PRIu64 ", not '%s'", name, min, max, text);
    return number;
}

static double seconds_parse(const char *name, const char *text)
{
    char *end;
    double seconds = strtod(text, &end);

    if (end == text || *end || !(seconds >= 0 && seconds <= 86400))
        die("%s takes seconds, not '%s'", name, text);
    return seconds;
}

static uint64_t choice_parse(const char *name, const char *text, const char *const *names,
                             size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(text, names[i]) == 0)
            return i;
    die("%s: unknown '%s'", name, text);
}

static void value_bytes_parse(struct options *options, const char *text)
{
    char low[32];
    const char *dash = strchr(text, '-');

    snprintf(low, sizeof(low), "%.*s", (int)(dash ? dash - text : 31), text);
    options->value_bytes_min = number_parse("--value-bytes", low, 0, value_bytes_limit);
    options->value_bytes_max = options->value_bytes_min;
    if (dash)
        options->value_bytes_max =
            number_parse("--value-bytes", dash + 1, options->value_bytes_min, value_bytes_limit);
}

static bool flag_parse(struct options *options, const char *name)
{
    for (size_t i = 0; i < sizeof(flag_options) / sizeof(*flag_options); i++) {
        if (strcmp(name, flag_options[i].name) == 0) {
            *(bool *)((char *)options + flag_options[i].offset) = true;
            return true;
        }
    }
    return false;
}

static bool number_option_parse(struct options *options, const char *name, const char *text)
{
    for (size_t i = 0; i < sizeof(number_options) / sizeof(*number_options); i++) {
        const struct number_option *option = &number_options[i];

        if (strcmp(name, option->name) == 0) {
            *(uint64_t *)(void *)((char *)options + option->offset) =
                number_parse(name, text, option->min, option->max);
            return true;
        }
    }
    return false;
}

static void option_parse(struct options *options, const char *name, const char *text)
{
    if (strcmp(name, "--address") == 0)
        options->address = text;
    else if (strcmp(name, "--directory") == 0)
        options->directory = text;
    else if (strcmp(name, "--protocol") == 0)
        options->protocol = choice_parse(name, text, protocol_names, protocol_count);
    else if (strcmp(name, "--op") == 0)
        options->op = choice_parse(name, text, op_names, op_count);
    else if (strcmp(name, "--seconds") == 0)
        options->seconds = seconds_parse(name, text);
    else if (strcmp(name, "--warmup") == 0)
        options->warmup_seconds = seconds_parse(name, text);
    else if (strcmp(name, "--value-bytes") == 0)
        value_bytes_parse(options, text);
    else if (!number_option_parse(options, name, text))
        die("unknown option '%s'; see --help", name);
}

static void options_check(const struct options *options)
{
    if (options->op == op_files) {
        if (!options->directory)
            die("--op files needs --directory");
        return;
    }
    if (!options->address)
        die("--address is missing; see --help");
    if (options->connections + options->idle == 0)
        die("no connections at all");
    if (options->cpu_each && !options->cpu_pid)
        die("--cpu-each needs --cpu-pid");
}

static void options_parse(struct options *options, char **args)
{
    for (; *args; args++) {
        if (strcmp(*args, "--help") == 0) {
            fputs(usage, stdout);
            exit(0);
        }
        if (flag_parse(options, *args))
            continue;
        if (!args[1])
            die("%s: unknown, or its value is missing; see --help", *args);
        option_parse(options, args[0], args[1]);
        args++;
    }
    options_check(options);
}

int main(int argc, char **argv)
{
    struct options options = {
        .connections = 64,
        .depth = 1,
        .keys = 100000,
        .stride = 1,
        .value_bytes_min = 100,
        .value_bytes_max = 100,
        .set_percent = 10,
        .seed = 1,
        .seconds = 5,
        .timeout_seconds = 600,
    };
    struct load *load = memory_new(1, sizeof(*load));
    bool wrong;

    options_parse(&options, argv + (argc > 0));
    load_init(load, &options);
    if (options.op == op_files) {
        load_write_files(load);
    } else {
        load_greet(load);
        load_warm(load);
        load_measure(load);
    }
    wrong = load->tally.wrong + load->tally.failed > 0;
    load_free(load);
    return wrong ? 1 : 0;
}
