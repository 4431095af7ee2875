/* The inside of the node room, shared by node.c (life), values.c and writes.c (requests on keys), operations.c and listing.c (what is under /-/),
 * merge.c, metrics.c, status.c and node_lines.c. Nobody else includes this. */
#ifndef ROLE_NODE_STATE_H
#define ROLE_NODE_STATE_H

#include <assert.h>

#include "data/route.h"
#include "data/store.h"
#include "data/watch.h"
#include "net/reply.h"
#include "role/cluster.h"
#include "role/history.h"
#include "role/key.h"
#include "role/node.h"

enum {
    NODE_TICK_US = 100 * 1000,  /* how often is looked for what has expired, or is to be swept */
    NODE_SWEEP_US = 10 * 1000,  /* the same, while a larger table is swept */
    NODE_SWEEP_SMALL = 25600,   /* records of one that is not larger */
    NODE_EXPIRE_US = 1000,      /* the same, while more has expired than was looked at */
    NODE_SWEEP_RECORDS = 256,   /* at a time; also in each turn while memory is sparse */
    NODE_SWEEP_RESTS = 64,      /* after each round through all records, in a grace period */
    NODE_SWEEP_MANY = 32,       /* of these that went: then many more are likely to be due */
    NODE_EXPIRE_MAX = 4096,     /* the same of values that expire, when so many come as well */
    NODE_FAREWELL_US = 500000,  /* of the time to drain, for the others; a tenth at most */
    NODE_WAKES_PER_TURN = 1000, /* held requests answered in one turn */
    NODE_STREAM_RECORDS = 512,  /* records looked at in one step of a streamed reply */
    NODE_COPIES_SECONDS = 5,    /* "Prefer: copies" waits so long when it does not say how long */
    NODE_BODY_BYTES_MAX = 512 * 1024, /* of requests under /-/ other than merges */
};

/* What a request is about (request->kind). */
enum node_kind {
    NODE_VALUE,
    NODE_OPERATION,
    NODE_REFUSED, /* request->error says why */
};

/* What is known of a request (in request->service_room). */
struct node_work {
    struct store_key key;
    uint64_t filled;  /* bytes of a body that comes in parts */
    bool replicating; /* the service's data is a struct replicating */
    union {
        struct { /* on a key */
            struct key_options options;
            uint64_t hashed; /* of the bytes that are filled, see record_hash_blocks */
        };
        struct {                /* under /-/ */
            uint64_t sender;    /* the member that it comes from; 0 when it says nothing */
            char *body;         /* where it is collected */
            uint32_t operation; /* index in the table of operations */
        };
    };
};
static_assert(sizeof(struct node_work) <= sizeof((struct request){0}.service_room), "it fits");

static inline struct node_work *work_of(struct request *request)
{
    return (struct node_work *)(void *)request->service_room;
}

struct node {
    struct service service; /* first, so that a service leads here */
    struct loop *loop;
    struct log *log;
    struct node_config config;
    struct server *server;
    struct store *store;
    struct route *route; /* NULL when this node holds all keys */
    struct cluster *cluster;
    struct watch watch;
    struct store_observer observer;
    struct loop_hook hook;
    struct loop_timer tick;
    struct loop_timer drain_timer;
    uint64_t started_us; /* loop time */
    uint64_t started_wall_us;
    uint64_t sweeps;        /* rounds, as of the last tick */
    uint64_t rests_us;      /* loop time until which no deletes are looked for */
    uint64_t horizon_us;    /* cluster_horizon_us as of the last tick; */
    bool stepped;           /* the round that goes on was begun before its last step */
    uint64_t values;        /* that have come, as of the last tick, less those that were deleted */
    bool draining, drained; /* it waits for no client any more */
    struct {
        uint64_t merged, merge_stale, merge_refused; /* records; requests */
    } counters;
    struct history history;
    char scrap[16 * 1024]; /* where bodies go that nobody wants */
};

static inline struct node *node_of(struct service *service)
{
    return (struct node *)service;
}

/* values.c */

/* Looks at the head of a request on a key. */
void value_on_head(struct node *node, struct request *request);
void value_on_request(struct node *node, struct request *request);
void value_on_hold_end(struct node *node, struct request *request);
void value_on_request_end(struct node *node, struct request *request);

/* ETag and Fog-Version of a record; NULL for a key that has none. */
void value_put_version(struct request *request, const struct record *record);

/* A record's bytes as a piece to send from their place. */
struct conn_piece value_piece(struct node *node, struct record *record, struct slice bytes);

/* Answers those whose key has changed, NODE_WAKES_PER_TURN at most. */
void value_wake(struct node *node);

/* A write was refused for want of memory: to the log. */
void node_tell_full(struct node *node);

/* writes.c: what changes a key. A value that comes in parts goes straight into its record. */

void write_on_request(struct node *node, struct request *request);
void write_on_hold_end(struct node *node, struct request *request);
void write_on_body_start(struct node *node, struct request *request, uint64_t bytes);
struct server_room write_on_body_room(struct node *node, struct request *request, uint64_t left);
void write_on_body_filled(struct request *request);
void write_on_request_end(struct node *node, struct request *request);

/* operations.c */

void operation_on_head(struct node *node, struct request *request);
void operation_on_request(struct node *node, struct request *request);
enum server_stream_result operation_on_stream(struct node *node, struct request *request);
void operation_on_body_start(struct node *node, struct request *request, uint64_t bytes);
struct server_room operation_on_body_room(struct request *request, uint64_t left);
void operation_on_body_filled(struct node *node, struct request *request, size_t bytes);
void operation_on_request_end(struct node *node, struct request *request);

/* The target of a request without its query, which goes to *query. */
struct slice operation_path(struct slice target, struct slice *query);

/* A body that is whole now, wherever it was collected. */
struct slice operation_body(struct request *request);

/* listing.c: replies that go through records, a little a turn: /-/keys, /-/records, /-/digest/GG/SS. */

struct listing;
void listing_reply_keys(struct node *node, struct request *request);
void listing_reply_records(struct node *node, struct request *request);
void listing_reply_digests(struct request *request, uint32_t shard);
enum server_stream_result listing_on_stream(struct node *node, struct request *request);
void listing_destroy(struct node *node, struct listing *listing);

/* merge.c: the body of /-/merge. Memory of its own in request->service_data. */

int merge_start(struct node *node, struct request *request);
struct server_room merge_room(struct request *request);
void merge_filled(struct node *node, struct request *request, size_t bytes);
void merge_reply(struct node *node, struct request *request);
void merge_free(struct node *node, struct request *request);

/* metrics.c and status.c: each writes a whole reply. */

void metrics_reply(struct node *node, struct request *request);
void status_reply(struct node *node, struct request *request);

/* GET /: a page for browsers, a few lines of text for others. */
void front_reply(struct node *node, struct request *request);

#endif
