/* The inside of `velour-fog status`, shared by survey.c (asking all), survey_judge.c (what is wrong), survey_recent.c (what was
 * measured of late), survey_table.c (for a person) and survey_json.c (for a program). Nobody else includes this.
 *
 *   census: whom does it consist of? ──► each node at once: /-/status, /-/history, /-/members ──► judge ──► print ──┐
 *      ▲                                       └── names members that were not known yet                │
 *      └──────────────────────────────── a while later, with --watch ◄──────────────────────────────────┘ */
#ifndef ROLE_SURVEY_STATE_H
#define ROLE_SURVEY_STATE_H

#include "role/census.h"
#include "role/command.h"

enum {
    SURVEY_PROBLEMS_MAX = 64,     /* that are told; more are counted */
    SURVEY_PROBLEM_BYTES = 320,   /* one of them */
    SURVEY_SKEW_US = 1000000,     /* a clock that is off by more is a problem */
    SURVEY_MEMORY_PERCENT = 95,   /* a table that has used more of its memory is one, too */
    SURVEY_STATUS_BYTES = 65536,  /* a node's answer of /-/status */
    SURVEY_HISTORY_BYTES = 65536, /* and of /-/history */
};

enum survey_state {
    SURVEY_DOWN, /* it does not answer */
    SURVEY_GATHERING,
    SURVEY_STOPPING,
    SURVEY_UNREADY, /* for another reason */
    SURVEY_READY,
    SURVEY_STATES,
};

/* What was measured in the last five seconds; below 0 where nothing is known, as in a second without requests. */
struct survey_recent {
    double requests; /* a second */
    double p50, p99; /* latency, in the slowest of these seconds */
    double push;     /* propagation, 99 % of it, in the slowest one */
};

extern const struct survey_recent survey_nothing_recent;

/* Who is asked, and what it said in this round. */
struct survey_node {
    struct ask ask; /* first, so that an ask leads here */
    struct survey *survey;
    char name[ADDRESS_TEXT_BYTES];
    unsigned partition;  /* index, as in the census */
    bool listed;         /* somebody names it in this round */
    char *status;        /* NULL: it does not answer, trouble says why */
    const char *trouble; /* static */
    struct survey_recent recent;
    char missed_by[ADDRESS_TEXT_BYTES]; /* a member that hears nothing of it, or empty */
};

struct survey {
    struct command *command;
    struct upstreams *upstreams;
    struct census census;
    struct survey_node **nodes;    /* in order of partitions, and of their names in it */
    struct survey_recent frontend; /* of that itself */
    unsigned count, room;
    unsigned pending; /* nodes that have not answered in this round */
    unsigned round;   /* from 1 */
    bool told;        /* a round has ended */
    struct loop_timer again;
    bool lost; /* who was named does not answer any more: whom it told of last is asked */

    /* What survey_judge finds. */
    unsigned states[SURVEY_STATES];
    unsigned problem_count;
    char problems[SURVEY_PROBLEMS_MAX][SURVEY_PROBLEM_BYTES];
};

/* survey_recent.c: out of an answer of /-/history, whatever it is. */
struct survey_recent survey_read_recent(struct slice history);

enum survey_state survey_state_of(const struct survey_node *node);

/* What stands in its status; `otherwise` when it says nothing of it. */
double survey_number(const struct survey_node *node, const char *path, double otherwise);

/* How far its clock is ahead, by the first node of its cluster that answers. Returns false when that is not known. */
bool survey_skew(const struct survey *survey, const struct survey_node *node, double *seconds);

void survey_judge(struct survey *survey);

/* "partition 0 of 2", "previous partition 0", "next partition 0", or "cluster" for a node's. Returns `out`. */
char *survey_partition_name(const struct survey *survey, unsigned partition, char out[48]);

void survey_print_table(struct survey *survey);
void survey_print_json(struct survey *survey);

#endif
