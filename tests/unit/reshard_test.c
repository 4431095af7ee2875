#include "role/reshard_state.h"

#include "records.h"

static void check_answer(const char *text, bool good, uint64_t wanted)
{
    uint64_t fresh = 12345;
    assert_int_equal(target_read_answer(slice_of(text), &fresh), good);
    assert_int_equal(fresh, good ? wanted : 12345);
}

static void test_answers_to_merges(void **state)
{
    (void)state;
    check_answer("3 records were read, 0 of them were new here.\n", true, 0);
    check_answer("3 records were read, 2 of them were new here.\n", true, 2);
    check_answer("1 records were read, 18446744073709551615 of them were new here.", true,
                 UINT64_MAX);
    check_answer("1 records were read, 18446744073709551616 of them were new here.", false, 0);
    check_answer("3 records were read,  of them were new here.\n", false, 0);
    check_answer("3 records were read, -1 of them were new here.\n", false, 0);
    check_answer("3 records were read, 2", false, 0);
    check_answer("3 records were read, 2 of them were new here", false, 0);
    check_answer(" of them were new here. 3 records were read, 2", false, 0);
    check_answer("hello\n", false, 0);
    check_answer("", false, 0);
}

/* A member that was named may have what no other one has, so nothing is done before its name was answered. */
static void test_a_name_that_is_asked_for(void **state)
{
    (void)state;
    struct seed seeds[2] = {{.next_us = 1}, {.next_us = 1, .asking = true}};
    struct partition partition = {.seeds = seeds, .seed_count = 2};
    struct source source = {.contact = {.partition = &partition}};
    assert_false(source_is_covered(&source, 1));
    seeds[1].asking = false;
    assert_true(source_is_covered(&source, 1));
    seeds[0].next_us = 0; /* nobody has been asked yet */
    assert_false(source_is_covered(&source, 1));
}

/* Nor before each member was read twice since the last pass that found something, or has been seen to have the same as one that was. */
static void test_a_member_that_was_not_read(void **state)
{
    (void)state;
    struct backend members[2] = {{.address.port = 1, .twice_pass = 5, .digest = 7},
                                 {.address.port = 2, .twice_pass = 4, .digest = 8}};
    struct backend *usable[2] = {&members[0], &members[1]};
    struct partition partition = {.usable = usable, .usable_count = 2};
    struct source source = {.contact = {.partition = &partition, .address.port = 1},
                            .pass = 5,
                            .digest = 7,
                            .before = 7};

    assert_true(source_is_covered(&source, 4));
    assert_false(source_is_covered(&source, 5));
    members[1].digest = 7;
    assert_true(source_is_covered(&source, 5));
    assert_false(source_is_covered(&source, 6)); /* none of it counts */
    source.before =
        6; /* it was another table, or has changed, when it was read for the first time */
    assert_false(source_is_covered(&source, 5));
    source.before = 7;
    members[0].digest = 9; /* it has changed since it was read */
    assert_false(source_is_covered(&source, 5));
    members[1].digest = 9;
    assert_false(source_is_covered(&source, 5));
    members[0].read_pass = 5; /* once is not enough */
    members[0].twice_pass = 3;
    assert_false(source_is_covered(&source, 4));
}

/* One that a new member was lost in counts for nothing: with it and the next one two were read, but only one was given all. One that brings
 * deletes alone, which do not count, is followed by another one, but by no more. */
static void test_from_where_on_passes_count(void **state)
{
    (void)state;
    static const struct {
        bool broken;
        unsigned counted, fresh, wanted;
    } passes[] = {{false, 0, 0, 2}, {false, 3, 3, 3},  {false, 0, 0, 3},  {true, 0, 0, 6},
                  {false, 3, 3, 6}, {false, 0, 0, 6},  {true, 3, 3, 9},   {false, 0, 0, 9},
                  {false, 0, 5, 9}, {false, 1, 5, 11}, {false, 0, 5, 12}, {false, 0, 5, 12}};
    const struct reshard_config config = {.to_count = 2};
    struct target targets[2] = {0};
    struct reshard reshard = {.config = &config, .targets = targets, .counts_from = 2};
    for (unsigned i = 0; i < COUNT(passes); i++) {
        reshard.pass = i + 1;
        targets[1].broken = passes[i].broken;
        reshard.counted = passes[i].counted;
        reshard.fresh = passes[i].fresh;
        reshard_judge(&reshard);
        check(reshard.counts_from == passes[i].wanted, "pass %u: %u", i + 1, reshard.counts_from);
    }
}

/* Somebody may still write to the old clusters, be it deletes. */
static void test_only_old_deletes_do_not_matter(void **state)
{
    (void)state;
    static const struct source source = {.settled = 100};
    static const struct {
        uint64_t version;
        bool tombstone, settled;
    } rows[] = {{100, true, true}, {101, true, false}, {100, false, false}, {101, false, false}};
    struct heap *heap = heap_new(0);
    for (unsigned i = 0; i < COUNT(rows); i++) {
        struct said said = {
            .key = SLICE("key"), .version = rows[i].version, .tombstone = rows[i].tombstone};
        struct record *record = said_record(heap, &said);
        check(reshard_is_settled(&source, record) == rows[i].settled, "row %u", i);
        record_release(heap, record);
    }
    heap_destroy(heap);
}

static void check_line(const struct reshard_told *told, bool terminal, const char *wanted)
{
    char out[RESHARD_LINE_BYTES];
    assert_string_equal(reshard_format(told, terminal, out), wanted);
}

static void test_lines(void **state)
{
    (void)state;
    struct reshard_told told = {.waiting = "a node of --from number 0 that is ready"};
    check_line(&told, true, "waits for a node of --from number 0 that is ready");
    told = (struct reshard_told){.pass = 1, .records = 1, .fresh = 1};
    check_line(&told, false, "pass 1: 0.0 %, 1 record, 1 new, 0.0 MB/s");
    told = (struct reshard_told){.pass = 1};
    check_line(&told, false, "pass 1: 0.0 %, 0 records, 0 new, 0.0 MB/s");
    told = (struct reshard_told){.pass = 2,
                                 .records = 500000,
                                 .fresh = 7,
                                 .elapsed_us = 10 * 1000 * 1000,
                                 .rate = 12340000,
                                 .permille = 250};
    check_line(&told, false, "pass 2: 25.0 %, 500000 records, 7 new, 12.3 MB/s, 30 s left");
    check_line(&told, true, "pass 2: [#####---------------] 25.0 %, 7 new, 12.3 MB/s, 30 s left");
    told.permille = 1;
    check_line(&told, false, "pass 2: 0.1 %, 500000 records, 7 new, 12.3 MB/s, 166 min left");
    told.permille = 1000;
    check_line(&told, true, "pass 2: [####################] 100.0 %, 7 new, 12.3 MB/s, 0 s left");
    told.waiting = "a node of --to number 1 that is ready";
    check_line(&told, false,
               "pass 2: 100.0 %, 500000 records, 7 new, 12.3 MB/s, waits for a node of --to number "
               "1 that is ready");
    check_line(&told, true, "pass 2: 100.0 %, waits for a node of --to number 1 that is ready");
}

enum {
    COLUMNS = 80
}; /* of the smallest terminal; a line that is longer is not written over, but below it */

static void test_fits_a_terminal(void **state)
{
    (void)state;
    char out[RESHARD_LINE_BYTES];
    struct reshard_told told = {.pass = RESHARD_PASSES_MAX,
                                .records = 1000000000,
                                .fresh = 1000000000,
                                .elapsed_us = 9 * 1000 * 1000,
                                .rate = 999900000,
                                .permille = 999};
    assert_in_range(strlen(reshard_format(&told, true, out)), 40, COLUMNS);
    told.waiting = "a node of --from number 1023 that is ready";
    assert_in_range(strlen(reshard_format(&told, true, out)), 40, COLUMNS);
}

/* The longest line that there may be is whole. */
static void test_longest_line(void **state)
{
    (void)state;
    char out[RESHARD_LINE_BYTES];
    const struct reshard_told told = {.pass = RESHARD_PASSES_MAX,
                                      .records = 1000000000000,
                                      .fresh = 1000000000000,
                                      .rate = 100000000000,
                                      .permille = 1000,
                                      .waiting = "a node of --from number 1023 that is ready"};
    reshard_format(&told, false, out);
    assert_non_null(strstr(out, "that is ready"));
}

static void check_left(uint64_t elapsed_us, unsigned from, unsigned permille, uint64_t least_us,
                       const char *wanted)
{
    char out[64];
    struct text text = text_in(out, sizeof out);
    *out = 0;
    bar_put_left(&text, elapsed_us, from, permille, least_us);
    assert_string_equal(out, wanted);
}

/* What was done by an earlier run has taken no time of this one. */
static void test_time_left(void **state)
{
    (void)state;
    enum { SECOND = 1000 * 1000 };
    check_left(10 * SECOND, 0, 200, 0, ", 40 s left");
    check_left(10 * SECOND, 500, 600, 0, ", 40 s left");
    check_left(10 * SECOND, 500, 500, 0, "");
    check_left(10 * SECOND, 500, 600, 50 * SECOND, ", 50 s left");
    check_left(10 * SECOND, 500, 999, 0, ", 1 s left");
    check_left(10 * SECOND, 500, 1000, 0, ", 0 s left");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers_to_merges),
        cmocka_unit_test(test_a_name_that_is_asked_for),
        cmocka_unit_test(test_a_member_that_was_not_read),
        cmocka_unit_test(test_from_where_on_passes_count),
        cmocka_unit_test(test_only_old_deletes_do_not_matter),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_fits_a_terminal),
        cmocka_unit_test(test_longest_line),
        cmocka_unit_test(test_time_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
