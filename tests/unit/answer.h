/* Replies as a client reads them: strictly, out of all that a connection has brought. */
#ifndef UNIT_ANSWER_H
#define UNIT_ANSWER_H

#include <stdbool.h>

#include "base/slice.h"

enum { ANSWER_BODY_BYTES_MAX = 4 << 20 };

struct answer {
    unsigned status;
    struct slice head; /* the status line and the fields, in what was read */
    struct slice body; /* in what was read; a chunked one in memory that the next one takes over */
    bool chunked, has_length;
    bool until_end; /* the body ends with the connection */
    bool close;     /* "Connection: close" */
};

enum answer_result {
    ANSWER_MORE, /* it is not whole */
    ANSWER_OK,
    ANSWER_BAD, /* no HTTP/1.1 response */
};

/* Takes the first answer off *rest. `no_body` when the request was a HEAD; `ended` when no more
 * will come. */
enum answer_result answer_parse(struct slice *rest, bool no_body, bool ended, struct answer *out);

/* A field's value, or one with NULL as data. */
struct slice answer_field(const struct answer *answer, const char *name);

#endif
