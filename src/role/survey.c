#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json_read.h"
#include "role/survey_state.h"

enum { NODES_AT_FIRST = 16 };

static struct survey_node *node_of(struct ask *ask)
{
    return (struct survey_node *)ask;
}

/* Figures */

double survey_number(const struct survey_node *node, const char *path, double otherwise)
{
    struct slice value;
    if (!node->status || !json_find(slice_of(node->status), path, &value))
        return otherwise;
    return json_to_number(value, otherwise);
}

/* Nodes */

static struct survey_node *node_find(const struct survey *survey, struct slice name,
                                     unsigned partition)
{
    for (unsigned i = 0; i < survey->count; i++)
        if (survey->nodes[i]->partition == partition &&
            slice_equal(slice_of(survey->nodes[i]->name), name))
            return survey->nodes[i];
    return NULL;
}

static void node_destroy(struct survey_node *node)
{
    ask_free(&node->ask);
    free(node->status);
    free(node);
}

static struct survey_node *node_new(struct survey *survey, struct slice name, unsigned partition)
{
    struct command *command = survey->command;
    struct survey_node *node = calloc(1, sizeof *node);
    if (!node || name.len >= sizeof node->name) {
        free(node);
        return NULL;
    }
    node->survey = survey;
    node->partition = partition;
    memcpy(node->name, name.data, name.len);
    if (ask_init(&node->ask, command->loop, survey->upstreams, command->resolver, node->name) == 0)
        return node;
    free(node);
    return NULL;
}

static int survey_reserve(struct survey *survey)
{
    if (survey->count < survey->room)
        return 0;
    unsigned room = survey->room ? survey->room * 2 : NODES_AT_FIRST;
    struct survey_node **nodes = realloc(survey->nodes, room * sizeof(struct survey_node *));
    if (!nodes)
        return -ENOMEM;
    survey->nodes = nodes;
    survey->room = room;
    return 0;
}

/* Of two names with numbers in them, "127.0.0.1:999" comes before "127.0.0.1:8001". */
static bool comes_before(const struct survey_node *a, const struct survey_node *b)
{
    size_t a_len = strlen(a->name), b_len = strlen(b->name);
    if (a->partition != b->partition)
        return a->partition < b->partition;
    return a_len != b_len ? a_len < b_len : strcmp(a->name, b->name) < 0;
}

static void node_ask(struct survey_node *node);

/* A node that is named in this round; it is asked unless it is already. */
static void node_list(struct survey *survey, struct slice name, unsigned partition)
{
    struct survey_node *node = node_find(survey, name, partition);
    if (!node && (survey->count == CENSUS_PLACES_MAX || survey_reserve(survey) != 0))
        return;
    if (!node) {
        node = node_new(survey, name, partition);
        if (!node)
            return;
        unsigned at = survey->count++;
        for (; at > 0 && comes_before(node, survey->nodes[at - 1]); at--)
            survey->nodes[at] = survey->nodes[at - 1];
        survey->nodes[at] = node;
    }
    if (node->listed)
        return;
    node->listed = true;
    node_ask(node);
}

/* Whom nobody names any more. */
static void survey_forget(struct survey *survey)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < survey->count; i++)
        if (survey->nodes[i]->listed)
            survey->nodes[kept++] = survey->nodes[i];
        else
            node_destroy(survey->nodes[i]);
    survey->count = kept;
}

/* A round */

static void survey_print(struct survey *survey)
{
    survey_judge(survey);
    if (survey->command->options.json)
        survey_print_json(survey);
    else
        survey_print_table(survey);
}

static void survey_end_round(struct survey *survey)
{
    struct command *command = survey->command;
    survey->told = true;
    survey_forget(survey);
    survey_print(survey);
    if (command->options.watch)
        loop_timer_set(command->loop, &survey->again,
                       command->loop->now_us + command->options.interval_us);
    else
        command_end(command, survey->problem_count ? COMMAND_WRONG : COMMAND_FINE);
}

static void node_done(struct survey_node *node)
{
    if (--node->survey->pending == 0)
        survey_end_round(node->survey);
}

/* For some seconds a node that was restarted is told of twice: its life before is down. */
static bool is_heard_of(struct slice members, struct slice who)
{
    struct slice line, address, phase;
    while (slice_next(&members, '\n', &line))
        if (census_member_line(line, &address, &phase) && slice_equal(address, who) &&
            !slice_equal(phase, SLICE("down")))
            return true;
    return false;
}

/* Who is a member, and who is heard of, as a node tells. */
static void on_members(struct ask *ask, unsigned status, struct slice body)
{
    struct survey_node *node = node_of(ask), *other;
    struct survey *survey = node->survey;
    struct slice line, address, phase, members = body;
    bool own = true;
    while (status == 200 && slice_next(&body, '\n', &line)) {
        if (!census_member_line(line, &address, &phase))
            continue;
        if (!own) {
            node_list(survey, address, node->partition);
            other = node_find(survey, address, node->partition);
            if (other && slice_equal(phase, SLICE("down")) && !is_heard_of(members, address))
                memcpy(other->missed_by, node->name, sizeof other->missed_by);
        }
        own = false;
    }
    node_done(node);
}

static void on_history(struct ask *ask, unsigned status, struct slice body)
{
    node_of(ask)->recent = status == 200 ? survey_read_recent(body) : survey_nothing_recent;
    ask_get(ask, "/-/members", CENSUS_MEMBERS_BYTES_MAX, on_members);
}

static void on_status(struct ask *ask, unsigned status, struct slice body)
{
    struct survey_node *node = node_of(ask);
    struct slice value;
    node->trouble = status ? "gives an answer that makes no sense" : ask->trouble;
    if (status == 200 && json_is_valid(body) && json_find(body, "cluster.members", &value))
        node->status = strndup(body.data, body.len);
    if (!node->status) {
        node_done(node);
        return;
    }
    ask_get(ask, "/-/history", SURVEY_HISTORY_BYTES, on_history);
}

static void node_ask(struct survey_node *node)
{
    node->survey->pending++;
    ask_get(&node->ask, "/-/status", SURVEY_STATUS_BYTES, on_status);
}

static struct survey *survey_of(struct census *census)
{
    return (struct survey *)(void *)((char *)census - offsetof(struct survey, census));
}

static void on_frontend_history(struct ask *ask, unsigned status, struct slice body)
{
    struct survey *survey = survey_of((struct census *)ask);
    survey->frontend = status == 200 ? survey_read_recent(body) : survey_nothing_recent;
    if (--survey->pending == 0)
        survey_end_round(survey);
}

static void on_census(struct census *census)
{
    struct survey *survey = survey_of(census);
    survey->lost = census->failed;
    if (census->failed && survey->round == 1) {
        command_fail(survey->command, COMMAND_UNREACHED, "%s", census->failure);
        return;
    }
    survey->pending = 1; /* so that nothing ends before all are asked */
    for (unsigned i = 0; census->failed && i < survey->count; i++) {
        survey->nodes[i]->listed = true;
        node_ask(survey->nodes[i]);
    }
    if (!census->failed && census->is_frontend) {
        survey->pending++;
        ask_get(&census->ask, "/-/history", SURVEY_HISTORY_BYTES, on_frontend_history);
    }
    for (unsigned i = 0; !census->failed && i < census->count; i++)
        node_list(survey, slice_of(census->places[i].name), census->places[i].partition);
    if (--survey->pending == 0)
        survey_end_round(survey);
}

static void survey_begin_round(struct survey *survey)
{
    for (unsigned i = 0; i < survey->count; i++) {
        struct survey_node *node = survey->nodes[i];
        free(node->status);
        node->status = NULL;
        node->listed = false;
        node->missed_by[0] = 0;
    }
    survey->round++;
    census_take(&survey->census, on_census);
}

static void on_again(struct loop_timer *timer)
{
    survey_begin_round((struct survey *)(void *)((char *)timer - offsetof(struct survey, again)));
}

/* Life */

static void survey_destroy(void *state)
{
    struct survey *survey = state;
    for (unsigned i = 0; i < survey->count; i++)
        node_destroy(survey->nodes[i]);
    census_free(&survey->census);
    if (survey->upstreams)
        upstreams_destroy(survey->upstreams);
    loop_timer_release(survey->command->loop, &survey->again);
    free(survey->nodes);
    free(survey);
}

/* Ctrl-C is how --watch ends. Who was stopped before there was anything to say does not say that all is well. */
static void survey_stop(void *state)
{
    struct survey *survey = state;
    if (!survey->told)
        command_fail(survey->command, COMMAND_WRONG, "Stopped before all had answered.");
    if (survey->command->terminal)
        command_print(survey->command, "\n"); /* the terminal has echoed ^C */
    command_end(survey->command, survey->problem_count ? COMMAND_WRONG : COMMAND_FINE);
}

static void *survey_start(struct command *command)
{
    struct survey *survey = calloc(1, sizeof *survey);
    const struct command_options *options = &command->options;
    const char *name = options->word_count > 0 ? options->words[0] : "localhost:8000";
    if (!survey || loop_timer_reserve(command->loop) != 0) {
        free(survey);
        return NULL;
    }
    survey->command = command;
    survey->again.on_time = on_again;
    survey->upstreams = upstreams_new(command->loop);
    if (!survey->upstreams || census_init(&survey->census, command->loop, survey->upstreams,
                                          command->resolver, name) != 0) {
        survey_destroy(survey);
        return NULL;
    }
    survey_begin_round(survey);
    return survey;
}

const struct command_ops survey_command = {survey_start, survey_stop, survey_destroy};
