/* What the commands of an operator share: they ask servers, print, and end by themselves with an exit code. */
#ifndef ROLE_COMMAND_H
#define ROLE_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

#include "net/loop.h"
#include "net/resolver.h"

enum command_exit {
    COMMAND_FINE = 0,
    COMMAND_WRONG = 1,     /* it has found something, or has failed */
    COMMAND_USAGE = 2,     /* the command line makes no sense */
    COMMAND_UNREACHED = 3, /* nobody answers */
};

enum {
    COMMAND_FAILURE_BYTES = 5 * 1024, /* of a sentence, which may name a path, of 4096 at most */
    COMMAND_WORDS_MAX = 2,            /* on the command line, beside options */
};

/* From the command line. */
struct command_options {
    const char *words[COMMAND_WORDS_MAX];
    unsigned word_count;
    bool watch, json, resume;
    uint64_t interval_us; /* of --watch */
    uint64_t limit;       /* of diff: keys that are named */
    uint64_t rate; /* of reshard, backup and restore: bytes in a second, at most; 0 for no limit */
};

struct reshard_config;

/* One run of a command. */
struct command {
    struct loop *loop;
    struct resolver *resolver; /* for names and IP addresses alike, so never NULL */
    struct command_options options;
    const struct reshard_config *reshard; /* of that one alone */
    bool terminal;                        /* what is printed goes to a terminal */
    bool colours;                         /* which may have colours */
    void (*print)(void *context, const char *text);
    void *context;
    char failure[COMMAND_FAILURE_BYTES]; /* a sentence when it failed, else empty */
    enum command_exit exit;
    bool over;
};

/* Each kind of command. */
struct command_ops {
    /* Begins at once; it ends by command_end or command_fail. Returns what the others take, which the caller owns until destroy, or
     * NULL when out of memory. `command` outlives it. */
    void *(*start)(struct command *command);
    void (*stop)(void *state); /* ends it before it is done, with a sentence */
    void (*destroy)(void *state);
};

extern const struct command_ops survey_command, diff_command, backup_command, restore_command,
    reshard_command;

/* Ends it; the loop stops. */
void command_end(struct command *command, enum command_exit exit);

/* The same, with a sentence. The first one counts. */
void command_fail(struct command *command, enum command_exit exit, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

void command_print(struct command *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
