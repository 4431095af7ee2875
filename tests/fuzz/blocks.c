#include "blocks.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#endif
#endif
#ifndef ASAN_POISON_MEMORY_REGION
#define ASAN_POISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#endif

enum { POISONED_BYTES = 4096 };

/* The linker calls these in place of malloc and its like, and these what is malloc itself. */
void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *memory, size_t bytes);
void __real_free(void *memory);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *memory, size_t bytes);
void __wrap_free(void *memory);

static struct block {
    void *memory;
    size_t bytes;
    bool taken;
} blocks[BLOCKS_MAX];
static unsigned block_count;

unsigned blocks_taken(void)
{
    unsigned taken = 0;
    for (unsigned i = 0; i < block_count; i++)
        taken += blocks[i].taken;
    return taken;
}

static void *block_again(size_t bytes)
{
    for (unsigned i = 0; i < block_count; i++) {
        if (blocks[i].taken || blocks[i].bytes != bytes)
            continue;
        blocks[i].taken = true;
        ASAN_UNPOISON_MEMORY_REGION(blocks[i].memory, POISONED_BYTES);
        return blocks[i].memory;
    }
    return NULL;
}

static void *block_new(size_t bytes)
{
    void *memory = __real_malloc(bytes);
    if (memory && block_count < BLOCKS_MAX)
        blocks[block_count++] = (struct block){memory, bytes, true};
    return memory;
}

static struct block *block_of(const void *memory)
{
    for (unsigned i = 0; i < block_count; i++)
        if (blocks[i].memory == memory)
            return &blocks[i];
    return NULL;
}

void *__wrap_malloc(size_t bytes)
{
    void *again = bytes < BLOCK_BYTES_MIN ? NULL : block_again(bytes);
    if (again)
        return again;
    return bytes < BLOCK_BYTES_MIN ? __real_malloc(bytes) : block_new(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    size_t all;
    if (__builtin_mul_overflow(count, bytes, &all) || all < BLOCK_BYTES_MIN)
        return __real_calloc(count, bytes);
    void *memory = __wrap_malloc(all);
    return memory ? memset(memory, 0, all) : NULL;
}

void *__wrap_realloc(void *memory, size_t bytes)
{
    const struct block *block = memory ? block_of(memory) : NULL;
    if (!block)
        return __real_realloc(memory, bytes);
    void *other = __wrap_malloc(bytes);
    if (!other)
        return NULL;
    memcpy(other, memory, block->bytes < bytes ? block->bytes : bytes);
    __wrap_free(memory);
    return other;
}

void __wrap_free(void *memory)
{
    struct block *block = memory ? block_of(memory) : NULL;
    if (!block) {
        __real_free(memory);
        return;
    }
    if (!block->taken)
        __builtin_trap(); /* freed twice */
    block->taken = false;
    ASAN_POISON_MEMORY_REGION(memory, POISONED_BYTES);
}
