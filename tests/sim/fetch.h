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
};

void fetcher_init(struct fetcher *fetcher, struct cables *cables);
void fetcher_close(struct fetcher *fetcher);

/* Sends the request and steps the world until the answer is whole. Its body goes to `sink`, which may be
 * NULL. Returns false when there is none within `patience_us`, or the connection ended. */
bool fetch(struct fetcher *fetcher, const struct address *to, const struct bytes *request,
           struct response *response, struct response_sink *sink, uint64_t patience_us);

#endif
