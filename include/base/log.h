/* The log: one line an event on stderr, logfmt, with journald priorities when systemd reads it.
 *
 *   time=2026-11-22T10:00:00.000Z level=info event=listening address=[::]:8000
 *
 * A struct log is passed to whoever logs; there is no global one. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_ERROR_LEVEL, LOG_WARN_LEVEL, LOG_INFO_LEVEL, LOG_DEBUG_LEVEL };

struct log {
    enum log_level level; /* what is less important is left out */
    bool journald;        /* "<6>" in front in place of time */
    uint64_t (*wall_us)(void *clock);
    void *clock;
    void (*write)(void *sink, const char *line, unsigned bytes);
    void *sink;
};

/* `event` is a word; `format` makes the "key=value …" that follow ("" for none). A line over 1,000 bytes
 * is cut. Newlines and other control characters in the values come out as spaces. */
void log_event(struct log *log, enum log_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* "error", "warn", "info", "debug". Returns 0 or -EINVAL. */
int log_level_parse(const char *name, enum log_level *out);

/* A `write` for real processes: stderr; a failure is ignored, since there is nobody left to tell. */
void log_write_stderr(void *sink, const char *line, unsigned bytes);

#endif
