#include "base/pool.h"

#include <assert.h>
#include <stdint.h>
#include <sys/mman.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POOL_POISONS 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define POOL_POISONS 1
#endif

#ifdef POOL_POISONS
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(start, bytes) ((void)(start), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(start, bytes) ((void)(start), (void)(bytes))
#endif

enum { ALIGNMENT = 16, TRIM_PART = 8 };

/* At an address that is a multiple of POOL_CHUNK_BYTES, so that an item leads to it. */
struct pool_chunk {
    struct pool_chunk *previous, *next; /* of the pool's list, while there is room */
    void *free;                         /* items that were given back, each leads to the next */
    unsigned used;
    unsigned fresh; /* items from here on were never taken */
};

enum { HEAD_BYTES = (sizeof(struct pool_chunk) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT };

static struct pool_chunk *chunk_of(void *item)
{
    return (struct pool_chunk *)((char *)item - (uintptr_t)item % POOL_CHUNK_BYTES);
}

/* Chunks */

static char *map(size_t bytes)
{
    void *start = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return start == MAP_FAILED ? NULL : start;
}

/* Cut out of a mapping of twice the size, unless it happens to be well aligned. */
static char *map_aligned(void)
{
    char *start = map(POOL_CHUNK_BYTES);
    if (!start || (uintptr_t)start % POOL_CHUNK_BYTES == 0)
        return start;
    munmap(start, POOL_CHUNK_BYTES);
    start = map((size_t)2 * POOL_CHUNK_BYTES);
    if (!start)
        return NULL;
    size_t before = POOL_CHUNK_BYTES - (uintptr_t)start % POOL_CHUNK_BYTES;
    munmap(start, before);
    if (before < POOL_CHUNK_BYTES)
        munmap(start + before + POOL_CHUNK_BYTES, POOL_CHUNK_BYTES - before);
    return start + before;
}

static void chunk_link_first(struct pool *pool, struct pool_chunk *chunk)
{
    chunk->previous = NULL;
    chunk->next = pool->first;
    *(pool->first ? &pool->first->previous : &pool->last) = chunk;
    pool->first = chunk;
}

static void chunk_link_last(struct pool *pool, struct pool_chunk *chunk)
{
    chunk->next = NULL;
    chunk->previous = pool->last;
    *(pool->last ? &pool->last->next : &pool->first) = chunk;
    pool->last = chunk;
}

static void chunk_unlink(struct pool *pool, struct pool_chunk *chunk)
{
    *(chunk->previous ? &chunk->previous->next : &pool->first) = chunk->next;
    *(chunk->next ? &chunk->next->previous : &pool->last) = chunk->previous;
}

static struct pool_chunk *chunk_new(struct pool *pool)
{
    struct pool_chunk *chunk = (struct pool_chunk *)(void *)map_aligned();
    if (!chunk)
        return NULL;
    *chunk = (struct pool_chunk){.free = NULL};
    ASAN_POISON_MEMORY_REGION((char *)chunk + HEAD_BYTES, POOL_CHUNK_BYTES - HEAD_BYTES);
    pool->chunks++;
    chunk_link_first(pool, chunk);
    return chunk;
}

static void chunk_drop(struct pool *pool, struct pool_chunk *chunk)
{
    chunk_unlink(pool, chunk);
    pool->chunks--;
    ASAN_UNPOISON_MEMORY_REGION(chunk, POOL_CHUNK_BYTES);
    munmap(chunk, POOL_CHUNK_BYTES);
}

/* Items */

void pool_init(struct pool *pool, size_t item_bytes)
{
    assert(item_bytes >= sizeof(void *) && item_bytes <= POOL_CHUNK_BYTES / 4);
    size_t aligned = (item_bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    *pool = (struct pool){.item_bytes = aligned,
                          .chunk_items = (unsigned)((POOL_CHUNK_BYTES - HEAD_BYTES) / aligned)};
}

void pool_destroy(struct pool *pool)
{
    assert(pool->used == 0);
    while (pool->first)
        chunk_drop(pool, pool->first);
}

static void *item_take(const struct pool *pool, struct pool_chunk *chunk)
{
    void *item = chunk->free;
    if (!item) {
        item = (char *)chunk + HEAD_BYTES + chunk->fresh++ * pool->item_bytes;
        ASAN_UNPOISON_MEMORY_REGION(item, pool->item_bytes);
        return item;
    }
    ASAN_UNPOISON_MEMORY_REGION(item, pool->item_bytes);
    chunk->free = *(void **)item;
    __builtin_prefetch(chunk->free); /* for who takes the next one */
    return item;
}

void *pool_take(struct pool *pool)
{
    struct pool_chunk *chunk = pool->first ? pool->first : chunk_new(pool);
    if (!chunk)
        return NULL;
    void *item = item_take(pool, chunk);
    if (++chunk->used == pool->chunk_items)
        chunk_unlink(pool, chunk);
    if (++pool->used > pool->most)
        pool->most = pool->used;
    return item;
}

void pool_give(struct pool *pool, void *item)
{
    struct pool_chunk *chunk = chunk_of(item);
    *(void **)item = chunk->free;
    chunk->free = item;
    ASAN_POISON_MEMORY_REGION(item, pool->item_bytes);
    pool->used--;
    if (chunk->used-- == pool->chunk_items)
        chunk_link_first(pool, chunk);
    if (chunk->used == 0 && chunk != pool->last) {
        chunk_unlink(pool, chunk);
        chunk_link_last(pool, chunk);
    }
}

void pool_trim(struct pool *pool)
{
    unsigned needed = pool->most / pool->chunk_items + 1;
    unsigned spare = pool->chunks > needed ? (pool->chunks - needed) / TRIM_PART + 1 : 0;
    pool->most = pool->used;
    for (; spare > 0 && pool->last && pool->last->used == 0; spare--)
        chunk_drop(pool, pool->last);
}
