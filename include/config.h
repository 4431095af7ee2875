/* Options, from the command line and the environment (--listen is VELOUR_FOG_LISTEN, and so on); the command line wins. */
#ifndef CONFIG_H
#define CONFIG_H

#include "base/log.h"
#include "net/resolver.h"
#include "role/node.h"

enum config_action { CONFIG_RUN_NODE, CONFIG_HELP, CONFIG_VERSION };

/* Each a name or an address in brackets, a colon, a port. */
enum {
    CONFIG_HOST_BYTES_MAX = RESOLVER_NAME_BYTES_MAX + 8,
    CONFIG_JOINS_BYTES_MAX = NODE_JOINS_MAX * (CONFIG_HOST_BYTES_MAX + 1),
};

struct config {
    enum config_action action;
    struct node_config node;
    struct address listen;
    bool listen_given;
    char joins[CONFIG_JOINS_BYTES_MAX]; /* what node.joins points into */
    unsigned joins_bytes;
    bool on_command_line, joins_on_command_line; /* what is parsed now; where joins are from */
    bool memory_max_given, connections_max_given;
    enum log_level log_level;
    char error[256]; /* a sentence, when config_parse failed */
};

/* Returns 0, or -EINVAL with config->error. Prints nothing, ends nothing. `environment` is a function like getenv. */
int config_parse(struct config *config, int argc, char *const *argv,
                 char *(*environment)(const char *name));

/* What --help prints. */
extern const char config_help[];

#endif
