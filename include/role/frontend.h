/* A front-end: HTTP to clients as a node speaks it, and no state that matters. Each key goes to the cluster that holds its
 * partition, there to a member that is up and ready.
 *
 *   client ─► server ─► relay ─► cluster of the key's partition ─► backend ─► lane ─► node
 *
 * It learns a cluster's members from any of them, and asks each of them several times a second whether it is there and ready. */
#ifndef ROLE_FRONTEND_H
#define ROLE_FRONTEND_H

#include "base/log.h"
#include "net/loop.h"
#include "net/server.h"
#include "role/side.h"

enum {
    FRONTEND_CLUSTERS_MAX = 1024, /* partitions of one front-end */
    FRONTEND_SEEDS_MAX = 64,      /* members that are named of one cluster */
};

struct resolver;

/* One partition's cluster, as it was named. */
struct frontend_cluster {
    const char *const *seeds; /* HOST:PORT of some of its members, or names of several */
    unsigned seed_count;
};

struct frontend_config {
    struct server_config server;
    const struct frontend_cluster *clusters; /* in the order of partitions */
    unsigned cluster_count;                  /* 1 at least */
    const struct frontend_cluster
        *others;          /* the same, of the partitions that keys are moving from, or to */
    unsigned other_count; /* 0 when they are not moving */
    enum side other_side; /* which of the two; unless there are none */
    bool read_home;       /* reads go where the key's writes go, not to the less loaded of two */
    struct resolver *resolver; /* for names; NULL: only IP addresses are taken */
    uint64_t value_max;        /* bytes of one value */
    uint64_t drain_us;         /* frontend_drain takes so long at most */

    /* As in struct node_config. */
    uint64_t (*resident_bytes)(void);
    uint64_t (*cpu_us)(void);
    uint64_t (*files_max)(void);
};

struct frontend;

/* Returns NULL when out of memory. The caller owns it until frontend_destroy; `loop`, its io, `log` and what `config` points to
 * outlive it. */
struct frontend *frontend_new(struct loop *loop, struct log *log,
                              const struct frontend_config *config);
void frontend_destroy(struct frontend *frontend);

/* Begins to serve on *address, which afterwards holds the real port; or, when inherited_fd is not negative,
 * on that listening socket. Returns 0 or -errno. */
int frontend_listen(struct frontend *frontend, struct address *address, int inherited_fd);

/* Begins to stop: not ready, no new connections, present requests are finished. Once that is done or
 * drain_us is over, loop->stopped becomes true. */
void frontend_drain(struct frontend *frontend);
bool frontend_is_draining(const struct frontend *frontend);

/* One line for a person: "2 of 2 partitions reached, 3 connections, 1.2 MB". Returns `out`. */
char *frontend_summary(const struct frontend *frontend, char *out, size_t room);

#endif
