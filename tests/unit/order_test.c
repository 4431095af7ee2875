/* The order of records of one key, on which the agreement of nodes rests: it is total, and so the
 * larger of two is commutative, associative and idempotent. Records come from a small world, so
 * that ties happen at each level. */
#include "records.h"

enum { WORLD_MAX = 400, LARGE_BYTES = 200 };

static struct heap *heap;
static struct said said[WORLD_MAX];
static struct record *world[WORLD_MAX];
static unsigned count;
static char large[3][LARGE_BYTES];

static void world_add(const struct said *one)
{
    assert_true(count < WORLD_MAX);
    said[count] = *one;
    world[count] = said_record(heap, one);
    assert_non_null(world[count++]);
}

/* Values: nothing, prefixes of each other, bytes above 127, NULs, and long ones whose hash is kept.
 * */
static void world_add_version(uint64_t version)
{
    const struct slice values[] = {{"", 0},
                                   {"a", 1},
                                   {"aa", 2},
                                   {"b", 1},
                                   {"\xff", 1},
                                   {"a\0", 2},
                                   {"\0", 1},
                                   {"\x7f", 1},
                                   {large[0], LARGE_BYTES},
                                   {large[1], LARGE_BYTES},
                                   {large[2], LARGE_BYTES - 1}};
    static const struct slice types[] = {{"", 0}, {"t", 1}, {"tt", 2}, {"\xe9", 1}};
    static const uint64_t expiries[] = {0, 1, UINT64_MAX};
    struct said one = {.key = SLICE("key"), .version = version, .tombstone = true};
    world_add(&one);
    one.tombstone = false;
    for (size_t v = 0; v < COUNT(values); v++)
        for (size_t t = 0; t < COUNT(types); t++)
            for (size_t e = 0; e < COUNT(expiries); e++) {
                one.value = values[v];
                one.type = types[t];
                one.expires_us = expiries[e];
                world_add(&one);
            }
}

static int set_up(void **state)
{
    (void)state;
    heap = heap_new(0);
    for (int i = 0; i < 3; i++)
        memset(large[i], 'a', LARGE_BYTES);
    large[1][LARGE_BYTES - 1] = 'b';
    world_add_version(0);
    world_add_version(1);
    world_add_version(UINT64_MAX);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (unsigned i = 0; i < count; i++)
        record_release(heap, world[i]);
    uint64_t used = heap_used(heap);
    heap_destroy(heap);
    return used == 0 ? 0 : -1;
}

static int sign(int order)
{
    return (order > 0) - (order < 0);
}

/* What the design says, word for word. */
static int order_bytes(struct slice a, struct slice b)
{
    for (size_t i = 0; i < a.len && i < b.len; i++)
        if (a.data[i] != b.data[i])
            return (unsigned char)a.data[i] > (unsigned char)b.data[i] ? 1 : -1;
    return (a.len > b.len) - (a.len < b.len);
}

static int order_said(const struct said *a, const struct said *b)
{
    if (a->version != b->version)
        return a->version > b->version ? 1 : -1;
    if (a->tombstone != b->tombstone)
        return a->tombstone ? 1 : -1;
    int order = order_bytes(a->value, b->value);
    if (order == 0)
        order = order_bytes(a->type, b->type);
    if (order == 0)
        order = (a->expires_us > b->expires_us) - (a->expires_us < b->expires_us);
    return order;
}

/* Every pair: as designed, antisymmetric, and 0 for nothing but the same. */
static void test_every_pair(void **state)
{
    (void)state;
    for (unsigned a = 0; a < count; a++)
        for (unsigned b = 0; b < count; b++) {
            int order = sign(record_compare(world[a], world[b]));
            check(order == order_said(&said[a], &said[b]), "%u, %u", a, b);
            check(order == -sign(record_compare(world[b], world[a])), "%u, %u", a, b);
            check((order == 0) == (a == b), "%u, %u", a, b);
        }
}

static const struct record *larger(const struct record *a, const struct record *b)
{
    return record_compare(b, a) > 0 ? b : a;
}

static void test_triples(void **state)
{
    (void)state;
    enum { TRIPLES = 400000 };
    struct chance chance = chance_start(9);
    unsigned ties = 0;
    for (int i = 0; i < TRIPLES; i++) {
        /* Neighbours often, so that they tie at deep levels. */
        unsigned at = (unsigned)chance_below(&chance, count);
        unsigned near =
            1 + (unsigned)chance_below(&chance, chance_once_in(&chance, 2) ? count : 12);
        const struct record *a = world[at], *b = world[(at + chance_below(&chance, near)) % count];
        const struct record *c = world[(at + chance_below(&chance, near)) % count];
        int ab = record_compare(a, b), bc = record_compare(b, c), ac = record_compare(a, c);
        ties += ab == 0 || bc == 0 || ac == 0;
        check(!(ab >= 0 && bc >= 0) || ac >= 0, "transitive: %d", i);
        check(!(ab >= 0 && bc >= 0 && (ab > 0 || bc > 0)) || ac > 0, "strictly transitive: %d", i);
        check(record_compare(larger(a, b), larger(b, a)) == 0, "commutative: %d", i);
        check(record_compare(larger(larger(a, b), c), larger(a, larger(b, c))) == 0,
              "associative: %d", i);
        check(larger(a, a) == a && larger(larger(a, b), b) == larger(a, b), "idempotent: %d", i);
        check(record_compare(larger(a, b), a) >= 0 && record_compare(larger(a, b), b) >= 0,
              "max: %d", i);
    }
    assert_true(ties > TRIPLES / 100);
}

/* A node hears of some records in any order, some of them often: the outcome is always the same. */
static void test_any_order_of_hearing(void **state)
{
    (void)state;
    struct chance chance = chance_start(10);
    for (int round = 0; round < 20000; round++) {
        const struct record *heard[8], *first = NULL;
        unsigned news = 1 + (unsigned)chance_below(&chance, 8);
        unsigned near = chance_once_in(&chance, 2) ? count : 40,
                 at = (unsigned)chance_below(&chance, count);
        for (unsigned i = 0; i < news; i++)
            heard[i] = world[(at + chance_below(&chance, near)) % count];
        for (int order = 0; order < 4; order++) {
            const struct record *has = heard[0];
            for (unsigned i = 0; i < news; i++) {
                unsigned other = i + (unsigned)chance_below(&chance, news - i);
                const struct record *swap = heard[i];
                heard[i] = heard[other];
                heard[other] = swap;
                has = i ? larger(has, heard[i]) : heard[i];
                has = larger(has, heard[chance_below(&chance, i + 1)]); /* once more */
            }
            first = first ? first : has;
            check(record_compare(first, has) == 0, "round %d", round);
        }
    }
}

/* Records of random bytes: long, alike, of all lengths. */
static void test_random_bytes(void **state)
{
    (void)state;
    enum { RECORDS = 300 };
    static char values[RECORDS][300];
    static struct said random_said[RECORDS];
    static struct record *records[RECORDS];
    struct chance chance = chance_start(11);
    for (int i = 0; i < RECORDS; i++) {
        size_t len = chance_below(&chance, sizeof values[i]);
        for (size_t at = 0; at < len; at++)
            values[i][at] = (char)(chance_once_in(&chance, 100) ? chance_next(&chance) : 'x');
        random_said[i] = (struct said){.key = SLICE("key"),
                                       .value = {values[i], len},
                                       .version = chance_below(&chance, 3),
                                       .expires_us = chance_below(&chance, 2)};
        records[i] = said_record(heap, &random_said[i]);
    }
    for (int a = 0; a < RECORDS; a++)
        for (int b = 0; b < RECORDS; b++)
            check(sign(record_compare(records[a], records[b])) ==
                      order_said(&random_said[a], &random_said[b]),
                  "%d, %d", a, b);
    for (int i = 0; i < RECORDS; i++)
        record_release(heap, records[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_pair),
        cmocka_unit_test(test_triples),
        cmocka_unit_test(test_any_order_of_hearing),
        cmocka_unit_test(test_random_bytes),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
