/* Admission: with whom this node is not to be one cluster, and when it must no longer be in its own. Who was dropped may have what was
 * deleted since, and would bring it back. */
#include <stdio.h>
#include <string.h>

#include "role/hello.h"

void hello_be_refused(struct cluster *cluster, const char *why, const char *advice)
{
    if (cluster->goodbye || cluster->refused)
        return;
    cluster->refused = why;
    log_event(cluster->log, LOG_ERROR_LEVEL, "refused", "msg=\"%s\" do=\"%s\"", why, advice);
}

void hello_be_dropped(struct cluster *cluster)
{
    hello_be_refused(
        cluster,
        "This node was dropped from its cluster while it was cut off, and may have what was "
        "deleted since: restart it.",
        "restart this node: it starts empty and gathers");
}

/* Whether it is from a cluster that may have forgotten it, and may have what was deleted there since. Here, who has nothing yet, or has never
 * been in a cluster, or in one that is younger than members are remembered, has forgotten nobody: all that it does not know are new to it,
 * however long they have been there. And there, who has nothing has just been started, however old its clock says that it is. */
static bool was_forgotten(const struct cluster *cluster, const struct hello *hello)
{
    uint64_t wall_us = cluster->loop->wall_us, keep_us = cluster->config->forget_us;
    uint64_t begin_us = wall_us > keep_us ? wall_us - keep_us : 0;
    return cluster->joined && cluster->has_everything && cluster->since_us < begin_us &&
           hello->joined && hello->digest && hello->who.stamp < begin_us &&
           !members_find(&cluster->members, hello->who.id);
}

/* A member that was dropped is told this, and knows by it that it was. */
static const char was_dropped[] = "This member was dropped while it was cut off, and may have what "
                                  "was deleted since: restart it.";

bool hello_says_dropped(struct slice refusal)
{
    return slice_starts(refusal, slice_of(was_dropped));
}

/* The sentence for one of a cluster whose members and this one's have dropped each other: none of them is to be told that it was dropped, as
 * all would be. */
static const char are_apart[] =
    "Members of the clusters of the two nodes have dropped each other, and "
    "may have what the others have deleted since: restart all nodes of "
    "one of the two.";

/* Whether a member is of another part of its cluster, by what a node tells of it whose own cluster may be the other part: that it was dropped,
 * while it is here, or that it is ready, while it was dropped here. */
static bool is_apart(const struct cluster *cluster, const struct member *said, bool as_ready)
{
    const struct member *known = members_find(&cluster->members, said->id);
    if (!known)
        return false;
    if (said->state == MEMBER_DROPPED)
        return known->state == MEMBER_HERE && !member_is_down(cluster, known);
    return as_ready && said->state == MEMBER_HERE && said->phase == PHASE_READY &&
           known->state == MEMBER_DROPPED;
}

/* Whether one of the two knows of somebody who was dropped: most do not, and lists may be long. */
static bool someone_was_dropped(const struct cluster *cluster, struct slice body)
{
    static const char word[] = " dropped ";
    for (unsigned i = 1; i < cluster->members.count; i++)
        if (cluster->members.list[i]->state == MEMBER_DROPPED)
            return true;
    return memmem(body.data, body.len, word, sizeof word - 1) != NULL;
}

static bool tells_apart(const struct cluster *cluster, struct slice body, bool as_ready)
{
    struct slice line;
    struct member said;
    bool is_first = true, apart = false, may_be = someone_was_dropped(cluster, body);
    while (may_be && !apart && slice_next(&body, '\n', &line)) {
        if (!slice_starts(line, SLICE("member ")) ||
            member_parse(line, cluster->loop->now_us, &said) != 0)
            continue;
        apart = !is_first && is_apart(cluster, &said, as_ready);
        is_first = false;
    }
    return apart;
}

/* Who has nothing yet does not choose between two parts of its cluster: with either it would lack what only the other one has, and it would
 * tell all of that one that they were dropped. */
static void meet_both_parts(struct cluster *cluster)
{
    if (cluster->has_everything || cluster->refused)
        return;
    cluster->torn = true;
    hello_be_refused(
        cluster,
        "Two parts of this node's cluster have dropped each other, and serve on, each for "
        "itself: restart all nodes of the one that is to give way, and then this one.",
        "restart all nodes of one part: they start empty and gather; then this one");
}

/* Whether it is of another part of this node's cluster: it was dropped here, or it has not been ready here yet, and tells of members that were
 * dropped. */
static bool is_of_other_part(struct cluster *cluster, const struct hello *hello, struct slice body)
{
    const struct member *known = members_find(&cluster->members, hello->who.id);
    bool ready = hello->who.phase == PHASE_READY, dropped = known && known->state == MEMBER_DROPPED;
    bool is_new = !known || (known->state == MEMBER_HERE && known->phase == PHASE_JOINING);
    if (hello->who.state != MEMBER_HERE || (!dropped && !is_new))
        return false;
    bool apart = tells_apart(cluster, body, ready && is_new);
    if (apart && ready)
        meet_both_parts(cluster);
    return dropped ? !cluster->has_everything : apart;
}

const char *hello_refusal(struct cluster *cluster, const struct hello *hello, struct slice body)
{
    char partition[32], said[NODE_NAME_BYTES_MAX + 1];
    const struct member *known = members_find(&cluster->members, hello->who.id);
    hello_partition(cluster, partition);
    if (hello_is_foreign(hello)) {
        snprintf(cluster->sentence, sizeof cluster->sentence,
                 "The two nodes speak different protocols (%llu and %d): run one version of "
                 "Velour Fog.",
                 (unsigned long long)hello->protocol, HELLO_PROTOCOL);
        return cluster->sentence;
    }
    if (!slice_equal(hello->cluster, slice_of(hello_cluster_name(cluster)))) {
        snprintf(cluster->sentence, sizeof cluster->sentence,
                 "The two nodes belong to different clusters, '%s' and '%s' (--cluster-name).",
                 log_quotable(hello->cluster, said, sizeof said), hello_cluster_name(cluster));
        return cluster->sentence;
    }
    if (!slice_equal(hello->partition, slice_of(partition))) {
        snprintf(cluster->sentence, sizeof cluster->sentence,
                 "The two nodes hold different partitions, '%s' and '%s' (--partition).",
                 log_quotable(hello->partition, said, sizeof partition), partition);
        return cluster->sentence;
    }
    if (is_of_other_part(cluster, hello, body))
        return are_apart;
    if (known && known->state != MEMBER_HERE && hello->who.state == MEMBER_HERE)
        return known->state == MEMBER_DROPPED
                   ? was_dropped
                   : "Another node has this member's address (--advertise): stop one of the two.";
    if (was_forgotten(cluster, hello))
        return "This node was in a cluster that forgot it long ago, and may have what was deleted "
               "since: restart it.";
    return NULL;
}
