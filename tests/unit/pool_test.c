#include "base/pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

/* cmocka needs the headers above. */
#include <cmocka.h>

enum { ITEM_BYTES = 1000, ITEMS = 1000, TRIMS = 100 };

/* Linked with --wrap=mmap, so that the kernel can be made to say no. */
static bool no_mmap;

void *__real_mmap(void *start, size_t bytes, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap(void *start, size_t bytes, int prot, int flags, int fd, off_t offset);

void *__wrap_mmap(void *start, size_t bytes, int prot, int flags, int fd, off_t offset)
{
    return no_mmap ? MAP_FAILED : __real_mmap(start, bytes, prot, flags, fd, offset);
}

static struct pool pool;
static unsigned char *items[ITEMS];

static int set_up(void **state)
{
    (void)state;
    no_mmap = false;
    pool_init(&pool, ITEM_BYTES);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    pool_destroy(&pool);
    return 0;
}

static void take(unsigned first, unsigned end)
{
    for (unsigned i = first; i < end; i++) {
        items[i] = pool_take(&pool);
        assert_non_null(items[i]);
        assert_int_equal((uintptr_t)items[i] % 16, 0);
        memset(items[i], (int)(i % 251), ITEM_BYTES);
    }
}

static void give(unsigned first, unsigned end, unsigned stride)
{
    for (unsigned i = first; i < end; i += stride) {
        for (unsigned at = 0; at < ITEM_BYTES; at++)
            assert_int_equal(items[i][at], i % 251);
        pool_give(&pool, items[i]);
    }
}

static void trim_all(void)
{
    for (unsigned i = 0; i < TRIMS; i++)
        pool_trim(&pool);
}

static void items_keep_what_is_theirs(void **state)
{
    (void)state;
    take(0, ITEMS);
    give(0, ITEMS, 2);
    for (unsigned i = 0; i < ITEMS; i += 2)
        take(i, i + 1);
    assert_int_equal(pool.used, ITEMS);
    give(0, ITEMS, 1);
    assert_int_equal(pool.used, 0);
}

static void what_was_given_back_is_taken_again(void **state)
{
    (void)state;
    take(0, ITEMS);
    unsigned chunks = pool.chunks;
    for (unsigned round = 0; round < 10; round++) {
        give(0, ITEMS, 1);
        take(0, ITEMS);
    }
    assert_int_equal(pool.chunks, chunks);
    give(0, ITEMS, 1);
}

static void a_burst_leaves_one_chunk(void **state)
{
    (void)state;
    take(0, ITEMS);
    assert_true(pool.chunks >= ITEMS * ITEM_BYTES / POOL_CHUNK_BYTES);
    give(0, ITEMS, 1);
    trim_all();
    assert_int_equal(pool.chunks, 1);
}

static void what_stays_holds_its_own_chunk_only(void **state)
{
    (void)state;
    take(0, ITEMS);
    give(0, ITEMS / 2, 1);
    give(ITEMS / 2 + 1, ITEMS, 1);
    trim_all();
    assert_true(pool.chunks <= 2);
    give(ITEMS / 2, ITEMS / 2 + 1, 1);
}

static void what_is_needed_from_time_to_time_is_kept(void **state)
{
    (void)state;
    take(0, ITEMS);
    unsigned chunks = pool.chunks;
    for (unsigned round = 0; round < 10; round++) {
        give(0, ITEMS, 1);
        pool_trim(&pool);
        assert_int_equal(pool.chunks, chunks);
        take(0, ITEMS);
    }
    assert_int_equal(pool.chunks, chunks);
    give(0, ITEMS, 1);
}

static void it_goes_back_step_by_step(void **state)
{
    (void)state;
    take(0, ITEMS);
    give(0, ITEMS, 1);
    pool_trim(&pool); /* it was needed until now */
    unsigned chunks = pool.chunks;
    pool_trim(&pool);
    assert_true(pool.chunks < chunks && pool.chunks >= chunks - chunks / 8 - 1);
}

static void without_memory_it_says_so(void **state)
{
    (void)state;
    no_mmap = true;
    assert_null(pool_take(&pool));
    no_mmap = false;
    take(0, 1);
    no_mmap = true;
    unsigned taken = 1;
    while (taken < ITEMS && (items[taken] = pool_take(&pool)))
        taken++;
    assert_true(taken > 1 && taken < ITEMS);
    for (unsigned i = 0; i < taken; i++)
        pool_give(&pool, items[i]);
    take(0, 1);
    give(0, 1, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(items_keep_what_is_theirs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_given_back_is_taken_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_burst_leaves_one_chunk, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_stays_holds_its_own_chunk_only, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_needed_from_time_to_time_is_kept, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(it_goes_back_step_by_step, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_memory_it_says_so, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
