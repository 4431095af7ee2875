/* The inside of the server room, shared by server.c (who may connect, limits, batches), client_input.c (one
 * connection's requests), client.c (its states and answers) and reply.c (what they look like). Nobody else includes this. */
#ifndef NET_CLIENT_H
#define NET_CLIENT_H

#include "base/date.h"
#include "base/pool.h"
#include "net/server.h"

/* What the requests of one batch may take of the scratch memory. One read may use up as much again before the batch
 * is run. */
enum { SCRATCH_BYTES = (SERVER_BATCH_MAX + 1) * SERVER_SCRATCH_BYTES };

/* The start of most replies: the status line, and Date with its CRLF. */
enum { OK_DATE_AT = 23, OK_HEAD_BYTES = OK_DATE_AT + DATE_HTTP_BYTES + 2 };

/* What one connection is busy with. */
enum client_state {
    CLIENT_READY,     /* between requests, or in the middle of a head */
    CLIENT_BODY,      /* a body comes in parts into exchange->request */
    CLIENT_HELD,      /* exchange->request waits for its answer */
    CLIENT_STREAMING, /* exchange->request's reply is made piece by piece */
    CLIENT_FINISHING, /* the last reply was written */
};

/* A request that outlives its batch. */
struct exchange {
    struct request request; /* first, so that a request that is detached leads here */
    struct http_chunked chunked;
    struct exchange *next;                              /* of the deferred ones of its client */
    void (*answer)(struct service *, struct request *); /* deferred: NULL while there is none */
    uint64_t body_left;                                 /* of a body that is not chunked */
    char *head; /* a copy of the head, when the service did not take the body; else NULL */
    uint64_t hold_until_us;
};

struct client {
    struct conn conn; /* first, so that a conn leads here */
    struct server *server;
    struct client *previous, *next;          /* all clients of the server */
    struct client *next_ready;               /* those with something to go on with */
    struct exchange *exchange;               /* NULL while READY */
    struct exchange *pending, *pending_last; /* deferred, in the order of their requests */
    struct loop_timer timer;
    struct loop_deferred deferred;
    uint64_t active_us;  /* when it last did something: sent a request, took output */
    uint64_t request_us; /* when the head or body under way began; 0 when none is */
    uint64_t sent_bytes; /* as of active_us */
    uint64_t body_bytes; /* received of the body under way */
    struct server_line line;
    uint16_t pending_count, pending_writes;
    uint16_t run_max; /* requests looked at in one go: fewer when many had to be looked at again */
    uint8_t state;    /* enum client_state */
    bool in_batch, in_ready;
    bool takes_long;   /* while in_ready: it streams, or sends a large body */
    bool large_bodies; /* its last body that came in parts was large, or its last chunk */
    bool more;         /* kept input may hold a whole request */
    bool rejected;     /* more of a request may come that is not wanted */
    bool reading;      /* the request must be complete by its time limit */
    bool waiting;      /* the kept input goes on once what is deferred was answered */
    bool last;         /* the connection ends with the last answer of those that are deferred */
    bool body_paused;  /* see server_pause_body */
    bool starved;      /* see SERVER_STREAM_WAIT */
};

/* Why the parsing of one connection's input stopped. */
enum run_stop {
    RUN_NEEDS_INPUT, /* the rest is part of a request */
    RUN_AGAIN, /* the rest may hold more: the batch is full, or the next one must stand first */
    RUN_WAIT,  /* the same, and it must wait until what is deferred was answered */
    RUN_CLOSE, /* nothing more is wanted of this connection */
};

/* One connection's requests in a batch, in order. */
struct run {
    struct client *client;
    const char *data;
    size_t len;
    size_t parsed;
    unsigned first, count;
    enum run_stop stop;
};

/* What is written in one connection's turn; the text all connections share. */
struct output {
    struct client *client;
    char *text; /* SERVER_TEXT_BYTES */
    size_t used, piece_start;
    struct conn_piece pieces[CONN_PIECES_MAX];
    unsigned count;
    size_t stream_bytes; /* of the streamed body, in this call of on_stream */
};

/* Those with something to go on with, in the order in which they got it. */
struct ready_clients {
    struct client *first, **end;
    unsigned count;
};

struct server {
    struct loop *loop;
    struct log *log;
    struct service *service;
    struct server_config config;
    struct http_reader reader;
    struct loop_watcher listener;
    struct loop_timer accept_timer;
    struct loop_hook hook;
    int fd;                           /* of the listener, -1 while there is none */
    struct loop_share accepts, longs; /* longs: of ready_long */
    bool accepting, draining;
    struct client *clients;
    struct ready_clients ready,
        ready_long; /* those of the second have a part of each turn for themselves, behind all of the first */
    struct client *answering; /* whose request the service has in hands */
    struct pool exchanges;
    uint64_t trim_us; /* when they are trimmed next */
    uint32_t connections, held;
    struct request *requests[SERVER_BATCH_MAX];
    struct request pool[SERVER_BATCH_MAX];
    struct run runs[SERVER_BATCH_MAX];
    unsigned request_count, run_count;
    char *input; /* SERVER_INPUT_BYTES */
    size_t input_used;
    char *scratch; /* 2 * SCRATCH_BYTES + SERVER_SCRATCH_ROOM */
    size_t scratch_used;
    struct output output;
    uint64_t turn;        /* the last one whose end was seen */
    uint64_t date_second; /* of what stands in ok_head */
    char ok_head[OK_HEAD_BYTES];
    struct server_counters counters;
};

/* client.c */

/* Takes over the socket. Returns NULL when out of memory or of watches (the socket is closed). */
struct client *client_new(struct server *server, int fd);

/* Moves a request of the batch to memory of its own; NULL when there is none. */
struct exchange *request_detach(struct request *request);

/* Its slices are gone from here on. */
void request_forget_slices(struct request *request);

/* Ends a request and gives its memory back. */
void exchange_end(struct server *server, struct exchange *exchange);

/* Sets the timer to the earliest time limit, if that is earlier. */
void client_set_timer(struct client *client);

/* It was kept waiting until now: the time of what it has begun to send counts from here. */
void client_begin_anew(struct client *client);

/* Nothing more is read; what is queued is still sent. `unread` as for conn_finish. */
void client_finish(struct client *client, bool unread);

/* Whether nothing is read of it now. Of who waits for what may take long it is, up to a point, to see its end. */
bool client_pauses(const struct client *client);

/* What is left of a run's input is kept, and what comes next is settled. */
void client_settle(struct client *client, struct slice rest, enum run_stop stop);

/* Answers the requests of one run, in order, until the connection blocks. */
void client_run(struct server *server, struct run *run);

/* Says no to a new client, with a 503. */
void client_refuse(struct client *client, const char *sentence);

/* The server drains: answers what is held, ends what is idle. */
void client_drain(struct client *client);

/* Goes on with a client that is ready: its stream, its answers, its large body, or the input that it keeps. */
void client_go_on(struct client *client);

/* client_deferred.c */

/* Whether a request may be looked at now, beside those that are deferred. */
bool client_may_defer(const struct client *client, const struct request *request);

/* Whether the first of those that are deferred has its answer. */
bool client_can_answer(const struct client *client);

/* Answers those that can be, in order. */
void client_answer_deferred(struct client *client);

/* The service hears who the first of those that are deferred is, unless the client takes nothing for now: then later. */
void client_tell_turn(struct client *client);

/* Those that are deferred should be answered now. */
void client_hurry(struct client *client);

/* Ends all that are deferred, unanswered. */
void client_drop_deferred(struct client *client);

/* client_input.c */

/* Reads (new bytes too, if may_recv) and parses into the batch. */
void client_read(struct client *client, bool may_recv);

/* Whether what comes next is a part of a large body, which is read straight to where it belongs. */
bool client_reads_direct(const struct client *client);

/* server.c */

void server_run_batch(struct server *server);
void server_forget(struct client *client);
void server_ready(struct client *client);

/* reply.c */

void output_start(struct output *output, struct client *client);
void output_flush(struct output *output);

/* Adds one chunk of a streamed reply, made by on_stream; the last one too at the end. Returns what
 * on_stream said. */
enum server_stream_result output_stream(struct output *output, struct request *request);

#endif
