/* What a process asks of its kernel and of its memory, made to fail: each call of a story, in each way in which such a call can fail,
 * one at a time.
 *
 * The story (starved_story.c) is always the same. It is told once without a failure; at each call of `struct io`, of the resolver and of
 * the allocators that one of its nodes or its front-end makes, the world forks for each way in which that call can fail: in the child it
 * fails, and the story goes on to its end. So what came before is told only once, a crash or an endless loop is that of one child, and
 * the children are told side by side.
 *
 *   sim --starved                              each call, each way (--every N: each Nth of these)
 *   sim --starved --places                     each call only the first time that it comes from where it comes from
 *   sim --starved --case send:123:ENOBUFS:once [--trace]   one of them again, without a fork
 *   sim --starved --mutants                    planted mistakes: each must be caught */
#ifndef SIM_STARVED_H
#define SIM_STARVED_H

#include <stdbool.h>
#include <stdint.h>

#include "process.h"

/* The command line after --starved. Returns the exit code. */
int starved_main(int count, char **words);

/* starved_story.c: tells it. Returns NULL, or what was wrong, valid until the next one. */
const char *starved_story(bool trace);

/* For the story. From begin to end calls are counted, and fail; no memory of processes may be left at the end (NULL is returned then,
 * else what is left). */
void starved_begin(struct world *world);
const char *starved_end(void);

/* process_close. */
void starved_close(struct process *process);

/* Whether a call has failed. */
bool starved_has_struck(void);

/* Whether that has hidden the others from a newcomer: they do not answer for longer than it waits, or its kernel has told it that nobody is
 * there. Then it may begin a cluster of its own, at first. */
bool starved_hides(const struct process *process);

/* When it was, and how long the failures go on after that; UINT64_MAX before. */
uint64_t starved_until_us(void);

/* Names for processes: one that answers "fog" with the addresses it is given, after a moment, out of the process's loop. */
enum { STARVED_LOOKUPS_MAX = 4, STARVED_ADDRESSES = 3 };

struct starved_names {
    struct resolver resolver; /* first, so that a resolver leads here */
    struct process *process;
    struct address addresses[STARVED_ADDRESSES];
    struct starved_question {
        struct loop_timer timer;
        struct lookup *lookup;
        bool reserved, unknown, fails;
        struct starved_names *names;
    } questions[STARVED_LOOKUPS_MAX];
};

/* To be done before each start of the process. */
void starved_names_init(struct starved_names *names, struct process *process);

#endif
