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
    static const char *const names[] = {"Accept",   "Content-Type",  "Fog-TTL", "Fog-Version",
                                        "If-Match", "If-None-Match", "Prefer"};
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

static struct outcome parse(struct slice data)
{
    struct outcome out = {.error = {.status = 7}};
    memset(&out.head, 0xa5, sizeof out.head);
    struct slice guarded = guard_copy(&guard, data);
    out.result = http_head_parse(guarded.data, guarded.len, &out.head, &out.error);
    if (out.result == HTTP_OK)
        outcome_describe(&out);
    if (out.result != HTTP_BAD) {
        assert_int_equal(out.error.status, 7); /* left alone */
        return out;
    }
    outcome_print(&out, "%u", out.error.status);
    size_t len = strlen(out.error.sentence);
    assert_true(len > 10 && out.error.sentence[len - 1] == '.' && !strchr(out.error.sentence, '\n'));
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
    static const struct slice behind[] = {{"GET /other HTTP/1.1\r\n\r\n", 23}, {"\r\n\r\n", 4},
                                          {" folded\r\n\r\n", 11},             {"\0\xff", 2},
                                          {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24}};
    for (size_t i = 0; i < sizeof behind / sizeof *behind; i++) {
        got = parse_with(test->data, behind[i].data, behind[i].len);
        assert_string_equal(got.text, test->wanted);
        assert_int_equal(got.head.head_bytes, test->data.len);
    }
}

#define TAKEN(name, data, wanted) {name, {data, sizeof data - 1}, wanted}
/* A request line alone, fields alone, one Host, one target in absolute form. */
#define LINE(name, line, wanted) TAKEN("line: " name, line "\r\nHost: x\r\n\r\n", wanted)
#define FIELDS(name, fields, wanted)                                                               \
    TAKEN("fields: " name, "POST / HTTP/1.1\r\nHost: x\r\n" fields "\r\n\r\n", "POST 1.1 " wanted)
#define OLD(name, fields, wanted)                                                                  \
    TAKEN("HTTP/1.0: " name, "POST / HTTP/1.0\r\n" fields "\r\n", "POST 1.0 " wanted)
#define HOST(host)                                                                                 \
    TAKEN("host: " host, "GET / HTTP/1.1\r\nHost: " host "\r\n\r\n", "GET 1.1 keep /")
#define ABSOLUTE(target, path)                                                                     \
    TAKEN("absolute: " target, "GET " target " HTTP/1.1\r\nHost: other\r\n\r\n", "GET 1.1 keep " path)

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
    OLD("Expect means nothing", "Expect: 100-continue\r\nContent-Length: 1\r\n", "close / length=1"),
    OLD("unknown Expect means nothing", "Expect: something\r\n", "close /"),
    OLD("all fields", "Fog-TTL: 5\r\nContent-Type: a/b\r\n", "close / Fog-TTL[5] Content-Type[a/b]"),

    FIELDS("one of each",
           "Accept: */*\r\nContent-Type: text/plain; charset=utf-8\r\nFog-TTL: 60\r\nFog-Version: 17\r\n"
           "If-Match: \"a\"\r\nIf-None-Match: *\r\nPrefer: wait=9",
           "keep / Accept[*/*] Content-Type[text/plain; charset=utf-8] Fog-TTL[60] Fog-Version[17] "
           "If-Match[\"a\"] If-None-Match[*] Prefer[wait=9]"),
    FIELDS("names in any case", "fOG-ttl: 1\r\nIF-NONE-MATCH: 2\r\nprefer: 3",
           "keep / Fog-TTL[1] If-None-Match[2] Prefer[3]"),
    FIELDS("lists in several lines",
           "Prefer: a\r\nAccept: b\r\nPrefer: c\r\nAccept: d\r\nIf-None-Match: e\r\nIf-None-Match: f",
           "keep / Prefer[a] Accept[b] Prefer[c] Accept[d] If-None-Match[e] If-None-Match[f]"),
    FIELDS("twelve known ones",
           "Prefer: 1\r\nPrefer: 2\r\nPrefer: 3\r\nPrefer: 4\r\nPrefer: 5\r\nPrefer: 6\r\nPrefer: 7\r\n"
           "Prefer: 8\r\nPrefer: 9\r\nPrefer: 10\r\nPrefer: 11\r\nPrefer: 12",
           "keep / Prefer[1] Prefer[2] Prefer[3] Prefer[4] Prefer[5] Prefer[6] Prefer[7] Prefer[8] "
           "Prefer[9] Prefer[10] Prefer[11] Prefer[12]"),
    FIELDS("blanks around values", "Prefer: \t a b\t \r\nAccept:c\r\nFog-TTL:\t1", "keep / Prefer[a b] Accept[c] Fog-TTL[1]"),
    FIELDS("empty values", "Prefer:\r\nAccept: \r\nX:\r\nY: \t \r\nContent-Type:", "keep / Prefer[] Accept[] Content-Type[]"),
    FIELDS("tabs and bytes above 127", "Content-Type: a\tb\xff\x80\r\nX\t", "") /* replaced below */,
};

/* Heads that are refused */
