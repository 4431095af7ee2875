/* What a node or a front-end has measured of late, out of its /-/history. */
#include "base/json_read.h"
#include "role/survey_state.h"

enum { SAMPLES = 5, COLUMNS = 4 }; /* of a second each; that are read */

/* A column of each sample in the order of struct survey_recent. */
struct recent {
    int place[COLUMNS];              /* in a sample; -1: there is none */
    double values[SAMPLES][COLUMNS]; /* the last ones; below 0 where nothing is known */
    unsigned count;
};

static void find_columns(struct recent *recent, struct slice columns)
{
    static const struct slice names[COLUMNS] = {
        {"\"requests_per_second\"", 21},
        {"\"latency_p50_seconds\"", 21},
        {"\"latency_p99_seconds\"", 21},
        {"\"push_p99_seconds\"", 18},
    };
    struct slice rest = json_inside(columns), name, value;
    for (unsigned i = 0; i < COLUMNS; i++)
        recent->place[i] = -1;
    for (int at = 0; json_next(&rest, &name, &value); at++)
        for (unsigned i = 0; i < COLUMNS; i++)
            if (slice_equal(value, names[i]))
                recent->place[i] = at;
}

static void take_sample(struct recent *recent, struct slice sample)
{
    double *values = recent->values[recent->count++ % SAMPLES];
    struct slice rest = json_inside(sample), name, value;
    for (unsigned i = 0; i < COLUMNS; i++)
        values[i] = -1;
    for (int at = 0; json_next(&rest, &name, &value); at++)
        for (unsigned i = 0; i < COLUMNS; i++)
            if (recent->place[i] == at)
                values[i] = json_to_number(value, -1);
}

static unsigned kept(const struct recent *recent)
{
    return recent->count < SAMPLES ? recent->count : SAMPLES;
}

static double mean(const struct recent *recent, unsigned column)
{
    double sum = 0;
    unsigned known = 0;
    for (unsigned i = 0; i < kept(recent); i++)
        if (recent->values[i][column] >= 0) {
            sum += recent->values[i][column];
            known++;
        }
    return known ? sum / known : -1;
}

static double largest(const struct recent *recent, unsigned column)
{
    double most = -1;
    for (unsigned i = 0; i < kept(recent); i++)
        if (recent->values[i][column] > most)
            most = recent->values[i][column];
    return most;
}

struct survey_recent survey_read_recent(struct slice history)
{
    struct recent recent = {.count = 0};
    struct slice list, rest, name, sample;
    if (!json_is_valid(history) || !json_find(history, "columns", &list))
        return survey_nothing_recent;
    find_columns(&recent, list);
    if (json_find(history, "samples", &list))
        for (rest = json_inside(list); json_next(&rest, &name, &sample);)
            take_sample(&recent, sample);
    return (struct survey_recent){mean(&recent, 0), largest(&recent, 1), largest(&recent, 2),
                                  largest(&recent, 3)};
}

const struct survey_recent survey_nothing_recent = {-1, -1, -1, -1};
