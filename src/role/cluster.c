#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "role/cluster_state.h"

enum {
    REPLACED_US =
        2 * 1000 * 1000, /* a member whose address another one answers at is gone after it */
    HORIZON_STEP_US_MIN =
        2 *
        CLUSTER_ANSWER_US, /* what is revived must be heard of before the next one, and deletes go in its second half */
    HORIZON_STEPS = 8,        /* of a grace period */
    SENTENCE_BYTES_MAX = 300, /* of another node's, in the log */
    KEEP_S_MIN = 3600,        /* s: who is gone is remembered for so long at least */
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

/* Requests and replies */

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

static void free_owned(void *context, void *owner)
{
    (void)context;
    free(owner);
}

void reply_owned(struct request *request, const char *type, void *data, size_t bytes)
{
    struct conn_piece piece = {data, bytes, free_owned, NULL, data};
    reply_start(request, 200);
    reply_field(request, SLICE("Content-Type"), slice_of(type));
    reply_body_ref(request, piece);
}

void log_refusal(struct cluster *cluster, const char *event, const struct address *address,
                 unsigned status, struct slice sentence)
{
    char text[ADDRESS_TEXT_BYTES], key[ADDRESS_TEXT_BYTES + SENTENCE_BYTES_MAX + 2];
    while (sentence.len > 0 && sentence.data[sentence.len - 1] == '\n')
        sentence.len--;
    int bytes = (int)(sentence.len < SENTENCE_BYTES_MAX ? sentence.len : SENTENCE_BYTES_MAX);
    snprintf(key, sizeof key, "%s %.*s", address_format(address, text), bytes, sentence.data);
    log_condition(cluster->log, LOG_WARN_LEVEL, event, key,
                  "member=%s status=%u msg=\"%.*s\" do=\"do as it says on one of the two\"", text,
                  status, bytes, sentence.data);
}

uint64_t told_before_us(const struct cluster *cluster, uint64_t patience_us)
{
    uint64_t now_us = cluster->loop->now_us;
    return now_us > patience_us ? now_us - patience_us : 0;
}

/* Digests */

static int digest_compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

void digests_sort(uint64_t *digests, unsigned count)
{
    qsort(digests, count, sizeof *digests, digest_compare);
}

bool digests_have(const uint64_t *sorted, unsigned count, uint64_t digest)
{
    return count && bsearch(&digest, sorted, count, sizeof digest, digest_compare);
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

/* Peers */

static void tell_down(const struct peer *peer, const char *why)
{
    char address[ADDRESS_TEXT_BYTES];
    address_format(&peer->member->address, address);
    if (peer->member->phase == PHASE_LEAVING) { /* what was to be expected */
        log_event(peer->cluster->log, LOG_INFO_LEVEL, "member-leaving", "member=%s id=%016llx",
                  address, (unsigned long long)peer->member->id);
        return;
    }
    log_event(peer->cluster->log, LOG_WARN_LEVEL, "member-down",
              "member=%s id=%016llx msg=\"%s\" do=\"start it again, or mend the network; if it is "
              "gone for good: curl -X DELETE HOST:PORT/-/members/%s\"",
              address, (unsigned long long)peer->member->id, why, address);
}

/* For who leaves: what came from a member that has gone may be nowhere else, so somebody has to be seen to have everything from here on. */
static void nobody_has_all(struct cluster *cluster)
{
    for (unsigned i = 1; i < cluster->members.count; i++)
        if (cluster->members.list[i]->peer)
            push_forget(cluster->members.list[i]->peer);
}

void peer_down(struct peer *peer, const char *why)
{
    if (peer->up) {
        tell_down(peer, why);
        if (peer->cluster->leaving)
            nobody_has_all(peer->cluster);
    }
    peer->up = peer->agrees = peer->knows_us = false;
    peer->gather_checked = false;
    push_stop(peer);
    repair_stop(peer);
    upstream_close(peer->control, 0);
}

static void control_on_open(struct upstream *upstream)
{
    struct peer *peer = upstream_owner(upstream);
    peer->backoff_us = 0;
    hello_send(peer);
}

static void control_on_closed(struct upstream *upstream, int error)
{
    struct peer *peer = upstream_owner(upstream);
    struct cluster *cluster = peer->cluster;
    peer->backoff_us = peer->backoff_us * 2 + CLUSTER_TICK_US;
    if (peer->backoff_us > CLUSTER_RETRY_US)
        peer->backoff_us = CLUSTER_RETRY_US;
    peer->retry_us = cluster->loop->now_us + (error ? peer->backoff_us : 0);
    if (error == -ECONNREFUSED)
        peer->member->refused_us = cluster->loop->now_us;
    peer->starved = io_is_out_of_room(error);
    if (error && peer->up)
        peer_down(peer, "the connection broke");
}

static const struct upstream_ops control_ops = {
    .on_open = control_on_open,
    .on_closed = control_on_closed,
};

static void peer_destroy(struct peer *peer)
{
    push_stop(peer);
    repair_stop(peer);
    peer->member->peer = NULL;
    if (peer->control)
        upstream_destroy(peer->control);
    if (peer->push)
        upstream_destroy(peer->push);
    if (peer->bulk)
        upstream_destroy(peer->bulk);
    free(peer->agreed_shard_us);
    free(peer);
}

static struct peer *peer_new(struct cluster *cluster, struct member *member)
{
    static const struct upstream_config config = {CLUSTER_CONNECT_US, CLUSTER_DEAD_US};
    static const struct upstream_config slow = {CLUSTER_CONNECT_US, CLUSTER_ANSWER_US};
    struct peer *peer = calloc(1, sizeof *peer);
    if (!peer)
        return NULL;
    peer->cluster = cluster;
    peer->member = member;
    peer->control = upstream_new(cluster->upstreams, &config, &control_ops, peer);
    peer->push = upstream_new(cluster->upstreams, &slow, &push_upstream_ops, peer);
    peer->bulk = upstream_new(cluster->upstreams, &slow, &repair_upstream_ops, peer);
    peer->missed = true;
    if (peer->control && peer->push && peer->bulk)
        return peer;
    peer_destroy(peer);
    return NULL;
}

/* The member of those at one address that counts; NULL when it is this one. */
static struct member *replaced_by(const struct cluster *cluster, const struct member *member)
{
    struct member *other = members_at(&cluster->members, &member->address);
    return other == member ? NULL : other;
}

static void member_gone(struct cluster *cluster, struct member *member, enum member_state state)
{
    char address[ADDRESS_TEXT_BYTES];
    member_go(member, state, cluster->loop->wall_us);
    log_event(cluster->log, LOG_INFO_LEVEL,
              state == MEMBER_DROPPED ? "member-dropped" : "member-left", "member=%s id=%016llx",
              address_format(&member->address, address), (unsigned long long)member->id);
    cluster_hurry(cluster);
}

/* Who has lost its address to another one that answers there is gone; so is who was not heard of for long. */
static void member_tick(struct cluster *cluster, struct member *member)
{
    uint64_t now_us = cluster->loop->now_us;
    struct member *other = replaced_by(cluster, member);
    if (!other)
        member->replaced_us = 0;
    else if (member->replaced_us == 0)
        member->replaced_us = now_us;
    /* What was heard before the two met may be of one that is dead. */
    bool answers = other && (other->is_self || (other->peer && other->peer->up &&
                                                other->peer->answered_us > member->replaced_us));
    if (answers && now_us > member->replaced_us + REPLACED_US)
        member_gone(cluster, member, MEMBER_LEFT);
    else if (now_us > member->heard_us + cluster->config->forget_us)
        member_gone(cluster, member, MEMBER_DROPPED);
}

void cluster_sync_peers(struct cluster *cluster)
{
    for (unsigned i = 1; i < cluster->members.count; i++) {
        struct member *member = cluster->members.list[i];
        if (member->state == MEMBER_HERE && !member->peer)
            member->peer = peer_new(cluster, member);
    }
}

static void peer_tick(struct peer *peer)
{
    struct cluster *cluster = peer->cluster;
    uint64_t now_us = cluster->loop->now_us;
    if (peer->up && now_us > peer->answered_us + CLUSTER_DEAD_US)
        peer_down(peer, "it does not answer");
    if (upstream_is_open(peer->control)) {
        if (!peer->hello.busy && now_us >= peer->hello_due_us)
            hello_send(peer);
    } else if (now_us >= peer->retry_us && now_us >= peer->quiet_us &&
               !replaced_by(cluster, peer->member)) {
        peer->retry_us = now_us + CLUSTER_RETRY_US;
        int error = upstream_connect(peer->control, &peer->member->address);
        peer->starved |= io_is_out_of_room(error);
    }
    if (peer->up)
        push_tick(peer);
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
        if (cluster->leaving)
            nobody_has_all(cluster);
    }
    uint64_t keep_us = cluster->config->forget_us > KEEP_S_MIN * 1000000ULL
                           ? cluster->config->forget_us
                           : KEEP_S_MIN * 1000000ULL;
    uint64_t wall_us = cluster->loop->wall_us;
    members_forget(&cluster->members, wall_us > keep_us ? wall_us - keep_us : 0);
}

void cluster_hurry(struct cluster *cluster)
{
    for (unsigned i = 1; i < cluster->members.count; i++)
        if (cluster->members.list[i]->peer)
            cluster->members.list[i]->peer->hello_due_us = 0;
    loop_timer_set(cluster->loop, &cluster->tick, cluster->loop->now_us);
}

static void horizon_tick(struct cluster *cluster);
static void leave_tick(struct cluster *cluster);

static void cluster_on_tick(struct loop_timer *timer)
{
    struct cluster *cluster = (struct cluster *)((char *)timer - offsetof(struct cluster, tick));
    loop_timer_set(cluster->loop, timer, cluster->loop->now_us + CLUSTER_TICK_US);
    for (unsigned i = 1; i < cluster->members.count; i++)
        if (cluster->members.list[i]->state == MEMBER_HERE)
            member_tick(cluster, cluster->members.list[i]);
    if (replaced_by(cluster, self_of(cluster)))
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
    return "This node has not gathered all keys from its cluster yet.";
}

/* Leaving */

void cluster_leave(struct cluster *cluster)
{
    if (cluster->leaving)
        return;
    cluster->leaving = true;
    cluster->leave_us = cluster->loop->now_us;
    self_of(cluster)->phase = PHASE_LEAVING;
    nobody_has_all(cluster);
    gather_end(cluster);
    cluster_hurry(cluster);
}

/* Whether a member was there when this node began to leave, and has said nothing since: it stands still or is cut off, and may be back,
 * which is all there is to hope for when nobody else has everything. A life before another one at the same address is over. */
static bool fell_silent(const struct cluster *cluster, const struct member *member)
{
    return member->refused_us <= member->heard_us &&
           member->heard_us + CLUSTER_DEAD_US >= cluster->leave_us &&
           members_at(&cluster->members, &member->address) == member;
}

/* Whether somebody who stays has all that this node has; true too when nobody stays. A newcomer is as good as a ready member here:
 * repair gives it everything. */
static bool others_have_all(struct cluster *cluster)
{
    bool done = true, someone = false, one_has = false;
    for (unsigned i = 1; i < cluster->members.count; i++) {
        const struct member *member = cluster->members.list[i];
        struct peer *peer = member->peer;
        if (member->state != MEMBER_HERE || member->phase == PHASE_LEAVING)
            continue;
        if (!peer || !peer->up) { /* it may be about to come up */
            bool starved = peer && peer->starved, alive = !member_is_down(cluster, member);
            uint64_t since_us = peer && peer->answered_us > cluster->leave_us ? peer->answered_us
                                                                              : cluster->leave_us;
            someone = someone || starved || alive || fell_silent(cluster, member);
            done =
                done && !starved && (!alive || cluster->loop->now_us > since_us + CLUSTER_DEAD_US);
            continue;
        }
        someone = true;
        done = done && push_is_done(peer);
        one_has = one_has || !peer->missed;
        if (peer->missed)
            repair_start(peer);
    }
    return done && (one_has || !someone);
}

static void goodbye(struct cluster *cluster)
{
    cluster->goodbye = true;
    member_go(self_of(cluster), MEMBER_LEFT, cluster->loop->wall_us);
    for (unsigned i = 1; i < cluster->members.count; i++) {
        struct peer *peer = cluster->members.list[i]->peer;
        if (peer && peer->up && !peer->hello.busy)
            hello_send(peer);
        else if (peer)
            peer->hello_due_us = 0;
    }
}

/* Whether the member answers, or did just now, or could not be asked, so that its connection is worth another attempt: who leaves as well
 * has no use for it. */
static bool peer_is_near(const struct peer *peer)
{
    const struct cluster *cluster = peer->cluster;
    uint64_t now_us = cluster->loop->now_us;
    if (peer->up)
        return true;
    if (peer->answered_us == 0 || peer->member->phase == PHASE_LEAVING)
        return false;
    return peer->starved || (now_us <= peer->answered_us + CLUSTER_DEAD_US &&
                             now_us >= peer->quiet_us && !member_is_down(cluster, peer->member));
}

/* Whether all that hear us have heard the goodbye. */
static bool goodbye_is_heard(const struct cluster *cluster)
{
    for (unsigned i = 1; i < cluster->members.count; i++) {
        const struct peer *peer = cluster->members.list[i]->peer;
        if (peer && !peer->told_goodbye && peer_is_near(peer))
            return false;
    }
    return true;
}

/* Others have some time to hear that this node leaves, so that nobody sends it anything any more when it ends. */
static void leave_tick(struct cluster *cluster)
{
    if (!cluster->leaving || cluster->left)
        return;
    cluster->left = cluster->goodbye && goodbye_is_heard(cluster);
    if (cluster->leaving)
        loop_timer_set(cluster->loop, &cluster->tick, cluster->loop->now_us + 5000);
}

bool cluster_has_left(struct cluster *cluster)
{
    assert(cluster->leaving);
    if (!cluster->goodbye && others_have_all(cluster))
        goodbye(cluster);
    if (cluster->goodbye && goodbye_is_heard(cluster))
        cluster->left = true;
    return cluster->left;
}

/* Changes */

void cluster_on_move(struct cluster *cluster, uint32_t shard, struct record *from,
                     struct record *to)
{
    for (unsigned i = 1; i < cluster->members.count; i++)
        if (cluster->members.list[i]->peer && cluster->members.list[i]->peer->lag)
            lag_on_move(cluster->members.list[i]->peer->lag, shard, from, to);
}

void cluster_on_drop(struct cluster *cluster, uint32_t shard, struct record *record)
{
    for (unsigned i = 1; i < cluster->members.count; i++)
        if (cluster->members.list[i]->peer && cluster->members.list[i]->peer->lag)
            lag_on_drop(cluster->members.list[i]->peer->lag, shard, record);
}

/* What all agree on */

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

void cluster_take_horizon(struct cluster *cluster, uint64_t horizon_us)
{
    if (horizon_us <= cluster->horizon_us)
        return;
    cluster->horizon_us = horizon_us;
    cluster->stepped_us = cluster->loop->now_us;
}

/* The grace period ends by the slowest clock, and in steps, so that all members let tombstones go at about the same time; between
 * two steps their tables are the same. */
static void horizon_tick(struct cluster *cluster)
{
    uint64_t grace_us = cluster->config->grace_us, step_us = grace_us / HORIZON_STEPS;
    int64_t slowest_us = 0;
    if (!cluster_is_ready(cluster))
        return;
    if (step_us < HORIZON_STEP_US_MIN)
        step_us = HORIZON_STEP_US_MIN;
    if (cluster->members.count == 1)
        step_us = 1;
    for (unsigned i = 1; i < cluster->members.count; i++) {
        const struct peer *peer = cluster->members.list[i]->peer;
        if (peer && peer->up && peer->skew_us < slowest_us)
            slowest_us = peer->skew_us;
    }
    uint64_t clock_us = cluster->loop->wall_us - (uint64_t)-slowest_us;
    if (clock_us > grace_us && clock_us <= cluster->loop->wall_us)
        cluster_take_horizon(cluster, (clock_us - grace_us) / step_us * step_us);
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
    cluster->copies_end = &cluster->copies;
    cluster->started_us = loop->now_us;
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
    cluster->started_us = cluster->waited_at_us = cluster->loop->now_us;
    self->stamp = cluster->loop->wall_us;
    self->address = *listening;
    join_start(cluster);
    loop_timer_set(cluster->loop, &cluster->tick, cluster->loop->now_us);
    gather_tick(cluster);
}
