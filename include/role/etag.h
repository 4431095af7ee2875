/* Entity tags of records: "VERSION-DIGEST", both in 16 hex digits, quoted. Two records that say different things have
 * different tags; a key without a value has the tag "absent", so that one can wait for it to come. */
#ifndef ROLE_ETAG_H
#define ROLE_ETAG_H

#include "data/record.h"

enum { ETAG_BYTES = 35 };

/* Writes the tag of a record (NULL: of no value) to `out` and returns it. */
struct slice etag_make(const struct record *record, char out[ETAG_BYTES]);

/* How a list's tags that are marked weak (W/) are compared (RFC 9110, 8.8.3.2): as others, or as none of ours, which are strong. */
enum etag_comparison { ETAG_WEAK, ETAG_STRONG };

/* Whether `tag` stands in a list of If-None-Match (which is compared weakly) or If-Match (strongly; RFC 9110, 13.1). "*" stands for
 * any value, so for anything but "absent". */
bool etag_in_list(struct slice tag, struct slice list, enum etag_comparison comparison);

#endif
