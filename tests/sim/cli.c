#include "cli.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char nobody[] = "10.0.3.77:9"; /* an address where no process ever is */

/* Whose environment config_parse is looking at: it asks a function like getenv, which is told nothing of it. */
static const struct cli *environment_of;

struct cli *cli_new(struct world *world, uint64_t stream, const char *role)
{
    struct cli *cli = calloc(1, sizeof *cli);
    if (!cli)
        abort();
    cli->world = world;
    rng_seed(&cli->rng, world->seed, 0x636c69 + stream);
    cli_word(cli, "velour-fog");
    if (strcmp(role, "node") != 0 || rng_chance(&cli->rng, 500000))
        cli_word(cli, role);
    return cli;
}

void cli_destroy(struct cli *cli)
{
    free(cli);
}

static char *keep(struct cli *cli, const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = cli->text + cli->used;
    if (bytes > sizeof cli->text - cli->used)
        abort();
    memcpy(copy, text, bytes);
    cli->used += bytes;
    return copy;
}

void cli_word(struct cli *cli, const char *word)
{
    if (cli->word_count == CLI_WORDS_MAX)
        abort();
    cli->words[cli->word_count++] = keep(cli, word);
}

void cli_flag(struct cli *cli, const char *name)
{
    char word[64];
    snprintf(word, sizeof word, "--%s", name);
    cli_word(cli, word);
}

static void put_words(struct cli *cli, const char *name, const char *value)
{
    char word[2048];
    bool apart = rng_chance(&cli->rng, 500000);
    snprintf(word, sizeof word, "--%s%s%s", name, apart ? "" : "=", apart ? "" : value);
    cli_word(cli, word);
    if (apart)
        cli_word(cli, value);
}

static void put_variable(struct cli *cli, const char *name, const char *value)
{
    char full[64];
    snprintf(full, sizeof full, "VELOUR_FOG_%s", name);
    for (char *at = full; *at; at++)
        *at = *at == '-' ? '_' : (char)toupper((unsigned char)*at);
    if (cli->variable_count == CLI_VARIABLES_MAX)
        abort();
    cli->variables[cli->variable_count].name = keep(cli, full);
    cli->variables[cli->variable_count++].value = keep(cli, value);
}

void cli_option(struct cli *cli, const char *name, const char *decoy, const char *format, ...)
{
    char value[2048];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(value, sizeof value, format, arguments);
    va_end(arguments);
    if (rng_chance(&cli->rng, 300000)) {
        put_variable(cli, name, value);
        return;
    }
    put_words(cli, name, value);
    if (decoy && rng_chance(&cli->rng, 300000))
        put_variable(cli, name, decoy);
}

static size_t add_members(char *text, size_t room, const char *const *members, unsigned count)
{
    size_t used = 0;
    for (unsigned i = 0; i < count; i++)
        used += (size_t)snprintf(text + used, room - used, "%s%s", i ? "," : "", members[i]);
    return used;
}

void cli_members(struct cli *cli, const char *name, const char *const *members, unsigned count)
{
    char text[2048];
    if (rng_chance(&cli->rng, 500000)) {
        for (unsigned i = 0; i < count; i++)
            put_words(cli, name, members[i]);
        return;
    }
    add_members(text, sizeof text, members, count);
    cli_option(cli, name, nobody, "%s", text);
}

void cli_clusters(struct cli *cli, const char *name, const struct frontend_cluster *clusters,
                  unsigned count)
{
    static const char *const between[] = {" ", ";", " ; ", "\n"};
    const char *mark = between[rng_below(&cli->rng, sizeof between / sizeof *between)];
    bool apart = rng_chance(&cli->rng, 500000);
    char text[2048];
    size_t used = 0;
    for (unsigned i = 0; i < count; i++) {
        if (apart)
            used = 0;
        else if (i)
            used += (size_t)snprintf(text + used, sizeof text - used, "%s", mark);
        used +=
            add_members(text + used, sizeof text - used, clusters[i].seeds, clusters[i].seed_count);
        if (apart)
            put_words(cli, name, text);
    }
    if (!apart && count)
        cli_option(cli, name, nobody, "%s", text);
}

static char *environment(const char *name)
{
    const struct cli *cli = environment_of;
    for (unsigned i = 0; i < cli->variable_count; i++)
        if (strcmp(cli->variables[i].name, name) == 0)
            return cli->variables[i].value;
    return NULL;
}

/* The planted mistake: what the environment says comes last, and so wins. */
static void append_environment(struct cli *cli)
{
    for (unsigned i = 0; i < cli->variable_count; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s", cli->variables[i].name + sizeof "VELOUR_FOG_" - 1);
        for (char *at = name; *at; at++)
            *at = *at == '_' ? '-' : (char)tolower((unsigned char)*at);
        put_words(cli, name, cli->variables[i].value);
    }
}

struct config *cli_parse(struct cli *cli)
{
    if (world_mutates(cli->world, MUTANT_ENVIRONMENT_WINS, 1000000))
        append_environment(cli);
    environment_of = cli;
    if (config_parse(&cli->config, (int)cli->word_count, cli->words, environment) != 0)
        world_fail(cli->world, "a command line is refused: %s", cli->config.error);
    environment_of = NULL;
    return &cli->config;
}
