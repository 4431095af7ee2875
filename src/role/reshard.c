/* The steps of resharding:
 *
 *   LOOKING ──each cluster has a ready node, of the right partition──► COPYING ──all is copied──► BETWEEN ──nothing was new──► OVER
 *                                                                         ▲────────────something was──────┘
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "role/reshard_state.h"

static struct reshard *reshard_of(struct haul *haul)
{
    return (struct reshard *)haul;
}

/* What is read waits for what is written, and for the time that the rate gives. */
static bool reshard_is_full(const struct haul *haul)
{
    const struct reshard *reshard = (const struct reshard *)haul;
    uint64_t elapsed_us = haul->command->loop->now_us - reshard->pass_us;
    return haul->held_bytes >= HAUL_HELD_BYTES_MAX ||
           haul_rest_us(haul->command->options.rate, haul->bytes - reshard->pass_bytes,
                        elapsed_us) > 0;
}

/* Whether it says nothing that anybody still writes here. A value that has expired is a delete of the value's version from then on, in
 * both clusters, but not at the same moment: so there are always some that seem new. Who deletes a key gives it a version of now, and
 * now is later than all that the last pass has seen. */
bool reshard_is_settled(const struct source *source, const struct record *record)
{
    return record_is_tombstone(record) && record->version <= source->settled;
}

static void on_record(struct source *source, const struct record *record)
{
    struct reshard *reshard = reshard_of(source->contact.haul);
    uint32_t to = route_partition(reshard->haul.frontend->route, record_key(record));
    reshard->records++;
    if (target_add(&reshard->targets[to], record, !reshard_is_settled(source, record)) != 0)
        haul_fail(&reshard->haul, "Out of memory.");
}

static void on_merged(const struct batch *batch, uint64_t fresh)
{
    struct reshard *reshard = reshard_of(batch->target->contact.haul);
    reshard->fresh += fresh;
    if (batch->counts)
        reshard->counted += fresh;
}

static const struct haul_ops reshard_haul_ops = {
    .is_full = reshard_is_full,
    .on_record = on_record,
    .on_merged = on_merged,
};

/* Looking: are these the clusters that they should be? */

static const struct backend *find_node(const struct partition *partition, uint64_t id)
{
    for (unsigned i = 0; i < partition->backend_count; i++)
        if (id && partition->backends[i]->id == id)
            return partition->backends[i];
    return NULL;
}

/* A node that is on both sides would be proof of nothing. */
static void check_overlap(struct reshard *reshard, const struct partition *from)
{
    char address[ADDRESS_TEXT_BYTES];
    for (unsigned i = 0; i < from->backend_count; i++)
        for (unsigned to = 0; to < reshard->config->to_count; to++)
            if (find_node(reshard->targets[to].contact.partition, from->backends[i]->id))
                haul_fail(&reshard->haul, "%s is named by --from and by --to.",
                          address_format(&from->backends[i]->address, address));
}

/* By the slowest; 0 when there is none. */
static uint64_t clock_of(const struct partition *partition)
{
    uint64_t slowest_us = UINT64_MAX;
    for (unsigned i = 0; i < partition->usable_count; i++) {
        uint64_t clock_us = backend_clock_us(partition->usable[i]);
        slowest_us = clock_us < slowest_us ? clock_us : slowest_us;
    }
    return partition->usable_count ? slowest_us : 0;
}

/* After the last pass. A version of the future says nothing of when that was. */
static void source_settle(struct source *source)
{
    uint64_t seen_us = source->newest < source->clock_us ? source->newest : source->clock_us;
    source->settled = seen_us > RESHARD_SETTLED_US ? seen_us - RESHARD_SETTLED_US : 0;
    source->clock_us = clock_of(source->contact.partition);
}

/* What one member was given in the last pass, the next one is given, too, or has by now. */
static void reshard_begin_pass(struct reshard *reshard)
{
    reshard->step = RESHARD_COPYING;
    reshard->haul.flowing = true;
    reshard->pass++;
    reshard->pass_us = reshard->haul.command->loop->now_us;
    reshard->pass_bytes = reshard->haul.bytes;
    reshard->counted = reshard->records = reshard->fresh = 0;
    for (unsigned i = 0; i < reshard->config->from_count; i++) {
        struct source *source = &reshard->sources[i];
        source_settle(source);
        source_stay(source, reshard->counts_from);
        source_begin(source, 0);
    }
    for (unsigned i = 0; i < reshard->config->to_count; i++)
        target_turn(&reshard->targets[i]);
}

static void reshard_look(struct reshard *reshard)
{
    bool all = true;
    *reshard->haul.waiting = 0;
    for (unsigned i = 0; i < reshard->config->from_count; i++) {
        contact_check_named(&reshard->sources[i].contact);
        all = contact_look(&reshard->sources[i].contact) && all;
    }
    for (unsigned i = 0; i < reshard->config->to_count; i++) {
        contact_check_named(&reshard->targets[i].contact);
        all = contact_look(&reshard->targets[i].contact) && all;
    }
    for (unsigned i = 0; all && i < reshard->config->from_count; i++)
        check_overlap(reshard, reshard->sources[i].contact.partition);
    if (haul_is_over(&reshard->haul))
        return;
    if (all)
        reshard_begin_pass(reshard);
    else if (*reshard->haul.waiting)
        reshard_tell(reshard);
}

/* Copying */

static void reshard_flush(struct reshard *reshard)
{
    for (unsigned i = 0; i < reshard->config->to_count; i++)
        target_flush(&reshard->targets[i]);
}

static bool all_copied(struct reshard *reshard)
{
    for (unsigned i = 0; i < reshard->config->from_count; i++)
        if (!reshard->sources[i].done)
            return false;
    reshard_flush(reshard);
    for (unsigned i = 0; i < reshard->config->to_count; i++)
        if (!target_is_empty(&reshard->targets[i]))
            return false;
    return true;
}

/* Whether all that was read was given to one member of each new cluster. */
static bool pass_is_sound(const struct reshard *reshard)
{
    for (unsigned i = 0; i < reshard->config->to_count; i++)
        if (reshard->targets[i].broken)
            return false;
    return true;
}

/* Of two passes that read the same, both must be sound: what is there was given to one new member by the first, or found there, and by
 * the second to another one. By the second one nothing that counts was new, or somebody still writes there. Deletes that do not count may have
 * come between the two, so the next pass gives them to another member, too. By then there may be others that have come of values that
 * expired, which was told to both: that is put off once. */
void reshard_judge(struct reshard *reshard)
{
    bool sound = pass_is_sound(reshard);
    reshard->clean = sound && reshard->counted == 0 ? reshard->clean + 1 : 0;
    if (!sound)
        reshard->counts_from = reshard->pass + 2;
    else if (reshard->clean == 0 || (reshard->clean == 1 && reshard->fresh > 0))
        reshard->counts_from = reshard->pass + 1;
}

static bool all_covered(const struct reshard *reshard)
{
    for (unsigned i = 0; i < reshard->config->from_count; i++)
        if (!source_is_covered(&reshard->sources[i], reshard->counts_from))
            return false;
    return reshard->counts_from <= reshard->pass;
}

static void reshard_give_up(struct reshard *reshard)
{
    if (reshard->counted)
        haul_fail(&reshard->haul,
                  "The old clusters are still written to: restart all front-ends with "
                  "--cluster NEW --previous-cluster OLD, and run this again.");
    else
        haul_fail(&reshard->haul,
                  "Connections broke in every pass, or nodes of an old cluster do not "
                  "agree and could not all be read: run this again when they are well.");
}

static void reshard_end_pass(struct reshard *reshard)
{
    unsigned from = reshard->config->from_count, to = reshard->config->to_count;
    struct haul *haul = &reshard->haul;
    reshard->step = RESHARD_BETWEEN;
    haul->flowing = false;
    reshard_judge(reshard);
    bar_say(&haul->bar, "pass %u: %llu record%s, %llu of them %s new; %.1f s\n", reshard->pass,
            (unsigned long long)reshard->records, text_plural(reshard->records),
            (unsigned long long)reshard->fresh, text_were(reshard->fresh),
            (double)(haul->command->loop->now_us - reshard->pass_us) / 1e6);
    if (all_covered(reshard)) {
        bar_say(&haul->bar,
                "Done: every key of the %u old cluster%s is in the %u new one%s. Now restart "
                "the front-ends without --previous-cluster, then stop the old nodes.\n",
                from, from == 1 ? "" : "s", to, to == 1 ? "" : "s");
        command_end(haul->command, COMMAND_FINE);
    } else if (reshard->pass == RESHARD_PASSES_MAX) {
        reshard_give_up(reshard);
    }
}

static void reshard_copy(struct reshard *reshard)
{
    struct haul *haul = &reshard->haul;
    *haul->waiting = 0;
    if (reshard_is_full(haul))
        reshard_flush(reshard); /* else what is needed to go on might wait for more */
    for (unsigned i = 0; i < reshard->config->to_count; i++)
        target_tick(&reshard->targets[i]);
    for (unsigned i = 0; i < reshard->config->from_count; i++)
        source_tick(&reshard->sources[i]);
    if (!haul_is_over(haul))
        reshard_tell(reshard);
    if (!haul_is_over(haul) && all_copied(reshard))
        reshard_end_pass(reshard);
}

static void on_tick(struct loop_timer *timer)
{
    struct reshard *reshard =
        (struct reshard *)(void *)((char *)timer - offsetof(struct reshard, tick));
    struct loop *loop = reshard->haul.command->loop;
    if (reshard->step == RESHARD_LOOKING)
        reshard_look(reshard);
    else if (reshard->step == RESHARD_COPYING)
        reshard_copy(reshard);
    else if (loop->now_us - reshard->pass_us >= RESHARD_PASS_US)
        reshard_begin_pass(reshard);
    if (!haul_is_over(&reshard->haul))
        loop_timer_set(loop, timer, loop->now_us + HAUL_TICK_US);
}

/* Life */

static void reshard_destroy(void *state)
{
    struct reshard *reshard = state;
    command_end(reshard->haul.command, COMMAND_WRONG); /* unless it has ended */
    for (unsigned i = 0; reshard->sources && i < reshard->config->from_count; i++)
        source_free(&reshard->sources[i]);
    for (unsigned i = 0; reshard->targets && i < reshard->config->to_count; i++)
        target_free(&reshard->targets[i]);
    haul_free(&reshard->haul);
    loop_timer_release(reshard->haul.command->loop, &reshard->tick);
    free(reshard->sources);
    free(reshard->targets);
    free(reshard);
}

/* Returns 0 or -ENOMEM; what is there then is freed by reshard_destroy. */
static int reshard_init(struct reshard *reshard)
{
    const struct reshard_config *config = reshard->config;
    const struct frontend_config clusters = {
        .clusters = config->to,
        .cluster_count = config->to_count,
        .others = config->from,
        .other_count = config->from_count,
        .other_side = SIDE_PREVIOUS,
        .resolver = reshard->haul.command->resolver,
    };
    char name[HAUL_NAME_BYTES];
    if (haul_init(&reshard->haul, &clusters) != 0)
        return -ENOMEM;
    struct frontend *frontend = reshard->haul.frontend;
    reshard->sources = calloc(config->from_count, sizeof *reshard->sources);
    reshard->targets = calloc(config->to_count, sizeof *reshard->targets);
    if (!reshard->sources || !reshard->targets)
        return -ENOMEM;
    for (unsigned i = 0; i < config->from_count; i++) {
        snprintf(name, sizeof name, "--from number %u", i);
        if (source_init(&reshard->sources[i], &reshard->haul, &frontend->others[i], name) != 0)
            return -ENOMEM;
    }
    for (unsigned i = 0; i < config->to_count; i++) {
        snprintf(name, sizeof name, "--to number %u", i);
        if (target_init(&reshard->targets[i], &reshard->haul, &frontend->partitions[i], name) != 0)
            return -ENOMEM;
    }
    return 0;
}

static void *reshard_start(struct command *command)
{
    struct reshard *reshard = calloc(1, sizeof *reshard);
    if (!reshard || loop_timer_reserve(command->loop) != 0) {
        free(reshard);
        return NULL;
    }
    reshard->haul.command = command;
    reshard->haul.ops = &reshard_haul_ops;
    reshard->haul.all_deletes = true; /* a member that was cut off since before may not know them */
    reshard->haul.repeat = "What was copied so far stays; run this again when one is.";
    reshard->config = command->reshard;
    reshard->tick.on_time = on_tick;
    reshard->counts_from = 2;
    if (reshard_init(reshard) != 0) {
        reshard_destroy(reshard);
        return NULL;
    }
    loop_timer_set(command->loop, &reshard->tick, command->loop->now_us + HAUL_TICK_US);
    return reshard;
}

static void reshard_stop(void *state)
{
    struct reshard *reshard = state;
    haul_fail(&reshard->haul, "Stopped. What was copied so far stays; run this again to go on.");
}

const struct command_ops reshard_command = {reshard_start, reshard_stop, reshard_destroy};
