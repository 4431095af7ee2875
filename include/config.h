/* Options, from the command line and the environment (--listen is VELOUR_FOG_LISTEN, and so on); the command line wins. */
#ifndef CONFIG_H
#define CONFIG_H

#include "base/log.h"
#include "net/resolver.h"
#include "role/command.h"
#include "role/frontend.h"
#include "role/node.h"
#include "role/reshard.h"

enum config_action { CONFIG_RUN, CONFIG_HELP, CONFIG_VERSION };

/* What the process is; bits, since an option may be for both. */
enum config_role {
    CONFIG_NODE = 1,
    CONFIG_FRONTEND = 2,
    CONFIG_RESHARD = 4,
    CONFIG_STATUS = 8,
    CONFIG_DIFF = 16,
    CONFIG_BACKUP = 32,
    CONFIG_RESTORE = 64,
};

/* Of the addresses of --join, or of all --cluster. */
enum {
    CONFIG_NAMES_BYTES_MAX = 64 * 1024, /* each with a byte more */
    CONFIG_SEEDS_MAX = 4096,            /* of all clusters */
};

struct config {
    enum config_action action;
    enum config_role role;
    struct node_config node;
    struct frontend_config frontend; /* when that is the role; what both have is in `node`, too */
    struct reshard_config reshard;
    struct command_options command; /* of the others; its words are whole: none is left out */
    struct address listen;
    bool listen_given, memory_max_given, connections_max_given;
    bool reuse_port; /* others of the same user may listen there too */
    enum log_level log_level;
    bool on_command_line; /* what is parsed now */
    unsigned replaced;    /* lists of names that the command line has, by which */
    unsigned names_bytes, seed_count;
    char names[CONFIG_NAMES_BYTES_MAX];  /* what node.joins and seeds point into */
    const char *seeds[CONFIG_SEEDS_MAX]; /* what clusters point into */
    struct frontend_cluster clusters[FRONTEND_CLUSTERS_MAX]; /* what frontend.clusters points to */
    struct frontend_cluster others[FRONTEND_CLUSTERS_MAX];   /* frontend.others */
    bool previous_given, next_given;                         /* which of the two names they have */
    char error[256]; /* a sentence, when config_parse failed */
};

/* Returns 0, or -EINVAL with config->error. Prints nothing, ends nothing. `environment` is a function like getenv. What is in
 * *config then points into it, so it must stay where it is. */
int config_parse(struct config *config, int argc, char *const *argv,
                 char *(*environment)(const char *name));

/* What carries out a command; NULL for a node and a front-end, which serve. */
const struct command_ops *config_command_ops(enum config_role role);

/* What --help prints. */
const char *config_help(enum config_role role);

#endif
