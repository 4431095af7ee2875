/* What the store may say: the model that each reply is held against.
 *
 * A node is one process, so all that happens to a key happens in one order, and Fog-Version shows it: each
 * record of a key has a version of its own, larger than the one before. The model therefore keeps, per
 * key, which version stands for which content as far as anybody has seen, the writes that may still turn
 * up (their client left before the answer), and its floor over time: the version which the store was
 * known to have reached. A reply is right when some write explains it and no floor forbids it. */
#ifndef SIM_MODEL_H
#define SIM_MODEL_H

#include "io_sim.h"

enum { MODEL_ETAG_BYTES = 64 };

/* What a value is: its bytes by their hash, its type, and whether it will expire. */
struct model_content {
    uint64_t hash, bytes;
    unsigned type; /* a number of the caller's */
    bool expires;
};

enum model_fate {
    MODEL_PENDING, /* no answer yet */
    MODEL_ACKED,
    MODEL_LOST,  /* no answer will come: it may have happened, or happen later */
    MODEL_NEVER, /* it was refused, or never wholly sent */
};

/* A PUT, POST or DELETE. */
struct model_write {
    struct model_key *key;
    struct model_content content;
    bool tombstone;
    uint64_t ttl_us;   /* 0 for none */
    uint64_t first_us; /* when its first byte was sent */
    uint64_t sent_us;  /* when its last byte was; UINT64_MAX before */
    uint64_t version;  /* 0 while nobody has seen it */
    enum model_fate fate;
};

/* A version of a key that somebody has seen. */
struct model_record {
    uint64_t version;
    struct model_content content;
    bool tombstone;
    bool expires;
    uint64_t expires_least_us, expires_most_us; /* wall clock */
    uint64_t first_us;                          /* when its write was begun */
    uint64_t seen_us;                           /* first */
    char etag[MODEL_ETAG_BYTES];
    struct model_write *write;
};

struct model_floor {
    uint64_t at_us, version;
};

struct model_key {
    char *name; /* its bytes */
    size_t name_bytes;
    unsigned number;
    struct model_write **writes;
    struct model_record *records; /* as they were first seen */
    struct model_floor *floors;   /* times and versions grow */
    unsigned write_count, write_room, record_count, record_room, floor_count, floor_room;
};

struct model {
    struct world *world;
    const struct io_sim *io; /* of the node: its wall clock */
    struct model_key *keys;
    unsigned key_count;
    uint64_t write_count;
};

/* What a client saw, and when. */
struct model_sight {
    struct model_key *key;
    uint64_t sent_us; /* when the request's last byte was sent */
    uint64_t
        own_floor; /* seen earlier on the same connection, on which requests are answered in order */
    uint64_t version;
    const char *etag; /* "" when there is none */
    uint64_t ttl_s;   /* what is left of its time, 0 when that is not told */
    struct model_content content;
};

void model_init(struct model *model, struct world *world, const struct io_sim *io, unsigned keys);
void model_free(struct model *model);

/* Takes over `name`, which was malloc'd. */
void model_key_name(struct model_key *key, char *name, size_t bytes);

/* A write begins. It lives as long as the model. */
struct model_write *model_write_begin(struct model *model, struct model_key *key,
                                      struct model_content content, bool tombstone,
                                      uint64_t ttl_us);
void model_write_sent(struct model *model, struct model_write *write);

/* It was answered with 200. Returns the key's new floor for this connection. */
uint64_t model_write_acked(struct model *model, struct model_write *write,
                           const struct model_sight *sight);

/* It was refused. */
void model_write_refused(struct model *model, struct model_write *write);

/* No answer will come. */
void model_write_lost(struct model *model, struct model_write *write);

/* A 200 to GET. This and its like return the key's new floor for this connection. */
uint64_t model_read_value(struct model *model, const struct model_sight *sight);

/* A 200 to HEAD: the content's hash is not known. */
uint64_t model_read_head(struct model *model, const struct model_sight *sight);

/* A 304: sight->etag is the one that still holds. */
uint64_t model_read_same(struct model *model, const struct model_sight *sight);

/* A 204. */
uint64_t model_read_absent(struct model *model, const struct model_sight *sight);

/* A record that was seen, by its ETag, or NULL. */
const struct model_record *model_record_by_etag(const struct model_key *key, const char *etag);

/* What the key was known to have reached at a time. */
uint64_t model_floor_at(const struct model_key *key, uint64_t at_us);

/* Since when the key was known to be past `version`; UINT64_MAX when it is not. */
uint64_t model_past_since(const struct model_key *key, uint64_t version);

#endif
