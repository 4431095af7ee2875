#include "base/slice.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* cmocka needs the headers above. */
#include <cmocka.h>

#include "guard.h"

static struct guard guard;

static struct slice guarded(const char *text)
{
    return guard_copy(&guard, slice_of(text));
}

static void assert_slice(struct slice s, const char *wanted)
{
    assert_int_equal(s.len, strlen(wanted));
    assert_memory_equal(s.data, wanted, s.len);
}

static void equal(void **state)
{
    (void)state;
    assert_true(slice_equal(SLICE("abc"), slice_of("abc")));
    assert_true(slice_equal(SLICE(""), (struct slice){NULL, 0}));
    assert_true(slice_equal(SLICE("a\0b"), SLICE("a\0b")));
    assert_false(slice_equal(SLICE("a\0b"), SLICE("a\0c")));
    assert_false(slice_equal(SLICE("abc"), SLICE("ab")));
    assert_false(slice_equal(SLICE("abc"), SLICE("abd")));
}

static void starts(void **state)
{
    (void)state;
    assert_true(slice_starts(SLICE("abc"), SLICE("ab")));
    assert_true(slice_starts(SLICE("abc"), SLICE("abc")));
    assert_true(slice_starts(SLICE("abc"), SLICE("")));
    assert_true(slice_starts((struct slice){NULL, 0}, (struct slice){NULL, 0}));
    assert_false(slice_starts(SLICE("abc"), SLICE("b")));
    assert_false(slice_starts(guarded("ab"), SLICE("abc")));
}

static void equal_nocase(void **state)
{
    (void)state;
    assert_true(slice_equal_nocase(guarded("Keep-Alive"), SLICE("keep-alive")));
    assert_true(slice_equal_nocase(SLICE(""), (struct slice){NULL, 0}));
    assert_false(slice_equal_nocase(guarded("close"), SLICE("closed")));
    for (int a = 0; a < 256; a++)
        for (int b = 0; b < 256; b++) {
            char x = (char)a, y = (char)b;
            bool letter = (a >= 'A' && a <= 'Z') || (a >= 'a' && a <= 'z');
            bool same = a == b || (letter && (a ^ b) == 0x20);
            assert_int_equal(slice_equal_nocase((struct slice){&x, 1}, (struct slice){&y, 1}),
                             same);
        }
}

static void trim(void **state)
{
    (void)state;
    assert_slice(slice_trim(guarded(" \t a b\t ")), "a b");
    assert_slice(slice_trim(guarded("a")), "a");
    assert_slice(slice_trim(guarded(" \t ")), "");
    assert_slice(slice_trim(guarded("")), "");
    assert_slice(slice_trim(guarded("\r\na\v")), "\r\na\v");
}

/* Each part in brackets. */
static void assert_parts(const char *list, char separator, const char *wanted)
{
    char text[200] = "";
    size_t used = 0;
    struct slice rest = guarded(list), part;
    const char *end = rest.data + rest.len;
    while (slice_next(&rest, separator, &part)) {
        assert_ptr_equal(rest.data + rest.len, end);
        used +=
            (size_t)snprintf(text + used, sizeof text - used, "[%.*s]", (int)part.len, part.data);
    }
    assert_int_equal(rest.len, 0);
    assert_string_equal(text, wanted);
}

static void next(void **state)
{
    (void)state;
    assert_parts("a, b ,\tc", ',', "[a][b][c]");
    assert_parts("a", ',', "[a]");
    assert_parts("", ',', "");
    assert_parts(" ", ',', "[]");
    assert_parts(",a,,b,", ',', "[][a][][b]");
    assert_parts("a=b; c", ';', "[a=b][c]");
    assert_parts("10.0.0.0/8", '/', "[10.0.0.0][8]");
}

static void next_quoted(void **state)
{
    (void)state;
    assert_parts("\"a,b\", c", ',', "[\"a,b\"][c]");
    assert_parts("W/\"a,b\",c", ',', "[W/\"a,b\"][c]");
    assert_parts("\"a\\\",b\",c", ',', "[\"a\\\",b\"][c]");
    assert_parts("\"a\\\\\",c", ',', "[\"a\\\\\"][c]");
    assert_parts("\"\",\"\"", ',', "[\"\"][\"\"]");
    assert_parts("\"a,b", ',', "[\"a,b]");
    assert_parts("\"a,b\\", ',', "[\"a,b\\]");
    assert_parts("a,\"", ',', "[a][\"]");
}

static bool number(const char *text, unsigned long long max, unsigned long long *out)
{
    return slice_number(guarded(text), max, out);
}

static void number_taken(void **state)
{
    (void)state;
    unsigned long long n = 7;
    assert_true(number("0", 0, &n));
    assert_int_equal(n, 0);
    assert_true(number("0000000000000000000000000012", 12, &n));
    assert_int_equal(n, 12);
    assert_true(number("18446744073709551615", ULLONG_MAX, &n));
    assert_true(n == ULLONG_MAX);
    assert_true(number("9223372036854775807", LLONG_MAX, &n));
    assert_true(n == LLONG_MAX);
}

static void number_refused(void **state)
{
    (void)state;
    static const char *const refused[] = {"",    "-1", "+1",   " 1",  "1 ", "1a",  "0x1",
                                          "1.0", "1,", "\xb2", "1e3", "/",  "1:2", "\t"};
    unsigned long long n = 7;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        assert_false(number(refused[i], ULLONG_MAX, &n));
    assert_false(slice_number(SLICE("1\0"), ULLONG_MAX, &n));
    assert_false(number("1", 0, &n));
    assert_false(number("13", 12, &n));
    assert_false(number("20", 12, &n));
    assert_false(number("9223372036854775808", LLONG_MAX, &n));
    assert_false(number("18446744073709551616", ULLONG_MAX, &n));
    assert_false(number("99999999999999999999", ULLONG_MAX, &n));
    assert_false(number("111111111111111111111111111111", ULLONG_MAX, &n));
    assert_int_equal(n, 7);
}

/* Numbers are read eight digits at a time: each byte that is no digit is seen wherever it stands. */
static void number_wrong_anywhere(void **state)
{
    (void)state;
    for (size_t len = 1; len <= 19; len++)
        for (size_t at = 0; at < len; at++)
            for (int c = 1; c < 256; c++) {
                char text[20] = {0};
                unsigned long long n = 0;
                memset(text, '1', len);
                text[at] = (char)c;
                bool digit = c >= '0' && c <= '9';
                assert_int_equal(number(text, ULLONG_MAX, &n), digit);
                if (digit)
                    assert_true(n == strtoull(text, NULL, 10));
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal),
        cmocka_unit_test(starts),
        cmocka_unit_test(equal_nocase),
        cmocka_unit_test(trim),
        cmocka_unit_test(next),
        cmocka_unit_test(next_quoted),
        cmocka_unit_test(number_taken),
        cmocka_unit_test(number_refused),
        cmocka_unit_test(number_wrong_anywhere),
    };
    guard_init(&guard);
    int failed = cmocka_run_group_tests_name("slice", tests, NULL, NULL);
    guard_free(&guard);
    return failed;
}
