/* Each option of the command line: whose it is, what it takes, and where its value goes. */
#ifndef CONFIG_OPTIONS_H
#define CONFIG_OPTIONS_H

#include "config.h"

/* Of an option that may stand alone, for "yes". */
enum { CONFIG_ALONE = 1 << 16 };

struct config_option {
    const char *name; /* as after --; NULL behind the last one */
    unsigned roles;   /* of enum config_role; and CONFIG_ALONE */
    int (*set)(struct config *config, const char *value); /* returns 0 or -EINVAL */
    const char *wants;                                    /* ends a sentence: "… takes" */
};

extern const struct config_option config_options[];

/* Whether it looks like HOST:PORT or [ADDRESS]:PORT. */
bool config_is_host_and_port(const char *text);

#endif
