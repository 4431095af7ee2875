/* A call whose answer is collected whole, for short ones. */
#ifndef NET_FETCH_H
#define NET_FETCH_H

#include "net/upstream.h"

/* Embedded in its owner, who sets on_done and body_max and zeroes the rest. */
struct fetch {
    struct call call; /* first, so that a call leads here */

    /* Once for each fetch_start, never from inside it. `status` is 0 when there is no whole answer (the connection broke, or the
     * body was over body_max); the body lives until it returns, and has an address when it is empty, too. */
    void (*on_done)(struct fetch *fetch, unsigned status, struct slice body);
    size_t body_max;         /* bytes */
    bool head_only;          /* the request is a HEAD: the owner says so */
    uint64_t content_length; /* that the answer's head tells */
    char *body;
    size_t len, room;
    uint16_t status;
    bool busy;     /* between fetch_start and on_done */
    bool overflow; /* also when out of memory */
};

/* `pieces` are the whole request. Not while it is busy. */
void fetch_start(struct fetch *fetch, struct upstream *upstream, const struct conn_piece *pieces,
                 unsigned count);

#endif
