/* One connection: bytes in, bytes out, backpressure. It knows nothing of HTTP.
 *
 * Reading goes into a buffer of the caller's that all connections share, so an idle connection holds
 * none; what is not used up at once (part of a request) is kept here until the next read. Writing is
 * tried at once, all pieces in one call; what the peer does not take is queued, and while anything is
 * queued nothing is read, so that the pressure goes back to the sender. */
#ifndef NET_CONN_H
#define NET_CONN_H

#include <stdbool.h>

#include "base/slice.h"
#include "net/loop.h"

enum conn_state {
    CONN_OPEN,
    CONN_FINISHING, /* the queue is sent, then the sending side is shut */
    CONN_LINGERING, /* shut; what still comes is thrown away, so that the last reply is not lost to a reset */
    CONN_CLOSED,
};

/* Bytes to send. With `release` they are borrowed until it is called with `context` and `owner`, exactly
 * once; without, they are copied if they cannot be sent at once. */
struct conn_piece {
    const char *data;
    size_t len;
    void (*release)(void *context, void *owner);
    void *context, *owner;
};

struct conn;

struct conn_ops {
    /* A connection that conn_connect began stands. */
    void (*on_connected)(struct conn *conn);

    /* Something can be read (or the peer's end, or an error): call conn_fill or conn_recv. */
    void (*on_readable)(struct conn *conn);

    /* The queue has become empty (while finishing: and the sending side is shut now). */
    void (*on_drained)(struct conn *conn);

    /* It is closed, by either side. Called once; the conn's memory is the owner's again at the end of
     * the turn (loop_defer). */
    void (*on_closed)(struct conn *conn);
};

struct conn_queue; /* of what the peer has not taken yet */

struct conn {
    struct loop_watcher watcher;
    struct loop_waiter waiter; /* to write what is queued, or to throw away what comes */
    struct loop *loop;
    const struct conn_ops *ops;
    struct conn_queue *queue; /* NULL while nothing is queued */
    char *kept;               /* input not used up; NULL while there is none */
    uint32_t kept_bytes;
    int fd;
    uint8_t state;    /* enum conn_state */
    uint8_t interest; /* what the io reports now */
    bool paused;      /* the owner wants no input now */
    bool ended;       /* the peer sends no more */
    bool unread;      /* see conn_finish */
    bool connecting;  /* see conn_connect */
    bool duplex;      /* the owner wants input also while something is queued */
    bool drained;     /* the last read has left nothing */
    bool put_off;     /* see conn_put_off */
    bool mute;        /* duplex: nothing more is sent, but what the peer says is still read */
    int error; /* once closed: why, as -errno; 0 when it was ended in order, or by the owner */
    uint64_t sent_bytes;
    uint32_t discarded_bytes; /* while lingering */
};

enum {
    CONN_PIECES_MAX = 64,                    /* in one call of conn_send */
    CONN_SEND_BYTES = 512 * 1024,            /* written in one call */
    CONN_DISCARD_BYTES = 256 * 1024,         /* thrown away of a lingering conn at a time */
    CONN_LINGER_BYTES_MAX = 2 * 1024 * 1024, /* thrown away of a lingering conn; more is not read */
};

/* Takes over the socket `fd`. Returns 0, or -errno (then the socket is still the caller's). */
int conn_open(struct conn *conn, struct loop *loop, int fd, const struct conn_ops *ops);

/* As conn_open, for a socket that is still connecting: on_connected or on_closed follows. */
int conn_connect(struct conn *conn, struct loop *loop, int fd, const struct conn_ops *ops);

/* Fills `room` with the kept bytes and then, if `may_recv`, with new ones. Returns the count, 0 when there
 * is nothing, and sets conn->ended at the peer's end. On an error the conn is closed and 0 returned. */
size_t conn_fill(struct conn *conn, char *room, size_t room_bytes, bool may_recv);

/* Reads straight into `room`; nothing may be kept then. Returns as conn_fill. */
size_t conn_recv(struct conn *conn, char *room, size_t room_bytes);

/* Keeps the bytes that were not used up (any earlier kept ones were handed out by conn_fill). Out of memory
 * closes the conn. */
void conn_keep(struct conn *conn, struct slice rest);

/* Sends or queues. Out of memory and errors close the conn; pieces are released in any case. A reset that a duplex conn meets
 * when it sends closes it only once what the peer said before was read: it may have answered before it left. */
void conn_send(struct conn *conn, const struct conn_piece *pieces, unsigned count);

/* Whether something is queued. */
bool conn_blocked(const struct conn *conn);

/* Bytes of memory that the queue holds by copy. */
size_t conn_queued_bytes(const struct conn *conn);

/* Turns input off or on (it is off anyway while something is queued). */
void conn_pause(struct conn *conn, bool paused);

/* In on_readable: nothing is read now, but soon, with conn_resume behind it. Until then what is there is not told of again, as thousands
 * may wait for their turn. */
void conn_put_off(struct conn *conn);

/* What was put off, if it was, has been read as far as it is to be now. */
void conn_resume(struct conn *conn);

/* Shuts the sending side of a duplex conn, of which nothing is queued: what the peer still says is read as before. */
void conn_shut(struct conn *conn);

/* Ends it in order: sends what is queued, then shuts, and lingers until the peer closes if something unread may still
 * come (`unread`), since closing on that would be a reset and the reply might be lost. The owner sets the time limit and
 * calls conn_close when that is over. */
void conn_finish(struct conn *conn, bool unread);

/* Ends it at once. */
void conn_close(struct conn *conn);

#endif
