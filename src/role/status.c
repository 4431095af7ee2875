#include "role/node_figures.h"

/* /-/status: one JSON object: what figures.c says, the cluster and the table. */

/* One object of a value for each member that is told. */
static void put_members(struct json *json, const struct node *node,
                        const struct node_members *members, const char *name,
                        void (*put)(struct json *json, const char *address,
                                    const struct member *member,
                                    const struct peer_figures *figures))
{
    char address[ADDRESS_TEXT_BYTES];
    json_open(json, name);
    for (unsigned i = 0; i < members->told_count; i++) {
        const struct member *member = members->told[i];
        struct peer_figures figures = cluster_peer_figures(node->cluster, member);
        put(json, address_format(&member->address, address), member, &figures);
    }
    json_close(json);
}

static void put_member_counts(struct json *json, const struct node_members *members)
{
    json_open(json, "member_counts");
    for (unsigned state = 0; state < NODE_MEMBER_STATES; state++)
        json_number(json, node_member_state_name(state), members->by_state[state]);
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
    json_seconds_signed(json, address, figures->skew_us);
}

static void put_gathered(struct json *json, const char *address, const struct member *member,
                         const struct peer_figures *figures)
{
    (void)member;
    json_number(json, address, figures->gathered_permille);
}

static void put_partition(struct json *json, const struct node_config *config)
{
    if (config->partitions)
        text_add(json_place(json, "partition"), "\"%u/%u\"", config->partition, config->partitions);
    else
        json_string(json, "partition", SLICE("-"));
}

static void put_cluster(struct json *json, const struct node *node)
{
    struct node_members members;
    node_members_gather(node, &members);
    json_open(json, "cluster");
    json_string(json, "name",
                slice_of(node->config.cluster_name ? node->config.cluster_name : "fog"));
    put_partition(json, &node->config);
    json_string(json, "phase",
                slice_of(member_phase_name(members_self(cluster_list(node->cluster)))));
    json_number(json, "gathered_permille", cluster_gathered_permille(node->cluster));
    json_number(json, "gathered_records", cluster_gathered_records(node->cluster));
    json_number(json, "gathered_bytes_per_second", cluster_gathered_bytes_per_s(node->cluster));
    put_member_counts(json, &members);
    put_members(json, node, &members, "members", put_phase);
    put_members(json, node, &members, "members_gathered_permille", put_gathered);
    put_members(json, node, &members, "clock_skew_seconds", put_skew);
    json_close(json);
}

static void put_table(struct json *json, const struct node *node,
                      const struct node_figures *figures)
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
    json_number_or_null(json, "process_resident_bytes", figures->common.process_resident_bytes);
    json_close(json);
}

static void put_limits(struct json *json, const struct node_figures *figures,
                       const struct node_config *config)
{
    json_open(json, "limits");
    figures_put_limits(json, &figures->common, config->value_max);
    json_seconds(json, "tombstone_grace_seconds", config->grace_us);
    json_seconds(json, "drain_seconds", config->drain_us);
    json_close(json);
}

void status_reply(struct node *node, struct request *request)
{
    char room[FIGURES_TEXT_BYTES];
    struct json json = json_in(text_in(room, sizeof room));
    struct node_figures figures;
    node_figures_gather(node, &figures);
    json_open(&json, NULL);
    figures_put_identity(&json, &figures.common);
    put_cluster(&json, node);
    put_table(&json, node, &figures);
    figures_put_server(&json, &figures.common);
    put_limits(&json, &figures, &node->config);
    json_close(&json);
    text_add(&json.text, "\n");
    figures_reply(request, SLICE("application/json"), &json.text, false);
}
