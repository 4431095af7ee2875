/* Whom a store consists of, as one of it tells: a front-end its partitions and their nodes, a node the members of its cluster. */
#ifndef ROLE_CENSUS_H
#define ROLE_CENSUS_H

#include "role/ask.h"
#include "role/side.h"

enum {
    CENSUS_PLACES_MAX = 4096,              /* nodes, over all partitions */
    CENSUS_PARTITIONS_MAX = 1024 + 1024,   /* of a front-end, the others too */
    CENSUS_STATUS_BYTES_MAX = 4096 * 1024, /* an answer of /-/status */
    CENSUS_MEMBERS_BYTES_MAX = 512 * 1024, /* an answer of /-/members */
};

/* A node. */
struct census_place {
    char name[ADDRESS_TEXT_BYTES]; /* HOST:PORT, as it is reached */
    unsigned partition;            /* index; those of the other side come after its own */
    bool heard;                    /* of a node's fellow: it is not down, as the node says */
};

/* Embedded in its owner, who zeroes it first. */
struct census {
    struct ask ask; /* first, so that an ask leads here */
    void (*on_done)(struct census *census);
    bool failed;
    char failure[384]; /* a sentence */

    bool is_frontend;
    unsigned partitions;              /* a node's cluster counts as one */
    unsigned others;                  /* of a front-end, while keys move; else 0 */
    enum side other_side;             /* which of the two they are, then */
    char apart[ADDRESS_TEXT_BYTES];   /* a front-end's node of another cluster; empty for none */
    uint32_t partition, partition_of; /* of a node: I of N; 0 of 0 when it has none */
    char *status;                     /* the answer of /-/status, ended by a NUL */
    struct census_place *places;      /* each name once in a partition */
    unsigned count, room;
};

/* Returns 0, -EINVAL (no HOST:PORT) or -ENOMEM. */
int census_init(struct census *census, struct loop *loop, struct upstreams *upstreams,
                struct resolver *resolver, const char *name);
void census_free(struct census *census);

/* Asks, anew each time. on_done is called exactly once, not from inside of this. When that fails, all but `status` is as it was. */
void census_take(struct census *census, void (*on_done)(struct census *census));

/* Adds a node unless it is there. Returns its index, -ENOSPC past CENSUS_PLACES_MAX, or -ENOMEM. */
int census_add(struct census *census, struct slice name, unsigned partition);

/* One line of /-/members: of a member that is here its address and phase. Returns false for any other line. */
bool census_member_line(struct slice line, struct slice *address, struct slice *phase);

/* The address that a member tells of itself, or `asked` when it does not know its own ("0.0.0.0:8000"). */
struct slice census_own_name(struct slice address, const char *asked);

#endif
