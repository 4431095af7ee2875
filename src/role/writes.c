#include <stdio.h>
#include <stdlib.h>

#include "role/node_state.h"

enum { CHUNKED_VALUE_BYTES = 16 * 1024 }; /* room for a value of unknown length, at first */

static struct record_form form_of(const struct request *request, uint64_t now_us)
{
    const struct node_work *work = (const struct node_work *)(const void *)request->service_room;
    const struct http_field *type = http_field_find(&request->head, HTTP_FIELD_CONTENT_TYPE);
    struct record_form form = {.key = work->key.bytes};
    /* curl's default for -d says nothing about the value. */
    if (type && !slice_equal_nocase(type->value, SLICE("application/x-www-form-urlencoded")))
        form.type = type->value;
    if (work->options.ttl_seconds)
        form.expires_us = now_us + work->options.ttl_seconds * 1000000ULL;
    return form;
}

/* At the limit, room that was freed in pieces may only have to be swept together. */
static struct record *value_record_new(struct node *node, const struct record_form *form)
{
    struct heap *heap = store_heap(node->store);
    struct record *record = record_new(heap, form, HEAP_NORMAL);
    if (record || !store_is_sparse(node->store))
        return record;
    store_sweep(node->store, node->loop->wall_us, NODE_SWEEP_RECORDS);
    return record_new(heap, form, HEAP_NORMAL);
}

void node_tell_full(struct node *node)
{
    log_condition(
        node->log, LOG_ERROR_LEVEL, "memory-full", "",
        "table_bytes=%llu msg=\"writes get 507\" do=\"delete keys, or give all nodes of the "
        "cluster more --memory-max, one after the other\"",
        (unsigned long long)heap_used(store_heap(node->store)));
}

static void reply_no_room(struct node *node, struct request *request)
{
    node_tell_full(node);
    reply_text(request, 507,
               "This node has no memory left for it (--memory-max); delete something, or raise the "
               "limit.");
}

/* Copies: a write whose client wants it to be held by several members is answered once they have it. */

struct replicating {
    struct node *node;
    struct request *request;
    struct copies *copies;
};

static void put_copies(struct node *node, struct request *request, unsigned have)
{
    char text[32];
    unsigned members = cluster_members(node->cluster); /* some may have left since */
    int len = snprintf(text, sizeof text, "%u/%u", have, members > have ? members : have);
    reply_field(request, SLICE("Fog-Copies"), (struct slice){text, (size_t)len});
}

static void reply_written(struct node *node, struct request *request, const struct record *record,
                          unsigned have, bool enough)
{
    reply_start(request, enough ? 200 : 202);
    value_put_version(request, record);
    if (work_of(request)->options.copies)
        put_copies(node, request, have);
    reply_body(request, (struct slice){0});
}

static void reply_replicated(struct service *service, struct request *request)
{
    const struct replicating *replicating = request->service_data;
    const struct copies *copies = replicating->copies;
    reply_written(node_of(service), request, copies_record(copies), copies_have(copies),
                  copies_are_enough(copies));
}

static void on_enough_copies(void *owner)
{
    struct replicating *replicating = owner;
    server_answer(replicating->request, reply_replicated);
}

/* Returns false when it cannot wait: then the answer is given at once. */
static bool hold_for_copies(struct node *node, struct request *request, struct record *record,
                            unsigned wanted)
{
    struct node_work *work = work_of(request);
    uint64_t seconds = work->options.waits ? work->options.wait_seconds : NODE_COPIES_SECONDS;
    struct replicating *replicating = malloc(sizeof *replicating);
    if (!replicating || seconds == 0 || node->draining)
        goto failed;
    replicating->copies =
        cluster_await_copies(node->cluster, record, wanted, on_enough_copies, replicating);
    if (!replicating->copies)
        goto failed;
    struct request *held = server_hold(request, node->loop->now_us + seconds * 1000000);
    if (!held) {
        cluster_forget_copies(node->cluster, replicating->copies);
        goto failed;
    }
    replicating->node = node;
    replicating->request = held;
    work_of(held)->replicating = true;
    held->service_data = replicating;
    return true;
failed:
    free(replicating);
    return false;
}

static void answer_write(struct node *node, struct request *request, struct record *record)
{
    unsigned wanted = work_of(request)->options.copies;
    if (wanted == UINT32_MAX)
        wanted = cluster_members(node->cluster);
    if (wanted <= 1)
        reply_written(node, request, record, 1, true);
    else if (!hold_for_copies(node, request, record, wanted))
        reply_written(node, request, record, 1, false);
}

/* Whether it has to begin before a certain time, and then is a write of its beginning: when its client, or a front-end, has given it up, and
 * what it has sent is still on its way, it does not come over what was written since. */
static bool counts_from_beginning(const struct request *request)
{
    const struct node_work *work = (const struct node_work *)(const void *)request->service_room;
    return request->body_parts && work->options.before_us && !work->options.exact &&
           (request->head.chunked || request->head.content_length > KEY_SHORT_BYTES_MAX);
}

/* A write that is tried again has its first version, and a long one that of its beginning: both may have been overwritten since. */
static enum store_result put_in(struct node *node, const struct request *request,
                                struct record *record)
{
    const struct node_work *work = (const struct node_work *)(const void *)request->service_room;
    uint64_t now_us = node->loop->wall_us;
    record->version = work->options.version;
    if (counts_from_beginning(request))
        return store_write_begun(node->store, &work->key, record, now_us);
    if (!work->options.exact)
        return store_write(node->store, &work->key, record, now_us);
    record->flags |= RECORD_LOCAL;
    return store_merge(node->store, &work->key, record, now_us);
}

/* What it loses to that is ahead of it and of the clock; or NULL. That may have been there before its first try: then it had to win. Or it is its
 * first try, or was written since; nobody can tell. A version that was a time, if by a clock that is ahead, is likely to lose to a time, too. */
static struct record *find_doubtful(const struct node *node, const struct request *request)
{
    const struct node_work *work = (const struct node_work *)(const void *)request->service_room;
    struct record *found = work->options.exact ? store_find(node->store, &work->key) : NULL;
    uint64_t version = work->options.version, now_us = node->loop->wall_us;
    uint64_t least_us = version > now_us && !work->options.follows ? version : now_us;
    return found && found->version > version && found->version > least_us + CLUSTER_SKEW_US ? found
                                                                                            : NULL;
}

/* Whether it does not matter then. */
static bool say_the_same(const struct record *a, const struct record *b)
{
    return record_is_tombstone(a) == record_is_tombstone(b) && !record_expires_us(a) &&
           !record_expires_us(b) && slice_equal(record_type(a), record_type(b)) &&
           slice_equal(record_value(a), record_value(b));
}

/* Puts the record in and answers. Takes over the reference. */
static void write_record(struct node *node, struct request *request, struct record *record)
{
    const struct node_work *work = work_of(request);
    struct record *doubtful = find_doubtful(node, request);
    if (doubtful && !say_the_same(doubtful, record)) {
        reply_text(request, 409,
                   "The key has a version of the future, and whether this write is later "
                   "(Fog-Version) cannot be told; it was not carried out.");
        record_release(store_heap(node->store), record);
        return;
    }
    enum store_result result = put_in(node, request, record);
    /* What has won is told again, so that its copies are counted. */
    if (result == STORE_STALE && work->options.copies)
        store_tell(node->store, &work->key, store_find(node->store, &work->key));
    if (result == STORE_NO_ROOM)
        reply_no_room(node, request);
    else
        answer_write(node, request, doubtful ? doubtful : record);
    if (result != STORE_APPLIED)
        record_release(store_heap(node->store), record);
}

static void reply_set(struct node *node, struct request *request)
{
    struct record_form form = form_of(request, node->loop->wall_us);
    form.value_bytes = request->body.len;
    struct record *record = value_record_new(node, &form);
    if (!record) {
        reply_no_room(node, request);
        return;
    }
    if (request->body.len)
        memcpy(record_value_room(record), request->body.data, request->body.len);
    record_seal(record);
    write_record(node, request, record);
}

/* The value came in parts, into a record that may have more room than was needed. */
static void reply_set_parts(struct node *node, struct request *request)
{
    struct node_work *work = work_of(request);
    struct record *record = request->service_data;
    if (work->filled < record->value_bytes) {
        record = record_resize(store_heap(node->store), record, (size_t)work->filled,
                               (size_t)work->filled);
        if (!record) {
            reply_no_room(node, request);
            return;
        }
        work->key.bytes = record_key(record);
    }
    request->service_data = NULL;
    if (record_due(record))
        record_due(record)->due_us = node->loop->wall_us + work->options.ttl_seconds * 1000000ULL;
    record_seal_rest(record, (size_t)work->hashed);
    write_record(node, request, record);
}

static void reply_delete(struct node *node, struct request *request)
{
    struct record_form form = {.key = work_of(request)->key.bytes, .tombstone = true};
    struct record *record = record_new(store_heap(node->store), &form, HEAP_RESERVE);
    if (!record) {
        reply_no_room(node, request);
        return;
    }
    record_seal(record);
    write_record(node, request, record);
}

void write_on_hold_end(struct node *node, struct request *request)
{
    reply_replicated(&node->service, request);
}

static const char too_late[] = "This write has come too late (Fog-Before); it was not carried out.";

/* By the clock as it is now: a process may have stood still in the midst of a turn, and have read since what was written elsewhere. */
static bool is_late(const struct node *node, const struct request *request)
{
    const struct node_work *work = (const struct node_work *)(const void *)request->service_room;
    return work->options.before_us && loop_clock_us(node->loop) >= work->options.before_us;
}

void write_on_request(struct node *node, struct request *request)
{
    if (!counts_from_beginning(request) && is_late(node, request))
        reply_text(request, 412, too_late);
    else if (request->head.method == HTTP_DELETE)
        reply_delete(node, request);
    else if (request->body_parts)
        reply_set_parts(node, request);
    else
        reply_set(node, request);
}

void write_on_body_start(struct node *node, struct request *request, uint64_t bytes)
{
    struct node_work *work = work_of(request);
    if (!key_is_set(request))
        return;
    bool begins = counts_from_beginning(request);
    if (begins && is_late(node, request)) {
        request_refuse(request, 412, too_late);
        return;
    }
    if (begins)
        work->options.version =
            store_next_version(node->store, &work->key, work->options.version, node->loop->wall_us);
    struct record_form form = form_of(request, node->loop->wall_us);
    uint64_t room =
        CHUNKED_VALUE_BYTES < node->config.value_max ? CHUNKED_VALUE_BYTES : node->config.value_max;
    form.value_bytes = (size_t)(request->head.chunked ? room : bytes);
    struct record *record = value_record_new(node, &form);
    if (!record) {
        node_tell_full(node);
        request_refuse(request, 507, "This node has no memory left for it (--memory-max).");
        return;
    }
    work->key.bytes = record_key(record);
    request->service_data = record;
}

/* For a value of unknown length that has filled its room: twice as much, or as much more as is copied at most. */
static uint64_t room_after(const struct node *node, uint64_t room)
{
    uint64_t more = room < RECORD_COPIED_MAX ? room : RECORD_COPIED_MAX;
    return room + more < node->config.value_max ? room + more : node->config.value_max;
}

static struct record *grow(struct node *node, struct request *request, struct record *record)
{
    if (record->value_bytes >= node->config.value_max) {
        request_refuse(request, 413, "The value is larger than this node takes (--value-max).");
        return NULL;
    }
    size_t filled = record->value_bytes;
    record =
        record_resize(store_heap(node->store), record, (size_t)room_after(node, filled), filled);
    if (!record) {
        node_tell_full(node);
        request_refuse(request, 507, "This node has no memory left for it (--memory-max).");
        return NULL;
    }
    work_of(request)->key.bytes = record_key(record);
    request->service_data = record;
    return record;
}

struct server_room write_on_body_room(struct node *node, struct request *request, uint64_t left)
{
    struct record *record = request->service_data;
    uint64_t filled = work_of(request)->filled;
    if (left > node->config.value_max - filled) {
        request_refuse(request, 413, "The value is larger than this node takes (--value-max).");
        return (struct server_room){0};
    }
    if (filled == record->value_bytes && !(record = grow(node, request, record)))
        return (struct server_room){0};
    return (struct server_room){record_value_room(record) + filled,
                                record->value_bytes - (size_t)filled};
}

void write_on_body_filled(struct request *request)
{
    struct node_work *work = work_of(request);
    work->hashed =
        record_hash_blocks(request->service_data, (size_t)work->filled, (size_t)work->hashed);
}

void write_on_request_end(struct node *node, struct request *request)
{
    if (!work_of(request)->replicating) {
        record_release(store_heap(node->store), request->service_data);
        return;
    }
    struct replicating *replicating = request->service_data;
    cluster_forget_copies(node->cluster, replicating->copies);
    free(replicating);
}
