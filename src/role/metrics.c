#include <inttypes.h>
#include <stdlib.h>

#include "base/exposition.h"
#include "role/node_figures.h"

/* /-/metrics: what figures.c says, the table and the cluster. */

enum {
    METRICS_MEMBERS_MAX = 32,        /* told one by one, this node apart */
    METRICS_MEMBER_BYTES = 4 * 1024, /* of one of them */
    METRICS_TEXT_BYTES = FIGURES_TEXT_BYTES + METRICS_MEMBERS_MAX * METRICS_MEMBER_BYTES,
    METRICS_MEMBER_BUCKETS = 3, /* every third bucket is told of each: 1, 8, 64, 512 µs, … */
};

static void put_table(struct text *text, const struct node *node,
                      const struct node_figures *figures)
{
    exposition_gauge(text, "velour_fog_keys", "Keys that have a value.", figures->store.keys);
    exposition_gauge(text, "velour_fog_tombstones",
                     "Deleted or expired keys that are still remembered.",
                     figures->store.tombstones);
    exposition_counter(text, "velour_fog_expired_total", "Values whose time was over.",
                       figures->store.expired);
    exposition_counter(text, "velour_fog_tombstones_dropped_total",
                       "Tombstones forgotten after the grace period.", figures->store.dropped);
    exposition_counter(text, "velour_fog_merged_records_total", "Records taken in through merges.",
                       node->counters.merged);
    exposition_counter(text, "velour_fog_merge_stale_records_total",
                       "Records of merges that were not newer than what was there.",
                       node->counters.merge_stale);
    exposition_counter(text, "velour_fog_merge_refused_total",
                       "Merges that broke: damaged, no memory, or a key of another partition.",
                       node->counters.merge_refused);
    exposition_gauge(text, "velour_fog_table_bytes", "Memory of the table's records.",
                     figures->table_bytes);
    exposition_gauge(text, "velour_fog_table_resident_bytes",
                     "Memory that the table holds, free parts too.", figures->table_resident_bytes);
    exposition_gauge(text, "velour_fog_table_limit_bytes",
                     "Memory that the table may hold, 0 for no limit.", figures->table_limit_bytes);
    exposition_gauge(text, "velour_fog_memory_limit_bytes",
                     "Memory that the process may take, 0 for no limit.", node->config.memory_max);
}

/* This node is told first, unless another one has its address. */
static unsigned first_other(const struct node_members *members)
{
    return members->told_count > 0 && members->told[0]->is_self;
}

/* One gauge for each other member that is told. */
static void put_members(struct text *text, const struct node *node,
                        const struct node_members *members, const char *name, const char *help,
                        int64_t (*value)(const struct peer_figures *figures), bool is_us)
{
    char address[ADDRESS_TEXT_BYTES];
    exposition_head(text, name, "gauge", help);
    for (unsigned i = first_other(members), end = i + METRICS_MEMBERS_MAX;
         i < members->told_count && i < end; i++) {
        const struct member *member = members->told[i];
        struct peer_figures figures = cluster_peer_figures(node->cluster, member);
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

static int64_t lag_of(const struct peer_figures *figures)
{
    return (int64_t)figures->lag_shards;
}

static int64_t skew_of(const struct peer_figures *figures)
{
    return figures->skew_us;
}

static int64_t round_trip_of(const struct peer_figures *figures)
{
    return (int64_t)figures->round_trip_us;
}

static void put_members_push(struct text *text, const struct node *node,
                             const struct node_members *members)
{
    static const char name[] = "velour_fog_member_push_duration_seconds";
    char address[ADDRESS_TEXT_BYTES], room[ADDRESS_TEXT_BYTES + 16];
    exposition_head(text, name, "histogram",
                    "Time from the sending of a batch of writes to the member's answer.");
    for (unsigned i = first_other(members), end = i + METRICS_MEMBERS_MAX;
         i < members->told_count && i < end; i++) {
        const struct member *member = members->told[i];
        struct peer_figures figures = cluster_peer_figures(node->cluster, member);
        struct text labels = text_in(room, sizeof room);
        text_add(&labels, "member=\"%s\"", address_format(&member->address, address));
        if (figures.push_us)
            exposition_buckets(text, name, text_slice(&labels), figures.push_us,
                               METRICS_MEMBER_BUCKETS);
    }
}

static void put_states(struct text *text, const struct node_members *members)
{
    char room[32];
    exposition_head(text, "velour_fog_members", "gauge",
                    "Members of the cluster by state, this node too.");
    for (unsigned state = 0; state < NODE_MEMBER_STATES; state++) {
        struct text labels = text_in(room, sizeof room);
        text_add(&labels, "state=\"%s\"", node_member_state_name(state));
        exposition_sample(text, "velour_fog_members", text_slice(&labels),
                          members->by_state[state]);
    }
}

static void put_pushes(struct text *text, const struct cluster_counters *counters)
{
    exposition_counter(text, "velour_fog_pushed_records_total",
                       "Records pushed, counted once for each member.", counters->pushed_records);
    exposition_counter(text, "velour_fog_pushed_batches_total",
                       "Batches in which records were pushed.", counters->pushed_batches);
    exposition_counter(text, "velour_fog_push_failures_total",
                       "Batches that a member did not take, or may not have.",
                       counters->push_failures);
    exposition_counter(text, "velour_fog_lagged_records_total",
                       "Records pushed later, since the member could not keep up.",
                       counters->lagged_records);
    exposition_counter(text, "velour_fog_repairs_total", "Comparisons with another member.",
                       counters->repairs);
    exposition_counter(text, "velour_fog_repair_pulled_records_total",
                       "Records that this node lacked, and got by repair.",
                       counters->repair_pulled);
    exposition_counter(text, "velour_fog_repair_pushed_records_total",
                       "Records that another member lacked, and was sent by repair.",
                       counters->repair_pushed);
    exposition_counter(text, "velour_fog_gathered_records_total",
                       "Records copied from a member before this node was ready.",
                       counters->gathered);
    exposition_counter(text, "velour_fog_members_refused_total",
                       "Requests of who said to be a member, and was not.", counters->refused);
    exposition_histogram(
        text, "velour_fog_push_duration_seconds",
        "Time from the sending of a batch of writes to its answer, of all members.",
        &counters->push_us);
}

static void put_cluster(struct text *text, const struct node *node)
{
    struct node_members members;
    node_members_gather(node, &members);
    put_states(text, &members);
    put_members(text, node, &members, "velour_fog_member_up",
                "Whether the member was heard of lately.", up_of, false);
    put_members(text, node, &members, "velour_fog_member_agrees",
                "Whether its table was the same as this one at the last hello.", agrees_of, false);
    put_members(text, node, &members, "velour_fog_member_batches_in_flight",
                "Batches that it has not answered yet.", in_flight_of, false);
    put_members(text, node, &members, "velour_fog_member_lagging_shards",
                "Parts of the table with writes that it has yet to be sent.", lag_of, false);
    put_members(text, node, &members, "velour_fog_member_skew_seconds", "Its clock less this one.",
                skew_of, true);
    put_members(text, node, &members, "velour_fog_member_round_trip_seconds",
                "How long a hello takes.", round_trip_of, true);
    put_members_push(text, node, &members);
    put_pushes(text, cluster_counters(node->cluster));
}

static void put_gathering(struct text *text, const struct node *node)
{
    exposition_head(text, "velour_fog_gathered_ratio", "gauge",
                    "How much of the cluster's table this node has copied; 1 when it is complete.");
    text_add(text, "velour_fog_gathered_ratio %.3f\n",
             cluster_gathered_permille(node->cluster) / 1000.0);
}

void metrics_reply(struct node *node, struct request *request)
{
    char *room = malloc(METRICS_TEXT_BYTES);
    if (!room) {
        reply_text(request, 503, "This node is out of memory for requests; try again.");
        return;
    }
    struct text text = text_in(room, METRICS_TEXT_BYTES);
    struct node_figures figures;
    node_figures_gather(node, &figures);
    figures_expose_process(&text, &figures.common);
    figures_expose_server(&text, &figures.common);
    put_table(&text, node, &figures);
    put_cluster(&text, node);
    put_gathering(&text, node);
    figures_reply_owned(request, SLICE(EXPOSITION_TYPE), &text, false);
}
