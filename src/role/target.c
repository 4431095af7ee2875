/* A cluster that is given records: those for it are gathered to batches, and these are merged by one of its members, several at a time. A batch that
 * was not answered is sent again, to another member: merging twice does no harm. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "role/haul.h"

/* Batches */

static void batch_free(struct batch *batch)
{
    batch->target->contact.haul->held_bytes -= batch->len;
    free(batch->data);
    free(batch);
}

/* Its bytes are given to a connection, and may still be there when its answer has come or the connection has ended. */
static void batch_release(void *context, void *owner)
{
    struct batch *batch = owner;
    (void)context;
    if (--batch->borrowed == 0 && batch->taken)
        batch_free(batch);
}

static void batch_taken(struct batch *batch)
{
    batch->taken = true;
    if (batch->borrowed == 0)
        batch_free(batch);
}

static int batch_reserve(struct batch *batch, size_t more)
{
    size_t need = batch->len + more, room = batch->room ? batch->room : 4096;
    while (room < need)
        room *= 2;
    if (room == batch->room)
        return 0;
    char *data = realloc(batch->data, room);
    if (!data)
        return -ENOMEM;
    batch->data = data;
    batch->room = room;
    return 0;
}

/* With room for its end mark, so that it can always be closed. */
static struct batch *batch_new(struct target *target, bool counts)
{
    struct batch *batch = calloc(1, sizeof *batch);
    if (!batch || batch_reserve(batch, WIRE_HEAD_BYTES) != 0) {
        free(batch);
        return NULL;
    }
    batch->target = target;
    batch->counts = counts;
    return batch;
}

static void batch_put(struct batch *batch, const char *bytes, size_t len)
{
    memcpy(batch->data + batch->len, bytes, len);
    batch->len += len;
    batch->target->contact.haul->held_bytes += len;
}

static void target_enqueue(struct target *target, struct batch *batch)
{
    batch->next = NULL;
    *target->end = batch;
    target->end = &batch->next;
}

/* There is always room for the end mark. */
static void batch_close(struct target *target, bool counts)
{
    char end[WIRE_HEAD_BYTES];
    struct batch *batch = target->open[counts];
    if (!batch)
        return;
    target->open[counts] = NULL;
    wire_end(batch->records, end);
    batch_put(batch, end, sizeof end);
    target_enqueue(target, batch);
}

int target_add(struct target *target, const struct record *record, bool counts)
{
    char head[WIRE_HEAD_BYTES];
    struct slice data = wire_data(record);
    if (!target->open[counts])
        target->open[counts] = batch_new(target, counts);
    struct batch *batch = target->open[counts];
    if (!batch || batch_reserve(batch, sizeof head + data.len + WIRE_HEAD_BYTES) != 0)
        return -ENOMEM;
    wire_head(record, head);
    batch_put(batch, head, sizeof head);
    batch_put(batch, data.data, data.len);
    batch->records++;
    if (batch->len >= HAUL_BATCH_BYTES)
        batch_close(target, counts);
    return 0;
}

/* Sending */

bool target_read_answer(struct slice body, uint64_t *fresh)
{
    static const struct slice before = {" records were read, ", 20};
    static const struct slice after = {" of them were new here.", 23};
    unsigned long long number;
    const char *at = memmem(body.data, body.len, before.data, before.len);
    if (!at)
        return false;
    at += before.len;
    const char *end = memmem(at, (size_t)(body.data + body.len - at), after.data, after.len);
    if (!end || !slice_number((struct slice){at, (size_t)(end - at)}, UINT64_MAX, &number))
        return false;
    *fresh = number;
    return true;
}

/* What the member says will not be better elsewhere: its cluster has no room, or does not take such values. */
static void target_refused(const struct target *target, unsigned status, struct slice body)
{
    char address[ADDRESS_TEXT_BYTES];
    while (body.len > 0 && body.data[body.len - 1] == '\n')
        body.len--;
    haul_fail(target->contact.haul, "%s of %s answers with %u: %.*s",
              address_format(&target->contact.address, address), target->contact.name, status,
              (int)(body.len < 200 ? body.len : 200), body.data);
}

static void target_send(struct target *target);

static void on_merged(struct fetch *fetch, unsigned status, struct slice body)
{
    struct batch *batch = (struct batch *)fetch;
    struct target *target = batch->target;
    uint64_t fresh;
    target->in_flight--;
    if (status == 200 && target_read_answer(body, &fresh)) {
        contact_went_on(&target->contact);
        target->contact.haul->ops->on_merged(batch, fresh);
        batch_taken(batch);
        target_send(target);
        return;
    }
    target_enqueue(target, batch);
    if (haul_is_over(target->contact.haul))
        return;
    if (status == 0 || status == 503)
        upstream_close(target->contact.upstream, -ECONNRESET);
    else
        target_refused(target, status, body);
}

static void batch_send(struct target *target, struct batch *batch)
{
    char head[128];
    int len =
        snprintf(head, sizeof head,
                 "POST /-/merge HTTP/1.1\r\nHost: fog\r\nContent-Length: %zu\r\n\r\n", batch->len);
    struct conn_piece pieces[] = {
        {.data = head, .len = (size_t)len},
        {batch->data, batch->len, batch_release, NULL, batch},
    };
    target->in_flight++;
    target->sent_us = target->contact.haul->command->loop->now_us;
    batch->borrowed++;
    batch->fetch.on_done = on_merged;
    batch->fetch.body_max = 4096;
    fetch_start(&batch->fetch, target->contact.upstream, pieces, 2);
}

static void target_send(struct target *target)
{
    while (target->queue && target->in_flight < HAUL_BATCHES_MAX &&
           upstream_is_open(target->contact.upstream)) {
        struct batch *batch = target->queue;
        target->queue = batch->next;
        if (!target->queue)
            target->end = &target->queue;
        batch_send(target, batch);
    }
}

static void on_open(struct upstream *upstream)
{
    struct target *target = upstream_owner(upstream);
    target->sent_us = target->contact.haul->command->loop->now_us;
    target_send(target);
}

/* The connection of a process that is killed, too, comes to an orderly end when nothing was on its way to it. */
static void on_closed(struct upstream *upstream, int error)
{
    struct target *target = upstream_owner(upstream);
    target->broken = target->broken || !target->turning;
    target->turning = false;
    contact_closed(&target->contact, error);
    if (error && target->queue)
        contact_failed(&target->contact);
}

static const struct upstream_ops target_ops = {
    .on_open = on_open,
    .on_closed = on_closed,
};

/* Life */

void target_flush(struct target *target)
{
    batch_close(target, false);
    batch_close(target, true);
    target_send(target);
}

bool target_is_empty(const struct target *target)
{
    return !target->open[0] && !target->open[1] && !target->queue && target->in_flight == 0;
}

void target_turn(struct target *target)
{
    target->turning = target->contact.busy;
    if (target->contact.busy)
        upstream_close(target->contact.upstream, 0);
    target->broken = false;
}

/* A server closes what is idle, and that cannot be told from a process that was killed: so it is asked to merge nothing. */
static void target_stay(struct target *target)
{
    uint64_t now_us = target->contact.haul->command->loop->now_us;
    if (target->in_flight > 0 || target->queue || now_us - target->sent_us < HAUL_IDLE_US)
        return;
    if (!target->open[0])
        target->open[0] = batch_new(target, false);
    target_flush(target);
}

void target_tick(struct target *target)
{
    if (!contact_tend(&target->contact))
        return;
    target_stay(target);
    target_send(target);
}

int target_init(struct target *target, struct haul *haul, struct partition *partition,
                const char *name)
{
    target->end = &target->queue;
    return contact_init(&target->contact, haul, partition, name, &target_ops, target);
}

void target_free(struct target *target)
{
    contact_free(&target->contact); /* what was on its way comes back to the queue */
    batch_close(target, false);
    batch_close(target, true);
    while (target->queue) {
        struct batch *batch = target->queue;
        target->queue = batch->next;
        batch_taken(batch);
    }
}
