#include "answer.h"

static char chunked_body[ANSWER_BODY_BYTES_MAX];

/* The next line, without its CRLF. A bare CR or LF makes it bad. */
static enum answer_result take_line(struct slice *rest, struct slice *line)
{
    const char *end = rest->len ? memchr(rest->data, '\n', rest->len) : NULL;
    if (!end)
        return ANSWER_MORE;
    size_t len = (size_t)(end - rest->data);
    if (len == 0 || end[-1] != '\r' || memchr(rest->data, '\r', len - 1))
        return ANSWER_BAD;
    *line = (struct slice){rest->data, len - 1};
    rest->data = end + 1;
    rest->len -= len + 1;
    return ANSWER_OK;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The reason may be missing, but not its space (RFC 9112, 4). */
static bool read_status(struct slice line, unsigned *status)
{
    static const char version[] = "HTTP/1.1 ";
    const size_t at = sizeof version - 1;
    if (line.len < at + 4 || memcmp(line.data, version, at) != 0 || line.data[at + 3] != ' ')
        return false;
    for (size_t i = at; i < at + 3; i++)
        if (!is_digit(line.data[i]))
            return false;
    *status = (unsigned)((line.data[at] - '0') * 100 + (line.data[at + 1] - '0') * 10 +
                         line.data[at + 2] - '0');
    return true;
}

struct slice answer_field(const struct answer *answer, const char *name)
{
    struct slice rest = answer->head, line;
    while (take_line(&rest, &line) == ANSWER_OK) {
        const char *colon = memchr(line.data, ':', line.len);
        size_t len = colon ? (size_t)(colon - line.data) : 0;
        if (colon && slice_equal_nocase((struct slice){line.data, len}, slice_of(name)))
            return slice_trim((struct slice){colon + 1, line.len - len - 1});
    }
    return (struct slice){0};
}

static enum answer_result read_head(struct slice *rest, struct answer *out)
{
    struct slice line, start = *rest;
    enum answer_result result = take_line(rest, &line);
    if (result != ANSWER_OK)
        return result;
    if (!read_status(line, &out->status))
        return ANSWER_BAD;
    while ((result = take_line(rest, &line)) == ANSWER_OK && line.len > 0)
        if (!memchr(line.data, ':', line.len))
            return ANSWER_BAD;
    out->head = (struct slice){start.data, start.len - rest->len};
    return result;
}

static enum answer_result take_bytes(struct slice *rest, unsigned long long len, struct slice *out)
{
    if (rest->len < len)
        return ANSWER_MORE;
    *out = (struct slice){rest->data, (size_t)len};
    rest->data += len;
    rest->len -= (size_t)len;
    return ANSWER_OK;
}

static bool read_hex(struct slice text, unsigned long long *out)
{
    *out = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (!is_digit(c) && (c < 'a' || c > 'f'))
            return false;
        *out = *out * 16 + (unsigned)(is_digit(c) ? c - '0' : c - 'a' + 10);
    }
    return text.len > 0 && text.len <= 8;
}

static enum answer_result read_chunks(struct slice *rest, struct slice *body)
{
    *body = (struct slice){chunked_body, 0};
    for (;;) {
        struct slice line, chunk, end;
        unsigned long long len;
        enum answer_result result = take_line(rest, &line);
        if (result != ANSWER_OK)
            return result;
        if (!read_hex(line, &len))
            return ANSWER_BAD;
        if ((result = take_bytes(rest, len, &chunk)) != ANSWER_OK ||
            (result = take_bytes(rest, 2, &end)) != ANSWER_OK)
            return result;
        if (memcmp(end.data, "\r\n", 2) != 0 || body->len + chunk.len > sizeof chunked_body)
            return ANSWER_BAD;
        if (len == 0)
            return ANSWER_OK;
        memcpy(chunked_body + body->len, chunk.data, chunk.len);
        body->len += chunk.len;
    }
}

static enum answer_result read_body(struct slice *rest, bool ended, struct answer *out)
{
    unsigned long long len = 0;
    struct slice length = answer_field(out, "Content-Length");
    if (out->chunked)
        return out->has_length ? ANSWER_BAD : read_chunks(rest, &out->body);
    if (out->has_length)
        return slice_number(length, ANSWER_BODY_BYTES_MAX * 64ULL, &len)
                   ? take_bytes(rest, len, &out->body)
                   : ANSWER_BAD;
    out->until_end = true;
    if (!out->close)
        return ANSWER_BAD;
    if (!ended)
        return ANSWER_MORE;
    return take_bytes(rest, rest->len, &out->body);
}

enum answer_result answer_parse(struct slice *rest, bool no_body, bool ended, struct answer *out)
{
    struct slice left = *rest;
    *out = (struct answer){0};
    enum answer_result result = read_head(&left, out);
    if (result != ANSWER_OK)
        return result;
    out->has_length = answer_field(out, "Content-Length").data != NULL;
    out->chunked = slice_equal(answer_field(out, "Transfer-Encoding"), SLICE("chunked"));
    out->close = slice_equal(answer_field(out, "Connection"), SLICE("close"));
    bool bodiless = out->status < 200 || out->status == 204 || out->status == 304;
    if (bodiless && (out->has_length || out->chunked))
        return ANSWER_BAD;
    if (!bodiless && !no_body)
        result = read_body(&left, ended, out);
    if (result == ANSWER_OK)
        *rest = left;
    return result;
}
