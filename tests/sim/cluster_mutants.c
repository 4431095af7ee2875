/* Planted mistakes of clusters, each where two rooms meet (the linker's --wrap leads their calls here), so that the node's own code
 * has none. Only one is made in a run, in the world that cluster_mutants_begin names. */
#include "cluster.h"

static struct sim_cluster *cluster;

void cluster_mutants_begin(struct sim_cluster *begun)
{
    cluster = begun;
}

void cluster_mutants_end(void)
{
    cluster = NULL;
}
