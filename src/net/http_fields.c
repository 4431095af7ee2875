#include "net/http_parts.h"

#include <assert.h>
#include <limits.h>

/* The only file that knows llhttp. It gets a head in three pieces: the method as it came, "/ HTTP/1.1" in
 * place of what came, and the fields as they came. The first two are the same for nearly all requests: a copy of
 * the state behind them does (struct http_reader).
 *
 * The target is left out since llhttp refuses the bytes above 127 that curl sends for
 * http://host/ключ, and the version since llhttp refuses HTTP/1.2, which is to be served as 1.1. Both
 * were checked before. It is so for all requests, so that there is no second way that is seldom tried. */

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

enum {
    FIELD_CONNECTION = HTTP_FIELD_VIA + 1,
    FIELD_CONTENT_LENGTH,
    FIELD_EXPECT,
    FIELD_HOST,
    FIELD_OTHER,
    FIELD_TRANSFER_ENCODING,
};

static const char malformed[] = "A header field is malformed.";

struct parse {
    struct http_head *head;
    struct http_error error;
    const struct known_field *field; /* the one whose value is awaited, or NULL */
    uint32_t seen;                   /* a bit for each FIELD_ and HTTP_FIELD_ */
    bool close, keep_alive;          /* Connection fields have said so */
    bool response;                   /* the fields are of a response */
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
    http_refuse(&parse->error, status, sentence);
    return -1;
}

static int connection_read(struct parse *parse, struct slice value)
{
    for (struct slice option; slice_next(&value, ',', &option);) {
        bool close = slice_equal_nocase(option, SLICE("close"));
        bool keep_alive = slice_equal_nocase(option, SLICE("keep-alive"));
        parse->close |= close;
        parse->keep_alive |= keep_alive;
        parse->head->hop_options |= !close && !keep_alive && option.len > 0;
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
    for (struct slice one; slice_next(&value, ',', &one);) {
        if (one.len == 0)
            continue;
        if (!slice_equal_nocase(one, SLICE("100-continue")))
            return stop(parse, 417, "The only expectation that can be met here is 100-continue.");
        parse->head->expect_continue = true;
    }
    return 0;
}

static int host_read(struct parse *parse, struct slice value)
{
    return http_authority_valid(value) ? 0 : stop(parse, 400, "The Host field is malformed.");
}

static bool is_token(struct slice s)
{
    size_t i = 0;
    while (i < s.len && http_is_token(s.data[i]))
        i++;
    return s.len > 0 && i == s.len;
}

/* Why a list of transfer codings that is not just "chunked" is refused: 501 when chunked comes last and once, so that it is clear
 * where the body ends, but what comes before is not spoken here (RFC 9112, 6.1 and 6.3). */
static int codings_stop(struct parse *parse, struct slice value)
{
    bool chunked = false, valid = true;
    for (struct slice coding; slice_next(&value, ',', &coding);) {
        valid = valid && !chunked && is_token(coding);
        chunked = slice_equal_nocase(coding, SLICE("chunked"));
    }
    if (valid && chunked)
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

static const char too_many[] = "The request has too many header fields.";

static int field_keep(struct parse *parse, struct slice value)
{
    struct http_head *head = parse->head;
    if (head->field_count == HTTP_FIELDS_MAX)
        return stop(parse, 431, too_many);
    head->fields[head->field_count++] =
        (struct http_field){(enum http_field_name)parse->field->id, value};
    return 0;
}

static int response_field_keep(struct parse *parse, struct slice value)
{
    return parse->response ? field_keep(parse, value) : 0;
}

/* By the length of the name. */
static const struct known_field known_fields[] = {
    {{"via", 3}, field_keep, HTTP_FIELD_VIA, false},
    {{"etag", 4}, response_field_keep, HTTP_FIELD_ETAG, false},
    {{"host", 4}, host_read, FIELD_HOST, true},
    {{"allow", 5}, response_field_keep, HTTP_FIELD_ALLOW, false},
    {{"accept", 6}, field_keep, HTTP_FIELD_ACCEPT, false},
    {{"expect", 6}, expect_read, FIELD_EXPECT, false},
    {{"prefer", 6}, field_keep, HTTP_FIELD_PREFER, false},
    {{"fog-ttl", 7}, field_keep, HTTP_FIELD_FOG_TTL, true},
    {{"fog-from", 8}, field_keep, HTTP_FIELD_FOG_FROM, true},
    {{"if-match", 8}, field_keep, HTTP_FIELD_IF_MATCH, false},
    {{"fog-after", 9}, field_keep, HTTP_FIELD_FOG_AFTER, true},
    {{"connection", 10}, connection_read, FIELD_CONNECTION, false},
    {{"fog-before", 10}, field_keep, HTTP_FIELD_FOG_BEFORE, true},
    {{"fog-copies", 10}, response_field_keep, HTTP_FIELD_FOG_COPIES, false},
    {{"fog-version", 11}, field_keep, HTTP_FIELD_FOG_VERSION, true},
    {{"retry-after", 11}, response_field_keep, HTTP_FIELD_RETRY_AFTER, false},
    {{"content-type", 12}, field_keep, HTTP_FIELD_CONTENT_TYPE, true},
    {{"content-range", 13}, field_keep, HTTP_FIELD_CONTENT_RANGE, false},
    {{"if-none-match", 13}, field_keep, HTTP_FIELD_IF_NONE_MATCH, false},
    {{"content-length", 14}, content_length_read, FIELD_CONTENT_LENGTH, true},
    {{"transfer-encoding", 17}, transfer_encoding_read, FIELD_TRANSFER_ENCODING, true},
    {{"", 0}, NULL, FIELD_OTHER, false}, /* all others */
};

enum { OTHERS = sizeof known_fields / sizeof *known_fields - 1 };

/* Where in known_fields the names of a length begin. */
static const uint8_t known_start[] = {
    [0] = OTHERS, [1] = OTHERS, [2] = OTHERS, [3] = 0,       [4] = 1,       [5] = 3,
    [6] = 4,      [7] = 7,      [8] = 8,      [9] = 10,      [10] = 11,     [11] = 14,
    [12] = 16,    [13] = 17,    [14] = 19,    [15] = OTHERS, [16] = OTHERS, [17] = 20,
};

static uint32_t load(const char *at)
{
    uint32_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

/* Whether two names of the same length are the same but for case. llhttp has seen to it that `name` is a token, so that setting one
 * bit of its bytes makes them equal only to letters and hyphens that they are. */
static bool name_is(struct slice name, const char *known)
{
    size_t at = 0;
    for (; at + 4 <= name.len; at += 4)
        if ((load(name.data + at) | 0x20202020) != load(known + at))
            return false;
    for (; at < name.len; at++)
        if ((name.data[at] | 0x20) != known[at])
            return false;
    return true;
}

static const struct known_field *known_find(struct slice name)
{
    const struct known_field *others = &known_fields[OTHERS];
    if (name.len >= sizeof known_start)
        return others;
    const struct known_field *known = &known_fields[known_start[name.len]];
    for (; known->name.len == name.len; known++)
        if (name_is(name, known->name.data))
            return known;
    return others;
}

static int on_header_field(llhttp_t *llhttp, const char *at, size_t length)
{
    struct parse *parse = llhttp->data;
    if (parse->field)
        return stop(parse, 400, malformed);
    const struct known_field *field = known_find((struct slice){at, length});
    if (field->single && seen(parse, field->id))
        return stop(parse, 400, "A header field stands twice that may stand only once.");
    parse->field = field;
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
        return stop(parse, 400, malformed);
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

static_assert(sizeof(llhttp_t) <= sizeof((struct http_reader *)0)->state,
              "llhttp's state has its room");

static bool line_read(llhttp_t *llhttp, struct slice method, uint8_t minor)
{
    llhttp_init(llhttp, HTTP_REQUEST, &settings);
    return llhttp_execute(llhttp, method.data, method.len) == HPE_OK &&
           llhttp_execute(llhttp, minor ? "/ HTTP/1.1\r\n" : "/ HTTP/1.0\r\n", 12) == HPE_OK;
}

/* Which of the usual methods it is makes no difference for the fields. */
void http_reader_init(struct http_reader *reader)
{
    llhttp_t llhttp;
    memset(reader, 0, sizeof *reader);
    bool usual = line_read(&llhttp, SLICE("GET "), 1);
    assert(usual);
    memcpy(reader->state, &llhttp, sizeof llhttp);
}

static enum http_result llhttp_read(const struct http_reader *reader, struct parse *parse,
                                    const struct http_start *start, struct slice fields)
{
    llhttp_t llhttp;
    parse->head->method = start->usual;
    if (reader && http_start_is_usual(start))
        memcpy(&llhttp, reader->state, sizeof llhttp);
    else if (line_read(&llhttp, start->method, start->minor))
        parse->head->method = method_of(llhttp_get_method(&llhttp));
    else
        return http_refuse(&parse->error, 501, "This method is not known here.");
    llhttp.data = parse;
    if (llhttp_execute(&llhttp, fields.data, fields.len) == HPE_PAUSED_UPGRADE &&
        llhttp_get_error_pos(&llhttp) == fields.data + fields.len)
        return HTTP_OK;
    if (parse->error.status == 0)
        http_refuse(&parse->error, 400, malformed);
    return HTTP_BAD;
}

static enum http_result fields_check(struct parse *parse)
{
    struct http_head *head = parse->head;
    if (head->minor > 0 && !parse->response && !seen(parse, FIELD_HOST))
        return http_refuse(&parse->error, 400, "A request must have a Host field.");
    if (head->field_count > HTTP_FIELDS_OWN && !parse->response && !seen(parse, HTTP_FIELD_VIA))
        return http_refuse(&parse->error, 431, too_many);
    if (head->chunked && seen(parse, FIELD_CONTENT_LENGTH))
        return http_refuse(&parse->error, 400,
                           "Content-Length and Transfer-Encoding exclude each other.");
    head->keep_alive = !parse->close && (head->minor > 0 || parse->keep_alive);
    return HTTP_OK;
}

enum http_result http_fields_read(const struct http_reader *reader, const struct http_start *start,
                                  struct slice fields, struct http_head *head, bool *has_length,
                                  struct http_error *error)
{
    struct parse parse = {.head = head, .response = has_length != NULL};
    head->minor = start->minor;
    head->chunked = head->expect_continue = head->hop_options = false;
    head->field_count = 0;
    head->content_length = 0;
    enum http_result result = llhttp_read(reader, &parse, start, fields);
    if (result == HTTP_OK)
        result = fields_check(&parse);
    if (result == HTTP_BAD)
        *error = parse.error;
    if (has_length)
        *has_length = seen(&parse, FIELD_CONTENT_LENGTH);
    return result;
}
