/* Bytes that grow at the end. */
#ifndef SIM_BYTES_H
#define SIM_BYTES_H

#include <stddef.h>

struct bytes {
    char *data;
    size_t len, room;
};

void bytes_free(struct bytes *bytes);

/* Returns room for so many more, which then belong to it. */
char *bytes_grow(struct bytes *bytes, size_t more);

void bytes_add(struct bytes *bytes, const char *data, size_t len);
void bytes_print(struct bytes *bytes, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
