/* Entity tags of records: "VERSION-DIGEST", both in 16 hex digits, quoted. Two records that say different things have
 * different tags; a key without a value has the tag "absent", so that one can wait for it to come. */
#ifndef ROLE_ETAG_H
#define ROLE_ETAG_H

#include "data/record.h"

enum { ETAG_BYTES = 35 };

/* Writes the tag of a record (NULL: of no value) to `out` and returns it. */
struct slice etag_make(const struct record *record, char out[ETAG_BYTES]);

/* Whether `tag` stands in a list of If-None-Match or If-Match (RFC 9110, 13.1), compared weakly. "*" stands for any
 * value, so for anything but "absent". */
bool etag_in_list(struct slice tag, struct slice list);

#endif
