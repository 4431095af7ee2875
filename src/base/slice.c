#include "base/slice.h"

#include <endian.h>

static unsigned char lower(char c)
{
    return (unsigned char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
}

bool slice_equal_nocase(struct slice a, struct slice b)
{
    if (slice_equal(a, b)) /* as nearly all are that are equal */
        return true;
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (a.data[i] != b.data[i] && lower(a.data[i]) != lower(b.data[i]))
            return false;
    return true;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct slice slice_trim(struct slice s)
{
    while (s.len > 0 && is_blank(s.data[s.len - 1]))
        s.len--;
    while (s.len > 0 && is_blank(s.data[0])) {
        s.data++;
        s.len--;
    }
    return s;
}

/* The length of the quoted string that begins at `s`: all of it when the quote is never closed. */
static size_t quoted_length(struct slice s)
{
    size_t i = 1;
    while (i < s.len && s.data[i] != '"')
        i += s.data[i] == '\\' ? 2 : 1;
    return i < s.len ? i + 1 : s.len;
}

/* Where the first separator stands that is not in a quoted string; the length when there is none. */
static size_t find_separator(struct slice s, char separator)
{
    const char *at = memchr(s.data, separator, s.len);
    size_t i = at ? (size_t)(at - s.data) : s.len;
    const char *quote = memchr(s.data, '"', i);
    if (!quote)
        return i;
    for (i = (size_t)(quote - s.data); i < s.len && s.data[i] != separator;)
        i += s.data[i] == '"' ? quoted_length((struct slice){s.data + i, s.len - i}) : 1;
    return i < s.len ? i : s.len;
}

bool slice_next(struct slice *rest, char separator, struct slice *part)
{
    if (rest->len == 0)
        return false;
    size_t i = find_separator(*rest, separator);
    *part = slice_trim((struct slice){rest->data, i});
    if (i < rest->len)
        i++;
    rest->data += i;
    rest->len -= i;
    return true;
}

enum { BLOCK_DIGITS = 8, BLOCK = 100000000 };

/* Eight digits at once, one in each byte, the first one in the lowest; false when one of them is none. Neighbours are added, by a
 * multiplication: to four numbers of two digits, two of four, one of eight. */
static bool block_number(const char *at, unsigned long long *out)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
    word = le64toh(word);
    uint64_t above = word + 0x0606060606060606;
    if (((word & 0xf0f0f0f0f0f0f0f0) | (above & 0xf0f0f0f0f0f0f0f0) >> 4) != 0x3333333333333333)
        return false;
    word = (word & 0x0f0f0f0f0f0f0f0f) * (10 << 8 | 1) >> 8 & 0x00ff00ff00ff00ff;
    word = word * (100 << 16 | 1) >> 16 & 0x0000ffff0000ffff;
    *out = word * (10000ULL << 32 | 1) >> 32;
    return true;
}

/* Of up to 19 digits, which no overflow can come of. */
static bool short_number(struct slice s, unsigned long long *out)
{
    unsigned long long value = 0, block;
    for (; s.len >= BLOCK_DIGITS; s = (struct slice){s.data + BLOCK_DIGITS, s.len - BLOCK_DIGITS}) {
        if (!block_number(s.data, &block))
            return false;
        value = value * BLOCK + block;
    }
    for (size_t i = 0; i < s.len; i++) {
        unsigned char digit = (unsigned char)(s.data[i] - '0');
        if (digit > 9)
            return false;
        value = value * 10 + digit;
    }
    *out = value;
    return true;
}

bool slice_number(struct slice s, unsigned long long max, unsigned long long *out)
{
    enum { SHORT_DIGITS = 19 };
    unsigned long long value, last = 0;
    while (s.len > SHORT_DIGITS && s.data[0] == '0')
        s = (struct slice){s.data + 1, s.len - 1};
    struct slice first = {s.data, s.len < SHORT_DIGITS ? s.len : SHORT_DIGITS};
    if (s.len == 0 || s.len > SHORT_DIGITS + 1 || !short_number(first, &value))
        return false;
    if (s.len > SHORT_DIGITS &&
        (!short_number((struct slice){s.data + SHORT_DIGITS, 1}, &last) ||
         __builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, last, &value)))
        return false;
    if (value > max)
        return false;
    *out = value;
    return true;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool slice_hex(struct slice s, uint64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < s.len; i++) {
        int digit = hex_digit(s.data[i]);
        if (digit < 0)
            return false;
        *out = *out << 4 | (unsigned)digit;
    }
    return s.len == 16;
}
