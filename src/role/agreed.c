/* What all agree on: since when each member is known to have the same as this node, shard by shard. Deletes are forgotten by that. */
#include <stdlib.h>

#include "role/cluster_state.h"

void agreed_all(struct peer *peer, uint64_t at_us)
{
    if (at_us > peer->agreed_us)
        peer->agreed_us = at_us;
}

void agreed_group(struct peer *peer, uint32_t group, uint64_t at_us)
{
    if (at_us > peer->agreed_group_us[group])
        peer->agreed_group_us[group] = at_us;
}

void agreed_shard(struct peer *peer, uint32_t shard, uint64_t at_us)
{
    if (!peer->agreed_shard_us)
        peer->agreed_shard_us = calloc(STORE_SHARDS, sizeof *peer->agreed_shard_us);
    if (peer->agreed_shard_us && at_us > peer->agreed_shard_us[shard])
        peer->agreed_shard_us[shard] = at_us;
}

static uint64_t peer_agreed_us(const struct peer *peer, uint32_t shard)
{
    uint64_t us = peer->agreed_us;
    if (peer->agreed_group_us[shard / STORE_SHARDS_PER_GROUP] > us)
        us = peer->agreed_group_us[shard / STORE_SHARDS_PER_GROUP];
    if (peer->agreed_shard_us && peer->agreed_shard_us[shard] > us)
        us = peer->agreed_shard_us[shard];
    return us;
}

/* Whether what was seen at `seen_us` may have been overtaken by what was on its way at `event_us`, 0 being never. */
static bool was_before(uint64_t event_us, uint64_t seen_us)
{
    return event_us && seen_us < event_us + CLUSTER_ANSWER_US;
}

uint64_t cluster_agreed_us(const struct cluster *cluster, uint32_t shard)
{
    uint64_t least_us = UINT64_MAX;
    if (cluster->started && !cluster_is_ready(cluster))
        return 0;
    for (unsigned i = 1; i < cluster->members.count; i++) {
        const struct member *member = cluster->members.list[i];
        if (member->state != MEMBER_HERE && !member->peer)
            continue;
        uint64_t us =
            member->peer && member->state == MEMBER_HERE ? peer_agreed_us(member->peer, shard) : 0;
        least_us = us < least_us ? us : least_us;
    }
    if (least_us == UINT64_MAX)
        return was_before(cluster->departed_us, cluster->loop->now_us) ? 0 : least_us;
    /* Who has gone may have given what it had to somebody who was seen to agree before that. And an older record may be on its way,
     * to one that was seen before it comes, from one that was seen after it was told of the delete. Who is told so shows the
     * delete until the horizon's next step: so what was on its way when that came must have come, too (tests/model). */
    bool early =
        was_before(cluster->departed_us, least_us) || was_before(cluster->stepped_us, least_us);
    return early ? 0 : least_us;
}
