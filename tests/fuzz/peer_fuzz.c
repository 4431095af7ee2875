/* Fuzzes a node by what a member of its cluster tells it, request by request. Each is
 *
 *   byte 0: bits 0-2 what it is, see below; 6 chunked; 7 without Fog-From, so from nobody who is a member
 *   bytes 1-2: how long its body is, big-endian; what is not there is left out
 *   its body
 *
 * The member has said hello before, as members do. Each request has one answer, whatever it says. A merge of a member that is refused
 * changes nothing. */
#include <string.h>

#include "../unit/answer.h"
#include "bench.h"
#include "role/cluster_state.h"
#include "role/node_state.h"
#include "script.h"

enum { HEAD_BYTES = 3, CHUNKED = 64, STRANGER = 128 };

enum what { MEMBERS, MERGE, GROUPS, SHARDS, DIGESTS, RECORDS, KEY, TIME };

static const char *const targets[] = {
    [MEMBERS] = "POST /-/members",
    [MERGE] = "POST /-/merge",
    [GROUPS] = "POST /-/digest",
    [SHARDS] = "POST /-/digest/shards",
    [DIGESTS] = "POST /-/digest/records",
    [RECORDS] = "POST /-/records",
    [KEY] = "PUT /key",
};

static const char hello[] =
    "protocol 1\ncluster fog\npartition -\njoined 0\nclock 1795348800000000\n"
    "horizon 0\ndigest 0000000000000000\nrecords 0\ngathered 1000\n"
    "you 10.0.0.1:8000\n"
    "member 10.0.0.9:8000 ready 0000000000000009 1795348800000000 0 0\n";

static struct bench bench;
static struct node *node;
static int client = -1;

/* A connection that the next request can be said on. */
static void be_connected(void)
{
    if (client >= 0 && bench.sockets[client].open && !bench.sockets[client].shut)
        return;
    if (client >= 0) {
        bench_finish(&bench, client);
        bench_settle(&bench);
        require(!bench.sockets[client].open);
        bench_forget(&bench, client);
    }
    client = bench_connect(&bench, 1);
}

/* One request and its answer. Returns its status. */
static unsigned ask(unsigned how, enum what what, struct slice body)
{
    char head[300];
    struct answer answer;
    bool chunked = how & CHUNKED && body.len > 0;
    be_connected();
    bench.sockets[client].out.len = 0;
    int len = snprintf(head, sizeof head, "%s HTTP/1.1\r\nHost: member\r\n%s", targets[what],
                       how & STRANGER ? "" : "Fog-From: 0000000000000009\r\n");
    len += chunked ? snprintf(head + len, sizeof head - (size_t)len,
                              "Transfer-Encoding: chunked\r\n\r\n%zx\r\n", body.len)
                   : snprintf(head + len, sizeof head - (size_t)len, "Content-Length: %zu\r\n\r\n",
                              body.len);
    bench_feed(&bench, client, (struct slice){head, (size_t)len}, 0);
    bench_feed(&bench, client, body, how & 32 ? 1 + (unsigned)body.len : 0);
    bench_feed(&bench, client, chunked ? SLICE("\r\n0\r\n\r\n") : SLICE(""), 0);
    bench_settle(&bench);
    struct slice output = bench_output(&bench, client);
    require(answer_parse(&output, false, true, &answer) == ANSWER_OK && output.len == 0);
    return answer.status;
}

/* Whether a stream breaks, or ends, before its first end mark. */
static bool breaks_at_once(struct slice body)
{
    struct wire_reader reader;
    struct record *record = NULL;
    struct heap *heap = store_heap(node->store);
    enum wire_result result = WIRE_MORE;
    bool broken = true;
    wire_reader_init(&reader, heap, RECORD_VALUE_BYTES_MAX);
    while (body.len > 0 && broken && result != WIRE_BROKEN && result != WIRE_NO_ROOM) {
        size_t room;
        char *to = wire_reader_room(&reader, &room);
        size_t take = body.len < room ? body.len : room;
        uint64_t offset = reader.offset;
        memcpy(to, body.data, take);
        body = (struct slice){body.data + take, body.len - take};
        result = wire_reader_filled(&reader, take, &record);
        if (result == WIRE_RECORD)
            record_release(heap, record);
        broken = result != WIRE_MORE || reader.offset == offset;
    }
    wire_reader_free(&reader);
    return broken;
}

static void one(unsigned how, struct slice body)
{
    enum what what = how & 7;
    if (what == TIME) {
        bench_pass(&bench, (body.len ? (uint8_t)*body.data : 1) * 20 * BENCH_MS);
        return;
    }
    uint64_t digest = store_digest(node->store);
    unsigned status = ask(how, what, body);
    require(status == 200 || status == 400 || status == 409 || status == 413 || status == 503 ||
            status == 507);
    if (what == MERGE && status != 200 && !(how & STRANGER) && breaks_at_once(body))
        require(store_digest(node->store) == digest);
}

static void begin(void)
{
    bench_start(&bench);
    node = bench_node(&bench, 1);
    bench_settle(&bench);
    require(ask(0, MEMBERS, slice_of(hello)) == 200);
    require(node->cluster->members.count == 2);
}

static void end(void)
{
    node_destroy(node);
    bench_end(&bench);
    client = -1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    begin();
    for (size_t at = 0; at + HEAD_BYTES <= size;) {
        size_t len = (size_t)data[at + 1] << 8 | data[at + 2], left = size - at - HEAD_BYTES;
        len = len < left ? len : left;
        one(data[at], (struct slice){(const char *)data + at + HEAD_BYTES, len});
        at += HEAD_BYTES + len;
    }
    end();
    return 0;
}

/* Half of the merges get frames whose checks fit. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed)
{
    size = LLVMFuzzerMutate(data, size, size_max);
    if (seed % 2)
        script_mend(data, size, 1u << MERGE);
    return size;
}
