#include "role/diff_list.h"

#include <errno.h>

#include "unit.h"

#define LINE(digest, version, kind, key) "000000000000000" digest " " version " " kind " " key "\n"

static void check_diff(const char *a_text, const char *b_text, const char *wanted)
{
    char out[512] = "";
    size_t len = 0;
    struct diff_list a, b;
    const struct diff_line *left, *right;
    assert_int_equal(diff_list_read(&a, slice_of(a_text)), 0);
    assert_int_equal(diff_list_read(&b, slice_of(b_text)), 0);
    struct diff_walk walk = {.a = &a, .b = &b};
    while (diff_walk_next(&walk, &left, &right)) {
        struct slice key = left ? left->key : right->key;
        len += (size_t)snprintf(out + len, sizeof out - len, "%.*s:%s%s ", (int)key.len, key.data,
                                !left           ? "absent"
                                : left->deleted ? "deleted"
                                                : "value",
                                !right           ? "/absent"
                                : right->deleted ? "/deleted"
                                                 : "/value");
    }
    diff_list_free(&a);
    diff_list_free(&b);
    assert_string_equal(out, wanted);
}

static void test_differences(void **state)
{
    (void)state;
    check_diff("", "", "");
    check_diff(LINE("1", "5", "value", "a"), LINE("1", "5", "value", "a"), "");
    check_diff(LINE("1", "5", "value", "a"), "", "a:value/absent ");
    check_diff("", LINE("1", "5", "deleted", "a"), "a:absent/deleted ");
    check_diff(LINE("1", "5", "value", "a"), LINE("2", "6", "deleted", "a"), "a:value/deleted ");
    /* Whatever order they come in. */
    check_diff(
        LINE("1", "5", "value", "b") LINE("2", "5", "value", "a") LINE("3", "5", "value", "c"),
        LINE("3", "5", "value", "c") LINE("4", "7", "value", "b") LINE("5", "1", "value", "aa"),
        "a:value/absent aa:absent/value b:value/value ");
}

static void test_what_is_no_list(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "hello\n",
        LINE("1", "x", "value", "a"),
        LINE("1", "5", "other", "a"),
        LINE("1", "5", "value", ""),
        "1 5 value a\n",
        "0000000000000001 5 value a",
        LINE("1", "5", "value", "\033[2J"),
        LINE("1", "5", "value", "caf\xc3\xa9"),
        LINE("1", "5", "value", "a b"),
        "\n",
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct diff_list list;
        check(diff_list_read(&list, slice_of(bad[i])) == -EINVAL, "%s", bad[i]);
    }
}

/* Against the same by brute force. */
static void test_random_lists(void **state)
{
    (void)state;
    struct chance chance = chance_start(11);
    for (unsigned round = 0; round < 300; round++) {
        static char texts[2][8192];
        unsigned digests[2][64] = {{0}}, differ = 0, seen = 0;
        for (unsigned side = 0; side < 2; side++) {
            size_t len = 0, first = chance_below(&chance, 64);
            for (unsigned i = 0; i < 64; i++) {
                unsigned key = (unsigned)(first + i * 7) % 64;
                unsigned digest = (unsigned)chance_below(&chance, 3);
                digests[side][key] = digest;
                if (digest)
                    len += (size_t)snprintf(texts[side] + len, sizeof texts[side] - len,
                                            "%016x 5 value k%u\n", digest, key);
            }
            texts[side][len] = 0;
        }
        for (unsigned i = 0; i < 64; i++)
            differ += digests[0][i] != digests[1][i];
        struct diff_list a, b;
        const struct diff_line *left, *right;
        assert_int_equal(diff_list_read(&a, slice_of(texts[0])), 0);
        assert_int_equal(diff_list_read(&b, slice_of(texts[1])), 0);
        struct diff_walk walk = {.a = &a, .b = &b};
        while (diff_walk_next(&walk, &left, &right)) {
            unsigned long key = strtoul((left ? left : right)->key.data + 1, NULL, 10);
            check(key < 64 && (left ? left->digest : 0) == digests[0][key] &&
                      (right ? right->digest : 0) == digests[1][key],
                  "round %u, key %lu", round, key);
            seen++;
        }
        assert_int_equal(seen, differ);
        diff_list_free(&a);
        diff_list_free(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_differences),
        cmocka_unit_test(test_what_is_no_list),
        cmocka_unit_test(test_random_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
