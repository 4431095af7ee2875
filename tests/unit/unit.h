/* What the unit tests share: cmocka with the headers that it needs, chance, and slices. */
#ifndef UNIT_UNIT_H
#define UNIT_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* cmocka needs the headers above. */
#include <cmocka.h>

#include "base/slice.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#endif

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* An assertion that says in which row of a table, or at which step, it failed. */
#define check(condition, ...)                \
    do {                                     \
        if (!(condition)) {                  \
            print_error("%s: ", #condition); \
            fail_msg(__VA_ARGS__);           \
        }                                    \
    } while (0)

static inline void check_slice(struct slice is, struct slice wanted, const char *row)
{
    check(slice_equal(is, wanted), "%s: \"%.*s\" in place of \"%.*s\"", row, (int)is.len, is.data,
          (int)wanted.len, wanted.data);
}

/* Chance: splitmix64. UNIT_SEED=n in the environment makes a test try other cases. */
struct chance {
    uint64_t state;
};

static inline struct chance chance_start(uint64_t seed)
{
    const char *other = getenv("UNIT_SEED");
    return (struct chance){other ? strtoull(other, NULL, 10) : seed};
}

static inline uint64_t chance_next(struct chance *chance)
{
    uint64_t z = chance->state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

static inline size_t chance_below(struct chance *chance, size_t end)
{
    return (size_t)(chance_next(chance) % end);
}

/* One time in `times`. */
static inline bool chance_once_in(struct chance *chance, size_t times)
{
    return chance_below(chance, times) == 0;
}

#endif
