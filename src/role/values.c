#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/digits.h"
#include "role/etag.h"
#include "role/node_state.h"

enum {
    CONDITION_BYTES_MAX = 2048, /* of If-None-Match; a longer one is not waited for */
};

/* Refuses a key that another partition holds. */
static bool is_held_here(const struct node *node, struct request *request, struct slice key)
{
    const struct node_config *config = &node->config;
    uint32_t partition = node->route ? route_partition(node->route, key) : config->partition;
    if (partition == config->partition)
        return true;
    char *sentence = server_scratch(request->server);
    int len = snprintf(sentence, SERVER_SCRATCH_BYTES,
                       "This key belongs to partition %u of %u; this node holds partition %u.",
                       partition, config->partitions, config->partition);
    server_scratch_use(request->server, (size_t)len + 1);
    log_condition(
        node->log, LOG_WARN_LEVEL, "misrouted", "",
        "partition=%u wanted=%u of=%u msg=\"a client asks for keys of another partition\" "
        "do=\"correct its number of partitions or the order of its clusters\"",
        config->partition, partition, config->partitions);
    request_refuse(request, 421, sentence);
    return false;
}

void value_on_head(struct node *node, struct request *request)
{
    struct slice key;
    if (!key_find(request, &key) || !is_held_here(node, request, key))
        return;
    work_of(request)->key = store_key(node->store, key);
    work_of(request)->key.for_write = request->head.method >= HTTP_POST;
    key_options_read(request, node->config.value_max, &work_of(request)->options);
}

/* Reading */

void value_put_version(struct request *request, const struct record *record)
{
    static const char etag_name[6] = "ETag: ", version_name[15] = "\r\nFog-Version: ";
    char lines[sizeof etag_name + ETAG_BYTES + sizeof version_name + DIGITS_DECIMAL_MAX + 2],
        *at = lines;
    if (!record || record_is_tombstone(record)) {
        reply_lines(request, SLICE("ETag: \"absent\"\r\n"));
        if (record)
            reply_field_number(request, SLICE("Fog-Version"), record->version);
        return;
    }
    memcpy(at, etag_name, sizeof etag_name);
    at += sizeof etag_name;
    at += etag_make(record, at).len;
    memcpy(at, version_name, sizeof version_name);
    at += sizeof version_name;
    at += digits_decimal(record->version, at);
    memcpy(at, "\r\n", 2);
    reply_lines(request, (struct slice){lines, (size_t)(at + 2 - lines)});
}

static void release_record(void *heap, void *record)
{
    record_release(heap, record);
}

/* A record's bytes, sent from their place; the record stays until they are gone. */
struct conn_piece value_piece(struct node *node, struct record *record, struct slice bytes)
{
    record_retain(record);
    return (struct conn_piece){bytes.data, bytes.len, release_record, store_heap(node->store),
                               record};
}

static void put_expiry(struct request *request, const struct record *record, uint64_t now_us)
{
    uint64_t expires_us = record_expires_us(record);
    if (expires_us)
        reply_field_number(request, SLICE("Fog-TTL"), (expires_us - now_us + 999999) / 1000000);
}

static void reply_value(struct node *node, struct request *request, struct record *record)
{
    struct slice type = record_type(record), value = record_value(record);
    reply_start(request, 200);
    value_put_version(request, record);
    put_expiry(request, record, node->loop->wall_us);
    if (type.len)
        reply_field(request, SLICE("Content-Type"), type);
    else
        reply_lines(request, SLICE("Content-Type: application/octet-stream\r\n"));
    if (value.len <= SERVER_COPY_BYTES_MAX || request->head.method == HTTP_HEAD)
        reply_body(request, value);
    else
        reply_body_ref(request, value_piece(node, record, value));
}

/* `record` is the value that has not changed; NULL when there is none. Then `gone` is what is left of one, a tombstone or what has
 * expired: its version tells that from a key that is not known at all. */
static void reply_without_value(struct request *request, unsigned status,
                                const struct record *record, const struct record *gone)
{
    reply_start(request, status);
    value_put_version(request, record);
    if (!record && gone)
        reply_field_number(request, SLICE("Fog-Version"), gone->version);
    reply_end(request);
}

/* Whether the tag stands in a field of that name; there may be several, which are one list. */
static bool is_in_field(const struct request *request, enum http_field_name name, struct slice tag,
                        enum etag_comparison comparison)
{
    for (unsigned i = 0; i < request->head.field_count; i++)
        if (request->head.fields[i].name == name &&
            etag_in_list(tag, request->head.fields[i].value, comparison))
            return true;
    return false;
}

static bool is_not_modified(const struct request *request, struct slice tag)
{
    return is_in_field(request, HTTP_FIELD_IF_NONE_MATCH, tag, ETAG_WEAK);
}

static bool is_unmatched(const struct request *request, struct slice tag)
{
    return http_field_find(&request->head, HTTP_FIELD_IF_MATCH) &&
           !is_in_field(request, HTTP_FIELD_IF_MATCH, tag, ETAG_STRONG);
}

static bool is_conditional(const struct request *request)
{
    return http_field_find(&request->head, HTTP_FIELD_IF_NONE_MATCH) ||
           http_field_find(&request->head, HTTP_FIELD_IF_MATCH);
}

/* `found` may be NULL, or what is left of a value. */
static void reply_unmatched(struct request *request, const struct record *found)
{
    reply_start(request, 412);
    if (found)
        reply_field_number(request, SLICE("Fog-Version"), found->version);
    reply_sentence(request, "The value is not the one that If-Match names.");
}

/* Waiting: a GET whose condition does not hold yet is held with what it needs to look again. */

struct waiting {
    struct watch_waiter waiter; /* first, so that a waiter leads here */
    struct request *request;
    struct slice condition;
    size_t bytes;
    char text[]; /* the key and the condition */
};

/* The conditions of all If-None-Match fields, as one list. Returns its length, or 0 when it is too long. */
static size_t copy_condition(const struct request *request, char *out)
{
    size_t used = 0;
    for (unsigned i = 0; i < request->head.field_count; i++) {
        struct slice value = request->head.fields[i].value;
        if (request->head.fields[i].name != HTTP_FIELD_IF_NONE_MATCH)
            continue;
        size_t comma = used > 0;
        if (used + comma + value.len > CONDITION_BYTES_MAX)
            return 0;
        memcpy(out + used, ",", comma);
        used += comma;
        memcpy(out + used, value.data, value.len);
        used += value.len;
    }
    return used;
}

static struct waiting *waiting_new(struct request *request)
{
    struct slice key = work_of(request)->key.bytes;
    char condition[CONDITION_BYTES_MAX];
    size_t condition_bytes = copy_condition(request, condition);
    struct waiting *waiting =
        condition_bytes ? malloc(sizeof *waiting + key.len + condition_bytes) : NULL;
    if (!waiting)
        return NULL;
    *waiting = (struct waiting){.bytes = key.len + condition_bytes};
    memcpy(waiting->text, key.data, key.len);
    memcpy(waiting->text + key.len, condition, condition_bytes);
    waiting->condition = (struct slice){waiting->text + key.len, condition_bytes};
    return waiting;
}

/* Returns false when it cannot wait: then the answer is given at once. */
static bool hold(struct node *node, struct request *request, uint64_t seconds)
{
    struct waiting *waiting = waiting_new(request);
    if (!waiting)
        return false;
    struct request *held = server_hold(request, node->loop->now_us + seconds * 1000000);
    if (!held) {
        free(waiting);
        return false;
    }
    work_of(held)->key.bytes.data = waiting->text;
    waiting->request = held;
    held->service_data = waiting;
    watch_add(&node->watch, &waiting->waiter, &work_of(held)->key);
    return true;
}

void value_wake(struct node *node)
{
    char tag_text[ETAG_BYTES];
    struct watch_waiter *waiter = NULL;
    for (int i = 0; i < NODE_WAKES_PER_TURN && (waiter = watch_next(&node->watch)); i++) {
        struct waiting *waiting = (struct waiting *)waiter;
        struct store_key *key = &work_of(waiting->request)->key;
        struct slice tag = etag_make(store_get(node->store, key, node->loop->wall_us), tag_text);
        if (etag_in_list(tag, waiting->condition, ETAG_WEAK))
            watch_add(&node->watch, waiter, key);
        else
            server_answer(waiting->request, node->service.on_request);
    }
    if (node->watch.woken)
        node->loop->again = true;
}

/* This node does not have everything yet, so what it lacks may exist. */
static void reply_not_gathered(struct request *request)
{
    reply_start(request, 503);
    reply_field(request, SLICE("Retry-After"), SLICE("1"));
    reply_sentence(request, "This node has not gathered all keys from its cluster yet; ask another "
                            "member, or try again.");
}

static void reply_get(struct node *node, struct request *request)
{
    char tag_text[ETAG_BYTES];
    struct record *found = store_find(node->store, &work_of(request)->key);
    struct record *record = found && record_is_live(found, node->loop->wall_us) ? found : NULL;
    if (!record && !cluster_has_everything(node->cluster)) {
        reply_not_gathered(request);
        return;
    }
    if (request->service_data || is_conditional(request)) {
        const struct waiting *waiting = request->service_data;
        struct slice tag = etag_make(record, tag_text);
        bool same = waiting ? etag_in_list(tag, waiting->condition, ETAG_WEAK)
                            : is_not_modified(request, tag);
        bool waits =
            same && !node->draining && !http_field_find(&request->head, HTTP_FIELD_IF_MATCH);
        uint64_t seconds = waits ? work_of(request)->options.wait_seconds : 0;
        if (is_unmatched(request, tag)) {
            reply_unmatched(request, found);
            return;
        }
        if (seconds > 0 && hold(node, request, seconds))
            return;
        if (same) {
            reply_without_value(request, 304, record, found);
            return;
        }
    }
    if (record)
        reply_value(node, request, record);
    else
        reply_without_value(request, 204, NULL, found);
}

void value_on_hold_end(struct node *node, struct request *request)
{
    if (work_of(request)->replicating)
        write_on_hold_end(node, request);
    else
        value_on_request(node, request);
}

void value_on_request(struct node *node, struct request *request)
{
    switch (request->head.method) {
    case HTTP_GET:
    case HTTP_HEAD:
        reply_get(node, request);
        break;
    case HTTP_POST:
    case HTTP_PUT:
    case HTTP_DELETE:
        write_on_request(node, request);
        break;
    case HTTP_OTHER:
        key_reply_not_allowed(request);
        break;
    }
}

void value_on_request_end(struct node *node, struct request *request)
{
    if (request->head.method != HTTP_GET && request->head.method != HTTP_HEAD) {
        write_on_request_end(node, request);
        return;
    }
    struct waiting *waiting = request->service_data;
    watch_remove(&node->watch, &waiting->waiter);
    free(waiting);
}
