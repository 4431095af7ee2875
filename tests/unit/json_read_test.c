#include "base/json_read.h"

#include "guard.h"
#include "unit.h"

static struct guard guard;

/* Abutting an unreadable page, so that nothing is read past the end. */
static struct slice text_of(const char *text)
{
    return guard_copy(&guard, slice_of(text));
}

static void test_valid(void **state)
{
    (void)state;
    static const char *const good[] = {
        "0",
        "-0",
        "12",
        "-1.5e+10",
        "1E5",
        "true",
        "false",
        "null",
        "\"\"",
        "[]",
        "{}",
        " [ ] ",
        "{\"a\":1,\"b\":[1,2,{\"c\":null}]}",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e4\"",
        "[[[]]]",
        "\t{\n\"a\" : \"b\" ,\r\n\"\":0 } ",
    };
    for (size_t i = 0; i < COUNT(good); i++)
        check(json_is_valid(text_of(good[i])), "%s", good[i]);
}

static void test_invalid(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",          " ",        "01",          "+1",         "1.",     ".5",    "1e",
        "1e+",       "-",        "tru",         "truex",      "nul",    "\"",    "\"a",
        "\"\\\"",    "\"\\x\"",  "\"\\u12g4\"", "\"\\u12",    "\"\n\"", "[",     "[1",
        "[1,",       "[1,]",     "[,1]",        "[1 2]",      "]",      "{",     "{\"a\"",
        "{\"a\":",   "{\"a\":1", "{\"a\":1,",   "{\"a\":1,}", "{a:1}",  "{1:1}", "{\"a\" 1}",
        "{\"a\":1]", "[1}",      "1 2",         "{} {}",      "'a'",
    };
    for (size_t i = 0; i < COUNT(bad); i++)
        check(!json_is_valid(text_of(bad[i])), "%s", bad[i]);
}

static void test_depth_has_a_limit(void **state)
{
    (void)state;
    char text[2 * (JSON_DEPTH_MAX + 1) + 1];
    for (unsigned depth = JSON_DEPTH_MAX; depth <= JSON_DEPTH_MAX + 1; depth++) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        text[2 * (size_t)depth] = 0;
        assert_int_equal(json_is_valid(text_of(text)), depth <= JSON_DEPTH_MAX);
    }
}

static void test_find(void **state)
{
    (void)state;
    struct slice value, text = text_of("{\"a\": {\"b\": {\"c\": 7, \"c\": 8}, \"d\": [1]}, "
                                       "\"e\": \"x}\", \"f\": -2.5, \"a.b\": 0}");
    assert_true(json_find(text, "a.b.c", &value));
    check_slice(value, SLICE("7"), "the first one counts");
    assert_true(json_find(text, "e", &value));
    check_slice(value, SLICE("\"x}\""), "a string with a bracket in it");
    assert_true(json_find(text, "a.d", &value));
    check_slice(value, SLICE("[1]"), "a list");
    assert_true(json_find(text, "f", &value));
    assert_true(json_to_number(value, 0) == -2.5);
    assert_false(json_find(text, "g", &value));
    assert_false(json_find(text, "a.c", &value));
    assert_false(json_find(text, "e.x", &value));
    assert_false(json_find(text, "a.d.x", &value));
    assert_false(json_find(text_of("[1, 2]"), "a", &value));
    assert_false(json_find(text_of("7"), "a", &value));
}

static void test_members(void **state)
{
    (void)state;
    struct slice name, value,
        rest = json_inside(
            text_of(" { \"127.0.0.1:1\" : \"ready\", \"[::1]:2\":{\"x\":[]} , \"\": 3 } "));
    assert_true(json_next(&rest, &name, &value));
    check_slice(name, SLICE("127.0.0.1:1"), "the first name");
    check_slice(value, SLICE("\"ready\""), "the first value");
    assert_true(json_next(&rest, &name, &value));
    check_slice(name, SLICE("[::1]:2"), "the second name");
    assert_true(json_next(&rest, &name, &value));
    check_slice(name, SLICE(""), "an empty name");
    check_slice(value, SLICE("3"), "the third value");
    assert_false(json_next(&rest, &name, &value));
    rest = json_inside(text_of("[\"a\", 2, [3]]"));
    assert_true(json_next(&rest, &name, &value));
    check_slice(value, SLICE("\"a\""), "a string in a list");
    assert_true(json_next(&rest, &name, &value));
    assert_true(json_next(&rest, &name, &value));
    check_slice(value, SLICE("[3]"), "a list in a list");
    assert_false(json_next(&rest, &name, &value));
    rest = json_inside(text_of("true"));
    assert_false(json_next(&rest, &name, &value));
}

static void test_values(void **state)
{
    (void)state;
    char out[8];
    assert_true(json_to_number(text_of("12"), -1) == 12);
    assert_true(json_to_number(text_of("1e3"), -1) == 1000);
    assert_true(json_to_number(text_of("1e18"), -1) == 1e18);
    assert_true(json_to_number(text_of("-1000000000000000000"), 0) == -1e18);
    assert_true(json_to_number(text_of("1.1e18"), -1) == -1);
    assert_true(json_to_number(text_of("-1e400"), 0) == 0);
    assert_true(json_to_number(text_of("null"), -1) == -1);
    assert_true(json_to_number(text_of("\"12\""), -1) == -1);
    assert_true(json_is_true(text_of("true")));
    assert_false(json_is_true(text_of("1")));
    assert_string_equal(json_to_string(text_of("\"a\\n\\\"\""), out, sizeof out), "a?\"");
    assert_string_equal(json_to_string(text_of("\"\\u0041\\u00e4\\u0141b\""), out, sizeof out),
                        "A??b");
    assert_string_equal(json_to_string(text_of("\"\\b\\t\x7f\x9b\xc3z\""), out, sizeof out),
                        "?????z");
    assert_string_equal(json_to_string(text_of("\"123456789\""), out, sizeof out), "1234567");
    assert_string_equal(json_to_string(text_of("12"), out, sizeof out), "");
}

/* Whatever bytes come, nothing is read past their end, and what is valid can be gone through. */
static void test_damaged(void **state)
{
    (void)state;
    static const char model[] =
        "{\"a\":[1,-2.5e3,\"x\\u00e4\\n\"],\"b\":{\"c\":true,\"d\":null},\"e\":\"\"}";
    struct chance chance = chance_start(7);
    unsigned valid = 0;
    for (unsigned round = 0; round < 20000; round++) {
        char text[sizeof model];
        struct slice name, value;
        memcpy(text, model, sizeof model);
        size_t len =
            chance_once_in(&chance, 2) ? sizeof model - 1 : chance_below(&chance, sizeof model);
        for (unsigned i = 0; i < 2 && len > 0; i++)
            text[chance_below(&chance, len)] = "{}[]\",:\\0e-. \x01\xff"[chance_below(&chance, 16)];
        struct slice bytes = guard_copy(&guard, (struct slice){text, len});
        if (!json_is_valid(bytes))
            continue;
        valid++;
        unsigned members = 0;
        for (struct slice rest = json_inside(bytes); json_next(&rest, &name, &value);)
            check(members++ < len, "round %u goes on for ever", round);
        json_find(bytes, "a.b.c", &value);
    }
    check(valid > 100, "%u were valid", valid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_valid),
        cmocka_unit_test(test_invalid),
        cmocka_unit_test(test_depth_has_a_limit),
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_members),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_damaged),
    };
    guard_init(&guard);
    int result = cmocka_run_group_tests(tests, NULL, NULL);
    guard_free(&guard);
    return result;
}
