/* One member of a cluster: whether it is there and ready is asked BACKEND_HELLO_US by BACKEND_HELLO_US, on a connection of its own, so
 * that a node that hangs is known before its requests are overdue. */
#include "role/backend.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "role/frontend_state.h"
#include "role/lane.h"
#include "role/partition.h"
#include "role/search.h"

static struct loop *loop_of(const struct backend *backend)
{
    return backend->partition->frontend->loop;
}

static void log_backend(const struct backend *backend, enum log_level level, const char *event,
                        const char *about)
{
    char text[ADDRESS_TEXT_BYTES];
    log_event(backend->partition->frontend->log, level, event, "%s=%u node=%s%s%s",
              partition_words(backend->partition)->name, backend->partition->number,
              address_format(&backend->address, text), *about ? " " : "", about);
}

/* Whether it can be used */

static bool is_usable(struct backend *backend)
{
    return backend_lane(backend) && backend->up && backend->is_ready && !backend->wrong &&
           !backend->foreign;
}

struct lane *backend_lane(struct backend *backend)
{
    if (!lane_is_open(backend->shared) && lane_is_open(backend->spare)) {
        struct lane *lane = backend->shared;
        backend->shared = backend->spare;
        backend->spare = lane;
    }
    return lane_is_open(backend->shared) ? backend->shared : NULL;
}

/* A connection that has ended is told as the node's end, if it is that, and else not at all. */
static void tell_usable(struct backend *backend)
{
    bool refuses = backend->up && (!backend->is_ready || backend->wrong || backend->foreign);
    if (backend->usable == backend->told || (backend->told && !refuses))
        return;
    backend->told = backend->usable;
    log_backend(backend, LOG_INFO_LEVEL, backend->told ? "node-usable" : "node-unusable", "");
}

void backend_update(struct backend *backend)
{
    bool usable = is_usable(backend), changed = usable != backend->usable;
    backend->usable = usable;
    tell_usable(backend);
    if (changed)
        partition_update(backend->partition);
}

void backend_down(struct backend *backend, const char *why)
{
    if (backend->up) /* one that had said that it is not ready was expected to go */
        log_backend(backend, backend->is_ready ? LOG_WARN_LEVEL : LOG_INFO_LEVEL, "node-down", why);
    backend->up = backend->is_ready = backend->told = backend->wrong = backend->foreign = false;
    upstream_close(backend->control, -ECONNRESET);
    backend_update(backend);
    lanes_close(backend);
    searches_leave(backend);
}

/* What it says */

static struct slice after(struct slice line, size_t bytes)
{
    return (struct slice){line.data + bytes, line.len - bytes};
}

/* "-" is good enough while there is one partition. */
static bool is_ours(const struct partition *partition, struct slice said)
{
    char text[32];
    unsigned count = partition->count;
    int len = snprintf(text, sizeof text, "%u/%u", partition->number, count);
    return slice_equal(said, (struct slice){text, (size_t)len}) ||
           (count == 1 && slice_equal(said, SLICE("-")));
}

static void log_wrong(const struct backend *backend)
{
    char about[200];
    const struct partition *partition = backend->partition;
    snprintf(
        about, sizeof about,
        "says=%s wanted=%u/%u msg=\"this node is of another partition (--partition): is the order "
        "and number of %s right?\"",
        backend->says, partition->number, partition->count, partition_words(partition)->option);
    log_backend(backend, LOG_ERROR_LEVEL, "wrong-partition", about);
}

/* A partition is "I/N" or "-"; whatever else is said must not get into logs and pages as it is. */
static void take_says(struct backend *backend, struct slice said)
{
    snprintf(backend->says, sizeof backend->says, "%.*s", (int)said.len, said.data);
    for (char *c = backend->says; *c; c++)
        if (!strchr("0123456789/-", *c))
            *c = '?';
}

static void take_partition(struct backend *backend, struct slice said)
{
    bool wrong = !is_ours(backend->partition, said);
    take_says(backend, said);
    if (wrong && !backend->wrong)
        log_wrong(backend);
    backend->wrong = wrong;
}

static void log_wrong_cluster(const struct backend *backend)
{
    char about[256];
    snprintf(
        about, sizeof about,
        "msg=\"this node is of another cluster (--cluster-name) than the first one that was "
        "ready here, and is not asked\" do=\"correct %s; where the cluster was renamed, restart "
        "the front-ends\"",
        partition_words(backend->partition)->option);
    log_backend(backend, LOG_ERROR_LEVEL, "wrong-cluster", about);
}

/* The address of a member that is gone may be another cluster's now, whose nodes have other keys. */
static void take_cluster(struct backend *backend, struct slice said)
{
    struct partition *partition = backend->partition;
    bool foreign = partition->cluster[0] && !slice_equal(said, slice_of(partition->cluster));
    if (foreign && !backend->foreign)
        log_wrong_cluster(backend);
    backend->foreign = foreign;
    if (!partition->cluster[0] && backend->is_ready && !backend->wrong &&
        said.len < sizeof partition->cluster)
        memcpy(partition->cluster, said.data, said.len); /* its rest is zero */
}

/* The first member in the list is who speaks. */
static void take_speaker(struct backend *backend, struct slice line)
{
    struct member said;
    if (member_parse(line, loop_of(backend)->now_us, &said) != 0)
        return;
    backend->phase = said.phase;
    if (said.id == backend->id)
        return;
    backend->id = said.id;
    partition_update(backend->partition);
}

static void take_push(struct backend *backend, struct slice said)
{
    struct slice word;
    unsigned long long p50_us, p99_us;
    if (!slice_next(&said, ' ', &word) || !slice_number(word, UINT64_MAX, &p50_us) ||
        !slice_number(said, UINT64_MAX, &p99_us))
        return;
    backend->push_p50_us = p50_us;
    backend->push_p99_us = p99_us;
}

/* Figures for people; what is no number stays as it was. */
static void take_figures(struct backend *backend, struct slice line)
{
    unsigned long long number;
    if (slice_starts(line, SLICE("records ")) && slice_number(after(line, 8), UINT64_MAX, &number))
        backend->records = number;
    else if (slice_starts(line, SLICE("gathered ")) && slice_number(after(line, 9), 1000, &number))
        backend->gathered_permille = (unsigned)number;
    else if (slice_starts(line, SLICE("push ")))
        take_push(backend, after(line, 5));
}

/* The least that its clock can say is the most of what follows from all hellos so far: the quickest of them is the most exact. One that
 * says less than would have been possible tells that the clock was set back. */
static void take_clock(struct backend *backend, struct slice said)
{
    unsigned long long clock_us;
    uint64_t now_us = loop_of(backend)->now_us, known_us = backend_clock_us(backend);
    if (!slice_number(said, UINT64_MAX, &clock_us) ||
        (known_us > clock_us && known_us <= clock_us + (now_us - backend->asked_us)))
        return;
    backend->clock_us = clock_us;
    backend->clock_at_us = now_us;
}

uint64_t backend_clock_us(const struct backend *backend)
{
    return backend->clock_us + (loop_of(backend)->now_us - backend->clock_at_us);
}

/* Returns whether it is a hello. */
static bool take_hello(struct backend *backend, struct slice body)
{
    struct slice rest = body, line, cluster = SLICE(""), place = {0};
    bool met = false;
    backend->push_p50_us = backend->push_p99_us = HISTORY_NONE;
    while (!met && slice_next(&rest, '\n', &line)) {
        met = slice_starts(line, SLICE("member "));
        if (met)
            take_speaker(backend, line);
        else if (slice_starts(line, SLICE("clock ")))
            take_clock(backend, after(line, 6));
        else if (slice_starts(line, SLICE("cluster ")))
            cluster = after(line, 8);
        else if (slice_starts(line, SLICE("digest ")))
            slice_hex(after(line, 7), &backend->digest);
        else if (slice_starts(line, SLICE("partition ")))
            place = after(line, 10);
        else
            take_figures(backend, line);
    }
    if (!met || !place.data)
        return false;
    take_partition(backend, place);
    take_cluster(backend, cluster);
    if (!backend->wrong && !backend->foreign && backend->is_ready)
        partition_take_list(backend, body);
    return true;
}

/* Told though it never was up: an address that leads elsewhere looks as if nobody were there. */
static void log_foreign(const struct backend *backend, unsigned status)
{
    char text[ADDRESS_TEXT_BYTES];
    const struct side_words *words = partition_words(backend->partition);
    log_condition(backend->partition->frontend->log, LOG_WARN_LEVEL, "node-foreign",
                  address_format(&backend->address, text),
                  "%s=%u node=%s status=%u msg=\"what answers there does not answer as a node "
                  "does\" do=\"correct %s, or look at curl %s/-/members\"",
                  words->name, backend->partition->number, text, status, words->option, text);
}

static void on_hello(struct fetch *fetch, unsigned status, struct slice body)
{
    struct backend *backend =
        (struct backend *)((char *)fetch - offsetof(struct backend, hello_fetch));
    if (status == 0)
        return; /* the connection has ended, which is told too */
    bool met = status == 200 && take_hello(backend, body);
    backend->no_node = !met && status < 500; /* a node without room says 503 */
    if (!met) {
        log_foreign(backend, status);
        backend_down(backend, "msg=\"what answers there does not answer as a node does\"");
        return;
    }
    if (!backend->up)
        log_backend(backend, LOG_INFO_LEVEL, "node-up", "");
    backend->up = true;
    backend->backoff_us = 0;
    backend_update(backend);
}

/* Comes before on_hello. */
static void on_ready(struct fetch *fetch, unsigned status, struct slice body)
{
    struct backend *backend =
        (struct backend *)((char *)fetch - offsetof(struct backend, ready_fetch));
    (void)body;
    if (status == 0)
        return; /* the connection has ended, which is told too: it has not said that it is not ready */
    backend->is_ready = status == 200;
    if (status != 200 && status != 503) /* it may close before it is asked more */
        log_foreign(backend, status);
    if (backend->up)
        backend_update(backend);
}

static void backend_ask(struct backend *backend)
{
    static const struct conn_piece ready = {.data = "GET /-/ready HTTP/1.1\r\nHost: fog\r\n\r\n",
                                            .len = 36};
    static const struct conn_piece hello = {.data = "GET /-/members HTTP/1.1\r\nHost: fog\r\n\r\n",
                                            .len = 38};
    backend->hello_due_us = loop_of(backend)->now_us + BACKEND_HELLO_US;
    if (backend->ready_fetch.busy || backend->hello_fetch.busy)
        return;
    backend->asked_us = loop_of(backend)->now_us;
    fetch_start(&backend->ready_fetch, backend->control, &ready, 1);
    fetch_start(&backend->hello_fetch, backend->control, &hello, 1);
}

/* The connection for this */

static void control_on_open(struct upstream *upstream)
{
    backend_ask(upstream_owner(upstream));
}

static void control_on_closed(struct upstream *upstream, int error)
{
    struct backend *backend = upstream_owner(upstream);
    backend->backoff_us = backend->backoff_us * 2 + FRONTEND_TICK_US;
    if (backend->backoff_us > BACKEND_RETRY_US)
        backend->backoff_us = BACKEND_RETRY_US;
    bool at_once =
        error == 0 &&
        backend->up; /* what closes before it has said anything is no node, or has no room */
    backend->retry_us = loop_of(backend)->now_us + (at_once ? 0 : backend->backoff_us);
    backend_down(backend, error == -ETIMEDOUT ? "msg=\"it does not answer\""
                                              : "msg=\"the connection ended\"");
}

static const struct upstream_ops control_ops = {
    .on_open = control_on_open,
    .on_closed = control_on_closed,
};

/* Whether the node will close both connections at the same moment, if none is used: it does so with what is idle for a while. */
static bool lanes_are_twins(const struct backend *backend)
{
    if (!lane_is_open(backend->shared) || !lane_is_open(backend->spare) || backend->shared->first ||
        backend->spare->first)
        return false;
    uint64_t a_us = upstream_heard_us(backend->shared->upstream);
    uint64_t b_us = upstream_heard_us(backend->spare->upstream);
    return (a_us > b_us ? a_us - b_us : b_us - a_us) < LANES_APART_US;
}

/* A new spare one, later than the other, so that one of the two always stands. */
static void lanes_part(struct backend *backend)
{
    if (lanes_are_twins(backend) &&
        loop_of(backend)->now_us >=
            upstream_heard_us(backend->shared->upstream) + 2 * LANES_APART_US)
        upstream_close(backend->spare->upstream, 0);
}

void backend_tend_lanes(struct backend *backend)
{
    if (!backend->up || backend->leaving)
        return;
    if (!backend->shared)
        backend->shared = lane_new(backend, LANE_SHARED);
    if (!backend->spare)
        backend->spare = lane_new(backend, LANE_SHARED);
}

void backend_tick(struct backend *backend)
{
    uint64_t now_us = loop_of(backend)->now_us;
    if (upstream_is_open(backend->control)) {
        if (now_us >= backend->hello_due_us)
            backend_ask(backend);
    } else if (now_us >= backend->retry_us && !backend->leaving) {
        backend->retry_us = now_us + BACKEND_RETRY_US;
        upstream_connect(backend->control, &backend->address);
    }
    backend_tend_lanes(backend);
    lanes_part(backend);
    lanes_trim(backend);
}

/* Life */

struct backend *backend_new(struct partition *partition, const struct address *address)
{
    static const struct upstream_config config = {BACKEND_CONNECT_US, BACKEND_HANG_US};
    struct backend *backend = calloc(1, sizeof *backend);
    if (!backend)
        return NULL;
    backend->partition = partition;
    backend->address = *address;
    backend->ready_fetch = (struct fetch){.on_done = on_ready, .body_max = 4096};
    backend->hello_fetch = (struct fetch){.on_done = on_hello, .body_max = BACKEND_HELLO_BYTES_MAX};
    backend->control = upstream_new(partition->frontend->upstreams, &config, &control_ops, backend);
    if (backend->control)
        return backend;
    free(backend);
    return NULL;
}

/* Of a front-end that ends, or of a member that is gone and has no lanes any more. */
void backend_destroy(struct backend *backend)
{
    while (backend->lanes)
        lane_destroy(backend->lanes);
    upstream_destroy(backend->control);
    free(backend);
}
