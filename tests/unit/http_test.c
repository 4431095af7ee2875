#include "net/http.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* cmocka needs the headers above. */
#include <cmocka.h>

#include "guard.h"

static struct guard guard;

/* Reading a head */

struct outcome {
    enum http_result result;
    struct http_head head;
    struct http_error error;
    char text[1024]; /* all that was found, as text; or the status */
};

static const char *field_text(enum http_field_name name)
{
    static const char *const names[] = {
        [HTTP_FIELD_ACCEPT] = "Accept",
        [HTTP_FIELD_CONTENT_RANGE] = "Content-Range",
        [HTTP_FIELD_CONTENT_TYPE] = "Content-Type",
        [HTTP_FIELD_FOG_FROM] = "Fog-From",
        [HTTP_FIELD_FOG_TTL] = "Fog-TTL",
        [HTTP_FIELD_FOG_VERSION] = "Fog-Version",
        [HTTP_FIELD_FOG_AFTER] = "Fog-After",
        [HTTP_FIELD_FOG_BEFORE] = "Fog-Before",
        [HTTP_FIELD_IF_MATCH] = "If-Match",
        [HTTP_FIELD_IF_NONE_MATCH] = "If-None-Match",
        [HTTP_FIELD_PREFER] = "Prefer",
        [HTTP_FIELD_VIA] = "Via",
    };
    return names[name];
}

static void outcome_print(struct outcome *out, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void outcome_print(struct outcome *out, const char *format, ...)
{
    size_t used = strlen(out->text);
    va_list args;
    va_start(args, format);
    vsnprintf(out->text + used, sizeof out->text - used, format, args);
    va_end(args);
}

/* "GET 1.1 keep /key" and what is not always there. */
static void outcome_describe(struct outcome *out)
{
    static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "OTHER"};
    const struct http_head *head = &out->head;
    outcome_print(out, "%s 1.%u %s %.*s", methods[head->method], head->minor,
                  head->keep_alive ? "keep" : "close", (int)head->target.len, head->target.data);
    if (head->content_length)
        outcome_print(out, " length=%llu", (unsigned long long)head->content_length);
    if (head->chunked)
        outcome_print(out, " chunked");
    if (head->expect_continue)
        outcome_print(out, " expect");
    for (unsigned i = 0; i < head->field_count; i++)
        outcome_print(out, " %s[%.*s]", field_text(head->fields[i].name),
                      (int)head->fields[i].value.len, head->fields[i].value.data);
}

static void outcome_of(struct http_reader *reader, struct slice data, struct outcome *out)
{
    *out = (struct outcome){.error = {.status = 7}};
    memset(&out->head, 0xa5, sizeof out->head);
    out->result = http_head_parse(reader, data.data, data.len, &out->head, &out->error);
    if (out->result == HTTP_OK)
        outcome_describe(out);
}

static void outcome_assert_same(const struct outcome *out, const struct outcome *other)
{
    assert_int_equal(out->result, other->result);
    assert_int_equal(out->error.status, other->error.status);
    assert_ptr_equal(out->error.sentence, other->error.sentence);
    assert_string_equal(out->text, other->text);
    if (out->result != HTTP_OK)
        return;
    assert_int_equal(out->head.head_bytes, other->head.head_bytes);
    assert_int_equal(out->head.hop_options, other->head.hop_options);
    for (unsigned i = 0; i < out->head.field_count; i++)
        assert_ptr_equal(out->head.fields[i].value.data, other->head.fields[i].value.data);
}

/* Without a reader, with a new one, with one that remembers this very head, and with one that remembers those of all tests before:
 * they must come to the same. */
static struct outcome parse(struct slice data)
{
    static struct http_reader old;
    struct http_reader reader;
    struct outcome out, other;
    struct slice guarded = guard_copy(&guard, data);
    http_reader_init(&reader);
    if (old.turn == 0)
        http_reader_init(&old);
    outcome_of(NULL, guarded, &out);
    struct http_reader *const readers[] = {&reader, &reader, &old};
    for (size_t i = 0; i < sizeof readers / sizeof *readers; i++) {
        outcome_of(readers[i], guarded, &other);
        outcome_assert_same(&other, &out);
    }
    if (out.result != HTTP_BAD) {
        assert_int_equal(out.error.status, 7); /* left alone */
        return out;
    }
    outcome_print(&out, "%u", out.error.status);
    size_t len = strlen(out.error.sentence);
    assert_true(len > 10 && out.error.sentence[len - 1] == '.' &&
                !strchr(out.error.sentence, '\n'));
    assert_true(strlen(http_status_text(out.error.status)) > 0);
    return out;
}

static struct outcome parse_with(struct slice data, const char *behind, size_t len)
{
    static char joined[GUARD_BYTES_MAX];
    memcpy(joined, data.data, data.len);
    memcpy(joined + data.len, behind, len);
    return parse((struct slice){joined, data.len + len});
}

/* Heads that are taken */

struct taken {
    const char *name;
    struct slice data;
    const char *wanted;
};

static void test_taken(void **state)
{
    const struct taken *test = *state;
    for (size_t len = 0; len < test->data.len; len++)
        assert_int_equal(parse((struct slice){test->data.data, len}).result, HTTP_MORE);
    struct outcome got = parse(test->data);
    assert_string_equal(got.text, test->wanted);
    assert_int_equal(got.head.head_bytes, test->data.len);
    static const struct slice behind[] = {{"GET /other HTTP/1.1\r\n\r\n", 23},
                                          {"\r\n\r\n", 4},
                                          {" folded\r\n\r\n", 11},
                                          {"\0\xff", 2},
                                          {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24}};
    for (size_t i = 0; i < sizeof behind / sizeof *behind; i++) {
        got = parse_with(test->data, behind[i].data, behind[i].len);
        assert_string_equal(got.text, test->wanted);
        assert_int_equal(got.head.head_bytes, test->data.len);
    }
}

#define TAKEN(name, data, wanted)             \
    {                                         \
        name, {data, sizeof data - 1}, wanted \
    }
/* A request line alone, fields alone, one Host, one target in absolute form. */
#define LINE(name, line, wanted) TAKEN("line: " name, line "\r\nHost: x\r\n\r\n", wanted)
#define FIELDS(name, fields, wanted) \
    TAKEN("fields: " name, "POST / HTTP/1.1\r\nHost: x\r\n" fields "\r\n\r\n", "POST 1.1 " wanted)
#define OLD(name, fields, wanted) \
    TAKEN("HTTP/1.0: " name, "POST / HTTP/1.0\r\n" fields "\r\n", "POST 1.0 " wanted)
#define HOST(host) \
    TAKEN("host: " host, "GET / HTTP/1.1\r\nHost: " host "\r\n\r\n", "GET 1.1 keep /")
#define ABSOLUTE(target, path)                                                   \
    TAKEN("absolute: " target, "GET " target " HTTP/1.1\r\nHost: other\r\n\r\n", \
          "GET 1.1 keep " path)

static const struct taken taken[] = {
    LINE("GET", "GET /key HTTP/1.1", "GET 1.1 keep /key"),
    LINE("HEAD", "HEAD /key HTTP/1.1", "HEAD 1.1 keep /key"),
    LINE("POST", "POST /key HTTP/1.1", "POST 1.1 keep /key"),
    LINE("PUT", "PUT /key HTTP/1.1", "PUT 1.1 keep /key"),
    LINE("DELETE", "DELETE /key HTTP/1.1", "DELETE 1.1 keep /key"),
    LINE("OPTIONS", "OPTIONS /key HTTP/1.1", "OTHER 1.1 keep /key"),
    LINE("OPTIONS of the server", "OPTIONS * HTTP/1.1", "OTHER 1.1 keep *"),
    LINE("TRACE", "TRACE /key HTTP/1.1", "OTHER 1.1 keep /key"),
    LINE("PATCH", "PATCH /key HTTP/1.1", "OTHER 1.1 keep /key"),
    LINE("PURGE", "PURGE /key HTTP/1.1", "OTHER 1.1 keep /key"),
    LINE("PROPFIND", "PROPFIND /key HTTP/1.1", "OTHER 1.1 keep /key"),
    LINE("M-SEARCH", "M-SEARCH /key HTTP/1.1", "OTHER 1.1 keep /key"),
    LINE("CONNECT", "CONNECT host.example:443 HTTP/1.1", "OTHER 1.1 keep host.example:443"),
    LINE("query", "GET /key?a=b&c HTTP/1.1", "GET 1.1 keep /key?a=b&c"),
    LINE("many slashes and dots", "GET //a/../b/./ HTTP/1.1", "GET 1.1 keep //a/../b/./"),
    LINE("escapes stay", "GET /%00%2F%zz HTTP/1.1", "GET 1.1 keep /%00%2F%zz"),
    LINE("raw UTF-8", "GET /\xd0\xba\xd0\xbb\xd1\x8e\xd1\x87 HTTP/1.1",
         "GET 1.1 keep /\xd0\xba\xd0\xbb\xd1\x8e\xd1\x87"),
    LINE("marks", "GET /\"<>[\\]^`{|}~'() HTTP/1.1", "GET 1.1 keep /\"<>[\\]^`{|}~'()"),
    LINE("a URL as a key", "GET /http://a/b HTTP/1.1", "GET 1.1 keep /http://a/b"),
    LINE("HTTP/1.2 is as 1.1", "GET / HTTP/1.2", "GET 1.1 keep /"),
    LINE("HTTP/1.9 is as 1.1", "GET / HTTP/1.9", "GET 1.1 keep /"),
    LINE("HTTP/1.0", "GET / HTTP/1.0", "GET 1.0 close /"),
    LINE("an empty line before", "\r\nGET / HTTP/1.1", "GET 1.1 keep /"),
    LINE("four empty lines before", "\r\n\r\n\r\n\r\nGET / HTTP/1.1", "GET 1.1 keep /"),

    ABSOLUTE("http://host/key", "/key"),
    ABSOLUTE("http://host:8000/key?a", "/key?a"),
    ABSOLUTE("http://[::1]:8000//", "//"),
    ABSOLUTE("http://host", "/"),
    ABSOLUTE("http://host:", "/"),
    ABSOLUTE("HtTp://HOST/Key", "/Key"),
    ABSOLUTE("http://a/http://b/c", "/http://b/c"),
    ABSOLUTE("http://a/\xc3\xa4", "/\xc3\xa4"),

    HOST(""),
    HOST("localhost"),
    HOST("localhost:8000"),
    HOST("10.0.0.1:8000"),
    HOST("a-b_c.example.~"),
    HOST("host:"),
    HOST(":80"),
    HOST("[::1]"),
    HOST("[::1]:8000"),
    HOST("[::ffff:10.0.0.1]:1"),
    HOST("[fe80::1%25eth0]"),
    HOST("%41!$&'()*+;="),
    HOST("\t localhost \t"),
    TAKEN("host: no blank before it", "GET / HTTP/1.1\r\nHost:x\r\n\r\n", "GET 1.1 keep /"),
    TAKEN("host: any case", "GET / HTTP/1.1\r\nhOST: x\r\n\r\n", "GET 1.1 keep /"),

    OLD("no Host", "", "close /"),
    OLD("one Host", "Host: x\r\n", "close /"),
    OLD("keep-alive", "Connection: keep-alive\r\n", "keep /"),
    OLD("Keep-Alive in a list", "Connection: a, Keep-Alive\t\r\n", "keep /"),
    OLD("keep-alive and close", "Connection: keep-alive\r\nConnection: close\r\n", "close /"),
    OLD("Expect means nothing", "Expect: 100-continue\r\nContent-Length: 1\r\n",
        "close / length=1"),
    OLD("unknown Expect means nothing", "Expect: something\r\n", "close /"),
    OLD("all fields", "Fog-TTL: 5\r\nContent-Type: a/b\r\n",
        "close / Fog-TTL[5] Content-Type[a/b]"),

    FIELDS("one of each",
           "Accept: */*\r\nContent-Type: text/plain; charset=utf-8\r\nFog-TTL: 60\r\nFog-Version: "
           "17\r\nFog-After: 16\r\n"
           "If-Match: \"a\"\r\nIf-None-Match: *\r\nPrefer: wait=9",
           "keep / Accept[*/*] Content-Type[text/plain; charset=utf-8] Fog-TTL[60] Fog-Version[17] "
           "Fog-After[16] If-Match[\"a\"] If-None-Match[*] Prefer[wait=9]"),
    FIELDS("three letters in any case", "vIA: 1.1 a\r\nViA: 1.0 b, 1.1 c\r\nvib: x\r\nvi: y",
           "keep / Via[1.1 a] Via[1.0 b, 1.1 c]"),
    FIELDS("a range", "Content-Range: bytes 0-4/10", "keep / Content-Range[bytes 0-4/10]"),
    FIELDS("names in any case", "fOG-ttl: 1\r\nIF-NONE-MATCH: 2\r\nprefer: 3",
           "keep / Fog-TTL[1] If-None-Match[2] Prefer[3]"),
    FIELDS(
        "lists in several lines",
        "Prefer: a\r\nAccept: b\r\nPrefer: c\r\nAccept: d\r\nIf-None-Match: e\r\nIf-None-Match: f",
        "keep / Prefer[a] Accept[b] Prefer[c] Accept[d] If-None-Match[e] If-None-Match[f]"),
    FIELDS("twelve known ones",
           "Prefer: 1\r\nPrefer: 2\r\nPrefer: 3\r\nPrefer: 4\r\nPrefer: 5\r\nPrefer: 6\r\nPrefer: "
           "7\r\n"
           "Prefer: 8\r\nPrefer: 9\r\nPrefer: 10\r\nPrefer: 11\r\nPrefer: 12",
           "keep / Prefer[1] Prefer[2] Prefer[3] Prefer[4] Prefer[5] Prefer[6] Prefer[7] Prefer[8] "
           "Prefer[9] Prefer[10] Prefer[11] Prefer[12]"),
    FIELDS("blanks around values", "Prefer: \t a b\t \r\nAccept:c\r\nFog-TTL:\t1",
           "keep / Prefer[a b] Accept[c] Fog-TTL[1]"),
    FIELDS("empty values", "Prefer:\r\nAccept: \r\nX:\r\nY: \t \r\nContent-Type:",
           "keep / Prefer[] Accept[] Content-Type[]"),
    FIELDS("tabs and bytes above 127", "Content-Type: a\tb\xff\x80",
           "keep / Content-Type[a\tb\xff\x80]"),
    FIELDS(
        "unknown ones are passed over",
        "User-Agent: curl/7.88.1\r\nCookie: a=b; c\r\nX-Expect: y\r\nHosts: a "
        "b\r\nContent-Lengths: z\r\n"
        "Content-Typf: a\r\nA-Name-Longer-Than-All-That-Are-Known: 1\r\n!#$%&'*+-.^_`|~09azAZ: 1",
        "keep /"),
    FIELDS("unknown ones may stand twice", "X: 1\r\nX: 2\r\nUser-Agent: a\r\nUser-Agent: b",
           "keep /"),
    FIELDS("a colon in a value", "Prefer: a:b: c", "keep / Prefer[a:b: c]"),

    FIELDS("length", "Content-Length: 5", "keep / length=5"),
    FIELDS("length 0", "Content-Length: 0", "keep /"),
    FIELDS("length with zeros before", "Content-Length: 000000000000000000000000000005",
           "keep / length=5"),
    FIELDS("length with blanks around", "Content-Length:\t 5  ", "keep / length=5"),
    FIELDS("length 2^63 - 1", "Content-Length: 9223372036854775807",
           "keep / length=9223372036854775807"),
    TAKEN("fields: length of a GET", "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n",
          "GET 1.1 keep / length=5"),
    TAKEN("fields: length of a HEAD", "HEAD / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n",
          "HEAD 1.1 keep / length=5"),
    TAKEN("fields: length of a DELETE", "DELETE / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n",
          "DELETE 1.1 keep / length=5"),
    TAKEN("fields: length of a CONNECT",
          "CONNECT a:1 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n",
          "OTHER 1.1 keep a:1 length=5"),
    TAKEN("fields: chunked GET", "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
          "GET 1.1 keep / chunked"),
    FIELDS("chunked", "Transfer-Encoding: chunked", "keep / chunked"),
    FIELDS("chunked in capitals", "TRANSFER-ENCODING: CHUNKED", "keep / chunked"),
    FIELDS("chunked with blanks around", "Transfer-Encoding: \tchunked \t", "keep / chunked"),

    FIELDS("Connection: close", "Connection: close", "close /"),
    FIELDS("Connection: close in capitals", "CONNECTION: CLOSE", "close /"),
    FIELDS("Connection: close and a tab", "Connection: close\t", "close /"),
    FIELDS("Connection: a tab and close", "Connection:\tclose", "close /"),
    FIELDS("Connection: close in a list", "Connection: foo ,\tclose\t, bar", "close /"),
    FIELDS("Connection: close in a list without blanks", "Connection: foo,close,bar", "close /"),
    FIELDS("Connection: close and keep-alive", "Connection: close, keep-alive", "close /"),
    FIELDS("Connection: close in another line", "Connection: keep-alive\r\nConnection: close",
           "close /"),
    FIELDS("Connection: keep-alive", "Connection: keep-alive", "keep /"),
    FIELDS("Connection: nothing known", "Connection: closed, \"close\", xclose", "keep /"),
    FIELDS("Connection: empty", "Connection:", "keep /"),
    FIELDS("Proxy-Connection means nothing", "Proxy-Connection: close", "keep /"),
    FIELDS("Upgrade means nothing",
           "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk",
           "keep /"),
    FIELDS("Upgrade with a length",
           "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5", "keep / length=5"),
    FIELDS("Upgrade with chunks",
           "Connection: Upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked",
           "keep / chunked"),

    FIELDS("Expect", "Expect: 100-continue\r\nContent-Length: 5", "keep / length=5 expect"),
    FIELDS("Expect in capitals", "EXPECT: 100-CONTINUE", "keep / expect"),
    FIELDS("Expect with blanks around", "Expect:\t100-continue\t", "keep / expect"),
    FIELDS("Expect with empty members", "Expect: , 100-continue,,", "keep / expect"),
    FIELDS("Expect without members", "Expect:", "keep /"),
    FIELDS("Expect twice", "Expect: 100-continue\r\nExpect: 100-continue", "keep / expect"),

    TAKEN(
        "curl's head",
        "POST /key HTTP/1.1\r\nHost: localhost:8000\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n"
        "Content-Length: 5\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n",
        "POST 1.1 keep /key length=5 Accept[*/*] Content-Type[application/x-www-form-urlencoded]"),
    TAKEN("a browser's head",
          "GET / HTTP/1.1\r\nHost: 10.0.0.1:8000\r\n"
          "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:109.0) Gecko/20100101 Firefox/115.0\r\n"
          "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
          "Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate\r\nDNT: 1\r\n"
          "Connection: keep-alive\r\nUpgrade-Insecure-Requests: 1\r\nPragma: no-cache\r\n\r\n",
          "GET 1.1 keep / Accept[text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8]"),
};

/* Heads that are refused */

struct refused {
    const char *name;
    struct slice data;
    const char *status;
};

/* However many of its bytes are there, a head is never taken, and once refused it stays so for the same
 * reason. */
static void test_refused(void **state)
{
    const struct refused *test = *state;
    bool refused = false;
    for (size_t len = 0; len <= test->data.len; len++) {
        struct outcome got = parse((struct slice){test->data.data, len});
        assert_int_not_equal(got.result, HTTP_OK);
        if (refused || got.result == HTTP_BAD)
            assert_string_equal(got.text, test->status);
        refused |= got.result == HTTP_BAD;
    }
    assert_true(refused);
    struct outcome more = parse_with(test->data, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27);
    assert_string_equal(more.text, test->status);
}

#define REFUSED(status, name, data)            \
    {                                          \
        name, {data, sizeof data - 1}, #status \
    }
#define BAD_LINE(status, name, line) REFUSED(status, "line: " name, line "\r\nHost: x\r\n\r\n")
#define BAD_FIELDS(status, name, fields) \
    REFUSED(status, "fields: " name, "POST / HTTP/1.1\r\nHost: x\r\n" fields "\r\n\r\n")
#define BAD_HOST(host) \
    REFUSED(400, "host: " host, "GET / HTTP/1.1\r\nX: y\r\nHost: " host "\r\n\r\n")
#define BAD_TARGET(name, target) BAD_LINE(400, "target: " name, "GET " target " HTTP/1.1")
#define BAD_CODING(status, coding) \
    BAD_FIELDS(status, "coding: " coding, "Transfer-Encoding: " coding "\r\nX: y")

static const struct refused refused[] = {
    BAD_LINE(501, "unknown method", "BREW / HTTP/1.1"),
    BAD_LINE(501, "method in small letters", "get / HTTP/1.1"),
    BAD_LINE(501, "method in mixed letters", "Get / HTTP/1.1"),
    BAD_LINE(501, "method with a letter behind", "GETX / HTTP/1.1"),
    BAD_LINE(501, "method of one letter", "G / HTTP/1.1"),
    BAD_LINE(501, "method of all kinds of token bytes", "!#$%&'*+-.^_`|~09azAZ / HTTP/1.1"),
    BAD_LINE(501, "method of 32 bytes", "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEF / HTTP/1.1"),
    BAD_LINE(501, "method of 33 bytes", "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG / HTTP/1.1"),
    BAD_LINE(501, "method of RTSP", "DESCRIBE / HTTP/1.1"),
    BAD_LINE(400, "method not a token", "G(T / HTTP/1.1"),
    BAD_LINE(400, "method with a byte above 127", "GET\xc3\xa4 / HTTP/1.1"),
    BAD_LINE(400, "method with NUL", "GE\0T / HTTP/1.1"),
    BAD_LINE(400, "method and tab", "GET\t/ HTTP/1.1"),
    BAD_LINE(400, "no method", " / HTTP/1.1"),
    BAD_LINE(400, "method alone", "GET"),
    BAD_LINE(400, "two spaces before the target", "GET  / HTTP/1.1"),
    BAD_LINE(400, "two spaces before the version", "GET /  HTTP/1.1"),
    BAD_LINE(400, "tab before the version", "GET /\tHTTP/1.1"),
    BAD_LINE(400, "space at the end", "GET / HTTP/1.1 "),
    BAD_LINE(400, "tab at the end", "GET / HTTP/1.1\t"),
    BAD_LINE(400, "word at the end", "GET / HTTP/1.1 x"),
    BAD_LINE(400, "no version", "GET /"),
    BAD_LINE(400, "no version but a space", "GET / "),
    BAD_LINE(400, "no target", "GET HTTP/1.1"),
    BAD_LINE(505, "HTTP/2.0", "GET / HTTP/2.0"),
    BAD_LINE(505, "HTTP/2.0 preface", "PRI * HTTP/2.0"),
    BAD_LINE(505, "HTTP/0.9", "GET / HTTP/0.9"),
    BAD_LINE(505, "HTTP/3.1", "GET / HTTP/3.1"),
    BAD_LINE(400, "PRI in HTTP/1.1", "PRI / HTTP/1.1"),
    BAD_LINE(400, "version in small letters", "GET / http/1.1"),
    BAD_LINE(400, "HTTPS/1.1", "GET / HTTPS/1.1"),
    BAD_LINE(400, "HTTP/1", "GET / HTTP/1"),
    BAD_LINE(400, "HTTP/1.", "GET / HTTP/1."),
    BAD_LINE(400, "HTTP/1.10", "GET / HTTP/1.10"),
    BAD_LINE(400, "HTTP/11.1", "GET / HTTP/11.1"),
    BAD_LINE(400, "HTTP/01.1", "GET / HTTP/01.1"),
    BAD_LINE(400, "HTTP/1,1", "GET / HTTP/1,1"),
    BAD_LINE(400, "HTTP/-1.1", "GET / HTTP/-1.1"),
    BAD_LINE(400, "HTTP 1.1", "GET / HTTP 1.1"),
    BAD_LINE(400, "RTSP/1.0", "GET / RTSP/1.0"),
    BAD_LINE(400, "ICE/1.0", "SOURCE / ICE/1.0"),
    BAD_LINE(400, "five empty lines before", "\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1"),
    BAD_LINE(400, "a bare LF before", "\nGET / HTTP/1.1"),
    BAD_LINE(400, "a bare CR before", "\rGET / HTTP/1.1"),
    BAD_LINE(400, "blanks before", "  GET / HTTP/1.1"),
    BAD_LINE(400, "blank line before", " \r\nGET / HTTP/1.1"),
    REFUSED(400, "line: HTTP/0.9 request", "GET /\r\n"),
    REFUSED(400, "line: a reply", "HTTP/1.1 200 OK\r\n\r\n"),
    REFUSED(400, "line: TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    REFUSED(400, "line: redis", "*1\r\n$4\r\nPING\r\n"),
    REFUSED(400, "line: memcached", "set key 0 0 1\r\nx\r\n"),

    BAD_TARGET("fragment", "/a#b"),
    BAD_TARGET("only a fragment", "#"),
    BAD_TARGET("fragment of a URL", "http://x/a#b"),
    BAD_TARGET("not from the root", "a/b"),
    BAD_TARGET("query alone", "?a"),
    BAD_TARGET("NUL", "/a\0b"),
    BAD_TARGET("control", "/a\x01"
                          "b"),
    REFUSED(400, "target: NUL, no more", "GET /\0"),
    REFUSED(400, "target: DEL, no more", "GET /\x7f"),
    REFUSED(400, "target: fragment, no more", "GET /#"),
    REFUSED(400, "target: DEL after eight bytes, no more", "GET /1234567\x7f"),
    BAD_TARGET("none between two spaces", ""),
    BAD_TARGET("tab", "/a\tb"),
    BAD_TARGET("DEL", "/a\x7f"
                      "b"),
    BAD_TARGET("asterisk", "*"),
    BAD_TARGET("authority", "host:80"),
    BAD_TARGET("https", "https://x/a"),
    BAD_TARGET("another scheme", "ftp://x/a"),
    BAD_TARGET("no host", "http:///a"),
    BAD_TARGET("no host but a port", "http://:80/a"),
    BAD_TARGET("scheme alone", "http://"),
    BAD_TARGET("one slash", "http:/x/a"),
    BAD_TARGET("query without a path", "http://x?a"),
    BAD_TARGET("user", "http://user@x/a"),
    BAD_TARGET("user and password", "http://user:1@x/a"),
    BAD_TARGET("letters for a port", "http://x:a/b"),
    BAD_TARGET("two ports", "http://x:1:2/b"),
    BAD_TARGET("bracket open", "http://[::1/a"),
    BAD_TARGET("backslash", "http://x\\a/b"),
    BAD_TARGET("comma", "http://x,y/a"),
    BAD_TARGET("host above 127", "http://\xc3\xa4/a"),
    BAD_LINE(400, "asterisk of another method", "DELETE * HTTP/1.1"),
    BAD_LINE(400, "CONNECT to a path", "CONNECT / HTTP/1.1"),
    BAD_LINE(400, "CONNECT without a port", "CONNECT host HTTP/1.1"),
    BAD_LINE(400, "CONNECT to a URL", "CONNECT http://x/ HTTP/1.1"),
    BAD_LINE(400, "two asterisks", "OPTIONS ** HTTP/1.1"),

    REFUSED(400, "lines: bare LF everywhere", "GET / HTTP/1.1\nHost: x\n\n"),
    REFUSED(400, "lines: bare LF after the first", "GET / HTTP/1.1\nHost: x\r\n\r\n"),
    REFUSED(400, "lines: bare LF after a field", "GET / HTTP/1.1\r\nHost: x\nX: y\r\n\r\n"),
    REFUSED(400, "lines: bare LF before the end", "GET / HTTP/1.1\r\nHost: x\n\r\n"),
    REFUSED(400, "lines: bare LF at the end", "GET / HTTP/1.1\r\nHost: x\r\n\n"),
    REFUSED(400, "lines: bare CR after the first", "GET / HTTP/1.1\rHost: x\r\n\r\n"),
    REFUSED(400, "lines: bare CR at the end", "GET / HTTP/1.1\r\nHost: x\r\n\rX"),
    REFUSED(400, "lines: CR CR LF after the first", "GET / HTTP/1.1\r\r\nHost: x\r\n\r\n"),
    REFUSED(400, "lines: CR CR LF at the end", "GET / HTTP/1.1\r\nHost: x\r\n\r\r\n"),
    REFUSED(400, "lines: folded after the first", "GET / HTTP/1.1\r\n Host: x\r\n\r\n"),
    BAD_FIELDS(400, "bare CR in a value", "X: a\rb"),
    BAD_FIELDS(400, "bare CR before a field", "X: a\r\n\rContent-Length: 5"),
    BAD_FIELDS(400, "bare LF in a value", "X: a\nContent-Length: 5"),
    BAD_FIELDS(400, "bare CR for a value", "X:\r\rY: b"),
    BAD_FIELDS(400, "CR CR LF after a field", "X: a\r"),
    BAD_FIELDS(400, "folded by a space", "X: a\r\n b"),
    BAD_FIELDS(400, "folded by a tab", "X: a\r\n\tb"),
    BAD_FIELDS(400, "folded, empty", "X: a\r\n "),
    BAD_FIELDS(400, "folded with a colon", "X: a\r\n Content-Length: 5"),
    BAD_FIELDS(400, "folded coding", "Transfer-Encoding:\r\n chunked"),
    BAD_FIELDS(400, "folded length", "Content-Length:\r\n 5"),
    BAD_FIELDS(400, "NUL in a value", "X: a\0b"),
    BAD_FIELDS(400, "NUL in a known value", "Content-Type: a\0b"),
    BAD_FIELDS(400, "control in a value",
               "X: a\x01"
               "b"),
    BAD_FIELDS(400, "DEL in a value",
               "X: a\x7f"
               "b"),
    BAD_FIELDS(400, "vertical tab in a value",
               "X: \x0b"
               "b"),
    BAD_FIELDS(400, "empty name", ": a"),
    BAD_FIELDS(400, "empty name, empty value", ":"),
    BAD_FIELDS(400, "no colon", "X"),
    BAD_FIELDS(400, "no colon in the last of two", "X: a\r\nY"),
    BAD_FIELDS(400, "space before a colon", "X : a"),
    BAD_FIELDS(400, "tab before a colon", "X\t: a"),
    BAD_FIELDS(400, "space before a length's colon", "Content-Length : 5"),
    BAD_FIELDS(400, "space before a coding's colon", "Transfer-Encoding : chunked"),
    BAD_FIELDS(400, "space in a name", "X Y: a"),
    BAD_FIELDS(400, "NUL in a name", "X\0Y: a"),
    BAD_FIELDS(400, "control in a name", "X\x01: a"),
    BAD_FIELDS(400, "brackets in a name", "X(Y): a"),
    BAD_FIELDS(400, "quotes in a name", "\"X\": a"),
    BAD_FIELDS(400, "byte above 127 in a name", "X\xe4: a"),
    BAD_FIELDS(400, "two types", "Content-Type: a\r\nContent-Type: a"),
    BAD_FIELDS(400, "two TTLs", "Fog-TTL: 1\r\nX: y\r\nfog-ttl: 1"),
    BAD_FIELDS(400, "two versions", "Fog-Version: 1\r\nFog-Version: 2"),
    BAD_FIELDS(431, "thirteen known ones",
               "Prefer: 1\r\nPrefer: 2\r\nPrefer: 3\r\nPrefer: 4\r\nPrefer: 5\r\nPrefer: "
               "6\r\nPrefer: 7\r\n"
               "Prefer: 8\r\nPrefer: 9\r\nPrefer: 10\r\nPrefer: 11\r\nPrefer: 12\r\nPrefer: 13"),
    BAD_FIELDS(431, "seventeen known ones, of a gateway",
               "Via: 1\r\nVia: 2\r\nVia: 3\r\nVia: 4\r\nVia: 5\r\nPrefer: 6\r\nPrefer: 7\r\n"
               "Prefer: 8\r\nPrefer: 9\r\nPrefer: 10\r\nPrefer: 11\r\nPrefer: 12\r\nPrefer: 13\r\n"
               "Prefer: 14\r\nPrefer: 15\r\nPrefer: 16\r\nPrefer: 17"),

    REFUSED(400, "host: none", "GET / HTTP/1.1\r\nX: y\r\n\r\n"),
    REFUSED(400, "host: no fields", "GET / HTTP/1.1\r\n\r\n"),
    REFUSED(400, "host: none, HTTP/1.2", "GET / HTTP/1.2\r\n\r\n"),
    REFUSED(400, "host: none but an absolute target", "GET http://x/ HTTP/1.1\r\n\r\n"),
    REFUSED(400, "host: two", "GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n"),
    REFUSED(400, "host: two of different case",
            "GET / HTTP/1.1\r\nHost: x\r\nX: y\r\nhost: z\r\n\r\n"),
    REFUSED(400, "host: two empty ones", "GET / HTTP/1.1\r\nHost:\r\nHost:\r\n\r\n"),
    REFUSED(400, "host: two, HTTP/1.0", "GET / HTTP/1.0\r\nHost: x\r\nHost: x\r\n\r\n"),
    BAD_HOST("x y"),
    BAD_HOST("x\ty"),
    BAD_HOST("x, y"),
    BAD_HOST("x,y"),
    BAD_HOST("x/y"),
    BAD_HOST("http://x"),
    BAD_HOST("user@x"),
    BAD_HOST("x:y"),
    BAD_HOST("x:1:2"),
    BAD_HOST("::1"),
    BAD_HOST("[::1"),
    BAD_HOST("[]"),
    BAD_HOST("[::1]8000"),
    BAD_HOST("[::1]]"),
    BAD_HOST("x?y"),
    BAD_HOST("x#y"),
    BAD_HOST("x\\y"),
    BAD_HOST("\"x\""),
    BAD_HOST("<x>"),
    BAD_HOST("\xc3\xa4"),
    BAD_HOST("x\0y"),

    BAD_FIELDS(400, "length empty", "Content-Length:"),
    BAD_FIELDS(400, "length blank", "Content-Length: \t "),
    BAD_FIELDS(400, "length negative", "Content-Length: -5"),
    BAD_FIELDS(400, "length with plus", "Content-Length: +5"),
    BAD_FIELDS(400, "length in hex", "Content-Length: 0x5"),
    BAD_FIELDS(400, "length with a letter", "Content-Length: 5a"),
    BAD_FIELDS(400, "length with a dot", "Content-Length: 5.0"),
    BAD_FIELDS(400, "length with a space", "Content-Length: 5 5"),
    BAD_FIELDS(400, "length with a semicolon", "Content-Length: 5;"),
    BAD_FIELDS(400, "length in quotes", "Content-Length: \"5\""),
    BAD_FIELDS(400, "length in a list", "Content-Length: 5, 5"),
    BAD_FIELDS(400, "length and a comma", "Content-Length: 5,"),
    BAD_FIELDS(400, "length twice, equal", "Content-Length: 5\r\nContent-Length: 5"),
    BAD_FIELDS(400, "length twice, different", "Content-Length: 5\r\ncontent-length: 6"),
    BAD_FIELDS(400, "length twice, zero", "Content-Length: 0\r\nX: y\r\nContent-Length: 0"),
    BAD_FIELDS(400, "length 2^63", "Content-Length: 9223372036854775808"),
    BAD_FIELDS(400, "length 2^64 - 1", "Content-Length: 18446744073709551615"),
    BAD_FIELDS(400, "length 2^64", "Content-Length: 18446744073709551616"),
    BAD_FIELDS(400, "length 2^64 + 5", "Content-Length: 18446744073709551621"),
    BAD_FIELDS(400, "length of 40 digits",
               "Content-Length: 1111111111111111111111111111111111111111"),
    BAD_FIELDS(400, "length and chunked", "Content-Length: 5\r\nTransfer-Encoding: chunked"),
    BAD_FIELDS(400, "chunked and length", "Transfer-Encoding: chunked\r\nContent-Length: 5"),
    BAD_FIELDS(400, "chunked and length 0", "Transfer-Encoding: chunked\r\nContent-Length: 0"),
    BAD_FIELDS(400, "chunked twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
    BAD_FIELDS(400, "chunked twice, apart",
               "Transfer-Encoding: chunked\r\nX: y\r\ntransfer-encoding: chunked"),
    BAD_FIELDS(400, "gzip, then chunked", "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked"),
    REFUSED(400, "fields: chunked in HTTP/1.0",
            "POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"),
    REFUSED(400, "fields: gzip in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: gzip\r\n\r\n"),
    BAD_CODING(400, "gzip"),
    BAD_CODING(400, "identity"),
    BAD_CODING(400, "xchunked"),
    BAD_CODING(400, "chunkedx"),
    BAD_CODING(400, "gzip, deflate"),
    BAD_CODING(501, "gzip, chunked"),
    BAD_CODING(501, "gzip,\tdeflate , Chunked"),
    BAD_CODING(400, "chunked, chunked"),
    BAD_CODING(400, "chunked, gzip"),
    BAD_CODING(400, "chunked, identity"),
    BAD_CODING(400, "chunked,"),
    BAD_CODING(400, ", chunked"),
    BAD_CODING(400, ""),
    BAD_CODING(400, ","),
    BAD_CODING(400, "\"chunked\""),
    BAD_CODING(400, "chunked;q=1"),
    BAD_CODING(400, "chunked foo"),
    BAD_CODING(400, "\x0b"
                    "chunked"),

    BAD_FIELDS(417, "Expect: something else", "Expect: 200-ok"),
    BAD_FIELDS(417, "Expect: more than 100-continue", "Expect: 100-continue, 200-ok"),
    BAD_FIELDS(417, "Expect: something else behind it", "Expect: 100-continue\r\nExpect: 200-ok"),
};

/* Limits */

static struct slice filled(char *data, size_t len, const char *start, char filler, const char *end)
{
    memset(data, filler, len);
    memcpy(data, start, strlen(start));
    memcpy(data + len - strlen(end), end, strlen(end));
    return (struct slice){data, len};
}

static void method_at_the_limit(void **state)
{
    (void)state;
    struct slice method = SLICE("ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG");
    assert_string_equal(parse(method).text, "501");
    method.len--;
    assert_int_equal(parse(method).result, HTTP_MORE);
}

static void target_at_the_limit(void **state)
{
    (void)state;
    static char data[GUARD_BYTES_MAX];
    const char *start = "GET /", *end = " HTTP/1.1\r\nHost: x\r\n\r\n";
    size_t len = strlen("GET ") + HTTP_TARGET_BYTES_MAX + strlen(end);
    struct outcome got = parse(filled(data, len, start, 'k', end));
    assert_int_equal(got.result, HTTP_OK);
    assert_int_equal(got.head.target.len, HTTP_TARGET_BYTES_MAX);
    struct slice over = filled(data, len + 1, start, 'k', end);
    assert_string_equal(parse(over).text, "414");
    over.len = strlen("GET ") + HTTP_TARGET_BYTES_MAX;
    assert_int_equal(parse(over).result, HTTP_MORE);
    over.len++;
    assert_string_equal(parse(over).text, "414");
}

static void head_at_the_limit(void **state)
{
    (void)state;
    static char data[GUARD_BYTES_MAX];
    const char *start = "GET / HTTP/1.1\r\nHost: x\r\nX: ", *end = "\r\n\r\n";
    struct slice head = filled(data, HTTP_HEAD_BYTES_MAX, start, 'v', end);
    struct outcome got = parse(head);
    assert_int_equal(got.result, HTTP_OK);
    assert_int_equal(got.head.head_bytes, HTTP_HEAD_BYTES_MAX);
    assert_int_equal(parse_with(head, "GET", 3).result, HTTP_OK);
    head.len--;
    assert_int_equal(parse(head).result, HTTP_MORE);
    head = filled(data, HTTP_HEAD_BYTES_MAX + 1, start, 'v', end);
    assert_string_equal(parse(head).text, "431");
    head.len--;
    assert_string_equal(parse(head).text, "431");
    head.len--;
    assert_int_equal(parse(head).result, HTTP_MORE);
    head = filled(data, sizeof data, start, 'v', end);
    assert_string_equal(parse(head).text, "431");
}

/* What is said of a line must be true of it. */
static void ends_of_request_lines(void **state)
{
    static const char version[] =
        "The version, such as HTTP/1.1, must follow the first space behind "
        "the target; in a key write a space as %20.";
    static const char end[] = "A request line must end with CR LF right behind the version.";
    static const struct {
        const char *head, *sentence;
    } rows[] = {
        {"GET /a HTTP/1.1\nHost: x\n\n", end},
        {"GET /a HTTP/1.1 \r\nHost: x\r\n\r\n", end},
        {"GET /a HTTP/1.10\r\nHost: x\r\n\r\n", end},
        {"GET /a\n\n", "A request target must be followed by one space and the version."},
        {"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", version},
        {"GET /a  HTTP/1.1\r\nHost: x\r\n\r\n", version},
        {"GET /a \r\nHost: x\r\n\r\n", version},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct http_head head;
        struct http_error error = {0};
        size_t len = strlen(rows[i].head);
        assert_int_equal(http_head_parse(NULL, rows[i].head, len, &head, &error), HTTP_BAD);
        assert_string_equal(error.sentence, rows[i].sentence);
    }
}

static void many_fields(void **state)
{
    (void)state;
    static char data[HTTP_HEAD_BYTES_MAX + 100];
    size_t used = (size_t)snprintf(data, sizeof data, "GET / HTTP/1.1\r\nHost: x\r\n");
    while (used < HTTP_HEAD_BYTES_MAX - 5) {
        memcpy(data + used, "a:\r\n", 4);
        used += 4;
    }
    memcpy(data + used, "\r\n", 2);
    assert_string_equal(parse((struct slice){data, used + 2}).text, "GET 1.1 keep /");
}

/* Each byte in each place */

static struct outcome parse_byte(const char *start, int byte, const char *end)
{
    static char data[200];
    size_t len = strlen(start);
    memcpy(data, start, len);
    data[len++] = (char)byte;
    memcpy(data + len, end, strlen(end));
    return parse((struct slice){data, len + strlen(end)});
}

static bool token_byte(int byte)
{
    return byte > 0 && byte < 128 &&
           strchr("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
                  byte);
}

static void every_byte_in_a_target(void **state)
{
    (void)state;
    for (int byte = 0; byte < 256; byte++) {
        struct outcome got = parse_byte("GET /a", byte, "b HTTP/1.1\r\nHost: x\r\n\r\n");
        if (byte <= ' ' || byte == 127 || byte == '#') {
            assert_string_equal(got.text, "400");
            continue;
        }
        assert_int_equal(got.result, HTTP_OK);
        assert_int_equal(got.head.target.len, 4);
        assert_int_equal((unsigned char)got.head.target.data[2], byte);
    }
}

static void every_byte_in_a_value(void **state)
{
    (void)state;
    for (int byte = 0; byte < 256; byte++) {
        struct outcome got =
            parse_byte("GET / HTTP/1.1\r\nHost: x\r\nPrefer: a", byte, "b\r\n\r\n");
        if ((byte < ' ' && byte != '\t') || byte == 127) {
            assert_string_equal(got.text, "400");
            continue;
        }
        assert_int_equal(got.result, HTTP_OK);
        assert_int_equal(got.head.fields[0].value.len, 3);
        assert_int_equal((unsigned char)got.head.fields[0].value.data[1], byte);
    }
}

static void every_byte_in_a_name(void **state)
{
    (void)state;
    for (int byte = 0; byte < 256; byte++) {
        struct outcome got = parse_byte("GET / HTTP/1.1\r\nHost: x\r\nA", byte, "b: c\r\n\r\n");
        assert_string_equal(got.text, token_byte(byte) || byte == ':' ? "GET 1.1 keep /" : "400");
    }
}

static void every_byte_in_a_method(void **state)
{
    (void)state;
    for (int byte = 0; byte < 256; byte++) {
        struct outcome got = parse_byte("GE", byte, "T / HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_string_equal(got.text, token_byte(byte) ? "501" : "400");
    }
}

static void every_byte_in_a_host(void **state)
{
    (void)state;
    for (int byte = 0; byte < 256; byte++) {
        struct outcome got = parse_byte("GET / HTTP/1.1\r\nHost: a", byte, "1\r\n\r\n");
        bool good = token_byte(byte) && !strchr("#^`|", byte);
        good |= byte > 0 && byte < 128 && strchr("():;=", byte);
        assert_string_equal(got.text, good ? "GET 1.1 keep /" : "400");
    }
}

static void every_byte_in_a_length(void **state)
{
    (void)state;
    for (int byte = 0; byte < 256; byte++) {
        struct outcome got =
            parse_byte("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1", byte, "1\r\n\r\n");
        assert_int_equal(got.result, byte >= '0' && byte <= '9' ? HTTP_OK : HTTP_BAD);
    }
}

/* The rest */

/* What is remembered */

static size_t remembered(const struct http_reader *reader)
{
    size_t count = 0;
    for (size_t i = 0; i < HTTP_RECENT_MAX; i++)
        count += reader->recent[i].bytes > 0;
    return count;
}

static struct slice numbered_head(char *text, size_t room, int number, int spaces)
{
    int len = snprintf(text, room, "PUT /key HTTP/1.1\r\nHost: x\r\nFog-TTL: %*d\r\n\r\n", spaces,
                       number);
    return (struct slice){text, (size_t)len};
}

static void remembered_fields_are_found_to_the_byte(void **state)
{
    (void)state;
    struct slice head = SLICE("PUT /key HTTP/1.1\r\nHost: x\r\nPrefer: wait=3\r\n"
                              "Fog-TTL: 7\r\nContent-Length: 12\r\n\r\n");
    char text[256];
    for (size_t at = 0; at < head.len; at++) {
        for (unsigned c = 0; c < 256; c++) {
            struct http_reader reader;
            struct outcome out, other;
            http_reader_init(&reader);
            outcome_of(&reader, head, &out);
            assert_int_equal(out.result, HTTP_OK);
            memcpy(text, head.data, head.len);
            text[at] = (char)c;
            outcome_of(&reader, (struct slice){text, head.len}, &out);
            outcome_of(NULL, (struct slice){text, head.len}, &other);
            outcome_assert_same(&out, &other);
        }
    }
}

static void remembered_fields_serve_all_usual_methods(void **state)
{
    (void)state;
    static const char *const lines[] = {"GET /a HTTP/1.1", "HEAD /bb HTTP/1.1",
                                        "POST http://h/c HTTP/1.1", "PUT / HTTP/1.1",
                                        "DELETE /%20 HTTP/1.1"};
    struct http_reader reader;
    struct outcome out;
    char text[256];
    http_reader_init(&reader);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        int len =
            snprintf(text, sizeof text, "%s\r\nHost: x\r\nContent-Length: 5\r\n\r\n", lines[i]);
        outcome_of(&reader, (struct slice){text, (size_t)len}, &out);
        assert_int_equal(out.result, HTTP_OK);
        assert_int_equal(out.head.method, HTTP_GET + i);
        assert_int_equal(out.head.head_bytes, len);
        assert_int_equal(out.head.content_length, 5);
        assert_int_equal(remembered(&reader), 1);
        assert_int_equal(reader.turn, i + 1);
    }
}

static void others_are_not_remembered(void **state)
{
    (void)state;
    static const char *const heads[] = {
        "OPTIONS /k HTTP/1.1\r\nHost: x\r\n\r\n", "GET /k HTTP/1.0\r\nHost: x\r\n\r\n",
        "GET /k HTTP/1.1\r\nHost: x\r\n\r", "GET /k HTTP/1.1\r\nHost: x y\r\n\r\n"};
    struct http_reader reader;
    struct outcome out;
    char text[HTTP_RECENT_BYTES_MAX + 100];
    http_reader_init(&reader);
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        outcome_of(&reader, slice_of(heads[i]), &out);
    outcome_of(&reader, numbered_head(text, sizeof text, 1, HTTP_RECENT_BYTES_MAX), &out);
    assert_int_equal(out.result, HTTP_OK);
    assert_int_equal(remembered(&reader), 0);
}

/* One that comes again and again stays, however many others come but once. What is remembered of it is marked, to see whether it is. */
static void those_found_longest_ago_are_forgotten(void **state)
{
    (void)state;
    struct http_reader reader;
    struct outcome out;
    char text[256];
    http_reader_init(&reader);
    outcome_of(&reader, numbered_head(text, sizeof text, -1, 4), &out);
    reader.recent[reader.last].head.content_length = 77;
    for (int i = 0; i < 1000; i++) {
        outcome_of(&reader, numbered_head(text, sizeof text, i, 4), &out);
        assert_int_equal(out.result, HTTP_OK);
        assert_int_equal(out.head.content_length, 0);
        if (i % (HTTP_RECENT_MAX - 1) > 0)
            continue;
        outcome_of(&reader, numbered_head(text, sizeof text, -1, 4), &out);
        assert_int_equal(out.head.content_length, 77);
    }
    assert_int_equal(remembered(&reader), HTTP_RECENT_MAX);
    for (int i = 0; i < HTTP_RECENT_MAX; i++)
        outcome_of(&reader, numbered_head(text, sizeof text, i, 4), &out);
    outcome_of(&reader, numbered_head(text, sizeof text, -1, 4), &out);
    assert_int_equal(out.head.content_length, 0);
}

/* A busy node has read more heads than 32 bits count in a few hours. Who comes after that takes the place of those that are gone. */
static void those_of_four_thousand_million_heads_ago_are_forgotten(void **state)
{
    (void)state;
    struct http_reader reader;
    struct outcome out;
    char text[256];
    http_reader_init(&reader);
    reader.turn = UINT32_MAX - HTTP_RECENT_MAX;
    for (int i = 0; i < HTTP_RECENT_MAX; i++)
        outcome_of(&reader, numbered_head(text, sizeof text, i, 4), &out);
    outcome_of(&reader, numbered_head(text, sizeof text, 0, 4), &out);
    outcome_of(&reader, numbered_head(text, sizeof text, 100, 4), &out);
    reader.recent[reader.last].head.content_length = 77;
    outcome_of(&reader, numbered_head(text, sizeof text, 101, 4), &out);
    outcome_of(&reader, numbered_head(text, sizeof text, 100, 4), &out);
    assert_int_equal(out.head.content_length, 77);
}

static void slices_point_into_the_buffer(void **state)
{
    (void)state;
    struct slice data =
        guard_copy(&guard, SLICE("GET http://a/b HTTP/1.1\r\nHost: x\r\nAccept: c\r\n\r\n"));
    struct http_head head;
    struct http_error error;
    assert_int_equal(http_head_parse(NULL, data.data, data.len, &head, &error), HTTP_OK);
    assert_ptr_equal(head.target.data, data.data + 12);
    assert_ptr_equal(head.fields[0].value.data, data.data + data.len - 5);
}

static void field_find(void **state)
{
    (void)state;
    struct outcome got =
        parse(SLICE("GET / HTTP/1.1\r\nHost: x\r\nPrefer: a\r\nFog-TTL: 1\r\nPrefer: b\r\n\r\n"));
    assert_ptr_equal(http_field_find(&got.head, HTTP_FIELD_PREFER), &got.head.fields[0]);
    assert_ptr_equal(http_field_find(&got.head, HTTP_FIELD_FOG_TTL), &got.head.fields[1]);
    assert_null(http_field_find(&got.head, HTTP_FIELD_ACCEPT));
    got = parse(SLICE("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert_null(http_field_find(&got.head, HTTP_FIELD_PREFER));
}

static void assert_decoded(struct slice in, struct slice wanted)
{
    char out[600];
    long len = http_percent_decode(guard_copy(&guard, in), out);
    assert_int_equal(len, wanted.len);
    assert_memory_equal(out, wanted.data, wanted.len);
}

static void percent_decode(void **state)
{
    (void)state;
    assert_decoded(SLICE(""), SLICE(""));
    assert_decoded(SLICE("plain/key?a=b+c"), SLICE("plain/key?a=b+c"));
    assert_decoded(SLICE("%41%62%2F%2f"), SLICE("Ab//"));
    assert_decoded(SLICE("%00"), SLICE("\0"));
    assert_decoded(SLICE("%25%32%35"), SLICE("%25"));
    assert_decoded(SLICE("%2541"), SLICE("%41"));
    assert_decoded(SLICE("\xd0\xba%D0%bA"), SLICE("\xd0\xba\xd0\xba"));
    for (int byte = 0; byte < 256; byte++) {
        char in[4], wanted = (char)byte;
        snprintf(in, sizeof in, byte % 2 ? "%%%02X" : "%%%02x", (unsigned)byte);
        assert_decoded(slice_of(in), (struct slice){&wanted, 1});
    }
}

static void percent_decode_in_place(void **state)
{
    (void)state;
    char key[] = "a%20b%25c";
    assert_int_equal(http_percent_decode(slice_of(key), key), 5);
    assert_memory_equal(key, "a b%c", 5);
}

static void percent_decode_refuses(void **state)
{
    (void)state;
    static const struct slice bad[] = {{"%", 1},     {"%4", 2},  {"a%", 2},       {"%zz", 3},
                                       {"%4g", 3},   {"%g4", 3}, {"%%41", 4},     {"%-1", 3},
                                       {"% 4", 3},   {"%4 ", 3}, {"%\0a", 3},     {"%u0041", 6},
                                       {"abc%2", 5}, {"%0x", 3}, {"%\xff\xff", 3}};
    char out[10];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(http_percent_decode(guard_copy(&guard, bad[i]), out), -EINVAL);
}

static void percent_encode(void **state)
{
    (void)state;
    char out[3 * 256];
    size_t len = http_percent_encode(SLICE("az-AZ_09.~/ %?#+\0\xff\"&'()*,:;=@[]"), out);
    static const char wanted[] =
        "az-AZ_09.~/%20%25%3F%23%2B%00%FF%22%26%27%28%29%2A%2C%3A%3B%3D%40%5B%5D";
    assert_int_equal(len, sizeof wanted - 1);
    assert_memory_equal(out, wanted, len);
}

static void percent_encode_and_back(void **state)
{
    (void)state;
    char all[256], encoded[3 * sizeof all], decoded[sizeof all];
    for (int byte = 0; byte < 256; byte++)
        all[byte] = (char)byte;
    size_t len = http_percent_encode((struct slice){all, sizeof all}, encoded);
    for (size_t i = 0; i < len; i++)
        assert_true(encoded[i] > ' ' && encoded[i] != '#' && encoded[i] != '?' && encoded[i] < 127);
    assert_int_equal(http_percent_decode((struct slice){encoded, len}, decoded), sizeof all);
    assert_memory_equal(decoded, all, sizeof all);
}

static void status_text(void **state)
{
    (void)state;
    assert_string_equal(http_status_text(200), "OK");
    assert_string_equal(http_status_text(204), "No Content");
    assert_string_equal(http_status_text(431), "Request Header Fields Too Large");
    assert_string_equal(http_status_text(507), "Insufficient Storage");
    assert_string_equal(http_status_text(0), "");
    assert_string_equal(http_status_text(299), "");
    assert_string_equal(http_status_text(600), "");
}

static const struct CMUnitTest others[] = {
    cmocka_unit_test(method_at_the_limit),
    cmocka_unit_test(target_at_the_limit),
    cmocka_unit_test(head_at_the_limit),
    cmocka_unit_test(many_fields),
    cmocka_unit_test(ends_of_request_lines),
    cmocka_unit_test(every_byte_in_a_target),
    cmocka_unit_test(every_byte_in_a_value),
    cmocka_unit_test(every_byte_in_a_name),
    cmocka_unit_test(every_byte_in_a_method),
    cmocka_unit_test(every_byte_in_a_host),
    cmocka_unit_test(every_byte_in_a_length),
    cmocka_unit_test(remembered_fields_are_found_to_the_byte),
    cmocka_unit_test(remembered_fields_serve_all_usual_methods),
    cmocka_unit_test(others_are_not_remembered),
    cmocka_unit_test(those_found_longest_ago_are_forgotten),
    cmocka_unit_test(those_of_four_thousand_million_heads_ago_are_forgotten),
    cmocka_unit_test(slices_point_into_the_buffer),
    cmocka_unit_test(field_find),
    cmocka_unit_test(percent_decode),
    cmocka_unit_test(percent_decode_in_place),
    cmocka_unit_test(percent_decode_refuses),
    cmocka_unit_test(percent_encode),
    cmocka_unit_test(percent_encode_and_back),
    cmocka_unit_test(status_text),
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
    int failed = cmocka_run_group_tests_name("http", tests, NULL, NULL);
    guard_free(&guard);
    return failed;
}
