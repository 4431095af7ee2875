#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "role/cluster_state.h"

enum {
    REPLACED_US =
        2 * 1000 * 1000, /* a member whose address another one answers at is gone after it */
    HORIZON_STEP_US_MIN =
        2 *
        CLUSTER_ANSWER_US, /* what is revived must be heard of before the next one, and deletes go in its second half */
    HORIZON_STEPS = 8,           /* of a grace period */
    KEEP_S_MIN = 3600,           /* s: who is gone is remembered for so long at least */
    STILL_US = 1000 * 1000,      /* between two ticks: this node has stood still */
    WOKEN_US = 60 * 1000 * 1000, /* so long after that it drops nobody, at most */
};

const struct members *cluster_list(const struct cluster *cluster)
{
    return &cluster->members;
}

const struct cluster_counters *cluster_counters(const struct cluster *cluster)
{
    return &cluster->counters;
}

unsigned cluster_members(const struct cluster *cluster)
{
    return members_here(&cluster->members);
}

bool member_is_down(const struct cluster *cluster, const struct member *member)
{
    return !member->is_self && (cluster->loop->now_us > member->heard_us + CLUSTER_DEAD_US ||
                                member->refused_us > member->heard_us);
}

struct peer_figures cluster_peer_figures(const struct cluster *cluster, const struct member *member)
{
    const struct peer *peer = member->peer;
    if (!peer)
        return (struct peer_figures){.is_up = member->is_self,
                                     .agrees = member->is_self,
                                     .gathered_permille =
                                         member->is_self ? cluster_gathered_permille(cluster) : 0};
    return (struct peer_figures){
        .push_us = &peer->push_us,
        .is_up = !member_is_down(cluster, member),
        .skew_us = peer->skew_us,
        .lag_shards = peer->lag ? peer->lag->count : 0,
        .in_flight = peer->sending_count,
        .round_trip_us = peer->round_trip_us,
        .agrees = peer->agrees,
        .gathered_permille = member->gathered_permille,
    };
}

void cluster_tell_push(struct cluster *cluster, uint64_t p50_us, uint64_t p99_us)
{
    cluster->push_p50_us = p50_us;
    cluster->push_p99_us = p99_us;
}

/* Who sends */

struct slice request_head(const struct cluster *cluster, char room[REQUEST_HEAD_BYTES_MAX],
                          const char *method_and_target, size_t body_bytes)
{
    int len = snprintf(room, REQUEST_HEAD_BYTES_MAX,
                       "%s HTTP/1.1\r\nHost: member\r\nFog-From: %016llx\r\nContent-Length: "
                       "%zu\r\n\r\n",
                       method_and_target, (unsigned long long)self_of(cluster)->id, body_bytes);
    assert(len < REQUEST_HEAD_BYTES_MAX);
    return (struct slice){room, (size_t)len};
}

bool cluster_admits(struct cluster *cluster, const struct request *request, uint64_t *sender)
{
    const struct http_field *field = http_field_find(&request->head, HTTP_FIELD_FOG_FROM);
    struct member *member = NULL;
    *sender = 0;
    if (!field)
        return true;
    if (slice_hex(field->value, sender))
        member = members_find(&cluster->members, *sender);
    if (member && member->state == MEMBER_HERE && !member->is_self) {
        member->heard_us = cluster->loop->now_us;
        return true;
    }
    cluster->counters.refused++;
    return false;
}

/* Members */

static void member_gone(struct cluster *cluster, struct member *member, enum member_state state)
{
    char address[ADDRESS_TEXT_BYTES];
    member_go(member, state, cluster->loop->wall_us);
    log_event(cluster->log, LOG_INFO_LEVEL,
              state == MEMBER_DROPPED ? "member-dropped" : "member-left", "member=%s id=%016llx",
              address_format(&member->address, address), (unsigned long long)member->id);
    news_tell(cluster);
}

static bool hears_somebody(const struct cluster *cluster)
{
    for (unsigned i = 1; i < cluster->members.count; i++)
        if (cluster->members.list[i]->peer && cluster->members.list[i]->peer->up)
            return true;
    return false;
}

/* Not heard of for so long that it is dropped. Who has stood still itself has heard nobody, and was dropped by the others, maybe: so it
 * asks them first, and is told. Else it would serve on alone, with what it had. Who hears nobody at all is cut off, maybe, and leaves it to
 * those who still hear each other to be first: else one that comes back just then would tell all of them that they had been dropped. */
static bool is_lost(const struct cluster *cluster, const struct member *member)
{
    uint64_t now_us = cluster->loop->now_us, forget_us = cluster->config->forget_us;
    uint64_t woken_us = forget_us < WOKEN_US ? forget_us : WOKEN_US;
    uint64_t silent_us = member->heard_us + forget_us;
    return now_us > silent_us && now_us > cluster->woke_us + woken_us &&
           (now_us > silent_us + woken_us || hears_somebody(cluster));
}

static void note_still(struct cluster *cluster)
{
    uint64_t now_us = cluster->loop->now_us;
    if (now_us > cluster->ticked_us + STILL_US)
        cluster->woke_us = now_us;
    cluster->ticked_us = now_us;
}

/* Who has lost its address to another one that answers there is gone; so is who was not heard of for long. */
static void member_tick(struct cluster *cluster, struct member *member)
{
    uint64_t now_us = cluster->loop->now_us;
    struct member *other = members_replaced_by(&cluster->members, member);
    if (!other)
        member->replaced_us = 0;
    else if (member->replaced_us == 0)
        member->replaced_us = now_us;
    /* What was asked before the two met may have been answered by one that is dead. */
    bool answers = other && (other->is_self || (other->peer && other->peer->up &&
                                                other->peer->asked_us > member->replaced_us));
    if (answers && now_us > member->replaced_us + REPLACED_US)
        member_gone(cluster, member, MEMBER_LEFT);
    else if (is_lost(cluster, member))
        member_gone(cluster, member, MEMBER_DROPPED);
}

bool cluster_has_member_at(const struct cluster *cluster, const struct address *address)
{
    for (unsigned i = 1; i < cluster->members.count; i++) {
        const struct member *member = cluster->members.list[i];
        if (member->state == MEMBER_HERE &&
            memcmp(member->address.ip, address->ip, sizeof address->ip) == 0)
            return true;
    }
    return false;
}

void cluster_sync_peers(struct cluster *cluster)
{
    for (unsigned i = 1; i < cluster->members.count; i++) {
        struct member *member = cluster->members.list[i];
        if (member->state == MEMBER_HERE && !member->peer)
            member->peer = peer_new(cluster, member);
    }
}

uint64_t cluster_forgets_before_us(const struct cluster *cluster)
{
    uint64_t keep_us = cluster->config->forget_us > KEEP_S_MIN * 1000000ULL
                           ? cluster->config->forget_us
                           : KEEP_S_MIN * 1000000ULL;
    uint64_t wall_us = cluster->loop->wall_us;
    return wall_us > keep_us ? wall_us - keep_us : 0;
}

/* After a member has gone: at a place where none of its callbacks is under way. */
static void cluster_drop_peers(struct cluster *cluster)
{
    for (unsigned i = 1; i < cluster->members.count; i++) {
        struct member *member = cluster->members.list[i];
        if (member->state == MEMBER_HERE || !member->peer)
            continue;
        peer_destroy(member->peer);
        cluster->departed_us = cluster->loop->now_us;
        leave_look_again(cluster);
    }
    members_forget(&cluster->members, cluster_forgets_before_us(cluster));
}

void cluster_hurry(struct cluster *cluster)
{
    loop_timer_set(cluster->loop, &cluster->tick, cluster->loop->now_us);
}

static void horizon_tick(struct cluster *cluster);

/* From here on others count, too: the horizon of who was alone went by its own clock, which may be wrong. Not before the tick, so that
 * who asks it first is still told that it was alone, and so has not been forgotten by anybody, or has nothing to tell of a horizon. */
static void end_alone(struct cluster *cluster)
{
    cluster->agreement.alone = false;
    cluster->horizon_us = 0;
    if (cluster->joined)
        return;
    cluster->joined = true;
    cluster->since_us = cluster->loop->wall_us;
}

static void cluster_on_tick(struct loop_timer *timer)
{
    struct cluster *cluster = (struct cluster *)((char *)timer - offsetof(struct cluster, tick));
    loop_timer_set(cluster->loop, timer, cluster->loop->now_us + CLUSTER_TICK_US);
    note_still(cluster);
    if (cluster->members.count == 1)
        cluster->agreement.alone = true;
    else if (cluster->agreement.alone)
        end_alone(cluster);
    news_tick(cluster);
    for (unsigned i = 1; i < cluster->members.count; i++)
        if (cluster->members.list[i]->state == MEMBER_HERE)
            member_tick(cluster, cluster->members.list[i]);
    if (members_replaced_by(&cluster->members, self_of(cluster)))
        join_check_self(cluster);
    cluster_drop_peers(cluster);
    cluster_sync_peers(cluster);
    for (unsigned i = 1; i < cluster->members.count; i++)
        if (cluster->members.list[i]->peer)
            peer_tick(cluster->members.list[i]->peer);
    horizon_tick(cluster);
    join_tick(cluster);
    gather_tick(cluster);
    leave_tick(cluster);
}

/* Readiness */

bool cluster_has_everything(const struct cluster *cluster)
{
    return cluster->has_everything;
}

bool cluster_is_ready(const struct cluster *cluster)
{
    return self_of(cluster)->phase == PHASE_READY && !cluster->refused;
}

const char *cluster_why_unready(const struct cluster *cluster)
{
    if (cluster->refused)
        return cluster->refused;
    if (self_of(cluster)->phase == PHASE_LEAVING)
        return "This node is stopping.";
    if (cluster->gather.waits)
        return "This node waits for members that were ready and are silent, since they have what "
               "it "
               "has not gathered (DELETE /-/members/HOST:PORT drops one that is gone for good).";
    if (cluster->gather.full)
        return "This node is out of memory: it cannot hold what its cluster holds (restart it with "
               "the --memory-max that the others have).";
    return "This node has not gathered all keys from its cluster yet.";
}

/* What all agree on */

uint64_t told_before_us(const struct cluster *cluster, uint64_t patience_us)
{
    uint64_t now_us = cluster->loop->now_us;
    return now_us > patience_us ? now_us - patience_us : 0;
}

static struct cluster *cluster_of_agreement(struct store_agreement *agreement)
{
    return (struct cluster *)((char *)agreement - offsetof(struct cluster, agreement));
}

static uint64_t agreement_clock_us(struct store_agreement *agreement)
{
    return cluster_of_agreement(agreement)->loop->now_us + 1;
}

static uint64_t agreement_agreed_us(struct store_agreement *agreement, uint32_t shard)
{
    return cluster_agreed_us(cluster_of_agreement(agreement), shard);
}

static uint64_t agreement_horizon_us(struct store_agreement *agreement)
{
    return cluster_of_agreement(agreement)->horizon_us;
}

uint64_t cluster_horizon_us(const struct cluster *cluster)
{
    return cluster->agreement.alone ? 0 : cluster->horizon_us;
}

void cluster_take_horizon(struct cluster *cluster, uint64_t horizon_us)
{
    if (horizon_us <= cluster->horizon_us)
        return;
    cluster->horizon_us = horizon_us;
    cluster->stepped_us = cluster->loop->now_us;
}

void cluster_note_clock(struct cluster *cluster)
{
    uint64_t ahead_us = cluster->loop->wall_us - cluster->loop->now_us;
    int64_t set_us = (int64_t)(ahead_us - cluster->clock_ahead_us);
    cluster->clock_ahead_us = ahead_us;
    for (unsigned i = 1; i < cluster->members.count && set_us; i++) {
        struct peer *peer = cluster->members.list[i]->peer;
        if (peer && peer->measured)
            peer->skew_us -= set_us;
    }
}

/* How far the slowest clock is behind this node's, that of a member that is down just now too. Returns false when that is not known: a
 * member was not asked yet, or all have gone, and may be back at once in new lives. */
static bool find_slowest(const struct cluster *cluster, uint64_t *behind_us)
{
    const struct members *members = &cluster->members;
    int64_t slowest_us = 0;
    if (members->count > 1 && members_here(members) == 1)
        return false;
    for (unsigned i = 1; i < members->count; i++) {
        const struct member *member = members->list[i];
        bool measured = member->peer && member->peer->measured;
        if (member->state == MEMBER_HERE && !measured && !member_is_down(cluster, member))
            return false;
        if (measured && member->peer->skew_us < slowest_us)
            slowest_us = member->peer->skew_us;
    }
    *behind_us = (uint64_t)-slowest_us;
    return true;
}

/* The grace period ends by the slowest clock, and in steps, so that all members let tombstones go at about the same time; between
 * two steps their tables are the same. */
static void horizon_tick(struct cluster *cluster)
{
    uint64_t grace_us = cluster->config->grace_us, step_us = grace_us / HORIZON_STEPS, behind_us;
    cluster_note_clock(cluster);
    if (!cluster_is_ready(cluster) || !find_slowest(cluster, &behind_us))
        return;
    if (step_us < HORIZON_STEP_US_MIN)
        step_us = HORIZON_STEP_US_MIN;
    if (cluster->members.count == 1)
        step_us = 1;
    uint64_t clock_us = cluster->loop->wall_us - behind_us;
    if (clock_us > grace_us && clock_us <= cluster->loop->wall_us)
        cluster_take_horizon(cluster, (clock_us - grace_us) / step_us * step_us);
}

/* How many of the clocks that are known, this node's and those of members, are behind its own by more than this; *known is how many these are. */
static unsigned clocks_behind(const struct cluster *cluster, int64_t skew_us, unsigned *known)
{
    unsigned behind = 0;
    *known = 1;
    for (unsigned i = 1; i < cluster->members.count; i++) {
        const struct peer *peer = cluster->members.list[i]->peer;
        if (!peer || !peer->measured)
            continue;
        ++*known;
        behind += peer->skew_us < skew_us;
    }
    return behind;
}

static uint64_t expiry_by_clocks(struct cluster *cluster)
{
    int64_t median_us = INT64_MIN;
    unsigned known;
    cluster_note_clock(cluster);
    if (clocks_behind(cluster, -CLUSTER_SKEW_US, &known) <= (known - 1) / 2)
        return cluster->loop->wall_us;
    for (unsigned i = 1; i < cluster->members.count; i++) {
        const struct peer *peer = cluster->members.list[i]->peer;
        if (peer && peer->measured && peer->skew_us > median_us &&
            clocks_behind(cluster, peer->skew_us, &known) <= (known - 1) / 2)
            median_us = peer->skew_us;
    }
    uint64_t behind_us = -(uint64_t)median_us;
    return behind_us < cluster->loop->wall_us ? cluster->loop->wall_us - behind_us : 0;
}

/* What is measured of others' clocks trembles. A step back makes the wheel look at all that has a time to live. */
uint64_t cluster_expiry_us(struct cluster *cluster)
{
    uint64_t us = expiry_by_clocks(cluster), last_us = cluster->expiry_us;
    cluster->expiry_us = us < last_us && last_us - us < 2 * CLUSTER_SKEW_US ? last_us : us;
    return cluster->expiry_us;
}

/* Life */

static void cluster_on_turn_end(struct loop_hook *hook)
{
    push_turn_end((struct cluster *)((char *)hook - offsetof(struct cluster, hook)));
}

static uint64_t cluster_draw_id(struct loop *loop)
{
    uint64_t id = 0;
    while (id == 0)
        loop->io->ops->random(loop->io, &id, sizeof id);
    return id;
}

struct cluster *cluster_new(struct loop *loop, struct log *log, struct store *store,
                            const struct node_config *config)
{
    struct cluster *cluster = calloc(1, sizeof *cluster);
    if (!cluster || loop_timer_reserve(loop) != 0) {
        free(cluster);
        return NULL;
    }
    cluster->loop = loop;
    cluster->log = log;
    cluster->store = store;
    cluster->config = config;
    cluster->started_us = loop->now_us;
    cluster->agreement.alone = true;
    cluster->tick.on_time = cluster_on_tick;
    cluster->hook.on_turn_end = cluster_on_turn_end;
    cluster->agreement.clock_us = agreement_clock_us;
    cluster->agreement.agreed_us = agreement_agreed_us;
    cluster->agreement.horizon_us = agreement_horizon_us;
    loop_hook_add(loop, &cluster->hook);
    cluster->upstreams = upstreams_new(loop);
    cluster->scratch = malloc(HELLO_BYTES_MAX);
    int error = batch_init(&cluster->batch, store_heap(store));
    error |= batch_init(&cluster->spare, store_heap(store));
    error |= members_init(&cluster->members, cluster_draw_id(loop), loop->wall_us);
    if (cluster->upstreams && cluster->scratch && !error) {
        store_agree(store, &cluster->agreement);
        return cluster;
    }
    cluster_destroy(cluster);
    return NULL;
}

void cluster_destroy(struct cluster *cluster)
{
    store_agree(cluster->store, NULL);
    join_end(cluster);
    gather_end(cluster);
    for (unsigned i = 1; i < cluster->members.count; i++)
        if (cluster->members.list[i]->peer)
            peer_destroy(cluster->members.list[i]->peer);
    batch_free(&cluster->batch);
    batch_free(&cluster->spare);
    loop_run_deferred(cluster->loop);
    if (cluster->upstreams)
        upstreams_destroy(cluster->upstreams);
    members_free(&cluster->members);
    loop_hook_remove(cluster->loop, &cluster->hook);
    loop_timer_release(cluster->loop, &cluster->tick);
    free(cluster->scratch);
    free(cluster);
}

void cluster_start(struct cluster *cluster, const struct address *listening)
{
    struct member *self = self_of(cluster);
    cluster->listening = *listening;
    cluster->started = true;
    cluster->started_us = cluster->waited_at_us = cluster->ticked_us = cluster->loop->now_us;
    self->stamp = cluster->since_us = cluster->loop->wall_us;
    cluster_note_clock(cluster);
    self->address = *listening;
    join_start(cluster);
    loop_timer_set(cluster->loop, &cluster->tick, cluster->loop->now_us);
    gather_tick(cluster);
}
