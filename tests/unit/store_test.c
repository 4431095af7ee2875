/* Linked with --wrap for heap_alloc: see failing.h. */
#include "data/store.h"

#include "failing.h"
#include "records.h"

enum { KEYS = 240, KEY_BYTES = 16, VALUE_BYTES_MAX = 300 };

static const uint64_t second_us = 1000000;
static const uint64_t noon_us = 1795348800000000; /* 2026-11-22T12:00:00Z */
static const uint64_t grace_us = 3600 * UINT64_C(1000000);

/* The model: what each key should have, and when it last changed. */
struct entry {
    char name[KEY_BYTES];
    struct said said; /* its value stands in value */
    char value[VALUE_BYTES_MAX];
    bool has;
    uint64_t changed; /* counts changes; 0 for never */
};

/* A store beside its model. */
struct pair {
    struct store_observer observer; /* first, so that an observer leads here */
    struct store *store;
    struct entry entries[KEYS];
    uint64_t changes;
    uint64_t now_us;
    uint64_t drops; /* that the observer has heard of */
    struct store_counts counts;
    bool may_expire; /* values that have expired may become tombstones now */
    int expected;    /* the key that may change now, or -1 */
};

static struct pair pair, other;

static struct slice name_of(const struct entry *entry)
{
    return slice_of(entry->name);
}

static struct store_key key_of(const struct pair *in, unsigned i)
{
    return store_key(in->store, name_of(&in->entries[i]));
}

/* Keys that share few shards, so that order and growth within a shard are tried; and some that do
 * not. */
static void name_keys(struct pair *in)
{
    enum { SHARDS = 4 };
    static char names[KEYS][KEY_BYTES]; /* found once */
    if (names[0][0]) {
        for (unsigned i = 0; i < KEYS; i++)
            memcpy(in->entries[i].name, names[i], KEY_BYTES);
        return;
    }
    unsigned named = 0, number = 0;
    for (uint32_t wanted = 0; wanted < SHARDS; wanted++)
        while (named < (KEYS - 12) / SHARDS * (wanted + 1)) {
            char name[KEY_BYTES];
            snprintf(name, sizeof name, "key%u", number++);
            uint32_t shard = store_key(in->store, slice_of(name)).shard;
            if (shard == wanted * (STORE_SHARDS / SHARDS))
                memcpy(in->entries[named++].name, name, sizeof name);
        }
    while (named < KEYS)
        snprintf(in->entries[named++].name, KEY_BYTES, "key%u", number++);
    for (unsigned i = 0; i < KEYS; i++)
        memcpy(names[i], in->entries[i].name, KEY_BYTES);
}

static bool is_expired(const struct entry *entry, uint64_t now_us)
{
    return entry->has && !entry->said.tombstone && entry->said.expires_us &&
           entry->said.expires_us <= now_us;
}

static void count(struct store_counts *counts, const struct entry *entry, int by)
{
    if (entry->has)
        *(entry->said.tombstone ? &counts->tombstones : &counts->keys) += (uint64_t)(int64_t)by;
}

static void entry_set(struct pair *in, unsigned i, const struct said *said)
{
    struct entry *entry = &in->entries[i];
    count(&in->counts, entry, -1);
    entry->has = true;
    entry->said = *said;
    entry->said.key = name_of(entry);
    if (said->value.len)
        memmove(entry->value, said->value.data, said->value.len);
    entry->said.value.data = entry->value;
    entry->changed = ++in->changes;
    count(&in->counts, entry, 1);
}

/* The store says that a key has changed: was that to be? */
static void on_change(struct store_observer *observer, const struct store_key *key,
                      struct record *old, struct record *record)
{
    struct pair *in = (struct pair *)observer;
    unsigned i = 0;
    while (i < KEYS && !slice_equal(name_of(&in->entries[i]), key->bytes))
        i++;
    check(i < KEYS, "a key that nobody knows");
    struct record *found = store_find(in->store, key);
    assert_true(found == record || (old && found == old)); /* which leaves right after this */
    assert_true(slice_equal(record_key(record), key->bytes));
    assert_true(!old || slice_equal(record_key(old), key->bytes));
    assert_null(store_after(record));
    if (in->expected == (int)i) {
        in->expected = -2; /* once */
        return;
    }
    struct entry *entry = &in->entries[i];
    check(in->may_expire && is_expired(entry, in->now_us), "%s has changed", entry->name);
    struct said said = {.version = entry->said.version, .tombstone = true};
    entry_set(in, i, &said);
    in->counts.expired++;
    assert_true(record_says(record, &entry->said));
}

static void on_move(struct store_observer *observer, uint32_t shard, struct record *from,
                    struct record *to)
{
    (void)observer;
    assert_true(shard < STORE_SHARDS);
    assert_true(slice_equal(record_key(from), record_key(to)));
}

static void on_drop(struct store_observer *observer, uint32_t shard, struct record *record)
{
    struct pair *in = (struct pair *)observer;
    struct store_key key = store_key(in->store, record_key(record));
    assert_int_equal(shard, key.shard);
    assert_true(store_find(in->store, &key) == record);
    assert_true(record_is_tombstone(record));
    in->drops++;
}

static void pair_start(struct pair *in, uint64_t seed)
{
    memset(in, 0, sizeof *in);
    in->store = store_new(0, grace_us, seed);
    assert_non_null(in->store);
    in->observer.on_change = on_change;
    in->observer.on_move = on_move;
    in->observer.on_drop = on_drop;
    store_observe(in->store, &in->observer);
    in->now_us = noon_us;
    in->expected = -1;
    name_keys(in);
}

static void pair_end(struct pair *in)
{
    store_destroy(in->store);
    in->store = NULL;
}

static int set_up(void **state)
{
    (void)state;
    pair_start(&pair, 42);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    failing_stop();
    pair_end(&pair);
    return 0;
}

/* Looking from outside */

static uint64_t digest_of(const struct entry *entry)
{
    static struct heap *heap;
    failing_pause();
    if (!heap)
        heap = heap_new(0);
    struct record *record = said_record(heap, &entry->said);
    failing_resume();
    uint64_t digest = record_digest(record);
    record_release(heap, record);
    return digest;
}

static void check_keys(const struct pair *in)
{
    for (unsigned i = 0; i < KEYS; i++) {
        const struct entry *entry = &in->entries[i];
        struct store_key key = key_of(in, i);
        const struct record *record = store_find(in->store, &key);
        check((record != NULL) == entry->has, "%s", entry->name);
        check(!record || record_says(record, &entry->said), "%s", entry->name);
        bool live = entry->has && !entry->said.tombstone && !is_expired(entry, in->now_us);
        check(store_get(in->store, &key, in->now_us) == (live ? record : NULL), "%s", entry->name);
    }
}

static void check_counts(const struct pair *in)
{
    struct store_counts is = store_counts(in->store);
    assert_int_equal(is.keys, in->counts.keys);
    assert_int_equal(is.tombstones, in->counts.tombstones);
    assert_int_equal(is.expired, in->counts.expired);
    assert_int_equal(is.dropped, in->counts.dropped);
    assert_int_equal(is.dropped, in->drops);
}

/* A shard's records stand in the order of their last change. */
static void check_shard(const struct pair *in, uint32_t shard)
{
    struct record *records[KEYS];
    unsigned count = store_shard_records(in->store, shard, false, records, KEYS), expected = 0;
    uint64_t digest = 0, before = 0;
    assert_int_equal(count, store_shard_count(in->store, shard));
    for (unsigned i = 0; i < KEYS; i++)
        if (in->entries[i].has && key_of(in, i).shard == shard) {
            expected++;
            digest ^= digest_of(&in->entries[i]);
        }
    assert_int_equal(count, expected);
    assert_true(store_shard_digest(in->store, shard) == digest);
    for (unsigned n = 0; n < count; n++) {
        unsigned i = 0;
        while (!slice_equal(record_key(records[n]), name_of(&in->entries[i])))
            i++;
        check(in->entries[i].changed > before, "order of shard %u at %u", shard, n);
        before = in->entries[i].changed;
        assert_true(records[n]->references >= 2);
        record_release(store_heap(in->store), records[n]);
    }
}

static void check_digests(const struct pair *in)
{
    uint64_t all = 0, from_groups = 0;
    for (unsigned i = 0; i < KEYS; i++)
        all ^= in->entries[i].has ? digest_of(&in->entries[i]) : 0;
    assert_true(store_digest(in->store) == all);
    for (uint32_t group = 0; group < STORE_GROUPS; group++) {
        uint64_t from_shards = 0;
        for (uint32_t i = 0; i < STORE_SHARDS / STORE_GROUPS; i++)
            from_shards ^= store_shard_digest(in->store, group * (STORE_SHARDS / STORE_GROUPS) + i);
        assert_true(store_group_digest(in->store, group) == from_shards);
        from_groups ^= from_shards;
    }
    assert_true(from_groups == all);
}

static void check_all(const struct pair *in)
{
    check_keys(in);
    check_counts(in);
    check_digests(in);
    uint32_t shard_before = STORE_SHARDS;
    for (unsigned i = 0; i < KEYS; i++) {
        uint32_t shard = key_of(in, i).shard;
        if (shard != shard_before)
            check_shard(in, shard);
        shard_before = shard;
    }
}

/* Doing something to both */

static struct record *record_of(struct pair *in, const struct said *said)
{
    failing_pause();
    struct record *record = said_record(store_heap(in->store), said);
    failing_resume();
    assert_non_null(record);
    return record;
}

/* A write, of which `said` says everything but the version. */
static enum store_result do_write(struct pair *in, unsigned i, struct said said)
{
    const struct entry *entry = &in->entries[i];
    struct store_key key = key_of(in, i);
    said.key = name_of(entry);
    said.version = in->now_us;
    if (entry->has && entry->said.version >= in->now_us)
        said.version = entry->said.version + (entry->said.version < UINT64_MAX);
    struct said unstamped = said;
    unstamped.version = 12345;
    struct record *record = record_of(in, &unstamped);
    in->expected = (int)i;
    enum store_result result = store_write(in->store, &key, record, in->now_us);
    assert_int_equal(in->expected, result == STORE_APPLIED ? -2 : (int)i);
    in->expected = -1;
    if (result == STORE_APPLIED) {
        assert_int_equal(record->references, 1);
        entry_set(in, i, &said);
        return result;
    }
    assert_int_equal(result, STORE_NO_ROOM);
    assert_int_equal(record->references, 1);
    record_release(store_heap(in->store), record);
    return result;
}

/* By the order that order_test.c holds true. */
static bool wins(struct pair *in, const struct record *record, const struct entry *entry)
{
    if (!entry->has)
        return true;
    struct record *old = record_of(in, &entry->said);
    bool larger = record_compare(record, old) > 0;
    record_release(store_heap(in->store), old);
    return larger;
}

static enum store_result do_merge(struct pair *in, unsigned i, struct said said)
{
    struct store_key key = key_of(in, i);
    said.key = name_of(&in->entries[i]);
    struct record *record = record_of(in, &said);
    bool larger = wins(in, record, &in->entries[i]);
    in->expected = larger ? (int)i : -1;
    enum store_result result = store_merge(in->store, &key, record, in->now_us);
    assert_int_equal(in->expected, result == STORE_APPLIED ? -2 : larger ? (int)i : -1);
    in->expected = -1;
    if (result == STORE_APPLIED) {
        assert_true(larger);
        entry_set(in, i, &said);
        return result;
    }
    assert_int_equal(result, larger ? STORE_NO_ROOM : STORE_STALE);
    record_release(store_heap(in->store), record);
    return result;
}

static bool do_expire(struct pair *in, unsigned steps)
{
    in->may_expire = true;
    bool more = store_expire(in->store, in->now_us, steps);
    in->may_expire = false;
    return more;
}

/* Sweeps, and takes note of what is gone: that may only be tombstones past their grace. */
static void do_sweep(struct pair *in, unsigned records)
{
    store_sweep(in->store, in->now_us, records);
    unsigned gone = 0;
    for (unsigned i = 0; i < KEYS; i++) {
        struct entry *entry = &in->entries[i];
        struct store_key key = key_of(in, i);
        if (!entry->has || store_find(in->store, &key))
            continue;
        check(entry->said.tombstone && entry->said.version + grace_us < in->now_us, "%s is gone",
              entry->name);
        count(&in->counts, entry, -1);
        entry->has = false;
        in->counts.dropped++;
        gone++;
    }
    check(gone <= records, "%u are gone, of %u looked at", gone, records);
}

/* So often that everything was looked at, whatever a call leaves for the next one. */
static void sweep_around(struct store *store, uint64_t now_us)
{
    struct store_counts counts = store_counts(store);
    for (uint64_t i = 0; i < 300 + (counts.keys + counts.tombstones) / 100; i++)
        store_sweep(store, now_us, 200);
}

static void sweep_through(struct pair *in)
{
    sweep_around(in->store, in->now_us);
    do_sweep(in, KEYS);
}

static struct said random_said(struct pair *in, struct chance *chance)
{
    static char bytes[VALUE_BYTES_MAX];
    static const struct slice types[] = {{"", 0}, {"a/b", 3}, {"text/plain", 10}};
    struct said said = {.tombstone = chance_once_in(chance, 4)};
    if (said.tombstone)
        return said;
    for (size_t i = 0; i < 8; i++)
        bytes[chance_below(chance, sizeof bytes)] = (char)chance_next(chance);
    said.value =
        (struct slice){bytes, chance_once_in(chance, 3) ? chance_below(chance, 3)
                                                        : chance_below(chance, sizeof bytes)};
    said.type = types[chance_below(chance, COUNT(types))];
    if (chance_once_in(chance, 3))
        said.expires_us = in->now_us + chance_below(chance, 5 * second_us);
    return said;
}

static uint64_t random_version(struct pair *in, unsigned i, struct chance *chance)
{
    const struct entry *entry = &in->entries[i];
    if (entry->has && chance_once_in(chance, 2))
        return entry->said.version + chance_below(chance, 3) - 1;
    return in->now_us - 100 * second_us + chance_below(chance, 150 * second_us);
}

/* Tests */

static void test_empty(void **state)
{
    (void)state;
    check_all(&pair);
    assert_true(store_digest(pair.store) == 0);
    assert_false(do_expire(&pair, 100));
    do_sweep(&pair, 1000);
    assert_int_equal(heap_used(store_heap(pair.store)), 0);
    assert_int_equal(store_shard_records(pair.store, 0, false, NULL, 0), 0);
}

static void test_places(void **state)
{
    (void)state;
    struct store *seeded = store_new(0, 0, 43);
    unsigned hashes = 0;
    for (unsigned i = 0; i < KEYS; i++) {
        struct store_key a = key_of(&pair, i), b = store_key(seeded, name_of(&pair.entries[i]));
        assert_true(a.shard < STORE_SHARDS);
        assert_int_equal(a.shard, b.shard); /* the same on all nodes */
        hashes += a.hash != b.hash;         /* and not to be guessed */
    }
    assert_true(hashes > KEYS - 2);
    assert_int_equal(store_key(seeded, SLICE("pear")).shard, 357); /* docs/http.md */
    store_destroy(seeded);
}

/* Stamps: max of the clock and the key's version + 1. */
static void test_stamps(void **state)
{
    (void)state;
    static const struct {
        int64_t old_us, now_us; /* relative to noon; an old one of INT64_MIN is none */
        int64_t wanted_us;
    } rows[] = {
        {INT64_MIN, 0, 0},           {-100, 0, 0}, {-1, 0, 0}, {0, 0, 1}, {1, 0, 2}, {100, 0, 101},
        {1000000000, 0, 1000000001},
    };
    for (unsigned i = 0; i < COUNT(rows); i++)
        for (int tombstone = 0; tombstone < 2; tombstone++) {
            unsigned key = 2 * i + (unsigned)tombstone;
            struct said said = {.tombstone = tombstone,
                                .version = noon_us + (uint64_t)rows[i].old_us};
            if (rows[i].old_us != INT64_MIN)
                assert_int_equal(do_merge(&pair, key, said), STORE_APPLIED);
            assert_int_equal(do_write(&pair, key, (struct said){.value = SLICE("new")}),
                             STORE_APPLIED);
            check(pair.entries[key].said.version == noon_us + (uint64_t)rows[i].wanted_us, "row %u",
                  i);
        }
    check_all(&pair);
}

/* Nothing is larger than the last version of all; and it does not begin anew with 0. */
static void test_no_version_after_the_last(void **state)
{
    (void)state;
    struct said said = {.value = SLICE("v"), .version = UINT64_MAX - 1};
    assert_int_equal(do_merge(&pair, 0, said), STORE_APPLIED);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(do_write(&pair, 0, (struct said){.tombstone = i == 1}), STORE_APPLIED);
        assert_true(pair.entries[0].said.version == UINT64_MAX);
    }
    check_all(&pair);
}

/* Whatever the clock does, a write wins over all that its node has seen of the key. */
static void test_clock_that_steps_back(void **state)
{
    (void)state;
    struct chance chance = chance_start(21);
    uint64_t version = 0;
    for (int i = 0; i < 1000; i++) {
        pair.now_us = noon_us - chance_below(&chance, 1000 * second_us);
        assert_int_equal(do_write(&pair, 0, (struct said){.value = SLICE("v")}), STORE_APPLIED);
        assert_true(pair.entries[0].said.version > version);
        version = pair.entries[0].said.version;
    }
    check_all(&pair);
}

static void test_stale_changes_nothing(void **state)
{
    (void)state;
    struct said said = {
        .value = SLICE("m"), .type = SLICE("t"), .version = noon_us, .expires_us = noon_us + 5};
    assert_int_equal(do_merge(&pair, 0, said), STORE_APPLIED);
    uint64_t used = heap_used(store_heap(pair.store));
    assert_int_equal(do_merge(&pair, 0, said), STORE_STALE); /* itself */
    said.value = SLICE("l");
    assert_int_equal(do_merge(&pair, 0, said), STORE_STALE);
    said = (struct said){.version = noon_us - 1, .tombstone = true};
    assert_int_equal(do_merge(&pair, 0, said), STORE_STALE);
    assert_int_equal(heap_used(store_heap(pair.store)), used);
    check_all(&pair);
    said.version = noon_us;
    assert_int_equal(do_merge(&pair, 0, said), STORE_APPLIED);
    said = (struct said){.value = SLICE("z"), .version = noon_us};
    assert_int_equal(do_merge(&pair, 0, said), STORE_STALE); /* a tombstone of its version wins */
    check_all(&pair);
}

static void test_expiry(void **state)
{
    (void)state;
    for (unsigned i = 0; i < KEYS; i++) {
        struct said said = {.value = SLICE("v"), .expires_us = noon_us + (1 + i % 10) * second_us};
        assert_int_equal(do_write(&pair, i, said), STORE_APPLIED);
    }
    for (unsigned s = 0; s < 10; s++) {
        check_keys(
            &pair); /* a GET does not find what has expired, whether it was looked at or not */
        pair.now_us += second_us;
        check_keys(&pair);
        while (do_expire(&pair, 7))
            ;
        check_all(&pair);
    }
    pair.now_us += second_us;
    while (do_expire(&pair, 7))
        ;
    assert_int_equal(pair.counts.expired, KEYS);
    assert_int_equal(pair.counts.keys, 0);
    check_all(&pair);
}

/* However many values expire at once, a call does no more than it was told to. */
static void test_expiry_is_bounded(void **state)
{
    (void)state;
    for (unsigned i = 0; i < KEYS; i++) {
        struct said said = {.value = SLICE("v"), .expires_us = noon_us + 500};
        assert_int_equal(do_write(&pair, i, said), STORE_APPLIED);
    }
    pair.now_us += 2 * second_us;
    unsigned calls = 0;
    for (bool more = true; more; calls++) {
        uint64_t before = pair.counts.expired;
        more = do_expire(&pair, 10);
        check(pair.counts.expired - before <= 10, "%u expired in one call",
              (unsigned)(pair.counts.expired - before));
        assert_true(calls < KEYS);
    }
    assert_int_equal(pair.counts.expired, KEYS);
}

/* What was overwritten in time does not expire. */
static void test_expiry_is_of_records_not_of_keys(void **state)
{
    (void)state;
    struct said brief = {.value = SLICE("v"), .expires_us = noon_us + second_us};
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(do_write(&pair, i, brief), STORE_APPLIED);
    assert_int_equal(do_write(&pair, 0, (struct said){.value = SLICE("v")}), STORE_APPLIED);
    assert_int_equal(do_write(&pair, 1, (struct said){.tombstone = true}), STORE_APPLIED);
    brief.expires_us += 100 * second_us;
    assert_int_equal(do_write(&pair, 2, brief), STORE_APPLIED);
    pair.now_us += 50 * second_us;
    while (do_expire(&pair, 100))
        ;
    assert_int_equal(pair.counts.expired, 1);
    check_all(&pair);
}

static void test_tombstones_go_after_their_grace(void **state)
{
    (void)state;
    for (unsigned i = 0; i < KEYS; i++) {
        pair.now_us += second_us;
        struct said said = {.tombstone = i % 3 != 0};
        assert_int_equal(do_write(&pair, i, said), STORE_APPLIED);
    }
    sweep_through(&pair);
    assert_int_equal(pair.counts.dropped, 0);
    pair.now_us = noon_us + grace_us + KEYS / 2 * second_us;
    sweep_through(&pair);
    assert_true(pair.counts.dropped > KEYS / 4 && pair.counts.tombstones > KEYS / 4);
    for (unsigned i = 0; i < KEYS; i++) {
        const struct entry *entry = &pair.entries[i];
        check(entry->has == (i % 3 == 0 || entry->said.version + grace_us >= pair.now_us), "%u", i);
    }
    check_all(&pair);
    pair.now_us += grace_us;
    sweep_through(&pair);
    assert_int_equal(pair.counts.tombstones, 0);
    assert_int_equal(pair.counts.keys, KEYS / 3);
    check_all(&pair);
}

/* Of a value that expired it counts from then, however long ago it was written: until it is over,
 * no older value comes back. */
static void test_grace_of_what_expired(void **state)
{
    (void)state;
    uint64_t due = noon_us + 3 * grace_us;
    struct said older = {.value = SLICE("older"), .version = noon_us - 1};
    assert_int_equal(do_write(&pair, 0, (struct said){.value = SLICE("v"), .expires_us = due}),
                     STORE_APPLIED);
    pair.now_us = due + 2 * second_us;
    while (do_expire(&pair, 10))
        ;
    assert_int_equal(pair.counts.expired, 1);
    for (int i = 0; i < 10; i++) {
        sweep_through(&pair);
        assert_int_equal(pair.counts.tombstones, 1);
        assert_int_equal(do_merge(&pair, 0, older), STORE_STALE);
        pair.now_us += grace_us / 10 - second_us;
    }
    check_all(&pair);
    pair.now_us = due + grace_us + second_us;
    sweep_through(&pair);
    assert_int_equal(pair.counts.tombstones, 0);
    check_all(&pair);
}

/* A version of the future is not in its grace yet; one of before 1970 plus grace is. */
static void test_grace_at_the_ends_of_time(void **state)
{
    (void)state;
    static const struct {
        uint64_t version;
        bool goes;
    } rows[] = {{0, true},
                {1, true},
                {noon_us - grace_us - 1, true},
                {noon_us - grace_us, false},
                {noon_us, false},
                {noon_us + 1, false},
                {UINT64_MAX - 1, false}};
    for (unsigned i = 0; i < COUNT(rows); i++)
        assert_int_equal(
            do_merge(&pair, i, (struct said){.tombstone = true, .version = rows[i].version}),
            STORE_APPLIED);
    sweep_around(pair.store, noon_us);
    for (unsigned i = 0; i < COUNT(rows); i++) {
        struct store_key key = key_of(&pair, i);
        check((store_find(pair.store, &key) == NULL) == rows[i].goes, "row %u", i);
    }
}

static void test_prefetch_changes_nothing(void **state)
{
    (void)state;
    static struct store_key keys[3 * STORE_PREFETCH_MAX];
    static const struct store_key *pointers[COUNT(keys)];
    struct chance chance = chance_start(22);
    for (unsigned i = 0; i < KEYS / 2; i++)
        do_write(&pair, i, random_said(&pair, &chance));
    for (unsigned i = 0; i < COUNT(keys); i++) {
        keys[i] = key_of(&pair, (unsigned)chance_below(&chance, KEYS));
        keys[i].for_write = chance_once_in(&chance, 2);
        pointers[i] = &keys[i];
    }
    static const unsigned counts[] = {
        0, 1, 2, STORE_PREFETCH_MAX - 1, STORE_PREFETCH_MAX, STORE_PREFETCH_MAX + 1, COUNT(keys)};
    for (size_t i = 0; i < COUNT(counts); i++)
        store_prefetch(pair.store, pointers, counts[i]);
    check_all(&pair);
}

/* A listing holds what it was given, whatever happens meanwhile. */
static void test_listed_records_stay(void **state)
{
    (void)state;
    static struct record *listed[KEYS][KEYS];
    unsigned counts[KEYS];
    struct said before = {.value = SLICE("before")};
    for (unsigned i = 0; i < KEYS; i++)
        assert_int_equal(do_write(&pair, i, before), STORE_APPLIED);
    for (unsigned i = 0; i < KEYS; i++)
        counts[i] = store_shard_records(pair.store, key_of(&pair, i).shard, false, listed[i], 3);
    for (unsigned i = 0; i < KEYS; i++)
        assert_int_equal(do_write(&pair, i, (struct said){.tombstone = true}), STORE_APPLIED);
    pair.now_us += 2 * grace_us;
    sweep_through(&pair);
    for (unsigned i = 0; i < KEYS; i++) {
        assert_true(counts[i] >= 1 && counts[i] <= 3);
        for (unsigned n = 0; n < counts[i]; n++) {
            assert_true(slice_equal(record_value(listed[i][n]), SLICE("before")));
            record_release(store_heap(pair.store), listed[i][n]);
        }
    }
    assert_int_equal(heap_used(store_heap(pair.store)), 0);
}

/* Everything at random, against the model; in the end all goes, and not a byte is left. */
static void test_random(void **state)
{
    (void)state;
    struct chance chance = chance_start(23);
    for (int step = 0; step < 12000; step++) {
        unsigned i = (unsigned)chance_below(&chance, KEYS);
        struct said said = random_said(&pair, &chance);
        switch (chance_below(&chance, 12)) {
        case 0:
        case 1:
        case 2:
        case 3:
            assert_int_equal(do_write(&pair, i, said), STORE_APPLIED);
            break;
        case 4:
        case 5:
        case 6:
        case 7:
            said.version = random_version(&pair, i, &chance);
            assert_int_not_equal(do_merge(&pair, i, said), STORE_NO_ROOM);
            break;
        case 8:
        case 9:
            do_expire(&pair, (unsigned)chance_below(&chance, 20));
            break;
        case 10:
            do_sweep(&pair, (unsigned)chance_below(&chance, 60));
            break;
        default:
            pair.now_us += chance_below(&chance, second_us);
            if (chance_once_in(&chance, 40))
                pair.now_us += grace_us / 2;
            if (chance_once_in(&chance, 100))
                pair.now_us -= chance_below(&chance, 60 * second_us);
            break;
        }
        if (step % 100 == 0)
            check_all(&pair);
    }
    assert_true(pair.counts.expired > 50 && pair.counts.dropped > 50);
    for (unsigned i = 0; i < KEYS; i++)
        assert_int_equal(do_write(&pair, i, (struct said){.tombstone = true}), STORE_APPLIED);
    pair.now_us += grace_us + 1000 * second_us;
    sweep_through(&pair);
    assert_int_equal(pair.counts.tombstones, 0);
    check_all(&pair);
    assert_int_equal(heap_used(store_heap(pair.store)), 0);
}

/* Two nodes that hear of the same records in different orders agree. */
static void test_agreement(void **state)
{
    (void)state;
    enum { NEWS = 3000 };
    static struct said news[NEWS];
    static unsigned keys[NEWS];
    static char values[NEWS][4];
    struct chance chance = chance_start(24);
    pair_start(&other, 4711); /* another seed */
    for (unsigned n = 0; n < NEWS; n++) {
        keys[n] = (unsigned)chance_below(&chance, KEYS);
        values[n][0] = (char)('a' + chance_below(&chance, 3));
        news[n] = (struct said){.version = noon_us + chance_below(&chance, 4),
                                .tombstone = chance_once_in(&chance, 10)};
        if (news[n].tombstone)
            continue;
        news[n].value = (struct slice){values[n], chance_below(&chance, 2)};
        news[n].expires_us = chance_below(&chance, 2) * (noon_us * 2);
    }
    for (unsigned n = 0; n < NEWS; n++)
        do_merge(&pair, keys[n], news[n]);
    for (unsigned n = 0; n < NEWS; n++) {
        unsigned m = n + (unsigned)chance_below(&chance, NEWS - n);
        struct said said = news[m];
        unsigned key = keys[m];
        news[m] = news[n];
        keys[m] = keys[n];
        news[n] = said;
        keys[n] = key;
        do_merge(&other, key, said);
        if (chance_once_in(&chance, 3)) /* some of it twice */
            do_merge(&other, keys[chance_below(&chance, n + 1)], said), do_merge(&other, key, said);
    }
    /* What was merged under a wrong key above goes to both. */
    for (unsigned i = 0; i < KEYS; i++)
        if (other.entries[i].has)
            do_merge(&pair, i, other.entries[i].said);
    for (unsigned i = 0; i < KEYS; i++)
        if (pair.entries[i].has)
            do_merge(&other, i, pair.entries[i].said);
    check_all(&pair);
    check_all(&other);
    assert_true(store_digest(pair.store) == store_digest(other.store));
    for (uint32_t shard = 0; shard < STORE_SHARDS; shard++)
        assert_true(store_shard_digest(pair.store, shard) ==
                    store_shard_digest(other.store, shard));
    pair_end(&other);
}

/* Without memory */

/* A change to a key while the nth allocation fails: it happens, or nothing does. */
static bool change_fails(unsigned nth, unsigned i, int kind)
{
    struct said said = {.value = SLICE("changed"), .version = pair.now_us + 1};
    bool fails = false;
    uint64_t used = heap_used(store_heap(pair.store));
    enum store_result result = STORE_APPLIED;
    failing_start(nth, false);
    switch (kind) {
    case 0:
        result = do_write(&pair, i, said);
        break;
    case 1:
        result = do_merge(&pair, i, said);
        break;
    case 2:
        result = do_write(&pair, i, (struct said){.tombstone = true});
        break;
    default:
        pair.now_us += 10 * second_us;
        do_expire(&pair, 1000);
        break;
    }
    fails = failing_stop();
    check(fails || result == STORE_APPLIED, "%u, %u, %d", nth, i, kind);
    if (result == STORE_NO_ROOM)
        assert_int_equal(heap_used(store_heap(pair.store)), used);
    return fails;
}

/* As every key is changed, from the first of a shard on to those that make its table grow. */
static void test_out_of_memory(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++)
        for (unsigned nth = 1; nth < 5; nth++)
            for (int overwrite = 0; overwrite < 2; overwrite++) {
                unsigned failures = 0;
                pair_end(&pair);
                pair_start(&pair, 42);
                struct said old = {.value = SLICE("old"), .type = SLICE("t")};
                for (unsigned i = 0; i < KEYS; i++) {
                    old.expires_us = kind == 3 ? pair.now_us + 5 * second_us : 0;
                    if (overwrite || kind == 3)
                        assert_int_equal(do_write(&pair, i, old), STORE_APPLIED);
                    failures += change_fails(nth, i, kind);
                    if (i % 40 == 0)
                        check_all(&pair);
                }
                check_all(&pair);
                /* A record takes the place of its key's last one without any memory but its own. */
                bool in_place = overwrite && kind < 3;
                assert_true(in_place ? failures == 0 : nth > 1 || failures > 0);
                /* With memory all is as if nothing had been. */
                for (unsigned i = 0; i < KEYS; i++)
                    assert_int_equal(do_write(&pair, i, (struct said){.tombstone = true}),
                                     STORE_APPLIED);
                pair.now_us += 2 * grace_us;
                sweep_through(&pair);
                check_all(&pair);
                assert_int_equal(heap_used(store_heap(pair.store)), 0);
            }
}

/* A value that cannot become a tombstone for want of memory does so later, and is not found
 * meanwhile. */
static void test_expiry_without_memory_is_tried_again(void **state)
{
    (void)state;
    for (unsigned i = 0; i < KEYS; i++)
        assert_int_equal(
            do_write(&pair, i, (struct said){.value = SLICE("v"), .expires_us = noon_us + 1}),
            STORE_APPLIED);
    pair.now_us += 2 * second_us;
    for (int i = 0; i < 5; i++) {
        failing_start(1, true);
        do_expire(&pair, 1000);
        assert_true(failing_stop());
        assert_int_equal(pair.counts.expired, 0);
        check_all(&pair);
        pair.now_us += second_us;
    }
    while (do_expire(&pair, 1000))
        ;
    assert_int_equal(pair.counts.expired, KEYS);
    check_all(&pair);
}

/* Sweeping needs no memory, and does not mind when there is none to move to. */
static void test_sweep_without_memory(void **state)
{
    (void)state;
    for (unsigned i = 0; i < KEYS; i++)
        assert_int_equal(do_write(&pair, i, (struct said){.tombstone = i % 2}), STORE_APPLIED);
    pair.now_us += 2 * grace_us;
    failing_start(1, true);
    sweep_through(&pair);
    failing_stop();
    assert_int_equal(pair.counts.dropped, KEYS / 2);
    check_all(&pair);
}

/* The limit */

/* A key by its number; its bytes are in `room`. */
static struct store_key numbered(const struct store *store, unsigned number, char room[KEY_BYTES])
{
    snprintf(room, KEY_BYTES, "n%u", number);
    return store_key(store, slice_of(room));
}

/* Writes what `said` says, but for the key. */
static enum store_result put_said(struct store *store, unsigned number, struct said said,
                                  uint64_t now_us)
{
    char name[KEY_BYTES];
    struct store_key key = numbered(store, number, name);
    said.key = key.bytes;
    struct record *record = said_record(store_heap(store), &said);
    if (!record)
        return STORE_NO_ROOM;
    enum store_result result = store_write(store, &key, record, now_us);
    if (result != STORE_APPLIED)
        record_release(store_heap(store), record);
    return result;
}

static enum store_result put(struct store *store, unsigned number, size_t bytes, bool tombstone,
                             uint64_t now_us)
{
    static char value[20000];
    struct said said = {.value = {value, tombstone ? 0 : bytes}, .tombstone = tombstone};
    return put_said(store, number, said, now_us);
}

static struct record *found(const struct store *store, unsigned number)
{
    char name[KEY_BYTES];
    struct store_key key = numbered(store, number, name);
    return store_find(store, &key);
}

static bool has(struct store *store, unsigned number, uint64_t now_us)
{
    const struct record *record = found(store, number);
    return record && record_is_live(record, now_us);
}

static void limit(size_t bytes)
{
    const uint64_t memory_max = 6 << 20;
    struct store *store = store_new(memory_max, grace_us, 5);
    unsigned count = 0;
    assert_non_null(store);
    while (put(store, count, bytes, false, noon_us) == STORE_APPLIED)
        count++;
    check(count * (bytes + 110) > memory_max / 2, "%zu bytes: only %u fit", bytes, count);
    check(heap_resident(store_heap(store)) <= memory_max + memory_max / 64, "%zu bytes", bytes);
    assert_int_equal(store_counts(store).keys, count);
    /* At the limit everything is still there, and still goes. */
    for (unsigned i = 0; i < count; i++)
        check(has(store, i, noon_us), "%zu bytes: %u is lost", bytes, i);
    assert_int_equal(put(store, count, bytes, false, noon_us), STORE_NO_ROOM);
    for (unsigned i = 0; i < count; i++) {
        check(put(store, i, 0, true, noon_us) == STORE_APPLIED, "%zu bytes: delete of %u", bytes,
              i);
        check(!has(store, i, noon_us), "%zu bytes: %u", bytes, i);
    }
    assert_int_equal(store_counts(store).tombstones, count);
    check(heap_resident(store_heap(store)) <= memory_max + memory_max / 64, "%zu bytes", bytes);
    /* After the grace period there is room for as many as before. */
    uint64_t later = noon_us + 2 * grace_us;
    sweep_around(store, later);
    assert_int_equal(store_counts(store).tombstones, 0);
    unsigned again = 0;
    while (put(store, again, bytes, false, later) == STORE_APPLIED)
        again++;
    check(again + again / 20 + 2 >= count, "%zu bytes: %u, then %u", bytes, count, again);
    store_destroy(store);
}

static void test_limit(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 100, 128, 1000, 9000, 20000};
    for (size_t i = 0; i < COUNT(sizes); i++)
        limit(sizes[i]);
}

/* Telling again */

struct told {
    struct store_observer observer; /* first */
    const struct record *gone, *come;
};

static void told_change(struct store_observer *observer, const struct store_key *key,
                        struct record *old, struct record *record)
{
    assert_null(old);
    assert_null(store_after(record));
    assert_true(slice_equal(key->bytes, record_key(record)));
    ((struct told *)observer)->come = record;
}

static void told_drop(struct store_observer *observer, uint32_t shard, struct record *record)
{
    (void)shard;
    assert_null(((struct told *)observer)->come);
    ((struct told *)observer)->gone = record;
}

/* Of three keys in one shard the first, the second, and what is the last already. */
static void test_what_is_told_again_comes_last_and_is_the_same(void **state)
{
    (void)state;
    static const unsigned wanted[][3] = {{1, 2, 0}, {1, 0, 2}, {1, 0, 2}};
    struct store *store = store_new(0, grace_us, 5);
    struct record *records[3];
    char names[3][KEY_BYTES];
    unsigned count = 0;
    for (unsigned i = 0; count < 3; i++) {
        snprintf(names[count], KEY_BYTES, "k%u", i);
        struct said said = {.key = slice_of(names[count]), .value = SLICE("v"), .version = 1};
        struct store_key key = store_key(store, said.key);
        if (key.shard != 0)
            continue;
        records[count] = said_record(store_heap(store), &said);
        assert_int_equal(store_merge(store, &key, records[count++], 1), STORE_APPLIED);
    }
    uint64_t digest = store_digest(store), used = heap_used(store_heap(store));
    for (unsigned turn = 0; turn < 3; turn++) {
        struct told told = {.observer = {.on_change = told_change, .on_drop = told_drop}};
        struct record *again = records[turn == 0 ? 0 : 2];
        struct store_key key = store_key(store, record_key(again));
        if (turn == 1)
            store_tell(store, &key, again); /* without an observer */
        store_observe(store, &told.observer);
        store_tell(store, &key, again);
        assert_true(told.gone == again && told.come == again);
        assert_true(again->flags & RECORD_LOCAL);
        store_observe(store, NULL);
        const struct record *at = store_first(store, 0);
        for (unsigned i = 0; i < 3; i++, at = store_after(at))
            assert_true(at == records[wanted[turn][i]]);
        assert_null(at);
        assert_true(store_find(store, &key) == again);
    }
    assert_int_equal(store_digest(store), digest);
    assert_int_equal(heap_used(store_heap(store)), used);
    assert_int_equal(store_counts(store).keys, 3);
    store_destroy(store);
}

/* Deletes of what is not here take no more than half of the reserve, so that what is here can be deleted, however small that is. */
static void deletes_of_nothing(size_t bytes)
{
    enum { UNKNOWN = 100000 };
    const uint64_t memory_max = 6 << 20;
    struct store *store = store_new(memory_max, grace_us, 5);
    unsigned count = 0, unknown = UNKNOWN;
    assert_non_null(store);
    while (put(store, count, bytes, false, noon_us) == STORE_APPLIED)
        count++;
    while (put(store, unknown, 0, true, noon_us) == STORE_APPLIED)
        unknown++;
    struct store_counts before = store_counts(store);
    uint64_t digest = store_digest(store), used = heap_used(store_heap(store));
    assert_int_equal(put(store, unknown, 0, true, noon_us), STORE_NO_ROOM);
    assert_int_equal(store_counts(store).tombstones, before.tombstones);
    assert_int_equal(store_digest(store), digest);
    assert_int_equal(heap_used(store_heap(store)), used);
    for (unsigned i = 0; i < count; i++) {
        check(put(store, i, 0, true, noon_us) == STORE_APPLIED, "%zu bytes: delete of %u", bytes,
              i);
        (void)put(store, ++unknown, 0, true, noon_us);
    }
    check(heap_resident(store_heap(store)) <= memory_max + memory_max / 64, "%zu bytes", bytes);
    /* What made room is gone, and so there is some for all. */
    sweep_around(store, noon_us + 2 * grace_us);
    assert_int_equal(put(store, ++unknown, 0, true, noon_us), STORE_APPLIED);
    store_destroy(store);
}

static void test_deletes_of_nothing_leave_room_for_others(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 30, 1000, 20000};
    for (size_t i = 0; i < COUNT(sizes); i++)
        deletes_of_nothing(sizes[i]);
}

/* Moving */

static uint64_t listing_digest(const struct store *store, uint64_t *records)
{
    static struct record *listed[4096];
    uint64_t digest = 0, at = 0;
    for (uint32_t shard = 0; shard < STORE_SHARDS; shard++) {
        unsigned found = store_shard_records(store, shard, false, listed, COUNT(listed));
        for (unsigned i = 0; i < found; i++) {
            digest ^= record_digest(listed[i]) * (2 * ++at + 1); /* with the order in it */
            record_release(store_heap((struct store *)(uintptr_t)store), listed[i]);
        }
    }
    *records = at;
    return digest;
}

/* Many records of several sizes, of which most become tombstones. */
static struct store *sparse_store(unsigned records, uint64_t memory_max, uint64_t *now_us)
{
    struct store *store = store_new(memory_max, grace_us, 6);
    assert_non_null(store);
    for (unsigned i = 0; i < records; i++) {
        static const char value[200];
        struct said said = {.value = {value, 100 + i % 20}};
        said.expires_us = i % 16 ? *now_us + second_us : i % 32 ? 0 : *now_us + 100 * second_us;
        assert_int_equal(put_said(store, i, said, *now_us), STORE_APPLIED);
    }
    *now_us += 3 * second_us;
    while (store_expire(store, *now_us, 1000))
        ;
    return store;
}

/* When sizes change, sweeping wins back the memory of the old ones, and nothing of what stands
 * there changes: not its content, not its order, not when it expires. */
static void test_sweeping_moves_records(void **state)
{
    (void)state;
    enum { RECORDS = 60000 };
    uint64_t count_before, count_after, now = noon_us;
    struct store *store = sparse_store(RECORDS, 32 << 20, &now);
    assert_true(store_is_sparse(store));
    uint64_t before = listing_digest(store, &count_before);
    assert_int_equal(count_before, RECORDS);
    uint64_t resident = heap_resident(store_heap(store)), digest = store_digest(store);
    sweep_around(store, now);
    uint64_t after = listing_digest(store, &count_after);
    assert_int_equal(count_after, count_before);
    assert_true(before == after);
    assert_true(digest == store_digest(store));
    assert_false(store_is_sparse(store));
    assert_true(heap_resident(store_heap(store)) < resident - resident / 4);
    for (unsigned i = 0; i < RECORDS; i++)
        check(has(store, i, now) == (i % 16 == 0), "%u", i);
    now += 200 * second_us; /* those that were moved still expire */
    while (store_expire(store, now, 1000))
        ;
    assert_int_equal(store_counts(store).keys, RECORDS / 32);
    for (unsigned i = 0; i < RECORDS; i += 16)
        assert_int_equal(put(store, i, 0, true, now), STORE_APPLIED);
    now += 2 * grace_us;
    sweep_around(store, now);
    assert_int_equal(store_counts(store).keys + store_counts(store).tombstones, 0);
    assert_int_equal(heap_used(store_heap(store)), 0);
    store_destroy(store);
}

/* Sweeping comes to an end: memory that is only kept warm is nothing that it could win. */
static void test_what_was_swept_is_not_sparse(void **state)
{
    (void)state;
    uint64_t now = noon_us;
    struct store *store = sparse_store(60000, 0, &now);
    for (int round = 0; round < 3; round++)
        sweep_around(store, now);
    bool sparse = store_is_sparse(store);
    store_destroy(store);
    assert_false(sparse);
}

/* Nor is room that no moving would win, as when each fifth value has become shorter: else the sweep would never rest. */
static void test_room_that_cannot_be_won_is_not_sparse(void **state)
{
    (void)state;
    enum { RECORDS = 100000 };
    uint64_t now = noon_us;
    struct store *store = store_new(0, grace_us, 6);
    assert_non_null(store);
    for (unsigned round = 0; round < 2; round++)
        for (unsigned i = 0; i < RECORDS; i += round ? 5 : 1)
            assert_int_equal(put(store, i, round ? 1 : 200, false, now), STORE_APPLIED);
    for (unsigned i = 0; i < 2; i++)
        sweep_around(store, now);
    bool sparse = store_is_sparse(store);
    store_destroy(store);
    assert_false(sparse);
}

/* Nor is the room between the tables of shards that have few keys now, since these move, too; and they have become smaller, and
 * grow, as if they had never been large. */
static void test_a_table_that_has_shrunk_is_not_sparse(void **state)
{
    (void)state;
    enum { RECORDS = 1000000, LEFT = 16000 };
    uint64_t now = noon_us;
    struct store *store = store_new(0, grace_us, 6), *small = store_new(0, grace_us, 6);
    assert_non_null(store);
    assert_non_null(small);
    for (unsigned i = 0; i < LEFT; i++)
        assert_int_equal(put(small, i, 100, false, now), STORE_APPLIED);
    uint64_t used = heap_used(store_heap(small));
    for (unsigned i = 0; i < RECORDS; i++)
        assert_int_equal(put(store, i, 100, false, now), STORE_APPLIED);
    for (unsigned i = LEFT; i < RECORDS; i++)
        assert_int_equal(put(store, i, 0, true, now), STORE_APPLIED);
    now += 2 * grace_us;
    for (unsigned i = 0; i < 3; i++)
        sweep_around(store, now);
    assert_int_equal(store_counts(store).tombstones, 0);
    bool sparse = store_is_sparse(store);
    for (unsigned i = 0; i < LEFT; i++)
        check(has(store, i, now), "%u is lost", i);
    uint64_t left = heap_used(store_heap(store));
    assert_false(sparse);
    assert_in_range(left, used, used + used / 10);
    for (unsigned i = LEFT; i < 8 * LEFT; i++) {
        assert_int_equal(put(store, i, 100, false, now), STORE_APPLIED);
        assert_int_equal(put(small, i, 100, false, now), STORE_APPLIED);
    }
    used = heap_used(store_heap(small));
    left = heap_used(store_heap(store));
    store_destroy(store);
    store_destroy(small);
    assert_in_range(left, used, used + used / 50);
}

/* The first keys of one shard. */
static void name_one_shard(struct store *store, unsigned *numbers, unsigned count)
{
    uint32_t shard = 0;
    for (unsigned i = 0, found = 0; found < count; i++) {
        char name[KEY_BYTES];
        struct store_key key = numbered(store, i, name);
        if (i == 0)
            shard = key.shard;
        if (key.shard == shard)
            numbers[found++] = i;
    }
}

enum { IN_SHARD = 12 };

/* Deletes in one shard, which are past the grace period, and a sweep that stands before the first one. */
static struct store *store_before_sweep(unsigned numbers[IN_SHARD], uint64_t *now_us)
{
    struct store *store = store_new(0, grace_us, 6);
    assert_non_null(store);
    name_one_shard(store, numbers, IN_SHARD);
    for (unsigned i = 0; i < IN_SHARD; i++)
        assert_int_equal(put(store, numbers[i], 0, true, *now_us), STORE_APPLIED);
    while (store_counts(store).sweeps == 0)
        store_sweep(store, *now_us, 1);
    *now_us += 2 * grace_us;
    return store;
}

static void tell(struct store *store, unsigned number)
{
    char name[KEY_BYTES];
    struct store_key key = numbered(store, number, name);
    store_tell(store, &key, store_find(store, &key));
}

/* All that is to go in a round goes in it, though the shard has the less records the more are gone. */
static void test_a_round_leaves_nothing(void **state)
{
    (void)state;
    unsigned numbers[IN_SHARD];
    uint64_t now = noon_us;
    struct store *store = store_before_sweep(numbers, &now);
    uint64_t sweeps = store_counts(store).sweeps;
    unsigned calls = 0, went = 0;
    for (; store_counts(store).sweeps == sweeps; calls++)
        went += store_sweep(store, now, 1);
    assert_int_equal(store_counts(store).dropped, IN_SHARD);
    assert_int_equal(went, IN_SHARD);
    assert_true(calls > 16); /* nobody is held up, however empty the table is */
    store_destroy(store);
}

/* What is written or told again meanwhile comes last again, but once in a round is enough. */
static void test_a_busy_shard_does_not_hold_the_sweep(void **state)
{
    (void)state;
    unsigned numbers[IN_SHARD];
    for (int tells = 0; tells < 2; tells++) {
        uint64_t now = noon_us;
        struct store *store = store_before_sweep(numbers, &now);
        for (unsigned i = 0; i < IN_SHARD; i++)
            assert_int_equal(put(store, numbers[i], 1, false, now), STORE_APPLIED);
        uint64_t sweeps = store_counts(store).sweeps;
        for (unsigned i = 0; store_counts(store).sweeps == sweeps; i++) {
            store_sweep(store, now, 1);
            assert_true(i < STORE_SHARDS);
            if (tells)
                tell(store, numbers[i % IN_SHARD]);
            else
                assert_int_equal(put(store, numbers[i % IN_SHARD], 1, false, now), STORE_APPLIED);
        }
        store_destroy(store);
    }
}

/* The very one that comes next is told again, each time. */
static void test_a_sweep_passes_what_is_told_again(void **state)
{
    (void)state;
    unsigned numbers[IN_SHARD];
    for (unsigned next = 0; next < IN_SHARD - 1; next++) {
        uint64_t now = noon_us;
        struct store *store = store_before_sweep(numbers, &now);
        while (store_counts(store).dropped < next + 1)
            store_sweep(store, now, 1);
        tell(store, numbers[next + 1]);
        for (unsigned i = next + 1; i < IN_SHARD; i++)
            assert_int_equal(store_sweep(store, now, 1), 1);
        assert_int_equal(store_counts(store).dropped, IN_SHARD);
        store_destroy(store);
    }
}

/* It stands in the middle of a shard, whose records go and come meanwhile: the very one that is next, too, which comes last then. */
static void test_a_sweep_goes_on_where_it_stopped(void **state)
{
    (void)state;
    unsigned numbers[IN_SHARD];
    for (unsigned next = 0; next < IN_SHARD; next++) {
        uint64_t now = noon_us;
        struct store *store = store_before_sweep(numbers, &now);
        assert_int_equal(put(store, numbers[next], 9, false, now), STORE_APPLIED);
        for (unsigned i = 0; i < 2 * STORE_SHARDS && store_counts(store).tombstones; i++) {
            store_sweep(store, now, 1);
            assert_int_equal(put(store, numbers[next], 9 + i % 5, false, now), STORE_APPLIED);
            tell(store, numbers[next]);
        }
        assert_int_equal(store_counts(store).tombstones, 0);
        assert_int_equal(store_counts(store).dropped, IN_SHARD - 1);
        assert_true(has(store, numbers[next], now));
        store_destroy(store);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_empty, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_places, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stamps, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_version_after_the_last, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_clock_that_steps_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stale_changes_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_expiry, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_expiry_is_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_expiry_is_of_records_not_of_keys, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_tombstones_go_after_their_grace, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_grace_of_what_expired, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_grace_at_the_ends_of_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_prefetch_changes_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_listed_records_stay, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_random, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_agreement, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_out_of_memory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_expiry_without_memory_is_tried_again, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_sweep_without_memory, set_up, tear_down),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_what_is_told_again_comes_last_and_is_the_same),
        cmocka_unit_test(test_deletes_of_nothing_leave_room_for_others),
        cmocka_unit_test(test_sweeping_moves_records),
        cmocka_unit_test(test_what_was_swept_is_not_sparse),
        cmocka_unit_test(test_room_that_cannot_be_won_is_not_sparse),
        cmocka_unit_test(test_a_table_that_has_shrunk_is_not_sparse),
        cmocka_unit_test(test_a_round_leaves_nothing),
        cmocka_unit_test(test_a_busy_shard_does_not_hold_the_sweep),
        cmocka_unit_test(test_a_sweep_passes_what_is_told_again),
        cmocka_unit_test(test_a_sweep_goes_on_where_it_stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
