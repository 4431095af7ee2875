/* The inside of the front-end room: what all its files share, and what frontend.c (life, who answers what) offers them. What each of them
 * has is in a header of its own: partition.h (one cluster: whom it has, whom to ask), backend.h (one member: is it there, is it ready),
 * lane.h (connections to it), relay.h (one request on its way: what is sent and got), moving.h (the same while keys move), upload.h
 * (bodies that come in parts), search.h (lists of keys), frontend_figures.h (what is told of all these). Nobody else includes them, save
 * for what hauls records (haul.h), which has a front-end inside.
 *
 *   request ─► relay ─► partition ─► backend ─► lane ─► upstream ─► node
 *                ▲         │ nobody is ready: it waits here, for a moment
 *                └─────────┴── tried again, elsewhere, when the lane ends before the answer
 */
#ifndef ROLE_FRONTEND_STATE_H
#define ROLE_FRONTEND_STATE_H

#include "base/pool.h"
#include "role/frontend.h"
#include "role/history.h"
#include "role/key.h"
#include "role/relay.h"

enum {
    FRONTEND_TICK_US = 50 * 1000, /* how often all this is looked after */
    LONG_KEYS_MAX = 1024,   /* keys whose values are known to be longer than RELAY_STREAM_BYTES */
    RECENT_MAX = 8192,      /* keys that were just written, each in its place */
    RECENT_US = 100 * 1000, /* reads so soon after a write must see it */
    RECENT_BYTES_EACH_US = 16, /* and later by as long as a value takes to all nodes at that pace */
};

#define VERSION_AHEAD_US_MAX \
    ((uint64_t)86400 * 1000000) /* of a node's clock, to be minded in other keys' versions */

/* A write that was answered. */
struct recent_write {
    uint64_t key_hash, version;
    uint64_t node;     /* the id of who carried it out */
    uint64_t until_us; /* until then, of the loop's time, it counts */
};

struct frontend_counters {
    uint64_t retries, retries_refused, parked, unanswered, misrouted, yielded;
};

struct frontend {
    struct service service; /* first, so that a service leads here */
    struct loop *loop;
    struct log *log;
    struct frontend_config config;
    struct server *server;
    struct upstreams *upstreams;
    struct route *route;
    struct partition *partitions;
    struct route *other_route;
    struct partition *others; /* NULL unless keys are moving to another number of partitions */
    struct relay_list settling,
        asking; /* those that wait: for the end of a first try; while keys move, for a change */
    struct pool relays, attempts;
    struct loop_hook hook;
    struct loop_timer tick, drain_timer;
    uint64_t chance;         /* the state of its dice */
    uint64_t latest_version; /* that any node has told */
    struct recent_write recent[RECENT_MAX];
    uint64_t recent_until_us;          /* none of them counts any more */
    uint64_t long_keys[LONG_KEYS_MAX]; /* their hashes, each in its place; 0 for none */
    uint64_t started_us, started_wall_us;
    size_t kept_bytes; /* that requests are kept in, beside their first RELAY_ROOM_BYTES */
    unsigned waiting;  /* relays whose clients want to hear of a change */
    unsigned behind;   /* relays that are RELAY_BEHIND */
    bool draining;
    struct frontend_counters counters;
    struct histogram
        latency_us; /* from the read of a request to its answer; not of those that wait by wish */
    struct history history;
    struct search *first_search;
    unsigned searches;     /* under way */
    char scrap[16 * 1024]; /* where bodies go that nobody wants */
};

static inline struct frontend *frontend_of(struct service *service)
{
    return (struct frontend *)service;
}

/* What is known of a request (in request->service_room). */
struct frontend_work {
    uint64_t filled; /* bytes of a body that comes in parts */
    uint32_t partition, other_partition;
    uint32_t operation; /* index in the table of operations */
    uint64_t key_hash;
    struct key_options options;
    bool on_key;
};

static inline struct frontend_work *frontend_work_of(struct request *request)
{
    return (struct frontend_work *)(void *)request->service_room;
}

/* A number below `below`, by chance. */
unsigned frontend_chance(struct frontend *frontend, unsigned below);

/* Some node, or a client, has told of a version; `clock_us` is what a node's clock says. One that is far ahead of it is not minded, since
 * then all that is written later would have to be ahead, too. */
void frontend_learn_version(struct frontend *frontend, uint64_t version, uint64_t clock_us);

/* A version for a write that is sent now to a node whose clock says at least `clock_us`: more than any that a node has told. */
uint64_t frontend_version(struct frontend *frontend, uint64_t clock_us);

#endif
