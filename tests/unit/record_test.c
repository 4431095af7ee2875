#include "data/record.h"

#include "data/hash.h"
#include "data/wire.h"
#include "records.h"

static struct heap *heap;

static int set_up(void **state)
{
    (void)state;
    heap = heap_new(0);
    return heap ? 0 : -1;
}

/* Whatever a test did, it gave all of it back. */
static int tear_down(void **state)
{
    (void)state;
    uint64_t used = heap_used(heap);
    heap_destroy(heap);
    return used == 0 ? 0 : -1;
}

static struct record *must(const struct said *said)
{
    struct record *record = said_record(heap, said);
    if (!record)
        abort();
    return record;
}

static char bytes[270000];

static void fill_bytes(void)
{
    struct chance chance = chance_start(8);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)chance_next(&chance);
}

/* Calls `each` with every combination of lengths, flags and expiry. */
static void for_all_layouts(void (*each)(const struct said *said))
{
    static const size_t keys[] = {1, 2, 7, 8, 9, 255, 256, 4096};
    static const size_t types[] = {0, 1, 10, 254, 255};
    static const size_t values[] = {0, 1, 8, 127, 128, 129, 130, 1000, 65536};
    fill_bytes();
    for (size_t k = 0; k < COUNT(keys); k++) {
        struct said said = {.key = {bytes, keys[k]}, .version = 5, .tombstone = true};
        each(&said);
        for (size_t t = 0; t < COUNT(types); t++)
            for (size_t v = 0; v < COUNT(values); v++)
                for (uint64_t expires = 0; expires < 2; expires++) {
                    said = (struct said){.key = {bytes, keys[k]},
                                         .type = {bytes + 5000, types[t]},
                                         .value = {bytes + 1, values[v]},
                                         .version = UINT64_MAX - 3,
                                         .expires_us = expires ? UINT64_MAX - 7 : 0};
                    each(&said);
                }
    }
}

static void check_layout(const struct said *said)
{
    struct record *record = must(said);
    assert_true(record_says(record, said));
    assert_int_equal(record->references, 1);
    assert_int_equal((uintptr_t)record % 8, 0);
    assert_int_equal(heap_used(heap), record_footprint(record));

    /* All of it is inside, and nothing overlaps. */
    const char *start = (const char *)record, *at = record_key(record).data;
    assert_true(at >= record->rest);
    assert_ptr_equal(record_type(record).data, at + said->key.len);
    assert_ptr_equal(record_value(record).data, at + said->key.len + said->type.len);
    assert_ptr_equal(record_value_room(record), record_value(record).data);
    const char *end = record_value(record).data + said->value.len;
    assert_true((size_t)(end - start) <= record_footprint(record));
    assert_true(heap_footprint((size_t)(end - start)) == record_footprint(record));

    const struct record_due *due = record_due(record);
    assert_int_equal(due != NULL, said->expires_us != 0);
    if (due) {
        assert_int_equal((uintptr_t)due % _Alignof(struct record_due), 0);
        assert_true((const char *)due >= record->rest && (const char *)(due + 1) <= at);
        assert_true(due->due_us == said->expires_us);
        assert_null(due->at);
    }
    record_release(heap, record);
    assert_int_equal(heap_used(heap), 0);
}

static void test_layouts(void **state)
{
    (void)state;
    for_all_layouts(check_layout);
}

/* A record costs no more beside its bytes than was promised. */
static void test_small_records_are_small(void **state)
{
    (void)state;
    struct said said = {.key = {bytes, 16}, .value = {bytes, 100}};
    struct record *record = must(&said);
    assert_true(record_footprint(record) <= 16 + 100 + sizeof(struct record) + 8);
    assert_true(sizeof(struct record) <= RECORD_LINK_BYTES + 24);
    record_release(heap, record);
}

/* The formula of docs/http.md, in other words. */
static uint64_t digest_of(const struct said *said)
{
    static char content[300000];
    unsigned char words[32];
    size_t used = 0;
    const struct slice parts[] = {said->key, said->type, said->value};
    for (int i = 0; i < 3; i++) {
        if (parts[i].len)
            memcpy(content + used, parts[i].data, parts[i].len);
        used += parts[i].len;
    }
    uint64_t hash = hash_bytes(content, used < 65536 ? used : 65536);
    for (size_t at = 65536; at < used; at += 65536)
        hash = hash_seeded(content + at, used - at < 65536 ? used - at : 65536, hash);
    uint64_t numbers[4] = {hash, said->version, said->expires_us,
                           (uint64_t)said->value.len << 32 | said->key.len << 16 |
                               said->type.len << 8 | (said->tombstone ? 1 : 0) |
                               (said->expires_us ? 2 : 0)};
    for (int i = 0; i < 32; i++)
        words[i] = (unsigned char)(numbers[i / 8] >> (8 * (i % 8)));
    return hash_bytes(words, sizeof words);
}

static void check_digest(const struct said *said)
{
    struct record *record = must(said);
    assert_true(record_digest(record) == digest_of(said));
    record_release(heap, record);
}

static void test_digest_is_as_documented(void **state)
{
    (void)state;
    for_all_layouts(check_digest);
    struct said pear = {.key = SLICE("pear"),
                        .type = SLICE("text/plain"),
                        .value = SLICE("green"),
                        .version = 1700000000000000};
    struct record *record = must(&pear);
    assert_true(record_digest(record) == 0x877a65d1e81a6e87);
    record_release(heap, record);
}

/* A value that comes in piece by piece is hashed on the way, whole blocks at a time, and comes to the
 * same as one that was there at once; also when its record is resized in between, as the room of a
 * value of unknown length is. */
static void check_blocks(size_t total, bool grows, struct chance *chance)
{
    struct said said = {.key = SLICE("the key"), .type = SLICE("a/type"), .version = 3};
    said.value = (struct slice){bytes, total - said.key.len - said.type.len};
    struct record_form form = {.key = said.key, .type = said.type, .version = 3};
    form.value_bytes = grows ? 1000 : said.value.len;
    struct record *record = record_new(heap, &form, HEAP_NORMAL), *at_once = must(&said);
    size_t filled = 0, hashed = 0;
    while (filled < said.value.len) {
        if (filled == record->value_bytes) {
            size_t room = 2 * filled < said.value.len ? 2 * filled : said.value.len + 99;
            record = record_resize(heap, record, room, filled);
            assert_non_null(record);
        }
        size_t room = record->value_bytes - filled, left = said.value.len - filled;
        size_t piece = 1 + chance_below(chance, chance_once_in(chance, 2) ? 100000 : 5000);
        piece = piece < room ? piece : room;
        piece = piece < left ? piece : left;
        memcpy(record_value_room(record) + filled, bytes + filled, piece);
        filled += piece;
        size_t before = hashed;
        hashed = record_hash_blocks(record, filled, hashed);
        assert_true(hashed >= before && hashed <= filled + said.key.len + said.type.len);
    }
    if (record->value_bytes != filled)
        record = record_resize(heap, record, filled, filled);
    assert_non_null(record);
    record_seal_rest(record, hashed);
    check(record_digest(record) == digest_of(&said), "%zu bytes", total);
    check(record_digest(at_once) == digest_of(&said), "%zu bytes", total);
    check(record_compare(record, at_once) == 0, "%zu bytes", total);
    record_release(heap, record);
    record_release(heap, at_once);
}

static void test_blocks(void **state)
{
    (void)state;
    struct chance chance = chance_start(31);
    fill_bytes();
    for (size_t blocks = 0; blocks <= 4; blocks++)
        for (size_t by = 0; by < 5; by++)
            for (int grows = 0; grows < 2; grows++) {
                static const int offsets[] = {-129, -1, 0, 1, 200};
                size_t around = blocks * RECORD_BLOCK_BYTES;
                if (around == 0 && offsets[by] < 100)
                    continue;
                for (int round = 0; round < 4; round++)
                    check_blocks(around + (size_t)(int64_t)offsets[by], grows, &chance);
            }
}

/* Everything that a record can say, in little: also bytes that move over the borders of key, type
 * and value. */
static unsigned small_world(struct said *out)
{
    static const struct slice keys[] = {{"a", 1}, {"b", 1}, {"ab", 2}, {"a\0", 2}};
    static const struct slice texts[] = {{"", 0}, {"a", 1}, {"b", 1}, {"ab", 2}, {"\0", 1}};
    unsigned count = 0;
    for (size_t k = 0; k < COUNT(keys); k++)
        for (uint64_t version = 1; version < 3; version++) {
            out[count++] = (struct said){.key = keys[k], .version = version, .tombstone = true};
            for (size_t t = 0; t < COUNT(texts); t++)
                for (size_t v = 0; v < COUNT(texts); v++)
                    for (uint64_t expires = 0; expires < 3; expires++)
                        out[count++] = (struct said){.key = keys[k],
                                                     .type = texts[t],
                                                     .value = texts[v],
                                                     .version = version,
                                                     .expires_us = expires};
        }
    return count;
}

/* Equal digests exactly when the same is said; the same of record_compare for one key. */
static void test_digests_tell_records_apart(void **state)
{
    (void)state;
    static struct said said[1000];
    static struct record *records[1000], *again[1000];
    unsigned count = small_world(said);
    for (unsigned i = 0; i < count; i++) {
        records[i] = must(&said[i]);
        again[i] = must(&said[i]);
    }
    for (unsigned i = 0; i < count; i++)
        for (unsigned j = 0; j < count; j++) {
            bool same = said_equal(&said[i], &said[j]);
            check((record_digest(records[i]) == record_digest(again[j])) == same, "%u, %u", i, j);
            if (slice_equal(said[i].key, said[j].key))
                check((record_compare(records[i], again[j]) == 0) == same, "%u, %u", i, j);
        }
    for (unsigned i = 0; i < count; i++) {
        record_release(heap, records[i]);
        record_release(heap, again[i]);
    }
}

/* Of values whose hash is kept too: every byte counts. */
static void test_every_byte_counts(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 127, 128, 129, 300, 600};
    char value[600] = {0};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        struct said said = {.key = SLICE("key"), .value = {value, sizes[i]}};
        struct record *plain = must(&said);
        for (size_t at = 0; at < sizes[i]; at++) {
            value[at] = 1;
            struct record *other = must(&said);
            check(record_digest(plain) != record_digest(other), "%zu of %zu", at, sizes[i]);
            record_release(heap, other);
            value[at] = 0;
        }
        record_release(heap, plain);
    }
}

static void test_seal_after_filling(void **state)
{
    (void)state;
    for (size_t size = 100; size < 200; size++) {
        struct said said = {.key = SLICE("key"), .value = {bytes, size}, .version = 9};
        struct record_form form = {.key = said.key, .value_bytes = size, .version = 9};
        struct record *record = record_new(heap, &form, HEAP_NORMAL), *wanted = must(&said);
        memset(record_value_room(record), 'x', size);
        record_seal(record);
        memcpy(record_value_room(record), bytes, size);
        record_seal(record);
        assert_true(record_digest(record) == record_digest(wanted));
        assert_int_equal(record_compare(record, wanted), 0);
        record_release(heap, record);
        record_release(heap, wanted);
    }
}

/* The version may be set after sealing: a write is stamped when it goes in. */
static void test_version_after_sealing(void **state)
{
    (void)state;
    for (size_t size = 0; size < 300; size += 50) {
        struct said said = {.key = SLICE("key"), .value = {bytes, size}, .version = 1};
        struct record *early = must(&said);
        said.version = 2;
        struct record *late = must(&said);
        early->version = 2;
        assert_true(record_digest(early) == record_digest(late));
        record_release(heap, early);
        record_release(heap, late);
    }
}

static void check_resize(size_t from, size_t to, size_t filled, uint64_t expires_us)
{
    struct said said = {.key = SLICE("the key"),
                        .type = SLICE("a/type"),
                        .value = {bytes, from},
                        .version = 77,
                        .expires_us = expires_us};
    struct record *record = must(&said);
    record = record_resize(heap, record, to, filled);
    assert_non_null(record);
    assert_int_equal(record_value(record).len, to);
    if (filled)
        assert_memory_equal(record_value(record).data, bytes, filled);
    if (to)
        memcpy(record_value_room(record), bytes, to);
    record_seal(record);
    said.value.len = to;
    struct record *wanted = must(&said);
    check(record_says(record, &said), "%zu to %zu", from, to);
    check(record_digest(record) == record_digest(wanted), "%zu to %zu", from, to);
    assert_int_equal(record->references, 1);
    record_release(heap, record);
    record_release(heap, wanted);
    check(heap_used(heap) == 0, "%zu to %zu", from, to);
}

static void test_resize(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 100, 128, 129, 1000, 16384, 65536};
    fill_bytes();
    for (size_t i = 0; i < COUNT(sizes); i++)
        for (size_t j = 0; j < COUNT(sizes); j++) {
            size_t least = sizes[i] < sizes[j] ? sizes[i] : sizes[j];
            check_resize(sizes[i], sizes[j], least, 0);
            check_resize(sizes[i], sizes[j], least / 2, 12345);
            check_resize(sizes[i], sizes[j], 0, 0);
        }
}

/* A large value grows and is cut where it stands. */
static void test_large_values_are_not_copied(void **state)
{
    (void)state;
    enum { VALUE_MAX = 12 * RECORD_COPIED_MAX };
    static char large[VALUE_MAX];
    struct chance chance = chance_start(9);
    for (size_t i = 0; i < sizeof large; i++)
        large[i] = (char)chance_next(&chance);
    heap_set_growing_max(heap, record_bytes_max(VALUE_MAX));
    for (uint64_t expires_us = 0; expires_us < 2; expires_us++) {
        struct said said = {.key = {large + 9, RECORD_KEY_BYTES_MAX},
                            .type = {large + 5, RECORD_TYPE_BYTES_MAX},
                            .value = {large, RECORD_COPIED_MAX},
                            .version = 77,
                            .expires_us = expires_us};
        struct record *record = must(&said), *place = NULL;
        for (size_t value = RECORD_COPIED_MAX + 1; value <= VALUE_MAX; value += 1234567) {
            size_t filled = record->value_bytes;
            record = record_resize(heap, record, value, filled);
            assert_non_null(record);
            assert_true(!place || record == place);
            place = record;
            memcpy(record_value_room(record) + filled, large + filled, value - filled);
        }
        assert_ptr_equal(record_resize(heap, record, VALUE_MAX, record->value_bytes), place);
        said.value.len = 3 * RECORD_COPIED_MAX + 77;
        assert_ptr_equal(record_resize(heap, record, said.value.len, said.value.len), place);
        record_seal(record);
        struct record *wanted = must(&said);
        assert_true(record_says(record, &said));
        assert_true(record_digest(record) == record_digest(wanted));
        assert_int_equal(record_footprint(record), record_footprint(wanted));
        record_release(heap, record);
        record_release(heap, wanted);
    }
}

static void test_resize_without_memory_leaves_the_old_one(void **state)
{
    (void)state;
    struct heap *small = heap_new(256 * 1024);
    assert_non_null(small);
    fill_bytes();
    struct said said = {.key = SLICE("key"), .value = {bytes, 1000}};
    struct record *record = said_record(small, &said);
    assert_non_null(record);
    uint64_t used = heap_used(small);
    assert_null(record_resize(small, record, 1 << 20, 1000));
    assert_true(record_says(record, &said));
    assert_int_equal(record->references, 1);
    assert_int_equal(heap_used(small), used);
    record_release(small, record);
    heap_destroy(small);
}

static void test_no_memory(void **state)
{
    (void)state;
    struct heap *small = heap_new(256 * 1024);
    assert_non_null(small);
    struct record_form form = {.key = SLICE("key"), .value_bytes = RECORD_VALUE_BYTES_MAX};
    assert_null(record_new(small, &form, HEAP_NORMAL));
    assert_null(record_new(small, &form, HEAP_RESERVE));
    assert_int_equal(heap_used(small), 0);
    heap_destroy(small);
}

static void test_live(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint64_t expires_us, now_us;
        bool tombstone, live;
    } rows[] = {
        {"without an end", 0, 0, false, true},
        {"without an end, late", 0, UINT64_MAX, false, true},
        {"before its end", 1000, 999, false, true},
        {"at its end", 1000, 1000, false, false},
        {"behind its end", 1000, 1001, false, false},
        {"the last moment", UINT64_MAX, UINT64_MAX - 1, false, true},
        {"a tombstone", 0, 0, true, false},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct said said = {.key = SLICE("k"),
                            .version = 5,
                            .expires_us = rows[i].expires_us,
                            .tombstone = rows[i].tombstone};
        struct record *record = must(&said);
        check(record_is_live(record, rows[i].now_us) == rows[i].live, "%s", rows[i].name);
        record_release(heap, record);
    }
}

/* A tombstone of what expired knows since when, and says no other thing than one that does not. */
static void test_tombstones_of_what_expired(void **state)
{
    (void)state;
    static const struct {
        uint64_t version, expires_us, since_us;
    } rows[] = {
        {5, 0, 5}, {5, 4, 5}, {5, 6, 6}, {0, UINT64_MAX, UINT64_MAX}, {UINT64_MAX, 7, UINT64_MAX}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct said said = {.key = SLICE("k"), .version = rows[i].version, .tombstone = true};
        struct record *plain = must(&said);
        said.expires_us = rows[i].expires_us;
        struct record *expired = must(&said);
        said.expires_us = 0;
        char head[WIRE_HEAD_BYTES], plain_head[WIRE_HEAD_BYTES];
        wire_head(plain, plain_head);
        wire_head(expired, head);
        assert_memory_equal(head, plain_head, sizeof head);
        assert_true(record_says(expired, &said));
        assert_true(record_digest(expired) == record_digest(plain));
        assert_int_equal(record_compare(expired, plain), 0);
        assert_false(record_is_live(expired, 0));
        assert_true(record_since_us(expired) == rows[i].since_us);
        assert_true(record_since_us(plain) == rows[i].version);
        struct record *copy = record_copy(heap, expired);
        assert_non_null(copy);
        assert_true(record_since_us(copy) == rows[i].since_us);
        record_release(heap, plain);
        record_release(heap, expired);
        record_release(heap, copy);
    }
}

static void test_references(void **state)
{
    (void)state;
    struct said said = {.key = SLICE("k"), .value = SLICE("v")};
    struct record *record = must(&said);
    for (int i = 0; i < 1000; i++)
        record_retain(record);
    assert_int_equal(record->references, 1001);
    for (int i = 0; i < 1000; i++) {
        record_release(heap, record);
        assert_true(record_says(record, &said));
    }
    record_release(heap, record);
}

/* A copy says and is the same, links too. */
static void check_copy(const struct said *said)
{
    struct record *record = must(said);
    memset(record->links, 0x5a, sizeof record->links);
    struct record *copy = record_copy(heap, record);
    assert_non_null(copy);
    assert_true(copy != record);
    assert_memory_equal(copy->links, record->links, sizeof copy->links);
    assert_true(record_says(copy, said));
    assert_true(record_digest(copy) == record_digest(record));
    assert_int_equal(copy->references, 1);
    record_release(heap, record);
    assert_true(record_says(copy, said));
    record_release(heap, copy);
}

static void test_copies(void **state)
{
    (void)state;
    for_all_layouts(check_copy);
}

static void test_shared_records_stay_where_they_are(void **state)
{
    (void)state;
    enum { RECORDS = 20000 };
    static struct record *records[RECORDS];
    struct said said = {.key = SLICE("k"), .value = {bytes, 100}};
    for (int i = 0; i < RECORDS; i++)
        records[i] = must(&said);
    for (int i = 0; i < RECORDS; i++)
        if (i % 32)
            record_release(heap, records[i]);
    unsigned movable = 0;
    for (int i = 0; i < RECORDS; i += 32) {
        record_retain(records[i]);
        assert_false(record_should_move(heap, records[i]));
        record_release(heap, records[i]);
        movable += record_should_move(heap, records[i]);
    }
    assert_true(movable > RECORDS / 32 / 2);
    for (int i = 0; i < RECORDS; i += 32)
        record_release(heap, records[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_layouts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_small_records_are_small, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_digest_is_as_documented, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_blocks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_digests_tell_records_apart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_every_byte_counts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_seal_after_filling, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_version_after_sealing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_resize, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_large_values_are_not_copied, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_resize_without_memory_leaves_the_old_one, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_no_memory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_live, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_tombstones_of_what_expired, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_references, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_copies, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_shared_records_stay_where_they_are, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
