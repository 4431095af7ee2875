/* What a node tells of itself: figures.h's, and what is in its table. */
#ifndef ROLE_NODE_FIGURES_H
#define ROLE_NODE_FIGURES_H

#include "role/figures.h"
#include "role/node_state.h"

struct node_figures {
    struct figures common;
    struct store_counts store;
    uint64_t table_bytes, table_resident_bytes;
    uint64_t table_limit_bytes; /* 0 when there is none */
};

void node_figures_gather(struct node *node, struct node_figures *out);

enum {
    NODE_MEMBERS_TOLD_MAX = 64, /* told one by one */
    NODE_MEMBER_DOWN = PHASE_LEAVING + 1,
    NODE_MEMBER_STATES, /* a phase, or down */
};

/* The members that are here: all of them counted, and some to be told one by one. */
struct node_members {
    unsigned all, by_state[NODE_MEMBER_STATES];
    const struct member
        *told[NODE_MEMBERS_TOLD_MAX]; /* this node, then those that are not ready, then others */
    unsigned told_count;
};

/* Valid until the next turn. */
void node_members_gather(const struct node *node, struct node_members *out);

const char *node_member_state_name(unsigned state);

#endif
