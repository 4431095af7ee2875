/* The inside of resharding, shared by reshard.c (its steps) and reshard_tell.c (what is printed). Nobody else includes this.
 *
 *   old cluster ─► source ─► route ─┬─► target ─► new cluster
 *                                   └─► target ─► new cluster
 */
#ifndef ROLE_RESHARD_STATE_H
#define ROLE_RESHARD_STATE_H

#include "data/route.h"
#include "role/haul.h"
#include "role/reshard.h"

enum {
    RESHARD_PASS_US = 1000 * 1000, /* between the beginnings of two passes, at least */
    RESHARD_PASSES_MAX = 60,       /* then somebody still writes to the old clusters */
    RESHARD_LINE_BYTES = 160,      /* of what is printed */
};

/* Of deletes that are as old, it does not matter whether they were new: see reshard_is_settled in reshard.c. */
#define RESHARD_SETTLED_US ((uint64_t)10 * 1000000)

enum reshard_step { RESHARD_LOOKING, RESHARD_COPYING, RESHARD_BETWEEN };

/* What is told of a pass. */
struct reshard_told {
    unsigned pass;
    uint64_t records, fresh; /* fresh: that were new where they came to */
    uint64_t elapsed_us;
    uint64_t rate; /* bytes in a second, of late */
    unsigned permille;
    const char *waiting; /* for whom; NULL */
};

struct reshard {
    struct haul haul; /* first, so that a haul leads here */
    const struct reshard_config *config;
    struct source *sources;
    struct target *targets;
    struct loop_timer tick;
    enum reshard_step step;
    unsigned pass;
    unsigned counts_from; /* the first pass that counts as a second one; see source_is_covered */
    unsigned clean;   /* so many passes on end have brought nothing that counts, and lost nobody */
    uint64_t pass_us; /* when this pass began; loop time */
    uint64_t pass_bytes; /* of haul.bytes, before it */
    uint64_t counted;    /* records of this pass that were new and count */
    uint64_t records;    /* of this pass */
    uint64_t fresh;
};

/* reshard.c */

/* Whether it does not matter if it is new to who is given it. */
bool reshard_is_settled(const struct source *source, const struct record *record);

/* Sets clean and counts_from by the pass that has ended. */
void reshard_judge(struct reshard *reshard);

/* reshard_tell.c */

/* A line about a pass that goes on. Returns `out`. */
char *reshard_format(const struct reshard_told *told, bool terminal, char out[RESHARD_LINE_BYTES]);

/* Prints where it has come to when it is time for that. */
void reshard_tell(struct reshard *reshard);

#endif
