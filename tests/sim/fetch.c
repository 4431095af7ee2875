#include "fetch.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

void fetcher_init(struct fetcher *fetcher, struct cables *cables)
{
    memset(fetcher, 0, sizeof *fetcher);
    fetcher->cables = cables;
    fetcher->host.ip[10] = fetcher->host.ip[11] = 255;
    fetcher->host.ip[12] = 10;
    fetcher->host.ip[15] = 250;
    snprintf(fetcher->host.name, sizeof fetcher->host.name, "fetcher");
    cable_host_add(cables, &fetcher->host);
}

void fetcher_close(struct fetcher *fetcher)
{
    if (fetcher->end)
        cable_close(fetcher->end);
    fetcher->end = NULL;
}

static void fetcher_connect(struct fetcher *fetcher, const struct address *to)
{
    if (fetcher->end && memcmp(&fetcher->to, to, sizeof *to) == 0 && !fetcher->end->ended)
        return;
    fetcher_close(fetcher);
    fetcher->to = *to;
    fetcher->end = cable_connect(fetcher->cables, &fetcher->host, to);
}

/* Sends what goes. */
static void fetcher_send(struct fetcher *fetcher, const struct bytes *request, size_t *sent)
{
    while (*sent < request->len) {
        struct iovec piece = {request->data + *sent, request->len - *sent};
        ssize_t count = cable_send(fetcher->end, &piece, 1, piece.iov_len);
        if (count <= 0)
            return;
        *sent += (size_t)count;
    }
}

/* Takes what has come. Returns false at the end of the connection. */
static bool fetcher_receive(struct fetcher *fetcher, struct response *response)
{
    char data[16 * 1024];
    for (;;) {
        ssize_t got = cable_recv(fetcher->end, data, sizeof data);
        if (got == -EAGAIN)
            return true;
        if (got <= 0)
            return false;
        size_t used = response_feed(response, data, (size_t)got);
        if (response->wrong || (response->state == RESPONSE_DONE && used < (size_t)got)) {
            const char *rule =
                response->wrong ? response->wrong : "bytes follow that nobody asked for";
            world_fail(fetcher->cables->world, "fetcher: %s", rule);
            return false;
        }
    }
}

bool fetch(struct fetcher *fetcher, const struct address *to, const struct bytes *request,
           struct response *response, struct response_sink *sink, uint64_t patience_us)
{
    struct world *world = fetcher->cables->world;
    uint64_t until_us = world->now_us + patience_us;
    size_t sent = 0;
    bool open = true;
    bool head = request->len > 4 && memcmp(request->data, "HEAD", 4) == 0;
    fetcher_connect(fetcher, to);
    response_init(response, head, false, sink);
    while (open && response->state != RESPONSE_DONE && world->now_us < until_us) {
        fetcher_send(fetcher, request, &sent);
        open = fetcher_receive(fetcher, response);
        if (open && response->state != RESPONSE_DONE && !world_step(world))
            open = false;
    }
    if (!open || response->close)
        fetcher_close(fetcher);
    return response->state == RESPONSE_DONE && !world->failed;
}
