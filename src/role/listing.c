#include <stdio.h>
#include <stdlib.h>

#include "data/wire.h"
#include "role/node_state.h"

/* What a listing is of. */
enum listing_of { LISTING_OF_KEYS, LISTING_OF_RECORDS, LISTING_OF_DIGESTS };

enum { DIGEST_LINE_BYTES = 64 };

static const struct slice text_plain = {"text/plain; charset=utf-8", 25};

static const struct slice binary = {"application/octet-stream", 24};

/* Listings: the records of one shard after the other. Those of the shard in hands are retained, so that they stay as they
 * are while writes go on; a key that changes meanwhile is told as it was or as it is. */

struct listing {
    enum listing_of of;
    struct record **records; /* of the shard in hands, each with a reference */
    unsigned count, at, room;
    uint32_t shard, end; /* the next one to take, and where to stop */
    uint64_t taken_us;   /* wall clock; whose time was not over then is told */
    uint64_t told;
    uint64_t left; /* keys that may still be told */
    struct slice prefix;
    bool ended;
    bool all; /* tombstones past the grace period too */
    char prefix_bytes[];
};

static void listing_drop_shard(struct node *node, struct listing *listing)
{
    while (listing->at < listing->count)
        record_release(store_heap(node->store), listing->records[listing->at++]);
    listing->at = listing->count = 0;
}

void listing_destroy(struct node *node, struct listing *listing)
{
    listing_drop_shard(node, listing);
    free(listing->records);
    free(listing);
}

static bool listing_take_shard(struct node *node, struct listing *listing)
{
    unsigned count = store_shard_count(node->store, listing->shard);
    if (count > listing->room) {
        struct record **records = realloc(listing->records, count * sizeof(struct record *));
        if (!records)
            return false;
        listing->records = records;
        listing->room = count;
    }
    listing->at = 0;
    listing->taken_us = node->loop->wall_us;
    listing->count =
        store_shard_records(node->store, listing->shard++, listing->all, listing->records, count);
    return true;
}

enum listing_step { LISTING_RECORD, LISTING_END, LISTING_PAUSE, LISTING_BROKEN };

/* The next record, which stays the listing's until listing_told. Counts down *steps for each shard and record looked at. */
static enum listing_step listing_next(struct node *node, struct listing *listing, unsigned *steps,
                                      struct record **out)
{
    while (listing->at == listing->count) {
        if (listing->shard == listing->end)
            return LISTING_END;
        if (*steps == 0)
            return LISTING_PAUSE;
        --*steps;
        if (!listing_take_shard(node, listing))
            return LISTING_BROKEN;
    }
    if (*steps == 0)
        return LISTING_PAUSE;
    --*steps;
    *out = listing->records[listing->at];
    return LISTING_RECORD;
}

static void listing_told(struct node *node, struct listing *listing)
{
    record_release(store_heap(node->store), listing->records[listing->at++]);
}

/* Begins a streamed reply over shards [from, end). Returns its listing, or NULL when there is none: for HEAD, or out of memory (a
 * reply was given then). */
static struct listing *reply_listing(struct request *request, enum listing_of of,
                                     struct slice prefix, uint32_t from, uint32_t end)
{
    struct slice type = of == LISTING_OF_RECORDS ? binary : text_plain;
    if (request->head.method == HTTP_HEAD) {
        reply_start(request, 200);
        reply_field(request, SLICE("Content-Type"), type);
        reply_stream(request);
        return NULL;
    }
    struct listing *listing = calloc(1, sizeof *listing + prefix.len);
    struct request *stream = listing ? server_stream(request, false) : NULL;
    if (!stream) {
        free(listing);
        reply_text(request, 503, "This node is out of memory for requests; try again.");
        return NULL;
    }
    listing->of = of;
    listing->shard = from;
    listing->end = end;
    listing->prefix = (struct slice){listing->prefix_bytes, prefix.len};
    if (prefix.len)
        memcpy(listing->prefix_bytes, prefix.data, prefix.len);
    stream->service_data = listing;
    reply_start(stream, 200);
    reply_field(stream, SLICE("Content-Type"), type);
    reply_stream(stream);
    return listing;
}

static enum server_stream_result stream_result(enum listing_step step)
{
    return step == LISTING_BROKEN ? SERVER_STREAM_BROKEN : SERVER_STREAM_MORE;
}

/* Half of what there is looks like all of it. Returns whether the answer was given. */
static bool listing_refuse(struct node *node, struct request *request)
{
    bool whole = cluster_has_everything(node->cluster);
    if (!whole)
        reply_text(request, 503, "This node has not gathered all keys yet; ask another member.");
    return !whole;
}

/* /-/keys */

void listing_reply_keys(struct node *node, struct request *request)
{
    struct slice query;
    struct key_list list;
    if (listing_refuse(node, request))
        return;
    operation_path(request->head.target, &query);
    if (!key_list_read(query, &list)) {
        reply_text(request, 400,
                   "Only ?limit=N, ?prefix=P or ?limit=N&prefix=P can stand behind /-/keys.");
        return;
    }
    char decoded[3 * RECORD_KEY_BYTES_MAX];
    long len = list.prefix.len <= sizeof decoded ? http_percent_decode(list.prefix, decoded) : -1;
    if (len < 0 || len > RECORD_KEY_BYTES_MAX) {
        reply_text(request, 400, "The prefix is too long, or has a bad percent escape.");
        return;
    }
    struct listing *listing = reply_listing(request, LISTING_OF_KEYS,
                                            (struct slice){decoded, (size_t)len}, 0, STORE_SHARDS);
    if (listing)
        listing->left = list.limit;
}

static void put_key_line(struct request *request, struct record *record)
{
    char line[3 * RECORD_KEY_BYTES_MAX + 1];
    size_t len = http_percent_encode(record_key(record), line);
    line[len++] = '\n';
    reply_chunk(request, (struct slice){line, len});
}

static enum server_stream_result stream_keys(struct node *node, struct request *request)
{
    struct listing *listing = request->service_data;
    struct record *record = NULL;
    unsigned steps = NODE_STREAM_RECORDS;
    while (!reply_chunk_full(request)) {
        enum listing_step step = listing_next(node, listing, &steps, &record);
        if (step == LISTING_END || listing->left == 0)
            return SERVER_STREAM_END;
        if (step != LISTING_RECORD)
            return stream_result(step);
        if (record_is_live(record, listing->taken_us) &&
            slice_starts(record_key(record), listing->prefix)) {
            put_key_line(request, record);
            listing->left--;
        }
        listing_told(node, listing);
    }
    return SERVER_STREAM_MORE;
}

/* /-/records */

static unsigned keep_deletes(struct node *node, struct record **records, unsigned count)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < count; i++)
        if (record_is_tombstone(records[i]))
            records[kept++] = records[i];
        else
            record_release(store_heap(node->store), records[i]);
    return kept;
}

/* POST: those of these shards and digests that are here; when another byte follows them, the deletes among these. */
static void reply_wanted(struct node *node, struct request *request)
{
    struct slice body = operation_body(request);
    bool deletes = body.len % CLUSTER_WANTED_BYTES == 1;
    body.len -= deletes;
    unsigned room = (unsigned)(body.len / CLUSTER_WANTED_BYTES);
    struct record **records = malloc((room + 1) * sizeof(struct record *));
    if (!records || body.len % CLUSTER_WANTED_BYTES) {
        free(records);
        reply_text(request, records ? 400 : 503,
                   records ? "This is not how members ask for records."
                           : "This node is out of memory for requests; try again.");
        return;
    }
    unsigned count = cluster_find_wanted(node->cluster, body, records);
    if (deletes)
        count = keep_deletes(node, records, count);
    free(request->body_parts ? work_of(request)->body : NULL);
    request->service_data = work_of(request)->body = NULL;
    struct listing *listing =
        reply_listing(request, LISTING_OF_RECORDS, (struct slice){0}, STORE_SHARDS, STORE_SHARDS);
    if (listing) {
        listing->records = records;
        listing->count = listing->room = count;
        return;
    }
    while (count > 0)
        record_release(store_heap(node->store), records[--count]);
    free(records);
}

/* A backup; or what a newcomer takes, or resharding, which have to know old deletes as well, for members that were cut off since before. */
static void reply_copy(struct request *request, uint32_t from)
{
    struct listing *listing =
        reply_listing(request, LISTING_OF_RECORDS, (struct slice){0}, from, STORE_SHARDS);
    if (listing)
        listing->all = work_of(request)->sender || key_prefers_all_deletes(request);
}

void listing_reply_records(struct node *node, struct request *request)
{
    struct slice query;
    unsigned long long from = 0;
    if (request->head.method == HTTP_POST) { /* whose target may be gone */
        if (work_of(request)->sender)
            reply_wanted(node, request);
        else
            reply_text(request, 409,
                       "Only members of the cluster ask for records by their digests: Fog-From is "
                       "missing. Records come in by /-/merge.");
        return;
    }
    if (listing_refuse(node, request))
        return;
    operation_path(request->head.target, &query);
    if (query.len > 0 &&
        (!slice_starts(query, SLICE("from=")) ||
         !slice_number((struct slice){query.data + 5, query.len - 5}, STORE_SHARDS, &from)))
        reply_text(request, 400,
                   "Only ?from= and a shard's number (0 to 16384) can stand behind /-/records.");
    else
        reply_copy(request, (uint32_t)from);
}

static void put_record(struct node *node, struct request *request, struct record *record)
{
    char head[WIRE_HEAD_BYTES];
    struct slice data = wire_data(record);
    wire_head(record, head);
    reply_chunk(request, (struct slice){head, sizeof head});
    if (data.len <= SERVER_COPY_BYTES_MAX)
        reply_chunk(request, data);
    else
        reply_chunk_ref(request, value_piece(node, record, data));
}

static enum server_stream_result stream_records(struct node *node, struct request *request)
{
    struct listing *listing = request->service_data;
    struct record *record = NULL;
    unsigned steps = NODE_STREAM_RECORDS;
    while (!reply_chunk_full(request)) {
        enum listing_step step = listing_next(node, listing, &steps, &record);
        if (step == LISTING_END) {
            char end[WIRE_HEAD_BYTES];
            wire_end(listing->told, end);
            reply_chunk(request, (struct slice){end, sizeof end});
            return SERVER_STREAM_END;
        }
        if (step != LISTING_RECORD)
            return stream_result(step);
        put_record(node, request, record);
        listing->told++;
        listing_told(node, listing);
    }
    return SERVER_STREAM_MORE;
}

/* /-/digest/GG/SS */

static void put_digest_line(struct request *request, struct record *record)
{
    char line[3 * RECORD_KEY_BYTES_MAX + DIGEST_LINE_BYTES];
    int used = snprintf(
        line, DIGEST_LINE_BYTES, "%016llx %llu %s ", (unsigned long long)record_digest(record),
        (unsigned long long)record->version, record_is_tombstone(record) ? "deleted" : "value");
    size_t len = (size_t)used + http_percent_encode(record_key(record), line + used);
    line[len++] = '\n';
    reply_chunk(request, (struct slice){line, len});
}

static enum server_stream_result stream_digest(struct node *node, struct request *request)
{
    struct listing *listing = request->service_data;
    struct record *record = NULL;
    unsigned steps = NODE_STREAM_RECORDS;
    while (!reply_chunk_full(request)) {
        enum listing_step step = listing_next(node, listing, &steps, &record);
        if (step == LISTING_END)
            return SERVER_STREAM_END;
        if (step != LISTING_RECORD)
            return stream_result(step);
        put_digest_line(request, record);
        listing_told(node, listing);
    }
    return SERVER_STREAM_MORE;
}

void listing_reply_digests(struct request *request, uint32_t shard)
{
    reply_listing(request, LISTING_OF_DIGESTS, (struct slice){0}, shard, shard + 1);
}

enum server_stream_result listing_on_stream(struct node *node, struct request *request)
{
    const struct listing *listing = request->service_data;
    if (listing->of == LISTING_OF_KEYS)
        return stream_keys(node, request);
    if (listing->of == LISTING_OF_RECORDS)
        return stream_records(node, request);
    return stream_digest(node, request);
}
