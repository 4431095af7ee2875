#include "role/page_parts.h"

#include <inttypes.h>

#include "base/date.h"
#include "net/reply.h"
#include "version.h"

static const char *const unit_names[] = {
    [UNIT_COUNT] = "count", [UNIT_BYTES] = "bytes", [UNIT_TIME] = "time", [UNIT_SPAN] = "span"};

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

static void put_time(struct text *text, uint64_t us)
{
    if (us < 1000)
        text_add(text, "%" PRIu64 " µs", us);
    else if (us < 1000000)
        text_add(text, "%.1f ms", (double)us / 1e3);
    else
        text_add(text, "%.2f s", (double)us / 1e6);
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

void page_put_value(struct text *text, enum unit unit, uint64_t value)
{
    static void (*const writers[])(struct text *, uint64_t) = {[UNIT_COUNT] = put_count,
                                                               [UNIT_BYTES] = put_bytes,
                                                               [UNIT_TIME] = put_time,
                                                               [UNIT_SPAN] = put_span};
    writers[unit](text, value);
}

/* `place` is the figure's path in /-/status. */
void page_put_figure(struct text *text, const char *place, enum unit unit, uint64_t value)
{
    text_add(text, "<span data-figure=\"%s\" data-unit=\"%s\">", place, unit_names[unit]);
    page_put_value(text, unit, value);
    text_add(text, "</span>");
}

/* The second line of a tile: a limit that does not change. */
void page_put_limit(struct text *text, enum unit unit, uint64_t limit)
{
    if (limit) {
        text_add(text, "of ");
        page_put_value(text, unit, limit);
    } else
        text_add(text, "no limit");
}

void page_put_row(struct text *text, const char *label, const char *place, enum unit unit,
                  uint64_t value)
{
    text_add(text, "<tr><th scope=\"row\">%s</th><td>", label);
    page_put_figure(text, place, unit, value);
    text_add(text, "</td></tr>\n");
}

static void put_request_rows(struct text *text, const struct figures *figures)
{
    const struct histogram *latency = figures->latency_us;
    page_put_row(text, "Requests", "requests.total", UNIT_COUNT, figures->requests);
    page_put_row(text, "Requests refused (4xx)", "requests.status_4xx", UNIT_COUNT,
                 figures->by_class[4]);
    page_put_row(text, "Requests failed (5xx)", "requests.status_5xx", UNIT_COUNT,
                 figures->by_class[5]);
    page_put_row(text, "Requests that wait for a change", "connections.held", UNIT_COUNT,
                 figures->held);
    page_put_row(text, "Time to answer, half are within", "latency_seconds.p50", UNIT_TIME,
                 figures_quantile(latency, 0.5));
    page_put_row(text, "99 % are within", "latency_seconds.p99", UNIT_TIME,
                 figures_quantile(latency, 0.99));
    page_put_row(text, "The longest", "latency_seconds.max", UNIT_TIME, latency->max_us);
}

/* Whether a media type of this list (RFC 9110, 12.5.1) is text/html. */
static bool list_has_html(struct slice list)
{
    struct slice part, type;
    while (slice_next(&list, ',', &part))
        if (slice_next(&part, ';', &type) && slice_equal_nocase(type, SLICE("text/html")))
            return true;
    return false;
}

bool page_is_wanted(const struct http_head *head)
{
    for (unsigned i = 0; i < head->field_count; i++)
        if (head->fields[i].name == HTTP_FIELD_ACCEPT && list_has_html(head->fields[i].value))
            return true;
    return false;
}

void page_put_header(struct text *text, const struct figures *figures, const char *title,
                     struct slice state)
{
    text_add(text,
             "<header>\n<h1>%s</h1>\n<p class=\"quiet\"><span id=\"ready\"%s>%.*s</span> · "
             "version <span id=\"version\">%s</span> · up ",
             title, figures->ready ? "" : " class=\"bad\"", (int)state.len, state.data,
             VELOUR_FOG_VERSION);
    page_put_figure(text, "uptime_seconds", UNIT_SPAN, figures->uptime_us);
    text_add(text, "</p>\n<p id=\"lost\" class=\"bad\" role=\"alert\"></p>\n");
}

void page_put_tiles_end(struct text *text, const struct figures *figures)
{
    text_add(text, "<div><dt>Connections</dt><dd>");
    page_put_figure(text, "connections.open", UNIT_COUNT, figures->connections);
    text_add(text, "</dd><dd class=\"quiet\">");
    page_put_limit(text, UNIT_COUNT, figures->config->connections_max);
    text_add(text,
             "</dd></div>\n<div id=\"rate-tile\" hidden><dt>Requests</dt><dd id=\"rate\">–</dd>"
             "<dd class=\"quiet\">a second</dd></div>\n</dl>\n");
}

static void put_server_rows(struct text *text, const struct figures *figures)
{
    const struct server_counters *counters = figures->server;
    put_request_rows(text, figures);
    page_put_row(text, "Received", "bytes.received", UNIT_BYTES, figures->loop->received_bytes);
    page_put_row(text, "Sent", "bytes.sent", UNIT_BYTES, figures->loop->sent_bytes);
    page_put_row(text, "Connections accepted", "connections.accepted", UNIT_COUNT,
                 counters->accepted);
    page_put_row(text, "Refused: network not allowed", "connections.refused_network", UNIT_COUNT,
                 counters->refused_network);
    page_put_row(text, "Refused: too many", "connections.refused_full", UNIT_COUNT,
                 counters->refused_full);
}

void page_put_table(struct text *text, const struct figures *figures)
{
    char now[DATE_HTTP_BYTES];
    date_http(figures->loop->wall_us / 1000000, now);
    text_add(text,
             "<section aria-labelledby=\"figures-title\">\n<h2 id=\"figures-title\">Figures</h2>\n"
             "<table>\n<caption class=\"quiet\" id=\"live\">Since the start, as of "
             "%.*s.</caption>\n<tbody>\n",
             DATE_HTTP_BYTES, now);
    put_server_rows(text, figures);
}

void page_put_table_end(struct text *text)
{
    text_add(text, "</tbody>\n</table>\n</section>\n");
}

void page_put_lines(struct text *text, const struct figures *figures)
{
    text_add(text, "connections  ");
    page_put_value(text, UNIT_COUNT, figures->connections);
    text_add(text, " (");
    page_put_limit(text, UNIT_COUNT, figures->config->connections_max);
    text_add(text, ")\nrequests     ");
    page_put_value(text, UNIT_COUNT, figures->requests);
    text_add(text, "\n");
}
