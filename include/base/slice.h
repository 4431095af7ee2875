/* Borrowed bytes: a pointer and a length, owned by someone else.
 *
 * A slice never outlives the callback it came in, unless the function that hands it out says so. */
#ifndef BASE_SLICE_H
#define BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
    const char *data;
    size_t len;
};

/* A slice of a string literal. */
#define SLICE(literal) ((struct slice){"" literal, sizeof(literal) - 1})

static inline struct slice slice_of(const char *string)
{
    return (struct slice){string, strlen(string)};
}

static inline bool slice_equal(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static inline bool slice_starts(struct slice s, struct slice prefix)
{
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.data, prefix.data, prefix.len) == 0);
}

/* Without regard to ASCII case, as HTTP compares names and tokens. */
bool slice_equal_nocase(struct slice a, struct slice b);

/* Without the spaces and tabs at both ends (OWS of RFC 9110, 5.6.3). */
struct slice slice_trim(struct slice s);

/* Takes the part of *rest before the first `separator` (all of it when there is none), trimmed,
 * and leaves in *rest what follows. Returns false when *rest was used up already.
 * A quoted string (RFC 9110, 5.6.4) is passed over whole. */
bool slice_next(struct slice *rest, char separator, struct slice *part);

/* Decimal digits only, no sign, no space. Returns false on anything else or past `max`. */
bool slice_number(struct slice s, unsigned long long max, unsigned long long *out);

/* 16 hexadecimal digits, as digits_hex writes them. Returns false on anything else. */
bool slice_hex(struct slice s, uint64_t *out);

#endif
