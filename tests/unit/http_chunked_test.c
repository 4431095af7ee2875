#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* cmocka needs the headers above. */
#include <cmocka.h>

#include "guard.h"
#include "net/http.h"

static struct guard guard;

struct outcome {
    enum http_result result;
    struct http_error error;
    size_t used; /* up to the end, or the byte that was refused */
    size_t body_len;
    char body[64];
};

/* Gives the decoder `data`, all of which is there at once. */
static void feed(struct http_chunked *chunked, struct slice data, struct outcome *out)
{
    while (data.len > 0 && out->result == HTTP_MORE) {
        size_t used = SIZE_MAX;
        struct slice body;
        out->result = http_chunked_parse(chunked, data, &used, &body, &out->error);
        assert_true(used <= data.len);
        assert_true(body.data >= data.data && body.data + body.len <= data.data + used);
        if (out->result == HTTP_MORE)
            assert_true(used > 0);
        else
            assert_int_equal(body.len, 0);
        assert_true(out->body_len + body.len <= sizeof out->body);
        memcpy(out->body + out->body_len, body.data, body.len);
        out->body_len += body.len;
        out->used += used;
        data.data += used;
        data.len -= used;
    }
}

/* Decodes `data` in pieces that end at `cut` and then after each `step` bytes. */
static struct outcome decode(struct slice data, size_t cut, size_t step)
{
    struct http_chunked chunked;
    struct outcome out = {.result = HTTP_MORE};
    http_chunked_init(&chunked);
    for (size_t at = 0, to = cut; at < data.len && out.result == HTTP_MORE; at = to, to += step) {
        if (to > data.len)
            to = data.len;
        feed(&chunked, guard_copy(&guard, (struct slice){data.data + at, to - at}), &out);
    }
    return out;
}

static void assert_same(const struct outcome *a, const struct outcome *b)
{
    assert_int_equal(a->result, b->result);
    assert_int_equal(a->error.status, b->error.status);
    assert_int_equal(a->used, b->used);
    assert_int_equal(a->body_len, b->body_len);
    assert_memory_equal(a->body, b->body, a->body_len);
}

/* At once, cut in two at every place, and byte by byte. */
static struct outcome decode_all_ways(struct slice data)
{
    struct outcome whole = decode(data, data.len, data.len);
    for (size_t cut = 1; cut < data.len; cut++) {
        struct outcome split = decode(data, cut, data.len);
        assert_same(&whole, &split);
    }
    struct outcome bytes = decode(data, 1, 1);
    assert_same(&whole, &bytes);
    return whole;
}

struct taken {
    const char *name;
    struct slice data, body;
};

#define REST "\r\nhello\r\n0\r\n\r\n"

#define TAKEN(name, data, body)        \
    {                                  \
        name, {data, sizeof data - 1}, \
        {                              \
            body, sizeof body - 1      \
        }                              \
    }
#define TAKEN_EXTENSION(name, extension)      \
    TAKEN(name, "5" extension REST, "hello"), \
        TAKEN(name ", last chunk", "0" extension "\r\n\r\n", "")
#define TAKEN_TRAILER(name, trailer) TAKEN(name, "0\r\n" trailer "\r\n", "")

static const struct taken taken[] = {
    TAKEN("empty", "0\r\n\r\n", ""),
    TAKEN("one", "5" REST, "hello"),
    TAKEN("two", "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", "hello"),
    TAKEN("hex digits of both cases", "a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n",
          "01234567890123456789"),
    TAKEN("zeros before the size", "0000000000000005" REST, "hello"),
    TAKEN("many zeros at the end", "0000\r\n\r\n", ""),
    TAKEN("data that looks like framing", "7\r\n0\r\n\r\n\r\n\r\n0\r\n\r\n", "0\r\n\r\n\r\n"),
    TAKEN("data of NULs", "2\r\n\0\0\r\n0\r\n\r\n", "\0\0"),
    TAKEN_EXTENSION("extension: name", ";a"),
    TAKEN_EXTENSION("extension: value", ";a=b"),
    TAKEN_EXTENSION("extension: several", ";a=b;c;d=e"),
    TAKEN_EXTENSION("extension: all kinds of token bytes",
                    ";!#$%&'*+-.^_`|~09azAZ=!#$%&'*+-.^_`|~"),
    TAKEN_EXTENSION("extension: quoted", ";a=\"b c;d=e,\t\xff\""),
    TAKEN_EXTENSION("extension: quoted and empty", ";a=\"\""),
    TAKEN_EXTENSION("extension: quoted with escapes", ";a=\"\\\"\\\\\\a\""),
    TAKEN_EXTENSION("extension: quoted, then another", ";a=\"b\";c=\"d\";e"),
    TAKEN_EXTENSION("extension: blank after ;", "; a=b; \tc"),
    TAKEN_EXTENSION("extension: blank before ;", " \t;a=b ;c\t;d=\"e\" ;f"),
    TAKEN_EXTENSION("extension: blank around =", ";a = b;c\t=\t\"d\""),
    TAKEN_TRAILER("trailer: one", "A: b\r\n"),
    TAKEN_TRAILER("trailer: several", "A: b\r\nC: d\r\nA: b\r\n"),
    TAKEN_TRAILER("trailer: empty value", "A:\r\n"),
    TAKEN_TRAILER("trailer: tabs and bytes above 127", "A:\tb\xff \t\r\n"),
    TAKEN_TRAILER("trailer: framing fields mean nothing",
                  "Content-Length: 9\r\nTransfer-Encoding: gzip\r\nHost: x y\r\n"),
};

static void test_taken(void **state)
{
    const struct taken *test = *state;
    struct outcome got = decode_all_ways(test->data);
    assert_int_equal(got.result, HTTP_OK);
    assert_int_equal(got.used, test->data.len);
    assert_int_equal(got.body_len, test->body.len);
    assert_memory_equal(got.body, test->body.data, got.body_len);
    for (size_t len = 1; len < test->data.len; len++)
        assert_int_equal(decode((struct slice){test->data.data, len}, len, len).result, HTTP_MORE);

    char behind[256];
    memcpy(behind, test->data.data, test->data.len);
    memcpy(behind + test->data.len, "GET / HTTP/1.1", 14);
    got = decode_all_ways((struct slice){behind, test->data.len + 14});
    assert_int_equal(got.result, HTTP_OK);
    assert_int_equal(got.used, test->data.len);
}

struct refused {
    const char *name;
    struct slice data;
    size_t wrong; /* the byte at which it is refused */
};

#define REFUSED(name, good, bad)                                         \
    {                                                                    \
        name, {good bad REST, sizeof good bad REST - 1}, sizeof good - 1 \
    }

static const struct refused refused[] = {
    REFUSED("size: none", "", "\r\n"),
    REFUSED("size: not hex", "", "g"),
    REFUSED("size: sign", "", "-5"),
    REFUSED("size: plus", "", "+5"),
    REFUSED("size: 0x", "0", "x5"),
    REFUSED("size: underscore", "0", "_5"),
    REFUSED("size: blank before", "", " 5"),
    REFUSED("size: blank behind", "5 ", ""),
    REFUSED("size: word behind", "5 ", "hello"),
    REFUSED("size: NUL", "5", "\0"),
    REFUSED("size: comma", "5", ",5"),
    REFUSED("size: 17 digits", "0000000000000000", "5"),
    REFUSED("size: 2^62 + 1", "400000000000000", "1"),
    REFUSED("size: 2^63", "800000000000000", "0"),
    REFUSED("size: 2^64 - 1", "fffffffffffffff", "f"),
    REFUSED("size: bare LF", "5", "\nhello"),
    REFUSED("size: bare CR", "5\r", "hello"),
    REFUSED("size: CR CR LF", "5\r", "\r\n"),
    REFUSED("size: the second", "1\r\na\r\n", "g"),
    REFUSED("size: empty line before the second", "1\r\na\r\n", "\r\n"),
    REFUSED("extension: empty", "5;", ""),
    REFUSED("extension: empty among others", "5;a;", ";b"),
    REFUSED("extension: no name", "5;", "=a"),
    REFUSED("extension: no value", "5;a=", ""),
    REFUSED("extension: two values", "5;a=b", "=c"),
    REFUSED("extension: two words", "5;a ", "b"),
    REFUSED("extension: two words in a value", "5;a=b ", "c"),
    REFUSED("extension: blank at the end", "5;a ", ""),
    REFUSED("extension: blank after a value at the end", "5;a=b ", ""),
    REFUSED("extension: blank after a quoted value at the end", "5;a=\"b\" ", ""),
    REFUSED("extension: not a token", "5;a", "(b)"),
    REFUSED("extension: value not a token", "5;a=b", "/c"),
    REFUSED("extension: byte above 127", "5;", "\xe4"),
    REFUSED("extension: NUL", "5;a=", "\0"),
    REFUSED("extension: bare LF", "5;a", "\n"),
    REFUSED("extension: bare LF in a value", "5;a=b", "\nc"),
    REFUSED("extension: bare CR", "5;a=b\r", "c"),
    REFUSED("extension: quote never closed", "5;a=\"b", ""),
    REFUSED("extension: bare LF in quotes", "5;a=\"b", "\nc\""),
    REFUSED("extension: CR LF in quotes", "5;a=\"b", "\r\nc\""),
    REFUSED("extension: NUL in quotes", "5;a=\"b", "\0\""),
    REFUSED("extension: DEL in quotes", "5;a=\"b", "\x7f\""),
    REFUSED("extension: LF escaped", "5;a=\"b\\", "\n\""),
    REFUSED("extension: word after quotes", "5;a=\"b\"", "c"),
    REFUSED("extension: quotes within a word", "5;a=b", "\"c\""),
    REFUSED("extension: quotes for a name", "5;", "\"a\""),
    REFUSED("data: longer than its size", "1\r\na", "b"),
    REFUSED("data: bare LF behind", "1\r\na", "\n"),
    REFUSED("data: bare CR behind", "1\r\na\r", "0"),
    REFUSED("data: next size at once", "1\r\na", "0"),
    REFUSED("end: bare LF", "0\r\n", "\n"),
    REFUSED("end: bare CR", "0\r\n\r", "a"),
    REFUSED("end: bare LF after the size", "0", "\n\r\n"),
    REFUSED("trailer: folded", "0\r\nA: b\r\n", " c\r\n"),
    REFUSED("trailer: blank first", "0\r\n", "\tA: b\r\n"),
    REFUSED("trailer: no name", "0\r\n", ": b\r\n"),
    REFUSED("trailer: no colon", "0\r\nnonsense", "\r\n"),
    REFUSED("trailer: blank before the colon", "0\r\nA", " : b\r\n"),
    REFUSED("trailer: not a token", "0\r\nA", "(b): c\r\n"),
    REFUSED("trailer: NUL", "0\r\nA: ", "\0\r\n"),
    REFUSED("trailer: DEL", "0\r\nA: ", "\x7f\r\n"),
    REFUSED("trailer: bare LF", "0\r\nA: b", "\nC: d\r\n"),
    REFUSED("trailer: bare CR", "0\r\nA: b\r", "C: d\r\n"),
};

static void test_refused(void **state)
{
    const struct refused *test = *state;
    struct outcome got = decode_all_ways(test->data);
    assert_int_equal(got.result, HTTP_BAD);
    assert_int_equal(got.error.status, 400);
    assert_true(strlen(got.error.sentence) > 0);
    assert_int_equal(got.used, test->wrong + 1);
}

/* Limits */

static struct outcome decode_long(const char *start, size_t bytes, char filler, const char *end)
{
    char data[GUARD_BYTES_MAX];
    size_t start_len = strlen(start), end_len = strlen(end);
    assert_true(bytes >= start_len + end_len && bytes <= sizeof data);
    memset(data, filler, bytes);
    memcpy(data, start, start_len);
    memcpy(data + bytes - end_len, end, end_len);
    struct outcome whole = decode((struct slice){data, bytes}, bytes, bytes);
    struct outcome split = decode((struct slice){data, bytes}, 1, 1);
    assert_same(&whole, &split);
    return whole;
}

static void size_line_at_the_limit(void **state)
{
    (void)state;
    static const char *const starts[] = {"0;", "1\r\nx\r\n0;", "1;abc\r\nx\r\n2;"};
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        size_t before = strlen(starts[i]) - 2;
        size_t limit = before + HTTP_CHUNK_LINE_BYTES_MAX;
        assert_int_equal(decode_long(starts[i], limit, 'a', "\r\n").result, HTTP_MORE);
        struct outcome over = decode_long(starts[i], limit + 1, 'a', "\r\n");
        assert_int_equal(over.result, HTTP_BAD);
        assert_int_equal(over.error.status, 400);
    }
}

static void size_lines_are_counted_one_by_one(void **state)
{
    (void)state;
    static char data[64 * 1024];
    size_t used = 0;
    for (int i = 0; i < 30; i++) {
        used += (size_t)snprintf(data + used, sizeof data - used, "1;");
        memset(data + used, 'a', 1000);
        used += 1000;
        used += (size_t)snprintf(data + used, sizeof data - used, "\r\nx\r\n");
    }
    struct outcome got = decode((struct slice){data, used}, used, used);
    assert_int_equal(got.result, HTTP_MORE);
    assert_int_equal(got.body_len, 30);
}

static void trailers_at_the_limit(void **state)
{
    (void)state;
    assert_int_equal(decode_long("0\r\nA:", 3 + HTTP_TRAILER_BYTES_MAX, 'a', "\r\n\r\n").result,
                     HTTP_OK);
    struct outcome over = decode_long("0\r\nA:", 3 + HTTP_TRAILER_BYTES_MAX + 1, 'a', "\r\n\r\n");
    assert_int_equal(over.result, HTTP_BAD);
    assert_int_equal(over.error.status, 431);
}

static void trailers_are_counted_together(void **state)
{
    (void)state;
    static char data[16 * 1024] = "0\r\n";
    size_t used = 3;
    while (used < 3 + HTTP_TRAILER_BYTES_MAX + 10)
        used += (size_t)snprintf(data + used, sizeof data - used, "Name: value\r\n");
    struct outcome got = decode((struct slice){data, used}, used, used);
    assert_int_equal(got.result, HTTP_BAD);
    assert_int_equal(got.error.status, 431);
    assert_int_equal(got.used, 3 + HTTP_TRAILER_BYTES_MAX);
}

/* What is left. */

static void parse(struct http_chunked *chunked, struct slice data, struct slice *body)
{
    struct http_error error;
    size_t used;
    assert_int_equal(http_chunked_parse(chunked, data, &used, body, &error), HTTP_MORE);
    assert_int_equal(used, data.len);
}

static void left_of_a_chunk(void **state)
{
    (void)state;
    struct http_chunked chunked;
    struct slice body;
    http_chunked_init(&chunked);
    assert_int_equal(http_chunked_left(&chunked), 0);
    parse(&chunked, SLICE("64"), &body);
    assert_int_equal(http_chunked_left(&chunked), 0);
    parse(&chunked, SLICE("\r\n"), &body);
    assert_int_equal(http_chunked_left(&chunked), 100);
    parse(&chunked, SLICE("abcdef"), &body);
    assert_int_equal(body.len, 6);
    assert_int_equal(http_chunked_left(&chunked), 94);
    char rest[94] = "";
    parse(&chunked, (struct slice){rest, sizeof rest}, &body);
    assert_ptr_equal(body.data, rest);
    assert_int_equal(body.len, sizeof rest);
    assert_int_equal(http_chunked_left(&chunked), 0);
    parse(&chunked, SLICE("\r\n1"), &body);
    assert_int_equal(http_chunked_left(&chunked), 0);
}

static void largest_chunk(void **state)
{
    (void)state;
    struct http_chunked chunked;
    struct slice body;
    http_chunked_init(&chunked);
    parse(&chunked, SLICE("4000000000000000\r\nabc"), &body);
    assert_true(http_chunked_left(&chunked) == (UINT64_C(1) << 62) - 3);
    assert_int_equal(body.len, 3);
}

static const struct CMUnitTest others[] = {
    cmocka_unit_test(size_line_at_the_limit), cmocka_unit_test(size_lines_are_counted_one_by_one),
    cmocka_unit_test(trailers_at_the_limit),  cmocka_unit_test(trailers_are_counted_together),
    cmocka_unit_test(left_of_a_chunk),        cmocka_unit_test(largest_chunk),
};

enum {
    TAKEN_COUNT = sizeof taken / sizeof *taken,
    REFUSED_COUNT = sizeof refused / sizeof *refused,
    OTHER_COUNT = sizeof others / sizeof *others,
};

int main(void)
{
    static struct CMUnitTest tests[TAKEN_COUNT + REFUSED_COUNT + OTHER_COUNT];
    size_t count = 0;
    for (size_t i = 0; i < TAKEN_COUNT; i++)
        tests[count++] = (struct CMUnitTest){taken[i].name, test_taken, NULL, NULL,
                                             (void *)(uintptr_t)&taken[i]};
    for (size_t i = 0; i < REFUSED_COUNT; i++)
        tests[count++] = (struct CMUnitTest){refused[i].name, test_refused, NULL, NULL,
                                             (void *)(uintptr_t)&refused[i]};
    for (size_t i = 0; i < OTHER_COUNT; i++)
        tests[count++] = others[i];
    guard_init(&guard);
    int failed = cmocka_run_group_tests_name("http_chunked", tests, NULL, NULL);
    guard_free(&guard);
    return failed;
}
