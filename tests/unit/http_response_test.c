/* Heads of responses: what is taken, what is refused, and that neither depends on how the bytes were cut. */
#include "guard.h"
#include "net/http.h"
#include "unit.h"

static struct guard guard;

static int set_up(void **state)
{
    (void)state;
    guard_init(&guard);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    guard_free(&guard);
    return 0;
}

static const char *name_of(enum http_field_name name)
{
    static const char *const names[] = {
        [HTTP_FIELD_ACCEPT] = "Accept",
        [HTTP_FIELD_ALLOW] = "Allow",
        [HTTP_FIELD_CONTENT_RANGE] = "Content-Range",
        [HTTP_FIELD_CONTENT_TYPE] = "Content-Type",
        [HTTP_FIELD_ETAG] = "ETag",
        [HTTP_FIELD_FOG_COPIES] = "Fog-Copies",
        [HTTP_FIELD_FOG_FROM] = "Fog-From",
        [HTTP_FIELD_FOG_TTL] = "Fog-TTL",
        [HTTP_FIELD_FOG_VERSION] = "Fog-Version",
        [HTTP_FIELD_FOG_AFTER] = "Fog-After",
        [HTTP_FIELD_FOG_BEFORE] = "Fog-Before",
        [HTTP_FIELD_IF_MATCH] = "If-Match",
        [HTTP_FIELD_IF_NONE_MATCH] = "If-None-Match",
        [HTTP_FIELD_PREFER] = "Prefer",
        [HTTP_FIELD_RETRY_AFTER] = "Retry-After",
        [HTTP_FIELD_VIA] = "Via",
    };
    return names[name];
}

/* "200 1.1 keep 5 Name[value] …": what was understood, as a line. */
static void describe(const struct http_response *response, char *out, size_t room)
{
    char length[32] = "to the end";
    if (response->has_length)
        snprintf(length, sizeof length, "%llu", (unsigned long long)response->content_length);
    int at =
        snprintf(out, room, "%u 1.%u %s %s", response->status, response->minor,
                 response->keep_alive ? "keep" : "close", response->chunked ? "chunked" : length);
    for (unsigned i = 0; i < response->field_count; i++) {
        const struct http_field *field = &response->fields[i];
        at += snprintf(out + at, room - (size_t)at, " %s[%.*s]", name_of(field->name),
                       (int)field->value.len, field->value.data);
    }
}

static enum http_result parse(struct slice bytes, struct http_response *response,
                              struct http_error *error)
{
    struct slice copy = guard_copy(&guard, bytes);
    memset(response, 0xa5, sizeof *response);
    *error = (struct http_error){0};
    struct http_reader reader;
    http_reader_init(&reader);
    return http_response_parse(&reader, copy.data, copy.len, response, error);
}

/* Each beginning of it needs more, the whole is taken, and what follows does not matter. */
static void check_good(const char *text, const char *wanted)
{
    struct http_response response;
    struct http_error error;
    struct slice whole = slice_of(text);
    char is[1024], longer[4096];
    for (size_t len = 0; len < whole.len; len++)
        check(parse((struct slice){whole.data, len}, &response, &error) == HTTP_MORE,
              "%s: at byte %zu", text, len);
    for (int more = 0; more < 3; more++) {
        static const char *const behind[] = {"", "HTTP/1.1 200 OK\r\n", "\r\n\n\x01"};
        int len = snprintf(longer, sizeof longer, "%s%s", text, behind[more]);
        check(parse((struct slice){longer, (size_t)len}, &response, &error) == HTTP_OK, "%s: %s",
              text, error.sentence ? error.sentence : "needs more");
        assert_int_equal(response.head_bytes, whole.len);
        describe(&response, is, sizeof is);
        assert_string_equal(is, wanted);
    }
}

/* Refused as a whole, and at every byte from the first at which it is. */
static void check_bad(struct slice bytes, const char *row)
{
    struct http_response response;
    struct http_error error;
    bool refused = false;
    for (size_t len = 0; len <= bytes.len; len++) {
        enum http_result result = parse((struct slice){bytes.data, len}, &response, &error);
        check(result != HTTP_OK, "%s: is taken at byte %zu", row, len);
        check(result == HTTP_BAD || !refused, "%s: is no longer refused at byte %zu", row, len);
        refused = result == HTTP_BAD;
        if (refused) {
            assert_int_equal(error.status, 502);
            assert_non_null(error.sentence);
        }
    }
    check(refused, "%s: is not refused", row);
}

static void test_good(void **state)
{
    static const struct {
        const char *text, *wanted;
    } rows[] = {
        {"HTTP/1.1 200 OK\r\n\r\n", "200 1.1 keep to the end"},
        {"HTTP/1.1 200 \r\n\r\n", "200 1.1 keep to the end"},
        {"HTTP/1.1 200\r\n\r\n", "200 1.1 keep to the end"},
        {"HTTP/1.1 100 Continue\r\n\r\n", "100 1.1 keep to the end"},
        {"HTTP/1.1 599 \tcaf\xc3\xa9 \r\n\r\n", "599 1.1 keep to the end"},
        {"HTTP/1.0 200 OK\r\n\r\n", "200 1.0 close to the end"},
        {"HTTP/1.2 200 OK\r\n\r\n", "200 1.1 keep to the end"},
        {"HTTP/1.9 200 OK\r\nConnection: close\r\n\r\n", "200 1.1 close to the end"},
        {"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\n",
         "200 1.0 keep 3"},
        {"HTTP/1.1 200 OK\r\nCONNECTION: x, Close\r\ncontent-length:0\r\n\r\n", "200 1.1 close 0"},
        {"HTTP/1.1 200 OK\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n",
         "200 1.1 close to the end"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "200 1.1 keep chunked"},
        {"HTTP/1.1 200 OK\r\ntransfer-encoding:\t Chunked \r\n\r\n", "200 1.1 keep chunked"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\n",
         "200 1.1 keep 9223372036854775807"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 007\r\n\r\n", "200 1.1 keep 7"},
        {"HTTP/1.1 204 No Content\r\nFog-Version: 17\r\n\r\n",
         "204 1.1 keep to the end Fog-Version[17]"},
        {"HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nFog-Version:3\r\nFog-TTL:  60 \r\n\r\n",
         "304 1.1 keep to the end ETag[\"a\"] Fog-Version[3] Fog-TTL[60]"},
        {"HTTP/1.1 405 Method Not Allowed\r\nAllow: GET, PUT\r\nContent-Length: 1\r\n\r\n",
         "405 1.1 keep 1 Allow[GET, PUT]"},
        {"HTTP/1.1 202 Accepted\r\nfog-copies: 1/3\r\nContent-Length: 0\r\n\r\n",
         "202 1.1 keep 0 Fog-Copies[1/3]"},
        {"HTTP/1.1 503 x\r\nRetry-After: 2\r\nX-Other: y\r\nServer: z\r\nContent-Type: "
         "text/plain\r\nContent-Length: 2\r\n\r\n",
         "503 1.1 keep 2 Retry-After[2] Content-Type[text/plain]"},
        {"HTTP/1.1 200 OK\r\nX:\r\nETag:\r\n\r\n", "200 1.1 keep to the end ETag[]"},
        {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
         "101 1.1 keep to the end"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++)
        check_good(rows[i].text, rows[i].wanted);
}

static void test_bad(void **state)
{
    static const char *const rows[] = {
        "\r\nHTTP/1.1 200 OK\r\n\r\n",
        " HTTP/1.1 200 OK\r\n\r\n",
        "http/1.1 200 OK\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/0.9 200 OK\r\n\r\n",
        "HTTP/1. 200 OK\r\n\r\n",
        "HTTP/1.10 200 OK\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.1\t200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 2x0 OK\r\n\r\n",
        "HTTP/1.1 -20 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1 000 OK\r\n\r\n",
        "HTTP/1.1 600 OK\r\n\r\n",
        "HTTP/1.1 200\tOK\r\n\r\n",
        "HTTP/1.1 200OK\r\n\r\n",
        "HTTP/1.1 200 OK\n\r\n",
        "HTTP/1.1 200\n\r\n",
        "HTTP/1.1 200 OK\r\r\n\r\n",
        "HTTP/1.1 200 O\rK\r\n\r\n",
        "HTTP/1.1 200 O\x01K\r\n\r\n",
        "HTTP/1.1 200 O\x7fK\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\n",
        "HTTP/1.1 200 OK\r\n\n",
        "HTTP/1.1 200 OK\r\n folded: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: y\r\n\tz\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: y\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX y\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX\t: y\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX(: y\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-\xff: y\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\x01z\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0x1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551617\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\ncontent-length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nFog-Version: 1\r\nFog-Version: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Type: c/d\r\n\r\n",
        "HTTP/1.1 200 OK\r\nFog-TTL: 1\r\nFog-TTL: 2\r\n\r\n",
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++)
        check_bad(slice_of(rows[i]), rows[i]);
}

/* Each byte in turn becomes NUL, a bare CR, a bare LF, DEL: none of them may pass. */
static void test_control_characters_anywhere(void **state)
{
    static const char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 12\r\nETag: \"abc\"\r\n\r\n";
    static const char evil[] = {0, '\r', '\n', 127, 1, 27};
    (void)state;
    for (size_t at = 0; at < sizeof text - 1; at++)
        for (size_t i = 0; i < sizeof evil; i++) {
            struct http_response response;
            struct http_error error;
            char changed[sizeof text];
            memcpy(changed, text, sizeof text);
            changed[at] = evil[i];
            if (evil[i] == text[at])
                continue;
            enum http_result result =
                parse((struct slice){changed, sizeof text - 1}, &response, &error);
            /* The last LF is the only one without which nothing is wrong yet. */
            bool end = at == sizeof text - 2 && evil[i] == '\r';
            check(result == HTTP_BAD || (end && result == HTTP_MORE), "%d at byte %zu", evil[i],
                  at);
        }
}

/* A head of `len` bytes, with a field that makes it so long. */
static struct slice head_of(size_t len, char *room)
{
    static const char start[] = "HTTP/1.1 200 OK\r\nX: ", end[] = "\r\n\r\n";
    memset(room, 'x', len);
    memcpy(room, start, sizeof start - 1);
    memcpy(room + len - (sizeof end - 1), end, sizeof end - 1);
    return (struct slice){room, len};
}

static void test_limits(void **state)
{
    static char room[HTTP_HEAD_BYTES_MAX + 100];
    struct http_response response;
    struct http_error error;
    (void)state;
    struct slice head = head_of(HTTP_HEAD_BYTES_MAX, room);
    assert_int_equal(parse(head, &response, &error), HTTP_OK);
    head.len--;
    assert_int_equal(parse(head, &response, &error), HTTP_MORE);
    head = head_of(HTTP_HEAD_BYTES_MAX + 1, room);
    assert_int_equal(parse(head, &response, &error), HTTP_BAD);
    head.len = HTTP_HEAD_BYTES_MAX; /* it can't end any more */
    assert_int_equal(parse(head, &response, &error), HTTP_BAD);
    head.len--;
    assert_int_equal(parse(head, &response, &error), HTTP_MORE);
}

static void test_a_long_reason(void **state)
{
    static char room[HTTP_HEAD_BYTES_MAX + 1];
    struct http_response response;
    struct http_error error;
    (void)state;
    memset(room, 'r', sizeof room);
    memcpy(room, "HTTP/1.1 200 ", 13);
    assert_int_equal(parse((struct slice){room, HTTP_HEAD_BYTES_MAX - 1}, &response, &error),
                     HTTP_MORE);
    assert_int_equal(parse((struct slice){room, sizeof room}, &response, &error), HTTP_BAD);
}

static void test_count_of_fields(void **state)
{
    char text[2048];
    struct http_response response;
    struct http_error error;
    (void)state;
    for (unsigned count = 0; count <= HTTP_FIELDS_MAX + 1; count++) {
        int len = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\n");
        for (unsigned i = 0; i < count; i++)
            len += snprintf(text + len, sizeof text - (size_t)len, "X: y\r\nAllow: m%u\r\n", i);
        len += snprintf(text + len, sizeof text - (size_t)len, "\r\n");
        enum http_result result = parse((struct slice){text, (size_t)len}, &response, &error);
        assert_int_equal(result, count <= HTTP_FIELDS_MAX ? HTTP_OK : HTTP_BAD);
        if (result == HTTP_OK)
            assert_int_equal(response.field_count, count);
    }
}

static void test_find(void **state)
{
    static const struct slice text = {"HTTP/1.1 200 OK\r\nETag: 1\r\nAllow: a\r\nAllow: b\r\n\r\n",
                                      48};
    struct http_response response;
    struct http_error error;
    (void)state;
    assert_int_equal(http_response_parse(NULL, text.data, text.len, &response, &error), HTTP_OK);
    check_slice(http_response_find(&response, HTTP_FIELD_ETAG)->value, SLICE("1"), "ETag");
    check_slice(http_response_find(&response, HTTP_FIELD_ALLOW)->value, SLICE("a"), "the first");
    assert_null(http_response_find(&response, HTTP_FIELD_FOG_VERSION));
    const char *value = http_response_find(&response, HTTP_FIELD_ETAG)->value.data;
    assert_true(value > text.data && value < text.data + text.len); /* it is not copied */
}

/* What only responses have is of no account in requests, however often it stands there. */
static void test_fields_of_responses_in_requests(void **state)
{
    static const char text[] =
        "GET /k HTTP/1.1\r\nHost: h\r\nETag: 1\r\nETag: 2\r\nAllow: x\r\n"
        "Fog-Copies: 1/2\r\nFog-Copies: 1/3\r\nRetry-After: 1\r\nFog-From: m\r\n\r\n";
    static const char twice[] = "GET /k HTTP/1.1\r\nHost: h\r\nFog-From: m\r\nFog-From: m\r\n\r\n";
    struct http_head head;
    struct http_error error;
    (void)state;
    assert_int_equal(http_head_parse(NULL, text, sizeof text - 1, &head, &error), HTTP_OK);
    assert_int_equal(head.field_count, 1);
    check_slice(http_field_find(&head, HTTP_FIELD_FOG_FROM)->value, SLICE("m"), "Fog-From");
    assert_int_equal(http_head_parse(NULL, twice, sizeof twice - 1, &head, &error), HTTP_BAD);
    assert_int_equal(error.status, 400);
}

/* Heads that are almost right: whatever is made of the whole is made of it in pieces, and beginnings of what is taken need
 * more. */
static void test_mutations(void **state)
{
    static const char *const seeds[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 12\r\nETag: \"abc\"\r\nFog-Version: 99\r\n\r\n",
        "HTTP/1.0 503 Down\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close, x\r\n\r\n",
    };
    static const char letters[] = "\r\n\r\n :,;\t01259AHTPchunked\"\\/.\x80\x7f";
    struct chance chance = chance_start(11);
    unsigned taken = 0;
    (void)state;
    for (int round = 0; round < 20000; round++) {
        char text[256];
        struct http_response response;
        struct http_error error;
        struct slice seed = slice_of(seeds[chance_below(&chance, COUNT(seeds))]);
        size_t len = seed.len;
        memcpy(text, seed.data, len);
        for (size_t changes = chance_below(&chance, 4); changes > 0; changes--) {
            size_t at = chance_below(&chance, len);
            char c = letters[chance_below(&chance, sizeof letters)]; /* NUL too */
            size_t cut = chance_below(&chance, 3), put = chance_below(&chance, 2);
            cut = cut < len - at ? cut : len - at;
            memmove(text + at + put, text + at + cut, len - at - cut);
            if (put)
                text[at] = c;
            len = len - cut + put;
        }
        enum http_result whole = parse((struct slice){text, len}, &response, &error);
        size_t end = whole == HTTP_OK ? response.head_bytes : len;
        bool refused = false;
        for (size_t i = 0; i < end; i++) {
            enum http_result part = parse((struct slice){text, i}, &response, &error);
            check(part != HTTP_OK && (part == HTTP_BAD || !refused), "round %d", round);
            refused = part == HTTP_BAD;
        }
        check(!refused || whole == HTTP_BAD, "round %d", round);
        taken += whole == HTTP_OK;
    }
    assert_true(taken > 4000);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_good),
        TEST(test_bad),
        TEST(test_control_characters_anywhere),
        TEST(test_limits),
        TEST(test_a_long_reason),
        TEST(test_count_of_fields),
        TEST(test_find),
        TEST(test_fields_of_responses_in_requests),
        TEST(test_mutations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
