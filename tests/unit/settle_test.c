/* Whether two members have the same. Both are made up: what is asked of them is answered by the test. */
#include "role/settle.h"

#include "unit.h"

enum { MS = 1000, ANSWER_BYTES = 32 * 1024 };

/* The digest of each shard; a group's is that of the first of its shards that is not 0. */
struct table {
    unsigned shards[STORE_SHARDS];
    bool silent;
};

struct in {
    struct loop loop;
    struct command command;
    struct settle settle;
    struct table a, b;
    unsigned asked;
};

static struct in in;

int __wrap_ask_init(struct ask *ask, struct loop *loop, struct upstreams *upstreams,
                    struct resolver *resolver, const char *name);
void __wrap_ask_get(struct ask *ask, const char *target, size_t body_max,
                    void (*on_answer)(struct ask *ask, unsigned status, struct slice body));
void __wrap_ask_free(struct ask *ask);

int __wrap_ask_init(struct ask *ask, struct loop *loop, struct upstreams *upstreams,
                    struct resolver *resolver, const char *name)
{
    (void)loop, (void)upstreams, (void)resolver, (void)name;
    assert_null(ask->on_answer);
    return 0;
}

void __wrap_ask_get(struct ask *ask, const char *target, size_t body_max,
                    void (*on_answer)(struct ask *ask, unsigned status, struct slice body))
{
    assert_true(body_max >= ANSWER_BYTES);
    ask->target = target;
    ask->on_answer = on_answer;
    in.asked++;
}

void __wrap_ask_free(struct ask *ask)
{
    ask->on_answer = NULL;
}

static unsigned group_digest(const struct table *table, unsigned group)
{
    for (unsigned i = 0; i < SETTLE_GROUP_SHARDS; i++)
        if (table->shards[group * SETTLE_GROUP_SHARDS + i])
            return table->shards[group * SETTLE_GROUP_SHARDS + i];
    return 0;
}

static void answer(struct settle_side *side, const struct table *table)
{
    static char text[ANSWER_BYTES];
    size_t len = 0;
    unsigned group;
    bool one = sscanf(side->ask.target, "/-/digest/%x", &group) == 1;
    if (!one)
        len += (size_t)sprintf(text + len, "all %016x\n", 1);
    for (unsigned i = 0; i < (one ? SETTLE_GROUP_SHARDS : STORE_GROUPS); i++)
        len += (size_t)sprintf(text + len, "%02x %016x\n", i,
                               one ? table->shards[group * SETTLE_GROUP_SHARDS + i]
                                   : group_digest(table, i));
    side->ask.on_answer(&side->ask, table->silent ? 0 : 200, (struct slice){text, len});
}

/* One look. */
static enum settle_state look(void)
{
    assert_int_equal(in.settle.state, SETTLE_ASKING);
    while (in.settle.state == SETTLE_ASKING) {
        answer(&in.settle.b, &in.b);
        answer(&in.settle.a, &in.a);
    }
    return in.settle.state;
}

static enum settle_state look_again(void)
{
    in.loop.now_us += SETTLE_AGAIN_US - 1;
    assert_int_equal(settle_tick(&in.settle), SETTLE_RESTING);
    in.loop.now_us++;
    assert_int_equal(settle_tick(&in.settle), SETTLE_ASKING);
    return look();
}

static int begin(void **state)
{
    static const struct address address = {.port = 8000};
    (void)state;
    in = (struct in){.command = {.loop = &in.loop}, .loop.now_us = MS};
    assert_int_equal(settle_start(&in.settle, &in.command, NULL, &address, &address, 400 * MS), 0);
    return 0;
}

static int end(void **state)
{
    (void)state;
    settle_free(&in.settle);
    return 0;
}

static void test_two_that_have_the_same(void **state)
{
    (void)state;
    in.a.shards[5] = in.b.shards[5] = 7;
    assert_int_equal(look(), SETTLE_SAME);
    assert_int_equal(in.asked, 2);
}

/* In one shard of all, the last one too. */
static void test_two_that_differ(void **state)
{
    static const unsigned shards[] = {0, 5, STORE_SHARDS - 1};
    for (unsigned i = 0; i < COUNT(shards); i++) {
        end(state);
        begin(state);
        in.a.shards[shards[i]] = 7;
        assert_int_equal(look(), SETTLE_RESTING);
        assert_int_equal(in.asked, 4);
        assert_int_equal(look_again(), SETTLE_RESTING);
        assert_int_equal(look_again(), SETTLE_APART);
        assert_int_equal(settle_tick(&in.settle), SETTLE_APART);
    }
}

/* Each shard once, whenever: writes go on in others. */
static void test_each_shard_is_the_same_once(void **state)
{
    (void)state;
    in.a.shards[3] = 7;
    assert_int_equal(look(), SETTLE_RESTING);
    in.a.shards[3] = 0;
    in.a.shards[4] = 8;
    assert_int_equal(look_again(), SETTLE_SAME);
}

/* Two shards of a group, one after the other, and one of another group that differs all the time. */
static void test_what_differs_is_waited_for(void **state)
{
    (void)state;
    in.a.shards[3] = in.a.shards[4] = in.b.shards[STORE_SHARDS / 2] = 7;
    assert_int_equal(look(), SETTLE_RESTING);
    in.b.shards[3] = 7;
    assert_int_equal(look_again(), SETTLE_RESTING);
    in.a.shards[3] = 8;
    in.b.shards[4] = 7;
    assert_int_equal(look_again(), SETTLE_APART);
}

static void test_one_that_does_not_answer(void **state)
{
    for (unsigned i = 0; i < 2; i++) {
        end(state);
        begin(state);
        (i ? &in.a : &in.b)->silent = true;
        assert_int_equal(look(), SETTLE_SILENT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_two_that_have_the_same, begin, end),
        cmocka_unit_test_setup_teardown(test_two_that_differ, begin, end),
        cmocka_unit_test_setup_teardown(test_each_shard_is_the_same_once, begin, end),
        cmocka_unit_test_setup_teardown(test_what_differs_is_waited_for, begin, end),
        cmocka_unit_test_setup_teardown(test_one_that_does_not_answer, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
