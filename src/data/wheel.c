#include "data/wheel.h"

#include <assert.h>

/* Counted from a turn of the wheel before 1970, so that there is one before any time. */
static uint64_t second_of(uint64_t us)
{
    return us / 1000000 + WHEEL_SLOTS;
}

void wheel_init(struct wheel *wheel, uint64_t now_us)
{
    memset(wheel, 0, sizeof *wheel);
    wheel->second = second_of(now_us);
}

static void list_push(struct record **head, struct record *record)
{
    struct record_due *due = record_due(record);
    due->next = *head;
    due->at = head;
    if (due->next)
        record_due(due->next)->at = &due->next;
    *head = record;
}

void wheel_add(struct wheel *wheel, struct record *record)
{
    struct record_due *due = record_due(record);
    assert(due && !due->at);
    /* What is due already is looked at in the next second, not in a turn of the wheel. */
    uint64_t second = second_of(due->due_us);
    if (second <= wheel->second)
        second = wheel->second + 1;
    list_push(&wheel->slots[second % WHEEL_SLOTS], record);
}

void wheel_remove(struct record *record)
{
    struct record_due *due = record_due(record);
    if (!due || !due->at)
        return;
    *due->at = due->next;
    if (due->next)
        record_due(due->next)->at = due->at;
    due->next = NULL;
    due->at = NULL;
}

void wheel_moved(struct record *copy)
{
    struct record_due *due = record_due(copy);
    if (!due || !due->at)
        return;
    *due->at = copy;
    if (due->next)
        record_due(due->next)->at = &due->next;
}

/* Moves on to the next slot, if its second has begun. */
static bool wheel_advance(struct wheel *wheel, uint64_t now_us)
{
    uint64_t now = second_of(now_us);
    /* The clock was set: one whole turn from here looks at everything. */
    if (now < wheel->second || now > wheel->second + WHEEL_SLOTS)
        wheel->second = now - WHEEL_SLOTS;
    if (now == wheel->second)
        return false;
    wheel->second++;
    struct record **slot = &wheel->slots[wheel->second % WHEEL_SLOTS];
    wheel->current = *slot;
    *slot = NULL;
    if (wheel->current)
        record_due(wheel->current)->at = &wheel->current;
    return true;
}

struct record *wheel_next(struct wheel *wheel, uint64_t now_us, unsigned *steps)
{
    while (*steps > 0) {
        struct record *record = wheel->current;
        if (!record && !wheel_advance(wheel, now_us))
            return NULL;
        --*steps;
        if (!record)
            continue;
        wheel_remove(record);
        if (record_due(record)->due_us <= now_us)
            return record;
        wheel_add(wheel, record);
    }
    return NULL;
}
