/* The last minutes in figures, a sample each second, in memory of a fixed size: what /-/history answers, and the page plots, also when
 * it was opened just now. */
#ifndef ROLE_HISTORY_H
#define ROLE_HISTORY_H

#include "role/figures.h"

enum {
    HISTORY_STEP_US = 1000 * 1000, /* from one sample to the next */
    HISTORY_SAMPLES_MAX = 300,     /* kept */
};

/* What its owner has not counted is HISTORY_NONE. Quantiles are upper ends of buckets, in µs; of a step in which nothing happened,
 * HISTORY_NONE too. */
#define HISTORY_NONE UINT64_MAX

enum history_column {
    HISTORY_UPTIME,   /* when it was taken: µs since the start */
    HISTORY_REQUESTS, /* answered since the sample before, in a second */
    HISTORY_LATENCY_P50,
    HISTORY_LATENCY_P99,
    HISTORY_LATENCY_ALL, /* in which all were answered */
    HISTORY_PUSH_P50,    /* see struct peer_figures */
    HISTORY_PUSH_P99,
    HISTORY_RESIDENT_BYTES,
    HISTORY_KEYS,
    HISTORY_RECORDS, /* keys and tombstones */
    HISTORY_COLUMNS,
};

/* Zeroes at first. */
struct history {
    uint64_t samples[HISTORY_SAMPLES_MAX][HISTORY_COLUMNS]; /* a ring */
    uint64_t count;                                         /* taken so far */
    uint64_t taken_us;                                      /* uptime of the last one, or 0 */
    uint64_t requests;
    struct histogram latency_us, push_us; /* as of the last one */
};

/* Whether it is time for a sample; of a loop's tick. */
bool history_is_due(const struct history *history, uint64_t uptime_us);

/* Takes one, and returns it: what only its owner knows is HISTORY_NONE, for the owner to set. */
uint64_t *history_take(struct history *history, const struct figures *figures);

/* The same for what has been pushed: all that was so far. */
void history_take_push(struct history *history, const struct histogram *push_us, uint64_t *sample);

/* The number of the first sample to tell who asks for this target: what "?since=N" says as long as that is kept, or else the oldest. */
uint64_t history_first(const struct history *history, struct slice target);

/* Replies with the samples from there on, as JSON. */
void history_reply(const struct history *history, struct request *request);

#endif
