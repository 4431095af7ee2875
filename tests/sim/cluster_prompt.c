/* Promptness. In a gentle world nothing is lost, so what one node has acknowledged is on the others as soon as it can have come there:
 * some ways and some turns later. No push waits for a tick, and none is left to repair.
 *
 *   ready, known to each other ──patience──► written ─► acknowledged ──patience──► must be there
 *
 * Who stood still between the first and the last of these is owed nothing, nor is anybody where segments come late by as much as two
 * ticks. */
#include "cluster.h"
#include "role/node_state.h"

enum {
    /* For the push itself one way is enough; the other one is for what makes a newcomer ready a little before it is pushed to. */
    WAYS = 2,
    TURNS = 4, /* since sockets seem ready that are not */
    /* As many short reads, or writes, of one message come in a row less than once in 10^10 times, when one of three is short. */
    SHORT_TURNS = 20,
};

static struct sim_write *of_event(struct world_event *event)
{
    return (struct sim_write *)((char *)event - offsetof(struct sim_write, due));
}

/* A value that is larger than what a connection holds comes piece by piece, each once there is room again. */
static uint64_t patience_us(const struct sim_cluster *cluster)
{
    const struct faults *faults = &cluster->faults;
    uint64_t turns = TURNS + (faults->short_read_ppm ? SHORT_TURNS : 0U) +
                     (faults->short_write_ppm ? SHORT_TURNS : 0U);
    uint64_t round_us =
        WAYS * faults->latency_us_max + turns * (faults->turn_us_max + PROCESS_WAKE_US_MAX);
    uint64_t rounds = cluster->large ? 2 + SIM_VALUE_BYTES_MAX / faults->pipe_bytes_min : 1;
    return rounds * round_us;
}

/* Meeting */

static bool is_ready(const struct sim_node *node)
{
    return node->running && cluster_is_ready(node->process.node->cluster);
}

static bool have_met(const struct sim_cluster *cluster, unsigned a, unsigned b)
{
    return is_ready(&cluster->nodes[a]) && is_ready(&cluster->nodes[b]) &&
           cluster_knows(cluster, a, b) && cluster_knows(cluster, b, a);
}

void cluster_prompt_meet(struct sim_cluster *cluster)
{
    for (unsigned a = 0; a < cluster->node_count; a++)
        for (unsigned b = 0; b < cluster->node_count; b++) {
            uint64_t *met_us = &cluster->nodes[a].met_us[b];
            if (!have_met(cluster, a, b))
                *met_us = 0;
            else if (*met_us == 0)
                *met_us = cluster->world.now_us;
        }
}

/* Expecting */

static bool is_owed(const struct sim_write *write, const struct sim_node *from, unsigned to)
{
    const struct sim_cluster *cluster = write->cluster;
    uint64_t before_us = patience_us(cluster);
    return from->met_us[to] && from->met_us[to] + before_us < write->sent_us &&
           from->process.still_until_us + before_us < write->sent_us &&
           cluster->nodes[to].process.still_until_us + before_us < write->sent_us;
}

static void on_due(struct world_event *event)
{
    const struct sim_write *write = of_event(event);
    struct sim_cluster *cluster = write->cluster;
    const struct sim_node *from = &cluster->nodes[cluster->boots[write->boot].node];
    for (unsigned i = 0; i < cluster->node_count; i++) {
        if (!is_owed(write, from, i))
            continue;
        const struct record *record =
            cluster_record_at(cluster, cluster->nodes[i].process.node, write->key);
        if (!record || record->version < write->version)
            world_fail(&cluster->world,
                       "n%u lacks write %llu of key %u %llu us after %s has acknowledged it", i,
                       (unsigned long long)write->id, write->key,
                       (unsigned long long)patience_us(cluster), from->process.host.name);
    }
}

void cluster_prompt_expect(struct sim_write *write)
{
    struct sim_cluster *cluster = write->cluster;
    if (!cluster->gentle || cluster->faults.delay_ppm)
        return;
    write->due.run = on_due;
    world_event_set(&cluster->world, &write->due, cluster->world.now_us + patience_us(cluster));
}

void cluster_prompt_end(struct sim_cluster *cluster)
{
    for (unsigned i = 0; i < cluster->write_count; i++)
        world_event_clear(&cluster->world, &cluster->writes[i]->due);
}
