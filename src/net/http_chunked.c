#include "net/http_parts.h"

#include <assert.h>

/* By hand, since llhttp 8.1 refuses what RFC 9112 allows here (a second chunk extension, blanks around
 * its parts, an escape in a quoted string) and takes what it forbids (a bare LF at the end, folded
 * trailers, trailers without a name, empty extensions). */

enum state {
    SIZE_START, /* before the first digit */
    SIZE,
    EXT_BLANK, /* blanks before a ; */
    EXT_START, /* after a ; */
    EXT_NAME,
    EXT_EQUALS, /* blanks after a name, before a = or ; */
    EXT_VALUE_START,
    EXT_VALUE,
    EXT_QUOTED,
    EXT_ESCAPE, /* after a \ in a quoted string */
    EXT_END,    /* after a quoted string */
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER_START,
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    END_LF,
    END,
    WRONG,
};

static const uint64_t chunk_bytes_max = UINT64_C(1) << 62;
static const uint8_t digits_max = 16; /* as many as a uint64_t holds */

void http_chunked_init(struct http_chunked *chunked)
{
    *chunked = (struct http_chunked){.state = SIZE_START};
}

static enum state size_digit(struct http_chunked *chunked, char c)
{
    int value = http_hex_value(c);
    if (value < 0 || ++chunked->digits > digits_max)
        return WRONG;
    chunked->left = chunked->left * 16 + (unsigned)value;
    return chunked->left > chunk_bytes_max ? WRONG : SIZE;
}

/* What ends any part of an extension but a quoted string, or the size itself. */
static enum state size_part_end(char c, enum state after_blank)
{
    if (c == '\r')
        return SIZE_LF;
    if (c == ';')
        return EXT_START;
    return http_is_blank(c) ? after_blank : WRONG;
}

static enum state extension_next(enum state state, char c)
{
    switch (state) {
    case EXT_BLANK:
        return c == '\r' ? WRONG : size_part_end(c, EXT_BLANK);
    case EXT_START:
        return http_is_token(c) ? EXT_NAME : http_is_blank(c) ? EXT_START : WRONG;
    case EXT_NAME:
        return http_is_token(c) ? EXT_NAME
               : c == '='       ? EXT_VALUE_START
                                : size_part_end(c, EXT_EQUALS);
    case EXT_EQUALS:
        return c == '=' ? EXT_VALUE_START : c == '\r' ? WRONG : size_part_end(c, EXT_EQUALS);
    case EXT_VALUE_START:
        if (c == '"')
            return EXT_QUOTED;
        return http_is_token(c) ? EXT_VALUE : http_is_blank(c) ? EXT_VALUE_START : WRONG;
    case EXT_VALUE:
        return http_is_token(c) ? EXT_VALUE : size_part_end(c, EXT_BLANK);
    case EXT_QUOTED:
        if (c == '"' || c == '\\')
            return c == '"' ? EXT_END : EXT_ESCAPE;
        return http_is_text(c) ? EXT_QUOTED : WRONG;
    case EXT_ESCAPE:
        return http_is_text(c) ? EXT_QUOTED : WRONG;
    default: /* EXT_END */
        return size_part_end(c, EXT_BLANK);
    }
}

static enum state trailer_next(enum state state, char c)
{
    switch (state) {
    case TRAILER_START:
        return c == '\r' ? END_LF : http_is_token(c) ? TRAILER_NAME : WRONG;
    case TRAILER_NAME:
        return http_is_token(c) ? TRAILER_NAME : c == ':' ? TRAILER_VALUE : WRONG;
    case TRAILER_VALUE:
        return c == '\r' ? TRAILER_LF : http_is_text(c) ? TRAILER_VALUE : WRONG;
    case TRAILER_LF:
        return c == '\n' ? TRAILER_START : WRONG;
    default: /* END_LF */
        return c == '\n' ? END : WRONG;
    }
}

/* The size line has ended. */
static enum state size_end(struct http_chunked *chunked)
{
    chunked->line_bytes = 0;
    chunked->digits = 0;
    return chunked->left ? DATA : TRAILER_START;
}

static enum state framing_next(struct http_chunked *chunked, char c)
{
    switch (chunked->state) {
    case SIZE_START:
        return size_digit(chunked, c);
    case SIZE:
        return http_hex_value(c) >= 0 ? size_digit(chunked, c) : size_part_end(c, EXT_BLANK);
    case SIZE_LF:
        return c == '\n' ? size_end(chunked) : WRONG;
    case DATA_CR:
        return c == '\r' ? DATA_LF : WRONG;
    case DATA_LF:
        return c == '\n' ? SIZE_START : WRONG;
    case TRAILER_START:
    case TRAILER_NAME:
    case TRAILER_VALUE:
    case TRAILER_LF:
    case END_LF:
        return trailer_next(chunked->state, c);
    default:
        return extension_next(chunked->state, c);
    }
}

/* Counts a byte of framing. Returns HTTP_BAD when there are too many. */
static enum http_result framing_count(struct http_chunked *chunked, struct http_error *error)
{
    bool data_end = chunked->state == DATA_CR || chunked->state == DATA_LF;
    bool trailer = chunked->state >= TRAILER_START;
    if (!data_end)
        chunked->line_bytes++;
    if (trailer && chunked->line_bytes > HTTP_TRAILER_BYTES_MAX)
        return http_refuse(error, 431, "The trailers of a chunked body are longer than 8 KiB.");
    if (!trailer && chunked->line_bytes > HTTP_CHUNK_LINE_BYTES_MAX)
        return http_refuse(error, 400, "The size line of a chunk is longer than 1 KiB.");
    return HTTP_MORE;
}

/* Takes bytes up to the next data. */
static enum http_result framing_parse(struct http_chunked *chunked, struct slice data, size_t *used,
                                      struct http_error *error)
{
    while (*used < data.len && chunked->state != DATA) {
        if (framing_count(chunked, error) == HTTP_BAD)
            return HTTP_BAD;
        enum state next = framing_next(chunked, data.data[(*used)++]);
        if (next == WRONG)
            return http_refuse(error, 400, "The chunked body is malformed.");
        chunked->state = (uint8_t)next;
        if (next == END)
            return HTTP_OK;
    }
    return HTTP_MORE;
}

enum http_result http_chunked_parse(struct http_chunked *chunked, struct slice data, size_t *used,
                                    struct slice *body, struct http_error *error)
{
    assert(data.len > 0 && chunked->state != END);
    *used = 0;
    *body = (struct slice){data.data, 0};
    enum http_result result = framing_parse(chunked, data, used, error);
    if (result != HTTP_MORE || chunked->state != DATA)
        return result;
    size_t here = data.len - *used;
    *body = (struct slice){data.data + *used, here < chunked->left ? here : (size_t)chunked->left};
    *used += body->len;
    http_chunked_take(chunked, body->len);
    return HTTP_MORE;
}

uint64_t http_chunked_left(const struct http_chunked *chunked)
{
    return chunked->state == DATA ? chunked->left : 0;
}

void http_chunked_take(struct http_chunked *chunked, uint64_t bytes)
{
    assert(chunked->state == DATA && bytes <= chunked->left);
    chunked->left -= bytes;
    if (chunked->left == 0)
        chunked->state = DATA_CR;
}
