/* One request of a front-end on its way to a node, and the answer to it: a try that ends without an answer is followed by another one,
 * elsewhere if need be. relay.c has its states and its tries, relay_request.c what is sent, relay_answer.c what is got. Inside of the
 * front-end alone. */
#ifndef ROLE_RELAY_H
#define ROLE_RELAY_H

#include "net/server.h"
#include "net/upstream.h"
#include "role/key.h"

enum {
    RELAY_ROOM_BYTES = 1024, /* of a request, and of an answer, without further memory */
    RELAY_WHOLE_BYTES_MAX =
        KEY_SHORT_BYTES_MAX, /* a body up to this is taken whole before it is passed on; a larger one streams */
    RELAYS_BYTES_MAX = 1024 * 1024 * 1024, /* that all requests together are kept in */
    RELAY_STREAM_BYTES = 256 * 1024,       /* of a streaming answer that its client has not taken */
    RELAY_ASIDE_BYTES = 512 * 1024,        /* of a connection's answers whose turn has not come */
    RELAY_DISPLACED_MAX = 2,               /* a read that was displaced so often goes alone */
    RELAY_TRIES_MAX = 6,
    RELAY_LATE_US = 250 * 1000, /* so late a node may carry out the first try of a write */
    RELAY_LONG_LATE_US =
        1000 *
        1000, /* so late it may begin one of a value that streams, which cannot be sent again */
    RELAY_AHEAD_US = 10 * 1000 * 1000, /* of its node's clock; a version beyond that is no time */
    RELAY_PARK_US = 1500 * 1000,       /* a request waits so long for a member that is ready */
    RELAY_ASK_AGAIN_US =
        500 * 1000, /* while keys move, a request that waits is asked anew so often */
};

struct attempt;
struct backend;
struct frontend;
struct partition;
struct upload;

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

enum relay_state {
    RELAY_UPLOADING, /* its body comes in parts */
    RELAY_BEHIND,    /* others of its key, before it on its client's connection, come first */
    RELAY_SENDING,   /* it is on its way, or about to be sent again */
    RELAY_ASIDE,     /* there is no room for its answer before its turn */
    RELAY_PARKED,    /* nobody is ready */
    RELAY_WAITING,   /* it is asked anew soon, see relay_wait */
    RELAY_ANSWERED,  /* what can be known of the answer is known */
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
    uint64_t
        version; /* of the first try that a node may have carried out, or as its client says; 0 before */
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
    bool follows;      /* its version is no time by any clock, but follows one of the future */
    bool asks_version; /* of the other clusters, before the request itself */
    bool unasked;      /* they did not tell */
    bool settled;      /* a read takes what its own cluster answers */
    bool older;        /* the answer under way is not what the other clusters know of the key */
    bool head_only;    /* HEAD */
    bool alone;        /* it may take long: a connection of its own */
    bool waits;        /* its client wants to hear of a change */
    bool hurried;      /* it waits no more: no node is to hold it any longer */
    bool held;         /* a node has held it, or may have: others may have no room for it */
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
    uint64_t length;    /* of an answer that had no room before its turn; 0 for none so far */
    uint64_t room;      /* for its answer, of RELAY_ASIDE_BYTES; 0 once its turn has come */

    /* What must not be zeroed for each request. */
    struct relay_bytes sent; /* head, its last CRLF, body */
    struct relay_bytes got;  /* lines of the head, then the body unless it streams */
};

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

/* relay_aside.c: what is kept of answers before their turn. */

/* Whether a request that is about to be sent stands aside instead, until there is room for its answer: then it is asked anew. */
bool relay_stands_aside(struct relay *relay);

/* Whether there is room for an answer whose body is that long; else the request stands aside. */
bool relay_has_room(struct relay *relay, uint64_t bytes);

/* The turn of its answer has come, or it ends: what it takes is no more of what others have to share. */
void relay_leave_line(struct relay *relay);

/* Those that stand aside on the connection of that request, the first of it, are asked as far as there is room. */
void relays_turn(struct request *first);

/* It is a write that will be answered later in this turn: what that takes is brought into the processor's cache. */
void relay_will_be_written(const struct relay *relay);

/* It is a write, and its client hears of it now: reads that come after that are not to be older. */
void relay_was_written(const struct relay *relay);

/* One that a node has held finds no other to hold it: it is told as it is, as without its wait. Returns whether it is such a one. */
bool relay_end_wait(struct relay *relay);

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

/* The same for the request itself; -ENOMEM also when all of a front-end would have more than RELAYS_BYTES_MAX. */
int relay_reserve(struct relay *relay, size_t size);

/* Adds what room was made for. */
static inline void relay_bytes_put(struct relay_bytes *bytes, struct slice data)
{
    memcpy(bytes->data + bytes->len, data.data, data.len);
    bytes->len += data.len;
}

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

#endif
