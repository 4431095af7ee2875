/* Each option of the command line: whose it is, what it takes, and where its value goes. */
#ifndef CONFIG_OPTIONS_H
#define CONFIG_OPTIONS_H

#include "config.h"

struct config_option {
    const char *name; /* as after --; NULL behind the last one */
    unsigned roles;   /* of enum config_role */
    int (*set)(struct config *config, const char *value); /* returns 0 or -EINVAL */
    const char *wants;                                    /* ends a sentence: "… takes" */
};

extern const struct config_option config_options[];

#endif
