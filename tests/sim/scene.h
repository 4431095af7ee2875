/* What all clients of one seed share: the world they live in, the node they talk to, and what is true of
 * it for now. */
#ifndef SIM_SCENE_H
#define SIM_SCENE_H

#include "cable.h"
#include "model.h"

struct scene {
    struct world world;
    struct faults faults;
    struct habits habits;
    struct limits limits;
    struct cables cables;
    struct model model;
    struct address address;  /* of the node */
    const struct io_sim *io; /* the node's, for its clock */
    const char *block;       /* SCENE_BLOCK_BYTES, of which values are cut */
    uint64_t write_ids;
    bool crowded;  /* more clients may come than the node takes connections */
    bool draining; /* the node was told to stop: it finishes what it has, and takes nothing new */
    uint64_t draining_us; /* since when */
};

enum {
    SCENE_VALUE_BYTES_MAX = 256 * 1024,
    SCENE_BLOCK_BYTES = 2 * SCENE_VALUE_BYTES_MAX,
};

#endif
