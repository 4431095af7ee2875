/* /-/metrics of a front-end, for Prometheus. */
#include "base/exposition.h"
#include "role/backend.h"
#include "role/frontend_figures.h"
#include "role/frontend_state.h"
#include "role/partition.h"

enum { LABELS_BYTES = 128 };

/* partition="0", or partition="previous-0" or "next-0", and what `more` says. */
static void put_labels(struct text *labels, const struct partition *partition, const char *more,
                       const char *value)
{
    text_add(labels, "partition=\"%s%u\"", partition_words(partition)->label, partition->number);
    if (more)
        text_add(labels, ",%s=\"%s\"", more, value);
}

/* By partition */

struct partition_metric {
    const char *name, *type, *help;
    uint64_t (*value)(const struct partition_figures *figures);
};

static uint64_t reached_of(const struct partition_figures *figures)
{
    return figures->partition->reached;
}

static uint64_t requests_of(const struct partition_figures *figures)
{
    return figures->partition->requests;
}

static uint64_t failures_of(const struct partition_figures *figures)
{
    return figures->partition->failures;
}

static uint64_t in_flight_of(const struct partition_figures *figures)
{
    return figures->in_flight;
}

static uint64_t parked_of(const struct partition_figures *figures)
{
    return figures->partition->parked_count;
}

static uint64_t retries_left_of(const struct partition_figures *figures)
{
    return figures->partition->retry_tokens / RETRY_TOKEN_PARTS;
}

static uint64_t connections_of(const struct partition_figures *figures)
{
    return figures->connections;
}

static const struct partition_metric partition_metrics[] = {
    {"velour_fog_frontend_partition_reached", "gauge", "Whether a node of it is ready.",
     reached_of},
    {"velour_fog_frontend_partition_requests_total", "counter", "Requests for its keys.",
     requests_of},
    {"velour_fog_frontend_partition_failures_total", "counter",
     "Tries at its nodes that ended without an answer.", failures_of},
    {"velour_fog_frontend_partition_in_flight_requests", "gauge",
     "Requests that its nodes have not answered yet.", in_flight_of},
    {"velour_fog_frontend_partition_parked_requests", "gauge",
     "Requests that wait for a node of it to be ready.", parked_of},
    {"velour_fog_frontend_partition_retries_left", "gauge", "Tries that may be made again at once.",
     retries_left_of},
    {"velour_fog_frontend_partition_connections", "gauge", "Connections to its nodes.",
     connections_of},
};

static void put_by_partition(struct text *text, const struct frontend_figures *figures,
                             const struct partition_metric *metric)
{
    exposition_head(text, metric->name, metric->type, metric->help);
    for (unsigned i = 0; i < figures->partition_count; i++) {
        char room[LABELS_BYTES];
        struct text labels = text_in(room, sizeof room);
        put_labels(&labels, figures->partitions[i].partition, NULL, NULL);
        exposition_sample(text, metric->name, text_slice(&labels),
                          metric->value(&figures->partitions[i]));
    }
}

static void put_states(struct text *text, const struct frontend_figures *figures)
{
    static const char name[] = "velour_fog_frontend_nodes";
    exposition_head(text, name, "gauge", "Nodes by partition and state.");
    for (unsigned i = 0; i < figures->partition_count; i++)
        for (unsigned state = 0; state < BACKEND_STATES; state++) {
            char room[LABELS_BYTES];
            struct text labels = text_in(room, sizeof room);
            put_labels(&labels, figures->partitions[i].partition, "state",
                       backend_state_name(state));
            exposition_sample(text, name, text_slice(&labels), figures->partitions[i].nodes[state]);
        }
}

/* By node */

struct node_metric {
    const char *name, *type, *help;
    uint64_t (*value)(const struct backend *backend);
};

static uint64_t node_usable_of(const struct backend *backend)
{
    return backend->usable;
}

static uint64_t node_wrong_of(const struct backend *backend)
{
    return backend->wrong;
}

static uint64_t node_apart_of(const struct backend *backend)
{
    return backend->foreign || partition_apart_from(backend);
}

static uint64_t node_in_flight_of(const struct backend *backend)
{
    return backend_in_flight(backend);
}

static uint64_t node_requests_of(const struct backend *backend)
{
    return backend->requests;
}

static uint64_t node_failures_of(const struct backend *backend)
{
    return backend->failures;
}

static const struct node_metric node_metrics[] = {
    {"velour_fog_frontend_node_usable", "gauge", "Whether requests can be sent to it.",
     node_usable_of},
    {"velour_fog_frontend_node_wrong_partition", "gauge",
     "Whether it is of another partition than it was named for.", node_wrong_of},
    {"velour_fog_frontend_node_apart", "gauge",
     "Whether it is of another cluster than those that are asked.", node_apart_of},
    {"velour_fog_frontend_node_in_flight_requests", "gauge",
     "Requests that it has not answered yet.", node_in_flight_of},
    {"velour_fog_frontend_node_requests_total", "counter", "Requests sent to it, each try counted.",
     node_requests_of},
    {"velour_fog_frontend_node_failures_total", "counter",
     "Requests sent to it that ended without an answer.", node_failures_of},
};

static void put_nodes(struct text *text, const struct partition *partition,
                      const struct node_metric *metric, unsigned share)
{
    struct backend_walk walk = {.partition = partition, .left = share};
    const struct backend *backend;
    while ((backend = backend_walk_next(&walk))) {
        char room[LABELS_BYTES], address[ADDRESS_TEXT_BYTES];
        struct text labels = text_in(room, sizeof room);
        put_labels(&labels, partition, "node", address_format(&backend->address, address));
        exposition_sample(text, metric->name, text_slice(&labels), metric->value(backend));
    }
}

static void put_by_node(struct text *text, const struct frontend_figures *figures,
                        const struct node_metric *metric)
{
    unsigned share = frontend_figures_share(figures, FRONTEND_NODES_EXPOSED_MAX);
    exposition_head(text, metric->name, metric->type, metric->help);
    for (unsigned i = 0; i < figures->partition_count; i++)
        put_nodes(text, figures->partitions[i].partition, metric, share);
}

/* Of all */

static void put_relays(struct text *text, const struct frontend *frontend)
{
    const struct frontend_counters *counters = &frontend->counters;
    exposition_gauge(text, "velour_fog_frontend_requests_in_progress",
                     "Requests on keys that are not answered yet.", frontend->relays.used);
    exposition_counter(text, "velour_fog_frontend_retries_total",
                       "Tries that were made again, after one that failed.", counters->retries);
    exposition_counter(text, "velour_fog_frontend_retries_refused_total",
                       "Requests that were not tried again: too often, or too many at once.",
                       counters->retries_refused);
    exposition_counter(text, "velour_fog_frontend_parked_total",
                       "Requests that waited for a node to be ready.", counters->parked);
    exposition_counter(text, "velour_fog_frontend_unanswered_total",
                       "Requests that no node has answered.", counters->unanswered);
    exposition_counter(text, "velour_fog_frontend_misrouted_total",
                       "Requests that a node refused as another partition's.", counters->misrouted);
    exposition_counter(text, "velour_fog_frontend_yielded_total",
                       "Connections that one long answer has taken for itself.", counters->yielded);
}

static void put_metrics(struct text *text, const struct frontend_figures *figures)
{
    figures_expose_process(text, &figures->common);
    figures_expose_server(text, &figures->common);
    exposition_gauge(text, "velour_fog_frontend_partitions", "Partitions that keys are split over.",
                     figures->count);
    for (unsigned i = 0; i < sizeof partition_metrics / sizeof *partition_metrics; i++)
        put_by_partition(text, figures, &partition_metrics[i]);
    put_states(text, figures);
    for (unsigned i = 0; i < sizeof node_metrics / sizeof *node_metrics; i++)
        put_by_node(text, figures, &node_metrics[i]);
    put_relays(text, figures->frontend);
}

void frontend_reply_metrics(struct frontend *frontend, struct request *request)
{
    frontend_figures_reply(frontend, request, SLICE(EXPOSITION_TYPE), false, put_metrics);
}
