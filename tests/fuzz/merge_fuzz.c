/* Fuzzes the reader of /-/merge: bytes of any kind, in pieces of any size.
 *
 *   byte 0: how the rest is cut: 0 at once, 1 byte by byte, else at random from that seed
 *   the rest: the stream
 *
 * However it is cut, the outcome is the same; what comes out as a record encodes to the very bytes
 * that it came from; and nothing of it is left when the reader is freed. */
#include <stdbool.h>
#include <stdint.h>

#include "data/wire.h"
#include "frames.h"
#include "require.h"

enum { VALUE_MAX = 1 << 20 };

static const uint64_t heap_limit_bytes = 64 << 20;

struct outcome {
    enum wire_result result;
    const char *reason;
    uint64_t offset, records, since_end;
    bool at_end;
    uint64_t digests; /* of all records */
    size_t eaten;     /* bytes that were taken before it broke */
};

/* Knuth's. Good enough to cut with. */
static size_t next_piece(uint64_t *seed, size_t most)
{
    if (*seed <= 1)
        return *seed == 0 ? most : 1;
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    *seed |= 2;
    size_t piece = (size_t)(*seed >> 33) % 50 + 1;
    return piece < most ? piece : most;
}

/* The record stands in the stream, byte by byte, as it would be written. */
static void check_record(const struct record *record, struct slice stream, size_t start, size_t end)
{
    char head[WIRE_HEAD_BYTES];
    struct slice data = wire_data(record);
    wire_head(record, head);
    require(end - start == sizeof head + data.len);
    require(memcmp(stream.data + start, head, sizeof head) == 0);
    require(memcmp(stream.data + start + sizeof head, data.data, data.len) == 0);
    require(record->references == 1 && data.len > 0 && record->value_bytes <= VALUE_MAX);
}

static void feed(struct wire_reader *reader, struct slice stream, uint64_t seed,
                 struct outcome *out)
{
    *out = (struct outcome){.result = WIRE_MORE};
    while (out->eaten < stream.len && out->result != WIRE_BROKEN && out->result != WIRE_NO_ROOM) {
        size_t room, left = stream.len - out->eaten;
        uint64_t start = reader->offset;
        char *at = wire_reader_room(reader, &room);
        require(at && room > 0);
        size_t piece = next_piece(&seed, left < room ? left : room);
        memcpy(at, stream.data + out->eaten, piece);
        out->eaten += piece;
        struct record *record = NULL;
        out->result = wire_reader_filled(reader, piece, &record);
        require((record != NULL) == (out->result == WIRE_RECORD));
        require((reader->reason != NULL) ==
                (out->result == WIRE_BROKEN || out->result == WIRE_NO_ROOM));
        if (!record)
            continue;
        check_record(record, stream, (size_t)start, out->eaten);
        out->digests = out->digests * 31 + record_digest(record);
        record_release(reader->heap, record);
    }
    out->reason = reader->reason;
    out->offset = reader->offset;
    out->records = reader->records;
    out->since_end = reader->since_end;
    out->at_end = wire_reader_at_end(reader);
    require(out->offset <= out->eaten);
}

static struct outcome read_stream(struct heap *heap, struct slice stream, uint64_t seed)
{
    struct wire_reader reader;
    struct outcome out;
    wire_reader_init(&reader, heap, VALUE_MAX);
    feed(&reader, stream, seed, &out);
    wire_reader_free(&reader);
    require(heap_used(heap) == 0);
    return out;
}

static bool same(const struct outcome *a, const struct outcome *b)
{
    bool going = a->result == WIRE_MORE || a->result == WIRE_RECORD || a->result == WIRE_NOTE;
    bool going_too = b->result == WIRE_MORE || b->result == WIRE_RECORD || b->result == WIRE_NOTE;
    return going == going_too && (going || a->result == b->result) && a->reason == b->reason &&
           a->offset == b->offset && a->records == b->records && a->since_end == b->since_end &&
           a->at_end == b->at_end && a->digests == b->digests;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct heap *heap;
    if (!heap)
        heap = heap_new(heap_limit_bytes);
    if (size == 0)
        return 0;
    struct slice stream = {(const char *)data + 1, size - 1};
    struct outcome whole = read_stream(heap, stream, 0), cut = read_stream(heap, stream, data[0]);
    require(same(&whole, &cut));
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed)
{
    size = LLVMFuzzerMutate(data, size, size_max);
    if (seed % 2 && size > 1)
        frames_mend(data + 1, size - 1);
    return size;
}
