/* The log: one line an event on stderr, logfmt, with journald priorities when systemd reads it.
 *
 *   time=2026-11-22T10:00:00.000Z level=info event=listening address=[::]:8000
 *
 * A struct log is passed to whoever logs; there is no global one. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log_limit.h"
#include "base/slice.h"

enum log_level { LOG_ERROR_LEVEL, LOG_WARN_LEVEL, LOG_INFO_LEVEL, LOG_DEBUG_LEVEL };

struct log {
    enum log_level level; /* what is less important is left out */
    bool journald;        /* "<6>" in front in place of time */
    uint64_t (*wall_us)(void *clock);
    void *clock;
    /* Never waits; returns whether the line was taken. */
    bool (*write)(void *sink, const char *line, unsigned bytes);
    void *sink;
    uint64_t lost;          /* lines that were not, since the last one that was */
    struct log_limit limit; /* zeroes at first */
};

/* `event` is a word; `format` makes the "key=value …" that follow ("" for none). A line over 1,000 bytes
 * is cut. Newlines and other control characters in the values come out as spaces. Of one event only so many lines are told
 * (log_limit.h); "left_out=N" is how many were not, before this one. "lost=N" is how many lines of any event found no room before it. */
void log_event(struct log *log, enum log_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The same for a condition that lasts or comes back: told once for each `key` ("" when there is one only), and every LOG_AGAIN_US while it
 * goes on. "times=N" is how often it was so since the line before. */
void log_condition(struct log *log, enum log_level level, const char *event, const char *key,
                   const char *format, ...) __attribute__((format(printf, 5, 6)));

/* What somebody else has said, for a value between quotes: without what would end it there or lead on, and cut to what `out` holds. Returns
 * `out`. */
char *log_quotable(struct slice said, char *out, size_t room);

/* "error", "warn", "info", "debug". Returns 0 or -EINVAL. */
int log_level_parse(const char *name, enum log_level *out);

#endif
