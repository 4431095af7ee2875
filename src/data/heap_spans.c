/* A free span is warm while it has pages and cold when it has none. Each class has one stack of
 * them, the warm ones on top; the warm ones of all classes are in one list by age also. */
#include "data/heap_spans.h"

#include <assert.h>
#include <sys/mman.h>

enum {
    WARM_BYTES_MAX = 64 * 1024 * 1024,
    WARM_PART = 16,    /* of the limit may be warm */
    COOL_PAGES = 256,  /* given back in one go, in 0.1 ms */
    RESERVE_PART = 64, /* of the limit comes on top of it for HEAP_RESERVE */
};

static struct span *span_of_age(struct link *age)
{
    return (struct span *)(void *)((char *)age - offsetof(struct span, age));
}

/* Pages. */

bool pages_drop(struct spans *spans, char *start, size_t pages)
{
    if (madvise(start, pages * HEAP_PAGE_BYTES, MADV_DONTNEED))
        return false;
    spans->pages -= pages;
    return true;
}

/* So many pages are warm no more; of the oldest span they were beyond what may be. */
static void warm_leaves(struct spans *spans, const struct span *span, size_t pages)
{
    spans->warm_pages -= pages;
    if (spans->age.prev == &span->age)
        spans->beyond_pages -= pages < spans->beyond_pages ? pages : spans->beyond_pages;
    if (spans->beyond_pages > spans->warm_pages)
        spans->beyond_pages = spans->warm_pages;
}

/* Gives back the last pages of the oldest warm span, this many at most. Once cold, it may stay where it is in the stack of its
 * class: what is below it there was older, so is cold already. */
static bool span_cool(struct spans *spans, size_t pages)
{
    assert(!link_alone(&spans->age));
    struct span *span = span_of_age(spans->age.prev);
    pages = pages < span->pages ? pages : span->pages;
    size_t left = span->pages - pages;
    if (!pages_drop(spans, span->start + left * HEAP_PAGE_BYTES, pages))
        return false;
    span->pages = (uint32_t)left;
    warm_leaves(spans, span, pages);
    if (left == 0)
        link_remove(&span->age);
    return true;
}

bool pages_fit(struct spans *spans, size_t pages, enum heap_use use)
{
    uint64_t max = spans->pages_max[use];
    if (spans->pages - spans->warm_pages + pages > max)
        return false;
    while (spans->pages + pages > max) {
        size_t need = spans->pages + pages - max;
        if (!span_cool(spans, need < COOL_PAGES ? COOL_PAGES : need))
            return false;
    }
    return true;
}

/* Chunks. */

static char *chunk_mmap(size_t bytes)
{
    void *start = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return start == MAP_FAILED ? NULL : start;
}

/* The kernel puts a mapping right below the one before, so that as a rule the first one only has to
 * be cut out of a larger one. */
static char *chunk_map(size_t bytes)
{
    char *start = chunk_mmap(bytes);
    if (!start || (uintptr_t)start % CHUNK_BYTES == 0)
        return start;
    munmap(start, bytes);
    start = chunk_mmap(bytes + CHUNK_BYTES);
    if (!start)
        return NULL;
    size_t before = CHUNK_BYTES - (uintptr_t)start % CHUNK_BYTES;
    munmap(start, before);
    if (before < CHUNK_BYTES)
        munmap(start + before + bytes, CHUNK_BYTES - before);
    return start + before;
}

struct chunk *chunk_new(struct spans *spans, size_t head, size_t bytes, enum heap_use use)
{
    if (!pages_fit(spans, 1, use))
        return NULL;
    bytes = ((head + bytes - 1) / CHUNK_BYTES + 1) * CHUNK_BYTES;
    char *start = chunk_map(bytes);
    if (!start)
        return NULL;
    /* Zeroing a huge page may stall for milliseconds, and would touch what nobody asked for. A
     * kernel that knows of no huge pages says no, and that is as well. */
    (void)madvise(start, bytes, MADV_NOHUGEPAGE);
    struct chunk *chunk = (struct chunk *)(void *)start;
    *chunk = (struct chunk){.next = spans->chunks, .spans = spans, .bytes = bytes, .carved = head};
    spans->chunks = chunk;
    spans->pages++;
    return chunk;
}

size_t chunk_rest(const struct chunk *chunk)
{
    return chunk ? chunk->bytes - chunk->carved : 0;
}

char *chunk_carve(struct chunk *chunk, size_t bytes)
{
    char *start = (char *)chunk + chunk->carved;
    chunk->carved += bytes;
    poison(start, bytes);
    return start;
}

/* Free spans. */

/* From the oldest on, as the warm ones are on top but for one that was beyond the budget: that is cold before those below it. */
struct span *span_take_cold(struct spans *spans, unsigned class_id)
{
    struct link *stack = &spans->stacks[class_id];
    for (struct link *at = stack->prev; at != stack; at = at->prev)
        if (span_of_peers(at)->pages == 0) {
            link_remove(at);
            return span_of_peers(at);
        }
    return NULL;
}

struct span *span_take(struct spans *spans, unsigned class_id)
{
    struct link *stack = &spans->stacks[class_id];
    if (link_alone(stack))
        return NULL;
    struct span *span = span_of_peers(stack->next);
    link_remove(&span->peers);
    if (span->pages > 0) {
        warm_leaves(spans, span, span->pages);
        link_remove(&span->age);
    }
    return span;
}

/* Whether more is warm than may be. */
static bool is_too_warm(const struct spans *spans)
{
    return spans->warm_pages > spans->warm_pages_max || spans->beyond_pages > 0;
}

/* Whether the oldest of it is given back at once. */
static bool cools_at_once(const struct spans *spans)
{
    return is_too_warm(spans) && span_of_age(spans->age.prev)->pages <= COOL_PAGES;
}

void span_put(struct spans *spans, struct span *span)
{
    struct link *stack = &spans->stacks[span->class_id];
    if (span->pages == 0) {
        link_after(stack->prev, &span->peers);
        return;
    }
    bool beyond = span->pages > spans->warm_pages_max;
    link_after(stack, &span->peers);
    link_after(beyond ? spans->age.prev : &spans->age, &span->age);
    spans->warm_pages += span->pages;
    spans->beyond_pages += beyond ? span->pages : 0;
    while (cools_at_once(spans))
        if (!span_cool(spans, COOL_PAGES))
            break;
}

bool spans_cool(struct spans *spans)
{
    return is_too_warm(spans) && span_cool(spans, COOL_PAGES) && is_too_warm(spans);
}

/* Life. */

static void limits_init(struct spans *spans, uint64_t limit)
{
    uint64_t warm = limit / WARM_PART;
    if (limit == 0 || warm > WARM_BYTES_MAX)
        warm = WARM_BYTES_MAX;
    if (warm < HEAP_SPAN_BYTES) /* one slab at least, so that it may empty and fill in turns */
        warm = HEAP_SPAN_BYTES;
    spans->warm_pages_max = warm / HEAP_PAGE_BYTES;
    if (limit == 0)
        limit = UINT64_MAX;
    spans->pages_max[HEAP_NORMAL] = limit / HEAP_PAGE_BYTES;
    spans->pages_max[HEAP_RESERVE] =
        limit / HEAP_PAGE_BYTES + limit / RESERVE_PART / HEAP_PAGE_BYTES;
    spans->pages_max[HEAP_MOVE] = spans->pages_max[HEAP_RESERVE];
}

void spans_init(struct spans *spans, uint64_t limit)
{
    *spans = (struct spans){0};
    limits_init(spans, limit);
    for (unsigned class_id = 0; class_id < SPAN_CLASSES; class_id++)
        link_init(&spans->stacks[class_id]);
    link_init(&spans->age);
}

void spans_free(struct spans *spans)
{
    struct chunk *next;
    for (struct chunk *chunk = spans->chunks; chunk; chunk = next) {
        size_t bytes = chunk->bytes;
        next = chunk->next;
        unpoison(chunk, bytes);
        munmap(chunk, bytes);
    }
}
