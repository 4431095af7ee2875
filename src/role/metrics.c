#include <inttypes.h>

#include "role/figures.h"
#include "version.h"

/* /-/metrics: the text format 0.0.4 of Prometheus. */

enum { METRICS_MEMBERS_MAX = 32 }; /* told one by one */

static void put_head(struct text *text, const char *name, const char *type, const char *help)
{
    text_add(text, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_number(struct text *text, const char *name, const char *type, const char *help,
                       uint64_t value)
{
    put_head(text, name, type, help);
    text_add(text, "%s %" PRIu64 "\n", name, value);
}

static void put_gauge(struct text *text, const char *name, const char *help, uint64_t value)
{
    put_number(text, name, "gauge", help, value);
}

static void put_counter(struct text *text, const char *name, const char *help, uint64_t value)
{
    put_number(text, name, "counter", help, value);
}

static void put_seconds(struct text *text, const char *name, const char *type, const char *help,
                        uint64_t us)
{
    put_head(text, name, type, help);
    text_add(text, "%s ", name);
    text_add_seconds(text, us);
    text_add(text, "\n");
}

static void put_histogram(struct text *text, const char *name, const char *help,
                          const struct histogram *histogram)
{
    uint64_t count = 0;
    put_head(text, name, "histogram", help);
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS - 1; i++) {
        count += histogram->counts[i];
        text_add(text, "%s_bucket{le=\"", name);
        text_add_seconds(text, 1ULL << i);
        text_add(text, "\"} %" PRIu64 "\n", count);
    }
    count += histogram->counts[HISTOGRAM_BUCKETS - 1];
    text_add(text, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n%s_sum ", name, count, name);
    text_add_seconds(text, histogram->sum_us);
    text_add(text, "\n%s_count %" PRIu64 "\n", name, count);
}

/* Only what has happened: a node that never refused anything has few lines. */
static void put_requests(struct text *text, const struct server_counters *counters)
{
    static const char *const methods[SERVER_METHODS] = {
        [HTTP_GET] = "GET", [HTTP_HEAD] = "HEAD",     [HTTP_POST] = "POST",
        [HTTP_PUT] = "PUT", [HTTP_DELETE] = "DELETE", [HTTP_OTHER] = "other",
    };
    put_head(text, "velour_fog_requests_total", "counter",
             "Requests answered, by method and status.");
    for (unsigned method = 0; method < SERVER_METHODS; method++)
        for (unsigned i = 0; i < SERVER_STATUSES; i++)
            if (counters->replies[method][i])
                text_add(text,
                         "velour_fog_requests_total{method=\"%s\",status=\"%u\"} %" PRIu64 "\n",
                         methods[method], 100 + i, counters->replies[method][i]);
}

static void put_traffic(struct text *text, const struct node *node, const struct figures *figures)
{
    put_requests(text, figures->server);
    put_counter(text, "velour_fog_request_timeouts_total",
                "Requests that were not complete in time.", figures->server->timeouts);
    put_gauge(text, "velour_fog_held_requests", "Requests that wait for a change of their key.",
              figures->held);
    put_counter(text, "velour_fog_batches_total", "Batches in which requests were answered.",
                figures->server->batches);
    put_counter(text, "velour_fog_received_bytes_total", "Bytes received from clients.",
                node->loop->received_bytes);
    put_counter(text, "velour_fog_sent_bytes_total", "Bytes sent to clients.",
                node->loop->sent_bytes);
    put_histogram(
        text, "velour_fog_request_duration_seconds",
        "Time from the read of a request's last byte to the hand-over of its reply to the kernel.",
        &figures->server->latency_us);
    put_histogram(text, "velour_fog_loop_turn_duration_seconds",
                  "Time that turns of the event loop took, waiting apart.", &node->loop->turn_us);
}

static void put_connections(struct text *text, const struct figures *figures)
{
    const struct server_counters *counters = figures->server;
    put_gauge(text, "velour_fog_connections", "Connections that are open.", figures->connections);
    put_counter(text, "velour_fog_connections_accepted_total", "Connections accepted.",
                counters->accepted);
    put_head(text, "velour_fog_connections_refused_total", "counter",
             "Connections refused: from a network that is not allowed, or past the limit.");
    text_add(text, "velour_fog_connections_refused_total{reason=\"network\"} %" PRIu64 "\n",
             counters->refused_network);
    text_add(text, "velour_fog_connections_refused_total{reason=\"full\"} %" PRIu64 "\n",
             counters->refused_full);
    put_counter(text, "velour_fog_accept_failures_total",
                "Times that a connection could not be accepted.", counters->accept_failures);
}

static void put_table(struct text *text, const struct node *node, const struct figures *figures)
{
    put_gauge(text, "velour_fog_keys", "Keys that have a value.", figures->store.keys);
    put_gauge(text, "velour_fog_tombstones", "Deleted or expired keys that are still remembered.",
              figures->store.tombstones);
    put_counter(text, "velour_fog_expired_total", "Values whose time was over.",
                figures->store.expired);
    put_counter(text, "velour_fog_tombstones_dropped_total",
                "Tombstones forgotten after the grace period.", figures->store.dropped);
    put_counter(text, "velour_fog_merged_records_total", "Records taken in through merges.",
                node->counters.merged);
    put_counter(text, "velour_fog_merge_stale_records_total",
                "Records of merges that were not newer than what was there.",
                node->counters.merge_stale);
    put_counter(text, "velour_fog_merge_refused_total",
                "Merges refused as damaged or for want of memory.", node->counters.merge_refused);
    put_gauge(text, "velour_fog_table_bytes", "Memory of the table's records.",
              figures->table_bytes);
    put_gauge(text, "velour_fog_table_resident_bytes",
              "Memory that the table holds, free parts too.", figures->table_resident_bytes);
    put_gauge(text, "velour_fog_table_limit_bytes",
              "Memory that the table may hold, 0 for no limit.", figures->table_limit_bytes);
}

static void put_process(struct text *text, const struct node *node, const struct figures *figures)
{
    const struct node_config *config = &node->config;
    put_gauge(text, "velour_fog_memory_limit_bytes",
              "Memory that the process may take, 0 for no limit.", config->memory_max);
    put_gauge(text, "velour_fog_ready", "Whether the node is ready to serve.", figures->ready);
    put_head(text, "velour_fog_build_info", "gauge", "The program's version; always 1.");
    text_add(text, "velour_fog_build_info{version=\"%s\"} 1\n", VELOUR_FOG_VERSION);
    put_seconds(text, "process_start_time_seconds", "gauge",
                "When the process started, in seconds since 1970.", node->started_wall_us);
    if (config->resident_bytes)
        put_gauge(text, "process_resident_memory_bytes", "Resident memory of the process.",
                  figures->process_resident_bytes);
    if (config->cpu_us)
        put_seconds(text, "process_cpu_seconds_total", "counter",
                    "Processor time of the process, user and system.", config->cpu_us());
    if (config->files_max)
        put_gauge(text, "process_max_fds", "File descriptors that the process may have open.",
                  config->files_max());
}

/* One gauge for each of the other members, the first METRICS_MEMBERS_MAX of them. */
static void put_members(struct text *text, const struct node *node, const char *name,
                        const char *help, int64_t (*value)(const struct peer_figures *figures),
                        bool is_us)
{
    const struct members *members = cluster_list(node->cluster);
    char address[ADDRESS_TEXT_BYTES];
    put_head(text, name, "gauge", help);
    for (unsigned i = 1, shown = 0; i < members->count && shown < METRICS_MEMBERS_MAX; i++) {
        const struct member *member = members->list[i];
        if (member->state != MEMBER_HERE)
            continue;
        struct peer_figures figures = cluster_peer_figures(node->cluster, member);
        shown++;
        text_add(text, "%s{member=\"%s\"} ", name, address_format(&member->address, address));
        if (is_us)
            text_add(text, "%.6f\n", (double)value(&figures) / 1e6);
        else
            text_add(text, "%" PRId64 "\n", value(&figures));
    }
}

static int64_t up_of(const struct peer_figures *figures)
{
    return figures->is_up;
}

static int64_t agrees_of(const struct peer_figures *figures)
{
    return figures->agrees;
}

static int64_t in_flight_of(const struct peer_figures *figures)
{
    return (int64_t)figures->in_flight;
}

static int64_t skew_of(const struct peer_figures *figures)
{
    return figures->skew_us;
}

static int64_t round_trip_of(const struct peer_figures *figures)
{
    return (int64_t)figures->round_trip_us;
}

static void put_pushes(struct text *text, const struct cluster_counters *counters)
{
    put_counter(text, "velour_fog_pushed_records_total",
                "Records pushed, counted once for each member.", counters->pushed_records);
    put_counter(text, "velour_fog_pushed_batches_total", "Batches of them.",
                counters->pushed_batches);
    put_counter(text, "velour_fog_push_failures_total",
                "Batches that a member did not take, or may not have.", counters->push_failures);
    put_counter(text, "velour_fog_lagged_records_total",
                "Records pushed later, since the member could not keep up.",
                counters->lagged_records);
    put_counter(text, "velour_fog_repairs_total", "Comparisons with another member.",
                counters->repairs);
    put_counter(text, "velour_fog_repair_pulled_records_total",
                "Records that this node lacked, and got by repair.", counters->repair_pulled);
    put_counter(text, "velour_fog_repair_pushed_records_total",
                "Records that another member lacked, and got by repair.", counters->repair_pushed);
    put_counter(text, "velour_fog_gathered_records_total",
                "Records copied from a member before this node was ready.", counters->gathered);
    put_counter(text, "velour_fog_members_refused_total",
                "Requests of who said to be a member, and was not.", counters->refused);
}

static void put_cluster(struct text *text, const struct node *node)
{
    put_gauge(text, "velour_fog_members", "Members of the cluster, this node too.",
              cluster_members(node->cluster));
    put_members(text, node, "velour_fog_member_up", "Whether the member was heard of lately.",
                up_of, false);
    put_members(text, node, "velour_fog_member_agrees",
                "Whether its table was the same as this one at the last hello.", agrees_of, false);
    put_members(text, node, "velour_fog_member_batches_in_flight",
                "Batches that it has not answered yet.", in_flight_of, false);
    put_members(text, node, "velour_fog_member_skew_seconds", "Its clock less this one.", skew_of,
                true);
    put_members(text, node, "velour_fog_member_round_trip_seconds", "How long a hello takes.",
                round_trip_of, true);
    put_pushes(text, cluster_counters(node->cluster));
}

void metrics_reply(struct node *node, struct request *request)
{
    char room[FIGURES_TEXT_BYTES];
    struct text text = text_in(room, sizeof room);
    struct figures figures;
    figures_gather(node, &figures);
    put_process(&text, node, &figures);
    put_connections(&text, &figures);
    put_traffic(&text, node, &figures);
    put_table(&text, node, &figures);
    put_cluster(&text, node);
    figures_reply(request, SLICE("text/plain; version=0.0.4; charset=utf-8"), &text, false);
}
