/* Planted mistakes of front-ends, each where two rooms meet (the linker's --wrap leads their calls here), so that the front-end's own
 * code has none. Only one is made in a run, in the world that fleet_mutants_begin names. */
#include "fleet.h"

static struct fleet *fleet;

void fleet_mutants_begin(struct fleet *begun)
{
    fleet = begun;
}

void fleet_mutants_end(void)
{
    fleet = NULL;
}
