#include "base/date.h"

#include <locale.h>
#include <time.h>

#include "unit.h"

static const struct {
    uint64_t seconds;
    const char *http, *iso; /* iso without its milliseconds */
} rows[] = {
    {0, "Thu, 01 Jan 1970 00:00:00 GMT", "1970-01-01T00:00:00"},
    {1, "Thu, 01 Jan 1970 00:00:01 GMT", "1970-01-01T00:00:01"},
    {86399, "Thu, 01 Jan 1970 23:59:59 GMT", "1970-01-01T23:59:59"},
    {86400, "Fri, 02 Jan 1970 00:00:00 GMT", "1970-01-02T00:00:00"},
    {31535999, "Thu, 31 Dec 1970 23:59:59 GMT", "1970-12-31T23:59:59"},
    {68169600, "Tue, 29 Feb 1972 00:00:00 GMT", "1972-02-29T00:00:00"},
    {482196050, "Fri, 12 Apr 1985 23:20:50 GMT", "1985-04-12T23:20:50"}, /* RFC 3339, 5.8 */
    {784111777, "Sun, 06 Nov 1994 08:49:37 GMT", "1994-11-06T08:49:37"}, /* RFC 9110, 5.6.7 */
    {851042397, "Fri, 20 Dec 1996 00:39:57 GMT", "1996-12-20T00:39:57"}, /* RFC 3339, 5.8 */
    {951782400, "Tue, 29 Feb 2000 00:00:00 GMT", "2000-02-29T00:00:00"},
    {951868799, "Tue, 29 Feb 2000 23:59:59 GMT", "2000-02-29T23:59:59"},
    {951868800, "Wed, 01 Mar 2000 00:00:00 GMT", "2000-03-01T00:00:00"},
    {1709164800, "Thu, 29 Feb 2024 00:00:00 GMT", "2024-02-29T00:00:00"},
    {2147483647, "Tue, 19 Jan 2038 03:14:07 GMT", "2038-01-19T03:14:07"},
    {2147483648, "Tue, 19 Jan 2038 03:14:08 GMT", "2038-01-19T03:14:08"},
    {4107542399, "Sun, 28 Feb 2100 23:59:59 GMT", "2100-02-28T23:59:59"},
    {4107542400, "Mon, 01 Mar 2100 00:00:00 GMT", "2100-03-01T00:00:00"}, /* no leap year */
    {4294967296, "Sun, 07 Feb 2106 06:28:16 GMT", "2106-02-07T06:28:16"},
    {13574563200, "Tue, 29 Feb 2400 00:00:00 GMT", "2400-02-29T00:00:00"},
    {253402300799, "Fri, 31 Dec 9999 23:59:59 GMT", "9999-12-31T23:59:59"},
};

static void check_http(uint64_t seconds, const char *wanted)
{
    char out[DATE_HTTP_BYTES + 2];
    memset(out, '#', sizeof out);
    date_http(seconds, out);
    check_slice((struct slice){out, DATE_HTTP_BYTES}, slice_of(wanted), wanted);
    assert_memory_equal(out + DATE_HTTP_BYTES, "##", 2);
}

static void check_iso(uint64_t milliseconds, const char *wanted)
{
    char out[DATE_ISO_BYTES + 2];
    memset(out, '#', sizeof out);
    date_iso(milliseconds, out);
    check_slice((struct slice){out, DATE_ISO_BYTES}, slice_of(wanted), wanted);
    assert_memory_equal(out + DATE_ISO_BYTES, "##", 2);
}

static void test_http(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++)
        check_http(rows[i].seconds, rows[i].http);
}

static void test_iso(void **state)
{
    (void)state;
    static const unsigned parts[] = {0, 1, 9, 10, 99, 100, 520, 999};
    for (size_t i = 0; i < COUNT(rows); i++)
        for (size_t j = 0; j < COUNT(parts); j++) {
            char wanted[64];
            snprintf(wanted, sizeof wanted, "%s.%03uZ", rows[i].iso, parts[j]);
            check_iso(rows[i].seconds * 1000 + parts[j], wanted);
        }
}

/* What is later than the last year of four digits stays at its end, four digits wide. */
static void test_end_of_time(void **state)
{
    (void)state;
    check_http(253402300800, "Fri, 31 Dec 9999 23:59:59 GMT");
    check_http(UINT64_MAX, "Fri, 31 Dec 9999 23:59:59 GMT");
    check_iso(253402300800000, "9999-12-31T23:59:59.000Z");
    check_iso(UINT64_MAX, "9999-12-31T23:59:59.615Z");
}

static void check_as_libc(uint64_t seconds)
{
    char http[64], iso[64];
    struct tm parts;
    time_t time = (time_t)seconds;
    assert_non_null(gmtime_r(&time, &parts));
    strftime(http, sizeof http, "%a, %d %b %Y %H:%M:%S GMT", &parts);
    strftime(iso, sizeof iso, "%Y-%m-%dT%H:%M:%S.007Z", &parts);
    check_http(seconds, http);
    check_iso(seconds * 1000 + 7, iso);
}

/* Every day of 1970 to 2500, and days of all years after it, as the C library has them. */
static void test_as_libc(void **state)
{
    (void)state;
    setlocale(LC_ALL, "C");
    struct chance chance = chance_start(2);
    for (uint64_t day = 0; day < 193600; day++)
        check_as_libc(day * 86400 + chance_below(&chance, 86400));
    for (int i = 0; i < 100000; i++)
        check_as_libc(chance_below(&chance, 253402300800));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_http),
        cmocka_unit_test(test_iso),
        cmocka_unit_test(test_end_of_time),
        cmocka_unit_test(test_as_libc),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
