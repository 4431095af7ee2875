#include "bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void bytes_free(struct bytes *bytes)
{
    free(bytes->data);
    *bytes = (struct bytes){0};
}

char *bytes_grow(struct bytes *bytes, size_t more)
{
    if (bytes->len + more > bytes->room) {
        bytes->room = (bytes->len + more) * 2;
        bytes->data = realloc(bytes->data, bytes->room);
        if (!bytes->data)
            abort();
    }
    bytes->len += more;
    return bytes->data + bytes->len - more;
}

void bytes_add(struct bytes *bytes, const char *data, size_t len)
{
    char *at = bytes_grow(bytes, len);
    if (len)
        memcpy(at, data, len);
}

void bytes_print(struct bytes *bytes, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    int len = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (len < 0 || (size_t)len >= sizeof text)
        abort();
    bytes_add(bytes, text, (size_t)len);
}
