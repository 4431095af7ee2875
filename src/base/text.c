#include "base/text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

void text_add(struct text *text, const char *format, ...)
{
    size_t left = text->room - text->len;
    va_list arguments;
    if (text->full)
        return;
    va_start(arguments, format);
    int count = vsnprintf(text->data + text->len, left, format, arguments);
    va_end(arguments);
    if (count < 0 || (size_t)count >= left)
        text->full = true;
    else
        text->len += (size_t)count;
}

void text_add_slice(struct text *text, struct slice slice)
{
    text->full |= slice.len >= text->room - text->len;
    if (text->full || slice.len == 0)
        return;
    memcpy(text->data + text->len, slice.data, slice.len);
    text->len += slice.len;
}

void text_add_seconds(struct text *text, uint64_t us)
{
    text_add(text, "%" PRIu64, us / 1000000);
    if (us % 1000000)
        text_add(text, ".%06" PRIu64, us % 1000000);
}
