#include "base/text.h"

#include "unit.h"

enum { ROOM_MAX = 64 };

static char room[ROOM_MAX + 1];

/* A text of `bytes` of room, behind which nothing may be written. */
static struct text text_of(size_t bytes)
{
    memset(room, '#', sizeof room);
    return text_in(room, bytes);
}

static void check_text(const struct text *text, const char *wanted, bool full)
{
    check_slice(text_slice(text), slice_of(wanted), wanted);
    assert_int_equal(text->full, full);
    assert_true(text->len < text->room);
    for (size_t i = text->room; i < sizeof room; i++)
        assert_int_equal(room[i], '#');
}

static void test_pieces(void **state)
{
    (void)state;
    struct text text = text_of(ROOM_MAX);
    check_text(&text, "", false);
    text_add(&text, "%d and %s", 7, "eight");
    text_add_slice(&text, SLICE(", "));
    text_add_slice(&text, (struct slice){"\0x", 2});
    text_add_slice(&text, (struct slice){0});
    text_add(&text, "%s", "");
    check_slice(text_slice(&text), SLICE("7 and eight, \0x"), "pieces");
    assert_false(text.full);
}

/* What just fits, what just does not, and that nothing comes behind what did not. */
static void test_full(void **state)
{
    (void)state;
    for (int slices = 0; slices < 2; slices++)
        for (size_t bytes = 1; bytes < 20; bytes++) {
            static const char words[] = "0123456789abcdefghij";
            for (size_t len = 0; len < 20; len++) {
                struct text text = text_of(bytes);
                struct slice part = {words, len};
                bool fits = len < bytes;
                if (slices)
                    text_add_slice(&text, part);
                else
                    text_add(&text, "%.*s", (int)len, words);
                check_slice(text_slice(&text), fits ? part : SLICE(""), "first");
                assert_int_equal(text.full, !fits);
                if (fits)
                    continue;
                text_add(&text, "%s", "");
                text_add_slice(&text, (struct slice){"", 0});
                text_add_seconds(&text, 0);
                check_text(&text, "", true);
            }
        }
}

static void test_full_later(void **state)
{
    (void)state;
    struct text text = text_of(10);
    text_add(&text, "12345678");
    text_add_slice(&text, SLICE("9")); /* one byte stays free */
    check_text(&text, "123456789", false);
    text_add_slice(&text, SLICE(""));
    check_text(&text, "123456789", false);
    text_add(&text, "a");
    text_add(&text, "%s", "");
    check_text(&text, "123456789", true);
}

static void test_seconds(void **state)
{
    (void)state;
    static const struct {
        uint64_t us;
        const char *wanted;
    } rows[] = {
        {0, "0"},
        {1, "0.000001"},
        {128, "0.000128"},
        {999999, "0.999999"},
        {1000000, "1"},
        {1000001, "1.000001"},
        {1500000, "1.500000"},
        {8388608, "8.388608"},
        {12000000, "12"},
        {UINT64_MAX, "18446744073709.551615"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct text text = text_of(ROOM_MAX);
        text_add_seconds(&text, rows[i].us);
        check_text(&text, rows[i].wanted, false);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_full_later),
        cmocka_unit_test(test_seconds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
