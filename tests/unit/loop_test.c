/* Linked with --wrap for malloc, calloc and realloc: see failing.h. */
#include "net/loop.h"

#include <errno.h>

#include "failing.h"
#include "fake_io.h"
#include "unit.h"

static struct fake_io *io;
static struct loop loop;

static int set_up(void **state)
{
    (void)state;
    io = fake_io_new();
    loop_init(&loop, &io->io);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    loop_free(&loop);
    fake_io_destroy(io);
    return 0;
}

/* What happened, in order: letters. */
static struct {
    char letters[8192];
    size_t count;
} story;

static void story_start(void)
{
    story.count = 0;
}

static void story_tell(char letter)
{
    assert_true(story.count < sizeof story.letters);
    story.letters[story.count++] = letter;
}

static void story_check(const char *wanted)
{
    check_slice((struct slice){story.letters, story.count}, slice_of(wanted), "story");
}

/* Timers that tell their letter, and then do something. */
struct bell {
    struct loop_timer timer; /* first, so that a timer leads here */
    char letter;
    uint64_t rung_us;
    unsigned rung;
    uint64_t again_after_us; /* sets itself anew, when not 0 */
    unsigned times;          /* at most */
    struct bell *stops, *starts;
    uint64_t starts_at_us;
};

static void bell_ring(struct loop_timer *timer)
{
    struct bell *bell = (struct bell *)timer;
    check(timer->place == 0, "%c is still set while it rings", bell->letter);
    check(timer->at_us <= loop.now_us, "%c rings too early", bell->letter);
    story_tell(bell->letter);
    bell->rung++;
    bell->rung_us = loop.now_us;
    if (bell->times > bell->rung)
        loop_timer_set(&loop, timer, loop.now_us + bell->again_after_us);
    if (bell->stops)
        loop_timer_clear(&loop, &bell->stops->timer);
    if (bell->starts)
        loop_timer_set(&loop, &bell->starts->timer, bell->starts_at_us);
}

static void bells_init(struct bell *bells, unsigned count)
{
    memset(bells, 0, count * sizeof *bells);
    for (unsigned i = 0; i < count; i++) {
        bells[i].letter = (char)('a' + i % 26);
        bells[i].timer.on_time = bell_ring;
        assert_int_equal(loop_timer_reserve(&loop), 0);
    }
    story_start();
}

/* Waiting for nothing else than timers. */
static void run_until(uint64_t us)
{
    while (loop.now_us < us)
        loop_turn(&loop, (int64_t)(us - loop.now_us));
}

/* Timers */

static void test_timers_ring_in_order(void **state)
{
    (void)state;
    struct bell bells[5];
    uint64_t start = loop.now_us;
    static const uint64_t after_us[] = {500, 100, 400, 200, 300};
    bells_init(bells, 5);
    for (unsigned i = 0; i < 5; i++)
        loop_timer_set(&loop, &bells[i].timer, start + after_us[i]);
    assert_int_equal(loop_deadline(&loop), start + 100);
    run_until(start + 1000);
    story_check("bdeca");
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(bells[i].rung_us, start + after_us[i]);
    assert_true(loop_deadline(&loop) == UINT64_MAX);
}

static void test_ties_ring_in_the_order_of_setting(void **state)
{
    (void)state;
    struct bell bells[6];
    uint64_t at = loop.now_us + 1000;
    bells_init(bells, 6);
    for (unsigned i = 0; i < 6; i++)
        loop_timer_set(&loop, &bells[i].timer, at);
    loop_timer_set(&loop, &bells[1].timer, at); /* set anew: the last one now */
    loop_timer_set(&loop, &bells[3].timer, at + 1);
    loop_timer_set(&loop, &bells[3].timer, at);
    run_until(at);
    story_check("acefbd");
}

static void test_set_moves(void **state)
{
    (void)state;
    struct bell bells[3];
    uint64_t start = loop.now_us;
    bells_init(bells, 3);
    loop_timer_set(&loop, &bells[0].timer, start + 100);
    loop_timer_set(&loop, &bells[1].timer, start + 200);
    loop_timer_set(&loop, &bells[2].timer, start + 300);
    loop_timer_set(&loop, &bells[0].timer, start + 250); /* later */
    loop_timer_set(&loop, &bells[2].timer, start + 50);  /* earlier */
    assert_int_equal(loop_deadline(&loop), start + 50);
    run_until(start + 400);
    story_check("cba");
}

static void test_clear(void **state)
{
    (void)state;
    struct bell bells[4];
    uint64_t start = loop.now_us;
    bells_init(bells, 4);
    for (unsigned i = 0; i < 4; i++)
        loop_timer_set(&loop, &bells[i].timer, start + 100 * (i + 1));
    loop_timer_clear(&loop, &bells[0].timer);
    loop_timer_clear(&loop, &bells[0].timer); /* does nothing */
    loop_timer_clear(&loop, &bells[3].timer);
    assert_int_equal(loop_deadline(&loop), start + 200);
    run_until(start + 1000);
    story_check("bc");
}

static void test_past_timers_ring_in_the_next_turn(void **state)
{
    (void)state;
    struct bell bells[2];
    bells_init(bells, 2);
    loop_timer_set(&loop, &bells[0].timer, loop.now_us - 1000);
    loop_timer_set(&loop, &bells[1].timer, 0);
    loop_turn(&loop, -1);
    assert_int_equal(io->wait_us, 0);
    story_check("ba");
}

static void test_a_timer_may_stop_and_start_others(void **state)
{
    (void)state;
    struct bell bells[4];
    uint64_t at = loop.now_us + 100;
    bells_init(bells, 4);
    for (unsigned i = 0; i < 3; i++)
        loop_timer_set(&loop, &bells[i].timer, at);
    bells[0].stops = &bells[1];
    bells[2].starts = &bells[3];
    bells[2].starts_at_us = at; /* due already: in the same turn */
    run_until(at);
    story_check("acd");
}

static void test_a_timer_may_set_itself(void **state)
{
    (void)state;
    struct bell bell[1];
    uint64_t start = loop.now_us;
    bells_init(bell, 1);
    bell->again_after_us = 10;
    bell->times = 5;
    loop_timer_set(&loop, &bell->timer, start + 10);
    run_until(start + 200);
    story_check("aaaaa");
    assert_int_equal(bell->rung_us, start + 50);
}

/* One that is always due does not hold up the rest of the turn. */
static void test_limit_of_timers_in_a_turn(void **state)
{
    (void)state;
    struct bell bell[1];
    bells_init(bell, 1);
    bell->times = 3 * LOOP_TIMERS_PER_TURN;
    loop_timer_set(&loop, &bell->timer, loop.now_us);
    for (unsigned turn = 1; turn <= 3; turn++) {
        loop_turn(&loop, -1);
        assert_int_equal(io->wait_us, 0);
        assert_int_equal(bell->rung, turn * LOOP_TIMERS_PER_TURN);
    }
    loop_turn(&loop, 77);
    assert_int_equal(io->wait_us, 77);
    assert_int_equal(bell->rung, 3 * LOOP_TIMERS_PER_TURN);
}

/* Against a model that is a plain array. */
static void test_random_timers(void **state)
{
    (void)state;
    enum { BELLS = 200, STEPS = 20000 };
    static struct bell bells[BELLS];
    struct chance chance = chance_start(4);
    bool set[BELLS] = {false};
    bells_init(bells, BELLS);
    for (int at = 0; at < STEPS; at++) {
        unsigned i = (unsigned)chance_below(&chance, BELLS);
        story_start();
        if (chance_once_in(&chance, 4)) {
            loop_timer_clear(&loop, &bells[i].timer);
            set[i] = false;
        } else if (!chance_once_in(&chance, 3)) {
            loop_timer_set(&loop, &bells[i].timer, loop.now_us + chance_below(&chance, 50));
            set[i] = true;
        } else {
            uint64_t until = loop.now_us + chance_below(&chance, 4);
            unsigned rung[BELLS];
            for (i = 0; i < BELLS; i++)
                rung[i] = bells[i].rung;
            io->now_us = until; /* the clock runs on before the turn begins */
            loop_turn(&loop, 0);
            for (i = 0; i < BELLS; i++) {
                bool due = set[i] && bells[i].timer.at_us <= until;
                check(bells[i].rung == rung[i] + due, "step %d, timer %u", at, i);
                set[i] = set[i] && !due;
            }
        }
        uint64_t deadline = UINT64_MAX;
        for (i = 0; i < BELLS; i++) {
            check((bells[i].timer.place != 0) == set[i], "step %d, timer %u", at, i);
            if (set[i] && bells[i].timer.at_us < deadline)
                deadline = bells[i].timer.at_us;
        }
        check(loop_deadline(&loop) == deadline, "step %d", at);
    }
}

/* The order of random timers, with many ties. */
static void test_random_order(void **state)
{
    (void)state;
    enum { BELLS = 300 };
    static struct bell bells[BELLS];
    struct chance chance = chance_start(5);
    for (int round = 0; round < 100; round++) {
        struct bell *sorted[BELLS];
        uint64_t start = loop.now_us;
        bells_init(bells, BELLS);
        for (unsigned i = 0; i < BELLS; i++)
            sorted[i] = &bells[i];
        for (unsigned sets = 0; sets < 2; sets++)
            for (unsigned i = 0; i < BELLS; i++)
                if (sets == 0 || chance_once_in(&chance, 3)) {
                    loop_timer_set(&loop, &bells[i].timer, start + chance_below(&chance, 20));
                    /* The model: the latest one set is the last one of its time. */
                    unsigned at = 0;
                    while (sorted[at] != &bells[i])
                        at++;
                    memmove(&sorted[at], &sorted[at + 1], (BELLS - at - 1) * sizeof *sorted);
                    sorted[BELLS - 1] = &bells[i];
                }
        io->now_us = start + 20;
        loop_turn(&loop, 0);
        assert_int_equal(story.count, BELLS);
        size_t told = 0;
        for (uint64_t us = start; us < start + 20; us++)
            for (unsigned i = 0; i < BELLS; i++)
                if (sorted[i]->timer.at_us == us)
                    check(story.letters[told++] == sorted[i]->letter, "round %d", round);
        for (unsigned i = 0; i < BELLS; i++)
            loop_timer_release(&loop, &bells[i].timer);
    }
}

/* Room is promised once a timer, so only the promise can fail. */
static void test_reserve_fails_without_memory(void **state)
{
    (void)state;
    enum { BELLS = 1000 };
    static struct bell bells[BELLS];
    memset(bells, 0, sizeof bells);
    unsigned failed = 0;
    for (unsigned i = 0; i < BELLS; i++) {
        bells[i].timer.on_time = bell_ring;
        failing_start(1, false);
        int result = loop_timer_reserve(&loop);
        if (failing_stop()) {
            assert_int_equal(result, -ENOMEM);
            assert_int_equal(loop_timer_reserve(&loop), 0);
            failed++;
        } else {
            assert_int_equal(result, 0);
        }
        loop_timer_set(&loop, &bells[i].timer, loop.now_us + i % 7);
    }
    assert_true(failed > 2 && failed < 20);
    for (unsigned i = 0; i < BELLS; i++)
        loop_timer_release(&loop, &bells[i].timer);
    assert_true(loop_deadline(&loop) == UINT64_MAX);
}

/* Waiting */

static void test_how_long_it_waits(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int64_t max_us;
        uint64_t timer_after_us; /* 0 for none */
        bool again;
        int64_t wanted_us;
    } rows[] = {
        {"nothing to do", -1, 0, false, -1},
        {"nothing to do, with an end", 500, 0, false, 500},
        {"no time", 0, 0, false, 0},
        {"a timer", -1, 300, false, 300},
        {"a timer before the end", 500, 300, false, 300},
        {"a timer behind the end", 200, 300, false, 200},
        {"a timer, but no time", 0, 300, false, 0},
        {"work is left", -1, 0, true, 0},
        {"work is left, and a timer", -1, 300, true, 0},
        {"work is left, with an end", 500, 300, true, 0},
        {"a timer at the end of time", -1, UINT64_MAX - 10000000, false, INT64_MAX},
        {"the same, with an end", 9, UINT64_MAX - 10000000, false, 9},
    };
    struct bell bell[1];
    bells_init(bell, 1);
    for (size_t i = 0; i < COUNT(rows); i++) {
        uint64_t now = io->now_us;
        if (rows[i].timer_after_us)
            loop_timer_set(&loop, &bell->timer, loop.now_us + rows[i].timer_after_us);
        loop.again = rows[i].again;
        loop_turn(&loop, rows[i].max_us);
        check(io->wait_us == rows[i].wanted_us, "%s: %lld", rows[i].name, (long long)io->wait_us);
        check(!loop.again, "%s", rows[i].name);
        loop_timer_clear(&loop, &bell->timer);
        io->now_us = now;
        loop_update_time(&loop);
    }
}

static void test_clocks(void **state)
{
    (void)state;
    io->now_us += 10;
    io->wall_ahead_us += 5;
    assert_true(loop.now_us != io->now_us);
    loop_update_time(&loop);
    assert_int_equal(loop.now_us, io->now_us);
    assert_int_equal(loop.wall_us, io->now_us + io->wall_ahead_us);
    io->now_us += 1000;
    loop_turn(&loop, 0);
    assert_int_equal(loop.now_us, io->now_us);
}

/* Turns are timed from after the wait to their end. */
static void test_turn_times(void **state)
{
    (void)state;
    assert_int_equal(histogram_count(&loop.turn_us), 0);
    io->tick_us = 100;
    loop_turn(&loop, 1000000);
    assert_int_equal(histogram_count(&loop.turn_us), 1);
    assert_int_equal(loop.turn_us.sum_us, 100);
}

/* Watchers, hooks, and what is deferred */

struct bulb {
    struct loop_watcher watcher; /* first, so that a watcher leads here */
    char letter;
    unsigned ready;
    int fd;
};

static void bulb_light(struct loop_watcher *watcher, unsigned ready)
{
    struct bulb *bulb = (struct bulb *)watcher;
    bulb->ready = ready;
    story_tell(bulb->letter);
}

struct hook {
    struct loop_hook hook; /* first, so that a hook leads here */
    char letter;
    unsigned again; /* so many times it says that work is left */
    struct hook *removes;
    struct later *defers;
    bool stops;
};

struct later {
    struct loop_deferred deferred; /* first, so that it leads here */
    char letter;
    struct later *defers;
};

static void later_run(struct loop_deferred *deferred)
{
    struct later *later = (struct later *)deferred;
    story_tell(later->letter);
    if (later->defers)
        loop_defer(&loop, &later->defers->deferred, later_run);
}

static void hook_run(struct loop_hook *hook)
{
    struct hook *mine = (struct hook *)hook;
    story_tell(mine->letter);
    if (mine->again > 0) {
        mine->again--;
        loop.again = true;
    }
    if (mine->removes)
        loop_hook_remove(&loop, &mine->removes->hook);
    if (mine->defers)
        loop_defer(&loop, &mine->defers->deferred, later_run);
    loop.stopped |= mine->stops;
}

static void hooks_add(struct hook *hooks, unsigned count)
{
    memset(hooks, 0, count * sizeof *hooks);
    for (unsigned i = 0; i < count; i++) {
        hooks[i].letter = (char)('A' + i);
        hooks[i].hook.on_turn_end = hook_run;
        loop_hook_add(&loop, &hooks[i].hook);
    }
    story_start();
}

static void test_order_of_a_turn(void **state)
{
    (void)state;
    struct hook hooks[2];
    struct bell bells[2];
    struct later later = {.letter = '!'};
    struct bulb bulb = {.watcher.on_ready = bulb_light, .letter = '*'};
    int fd = fake_socket_new(io);
    hooks_add(hooks, 2);
    bells_init(bells, 2);
    hooks[0].defers = &later;
    assert_int_equal(io->io.ops->watch(&io->io, fd, IO_READ | IO_WRITE, &bulb), 0);
    fake_feed(io, fd, SLICE("x"));
    loop_timer_set(&loop, &bells[0].timer, loop.now_us);
    loop_timer_set(&loop, &bells[1].timer, loop.now_us + 1);
    loop_turn(&loop, 0);
    story_check("*aAB!");
    assert_int_equal(bulb.ready, IO_READ | IO_WRITE);
    io->io.ops->close(&io->io, fd);
}

static void test_more_events_than_a_turn_takes(void **state)
{
    (void)state;
    enum { BULBS = LOOP_EVENTS_MAX + 10 };
    static struct bulb bulbs[BULBS];
    int fds[BULBS];
    story_start();
    for (unsigned i = 0; i < BULBS; i++) {
        bulbs[i] = (struct bulb){.watcher.on_ready = bulb_light, .letter = 'x'};
        fds[i] = fake_socket_new(io);
        assert_int_equal(io->io.ops->watch(&io->io, fds[i], IO_WRITE, &bulbs[i]), 0);
    }
    loop_turn(&loop, 0);
    assert_int_equal(story.count, LOOP_EVENTS_MAX);
    for (unsigned i = 0; i < BULBS; i++)
        io->io.ops->close(&io->io, fds[i]);
}

/* The process does not run for a second, from inside of a wait on: what the io then tells was seen before. */
static const struct io_ops *real_ops;
static unsigned stops; /* still to come */

static int wait_stopped(struct io *world, struct io_event *events, int max, int64_t timeout_us)
{
    if (stops == 0)
        return real_ops->wait(world, events, max, timeout_us);
    stops--;
    io->now_us += 1000000;
    return 0;
}

static void test_what_came_while_it_did_not_run(void **state)
{
    (void)state;
    struct io_ops ops = *io->io.ops;
    struct bell bell[1];
    struct bulb bulb = {.watcher.on_ready = bulb_light, .letter = '*'};
    int fd = fake_socket_new(io);
    real_ops = io->io.ops;
    ops.wait = wait_stopped;
    io->io.ops = &ops;
    bells_init(bell, 1);
    assert_int_equal(ops.watch(&io->io, fd, IO_READ, &bulb), 0);
    fake_feed(io, fd, SLICE("x"));
    loop_timer_set(&loop, &bell->timer, loop.now_us + 1000);
    stops = 1;
    loop_turn(&loop, -1);
    story_check("*a");
    ops.close(&io->io, fd);
    io->io.ops = real_ops;
}

static void bulb_light_once(struct loop_watcher *watcher, unsigned ready)
{
    struct bulb *bulb = (struct bulb *)watcher;
    bulb_light(watcher, ready);
    io->io.ops->rewatch(&io->io, bulb->fd, 0, bulb);
}

/* Stopped inside of a turn, it notices that no less than inside of a wait. */
static void bulb_stop_once(struct loop_watcher *watcher, unsigned ready)
{
    bulb_light_once(watcher, ready);
    io->now_us += 1000000;
    loop_update_time(&loop);
}

static void test_much_came_while_a_turn_did_not_end(void **state)
{
    (void)state;
    enum { BULBS = LOOP_EVENTS_MAX + 10 };
    static struct bulb bulbs[1 + BULBS];
    struct bell bell[1];
    bells_init(bell, 1);
    for (unsigned i = 0; i <= BULBS; i++) {
        bulbs[i] = (struct bulb){.watcher.on_ready = bulb_light_once, .fd = fake_socket_new(io)};
        assert_int_equal(io->io.ops->watch(&io->io, bulbs[i].fd, i ? 0 : IO_WRITE, &bulbs[i]), 0);
    }
    bulbs[0].watcher.on_ready = bulb_stop_once;
    loop_timer_set(&loop, &bell->timer, loop.now_us + 1000);
    loop_turn(&loop, 0);
    assert_int_equal(story.count, 1);
    for (unsigned i = 1; i <= BULBS; i++)
        io->io.ops->rewatch(&io->io, bulbs[i].fd, IO_WRITE, &bulbs[i]);
    loop_turn(&loop, 0);
    assert_int_equal(story.count, 1 + LOOP_EVENTS_MAX);
    loop_turn(&loop, 0);
    assert_int_equal(story.count, 1 + BULBS + 1);
    assert_int_equal(story.letters[1 + BULBS], 'a');
    for (unsigned i = 0; i <= BULBS; i++)
        io->io.ops->close(&io->io, bulbs[i].fd);
}

/* However much it is, before a timer rings; but if it never ends, though it is late all the time, the timer rings. */
static void test_much_came_while_it_did_not_run(void **state)
{
    (void)state;
    enum { BULBS = LOOP_EVENTS_MAX + 10 };
    static struct bulb bulbs[BULBS];
    struct bell bell[1];
    bells_init(bell, 1);
    for (unsigned i = 0; i < BULBS; i++) {
        bulbs[i] = (struct bulb){.watcher.on_ready = bulb_light_once, .fd = fake_socket_new(io)};
        assert_int_equal(io->io.ops->watch(&io->io, bulbs[i].fd, IO_WRITE, &bulbs[i]), 0);
    }
    loop_timer_set(&loop, &bell->timer, loop.now_us + 1000);
    io->now_us += 1000000;
    loop_turn(&loop, 0);
    assert_int_equal(story.count, LOOP_EVENTS_MAX);
    loop_turn(&loop, 0);
    assert_int_equal(story.count, BULBS + 1);
    assert_int_equal(story.letters[BULBS], 'a');
    for (unsigned i = 0; i < BULBS; i++) {
        bulbs[i].watcher.on_ready = bulb_light;
        io->io.ops->rewatch(&io->io, bulbs[i].fd, IO_WRITE, &bulbs[i]);
    }
    uint64_t start = loop.now_us + 1000000, step_us = LOOP_LATE_US + 1;
    loop_timer_set(&loop, &bell->timer, loop.now_us + 1000);
    io->now_us = start;
    for (loop_turn(&loop, 0); bell->rung == 1; loop_turn(&loop, 0)) {
        story_start();
        assert_true(io->now_us < start + LOOP_CATCH_UP_US);
        io->now_us += step_us;
    }
    assert_true(bell->rung_us >= start + LOOP_CATCH_UP_US);
    for (unsigned i = 0; i < BULBS; i++)
        io->io.ops->close(&io->io, bulbs[i].fd);
}

static void test_hooks_run_in_the_order_of_adding(void **state)
{
    (void)state;
    struct hook hooks[4];
    hooks_add(hooks, 4);
    loop_turn(&loop, 0);
    loop_turn(&loop, 0);
    story_check("ABCDABCD");
}

static void test_removal_of_hooks(void **state)
{
    (void)state;
    struct hook hooks[5], stranger = {.letter = '?'};
    hooks_add(hooks, 5);
    loop_hook_remove(&loop, &stranger.hook); /* does nothing */
    loop_hook_remove(&loop, &hooks[4].hook);
    loop_hook_remove(&loop, &hooks[0].hook);
    loop_turn(&loop, 0);
    story_check("BCD");
    hooks[1].removes = &hooks[1]; /* itself, while it runs */
    story_start();
    loop_turn(&loop, 0);
    story_check("BCD");
    hooks[2].removes = &hooks[3]; /* the one that would be next */
    story_start();
    loop_turn(&loop, 0);
    story_check("C");
    loop_hook_add(&loop, &hooks[0].hook);
    story_start();
    loop_turn(&loop, 0);
    story_check("CA");
}

static void test_work_left_is_not_waited_for(void **state)
{
    (void)state;
    struct hook hook[1];
    hooks_add(hook, 1);
    hook->again = 2;
    loop_turn(&loop, -1);
    assert_int_equal(io->wait_us, -1);
    assert_true(loop.again);
    loop_turn(&loop, -1);
    assert_int_equal(io->wait_us, 0);
    loop_turn(&loop, -1);
    assert_int_equal(io->wait_us, 0);
    loop_turn(&loop, -1);
    assert_int_equal(io->wait_us, -1);
}

static void test_run_until_stopped(void **state)
{
    (void)state;
    struct hook hook[1];
    struct bell bell[1];
    hooks_add(hook, 1);
    hook->again = 3;
    bells_init(bell, 1);
    bell->again_after_us = 10;
    bell->times = 3;
    loop_timer_set(&loop, &bell->timer, loop.now_us + 10);
    hook->stops = true;
    loop_run(&loop);
    assert_int_equal(io->waits, 1);
    loop_run(&loop); /* it is stopped already */
    assert_int_equal(io->waits, 1);
}

/* What is deferred while that runs is run too: nothing is left behind. */
static void test_deferred(void **state)
{
    (void)state;
    struct hook hooks[2];
    struct later third = {.letter = '3'}, second = {.letter = '2', .defers = &third};
    struct later first = {.letter = '1', .defers = &second};
    hooks_add(hooks, 2);
    hooks[0].defers = &first;
    loop_turn(&loop, 0);
    story_check("AB123");
    hooks[0].defers = NULL;
    story_start();
    loop_turn(&loop, 0);
    story_check("AB");
    loop_defer(&loop, &third.deferred, later_run);
    story_start();
    loop_run_deferred(&loop);
    loop_run_deferred(&loop);
    story_check("3");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_timers_ring_in_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_ties_ring_in_the_order_of_setting, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_set_moves, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_clear, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_past_timers_ring_in_the_next_turn, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_timer_may_stop_and_start_others, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_timer_may_set_itself, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_limit_of_timers_in_a_turn, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_random_timers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_random_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_reserve_fails_without_memory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_how_long_it_waits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_clocks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_turn_times, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_order_of_a_turn, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_more_events_than_a_turn_takes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_came_while_it_did_not_run, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_much_came_while_a_turn_did_not_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_much_came_while_it_did_not_run, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_hooks_run_in_the_order_of_adding, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_removal_of_hooks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_work_left_is_not_waited_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_run_until_stopped, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_deferred, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
