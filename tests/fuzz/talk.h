/* One client's whole connection: what it has sent, and what it was answered. */
#ifndef FUZZ_TALK_H
#define FUZZ_TALK_H

#include "../unit/answer.h"
#include "bench.h"

struct talk_answer {
    unsigned status;
    bool close;
    struct slice head; /* in the output */
    struct slice body; /* the same; its bytes are gone when it was chunked */
    uint64_t body_hash;
};

enum { TALK_BYTES_MAX = 1024 * 1024 };

struct talk {
    char said[TALK_BYTES_MAX];
    struct bench_requests requests;
    struct talk_answer answers[BENCH_REQUESTS_MAX + 1]; /* the last answers, not 100 */
    unsigned count;
};

/* Connects, sends `bytes` cut by `cut`, and no more. Returns the socket. So that small inputs can be about large values and long heads, two
 * bytes of 255 and one of N among them stand for N KiB of "x". */
int talk_begin(struct bench *bench, unsigned host, struct slice bytes, unsigned cut,
               struct talk *talk);

/* Once the connection is over: reads the answers, strictly, and checks that each request has one, in order, until one of them says that
 * the connection ends; that what is no request has a refusal; and that nothing else was said. What it found is good until the
 * connection is forgotten, see bench.h. */
void talk_end(struct bench *bench, int fd, struct talk *talk);

struct slice talk_field(const struct talk_answer *answer, const char *name);

#endif
