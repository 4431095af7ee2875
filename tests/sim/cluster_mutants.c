/* Planted mistakes of clusters, each where two rooms of the node meet: the linker's --wrap leads their calls here, so that the node's
 * own code has none. Only one is made in a run, in the world that cluster_mutants_begin names. */
#include <stdio.h>
#include <string.h>

#include "cluster.h"
#include "role/cluster_state.h"

enum {
    HOUR_S = 3600,
    COPY_SHARDS_SKIPPED = 8192,
    HEAD_ROOM = 512,
};

static struct sim_cluster *cluster;

void cluster_mutants_begin(struct sim_cluster *begun)
{
    cluster = begun;
}

void cluster_mutants_end(void)
{
    cluster = NULL;
}

static bool mutates(enum mutant mutant, uint32_t ppm)
{
    return cluster && world_mutates(&cluster->world, mutant, ppm);
}

static bool is_mutant(enum mutant mutant)
{
    return cluster && cluster->world.mutant == mutant;
}

/* The order that picks a winner */

int __real_record_compare(const struct record *a, const struct record *b);
int __wrap_record_compare(const struct record *a, const struct record *b);

int __wrap_record_compare(const struct record *a, const struct record *b)
{
    int order = __real_record_compare(a, b);
    if (order < 0 && mutates(MUTANT_OLDER_WINS, 50000))
        return 1;
    if (order > 0 && a->version == b->version && is_mutant(MUTANT_TIES_KEPT))
        return -1;
    return order;
}

enum store_result __real_store_merge(struct store *store, const struct store_key *key,
                                     struct record *record, uint64_t now_us);
enum store_result __wrap_store_merge(struct store *store, const struct store_key *key,
                                     struct record *record, uint64_t now_us);

enum store_result __wrap_store_merge(struct store *store, const struct store_key *key,
                                     struct record *record, uint64_t now_us)
{
    struct record_due *due = record_due(record);
    if (due && !record_is_tombstone(record) && is_mutant(MUTANT_LONGER_TTL))
        due->due_us += HOUR_S * 1000000ULL;
    if (mutates(MUTANT_LOST_MERGE, 20000))
        return STORE_STALE;
    return __real_store_merge(store, key, record, now_us);
}

/* What goes over the wire */

static bool starts(const struct conn_piece *piece, const char *with)
{
    return piece->len >= strlen(with) && memcmp(piece->data, with, strlen(with)) == 0;
}

void __real_upstream_call(struct upstream *upstream, struct call *call,
                          const struct conn_piece *pieces, unsigned count);
void __wrap_upstream_call(struct upstream *upstream, struct call *call,
                          const struct conn_piece *pieces, unsigned count);

/* A batch with nothing in it. */
static void call_empty(struct upstream *upstream, struct call *call,
                       const struct conn_piece *pieces, unsigned count)
{
    char head[HEAD_ROOM], end[WIRE_HEAD_BYTES];
    const char *length = memmem(pieces[0].data, pieces[0].len, "Content-Length: ", 16);
    int len = snprintf(head, sizeof head, "%.*sContent-Length: %d\r\n\r\n",
                       (int)(length - pieces[0].data), pieces[0].data, WIRE_HEAD_BYTES);
    wire_end(0, end);
    const struct conn_piece empty[2] = {{.data = head, .len = (size_t)len},
                                        {.data = end, .len = sizeof end}};
    for (unsigned i = 0; i < count; i++)
        if (pieces[i].release)
            pieces[i].release(pieces[i].context, pieces[i].owner);
    __real_upstream_call(upstream, call, empty, 2);
}

/* The same head with another shard to begin with. */
static void call_later_shards(struct upstream *upstream, struct call *call,
                              const struct conn_piece *piece)
{
    char head[HEAD_ROOM];
    const char *rest = memchr(piece->data, '=', piece->len);
    int len = snprintf(head, sizeof head, "GET /-/records?from=%d%.*s", COPY_SHARDS_SKIPPED,
                       (int)(piece->data + piece->len - rest - 2), rest + 2);
    const struct conn_piece later = {.data = head, .len = (size_t)len};
    __real_upstream_call(upstream, call, &later, 1);
}

/* A hello that does not say who has left. */
static void call_silent(struct upstream *upstream, struct call *call,
                        const struct conn_piece *pieces, unsigned count)
{
    char *body = (char *)(uintptr_t)pieces[1].data; /* of the cluster's scratch room */
    char *end = body + pieces[1].len;
    for (char *at = body; (at = memmem(at, (size_t)(end - at), " left ", 6));)
        memcpy(at, " down ", 6);
    __real_upstream_call(upstream, call, pieces, count);
}

void __wrap_upstream_call(struct upstream *upstream, struct call *call,
                          const struct conn_piece *pieces, unsigned count)
{
    if (starts(pieces, "POST /-/merge") && mutates(MUTANT_PUSH_DROPPED, 100000))
        call_empty(upstream, call, pieces, count);
    else if (starts(pieces, "GET /-/records?from=0 ") && is_mutant(MUTANT_GATHER_SKIPS))
        call_later_shards(upstream, call, pieces);
    else if (starts(pieces, "POST /-/members") && count == 2 && is_mutant(MUTANT_SILENT_GOODBYE))
        call_silent(upstream, call, pieces, count);
    else
        __real_upstream_call(upstream, call, pieces, count);
}

/* Repair */

void __real_repair_on_hello(struct peer *peer, bool same);
void __wrap_repair_on_hello(struct peer *peer, bool same);

void __wrap_repair_on_hello(struct peer *peer, bool same)
{
    bool first = self_of(peer->cluster)->id < peer->member->id;
    if (!same && (is_mutant(MUTANT_NO_REPAIR) || (!first && is_mutant(MUTANT_REPAIR_ONE_WAY))))
        return;
    __real_repair_on_hello(peer, same);
}

unsigned __real_cluster_find_wanted(struct cluster *own, struct slice body, struct record **out);
unsigned __wrap_cluster_find_wanted(struct cluster *own, struct slice body, struct record **out);

unsigned __wrap_cluster_find_wanted(struct cluster *own, struct slice body, struct record **out)
{
    if (is_mutant(MUTANT_REPAIR_ONE_WAY))
        return 0;
    return __real_cluster_find_wanted(own, body, out);
}

uint64_t __real_store_digest(const struct store *store);
uint64_t __wrap_store_digest(const struct store *store);

uint64_t __wrap_store_digest(const struct store *store)
{
    return is_mutant(MUTANT_SAME_DIGEST) ? 1 : __real_store_digest(store);
}

uint64_t __real_cluster_agreed_us(const struct cluster *own, uint32_t shard);
uint64_t __wrap_cluster_agreed_us(const struct cluster *own, uint32_t shard);

uint64_t __wrap_cluster_agreed_us(const struct cluster *own, uint32_t shard)
{
    return is_mutant(MUTANT_EARLY_DROP) ? UINT64_MAX : __real_cluster_agreed_us(own, shard);
}

/* Pushes */

void __real_push_start(struct peer *peer);
void __wrap_push_start(struct peer *peer);

/* The connection for pushes is not begun in this turn. */
void __wrap_push_start(struct peer *peer)
{
    uint64_t retry_us = peer->push_retry_us;
    if (is_mutant(MUTANT_LATE_PUSH))
        peer->push_retry_us = UINT64_MAX;
    __real_push_start(peer);
    if (is_mutant(MUTANT_LATE_PUSH))
        peer->push_retry_us = retry_us;
}

/* Lags */

struct record *__real_lag_next(struct lag *lag, unsigned *steps);
struct record *__wrap_lag_next(struct lag *lag, unsigned *steps);

struct record *__wrap_lag_next(struct lag *lag, unsigned *steps)
{
    struct record *record = __real_lag_next(lag, steps);
    return record && mutates(MUTANT_CURSOR_SKIPS, 500000) ? __real_lag_next(lag, steps) : record;
}

void __real_lag_on_change(struct lag *lag, uint32_t shard, struct record *old,
                          struct record *record);
void __wrap_lag_on_change(struct lag *lag, uint32_t shard, struct record *old,
                          struct record *record);

void __wrap_lag_on_change(struct lag *lag, uint32_t shard, struct record *old,
                          struct record *record)
{
    if (is_mutant(MUTANT_LAG_QUEUES))
        record_retain(record);
    if (old && lag->at[shard] == old && is_mutant(MUTANT_CURSOR_LOST))
        lag->at[shard] = NULL;
    __real_lag_on_change(lag, shard, old, record);
}

/* Newcomers and leavers */

void __real_repair_start(struct peer *peer);
void __wrap_repair_start(struct peer *peer);

void __wrap_repair_start(struct peer *peer)
{
    if (is_mutant(MUTANT_GATHER_SKIPS) && peer->cluster->gather.step == GATHER_CHECKING)
        gather_checked(peer, peer->cluster->loop->now_us);
    else
        __real_repair_start(peer);
}

bool __real_cluster_has_everything(const struct cluster *own);
bool __wrap_cluster_has_everything(const struct cluster *own);

bool __wrap_cluster_has_everything(const struct cluster *own)
{
    return is_mutant(MUTANT_EARLY_READY) || __real_cluster_has_everything(own);
}

bool __real_cluster_has_left(struct cluster *own);
bool __wrap_cluster_has_left(struct cluster *own);

bool __wrap_cluster_has_left(struct cluster *own)
{
    return is_mutant(MUTANT_EARLY_GOODBYE) || __real_cluster_has_left(own);
}

/* Counting */

void __real_copies_confirm(struct cluster *own, uint64_t id, uint64_t from, uint64_t to);
void __wrap_copies_confirm(struct cluster *own, uint64_t id, uint64_t from, uint64_t to);

void __wrap_copies_confirm(struct cluster *own, uint64_t id, uint64_t from, uint64_t to)
{
    __real_copies_confirm(own, id, from, to);
    if (is_mutant(MUTANT_MANY_COPIES))
        __real_copies_confirm(own, id, from, to);
}

struct store *__real_store_new(uint64_t memory_max, uint64_t grace_us, uint64_t seed);
struct store *__wrap_store_new(uint64_t memory_max, uint64_t grace_us, uint64_t seed);

struct store *__wrap_store_new(uint64_t memory_max, uint64_t grace_us, uint64_t seed)
{
    uint64_t max = is_mutant(MUTANT_BEYOND_MEMORY) ? memory_max * 2 : memory_max;
    return __real_store_new(max, grace_us, seed);
}
