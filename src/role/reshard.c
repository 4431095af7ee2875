/* The steps of resharding:
 *
 *   LOOKING ──each cluster has a ready node, of the right partition──► COPYING ──all is copied──► BETWEEN ──nothing was new──► OVER
 *                                                                         ▲────────────something was──────┘
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "role/reshard_state.h"

static void reshard_end(struct reshard *reshard, enum reshard_result result)
{
    reshard->step = RESHARD_OVER;
    reshard->result = result;
    reshard->loop->stopped = true;
}

void reshard_fail(struct reshard *reshard, const char *format, ...)
{
    va_list arguments;
    if (reshard->step == RESHARD_OVER)
        return;
    va_start(arguments, format);
    vsnprintf(reshard->config.failure, RESHARD_FAILURE_BYTES, format, arguments);
    va_end(arguments);
    if (reshard->line_open)
        reshard_say(reshard, "%s", "");
    reshard_end(reshard, RESHARD_FAILED);
}

/* What is read waits for what is written, and for the time that the rate gives. */
bool reshard_is_full(const struct reshard *reshard)
{
    uint64_t rate = reshard->config.rate;
    uint64_t elapsed_us = reshard->loop->now_us - reshard->pass_us;
    return reshard->held_bytes >= RESHARD_HELD_BYTES_MAX ||
           (rate &&
            reshard->bytes / rate * 1000000 + reshard->bytes % rate * 1000000 / rate > elapsed_us);
}

/* Contacts */

char *contact_name(const struct contact *contact, char out[32])
{
    const struct partition *partition = contact->partition;
    bool from = partition->frontend->previous &&
                partition == &partition->frontend->previous[partition->number];
    snprintf(out, 32, "--%s number %u", from ? "from" : "to", partition->number);
    return out;
}

int contact_init(struct reshard *reshard, struct contact *contact, struct partition *partition,
                 const struct upstream_ops *ops, void *owner)
{
    static const struct upstream_config config = {RESHARD_CONNECT_US, RESHARD_ANSWER_US};
    contact->partition = partition;
    contact->upstream = upstream_new(reshard->frontend->upstreams, &config, ops, owner);
    return contact->upstream ? 0 : -ENOMEM;
}

void contact_free(struct contact *contact)
{
    if (contact->upstream)
        upstream_destroy(contact->upstream);
}

void contact_closed(struct reshard *reshard, struct contact *contact, int error)
{
    contact->busy = false;
    contact->next_us = reshard->loop->now_us + (error ? RESHARD_RETRY_US : 0);
    contact->turn++;
}

static bool is_usable(const struct contact *contact)
{
    const struct partition *partition = contact->partition;
    for (unsigned i = 0; i < partition->usable_count; i++)
        if (address_equal(&partition->usable[i]->address, &contact->address))
            return true;
    return false;
}

static void contact_connect(struct contact *contact)
{
    const struct partition *partition = contact->partition;
    contact->address = partition->usable[contact->turn % partition->usable_count]->address;
    contact->busy = upstream_connect(contact->upstream, &contact->address) == 0;
}

/* Nobody is ready: for how long is that to be borne? */
static void contact_lost(struct reshard *reshard, struct contact *contact)
{
    char name[32];
    uint64_t now_us = reshard->loop->now_us;
    contact_name(contact, name);
    if (!contact->lost_us)
        contact->lost_us = now_us;
    snprintf(reshard->waiting, sizeof reshard->waiting, "a node of %s that is ready", name);
    if (now_us - contact->lost_us >= RESHARD_LOST_US)
        reshard_fail(reshard,
                     "No node of %s is ready. What was copied so far stays; run this again "
                     "when one is.",
                     name);
}

bool contact_tend(struct reshard *reshard, struct contact *contact)
{
    if (contact->partition->usable_count == 0)
        contact_lost(reshard, contact);
    else
        contact->lost_us = 0;
    if (contact->busy && !is_usable(contact))
        upstream_close(contact->upstream, -ECONNRESET);
    else if (!contact->busy && contact->partition->usable_count > 0 &&
             reshard->loop->now_us >= contact->next_us)
        contact_connect(contact);
    return upstream_is_open(contact->upstream);
}

/* Looking: are these the clusters that they should be? */

static bool check_partition(struct reshard *reshard, const struct contact *contact)
{
    char name[32], address[ADDRESS_TEXT_BYTES];
    const struct partition *partition = contact->partition;
    contact_name(contact, name);
    for (unsigned i = 0; i < partition->backend_count; i++) {
        const struct backend *backend = partition->backends[i];
        if (!backend->wrong)
            continue;
        reshard_fail(reshard,
                     "%s is named as partition %u of %u (%s), but says that it is %s. Each cluster "
                     "must be named once, in the order of partitions.",
                     address_format(&backend->address, address), partition->number,
                     partition->count, name, backend->says);
        return false;
    }
    return partition->usable_count > 0;
}

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
        for (unsigned to = 0; to < reshard->config.to_count; to++)
            if (find_node(reshard->targets[to].contact.partition, from->backends[i]->id))
                reshard_fail(reshard, "%s is named by --from and by --to.",
                             address_format(&from->backends[i]->address, address));
}

static void reshard_begin_pass(struct reshard *reshard)
{
    reshard->step = RESHARD_COPYING;
    reshard->pass++;
    reshard->pass_us = reshard->loop->now_us;
    reshard->counted = reshard->records = reshard->bytes = reshard->fresh = 0;
    for (unsigned i = 0; i < reshard->config.from_count; i++)
        source_begin(&reshard->sources[i]);
    for (unsigned i = 0; i < reshard->config.to_count; i++)
        target_begin(&reshard->targets[i]);
}

/* Whether there is a node of it to begin with; or it fails. */
static bool look_at(struct reshard *reshard, struct contact *contact)
{
    if (check_partition(reshard, contact))
        return true;
    contact_lost(reshard, contact);
    return false;
}

static void reshard_look(struct reshard *reshard)
{
    bool all = true;
    for (unsigned i = 0; i < reshard->config.from_count; i++)
        all = look_at(reshard, &reshard->sources[i].contact) && all;
    for (unsigned i = 0; i < reshard->config.to_count; i++)
        all = look_at(reshard, &reshard->targets[i].contact) && all;
    for (unsigned i = 0; all && i < reshard->config.from_count; i++)
        check_overlap(reshard, reshard->sources[i].contact.partition);
    if (all && reshard->step == RESHARD_LOOKING)
        reshard_begin_pass(reshard);
}

/* Copying */

static void reshard_flush(struct reshard *reshard)
{
    for (unsigned i = 0; i < reshard->config.to_count; i++)
        target_flush(&reshard->targets[i]);
}

static bool all_copied(struct reshard *reshard)
{
    for (unsigned i = 0; i < reshard->config.from_count; i++)
        if (!reshard->sources[i].done)
            return false;
    reshard_flush(reshard);
    for (unsigned i = 0; i < reshard->config.to_count; i++)
        if (!target_is_empty(&reshard->targets[i]))
            return false;
    return true;
}

/* Whether everything that was read was there already, at one member of each new cluster: what one had and another one had not yet
 * may have been lost with it. */
static bool pass_is_clean(const struct reshard *reshard)
{
    bool broken = false;
    for (unsigned i = 0; i < reshard->config.to_count; i++)
        broken = broken || reshard->targets[i].broken;
    return reshard->counted == 0 && !broken;
}

static bool all_covered(const struct reshard *reshard)
{
    for (unsigned i = 0; i < reshard->config.from_count; i++)
        if (!source_is_covered(&reshard->sources[i], reshard->clean_from))
            return false;
    return true;
}

static void reshard_give_up(struct reshard *reshard)
{
    if (reshard->counted)
        reshard_fail(reshard, "The old clusters are still written to: restart all front-ends with "
                              "--cluster NEW --previous-cluster OLD, and run this again.");
    else
        reshard_fail(reshard,
                     "Connections broke in every pass, or nodes of an old cluster do not "
                     "agree and could not all be read: run this again when they are well.");
}

static void reshard_end_pass(struct reshard *reshard)
{
    unsigned from = reshard->config.from_count, to = reshard->config.to_count;
    reshard->step = RESHARD_BETWEEN;
    if (!pass_is_clean(reshard))
        reshard->clean_from = reshard->pass + 1;
    reshard_say(reshard, "pass %u: %llu records, %llu of them were new; %.1f s\n", reshard->pass,
                (unsigned long long)reshard->records, (unsigned long long)reshard->fresh,
                (double)(reshard->loop->now_us - reshard->pass_us) / 1e6);
    if (pass_is_clean(reshard) && all_covered(reshard)) {
        reshard_say(reshard,
                    "Done: every key of the %u old cluster%s is in the %u new one%s. Now restart "
                    "the front-ends without --previous-cluster, then stop the old nodes.\n",
                    from, from == 1 ? "" : "s", to, to == 1 ? "" : "s");
        reshard_end(reshard, RESHARD_DONE);
    } else if (reshard->pass == RESHARD_PASSES_MAX) {
        reshard_give_up(reshard);
    }
}

static void reshard_copy(struct reshard *reshard)
{
    *reshard->waiting = 0;
    if (reshard_is_full(reshard))
        reshard_flush(reshard); /* else what is needed to go on might wait for more */
    for (unsigned i = 0; i < reshard->config.to_count; i++)
        target_tick(&reshard->targets[i]);
    for (unsigned i = 0; i < reshard->config.from_count; i++)
        source_tick(&reshard->sources[i]);
    if (reshard->step == RESHARD_COPYING)
        reshard_tell(reshard);
    if (reshard->step == RESHARD_COPYING && all_copied(reshard))
        reshard_end_pass(reshard);
}

static void on_tick(struct loop_timer *timer)
{
    struct reshard *reshard =
        (struct reshard *)(void *)((char *)timer - offsetof(struct reshard, tick));
    struct loop *loop = reshard->loop;
    if (reshard->step == RESHARD_LOOKING)
        reshard_look(reshard);
    else if (reshard->step == RESHARD_COPYING)
        reshard_copy(reshard);
    else if (reshard->step == RESHARD_BETWEEN && loop->now_us - reshard->pass_us >= RESHARD_PASS_US)
        reshard_begin_pass(reshard);
    if (reshard->step != RESHARD_OVER)
        loop_timer_set(loop, timer, loop->now_us + RESHARD_TICK_US);
}

/* Life */

static void log_nothing(void *sink, const char *line, unsigned bytes)
{
    (void)sink, (void)line, (void)bytes;
}

static uint64_t no_clock(void *clock)
{
    (void)clock;
    return 0;
}

/* Returns 0 or -ENOMEM; what is there then is freed by reshard_destroy. */
static int reshard_init(struct reshard *reshard)
{
    const struct reshard_config *config = &reshard->config;
    const struct frontend_config inner = {
        .clusters = config->to,
        .cluster_count = config->to_count,
        .previous = config->from,
        .previous_count = config->from_count,
        .resolver = config->resolver,
    };
    reshard->log = (struct log){
        .level = LOG_ERROR_LEVEL, .journald = false, .wall_us = no_clock, .write = log_nothing};
    reshard->heap = heap_new(0);
    reshard->frontend = frontend_new(reshard->loop, &reshard->log, &inner);
    reshard->sources = calloc(config->from_count, sizeof *reshard->sources);
    reshard->targets = calloc(config->to_count, sizeof *reshard->targets);
    if (!reshard->heap || !reshard->frontend || !reshard->sources || !reshard->targets)
        return -ENOMEM;
    for (unsigned i = 0; i < config->from_count; i++)
        if (source_init(&reshard->sources[i], reshard, &reshard->frontend->previous[i]) != 0)
            return -ENOMEM;
    for (unsigned i = 0; i < config->to_count; i++)
        if (target_init(&reshard->targets[i], reshard, &reshard->frontend->partitions[i]) != 0)
            return -ENOMEM;
    return 0;
}

struct reshard *reshard_new(struct loop *loop, const struct reshard_config *config)
{
    struct reshard *reshard = calloc(1, sizeof *reshard);
    if (!reshard || loop_timer_reserve(loop) != 0) {
        free(reshard);
        return NULL;
    }
    reshard->loop = loop;
    reshard->config = *config;
    reshard->tick.on_time = on_tick;
    reshard->clean_from = 1;
    if (reshard_init(reshard) != 0) {
        reshard_destroy(reshard);
        return NULL;
    }
    loop_timer_set(loop, &reshard->frontend->tick, loop->now_us);
    loop_timer_set(loop, &reshard->tick, loop->now_us + RESHARD_TICK_US);
    return reshard;
}

void reshard_destroy(struct reshard *reshard)
{
    reshard->step = RESHARD_OVER;
    for (unsigned i = 0; reshard->sources && i < reshard->config.from_count; i++)
        source_free(&reshard->sources[i]);
    for (unsigned i = 0; reshard->targets && i < reshard->config.to_count; i++)
        target_free(&reshard->targets[i]);
    if (reshard->frontend)
        frontend_destroy(reshard->frontend);
    if (reshard->heap)
        heap_destroy(reshard->heap);
    loop_timer_release(reshard->loop, &reshard->tick);
    free(reshard->sources);
    free(reshard->targets);
    free(reshard);
}

void reshard_stop(struct reshard *reshard)
{
    reshard_fail(reshard, "Stopped. What was copied so far stays; run this again to go on.");
}

enum reshard_result reshard_result(const struct reshard *reshard)
{
    return reshard->result;
}
