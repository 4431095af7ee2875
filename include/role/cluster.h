/* The cluster as one node sees it: who its fellows are, telling them what is written here, and making sure that all agree.
 *
 *   hello    every half second each member tells each other who it is, whom it knows and the digest of its table
 *   push     what clients write here goes to all members at the end of the loop's turn
 *   repair   where digests differ, the two find out in which records, and give each other what is missing
 *   gather   a newcomer takes a copy of everything from a member before it counts as ready
 *
 * docs/protocol.md has every message. */
#ifndef ROLE_CLUSTER_H
#define ROLE_CLUSTER_H

#include "base/histogram.h"
#include "data/store.h"
#include "net/server.h"
#include "role/members.h"

struct node_config;
struct cluster;

enum {
    CLUSTER_HELLO_US = 500 * 1000,     /* between two hellos to one member */
    CLUSTER_DEAD_US = 3 * 1000 * 1000, /* a member that was not heard of for so long is down */
    CLUSTER_TICK_US = 100 * 1000,      /* how often all this is looked after */
    CLUSTER_NEWS_US = 20 * 1000,      /* at least between two times that all are told what is new */
    CLUSTER_CONNECT_US = 1000 * 1000, /* a connection to a member must stand after it */
    CLUSTER_RETRY_US = 1000 * 1000,   /* at most between two attempts to connect */
    CLUSTER_ANSWER_US =
        10 * 1000 *
        1000, /* a head that a member owes must be whole within it, and more of a body come */
    CLUSTER_WANTED_BYTES = 10,     /* a record that is asked for: 2 of its shard, 8 of its digest */
    CLUSTER_SKEW_US = 1000 * 1000, /* a clock that differs by more is reported */
};

struct cluster_counters {
    uint64_t pushed_records, pushed_batches, push_failures, lagged_records;
    uint64_t repairs, repair_pulled, repair_pushed;
    uint64_t refused; /* requests of members, or of who says to be one */
    uint64_t gathered;
    struct histogram push_us; /* as in struct peer_figures, of all members */
};

/* `config` and `store` outlive it. Adds a hook to the loop: the server's must be there already, so that what a batch of requests has
 * written is pushed in the same turn. Returns NULL when out of memory. */
struct cluster *cluster_new(struct loop *loop, struct log *log, struct store *store,
                            const struct node_config *config);
void cluster_destroy(struct cluster *cluster);

/* The node listens now, on this address: begins to join, or to be a cluster of one. */
void cluster_start(struct cluster *cluster, const struct address *listening);

/* Of the store's observer. */
void cluster_on_change(struct cluster *cluster, uint32_t shard, struct record *old,
                       struct record *record);
void cluster_on_move(struct cluster *cluster, uint32_t shard, struct record *from,
                     struct record *to);
void cluster_on_drop(struct cluster *cluster, uint32_t shard, struct record *record);

/* Sends what was written so far in this turn to all members now, and not at its end. */
void cluster_push(struct cluster *cluster);

/* Whether this node has everything, so that a key that it lacks does not exist; true too of a node that leaves. */
bool cluster_has_everything(const struct cluster *cluster);

/* Whether it should be sent requests: it has everything, stays, and the others do not refuse it. */
bool cluster_is_ready(const struct cluster *cluster);

/* Why not: a sentence, valid until the next turn. */
const char *cluster_why_unready(const struct cluster *cluster);

/* Begins to leave: others send it nothing any more, what they lack is pushed. Once cluster_has_told_all, stopping loses nothing, and it has
 * begun to say goodbye, so that it must change nothing any more; once cluster_has_left, nothing is left to do. */
void cluster_leave(struct cluster *cluster);
bool cluster_has_told_all(struct cluster *cluster);
bool cluster_has_left(struct cluster *cluster);

/* Whether another member's machine is known by this address, whatever its port. */
bool cluster_has_member_at(const struct cluster *cluster, const struct address *address);

/* Requests about members. */
void cluster_reply_members(struct cluster *cluster, struct request *request, struct slice body);
void cluster_reply_drop(struct cluster *cluster, struct request *request, struct slice text);

/* The questions of a member that compares tables; `sender` is its number (cluster_admits). */
void cluster_reply_groups(struct cluster *cluster, struct request *request, uint64_t sender,
                          struct slice body);
void cluster_reply_shards(struct cluster *cluster, struct request *request, uint64_t sender,
                          struct slice body);
void cluster_reply_digests(struct cluster *cluster, struct request *request, uint64_t sender,
                           struct slice body);

/* Whether a request that says who sends it (Fog-From) comes from a member; true when it says nothing. Its number goes to *sender, 0 for
 * none. */
bool cluster_admits(struct cluster *cluster, const struct request *request, uint64_t *sender);

/* The records that a body names, each by its shard and digest (CLUSTER_WANTED_BYTES), as far as they are here: each with a
 * reference for the caller. `out` has room for all that are named. Returns how many. */
unsigned cluster_find_wanted(struct cluster *cluster, struct slice body, struct record **out);

/* Prefer: copies=K. Whoever wants a write to be held by `wanted` members, this one too, gets told: at once (NULL is returned, and
 * *have is how many have it now) or later. A copy waits for `request`, which is held, until cluster_forget_copies. */
struct copies;
unsigned cluster_members(const struct cluster *cluster);
struct copies *cluster_await_copies(struct cluster *cluster, struct record *record, unsigned wanted,
                                    void (*on_enough)(void *owner), void *owner);
unsigned copies_have(const struct copies *copies);
bool copies_are_enough(const struct copies *copies);
struct record *copies_record(const struct copies *copies);
void cluster_forget_copies(struct cluster *cluster, struct copies *copies);

/* The time by which values become tombstones, wall clock µs. That cannot be undone and spreads to all members, so it goes by no clock that may be
 * wrong alone: this node's own, or when that is more than a second ahead of the lower median of all clocks that are known in the cluster,
 * then by that one. So of two clocks the slower one decides, and of three no single one. It
 * does not step back by less than two seconds. */
uint64_t cluster_expiry_us(struct cluster *cluster);

/* Deletes with smaller versions are past the grace period, wall clock µs: it is told to all, and takes steps. 0 for who is alone. */
uint64_t cluster_horizon_us(const struct cluster *cluster);

const struct members *cluster_list(const struct cluster *cluster);
const struct cluster_counters *cluster_counters(const struct cluster *cluster);

/* What is known of a member beside the list; zeroes for this node itself. */
struct peer_figures {
    /* How long a batch of records took, in µs, from when it was sent to the member to its answer that it has them: how long a write
     * took to be on that member, as long as that keeps up. Counted once for each batch that was answered with 200. What a member
     * that lags waits for before it is sent is not in it. Owned by the cluster, until its next tick; NULL for this node itself. */
    const struct histogram *push_us;
    bool is_up;
    int64_t skew_us; /* its clock less ours */
    uint64_t lag_shards, in_flight, round_trip_us;
    unsigned gathered_permille; /* how much of everything it has, as it says; of this node too */
    bool agrees;                /* its table was the same as ours, as of the last hello */
};
struct peer_figures cluster_peer_figures(const struct cluster *cluster,
                                         const struct member *member);

/* What hellos say from now on of how long pushes have taken of late, in µs; UINT64_MAX when there were none. */
void cluster_tell_push(struct cluster *cluster, uint64_t p50_us, uint64_t p99_us);

/* How far gathering has come: 0 to 1000. 1000 too when there is nothing to gather. */
unsigned cluster_gathered_permille(const struct cluster *cluster);
uint64_t cluster_gathered_records(const struct cluster *cluster);
uint64_t cluster_gathered_bytes_per_s(const struct cluster *cluster);

#endif
