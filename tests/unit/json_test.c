#include "base/json.h"

#include "unit.h"

enum { ROOM = 4096 };

static char room[ROOM];

static struct json json_of(void)
{
    return json_in(text_in(room, sizeof room));
}

static void check_json(const struct json *json, const char *wanted)
{
    check_slice(text_slice(&json->text), slice_of(wanted), wanted);
    assert_false(json->text.full);
    assert_int_equal(json->depth, 0);
}

static void test_commas_and_indentation(void **state)
{
    (void)state;
    struct json json = json_of();
    json_open(&json, NULL);
    json_number(&json, "a", 1);
    json_open(&json, "b");
    json_bool(&json, "c", true);
    json_bool(&json, "d", false);
    json_close(&json);
    json_list_open(&json, "e");
    json_number(&json, NULL, 2);
    json_open(&json, NULL);
    json_number(&json, "f", 3);
    json_close(&json);
    json_open(&json, NULL);
    json_close(&json);
    text_add(json_place(&json, NULL), "[4,null]");
    json_list_close(&json);
    json_number(&json, "g", UINT64_MAX);
    json_close(&json);
    check_json(&json, "{\n"
                      "  \"a\": 1,\n"
                      "  \"b\": {\n"
                      "    \"c\": true,\n"
                      "    \"d\": false\n"
                      "  },\n"
                      "  \"e\": [\n"
                      "    2,\n"
                      "    {\n"
                      "      \"f\": 3\n"
                      "    },\n"
                      "    {},\n"
                      "    [4,null]\n"
                      "  ],\n"
                      "  \"g\": 18446744073709551615\n"
                      "}");
}

static void test_nothing_inside(void **state)
{
    (void)state;
    struct json json = json_of();
    json_open(&json, NULL);
    json_close(&json);
    check_json(&json, "{}");
    json = json_of();
    json_list_open(&json, NULL);
    json_list_close(&json);
    check_json(&json, "[]");
}

static void test_values(void **state)
{
    (void)state;
    struct json json = json_of();
    json_list_open(&json, NULL);
    json_number_or_null(&json, NULL, 0);
    json_number_or_null(&json, NULL, 7);
    json_seconds(&json, NULL, 0);
    json_seconds(&json, NULL, 1500000);
    json_seconds_signed(&json, NULL, 1);
    json_seconds_signed(&json, NULL, 0);
    json_seconds_signed(&json, NULL, -3600 * 1000000LL);
    json_seconds_signed(&json, NULL, INT64_MIN);
    json_list_close(&json);
    check_json(&json, "[\n  null,\n  7,\n  0,\n  1.500000,\n  0.000001,\n  0,\n  -3600,\n"
                      "  -9223372036854.775808\n]");
}

static void test_strings(void **state)
{
    (void)state;
    static const struct {
        struct slice is;
        const char *wanted;
    } rows[] = {
        {{"", 0}, "\"\""},
        {{"fog 0/2", 7}, "\"fog 0/2\""},
        {{"\"\\/", 3}, "\"\\\"\\\\/\""},
        {{"\0\n\x1b~\x7f", 5}, "\"\\u0000\\u000a\\u001b~\\u007f\""},
        {{"\xe9\xff", 2}, "\"\\u00e9\\u00ff\""},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct json json = json_of();
        json_string(&json, NULL, rows[i].is);
        check_json(&json, rows[i].wanted);
    }
}

/* Whatever the room, what does not fit is known. */
static void test_full(void **state)
{
    (void)state;
    static const char wanted[] = "[\n  \"\\u0000\"\n]";
    for (size_t bytes = 1; bytes < 2 * sizeof wanted; bytes++) {
        struct json json = json_in(text_in(room, bytes));
        memset(room, '#', sizeof room);
        json_list_open(&json, NULL);
        json_string(&json, NULL, (struct slice){"", 1});
        json_list_close(&json);
        check(json.text.full == (bytes < sizeof wanted), "%zu bytes", bytes);
        assert_int_equal(room[bytes], '#');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commas_and_indentation),
        cmocka_unit_test(test_nothing_inside),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
