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
