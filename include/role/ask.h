/* One server that is asked: its name is looked up, its addresses are tried in turn, the connection is kept, and answers are collected
 * whole. For the commands of an operator, which want an answer, or a sentence that says why there is none. */
#ifndef ROLE_ASK_H
#define ROLE_ASK_H

#include "net/fetch.h"
#include "net/resolver.h"

enum {
    ASK_NAME_BYTES = RESOLVER_NAME_BYTES_MAX + 16, /* HOST:PORT and brackets, NUL included */
    ASK_ADDRESSES_MAX = 8,                         /* of one name, that are tried */
    ASK_CONNECT_US = 2 * 1000 * 1000,              /* a connection must stand after it */
    ASK_WHOLE_US = 20 * 1000 * 1000,               /* an answer must be whole after it */
    ASK_ANSWER_US = 5 * 1000 * 1000,               /* the same of its head, and more of its body */
};

/* Embedded in its owner, who zeroes it first. */
struct ask {
    struct loop *loop;
    struct resolver *resolver;
    struct upstream *upstream;
    struct lookup lookup;
    struct address addresses[ASK_ADDRESSES_MAX];
    unsigned count, at;
    char name[ASK_NAME_BYTES];
    char host[RESOLVER_NAME_BYTES_MAX + 1];
    uint16_t port;

    struct fetch fetch;
    const char *target; /* of the question */
    bool head;          /* it is a HEAD */
    bool waiting;       /* it has begun, and is not on its way yet */
    void (*on_answer)(struct ask *ask, unsigned status, struct slice body);
    struct loop_timer timer; /* to begin, then that it takes too long */
    bool busy, started, ending;
    const char *
        trouble; /* why there is no answer: a clause without its subject, such as "refuses connections"; static */
};

/* `name` is HOST:PORT, or [ADDRESS]:PORT. Returns 0, -EINVAL for what is no such name, or -ENOMEM. */
int ask_init(struct ask *ask, struct loop *loop, struct upstreams *upstreams,
             struct resolver *resolver, const char *name);

/* A question under way gets no answer. Not from inside of on_answer. Does nothing with one that is all zero. */
void ask_free(struct ask *ask);

/* GETs `target`, which stays where it is until the answer, of `body_max` bytes at most. on_answer is called exactly once, never from
 * inside of this, with status 0 when there is no whole answer: then ask->trouble says why. The next question may be asked from inside of it. Not while
 * it is busy. */
void ask_get(struct ask *ask, const char *target, size_t body_max,
             void (*on_answer)(struct ask *ask, unsigned status, struct slice body));

/* The same as a HEAD: ask->fetch.content_length is the length that the answer tells. */
void ask_head(struct ask *ask, const char *target,
              void (*on_answer)(struct ask *ask, unsigned status, struct slice body));

#endif
