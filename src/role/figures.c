#include "role/figures.h"

static void gather_requests(struct figures *out)
{
    for (unsigned method = 0; method < SERVER_METHODS; method++)
        for (unsigned i = 0; i < SERVER_STATUSES; i++) {
            out->requests += out->server->replies[method][i];
            out->by_class[1 + i / 100] += out->server->replies[method][i];
        }
}

void figures_gather(struct node *node, struct figures *out)
{
    const struct heap *heap = store_heap(node->store);
    *out = (struct figures){
        .server = server_counters(node->server),
        .store = store_counts(node->store),
        .uptime_us = node->loop->now_us - node->started_us,
        .connections = server_connections(node->server),
        .held = server_held(node->server),
        .table_bytes = heap_used(heap),
        .table_resident_bytes = heap_resident(heap),
        .table_limit_bytes = heap_limit(heap),
        .process_resident_bytes = node->config.resident_bytes ? node->config.resident_bytes() : 0,
        .ready = cluster_is_ready(node->cluster),
    };
    gather_requests(out);
}

uint64_t figures_quantile(const struct histogram *histogram, double part)
{
    uint64_t us = histogram_quantile(histogram, part);
    return us < histogram->max_us ? us : histogram->max_us;
}

void figures_reply(struct request *request, struct slice type, const struct text *text, bool vary)
{
    if (text->full) {
        reply_text(request, 500, "The answer is longer than this node has room for.");
        return;
    }
    reply_start(request, 200);
    reply_field(request, SLICE("Content-Type"), type);
    reply_field(request, SLICE("Cache-Control"), SLICE("no-store"));
    if (vary)
        reply_field(request, SLICE("Vary"), SLICE("Accept"));
    reply_body(request, text_slice(text));
}
