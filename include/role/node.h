/* A node: the store behind the HTTP server. What happens with a request on a key is here; requests under
 * /-/ are passed to operations.h. */
#ifndef ROLE_NODE_H
#define ROLE_NODE_H

#include "base/log.h"
#include "net/loop.h"
#include "net/server.h"

enum {
    NODE_JOINS_MAX = 64,
    NODE_NAME_BYTES_MAX = 63, /* of the cluster's name */
};

struct resolver;

struct node_config {
    struct server_config server;
    const char *joins[NODE_JOINS_MAX]; /* HOST:PORT of members to join, or names of several */
    unsigned join_count;
    const char *advertise;    /* HOST:PORT that others reach this node at; NULL: it is found out */
    const char *cluster_name; /* NULL for "fog"; others of another name are refused */
    uint32_t partition, partitions; /* I of N; 0 partitions when it was not told */
    uint64_t forget_us;             /* a member that nobody heard of for so long is dropped */
    struct resolver *resolver;      /* for names; NULL: only IP addresses are taken */
    uint64_t
        repair_us; /* no repair before so long after the start: 0, save in simulations of push alone */
    uint64_t memory_max; /* bytes of the whole process, 0 for no limit */
    uint64_t memory_own; /* of these, what the process takes beside the table */
    uint64_t value_max;  /* bytes of one value */
    uint64_t grace_us;   /* a tombstone is kept for so long */
    uint64_t drain_us;   /* node_drain takes so long at most */

    /* What the process takes, for metrics: bytes of memory, µs of processor time, file descriptors it may have. NULL where
     * there is no process of its own. */
    uint64_t (*resident_bytes)(void);
    uint64_t (*cpu_us)(void);
    uint64_t (*files_max)(void);
};

struct node;

/* Memory that a node will come to take beside its table: buffers, a margin. */
enum { NODE_FIXED_BYTES = 4 * 1024 * 1024 };

/* Returns NULL when out of memory. The caller owns it until node_destroy; `loop`, its io and `log` outlive it. */
struct node *node_new(struct loop *loop, struct log *log, const struct node_config *config);
void node_destroy(struct node *node);

/* Begins to serve on *address, which afterwards holds the real port; or, when inherited_fd is not negative,
 * on that listening socket. Returns 0 or -errno. */
int node_listen(struct node *node, struct address *address, int inherited_fd);

/* Begins to stop: not ready, no new connections, present requests are finished. Once that is done or
 * drain_us is over, loop->stopped becomes true. */
void node_drain(struct node *node);
bool node_is_draining(const struct node *node);

/* One line for a person: "12 keys, 3 connections, 1.2 MB". Returns `out`. */
char *node_summary(const struct node *node, char *out, size_t room);

#endif
