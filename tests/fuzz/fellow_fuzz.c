/* Fuzzes a node by what a member of its cluster answers to it: to its hello, to the questions of its repair, to what it asks for and gives,
 * and as a copy of everything.
 *
 *   byte 0: bit 0 the node joins the member, and gathers; else it has two keys already, and repairs
 *   then, again and again, one answer:
 *   byte 0: bits 0-2 to what, see below; 3-4 its status; 5 the bytes are cut; 6 the connection ends behind it; 7 in the middle
 *   bytes 1-2: how long its body is, big-endian; what is not there is left out
 *   its body
 *
 * Of each kind the first answer that is left is given; when there is none any more, one that makes sense. Whatever is said: what the node
 * asks is well formed; its table adds up; of its own keys it never has less than it had; what it tells of its members can be read; and
 * nobody waits for ever. */
#include <string.h>

#include "../unit/answer.h"
#include "data/wire.h"
#include "member.h"
#include "role/cluster_state.h"
#include "role/hello.h"
#include "role/node_state.h"
#include "script.h"

enum {
    CUT = 32,
    ENDS = 64,
    BREAKS = 128,
    STEPS = 24,
    STEP_US = 500 * BENCH_MS,
    BODY_BYTES_MAX = 65535,
};

enum kind { HELLO, GROUPS, SHARDS, DIGESTS, RECORDS, COPY, MERGE, KINDS };

static const struct slice targets[KINDS] = {
    [HELLO] = {"/-/members", 10},        [GROUPS] = {"/-/digest", 9},
    [SHARDS] = {"/-/digest/shards", 16}, [DIGESTS] = {"/-/digest/records", 17},
    [RECORDS] = {"/-/records", 10},      [COPY] = {"/-/records?from=", 16},
    [MERGE] = {"/-/merge", 8},
};
static const unsigned statuses[] = {200, 503, 409, 507};

static struct bench bench;
static struct node *node;
static struct script script; /* of answers */
static char said[BODY_BYTES_MAX + 200];

/* What the node asks */

/* A body of records is whole: frames with good checks, and an end mark. */
static void check_merge(struct slice body)
{
    struct wire_reader reader;
    struct heap *heap = store_heap(node->store);
    wire_reader_init(&reader, heap, RECORD_VALUE_BYTES_MAX);
    while (body.len > 0) {
        size_t room;
        struct record *record = NULL;
        char *to = wire_reader_room(&reader, &room);
        size_t take = body.len < room ? body.len : room;
        memcpy(to, body.data, take);
        body = (struct slice){body.data + take, body.len - take};
        enum wire_result result = wire_reader_filled(&reader, take, &record);
        require(result == WIRE_MORE || result == WIRE_RECORD);
        if (record)
            record_release(heap, record);
    }
    require(wire_reader_at_end(&reader));
    wire_reader_free(&reader);
}

static enum kind kind_of(const struct bench_request *request)
{
    enum kind kind = slice_starts(request->head.target, targets[COPY]) ? COPY : HELLO;
    while (kind < COPY && !slice_equal(request->head.target, targets[kind]))
        kind++;
    if (kind == COPY && !slice_starts(request->head.target, targets[COPY]))
        kind = MERGE;
    require(slice_starts(request->head.target, targets[kind]));
    require((request->head.method == HTTP_GET) == (kind == COPY));
    require(http_field_find(&request->head, HTTP_FIELD_FOG_FROM));
    return kind;
}

static void check_asked(enum kind kind, struct slice body)
{
    enum { GROUP_BYTES = 1 + STORE_SHARDS_PER_GROUP * 8 };
    if (kind == MERGE)
        check_merge(body);
    require(kind != GROUPS || body.len == STORE_GROUPS * 8);
    require(kind != SHARDS || (body.len > 0 && body.len % GROUP_BYTES == 0));
    require(kind != DIGESTS || (body.len > 0 && body.len % 2 == 0));
    require(kind != RECORDS || body.len % CLUSTER_WANTED_BYTES <= 1);
    require(kind != COPY || body.len == 0);
}

/* What the member answers */

/* It is ready, and has what nobody else has. */
static struct slice usual_hello(char *room, size_t room_bytes)
{
    int len = snprintf(room, room_bytes,
                       "protocol 1\ncluster fog\npartition -\njoined 1\nsince 1\nclock %llu\n"
                       "horizon 0\ndigest 00000000000000ff\nrecords 1\ngathered 1000\n"
                       "you 10.0.0.1:8000\n"
                       "member 10.0.0.9:8000 ready ffffffffffffffff 1795348800000000 0 0\n"
                       "member 10.0.0.1:8000 joining %016llx 1795348805000000 0 0\n",
                       (unsigned long long)bench.io.ops->wall_us(&bench.io),
                       (unsigned long long)members_self(cluster_list(node->cluster))->id);
    return (struct slice){room, (size_t)len};
}

static struct slice usual(enum kind kind, char *room, size_t room_bytes)
{
    if (kind == HELLO)
        return usual_hello(room, room_bytes);
    if (kind != COPY && kind != RECORDS)
        return (struct slice){room, 0};
    wire_end(0, room);
    return (struct slice){room, WIRE_HEAD_BYTES};
}

static void on_request(struct member_play *play, int fd, const struct bench_request *request)
{
    char room[600];
    uint8_t how = 0;
    struct slice body;
    enum kind kind = kind_of(request);
    check_asked(kind, request->body);
    if (!script_find(&script, kind, &how, &body))
        body = usual(kind, room, sizeof room);
    int head = snprintf(said, sizeof said, "HTTP/1.1 %u Status\r\nContent-Length: %zu\r\n\r\n",
                        statuses[how >> 3 & 3], body.len);
    if (body.len)
        memcpy(said + head, body.data, body.len);
    struct slice all = {said, ((size_t)head + body.len) / (how & BREAKS ? 2 : 1)};
    (void)play;
    if (bench_feed(&bench, fd, all, how & CUT ? 1 + (unsigned)body.len : 0) &&
        how & (ENDS | BREAKS))
        bench_finish(&bench, fd);
}

static struct member_play play = {
    .bench = &bench, .host = 9, .plays_all = true, .on_request = on_request};

/* What must be so */

/* All digests are what comes of the records. */
static void check_table(void)
{
    uint64_t all = 0;
    for (uint32_t group = 0; group < STORE_GROUPS; group++) {
        uint64_t of_group = 0;
        for (uint32_t i = 0; i < STORE_SHARDS_PER_GROUP; i++) {
            uint32_t shard = group * STORE_SHARDS_PER_GROUP + i;
            uint64_t of_shard = 0;
            for (struct record *at = store_first(node->store, shard); at; at = store_after(at))
                if (store_lists(node->store, shard, at))
                    of_shard ^= record_digest(at);
            require(of_shard == store_shard_digest(node->store, shard));
            of_group ^= of_shard;
        }
        require(of_group == store_group_digest(node->store, group));
        all ^= of_group;
    }
    require(all == store_digest(node->store));
}

static unsigned heard_members;

static void count_member(struct cluster *cluster, const struct member *said_member)
{
    (void)cluster, (void)said_member;
    heard_members++;
}

/* Whoever hears this node's hello can read it, and hears of each member once. */
static void check_hello(void)
{
    struct hello hello;
    struct cluster *cluster = node->cluster;
    unsigned lines = 0;
    heard_members = 1; /* who speaks */
    require(hello_parse(cluster, hello_to(cluster, NULL), &hello, count_member));
    require(hello.who.id == members_self(&cluster->members)->id);
    for (unsigned i = 0; i < cluster->members.count; i++) {
        const struct member *member = cluster->members.list[i];
        require(members_find(&cluster->members, member->id) == member);
        require(member->is_self == (i == 0));
        lines += !cluster->torn || member->state != MEMBER_DROPPED;
    }
    require(heard_members == lines);
}

/* Keys of the node's own: it has them, or something that wins over them. */
static void check_own(const char *key, uint64_t version)
{
    struct store_key place = store_key(node->store, slice_of(key));
    const struct record *record = store_find(node->store, &place);
    require(record && record->version >= version);
}

static uint64_t put(const char *key)
{
    char text[200];
    struct answer answer;
    int fd = bench_connect(&bench, 1);
    int len = snprintf(text, sizeof text,
                       "PUT /%s HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nv", key);
    bench_feed(&bench, fd, (struct slice){text, (size_t)len}, 0);
    bench_settle(&bench);
    struct slice output = bench_output(&bench, fd);
    require(answer_parse(&output, false, true, &answer) == ANSWER_OK && answer.status == 200);
    bench_finish(&bench, fd);
    bench_settle(&bench);
    bench_forget(&bench, fd);
    struct store_key place = store_key(node->store, slice_of(key));
    return store_find(node->store, &place)->version;
}

/* The member says hello first to a node that was not told of it. */
static void greet(void)
{
    char body[600], text[900];
    struct slice hello = usual_hello(body, sizeof body);
    int fd = bench_connect(&bench, 1);
    int len = snprintf(text, sizeof text,
                       "POST /-/members HTTP/1.1\r\nHost: member\r\nFog-From: ffffffffffffffff\r\n"
                       "Content-Length: %zu\r\n\r\n%.*s",
                       hello.len, (int)hello.len, hello.data);
    bench_feed(&bench, fd, (struct slice){text, (size_t)len}, 0);
    bench_settle(&bench);
    bench_finish(&bench, fd);
    bench_settle(&bench);
    bench_forget(&bench, fd);
}

/* Nothing that the member was asked is waited for: it has answered all, or its connection has ended. */
static void check_waits(void)
{
    uint64_t now_us = bench.now_us;
    const struct cluster *cluster = node->cluster;
    for (unsigned i = 1; i < cluster->members.count; i++) {
        const struct peer *peer = cluster->members.list[i]->peer;
        require(!peer || !peer->hello.busy || now_us < peer->hello_us + 2 * CLUSTER_ANSWER_US);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    bool joins = data[0] & 1;
    uint64_t first = 0, second = 0;
    script = (struct script){.bytes = {(const char *)data + 1, size - 1}};
    bench_start(&bench);
    node = bench_joiner(&bench, 1, joins ? play.host : 0);
    if (!joins) {
        bench_settle(&bench);
        first = put("a");
        second = put("b");
        greet();
    }
    for (unsigned i = 0; i < STEPS; i++) {
        member_pass(&play, STEP_US);
        check_waits();
        if (i == STEPS / 3)
            first = put("a"); /* pushed, too */
    }
    check_own("a", first);
    if (second)
        check_own("b", second);
    check_table();
    check_hello();
    node_destroy(node);
    bench_end(&bench);
    return 0;
}

/* Half of the records get frames whose checks fit. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed)
{
    size = LLVMFuzzerMutate(data, size, size_max);
    if (seed % 2 && size > 1)
        script_mend(data + 1, size - 1, 1u << RECORDS | 1u << COPY);
    return size;
}
