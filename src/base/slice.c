#include "base/slice.h"

static unsigned char lower(char c)
{
    return (unsigned char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
}

bool slice_equal_nocase(struct slice a, struct slice b)
{
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

bool slice_number(struct slice s, unsigned long long max, unsigned long long *out)
{
    unsigned long long value = 0;
    for (size_t i = 0; i < s.len; i++) {
        unsigned char digit = (unsigned char)(s.data[i] - '0');
        if (digit > 9 || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, digit, &value))
            return false;
    }
    if (s.len == 0 || value > max)
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
