/* What the files of http share. Nobody else includes this. */
#ifndef NET_HTTP_PARTS_H
#define NET_HTTP_PARTS_H

#include <stdbool.h>

#include "net/http.h"

/* Classes of bytes (RFC 9110, 5.6; RFC 3986, 2 and 3.2). */

static inline bool http_is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static inline bool http_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static inline bool http_is_alphanumeric(char c)
{
    return ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || http_is_digit(c);
}

/* The value of a hex digit, or -1. */
static inline int http_hex_value(char c)
{
    if (http_is_digit(c))
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static inline bool http_is_unreserved(char c)
{
    return http_is_alphanumeric(c) || c == '-' || c == '.' || c == '_' || c == '~';
}

/* Of a registered name: also % and the sub-delims, but not the comma, since a list of Host fields
 * must not pass for one name. */
static inline bool http_is_host(char c)
{
    if (http_is_unreserved(c))
        return true;
    switch (c) {
    case '%':
    case '!':
    case '$':
    case '&':
    case '\'':
    case '(':
    case ')':
    case '*':
    case '+':
    case ';':
    case '=':
        return true;
    default:
        return false;
    }
}

static inline bool http_is_token(char c)
{
    if (http_is_alphanumeric(c))
        return true;
    switch (c) {
    case '!':
    case '#':
    case '$':
    case '%':
    case '&':
    case '\'':
    case '*':
    case '+':
    case '-':
    case '.':
    case '^':
    case '_':
    case '`':
    case '|':
    case '~':
        return true;
    default:
        return false;
    }
}

/* What may stand in a field's value or a quoted string: no control characters but the tab. */
static inline bool http_is_text(char c)
{
    return ((unsigned char)c >= ' ' && c != 127) || c == '\t';
}

/* Fills *error. Returns HTTP_BAD. */
enum http_result http_refuse(struct http_error *error, uint16_t status, const char *sentence);

/* host [":" port] of RFC 3986, 3.2. The host may be empty. */
bool http_authority_valid(struct slice s);

/* What stands before the fields. */
struct http_start {
    struct slice method; /* and the space behind it */
    enum http_method
        usual; /* one of the usual methods, or HTTP_OTHER when it has yet to be found out what it is */
    uint8_t minor; /* HTTP/1.minor */
};

/* Whether nearly all requests start like that. What the reader remembers is of such alone. */
static inline bool http_start_is_usual(const struct http_start *start)
{
    return start->usual != HTTP_OTHER && start->minor > 0;
}

/* Reads a method and the fields of one whole head (with the empty line behind them), and fills all of *head but its target and
 * head_bytes. With `has_length` they are a response's, whatever the method, and *has_length tells whether there is a
 * Content-Length. `reader` may be NULL. */
enum http_result http_fields_read(const struct http_reader *reader, const struct http_start *start,
                                  struct slice fields, struct http_head *head, bool *has_length,
                                  struct http_error *error);

/* Whether fields that the reader remembers begin at `at`, to the byte and with the empty line behind them: then fills all of *head
 * but its method, target and head_bytes, and tells how many bytes they are. Else returns 0. */
size_t http_recent_find(struct http_reader *reader, const char *at, const char *end,
                        struct http_head *head);

/* Remembers what the fields of a request of HTTP/1.1 were read as, if they are short, in place of those that were found longest ago. */
void http_recent_keep(struct http_reader *reader, struct slice fields,
                      const struct http_head *head);

/* Finds the end of the fields that begin at `at`, behind the empty line. */
enum http_result http_fields_scan(const char *at, const char *end, const char **head_end,
                                  struct http_error *error);

#endif
