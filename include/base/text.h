/* Text built piece by piece in memory of the caller's: bounded, nothing allocated. What does not fit
 * is left out, as is all that follows, and `full` remembers it: one look at the end is enough. */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stdint.h>

#include "base/slice.h"

struct text {
    char *data;
    size_t room; /* bytes; one of them stays free */
    size_t len;
    bool full;
};

/* An empty text in `data`, which stays the caller's. */
static inline struct text text_in(char *data, size_t room)
{
    return (struct text){.data = data, .room = room};
}

void text_add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_add_slice(struct text *text, struct slice slice);

/* `us` in seconds, exactly: "12" or "0.000128". */
void text_add_seconds(struct text *text, uint64_t us);

/* What a noun has behind it: "1 key", "2 keys". */
static inline const char *text_plural(uint64_t count)
{
    return count == 1 ? "" : "s";
}

static inline const char *text_were(uint64_t count)
{
    return count == 1 ? "was" : "were";
}

/* What was built so far, valid until more is added. */
static inline struct slice text_slice(const struct text *text)
{
    return (struct slice){text->data, text->len};
}

#endif
