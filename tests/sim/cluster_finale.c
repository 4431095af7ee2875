/* What must be true in the end, as a client sees it: all is asked by HTTP. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster.h"
#include "role/node_state.h"

enum {
    SECOND = 1000 * 1000,
    PATIENCE_US = 5 * SECOND,
    DIGEST_BYTES = 8192,
    DIGEST_TRIES = 40, /* while old deletes are let go of, digests may differ for some seconds */
    TTL_US_MAX = 20 * SECOND,
    ROOM_TRIES = 30,
    REWRITES = 3,
    TOLD_US_MAX =
        10 * SECOND, /* a write has come to all after it, also when it has to be repaired */
};

static bool is_there(const struct sim_cluster *cluster, unsigned i)
{
    return cluster->nodes[i].running && !cluster->nodes[i].draining;
}

static bool ask(struct sim_cluster *cluster, unsigned i, const char *method, const char *target,
                const char *rest, struct response *response, struct response_sink *sink)
{
    struct bytes request = {0};
    bytes_print(&request, "%s %s HTTP/1.1\r\nHost: sim\r\n%s", method, target, rest);
    bool done = fetch(&cluster->fetcher, &cluster->nodes[i].process.address, &request, response,
                      sink, PATIENCE_US);
    bytes_free(&request);
    return done;
}

static void wait_for(struct sim_cluster *cluster, uint64_t us)
{
    uint64_t until_us = cluster->world.now_us + us;
    while (!cluster->world.failed && cluster->world.now_us < until_us &&
           world_step(&cluster->world))
        ;
}

/* Asks for one key. Returns the status, 0 when there was no answer, which is wrong. */
static unsigned ask_key(struct sim_cluster *cluster, unsigned i, unsigned key, const char *method,
                        const char *rest, struct response *response)
{
    char target[24];
    snprintf(target, sizeof target, "/%s", cluster->keys[key]);
    if (ask(cluster, i, method, target, rest, response, NULL))
        return response->status;
    world_fail(&cluster->world, "n%u does not answer when all is well", i);
    return 0;
}

/* Connections whose other ends have gone without a word fill a node that may have few, until they have been idle for long enough: so
 * long it refuses others with 503, as it should. */
static void check_connections(struct sim_cluster *cluster)
{
    const struct limits *limits = &cluster->limits;
    uint64_t until_us = cluster->world.now_us + limits->stall_us + limits->idle_us;
    for (unsigned i = 0; i < cluster->node_count && !cluster->world.failed; i++)
        while (is_there(cluster, i) && !cluster->world.failed &&
               server_connections(cluster->nodes[i].process.node->server) >=
                   limits->connections_max)
            if (cluster->world.now_us > until_us)
                world_fail(&cluster->world, "n%u is full of connections that nobody uses", i);
            else
                wait_for(cluster, SECOND / 2);
}

/* Digests */

static bool digests_are_equal(struct sim_cluster *cluster)
{
    static char first[DIGEST_BYTES], other[DIGEST_BYTES];
    struct response response;
    size_t first_bytes = 0;
    for (unsigned i = 0; i < cluster->node_count; i++) {
        struct response_sink sink = {0};
        if (!is_there(cluster, i))
            continue;
        if (!ask(cluster, i, "GET", "/-/digest", "\r\n", &response, &sink) ||
            response.status != 200 || sink.bytes > DIGEST_BYTES) {
            world_fail(&cluster->world, "n%u does not tell its digest", i);
        } else {
            memcpy(first_bytes ? other : first, sink.data, sink.bytes);
            bool same = !first_bytes ||
                        (sink.bytes == first_bytes && memcmp(first, other, first_bytes) == 0);
            first_bytes = sink.bytes;
            free(sink.data);
            if (!same)
                return false;
        }
    }
    return true;
}

static void check_digests(struct sim_cluster *cluster)
{
    for (unsigned i = 0; i < DIGEST_TRIES && !cluster->world.failed; i++) {
        if (digests_are_equal(cluster))
            return;
        wait_for(cluster, SECOND / 2);
    }
    world_fail(&cluster->world, "/-/digest is not the same on all nodes");
}

/* Keys */

/* What one node says of a key is what its table has, as of its clock. */
static void check_told(struct sim_cluster *cluster, unsigned i, unsigned key)
{
    struct response response;
    struct node *node = cluster->nodes[i].process.node;
    const struct record *record = cluster_record_at(cluster, node, key);
    uint64_t expires_us = record ? record_expires_us(record) : 0;
    bool live = record && !record_is_tombstone(record);
    uint64_t version = record ? record->version : 0;
    uint64_t before_us = io_sim_wall_us(&cluster->nodes[i].process.io);
    unsigned status = ask_key(cluster, i, key, "GET", "\r\n", &response);
    uint64_t after_us = io_sim_wall_us(&cluster->nodes[i].process.io);
    if (expires_us && expires_us > before_us && expires_us <= after_us)
        return;
    live = live && (!expires_us || expires_us > before_us);
    if (status != (live ? 200 : 204) || (live && response.version != version))
        world_fail(&cluster->world, "n%u answers %u (version %llu) for key %u, and has %s %llu", i,
                   status, (unsigned long long)response.version, key, live ? "a value of" : "none",
                   (unsigned long long)version);
}

/* What two nodes say is the same, save what is just expiring by one of the two clocks. */
static void check_same(struct sim_cluster *cluster, unsigned key)
{
    struct response response;
    uint64_t version = 0, told = 0;
    unsigned status = 0;
    for (unsigned i = 0; i < cluster->node_count && !cluster->world.failed; i++) {
        if (!is_there(cluster, i))
            continue;
        unsigned now = ask_key(cluster, i, key, "GET", "\r\n", &response);
        if (now == 200 && response.has_ttl)
            return;
        version = now == 200 ? response.version : 0;
        if (status && (now != status || version != told))
            world_fail(&cluster->world,
                       "n%u answers %u (version %llu) for key %u, others %u (%llu)", i, now,
                       (unsigned long long)version, key, status, (unsigned long long)told);
        status = now;
        told = version;
    }
}

static bool expires_at_all(struct sim_cluster *cluster, unsigned key)
{
    for (unsigned i = 0; i < cluster->node_count; i++) {
        const struct record *record =
            is_there(cluster, i) ? cluster_record_at(cluster, cluster->nodes[i].process.node, key)
                                 : NULL;
        if (record && record_expires_us(record))
            return true;
    }
    return false;
}

static void check_keys(struct sim_cluster *cluster)
{
    for (unsigned key = 0; key < cluster->key_count && !cluster->world.failed; key++) {
        for (unsigned i = 0; i < cluster->node_count && !cluster->world.failed; i++)
            if (is_there(cluster, i))
                check_told(cluster, i, key);
        if (!cluster->world.failed && !expires_at_all(cluster, key))
            check_same(cluster, key);
    }
}

/* Whether a node has a value that will expire, as of its clock. */
static bool is_mortal(struct sim_cluster *cluster, unsigned i, unsigned key)
{
    const struct record *record = cluster_record_at(cluster, cluster->nodes[i].process.node, key);
    return record && record_expires_us(record) &&
           record_is_live(record, io_sim_wall_us(&cluster->nodes[i].process.io));
}

/* Where clocks never differed, all that had a time to live has ended by now. */
static void check_ttls(struct sim_cluster *cluster)
{
    if (cluster->clocks_differ || cluster->world.failed)
        return;
    wait_for(cluster, (uint64_t)TTL_US_MAX * cluster->pace +
                          12 * SECOND); /* clocks are up to 10 s apart from the beginning */
    for (unsigned key = 0; key < cluster->key_count && !cluster->world.failed; key++)
        for (unsigned i = 0; i < cluster->node_count && !cluster->world.failed; i++)
            if (is_there(cluster, i) && is_mortal(cluster, i, key))
                world_fail(&cluster->world, "key %u is still to expire on n%u", key, i);
}

/* Who reads and then writes wins */

static unsigned pick_node(struct sim_cluster *cluster)
{
    unsigned i;
    do
        i = (unsigned)rng_below(&cluster->rng, cluster->node_count);
    while (!is_there(cluster, i));
    return i;
}

static bool shows(struct sim_cluster *cluster, unsigned i, unsigned key, uint64_t version)
{
    struct response response;
    return ask_key(cluster, i, key, "GET", "\r\n", &response) == 200 && response.version == version;
}

/* Through two nodes, whatever their clocks say. */
static void check_rewrite(struct sim_cluster *cluster, unsigned key)
{
    struct response response;
    ask_key(cluster, pick_node(cluster), key, "GET", "\r\n", &response);
    uint64_t before = response.has_version ? response.version : 0;
    unsigned writer = pick_node(cluster);
    unsigned status =
        ask_key(cluster, writer, key, "PUT", "Content-Length: 5\r\n\r\nagain", &response);
    uint64_t version = response.version;
    if (cluster->world.failed || status == 507)
        return;
    if (status != 200 || version <= before)
        world_fail(&cluster->world,
                   "n%u answers %u and version %llu to a write of key %u, after %llu", writer,
                   status, (unsigned long long)version, key, (unsigned long long)before);
    uint64_t until_us = cluster->world.now_us + TOLD_US_MAX;
    for (unsigned i = 0; i < cluster->node_count && !cluster->world.failed; i++)
        while (is_there(cluster, i) && !shows(cluster, i, key, version) && !cluster->world.failed)
            if (cluster->world.now_us > until_us)
                world_fail(&cluster->world,
                           "n%u does not have the last write of key %u, version %llu", i, key,
                           (unsigned long long)version);
            else
                wait_for(cluster, SECOND / 10);
}

void cluster_finale(struct sim_cluster *cluster)
{
    check_connections(cluster);
    check_digests(cluster);
    check_keys(cluster);
    check_ttls(cluster);
    for (unsigned i = 0; i < REWRITES && !cluster->world.failed; i++)
        check_rewrite(cluster, (unsigned)rng_below(&cluster->rng, cluster->key_count));
}

/* Room */

/* Deletes a key through any node that takes it. A node's reserve is too small here for the delete of a key that it has not, whose shard
 * may need a table: 1/64 of these limits is a page or two, and 64 pages at least of what --memory-max may be. So that one may be refused,
 * but not that of a key that is there. */
static void delete_key(struct sim_cluster *cluster, unsigned key)
{
    struct response response = {0};
    char target[24];
    snprintf(target, sizeof target, "/%s", cluster->keys[key]);
    for (unsigned i = 0; i < ROOM_TRIES && !cluster->world.failed; i++) {
        unsigned node = (unsigned)rng_below(&cluster->rng, cluster->node_count);
        if (!is_there(cluster, node)) {
            wait_for(cluster, SECOND / 2);
            continue;
        }
        struct sim_write *write = cluster_write_new(cluster, key);
        write->tombstone = true;
        bool was_there = cluster_record_at(cluster, cluster->nodes[node].process.node, key);
        bool done = ask(cluster, node, "DELETE", target, "\r\n", &response, NULL);
        write->refused = done && response.status == 507;
        if (done && response.status == 200) {
            write->acked = true;
            write->have = 1;
            write->version = response.version;
            write->boot = cluster->nodes[node].boot;
            return;
        }
        if (write->refused && was_there)
            world_fail(&cluster->world, "n%u has no room for a delete", node);
        if (!write->refused)
            wait_for(cluster, SECOND / 2);
    }
    if (response.status != 507)
        world_fail(&cluster->world, "key %u cannot be deleted", key);
}

void cluster_make_room(struct sim_cluster *cluster, bool all)
{
    for (unsigned key = 0; key < cluster->key_count && !cluster->world.failed; key++)
        if (all || key % 3)
            delete_key(cluster, key);
    cluster->calm_us = cluster->world.now_us;
}
