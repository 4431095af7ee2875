/* What a node sees to at each tick. */
#include "role/node_state.h"

#include "records.h"
#include "stage.h"

enum { SECOND = 1000 * 1000, MS = 1000, MANY = 20000, COME = 1000 };

static struct fake_io *io;
static struct loop loop;
static struct log events;
static struct node *node;

static int begin(void **state)
{
    (void)state;
    struct address address;
    struct node_config config = {.server = {.connections_max = 100}, .value_max = 1 << 20};
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_values_expire_as_fast_as_others_come, begin, end),
        cmocka_unit_test_setup_teardown(test_deletes_are_forgotten_as_fast_as_others_come, begin,
                                        end),
    };
    return cmocka_run_group_tests_name("node", tests, NULL, NULL);
}
