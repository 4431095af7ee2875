#include "base/json.h"

#include <inttypes.h>

enum { JSON_INDENT = 2 };

/* What stands before a value. Names are the program's own, and need no escape. */
static void put_place(struct json *json, const char *name)
{
    if (json->depth > 0)
        text_add(&json->text, "%s\n%*s", json->has_members ? "," : "",
                 (int)(JSON_INDENT * json->depth), "");
    if (name)
        text_add(&json->text, "\"%s\": ", name);
    json->has_members = true;
}

static void put_begin(struct json *json, const char *name, const char *bracket)
{
    put_place(json, name);
    text_add(&json->text, "%s", bracket);
    json->depth++;
    json->has_members = false;
}

static void put_end(struct json *json, const char *bracket)
{
    json->depth--;
    if (json->has_members)
        text_add(&json->text, "\n%*s", (int)(JSON_INDENT * json->depth), "");
    text_add(&json->text, "%s", bracket);
    json->has_members = true;
}

void json_open(struct json *json, const char *name)
{
    put_begin(json, name, "{");
}

void json_close(struct json *json)
{
    put_end(json, "}");
}

void json_list_open(struct json *json, const char *name)
{
    put_begin(json, name, "[");
}

void json_list_close(struct json *json)
{
    put_end(json, "]");
}

struct text *json_place(struct json *json, const char *name)
{
    put_place(json, name);
    return &json->text;
}

void json_number(struct json *json, const char *name, uint64_t value)
{
    put_place(json, name);
    text_add(&json->text, "%" PRIu64, value);
}

void json_number_or_null(struct json *json, const char *name, uint64_t value)
{
    put_place(json, name);
    if (value)
        text_add(&json->text, "%" PRIu64, value);
    else
        text_add(&json->text, "null");
}

void json_seconds(struct json *json, const char *name, uint64_t us)
{
    put_place(json, name);
    text_add_seconds(&json->text, us);
}

void json_seconds_signed(struct json *json, const char *name, int64_t us)
{
    put_place(json, name);
    text_add(&json->text, "%s", us < 0 ? "-" : "");
    text_add_seconds(&json->text, us < 0 ? -(uint64_t)us : (uint64_t)us);
}

void json_bool(struct json *json, const char *name, bool value)
{
    put_place(json, name);
    text_add(&json->text, value ? "true" : "false");
}

void json_string(struct json *json, const char *name, struct slice value)
{
    put_place(json, name);
    text_add(&json->text, "\"");
    for (size_t i = 0; i < value.len; i++) {
        unsigned char byte = (unsigned char)value.data[i];
        if (byte < ' ' || byte > '~')
            text_add(&json->text, "\\u%04x", byte);
        else
            text_add(&json->text, "%s%c", byte == '"' || byte == '\\' ? "\\" : "", byte);
    }
    text_add(&json->text, "\"");
}

void json_raw(struct json *json, const char *name, struct slice value)
{
    while (value.len > 0 && (unsigned char)value.data[value.len - 1] <= ' ')
        value.len--;
    put_place(json, name);
    text_add_slice(&json->text, value);
}
