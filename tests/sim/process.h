/* One simulated process that runs a real node, front-end or command: its io, its loop, and when the loop's next turn is due. */
#ifndef SIM_PROCESS_H
#define SIM_PROCESS_H

#include "bytes.h"
#include "cli.h"
#include "io_sim.h"
#include "resolver_sim.h"

enum {
    PROCESS_PORT = 8000,
    PROCESS_WAKE_US_MAX = 20, /* from an event to the turn that sees it */
};

struct process {
    struct io_sim io;
    struct loop loop;
    struct log log;
    struct node *node;         /* or */
    struct frontend *frontend; /* or */
    void *command_state;       /* of command_ops; the others are NULL */
    const struct command_ops *command_ops;
    struct command command;
    struct bytes said; /* by the command, so far */
    struct cli
        *cli; /* its own; NULL when it was not started by a command line: then it knows no names */
    struct resolver_sim resolver;
    struct world *world;
    struct cable_host host;
    struct address address;
    struct world_event turn;
    struct loop_timer signal; /* comes in a turn, as signals do */
    uint64_t busy_until_us;   /* the loop's last turn takes so long */
    uint64_t stopped_us;      /* when the loop stopped; 0 before */
    uint64_t paused_us;       /* all in all */
    uint64_t still_until_us;  /* it last stood still until then */
    unsigned idle_turns;      /* in a row: with events, but nothing achieved */
    bool draining;
    bool may_not_start; /* then start_error says why, and nothing has failed */
    int start_error;
    void (*on_stopped)(struct process *process); /* at once; NULL */
};

/* Starts a node, the `number`th process of the world, that listens on port PROCESS_PORT. */
void process_start(struct process *process, struct cables *cables, const struct limits *limits,
                   unsigned number);
void process_end(struct process *process);

/* The first half of its end: what it runs is destroyed, its loop and its io are not yet. */
void process_close(struct process *process);

/* The same in two steps: a host, and as many processes on it, one after the other, as one likes. `boot` tells them apart. */
void process_host(struct process *process, struct cables *cables, unsigned number);
void process_boot(struct process *process, struct cables *cables, const struct node_config *config,
                  unsigned number, unsigned boot);

/* The next process on the host will be at another address, the `time`th. */
void process_move(struct process *process, unsigned time);

/* The same, at this one. */
void process_take_ip(struct process *process, const uint8_t ip[16]);

/* The same for a front-end. */
void process_boot_frontend(struct process *process, struct cables *cables,
                           const struct frontend_config *config, unsigned number, unsigned boot);

/* Starts what a command line says, which from then on is the process's own: a node, a front-end, or a command, which ends by itself. */
void process_boot_cli(struct process *process, struct cables *cables, struct cli *cli,
                      unsigned number, unsigned boot);

/* The options of what a node and a front-end have in common. */
void process_cli_limits(struct cli *cli, const struct limits *limits);

/* Stands still, as with SIGSTOP. */
void process_pause(struct process *process, uint64_t until_us);

/* What the records of a node's table take at most, with their tables. */
uint64_t process_table_bytes(const struct node *node);

/* Members that a node counts as up, itself among them. */
unsigned process_members_up(const struct node *node);

struct node_config process_config(const struct limits *limits);

/* Sends it SIGTERM. */
void process_drain(struct process *process);

#endif
