/* Dates as text, by arithmetic alone: no time zone, no locale, no clock. */
#ifndef BASE_DATE_H
#define BASE_DATE_H

#include <stdint.h>

enum {
    DATE_HTTP_BYTES = 29, /* "Sun, 06 Nov 1994 08:49:37 GMT" */
    DATE_ISO_BYTES = 24,  /* "1994-11-06T08:49:37.000Z" */
};

/* IMF-fixdate (RFC 9110, 5.6.7) of seconds since 1970. No NUL. Years from 1970 to 9999. */
void date_http(uint64_t seconds, char out[DATE_HTTP_BYTES]);

/* RFC 3339 of milliseconds since 1970. No NUL. */
void date_iso(uint64_t milliseconds, char out[DATE_ISO_BYTES]);

#endif
