/* The inside of the front-end room, shared by frontend.c (life, who answers what), partition.c (one cluster: whom it has, whom to ask),
 * backend.c (one member: is it there, is it ready), lane.c (connections to it), relay.c (one request on its way), relay_request.c and
 * relay_answer.c (what is sent and got), moving.c (the same while keys move), upload.c (bodies that come in parts), frontend_figures.c
 * and who tells of these, and resharding. Nobody else includes this.
 *
 *   request ─► relay ─► partition ─► backend ─► lane ─► upstream ─► node
 *                ▲         │ nobody is ready: it waits here, for a moment
 *                └─────────┴── tried again, elsewhere, when the lane ends before the answer
 */
#ifndef ROLE_FRONTEND_STATE_H
#define ROLE_FRONTEND_STATE_H

#include "base/pool.h"
#include "data/route.h"
#include "net/fetch.h"
#include "net/reply.h"
#include "net/resolver.h"
#include "role/frontend.h"
#include "role/history.h"
#include "role/key.h"
#include "role/members.h"
#include "role/node.h"

enum {
    FRONTEND_TICK_US = 50 * 1000,     /* how often all this is looked after */
    BACKENDS_MAX = 1024,              /* members of one cluster that are known */
    BACKEND_HELLO_US = 250 * 1000,    /* between two questions to one member whether it is ready */
    BACKEND_HANG_US = 1000 * 1000,    /* a member that does not answer for so long is down */
    BACKEND_CONNECT_US = 1000 * 1000, /* a connection must stand after it */
    BACKEND_RETRY_US = 1000 * 1000,   /* at most between two attempts to connect */
    BACKEND_HELLO_BYTES_MAX = 512 * 1024,
    BACKEND_APART_HELLOS = 20, /* so many, 5 s of them: one that joins has long told its cluster */
    SEED_LOOKUP_US = 10 * 1000 * 1000, /* between two look-ups of a name */
    LANE_ANSWER_US =
        5 * 1000 * 1000, /* a member that owes an answer must say something within it */
    LANE_COPIES_US =
        5 * 1000 *
        1000, /* the same, beyond that, when it waits for copies and nobody said how long */
    LANES_APART_US =
        1000 *
        1000, /* the two that are for what is shared were not last used within one such time */
    LANES_IDLE_MAX =
        8, /* connections for one request at a time that are kept for later ones, of each member; of more, one goes each tick */
    LANES_MAX = 4096, /* of each member */
    LANES_KEPT = 256, /* of these, for what is shared: without any, the member is of no use */
    RELAY_ROOM_BYTES = 1024, /* of a request, and of an answer, without further memory */
    RELAY_WHOLE_BYTES_MAX =
        KEY_SHORT_BYTES_MAX, /* a body up to this is taken whole before it is passed on; a larger one streams */
    RELAY_STREAM_BYTES = 256 * 1024, /* of a streaming answer that its client has not taken */
    LONG_KEYS_MAX = 1024,            /* keys whose values are known to be longer than that */
    RECENT_MAX = 8192,               /* keys that were just written, each in its place */
    RECENT_US = 100 * 1000,          /* reads so soon after a write must see it */
    RELAY_DISPLACED_MAX = 2,         /* a read that was displaced so often goes alone */
    RELAY_TRIES_MAX = 6,
    RELAY_LATE_US = 250 * 1000, /* so late a node may carry out the first try of a write */
    RELAY_LONG_LATE_US =
        1000 *
        1000, /* so late it may begin one of a value that streams, which cannot be sent again */
    RELAY_PARK_US = 1500 * 1000, /* a request waits so long for a member that is ready */
    RELAY_ASK_AGAIN_US =
        500 * 1000, /* while keys move, a request that waits is asked anew so often */
    /* Lists of keys: how many are made at a time, of how many keys (a sentence in search.c says so, too), what one node may answer,
     * and how soon it must say something. */
    SEARCHES_MAX = 16,
    SEARCH_KEYS_MAX = 1000,
    SEARCH_BYTES_MAX = 13 * 1024 * 1024,
    SEARCH_ANSWER_US = 30 * 1000 * 1000,

    PARKED_MAX = 65536, /* requests that wait so, of one partition */
    RETRY_TOKENS_MAX =
        20000, /* retries that may be made at once; each request earns a tenth of one */
    RETRY_TOKEN_PARTS = 10,
};

#define VERSION_AHEAD_US_MAX \
    ((uint64_t)86400 * 1000000) /* of a node's clock, to be minded in other keys' versions */

/* A write that was answered. */
struct recent_write {
    uint64_t key_hash, version;
    uint64_t node;     /* the id of who carried it out */
    uint64_t until_us; /* until then, of the loop's time, it counts */
};

struct relay;
struct lane;
struct search;

/* Bytes that the request or the answer is kept in. */
struct relay_bytes {
    char *data; /* `room`, or malloc'd */
    size_t len, size;
    char room[RELAY_ROOM_BYTES];
};

/* A part of a streaming answer. */
struct relay_block {
    struct relay_block *next;
    size_t len;
    char data[];
};

/* One try of a request at one member. It outlives its relay when nobody wants the answer any more. */
struct attempt {
    struct call call;    /* first, so that a call leads here */
    struct relay *relay; /* NULL: given up */
    struct lane *lane;
    struct attempt *previous, *next; /* of its lane, in the order of calls */
    bool counted;                    /* in its backend's in_flight */
    bool begun;                      /* its answer is the one under way */
};

enum relay_state {
    RELAY_UPLOADING, /* its body comes in parts */
    RELAY_BEHIND,    /* others of its key, before it on its client's connection, come first */
    RELAY_SENDING,   /* it is on its way, or about to be sent again */
    RELAY_PARKED,    /* nobody is ready */
    RELAY_WAITING,   /* it is asked anew soon, see relay_wait */
    RELAY_ANSWERED,  /* what can be known of the answer is known */
};

/* A body that comes in parts, see upload.c. */
struct upload {
    bool chunked; /* its length is not known */
    bool streams; /* it is passed on as it comes, and so cannot be sent again */
    bool begun;   /* on a connection */
    bool whole;
    uint64_t bytes; /* so far */
};

struct relay_list {
    struct relay *first, *last;
};

/* One request. */
struct relay {
    struct frontend *frontend;
    struct partition *partition;   /* that is asked now: one of these two */
    struct partition *own, *other; /* other: NULL unless keys move, see moving.c */
    struct request *request;       /* deferred, or with a body under way */
    struct attempt *attempt;       /* NULL between two */
    struct backend *avoid;         /* where the last try failed */
    struct relay *previous, *next; /* of those that are parked, or wait */
    struct relay_list *list;       /* that it waits in */
    uint64_t key_hash;
    uint64_t version; /* of the first try; 0 before */
    uint64_t
        after; /* what it is to be at least: a write as its client wants it, a read as it was just written; of a write that was answered what it is */
    uint64_t writer; /* the id of the node that has that; 0 for none, or before the answer */
    uint64_t
        before_us; /* its client wants it carried out before that time of the node's clock; or 0 */
    uint64_t late_us; /* the first try shall be, by that of the first node */
    uint64_t
        settled_us; /* the same by the time of this loop: then it was carried out, or never will be */
    uint64_t other_version; /* of the key in the other clusters; 0 when they know nothing of it */
    uint64_t own_version;   /* that its own cluster has answered a read with */
    uint64_t
        held_until_us; /* a node may keep it so long, as its client says; 0: it does not wait */
    uint64_t
        wait_until_us; /* while keys move: a request that waits; 0 for none. Then when it is asked anew */
    uint64_t again_us;
    uint32_t copies; /* that a write waits for */
    uint8_t state;   /* enum relay_state */
    uint8_t tries;
    uint8_t displaced; /* so often it stood behind an answer that took long, see lane_yield */
    bool write;
    bool home;         /* a read that goes where the key's writes go */
    bool versioned;    /* the client has given a version itself */
    bool ahead;        /* the node may give a version that is less than what was seen here */
    bool asks_version; /* of the other clusters, before the request itself */
    bool unasked;      /* they did not tell */
    bool settled;      /* a read takes what its own cluster answers */
    bool older;        /* the answer under way is not what the other clusters know of the key */
    bool head_only;    /* HEAD */
    bool alone;        /* it may take long: a connection of its own */
    bool waits;        /* its client wants to hear of a change */
    bool hurried;      /* it waits no more: no node is to hold it any longer */
    bool elsewhere;    /* the answer under way is a refusal that another member may not give */
    bool misrouted;    /* the node that answers is of another partition */
    bool broken;       /* the answer cannot be completed */
    bool paused;       /* its lane was, until its client has taken more */
    bool streaming;    /* the answer's head was there, its body goes on: perhaps by another try */
    bool told;         /* the head of a streaming answer was written */
    bool lost;         /* a try has ended that may have been carried out */
    bool first;        /* of a write: the try under way is the first one with its version */
    bool late; /* its last try was that, and was refused as too late: as if it had not been sent */
    bool nonsense;         /* the last try has ended with an answer that made none */
    struct upload *upload; /* NULL when the body came whole */

    uint16_t status;      /* of the answer */
    const char *sentence; /* of a refusal */
    size_t
        path_bytes; /* of the request: its method, with the blank; what follows up to the client's fields */
    size_t method_bytes;
    size_t head_bytes;    /* without its last CRLF */
    size_t prefer_bytes;  /* the last of these */
    size_t lines_bytes;   /* of the answer's head */
    uint64_t body_bytes;  /* that are to come in all, when it streams */
    uint64_t taken_bytes; /* of these, over all tries */
    uint64_t skip_bytes;  /* that come a second time */
    struct relay_block *blocks, **blocks_end;
    size_t block_bytes; /* of these */

    /* What must not be zeroed for each request. */
    struct relay_bytes sent; /* head, its last CRLF, body */
    struct relay_bytes got;  /* lines of the head, then the body unless it streams */
};

enum lane_kind {
    LANE_SHARED, /* many requests at a time */
    LANE_ALONE,  /* one at a time */
};

/* One connection to a member. */
struct lane {
    struct backend *backend;
    struct upstream *upstream;
    struct lane *previous, *next; /* of its backend */
    struct attempt *first, *last;
    enum lane_kind kind;
    bool waiting; /* for the connection, to send the first attempt */
    bool yielded; /* it was shared once, see lane_yield: it serves no other request */
    bool idle;    /* in the list of those that are kept for a later request */
    struct lane *idle_previous, *idle_next;
};

/* One member of a cluster, or an address where one may be. */
struct backend {
    struct partition *partition;
    struct address address;
    struct upstream *control;
    struct fetch ready_fetch, hello_fetch;
    struct lane *lanes;
    struct lane *shared, *spare; /* of these; NULL, or not open yet */
    struct lane *idle; /* of these, those alone without a request; the last one used is first */
    unsigned idle_count;
    uint64_t id; /* of the node that answers there; 0 before */
    uint64_t hello_due_us, retry_us, backoff_us;
    uint64_t asked_us;              /* when the hello under way was */
    uint64_t clock_us, clock_at_us; /* its wall clock was this at that loop time, or more */
    uint64_t digest;                /* of its table, as it last said */
    unsigned taken;                 /* of a contact's turns, the last one that it was taken in */
    unsigned read_pass;             /* of reshard, that last read all of it */
    unsigned twice_pass;            /* the same, and so did the one before */
    unsigned lane_count;
    unsigned in_flight; /* requests on shared lanes */
    unsigned apart;     /* hellos since it was seen to be of one cluster with the first one */
    struct seed *seed;  /* that named it, or a name of which it is an address; NULL for none */
    bool listed;        /* a member says that it is one */
    bool in_list;       /* the same, of a list that is being read */
    bool up;            /* it answers */
    bool is_ready;
    bool wrong;                 /* it is of another partition */
    bool foreign;               /* it is of another cluster */
    bool usable;                /* requests can be sent there now */
    bool told;                  /* the same, as the log says it */
    bool leaving;               /* to be forgotten */
    char says[40];              /* its partition, as it says */
    enum member_phase phase;    /* what it is doing, the same */
    uint64_t records;           /* what it has, deletes too, the same */
    unsigned gathered_permille; /* how much of everything that is, the same */
    uint64_t push_p50_us,
        push_p99_us; /* how long its pushes took of late, the same; HISTORY_NONE when there were none */
    uint64_t requests, failures; /* so far */
};

/* HOST:PORT as it was named. */
struct seed {
    struct partition *partition;
    char host[RESOLVER_NAME_BYTES_MAX + 1];
    uint16_t port;
    struct lookup lookup;
    uint64_t next_us;
    bool asking;
};

struct partition {
    struct frontend *frontend;
    unsigned number, count; /* I of N */
    enum side side;
    char cluster[NODE_NAME_BYTES_MAX +
                 1]; /* as the first node that was ready calls it; empty before */
    struct seed *seeds;
    unsigned seed_count;
    struct backend **backends;
    unsigned backend_count, backend_room;
    struct backend **usable; /* of these; each node once */
    unsigned usable_count;
    struct relay *parked, *parked_last;
    unsigned parked_count;
    uint64_t lost_us;            /* since when nobody is ready; loop time */
    uint64_t retry_tokens;       /* RETRY_TOKEN_PARTS of a retry */
    bool reached, told;          /* somebody is ready; and that (or the contrary) was logged */
    uint64_t requests, failures; /* so far; failures of tries */
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
    unsigned waiting; /* relays whose clients want to hear of a change */
    unsigned behind;  /* relays that are RELAY_BEHIND */
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

/* frontend.c */

/* A number below `below`, by chance. */
unsigned frontend_chance(struct frontend *frontend, unsigned below);

/* Some node, or a client, has told of a version; `clock_us` is what a node's clock says. One that is far ahead of it is not minded, since
 * then all that is written later would have to be ahead, too. */
void frontend_learn_version(struct frontend *frontend, uint64_t version, uint64_t clock_us);

/* A version for a write that is sent now to a node whose clock says at least `clock_us`: more than any that a node has told. */
uint64_t frontend_version(struct frontend *frontend, uint64_t clock_us);

/* relay.c: one request on its way. */

/* Reads a request, whose slices are there. Returns NULL when out of memory. relay_free is its end. */
struct relay *relay_new(struct frontend *frontend, struct request *request);
void relay_free(struct relay *relay);

/* If it may wait: how long counts from now on, as on a node from where the body is whole. */
void relay_set_wait(struct relay *relay, const struct key_options *options);

/* Counts it, and sends it; once those before it of its key, on its client's connection, are answered. */
void relay_begin(struct relay *relay);

/* The request is deferred now, and whole: off it goes. */
void relay_start(struct relay *relay, struct request *deferred);

/* Sends it, or parks it. */
void relay_send(struct relay *relay);

/* Sends it once more. `lost`: the node that it was sent to may have carried it out, or still do so. */
void relay_send_again(struct relay *relay, bool lost);

/* Its attempt has ended without an answer, so it is sent again, if that is allowed. `lost` as above. */
void relay_failed(struct relay *relay, bool lost);

/* The same, of one that this node has answered, with a refusal that another may not give. */
void relay_was_refused(struct relay *relay, struct backend *by);

/* The same, of a first try of a write that was refused as too late. */
void relay_was_late(struct relay *relay);

/* Its answer is there: those that stood behind it come next. */
void relay_end(struct relay *relay);

/* It is a write, and its client hears of it now: reads that come after that are not to be older. */
void relay_was_written(const struct relay *relay);

/* Its client should not be kept waiting any more. */
void relay_hurry(struct relay *relay);

/* It is sent anew at that time of the loop, or some ticks after it when others in the list, which is one of the front-end's, have later
 * times. */
void relay_wait(struct relay *relay, struct relay_list *list, uint64_t until_us);

/* Sends those whose time has come. */
void relays_tick(struct frontend *frontend);

/* relay_request.c: the request as it is sent. */

/* Writes the whole of it, as far as it is there, into relay->sent. Returns 0 or -ENOMEM. */
int relay_write(struct relay *relay, const struct request *request);

/* Whether the try of a write that is under way says itself when it would come too late: what streams cannot be sent again, and a client
 * may have said an earlier time. */
bool relay_ends_soon(const struct relay *relay);

/* The pieces of the request, for this try; `room` is for the lines between them. Returns how many. */
enum { RELAY_PIECES_MAX = 3, RELAY_LINES_BYTES = 192 };
unsigned relay_pieces(struct relay *relay, struct conn_piece pieces[RELAY_PIECES_MAX],
                      char room[RELAY_LINES_BYTES]);

void relay_bytes_init(struct relay_bytes *bytes);
void relay_bytes_free(struct relay_bytes *bytes);

/* Makes room for so many bytes in all. Returns 0 or -ENOMEM. */
int relay_bytes_reserve(struct relay_bytes *bytes, size_t size);
int relay_bytes_add(struct relay_bytes *bytes, struct slice data);

/* Adds what room was made for. */
static inline void relay_bytes_put(struct relay_bytes *bytes, struct slice data)
{
    memcpy(bytes->data + bytes->len, data.data, data.len);
    bytes->len += data.len;
}

/* moving.c: requests while keys move to another number of partitions. */

extern const struct call_ops moving_call_ops;

/* Asks the other clusters for the key's version; then it is sent. */
void moving_ask_version(struct relay *relay);

/* They do not tell: it is done without. */
void moving_go_on(struct relay *relay);

/* Whether one of the two homes knows something newer than an answer with that version, 0 for none, and can be asked for it. */
bool moving_is_older(struct relay *relay, uint64_t version);

/* Asks the other home for the answer itself. */
void moving_look_there(struct relay *relay);

/* A whole answer is there: whether its client rather waits for another one. Then it is asked anew in a moment. */
bool moving_wait(struct relay *relay);

/* relay_answer.c: the answer to it. */

extern const struct call_ops relay_call_ops;

/* The whole answer that was taken is given. */
void relay_answer(struct relay *relay);

/* What the answer says of the key's version; 0 for nothing. */
uint64_t relay_learn_version(const struct attempt *attempt, const struct http_response *head);

/* Answers with a refusal; a body that is under way ends. `sentence` is static, or lives in the relay. */
void relay_refuse(struct relay *relay, unsigned status, const char *sentence);

/* A streaming answer cannot go on. */
void relay_break(struct relay *relay);

/* What came of an answer of which its client has seen nothing yet is dropped: another try begins anew. */
void relay_rewind(struct relay *relay);

enum server_stream_result relay_on_stream(struct relay *relay, struct request *request);
void relay_blocks_free(struct relay *relay);

/* upload.c */

extern const char upload_too_large[]; /* for a 413 */

int upload_start(struct relay *relay, uint64_t bytes, bool chunked);
struct server_room upload_room(struct relay *relay, struct request *request, uint64_t left);
void upload_filled(struct relay *relay, size_t bytes);

/* Whether what there is of it is on its way already, or about to be. */
static inline bool upload_streams(const struct relay *relay)
{
    return relay->upload && relay->upload->streams;
}

/* The body is whole. */
void upload_end(struct relay *relay);

/* Its connection stands: what is there goes out. */
void upload_begin(struct relay *relay, struct lane *lane, struct attempt *attempt);

/* The connection has taken all so far. */
void upload_on_drained(struct relay *relay);

/* lane.c */

/* Returns NULL when out of memory, or when there are LANES_MAX; LANES_KEPT fewer for one that is not shared. */
struct lane *lane_new(struct backend *backend, enum lane_kind kind);
bool lane_is_open(const struct lane *lane);

/* A connection for one request, an idle one if there is any; else as lane_new. */
struct lane *lane_take(struct backend *backend);

/* Sends a relay's request there. Returns 0 or -ENOMEM. */
int lane_send(struct lane *lane, struct relay *relay);

/* The answer that comes now takes long: those behind it go elsewhere, and the connection is this one's. Not without a place for one more
 * connection: the last ones that are shared would be gone. */
bool lane_may_yield(const struct lane *lane);
void lane_yield(struct lane *lane);

/* A call has ended: the attempt is freed, and its lane used for another one, or closed. */
void attempt_end(struct attempt *attempt, bool done);

/* Nobody wants the answer. */
void attempt_give_up(struct attempt *attempt);

/* Ends one at once; its calls end from inside of this. */
void lane_destroy(struct lane *lane);

/* Closes one that is idle, if there are many. */
void lanes_trim(struct backend *backend);

/* Closes all of a backend's. */
void lanes_close(struct backend *backend);

/* backend.c */

struct backend *backend_new(struct partition *partition, const struct address *address);
void backend_destroy(struct backend *backend);
void backend_tick(struct backend *backend);
void backend_down(struct backend *backend, const char *why);

/* Sees to it that there are a shared and a spare connection, or begins them. */
void backend_tend_lanes(struct backend *backend);

/* Whether it can be used has changed, perhaps. */
void backend_update(struct backend *backend);

/* The connection for most requests, if one stands; else NULL. */
struct lane *backend_lane(struct backend *backend);

/* What its wall clock says now, or less: by as much as its last hello was on its way. */
uint64_t backend_clock_us(const struct backend *backend);

/* partition.c */

/* `partition` has its frontend, side, number and count, and is zeroed else. Returns 0 or -errno; partition_free in either case. */
int partition_init(struct partition *partition, const struct frontend_cluster *named);
void partition_free(struct partition *partition);
void partition_tick(struct partition *partition);

/* Hears of an address; NULL when out of memory, or when there are BACKENDS_MAX. */
struct backend *partition_add(struct partition *partition, const struct address *address);

/* A member's list of members. */
void partition_take_list(struct backend *speaker, struct slice body);

/* One that requests are sent to as well, though neither of the two is a member of the other's cluster for some seconds: so they do not hold
 * the same. NULL when all is well. */
const struct backend *partition_apart_from(const struct backend *backend);

/* Who is usable has changed. */
void partition_update(struct partition *partition);

/* Whom to ask; NULL when nobody is ready. */
struct backend *partition_choose(struct partition *partition, const struct relay *relay);

void partition_park(struct partition *partition, struct relay *relay);
void partition_unpark(struct partition *partition, struct relay *relay);

/* Whether one more retry may be made. */
bool partition_may_retry(struct partition *partition);

/* What it is called. */
static inline const struct side_words *partition_words(const struct partition *partition)
{
    return side_words(partition->side);
}

/* What keeps it from being used, for a client; static. */
struct http_error partition_trouble(const struct partition *partition);

/* search.c: /-/keys. Its head is looked at first, and refused when the query is wrong. */

void search_on_head(struct request *request, struct slice query);
void search_on_request(struct frontend *frontend, struct request *request, struct slice query);
void search_free(struct search *search);

/* This member is down: whoever asks it asks another one. */
void searches_leave(const struct backend *backend);

/* For /-/history. */
void frontend_take_sample(struct frontend *frontend);

/* frontend_status.c, frontend_metrics.c, frontend_lines.c and frontend_figures.c: each writes a whole reply. */

void frontend_reply_status(struct frontend *frontend, struct request *request);
void frontend_reply_metrics(struct frontend *frontend, struct request *request);
void frontend_reply_front(struct frontend *frontend, struct request *request);
void frontend_reply_ready(struct frontend *frontend, struct request *request);

#endif
