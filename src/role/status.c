#include <inttypes.h>

#include "base/date.h"
#include "role/figures.h"
#include "version.h"

/* /-/status: one JSON object. The writer puts the commas and the indentation, so that what comes out
 * is JSON in any case. */

enum { STATUS_MEMBERS_MAX = 64 }; /* told one by one */

struct json {
    struct text text;
    unsigned depth;
    bool has_members; /* the object that is open */
};

static void json_name(struct json *json, const char *name)
{
    text_add(&json->text, "%s\n%*s\"%s\": ", json->has_members ? "," : "", (int)(2 * json->depth),
             "", name);
    json->has_members = true;
}

/* `name` is NULL for the outermost object. */
static void json_open(struct json *json, const char *name)
{
    if (name)
        json_name(json, name);
    text_add(&json->text, "{");
    json->depth++;
    json->has_members = false;
}

static void json_close(struct json *json)
{
    json->depth--;
    text_add(&json->text, "\n%*s}", (int)(2 * json->depth), "");
    json->has_members = true;
}

static void json_number(struct json *json, const char *name, uint64_t value)
{
    json_name(json, name);
    text_add(&json->text, "%" PRIu64, value);
}

/* As json_number, but 0 means that there is none. */
static void json_number_or_null(struct json *json, const char *name, uint64_t value)
{
    json_name(json, name);
    if (value)
        text_add(&json->text, "%" PRIu64, value);
    else
        text_add(&json->text, "null");
}

static void json_seconds(struct json *json, const char *name, uint64_t us)
{
    json_name(json, name);
    text_add_seconds(&json->text, us);
}

static void json_bool(struct json *json, const char *name, bool value)
{
    json_name(json, name);
    text_add(&json->text, value ? "true" : "false");
}

/* `value` has nothing in it that needs an escape. */
static void json_string(struct json *json, const char *name, struct slice value)
{
    json_name(json, name);
    text_add(&json->text, "\"%.*s\"", (int)value.len, value.data);
}

static void put_node(struct json *json, const struct node *node, const struct figures *figures)
{
    char started[DATE_ISO_BYTES];
    date_iso(node->started_wall_us / 1000, started);
    json_string(json, "version", SLICE(VELOUR_FOG_VERSION));
    json_string(json, "started", (struct slice){started, sizeof started});
    json_seconds(json, "uptime_seconds", figures->uptime_us);
    json_bool(json, "ready", figures->ready);
    json_bool(json, "draining", node->draining);
}

/* One object of a value for each member that is here, this node first. */
static void put_members(struct json *json, const struct node *node, const char *name,
                        void (*put)(struct json *json, const char *address,
                                    const struct member *member,
                                    const struct peer_figures *figures))
{
    const struct members *members = cluster_list(node->cluster);
    char address[ADDRESS_TEXT_BYTES];
    json_open(json, name);
    for (unsigned i = 0, shown = 0; i < members->count && shown < STATUS_MEMBERS_MAX; i++) {
        const struct member *member = members->list[i];
        struct peer_figures figures = cluster_peer_figures(node->cluster, member);
        if (member->state != MEMBER_HERE || members_at(members, &member->address) != member)
            continue;
        shown++;
        put(json, address_format(&member->address, address), member, &figures);
    }
    json_close(json);
}

static void put_phase(struct json *json, const char *address, const struct member *member,
                      const struct peer_figures *figures)
{
    json_string(json, address,
                figures->is_up ? slice_of(member_phase_name(member)) : SLICE("down"));
}

/* Its clock less this one's. */
static void put_skew(struct json *json, const char *address, const struct member *member,
                     const struct peer_figures *figures)
{
    (void)member;
    json_name(json, address);
    text_add(&json->text, "%.6f", (double)figures->skew_us / 1e6);
}

static void put_cluster(struct json *json, const struct node *node)
{
    const struct members *members = cluster_list(node->cluster);
    json_open(json, "cluster");
    json_string(json, "name",
                slice_of(node->config.cluster_name ? node->config.cluster_name : "fog"));
    json_string(json, "phase", slice_of(member_phase_name(members->list[0])));
    json_number(json, "gathered_permille", cluster_gathered_permille(node->cluster));
    json_number(json, "gathered_records", cluster_gathered_records(node->cluster));
    json_number(json, "gathered_bytes_per_second", cluster_gathered_bytes_per_s(node->cluster));
    put_members(json, node, "members", put_phase);
    put_members(json, node, "clock_skew_seconds", put_skew);
    json_close(json);
}

static void put_table(struct json *json, const struct node *node, const struct figures *figures)
{
    json_number(json, "keys", figures->store.keys);
    json_number(json, "tombstones", figures->store.tombstones);
    json_number(json, "expired", figures->store.expired);
    json_number(json, "tombstones_dropped", figures->store.dropped);
    json_open(json, "merges");
    json_number(json, "records", node->counters.merged);
    json_number(json, "stale_records", node->counters.merge_stale);
    json_number(json, "refused", node->counters.merge_refused);
    json_close(json);
    json_open(json, "memory");
    json_number_or_null(json, "limit_bytes", node->config.memory_max);
    json_number(json, "table_bytes", figures->table_bytes);
    json_number(json, "table_resident_bytes", figures->table_resident_bytes);
    json_number_or_null(json, "table_limit_bytes", figures->table_limit_bytes);
    json_number_or_null(json, "process_resident_bytes", figures->process_resident_bytes);
    json_close(json);
}

static void put_connections(struct json *json, const struct node *node,
                            const struct figures *figures)
{
    const struct server_counters *counters = figures->server;
    json_open(json, "connections");
    json_number(json, "open", figures->connections);
    json_number(json, "max", node->config.server.connections_max);
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

static void put_durations(struct json *json, const struct node *node,
                          const struct histogram *latency)
{
    const struct histogram *turns = &node->loop->turn_us;
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

static void put_bytes(struct json *json, const struct node *node)
{
    json_open(json, "bytes");
    json_number(json, "received", node->loop->received_bytes);
    json_number(json, "sent", node->loop->sent_bytes);
    json_close(json);
}

static void put_limits(struct json *json, const struct node_config *config)
{
    json_open(json, "limits");
    json_number(json, "key_max_bytes", RECORD_KEY_BYTES_MAX);
    json_number(json, "value_max_bytes", config->value_max);
    json_seconds(json, "idle_timeout_seconds", config->server.idle_us);
    json_seconds(json, "request_timeout_seconds", config->server.request_us);
    json_seconds(json, "stall_timeout_seconds", config->server.stall_us);
    json_seconds(json, "tombstone_grace_seconds", config->grace_us);
    json_seconds(json, "drain_seconds", config->drain_us);
    json_close(json);
}

void status_reply(struct node *node, struct request *request)
{
    char room[FIGURES_TEXT_BYTES];
    struct json json = {.text = text_in(room, sizeof room)};
    struct figures figures;
    figures_gather(node, &figures);
    json_open(&json, NULL);
    put_node(&json, node, &figures);
    put_cluster(&json, node);
    put_table(&json, node, &figures);
    put_connections(&json, node, &figures);
    put_requests(&json, &figures);
    put_durations(&json, node, &figures.server->latency_us);
    put_bytes(&json, node);
    put_limits(&json, &node->config);
    json_close(&json);
    text_add(&json.text, "\n");
    figures_reply(request, SLICE("application/json"), &json.text, false);
}
