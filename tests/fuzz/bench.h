/* A world for fuzzers: nodes and front-ends on one loop, sockets that are memory, time that moves only when it is told to. Connections
 * between two of them go straight across; the other end of all others is in the fuzzer's hands.
 *
 *   struct bench bench;
 *   bench_start(&bench);
 *   struct node *node = bench_node(&bench, 1);          at 10.0.0.1:8000
 *   int client = bench_connect(&bench, 1);
 *   bench_feed(&bench, client, bytes, cut);
 *   bench_settle(&bench);
 *   … bench_output(&bench, client) … */
#ifndef FUZZ_BENCH_H
#define FUZZ_BENCH_H

#include <stdbool.h>

#include "base/slice.h"
#include "net/http.h"
#include "net/loop.h"
#include "require.h"
#include "role/frontend.h"
#include "role/node.h"

enum {
    BENCH_SOCKETS_MAX = 64,
    BENCH_PORT = 8000,
    BENCH_MS = 1000,
    BENCH_SECOND = 1000 * BENCH_MS,
    BENCH_VALUE_MAX = 256 * 1024, /* --value-max of all */
    BENCH_ROOM_BYTES =
        64 * 1024, /* that a socket takes before it blocks, when its other end is a program's */
};

struct bench_bytes {
    char *data;
    size_t len, at, room; /* at: taken so far */
};

struct bench_socket {
    bool open, watched, listening, waiting; /* waiting: to be accepted */
    bool ended, broken;                     /* nothing more comes; a reset */
    bool shut;                              /* by the program */
    bool mine;                              /* the other end is the fuzzer's */
    bool kept; /* a client's: what it was told is there until it is forgotten */
    int other; /* else this; -1 once it is gone */
    unsigned interest;
    unsigned life; /* how often its number was used */
    void *data;
    struct address local, remote;
    struct bench_bytes in;  /* towards the program */
    struct bench_bytes out; /* from it, when it is the fuzzer's to read */
};

struct bench {
    struct io io; /* first, so that an io leads here */
    struct loop loop;
    struct log log;
    uint64_t now_us, chance;
    int events;       /* of the last wait */
    int sockets_used; /* of these, so far */
    struct bench_socket sockets[BENCH_SOCKETS_MAX];
};

void bench_start(struct bench *bench);

/* All programs on it are gone. No socket may be open, and no timer reserved. */
void bench_end(struct bench *bench);

/* A node that is to join the member at 10.0.0.`member`:8000; 0 for nobody. */
struct node *bench_joiner(struct bench *bench, unsigned host, unsigned member);

/* At 10.0.0.`host`:8000. A front-end has one cluster, of the member at 10.0.0.`member`:8000. */
struct node *bench_node(struct bench *bench, unsigned host);
struct frontend *bench_frontend(struct bench *bench, unsigned host, unsigned member);

/* A client at 10.0.0.99. Returns the program's socket, by which its other end is named. */
int bench_connect(struct bench *bench, unsigned host);

/* The program connects to an address where nobody listens: then, when that is `host` (0 for any), it is the fuzzer's. Returns the next such
 * socket behind `after` (-1 at first), or -1. */
int bench_next_call(const struct bench *bench, unsigned host, int after);

/* Bytes for it, which it reads as they come or, when `cut` is not 0, in pieces by that chance; turns go by meanwhile. Returns false when the
 * program has closed it before it had all: the rest is lost, and its number may be another's. */
bool bench_feed(struct bench *bench, int fd, struct slice bytes, unsigned cut);

/* The other end sends no more; or is gone altogether. */
void bench_finish(struct bench *bench, int fd);
void bench_hang_up(struct bench *bench, int fd);

/* All that the program has sent. */
struct slice bench_output(const struct bench *bench, int fd);

/* Its number may be used again once it is closed. */
void bench_forget(struct bench *bench, int fd);

/* Turns until nothing happens any more without time. What would go on for ever is found here. */
void bench_settle(struct bench *bench);

/* Lets time go by, timers on their way. */
void bench_pass(struct bench *bench, uint64_t us);

/* What a connection's bytes say, by the plain readers of net/http.h in one go: the measure for all who read them bit by bit. */
struct bench_request {
    struct http_head head; /* its slices are in the bytes */
    struct slice body;     /* as sent, chunks and all */
};

enum { BENCH_REQUESTS_MAX = 64 };

struct bench_requests {
    struct bench_request list[BENCH_REQUESTS_MAX];
    unsigned count; /* that are whole */
    enum http_result
        result; /* of what follows them: MORE when it is not whole or nothing; OK when there are too many, or none may follow */
    unsigned status; /* when it is BAD */
    size_t used;
};

/* The first one, whole when this is HTTP_OK. Else its head is
 * there if that is whole and fine: then it has a target. */
enum http_result bench_read_request(struct slice bytes, struct bench_request *out,
                                    unsigned *status);

void bench_read_requests(struct slice bytes, struct bench_requests *out);

/* A body without its chunks, into `room`, which has as much room as the body. */
struct slice bench_body(const struct bench_request *request, char *room);

#endif
