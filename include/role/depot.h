/* The store that a backup is of, or that a restore goes to: which partitions it has, and whom to ask in each. */
#ifndef ROLE_DEPOT_H
#define ROLE_DEPOT_H

#include "role/census.h"
#include "role/haul.h"

/* Embedded in its owner, who zeroes it first. */
struct depot {
    struct command *command;
    struct upstreams *upstreams;
    struct census census;
    void (*on_found)(struct depot *depot);

    uint32_t count;                  /* partitions that keys are split over */
    uint32_t first, end;             /* of these, which it is about: all, or the one of a node */
    struct frontend_config clusters; /* for haul_init: those that it is not about name nobody */
    struct frontend_cluster *named;
    const char **seeds;
};

/* Asks `name`. on_found is called once it is known, never from inside of this; the command fails when that cannot be. Returns 0 or
 * -ENOMEM; depot_free in any case. */
int depot_find(struct depot *depot, struct command *command, const char *name,
               void (*on_found)(struct depot *depot));
void depot_free(struct depot *depot);

/* "2 partitions", "1 partition", "partition 0 of 2". Returns `out`. */
char *depot_text(const struct depot *depot, char out[48]);

#endif
