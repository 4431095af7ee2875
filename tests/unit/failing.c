#include "failing.h"

#include <stddef.h>

#include "base/pool.h"
#include "data/heap.h"

static struct {
    unsigned seen, nth, paused;
    bool on, all_after, failed;
} failing;

void failing_start(unsigned nth, bool all_after)
{
    failing.seen = 0;
    failing.nth = nth;
    failing.all_after = all_after;
    failing.failed = false;
    failing.on = true;
}

bool failing_stop(void)
{
    bool failed = failing.on && failing.failed;
    failing.on = false;
    return failed;
}

bool failing_has_struck(void)
{
    return failing.on && failing.failed;
}

unsigned failing_seen(void)
{
    return failing.seen;
}

void failing_pause(void)
{
    failing.paused++;
}

void failing_resume(void)
{
    failing.paused--;
}

static bool fails(void)
{
    if (!failing.on || failing.paused)
        return false;
    failing.seen++;
    bool now = failing.all_after ? failing.seen >= failing.nth : failing.seen == failing.nth;
    failing.failed |= now;
    return now;
}

/* Weak, since they are there only in programs that are linked with --wrap. */
void *__real_malloc(size_t bytes) __attribute__((weak));
void *__real_calloc(size_t count, size_t bytes) __attribute__((weak));
void *__real_realloc(void *old, size_t bytes) __attribute__((weak));
void *__real_heap_alloc(struct heap *heap, size_t bytes, enum heap_use use) __attribute__((weak));
void *__real_pool_take(struct pool *pool) __attribute__((weak));

void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);
void *__wrap_heap_alloc(struct heap *heap, size_t bytes, enum heap_use use);
void *__wrap_pool_take(struct pool *pool);

void *__wrap_malloc(size_t bytes)
{
    return fails() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    return fails() ? NULL : __real_calloc(count, bytes);
}

void *__wrap_realloc(void *old, size_t bytes)
{
    return fails() ? NULL : __real_realloc(old, bytes);
}

void *__wrap_heap_alloc(struct heap *heap, size_t bytes, enum heap_use use)
{
    return fails() ? NULL : __real_heap_alloc(heap, bytes, use);
}

void *__wrap_pool_take(struct pool *pool)
{
    return fails() ? NULL : __real_pool_take(pool);
}
