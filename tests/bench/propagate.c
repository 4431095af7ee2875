/* How soon a write is seen on another node: writes through one server, then polls another until the new value is there.
 *
 *   propagate http|redis WRITER_PORT READER_PORT COUNT [PAUSE_US]
 *
 * Both on 127.0.0.1. Prints percentiles, in µs, of the time from the write's answer, and from its sending, to the answer that
 * has the new value; and how many polls it took. The method is the same for both protocols, so compare within one run. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { REPLY_BYTES = 4096, POLLS_MAX = 1000000, COUNT_MAX = 1000000 };

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

int main(int argc, char **argv)
{
    if (argc < 5 || atoi(argv[4]) < 1 || atoi(argv[4]) > COUNT_MAX) {
        fprintf(stderr, "usage: propagate http|redis WRITER_PORT READER_PORT COUNT [PAUSE_US]\n");
        return 2;
    }
    bool http = strcmp(argv[1], "http") == 0;
    unsigned count = (unsigned)atoi(argv[4]), pause_us = argc > 5 ? (unsigned)atoi(argv[5]) : 0;
    int writer = dial(argv[2]), reader = dial(argv[3]);
    uint64_t *answered = calloc(count, sizeof *answered), *sent = calloc(count, sizeof *sent);
    uint64_t *polls = calloc(count, sizeof *polls);
    static char request[512], poll[128], value[101], reply[REPLY_BYTES];
    if (!answered || !sent || !polls)
        fail("calloc");
    int poll_bytes = http
                         ? snprintf(poll, sizeof poll, "GET /propagate HTTP/1.1\r\nHost: x\r\n\r\n")
                         : snprintf(poll, sizeof poll, "*2\r\n$3\r\nGET\r\n$9\r\npropagate\r\n");
    for (unsigned i = 0; i < count; i++) {
        snprintf(value, sizeof value, "%0100u", i + 1);
        int bytes = http ? snprintf(request, sizeof request,
                                    "PUT /propagate HTTP/1.1\r\nHost: x\r\nContent-Length: "
                                    "100\r\n\r\n%s",
                                    value)
                         : snprintf(request, sizeof request,
                                    "*3\r\n$3\r\nSET\r\n$9\r\npropagate\r\n$100\r\n%s\r\n", value);
        uint64_t begun = now_ns();
        ask(writer, request, (size_t)bytes, http, reply);
        uint64_t told = now_ns();
        do {
            ask(reader, poll, (size_t)poll_bytes, http, reply);
            if (++polls[i] == POLLS_MAX) {
                fprintf(stderr, "write %u never arrives\n", i);
                return 1;
            }
        } while (!strstr(reply, value));
        uint64_t seen = now_ns();
        answered[i] = seen - told;
        sent[i] = seen - begun;
        if (pause_us)
            usleep(pause_us);
    }
    show("from the answer, µs:", answered, count, 1000);
    show("from the sending, µs:", sent, count, 1000);
    show("polls:", polls, count, 1);
    free(answered);
    free(sent);
    free(polls);
    return 0;
}
