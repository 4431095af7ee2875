/* The command line and the environment of a simulated process, read by the program's own parser as main.c has it do. Each option comes
 * in one of its spellings, by chance: which must not matter. */
#ifndef SIM_CLI_H
#define SIM_CLI_H

#include "config.h"
#include "world.h"

enum { CLI_WORDS_MAX = 96, CLI_VARIABLES_MAX = 32, CLI_BYTES_MAX = 16 * 1024 };

struct cli {
    struct config config; /* what came of it; points into the rest */
    struct world *world;
    struct rng rng;
    bool terminal;     /* what is printed goes to one */
    uint64_t stall_us; /* a limit that has no option */
    char *words[CLI_WORDS_MAX];
    unsigned word_count;
    struct {
        const char *name;
        char *value;
    } variables[CLI_VARIABLES_MAX];
    unsigned variable_count;
    char text[CLI_BYTES_MAX]; /* what words and variables point into */
    size_t used;
};

/* Of a role by its name, in the `stream`th process of the world. The caller's until cli_destroy. */
struct cli *cli_new(struct world *world, uint64_t stream, const char *role);
void cli_destroy(struct cli *cli);

/* A word that is no option. */
void cli_word(struct cli *cli, const char *word);

/* An option that stands alone. */
void cli_flag(struct cli *cli, const char *name);

/* "--name VALUE", "--name=VALUE" or VELOUR_FOG_NAME=VALUE. When it is on the command line, the environment may have `decoy`, which then
 * counts for nothing; NULL for none. */
void cli_option(struct cli *cli, const char *name, const char *decoy, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Members of a cluster, or of a fellow to join: the option once for each, or all in one. */
void cli_members(struct cli *cli, const char *name, const char *const *members, unsigned count);

/* The same, of several clusters. */
void cli_clusters(struct cli *cli, const char *name, const struct frontend_cluster *clusters,
                  unsigned count);

/* Parses it all. The world fails when that does. */
struct config *cli_parse(struct cli *cli);

#endif
