/* The survey for a person. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/json_read.h"
#include "base/table.h"
#include "role/survey_state.h"

static const char bold[] = "1", dim[] = "2", red[] = "31", green[] = "32", yellow[] = "33";

enum column { NAME, STATE, KEYS, MEMORY, RATE, P50, P99, PUSH, CLOCK, UP, COLUMNS };

enum { LEFT = 1 << NAME | 1 << STATE };

/* Figures. One that is not known is "-". */

static void put_count(struct table *table, enum column column, double value)
{
    char digits[32], text[48];
    size_t len = 0;
    if (value < 0) {
        table_put(table, column, dim, "-");
        return;
    }
    int count = snprintf(digits, sizeof digits, "%.0f", value);
    for (int i = 0; i < count; i++) {
        if (i > 0 && (count - i) % 3 == 0)
            text[len++] = ',';
        text[len++] = digits[i];
    }
    text[len] = 0;
    table_put(table, column, NULL, "%s", text);
}

static char *bytes_text(double bytes, char out[16])
{
    static const char *const units[] = {"B", "K", "M", "G", "T", "P"};
    unsigned unit = 0;
    for (; bytes >= 1000 && unit < 5; unit++)
        bytes /= 1024;
    snprintf(out, 16, "%.*f%s", unit > 0 && bytes < 10 ? 1 : 0, bytes, units[unit]);
    return out;
}

static void put_memory(struct table *table, struct slice status)
{
    struct slice value;
    char used[16], of[16];
    double bytes = json_find(status, "memory.table_bytes", &value) ||
                           json_find(status, "memory.process_resident_bytes", &value)
                       ? json_to_number(value, -1)
                       : -1;
    double limit =
        json_find(status, "memory.table_limit_bytes", &value) ? json_to_number(value, 0) : 0;
    if (bytes < 0)
        table_put(table, MEMORY, dim, "-");
    else if (limit > 0)
        table_put(table, MEMORY, bytes * 100 >= limit * (double)SURVEY_MEMORY_PERCENT ? red : NULL,
                  "%s/%s", bytes_text(bytes, used), bytes_text(limit, of));
    else
        table_put(table, MEMORY, NULL, "%s", bytes_text(bytes, used));
}

static void put_milliseconds(struct table *table, enum column column, double seconds)
{
    double ms = seconds * 1000;
    if (seconds < 0)
        table_put(table, column, dim, "-");
    else
        table_put(table, column, NULL, "%.*f", ms < 10 ? 2 : ms < 100 ? 1 : 0, ms);
}

static void put_up(struct table *table, struct slice status)
{
    struct slice value;
    double seconds = json_find(status, "uptime_seconds", &value) ? json_to_number(value, 0) : 0;
    uint64_t s = seconds > 0 ? (uint64_t)seconds : 0;
    if (s < 60)
        table_put(table, UP, NULL, "%" PRIu64 "s", s);
    else if (s < 3600)
        table_put(table, UP, NULL, "%" PRIu64 "m", s / 60);
    else if (s < 2 * 86400)
        table_put(table, UP, NULL, "%" PRIu64 "h", s / 3600);
    else
        table_put(table, UP, NULL, "%" PRIu64 "d", s / 86400);
}

static void put_rate(struct table *table, double per_second)
{
    if (per_second >= 0 && per_second < 10)
        table_put(table, RATE, NULL, "%.1f", per_second);
    else
        put_count(table, RATE, per_second);
}

static void put_server(struct table *table, struct slice status, const struct survey_recent *recent)
{
    put_memory(table, status);
    put_rate(table, recent->requests);
    put_milliseconds(table, P50, recent->p50);
    put_milliseconds(table, P99, recent->p99);
    put_milliseconds(table, PUSH, recent->push);
    put_up(table, status);
}

/* Rows */

static void put_heads(struct table *table)
{
    static const char *const names[COLUMNS] = {"MEMBER", "STATE", "KEYS",   "MEMORY", "REQ/S",
                                               "P50ms",  "P99ms", "PUSHms", "CLOCK",  "UP"};
    if (table_add(table, false) != 0)
        return;
    for (unsigned i = 0; i < COLUMNS; i++)
        table_put(table, i, dim, i == NAME ? "  %s" : "%s", names[i]);
}

static void put_title(struct table *table, const char *title)
{
    if (table_add(table, true) == 0)
        table_put(table, NAME, bold, "%s", title);
}

static void put_state(struct table *table, const struct survey_node *node)
{
    switch (survey_state_of(node)) {
    case SURVEY_READY:
        table_put(table, STATE, green, "ready");
        break;
    case SURVEY_GATHERING:
        table_put(table, STATE, yellow, "gathering %" PRId64 "%%",
                  (int64_t)(survey_number(node, "cluster.gathered_permille", 0) / 10));
        break;
    case SURVEY_STOPPING:
        table_put(table, STATE, yellow, "stopping");
        break;
    case SURVEY_UNREADY:
        table_put(table, STATE, yellow, "not ready");
        break;
    default:
        table_put(table, STATE, red, "down");
    }
}

static void put_clock(struct table *table, const struct survey *survey,
                      const struct survey_node *node)
{
    double seconds;
    if (!survey_skew(survey, node, &seconds))
        table_put(table, CLOCK, dim, "-");
    else
        table_put(table, CLOCK, fabs(seconds) * 1e6 > (double)SURVEY_SKEW_US ? red : NULL, "%+.1fs",
                  fabs(seconds) < 0.05 ? 0 : seconds);
}

static void put_node(struct table *table, const struct survey *survey,
                     const struct survey_node *node)
{
    if (table_add(table, false) != 0)
        return;
    table_put(table, NAME, NULL, "  %s", node->name);
    put_state(table, node);
    for (unsigned i = KEYS; !node->status && i < COLUMNS; i++)
        table_put(table, i, dim, "-");
    if (!node->status)
        return;
    put_count(table, KEYS, survey_number(node, "keys", -1));
    put_server(table, slice_of(node->status), &node->recent);
    put_clock(table, survey, node);
}

static void put_partitions(struct table *table, const struct survey *survey)
{
    const struct census *census = &survey->census;
    char name[48];
    unsigned at = 0;
    for (unsigned i = 0; i < census->partitions + census->others; i++) {
        put_title(table, survey_partition_name(survey, i, name));
        for (; at < survey->count && survey->nodes[at]->partition == i; at++)
            put_node(table, survey, survey->nodes[at]);
    }
}

static void put_frontend(struct table *table, const struct survey *survey)
{
    struct slice status = slice_of(survey->census.status), value;
    bool ready = json_find(status, "ready", &value) && json_is_true(value);
    put_title(table, "front-end");
    if (table_add(table, false) != 0)
        return;
    table_put(table, NAME, NULL, "  %s", survey->census.ask.name);
    table_put(table, STATE, ready ? green : red, ready ? "ready" : "not ready");
    table_put(table, KEYS, dim, "-");
    table_put(table, CLOCK, dim, "-");
    put_server(table, status, &survey->frontend);
}

/* Lines */

/* One that is written over what stood there before, when this goes on. */
static void print_line(struct survey *survey, const char *line)
{
    bool over = survey->command->options.watch && survey->command->terminal;
    command_print(survey->command, "%s%s\n", line, over ? "\033[K" : "");
}

static void print_table(struct survey *survey, const struct table *table)
{
    char room[TABLE_LINE_BYTES];
    for (unsigned i = 0; i < table->count; i++) {
        struct text line = text_in(room, sizeof room);
        table_line(table, i, survey->command->colours, &line);
        print_line(survey, text_slice(&line).data);
    }
}

/* "3 ready, 1 gathering, 1 down". */
static void add_states(struct text *text, const struct survey *survey)
{
    static const char *const names[SURVEY_STATES] = {
        [SURVEY_DOWN] = "down",         [SURVEY_GATHERING] = "gathering",
        [SURVEY_STOPPING] = "stopping", [SURVEY_UNREADY] = "not ready",
        [SURVEY_READY] = "ready",
    };
    const char *comma = "";
    for (unsigned i = SURVEY_STATES; i-- > 0;)
        if (survey->states[i]) {
            text_add(text, "%s%u %s", comma, survey->states[i], names[i]);
            comma = ", ";
        }
}

/* The first line says all that a monitor needs. */
static void print_sum(struct survey *survey)
{
    char room[512];
    struct text text = text_in(room, sizeof room);
    bool colours = survey->command->colours, well = survey->problem_count == 0;
    const struct census *census = &survey->census;
    unsigned count = survey->problem_count;
    text_add(&text, "%s", !colours ? "" : well ? "\033[1;32m" : "\033[1;31m");
    if (well)
        text_add(&text, "All is well");
    else
        text_add(&text, "%u problem%s", count, count == 1 ? "" : "s");
    text_add(&text, "%s: %u member%s", colours ? "\033[0m" : "", survey->count,
             survey->count == 1 ? "" : "s");
    if (census->is_frontend)
        text_add(&text, " in %u partition%s", census->partitions,
                 census->partitions == 1 ? "" : "s");
    text_add(&text, ", ");
    add_states(&text, survey);
    if (census->others)
        text_add(&text, "; keys %s %u partition%s", side_words(census->other_side)->move,
                 census->others, census->others == 1 ? "" : "s");
    text_add(&text, ".");
    print_line(survey, room);
}

static void print_problems(struct survey *survey)
{
    char line[SURVEY_PROBLEM_BYTES + 32];
    const char *mark = survey->command->colours ? "\033[31m*\033[0m" : "*";
    for (unsigned i = 0; i < survey->problem_count && i < SURVEY_PROBLEMS_MAX; i++) {
        snprintf(line, sizeof line, "%s %s", mark, survey->problems[i]);
        print_line(survey, line);
    }
    if (survey->problem_count > SURVEY_PROBLEMS_MAX) {
        snprintf(line, sizeof line, "%s %u more problems.", mark,
                 survey->problem_count - SURVEY_PROBLEMS_MAX);
        print_line(survey, line);
    }
}

void survey_print_table(struct survey *survey)
{
    struct table table = {.columns = COLUMNS, .left = LEFT};
    const struct command *command = survey->command;
    bool over = command->options.watch && command->terminal;
    put_heads(&table);
    if (survey->census.is_frontend && !survey->lost)
        put_frontend(&table, survey);
    put_partitions(&table, survey);
    if (over)
        command_print(survey->command, "%s", survey->round == 1 ? "\033[H\033[2J" : "\033[H");
    print_sum(survey);
    print_problems(survey);
    print_line(survey, "");
    print_table(survey, &table);
    if (over)
        command_print(survey->command, "\033[J");
    else if (command->options.watch)
        print_line(survey, "");
    table_free(&table);
}
