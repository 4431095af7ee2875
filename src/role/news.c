/* News of members: all hear of it at once, and not with their next hello.
 *
 * One node tells each piece of news: whose own it is, or whom a newcomer has asked first. Who hears it from that one tells nobody, since
 * all that hear of a member say hello to it, and it says hello to all of whom it hears. Hellos as they come anyway see to who was missed.
 *
 * What is new within CLUSTER_NEWS_US after the last time waits until then, and is told together: of many nodes that start at once, one
 * node may be asked by all. */
#include "role/cluster_state.h"

void news_tell(struct cluster *cluster)
{
    cluster->has_news = true;
    cluster_hurry(cluster);
}

void news_tick(struct cluster *cluster)
{
    uint64_t now_us = cluster->loop->now_us;
    if (!cluster->has_news)
        return;
    if (now_us < cluster->news_us) {
        loop_timer_set(cluster->loop, &cluster->tick, cluster->news_us);
        return;
    }
    cluster->has_news = false;
    cluster->news_us = now_us + CLUSTER_NEWS_US;
    for (unsigned i = 1; i < cluster->members.count; i++)
        if (cluster->members.list[i]->peer)
            cluster->members.list[i]->peer->hello_due_us = 0;
}
