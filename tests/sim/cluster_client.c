#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster.h"
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
    memset(client->seen, 0, sizeof client->seen);
    client->end = cable_connect(&cluster->cables, &client->host, &to);
    client->end->owner = client;
    client->end->on_change = on_change;
}

/* Composing */

static struct sim_write *write_new(struct sim_cluster *cluster, unsigned key)
{
    if (cluster->write_count == cluster->write_room) {
        cluster->write_room = cluster->write_room ? cluster->write_room * 2 : 256;
        cluster->writes =
            realloc(cluster->writes, cluster->write_room * sizeof(struct sim_write *));
        if (!cluster->writes)
            abort();
    }
    struct sim_write *write = calloc(1, sizeof *write);
    if (!write)
        abort();
    write->key = key;
    write->id = cluster->write_count;
    write->sent_us = cluster->world.now_us;
    cluster->writes[cluster->write_count++] = write;
    cluster->world.counts.writes++;
    return write;
}

static void compose_write(struct cluster_client *client)
{
    struct rng *rng = &client->rng;
    struct sim_write *write = write_new(client->cluster, client->key);
    char value[300];
    int bytes =
        snprintf(value, sizeof value, "k%uw%llu.", client->key, (unsigned long long)write->id);
    if (rng_chance(rng, 100000))
        bytes += snprintf(value + bytes, sizeof value - (size_t)bytes, "%0*d",
                          (int)rng_between(rng, 1, 250), 7);
    write->tombstone = rng_chance(rng, 250000);
    client->write = write;
    bytes_print(&client->out, "%s /key%u HTTP/1.1\r\nHost: sim\r\n",
                write->tombstone ? "DELETE" : "PUT", client->key);
    if (!write->tombstone && rng_chance(rng, 100000)) {
        write->ttl_us = rng_between(rng, 1, 20) * SECOND;
        bytes_print(&client->out, "Fog-TTL: %llu\r\n", (unsigned long long)write->ttl_us / SECOND);
    }
    if (rng_chance(rng, 250000)) {
        if (rng_chance(rng, 500000))
            bytes_print(&client->out, "Prefer: copies=all, wait=2\r\n");
        else
            bytes_print(&client->out, "Prefer: copies=%u, wait=%u\r\n",
                        (unsigned)rng_between(rng, 1, client->cluster->node_count),
                        (unsigned)rng_between(rng, 1, 4));
    }
    if (write->tombstone)
        bytes_print(&client->out, "\r\n");
    else
        bytes_print(&client->out, "Content-Length: %d\r\n\r\n%.*s", bytes, bytes, value);
}

static void client_compose(struct cluster_client *client)
{
    client->out.len = 0;
    client->sent = 0;
    client->write = NULL;
    client->key = (unsigned)rng_below(&client->rng, client->cluster->key_count);
    client->reading = rng_chance(&client->rng, 500000);
    if (client->reading)
        bytes_print(&client->out, "GET /key%u HTTP/1.1\r\nHost: sim\r\n\r\n", client->key);
    else
        compose_write(client);
    response_init(&client->response, false, false, NULL);
    client->busy = true;
    client->deadline_us = client->cluster->world.now_us + PATIENCE_US;
    client->cluster->world.counts.requests++;
    client->boot = client->cluster->nodes[client->node].boot;
}

/* Judging */

static void saw_version(struct cluster_client *client, uint64_t version, bool written)
{
    uint64_t *seen = &client->seen[client->key];
    /* Once a delete is forgotten, a clock that is behind may give smaller versions. */
    bool forgets = client->cluster->limits.grace_us < 3600ULL * SECOND;
    if (!forgets && (version < *seen || (written && version == *seen)))
        world_fail(&client->cluster->world,
                   "client %u: n%u shows version %llu of key %u after %llu on one connection",
                   client->number, client->node, (unsigned long long)version, client->key,
                   (unsigned long long)*seen);
    *seen = version;
}

static void judge_value(struct cluster_client *client)
{
    struct sim_cluster *cluster = client->cluster;
    const struct response *response = &client->response;
    unsigned key;
    unsigned long long id;
    char text[64];
    snprintf(text, sizeof text, "%.*s",
             (int)(response->kept_bytes < 60 ? response->kept_bytes : 60), response->kept);
    if (sscanf(text, "k%uw%llu.", &key, &id) != 2 || key != client->key ||
        id >= cluster->write_count || cluster->writes[id]->key != key ||
        cluster->writes[id]->tombstone) {
        world_fail(&cluster->world, "n%u has a value of key %u that nobody wrote: %s", client->node,
                   client->key, text);
        return;
    }
    struct sim_write *write = cluster->writes[id];
    if (write->refused || (write->version && write->version != response->version))
        world_fail(&cluster->world, "n%u has write %llu of key %u as version %llu, was %s %llu",
                   client->node, id, key, (unsigned long long)response->version,
                   write->refused ? "refused" : "version", (unsigned long long)write->version);
    write->version = response->version;
    saw_version(client, response->version, false);
}

/* A node that has not gathered everything may not say that a key does not exist. */
static void judge_absence(struct cluster_client *client)
{
    struct sim_node *node = &client->cluster->nodes[client->node];
    if (node->running && node->boot == client->boot &&
        !cluster_has_everything(node->process.node->cluster))
        world_fail(&client->cluster->world, "n%u answers 204 before it has gathered everything",
                   client->node);
}

static void judge_written(struct cluster_client *client)
{
    struct sim_write *write = client->write;
    const struct response *response = &client->response;
    struct sim_cluster *cluster = client->cluster;
    if (write->version && write->version != response->version)
        world_fail(&cluster->world, "write %llu has two versions", (unsigned long long)write->id);
    write->version = response->version;
    write->acked = true;
    write->boot = client->boot;
    unsigned have = 1, of = 0;
    if (response->copies[0] && sscanf(response->copies, "%u/%u", &have, &of) != 2)
        world_fail(&cluster->world, "Fog-Copies is %s", response->copies);
    write->have = have;
    if (of && have > of)
        world_fail(&cluster->world, "Fog-Copies is %s", response->copies);
    saw_version(client, response->version, true);
}

static void client_judge(struct cluster_client *client)
{
    unsigned status = client->response.status;
    client->busy = false;
    client->cluster->world.counts.replies++;
    if (status == 503 || status == 507 || status == 421) {
        if (client->write)
            client->write->refused = true;
        client->cluster->world.counts.refused++;
        client_move_on(client);
    } else if (client->reading && status == 200) {
        judge_value(client);
    } else if (client->reading && status == 204) {
        judge_absence(client);
        client->cluster->world.counts.absent++;
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
    client->next_us = now_us + rng_spread(&client->rng, 10, 3 * SECOND);
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

bool cluster_clients_are_done(const struct sim_cluster *cluster)
{
    for (unsigned i = 0; i < cluster->client_count; i++)
        if (cluster->clients[i].busy || cluster->clients[i].calls_left > 0)
            return false;
    return true;
}
