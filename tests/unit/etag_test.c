#include "role/etag.h"

#include "records.h"

static struct heap *heap;

static int set_up(void **state)
{
    (void)state;
    heap = heap_new(0);
    return heap ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    uint64_t used = heap_used(heap);
    heap_destroy(heap);
    return used == 0 ? 0 : -1;
}

static struct slice tag_of(const struct said *said, char out[ETAG_BYTES])
{
    struct record *record = said_record(heap, said);
    assert_non_null(record);
    struct slice tag = etag_make(record, out);
    record_release(heap, record);
    return tag;
}

static void test_format(void **state)
{
    (void)state;
    char out[ETAG_BYTES + 1];
    out[ETAG_BYTES] = '#';
    struct said pear = {.key = SLICE("pear"),
                        .type = SLICE("text/plain"),
                        .value = SLICE("green"),
                        .version = 1700000000000000};
    check_slice(tag_of(&pear, out), SLICE("\"00060a24181e4000-877a65d1e81a6e87\""), "the pear");
    assert_int_equal(out[ETAG_BYTES], '#');
    pear.version = UINT64_MAX;
    struct slice tag = tag_of(&pear, out);
    check_slice((struct slice){tag.data, 18}, SLICE("\"ffffffffffffffff-"), "the last version");
    pear.version = 0;
    tag = tag_of(&pear, out);
    check_slice((struct slice){tag.data, 18}, SLICE("\"0000000000000000-"), "the first version");
    check_slice(etag_make(NULL, out), SLICE("\"absent\""), "nothing");
}

/* Two records that say different things have different tags. */
static void test_tags_tell_records_apart(void **state)
{
    (void)state;
    static const struct slice texts[] = {{"", 0}, {"a", 1}, {"b", 1}, {"ab", 2}};
    static struct said said[200];
    static char tags[200][ETAG_BYTES];
    unsigned count = 0;
    for (uint64_t version = 1; version < 3; version++)
        for (size_t v = 0; v < COUNT(texts); v++)
            for (size_t t = 0; t < COUNT(texts); t++)
                for (uint64_t expires = 0; expires < 3; expires++) {
                    said[count] = (struct said){.key = SLICE("key"),
                                                .type = texts[t],
                                                .value = texts[v],
                                                .version = version,
                                                .expires_us = expires};
                    assert_int_equal(tag_of(&said[count], tags[count]).len, ETAG_BYTES);
                    count++;
                }
    for (unsigned i = 0; i < count; i++)
        for (unsigned j = 0; j < i; j++)
            check(memcmp(tags[i], tags[j], ETAG_BYTES) != 0, "%u, %u", i, j);
}

static void test_lists(void **state)
{
    (void)state;
    static const struct {
        const char *list;
        bool a, absent; /* whether the tag "a" is in it, and "absent" */
    } rows[] = {
        {"\"a\"", true, false},
        {"\"absent\"", false, true},
        {"\"a\", \"absent\"", true, true},
        {"*", true, false},
        {" * ", true, false},
        {"\"b\", *", true, false},
        {"W/\"a\"", true, false},
        {"W/\"absent\"", false, true},
        {"w/\"a\"", false, false},
        {"W/ \"a\"", false, false},
        {"W/W/\"a\"", false, false},
        {"\"b\"", false, false},
        {"\"b\",\"a\"", true, false},
        {"\"b\" , \"c\",\t\"a\" ", true, false},
        {",\"a\"", true, false},
        {"\"b\",,\"a\",", true, false},
        {"", false, false},
        {",", false, false},
        {"a", false, false},
        {"'a'", false, false},
        {"\"A\"", false, false},
        {"\"a", false, false},
        {"a\"", false, false},
        {"\"aa\"", false, false},
        {"\"\"", false, false},
        {"\"*\"", false, false},
        {"**", false, false},
        {"\"b,\"a\",c\"", false, false},
        {"\"x,\\\"a\\\",y\"", false, false},
        {"\"b, \", \"a\"", true, false},
        {"\"a\"\"b\"", false, false},
        {"\"a\" \"b\"", false, false},
        {"\"a\";x=1", false, false},
        {"\"absent\" ", false, true},
        {"absent", false, false},
        {"\"Absent\"", false, false},
    };
    char out[ETAG_BYTES];
    struct slice absent = etag_make(NULL, out);
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct slice list = slice_of(rows[i].list);
        check(etag_in_list(SLICE("\"a\""), list, ETAG_WEAK) == rows[i].a, "\"a\" in %s",
              rows[i].list);
        check(etag_in_list(absent, list, ETAG_WEAK) == rows[i].absent, "\"absent\" in %s",
              rows[i].list);
    }
}

/* A tag that is marked weak is none of ours then; all else is as it was. */
static void test_strong_comparison(void **state)
{
    (void)state;
    static const struct {
        const char *list;
        bool a;
    } rows[] = {
        {"\"a\"", true},          {"*", true},   {"\"b\", \"a\"", true}, {"W/\"a\"", false},
        {"W/\"a\", \"a\"", true}, {"", false},   {"\"b\"", false},       {"\"b\",W/\"a\"", false},
        {"W/*", false},           {"W/", false},
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        check(etag_in_list(SLICE("\"a\""), slice_of(rows[i].list), ETAG_STRONG) == rows[i].a, "%s",
              rows[i].list);
    check(!etag_in_list(SLICE("\"absent\""), SLICE("*, W/\"absent\""), ETAG_STRONG), "nothing");
}

/* Every tag is found in a list of it, wherever it stands; and not in one of others. */
static void test_own_tags(void **state)
{
    (void)state;
    struct chance chance = chance_start(20);
    for (int round = 0; round < 500; round++) {
        char tags[10][ETAG_BYTES], list[1000];
        size_t used = 0, skipped = chance_below(&chance, 10);
        for (size_t i = 0; i < 10; i++) {
            struct said said = {.key = SLICE("k"), .version = chance_next(&chance)};
            tag_of(&said, tags[i]);
            if (i == skipped)
                continue;
            const char *before = chance_once_in(&chance, 2) ? "W/" : "";
            used += (size_t)snprintf(list + used, sizeof list - used, "%s%.*s%s", before,
                                     ETAG_BYTES, tags[i], chance_once_in(&chance, 2) ? ", " : ",");
        }
        for (size_t i = 0; i < 10; i++)
            check(etag_in_list((struct slice){tags[i], ETAG_BYTES}, (struct slice){list, used},
                               ETAG_WEAK) == (i != skipped),
                  "round %d, %zu", round, i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_format, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_tags_tell_records_apart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lists, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_strong_comparison, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_own_tags, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
