/* What a node sees to at each tick. */
#include "role/node_state.h"

#include "base/big.h"
#include "records.h"
#include "role/cluster_state.h"
#include "stage.h"

enum {
    SECOND = 1000 * 1000,
    MS = 1000,
    MANY = 20000,
    COME = 1000,
    IDLE_US = 60 * SECOND,
    WAITERS = NODE_WAKES_PER_TURN + 10,
    CONNECTIONS = WAITERS + 10
};

static struct fake_io *io;
static struct loop loop;
static struct log events;
static struct node *node;

static int begin(void **state)
{
    (void)state;
    struct address address;
    struct node_config config = {.server = {.connections_max = CONNECTIONS,
                                            .idle_us = IDLE_US,
                                            .request_us = IDLE_US,
                                            .stall_us = IDLE_US},
                                 .value_max = 1 << 20,
                                 .forget_us = 86400ULL * SECOND};
    allow_list_private(&config.server.allow);
    io = stage_begin(&loop, &events);
    node = node_new(&loop, &events, &config);
    assert_non_null(node);
    assert_int_equal(address_parse(SLICE("10.0.0.1:8000"), &address), 0);
    assert_int_equal(node_listen(node, &address, -1), 0);
    return 0;
}

static int end(void **state)
{
    (void)state;
    node_destroy(node);
    stage_end(&loop, io);
    return 0;
}

static void put_said(struct said said)
{
    struct store_key key = store_key(node->store, said.key);
    struct record *record = said_record(store_heap(node->store), &said);
    assert_non_null(record);
    assert_int_equal(store_merge(node->store, &key, record, loop.wall_us), STORE_APPLIED);
}

static void put(unsigned number, uint64_t live_us)
{
    char name[16];
    put_said((struct said){.key = {name, (size_t)snprintf(name, sizeof name, "k%u", number)},
                           .version = 1,
                           .expires_us = loop.wall_us + live_us});
}

static void put_delete(unsigned number)
{
    char name[16];
    put_said((struct said){.key = {name, (size_t)snprintf(name, sizeof name, "k%u", number)},
                           .version = 1,
                           .tombstone = true});
}

static void pass(uint64_t us)
{
    io->now_us += us;
    loop_turn(&loop, 0);
}

/* Else memory fills with what has long ended. */
static void test_values_expire_as_fast_as_others_come(void **state)
{
    (void)state;
    unsigned count = 0;
    while (count < MANY)
        put(count++, SECOND);
    pass(SECOND / 2);
    pass(2 * SECOND);
    while (count < 2 * MANY) {
        for (unsigned i = 0; i < COME; i++)
            put(count++, 3600ULL * SECOND);
        pass(MS);
    }
    assert_int_equal(store_counts(node->store).expired, MANY);
}

enum { LONG = 4000, NEIGHBOURS = 40 };

/* Keys of one shard, so long that a list of them does not go out at once. */
static void name_neighbours(char names[NEIGHBOURS][LONG])
{
    memset(names, 'k', (size_t)NEIGHBOURS * LONG);
    for (unsigned number = 0, named = 0; named < NEIGHBOURS; number++) {
        char digits[9];
        snprintf(digits, sizeof digits, "%08u", number);
        memcpy(names[named], digits, 8);
        named += store_key(node->store, (struct slice){names[named], LONG}).shard ==
                 store_key(node->store, (struct slice){names[0], LONG}).shard;
    }
}

static unsigned count_of(struct slice text, struct slice part)
{
    unsigned count = 0;
    const char *end = text.data + text.len, *at = text.data;
    while ((at = memmem(at, (size_t)(end - at), part.data, part.len))) {
        count++;
        at += part.len;
    }
    return count;
}

/* A client reads its list slowly, and meanwhile the keys are set again, before the time of what they had is over. */
static void test_a_key_that_always_has_a_value_is_listed(void **state)
{
    (void)state;
    static char names[NEIGHBOURS][LONG];
    name_neighbours(names);
    for (unsigned i = 0; i < NEIGHBOURS; i++)
        put_said((struct said){
            .key = {names[i], LONG}, .version = 1, .expires_us = loop.wall_us + SECOND});
    int fd = fake_connect(io, "10.0.0.2:5000");
    fake_socket(io, fd)->space = LONG;
    fake_feed(io, fd, SLICE("GET /-/keys HTTP/1.1\r\nHost: node\r\n\r\n"));
    for (unsigned i = 0; i < 500; i++)
        pass(MS);
    assert_int_equal(fake_socket(io, fd)->space, 0);
    for (unsigned i = 0; i < NEIGHBOURS; i++)
        put_said((struct said){.key = {names[i], LONG}, .version = 2});
    pass(2 * SECOND);
    fake_socket(io, fd)->space = SIZE_MAX;
    for (unsigned i = 0; i < 500; i++)
        pass(MS);
    struct slice list = fake_output(io, fd);
    assert_int_equal(count_of(list, SLICE("\r\n0\r\n\r\n")), 1);
    assert_int_equal(count_of(list, SLICE("kk\n")), NEIGHBOURS);
}

static void test_deletes_are_forgotten_as_fast_as_others_come(void **state)
{
    (void)state;
    enum { ROUNDS = 1500, EACH = 64 };
    unsigned count = 0;
    pass(SECOND);
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < EACH; i++)
            put_delete(count++);
        pass(MS);
    }
    assert_true(store_counts(node->store).tombstones < MANY);
}

/* Deletes are kept for long: to look for those that are due is not what an idle node does all the time. But they go in the end. */
static void test_the_sweep_rests(void **state)
{
    (void)state;
    enum { GRACE = 3600, HOUR = 3600 * 10 }; /* in seconds, in ticks */
    uint64_t start_us = loop.wall_us;
    node->config.grace_us = GRACE * (uint64_t)SECOND;
    put_said((struct said){.key = SLICE("k"), .version = start_us, .tombstone = true});
    for (unsigned tick = 0; tick < HOUR; tick++)
        pass(100 * MS);
    assert_in_range(store_counts(node->store).sweeps, 32, NODE_SWEEP_RESTS);
    for (unsigned tick = 0; store_counts(node->store).tombstones; tick++) {
        assert_true(tick < HOUR / 2);
        pass(100 * MS);
    }
}

enum { SHARDS = REPAIR_SHARDS_MAX, RECORDS = 2 * REPAIR_WANTED_MAX };

/* Keys of the first shards. */
static void fill_shards(void)
{
    for (unsigned number = 0; store_counts(node->store).keys < RECORDS; number++) {
        char name[16];
        struct slice key = {name, (size_t)snprintf(name, sizeof name, "k%u", number)};
        if (store_key(node->store, key).shard < SHARDS)
            put_said((struct said){.key = key, .version = 1});
    }
}

static void post(int fd, const char *target, struct slice body)
{
    char head[200];
    snprintf(head, sizeof head,
             "POST %s HTTP/1.1\r\nHost: member\r\nFog-From: 0000000000000009\r\n"
             "Content-Length: %zu\r\n\r\n",
             target, body.len);
    fake_feed(io, fd, slice_of(head));
    fake_feed(io, fd, body);
    for (unsigned i = 0; i < 100; i++)
        pass(MS);
}

/* Who compares may have next to nothing, and asks for many shards: it would ask for no more of what it is told of them than that, and a
 * node that has many records would be busy with telling it. */
static void test_a_member_is_told_of_as_many_records_as_it_can_ask_for(void **state)
{
    (void)state;
    char shards[2 * SHARDS];
    for (unsigned i = 0; i < SHARDS; i++)
        big_put(shards + (size_t)2 * i, i, 2);
    fill_shards();
    int fd = fake_connect(io, "10.0.0.2:5000");
    post(fd, "/-/members",
         SLICE("protocol 1\ncluster fog\npartition -\njoined 0\n"
               "member 10.0.0.2:8000 ready 0000000000000009 9 0 0\n"));
    size_t before = fake_output(io, fd).len;
    post(fd, "/-/digest/records", (struct slice){shards, sizeof shards});
    size_t bytes = fake_output(io, fd).len - before;
    assert_true(bytes > (size_t)REPAIR_WANTED_MAX * 8);
    assert_true(bytes < (size_t)REPAIR_WANTED_MAX * 8 * 5 / 4);
}

/* A question that is this old was asked by somebody who has long given up; what it shows was so before. */
static void test_what_a_question_shows_was_so_before(void **state)
{
    (void)state;
    char groups[STORE_GROUPS * 8] = {0}, shards[1 + STORE_SHARDS_PER_GROUP * 8] = {0};
    int fd = fake_connect(io, "10.0.0.2:5000");
    post(fd, "/-/members",
         SLICE("protocol 1\ncluster fog\npartition -\njoined 0\n"
               "member 10.0.0.2:8000 ready 0000000000000009 9 0 0\n"));
    const struct peer *peer = members_find(cluster_list(node->cluster), 9)->peer;
    groups[8] = shards[1 + 8] = 1;
    post(fd, "/-/digest", (struct slice){groups, sizeof groups});
    assert_in_range(peer->agreed_group_us[0], 1, loop.now_us - CLUSTER_ANSWER_US);
    assert_int_equal(peer->agreed_group_us[1], 0);
    post(fd, "/-/digest/shards", (struct slice){shards, sizeof shards});
    assert_in_range(peer->agreed_shard_us[0], 1, loop.now_us - CLUSTER_ANSWER_US);
    assert_int_equal(peer->agreed_shard_us[1], 0); /* that differs */
    assert_int_equal(count_of(fake_output(io, fd), SLICE("HTTP/1.1 400 ")), 0);
    shards[0] = (char)STORE_GROUPS;
    post(fd, "/-/digest/shards", (struct slice){shards, sizeof shards});
    assert_int_equal(count_of(fake_output(io, fd), SLICE("HTTP/1.1 400 ")), 1);
    char shard[2];
    big_put(shard, STORE_SHARDS, sizeof shard);
    post(fd, "/-/digest/records", (struct slice){shard, sizeof shard});
    assert_int_equal(count_of(fake_output(io, fd), SLICE("HTTP/1.1 400 ")), 2);
}

/* A node whose clients have taken all connections is not down to its cluster, however many of these it needs. */
static void test_members_have_room_where_clients_have_none(void **state)
{
    (void)state;
    enum { FELLOWS = SERVER_FELLOWS_MAX + SERVER_REFUSED_MAX };
    static int fellows[FELLOWS];
    int fd = fake_connect(io, "10.0.0.2:5000");
    post(fd, "/-/members",
         SLICE("protocol 1\ncluster fog\npartition -\njoined 0\n"
               "member 10.0.0.2:8000 ready 0000000000000009 9 0 0\n"));
    for (unsigned i = 1; i < CONNECTIONS; i++)
        fake_connect(io, "10.0.0.3:5000");
    for (unsigned i = 0; i < FELLOWS; i++)
        fellows[i] = fake_connect(io, "10.0.0.2:5000");
    while (fake_socket(io, fellows[FELLOWS - 1])->waiting)
        pass(MS);
    int next = fake_connect(io, "10.0.0.2:5000");
    for (unsigned i = 0; i < 10; i++)
        pass(MS);
    assert_false(fake_socket(io, next)->open);
    for (unsigned i = 0; i < FELLOWS; i++) {
        fake_feed(io, fellows[i], SLICE("GET /-/healthy HTTP/1.1\r\nHost: n\r\n\r\n"));
        pass(MS);
        assert_true(slice_starts(fake_output(io, fellows[i]), SLICE("HTTP/1.1 200 ")));
    }
}

/* Others take it out of their digests then, and would differ from who rests. */
static void test_the_sweep_does_not_rest_when_the_horizon_steps(void **state)
{
    (void)state;
    char hello[200];
    uint64_t version = loop.wall_us;
    node->config.grace_us = 86400ULL * SECOND;
    put_said((struct said){.key = SLICE("k"), .version = version, .tombstone = true});
    int fd = fake_connect(io, "10.0.0.2:5000");
    for (unsigned i = 0; i < 2; i++) {
        snprintf(hello, sizeof hello,
                 "protocol 1\ncluster fog\npartition -\njoined 1\nhorizon %llu\n"
                 "member 10.0.0.2:8000 ready 0000000000000009 9 0 0\n",
                 i ? (unsigned long long)version + 1 : 0ULL);
        post(fd, "/-/members", slice_of(hello));
        for (unsigned tick = 0; tick < 100; tick++)
            pass(100 * MS);
        assert_int_equal(store_counts(node->store).buried, i);
    }
}

/* Who has left, and knows nobody else, still tells of itself. */
static void test_who_has_left_still_tells_its_status(void **state)
{
    (void)state;
    pass(SECOND);
    cluster_list(node->cluster)->list[0]->state = MEMBER_LEFT;
    int fd = fake_connect(io, "10.0.0.2:5000");
    fake_feed(
        io, fd,
        SLICE(
            "GET /-/status HTTP/1.1\r\nHost: n\r\n\r\nGET /-/metrics HTTP/1.1\r\nHost: n\r\n\r\n"));
    for (unsigned i = 0; i < 10; i++)
        pass(MS);
    struct slice told = fake_output(io, fd);
    assert_int_equal(count_of(told, SLICE("\"phase\": \"left\"")), 1);
    assert_int_equal(count_of(told, SLICE("velour_fog_members{state=\"ready\"} 0")), 1);
}

/* Sends a request and gives what came back for it, with no time passing. */
static struct slice ask(int fd, const char *request)
{
    size_t before = fake_output(io, fd).len;
    fake_feed(io, fd, slice_of(request));
    pass(0);
    struct slice all = fake_output(io, fd);
    return (struct slice){all.data + before, all.len - before};
}

static int client(void)
{
    int fd = fake_connect(io, "10.0.0.2:5000");
    pass(SECOND);
    return fd;
}

/* What came back for a PUT with this field. */
static struct slice put_with(int fd, const char *name, const char *value)
{
    char request[200];
    snprintf(request, sizeof request,
             "PUT /k HTTP/1.1\r\nHost: n\r\n%s: %s\r\nContent-Length: 1\r\n\r\nx", name, value);
    return ask(fd, request);
}

static void test_a_write_is_late_from_the_very_time_on(void **state)
{
    (void)state;
    char before[24];
    int fd = client();
    snprintf(before, sizeof before, "%llu", (unsigned long long)loop.wall_us + 1);
    assert_true(slice_starts(put_with(fd, "Fog-Before", before), SLICE("HTTP/1.1 200 ")));
    pass(1);
    assert_true(slice_starts(put_with(fd, "Fog-Before", before), SLICE("HTTP/1.1 412 ")));
}

/* What was written elsewhere by then may be read in the same turn, and would be overwritten. */
static void test_a_write_is_late_by_the_clock_and_not_by_the_turn(void **state)
{
    (void)state;
    char before[24];
    int fd = client();
    snprintf(before, sizeof before, "%llu", (unsigned long long)loop.wall_us + 1);
    io->recv_us = 1;
    assert_true(slice_starts(put_with(fd, "Fog-Before", before), SLICE("HTTP/1.1 412 ")));
}

/* Begins a long value, which takes a second, with that time limit. */
static void begin_long(int fd, uint64_t before_us)
{
    char request[200];
    snprintf(request, sizeof request,
             "PUT /k HTTP/1.1\r\nHost: n\r\nFog-Before: %llu\r\nTransfer-Encoding: "
             "chunked\r\n\r\n1\r\na\r\n",
             (unsigned long long)before_us);
    fake_feed(io, fd, slice_of(request));
    pass(0);
    pass(SECOND);
}

/* Who has sent it may have given it up and written anew, when what was sent still comes. */
static void test_a_long_write_is_one_of_its_beginning(void **state)
{
    (void)state;
    const struct slice values[] = {SLICE("\r\n\r\nx"), SLICE("\r\n\r\nab")};
    node->config.grace_us = 86400ULL * SECOND;
    int slow = client(), fast = client();
    for (unsigned i = 0; i < 2; i++) {
        begin_long(slow, loop.wall_us + SECOND / 2);
        if (i == 0)
            assert_true(slice_starts(put_with(fast, "Content-Type", "t"), SLICE("HTTP/1.1 200 ")));
        assert_true(slice_starts(ask(slow, "1\r\nb\r\n0\r\n\r\n"), SLICE("HTTP/1.1 200 ")));
        struct slice told = ask(fast, "GET /k HTTP/1.1\r\nHost: n\r\n\r\n");
        assert_int_equal(count_of(told, values[i]), 1);
    }
    size_t before = fake_output(io, slow).len;
    begin_long(slow, loop.wall_us);
    struct slice all = fake_output(io, slow);
    struct slice told = {all.data + before, all.len - before};
    assert_true(slice_starts(told, SLICE("HTTP/1.1 412 ")));
}

/* A short one has all to come in time. */
static void test_a_short_write_is_one_of_its_end(void **state)
{
    (void)state;
    char request[200];
    int fd = client();
    snprintf(request, sizeof request,
             "PUT /k HTTP/1.1\r\nHost: n\r\nFog-Before: %llu\r\nContent-Length: 2\r\n\r\na",
             (unsigned long long)loop.wall_us + 1);
    assert_int_equal(ask(fd, request).len, 0);
    pass(SECOND);
    assert_true(slice_starts(ask(fd, "b"), SLICE("HTTP/1.1 412 ")));
}

/* And one that begins too late ends no connection: a front-end has sent others behind it. */
static void test_a_short_write_that_is_late_is_read_to_its_end(void **state)
{
    (void)state;
    char request[200];
    int fd = client();
    snprintf(request, sizeof request,
             "PUT /k HTTP/1.1\r\nHost: n\r\nFog-Before: %llu\r\nContent-Length: 2\r\n\r\na",
             (unsigned long long)loop.wall_us);
    assert_int_equal(ask(fd, request).len, 0);
    struct slice told = ask(fd, "bGET /k HTTP/1.1\r\nHost: n\r\n\r\n");
    assert_true(slice_starts(told, SLICE("HTTP/1.1 412 ")));
    assert_int_equal(count_of(told, SLICE("HTTP/1.1 204 ")), 1);
}

static void test_a_wait_is_an_hour_at_most(void **state)
{
    (void)state;
    int fd = client();
    assert_int_equal(ask(fd, "GET /k HTTP/1.1\r\nHost: n\r\nIf-None-Match: \"absent\"\r\n"
                             "Prefer: wait=65537\r\n\r\n")
                         .len,
                     0);
    pass(3600ULL * SECOND - 1);
    assert_int_equal(fake_output(io, fd).len, 0);
    pass(1);
    assert_true(slice_starts(fake_output(io, fd), SLICE("HTTP/1.1 304 ")));
}

/* Nobody is there any more who would have it, and there is no time to wait. */
static void test_who_stops_does_not_wait_for_copies(void **state)
{
    (void)state;
    int fd = client();
    assert_int_equal(put_with(fd, "Prefer", "copies=2").len, 0);
    pass(NODE_COPIES_SECONDS * SECOND);
    pass(0);
    assert_int_equal(count_of(fake_output(io, fd), SLICE("HTTP/1.1 202 ")), 1);
    node->draining = true;
    assert_int_equal(count_of(put_with(fd, "Prefer", "copies=2"), SLICE("\r\nFog-Copies: 1/1\r\n")),
                     1);
    cluster_list(node->cluster)->list[0]->state = MEMBER_LEFT; /* of no member has it one */
    assert_int_equal(count_of(put_with(fd, "Prefer", "copies=2"), SLICE("\r\nFog-Copies: 1/1\r\n")),
                     1);
}

/* Those that are left over are not kept until something else happens. */
static void test_more_waiters_than_are_woken_in_a_turn(void **state)
{
    (void)state;
    static int waiters[WAITERS];
    int writer = client();
    for (unsigned i = 0; i < WAITERS; i++) {
        waiters[i] = fake_connect(io, "10.0.0.2:5000");
        fake_feed(io, waiters[i],
                  SLICE("GET /k HTTP/1.1\r\nHost: n\r\nIf-None-Match: \"absent\"\r\n"
                        "Prefer: wait=30\r\n\r\n"));
        pass(0);
    }
    while (node->watch.waiting < WAITERS)
        pass(0);
    put_with(writer, "X-No", "matter");
    for (unsigned turn = 0; node->watch.woken; turn++) {
        assert_true(turn < WAITERS / NODE_WAKES_PER_TURN);
        assert_true(loop.again);
        pass(0);
    }
    for (unsigned i = 0; i < WAITERS; i++)
        assert_true(slice_starts(fake_output(io, waiters[i]), SLICE("HTTP/1.1 200 ")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_key_that_always_has_a_value_is_listed, begin, end),
        cmocka_unit_test_setup_teardown(test_who_has_left_still_tells_its_status, begin, end),
        cmocka_unit_test_setup_teardown(test_a_write_is_late_from_the_very_time_on, begin, end),
        cmocka_unit_test_setup_teardown(test_a_long_write_is_one_of_its_beginning, begin, end),
        cmocka_unit_test_setup_teardown(test_a_short_write_is_one_of_its_end, begin, end),
        cmocka_unit_test_setup_teardown(test_a_short_write_that_is_late_is_read_to_its_end, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_a_write_is_late_by_the_clock_and_not_by_the_turn,
                                        begin, end),
        cmocka_unit_test_setup_teardown(test_a_wait_is_an_hour_at_most, begin, end),
        cmocka_unit_test_setup_teardown(test_what_a_question_shows_was_so_before, begin, end),
        cmocka_unit_test_setup_teardown(test_members_have_room_where_clients_have_none, begin, end),
        cmocka_unit_test_setup_teardown(test_who_stops_does_not_wait_for_copies, begin, end),
        cmocka_unit_test_setup_teardown(test_more_waiters_than_are_woken_in_a_turn, begin, end),
        cmocka_unit_test_setup_teardown(test_the_sweep_rests, begin, end),
        cmocka_unit_test_setup_teardown(test_the_sweep_does_not_rest_when_the_horizon_steps, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_a_member_is_told_of_as_many_records_as_it_can_ask_for,
                                        begin, end),
        cmocka_unit_test_setup_teardown(test_values_expire_as_fast_as_others_come, begin, end),
        cmocka_unit_test_setup_teardown(test_deletes_are_forgotten_as_fast_as_others_come, begin,
                                        end),
    };
    return cmocka_run_group_tests_name("node", tests, NULL, NULL);
}
