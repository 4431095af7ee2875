/* Requests while keys move to another number of partitions: each key has two homes then, and what the one answers is held against what
 * the other knows. Inside of the front-end alone. */
#ifndef ROLE_MOVING_H
#define ROLE_MOVING_H

#include "net/upstream.h"

struct relay;

extern const struct call_ops moving_call_ops;

/* Asks the other clusters for the key's version; then it is sent. */
void moving_ask_version(struct relay *relay);

/* They do not tell: it is done without. */
void moving_go_on(struct relay *relay);

/* Whether one of the two homes knows something newer than an answer with that version, 0 for none, and can be asked for it. */
bool moving_is_older(struct relay *relay, uint64_t version);

/* Asks the other home for the answer itself. */
void moving_look_there(struct relay *relay);

/* A whole answer is there: whether its client rather waits for another one. Then it is asked anew in a moment. */
bool moving_wait(struct relay *relay);

#endif
