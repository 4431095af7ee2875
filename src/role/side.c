#include "role/side.h"

#include <assert.h>
#include <stddef.h>

const struct side_words *side_words(enum side side)
{
    static const struct side_words words[SIDES] = {
        [SIDE_OWN] = {.name = "partition",
                      .partition = "partition",
                      .label = "",
                      .list = "partitions",
                      .option = "--cluster",
                      .move = NULL},
        [SIDE_PREVIOUS] = {.name = "previous",
                           .partition = "the previous partition",
                           .label = "previous-",
                           .list = "previous_partitions",
                           .option = "--previous-cluster",
                           .move = "are moving from"},
        [SIDE_NEXT] = {.name = "next",
                       .partition = "the next partition",
                       .label = "next-",
                       .list = "next_partitions",
                       .option = "--next-cluster",
                       .move = "are to move to"},
    };
    assert(side < SIDES);
    return &words[side];
}
