#include "base/exposition.h"

#include "unit.h"

enum { ROOM = 8192 };

static char room[ROOM];

static struct text text_of(void)
{
    return text_in(room, sizeof room);
}

static void check_text(const struct text *text, const char *wanted)
{
    check_slice(text_slice(text), slice_of(wanted), wanted);
    assert_false(text->full);
}

static void test_single_numbers(void **state)
{
    (void)state;
    struct text text = text_of();
    exposition_gauge(&text, "keys", "Keys that have a value.", 0);
    exposition_counter(&text, "writes_total", "Writes.", UINT64_MAX);
    exposition_seconds(&text, "cpu_seconds_total", "counter", "Processor time.", 1500000);
    check_text(&text, "# HELP keys Keys that have a value.\n# TYPE keys gauge\nkeys 0\n"
                      "# HELP writes_total Writes.\n# TYPE writes_total counter\n"
                      "writes_total 18446744073709551615\n"
                      "# HELP cpu_seconds_total Processor time.\n"
                      "# TYPE cpu_seconds_total counter\ncpu_seconds_total 1.500000\n");
}

static void test_labels(void **state)
{
    (void)state;
    struct text text = text_of();
    exposition_head(&text, "nodes", "gauge", "Nodes by state.");
    exposition_sample(&text, "nodes", SLICE("state=\"up\""), 2);
    exposition_sample(&text, "nodes", SLICE("state=\"down\""), 0);
    check_text(&text, "# HELP nodes Nodes by state.\n# TYPE nodes gauge\n"
                      "nodes{state=\"up\"} 2\nnodes{state=\"down\"} 0\n");
}

/* The number behind a piece of text; fails when that is not there. */
static uint64_t number_behind(const struct text *text, const char *what)
{
    char all[ROOM];
    snprintf(all, sizeof all, "%.*s", (int)text->len, text->data);
    const char *found = strstr(all, what);
    check(found != NULL, "no %s in %s", what, all);
    return strtoull(found + strlen(what), NULL, 10);
}

/* Buckets hold all that is in smaller ones, and the last holds all. */
static void test_histogram(void **state)
{
    (void)state;
    struct text text = text_of();
    struct histogram histogram = {0};
    histogram_add(&histogram, 1, 3);
    histogram_add(&histogram, 2, 4);
    histogram_add(&histogram, 1ULL << 40, 5);
    exposition_histogram(&text, "took_seconds", "How long it took.", &histogram);
    assert_int_equal(number_behind(&text, "took_seconds_bucket{le=\"0.000001\"} "), 3);
    assert_int_equal(number_behind(&text, "took_seconds_bucket{le=\"0.000002\"} "), 7);
    assert_int_equal(number_behind(&text, "took_seconds_bucket{le=\"8.388608\"} "), 7);
    assert_int_equal(number_behind(&text, "took_seconds_bucket{le=\"+Inf\"} "), 12);
    assert_int_equal(number_behind(&text, "took_seconds_count "), 12);
    assert_int_equal(number_behind(&text, "took_seconds_sum "),
                     (3 + 8 + 5 * (1ULL << 40)) / 1000000);
    unsigned lines = 0;
    for (size_t i = 0; i < text.len; i++)
        lines += text.data[i] == '\n';
    assert_int_equal(lines, 2 + HISTOGRAM_BUCKETS + 2);
}

static void test_buckets_of_a_member(void **state)
{
    (void)state;
    struct text text = text_of();
    struct histogram histogram = {0};
    histogram_add(&histogram, 2, 1); /* falls between two that are told */
    exposition_buckets(&text, "took_seconds", SLICE("member=\"a\""), &histogram, 12);
    check_text(&text, "took_seconds_bucket{member=\"a\",le=\"0.000001\"} 0\n"
                      "took_seconds_bucket{member=\"a\",le=\"0.004096\"} 1\n"
                      "took_seconds_bucket{member=\"a\",le=\"+Inf\"} 1\n"
                      "took_seconds_sum{member=\"a\"} 0.000002\n"
                      "took_seconds_count{member=\"a\"} 1\n");
}

static void test_full(void **state)
{
    (void)state;
    char small[40];
    struct text text = text_in(small, sizeof small);
    exposition_gauge(&text, "keys", "Keys that have a value, and more than fits here.", 1);
    assert_true(text.full);
    assert_true(text.len < sizeof small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_single_numbers), cmocka_unit_test(test_labels),
        cmocka_unit_test(test_histogram),      cmocka_unit_test(test_buckets_of_a_member),
        cmocka_unit_test(test_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
