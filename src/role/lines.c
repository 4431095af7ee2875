#include "role/lines.h"

#include <inttypes.h>

/* With a comma between groups of three digits. */
static void put_count(struct text *text, uint64_t value)
{
    if (value < 1000) {
        text_add(text, "%" PRIu64, value);
        return;
    }
    put_count(text, value / 1000);
    text_add(text, ",%03" PRIu64, value % 1000);
}

static void put_bytes(struct text *text, uint64_t bytes)
{
    static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    unsigned i = 0;
    double size = (double)bytes;
    for (; size >= 1024 && i < 4; i++)
        size /= 1024;
    text_add(text, "%.*f %s", i > 0, size, names[i]);
}

static void put_span(struct text *text, uint64_t us)
{
    uint64_t seconds = us / 1000000, minutes = seconds / 60, hours = minutes / 60,
             days = hours / 24;
    if (days)
        text_add(text, "%" PRIu64 " d %" PRIu64 " h", days, hours % 24);
    else if (hours)
        text_add(text, "%" PRIu64 " h %" PRIu64 " min", hours, minutes % 60);
    else if (minutes)
        text_add(text, "%" PRIu64 " min %" PRIu64 " s", minutes, seconds % 60);
    else
        text_add(text, "%" PRIu64 " s", seconds);
}

void lines_put_value(struct text *text, enum unit unit, uint64_t value)
{
    static void (*const writers[])(struct text *, uint64_t) = {
        [UNIT_COUNT] = put_count, [UNIT_BYTES] = put_bytes, [UNIT_SPAN] = put_span};
    writers[unit](text, value);
}

void lines_put_limit(struct text *text, enum unit unit, uint64_t limit)
{
    if (limit) {
        text_add(text, "of ");
        lines_put_value(text, unit, limit);
    } else
        text_add(text, "no limit");
}

void lines_put_server(struct text *text, const struct figures *figures)
{
    text_add(text, "connections  ");
    lines_put_value(text, UNIT_COUNT, figures->connections);
    text_add(text, " (");
    lines_put_limit(text, UNIT_COUNT, figures->config->connections_max);
    text_add(text, ")\nrequests     ");
    lines_put_value(text, UNIT_COUNT, figures->requests);
    text_add(text, "\n");
}
