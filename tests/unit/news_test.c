/* How often members are told what is new: a node, and fellows and newcomers that the test plays. */
#include "net/conn.h"
#include "role/cluster_state.h"
#include "role/node_state.h"

#include "stage.h"

enum { SECOND = 1000 * 1000, NEWCOMERS = 30, STEP_US = 300, TURNS = 8, HELLO_ROOM = 4096 };

struct in {
    struct fake_io *io;
    struct loop loop;
    struct log log;
    struct node *node;
    struct cluster *cluster;
};

static struct in in;

static int begin(void **state)
{
    (void)state;
    struct address address;
    struct node_config config = {
        .server = {.connections_max = 100,
                   .idle_us = 300ULL * SECOND,
                   .request_us = 30ULL * SECOND,
                   .stall_us = 60ULL * SECOND},
        .value_max = 1 << 20,
        .grace_us = 86400ULL * SECOND,
        .forget_us = 86400ULL * SECOND,
    };
    allow_list_private(&config.server.allow);
    in.io = stage_begin(&in.loop, &in.log);
    in.node = node_new(&in.loop, &in.log, &config);
    assert_non_null(in.node);
    assert_int_equal(address_parse(SLICE("10.0.0.1:8000"), &address), 0);
    assert_int_equal(node_listen(in.node, &address, -1), 0);
    in.cluster = in.node->cluster;
    return 0;
}

static int end(void **state)
{
    (void)state;
    node_destroy(in.node);
    stage_end(&in.loop, in.io);
    return 0;
}

static void pass(uint64_t us)
{
    in.io->now_us += us;
    for (int i = 0; i < TURNS; i++)
        loop_turn(&in.loop, 0);
}

static void put_member(struct text *text, unsigned number)
{
    text_add(text, "member 10.0.0.%u:8000 ready %016x 1 0 0\n", number, number);
}

/* A hello of the member of this number, who knows the `known` members after it and, if it `knows_us`, this node. */
static struct slice print_hello(char room[HELLO_ROOM], unsigned number, bool knows_us,
                                unsigned known)
{
    struct text text = text_in(room, HELLO_ROOM);
    text_add(&text, "protocol 1\ncluster fog\npartition -\njoined 0\nclock 1\nhorizon 0\n"
                    "digest 0000000000000000\nrecords 0\n");
    for (unsigned i = 0; i <= known; i++)
        put_member(&text, number + i);
    if (knows_us)
        text_add(&text, "member 10.0.0.1:8000 ready %016llx 1 0 0\n",
                 (unsigned long long)self_of(in.cluster)->id);
    return text_slice(&text);
}

static void feed(int fd, const char *start, struct slice body)
{
    char head[128];
    snprintf(head, sizeof head, "%s\r\nContent-Length: %zu\r\n\r\n", start, body.len);
    fake_feed(in.io, fd, slice_of(head));
    fake_feed(in.io, fd, body);
}

static void say_hello(unsigned number, bool knows_us, unsigned known)
{
    char room[HELLO_ROOM];
    int fd = fake_connect(in.io, "10.0.0.9:5000");
    feed(fd, "POST /-/members HTTP/1.1\r\nHost: member",
         print_hello(room, number, knows_us, known));
    pass(0);
    assert_memory_equal(fake_output(in.io, fd).data, "HTTP/1.1 200", 12);
    fake_end(in.io, fd);
    pass(0);
}

/* Answers the hello that has come to a fellow, if one has. Returns whether it tells of the member of number `of`, or of all for 0. */
static bool has_heard(unsigned number, unsigned of)
{
    const struct member *fellow = members_find(&in.cluster->members, number);
    assert_non_null(fellow->peer);
    int fd = ((struct conn *)fellow->peer->control)->fd;
    struct slice heard = fake_output(in.io, fd);
    char room[HELLO_ROOM], line[64];
    if (heard.len == 0)
        return false;
    assert_memory_equal(heard.data, "POST /-/members", 15);
    snprintf(line, sizeof line, "member 10.0.0.%u:8000 ", of);
    bool has = memmem(heard.data, heard.len, line, strlen(line)) != NULL;
    fake_forget(in.io, fd);
    feed(fd, "HTTP/1.1 200 OK", print_hello(room, number, true, 0));
    pass(0);
    return has || of == 0;
}

/* Fellows that have met this node, and for whom there is no news. */
static void meet(unsigned first, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        say_hello(first + i, true, 0);
    pass(CLUSTER_NEWS_US);
    for (unsigned i = 0; i < count; i++) {
        assert_true(has_heard(first + i, 0));
        while (has_heard(first + i, 0))
            ;
        assert_true(members_find(&in.cluster->members, first + i)->peer->up);
    }
}

/* Or those that are new, and have a version that knows nothing of how old a cluster is, would refuse it. */
static void test_who_is_in_no_cluster_yet_is_told_of_none(void **state)
{
    (void)state;
    meet(2, 1);
    for (unsigned i = 0; i < 2; i++) {
        char room[HELLO_ROOM];
        struct slice hello = print_hello(room, 10 + i, false, 0);
        *((char *)memmem(room, hello.len, "\njoined ", 8) + 8) = i == 0 ? '0' : '1';
        int fd = fake_connect(in.io, "10.0.0.9:5000");
        feed(fd, "POST /-/members HTTP/1.1\r\nHost: member", hello);
        pass(0);
        struct slice told = fake_output(in.io, fd);
        assert_non_null(memmem(told.data, told.len, i == 0 ? "\njoined 0\n" : "\njoined 1\n", 10));
        fake_end(in.io, fd);
        pass(0);
    }
}

/* As when many nodes start at once. The first is told of at once, and the others together. */
static void test_so_many_newcomers_make_so_few_hellos(void **state)
{
    (void)state;
    unsigned hellos = 0;
    meet(2, 1);
    for (unsigned i = 0; i < NEWCOMERS; i++) {
        say_hello(10 + i, false, 0);
        hellos += has_heard(2, 0);
        assert_int_equal(hellos, 1);
        pass(STEP_US);
    }
    assert_false(has_heard(2, 0));
    pass(CLUSTER_NEWS_US - NEWCOMERS * STEP_US);
    assert_true(has_heard(2, 10 + NEWCOMERS - 1));
    assert_false(has_heard(2, 0));
}

/* It hears of them from who told us, or from themselves. */
static void test_what_others_have_told_is_no_news(void **state)
{
    (void)state;
    meet(2, 2);
    say_hello(2, true, 0);
    assert_false(has_heard(3, 0));
    say_hello(10, true, NEWCOMERS);
    assert_int_equal(cluster_members(in.cluster), 3 + 1 + NEWCOMERS);
    assert_true(has_heard(10, 0) && has_heard(10 + NEWCOMERS, 0)); /* they hear from us */
    assert_false(has_heard(3, 0));
    pass(CLUSTER_NEWS_US);
    assert_false(has_heard(3, 0));
    pass(CLUSTER_HELLO_US);
    assert_true(has_heard(3, 10 + NEWCOMERS));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_so_many_newcomers_make_so_few_hellos, begin, end),
        cmocka_unit_test_setup_teardown(test_what_others_have_told_is_no_news, begin, end),
        cmocka_unit_test_setup_teardown(test_who_is_in_no_cluster_yet_is_told_of_none, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
