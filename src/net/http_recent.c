#include <string.h>

#include "net/http_parts.h"

/* A client sends the same fields with each of its requests, or the same but for a length. What the same bytes were read as before, they
 * are read as again: how fields are read depends on nothing else, not on which of the usual methods it is, nor on the target. */

enum {
    END_BYTES = 8
}; /* looked at first, as that is where those that differ in their length do; all have as many: Host, and the empty line */

static bool begins_with(const char *at, size_t len, const struct http_recent *recent)
{
    size_t bytes = recent->bytes;
    return bytes > 0 && bytes <= len &&
           memcmp(at + bytes - END_BYTES, recent->text + bytes - END_BYTES, END_BYTES) == 0 &&
           memcmp(at, recent->text, bytes) == 0;
}

/* Copies what was read of the fields at `from` for the same ones at `to`. */
static void head_copy(struct http_head *out, const struct http_head *head, const char *from,
                      const char *to)
{
    *out = *head;
    for (unsigned i = 0; i < head->field_count; i++)
        out->fields[i].value.data = to + (head->fields[i].value.data - from);
}

static void recent_use(struct http_reader *reader, uint32_t place)
{
    reader->last = place;
    reader->recent[place].used = ++reader->turn;
}

size_t http_recent_find(struct http_reader *reader, const char *at, const char *end,
                        struct http_head *head)
{
    for (uint32_t i = 0; i < HTTP_RECENT_MAX; i++) {
        uint32_t place = (reader->last + i) % HTTP_RECENT_MAX;
        const struct http_recent *recent = &reader->recent[place];
        if (!begins_with(at, (size_t)(end - at), recent))
            continue;
        head_copy(head, &recent->head, recent->text, at);
        recent_use(reader, place);
        return recent->bytes;
    }
    return 0;
}

void http_recent_keep(struct http_reader *reader, struct slice fields, const struct http_head *head)
{
    if (fields.len < END_BYTES || fields.len > HTTP_RECENT_BYTES_MAX)
        return;
    uint32_t oldest = 0;
    for (uint32_t i = 1; i < HTTP_RECENT_MAX; i++)
        if (reader->recent[i].used < reader->recent[oldest].used)
            oldest = i;
    struct http_recent *recent = &reader->recent[oldest];
    memcpy(recent->text, fields.data, fields.len);
    recent->bytes = (uint32_t)fields.len;
    head_copy(&recent->head, head, fields.data, recent->text);
    recent_use(reader, oldest);
}
