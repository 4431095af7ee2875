/* Where a long command has come to: on a terminal one line with a bar, written over again and again; elsewhere a line now and then. */
#ifndef ROLE_BAR_H
#define ROLE_BAR_H

#include "base/text.h"
#include "role/command.h"

enum { BAR_LINE_BYTES = 192 };

/* Embedded; zeroed but for the command. */
struct bar {
    struct command *command;
    bool open; /* the terminal's line is to be written over */
    uint64_t told_us, told_bytes,
        rate; /* the last line, and what was measured then: bytes in a second */
};

/* Whether it is time for a line. `bytes` are those of all that was done so far. */
bool bar_is_due(struct bar *bar, uint64_t bytes);

/* "[#####-----] ". */
void bar_put(struct text *text, unsigned permille);

/* ", 30 s left", as it went so far, from the permille `from` on, or `least_us` when that is more; nothing while that cannot be told. */
void bar_put_left(struct text *text, uint64_t elapsed_us, unsigned from, unsigned permille,
                  uint64_t least_us);

/* Prints a line, which the next one is written over on a terminal; without its newline. */
void bar_tell(struct bar *bar, const char *line);

/* Prints a sentence, below what stands there. */
void bar_say(struct bar *bar, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The line stays as it is. */
void bar_close(struct bar *bar);

#endif
