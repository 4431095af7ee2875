#include "base/histogram.h"

#include "unit.h"

static void test_values_fall_in_their_buckets(void **state)
{
    (void)state;
    static const struct {
        uint64_t us;
        unsigned bucket;
    } rows[] = {
        {0, 0},        {1, 0},        {2, 1},        {3, 2},           {4, 2},
        {5, 3},        {8, 3},        {9, 4},        {1024, 10},       {1025, 11},
        {8388607, 23}, {8388608, 23}, {8388609, 24}, {1ULL << 40, 24}, {INT64_MAX, 24},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct histogram h = {0};
        histogram_add(&h, rows[i].us, 1);
        for (unsigned bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++)
            check(h.counts[bucket] == (bucket == rows[i].bucket), "%llu us, bucket %u",
                  (unsigned long long)rows[i].us, bucket);
        assert_int_equal(h.sum_us, rows[i].us);
        assert_int_equal(h.max_us, rows[i].us);
        assert_int_equal(histogram_count(&h), 1);
    }
}

/* Each power of two ends its bucket: one more is in the next. */
static void test_every_edge(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < HISTOGRAM_BUCKETS - 1; bit++) {
        struct histogram h = {0};
        histogram_add(&h, 1ULL << bit, 3);
        histogram_add(&h, (1ULL << bit) + 1, 5);
        check(h.counts[bit] == 3 && h.counts[bit + 1] == 5, "2^%u", bit);
    }
}

static void test_counts_of_many(void **state)
{
    (void)state;
    struct histogram h = {0};
    histogram_add(&h, 10, 7);
    histogram_add(&h, 1000, 0);
    histogram_add(&h, 3, 2);
    assert_int_equal(histogram_count(&h), 9);
    assert_int_equal(h.sum_us, 76);
    assert_int_equal(h.counts[4], 7);
    assert_int_equal(h.counts[2], 2);
}

static void test_no_quantile_of_nothing(void **state)
{
    (void)state;
    struct histogram h = {0};
    assert_int_equal(histogram_count(&h), 0);
    assert_int_equal(histogram_quantile(&h, 0), 0);
    assert_int_equal(histogram_quantile(&h, 0.5), 0);
    assert_int_equal(histogram_quantile(&h, 1), 0);
}

static void test_quantiles(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        struct {
            uint64_t us, count;
        } added[3];
        double part;
        uint64_t wanted;
    } rows[] = {
        {"one value, none of it", {{100, 1}}, 0, 128},
        {"one value, half", {{100, 1}}, 0.5, 128},
        {"one value, all", {{100, 1}}, 1, 128},
        {"the least bucket", {{0, 10}}, 1, 1},
        {"the exact end of a bucket", {{64, 10}}, 0.5, 64},
        {"below the step", {{10, 90}, {1000, 10}}, 0.89, 16},
        {"above the step", {{10, 90}, {1000, 10}}, 0.91, 1024},
        {"half of four", {{1, 2}, {500, 2}}, 0.5, 1},
        {"99 of 100", {{10, 99}, {5000, 1}}, 0.99, 16},
        {"three quarters of four", {{1, 3}, {500, 1}}, 0.75, 1},
        {"all of a hundred", {{10, 99}, {5000, 1}}, 1, 8192},
        {"beyond the last bucket", {{10, 1}, {20000000, 99}}, 0.5, 20000000},
        {"the end of the last bucket that has one", {{8388608, 1}}, 0.5, 8388608},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct histogram h = {0};
        for (size_t j = 0; j < COUNT(rows[i].added); j++)
            histogram_add(&h, rows[i].added[j].us, rows[i].added[j].count);
        uint64_t is = histogram_quantile(&h, rows[i].part);
        check(is == rows[i].wanted, "%s: %llu in place of %llu", rows[i].name,
              (unsigned long long)is, (unsigned long long)rows[i].wanted);
    }
}

/* For the sorted values themselves: the quantile's bucket is the one that holds the value of that
 * rank. */
static void test_quantiles_of_random_values(void **state)
{
    (void)state;
    struct chance chance = chance_start(1);
    for (int round = 0; round < 200; round++) {
        struct histogram h = {0};
        size_t count = 1 + chance_below(&chance, 64);
        for (size_t i = 0; i < count; i++)
            histogram_add(&h, chance_next(&chance) >> (41 + chance_below(&chance, 22)), 1);
        uint64_t before = 0;
        for (unsigned quarter = 1; quarter <= 4; quarter++) {
            uint64_t is = histogram_quantile(&h, quarter / 4.0), seen = 0, below = 0;
            for (unsigned bucket = 0; bucket < HISTOGRAM_BUCKETS - 1; bucket++) {
                seen += 1ULL << bucket <= is ? h.counts[bucket] : 0;
                below += 1ULL << bucket < is ? h.counts[bucket] : 0;
            }
            check(seen * 4 >= count * quarter, "round %d: too little below", round);
            check(below * 4 < count * quarter, "round %d: a lesser bucket would do", round);
            check(is >= before, "round %d: order", round);
            before = is;
        }
    }
}

static void test_what_was_added_since(void **state)
{
    (void)state;
    struct histogram h = {0};
    histogram_add(&h, 5000, 3);
    struct histogram before = h;
    histogram_add(&h, 10, 2);
    struct histogram since = histogram_since(&h, &before);
    assert_int_equal(histogram_count(&since), 2);
    assert_int_equal(histogram_quantile(&since, 1), 16);
    assert_int_equal(since.sum_us, 20);
    since = histogram_since(&h, &h);
    assert_int_equal(histogram_count(&since), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_fall_in_their_buckets),
        cmocka_unit_test(test_every_edge),
        cmocka_unit_test(test_counts_of_many),
        cmocka_unit_test(test_no_quantile_of_nothing),
        cmocka_unit_test(test_quantiles),
        cmocka_unit_test(test_quantiles_of_random_values),
        cmocka_unit_test(test_what_was_added_since),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
