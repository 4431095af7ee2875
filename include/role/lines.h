/* Figures as text for a person: what GET / gives curl is made of these. */
#ifndef ROLE_LINES_H
#define ROLE_LINES_H

#include "role/figures.h"

/* How a figure is written. */
enum unit {
    UNIT_COUNT,
    UNIT_BYTES,
    UNIT_SPAN, /* µs, in days, hours, minutes and seconds */
};

void lines_put_value(struct text *text, enum unit unit, uint64_t value);

/* A limit, after what it limits; 0 for none. */
void lines_put_limit(struct text *text, enum unit unit, uint64_t limit);

/* Connections and requests, a line each. */
void lines_put_server(struct text *text, const struct figures *figures);

#endif
