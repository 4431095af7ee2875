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

static struct slice allow = {"GET, HEAD, POST, PUT, DELETE", 28};

/* Refuses a key that another partition holds. The sentence takes the place of the key's bytes. */
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
    request_refuse(request, 421, sentence);
    return false;
}

/* The key: the target after its first slash, percent-decoded once. */
static bool find_key(const struct node *node, struct request *request, struct slice *key)
{
    struct slice raw = {request->head.target.data + 1, request->head.target.len - 1};
    *key = raw;
    if (raw.len > 3 * RECORD_KEY_BYTES_MAX) {
        request_refuse(request, 414, "The key is longer than 4096 bytes.");
        return false;
    }
    if (memchr(raw.data, '%', raw.len)) {
        char *room = server_scratch(request->server);
        long decoded = http_percent_decode(raw, room);
        if (decoded < 0) {
            request_refuse(request, 400,
                           "The key has a percent sign without two hexadecimal digits after it.");
            return false;
        }
        *key = (struct slice){room, (size_t)decoded};
    }
    if (key->len > RECORD_KEY_BYTES_MAX) {
        request_refuse(request, 414, "The key is longer than 4096 bytes.");
        return false;
    }
    if (slice_starts(*key, SLICE("-/"))) {
        request_refuse(request, 403, "Keys that begin with -/ are reserved for operations.");
        return false;
    }
    if (!is_held_here(node, request, *key))
        return false;
    if (key->data != raw.data)
        server_scratch_use(request->server, key->len);
    return true;
}

/* One preference, such as "wait=10", also with spaces, quotes and parameters (RFC 7240, 2). Of several of a name the first counts. */
static void take_preference(struct request *request, struct slice preference)
{
    struct node_work *work = work_of(request);
    struct slice name, value = {0};
    unsigned long long number;
    slice_next(&preference, ';', &value); /* its parameters say nothing here */
    slice_next(&value, '=', &name);
    value = slice_trim(value);
    if (value.len >= 2 && value.data[0] == '"' && value.data[value.len - 1] == '"')
        value = (struct slice){value.data + 1, value.len - 2};
    bool is_copies = slice_equal_nocase(name, SLICE("copies"));
    if (is_copies && !work->copies && slice_equal_nocase(value, SLICE("all")))
        work->copies = UINT32_MAX;
    if (!slice_number(value, 1000000000, &number))
        return;
    if (is_copies && !work->copies)
        work->copies = (uint32_t)number;
    if (slice_equal_nocase(name, SLICE("wait")) && !work->waits) {
        work->waits = true;
        work->wait_seconds =
            (uint16_t)(number < NODE_WAIT_SECONDS_MAX ? number : NODE_WAIT_SECONDS_MAX);
    }
}

static void take_preferences(struct request *request)
{
    for (unsigned i = 0; i < request->head.field_count; i++) {
        struct slice list = request->head.fields[i].value, one;
        if (request->head.fields[i].name == HTTP_FIELD_PREFER)
            while (slice_next(&list, ',', &one))
                take_preference(request, one);
    }
}

/* The version that a write shall have: one that is tried again has that of the first try. */
static void take_version(struct request *request)
{
    const struct http_field *field = http_field_find(&request->head, HTTP_FIELD_FOG_VERSION);
    unsigned long long version;
    if (!field)
        return;
    if (slice_number(field->value, UINT64_MAX, &version) && version > 0)
        work_of(request)->version = version;
    else
        request_refuse(request, 400,
                       "Fog-Version takes a whole number of microseconds since 1970.");
}

static void check_method(struct request *request)
{
    bool writes = request_is_write(request) || request->head.method == HTTP_DELETE;
    const struct http_field *condition = http_field_find(&request->head, HTTP_FIELD_IF_MATCH);
    if (!condition && writes)
        condition = http_field_find(&request->head, HTTP_FIELD_IF_NONE_MATCH);
    if (condition && writes)
        request_refuse(request, 501,
                       "Writes on conditions are not possible, since every node takes writes.");
}

static void check_write(struct node *node, struct request *request)
{
    const struct http_field *ttl = http_field_find(&request->head, HTTP_FIELD_FOG_TTL);
    const struct http_field *type = http_field_find(&request->head, HTTP_FIELD_CONTENT_TYPE);
    if (request->head.content_length > node->config.value_max)
        request_refuse(request, 413, "The value is larger than this node takes (--value-max).");
    if (type && type->value.len > RECORD_TYPE_BYTES_MAX)
        request_refuse(request, 400, "The Content-Type is longer than 255 bytes.");
    if (!ttl)
        return;
    unsigned long long seconds;
    if (!slice_number(ttl->value, NODE_TTL_SECONDS_MAX, &seconds) || seconds == 0)
        request_refuse(request, 400,
                       "Fog-TTL takes a whole number of seconds, from 1 to 2147483647.");
    else
        work_of(request)->ttl_seconds = (uint32_t)seconds;
}

void value_on_head(struct node *node, struct request *request)
{
    struct slice key;
    if (!find_key(node, request, &key))
        return;
    work_of(request)->key = store_key(node->store, key);
    work_of(request)->key.for_write = request->head.method >= HTTP_POST;
    if (request_is_write(request))
        check_write(node, request);
    if (request->head.field_count == 0)
        return;
    check_method(request);
    take_preferences(request);
    if (work_of(request)->key.for_write)
        take_version(request);
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

static void reply_without_value(struct request *request, unsigned status,
                                const struct record *record)
{
    reply_start(request, status);
    value_put_version(request, record);
    reply_end(request);
}

static bool is_not_modified(const struct request *request, struct slice tag)
{
    for (unsigned i = 0; i < request->head.field_count; i++)
        if (request->head.fields[i].name == HTTP_FIELD_IF_NONE_MATCH &&
            etag_in_list(tag, request->head.fields[i].value))
            return true;
    return false;
}

static bool is_unmatched(const struct request *request, struct slice tag)
{
    const struct http_field *match = http_field_find(&request->head, HTTP_FIELD_IF_MATCH);
    return match && !etag_in_list(tag, match->value);
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
        if (used + value.len + 1 > CONDITION_BYTES_MAX)
            return 0;
        out[used++] = ',';
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
        if (etag_in_list(tag, waiting->condition))
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
    struct record *record = store_get(node->store, &work_of(request)->key, node->loop->wall_us);
    bool conditional = request->head.field_count > 0 || request->service_data;
    if (!record && !cluster_has_everything(node->cluster)) {
        reply_not_gathered(request);
        return;
    }
    if (conditional) {
        const struct waiting *waiting = request->service_data;
        struct slice tag = etag_make(record, tag_text);
        bool same = waiting ? etag_in_list(tag, waiting->condition) : is_not_modified(request, tag);
        uint64_t seconds = same && !node->draining ? work_of(request)->wait_seconds : 0;
        if (is_unmatched(request, tag)) {
            reply_text(request, 412, "The value is not the one that If-Match names.");
            return;
        }
        if (seconds > 0 && hold(node, request, seconds))
            return;
        if (same) {
            reply_without_value(request, 304, record);
            return;
        }
    }
    if (record)
        reply_value(node, request, record);
    else
        reply_without_value(request, 204, NULL);
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
        reply_not_allowed(request, allow);
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
