/* The inside of `velour-fog diff`, shared by diff.c (asking two nodes, from the whole down to shards) and diff_look.c (looking at shards,
 * naming keys). Nobody else includes this.
 *
 *   all ──► groups that differ ──► shards that differ ──┐
 *      ┌────────────────────────────────────────────────┘
 *      └─► first look at some of them ──► a second's wait ──► second look ──► what is still so is named ──► the next ones … */
#ifndef ROLE_DIFF_STATE_H
#define ROLE_DIFF_STATE_H

#include "data/store.h"
#include "role/ask.h"
#include "role/command.h"
#include "role/diff_list.h"

enum {
    DIFF_WAIT_US = 1000 * 1000,  /* from the end of the first look to the second one */
    DIFF_SEEN_PER_LOOK = 4096,   /* differences after which the second look follows */
    DIFF_SEEN_MAX = 1024 * 1024, /* the same, when one shard alone has more */
    DIFF_GROUPS = 128,           /* of shards */
    DIFF_GROUP_SHARDS = STORE_SHARDS / DIFF_GROUPS,
    DIFF_LIST_BYTES_MAX = 64 << 20,   /* a shard's records, as lines */
    DIFF_TARGET_BYTES = 3 * 4096 + 2, /* a key in a request */
};

struct diff;

/* One of the two nodes. */
struct diff_side {
    struct ask ask; /* first, so that an ask leads here */
    struct diff *diff;
    char *body; /* of the last answer */
    size_t len;
    unsigned status;
    char target[DIFF_TARGET_BYTES];
};

/* A difference as the first look has seen it. */
struct diff_seen {
    uint32_t shard;
    bool again;                  /* the second look has seen the same */
    uint64_t key;                /* its hash */
    uint64_t a_digest, b_digest; /* 0 where it is absent */
    uint64_t newer;              /* of the two versions */
};

struct diff {
    struct command *command;
    struct upstreams *upstreams;
    struct diff_side a, b;
    unsigned pending;                /* answers */
    void (*then)(struct diff *diff); /* when they are there */
    struct loop_timer wait;

    uint16_t groups[DIFF_GROUPS]; /* that differ */
    unsigned group_count, group_at;
    uint16_t shards[STORE_SHARDS]; /* that differ */
    unsigned shard_count;
    uint64_t records; /* that the first node has */
    char apart[1024]; /* a sentence when they are of different partitions, else empty */

    unsigned shard_at, first, end; /* in shards: in hands, and what this round is about */
    struct diff_seen *seen;        /* in this round, in the order of shards and keys */
    unsigned seen_count, seen_room;

    struct diff_list a_list, b_list; /* of the shard in hands */
    struct diff_walk walk;
    const struct diff_line *a_line, *b_line; /* of the key in hands; NULL where it is absent */

    uint64_t named, moving; /* keys; moving: that were being written */
};

/* diff.c */

/* GETs (or HEADs) targets that stand in side->target, of those sides that are wanted, then calls `then`. The command fails when one does
 * not answer as it should. */
void diff_ask(struct diff *diff, bool a, bool b, bool head, void (*then)(struct diff *diff));

/* The end: says what was found. */
void diff_finish(struct diff *diff);

/* diff_look.c */

/* The first look at the shards from shard_at on; when there are none, the end. */
void diff_look(struct diff *diff);

/* The second one, at the same. */
void diff_look_again(struct diff *diff);

#endif
