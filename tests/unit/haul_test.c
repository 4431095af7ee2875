/* Records from and to clusters: whom of their members is read and given to, what counts as done, and who has the same. */
#include "role/haul.h"

#include "records.h"
#include "role/settle.h"
#include "stage.h"

enum { MEMBERS = 3, SECOND = 1000 * 1000 };

struct in {
    struct fake_io *io;
    struct loop loop;
    struct log log;
    struct command command;
    struct frontend frontend;
    struct haul haul;
    struct backend members[MEMBERS];
    struct backend *usable[MEMBERS];
    struct partition partition;
    struct source source;
    struct target target;
    unsigned records;
    uint64_t fresh;
};

static struct in in;

static bool is_full(const struct haul *haul)
{
    (void)haul;
    return false;
}

static void on_record(struct source *source, const struct record *record)
{
    (void)source, (void)record;
    in.records++;
}

static void on_merged(const struct batch *batch, uint64_t fresh)
{
    (void)batch;
    in.fresh += fresh;
}

/* All members are usable, or only so many. */
static void be_usable(unsigned count)
{
    in.partition.usable_count = count;
}

static int begin(void **state)
{
    static const struct haul_ops ops = {is_full, on_record, on_merged};
    (void)state;
    in = (struct in){.command = {.loop = &in.loop},
                     .haul = {.command = &in.command,
                              .frontend = &in.frontend,
                              .ops = &ops,
                              .flowing = true,
                              .repeat = "Again."},
                     .partition = {.backends = in.usable, .usable = in.usable}};
    in.io = stage_begin(&in.loop, &in.log);
    in.frontend.upstreams = upstreams_new(&in.loop);
    in.haul.heap = heap_new(0);
    assert_non_null(in.frontend.upstreams);
    assert_non_null(in.haul.heap);
    for (unsigned i = 0; i < MEMBERS; i++) {
        in.members[i] = (struct backend){.address.port = (uint16_t)(8000 + i),
                                         .digest = i + 1,
                                         .listed = true,
                                         .up = true,
                                         .usable = true};
        in.usable[i] = &in.members[i];
    }
    in.partition.backend_count = MEMBERS;
    be_usable(MEMBERS);
    assert_int_equal(source_init(&in.source, &in.haul, &in.partition, "--from number 0"), 0);
    assert_int_equal(target_init(&in.target, &in.haul, &in.partition, "--to number 0"), 0);
    return 0;
}

static int end(void **state)
{
    (void)state;
    source_free(&in.source);
    target_free(&in.target);
    upstreams_destroy(in.frontend.upstreams);
    heap_destroy(in.haul.heap);
    stage_end(&in.loop, in.io);
    return 0;
}

/* The socket that was opened last. */
static int last(void)
{
    return in.io->count - 1;
}

static unsigned last_port(void)
{
    return fake_socket(in.io, last())->peer.port;
}

static void turn(void)
{
    for (unsigned i = 0; i < 4; i++)
        loop_turn(&in.loop, 0);
}

static void later(uint64_t us)
{
    in.io->now_us += us;
    turn();
}

static void answer(struct slice body)
{
    char head[64];
    fake_forget(in.io, last());
    snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", body.len);
    fake_feed(in.io, last(), slice_of(head));
    fake_feed(in.io, last(), body);
    turn();
}

/* Reading */

static void read_begin(void)
{
    source_begin(&in.source, 0);
    source_tick(&in.source);
    turn();
    source_tick(&in.source);
    turn();
}

/* One record, and the stream's end unless it is cut. Returns the record's shard. */
static uint32_t tell(bool whole)
{
    char bytes[3 * WIRE_HEAD_BYTES];
    struct said said = {.key = SLICE("key"), .value = SLICE("value"), .version = 7};
    struct record *record = said_record(in.haul.heap, &said);
    struct slice data = wire_data(record);
    uint32_t shard = source_shard_of(record);
    wire_head(record, bytes);
    memcpy(bytes + WIRE_HEAD_BYTES, data.data, data.len);
    wire_end(1, bytes + WIRE_HEAD_BYTES + data.len);
    answer((struct slice){bytes, WIRE_HEAD_BYTES + data.len + (whole ? WIRE_HEAD_BYTES : 0)});
    record_release(in.haul.heap, record);
    return shard;
}

static void read_pass(void)
{
    read_begin();
    tell(true);
    assert_true(in.source.done);
}

static void test_who_was_read_once_is_read_again(void **state)
{
    (void)state;
    static const unsigned ports[] = {8000, 8000, 8001, 8001, 8002, 8002, 8000};
    for (unsigned i = 0; i < COUNT(ports); i++) {
        source_stay(&in.source, 1);
        read_pass();
        assert_int_equal(last_port(), ports[i]);
        assert_int_equal(in.members[ports[i] - 8000].read_pass, i + 1);
        assert_int_equal(in.members[ports[i] - 8000].twice_pass, i % 2 ? i + 1 : i == 6 ? 2 : 0);
        assert_int_equal(source_is_covered(&in.source, 1), i >= 5);
    }
}

/* Two passes of which one does not count are none. */
static void test_who_is_read_until_it_counts(void **state)
{
    (void)state;
    static const unsigned ports[] = {8000, 8000, 8000, 8001};
    for (unsigned i = 0; i < COUNT(ports); i++) {
        source_stay(&in.source, 3);
        read_pass();
        assert_int_equal(last_port(), ports[i]);
    }
}

/* What another one was read for counts as read of neither, as does what was read with a pass between. */
static void test_a_pass_of_two_members_is_a_pass_of_none(void **state)
{
    (void)state;
    read_pass();
    source_stay(&in.source, 1);
    read_begin();
    assert_int_equal(last_port(), 8000);
    fake_break(in.io, last(), -ECONNRESET);
    turn();
    later(HAUL_RETRY_US);
    source_tick(&in.source);
    turn();
    assert_int_equal(last_port(), 8001);
    tell(true);
    assert_true(in.source.done);
    assert_int_equal(in.members[0].read_pass, 1);
    assert_int_equal(in.members[1].read_pass, 0);
    source_stay(&in.source, 1);
    in.source.contact.wanted = &in.members[0].address;
    read_pass();
    assert_int_equal(in.members[0].read_pass, 3);
    assert_int_equal(in.members[0].twice_pass, 0);
}

/* An answer that ends where a record ends is no more whole than any other: who tells it has stopped, maybe. The next one is asked from the
 * shard that was come to, of which some may be missing. */
static void test_what_was_cut_is_read_on(void **state)
{
    (void)state;
    char wanted[64];
    read_begin();
    assert_true(slice_starts(fake_output(in.io, last()), SLICE("GET /-/records?from=0 ")));
    uint32_t shard = tell(false);
    assert_int_equal(in.records, 1);
    assert_false(in.source.done);
    later(HAUL_RETRY_US);
    source_tick(&in.source);
    turn();
    assert_int_equal(last_port(), 8001);
    snprintf(wanted, sizeof wanted, "GET /-/records?from=%u ", shard);
    assert_true(slice_starts(fake_output(in.io, last()), slice_of(wanted)));
}

/* It may have what no other one has. */
static void test_a_member_of_which_it_is_not_known_whether_it_can_be_read(void **state)
{
    (void)state;
    struct backend *member = &in.members[2];
    be_usable(2);
    in.source.pass = 2;
    in.members[0].twice_pass = in.members[1].twice_pass = 2;
    member->usable = false; /* and up, but not ready: a newcomer */
    assert_false(source_is_open(&in.source));
    assert_true(source_is_covered(&in.source, 2));
    member->is_ready = true;
    assert_true(source_is_open(&in.source));
    assert_false(source_is_covered(&in.source, 2));
    member->foreign = true;
    assert_false(source_is_open(&in.source));
    member->foreign = false;
    member->wrong = true;
    assert_false(source_is_open(&in.source));
    member->wrong = member->up = false; /* nothing was heard of it yet */
    assert_true(source_is_open(&in.source));
    member->backoff_us = 1; /* it does not answer */
    assert_false(source_is_open(&in.source));
    member->backoff_us = 0;
    member->leaving = true;
    assert_false(source_is_open(&in.source));
    member->leaving = member->listed = false;
    assert_false(source_is_open(&in.source));
}

/* Giving */

static void give(void)
{
    struct said said = {.key = SLICE("key"), .value = SLICE("value"), .version = 7};
    struct record *record = said_record(in.haul.heap, &said);
    assert_int_equal(target_add(&in.target, record, true), 0);
    record_release(in.haul.heap, record);
}

static void give_on(void)
{
    target_tick(&in.target);
    turn();
    target_flush(&in.target);
    turn();
}

static void merged(void)
{
    answer(SLICE("1 records were read, 1 of them were new here.\n"));
}

static void test_a_member_that_was_lost_while_it_was_given(void **state)
{
    (void)state;
    give();
    give_on();
    assert_int_equal(last_port(), 8000);
    assert_false(in.target.broken);
    fake_break(in.io, last(), -ECONNRESET);
    turn();
    assert_true(in.target.broken);
    assert_false(target_is_empty(&in.target));
    later(HAUL_RETRY_US);
    give_on();
    assert_int_equal(last_port(), 8001);
    merged();
    assert_true(target_is_empty(&in.target));
    assert_int_equal(in.fresh, 1);
    assert_true(in.target.broken);
}

/* Also when it has answered all, and its connection ends in order, as that of a process that is killed does: what it was given may be
 * lost. */
static void test_a_member_that_was_lost_after_it_was_given(void **state)
{
    (void)state;
    give();
    give_on();
    merged();
    assert_false(in.target.broken);
    fake_end(in.io, last());
    turn();
    assert_true(in.target.broken);
}

static void test_each_pass_gives_to_another_member(void **state)
{
    (void)state;
    static const struct {
        unsigned usable, port;
    } passes[] = {{3, 8000}, {3, 8001}, {2, 8000}, {3, 8002}, {2, 8001},
                  {1, 8000}, {1, 8000}, {2, 8001}, {3, 8002}};
    for (unsigned i = 0; i < COUNT(passes); i++) {
        be_usable(passes[i].usable);
        give();
        target_turn(&in.target);
        turn();
        give_on();
        check(last_port() == passes[i].port, "pass %u: %u", i, last_port());
        merged();
        assert_true(target_is_empty(&in.target));
        assert_false(in.target.broken);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_who_was_read_once_is_read_again, begin, end),
        cmocka_unit_test_setup_teardown(test_who_is_read_until_it_counts, begin, end),
        cmocka_unit_test_setup_teardown(test_a_pass_of_two_members_is_a_pass_of_none, begin, end),
        cmocka_unit_test_setup_teardown(test_what_was_cut_is_read_on, begin, end),
        cmocka_unit_test_setup_teardown(
            test_a_member_of_which_it_is_not_known_whether_it_can_be_read, begin, end),
        cmocka_unit_test_setup_teardown(test_a_member_that_was_lost_while_it_was_given, begin, end),
        cmocka_unit_test_setup_teardown(test_a_member_that_was_lost_after_it_was_given, begin, end),
        cmocka_unit_test_setup_teardown(test_each_pass_gives_to_another_member, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
