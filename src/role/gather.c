/* Gathering: how a newcomer gets everything.
 *
 *   WAITING ──► CONNECTING ──► COPYING ──► CHECKING ──► DONE (ready)
 *      │             ▲            │           │
 *      │             └── another ─┘           └─ compares with each ready member that pushes to it by now
 *      └── nobody is there, or all are new and this one has the smallest number: ready at once. A member that has fallen
 *          silent may have what this node lacks, so it is waited for until it is back, is known to have ended, or is dropped
 *
 * The copy is one GET /-/records of one ready member, shard by shard; if that ends early, another member goes on where it
 * stopped, since shards are the same on all nodes. What is written meanwhile comes by push, since this node is a member already.
 * The last step closes the gaps: what was on its way to the donor when it was copied, and what was written by members that did not
 * know of this node yet. */
#include <stdio.h>
#include <stdlib.h>

#include "role/cluster_state.h"

static void gather_become_ready(struct cluster *cluster, const char *how)
{
    struct gather *gather = &cluster->gather;
    gather->step = GATHER_DONE;
    cluster->has_everything = true;
    self_of(cluster)->phase = PHASE_READY;
    log_event(cluster->log, LOG_INFO_LEVEL, "ready",
              "members=%u gathered=%llu seconds=%.3f msg=\"%s\"", cluster_members(cluster),
              (unsigned long long)gather->records,
              (double)(cluster->loop->now_us - cluster->started_us) / 1e6, how);
    news_tell(cluster);
}

static bool may_serve(const struct member *member)
{
    return member->peer && member->peer->up && member->phase == PHASE_READY;
}

/* One of the ready members, by chance; NULL when there is none. */
static struct member *pick_donor(struct cluster *cluster)
{
    unsigned count = 0;
    uint64_t chance;
    struct member *picked = NULL;
    cluster->loop->io->ops->random(cluster->loop->io, &chance, sizeof chance);
    for (unsigned i = 1; i < cluster->members.count; i++)
        if (may_serve(cluster->members.list[i]) && chance % ++count == 0)
            picked = cluster->members.list[i];
    return picked;
}

/* Whether a member that does not answer here is new as well, as somebody tells who hears it. */
static bool is_new_elsewhere(const struct cluster *cluster, const struct member *member)
{
    bool up = member->peer && member->peer->up;
    return member->state == MEMBER_HERE && !up && member->joining_us > 0 &&
           cluster->loop->now_us <= member->joining_us + CLUSTER_DEAD_US;
}

/* Whether a member is there that may yet turn out to have something. One that stops refuses connections, too, but gives what it has to
 * who stays: so an address that refuses says nothing of a member that was ready and was heard of just now. Who has had a whole copy for a
 * while does not wait for those that may never answer here: what they have, those have who hear them. */
static bool someone_is_coming(const struct cluster *cluster)
{
    uint64_t now_us = cluster->loop->now_us;
    bool late = cluster->gather.copied && now_us > cluster->gather.copied_us + CLUSTER_DEAD_US;
    for (unsigned i = 1; i < cluster->members.count; i++) {
        const struct member *member = cluster->members.list[i];
        bool up = member->peer && member->peer->up;
        if (member->state != MEMBER_HERE || now_us > member->heard_us + CLUSTER_DEAD_US ||
            members_at(&cluster->members, &member->address) != member || (late && !up))
            continue;
        if (up ? member->phase == PHASE_LEAVING : member->phase != PHASE_JOINING)
            return true;
        if (!up && member->refused_us <= member->heard_us && cluster->waited_us < CLUSTER_DEAD_US)
            return true;
    }
    return false;
}

/* A member that is silent: cut off or standing still, since an address where no process is any more refuses connections. It may have
 * what this node has not gathered yet. Who is known by hearsay only may have been ready, too. A life before another one at the same
 * address is over. */
static bool someone_is_silent(const struct cluster *cluster)
{
    for (unsigned i = 1; i < cluster->members.count; i++) {
        const struct member *member = cluster->members.list[i];
        bool up = member->peer && member->peer->up;
        if (member->state == MEMBER_HERE && !up && member->refused_us <= member->heard_us &&
            !is_new_elsewhere(cluster, member) &&
            members_at(&cluster->members, &member->address) == member)
            return true;
    }
    return false;
}

/* All are new: the one with the smallest number has as much as anybody. */
static bool is_first_of_new(const struct cluster *cluster)
{
    for (unsigned i = 1; i < cluster->members.count; i++) {
        const struct member *member = cluster->members.list[i];
        bool up = member->peer && member->peer->up;
        bool is_new = up ? member->phase != PHASE_LEAVING : is_new_elsewhere(cluster, member);
        if (is_new && member->id < self_of(cluster)->id)
            return false;
    }
    return true;
}

/* Copying */

static struct cluster *cluster_of_call(struct call *call)
{
    return (struct cluster *)((char *)call - offsetof(struct cluster, gather) -
                              offsetof(struct gather, call));
}

static void gather_drop_upstream(struct gather *gather)
{
    if (gather->upstream)
        upstream_destroy(gather->upstream);
    gather->upstream = NULL;
}

/* What was deleted since a shard was copied makes room, and may never have come by push: those who push give up on a member that is
 * silent, and a newcomer is not repaired with. */
static void gather_ask_deletes(struct cluster *cluster)
{
    struct member *donor = members_find(&cluster->members, cluster->gather.donor);
    if (donor && may_serve(donor))
        repair_start_deletes(donor->peer);
}

static void gather_stop_copying(struct cluster *cluster)
{
    struct gather *gather = &cluster->gather;
    if (gather->intake.store)
        intake_free(&gather->intake);
    gather->intake.store = NULL;
    gather->next_us = cluster->loop->now_us + (gather->full     ? REPAIR_FULL_PAUSE_US
                                               : gather->copied ? 0
                                                                : CLUSTER_TICK_US);
    gather->step = gather->copied ? GATHER_CHECKING : GATHER_WAITING;
    gather->copied_us = cluster->loop->now_us;
    if (gather->copied)
        cluster_hurry(cluster);
    if (gather->upstream)
        upstream_close(gather->upstream, 0);
    if (gather->full)
        gather_ask_deletes(cluster);
}

static void copy_on_head(struct call *call, const struct http_response *head)
{
    cluster_of_call(call)->gather.good = head->status == 200;
}

static void tell_progress(struct cluster *cluster)
{
    struct gather *gather = &cluster->gather;
    uint64_t now_us = cluster->loop->now_us, since_us = now_us - gather->tell_us;
    if (since_us < GATHER_TELL_US)
        return;
    gather->rate = (gather->bytes - gather->told_bytes) * 1000000 / since_us;
    gather->tell_us = now_us;
    gather->told_bytes = gather->bytes;
    log_event(cluster->log, LOG_INFO_LEVEL, "gathering",
              "percent=%.1f records=%llu megabytes_per_second=%.1f",
              cluster_gathered_permille(cluster) / 10.0, (unsigned long long)gather->records,
              (double)gather->rate / 1e6);
}

static void copy_on_body(struct call *call, struct slice bytes)
{
    struct cluster *cluster = cluster_of_call(call);
    struct gather *gather = &cluster->gather;
    if (!gather->good || gather->step != GATHER_COPYING)
        return;
    uint64_t before = gather->intake.reader.records;
    bool fine = intake_take(&gather->intake, bytes, cluster->loop->wall_us);
    gather->bytes += bytes.len;
    gather->records += gather->intake.reader.records - before;
    cluster->counters.gathered += gather->intake.reader.records - before;
    if (gather->intake.shard > gather->shard)
        gather->shard = gather->intake.shard;
    tell_progress(cluster);
    if (fine)
        return;
    gather->full = gather->intake.full;
    log_condition(cluster->log, LOG_ERROR_LEVEL, "gathering-failed", gather->full ? "full" : "",
                  "msg=\"%s\" do=\"%s\"",
                  gather->full ? "out of memory: this node cannot hold what its cluster holds"
                               : "the donor's records are damaged",
                  gather->full ? "restart it with the --memory-max that the others have"
                               : "look at the network between the two; another donor is asked");
    gather_stop_copying(cluster); /* so it does not end as that of a donor that was lost */
}

static void copy_on_end(struct call *call, enum call_result result)
{
    struct cluster *cluster = cluster_of_call(call);
    struct gather *gather = &cluster->gather;
    if (gather->step != GATHER_COPYING)
        return;
    gather->copied = result == CALL_DONE && gather->good && gather->bytes > 0 &&
                     wire_reader_at_end(&gather->intake.reader);
    if (!gather->copied)
        log_event(cluster->log, LOG_WARN_LEVEL, "donor-lost",
                  "donor=%016llx percent=%.1f msg=\"another one is asked for the rest\"",
                  (unsigned long long)gather->donor, cluster_gathered_permille(cluster) / 10.0);
    gather_stop_copying(cluster);
}

static const struct call_ops copy_ops = {
    .on_head = copy_on_head,
    .on_body = copy_on_body,
    .on_end = copy_on_end,
};

static void gather_on_open(struct upstream *upstream)
{
    struct cluster *cluster = upstream_owner(upstream);
    struct gather *gather = &cluster->gather;
    char head[REQUEST_HEAD_BYTES_MAX], target[64];
    if (gather->step != GATHER_CONNECTING)
        return;
    snprintf(target, sizeof target, "GET /-/records?from=%u", gather->shard);
    struct slice start = request_head(cluster, head, target, 0);
    struct conn_piece piece = {.data = start.data, .len = start.len};
    intake_init(&gather->intake, cluster->store, RECORD_VALUE_BYTES_MAX, false);
    gather->intake.shard = gather->shard;
    gather->intake.copy = true;
    gather->good = false;
    gather->step = GATHER_COPYING;
    gather->call = (struct call){.ops = &copy_ops};
    upstream_call(upstream, &gather->call, &piece, 1);
}

static void gather_on_closed(struct upstream *upstream, int error)
{
    struct cluster *cluster = upstream_owner(upstream);
    (void)error;
    if (cluster->gather.step == GATHER_CONNECTING)
        gather_stop_copying(cluster);
}

static const struct upstream_ops gather_upstream_ops = {
    .on_open = gather_on_open,
    .on_closed = gather_on_closed,
};

static void gather_copy(struct cluster *cluster, struct member *donor)
{
    static const struct upstream_config config = {CLUSTER_CONNECT_US, CLUSTER_ANSWER_US};
    struct gather *gather = &cluster->gather;
    char address[ADDRESS_TEXT_BYTES], from[sizeof address + 16];
    gather_drop_upstream(gather);
    gather->full = false;
    gather->donor = donor->id;
    gather->started_us = gather->tell_us = cluster->loop->now_us;
    gather->next_us = cluster->loop->now_us + CLUSTER_TICK_US;
    gather->upstream = upstream_new(cluster->upstreams, &config, &gather_upstream_ops, cluster);
    if (!gather->upstream || upstream_connect(gather->upstream, &donor->address) != 0)
        return;
    gather->step = GATHER_CONNECTING;
    snprintf(from, sizeof from, "%s from=%u", address_format(&donor->address, address),
             gather->shard);
    log_condition(cluster->log, LOG_INFO_LEVEL, "gathering", from, "donor=%s", from);
}

/* Steps */

/* The only members that have everything are silent. */
static bool waits_for_silent(struct cluster *cluster)
{
    bool waits = someone_is_silent(cluster);
    if (waits && !cluster->gather.waits)
        log_event(cluster->log, LOG_WARN_LEVEL, "gathering-waits",
                  "msg=\"members that were ready are silent\" do=\"mend them, or drop who is gone "
                  "for good: curl -X DELETE HOST:PORT/-/members/HOST:PORT\"");
    cluster->gather.waits = waits;
    return waits;
}

static void gather_wait(struct cluster *cluster)
{
    struct gather *gather = &cluster->gather;
    struct member *donor;
    if (cluster->loop->now_us < gather->next_us)
        return;
    if (gather->copied)
        gather->step = GATHER_CHECKING;
    else if ((donor = pick_donor(cluster))) {
        gather->waits = false;
        gather_copy(cluster, donor);
    } else if (join_is_settled(cluster) && !someone_is_coming(cluster) &&
               !waits_for_silent(cluster) && is_first_of_new(cluster))
        gather_become_ready(
            cluster, cluster->members.count > 1 ? "no member was ready before"
                     : cluster->config->join_count
                         ? "serving alone: nobody at --join has taken it in; it is tried again"
                         : "serving alone");
}

/* Who goes gives what it has to others, that may have been compared with before (tests/model): they are compared with again once
 * it has gone. */
static bool someone_goes(struct cluster *cluster)
{
    struct gather *gather = &cluster->gather;
    bool goes = someone_is_coming(cluster);
    if (goes)
        gather->changed_us = cluster->loop->now_us;
    else if (gather->changed_us < cluster->departed_us)
        gather->changed_us = cluster->departed_us;
    return goes;
}

/* Compares with each ready member, one after the other. A ready member that does not push to us yet is waited for. */
static void gather_check(struct cluster *cluster)
{
    bool goes = someone_goes(cluster), all = !goes;
    uint64_t since_us = goes ? 0 : cluster->gather.changed_us;
    for (unsigned i = 1; i < cluster->members.count; i++) {
        struct member *member = cluster->members.list[i];
        if (!may_serve(member) || member->peer->gather_checked_us > since_us)
            continue;
        all = false;
        if (member->peer->knows_us)
            repair_start(member->peer);
    }
    /* Who has yet to answer at --join may be of another part of the cluster, and then this node is of neither. */
    if (all && join_is_settled(cluster))
        gather_become_ready(cluster, "everything is gathered");
}

void gather_checked(struct peer *peer, uint64_t since_us)
{
    if (peer->cluster->gather.step != GATHER_CHECKING)
        return;
    peer->gather_checked_us = since_us;
    cluster_hurry(peer->cluster);
}

void gather_peer_up(struct cluster *cluster)
{
    if (cluster->gather.step != GATHER_DONE)
        cluster_hurry(cluster);
}

static bool donor_is_down(const struct cluster *cluster)
{
    const struct member *donor = members_find(&cluster->members, cluster->gather.donor);
    return !donor || donor->state != MEMBER_HERE || member_is_down(cluster, donor);
}

void gather_tick(struct cluster *cluster)
{
    if (cluster->leaving || cluster->refused || cluster->gather.step == GATHER_DONE) {
        if (cluster->gather.step == GATHER_DONE)
            gather_drop_upstream(&cluster->gather);
        return;
    }
    if (cluster->gather.step == GATHER_COPYING && donor_is_down(cluster))
        upstream_close(cluster->gather.upstream, 0);
    if (cluster->gather.step == GATHER_WAITING)
        gather_wait(cluster);
    else if (cluster->gather.step == GATHER_CHECKING)
        gather_check(cluster);
}

void gather_end(struct cluster *cluster)
{
    struct gather *gather = &cluster->gather;
    gather->step = GATHER_DONE;
    gather_drop_upstream(gather);
    if (gather->intake.store)
        intake_free(&gather->intake);
    gather->intake.store = NULL;
}

unsigned cluster_gathered_permille(const struct cluster *cluster)
{
    const struct gather *gather = &cluster->gather;
    if (gather->step == GATHER_DONE || gather->copied)
        return 1000;
    return gather->shard * 1000 / STORE_SHARDS;
}

uint64_t cluster_gathered_records(const struct cluster *cluster)
{
    return cluster->gather.records;
}

uint64_t cluster_gathered_bytes_per_s(const struct cluster *cluster)
{
    return cluster->gather.step == GATHER_COPYING ? cluster->gather.rate : 0;
}
