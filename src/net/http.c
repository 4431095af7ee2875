#include "net/http.h"

#include <endian.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "net/http_parts.h"

/* How a head is read. First come our own checks, which keep no state and so can be made anew whenever
 * more bytes have come: the request line byte by byte, then a fast scan over the fields that finds the
 * end of the head, and all that may never stand in one (control characters, bare CR or LF, folded
 * lines, empty names). When the head is whole, llhttp reads the method and the fields: http_fields.c.
 *
 * All that is refused here is found at the first byte that makes it wrong, in the order of the bytes, so
 * the answer is the same however the bytes are cut. */

#define BYTES_OF_1 (~UINT64_C(0) / 255) /* 1 in each byte of a word */

enum {
    EMPTY_LINES_MAX = 4, /* before a request line; some old clients send one after a body */
    METHOD_BYTES_MAX = 32,
};

enum http_result http_refuse(struct http_error *error, uint16_t status, const char *sentence)
{
    *error = (struct http_error){status, sentence};
    return HTTP_BAD;
}

/* Marks in the top bit of each byte of `word`, of which only the first is exact: those below `limit`
 * (at most 128) and those that are `c`. */
static inline uint64_t marks_below(uint64_t word, unsigned char limit)
{
    return (word - BYTES_OF_1 * limit) & ~word & BYTES_OF_1 << 7;
}

static inline uint64_t marks_equal(uint64_t word, unsigned char c)
{
    return marks_below(word ^ BYTES_OF_1 * c, 1);
}

static inline uint64_t load(const char *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return le64toh(word);
}

/* The first control character from `at` on but DEL, or `end`. */
static inline const char *control_find(const char *at, const char *end)
{
#ifdef __SSE2__
    for (; end - at >= 16; at += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)at), highest = _mm_set1_epi8(' ' - 1);
        int found = _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_max_epu8(bytes, highest), highest));
        if (found)
            return at + __builtin_ctz((unsigned)found);
    }
#endif
    for (; end - at >= 8; at += 8) {
        uint64_t found = marks_below(load(at), ' ');
        if (found)
            return at + __builtin_ctzll(found) / 8;
    }
    while (at < end && (unsigned char)*at >= ' ')
        at++;
    return at;
}

/* The first byte from `at` on that may not stand in a target, or `end`. */
static inline const char *target_end_find(const char *at, const char *end)
{
    for (; end - at >= 8; at += 8) {
        uint64_t word = load(at);
        uint64_t found =
            marks_below(word, ' ' + 1) | marks_equal(word, '#') | marks_equal(word, 127);
        if (found)
            return at + __builtin_ctzll(found) / 8;
    }
    while (at < end && (unsigned char)*at > ' ' && *at != '#' && *at != 127)
        at++;
    return at;
}

/* The request line */

struct request_line {
    struct http_start start;
    struct slice target;
    const char *end; /* the first field's first byte */
};

static const char *empty_lines_skip(const char *at, const char *end)
{
    for (int i = 0; i < EMPTY_LINES_MAX && end - at >= 2 && memcmp(at, "\r\n", 2) == 0; i++)
        at += 2;
    return at;
}

/* The methods of nearly all requests. Returns the length of the one that begins at `at`, with the space behind it, or 0. */
static size_t usual_method(const char *at, size_t len, enum http_method *method)
{
    static const size_t longest = 7;
    *method = HTTP_OTHER;
    if (len < longest)
        return 0;
    *method = *at == 'G' ? HTTP_GET : *at == 'H' ? HTTP_HEAD : HTTP_DELETE;
    if (*at == 'P')
        *method = at[1] == 'O' ? HTTP_POST : HTTP_PUT;
    switch (*method) {
    case HTTP_GET:
        return memcmp(at, "GET ", 4) == 0 ? 4 : 0;
    case HTTP_HEAD:
        return memcmp(at, "HEAD ", 5) == 0 ? 5 : 0;
    case HTTP_POST:
        return memcmp(at, "POST ", 5) == 0 ? 5 : 0;
    case HTTP_PUT:
        return memcmp(at, "PUT ", 4) == 0 ? 4 : 0;
    default:
        return memcmp(at, "DELETE ", 7) == 0 ? 7 : 0;
    }
}

static enum http_result method_scan(const char *at, const char *end, struct http_start *start,
                                    struct http_error *error)
{
    struct slice *out = &start->method;
    *out = (struct slice){at, usual_method(at, (size_t)(end - at), &start->usual)};
    if (out->len)
        return HTTP_OK;
    start->usual = HTTP_OTHER;
    while (at < end && *at != ' ' && http_is_token(*at) && out->len < METHOD_BYTES_MAX) {
        at++;
        out->len++;
    }
    if (at == end || (at + 1 == end && *at == '\r' && out->len == 0))
        return HTTP_MORE;
    if (*at == ' ' && out->len > 0) {
        out->len++;
        return HTTP_OK;
    }
    if (out->len == METHOD_BYTES_MAX)
        return http_refuse(error, 501, "This method is not known here.");
    return http_refuse(error, 400, "A request must begin with a method and one space.");
}

static enum http_result target_scan(const char *at, const char *end, struct slice *out,
                                    struct http_error *error)
{
    const char *limit = end - at > HTTP_TARGET_BYTES_MAX ? at + HTTP_TARGET_BYTES_MAX + 1 : end;
    const char *found = target_end_find(at, limit);
    *out = (struct slice){at, (size_t)(found - at)};
    if (out->len > HTTP_TARGET_BYTES_MAX)
        return http_refuse(error, 414, "The request target is longer than 16 KiB.");
    if (found == end)
        return HTTP_MORE;
    if (*found == '#')
        return http_refuse(error, 400,
                           "A request target may not contain #; in a key write it as %23.");
    if (*found != ' ' || out->len == 0)
        return http_refuse(error, 400,
                           "A request target must be followed by one space and the version.");
    return HTTP_OK;
}

/* Who typed the request by hand has a space in its key, or ends its lines with LF alone. */
static const char *version_sentence(size_t wrong_at)
{
    static const size_t version_bytes = 8;
    if (wrong_at < version_bytes)
        return "The version, such as HTTP/1.1, must follow the first space behind the target; in a "
               "key write a space as %20.";
    return "A request line must end with CR LF right behind the version.";
}

static enum http_result version_scan(const char *at, const char *end, struct request_line *line,
                                     struct http_error *error)
{
    static const char usual[] = "HTTP/1.1\r\n", pattern[] = "HTTP/0.0\r\n";
    const size_t bytes = sizeof usual - 1, here = (size_t)(end - at);
    line->start.minor = 1;
    line->end = at + bytes;
    if (here >= bytes && memcmp(at, usual, bytes) == 0)
        return HTTP_OK;
    for (size_t i = 0; i < bytes && i < here; i++)
        if (pattern[i] == '0' ? !http_is_digit(at[i]) : at[i] != pattern[i])
            return http_refuse(error, 400, version_sentence(i));
    if (here < bytes)
        return HTTP_MORE;
    if (at[5] != '1')
        return http_refuse(error, 505, "Only HTTP/1.0 and HTTP/1.1 are spoken here.");
    line->start.minor = at[7] != '0';
    return HTTP_OK;
}

static size_t digits_skip(struct slice s, size_t at)
{
    while (at < s.len && http_is_digit(s.data[at]))
        at++;
    return at;
}

bool http_authority_valid(struct slice s)
{
    size_t at = 0;
    if (s.len > 0 && s.data[0] == '[') {
        do
            at++;
        while (at < s.len && (http_is_host(s.data[at]) || s.data[at] == ':'));
        if (at < 3 || at == s.len || s.data[at] != ']')
            return false;
        at++;
    } else {
        while (at < s.len && http_is_host(s.data[at]))
            at++;
    }
    return at == s.len || (s.data[at] == ':' && digits_skip(s, at + 1) == s.len);
}

/* "http://host:port/path" is cut to "/path". */
static bool target_cut_absolute(struct slice *target)
{
    static const struct slice scheme = {"http://", 7};
    if (target->len <= scheme.len ||
        !slice_equal_nocase((struct slice){target->data, scheme.len}, scheme))
        return false;
    struct slice host = {target->data + scheme.len, 0};
    size_t left = target->len - scheme.len;
    while (host.len < left && host.data[host.len] != '/' && host.data[host.len] != '?')
        host.len++;
    if (host.len == 0 || host.data[0] == ':' || !http_authority_valid(host))
        return false;
    *target = (struct slice){host.data + host.len, left - host.len};
    if (target->len == 0)
        *target = SLICE("/");
    return target->data[0] == '/';
}

/* The four forms of RFC 9112, 3.2. */
static enum http_result target_check(struct request_line *line, struct http_error *error)
{
    if (line->start.usual != HTTP_OTHER && line->target.data[0] == '/')
        return HTTP_OK;
    struct slice method = line->start.method;
    bool connect = slice_equal(method, SLICE("CONNECT "));
    if (!connect && (line->target.data[0] == '/' || target_cut_absolute(&line->target)))
        return HTTP_OK;
    if (connect && memchr(line->target.data, ':', line->target.len) &&
        http_authority_valid(line->target))
        return HTTP_OK;
    if (slice_equal(line->target, SLICE("*")) && slice_equal(method, SLICE("OPTIONS ")))
        return HTTP_OK;
    return http_refuse(error, 400,
                       "A request target must begin with / or be an http:// URL with a path.");
}

static enum http_result request_line_scan(const char *at, const char *end,
                                          struct request_line *line, struct http_error *error)
{
    const struct slice *method = &line->start.method;
    enum http_result result = method_scan(empty_lines_skip(at, end), end, &line->start, error);
    if (result == HTTP_OK)
        result = target_scan(method->data + method->len, end, &line->target, error);
    if (result == HTTP_OK)
        result = version_scan(line->target.data + line->target.len + 1, end, line, error);
    if (result == HTTP_OK)
        result = target_check(line, error);
    return result;
}

/* The fields, as lines */

static bool ends_line(const char *at, const char *end)
{
    return end - at >= 2 && memcmp(at, "\r\n", 2) == 0;
}

enum http_result http_fields_scan(const char *at, const char *end, const char **head_end,
                                  struct http_error *error)
{
    for (const char *line = at; at < end;) {
        if (at == line && (http_is_blank(*at) || *at == ':'))
            return http_refuse(error, 400,
                               "A header line may not begin with a space, a tab or a colon.");
        at = control_find(at, end);
        if (ends_line(at, end)) {
            at += 2;
            if (at == line + 2) {
                *head_end = at;
                return HTTP_OK;
            }
            line = at;
        } else if (at < end && *at == '\t') {
            at++;
        } else if (at == end || (at + 1 == end && *at == '\r')) {
            return HTTP_MORE;
        } else {
            return http_refuse(error, 400,
                               "Header lines must end with CR LF and hold no control characters.");
        }
    }
    return HTTP_MORE;
}

/* The fields behind a request line, and the method. */
static enum http_result head_fields_read(struct http_reader *reader,
                                         const struct request_line *line, const char *end,
                                         struct http_head *head, size_t *bytes,
                                         struct http_error *error)
{
    bool recall = reader && http_start_is_usual(&line->start);
    *bytes = recall ? http_recent_find(reader, line->end, end, head) : 0;
    if (*bytes > 0) {
        head->method = line->start.usual;
        return HTTP_OK;
    }
    const char *head_end = NULL;
    enum http_result result = http_fields_scan(line->end, end, &head_end, error);
    if (result != HTTP_OK)
        return result;
    *bytes = (size_t)(head_end - line->end);
    struct slice fields = {line->end, *bytes};
    result = http_fields_read(reader, &line->start, fields, head, NULL, error);
    if (result == HTTP_OK && recall)
        http_recent_keep(reader, fields, head);
    return result;
}

enum http_result http_head_parse(struct http_reader *reader, const char *data, size_t len,
                                 struct http_head *head, struct http_error *error)
{
    struct request_line line;
    const char *end = data + (len < HTTP_HEAD_BYTES_MAX ? len : HTTP_HEAD_BYTES_MAX);
    size_t field_bytes = 0;
    enum http_result result = request_line_scan(data, end, &line, error);
    if (result == HTTP_OK)
        result = head_fields_read(reader, &line, end, head, &field_bytes, error);
    if (result == HTTP_MORE && len >= HTTP_HEAD_BYTES_MAX)
        return http_refuse(error, 431, "The request's header fields are longer than 32 KiB.");
    if (result != HTTP_OK)
        return result;
    head->target = line.target;
    head->head_bytes = (uint32_t)((size_t)(line.end - data) + field_bytes);
    return HTTP_OK;
}

const struct http_field *http_field_find(const struct http_head *head, enum http_field_name name)
{
    for (unsigned i = 0; i < head->field_count; i++)
        if (head->fields[i].name == name)
            return &head->fields[i];
    return NULL;
}
