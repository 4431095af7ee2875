#include "base/json_read.h"

#include <stdlib.h>

enum { NUMBER_BYTES = 40 }; /* that are looked at */

/* Each skip returns where what it stands on has ended, or NULL when it makes no sense. */

static const char *skip_space(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r'))
        at++;
    return at;
}

static bool is_digit(char byte)
{
    return byte >= '0' && byte <= '9';
}

static bool is_hex(char byte)
{
    return is_digit(byte) || (byte >= 'a' && byte <= 'f') || (byte >= 'A' && byte <= 'F');
}

/* Behind a backslash. */
static const char *skip_escape(const char *at, const char *end)
{
    if (at == end)
        return NULL;
    if (*at != 'u')
        return strchr("\"\\/bfnrt", *at) && *at ? at + 1 : NULL;
    at++;
    for (int i = 0; i < 4; i++, at++)
        if (at == end || !is_hex(*at))
            return NULL;
    return at;
}

static const char *skip_string(const char *at, const char *end)
{
    if (at == end || *at++ != '"')
        return NULL;
    while (at && at < end && *at != '"') {
        if ((unsigned char)*at < ' ')
            return NULL;
        at = *at == '\\' ? skip_escape(at + 1, end) : at + 1;
    }
    return at && at < end ? at + 1 : NULL;
}

static const char *skip_digits(const char *at, const char *end)
{
    if (at == end || !is_digit(*at))
        return NULL;
    while (at < end && is_digit(*at))
        at++;
    return at;
}

static const char *skip_exponent(const char *at, const char *end)
{
    if (at == end || (*at != 'e' && *at != 'E'))
        return at;
    at++;
    if (at < end && (*at == '+' || *at == '-'))
        at++;
    return skip_digits(at, end);
}

static const char *skip_number(const char *at, const char *end)
{
    if (at < end && *at == '-')
        at++;
    at = at < end && *at == '0' ? at + 1 : skip_digits(at, end);
    if (at && at < end && *at == '.')
        at = skip_digits(at + 1, end);
    return at ? skip_exponent(at, end) : NULL;
}

static const char *skip_word(const char *at, const char *end, const char *word)
{
    size_t len = strlen(word);
    return (size_t)(end - at) >= len && memcmp(at, word, len) == 0 ? at + len : NULL;
}

static const char *skip_value(const char *at, const char *end, unsigned depth);

/* A name with its colon, where there are names; and the value. */
static const char *skip_member(const char *at, const char *end, unsigned depth, bool named)
{
    if (named) {
        at = skip_string(skip_space(at, end), end);
        at = at ? skip_space(at, end) : NULL;
        if (!at || at == end || *at++ != ':')
            return NULL;
    }
    at = skip_value(skip_space(at, end), end, depth);
    return at ? skip_space(at, end) : NULL;
}

static const char *skip_members(const char *at, const char *end, unsigned depth)
{
    bool named = *at == '{';
    char close = named ? '}' : ']';
    if (depth == JSON_DEPTH_MAX)
        return NULL;
    at = skip_space(at + 1, end);
    if (at < end && *at == close)
        return at + 1;
    for (;;) {
        at = skip_member(at, end, depth + 1, named);
        if (!at || at == end)
            return NULL;
        if (*at == close)
            return at + 1;
        if (*at++ != ',')
            return NULL;
    }
}

static const char *skip_value(const char *at, const char *end, unsigned depth)
{
    if (at == end)
        return NULL;
    switch (*at) {
    case '{':
    case '[':
        return skip_members(at, end, depth);
    case '"':
        return skip_string(at, end);
    case 't':
        return skip_word(at, end, "true");
    case 'f':
        return skip_word(at, end, "false");
    case 'n':
        return skip_word(at, end, "null");
    default:
        return skip_number(at, end);
    }
}

bool json_is_valid(struct slice text)
{
    const char *end = text.data + text.len;
    const char *at = text.len ? skip_value(skip_space(text.data, end), end, 0) : NULL;
    return at && skip_space(at, end) == end;
}

struct slice json_inside(struct slice value)
{
    const char *end = value.data + value.len, *at = skip_space(value.data, end);
    if (at == end || (*at != '{' && *at != '['))
        return (struct slice){0};
    return (struct slice){at + 1, (size_t)(end - at) - 1};
}

bool json_next(struct slice *rest, struct slice *name, struct slice *value)
{
    if (rest->len == 0) /* what is no object and no list has no inside, so perhaps no address */
        return false;
    const char *end = rest->data + rest->len, *at = skip_space(rest->data, end);
    if (at < end && *at == ',')
        at = skip_space(at + 1, end);
    if (at == end || *at == '}' || *at == ']')
        return false;
    const char *after = *at == '"' ? skip_string(at, end) : NULL;
    const char *colon = after ? skip_space(after, end) : NULL;
    *name = (struct slice){0};
    if (colon && colon < end && *colon == ':') {
        *name = (struct slice){at + 1, (size_t)(after - at) - 2};
        at = skip_space(colon + 1, end);
    }
    after = skip_value(at, end, 0);
    if (!after)
        return false;
    *value = (struct slice){at, (size_t)(after - at)};
    *rest = (struct slice){after, (size_t)(end - after)};
    return true;
}

static bool find_member(struct slice object, struct slice wanted, struct slice *value)
{
    struct slice rest = json_inside(object), name;
    while (json_next(&rest, &name, value))
        if (slice_equal(name, wanted))
            return true;
    return false;
}

bool json_find(struct slice object, const char *path, struct slice *value)
{
    for (;;) {
        size_t len = strcspn(path, ".");
        if (!find_member(object, (struct slice){path, len}, value))
            return false;
        if (!path[len])
            return true;
        object = *value;
        path += len + 1;
    }
}

double json_to_number(struct slice value, double otherwise)
{
    const double most = 1e18;
    char text[NUMBER_BYTES + 1];
    size_t len = value.len < NUMBER_BYTES ? value.len : NUMBER_BYTES;
    if (len == 0 || (*value.data != '-' && !is_digit(*value.data)))
        return otherwise;
    memcpy(text, value.data, len);
    text[len] = 0;
    double number = strtod(text, NULL);
    return number >= -most && number <= most ? number : otherwise;
}

bool json_is_true(struct slice value)
{
    return slice_equal(value, SLICE("true"));
}

/* The byte that stands at *at, which is moved behind it. */
static char string_byte(const char **at)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *escape = *at + 1;
    if (**at != '\\')
        return *(*at)++;
    if (*escape != 'u') {
        *at += 2;
        return to[strchr(from, *escape) - from];
    }
    char digits[5] = {escape[1], escape[2], escape[3], escape[4], 0};
    long code = strtol(digits, NULL, 16);
    *at += 6;
    return code <= '~' ? (char)code : '?';
}

static char printable(char byte)
{
    return byte >= ' ' && byte <= '~' ? byte : '?';
}

char *json_to_string(struct slice value, char *out, size_t room)
{
    size_t len = 0;
    if (value.len >= 2 && *value.data == '"')
        for (const char *at = value.data + 1; at < value.data + value.len - 1 && len < room - 1;)
            out[len++] = printable(string_byte(&at));
    out[len] = 0;
    return out;
}
