/* Push: what is written here goes to all members at the end of the turn that wrote it.
 *
 *   write ─► batch of this turn ──┬─► member that keeps up   (LIVE): the batch, as it is for all
 *                                 ├─► member that does not (LAGGING): its lag, until its window has room again
 *                                 └─► member that is not there (DOWN): nothing; repair will
 *
 * A batch is POST /-/merge. The first on a connection is an empty one, and the others wait for its answer: a member that is out of
 * descriptors accepts a connection long after it was given up here, and what is read from it then may have been deleted since, and the
 * delete forgotten. More than one may be on its way to a member, PUSH_BATCHES_MAX and PUSH_WINDOW_BYTES at most. What was on its way when a connection broke may or may not have come: the member counts as one that has missed something, and
 * repair finds out. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "role/cluster_state.h"

/* Batches */

int batch_init(struct batch *batch, struct heap *heap)
{
    *batch = (struct batch){.heap = heap, .count = 1};
    batch->text = malloc(PUSH_TEXT_BYTES);
    return batch->text ? 0 : -ENOMEM;
}

static void batch_release(void *heap, void *record)
{
    record_release(heap, record);
}

void batch_reset(struct batch *batch)
{
    for (unsigned i = 1; i < batch->count; i++)
        if (batch->pieces[i].release)
            record_release(batch->heap, batch->pieces[i].owner);
    *batch = (struct batch){.heap = batch->heap, .text = batch->text, .count = 1};
}

void batch_free(struct batch *batch)
{
    if (batch->text)
        batch_reset(batch);
    free(batch->text);
}

bool batch_is_full(const struct batch *batch)
{
    return batch->count + 4 > CONN_PIECES_MAX || batch->bytes >= PUSH_BATCH_BYTES ||
           batch->records >= PUSH_BATCH_RECORDS ||
           batch->used + 2 * WIRE_HEAD_BYTES + PUSH_COPY_BYTES_MAX > PUSH_TEXT_BYTES;
}

/* What was copied since the last piece becomes one. */
static void batch_end_piece(struct batch *batch)
{
    size_t len = batch->used - batch->piece_start;
    if (len == 0)
        return;
    batch->pieces[batch->count++] =
        (struct conn_piece){.data = batch->text + batch->piece_start, .len = len};
    batch->piece_start = batch->used;
}

void batch_add(struct batch *batch, struct record *record)
{
    struct slice data = wire_data(record);
    assert(!batch_is_full(batch));
    wire_head(record, batch->text + batch->used);
    batch->used += WIRE_HEAD_BYTES;
    batch->records++;
    batch->bytes += WIRE_HEAD_BYTES + data.len;
    if (data.len <= PUSH_COPY_BYTES_MAX) {
        memcpy(batch->text + batch->used, data.data, data.len);
        batch->used += data.len;
        return;
    }
    batch_end_piece(batch);
    record_retain(record);
    batch->pieces[batch->count++] =
        (struct conn_piece){data.data, data.len, batch_release, batch->heap, record};
}

void batch_close(struct cluster *cluster, struct batch *batch)
{
    wire_end(batch->records, batch->text + batch->used);
    batch->used += WIRE_HEAD_BYTES;
    batch->bytes += WIRE_HEAD_BYTES;
    batch_end_piece(batch);
    struct slice head = request_head(cluster, batch->head, "POST /-/merge", batch->bytes);
    batch->pieces[0] = (struct conn_piece){.data = head.data, .len = head.len};
}

void batch_retain(struct batch *batch)
{
    for (unsigned i = 1; i < batch->count; i++)
        if (batch->pieces[i].release)
            record_retain(batch->pieces[i].owner);
}

/* One member */

static bool takes_batches(const struct peer *peer)
{
    return upstream_is_open(peer->push) && peer->push_heard && !upstream_blocked(peer->push) &&
           peer->sending_count < PUSH_BATCHES_MAX && peer->sending_bytes < PUSH_WINDOW_BYTES;
}

static void sending_on_head(struct call *call, const struct http_response *head)
{
    ((struct sending *)call)->status = head->status;
}

/* A batch did not come to the member, or may not have. What else is on its way out of the same lag confirms nothing then. */
static void push_missed(struct peer *peer, const struct sending *failed)
{
    peer->missed = true;
    peer->missed_us = peer->cluster->loop->now_us;
    peer->cluster->counters.push_failures++;
    if (peer->push_state == PUSH_LAGGING)
        peer->lag_from = peer->cluster->batch_number;
    for (unsigned i = 0; i < peer->sending_count; i++) {
        struct sending *other = &peer->sendings[(peer->sending_first + i) % PUSH_BATCHES_MAX];
        if (failed->lag && other->lag == failed->lag)
            other->from = other->to;
    }
}

/* The member has all batches of these numbers. One that was restarted is two members for a moment, at one address: the process that
 * is there counts once. */
static void push_confirm(struct peer *peer, uint64_t from, uint64_t to)
{
    struct cluster *cluster = peer->cluster;
    if (cluster->copies_count &&
        members_at(&cluster->members, &peer->member->address) == peer->member)
        copies_confirm(cluster, peer->member->id, from, to);
}

/* The member has the batch, and says so. */
static void sending_done(struct peer *peer, const struct sending *sending)
{
    uint64_t us = peer->cluster->loop->now_us - sending->sent_us;
    if (sending->bytes > WIRE_HEAD_BYTES) {
        histogram_add(&peer->push_us, us, 1);
        histogram_add(&peer->cluster->counters.push_us, us, 1);
    }
    push_confirm(peer, sending->from, sending->to);
}

static void sending_on_end(struct call *call, enum call_result result)
{
    struct sending *sending = (struct sending *)call;
    struct peer *peer = sending->peer;
    sending->ended = true;
    peer->sending_bytes -= sending->bytes;
    peer->push_heard |= result == CALL_DONE;
    if (result == CALL_DONE && sending->status == 200)
        sending_done(peer, sending);
    else
        push_missed(peer, sending);
    while (peer->sending_count > 0 && peer->sendings[peer->sending_first].ended) {
        peer->sending_first = (peer->sending_first + 1) % PUSH_BATCHES_MAX;
        peer->sending_count--;
    }
}

static const struct call_ops sending_ops = {
    .on_head = sending_on_head,
    .on_end = sending_on_end,
};

static void batch_send(struct batch *batch, struct peer *peer, uint64_t from, uint64_t to,
                       uint64_t lag)
{
    unsigned at = (peer->sending_first + peer->sending_count) % PUSH_BATCHES_MAX;
    struct sending *sending = &peer->sendings[at];
    assert(peer->sending_count < PUSH_BATCHES_MAX);
    peer->sending_count++;
    *sending = (struct sending){.call = {.ops = &sending_ops},
                                .peer = peer,
                                .lag = lag,
                                .from = from,
                                .to = to,
                                .bytes = batch->bytes,
                                .sent_us = peer->cluster->loop->now_us};
    peer->sending_bytes += batch->bytes;
    peer->cluster->counters.pushed_batches++;
    peer->cluster->counters.pushed_records += batch->records;
    batch_retain(batch);
    upstream_call(peer->push, &sending->call, batch->pieces, batch->count);
}

void push_forget(struct peer *peer)
{
    peer->missed = true;
    peer->missed_us = peer->cluster->loop->now_us;
}

/* From here on the lag takes note of what is to be told. Without memory for that, repair must do. What was written in this turn already
 * is not in the lag, whether it stands in the batch or nobody was there to be told of it. */
static void push_lag(struct peer *peer)
{
    struct cluster *cluster = peer->cluster;
    peer->lag = lag_new();
    peer->lag_number++;
    if (!peer->lag || cluster->batch.records)
        push_forget(peer);
    peer->lag_from = cluster->batch_number + cluster->changed;
    peer->push_state = PUSH_LAGGING;
    cluster->lagging++;
}

static void push_end_lag(struct peer *peer, enum push_state state)
{
    free(peer->lag);
    peer->lag = NULL;
    peer->cluster->lagging -= peer->push_state == PUSH_LAGGING;
    peer->push_state = state;
}

void push_tick(struct peer *peer)
{
    struct cluster *cluster = peer->cluster;
    if (upstream_is_open(peer->push) || cluster->loop->now_us < peer->push_retry_us)
        return;
    peer->push_retry_us = cluster->loop->now_us + CLUSTER_RETRY_US;
    upstream_connect(peer->push, &peer->member->address);
}

void push_start(struct peer *peer)
{
    if (peer->push_state == PUSH_DOWN) {
        push_forget(
            peer); /* what was written since the hello went out that has shown it to be up */
        push_lag(peer);
    }
    push_tick(peer); /* at once, since a newcomer may be ready before the next tick */
}

void push_stop(struct peer *peer)
{
    push_end_lag(peer, PUSH_DOWN);
    push_forget(peer);
    if (peer->push)
        upstream_close(peer->push, 0);
}

bool push_is_done(const struct peer *peer)
{
    return peer->push_state == PUSH_LIVE && peer->sending_count == 0;
}

/* Sends some of what a lagging member has yet to be told. Once that is all, it keeps up again; what it was told in several batches
 * is confirmed by the last of them. */
static void push_catch_up(struct peer *peer)
{
    struct cluster *cluster = peer->cluster;
    struct batch *batch = &cluster->spare;
    unsigned steps = PUSH_LAG_STEPS;
    struct record *record;
    while (peer->lag && !batch_is_full(batch) && (record = lag_next(peer->lag, &steps)))
        batch_add(batch, record);
    bool all = !peer->lag || lag_is_empty(peer->lag), sent = batch->records > 0;
    uint64_t to = cluster->batch_number, from = all && peer->lag ? peer->lag_from : to;
    if (sent) {
        cluster->counters.lagged_records += batch->records;
        batch_close(cluster, batch);
        batch_send(batch, peer, from, to, peer->lag_number);
        batch_reset(batch);
    } else if (all && peer->sending_count == 0) {
        push_confirm(peer, from, to);
    }
    if (all && (sent || peer->sending_count == 0))
        push_end_lag(peer, PUSH_LIVE);
    cluster->loop->again |= !all;
}

static void push_lagging(struct peer *peer)
{
    for (int i = 0; i < PUSH_LAG_BATCHES && peer->push_state == PUSH_LAGGING; i++) {
        if (!takes_batches(peer))
            return;
        push_catch_up(peer);
    }
}

static void push_on_open(struct upstream *upstream)
{
    struct peer *peer = upstream_owner(upstream);
    struct batch *batch = &peer->cluster->spare;
    batch_close(peer->cluster, batch);
    batch_send(batch, peer, 0, 0, 0);
    batch_reset(batch);
}

/* What was on its way may be lost; from here on the lag takes note again. */
static void push_on_closed(struct upstream *upstream, int error)
{
    struct peer *peer = upstream_owner(upstream);
    (void)error;
    assert(peer->sending_count == 0);
    peer->push_heard = false;
    push_forget(peer);
    if (peer->push_state == PUSH_LIVE)
        push_lag(peer);
}

const struct upstream_ops push_upstream_ops = {
    .on_open = push_on_open,
    .on_closed = push_on_closed,
};

/* All members */

static void push_flush(struct cluster *cluster)
{
    struct batch *batch = &cluster->batch;
    if (batch->records)
        batch_close(cluster, batch);
    for (unsigned i = 1; i < cluster->members.count && batch->records; i++) {
        struct peer *peer = cluster->members.list[i]->peer;
        if (peer && peer->push_state == PUSH_LIVE)
            batch_send(batch, peer, cluster->batch_number, cluster->batch_number + 1, 0);
    }
    batch_reset(batch);
    cluster->batch_number++;
    cluster->changed = false;
}

/* Before the first record of a batch: who cannot take it lags from here on. Returns whether anybody takes it. */
static bool push_begin(struct cluster *cluster)
{
    bool live = false;
    for (unsigned i = 1; i < cluster->members.count; i++) {
        struct peer *peer = cluster->members.list[i]->peer;
        if (!peer || peer->push_state != PUSH_LIVE)
            continue;
        if (takes_batches(peer))
            live = true;
        else
            push_lag(peer);
    }
    return live;
}

void cluster_on_change(struct cluster *cluster, uint32_t shard, struct record *old,
                       struct record *record)
{
    if (cluster->members.count == 1)
        return;
    bool local = record->flags & RECORD_LOCAL;
    if (local && batch_is_full(&cluster->batch))
        push_flush(cluster);
    bool live = local && (cluster->batch.records || push_begin(cluster));
    for (unsigned i = 1; cluster->lagging && i < cluster->members.count; i++) {
        struct peer *peer = cluster->members.list[i]->peer;
        if (peer && peer->lag)
            lag_on_change(peer->lag, shard, old, record);
    }
    if (live)
        batch_add(&cluster->batch, record);
    cluster->changed |= local;
}

void cluster_on_move(struct cluster *cluster, uint32_t shard, struct record *from,
                     struct record *to)
{
    for (unsigned i = 1; cluster->lagging && i < cluster->members.count; i++)
        if (cluster->members.list[i]->peer && cluster->members.list[i]->peer->lag)
            lag_on_move(cluster->members.list[i]->peer->lag, shard, from, to);
}

void cluster_on_drop(struct cluster *cluster, uint32_t shard, struct record *record)
{
    for (unsigned i = 1; cluster->lagging && i < cluster->members.count; i++)
        if (cluster->members.list[i]->peer && cluster->members.list[i]->peer->lag)
            lag_on_drop(cluster->members.list[i]->peer->lag, shard, record);
}

void cluster_push(struct cluster *cluster)
{
    if (!cluster->batch.records)
        return;
    push_flush(cluster);
    for (unsigned i = 1; i < cluster->members.count; i++) {
        struct peer *peer = cluster->members.list[i]->peer;
        if (peer && peer->push_state == PUSH_LIVE)
            upstream_flush(peer->push);
    }
}

void push_turn_end(struct cluster *cluster)
{
    if (cluster->changed)
        push_flush(cluster);
    for (unsigned i = 1; cluster->lagging && i < cluster->members.count; i++) {
        struct peer *peer = cluster->members.list[i]->peer;
        if (peer && peer->push_state == PUSH_LAGGING)
            push_lagging(peer);
    }
}
