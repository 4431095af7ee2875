#include "role/node_figures.h"

void node_figures_gather(struct node *node, struct node_figures *out)
{
    const struct heap *heap = store_heap(node->store);
    const struct node_config *config = &node->config;
    *out = (struct node_figures){
        .common = {.role = "node",
                   .loop = node->loop,
                   .from = node->server,
                   .config = &config->server,
                   .resident_bytes = config->resident_bytes,
                   .cpu_us = config->cpu_us,
                   .files_max = config->files_max,
                   .started_us = node->started_us,
                   .started_wall_us = node->started_wall_us,
                   .ready = cluster_is_ready(node->cluster),
                   .draining = node->draining},
        .store = store_counts(node->store),
        .table_bytes = heap_used(heap),
        .table_resident_bytes = heap_resident(heap),
        .table_limit_bytes = heap_limit(heap),
    };
    figures_gather(&out->common);
}

static void tell(struct node_members *out, const struct member *member)
{
    if (out->told_count < NODE_MEMBERS_TOLD_MAX)
        out->told[out->told_count++] = member;
}

void node_members_gather(const struct node *node, struct node_members *out)
{
    const struct members *members = cluster_list(node->cluster);
    const struct member *well[NODE_MEMBERS_TOLD_MAX];
    unsigned well_count = 0;
    *out = (struct node_members){0};
    for (unsigned i = 0; i < members->count; i++) {
        const struct member *member = members->list[i];
        if (!members_counts(members, member))
            continue;
        bool up = cluster_peer_figures(node->cluster, member).is_up;
        unsigned state = up ? (unsigned)member->phase : NODE_MEMBER_DOWN;
        out->all++;
        out->by_state[state]++;
        if (member->is_self || state != PHASE_READY)
            tell(out, member);
        else if (well_count < NODE_MEMBERS_TOLD_MAX)
            well[well_count++] = member;
    }
    for (unsigned i = 0; i < well_count; i++)
        tell(out, well[i]);
}

const char *node_member_state_name(unsigned state)
{
    return state == NODE_MEMBER_DOWN ? "down" : phase_name((enum member_phase)state);
}
