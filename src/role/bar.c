#include "role/bar.h"

#include <stdarg.h>
#include <stdio.h>

enum {
    BAR_TERMINAL_US = 200 * 1000, /* between two lines */
    BAR_LINES_US = 1000 * 1000,   /* the same elsewhere */
    BAR_CELLS = 20,
};

bool bar_is_due(struct bar *bar, uint64_t bytes)
{
    uint64_t now_us = bar->command->loop->now_us, since_us = now_us - bar->told_us;
    if (since_us < (bar->command->terminal ? BAR_TERMINAL_US : BAR_LINES_US))
        return false;
    bar->rate = bytes > bar->told_bytes ? (bytes - bar->told_bytes) * 1000000 / since_us : 0;
    bar->told_us = now_us;
    bar->told_bytes = bytes;
    return true;
}

void bar_put(struct text *text, unsigned permille)
{
    text_add(text, "[");
    for (unsigned i = 0; i < BAR_CELLS; i++)
        text_add(text, "%c", i * 1000 < permille * BAR_CELLS ? '#' : '-');
    text_add(text, "] ");
}

void bar_put_left(struct text *text, uint64_t elapsed_us, unsigned from, unsigned permille,
                  uint64_t least_us)
{
    if (permille <= from)
        return;
    uint64_t left_us = elapsed_us / (permille - from) * (1000 - permille);
    uint64_t left_s = ((left_us > least_us ? left_us : least_us) + 999999) / 1000000;
    if (left_s >= 120)
        text_add(text, ", %llu min left", (unsigned long long)left_s / 60);
    else
        text_add(text, ", %llu s left", (unsigned long long)left_s);
}

void bar_tell(struct bar *bar, const char *line)
{
    /* of a line that does not fit, the end is left out, as the next one can be written over one row alone */
    bool terminal = bar->command->terminal;
    command_print(bar->command, "%s%s%s", terminal ? "\033[?7l\r" : "", line,
                  terminal ? "\033[K\033[?7h" : "\n");
    bar->open = terminal;
}

void bar_close(struct bar *bar)
{
    if (bar->open)
        command_print(bar->command, "\n");
    bar->open = false;
}

void bar_say(struct bar *bar, const char *format, ...)
{
    char text[COMMAND_FAILURE_BYTES];
    va_list arguments;
    bar_close(bar);
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    command_print(bar->command, "%s", text);
}
