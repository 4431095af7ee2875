/* Memory for items of one size that come and go by the thousand, such as requests under way. After a burst it goes back to the
 * kernel, whatever else was allocated meanwhile: items share chunks of POOL_CHUNK_BYTES with each other alone, and a chunk in which
 * there is none any more is unmapped by pool_trim. With malloc, what lives on would hold it. */
#ifndef BASE_POOL_H
#define BASE_POOL_H

#include <stddef.h>

enum { POOL_CHUNK_BYTES = 64 * 1024 };

struct pool_chunk;

/* Read-only for others. */
struct pool {
    size_t item_bytes;
    unsigned chunk_items; /* in a chunk, at most */
    struct pool_chunk *first,
        *last;           /* with room: those in use first, then those without any item */
    unsigned used, most; /* items: now, and the most since the last pool_trim */
    unsigned chunks;
};

/* For items of `item_bytes` (8 bytes to a quarter of a chunk), 16-byte aligned. It takes no memory yet. */
void pool_init(struct pool *pool, size_t item_bytes);

/* All items must have been given back. */
void pool_destroy(struct pool *pool);

/* Returns uninitialised memory, or NULL when the kernel has none. The caller owns it until pool_give. */
void *pool_take(struct pool *pool);
void pool_give(struct pool *pool, void *item);

/* Gives back to the kernel an eighth of what was not needed at any time since the last call. To be called now and then. */
void pool_trim(struct pool *pool);

#endif
