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
static void fetcher_send(struct fetcher *fetcher)
{
    const struct bytes *request = fetcher->request;
    while (fetcher->sent < request->len) {
        struct iovec piece = {request->data + fetcher->sent, request->len - fetcher->sent};
        ssize_t count = cable_send(fetcher->end, &piece, 1, piece.iov_len);
        if (count <= 0)
            return;
        fetcher->sent += (size_t)count;
    }
}

/* Takes what has come. Returns false at the end of the connection. */
static bool fetcher_receive(struct fetcher *fetcher)
{
    struct response *response = fetcher->response;
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

void fetch_begin(struct fetcher *fetcher, const struct address *to, const struct bytes *request,
                 struct response *response, struct response_sink *sink)
{
    bool head = request->len > 4 && memcmp(request->data, "HEAD", 4) == 0;
    fetcher_connect(fetcher, to);
    fetcher->request = request;
    fetcher->sent = 0;
    fetcher->response = response;
    response_init(response, head, false, sink);
}

bool fetch_go_on(struct fetcher *fetcher)
{
    if (!fetcher->end)
        return false;
    fetcher_send(fetcher);
    bool open = fetcher_receive(fetcher);
    if (!open || (fetcher->response->state == RESPONSE_DONE && fetcher->response->close))
        fetcher_close(fetcher);
    return open;
}

bool fetch_end(struct fetcher *fetcher, uint64_t patience_us)
{
    struct world *world = fetcher->cables->world;
    const struct response *response = fetcher->response;
    uint64_t until_us = world->now_us + patience_us;
    while (response->state != RESPONSE_DONE && world->now_us < until_us && fetch_go_on(fetcher))
        if (response->state != RESPONSE_DONE && !world_step(world))
            fetcher_close(fetcher);
    if (response->state != RESPONSE_DONE) /* what comes late is no answer to the next request */
        fetcher_close(fetcher);
    return response->state == RESPONSE_DONE && !world->failed;
}

bool fetch(struct fetcher *fetcher, const struct address *to, const struct bytes *request,
           struct response *response, struct response_sink *sink, uint64_t patience_us)
{
    fetch_begin(fetcher, to, request, response, sink);
    return fetch_end(fetcher, patience_us);
}
