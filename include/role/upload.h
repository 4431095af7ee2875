/* A body that comes in parts, on its way to a node: collected when it is small, passed on as it comes when it is not. Inside of the
 * front-end alone. */
#ifndef ROLE_UPLOAD_H
#define ROLE_UPLOAD_H

#include "role/relay.h"

struct lane;

/* A body that comes in parts. */
struct upload {
    bool chunked; /* its length is not known */
    bool streams; /* it is passed on as it comes, and so cannot be sent again */
    bool begun;   /* on a connection */
    bool whole;
    uint64_t bytes; /* so far */
};

extern const char upload_too_large[]; /* for a 413 */

int upload_start(struct relay *relay, uint64_t bytes, bool chunked);
struct server_room upload_room(struct relay *relay, struct request *request, uint64_t left);
void upload_filled(struct relay *relay, size_t bytes);

/* Whether what there is of it is on its way already, or about to be. */
static inline bool upload_streams(const struct relay *relay)
{
    return relay->upload && relay->upload->streams;
}

/* The body is whole. */
void upload_end(struct relay *relay);

/* Its connection stands: what is there goes out. */
void upload_begin(struct relay *relay, struct lane *lane, struct attempt *attempt);

/* The connection has taken all so far. */
void upload_on_drained(struct relay *relay);

#endif
