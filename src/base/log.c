#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/date.h"

enum { LINE_BYTES = 1000 };

static const char *const level_names[] = {"error", "warn", "info", "debug"};
static const char *const level_priorities[] = {"<3>", "<4>", "<6>", "<7>"}; /* sd-daemon(3) */

static int line_start(const struct log *log, enum log_level level, const char *event, char *line)
{
    if (log->journald)
        return snprintf(line, LINE_BYTES, "%slevel=%s event=%s", level_priorities[level],
                        level_names[level], event);
    uint64_t now_us = log->wall_us(log->clock);
    char date[DATE_ISO_BYTES + 1] = "";
    date_iso(now_us / 1000, date);
    return snprintf(line, LINE_BYTES, "time=%.*s level=%s event=%s", DATE_ISO_BYTES, date,
                    level_names[level], event);
}

static void line_clean(char *line, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        if ((unsigned char)line[i] < ' ' || line[i] == 127)
            line[i] = ' ';
}

void log_event(struct log *log, enum log_level level, const char *event, const char *format, ...)
{
    if (level > log->level)
        return;
    char line[LINE_BYTES + 2];
    int used = line_start(log, level, event, line);
    if (*format) {
        va_list args;
        va_start(args, format);
        int more = vsnprintf(line + used + 1, (size_t)(LINE_BYTES - used - 1), format, args);
        va_end(args);
        if (more > 0)
            line[used] = ' ';
        used += more > 0 ? more + 1 : 0;
    }
    if (used >= LINE_BYTES)
        used = LINE_BYTES - 1;
    line_clean(line, (unsigned)used);
    line[used++] = '\n';
    log->write(log->sink, line, (unsigned)used);
}

int log_level_parse(const char *name, enum log_level *out)
{
    for (unsigned i = 0; i < sizeof level_names / sizeof *level_names; i++)
        if (strcmp(name, level_names[i]) == 0) {
            *out = (enum log_level)i;
            return 0;
        }
    return -EINVAL;
}

void log_write_stderr(void *sink, const char *line, unsigned bytes)
{
    (void)sink;
    ssize_t written = write(STDERR_FILENO, line, bytes);
    (void)written;
}
