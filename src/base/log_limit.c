#include "base/log_limit.h"

#include <stddef.h>

/* FNV-1a (Fowler, Noll, Vo), 64 bits; its prime. */
static uint64_t hash_add(uint64_t hash, const char *text)
{
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * 0x100000001b3;
    return hash;
}

static uint64_t hash_of(const char *event, const char *key)
{
    uint64_t hash = hash_add(hash_add(hash_add(0xcbf29ce484222325, event), " "), key);
    return hash ? hash : 1;
}

/* The one of this hash, or the one that makes room for it. */
static struct log_condition *condition_find(struct log_limit *limit, uint64_t hash)
{
    struct log_condition *oldest = &limit->conditions[0];
    for (size_t i = 0; i < LOG_CONDITIONS_MAX; i++) {
        struct log_condition *at = &limit->conditions[i];
        if (at->hash == hash)
            return at;
        if (!at->hash || (oldest->hash && at->told_us < oldest->told_us))
            oldest = at;
    }
    return oldest;
}

/* A clock that was set back must not silence anything. */
static bool is_over(uint64_t since_us, uint64_t now_us, uint64_t us)
{
    return now_us < since_us || now_us - since_us >= us;
}

bool log_limit_condition(struct log_limit *limit, const char *event, const char *key,
                         uint64_t now_us, uint64_t *held)
{
    uint64_t hash = hash_of(event, key);
    struct log_condition *condition = condition_find(limit, hash);
    if (condition->hash == hash && !is_over(condition->told_us, now_us, LOG_AGAIN_US)) {
        condition->held++;
        return false;
    }
    *held = condition->hash == hash ? condition->held : 0;
    *condition = (struct log_condition){.hash = hash, .told_us = now_us};
    return true;
}

/* The one of this event. When all are taken, one that it shares with another. */
static struct log_rate *rate_find(struct log_limit *limit, const char *event)
{
    uint64_t hash = hash_of(event, "");
    for (unsigned i = 0; i < LOG_EVENTS_MAX; i++) {
        struct log_rate *at = &limit->rates[(hash + i) % LOG_EVENTS_MAX];
        if (at->hash == hash || !at->hash) {
            at->hash = hash;
            return at;
        }
    }
    return &limit->rates[hash % LOG_EVENTS_MAX];
}

bool log_limit_event(struct log_limit *limit, const char *event, uint64_t now_us, uint64_t *held)
{
    enum { LINE_US = 1000000 / LOG_PER_SECOND_MAX };
    struct log_rate *rate = rate_find(limit, event);
    uint64_t passed = now_us < rate->told_us ? UINT64_MAX : (now_us - rate->told_us) / LINE_US;
    rate->told_us = passed >= rate->lines ? now_us : rate->told_us + passed * LINE_US;
    rate->lines = passed >= rate->lines ? 0 : rate->lines - (uint32_t)passed;
    if (rate->lines == LOG_BURST_MAX) {
        rate->held++;
        return false;
    }
    *held = rate->held;
    rate->held = 0;
    rate->lines++;
    return true;
}
