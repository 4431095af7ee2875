/* What nodes and front-ends alike tell of themselves: of their server and their process, for /-/status, /-/metrics and the page. */
#ifndef ROLE_FIGURES_H
#define ROLE_FIGURES_H

#include "base/json.h"
#include "base/text.h"
#include "net/loop.h"
#include "net/server.h"

enum {
    FIGURES_TEXT_BYTES = 48 * 1024, /* of a reply made of them */
    FIGURES_CLASSES = 6,            /* of statuses: [2] counts 200 to 299 */
};

struct figures {
    /* Whose they are, set by who asks. The functions may be NULL, as in struct node_config. */
    const char *role; /* "node" or "frontend" */
    const struct loop *loop;
    const struct server *from;
    const struct server_config *config;
    const struct histogram *latency_us; /* NULL: the server's */
    uint64_t (*resident_bytes)(void), (*cpu_us)(void), (*files_max)(void);
    uint64_t started_us, started_wall_us;
    bool ready, draining;

    /* What figures_gather finds. */
    const struct server_counters *server;
    uint64_t uptime_us;
    uint64_t requests, by_class[FIGURES_CLASSES];
    uint64_t connections, held;
    uint64_t process_resident_bytes; /* 0 when that is not known */
};

void figures_gather(struct figures *figures);

/* A histogram's quantile: a bucket's upper end, but never more than the maximum. In µs. */
uint64_t figures_quantile(const struct histogram *histogram, double part);

/* Members of the open object of /-/status: who it is and how it is; what its server has done. */
void figures_put_identity(struct json *json, const struct figures *figures);
void figures_put_server(struct json *json, const struct figures *figures);

/* Members of its "limits". */
void figures_put_limits(struct json *json, const struct figures *figures, uint64_t value_max);

/* The same for /-/metrics. */
void figures_expose_process(struct text *text, const struct figures *figures);
void figures_expose_server(struct text *text, const struct figures *figures);

/* Replies with `text` (copied), or 500 when it did not fit. With `vary` it depends on Accept. */
void figures_reply(struct request *request, struct slice type, const struct text *text, bool vary);

/* The same with a text in malloc'd memory, which is taken over. */
void figures_reply_owned(struct request *request, struct slice type, struct text *text, bool vary);

#endif
