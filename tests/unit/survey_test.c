#include "role/survey_state.h"

#include "unit.h"

static void check_recent(const char *history, double requests, double p50, double p99, double push)
{
    struct survey_recent recent = survey_read_recent(slice_of(history));
    check(recent.requests == requests, "%s: %f requests", history, recent.requests);
    check(recent.p50 == p50 && recent.p99 == p99, "%s: %f, %f", history, recent.p50, recent.p99);
    check(recent.push == push, "%s: %f", history, recent.push);
}

#define COLUMNS_AND_SAMPLES(columns, samples) \
    "{\"columns\": [" columns "], \"samples\": [" samples "]}"
#define ALL                                                                                     \
    "\"x\",\"requests_per_second\",\"latency_p50_seconds\",\"latency_p99_seconds\",\"push_p99_" \
    "seconds\""

/* The mean of the last five, and the slowest. */
static void test_recent(void **state)
{
    (void)state;
    check_recent(COLUMNS_AND_SAMPLES(ALL, "[0,2,0.25,0.5,null]"), 2, 0.25, 0.5, -1);
    check_recent(COLUMNS_AND_SAMPLES(
                     ALL, "[0,900,9,9,9],[0,1,0.25,1,null],[0,2,0.5,0.5,2],[0,3,0.125,0.5,1],"
                          "[0,4,null,null,null],[0,5,0.25,0.5,null]"),
                 3, 0.5, 1, 2);
    check_recent(COLUMNS_AND_SAMPLES(ALL, "[0,null,null,null,null]"), -1, -1, -1, -1);
    check_recent(COLUMNS_AND_SAMPLES(ALL, ""), -1, -1, -1, -1);
    /* Whatever order columns stand in, and whichever are missing. */
    check_recent(COLUMNS_AND_SAMPLES("\"push_p99_seconds\",\"requests_per_second\"", "[1,2],[4,4]"),
                 3, -1, -1, 4);
}

static void test_what_is_no_history(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "no JSON",
        "{}",
        "[]",
        "{\"columns\": 7}",
        "{\"columns\": [], \"samples\": 7}",
        "{\"columns\": [\"requests_per_second\"], \"samples\": [7, [], \"x\"]}",
    };
    for (size_t i = 0; i < COUNT(bad); i++)
        check_recent(bad[i], -1, -1, -1, -1);
}

static struct survey_node node_of(const char *status)
{
    return (struct survey_node){.status = (char *)(uintptr_t)status};
}

static void test_states(void **state)
{
    (void)state;
    static const struct {
        const char *status;
        enum survey_state state;
    } rows[] = {
        {NULL, SURVEY_DOWN},
        {"{\"ready\": true, \"cluster\": {\"phase\": \"ready\"}}", SURVEY_READY},
        {"{\"ready\": false, \"cluster\": {\"phase\": \"joining\"}}", SURVEY_GATHERING},
        {"{\"ready\": false, \"cluster\": {\"phase\": \"ready\"}}", SURVEY_UNREADY},
        {"{\"ready\": true, \"draining\": true}", SURVEY_STOPPING},
        {"{\"ready\": false, \"cluster\": {\"phase\": \"leaving\"}}", SURVEY_STOPPING},
        {"{}", SURVEY_UNREADY},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct survey_node node = node_of(rows[i].status);
        check(survey_state_of(&node) == rows[i].state, "row %zu", i);
    }
}

static void test_member_lines(void **state)
{
    (void)state;
    struct slice address, phase;
    assert_true(census_member_line(SLICE("member 10.0.0.1:8000 ready 280b1f3ad2e91d7d 1 0 0"),
                                   &address, &phase));
    check_slice(address, SLICE("10.0.0.1:8000"), "the address");
    check_slice(phase, SLICE("ready"), "the phase");
    assert_true(census_member_line(SLICE("member [::1]:8000 down 28 1 0 0"), &address, &phase));
    assert_false(census_member_line(SLICE("member 10.0.0.1:8000 left 28 1 0 0"), &address, &phase));
    assert_false(census_member_line(SLICE("member [::1]:1 dropped 28 1 0 0"), &address, &phase));
    assert_false(census_member_line(SLICE("member host:1 ready 28 1 0 0"), &address, &phase));
    assert_false(census_member_line(SLICE("member \033[2J:1 ready 28 1 0 0"), &address, &phase));
    assert_false(census_member_line(SLICE("partition 0/2"), &address, &phase));
    assert_false(census_member_line(SLICE("member"), &address, &phase));
    check_slice(census_own_name(SLICE("0.0.0.0:8000"), "host:1"), SLICE("host:1"), "any of IPv4");
    check_slice(census_own_name(SLICE("[::]:8000"), "host:1"), SLICE("host:1"), "any of IPv6");
    check_slice(census_own_name(SLICE("10.0.0.1:8000"), "host:1"), SLICE("10.0.0.1:8000"), "one");
}

/* A front-end that keys are moved by has the others behind its own. */
static void test_partition_names(void **state)
{
    (void)state;
    static const struct {
        unsigned partition;
        enum side side;
        const char *name;
    } rows[] = {
        {1, SIDE_PREVIOUS, "partition 1 of 2"},
        {2, SIDE_PREVIOUS, "previous partition 0"},
        {1, SIDE_NEXT, "partition 1 of 2"},
        {4, SIDE_NEXT, "next partition 2"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char name[48];
        struct survey survey = {.census = {.is_frontend = true, .partitions = 2, .others = 3}};
        survey.census.other_side = rows[i].side;
        assert_string_equal(survey_partition_name(&survey, rows[i].partition, name), rows[i].name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recent),          cmocka_unit_test(test_what_is_no_history),
        cmocka_unit_test(test_states),          cmocka_unit_test(test_member_lines),
        cmocka_unit_test(test_partition_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
