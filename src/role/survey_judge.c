/* What is wrong, in sentences. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/json_read.h"
#include "role/survey_state.h"

static void __attribute__((format(printf, 2, 3)))
problem(struct survey *survey, const char *format, ...)
{
    va_list arguments;
    unsigned i = survey->problem_count++;
    if (i >= SURVEY_PROBLEMS_MAX)
        return;
    va_start(arguments, format);
    vsnprintf(survey->problems[i], SURVEY_PROBLEM_BYTES, format, arguments);
    va_end(arguments);
}

static bool says_true(struct slice status, const char *path)
{
    struct slice value;
    return json_find(status, path, &value) && json_is_true(value);
}

static bool says_phase(struct slice status, const char *phase)
{
    struct slice value;
    char text[16];
    return json_find(status, "cluster.phase", &value) &&
           strcmp(json_to_string(value, text, sizeof text), phase) == 0;
}

enum survey_state survey_state_of(const struct survey_node *node)
{
    if (!node->status)
        return SURVEY_DOWN;
    struct slice status = slice_of(node->status);
    if (says_true(status, "draining") || says_phase(status, "leaving"))
        return SURVEY_STOPPING;
    if (says_true(status, "ready"))
        return SURVEY_READY;
    return says_phase(status, "joining") ? SURVEY_GATHERING : SURVEY_UNREADY;
}

/* By whose clock the others of a partition are told. */
static const struct survey_node *reference_of(const struct survey *survey, unsigned partition)
{
    for (unsigned i = 0; i < survey->count; i++)
        if (survey->nodes[i]->partition == partition && survey->nodes[i]->status)
            return survey->nodes[i];
    return NULL;
}

bool survey_skew(const struct survey *survey, const struct survey_node *node, double *seconds)
{
    const struct survey_node *by = reference_of(survey, node->partition);
    struct slice skews, rest, name, value;
    if (!by || !node->status ||
        !json_find(slice_of(by->status), "cluster.clock_skew_seconds", &skews))
        return false;
    *seconds = 0;
    if (by == node)
        return true;
    for (rest = json_inside(skews); json_next(&rest, &name, &value);)
        if (slice_equal(name, slice_of(node->name))) {
            *seconds = json_to_number(value, 0);
            return true;
        }
    return false;
}

char *survey_partition_name(const struct survey *survey, unsigned partition, char out[48])
{
    const struct census *census = &survey->census;
    if (partition >= census->partitions)
        snprintf(out, 48, "%s partition %u", side_words(census->other_side)->name,
                 partition - census->partitions);
    else if (census->is_frontend)
        snprintf(out, 48, "partition %u of %u", partition, census->partitions);
    else if (census->partition_of)
        snprintf(out, 48, "partition %u of %u", census->partition, census->partition_of);
    else
        snprintf(out, 48, "cluster");
    return out;
}

static void judge_state(struct survey *survey, const struct survey_node *node)
{
    switch (survey_state_of(node)) {
    case SURVEY_DOWN:
        problem(survey, "%s is down: it %s.", node->name, node->trouble);
        break;
    case SURVEY_GATHERING:
        problem(survey, "%s is not ready: it is gathering all keys from its cluster, %.1f %%.",
                node->name, survey_number(node, "cluster.gathered_permille", 0) / 10);
        break;
    case SURVEY_STOPPING:
        problem(survey, "%s is stopping.", node->name);
        break;
    case SURVEY_UNREADY:
        problem(survey, "%s is not ready; curl %s/-/ready says why.", node->name, node->name);
        break;
    default:
        break;
    }
}

static void judge_node(struct survey *survey, const struct survey_node *node)
{
    double seconds = 0;
    double used = survey_number(node, "memory.table_bytes", 0);
    double limit = survey_number(node, "memory.table_limit_bytes", 0);
    judge_state(survey, node);
    if (node->status && *node->missed_by)
        problem(survey, "%s answers here, but %s hears nothing of it.", node->name,
                node->missed_by);
    if (survey_skew(survey, node, &seconds) && fabs(seconds) * 1e6 > (double)SURVEY_SKEW_US)
        problem(survey, "The clock of %s is %.1f s %s that of %s.", node->name, fabs(seconds),
                seconds > 0 ? "ahead of" : "behind", reference_of(survey, node->partition)->name);
    if (limit > 0 && used * 100 >= limit * (double)SURVEY_MEMORY_PERCENT)
        problem(survey, "%s has used %.0f %% of its memory (--memory-max).", node->name,
                used * 100 / limit);
}

static void judge_partition(struct survey *survey, unsigned partition)
{
    char name[48];
    for (unsigned i = 0; i < survey->count; i++)
        if (survey->nodes[i]->partition == partition &&
            survey_state_of(survey->nodes[i]) == SURVEY_READY)
            return;
    survey_partition_name(survey, partition, name);
    problem(survey, "No node of the %s is ready: its keys cannot be reached.", name);
}

/* What a front-end says of itself and of how it is set up; that a partition has no node that is ready is said already. */
static void judge_frontend(struct survey *survey)
{
    struct slice status = slice_of(survey->census.status), list, rest, name, value;
    char text[SURVEY_PROBLEM_BYTES];
    if (says_true(status, "draining"))
        problem(survey, "%s is stopping.", survey->census.ask.name);
    else if (!says_true(status, "ready"))
        problem(survey, "%s is not ready.", survey->census.ask.name);
    if (!json_find(status, "problems", &list))
        return;
    for (rest = json_inside(list); json_next(&rest, &name, &value);)
        if (strncmp(json_to_string(value, text, sizeof text), "No node of ", 11) != 0)
            problem(survey, "%s", text);
}

void survey_judge(struct survey *survey)
{
    memset(survey->states, 0, sizeof survey->states);
    survey->problem_count = 0;
    if (survey->lost)
        problem(survey, "%s", survey->census.failure);
    else if (survey->census.is_frontend)
        judge_frontend(survey);
    for (unsigned i = 0; i < survey->census.partitions + survey->census.others; i++)
        judge_partition(survey, i);
    for (unsigned i = 0; i < survey->count; i++) {
        survey->states[survey_state_of(survey->nodes[i])]++;
        judge_node(survey, survey->nodes[i]);
    }
}
