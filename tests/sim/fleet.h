/* A simulated fleet: clusters that share the keys between them as partitions, front-ends before them, and clients that know the
 * front-ends alone. Nodes and front-ends die, come back, say goodbye, stand still, are cut off from each other, and have wrong clocks.
 * Some seeds have a front-end that was told the clusters in a wrong order or number: it must store nothing. Others are gentle: at most
 * one node of each cluster is lost at a time, and then no client may notice.
 *
 * Or (`sim --moves`) keys move to another number of partitions meanwhile.
 *
 * fleet.c has the story, fleet_move.c that of keys on the move, fleet_operator.c that of an operator who looks after all, fleet_archive.c
 * his backups, fleet_monitor.c that of a monitor, fleet_troubles.c what goes wrong, fleet_calls.c what clients ask and what may be
 * answered, fleet_client.c their connections, fleet_history.c what is known of each write, fleet_check.c what must be true all the time
 * and in the end, fleet_mutants.c planted mistakes. */
#ifndef SIM_FLEET_H
#define SIM_FLEET_H

#include "bytes.h"
#include "data/record.h"
#include "data/route.h"
#include "fetch.h"
#include "process.h"
#include "response.h"

enum {
    FLEET_SIDES =
        2, /* while keys move: the old clusters, the new ones. Else there is one side alone */
    FLEET_PARTITIONS_MAX = 3,
    FLEET_CLUSTERS_MAX = FLEET_SIDES * FLEET_PARTITIONS_MAX,
    FLEET_CLUSTER_MAX = 5,   /* nodes of one cluster, */
    FLEET_CLUSTER_USUAL = 4, /* but in few seeds so many */
    FLEET_NODES_MAX = FLEET_CLUSTERS_MAX * FLEET_CLUSTER_MAX,
    FLEET_FRONTENDS_MAX = 4,                               /* the wrong one, too */
    FLEET_RESHARD = FLEET_NODES_MAX + FLEET_FRONTENDS_MAX, /* its place among the processes */
    FLEET_OPERATOR = FLEET_RESHARD + 1,                    /* the same of an operator's commands */
    FLEET_PROCESSES_MAX = FLEET_OPERATOR + 1,
    FLEET_NOBODY = 200, /* a place at which there is never a process, but some are told so */
    FLEET_CLIENTS_MAX = 50,
    FLEET_CLIENTS_USUAL = 8,
    FLEET_KEYS_MAX = 12,
    FLEET_DEPTH_MAX = 80,   /* requests of one client at a time: more than a front-end looks at */
    FLEET_VERSIONS_MAX = 8, /* of one write: it may be tried several times */
    FLEET_VALUE_BYTES_MAX = 900 * 1000,
    FLEET_REPLIES_MIN = 10, /* with less a seed has shown nothing */
};

/* So far ahead is asked for, at random: an hour. */
#define FLEET_AHEAD_US ((uint64_t)3600 * 1000000)

/* A PUT, POST or DELETE. */
struct fleet_write {
    unsigned key, id;
    bool tombstone;
    bool acked, refused;
    bool everywhere;      /* all copies were there when it was answered */
    bool excused;         /* it may be lost: who had it died */
    uint64_t lost_us[2];  /* when the last one died that had it on each side */
    uint64_t bytes, fold; /* of its value */
    uint64_t ttl_us;      /* 0 for none */
    uint64_t begun_us, acked_us,
        known_us; /* known: when somebody first heard that it was carried out; 0 before */
    uint64_t versions[FLEET_VERSIONS_MAX];
    unsigned version_count;
    const struct fleet_write *
        before; /* the write of its key that its client sent just before it, without waiting for an answer */
};

/* From `at_us` on it was known that a key had come to a version. */
struct fleet_floor {
    uint64_t at_us, version;
};

/* The last write of a key that a front-end has answered in this life of it. */
struct fleet_answered {
    const struct fleet_write *write;
    uint64_t version, disturbed; /* as of its begin */
};

struct fleet_key {
    char name[24];
    bool shares_place; /* with another key, where front-ends remember what was just written */
    unsigned home[FLEET_SIDES]; /* its cluster on each side */
    struct fleet_floor *floors;
    unsigned floor_count, floor_room;
    struct fleet_answered answered[FLEET_FRONTENDS_MAX];
    uint64_t everywhere;           /* a version that all had, */
    uint64_t everywhere_disturbed; /* when so many things had gone wrong with its clusters */
    bool may_be_absent;            /* a delete or an expiry was asked for */
};

struct fleet_process {
    struct process process;
    bool running, draining;
    bool wrong;   /* a front-end that was told nonsense */
    bool retired; /* it does not come back */
    unsigned number, cluster, boots;
    unsigned
        host_number; /* of its address and its chance: in fleets without a move, front-ends come right after the nodes of one side */
    unsigned unfreed; /* requests of a front-end that a planted mistake has not freed */
    unsigned stage,
        booted_stage;  /* of a front-end, while keys move: to be started with; last was */
    uint64_t sound_us; /* of a node: since when nothing has been wrong with it; 0: is */
    uint64_t start_us; /* when it is to be started (again); 0 for not */
    uint64_t cut_us[FLEET_PROCESSES_MAX]; /* nothing gets to that one before */
    uint64_t paused_until_us;
    uint64_t ended_us; /* last */
};

enum fleet_kind {
    FLEET_GET,
    FLEET_HEAD,
    FLEET_SET,
    FLEET_DELETE,
    FLEET_HEALTHY,     /* 200, from the front-end itself */
    FLEET_NOT_ALLOWED, /* 405 */
    FLEET_BAD_KEY,     /* 400 */
    FLEET_TOO_LARGE,   /* 413, and the connection ends */
};

struct fleet_call {
    enum fleet_kind kind;
    unsigned key;
    struct fleet_write *write, *known; /* known: whose ETag it says */
    const struct fleet_write *
        before; /* the last write of its key before it on its connection that was not answered yet */
    char etag[RESPONSE_TEXT_BYTES];
    bool streams; /* its body is large */
    bool all_copies;
    bool expects; /* a 100 may come */
    uint64_t begun_us, sent_us, wait_us;
    struct fleet_answered answered; /* when it was begun, by its front-end */
    uint64_t everywhere;            /* what all had when it was begun */
    uint64_t disturbed;             /* how many things had gone wrong by then with its clusters */
    size_t end;                     /* of its last byte in the client's output */
};

struct fleet;

struct fleet_client {
    struct fleet *fleet;
    struct world_event tick;
    struct cable_host host;
    struct rng rng;
    unsigned number, frontend, boots; /* boots: of that front-end, when it connected */
    bool slow, chops, lost;           /* lost: it talks to the wrong front-end */
    struct cable_end *end;
    struct bytes out;
    size_t sent;
    struct response response;
    bool response_begun;
    struct fleet_call calls[FLEET_DEPTH_MAX];
    unsigned call_first, call_count;
    unsigned calls_left, depth_max;
    bool half_closes, shut, closing;
    bool turned_away; /* while it sent a large value: the connection ends */
    uint64_t leave_us, next_us, send_us, read_us, progress_us;
    char etags[FLEET_KEYS_MAX][RESPONSE_TEXT_BYTES]; /* last seen, and whose they are */
    struct fleet_write *seen[FLEET_KEYS_MAX];
};

struct fleet_troubles {
    uint32_t crash_ppm, goodbye_ppm, pause_ppm, cut_ppm, step_ppm, frontend_ppm, blackout_ppm;
    uint64_t apart_us_max, down_us_max, pause_us_max, cut_us_max;
    bool one_way, skewed; /* skewed: nodes' clocks are wrong; front-ends' always are */
};

/* What an operator does when keys move, see fleet_move.c. */
enum fleet_act {
    FLEET_ROLL,   /* all front-ends, one after the other, to stage `to` */
    FLEET_COPY,   /* reshard to side `to`, until it is done */
    FLEET_TRY,    /* the same, but given up on the way */
    FLEET_RETIRE, /* the nodes of side `to` are stopped */
    FLEET_ACT_END,
};

struct fleet_step {
    enum fleet_act act;
    unsigned to;
};

struct fleet_move {
    struct world_event tick;
    const struct fleet_step *script, *step;
    uint64_t step_us;      /* since when it has been under way */
    uint64_t next_us;      /* the operator looks again */
    uint64_t apart_us_max; /* between two things that the operator does */
    uint64_t run_us;       /* reshard was started last */
    uint64_t kill_us;      /* when it is killed; 0 for not */
    unsigned kills_left;
    bool proven; /* that all is on one side, which alone counts from then on: */
    unsigned proven_side;
    bool over;
};

/* What a backup should have of a key. */
struct fleet_saved {
    uint64_t version;   /* this one or a later one; 0: that is not known */
    uint64_t disturbed; /* unless more than this goes wrong meanwhile */
    uint64_t digest;    /* exactly this; 0: that is not known */
};

/* Somebody who runs commands: status, diff, backup, restore. */
struct fleet_operator {
    bool hired; /* in this seed */
    struct world_event tick;
    struct rng rng;

    /* The command that is run, or was run last. */
    enum config_role role;
    char words[2][96];
    bool json, watch, resume, terminal;
    uint64_t limit, rate; /* 0 for none */
    uint64_t run_us, kill_us;
    bool running;
    bool over; /* it has ended by itself, or by Ctrl-C, */
    enum command_exit exit;
    char failure[COMMAND_FAILURE_BYTES];
    struct bytes said;
    bool interrupted;

    uint64_t next_us;
    bool finale;     /* the faults are over, and clients are done */
    char folder[48]; /* of the backup; empty before there is one */
    bool saving;     /* one was begun, and can be gone on with */
    struct fleet_saved saved[FLEET_KEYS_MAX];
    uint64_t found[FLEET_KEYS_MAX];   /* versions of what it has */
    uint64_t digests[FLEET_KEYS_MAX]; /* 0 for what it lacks */
    bool expires[FLEET_KEYS_MAX];
    unsigned partition, partitions; /* that it is of, as in struct archive_head */
};

/* Somebody who asks all processes how they are. */
struct fleet_monitor {
    bool hired;
    struct rng rng;
    struct fetcher fetcher;
    uint64_t next_us;
    struct monitor_samples *samples[FLEET_PROCESSES_MAX]; /* what each said last */
};

struct fleet {
    struct world world;
    struct faults faults;
    struct limits limits;
    struct cables cables;
    struct rng rng;
    struct rng ahead_rng; /* of the versions of the future alone */
    struct fleet_troubles troubles;
    struct fleet_process processes[FLEET_PROCESSES_MAX]; /* nodes first */
    unsigned side_count[FLEET_SIDES];                    /* partitions of each */
    unsigned cluster_count, frontend_count;              /* of all, the wrong one too */
    unsigned cluster_size[FLEET_CLUSTERS_MAX];
    unsigned cluster_max, client_max; /* of this seed */
    /* What each front-end is told, and at last what reshard is. */
    char seeds[FLEET_FRONTENDS_MAX + 1][FLEET_CLUSTERS_MAX + 1][FLEET_CLUSTER_MAX + 1][24];
    const char *seed_list[FLEET_FRONTENDS_MAX + 1][FLEET_CLUSTERS_MAX + 1][FLEET_CLUSTER_MAX + 1];
    struct frontend_cluster clusters[FLEET_FRONTENDS_MAX + 1][FLEET_CLUSTERS_MAX + 1];
    unsigned told_count[FLEET_FRONTENDS_MAX + 1]; /* clusters that it was told */
    struct fleet_client clients[FLEET_CLIENTS_MAX];
    unsigned client_count, key_count;
    struct fleet_key keys[FLEET_KEYS_MAX];
    struct fleet_write **writes;
    unsigned write_count, write_room;
    uint64_t disturbed[FLEET_CLUSTERS_MAX]; /* things that went wrong with it so far */
    uint64_t
        quiet_us[FLEET_CLUSTERS_MAX];     /* since when all its nodes are there and ready; 0: not */
    uint64_t born_us[FLEET_CLUSTERS_MAX]; /* since when they have been for the first time */
    struct route *routes[FLEET_SIDES];
    struct fleet_move move;
    struct fleet_operator op;
    struct fleet_monitor monitor;
    struct world_event trouble, start, watch;
    const char *block;
    bool moves; /* its keys, to another number of partitions */
    bool gentle, large, has_wrong, read_home;
    bool
        ahead; /* clients ask for versions of the future now and then: of ahead_us and an hour more */
    uint64_t ahead_us;  /* 0: of the clock */
    uint64_t offset_us; /* of all clocks that are right */
    uint64_t calm_us;   /* from here on there are no faults; 0 before */
    bool strict;        /* and from here on all must succeed */
    unsigned troubles_made;
};

void fleet_run_seed(uint64_t seed, bool moves, bool trace, enum mutant mutant, uint64_t again,
                    const char *block, struct run_result *result);

static inline unsigned fleet_side_of(const struct fleet *fleet, unsigned cluster)
{
    return cluster >= fleet->side_count[0];
}

/* Whether what is known of a key before a write begins is known to the node that takes it. A clock that is right makes its version the
 * later one in any case; over one of the future it is later only where a node has that. */
static inline bool fleet_is_ordered(const struct fleet *fleet)
{
    return !fleet->troubles.skewed && (!fleet->ahead || (fleet->gentle && !fleet->moves));
}

static inline unsigned fleet_side_first(const struct fleet *fleet, unsigned side)
{
    return side ? fleet->side_count[0] : 0;
}

/* Gives a process, the `place`th, its host, which is called by a letter and a number. */
void fleet_host(struct fleet *fleet, unsigned place, unsigned number, const char *letter);

/* The number of a place by which its process has its address and its chance: as if each cluster had room for the usual number of nodes,
 * and those beyond came after all others. So seeds without such have told the same story ever since. */
unsigned fleet_lot(unsigned place);

/* "10.0.0.7:8000" or "n6:8000", as others name a node. */
void fleet_name(const struct fleet *fleet, unsigned place, char out[24]);

/* To which side a front-end of a stage writes: see fleet_move.c. */
static inline unsigned fleet_stage_side(unsigned stage)
{
    return stage >= 2;
}

static inline struct fleet_process *fleet_frontend(struct fleet *fleet, unsigned i)
{
    return &fleet->processes[FLEET_NODES_MAX + i];
}

/* fleet_troubles.c */
void fleet_troubles_pick(struct fleet *fleet);
void fleet_start_at(struct fleet *fleet, struct fleet_process *process, uint64_t at_us);
void fleet_on_start(struct world_event *event);
void fleet_on_trouble(struct world_event *event);
bool fleet_is_cut(void *context, const struct cable_host *from, const struct cable_host *to);
void fleet_calm(struct fleet *fleet);
void fleet_part(struct fleet *fleet, unsigned cluster);              /* one node from its fellows */
void fleet_stop(struct fleet *fleet, struct fleet_process *process); /* with SIGTERM */
void fleet_kill(struct fleet *fleet,
                struct fleet_process *process); /* to come back, unless it is retired */

/* fleet_move.c */
void fleet_move_begin(struct fleet *fleet);
void fleet_move_boot(struct fleet *fleet, struct fleet_process *process); /* reshard */

/* fleet_operator.c */
void fleet_operator_begin(struct fleet *fleet);
void fleet_operator_boot(struct fleet *fleet, struct fleet_process *process);
void fleet_operator_end(struct fleet *fleet);

/* Once all is quiet: says the status that all is well, does a restore bring all back, and so on. */
void fleet_operator_finale(struct fleet *fleet);

/* fleet_archive.c: the backup at the operator's path. */
void fleet_archive_path(const struct fleet *fleet, char out[96]);

/* It begins now: notes what it must have. `quiet`: exactly what is there. */
void fleet_archive_expect(struct fleet *fleet, bool quiet);

/* Whoever wrote it was killed: the end of what was written may not be there. */
void fleet_archive_tear(struct fleet *fleet);

/* It is said to be whole: reads it, and holds it against what was noted and against what clients wrote. */
void fleet_archive_check(struct fleet *fleet);

/* Whether it is about a cluster. */
bool fleet_archive_covers(const struct fleet *fleet, unsigned cluster);

/* Whether each node has what is in it, to the byte, save what has expired; else the world fails. */
void fleet_archive_check_restored(struct fleet *fleet);

/* fleet_monitor.c */
void fleet_monitor_begin(struct fleet *fleet);
void fleet_monitor_end(struct fleet *fleet);

/* One step of the world; before it, something may be asked, while the world goes on. */
bool fleet_step(struct fleet *fleet);

/* Once all is quiet: everybody answers. */
void fleet_monitor_finale(struct fleet *fleet);

/* fleet_history.c */
struct fleet_write *fleet_write_new(struct fleet *fleet, unsigned key);

/* Somebody has heard, now, that the write stands with that version. */
void fleet_write_known(struct fleet *fleet, struct fleet_write *write, uint64_t version,
                       const char *who);

/* Somebody has heard that it was carried out: nothing that was known before it began may be newer. */
void fleet_write_acked(struct fleet *fleet, struct fleet_write *write, uint64_t version,
                       const char *who);

/* A node ends: what nobody else has may be lost. */
void fleet_history_death(struct fleet *fleet, const struct fleet_process *dying);

/* All keys are said to be on side `to`: whatever a node of the other side has that nothing was wrong with has to be there. What
 * others alone have may be lost. */
void fleet_history_moved(struct fleet *fleet, unsigned to);

/* fleet_calls.c */
void fleet_call_compose(struct fleet_client *client, struct fleet_call *call);
void fleet_call_judge(struct fleet_client *client, struct fleet_call *call);

/* Writes a read of a key. */
void fleet_put_read(struct fleet_client *client, const struct fleet_key *key, const char *method);

/* fleet_client.c */
void fleet_client_init(struct fleet_client *client, struct fleet *fleet, unsigned number);
void fleet_client_free(struct fleet_client *client);
void fleet_client_go_on(struct fleet_client *client, unsigned calls);
bool fleet_clients_are_done(const struct fleet *fleet);

/* fleet_check.c */
void fleet_on_watch(struct world_event *event);
void fleet_check_end(struct fleet *fleet);

/* Whether all nodes of a cluster are there, ready and of one mind; else why not. */
const char *fleet_unready(struct fleet *fleet, unsigned cluster);

/* The write that a record comes from; the world fails when there is none. */
const struct fleet_write *fleet_explain(struct fleet *fleet, unsigned key,
                                        const struct record *record);

/* Steps on until all nodes and front-ends are well again; the world fails when that takes too long. */
void fleet_await_agreement(struct fleet *fleet);

/* Whether its nodes have been stopped for good. */
bool fleet_is_retired(const struct fleet *fleet, unsigned cluster);

/* Of a key's clusters: how many things have gone wrong; since when all is well, 0 when it is not; since when it first was. */
uint64_t fleet_key_disturbed(const struct fleet *fleet, const struct fleet_key *key);
uint64_t fleet_key_quiet_us(const struct fleet *fleet, const struct fleet_key *key);
uint64_t fleet_key_born_us(const struct fleet *fleet, const struct fleet_key *key);

/* Whether a node of a key's clusters is stopping: it closes its connections, so that it cannot be asked for what it has just written. */
bool fleet_key_stopping(const struct fleet *fleet, const struct fleet_key *key);
struct record *fleet_record_at(struct fleet *fleet, const struct fleet_process *process,
                               unsigned key);

/* fleet_mutants.c */
void fleet_mutants_begin(struct fleet *begun);
void fleet_mutants_end(void);

#endif
