#include "judge.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef unsigned long long ull;

/* What was observed: the response, or what a mutant makes of it. */
struct seen {
    struct model_sight sight;
    unsigned status;
    bool has_etag;
};

__attribute__((format(printf, 3, 4))) static void
fail(const struct judge_place *place, const struct call *call, const char *format, ...)
{
    static const char *const kinds[] = {"read", "write", "delete", "page", "bad head"};
    char text[300];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    world_fail(&place->scene->world, "%s: %s at byte %llu: %s", place->who, kinds[call->kind],
               (ull)call->begin, text);
}

static bool status_is_among(unsigned status, const struct call_text *fixed)
{
    for (int i = 0; i < 3; i++)
        if (fixed->statuses[i] == status)
            return true;
    return false;
}

static bool call_has_etag(const struct call *call, const char *etag)
{
    for (unsigned i = 0; i < call->etag_count; i++)
        if (strcmp(call->etags[i], etag) == 0)
            return true;
    return false;
}

static bool call_ends_connection(const struct call *call)
{
    return call->close || call->old || call->kind == CALL_BAD;
}

/* What holds of every reply */

static void check_date(const struct judge_place *place, const struct call *call,
                       const struct response *response)
{
    uint64_t least_us, most_us;
    const struct scene *scene = place->scene;
    bool unasked = response->status == 503 && place->first; /* said to whoever connects */
    uint64_t from_us = unasked ? place->begun_us : call->begun_us;
    io_sim_wall_range(scene->io, from_us, scene->world.now_us, &least_us, &most_us);
    if (response->date_s < least_us / 1000000 || response->date_s > most_us / 1000000)
        fail(place, call, "Date is %llu, but the clock was between %llu and %llu",
             (ull)response->date_s, (ull)(least_us / 1000000), (ull)(most_us / 1000000));
}

static void check_close(const struct judge_place *place, const struct call *call,
                        const struct response *response)
{
    if (call_ends_connection(call) && !response->close)
        fail(place, call, "the connection was to end, but the %u does not say so",
             response->status);
    if (!call_ends_connection(call) && response->close && response->status < 400 &&
        !place->scene->draining)
        fail(place, call, "the %u ends the connection for no reason", response->status);
}

static void check_sent(const struct judge_place *place, const struct call *call, unsigned status)
{
    if (status >= 400)
        return;
    if (call->unfinished)
        fail(place, call, "%u, though the request did not end", status);
    else if (!call->sent_us)
        fail(place, call, "%u, though the request was not wholly sent yet", status);
}

/* Refusals */

static bool refusal_is_right(const struct judge_place *place, const struct call *call,
                             unsigned status)
{
    const struct scene *scene = place->scene;
    if (status == 408)
        return (place->slow || call->unfinished) &&
               scene->world.now_us >= call->begun_us + scene->limits.request_us;
    if (status == 503 && scene->crowded && place->first)
        return true;
    if (status == 503 && scene->draining)
        return true;
    switch (call->kind) {
    case CALL_BAD:
    case CALL_PAGE:
        return status_is_among(status, call->fixed) || (status == 507 && scene->limits.memory_max);
    case CALL_WRITE:
        return (status == 413 && call->too_large) || (status == 507 && scene->limits.memory_max);
    case CALL_DELETE:
        return status == 507 && scene->limits.memory_max;
    default:
        return false;
    }
}

/* A refusal says why, in one sentence. */
static void check_sentence(const struct judge_place *place, const struct call *call,
                           const struct response *response)
{
    const char *text = response->kept;
    size_t bytes = response->kept_bytes;
    if (call->head)
        return;
    if (bytes < 10 || text[bytes - 1] != '\n' || memchr(text, '\n', bytes - 1))
        fail(place, call, "the body of the %u is not one sentence", response->status);
    if (response->status == 405 && !response->has_allow)
        fail(place, call, "405 without Allow");
}

static void judge_refusal(const struct judge_place *place, struct call *call,
                          const struct response *response)
{
    place->scene->world.counts.refused++;
    place->scene->world.counts.timeouts += response->status == 408;
    if (!refusal_is_right(place, call, response->status))
        fail(place, call, "refused with %u: %.*s", response->status,
             (int)(response->kept_bytes < 200 ? response->kept_bytes : 200), response->kept);
    check_sentence(place, call, response);
    bool cut_short = call->too_large && !call->sent_us;
    if (!response->close && (cut_short || response->status == 408 || response->status == 503))
        fail(place, call, "%u without Connection: close", response->status);
    if (call->write)
        model_write_refused(&place->scene->model, call->write);
}

/* Waiting */

/* The newest version among those that the waiter knew. */
static uint64_t newest_known(const struct call *call)
{
    uint64_t newest = 0;
    for (unsigned i = 0; i < call->etag_count; i++) {
        const struct model_record *record = model_record_by_etag(call->key, call->etags[i]);
        if (record && record->version > newest)
            newest = record->version;
    }
    return newest;
}

/* Whether something was known since `since_us` for too long before this reply came. */
static bool is_late(const struct judge_place *place, const struct call *call, uint64_t since_us)
{
    if (!place->prompt || since_us == UINT64_MAX || place->scene->draining)
        return false;
    uint64_t from_us = since_us > call->sent_us ? since_us : call->sent_us;
    if (from_us < place->previous_us)
        from_us = place->previous_us;
    return place->scene->world.now_us > from_us + faults_slack_us(&place->scene->faults);
}

/* A waiter was answered since its key differs: it must hear of it soon. */
static void check_wake(const struct judge_place *place, const struct call *call)
{
    if (!call->wait_us || call_has_etag(call, "\"absent\""))
        return;
    uint64_t since_us = model_past_since(call->key, newest_known(call));
    if (is_late(place, call, since_us))
        fail(place, call, "the waiter heard late of a change at %llu us", (ull)since_us);
}

/* A waiter was told that nothing has changed: its time must be over, and it must be true of now, not only
 * of some moment since it was asked. */
static void check_wait_end(const struct judge_place *place, const struct call *call,
                           struct seen *seen)
{
    uint64_t now_us = place->scene->world.now_us;
    uint64_t slack_us = faults_slack_us(&place->scene->faults);
    if (!call->wait_us || place->scene->draining || place->shut)
        return;
    if (now_us < call->sent_us + call->wait_us)
        fail(place, call, "the wait ended after %llu of %llu us", (ull)(now_us - call->sent_us),
             (ull)call->wait_us);
    if (place->prompt && now_us > seen->sight.sent_us + slack_us)
        seen->sight.sent_us = now_us - slack_us;
}

/* Reads */

static void judge_value(const struct judge_place *place, const struct call *call, struct seen *seen,
                        const struct response *response)
{
    struct model *model = &place->scene->model;
    uint64_t *floor = &place->own_floors[call->key->number];
    if (!seen->has_etag || !response->has_version || !response->has_type)
        fail(place, call, "200 without ETag, Fog-Version or Content-Type");
    if (call_has_etag(call, seen->sight.etag))
        fail(place, call, "200 with the ETag that If-None-Match names");
    check_wake(place, call);
    *floor =
        call->head ? model_read_head(model, &seen->sight) : model_read_value(model, &seen->sight);
}

static void judge_not_modified(const struct judge_place *place, const struct call *call,
                               struct seen *seen)
{
    struct model *model = &place->scene->model;
    uint64_t *floor = &place->own_floors[call->key->number];
    place->scene->world.counts.not_modified++;
    if (!seen->has_etag || !call_has_etag(call, seen->sight.etag)) {
        fail(place, call, "304 with an ETag that If-None-Match does not name");
        return;
    }
    check_wait_end(place, call, seen);
    if (strcmp(seen->sight.etag, "\"absent\"") == 0)
        *floor = model_read_absent(model, &seen->sight);
    else
        *floor = model_read_same(model, &seen->sight);
}

static void judge_absence(const struct judge_place *place, const struct call *call,
                          struct seen *seen)
{
    place->scene->world.counts.absent++;
    if (call_has_etag(call, "\"absent\""))
        fail(place, call, "204, though If-None-Match names the ETag of absence");
    check_wake(place, call);
    place->own_floors[call->key->number] = model_read_absent(&place->scene->model, &seen->sight);
}

/* Plants a mistake in what a read observes. */
static void seen_mutate(const struct judge_place *place, const struct call *call, struct seen *seen)
{
    struct world *world = &place->scene->world;
    const struct model_key *key = call->key;
    if (seen->status != 200)
        return;
    if (key->record_count && world_mutates(world, MUTANT_STALE_VALUE, 100000)) {
        const struct model_record *record = &key->records[key->record_count / 2];
        seen->sight.version = record->version;
        seen->sight.etag = record->etag;
        seen->sight.content = record->content;
    }
    if (world_mutates(world, MUTANT_FALSE_ABSENCE, 100000))
        seen->status = 204;
    if (call->etag_count && world_mutates(world, MUTANT_FALSE_304, 200000)) {
        seen->status = 304;
        seen->sight.etag = call->etags[0];
    }
}

static void judge_read(const struct judge_place *place, const struct call *call, struct seen *seen,
                       const struct response *response)
{
    place->scene->world.counts.reads++;
    seen_mutate(place, call, seen);
    if (seen->status == 200)
        judge_value(place, call, seen, response);
    else if (seen->status == 304)
        judge_not_modified(place, call, seen);
    else if (seen->status == 204)
        judge_absence(place, call, seen);
    else
        fail(place, call, "%u", seen->status);
}

/* Writes */

static void judge_write(const struct judge_place *place, const struct call *call, struct seen *seen,
                        const struct response *response)
{
    uint64_t *floor = &place->own_floors[call->key->number];
    place->scene->world.counts.writes++;
    if (seen->status != 200) {
        fail(place, call, "%u", seen->status);
        return;
    }
    if (call->too_large)
        fail(place, call, "200, though the value is too large");
    if (!seen->has_etag || !response->has_version)
        fail(place, call, "200 without ETag or Fog-Version");
    if (response->length != 0)
        fail(place, call, "the answer to a write has a body");
    if (call->kind == CALL_DELETE && strcmp(seen->sight.etag, "\"absent\"") == 0)
        seen->sight.etag = ""; /* the ETag of no value, which tells nothing about this version */
    if (*floor && world_mutates(&place->scene->world, MUTANT_FROZEN_VERSION, 100000))
        seen->sight.version = *floor;
    *floor = model_write_acked(&place->scene->model, call->write, &seen->sight);
}

static struct seen seen_of(const struct judge_place *place, const struct call *call,
                           const struct response *response)
{
    struct seen seen = {.status = response->status, .has_etag = response->has_etag};
    int type = call_type_number(response->type);
    seen.sight = (struct model_sight){
        .key = call->key,
        .sent_us = call->sent_us,
        .own_floor = call->key ? place->own_floors[call->key->number] : 0,
        .version = response->version,
        .etag = response->etag,
        .ttl_s = response->ttl_s,
        .content =
            {
                .hash = fold_end(&response->fold),
                .bytes = response->length,
                .type = type < 0 ? UINT32_MAX : (unsigned)type,
                .expires = response->has_ttl,
            },
    };
    if (world_mutates(&place->scene->world, MUTANT_NO_ETAG, 20000))
        seen.has_etag = false;
    return seen;
}

void judge_reply(struct judge_place *place, struct call *call, const struct response *response)
{
    struct seen seen = seen_of(place, call, response);
    place->scene->world.counts.replies++;
    check_date(place, call, response);
    check_close(place, call, response);
    check_sent(place, call, response->status);
    if (response->status >= 400) {
        judge_refusal(place, call, response);
    } else if (call->kind == CALL_PAGE || call->kind == CALL_BAD) {
        place->scene->world.counts.pages++;
        if (!status_is_among(response->status, call->fixed))
            fail(place, call, "%u", response->status);
    } else if (call->kind == CALL_READ) {
        judge_read(place, call, &seen, response);
    } else {
        judge_write(place, call, &seen, response);
    }
}
