/*
 * floor: the least that a server of this kind can cost, to measure others against: epoll, recv, one send a batch, and a constant
 * reply to each request. It reads nothing of a request but how long it is. All requests of one verb must have one length, as
 * loadgen's have for one length of value; all keys have the value in --value-file, as with loadgen's --shared-value.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    input_bytes = 64 * 1024,
    batch_max = 256, /* replies in one send */
    events_max = 256,
    descriptors_max = 65536,
    value_bytes_max = 4096,
    head_bytes_max = 256,
};

enum verb { verb_get, verb_post, verb_count };

/* As many bytes as the real ones have. */
#define HEAD                                          \
    "HTTP/1.1 200 OK\r\n"                             \
    "Date: Thu, 01 Jan 2026 00:00:00 GMT\r\n"         \
    "ETag: \"0000000000000000-0000000000000000\"\r\n" \
    "Fog-Version: 1000000000000000\r\n"

/* What is sent to each verb, `batch_max` times over, so that a batch is one send from where it stands. */
struct answer {
    char *text;
    size_t reply_bytes;
    size_t request_bytes; /* 0 until the first one was seen */
};

static struct answer answers[verb_count];
static size_t value_bytes;
static size_t left_of_request[descriptors_max]; /* bytes of a request that have yet to come */
static enum verb last_verb[descriptors_max];

static void die(const char *what)
{
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    exit(2);
}

static void answer_make(enum verb verb, const char *value)
{
    char head[head_bytes_max];
    size_t body_bytes = verb == verb_get ? value_bytes : 0;
    int head_bytes =
        snprintf(head, sizeof head, HEAD "%sContent-Length: %zu\r\n\r\n",
                 verb == verb_get ? "Content-Type: application/octet-stream\r\n" : "", body_bytes);
    struct answer *answer = &answers[verb];
    answer->reply_bytes = (size_t)head_bytes + body_bytes;
    answer->text = malloc(batch_max * answer->reply_bytes);
    if (!answer->text)
        die("memory");
    for (size_t i = 0; i < batch_max; i++) {
        memcpy(answer->text + i * answer->reply_bytes, head, (size_t)head_bytes);
        memcpy(answer->text + i * answer->reply_bytes + head_bytes, value, body_bytes);
    }
}

static void answers_make(const char *path)
{
    char value[value_bytes_max];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t count = fd < 0 ? -1 : read(fd, value, sizeof value);
    if (count < 0)
        die(path);
    close(fd);
    value_bytes = (size_t)count;
    answer_make(verb_get, value);
    answer_make(verb_post, value);
}

/* The bytes of the request that begins here, or 0: its head has yet to come. */
static size_t request_bytes(enum verb verb, const char *text, size_t count)
{
    if (answers[verb].request_bytes == 0) {
        const char *end = memmem(text, count, "\r\n\r\n", 4);
        if (end)
            answers[verb].request_bytes =
                (size_t)(end + 4 - text) + (verb == verb_post ? value_bytes : 0);
    }
    return answers[verb].request_bytes;
}

static bool reply_send(int fd, enum verb verb, size_t count)
{
    while (count > 0) {
        size_t now = count < batch_max ? count : batch_max;
        size_t bytes = now * answers[verb].reply_bytes;
        if (send(fd, answers[verb].text, bytes, MSG_NOSIGNAL) != (ssize_t)bytes)
            return false;
        count -= now;
    }
    return true;
}

/* The requests that end in these bytes are of one verb, as a batch of loadgen's is. Returns whether the connection goes on. */
static bool input_take(int fd, const char *text, size_t count)
{
    size_t done = 0;
    size_t at = 0;
    enum verb verb = last_verb[fd];
    if (left_of_request[fd] > 0) {
        at = left_of_request[fd] < count ? left_of_request[fd] : count;
        left_of_request[fd] -= at;
        done += left_of_request[fd] == 0;
    }
    while (at < count) {
        verb = text[at] == 'P' ? verb_post : verb_get;
        size_t bytes = request_bytes(verb, text + at, count - at);
        if (bytes == 0)
            return false;
        if (bytes > count - at) {
            left_of_request[fd] = bytes - (count - at);
            break;
        }
        at += bytes;
        done++;
    }
    last_verb[fd] = verb;
    return reply_send(fd, verb, done);
}

static void client_serve(int fd)
{
    static char input[input_bytes];
    ssize_t count = recv(fd, input, sizeof input, 0);
    if (count < 0 && errno == EAGAIN)
        return;
    if (count <= 0 || !input_take(fd, input, (size_t)count))
        close(fd);
}

static void watch(int epoll_fd, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
        die("epoll_ctl");
}

static void client_accept(int epoll_fd, int listener)
{
    const int one = 1;
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    if (fd >= descriptors_max) {
        close(fd);
        return;
    }
    left_of_request[fd] = 0;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    watch(epoll_fd, fd);
}

static int listen_on(uint16_t port)
{
    const int one = 1;
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 1024) != 0)
        die("listen");
    return fd;
}

static void serve(int listener)
{
    struct epoll_event events[events_max];
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0)
        die("epoll_create1");
    watch(epoll_fd, listener);
    for (;;) {
        int count = epoll_wait(epoll_fd, events, events_max, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == listener)
                client_accept(epoll_fd, listener);
            else
                client_serve(events[i].data.fd);
        }
    }
}

int main(int count, char **words)
{
    if (count != 3) {
        fprintf(stderr, "usage: floor PORT VALUE-FILE (on 127.0.0.1, until it is killed)\n");
        return 2;
    }
    answers_make(words[2]);
    serve(listen_on((uint16_t)atoi(words[1])));
}
