/* A monitor, in some of the seeds: now and then it asks a node or a front-end how it is, as browsers, Prometheus and people do, and
 * holds what it says against what can be, and against what it said before. At the end all of them answer everything. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_read.h"
#include "data/record.h"
#include "fleet.h"

enum {
    SECOND = 1000 * 1000,
    PATIENCE_US = 5 * SECOND,
    PATIENCE_QUIET_US = 30 * SECOND,
    SAMPLES_MAX = 4096, /* of one process: a power of two */
    HIRED_PPM = 150000,
};

/* What a process said of each of its counters. */
struct monitor_samples {
    unsigned boots; /* in which of its lives */
    struct {
        uint64_t name; /* hashed; 0 for none */
        double value;
    } samples[SAMPLES_MAX];
    unsigned count;
};

struct question {
    const char *target, *fields;
    void (*judge)(struct fleet *fleet, const struct fleet_process *process, struct slice body);
};

static void wrong(struct fleet *fleet, const struct fleet_process *process, const char *what,
                  struct slice text)
{
    world_fail(&fleet->world, "%s tells the monitor %s: %.*s", process->process.host.name, what,
               (int)(text.len < 300 ? text.len : 300), text.data);
}

/* Status and history */

static double number(struct slice json, const char *path, double otherwise)
{
    struct slice value;
    return json_find(json, path, &value) ? json_to_number(value, otherwise) : otherwise;
}

static void judge_status(struct fleet *fleet, const struct fleet_process *process,
                         struct slice body)
{
    struct slice role;
    const char *expected = process->process.node ? "\"node\"" : "\"frontend\"";
    if (!json_is_valid(body) || !json_find(body, "role", &role) ||
        !slice_equal(role, slice_of(expected)))
        wrong(fleet, process, "a status that makes no sense", body);
    else if (process->process.node && number(body, "keys", -1) > fleet->key_count)
        wrong(fleet, process, "of more keys than there are", body);
    else if (number(body, "connections.open", 0) > fleet->limits.connections_max)
        wrong(fleet, process, "of more connections than there may be", body);
}

/* The columns have one length, and time goes on. */
static void judge_history(struct fleet *fleet, const struct fleet_process *process,
                          struct slice body)
{
    struct slice rest, name, sample, value, first;
    double before = -1;
    if (!json_is_valid(body) || !json_find(body, "samples", &rest)) {
        wrong(fleet, process, "a history that makes no sense", body);
        return;
    }
    for (rest = json_inside(rest); json_next(&rest, &name, &sample);) {
        first = json_inside(sample);
        double uptime = json_next(&first, &name, &value) ? json_to_number(value, -1) : -1;
        if (uptime <= before)
            wrong(fleet, process, "a history that goes back in time", body);
        before = uptime;
    }
}

/* Metrics */

static uint64_t hash_of(struct slice name)
{
    struct fold fold;
    fold_init(&fold);
    fold_add(&fold, name.data, name.len);
    return fold_end(&fold) | 1;
}

/* What is counted of a member goes when that does, and begins anew with the next one at its address. */
static bool is_of_member(struct slice series)
{
    return memmem(series.data, series.len, "{member=", 8) ||
           memmem(series.data, series.len, ",node=", 6);
}

/* Notes what a counter says. Returns what it said before in this life, or 0. */
static double exchange(struct monitor_samples *samples, struct slice name, double value)
{
    uint64_t hash = hash_of(name), at = hash;
    while (samples->samples[at % SAMPLES_MAX].name &&
           samples->samples[at % SAMPLES_MAX].name != hash)
        at++;
    double before = samples->samples[at % SAMPLES_MAX].value;
    if (!samples->samples[at % SAMPLES_MAX].name && samples->count++ >= SAMPLES_MAX / 2)
        abort();
    samples->samples[at % SAMPLES_MAX].name = hash;
    samples->samples[at % SAMPLES_MAX].value = value;
    return before;
}

static struct monitor_samples *samples_of(struct fleet *fleet, const struct fleet_process *process)
{
    struct monitor_samples *samples = fleet->monitor.samples[process->number];
    if (samples && samples->boots == process->boots)
        return samples;
    free(samples);
    samples = calloc(1, sizeof *samples);
    if (!samples)
        abort();
    samples->boots = process->boots;
    fleet->monitor.samples[process->number] = samples;
    return samples;
}

static void judge_gauge(struct fleet *fleet, const struct fleet_process *process, struct slice name,
                        double value, struct slice line)
{
    const struct {
        struct slice name;
        double max;
    } gauges[] = {
        {SLICE("velour_fog_ready"), 1},
        {SLICE("velour_fog_connections"), fleet->limits.connections_max},
        {SLICE("velour_fog_keys"), fleet->key_count},
        {SLICE("velour_fog_tombstones"), fleet->key_count},
        {SLICE("velour_fog_frontend_partition_reached"), 1},
        {SLICE("velour_fog_frontend_node_usable"), 1},
    };
    for (unsigned i = 0; i < sizeof gauges / sizeof *gauges; i++)
        if (slice_equal(name, gauges[i].name) && value > gauges[i].max)
            wrong(fleet, process, "more than there can be", line);
}

/* "NAME{LABELS} VALUE", of the kind that was told before. */
static void judge_sample(struct fleet *fleet, const struct fleet_process *process,
                         struct slice line, bool counts)
{
    const char *blank = memrchr(line.data, ' ', line.len);
    char text[64] = "", *end = text;
    if (blank)
        snprintf(text, sizeof text, "%.*s", (int)(line.data + line.len - blank - 1), blank + 1);
    double value = strtod(text, &end);
    if (!*text || *end) {
        wrong(fleet, process, "a sample that is none", line);
        return;
    }
    struct slice series = {line.data, (size_t)(blank - line.data)}, name = series, rest = series;
    slice_next(&rest, '{', &name);
    if (!counts)
        judge_gauge(fleet, process, name, value, line);
    else if (!is_of_member(series) && value < exchange(samples_of(fleet, process), series, value))
        wrong(fleet, process, "a counter that goes back", line);
}

static void judge_metrics(struct fleet *fleet, const struct fleet_process *process,
                          struct slice body)
{
    struct slice line, word, name;
    bool counts = false, any = false;
    while (slice_next(&body, '\n', &line) && !fleet->world.failed) {
        if (line.len == 0 || slice_starts(line, SLICE("# HELP ")))
            continue;
        if (slice_starts(line, SLICE("# TYPE "))) {
            line = (struct slice){line.data + 7, line.len - 7};
            any = slice_next(&line, ' ', &name) && slice_next(&line, ' ', &word);
            counts = any && !slice_equal(word, SLICE("gauge"));
        } else if (!any) {
            wrong(fleet, process, "a sample of no kind", line);
        } else {
            judge_sample(fleet, process, line, counts);
        }
    }
    if (!any)
        wrong(fleet, process, "no metrics", body);
}

/* Keys and pages */

/* The most and the least that a node may list now: of what has a time to live nobody knows. */
static void count_keys(struct fleet *fleet, const struct fleet_process *node, unsigned *least,
                       unsigned *most)
{
    for (unsigned i = 0; i < fleet->key_count; i++) {
        const struct record *record = fleet_record_at(fleet, node, i);
        if (!record || record_is_tombstone(record))
            continue;
        ++*most;
        *least += !record_expires_us(record);
    }
}

/* A front-end lists what one node of each partition has. */
static void judge_keys(struct fleet *fleet, const struct fleet_process *process, struct slice body)
{
    unsigned lines = 0, least = 0, most = 0;
    for (size_t i = 0; i < body.len; i++)
        lines += body.data[i] == '\n';
    if (lines > fleet->key_count)
        wrong(fleet, process, "more keys than there are", body);
    if (!fleet->strict)
        return;
    if (process->process.node)
        count_keys(fleet, process, &least, &most);
    for (unsigned c = 0; process->process.frontend && c < fleet->cluster_count; c++)
        if (!fleet_is_retired(fleet, c))
            count_keys(fleet, &fleet->processes[c * FLEET_CLUSTER_MAX], &least, &most);
    if (lines < least || lines > most)
        wrong(fleet, process, "not the keys that there are", body);
}

static void judge_page(struct fleet *fleet, const struct fleet_process *process, struct slice body)
{
    if (!memmem(body.data, body.len, "</html>", 7))
        wrong(fleet, process, "a page that does not end", body);
}

/* For people: one line for each of what it says, so no line is empty but between two parts. */
static void judge_lines(struct fleet *fleet, const struct fleet_process *process, struct slice body)
{
    if (body.len == 0 || body.data[body.len - 1] != '\n')
        wrong(fleet, process, "lines that do not end", body);
}

static const struct question questions[] = {
    {"/-/status", "", judge_status},
    {"/-/metrics", "", judge_metrics},
    {"/-/history", "", judge_history},
    {"/-/keys?limit=1000", "", judge_keys},
    {"/", "Accept: text/html\r\n", judge_page},
    {"/", "", judge_lines},
    {"/-/ready", "", judge_lines},
};

enum { QUESTIONS = sizeof questions / sizeof *questions };

static void ask(struct fleet *fleet, const struct fleet_process *process,
                const struct question *question, uint64_t patience_us)
{
    struct bytes request = {0};
    struct response response;
    struct response_sink sink = {0};
    unsigned boots = process->boots;
    bytes_print(&request, "GET %s HTTP/1.1\r\nHost: sim\r\n%s\r\n", question->target,
                question->fields);
    bool whole = fetch(&fleet->monitor.fetcher, &process->process.address, &request, &response,
                       &sink, patience_us);
    bool same = process->running && process->boots == boots; /* it is who answered */
    if (!whole)
        fetcher_close(&fleet->monitor.fetcher);
    if (whole && response.status == 200 && same)
        question->judge(fleet, process, (struct slice){sink.data, sink.bytes});
    else if (whole && response.status != 200 && response.status != 503)
        world_fail(&fleet->world, "%s answers to %s with %u", process->process.host.name,
                   question->target, response.status);
    else if (fleet->strict && !fleet->world.failed)
        world_fail(&fleet->world, "%s does not answer to %s, though all is quiet",
                   process->process.host.name, question->target);
    free(sink.data);
    bytes_free(&request);
}

/* The story */

static void ask_somebody(struct fleet *fleet)
{
    struct fleet_monitor *monitor = &fleet->monitor;
    unsigned number = (unsigned)rng_below(&monitor->rng, FLEET_RESHARD);
    unsigned i = (unsigned)rng_below(&monitor->rng, QUESTIONS);
    monitor->next_us = fleet->world.now_us + rng_spread(&monitor->rng, SECOND / 100, 2 * SECOND);
    if (fleet->processes[number].running)
        ask(fleet, &fleet->processes[number], &questions[i], PATIENCE_US);
}

bool fleet_step(struct fleet *fleet)
{
    struct fleet_monitor *monitor = &fleet->monitor;
    if (monitor->hired && fleet->world.now_us >= monitor->next_us)
        ask_somebody(fleet);
    return world_step(&fleet->world);
}

void fleet_monitor_finale(struct fleet *fleet)
{
    for (unsigned n = 0; n < FLEET_RESHARD && fleet->monitor.hired; n++) {
        const struct fleet_process *process = &fleet->processes[n];
        for (unsigned i = 0; i < QUESTIONS && !fleet->world.failed; i++)
            if (process->running && !process->wrong && !process->retired)
                ask(fleet, process, &questions[i], PATIENCE_QUIET_US);
    }
    if (fleet->monitor.hired)
        fetcher_close(&fleet->monitor.fetcher);
}

void fleet_monitor_begin(struct fleet *fleet)
{
    struct fleet_monitor *monitor = &fleet->monitor;
    rng_seed(&monitor->rng, fleet->world.seed, 0x6d6f6e69746f72);
    monitor->hired = rng_chance(&monitor->rng, HIRED_PPM);
    if (!monitor->hired)
        return;
    fetcher_init(&monitor->fetcher, &fleet->cables);
    monitor->next_us = rng_spread(&monitor->rng, SECOND, 10 * SECOND);
}

void fleet_monitor_end(struct fleet *fleet)
{
    if (fleet->monitor.hired)
        fetcher_close(&fleet->monitor.fetcher);
    for (unsigned i = 0; i < FLEET_PROCESSES_MAX; i++)
        free(fleet->monitor.samples[i]);
}
