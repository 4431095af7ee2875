#include "config_options.h"

#include <errno.h>
#include <string.h>

/* Each parser returns 0 or -EINVAL. */

static int parse_unit(const char *text, const char *const *units, const uint64_t *factors,
                      uint64_t max, uint64_t *out)
{
    size_t digits = strspn(text, "0123456789");
    unsigned long long number;
    if (!slice_number((struct slice){text, digits}, UINT64_MAX, &number))
        return -EINVAL;
    for (unsigned i = 0; units[i]; i++)
        if (strcasecmp(text + digits, units[i]) == 0) {
            if (number > max / factors[i])
                return -EINVAL;
            *out = number * factors[i];
            return 0;
        }
    return -EINVAL;
}

static int parse_size(const char *text, uint64_t max, uint64_t *out)
{
    static const char *const units[] = {"", "K", "M", "G", "T", "KiB", "MiB", "GiB", "TiB", NULL};
    static const uint64_t factors[] = {1,          1ULL << 10, 1ULL << 20, 1ULL << 30, 1ULL << 40,
                                       1ULL << 10, 1ULL << 20, 1ULL << 30, 1ULL << 40};
    return parse_unit(text, units, factors, max, out);
}

/* A time, which may be 0. */
static int parse_duration(const char *text, uint64_t *out)
{
    static const char *const units[] = {"", "ms", "s", "m", "h", "d", NULL};
    static const uint64_t factors[] = {1000000, 1000, 1000000, 60000000, 3600000000, 86400000000};
    const uint64_t ten_years_us = 315360000ULL * 1000000;
    return parse_unit(text, units, factors, ten_years_us, out);
}

static int parse_time(const char *text, uint64_t *out)
{
    int error = parse_duration(text, out);
    return error == 0 && *out == 0 ? -EINVAL : error;
}

static int set_listen(struct config *config, const char *value)
{
    config->listen_given = true;
    return address_parse(slice_of(value), &config->listen);
}

/* One network, or several with commas between them, as in the environment. */
static int set_allow(struct config *config, const char *value)
{
    for (;; value++) {
        size_t len = strcspn(value, ",");
        if (allow_list_add(&config->node.server.allow, (struct slice){value, len}) != 0)
            return -EINVAL;
        value += len;
        if (!*value)
            return 0;
    }
}

static int set_memory_max(struct config *config, const char *value)
{
    const uint64_t least = 16 << 20;
    config->memory_max_given = true;
    int error = parse_size(value, 1ULL << 50, &config->node.memory_max);
    bool too_small = config->node.memory_max > 0 && config->node.memory_max < least;
    return error || too_small ? -EINVAL : 0;
}

static int set_value_max(struct config *config, const char *value)
{
    int error = parse_size(value, 2147483647, &config->node.value_max);
    return error || config->node.value_max == 0 ? -EINVAL : 0;
}

static int set_connections_max(struct config *config, const char *value)
{
    unsigned long long number;
    if (!slice_number(slice_of(value), 10000000, &number) || number == 0)
        return -EINVAL;
    config->connections_max_given = true;
    config->node.server.connections_max = (uint32_t)number;
    return 0;
}

static int set_idle(struct config *config, const char *value)
{
    return parse_time(value, &config->node.server.idle_us);
}

static int set_request(struct config *config, const char *value)
{
    return parse_time(value, &config->node.server.request_us);
}

static int set_drain(struct config *config, const char *value)
{
    return parse_duration(value, &config->node.drain_us);
}

static int set_grace(struct config *config, const char *value)
{
    return parse_time(value, &config->node.grace_us);
}

static int set_log_level(struct config *config, const char *value)
{
    return log_level_parse(value, &config->log_level);
}

/* "HOST:PORT" or "[ADDRESS]:PORT", as far as that can be told without asking anybody. */
static bool is_host_and_port(struct slice text)
{
    const char *colon = memrchr(text.data, ':', text.len);
    unsigned long long port;
    if (!colon || colon == text.data)
        return false;
    struct slice host = {text.data, (size_t)(colon - text.data)};
    struct slice digits = {colon + 1, text.len - host.len - 1};
    uint8_t ip[16];
    bool bracketed = host.data[0] == '[';
    if (bracketed && (host.data[host.len - 1] != ']' ||
                      address_parse_ip((struct slice){host.data + 1, host.len - 2}, ip) != 0))
        return false;
    if (!bracketed && (host.len > RESOLVER_NAME_BYTES_MAX || memchr(host.data, ':', host.len)))
        return false;
    for (size_t i = 0; i < host.len; i++)
        if ((unsigned char)host.data[i] <= ' ' || host.data[i] == '/')
            return false;
    return slice_number(digits, 65535, &port) && port > 0;
}

/* A copy that ends with NUL, NULL when there is no room for one. */
static const char *keep_name(struct config *config, struct slice name)
{
    if (name.len >= sizeof config->names - config->names_bytes)
        return NULL;
    char *copy = config->names + config->names_bytes;
    memcpy(copy, name.data, name.len);
    copy[name.len] = 0;
    config->names_bytes += (unsigned)name.len + 1;
    return copy;
}

enum names { NAMES_JOIN = 1, NAMES_CLUSTERS = 2, NAMES_OTHER = 4 };

/* The names of the command line replace those of the environment. */
static void begin_names(struct config *config, enum names which, unsigned *count)
{
    if (!config->on_command_line || config->replaced & which)
        return;
    config->replaced |= which;
    *count = 0;
    if (which == NAMES_OTHER)
        config->previous_given = config->next_given = false;
}

/* One HOST:PORT, or several with commas between them, to `names`. Returns how many there are then, or -EINVAL. */
static int add_names(struct config *config, struct slice value, const char **names, unsigned count,
                     unsigned max)
{
    for (;;) {
        const char *comma = memchr(value.data, ',', value.len);
        struct slice name = {value.data, comma ? (size_t)(comma - value.data) : value.len};
        if (!is_host_and_port(name) || count == max)
            return -EINVAL;
        names[count] = keep_name(config, name);
        if (!names[count++])
            return -EINVAL;
        if (!comma)
            return (int)count;
        value = (struct slice){comma + 1, value.len - name.len - 1};
    }
}

static int set_join(struct config *config, const char *value)
{
    begin_names(config, NAMES_JOIN, &config->node.join_count);
    int count = add_names(config, slice_of(value), config->node.joins, config->node.join_count,
                          NODE_JOINS_MAX);
    config->node.join_count = count < 0 ? config->node.join_count : (unsigned)count;
    return count < 0 ? -EINVAL : 0;
}

static int add_cluster(struct config *config, struct slice value, struct frontend_cluster *clusters,
                       unsigned *cluster_count)
{
    const char **seeds = config->seeds + config->seed_count;
    unsigned room = CONFIG_SEEDS_MAX - config->seed_count;
    int count =
        add_names(config, value, seeds, 0, room < FRONTEND_SEEDS_MAX ? room : FRONTEND_SEEDS_MAX);
    if (count < 0 || *cluster_count == FRONTEND_CLUSTERS_MAX)
        return -EINVAL;
    config->seed_count += (unsigned)count;
    clusters[(*cluster_count)++] = (struct frontend_cluster){seeds, (unsigned)count};
    return 0;
}

/* One cluster, or several with blanks or a semicolon between them, as in the environment. Two semicolons with nothing between
 * them are no separator: a cluster that is missing there would give all that follow another number. */
static int add_clusters(struct config *config, const char *value, struct frontend_cluster *clusters,
                        unsigned *count)
{
    static const char blanks[] = " \t\n";
    bool own = clusters == config->clusters;
    begin_names(config, own ? NAMES_CLUSTERS : NAMES_OTHER, count);
    for (;; value++) {
        value += strspn(value, blanks);
        do {
            size_t len = strcspn(value, " \t\n;");
            if (add_cluster(config, (struct slice){value, len}, clusters, count) != 0)
                return -EINVAL;
            value += len;
            value += strspn(value, blanks);
        } while (*value && *value != ';');
        if (!*value)
            return 0;
    }
}

static int set_cluster(struct config *config, const char *value)
{
    return add_clusters(config, value, config->clusters, &config->frontend.cluster_count);
}

static int set_previous(struct config *config, const char *value)
{
    int error = add_clusters(config, value, config->others, &config->frontend.other_count);
    config->previous_given = true;
    return error;
}

static int set_next(struct config *config, const char *value)
{
    int error = add_clusters(config, value, config->others, &config->frontend.other_count);
    config->next_given = true;
    return error;
}

static int set_rate(struct config *config, const char *value)
{
    return parse_size(value, 1ULL << 50, &config->command.rate);
}

bool config_is_host_and_port(const char *text)
{
    return is_host_and_port(slice_of(text));
}

/* Whether the value is the one word or the other. */
static int parse_choice(const char *value, const char *yes, const char *no, bool *out)
{
    *out = strcmp(value, yes) == 0;
    return *out || strcmp(value, no) == 0 ? 0 : -EINVAL;
}

static int set_read_from(struct config *config, const char *value)
{
    return parse_choice(value, "home", "any", &config->frontend.read_home);
}

static int set_reuse_port(struct config *config, const char *value)
{
    return parse_choice(value, "yes", "no", &config->reuse_port);
}

static int set_watch(struct config *config, const char *value)
{
    return parse_choice(value, "yes", "no", &config->command.watch);
}

static int set_json(struct config *config, const char *value)
{
    return parse_choice(value, "yes", "no", &config->command.json);
}

static int set_resume(struct config *config, const char *value)
{
    return parse_choice(value, "yes", "no", &config->command.resume);
}

static int set_interval(struct config *config, const char *value)
{
    return parse_time(value, &config->command.interval_us);
}

static int set_limit(struct config *config, const char *value)
{
    unsigned long long number;
    if (!slice_number(slice_of(value), 1000000000, &number) || number == 0)
        return -EINVAL;
    config->command.limit = number;
    return 0;
}

/* What a node may listen at, as --listen does, nobody reaches it at: each machine takes that for itself. */
static int set_advertise(struct config *config, const char *value)
{
    struct address address;
    bool any = address_parse(slice_of(value), &address) == 0 && address_is_unspecified(&address);
    config->node.advertise = value;
    return is_host_and_port(slice_of(value)) && !any ? 0 : -EINVAL;
}

static int set_cluster_name(struct config *config, const char *value)
{
    size_t len = strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
    config->node.cluster_name = value;
    return len > 0 && len <= NODE_NAME_BYTES_MAX && !value[len] ? 0 : -EINVAL;
}

/* "I/N". */
static int set_partition(struct config *config, const char *value)
{
    struct slice rest = slice_of(value), first = {0};
    unsigned long long partition, partitions;
    if (!slice_next(&rest, '/', &first) || !slice_number(first, 65535, &partition) ||
        !slice_number(rest, 65536, &partitions) || partition >= partitions)
        return -EINVAL;
    config->node.partition = (uint32_t)partition;
    config->node.partitions = (uint32_t)partitions;
    return 0;
}

static int set_forget(struct config *config, const char *value)
{
    return parse_time(value, &config->node.forget_us);
}

enum {
    NODE = CONFIG_NODE,
    FRONTEND = CONFIG_FRONTEND,
    BOTH = CONFIG_NODE | CONFIG_FRONTEND,
    RESHARD = CONFIG_RESHARD,
    STATUS = CONFIG_STATUS,
    DIFF = CONFIG_DIFF,
    BACKUP = CONFIG_BACKUP,
    RESTORE = CONFIG_RESTORE,
};

/* A front-end or a move has 4096 of them at most, over all. */
#define MEMBERS \
    "HOST:PORT of members of one cluster, commas between them, 64 at most, and of 1024 clusters"

const struct config_option config_options[] = {
    {"listen", BOTH, set_listen, "ADDR:PORT, such as 127.0.0.1:8000 or [::]:8000"},
    {"allow", BOTH, set_allow,
     "a network such as 10.0.0.0/8 or fd00::/8, its bits after the prefix 0, 64 at most"},
    {"memory-max", NODE, set_memory_max,
     "a size such as 512M or 16G, 16M at least, or 0 for no limit"},
    {"value-max", BOTH, set_value_max, "a size such as 64M, 2147483647 bytes at most"},
    {"connections-max", BOTH, set_connections_max, "a number from 1 to 10000000"},
    {"idle-timeout", BOTH, set_idle, "a time such as 300 or 5m"},
    {"request-timeout", BOTH, set_request, "a time such as 30 or 30s"},
    {"drain-time", BOTH, set_drain, "a time such as 10 or 10s"},
    {"grace", NODE, set_grace, "a time such as 1d"},
    {"join", NODE, set_join,
     "HOST:PORT of a member, such as 10.0.0.5:8000 or fog.example:8000, 64 at most"},
    {"advertise", NODE, set_advertise,
     "HOST:PORT at which the other members reach this node, not 0.0.0.0 or [::]"},
    {"cluster-name", NODE, set_cluster_name,
     "a name of letters, digits, dots, _ and -, 63 at most"},
    {"partition", NODE, set_partition, "I/N, such as 0/3: the first of three"},
    {"forget-after", NODE, set_forget, "a time such as 1d"},
    {"log-level", BOTH, set_log_level, "error, warn, info or debug"},
    {"cluster", FRONTEND, set_cluster, MEMBERS},
    {"previous-cluster", FRONTEND, set_previous, MEMBERS},
    {"next-cluster", FRONTEND, set_next, MEMBERS},
    {"from", RESHARD, set_previous, MEMBERS},
    {"to", RESHARD, set_cluster, MEMBERS},
    {"rate", RESHARD | BACKUP | RESTORE, set_rate, "a size such as 50M: bytes in a second"},
    {"read-from", FRONTEND, set_read_from, "any or home"},
    {"reuse-port", FRONTEND, set_reuse_port, "yes or no"},
    {"watch", STATUS | CONFIG_ALONE, set_watch, "yes or no"},
    {"json", STATUS | CONFIG_ALONE, set_json, "yes or no"},
    {"interval", STATUS, set_interval, "a time such as 2 or 500ms"},
    {"limit", DIFF, set_limit, "a number of keys, from 1 to 1000000000"},
    {"resume", BACKUP | RESTORE | CONFIG_ALONE, set_resume, "yes or no"},
    {NULL, 0, NULL, NULL},
};
