/* The answers to another member's repair. Nothing is kept between two of its questions. */
#include <stdlib.h>
#include <string.h>

#include "base/big.h"
#include "role/cluster_state.h"

enum { GROUP_BYTES = 1 + STORE_SHARDS_PER_GROUP * 8 };

static const char binary[] = "application/octet-stream";

/* Digests */

static int digest_compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

void digests_sort(uint64_t *digests, unsigned count)
{
    qsort(digests, count, sizeof *digests, digest_compare);
}

bool digests_have(const uint64_t *sorted, unsigned count, uint64_t digest)
{
    return count && bsearch(&digest, sorted, count, sizeof digest, digest_compare);
}

/* Groups and shards */

/* The member whose question this is, when it may repair with us now; otherwise replies and returns NULL. */
static struct peer *admitted(struct cluster *cluster, struct request *request, uint64_t sender)
{
    struct member *from = sender ? members_find(&cluster->members, sender) : NULL;
    if (!from || !from->peer) {
        cluster->counters.refused++;
        reply_text(request, 409,
                   "Only members of the cluster compare tables: Fog-From is missing.");
        return NULL;
    }
    if (repair_is_busy(cluster, from->id)) {
        reply_text(request, 503, "This node compares its table with another one; try again.");
        return NULL;
    }
    repair_lease(cluster, from->id);
    return from->peer;
}

static void reply_malformed(struct cluster *cluster, struct request *request)
{
    cluster->counters.refused++;
    reply_text(request, 400, "This is not how members compare tables.");
}

static void free_owned(void *context, void *owner)
{
    (void)context;
    free(owner);
}

/* A whole reply of these bytes, which are malloc'd and taken over. */
static void reply_owned(struct request *request, void *data, size_t bytes)
{
    struct conn_piece piece = {data, bytes, free_owned, NULL, data};
    reply_start(request, 200);
    reply_field(request, SLICE("Content-Type"), slice_of(binary));
    reply_body_ref(request, piece);
}

void cluster_reply_groups(struct cluster *cluster, struct request *request, uint64_t sender,
                          struct slice body)
{
    char differing[STORE_GROUPS];
    size_t count = 0;
    struct peer *peer = admitted(cluster, request, sender);
    if (!peer)
        return;
    if (body.len != STORE_GROUPS * 8) {
        reply_malformed(cluster, request);
        return;
    }
    for (uint32_t group = 0; group < STORE_GROUPS; group++)
        if (big_get(body.data + (size_t)group * 8, 8) != store_group_digest(cluster->store, group))
            differing[count++] = (char)group;
        else
            agreed_group(peer, group, told_before_us(cluster, CLUSTER_ANSWER_US));
    if (count == 0 && peer->repair.step == REPAIR_IDLE)
        repair_unlease(cluster, sender);
    reply_content(request, 200, slice_of(binary), (struct slice){differing, count});
}

/* One group's shards. Returns how many numbers were written to `out`. */
static size_t compare_shards(struct peer *peer, const char *group_digests, char *out)
{
    struct cluster *cluster = peer->cluster;
    uint32_t first = (unsigned char)group_digests[0] * STORE_SHARDS_PER_GROUP;
    size_t count = 0;
    for (uint32_t i = 0; i < STORE_SHARDS_PER_GROUP; i++) {
        uint64_t theirs = big_get(group_digests + 1 + (size_t)i * 8, 8);
        if (theirs == store_shard_digest(cluster->store, first + i))
            agreed_shard(peer, first + i, told_before_us(cluster, CLUSTER_ANSWER_US));
        else
            big_put(out + 2 * count++, first + i, 2);
    }
    return count;
}

void cluster_reply_shards(struct cluster *cluster, struct request *request, uint64_t sender,
                          struct slice body)
{
    size_t groups = body.len / GROUP_BYTES, count = 0;
    struct peer *peer = admitted(cluster, request, sender);
    if (!peer)
        return;
    bool fine = body.len % GROUP_BYTES == 0 && groups <= STORE_GROUPS;
    for (size_t i = 0; fine && i < groups; i++)
        fine = (unsigned char)body.data[i * GROUP_BYTES] < STORE_GROUPS;
    char *out = fine ? malloc(groups * STORE_SHARDS_PER_GROUP * 2 + 1) : NULL;
    if (!fine) {
        reply_malformed(cluster, request);
        return;
    }
    if (!out) {
        reply_text(request, 503, "This node is out of memory for requests; try again.");
        return;
    }
    for (size_t i = 0; i < groups; i++)
        count += compare_shards(peer, body.data + i * GROUP_BYTES, out + 2 * count);
    reply_owned(request, out, 2 * count);
}

/* A shard's answer: its number, a count, and the digests of its records. */
static size_t put_digests(const struct store *store, uint32_t shard, uint64_t *digests, char *out)
{
    unsigned count = store_record_digests(store, shard, digests, store_shard_count(store, shard));
    big_put(out, shard, 2);
    big_put(out + 2, count, 4);
    for (unsigned i = 0; i < count; i++)
        big_put(out + 6 + (size_t)i * 8, digests[i], 8);
    return 6 + (size_t)count * 8;
}

void cluster_reply_digests(struct cluster *cluster, struct request *request, uint64_t sender,
                           struct slice body)
{
    size_t shards = body.len / 2, told = 0, records = 0, most = 0, used = 0;
    if (!admitted(cluster, request, sender))
        return;
    bool fine = body.len % 2 == 0 && shards <= REPAIR_SHARDS_MAX;
    /* It asks for no more records at a time than that, and for the shards that are missing in the answer again. */
    for (; fine && told < shards && records < REPAIR_WANTED_MAX; told++) {
        uint64_t shard = big_get(body.data + 2 * told, 2);
        fine = shard < STORE_SHARDS;
        size_t count = fine ? store_shard_count(cluster->store, (uint32_t)shard) : 0;
        records += count;
        most = count > most ? count : most;
    }
    if (!fine) {
        reply_malformed(cluster, request);
        return;
    }
    char *out = malloc(told * 6 + records * 8 + 1);
    uint64_t *digests = malloc((most + 1) * sizeof *digests);
    if (!out || !digests) {
        free(out);
        free(digests);
        reply_text(request, 503, "This node is out of memory for requests; try again.");
        return;
    }
    for (size_t i = 0; i < told; i++)
        used += put_digests(cluster->store, (uint32_t)big_get(body.data + 2 * i, 2), digests,
                            out + used);
    free(digests);
    reply_owned(request, out, used);
}

/* Records by their digests */

/* Those of one shard. Returns how many were found, `count` at most. */
static unsigned find_in_shard(const struct store *store, uint32_t shard, uint64_t *wanted,
                              unsigned count, struct record **out)
{
    unsigned found = 0;
    digests_sort(wanted, count);
    for (struct record *at = store_first(store, shard); at && found < count; at = store_after(at)) {
        uint64_t digest = record_digest(at);
        if (!store_lists(store, shard, at) || !digests_have(wanted, count, digest))
            continue;
        record_retain(at);
        out[found++] = at;
    }
    return found;
}

unsigned cluster_find_wanted(struct cluster *cluster, struct slice body, struct record **out)
{
    unsigned count = (unsigned)(body.len / CLUSTER_WANTED_BYTES), found = 0;
    uint64_t *wanted = malloc((count + 1) * sizeof *wanted);
    for (unsigned i = 0; wanted && i < count;) {
        unsigned run = 0;
        uint64_t shard = big_get(body.data + (size_t)i * CLUSTER_WANTED_BYTES, 2);
        for (; i < count && big_get(body.data + (size_t)i * CLUSTER_WANTED_BYTES, 2) == shard; i++)
            wanted[run++] = big_get(body.data + (size_t)i * CLUSTER_WANTED_BYTES + 2, 8);
        if (shard < STORE_SHARDS)
            found += find_in_shard(cluster->store, (uint32_t)shard, wanted, run, out + found);
    }
    free(wanted);
    return found;
}
