/* Cursors in the order of changes: each key is told once, with its newest value, and nothing that was written here is left out. */
#include "data/lag.h"

#include <stdlib.h>

#include "records.h"

struct in {
    struct store_observer observer; /* first */
    struct store *store;
    struct lag *lag;
};

static struct in in;

static void on_change(struct store_observer *observer, const struct store_key *key,
                      struct record *old, struct record *record)
{
    lag_on_change(((struct in *)observer)->lag, key->shard, old, record);
}

static void on_move(struct store_observer *observer, uint32_t shard, struct record *from,
                    struct record *to)
{
    lag_on_move(((struct in *)observer)->lag, shard, from, to);
}

static void on_drop(struct store_observer *observer, uint32_t shard, struct record *record)
{
    lag_on_drop(((struct in *)observer)->lag, shard, record);
}

static int begin(void **state)
{
    (void)state;
    in = (struct in){.observer = {on_change, on_move, on_drop}};
    in.store = store_new(0, 1000, 7);
    in.lag = lag_new();
    assert_non_null(in.store);
    assert_non_null(in.lag);
    store_observe(in.store, &in.observer);
    return 0;
}

static int end(void **state)
{
    (void)state;
    store_destroy(in.store);
    free(in.lag);
    return 0;
}

static void put(unsigned number, uint64_t version, bool local, bool tombstone)
{
    char name[16], value[32];
    int name_bytes = snprintf(name, sizeof name, "k%u", number);
    int value_bytes = snprintf(value, sizeof value, "v%llu", (unsigned long long)version);
    struct said said = {
        .key = {name, (size_t)name_bytes}, .version = version, .tombstone = tombstone};
    if (!tombstone)
        said.value = (struct slice){value, (size_t)value_bytes};
    struct record *record = said_record(store_heap(in.store), &said);
    struct store_key key = store_key(in.store, record_key(record));
    if (local)
        assert_int_equal(store_write(in.store, &key, record, version), STORE_APPLIED);
    else
        assert_int_equal(store_merge(in.store, &key, record, version), STORE_APPLIED);
}

static unsigned number_of(const struct record *record)
{
    struct slice key = record_key(record);
    unsigned long long number;
    assert_true(slice_number((struct slice){key.data + 1, key.len - 1}, 1000, &number));
    return (unsigned)number;
}

/* All that is to be told; returns how many there were, and the last number of each. */
static unsigned tell(uint64_t *versions)
{
    unsigned count = 0, steps = 1000000;
    for (struct record *record; (record = lag_next(in.lag, &steps)); count++) {
        unsigned number = number_of(record);
        assert_true(versions[number] == 0); /* once */
        versions[number] = record->version;
    }
    assert_true(lag_is_empty(in.lag));
    return count;
}

static void test_each_key_once_with_its_newest_value(void **state)
{
    (void)state;
    uint64_t versions[8] = {0};
    for (uint64_t version = 1; version <= 40; version++)
        put((unsigned)version % 4, version, true, false);
    assert_int_equal(tell(versions), 4);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(versions[i], 36 + (i ? i : 4));
}

static void test_what_others_wrote_is_not_told(void **state)
{
    (void)state;
    uint64_t versions[8] = {0};
    put(1, 10, true, false);
    put(2, 10, false, false);
    put(3, 30, true, true);
    put(4, 40, true, false);
    put(2, 50, false, false);
    assert_int_equal(tell(versions), 3);
    assert_int_equal(versions[2], 0);
    put(4, 60, false, false); /* over what was told already */
    assert_int_equal(tell(versions), 0);
}

/* Else a member that was told nothing would seem to have all that was to be told. */
static void test_what_others_wrote_over_it_is_told_in_its_place(void **state)
{
    (void)state;
    uint64_t versions[8] = {0};
    put(1, 10, true, false);
    put(1, 20, false, false);
    assert_int_equal(tell(versions), 1);
    assert_int_equal(versions[1], 20);
}

static void test_steps_are_bounded(void **state)
{
    (void)state;
    unsigned steps = 3, told = 0;
    for (unsigned i = 0; i < 10; i++)
        put(i, 5, true, false);
    while (lag_next(in.lag, &steps))
        told++;
    assert_int_equal(steps, 0);
    assert_true(told <= 3);
    assert_false(lag_is_empty(in.lag));
}

/* Writes, tellings, drops and moves in any order: what was written last is told in the end. */
static void test_any_order(void **state)
{
    (void)state;
    struct chance chance = {1};
    uint64_t wanted[64] = {0}, told[64] = {0}, now = 1;
    for (int round = 0; round < 20000; round++) {
        unsigned number = (unsigned)(chance_next(&chance) % 64), steps = (unsigned)round % 3;
        bool tombstone = chance_next(&chance) % 4 == 0;
        put(number, ++now, true, tombstone);
        wanted[number] = now;
        for (struct record *record; (record = lag_next(in.lag, &steps));)
            told[number_of(record)] = record->version;
        if (round % 100 == 99)
            store_sweep(in.store, now + 100, 1000);
    }
    unsigned steps = 1000000;
    for (struct record *record; (record = lag_next(in.lag, &steps));)
        told[number_of(record)] = record->version;
    for (unsigned i = 0; i < 64; i++)
        assert_int_equal(told[i], wanted[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_each_key_once_with_its_newest_value, begin, end),
        cmocka_unit_test_setup_teardown(test_what_others_wrote_is_not_told, begin, end),
        cmocka_unit_test_setup_teardown(test_what_others_wrote_over_it_is_told_in_its_place, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_steps_are_bounded, begin, end),
        cmocka_unit_test_setup_teardown(test_any_order, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
