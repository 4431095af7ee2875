#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"
#include "data/wire.h"
#include "role/node_state.h"

/* One thing under /-/ (or "/" itself). */
struct operation {
    struct slice path;
    bool has_parts;  /* what follows the path after a slash belongs to it */
    uint8_t methods; /* a bit for each */
    void (*reply)(struct node *node, struct request *request);
};

enum {
    READ = 1 << HTTP_GET | 1 << HTTP_HEAD,
    POST = 1 << HTTP_POST,
    WRITE = 1 << HTTP_POST | 1 << HTTP_PUT,
    DELETE = 1 << HTTP_DELETE,
};

static void reply_healthy(struct node *node, struct request *request);
static void reply_ready(struct node *node, struct request *request);
static void reply_keys(struct node *node, struct request *request);
static void reply_records(struct node *node, struct request *request);
static void reply_digest(struct node *node, struct request *request);
static void reply_digest_part(struct node *node, struct request *request);
static void compare_shards(struct node *node, struct request *request);
static void compare_records(struct node *node, struct request *request);
static void reply_members(struct node *node, struct request *request);
static void reply_member(struct node *node, struct request *request);

#define PATH(literal)                \
    {                                \
        literal, sizeof(literal) - 1 \
    }

static const struct operation operations[] = {
    {PATH("/"), false, READ, front_reply},
    {PATH("/-/healthy"), false, READ, reply_healthy},
    {PATH("/-/ready"), false, READ, reply_ready},
    {PATH("/-/status"), false, READ, status_reply},
    {PATH("/-/metrics"), false, READ, metrics_reply},
    {PATH("/-/members"), false, READ | POST, reply_members},
    {PATH("/-/members"), true, DELETE, reply_member},
    {PATH("/-/keys"), false, READ, reply_keys},
    {PATH("/-/records"), false, READ | POST, reply_records},
    {PATH("/-/digest"), false, READ | POST, reply_digest},
    {PATH("/-/digest/shards"), false, POST, compare_shards},
    {PATH("/-/digest/records"), false, POST, compare_records},
    {PATH("/-/digest"), true, READ, reply_digest_part},
    {PATH("/-/merge"), false, WRITE, merge_reply},
};

enum { OPERATIONS = sizeof operations / sizeof *operations };

static struct slice text_plain = PATH("text/plain; charset=utf-8");

/* The target without its query, which goes to *query. */
static struct slice path_of(struct slice target, struct slice *query)
{
    const char *mark = memchr(target.data, '?', target.len);
    *query = (struct slice){0};
    if (!mark)
        return target;
    *query = (struct slice){mark + 1, target.len - (size_t)(mark - target.data) - 1};
    return (struct slice){target.data, (size_t)(mark - target.data)};
}

static bool operation_has(const struct operation *operation, struct slice path)
{
    if (!operation->has_parts)
        return slice_equal(operation->path, path);
    return slice_starts(path, operation->path) && path.len > operation->path.len &&
           path.data[operation->path.len] == '/';
}

static const struct operation *operation_of(struct request *request)
{
    return &operations[work_of(request)->operation];
}

static bool is_read(const struct request *request)
{
    return request->head.method == HTTP_GET || request->head.method == HTTP_HEAD;
}

static bool operation_allows(const struct operation *operation, const struct request *request)
{
    return operation->methods >> request->head.method & 1;
}

/* Whether the body is collected until it is whole. */
static bool operation_collects(struct request *request)
{
    return request->head.method == HTTP_POST && operation_of(request)->reply != merge_reply &&
           operation_allows(operation_of(request), request);
}

/* Requests that name a member as their sender must come from one, save the one by which one becomes one. */
static void check_member(struct node *node, struct request *request)
{
    static const struct http_error stranger = {
        409, "Fog-From names nobody who is a member here: say hello first (POST /-/members)."};
    if (operation_of(request)->reply != reply_members &&
        !cluster_admits(node->cluster, request, &work_of(request)->sender))
        request->error = stranger;
}

void operation_on_head(struct node *node, struct request *request)
{
    static const struct http_error reserved = {
        403, "Keys that begin with -/ are reserved for operations."};
    static const struct http_error unknown = {
        404, "There is no such operation; see the documentation for what stands under /-/."};
    struct slice query, path = path_of(request->head.target, &query);
    for (uint32_t i = 0; i < OPERATIONS; i++)
        if (operation_has(&operations[i], path)) {
            work_of(request)->operation = i;
            if (request->head.field_count)
                check_member(node, request);
            return;
        }
    work_of(request)->operation = OPERATIONS;
    if (request->head.target.data[0] == '/')
        request->error = is_read(request) ? unknown : reserved;
}

static void reply_wrong_method(struct request *request, unsigned methods)
{
    static const char *const names[] = {"GET", "HEAD", "POST", "PUT", "DELETE"};
    char room[64];
    struct text text = text_in(room, sizeof room);
    for (unsigned method = HTTP_GET; method <= HTTP_DELETE; method++)
        if (methods >> method & 1)
            text_add(&text, "%s%s", text.len ? ", " : "", names[method]);
    reply_not_allowed(request, text_slice(&text));
}

void operation_on_request(struct node *node, struct request *request)
{
    if (work_of(request)->operation == OPERATIONS) /* "*" or an authority: OPTIONS and CONNECT */
        reply_wrong_method(request, READ | WRITE | DELETE);
    else if (!operation_allows(operation_of(request), request))
        reply_wrong_method(request, operation_of(request)->methods);
    else
        operation_of(request)->reply(node, request);
}

/* A body that is whole now, wherever it was collected. */
static struct slice body_of(struct request *request)
{
    if (!request->body_parts)
        return request->body;
    return (struct slice){work_of(request)->body, (size_t)work_of(request)->filled};
}

static void reply_healthy(struct node *node, struct request *request)
{
    (void)node;
    reply_text(request, 200, "healthy");
}

static void reply_ready(struct node *node, struct request *request)
{
    if (cluster_is_ready(node->cluster))
        reply_text(request, 200, "ready");
    else
        reply_text(request, 503, cluster_why_unready(node->cluster));
}

/* /-/members */

static void reply_members(struct node *node, struct request *request)
{
    cluster_reply_members(node->cluster, request, body_of(request));
}

static void reply_member(struct node *node, struct request *request)
{
    struct slice query, path = path_of(request->head.target, &query);
    size_t skip = sizeof "/-/members/" - 1;
    cluster_reply_drop(node->cluster, request, (struct slice){path.data + skip, path.len - skip});
}

/* Listings: the records of one shard after the other. Those of the shard in hands are retained, so that they stay as they
 * are while writes go on; a key that changes meanwhile is told as it was or as it is. */

struct listing {
    struct record **records; /* of the shard in hands, each with a reference */
    unsigned count, at, room;
    uint32_t shard, end; /* the next one to take, and where to stop */
    uint64_t told;
    struct slice prefix;
    bool ended;
    char prefix_bytes[];
};

static void listing_drop_shard(struct node *node, struct listing *listing)
{
    while (listing->at < listing->count)
        record_release(store_heap(node->store), listing->records[listing->at++]);
    listing->at = listing->count = 0;
}

static void listing_destroy(struct node *node, struct listing *listing)
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
    listing->count = store_shard_records(node->store, listing->shard++, listing->records, count);
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
static struct listing *reply_listing(struct request *request, struct slice type,
                                     struct slice prefix, uint32_t from, uint32_t end)
{
    if (request->head.method == HTTP_HEAD) {
        reply_start(request, 200);
        reply_field(request, SLICE("Content-Type"), type);
        reply_stream(request);
        return NULL;
    }
    struct listing *listing = calloc(1, sizeof *listing + prefix.len);
    struct request *stream = listing ? server_stream(request) : NULL;
    if (!stream) {
        free(listing);
        reply_text(request, 503, "This node is out of memory for requests; try again.");
        return NULL;
    }
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

/* /-/keys */

static void reply_keys(struct node *node, struct request *request)
{
    struct slice query, prefix = {0};
    path_of(request->head.target, &query);
    (void)node;
    if (slice_starts(query, SLICE("prefix=")))
        prefix = (struct slice){query.data + 7, query.len - 7};
    else if (query.len) {
        reply_text(request, 400, "Only ?prefix= can stand behind /-/keys.");
        return;
    }
    char decoded[3 * RECORD_KEY_BYTES_MAX];
    long len = prefix.len <= sizeof decoded ? http_percent_decode(prefix, decoded) : -1;
    if (len < 0 || len > RECORD_KEY_BYTES_MAX)
        reply_text(request, 400, "The prefix is too long, or has a bad percent escape.");
    else
        reply_listing(request, text_plain, (struct slice){decoded, (size_t)len}, 0, STORE_SHARDS);
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
        if (step == LISTING_END)
            return SERVER_STREAM_END;
        if (step != LISTING_RECORD)
            return stream_result(step);
        if (record_is_live(record, node->loop->wall_us) &&
            slice_starts(record_key(record), listing->prefix))
            put_key_line(request, record);
        listing_told(node, listing);
    }
    return SERVER_STREAM_MORE;
}

/* /-/records */

static const struct slice binary = PATH("application/octet-stream");

/* POST: those of these shards and digests that are here. */
static void reply_wanted(struct node *node, struct request *request)
{
    struct slice body = body_of(request);
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
    free(request->body_parts ? work_of(request)->body : NULL);
    request->service_data = work_of(request)->body = NULL;
    struct listing *listing =
        reply_listing(request, binary, (struct slice){0}, STORE_SHARDS, STORE_SHARDS);
    if (listing) {
        listing->records = records;
        listing->count = listing->room = count;
        return;
    }
    while (count > 0)
        record_release(store_heap(node->store), records[--count]);
    free(records);
}

static void reply_records(struct node *node, struct request *request)
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
    path_of(request->head.target, &query);
    if (query.len > 0 &&
        (!slice_starts(query, SLICE("from=")) ||
         !slice_number((struct slice){query.data + 5, query.len - 5}, STORE_SHARDS, &from)))
        reply_text(request, 400,
                   "Only ?from= and a shard's number (0 to 16384) can stand behind /-/records.");
    else
        reply_listing(request, binary, (struct slice){0}, (uint32_t)from, STORE_SHARDS);
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

/* /-/digest: a line for all, then one for each group of shards; /-/digest/GG: one for each shard of group GG; /-/digest/GG/SS:
 * one for each record of shard SS of it. */

enum { SHARDS_PER_GROUP = STORE_SHARDS / STORE_GROUPS, DIGEST_LINE_BYTES = 64 };

static void reply_digest_groups(struct node *node, struct request *request)
{
    char text[(STORE_GROUPS + 1) * DIGEST_LINE_BYTES];
    struct store_counts counts = store_counts(node->store);
    int used = snprintf(text, sizeof text, "all %016llx records %llu\n",
                        (unsigned long long)store_digest(node->store),
                        (unsigned long long)(counts.keys + counts.tombstones - counts.buried));
    for (unsigned i = 0; i < STORE_GROUPS; i++)
        used += snprintf(text + used, sizeof text - (size_t)used, "%02x %016llx\n", i,
                         (unsigned long long)store_group_digest(node->store, i));
    reply_content(request, 200, text_plain, (struct slice){text, (size_t)used});
}

static void reply_digest_shards(struct node *node, struct request *request, unsigned group)
{
    char text[SHARDS_PER_GROUP * DIGEST_LINE_BYTES];
    int used = 0;
    for (unsigned i = 0; i < SHARDS_PER_GROUP; i++)
        used += snprintf(
            text + used, sizeof text - (size_t)used, "%02x/%02x %016llx\n", group, i,
            (unsigned long long)store_shard_digest(node->store, group * SHARDS_PER_GROUP + i));
    reply_content(request, 200, text_plain, (struct slice){text, (size_t)used});
}

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

/* "GG" or "GG/SS" in hexadecimal, each below `limit`. Returns how many there were, 0 when they are not such. */
static int digest_parts(struct slice path, unsigned parts[2])
{
    char text[8] = "", rest;
    size_t skip = sizeof "/-/digest/" - 1;
    if (path.len <= skip || path.len - skip >= sizeof text)
        return 0;
    memcpy(text, path.data + skip, path.len - skip);
    int found = sscanf(text, "%2x/%2x%c", &parts[0], &parts[1], &rest);
    bool whole = (found == 1 && path.len - skip == 2) || (found == 2 && path.len - skip == 5);
    if (!whole || parts[0] >= STORE_GROUPS || (found == 2 && parts[1] >= SHARDS_PER_GROUP))
        return 0;
    return found;
}

static void reply_digest(struct node *node, struct request *request)
{
    if (request->head.method == HTTP_POST)
        cluster_reply_groups(node->cluster, request, work_of(request)->sender, body_of(request));
    else
        reply_digest_groups(node, request);
}

static void compare_shards(struct node *node, struct request *request)
{
    cluster_reply_shards(node->cluster, request, work_of(request)->sender, body_of(request));
}

static void compare_records(struct node *node, struct request *request)
{
    cluster_reply_digests(node->cluster, request, work_of(request)->sender, body_of(request));
}

static void reply_digest_part(struct node *node, struct request *request)
{
    struct slice query, path = path_of(request->head.target, &query);
    unsigned parts[2] = {0};
    int found = digest_parts(path, parts);
    uint32_t shard = parts[0] * SHARDS_PER_GROUP + parts[1];
    if (found == 0)
        reply_text(request, 404,
                   "Digests are /-/digest, /-/digest/GG and /-/digest/GG/SS, with GG and SS from "
                   "00 to 7f.");
    else if (found == 1)
        reply_digest_shards(node, request, parts[0]);
    else
        reply_listing(request, text_plain, (struct slice){0}, shard, shard + 1);
}

enum server_stream_result operation_on_stream(struct node *node, struct request *request)
{
    const struct operation *operation = operation_of(request);
    if (operation->reply == reply_records)
        return stream_records(node, request);
    if (operation->reply == reply_keys)
        return stream_keys(node, request);
    return stream_digest(node, request);
}

/* Bodies: a merge takes its own as it comes, others are collected. */

static int collect_start(struct request *request, uint64_t bytes)
{
    uint64_t room = request->head.chunked ? NODE_BODY_BYTES_MAX : bytes;
    if (room > NODE_BODY_BYTES_MAX)
        return -E2BIG;
    request->service_data = work_of(request)->body = malloc((size_t)room + 1);
    return request->service_data ? 0 : -ENOMEM;
}

void operation_on_body_start(struct node *node, struct request *request, uint64_t bytes)
{
    static const struct http_error no_memory = {
        503, "This node is out of memory for requests; try again."};
    static const struct http_error too_large = {413, "This body is too large for what it is."};
    int error = 0;
    if (work_of(request)->operation == OPERATIONS ||
        !operation_allows(operation_of(request), request))
        return;
    if (operation_of(request)->reply == merge_reply)
        error = merge_start(node, request);
    else if (operation_collects(request))
        error = collect_start(request, bytes);
    if (error)
        request->error = error == -E2BIG ? too_large : no_memory;
}

struct server_room operation_on_body_room(struct request *request, uint64_t left)
{
    static const struct http_error too_large = {413, "This body is too large for what it is."};
    struct node_work *work = work_of(request);
    if (operation_of(request)->reply == merge_reply)
        return merge_room(request);
    if (!request->head.chunked)
        return (struct server_room){work->body + work->filled, (size_t)left};
    if (work->filled + left > NODE_BODY_BYTES_MAX) {
        request->error = too_large;
        return (struct server_room){0};
    }
    return (struct server_room){work->body + work->filled,
                                NODE_BODY_BYTES_MAX - (size_t)work->filled + 1};
}

void operation_on_body_filled(struct node *node, struct request *request, size_t bytes)
{
    if (operation_of(request)->reply == merge_reply)
        merge_filled(node, request, bytes);
}

void operation_on_request_end(struct node *node, struct request *request)
{
    if (operation_of(request)->reply == merge_reply)
        merge_free(node, request);
    else if (request->service_data == work_of(request)->body)
        free(request->service_data);
    else
        listing_destroy(node, request->service_data);
}
