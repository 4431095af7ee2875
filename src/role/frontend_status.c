/* /-/status of a front-end: one JSON object. */
#include "role/backend.h"
#include "role/frontend_figures.h"
#include "role/frontend_state.h"
#include "role/partition.h"

/* Its clock less this one's, as of when it was heard last: 0 before. */
static int64_t skew_us(const struct backend *backend)
{
    const struct frontend *frontend = backend->partition->frontend;
    return backend->clock_us ? (int64_t)(backend_clock_us(backend) - frontend->loop->wall_us) : 0;
}

static void put_node(struct json *json, const struct backend *backend)
{
    char address[ADDRESS_TEXT_BYTES];
    json_open(json, address_format(&backend->address, address));
    json_string(json, "state", slice_of(backend_state_name(backend_state(backend))));
    json_string(json, "says", slice_of(backend->says));
    json_bool(json, "apart", backend->foreign || partition_apart_from(backend));
    json_string(json, "phase", backend->up ? slice_of(phase_name(backend->phase)) : SLICE(""));
    json_number(json, "gathered_permille", backend->gathered_permille);
    json_number(json, "records", backend->records);
    json_seconds_signed(json, "clock_skew_seconds", skew_us(backend));
    json_number(json, "in_flight", backend_in_flight(backend));
    json_number(json, "connections", backend->lane_count);
    json_number(json, "requests", backend->requests);
    json_number(json, "failures", backend->failures);
    json_close(json);
}

static void put_nodes(struct json *json, const struct partition *partition, unsigned share)
{
    struct backend_walk walk = {.partition = partition, .left = share};
    const struct backend *backend;
    json_open(json, "nodes");
    while ((backend = backend_walk_next(&walk)))
        put_node(json, backend);
    json_close(json);
}

static void put_counts(struct json *json, const struct partition_figures *figures)
{
    json_open(json, "node_counts");
    for (unsigned state = 0; state < BACKEND_STATES; state++)
        json_number(json, backend_state_name(state), figures->nodes[state]);
    json_close(json);
}

static void put_partition(struct json *json, const struct partition_figures *figures,
                          unsigned share)
{
    const struct partition *partition = figures->partition;
    json_open(json, NULL);
    json_number(json, "number", partition->number);
    json_bool(json, "reached", partition->reached);
    json_number(json, "requests", partition->requests);
    json_number(json, "failures", partition->failures);
    json_number(json, "in_flight", figures->in_flight);
    json_number(json, "parked", partition->parked_count);
    json_number(json, "retries_left", partition->retry_tokens / RETRY_TOKEN_PARTS);
    put_counts(json, figures);
    put_nodes(json, partition, share);
    json_close(json);
}

/* Each list is there, also when it is empty. */
static void put_partitions(struct json *json, const struct frontend_figures *figures)
{
    unsigned share = frontend_figures_share(figures, FRONTEND_NODES_TOLD_MAX);
    for (enum side side = 0; side < SIDES; side++) {
        json_list_open(json, side_words(side)->list);
        for (unsigned i = 0; i < figures->partition_count; i++)
            if (figures->partitions[i].partition->side == side)
                put_partition(json, &figures->partitions[i], share);
        json_list_close(json);
    }
}

static void put_problems(struct json *json, const struct frontend_figures *figures)
{
    json_list_open(json, "problems");
    for (unsigned i = 0; i < figures->problem_count && i < FRONTEND_PROBLEMS_MAX; i++)
        json_string(json, NULL, slice_of(figures->problems[i]));
    json_list_close(json);
}

static void put_relays(struct json *json, const struct frontend *frontend)
{
    const struct frontend_counters *counters = &frontend->counters;
    json_open(json, "relays");
    json_number(json, "in_progress", frontend->relays.used);
    json_number(json, "retries", counters->retries);
    json_number(json, "retries_refused", counters->retries_refused);
    json_number(json, "parked", counters->parked);
    json_number(json, "unanswered", counters->unanswered);
    json_number(json, "misrouted", counters->misrouted);
    json_number(json, "yielded", counters->yielded);
    json_close(json);
}

static void put_limits(struct json *json, const struct frontend_figures *figures)
{
    const struct frontend_config *config = &figures->frontend->config;
    json_open(json, "limits");
    figures_put_limits(json, &figures->common, config->value_max);
    json_seconds(json, "drain_seconds", config->drain_us);
    json_close(json);
}

static void put_status(struct text *text, const struct frontend_figures *figures)
{
    struct json json = json_in(*text);
    json_open(&json, NULL);
    figures_put_identity(&json, &figures->common);
    put_problems(&json, figures);
    put_partitions(&json, figures);
    put_relays(&json, figures->frontend);
    json_open(&json, "memory");
    json_number_or_null(&json, "process_resident_bytes", figures->common.process_resident_bytes);
    json_close(&json);
    figures_put_server(&json, &figures->common);
    put_limits(&json, figures);
    json_close(&json);
    text_add(&json.text, "\n");
    *text = json.text;
}

void frontend_reply_status(struct frontend *frontend, struct request *request)
{
    frontend_figures_reply(frontend, request, SLICE("application/json"), false, put_status);
}
