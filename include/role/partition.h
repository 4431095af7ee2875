/* One partition's cluster, as a front-end sees it: whom it has, who of them can be asked, whom to ask for a key, and which requests wait
 * for somebody to be ready. Inside of the front-end, and of what hauls records, alone. */
#ifndef ROLE_PARTITION_H
#define ROLE_PARTITION_H

#include "net/http.h"
#include "net/resolver.h"
#include "role/node.h"
#include "role/side.h"

enum {
    BACKENDS_MAX = 1024,               /* members of one cluster that are known */
    SEED_LOOKUP_US = 10 * 1000 * 1000, /* between two look-ups of a name */
    PARKED_MAX = 65536,                /* requests that wait for somebody to be ready */
    RETRY_TOKENS_MAX =
        20000, /* retries that may be made at once; each request earns a tenth of one */
    RETRY_TOKEN_PARTS = 10,
};

struct backend;
struct frontend;
struct frontend_cluster;
struct relay;

/* HOST:PORT as it was named. */
struct seed {
    struct partition *partition;
    char host[RESOLVER_NAME_BYTES_MAX + 1];
    uint16_t port;
    struct lookup lookup;
    uint64_t next_us;
    bool asking;
};

struct partition {
    struct frontend *frontend;
    unsigned number, count; /* I of N */
    enum side side;
    char cluster[NODE_NAME_BYTES_MAX +
                 1]; /* as the first node that was ready calls it; empty before */
    struct seed *seeds;
    unsigned seed_count;
    struct backend **backends;
    unsigned backend_count, backend_room;
    struct backend **usable; /* of these; each node once */
    unsigned usable_count;
    struct relay *parked, *parked_last;
    unsigned parked_count;
    uint64_t lost_us;            /* since when nobody is ready; loop time */
    uint64_t retry_tokens;       /* RETRY_TOKEN_PARTS of a retry */
    bool reached, told;          /* somebody is ready; and that (or the contrary) was logged */
    uint64_t requests, failures; /* so far; failures of tries */
};

/* `partition` has its frontend, side, number and count, and is zeroed else. Returns 0 or -errno; partition_free in either case. */
int partition_init(struct partition *partition, const struct frontend_cluster *named);
void partition_free(struct partition *partition);
void partition_tick(struct partition *partition);

/* Hears of an address; NULL when out of memory, or when there are BACKENDS_MAX. */
struct backend *partition_add(struct partition *partition, const struct address *address);

/* A member's list of members. */
void partition_take_list(struct backend *speaker, struct slice body);

/* One that requests are sent to as well, though neither of the two is a member of the other's cluster for some seconds: so they do not hold
 * the same. NULL when all is well. */
const struct backend *partition_apart_from(const struct backend *backend);

/* Who is usable has changed. */
void partition_update(struct partition *partition);

/* Whom to ask; NULL when nobody is ready. */
struct backend *partition_choose(struct partition *partition, const struct relay *relay);

/* Whether somebody beside that one can be asked, and whoever is chosen has a place for a connection of one request. */
bool partition_has_place(const struct partition *partition, const struct backend *beside);

void partition_park(struct partition *partition, struct relay *relay);
void partition_unpark(struct partition *partition, struct relay *relay);

/* Whether one more retry may be made. */
bool partition_may_retry(struct partition *partition);

/* The same for what has an answer that will do, if another one may be better: half of the retries are left to what has none. */
bool partition_has_spare_retry(const struct partition *partition);

/* What it is called. */
static inline const struct side_words *partition_words(const struct partition *partition)
{
    return side_words(partition->side);
}

/* What keeps it from being used, for a client; static. */
struct http_error partition_trouble(const struct partition *partition);

#endif
