/* JSON read in place (RFC 8259): nothing is allocated or copied, values are slices of the text. For what nodes and front-ends say of
 * themselves; the text comes from outside, so json_is_valid is asked first, and all else takes what passed it. */
#ifndef BASE_JSON_READ_H
#define BASE_JSON_READ_H

#include "base/slice.h"

enum { JSON_DEPTH_MAX = 32 }; /* objects and lists in one another; deeper ones are not valid */

/* Whether the text is one JSON value and nothing else. */
bool json_is_valid(struct slice text);

/* The member of an object by its names, a dot between each: "cluster.phase". Returns false when there is none. Of names that stand
 * twice the first one counts. Names with escapes are found by their escaped form. */
bool json_find(struct slice object, const char *path, struct slice *value);

/* What is inside of an object or a list, for json_next; empty for any other value. */
struct slice json_inside(struct slice value);

/* The next member in *rest, its name without the quotes (empty in a list). Returns false when there is no more. */
bool json_next(struct slice *rest, struct slice *name, struct slice *value);

/* A number, or `otherwise` for anything else, and for one beyond 10^18 either way: nobody counts that far. */
double json_to_number(struct slice value, double otherwise);

bool json_is_true(struct slice value);

/* A string's bytes into `out`, ended by a NUL and cut to fit; what is not printable ASCII becomes '?', since it goes to a terminal, any
 * other kind of value the empty string. Returns `out`. */
char *json_to_string(struct slice value, char *out, size_t room);

#endif
