#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

const char config_help[] =
    "Usage: velour-fog [node] [OPTION]...\n"
    "A key-value store in memory; curl is its client.\n"
    "\n"
    "  curl -d VALUE localhost:8000/KEY     sets\n"
    "  curl localhost:8000/KEY              gets: 200 and the value, or 204\n"
    "  curl -X DELETE localhost:8000/KEY    deletes\n"
    "\n"
    "  --listen ADDR:PORT     where to serve (default [::]:8000; port 0: a free one)\n"
    "  --join HOST:PORT       a member to join, or a name of several (default none)\n"
    "  --advertise HOST:PORT  where members reach this node (default: found out)\n"
    "  --cluster-name NAME    only nodes of one name join (default fog)\n"
    "  --partition I/N        the partition that this node holds (default: all)\n"
    "  --forget-after TIME    until a dead member is dropped (default 1d)\n"
    "  --allow CIDR           who may connect, repeatable (default: private networks)\n"
    "  --memory-max SIZE      memory to use (default: 3/4 of all; 0: no limit)\n"
    "  --value-max SIZE       largest value (default 64M)\n"
    "  --connections-max N    open connections (default: by the file descriptors)\n"
    "  --idle-timeout TIME    until an unused connection is closed (default 5m)\n"
    "  --request-timeout TIME until a request must be complete (default 30s)\n"
    "  --drain-time TIME      for a clean stop, at most (default 10s)\n"
    "  --grace TIME           how long deletes are remembered (default 1d)\n"
    "  --log-level LEVEL      error, warn, info or debug (default info)\n"
    "  --help, --version\n"
    "\n"
    "SIZE: bytes, or with K, M, G, T. TIME: seconds, or with ms, s, m, h, d.\n"
    "Each option may also come from the environment: VELOUR_FOG_MEMORY_MAX=16G.\n";

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

static int add_join(struct config *config, struct slice join)
{
    if (!is_host_and_port(join) || config->node.join_count == NODE_JOINS_MAX)
        return -EINVAL;
    char *copy = config->joins + config->joins_bytes;
    memcpy(copy, join.data, join.len);
    copy[join.len] = 0;
    config->joins_bytes += (unsigned)join.len + 1;
    config->node.joins[config->node.join_count++] = copy;
    return 0;
}

/* One address, or several with commas between them. The command line's replace those of the environment. */
static int set_join(struct config *config, const char *value)
{
    if (config->on_command_line && !config->joins_on_command_line) {
        config->joins_on_command_line = true;
        config->node.join_count = config->joins_bytes = 0;
    }
    for (;; value++) {
        size_t len = strcspn(value, ",");
        if (add_join(config, (struct slice){value, len}) != 0)
            return -EINVAL;
        value += len;
        if (!*value)
            return 0;
    }
}

static int set_advertise(struct config *config, const char *value)
{
    config->node.advertise = value;
    return is_host_and_port(slice_of(value)) ? 0 : -EINVAL;
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

struct option {
    const char *name;
    int (*set)(struct config *config, const char *value);
    const char *wants;
};

static const struct option options[] = {
    {"listen", set_listen, "ADDR:PORT, such as 127.0.0.1:8000 or [::]:8000"},
    {"allow", set_allow, "a network such as 10.0.0.0/8 or fd00::/8, its bits after the prefix 0"},
    {"memory-max", set_memory_max, "a size such as 512M or 16G, 16M at least, or 0 for no limit"},
    {"value-max", set_value_max, "a size such as 64M, 2147483647 bytes at most"},
    {"connections-max", set_connections_max, "a number from 1 to 10000000"},
    {"idle-timeout", set_idle, "a time such as 300 or 5m"},
    {"request-timeout", set_request, "a time such as 30 or 30s"},
    {"drain-time", set_drain, "a time such as 10 or 10s"},
    {"grace", set_grace, "a time such as 1d"},
    {"join", set_join, "HOST:PORT of a member, such as 10.0.0.5:8000 or fog.example:8000"},
    {"advertise", set_advertise, "HOST:PORT at which the other members reach this node"},
    {"cluster-name", set_cluster_name, "a name of letters, digits, dots, _ and -, 63 at most"},
    {"partition", set_partition, "I/N, such as 0/3: the first of three"},
    {"forget-after", set_forget, "a time such as 1d"},
    {"log-level", set_log_level, "error, warn, info or debug"},
};

enum { OPTIONS = sizeof options / sizeof *options };

static void config_init(struct config *config)
{
    memset(config, 0, sizeof *config);
    config->listen.port = 8000;
    config->log_level = LOG_INFO_LEVEL;
    config->node.value_max = 64 << 20;
    config->node.grace_us = 86400ULL * 1000000;
    config->node.drain_us = 10 * 1000000;
    config->node.forget_us = 86400ULL * 1000000;
    config->node.server.idle_us = 300 * 1000000;
    config->node.server.request_us = 30 * 1000000;
    config->node.server.stall_us = 300 * 1000000;
}

static void variable_name(const char *option, char out[64])
{
    int used = snprintf(out, 64, "VELOUR_FOG_%s", option);
    for (int i = 0; i < used && i < 63; i++)
        out[i] = out[i] == '-' ? '_' : (char)toupper((unsigned char)out[i]);
}

static int parse_environment(struct config *config, char *(*environment)(const char *name))
{
    for (unsigned i = 0; i < OPTIONS; i++) {
        char name[64];
        variable_name(options[i].name, name);
        const char *value = environment(name);
        if (!value || !*value || options[i].set(config, value) == 0)
            continue;
        snprintf(config->error, sizeof config->error, "%s is \"%.60s\", but takes %s.", name, value,
                 options[i].wants);
        return -EINVAL;
    }
    return 0;
}

static const struct option *option_find(const char *name, size_t len)
{
    for (unsigned i = 0; i < OPTIONS; i++)
        if (strlen(options[i].name) == len && memcmp(options[i].name, name, len) == 0)
            return &options[i];
    return NULL;
}

static int usage_error(struct config *config, const char *what, const char *about)
{
    snprintf(config->error, sizeof config->error, "%s: %.80s. See velour-fog --help.", what, about);
    return -EINVAL;
}

/* One "--name VALUE" or "--name=VALUE". Returns how many arguments it took, or -EINVAL. */
static int parse_option(struct config *config, int left, char *const *argv)
{
    const char *name = argv[0] + 2, *equals = strchr(name, '=');
    const struct option *option =
        option_find(name, equals ? (size_t)(equals - name) : strlen(name));
    if (!option)
        return usage_error(config, "There is no such option", argv[0]);
    const char *value = equals ? equals + 1 : left > 1 ? argv[1] : NULL;
    if (!value)
        return usage_error(config, "This option needs a value", argv[0]);
    if (option->set(config, value) == 0)
        return equals ? 1 : 2;
    snprintf(config->error, sizeof config->error, "--%s is \"%.60s\", but takes %s.", option->name,
             value, option->wants);
    return -EINVAL;
}

static bool parse_action(struct config *config, const char *argument)
{
    if (strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0)
        config->action = CONFIG_HELP;
    else if (strcmp(argument, "--version") == 0 || strcmp(argument, "-V") == 0)
        config->action = CONFIG_VERSION;
    else
        return false;
    return true;
}

/* Who asks for help gets it whatever stands in the environment. */
static bool asks_for_help(int argc, char *const *argv)
{
    struct config scratch = {0};
    return argc > 1 &&
           (parse_action(&scratch, argv[1]) || (argc > 2 && parse_action(&scratch, argv[2])));
}

static int parse_arguments(struct config *config, int argc, char *const *argv)
{
    struct allow_list from_environment = config->node.server.allow;
    config->node.server.allow.count = 0; /* the command line's replace those of the environment */
    config->on_command_line = true;
    int at = argc > 1 && strcmp(argv[1], "node") == 0 ? 2 : 1;
    while (at < argc) {
        if (parse_action(config, argv[at]))
            return 0;
        if (strncmp(argv[at], "--", 2) != 0)
            return usage_error(config, "This was not expected", argv[at]);
        int taken = parse_option(config, argc - at, argv + at);
        if (taken < 0)
            return taken;
        at += taken;
    }
    if (config->node.server.allow.count == 0)
        config->node.server.allow = from_environment;
    return 0;
}

int config_parse(struct config *config, int argc, char *const *argv,
                 char *(*environment)(const char *name))
{
    config_init(config);
    int error = parse_environment(config, environment);
    if (!error || asks_for_help(argc, argv))
        error = parse_arguments(config, argc, argv);
    if (config->action != CONFIG_RUN_NODE)
        return 0;
    if (config->node.server.allow.count == 0)
        allow_list_private(&config->node.server.allow);
    return error;
}
