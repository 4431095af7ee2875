/* Classes of bytes that HTTP's grammar is made of (RFC 9110, 5.6; RFC 3986, 2). Only for http and
 * http_chunked. */
#ifndef NET_HTTP_SYNTAX_H
#define NET_HTTP_SYNTAX_H

#include <stdbool.h>
#include <string.h>

static inline bool http_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static inline bool http_is_alphanumeric(char c)
{
    return ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || http_is_digit(c);
}

/* Whether `c` is alphanumeric or one of `others`. */
static inline bool http_is_word(char c, const char *others)
{
    return http_is_alphanumeric(c) || (c != 0 && strchr(others, c));
}

static inline bool http_is_token(char c)
{
    return http_is_word(c, "!#$%&'*+-.^_`|~");
}

static inline bool http_is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* What may stand in a field's value or a quoted string: no control characters but the tab. */
static inline bool http_is_text(char c)
{
    return ((unsigned char)c >= ' ' && c != 127) || c == '\t';
}

/* The value of a hex digit, or -1. */
static inline int http_hex_value(char c)
{
    if (http_is_digit(c))
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

#endif
