/* The survey for a program: one JSON object, in it each node's own status as it came. */
#include <stdlib.h>

#include "base/json.h"
#include "role/survey_state.h"

enum { PIECE_BYTES = CENSUS_STATUS_BYTES_MAX + 64 * 1024 };

/* Prints what was built, so that there is room for the next piece. */
static void flush(struct survey *survey, struct json *json)
{
    if (json->text.len > 0)
        survey->command->print(survey->command->context, json->text.data);
    json->text.len = 0;
    json->text.data[0] = 0;
}

/* In millionths; of what cannot be, the most or least that is told. */
static int64_t millionths(double number)
{
    const double most = 1e12;
    return (int64_t)((number > most ? most : number < -most ? -most : number) * 1e6);
}

/* What is not known is left out. */
static void put_recent(struct json *json, const struct survey_recent *recent)
{
    const struct {
        const char *name;
        double value;
    } figures[] = {
        {"requests_per_second", recent->requests},
        {"latency_p50_seconds", recent->p50},
        {"latency_p99_seconds", recent->p99},
        {"push_p99_seconds", recent->push},
    };
    for (unsigned i = 0; i < sizeof figures / sizeof *figures; i++)
        if (figures[i].value >= 0)
            json_seconds(json, figures[i].name, (uint64_t)millionths(figures[i].value));
}

static void put_node(struct json *json, const struct survey *survey, const struct survey_node *node)
{
    static const char *const names[SURVEY_STATES] = {
        [SURVEY_DOWN] = "down",         [SURVEY_GATHERING] = "gathering",
        [SURVEY_STOPPING] = "stopping", [SURVEY_UNREADY] = "unready",
        [SURVEY_READY] = "ready",
    };
    double seconds;
    json_open(json, NULL);
    json_string(json, "address", slice_of(node->name));
    json_string(json, "state", slice_of(names[survey_state_of(node)]));
    if (!node->status)
        json_string(json, "trouble", slice_of(node->trouble));
    if (node->status)
        put_recent(json, &node->recent);
    if (survey_skew(survey, node, &seconds))
        json_seconds_signed(json, "clock_skew_seconds", millionths(seconds));
    if (node->status)
        json_raw(json, "status", slice_of(node->status));
    json_close(json);
}

static void put_partition(struct json *json, struct survey *survey, unsigned partition)
{
    char name[48];
    json_open(json, NULL);
    json_string(json, "name", slice_of(survey_partition_name(survey, partition, name)));
    json_list_open(json, "members");
    for (unsigned i = 0; i < survey->count; i++)
        if (survey->nodes[i]->partition == partition) {
            put_node(json, survey, survey->nodes[i]);
            flush(survey, json);
        }
    json_list_close(json);
    json_close(json);
}

/* The list is there, also when it is empty. */
static void put_side(struct json *json, struct survey *survey, enum side side)
{
    const struct census *census = &survey->census;
    unsigned first = side == SIDE_OWN ? 0 : census->partitions, count = 0;
    if (side == SIDE_OWN)
        count = census->partitions;
    else if (side == census->other_side)
        count = census->others;
    json_list_open(json, side_words(side)->list);
    for (unsigned i = first; i < first + count; i++)
        put_partition(json, survey, i);
    json_list_close(json);
}

static void put_problems(struct json *json, const struct survey *survey)
{
    json_bool(json, "well", survey->problem_count == 0);
    json_number(json, "problem_count", survey->problem_count);
    json_list_open(json, "problems");
    for (unsigned i = 0; i < survey->problem_count && i < SURVEY_PROBLEMS_MAX; i++)
        json_string(json, NULL, slice_of(survey->problems[i]));
    json_list_close(json);
}

void survey_print_json(struct survey *survey)
{
    const struct census *census = &survey->census;
    char *room = malloc(PIECE_BYTES);
    if (!room) {
        command_fail(survey->command, COMMAND_WRONG, "Out of memory.");
        return;
    }
    struct json json = json_in(text_in(room, PIECE_BYTES));
    json_open(&json, NULL);
    json_string(&json, "asked", slice_of(census->ask.name));
    put_problems(&json, survey);
    if (census->is_frontend && census->status)
        json_raw(&json, "frontend", slice_of(census->status));
    for (enum side side = 0; side < SIDES; side++)
        put_side(&json, survey, side);
    json_close(&json);
    text_add(&json.text, "\n");
    flush(survey, &json);
    free(room);
}
