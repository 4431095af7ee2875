/* Fuzzes a node, and a front-end before another node, by the same bytes of a client, at the same time: both must take them for the same
 * requests. Else what one of the two takes for a part of a value would be a request to the other one.
 *
 *   byte 0: how the bytes are cut, 0 for not at all
 *   the rest: what the client sends, and then no more
 *
 * The answers are the same: how many, their statuses, bodies and fields, and after which one the connection ends; and so are the keys that
 * the two nodes have in the end, with their values, types and expiry. What only nodes or only front-ends have, that is what stands under
 * /-/ and at /, may be answered differently. */
#include "data/wire.h"
#include "role/frontend_state.h"
#include "role/node_state.h"
#include "role/partition.h"
#include "talk.h"

enum { NODE = 1, BEHIND = 2, FRONTEND = 3 };

static struct bench bench;
static struct node *node, *behind;
static struct frontend *frontend;
static struct talk here, there;

static bool has_records(const struct node *of)
{
    struct store_counts counts = store_counts(of->store);
    return counts.keys + counts.tombstones > 0;
}

static void renew(void)
{
    if (node && !has_records(node) && !has_records(behind))
        return;
    if (node) {
        frontend_destroy(frontend);
        node_destroy(node);
        node_destroy(behind);
        bench_end(&bench);
    }
    bench_start(&bench);
    node = bench_node(&bench, NODE);
    behind = bench_node(&bench, BEHIND);
    frontend = bench_frontend(&bench, FRONTEND, BEHIND);
    bench_pass(&bench, BENCH_SECOND / 2);
    require(frontend->partitions[0].usable_count == 1);
}

/* Answers */

static bool is_of_key(const struct bench_request *request)
{
    struct slice target = request->head.target;
    return target.len > 1 && target.data[0] == '/' && !slice_starts(target, SLICE("/-/"));
}

static void check_field(const struct talk_answer *a, const struct talk_answer *b, const char *name,
                        bool same_value)
{
    struct slice x = talk_field(a, name), y = talk_field(b, name);
    require((x.data != NULL) == (y.data != NULL));
    require(!same_value || slice_equal(x, y));
}

static void check_same_answer(const struct talk_answer *a, const struct talk_answer *b)
{
    bool refused = a->status >= 400; /* who does it may say "this node", or "this front-end" */
    require(a->status == b->status && a->close == b->close);
    require(refused || (a->body.len == b->body.len && a->body_hash == b->body_hash));
    check_field(a, b, "Content-Type", true);
    check_field(a, b, "Content-Length", !refused);
    check_field(a, b, "Transfer-Encoding", true);
    check_field(a, b, "Allow", true);
    check_field(a, b, "Fog-Copies", true);
    check_field(a, b, "Fog-Version", false);
    check_field(a, b, "ETag", false);
}

/* Whether the answer of that number is to something that stands under /-/, or at /. */
static bool is_to_operation(unsigned i)
{
    const struct bench_requests *requests = &here.requests;
    bool known = i < requests->count ||
                 (requests->result != HTTP_OK && requests->list[i].head.target.len > 0);
    return known && !is_of_key(&requests->list[i]);
}

/* Those of keys, up to where an operation has ended one of the connections, perhaps before its body was whole. */
static void check_answers(void)
{
    unsigned i = 0;
    for (; i < here.count && i < there.count; i++) {
        const struct talk_answer *a = &here.answers[i], *b = &there.answers[i];
        if (!is_to_operation(i))
            check_same_answer(a, b);
        else if (a->close || b->close)
            return;
    }
    require(here.count == there.count || is_to_operation(i));
}

/* Keys */

static void check_has(const struct node *of, uint32_t shard, struct record *record)
{
    struct store_key key = store_key(of->store, record_key(record));
    struct record *other = store_find(of->store, &key);
    require(key.shard == shard && other);
    require(record_is_tombstone(record) == record_is_tombstone(other));
    require(slice_equal(wire_data(record), wire_data(other)));
    require(record->type_bytes == other->type_bytes);
    require(record_expires_us(record) == record_expires_us(other));
}

static void check_keys(void)
{
    struct store_counts a = store_counts(node->store), b = store_counts(behind->store);
    require(a.keys == b.keys && a.tombstones == b.tombstones);
    if (a.keys + a.tombstones == 0)
        return;
    for (uint32_t shard = 0; shard < STORE_SHARDS; shard++)
        for (struct record *at = store_first(node->store, shard); at; at = store_after(at))
            check_has(behind, shard, at);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    renew();
    struct slice bytes = {(const char *)data + 1, size - 1};
    int direct = talk_begin(&bench, NODE, bytes, data[0], &here);
    int relayed = talk_begin(&bench, FRONTEND, bytes, data[0], &there);
    bench_settle(&bench);
    for (unsigned s = 0; bench.sockets[direct].open || bench.sockets[relayed].open; s++) {
        require(s < 40);
        bench_pass(&bench, BENCH_SECOND);
    }
    talk_end(&bench, direct, &here);
    talk_end(&bench, relayed, &there);
    check_answers();
    check_keys();
    bench_forget(&bench, direct);
    bench_forget(&bench, relayed);
    return 0;
}
