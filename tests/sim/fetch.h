/* A client that asks one thing after the other and waits for each answer, while the world goes on. */
#ifndef SIM_FETCH_H
#define SIM_FETCH_H

#include "bytes.h"
#include "cable.h"
#include "response.h"

struct fetcher {
    struct cables *cables;
    struct cable_host host;
    struct cable_end *end; /* kept open between two fetches from one address */
    struct address to;
    const struct bytes *request; /* that is under way */
    size_t sent;
    struct response *response;
};

void fetcher_init(struct fetcher *fetcher, struct cables *cables);
void fetcher_close(struct fetcher *fetcher);

/* Sends the request and steps the world until the answer is whole. Its body goes to `sink`, which may be
 * NULL. Returns false when there is none within `patience_us`, or the connection ended. */
bool fetch(struct fetcher *fetcher, const struct address *to, const struct bytes *request,
           struct response *response, struct response_sink *sink, uint64_t patience_us);

/* The same in parts, so that something else can be done meanwhile: the request and the response stay until the end. Who lets the world
 * go on by itself calls fetch_go_on now and then; it returns false once the connection has ended. */
void fetch_begin(struct fetcher *fetcher, const struct address *to, const struct bytes *request,
                 struct response *response, struct response_sink *sink);
bool fetch_go_on(struct fetcher *fetcher);
bool fetch_end(struct fetcher *fetcher, uint64_t patience_us);

#endif
