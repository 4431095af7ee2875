/* Allocations that fail when a test wants it: malloc, calloc, realloc, heap_alloc and pool_take. Only in tests
 * that are linked with --wrap for the functions that they want (those that have a __wrap_ here); in others it does
 * nothing. */
#ifndef UNIT_FAILING_H
#define UNIT_FAILING_H

#include <stdbool.h>

/* From now on the nth allocation fails, counted from 1; with `all_after`, those that follow it too.
 * */
void failing_start(unsigned nth, bool all_after);

/* Ends that. Returns whether any has failed since. */
bool failing_stop(void);

/* Whether any has failed since. */
bool failing_has_struck(void);

/* How many allocations there were since failing_start. */
unsigned failing_seen(void);

/* For the tests' own allocations: neither counted nor failed until failing_resume. */
void failing_pause(void);
void failing_resume(void);

#endif
