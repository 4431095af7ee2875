/* Linked with --wrap=mmap,--wrap=madvise, so that the kernel can be made to say no.
 * HEAP_TEST_SEED=n in the environment gives the random tests another seed. */
#include "data/heap.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* cmocka needs the headers above. */
#include <cmocka.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#endif
#ifdef WITH_ASAN
#include <sanitizer/asan_interface.h>
#endif

#define KIB ((size_t)1024)
#define MIB ((size_t)1024 * 1024)
#define PAGE ((size_t)HEAP_PAGE_BYTES)

/* The kernel. */

static struct {
    bool no_mmap, no_madvise;
    unsigned mmaps, drops, no_huge_pages;
} kernel;

void *__real_mmap(void *start, size_t bytes, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap(void *start, size_t bytes, int prot, int flags, int fd, off_t offset);
int __real_madvise(void *start, size_t bytes, int advice);
int __wrap_madvise(void *start, size_t bytes, int advice);

void *__wrap_mmap(void *start, size_t bytes, int prot, int flags, int fd, off_t offset)
{
    kernel.mmaps++;
    if (kernel.no_mmap) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return __real_mmap(start, bytes, prot, flags, fd, offset);
}

int __wrap_madvise(void *start, size_t bytes, int advice)
{
    kernel.drops += advice == MADV_DONTNEED;
    kernel.no_huge_pages += advice == MADV_NOHUGEPAGE;
    if (kernel.no_madvise) {
        errno = EINVAL;
        return -1;
    }
    return __real_madvise(start, bytes, advice);
}

static int kernel_reset(void **state)
{
    (void)state;
    memset(&kernel, 0, sizeof(kernel));
    return 0;
}

/* Chance. */

static uint64_t chance;

static void chance_start(void)
{
    const char *seed = getenv("HEAP_TEST_SEED");
    chance = seed ? strtoull(seed, NULL, 10) : 1;
    print_message("seed %llu\n", (unsigned long long)chance);
}

/* splitmix64 */
static uint64_t chance_next(void)
{
    uint64_t z = chance += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

static size_t chance_below(size_t end)
{
    return (size_t)(chance_next() % end);
}

/* From `least` to `most`, each doubling as likely as the next. */
static size_t chance_bytes(size_t least, size_t most)
{
    size_t low = least;
    for (size_t doublings = chance_below(64 - (size_t)__builtin_clzll(most / least)); doublings > 0;
         doublings--)
        low *= 2;
    size_t bytes = low + chance_below(low);
    return bytes < most ? bytes : most;
}

/* Things: objects whose content is known. */

struct thing {
    char *data;
    size_t bytes;
    unsigned char fill;
};

static bool thing_alloc(struct heap *heap, struct thing *thing, size_t bytes, enum heap_use use)
{
    thing->data = heap_alloc(heap, bytes, use);
    thing->bytes = bytes;
    thing->fill = (unsigned char)chance_next();
    if (!thing->data)
        return false;
    assert_int_equal((uintptr_t)thing->data % 8, 0);
    memset(thing->data, thing->fill, bytes);
    return true;
}

static bool thing_is_whole(const struct thing *thing)
{
    const char *data = thing->data;
    return (unsigned char)data[0] == thing->fill && memcmp(data, data + 1, thing->bytes - 1) == 0;
}

static void thing_release(struct heap *heap, struct thing *thing)
{
    if (!thing->data)
        return;
    assert_true(thing_is_whole(thing));
    heap_release(heap, thing->data, thing->bytes);
    thing->data = NULL;
}

static struct thing *things_new(size_t count)
{
    struct thing *things = malloc(count * sizeof(*things));
    assert_non_null(things);
    /* Not zero, so that these pages are there before any are counted. */
    memset(things, 0xff, count * sizeof(*things));
    for (size_t i = 0; i < count; i++)
        things[i].data = NULL;
    return things;
}

/* As a node does at the end of each turn. */
static void cool(struct heap *heap)
{
    while (heap_cool(heap))
        ;
}

static void things_release(struct heap *heap, struct thing *things, size_t count)
{
    for (size_t i = 0; i < count; i++)
        thing_release(heap, &things[i]);
}

/* Allocates until the heap says no. */
static size_t things_fill(struct heap *heap, struct thing *things, size_t count, size_t bytes,
                          enum heap_use use)
{
    size_t filled = 0;
    while (filled < count && thing_alloc(heap, &things[filled], bytes, use))
        filled++;
    assert_true(filled < count);
    return filled;
}

static struct heap *heap_must(uint64_t limit)
{
    struct heap *heap = heap_new(limit);
    assert_non_null(heap);
    return heap;
}

/* Sizes. */

static void test_footprint_wastes_little(void **state)
{
    (void)state;
    for (size_t bytes = 1; bytes <= 4 * MIB; bytes += bytes < 16 * KIB ? 1 : 509) {
        size_t footprint = heap_footprint(bytes);
        assert_true(footprint >= bytes && footprint % 8 == 0);
        assert_true(bytes > 1024 || footprint - bytes < 8);
        assert_true(bytes > HEAP_SMALL_BYTES || footprint <= bytes + 8 + bytes / 16);
        assert_true(bytes <= HEAP_SMALL_BYTES || footprint == (bytes + PAGE - 1) / PAGE * PAGE);
        assert_int_equal(heap_footprint(footprint), footprint);
    }
}

static void test_every_size_keeps_its_content(void **state)
{
    (void)state;
    enum { COUNT = 20000 };
    struct heap *heap = heap_must(0);
    struct thing *things = things_new(COUNT);
    size_t used = 0;
    for (size_t i = 0; i < COUNT; i++) {
        size_t bytes = i < 17000 ? i + 1 : chance_bytes(16 * KIB, 128 * KIB);
        assert_true(thing_alloc(heap, &things[i], bytes, HEAP_NORMAL));
        used += heap_footprint(bytes);
    }
    assert_int_equal(heap_used(heap), used);
    assert_true(heap_resident(heap) >= used);
    for (size_t i = 0; i < COUNT; i++)
        assert_true(thing_is_whole(&things[i]));
    things_release(heap, things, COUNT);
    assert_int_equal(heap_used(heap), 0);
    heap_destroy(heap);
    free(things);
}

static void test_huge_sizes(void **state)
{
    (void)state;
    struct heap *heap = heap_must(0);
#ifdef WITH_ASAN
    size_t bytes = ((size_t)256 << 20) + 100; /* an eighth as much is touched to poison it */
#else
    size_t bytes = ((size_t)4 << 30) + 100;
#endif
    char *object = heap_alloc(heap, bytes, HEAP_NORMAL);
    assert_non_null(object);
    object[0] = object[bytes - 1] = 'x';
    char *small = heap_alloc(heap, 100, HEAP_NORMAL);
    assert_non_null(small);
    heap_release(heap, object, bytes);
    heap_release(heap, small, 100);
    cool(heap);
    assert_true(heap_resident(heap) < 16 * PAGE);
    unsigned mmaps = kernel.mmaps;
    assert_null(heap_alloc(heap, HEAP_OBJECT_BYTES_MAX + 1, HEAP_NORMAL));
    assert_null(heap_alloc(heap, SIZE_MAX, HEAP_NORMAL));
    assert_ptr_equal(heap_alloc(heap, bytes, HEAP_NORMAL), object);
    assert_int_equal(kernel.mmaps, mmaps);
    heap_destroy(heap);
}

/* The limit. */

static void limit_is_exact(uint64_t limit, size_t bytes)
{
    enum { COUNT = 250000, MORE = 5000 };
    struct heap *heap = heap_must(limit);
    struct thing *things = things_new(COUNT), *more = things_new(MORE);
    size_t step = bytes > PAGE ? heap_footprint(bytes) : PAGE;

    size_t filled = things_fill(heap, things, COUNT, bytes, HEAP_NORMAL);
    assert_true(heap_resident(heap) <= limit);
    assert_true(heap_resident(heap) + step + 2 * PAGE > limit); /* 2 for what keeps the books */

    uint64_t reserve = limit + limit / 64;
    size_t tombs = things_fill(heap, more, MORE, bytes, HEAP_RESERVE);
    assert_true(heap_resident(heap) <= reserve);
    assert_true(heap_resident(heap) + step + 2 * PAGE > reserve);
    assert_null(heap_alloc(heap, bytes, HEAP_NORMAL));

    things_release(heap, more, tombs);
    thing_release(heap, &things[--filled]); /* as much as the books of what was freed may take */
    thing_release(heap, &things[--filled]);
    assert_true(thing_alloc(heap, &things[filled++], bytes, HEAP_NORMAL));
    assert_true(heap_resident(heap) <= reserve);

    things_release(heap, things, filled);
    size_t again = things_fill(heap, things, COUNT, bytes, HEAP_NORMAL);
    assert_true((filled - again) * heap_footprint(bytes) <= 2 * step + 2 * PAGE || again > filled);
    heap_destroy(heap);
    free(things);
    free(more);
}

static void test_limit_is_exact(void **state)
{
    (void)state;
    static const size_t sizes[] = {24, 200, 1000, 5000, 8192, 8193, 20000, 70000, 300000};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        limit_is_exact(2 * MIB, sizes[i]);
        limit_is_exact(5 * MIB + 12345, sizes[i]);
    }
}

static void test_limit_of_almost_nothing(void **state)
{
    (void)state;
    for (uint64_t limit = 1; limit < 100 * KIB; limit += 3000) {
        struct heap *heap = heap_must(limit);
        assert_int_equal(heap_limit(heap), limit);
        while (heap_alloc(heap, 500, HEAP_NORMAL))
            assert_true(heap_resident(heap) <= limit);
        while (heap_alloc(heap, 9000, HEAP_RESERVE))
            assert_true(heap_resident(heap) <= limit + limit / 64);
        assert_null(heap_alloc(heap, 500 * KIB, HEAP_RESERVE));
        heap_destroy(heap);
    }
}

static void test_refusal_spends_no_addresses(void **state)
{
    (void)state;
    struct heap *heap = heap_must(64 * MIB);
    assert_non_null(heap_alloc(heap, 100, HEAP_NORMAL));
    unsigned mmaps = kernel.mmaps;
    for (int i = 0; i < 1000; i++)
        assert_null(heap_alloc(heap, (size_t)1 << 30, HEAP_NORMAL));
    assert_int_equal(kernel.mmaps, mmaps);
    heap_destroy(heap);
}

/* Pages in the reserve that are free again are for nobody but the reserve. */
static void test_warm_reserve_is_no_room(void **state)
{
    (void)state;
    enum { COUNT = 10000 };
    struct heap *heap = heap_must(16 * MIB);
    struct thing *things = things_new(COUNT), tombs[128];
    (void)things_fill(heap, things, COUNT, 8000, HEAP_NORMAL);
    size_t count = things_fill(heap, tombs, 128, 4096, HEAP_RESERVE);
    assert_true(count >= 32);
    assert_true(heap_reserve_is_low(heap));
    things_release(heap, tombs, count);
    assert_false(heap_reserve_is_low(heap)); /* though it is warm */
    assert_null(heap_alloc(heap, 16 * KIB, HEAP_NORMAL));
    while (heap_alloc(heap, 6000, HEAP_NORMAL))
        ;
    assert_true(heap_resident(heap) <= 16 * MIB + MIB / 16);
    assert_true(things_fill(heap, tombs, 128, 4096, HEAP_RESERVE) + 16 >= count);
    heap_destroy(heap);
    free(things);
}

/* The same for a span of pages, also for an object that is so much smaller that it gives back some of them. */
static void test_warm_span_in_the_reserve_is_no_room(void **state)
{
    (void)state;
    enum { COUNT = 10000, LARGE = 18 * PAGE };
    struct heap *heap = heap_must(16 * MIB);
    struct thing *things = things_new(COUNT), tombs[128];
    void *large = heap_alloc(heap, LARGE, HEAP_NORMAL);
    heap_release(heap, heap_alloc(heap, 3 * PAGE, HEAP_NORMAL), 3 * PAGE); /* room for its books */
    (void)things_fill(heap, things, COUNT, 8000, HEAP_NORMAL);
    assert_true(things_fill(heap, tombs, 128, 4096, HEAP_RESERVE) >= 32);
    heap_release(heap, large, LARGE);
    assert_null(heap_alloc(heap, LARGE, HEAP_NORMAL));
    assert_null(heap_alloc(heap, LARGE - PAGE, HEAP_NORMAL));
    assert_non_null(heap_alloc(heap, LARGE, HEAP_RESERVE));
    heap_destroy(heap);
    free(things);
}

/* Warm and cold. */

static void test_warm_is_bounded_and_goes_first(void **state)
{
    (void)state;
    enum { COUNT = 1000, LIMIT = 64 * MIB, SLACK = 64 * KIB };
    struct heap *heap = heap_must(LIMIT);
    struct thing *things = things_new(COUNT);
    static const size_t sizes[] = {200, 100 * KIB, 3000, MIB};
    for (size_t i = 0; i < 4; i++) {
        size_t count = i % 2 ? LIMIT * 3 / 4 / sizes[i] : COUNT;
        for (size_t k = 0; k < count; k++)
            assert_true(thing_alloc(heap, &things[k], sizes[i], HEAP_NORMAL));
        things_release(heap, things, count);
        assert_true(heap_resident(heap) <= LIMIT / 16 + SLACK);
    }
    assert_true(heap_resident(heap) > LIMIT / 16 - MIB - SLACK); /* kept, since it may */
    char *object = heap_alloc(heap, LIMIT - SLACK, HEAP_NORMAL);
    assert_non_null(object);
    heap_release(heap, object, LIMIT - SLACK);
    cool(heap);
    assert_true(heap_resident(heap) <= SLACK);
    heap_destroy(heap);
    free(things);
}

static void test_doomed_allocation_leaves_the_warm_alone(void **state)
{
    (void)state;
    struct heap *heap = heap_must(64 * MIB);
    void *object = heap_alloc(heap, MIB, HEAP_NORMAL);
    heap_release(heap, object, MIB);
    uint64_t resident = heap_resident(heap);
    assert_null(heap_alloc(heap, 65 * MIB, HEAP_NORMAL));
    assert_int_equal(heap_resident(heap), resident);
    assert_int_equal(kernel.drops, 0);
    heap_destroy(heap);
}

/* Objects at the edge of a slab, and large ones, come and go. */
static void test_turns_cost_no_madvise(void **state)
{
    (void)state;
    struct thing things[70];
    for (size_t bytes = 1; bytes <= 2 * MIB; bytes = bytes * 3 + 1) {
        struct heap *heap = heap_must(64 * MIB);
        size_t edge = bytes > HEAP_SMALL_BYTES ? 1 : HEAP_SPAN_BYTES / heap_footprint(bytes);
        for (size_t i = 0; i < edge; i++)
            assert_non_null(heap_alloc(heap, bytes, HEAP_NORMAL));
        for (size_t turn = 1; turn < 70; turn++) {
            size_t count = bytes < 64 * KIB ? turn : 1;
            for (size_t i = 0; i < count; i++)
                assert_true(thing_alloc(heap, &things[i], bytes, HEAP_NORMAL));
            things_release(heap, things, count);
        }
        heap_destroy(heap);
    }
    assert_int_equal(kernel.drops, 0);
}

static void test_oldest_goes_cold_first(void **state)
{
    (void)state;
    struct heap *heap = heap_must(64 * MIB); /* 4 MiB of it may be warm */
    struct thing things[6];
    for (size_t i = 0; i < 6; i++)
        assert_true(thing_alloc(heap, &things[i], MIB + i % 3 * 256 * KIB, HEAP_NORMAL));
    things_release(heap, things, 3);
    assert_int_equal(kernel.drops, 0);
    char *first = heap_alloc(heap, MIB, HEAP_NORMAL); /* and so it is the newest */
    assert_non_null(first);
    heap_release(heap, first, MIB);
    char *last = things[4].data;
    thing_release(heap, &things[4]);
    cool(heap);
    assert_int_equal(kernel.drops, 1);
    uint64_t resident = heap_resident(heap);
    assert_ptr_equal(heap_alloc(heap, MIB, HEAP_NORMAL), first);
    assert_ptr_equal(heap_alloc(heap, MIB + 256 * KIB, HEAP_NORMAL), last);
    assert_int_equal(heap_resident(heap), resident); /* both with their pages */
    heap_destroy(heap);
}

/* What can't be kept warm does not cost the others their pages. */
static void test_more_than_may_be_warm_goes_alone(void **state)
{
    (void)state;
    struct heap *heap = heap_must(64 * MIB);
    struct thing small, huge;
    assert_true(thing_alloc(heap, &small, MIB, HEAP_NORMAL));
    assert_true(thing_alloc(heap, &huge, 5 * MIB, HEAP_NORMAL));
    thing_release(heap, &small);
    thing_release(heap, &huge);
    cool(heap);
    uint64_t resident = heap_resident(heap);
    assert_in_range(resident, MIB, MIB + 64 * KIB);
    assert_non_null(heap_alloc(heap, MIB, HEAP_NORMAL));
    assert_int_equal(heap_resident(heap), resident); /* with its pages */
    heap_destroy(heap);
}

/* It may be taken again before it has gone: then there is nothing to give back, of others neither. */
static void test_more_than_may_be_warm_is_taken_again(void **state)
{
    (void)state;
    struct heap *heap = heap_must(64 * MIB);
    struct thing small, huge;
    for (int warm = 0; warm < 2; warm++) {
        assert_true(thing_alloc(heap, &small, MIB, HEAP_NORMAL));
        assert_true(thing_alloc(heap, &huge, 5 * MIB, HEAP_NORMAL));
        if (warm)
            thing_release(heap, &small);
        thing_release(heap, &huge);
        assert_true(thing_alloc(heap, &huge, 5 * MIB, HEAP_NORMAL));
        assert_false(heap_cool(heap));
        assert_in_range(heap_warm(heap), warm ? MIB : 0, (warm ? MIB : 0) + 64 * KIB);
        thing_release(heap, &huge);
        thing_release(heap, &small);
        cool(heap);
    }
    assert_true(heap_warm(heap) <= 4 * MIB);
    heap_destroy(heap);
}

/* The kernel takes milliseconds for the pages of a large object, which nobody is to wait for. */
static void test_large_goes_bit_by_bit(void **state)
{
    (void)state;
    enum { BYTES = 65 * MIB, STEP = MIB };
    struct heap *heap = heap_must(256 * MIB); /* 16 MiB of it may be warm */
    heap_release(heap, heap_alloc(heap, BYTES, HEAP_NORMAL), BYTES);
    uint64_t before = heap_resident(heap);
    assert_true(before >= BYTES);
    unsigned steps = 0;
    for (bool more = true; more; steps++) {
        more = heap_cool(heap);
        assert_in_range(heap_resident(heap), before - STEP, before - 1);
        before = heap_resident(heap);
    }
    assert_int_equal(kernel.drops, steps);
    assert_int_equal(heap_warm(heap), 0);
    assert_false(heap_cool(heap));
    assert_int_equal(kernel.drops, steps);
    /* It is room all the time: for the same again, and for others. */
    heap_release(heap, heap_alloc(heap, BYTES, HEAP_NORMAL), BYTES);
    assert_int_equal(kernel.drops, steps);
    assert_non_null(heap_alloc(heap, 200 * MIB, HEAP_NORMAL));
    assert_true(heap_resident(heap) <= 256 * MIB);
    heap_destroy(heap);
}

static void test_large_in_turns_takes_no_more(void **state)
{
    (void)state;
    struct heap *heap = heap_must(64 * MIB);
    uint64_t most = 0;
    for (int turn = 0; turn < 100000; turn++) {
        heap_release(heap, heap_alloc(heap, 10000, HEAP_NORMAL), 10000);
        if (turn == 0)
            most = heap_resident(heap);
    }
    assert_int_equal(heap_resident(heap), most);
    heap_destroy(heap);
}

static void test_same_class_smaller_object_gives_back_the_tail(void **state)
{
    (void)state;
    struct heap *heap = heap_must(0);
    char *object = heap_alloc(heap, 1024 * KIB, HEAP_NORMAL);
    heap_release(heap, object, 1024 * KIB);
    uint64_t resident = heap_resident(heap);
    assert_ptr_equal(heap_alloc(heap, 970 * KIB, HEAP_NORMAL), object);
    assert_true(heap_resident(heap) <= resident - 52 * KIB);
    heap_release(heap, object, 970 * KIB);
    assert_ptr_equal(heap_alloc(heap, 1000 * KIB, HEAP_NORMAL), object);
    assert_true(heap_resident(heap) >= 1000 * KIB);
    heap_destroy(heap);
}

static void move_where_due(struct heap *heap, struct thing *things, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct thing old = things[i];
        if (!old.data || !heap_should_move(heap, old.data, old.bytes))
            continue;
        assert_true(thing_alloc(heap, &things[i], old.bytes, HEAP_NORMAL));
        thing_release(heap, &old);
    }
}

static void test_moves_free_what_sparse_slabs_hold(void **state)
{
    (void)state;
    enum { COUNT = 50000, LIMIT = 16 * MIB };
    struct heap *heap = heap_must(LIMIT);
    struct thing *things = things_new(COUNT);
    size_t filled = 0;
    while (thing_alloc(heap, &things[filled], chance_bytes(256, 512), HEAP_NORMAL))
        filled++;
    move_where_due(heap, things, filled);
    for (size_t i = 0; i < filled; i++)
        if (chance_below(10))
            thing_release(heap, &things[i]);
    assert_true(heap_used(heap) < LIMIT / 8);
    assert_null(heap_alloc(heap, MIB, HEAP_NORMAL)); /* a tenth holds everything */
    uint64_t held = heap_resident(heap) - heap_warm(heap), movable = heap_movable(heap);
    move_where_due(heap, things, filled);
    assert_int_equal(heap_movable(heap), 0);
    uint64_t won = held - (heap_resident(heap) - heap_warm(heap));
    assert_in_range(won, movable - MIB, movable + MIB);
    move_where_due(heap, things, filled);
    assert_true(heap_resident(heap) < heap_used(heap) * 4 / 3 + 2 * MIB + LIMIT / 16);
    char *object = heap_alloc(heap, LIMIT * 3 / 4, HEAP_NORMAL);
    assert_non_null(object);
    assert_false(heap_should_move(heap, object, LIMIT * 3 / 4));
    things_release(heap, things, filled);
    heap_destroy(heap);
    free(things);
}

/* Where a fifth has gone from everywhere nothing can be won, however much room there is: slabs are more than 3/4 full. */
static void test_little_room_everywhere_is_not_movable(void **state)
{
    (void)state;
    enum { SLAB_OBJECTS = 64 * KIB / 104, COUNT = 80 * SLAB_OBJECTS };
    struct heap *heap = heap_must(0);
    struct thing *things = things_new(COUNT);
    for (size_t i = 0; i < COUNT; i++)
        assert_true(thing_alloc(heap, &things[i], 100, HEAP_NORMAL));
    for (size_t i = 0; i < COUNT; i += 5)
        thing_release(heap, &things[i]);
    assert_int_equal(heap_movable(heap), 0);
    for (size_t i = 1; i < COUNT; i += 10)
        thing_release(heap, &things[i]);
    uint64_t room = (uint64_t)COUNT * 3 / 10 * 104, first = (uint64_t)SLAB_OBJECTS * 104;
    assert_in_range(heap_movable(heap), room - first, room);
    things_release(heap, things, COUNT);
    assert_int_equal(heap_movable(heap), 0);
    heap_destroy(heap);
    free(things);
}

/* At the limit what makes room stands in larger places; moving it wins the rest of these. */
static void test_larger_places_are_movable(void **state)
{
    (void)state;
    enum { COUNT = 200000, LIMIT = 16 * MIB, LARGE = 160, SMALL = 64 };
    struct heap *heap = heap_must(LIMIT);
    struct thing *things = things_new(COUNT);
    size_t filled = 0, borrowed = 0;
    while (thing_alloc(heap, &things[filled], LARGE, HEAP_NORMAL))
        filled++;
    while (thing_alloc(heap, &things[filled + borrowed], SMALL,
                       HEAP_NORMAL)) /* no page is left for these */
        borrowed++;
    size_t first = filled + borrowed;
    for (borrowed = 0; borrowed < 1000; borrowed++) {
        thing_release(heap, &things[borrowed]);
        assert_true(thing_alloc(heap, &things[first + borrowed], SMALL, HEAP_RESERVE));
        assert_true(heap_should_move(heap, things[first + borrowed].data, SMALL));
    }
    assert_int_equal(heap_movable(heap), 1000 * (LARGE - SMALL));
    things_release(heap, things, first + borrowed);
    assert_int_equal(heap_movable(heap), 0);
    heap_destroy(heap);
    free(things);
}

/* Addresses. */

static size_t kernel_mapped(void)
{
    char line[256];
    size_t pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file)
        return 0;
    if (fgets(line, sizeof(line), file))
        pages = strtoull(line, NULL, 10);
    (void)fclose(file);
    return pages * PAGE;
}

static void test_addresses(void **state)
{
    (void)state;
    size_t before = kernel_mapped();
    struct heap *heap = heap_must(0);
    assert_non_null(heap_alloc(heap, 100, HEAP_NORMAL));
    assert_non_null(heap_alloc(heap, 100 * MIB, HEAP_NORMAL));
    assert_int_equal(kernel.no_huge_pages, 2);
#ifndef WITH_ASAN
    assert_in_range(kernel_mapped() - before, 192 * MIB, 193 * MIB);
#endif
    heap_destroy(heap);
#ifndef WITH_ASAN
    assert_in_range(kernel_mapped() + MIB, before, before + 2 * MIB);
#endif
    (void)before;
}

/* The kernel says no. */

static void test_mmap_fails(void **state)
{
    (void)state;
    enum { COUNT = 200000 };
    struct heap *heap = heap_must(0);
    struct thing *things = things_new(COUNT), late;
    kernel.no_mmap = true;
    assert_null(heap_alloc(heap, 100, HEAP_NORMAL));
    assert_null(heap_alloc(heap, MIB, HEAP_NORMAL));
    kernel.no_mmap = false;
    assert_true(thing_alloc(heap, &things[0], 1000, HEAP_NORMAL));
    kernel.no_mmap = true;
    size_t filled = 1 + things_fill(heap, things + 1, COUNT - 1, 1000, HEAP_NORMAL);
    uint64_t resident = heap_resident(heap), used = heap_used(heap);
    assert_null(heap_alloc(heap, 2000, HEAP_NORMAL));
    assert_null(heap_alloc(heap, 20000, HEAP_NORMAL));
    assert_int_equal(heap_resident(heap), resident);
    assert_int_equal(heap_used(heap), used);
    for (size_t i = 0; i < filled; i++)
        assert_true(thing_is_whole(&things[i]));
    thing_release(heap, &things[filled / 2]);
    assert_true(thing_alloc(heap, &things[filled / 2], 1000, HEAP_NORMAL));
    kernel.no_mmap = false;
    assert_true(thing_alloc(heap, &late, 20000, HEAP_NORMAL));
    things_release(heap, things, filled);
    heap_destroy(heap);
    free(things);
}

/* A large object that can't be kept for want of a page for the books goes back to the kernel. */
static void test_release_without_books(void **state)
{
    (void)state;
    struct heap *heap = heap_must(0);
    uint64_t empty = heap_resident(heap);
    struct thing first, second;
    assert_true(thing_alloc(heap, &first, MIB, HEAP_NORMAL));
    assert_true(thing_alloc(heap, &second, MIB, HEAP_NORMAL));
    kernel.no_mmap = true;
    thing_release(heap, &first);
    assert_int_equal(heap_used(heap), MIB);
    assert_int_equal(heap_resident(heap), empty + PAGE + MIB);
    assert_true(thing_alloc(heap, &first, MIB, HEAP_NORMAL));
    assert_true(thing_is_whole(&second));
    kernel.no_madvise = true;
    thing_release(heap, &first);
    assert_int_equal(heap_resident(heap), empty + PAGE + 2 * MIB); /* what is there counts */
    assert_true(thing_alloc(heap, &first, MIB, HEAP_NORMAL));
    heap_destroy(heap);
}

static void test_madvise_fails(void **state)
{
    (void)state;
    enum { COUNT = 40 };
    struct heap *heap = heap_must(64 * MIB);
    struct thing *things = things_new(COUNT), other;
    for (size_t i = 0; i < COUNT; i++)
        assert_true(thing_alloc(heap, &things[i], MIB, HEAP_NORMAL));
    kernel.no_madvise = true;
    uint64_t resident = heap_resident(heap);
    things_release(heap, things, COUNT);
    assert_true(heap_resident(heap) >= resident);
    assert_null(heap_alloc(heap, 50 * MIB, HEAP_NORMAL));
    assert_null(heap_alloc(heap, 1000 * KIB, HEAP_NORMAL)); /* the tail can't be given back */
    for (size_t i = 0; i < COUNT; i++)
        assert_true(thing_alloc(heap, &things[i], MIB, HEAP_NORMAL));
    assert_true(heap_resident(heap) <= resident + 4 * PAGE);
    things_release(heap, things, COUNT);
    kernel.no_madvise = false;
    assert_true(thing_alloc(heap, &other, 50 * MIB, HEAP_NORMAL));
    heap_destroy(heap);
    free(things);
}

/* Growing objects. */

static bool is_filled(const char *data, size_t bytes, char fill)
{
    return data[0] == fill && memcmp(data, data + 1, bytes - 1) == 0;
}

static void test_growing_stays_in_place_and_takes_its_pages_alone(void **state)
{
    (void)state;
    struct heap *heap = heap_must(16 * MIB);
    heap_set_growing_max(heap, 14 * MIB);
    char *object = heap_alloc_growing(heap, 1 * MIB + 10);
    assert_non_null(object);
    memset(object, 'x', 1 * MIB + 10);
    for (size_t bytes = 2 * MIB; bytes <= 14 * MIB; bytes += MIB) {
        assert_true(heap_resize_growing(heap, object, bytes - MIB + 10, bytes + 10 - PAGE));
        assert_true(heap_resize_growing(heap, object, bytes + 10 - PAGE, bytes));
        assert_true(is_filled(object, bytes - MIB + 10 - PAGE, 'x'));
        memset(object, 'x', bytes);
        assert_int_equal(heap_used(heap), bytes);
        assert_true(heap_resident(heap) <= bytes + 8 * PAGE);
        if (bytes < 14 * MIB)
            assert_true(heap_resize_growing(heap, object, bytes, bytes + 10));
    }
    assert_true(heap_resize_growing(heap, object, 14 * MIB, 3 * MIB - 5));
    assert_true(is_filled(object, 3 * MIB - 5, 'x'));
    assert_int_equal(heap_used(heap), 3 * MIB);
    assert_true(heap_resident(heap) <= 3 * MIB + 8 * PAGE);
    heap_release_growing(heap, object, 3 * MIB - 5);
    assert_int_equal(heap_used(heap), 0);
    heap_destroy(heap);
}

static void test_growing_is_refused_at_the_limit(void **state)
{
    (void)state;
    struct heap *heap = heap_must(8 * MIB);
    heap_set_growing_max(heap, 64 * MIB);
    char *object = heap_alloc_growing(heap, 6 * MIB);
    assert_non_null(object);
    memset(object, 'x', 6 * MIB);
    uint64_t used = heap_used(heap), resident = heap_resident(heap);
    assert_false(heap_resize_growing(heap, object, 6 * MIB, 9 * MIB));
    assert_null(heap_alloc_growing(heap, 3 * MIB));
    assert_int_equal(heap_used(heap), used);
    assert_true(heap_resident(heap) <= resident + 2 * PAGE);
    assert_true(is_filled(object, 6 * MIB, 'x'));
    heap_release_growing(heap, object, 6 * MIB);
    assert_non_null(heap_alloc_growing(heap, 7 * MIB));
    heap_destroy(heap);
}

/* One that was beyond what may be warm is cold before what was freed earlier, and is the next one to be taken. */
static void test_growing_takes_what_is_cold_above_what_is_warm(void **state)
{
    (void)state;
    struct heap *heap = heap_must(64 * MIB); /* 4 MiB may be warm */
    heap_set_growing_max(heap, 32 * MIB);
    heap_release_growing(heap, heap_alloc_growing(heap, 3 * MIB), 3 * MIB);
    unsigned mmaps = 0;
    for (int i = 0; i < 100; i++) {
        char *object = heap_alloc_growing(heap, 5 * MIB);
        assert_non_null(object);
        heap_release_growing(heap, object, 5 * MIB);
        cool(heap);
        if (i == 1)
            mmaps = kernel.mmaps;
    }
    assert_int_equal(heap_warm(heap), 3 * MIB);
    assert_int_equal(kernel.mmaps, mmaps);
    heap_destroy(heap);
}

/* The addresses of those that are gone are used again, but never with more pages than were asked for: to give these
 * back would take milliseconds. */
static void test_growing_begins_without_pages(void **state)
{
    (void)state;
    struct heap *heap = heap_must(0);
    heap_set_growing_max(heap, 32 * MIB);
    unsigned mmaps = 0;
    for (int i = 0; i < 100; i++) {
        char *object = heap_alloc_growing(heap, 30 * MIB);
        assert_non_null(object);
        object[0] = 'x';
        heap_release_growing(heap, object, 30 * MIB);
        unsigned drops = kernel.drops;
        char *next = heap_alloc_growing(heap, 1 * MIB);
        assert_non_null(next);
        assert_ptr_not_equal(next, object);
        assert_int_equal(kernel.drops, drops);
        heap_release_growing(heap, next, 1 * MIB);
        cool(heap);
        if (i == 10)
            mmaps = kernel.mmaps;
    }
    assert_int_equal(kernel.mmaps, mmaps);
    assert_true(heap_resident(heap) <= 65 * MIB);
    heap_destroy(heap);
}

/* What the kernel counts. */

static size_t kernel_resident(void)
{
    char line[256];
    size_t kib = 0;
    FILE *file = fopen("/proc/self/smaps_rollup", "r");
    if (!file)
        return 0;
    while (fgets(line, sizeof(line), file))
        if (strncmp(line, "Anonymous:", 10) == 0)
            kib = strtoull(line + 10, NULL, 10);
    (void)fclose(file);
    return kib * KIB;
}

struct account {
    struct heap *heap;
    size_t before; /* what the process had without the heap */
    bool is_true;
};

/* What the heap says should be what the kernel says, but for the pages that this process takes for
 * other things. */
static void account_check(struct account *account, const char *when)
{
    uint64_t claimed = heap_resident(account->heap);
    uint64_t real = kernel_resident() - account->before;
    bool is_true = real <= claimed + 64 * KIB && claimed <= real + 64 * KIB;
    print_message("%-24s used %6llu KiB, resident %6llu KiB, the kernel says %6llu KiB%s\n", when,
                  (unsigned long long)heap_used(account->heap) / KIB,
                  (unsigned long long)claimed / KIB, (unsigned long long)real / KIB,
                  is_true ? "" : ": WRONG");
    account->is_true &= is_true;
}

static void account_small(struct account *account)
{
    enum { COUNT = 200000 };
    struct thing *things = things_new(COUNT);
    account->before = kernel_resident();
    for (size_t i = 0; i < COUNT; i++)
        (void)thing_alloc(account->heap, &things[i], chance_bytes(16, 4096), HEAP_NORMAL);
    account_check(account, "200k small");
    for (size_t i = 0; i < COUNT; i++)
        if (chance_below(2))
            thing_release(account->heap, &things[i]);
    account_check(account, "half of them released");
    for (size_t i = 0; i < COUNT; i++)
        if (!things[i].data)
            (void)thing_alloc(account->heap, &things[i], chance_bytes(100, 8192), HEAP_NORMAL);
    account_check(account, "others in their place");
    for (size_t turn = 0; turn < COUNT; turn++) {
        struct thing *thing = &things[chance_below(COUNT)];
        thing_release(account->heap, thing);
        (void)thing_alloc(account->heap, thing, chance_bytes(100, 8192), HEAP_NORMAL);
    }
    account_check(account, "200k overwritten");
    things_release(account->heap, things, COUNT);
    account_check(account, "all released");
    account->is_true &= heap_resident(account->heap) < 17 * MIB;
}

static void account_large(struct account *account)
{
    enum { COUNT = 60, TURNS = 600 };
    struct thing *things = things_new(COUNT);
    account->before = kernel_resident();
    for (size_t turn = 0; turn < TURNS; turn++) {
        struct thing *thing = &things[turn % COUNT];
        thing_release(account->heap, thing);
        (void)thing_alloc(account->heap, thing, chance_bytes(64 * KIB, 4 * MIB), HEAP_NORMAL);
        if (turn % 100 == 99)
            account_check(account, "large in turns");
    }
    for (size_t turn = 0; turn < (size_t)TURNS * 20; turn++) {
        struct thing *thing = &things[chance_below(COUNT)];
        thing_release(account->heap, thing);
        (void)thing_alloc(account->heap, thing, chance_bytes(8 * KIB, 100 * KIB), HEAP_NORMAL);
    }
    account_check(account, "8 KiB to 100 KiB");
    things_release(account->heap, things, COUNT);
    cool(account->heap);
    account_check(account, "all released");
    account->is_true &= heap_resident(account->heap) < 17 * MIB;
}

static void account_growing(struct account *account)
{
    enum { COUNT = 20, STEPS = 12, GROWING_MAX = 20 * 1024 * 1024 };
    char *objects[COUNT];
    size_t bytes[COUNT];
    heap_set_growing_max(account->heap, GROWING_MAX);
    account->before = kernel_resident();
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < COUNT; i++) {
            bytes[i] = 64 * KIB;
            objects[i] = heap_alloc_growing(account->heap, bytes[i]);
        }
        for (size_t step = 0; step < STEPS * COUNT; step++) {
            size_t i = chance_below(COUNT), to = bytes[i] + chance_below(2 * MIB);
            if (to > GROWING_MAX)
                continue;
            if (heap_resize_growing(account->heap, objects[i], bytes[i], to))
                bytes[i] = to;
            memset(objects[i], 'x', bytes[i]);
        }
        account_check(account, "grown");
        for (size_t i = 0; i < COUNT; i++) {
            size_t to = bytes[i] - chance_below(bytes[i] / 2);
            account->is_true &= heap_resize_growing(account->heap, objects[i], bytes[i], to);
            bytes[i] = to;
        }
        account_check(account, "cut");
        for (size_t i = 0; i < COUNT; i++)
            heap_release_growing(account->heap, objects[i], bytes[i]);
        cool(account->heap);
        account_check(account, "all released");
    }
}

static void account_in_child(void (*scenario)(struct account *account))
{
#ifdef WITH_ASAN
    (void)scenario;
    skip(); /* its shadow and quarantine are resident too */
#else
    int status;
    if (kernel_resident() == 0)
        skip();
    chance_start();
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct account account = {.heap = heap_new(256 * MIB), .is_true = true};
        scenario(&account);
        _exit(account.is_true ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
#endif
}

static void test_account_of_small(void **state)
{
    (void)state;
    account_in_child(account_small);
}

static void test_account_of_large(void **state)
{
    (void)state;
    account_in_child(account_large);
}

static void test_account_of_growing(void **state)
{
    (void)state;
    account_in_child(account_growing);
}

/* Everything at once. */

struct model {
    struct heap *heap;
    struct thing *things;
    uint64_t used;
    size_t refused;
};

enum { MODEL_THINGS = 3000, MODEL_LIMIT = 8 * MIB, MODEL_TURNS = 150000 };

static size_t model_bytes(void)
{
    switch (chance_below(16)) {
    case 0:
        return chance_bytes(8 * KIB, 64 * KIB);
    case 1:
        return chance_below(8) ? 64 : chance_bytes(64 * KIB, 2 * MIB);
    default:
        return chance_bytes(1, HEAP_SMALL_BYTES);
    }
}

static void model_toggle(struct model *model, struct thing *thing)
{
    if (thing->data) {
        model->used -= heap_footprint(thing->bytes);
        thing_release(model->heap, thing);
        return;
    }
    size_t bytes = model_bytes();
    if (thing_alloc(model->heap, thing, bytes, chance_below(10) ? HEAP_NORMAL : HEAP_RESERVE))
        model->used += heap_footprint(bytes);
    else
        model->refused++;
}

static void model_turn(struct model *model)
{
    kernel.no_mmap = chance_below(50) == 0;
    kernel.no_madvise = chance_below(50) == 0;
    model_toggle(model, &model->things[chance_below(MODEL_THINGS)]);
    assert_int_equal(heap_used(model->heap), model->used);
    assert_true(heap_resident(model->heap) >= model->used);
    assert_true(heap_resident(model->heap) <= MODEL_LIMIT + MODEL_LIMIT / 64);
}

static void test_model(void **state)
{
    (void)state;
    chance_start();
    struct model model = {.heap = heap_must(MODEL_LIMIT), .things = things_new(MODEL_THINGS)};
    for (size_t turn = 0; turn < MODEL_TURNS; turn++) {
        model_turn(&model);
        if (turn % 40000 == 39999) /* a table emptied and filled anew */
            for (size_t i = 0; i < MODEL_THINGS; i++)
                if (model.things[i].data && chance_below(20))
                    model_toggle(&model, &model.things[i]);
    }
    assert_in_range(model.refused, 100, MODEL_TURNS / 2);
    kernel_reset(NULL);
    things_release(model.heap, model.things, MODEL_THINGS);
    assert_int_equal(heap_used(model.heap), 0);
    assert_true(heap_resident(model.heap) <= MODEL_LIMIT / 16 + 256 * KIB);
    heap_destroy(model.heap);
    free(model.things);
}

static void test_two_heaps(void **state)
{
    (void)state;
    struct heap *heap = heap_must(8 * MIB), *other = heap_must(0);
    struct thing thing, others[100];
    for (size_t i = 0; i < 100; i++)
        assert_true(thing_alloc(other, &others[i], 1 + i * 200, HEAP_NORMAL));
    uint64_t resident = heap_resident(other);
    while (thing_alloc(heap, &thing, 1000, HEAP_NORMAL))
        ;
    heap_destroy(heap);
    assert_int_equal(heap_resident(other), resident);
    things_release(other, others, 100);
    heap_destroy(other);
}

/* Mistakes. */

static void test_wrong_size_is_caught(void **state)
{
    (void)state;
    int status;
    struct heap *heap = heap_must(0);
    void *object = heap_alloc(heap, 100, HEAP_NORMAL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)close(STDERR_FILENO);
        (void)signal(SIGABRT, SIG_DFL);
        heap_release(heap, object, 120); /* a smaller one may be: it may have got a larger object */
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    heap_destroy(heap);
}

static void test_poison(void **state)
{
    (void)state;
#ifdef WITH_ASAN
    static const size_t sizes[] = {1, 7, 8, 13, 100, 1021, 5000, 8191, 9000, 100001, 3 * MIB + 1};
    struct heap *heap = heap_must(64 * MIB);
    char *objects[11];
    for (int turn = 0; turn < 3; turn++) {
        for (size_t i = 0; i < 11; i++) {
            char *object = objects[i] = heap_alloc(heap, sizes[i], HEAP_NORMAL);
            assert_null(__asan_region_is_poisoned(object, sizes[i]));
            assert_true(sizes[i] % 8 == 0 || __asan_address_is_poisoned(object + sizes[i]));
        }
        for (size_t i = 0; i < 11; i++) {
            heap_release(heap, objects[i], sizes[i]);
            for (size_t k = 0; k < sizes[i]; k += 8)
                assert_true(__asan_address_is_poisoned(objects[i] + k));
        }
    }
    heap_destroy(heap);
    for (size_t i = 0; i < 11; i++)
        assert_null(__asan_region_is_poisoned(objects[i], sizes[i]));
#else
    skip();
#endif
}

#define TEST(name) cmocka_unit_test_setup(name, kernel_reset)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_footprint_wastes_little),
        TEST(test_every_size_keeps_its_content),
        TEST(test_huge_sizes),
        TEST(test_limit_is_exact),
        TEST(test_limit_of_almost_nothing),
        TEST(test_refusal_spends_no_addresses),
        TEST(test_warm_reserve_is_no_room),
        TEST(test_warm_span_in_the_reserve_is_no_room),
        TEST(test_warm_is_bounded_and_goes_first),
        TEST(test_doomed_allocation_leaves_the_warm_alone),
        TEST(test_turns_cost_no_madvise),
        TEST(test_oldest_goes_cold_first),
        TEST(test_more_than_may_be_warm_goes_alone),
        TEST(test_more_than_may_be_warm_is_taken_again),
        TEST(test_large_goes_bit_by_bit),
        TEST(test_large_in_turns_takes_no_more),
        TEST(test_same_class_smaller_object_gives_back_the_tail),
        TEST(test_moves_free_what_sparse_slabs_hold),
        TEST(test_little_room_everywhere_is_not_movable),
        TEST(test_larger_places_are_movable),
        TEST(test_addresses),
        TEST(test_mmap_fails),
        TEST(test_release_without_books),
        TEST(test_madvise_fails),
        TEST(test_growing_stays_in_place_and_takes_its_pages_alone),
        TEST(test_growing_is_refused_at_the_limit),
        TEST(test_growing_takes_what_is_cold_above_what_is_warm),
        TEST(test_growing_begins_without_pages),
        TEST(test_account_of_small),
        TEST(test_account_of_large),
        TEST(test_account_of_growing),
        TEST(test_model),
        TEST(test_two_heaps),
        TEST(test_wrong_size_is_caught),
        TEST(test_poison),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
