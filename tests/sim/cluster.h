/* A simulated cluster: up to CLUSTER_NODES_MAX nodes that join each other, die, come back, are cut off from each other, stand still
 * and have wrong clocks, and clients that write the same keys through all of them. Once all faults have ended, the nodes must agree,
 * and what they agree on must be what the clients were told.
 *
 * cluster.c has the story and the faults, cluster_client.c the clients, cluster_check.c what must be true. */
#ifndef SIM_CLUSTER_H
#define SIM_CLUSTER_H

#include "bytes.h"
#include "process.h"
#include "response.h"
#include "run.h"

enum {
    SIM_NODES_MAX = 7,
    SIM_CLIENTS_MAX = 8,
    SIM_KEYS_MAX = 24,
    SIM_BOOTS_MAX = 1024,
};

/* One life of a node. */
struct sim_boot {
    unsigned node;
    uint64_t from_us, until_us;
    bool died; /* without a goodbye that was heard */
};

struct sim_write {
    unsigned key;
    uint64_t id;
    bool tombstone;
    uint64_t ttl_us;
    uint64_t version; /* 0 while nobody has seen it */
    bool acked, refused;
    bool excused;  /* it may be lost: who had it died */
    unsigned have; /* copies, as it was told */
    unsigned boot; /* that acknowledged it */
    uint64_t sent_us;
};

/* How bad it gets; picked for each seed. */
struct sim_troubles {
    uint32_t crash_ppm, goodbye_ppm, pause_ppm, cut_ppm, part_ppm,
        step_ppm;          /* of the next trouble */
    uint64_t apart_us_max; /* between two of them */
    uint64_t down_us_max, pause_us_max, cut_us_max;
    bool one_way, skewed;
};

struct sim_node {
    struct process process;
    bool running, draining;
    unsigned boot; /* index of its present life */
    unsigned boots;
    char joins[SIM_NODES_MAX + 1][24];
    unsigned join_count;
    uint64_t start_us;              /* when it is to be started (again); 0 for not */
    uint64_t cut_us[SIM_NODES_MAX]; /* nothing gets to that node before */
};

struct sim_cluster;

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
    uint64_t deadline_us, next_us;
    uint64_t seen[SIM_KEYS_MAX]; /* versions, on this connection */
    unsigned calls_left;
};

struct sim_cluster {
    struct world world;
    struct faults faults;
    struct limits limits;
    struct cables cables;
    struct rng rng;
    struct sim_troubles troubles;
    struct sim_node nodes[SIM_NODES_MAX];
    unsigned node_count;
    struct cluster_client clients[SIM_CLIENTS_MAX];
    unsigned client_count, key_count;
    struct sim_boot boots[SIM_BOOTS_MAX];
    unsigned boot_count;
    struct sim_write **writes;
    unsigned write_count, write_room;
    struct world_event trouble, start;
    uint64_t calm_us; /* from here on there are no faults; 0 before */
    uint64_t repair_us;
    bool full_joins; /* each node names all others */
    unsigned troubles_made;
};

void cluster_run_seed(uint64_t seed, bool trace, enum mutant mutant, uint64_t again,
                      struct run_result *result);

/* cluster_client.c */
void cluster_client_init(struct cluster_client *client, struct sim_cluster *cluster,
                         unsigned number);
void cluster_client_free(struct cluster_client *client);
bool cluster_clients_are_done(const struct sim_cluster *cluster);

/* cluster_check.c */

/* A node dies: what nobody else has may be lost. When it was told to, while it knew of nobody, that goes for all copies. */
void cluster_check_death(struct sim_cluster *cluster, const struct sim_node *dying, bool told);
void cluster_check_end(struct sim_cluster *cluster);

#endif
