/* From the kernel to an object:
 *
 *     chunk   64 MiB of address space or a multiple, at a multiple of 64 MiB; unmapped at the end
 *       span  a part of a chunk, of one span class; its pages come and go
 *         slab    the class of 64 KiB spans, shared by objects of one shelf
 *         large   a class of whole pages, one object each
 *
 *     chunk of slabs   | table: 1,024 x struct slab | span 1 | span 2 | ... | span 1,023 |
 *                        ^ slot 0 is struct chunk; slot n tells of span n
 *     chunk of large   | struct chunk, 1 page | span | span | ...
 *
 * What is known of a slab stands in the table and not in the slab: so 65,536 bytes are left for
 * objects, a cold slab's pages need not be touched, and the headers don't all fall into the same
 * few sets of the cache, as they would at multiples of 64 KiB.
 * A large object in use has no header at all. Once free it is told of by a struct span, which lives
 * in a slab like any small object. A growing object is a large one in a span of the most that it may
 * grow to: the pages behind it are never touched. */
#include "data/heap.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/heap_spans.h"

enum {
    TABLE_SLOTS = CHUNK_BYTES / HEAP_SPAN_BYTES,

    SMALL_UNIT = 8,
    SMALL_LINEAR_LOG = 7, /* 128 steps of 8 bytes up to 1 KiB, */
    SMALL_STEPS_LOG = 4,  /* then 16 steps to each doubling */
    SHELVES = 128 + 3 * 16,

    LARGE_LINEAR_LOG = 4, /* 16 steps of a page up to 64 KiB, */
    LARGE_STEPS_LOG = 3,  /* then 8 steps to each doubling */
    LARGE_CLASSES = 16 + 17 * 8,

    SPAN_SLAB = LARGE_CLASSES, /* the span class of slabs */
};

struct slab {
    struct span span; /* with room left, it stands in its shelf by its peers */
    void *freed;      /* objects that were given back, each with the next one's address in it */
    uint16_t shelf;   /* the size class of its objects */
    uint16_t used;
    uint16_t fresh; /* objects from this one on were never used */
};

/* The slabs of one size that have room, first the one that was full last. A slab is opened when
 * none has room, and stands last until all of its objects have been used once. So pages are touched
 * only when no freed object is left. */
struct shelf {
    struct link slabs;
    uint16_t object_bytes;
    uint16_t objects; /* in a slab */
};

struct heap {
    struct spans spans;
    uint64_t limit;
    uint64_t used_bytes;
    uint64_t movable_bytes; /* of slab_movable and slab_excess, of all that there is */
    size_t growing_max;
    struct chunk *slab_chunk, *large_chunk; /* where to carve next */
    struct shelf shelves[SHELVES];
};

_Static_assert(SPAN_CLASSES == SPAN_SLAB + 1, "each class has its stack");
_Static_assert(sizeof(struct slab) == 64, "a slot of the table is a line of the cache");
_Static_assert(TABLE_SLOTS * sizeof(struct slab) == HEAP_SPAN_BYTES, "the table is a span");
_Static_assert(sizeof(struct chunk) <= sizeof(struct slab), "a chunk is told of in slot 0");

static struct slab *slab_of_span(struct span *span)
{
    return (struct slab *)(void *)((char *)span - offsetof(struct slab, span));
}

/* Sizes. */

static size_t pages_of(size_t bytes)
{
    return (bytes - 1) / HEAP_PAGE_BYTES + 1;
}

static unsigned log_of(size_t n)
{
    return 63U - (unsigned)__builtin_clzll(n);
}

/* Sizes in units fall into classes: each of the first 2^linear_log sizes is one of its own, then
 * each doubling has 2^steps_log. */
static unsigned class_of(size_t units, unsigned linear_log, unsigned steps_log)
{
    if (units <= (size_t)1 << linear_log)
        return (unsigned)units - 1;
    unsigned log = log_of(units - 1);
    unsigned step = (unsigned)((units - 1) >> (log - steps_log)) - (1U << steps_log);
    return (1U << linear_log) + ((log - linear_log) << steps_log) + step;
}

/* The largest size in the class of `units`. */
static size_t class_units(size_t units, unsigned linear_log, unsigned steps_log)
{
    if (units <= (size_t)1 << linear_log)
        return units;
    unsigned shift = log_of(units - 1) - steps_log;
    return (((units - 1) >> shift) + 1) << shift;
}

static unsigned small_class(size_t bytes)
{
    return class_of((bytes + SMALL_UNIT - 1) / SMALL_UNIT, SMALL_LINEAR_LOG, SMALL_STEPS_LOG);
}

static size_t small_bytes(size_t bytes)
{
    size_t units = (bytes + SMALL_UNIT - 1) / SMALL_UNIT;
    return class_units(units, SMALL_LINEAR_LOG, SMALL_STEPS_LOG) * SMALL_UNIT;
}

static unsigned large_class(size_t bytes)
{
    return class_of(pages_of(bytes), LARGE_LINEAR_LOG, LARGE_STEPS_LOG);
}

/* The address space for an object of `bytes`; pages after the object's own are never touched. */
static size_t large_bytes(size_t bytes)
{
    return class_units(pages_of(bytes), LARGE_LINEAR_LOG, LARGE_STEPS_LOG) * HEAP_PAGE_BYTES;
}

/* Slabs. */

/* Of a small object or a slot of the table. */
static struct chunk *chunk_of(void *thing)
{
    char *place = thing;
    return (struct chunk *)(void *)(place - (uintptr_t)place % CHUNK_BYTES);
}

static struct slab *slab_of(void *object)
{
    struct slab *table = (struct slab *)(void *)chunk_of(object);
    return table + (uintptr_t)object % CHUNK_BYTES / HEAP_SPAN_BYTES;
}

/* A span never used before, with its slot of the table. */
static struct span *slab_carve(struct heap *heap, enum heap_use use)
{
    if (chunk_rest(heap->slab_chunk) == 0) {
        struct chunk *chunk = chunk_new(&heap->spans, HEAP_SPAN_BYTES, HEAP_SPAN_BYTES, use);
        if (!chunk)
            return NULL;
        heap->slab_chunk = chunk;
    }
    struct slab *table = (struct slab *)(void *)heap->slab_chunk;
    struct slab *slab = table + heap->slab_chunk->carved / HEAP_SPAN_BYTES;
    bool begins_page = (uintptr_t)slab % HEAP_PAGE_BYTES == 0;
    if (begins_page && !pages_fit(&heap->spans, 1, use))
        return NULL;
    heap->spans.pages += begins_page;
    slab->span.start = chunk_carve(heap->slab_chunk, HEAP_SPAN_BYTES);
    slab->span.pages = 0;
    slab->span.class_id = SPAN_SLAB;
    return &slab->span;
}

static struct slab *slab_open(struct heap *heap, unsigned class_id, enum heap_use use)
{
    struct span *span = span_take(&heap->spans, SPAN_SLAB);
    if (span && !pages_fit(&heap->spans, 0, use)) { /* its warm pages are in the reserve */
        span_put(&heap->spans, span);
        return NULL;
    }
    if (!span)
        span = slab_carve(heap, use);
    if (!span)
        return NULL;
    struct slab *slab = slab_of_span(span);
    slab->freed = NULL;
    slab->shelf = (uint16_t)class_id;
    slab->used = 0;
    slab->fresh = 0;
    link_after(&heap->shelves[class_id].slabs, &span->peers);
    return slab;
}

/* The first slab of a shelf with room, or NULL. */
static struct slab *shelf_first(const struct shelf *shelf)
{
    return link_alone(&shelf->slabs) ? NULL : slab_of_span(span_of_peers(shelf->slabs.next));
}

/* What leaves a sparse slab goes to the first one of its shelf, so that is not left. */
static bool slab_is_left(const struct heap *heap, const struct slab *slab)
{
    const struct shelf *shelf = &heap->shelves[slab->shelf];
    return shelf->slabs.next != &slab->span.peers && slab->used * 4 < shelf->objects * 3;
}

/* Bytes that are won when all of its objects have left: what they take elsewhere they leave here. */
static uint64_t slab_movable(const struct heap *heap, const struct slab *slab)
{
    uint64_t bytes = heap->shelves[slab->shelf].object_bytes;
    return slab_is_left(heap, slab) ? (uint64_t)(slab->fresh - slab->used) * bytes : 0;
}

/* Puts a slab that was full first, and takes the first one away; the sum follows, as it matters which is first. */
static void shelf_push(struct heap *heap, struct shelf *shelf, struct slab *slab)
{
    struct slab *first = shelf_first(shelf);
    link_after(&shelf->slabs, &slab->span.peers);
    if (first)
        heap->movable_bytes += slab_movable(heap, first);
}

static void shelf_remove(struct heap *heap, struct shelf *shelf, struct slab *slab)
{
    bool was_first = shelf->slabs.next == &slab->span.peers;
    struct link *next = slab->span.peers.next;
    heap->movable_bytes -= slab_movable(heap, slab);
    if (was_first && next != &shelf->slabs)
        heap->movable_bytes -= slab_movable(heap, slab_of_span(span_of_peers(next)));
    link_remove(&slab->span.peers);
}

static void slab_close(struct heap *heap, struct slab *slab)
{
    /* Not asserted on each release: the heads of all chunks fall into the same set of the cache. */
    assert(chunk_of(slab)->spans == &heap->spans);
    shelf_remove(heap, &heap->shelves[slab->shelf], slab);
    span_put(&heap->spans, &slab->span);
}

static void *slab_pop(struct slab *slab)
{
    void *object = slab->freed;
    unpoison(object, sizeof(void *));
    memcpy(&slab->freed, object, sizeof(void *));
    return object;
}

static void slab_push(struct slab *slab, void *object, size_t bytes)
{
    memcpy(object, &slab->freed, sizeof(void *));
    slab->freed = object;
    poison(object, bytes);
}

/* Takes an object that was never used, and the pages that are touched with it the first time. */
static void *slab_extend(struct heap *heap, struct slab *slab, enum heap_use use)
{
    size_t bytes = heap->shelves[slab->shelf].object_bytes;
    size_t start = slab->fresh * bytes;
    size_t pages = pages_of(start + bytes);
    if (pages > slab->span.pages) {
        size_t more = pages - slab->span.pages;
        if (!pages_fit(&heap->spans, more, use))
            return NULL;
        heap->spans.pages += more;
        slab->span.pages = (uint32_t)pages;
    }
    slab->fresh++;
    return slab->span.start + start;
}

static void *shelf_alloc(struct heap *heap, unsigned class_id, size_t bytes, enum heap_use use)
{
    struct shelf *shelf = &heap->shelves[class_id];
    struct slab *slab = shelf_first(shelf);
    if (!slab)
        slab = slab_open(heap, class_id, use);
    if (!slab)
        return NULL;
    void *object = slab->freed ? slab_pop(slab) : slab_extend(heap, slab, use);
    if (!object) {
        if (slab->used == 0)
            slab_close(heap, slab);
        return NULL;
    }
    if (slab->used + 1 == shelf->objects)
        shelf_remove(heap, shelf, slab);
    slab->used++;
    poison(object, shelf->object_bytes);
    unpoison(object, bytes);
    return object;
}

/* Whether the shelf has an object that was given back, so that one can be had without a page. */
static bool shelf_has_freed(const struct shelf *shelf)
{
    const struct slab *slab = shelf_first(shelf);
    return slab && slab->freed;
}

/* What an object has in its slab beyond what it needs: nothing, unless it is a larger one that was given back. */
static uint64_t slab_excess(const struct heap *heap, void *object, size_t bytes)
{
    return heap->shelves[slab_of(object)->shelf].object_bytes - small_bytes(bytes);
}

/* A larger object that was given back. What it has too much is won when it is moved. */
static void *slab_borrow(struct heap *heap, size_t bytes)
{
    unsigned class_id = small_class(bytes) + 1;
    while (class_id < SHELVES && !shelf_has_freed(&heap->shelves[class_id]))
        class_id++;
    void *object = class_id < SHELVES ? shelf_alloc(heap, class_id, bytes, HEAP_RESERVE) : NULL;
    if (object)
        heap->movable_bytes += slab_excess(heap, object, bytes);
    return object;
}

/* At the limit, what makes room may take a larger object that was given back: otherwise the room that it makes, in
 * pieces of another size, would be of no use to it. The reserve comes last, so that there is some for moves, which make
 * room of the right size out of that. */
static void *slab_alloc(struct heap *heap, size_t bytes, enum heap_use use)
{
    unsigned class_id = small_class(bytes);
    void *object = shelf_alloc(heap, class_id, bytes, use == HEAP_RESERVE ? HEAP_NORMAL : use);
    if (!object && use == HEAP_RESERVE)
        object = slab_borrow(heap, bytes);
    if (!object && use == HEAP_RESERVE)
        object = shelf_alloc(heap, class_id, bytes, HEAP_RESERVE);
    return object;
}

static void slab_release(struct heap *heap, void *object, size_t bytes)
{
    struct slab *slab = slab_of(object);
    assert(slab->shelf >= small_class(bytes) && slab->used > 0);
    struct shelf *shelf = &heap->shelves[slab->shelf];
    if (slab->used == shelf->objects)
        shelf_push(heap, shelf, slab);
    heap->movable_bytes -= slab_excess(heap, object, bytes);
    unpoison(object, sizeof(void *));
    slab_push(slab, object, shelf->object_bytes);
    heap->movable_bytes -= slab_movable(heap, slab);
    slab->used--;
    heap->movable_bytes += slab_movable(heap, slab);
    if (slab->used == 0)
        slab_close(heap, slab);
}

/* Large objects: of `bytes`, in the address space of one of `room` bytes. */

/* An object in a span never used before. Of the old chunk and a new one, the one with more room
 * left is carved further. */
static char *large_carve(struct heap *heap, size_t bytes, size_t room, enum heap_use use)
{
    size_t pages = pages_of(bytes), span_bytes = large_bytes(room);
    struct chunk *chunk = heap->large_chunk;
    bool is_new = chunk_rest(chunk) < span_bytes;
    if (!pages_fit(&heap->spans, pages + is_new, use)) /* before address space is spent on it */
        return NULL;
    if (is_new)
        chunk = chunk_new(&heap->spans, HEAP_PAGE_BYTES, span_bytes, use);
    if (!chunk)
        return NULL;
    char *object = chunk_carve(chunk, span_bytes);
    heap->spans.pages += pages;
    if (chunk_rest(chunk) > chunk_rest(heap->large_chunk))
        heap->large_chunk = chunk;
    return object;
}

/* Makes what begins at `start` and has `has` pages have `pages` of them. */
static bool large_fit(struct heap *heap, char *start, size_t has, size_t pages, enum heap_use use)
{
    if (has > pages)
        return pages_drop(&heap->spans, start + pages * HEAP_PAGE_BYTES, has - pages);
    if (!pages_fit(&heap->spans, pages - has, use))
        return false;
    heap->spans.pages += pages - has;
    return true;
}

/* The same for a free span, whose pages may be in the reserve: those that it keeps are taken anew. */
static bool span_fit(struct heap *heap, struct span *span, size_t pages, enum heap_use use)
{
    if (!large_fit(heap, span->start, span->pages, pages, use))
        return false;
    span->pages = (uint32_t)pages;
    return pages_fit(&heap->spans, 0, use);
}

/* In the span if there is one, in a new one else. */
static void *large_place(struct heap *heap, struct span *span, size_t bytes, size_t room,
                         enum heap_use use)
{
    char *object;
    if (!span) {
        object = large_carve(heap, bytes, room, use);
    } else if (span_fit(heap, span, pages_of(bytes), use)) {
        object = span->start;
        slab_release(heap, span, sizeof(*span));
    } else {
        span_put(&heap->spans, span);
        return NULL;
    }
    if (object)
        unpoison(object, bytes);
    return object;
}

static void *large_alloc(struct heap *heap, size_t bytes, enum heap_use use)
{
    return large_place(heap, span_take(&heap->spans, large_class(bytes)), bytes, bytes, use);
}

/* A struct span is needed to keep the span. Should there be no room for it even with the pages
 * given back, then the address space is lost, and nothing else. */
static void large_release(struct heap *heap, char *object, size_t bytes, size_t room)
{
    size_t pages = pages_of(bytes);
    assert((uintptr_t)object % HEAP_PAGE_BYTES == 0);
    poison(object, large_bytes(room));
    struct span *span = slab_alloc(heap, sizeof(*span), HEAP_NORMAL);
    if (!span && pages_drop(&heap->spans, object, pages)) {
        pages = 0;
        span = slab_alloc(heap, sizeof(*span), HEAP_RESERVE);
    }
    if (!span)
        return;
    span->start = object;
    span->pages = (uint32_t)pages;
    span->class_id = large_class(room);
    span_put(&heap->spans, span);
}

/* The door. */

bool heap_cool(struct heap *heap)
{
    return spans_cool(&heap->spans);
}

static void heap_shelves_init(struct heap *heap)
{
    size_t bytes = 1;
    for (unsigned class_id = 0; class_id < SHELVES; class_id++) {
        struct shelf *shelf = &heap->shelves[class_id];
        size_t object_bytes = small_bytes(bytes);
        link_init(&shelf->slabs);
        shelf->object_bytes = (uint16_t)object_bytes;
        shelf->objects = (uint16_t)(HEAP_SPAN_BYTES / object_bytes);
        bytes = object_bytes + 1;
    }
}

struct heap *heap_new(uint64_t limit)
{
    struct heap *heap;
    if (sysconf(_SC_PAGESIZE) != HEAP_PAGE_BYTES)
        return NULL;
    heap = calloc(1, sizeof(*heap));
    if (!heap)
        return NULL;
    heap->limit = limit;
    spans_init(&heap->spans, limit);
    heap_shelves_init(heap);
    heap->spans.pages = pages_of(sizeof(*heap));
    return heap;
}

void heap_destroy(struct heap *heap)
{
    if (!heap)
        return;
    spans_free(&heap->spans);
    free(heap);
}

void *heap_alloc(struct heap *heap, size_t bytes, enum heap_use use)
{
    assert(bytes > 0);
    if (bytes > HEAP_OBJECT_BYTES_MAX)
        return NULL;
    void *object =
        bytes <= HEAP_SMALL_BYTES ? slab_alloc(heap, bytes, use) : large_alloc(heap, bytes, use);
    if (object)
        heap->used_bytes += heap_footprint(bytes);
    return object;
}

void heap_release(struct heap *heap, void *object, size_t bytes)
{
    assert(bytes > 0 && bytes <= HEAP_OBJECT_BYTES_MAX);
    assert(is_usable(object, bytes));
    heap->used_bytes -= heap_footprint(bytes);
    if (bytes <= HEAP_SMALL_BYTES)
        slab_release(heap, object, bytes);
    else
        large_release(heap, object, bytes, bytes);
}

void heap_prefetch_release(const void *object)
{
    size_t place = (uintptr_t)object % CHUNK_BYTES;
    __builtin_prefetch((const char *)object - place + place / HEAP_SPAN_BYTES * sizeof(struct slab),
                       1);
    __asm__ volatile(""); /* without an effect, as gcc sees it, the call would go */
}

void heap_set_growing_max(struct heap *heap, size_t bytes)
{
    heap->growing_max = bytes;
}

/* A warm span may have many more pages than are needed yet, and to give them back would take milliseconds. */
void *heap_alloc_growing(struct heap *heap, size_t bytes)
{
    size_t room = heap->growing_max;
    assert(bytes > HEAP_SMALL_BYTES && bytes <= room);
    struct span *cold = span_take_cold(&heap->spans, large_class(room));
    void *object = large_place(heap, cold, bytes, room, HEAP_NORMAL);
    if (object)
        heap->used_bytes += heap_footprint(bytes);
    return object;
}

bool heap_resize_growing(struct heap *heap, void *object, size_t from, size_t to)
{
    assert(is_usable(object, from) && to > HEAP_SMALL_BYTES && to <= heap->growing_max);
    if (!large_fit(heap, object, pages_of(from), pages_of(to), HEAP_NORMAL))
        return false;
    heap->used_bytes += heap_footprint(to);
    heap->used_bytes -= heap_footprint(from);
    if (to < from)
        poison((char *)object + to, from - to);
    unpoison(object, to);
    return true;
}

void heap_release_growing(struct heap *heap, void *object, size_t bytes)
{
    assert(is_usable(object, bytes));
    heap->used_bytes -= heap_footprint(bytes);
    large_release(heap, object, bytes, heap->growing_max);
}

bool heap_should_move(const struct heap *heap, void *object, size_t bytes)
{
    if (bytes > HEAP_SMALL_BYTES)
        return false;
    struct slab *slab = slab_of(object);
    return slab_is_left(heap, slab) || slab->shelf != small_class(bytes);
}

uint64_t heap_movable(const struct heap *heap)
{
    return heap->movable_bytes;
}

size_t heap_footprint(size_t bytes)
{
    assert(bytes > 0 && bytes <= HEAP_OBJECT_BYTES_MAX);
    return bytes <= HEAP_SMALL_BYTES ? small_bytes(bytes) : pages_of(bytes) * HEAP_PAGE_BYTES;
}

uint64_t heap_resident(const struct heap *heap)
{
    return heap->spans.pages * HEAP_PAGE_BYTES;
}

uint64_t heap_warm(const struct heap *heap)
{
    return heap->spans.warm_pages * HEAP_PAGE_BYTES;
}

uint64_t heap_used(const struct heap *heap)
{
    return heap->used_bytes;
}

uint64_t heap_limit(const struct heap *heap)
{
    return heap->limit;
}

bool heap_reserve_is_low(const struct heap *heap)
{
    const struct spans *spans = &heap->spans;
    uint64_t normal = spans->pages_max[HEAP_NORMAL], most = spans->pages_max[HEAP_RESERVE];
    return spans->pages - spans->warm_pages > normal + (most - normal) / 2;
}
