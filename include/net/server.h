/* An HTTP server on conns: accepts whom the allow-list has, parses requests, gathers those of one turn
 * in a batch, has the service answer them, and writes the answers of each connection in one go.
 *
 * What a request is about is the service's business. The service sees requests in the order in which they
 * came on each connection and answers each exactly once: at once, or later (server_hold), or piece by
 * piece (server_stream). */
#ifndef NET_SERVER_H
#define NET_SERVER_H

#include <stdbool.h>

#include "base/histogram.h"
#include "base/log.h"
#include "net/conn.h"
#include "net/http.h"

enum {
    SERVER_BATCH_MAX = 256, /* requests answered in one go */
    /* Requests that are prepared together (on_batch): more would not fit into the processor's first cache. */
    SERVER_GROUP_MIN = 16,
    SERVER_READ_BYTES = 16 * 1024,    /* taken from one connection at a time */
    SERVER_INPUT_BYTES = 1024 * 1024, /* the input buffer that all connections share */
    SERVER_PASSES_PER_TURN = 8,       /* batches in one turn before other events get their chance */
    SERVER_ACCEPTS_LAST_MAX = 4096,   /* that wait when it stops listening */
    SERVER_SCRATCH_BYTES = 4096,      /* of each request, for the service */
    SERVER_SCRATCH_ROOM = 16 * 1024, /* that a service may write to before it knows what it needs */
    SERVER_TEXT_BYTES = 256 * 1024,  /* the output buffer that all connections share */
    SERVER_COPY_BYTES_MAX = 8 * 1024, /* bodies up to this are copied, larger ones sent in place */
    SERVER_STREAM_BYTES = 64 * 1024,  /* of a streamed reply made at a time */
    SERVER_DISCARD_BYTES_MAX = 64 * 1024, /* of a body that nobody wants, before the 413 */
    SERVER_METHODS = HTTP_OTHER + 1, /* HTTP_OTHER also counts requests without a readable method */
    SERVER_STATUSES = 500,           /* 100 to 599 */
    SERVER_REFUSED_MAX = 128, /* connections past connections_max that are told so with a 503 */
    SERVER_FELLOWS_MAX = 256, /* past these, for the service's fellows alone */
    SERVER_LINGER_US = 1000 * 1000, /* see CONN_LINGERING */
    SERVER_LAST_US = 250 * 1000,    /* a stop waits so long for one more request of a busy client */
    SERVER_ACCEPT_PAUSE_US = 100 * 1000, /* out of file descriptors: when to try again */
    SERVER_BODY_BYTES_PER_S = 16 * 1024, /* a body may take 1 s longer for each of these */
    SERVER_DEFERRED_MAX = 64, /* requests of one connection that are deferred at a time */
    SERVER_TRIM_US =
        50 * 1000, /* how often the memory of deferred requests is looked at for what is spare */
};

struct server_config {
    struct allow_list allow;
    uint32_t connections_max;
    uint64_t idle_us;    /* a connection without a request is closed after it */
    uint64_t request_us; /* a request must be complete after it (SERVER_BODY_BYTES_PER_S) */
    uint64_t stall_us;   /* a client that takes nothing of its reply is closed after it */
};

struct server;
struct client;
struct request;

/* Room for the next bytes of a body. */
struct server_room {
    char *data;
    size_t len;
};

enum server_stream_result {
    SERVER_STREAM_MORE, /* call again as soon as there is room */
    SERVER_STREAM_WAIT, /* nothing is there now: server_stream_wake follows */
    SERVER_STREAM_END,  /* that was all */
    SERVER_STREAM_BROKEN, /* cannot go on: the connection is cut, so that the client sees it as incomplete */
};

/* Who answers. All functions get the service itself first; it is embedded in its owner. */
struct service {
    /* A head was parsed. Looks at it, and may refuse it by setting request->error. */
    void (*on_head)(struct service *service, struct request *request);

    /* The body will come in parts (it is large, or chunked). Copies what it needs of the request's slices,
     * which are gone after this, and sets request->error to refuse. `bytes` is the length, or 0 for
     * chunked ones. Only when this succeeded are the next two called. */
    void (*on_body_start)(struct service *service, struct request *request, uint64_t bytes);

    /* Where to put body bytes next (may be asked more than once before they come): at least one byte of room, or {NULL, 0}
     * to refuse with request->error. `left` bytes are known to come at least. */
    struct server_room (*on_body_room)(struct service *service, struct request *request,
                                       uint64_t left);

    /* `bytes` were put there. May set request->error. */
    void (*on_body_filled)(struct service *service, struct request *request, size_t bytes);

    /* The requests of a batch, complete, before the first of them is answered; and those of them that
     * are answered next, SERVER_GROUP_MIN or some more: time to prefetch. */
    void (*on_batch)(struct service *service, struct request *const *requests, unsigned count);
    void (*on_group)(struct service *service, struct request *const *requests, unsigned count);

    /* Answers one (with reply.h, server_hold or server_stream). The body is in request->body, or came in
     * parts. */
    void (*on_request)(struct service *service, struct request *request);

    /* The answers of a batch that came on one connection alone are about to be sent. What others are to hear of these requests can
     * go out before: that takes no longer then, and with many connections one would wait for the other. May be NULL. */
    void (*on_answers)(struct service *service);

    /* A held request's time is up, or its client sends no more, or the server drains: answer it now. For one that is deferred: the
     * same without the first, and "now" may be a moment later. */
    void (*on_hold_end)(struct service *service, struct request *request);

    /* Makes the next bytes of a streamed reply with reply_chunk and its like, SERVER_STREAM_BYTES at most. */
    enum server_stream_result (*on_stream)(struct service *service, struct request *request);

    /* The first one of those that are deferred on a connection is another one than before, and the client takes its answers. May be NULL. */
    void (*on_turn)(struct service *service, struct request *first);

    /* The request ends, answered or not: free what service_data holds. Called only when service_data is set. */
    void (*on_request_end)(struct service *service, struct request *request);

    /* Whether who connects from there is let in though connections_max is reached: clients must not keep those apart that serve
     * them together. NULL: nobody. */
    bool (*is_fellow)(struct service *service, const struct address *address);

    const char *retry_after; /* that a 503 with a sentence says; NULL for nothing */
};

/* The service's own, for all deferred requests of one connection together; zeroed at first. */
struct server_line {
    uint64_t bytes;  /* that are kept for answers, or will be */
    uint64_t length; /* of the body of the answer that came last */
    uint32_t aside;  /* requests for whose answers there is no room for now */
};

/* One request. Its slices are valid until on_request or on_body_start returns. */
struct request {
    struct client *client;
    struct server *server;
    struct slice body;         /* a body that came whole */
    struct http_error error;   /* status 0: none */
    uint64_t received_us;      /* loop time at which it was read */
    void *service_data;        /* the service's, see on_request_end */
    uint64_t service_room[11]; /* the service's, zeroed at first */
    uint32_t offset;           /* of its head in the client's input */
    uint16_t status;           /* of the reply, once there is one */
    uint8_t kind;              /* the service's */
    bool close;                /* the connection ends after the reply */
    bool body_parts;           /* the body came in parts, through service_data */
    bool detached;             /* it has memory of its own, outside of the batch */
    bool
        deferrable; /* the service's, in on_head: it will be answered with server_defer, unless it is refused */
    bool
        exclusive; /* the service's, with deferrable, until it is deferred: what follows on the connection waits for its answer */
    bool deferred;
    bool postponed;     /* see server_postpone */
    bool chunked_reply; /* the streamed reply is in chunks, since the client speaks HTTP/1.1 */
    bool replied;
    struct http_head head;
};

struct server_counters {
    uint64_t replies[SERVER_METHODS][SERVER_STATUSES]; /* by method and status - 100 */
    uint64_t accepted, refused_network, refused_full, accept_failures;
    uint64_t timeouts, batches;
    struct histogram
        latency_us; /* from the read of a request's last byte to its reply's hand-over to the kernel */
};

/* Returns NULL when out of memory. The caller owns it until server_destroy, and `service`, `log` and `loop`
 * outlive it. */
struct server *server_new(struct loop *loop, struct log *log, const struct server_config *config,
                          struct service *service);
void server_destroy(struct server *server);

/* Listens on *address; afterwards that holds the real port. Returns 0 or -errno. */
int server_listen(struct server *server, struct address *address);

/* Takes over a socket that listens already. Returns 0 or -errno. */
int server_adopt(struct server *server, int fd);

/* Stops accepting, closes what is idle, and has every other connection end with its present request.
 * Held requests are answered at once (on_hold_end). */
void server_drain(struct server *server);

/* Closes all connections, whatever is under way there. */
void server_cut(struct server *server);

/* Memory that lasts as long as the slices of the requests in the batch under way: SERVER_SCRATCH_BYTES for each at
 * most, the sum of what server_scratch_use took. */
char *server_scratch(struct server *server);
void server_scratch_use(struct server *server, size_t bytes);

/* The address that a request comes from; all zero when it cannot be told. */
void request_remote(const struct request *request, struct address *address);

/* Connections that are open. */
uint32_t server_connections(const struct server *server);

/* Requests that are held. */
uint32_t server_held(const struct server *server);

const struct server_counters *server_counters(const struct server *server);

/* In on_request: the answer comes later, at loop time `until_us` at the latest (on_hold_end). The request
 * moves to memory of its own, which is returned (NULL when out of memory: answer now); its slices are
 * gone. */
struct request *server_hold(struct request *request, uint64_t until_us);

/* Answers a held request: calls `answer`, which replies, outside of any batch. Not from within on_request. */
void server_answer(struct request *held, void (*answer)(struct service *, struct request *));

/* In on_request, for a request that is deferrable: the answer comes later, while those behind it on the connection are looked at
 * already. Memory as server_hold. There is no time limit and no on_hold_end: the service answers in any case. */
struct request *server_defer(struct request *request);

/* In on_request, for a deferrable request that cannot be deferred: whether others before it on the connection still wait for their
 * answers. Then it is not answered now, but comes again, from its head on, once some of them are. */
bool server_postpone(struct request *request);

/* Whether a write that came before on the same connection is deferred still: what is asked now has to see it. */
bool request_follows_write(const struct request *request);

/* All that are deferred on its connection, in order: the first one, and who follows a deferred one; NULL when there is none. */
struct request *request_deferred_first(const struct request *request);
struct request *request_deferred_next(const struct request *deferred);

/* Of its connection. It lasts until on_request_end of the last request there has returned. */
struct server_line *request_line(const struct request *request);

/* A deferred request can be answered: `answer` is called, which replies (also with server_stream), once all before it are answered, at
 * the end of the turn at the earliest. May be called from within on_request. */
void server_answer_deferred(struct request *deferred,
                            void (*answer)(struct service *, struct request *));

/* It cannot after all, and `answer` was not called yet: server_answer_deferred follows another time. */
void server_unanswer_deferred(struct request *deferred);

/* While a body comes in parts: reads no more of it, until it is called with false. What was read already still comes. */
void server_pause_body(struct request *request, bool paused);

/* While a body comes in parts, with request->error: takes no more of it, and answers with that. */
void server_refuse_body(struct request *request);

/* After SERVER_STREAM_WAIT: there is something to stream again. */
void server_stream_wake(struct request *request);

/* In on_request, before reply_start and reply_stream write the head of the request that is returned: the body
 * comes from on_stream. Memory as server_hold. Not for HEAD, whose reply ends with the head. `sized` when reply_stream_sized says how
 * long it is: else a client of HTTP/1.0 knows the end by that of the connection. */
struct request *server_stream(struct request *request, bool sized);

#endif
