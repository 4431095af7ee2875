/* How often the log says what: so that nothing that happens again and again, or that a client can bring about at will, floods it.
 *
 * A condition is something that lasts, or is tried again and again: it is told once, then every LOG_AGAIN_US while it goes on. And no
 * event of one name is told more than LOG_BURST_MAX times at a stretch, nor more than LOG_PER_SECOND_MAX times a second in the long run. What was
 * left out is counted, and told with the next line that is let through. Pure: the caller says what time it is. */
#ifndef BASE_LOG_LIMIT_H
#define BASE_LOG_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

enum {
    LOG_AGAIN_US = 600 * 1000 * 1000, /* between two lines on one condition */
    LOG_BURST_MAX = 200,              /* lines of one event at a stretch */
    LOG_PER_SECOND_MAX = 2,           /* the same in the long run */
    LOG_CONDITIONS_MAX = 64,          /* remembered; the one that is due first makes room */
    LOG_EVENTS_MAX = 64,              /* names that are told apart; more share their limit */
};

struct log_limit {
    struct log_condition {
        uint64_t hash; /* 0: unused */
        uint64_t told_us, held;
    } conditions[LOG_CONDITIONS_MAX];
    struct log_rate {
        uint64_t hash; /* 0: unused */
        uint64_t
            told_us; /* up to when lines that were told have been let off, LOG_PER_SECOND_MAX a second */
        uint32_t lines; /* told, and not let off yet */
        uint32_t held;
    } rates[LOG_EVENTS_MAX];
};

/* Whether a line on the condition that `event` and `key` name is due. If so, *held is how many were left out since the last one. */
bool log_limit_condition(struct log_limit *limit, const char *event, const char *key,
                         uint64_t now_us, uint64_t *held);

/* The same for any line of an event. */
bool log_limit_event(struct log_limit *limit, const char *event, uint64_t now_us, uint64_t *held);

#endif
