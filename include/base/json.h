/* JSON into a text: the writer puts the commas, the indentation and the escapes, so that what comes out is JSON in any case, as long
 * as it fits and what was opened is closed. Members of an object have a name; NULL stands for none: the outermost value, and what is
 * in a list. */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/text.h"

struct json {
    struct text text;
    unsigned depth;
    bool has_members; /* the object or list that is open */
};

/* `text` is empty, and stays the caller's memory. */
static inline struct json json_in(struct text text)
{
    return (struct json){.text = text};
}

void json_open(struct json *json, const char *name);
void json_close(struct json *json);
void json_list_open(struct json *json, const char *name);
void json_list_close(struct json *json);

/* The place of a value that the caller writes, JSON in one line. */
struct text *json_place(struct json *json, const char *name);

void json_number(struct json *json, const char *name, uint64_t value);

/* As json_number, but 0 means that there is none: null. */
void json_number_or_null(struct json *json, const char *name, uint64_t value);

/* `us` in seconds, exactly. */
void json_seconds(struct json *json, const char *name, uint64_t us);

/* The same for a difference, which may be negative. */
void json_seconds_signed(struct json *json, const char *name, int64_t us);

void json_bool(struct json *json, const char *name, bool value);

/* Any bytes; those that are not of ASCII come out as the characters of Latin-1. */
void json_string(struct json *json, const char *name, struct slice value);

/* A value that is JSON already; blanks at its end are left out. */
void json_raw(struct json *json, const char *name, struct slice value);

#endif
