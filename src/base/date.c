#include "base/date.h"

#include <string.h>

struct date {
    unsigned year, month, day, weekday, hour, minute,
        second; /* month and day from 1, weekday from Sunday = 0 */
};

/* Days to a date by the proleptic Gregorian calendar, in eras of 400 years that begin on 1 March. */
static void date_of_days(uint64_t days, struct date *out)
{
    uint64_t shifted = days + 719468; /* days from 0000-03-01 to 1970-01-01 */
    uint64_t era = shifted / 146097;
    unsigned day_of_era = (unsigned)(shifted % 146097);
    unsigned year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned month = (5 * day_of_year + 2) / 153; /* from March = 0 */
    out->day = day_of_year - (153 * month + 2) / 5 + 1;
    out->month = month < 10 ? month + 3 : month - 9;
    out->year = (unsigned)(era * 400) + year_of_era + (out->month <= 2);
    out->weekday = (unsigned)((days + 4) % 7);
}

static void date_of_seconds(uint64_t seconds, struct date *out)
{
    const uint64_t end_of_9999 = 253402300799;
    if (seconds > end_of_9999)
        seconds = end_of_9999;
    date_of_days(seconds / 86400, out);
    unsigned rest = (unsigned)(seconds % 86400);
    out->hour = rest / 3600;
    out->minute = rest / 60 % 60;
    out->second = rest % 60;
}

static char *put_number(char *at, unsigned value, unsigned digits)
{
    for (unsigned i = digits; i-- > 0; value /= 10)
        at[i] = (char)('0' + value % 10);
    return at + digits;
}

static char *put_text(char *at, const char *text, unsigned bytes)
{
    memcpy(at, text, bytes);
    return at + bytes;
}

static char *put_time(char *at, const struct date *date)
{
    at = put_number(at, date->hour, 2);
    *at++ = ':';
    at = put_number(at, date->minute, 2);
    *at++ = ':';
    return put_number(at, date->second, 2);
}

void date_http(uint64_t seconds, char out[DATE_HTTP_BYTES])
{
    struct date date;
    date_of_seconds(seconds, &date);
    char *at = put_text(out, "SunMonTueWedThuFriSat" + 3 * (size_t)date.weekday, 3);
    at = put_text(at, ", ", 2);
    at = put_number(at, date.day, 2);
    *at++ = ' ';
    at = put_text(at, "JanFebMarAprMayJunJulAugSepOctNovDec" + 3 * (size_t)(date.month - 1), 3);
    *at++ = ' ';
    at = put_number(at, date.year, 4);
    *at++ = ' ';
    at = put_time(at, &date);
    put_text(at, " GMT", 4);
}

void date_iso(uint64_t milliseconds, char out[DATE_ISO_BYTES])
{
    struct date date;
    date_of_seconds(milliseconds / 1000, &date);
    char *at = put_number(out, date.year, 4);
    *at++ = '-';
    at = put_number(at, date.month, 2);
    *at++ = '-';
    at = put_number(at, date.day, 2);
    *at++ = 'T';
    at = put_time(at, &date);
    *at++ = '.';
    at = put_number(at, (unsigned)(milliseconds % 1000), 3);
    *at = 'Z';
}
