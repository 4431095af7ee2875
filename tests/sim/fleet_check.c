/* What must be true all the time, and once all faults have ended. */
#include <stdio.h>
#include <string.h>

#include "fleet.h"
#include "net/client.h"
#include "role/backend.h"
#include "role/frontend_state.h"
#include "role/lane.h"
#include "role/node_state.h"
#include "role/partition.h"
#include "role/relay.h"

enum {
    SECOND = 1000 * 1000,
    WATCH_US = SECOND / 10,
    AGREE_US_MAX = 60 * SECOND,
    KNOWN_US = 3 * SECOND, /* after it, front-ends know who is there */
    STRICT_CALLS = 60,
    STRICT_US_MAX = 900 * SECOND, /* slow clients have large values to read */
    STOP_US_MAX = 3 * SECOND,
    LEFT_US_MAX = 6 * SECOND,    /* a write whose client has left may still wait for its copies */
    KEPT_BYTES_MAX = 512 * 1024, /* of one request in a front-end, all in all */
};

typedef unsigned long long ull;

static struct node *node_at(struct fleet *fleet, unsigned i)
{
    struct fleet_process *process = &fleet->processes[i];
    return process->running && !process->draining ? process->process.node : NULL;
}

struct record *fleet_record_at(struct fleet *fleet, const struct fleet_process *process,
                               unsigned key)
{
    const char *name = fleet->keys[key].name;
    struct store *store = process->process.node->store;
    struct store_key place = store_key(store, (struct slice){name, strlen(name)});
    return store_find(store, &place);
}

/* Clusters */

const char *fleet_unready(struct fleet *fleet, unsigned cluster)
{
    const struct node *first = NULL;
    for (unsigned i = 0; i < fleet->cluster_size[cluster]; i++) {
        unsigned place = cluster * FLEET_CLUSTER_MAX + i;
        const struct node *node = node_at(fleet, place);
        if (!node)
            return "a node is not there";
        if (fleet->processes[place].paused_until_us > fleet->world.now_us)
            return "a node stands still";
        for (unsigned other = 0; other < FLEET_PROCESSES_MAX; other++)
            if (fleet->processes[place].cut_us[other] > fleet->world.now_us ||
                fleet->processes[other].cut_us[place] > fleet->world.now_us)
                return "a node is cut off";
        if (!cluster_is_ready(node->cluster))
            return cluster_why_unready(node->cluster);
        if (process_members_up(node) != fleet->cluster_size[cluster])
            return "a node does not know who is there";
        if (first && store_digest(first->store) != store_digest(node->store))
            return "digests differ";
        first = node;
    }
    return NULL;
}

/* While clients write, digests always differ a little. */
static void watch_cluster(struct fleet *fleet, unsigned cluster)
{
    const char *why = fleet_unready(fleet, cluster);
    bool quiet = !why || strcmp(why, "digests differ") == 0;
    if (!quiet)
        fleet->quiet_us[cluster] = 0;
    else if (!fleet->quiet_us[cluster])
        fleet->quiet_us[cluster] = fleet->world.now_us;
    if (quiet && !fleet->born_us[cluster])
        fleet->born_us[cluster] = fleet->world.now_us;
}

bool fleet_is_retired(const struct fleet *fleet, unsigned cluster)
{
    return fleet->processes[cluster * FLEET_CLUSTER_MAX].retired;
}

uint64_t fleet_key_disturbed(const struct fleet *fleet, const struct fleet_key *key)
{
    return fleet->disturbed[key->home[0]] + fleet->disturbed[key->home[1]];
}

bool fleet_key_stopping(const struct fleet *fleet, const struct fleet_key *key)
{
    for (unsigned side = 0; side < FLEET_SIDES; side++)
        for (unsigned i = 0; i < fleet->cluster_size[key->home[side]]; i++)
            if (fleet->processes[key->home[side] * FLEET_CLUSTER_MAX + i].draining)
                return true;
    return false;
}

uint64_t fleet_key_quiet_us(const struct fleet *fleet, const struct fleet_key *key)
{
    uint64_t latest_us = 0;
    for (unsigned side = 0; side < FLEET_SIDES; side++) {
        uint64_t quiet_us = fleet->quiet_us[key->home[side]];
        if (fleet_is_retired(fleet, key->home[side]))
            continue;
        if (!quiet_us)
            return 0;
        latest_us = quiet_us > latest_us ? quiet_us : latest_us;
    }
    return latest_us;
}

uint64_t fleet_key_born_us(const struct fleet *fleet, const struct fleet_key *key)
{
    uint64_t one_us = fleet->born_us[key->home[0]], other_us = fleet->born_us[key->home[1]];
    return !one_us || !other_us ? 0 : one_us > other_us ? one_us : other_us;
}

/* Whether reshard can ask a node; its fellows need not reach it. */
static void watch_soundness(struct fleet *fleet, struct fleet_process *process)
{
    uint64_t now_us = fleet->world.now_us;
    bool sound = !process->draining && process->paused_until_us <= now_us &&
                 process->cut_us[FLEET_RESHARD] <= now_us &&
                 fleet->processes[FLEET_RESHARD].cut_us[process->number] <= now_us &&
                 cluster_is_ready(process->process.node->cluster);
    if (!sound)
        process->sound_us = 0;
    else if (!process->sound_us)
        process->sound_us = now_us;
}

/* Nothing is ever stored where it does not belong. */
static void watch_places(struct fleet *fleet, const struct fleet_process *process)
{
    unsigned side = fleet_side_of(fleet, process->cluster);
    for (unsigned key = 0; key < fleet->key_count; key++)
        if (fleet->keys[key].home[side] != process->cluster && fleet_record_at(fleet, process, key))
            world_fail(&fleet->world, "%s of cluster %u has key %u, of cluster %u",
                       process->process.host.name, process->cluster, key,
                       fleet->keys[key].home[side]);
}

/* Front-ends: their memory */

static size_t kept_bytes(const struct relay *relay)
{
    size_t sent = relay->sent.data == relay->sent.room ? 0 : relay->sent.size;
    size_t got = relay->got.data == relay->got.room ? 0 : relay->got.size;
    return sent + got + relay->block_bytes;
}

static void watch_request(struct fleet *fleet, const char *who, struct exchange *exchange,
                          unsigned *requests)
{
    const struct relay *relay = exchange->request.service_data;
    if (!relay || !frontend_work_of(&exchange->request)->on_key)
        return;
    ++*requests;
    if (kept_bytes(relay) > KEPT_BYTES_MAX)
        world_fail(&fleet->world, "%s keeps %zu bytes of one request", who, kept_bytes(relay));
}

static void watch_backend(struct fleet *fleet, const char *who, const struct backend *backend)
{
    unsigned lanes = 0, counted = 0, idle = 0;
    for (const struct lane *lane = backend->lanes; lane; lane = lane->next) {
        lanes++;
        idle += lane->kind == LANE_ALONE && !lane->first && lane_is_open(lane);
        for (const struct attempt *attempt = lane->first; attempt; attempt = attempt->next)
            counted += attempt->counted;
    }
    if (lanes != backend->lane_count || counted != backend->in_flight)
        world_fail(&fleet->world, "%s has %u lanes and %u requests at a node, not %u and %u", who,
                   lanes, counted, backend->lane_count, backend->in_flight);
    if (idle > backend->idle_count + 1)
        world_fail(&fleet->world, "%s has %u idle connections to a node, and knows of %u", who,
                   idle, backend->idle_count);
}

/* Returns how many requests are parked there. */
static unsigned watch_partition(struct fleet *fleet, const char *who,
                                const struct partition *partition)
{
    for (unsigned i = 0; i < partition->backend_count; i++)
        watch_backend(fleet, who, partition->backends[i]);
    return partition->parked_count;
}

static void watch_frontend(struct fleet *fleet, const struct fleet_process *process)
{
    const struct frontend *frontend = process->process.frontend;
    const char *who = process->process.host.name;
    unsigned requests = 0, parked = 0;
    for (const struct client *client = frontend->server->clients; client; client = client->next) {
        if (client->exchange)
            watch_request(fleet, who, client->exchange, &requests);
        for (struct exchange *e = client->pending; e; e = e->next)
            watch_request(fleet, who, e, &requests);
    }
    for (unsigned p = 0; p < frontend->config.cluster_count; p++)
        parked += watch_partition(fleet, who, &frontend->partitions[p]);
    for (unsigned p = 0; p < frontend->config.other_count; p++)
        parked += watch_partition(fleet, who, &frontend->others[p]);
    if (frontend->relays.used != requests || parked > requests)
        world_fail(&fleet->world, "%s has %u requests, %u of them parked, but %u are under way",
                   who, frontend->relays.used, parked, requests);
}

void fleet_on_watch(struct world_event *event)
{
    struct fleet *fleet = (struct fleet *)((char *)event - offsetof(struct fleet, watch));
    for (unsigned c = 0; c < fleet->cluster_count; c++)
        watch_cluster(fleet, c);
    for (unsigned i = 0; i < FLEET_PROCESSES_MAX; i++) {
        struct fleet_process *process = &fleet->processes[i];
        if (process->running && process->process.node) {
            watch_places(fleet, process);
            watch_soundness(fleet, process);
        } else if (process->running && process->process.frontend)
            watch_frontend(fleet, process);
    }
    world_event_set(&fleet->world, event, fleet->world.now_us + WATCH_US);
}

/* The end */

static void pass_time(struct fleet *fleet, uint64_t us)
{
    uint64_t until_us = fleet->world.now_us + us;
    while (fleet->world.now_us < until_us && world_step(&fleet->world))
        ;
}

static const char *why_not_agreed(struct fleet *fleet)
{
    const char *why = NULL;
    for (unsigned c = 0; c < fleet->cluster_count && !why; c++)
        why = fleet_is_retired(fleet, c) ? NULL : fleet_unready(fleet, c);
    for (unsigned i = 0; i < fleet->frontend_count && !why; i++)
        if (!fleet_frontend(fleet, i)->running || fleet_frontend(fleet, i)->draining ||
            fleet_frontend(fleet, i)->paused_until_us > fleet->world.now_us)
            why = "a front-end is not there";
    return why;
}

void fleet_await_agreement(struct fleet *fleet)
{
    struct world *world = &fleet->world;
    uint64_t until_us = world->now_us + AGREE_US_MAX;
    const char *why;
    while (!world->failed && (why = why_not_agreed(fleet)))
        if (world->now_us > until_us || !world_step(world))
            world_fail(world, "the fleet is not well %d s after the faults: %s",
                       AGREE_US_MAX / SECOND, why);
}

/* Now every request must succeed, and soon. */
static void check_service(struct fleet *fleet)
{
    struct world *world = &fleet->world;
    pass_time(fleet, KNOWN_US);
    fleet->strict = true;
    uint64_t until_us = world->now_us + STRICT_US_MAX;
    for (unsigned i = 0; i < fleet->client_count; i++)
        fleet_client_go_on(&fleet->clients[i], STRICT_CALLS);
    while (!fleet_clients_are_done(fleet) && world_step(world))
        if (world->now_us > until_us)
            world_fail(world, "clients do not come to an end without any fault");
}

const struct fleet_write *fleet_explain(struct fleet *fleet, unsigned key,
                                        const struct record *record)
{
    char text[40] = {0};
    unsigned of, id = fleet->write_count;
    struct slice value = record_value(record);
    memcpy(text, value.data, value.len < 39 ? value.len : 39);
    if (!record_is_tombstone(record) && sscanf(text, "k%uw%u.", &of, &id) == 2 &&
        id < fleet->write_count && of == key && fleet->writes[id]->key == key &&
        !fleet->writes[id]->refused)
        return fleet->writes[id];
    for (unsigned i = 0; record_is_tombstone(record) && i < fleet->write_count; i++) {
        const struct fleet_write *write = fleet->writes[i];
        if (write->key == key && (write->tombstone || write->ttl_us) && !write->refused)
            return write;
    }
    world_fail(&fleet->world, "key %u ends as version %llu (%s), which nobody wrote", key,
               (ull)record->version, record_is_tombstone(record) ? "deleted" : "a value");
    return NULL;
}

static void tell_writes(struct fleet *fleet, unsigned key)
{
    for (unsigned i = 0; i < fleet->write_count; i++) {
        const struct fleet_write *w = fleet->writes[i];
        if (w->key == key)
            world_trace(&fleet->world, "write", "%u at %llu: %s%s%s%s, versions %llu %llu", i,
                        (ull)w->begun_us, w->tombstone ? "delete" : "value",
                        w->acked ? " acked" : "", w->refused ? " refused" : "",
                        w->excused ? " excused" : "", (ull)w->versions[0], (ull)w->versions[1]);
    }
}

static void check_key(struct fleet *fleet, const struct fleet_process *process, unsigned key)
{
    const struct record *record = fleet_record_at(fleet, process, key);
    for (unsigned i = 0; i < fleet->write_count; i++) {
        const struct fleet_write *write = fleet->writes[i];
        if (write->key != key || !write->acked || write->excused)
            continue;
        for (unsigned v = 0; v < write->version_count; v++)
            if (!record || record->version < write->versions[v])
                world_fail(&fleet->world, "%s: key %u ends as version %llu, but write %u had %llu",
                           process->process.host.name, key, record ? (ull)record->version : 0, i,
                           (ull)write->versions[v]);
    }
    if (record)
        fleet_explain(fleet, key, record);
    if (fleet->world.failed)
        tell_writes(fleet, key);
}

static void check_tables(struct fleet *fleet)
{
    for (unsigned i = 0; i < FLEET_NODES_MAX; i++)
        for (unsigned key = 0; key < fleet->key_count && !fleet->world.failed; key++)
            if (fleet->processes[i].running &&
                fleet->keys[key].home[fleet_side_of(fleet, fleet->processes[i].cluster)] ==
                    fleet->processes[i].cluster)
                check_key(fleet, &fleet->processes[i], key);
}

/* Nothing is kept for clients that have gone, and a front-end without any stops at once. */
static void check_rest(struct fleet *fleet)
{
    struct world *world = &fleet->world;
    for (unsigned i = 0; i < fleet->client_count; i++)
        fleet_client_free(&fleet->clients[i]);
    pass_time(fleet, LEFT_US_MAX);
    for (unsigned i = 0; i < fleet->frontend_count && !world->failed; i++) {
        struct process *process = &fleet_frontend(fleet, i)->process;
        if (process->frontend->relays.used || server_connections(process->frontend->server))
            world_fail(world, "%s keeps %u requests of %u clients, but all have gone",
                       process->host.name, process->frontend->relays.used,
                       server_connections(process->frontend->server));
        process_drain(process);
    }
    world_event_clear(world, &fleet->start); /* who stops stays so */
    pass_time(fleet, STOP_US_MAX);
    for (unsigned i = 0; i < fleet->frontend_count && !world->failed; i++)
        if (!fleet_frontend(fleet, i)->process.stopped_us)
            world_fail(world, "%s does not stop", fleet_frontend(fleet, i)->process.host.name);
}

void fleet_check_end(struct fleet *fleet)
{
    fleet_await_agreement(fleet);
    if (!fleet->world.failed)
        check_service(fleet);
    if (!fleet->world.failed)
        fleet_await_agreement(fleet);
    if (!fleet->world.failed)
        check_tables(fleet);
    if (!fleet->world.failed)
        fleet_monitor_finale(fleet);
    if (!fleet->world.failed)
        fleet_operator_finale(fleet);
    if (!fleet->world.failed)
        check_rest(fleet);
}
