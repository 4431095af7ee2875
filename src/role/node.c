#include "role/node_figures.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* What a request is about is decided by its target alone: "/" and "/-/…" are operations, all else is a key. */
static void node_on_head(struct service *service, struct request *request)
{
    struct node *node = node_of(service);
    struct slice target = request->head.target;
    bool operation = target.len == 1 || slice_starts(target, SLICE("/-/")) || target.data[0] != '/';
    request->kind = operation ? NODE_OPERATION : NODE_VALUE;
    if (operation)
        operation_on_head(node, request);
    else
        value_on_head(node, request);
}

static void node_on_body_start(struct service *service, struct request *request, uint64_t bytes)
{
    if (request->kind == NODE_OPERATION)
        operation_on_body_start(node_of(service), request, bytes);
    else
        write_on_body_start(node_of(service), request, bytes);
}

/* A body that nobody wants is read and thrown away, up to a point. */
static struct server_room discard_room(struct node *node, struct request *request, uint64_t left)
{
    static const struct http_error unwanted = {413, "This request takes no body."};
    if (left <= SERVER_DISCARD_BYTES_MAX && work_of(request)->filled <= SERVER_DISCARD_BYTES_MAX)
        return (struct server_room){node->scrap, sizeof node->scrap};
    request->error = unwanted;
    return (struct server_room){0};
}

static struct server_room node_on_body_room(struct service *service, struct request *request,
                                            uint64_t left)
{
    struct node *node = node_of(service);
    if (!request->service_data)
        return discard_room(node, request, left);
    if (request->kind == NODE_OPERATION)
        return operation_on_body_room(request, left);
    return write_on_body_room(node, request, left);
}

static void node_on_body_filled(struct service *service, struct request *request, size_t bytes)
{
    struct node *node = node_of(service);
    work_of(request)->filled += bytes;
    if (!request->service_data)
        return;
    if (request->kind == NODE_OPERATION)
        operation_on_body_filled(node, request, bytes);
    else
        write_on_body_filled(request);
}

static unsigned keys_of(struct request *const *requests, unsigned count,
                        const struct store_key **keys)
{
    unsigned found = 0;
    for (unsigned i = 0; i < count; i++)
        if (requests[i]->kind == NODE_VALUE && !requests[i]->error.status)
            keys[found++] = &work_of(requests[i])->key;
    return found;
}

static void node_on_batch(struct service *service, struct request *const *requests, unsigned count)
{
    const struct store_key *keys[SERVER_BATCH_MAX];
    store_prefetch_buckets(node_of(service)->store, keys, keys_of(requests, count, keys));
}

static void node_on_group(struct service *service, struct request *const *requests, unsigned count)
{
    const struct store_key *keys[SERVER_BATCH_MAX];
    store_prefetch(node_of(service)->store, keys, keys_of(requests, count, keys));
}

static void node_on_request(struct service *service, struct request *request)
{
    if (request->kind == NODE_OPERATION)
        operation_on_request(node_of(service), request);
    else
        value_on_request(node_of(service), request);
}

static void node_on_answers(struct service *service)
{
    cluster_push(node_of(service)->cluster);
}

static void node_on_hold_end(struct service *service, struct request *request)
{
    value_on_hold_end(node_of(service), request);
}

static enum server_stream_result node_on_stream(struct service *service, struct request *request)
{
    return operation_on_stream(node_of(service), request);
}

static void node_on_request_end(struct service *service, struct request *request)
{
    if (request->kind == NODE_OPERATION)
        operation_on_request_end(node_of(service), request);
    else
        value_on_request_end(node_of(service), request);
}

static bool node_is_fellow(struct service *service, const struct address *address)
{
    return cluster_has_member_at(node_of(service)->cluster, address);
}

static const struct service node_service = {
    .is_fellow = node_is_fellow,
    .on_head = node_on_head,
    .on_body_start = node_on_body_start,
    .on_body_room = node_on_body_room,
    .on_body_filled = node_on_body_filled,
    .on_batch = node_on_batch,
    .on_group = node_on_group,
    .on_request = node_on_request,
    .on_answers = node_on_answers,
    .on_hold_end = node_on_hold_end,
    .on_stream = node_on_stream,
    .on_request_end = node_on_request_end,
};

static void node_on_change(struct store_observer *observer, const struct store_key *key,
                           struct record *old, struct record *record)
{
    struct node *node = (struct node *)((char *)observer - offsetof(struct node, observer));
    cluster_on_change(node->cluster, key->shard, old, record);
    watch_wake(&node->watch, key);
}

static void node_on_move(struct store_observer *observer, uint32_t shard, struct record *from,
                         struct record *to)
{
    struct node *node = (struct node *)((char *)observer - offsetof(struct node, observer));
    cluster_on_move(node->cluster, shard, from, to);
}

static void node_on_drop(struct store_observer *observer, uint32_t shard, struct record *record)
{
    struct node *node = (struct node *)((char *)observer - offsetof(struct node, observer));
    cluster_on_drop(node->cluster, shard, record);
}

static void node_stop_when_drained(struct node *node)
{
    if (node->draining && server_connections(node->server) == 0 && cluster_has_left(node->cluster))
        node->loop->stopped = true;
}

static void node_on_turn_end(struct loop_hook *hook)
{
    struct node *node = (struct node *)((char *)hook - offsetof(struct node, hook));
    if (store_is_sparse(node->store))
        store_sweep(node->store, node->loop->wall_us, NODE_SWEEP_RECORDS);
    node->loop->again |= heap_cool(store_heap(node->store));
    value_wake(node);
    node_stop_when_drained(node);
}

static void node_take_sample(struct node *node)
{
    struct node_figures figures;
    node_figures_gather(node, &figures);
    uint64_t *sample = history_take(&node->history, &figures.common);
    history_take_push(&node->history, &cluster_counters(node->cluster)->push_us, sample);
    sample[HISTORY_KEYS] = figures.store.keys;
    sample[HISTORY_RECORDS] = figures.store.keys + figures.store.tombstones - figures.store.buried;
    cluster_tell_push(node->cluster, sample[HISTORY_PUSH_P50], sample[HISTORY_PUSH_P99]);
}

/* After a round through all records, until the next one. But what the horizon has just passed goes on all members at about the same time, or
 * they would differ: so it rests only after a round that was begun since. */
static void node_rest(struct node *node, uint64_t sweeps)
{
    uint64_t horizon_us = cluster_horizon_us(node->cluster);
    bool ended = sweeps != node->sweeps, steps = horizon_us != node->horizon_us;
    if (steps)
        node->rests_us = 0;
    else if (ended && !node->stepped)
        node->rests_us = node->loop->now_us + node->config.grace_us / NODE_SWEEP_RESTS;
    node->stepped = steps || (node->stepped && !ended);
    node->horizon_us = horizon_us;
    node->sweeps = sweeps;
}

/* Little at a time, since somebody may wait meanwhile, and sooner again as long as that finds many deletes to forget: else they would
 * come faster than they go, until there is no room. But all day there are deletes that are not due yet: to look through all records for
 * them without a rest would keep an idle node at work. Returns when to come again. */
static uint64_t node_sweep(struct node *node)
{
    struct store_counts counts = store_counts(node->store);
    node_rest(node, counts.sweeps);
    bool rests = counts.tombstones == 0 || node->loop->now_us < node->rests_us;
    if (rests && !store_is_sparse(node->store))
        return NODE_TICK_US;
    if (store_sweep(node->store, node->loop->wall_us, NODE_SWEEP_RECORDS) >= NODE_SWEEP_MANY)
        return NODE_EXPIRE_US;
    return counts.keys + counts.tombstones > NODE_SWEEP_SMALL ? NODE_SWEEP_US : NODE_TICK_US;
}

/* As little at a time, and as many more as have come since: else they would come faster than they go, until there is no room. Returns
 * whether more may be due. */
static bool node_expire(struct node *node)
{
    struct store_counts counts = store_counts(node->store);
    uint64_t values = counts.keys + counts.expired, before = node->values;
    uint64_t steps = NODE_SWEEP_RECORDS + (values > before ? values - before : 0);
    node->values = values;
    return store_expire(node->store, cluster_expiry_us(node->cluster),
                        steps < NODE_EXPIRE_MAX ? (unsigned)steps : NODE_EXPIRE_MAX);
}

static void node_on_tick(struct loop_timer *timer)
{
    struct node *node = (struct node *)((char *)timer - offsetof(struct node, tick));
    if (history_is_due(&node->history, node->loop->now_us - node->started_us))
        node_take_sample(node);
    uint64_t next_us = node_sweep(node);
    if (node_expire(node))
        next_us = NODE_EXPIRE_US;
    loop_timer_set(node->loop, timer, node->loop->now_us + next_us);
}

/* Of the time to drain, what is kept for the others once no client is waited for any more. */
static uint64_t farewell_us(const struct node *node)
{
    uint64_t part = node->config.drain_us / 10;
    return part < NODE_FAREWELL_US ? part : NODE_FAREWELL_US;
}

static void tell_drain_is_over(struct node *node, const char *what)
{
    log_event(
        node->log, LOG_WARN_LEVEL, "drain-time-over",
        "connections=%u msg=\"%s\" do=\"raise --drain-time and TimeoutStopSec, if this happens "
        "again\"",
        server_connections(node->server), what);
}

/* First clients are cut off, since they may write until then; and then who lacks something, or has not heard the goodbye. */
static void node_on_drain_end(struct loop_timer *timer)
{
    struct node *node = (struct node *)((char *)timer - offsetof(struct node, drain_timer));
    if (node->loop->stopped) /* all is done, where there is no time at all */
        return;
    if (!node->drained && server_connections(node->server) > 0)
        tell_drain_is_over(node, "requests under way are cut off");
    if (!node->drained) {
        node->drained = true;
        server_cut(node->server);
        loop_timer_set(node->loop, timer, node->loop->now_us + farewell_us(node));
        return;
    }
    if (!cluster_has_told_all(node->cluster))
        tell_drain_is_over(node, "what no other node has is lost");
    node->loop->stopped = true;
}

static int node_reserve_timers(struct loop *loop, struct node *node)
{
    if (loop_timer_reserve(loop) != 0)
        return -ENOMEM;
    if (loop_timer_reserve(loop) == 0)
        return 0;
    loop_timer_release(loop, &node->tick);
    return -ENOMEM;
}

static struct store *node_new_store(struct loop *loop, const struct node_config *config)
{
    uint64_t seed;
    loop->io->ops->random(loop->io, &seed, sizeof seed);
    uint64_t max = config->memory_max, own = config->memory_own;
    struct store *store = store_new(max > own ? max - own : max, config->grace_us, seed);
    if (store)
        heap_set_growing_max(store_heap(store), record_bytes_max(config->value_max));
    return store;
}

struct node *node_new(struct loop *loop, struct log *log, const struct node_config *config)
{
    struct node *node = calloc(1, sizeof *node);
    if (!node || node_reserve_timers(loop, node) != 0) {
        free(node);
        return NULL;
    }
    node->service = node_service;
    node->loop = loop;
    node->log = log;
    node->config = *config;
    node->started_us = loop->now_us;
    node->started_wall_us = loop->wall_us;
    node->hook.on_turn_end = node_on_turn_end;
    node->tick.on_time = node_on_tick;
    node->drain_timer.on_time = node_on_drain_end;
    node->observer.on_change = node_on_change;
    node->observer.on_move = node_on_move;
    node->observer.on_drop = node_on_drop;
    watch_init(&node->watch);
    node->store = node_new_store(loop, config);
    node->server = server_new(loop, log, &config->server, &node->service);
    loop_hook_add(
        loop,
        &node->hook); /* behind the server's, so that what its batch changed is told at once */
    if (config->partitions > 1)
        node->route = route_new(config->partitions);
    bool routed = config->partitions <= 1 || node->route;
    if (node->store && node->server && routed)
        node->cluster = cluster_new(loop, log, node->store, &node->config);
    if (node->cluster) {
        store_observe(node->store, &node->observer);
        loop_timer_set(loop, &node->tick, loop->now_us + NODE_TICK_US);
        return node;
    }
    node_destroy(node);
    return NULL;
}

void node_destroy(struct node *node)
{
    if (node->server)
        server_destroy(node->server);
    if (node->cluster)
        cluster_destroy(node->cluster);
    if (node->store)
        store_destroy(node->store);
    if (node->route)
        route_destroy(node->route);
    loop_hook_remove(node->loop, &node->hook);
    loop_timer_release(node->loop, &node->tick);
    loop_timer_release(node->loop, &node->drain_timer);
    free(node);
}

int node_listen(struct node *node, struct address *address, int inherited_fd)
{
    int error = inherited_fd >= 0 ? server_adopt(node->server, inherited_fd)
                                  : server_listen(node->server, address);
    if (!error)
        cluster_start(node->cluster, address);
    return error;
}

void node_drain(struct node *node)
{
    if (node->draining)
        return;
    node->draining = true;
    log_event(node->log, LOG_INFO_LEVEL, "draining", "connections=%u",
              server_connections(node->server));
    loop_timer_set(node->loop, &node->drain_timer,
                   node->loop->now_us + node->config.drain_us - farewell_us(node));
    cluster_leave(node->cluster);
    server_drain(node->server);
    node_stop_when_drained(node);
}

bool node_is_draining(const struct node *node)
{
    return node->draining;
}

char *node_summary(const struct node *node, char *out, size_t room)
{
    struct store_counts counts = store_counts(node->store);
    char state[80] = "";
    unsigned permille = cluster_gathered_permille(node->cluster);
    if (node->draining)
        snprintf(state, sizeof state, "draining, ");
    else if (!cluster_has_everything(node->cluster))
        snprintf(state, sizeof state, "gathering %u.%u %%, %.1f MB/s, ", permille / 10,
                 permille % 10, (double)cluster_gathered_bytes_per_s(node->cluster) / 1e6);
    snprintf(out, room, "%s%llu key%s, %u connection%s, %.1f MB", state,
             (unsigned long long)counts.keys, text_plural(counts.keys),
             server_connections(node->server), text_plural(server_connections(node->server)),
             (double)heap_resident(store_heap(node->store)) / 1e6);
    return out;
}
