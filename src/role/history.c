#include "role/history.h"

#include <inttypes.h>

bool history_is_due(const struct history *history, uint64_t uptime_us)
{
    return uptime_us >= history->taken_us + HISTORY_STEP_US;
}

/* Taking */

static void take_quantiles(const struct histogram *now, struct histogram *before, uint64_t *out,
                           unsigned count)
{
    static const double parts[] = {0.5, 0.99, 1};
    struct histogram since = histogram_since(now, before);
    bool any = histogram_count(&since) > 0;
    for (unsigned i = 0; i < count; i++)
        out[i] = any ? figures_quantile(&since, parts[i]) : HISTORY_NONE;
    *before = *now;
}

uint64_t *history_take(struct history *history, const struct figures *figures)
{
    uint64_t *sample = history->samples[history->count++ % HISTORY_SAMPLES_MAX];
    uint64_t span_us = figures->uptime_us - history->taken_us;
    uint64_t requests = figures->requests - history->requests;
    sample[HISTORY_UPTIME] = figures->uptime_us;
    sample[HISTORY_REQUESTS] = (uint64_t)((double)requests * 1e6 / (double)span_us + 0.5);
    take_quantiles(figures->latency_us, &history->latency_us, &sample[HISTORY_LATENCY_P50], 3);
    for (unsigned i = HISTORY_PUSH_P50; i < HISTORY_COLUMNS; i++)
        sample[i] = HISTORY_NONE;
    if (figures->process_resident_bytes)
        sample[HISTORY_RESIDENT_BYTES] = figures->process_resident_bytes;
    history->taken_us = figures->uptime_us;
    history->requests = figures->requests;
    return sample;
}

void history_take_push(struct history *history, const struct histogram *push_us, uint64_t *sample)
{
    take_quantiles(push_us, &history->push_us, &sample[HISTORY_PUSH_P50], 2);
}

/* Telling */

static const struct {
    const char *name;
    bool is_us; /* told in seconds */
} columns[HISTORY_COLUMNS] = {
    [HISTORY_UPTIME] = {"uptime_seconds", true},
    [HISTORY_REQUESTS] = {"requests_per_second", false},
    [HISTORY_LATENCY_P50] = {"latency_p50_seconds", true},
    [HISTORY_LATENCY_P99] = {"latency_p99_seconds", true},
    [HISTORY_LATENCY_ALL] = {"latency_max_seconds", true},
    [HISTORY_PUSH_P50] = {"push_p50_seconds", true},
    [HISTORY_PUSH_P99] = {"push_p99_seconds", true},
    [HISTORY_RESIDENT_BYTES] = {"resident_bytes", false},
    [HISTORY_KEYS] = {"keys", false},
    [HISTORY_RECORDS] = {"records", false},
};

static void put_columns(struct json *json)
{
    json_list_open(json, "columns");
    for (unsigned i = 0; i < HISTORY_COLUMNS; i++)
        json_string(json, NULL, slice_of(columns[i].name));
    json_list_close(json);
}

static void put_sample(struct text *text, const uint64_t *sample)
{
    for (unsigned i = 0; i < HISTORY_COLUMNS; i++) {
        text_add(text, "%s", i ? "," : "[");
        if (sample[i] == HISTORY_NONE)
            text_add(text, "null");
        else if (columns[i].is_us)
            text_add_seconds(text, sample[i]);
        else
            text_add(text, "%" PRIu64, sample[i]);
    }
    text_add(text, "]");
}

uint64_t history_first(const struct history *history, struct slice target)
{
    const char *query = memmem(target.data, target.len, "?since=", 7);
    uint64_t count = history->count;
    uint64_t oldest = count > HISTORY_SAMPLES_MAX ? count - HISTORY_SAMPLES_MAX : 0;
    unsigned long long since = 0;
    if (query)
        slice_number((struct slice){query + 7, target.len - (size_t)(query + 7 - target.data)},
                     UINT64_MAX, &since);
    return since < oldest || since > count ? oldest : since;
}

void history_reply(const struct history *history, struct request *request)
{
    char room[FIGURES_TEXT_BYTES];
    struct json json = json_in(text_in(room, sizeof room));
    uint64_t first = history_first(history, request->head.target);
    json_open(&json, NULL);
    json_seconds(&json, "step_seconds", HISTORY_STEP_US);
    json_number(&json, "samples_max", HISTORY_SAMPLES_MAX);
    json_number(&json, "first", first);
    json_number(&json, "next", history->count);
    put_columns(&json);
    json_list_open(&json, "samples");
    for (uint64_t i = first; i < history->count; i++)
        put_sample(json_place(&json, NULL), history->samples[i % HISTORY_SAMPLES_MAX]);
    json_list_close(&json);
    json_close(&json);
    text_add(&json.text, "\n");
    figures_reply(request, SLICE("application/json"), &json.text, false);
}
