/* Whether all know what they should. Looking at everything takes long where there is much, so it goes on where it last ended. */
#include <string.h>

#include "role/backend.h"
#include "role/cluster_state.h"
#include "role/frontend_state.h"
#include "role/node_state.h"
#include "role/partition.h"
#include "scale.h"

static const struct node *node_of_process(const struct scale_process *process)
{
    return process->running && process->role == SCALE_NODE ? process->process.node : NULL;
}

static struct scale_process *subject_of(struct scale *scale)
{
    return &scale->processes[scale->subject];
}

/* Goes through processes from where looking last ended, as long as they are fine; true once all are. */
static bool all_are(struct scale *scale, bool (*is_fine)(struct scale *, struct scale_process *))
{
    while (scale->looked < scale->process_count) {
        struct scale_process *process = &scale->processes[scale->looked];
        if (process->running && !is_fine(scale, process))
            return false;
        scale->looked++;
    }
    scale->looked = 0;
    return true;
}

/* Nodes */

static unsigned nodes_running(struct scale *scale, unsigned partition)
{
    unsigned running = 0;
    for (unsigned i = 0; i < scale->options.nodes; i++)
        running += scale_node(scale, partition, i)->running;
    const struct scale_process *newcomer = scale_newcomer(scale);
    return running + (newcomer->running && newcomer->partition == partition);
}

static bool node_is_well(struct scale *scale, struct scale_process *process)
{
    const struct node *node = node_of_process(process);
    return !node || (cluster_is_ready(node->cluster) &&
                     process_members_up(node) == nodes_running(scale, process->partition));
}

bool scale_nodes_are_well(struct scale *scale)
{
    return all_are(scale, node_is_well);
}

static bool node_agrees(struct scale *scale, struct scale_process *process)
{
    const struct node *node = node_of_process(process);
    const struct node *first = node_of_process(scale_node(scale, process->partition, 0));
    return !node || store_digest(node->store) == store_digest(first->store);
}

bool scale_nodes_agree(struct scale *scale)
{
    return all_are(scale, node_agrees);
}

/* Front-ends */

static bool frontend_knows_all(struct scale *scale, struct scale_process *process)
{
    const struct frontend *frontend = process->process.frontend;
    for (unsigned p = 0; p < scale->options.partitions && frontend; p++)
        if (frontend->partitions[p].usable_count != nodes_running(scale, p))
            return false;
    return true;
}

bool scale_frontends_know_all(struct scale *scale)
{
    return all_are(scale, frontend_knows_all);
}

bool scale_clients_are_done(struct scale *scale)
{
    for (unsigned i = 0; i < scale->client_count; i++)
        if (!scale_client_is_done(&scale->clients[i]))
            return false;
    return true;
}

/* One process, as others see it */

bool scale_subject_is_ready(struct scale *scale)
{
    return cluster_is_ready(subject_of(scale)->process.node->cluster);
}

bool scale_subject_agrees(struct scale *scale)
{
    unsigned partition = subject_of(scale)->partition;
    for (unsigned i = 0; i < scale->options.nodes; i++)
        if (!node_is_well(scale, scale_node(scale, partition, i)) ||
            !node_agrees(scale, scale_node(scale, partition, i)))
            return false;
    return true;
}

static bool has_up(const struct node *node, const struct address *address)
{
    const struct members *members = cluster_list(node->cluster);
    for (unsigned i = 0; i < members->count; i++)
        if (address_equal(&members->list[i]->address, address) &&
            cluster_peer_figures(node->cluster, members->list[i]).is_up)
            return true;
    return false;
}

/* How many of its fellows have it as up. */
static unsigned fellows_that_know(struct scale *scale, unsigned *fellows)
{
    const struct scale_process *subject = subject_of(scale);
    unsigned knowing = 0;
    *fellows = 0;
    for (unsigned i = 0; i < scale->options.nodes; i++) {
        const struct scale_process *fellow = scale_node(scale, subject->partition, i);
        if (fellow == subject || !fellow->running)
            continue;
        ++*fellows;
        knowing += has_up(fellow->process.node, &subject->process.address);
    }
    return knowing;
}

bool scale_fellows_know_subject(struct scale *scale)
{
    unsigned fellows;
    return fellows_that_know(scale, &fellows) == fellows;
}

bool scale_fellows_miss_subject(struct scale *scale)
{
    unsigned fellows;
    return fellows_that_know(scale, &fellows) == 0;
}

static unsigned frontends_that_use(struct scale *scale)
{
    const struct scale_process *subject = subject_of(scale);
    unsigned using = 0;
    for (unsigned i = 0; i < scale->options.frontends; i++) {
        const struct partition *partition =
            &scale_frontend(scale, i)->process.frontend->partitions[subject->partition];
        for (unsigned n = 0; n < partition->usable_count; n++)
            using += address_equal(&partition->usable[n]->address, &subject->process.address);
    }
    return using;
}

bool scale_frontends_use_subject(struct scale *scale)
{
    return frontends_that_use(scale) == scale->options.frontends;
}

bool scale_frontends_shun_subject(struct scale *scale)
{
    return frontends_that_use(scale) == 0;
}

/* One write */

bool scale_watched_is_everywhere(struct scale *scale)
{
    return !scale->watched.on;
}

static bool has_watched(const struct scale *scale, const struct node *node)
{
    const struct scale_watched *watched = &scale->watched;
    struct store_key key = store_key(node->store, slice_of(watched->key));
    const struct record *record = store_find(node->store, &key);
    return record &&
           slice_starts(record_value(record), (struct slice){watched->mark, sizeof watched->mark});
}

/* Whoever had it before has it still, so it is enough to look whether the last one that lacked it has it now. */
void scale_watch_turn(struct scale_process *process)
{
    struct scale *scale = process->scale;
    struct scale_watched *watched = &scale->watched;
    if (!watched->on || process->partition != watched->partition)
        return;
    while (
        watched->missing < scale->options.nodes &&
        has_watched(scale, scale_node(scale, watched->partition, watched->missing)->process.node))
        watched->missing++;
    if (watched->missing < scale->options.nodes)
        return;
    watched->on = false;
    watched->everywhere_us = scale->world.now_us;
}
