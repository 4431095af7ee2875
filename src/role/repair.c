/* Repair: what differs between two members is found and mended, in both directions, by one of the two.
 *
 *   hello      the digests of both tables differ
 *   groups     ours of each group ──► which groups differ
 *   shards     ours of each shard of these ──► which shards differ
 *   digests    some of these shards ──► its digest of each record
 *   records    what it has and we have not ◄── asked for by these digests;  what we have and it has not ──► POST /-/merge
 *              (and on with the next shards)
 *
 * Nothing of this is remembered between two steps but the shards that are left: what differs is found anew from the table as it is
 * when an answer comes, so writes may go on all the time. What is on its way by push looks like a difference too, for a moment: then
 * a record comes twice.
 *
 * When one of the two has no room for a value, the next repair between them tells deletes only, of all shards and in both directions: they
 * make room, and would otherwise never come when they stand behind that value. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/big.h"
#include "role/cluster_state.h"

/* Who repairs with whom: one at a time */

bool repair_is_busy(const struct cluster *cluster, uint64_t with)
{
    return cluster->repairing_with != with && cluster->loop->now_us < cluster->repairing_until_us;
}

void repair_lease(struct cluster *cluster, uint64_t with)
{
    cluster->repairing_with = with;
    cluster->repairing_until_us = cluster->loop->now_us + REPAIR_LEASE_US;
}

void repair_unlease(struct cluster *cluster, uint64_t with)
{
    if (cluster->repairing_with == with)
        cluster->repairing_until_us = 0;
}

/* The end of one */

static void repair_drop_todo(struct repair *repair)
{
    free(repair->todo);
    repair->todo = NULL;
    repair->todo_count = repair->todo_at = repair->todo_next = repair->told = 0;
}

static void repair_next_shard(struct repair *repair)
{
    repair->todo_at++;
    repair->told = 0;
}

static void repair_reset(struct repair *repair)
{
    if (repair->pulling || repair->intake.store)
        intake_free(&repair->intake);
    repair->intake.store = NULL;
    repair_drop_todo(repair);
    repair->pulling = repair->pushing = repair->failed = false;
    repair->step = REPAIR_IDLE;
}

/* Whether they differ, though neither had anything to tell the other: in what is past the grace period and only one of them has buried yet. */
static bool was_in_vain(const struct peer *peer, bool whole)
{
    const struct repair *repair = &peer->repair;
    return whole && !repair->pulled && !repair->pushed &&
           peer->cluster->gather.step != GATHER_CHECKING;
}

/* As long as one of the two is full, they differ, and comparing all of two large tables is dear. Who leaves has no time for more
 * than one, though. */
static uint64_t pause_after(const struct peer *peer, bool whole)
{
    const struct repair *repair = &peer->repair;
    bool rests = repair->full || repair->deletes || was_in_vain(peer, whole);
    uint64_t pause_us = whole && !repair->full ? 0 : REPAIR_PAUSE_US;
    if (!rests || repair->takes || peer->cluster->leaving)
        return pause_us;
    uint64_t rest_us = repair->compared * REPAIR_FULL_REST_US;
    if (repair->full)
        pause_us = REPAIR_FULL_PAUSE_US;
    return pause_us > rest_us ? pause_us : rest_us;
}

static void repair_end(struct peer *peer, bool whole)
{
    struct cluster *cluster = peer->cluster;
    struct repair *repair = &peer->repair;
    char address[ADDRESS_TEXT_BYTES];
    if (repair->step == REPAIR_IDLE)
        return;
    bool full = repair->full, deletes = repair->deletes;
    repair->next_us = cluster->loop->now_us + pause_after(peer, whole);
    if (whole && (repair->pulled || repair->pushed))
        log_event(cluster->log, LOG_INFO_LEVEL, "repaired",
                  "member=%s pulled=%llu pushed=%llu seconds=%.3f",
                  address_format(&peer->member->address, address),
                  (unsigned long long)repair->pulled, (unsigned long long)repair->pushed,
                  (double)(cluster->loop->now_us - repair->started_us) / 1e6);
    if (full)
        log_condition(cluster->log, LOG_ERROR_LEVEL, "repair-full",
                      address_format(&peer->member->address, address),
                      "member=%s msg=\"it or this node is out of memory, so the two differ\" "
                      "do=\"give all nodes of the cluster the same --memory-max\"",
                      address);
    repair_reset(repair);
    repair_unlease(cluster, peer->member->id);
    if (!whole || deletes)
        return;
    if (!full && repair->started_us > peer->missed_us)
        peer->missed = false;
    if (peer->knows_us)
        gather_checked(peer, repair->started_us);
}

void repair_stop(struct peer *peer)
{
    bool busy = peer->repair.step != REPAIR_IDLE;
    repair_end(peer, false);
    repair_unlease(peer->cluster, peer->member->id);
    if (busy && peer->bulk)
        upstream_close(peer->bulk, 0);
}

/* Requests */

static void ask(struct peer *peer, enum repair_step step, const char *method_and_target,
                struct slice body)
{
    char head[REQUEST_HEAD_BYTES_MAX];
    struct slice start = request_head(peer->cluster, head, method_and_target, body.len);
    struct conn_piece pieces[2] = {{.data = start.data, .len = start.len},
                                   {.data = body.data, .len = body.len}};
    peer->repair.step = step;
    repair_lease(peer->cluster, peer->member->id);
    fetch_start(&peer->repair.fetch, peer->bulk, pieces, 2);
}

static void ask_groups(struct peer *peer)
{
    char body[STORE_GROUPS * 8];
    peer->repair.revived = store_counts(peer->cluster->store).revived;
    for (uint32_t group = 0; group < STORE_GROUPS; group++)
        big_put(body + group * 8, store_group_digest(peer->cluster->store, group), 8);
    ask(peer, REPAIR_GROUPS, "POST /-/digest", (struct slice){body, sizeof body});
}

/* `groups` is the numbers of those that differ. */
static void ask_shards(struct peer *peer, struct slice groups)
{
    const struct store *store = peer->cluster->store;
    enum { GROUP_BYTES = 1 + STORE_SHARDS_PER_GROUP * 8 };
    char *body = malloc(groups.len * GROUP_BYTES), *at = body;
    if (!body) {
        repair_end(peer, false);
        return;
    }
    for (size_t i = 0; i < groups.len; i++) {
        uint32_t group = (unsigned char)groups.data[i];
        *at++ = (char)group;
        for (uint32_t shard = 0; shard < STORE_SHARDS_PER_GROUP; shard++, at += 8)
            big_put(at, store_shard_digest(store, group * STORE_SHARDS_PER_GROUP + shard), 8);
    }
    ask(peer, REPAIR_SHARDS, "POST /-/digest/shards", (struct slice){body, (size_t)(at - body)});
    free(body);
}

/* No shard is left. What came may have revived deletes that the other one has to be told of now: then all begins anew. */
static void repair_on_last(struct peer *peer)
{
    if (store_counts(peer->cluster->store).revived == peer->repair.revived) {
        repair_end(peer, true);
        return;
    }
    repair_drop_todo(&peer->repair);
    ask_groups(peer);
}

/* The digests of the records of the next shards on the list. */
static void ask_digests(struct peer *peer)
{
    struct repair *repair = &peer->repair;
    char body[REPAIR_SHARDS_MAX * 2];
    unsigned records = 0, shards = 0;
    repair->todo_next = repair->todo_at;
    while (repair->todo_next < repair->todo_count && shards < REPAIR_SHARDS_MAX &&
           records < REPAIR_DIGESTS) {
        uint16_t shard = repair->todo[repair->todo_next++];
        records += store_shard_count(peer->cluster->store, shard);
        big_put(body + 2 * shards++, shard, 2);
    }
    repair->compared += records;
    if (shards == 0)
        repair_on_last(peer);
    else
        ask(peer, REPAIR_DIGESTS_STEP, "POST /-/digest/records",
            (struct slice){body, (size_t)shards * 2});
}

/* What differs in one shard */

struct round {
    struct peer *peer;
    struct batch *batch; /* what the other one lacks */
    char *wanted;        /* what we lack: shard and digest */
    unsigned wanted_count;
    uint64_t *own; /* room for digests */
    unsigned own_room;
    unsigned first; /* place of its first shard */
    bool full;      /* the rest is for the next round */
    bool giving;    /* since more is to be given than one body has */
};

/* Of a repair of deletes, so many records of the shard were looked at, and what was given of them is not given again, whatever has become of
 * it: the member may have no room for it, or something newer, for which there is no room here. */
static bool was_told(const struct round *round, unsigned at)
{
    const struct repair *repair = &round->peer->repair;
    return repair->deletes && repair->todo_at == round->first && at < repair->told;
}

static void round_give(struct round *round, uint32_t shard, const uint64_t *theirs, unsigned count)
{
    struct store *store = round->peer->cluster->store;
    struct repair *repair = &round->peer->repair;
    unsigned place = 0;
    if (repair->takes)
        return;
    for (struct record *at = store_first(store, shard); at; at = store_after(at), place++) {
        if (!store_lists(store, shard, at) || digests_have(theirs, count, record_digest(at)) ||
            (repair->deletes && !record_is_tombstone(at)) || was_told(round, place))
            continue;
        if (batch_is_full(round->batch)) {
            round->full = round->giving = true;
            break;
        }
        batch_add(round->batch, at);
    }
    repair->told = place;
}

/* Who leaves wants nothing any more. It may have no room for it, and would stay until its time is over. */
static void round_want(struct round *round, uint32_t shard, const uint64_t *theirs, unsigned count,
                       unsigned own_count)
{
    if (round->peer->cluster->leaving)
        return;
    for (unsigned i = 0; i < count; i++) {
        if (digests_have(round->own, own_count, theirs[i]))
            continue;
        if (round->wanted_count == REPAIR_WANTED_MAX) {
            round->full = true;
            return;
        }
        char *at = round->wanted + (size_t)CLUSTER_WANTED_BYTES * round->wanted_count++;
        big_put(at, shard, 2);
        big_put(at + 2, theirs[i], 8);
    }
}

/* Returns false when out of memory. `theirs` gets sorted. */
static bool round_shard(struct round *round, uint32_t shard, uint64_t *theirs, unsigned count)
{
    struct store *store = round->peer->cluster->store;
    unsigned own_count = store_shard_count(store, shard);
    if (own_count >= round->own_room) {
        uint64_t *own = realloc(round->own, (own_count + 1) * sizeof *own);
        if (!own)
            return false;
        round->own = own;
        round->own_room = own_count + 1;
    }
    own_count = store_record_digests(store, shard, round->own, own_count);
    digests_sort(round->own, own_count);
    digests_sort(theirs, count);
    round_give(round, shard, theirs, count);
    round_want(round, shard, theirs, count, own_count);
    return true;
}

/* Goes through an answer: for each shard its number, a count, and so many digests; one shard at least, or the same would be asked again
 * without end. Returns false when it makes no sense, or out of memory. */
static bool round_read(struct round *round, struct slice body)
{
    struct repair *repair = &round->peer->repair;
    if (body.len == 0)
        return false;
    while (body.len > 0 && !round->full) {
        if (body.len < 6 || repair->todo_at == repair->todo_next)
            return false;
        uint32_t shard = (uint32_t)big_get(body.data, 2);
        uint64_t count = big_get(body.data + 2, 4);
        if (shard != repair->todo[repair->todo_at] || count > (body.len - 6) / 8)
            return false;
        uint64_t *theirs = malloc((count + 1) * sizeof *theirs);
        if (!theirs)
            return false;
        for (uint64_t i = 0; i < count; i++)
            theirs[i] = big_get(body.data + 6 + 8 * i, 8);
        repair->compared += count;
        bool fine = round_shard(round, shard, theirs, (unsigned)count);
        free(theirs);
        if (!fine)
            return false;
        if (!round->full)
            repair_next_shard(repair);
        body.data += 6 + 8 * count;
        body.len -= 6 + 8 * (size_t)count;
    }
    return true;
}

/* Records */

static void repair_on_records_done(struct peer *peer)
{
    struct repair *repair = &peer->repair;
    if (repair->pulling || repair->pushing)
        return;
    repair->pulled += repair->intake.applied;
    if (repair->last_try && repair->intake.applied == 0)
        repair_next_shard(repair);
    peer->cluster->counters.repair_pulled += repair->intake.applied;
    intake_free(&repair->intake);
    repair->intake.store = NULL;
    if (repair->failed)
        repair_end(peer, false);
    else
        ask_digests(peer);
}

static struct peer *peer_of_pull(struct call *call)
{
    return (struct peer *)((char *)call - offsetof(struct peer, repair) -
                           offsetof(struct repair, pull));
}

static void pull_on_head(struct call *call, const struct http_response *head)
{
    peer_of_pull(call)->repair.pull_status = head->status;
}

static void pull_on_body(struct call *call, struct slice bytes)
{
    struct peer *peer = peer_of_pull(call);
    struct repair *repair = &peer->repair;
    if (!repair->pulling || repair->pull_status != 200 || repair->failed)
        return;
    repair_lease(peer->cluster, peer->member->id);
    repair->failed = !intake_take(&repair->intake, bytes, peer->cluster->loop->wall_us);
    repair->full |= repair->intake.full;
    repair->takes &= !repair->intake.full;
}

static void pull_on_end(struct call *call, enum call_result result)
{
    struct peer *peer = peer_of_pull(call);
    struct repair *repair = &peer->repair;
    if (!repair->pulling)
        return;
    repair->pulling = false;
    repair->failed |= result != CALL_DONE || repair->pull_status != 200;
    repair_on_records_done(peer);
}

static const struct call_ops pull_ops = {
    .on_head = pull_on_head,
    .on_body = pull_on_body,
    .on_end = pull_on_end,
};

static void round_send(struct round *round)
{
    struct peer *peer = round->peer;
    struct cluster *cluster = peer->cluster;
    struct repair *repair = &peer->repair;
    char head[REQUEST_HEAD_BYTES_MAX];
    repair->step = REPAIR_RECORDS;
    repair->failed = false;
    /* Where no delete comes of so many in one shard, none is looked for behind them: it would be the same ones again. A shard that
     * others have left no room for is the first one of the next round. */
    repair->last_try =
        repair->deletes && round->full && !round->giving && repair->todo_at == round->first;
    intake_init(&repair->intake, cluster->store, RECORD_VALUE_BYTES_MAX, false);
    repair->intake.deletes = repair->deletes;
    if (round->wanted_count) {
        size_t len = (size_t)round->wanted_count * CLUSTER_WANTED_BYTES;
        if (repair->deletes)
            round->wanted[len++] = 1;
        struct slice start = request_head(cluster, head, "POST /-/records", len);
        struct conn_piece pieces[2] = {{.data = start.data, .len = start.len},
                                       {.data = round->wanted, .len = len}};
        repair->pulling = true;
        repair->pull = (struct call){.ops = &pull_ops};
        upstream_call(peer->bulk, &repair->pull, pieces, 2);
    }
    if (round->batch->records) {
        batch_close(cluster, round->batch);
        batch_retain(round->batch);
        repair->pushing = true;
        repair->pushed += round->batch->records;
        cluster->counters.repair_pushed += round->batch->records;
        fetch_start(&repair->fetch, peer->bulk, round->batch->pieces, round->batch->count);
    }
    if (!repair->pulling && !repair->pushing)
        repair_on_records_done(peer);
}

static void on_digests(struct peer *peer, struct slice body)
{
    struct round round = {
        .peer = peer, .batch = &peer->cluster->spare, .first = peer->repair.todo_at};
    round.wanted = malloc((size_t)CLUSTER_WANTED_BYTES * REPAIR_WANTED_MAX + 1);
    if (round.wanted && round_read(&round, body))
        round_send(&round);
    else
        repair_end(peer, false);
    batch_reset(round.batch);
    free(round.wanted);
    free(round.own);
}

/* Answers to lists */

/* `body` is the numbers of the groups that differ. */
static void on_groups(struct peer *peer, struct slice body)
{
    bool differs[STORE_GROUPS] = {0};
    for (size_t i = 0; i < body.len; i++) {
        if ((unsigned char)body.data[i] >= STORE_GROUPS) {
            repair_end(peer, false);
            return;
        }
        differs[(unsigned char)body.data[i]] = true;
    }
    for (uint32_t group = 0; group < STORE_GROUPS; group++)
        if (!differs[group])
            agreed_group(peer, group, peer->repair.started_us);
    if (body.len == 0)
        repair_end(peer, true);
    else
        ask_shards(peer, body);
}

/* Every shard that is not on the list was the same. */
static void agree_on_rest(struct peer *peer)
{
    const struct repair *repair = &peer->repair;
    bool *differs = calloc(STORE_SHARDS, sizeof *differs);
    if (!differs)
        return;
    for (unsigned i = 0; i < repair->todo_count; i++)
        differs[repair->todo[i]] = true;
    for (uint32_t shard = 0; shard < STORE_SHARDS; shard++)
        if (!differs[shard])
            agreed_shard(peer, shard, repair->started_us);
    free(differs);
}

/* `body` is the numbers of the shards that differ, two bytes each. */
static void on_shards(struct peer *peer, struct slice body)
{
    struct repair *repair = &peer->repair;
    unsigned count = (unsigned)(body.len / 2);
    if (body.len % 2 || count > STORE_SHARDS ||
        !(repair->todo = malloc((count + 1) * sizeof *repair->todo))) {
        repair_end(peer, false);
        return;
    }
    for (unsigned i = 0; i < count; i++) {
        repair->todo[i] = (uint16_t)big_get(body.data + (size_t)2 * i, 2);
        if (repair->todo[i] >= STORE_SHARDS) {
            repair_end(peer, false);
            return;
        }
    }
    repair->todo_count = count;
    repair->todo_at = 0;
    agree_on_rest(peer);
    ask_digests(peer);
}

/* Of deletes alone it has taken those for which it has room. A newcomer does not wait for it to have any, or nobody could take the place
 * of a member that is full: it needs what that one has, and not the other way round. */
static void on_pushed(struct peer *peer, unsigned status)
{
    struct repair *repair = &peer->repair;
    bool full = status == 507;
    repair->pushing = false;
    repair->takes |= full && !repair->deletes && peer->cluster->gather.step == GATHER_CHECKING;
    repair->failed |= status != 200 && !(full && (repair->deletes || repair->takes));
    repair->full |= full;
    repair_on_records_done(peer);
}

static void repair_on_done(struct fetch *fetch, unsigned status, struct slice body)
{
    struct peer *peer = (struct peer *)((char *)fetch - offsetof(struct peer, repair) -
                                        offsetof(struct repair, fetch));
    enum repair_step step = peer->repair.step;
    if (step == REPAIR_IDLE)
        return;
    if (step == REPAIR_RECORDS)
        on_pushed(peer, status);
    else if (status != 200)
        repair_end(peer, false);
    else if (step == REPAIR_GROUPS)
        on_groups(peer, body);
    else if (step == REPAIR_SHARDS)
        on_shards(peer, body);
    else if (step == REPAIR_DIGESTS_STEP)
        on_digests(peer, body);
}

/* Life */

static void repair_on_open(struct upstream *upstream)
{
    struct peer *peer = upstream_owner(upstream);
    if (peer->repair.step == REPAIR_CONNECTING)
        ask_groups(peer);
}

static void repair_on_closed(struct upstream *upstream, int error)
{
    (void)error;
    repair_end(upstream_owner(upstream), false);
}

const struct upstream_ops repair_upstream_ops = {
    .on_open = repair_on_open,
    .on_closed = repair_on_closed,
};

void repair_start(struct peer *peer)
{
    struct cluster *cluster = peer->cluster;
    struct repair *repair = &peer->repair;
    if (!peer->up || repair->step != REPAIR_IDLE || repair->fetch.busy ||
        cluster->loop->now_us < repair->next_us || repair_is_busy(cluster, peer->member->id))
        return;
    repair->fetch.on_done = repair_on_done;
    repair->fetch.body_max = REPAIR_ANSWER_BYTES_MAX;
    repair->pulled = repair->pushed = repair->compared = 0;
    repair->takes &= cluster->gather.step == GATHER_CHECKING;
    repair->deletes = repair->full && !repair->deletes && !repair->takes;
    repair->full = false;
    repair->started_us = cluster->loop->now_us;
    repair->step = REPAIR_CONNECTING;
    cluster->counters.repairs++;
    repair_lease(cluster, peer->member->id);
    if (upstream_is_open(peer->bulk))
        ask_groups(peer);
    else if (upstream_connect(peer->bulk, &peer->member->address) != 0)
        repair_end(peer, false);
}

void repair_start_deletes(struct peer *peer)
{
    peer->repair.full = true;
    peer->repair.deletes = false; /* the last one told all */
    repair_start(peer);
}

void repair_on_hello(struct peer *peer, bool same)
{
    struct cluster *cluster = peer->cluster;
    struct repair *repair = &peer->repair;
    if (same) {
        repair->differed = 0;
        if (peer->hello_us > peer->missed_us)
            peer->missed = false;
        if (peer->knows_us && push_is_done(peer))
            gather_checked(peer, peer->hello_us);
        return;
    }
    repair->differed++;
    bool first = self_of(cluster)->id < peer->member->id;
    if (cluster->config->repair_us > 0 &&
        cluster->loop->now_us < cluster->started_us + cluster->config->repair_us)
        return;
    if ((first || repair->differed > REPAIR_PATIENCE) && cluster_is_ready(cluster) &&
        peer->member->phase == PHASE_READY)
        repair_start(peer);
}
