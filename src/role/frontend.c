#include "role/frontend_state.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "data/hash.h"
#include "data/route.h"
#include "net/reply.h"
#include "role/frontend_figures.h"
#include "role/lane.h"
#include "role/partition.h"
#include "role/relay.h"
#include "role/search.h"
#include "role/upload.h"

/* What is under /-/, and "/" */

struct operation {
    struct slice path;
    void (*reply)(struct frontend *frontend, struct request *request);
};

static void reply_healthy(struct frontend *frontend, struct request *request)
{
    (void)frontend;
    reply_text(request, 200, "healthy");
}

static void reply_history(struct frontend *frontend, struct request *request)
{
    history_reply(&frontend->history, request);
}

static struct slice query_of(struct slice target)
{
    const char *mark = memchr(target.data, '?', target.len);
    return mark ? (struct slice){mark + 1, target.len - (size_t)(mark - target.data) - 1}
                : (struct slice){0};
}

static void reply_keys(struct frontend *frontend, struct request *request)
{
    search_on_request(frontend, request, query_of(request->head.target));
}

static const struct operation operations[] = {
    {{"/", 1}, frontend_reply_front},
    {{"/-/healthy", 10}, reply_healthy},
    {{"/-/ready", 8}, frontend_reply_ready},
    {{"/-/status", 9}, frontend_reply_status},
    {{"/-/metrics", 10}, frontend_reply_metrics},
    {{"/-/history", 10}, reply_history},
    {{"/-/keys", 7}, reply_keys},
};

enum { OPERATIONS = sizeof operations / sizeof *operations };

/* Those that nodes have, and that speak of one node or one cluster. */
static const struct slice of_nodes[] = {
    {"/-/members", 10},
    {"/-/records", 10},
    {"/-/digest", 9},
    {"/-/merge", 8},
};

static bool is_of_nodes(struct slice path)
{
    for (unsigned i = 0; i < sizeof of_nodes / sizeof *of_nodes; i++)
        if (slice_starts(path, of_nodes[i]))
            return true;
    return false;
}

static bool is_read(const struct request *request)
{
    return request->head.method == HTTP_GET || request->head.method == HTTP_HEAD;
}

static void operation_on_head(struct request *request)
{
    struct slice path = request->head.target;
    const char *mark = memchr(path.data, '?', path.len);
    if (mark)
        path.len = (size_t)(mark - path.data);
    uint32_t found = 0;
    while (found < OPERATIONS && !slice_equal(path, operations[found].path))
        found++;
    frontend_work_of(request)->operation = found;
    if (found < OPERATIONS && operations[found].reply == reply_keys && is_read(request))
        search_on_head(request, query_of(request->head.target));
    if (found < OPERATIONS || path.data[0] != '/')
        return;
    if (is_of_nodes(path))
        request_refuse(request, 404, "Only nodes have that; ask a node of each partition.");
    else if (is_read(request))
        request_refuse(request, 404,
                       "There is no such operation; GET / lists what stands under /-/.");
    else
        request_refuse(request, 403, "Keys that begin with -/ are reserved for operations.");
}

static void operation_on_request(struct frontend *frontend, struct request *request)
{
    uint32_t operation = frontend_work_of(request)->operation;
    if (operation == OPERATIONS) /* "*" or an authority: OPTIONS and CONNECT */
        key_reply_not_allowed(request);
    else if (!is_read(request))
        reply_not_allowed(request, SLICE("GET, HEAD"));
    else
        operations[operation].reply(frontend, request);
}

/* Requests on keys */

/* Requests that a node may hold. */
static bool may_take_long(const struct request *request, const struct key_options *options)
{
    if (is_read(request))
        return options->wait_seconds > 0 &&
               http_field_find(&request->head, HTTP_FIELD_IF_NONE_MATCH) != NULL;
    return options->copies > 1;
}

static void key_on_head(struct frontend *frontend, struct request *request)
{
    struct frontend_work *work = frontend_work_of(request);
    struct slice key;
    work->on_key = true;
    if (!key_find(request, &key))
        return;
    key_options_read(request, frontend->config.value_max, &work->options);
    if (request->error.status == 413) /* it speaks of "this node" */
        request_refuse(request, 413, upload_too_large);
    work->partition = route_partition(frontend->route, key);
    if (frontend->others)
        work->other_partition = route_partition(frontend->other_route, key);
    work->key_hash = hash_bytes(key.data, key.len);
    request->deferrable = request->head.method != HTTP_OTHER;
    request->exclusive = may_take_long(request, &work->options);
}

static void reply_no_room(struct request *request)
{
    reply_text(request, 503, "This front-end is out of memory for requests; try again.");
}

static void key_on_request(struct frontend *frontend, struct request *request)
{
    struct relay *relay = request->service_data;
    bool uploaded = relay != NULL;
    if (request->head.method == HTTP_OTHER) {
        key_reply_not_allowed(request);
        return;
    }
    if (!relay)
        relay = relay_new(frontend, request);
    else if (upload_streams(relay)) /* on a connection of its own */
        request->exclusive = true;
    struct request *deferred = relay ? server_defer(request) : NULL;
    if (!deferred) {
        if (relay && !uploaded)
            relay_free(relay);
        if (!server_postpone(request))
            reply_no_room(request);
        return;
    }
    deferred->service_data = relay;
    relay->request = deferred;
    if (uploaded)
        upload_end(relay);
    else
        relay_start(relay, deferred);
}

/* The service */

static void frontend_on_head(struct service *service, struct request *request)
{
    struct slice target = request->head.target;
    if (target.len == 1 || slice_starts(target, SLICE("/-/")) || target.data[0] != '/')
        operation_on_head(request);
    else
        key_on_head(frontend_of(service), request);
}

static void frontend_on_body_start(struct service *service, struct request *request, uint64_t bytes)
{
    if (!frontend_work_of(request)->on_key || !key_is_set(request))
        return; /* nobody wants it */
    struct relay *relay = relay_new(frontend_of(service), request);
    request->service_data = relay;
    if (!relay || upload_start(relay, bytes, request->head.chunked) != 0)
        request_refuse(request, 503, "This front-end is out of memory for requests; try again.");
}

/* A body that nobody wants is read and thrown away, up to a point. */
static struct server_room discard_room(struct frontend *frontend, struct request *request,
                                       uint64_t left)
{
    uint64_t filled = frontend_work_of(request)->filled;
    if (left <= SERVER_DISCARD_BYTES_MAX && filled <= SERVER_DISCARD_BYTES_MAX)
        return (struct server_room){frontend->scrap, sizeof frontend->scrap};
    request_refuse(request, 413, "This request takes no body.");
    return (struct server_room){0};
}

static struct server_room frontend_on_body_room(struct service *service, struct request *request,
                                                uint64_t left)
{
    if (!request->service_data)
        return discard_room(frontend_of(service), request, left);
    return upload_room(request->service_data, request, left);
}

static void frontend_on_body_filled(struct service *service, struct request *request, size_t bytes)
{
    (void)service;
    frontend_work_of(request)->filled += bytes;
    if (request->service_data)
        upload_filled(request->service_data, bytes);
}

static void frontend_on_requests(struct service *service, struct request *const *requests,
                                 unsigned count)
{
    (void)service, (void)requests, (void)count;
}

static void frontend_on_request(struct service *service, struct request *request)
{
    if (frontend_work_of(request)->on_key)
        key_on_request(frontend_of(service), request);
    else
        operation_on_request(frontend_of(service), request);
}

static void frontend_on_hold_end(struct service *service, struct request *request)
{
    (void)service;
    if (frontend_work_of(request)->on_key) /* a list of keys takes no longer than it must */
        relay_hurry(request->service_data);
}

static enum server_stream_result frontend_on_stream(struct service *service,
                                                    struct request *request)
{
    (void)service;
    return relay_on_stream(request->service_data, request);
}

static void frontend_on_turn(struct service *service, struct request *first)
{
    (void)service;
    relays_turn(first);
}

static void frontend_on_request_end(struct service *service, struct request *request)
{
    (void)service;
    if (frontend_work_of(request)->on_key)
        relay_free(request->service_data);
    else
        search_free(request->service_data);
}

static const struct service frontend_service = {
    .on_head = frontend_on_head,
    .on_body_start = frontend_on_body_start,
    .on_body_room = frontend_on_body_room,
    .on_body_filled = frontend_on_body_filled,
    .on_batch = frontend_on_requests,
    .on_group = frontend_on_requests,
    .on_request = frontend_on_request,
    .on_hold_end = frontend_on_hold_end,
    .on_stream = frontend_on_stream,
    .on_turn = frontend_on_turn,
    .on_request_end = frontend_on_request_end,
    .retry_after = "1",
};

/* xorshift64* (Vigna, 2016): good enough to spread load. */
unsigned frontend_chance(struct frontend *frontend, unsigned below)
{
    uint64_t x = frontend->chance;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    frontend->chance = x;
    return (unsigned)((x * 2685821657736338717ULL >> 32) * below >> 32);
}

void frontend_learn_version(struct frontend *frontend, uint64_t version, uint64_t clock_us)
{
    if (version > frontend->latest_version && version < clock_us + VERSION_AHEAD_US_MAX)
        frontend->latest_version = version;
}

uint64_t frontend_version(struct frontend *frontend, uint64_t clock_us)
{
    if (frontend->latest_version < clock_us)
        frontend->latest_version = clock_us;
    else
        frontend->latest_version++;
    return frontend->latest_version;
}

/* Time */

static void frontend_stop_when_drained(struct frontend *frontend)
{
    if (frontend->draining && server_connections(frontend->server) == 0)
        frontend->loop->stopped = true;
}

static void frontend_on_turn_end(struct loop_hook *hook)
{
    frontend_stop_when_drained((struct frontend *)((char *)hook - offsetof(struct frontend, hook)));
}

static void frontend_on_tick(struct loop_timer *timer)
{
    struct frontend *frontend =
        (struct frontend *)((char *)timer - offsetof(struct frontend, tick));
    loop_timer_set(frontend->loop, timer, frontend->loop->now_us + FRONTEND_TICK_US);
    if (history_is_due(&frontend->history, frontend->loop->now_us - frontend->started_us))
        frontend_take_sample(frontend);
    pool_trim(&frontend->relays);
    pool_trim(&frontend->attempts);
    for (unsigned i = 0; i < frontend->config.cluster_count; i++)
        partition_tick(&frontend->partitions[i]);
    for (unsigned i = 0; i < frontend->config.other_count; i++)
        partition_tick(&frontend->others[i]);
    relays_tick(frontend);
}

static void frontend_on_drain_end(struct loop_timer *timer)
{
    struct frontend *frontend =
        (struct frontend *)((char *)timer - offsetof(struct frontend, drain_timer));
    if (frontend->loop->stopped) /* all is done, where there is no time at all */
        return;
    log_event(frontend->log, LOG_WARN_LEVEL, "drain-time-over",
              "connections=%u msg=\"requests under way were cut off\" do=\"raise --drain-time and "
              "TimeoutStopSec, if this happens again\"",
              server_connections(frontend->server));
    frontend->loop->stopped = true;
}

/* Life */

static void partitions_destroy(struct partition *partitions, unsigned count)
{
    for (unsigned i = 0; partitions && i < count; i++)
        partition_free(&partitions[i]);
    free(partitions);
}

static int frontend_reserve_timers(struct loop *loop, struct frontend *frontend)
{
    if (loop_timer_reserve(loop) != 0)
        return -ENOMEM;
    if (loop_timer_reserve(loop) == 0)
        return 0;
    loop_timer_release(loop, &frontend->tick);
    return -ENOMEM;
}

/* Returns NULL when that fails, and then nothing is left of it. */
static struct partition *partitions_new(struct frontend *frontend, enum side side,
                                        const struct frontend_cluster *clusters, unsigned count)
{
    struct partition *partitions = calloc(count, sizeof *partitions);
    if (!partitions)
        return NULL;
    for (unsigned i = 0; i < count; i++) {
        partitions[i].frontend = frontend;
        partitions[i].side = side;
        partitions[i].number = i;
        partitions[i].count = count;
        if (partition_init(&partitions[i], &clusters[i]) == 0)
            continue;
        partitions_destroy(partitions, i + 1);
        return NULL;
    }
    return partitions;
}

/* Returns 0 or -ENOMEM; what is there then is freed by frontend_destroy. */
static int frontend_init_partitions(struct frontend *frontend)
{
    const struct frontend_config *config = &frontend->config;
    frontend->route = route_new(config->cluster_count);
    frontend->partitions =
        partitions_new(frontend, SIDE_OWN, config->clusters, config->cluster_count);
    if (!frontend->route || !frontend->partitions)
        return -ENOMEM;
    if (config->other_count == 0)
        return 0;
    assert(config->other_side != SIDE_OWN);
    frontend->other_route = route_new(config->other_count);
    frontend->others =
        partitions_new(frontend, config->other_side, config->others, config->other_count);
    return frontend->other_route && frontend->others ? 0 : -ENOMEM;
}

struct frontend *frontend_new(struct loop *loop, struct log *log,
                              const struct frontend_config *config)
{
    struct frontend *frontend = calloc(1, sizeof *frontend);
    if (!frontend || frontend_reserve_timers(loop, frontend) != 0) {
        free(frontend);
        return NULL;
    }
    frontend->service = frontend_service;
    frontend->loop = loop;
    frontend->log = log;
    frontend->config = *config;
    frontend->started_us = loop->now_us;
    frontend->started_wall_us = loop->wall_us;
    pool_init(&frontend->relays, sizeof(struct relay));
    pool_init(&frontend->attempts, sizeof(struct attempt));
    frontend->hook.on_turn_end = frontend_on_turn_end;
    frontend->tick.on_time = frontend_on_tick;
    frontend->drain_timer.on_time = frontend_on_drain_end;
    while (frontend->chance == 0)
        loop->io->ops->random(loop->io, &frontend->chance, sizeof frontend->chance);
    frontend->server = server_new(loop, log, &config->server, &frontend->service);
    loop_hook_add(loop, &frontend->hook);
    frontend->upstreams = upstreams_new(loop); /* its hook sends what the batches have called */
    if (frontend->server && frontend->upstreams && frontend_init_partitions(frontend) == 0)
        return frontend;
    frontend_destroy(frontend);
    return NULL;
}

void frontend_destroy(struct frontend *frontend)
{
    if (frontend->server)
        server_destroy(frontend->server);
    partitions_destroy(frontend->partitions, frontend->config.cluster_count);
    partitions_destroy(frontend->others, frontend->config.other_count);
    if (frontend->upstreams)
        upstreams_destroy(frontend->upstreams);
    route_destroy(frontend->route);
    route_destroy(frontend->other_route);
    pool_destroy(&frontend->relays);
    pool_destroy(&frontend->attempts);
    loop_hook_remove(frontend->loop, &frontend->hook);
    loop_timer_release(frontend->loop, &frontend->tick);
    loop_timer_release(frontend->loop, &frontend->drain_timer);
    free(frontend);
}

int frontend_listen(struct frontend *frontend, struct address *address, int inherited_fd)
{
    int error = inherited_fd >= 0 ? server_adopt(frontend->server, inherited_fd)
                                  : server_listen(frontend->server, address);
    if (!error)
        loop_timer_set(frontend->loop, &frontend->tick, frontend->loop->now_us);
    return error;
}

void frontend_drain(struct frontend *frontend)
{
    if (frontend->draining)
        return;
    frontend->draining = true;
    log_event(frontend->log, LOG_INFO_LEVEL, "draining", "connections=%u",
              server_connections(frontend->server));
    loop_timer_set(frontend->loop, &frontend->drain_timer,
                   frontend->loop->now_us + frontend->config.drain_us);
    server_drain(frontend->server);
    frontend_stop_when_drained(frontend);
}

bool frontend_is_draining(const struct frontend *frontend)
{
    return frontend->draining;
}

char *frontend_summary(const struct frontend *frontend, char *out, size_t room)
{
    unsigned reached = 0, count = frontend->config.cluster_count;
    uint64_t bytes = frontend->config.resident_bytes ? frontend->config.resident_bytes() : 0;
    for (unsigned i = 0; i < count; i++)
        reached += frontend->partitions[i].reached;
    snprintf(out, room, "%s%u of %u partition%s reached, %u connection%s, %.1f MB",
             frontend->draining ? "draining, " : "", reached, count, text_plural(count),
             server_connections(frontend->server),
             text_plural(server_connections(frontend->server)), (double)bytes / 1e6);
    return out;
}
