#include "role/figures.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/date.h"
#include "base/exposition.h"
#include "data/record.h"
#include "net/reply.h"
#include "version.h"

static void gather_requests(struct figures *figures)
{
    for (unsigned method = 0; method < SERVER_METHODS; method++)
        for (unsigned i = 0; i < SERVER_STATUSES; i++) {
            figures->requests += figures->server->replies[method][i];
            figures->by_class[1 + i / 100] += figures->server->replies[method][i];
        }
}

void figures_gather(struct figures *figures)
{
    figures->server = server_counters(figures->from);
    if (!figures->latency_us)
        figures->latency_us = &figures->server->latency_us;
    figures->uptime_us = figures->loop->now_us - figures->started_us;
    figures->connections = server_connections(figures->from);
    figures->held = server_held(figures->from);
    figures->process_resident_bytes = figures->resident_bytes ? figures->resident_bytes() : 0;
    gather_requests(figures);
}

uint64_t figures_quantile(const struct histogram *histogram, double part)
{
    uint64_t us = histogram_quantile(histogram, part);
    return us < histogram->max_us ? us : histogram->max_us;
}

/* As JSON */

void figures_put_identity(struct json *json, const struct figures *figures)
{
    char started[DATE_ISO_BYTES];
    date_iso(figures->started_wall_us / 1000, started);
    json_string(json, "version", SLICE(VELOUR_FOG_VERSION));
    json_string(json, "role", slice_of(figures->role));
    json_string(json, "started", (struct slice){started, sizeof started});
    json_seconds(json, "uptime_seconds", figures->uptime_us);
    json_bool(json, "ready", figures->ready);
    json_bool(json, "draining", figures->draining);
}

static void put_connections(struct json *json, const struct figures *figures)
{
    const struct server_counters *counters = figures->server;
    json_open(json, "connections");
    json_number(json, "open", figures->connections);
    json_number(json, "max", figures->config->connections_max);
    json_number(json, "held", figures->held);
    json_number(json, "accepted", counters->accepted);
    json_number(json, "refused_network", counters->refused_network);
    json_number(json, "refused_full", counters->refused_full);
    json_number(json, "accept_failures", counters->accept_failures);
    json_close(json);
}

static void put_requests(struct json *json, const struct figures *figures)
{
    json_open(json, "requests");
    json_number(json, "total", figures->requests);
    json_number(json, "status_2xx", figures->by_class[2]);
    json_number(json, "status_3xx", figures->by_class[3]);
    json_number(json, "status_4xx", figures->by_class[4]);
    json_number(json, "status_5xx", figures->by_class[5]);
    json_number(json, "timeouts", figures->server->timeouts);
    json_number(json, "batches", figures->server->batches);
    json_close(json);
}

static void put_durations(struct json *json, const struct figures *figures)
{
    const struct histogram *latency = figures->latency_us;
    const struct histogram *turns = &figures->loop->turn_us;
    json_open(json, "latency_seconds");
    json_seconds(json, "p50", figures_quantile(latency, 0.5));
    json_seconds(json, "p99", figures_quantile(latency, 0.99));
    json_seconds(json, "max", latency->max_us);
    json_close(json);
    json_open(json, "loop_turn_seconds");
    json_seconds(json, "p99", figures_quantile(turns, 0.99));
    json_seconds(json, "max", turns->max_us);
    json_close(json);
}

static void put_bytes(struct json *json, const struct figures *figures)
{
    json_open(json, "bytes");
    json_number(json, "received", figures->loop->received_bytes);
    json_number(json, "sent", figures->loop->sent_bytes);
    json_close(json);
}

void figures_put_server(struct json *json, const struct figures *figures)
{
    put_connections(json, figures);
    put_requests(json, figures);
    put_durations(json, figures);
    put_bytes(json, figures);
}

void figures_put_limits(struct json *json, const struct figures *figures, uint64_t value_max)
{
    json_number(json, "key_max_bytes", RECORD_KEY_BYTES_MAX);
    json_number(json, "value_max_bytes", value_max);
    json_seconds(json, "idle_timeout_seconds", figures->config->idle_us);
    json_seconds(json, "request_timeout_seconds", figures->config->request_us);
    json_seconds(json, "stall_timeout_seconds", figures->config->stall_us);
}

/* For Prometheus */

void figures_expose_process(struct text *text, const struct figures *figures)
{
    exposition_gauge(text, "velour_fog_ready", "Whether it is ready to serve.", figures->ready);
    exposition_head(text, "velour_fog_build_info", "gauge", "The program's version; always 1.");
    text_add(text, "velour_fog_build_info{version=\"%s\"} 1\n", VELOUR_FOG_VERSION);
    exposition_seconds(text, "process_start_time_seconds", "gauge",
                       "When the process started, in seconds since 1970.",
                       figures->started_wall_us);
    if (figures->resident_bytes)
        exposition_gauge(text, "process_resident_memory_bytes", "Resident memory of the process.",
                         figures->process_resident_bytes);
    if (figures->cpu_us)
        exposition_seconds(text, "process_cpu_seconds_total", "counter",
                           "Processor time of the process, user and system.", figures->cpu_us());
    if (figures->files_max)
        exposition_gauge(text, "process_max_fds",
                         "File descriptors that the process may have open.", figures->files_max());
}

/* Only what has happened: who never refused anything has few lines. */
static void expose_requests(struct text *text, const struct server_counters *counters)
{
    static const char *const methods[SERVER_METHODS] = {
        [HTTP_GET] = "GET", [HTTP_HEAD] = "HEAD",     [HTTP_POST] = "POST",
        [HTTP_PUT] = "PUT", [HTTP_DELETE] = "DELETE", [HTTP_OTHER] = "other",
    };
    exposition_head(text, "velour_fog_requests_total", "counter",
                    "Requests answered, by method and status.");
    for (unsigned method = 0; method < SERVER_METHODS; method++)
        for (unsigned i = 0; i < SERVER_STATUSES; i++)
            if (counters->replies[method][i])
                text_add(text,
                         "velour_fog_requests_total{method=\"%s\",status=\"%u\"} %" PRIu64 "\n",
                         methods[method], 100 + i, counters->replies[method][i]);
}

static void expose_connections(struct text *text, const struct figures *figures)
{
    static const char refused[] = "velour_fog_connections_refused_total";
    const struct server_counters *counters = figures->server;
    exposition_gauge(text, "velour_fog_connections", "Connections that are open.",
                     figures->connections);
    exposition_gauge(text, "velour_fog_connections_max", "Connections that there may be at a time.",
                     figures->config->connections_max);
    exposition_counter(text, "velour_fog_connections_accepted_total", "Connections accepted.",
                       counters->accepted);
    exposition_head(text, refused, "counter",
                    "Connections refused: from a network that is not allowed, or past the limit.");
    exposition_sample(text, refused, SLICE("reason=\"network\""), counters->refused_network);
    exposition_sample(text, refused, SLICE("reason=\"full\""), counters->refused_full);
    exposition_counter(text, "velour_fog_accept_failures_total",
                       "Times that a connection could not be accepted.", counters->accept_failures);
}

void figures_expose_server(struct text *text, const struct figures *figures)
{
    expose_connections(text, figures);
    expose_requests(text, figures->server);
    exposition_counter(text, "velour_fog_request_timeouts_total",
                       "Requests that were not complete in time, and clients that took no answer.",
                       figures->server->timeouts);
    exposition_gauge(text, "velour_fog_held_requests",
                     "Requests that wait for a change of their key.", figures->held);
    exposition_counter(text, "velour_fog_batches_total", "Batches in which requests were answered.",
                       figures->server->batches);
    exposition_counter(text, "velour_fog_received_bytes_total",
                       "Bytes received on all connections.", figures->loop->received_bytes);
    exposition_counter(text, "velour_fog_sent_bytes_total", "Bytes sent on all connections.",
                       figures->loop->sent_bytes);
    exposition_histogram(
        text, "velour_fog_request_duration_seconds",
        "Time from the read of a request's last byte to the hand-over of its reply to the kernel.",
        figures->latency_us);
    exposition_gauge(text, "velour_fog_timers", "Timers of the event loop that are set.",
                     figures->loop->timer_count);
    exposition_histogram(text, "velour_fog_loop_turn_duration_seconds",
                         "Time that turns of the event loop took, waiting apart.",
                         &figures->loop->turn_us);
}

/* The reply */

static bool reply_head(struct request *request, struct slice type, const struct text *text,
                       bool vary)
{
    if (text->full) {
        reply_text(request, 500, "The answer is longer than there is room for.");
        return false;
    }
    reply_start(request, 200);
    reply_field(request, SLICE("Content-Type"), type);
    reply_field(request, SLICE("Cache-Control"), SLICE("no-store"));
    if (vary)
        reply_field(request, SLICE("Vary"), SLICE("Accept"));
    return true;
}

void figures_reply(struct request *request, struct slice type, const struct text *text, bool vary)
{
    if (reply_head(request, type, text, vary))
        reply_body(request, text_slice(text));
}

static void release_text(void *context, void *owner)
{
    (void)context;
    free(owner);
}

void figures_reply_owned(struct request *request, struct slice type, struct text *text, bool vary)
{
    if (reply_head(request, type, text, vary))
        reply_body_ref(request,
                       (struct conn_piece){text->data, text->len, release_text, NULL, text->data});
    else
        free(text->data);
}
