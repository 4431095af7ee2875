#include "role/key.h"

#include "data/record.h"
#include "net/reply.h"

enum { UNQUOTED_BYTES_MAX = 16 }; /* of a preference's value that has escapes */

static bool refused(struct request *request, uint16_t status, const char *sentence)
{
    request_refuse(request, status, sentence);
    return false;
}

bool key_find(struct request *request, struct slice *key)
{
    struct slice raw = {request->head.target.data + 1, request->head.target.len - 1};
    *key = raw;
    if (raw.len > 3 * RECORD_KEY_BYTES_MAX)
        return refused(request, 414, "The key is longer than 4096 bytes.");
    if (memchr(raw.data, '%', raw.len)) {
        char *room = server_scratch(request->server);
        long decoded = http_percent_decode(raw, room);
        if (decoded < 0)
            return refused(request, 400,
                           "The key has a percent sign without two hexadecimal digits after it.");
        *key = (struct slice){room, (size_t)decoded};
    }
    if (key->len > RECORD_KEY_BYTES_MAX)
        return refused(request, 414, "The key is longer than 4096 bytes.");
    if (slice_starts(*key, SLICE("-/")))
        return refused(request, 403, "Keys that begin with -/ are reserved for operations.");
    if (key->data != raw.data)
        server_scratch_use(request->server, key->len);
    return true;
}

/* What a quoted string says (RFC 9110, 5.6.4), or the token itself. Those with escapes are written to `room`, and are nothing when they
 * are longer: no value here is. */
static struct slice unquote(struct slice value, char room[UNQUOTED_BYTES_MAX])
{
    if (value.len < 2 || value.data[0] != '"' || value.data[value.len - 1] != '"')
        return value;
    value = (struct slice){value.data + 1, value.len - 2};
    if (value.len == 0 || !memchr(value.data, '\\', value.len))
        return value;
    size_t used = 0;
    for (size_t i = 0; i < value.len; i++) {
        if (value.data[i] == '\\' && i + 1 < value.len)
            i++;
        if (used == UNQUOTED_BYTES_MAX)
            return (struct slice){0};
        room[used++] = value.data[i];
    }
    return (struct slice){room, used};
}

/* One preference, such as "wait=10", also with spaces, quotes and parameters (RFC 7240, 2). Of several of a name the first counts. */
static void take_preference(struct key_options *options, struct slice preference)
{
    struct slice name = {0}, value = {0};
    unsigned long long number;
    char room[UNQUOTED_BYTES_MAX];
    slice_next(&preference, ';', &value); /* its parameters say nothing here */
    slice_next(&value, '=', &name);
    value = unquote(slice_trim(value), room);
    bool is_copies = slice_equal_nocase(name, SLICE("copies"));
    if (is_copies && !options->copies && slice_equal_nocase(value, SLICE("all")))
        options->copies = UINT32_MAX;
    options->all_deletes |=
        slice_equal_nocase(name, SLICE("deletes")) && slice_equal_nocase(value, SLICE("all"));
    if (!slice_number(value, UINT64_MAX, &number))
        return;
    if (is_copies && !options->copies) /* UINT32_MAX is for all */
        options->copies = (uint32_t)(number < UINT32_MAX ? number : UINT32_MAX - 1);
    if (slice_equal_nocase(name, SLICE("wait")) && !options->waits) {
        options->waits = true;
        options->wait_seconds =
            (uint16_t)(number < KEY_WAIT_SECONDS_MAX ? number : KEY_WAIT_SECONDS_MAX);
    }
}

static void take_preferences(const struct request *request, struct key_options *options)
{
    for (unsigned i = 0; i < request->head.field_count; i++) {
        struct slice list = request->head.fields[i].value, one;
        if (request->head.fields[i].name == HTTP_FIELD_PREFER)
            while (slice_next(&list, ',', &one))
                take_preference(options, one);
    }
}

/* What its client has seen, wherever that was, and the write has to win over; or the version that the write shall have: one that is
 * tried again has that of the first try. There have to be larger ones, or nothing could be written over it. What was seen may have been
 * written over the largest that can be asked for, again and again. */
static void take_version(struct request *request, struct key_options *options)
{
    const struct http_field *after = http_field_find(&request->head, HTTP_FIELD_FOG_AFTER);
    const struct http_field *exact = http_field_find(&request->head, HTTP_FIELD_FOG_VERSION);
    unsigned long long version;
    options->follows = after != NULL;
    if (after && slice_number(after->value, KEY_AFTER_MAX, &version))
        options->version = version + 1;
    else if (after)
        request_refuse(request, 400,
                       "Fog-After takes a version, as Fog-Version gives it, up to "
                       "18446744069414584319.");
    if (!exact)
        return;
    options->exact = slice_number(exact->value, INT64_MAX, &version) && version > 0;
    if (options->exact)
        options->version = version;
    else
        request_refuse(request, 400,
                       "Fog-Version takes a whole number of microseconds since 1970, up to "
                       "9223372036854775807.");
}

/* Until when the write may be carried out: later it has been given up, and may have been tried elsewhere. */
static void take_before(struct request *request, struct key_options *options)
{
    const struct http_field *field = http_field_find(&request->head, HTTP_FIELD_FOG_BEFORE);
    unsigned long long before_us;
    if (!field)
        return;
    if (slice_number(field->value, UINT64_MAX, &before_us) && before_us > 0)
        options->before_us = before_us;
    else
        request_refuse(request, 400, "Fog-Before takes a whole number of microseconds since 1970.");
}

static void check_method(struct request *request)
{
    bool writes = key_is_set(request) || request->head.method == HTTP_DELETE;
    const struct http_field *condition = http_field_find(&request->head, HTTP_FIELD_IF_MATCH);
    if (!condition && writes)
        condition = http_field_find(&request->head, HTTP_FIELD_IF_NONE_MATCH);
    if (condition && writes)
        request_refuse(request, 501,
                       "Writes on conditions are not possible, since every node takes writes.");
}

/* A part of a value cannot be set; to take it for the whole would lose the rest (RFC 9110, 14.5). */
static void check_range(struct request *request)
{
    if (request->head.method == HTTP_PUT &&
        http_field_find(&request->head, HTTP_FIELD_CONTENT_RANGE))
        request_refuse(request, 400,
                       "A part of a value cannot be set: Content-Range is not possible.");
}

static void check_set(struct request *request, uint64_t value_max, struct key_options *options)
{
    const struct http_field *ttl = http_field_find(&request->head, HTTP_FIELD_FOG_TTL);
    const struct http_field *type = http_field_find(&request->head, HTTP_FIELD_CONTENT_TYPE);
    if (request->head.content_length > value_max)
        request_refuse(request, 413, "The value is larger than this node takes (--value-max).");
    if (type && type->value.len > RECORD_TYPE_BYTES_MAX)
        request_refuse(request, 400, "The Content-Type is longer than 255 bytes.");
    if (!ttl)
        return;
    unsigned long long seconds;
    if (!slice_number(ttl->value, KEY_TTL_SECONDS_MAX, &seconds) || seconds == 0)
        request_refuse(request, 400,
                       "Fog-TTL takes a whole number of seconds, from 1 to 2147483647.");
    else
        options->ttl_seconds = (uint32_t)seconds;
}

void key_options_read(struct request *request, uint64_t value_max, struct key_options *options)
{
    if (key_is_set(request))
        check_set(request, value_max, options);
    if (request->head.field_count == 0)
        return;
    check_method(request);
    check_range(request);
    take_preferences(request, options);
    if (request->head.method < HTTP_POST)
        return;
    take_version(request, options);
    take_before(request, options);
}

bool key_prefers_all_deletes(const struct request *request)
{
    struct key_options options = {0};
    take_preferences(request, &options);
    return options.all_deletes;
}

void key_reply_not_allowed(struct request *request)
{
    reply_not_allowed(request, SLICE("GET, HEAD, POST, PUT, DELETE"));
}

bool key_list_read(struct slice query, struct key_list *list)
{
    unsigned long long limit;
    *list = (struct key_list){.limit = UINT64_MAX};
    if (slice_starts(query, SLICE("limit="))) {
        const char *end = memchr(query.data, '&', query.len);
        size_t len = end ? (size_t)(end - query.data) : query.len;
        if (!slice_number((struct slice){query.data + 6, len - 6}, UINT64_MAX, &limit) ||
            limit == 0)
            return false;
        list->limit = limit;
        if (!end)
            return true;
        query = (struct slice){end + 1, query.len - len - 1};
    } else if (query.len == 0)
        return true;
    if (!slice_starts(query, SLICE("prefix=")))
        return false;
    list->prefix = (struct slice){query.data + 7, query.len - 7};
    /* "prefix=P&limit=N" would be taken for a prefix that no key has */
    return list->limit < UINT64_MAX || !memmem(query.data, query.len, "&limit=", 7);
}
