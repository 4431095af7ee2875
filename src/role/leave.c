/* Leaving: a node that stops stays until somebody has all that it has, and until those that hear it have heard its goodbye. */
#include <assert.h>

#include "role/cluster_state.h"

enum { LEAVE_TICK_US = 5 * 1000 }; /* how often is looked whether it is over */

void leave_look_again(struct cluster *cluster)
{
    for (unsigned i = 1; cluster->leaving && i < cluster->members.count; i++)
        if (cluster->members.list[i]->peer)
            push_forget(cluster->members.list[i]->peer);
}

/* Of repairs with members that were full: they may have room now, and this node has its drain time only. */
static void end_rests(struct cluster *cluster)
{
    for (unsigned i = 1; i < cluster->members.count; i++)
        if (cluster->members.list[i]->peer)
            cluster->members.list[i]->peer->repair.next_us = 0;
}

void cluster_leave(struct cluster *cluster)
{
    if (cluster->leaving)
        return;
    cluster->leaving = true;
    cluster->leave_us = cluster->loop->now_us;
    self_of(cluster)->phase = PHASE_LEAVING;
    leave_look_again(cluster);
    end_rests(cluster);
    gather_end(cluster);
    news_tell(cluster);
}

/* Whether a member was there when this node began to leave, and has said nothing since: it stands still or is cut off, and may be back,
 * which is all there is to hope for when nobody else has everything. A life before another one at the same address is over. */
static bool fell_silent(const struct cluster *cluster, const struct member *member)
{
    return member->refused_us <= member->heard_us &&
           member->heard_us + CLUSTER_DEAD_US >= cluster->leave_us &&
           members_at(&cluster->members, &member->address) == member;
}

/* Whether somebody who stays has all that this node has; true too when nobody stays. A newcomer is as good as a ready member here:
 * repair gives it everything. */
static bool others_have_all(struct cluster *cluster)
{
    bool done = true, someone = false, one_has = false;
    for (unsigned i = 1; i < cluster->members.count; i++) {
        const struct member *member = cluster->members.list[i];
        struct peer *peer = member->peer;
        if (member->state != MEMBER_HERE || member->phase == PHASE_LEAVING)
            continue;
        if (!peer || !peer->up) { /* it may be about to come up */
            bool starved = peer && peer->starved, alive = !member_is_down(cluster, member);
            uint64_t since_us = peer && peer->answered_us > cluster->leave_us ? peer->answered_us
                                                                              : cluster->leave_us;
            someone = someone || starved || alive || fell_silent(cluster, member);
            done =
                done && !starved && (!alive || cluster->loop->now_us > since_us + CLUSTER_DEAD_US);
            continue;
        }
        someone = true;
        done = done && push_is_done(peer);
        one_has = one_has || !peer->missed;
        if (peer->missed)
            repair_start(peer);
    }
    return done && (one_has || !someone);
}

static void goodbye(struct cluster *cluster)
{
    cluster->goodbye = true;
    member_go(self_of(cluster), MEMBER_LEFT, cluster->loop->wall_us);
    for (unsigned i = 1; i < cluster->members.count; i++) {
        struct peer *peer = cluster->members.list[i]->peer;
        if (peer && peer->up && !peer->hello.busy)
            hello_send(peer);
        else if (peer)
            peer->hello_due_us = 0;
    }
}

/* Whether the member answers, or did just now, or could not be asked, so that its connection is worth another attempt: who leaves as well
 * has no use for it. */
static bool peer_is_near(const struct peer *peer)
{
    const struct cluster *cluster = peer->cluster;
    uint64_t now_us = cluster->loop->now_us;
    if (peer->up)
        return true;
    if (peer->answered_us == 0 || peer->member->phase == PHASE_LEAVING)
        return false;
    return peer->starved || (now_us <= peer->answered_us + CLUSTER_DEAD_US &&
                             now_us >= peer->quiet_us && !member_is_down(cluster, peer->member));
}

/* Whether all that hear us have heard the goodbye. */
static bool goodbye_is_heard(const struct cluster *cluster)
{
    for (unsigned i = 1; i < cluster->members.count; i++) {
        const struct peer *peer = cluster->members.list[i]->peer;
        if (peer && !peer->told_goodbye && peer_is_near(peer))
            return false;
    }
    return true;
}

/* Others have some time to hear that this node leaves, so that nobody sends it anything any more when it ends. */
void leave_tick(struct cluster *cluster)
{
    if (!cluster->leaving || cluster->left)
        return;
    cluster->left = cluster->goodbye && goodbye_is_heard(cluster);
    loop_timer_set(cluster->loop, &cluster->tick, cluster->loop->now_us + LEAVE_TICK_US);
}

bool cluster_has_told_all(struct cluster *cluster)
{
    assert(cluster->leaving);
    if (!cluster->goodbye && others_have_all(cluster))
        goodbye(cluster);
    return cluster->goodbye;
}

bool cluster_has_left(struct cluster *cluster)
{
    if (cluster_has_told_all(cluster) && goodbye_is_heard(cluster))
        cluster->left = true;
    return cluster->left;
}
