#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "config_options.h"

static void config_init(struct config *config)
{
    memset(config, 0, sizeof *config);
    config->role = CONFIG_NODE;
    config->listen.port = 8000;
    config->log_level = LOG_INFO_LEVEL;
    config->command.interval_us = 2 * 1000000;
    config->command.limit = 1000;
    config->node.value_max = 64 << 20;
    config->node.grace_us = 86400ULL * 1000000;
    config->node.drain_us = 10 * 1000000;
    config->node.forget_us = 86400ULL * 1000000;
    config->node.server.idle_us = 300 * 1000000;
    config->node.server.request_us = 30 * 1000000;
    config->node.server.stall_us = 300 * 1000000;
    config->frontend.clusters = config->reshard.to = config->clusters;
    config->frontend.others = config->reshard.from = config->others;
}

/* The commands, and what they take beside options: the last words; what is left out of them is the default address. */
struct command_form {
    const char *name;
    enum config_role role;
    const struct command_ops *ops; /* NULL: it serves */
    unsigned words_min, words_max;
    const char *wants; /* when it gets something else */
};

static const struct command_form commands[] = {
    {"node", CONFIG_NODE, NULL, 0, 0, NULL},
    {"frontend", CONFIG_FRONTEND, NULL, 0, 0, NULL},
    {"reshard", CONFIG_RESHARD, &reshard_command, 0, 0, NULL},
    {"status", CONFIG_STATUS, &survey_command, 0, 1,
     "status takes HOST:PORT of a node or a front-end, or nothing."},
    {"diff", CONFIG_DIFF, &diff_command, 2, 2, "diff takes HOST:PORT of two nodes."},
    {"backup", CONFIG_BACKUP, &backup_command, 1, 2,
     "backup takes HOST:PORT, or nothing for it, and a file."},
    {"restore", CONFIG_RESTORE, &restore_command, 1, 2,
     "restore takes HOST:PORT, or nothing for it, and a file."},
    {NULL, 0, NULL, 0, 0, NULL},
};

/* The form of the first of these roles. */
static const struct command_form *command_of(unsigned roles)
{
    const struct command_form *form = commands;
    while (!(form->role & roles))
        form++;
    return form;
}

static const char *role_name(unsigned roles)
{
    return command_of(roles)->name;
}

const struct command_ops *config_command_ops(enum config_role role)
{
    return command_of(role)->ops;
}

/* The command, which may be left out. Returns how many arguments it took. */
static int parse_role(struct config *config, int argc, char *const *argv)
{
    for (const struct command_form *form = commands; argc > 1 && form->name; form++)
        if (strcmp(argv[1], form->name) == 0) {
            config->role = form->role;
            return 1;
        }
    return 0;
}

static void variable_name(const char *option, char out[64])
{
    int used = snprintf(out, 64, "VELOUR_FOG_%s", option);
    for (int i = 0; i < used && i < 63; i++)
        out[i] = out[i] == '-' ? '_' : (char)toupper((unsigned char)out[i]);
}

/* What is there for the other role is left alone: one file of settings may serve both. */
static int parse_environment(struct config *config, char *(*environment)(const char *name))
{
    for (const struct config_option *option = config_options; option->name; option++) {
        char name[64];
        variable_name(option->name, name);
        const char *value = option->roles & config->role ? environment(name) : NULL;
        if (!value || !*value || option->set(config, value) == 0)
            continue;
        snprintf(config->error, sizeof config->error, "%s is \"%.60s\", but takes %s.", name, value,
                 option->wants);
        return -EINVAL;
    }
    return 0;
}

static const struct config_option *option_find(const char *name, size_t len)
{
    for (const struct config_option *option = config_options; option->name; option++)
        if (strlen(option->name) == len && memcmp(option->name, name, len) == 0)
            return option;
    return NULL;
}

static int usage_error(struct config *config, const char *what, const char *about)
{
    bool named = config->role != CONFIG_NODE;
    snprintf(config->error, sizeof config->error, "%s: %.80s. See velour-fog %s%s--help.", what,
             about, named ? role_name(config->role) : "", named ? " " : "");
    return -EINVAL;
}

/* One "--name VALUE" or "--name=VALUE". Returns how many arguments it took, or -EINVAL. */
static int parse_option(struct config *config, int left, char *const *argv)
{
    const char *name = argv[0] + 2, *equals = strchr(name, '=');
    const struct config_option *option =
        option_find(name, equals ? (size_t)(equals - name) : strlen(name));
    if (!option)
        return usage_error(config, "There is no such option", argv[0]);
    if (!(option->roles & config->role)) {
        snprintf(config->error, sizeof config->error,
                 "--%s is an option of velour-fog %s, not of velour-fog %s.", option->name,
                 role_name(option->roles), role_name(config->role));
        return -EINVAL;
    }
    bool stands_alone = option->roles & CONFIG_ALONE, alone = equals || stands_alone;
    const char *value = equals ? equals + 1 : stands_alone ? "yes" : left > 1 ? argv[1] : NULL;
    if (!value)
        return usage_error(config, "This option needs a value", argv[0]);
    if (option->set(config, value) == 0)
        return alone ? 1 : 2;
    snprintf(config->error, sizeof config->error, "--%s is \"%.60s\", but takes %s.", option->name,
             value, option->wants);
    return -EINVAL;
}

/* Returns how many arguments it took, or -EINVAL. */
static int parse_word(struct config *config, const char *word)
{
    if (strcmp(word, "-") == 0 &&
        (config->role == CONFIG_BACKUP || config->role == CONFIG_RESTORE)) {
        snprintf(config->error, sizeof config->error,
                 "%s needs a file that it can go back in, not \"-\": name one.",
                 config->role == CONFIG_BACKUP ? "backup" : "restore");
        return -EINVAL;
    }
    if (config->command.word_count == command_of(config->role)->words_max || word[0] == '-')
        return usage_error(config, "This was not expected", word);
    config->command.words[config->command.word_count++] = word;
    return 1;
}

static enum config_action action_of(const char *argument)
{
    if (strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0)
        return CONFIG_HELP;
    if (strcmp(argument, "--version") == 0 || strcmp(argument, "-V") == 0)
        return CONFIG_VERSION;
    return CONFIG_RUN;
}

static int parse_arguments(struct config *config, int argc, char *const *argv)
{
    struct allow_list from_environment = config->node.server.allow;
    config->node.server.allow.count = 0; /* the command line's replace those of the environment */
    config->on_command_line = true;
    for (int at = 0; at < argc;) {
        config->action = action_of(argv[at]);
        if (config->action != CONFIG_RUN)
            return 0;
        bool option = strncmp(argv[at], "--", 2) == 0;
        int taken =
            option ? parse_option(config, argc - at, argv + at) : parse_word(config, argv[at]);
        if (taken < 0)
            return taken;
        at += taken;
    }
    if (config->node.server.allow.count == 0)
        config->node.server.allow = from_environment;
    return 0;
}

/* What both roles have is parsed once. */
static int finish_frontend(struct config *config)
{
    struct frontend_config *frontend = &config->frontend;
    frontend->server = config->node.server;
    frontend->value_max = config->node.value_max;
    frontend->drain_us = config->node.drain_us;
    if (frontend->cluster_count == 0)
        snprintf(config->error, sizeof config->error,
                 "A front-end needs --cluster HOST:PORT,... once for each partition, in order.");
    else if (config->previous_given && config->next_given)
        snprintf(config->error, sizeof config->error,
                 "Keys move from --previous-cluster, or to --next-cluster; not both at a time.");
    frontend->other_side = config->next_given ? SIDE_NEXT : SIDE_PREVIOUS;
    return *config->error ? -EINVAL : 0;
}

static int finish_reshard(struct config *config)
{
    struct reshard_config *reshard = &config->reshard;
    reshard->to_count = config->frontend.cluster_count;
    reshard->from_count = config->frontend.other_count;
    config->log_level = LOG_WARN_LEVEL; /* it says in sentences what it does */
    if (reshard->to_count > 0 && reshard->from_count > 0)
        return 0;
    snprintf(config->error, sizeof config->error,
             "reshard needs --from and --to HOST:PORT,... once for each partition, in order.");
    return -EINVAL;
}

/* One word where the address may be left out, and it is one: so it is rather the file's name that was. */
static int refuse_address_alone(struct config *config, const char *name, const char *address)
{
    snprintf(config->error, sizeof config->error,
             "%s %.60s names no file: write one behind the address, or ./%.60s for a file of that "
             "name.",
             name, address, address);
    return -EINVAL;
}

/* Words that are left out are put in; all but a file's name are addresses. */
static int finish_command(struct config *config)
{
    struct command_options *command = &config->command;
    const struct command_form *form = command_of(config->role);
    bool has_file = config->role == CONFIG_BACKUP || config->role == CONFIG_RESTORE;
    bool nameless =
        has_file && command->word_count > 0 && !*command->words[command->word_count - 1];
    config->log_level = LOG_WARN_LEVEL;
    if (command->word_count < form->words_min || nameless) {
        snprintf(config->error, sizeof config->error, "%s See velour-fog %s --help.", form->wants,
                 form->name);
        return -EINVAL;
    }
    if (has_file && command->word_count == 1 && config_is_host_and_port(command->words[0]))
        return refuse_address_alone(config, form->name, command->words[0]);
    if (command->word_count < form->words_max) {
        command->words[1] = command->words[0];
        command->words[0] = "localhost:8000";
        command->word_count++;
    }
    for (unsigned i = 0; i + has_file < command->word_count; i++)
        if (!config_is_host_and_port(command->words[i])) {
            snprintf(config->error, sizeof config->error,
                     "\"%.60s\" is no HOST:PORT, such as 10.0.0.5:8000.", command->words[i]);
            return -EINVAL;
        }
    return 0;
}

static int finish(struct config *config)
{
    if (config->role >= CONFIG_STATUS)
        return finish_command(config);
    if (config->role == CONFIG_RESHARD)
        return finish_reshard(config);
    return config->role == CONFIG_FRONTEND ? finish_frontend(config) : 0;
}

int config_parse(struct config *config, int argc, char *const *argv,
                 char *(*environment)(const char *name))
{
    config_init(config);
    int first = 1 + parse_role(config, argc, argv);
    /* Who asks for help gets it whatever stands in the environment. */
    bool helps = argc > first && action_of(argv[first]) != CONFIG_RUN;
    int error = helps ? 0 : parse_environment(config, environment);
    if (!error)
        error = parse_arguments(config, argc - first, argv + first);
    if (config->action != CONFIG_RUN)
        return 0;
    if (config->node.server.allow.count == 0)
        allow_list_private(&config->node.server.allow);
    return error ? error : finish(config);
}
