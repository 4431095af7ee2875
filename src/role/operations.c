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
static void reply_history(struct node *node, struct request *request);
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
    {PATH("/-/history"), false, READ, reply_history},
    {PATH("/-/members"), false, READ | POST, reply_members},
    {PATH("/-/members"), true, DELETE, reply_member},
    {PATH("/-/keys"), false, READ, listing_reply_keys},
    {PATH("/-/records"), false, READ | POST, listing_reply_records},
    {PATH("/-/digest"), false, READ | POST, reply_digest},
    {PATH("/-/digest/shards"), false, POST, compare_shards},
    {PATH("/-/digest/records"), false, POST, compare_records},
    {PATH("/-/digest"), true, READ, reply_digest_part},
    {PATH("/-/merge"), false, WRITE, merge_reply},
};

enum { OPERATIONS = sizeof operations / sizeof *operations };

static struct slice text_plain = PATH("text/plain; charset=utf-8");

struct slice operation_path(struct slice target, struct slice *query)
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
        404, "There is no such operation; GET / lists what stands under /-/."};
    struct slice query, path = operation_path(request->head.target, &query);
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

struct slice operation_body(struct request *request)
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

static void reply_history(struct node *node, struct request *request)
{
    history_reply(&node->history, request);
}

/* /-/members */

static void reply_members(struct node *node, struct request *request)
{
    cluster_reply_members(node->cluster, request, operation_body(request));
}

static void reply_member(struct node *node, struct request *request)
{
    struct slice query, path = operation_path(request->head.target, &query);
    size_t skip = sizeof "/-/members/" - 1;
    cluster_reply_drop(node->cluster, request, (struct slice){path.data + skip, path.len - skip});
}

/* /-/digest: a line for all, then one for each group of shards; /-/digest/GG: one for each shard of group GG; /-/digest/GG/SS:
 * one for each record of shard SS of it. */

enum { DIGEST_LINE_BYTES = 64 };

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
    char text[STORE_SHARDS_PER_GROUP * DIGEST_LINE_BYTES];
    int used = 0;
    for (unsigned i = 0; i < STORE_SHARDS_PER_GROUP; i++)
        used += snprintf(text + used, sizeof text - (size_t)used, "%02x/%02x %016llx\n", group, i,
                         (unsigned long long)store_shard_digest(
                             node->store, group * STORE_SHARDS_PER_GROUP + i));
    reply_content(request, 200, text_plain, (struct slice){text, (size_t)used});
}

/* Two hexadecimal digits and nothing else, such as a sign. */
static bool digest_part(const char *at, unsigned limit, unsigned *out)
{
    const char digits[] = {at[0], at[1], 0};
    *out = (unsigned)strtoul(digits, NULL, 16);
    return strspn(digits, "0123456789abcdefABCDEF") == 2 && *out < limit;
}

/* "GG" or "GG/SS". Returns how many there were, 0 when they are not such. */
static int digest_parts(struct slice path, unsigned parts[2])
{
    size_t skip = sizeof "/-/digest/" - 1, len = path.len - skip;
    const char *at = path.data + skip;
    if ((len != 2 && len != 5) || !digest_part(at, STORE_GROUPS, &parts[0]))
        return 0;
    if (len == 2)
        return 1;
    return at[2] == '/' && digest_part(at + 3, STORE_SHARDS_PER_GROUP, &parts[1]) ? 2 : 0;
}

static void reply_digest(struct node *node, struct request *request)
{
    if (request->head.method == HTTP_POST)
        cluster_reply_groups(node->cluster, request, work_of(request)->sender,
                             operation_body(request));
    else
        reply_digest_groups(node, request);
}

static void compare_shards(struct node *node, struct request *request)
{
    cluster_reply_shards(node->cluster, request, work_of(request)->sender, operation_body(request));
}

static void compare_records(struct node *node, struct request *request)
{
    cluster_reply_digests(node->cluster, request, work_of(request)->sender,
                          operation_body(request));
}

static void reply_digest_part(struct node *node, struct request *request)
{
    struct slice query, path = operation_path(request->head.target, &query);
    unsigned parts[2] = {0};
    int found = digest_parts(path, parts);
    uint32_t shard = parts[0] * STORE_SHARDS_PER_GROUP + parts[1];
    if (found == 0)
        reply_text(request, 404,
                   "Digests are /-/digest, /-/digest/GG and /-/digest/GG/SS, with GG and SS from "
                   "00 to 7f.");
    else if (found == 1)
        reply_digest_shards(node, request, parts[0]);
    else
        listing_reply_digests(request, shard);
}

enum server_stream_result operation_on_stream(struct node *node, struct request *request)
{
    return listing_on_stream(node, request);
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
