/* The memory of the table: every record, exact to the page, under one limit.
 *
 * Why not malloc: 8 to 15 bytes a record are lost to its headers and rounding, and what it holds
 * beyond what was asked for cannot be limited. Here the caller knows each object's size, so objects
 * have no header, and `resident` counts every page that may have been touched.
 *
 * One concept, the span: a run of address space of one size class. Objects of up to
 * HEAP_SMALL_BYTES share a span of HEAP_SPAN_BYTES with others of their size (a slab); a larger
 * object has a span of its own. Address space is never given back, so there is never more than a
 * handful of mappings; the pages of a freed span are (madvise), save for the spans freed last: they
 * are kept warm, since taking a page anew costs about as much as copying it: up to 1/16 of the
 * limit, 64 MiB at most. They count as resident, and go before an allocation is refused. The kernel
 * takes some ms for the pages of a large span, so what is beyond that goes bit by bit (heap_cool): the
 * whole of a span that is larger than what may be warm.
 *
 * Not counted: the kernel's page tables, about 1/512 of the most that was ever resident.
 *
 * No clock, no thread, no global: two heaps in one process know nothing of each other. */
#ifndef DATA_HEAP_H
#define DATA_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HEAP_PAGE_BYTES = 4 * 1024,
    HEAP_SPAN_BYTES = 64 * 1024,
    HEAP_SMALL_BYTES = 8 * 1024, /* the largest object that shares a span */
};

#define HEAP_OBJECT_BYTES_MAX ((size_t)8 << 30) /* a larger one is refused */

enum heap_use {
    HEAP_NORMAL, /* refused at the limit */
    HEAP_RESERVE, /* for what makes room, such as a tombstone: at the limit it may have a larger object that was given
                     back, and then the reserve */
    HEAP_MOVE, /* for the copy of an object that is released next: may use the reserve */
};

struct heap;

/* `limit` is in bytes of resident memory, 0 for none; the reserve is 1/64 of it beyond it.
 * Returns NULL when out of memory, or where pages are not of HEAP_PAGE_BYTES. */
struct heap *heap_new(uint64_t limit);

/* Gives back all memory, objects that are still allocated too. */
void heap_destroy(struct heap *heap);

/* Returns `bytes` (1 or more) of uninitialised memory, 8-byte aligned, or NULL when the limit or
 * the kernel says no. The caller owns it until heap_release with the same `bytes`. */
void *heap_alloc(struct heap *heap, size_t bytes, enum heap_use use);
void heap_release(struct heap *heap, void *object, size_t bytes);

/* Brings what heap_release needs to know of an object's place into the processor's cache, for who has other things to do before. */
void heap_prefetch_release(const void *object);

/* A growing object can become larger and smaller in place, since it has the address space of one of
 * `bytes` from the start; of pages it takes those of its size alone. So none is copied, however large, and
 * it needs no more memory than what it holds. To be said once, before the first one (at most
 * HEAP_OBJECT_BYTES_MAX). */
void heap_set_growing_max(struct heap *heap, size_t bytes);

/* As heap_alloc and heap_release, for a growing object of more than HEAP_SMALL_BYTES. */
void *heap_alloc_growing(struct heap *heap, size_t bytes);
void heap_release_growing(struct heap *heap, void *object, size_t bytes);

/* What is there of both sizes stays. Returns whether it has `to` bytes now (more than HEAP_SMALL_BYTES). */
bool heap_resize_growing(struct heap *heap, void *object, size_t from, size_t to);

/* Gives back a part of what is free and more than may be kept warm, which takes 0.1 ms. Returns whether
 * there is more of it: so call it again soon. */
bool heap_cool(struct heap *heap);

/* Whether memory would be won if all such objects were moved, that is allocated anew, copied and
 * released. When the sizes asked for change over time, the objects that stay hold the slabs of old
 * sizes, and room in these is of no use to new ones. So whoever can move objects should go through
 * them, all the time or when heap_movable says that it pays, and move those that this is true of. It
 * takes no page. After a round all slabs but one of each size are 3/4 full. */
bool heap_should_move(const struct heap *heap, void *object, size_t bytes);

/* Bytes that would be won if all objects were moved that should be. */
uint64_t heap_movable(const struct heap *heap);

/* What an object of `bytes` (1 to HEAP_OBJECT_BYTES_MAX) really takes. */
size_t heap_footprint(size_t bytes);

/* Bytes of memory that the heap may have touched and not given back: what the limit is about. */
uint64_t heap_resident(const struct heap *heap);

/* Of these, bytes of spans that are free and have their pages still. */
uint64_t heap_warm(const struct heap *heap);

/* Bytes in objects that are allocated now, by heap_footprint. */
uint64_t heap_used(const struct heap *heap);

uint64_t heap_limit(const struct heap *heap);

/* Whether more than half of the reserve is in use: what is left of it is for what makes room at once. */
bool heap_reserve_is_low(const struct heap *heap);

#endif
