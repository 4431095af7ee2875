#include "call.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ID_BYTES = 8, /* a value begins with its number, as far as it is long enough */
    CHUNKS_MAX = 12,
    HUGE_HEAD_BYTES = 40 * 1024,
};

/* Keys */

/* What stands around a key's number: bytes that must be encoded, or that look like something else. */
static const struct {
    const char *before, *after;
    size_t after_bytes;
} oddities[] = {
    {"k", "", 0},         {"k", "?x=1&y", 6},   {"/", "//b/../c", 8},
    {"k", "\0\1\377", 3}, {"..", "/.", 2},      {"\303\244", "\342\202\254", 3},
    {"%", "%2F", 3},      {"-", "#\"<> ", 5},   {"k", "\r\nX: y\r\n\r\n", 10},
    {"k", "/-/merge", 8}, {"http://", "/x", 2}, {"k", " HTTP/1.1", 9},
};

enum { ODDITIES = sizeof oddities / sizeof *oddities };

void call_name_key(struct model_key *key, struct rng *rng)
{
    uint64_t odd = rng_chance(rng, 500000) ? 0 : rng_below(rng, ODDITIES);
    uint64_t fill = rng_chance(rng, 30000) ? rng_between(rng, 200, 4000) : 0;
    struct bytes name = {0};
    bytes_print(&name, "%s%u", oddities[odd].before, key->number);
    bytes_add(&name, oddities[odd].after, oddities[odd].after_bytes);
    memset(bytes_grow(&name, fill), 'x', fill);
    model_key_name(key, name.data, name.len);
}

static bool may_stand_plain(unsigned char byte)
{
    return byte > 32 && byte < 127 && byte != '%' && byte != '#' && byte != '"' && byte != '<' &&
           byte != '>' && byte != '\\' && byte != '^' && byte != '`' && byte != '{' &&
           byte != '|' && byte != '}';
}

void call_put_key(struct bytes *out, const struct model_key *key, struct rng *rng)
{
    static const char hex[] = "0123456789ABCDEF0123456789abcdef";
    bool often = rng && rng_chance(rng, 100000);
    for (size_t i = 0; i < key->name_bytes; i++) {
        unsigned char byte = (unsigned char)key->name[i];
        if (may_stand_plain(byte) && !(often && rng_chance(rng, 300000))) {
            *bytes_grow(out, 1) = (char)byte;
            continue;
        }
        size_t small = rng ? rng_below(rng, 2) * 16 : 0;
        char escape[3] = {'%', hex[small + byte / 16], hex[small + byte % 16]};
        bytes_add(out, escape, sizeof escape);
    }
}

/* Values */

/* Puts a value's bytes from `from` on to `out`. */
static void value_put(const struct scene *scene, uint64_t id, uint64_t from, uint64_t bytes,
                      char *out)
{
    uint64_t offset = id * 2654435761u % SCENE_VALUE_BYTES_MAX;
    uint64_t number = htole64(id * 0x9e3779b97f4a7c15u);
    memcpy(out, scene->block + offset + from, bytes);
    for (uint64_t i = 0; from + i < ID_BYTES && i < bytes; i++)
        out[i] = ((const char *)&number)[from + i];
}

struct model_content call_content(const struct scene *scene, uint64_t id, uint64_t bytes,
                                  unsigned type)
{
    struct fold fold;
    char start[ID_BYTES];
    uint64_t first = bytes < ID_BYTES ? bytes : ID_BYTES;
    uint64_t offset = id * 2654435761u % SCENE_VALUE_BYTES_MAX;
    fold_init(&fold);
    value_put(scene, id, 0, first, start);
    fold_add(&fold, start, first);
    fold_add(&fold, scene->block + offset + first, bytes - first);
    return (struct model_content){.hash = fold_end(&fold), .bytes = bytes, .type = type};
}

/* Types: as sent, and as kept. */
static const struct {
    const char *sent, *kept;
} types[] = {
    {NULL, "application/octet-stream"},
    {"text/plain", "text/plain"},
    {"application/json", "application/json"},
    {"text/html; charset=utf-8", "text/html; charset=utf-8"},
    {"multipart/mixed; boundary=\"a b; c\"", "multipart/mixed; boundary=\"a b; c\""},
    {"x/" /* 200 bytes */
     "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
     "yyyyyy"
     "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
     "yyyyyy",
     "x/"
     "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
     "yyyyyy"
     "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
     "yyyyyy"},
    {"application/x-www-form-urlencoded",
     "application/octet-stream"}, /* curl's, which is not kept */
    {"", "application/octet-stream"},
};

enum { TYPES = sizeof types / sizeof *types };

int call_type_number(const char *type)
{
    for (int i = 0; i < TYPES; i++)
        if (strcmp(types[i].kept, type) == 0)
            return i;
    return -1;
}

/* Fixed requests */

static const struct call_text pages[] = {
    {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", {200}},
    {"GET / HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\n\r\n", {200}},
    {"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", {200}},
    {"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n", {200}},
    {"GET /-/ready HTTP/1.1\r\nHost: x\r\n\r\n", {200}},
    {"GET /-/status HTTP/1.1\r\nHost: x\r\n\r\n", {200}},
    {"GET /-/metrics HTTP/1.1\r\nHost: x\r\n\r\n", {200}},
    {"GET /-/digest HTTP/1.1\r\nHost: x\r\n\r\n", {200}},
    {"GET /-/digest/00 HTTP/1.1\r\nHost: x\r\n\r\n", {200}},
    {"GET /-/digest/7f/00 HTTP/1.1\r\nHost: x\r\n\r\n", {200}},
    {"GET /-/keys?prefix= HTTP/1.1\r\nHost: x\r\n\r\n", {200}},
    {"HEAD /-/keys HTTP/1.1\r\nHost: x\r\n\r\n", {200}},
    {"GET /-/keys?prefix=k1 HTTP/1.1\r\nHost: x\r\n\r\n", {200}},
    {"GET /-/records HTTP/1.1\r\nHost: x\r\n\r\n", {200}},
    {"GET /-/history HTTP/1.1\r\nHost: x\r\n\r\n", {200}},
    {"GET /-/nothing HTTP/1.1\r\nHost: x\r\n\r\n", {404}},
    {"DELETE /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n", {405}},
    {"PUT /-/nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", {403}},
    {"PATCH /k0 HTTP/1.1\r\nHost: x\r\n\r\n", {405}},
    {"PUT /k0 HTTP/1.1\r\nHost: x\r\nFog-TTL: 0\r\nContent-Length: 3\r\n\r\nbad", {400}},
    {"PUT /k0 HTTP/1.1\r\nHost: x\r\nFog-TTL: soon\r\nContent-Length: 3\r\n\r\nbad", {400}},
    {"PUT /k0 HTTP/1.1\r\nHost: x\r\nIf-Match: \"x\"\r\nContent-Length: 3\r\n\r\nbad", {501}},
    {"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", {400}},
    {"DELETE /-%2Fx HTTP/1.1\r\nHost: x\r\n\r\n", {403}},
    {"POST /-/merge HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", {400}},
    {"POST /-/merge HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", {200}},
    {"POST /-/merge HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
     "5\r\nhello\r\n0\r\n\r\n",
     {400}},
};

enum { PAGES = sizeof pages / sizeof *pages };

/* What can be read in two ways, or not at all. */
static const struct call_text bad[] = {
    {"GET /k0 HTTP/1.1\r\n\r\n", {400}},
    {"GET /k0 HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", {400}},
    {"GET  /k0 HTTP/1.1\r\nHost: x\r\n\r\n", {400}},
    {"GET /k0 HTTP/1.1\r\nHost: x\r\nX-A : b\r\n\r\n", {400}},
    {"GET /k0 HTTP/1.1\r\nHost: x\r\nX-A: b\r\n c\r\n\r\n", {400}},
    {"GET /k0 HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", {400}},
    {"GET /k0 HTTP/1.1\nHost: x\n\n", {400}},
    {"GET /k0 HTTP/2.0\r\nHost: x\r\n\r\n", {505}},
    {"GET /k0 HTTPS/1.1\r\nHost: x\r\n\r\n", {400}},
    {"PUT /k0 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nbad!", {400}},
    {"PUT /k0 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
     "3\r\nbad\r\n0\r\n\r\n",
     {400}},
    {"PUT /k0 HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nbad", {400}},
    {"PUT /k0 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n3\r\nbad\r\n0\r\n\r\n",
     {501}},
    {"PUT /k0 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nbad\r\n0\r\n\r\n",
     {400}},
    {"PUT /k0 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nbadly\r\n0\r\n\r\n",
     {400}},
    {"PUT /k0 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nbad\r\n0\r\nA : "
     "b\r\n\r\n",
     {400}},
    {"PUT /k0 HTTP/1.1\r\nHost: x\r\nExpect: magic\r\nContent-Length: 3\r\n\r\nbad", {417}},
    {"hello, is this a server?\r\n\r\n", {400}},
    {"\x16\x03\x01\x02\x01\x01\x01\x01\xfc\x03\x03", {400}},
    {"*1\r\n$4\r\nPING\r\n", {400}},
};

enum { BADS = sizeof bad / sizeof *bad };

/* Heads that are too long, and are made when they are wanted. */
static const struct call_text huge_target = {NULL, {414, 431}};
static const struct call_text huge_head = {NULL, {431}};

static void compose_huge(struct call *call, struct bytes *out, bool target)
{
    call->fixed = target ? &huge_target : &huge_head;
    bytes_print(out, target ? "GET /" : "GET /k0 HTTP/1.1\r\nHost: x\r\nX-A: ");
    memset(bytes_grow(out, HUGE_HEAD_BYTES), 'a', HUGE_HEAD_BYTES);
    bytes_print(out, target ? " HTTP/1.1\r\nHost: x\r\n\r\n" : "\r\n\r\n");
}

static void compose_bad(struct call *call, struct rng *rng, struct bytes *out)
{
    uint64_t number = rng_below(rng, BADS + 2);
    call->kind = CALL_BAD;
    if (number >= BADS) {
        compose_huge(call, out, number == BADS);
        return;
    }
    call->fixed = &bad[number];
    bytes_print(out, "%s", bad[number].text);
}

static void compose_page(struct call *call, struct rng *rng, struct bytes *out)
{
    call->kind = CALL_PAGE;
    call->fixed = &pages[rng_below(rng, PAGES)];
    call->head = strncmp(call->fixed->text, "HEAD", 4) == 0;
    bytes_print(out, "%s", call->fixed->text);
}

/* Requests on keys */

static void put_request_line(struct call *call, struct rng *rng, struct bytes *out,
                             const char *method, const char *typo)
{
    static const char *const hosts[] = {"Host: sim", "host: sim", "HOST:sim:8000",
                                        "Host: \t[::1] "};
    bytes_print(out, "%s /%s", method, typo);
    call_put_key(out, call->key, rng);
    bytes_print(out, " HTTP/1.%d\r\n", !call->old);
    if (!call->old || rng_chance(rng, 500000))
        bytes_print(out, "%s\r\n", hosts[rng_below(rng, 4)]);
}

static void put_head_end(struct call *call, struct bytes *out)
{
    if (call->close)
        bytes_print(out, "Connection: close\r\n");
    bytes_print(out, "\r\n");
}

/* If-None-Match with what somebody was told of this key, newer things more often. */
static void put_condition(struct call *call, struct rng *rng, struct bytes *out)
{
    uint64_t count = rng_between(rng, 1, CALL_ETAGS_MAX);
    const struct model_key *key = call->key;
    bytes_print(out, "If-None-Match: ");
    for (uint64_t i = 0; i < count; i++) {
        const char *etag = "\"absent\"";
        uint64_t back = rng_spread(rng, 0, 8);
        if (key->record_count > back && !rng_chance(rng, 150000) &&
            *key->records[key->record_count - 1 - back].etag)
            etag = key->records[key->record_count - 1 - back].etag;
        memcpy(call->etags[call->etag_count++], etag, strlen(etag) + 1);
        bytes_print(out, "%s%s%s", i ? ", " : "", rng_chance(rng, 200000) ? "W/" : "", etag);
    }
    bytes_print(out, "\r\n");
}

static void put_wait(struct call *call, struct scene *scene, struct rng *rng, struct bytes *out)
{
    uint64_t seconds = rng_between(rng, 1, 5);
    call->wait_us = seconds * 1000000;
    scene->world.counts.waits++;
    if (world_mutates(&scene->world, MUTANT_SHORT_WAIT, 500000))
        seconds--;
    bytes_print(out, "Prefer: wait=%llu\r\n", (unsigned long long)seconds);
}

static void compose_read(struct call *call, struct scene *scene, struct rng *rng, struct bytes *out)
{
    const struct habits *habits = &scene->habits;
    call->kind = CALL_READ;
    call->head = rng_chance(rng, habits->head_ppm);
    put_request_line(call, rng, out, call->head ? "HEAD" : "GET", "");
    if (rng_chance(rng, habits->match_ppm)) {
        put_condition(call, rng, out);
        if (rng_chance(rng, habits->wait_ppm))
            put_wait(call, scene, rng, out);
    }
    put_head_end(call, out);
}

void call_compose_read(struct call *call, struct model_key *key, struct bytes *out, uint64_t base)
{
    *call = (struct call){.kind = CALL_READ, .key = key, .begin = base + out->len};
    bytes_print(out, "GET /");
    call_put_key(out, key, NULL);
    bytes_print(out, " HTTP/1.1\r\nHost: sim\r\n\r\n");
    call->end = base + out->len;
}

static void compose_delete(struct call *call, struct scene *scene, struct rng *rng,
                           struct bytes *out)
{
    bool lost = world_mutates(&scene->world, MUTANT_LOST_DELETE, 50000);
    call->kind = CALL_DELETE;
    call->write = model_write_begin(&scene->model, call->key, (struct model_content){0}, true, 0);
    put_request_line(call, rng, out, "DELETE", lost ? "typo" : "");
    put_head_end(call, out);
}

/* A chunk's size line, sometimes with an extension. */
static void put_chunk_size(struct rng *rng, struct bytes *out, uint64_t bytes)
{
    static const char *const extensions[] = {"",        "", "", ";a", ";a=b", ";a=\"b;\\\"c\"",
                                             ";x=1;y=2"};
    bytes_print(out, rng_chance(rng, 500000) ? "%llx" : "%llX", (unsigned long long)bytes);
    bytes_print(out, "%s\r\n", extensions[rng_below(rng, sizeof extensions / sizeof *extensions)]);
}

static void put_chunks(struct scene *scene, struct rng *rng, struct bytes *out, uint64_t id,
                       uint64_t bytes)
{
    uint64_t from = 0;
    for (uint64_t left = rng_between(rng, 1, CHUNKS_MAX); from<bytes; left -= left> 1) {
        uint64_t chunk = left > 1 ? rng_between(rng, 1, bytes - from) : bytes - from;
        put_chunk_size(rng, out, chunk);
        value_put(scene, id, from, chunk, bytes_grow(out, chunk));
        bytes_print(out, "\r\n");
        from += chunk;
    }
    put_chunk_size(rng, out, 0);
    if (rng_chance(rng, 200000))
        bytes_print(out, "X-Trailer: here\r\nETag: \"none\"\r\n");
    bytes_print(out, "\r\n");
}

static void put_write_fields(struct call *call, struct rng *rng, struct bytes *out, uint64_t type)
{
    if (types[type].sent)
        bytes_print(out, "Content-Type: %s\r\n", types[type].sent);
    if (call->write->ttl_us)
        bytes_print(out, "Fog-TTL: %llu\r\n", (unsigned long long)(call->write->ttl_us / 1000000));
    if (call->expect)
        bytes_print(out, "Expect: 100-%s\r\n", rng_chance(rng, 500000) ? "continue" : "Continue");
}

static uint64_t pick_size(struct call *call, struct scene *scene, struct rng *rng, bool expires)
{
    uint64_t max = scene->limits.value_max;
    if (rng_chance(rng, scene->habits.too_large_ppm)) {
        call->too_large = true;
        return max + rng_spread(rng, 1, SCENE_VALUE_BYTES_MAX - max);
    }
    /* An expiring value is long enough to be told from all others. */
    return rng_chance(rng, 20000) ? max : rng_spread(rng, expires ? ID_BYTES : 0, max);
}

static void compose_write(struct call *call, struct scene *scene, struct rng *rng,
                          struct bytes *out)
{
    const struct habits *habits = &scene->habits;
    uint64_t id = ++scene->write_ids;
    uint64_t type = rng_chance(rng, habits->typed_ppm) ? rng_below(rng, TYPES) : 0;
    uint64_t ttl_s = rng_chance(rng, habits->ttl_ppm) ? rng_spread(rng, 1, 60) : 0;
    uint64_t bytes = pick_size(call, scene, rng, ttl_s > 0);
    struct model_content content =
        call_content(scene, id, bytes, (unsigned)call_type_number(types[type].kept));
    content.expires = ttl_s > 0;
    bool chunked = !call->old && rng_chance(rng, habits->chunked_ppm);
    bool lost = world_mutates(&scene->world, MUTANT_LOST_WRITE, 20000);
    call->kind = CALL_WRITE;
    call->expect = !call->old && bytes > 0 && rng_chance(rng, habits->expect_ppm);
    call->write = model_write_begin(&scene->model, call->key, content, false, ttl_s * 1000000);
    put_request_line(call, rng, out, rng_chance(rng, 500000) ? "PUT" : "POST", lost ? "typo" : "");
    put_write_fields(call, rng, out, type);
    if (chunked)
        bytes_print(out, "Transfer-Encoding: chunked\r\n");
    else if (bytes || call->old || rng_chance(rng, 700000))
        bytes_print(out, "Content-Length: %llu\r\n", (unsigned long long)bytes);
    put_head_end(call, out);
    call->hold = out->len;
    if (chunked)
        put_chunks(scene, rng, out, id, bytes);
    else
        value_put(scene, id, 0, bytes, bytes_grow(out, bytes));
}

void call_compose(struct call *call, struct scene *scene, struct rng *rng, struct model_key *key,
                  struct bytes *out, uint64_t base)
{
    const struct habits *habits = &scene->habits;
    *call = (struct call){.key = key, .begin = base + out->len};
    scene->world.counts.requests++;
    if (rng_chance(rng, habits->bad_ppm)) {
        compose_bad(call, rng, out);
    } else if (rng_chance(rng, habits->page_ppm)) {
        compose_page(call, rng, out);
    } else {
        call->old = rng_chance(rng, habits->old_http_ppm);
        call->close = !call->old && rng_chance(rng, habits->close_ppm);
        if (rng_chance(rng, habits->write_ppm))
            compose_write(call, scene, rng, out);
        else if (rng_chance(rng, habits->delete_ppm))
            compose_delete(call, scene, rng, out);
        else
            compose_read(call, scene, rng, out);
    }
    call->hold = call->expect ? base + call->hold : 0;
    call->end = base + out->len;
}
