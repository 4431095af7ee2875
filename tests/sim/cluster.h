/* A simulated cluster: up to SIM_NODES_MAX nodes that join each other, die, come back, say goodbye, are cut off from each other or
 * reached by slow ways only, stand still, run out of memory and file descriptors, and have wrong clocks; and clients that write the
 * same keys through all of them. Once all faults have ended, the nodes must agree, and what they agree on must be what the clients
 * were told.
 *
 * cluster.c has the beginning and the end of a story, cluster_troubles.c what goes wrong, cluster_client.c the clients, cluster_watch.c
 * and cluster_prompt.c what must be true all the time, cluster_check.c what must be true in the end, cluster_mutants.c planted mistakes. */
#ifndef SIM_CLUSTER_H
#define SIM_CLUSTER_H

#include "bytes.h"
#include "fetch.h"
#include "process.h"
#include "response.h"

enum {
    SIM_NODES_MAX = 7,
    SIM_CLIENTS_MAX = 8,
    SIM_KEYS_MAX = 24,
    SIM_BOOTS_MAX = 1024,
    SIM_VALUE_BYTES_MAX = 48 * 1024,
    SIM_ACKED_MIN = 30,   /* writes; with fewer a seed has shown nothing */
    SIM_TROUBLES_MIN = 3, /* the same of what went wrong */
};

/* One life of a node. */
struct sim_boot {
    uint64_t id; /* as a member */
    unsigned node;
    bool was_ready;
    uint64_t from_us, until_us;
    bool died; /* without a goodbye that was heard */
    uint64_t shown
        [SIM_KEYS_MAX]; /* the newest write of each key that it has told somebody of: its number + 1, 0 for none */
};

struct sim_cluster;

struct sim_write {
    struct sim_cluster *cluster;
    struct world_event due; /* when all must have it: see cluster_prompt.c */
    unsigned key;
    uint64_t id;
    bool tombstone;
    uint64_t ttl_us;
    uint64_t version; /* 0 while nobody has seen it */
    bool acked, refused;
    bool excused;      /* it may be lost: who had it died */
    unsigned goodbyes; /* that have left fewer copies of it, as there was nobody else to have one */
    unsigned have;     /* copies, as it was told */
    unsigned boot;     /* that acknowledged it */
    uint64_t sent_us;
    uint64_t expires_max_us; /* on the wall clock of who took it; 0 when that is not known */
    uint64_t fold, bytes;    /* of the value */
};

/* How bad it gets; picked for each seed. */
struct sim_troubles {
    uint32_t crash_ppm, goodbye_ppm, pause_ppm, cut_ppm, part_ppm, step_ppm, freeze_ppm,
        slow_ppm;          /* of the next trouble */
    uint64_t apart_us_max; /* between two of them */
    uint64_t down_us_max, pause_us_max, cut_us_max;
    uint32_t power_ppm; /* of crashes: the whole machine */
    bool one_way, skewed, moves,
        swaps; /* moves: comes back at another address; swaps: at that of another one */
};

struct sim_node {
    struct process process;
    bool running, draining;
    uint64_t memory_max; /* 0 for no limit */
    unsigned boot;       /* index of its present life */
    unsigned boots;
    char joins[SIM_NODES_MAX + 1][24];
    unsigned join_count, joins_whom; /* bits: numbers of nodes */
    bool joins_nobody;               /* an address where nobody ever is, too */
    uint64_t start_us;               /* when it is to be started (again); 0 for not */
    uint64_t drain_us;               /* when it was told to stop */
    uint64_t cut_us[SIM_NODES_MAX];  /* nothing gets to that node before */
    uint64_t slow_us[SIM_NODES_MAX]; /* and before this, only so many bytes a second */
    uint64_t slow_bytes[SIM_NODES_MAX];
    uint64_t thaw_us; /* its clock stands still until then; 0 while it goes */
    uint64_t strangers_us
        [SIM_NODES_MAX];            /* since when the two do not know each other; 0 while they do */
    uint64_t met_us[SIM_NODES_MAX]; /* since when both are ready and know each other; 0 while not */
};

struct cluster_client {
    struct sim_cluster *cluster;
    struct world_event tick;
    struct cable_host host;
    struct rng rng;
    unsigned number, node, boot;
    struct cable_end *end;
    struct bytes out;
    size_t sent;
    struct response response;
    bool busy;
    bool reading; /* a GET */
    unsigned key;
    struct sim_write *write;
    uint64_t sent_us, deadline_us, next_us;
    bool clock_frozen; /* of the node, when it was asked */
    uint64_t floor;    /* the write that the node had told of before: its number + 1 */
    unsigned calls_left;
};

struct sim_cluster {
    struct world world;
    struct faults faults;
    struct limits limits;
    struct cables cables;
    struct rng rng, lives; /* two, so that seeds stay what they were */
    struct sim_troubles troubles;
    struct sim_node nodes[SIM_NODES_MAX];
    unsigned node_count;
    struct cluster_client clients[SIM_CLIENTS_MAX];
    unsigned client_count, key_count;
    const char (*keys)[16]; /* their names */
    struct fetcher fetcher;
    struct sim_boot boots[SIM_BOOTS_MAX];
    unsigned boot_count;
    struct sim_write **writes;
    unsigned write_count, write_room;
    unsigned acked;
    struct world_event trouble, start, watch;
    uint64_t calm_us; /* from here on there are no faults; 0 before */
    uint64_t repair_us;
    unsigned
        pace; /* so many times as long between two requests of a client, and between two troubles */
    bool full_joins;    /* each node names all others */
    bool gentle;        /* nothing gets lost: push alone must do once all are there */
    bool push_alone;    /* and now it has to */
    uint64_t repairs;   /* by then */
    bool large;         /* values */
    bool tight;         /* memory: less than all values would take */
    bool mends_clocks;  /* when faults end */
    bool far_clocks;    /* they are set by up to a year, not just an hour */
    bool bursty;        /* clients wait little between two calls, and all keys are in few shards */
    bool clocks_differ; /* by more than some seconds, or did */
    bool all_ahead;     /* all clocks there were have been ahead by a grace period, at some time */
    uint64_t
        strangers_us; /* when two nodes had last not known each other for as long as a grace period */
    unsigned troubles_made;
};

void cluster_run_seed(uint64_t seed, bool trace, enum mutant mutant, uint64_t again,
                      struct run_result *result);

struct sim_write *cluster_write_new(struct sim_cluster *cluster, unsigned key);

/* Whether tombstones are forgotten within a story: the grace period is short, or all that tell the time were far ahead. */
bool cluster_forgets(const struct sim_cluster *cluster);

/* What the clocks say now, all of them: called whenever one of them was set. */
void cluster_watch_clocks(struct sim_cluster *cluster);

/* cluster_keys.c: names of keys, in many shards or (`crowded`) in three. */
const char (*cluster_keys(bool crowded))[16];

/* cluster_troubles.c */
void cluster_troubles_pick(struct sim_cluster *cluster);
void cluster_node_start_at(struct sim_cluster *cluster, struct sim_node *node, uint64_t at_us);
void cluster_node_end(struct sim_cluster *cluster, struct sim_node *node, bool died);

/* Whether the ways to and from a node were good for some time. */
bool cluster_is_reached(const struct sim_cluster *cluster, unsigned number);
void cluster_on_start(struct world_event *event);
void cluster_on_trouble(struct world_event *event);
unsigned cluster_running(const struct sim_cluster *cluster);
bool cluster_is_cut(void *context, const struct cable_host *from, const struct cable_host *to);
uint64_t cluster_bytes_per_s(void *context, const struct cable_host *from,
                             const struct cable_host *to);
void cluster_thaw(struct sim_cluster *cluster, struct sim_node *node, bool catches_up);

/* cluster_client.c */
void cluster_client_init(struct cluster_client *client, struct sim_cluster *cluster,
                         unsigned number);
void cluster_client_free(struct cluster_client *client);
bool cluster_clients_are_done(const struct sim_cluster *cluster);
void cluster_clients_leave(struct sim_cluster *cluster);
void cluster_clients_go_on(struct sim_cluster *cluster, unsigned calls);

/* cluster_watch.c */
void cluster_on_watch(struct world_event *event);

/* Whether one node takes another one, which runs, for a member that is there. */
bool cluster_knows(const struct sim_cluster *cluster, unsigned a, unsigned b);

/* The world whose nodes are watched when they become ready; NULL for none any more. */
void cluster_watch_ready(struct sim_cluster *cluster);

/* NULL, or what of a node's memory and queues is beyond its limits; once all is quiet also whether its heap has but its table. */
const char *cluster_excess(const struct sim_cluster *cluster, const struct sim_node *node,
                           bool quiet);

/* cluster_prompt.c: where nothing is lost, what was acknowledged is soon where it belongs. */

/* Something is news to a node: two of them may have met. */
void cluster_prompt_meet(struct sim_cluster *cluster);

/* A write was acknowledged: whoever has met its node some time ago must have it soon. */
void cluster_prompt_expect(struct sim_write *write);

/* Nothing is expected any more. */
void cluster_prompt_end(struct sim_cluster *cluster);

/* cluster_check.c */

/* A node ends. When it died, what nobody else has may be lost, if as many have died since as had it; or, when it was `told` to stop and
 * knew of nobody, in any case. A goodbye that was heard is no death, and loses nothing. */
void cluster_check_end_of(struct sim_cluster *cluster, const struct sim_node *node, bool died,
                          bool told);

/* Whether a node that has told of `before` may show `after` then: never an older one. Once a delete is forgotten, what is written later
 * through a clock that is behind may have a smaller version. */
bool cluster_may_follow(const struct sim_cluster *cluster, const struct sim_write *before,
                        const struct sim_write *after);

/* Whether some write may have ended a key after this one, or that itself has. */
bool cluster_may_be_gone(const struct sim_cluster *cluster, const struct sim_write *write);

/* Nodes that have this write or a newer one now; `but` is not looked at. */
unsigned cluster_holders(struct sim_cluster *cluster, const struct sim_node *but,
                         const struct sim_write *write);

/* Lives that ended since then, one way or the other. */
unsigned cluster_ends_since(const struct sim_cluster *cluster, uint64_t us);
struct record *cluster_record_at(const struct sim_cluster *cluster, struct node *node,
                                 unsigned key);
void cluster_check_end(struct sim_cluster *cluster);

/* cluster_finale.c: the same as a client sees it, by HTTP. */
void cluster_finale(struct sim_cluster *cluster);

/* Deletes two keys of three, or all, so that there is room. */
void cluster_make_room(struct sim_cluster *cluster, bool all);

/* cluster_mutants.c: the world whose functions go wrong from here on. */
void cluster_mutants_begin(struct sim_cluster *begun);
void cluster_mutants_end(void);

#endif
