#include "base/table.h"

#include "unit.h"

static void check_line(const struct table *table, unsigned row, bool colours, const char *wanted)
{
    char room[TABLE_LINE_BYTES];
    struct text text = text_in(room, sizeof room);
    table_line(table, row, colours, &text);
    assert_false(text.full);
    assert_string_equal(room, wanted);
}

static struct table table_of_three(void)
{
    struct table table = {.columns = 3, .left = 1};
    assert_int_equal(table_add(&table, false), 0);
    table_put(&table, 0, "2", "NAME");
    table_put(&table, 1, "2", "KEYS");
    assert_int_equal(table_add(&table, true), 0);
    table_put(&table, 0, "1", "a title that is wider than all of it");
    assert_int_equal(table_add(&table, false), 0);
    table_put(&table, 0, NULL, "longer name");
    table_put(&table, 1, "32", "%u", 7);
    table_put(&table, 2, NULL, "x");
    assert_int_equal(table_add(&table, false), 0);
    return table;
}

static void test_columns_are_as_wide_as_what_is_in_them(void **state)
{
    (void)state;
    struct table table = table_of_three();
    check_line(&table, 0, false, "NAME         KEYS");
    check_line(&table, 1, false, "a title that is wider than all of it");
    check_line(&table, 2, false, "longer name     7  x");
    check_line(&table, 3, false, "");
    table_free(&table);
}

static void test_colours(void **state)
{
    (void)state;
    struct table table = table_of_three();
    check_line(&table, 1, true, "\033[1ma title that is wider than all of it\033[0m");
    check_line(&table, 2, true, "longer name     \033[32m7\033[0m  x");
    table_free(&table);
}

/* The longest line that there may be is whole, and a cell that is too long is cut. */
static void test_longest_line(void **state)
{
    (void)state;
    struct table table = {.columns = TABLE_COLUMNS_MAX};
    char room[TABLE_LINE_BYTES];
    struct text text = text_in(room, sizeof room);
    assert_int_equal(table_add(&table, false), 0);
    for (unsigned i = 0; i < TABLE_COLUMNS_MAX; i++)
        table_put(&table, i, "31", "%0200d", 0);
    table_line(&table, 0, true, &text);
    assert_false(text.full);
    table_free(&table);
}

static void test_many_rows(void **state)
{
    (void)state;
    struct table table = {.columns = 1};
    char wanted[16];
    for (unsigned i = 0; i < 1000; i++) {
        assert_int_equal(table_add(&table, false), 0);
        table_put(&table, 0, NULL, "%u", i);
    }
    for (unsigned i = 0; i < 1000; i += 111) {
        snprintf(wanted, sizeof wanted, "%3u", i);
        check_line(&table, i, false, wanted);
    }
    table_free(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_columns_are_as_wide_as_what_is_in_them),
        cmocka_unit_test(test_colours),
        cmocka_unit_test(test_longest_line),
        cmocka_unit_test(test_many_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
