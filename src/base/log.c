#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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

static int line_add(char *line, int used, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));
static void log_line(struct log *log, enum log_level level, const char *event, uint64_t times,
                     const char *format, va_list args) __attribute__((format(printf, 5, 0)));

/* Adds to a line that has `used` bytes, cut at its end; returns how many it has then. */
static int line_add(char *line, int used, const char *format, va_list args)
{
    int more = vsnprintf(line + used + 1, (size_t)(LINE_BYTES - used - 1), format, args);
    if (more <= 0)
        return used;
    line[used] = ' ';
    used += more + 1;
    return used < LINE_BYTES ? used : LINE_BYTES - 1;
}

static int line_add_count(char *line, int used, const char *name, uint64_t count)
{
    int more = count ? snprintf(line + used, (size_t)(LINE_BYTES - used), " %s=%llu", name,
                                (unsigned long long)count)
                     : 0;
    return used + more < LINE_BYTES ? used + more : used;
}

/* `times` is of a condition, 0 for none. */
static void log_line(struct log *log, enum log_level level, const char *event, uint64_t times,
                     const char *format, va_list args)
{
    char line[LINE_BYTES + 2];
    uint64_t left_out;
    if (!log_limit_event(&log->limit, event, log->wall_us(log->clock), &left_out))
        return;
    int used = line_start(log, level, event, line);
    used = line_add_count(line, used, "times", times);
    used = line_add_count(line, used, "left_out", left_out);
    used = line_add_count(line, used, "lost", log->lost);
    if (*format)
        used = line_add(line, used, format, args);
    line_clean(line, (unsigned)used);
    line[used++] = '\n';
    log->lost = log->write(log->sink, line, (unsigned)used) ? 0 : log->lost + 1;
}

void log_event(struct log *log, enum log_level level, const char *event, const char *format, ...)
{
    va_list args;
    if (level > log->level)
        return;
    va_start(args, format);
    log_line(log, level, event, 0, format, args);
    va_end(args);
}

void log_condition(struct log *log, enum log_level level, const char *event, const char *key,
                   const char *format, ...)
{
    va_list args;
    uint64_t held;
    if (level > log->level ||
        !log_limit_condition(&log->limit, event, key, log->wall_us(log->clock), &held))
        return;
    va_start(args, format);
    log_line(log, level, event, held ? held + 1 : 0, format, args);
    va_end(args);
}

static char quotable(char c)
{
    if (c == '"')
        return '\'';
    if (c == '\\')
        return '/';
    return (unsigned char)c < ' ' ? ' ' : c;
}

char *log_quotable(struct slice said, char *out, size_t room)
{
    size_t len = said.len < room ? said.len : room - 1;
    for (size_t i = 0; i < len; i++)
        out[i] = quotable(said.data[i]);
    out[len] = 0;
    return out;
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
