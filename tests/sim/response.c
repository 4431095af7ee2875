#include "response.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void response_init(struct response *response, bool no_body, bool old, struct response_sink *sink)
{
    memset(response, 0, offsetof(struct response, kept));
    response->kept_bytes = response->line_bytes = 0;
    response->lines = 0;
    response->wrong = NULL;
    response->no_body = no_body;
    response->old = old;
    response->sink = sink;
    fold_init(&response->fold);
}

bool response_is_fresh(const struct response *response)
{
    return response->state == RESPONSE_HEAD && response->lines == 0 && response->line_bytes == 0;
}

static void wrong(struct response *response, const char *rule)
{
    if (!response->wrong)
        response->wrong = rule;
}

/* Small readers of text: each takes what it names off the front, or returns false. */

static bool take_text(const char **at, const char *text)
{
    size_t bytes = strlen(text);
    if (strncmp(*at, text, bytes) != 0)
        return false;
    *at += bytes;
    return true;
}

static bool take_number(const char **at, unsigned digits_max, uint64_t *out)
{
    const char *start = *at;
    *out = 0;
    while (**at >= '0' && **at <= '9' && (unsigned)(*at - start) < digits_max)
        *out = *out * 10 + (uint64_t)(*(*at)++ - '0');
    return *at > start && (**at < '0' || **at > '9');
}

static bool take_digits(const char **at, unsigned digits, uint64_t *out)
{
    const char *start = *at;
    return take_number(at, digits, out) && (unsigned)(*at - start) == digits;
}

static bool take_name(const char **at, const char *names, uint64_t *out)
{
    for (*out = 0; names[*out * 3]; ++*out) {
        if (strncmp(*at, names + *out * 3, 3) == 0) {
            *at += 3;
            return true;
        }
    }
    return false;
}

/* Days since 1970 of a date of the Gregorian calendar (month from 0). */
static uint64_t days_of(uint64_t year, uint64_t month, uint64_t day)
{
    static const unsigned before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    uint64_t years = year - 1970;
    uint64_t leaps = (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400 - 477;
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return years * 365 + leaps + before[month] + (leap && month > 1) + day - 1;
}

/* An IMF-fixdate whose day of the week is right. */
static bool date_parse(const char *text, uint64_t *seconds)
{
    uint64_t weekday, day, month, year, hour, minute, second;
    bool ok = take_name(&text, "ThuFriSatSunMonTueWed", &weekday) && take_text(&text, ", ") &&
              take_digits(&text, 2, &day) && take_text(&text, " ") &&
              take_name(&text, "JanFebMarAprMayJunJulAugSepOctNovDec", &month) &&
              take_text(&text, " ") && take_digits(&text, 4, &year) && take_text(&text, " ") &&
              take_digits(&text, 2, &hour) && take_text(&text, ":") &&
              take_digits(&text, 2, &minute) && take_text(&text, ":") &&
              take_digits(&text, 2, &second) && strcmp(text, " GMT") == 0 && year >= 1970;
    if (!ok)
        return false;
    uint64_t days = days_of(year, month, day);
    *seconds = days * 86400 + hour * 3600 + minute * 60 + second;
    return days % 7 == weekday;
}

/* The head */

static void status_line(struct response *response, const char *line)
{
    uint64_t status;
    if (!take_text(&line, "HTTP/1.1 ") || !take_digits(&line, 3, &status) || *line++ != ' ')
        wrong(response, "the status line is malformed");
    else if (*line == 0)
        wrong(response, "the status has no text");
    else
        response->status = (unsigned)status;
}

/* Marks a field that may stand only once. */
static void once(struct response *response, bool *has)
{
    if (*has)
        wrong(response, "a field stands twice");
    *has = true;
}

static void keep_text(struct response *response, char *out, const char *value)
{
    if (strlen(value) >= RESPONSE_TEXT_BYTES)
        wrong(response, "a field is too long");
    else
        memcpy(out, value, strlen(value) + 1);
}

static void field_etag(struct response *response, const char *value)
{
    size_t bytes = strlen(value);
    once(response, &response->has_etag);
    if (bytes < 3 || value[0] != '"' || strchr(value + 1, '"') != value + bytes - 1)
        wrong(response, "the ETag is malformed");
    keep_text(response, response->etag, value);
}

static void field_version(struct response *response, const char *value)
{
    once(response, &response->has_version);
    if (*value == '0' || !take_number(&value, 20, &response->version) || *value)
        wrong(response, "Fog-Version is malformed");
}

static void field_length(struct response *response, const char *value)
{
    once(response, &response->has_length);
    if (!take_number(&value, 19, &response->length) || *value)
        wrong(response, "Content-Length is malformed");
}

static void field_connection(struct response *response, const char *value)
{
    response->close |= strcmp(value, "close") == 0;
    response->keep_alive |= strcmp(value, "keep-alive") == 0;
    if (response->close == response->keep_alive)
        wrong(response, "Connection is neither close nor keep-alive");
}

static void field_date(struct response *response, const char *value)
{
    once(response, &response->has_date);
    if (!date_parse(value, &response->date_s))
        wrong(response, "Date is malformed");
}

static void field(struct response *response, const char *name, const char *value)
{
    if (strcasecmp(name, "ETag") == 0) {
        field_etag(response, value);
    } else if (strcasecmp(name, "Fog-Version") == 0) {
        field_version(response, value);
    } else if (strcasecmp(name, "Content-Length") == 0) {
        field_length(response, value);
    } else if (strcasecmp(name, "Content-Type") == 0) {
        once(response, &response->has_type);
        keep_text(response, response->type, value);
    } else if (strcasecmp(name, "Fog-Copies") == 0) {
        keep_text(response, response->copies, value);
    } else if (strcasecmp(name, "Connection") == 0) {
        field_connection(response, value);
    } else if (strcasecmp(name, "Date") == 0) {
        field_date(response, value);
    } else if (strcasecmp(name, "Transfer-Encoding") == 0) {
        once(response, &response->chunked);
        if (strcmp(value, "chunked") != 0)
            wrong(response, "the transfer coding is unknown");
    } else if (strcasecmp(name, "Fog-TTL") == 0) {
        once(response, &response->has_ttl);
        if (!take_number(&value, 10, &response->ttl_s) || *value)
            wrong(response, "Fog-TTL is malformed");
    } else if (strcasecmp(name, "Allow") == 0) {
        response->has_allow = true;
    }
}

static bool is_token(const char *name)
{
    static const char marks[] = "!#$%&'*+-.^_`|~";
    if (!*name)
        return false;
    for (; *name; name++) {
        bool letter = (*name >= 'a' && *name <= 'z') || (*name >= 'A' && *name <= 'Z');
        if (!letter && !(*name >= '0' && *name <= '9') && !strchr(marks, *name))
            return false;
    }
    return true;
}

static void field_line(struct response *response, char *line)
{
    char *colon = strchr(line, ':');
    if (!colon) {
        wrong(response, "a header line has no colon");
        return;
    }
    *colon = 0;
    char *value = colon + 1 + strspn(colon + 1, " \t");
    size_t bytes = strlen(value);
    while (bytes && (value[bytes - 1] == ' ' || value[bytes - 1] == '\t'))
        value[--bytes] = 0;
    if (!is_token(line))
        wrong(response, "a header's name is malformed");
    field(response, line, value);
}

static void head_check(struct response *response)
{
    bool bodiless = response->status == 204 || response->status == 304 || response->status < 200;
    if (!response->has_date && response->status >= 200)
        wrong(response, "there is no Date");
    if (response->has_length && response->chunked)
        wrong(response, "there are Content-Length and Transfer-Encoding");
    if (bodiless && response->chunked)
        wrong(response, "there is Transfer-Encoding where no body may be");
    if (response->has_length && (response->status == 204 || response->status < 200))
        wrong(response, "there is Content-Length in a 204 or 1xx");
    if (response->chunked && response->old)
        wrong(response, "a reply to HTTP/1.0 is chunked");
    if (!bodiless && !response->has_length && !response->chunked && !response->close)
        wrong(response, "nothing says where the body ends");
}

static void head_end(struct response *response)
{
    head_check(response);
    bool bodiless = response->no_body || response->status == 204 || response->status == 304 ||
                    response->status < 200;
    response->left = response->length;
    if (bodiless || (response->has_length && response->length == 0))
        response->state = RESPONSE_DONE;
    else if (response->chunked)
        response->state = RESPONSE_CHUNK_SIZE;
    else
        response->state = response->has_length ? RESPONSE_BODY : RESPONSE_UNTIL_END;
}

/* Lines */

static void chunk_line(struct response *response, const char *line)
{
    uint64_t size = 0;
    unsigned digits = 0;
    static const char hex[] = "0123456789abcdef";
    for (; *line; line++, digits++) {
        const char *place = strchr(hex, *line | 32);
        if (!place || digits >= 12) {
            wrong(response, "a chunk's size is malformed");
            return;
        }
        size = size * 16 + (uint64_t)(place - hex);
    }
    if (digits == 0)
        wrong(response, "a chunk has no size");
    response->left = size;
    response->state = size ? RESPONSE_CHUNK : RESPONSE_TRAILER;
}

static void line_end(struct response *response)
{
    char *line = response->line;
    line[response->line_bytes] = 0;
    if (strlen(line) != response->line_bytes)
        wrong(response, "there is a NUL in a line");
    bool empty = response->line_bytes == 0;
    response->line_bytes = 0;
    response->lines++;
    switch (response->state) {
    case RESPONSE_HEAD:
        if (response->lines == 1)
            status_line(response, line);
        else if (empty)
            head_end(response);
        else
            field_line(response, line);
        break;
    case RESPONSE_CHUNK_SIZE:
        chunk_line(response, line);
        break;
    case RESPONSE_CHUNK_END:
        if (!empty)
            wrong(response, "a chunk is longer than its size");
        response->state = RESPONSE_CHUNK_SIZE;
        break;
    default: /* RESPONSE_TRAILER */
        if (empty)
            response->state = RESPONSE_DONE;
        break;
    }
}

/* Takes bytes until the end of a line. Returns how many. */
static size_t feed_line(struct response *response, const char *data, size_t bytes)
{
    const char *end = memchr(data, '\n', bytes);
    size_t take = end ? (size_t)(end - data) : bytes;
    if (response->line_bytes + take > RESPONSE_HEAD_BYTES_MAX) {
        wrong(response, "a line is too long");
        return bytes;
    }
    memcpy(response->line + response->line_bytes, data, take);
    response->line_bytes += take;
    if (!end)
        return take;
    if (response->line_bytes == 0 || response->line[response->line_bytes - 1] != '\r')
        wrong(response, "a line does not end with CR LF");
    else
        response->line_bytes--;
    line_end(response);
    return take + 1;
}

/* Bodies */

static void sink_add(struct response_sink *sink, const char *data, size_t bytes)
{
    if (sink->bytes + bytes > sink->room) {
        sink->room = (sink->bytes + bytes) * 2;
        sink->data = realloc(sink->data, sink->room);
        if (!sink->data)
            abort();
    }
    memcpy(sink->data + sink->bytes, data, bytes);
    sink->bytes += bytes;
}

static size_t feed_body(struct response *response, const char *data, size_t bytes)
{
    if (response->state != RESPONSE_UNTIL_END && bytes > response->left)
        bytes = (size_t)response->left;
    fold_add(&response->fold, data, bytes);
    if (response->sink)
        sink_add(response->sink, data, bytes);
    size_t room = RESPONSE_KEPT_BYTES - response->kept_bytes;
    size_t keep = bytes < room ? bytes : room;
    memcpy(response->kept + response->kept_bytes, data, keep);
    response->kept_bytes += keep;
    if (response->state == RESPONSE_UNTIL_END)
        return bytes;
    response->left -= bytes;
    if (response->left == 0)
        response->state = response->state == RESPONSE_CHUNK ? RESPONSE_CHUNK_END : RESPONSE_DONE;
    return bytes;
}

size_t response_feed(struct response *response, const char *data, size_t bytes)
{
    size_t used = 0;
    while (used < bytes && response->state != RESPONSE_DONE && !response->wrong) {
        bool in_body = response->state == RESPONSE_BODY || response->state == RESPONSE_CHUNK ||
                       response->state == RESPONSE_UNTIL_END;
        if (in_body)
            used += feed_body(response, data + used, bytes - used);
        else
            used += feed_line(response, data + used, bytes - used);
    }
    return used;
}

bool response_end(struct response *response)
{
    if (response->state == RESPONSE_UNTIL_END)
        response->state = RESPONSE_DONE;
    return response->state == RESPONSE_DONE;
}
