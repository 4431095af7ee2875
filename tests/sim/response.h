/* A strict parser of HTTP/1.1 responses, bytes in any pieces: what a picky client would choke on is an
 * error here. Written against RFC 9110 and 9112, and against nothing of the node's. */
#ifndef SIM_RESPONSE_H
#define SIM_RESPONSE_H

#include "world.h"

enum {
    RESPONSE_HEAD_BYTES_MAX = 4096,
    RESPONSE_TEXT_BYTES = 300, /* of one field's value; a longer one is an error */
    RESPONSE_KEPT_BYTES = 512, /* of a body, for messages and short texts */
};

enum response_state {
    RESPONSE_HEAD,
    RESPONSE_BODY,       /* `left` bytes */
    RESPONSE_UNTIL_END,  /* of the connection */
    RESPONSE_CHUNK_SIZE, /* line */
    RESPONSE_CHUNK,      /* `left` bytes */
    RESPONSE_CHUNK_END,  /* the line end after a chunk */
    RESPONSE_TRAILER,
    RESPONSE_DONE,
};

/* Takes a whole body, if somebody wants it. */
struct response_sink {
    char *data;
    size_t bytes, room;
};

struct response {
    enum response_state state;
    bool no_body; /* the request was HEAD */
    bool old;     /* the request was HTTP/1.0 */
    bool close, keep_alive;
    bool has_length, chunked;
    bool has_etag, has_version, has_date, has_type, has_allow, has_ttl;
    unsigned status;
    uint64_t length; /* as Content-Length says */
    uint64_t left;
    uint64_t version, date_s, ttl_s;
    char etag[RESPONSE_TEXT_BYTES], type[RESPONSE_TEXT_BYTES], copies[RESPONSE_TEXT_BYTES];
    struct fold fold; /* of the body */
    char kept[RESPONSE_KEPT_BYTES];
    size_t kept_bytes;
    struct response_sink *sink;
    const char *wrong; /* the rule that is broken, or NULL */
    char line[RESPONSE_HEAD_BYTES_MAX + 1];
    size_t line_bytes;
    unsigned lines;
};

void response_init(struct response *response, bool no_body, bool old, struct response_sink *sink);

/* Returns how many of the bytes belong to it. It is whole once its state is RESPONSE_DONE. */
size_t response_feed(struct response *response, const char *data, size_t bytes);

/* The connection ended: the end of a body that goes until then. Returns whether it is whole now. */
bool response_end(struct response *response);

/* Whether nothing of it has come yet. */
bool response_is_fresh(const struct response *response);

#endif
