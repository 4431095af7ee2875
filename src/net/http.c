#include "net/http.h"

#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "net/http_syntax.h"

/* llhttp's methods bear the names of ours. */
#define HTTP_DELETE LLHTTP_DELETE
#define HTTP_GET LLHTTP_GET
#define HTTP_HEAD LLHTTP_HEAD
#define HTTP_POST LLHTTP_POST
#define HTTP_PUT LLHTTP_PUT
#include <llhttp.h>
#undef HTTP_DELETE
#undef HTTP_GET
#undef HTTP_HEAD
#undef HTTP_POST
#undef HTTP_PUT

/* How a head is read. First our own checks, which need no state and so can be made anew whenever more
 * bytes have come: the request line byte by byte, then a fast scan over the fields that finds the end
 * of the head and all that may never stand in one (control characters, bare CR or LF, folded lines).
 * When the head is whole, llhttp reads the method and the fields.
 *
 * In place of the target and the version that came, llhttp is always given "/" and 1.0 or 1.1, since it
 * refuses the bytes above 127 that curl sends for http://host/ключ, and HTTP/1.2, which is to be
 * served as 1.1. One way for all requests, so that there is no second one that is seldom tried. */

#define BYTES_OF_1 (~UINT64_C(0) / 255) /* 1 in each byte of a word */

enum {
    EMPTY_LINES_MAX = 4, /* before a request line; some old clients send one after a body */
    METHOD_BYTES_MAX = 32,
};

static enum http_result refuse(struct http_error *error, uint16_t status, const char *sentence)
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
    struct slice method; /* and the space behind it */
    struct slice target;
    uint8_t minor;
    const char *end; /* the first field's first byte */
};

static const char *empty_lines_skip(const char *at, const char *end)
{
    for (int i = 0; i < EMPTY_LINES_MAX && end - at >= 2 && memcmp(at, "\r\n", 2) == 0; i++)
        at += 2;
    return at;
}

static enum http_result method_scan(const char *at, const char *end, struct slice *out,
                                    struct http_error *error)
{
    *out = (struct slice){at, 0};
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
        return refuse(error, 501, "This method is not known here.");
    return refuse(error, 400, "A request must begin with a method and one space.");
}

static enum http_result target_scan(const char *at, const char *end, struct slice *out,
                                    struct http_error *error)
{
    const char *limit = end - at > HTTP_TARGET_BYTES_MAX ? at + HTTP_TARGET_BYTES_MAX + 1 : end;
    const char *found = target_end_find(at, limit);
    *out = (struct slice){at, (size_t)(found - at)};
    if (out->len > HTTP_TARGET_BYTES_MAX)
        return refuse(error, 414, "The request target is longer than 16 KiB.");
    if (found == end)
        return HTTP_MORE;
    if (*found == '#')
        return refuse(error, 400, "A request target may not contain #; in a key write it as %23.");
    if (*found != ' ' || out->len == 0)
        return refuse(error, 400,
                      "A request target must be followed by one space and the version.");
    return HTTP_OK;
}

static enum http_result version_scan(const char *at, const char *end, struct request_line *line,
                                     struct http_error *error)
{
    static const char usual[] = "HTTP/1.1\r\n", pattern[] = "HTTP/0.0\r\n";
    const size_t bytes = sizeof usual - 1, here = (size_t)(end - at);
    line->minor = 1;
    line->end = at + bytes;
    if (here >= bytes && memcmp(at, usual, bytes) == 0)
        return HTTP_OK;
    for (size_t i = 0; i < bytes && i < here; i++)
        if (pattern[i] == '0' ? !http_is_digit(at[i]) : at[i] != pattern[i])
            return refuse(error, 400,
                          "A request line must end with the version, such as HTTP/1.1.");
    if (here < bytes)
        return HTTP_MORE;
    if (at[5] != '1')
        return refuse(error, 505, "Only HTTP/1.0 and HTTP/1.1 are spoken here.");
    line->minor = at[7] != '0';
    return HTTP_OK;
}

/* host [":" port] of RFC 3986, 3.2, without commas, since Host fields in a list look like one name. */
static bool authority_valid(struct slice s)
{
    static const char others[] = "-._~%!$&'()*+;=";
    size_t i = 0;
    if (s.len > 0 && s.data[0] == '[') {
        do
            i++;
        while (i < s.len && (http_is_word(s.data[i], others) || s.data[i] == ':'));
        if (i < 3 || i == s.len || s.data[i] != ']')
            return false;
        i++;
    } else
        while (i < s.len && http_is_word(s.data[i], others))
            i++;
    if (i < s.len && s.data[i] == ':')
        do
            i++;
        while (i < s.len && http_is_digit(s.data[i]));
    return i == s.len;
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
    if (host.len == 0 || host.data[0] == ':' || !authority_valid(host))
        return false;
    *target = (struct slice){host.data + host.len, left - host.len};
    if (target->len == 0)
        *target = SLICE("/");
    return target->data[0] == '/';
}

/* The four forms of RFC 9112, 3.2. */
static enum http_result target_check(struct request_line *line, struct http_error *error)
{
    bool connect = slice_equal(line->method, SLICE("CONNECT "));
    if (!connect && (line->target.data[0] == '/' || target_cut_absolute(&line->target)))
        return HTTP_OK;
    if (connect && memchr(line->target.data, ':', line->target.len) &&
        authority_valid(line->target))
        return HTTP_OK;
    if (slice_equal(line->target, SLICE("*")) && slice_equal(line->method, SLICE("OPTIONS ")))
        return HTTP_OK;
    return refuse(error, 400,
                  "A request target must begin with / or be an http:// URL with a path.");
}

static enum http_result request_line_scan(const char *at, const char *end,
                                          struct request_line *line, struct http_error *error)
{
    enum http_result result = method_scan(empty_lines_skip(at, end), end, &line->method, error);
    if (result == HTTP_OK)
        result = target_scan(line->method.data + line->method.len, end, &line->target, error);
    if (result == HTTP_OK)
        result = version_scan(line->target.data + line->target.len + 1, end, line, error);
    if (result == HTTP_OK)
        result = target_check(line, error);
    return result;
}

/* The fields, as lines */

static enum http_result fields_scan(const char *at, const char *end, const char **head_end,
                                    struct http_error *error)
{
    for (const char *line = at; at < end;) {
        if (at == line && (http_is_blank(*at) || *at == ':'))
            return refuse(error, 400,
                          "A header line may not begin with a space, a tab or a colon.");
        at = control_find(at, end);
        if (at == end || (at + 1 == end && *at == '\r'))
            return HTTP_MORE;
        if (*at == '\t') {
            at++;
            continue;
        }
        if (at[0] != '\r' || at[1] != '\n')
            return refuse(error, 400,
                          "Header lines must end with CR LF and hold no control characters.");
        at += 2;
        if (at == line + 2) {
            *head_end = at;
            return HTTP_OK;
        }
        line = at;
    }
    return HTTP_MORE;
}

/* The fields, as llhttp finds them */

enum {
    FIELD_CONNECTION = HTTP_FIELD_PREFER + 1,
    FIELD_CONTENT_LENGTH,
    FIELD_EXPECT,
    FIELD_HOST,
    FIELD_TRANSFER_ENCODING,
};

struct parse {
    struct http_head *head;
    struct http_error error;
    const struct known_field *field; /* the one whose value is awaited, or NULL */
    uint32_t seen;                   /* a bit for each FIELD_ and HTTP_FIELD_ */
    bool close, keep_alive;          /* Connection fields have said so */
};

struct known_field {
    struct slice name;
    int (*read)(struct parse *parse, struct slice value); /* 0, or -1 and parse->error */
    uint8_t id;                                           /* HTTP_FIELD_ or FIELD_ */
    bool single;                                          /* may not stand twice */
};

static bool seen(const struct parse *parse, unsigned id)
{
    return parse->seen >> id & 1;
}

/* For callbacks: stops llhttp. */
static int stop(struct parse *parse, uint16_t status, const char *sentence)
{
    refuse(&parse->error, status, sentence);
    return -1;
}

static int connection_read(struct parse *parse, struct slice value)
{
    for (struct slice option; slice_next(&value, ',', &option);) {
        parse->close |= slice_equal_nocase(option, SLICE("close"));
        parse->keep_alive |= slice_equal_nocase(option, SLICE("keep-alive"));
    }
    return 0;
}

static int content_length_read(struct parse *parse, struct slice value)
{
    unsigned long long length;
    if (!slice_number(value, LLONG_MAX, &length))
        return stop(parse, 400, "Content-Length must be one decimal number.");
    parse->head->content_length = length;
    return 0;
}

static int expect_read(struct parse *parse, struct slice value)
{
    if (parse->head->minor == 0)
        return 0;
    if (!slice_equal_nocase(value, SLICE("100-continue")))
        return stop(parse, 417, "The only expectation that can be met here is 100-continue.");
    parse->head->expect_continue = true;
    return 0;
}

static int host_read(struct parse *parse, struct slice value)
{
    return authority_valid(value) ? 0 : stop(parse, 400, "The Host field is malformed.");
}

static bool is_token(struct slice s)
{
    size_t i = 0;
    while (i < s.len && http_is_token(s.data[i]))
        i++;
    return s.len > 0 && i == s.len;
}

/* Why a list of transfer codings that is not just "chunked" is refused: 501 when it can be read in
 * one way only, and is something that is not spoken here. */
static int codings_stop(struct parse *parse, struct slice value)
{
    bool chunked = false, unknown = false, valid = true;
    for (struct slice coding; slice_next(&value, ',', &coding);) {
        valid = valid && !chunked && is_token(coding);
        chunked = slice_equal_nocase(coding, SLICE("chunked"));
        unknown |= !chunked;
    }
    if (valid && unknown)
        return stop(parse, 501, "The only transfer coding that is known here is chunked.");
    return stop(parse, 400, "The Transfer-Encoding field must be chunked.");
}

static int transfer_encoding_read(struct parse *parse, struct slice value)
{
    if (parse->head->minor == 0)
        return stop(parse, 400, "HTTP/1.0 has no Transfer-Encoding.");
    if (!slice_equal_nocase(value, SLICE("chunked")))
        return codings_stop(parse, value);
    parse->head->chunked = true;
    return 0;
}

static int field_keep(struct parse *parse, struct slice value)
{
    struct http_head *head = parse->head;
    if (head->field_count == HTTP_FIELDS_MAX)
        return stop(parse, 431, "The request has too many header fields.");
    head->fields[head->field_count++] =
        (struct http_field){(enum http_field_name)parse->field->id, value};
    return 0;
}

/* By the length of the name. */
static const struct known_field known_fields[] = {
    {{"host", 4}, host_read, FIELD_HOST, true},
    {{"accept", 6}, field_keep, HTTP_FIELD_ACCEPT, false},
    {{"expect", 6}, expect_read, FIELD_EXPECT, true},
    {{"prefer", 6}, field_keep, HTTP_FIELD_PREFER, false},
    {{"fog-ttl", 7}, field_keep, HTTP_FIELD_FOG_TTL, true},
    {{"if-match", 8}, field_keep, HTTP_FIELD_IF_MATCH, false},
    {{"connection", 10}, connection_read, FIELD_CONNECTION, false},
    {{"fog-version", 11}, field_keep, HTTP_FIELD_FOG_VERSION, true},
    {{"content-type", 12}, field_keep, HTTP_FIELD_CONTENT_TYPE, true},
    {{"if-none-match", 13}, field_keep, HTTP_FIELD_IF_NONE_MATCH, false},
    {{"content-length", 14}, content_length_read, FIELD_CONTENT_LENGTH, true},
    {{"transfer-encoding", 17}, transfer_encoding_read, FIELD_TRANSFER_ENCODING, true},
    {{"", 0}, NULL, 0, false}, /* all others */
};

enum { OTHERS = sizeof known_fields / sizeof *known_fields - 1 };

/* Where in known_fields the names of a length begin. */
static const uint8_t known_start[] = {
    OTHERS, OTHERS, OTHERS, OTHERS, 0, OTHERS, 1, 4, 5, OTHERS, 6, 7, 8, 9, 10, OTHERS, OTHERS, 11};

static const struct known_field *known_find(struct slice name)
{
    const struct known_field *others = &known_fields[OTHERS];
    if (name.len >= sizeof known_start)
        return others;
    const struct known_field *known = &known_fields[known_start[name.len]];
    for (; known != others && known->name.len == name.len; known++)
        if ((name.data[0] | 0x20) == known->name.data[0] && slice_equal_nocase(name, known->name))
            return known;
    return others;
}

static int on_header_field(llhttp_t *llhttp, const char *at, size_t length)
{
    struct parse *parse = llhttp->data;
    if (parse->field)
        return stop(parse, 400, "A header field is malformed.");
    const struct known_field *field = known_find((struct slice){at, length});
    if (field->single && seen(parse, field->id))
        return stop(parse, 400, "A header field stands twice that may stand only once.");
    parse->field = field;
    if (field->read)
        parse->seen |= 1U << field->id;
    return 0;
}

/* llhttp calls this once for a field, since its whole value is in one buffer and folded lines were
 * refused. */
static int on_header_value(llhttp_t *llhttp, const char *at, size_t length)
{
    struct parse *parse = llhttp->data;
    const struct known_field *field = parse->field;
    if (!field)
        return stop(parse, 400, "A header field is malformed.");
    int result = field->read ? field->read(parse, slice_trim((struct slice){at, length})) : 0;
    parse->field = NULL;
    return result;
}

/* 2 makes llhttp stop where the head ends, whatever follows it. */
static int on_headers_complete(llhttp_t *llhttp)
{
    const struct parse *parse = llhttp->data;
    return parse->field ? -1 : 2;
}

static const llhttp_settings_t settings = {
    .on_header_field = on_header_field,
    .on_header_value = on_header_value,
    .on_headers_complete = on_headers_complete,
};

/* The whole head */

static enum http_method method_of(uint8_t method)
{
    switch (method) {
    case LLHTTP_GET:
        return HTTP_GET;
    case LLHTTP_HEAD:
        return HTTP_HEAD;
    case LLHTTP_POST:
        return HTTP_POST;
    case LLHTTP_PUT:
        return HTTP_PUT;
    case LLHTTP_DELETE:
        return HTTP_DELETE;
    default:
        return HTTP_OTHER;
    }
}

static enum http_result llhttp_read(struct parse *parse, const struct request_line *line,
                                    const char *head_end)
{
    const char *substitute = line->minor ? "/ HTTP/1.1\r\n" : "/ HTTP/1.0\r\n";
    llhttp_t llhttp;
    llhttp_init(&llhttp, HTTP_REQUEST, &settings);
    llhttp.data = parse;
    if (llhttp_execute(&llhttp, line->method.data, line->method.len) != HPE_OK ||
        llhttp_execute(&llhttp, substitute, 12) != HPE_OK)
        return refuse(&parse->error, 501, "This method is not known here.");
    if (llhttp_execute(&llhttp, line->end, (size_t)(head_end - line->end)) != HPE_PAUSED_UPGRADE ||
        llhttp_get_error_pos(&llhttp) != head_end) {
        if (parse->error.status == 0)
            refuse(&parse->error, 400, "A header field is malformed.");
        return HTTP_BAD;
    }
    parse->head->method = method_of(llhttp_get_method(&llhttp));
    return HTTP_OK;
}

static enum http_result fields_check(struct parse *parse)
{
    struct http_head *head = parse->head;
    if (head->minor > 0 && !seen(parse, FIELD_HOST))
        return refuse(&parse->error, 400, "A request must have a Host field.");
    if (head->chunked && seen(parse, FIELD_CONTENT_LENGTH))
        return refuse(&parse->error, 400,
                      "Content-Length and Transfer-Encoding exclude each other.");
    head->keep_alive = !parse->close && (head->minor > 0 || parse->keep_alive);
    return HTTP_OK;
}

static enum http_result head_read(const struct request_line *line, const char *head_end,
                                  struct http_head *head, struct http_error *error)
{
    struct parse parse = {.head = head};
    head->minor = line->minor;
    head->chunked = head->expect_continue = false;
    head->field_count = 0;
    head->content_length = 0;
    head->target = line->target;
    enum http_result result = llhttp_read(&parse, line, head_end);
    if (result == HTTP_OK)
        result = fields_check(&parse);
    if (result == HTTP_BAD)
        *error = parse.error;
    return result;
}

enum http_result http_head_parse(const char *data, size_t len, struct http_head *head,
                                 struct http_error *error)
{
    struct request_line line;
    const char *end = data + (len < HTTP_HEAD_BYTES_MAX ? len : HTTP_HEAD_BYTES_MAX);
    const char *head_end = NULL;
    enum http_result result = request_line_scan(data, end, &line, error);
    if (result == HTTP_OK)
        result = fields_scan(line.end, end, &head_end, error);
    if (result == HTTP_MORE && len >= HTTP_HEAD_BYTES_MAX)
        return refuse(error, 431, "The request's header fields are longer than 32 KiB.");
    if (result != HTTP_OK)
        return result;
    head->head_bytes = (uint32_t)(head_end - data);
    return head_read(&line, head_end, head, error);
}

const struct http_field *http_field_find(const struct http_head *head, enum http_field_name name)
{
    for (unsigned i = 0; i < head->field_count; i++)
        if (head->fields[i].name == name)
            return &head->fields[i];
    return NULL;
}

/* Text */

long http_percent_decode(struct slice in, char *out)
{
    size_t used = 0;
    for (size_t i = 0; i < in.len; i++) {
        char c = in.data[i];
        if (c == '%') {
            int high = in.len - i > 2 ? http_hex_value(in.data[i + 1]) : -1;
            int low = in.len - i > 2 ? http_hex_value(in.data[i + 2]) : -1;
            if (high < 0 || low < 0)
                return -EINVAL;
            c = (char)(high << 4 | low);
            i += 2;
        }
        out[used++] = c;
    }
    return (long)used;
}

size_t http_percent_encode(struct slice in, char *out)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t used = 0;
    for (size_t i = 0; i < in.len; i++) {
        unsigned char c = (unsigned char)in.data[i];
        if (http_is_word(in.data[i], "-._~/"))
            out[used++] = in.data[i];
        else {
            out[used++] = '%';
            out[used++] = digits[c >> 4];
            out[used++] = digits[c & 15];
        }
    }
    return used;
}

const char *http_status_text(unsigned status)
{
    static const struct {
        unsigned status;
        const char *text;
    } texts[] = {
        {100, "Continue"},
        {200, "OK"},
        {202, "Accepted"},
        {204, "No Content"},
        {304, "Not Modified"},
        {400, "Bad Request"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {417, "Expectation Failed"},
        {421, "Misdirected Request"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
        {507, "Insufficient Storage"},
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (texts[i].status == status)
            return texts[i].text;
    return "";
}
