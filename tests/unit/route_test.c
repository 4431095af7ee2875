/* Linked with --wrap for malloc, calloc and realloc (see failing.h), which libcrypto is made to use too. */
#include "data/route.h"

#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "failing.h"
#include "unit.h"

enum { KEY_BYTES_MAX = 4096 };

static char key_bytes[KEY_BYTES_MAX];

static uint32_t partition_of(struct slice key, uint32_t partitions)
{
    struct route *route = route_new(partitions);
    assert_non_null(route);
    uint32_t partition = route_partition(route, key);
    route_destroy(route);
    return partition;
}

/* Computed with Python's hashlib. */
static void test_vectors(void **state)
{
    (void)state;
    static const uint32_t partitions[] = {1, 2, 3, 7, 16, 1000, 65535, 65536};
    static const struct {
        const char *key;
        size_t len;
        uint32_t wanted[COUNT(partitions)];
    } rows[] = {
        {"a", 1, {0, 0, 1, 4, 8, 152, 20752, 26552}},
        {"greeting", 8, {0, 1, 2, 3, 13, 669, 65369, 27069}},
        {"lamp/7", 6, {0, 0, 1, 0, 6, 158, 24298, 44566}},
        {"caf\xc3\xa9", 5, {0, 1, 2, 4, 7, 415, 60290, 59351}},
        {"a\0b", 3, {0, 0, 1, 4, 8, 736, 20881, 64952}},
        {"\0", 1, {0, 1, 1, 0, 15, 39, 41689, 30799}},
        {"size?w=2", 8, {0, 1, 1, 4, 11, 651, 41671, 1435}},
        {"a//b", 4, {0, 0, 2, 6, 0, 888, 59888, 57056}},
        {"100%", 4, {0, 1, 0, 6, 13, 53, 55473, 32525}},
        {key_bytes, KEY_BYTES_MAX, {0, 0, 2, 2, 12, 988, 11183, 14124}},
    };
    memset(key_bytes, 'x', sizeof key_bytes);
    for (size_t i = 0; i < COUNT(rows); i++)
        for (size_t p = 0; p < COUNT(partitions); p++) {
            uint32_t is = partition_of((struct slice){rows[i].key, rows[i].len}, partitions[p]);
            check(is == rows[i].wanted[p], "row %zu of %u: %u", i, partitions[p], is);
        }
}

/* Any key, any number of partitions, against the arithmetic of big numbers. */
static void test_is_bignum_arithmetic(void **state)
{
    (void)state;
    struct chance chance = chance_start(7);
    BIGNUM *number = BN_new();
    for (int i = 0; i < 2000; i++) {
        unsigned char hash[20];
        size_t len = chance_below(&chance, chance_once_in(&chance, 20) ? KEY_BYTES_MAX + 1 : 40);
        uint32_t partitions =
            1 +
            (uint32_t)chance_below(&chance, chance_once_in(&chance, 2) ? ROUTE_PARTITIONS_MAX : 20);
        for (size_t at = 0; at < len; at++)
            key_bytes[at] = (char)chance_next(&chance);
        assert_int_equal(EVP_Q_digest(NULL, "SHA1", NULL, key_bytes, len, hash, NULL), 1);
        assert_non_null(BN_bin2bn(hash, sizeof hash, number));
        uint32_t is = partition_of((struct slice){key_bytes, len}, partitions);
        check(is == BN_mod_word(number, partitions), "round %d: %u of %u", i, is, partitions);
    }
    BN_free(number);
}

static void test_every_partition_gets_its_share(void **state)
{
    (void)state;
    unsigned counts[16] = {0};
    struct route *route = route_new(COUNT(counts));
    char key[20];
    for (int i = 0; i < 16000; i++) {
        int len = snprintf(key, sizeof key, "key-%d", i);
        counts[route_partition(route, (struct slice){key, (size_t)len})]++;
    }
    for (size_t i = 0; i < COUNT(counts); i++)
        check(counts[i] > 850 && counts[i] < 1150, "partition %zu has %u keys", i, counts[i]);
    route_destroy(route);
}

/* Once it is made it allocates nothing, so it cannot fail. */
static void test_allocates_at_the_start_alone(void **state)
{
    (void)state;
    memset(key_bytes, 'x', sizeof key_bytes);
    failing_start(1, true);
    assert_null(route_new(3));
    failing_start(2, true);
    struct route *route = route_new(3);
    assert_non_null(route);
    for (size_t len = 0; len <= sizeof key_bytes; len += 16)
        assert_true(route_partition(route, (struct slice){key_bytes, len}) < 3);
    assert_int_equal(failing_seen(), 1);
    failing_stop();
    route_destroy(route);
}

static void *counted_malloc(size_t bytes, const char *file, int line)
{
    (void)file;
    (void)line;
    return malloc(bytes);
}

static void *counted_realloc(void *old, size_t bytes, const char *file, int line)
{
    (void)file;
    (void)line;
    return realloc(old, bytes);
}

static void counted_free(void *memory, const char *file, int line)
{
    (void)file;
    (void)line;
    free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_is_bignum_arithmetic),
        cmocka_unit_test(test_every_partition_gets_its_share),
        cmocka_unit_test(test_allocates_at_the_start_alone),
    };
    CRYPTO_set_mem_functions(counted_malloc, counted_realloc, counted_free);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
