#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster.h"
#include "role/cluster_state.h"
#include "role/node_state.h"

enum { SECOND = 1000 * 1000, PATIENCE_US = 8 * SECOND };

static struct cluster_client *client_of(struct world_event *event)
{
    return (struct cluster_client *)((char *)event - offsetof(struct cluster_client, tick));
}

static void on_change(struct cable_end *end)
{
    struct cluster_client *client = end->owner;
    world_event_hasten(&client->cluster->world, &client->tick,
                       client->cluster->world.now_us + 1 + rng_below(&client->rng, 20));
}

static void client_leave(struct cluster_client *client)
{
    if (client->end)
        cable_close(client->end);
    client->end = NULL;
}

/* The next node, from here on. */
static void client_move_on(struct cluster_client *client)
{
    client_leave(client);
    client->node = (unsigned)rng_below(&client->rng, client->cluster->node_count);
}

static void client_connect(struct cluster_client *client)
{
    struct sim_cluster *cluster = client->cluster;
    struct address to = cluster->nodes[client->node].process.address;
    client->end = cable_connect(&cluster->cables, &client->host, &to);
    client->end->owner = client;
    client->end->on_change = on_change;
}

/* Composing */

/* A value says which write it is of; the rest is made up. */
static void compose_value(struct cluster_client *client, struct sim_write *write,
                          struct bytes *value)
{
    struct rng *rng = &client->rng;
    bytes_print(value, "k%uw%llu.", client->key, (unsigned long long)write->id);
    size_t more = rng_chance(rng, 100000) ? (size_t)rng_between(rng, 1, 250) : 0;
    if (client->cluster->large && rng_chance(rng, 700000))
        more = client->cluster->tight ? (size_t)rng_between(rng, 8000, SIM_VALUE_BYTES_MAX - 100)
                                      : (size_t)rng_spread(rng, 1000, SIM_VALUE_BYTES_MAX - 100);
    if (more)
        memset(bytes_grow(value, more), '0' + (int)(write->id % 10), more);
    struct fold fold;
    fold_init(&fold);
    fold_add(&fold, value->data, value->len);
    write->fold = fold_end(&fold);
    write->bytes = value->len;
}

static void compose_copies(struct cluster_client *client)
{
    struct rng *rng = &client->rng;
    if (rng_chance(rng, 500000))
        bytes_print(&client->out, "Prefer: copies=all, wait=2\r\n");
    else
        bytes_print(&client->out, "Prefer: copies=%u, wait=%u\r\n",
                    (unsigned)rng_between(rng, 1, client->cluster->node_count),
                    (unsigned)rng_between(rng, 1, 4));
}

static void compose_write(struct cluster_client *client)
{
    struct rng *rng = &client->rng;
    struct sim_write *write = cluster_write_new(client->cluster, client->key);
    struct bytes value = {0};
    write->tombstone = rng_chance(rng, 250000);
    client->write = write;
    bytes_print(&client->out, "%s /%s HTTP/1.1\r\nHost: sim\r\n",
                write->tombstone ? "DELETE" : "PUT", client->cluster->keys[client->key]);
    if (!write->tombstone && !client->cluster->gentle && rng_chance(rng, 100000)) {
        write->ttl_us = rng_between(rng, 1, 20) * SECOND * client->cluster->pace;
        bytes_print(&client->out, "Fog-TTL: %llu\r\n", (unsigned long long)write->ttl_us / SECOND);
    }
    if (rng_chance(rng, 250000))
        compose_copies(client);
    if (write->tombstone) {
        bytes_print(&client->out, "\r\n");
        return;
    }
    compose_value(client, write, &value);
    bytes_print(&client->out, "Content-Length: %zu\r\n\r\n", value.len);
    bytes_add(&client->out, value.data, value.len);
    bytes_free(&value);
}

static void client_compose(struct cluster_client *client)
{
    struct sim_cluster *cluster = client->cluster;
    const struct sim_node *node = &cluster->nodes[client->node];
    client->out.len = 0;
    client->sent = 0;
    client->write = NULL;
    client->key = (unsigned)rng_below(&client->rng, cluster->key_count);
    client->reading = rng_chance(&client->rng, 500000);
    if (client->reading)
        bytes_print(&client->out, "GET /%s HTTP/1.1\r\nHost: sim\r\n\r\n",
                    cluster->keys[client->key]);
    else
        compose_write(client);
    response_init(&client->response, false, false, NULL);
    client->busy = true;
    client->sent_us = cluster->world.now_us;
    client->deadline_us = client->sent_us + PATIENCE_US;
    client->clock_frozen = node->thaw_us > 0;
    cluster->world.counts.requests++;
    client->boot = node->boot;
    client->floor = node->running ? cluster->boots[node->boot].shown[client->key] : 0;
}

/* Judging */

/* The life that was asked, while it lasts: a reply may come from the next one at the same address. */
static const struct sim_node *asked(const struct cluster_client *client)
{
    const struct sim_node *node = &client->cluster->nodes[client->node];
    return node->running && node->boot == client->boot ? node : NULL;
}

static const struct sim_write *floor_of(const struct cluster_client *client)
{
    return client->floor ? client->cluster->writes[client->floor - 1] : NULL;
}

/* The node has told of this write: whoever asks it later hears of this one or of a newer one. */
static void showed(struct cluster_client *client, const struct sim_write *write)
{
    struct sim_cluster *cluster = client->cluster;
    const struct sim_write *floor = floor_of(client);
    if (!asked(client))
        return;
    /* Two clusters that do not know each other forget their deletes each by itself. */
    bool strangers = floor && cluster_forgets(cluster) && cluster->strangers_us >= floor->sent_us;
    if (floor && floor != write && !strangers && !cluster_may_follow(cluster, floor, write))
        world_fail(&cluster->world,
                   "client %u: n%u shows version %llu of key %u, but has shown %llu before",
                   client->number, client->node, (unsigned long long)write->version, client->key,
                   (unsigned long long)floor->version);
    uint64_t *shown = &cluster->boots[client->boot].shown[client->key];
    if (!*shown || cluster_may_follow(cluster, cluster->writes[*shown - 1], write))
        *shown = write->id + 1;
}

/* What the node's wall clock said while it was asked. */
static bool wall_range(const struct cluster_client *client, uint64_t *least_us, uint64_t *most_us)
{
    const struct sim_node *node = asked(client);
    if (!node || client->clock_frozen || node->thaw_us)
        return false;
    io_sim_wall_range(&node->process.io, client->sent_us, client->cluster->world.now_us, least_us,
                      most_us);
    return true;
}

static void judge_expiry(struct cluster_client *client, const struct sim_write *write)
{
    uint64_t least_us, most_us;
    if (!write->ttl_us != !client->response.has_ttl)
        world_fail(&client->cluster->world, "n%u gives write %llu %s Fog-TTL", client->node,
                   (unsigned long long)write->id, write->ttl_us ? "without" : "with");
    if (write->expires_max_us && wall_range(client, &least_us, &most_us) &&
        least_us > write->expires_max_us)
        world_fail(&client->cluster->world, "n%u shows write %llu %llu us after its expiry",
                   client->node, (unsigned long long)write->id,
                   (unsigned long long)(least_us - write->expires_max_us));
}

/* The write that a value is of; NULL when nobody wrote it. */
static struct sim_write *write_of_value(const struct cluster_client *client)
{
    const struct response *response = &client->response;
    const struct sim_cluster *cluster = client->cluster;
    unsigned key;
    unsigned long long id;
    char text[64];
    snprintf(text, sizeof text, "%.*s",
             (int)(response->kept_bytes < 60 ? response->kept_bytes : 60), response->kept);
    if (sscanf(text, "k%uw%llu.", &key, &id) != 2 || key != client->key ||
        id >= cluster->write_count)
        return NULL;
    struct sim_write *write = cluster->writes[id];
    bool same = write->key == key && !write->tombstone && write->bytes == response->length &&
                write->fold == fold_end(&response->fold);
    return same ? write : NULL;
}

static void judge_value(struct cluster_client *client)
{
    struct sim_cluster *cluster = client->cluster;
    const struct response *response = &client->response;
    struct sim_write *write = write_of_value(client);
    if (!write) {
        world_fail(&cluster->world, "n%u has a value of key %u that nobody wrote: %.*s",
                   client->node, client->key,
                   (int)(response->kept_bytes < 60 ? response->kept_bytes : 60), response->kept);
        return;
    }
    if (write->refused || (write->version && write->version != response->version))
        world_fail(&cluster->world, "n%u has write %llu of key %u as version %llu, was %s %llu",
                   client->node, (unsigned long long)write->id, client->key,
                   (unsigned long long)response->version, write->refused ? "refused" : "version",
                   (unsigned long long)write->version);
    write->version = response->version;
    judge_expiry(client, write);
    showed(client, write);
}

/* A node that has not gathered everything may not say that a key does not exist, nor one that has told of a value that nothing has
 * ended since. */
static void judge_absence(struct cluster_client *client)
{
    struct sim_cluster *cluster = client->cluster;
    const struct sim_node *node = asked(client);
    const struct sim_write *floor = floor_of(client);
    if (!node)
        return;
    if (!node->process.node->cluster->has_everything)
        world_fail(&cluster->world, "n%u answers 204 before it has gathered everything",
                   client->node);
    if (floor && !cluster_may_be_gone(cluster, floor))
        world_fail(&cluster->world, "n%u answers 204 for key %u after it had shown write %llu",
                   client->node, client->key, (unsigned long long)floor->id);
}

static void take_copies(struct cluster_client *client, struct sim_write *write)
{
    struct sim_cluster *cluster = client->cluster;
    const struct response *response = &client->response;
    unsigned have = 1, of = 0;
    if (response->copies[0] && sscanf(response->copies, "%u/%u", &have, &of) != 2)
        world_fail(&cluster->world, "Fog-Copies is %s", response->copies);
    if (of && have > of)
        world_fail(&cluster->world, "Fog-Copies is %s", response->copies);
    write->have = have;
    unsigned there = cluster_holders(cluster, NULL, write);
    if (!cluster_forgets(cluster) && there + cluster_ends_since(cluster, write->sent_us) < have)
        world_fail(&cluster->world, "write %llu has %u copies, but Fog-Copies is %s",
                   (unsigned long long)write->id, there, response->copies);
}

static void judge_written(struct cluster_client *client)
{
    struct sim_write *write = client->write;
    const struct response *response = &client->response;
    struct sim_cluster *cluster = client->cluster;
    uint64_t least_us, most_us;
    const struct sim_write *floor = floor_of(client);
    if (write->version && write->version != response->version)
        world_fail(&cluster->world, "write %llu has two versions", (unsigned long long)write->id);
    write->version = response->version;
    write->acked = true;
    write->boot = client->boot;
    cluster->acked++;
    if (write->ttl_us && wall_range(client, &least_us, &most_us))
        write->expires_max_us = most_us + write->ttl_us;
    take_copies(client, write);
    if (asked(client))
        cluster_prompt_expect(write);
    /* Who took it may have died while the answer was on its way. */
    if (!asked(client) && cluster_holders(cluster, NULL, write) == 0)
        write->excused = true;
    if (asked(client) && floor && floor->version == write->version && !cluster_forgets(cluster))
        world_fail(&cluster->world, "n%u gives one version twice", client->node);
    showed(client, write);
}

/* Another node may have got the address that was connected to: what is known of the one that was meant says nothing of it. */
static void see_who_answers(struct cluster_client *client)
{
    const struct sim_cluster *cluster = client->cluster;
    const struct cable_host *host = cable_peer(client->end)->host;
    for (unsigned i = 0; i < cluster->node_count; i++)
        if (i != client->node && &cluster->nodes[i].process.host == host) {
            client->node = i;
            client->boot = cluster->nodes[i].boot;
            client->floor = 0;
            client->clock_frozen = true;
        }
}

static void client_judge(struct cluster_client *client)
{
    unsigned status = client->response.status;
    struct world_counts *counts = &client->cluster->world.counts;
    see_who_answers(client);
    client->busy = false;
    counts->replies++;
    if (status == 503 || status == 507 || status == 421) {
        if (client->write)
            client->write->refused = true;
        counts->refused++;
        client_move_on(client);
    } else if (client->reading && status == 200) {
        counts->reads++;
        judge_value(client);
    } else if (client->reading && status == 204) {
        counts->absent++;
        judge_absence(client);
    } else if (!client->reading && (status == 200 || status == 202)) {
        judge_written(client);
    } else {
        world_fail(&client->cluster->world, "n%u answers %u", client->node, status);
    }
}

/* Going on */

static bool client_send(struct cluster_client *client)
{
    while (client->sent < client->out.len) {
        struct iovec piece = {client->out.data + client->sent, client->out.len - client->sent};
        ssize_t sent = cable_send(client->end, &piece, 1, piece.iov_len);
        if (sent == -EAGAIN)
            return true;
        if (sent <= 0)
            return false;
        client->sent += (size_t)sent;
    }
    return true;
}

static bool client_receive(struct cluster_client *client)
{
    char data[4096];
    for (;;) {
        ssize_t got = cable_recv(client->end, data, sizeof data);
        if (got == -EAGAIN)
            return true;
        if (got <= 0 || !client->busy)
            return false;
        size_t used = response_feed(&client->response, data, (size_t)got);
        if (client->response.wrong || used < (size_t)got) {
            world_fail(&client->cluster->world, "client %u: %s", client->number,
                       client->response.wrong ? client->response.wrong : "bytes nobody asked for");
            return false;
        }
        if (client->response.state == RESPONSE_DONE) {
            client_judge(client);
            return client->end && !client->response.close;
        }
    }
}

static void client_step(struct cluster_client *client)
{
    struct sim_cluster *cluster = client->cluster;
    uint64_t now_us = cluster->world.now_us;
    if (client->busy && now_us >= client->deadline_us) {
        client->busy = false;
        cluster->world.counts.timeouts++;
        client_move_on(client);
    }
    if (client->busy && client->end && (!client_send(client) || !client_receive(client))) {
        client->busy = false;
        client_move_on(client);
    }
    if (client->busy || client->calls_left == 0 || now_us < client->next_us)
        return;
    client->calls_left--;
    bool hurries = client->cluster->bursty && rng_chance(&client->rng, 950000);
    client->next_us = now_us + rng_spread(&client->rng, 10,
                                          hurries ? 1000 : 3ULL * SECOND * client->cluster->pace);
    if (client->end && (client->end->ended || rng_chance(&client->rng, 100000)))
        client_move_on(client);
    if (!client->end)
        client_connect(client);
    client_compose(client);
    if (!client_send(client)) {
        client->busy = false;
        client_move_on(client);
    }
}

static void on_tick(struct world_event *event)
{
    struct cluster_client *client = client_of(event);
    struct world *world = &client->cluster->world;
    client_step(client);
    uint64_t at_us = client->busy ? client->deadline_us : client->next_us;
    if (client->busy || client->calls_left > 0)
        world_event_hasten(world, event, at_us > world->now_us ? at_us : world->now_us + 10);
}

void cluster_client_init(struct cluster_client *client, struct sim_cluster *cluster,
                         unsigned number)
{
    *client = (struct cluster_client){.cluster = cluster, .number = number};
    rng_seed(&client->rng, cluster->world.seed, 0x636c69656e74 + number);
    client->host.ip[10] = client->host.ip[11] = 255;
    client->host.ip[12] = 10;
    client->host.ip[14] = 1;
    client->host.ip[15] = (uint8_t)(number + 1);
    snprintf(client->host.name, sizeof client->host.name, "c%u", number);
    cable_host_add(&cluster->cables, &client->host);
    client->tick.run = on_tick;
    client->calls_left = (unsigned)rng_spread(&client->rng, 30, 300);
    client->node = (unsigned)rng_below(&client->rng, cluster->node_count);
    world_event_set(&cluster->world, &client->tick, rng_below(&client->rng, 3 * SECOND));
}

void cluster_client_free(struct cluster_client *client)
{
    world_event_clear(&client->cluster->world, &client->tick);
    client_leave(client);
    bytes_free(&client->out);
}

void cluster_clients_leave(struct sim_cluster *cluster)
{
    for (unsigned i = 0; i < cluster->client_count; i++)
        client_leave(&cluster->clients[i]);
}

void cluster_clients_go_on(struct sim_cluster *cluster, unsigned calls)
{
    for (unsigned i = 0; i < cluster->client_count; i++) {
        struct cluster_client *client = &cluster->clients[i];
        client->calls_left += calls;
        world_event_hasten(&cluster->world, &client->tick,
                           cluster->world.now_us + rng_below(&client->rng, SECOND));
    }
}

bool cluster_clients_are_done(const struct sim_cluster *cluster)
{
    for (unsigned i = 0; i < cluster->client_count; i++)
        if (cluster->clients[i].busy || cluster->clients[i].calls_left > 0)
            return false;
    return true;
}
