#include "data/wire.h"

#include "data/hash.h"
#include "records.h"

enum { VALUE_MAX = 1 << 20, STREAM_MAX = 1 << 20, RECORDS_MAX = 64 };

static struct heap *heap;

static int set_up(void **state)
{
    (void)state;
    heap = heap_new(0);
    return heap ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    uint64_t used = heap_used(heap);
    heap_destroy(heap);
    return used == 0 ? 0 : -1;
}

/* Writing streams */

struct stream {
    char data[STREAM_MAX];
    size_t len;
    size_t starts[RECORDS_MAX * 2]; /* of its frames, and its end */
    unsigned frames;
};

static void put(struct stream *stream, const void *bytes, size_t len)
{
    assert_true(stream->len + len <= sizeof stream->data);
    memcpy(stream->data + stream->len, bytes, len);
    stream->len += len;
}

static void put_record(struct stream *stream, const struct record *record)
{
    char head[WIRE_HEAD_BYTES];
    struct slice data = wire_data(record);
    stream->starts[stream->frames++] = stream->len;
    wire_head(record, head);
    put(stream, head, sizeof head);
    put(stream, data.data, data.len);
    stream->starts[stream->frames] = stream->len;
}

static void put_end(struct stream *stream, uint64_t count)
{
    char end[WIRE_HEAD_BYTES];
    stream->starts[stream->frames++] = stream->len;
    wire_end(count, end);
    put(stream, end, sizeof end);
    stream->starts[stream->frames] = stream->len;
}

static void put_said(struct stream *stream, const struct said *said)
{
    struct record *record = said_record(heap, said);
    assert_non_null(record);
    put_record(stream, record);
    record_release(heap, record);
}

/* Reading streams */

/* What came out, written anew, and how it ended. */
struct outcome {
    struct stream records;
    enum wire_result result;
    const char *reason;
    uint64_t offset, count;
    bool at_end;
    unsigned got;
};

static size_t piece_of(struct chance *chance, size_t most)
{
    if (!chance || chance_once_in(chance, 4))
        return most;
    return 1 + chance_below(chance, chance_once_in(chance, 2) ? most : most < 8 ? most : 8);
}

/* Feeds all of `bytes`, in pieces of `piece` (0: at random, by `chance`; without it as large as can
 * be). */
static void read_all(struct slice bytes, size_t piece, struct chance *chance, uint64_t value_max,
                     struct outcome *out)
{
    struct wire_reader reader;
    wire_reader_init(&reader, heap, value_max);
    out->records.len = out->records.frames = out->got = 0;
    out->result = WIRE_MORE;
    while (bytes.len > 0 && out->result != WIRE_BROKEN && out->result != WIRE_NO_ROOM) {
        size_t room;
        char *at = wire_reader_room(&reader, &room);
        assert_true(at && room > 0);
        size_t take = room < bytes.len ? room : bytes.len;
        take = piece && piece < take ? piece : piece_of(piece ? NULL : chance, take);
        memcpy(at, bytes.data, take);
        bytes.data += take;
        bytes.len -= take;
        struct record *record = NULL;
        out->result = wire_reader_filled(&reader, take, &record);
        assert_int_equal(record != NULL, out->result == WIRE_RECORD);
        if (record) {
            put_record(&out->records, record);
            record_release(heap, record);
            out->got++;
        }
    }
    out->reason = reader.reason;
    out->offset = reader.offset;
    out->count = reader.records;
    out->at_end = wire_reader_at_end(&reader);
    wire_reader_free(&reader);
    wire_reader_free(&reader); /* does nothing */
    assert_int_equal(heap_used(heap), 0);
    assert_int_equal(out->count, out->got);
}

static struct slice slice_of_stream(const struct stream *stream)
{
    return (struct slice){stream->data, stream->len};
}

/* A random record; small ones more often. */
static void put_random(struct stream *stream, struct chance *chance)
{
    static char bytes[20000];
    for (size_t i = 0; i < sizeof bytes; i += 16)
        bytes[i] = (char)chance_next(chance);
    size_t scale = chance_once_in(chance, 10) ? sizeof bytes : 200;
    struct said said = {
        .key = {bytes + chance_below(chance, 100), 1 + chance_below(chance, 40)},
        .version = chance_next(chance) >> chance_below(chance, 64),
        .tombstone = chance_once_in(chance, 4),
    };
    if (!said.tombstone) {
        said.type =
            (struct slice){bytes, chance_once_in(chance, 2) ? 0 : chance_below(chance, 256)};
        said.value = (struct slice){bytes, chance_below(chance, scale)};
        said.expires_us = chance_once_in(chance, 2) ? 0 : chance_next(chance);
    }
    put_said(stream, &said);
}

static void random_stream(struct stream *stream, struct chance *chance, unsigned records)
{
    stream->len = stream->frames = 0;
    for (unsigned i = 0; i < records; i++)
        put_random(stream, chance);
    put_end(stream, records);
}

/* The records of `out` are the first ones of `stream`, as many as came. */
static void check_is_prefix(const struct outcome *out, const struct stream *stream)
{
    assert_true(out->records.len <= stream->len);
    assert_memory_equal(out->records.data, stream->data, out->records.len);
}

/* The format, byte by byte */

static void test_frames(void **state)
{
    (void)state;
    static const unsigned char pear[] = {
        0x01, 0x00, 0x00, 0x04, 0x0a, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x05, 0x00, 0x06,
        0x0a, 0x24, 0x18, 0x1e, 0x40, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x87, 0x7a, 0x65, 0xd1, 0xe8, 0x1a, 0x6e, 0x87, 0x70, 0x65, 0x61, 0x72, 0x74, 0x65,
        0x78, 0x74, 0x2f, 0x70, 0x6c, 0x61, 0x69, 0x6e, 0x67, 0x72, 0x65, 0x65, 0x6e, 0x01,
        0x80, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xea,
        0xbd, 0xe6, 0xe5, 0x9b, 0xf9, 0x9c, 0x7e}; /* of docs/http.md */
    static struct stream stream;
    struct said said = {.key = SLICE("pear"),
                        .type = SLICE("text/plain"),
                        .value = SLICE("green"),
                        .version = 1700000000000000};
    stream.len = stream.frames = 0;
    put_said(&stream, &said);
    put_end(&stream, 1);
    assert_int_equal(stream.len, sizeof pear);
    assert_memory_equal(stream.data, pear, sizeof pear);
}

static void test_head_of_what_expires_and_of_tombstones(void **state)
{
    (void)state;
    static struct stream stream;
    char big[300];
    memset(big, 'v', sizeof big);
    struct said said = {.key = SLICE("k"),
                        .value = {big, sizeof big},
                        .version = 0x0102030405060708,
                        .expires_us = 0x1112131415161718};
    stream.len = stream.frames = 0;
    put_said(&stream, &said);
    assert_memory_equal(
        stream.data, "\1\2\0\1\0\0\0\0\0\0\1\x2c\1\2\3\4\5\6\7\x08\x11\x12\x13\x14\x15\x16\x17\x18",
        28);
    assert_memory_equal(stream.data + WIRE_HEAD_BYTES, "kvvv", 4);
    said = (struct said){.key = SLICE("gone"), .version = 255, .tombstone = true};
    stream.len = stream.frames = 0;
    put_said(&stream, &said);
    assert_memory_equal(stream.data, "\1\1\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xff\0\0\0\0\0\0\0\0",
                        28);
    assert_int_equal(stream.len, WIRE_HEAD_BYTES + 4);
}

/* Good streams */

static void test_round_trips(void **state)
{
    (void)state;
    static struct stream stream;
    static struct outcome out;
    struct chance chance = chance_start(12);
    for (unsigned round = 0; round < 300; round++) {
        unsigned records = (unsigned)chance_below(&chance, 12);
        random_stream(&stream, &chance, records);
        read_all(slice_of_stream(&stream), 0, &chance, VALUE_MAX, &out);
        check(out.result == WIRE_MORE && out.at_end, "round %u: %s", round, out.reason);
        assert_int_equal(out.got, records);
        assert_int_equal(out.offset, stream.len);
        put_end(&out.records, records);
        assert_int_equal(out.records.len, stream.len);
        assert_memory_equal(out.records.data, stream.data, stream.len);
    }
}

static void test_the_largest_of_everything(void **state)
{
    (void)state;
    static struct stream stream;
    static struct outcome out;
    static char bytes[600000];
    memset(bytes, 'x', sizeof bytes);
    struct said said = {.key = {bytes, RECORD_KEY_BYTES_MAX},
                        .type = {bytes, RECORD_TYPE_BYTES_MAX},
                        .value = {bytes, sizeof bytes},
                        .version = UINT64_MAX,
                        .expires_us = UINT64_MAX};
    stream.len = stream.frames = 0;
    put_said(&stream, &said);
    said = (struct said){
        .key = {bytes, RECORD_KEY_BYTES_MAX}, .version = UINT64_MAX, .tombstone = true};
    put_said(&stream, &said);
    said = (struct said){.key = {bytes, 1}};
    put_said(&stream, &said);
    put_end(&stream, 3);
    for (size_t piece = 0; piece < 5000; piece += 1237) {
        read_all(slice_of_stream(&stream), piece, NULL, sizeof bytes, &out);
        assert_int_equal(out.got, 3);
        assert_true(out.at_end);
        check_is_prefix(&out, &stream);
    }
}

static void test_streams_follow_one_another(void **state)
{
    (void)state;
    static struct stream stream;
    static struct outcome out;
    struct chance chance = chance_start(13);
    for (unsigned round = 0; round < 50; round++) {
        unsigned all = 0;
        stream.len = stream.frames = 0;
        for (size_t streams = chance_below(&chance, 6); streams > 0; streams--) {
            unsigned records = (unsigned)chance_below(&chance, 4);
            for (unsigned i = 0; i < records; i++)
                put_random(&stream, &chance);
            put_end(&stream, records); /* counts its own alone */
            all += records;
        }
        read_all(slice_of_stream(&stream), 0, &chance, VALUE_MAX, &out);
        check(out.at_end && out.result == WIRE_MORE, "round %u: %s", round, out.reason);
        assert_int_equal(out.got, all);
    }
}

/* Byte by byte, in any pieces, and at once: all the same. */
static void test_pieces(void **state)
{
    (void)state;
    static struct stream stream;
    static struct outcome whole, out;
    struct chance chance = chance_start(14);
    random_stream(&stream, &chance, 5);
    for (int damaged = 0; damaged < 2; damaged++) {
        if (damaged)
            stream.data[stream.starts[3] + WIRE_HEAD_BYTES] ^= 1;
        read_all(slice_of_stream(&stream), 0, NULL, VALUE_MAX, &whole);
        for (size_t piece = 1; piece < 200; piece++) {
            read_all(slice_of_stream(&stream), piece < 100 ? piece : 0, &chance, VALUE_MAX, &out);
            check(out.result == whole.result && out.got == whole.got && out.at_end == whole.at_end,
                  "pieces of %zu", piece);
            check(out.offset == whole.offset && out.reason == whole.reason, "pieces of %zu", piece);
            assert_int_equal(out.records.len, whole.records.len);
        }
        assert_int_equal(whole.got, damaged ? 3 : 5);
    }
}

/* Else who sends a large value holds all others up for as long as it takes to hash it, in the turn in which its last byte comes. */
static void test_a_large_value_is_hashed_as_it_comes(void **state)
{
    (void)state;
    enum {
        VALUE_BYTES = 5 * RECORD_BLOCK_BYTES - 4
    }; /* with its key whole blocks, and a bit more */
    static char value[VALUE_BYTES];
    for (size_t piece = 1; piece < 3 * RECORD_BLOCK_BYTES; piece = piece * 3 + 1) {
        memset(value, (int)piece, sizeof value);
        struct said said = {.key = SLICE("key"),
                            .type = SLICE("t/x"),
                            .value = {value, sizeof value},
                            .version = 9};
        struct record *record = said_record(heap, &said), *out = NULL;
        struct wire_reader reader;
        char head[WIRE_HEAD_BYTES];
        size_t room, at = 0;
        assert_non_null(record);
        wire_head(record, head);
        wire_reader_init(&reader, heap, VALUE_BYTES);
        memcpy(wire_reader_room(&reader, &room), head, sizeof head);
        assert_int_equal(wire_reader_filled(&reader, sizeof head, &out), WIRE_MORE);
        for (struct slice data = wire_data(record); at < data.len && !out;) {
            char *to = wire_reader_room(&reader, &room);
            size_t take = piece < room ? piece : room;
            memcpy(to, data.data + at, take);
            at += take;
            enum wire_result result = wire_reader_filled(&reader, take, &out);
            assert_int_equal(result, at < data.len ? WIRE_MORE : WIRE_RECORD);
            assert_true(out || at - reader.hashed < RECORD_BLOCK_BYTES);
        }
        assert_true(out && record_says(out, &said));
        assert_true(record_digest(out) == record_digest(record));
        record_release(heap, out);
        record_release(heap, record);
        wire_reader_free(&reader);
    }
}

/* Bad streams */

/* Cut anywhere, what came whole is out, and the rest is missed. */
static void test_every_truncation(void **state)
{
    (void)state;
    static struct stream stream;
    static struct outcome out;
    struct chance chance = chance_start(15);
    random_stream(&stream, &chance, 3);
    for (unsigned i = 0; i < 2; i++)
        put_random(&stream, &chance);
    put_end(&stream, 2);
    for (size_t len = 0; len <= stream.len; len++) {
        unsigned frames = 0;
        while (frames < stream.frames && stream.starts[frames + 1] <= len)
            frames++;
        read_all((struct slice){stream.data, len}, 0, &chance, VALUE_MAX, &out);
        check(out.result == WIRE_MORE || out.result == WIRE_RECORD || len == 0, "at %zu", len);
        check(out.at_end == (len == 0 || len == stream.starts[4] || len == stream.len), "at %zu",
              len);
        check(out.got == (frames >= 7 ? 5 : frames > 3 ? frames - 1 : frames), "at %zu", len);
        check(out.offset == stream.starts[frames], "at %zu: %llu", len,
              (unsigned long long)out.offset);
    }
}

/* No flipped bit goes unnoticed, and no record comes out that was not put in. */
static void test_every_flipped_bit(void **state)
{
    (void)state;
    static struct stream good, stream;
    static struct outcome out;
    struct chance chance = chance_start(16);
    good.len = good.frames = 0;
    struct said said = {
        .key = SLICE("key"), .type = SLICE("t"), .value = SLICE("some value"), .version = 3};
    put_said(&good, &said);
    said.expires_us = 1ULL << 50;
    put_said(&good, &said);
    static char large[200];
    said =
        (struct said){.key = SLICE("large"), .value = {large, sizeof large}, .version = 1ULL << 50};
    put_said(&good, &said);
    said = (struct said){.key = SLICE("gone"), .version = 4, .tombstone = true};
    put_said(&good, &said);
    put_end(&good, 4);
    for (size_t bit = 0; bit < good.len * 8; bit++) {
        memcpy(stream.data, good.data, good.len);
        stream.data[bit / 8] = (char)(stream.data[bit / 8] ^ 1 << bit % 8);
        read_all((struct slice){stream.data, good.len}, 0, &chance, VALUE_MAX, &out);
        check(out.result == WIRE_BROKEN || !out.at_end, "bit %zu", bit);
        check((out.result == WIRE_BROKEN) == (out.reason != NULL), "bit %zu", bit);
        check_is_prefix(&out, &good);
        unsigned frame = 0;
        while (good.starts[frame + 1] <= bit / 8)
            frame++;
        check(out.got == frame, "bit %zu: %u records", bit, out.got);
        check(out.offset == good.starts[frame], "bit %zu: at %llu", bit,
              (unsigned long long)out.offset);
    }
}

/* Heads that make no sense, each of the kind "byte `at` is `value`" in a head that was good. */
static void test_bad_heads(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        unsigned at, bytes;
        uint64_t value;
        bool tombstone, expires;
    } rows[] = {
        {"no format", 0, 1, 0, false, false},
        {"the next format", 0, 1, 2, false, false},
        {"a flag that nobody knows", 1, 1, 4, false, false},
        {"another one", 1, 1, 8, false, false},
        {"another one", 1, 1, 16, false, false},
        {"another one", 1, 1, 32, false, false},
        {"another one", 1, 1, 64, false, false},
        {"an end that is a tombstone", 1, 1, 129, true, false},
        {"an end that expires", 1, 1, 130, false, true},
        {"a tombstone that expires", 1, 1, 3, true, false},
        {"a tombstone with a time", 20, 8, 5, true, false},
        {"a tombstone with a value", 8, 4, 1, true, false},
        {"a tombstone with a type", 4, 1, 1, true, false},
        {"a value turned tombstone", 1, 1, 1, false, false},
        {"it expires, but at no time", 1, 1, 2, false, false},
        {"it does not expire, but at a time", 20, 8, 5, false, false},
        {"it expired, and at no time", 20, 8, 0, false, true},
        {"no key", 2, 2, 0, false, false},
        {"a key that is too long", 2, 2, 4097, false, false},
        {"the longest key there could be", 2, 2, 65535, false, false},
        {"a tombstone's key that is too long", 2, 2, 4097, true, false},
        {"something where nothing is yet", 5, 1, 1, false, false},
        {"something where nothing is yet", 6, 1, 128, false, false},
        {"something where nothing is yet", 7, 1, 1, true, false},
        {"a value of 2 GiB", 8, 4, 2147483648, false, false},
        {"a value of 4 GiB", 8, 4, 4294967295, false, false},
    };
    static struct stream stream;
    static struct outcome out;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct said said = {.key = SLICE("key"),
                            .version = 7,
                            .tombstone = rows[i].tombstone,
                            .expires_us = rows[i].expires ? 99 : 0};
        stream.len = stream.frames = 0;
        put_said(&stream, &said);
        put_said(&stream, &said);
        for (unsigned byte = 0; byte < rows[i].bytes; byte++)
            stream.data[stream.starts[1] + rows[i].at + byte] =
                (char)(rows[i].value >> 8 * (rows[i].bytes - 1 - byte));
        read_all(slice_of_stream(&stream), 0, NULL, UINT64_MAX, &out);
        check(out.result == WIRE_BROKEN && out.reason, "%s", rows[i].name);
        check(out.got == 1 && out.offset == stream.starts[1], "%s", rows[i].name);
        check(!out.at_end, "%s", rows[i].name);
    }
}

/* An end frame whose check fits, but that says what it should not. */
static void test_bad_ends(void **state)
{
    (void)state;
    static struct stream stream;
    static struct outcome out;
    struct said said = {.key = SLICE("key")};
    for (unsigned records = 0; records < 3; records++)
        for (unsigned counted = 0; counted < 4; counted++) {
            stream.len = stream.frames = 0;
            for (unsigned i = 0; i < records; i++)
                put_said(&stream, &said);
            put_end(&stream, counted);
            read_all(slice_of_stream(&stream), 0, NULL, VALUE_MAX, &out);
            check(out.at_end == (records == counted), "%u for %u", counted, records);
            check((out.result == WIRE_BROKEN) == (records != counted), "%u for %u", counted,
                  records);
            assert_int_equal(out.got, records);
        }
    for (unsigned at = 2; at < 28; at++) {
        char *end = stream.data;
        stream.len = stream.frames = 0;
        put_end(&stream, 0);
        end[at] = 1;
        uint64_t check_word = hash_bytes(end, 28);
        for (int i = 0; i < 8; i++)
            end[28 + i] = (char)(check_word >> 8 * (7 - i));
        read_all(slice_of_stream(&stream), 0, NULL, VALUE_MAX, &out);
        check(out.result == WIRE_BROKEN && out.reason && !out.at_end, "byte %u", at);
    }
}

static void test_ends_after_the_whole(void **state)
{
    (void)state;
    static struct stream stream;
    static struct outcome out;
    struct said said = {.key = SLICE("key")};
    stream.len = stream.frames = 0;
    put_said(&stream, &said);
    put_end(&stream, 1);
    put_said(&stream, &said);
    put_end(&stream, 2); /* of all: but a stream counts its own */
    read_all(slice_of_stream(&stream), 0, NULL, VALUE_MAX, &out);
    assert_int_equal(out.result, WIRE_BROKEN);
    assert_int_equal(out.got, 2);
    assert_int_equal(out.offset, stream.starts[3]);
    read_all((struct slice){0}, 0, NULL, VALUE_MAX, &out);
    assert_true(out.at_end); /* an empty stream */
}

static void test_random_bytes_are_no_stream(void **state)
{
    (void)state;
    static char noise[3000];
    static struct outcome out;
    struct chance chance = chance_start(17);
    for (int round = 0; round < 3000; round++) {
        size_t len = 1 + chance_below(&chance, sizeof noise);
        for (size_t i = 0; i < len; i++)
            noise[i] = (char)(chance_once_in(&chance, 2) ? 0 : chance_next(&chance));
        noise[0] = chance_once_in(&chance, 8) ? noise[0] : 1;
        if (len > 8 && chance_once_in(&chance, 2))
            memcpy(noise, "\1\0\0\1\0\0\0\0\0", 9);
        read_all((struct slice){noise, len}, 0, &chance, VALUE_MAX, &out);
        check(out.got == 0 && !out.at_end, "round %d", round);
    }
}

/* Limits */

static void test_value_max(void **state)
{
    (void)state;
    static struct stream stream;
    static struct outcome out;
    static const char value[1000] = {0};
    for (size_t size = 0; size < sizeof value; size += 111) {
        struct said said = {.key = SLICE("key"), .value = {value, size}};
        stream.len = stream.frames = 0;
        put_said(&stream, &said);
        put_end(&stream, 1);
        read_all(slice_of_stream(&stream), 0, NULL, size, &out);
        assert_true(out.at_end);
        if (size == 0)
            continue;
        read_all(slice_of_stream(&stream), 0, NULL, size - 1, &out);
        assert_int_equal(out.result, WIRE_BROKEN);
        assert_non_null(strstr(out.reason, "--value-max"));
        assert_int_equal(out.offset, 0);
        assert_int_equal(out.got, 0);
    }
}

static void test_heap_that_is_full(void **state)
{
    (void)state;
    static struct stream stream;
    static char value[100000];
    struct said said = {.key = SLICE("key"), .value = {value, sizeof value}};
    stream.len = stream.frames = 0;
    put_said(&stream, &said);
    struct heap *small = heap_new(64 * 1024);
    struct wire_reader reader;
    struct record *record = NULL;
    size_t room;
    assert_non_null(small);
    wire_reader_init(&reader, small, VALUE_MAX);
    memcpy(wire_reader_room(&reader, &room), stream.data, WIRE_HEAD_BYTES);
    assert_int_equal(wire_reader_filled(&reader, WIRE_HEAD_BYTES, &record), WIRE_NO_ROOM);
    assert_non_null(strstr(reader.reason, "--memory-max"));
    assert_null(record);
    assert_int_equal(reader.offset, 0);
    assert_false(wire_reader_at_end(&reader));
    wire_reader_free(&reader);
    assert_int_equal(heap_used(small), 0);
    heap_destroy(small);
}

/* Notes */

static void put_note(struct stream *stream, struct slice text)
{
    char head[WIRE_HEAD_BYTES];
    stream->starts[stream->frames++] = stream->len;
    wire_note(text, head);
    put(stream, head, sizeof head);
    put(stream, text.data, text.len);
    stream->starts[stream->frames] = stream->len;
}

static struct stream noted;

/* A record between notes; the last one is as long as one may be. */
static struct slice stream_with_notes(void)
{
    static char longest[WIRE_NOTE_BYTES_MAX];
    const struct said pear = {.key = SLICE("pear"), .value = SLICE("green"), .version = 7};
    noted.len = noted.frames = 0;
    memset(longest, 'x', sizeof longest);
    put_note(&noted, SLICE("a note\n"));
    put_said(&noted, &pear);
    put_note(&noted, SLICE("b"));
    put_end(&noted, 1);
    put_note(&noted, (struct slice){longest, sizeof longest});
    return slice_of_stream(&noted);
}

static void test_notes_are_passed_over(void **state)
{
    (void)state;
    static struct outcome out;
    struct chance chance = chance_start(3);
    struct slice bytes = stream_with_notes();
    for (unsigned round = 0; round < 100; round++) {
        read_all(bytes, round % 7, &chance, VALUE_MAX, &out);
        check(out.result == WIRE_NOTE && out.at_end, "round %u: %s", round, out.reason);
        assert_int_equal(out.got, 1);
        assert_int_equal(out.offset, bytes.len);
    }
}

/* A note that is cut or damaged is noticed, wherever that is. */
static void test_bad_notes(void **state)
{
    (void)state;
    static struct outcome out;
    struct slice bytes = stream_with_notes();
    for (size_t len = noted.starts[3]; len < bytes.len; len++) {
        read_all((struct slice){bytes.data, len}, 0, NULL, VALUE_MAX, &out);
        check(!out.at_end || len == noted.starts[4], "cut at %zu", len);
    }
    for (size_t at = noted.starts[0]; at < noted.starts[1] * 8; at++) {
        noted.data[at / 8] ^= (char)(1 << at % 8);
        read_all(bytes, 0, NULL, VALUE_MAX, &out);
        check(out.result == WIRE_BROKEN || !out.at_end, "bit %zu", at);
        noted.data[at / 8] ^= (char)(1 << at % 8);
    }
}

/* A note's frame makes no sense by itself, whatever its check and its text may be. */
static void test_bad_heads_of_notes(void **state)
{
    (void)state;
    static const struct {
        unsigned at, bytes;
        uint64_t value;
    } rows[] = {{2, 2, 1},     {4, 1, 1},         {5, 1, 1}, {7, 1, 1},
                {12, 8, 1},    {20, 8, 1},        {8, 4, 0}, {8, 4, WIRE_NOTE_BYTES_MAX + 1},
                {8, 4, 65536}, {8, 4, UINT32_MAX}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct wire_reader reader;
        struct record *record = NULL;
        size_t room;
        char head[WIRE_HEAD_BYTES];
        wire_note(SLICE("x"), head);
        for (unsigned byte = 0; byte < rows[i].bytes; byte++)
            head[rows[i].at + byte] = (char)(rows[i].value >> 8 * (rows[i].bytes - 1 - byte));
        wire_reader_init(&reader, heap, VALUE_MAX);
        memcpy(wire_reader_room(&reader, &room), head, sizeof head);
        check(wire_reader_filled(&reader, sizeof head, &record) == WIRE_BROKEN, "row %zu", i);
        check(reader.reason && !record && !wire_reader_at_end(&reader), "row %zu", i);
        wire_reader_free(&reader);
    }
}

static void test_note_is_told(void **state)
{
    (void)state;
    struct wire_reader reader;
    struct record *record = NULL;
    struct slice bytes = stream_with_notes();
    wire_reader_init(&reader, heap, VALUE_MAX);
    size_t room;
    memcpy(wire_reader_room(&reader, &room), bytes.data, WIRE_HEAD_BYTES);
    assert_int_equal(room, WIRE_HEAD_BYTES);
    assert_int_equal(wire_reader_filled(&reader, room, &record), WIRE_MORE);
    assert_false(wire_reader_at_end(&reader));
    memcpy(wire_reader_room(&reader, &room), bytes.data + WIRE_HEAD_BYTES, 7);
    assert_int_equal(room, 7);
    assert_int_equal(wire_reader_filled(&reader, room, &record), WIRE_NOTE);
    check_slice(reader.note, SLICE("a note\n"), "the note");
    assert_true(wire_reader_at_end(&reader));
    wire_reader_free(&reader);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_frames, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_head_of_what_expires_and_of_tombstones, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_round_trips, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_largest_of_everything, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_streams_follow_one_another, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_pieces, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_large_value_is_hashed_as_it_comes, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_every_truncation, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_every_flipped_bit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bad_heads, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bad_ends, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_ends_after_the_whole, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_random_bytes_are_no_stream, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_value_max, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_heap_that_is_full, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_notes_are_passed_over, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bad_notes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bad_heads_of_notes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_note_is_told, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
