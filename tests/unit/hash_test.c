#include "data/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "data/hash_avx2.h"
#include "unit.h"

enum { LARGE = 70000 };

static unsigned char bytes[LARGE + 8];

static int set_up(void **state)
{
    (void)state;
    struct chance chance = chance_start(25);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)chance_next(&chance);
    return 0;
}

/* The numbers of xxHash 0.8 itself, so that a digest means the same on every machine. */
static void test_known_values(void **state)
{
    (void)state;
    assert_true(hash_bytes("", 0) == 0x2d06800538d394c2);
    assert_true(hash_bytes("peartext/plaingreen", 19) == 0xfddf31653dd07458); /* docs/http.md */
    assert_true(hash_bytes("pear", 4) >> 50 == 357);
}

/* Of any length, at any address: what the library says. */
static void test_every_length(void **state)
{
    (void)state;
    for (size_t len = 0; len <= LARGE; len += len < 2100 ? 1 : 997)
        for (size_t at = 0; at < 8; at += 1 + len % 3) {
            check(hash_bytes(bytes + at, len) == XXH3_64bits(bytes + at, len), "%zu bytes", len);
            uint64_t seed = len * 0x9e3779b97f4a7c15;
            check(hash_seeded(bytes + at, len, seed) == XXH3_64bits_withSeed(bytes + at, len, seed),
                  "%zu bytes", len);
        }
}

static void test_avx2(void **state)
{
    (void)state;
#ifdef HASH_HAS_AVX2
    if (!__builtin_cpu_supports("avx2"))
        skip();
    for (size_t len = 0; len <= LARGE; len += len < 2100 ? 1 : 997)
        check(hash_seeded_avx2(bytes + len % 8, len, 7) ==
                  XXH3_64bits_withSeed(bytes + len % 8, len, 7),
              "%zu bytes", len);
#else
    skip();
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_values),
        cmocka_unit_test(test_every_length),
        cmocka_unit_test(test_avx2),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
