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

#endif
