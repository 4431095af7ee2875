#include "data/wheel.h"

#include "records.h"

enum { RECORDS = 300 };

static const uint64_t second_us = 1000000;
static const uint64_t noon_us = 1795348800000000; /* 2026-11-22T12:00:00Z */

static struct heap *heap;
static struct wheel wheel;
static struct record *records[RECORDS];

static int set_up(void **state)
{
    (void)state;
    heap = heap_new(0);
    for (int i = 0; i < RECORDS; i++) {
        struct said said = {.key = SLICE("key"), .expires_us = 1};
        records[i] = said_record(heap, &said);
        assert_non_null(records[i]);
    }
    wheel_init(&wheel, noon_us);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (int i = 0; i < RECORDS; i++)
        record_release(heap, records[i]);
    uint64_t used = heap_used(heap);
    heap_destroy(heap);
    return used == 0 ? 0 : -1;
}

static void add(int i, uint64_t due_us)
{
    record_due(records[i])->due_us = due_us;
    wheel_add(&wheel, records[i]);
}

static int number_of(const struct record *record)
{
    int i = 0;
    while (i < RECORDS && records[i] != record)
        i++;
    check(i < RECORDS, "a record that nobody knows");
    return i;
}

static bool stands(int i)
{
    return record_due(records[i])->at != NULL;
}

/* Takes all that is due, with steps enough. Returns how many. */
static unsigned take_all(uint64_t now_us)
{
    unsigned count = 0, steps = 1000000;
    struct record *record;
    while ((record = wheel_next(&wheel, now_us, &steps))) {
        int i = number_of(record);
        check(!stands(i), "%d is still in", i);
        check(record_due(record)->due_us <= now_us, "%d is taken too early", i);
        count++;
    }
    assert_true(steps > 0);
    return count;
}

static void test_nothing_in_it(void **state)
{
    (void)state;
    static const uint64_t times_us[] = {noon_us,
                                        noon_us + 1,
                                        noon_us + 100 * second_us,
                                        noon_us + 10000 * second_us,
                                        noon_us - 50 * second_us,
                                        noon_us + 40000000 * second_us,
                                        noon_us};
    for (size_t i = 0; i < COUNT(times_us); i++)
        assert_int_equal(take_all(times_us[i]), 0);
}

static void test_not_before_its_time(void **state)
{
    (void)state;
    uint64_t due = noon_us + 5 * second_us + 300;
    add(0, due);
    for (uint64_t now = noon_us; now < due; now += 77777)
        assert_int_equal(take_all(now), 0);
    assert_int_equal(take_all(due - 1), 0);
    assert_int_equal(take_all(due + second_us), 1); /* within a second */
    assert_false(stands(0));
}

static void test_what_is_due_already_comes_within_a_second(void **state)
{
    (void)state;
    add(0, 0);
    add(1, noon_us - 1);
    add(2, noon_us);
    add(3, noon_us - 5000 * second_us);
    assert_int_equal(take_all(noon_us + second_us), 4);
}

/* Whatever turn of the wheel they belong to, and the last moment of all. */
static void test_far_future(void **state)
{
    (void)state;
    static const uint64_t turns[] = {1, 2, 3, 10, 100};
    for (size_t i = 0; i < COUNT(turns); i++)
        add((int)i, noon_us + turns[i] * WHEEL_SLOTS * second_us);
    add(10, UINT64_MAX);
    uint64_t now = noon_us;
    for (size_t i = 0; i < COUNT(turns); i++) {
        uint64_t due = noon_us + turns[i] * WHEEL_SLOTS * second_us;
        while (now + 1000 * second_us < due) {
            now += 1000 * second_us;
            assert_int_equal(take_all(now), 0);
        }
        assert_int_equal(take_all(due - 1), 0);
        now = due + second_us;
        assert_int_equal(take_all(now), 1);
        assert_false(stands((int)i));
    }
    assert_true(stands(10));
    wheel_remove(records[10]);
}

static void test_removal(void **state)
{
    (void)state;
    uint64_t due = noon_us + 10 * second_us;
    for (int i = 0; i < 5; i++)
        add(i, due); /* in one list */
    wheel_remove(records[2]);
    wheel_remove(records[2]); /* does nothing */
    wheel_remove(records[0]);
    wheel_remove(records[4]);
    assert_true(!stands(0) && stands(1) && !stands(2) && stands(3) && !stands(4));
    assert_int_equal(take_all(due + second_us), 2);
    wheel_remove(records[1]);
    struct said said = {.key = SLICE("no time")};
    struct record *other = said_record(heap, &said);
    wheel_remove(other); /* a record that has no time */
    record_release(heap, other);
}

/* While a slot is being looked through, one step at a time, its records can go. */
static void test_removal_in_the_middle(void **state)
{
    (void)state;
    uint64_t due = noon_us + 10 * second_us;
    for (int gone = 0; gone < 5; gone++) {
        unsigned taken = 0, steps = 1000000;
        wheel_init(&wheel, noon_us);
        for (int i = 0; i < 5; i++)
            add(i, due);
        struct record *first = wheel_next(&wheel, due + second_us, &steps);
        taken += first != NULL;
        bool was_there = stands(gone);
        wheel_remove(records[gone]);
        taken += take_all(due + second_us);
        assert_int_equal(taken, was_there ? 4 : 5);
        for (int i = 0; i < 5; i++)
            assert_false(stands(i));
    }
}

/* What is taken out can be put in again, at once and while the slot is being looked through. */
static void test_adding_in_the_middle(void **state)
{
    (void)state;
    uint64_t due = noon_us + 10 * second_us, now = due;
    unsigned steps = 1000000, taken = 1;
    for (int i = 0; i < 5; i++)
        add(i, due);
    wheel_add(&wheel, wheel_next(&wheel, now,
                                 &steps)); /* as after a failure: the next second tries again */
    add(5, due);
    add(6, now + WHEEL_SLOTS * second_us); /* the same slot, another turn */
    taken += take_all(now);
    assert_int_equal(taken, 5);
    assert_int_equal(take_all(now + second_us), 2);
    assert_true(stands(6));
    wheel_remove(records[6]);
}

static void test_moved_records(void **state)
{
    (void)state;
    uint64_t due = noon_us + 10 * second_us;
    for (int i = 0; i < 5; i++)
        add(i, due);
    for (int i = 0; i < 6; i++) { /* the last one does not stand in it */
        struct record *copy = record_copy(heap, records[i]);
        assert_non_null(copy);
        wheel_moved(copy);
        memset(records[i]->links, 0xff, sizeof records[i]->links);
        record_due(records[i])->at = NULL;
        record_release(heap, records[i]);
        records[i] = copy;
    }
    wheel_remove(records[3]);
    unsigned steps = 1000000, taken = 1;
    struct record *first = wheel_next(&wheel, due + second_us, &steps);
    assert_non_null(first);
    for (int i = 0; i < 5; i++) { /* also while its slot is being looked through */
        struct record *copy = stands(i) ? record_copy(heap, records[i]) : NULL;
        if (!copy)
            continue;
        wheel_moved(copy);
        record_release(heap, records[i]);
        records[i] = copy;
    }
    taken += take_all(due + second_us);
    assert_int_equal(taken, 4);
}

/* A call looks at no more than it may, and goes on where the last one stopped. What it takes counts
 * too: however many are due at once, they do not hold up everything else. */
static void test_bounded_steps(void **state)
{
    (void)state;
    enum { MOST = 3 };
    uint64_t now = noon_us + 100 * second_us;
    unsigned taken = 0, calls = 0, none = 0;
    for (int i = 0; i < RECORDS; i++)
        add(i, i < RECORDS / 2 ? now : now + WHEEL_SLOTS * second_us * 5);
    for (bool more = true; more && calls < 10000; calls++) {
        unsigned steps = MOST, in_call = 0;
        while (wheel_next(&wheel, now + second_us, &steps))
            in_call++;
        check(in_call <= MOST, "%u taken in one call", in_call);
        assert_true(steps <= MOST);
        more = steps == 0;
        taken += in_call;
    }
    assert_int_equal(taken, RECORDS / 2);
    assert_true(calls >= (RECORDS + 100) / MOST && calls <= (RECORDS + 110) / MOST + 1);
    assert_null(wheel_next(&wheel, UINT64_MAX / 2, &none));
    for (int i = 0; i < RECORDS; i++)
        wheel_remove(records[i]);
}

/* Clocks that are set: nothing is lost, and nothing has to wait for a turn of the wheel. */
static void test_clock_steps(void **state)
{
    (void)state;
    static const int64_t steps_s[] = {1,    -1,    10,      -10,       WHEEL_SLOTS - 1, WHEEL_SLOTS,
                                      4097, -4095, -4096,   -4097,     100000,          -100000,
                                      7,    -7,    1 << 30, -(1 << 30)};
    for (size_t i = 0; i < COUNT(steps_s); i++)
        for (uint64_t due_s = 0; due_s < 2 * WHEEL_SLOTS; due_s += 511) {
            wheel_init(&wheel, noon_us);
            uint64_t now = noon_us + (uint64_t)steps_s[i] * second_us;
            add(0, noon_us + due_s * second_us);
            add(1, now + 3 * second_us);
            add(2, now - 3 * second_us);
            bool due = record_due(records[0])->due_us <= now;
            take_all(now);
            unsigned row = (unsigned)i;
            check(!stands(2), "step %u: what is past stays", row);
            check(stands(1), "step %u: what is to come goes", row);
            check(stands(0) != due, "step %u, due after %llu s", row, (unsigned long long)due_s);
            take_all(now + 4 * second_us);
            check(!stands(1), "step %u", row);
            take_all(noon_us + (due_s + 1) * second_us + (steps_s[i] > 0 ? now - noon_us : 0));
            check(!stands(0), "step %u, due after %llu s", row, (unsigned long long)due_s);
        }
}

/* A machine without a clock of its own begins in 1970, and takes a step when it hears of the time. */
static void test_beginning_of_time(void **state)
{
    (void)state;
    for (uint64_t now = 0; now < 2 * WHEEL_SLOTS * second_us; now += 1000 * second_us) {
        wheel_init(&wheel, noon_us);
        add(0, now + 500);
        add(1, now + 10 * second_us);
        add(2, noon_us);
        assert_int_equal(take_all(now), 0); /* the clock was set back */
        assert_int_equal(take_all(now + 2 * second_us), 1);
        assert_int_equal(take_all(now + 11 * second_us), 1);
        assert_int_equal(take_all(noon_us + second_us), 1);
    }
}

/* Takes all, and checks that nothing is left that was due in a second before this one, unless it
 * came in (fresh) after this one was looked at. */
static unsigned take_and_check(uint64_t now_us, uint64_t *looked_at_s, bool fresh[RECORDS])
{
    bool same_second = now_us / second_us == *looked_at_s;
    unsigned taken = take_all(now_us);
    *looked_at_s = now_us / second_us;
    for (int i = 0; i < RECORDS; i++) {
        if (!stands(i) || (same_second && fresh[i]))
            continue;
        uint64_t due_s = record_due(records[i])->due_us / second_us;
        check(due_s >= now_us / second_us, "%d was forgotten", i);
        fresh[i] = false;
    }
    return taken;
}

/* Against a model: a plain array. */
static void test_random(void **state)
{
    (void)state;
    enum { STEPS = 60000 };
    struct chance chance = chance_start(18);
    uint64_t now = noon_us, looked_at_s = now / second_us;
    bool fresh[RECORDS] = {false}; /* came in since the last look */
    unsigned all_taken = 0;
    for (int step = 0; step < STEPS; step++) {
        int i = (int)chance_below(&chance, RECORDS);
        size_t what = chance_below(&chance, 10);
        if (what < 5 && !stands(i)) {
            static const uint64_t ranges[] = {2, 20, 5000, 20000};
            uint64_t range = ranges[chance_below(&chance, COUNT(ranges))] * second_us;
            add(i, now - range / 4 + chance_below(&chance, range));
            fresh[i] = true;
        } else if (what < 6) {
            wheel_remove(records[i]);
            assert_false(stands(i));
        } else if (what < 8) {
            static const uint64_t ranges[] = {1, 3, 50, 3000};
            now += chance_below(&chance, ranges[chance_below(&chance, COUNT(ranges))] * second_us);
        } else if (chance_once_in(&chance, 20)) { /* the clock is set */
            all_taken += take_and_check(now, &looked_at_s, fresh);
            now += chance_below(&chance, 20000 * second_us);
            now -= chance_below(&chance, 20000 * second_us);
            all_taken += take_and_check(now, &looked_at_s, fresh);
        } else if (what < 9) {
            unsigned steps = (unsigned)chance_below(&chance, 100);
            struct record *record = wheel_next(&wheel, now, &steps);
            looked_at_s = now / second_us;
            if (record) {
                check(record_due(record)->due_us <= now, "step %d", step);
                assert_false(stands(number_of(record)));
            }
        } else {
            all_taken += take_and_check(now, &looked_at_s, fresh);
        }
    }
    assert_true(all_taken > 1000);
    /* In the end each has its time. */
    now += 40000 * second_us;
    take_all(now);
    take_all(now + second_us);
    for (int i = 0; i < RECORDS; i++)
        check(!stands(i), "%d was forgotten", i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nothing_in_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_not_before_its_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_due_already_comes_within_a_second, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_far_future, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_removal, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_removal_in_the_middle, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_adding_in_the_middle, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_moved_records, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bounded_steps, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_clock_steps, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_beginning_of_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_random, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
