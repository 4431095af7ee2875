/* What a front-end tells of itself: figures.h's, and its partitions with their nodes. A wrong set-up is a problem in a sentence, the same in
 * /-/status and on the page. */
#ifndef ROLE_FRONTEND_FIGURES_H
#define ROLE_FRONTEND_FIGURES_H

#include "role/figures.h"

enum {
    /* Told one by one in /-/status and on the page, and in /-/metrics: of all partitions, and one of each at least. */
    FRONTEND_NODES_TOLD_MAX = 256,
    FRONTEND_NODES_EXPOSED_MAX = 64,
    FRONTEND_PROBLEMS_MAX = 16, /* told in a sentence */
    FRONTEND_PROBLEM_BYTES = 320,
    FRONTEND_PARTITION_BYTES = 2 * 1024, /* of a reply, for each partition */
    FRONTEND_NODE_BYTES = 1024,          /* the same for each node that is told */
};

struct backend;
struct frontend;
struct partition;

/* How a member is, the worst first. */
enum backend_state {
    BACKEND_WRONG,   /* of another partition */
    BACKEND_DOWN,    /* it does not answer */
    BACKEND_UNREADY, /* it answers, and is not ready, or not connected yet */
    BACKEND_READY,
    BACKEND_ALIAS, /* ready, and asked by another address of the same node */
    BACKEND_STATES,
};

struct partition_figures {
    const struct partition *partition;
    unsigned nodes[BACKEND_STATES];
    unsigned in_flight, connections;
};

struct frontend_figures {
    struct figures common;
    const struct frontend *frontend;
    unsigned reached, count;              /* partitions; the others apart */
    struct partition_figures *partitions; /* all of them, the others behind its own */
    unsigned partition_count;
    char problems[FRONTEND_PROBLEMS_MAX][FRONTEND_PROBLEM_BYTES];
    unsigned problem_count; /* may be more than FRONTEND_PROBLEMS_MAX */
};

/* Replies with what `put` writes; or a refusal when out of memory. */
void frontend_figures_reply(struct frontend *frontend, struct request *request, struct slice type,
                            bool vary,
                            void (*put)(struct text *text, const struct frontend_figures *figures));

/* Of FRONTEND_…_MAX nodes in all, how many of each partition. */
unsigned frontend_figures_share(const struct frontend_figures *figures, unsigned max);

enum backend_state backend_state(const struct backend *backend);

/* "wrong_partition", "down", … */
const char *backend_state_name(enum backend_state state);

/* Requests on their way to it. */
unsigned backend_in_flight(const struct backend *backend);

/* A partition's members, `left` at most, those in trouble first. */
struct backend_walk {
    const struct partition *partition;
    unsigned left;
    unsigned state, at; /* 0 at first */
};
const struct backend *backend_walk_next(struct backend_walk *walk);

/* For /-/history. */
void frontend_take_sample(struct frontend *frontend);

/* frontend_status.c, frontend_metrics.c, frontend_lines.c and frontend_figures.c: each writes a whole reply. */

void frontend_reply_status(struct frontend *frontend, struct request *request);
void frontend_reply_metrics(struct frontend *frontend, struct request *request);
void frontend_reply_front(struct frontend *frontend, struct request *request);
void frontend_reply_ready(struct frontend *frontend, struct request *request);

#endif
