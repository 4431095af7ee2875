/* Of a cluster's members, those that must be read so that nothing is left out that any of them has: one, and each with which it does not
 * come to agree. One that stood still may be ready and not know of what was written meanwhile, and one without memory for more never has
 * all of it.
 *
 *   cover_begin ──► cover_settle: who has the same? ──► cover_next: each that must be read ──► cover_state ──► all is there
 *       ▲                                                                                          │
 *       └────────────── somebody has come, or was not read to the end by himself ──────────────────┘ */
#ifndef ROLE_COVER_H
#define ROLE_COVER_H

#include "role/haul.h"
#include "role/settle.h"

enum {
    COVER_MEMBERS_MAX = 64, /* of a cluster, that are compared */
    COVER_ROUNDS_MAX = 5,   /* after which it is given up */
};

enum cover_state {
    COVER_OPEN,    /* it is not known yet who can be read */
    COVER_MISSING, /* who can be read was not, nor has the same as one who was: once more */
    COVER_WHOLE,
};

/* Embedded in its owner, who zeroes it first. */
struct cover {
    struct haul *haul;
    struct upstreams *upstreams;
    struct source *source;
    struct settle settle;
    struct address members[COVER_MEMBERS_MAX];
    bool same[COVER_MEMBERS_MAX]; /* as the first one */
    unsigned count, at;
    uint64_t since_us; /* when this round has begun */
    bool settled;      /* all are compared */
    bool tried;        /* one of those that have the same is read in this round, or was */
    bool group;        /* they count as read */
};

/* Another round. */
void cover_begin(struct cover *cover, struct haul *haul, struct upstreams *upstreams,
                 struct source *source);
void cover_free(struct cover *cover);

/* Waits until it is known who can be read, and then, ten seconds at most, until they agree. Returns whether that is over; it says whom it
 * waits for, and fails when there is nobody. */
bool cover_settle(struct cover *cover);

/* Whether all have the same. */
bool cover_agrees(const struct cover *cover);

/* Whom to read now, until the next call; NULL when there is nobody left. */
const struct address *cover_next(struct cover *cover);

/* What has come of it when they were read. */
enum cover_state cover_state(const struct cover *cover);

#endif
