/* The inside of the cluster room, shared by cluster.c (life, and what is looked after again and again), peer.c (one member that is
 * talked to), hello.c, hello_text.c and admission.c (who is who), news.c (what is told at once), join.c (whom to ask at first), push.c,
 * repair.c, compare.c (the answers to another's repair), agreed.c (what all have), gather.c, copies.c and leave.c. Nobody else includes
 * this. */
#ifndef ROLE_CLUSTER_STATE_H
#define ROLE_CLUSTER_STATE_H

#include "data/lag.h"
#include "data/wire.h"
#include "net/fetch.h"
#include "net/reply.h"
#include "net/resolver.h"
#include "role/cluster.h"
#include "role/intake.h"
#include "role/node.h"

enum {
    HELLO_PROTOCOL = 1,
    HELLO_HEAD_BYTES_MAX = 1024, /* all but the lines of members */
    HELLO_BYTES_MAX = HELLO_HEAD_BYTES_MAX + MEMBERS_MAX * MEMBER_LINE_BYTES_MAX,
    REQUEST_HEAD_BYTES_MAX = 256, /* of a request to a member */

    PUSH_BATCHES_MAX = 64,               /* on their way to one member */
    PUSH_WINDOW_BYTES = 4 * 1024 * 1024, /* the same in bytes; one batch may go beyond */
    PUSH_TEXT_BYTES = 256 * 1024,        /* of a batch; what is larger is sent from its place */
    PUSH_BATCH_BYTES = 1024 * 1024,      /* a batch that has so many is sent, */
    PUSH_BATCH_RECORDS = 512,       /* or so many records, which its receiver takes in one go */
    PUSH_COPY_BYTES_MAX = 8 * 1024, /* larger values are sent from their place */
    PUSH_LAG_BATCHES = 4,           /* sent to a lagging member in one turn */
    PUSH_LAG_STEPS = 4000,          /* records looked at for each of these */

    REPAIR_SHARDS_MAX = 128,  /* compared record by record in one round */
    REPAIR_DIGESTS = 1024,    /* of own records in these */
    REPAIR_WANTED_MAX = 8192, /* records asked for in one round */
    REPAIR_ANSWER_BYTES_MAX = 16 * 1024 * 1024,
    REPAIR_LEASE_US =
        2 * 1000 *
        1000, /* another member's repair with us is over when it was silent for so long */
    REPAIR_PAUSE_US = 1000 * 1000, /* between two repairs with one member */
    REPAIR_FULL_PAUSE_US =
        10 * 1000 * 1000, /* when one of the two was out of memory; not of who leaves */
    REPAIR_FULL_REST_US =
        8, /* the same for each record that was compared, if that is longer; so too when nothing came of that */
    REPAIR_PATIENCE =
        3, /* hellos that show a difference before the member with the larger number sees to it */

    GATHER_TELL_US = 1000 * 1000, /* progress is logged as often */

    JOIN_ADDRESSES_MAX = 64,
    JOIN_PATIENCE_US = 2 * 1000 * 1000, /* who did not answer by then is taken as dead for now */
    JOIN_LOOKUP_PATIENCE_US = 6 * 1000 * 1000, /* the same, of name servers */
    JOIN_AGAIN_US = 500 * 1000,                /* between two attempts */
    JOIN_REFUSED_AGAIN_US = 10 * 1000 * 1000,  /* the same, after a refusal */
    JOIN_LOOKUP_AGAIN_US = 10 * 1000 * 1000,   /* between two look-ups of a name */
    JOIN_TARGET_BYTES_MAX = RESOLVER_NAME_BYTES_MAX + 8,

    COPIES_LISTS = 1024, /* of who waits for copies */
};

/* Records on their way out: frames, the small ones copied into one text. */
struct batch {
    struct heap *heap;
    char *text; /* PUSH_TEXT_BYTES */
    size_t used, piece_start, bytes;
    unsigned count, records;
    struct conn_piece pieces[CONN_PIECES_MAX]; /* the first one is for the request's head */
    char head[REQUEST_HEAD_BYTES_MAX];
};

/* One batch that a member has not answered yet. */
struct sending {
    struct call call; /* first, so that a call leads here */
    struct peer *peer;
    bool ended;   /* though one before it has not: it found no connection */
    uint64_t lag; /* which lag it comes out of; 0 for none */
    uint64_t from,
        to; /* once it is answered, the member has all batches of these numbers, `to` not included */
    size_t bytes;
    uint64_t sent_us;
    uint16_t status;
};

enum push_state {
    PUSH_DOWN,    /* nothing is told; repair will */
    PUSH_LAGGING, /* the lag takes note of what to tell */
    PUSH_LIVE,    /* each batch goes to it as it is made */
};

enum repair_step {
    REPAIR_IDLE,
    REPAIR_CONNECTING,
    REPAIR_GROUPS,
    REPAIR_SHARDS,
    REPAIR_DIGESTS_STEP,
    REPAIR_RECORDS,
};

/* A comparison with one member, and the mending of what differs. */
struct repair {
    enum repair_step step;
    struct fetch fetch;   /* of lists, and of what was pushed */
    struct call pull;     /* of records */
    struct intake intake; /* of these */
    bool pulling, pushing, failed, full;
    bool last_try; /* of this shard, unless something comes of it */
    unsigned told; /* records of the next shard that a repair of deletes has gone past */
    bool deletes;  /* only these are told: the last repair found no room for all */
    bool takes;    /* and gives nothing: a newcomer's, when the other one has no room */
    uint16_t pull_status;
    uint64_t started_us;
    uint16_t *todo; /* shards that differ */
    unsigned todo_count, todo_at, todo_next;
    uint64_t pulled, pushed;
    uint64_t compared; /* records of both */
    uint64_t revived;  /* old deletes here, as of the beginning (store_counts) */
    uint64_t next_us;  /* not before */
    unsigned differed; /* hellos in a row */
};

struct peer {
    struct cluster *cluster;
    struct member *member;
    struct upstream *control, *push, *bulk;

    /* hello */
    struct fetch hello;
    uint64_t hello_us; /* when the last one was sent */
    uint64_t hello_due_us;
    uint64_t answered_us;
    uint64_t asked_us; /* when the last hello was sent that it has answered */
    uint64_t retry_us, backoff_us;
    uint64_t quiet_us; /* it said no: nothing is said to it before */
    uint64_t round_trip_us;
    uint64_t hello_digest; /* ours, as it was told */
    int64_t skew_us;
    bool measured; /* skew_us is known */
    bool up;       /* it answers hellos */
    bool
        starved; /* the last try to reach it came to nothing for want of memory or descriptors here: it may well be there */
    bool skewed; /* and that was reported */
    bool tells_goodbye; /* the last hello that was sent */
    bool told_goodbye;  /* and that was answered */
    bool knows_us;      /* it has told that we are a member */
    bool agrees;

    /* push */
    enum push_state push_state;
    struct lag *lag;
    uint64_t lag_number; /* counts its lags */
    uint64_t lag_from;   /* the number of the first batch that it was not sent */
    uint64_t push_retry_us;
    bool
        push_heard; /* this connection has been answered on: what is sent on it does not wait to be accepted */
    uint64_t missed_us;
    bool missed; /* something may not have come to it since the last time that all was the same */
    struct sending sendings[PUSH_BATCHES_MAX]; /* a ring */
    unsigned sending_first, sending_count;
    size_t sending_bytes;
    struct histogram push_us; /* from the sending of a batch to its answer */

    struct repair repair;
    uint64_t
        gather_checked_us; /* when what it has and we have was last compared, it knowing us; 0: never */

    /* When what was seen to be the same; loop time. */
    uint64_t agreed_us, agreed_group_us[STORE_GROUPS];
    uint64_t *agreed_shard_us; /* NULL until it is needed */
};

/* An address that may be a member's. */
struct probe {
    struct cluster *cluster;
    struct address address;
    struct upstream *upstream;
    struct fetch fetch;
    uint64_t next_us;
    uint64_t
        named_us; /* when it was last said that a member may be there; UINT64_MAX: as an address of --join, so it stays */
    bool used;
    bool busy;
    bool
        tried; /* it has told whether a member is there: who was there has answered, or refused the connection */
    bool
        starved; /* the last try came to nothing for want of memory or descriptors here, or of connections there */
    bool own; /* it is this node's */
    bool met; /* a member has answered there */
};

/* What --join names. */
struct target {
    struct cluster *cluster;
    char host[RESOLVER_NAME_BYTES_MAX + 1];
    uint16_t port;
    struct lookup lookup;
    uint64_t next_us;
    bool asking, answered;
    bool is_advertise; /* not to be joined: the name that this node itself is known by */
};

enum gather_step {
    GATHER_WAITING, /* for members, or for a donor */
    GATHER_CONNECTING,
    GATHER_COPYING,
    GATHER_CHECKING, /* repair with each member */
    GATHER_DONE,
};

struct gather {
    enum gather_step step;
    struct upstream *upstream;
    struct call call;
    struct intake intake;
    uint64_t donor;     /* a member's number */
    uint32_t shard;     /* all before it are here */
    bool copied;        /* a full copy is here, */
    uint64_t copied_us; /* since then */
    bool good;          /* the answer that comes is one */
    bool full;          /* out of memory */
    bool waits;         /* for a ready member that is silent */
    uint64_t
        changed_us; /* when a member was last about to go, or went: what was compared before does not count */
    uint64_t started_us, tell_us, told_bytes, bytes, records, rate, next_us;
};

struct copies {
    struct copies *next, **at;
    struct record *record;
    uint64_t batch; /* the number of the batch that it goes in */
    unsigned wanted;
    void (*on_enough)(void *owner);
    void *owner;
    struct cluster *cluster;
    unsigned count, room;
    uint64_t by
        []; /* the numbers of the members that have confirmed it; those that are gone or down since do not count */
};

struct cluster {
    struct loop *loop;
    struct log *log;
    struct store *store;
    const struct node_config *config;
    struct upstreams *upstreams;
    struct members members;
    struct store_agreement agreement; /* alone as of the last tick: then its horizon is not told */
    struct loop_hook hook;
    struct loop_timer tick;
    struct address listening;
    bool started, leaving, goodbye, left;
    bool has_everything;
    bool joined; /* it knows other members, or has known some that are forgotten since */
    uint64_t
        since_us; /* wall clock: since when its cluster has been there, by any ready member; who went before is not known */
    bool own_found; /* the own address was found, not given */
    uint64_t started_us, leave_us;
    uint64_t
        waited_us; /* since it was started, by ticks: what it stood still itself counts as one */
    uint64_t waited_at_us; /* as of then */
    uint64_t ticked_us;    /* loop time of the last tick */
    uint64_t woke_us;      /* loop time at which it last found that it had stood still; 0: never */
    uint64_t horizon_us;   /* see store_agreement */
    uint64_t expiry_us;    /* see cluster_expiry_us: as last told */
    uint64_t clock_ahead_us; /* wall clock less loop time: it changes when the clock is set */
    uint64_t stepped_us;     /* loop time at which it last changed */
    bool has_news;           /* that members have not been told */
    uint64_t news_us;        /* loop time before which it is not told */
    uint64_t departed_us;    /* loop time at which a member last was found to be gone */
    const char *refused;     /* NULL, or a sentence: why the others do not want us */
    bool
        torn; /* that is since it has met two parts of its cluster that have dropped each other; so it tells nobody of who was dropped */
    char sentence[512];
    char *scratch; /* HELLO_BYTES_MAX */

    struct batch batch; /* of this turn */
    struct batch spare; /* for all others; empty between two uses */
    uint64_t batch_number;
    uint64_t push_p50_us, push_p99_us; /* see cluster_tell_push */
    bool changed;                      /* something was written in this turn */
    unsigned lagging; /* members that are: mostly none, of many on the list that may have left */

    uint64_t repairing_with, repairing_until_us; /* a member's number, see REPAIR_LEASE_US */
    struct gather gather;
    struct probe probes[JOIN_ADDRESSES_MAX];
    struct target targets[NODE_JOINS_MAX + 1];
    unsigned target_count;
    struct copies *copies[COPIES_LISTS]; /* by the number of their batch */
    unsigned copies_count;
    struct cluster_counters counters;
};

static inline struct member *self_of(const struct cluster *cluster)
{
    return members_self(&cluster->members);
}

/* cluster.c */

/* Each member that is here gets a peer. */
void cluster_sync_peers(struct cluster *cluster);

/* What is looked after at each tick is looked after in this turn. */
void cluster_hurry(struct cluster *cluster);

bool member_is_down(const struct cluster *cluster, const struct member *member);

/* Wall clock: who went before is known no more. */
uint64_t cluster_forgets_before_us(const struct cluster *cluster);

/* The start of a request to a member, up to and with Content-Length. */
struct slice request_head(const struct cluster *cluster, char room[REQUEST_HEAD_BYTES_MAX],
                          const char *method_and_target, size_t body_bytes);

/* What a member tells in a request was true a little earlier: at this time at the latest, since it would have given up after
 * `patience_us`. */
uint64_t told_before_us(const struct cluster *cluster, uint64_t patience_us);

/* Looks whether the clock was set: then all others' clocks are off by that. */
void cluster_note_clock(struct cluster *cluster);

/* Another member's idea of what is past the grace period. */
void cluster_take_horizon(struct cluster *cluster, uint64_t horizon_us);

/* peer.c */

/* Returns NULL when out of memory. */
struct peer *peer_new(struct cluster *cluster, struct member *member);
void peer_destroy(struct peer *peer);
void peer_tick(struct peer *peer);

/* It answers; it does so no more, or what it answers makes no sense: all that is under way with it ends. */
void peer_up(struct peer *peer);
void peer_down(struct peer *peer, const char *why);

/* hello.c */

void hello_send(struct peer *peer);

/* Writes a hello of this node. */
struct slice hello_print(struct cluster *cluster, char *room, size_t room_bytes);

enum hello_result { HELLO_FINE, HELLO_SELF, HELLO_BROKEN };

/* Takes in what a member answered; its number to *id. When it is broken, *why is a sentence that says why not; else NULL. Valid until
 * the next one. */
enum hello_result hello_take(struct cluster *cluster, struct slice body, uint64_t *id,
                             const char **why);

/* Another node has said no: its sentence goes to the log. */
void log_refusal(struct cluster *cluster, const char *event, const struct address *address,
                 unsigned status, struct slice sentence);

/* news.c */

/* Something is new, and this node is the one that tells it. */
void news_tell(struct cluster *cluster);
void news_tick(struct cluster *cluster);

/* join.c */

void join_start(struct cluster *cluster);
void join_tick(struct cluster *cluster);
void join_end(struct cluster *cluster);

/* Whether all addresses that were given were tried, or had their time. */
bool join_is_settled(const struct cluster *cluster);

/* Finds out who answers at the own address. */
void join_check_self(struct cluster *cluster);

/* push.c */

extern const struct upstream_ops push_upstream_ops;

int batch_init(struct batch *batch, struct heap *heap);
void batch_free(struct batch *batch);

/* Whether it should be sent before more is added. */
bool batch_is_full(const struct batch *batch);
void batch_add(struct batch *batch, struct record *record);

/* Ends its last frame and makes its pieces a whole request. */
void batch_close(struct cluster *cluster, struct batch *batch);

/* Makes the borrowed pieces good for one more use. */
void batch_retain(struct batch *batch);
void batch_reset(struct batch *batch);

void push_turn_end(struct cluster *cluster);
/* The member may lack something, as far as we know. */
void push_forget(struct peer *peer);
void push_start(struct peer *peer); /* it is up */
void push_stop(struct peer *peer);
void push_tick(struct peer *peer);
bool push_is_done(const struct peer *peer); /* it has all that it was to be told */

/* repair.c */

extern const struct upstream_ops repair_upstream_ops;

/* Compares with this member and mends. Does nothing when that is under way or another one's. */
void repair_start(struct peer *peer);
/* The same for deletes alone: nothing else has room. */
void repair_start_deletes(struct peer *peer);
void repair_stop(struct peer *peer);
bool repair_is_busy(const struct cluster *cluster, uint64_t with);
void repair_lease(struct cluster *cluster, uint64_t with);
void repair_unlease(struct cluster *cluster, uint64_t with); /* it asks nothing more */

/* A hello has shown whether the tables are the same. */
void repair_on_hello(struct peer *peer, bool same);

/* agreed.c */

/* All of this member's table, a group, a shard were the same as ours at this time. */
void agreed_all(struct peer *peer, uint64_t at_us);
void agreed_group(struct peer *peer, uint32_t group, uint64_t at_us);
void agreed_shard(struct peer *peer, uint32_t shard, uint64_t at_us);

/* When all members were last seen to have what this one has of a shard, loop time; 0 when that is not known. UINT64_MAX for who is alone. */
uint64_t cluster_agreed_us(const struct cluster *cluster, uint32_t shard);

/* compare.c */

void digests_sort(uint64_t *digests, unsigned count);
bool digests_have(const uint64_t *sorted, unsigned count, uint64_t digest);

/* gather.c */

void gather_tick(struct cluster *cluster);
void gather_peer_up(struct cluster *cluster); /* a member answers: it may be who was waited for */
/* A repair that began at `since_us` (loop time) is complete: both have what either had then. */
void gather_checked(struct peer *peer, uint64_t since_us);
void gather_end(struct cluster *cluster);

/* copies.c */

/* The member of this number has all batches of these numbers. */
void copies_confirm(struct cluster *cluster, uint64_t id, uint64_t from, uint64_t to);
/* A member is up again, and what it has confirmed counts again. */
void copies_look_again(struct cluster *cluster);

/* leave.c */

void leave_tick(struct cluster *cluster);

/* A member has gone, or answers no more. For who leaves: what came from it may be nowhere else, so somebody has to be seen to have
 * everything from here on. */
void leave_look_again(struct cluster *cluster);

#endif
