/* What a node makes of what it knows of its fellows: whether deletes may be forgotten, whether it may be ready, who has a copy. */
#include <errno.h>

#include "net/conn.h"
#include "role/cluster_state.h"

#include "records.h"
#include "stage.h"

enum { SECOND = 1000 * 1000, TIGHT_BYTES = 6 << 20 };

struct in {
    struct store_observer observer; /* first */
    struct fake_io *io;
    struct loop loop;
    struct log log;
    struct node_config config;
    struct store *store;
    struct cluster *cluster;
};

static struct in in;

static void on_change(struct store_observer *observer, const struct store_key *key,
                      struct record *old, struct record *record)
{
    cluster_on_change(((struct in *)observer)->cluster, key->shard, old, record);
}

static int begin_with(uint64_t memory_max)
{
    in = (struct in){.observer = {.on_change = on_change},
                     .config = {.forget_us = 86400ULL * SECOND, .grace_us = 86400ULL * SECOND}};
    in.io = stage_begin(&in.loop, &in.log);
    in.store = store_new(memory_max, in.config.grace_us, 7);
    assert_non_null(in.store);
    in.cluster = cluster_new(&in.loop, &in.log, in.store, &in.config);
    assert_non_null(in.cluster);
    in.cluster->started = true;
    store_observe(in.store, &in.observer);
    return 0;
}

static int begin(void **state)
{
    (void)state;
    return begin_with(0);
}

static int begin_tight(void **state)
{
    (void)state;
    return begin_with(TIGHT_BYTES);
}

static int end(void **state)
{
    (void)state;
    cluster_destroy(in.cluster);
    store_destroy(in.store);
    stage_end(&in.loop, in.io);
    return 0;
}

/* A member of this number, ready, heard of just now. */
static struct member *hear_of(uint64_t id)
{
    struct member said = {
        .id = id,
        .address = {.ip = {[10] = 255, [11] = 255, [12] = 10, [15] = (uint8_t)id}, .port = 8000},
        .stamp = 1,
        .heard_us = in.loop.now_us,
        .phase = PHASE_READY};
    assert_true(members_merge(&in.cluster->members, &said));
    return members_find(&in.cluster->members, id);
}

static struct member *meet(uint64_t id)
{
    struct member *member = hear_of(id);
    cluster_sync_peers(in.cluster);
    assert_non_null(member->peer);
    return member;
}

/* What a member had that has gone may have come to one that was seen to agree before. */
static void test_what_was_agreed_before_somebody_went_counts_no_more(void **state)
{
    (void)state;
    uint64_t now_us = in.loop.now_us;
    in.cluster->has_everything = true;
    self_of(in.cluster)->phase = PHASE_READY;
    struct member *stays = meet(2), *goes = meet(3);
    agreed_all(stays->peer, now_us);
    assert_int_equal(cluster_agreed_us(in.cluster, 0), 0); /* the other one has not */
    member_go(goes, MEMBER_LEFT, UINT64_MAX / 2);          /* it is remembered */
    assert_int_equal(cluster_agreed_us(in.cluster, 0), 0);
    in.cluster->tick.on_time(&in.cluster->tick); /* it is let go of */
    assert_null(goes->peer);
    assert_int_equal(cluster_agreed_us(in.cluster, 0), 0);
    in.loop.now_us += 60 * SECOND;
    agreed_all(stays->peer, in.loop.now_us);
    assert_int_equal(cluster_agreed_us(in.cluster, 0), in.loop.now_us);
}

/* An older value may be on its way from one that has been told of the delete since, to one that was seen to agree before it comes. */
static void test_what_was_agreed_just_after_a_step_of_the_horizon_does_not_count(void **state)
{
    (void)state;
    in.cluster->has_everything = true;
    self_of(in.cluster)->phase = PHASE_READY;
    struct member *member = meet(2);
    cluster_take_horizon(in.cluster, 1000);
    in.loop.now_us += SECOND;
    agreed_all(member->peer, in.loop.now_us);
    in.loop.now_us += 60 * SECOND;
    assert_int_equal(cluster_agreed_us(in.cluster, 0), 0);
    cluster_take_horizon(in.cluster, 1000); /* no step: all tell it all the time */
    agreed_all(member->peer, in.loop.now_us);
    assert_int_equal(cluster_agreed_us(in.cluster, 0), in.loop.now_us);
    cluster_take_horizon(in.cluster, 1001);
    assert_int_equal(cluster_agreed_us(in.cluster, 0), 0);
}

/* It may not have yet what the others have seen to be the same, so it keeps every delete, with fellows or without. */
static void test_a_newcomer_agrees_on_nothing(void **state)
{
    (void)state;
    assert_int_equal(cluster_agreed_us(in.cluster, 0), 0);
    struct member *member = meet(2);
    agreed_all(member->peer, in.loop.now_us);
    assert_int_equal(cluster_agreed_us(in.cluster, 0), 0);
    self_of(in.cluster)->phase = PHASE_READY;
    assert_int_equal(cluster_agreed_us(in.cluster, 0), in.loop.now_us);
}

/* Its horizon goes with its clock, and there is nobody to agree with. */
static void test_who_is_alone_agrees_with_itself_at_each_step_of_the_horizon(void **state)
{
    (void)state;
    self_of(in.cluster)->phase = PHASE_READY;
    cluster_take_horizon(in.cluster, 1000);
    assert_true(cluster_agreed_us(in.cluster, 0) == UINT64_MAX);
}

static void test_a_newcomer_waits_for_a_ready_member_that_is_silent(void **state)
{
    (void)state;
    struct member *donor = meet(2);
    in.cluster->started_us = in.loop.now_us;
    in.loop.now_us += 3600ULL * SECOND;
    gather_tick(in.cluster);
    assert_false(cluster_has_everything(in.cluster));
    assert_false(cluster_is_ready(in.cluster));
    assert_non_null(strstr(cluster_why_unready(in.cluster), "silent"));
    donor->refused_us = in.loop.now_us; /* there is no process any more */
    gather_tick(in.cluster);
    assert_true(cluster_has_everything(in.cluster));
    assert_true(cluster_is_ready(in.cluster));
}

/* Where another process has started since, the first one is no more. */
static void test_a_member_that_was_restarted_is_not_waited_for(void **state)
{
    (void)state;
    const struct member *donor = meet(2);
    struct member next = *donor;
    next.id = 3;
    next.stamp++;
    next.phase = PHASE_JOINING;
    assert_true(members_merge(&in.cluster->members, &next));
    cluster_sync_peers(in.cluster);
    in.cluster->started_us = in.loop.now_us;
    in.loop.now_us += 3600ULL * SECOND;
    members_find(&in.cluster->members, 3)->refused_us = in.loop.now_us; /* and is no more, either */
    gather_tick(in.cluster);
    assert_true(cluster_is_ready(in.cluster));
}

/* It refuses connections, too, but gives what it has to who stays. */
static void test_a_newcomer_waits_for_a_member_that_may_be_stopping(void **state)
{
    (void)state;
    struct member *donor = meet(2);
    in.cluster->started_us = in.loop.now_us;
    in.loop.now_us += 3600ULL * SECOND;
    donor->heard_us = in.loop.now_us;
    in.loop.now_us += SECOND;
    donor->refused_us = in.loop.now_us;
    gather_tick(in.cluster);
    assert_false(cluster_is_ready(in.cluster));
    in.loop.now_us += CLUSTER_DEAD_US;
    gather_tick(in.cluster);
    assert_true(cluster_is_ready(in.cluster));
}

static bool has_bytes(struct slice bytes, const char *part)
{
    return memmem(bytes.data, bytes.len, part, strlen(part)) != NULL;
}

/* Leaving */

static void connect_upstream(struct upstream *upstream, const struct peer *peer)
{
    assert_int_equal(upstream_connect(upstream, &peer->member->address), 0);
    loop_turn(&in.loop, 0);
    loop_turn(&in.loop, 0);
}

static void test_who_leaves_waits_for_a_connection_that_broke_just_now(void **state)
{
    (void)state;
    struct member *stays = meet(2);
    struct peer *peer = stays->peer;
    peer->up = true;
    cluster_leave(in.cluster);
    in.loop.now_us += 2 * CLUSTER_DEAD_US;
    stays->heard_us = peer->answered_us = in.loop.now_us;
    peer_down(peer, "test");
    assert_false(cluster_has_left(in.cluster));
    in.loop.now_us += CLUSTER_DEAD_US + 1;
    stays->heard_us = in.loop.now_us; /* by way of others, and nobody has everything */
    assert_false(cluster_has_left(in.cluster));
    in.loop.now_us +=
        3600ULL * SECOND; /* it stands still, and may be back: the drain time is the limit */
    assert_false(cluster_has_left(in.cluster));
    stays->refused_us = in.loop.now_us; /* there is no process any more */
    assert_true(cluster_has_left(in.cluster));
}

/* In the turn in which it is told to stop. */
static void test_who_leaves_waits_for_a_member_that_it_has_just_heard_of(void **state)
{
    (void)state;
    struct member *stays = hear_of(2);
    assert_null(stays->peer);
    cluster_leave(in.cluster);
    assert_false(cluster_has_left(in.cluster));
    stays->refused_us = in.loop.now_us + 1;
    assert_true(cluster_has_left(in.cluster));
}

/* Two are there that have all that was written here, but members that have left may have given more; the one that is returned has
 * been seen since to have everything. */
static struct peer *leave_two(void)
{
    struct peer *stays = meet(2)->peer, *goes = meet(3)->peer;
    stays->up = goes->up = true;
    stays->answered_us = goes->answered_us = in.loop.now_us;
    stays->missed = goes->missed = false;
    cluster_leave(in.cluster);
    assert_true(stays->missed && goes->missed);
    stays->missed = false;
    return stays;
}

/* What one has given may be here alone now, also when another one was seen to have everything before. */
static void test_who_leaves_looks_again_when_a_member_falls_silent(void **state)
{
    (void)state;
    const struct peer *stays = leave_two();
    peer_down(members_find(&in.cluster->members, 3)->peer, "test");
    assert_true(stays->missed);
}

static void test_who_leaves_looks_again_when_a_member_goes(void **state)
{
    (void)state;
    const struct peer *stays = leave_two();
    struct member *goes = members_find(&in.cluster->members, 3);
    member_go(goes, MEMBER_LEFT, UINT64_MAX / 2);
    in.cluster->tick.on_time(&in.cluster->tick);
    assert_null(goes->peer);
    assert_true(stays->missed);
}

/* Nor is what is on its way to a member there yet, also when another one has everything. */
static void test_who_leaves_waits_for_what_is_on_its_way(void **state)
{
    (void)state;
    struct peer *stays = leave_two(), *other = members_find(&in.cluster->members, 3)->peer;
    stays->push_state = other->push_state = PUSH_LIVE;
    other->sending_count = 1;
    assert_false(cluster_has_told_all(in.cluster));
    other->sending_count = 0;
    assert_true(cluster_has_told_all(in.cluster));
}

static void test_who_leaves_waits_for_nobody_who_was_silent_before(void **state)
{
    (void)state;
    meet(2);
    in.loop.now_us += CLUSTER_DEAD_US + 1;
    cluster_leave(in.cluster);
    in.loop.now_us++;
    assert_true(cluster_has_left(in.cluster));
}

/* What fails here says nothing of who is there. */
static void test_who_leaves_waits_for_who_could_not_be_asked(void **state)
{
    (void)state;
    struct member *stays = meet(2);
    in.loop.now_us = in.io->now_us += CLUSTER_DEAD_US + 1;
    cluster_leave(in.cluster);
    in.io->connect_error = -EMFILE;
    in.cluster->tick.on_time(&in.cluster->tick);
    in.loop.now_us += 60 * SECOND;
    assert_false(cluster_has_left(in.cluster));
    in.io->connect_error = 0;
    connect_upstream(stays->peer->control, stays->peer);
    fake_break(in.io, ((struct conn *)stays->peer->control)->fd, -ECONNREFUSED);
    loop_turn(&in.loop, 0);
    assert_true(cluster_has_left(in.cluster));
}

/* One after the other */

/* A repair of a member that is over, however it ended, keeps no other one waiting. */
static void test_the_repair_of_a_member_that_fell_silent_is_over(void **state)
{
    (void)state;
    struct peer *asks = meet(2)->peer, *falls = meet(3)->peer;
    falls->up = true;
    repair_lease(in.cluster, falls->member->id);
    assert_true(repair_is_busy(in.cluster, asks->member->id));
    peer_down(asks, "test");
    assert_true(repair_is_busy(in.cluster, asks->member->id));
    peer_down(falls, "test");
    assert_false(repair_is_busy(in.cluster, asks->member->id));
}

/* The whole copy of a donor that has nothing. */
static void feed_copy(void)
{
    char answer[100 + WIRE_HEAD_BYTES];
    int used =
        snprintf(answer, 100, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", WIRE_HEAD_BYTES);
    wire_end(0, answer + used);
    fake_feed(in.io, ((struct conn *)in.cluster->gather.upstream)->fd,
              (struct slice){answer, (size_t)used + WIRE_HEAD_BYTES});
}

/* A ready member is there, and this node has all that it has. Each step of gathering follows the one before it at once, and not at the next
 * tick: no time passes here. */
static void gather_from_member(void)
{
    struct peer *donor = meet(2)->peer;
    const struct gather *gather = &in.cluster->gather;
    donor->up = true;
    donor->knows_us = true;
    donor->answered_us = in.loop.now_us;
    gather_peer_up(in.cluster);
    loop_turn(&in.loop, 0);
    assert_int_equal(gather->step, GATHER_CONNECTING);
    loop_turn(&in.loop, 0);
    assert_int_equal(gather->step, GATHER_COPYING);
    feed_copy();
    loop_turn(&in.loop, 0);
    assert_int_equal(gather->step, GATHER_CHECKING);
    assert_int_not_equal(donor->repair.step, REPAIR_IDLE);
    gather_checked(donor, in.loop.now_us);
    loop_turn(&in.loop, 0);
}

static void test_a_newcomer_copies_and_checks_at_once(void **state)
{
    (void)state;
    gather_from_member();
    assert_true(cluster_is_ready(in.cluster));
}

/* The copy from a ready member begins. Returns the member. */
static struct peer *copy_from_member(void)
{
    struct peer *donor = meet(2)->peer;
    donor->up = true;
    donor->answered_us = in.loop.now_us;
    gather_peer_up(in.cluster);
    for (int turns = 0; turns < 2; turns++)
        loop_turn(&in.loop, 0);
    assert_int_equal(in.cluster->gather.step, GATHER_COPYING);
    return donor;
}

/* The beginning of a donor's copy: the head of a value for which there is no room. */
static void feed_too_much(void)
{
    struct store *other = store_new(0, in.config.grace_us, 7);
    char *much = calloc(1, TIGHT_BYTES), text[WIRE_HEAD_BYTES + 4];
    assert_true(other && much);
    struct said said = {.key = SLICE("key0"), .value = {much, TIGHT_BYTES}, .version = 1};
    struct record *record = said_record(store_heap(other), &said);
    assert_non_null(record);
    wire_head(record, text);
    memcpy(text + WIRE_HEAD_BYTES, "key0", 4);
    int fd = ((struct conn *)in.cluster->gather.upstream)->fd;
    fake_feed(in.io, fd, SLICE("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n"));
    fake_feed(in.io, fd, (struct slice){text, sizeof text});
    record_release(store_heap(other), record);
    store_destroy(other);
    free(much);
}

/* What was deleted since its place was copied may make the room. Push may have missed it, and nobody repairs with a newcomer. */
static void test_a_newcomer_that_is_full_asks_for_deletes(void **state)
{
    (void)state;
    const struct peer *donor = copy_from_member();
    feed_too_much();
    loop_turn(&in.loop, 0);
    assert_int_equal(in.cluster->gather.step, GATHER_WAITING);
    assert_true(in.cluster->gather.full);
    assert_true(donor->repair.deletes);
    assert_int_not_equal(donor->repair.step, REPAIR_IDLE);
}

/* An answer that is whole as HTTP may lack the records' end. The rest is asked for from the shard that was come to, of which some may be
 * missing. */
static void test_a_copy_that_was_cut_goes_on_where_it_was_cut(void **state)
{
    (void)state;
    char text[WIRE_HEAD_BYTES + 100], wanted[64];
    struct peer *donor = copy_from_member();
    struct said said = {.key = SLICE("key0"), .value = SLICE("value"), .version = 1};
    struct record *record = said_record(store_heap(in.store), &said);
    struct slice data = wire_data(record);
    int fd = ((struct conn *)in.cluster->gather.upstream)->fd;
    snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n",
             WIRE_HEAD_BYTES + data.len);
    fake_feed(in.io, fd, slice_of(text));
    wire_head(record, text);
    memcpy(text + WIRE_HEAD_BYTES, data.data, data.len);
    fake_feed(in.io, fd, (struct slice){text, WIRE_HEAD_BYTES + data.len});
    record_release(store_heap(in.store), record);
    loop_turn(&in.loop, 0);
    assert_int_equal(in.cluster->gather.step, GATHER_WAITING);
    assert_false(in.cluster->gather.copied);
    in.loop.now_us = in.io->now_us += CLUSTER_TICK_US;
    donor->answered_us = donor->member->heard_us = in.loop.now_us;
    gather_tick(in.cluster);
    loop_turn(&in.loop, 0);
    loop_turn(&in.loop, 0);
    assert_int_equal(in.cluster->gather.step, GATHER_COPYING);
    fd = ((struct conn *)in.cluster->gather.upstream)->fd;
    snprintf(wanted, sizeof wanted, "GET /-/records?from=%u ",
             (unsigned)store_key(in.store, said.key).shard);
    assert_true(slice_starts(fake_output(in.io, fd), slice_of(wanted)));
}

static void test_a_donor_that_is_down_is_given_up_at_once(void **state)
{
    (void)state;
    copy_from_member();
    in.loop.now_us = in.io->now_us += CLUSTER_DEAD_US;
    gather_tick(in.cluster);
    loop_turn(&in.loop, 0);
    assert_int_equal(in.cluster->gather.step, GATHER_COPYING);
    in.loop.now_us = ++in.io->now_us;
    gather_tick(in.cluster);
    loop_turn(&in.loop, 0);
    assert_int_equal(in.cluster->gather.step, GATHER_WAITING);
}

/* Joining */

static void join_one(const char *whom)
{
    in.config.joins[0] = whom;
    in.config.join_count = 1;
    in.cluster->started_us = in.cluster->waited_at_us = in.loop.now_us;
    join_start(in.cluster);
}

static void join_over(void)
{
    join_end(in.cluster);
    in.cluster->target_count = 0;
    in.cluster->probes[0].upstream = NULL;
}

static void test_a_newcomer_that_could_not_ask_is_not_alone(void **state)
{
    (void)state;
    join_one("10.0.0.2:8000");
    in.io->connect_error = -EMFILE;
    join_tick(in.cluster);
    in.loop.now_us += 3600ULL * SECOND;
    assert_false(join_is_settled(in.cluster));
    in.io->connect_error = -ECONNREFUSED;
    join_tick(in.cluster);
    assert_true(join_is_settled(in.cluster));
    join_over();
}

static void join_ticks(uint64_t us)
{
    for (; us >= CLUSTER_TICK_US; us -= CLUSTER_TICK_US) {
        in.loop.now_us += CLUSTER_TICK_US;
        join_tick(in.cluster);
    }
}

/* They may be of another part of the cluster, and then it belongs to neither. */
static void test_a_newcomer_that_has_all_hears_first_those_that_it_is_to_join(void **state)
{
    (void)state;
    join_one("10.0.0.9:8000");
    join_tick(in.cluster);
    gather_from_member();
    assert_false(cluster_is_ready(in.cluster));
    join_ticks(JOIN_PATIENCE_US + CLUSTER_TICK_US);
    gather_tick(in.cluster);
    loop_turn(&in.loop, 0);
    assert_true(cluster_is_ready(in.cluster));
    join_over();
}

/* While a newcomer stands still itself, nobody is late. */
static void test_a_newcomer_that_stood_still_waits_on(void **state)
{
    (void)state;
    join_one("10.0.0.2:8000");
    join_tick(in.cluster);
    in.loop.now_us += 3600ULL * SECOND;
    join_tick(in.cluster);
    assert_false(join_is_settled(in.cluster));
    join_ticks(JOIN_PATIENCE_US - 2 * CLUSTER_TICK_US);
    assert_false(join_is_settled(in.cluster));
    join_ticks(2 * CLUSTER_TICK_US);
    assert_true(join_is_settled(in.cluster));
    join_over();
}

/* Whoever is asked says this. */
static void join_refused(const char *status, const char *sentence)
{
    char text[256];
    int bytes = snprintf(text, sizeof text, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n\r\n%s", status,
                         strlen(sentence), sentence);
    join_one("10.0.0.2:8000");
    join_tick(in.cluster);
    for (int turns = 0; turns < 2; turns++)
        loop_turn(&in.loop, 0);
    fake_feed(in.io, ((struct conn *)in.cluster->probes[0].upstream)->fd,
              (struct slice){text, (size_t)bytes});
    loop_turn(&in.loop, 0);
    assert_false(in.cluster->probes[0].busy);
}

/* A member whose clients have all its connections is there all the same, with all that the newcomer has not. */
static void test_a_newcomer_waits_for_a_member_that_has_no_room_for_it(void **state)
{
    (void)state;
    join_refused("503 Service Unavailable",
                 "This server has as many connections as it may (--connections-max).\n");
    assert_false(join_is_settled(in.cluster));
    join_ticks(JOIN_AGAIN_US);
    assert_true(in.cluster->probes[0].busy);
    join_ticks(JOIN_PATIENCE_US);
    assert_false(join_is_settled(in.cluster));
    join_over();
}

/* What stands before members says the same when there are none yet: so the first one cannot wait for ever. */
static void test_a_newcomer_does_not_wait_for_ever_for_a_proxy(void **state)
{
    (void)state;
    join_refused("503 Service Unavailable", "<h1>No server is available</h1>");
    assert_false(join_is_settled(in.cluster));
    join_ticks(JOIN_PATIENCE_US);
    assert_true(join_is_settled(in.cluster));
    join_over();
}

static void test_a_newcomer_that_is_refused_for_good_is_alone(void **state)
{
    (void)state;
    join_refused("409 Conflict", "The two nodes belong to different clusters\n");
    assert_true(join_is_settled(in.cluster));
    join_over();
}

/* It may have room again at once, unlike one that wants nothing of this node. */
static void test_a_member_that_has_no_room_is_soon_asked_again(void **state)
{
    static const char *const answers[] = {
        "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\n\r\n"};
    static const uint64_t quiet_us[] = {CLUSTER_RETRY_US, JOIN_REFUSED_AGAIN_US};
    (void)state;
    for (uint64_t i = 0; i < 2; i++) {
        struct peer *peer = meet(2 + i)->peer;
        connect_upstream(peer->control, peer);
        fake_feed(in.io, ((struct conn *)peer->control)->fd, slice_of(answers[i]));
        loop_turn(&in.loop, 0);
        assert_false(peer->up);
        assert_int_equal(peer->quiet_us, in.loop.now_us + quiet_us[i]);
    }
}

/* A connection that broke may have been a member's: it is tried again, for a moment. */
static void test_a_newcomer_whose_question_was_lost_asks_again(void **state)
{
    (void)state;
    join_one("10.0.0.2:8000");
    join_tick(in.cluster);
    loop_turn(&in.loop, 0);
    fake_break(in.io, ((struct conn *)in.cluster->probes[0].upstream)->fd, -ECONNRESET);
    loop_turn(&in.loop, 0);
    assert_false(join_is_settled(in.cluster));
    in.loop.now_us += JOIN_AGAIN_US;
    join_tick(in.cluster);
    assert_true(in.cluster->probes[0].busy);
    join_ticks(JOIN_PATIENCE_US);
    assert_true(join_is_settled(in.cluster));
    join_over();
}

/* Feeds what the member 2 answers to a hello. Returns what it was asked, up to then. */
static struct slice answer_hello(struct peer *peer)
{
    static const char answer[] = "protocol 1\ncluster fog\npartition -\njoined 1\nclock 1\nhorizon "
                                 "0\ndigest 0000000000000000\nrecords 0\n"
                                 "member 10.0.0.2:8000 ready 0000000000000002 1 0 0\n";
    char text[512];
    int bytes = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s",
                         sizeof answer - 1, answer);
    int fd = ((struct conn *)peer->control)->fd;
    struct slice asked = fake_output(in.io, fd);
    fake_feed(in.io, fd, (struct slice){text, (size_t)bytes});
    loop_turn(&in.loop, 0);
    return asked;
}

static void test_a_goodbye_that_was_lost_is_said_again(void **state)
{
    (void)state;
    struct peer *peer = meet(2)->peer;
    connect_upstream(peer->control, peer);
    answer_hello(peer);
    assert_true(peer->up);
    cluster_leave(in.cluster);
    free(peer->lag); /* it has everything */
    peer->lag = NULL;
    peer->push_state = PUSH_LIVE;
    peer->missed = false;
    assert_false(cluster_has_left(in.cluster));
    assert_true(peer->tells_goodbye);
    fake_break(in.io, ((struct conn *)peer->control)->fd, -ECONNRESET);
    loop_turn(&in.loop, 0);
    assert_false(peer->up);
    assert_false(cluster_has_left(in.cluster));
    connect_upstream(peer->control, peer);
    assert_true(has_bytes(answer_hello(peer), " left "));
    assert_true(cluster_has_left(in.cluster));
}

/* The one that counts as the later life of an address, as a clock was set back, has answered: but a question of before the other one was
 * heard of, when it may still have been there. */
static void test_who_may_have_answered_before_it_died_replaces_nobody(void **state)
{
    (void)state;
    struct member *dead = meet(2);
    struct member lives = {.id = 1,
                           .address = dead->address,
                           .stamp = 0,
                           .heard_us = in.loop.now_us,
                           .phase = PHASE_JOINING};
    connect_upstream(dead->peer->control, dead->peer);
    in.loop.now_us = ++in.io->now_us;
    assert_true(members_merge(&in.cluster->members, &lives));
    cluster_sync_peers(in.cluster);
    in.cluster->tick.on_time(&in.cluster->tick);
    in.loop.now_us = ++in.io->now_us;
    answer_hello(dead->peer);
    assert_true(dead->peer->up);
    in.loop.now_us = in.io->now_us += 2 * SECOND + 1;
    in.cluster->tick.on_time(&in.cluster->tick);
    assert_int_equal(members_find(&in.cluster->members, 1)->state, MEMBER_HERE);
    hello_send(dead->peer);
    loop_turn(&in.loop, 0);
    answer_hello(dead->peer);
    in.loop.now_us = ++in.io->now_us;
    in.cluster->tick.on_time(&in.cluster->tick);
    assert_int_equal(members_find(&in.cluster->members, 1)->state, MEMBER_LEFT);
}

static void no_matter(void *owner)
{
    ++*(unsigned *)owner;
}

/* A write that was made while nobody was there to be told is not in the batch of a later one. */
static void test_a_write_made_alone_is_not_confirmed_by_the_next_batch(void **state)
{
    (void)state;
    struct said said = {.key = SLICE("key"), .value = SLICE("value"), .version = 1};
    struct record *record = said_record(store_heap(in.store), &said);
    unsigned called = 0;
    meet(2)->peer->up = true;
    struct copies *copies = cluster_await_copies(in.cluster, record, 2, no_matter, &called);
    assert_non_null(copies);
    push_turn_end(in.cluster);
    copies_confirm(in.cluster, 2, in.cluster->batch_number, in.cluster->batch_number + 1);
    assert_int_equal(copies_have(copies), 1);
    assert_int_equal(called, 0);
    cluster_forget_copies(in.cluster, copies);
    record_release(store_heap(in.store), record);
}

/* With thousands that wait for a member that is down, a confirmation by another one looks through a list of few; and each is found, of
 * however many batches it tells. */
static void test_a_confirmation_finds_those_that_it_is_about(void **state)
{
    (void)state;
    enum { WAIT = 2 * COPIES_LISTS + 10 };
    static struct copies *waits[WAIT];
    struct said said = {.key = SLICE("key"), .value = SLICE("value"), .version = 1};
    struct record *record = said_record(store_heap(in.store), &said);
    uint64_t first = in.cluster->batch_number;
    unsigned called = 0;
    meet(2)->peer->up = meet(3)->peer->up = true;
    for (unsigned i = 0; i < WAIT; i++) {
        unsigned wanted = i == WAIT - 1 ? 3 : 2;
        waits[i] = cluster_await_copies(in.cluster, record, wanted, no_matter, &called);
        assert_non_null(waits[i]);
        push_turn_end(in.cluster);
    }
    assert_int_equal(in.cluster->copies_count, WAIT);
    for (unsigned i = 0; i < COPIES_LISTS; i++) {
        unsigned listed = 0;
        for (const struct copies *at = in.cluster->copies[i]; at; at = at->next)
            listed++;
        assert_in_range(listed, 2, 3);
    }
    copies_confirm(in.cluster, 2, first + 7, first + 8);
    assert_int_equal(called, 1);
    assert_int_equal(copies_have(waits[7]), 2);
    copies_confirm(in.cluster, 2, first + 9, first + 9);
    copies_confirm(in.cluster, 2, first + 9, first + 8);
    assert_int_equal(called, 1);
    copies_confirm(in.cluster, 2, first + COPIES_LISTS + 8, first + COPIES_LISTS + 9);
    assert_int_equal(called, 2);
    assert_int_equal(copies_have(waits[8]), 1); /* of the same list */
    copies_confirm(in.cluster, 2, first, first + WAIT);
    assert_int_equal(called, WAIT - 1);
    assert_int_equal(in.cluster->copies_count, 1);
    assert_int_equal(copies_have(waits[WAIT - 1]), 2); /* one member counts once */
    for (unsigned i = 0; i < WAIT; i++)
        cluster_forget_copies(in.cluster, waits[i]);
    record_release(store_heap(in.store), record);
}

static struct record *write_key(unsigned number, size_t bytes)
{
    char name[16];
    snprintf(name, sizeof name, "key%u", number);
    struct record_form form = {.key = slice_of(name), .value_bytes = bytes};
    struct record *record = record_new(store_heap(in.store), &form, HEAP_NORMAL);
    assert_non_null(record);
    memset(record_value_room(record), 'x', bytes);
    record_seal(record);
    struct store_key key = store_key(in.store, record_key(record));
    assert_int_equal(store_write(in.store, &key, record, 1), STORE_APPLIED);
    return record;
}

static void delete_key(unsigned number)
{
    char name[16];
    snprintf(name, sizeof name, "key%u", number);
    struct said said = {.key = slice_of(name), .version = 1, .tombstone = true};
    struct record *record = said_record(store_heap(in.store), &said);
    assert_non_null(record);
    struct store_key key = store_key(in.store, record_key(record));
    assert_int_equal(store_write(in.store, &key, record, 1), STORE_APPLIED);
}

/* The answer shows that the tables were the same when the hello went out, and that the member is up. Nobody took note of what came between. */
static void
test_what_was_written_behind_the_hello_that_shows_a_member_to_be_up_is_missed(void **state)
{
    (void)state;
    struct peer *peer = meet(2)->peer;
    connect_upstream(peer->control, peer);
    write_key(0, 100);
    in.loop.now_us = ++in.io->now_us;
    answer_hello(peer);
    assert_true(peer->up);
    assert_true(peer->missed);
}

/* The answer to the oldest batch that is on its way to it. */
static void answer_push(struct peer *peer, const char *status)
{
    char answer[100];
    snprintf(answer, sizeof answer, "HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n", status);
    fake_feed(in.io, ((struct conn *)peer->push)->fd, slice_of(answer));
    loop_turn(&in.loop, 0);
}

/* Its connection opens, and is answered on. */
static void open_push(struct peer *peer)
{
    peer->up = true;
    push_start(peer);
    assert_int_equal(peer->push_state, PUSH_LAGGING);
    for (unsigned i = 0; i < 2; i++)
        loop_turn(&in.loop, 0);
    assert_true(slice_starts(fake_output(in.io, ((struct conn *)peer->push)->fd),
                             SLICE("POST /-/merge HTTP/1.1\r\n")));
    answer_push(peer, "200 OK");
    fake_forget(in.io, ((struct conn *)peer->push)->fd);
}

/* A member that is told each batch as it is made, of which none is on its way. */
static struct peer *meet_live(void)
{
    struct peer *peer = meet(2)->peer;
    open_push(peer);
    push_turn_end(in.cluster);
    assert_int_equal(peer->push_state, PUSH_LIVE);
    assert_int_equal(in.cluster->lagging, 0);
    return peer;
}

static void write_in_turn(unsigned number, size_t bytes)
{
    write_key(number, bytes);
    push_turn_end(in.cluster);
    for (unsigned i = 0; i < 10; i++) /* large ones go out in several */
        loop_turn(&in.loop, 0);
}

/* The connection may wait to be accepted for longer than deletes are remembered, and be read when it was given up here long ago. */
static void test_nothing_is_sent_before_its_connection_was_answered_on(void **state)
{
    (void)state;
    struct peer *peer = meet(2)->peer;
    peer->up = true;
    push_start(peer);
    for (unsigned i = 0; i < 3; i++)
        write_in_turn(i, 100);
    struct slice given = fake_output(in.io, ((struct conn *)peer->push)->fd);
    assert_true(has_bytes(given, "Content-Length: 36\r\n"));
    assert_false(has_bytes(given, "key0"));
    answer_push(peer, "200 OK");
    push_turn_end(in.cluster);
    loop_turn(&in.loop, 0);
    given = fake_output(in.io, ((struct conn *)peer->push)->fd);
    assert_true(has_bytes(given, "key0") && has_bytes(given, "key2"));
    in.io->now_us += CLUSTER_RETRY_US;
    fake_break(in.io, ((struct conn *)peer->push)->fd, -ECONNRESET);
    loop_turn(&in.loop, 0);
    push_tick(peer); /* another connection is another backlog */
    for (unsigned i = 3; i < 6; i++)
        write_in_turn(i, 100);
    assert_false(has_bytes(fake_output(in.io, ((struct conn *)peer->push)->fd), "key3"));
}

/* Who takes what it is sent, and never says that it has it. */
static void test_who_does_not_answer_is_sent_so_many_batches(void **state)
{
    (void)state;
    struct peer *peer = meet_live();
    for (unsigned i = 0; i <= PUSH_BATCHES_MAX; i++) {
        assert_int_equal(peer->push_state, PUSH_LIVE);
        write_in_turn(i, 1);
    }
    assert_int_equal(peer->push_state, PUSH_LAGGING);
    assert_int_equal(peer->sending_count, PUSH_BATCHES_MAX);
}

static void test_who_does_not_answer_is_sent_so_many_bytes(void **state)
{
    (void)state;
    struct peer *peer = meet_live();
    for (unsigned i = 0; peer->push_state == PUSH_LIVE; i++)
        write_in_turn(i, PUSH_BATCH_BYTES);
    assert_in_range(peer->sending_bytes, PUSH_WINDOW_BYTES, PUSH_WINDOW_BYTES + PUSH_BATCH_BYTES);
    push_stop(peer);
    assert_int_equal(in.cluster->lagging, 0);
}

static void test_who_takes_nothing_is_sent_nothing(void **state)
{
    (void)state;
    struct peer *peer = meet_live();
    fake_socket(in.io, ((struct conn *)peer->push)->fd)->space = 0;
    write_in_turn(0, 1);
    assert_int_equal(peer->push_state, PUSH_LIVE);
    write_in_turn(1, 1);
    assert_int_equal(peer->push_state, PUSH_LAGGING);
    assert_int_equal(peer->sending_count, 1);
}

/* It would be told of memory that is gone. */
static void test_what_a_lag_stands_on_may_move_and_go(void **state)
{
    (void)state;
    struct peer *peer = meet(2)->peer;
    peer->up = true;
    push_start(peer);
    struct record *from = write_key(0, 1), *to = write_key(1, 1);
    uint32_t shard = store_key(in.store, record_key(from)).shard;
    assert_ptr_equal(peer->lag->at[shard], from);
    cluster_on_move(in.cluster, shard, from, to);
    assert_ptr_equal(peer->lag->at[shard], to);
    cluster_on_move(in.cluster, shard, to, from);
    cluster_on_drop(in.cluster, shard, from);
    assert_null(peer->lag->at[shard]);
}

/* What a member has yet to be told goes out in several batches, and it has no room for the first one. Those behind it may be on their
 * way by then, or be made later. */
static void fail_first_batch(unsigned records, enum push_state then)
{
    enum { RECORD_BYTES = 8000 };
    struct peer *peer = meet(2)->peer;
    unsigned called = 0;
    open_push(peer);
    struct copies *copies = NULL;
    for (unsigned i = 0; i < records; i++) {
        struct record *record = write_key(i, RECORD_BYTES);
        if (i == 0)
            copies = cluster_await_copies(in.cluster, record, 2, no_matter, &called);
    }
    push_turn_end(in.cluster);
    loop_turn(&in.loop, 0);
    push_turn_end(in.cluster);
    loop_turn(&in.loop, 0);
    assert_in_range(peer->sending_count, 2, PUSH_BATCHES_MAX);
    assert_int_equal(peer->push_state, then);
    const char *status = "507 No";
    while (peer->sending_count > 0) {
        answer_push(peer, status);
        push_turn_end(in.cluster);
        status = "200 OK";
    }
    assert_int_equal(peer->push_state, PUSH_LIVE);
    assert_true(peer->missed);
    assert_int_equal(copies_have(copies), 1);
    assert_int_equal(called, 0);
    cluster_forget_copies(in.cluster, copies);
}

static void test_a_batch_that_failed_is_not_confirmed_by_the_next_one(void **state)
{
    (void)state;
    fail_first_batch(60, PUSH_LIVE);
}

static void test_a_batch_that_failed_is_not_confirmed_by_a_later_one(void **state)
{
    (void)state;
    fail_first_batch(600, PUSH_LAGGING);
}

/* It was in nobody's batch and in no lag: that there is nothing to tell does not mean that the member has it. */
static void test_a_write_made_just_before_a_member_is_up_is_not_confirmed_by_it(void **state)
{
    (void)state;
    struct peer *peer = meet(2)->peer;
    unsigned called = 0;
    struct copies *copies =
        cluster_await_copies(in.cluster, write_key(0, 100), 2, no_matter, &called);
    open_push(peer); /* in the same turn */
    push_turn_end(in.cluster);
    loop_turn(&in.loop, 0);
    assert_true(push_is_done(peer));
    assert_int_equal(fake_output(in.io, ((struct conn *)peer->push)->fd).len, 0);
    assert_int_equal(copies_have(copies), 1);
    assert_int_equal(called, 0);
    cluster_forget_copies(in.cluster, copies);
}

/* Else its client is told of too few copies, after all the time that it waits. */
static void test_a_write_made_just_before_a_connection_opens_is_confirmed(void **state)
{
    (void)state;
    struct peer *peer = meet(2)->peer;
    unsigned called = 0;
    peer->up = true;
    push_start(peer);
    struct copies *copies =
        cluster_await_copies(in.cluster, write_key(0, 100), 2, no_matter, &called);
    loop_turn(&in.loop, 0);
    loop_turn(&in.loop, 0);
    answer_push(peer, "200 OK"); /* on the connection */
    assert_int_equal(peer->sending_count, 1);
    answer_push(peer, "200 OK");
    assert_int_equal(peer->sending_count, 0);
    assert_int_equal(copies_have(copies), 2);
    assert_int_equal(called, 1);
    cluster_forget_copies(in.cluster, copies);
}

/* Who has confirmed a write and was killed since has no copy of it, however long others are waited for. One that was cut off has. */
static void test_a_copy_counts_as_long_as_its_member_is_there(void **state)
{
    (void)state;
    struct peer *second = meet(2)->peer, *third = meet(3)->peer;
    unsigned called = 0;
    in.cluster->batch_number = COPIES_LISTS - 1; /* all lists are looked at */
    second->up = third->up = true;
    struct record *record = write_key(0, 100);
    struct copies *copies = cluster_await_copies(in.cluster, record, 3, no_matter, &called);
    uint64_t batch = in.cluster->batch_number;
    copies_confirm(in.cluster, 2, batch, batch + 1);
    assert_int_equal(copies_have(copies), 2);
    peer_down(second, "it was killed");
    assert_int_equal(copies_have(copies), 1);
    copies_confirm(in.cluster, 3, batch, batch + 1);
    assert_int_equal(copies_have(copies), 2);
    assert_false(copies_are_enough(copies));
    assert_int_equal(called, 0);
    peer_up(second); /* it was not */
    assert_int_equal(copies_have(copies), 3);
    assert_int_equal(called, 1);
    cluster_forget_copies(in.cluster, copies);
}

/* Its record was there in the life that is over, at an address that another process has since. */
static void test_a_copy_of_a_life_that_is_over_does_not_count(void **state)
{
    (void)state;
    unsigned called = 0;
    struct member *before = meet(2), next = *before;
    before->peer->up = true;
    struct copies *copies =
        cluster_await_copies(in.cluster, write_key(0, 100), 3, no_matter, &called);
    copies_confirm(in.cluster, 2, in.cluster->batch_number, in.cluster->batch_number + 1);
    assert_int_equal(copies_have(copies), 2);
    next.id = 3;
    next.stamp++;
    assert_true(members_merge(&in.cluster->members, &next));
    assert_int_equal(copies_have(copies), 1);
    cluster_forget_copies(in.cluster, copies);
}

/* There is no room for the names of those that came when it was waited for already. */
static void test_more_confirm_than_were_there(void **state)
{
    (void)state;
    unsigned called = 0;
    meet(2)->peer->up = true;
    struct copies *copies =
        cluster_await_copies(in.cluster, write_key(0, 100), 4, no_matter, &called);
    for (uint64_t id = 3; id <= 20; id++)
        meet(id)->peer->up = true;
    for (uint64_t id = 2; id <= 20; id++)
        copies_confirm(in.cluster, id, in.cluster->batch_number, in.cluster->batch_number + 1);
    assert_int_equal(copies_have(copies), 2);
    cluster_forget_copies(in.cluster, copies);
}

/* However many of those that had confirmed are gone, the others that do so later count. */
static void test_copies_of_all_that_have_it_count_after_some_are_gone(void **state)
{
    (void)state;
    unsigned called = 0;
    for (uint64_t id = 2; id <= 5; id++)
        meet(id)->peer->up = true;
    struct record *record = write_key(0, 100);
    struct copies *copies = cluster_await_copies(in.cluster, record, 3, no_matter, &called);
    uint64_t batch = in.cluster->batch_number;
    for (uint64_t id = 2; id <= 5; id++) {
        copies_confirm(in.cluster, id, batch, batch + 1);
        if (id < 4)
            peer_down(members_find(&in.cluster->members, id)->peer, "it was killed");
    }
    assert_int_equal(copies_have(copies), 3);
    assert_int_equal(called, 1);
    cluster_forget_copies(in.cluster, copies);
}

/* Expiry */

static const int64_t a_day = 86400LL * SECOND;

/* A member whose clock is so far ahead of this node's. */
static struct peer *measure(uint64_t id, int64_t skew_us)
{
    struct peer *peer = meet(id)->peer;
    peer->measured = true;
    peer->skew_us = skew_us;
    return peer;
}

static int64_t expiry_skew(void)
{
    return (int64_t)(cluster_expiry_us(in.cluster) - in.loop.wall_us);
}

static void test_no_clock_that_is_wrong_alone_ends_values(void **state)
{
    (void)state;
    in.loop.wall_us = (uint64_t)(20000 * a_day);
    assert_int_equal(expiry_skew(), 0);
    struct peer *two = meet(2)->peer; /* it has not been asked yet */
    two->skew_us = -a_day;
    assert_int_equal(expiry_skew(), 0);
    in.loop.wall_us += (uint64_t)a_day; /* there is no other clock */
    assert_int_equal(expiry_skew(), 0);
    two = measure(3, -a_day);
    assert_int_equal(expiry_skew(), -a_day); /* of two the slower one */
    two->skew_us = a_day;
    assert_int_equal(expiry_skew(), 0);
    two->skew_us = -CLUSTER_SKEW_US; /* so much counts as the same */
    assert_int_equal(expiry_skew(), 0);
    two->skew_us = 5;
    struct peer *three = measure(4, -20000 * a_day); /* of three not the one of 1970 */
    assert_int_equal(expiry_skew(), 0);
    three->skew_us = 20000 * a_day;
    assert_int_equal(expiry_skew(), 0);
    three->skew_us = -5;
    in.loop.wall_us += (uint64_t)(2 * a_day); /* nor the own one, at once */
    assert_int_equal(expiry_skew(), -2 * a_day + 5);
    assert_int_equal(two->skew_us, -2 * a_day + 5);
}

static void test_the_lower_median_of_many_clocks_ends_values(void **state)
{
    (void)state;
    in.loop.wall_us = (uint64_t)(20000 * a_day);
    (void)cluster_expiry_us(in.cluster);
    for (unsigned i = 0; i < 4; i++)
        (void)measure(2 + i, -(int64_t)(5 - i) * a_day); /* 5, 4, 3 and 2 days behind */
    assert_int_equal(expiry_skew(), -3 * a_day);
    struct peer *six = measure(6, -6 * a_day);
    assert_int_equal(expiry_skew(), -4 * a_day);
    six->skew_us = -4 * a_day;
    assert_int_equal(expiry_skew(), -4 * a_day);
    (void)measure(7, INT64_MIN);
    (void)measure(8, INT64_MIN);
    (void)measure(9, INT64_MIN);
    (void)measure(10, INT64_MIN);
    assert_int_equal(expiry_skew(), -5 * a_day);
    for (unsigned i = 0; i < 4; i++)
        (void)measure(11 + i, INT64_MIN);
    assert_int_equal(cluster_expiry_us(in.cluster), 0);
}

/* What is known of another clock is as exact as the way there is quick: that makes no time go back, unless a clock was set. */
static void test_the_time_by_which_values_end_does_not_tremble(void **state)
{
    (void)state;
    in.loop.wall_us = (uint64_t)(20000 * a_day);
    (void)cluster_expiry_us(in.cluster);
    struct peer *two = measure(2, -a_day);
    uint64_t last_us = cluster_expiry_us(in.cluster);
    for (int i = 0; i < 20; i++) {
        two->skew_us = -a_day + (i % 2 ? 300000 : -300000);
        in.loop.now_us = in.io->now_us += 1000;
        in.loop.wall_us += 1000;
        uint64_t us = cluster_expiry_us(in.cluster);
        assert_true(us >= last_us);
        last_us = us;
    }
    two->skew_us = -a_day - 3 * (int64_t)CLUSTER_SKEW_US;
    assert_int_equal(cluster_expiry_us(in.cluster), in.loop.wall_us + (uint64_t)two->skew_us);
}

/* Repair */

static void put_number(char *at, uint64_t number, unsigned bytes)
{
    while (bytes--) {
        at[bytes] = (char)number;
        number >>= 8;
    }
}

static void answer_repair(const struct peer *peer, const char *body, size_t bytes)
{
    char head[64];
    int fd = ((struct conn *)peer->bulk)->fd;
    fake_forget(in.io, fd);
    snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", bytes);
    fake_feed(in.io, fd, slice_of(head));
    fake_feed(in.io, fd, (struct slice){body, bytes});
    loop_turn(&in.loop, 0);
}

/* A hello may show that a member has all before the repair with it ends: the end of that is what the next member waits for. No time
 * passes here. */
static void be_ready(void)
{
    in.cluster->has_everything = true;
    in.cluster->gather.step = GATHER_DONE;
    self_of(in.cluster)->phase = PHASE_READY;
}

/* A repair shows what was the same when it began: what was missed since is missed still. */
static void test_what_was_missed_during_a_repair_stays_so(void **state)
{
    (void)state;
    struct peer *peer = meet(2)->peer;
    be_ready();
    peer->up = true;
    for (int during = 1; during >= 0; during--) {
        push_forget(peer);
        in.loop.now_us = in.io->now_us += 2 * REPAIR_PAUSE_US;
        repair_start(peer);
        loop_turn(&in.loop, 0);
        loop_turn(&in.loop, 0);
        if (during)
            push_forget(peer);
        answer_repair(peer, "", 0);
        assert_int_equal(peer->repair.step, REPAIR_IDLE);
        assert_int_equal(peer->missed, during);
    }
}

/* What a member answers that is damaged, or of another version, is not looked up in any table. */
static void test_nonsense_ends_a_repair(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
    } answers[][3] = {
        {{"\x80", 1}},
        {{"\0", 1}, {"\x40\0", 2}},
        {{"\0", 1}, {"\0", 1}},
        {{"\0", 1}, {"\0\1", 2}, {"\0\1\0\0\0\2abcdefgh", 14}},
        {{"\0", 1}, {"\0\1", 2}, {"\0\2\0\0\0\1abcdefgh", 14}},
        {{"\0", 1}, {"\0\1", 2}, {"\0\1\0\0\0", 5}},
        {{"\0", 1}, {"\0\1", 2}, {"", 0}},
    };
    struct peer *peer = meet(2)->peer;
    be_ready();
    peer->up = true;
    for (size_t row = 0; row < COUNT(answers); row++) {
        in.loop.now_us = in.io->now_us += 2 * REPAIR_PAUSE_US;
        repair_start(peer);
        loop_turn(&in.loop, 0);
        loop_turn(&in.loop, 0);
        for (size_t step = 0; step < 3 && answers[row][step].bytes; step++) {
            assert_int_not_equal(peer->repair.step, REPAIR_IDLE);
            answer_repair(peer, answers[row][step].bytes, answers[row][step].len);
        }
        assert_int_equal(peer->repair.step, REPAIR_IDLE);
        assert_true(peer->missed);
    }
}

/* What is the same was so when the question went out: a record may have come to one of the two since. */
static void test_what_is_the_same_was_so_when_a_repair_began(void **state)
{
    (void)state;
    struct peer *peer = meet(2)->peer;
    be_ready();
    peer->up = true;
    repair_start(peer);
    uint64_t then_us = in.loop.now_us;
    loop_turn(&in.loop, 0);
    loop_turn(&in.loop, 0);
    in.io->now_us += SECOND;
    answer_repair(peer, "\0", 1);
    answer_repair(peer, "\0\1", 2);
    assert_int_equal(peer->agreed_group_us[1], then_us);
    assert_int_equal(peer->agreed_group_us[0], 0);
    assert_int_equal(peer->agreed_shard_us[0], then_us);
    assert_int_equal(peer->agreed_shard_us[1], 0);
}

/* One of two sees to a difference, or each would send the other all of it. If it cannot, the other one does. */
static void test_who_has_the_smaller_number_repairs(void **state)
{
    (void)state;
    struct peer *smaller = meet(1)->peer, *larger = meet(UINT64_MAX)->peer;
    be_ready();
    smaller->up = larger->up = true;
    repair_on_hello(larger, false);
    assert_int_equal(larger->repair.step, REPAIR_CONNECTING);
    repair_stop(larger);
    for (unsigned i = 0; i < 2 * REPAIR_PATIENCE; i++) {
        if (i == REPAIR_PATIENCE - 1)
            repair_on_hello(smaller, true);
        assert_int_equal(smaller->repair.step, REPAIR_IDLE);
        repair_on_hello(smaller, false);
    }
    repair_on_hello(smaller, false);
    assert_int_equal(smaller->repair.step, REPAIR_CONNECTING);
}

static void test_a_newcomer_goes_on_when_a_repair_ends_that_a_hello_has_overtaken(void **state)
{
    (void)state;
    struct peer *first = meet(2)->peer, *second = meet(3)->peer;
    first->up = first->knows_us = second->up = second->knows_us = true;
    first->answered_us = second->answered_us = in.loop.now_us;
    in.cluster->gather.step = GATHER_CHECKING;
    gather_tick(in.cluster);
    loop_turn(&in.loop, 0);
    loop_turn(&in.loop, 0);
    assert_int_equal(first->repair.step, REPAIR_GROUPS);
    gather_checked(first, in.loop.now_us);
    loop_turn(&in.loop, 0);
    assert_int_equal(second->repair.step, REPAIR_IDLE);
    answer_repair(first, "", 0);
    assert_int_equal(first->repair.step, REPAIR_IDLE);
    loop_turn(&in.loop, 0);
    assert_int_not_equal(second->repair.step, REPAIR_IDLE);
}

/* The grace period is over for nobody because one clock was wrong for a moment: nobody's deletes, and nobody's writes would be stamped by it. */
static void test_a_clock_that_is_set_does_not_move_the_horizon(void **state)
{
    (void)state;
    uint64_t day_us = in.config.grace_us, year_us = 365 * day_us;
    struct peer *peer = meet(2)->peer;
    in.cluster->has_everything = in.cluster->joined = true;
    self_of(in.cluster)->phase = PHASE_READY;
    in.loop.wall_us = 10 * day_us;
    cluster_note_clock(in.cluster);
    peer->skew_us = 0;
    peer->up = true;
    peer->measured = true;
    peer->answered_us = in.loop.now_us;
    in.loop.wall_us += year_us;
    in.cluster->tick.on_time(&in.cluster->tick);
    assert_true(in.cluster->horizon_us <= 9 * day_us);
    assert_true(peer->skew_us == -(int64_t)year_us);
    in.loop.wall_us -= year_us;
    in.cluster->tick.on_time(&in.cluster->tick);
    assert_true(peer->skew_us == 0);
    assert_true(in.cluster->horizon_us <= 9 * day_us && in.cluster->horizon_us > 8 * day_us);
}

/* The slowest clock may be that of a member that is down, or of one that was not asked yet; and who had it may be back at once. */
static void test_the_horizon_waits_for_clocks_that_are_not_known(void **state)
{
    (void)state;
    uint64_t day_us = in.config.grace_us;
    struct peer *slow = meet(2)->peer, *other = meet(3)->peer;
    in.cluster->has_everything = in.cluster->joined = true;
    self_of(in.cluster)->phase = PHASE_READY;
    in.loop.wall_us = 10 * day_us;
    cluster_note_clock(in.cluster);
    slow->measured = true;
    slow->skew_us = -(int64_t)(5 * day_us);
    other->skew_us = 0;
    in.cluster->tick.on_time(&in.cluster->tick);
    assert_int_equal(in.cluster->horizon_us, 0); /* the other one was not asked yet */
    other->asked_us = other->answered_us = in.loop.now_us;
    other->up = true;
    in.cluster->tick.on_time(&in.cluster->tick);
    assert_int_equal(in.cluster->horizon_us,
                     0); /* its first answer came late, and so says nothing of its clock */
    other->measured = true;
    in.cluster->tick.on_time(&in.cluster->tick);
    assert_int_equal(in.cluster->horizon_us, 4 * day_us);
    member_go(slow->member, MEMBER_LEFT, in.loop.wall_us);
    member_go(other->member, MEMBER_LEFT, in.loop.wall_us);
    for (int i = 0; i < 2; i++)
        in.cluster->tick.on_time(&in.cluster->tick);
    assert_int_equal(in.cluster->horizon_us, 4 * day_us);
}

static void hear_hello(const char *joined, uint64_t horizon_us, uint64_t since_us)
{
    char body[300];
    uint64_t id;
    const char *why;
    int used =
        snprintf(body, sizeof body,
                 "protocol 1\ncluster fog\npartition -\njoined %s\nsince %llu\nhorizon %llu\n"
                 "member 10.0.0.9:8000 ready 0000000000000009 9 0 0\n",
                 joined, (unsigned long long)since_us, (unsigned long long)horizon_us);
    assert_int_equal(hello_take(in.cluster, (struct slice){body, (size_t)used}, &id, &why),
                     HELLO_FINE);
}

/* Nobody has agreed with it, and its clock may have been wrong. */
static void test_the_horizon_of_who_was_alone_does_not_count(void **state)
{
    (void)state;
    in.loop.wall_us = 9000;
    in.cluster->horizon_us = 7000;
    in.cluster->since_us = 5000;
    hear_hello("0", 8000, 4000);
    assert_int_equal(in.cluster->horizon_us, 7000);
    char room[2000];
    assert_true(has_bytes(hello_print(in.cluster, room, sizeof room), "\njoined 0\n"));
    in.cluster->tick.on_time(&in.cluster->tick);
    assert_true(has_bytes(hello_print(in.cluster, room, sizeof room), "\njoined 1\n"));
    assert_int_equal(in.cluster->horizon_us, 0);
    assert_int_equal(in.cluster->since_us, 9000);
    hear_hello("1", 6000, 4000);
    assert_int_equal(in.cluster->horizon_us, 6000);
    assert_int_equal(in.cluster->since_us, 4000);
}

/* It has yet to remember what expired of late; and by the horizon that counts from then on, that may not be old. */
static void test_who_was_alone_tells_of_what_has_just_expired(void **state)
{
    (void)state;
    const uint64_t hour_us = 3600ULL * SECOND, written_us = 100 * hour_us;
    struct said said = {.key = SLICE("key"),
                        .value = SLICE("value"),
                        .version = written_us,
                        .expires_us = written_us + 2 * hour_us};
    struct store_key key = store_key(in.store, said.key);
    self_of(in.cluster)->phase = PHASE_READY;
    in.loop.wall_us = written_us + 25 * hour_us;
    assert_int_equal(
        store_merge(in.store, &key, said_record(store_heap(in.store), &said), written_us),
        STORE_APPLIED);
    assert_false(store_expire(in.store, in.loop.wall_us, 1000000));
    const struct record *deleted = store_find(in.store, &key);
    assert_true(record_is_tombstone(deleted));
    in.cluster->tick.on_time(&in.cluster->tick);
    assert_true(in.cluster->horizon_us > written_us);
    for (uint32_t shard = 0; shard < STORE_SHARDS; shard++)
        store_sweep(in.store, in.loop.wall_us, 1);
    assert_int_equal(store_digest(in.store), record_digest(deleted));
    assert_true(store_lists(in.store, key.shard, deleted));
    (void)meet(2);
    in.cluster->tick.on_time(&in.cluster->tick);
    assert_int_equal(store_digest(in.store), record_digest(deleted));
    assert_true(store_lists(in.store, key.shard, deleted));
}

/* The same when it was not alone before, and those that were there are forgotten. */
static void test_the_horizon_of_who_is_alone_again_does_not_count(void **state)
{
    (void)state;
    char room[2000];
    in.loop.wall_us = 9000;
    in.cluster->joined = true;
    in.cluster->agreement.alone = false;
    in.cluster->horizon_us = 7000;
    in.cluster->since_us = 5000;
    assert_true(has_bytes(hello_print(in.cluster, room, sizeof room), "\nhorizon 7000\n"));
    in.cluster->tick.on_time(&in.cluster->tick);
    (void)meet(2);
    assert_true(has_bytes(hello_print(in.cluster, room, sizeof room), "\nhorizon 0\n"));
    in.cluster->tick.on_time(&in.cluster->tick);
    assert_int_equal(in.cluster->horizon_us, 0);
    assert_int_equal(in.cluster->since_us, 5000);
    in.cluster->horizon_us = 6000;
    in.cluster->tick.on_time(&in.cluster->tick);
    assert_true(has_bytes(hello_print(in.cluster, room, sizeof room), "\nhorizon 6000\n"));
}

/* By this node's clock, so that it is remembered for as long as others are, whatever the clock of who saw it go. */
static void test_when_a_member_has_gone_is_told_by_ones_own_clock(void **state)
{
    (void)state;
    static const char *const gone[] = {"1", "99999999999999"};
    for (unsigned i = 0; i < 2; i++) {
        char body[300];
        uint64_t id;
        uint64_t ago_us = SECOND;
        const char *why;
        struct member *member = meet(2 + i);
        in.loop.wall_us = 10 * in.config.forget_us;
        in.loop.now_us += ago_us;
        int used = snprintf(body, sizeof body,
                            "protocol 1\ncluster fog\npartition -\njoined 1\n"
                            "member 10.0.0.9:8000 ready 0000000000000009 9 0 0\n"
                            "member 10.0.0.%u:8000 left 000000000000000%u 1 %s 0\n",
                            2 + i, 2 + i, gone[i]);
        assert_int_equal(hello_take(in.cluster, (struct slice){body, (size_t)used}, &id, &why),
                         HELLO_FINE);
        assert_int_equal(member->state, MEMBER_LEFT);
        assert_int_equal(member->gone_us, in.loop.wall_us - (i == 0 ? ago_us : 0));
    }
}

/* Whether a member that nobody here knows is taken in: it is of a cluster, has records or none, and started so long ago. */
static bool is_taken(uint64_t age_us, bool has_records)
{
    char body[300];
    uint64_t id;
    const char *why;
    int used = snprintf(body, sizeof body,
                        "protocol 1\ncluster fog\npartition -\njoined 1\ndigest %016x\n"
                        "member 10.0.0.9:8000 ready 0000000000000009 %llu 0 0\n",
                        has_records, (unsigned long long)(in.loop.wall_us - age_us));
    bool fine = hello_take(in.cluster, (struct slice){body, (size_t)used}, &id, &why) == HELLO_FINE;
    assert_true(fine || strstr(why, "forgot it long ago"));
    return fine;
}

/* It may have what was deleted since; but only where somebody was there to forget it. To all others old members are as good as any, or a
 * cluster that has been there for a day would take nobody in. */
static void test_who_was_forgotten_is_refused_by_those_who_can_have_forgotten_it(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool joined, has_everything, is_old, taken;
    } rows[] = {
        {"it is new itself", false, false, false, true},
        {"it is gathering from an old cluster", true, false, true, true},
        {"it has always been alone", false, true, true, true},
        {"its cluster is young", true, true, false, true},
        {"its cluster is old", true, true, true, false},
    };
    uint64_t day_us = in.config.forget_us;
    in.loop.wall_us = 10 * day_us;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        in.cluster->joined = rows[i].joined;
        in.cluster->has_everything = rows[i].has_everything;
        in.cluster->since_us = in.loop.wall_us - (rows[i].is_old ? day_us + 1 : day_us / 2);
        if (is_taken(day_us + SECOND, true) != rows[i].taken)
            fail_msg("%s", rows[i].name);
        struct member *taken = members_find(&in.cluster->members, 9);
        if (taken) { /* forget it, without a trace */
            if (taken->peer)
                peer_destroy(taken->peer);
            member_go(taken, MEMBER_LEFT, 1);
            members_forget(&in.cluster->members, 2);
        }
        assert_null(members_find(&in.cluster->members, 9));
    }
    assert_true(is_taken(day_us - SECOND, true)); /* it cannot have been forgotten yet */
}

/* It has just been started, and its clock is far behind: there is nothing that it could bring back, and to start it once more would not help. */
static void test_a_newcomer_with_an_old_clock_is_not_taken_for_one_that_was_forgotten(void **state)
{
    (void)state;
    uint64_t day_us = in.config.forget_us;
    in.loop.wall_us = 10 * day_us;
    in.cluster->joined = in.cluster->has_everything = true;
    in.cluster->since_us = in.loop.wall_us - day_us - 1;
    assert_true(is_taken(day_us + SECOND, false));
}

/* A hello of the member of this number, which knows another one. Returns why it is not taken; NULL when it is. */
static const char *hear_of_two(unsigned number, const char *phase, unsigned other,
                               const char *other_phase)
{
    char body[300];
    uint64_t id;
    const char *why;
    int used = snprintf(body, sizeof body,
                        "protocol 1\ncluster fog\npartition -\njoined 1\n"
                        "member 10.0.0.%u:8000 %s %016x 9 0 0\n"
                        "member 10.0.0.%u:8000 %s %016x 9 %llu 0\n",
                        number, phase, number, other, other_phase, other,
                        (unsigned long long)in.loop.wall_us);
    if (hello_take(in.cluster, (struct slice){body, (size_t)used}, &id, &why) == HELLO_FINE)
        return NULL;
    return why;
}

/* By one it has heard that the other one was dropped, and by that one the same of the first. Neither is to hear of it from this node. */
static void test_a_newcomer_does_not_choose_between_two_that_have_dropped_each_other(void **state)
{
    (void)state;
    char room[2000];
    assert_null(hear_of_two(2, "ready", 3, "dropped"));
    assert_null(in.cluster->refused);
    assert_true(has_bytes(hello_print(in.cluster, room, sizeof room), " dropped "));
    const char *why = hear_of_two(3, "ready", 2, "dropped");
    assert_true(why && strstr(why, "have dropped each other"));
    assert_true(in.cluster->refused && strstr(in.cluster->refused, "dropped each other"));
    assert_false(has_bytes(hello_print(in.cluster, room, sizeof room), " dropped "));
}

/* One that was dropped alone, and comes back, is no other part: all that are ready tell it. */
static void test_a_newcomer_goes_on_when_one_comes_back_that_was_dropped(void **state)
{
    (void)state;
    assert_null(hear_of_two(2, "ready", 3, "dropped"));
    assert_non_null(hear_of_two(3, "ready", 2, "ready"));
    assert_null(in.cluster->refused);
}

/* It is of another part of the cluster: it was started since, so that nobody knows it. */
static void test_a_stranger_from_another_part_of_the_cluster_is_not_taken(void **state)
{
    (void)state;
    in.cluster->joined = in.cluster->has_everything = true;
    self_of(in.cluster)->phase = PHASE_READY;
    self_of(in.cluster)->id = 1;
    in.cluster->since_us = in.loop.wall_us;
    meet(2);
    member_go(meet(3), MEMBER_DROPPED, in.loop.wall_us);
    assert_non_null(hear_of_two(9, "joining", 1, "dropped")); /* this node was dropped there, */
    assert_non_null(hear_of_two(9, "joining", 2, "dropped")); /* or a member of it was, */
    assert_non_null(hear_of_two(9, "ready", 3, "ready"));     /* or one of theirs was here */
    assert_null(members_find(&in.cluster->members, 9));
    assert_null(in.cluster->refused);
    assert_null(hear_of_two(9, "joining", 3, "ready")); /* it will hear of that */
    assert_non_null(hear_of_two(9, "ready", 1, "dropped"));
    assert_null(in.cluster->refused);
    assert_null(hear_of_two(2, "ready", 1, "dropped")); /* of one's own part */
    assert_non_null(in.cluster->refused);
}

/* It goes by the one that it has asked first, and that one may be of another part of the cluster. */
static void test_a_newcomer_has_no_say_in_who_was_dropped(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct peer *peer = meet(2 + i)->peer;
        peer->member->phase = i == 0 ? PHASE_JOINING : PHASE_READY;
        connect_upstream(peer->control, peer);
        fake_feed(in.io, ((struct conn *)peer->control)->fd,
                  SLICE("HTTP/1.1 409 Conflict\r\nContent-Length: 94\r\n\r\nThis member was "
                        "dropped while it was cut off, and may have what was deleted since: "
                        "restart it."));
        loop_turn(&in.loop, 0);
        assert_true(peer->quiet_us > 0);
        assert_int_equal(in.cluster->refused != NULL, i == 1);
    }
}

/* They may have dropped it meanwhile, which it is to hear before it drops them as well. */
static void test_who_has_stood_still_drops_nobody_at_once(void **state)
{
    (void)state;
    const struct member *member = meet(2);
    in.cluster->tick.on_time(&in.cluster->tick);
    in.loop.now_us += in.config.forget_us + SECOND;
    in.cluster->tick.on_time(&in.cluster->tick);
    assert_int_equal(member->state, MEMBER_HERE);
    for (unsigned seconds = 1; seconds <= 61; seconds++) {
        assert_int_equal(member->state, MEMBER_HERE);
        in.loop.now_us += SECOND;
        in.cluster->tick.on_time(&in.cluster->tick);
    }
    assert_int_equal(member->state, MEMBER_DROPPED);
}

/* It is cut off, and comes back, maybe, before the others have dropped it: then it is to be told so, and not to tell all of them. */
static void test_who_hears_nobody_lets_others_drop_it_first(void **state)
{
    (void)state;
    struct member *lost = meet(2), *heard = meet(3);
    in.cluster->woke_us = 0;
    in.loop.now_us += in.config.forget_us + SECOND;
    in.cluster->ticked_us = in.loop.now_us;
    in.cluster->tick.on_time(&in.cluster->tick);
    assert_int_equal(lost->state, MEMBER_HERE);
    heard->heard_us = in.loop.now_us;
    heard->peer->up = true;
    heard->peer->answered_us = in.loop.now_us;
    in.cluster->tick.on_time(&in.cluster->tick);
    assert_int_equal(lost->state, MEMBER_DROPPED);
    assert_int_equal(heard->state, MEMBER_HERE);
    heard->peer->up = false;
    in.loop.now_us += in.config.forget_us;
    for (unsigned seconds = 1; seconds <= 61; seconds++) {
        heard->heard_us = in.loop.now_us - in.config.forget_us - (uint64_t)seconds * SECOND;
        in.cluster->ticked_us = in.loop.now_us;
        assert_int_equal(heard->state, MEMBER_HERE);
        in.cluster->tick.on_time(&in.cluster->tick);
    }
    assert_int_equal(heard->state, MEMBER_DROPPED);
}

/* A newcomer's cluster is as old as the one that it gathers from. */
static void test_the_age_of_a_cluster_is_that_of_its_oldest_ready_member(void **state)
{
    (void)state;
    static const char *const phases[] = {"joining", "ready"};
    in.loop.wall_us = in.cluster->since_us = 5000000;
    for (unsigned i = 0; i < 2; i++) {
        char body[300];
        uint64_t id;
        const char *why;
        int used = snprintf(body, sizeof body,
                            "protocol 1\ncluster fog\npartition -\njoined 1\nsince 4000000\n"
                            "member 10.0.0.9:8000 %s 0000000000000009 4500000 0 0\n",
                            phases[i]);
        assert_int_equal(hello_take(in.cluster, (struct slice){body, (size_t)used}, &id, &why),
                         HELLO_FINE);
        assert_int_equal(in.cluster->since_us, i == 0 ? 5000000 : 4000000);
    }
}

/* Who leaves gives what it has to one of those who stay: to one that was compared with before, it may be. */
static void test_a_newcomer_compares_anew_when_a_member_has_left(void **state)
{
    (void)state;
    struct peer *stays = meet(2)->peer, *leaves = meet(3)->peer;
    stays->up = stays->knows_us = leaves->up = leaves->knows_us = true;
    stays->answered_us = leaves->answered_us = in.loop.now_us;
    in.cluster->gather.step = GATHER_CHECKING;
    gather_checked(stays, in.loop.now_us);
    leaves->member->phase = PHASE_LEAVING;
    leaves->member->heard_us = in.loop.now_us;
    gather_tick(in.cluster);
    assert_false(cluster_is_ready(in.cluster));
    assert_int_equal(stays->repair.step, REPAIR_IDLE); /* not again and again while it leaves */
    in.loop.now_us += 1000;
    gather_checked(stays, in.loop.now_us);
    in.loop.now_us += 1000;
    member_go(leaves->member, MEMBER_LEFT, UINT64_MAX / 2);
    in.cluster->tick.on_time(&in.cluster->tick); /* it is let go of */
    assert_int_equal(members_find(&in.cluster->members, 3)->state, MEMBER_LEFT);
    gather_tick(in.cluster);
    assert_false(cluster_is_ready(in.cluster));
    assert_int_not_equal(stays->repair.step, REPAIR_IDLE);
    in.loop.now_us += 1000;
    gather_checked(stays, in.loop.now_us);
    gather_tick(in.cluster);
    assert_true(cluster_is_ready(in.cluster));
}

/* Others tell of it in each hello, if their clocks are behind, or as they remember for longer: it has gone once. */
static void test_who_has_long_gone_does_not_go_again_with_each_hello(void **state)
{
    (void)state;
    uint64_t day_us = in.config.forget_us, id;
    in.loop.wall_us = 10 * day_us;
    for (unsigned days = 1; days <= 2; days++) {
        char body[300];
        const char *why;
        int used = snprintf(body, sizeof body,
                            "protocol 1\ncluster fog\npartition -\njoined 1\n"
                            "member 10.0.0.9:8000 ready 0000000000000009 9 0 0\n"
                            "member 10.0.0.8:8000 left 0000000000000008 8 %llu 0\n",
                            (unsigned long long)(in.loop.wall_us - days * day_us));
        for (unsigned i = 0; i < 3; i++) {
            in.loop.now_us += SECOND;
            assert_int_equal(hello_take(in.cluster, (struct slice){body, (size_t)used}, &id, &why),
                             HELLO_FINE);
            in.cluster->tick.on_time(&in.cluster->tick);
        }
        struct member *gone = members_find(&in.cluster->members, 8);
        assert_int_equal(gone != NULL, days == 1);
        assert_int_equal(in.cluster->departed_us, days == 1 ? in.loop.now_us - 2 * SECOND : 0);
        if (gone) { /* forget it */
            gone->gone_us = 1;
            members_forget(&in.cluster->members, 2);
            in.cluster->departed_us = 0;
        }
    }
}

/* A link may be cut between two alone: what the one has that is not reached, those have who reach it. */
static void test_a_newcomer_does_not_wait_for_ever_for_who_is_reached_by_others_only(void **state)
{
    (void)state;
    struct peer *reached = meet(2)->peer, *not_reached = meet(3)->peer;
    reached->up = reached->knows_us = true;
    in.cluster->gather.step = GATHER_CHECKING;
    in.cluster->gather.copied = true;
    in.cluster->gather.copied_us = in.loop.now_us;
    for (unsigned i = 0; i < 2; i++) {
        not_reached->member->heard_us = in.loop.now_us;
        gather_checked(reached, in.loop.now_us);
        gather_tick(in.cluster);
        assert_false(cluster_is_ready(in.cluster));
        in.loop.now_us += CLUSTER_DEAD_US / 2 + 1;
    }
    not_reached->member->heard_us = in.loop.now_us;
    gather_checked(reached, in.loop.now_us);
    gather_tick(in.cluster);
    assert_true(cluster_is_ready(in.cluster));
}

/* So that of three new ones one is first, though two of them do not reach each other. */
static void test_who_is_new_as_others_tell_is_not_waited_for_as_if_it_had_something(void **state)
{
    (void)state;
    uint64_t own = self_of(in.cluster)->id;
    for (unsigned i = 0; i < 2; i++) {
        struct member said = {
            .id = i == 0 ? own - 1 : own + 1,
            .address = {.ip = {[10] = 255, [11] = 255, [12] = 10, [15] = 9}, .port = 8000},
            .stamp = 1 + i,
            .heard_us = in.loop.now_us,
            .joining_us = in.loop.now_us,
            .phase = PHASE_JOINING};
        assert_true(members_merge(&in.cluster->members, &said));
        cluster_sync_peers(in.cluster);
        in.cluster->waited_us = CLUSTER_DEAD_US;
        gather_tick(in.cluster);
        assert_int_equal(cluster_is_ready(in.cluster),
                         i == 1); /* who has the smaller number is first */
        struct member *other = members_find(&in.cluster->members, said.id);
        peer_destroy(other->peer);
        member_go(other, MEMBER_LEFT, 1);
    }
}

/* The last one that it waits for, maybe. No time passes here. */
static void test_a_newcomer_compares_at_once_with_a_member_that_comes_up(void **state)
{
    (void)state;
    struct peer *late = meet(2)->peer;
    late->knows_us = true;
    late->answered_us = in.loop.now_us;
    in.cluster->gather.step = GATHER_CHECKING;
    peer_up(late);
    loop_turn(&in.loop, 0);
    assert_int_not_equal(late->repair.step, REPAIR_IDLE);
}

/* A repair of a member that says that these groups, shards and records differ. */
static void repair_with(struct peer *peer, struct slice groups, struct slice shards,
                        struct slice records)
{
    repair_start(peer);
    loop_turn(&in.loop, 0);
    loop_turn(&in.loop, 0);
    answer_repair(peer, groups.data, groups.len);
    answer_repair(peer, shards.data, shards.len);
    answer_repair(peer, records.data, records.len);
}

/* The member has none of two records, of which one is a delete. */
static struct slice given_in_a_repair(struct peer *peer)
{
    char groups[2], shards[4], records[12] = {0};
    struct store_key keys[2] = {store_key(in.store, SLICE("key0")),
                                store_key(in.store, SLICE("key1"))};
    for (unsigned i = 0; i < 2; i++) {
        groups[i] = (char)(keys[i].shard / STORE_SHARDS_PER_GROUP);
        put_number(shards + (size_t)2 * i, keys[i].shard, 2);
        put_number(records + (size_t)6 * i, keys[i].shard, 2);
    }
    repair_with(peer, (struct slice){groups, sizeof groups}, (struct slice){shards, sizeof shards},
                (struct slice){records, sizeof records});
    return fake_output(in.io, ((struct conn *)peer->bulk)->fd);
}

/* Otherwise the delete would never come when it stands behind a value for which there is no room. */
static void test_a_full_member_is_told_deletes_alone(void **state)
{
    (void)state;
    struct peer *peer = meet(2)->peer;
    peer->up = true;
    write_key(0, 100);
    delete_key(1);
    struct slice given = given_in_a_repair(peer);
    assert_true(has_bytes(given, "POST /-/merge"));
    assert_true(has_bytes(given, "key0"));
    assert_true(has_bytes(given, "key1"));
    fake_feed(in.io, ((struct conn *)peer->bulk)->fd,
              SLICE("HTTP/1.1 507 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"));
    loop_turn(&in.loop, 0);
    loop_turn(&in.loop, 0);
    assert_int_equal(peer->repair.step, REPAIR_IDLE);
    in.loop.now_us = in.io->now_us += REPAIR_FULL_PAUSE_US;
    peer->member->heard_us = in.loop.now_us;
    given = given_in_a_repair(peer);
    assert_true(has_bytes(given, "POST /-/merge"));
    assert_false(has_bytes(given, "key0"));
    assert_true(has_bytes(given, "key1"));
}

/* It has what the member has; else nobody could take the place of one that is full. */
static void test_a_newcomer_does_not_wait_until_a_full_member_has_room(void **state)
{
    (void)state;
    struct peer *peer = meet(2)->peer;
    peer->up = peer->knows_us = true;
    peer->answered_us = in.loop.now_us;
    in.cluster->gather.step = GATHER_CHECKING;
    write_key(0, 100);
    assert_true(has_bytes(given_in_a_repair(peer), "key0"));
    fake_feed(in.io, ((struct conn *)peer->bulk)->fd,
              SLICE("HTTP/1.1 507 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"));
    loop_turn(&in.loop, 0);
    loop_turn(&in.loop, 0);
    assert_int_equal(peer->repair.step, REPAIR_IDLE);
    assert_int_equal(peer->gather_checked_us, peer->repair.started_us);
    in.cluster->gather.step =
        GATHER_CHECKING; /* had there been more to ask for, the next one would do it */
    in.loop.now_us = in.io->now_us += REPAIR_PAUSE_US;
    peer->answered_us = peer->member->heard_us = in.loop.now_us;
    assert_false(has_bytes(given_in_a_repair(peer), "POST /-/merge"));
    assert_int_equal(peer->repair.started_us, in.loop.now_us);
}

/* Nor may one that the other one has stand behind a value: after a repair without room deletes alone are asked for, too, which is one
 * byte more. */
static void test_a_full_node_asks_for_deletes_alone(void **state)
{
    (void)state;
    struct peer *peer = meet(2)->peer;
    static const char records[14] = {0, 3, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8};
    peer->up = true;
    for (unsigned turn = 0; turn < 2; turn++) {
        peer->repair.full = turn == 1;
        repair_with(peer, SLICE("\0"), SLICE("\0\3"), (struct slice){records, sizeof records});
        struct slice asked = fake_output(in.io, ((struct conn *)peer->bulk)->fd);
        assert_true(has_bytes(asked, "POST /-/records"));
        assert_true(
            has_bytes(asked, turn == 0 ? "Content-Length: 10\r\n" : "Content-Length: 11\r\n"));
        repair_stop(peer);
        peer->repair.next_us = 0;
        loop_turn(&in.loop, 0);
    }
}

/* The member has taken those for which it had room, and the next ones may make some. After them, values have their turn again. */
static void test_a_repair_of_deletes_goes_on_past_one_without_room(void **state)
{
    (void)state;
    struct peer *peer = meet(2)->peer;
    char shards[4], records[6] = {0};
    peer->up = peer->repair.full = true;
    delete_key(1);
    struct store_key key = store_key(in.store, SLICE("key1"));
    char group = (char)(key.shard / STORE_SHARDS_PER_GROUP);
    put_number(shards, key.shard, 2);
    put_number(shards + 2, key.shard ^ 1, 2);
    put_number(records, key.shard, 2);
    repair_with(peer, (struct slice){&group, 1}, (struct slice){shards, sizeof shards},
                (struct slice){records, sizeof records});
    assert_true(peer->repair.deletes);
    assert_int_equal(peer->repair.step, REPAIR_RECORDS);
    int fd = ((struct conn *)peer->bulk)->fd;
    fake_feed(in.io, fd, SLICE("HTTP/1.1 507 No\r\nContent-Length: 0\r\n\r\n"));
    loop_turn(&in.loop, 0);
    assert_int_equal(peer->repair.step, REPAIR_DIGESTS_STEP);
    assert_int_equal(peer->repair.todo_at, 1);
    repair_stop(peer);
    assert_true(peer->repair.full);
    peer->repair.next_us = 0;
    loop_turn(&in.loop, 0);
    repair_start(peer);
    assert_false(peer->repair.deletes);
}

/* 512 deletes of one shard are as many as one body has. Those that found no room would be told for ever, and so would those of what has newer
 * values there, for which there is no room here. */
static void test_many_deletes_of_a_shard_are_told_once_whatever_becomes_of_them(void **state)
{
    (void)state;
    static const char *const answers[] = {"HTTP/1.1 507 No\r\nContent-Length: 0\r\n\r\n",
                                          "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"};
    struct peer *peer = meet(2)->peer;
    peer->up = true;
    char name[16], shard[2], records[6] = {0}, group = 0;
    for (unsigned i = 0, found = 0; found <= PUSH_BATCH_RECORDS; i++) {
        snprintf(name, sizeof name, "key%u", i);
        if (store_key(in.store, slice_of(name)).shard != 0)
            continue;
        delete_key(i);
        found++;
    }
    put_number(shard, 0, 2);
    for (unsigned i = 0; i < 2; i++) {
        peer->repair.full = true;
        peer->repair.deletes = false;
        peer->repair.next_us = 0;
        repair_with(peer, (struct slice){&group, 1}, (struct slice){shard, sizeof shard},
                    (struct slice){records, sizeof records});
        int fd = ((struct conn *)peer->bulk)->fd;
        fake_feed(in.io, fd, slice_of(answers[i]));
        loop_turn(&in.loop, 0);
        assert_int_equal(peer->repair.step, REPAIR_DIGESTS_STEP); /* for the last of them */
        answer_repair(peer, records, sizeof records);
        assert_int_equal(peer->repair.step, REPAIR_RECORDS);
        fake_feed(in.io, fd, slice_of(answers[i]));
        loop_turn(&in.loop, 0);
        assert_int_equal(peer->repair.step, REPAIR_IDLE);
        assert_int_equal(peer->repair.pushed, PUSH_BATCH_RECORDS + 1);
    }
}

static enum store_result delete_unknown(unsigned number)
{
    char name[16];
    snprintf(name, sizeof name, "unknown%u", number);
    struct said said = {.key = slice_of(name), .version = 1, .tombstone = true};
    struct record *record = said_record(store_heap(in.store), &said);
    assert_non_null(record);
    struct store_key key = store_key(in.store, said.key);
    enum store_result result = store_merge(in.store, &key, record, 1);
    if (result != STORE_APPLIED)
        record_release(store_heap(in.store), record);
    return result;
}

/* A stream of two deletes. */
static size_t put_deletes(char *out, const struct said *first, const struct said *second)
{
    const struct said *said[2] = {first, second};
    char *at = out;
    struct heap *heap = heap_new(0);
    for (unsigned i = 0; i < 2; i++) {
        struct record *record = said_record(heap, said[i]);
        struct slice data = wire_data(record);
        wire_head(record, at);
        memcpy(at + WIRE_HEAD_BYTES, data.data, data.len);
        at += WIRE_HEAD_BYTES + data.len;
    }
    wire_end(2, at);
    heap_destroy(heap);
    return (size_t)(at + WIRE_HEAD_BYTES - out);
}

/* One of a key that is not here comes first, and finds none. */
static void test_a_full_node_takes_the_deletes_that_make_room(void **state)
{
    (void)state;
    enum { BYTES = 20000 };
    static const char records[14] = {0, 3, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8};
    struct said unknown = {.key = SLICE("unknown"), .version = 1, .tombstone = true},
                known = {.key = SLICE("key0"), .version = UINT64_MAX / 2, .tombstone = true};
    struct store_key key = store_key(in.store, known.key);
    struct peer *peer = meet(2)->peer;
    char stream[256];
    unsigned count = 0;
    while (heap_resident(store_heap(in.store)) + 4 * BYTES < TIGHT_BYTES)
        write_key(count++, BYTES);
    count = 0;
    while (delete_unknown(count) == STORE_APPLIED)
        count++;
    peer->up = peer->repair.full = true;
    repair_with(peer, SLICE("\0"), SLICE("\0\3"), (struct slice){records, sizeof records});
    assert_int_equal(peer->repair.step, REPAIR_RECORDS);
    answer_repair(peer, stream, put_deletes(stream, &unknown, &known));
    assert_null(store_get(in.store, &key, 1));
    assert_true(peer->repair.full);
    assert_int_equal(peer->repair.pulled, 1);
}

/* A member that refuses to tell records has told none: who took that for all there is would be ready without them. */
static void test_records_that_are_refused_are_no_records(void **state)
{
    (void)state;
    static const char records[14] = {0, 3, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8};
    struct peer *peer = meet(2)->peer;
    peer->up = peer->knows_us = true;
    peer->answered_us = in.loop.now_us;
    in.cluster->gather.step = GATHER_CHECKING;
    repair_with(peer, SLICE("\0"), SLICE("\0\3"), (struct slice){records, sizeof records});
    assert_int_equal(peer->repair.step, REPAIR_RECORDS);
    fake_feed(in.io, ((struct conn *)peer->bulk)->fd,
              SLICE("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"));
    loop_turn(&in.loop, 0);
    assert_int_equal(peer->repair.step, REPAIR_IDLE);
    assert_int_equal(peer->gather_checked_us, 0);
}

/* A delete is told like a value to who asks for it. */
static void test_a_delete_is_found_by_its_digest(void **state)
{
    (void)state;
    char body[CLUSTER_WANTED_BYTES];
    struct record *found[1];
    delete_key(1);
    struct store_key key = store_key(in.store, SLICE("key1"));
    const struct record *record = store_find(in.store, &key);
    put_number(body, key.shard, 2);
    put_number(body + 2, record_digest(record), 8);
    assert_int_equal(cluster_find_wanted(in.cluster, (struct slice){body, sizeof body}, found), 1);
    assert_ptr_equal(found[0], record);
    record_release(store_heap(in.store), found[0]);
}

/* So many are wanted of one shard that the next one has no room in the question, and no delete is among them: that one is asked for in the
 * next round, and only who fills a round alone is given up. */
static void test_a_shard_that_found_no_room_in_a_question_is_not_left_out(void **state)
{
    (void)state;
    enum { MANY = REPAIR_WANTED_MAX - 1, BYTES = 6 + 8 * MANY + 6 + 8 * 2 };
    struct peer *peer = meet(2)->peer;
    char *records = calloc(1, BYTES);
    assert_non_null(records);
    put_number(records, 3, 2);
    put_number(records + 2, MANY, 4);
    for (unsigned i = 0; i < MANY; i++)
        put_number(records + 6 + (size_t)8 * i, i + 1, 8);
    put_number(records + 6 + (size_t)8 * MANY, 4, 2);
    put_number(records + 6 + (size_t)8 * MANY + 2, 2, 4);
    put_number(records + 6 + (size_t)8 * MANY + 6, 1, 8);
    put_number(records + 6 + (size_t)8 * MANY + 14, 2, 8);
    peer->up = peer->repair.full = true;
    repair_with(peer, SLICE("\0"), SLICE("\0\3\0\4"), (struct slice){records, BYTES});
    free(records);
    for (unsigned turn = 0; peer->repair.step == REPAIR_DIGESTS_STEP && turn < 10; turn++)
        loop_turn(&in.loop, 0);
    assert_int_equal(peer->repair.step, REPAIR_RECORDS);
    answer_repair(peer, "", 0);
    assert_int_equal(peer->repair.step, REPAIR_DIGESTS_STEP);
    assert_int_equal(peer->repair.todo[peer->repair.todo_at], 4);
}

/* Two large tables that cannot become the same are not compared all the time; but a slow way is no reason to wait long. */
static void test_a_repair_without_room_rests_by_what_it_compared(void **state)
{
    (void)state;
    enum { MANY = 3 * REPAIR_FULL_PAUSE_US / REPAIR_FULL_REST_US };
    struct peer *peer = meet(2)->peer;
    peer->up = true;
    write_key(0, 100);
    for (unsigned i = 0; i < 2; i++) {
        (void)given_in_a_repair(peer);
        assert_int_equal(peer->repair.compared, 1);
        if (i == 1)
            peer->repair.compared = MANY;
        in.loop.now_us = in.io->now_us += 30 * SECOND;
        peer->answered_us = peer->member->heard_us = in.loop.now_us;
        fake_feed(in.io, ((struct conn *)peer->bulk)->fd,
                  SLICE("HTTP/1.1 507 No\r\nContent-Length: 0\r\n\r\n"));
        loop_turn(&in.loop, 0);
        assert_int_equal(peer->repair.step, REPAIR_IDLE);
        assert_int_equal(peer->repair.next_us - in.loop.now_us,
                         (i == 0 ? 1 : 3) * REPAIR_FULL_PAUSE_US);
        peer->repair.full = peer->repair.deletes = false;
        peer->repair.next_us = 0;
    }
}

/* Nor are two that differ in nothing that one could tell the other: some have buried what is past the grace period, and others have not yet. */
static void test_a_repair_in_vain_rests_by_what_it_compared(void **state)
{
    (void)state;
    struct peer *peer = meet(2)->peer;
    const struct record *record = write_key(0, 100);
    struct store_key key = store_key(in.store, record_key(record));
    char group = (char)(key.shard / STORE_SHARDS_PER_GROUP), shard[2], records[14];
    peer->up = true;
    put_number(shard, key.shard, 2);
    put_number(records, key.shard, 2);
    put_number(records + 2, 1, 4);
    put_number(records + 6, record_digest(record), 8);
    for (unsigned i = 0; i < 2; i++) {
        in.cluster->gather.step =
            i == 0 ? GATHER_DONE : GATHER_CHECKING; /* who waits for it to be ready */
        repair_with(peer, (struct slice){&group, 1}, (struct slice){shard, sizeof shard},
                    (struct slice){records, sizeof records});
        assert_int_equal(peer->repair.step, REPAIR_IDLE);
        assert_int_equal(peer->repair.compared, 2);
        assert_int_equal(peer->repair.next_us - in.loop.now_us,
                         i == 0 ? 2 * REPAIR_FULL_REST_US : 0);
        peer->repair.next_us = 0;
    }
}

/* It has its drain time only. The next repair tells deletes alone, and the one after it all. */
static void test_who_leaves_tells_a_member_again_soon_that_was_full(void **state)
{
    (void)state;
    struct peer *peer = meet(2)->peer;
    peer->up = true;
    peer->answered_us = in.loop.now_us;
    write_key(0, 100);
    cluster_leave(in.cluster);
    assert_true(has_bytes(given_in_a_repair(peer), "key0"));
    fake_feed(in.io, ((struct conn *)peer->bulk)->fd,
              SLICE("HTTP/1.1 507 No\r\nContent-Length: 0\r\n\r\n"));
    loop_turn(&in.loop, 0);
    assert_int_equal(peer->repair.step, REPAIR_IDLE);
    in.loop.now_us = in.io->now_us += REPAIR_PAUSE_US;
    assert_false(cluster_has_left(in.cluster));
    assert_int_not_equal(peer->repair.step, REPAIR_IDLE);
    assert_false(has_bytes(given_in_a_repair(peer), "key0"));
    assert_int_equal(peer->repair.step, REPAIR_IDLE);
    assert_true(has_bytes(given_in_a_repair(peer), "key0"));
}

/* The member may have room now. */
static void test_who_leaves_does_not_rest_from_a_repair_of_before(void **state)
{
    (void)state;
    struct peer *peer = meet(2)->peer;
    peer->up = true;
    peer->answered_us = in.loop.now_us;
    peer->repair.next_us = in.loop.now_us + 600 * SECOND;
    write_key(0, 100);
    cluster_leave(in.cluster);
    assert_true(has_bytes(given_in_a_repair(peer), "key0"));
}

/* Both the member's figure and that of all: 700 µs from the sending to the answer. A batch that failed counts for nothing. */
static void test_the_time_of_a_push_is_that_until_its_answer(void **state)
{
    (void)state;
    enum { PUSH_US = 700 };
    static const char *const statuses[] = {"507 No", "200 OK"};
    struct member *member = meet(2);
    struct peer *peer = member->peer;
    const struct histogram *push_us = cluster_peer_figures(in.cluster, member).push_us;
    open_push(peer);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(histogram_count(push_us), 0);
        write_key(i, 1);
        push_turn_end(in.cluster);
        loop_turn(&in.loop, 0);
        push_turn_end(in.cluster);
        loop_turn(&in.loop, 0);
        assert_int_equal(peer->sending_count, 1);
        in.io->now_us += PUSH_US;
        answer_push(peer, statuses[i]);
        assert_int_equal(peer->sending_count, 0);
    }
    assert_int_equal(histogram_count(push_us), 1);
    assert_int_equal(push_us->max_us, PUSH_US);
    assert_int_equal(histogram_count(&cluster_counters(in.cluster)->push_us), 1);
    assert_null(cluster_peer_figures(in.cluster, in.cluster->members.list[0]).push_us);
}

/* A name whose addresses change: all pods of a set that is restarted again and again. */
struct name {
    struct resolver resolver; /* first */
    struct lookup *lookup;
    int error; /* of asking */
};

static int name_ask(struct resolver *resolver, struct lookup *lookup, const char *text)
{
    (void)text;
    ((struct name *)resolver)->lookup = lookup;
    return ((struct name *)resolver)->error;
}

static void name_cancel(struct resolver *resolver, struct lookup *lookup)
{
    (void)resolver;
    (void)lookup;
}

static const struct resolver_ops name_ops = {.ask = name_ask, .cancel = name_cancel};

static bool is_tried(const char *text)
{
    struct address address;
    assert_int_equal(address_parse(slice_of(text), &address), 0);
    for (unsigned i = 0; i < JOIN_ADDRESSES_MAX; i++)
        if (in.cluster->probes[i].used &&
            memcmp(&in.cluster->probes[i].address, &address, sizeof address) == 0)
            return true;
    return false;
}

static void name_answer(struct name *name, unsigned first, unsigned count)
{
    struct address addresses[RESOLVER_ADDRESSES_MAX];
    for (unsigned i = 0; i < count; i++) {
        char text[64];
        snprintf(text, sizeof text, "10.1.%u.%u:1", (first + i) / 256, (first + i) % 256);
        assert_int_equal(address_parse(slice_of(text), &addresses[i]), 0);
        addresses[i].port = 0;
    }
    in.io->now_us += JOIN_LOOKUP_AGAIN_US;
    loop_turn(&in.loop, 0);
    name->lookup->on_answer(name->lookup, addresses, count);
}

static void test_addresses_of_a_name_that_are_gone_make_room_for_new_ones(void **state)
{
    (void)state;
    struct name name = {.resolver = {.ops = &name_ops}};
    in.config.resolver = &name.resolver;
    in.config.joins[0] = "10.9.9.9:8000";
    in.config.joins[1] = "pods:8000";
    in.config.join_count = 2;
    join_start(in.cluster);
    for (unsigned first = 0; first < 1000; first += 3) {
        name_answer(&name, first, 3);
        char text[64];
        snprintf(text, sizeof text, "10.1.%u.%u:8000", first / 256, first % 256);
        assert_true(is_tried(text));
        assert_true(is_tried("10.9.9.9:8000"));
    }
    assert_false(is_tried("10.1.0.0:8000"));
    name_answer(&name, 2000, RESOLVER_ADDRESSES_MAX);
    assert_true(is_tried("10.9.9.9:8000"));
    assert_true(is_tried("10.1.7.208:8000"));
    join_end(in.cluster);
    in.cluster->target_count = 0;
}

/* Name servers give the addresses of a name in any order. */
static void test_a_node_keeps_its_address_while_its_name_has_it(void **state)
{
    (void)state;
    struct name name = {.resolver = {.ops = &name_ops}};
    struct address addresses[2] = {{{0}, 0}}, *own = &self_of(in.cluster)->address;
    assert_int_equal(address_parse(SLICE("10.0.0.8:0"), &addresses[0]), 0);
    assert_int_equal(address_parse(SLICE("10.0.0.9:0"), &addresses[1]), 0);
    in.config.resolver = &name.resolver;
    in.config.advertise = "node:8000";
    join_start(in.cluster);
    name.lookup->on_answer(name.lookup, addresses, 2);
    assert_memory_equal(own->ip, addresses[0].ip, sizeof own->ip);
    uint64_t stamp = self_of(in.cluster)->stamp;
    struct address turned[2] = {addresses[1], addresses[0]};
    name.lookup->on_answer(name.lookup, turned, 2);
    assert_memory_equal(own->ip, addresses[0].ip, sizeof own->ip);
    assert_int_equal(self_of(in.cluster)->stamp, stamp);
    name.lookup->on_answer(name.lookup, turned, 1); /* it has moved */
    assert_memory_equal(own->ip, addresses[1].ip, sizeof own->ip);
    assert_int_equal(own->port, 8000);
    assert_true(self_of(in.cluster)->stamp > stamp);
    join_over();
}

/* Members connect from any port, and from where they are only as long as they are members. */
static void test_a_members_machine_is_known_by_its_address(void **state)
{
    (void)state;
    struct member *member = meet(2);
    struct address from = member->address, own = self_of(in.cluster)->address;
    from.port = 40000;
    assert_true(cluster_has_member_at(in.cluster, &from));
    assert_false(cluster_has_member_at(in.cluster, &own));
    from.ip[15]++;
    assert_false(cluster_has_member_at(in.cluster, &from));
    member_go(member, MEMBER_LEFT, UINT64_MAX / 2);
    assert_false(cluster_has_member_at(in.cluster, &member->address));
}

/* That servers cannot tell who is behind a name says nothing of who is: it is not as if nobody were. */
static void test_a_newcomer_waits_for_name_servers_that_fail(void **state)
{
    (void)state;
    struct name name = {.resolver = {.ops = &name_ops}};
    in.config.resolver = &name.resolver;
    join_one("pods:8000");
    name.lookup->failed = true;
    name.lookup->on_answer(name.lookup, NULL, 0);
    assert_false(join_is_settled(in.cluster));
    join_ticks(JOIN_AGAIN_US);
    assert_true(in.cluster->targets[0].asking); /* soon, as it may be a matter of a moment */
    name.lookup->on_answer(name.lookup, NULL, 0);
    join_ticks(JOIN_LOOKUP_PATIENCE_US);
    assert_true(join_is_settled(in.cluster));
    join_over();
}

static void test_a_newcomer_does_not_wait_for_a_name_that_is_nobodys(void **state)
{
    (void)state;
    struct name name = {.resolver = {.ops = &name_ops}};
    in.config.resolver = &name.resolver;
    join_one("pods:8000");
    name.lookup->on_answer(name.lookup, NULL, 0);
    assert_true(join_is_settled(in.cluster));
    join_over();
}

static void test_a_name_that_could_not_be_asked_for_is_asked_for_again(void **state)
{
    (void)state;
    struct name name = {.resolver = {.ops = &name_ops}, .error = -ENOMEM};
    in.config.resolver = &name.resolver;
    join_one("pods:8000");
    assert_false(join_is_settled(in.cluster));
    name.error = 0;
    in.loop.now_us += JOIN_AGAIN_US;
    join_tick(in.cluster);
    assert_true(in.cluster->targets[0].asking);
    assert_false(join_is_settled(in.cluster));
    join_over();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_copy_counts_as_long_as_its_member_is_there, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_nothing_is_sent_before_its_connection_was_answered_on,
                                        begin, end),
        cmocka_unit_test_setup_teardown(test_who_does_not_answer_is_sent_so_many_batches, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_who_does_not_answer_is_sent_so_many_bytes, begin, end),
        cmocka_unit_test_setup_teardown(test_who_takes_nothing_is_sent_nothing, begin, end),
        cmocka_unit_test_setup_teardown(test_a_batch_that_failed_is_not_confirmed_by_a_later_one,
                                        begin, end),
        cmocka_unit_test_setup_teardown(test_who_leaves_waits_for_what_is_on_its_way, begin, end),
        cmocka_unit_test_setup_teardown(test_what_a_lag_stands_on_may_move_and_go, begin, end),
        cmocka_unit_test_setup_teardown(test_what_was_missed_during_a_repair_stays_so, begin, end),
        cmocka_unit_test_setup_teardown(test_who_has_the_smaller_number_repairs, begin, end),
        cmocka_unit_test_setup_teardown(test_nonsense_ends_a_repair, begin, end),
        cmocka_unit_test_setup_teardown(test_what_is_the_same_was_so_when_a_repair_began, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_a_copy_of_a_life_that_is_over_does_not_count, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_more_confirm_than_were_there, begin, end),
        cmocka_unit_test_setup_teardown(test_copies_of_all_that_have_it_count_after_some_are_gone,
                                        begin, end),
        cmocka_unit_test_setup_teardown(test_a_node_keeps_its_address_while_its_name_has_it, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_a_members_machine_is_known_by_its_address, begin, end),
        cmocka_unit_test_setup_teardown(test_a_newcomer_waits_for_name_servers_that_fail, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_a_newcomer_does_not_wait_for_a_name_that_is_nobodys,
                                        begin, end),
        cmocka_unit_test_setup_teardown(test_a_name_that_could_not_be_asked_for_is_asked_for_again,
                                        begin, end),
        cmocka_unit_test_setup_teardown(test_a_newcomer_waits_for_a_member_that_has_no_room_for_it,
                                        begin, end),
        cmocka_unit_test_setup_teardown(test_a_member_that_has_no_room_is_soon_asked_again, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_a_newcomer_does_not_wait_for_ever_for_a_proxy, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_a_newcomer_that_is_refused_for_good_is_alone, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_what_was_agreed_before_somebody_went_counts_no_more,
                                        begin, end),
        cmocka_unit_test_setup_teardown(
            test_what_was_agreed_just_after_a_step_of_the_horizon_does_not_count, begin, end),
        cmocka_unit_test_setup_teardown(test_a_newcomer_agrees_on_nothing, begin, end),
        cmocka_unit_test_setup_teardown(
            test_who_is_alone_agrees_with_itself_at_each_step_of_the_horizon, begin, end),
        cmocka_unit_test_setup_teardown(test_a_newcomer_waits_for_a_ready_member_that_is_silent,
                                        begin, end),
        cmocka_unit_test_setup_teardown(test_a_member_that_was_restarted_is_not_waited_for, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_a_newcomer_waits_for_a_member_that_may_be_stopping,
                                        begin, end),
        cmocka_unit_test_setup_teardown(test_who_leaves_waits_for_a_connection_that_broke_just_now,
                                        begin, end),
        cmocka_unit_test_setup_teardown(
            test_who_leaves_waits_for_a_member_that_it_has_just_heard_of, begin, end),
        cmocka_unit_test_setup_teardown(test_who_leaves_looks_again_when_a_member_falls_silent,
                                        begin, end),
        cmocka_unit_test_setup_teardown(test_who_leaves_looks_again_when_a_member_goes, begin, end),
        cmocka_unit_test_setup_teardown(test_who_leaves_waits_for_nobody_who_was_silent_before,
                                        begin, end),
        cmocka_unit_test_setup_teardown(test_who_leaves_waits_for_who_could_not_be_asked, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_the_repair_of_a_member_that_fell_silent_is_over, begin,
                                        end),
        cmocka_unit_test_setup_teardown(
            test_a_write_made_just_before_a_member_is_up_is_not_confirmed_by_it, begin, end),
        cmocka_unit_test_setup_teardown(
            test_a_write_made_just_before_a_connection_opens_is_confirmed, begin, end),
        cmocka_unit_test_setup_teardown(test_a_newcomer_copies_and_checks_at_once, begin, end),
        cmocka_unit_test_setup_teardown(
            test_a_newcomer_that_has_all_hears_first_those_that_it_is_to_join, begin, end),
        cmocka_unit_test_setup_teardown(test_a_newcomer_that_is_full_asks_for_deletes, begin_tight,
                                        end),
        cmocka_unit_test_setup_teardown(test_a_copy_that_was_cut_goes_on_where_it_was_cut, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_a_donor_that_is_down_is_given_up_at_once, begin, end),
        cmocka_unit_test_setup_teardown(
            test_a_newcomer_goes_on_when_a_repair_ends_that_a_hello_has_overtaken, begin, end),
        cmocka_unit_test_setup_teardown(test_a_clock_that_is_set_does_not_move_the_horizon, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_the_horizon_waits_for_clocks_that_are_not_known, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_who_was_alone_tells_of_what_has_just_expired, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_the_horizon_of_who_was_alone_does_not_count, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_the_horizon_of_who_is_alone_again_does_not_count,
                                        begin, end),
        cmocka_unit_test_setup_teardown(test_when_a_member_has_gone_is_told_by_ones_own_clock,
                                        begin, end),
        cmocka_unit_test_setup_teardown(
            test_who_was_forgotten_is_refused_by_those_who_can_have_forgotten_it, begin, end),
        cmocka_unit_test_setup_teardown(
            test_a_newcomer_with_an_old_clock_is_not_taken_for_one_that_was_forgotten, begin, end),
        cmocka_unit_test_setup_teardown(
            test_a_newcomer_does_not_choose_between_two_that_have_dropped_each_other, begin, end),
        cmocka_unit_test_setup_teardown(
            test_a_newcomer_goes_on_when_one_comes_back_that_was_dropped, begin, end),
        cmocka_unit_test_setup_teardown(test_who_has_stood_still_drops_nobody_at_once, begin, end),
        cmocka_unit_test_setup_teardown(test_who_hears_nobody_lets_others_drop_it_first, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_a_newcomer_has_no_say_in_who_was_dropped, begin, end),
        cmocka_unit_test_setup_teardown(
            test_a_stranger_from_another_part_of_the_cluster_is_not_taken, begin, end),
        cmocka_unit_test_setup_teardown(
            test_the_age_of_a_cluster_is_that_of_its_oldest_ready_member, begin, end),
        cmocka_unit_test_setup_teardown(
            test_a_newcomer_does_not_wait_for_ever_for_who_is_reached_by_others_only, begin, end),
        cmocka_unit_test_setup_teardown(
            test_who_is_new_as_others_tell_is_not_waited_for_as_if_it_had_something, begin, end),
        cmocka_unit_test_setup_teardown(test_who_has_long_gone_does_not_go_again_with_each_hello,
                                        begin, end),
        cmocka_unit_test_setup_teardown(test_a_newcomer_compares_anew_when_a_member_has_left, begin,
                                        end),
        cmocka_unit_test_setup_teardown(
            test_a_newcomer_compares_at_once_with_a_member_that_comes_up, begin, end),
        cmocka_unit_test_setup_teardown(test_a_newcomer_that_could_not_ask_is_not_alone, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_a_newcomer_that_stood_still_waits_on, begin, end),
        cmocka_unit_test_setup_teardown(test_a_newcomer_whose_question_was_lost_asks_again, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_who_may_have_answered_before_it_died_replaces_nobody,
                                        begin, end),
        cmocka_unit_test_setup_teardown(test_a_goodbye_that_was_lost_is_said_again, begin, end),
        cmocka_unit_test_setup_teardown(test_a_newcomer_does_not_wait_until_a_full_member_has_room,
                                        begin, end),
        cmocka_unit_test_setup_teardown(test_records_that_are_refused_are_no_records, begin, end),
        cmocka_unit_test_setup_teardown(test_a_delete_is_found_by_its_digest, begin, end),
        cmocka_unit_test_setup_teardown(test_a_full_node_asks_for_deletes_alone, begin, end),
        cmocka_unit_test_setup_teardown(
            test_a_shard_that_found_no_room_in_a_question_is_not_left_out, begin, end),
        cmocka_unit_test_setup_teardown(test_no_clock_that_is_wrong_alone_ends_values, begin, end),
        cmocka_unit_test_setup_teardown(test_the_lower_median_of_many_clocks_ends_values, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_a_full_member_is_told_deletes_alone, begin, end),
        cmocka_unit_test_setup_teardown(test_the_time_by_which_values_end_does_not_tremble, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_a_repair_in_vain_rests_by_what_it_compared, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_a_repair_without_room_rests_by_what_it_compared, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_a_repair_of_deletes_goes_on_past_one_without_room,
                                        begin, end),
        cmocka_unit_test_setup_teardown(
            test_many_deletes_of_a_shard_are_told_once_whatever_becomes_of_them, begin, end),
        cmocka_unit_test_setup_teardown(test_a_full_node_takes_the_deletes_that_make_room,
                                        begin_tight, end),
        cmocka_unit_test_setup_teardown(test_who_leaves_does_not_rest_from_a_repair_of_before,
                                        begin, end),
        cmocka_unit_test_setup_teardown(test_who_leaves_tells_a_member_again_soon_that_was_full,
                                        begin, end),
        cmocka_unit_test_setup_teardown(test_a_confirmation_finds_those_that_it_is_about, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_a_write_made_alone_is_not_confirmed_by_the_next_batch,
                                        begin, end),
        cmocka_unit_test_setup_teardown(
            test_what_was_written_behind_the_hello_that_shows_a_member_to_be_up_is_missed, begin,
            end),
        cmocka_unit_test_setup_teardown(test_a_batch_that_failed_is_not_confirmed_by_the_next_one,
                                        begin, end),
        cmocka_unit_test_setup_teardown(test_the_time_of_a_push_is_that_until_its_answer, begin,
                                        end),
        cmocka_unit_test_setup_teardown(
            test_addresses_of_a_name_that_are_gone_make_room_for_new_ones, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
