/* Whether two members of a cluster have the same: each shard must have been the same on both at some moment since it was begun to look.
 * Then either has what the other one had before. Writes that are under way do not matter, as they are in few shards at a time. */
#ifndef ROLE_SETTLE_H
#define ROLE_SETTLE_H

#include "data/store.h"
#include "net/address.h"
#include "role/ask.h"
#include "role/command.h"

enum {
    SETTLE_US = 10 * 1000 * 1000, /* in which two members agree, unless one of them cannot */
    SETTLE_AGAIN_US = 250 * 1000, /* between two looks */
    SETTLE_BYTES_MAX = 64 * 1024, /* of digests in one answer */
    SETTLE_GROUP_SHARDS = STORE_SHARDS / STORE_GROUPS,
};

enum settle_state {
    SETTLE_ASKING,
    SETTLE_RESTING,
    SETTLE_SAME,
    SETTLE_APART,  /* it has taken too long */
    SETTLE_SILENT, /* one of them does not answer */
};

struct settle;

/* One of the two. */
struct settle_side {
    struct ask ask; /* first, so that an ask leads here */
    struct settle *settle;
    char *body; /* of its last answer; NULL when that was none */
};

/* Embedded in its owner, who zeroes it first. */
struct settle {
    struct command *command;
    struct settle_side a, b;
    enum settle_state state;
    uint64_t until_us, next_us;
    unsigned pending;
    char target[32];
    uint8_t groups[STORE_GROUPS]; /* that differ in this look, and are not all agreed on */
    unsigned group_count, group_at;
    unsigned left; /* shards that were not the same yet */
    bool same[STORE_SHARDS];
};

/* `until_us`: when it has taken too long. Returns 0 or -ENOMEM; settle_free in any case. */
int settle_start(struct settle *settle, struct command *command, struct upstreams *upstreams,
                 const struct address *a, const struct address *b, uint64_t until_us);

/* Looks again when it is time to. Returns the state. */
enum settle_state settle_tick(struct settle *settle);

/* Also when it was never started. */
void settle_free(struct settle *settle);

#endif
