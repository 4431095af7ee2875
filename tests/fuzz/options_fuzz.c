/* Fuzzes options: lines, of which those that begin with VELOUR_FOG_ are the environment and all others the command line, word by word.
 * Whatever stands there, it is taken or refused with one sentence; what is taken is within its limits and the same the next time. */
#include <string.h>

#include "config.h"
#include "config_options.h"
#include "require.h"

enum { WORDS_MAX = 64, TEXT_BYTES_MAX = 4096 };

static struct {
    char text[TEXT_BYTES_MAX + 1];
    char *words[WORDS_MAX + 1], *settings[WORDS_MAX];
    int word_count, setting_count;
} given;

static struct config config, again;

static char *environment(const char *name)
{
    size_t len = strlen(name);
    for (int i = 0; i < given.setting_count; i++)
        if (strncmp(given.settings[i], name, len) == 0 && given.settings[i][len] == '=')
            return given.settings[i] + len + 1;
    return NULL;
}

static void take_line(char *line)
{
    if (strncmp(line, "VELOUR_FOG_", 11) == 0 && given.setting_count < WORDS_MAX)
        given.settings[given.setting_count++] = line;
    else if (given.word_count < WORDS_MAX)
        given.words[given.word_count++] = line;
}

static void take(const uint8_t *data, size_t size)
{
    static char program[] = "velour-fog";
    size = size < TEXT_BYTES_MAX ? size : TEXT_BYTES_MAX;
    memcpy(given.text, data, size);
    given.text[size] = 0;
    given.words[0] = program;
    given.word_count = 1;
    given.setting_count = 0;
    for (char *line = given.text, *end; *line; line = end) {
        end = line + strcspn(line, "\n");
        if (*end)
            *end++ = 0;
        take_line(line);
    }
    given.words[given.word_count] = NULL;
}

static void check_clusters(const struct config *from, const struct frontend_cluster *clusters,
                           unsigned count)
{
    require(count <= FRONTEND_CLUSTERS_MAX);
    for (unsigned i = 0; i < count; i++) {
        require(clusters[i].seed_count >= 1 && clusters[i].seed_count <= FRONTEND_SEEDS_MAX);
        require(clusters[i].seeds >= from->seeds &&
                clusters[i].seeds + clusters[i].seed_count <= from->seeds + from->seed_count);
        for (unsigned k = 0; k < clusters[i].seed_count; k++)
            require(config_is_host_and_port(clusters[i].seeds[k]));
    }
}

static void check_node(const struct node_config *node)
{
    require(node->value_max >= 1 && node->value_max <= INT32_MAX);
    require(node->memory_max == 0 || node->memory_max >= 16 << 20);
    require(node->server.allow.count > 0);
    require(node->server.idle_us > 0 && node->server.request_us > 0 && node->grace_us > 0);
    require(node->partitions == 0 || node->partition < node->partitions);
    require(!node->advertise || config_is_host_and_port(node->advertise));
    require(!node->cluster_name || strlen(node->cluster_name) <= NODE_NAME_BYTES_MAX);
    require(node->join_count <= NODE_JOINS_MAX);
    for (unsigned i = 0; i < node->join_count; i++)
        require(config_is_host_and_port(node->joins[i]));
}

static void check_taken(const struct config *is)
{
    require(!*is->error && is->names_bytes <= sizeof is->names);
    require(is->seed_count <= CONFIG_SEEDS_MAX);
    check_node(&is->node);
    check_clusters(is, is->clusters, is->frontend.cluster_count);
    check_clusters(is, is->others, is->frontend.other_count);
    require(is->role != CONFIG_FRONTEND || is->frontend.cluster_count > 0);
    require(is->role != CONFIG_RESHARD || (is->reshard.to_count > 0 && is->reshard.from_count > 0));
    require(is->command.word_count <= COMMAND_WORDS_MAX);
    for (unsigned i = 0; i < is->command.word_count; i++)
        require(is->command.words[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    take(data, size);
    int error = config_parse(&config, given.word_count, given.words, environment);
    size_t sentence = strnlen(config.error, sizeof config.error);
    require(sentence < sizeof config.error);
    require(error ? sentence > 0 && config.error[sentence - 1] == '.' : true);
    if (config.action != CONFIG_RUN) {
        require(error == 0 && *config_help(config.role));
        return 0;
    }
    if (error == 0)
        check_taken(&config);
    require(config_parse(&again, given.word_count, given.words, environment) == error);
    require(strcmp(config.error, again.error) == 0 && config.role == again.role);
    return 0;
}
