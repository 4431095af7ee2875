/* Who writes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scale.h"

enum {
    READ_BYTES = 64 * 1024,
    WAKE_US = 5, /* from an event to what is done about it */
};

struct slice scale_key(uint32_t number, char room[SCALE_KEY_BYTES_MAX])
{
    return (struct slice){room, (size_t)snprintf(room, SCALE_KEY_BYTES_MAX, "key/%u", number)};
}

void scale_mark(uint64_t write, char mark[SCALE_MARK_BYTES])
{
    char text[24];
    snprintf(text, sizeof text, "%0*llu", SCALE_MARK_BYTES, (unsigned long long)write);
    memcpy(mark, text, SCALE_MARK_BYTES);
}

static void put_write(struct scale_client *client, uint32_t number)
{
    struct scale *scale = client->scale;
    char key[SCALE_KEY_BYTES_MAX], mark[SCALE_MARK_BYTES];
    size_t bytes = scale->options.value_bytes;
    bytes_print(&client->out, "PUT /%s HTTP/1.1\r\nHost: fog\r\nContent-Length: %zu\r\n\r\n",
                scale_key(number, key).data, bytes);
    scale_mark(++scale->write_number, mark);
    char *value = bytes_grow(&client->out, bytes);
    memset(value, 'v', bytes);
    memcpy(value, mark, SCALE_MARK_BYTES);
}

static void client_compose(struct scale_client *client)
{
    if (client->out_sent == client->out.len)
        client->out.len = client->out_sent = 0;
    while (client->sent < client->count && client->sent - client->answered < client->depth)
        put_write(client, client->keys[client->sent++]);
}

static void client_send(struct scale_client *client)
{
    while (client->out_sent < client->out.len) {
        struct iovec piece = {client->out.data + client->out_sent,
                              client->out.len - client->out_sent};
        ssize_t sent = cable_send(client->end, &piece, 1, piece.iov_len);
        if (sent == -EAGAIN)
            return;
        if (sent <= 0) {
            world_fail(&client->scale->world, "%s is cut off", client->host.name);
            return;
        }
        client->out_sent += (size_t)sent;
    }
}

static void client_take(struct scale_client *client, const char *data, size_t bytes)
{
    struct world *world = &client->scale->world;
    while (bytes > 0 && !world->failed) {
        size_t used = response_feed(&client->response, data, bytes);
        data += used;
        bytes -= used;
        if (client->response.wrong)
            world_fail(world, "%s: %s", client->host.name, client->response.wrong);
        if (client->response.state != RESPONSE_DONE)
            continue;
        if (client->response.status != 200)
            world_fail(world, "%s: a write is answered with %u", client->host.name,
                       client->response.status);
        client->answered++;
        client->answered_us = world->now_us;
        response_init(&client->response, false, false, NULL);
    }
}

static void client_receive(struct scale_client *client)
{
    static char data[READ_BYTES];
    ssize_t got;
    while ((got = cable_recv(client->end, data, sizeof data)) > 0)
        client_take(client, data, (size_t)got);
    if (got != -EAGAIN)
        world_fail(&client->scale->world, "%s is cut off with %u writes unanswered",
                   client->host.name, client->count - client->answered);
}

static void on_tick(struct world_event *event)
{
    struct scale_client *client =
        (struct scale_client *)((char *)event - offsetof(struct scale_client, tick));
    client_receive(client);
    client_compose(client);
    client_send(client);
}

static void on_change(struct cable_end *end)
{
    struct scale_client *client = end->owner;
    struct world *world = &client->scale->world;
    world_event_hasten(world, &client->tick, world->now_us + WAKE_US);
}

static void client_leave(struct scale_client *client)
{
    world_event_clear(&client->scale->world, &client->tick);
    if (client->end)
        cable_close(client->end);
    client->end = NULL;
}

void scale_client_write(struct scale_client *client, const struct address *to, const uint32_t *keys,
                        unsigned count, unsigned depth)
{
    client->keys = keys;
    client->count = count;
    client->depth = depth;
    client->sent = client->answered = 0;
    response_init(&client->response, false, false, NULL);
    if (client->end && !address_equal(&client->end->cable->to, to))
        client_leave(client);
    if (!client->end) {
        client->end = cable_connect(&client->scale->cables, &client->host, to);
        client->end->owner = client;
        client->end->on_change = on_change;
        client->end->cable->tag = SCALE_CLIENT;
    } else {
        client_compose(client);
        client_send(client);
    }
}

bool scale_client_is_done(const struct scale_client *client)
{
    return client->answered == client->count;
}

void scale_client_init(struct scale_client *client, struct scale *scale, unsigned number)
{
    *client = (struct scale_client){.scale = scale, .tick = {.run = on_tick}};
    client->host.ip[10] = client->host.ip[11] = 255;
    client->host.ip[12] = 10;
    client->host.ip[13] = (uint8_t)(number >> 8);
    client->host.ip[14] = 1;
    client->host.ip[15] = (uint8_t)number;
    snprintf(client->host.name, sizeof client->host.name, "c%u", number);
    cable_host_add(&scale->cables, &client->host);
}

void scale_client_free(struct scale_client *client)
{
    client_leave(client);
    bytes_free(&client->out);
}
