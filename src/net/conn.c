/* Bytes of one connection:
 *
 *      socket ──recv──► the caller's shared buffer ──► parsed, answered
 *                         ▲                │ not used up
 *                         └──── kept ◄─────┘
 *
 *      pieces ──send──► socket
 *         │ not taken        ▲
 *         └────► queue ──────┘  when the socket has room; nothing is read meanwhile
 */
#include "net/conn.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum { QUEUE_COPY_BYTES_MIN = 4096 };

/* One queued piece; copied bytes stand behind it in the same allocation. */
struct queued {
    struct queued *next;
    const char *data;
    size_t len;
    void (*release)(void *context, void *owner);
    void *context, *owner;
    size_t room; /* bytes behind it: copied pieces that follow are added here */
};

struct conn_queue {
    struct queued *first, **end;
    struct queued *last;
    size_t copied_bytes;
};

/* What state may follow what: bit n of moves[m] is set when m → n may be. */
static const uint8_t moves[] = {
    [CONN_OPEN] = 1 << CONN_FINISHING | 1 << CONN_CLOSED,
    [CONN_FINISHING] = 1 << CONN_LINGERING | 1 << CONN_CLOSED,
    [CONN_LINGERING] = 1 << CONN_CLOSED,
    [CONN_CLOSED] = 0,
};

static void conn_move(struct conn *conn, enum conn_state to)
{
    assert(moves[conn->state] & 1u << to);
    conn->state = (uint8_t)to;
}

static const struct io_ops *ops_of(const struct conn *conn)
{
    return conn->loop->io->ops;
}

static void conn_fail(struct conn *conn, int error)
{
    if (conn->state != CONN_CLOSED)
        conn->error = error;
    conn_close(conn);
}

/* The queue */

static void queued_free(struct conn_queue *queue, struct queued *queued)
{
    if (queued->release)
        queued->release(queued->context, queued->owner);
    else
        queue->copied_bytes -= queued->room;
    free(queued);
}

static void queue_pop(struct conn_queue *queue)
{
    struct queued *first = queue->first;
    queue->first = first->next;
    if (!queue->first) {
        queue->end = &queue->first;
        queue->last = NULL;
    }
    queued_free(queue, first);
}

static void queue_destroy(struct conn *conn)
{
    if (!conn->queue)
        return;
    while (conn->queue->first)
        queue_pop(conn->queue);
    free(conn->queue);
    conn->queue = NULL;
}

static void queue_append(struct conn_queue *queue, struct queued *queued)
{
    queued->next = NULL;
    *queue->end = queued;
    queue->end = &queued->next;
    queue->last = queued;
}

static int queue_borrow(struct conn_queue *queue, const struct conn_piece *piece)
{
    struct queued *queued = malloc(sizeof *queued);
    if (!queued)
        return -ENOMEM;
    *queued = (struct queued){NULL,           piece->data,  piece->len, piece->release,
                              piece->context, piece->owner, 0};
    queue_append(queue, queued);
    return 0;
}

static int queue_copy(struct conn_queue *queue, const char *data, size_t len)
{
    struct queued *last = queue->last;
    if (last && !last->release) {
        char *store = (char *)(last + 1);
        size_t used = (size_t)(last->data - store) + last->len;
        if (last->room - used >= len) {
            memcpy(store + used, data, len);
            last->len += len;
            return 0;
        }
    }
    size_t room = len < QUEUE_COPY_BYTES_MIN ? QUEUE_COPY_BYTES_MIN : len;
    struct queued *queued = malloc(sizeof *queued + room);
    if (!queued)
        return -ENOMEM;
    *queued = (struct queued){.data = (char *)(queued + 1), .len = len, .room = room};
    memcpy(queued + 1, data, len);
    queue->copied_bytes += room;
    queue_append(queue, queued);
    return 0;
}

static int queue_make(struct conn *conn)
{
    if (conn->queue)
        return 0;
    conn->queue = calloc(1, sizeof *conn->queue);
    if (!conn->queue)
        return -ENOMEM;
    conn->queue->end = &conn->queue->first;
    return 0;
}

/* Interest: nothing is read while something is queued; a lingering conn only reads. What a conn that reads and writes by turns has to do is
 * told once, as thousands of them may have something at a time: those that were told of last would come behind all these, in every turn. */
static void conn_update_interest(struct conn *conn)
{
    unsigned interest;
    interest = conn->paused || conn->ended || conn->state == CONN_FINISHING ? 0 : IO_READ;
    if (conn->connecting)
        interest = IO_WRITE;
    else if (conn->queue)
        interest = IO_WRITE | (conn->duplex ? interest : 0);
    if (interest && !conn->connecting && !(interest & IO_WRITE && conn->duplex))
        interest |= IO_EDGE;
    if (interest == conn->interest)
        return;
    conn->interest = (uint8_t)interest;
    ops_of(conn)->rewatch(conn->loop->io, conn->fd, interest, &conn->watcher);
}

/* What is still there, or not looked at, is told again. */
static void conn_watch_again(struct conn *conn)
{
    if (conn->interest & IO_EDGE && conn->state != CONN_CLOSED)
        ops_of(conn)->rewatch(conn->loop->io, conn->fd, conn->interest, &conn->watcher);
}

/* Nothing is left to send of a conn that finishes. */
static void conn_linger(struct conn *conn)
{
    char first;
    conn_move(conn, CONN_LINGERING);
    if (!conn->unread && !conn->ended)
        conn->unread = ops_of(conn)->recv(conn->loop->io, conn->fd, &first, 1) > 0;
    if (!conn->unread || conn->ended) {
        conn_close(conn);
        return;
    }
    ops_of(conn)->shutdown(conn->loop->io, conn->fd);
    conn->paused = false;
    conn_update_interest(conn);
    conn_watch_again(conn); /* what there is may have been told already */
}

static void conn_discard(struct conn *conn)
{
    assert(conn->state == CONN_LINGERING);
    ssize_t got = ops_of(conn)->recv(conn->loop->io, conn->fd, NULL, CONN_DISCARD_BYTES);
    if (got == -EAGAIN)
        return; /* an urgent byte, which is told of again and again, may have come before what stands before it */
    if (got > 0)
        conn->discarded_bytes += (uint32_t)got;
    if (got <= 0) {
        conn_close(conn);
    } else if (conn->discarded_bytes > CONN_LINGER_BYTES_MAX) {
        /* Closing now would be a reset, which may overtake the reply; who cannot send on looks for it. */
        conn->paused = true;
        conn_update_interest(conn);
    } else {
        conn_watch_again(conn);
    }
}

static void conn_count_sent(struct conn *conn, size_t bytes)
{
    conn->sent_bytes += bytes;
    conn->loop->sent_bytes += bytes;
}

/* What goes into one call: a client that reads as fast as it is written to would have a kernel take all of a large value at once, for
 * milliseconds. */
struct parcel {
    struct iovec pieces[CONN_PIECES_MAX];
    int count;
    size_t bytes;
};

/* Returns whether more may be put there. */
static bool parcel_put(struct parcel *parcel, const char *data, size_t len)
{
    size_t room = CONN_SEND_BYTES - parcel->bytes, take = len < room ? len : room;
    parcel->pieces[parcel->count++] = (struct iovec){(void *)(uintptr_t)data, take};
    parcel->bytes += take;
    return parcel->count < CONN_PIECES_MAX && parcel->bytes < CONN_SEND_BYTES;
}

/* Returns the count of bytes or -errno. */
static ssize_t parcel_send(struct conn *conn, const struct parcel *parcel)
{
    ssize_t sent = ops_of(conn)->send(conn->loop->io, conn->fd, parcel->pieces, parcel->count);
    if (sent > 0)
        conn_count_sent(conn, (size_t)sent);
    return sent;
}

/* Writes a parcel of the queue. */
static int queue_send(struct conn *conn)
{
    struct parcel parcel;
    const struct queued *queued = conn->queue->first;
    parcel.count = 0;
    parcel.bytes = 0;
    while (queued && parcel_put(&parcel, queued->data, queued->len))
        queued = queued->next;
    ssize_t sent = parcel_send(conn, &parcel);
    if (sent < 0)
        return (int)sent;
    size_t left = (size_t)sent;
    while (conn->queue->first && left >= conn->queue->first->len) {
        left -= conn->queue->first->len;
        queue_pop(conn->queue);
    }
    if (conn->queue->first) {
        conn->queue->first->data += left;
        conn->queue->first->len -= left;
    }
    return 0;
}

/* The read that follows ends the conn. */
static void conn_send_failed(struct conn *conn, int error)
{
    if (!conn->duplex || conn->state != CONN_OPEN || (error != -EPIPE && error != -ECONNRESET)) {
        conn_fail(conn, error);
        return;
    }
    conn->mute = true;
    conn->error = error;
    queue_destroy(conn);
    conn_update_interest(conn);
}

static void conn_on_writable(struct conn *conn)
{
    int error;
    do
        error = queue_send(conn);
    while (!error && conn->queue->first && !conn->duplex &&
           loop_share_take(conn->loop, &conn->loop->bulk));
    if (error == -EAGAIN) {
        conn_watch_again(conn); /* it may have been for want of memory, and there is room still */
        return;
    }
    if (error) {
        conn_send_failed(conn, error);
        return;
    }
    if (conn->queue->first) {
        if (!conn->duplex)
            loop_line_join(conn->loop, &conn->waiter);
        return;
    }
    queue_destroy(conn);
    if (conn->state == CONN_FINISHING)
        conn_linger(conn);
    else
        conn_update_interest(conn);
    if (conn->state != CONN_CLOSED)
        conn->ops->on_drained(conn);
}

/* A read tells what became of it. */
static void conn_on_connected(struct conn *conn, unsigned ready)
{
    char scrap;
    ssize_t got =
        ready & IO_BROKEN ? ops_of(conn)->recv(conn->loop->io, conn->fd, &scrap, 1) : -EAGAIN;
    if (ready & IO_BROKEN && (got >= 0 || got == -EAGAIN))
        got = -ECONNREFUSED;
    if (got != -EAGAIN) {
        conn_fail(conn, (int)got);
        return;
    }
    conn->connecting = false;
    conn_update_interest(conn);
    conn->ops->on_connected(conn);
}

static void conn_read(struct conn *conn, unsigned ready)
{
    conn->drained = conn->put_off = false;
    conn->ops->on_readable(conn);
    if (!conn->put_off && (!conn->drained || (ready & IO_ENDED && !conn->ended)))
        conn_watch_again(conn);
}

static void conn_on_ready(struct loop_watcher *watcher, unsigned ready)
{
    struct conn *conn = (struct conn *)watcher;
    if (conn->state == CONN_CLOSED)
        return;
    if (conn->connecting) {
        conn_on_connected(conn, ready);
        return;
    }
    bool writes = conn->queue && ready & (IO_WRITE | IO_BROKEN);
    if (conn->state == CONN_LINGERING || (writes && !conn->duplex)) {
        loop_line_join(conn->loop,
                       &conn->waiter); /* thousands that read slowly may have room at a time */
        return;
    }
    if (writes)
        conn_on_writable(conn);
    if (writes && (conn->state != CONN_OPEN || !(ready & IO_READ)))
        return;
    if (conn->interest & IO_READ && ready & (IO_READ | IO_BROKEN))
        conn_read(conn, ready);
    else if (ready & IO_BROKEN)
        conn_fail(conn, -ECONNRESET);
}

static void conn_on_turn(struct loop_waiter *waiter)
{
    struct conn *conn = (struct conn *)((char *)waiter - offsetof(struct conn, waiter));
    if (conn->queue)
        conn_on_writable(conn);
    else
        conn_discard(conn);
}

static int conn_begin(struct conn *conn, struct loop *loop, int fd, const struct conn_ops *ops,
                      unsigned interest)
{
    memset(conn, 0, sizeof *conn);
    conn->watcher.on_ready = conn_on_ready;
    conn->waiter.on_turn = conn_on_turn;
    conn->loop = loop;
    conn->ops = ops;
    conn->fd = fd;
    conn->interest = (uint8_t)interest;
    return loop->io->ops->watch(loop->io, fd, interest, &conn->watcher);
}

int conn_open(struct conn *conn, struct loop *loop, int fd, const struct conn_ops *ops)
{
    return conn_begin(conn, loop, fd, ops, IO_READ | IO_EDGE);
}

int conn_connect(struct conn *conn, struct loop *loop, int fd, const struct conn_ops *ops)
{
    int error = conn_begin(conn, loop, fd, ops, IO_WRITE);
    conn->connecting = true;
    return error;
}

/* Takes the result of a recv into account. Returns the count of bytes. */
static size_t conn_received(struct conn *conn, ssize_t got)
{
    if (got > 0) {
        conn->loop->received_bytes += (uint64_t)got;
        return (size_t)got;
    }
    if (got == 0) {
        conn->ended = true;
        conn_update_interest(conn);
    } else if (got != -EAGAIN) {
        conn_fail(conn, (int)got);
    }
    return 0;
}

size_t conn_fill(struct conn *conn, char *room, size_t room_bytes, bool may_recv)
{
    size_t kept = conn->kept_bytes;
    assert(kept <= room_bytes);
    if (kept) {
        memcpy(room, conn->kept, kept);
        free(conn->kept);
        conn->kept = NULL;
        conn->kept_bytes = 0;
    }
    if (may_recv && !conn->ended && kept < room_bytes)
        kept += conn_recv(conn, room + kept, room_bytes - kept);
    return conn->state == CONN_CLOSED ? 0 : kept;
}

size_t conn_recv(struct conn *conn, char *room, size_t room_bytes)
{
    ssize_t got = ops_of(conn)->recv(conn->loop->io, conn->fd, room, room_bytes);
    conn->drained = got >= 0 && (size_t)got < room_bytes;
    return conn_received(conn, got);
}

void conn_keep(struct conn *conn, struct slice rest)
{
    if (rest.len == 0 || conn->state == CONN_CLOSED)
        return;
    assert(!conn->kept);
    conn->kept = malloc(rest.len);
    if (!conn->kept) {
        conn_fail(conn, -ENOMEM);
        return;
    }
    memcpy(conn->kept, rest.data, rest.len);
    conn->kept_bytes = (uint32_t)rest.len;
}

/* Sends at once what the socket takes of the first parcel. Returns the count of bytes or -errno. */
static ssize_t pieces_send(struct conn *conn, const struct conn_piece *pieces, unsigned count)
{
    struct parcel parcel;
    assert(count <= CONN_PIECES_MAX);
    parcel.count = 0;
    parcel.bytes = 0;
    for (unsigned i = 0; i < count && parcel_put(&parcel, pieces[i].data, pieces[i].len); i++)
        ;
    ssize_t sent = parcel_send(conn, &parcel);
    return sent == -EAGAIN ? 0 : sent;
}

static int piece_queue(struct conn *conn, const struct conn_piece *piece)
{
    if (queue_make(conn) != 0)
        return -ENOMEM;
    if (piece->release)
        return queue_borrow(conn->queue, piece);
    return queue_copy(conn->queue, piece->data, piece->len);
}

static void piece_release(const struct conn_piece *piece)
{
    if (piece->release)
        piece->release(piece->context, piece->owner);
}

/* Queues what was not sent: all but the first `sent` bytes. Each piece is queued or released. */
static int pieces_queue(struct conn *conn, const struct conn_piece *pieces, unsigned count,
                        size_t sent)
{
    int error = 0;
    for (unsigned i = 0; i < count; i++) {
        struct conn_piece piece = pieces[i];
        size_t skip = sent < piece.len ? sent : piece.len;
        sent -= skip;
        piece.data += skip;
        piece.len -= skip;
        if (piece.len == 0 || error || (error = piece_queue(conn, &piece)) != 0)
            piece_release(&piece);
    }
    return error;
}

/* What takes more than one call waits in the queue when this turn has done enough of that: thousands may ask for it at a time. */
static bool may_send_now(struct conn *conn, const struct conn_piece *pieces, unsigned count)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < count; i++)
        bytes += pieces[i].len;
    return bytes <= CONN_SEND_BYTES || conn->duplex ||
           loop_share_take(conn->loop, &conn->loop->bulk);
}

void conn_send(struct conn *conn, const struct conn_piece *pieces, unsigned count)
{
    ssize_t sent = 0;
    if (conn->state == CONN_CLOSED || conn->state == CONN_LINGERING || conn->mute)
        sent = -EPIPE;
    else if (!conn->queue && !conn->connecting && may_send_now(conn, pieces, count))
        sent = pieces_send(conn, pieces, count);
    if (sent < 0) {
        for (unsigned i = 0; i < count; i++)
            piece_release(&pieces[i]);
        if (!conn->mute)
            conn_send_failed(conn, (int)sent);
        return;
    }
    if (pieces_queue(conn, pieces, count, (size_t)sent) != 0)
        conn_fail(conn, -ENOMEM);
    else
        conn_update_interest(conn);
}

bool conn_blocked(const struct conn *conn)
{
    return conn->queue != NULL;
}

size_t conn_queued_bytes(const struct conn *conn)
{
    return conn->queue ? conn->queue->copied_bytes : 0;
}

void conn_pause(struct conn *conn, bool paused)
{
    if (conn->state != CONN_OPEN || conn->paused == paused)
        return;
    conn->paused = paused;
    conn_update_interest(conn);
}

void conn_put_off(struct conn *conn)
{
    conn->put_off = true;
}

void conn_resume(struct conn *conn)
{
    if (!conn->put_off)
        return;
    conn->put_off = false;
    conn_watch_again(conn);
}

void conn_shut(struct conn *conn)
{
    assert(conn->duplex && !conn->queue);
    if (conn->state != CONN_OPEN || conn->mute)
        return;
    conn->mute = true;
    ops_of(conn)->shutdown(conn->loop->io, conn->fd);
}

void conn_finish(struct conn *conn, bool unread)
{
    if (conn->state != CONN_OPEN)
        return;
    conn->unread = unread;
    conn_move(conn, CONN_FINISHING);
    if (conn->queue)
        conn_update_interest(conn);
    else
        conn_linger(conn);
}

void conn_close(struct conn *conn)
{
    if (conn->state == CONN_CLOSED)
        return;
    conn_move(conn, CONN_CLOSED);
    loop_line_leave(conn->loop, &conn->waiter);
    queue_destroy(conn);
    free(conn->kept);
    conn->kept = NULL;
    conn->kept_bytes = 0;
    ops_of(conn)->close(conn->loop->io, conn->fd);
    conn->ops->on_closed(conn);
}
