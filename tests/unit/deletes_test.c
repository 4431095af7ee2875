/* Deletes in a cluster: when they count, when they may be forgotten, and what brings them back to mind. */
#include "data/store.h"

#include "records.h"

enum { GRACE_US = 1000, HORIZON_US = 5000, SWEEP_ALL = 100000 };

struct in {
    struct store_agreement agreement; /* first */
    struct store *store;
    uint64_t clock_us, agreed_us, horizon_us;
    struct slice key; /* that the test is about just now */
};

static struct in in;

static uint64_t clock_us(struct store_agreement *agreement)
{
    return ((struct in *)agreement)->clock_us;
}

static uint64_t agreed_us(struct store_agreement *agreement, uint32_t shard)
{
    (void)shard;
    return ((struct in *)agreement)->agreed_us;
}

static uint64_t horizon_us(struct store_agreement *agreement)
{
    return ((struct in *)agreement)->horizon_us;
}

static int begin(void **state)
{
    (void)state;
    in = (struct in){.agreement = {clock_us, agreed_us, horizon_us, false},
                     .clock_us = 100,
                     .horizon_us = HORIZON_US,
                     .key = SLICE("key")};
    in.store = store_new(0, GRACE_US, 7);
    assert_non_null(in.store);
    store_agree(in.store, &in.agreement);
    return 0;
}

static int end(void **state)
{
    (void)state;
    store_destroy(in.store);
    return 0;
}

static struct store_key place(void)
{
    return store_key(in.store, in.key);
}

static struct record *made(uint64_t version, bool tombstone)
{
    struct said said = {.key = in.key, .version = version, .tombstone = tombstone};
    if (!tombstone)
        said.value = SLICE("value");
    return said_record(store_heap(in.store), &said);
}

static enum store_result put(enum store_result (*how)(struct store *, const struct store_key *,
                                                      struct record *, uint64_t),
                             uint64_t version, bool tombstone)
{
    struct store_key key = place();
    struct record *record = made(version, tombstone);
    enum store_result result = how(in.store, &key, record, version);
    if (result != STORE_APPLIED)
        record_release(store_heap(in.store), record);
    return result;
}

static const struct record *present(void)
{
    struct store_key key = place();
    return store_find(in.store, &key);
}

static unsigned listed(bool all)
{
    struct record *out[4];
    unsigned count = store_shard_records(in.store, place().shard, all, out, 4);
    for (unsigned i = 0; i < count; i++)
        record_release(store_heap(in.store), out[i]);
    return count;
}

static void sweep_at(uint64_t now_us)
{
    for (unsigned i = 0; i <= STORE_SHARDS / 512; i++)
        store_sweep(in.store, now_us, SWEEP_ALL);
}

static void sweep(void)
{
    sweep_at(HORIZON_US + GRACE_US);
}

/* A node whose clock is further behind than the grace period may have forgotten a delete of a version that its clock has yet to
 * come to. */
static void test_a_write_is_not_older_than_what_was_forgotten(void **state)
{
    (void)state;
    assert_int_equal(put(store_write, 10, false), STORE_APPLIED);
    assert_int_equal(present()->version, HORIZON_US);
    assert_int_equal(put(store_write, 20, true), STORE_APPLIED);
    assert_int_equal(present()->version, HORIZON_US + 1);
    assert_int_equal(put(store_write, 3 * HORIZON_US, false), STORE_APPLIED);
    assert_int_equal(present()->version, 3 * HORIZON_US);
}

/* It is older than what came while it was under way; but not older than what may have been deleted, and forgotten. */
static void test_a_write_that_takes_long_is_one_of_its_beginning(void **state)
{
    (void)state;
    assert_int_equal(put(store_write, HORIZON_US + 10, false), STORE_APPLIED);
    assert_int_equal(put(store_write_begun, HORIZON_US + 9, true), STORE_STALE);
    assert_int_equal(put(store_write_begun, HORIZON_US + 10, true), STORE_APPLIED);
    assert_int_equal(present()->version, HORIZON_US + 11); /* no version is given twice */
    assert_int_equal(put(store_write_begun, HORIZON_US + 12, true), STORE_APPLIED);
    assert_int_equal(present()->version, HORIZON_US + 12);
    /* What was written since is newer in any case. */
    assert_int_equal(put(store_write_begun, HORIZON_US - 1, false), STORE_STALE);
    assert_int_equal(present()->version, HORIZON_US + 12);
}

static void test_a_write_that_takes_long_is_not_older_than_what_was_forgotten(void **state)
{
    (void)state;
    assert_int_equal(put(store_write_begun, HORIZON_US - 10, false), STORE_APPLIED);
    assert_int_equal(present()->version, HORIZON_US);
    in.horizon_us = 3 * HORIZON_US;
    assert_int_equal(put(store_write_begun, 2 * HORIZON_US, true), STORE_APPLIED);
    assert_int_equal(present()->version, 3 * HORIZON_US);
}

/* A newcomer has to know of deletes that all others have forgotten to speak of: somebody who was cut off may not know them. */
static void test_a_copy_has_old_deletes_and_they_count_for_nothing(void **state)
{
    (void)state;
    assert_int_equal(put(store_adopt, 100, true), STORE_APPLIED);
    assert_non_null(present());
    assert_int_equal(listed(false), 0);
    assert_int_equal(listed(true), 1);
    assert_int_equal(store_digest(in.store), 0);
    assert_int_equal(store_counts(in.store).buried, 1);
    assert_int_equal(store_counts(in.store).revived, 0);
}

static void test_who_does_not_know_an_old_delete_hears_of_it(void **state)
{
    (void)state;
    assert_int_equal(put(store_adopt, 100, true), STORE_APPLIED);
    assert_int_equal(put(store_merge, 50, false), STORE_STALE);
    assert_true(record_is_tombstone(present()));
    assert_int_equal(listed(false), 1);
    assert_int_equal(store_digest(in.store), record_digest(present()));
    assert_int_equal(store_counts(in.store).buried, 0);
    assert_int_equal(store_counts(in.store).revived, 1);
    assert_int_equal(put(store_merge, 50, false), STORE_STALE);
    assert_int_equal(store_counts(in.store).revived, 1); /* that is no news any more */
}

/* From a member that tells it, which does not know that it is old: so somebody does not know it, as where an older value came. */
static void test_an_old_delete_that_is_news_is_told(void **state)
{
    (void)state;
    assert_int_equal(put(store_merge, 100, true), STORE_APPLIED);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(listed(false), 1);
        assert_int_equal(store_digest(in.store), record_digest(present()));
        assert_int_equal(store_counts(in.store).revived, 1);
        sweep(); /* which leaves it until the grace period's next step */
    }
    in.horizon_us += GRACE_US;
    assert_int_equal(listed(false), 0);
    sweep();
    assert_int_equal(store_digest(in.store), 0);
    assert_int_equal(store_counts(in.store).buried, 1);
}

/* Another key of the shard. */
static struct slice neighbour(char room[16])
{
    uint32_t shard = place().shard;
    for (unsigned i = 0;; i++) {
        struct slice name = {room, (size_t)snprintf(room, 16, "%u", i)};
        if (store_key(in.store, name).shard == shard)
            return name;
    }
}

/* What is no part of the digest stands in no listing either: otherwise two nodes whose digests differ find nothing that does. */
static void test_one_that_was_buried_again_is_not_listed_with_its_neighbour(void **state)
{
    (void)state;
    char room[16];
    assert_int_equal(put(store_adopt, 100, true), STORE_APPLIED);
    assert_int_equal(put(store_merge, 50, false), STORE_STALE);
    assert_int_equal(listed(false), 1);
    in.horizon_us += GRACE_US;
    sweep();
    assert_int_equal(listed(false), 0);
    assert_int_equal(store_digest(in.store), 0);
    in.key = neighbour(room);
    assert_int_equal(put(store_adopt, 100, true), STORE_APPLIED);
    assert_int_equal(put(store_merge, 50, false), STORE_STALE);
    assert_int_equal(listed(true), 2);
    assert_int_equal(listed(false), 1);
    assert_int_equal(store_digest(in.store), record_digest(present()));
}

static void test_it_goes_once_all_were_seen_to_agree_after_it_was_buried(void **state)
{
    (void)state;
    in.agreed_us = 99;
    assert_int_equal(put(store_adopt, 100, true), STORE_APPLIED);
    sweep();
    assert_non_null(present());
    in.agreed_us = 100; /* not after */
    sweep();
    assert_non_null(present());
    in.agreed_us = 101;
    sweep();
    assert_null(present());
    assert_int_equal(store_counts(in.store).buried, 0);
}

/* The caller comes again soon as long as there is much to do, be it to bury or to drop. */
static void test_a_sweep_says_what_it_did(void **state)
{
    (void)state;
    assert_int_equal(put(store_write, 100, true), STORE_APPLIED);
    in.horizon_us = 10 * HORIZON_US;
    unsigned went = 0;
    for (unsigned i = 0; i <= STORE_SHARDS / 512; i++)
        went += store_sweep(in.store, HORIZON_US, SWEEP_ALL);
    assert_int_equal(went, 1);
    assert_int_equal(store_counts(in.store).buried, 1);
    assert_int_equal(put(store_write, 200, false), STORE_APPLIED);
    assert_int_equal(store_counts(in.store).buried, 0);
}

/* Its version is old, and an older value may come from a backup still: who is alone remembers it from when it expired. */
static void test_who_is_alone_remembers_what_has_just_expired(void **state)
{
    (void)state;
    enum { DUE_US = 2000000 };
    struct said said = {
        .key = in.key, .value = SLICE("value"), .version = 100, .expires_us = DUE_US};
    struct store_key key = place();
    assert_int_equal(store_merge(in.store, &key, said_record(store_heap(in.store), &said), 100),
                     STORE_APPLIED);
    assert_false(store_expire(in.store, DUE_US, 100));
    assert_true(record_is_tombstone(present()));
    in.agreed_us = UINT64_MAX;
    sweep_at(DUE_US - 1); /* the clock was set back */
    assert_non_null(present());
    sweep_at(DUE_US + GRACE_US);
    assert_non_null(present());
    assert_int_equal(listed(false), 0); /* as the digest says */
    assert_int_equal(store_digest(in.store), 0);
    assert_int_equal(put(store_merge, 50, false), STORE_STALE);
    sweep_at(DUE_US + GRACE_US + 1);
    assert_null(present());
}

/* What comes in a copy is no better than what is here, however old both are. */
static void test_a_copy_undoes_nothing(void **state)
{
    (void)state;
    assert_int_equal(put(store_adopt, 100, true), STORE_APPLIED);
    assert_int_equal(put(store_adopt, 99, true), STORE_STALE);
    assert_int_equal(present()->version, 100);
    assert_int_equal(put(store_adopt, 100, true), STORE_STALE);
    assert_int_equal(put(store_write, HORIZON_US + 1, false), STORE_APPLIED);
    assert_int_equal(put(store_adopt, 101, true), STORE_STALE);
    assert_false(record_is_tombstone(present()));
}

/* What was written at the horizon, by a node whose clock is far behind, is not past it. */
static void test_a_copy_has_what_is_newer_too(void **state)
{
    (void)state;
    assert_int_equal(put(store_adopt, HORIZON_US, true), STORE_APPLIED);
    assert_int_equal(listed(false), 1);
    assert_int_equal(put(store_adopt, HORIZON_US + 1, true), STORE_APPLIED);
    assert_int_equal(listed(false), 1);
    assert_int_equal(put(store_adopt, HORIZON_US, true), STORE_STALE);
    assert_int_equal(put(store_adopt, HORIZON_US + 2, false), STORE_APPLIED);
    assert_false(record_is_tombstone(present()));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_write_is_not_older_than_what_was_forgotten, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_a_write_that_takes_long_is_one_of_its_beginning, begin,
                                        end),
        cmocka_unit_test_setup_teardown(
            test_a_write_that_takes_long_is_not_older_than_what_was_forgotten, begin, end),
        cmocka_unit_test_setup_teardown(test_a_copy_has_old_deletes_and_they_count_for_nothing,
                                        begin, end),
        cmocka_unit_test_setup_teardown(test_who_does_not_know_an_old_delete_hears_of_it, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_an_old_delete_that_is_news_is_told, begin, end),
        cmocka_unit_test_setup_teardown(
            test_one_that_was_buried_again_is_not_listed_with_its_neighbour, begin, end),
        cmocka_unit_test_setup_teardown(
            test_it_goes_once_all_were_seen_to_agree_after_it_was_buried, begin, end),
        cmocka_unit_test_setup_teardown(test_a_sweep_says_what_it_did, begin, end),
        cmocka_unit_test_setup_teardown(test_who_is_alone_remembers_what_has_just_expired, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_a_copy_undoes_nothing, begin, end),
        cmocka_unit_test_setup_teardown(test_a_copy_has_what_is_newer_too, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
