/* One seed's story, from the first connection to the end of the process. */
#ifndef SIM_RUN_H
#define SIM_RUN_H

#include "client.h"
#include "fetch.h"
#include "process.h"

enum {
    RUN_CLIENTS_MAX = 20,
    RUN_REPLIES_MIN = 50, /* with less than this a seed has shown nothing */
};

struct run {
    struct scene scene;
    struct process node, second;
    bool has_node, has_second;
    struct sim_client clients[RUN_CLIENTS_MAX];
    unsigned client_count;
    struct fetcher fetcher;
    struct rng rng;
    struct world_event step, cut; /* of the clock; of a host */
    uint32_t steps_left, cuts_left;
    struct response_sink backup; /* taken while clients write; empty when it failed */
    uint64_t backup_at_us, backup_sent_us, restore_at_us;
    bool backup_done, restore_done;
};

/* `block` is SCENE_BLOCK_BYTES of anything; `again` counts the runs of one seed. */
void run_seed(uint64_t seed, bool trace, enum mutant mutant, uint64_t again, const char *block,
              struct run_result *result);

/* finale.c: what must hold when all faults have ended. */
void finale(struct run *run);

/* Steps the world until `is_over`, or until it is `until_us`. Returns whether it is over. */
bool run_until(struct run *run, bool (*is_over)(const struct run *run), uint64_t until_us);

#endif
