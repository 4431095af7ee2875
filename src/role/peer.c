/* One member that this node talks to: the connection for hellos, which shows whether it is up, and what begins and ends with that. */
#include <errno.h>
#include <stdlib.h>

#include "role/cluster_state.h"

/* Up and down */

void peer_up(struct peer *peer)
{
    char address[ADDRESS_TEXT_BYTES];
    peer->up = true;
    peer->starved = false;
    log_event(peer->cluster->log, LOG_INFO_LEVEL, "member-up", "member=%s id=%016llx",
              address_format(&peer->member->address, address),
              (unsigned long long)peer->member->id);
    push_start(peer);
    copies_look_again(peer->cluster);
    gather_peer_up(peer->cluster);
}

static void tell_down(const struct peer *peer, const char *why)
{
    char address[ADDRESS_TEXT_BYTES];
    address_format(&peer->member->address, address);
    if (peer->member->phase == PHASE_LEAVING) { /* what was to be expected */
        log_event(peer->cluster->log, LOG_INFO_LEVEL, "member-leaving", "member=%s id=%016llx",
                  address, (unsigned long long)peer->member->id);
        return;
    }
    log_event(peer->cluster->log, LOG_WARN_LEVEL, "member-down",
              "member=%s id=%016llx msg=\"%s\" do=\"start it again, or mend the network; if it is "
              "gone for good: curl -X DELETE HOST:PORT/-/members/%s\"",
              address, (unsigned long long)peer->member->id, why, address);
}

void peer_down(struct peer *peer, const char *why)
{
    if (peer->up) {
        tell_down(peer, why);
        leave_look_again(peer->cluster);
    }
    peer->up = peer->agrees = peer->knows_us = false;
    peer->gather_checked_us = 0;
    push_stop(peer);
    repair_stop(peer);
    upstream_close(peer->control, 0);
}

/* The connection for hellos */

static void control_on_open(struct upstream *upstream)
{
    struct peer *peer = upstream_owner(upstream);
    peer->backoff_us = 0;
    hello_send(peer);
}

static void control_on_closed(struct upstream *upstream, int error)
{
    struct peer *peer = upstream_owner(upstream);
    struct cluster *cluster = peer->cluster;
    peer->backoff_us = peer->backoff_us * 2 + CLUSTER_TICK_US;
    if (peer->backoff_us > CLUSTER_RETRY_US)
        peer->backoff_us = CLUSTER_RETRY_US;
    peer->retry_us = cluster->loop->now_us + (error ? peer->backoff_us : 0);
    if (error == -ECONNREFUSED)
        peer->member->refused_us = cluster->loop->now_us;
    peer->starved = io_is_out_of_room(error);
    if (error && peer->up)
        peer_down(peer, "the connection broke");
}

static const struct upstream_ops control_ops = {
    .on_open = control_on_open,
    .on_closed = control_on_closed,
};

void peer_tick(struct peer *peer)
{
    struct cluster *cluster = peer->cluster;
    uint64_t now_us = cluster->loop->now_us;
    if (peer->up && now_us > peer->answered_us + CLUSTER_DEAD_US)
        peer_down(peer, "it does not answer");
    if (upstream_is_open(peer->control)) {
        if (!peer->hello.busy && now_us >= peer->hello_due_us)
            hello_send(peer);
    } else if (now_us >= peer->retry_us && now_us >= peer->quiet_us &&
               !members_replaced_by(&cluster->members, peer->member)) {
        peer->retry_us = now_us + CLUSTER_RETRY_US;
        int error = upstream_connect(peer->control, &peer->member->address);
        peer->starved |= io_is_out_of_room(error);
    }
    if (peer->up)
        push_tick(peer);
}

/* Life */

void peer_destroy(struct peer *peer)
{
    push_stop(peer);
    repair_stop(peer);
    peer->member->peer = NULL;
    if (peer->control)
        upstream_destroy(peer->control);
    if (peer->push)
        upstream_destroy(peer->push);
    if (peer->bulk)
        upstream_destroy(peer->bulk);
    free(peer->agreed_shard_us);
    free(peer);
}

struct peer *peer_new(struct cluster *cluster, struct member *member)
{
    static const struct upstream_config config = {CLUSTER_CONNECT_US, CLUSTER_DEAD_US};
    static const struct upstream_config slow = {CLUSTER_CONNECT_US, CLUSTER_ANSWER_US};
    struct peer *peer = calloc(1, sizeof *peer);
    if (!peer)
        return NULL;
    peer->cluster = cluster;
    peer->member = member;
    peer->control = upstream_new(cluster->upstreams, &config, &control_ops, peer);
    peer->push = upstream_new(cluster->upstreams, &slow, &push_upstream_ops, peer);
    peer->bulk = upstream_new(cluster->upstreams, &slow, &repair_upstream_ops, peer);
    peer->missed = true;
    if (peer->control && peer->push && peer->bulk)
        return peer;
    peer_destroy(peer);
    return NULL;
}
