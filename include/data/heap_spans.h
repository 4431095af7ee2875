/* The inside of the heap below its objects: pages from the kernel, under one limit. Nobody but heap.c
 * includes this; heap.c has the picture of chunks and spans. */
#ifndef DATA_HEAP_SPANS_H
#define DATA_HEAP_SPANS_H

#include "data/heap.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HEAP_POISONS 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define HEAP_POISONS 1
#endif

#ifdef HEAP_POISONS
#include <sanitizer/asan_interface.h>
#endif

enum {
    CHUNK_BYTES = 64 * 1024 * 1024,
    SPAN_CLASSES = 153, /* heap.c says what they are */
};

/* A ring: the owner's link stands for both ends. */
struct link {
    struct link *next, *prev;
};

struct span {
    struct link peers; /* free: in the stack of its class; else as its owner likes */
    struct link age;   /* only while warm */
    char *start;
    uint32_t pages; /* touched, from the start on */
    uint32_t class_id;
};

struct chunk {
    struct chunk *next;
    struct spans *spans;
    size_t bytes;
    size_t carved; /* the bytes after these are in no span yet */
};

struct spans {
    uint64_t pages_max[3]; /* by enum heap_use */
    uint64_t pages;        /* resident */
    uint64_t warm_pages;
    uint64_t warm_pages_max;
    uint64_t beyond_pages; /* of the oldest warm spans: they go, whatever may be warm */
    struct chunk *chunks;
    struct link age; /* warm spans, the newest first */
    struct link stacks[SPAN_CLASSES];
};

/* Poison: under AddressSanitizer nothing but the bytes asked for may be touched. */

static inline void poison(const void *start, size_t bytes)
{
#ifdef HEAP_POISONS
    ASAN_POISON_MEMORY_REGION(start, bytes);
#else
    (void)start, (void)bytes;
#endif
}

static inline void unpoison(const void *start, size_t bytes)
{
#ifdef HEAP_POISONS
    ASAN_UNPOISON_MEMORY_REGION(start, bytes);
#else
    (void)start, (void)bytes;
#endif
}

/* False for an object that is free already or shorter than `bytes`, as far as that can be known. */
static inline bool is_usable(void *object, size_t bytes)
{
#ifdef HEAP_POISONS
    return __asan_region_is_poisoned(object, bytes) == NULL;
#else
    (void)object, (void)bytes;
    return true;
#endif
}

/* Rings. */

static inline void link_init(struct link *ring)
{
    ring->next = ring->prev = ring;
}

static inline bool link_alone(const struct link *ring)
{
    return ring->next == ring;
}

static inline void link_after(struct link *place, struct link *item)
{
    item->prev = place;
    item->next = place->next;
    place->next->prev = item;
    place->next = item;
}

static inline void link_remove(struct link *item)
{
    item->prev->next = item->next;
    item->next->prev = item->prev;
}

static inline struct span *span_of_peers(struct link *peers)
{
    return (struct span *)(void *)((char *)peers - offsetof(struct span, peers));
}

/* `limit` as for heap_new. */
void spans_init(struct spans *spans, uint64_t limit);

/* Gives back all memory. */
void spans_free(struct spans *spans);

/* As heap_cool. */
bool spans_cool(struct spans *spans);

/* Whether `pages` more may be touched, warm spans being made cold for them where they must. Who then
 * touches them adds them to spans->pages. */
bool pages_fit(struct spans *spans, size_t pages, enum heap_use use);

/* Gives back pages that were touched. Returns false when the kernel won't take them: then they count
 * as touched still. */
bool pages_drop(struct spans *spans, char *start, size_t pages);

/* A chunk for a span of `bytes` at least, after a head of `head` bytes, which begins with the struct
 * chunk. Takes one page. Returns NULL when the limit or the kernel says no. */
struct chunk *chunk_new(struct spans *spans, size_t head, size_t bytes, enum heap_use use);

/* The bytes that can be carved still; 0 of NULL. */
size_t chunk_rest(const struct chunk *chunk);

/* Returns the start of so many bytes, which chunk_rest must have. */
char *chunk_carve(struct chunk *chunk, size_t bytes);

/* The free span of a class that was used last, so a warm one if there is any, or NULL. */
struct span *span_take(struct spans *spans, unsigned class_id);

/* One without pages, or NULL. */
struct span *span_take_cold(struct spans *spans, unsigned class_id);

/* Keeps a free span, warm if that is within the budget: then others are made cold for it, the
 * oldest first. So what is freed and taken in turns keeps its pages. One that is beyond the budget
 * alone goes before all others. What is large is left to spans_cool. The struct stays the caller's,
 * who leaves it where it is until span_take returns it. */
void span_put(struct spans *spans, struct span *span);

#endif
