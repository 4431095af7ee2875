/* What a request on a key says: which key, and how it is to be done. Nodes and front-ends read it alike, so they refuse alike. */
#ifndef ROLE_KEY_H
#define ROLE_KEY_H

#include "net/server.h"

enum {
    KEY_WAIT_SECONDS_MAX = 3600, /* "Prefer: wait" is cut to it */
    KEY_TTL_SECONDS_MAX = 2147483647,
    KEY_SHORT_BYTES_MAX = 64 * 1024, /* of a value that front-ends pass on whole */
};

/* Of Fog-After, less than 2^64 by 2^32: so many writes of the key can still follow. */
#define KEY_AFTER_MAX 18446744069414584319UL

/* All 0 when the request says nothing. */
struct key_options {
    uint64_t version; /* that a write shall have at least */
    uint64_t
        before_us; /* a write is not carried out at this time of the clock or later; 0: no limit */
    uint32_t ttl_seconds;  /* of a write */
    uint32_t copies;       /* that a write is to be held by; UINT32_MAX for all */
    uint16_t wait_seconds; /* of a GET, or for the copies */
    bool waits;            /* it says how long */
    bool exact;            /* the write shall have just that version */
    bool follows;          /* it says Fog-After */
    bool all_deletes;      /* of a list of records */
};

/* The key: the target after its first slash, percent-decoded once. It lives in the request's head, or in the server's scratch memory as
 * long as the batch. Returns false when it is refused, with request->error. */
bool key_find(struct request *request, struct slice *key);

/* Reads the fields into *options, which is zeroed, and checks them and the length of the body; request->error says what is wrong. */
void key_options_read(struct request *request, uint64_t value_max, struct key_options *options);

/* Whether it prefers "deletes=all": those past the grace period, too. */
bool key_prefers_all_deletes(const struct request *request);

/* What stands behind /-/keys: "limit=N", "prefix=P", or "limit=N&prefix=P"; the prefix goes on to the end, and
 * without a limit before it has no "&limit=" in it. */
struct key_list {
    uint64_t limit;      /* keys, 1 or more; UINT64_MAX when it is not said */
    struct slice prefix; /* percent-encoded */
};

/* Returns false when it is none of these. */
bool key_list_read(struct slice query, struct key_list *list);

/* 405: what a key cannot be asked. */
void key_reply_not_allowed(struct request *request);

static inline bool key_is_set(const struct request *request)
{
    return request->head.method == HTTP_POST || request->head.method == HTTP_PUT;
}

static inline void request_refuse(struct request *request, uint16_t status, const char *sentence)
{
    request->error = (struct http_error){status, sentence};
}

#endif
