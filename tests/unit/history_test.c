/* The ring of the last minutes: what a sample says, and which ones are told. */
#include "role/history.h"

#include "unit.h"

enum { SECOND = 1000 * 1000 };

static struct history history;
static struct histogram latency_us;

static int begin(void **state)
{
    (void)state;
    history = (struct history){0};
    latency_us = (struct histogram){0};
    return 0;
}

static uint64_t *take(uint64_t uptime_us, uint64_t requests)
{
    struct figures figures = {
        .uptime_us = uptime_us, .requests = requests, .latency_us = &latency_us};
    return history_take(&history, &figures);
}

static void test_a_sample_is_due_each_second(void **state)
{
    (void)state;
    assert_false(history_is_due(&history, SECOND - 1));
    assert_true(history_is_due(&history, SECOND));
    take(SECOND + 50, 0);
    assert_false(history_is_due(&history, 2 * SECOND));
    assert_true(history_is_due(&history, 2 * SECOND + 50));
}

static void test_a_sample_is_of_what_was_done_since_the_one_before(void **state)
{
    (void)state;
    histogram_add(&latency_us, 5000, 100);
    const uint64_t *sample = take(SECOND, 100);
    assert_int_equal(sample[HISTORY_UPTIME], SECOND);
    assert_int_equal(sample[HISTORY_REQUESTS], 100);
    assert_int_equal(sample[HISTORY_LATENCY_P50], 5000);
    histogram_add(&latency_us, 10, 98);
    histogram_add(&latency_us, 100, 2);
    sample = take(3 * SECOND, 200); /* late: a second is skipped */
    assert_int_equal(sample[HISTORY_REQUESTS], 50);
    assert_int_equal(sample[HISTORY_LATENCY_P50], 16);
    assert_int_equal(sample[HISTORY_LATENCY_P99], 128);
    assert_int_equal(sample[HISTORY_LATENCY_ALL], 128);
}

static void test_what_is_not_known_is_none(void **state)
{
    (void)state;
    const uint64_t *sample = take(SECOND, 0);
    assert_int_equal(sample[HISTORY_REQUESTS], 0);
    for (unsigned i = HISTORY_LATENCY_P50; i < HISTORY_COLUMNS; i++)
        check(sample[i] == HISTORY_NONE, "column %u", i);
}

static void test_pushes_are_those_since_the_sample_before(void **state)
{
    (void)state;
    struct histogram push_us = {0};
    histogram_add(&push_us, 700, 1);
    uint64_t *sample = take(SECOND, 0);
    history_take_push(&history, &push_us, sample);
    assert_int_equal(sample[HISTORY_PUSH_P50], 700);
    assert_int_equal(sample[HISTORY_PUSH_P99], 700);
    sample = take(2 * SECOND, 0);
    history_take_push(&history, &push_us, sample);
    assert_int_equal(sample[HISTORY_PUSH_P50], HISTORY_NONE);
    assert_int_equal(sample[HISTORY_PUSH_P99], HISTORY_NONE);
}

static uint64_t first(const char *target)
{
    return history_first(&history, slice_of(target));
}

static void test_who_asks_is_told_what_is_kept_and_new(void **state)
{
    (void)state;
    enum { TAKEN = 2 * HISTORY_SAMPLES_MAX + 7, OLDEST = TAKEN - HISTORY_SAMPLES_MAX };
    assert_int_equal(first("/-/history"), 0);
    assert_int_equal(first("/-/history?since=3"), 0);
    for (unsigned i = 0; i < TAKEN; i++)
        take((i + 1ULL) * SECOND, i);
    static const struct {
        const char *target;
        uint64_t wanted;
    } rows[] = {
        {"/-/history", OLDEST},
        {"/-/history?since=", OLDEST},
        {"/-/history?since=0", OLDEST},
        {"/-/history?since=306", OLDEST},
        {"/-/history?since=307", OLDEST},
        {"/-/history?since=308", OLDEST + 1},
        {"/-/history?since=606", TAKEN - 1},
        {"/-/history?since=607", TAKEN},
        {"/-/history?since=608", OLDEST}, /* of another life of the process */
        {"/-/history?since=1x", OLDEST},
        {"/-/history?since=99999999999999999999999", OLDEST},
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        check(first(rows[i].target) == rows[i].wanted, "%s: %llu", rows[i].target,
              (unsigned long long)first(rows[i].target));
    assert_int_equal(history.samples[OLDEST % HISTORY_SAMPLES_MAX][HISTORY_UPTIME],
                     (OLDEST + 1ULL) * SECOND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_a_sample_is_due_each_second, begin),
        cmocka_unit_test_setup(test_a_sample_is_of_what_was_done_since_the_one_before, begin),
        cmocka_unit_test_setup(test_what_is_not_known_is_none, begin),
        cmocka_unit_test_setup(test_pushes_are_those_since_the_sample_before, begin),
        cmocka_unit_test_setup(test_who_asks_is_told_what_is_kept_and_new, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
