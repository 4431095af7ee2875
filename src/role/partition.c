/* One partition's cluster, as a front-end sees it: whom it has, who of them can be asked, and whom to ask for a key. */
#include "role/partition.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"
#include "data/hash.h"
#include "role/backend.h"
#include "role/frontend_state.h"
#include "role/lane.h"
#include "role/moving.h"
#include "role/relay.h"

enum { ASKED_TOLD_MAX = 4 }; /* addresses in a line of the log */

/* Who can be asked */

/* An address may lead to a node that another address leads to as well. */
static bool is_known(const struct partition *partition, const struct backend *backend)
{
    for (unsigned i = 0; i < partition->usable_count; i++)
        if (backend->id && partition->usable[i]->id == backend->id)
            return true;
    return false;
}

static void list_usable(struct partition *partition, bool listed)
{
    for (unsigned i = 0; i < partition->backend_count; i++) {
        struct backend *backend = partition->backends[i];
        if (backend->usable && !backend->leaving && backend->listed == listed &&
            !is_known(partition, backend))
            partition->usable[partition->usable_count++] = backend;
    }
}

/* Whom it looks for, a few of them; "nobody" when names have no address yet. */
static const char *print_asked(const struct partition *partition, struct text *text)
{
    char address[ADDRESS_TEXT_BYTES];
    for (unsigned i = 0; i < partition->backend_count && i < ASKED_TOLD_MAX; i++)
        text_add(text, "%s%s", i ? "," : "",
                 address_format(&partition->backends[i]->address, address));
    if (partition->backend_count > ASKED_TOLD_MAX)
        text_add(text, ",...");
    return partition->backend_count ? text->data : "nobody";
}

static void log_lost(const struct partition *partition)
{
    char asked[(ADDRESS_TEXT_BYTES + 1) * (ASKED_TOLD_MAX + 1)];
    struct text text = text_in(asked, sizeof asked);
    const struct side_words *words = partition_words(partition);
    unsigned status = partition_trouble(partition).status;
    char correct[64];
    snprintf(correct, sizeof correct, "correct %s: see wrong-partition", words->option);
    log_event(
        partition->frontend->log, LOG_ERROR_LEVEL, "partition-lost",
        "%s=%u asked=%s msg=\"no node of it is ready; requests for its keys get %u\" do=\"%s\"",
        words->name, partition->number, print_asked(partition, &text), status,
        status == 502 ? correct : "start its nodes, or mend the network to them");
}

static void log_reached(struct partition *partition)
{
    if (partition->reached == partition->told)
        return;
    partition->told = partition->reached;
    if (partition->reached)
        log_event(partition->frontend->log, LOG_INFO_LEVEL, "partition-reached", "%s=%u",
                  partition_words(partition)->name, partition->number);
    else
        log_lost(partition);
}

static void send_parked(struct partition *partition)
{
    unsigned count = partition->parked_count;
    while (count-- > 0 && partition->parked && partition->usable_count > 0) {
        struct relay *relay = partition->parked;
        partition_unpark(partition, relay);
        relay_send(relay);
    }
}

void partition_update(struct partition *partition)
{
    partition->usable_count = 0;
    list_usable(partition, true); /* as its own cluster calls it, where that is known */
    list_usable(partition, false);
    bool reached = partition->usable_count > 0;
    if (partition->reached && !reached)
        partition->lost_us = partition->frontend->loop->now_us;
    partition->reached = reached;
    if (reached)
        log_reached(partition); /* the contrary only when it lasts */
    if (reached && partition->parked)
        loop_timer_set(partition->frontend->loop, &partition->frontend->tick,
                       partition->frontend->loop->now_us);
}

/* Whom to ask */

static bool can_take(const struct relay *relay, struct backend *backend)
{
    return backend != relay->avoid && backend_lane(backend);
}

/* Rendezvous hashing (Thaler and Ravishankar, 1998): each key has an order of members, which does not change for those that stay
 * when one goes. Before all of them comes who has just carried out a write of it. */
static struct backend *choose_home(const struct partition *partition, const struct relay *relay)
{
    struct backend *best = NULL;
    uint64_t most = 0;
    for (unsigned i = 0; i < partition->usable_count; i++) {
        struct backend *backend = partition->usable[i];
        uint64_t weight = backend->id == relay->writer
                              ? UINT64_MAX
                              : hash_seeded(&backend->id, sizeof backend->id, relay->key_hash);
        if (can_take(relay, backend) && (!best || weight > most)) {
            best = backend;
            most = weight;
        }
    }
    return best;
}

static struct backend *less_loaded(struct backend *a, struct backend *b)
{
    if (!a || !b)
        return a ? a : b;
    return b->in_flight < a->in_flight ? b : a;
}

static struct backend *first_that_can(const struct partition *partition, const struct relay *relay)
{
    for (unsigned i = 0; i < partition->usable_count; i++)
        if (can_take(relay, partition->usable[i]))
            return partition->usable[i];
    return NULL;
}

/* The less loaded of two by chance (Mitzenmacher, 2001). */
static struct backend *choose_free(const struct partition *partition, const struct relay *relay)
{
    unsigned count = partition->usable_count;
    unsigned first = frontend_chance(partition->frontend, count);
    unsigned step = count > 1 ? 1 + frontend_chance(partition->frontend, count - 1) : 0;
    struct backend *a = partition->usable[first], *b = partition->usable[(first + step) % count];
    struct backend *best =
        less_loaded(can_take(relay, a) ? a : NULL, can_take(relay, b) ? b : NULL);
    return best ? best : first_that_can(partition, relay);
}

/* The last one that failed is asked again when there is nobody else. */
static struct backend *choose_again(const struct partition *partition, const struct relay *relay)
{
    for (unsigned i = 0; i < partition->usable_count; i++)
        if (partition->usable[i] == relay->avoid && backend_lane(relay->avoid))
            return partition->usable[i];
    return NULL;
}

struct backend *partition_choose(struct partition *partition, const struct relay *relay)
{
    bool home = relay->write || relay->home;
    if (partition->usable_count == 0)
        return NULL;
    struct backend *backend = home ? choose_home(partition, relay) : choose_free(partition, relay);
    return backend ? backend : choose_again(partition, relay);
}

bool partition_has_place(const struct partition *partition, const struct backend *beside)
{
    bool has = false;
    for (unsigned i = 0; i < partition->usable_count; i++) {
        struct backend *backend = partition->usable[i];
        if (backend == beside || !backend_lane(backend))
            continue;
        if (!lane_has_place(backend))
            return false;
        has = true;
    }
    return has;
}

bool partition_may_retry(struct partition *partition)
{
    if (partition->retry_tokens < RETRY_TOKEN_PARTS)
        return false;
    partition->retry_tokens -= RETRY_TOKEN_PARTS;
    return true;
}

bool partition_has_spare_retry(const struct partition *partition)
{
    return partition->retry_tokens > (uint64_t)RETRY_TOKENS_MAX * RETRY_TOKEN_PARTS / 2;
}

/* Who waits for somebody to be ready */

struct http_error partition_trouble(const struct partition *partition)
{
    for (unsigned i = 0; i < partition->backend_count; i++)
        if (partition->backends[i]->wrong)
            return (struct http_error){
                502,
                "The nodes that were named for this key's partition hold another one: this "
                "front-end's clusters are named in the wrong order, or are too few or too many."};
    return (struct http_error){503, "No node of this key's partition is ready; try again."};
}

/* Whether somebody may soon be ready. While it counts as reached, all connections have just ended, in this turn. */
static bool has_hope(const struct partition *partition)
{
    return partition->reached ||
           partition->frontend->loop->now_us < partition->lost_us + RELAY_PARK_US;
}

static bool may_park(const struct partition *partition)
{
    return has_hope(partition) && partition->parked_count < PARKED_MAX;
}

void partition_park(struct partition *partition, struct relay *relay)
{
    if (!may_park(partition) && relay->asks_version) {
        moving_go_on(relay);
        return;
    }
    if (!may_park(partition)) {
        struct http_error trouble = partition_trouble(partition);
        partition->frontend->counters.unanswered++;
        relay_refuse(relay, trouble.status, trouble.sentence);
        return;
    }
    partition->frontend->counters.parked++;
    relay->state = RELAY_PARKED;
    relay->next = NULL;
    relay->previous = partition->parked_last;
    if (relay->previous)
        relay->previous->next = relay;
    else
        partition->parked = relay;
    partition->parked_last = relay;
    partition->parked_count++;
}

void partition_unpark(struct partition *partition, struct relay *relay)
{
    if (relay->previous)
        relay->previous->next = relay->next;
    else
        partition->parked = relay->next;
    if (relay->next)
        relay->next->previous = relay->previous;
    else
        partition->parked_last = relay->previous;
    partition->parked_count--;
    relay->state = RELAY_SENDING;
}

static void refuse_parked(struct partition *partition)
{
    while (partition->parked && !has_hope(partition)) {
        struct relay *relay = partition->parked;
        partition_unpark(partition, relay);
        partition_park(partition, relay);
    }
}

/* Whom it has */

static struct backend *partition_find(struct partition *partition, const struct address *address)
{
    for (unsigned i = 0; i < partition->backend_count; i++)
        if (address_equal(&partition->backends[i]->address, address))
            return partition->backends[i];
    return NULL;
}

static int partition_grow(struct partition *partition)
{
    unsigned room = partition->backend_room ? 2 * partition->backend_room : 8;
    if (partition->backend_count < partition->backend_room)
        return 0;
    if (partition->backend_count >= BACKENDS_MAX)
        return -ENOSPC;
    struct backend **backends = realloc(partition->backends, room * sizeof *backends);
    if (!backends)
        return -ENOMEM;
    partition->backends = backends;
    struct backend **usable = realloc(partition->usable, room * sizeof *usable);
    if (!usable)
        return -ENOMEM;
    partition->usable = usable;
    partition->backend_room = room;
    return 0;
}

struct backend *partition_add(struct partition *partition, const struct address *address)
{
    struct backend *backend = partition_find(partition, address);
    if (backend || partition_grow(partition) != 0)
        return backend;
    backend = backend_new(partition, address);
    if (backend)
        partition->backends[partition->backend_count++] = backend;
    return backend;
}

/* By whom the others are judged. */
static const struct backend *partition_first(const struct partition *partition)
{
    for (unsigned i = 0; i < partition->backend_count; i++)
        if (partition->backends[i]->usable && !partition->backends[i]->leaving)
            return partition->backends[i];
    return NULL;
}

const struct backend *partition_apart_from(const struct backend *backend)
{
    if (!backend->usable || backend->apart < BACKEND_APART_HELLOS)
        return NULL;
    const struct backend *first = partition_first(backend->partition);
    return first == backend ? NULL : first;
}

static void log_apart(const struct backend *backend, const struct backend *first)
{
    const struct partition *partition = backend->partition;
    const struct side_words *words = partition_words(partition);
    char text[ADDRESS_TEXT_BYTES], other[ADDRESS_TEXT_BYTES];
    log_event(
        partition->frontend->log, LOG_WARN_LEVEL, "nodes-apart",
        "%s=%u node=%s other=%s msg=\"neither is a member of the other's cluster, so they do "
        "not hold the same keys\" do=\"correct --join or --cluster-name of one of the two, or "
        "%s\"",
        words->name, partition->number, address_format(&backend->address, text),
        address_format(&first->address, other), words->option);
}

/* It is enough that one of two knows the other: who has just come is not known everywhere, but knows. */
static void take_kin(struct backend *speaker, struct slice body)
{
    struct slice line;
    struct member said;
    const struct partition *partition = speaker->partition;
    const struct backend *first = partition_first(partition);
    speaker->apart = first && speaker->usable ? speaker->apart + 1 : 0;
    while (first && slice_next(&body, '\n', &line)) {
        if (!slice_starts(line, SLICE("member ")) || member_parse(line, 0, &said) != 0 ||
            said.state != MEMBER_HERE)
            continue;
        if (said.id == first->id)
            speaker->apart = 0;
        for (unsigned i = 0; speaker == first && i < partition->backend_count; i++)
            if (partition->backends[i]->id == said.id)
                partition->backends[i]->apart = 0;
    }
    if (speaker->apart == BACKEND_APART_HELLOS)
        log_apart(speaker, first);
}

/* A member's list is taken as it is: who is not in it any more has left, or was dropped. Who has never met a fellow does not know its
 * own address, and is called by the one that was asked. */
void partition_take_list(struct backend *speaker, struct slice body)
{
    struct partition *partition = speaker->partition;
    struct slice line;
    struct member said;
    take_kin(speaker, body);
    for (unsigned i = 0; i < partition->backend_count; i++)
        partition->backends[i]->in_list = false;
    while (slice_next(&body, '\n', &line)) {
        if (!slice_starts(line, SLICE("member ")) || member_parse(line, 0, &said) != 0 ||
            said.state != MEMBER_HERE || address_is_unspecified(&said.address))
            continue;
        struct backend *backend = partition_add(partition, &said.address);
        if (backend)
            backend->in_list = true;
    }
    bool changed = false;
    for (unsigned i = 0; i < partition->backend_count; i++) {
        struct backend *backend = partition->backends[i];
        changed = changed || backend->listed != backend->in_list;
        backend->listed = backend->in_list;
    }
    if (changed)
        partition_update(partition);
}

/* Who is neither named nor listed, and does not answer as one of this cluster either, is forgotten once its last connection is
 * closed. */
static void partition_forget(struct partition *partition)
{
    unsigned kept = 0;
    bool changed = false;
    for (unsigned i = 0; i < partition->backend_count; i++) {
        struct backend *backend = partition->backends[i];
        bool ours = backend->up && !backend->wrong && !backend->foreign;
        if (!backend->listed && !backend->seed && !backend->leaving && !ours) {
            backend->leaving = changed = true;
            backend_down(backend, "msg=\"it has left\"");
        }
        backend->leaving = backend->leaving && !backend->listed && !backend->seed;
        if (backend->leaving && !backend->lanes)
            backend_destroy(backend);
        else
            partition->backends[kept++] = backend;
    }
    changed = changed || kept != partition->backend_count;
    partition->backend_count = kept;
    if (changed)
        partition_update(partition);
}

/* What was named */

/* `address` has no port of its own. */
static void seed_add(struct seed *seed, const struct address *address)
{
    struct address with_port = *address;
    with_port.port = seed->port;
    struct backend *backend = partition_add(seed->partition, &with_port);
    if (backend)
        backend->seed = seed;
}

static void seed_name(struct seed *seed, const struct address *addresses, unsigned count)
{
    const struct partition *partition = seed->partition;
    for (unsigned i = 0; i < partition->backend_count; i++)
        if (partition->backends[i]->seed == seed)
            partition->backends[i]->seed = NULL;
    for (unsigned i = 0; i < count; i++)
        seed_add(seed, &addresses[i]);
}

static void seed_on_answer(struct lookup *lookup, const struct address *addresses, unsigned count)
{
    struct seed *seed = (struct seed *)((char *)lookup - offsetof(struct seed, lookup));
    seed->asking = false;
    if (count > 0)
        seed_name(seed, addresses, count);
    else /* the name servers may just be out of reach */
        log_condition(seed->partition->frontend->log, LOG_WARN_LEVEL, "name-unknown", seed->host,
                      "name=%s do=\"correct %s, or the name server; it is asked again\"",
                      seed->host, partition_words(seed->partition)->option);
}

/* A name is asked for again and again, since others may stand behind it later. */
static void seed_tick(struct seed *seed)
{
    struct frontend *frontend = seed->partition->frontend;
    struct resolver *resolver = frontend->config.resolver;
    struct address address = {0};
    if (frontend->loop->now_us < seed->next_us || seed->asking)
        return;
    seed->next_us = frontend->loop->now_us + SEED_LOOKUP_US;
    if (address_parse_ip(slice_of(seed->host), address.ip) == 0)
        seed_name(seed, &address, 1);
    else if (resolver)
        seed->asking = resolver->ops->ask(resolver, &seed->lookup, seed->host) == 0;
}

/* "HOST:PORT" or "[ADDRESS]:PORT"; the options were checked already. */
static int seed_init(struct seed *seed, struct partition *partition, const char *text)
{
    const char *colon = strrchr(text, ':');
    unsigned long long port;
    if (!colon || !slice_number(slice_of(colon + 1), 65535, &port))
        return -EINVAL;
    bool bracketed = text[0] == '[' && colon - text >= 2;
    size_t len = (size_t)(colon - text) - (bracketed ? 2 : 0);
    if (len > RESOLVER_NAME_BYTES_MAX)
        return -EINVAL;
    memcpy(seed->host, text + bracketed, len);
    seed->host[len] = 0;
    seed->port = (uint16_t)port;
    seed->partition = partition;
    seed->lookup.on_answer = seed_on_answer;
    return 0;
}

/* Life */

void partition_tick(struct partition *partition)
{
    for (unsigned i = 0; i < partition->seed_count; i++)
        seed_tick(&partition->seeds[i]);
    partition_forget(partition);
    for (unsigned i = 0; i < partition->backend_count; i++)
        backend_tick(partition->backends[i]);
    send_parked(partition);
    refuse_parked(partition);
    if (!has_hope(partition))
        log_reached(partition);
}

int partition_init(struct partition *partition, const struct frontend_cluster *named)
{
    const struct frontend *frontend = partition->frontend;
    partition->retry_tokens = (uint64_t)RETRY_TOKENS_MAX * RETRY_TOKEN_PARTS;
    partition->lost_us = frontend->loop->now_us;
    partition->told = true; /* so that who is not there from the beginning is told of */
    partition->seeds = calloc(named->seed_count, sizeof *partition->seeds);
    if (!partition->seeds)
        return -ENOMEM;
    for (unsigned i = 0; i < named->seed_count; i++) {
        int error = seed_init(&partition->seeds[i], partition, named->seeds[i]);
        if (error)
            return error;
        partition->seed_count++;
    }
    return 0;
}

void partition_free(struct partition *partition)
{
    struct frontend *frontend = partition->frontend;
    for (unsigned i = 0; i < partition->seed_count; i++)
        if (partition->seeds[i].asking)
            frontend->config.resolver->ops->cancel(frontend->config.resolver,
                                                   &partition->seeds[i].lookup);
    for (unsigned i = 0; i < partition->backend_count; i++)
        backend_destroy(partition->backends[i]);
    free(partition->backends);
    free(partition->usable);
    free(partition->seeds);
}
