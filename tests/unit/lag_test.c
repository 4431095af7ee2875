/* Cursors in the order of changes: each key is told once, with its newest value, and nothing that was written here is left out. */
#include "data/lag.h"

#include <stdlib.h>

#include "records.h"

struct in {
    struct store_observer observer;
    struct store *store;
    struct lag *lag;
    unsigned moves_of_next, drops_of_next; /* of the record that a cursor stands on */
};

enum { KEYS = 2000 };

static struct in in;

static void on_change(struct store_observer *observer, const struct store_key *key,
                      struct record *old, struct record *record)
{
    (void)observer;
    lag_on_change(in.lag, key->shard, old, record);
}

static void on_move(struct store_observer *observer, uint32_t shard, struct record *from,
                    struct record *to)
{
    (void)observer;
    in.moves_of_next += in.lag->at[shard] == from;
    lag_on_move(in.lag, shard, from, to);
}

static void on_drop(struct store_observer *observer, uint32_t shard, struct record *record)
{
    (void)observer;
    in.drops_of_next += in.lag->at[shard] == record;
    lag_on_drop(in.lag, shard, record);
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
    assert_true(slice_number((struct slice){key.data + 1, key.len - 1}, KEYS - 1, &number));
    return (unsigned)number;
}

static uint32_t shard_of(unsigned number)
{
    char name[16];
    struct slice bytes = {name, (size_t)snprintf(name, sizeof name, "k%u", number)};
    return store_key(in.store, bytes).shard;
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

/* However often a shard has something to tell, it stands in the ring once. */
static void test_a_shard_waits_once(void **state)
{
    (void)state;
    for (uint64_t version = 1; version <= 100; version++) {
        unsigned steps = 1;
        put(1, version, true, false);
        assert_int_equal(in.lag->count, 1);
        assert_int_equal(lag_next(in.lag, &steps)->version, version);
    }
}

/* Keys that are written faster than they are told keep no other shard waiting: neither one whose value alone fills a batch, nor
 * several in one shard. */
static void test_busy_shards_take_turns(void **state)
{
    (void)state;
    enum { BUSY = 3, WAITING = 20 };
    unsigned busy[BUSY], found = 0, steps = 1000, others = 0;
    uint32_t shard = shard_of(0);
    for (unsigned number = 0; found < BUSY; number++)
        if (shard_of(number) == shard)
            busy[found++] = number;
    for (unsigned n = 1; n <= BUSY; n++) {
        for (unsigned i = 0; i < n; i++)
            put(busy[i], 1, true, false);
        for (unsigned number = 100; number < 100 + WAITING; number++)
            put(number, n, true, false);
        for (uint64_t version = 2; others < n * WAITING; version++) {
            const struct record *told = lag_next(in.lag, &steps);
            check(told && version < 3 * WAITING, "%u of %u told", others, n * WAITING);
            others += store_key(in.store, record_key(told)).shard != shard;
            for (unsigned i = 0; i < n; i++)
                put(busy[i], version, true, false);
        }
    }
}

static void tell_some(unsigned most, uint64_t *told)
{
    unsigned steps = 2 * KEYS;
    struct record *record;
    for (; most > 0 && (record = lag_next(in.lag, &steps)); most--)
        told[number_of(record)] = record->version;
}

/* Deletes that have been dropped are not to be told any more. */
static void forget_dropped(uint64_t *wanted, uint64_t *told)
{
    for (unsigned i = 0; i < KEYS; i++) {
        char name[16];
        struct slice bytes = {name, (size_t)snprintf(name, sizeof name, "k%u", i)};
        struct store_key key = store_key(in.store, bytes);
        if (!store_find(in.store, &key))
            wanted[i] = told[i] = 0;
    }
}

/* Writes, tellings, drops and moves in any order: what was written last is told in the end. Most keys are deleted now and then, so that
 * there is much to drop, and to move; also what a cursor stands on. */
static void test_any_order(void **state)
{
    (void)state;
    static uint64_t wanted[KEYS], told[KEYS];
    struct chance chance = chance_start(1);
    uint64_t now = 1;
    for (unsigned round = 0; round < 60000; round++) {
        unsigned number = (unsigned)chance_below(&chance, KEYS);
        bool deletes = round % 10000 > 5000 && number % 8;
        put(number, ++now, true, deletes);
        wanted[number] = now;
        tell_some(round % 4 == 0, told);
        if (round % 10 != 9)
            continue;
        store_sweep(in.store, now, KEYS);
        forget_dropped(wanted, told);
    }
    assert_true(in.moves_of_next > 0 && in.drops_of_next > 0);
    tell_some(KEYS + 1, told);
    assert_true(lag_is_empty(in.lag));
    for (unsigned i = 0; i < KEYS; i++)
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
        cmocka_unit_test_setup_teardown(test_a_shard_waits_once, begin, end),
        cmocka_unit_test_setup_teardown(test_busy_shards_take_turns, begin, end),
        cmocka_unit_test_setup_teardown(test_any_order, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
