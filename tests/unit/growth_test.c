/* No insert takes long, however large the table grows: the processor's time for one store_write, 2
 * million times, or as many times as GROWTH_KEYS in the environment says.
 *
 * The clock of a thread also runs while the machine has given the processor to another guest, and
 * during interrupts. That spoils some insert now and then, but not the same one again. So
 * the same inserts are made in several rounds, and the least time of each of them counts. */
#include <assert.h>
#include <stdlib.h>
#include <time.h>

#include "data/store.h"
#include "records.h"

enum {
#ifdef WITH_ASAN
    KEYS = 200000, /* what it does to memory takes its time */
#else
    KEYS = 2000000,
#endif
    KEYS_MAX = 100000000,
    ROUNDS = 3,
    LONG_NS = 1000 * 1000,
};

static int64_t cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static unsigned keys_wanted(void)
{
    const char *text = getenv("GROWTH_KEYS");
    unsigned long keys = text ? strtoul(text, NULL, 10) : KEYS;
    assert_true(keys > 0 && keys <= KEYS_MAX);
    return (unsigned)keys;
}

static struct record *record_of_number(struct store *store, unsigned number)
{
    char name[16];
    int len = snprintf(name, sizeof name, "key:%010u", number);
    struct said said = {.key = {name, (size_t)len}, .value = SLICE("value")};
    struct record *record = said_record(store_heap(store), &said);
    assert_non_null(record);
    return record;
}

static uint32_t insert_ns(struct store *store, unsigned number)
{
    struct record *record = record_of_number(store, number);
    struct store_key key = store_key(store, record_key(record));
    int64_t start = cpu_ns();
    enum store_result result = store_write(store, &key, record, 1000000 + number);
    int64_t took = cpu_ns() - start;
    assert_int_equal(result, STORE_APPLIED);
    return took < UINT32_MAX ? (uint32_t)took : UINT32_MAX;
}

static unsigned longest(const uint32_t *times, unsigned count)
{
    unsigned at = 0;
    for (unsigned i = 1; i < count; i++)
        at = times[i] > times[at] ? i : at;
    return at;
}

static void grow(uint32_t *least_ns, unsigned keys)
{
    struct store *store = store_new(0, 0, 7);
    unsigned longs = 0, most_ns = 0;
    uint64_t all_ns = 0;
    assert_non_null(store);
    for (unsigned i = 0; i < keys; i++) {
        uint32_t took = insert_ns(store, i);
        least_ns[i] = took < least_ns[i] ? took : least_ns[i];
        most_ns = took > most_ns ? took : most_ns;
        longs += took >= LONG_NS;
        all_ns += took;
    }
    assert_int_equal(store_counts(store).keys, keys);
    store_destroy(store);
    print_message("%u keys: %llu ns on average, %u ns at most, %u of %d or more\n", keys,
                  (unsigned long long)(all_ns / keys), most_ns, longs, LONG_NS);
}

static void test_no_insert_takes_long(void **state)
{
    unsigned keys = keys_wanted();
    assert(keys > 0);
    uint32_t *least_ns = malloc(keys * sizeof *least_ns);
    (void)state;
    assert_non_null(least_ns);
    memset(least_ns, 0xff, keys * sizeof *least_ns);
    for (int round = 0; round < ROUNDS; round++)
        grow(least_ns, keys);
    unsigned at = longest(least_ns, keys);
    uint32_t most_ns = least_ns[at];
    free(least_ns);
    print_message("the least of all rounds: %u ns at most (key %u)\n", most_ns, at);
    check(most_ns < LONG_NS, "insert %u took %u ns in every round", at, most_ns);
}

/* Keys spread over the shards so evenly that none of them has much more than its part. */
static void test_shards_are_even(void **state)
{
    (void)state;
    enum { PER_SHARD = 12 };
    struct store *store = store_new(0, 0, 8);
    unsigned most = 0, least = UINT32_MAX;
    for (unsigned i = 0; i < PER_SHARD * STORE_SHARDS; i++) {
        struct record *record = record_of_number(store, i);
        struct store_key key = store_key(store, record_key(record));
        assert_int_equal(store_write(store, &key, record, 1000000), STORE_APPLIED);
    }
    for (uint32_t shard = 0; shard < STORE_SHARDS; shard++) {
        unsigned count = store_shard_count(store, shard);
        most = count > most ? count : most;
        least = count < least ? count : least;
    }
    store_destroy(store);
    check(most <= 4 * PER_SHARD, "%u in one shard", most);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_insert_takes_long),
        cmocka_unit_test(test_shards_are_even),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
