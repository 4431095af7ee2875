/* What a node tells of itself, gathered from all rooms in one struct, for /-/status, /-/metrics and
 * the page. */
#ifndef ROLE_FIGURES_H
#define ROLE_FIGURES_H

#include "base/text.h"
#include "role/node_state.h"

enum {
    FIGURES_TEXT_BYTES = 48 * 1024, /* of a reply made of them */
    FIGURES_CLASSES = 6,            /* of statuses: [2] counts 200 to 299 */
};

struct figures {
    const struct server_counters *server;
    struct store_counts store;
    uint64_t uptime_us;
    uint64_t requests, by_class[FIGURES_CLASSES];
    uint64_t connections, held;
    uint64_t table_bytes, table_resident_bytes;
    uint64_t table_limit_bytes;      /* 0 when there is none */
    uint64_t process_resident_bytes; /* 0 when that is not known */
    bool ready;
};

void figures_gather(struct node *node, struct figures *out);

/* A histogram's quantile: a bucket's upper end, but never more than the maximum. In µs. */
uint64_t figures_quantile(const struct histogram *histogram, double part);

/* Replies with `text` (copied), or 500 when it did not fit. With `vary` it depends on Accept. */
void figures_reply(struct request *request, struct slice type, const struct text *text, bool vary);

#endif
