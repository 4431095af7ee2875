/* Who belongs to the cluster: lists that are merged give the same result in any order. */
#include "role/members.h"

#include "unit.h"

static struct members own;

static struct member said(uint64_t id, uint16_t port, uint64_t stamp, enum member_state state)
{
    struct member member = {.id = id, .stamp = stamp, .state = state, .heard_us = 5};
    member.address.port = port;
    member.gone_us = state == MEMBER_HERE ? 0 : 100;
    return member;
}

static int begin(void **state)
{
    (void)state;
    assert_int_equal(members_init(&own, 1, 10), 0);
    members_self(&own)->address.port = 8001;
    return 0;
}

static int end(void **state)
{
    (void)state;
    members_free(&own);
    return 0;
}

static void test_members_come_and_go(void **state)
{
    (void)state;
    struct member two = said(2, 8002, 20, MEMBER_HERE);
    assert_true(members_merge(&own, &two));
    assert_false(members_merge(&own, &two));
    assert_int_equal(members_here(&own), 2);
    struct member left = said(2, 8002, 20, MEMBER_LEFT);
    assert_true(members_merge(&own, &left));
    assert_int_equal(members_here(&own), 1);
    assert_false(members_merge(&own, &two)); /* who is gone stays so */
    assert_int_equal(members_find(&own, 2)->state, MEMBER_LEFT);
    struct member dropped = said(2, 8002, 20, MEMBER_DROPPED);
    assert_true(members_merge(&own, &dropped));
    assert_false(members_merge(&own, &left));
}

static void test_nobody_says_that_this_node_is_gone(void **state)
{
    (void)state;
    struct member self = said(1, 9999, 1000, MEMBER_LEFT);
    assert_false(members_merge(&own, &self));
    assert_int_equal(members_self(&own)->state, MEMBER_HERE);
    assert_int_equal(members_self(&own)->address.port, 8001);
}

static void test_of_two_at_one_address_the_later_counts(void **state)
{
    (void)state;
    struct member old = said(2, 8002, 20, MEMBER_HERE), young = said(3, 8002, 30, MEMBER_HERE);
    members_merge(&own, &young);
    members_merge(&own, &old);
    assert_int_equal(members_at(&own, &old.address)->id, 3);
    assert_int_equal(members_here(&own), 2); /* the earlier life no more */
    assert_true(members_counts(&own, members_find(&own, 3)));
    assert_false(members_counts(&own, members_find(&own, 2)));
    assert_true(members_counts(&own, members_self(&own)));
    old.stamp = 31;
    assert_true(members_merge(&own, &old));
    assert_int_equal(members_at(&own, &old.address)->id, 2);
    young.stamp = 31; /* a tie: the larger number */
    members_merge(&own, &young);
    assert_int_equal(members_at(&own, &old.address)->id, 3);
}

static void test_hearsay_only_makes_later(void **state)
{
    (void)state;
    struct member two = said(2, 8002, 20, MEMBER_HERE);
    two.heard_us = 50;
    members_merge(&own, &two);
    two.heard_us = 40;
    members_merge(&own, &two);
    assert_int_equal(members_find(&own, 2)->heard_us, 50);
    two.heard_us = 60;
    members_merge(&own, &two);
    assert_int_equal(members_find(&own, 2)->heard_us, 60);
}

static void test_the_gone_are_forgotten(void **state)
{
    (void)state;
    struct member gone = said(2, 8002, 20, MEMBER_LEFT), here = said(3, 8003, 20, MEMBER_HERE);
    members_merge(&own, &gone);
    members_merge(&own, &here);
    members_forget(&own, 100);
    assert_int_equal(own.count, 3);
    members_forget(&own, 101);
    assert_int_equal(own.count, 2);
    assert_null(members_find(&own, 2));
    assert_non_null(members_find(&own, 3));
}

static void test_there_is_a_limit(void **state)
{
    (void)state;
    for (uint64_t id = 2; id < MEMBERS_MAX + 10; id++) {
        struct member one = said(id, (uint16_t)id, 20, MEMBER_HERE);
        assert_int_equal(members_merge(&own, &one), id <= MEMBERS_MAX);
    }
    assert_int_equal(own.count, MEMBERS_MAX);
}

/* From where the last one was found on, as lists are told in about the same order; and from the beginning again, wherever that was. */
static void test_the_next_one_is_found_next_to_the_last_one(void **state)
{
    (void)state;
    for (uint64_t id = 2; id <= 9; id++) {
        struct member one = said(id, (uint16_t)id, 20, id % 2 ? MEMBER_LEFT : MEMBER_HERE);
        assert_true(members_merge(&own, &one));
    }
    for (uint64_t id = 1; id <= 9; id++) {
        assert_ptr_equal(members_seek(&own, id), members_find(&own, id));
        assert_int_equal(own.near, id - 1);
    }
    assert_null(members_seek(&own, 10));
    assert_int_equal(own.near, 8);
    members_forget(&own, 101);
    assert_int_equal(own.count, 5);
    for (uint64_t id = 9; id > 0; id--)
        assert_ptr_equal(members_seek(&own, id), members_find(&own, id));
}

static void fill_with(enum member_state state)
{
    for (uint64_t id = 2; id <= MEMBERS_MAX; id++) {
        struct member one = said(id, (uint16_t)id, 20, state);
        one.gone_us += (id * 7) % MEMBERS_MAX; /* in another order than they came */
        assert_true(members_merge(&own, &one));
    }
}

/* A node that is started again and again fills the list with lives that are over: they keep nobody out. */
static void test_who_left_makes_room(void **state)
{
    (void)state;
    struct peer *peer = (struct peer *)&own;
    struct member next = said(5000, 8002, 30, MEMBER_HERE),
                  left = said(6000, 8003, 30, MEMBER_LEFT);
    fill_with(MEMBER_LEFT);
    assert_false(members_merge(&own, &left));
    uint64_t first = 0, second = 0;
    for (uint64_t id = 2; id <= MEMBERS_MAX; id++) {
        first = (id * 7) % MEMBERS_MAX == 1 ? id : first;
        second = (id * 7) % MEMBERS_MAX == 2 ? id : second;
    }
    members_find(&own, MEMBERS_MAX)->peer = peer; /* of which something is under way still */
    assert_true(members_merge(&own, &next));
    assert_null(members_find(&own, first));
    assert_non_null(members_find(&own, second));
    next.id++;
    next.address.port++;
    assert_true(members_merge(&own, &next));
    assert_null(members_find(&own, second));
    assert_int_equal(own.count, MEMBERS_MAX);
    assert_int_equal(members_here(&own), 3);
    assert_non_null(members_find(&own, MEMBERS_MAX));
}

/* Who was dropped is refused when it comes back, for as long as it is known. */
static void test_who_was_dropped_stays(void **state)
{
    (void)state;
    struct member next = said(5000, 8002, 30, MEMBER_HERE);
    fill_with(MEMBER_DROPPED);
    assert_false(members_merge(&own, &next));
    assert_int_equal(members_find(&own, 2)->state, MEMBER_DROPPED);
}

static void test_lines_come_back(void **state)
{
    (void)state;
    char room[MEMBER_LINE_BYTES_MAX];
    struct member member = said(0x123456789abcdef0, 8002, 77, MEMBER_DROPPED), back;
    for (int phase = 0; phase < 4; phase++) {
        struct text text = text_in(room, sizeof room);
        member.phase = (enum member_phase)(phase % 3);
        member.state = phase == 3 ? MEMBER_LEFT : MEMBER_HERE;
        member.heard_us = 1000000;
        member_print(&member, false, 3000000, &text);
        assert_int_equal(member_parse((struct slice){text.data, text.len - 1}, 10000000, &back), 0);
        assert_int_equal(back.id, member.id);
        assert_int_equal(back.stamp, 77);
        assert_int_equal(back.state, member.state);
        assert_int_equal(back.heard_us, 8000000);
        if (phase < 3)
            assert_int_equal(back.phase, phase);
    }
}

static void test_bad_lines_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "member",
        "member 10.0.0.1:8000 ready 0123456789abcdef 1 0",
        "member 10.0.0.1:8000 ready 0123456789abcde 1 0 0",
        "member 10.0.0.1:8000 ready 0000000000000000 1 0 0",
        "member 10.0.0.1:8000 happy 0123456789abcdef 1 0 0",
        "member nowhere ready 0123456789abcdef 1 0 0",
        "member 10.0.0.1:8000 ready 0123456789abcdef -1 0 0",
        "stranger 10.0.0.1:8000 ready 0123456789abcdef 1 0 0",
    };
    struct member back;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_not_equal(member_parse(slice_of(bad[i]), 0, &back), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_members_come_and_go, begin, end),
        cmocka_unit_test_setup_teardown(test_nobody_says_that_this_node_is_gone, begin, end),
        cmocka_unit_test_setup_teardown(test_of_two_at_one_address_the_later_counts, begin, end),
        cmocka_unit_test_setup_teardown(test_hearsay_only_makes_later, begin, end),
        cmocka_unit_test_setup_teardown(test_the_gone_are_forgotten, begin, end),
        cmocka_unit_test_setup_teardown(test_the_next_one_is_found_next_to_the_last_one, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_there_is_a_limit, begin, end),
        cmocka_unit_test_setup_teardown(test_who_left_makes_room, begin, end),
        cmocka_unit_test_setup_teardown(test_who_was_dropped_stays, begin, end),
        cmocka_unit_test_setup_teardown(test_lines_come_back, begin, end),
        cmocka_unit_test_setup_teardown(test_bad_lines_are_refused, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
