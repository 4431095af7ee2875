/* Planted mistakes of front-ends and of commands, each where two rooms meet (the linker's --wrap leads their calls here), so that the front-end's own
 * code has none. Only one is made in a run, in the world that fleet_mutants_begin names. */
#include <stdlib.h>

#include "base/exposition.h"
#include "base/json.h"
#include "fleet.h"
#include "net/client.h"
#include "role/archive.h"
#include "role/backend.h"
#include "role/diff_list.h"
#include "role/frontend_state.h"
#include "role/lane.h"
#include "role/moving.h"
#include "role/partition.h"
#include "role/relay.h"
#include "role/reshard_state.h"
#include "role/survey_state.h"

static struct fleet *fleet;

void fleet_mutants_begin(struct fleet *begun)
{
    fleet = begun;
}

void fleet_mutants_end(void)
{
    fleet = NULL;
}

static bool mutates(enum mutant mutant, uint32_t ppm)
{
    return fleet && world_mutates(&fleet->world, mutant, ppm);
}

#define WRAP(type, name, ...)                                        \
    type __real_##name(__VA_ARGS__); /* NOLINT: the linker's name */ \
    type __wrap_##name(__VA_ARGS__); /* NOLINT */                    \
    type __wrap_##name(__VA_ARGS__)  /* NOLINT */

static bool is_of_frontend(const struct route *route)
{
    for (unsigned i = 0; i < fleet->frontend_count; i++) {
        const struct fleet_process *process = fleet_frontend(fleet, i);
        if (process->running && process->process.frontend->route == route)
            return true;
    }
    return false;
}

WRAP(uint32_t, route_partition, const struct route *route, struct slice key)
{
    uint32_t partition = __real_route_partition(route, key);
    if (fleet && fleet->world.mutant == MUTANT_ROUTE && is_of_frontend(route) &&
        mutates(MUTANT_ROUTE, 100000))
        return (partition + 1) % fleet->side_count[0];
    return partition;
}

WRAP(unsigned, relay_pieces, struct relay *relay, struct conn_piece pieces[RELAY_PIECES_MAX],
     char room[RELAY_LINES_BYTES])
{
    bool versioned = relay->versioned;
    relay->versioned |= relay->tries > 1 && mutates(MUTANT_UNVERSIONED, 1000000);
    if (mutates(MUTANT_LATE_TRY, 1000000))
        relay->late_us = UINT64_MAX;
    unsigned count = __real_relay_pieces(relay, pieces, room);
    relay->versioned = versioned;
    return count;
}

WRAP(uint64_t, frontend_version, struct frontend *frontend, uint64_t clock_us)
{
    if (mutates(MUTANT_WRONG_CLOCK, 1000000))
        return frontend->loop->wall_us;
    return __real_frontend_version(frontend, clock_us);
}

static struct backend *some_backend(const struct partition *partition)
{
    for (unsigned i = 0; i < partition->backend_count; i++)
        if (partition->backends[i]->up && !partition->backends[i]->is_ready &&
            lane_is_open(partition->backends[i]->shared))
            return partition->backends[i];
    return NULL;
}

WRAP(struct backend *, partition_choose, struct partition *partition, const struct relay *relay)
{
    struct backend *hasty = mutates(MUTANT_HASTY, 1000000) ? some_backend(partition) : NULL;
    if (hasty)
        return hasty;
    for (unsigned i = 0; i < partition->backend_count; i++)
        if (partition->backends[i] == relay->avoid && mutates(MUTANT_SAME_NODE, 1000000))
            return backend_lane(relay->avoid) ? relay->avoid : NULL;
    return __real_partition_choose(partition, relay);
}

WRAP(void, partition_park, struct partition *partition, struct relay *relay)
{
    if (!mutates(MUTANT_FORGOTTEN, 200000))
        __real_partition_park(partition, relay);
}

WRAP(struct request *, request_deferred_first, const struct request *request)
{
    return mutates(MUTANT_OVERTAKES, 1000000) ? NULL : __real_request_deferred_first(request);
}

WRAP(void, relay_send, struct relay *relay)
{
    if (relay->other && relay->write && !relay->asks_version && mutates(MUTANT_OLD_PLACE, 300000))
        relay->partition = relay->other;
    if (!relay->tries || !mutates(MUTANT_DROPPED, 200000))
        __real_relay_send(relay);
}

WRAP(void, relay_failed, struct relay *relay, bool lost)
{
    if (relay->streaming && relay->taken_bytes > 0 && mutates(MUTANT_WRONG_OFFSET, 1000000))
        relay->taken_bytes--;
    __real_relay_failed(relay, lost);
}

WRAP(void, upstream_pause, struct upstream *upstream, bool paused)
{
    if (paused || !mutates(MUTANT_STAYS_PAUSED, 300000))
        __real_upstream_pause(upstream, paused);
}

static unsigned *unfreed_of(const struct frontend *frontend)
{
    for (unsigned i = 0; i < fleet->frontend_count; i++)
        if (fleet_frontend(fleet, i)->process.frontend == frontend)
            return &fleet_frontend(fleet, i)->unfreed;
    return NULL;
}

WRAP(void, relay_free, struct relay *relay)
{
    unsigned *unfreed = mutates(MUTANT_UNFREED, 1000) ? unfreed_of(relay->frontend) : NULL;
    if (unfreed && !relay->attempt && relay->state == RELAY_ANSWERED) {
        relay->frontend->relays.used++;
        ++*unfreed;
    }
    __real_relay_free(relay);
}

/* Its pool has to be empty then. */
WRAP(void, frontend_destroy, struct frontend *frontend)
{
    unsigned *unfreed =
        fleet && fleet->world.mutant == MUTANT_UNFREED ? unfreed_of(frontend) : NULL;
    if (unfreed) {
        frontend->relays.used -= *unfreed;
        *unfreed = 0;
    }
    __real_frontend_destroy(frontend);
}

WRAP(void, relay_refuse, struct relay *relay, unsigned status, const char *sentence)
{
    if (mutates(MUTANT_FALSE_NO, 1000000))
        relay->lost = false;
    __real_relay_refuse(relay, status, sentence);
}

/* Before the one ahead of it, which has no answer yet. */
static void move_ahead(struct client *client, struct exchange *exchange)
{
    struct exchange *first = client->pending;
    if (!first || first == exchange || first->next != exchange || first->answer)
        return;
    first->next = exchange->next;
    exchange->next = first;
    client->pending = exchange;
    if (client->pending_last == exchange)
        client->pending_last = first;
}

WRAP(void, server_answer_deferred, struct request *deferred,
     void (*answer)(struct service *, struct request *))
{
    if (mutates(MUTANT_OUT_OF_ORDER, 300000))
        move_ahead(deferred->client, (struct exchange *)deferred);
    __real_server_answer_deferred(deferred, answer);
}

/* An operator's commands, and what a monitor is told */

WRAP(void, survey_judge, struct survey *survey)
{
    if (survey->count && mutates(MUTANT_FALSE_ALARM, 200000)) {
        free(survey->nodes[0]->status);
        survey->nodes[0]->status = NULL;
        survey->nodes[0]->trouble = "does not answer";
    }
    __real_survey_judge(survey);
    if (mutates(MUTANT_BLIND_STATUS, 1000000))
        survey->problem_count = 0;
}

WRAP(int, diff_list_read, struct diff_list *list, struct slice text)
{
    int error = __real_diff_list_read(list, text);
    if (error == 0 && list->count && mutates(MUTANT_BLIND_DIFF, 300000))
        list->count--;
    return error;
}

WRAP(int, archive_put, struct archive_writer *writer, const struct record *record)
{
    struct record *own = (struct record *)(uintptr_t)record; /* the source's; nobody else has it */
    if (mutates(MUTANT_THIN_BACKUP, 100000))
        return 0;
    if (mutates(MUTANT_OLD_BACKUP, 100000))
        own->version--;
    return __real_archive_put(writer, record);
}

WRAP(void, exposition_counter, struct text *text, const char *name, const char *help,
     uint64_t value)
{
    __real_exposition_counter(text, name, help,
                              mutates(MUTANT_COUNTS_BACK, 10000) ? value / 2 : value);
}

WRAP(void, json_close, struct json *json)
{
    if (!mutates(MUTANT_OPEN_JSON, 10000))
        __real_json_close(json);
}

/* Keys on the move */

WRAP(void, reshard_tell, struct reshard *reshard)
{
    if (mutates(MUTANT_EARLY_DONE, 1000000))
        command_end(reshard->haul.command, COMMAND_FINE);
    else
        __real_reshard_tell(reshard);
}

/* What is in the queue is forgotten, as if it had been answered. */
WRAP(bool, target_is_empty, const struct target *target)
{
    return mutates(MUTANT_UNANSWERED, 200000) || __real_target_is_empty(target);
}

WRAP(int, target_add, struct target *target, const struct record *record, bool counts)
{
    struct record *own = (struct record *)(uintptr_t)record; /* the reader's; nobody else has it */
    struct record_due *due = record_due(own);
    if (record_is_tombstone(record) && mutates(MUTANT_DELETE_LEFT, 1000000))
        return 0;
    if (mutates(MUTANT_LOST_RESTORE, 500000))
        return 0;
    if (due && !record_is_tombstone(record) && mutates(MUTANT_TTL_LEFT, 1000000))
        due->due_us += 3600ULL * 1000000;
    return __real_target_add(target, record, counts);
}

WRAP(bool, moving_is_older, const struct relay *relay, uint64_t version)
{
    return !mutates(MUTANT_ONLY_OWN, 1000000) && __real_moving_is_older(relay, version);
}

WRAP(void, moving_ask_version, struct relay *relay)
{
    if (mutates(MUTANT_NOT_ASKED, 1000000)) {
        relay->other_version = 0;
        relay_send(relay);
    } else {
        __real_moving_ask_version(relay);
    }
}
