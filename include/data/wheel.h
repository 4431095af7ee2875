/* Values that expire, by their time.
 *
 * A hashed wheel (Varghese and Lauck, 1987, scheme 6): WHEEL_SLOTS lists of one second each; what is due later than the wheel's
 * turn is passed over and stays. Adding, removing and taking cost a few instructions, however many there are; the links are
 * in the records. */
#ifndef DATA_WHEEL_H
#define DATA_WHEEL_H

#include "data/record.h"

enum { WHEEL_SLOTS = 4096 };

struct wheel {
    struct record *slots[WHEEL_SLOTS];
    struct record
        *current;    /* of the slot that is being looked through: what was not looked at yet */
    uint64_t second; /* of that slot */
};

void wheel_init(struct wheel *wheel, uint64_t now_us);

/* By record_due()->due_us. */
void wheel_add(struct wheel *wheel, struct record *record);

/* Does nothing when it does not stand in the wheel. */
void wheel_remove(struct record *record);

/* `copy` takes the place of a record that stands in the wheel and was copied to it. */
void wheel_moved(struct record *copy);

/* Looks at `*steps` records and slots at most, counting down. Returns a record that is due, taken out; or NULL with
 * *steps above 0 when nothing more is due now. */
struct record *wheel_next(struct wheel *wheel, uint64_t now_us, unsigned *steps);

#endif
