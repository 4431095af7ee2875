/* One request of a simulated client: how it is written, and what answer it may get. */
#ifndef SIM_CALL_H
#define SIM_CALL_H

#include "bytes.h"
#include "response.h"
#include "scene.h"

enum { CALL_ETAGS_MAX = 3 };

enum call_kind {
    CALL_READ, /* GET or HEAD of a key */
    CALL_WRITE,
    CALL_DELETE,
    CALL_PAGE, /* something that always gets the same status */
    CALL_BAD,  /* malformed: refused, and the connection ends */
};

/* A fixed request and the statuses that may answer it. */
struct call_text {
    const char *text;
    unsigned statuses[3];
};

struct call {
    enum call_kind kind;
    bool head, old, close, expect;
    bool continued;  /* a 100 has come */
    bool unfinished; /* its client leaves before its end */
    bool too_large;  /* its value is larger than the node takes */
    struct model_key *key;
    struct model_write *write;
    const struct call_text *fixed;
    char etags[CALL_ETAGS_MAX][MODEL_ETAG_BYTES]; /* of If-None-Match */
    unsigned etag_count;
    uint64_t wait_us;
    uint64_t begin, hold,
        end;           /* positions in the connection's output; hold: where it waits for 100 */
    uint64_t begun_us; /* when its first byte was sent, 0 before */
    uint64_t sent_us;  /* when its last byte was, 0 before */
};

/* The key that number `number` of the model has, in its odd spelling. */
void call_name_key(struct model_key *key, struct rng *rng);

/* Writes a request of a random kind on that key to `out`, whose first byte is at position `base`. */
void call_compose(struct call *call, struct scene *scene, struct rng *rng, struct model_key *key,
                  struct bytes *out, uint64_t base);

/* Adds a key, percent-encoded, to a request or a comparison. Without `rng` only what must be is encoded. */
void call_put_key(struct bytes *out, const struct model_key *key, struct rng *rng);

/* A read of a key, no frills. */
void call_compose_read(struct call *call, struct model_key *key, struct bytes *out, uint64_t base);

/* The type's number, which the model has it by; -1 when it is none of those that are written. */
int call_type_number(const char *type);

/* Its value's bytes are no more than the model's content and a number, so nothing is kept of them. */
struct model_content call_content(const struct scene *scene, uint64_t id, uint64_t bytes,
                                  unsigned type);

#endif
