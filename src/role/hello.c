/* Hello: who one is, whom one knows, what one's table is like. The request and the answer are the same text, so each tells the
 * other; GET /-/members gives it to whoever asks. */
#include <stdio.h>
#include <string.h>

#include "role/hello.h"

enum { SENTENCE_BYTES_MAX = 300 }; /* of another node's, in the log */

/* Taking in */

/* When it has gone, by this node's clock: whoever saw it go may have another idea of the time. Not before it was last heard of, nor
 * later than now. Else it would be forgotten at once, while others still say that it is here, or never. */
static uint64_t gone_us_of(const struct cluster *cluster, const struct member *said,
                           const struct member *known)
{
    uint64_t wall_us = cluster->loop->wall_us, least_us = 0;
    if (known && known->state == MEMBER_HERE)
        least_us = wall_us - (cluster->loop->now_us - known->heard_us);
    uint64_t gone_us = said->gone_us > least_us ? said->gone_us : least_us;
    return gone_us < wall_us ? gone_us : wall_us;
}

/* Whether it went so long ago that it would be forgotten at the next tick. Others, whose clocks are behind or who remember for longer, tell
 * of it in each hello, and each time it would be one more that has gone just now. */
static bool is_forgotten(const struct cluster *cluster, const struct member *said)
{
    return said->state != MEMBER_HERE &&
           (said->gone_us == 0 || said->gone_us < cluster_forgets_before_us(cluster));
}

/* Returns whether it was news. */
static bool take_member(struct cluster *cluster, const struct member *said)
{
    struct member *known = members_seek(&cluster->members, said->id);
    char address[ADDRESS_TEXT_BYTES];
    if (address_is_unspecified(&said->address) || (!known && is_forgotten(cluster, said)))
        return false;
    bool was_here = known && known->state == MEMBER_HERE;
    struct member taken = *said;
    if (said->state != MEMBER_HERE)
        taken.gone_us = gone_us_of(cluster, said, known);
    if (!members_merge(&cluster->members, &taken))
        return false;
    if (said->state != MEMBER_HERE)
        cluster->departed_us = cluster->loop->now_us;
    if (said->state == MEMBER_HERE || was_here)
        log_event(cluster->log, LOG_INFO_LEVEL,
                  said->state == MEMBER_HERE ? "member-known" : "member-gone",
                  "member=%s id=%016llx phase=%s", address_format(&said->address, address),
                  (unsigned long long)said->id, member_phase_name(said));
    cluster_hurry(cluster);
    return true;
}

/* Somebody says of this node that it is gone. */
static void take_own_end(struct cluster *cluster, const struct member *said)
{
    if (said->state == MEMBER_DROPPED)
        hello_be_dropped(cluster);
    else if (said->state == MEMBER_LEFT)
        hello_be_refused(cluster,
                         "Another node has this node's address (--advertise): stop one of the two.",
                         "stop one of the two, or give it another --advertise");
}

static void take_line(struct cluster *cluster, const struct member *said)
{
    if (said->id == self_of(cluster)->id)
        take_own_end(cluster, said);
    else
        take_member(cluster, said);
}

static bool address_is_loopback(const struct address *address)
{
    static const uint8_t six[16] = {[15] = 1};
    return (address_is_ipv4(address) && address->ip[12] == 127) ||
           memcmp(address->ip, six, 16) == 0;
}

/* What others call this node, when nobody has told it. A loopback address is taken for want of a better one. */
static void take_own_address(struct cluster *cluster, const struct address *said)
{
    struct member *self = self_of(cluster);
    bool none = address_is_unspecified(&self->address);
    bool better =
        cluster->own_found && address_is_loopback(&self->address) && !address_is_loopback(said);
    char text[ADDRESS_TEXT_BYTES];
    if (cluster->config->advertise || address_is_unspecified(said) || (!none && !better))
        return;
    self->address = *said;
    self->stamp += !none; /* so that the others hear of the move */
    cluster->own_found = true;
    log_event(cluster->log, LOG_INFO_LEVEL, "address-found", "address=%s",
              address_format(&self->address, text));
}

/* What a member says of itself alone. Returns it; NULL when it is not known. */
static struct member *take_self(struct cluster *cluster, const struct hello *hello)
{
    struct member *member = members_find(&cluster->members, hello->who.id);
    if (!member)
        return NULL;
    member->heard_us = cluster->loop->now_us;
    member->phase = hello->who.phase;
    member->gathered_permille = (unsigned)(hello->gathered < 1000 ? hello->gathered : 1000);
    return member;
}

/* What all members come to agree on; not with one that was alone until now. */
static void take_common(struct cluster *cluster, const struct hello *hello)
{
    if (hello->who.phase != PHASE_READY || !hello->joined)
        return;
    cluster_take_horizon(cluster, hello->horizon);
    if (hello->since > 0 && hello->since < cluster->since_us)
        cluster->since_us = hello->since;
}

/* Requests */

static void tell_refused(struct cluster *cluster, const struct address *address,
                         const char *refusal)
{
    char text[ADDRESS_TEXT_BYTES], key[ADDRESS_TEXT_BYTES + sizeof cluster->sentence];
    snprintf(key, sizeof key, "%s %s", address_format(address, text), refusal);
    log_condition(cluster->log, LOG_WARN_LEVEL, "member-refused", key,
                  "member=%s msg=\"%s\" do=\"do as it says on one of the two\"", text, refusal);
}

/* Who could not be taken note of would wait for it in vain, and nobody would know why. */
static void reply_no_place(struct cluster *cluster, struct request *request,
                           const struct hello *hello)
{
    const char *why = cluster->members.count < MEMBERS_MAX
                          ? "This node is out of memory for requests; try again."
                          : "This node knows as many members as it can, those that are gone too: "
                            "wait until some are forgotten (--forget-after).";
    cluster->counters.refused++;
    tell_refused(cluster, &hello->who.address, why);
    reply_text(request, 503, why);
}

static void greet(struct cluster *cluster, struct request *request, struct hello *hello)
{
    struct address remote = {0};
    request_remote(request, &remote);
    if (address_is_unspecified(&hello->who.address))
        memcpy(hello->who.address.ip, remote.ip, sizeof remote.ip);
    hello->who.heard_us = cluster->loop->now_us;
    if (hello->has_you)
        take_own_address(cluster, &hello->you);
    if (take_member(cluster, &hello->who) && !hello->knows_us)
        news_tell(cluster); /* it does not know whom we know, so it cannot tell them */
    take_common(cluster, hello);
    struct member *member = take_self(cluster, hello);
    if (!member && hello->who.state == MEMBER_HERE) {
        reply_no_place(cluster, request, hello);
        return;
    }
    if (member && member->peer) {
        member->peer->knows_us |= hello->knows_us;
        if (hello->digest == store_digest(cluster->store))
            agreed_all(member->peer, told_before_us(cluster, CLUSTER_DEAD_US));
    }
    remote.port = hello->who.address.port;
    reply_content(request, 200, SLICE("text/plain; charset=utf-8"),
                  hello->joined ? hello_to(cluster, &remote) : hello_to_new(cluster, &remote));
}

static void reply_hello_broken(struct cluster *cluster, struct request *request)
{
    cluster->counters.refused++;
    reply_text(request, 400, "This is not how members say hello.");
}

void cluster_reply_members(struct cluster *cluster, struct request *request, struct slice body)
{
    struct hello hello;
    if (request->head.method == HTTP_GET || request->head.method == HTTP_HEAD) {
        reply_content(request, 200, SLICE("text/plain; charset=utf-8"), hello_to(cluster, NULL));
        return;
    }
    if (!hello_parse(cluster, body, &hello, NULL) && !hello_is_foreign(&hello)) {
        reply_hello_broken(cluster, request);
        return;
    }
    if (hello.who.id == self_of(cluster)->id) { /* no news: hearsay would count as heard just now */
        reply_content(request, 200, SLICE("text/plain; charset=utf-8"), hello_to(cluster, NULL));
        return;
    }
    const char *refusal = hello_refusal(cluster, &hello, body);
    if (refusal) {
        cluster->counters.refused++;
        if (hello.who.id == 0)
            request_remote(request, &hello.who.address);
        tell_refused(cluster, &hello.who.address, refusal);
        reply_text(request, 409, refusal);
        return;
    }
    if (!hello_parse(cluster, body, &hello, take_line)) {
        reply_hello_broken(cluster, request);
        return;
    }
    greet(cluster, request, &hello);
}

void cluster_reply_drop(struct cluster *cluster, struct request *request, struct slice text)
{
    struct address address;
    struct member *member =
        address_parse(text, &address) == 0 ? members_at(&cluster->members, &address) : NULL;
    if (!member)
        reply_text(request, 404, "There is no member of that address; see GET /-/members.");
    else if (member->is_self || !member_is_down(cluster, member))
        reply_text(request, 409, "This member is up; stop it, and it is gone.");
    else {
        member_go(member, MEMBER_DROPPED, cluster->loop->wall_us);
        log_event(cluster->log, LOG_INFO_LEVEL, "member-dropped", "member=%.*s id=%016llx",
                  (int)text.len, text.data, (unsigned long long)member->id);
        news_tell(cluster);
        reply_text(request, 200, "dropped");
    }
}

/* Calls */

static const char no_node[] = "What answers there is no node of Velour Fog.";

/* By what a member gives to a hello: any other status is of a front-end, or of a program that is none of ours, and a hello that cannot be
 * read as well. */
static bool is_of_a_member(unsigned status, struct slice sentence)
{
    if (status == 200)
        return !slice_equal(sentence, slice_of(no_node));
    return status == 400 || status == 409 || status == 503 || status == 507;
}

void log_refusal(struct cluster *cluster, const char *event, const struct address *address,
                 unsigned status, struct slice sentence)
{
    char text[ADDRESS_TEXT_BYTES], said[SENTENCE_BYTES_MAX + 1];
    char key[sizeof text + sizeof said];
    while (sentence.len > 0 && sentence.data[sentence.len - 1] == '\n')
        sentence.len--;
    if (sentence.len > 0 && sentence.data[0] == '<')
        sentence = SLICE("What answers there gives a page of HTML.");
    log_quotable(sentence, said, sizeof said);
    snprintf(key, sizeof key, "%s %s", address_format(address, text), said);
    log_condition(cluster->log, LOG_WARN_LEVEL, event, key,
                  "member=%s status=%u msg=\"%s\" do=\"%s\"", text, status, said,
                  is_of_a_member(status, sentence)
                      ? "do as it says on one of the two"
                      : "correct the address: what answers there is no node");
}

/* *why gets a sentence when it is broken. */
static enum hello_result take_answer(struct cluster *cluster, struct slice body,
                                     struct hello *answer, const char **why)
{
    *why = no_node;
    if (!hello_parse(cluster, body, answer, NULL) && !hello_is_foreign(answer))
        return HELLO_BROKEN;
    *why = hello_refusal(cluster, answer, body);
    if (*why)
        return HELLO_BROKEN;
    if (answer->who.id == self_of(cluster)->id)
        return HELLO_SELF;
    struct hello hello;
    if (!hello_parse(cluster, body, &hello, take_line)) {
        *why = "Its hello cannot be read to its end.";
        return HELLO_BROKEN;
    }
    if (hello.has_you)
        take_own_address(cluster, &hello.you);
    hello.who.heard_us = cluster->loop->now_us;
    take_member(cluster, &hello.who);
    take_common(cluster, &hello);
    struct member *member = take_self(cluster, &hello);
    if (member && member->peer)
        member->peer->knows_us = hello.knows_us;
    cluster_sync_peers(cluster);
    return HELLO_FINE;
}

enum hello_result hello_take(struct cluster *cluster, struct slice body, uint64_t *id,
                             const char **why)
{
    struct hello answer;
    enum hello_result result = take_answer(cluster, body, &answer, why);
    *id = answer.who.id;
    return result;
}

static void take_skew(struct peer *peer, uint64_t clock_us)
{
    struct cluster *cluster = peer->cluster;
    uint64_t half_us = (cluster->loop->now_us - peer->hello_us) / 2;
    int64_t skew_us = (int64_t)(clock_us + half_us - cluster->loop->wall_us);
    cluster_note_clock(cluster);
    peer->round_trip_us = 2 * half_us;
    if (peer->round_trip_us > CLUSTER_SKEW_US)
        return; /* one of the two stood still meanwhile: it tells nothing of clocks */
    /* Half of it before it counts as right again, so that a clock at the border is not told of with each hello. */
    int64_t most_us = peer->skewed ? CLUSTER_SKEW_US / 2 : CLUSTER_SKEW_US;
    bool skewed = skew_us > most_us || skew_us < -most_us;
    char address[ADDRESS_TEXT_BYTES];
    peer->skew_us = skew_us;
    peer->measured = true;
    if (skewed == peer->skewed)
        return;
    peer->skewed = skewed;
    log_event(cluster->log, skewed ? LOG_WARN_LEVEL : LOG_INFO_LEVEL,
              skewed ? "clock-skew" : "clock-fine", "member=%s skew_seconds=%.3f%s",
              address_format(&peer->member->address, address), (double)skew_us / 1e6,
              skewed ? " do=\"run NTP on both machines\"" : "");
}

static void take_digest(struct peer *peer, uint64_t digest)
{
    bool same = digest == peer->hello_digest || digest == store_digest(peer->cluster->store);
    peer->agrees = same;
    if (same)
        agreed_all(peer, peer->hello_us);
    repair_on_hello(peer, same);
}

static void told_no(struct peer *peer, unsigned status, struct slice body)
{
    struct cluster *cluster = peer->cluster;
    log_refusal(cluster, "hello-refused", &peer->member->address, status, body);
    /* Who has not been ready here may have chosen the other of two parts. */
    if (status == 409 && hello_says_dropped(body) && peer->member->phase != PHASE_JOINING)
        hello_be_dropped(cluster);
    bool busy = status == 503; /* all its connections are taken, or its memory: for the moment */
    peer_down(peer, busy ? "it has no room for us" : "it wants nothing of us");
    peer->quiet_us = cluster->loop->now_us + (busy ? CLUSTER_RETRY_US : JOIN_REFUSED_AGAIN_US);
}

/* A member that says to be at an address that leads here, as a loopback one does on each machine. A life of this node's before this one is no
 * such member: where it was is this node's address. */
static void tell_found_self(struct peer *peer)
{
    struct cluster *cluster = peer->cluster;
    const struct address *address = &peer->member->address;
    if (!address_equal(address, &self_of(cluster)->address))
        log_refusal(cluster, "hello-refused", address, 200,
                    SLICE("This node itself answers at that member's address (--advertise): "
                          "correct the member's."));
}

static void hello_on_done(struct fetch *fetch, unsigned status, struct slice body)
{
    struct peer *peer = (struct peer *)((char *)fetch - offsetof(struct peer, hello));
    struct cluster *cluster = peer->cluster;
    struct hello hello;
    if (status == 0)
        return; /* the connection's end says the rest */
    peer->told_goodbye = peer->tells_goodbye;
    if (status != 200) {
        told_no(peer, status, body);
        return;
    }
    const char *why;
    enum hello_result result = take_answer(cluster, body, &hello, &why);
    if (result == HELLO_SELF)
        tell_found_self(peer);
    if (result != HELLO_FINE || hello.who.id != peer->member->id) {
        peer_down(peer, why ? why : "another node answers at its address");
        peer->quiet_us = cluster->loop->now_us + CLUSTER_RETRY_US;
        return;
    }
    peer->answered_us = cluster->loop->now_us;
    peer->asked_us = peer->hello_us;
    take_skew(peer, hello.clock);
    if (!peer->up)
        peer_up(peer);
    take_digest(peer, hello.digest);
}

void hello_send(struct peer *peer)
{
    struct cluster *cluster = peer->cluster;
    char head[REQUEST_HEAD_BYTES_MAX];
    if (peer->hello.busy || !upstream_is_open(peer->control))
        return;
    struct slice body = hello_to(cluster, &peer->member->address);
    struct slice start = request_head(cluster, head, "POST /-/members", body.len);
    struct conn_piece pieces[2] = {{.data = start.data, .len = start.len},
                                   {.data = body.data, .len = body.len}};
    peer->hello.on_done = hello_on_done;
    peer->hello.body_max = HELLO_BYTES_MAX;
    peer->tells_goodbye = cluster->goodbye;
    peer->hello_us = cluster->loop->now_us;
    peer->hello_digest = store_digest(cluster->store);
    peer->hello_due_us = peer->hello_us + CLUSTER_HELLO_US;
    fetch_start(&peer->hello, peer->control, pieces, 2);
}
