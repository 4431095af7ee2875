/* `struct resolver` of one simulated process: the names are those of the world's hosts. An answer takes as long as a way there and
 * back; where segments are lost, it takes longer at times, or there is none. */
#ifndef SIM_RESOLVER_SIM_H
#define SIM_RESOLVER_SIM_H

#include "cable.h"
#include "net/loop.h"
#include "net/resolver.h"

struct resolver_question;

struct resolver_sim {
    struct resolver resolver; /* first, so that a resolver leads here */
    struct cables *cables;
    struct loop *loop;
    struct rng rng;
    bool
        sure; /* there is an answer in the end: for commands, which ask but once for what they need, and front-ends, which ask again after 10 s */
    struct resolver_question *questions; /* under way */
};

/* `stream` tells processes apart; `loop` is the process's, and outlives it. */
void resolver_sim_init(struct resolver_sim *resolver, struct cables *cables, struct loop *loop,
                       uint64_t stream);
void resolver_sim_free(struct resolver_sim *resolver);

#endif
