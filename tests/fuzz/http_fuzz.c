/* Any bytes, taken as a head, as a chunked body and as a percent-encoded key. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "net/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A copy that ends where its memory ends, so that the sanitizer sees a read past it. */
static struct slice copy(struct slice bytes)
{
    char *data = malloc(bytes.len ? bytes.len : 1);
    assert(data);
    if (bytes.len)
        memcpy(data, bytes.data, bytes.len);
    return (struct slice){data, bytes.len};
}

static void copy_free(struct slice bytes)
{
    free((void *)(uintptr_t)bytes.data);
}

static bool inside(struct slice part, struct slice whole)
{
    return part.data >= whole.data && part.data + part.len <= whole.data + whole.len;
}

/* Heads */

struct parsed {
    enum http_result result;
    struct http_head head;
    struct http_error error;
};

static bool same_place(struct slice a, const char *a_start, struct slice b, const char *b_start)
{
    return slice_equal(a, b) && (a.data - a_start == b.data - b_start || a.data == b.data);
}

static void head_assert_same(const struct parsed *a, const char *a_start, const struct parsed *b,
                             const char *b_start)
{
    assert(a->result == b->result);
    assert(a->error.status == b->error.status && a->error.sentence == b->error.sentence);
    if (a->result != HTTP_OK)
        return;
    const struct http_head *x = &a->head, *y = &b->head;
    assert(x->method == y->method && x->minor == y->minor && x->keep_alive == y->keep_alive);
    assert(x->chunked == y->chunked && x->expect_continue == y->expect_continue);
    assert(x->content_length == y->content_length && x->head_bytes == y->head_bytes);
    assert(same_place(x->target, a_start, y->target, b_start));
    assert(x->field_count == y->field_count);
    for (unsigned i = 0; i < x->field_count; i++) {
        assert(x->fields[i].name == y->fields[i].name);
        assert(same_place(x->fields[i].value, a_start, y->fields[i].value, b_start));
    }
}

/* Without a reader, with one that remembers what came before, and once more, when that remembers this head as well: all must come to the same. */
static struct parsed head_parse(struct slice bytes)
{
    static struct http_reader reader;
    if (reader.turn == 0)
        http_reader_init(&reader);
    struct parsed parsed = {.result = HTTP_MORE};
    parsed.result = http_head_parse(NULL, bytes.data, bytes.len, &parsed.head, &parsed.error);
    for (int i = 0; i < 2; i++) {
        struct parsed other = {.result = HTTP_MORE};
        other.result = http_head_parse(&reader, bytes.data, bytes.len, &other.head, &other.error);
        head_assert_same(&parsed, bytes.data, &other, bytes.data);
    }
    return parsed;
}

static void head_assert_sane(const struct parsed *parsed, struct slice bytes)
{
    const struct http_head *head = &parsed->head;
    if (parsed->result == HTTP_BAD)
        assert(http_status_text(parsed->error.status)[0] && parsed->error.sentence[0]);
    else
        assert(parsed->error.status == 0);
    if (parsed->result != HTTP_OK)
        return;
    struct slice whole = {bytes.data, head->head_bytes};
    assert(head->head_bytes <= bytes.len && head->head_bytes <= HTTP_HEAD_BYTES_MAX);
    assert(memcmp(whole.data + whole.len - 4, "\r\n\r\n", 4) == 0);
    assert(head->target.len > 0 && head->target.len <= HTTP_TARGET_BYTES_MAX);
    assert(head->target.data[0] == '/' || head->method == HTTP_OTHER);
    assert(inside(head->target, whole) || slice_equal(head->target, SLICE("/")));
    assert(head->minor <= 1 && head->field_count <= HTTP_FIELDS_MAX);
    assert(!head->chunked || (head->content_length == 0 && head->minor == 1));
    assert(!head->expect_continue || head->minor == 1);
    assert(head->content_length <= INT64_MAX);
    for (unsigned i = 0; i < head->field_count; i++)
        assert(inside(head->fields[i].value, whole));
}

/* A second reader, slow and simple: what it finds in a head that was taken must be what was found. */
struct simple {
    unsigned hosts, lengths, codings, known;
};

/* Of requests; the names of fields that only responses have are empty here. */
static const char *const known_names[] = {
    [HTTP_FIELD_ACCEPT] = "Accept",
    [HTTP_FIELD_CONTENT_TYPE] = "Content-Type",
    [HTTP_FIELD_FOG_FROM] = "Fog-From",
    [HTTP_FIELD_FOG_TTL] = "Fog-TTL",
    [HTTP_FIELD_FOG_VERSION] = "Fog-Version",
    [HTTP_FIELD_IF_MATCH] = "If-Match",
    [HTTP_FIELD_IF_NONE_MATCH] = "If-None-Match",
    [HTTP_FIELD_PREFER] = "Prefer",
};

static void simple_field(struct simple *simple, const struct http_head *head, struct slice name,
                         struct slice value)
{
    unsigned long long length;
    for (unsigned i = 0; i < sizeof known_names / sizeof *known_names; i++)
        if (known_names[i] && slice_equal_nocase(name, slice_of(known_names[i]))) {
            assert(simple->known < head->field_count);
            assert(head->fields[simple->known].name == (enum http_field_name)i);
            assert(slice_equal(head->fields[simple->known++].value, value));
        }
    simple->hosts += slice_equal_nocase(name, SLICE("Host"));
    if (slice_equal_nocase(name, SLICE("Content-Length"))) {
        simple->lengths++;
        assert(slice_number(value, INT64_MAX, &length) && length == head->content_length);
    }
    if (slice_equal_nocase(name, SLICE("Transfer-Encoding"))) {
        simple->codings++;
        assert(head->chunked && slice_equal_nocase(value, SLICE("chunked")));
    }
}

static void simple_line(struct simple *simple, const struct http_head *head, struct slice line)
{
    static const char token[] =
        "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    size_t name = 0;
    while (name < line.len && line.data[name] != 0 && strchr(token, line.data[name]))
        name++;
    assert(name > 0 && name < line.len && line.data[name] == ':');
    for (size_t i = name; i < line.len; i++)
        assert(line.data[i] == '\t' || ((unsigned char)line.data[i] >= ' ' && line.data[i] != 127));
    struct slice value = {line.data + name + 1, line.len - name - 1};
    simple_field(simple, head, (struct slice){line.data, name}, slice_trim(value));
}

static struct slice simple_take_line(struct slice *rest)
{
    const char *end = memmem(rest->data, rest->len, "\r\n", 2);
    assert(end);
    struct slice line = {rest->data, (size_t)(end - rest->data)};
    *rest = (struct slice){end + 2, rest->len - line.len - 2};
    return line;
}

static void head_assert_read_rightly(const struct http_head *head, struct slice bytes)
{
    struct simple simple = {0};
    struct slice rest = {bytes.data, head->head_bytes}, line;
    while ((line = simple_take_line(&rest)).len == 0)
        continue;
    assert(memcmp(line.data + line.len - 9, " HTTP/1.", 8) == 0);
    assert((line.data[line.len - 1] == '0') == (head->minor == 0));
    while ((line = simple_take_line(&rest)).len > 0)
        simple_line(&simple, head, line);
    assert(rest.len == 0);
    assert(simple.hosts == 1 || (simple.hosts == 0 && head->minor == 0));
    assert(simple.lengths + simple.codings <= 1);
    assert(head->chunked == (simple.codings == 1));
    assert(simple.lengths == 1 || head->content_length == 0);
    assert(simple.known == head->field_count);
}

/* What is there of a head may only be too little, or what the whole is. */
static void head_try_prefix(const struct parsed *whole, struct slice bytes, size_t len)
{
    struct slice prefix = copy((struct slice){bytes.data, len});
    struct parsed parsed = head_parse(prefix);
    head_assert_sane(&parsed, prefix);
    if (parsed.result != HTTP_MORE)
        head_assert_same(&parsed, prefix.data, whole, bytes.data);
    if (whole->result == HTTP_OK)
        assert((parsed.result == HTTP_OK) == (len >= whole->head.head_bytes));
    copy_free(prefix);
}

static void head_fuzz(struct slice input)
{
    struct slice bytes = copy(input);
    struct parsed once = head_parse(bytes), again = head_parse(bytes);
    head_assert_sane(&once, bytes);
    head_assert_same(&once, bytes.data, &again, bytes.data);
    if (once.result == HTTP_OK)
        head_assert_read_rightly(&once.head, bytes);
    size_t step = 1 + bytes.len / 200;
    for (size_t len = 0; len < bytes.len; len += step)
        head_try_prefix(&once, bytes, len);
    copy_free(bytes);
}

/* Chunked bodies */

struct decoded {
    enum http_result result;
    unsigned status;
    size_t used, body_len;
    uint64_t left;
    char *body;
};

static void chunked_feed(struct http_chunked *chunked, struct slice part, struct decoded *out)
{
    struct slice bytes = copy(part), rest = bytes, body;
    struct http_error error = {0};
    while (rest.len > 0 && out->result == HTTP_MORE) {
        size_t used = 0;
        out->result = http_chunked_parse(chunked, rest, &used, &body, &error);
        assert(used > 0 || out->result == HTTP_BAD);
        assert(used <= rest.len && inside(body, (struct slice){rest.data, used}));
        assert(body.len == 0 || out->result == HTTP_MORE);
        memcpy(out->body + out->body_len, body.data, body.len);
        out->body_len += body.len;
        out->used += used;
        rest = (struct slice){rest.data + used, rest.len - used};
    }
    out->status = error.status;
    out->left = out->result == HTTP_MORE ? http_chunked_left(chunked) : 0;
    copy_free(bytes);
}

/* In parts whose sizes `seed` chooses; as one with seed 0. */
static struct decoded chunked_decode(struct slice bytes, uint32_t seed)
{
    struct http_chunked chunked;
    struct decoded out = {.result = HTTP_MORE, .body = malloc(bytes.len + 1)};
    assert(out.body);
    http_chunked_init(&chunked);
    while (bytes.len > 0 && out.result == HTTP_MORE) {
        size_t len = seed ? 1 + (seed >> 16) % 7 : bytes.len;
        len = len < bytes.len ? len : bytes.len;
        chunked_feed(&chunked, (struct slice){bytes.data, len}, &out);
        bytes = (struct slice){bytes.data + len, bytes.len - len};
        seed = seed ? (seed * 1664525 + 1013904223) | 1 : 0;
    }
    return out;
}

static void chunked_fuzz(struct slice bytes)
{
    struct decoded whole = chunked_decode(bytes, 0);
    for (uint32_t seed = 1; seed <= 3; seed++) {
        struct decoded split = chunked_decode(bytes, seed);
        assert(split.result == whole.result && split.status == whole.status);
        assert(split.used == whole.used && split.left == whole.left);
        assert(split.body_len == whole.body_len);
        assert(memcmp(split.body, whole.body, whole.body_len) == 0);
        free(split.body);
    }
    assert(whole.body_len <= bytes.len);
    free(whole.body);
}

/* Keys */

static void percent_fuzz(struct slice input)
{
    struct slice bytes = copy(input);
    char *text = malloc(3 * bytes.len + 1), *back = malloc(3 * bytes.len + 1);
    assert(text && back);
    size_t len = http_percent_encode(bytes, text);
    assert(len <= 3 * bytes.len);
    assert(http_percent_decode((struct slice){text, len}, back) == (long)bytes.len);
    assert(bytes.len == 0 || memcmp(back, bytes.data, bytes.len) == 0);
    long decoded = http_percent_decode(bytes, back);
    assert(decoded <= (long)bytes.len);
    free(text);
    free(back);
    copy_free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice bytes = {(const char *)data, size};
    head_fuzz(bytes);
    chunked_fuzz(bytes);
    percent_fuzz(bytes);
    struct http_head head;
    struct http_error error;
    if (http_head_parse(NULL, bytes.data, bytes.len, &head, &error) == HTTP_OK && head.chunked)
        chunked_fuzz((struct slice){bytes.data + head.head_bytes, bytes.len - head.head_bytes});
    return 0;
}
