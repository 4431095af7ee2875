#include "net/loop.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void loop_init(struct loop *loop, struct io *io)
{
    memset(loop, 0, sizeof *loop);
    loop->io = io;
    loop->line_end = &loop->line;
    loop_update_time(loop);
}

void loop_free(struct loop *loop)
{
    free(loop->heap);
    loop->heap = NULL;
}

uint64_t loop_clock_us(const struct loop *loop)
{
    return loop->io->ops->wall_us(loop->io);
}

void loop_update_time(struct loop *loop)
{
    loop->now_us = loop->io->ops->monotonic_us(loop->io);
    loop->wall_us = loop_clock_us(loop);
}

/* Timers: a binary heap of pointers in heap[1..count]; each timer knows its place. Room is counted for
 * every timer that exists, set or not, so that setting one never allocates. */

static bool timer_before(const struct loop_timer *a, const struct loop_timer *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

static void heap_put(struct loop *loop, uint32_t place, struct loop_timer *timer)
{
    loop->heap[place] = timer;
    timer->place = place;
}

static void heap_rise(struct loop *loop, struct loop_timer *timer, uint32_t place)
{
    while (place > 1 && timer_before(timer, loop->heap[place / 2])) {
        heap_put(loop, place, loop->heap[place / 2]);
        place /= 2;
    }
    heap_put(loop, place, timer);
}

static void heap_sink(struct loop *loop, struct loop_timer *timer, uint32_t place)
{
    for (uint32_t child; (child = place * 2) <= loop->timer_count; place = child) {
        if (child < loop->timer_count && timer_before(loop->heap[child + 1], loop->heap[child]))
            child++;
        if (!timer_before(loop->heap[child], timer))
            break;
        heap_put(loop, place, loop->heap[child]);
    }
    heap_put(loop, place, timer);
}

int loop_timer_reserve(struct loop *loop)
{
    uint32_t needed = loop->timer_reserved + 2; /* heap[0] is not used */
    if (needed > loop->timer_room) {
        uint32_t room = loop->timer_room ? loop->timer_room * 2 : 64;
        struct loop_timer **heap = realloc(loop->heap, room * sizeof(struct loop_timer *));
        if (!heap)
            return -ENOMEM;
        loop->heap = heap;
        loop->timer_room = room;
    }
    loop->timer_reserved++;
    return 0;
}

void loop_timer_release(struct loop *loop, struct loop_timer *timer)
{
    loop_timer_clear(loop, timer);
    assert(loop->timer_reserved > loop->timer_count);
    loop->timer_reserved--;
}

void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t at_us)
{
    loop_timer_clear(loop, timer);
    assert(loop->timer_count < loop->timer_reserved);
    timer->at_us = at_us;
    timer->order = loop->timer_order++;
    heap_rise(loop, timer, ++loop->timer_count);
}

void loop_timer_clear(struct loop *loop, struct loop_timer *timer)
{
    uint32_t place = timer->place;
    if (place == 0)
        return;
    timer->place = 0;
    struct loop_timer *last = loop->heap[loop->timer_count--];
    if (last == timer)
        return;
    if (place > 1 && timer_before(last, loop->heap[place / 2]))
        heap_rise(loop, last, place);
    else
        heap_sink(loop, last, place);
}

uint64_t loop_deadline(const struct loop *loop)
{
    return loop->timer_count ? loop->heap[1]->at_us : UINT64_MAX;
}

static void loop_fire_timers(struct loop *loop)
{
    for (int i = 0; i < LOOP_TIMERS_PER_TURN && loop_deadline(loop) <= loop->looked_us; i++) {
        struct loop_timer *timer = loop->heap[1];
        loop_timer_clear(loop, timer);
        timer->on_time(timer);
    }
}

void loop_hook_add(struct loop *loop, struct loop_hook *hook)
{
    struct loop_hook **end = &loop->hooks;
    while (*end)
        end = &(*end)->next;
    hook->next = NULL;
    *end = hook;
}

void loop_hook_remove(struct loop *loop, struct loop_hook *hook)
{
    struct loop_hook **at = &loop->hooks;
    while (*at && *at != hook)
        at = &(*at)->next;
    if (*at)
        *at = hook->next;
}

void loop_defer(struct loop *loop, struct loop_deferred *deferred,
                void (*run)(struct loop_deferred *))
{
    deferred->run = run;
    deferred->next = loop->deferred;
    loop->deferred = deferred;
}

void loop_run_deferred(struct loop *loop)
{
    while (loop->deferred) {
        struct loop_deferred *deferred = loop->deferred;
        loop->deferred = deferred->next;
        deferred->run(deferred);
    }
}

bool loop_share_take(struct loop *loop, struct loop_share *share)
{
    uint64_t now_us = loop->io->ops->monotonic_us(loop->io);
    if (share->turn == loop->turns)
        return now_us < share->until_us;
    share->turn = loop->turns;
    share->until_us = now_us + LOOP_SHARE_US;
    return true;
}

void loop_line_join(struct loop *loop, struct loop_waiter *waiter)
{
    if (waiter->place)
        return;
    waiter->next = NULL;
    waiter->place = loop->line_end;
    *loop->line_end = waiter;
    loop->line_end = &waiter->next;
}

void loop_line_leave(struct loop *loop, struct loop_waiter *waiter)
{
    if (!waiter->place)
        return;
    *waiter->place = waiter->next;
    if (waiter->next)
        waiter->next->place = waiter->place;
    else
        loop->line_end = waiter->place;
    waiter->place = NULL;
}

static void loop_serve_line(struct loop *loop)
{
    struct loop_waiter *waiter;
    while ((waiter = loop->line) && loop_share_take(loop, &loop->bulk)) {
        loop_line_leave(loop, waiter);
        waiter->on_turn(waiter);
    }
    loop->again |= loop->line != NULL;
}

/* How long the io may wait: not at all when work is left, else until the next timer. */
static int64_t loop_wait_us(const struct loop *loop, int64_t wait_max_us)
{
    if (loop->again)
        return 0;
    uint64_t deadline = loop_deadline(loop);
    if (deadline == UINT64_MAX)
        return wait_max_us;
    uint64_t left = deadline > loop->now_us ? deadline - loop->now_us : 0;
    if (left > INT64_MAX)
        left = INT64_MAX;
    return wait_max_us >= 0 && wait_max_us < (int64_t)left ? wait_max_us : (int64_t)left;
}

/* Back from a wait long after its time, as the process was stopped, or its container paused, the io tells what it saw before; much more
 * may have come since. Returns how many events there are; a watcher may have two. */
static int loop_wait(struct loop *loop, struct io_event *events, int64_t wait_us)
{
    const struct io_ops *ops = loop->io->ops;
    uint64_t due_us = wait_us < 0 ? UINT64_MAX : loop->now_us + (uint64_t)wait_us;
    int count = ops->wait(loop->io, events, LOOP_EVENTS_MAX, wait_us);
    loop_update_time(loop);
    if (loop->now_us <= due_us || loop->now_us - due_us <= LOOP_LATE_US)
        return count;
    return count == LOOP_EVENTS_MAX
               ? count
               : count + ops->wait(loop->io, events + count, LOOP_EVENTS_MAX - count, 0);
}

/* Who is idle or silent by the clock may have said something long ago: after a time in which nothing was looked at, timers are held
 * back until all that came meanwhile was. It makes no difference where in a turn the process stood still. */
static void loop_look(struct loop *loop, int count)
{
    bool is_late = loop->now_us - loop->looked_us > LOOP_LATE_US;
    if (is_late && count == LOOP_EVENTS_MAX && !loop->behind_us)
        loop->behind_us = loop->now_us + LOOP_CATCH_UP_US;
    if (is_late && count == LOOP_EVENTS_MAX && loop->now_us < loop->behind_us)
        return;
    loop->looked_us = loop->now_us;
    loop->behind_us = 0;
}

void loop_turn(struct loop *loop, int64_t wait_max_us)
{
    struct io_event events[LOOP_EVENTS_MAX];
    int64_t wait_us = loop_wait_us(loop, wait_max_us);
    loop->again = false;
    loop->turns++;
    int count = loop_wait(loop, events, wait_us);
    loop_look(loop, count);
    uint64_t started_us = loop->now_us;
    for (int i = 0; i < count; i++) {
        struct loop_watcher *watcher = events[i].data;
        watcher->on_ready(watcher, events[i].ready);
    }
    loop_serve_line(loop);
    loop_fire_timers(loop);
    for (struct loop_hook *hook = loop->hooks; hook; hook = hook->next)
        hook->on_turn_end(hook);
    loop_run_deferred(loop);
    loop_update_time(loop);
    histogram_add(&loop->turn_us, loop->now_us - started_us, 1);
}

void loop_run(struct loop *loop)
{
    while (!loop->stopped)
        loop_turn(loop, -1);
}
