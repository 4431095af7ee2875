#include "data/watch.h"

#include "unit.h"

enum { WAITERS = 200, KEYS = 12 };

static struct watch watch;
static struct watch_waiter waiters[WAITERS];

static int set_up(void **state)
{
    (void)state;
    memset(waiters, 0, sizeof waiters);
    watch_init(&watch);
    return 0;
}

/* Keys that fall into a few buckets only; 10 and 11 are one for the watch. */
static struct store_key key_of(unsigned number)
{
    static const struct store_key keys[KEYS] = {
        {.shard = 0, .hash = 0},
        {.shard = 0, .hash = WATCH_BUCKETS},
        {.shard = WATCH_BUCKETS, .hash = 0},
        {.shard = 1, .hash = 1},
        {.shard = 2, .hash = 2},
        {.shard = 5, .hash = 6},
        {.shard = 6, .hash = 5},
        {.shard = 7, .hash = 4},
        {.shard = STORE_SHARDS - 1, .hash = UINT32_MAX},
        {.shard = STORE_SHARDS - 1, .hash = UINT32_MAX - WATCH_BUCKETS},
        {.bytes = {"a", 1}, .shard = 9, .hash = 77},
        {.bytes = {"b", 1}, .shard = 9, .hash = 77},
    };
    return keys[number];
}

static bool same_for_the_watch(unsigned a, unsigned b)
{
    return key_of(a).shard == key_of(b).shard && key_of(a).hash == key_of(b).hash;
}

static void add(unsigned i, unsigned key)
{
    struct store_key one = key_of(key);
    watch_add(&watch, &waiters[i], &one);
}

static void wake(unsigned key)
{
    struct store_key one = key_of(key);
    watch_wake(&watch, &one);
}

/* The number of the next one woken, or -1. */
static int next(void)
{
    const struct watch_waiter *waiter = watch_next(&watch);
    if (!waiter)
        return -1;
    assert_null(waiter->at);
    return (int)(waiter - waiters);
}

static void test_nobody_waits(void **state)
{
    (void)state;
    for (unsigned key = 0; key < KEYS; key++)
        wake(key);
    assert_int_equal(next(), -1);
    assert_int_equal(watch.waiting, 0);
    watch_remove(&watch, &waiters[0]);
    assert_int_equal(watch.waiting, 0);
}

static void test_only_those_of_the_key_are_woken(void **state)
{
    (void)state;
    for (unsigned key = 0; key < KEYS; key++)
        for (unsigned i = 0; i < KEYS; i++) {
            unsigned woken = 0;
            set_up(NULL);
            for (i = 0; i < KEYS; i++)
                add(i, i);
            assert_int_equal(watch.waiting, KEYS);
            wake(key);
            for (int number; (number = next()) >= 0; woken++)
                check(same_for_the_watch((unsigned)number, key), "%d for %u", number, key);
            assert_int_equal(woken, key >= 10 ? 2 : 1);
            assert_int_equal(watch.waiting, KEYS - woken);
            for (i = 0; i < KEYS; i++)
                assert_int_equal(waiters[i].at == NULL, same_for_the_watch(i, key));
        }
}

static void test_all_of_one_key_are_woken_once(void **state)
{
    (void)state;
    bool seen[WAITERS] = {false};
    for (unsigned i = 0; i < WAITERS; i++)
        add(i, i % 2);
    wake(1);
    wake(1); /* nobody is left */
    for (int number; (number = next()) >= 0;) {
        check(number % 2 == 1 && !seen[number], "%d", number);
        seen[number] = true;
    }
    for (unsigned i = 1; i < WAITERS; i += 2)
        assert_true(seen[i]);
    assert_int_equal(watch.waiting, WAITERS / 2);
}

/* Who was woken first is answered first. */
static void test_order_of_waking(void **state)
{
    (void)state;
    static const unsigned order[] = {5, 3, 8, 0, 4, 2};
    for (unsigned i = 0; i < 9; i++)
        add(i, i);
    for (size_t i = 0; i < COUNT(order); i++)
        wake(order[i]);
    for (size_t i = 0; i < COUNT(order); i++)
        assert_int_equal(next(), order[i]);
    assert_int_equal(next(), -1);
}

static void test_removal_of_those_woken(void **state)
{
    (void)state;
    static const unsigned gone[][3] = {{0, 1, 2}, {3, 4, 5}, {6, 7, 8}, {0, 4, 8}, {8, 7, 6}};
    for (size_t row = 0; row < COUNT(gone); row++) {
        set_up(NULL);
        for (unsigned i = 0; i < 9; i++)
            add(i, i);
        for (unsigned i = 0; i < 9; i++)
            wake(i);
        for (unsigned i = 0; i < 3; i++) {
            watch_remove(&watch, &waiters[gone[row][i]]);
            watch_remove(&watch, &waiters[gone[row][i]]); /* does nothing */
        }
        add(9, 3); /* and one more at the end */
        wake(3);
        for (unsigned i = 0; i < 9; i++)
            if (i != gone[row][0] && i != gone[row][1] && i != gone[row][2])
                check(next() == (int)i, "row %zu", row);
        assert_int_equal(next(), 9);
        assert_int_equal(next(), -1);
        assert_int_equal(watch.waiting, 0);
    }
}

static void test_waiting_again(void **state)
{
    (void)state;
    add(0, 3);
    for (int i = 0; i < 5; i++) {
        wake(3);
        assert_int_equal(next(), 0);
        assert_int_equal(next(), -1);
        add(0, 3); /* as one whose value looks the same */
    }
    assert_int_equal(watch.waiting, 1);
}

/* Against a model: for each waiter its key and whether it was woken, and a queue of those. */
static void test_random(void **state)
{
    (void)state;
    enum { IDLE, WAITING, WOKEN };
    struct chance chance = chance_start(19);
    int what[WAITERS] = {IDLE};
    unsigned key_waited_for[WAITERS] = {0}, woken_at[WAITERS] = {0}, wakes = 0;
    for (int step = 0; step < 100000; step++) {
        unsigned i = (unsigned)chance_below(&chance, WAITERS),
                 key = (unsigned)chance_below(&chance, KEYS);
        switch (chance_below(&chance, 6)) {
        case 0:
        case 1:
            if (what[i] != IDLE)
                break;
            add(i, key);
            what[i] = WAITING;
            key_waited_for[i] = key;
            break;
        case 2:
            watch_remove(&watch, &waiters[i]);
            what[i] = IDLE;
            break;
        case 3:
            wake(key);
            wakes++;
            for (i = 0; i < WAITERS; i++)
                if (what[i] == WAITING && same_for_the_watch(key_waited_for[i], key)) {
                    what[i] = WOKEN;
                    woken_at[i] = wakes;
                }
            break;
        default: {
            int number = next();
            unsigned first = UINT32_MAX;
            for (i = 0; i < WAITERS; i++)
                if (what[i] == WOKEN && woken_at[i] < first)
                    first = woken_at[i];
            check((number >= 0) == (first != UINT32_MAX), "step %d", step);
            if (number < 0)
                break;
            check(what[number] == WOKEN && woken_at[number] == first, "step %d", step);
            what[number] = IDLE;
            break;
        }
        }
        unsigned waiting = 0;
        for (i = 0; i < WAITERS; i++) {
            check((waiters[i].at != NULL) == (what[i] != IDLE), "step %d, %u", step, i);
            waiting += what[i] != IDLE;
        }
        check(watch.waiting == waiting, "step %d", step);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_nobody_waits, set_up),
        cmocka_unit_test_setup(test_only_those_of_the_key_are_woken, set_up),
        cmocka_unit_test_setup(test_all_of_one_key_are_woken_once, set_up),
        cmocka_unit_test_setup(test_order_of_waking, set_up),
        cmocka_unit_test_setup(test_removal_of_those_woken, set_up),
        cmocka_unit_test_setup(test_waiting_again, set_up),
        cmocka_unit_test_setup(test_random, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
