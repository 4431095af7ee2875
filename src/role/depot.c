#include "role/depot.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* Whether it is named. The address of a member that is down may be another cluster's now; should it be back, its fellows tell of it. */
static bool is_named(const struct census *census, const struct census_place *place)
{
    return census->is_frontend || place->heard;
}

/* Whom to ask of one partition, in depot->seeds from `at` on. Returns behind the last one. */
static unsigned name_cluster(struct depot *depot, uint32_t partition, unsigned at)
{
    const struct census *census = &depot->census;
    const char **seeds = depot->seeds + at;
    uint32_t number = census->is_frontend ? partition : 0;
    unsigned count = 0;
    if (partition >= depot->first && partition < depot->end) {
        if (!census->is_frontend)
            seeds[count++] = census->ask.name; /* which is known to answer */
        for (unsigned i = 0; i < census->count && count < FRONTEND_SEEDS_MAX; i++)
            if (census->places[i].partition == number && is_named(census, &census->places[i]))
                seeds[count++] = census->places[i].name;
    }
    depot->named[partition] = (struct frontend_cluster){seeds, count};
    return at + count;
}

static int name_clusters(struct depot *depot)
{
    const struct census *census = &depot->census;
    unsigned at = 0;
    depot->named = calloc(depot->count, sizeof *depot->named);
    depot->seeds = calloc(census->count + 1, sizeof(const char *));
    if (!depot->named || !depot->seeds)
        return -ENOMEM;
    for (uint32_t i = 0; i < depot->count; i++)
        at = name_cluster(depot, i, at);
    depot->clusters = (struct frontend_config){
        .clusters = depot->named,
        .cluster_count = depot->count,
        .resolver = depot->command->resolver,
    };
    return 0;
}

/* Returns whether it has failed, since it cannot be done with this store. */
static bool depot_refuse(const struct depot *depot)
{
    const struct census *census = &depot->census;
    if (census->failed)
        command_fail(depot->command, COMMAND_UNREACHED, "%s", census->failure);
    else if (census->others)
        command_fail(
            depot->command, COMMAND_WRONG,
            "The keys behind %s are moving to another number of partitions: run this again "
            "when they have.",
            census->ask.name);
    else if (*census->apart)
        command_fail(depot->command, COMMAND_WRONG,
                     "%s is of another cluster than the nodes beside it, so they do not hold the "
                     "same: velour-fog status %s says what to do. Or name a node, for what its own "
                     "cluster has.",
                     census->apart, census->ask.name);
    else
        return false;
    return true;
}

static void on_census(struct census *census)
{
    struct depot *depot = (struct depot *)(void *)((char *)census - offsetof(struct depot, census));
    bool alone = !census->is_frontend && census->partition_of;
    if (depot_refuse(depot))
        return;
    depot->count = alone ? census->partition_of : census->partitions;
    depot->first = alone ? census->partition : 0;
    depot->end = alone ? census->partition + 1 : depot->count;
    if (name_clusters(depot) != 0)
        command_fail(depot->command, COMMAND_WRONG, "Out of memory.");
    else
        depot->on_found(depot);
}

int depot_find(struct depot *depot, struct command *command, const char *name,
               void (*on_found)(struct depot *depot))
{
    depot->command = command;
    depot->on_found = on_found;
    depot->upstreams = upstreams_new(command->loop);
    if (!depot->upstreams ||
        census_init(&depot->census, command->loop, depot->upstreams, command->resolver, name) != 0)
        return -ENOMEM;
    census_take(&depot->census, on_census);
    return 0;
}

void depot_free(struct depot *depot)
{
    census_free(&depot->census);
    if (depot->upstreams)
        upstreams_destroy(depot->upstreams);
    free(depot->named);
    free(depot->seeds);
}

char *depot_text(const struct depot *depot, char out[48])
{
    if (depot->end - depot->first < depot->count)
        snprintf(out, 48, "partition %u of %u", depot->first, depot->count);
    else
        snprintf(out, 48, "%u partition%s", depot->count, depot->count == 1 ? "" : "s");
    return out;
}
