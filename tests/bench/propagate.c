/* How soon a write is seen on another node: writes through one server, then polls another until the new value is there.
 *
 *   propagate http|redis WRITER_PORT READER_PORT COUNT [RATE]
 *
 * Both on 127.0.0.1. With a RATE, another process writes so many other keys a second through the first server meanwhile, over
 * 8 connections, what is due every 0.5 ms. Prints percentiles, in µs, of the time from the write's answer, and from its sending, to the answer that
 * has the new value; and how many polls it took. The method is the same for both protocols, so compare within one run. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    REPLY_BYTES = 4096,
    POLLS_MAX = 1000000,
    COUNT_MAX = 1000000,
    RATE_MAX = 1000000, /* writes a second */
    RATE_CONNECTIONS = 8,
    RATE_KEYS = 100000,
    RATE_TICK_NS = 500000,
    RATE_REQUEST_BYTES_MAX = 256,
    RATE_UNANSWERED_MAX = 2000, /* so that it never sends to a server that waits for it to read */
    HTTP_ANSWER_LINES = 6,
};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static int dial(const char *port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0)
        fail("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

/* Whether a reply is whole: enough for answers of a few bytes. */
static bool is_whole(const char *reply, size_t bytes, bool http)
{
    if (http) {
        const char *end = memmem(reply, bytes, "\r\n\r\n", 4);
        const char *length = memmem(reply, bytes, "Content-Length: ", 16);
        if (!end)
            return false;
        size_t body = length && length < end ? (size_t)atoi(length + 16) : 0;
        return bytes >= (size_t)(end - reply) + 4 + body;
    }
    if (reply[0] != '$')
        return bytes > 2 && reply[bytes - 1] == '\n';
    long body = atol(reply + 1);
    const char *line = memchr(reply, '\n', bytes);
    return line && (body < 0 || bytes >= (size_t)(line - reply) + 1 + (size_t)body + 2);
}

static void ask(int fd, const char *request, size_t bytes, bool http, char reply[REPLY_BYTES])
{
    size_t have = 0;
    if (send(fd, request, bytes, 0) != (ssize_t)bytes)
        fail("send");
    do {
        ssize_t got = recv(fd, reply + have, REPLY_BYTES - 1 - have, 0);
        if (got <= 0)
            fail("recv");
        have += (size_t)got;
        reply[have] = 0;
    } while (!is_whole(reply, have, http));
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void show(const char *what, uint64_t *values, unsigned count, double unit)
{
    size_t middle = count / 2, high = (size_t)count * 99 / 100;
    qsort(values, count, sizeof *values, compare);
    printf("%s p50 %.1f p99 %.1f max %.1f\n", what, (double)values[middle] / unit,
           (double)values[high] / unit, (double)values[count - 1] / unit);
}

static int write_request(char *out, size_t room, bool http, const char *key, const char *value)
{
    if (http)
        return snprintf(out, room, "PUT /%s HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n%s",
                        key, value);
    return snprintf(out, room, "*3\r\n$3\r\nSET\r\n$%zu\r\n%s\r\n$100\r\n%s\r\n", strlen(key), key,
                    value);
}

/* The background */

static void sleep_until(uint64_t ns)
{
    struct timespec at = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
}

/* Answers are only counted: their lines. */
static uint64_t take_lines(int fd)
{
    static char bytes[256 * 1024];
    uint64_t lines = 0;
    ssize_t got = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (got == 0)
        fail("the background's connection ended");
    for (ssize_t i = 0; i < got; i++)
        lines += bytes[i] == '\n';
    return lines;
}

/* Writes until it is told to stop (SIGTERM ends it); then one line on how much that was. */
static volatile sig_atomic_t told_to_stop;

static void on_stop(int number)
{
    (void)number;
    told_to_stop = 1;
}

static void background(const char *port, bool http, unsigned rate)
{
    static char text[RATE_MAX / 2000 + 1][RATE_REQUEST_BYTES_MAX];
    static char batch[sizeof text];
    char key[32], value[101];
    int fds[RATE_CONNECTIONS];
    uint64_t begun = now_ns(), sent = 0, lines = 0, each = http ? HTTP_ANSWER_LINES : 1;
    signal(SIGTERM, on_stop);
    memset(value, 'v', 100);
    value[100] = 0;
    for (int i = 0; i < RATE_CONNECTIONS; i++)
        fds[i] = dial(port);
    for (uint64_t tick = 1; !told_to_stop; tick++) {
        sleep_until(begun + tick * RATE_TICK_NS);
        uint64_t due = (now_ns() - begun) * rate / 1000000000u - sent;
        size_t bytes = 0;
        due = due < RATE_MAX / 2000 ? due : RATE_MAX / 2000;
        if (sent + due > lines / each + RATE_UNANSWERED_MAX)
            due = 0;
        for (uint64_t i = 0; i < due; i++, sent++) {
            snprintf(key, sizeof key, "key:%012u", (unsigned)(sent * 7919 % RATE_KEYS));
            bytes += (size_t)write_request(batch + bytes, sizeof batch - bytes, http, key, value);
        }
        if (bytes && send(fds[tick % RATE_CONNECTIONS], batch, bytes, 0) != (ssize_t)bytes)
            fail("the background's send");
        for (int i = 0; i < RATE_CONNECTIONS; i++)
            lines += take_lines(fds[i]);
    }
    uint64_t answered = lines / each;
    printf("background: %.0f writes/s answered of %u\n",
           (double)answered * 1e9 / (double)(now_ns() - begun), rate);
    fflush(stdout);
    _exit(0);
}

static pid_t background_start(const char *port, bool http, unsigned rate)
{
    if (!rate)
        return 0;
    pid_t parent = getpid(), child = fork();
    if (child < 0)
        fail("fork");
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent)
            background(port, http, rate);
        _exit(1);
    }
    usleep(300 * 1000); /* until it is under way */
    return child;
}

static void background_stop(pid_t child)
{
    int status = 1;
    if (child &&
        (kill(child, SIGTERM) != 0 || waitpid(child, &status, 0) != child || status != 0)) {
        fprintf(stderr, "the background load failed\n");
        exit(1);
    }
}

/* The measurement */

struct times {
    uint64_t *answered, *sent, *polls;
};

static void measure(int writer, int reader, bool http, unsigned count, struct times *times)
{
    static char request[512], poll[128], value[101], reply[REPLY_BYTES];
    int poll_bytes = http
                         ? snprintf(poll, sizeof poll, "GET /propagate HTTP/1.1\r\nHost: x\r\n\r\n")
                         : snprintf(poll, sizeof poll, "*2\r\n$3\r\nGET\r\n$9\r\npropagate\r\n");
    for (unsigned i = 0; i < count; i++) {
        snprintf(value, sizeof value, "%0100u", i + 1);
        int bytes = write_request(request, sizeof request, http, "propagate", value);
        uint64_t begun = now_ns();
        ask(writer, request, (size_t)bytes, http, reply);
        uint64_t told = now_ns();
        do {
            ask(reader, poll, (size_t)poll_bytes, http, reply);
            if (++times->polls[i] == POLLS_MAX) {
                fprintf(stderr, "write %u never arrives\n", i);
                exit(1);
            }
        } while (!strstr(reply, value));
        uint64_t seen = now_ns();
        times->answered[i] = seen - told;
        times->sent[i] = seen - begun;
    }
}

int main(int argc, char **argv)
{
    if (argc < 5 || atoi(argv[4]) < 1 || atoi(argv[4]) > COUNT_MAX ||
        (argc > 5 && (atoi(argv[5]) < 0 || atoi(argv[5]) > RATE_MAX))) {
        fprintf(stderr, "usage: propagate http|redis WRITER_PORT READER_PORT COUNT [RATE]\n");
        return 2;
    }
    bool http = strcmp(argv[1], "http") == 0;
    unsigned count = (unsigned)atoi(argv[4]);
    struct times times = {calloc(count, sizeof(uint64_t)), calloc(count, sizeof(uint64_t)),
                          calloc(count, sizeof(uint64_t))};
    if (!times.answered || !times.sent || !times.polls)
        fail("calloc");
    pid_t child = background_start(argv[2], http, argc > 5 ? (unsigned)atoi(argv[5]) : 0);
    measure(dial(argv[2]), dial(argv[3]), http, count, &times);
    background_stop(child);
    show("from the answer, µs:", times.answered, count, 1000);
    show("from the sending, µs:", times.sent, count, 1000);
    show("polls:", times.polls, count, 1);
    free(times.answered);
    free(times.sent);
    free(times.polls);
    return 0;
}
