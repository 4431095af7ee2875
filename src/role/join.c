/* Whom to ask at first: what --join names, looked up and tried again and again, since members may come there later.
 *
 * A probe is one address: it says hello there. Whoever answers becomes a member, and from then on a peer of its own looks after
 * it. A probe that reaches this node itself finds that out by the number in the answer. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "role/cluster_state.h"

static struct probe *probe_of(struct fetch *fetch)
{
    return (struct probe *)((char *)fetch - offsetof(struct probe, fetch));
}

static void probe_result(struct probe *probe)
{
    probe->busy = false;
    probe->next_us = probe->cluster->loop->now_us + JOIN_AGAIN_US;
}

static bool is_own_address(const struct cluster *cluster, const struct address *address)
{
    const struct address *own = &self_of(cluster)->address;
    return own->port == address->port && memcmp(own->ip, address->ip, sizeof own->ip) == 0;
}

/* Who serves alone though it was told whom to join, and was taken in by nobody there ever, may have been told wrong. A node that stops is
 * nothing to tell of: that is in the log already. Nor is its own address, which may lead to it from outside alone. */
static void tell_unanswered(const struct probe *probe, const char *why)
{
    struct cluster *cluster = probe->cluster;
    char text[ADDRESS_TEXT_BYTES];
    if (is_own_address(cluster, &probe->address))
        return;
    if (!cluster->leaving && cluster->has_everything && cluster->agreement.alone && !probe->met)
        log_condition(cluster->log, LOG_WARN_LEVEL, "join-unanswered",
                      address_format(&probe->address, text),
                      "member=%s msg=\"%s\" do=\"start it, or correct --join; it is tried again "
                      "all the time\"",
                      text, why);
}

/* A try without an answer. Only a refused connection says that nobody is there: one that broke may have been a member's, and what
 * failed here says nothing at all. */
static void probe_failed(struct probe *probe, int error)
{
    probe->tried |= error == -ECONNREFUSED;
    probe->starved = io_is_out_of_room(error);
    probe_result(probe);
    if (!probe->starved)
        tell_unanswered(probe, error == -ECONNREFUSED ? "it refuses connections"
                                                      : "it cannot be connected to");
}

/* Another node that is alive has this node's address. */
static void give_way(struct cluster *cluster)
{
    char text[ADDRESS_TEXT_BYTES];
    if (cluster->refused)
        return;
    cluster->refused = "Another node has this node's address (--advertise): stop one of the two.";
    log_event(cluster->log, LOG_ERROR_LEVEL, "refused",
              "address=%s msg=\"%s\" do=\"stop one of the two, or give it another --advertise\"",
              address_format(&self_of(cluster)->address, text), cluster->refused);
}

/* Of two that each answer themselves at one address, as at 127.0.1.1 or behind two address translations, a newcomer gives way; of two
 * that are ready, the one with the larger number. */
static bool gives_way_to(const struct cluster *cluster, const struct member *other)
{
    bool is_new =
        other->joining_us > 0 && cluster->loop->now_us <= other->joining_us + CLUSTER_DEAD_US;
    return !cluster->has_everything || (!is_new && self_of(cluster)->id > other->id);
}

/* This node has answered itself: so its address is its own. A life before this one takes no larger stamp: who does so after this node did is
 * alive, and answers itself there, too. Without an end to that, the two would not be told of each other's writes. */
static void own_address(struct probe *probe)
{
    struct cluster *cluster = probe->cluster;
    struct member *self = self_of(cluster);
    struct member *other = members_at(&cluster->members, &self->address);
    probe->own = true;
    if (!other || other == self)
        return;
    if (other->outbid && gives_way_to(cluster, other)) {
        give_way(cluster);
        return;
    }
    other->outbid = true;
    self->stamp = other->stamp + 1;
    news_tell(cluster);
}

/* Whether one that has just answered elsewhere has this node's address, before this node has anything: it would take the other one for
 * a life before its own, and nobody for one to gather from. */
static bool is_early_rival(const struct cluster *cluster, const struct member *other)
{
    return !cluster->has_everything && other->state == MEMBER_HERE &&
           other->phase != PHASE_LEAVING && is_own_address(cluster, &other->address);
}

/* Returns whether it tells whether a member is there: not when there was no memory to take note of it. */
static bool probe_take(struct probe *probe, struct slice body)
{
    struct cluster *cluster = probe->cluster;
    struct member *other;
    uint64_t id = 0;
    const char *why;
    bool own = is_own_address(cluster, &probe->address);
    switch (hello_take(cluster, body, &id, &why)) {
    case HELLO_SELF:
        own_address(probe);
        break;
    case HELLO_FINE:
        other = members_find(&cluster->members, id);
        if (own || (other && is_early_rival(cluster, other)))
            give_way(cluster);
        return other != NULL;
    case HELLO_BROKEN:
        log_refusal(cluster, "join-refused", &probe->address, 200, slice_of(why));
        break;
    }
    return true;
}

/* No for good, or for now: who has no room for one more connection or request may be a member. What says that in other words is
 * something in front of members, which may not be there. */
static void probe_refused(struct probe *probe, unsigned status, struct slice body)
{
    struct cluster *cluster = probe->cluster;
    log_refusal(cluster, "join-refused", &probe->address, status, body);
    if (status == 503) {
        probe->starved =
            slice_starts(body, SLICE("This server ")) || slice_starts(body, SLICE("This node "));
        return;
    }
    probe->tried = true;
    probe->next_us = cluster->loop->now_us + JOIN_REFUSED_AGAIN_US;
}

static void probe_on_done(struct fetch *fetch, unsigned status, struct slice body)
{
    struct probe *probe = probe_of(fetch);
    probe_result(probe);
    if (status == 200) {
        probe->starved = !probe_take(probe, body);
        probe->met = true;
        probe->tried |= !probe->starved;
    } else if (status) {
        probe_refused(probe, status, body);
    } else {
        tell_unanswered(probe, "it takes connections, but gives no answer that is one of HTTP");
    }
    upstream_close(probe->upstream, 0);
}

static void probe_on_open(struct upstream *upstream)
{
    struct probe *probe = upstream_owner(upstream);
    struct cluster *cluster = probe->cluster;
    char head[REQUEST_HEAD_BYTES_MAX], you[ADDRESS_TEXT_BYTES + 8];
    char address[ADDRESS_TEXT_BYTES];
    int you_bytes = snprintf(you, sizeof you, "you %s\n", address_format(&probe->address, address));
    struct slice body = hello_print(cluster, cluster->scratch, HELLO_BYTES_MAX);
    struct slice start =
        request_head(cluster, head, "POST /-/members", body.len + (size_t)you_bytes);
    struct conn_piece pieces[3] = {{.data = start.data, .len = start.len},
                                   {.data = you, .len = (size_t)you_bytes},
                                   {.data = body.data, .len = body.len}};
    fetch_start(&probe->fetch, upstream, pieces, 3);
}

static void probe_on_closed(struct upstream *upstream, int error)
{
    struct probe *probe = upstream_owner(upstream);
    if (probe->busy)
        probe_failed(probe, error);
}

static const struct upstream_ops probe_ops = {
    .on_open = probe_on_open,
    .on_closed = probe_on_closed,
};

static void probe_start(struct probe *probe)
{
    static const struct upstream_config config = {CLUSTER_CONNECT_US, CLUSTER_DEAD_US};
    struct cluster *cluster = probe->cluster;
    if (!probe->upstream)
        probe->upstream = upstream_new(cluster->upstreams, &config, &probe_ops, probe);
    probe->busy = true;
    probe->fetch.on_done = probe_on_done;
    probe->fetch.body_max = HELLO_BYTES_MAX;
    int error = probe->upstream ? upstream_connect(probe->upstream, &probe->address) : -ENOMEM;
    if (error)
        probe_failed(probe, error);
}

static bool is_same(const struct address *a, const struct address *b)
{
    return memcmp(a->ip, b->ip, sizeof a->ip) == 0 && a->port == b->port;
}

/* The one of that address, else one that is free, else the one that was not named for the longest time, as the addresses behind a name
 * come and go. NULL: all were named now, or are being asked. */
static struct probe *probe_place(struct cluster *cluster, const struct address *address)
{
    struct probe *oldest = NULL;
    for (unsigned i = 0; i < JOIN_ADDRESSES_MAX; i++) {
        struct probe *probe = &cluster->probes[i];
        if (!probe->used || is_same(&probe->address, address))
            return probe;
        if (!probe->busy && (!oldest || probe->named_us < oldest->named_us))
            oldest = probe;
    }
    return oldest && oldest->named_us < cluster->loop->now_us ? oldest : NULL;
}

static void probe_add(struct cluster *cluster, const struct address *address, uint64_t named_us)
{
    struct probe *probe = probe_place(cluster, address);
    if (!probe)
        return;
    if (!probe->used || !is_same(&probe->address, address)) {
        probe->used = true;
        probe->cluster = cluster;
        probe->address = *address;
        probe->next_us = probe->named_us = 0;
        probe->tried = probe->starved = probe->own = probe->met = false;
    }
    if (named_us > probe->named_us)
        probe->named_us = named_us;
}

void join_check_self(struct cluster *cluster)
{
    const struct address *own = &self_of(cluster)->address;
    probe_add(cluster, own, cluster->loop->now_us);
    for (unsigned i = 0; i < JOIN_ADDRESSES_MAX && cluster->probes[i].used; i++)
        if (is_own_address(cluster, &cluster->probes[i].address))
            cluster->probes[i].own = false; /* to be asked again */
}

/* Names */

/* Splits "HOST:PORT" or "[ADDRESS]:PORT". Returns 0 or -EINVAL. */
static int target_parse(struct target *target, const char *text)
{
    const char *colon = strrchr(text, ':');
    unsigned long long port;
    if (!colon || colon == text || !slice_number(slice_of(colon + 1), 65535, &port))
        return -EINVAL;
    struct slice host = {text, (size_t)(colon - text)};
    if (host.data[0] == '[' && host.data[host.len - 1] == ']')
        host = (struct slice){host.data + 1, host.len - 2};
    if (host.len == 0 || host.len > RESOLVER_NAME_BYTES_MAX)
        return -EINVAL;
    memcpy(target->host, host.data, host.len);
    target->host[host.len] = 0;
    target->port = (uint16_t)port;
    return 0;
}

static void target_has(struct target *target, struct address address)
{
    struct cluster *cluster = target->cluster;
    address.port = target->port;
    probe_add(cluster, &address,
              target->next_us == UINT64_MAX ? UINT64_MAX : cluster->loop->now_us);
}

/* Of several addresses of this node itself, the one that the others know is kept, as they come in any order. */
static void target_is_own(struct target *target, const struct address *addresses, unsigned count)
{
    struct cluster *cluster = target->cluster;
    struct member *self = self_of(cluster);
    for (unsigned i = 0; i < count; i++) {
        struct address address = addresses[i];
        address.port = target->port;
        if (is_own_address(cluster, &address))
            return;
    }
    self->address = addresses[0];
    self->address.port = target->port;
    self->stamp++;
    news_tell(cluster);
}

static void target_is(struct target *target, const struct address *addresses, unsigned count)
{
    if (target->is_advertise && count)
        target_is_own(target, addresses, count);
    for (unsigned i = 0; i < count && !target->is_advertise; i++)
        target_has(target, addresses[i]);
}

/* Who joins is not alone before it was told who is behind the name, or that nobody is, or has waited for that. */
static void target_on_answer(struct lookup *lookup, const struct address *addresses, unsigned count)
{
    struct target *target = (struct target *)((char *)lookup - offsetof(struct target, lookup));
    struct cluster *cluster = target->cluster;
    if (count == 0)
        log_condition(cluster->log, LOG_WARN_LEVEL, "name-unknown", target->host,
                      "name=%s do=\"correct %s, or the name server; it is asked again every 10 s\"",
                      target->host, target->is_advertise ? "--advertise" : "--join");
    target->asking = false;
    target->answered |= count > 0 || !lookup->failed;
    bool soon = !target->answered && cluster->waited_us < JOIN_LOOKUP_PATIENCE_US;
    target->next_us = cluster->loop->now_us + (soon ? JOIN_AGAIN_US : JOIN_LOOKUP_AGAIN_US);
    target_is(target, addresses, count);
}

static void target_ask(struct target *target)
{
    struct cluster *cluster = target->cluster;
    struct resolver *resolver = cluster->config->resolver;
    struct address address;
    target->next_us = cluster->loop->now_us + JOIN_LOOKUP_AGAIN_US;
    char text[RESOLVER_NAME_BYTES_MAX + 16];
    snprintf(text, sizeof text, strchr(target->host, ':') ? "[%s]:%u" : "%s:%u", target->host,
             target->port);
    if (address_parse(slice_of(text), &address) == 0) {
        target->answered = true;
        target->next_us = UINT64_MAX;
        target_is(target, &address, 1);
        return;
    }
    target->lookup.on_answer = target_on_answer;
    int error = resolver ? resolver->ops->ask(resolver, &target->lookup, target->host) : -EINVAL;
    target->asking = error == 0;
    target->answered |= error == -EINVAL;
    if (error == -ENOMEM)
        target->next_us = cluster->loop->now_us + JOIN_AGAIN_US;
}

static void target_add(struct cluster *cluster, const char *text, bool is_advertise)
{
    struct target *target = &cluster->targets[cluster->target_count];
    *target = (struct target){.cluster = cluster, .is_advertise = is_advertise};
    if (target_parse(target, text) != 0) {
        log_event(cluster->log, LOG_ERROR_LEVEL, "bad-address",
                  "address=%s do=\"write %s as HOST:PORT\"", text,
                  is_advertise ? "--advertise" : "--join");
        return;
    }
    cluster->target_count++;
    target_ask(target);
}

void join_start(struct cluster *cluster)
{
    const struct node_config *config = cluster->config;
    if (config->advertise)
        target_add(cluster, config->advertise, true);
    for (unsigned i = 0; i < config->join_count; i++)
        target_add(cluster, config->joins[i], false);
}

/* An address is tried as long as no member is known to be there; the own one until this node has answered itself. */
static bool probe_is_due(const struct probe *probe)
{
    const struct cluster *cluster = probe->cluster;
    bool settled = is_own_address(cluster, &probe->address)
                       ? probe->own || cluster->refused
                       : members_at(&cluster->members, &probe->address) != NULL;
    return !probe->busy && !settled && cluster->loop->now_us >= probe->next_us;
}

/* Others can only be late while this node is there to hear them. */
static void count_wait(struct cluster *cluster)
{
    uint64_t now_us = cluster->loop->now_us, passed_us = now_us - cluster->waited_at_us;
    cluster->waited_us += passed_us < CLUSTER_TICK_US ? passed_us : CLUSTER_TICK_US;
    cluster->waited_at_us = now_us;
}

void join_tick(struct cluster *cluster)
{
    uint64_t now_us = cluster->loop->now_us;
    count_wait(cluster);
    if (cluster->leaving || cluster->refused)
        return;
    for (unsigned i = 0; i < cluster->target_count; i++)
        if (!cluster->targets[i].asking && now_us >= cluster->targets[i].next_us)
            target_ask(&cluster->targets[i]);
    for (unsigned i = 0; i < JOIN_ADDRESSES_MAX && cluster->probes[i].used; i++)
        if (probe_is_due(&cluster->probes[i]))
            probe_start(&cluster->probes[i]);
}

void join_end(struct cluster *cluster)
{
    struct resolver *resolver = cluster->config->resolver;
    for (unsigned i = 0; i < cluster->target_count; i++)
        if (cluster->targets[i].asking)
            resolver->ops->cancel(resolver, &cluster->targets[i].lookup);
    for (unsigned i = 0; i < JOIN_ADDRESSES_MAX && cluster->probes[i].used; i++)
        if (cluster->probes[i].upstream)
            upstream_destroy(cluster->probes[i].upstream);
}

/* Whether a member may be at an address that has not told yet. */
static bool probe_is_open(const struct probe *probe)
{
    const struct cluster *cluster = probe->cluster;
    return !probe->tried && (cluster->waited_us < JOIN_PATIENCE_US || probe->starved) &&
           !members_at(&cluster->members, &probe->address);
}

bool join_is_settled(const struct cluster *cluster)
{
    for (unsigned i = 0; i < cluster->target_count; i++)
        if (!cluster->targets[i].answered && cluster->waited_us < JOIN_LOOKUP_PATIENCE_US)
            return false;
    for (unsigned i = 0; i < JOIN_ADDRESSES_MAX && cluster->probes[i].used; i++)
        if (probe_is_open(&cluster->probes[i]))
            return false;
    return true;
}
