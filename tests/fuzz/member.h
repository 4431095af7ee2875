/* A member of a cluster as a front-end sees it, played by the fuzzer: it says hello, and is ready; what else it is asked, the target
 * answers. */
#ifndef FUZZ_MEMBER_H
#define FUZZ_MEMBER_H

#include "bench.h"

struct member_play {
    struct bench *bench;
    unsigned host;  /* 0: whoever is called */
    bool plays_all; /* it says no hello by itself: that is asked of the target, too */

    /* A whole request, checked to be one. Its slices are gone once turns go by. */
    void (*on_request)(struct member_play *play, int fd, const struct bench_request *request);

    /* All that was asked so far was heard: says something, or returns false. May be NULL. */
    bool (*on_quiet)(struct member_play *play);
    unsigned asked[BENCH_SOCKETS_MAX]; /* on each connection, with this one */
};

/* Says it on a connection, unless that is closed. */
void member_say(const struct member_play *play, int fd, const char *bytes, size_t len);

/* Turns until nothing happens any more without time. */
void member_settle(struct member_play *play);

void member_pass(struct member_play *play, uint64_t us);

#endif
