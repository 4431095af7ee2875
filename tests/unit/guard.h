/* Bytes that abut an unreadable page, so that a read past their end ends the test. */
#ifndef TESTS_GUARD_H
#define TESTS_GUARD_H

#include <assert.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/slice.h"

enum { GUARD_BYTES_MAX = 128 * 1024 };

struct guard {
    char *page; /* the unreadable one; GUARD_BYTES_MAX before it can be used */
};

static inline void guard_init(struct guard *guard)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *start = mmap(NULL, GUARD_BYTES_MAX + page, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert(start != MAP_FAILED);
    guard->page = start + GUARD_BYTES_MAX;
    int failed = mprotect(guard->page, page, PROT_NONE);
    assert(!failed);
    (void)failed;
}

/* A copy of `bytes` that ends where the unreadable page begins. The next copy overwrites it. */
static inline struct slice guard_copy(const struct guard *guard, struct slice bytes)
{
    assert(bytes.len <= GUARD_BYTES_MAX);
    if (bytes.len)
        memcpy(guard->page - bytes.len, bytes.data, bytes.len);
    return (struct slice){guard->page - bytes.len, bytes.len};
}

static inline void guard_free(struct guard *guard)
{
    munmap(guard->page - GUARD_BYTES_MAX, GUARD_BYTES_MAX + (size_t)sysconf(_SC_PAGESIZE));
}

#endif
