/* What can go wrong in a world, and how its clients behave: two flat structs, picked anew for each seed.
 *
 * Swarm testing (Groce et al., 2012): each seed switches on a random part of all this, since a fault that
 * is always there hides what needs its absence. Rates are in parts per million. */
#ifndef SIM_FAULTS_H
#define SIM_FAULTS_H

#include "world.h"

enum { KNOCK_US_MAX = 900 * 1000 };

struct faults {
    /* On the way: per segment. */
    uint64_t latency_us_min, latency_us_max;
    uint32_t delay_ppm;    /* a segment that is lost and sent again */
    uint64_t delay_us;     /* takes this much longer */
    uint32_t segments_max; /* one send is cut into up to so many */
    uint32_t reset_ppm;    /* the connection is reset, at any byte of a segment */
    bool reset_discards;   /* a reset takes with it what had come and was not read yet */
    uint64_t pipe_bytes_min,
        pipe_bytes_max;  /* what one direction holds before its sender must wait */
    bool pipe_low_water; /* room is reported only when a third is free, as Linux does */
    uint32_t backlog_max;
    uint32_t
        knock_ppm; /* a connection takes up to KNOCK_US_MAX longer to come about: its first packet was lost */

    /* In the kernel: per call. */
    uint32_t short_read_ppm, short_write_ppm;
    uint32_t accept_failure_ppm, accept_abort_ppm, watch_failure_ppm;
    uint32_t interrupt_ppm;   /* a wait that ends with nothing */
    uint32_t false_ready_ppm; /* a socket reported as ready that is not */
    uint32_t files_max;       /* open sockets of one process, 0 for no limit */

    /* In the process and its clock. */
    uint64_t turn_us_max; /* how long one turn of a loop takes */
    uint32_t pause_ppm;   /* a turn after which the process stands still */
    uint64_t pause_us_max;
    uint32_t clock_steps;       /* of the wall clock, in the whole run */
    uint64_t clock_step_us_max; /* either way */

    /* Between hosts. */
    uint32_t cuts;       /* how often the way to one client is cut */
    uint64_t cut_us_max; /* and for how long */
};

struct habits {
    uint32_t clients;
    uint32_t calls_min, calls_max; /* of one client */
    uint32_t session_max;          /* calls on one connection */
    uint32_t depth_max;            /* pipelined */
    uint64_t think_us_max;         /* between two bursts */
    uint32_t keys_own, keys_shared;
    uint32_t value_bytes_max;

    uint32_t chopper_ppm, slow_reader_ppm, stranger_ppm, sleeper_ppm; /* of clients */

    /* Of calls. */
    uint32_t write_ppm, delete_ppm, head_ppm, page_ppm, bad_ppm;
    uint32_t chunked_ppm, typed_ppm, ttl_ppm, expect_ppm, old_http_ppm, match_ppm, wait_ppm;
    uint32_t close_ppm, leave_ppm, nap_ppm, half_close_ppm, too_large_ppm;
};

/* Limits of the node under test. */
struct limits {
    uint64_t idle_us, request_us, stall_us, drain_us, grace_us, forget_us;
    uint64_t memory_max, value_max;
    uint32_t connections_max;
};

enum { LIMITS_CONNECTIONS = 1000 }; /* more than ever come */

void faults_pick(struct faults *faults, uint64_t seed);
void habits_pick(struct habits *habits, uint64_t seed);

/* `habits` says how many come, and how large values are. */
void limits_pick(struct limits *limits, const struct habits *habits, uint64_t seed);

/* No faults any more, short ways. */
void faults_end(struct faults *faults);

/* How late an answer may be, all that is on its way and in the process considered, cuts apart. */
uint64_t faults_slack_us(const struct faults *faults);

#endif
