/* A set-up of any size in one process: P partitions of N nodes, F front-ends before them, K keys, and no faults but those of the story.
 * It measures what grows: messages, bytes, processor time, and how long it takes until all know.
 *
 *   sim --scale PxN [--frontends F] [--keys K] …     see scale.c
 *
 * Each phase of the story is printed as one line of JSON, which tests/sim/scale-plot draws. In the end what must hold at any size is
 * checked: so many messages a write and no more, and so on.
 *
 * scale.c has the command line and life, scale_story.c the phases, scale_meter.c what is counted, scale_client.c who writes, scale_look.c
 * whether all know. */
#ifndef SIM_SCALE_H
#define SIM_SCALE_H

#include "bytes.h"
#include "process.h"
#include "response.h"

enum {
    SCALE_DIFFERING_MAX = 8,
    SCALE_SEEDS = 3, /* addresses of each cluster that are told to its nodes and to front-ends */
    SCALE_KEY_BYTES_MAX = 16,
    SCALE_MARK_BYTES = 12, /* the start of each value, which tells writes apart */
};

/* What a connection is for. */
enum scale_way {
    SCALE_UNKNOWN,
    SCALE_HELLO,  /* between nodes: who is there */
    SCALE_PUSH,   /* between nodes: what was written */
    SCALE_REPAIR, /* between nodes: digests, and what differs */
    SCALE_COPY,   /* between nodes: all, to a newcomer */
    SCALE_ASK,    /* from a front-end to a node: whether it is ready */
    SCALE_RELAY,  /* from a front-end to a node: requests of clients */
    SCALE_CLIENT, /* from a client */
    SCALE_WAYS,
};

enum scale_role { SCALE_NODE, SCALE_FRONTEND, SCALE_ROLES };

/* What went out on connections of one kind, or came in. */
struct scale_flow {
    uint64_t requests;
    uint64_t sends;   /* calls of the kernel */
    uint64_t packets; /* of SCALE_PACKET_BYTES at most, that these make */
    uint64_t bytes;   /* of HTTP: without heads of TCP and below */
    uint64_t taken;   /* bytes that came in */
};

/* The same of all kinds, with what it took. */
struct scale_tally {
    struct scale_flow flows[SCALE_WAYS];
    uint64_t cpu_ns, turns;
};

struct scale;

struct scale_process {
    struct process process; /* first, so that its turn and its io lead here */
    struct scale *scale;
    enum scale_role role;
    unsigned partition; /* of a node */
    bool running;
    void (*plain_turn)(struct world_event *event);
    struct scale_tally tally;
};

/* Writes keys, so many at a time, to one address. */
struct scale_client {
    struct scale *scale;
    struct cable_host host;
    struct world_event tick;
    struct cable_end *end;
    const uint32_t *keys;
    unsigned count, sent, answered, depth;
    struct bytes out;
    size_t out_sent;
    struct response response;
    uint64_t answered_us; /* the last one */
};

/* One write, that is watched until all of its cluster have it. */
struct scale_watched {
    bool on;
    unsigned partition, missing;
    char key[SCALE_KEY_BYTES_MAX], mark[SCALE_MARK_BYTES];
    uint64_t everywhere_us;
};

/* What was said on the command line. */
struct scale_options {
    unsigned partitions, nodes, frontends;
    uint64_t keys, value_bytes, writes, seed;
    uint64_t idle_seconds;
    uint64_t differing[SCALE_DIFFERING_MAX];
    unsigned differing_count;
    bool trace;
};

struct scale {
    struct scale_options options;
    struct world world;
    struct faults faults;
    struct limits limits;
    struct cables cables;
    struct rng rng;
    struct scale_process *processes; /* nodes, partition by partition; front-ends; the newcomer */
    unsigned node_count, process_count;
    char (*seed_texts)[ADDRESS_TEXT_BYTES]; /* SCALE_SEEDS of each partition */
    const char **seeds;
    struct frontend_cluster *clusters;
    struct route *route;
    uint32_t *keys; /* all, partition by partition */
    unsigned *key_first, *key_count;
    struct scale_client *clients; /* one of each partition or front-end, whichever are more */
    unsigned client_count;
    uint64_t write_number;
    struct scale_watched watched;
    unsigned looked;  /* where looking for who does not know yet goes on */
    unsigned subject; /* the process that looking is about */
    unsigned passed, failed;
};

static inline struct scale_process *scale_node(struct scale *scale, unsigned partition, unsigned i)
{
    return &scale->processes[partition * scale->options.nodes + i];
}

static inline struct scale_process *scale_frontend(struct scale *scale, unsigned i)
{
    return &scale->processes[scale->node_count + i];
}

static inline struct scale_process *scale_newcomer(struct scale *scale)
{
    return &scale->processes[scale->process_count - 1];
}

static inline unsigned scale_seed_count(const struct scale *scale)
{
    return scale->options.nodes < SCALE_SEEDS ? scale->options.nodes : SCALE_SEEDS;
}

/* `sim --scale` with these words behind it. Returns the exit status. */
int scale_main(int count, char **words);

/* scale.c */
void scale_boot_node(struct scale *scale, struct scale_process *process);
void scale_boot_frontend(struct scale *scale, struct scale_process *process);
void scale_end(struct scale_process *process);

/* scale_story.c */
void scale_story(struct scale *scale);

/* scale_meter.c */
enum { SCALE_PACKET_BYTES = 1448 };

/* From here on what the process sends, takes and uses is counted. */
void scale_meter(struct scale_process *process);

/* The sum of all that are of that role, of one partition or of all (UINT_MAX). */
struct scale_tally scale_sum(const struct scale *scale, enum scale_role role, unsigned partition);
struct scale_tally scale_since(const struct scale_tally *before, const struct scale_tally *now);
extern const char *const scale_way_names[SCALE_WAYS];

/* scale_client.c */
void scale_client_init(struct scale_client *client, struct scale *scale, unsigned number);
void scale_client_free(struct scale_client *client);

/* Writes these keys, which stay until it is done, `depth` at a time. */
void scale_client_write(struct scale_client *client, const struct address *to, const uint32_t *keys,
                        unsigned count, unsigned depth);
bool scale_client_is_done(const struct scale_client *client);
struct slice scale_key(uint32_t number, char room[SCALE_KEY_BYTES_MAX]);
void scale_mark(uint64_t write, char mark[SCALE_MARK_BYTES]);

/* scale_look.c: each says whether it is so now. */
bool scale_nodes_are_well(struct scale *scale);     /* ready, and all know each other */
bool scale_nodes_agree(struct scale *scale);        /* within each partition */
bool scale_frontends_know_all(struct scale *scale); /* and can use them */
bool scale_clients_are_done(struct scale *scale);
bool scale_subject_agrees(struct scale *scale); /* the partition of it: well, and of one mind */
bool scale_subject_is_ready(struct scale *scale);
bool scale_fellows_know_subject(struct scale *scale); /* that it is up */
bool scale_fellows_miss_subject(struct scale *scale); /* that it is not */
bool scale_frontends_use_subject(struct scale *scale);
bool scale_frontends_shun_subject(struct scale *scale);
bool scale_watched_is_everywhere(struct scale *scale);

/* Called after each turn of a node. */
void scale_watch_turn(struct scale_process *process);

#endif
