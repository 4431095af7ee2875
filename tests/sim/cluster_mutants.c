#include "cluster.h"

void cluster_mutants_in(struct world *world)
{
    (void)world;
}
