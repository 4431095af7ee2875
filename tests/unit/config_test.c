#include "config_options.h"

#include <errno.h>

#include "unit.h"

enum { ARGUMENTS_MAX = 12, VARIABLES_MAX = 70 };

/* Every command, with a command line that is good. */
static const struct role_row {
    enum config_role role;
    const char *name;
    const struct command_ops *ops;
    const char *arguments[4];
} role_rows[] = {
    {CONFIG_NODE, "node", NULL, {"node"}},
    {CONFIG_FRONTEND, "frontend", NULL, {"frontend", "--cluster=a:1"}},
    {CONFIG_RESHARD, "reshard", &reshard_command, {"reshard", "--from=a:1", "--to=b:1"}},
    {CONFIG_STATUS, "status", &survey_command, {"status"}},
    {CONFIG_DIFF, "diff", &diff_command, {"diff", "a:1", "b:1"}},
    {CONFIG_BACKUP, "backup", &backup_command, {"backup", "file"}},
    {CONFIG_RESTORE, "restore", &restore_command, {"restore", "file"}},
};

/* The environment of one test: "NAME=value" each. */
static const char *environment[VARIABLES_MAX];

static char *variable(const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < VARIABLES_MAX && environment[i]; i++)
        if (strncmp(environment[i], name, len) == 0 && environment[i][len] == '=')
            return (char *)(uintptr_t)(environment[i] + len + 1);
    return NULL;
}

static void set_environment(const char *setting)
{
    memset(environment, 0, sizeof environment);
    environment[0] = setting;
}

/* `arguments` end with NULL; the program's name is put before them. */
static int parse(struct config *config, const char *const *arguments)
{
    char *argv[ARGUMENTS_MAX + 2] = {(char *)(uintptr_t) "velour-fog"};
    int argc = 1;
    for (; arguments[argc - 1]; argc++)
        argv[argc] = (char *)(uintptr_t)arguments[argc - 1];
    memset(config, 0xa5, sizeof *config);
    return config_parse(config, argc, argv, variable);
}

#define PARSE(config, ...) parse((config), (const char *const[]){__VA_ARGS__, NULL})

static void check_sentence(const struct config *config, const char *part)
{
    size_t len = strnlen(config->error, sizeof config->error);
    check(len > 0 && len < sizeof config->error, "%s: no sentence", part);
    check(config->error[len - 1] == '.', "\"%s\" is no sentence", config->error);
    check(!strchr(config->error, '\n'), "\"%s\" is more than one line", config->error);
    check(strstr(config->error, part) != NULL, "\"%s\" says nothing of \"%s\"", config->error,
          part);
}

static void check_address(const struct address *address, const char *wanted)
{
    char text[ADDRESS_TEXT_BYTES];
    check_slice(slice_of(address_format(address, text)), slice_of(wanted), wanted);
}

static bool allows(const struct config *config, const char *text)
{
    struct address address;
    assert_int_equal(address_parse(slice_of(text), &address), 0);
    return allow_list_has(&config->node.server.allow, &address);
}

static void test_defaults(void **state)
{
    (void)state;
    static const char *const nothing[] = {NULL}, *const node[] = {"node", NULL};
    for (int i = 0; i < 2; i++) {
        struct config config;
        set_environment(NULL);
        assert_int_equal(parse(&config, i ? node : nothing), 0);
        assert_int_equal(config.action, CONFIG_RUN);
        check_address(&config.listen, "[::]:8000");
        assert_false(config.listen_given);
        assert_false(config.memory_max_given);
        assert_false(config.connections_max_given);
        assert_int_equal(config.log_level, LOG_INFO_LEVEL);
        assert_int_equal(config.node.value_max, 64 << 20);
        assert_int_equal(config.node.grace_us, 86400000000);
        assert_int_equal(config.node.drain_us, 10000000);
        assert_int_equal(config.node.server.idle_us, 300000000);
        assert_int_equal(config.node.server.request_us, 30000000);
        assert_true(config.node.server.stall_us > 0);
        assert_null(config.node.resident_bytes);
        assert_int_equal(config.node.join_count, 0);
        assert_int_equal(config.node.partitions, 0);
        assert_int_equal(config.node.forget_us, 86400000000);
        assert_null(config.node.advertise);
        assert_null(config.node.cluster_name);
        assert_true(allows(&config, "10.1.2.3:1") && allows(&config, "[::1]:1"));
        assert_false(allows(&config, "8.8.8.8:1"));
    }
}

/* One option, its value, and what comes of it. */
struct row {
    const char *name, *value;
    uint64_t wanted;
};

static uint64_t value_of(const struct config *config, const char *name)
{
    const struct {
        const char *name;
        uint64_t value;
    } values[] = {
        {"memory-max", config->node.memory_max},
        {"value-max", config->node.value_max},
        {"connections-max", config->node.server.connections_max},
        {"idle-timeout", config->node.server.idle_us},
        {"request-timeout", config->node.server.request_us},
        {"drain-time", config->node.drain_us},
        {"grace", config->node.grace_us},
        {"log-level", (uint64_t)config->log_level},
        {"listen", config->listen.port},
        {"allow", config->node.server.allow.count},
        {"forget-after", config->node.forget_us},
        {"join", config->node.join_count},
        {"partition", (uint64_t)config->node.partition << 32 | config->node.partitions},
        {"advertise", config->node.advertise ? strlen(config->node.advertise) : 0},
        {"cluster-name", config->node.cluster_name ? strlen(config->node.cluster_name) : 0},
        {"cluster", (uint64_t)config->frontend.cluster_count << 32 | config->seed_count},
        {"next-cluster", (uint64_t)config->frontend.other_count << 32 | config->seed_count},
        {"previous-cluster", (uint64_t)config->frontend.other_count << 32 | config->seed_count},
        {"read-from", config->frontend.read_home},
        {"reuse-port", config->reuse_port},
    };
    for (size_t i = 0; i < COUNT(values); i++)
        if (strcmp(values[i].name, name) == 0)
            return values[i].value;
    fail_msg("no option %s", name);
    return 0;
}

static void variable_setting(char *out, size_t room, const char *name, const char *value)
{
    snprintf(out, room, "VELOUR_FOG_%s=%s", name, value);
    for (char *at = out; *at != '='; at++)
        *at = *at == '-' ? '_' : (char)(*at >= 'a' && *at <= 'z' ? *at - 32 : *at);
}

static bool is_of_moving(const char *name)
{
    return strcmp(name, "next-cluster") == 0 || strcmp(name, "previous-cluster") == 0;
}

static bool is_of_frontend(const char *name)
{
    return strcmp(name, "cluster") == 0 || strcmp(name, "read-from") == 0 || is_of_moving(name) ||
           strcmp(name, "reuse-port") == 0;
}

/* Each of the three ways in which an option can come: "--name value", "--name=value", and from the
 * environment. */
static int parse_way(struct config *config, int way, const char *name, const char *value)
{
    static char option[100], setting[10000];
    bool frontend = is_of_frontend(name);
    const char *role = frontend ? "frontend" : "node";
    set_environment(frontend && strcmp(name, "cluster") != 0 ? "VELOUR_FOG_CLUSTER=a:1" : NULL);
    if (way == 0) {
        snprintf(option, sizeof option, "--%s", name);
        return PARSE(config, role, option, value);
    }
    if (way == 1) {
        snprintf(setting, sizeof setting, "--%s=%s", name, value);
        return PARSE(config, role, setting);
    }
    variable_setting(setting, sizeof setting, name, value);
    environment[1] = setting;
    if (!environment[0])
        set_environment(setting);
    return PARSE(config, role);
}

static void test_good_values(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"memory-max", "0", 0},
        {"memory-max", "16M", 16 << 20},
        {"memory-max", "16777216", 16 << 20},
        {"memory-max", "512m", 512 << 20},
        {"memory-max", "16G", 16ULL << 30},
        {"memory-max", "16GiB", 16ULL << 30},
        {"memory-max", "20000k", 20000 << 10},
        {"memory-max", "20000KiB", 20000 << 10},
        {"memory-max", "1T", 1ULL << 40},
        {"memory-max", "1024TiB", 1ULL << 50},
        {"value-max", "1", 1},
        {"value-max", "100", 100},
        {"value-max", "64M", 64 << 20},
        {"value-max", "2147483647", 2147483647},
        {"value-max", "1g", 1 << 30},
        {"connections-max", "1", 1},
        {"connections-max", "10000", 10000},
        {"connections-max", "10000000", 10000000},
        {"idle-timeout", "300", 300000000},
        {"idle-timeout", "5m", 300000000},
        {"idle-timeout", "1500ms", 1500000},
        {"idle-timeout", "1ms", 1000},
        {"request-timeout", "30s", 30000000},
        {"request-timeout", "1", 1000000},
        {"drain-time", "10S", 10000000},
        {"drain-time", "2h", 7200000000},
        {"grace", "1d", 86400000000},
        {"grace", "3650d", 315360000000000},
        {"log-level", "error", LOG_ERROR_LEVEL},
        {"log-level", "warn", LOG_WARN_LEVEL},
        {"log-level", "info", LOG_INFO_LEVEL},
        {"log-level", "debug", LOG_DEBUG_LEVEL},
        {"listen", "127.0.0.1:8001", 8001},
        {"listen", "[::1]:8002", 8002},
        {"listen", ":8003", 8003},
        {"listen", "8004", 8004},
        {"listen", "[::]:0", 0},
        {"allow", "10.0.0.0/8", 1},
        {"allow", "::1", 1},
        {"allow", "10.0.0.0/8,fd00::/8,192.168.0.0/16", 3},
        {"cluster", "a:1", 1ULL << 32 | 1},
        {"cluster", "a:1,b:2,[::1]:3", 1ULL << 32 | 3},
        {"cluster", "a:1 b:2", 2ULL << 32 | 2},
        {"cluster", "a:1;b:2,c:3;d:4", 3ULL << 32 | 4},
        {"cluster", "  a:1 ;\tb:2\n c:3 ", 3ULL << 32 | 3},
        {"read-from", "any", 0},
        {"read-from", "home", 1},
        {"reuse-port", "yes", 1},
        {"reuse-port", "no", 0},
        {"forget-after", "1h", 3600000000},
        {"join", "10.0.0.5:8000", 1},
        {"join", "[fd00::5]:8000", 1},
        {"join", "fog.example:8000", 1},
        {"join", "a:1,b:2,[::1]:65535", 3},
        {"advertise", "10.0.0.5:8000", 13},
        {"advertise", "[fd00::5]:8000", 14},
        {"advertise", "host-1.example:8000", 19},
        {"cluster-name", "a", 1},
        {"cluster-name", "Fog-2_test.b", 12},
        {"cluster-name", "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffggg", 63},
        {"partition", "0/1", 1},
        {"partition", "2/3", 2ULL << 32 | 3},
        {"partition", "0/65536", 65536},
        {"partition", "65535/65536", 65535ULL << 32 | 65536},
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        for (int way = 0; way < 3; way++) {
            struct config config;
            check(parse_way(&config, way, rows[i].name, rows[i].value) == 0, "%s %s, way %d: %s",
                  rows[i].name, rows[i].value, way, config.error);
            uint64_t is = value_of(&config, rows[i].name);
            check(is == rows[i].wanted, "%s %s, way %d: %llu", rows[i].name, rows[i].value, way,
                  (unsigned long long)is);
            assert_int_equal(config.action, CONFIG_RUN);
        }
}

static void test_bad_values(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"memory-max", "x", 0},
        {"memory-max", "-1", 0},
        {"memory-max", "1", 0},
        {"memory-max", "16777215", 0},
        {"memory-max", "15M", 0},
        {"memory-max", "1.5G", 0},
        {"memory-max", "1 G", 0},
        {"memory-max", " 1G", 0},
        {"memory-max", "1G ", 0},
        {"memory-max", "1GB", 0},
        {"memory-max", "1P", 0},
        {"memory-max", "G", 0},
        {"memory-max", "0x10000000", 0},
        {"memory-max", "1025T", 0},
        {"memory-max", "18446744073709551616", 0},
        {"memory-max", "18446744073709551615T", 0},
        {"memory-max", "99999999999999999999999", 0},
        {"value-max", "0", 0},
        {"value-max", "2G", 0},
        {"value-max", "2147483648", 0},
        {"value-max", "-5", 0},
        {"value-max", "64MM", 0},
        {"connections-max", "0", 0},
        {"connections-max", "10000001", 0},
        {"connections-max", "10k", 0},
        {"connections-max", "1e3", 0},
        {"connections-max", "-1", 0},
        {"idle-timeout", "0", 0},
        {"idle-timeout", "0ms", 0},
        {"idle-timeout", "5min", 0},
        {"idle-timeout", "1w", 0},
        {"idle-timeout", "ms", 0},
        {"idle-timeout", "forever", 0},
        {"idle-timeout", "1.5s", 0},
        {"idle-timeout", "3651d", 0},
        {"idle-timeout", "18446744073709551615d", 0},
        {"request-timeout", "0", 0},
        {"request-timeout", "-1", 0},
        {"drain-time", "x", 0},
        {"drain-time", "5 s", 0},
        {"grace", "1y", 0},
        {"grace", "-1d", 0},
        {"log-level", "loud", 0},
        {"log-level", "INFO", 0},
        {"log-level", "6", 0},
        {"listen", "localhost:8000", 0},
        {"listen", "127.0.0.1", 0},
        {"listen", "[::]:65536", 0},
        {"listen", "::1:8000x", 0},
        {"listen", "*", 0},
        {"allow", "10.0.0.1/8", 0},
        {"allow", "10.0.0.0/33", 0},
        {"allow", "everyone", 0},
        {"allow", "10.0.0.0/8,", 0},
        {"allow", ",10.0.0.0/8", 0},
        {"allow", "10.0.0.0/8,,::1", 0},
        {"allow", "10.0.0.0/8,x", 0},
        {"allow", ",", 0},
        {"forget-after", "0", 0},
        {"forget-after", "never", 0},
        {"join", "10.0.0.5", 0},
        {"join", ":8000", 0},
        {"join", "10.0.0.5:", 0},
        {"join", "10.0.0.5:0", 0},
        {"join", "10.0.0.5:65536", 0},
        {"join", "fd00::5:8000", 0},
        {"join", "http://a:1", 0},
        {"join", "a b:1", 0},
        {"join", ",", 0},
        {"join", "a:1,", 0},
        {"join", ",a:1", 0},
        {"join", "a:1,,b:1", 0},
        {"join", "a:1, b:1", 0},
        {"join", "[a]:1", 0},
        {"join", "[::1:1", 0},
        {"join", "[]:1", 0},
        {"join", "[:1", 0},
        {"advertise", "host", 0},
        {"advertise", "a:1,b:1", 0},
        {"advertise", ":8000", 0},
        {"advertise", "host:0", 0},
        {"advertise", "0.0.0.0:8000", 0},
        {"advertise", "[::]:8000", 0},
        {"advertise", "[::ffff:0.0.0.0]:8000", 0},
        {"cluster-name", "a b", 0},
        {"cluster-name", "fog/2", 0},
        {"cluster-name", "n\xc3\xa4me", 0},
        {"partition", "1", 0},
        {"partition", "1/", 0},
        {"partition", "/2", 0},
        {"partition", "0/0", 0},
        {"partition", "2/2", 0},
        {"partition", "0/65537", 0},
        {"partition", "-1/2", 0},
        {"partition", "0/2/3", 0},
        {"partition", "0 / 2", 0},
        {"partition", "0x0/2", 0},
        {"cluster", "10.0.0.5", 0},
        {"cluster", "a:1,", 0},
        {"cluster", ",a:1", 0},
        {"cluster", ",", 0},
        {"cluster", ";", 0},
        {"cluster", " ", 0},
        {"cluster", "a:1;", 0},
        {"cluster", ";a:1", 0},
        {"cluster", "a:1;;b:1", 0},
        {"cluster", "a:1; ;b:1", 0},
        {"cluster", "a:1, b:1", 0},
        {"cluster", "a:1 ,b:1", 0},
        {"cluster", "a:0", 0},
        {"cluster", "0/2=a:1", 0},
        {"read-from", "all", 0},
        {"read-from", "Home", 0},
        {"reuse-port", "1", 0},
        {"reuse-port", "y", 0},
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        for (int way = 0; way < 3; way++) {
            struct config config;
            char name[100];
            check(parse_way(&config, way, rows[i].name, rows[i].value) == -EINVAL,
                  "%s \"%s\", way %d", rows[i].name, rows[i].value, way);
            check_sentence(&config, rows[i].value);
            variable_setting(name, sizeof name, rows[i].name, "");
            *strchr(name, '=') = 0;
            check_sentence(&config, way == 2 ? name : rows[i].name);
        }
}

/* On the command line nothing is a value as bad as others; in the environment it stands for no
 * setting. */
static void test_empty_values(void **state)
{
    (void)state;
    static const char *const names[] = {"listen",
                                        "allow",
                                        "memory-max",
                                        "value-max",
                                        "connections-max",
                                        "idle-timeout",
                                        "request-timeout",
                                        "drain-time",
                                        "grace",
                                        "log-level",
                                        "forget-after",
                                        "join",
                                        "advertise",
                                        "cluster-name",
                                        "partition",
                                        "next-cluster",
                                        "previous-cluster",
                                        "read-from",
                                        "reuse-port"};
    for (size_t i = 0; i < COUNT(names); i++) {
        struct config config;
        check(parse_way(&config, 0, names[i], "") == -EINVAL, "--%s ''", names[i]);
        check_sentence(&config, names[i]);
        check(parse_way(&config, 1, names[i], "") == -EINVAL, "--%s=", names[i]);
        check_sentence(&config, names[i]);
        check(parse_way(&config, 2, names[i], "") == 0, "%s from the environment", names[i]);
    }
}

static void test_what_was_given(void **state)
{
    (void)state;
    for (int way = 0; way < 3; way++) {
        struct config config;
        assert_int_equal(parse_way(&config, way, "listen", "8001"), 0);
        assert_true(config.listen_given && !config.memory_max_given &&
                    !config.connections_max_given);
        assert_int_equal(parse_way(&config, way, "memory-max", "0"), 0);
        assert_true(!config.listen_given && config.memory_max_given &&
                    !config.connections_max_given);
        assert_int_equal(parse_way(&config, way, "connections-max", "5"), 0);
        assert_true(!config.listen_given && !config.memory_max_given &&
                    config.connections_max_given);
    }
}

static void test_many_options_and_the_last_one_wins(void **state)
{
    (void)state;
    struct config config;
    set_environment(NULL);
    assert_int_equal(PARSE(&config, "node", "--listen", "9000", "--value-max=1K", "--value-max",
                           "2K", "--log-level=debug", "--listen=9001"),
                     0);
    assert_int_equal(config.listen.port, 9001);
    assert_int_equal(config.node.value_max, 2048);
    assert_int_equal(config.log_level, LOG_DEBUG_LEVEL);
}

static void test_command_line_wins_over_environment(void **state)
{
    (void)state;
    struct config config;
    set_environment("VELOUR_FOG_VALUE_MAX=1K");
    environment[1] = "VELOUR_FOG_LISTEN=127.0.0.1:7000";
    environment[2] = "VELOUR_FOG_LOG_LEVEL=error";
    assert_int_equal(PARSE(&config, "--value-max", "5K", "--log-level", "warn"), 0);
    assert_int_equal(config.node.value_max, 5 << 10);
    assert_int_equal(config.log_level, LOG_WARN_LEVEL);
    check_address(&config.listen, "127.0.0.1:7000");
}

static void test_names_of_others_are_left_alone(void **state)
{
    (void)state;
    struct config config;
    set_environment("VELOUR_FOG_LOG_LEVEL_=loud");
    environment[1] = "LOG_LEVEL=loud";
    environment[2] = "VELOUR_FOG_HELP=yes";
    environment[3] = "velour_fog_log_level=loud";
    assert_int_equal(PARSE(&config, "node"), 0);
    assert_int_equal(config.action, CONFIG_RUN);
}

static void test_allow_lists(void **state)
{
    (void)state;
    struct config config;
    set_environment("VELOUR_FOG_ALLOW=8.8.8.0/24,2001:db8::/32");
    assert_int_equal(PARSE(&config, "node"), 0);
    assert_true(allows(&config, "8.8.8.8:1") && allows(&config, "[2001:db8::1]:1"));
    assert_false(allows(&config, "10.0.0.1:1") || allows(&config, "127.0.0.1:1"));
    /* The command line's replace those of the environment. */
    assert_int_equal(PARSE(&config, "--allow", "10.0.0.0/8", "--allow=127.0.0.1"), 0);
    assert_true(allows(&config, "10.0.0.1:1") && allows(&config, "127.0.0.1:1"));
    assert_false(allows(&config, "8.8.8.8:1") || allows(&config, "127.0.0.2:1"));
    set_environment(NULL);
    assert_int_equal(PARSE(&config, "--allow=0.0.0.0/0"), 0);
    assert_true(allows(&config, "9.9.9.9:1"));
    assert_false(allows(&config, "[::1]:1"));
}

static void test_allow_list_is_full_at_its_end(void **state)
{
    (void)state;
    struct config config;
    char list[20 * (NETWORKS_MAX + 1)] = "";
    size_t used = 0;
    for (int i = 0; i < NETWORKS_MAX; i++)
        used +=
            (size_t)snprintf(list + used, sizeof list - used, "%s10.%d.0.0/16", i ? "," : "", i);
    assert_int_equal(parse_way(&config, 0, "allow", list), 0);
    assert_int_equal(config.node.server.allow.count, NETWORKS_MAX);
    snprintf(list + used, sizeof list - used, ",::1");
    assert_int_equal(parse_way(&config, 0, "allow", list), -EINVAL);
    check_sentence(&config, "allow");
}

static void test_joins(void **state)
{
    (void)state;
    struct config config;
    set_environment("VELOUR_FOG_JOIN=a:1,b:2");
    assert_int_equal(PARSE(&config, "node"), 0);
    assert_int_equal(config.node.join_count, 2);
    assert_string_equal(config.node.joins[0], "a:1");
    assert_string_equal(config.node.joins[1], "b:2");
    /* The command line's replace those of the environment. */
    assert_int_equal(PARSE(&config, "--join", "c:3", "--join=[::1]:4"), 0);
    assert_int_equal(config.node.join_count, 2);
    assert_string_equal(config.node.joins[0], "c:3");
    assert_string_equal(config.node.joins[1], "[::1]:4");
}

/* Both lists at their longest: names that DNS would just take. */
static void test_join_list_is_full_at_its_end(void **state)
{
    (void)state;
    static char list[NODE_JOINS_MAX * 300], setting[NODE_JOINS_MAX * 300 + 20];
    struct config config;
    size_t used = 0;
    for (int i = 0; i < NODE_JOINS_MAX; i++)
        used +=
            (size_t)snprintf(list + used, sizeof list - used, "%s%0253d:65535", i ? "," : "", i);
    snprintf(setting, sizeof setting, "VELOUR_FOG_JOIN=%s", list);
    set_environment(setting);
    assert_int_equal(PARSE(&config, "--join", list), 0);
    assert_int_equal(config.node.join_count, NODE_JOINS_MAX);
    assert_true(strstr(config.node.joins[NODE_JOINS_MAX - 1], "63:65535") != NULL);
    assert_int_equal(PARSE(&config, "node"), 0);
    assert_int_equal(config.node.join_count, NODE_JOINS_MAX);
    assert_int_equal(PARSE(&config, "--join", list, "--join", "a:1"), -EINVAL);
    check_sentence(&config, "join");
    /* one byte more than names have */
    assert_int_equal(snprintf(list, sizeof list, "%064d", 1), NODE_NAME_BYTES_MAX + 1);
    assert_int_equal(parse_way(&config, 0, "cluster-name", list), -EINVAL);
    assert_int_equal(snprintf(list, sizeof list, "%0254d:1", 1), 256);
    assert_int_equal(parse_way(&config, 0, "join", list), -EINVAL);
    assert_int_equal(parse_way(&config, 0, "advertise", list), -EINVAL);
}

static void test_wrong_arguments(void **state)
{
    (void)state;
    static const struct {
        const char *arguments[4];
        const char *about;
    } rows[] = {
        {{"--bogus"}, "--bogus"},
        {{"--bogus=1"}, "--bogus"},
        {{"--Listen", "8000"}, "--Listen"},
        {{"--liste", "8000"}, "--liste"},
        {{"--listens", "8000"}, "--listens"},
        {{"--"}, "--"},
        {{"--=8000"}, "--="},
        {{"-listen", "8000"}, "-listen"},
        {{"-x"}, "-x"},
        {{"frontends"}, "frontends"},
        {{"frontend"}, "--cluster"},
        {{"frontend", "--log-level", "warn"}, "--cluster"},
        {{"frontend", "--cluster"}, "velour-fog frontend --help"},
        {{"frontend", "--previous-cluster", "a:1"}, "--cluster"},
        {{"frontend", "--from", "a:1"}, "velour-fog reshard"},
        {{"reshard"}, "--from"},
        {{"reshard", "--from", "a:1"}, "--to"},
        {{"reshard", "--to", "a:1"}, "--from"},
        {{"reshard", "--from"}, "velour-fog reshard --help"},
        {{"reshard", "--cluster", "a:1"}, "velour-fog frontend"},
        {{"reshard", "--listen", "8000"}, "--listen"},
        {{"frontend", "node"}, "node"},
        {{"node", "frontend"}, "frontend"},
        {{"--cluster", "a:1", "frontend"}, "--cluster"},
        {{"8000"}, "8000"},
        {{""}, ""},
        {{"--listen", "8000", "node"}, "node"},
        {{"node", "node"}, "node"},
        {{"node", "extra"}, "extra"},
        {{"--listen"}, "--listen"},
        {{"--value-max", "1K", "--listen"}, "--listen"},
        {{"--listen", "--value-max", "1K"}, "--value-max"},
        {{"--value-max", "0", "--help"}, "value-max"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct config config;
        set_environment(NULL);
        check(parse(&config, rows[i].arguments) == -EINVAL, "\"%s\"", rows[i].arguments[0]);
        check_sentence(&config, rows[i].about);
        assert_int_equal(config.action, CONFIG_RUN);
    }
}

/* However long what was typed is, the sentence fits and ends as one. */
static void test_long_arguments(void **state)
{
    (void)state;
    char text[1000] = "--";
    memset(text + 2, 'x', sizeof text - 3);
    struct config config;
    set_environment(NULL);
    assert_int_equal(PARSE(&config, text), -EINVAL);
    check_sentence(&config, "xxxx");
    assert_int_equal(PARSE(&config, text + 2), -EINVAL);
    check_sentence(&config, "xxxx");
    static const char *const names[] = {"listen", "allow", "memory-max", "connections-max",
                                        "log-level"};
    for (size_t i = 0; i < COUNT(names); i++)
        for (int way = 0; way < 3; way++) {
            assert_int_equal(parse_way(&config, way, names[i], text + 2), -EINVAL);
            check_sentence(&config, "takes");
        }
}

static void test_actions(void **state)
{
    (void)state;
    static const struct {
        const char *arguments[5];
        enum config_action action;
    } rows[] = {
        {{"--help"}, CONFIG_HELP},
        {{"-h"}, CONFIG_HELP},
        {{"node", "--help"}, CONFIG_HELP},
        {{"--listen", "8000", "--help"}, CONFIG_HELP},
        {{"--help", "--bogus"}, CONFIG_HELP},
        {{"--version"}, CONFIG_VERSION},
        {{"-V"}, CONFIG_VERSION},
        {{"node", "-V"}, CONFIG_VERSION},
        {{"--version", "--help"}, CONFIG_VERSION},
        {{"frontend", "--help"}, CONFIG_HELP},
        {{"frontend", "--cluster", "a:1", "-h"}, CONFIG_HELP},
        {{"reshard", "--help"}, CONFIG_HELP},
        {{"status", "--help"}, CONFIG_HELP},
        {{"diff", "a:1", "--help"}, CONFIG_HELP},
        {{"backup", "--version"}, CONFIG_VERSION},
        {{"restore", "-h"}, CONFIG_HELP},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct config config;
        set_environment(NULL);
        check(parse(&config, rows[i].arguments) == 0, "%s", rows[i].arguments[0]);
        check(config.action == rows[i].action, "%s", rows[i].arguments[0]);
        const char *word = rows[i].arguments[0];
        enum config_role role = CONFIG_NODE;
        for (size_t r = 0; r < COUNT(role_rows); r++)
            if (strcmp(word, role_rows[r].name) == 0)
                role = role_rows[r].role;
        check(config.role == role, "the role");
    }
}

/* Who asks for help gets it, whatever is wrong with the environment. */
static void test_help_in_a_bad_environment(void **state)
{
    (void)state;
    struct config config;
    set_environment("VELOUR_FOG_LISTEN=nowhere");
    assert_int_equal(PARSE(&config, "node"), -EINVAL);
    assert_int_equal(PARSE(&config, "--help"), 0);
    assert_int_equal(config.action, CONFIG_HELP);
}

static void check_help(const char *help)
{
    unsigned lines = 0;
    size_t widest = 0;
    for (const char *line = help; *line;) {
        size_t width = strcspn(line, "\n");
        check(line[width] == '\n', "the last line has no end");
        for (size_t i = 0; i < width; i++)
            check(line[i] >= ' ' && line[i] < 127, "line %u", lines + 1);
        check(width == 0 || line[width - 1] != ' ', "line %u ends with a blank", lines + 1);
        widest = width > widest ? width : widest;
        line += width + 1;
        lines++;
    }
    check(widest <= 80, "%zu columns", widest);
    check(lines >= 10 && lines <= 30, "%u lines", lines);
}

static void test_each_command_is_carried_out_by_its_own(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(role_rows); i++) {
        struct config config;
        set_environment(NULL);
        check(parse(&config, role_rows[i].arguments) == 0, "%s", role_rows[i].name);
        check(config_command_ops(config.role) == role_rows[i].ops, "%s", role_rows[i].name);
    }
}

static void test_help_fits_a_screen(void **state)
{
    (void)state;
    for (size_t r = 0; r < COUNT(role_rows); r++)
        check_help(config_help(role_rows[r].role));
}

/* Each role's help has its own options, and those of the other one are not in it. */
static void test_help_names_every_option(void **state)
{
    (void)state;
    static const char *const others[] = {"--help", "--version", "VELOUR_FOG_"};
    for (size_t r = 0; r < COUNT(role_rows); r++) {
        const char *help = config_help(role_rows[r].role);
        for (const struct config_option *option = config_options; option->name; option++) {
            char text[64];
            snprintf(text, sizeof text, "\n  --%s ", option->name);
            check((strstr(help, text) != NULL) == ((option->roles & role_rows[r].role) != 0),
                  "%s of %s", option->name, role_rows[r].name);
        }
        for (size_t i = 0; i < COUNT(others); i++)
            check(strstr(help, others[i]) != NULL, "%s", others[i]);
        check(strstr(config_help(CONFIG_NODE), role_rows[r].name) != NULL, "%s", role_rows[r].name);
    }
}

/* What both roles have reaches a front-end by the same parsers. */
static void test_frontends_have_the_shared_options(void **state)
{
    (void)state;
    struct config config;
    set_environment("VELOUR_FOG_CLUSTER=a:1,b:2;[fd00::1]:3");
    environment[1] = "VELOUR_FOG_DRAIN_TIME=3";
    assert_int_equal(PARSE(&config, "frontend", "--value-max=1K", "--allow=10.0.0.0/8",
                           "--connections-max=7", "--idle-timeout=1", "--request-timeout=2",
                           "--listen=9000", "--log-level=debug"),
                     0);
    assert_int_equal(config.action, CONFIG_RUN);
    assert_int_equal(config.role, CONFIG_FRONTEND);
    const struct frontend_config *frontend = &config.frontend;
    assert_int_equal(frontend->value_max, 1024);
    assert_int_equal(frontend->drain_us, 3000000);
    assert_int_equal(frontend->server.connections_max, 7);
    assert_int_equal(frontend->server.idle_us, 1000000);
    assert_int_equal(frontend->server.request_us, 2000000);
    assert_true(frontend->server.stall_us > 0);
    assert_int_equal(frontend->server.allow.count, 1);
    assert_int_equal(config.listen.port, 9000);
    assert_int_equal(config.log_level, LOG_DEBUG_LEVEL);
    assert_false(frontend->read_home || config.reuse_port);
    assert_int_equal(frontend->cluster_count, 2);
    assert_int_equal(frontend->clusters[0].seed_count, 2);
    assert_string_equal(frontend->clusters[0].seeds[0], "a:1");
    assert_string_equal(frontend->clusters[0].seeds[1], "b:2");
    assert_int_equal(frontend->clusters[1].seed_count, 1);
    assert_string_equal(frontend->clusters[1].seeds[0], "[fd00::1]:3");
}

static void test_frontends_allow_private_networks(void **state)
{
    (void)state;
    struct config config;
    struct address near, far;
    set_environment(NULL);
    assert_int_equal(PARSE(&config, "frontend", "--cluster", "a:1"), 0);
    assert_int_equal(address_parse(SLICE("10.1.2.3:1"), &near), 0);
    assert_int_equal(address_parse(SLICE("8.8.8.8:1"), &far), 0);
    assert_true(allow_list_has(&config.frontend.server.allow, &near));
    assert_false(allow_list_has(&config.frontend.server.allow, &far));
}

/* An option of another role is refused on the command line, with the command that has it, and ignored in the environment,
 * whatever it is there. */
static void check_of_another(const struct config_option *option, const struct role_row *row)
{
    struct config config;
    char argument[64], setting[64], sentence[64];
    snprintf(argument, sizeof argument, "--%s=", option->name);
    snprintf(sentence, sizeof sentence, "not of velour-fog %s", row->name);
    variable_setting(setting, sizeof setting, option->name, "certainly wrong");
    set_environment(setting);
    assert_int_equal(PARSE(&config, row->name, argument), -EINVAL);
    check_sentence(&config, option->name);
    check_sentence(&config, sentence);
    check(parse(&config, row->arguments) == 0, "--%s, %s: %s", option->name, row->name,
          config.error);
}

static void test_options_of_another_role(void **state)
{
    (void)state;
    for (const struct config_option *option = config_options; option->name; option++)
        for (size_t r = 0; r < COUNT(role_rows); r++)
            if (!(option->roles & role_rows[r].role))
                check_of_another(option, &role_rows[r]);
    struct config config;
    set_environment(NULL);
    assert_int_equal(PARSE(&config, "frontend", "--join", "a:1"), -EINVAL);
    check_sentence(&config, "--join is an option of velour-fog node");
    assert_int_equal(PARSE(&config, "--cluster", "a:1"), -EINVAL);
    check_sentence(&config, "--cluster is an option of velour-fog frontend");
}

/* Words of commands: what is left out is put in. */
static void test_words(void **state)
{
    (void)state;
    static const struct {
        const char *arguments[5], *words[2];
    } rows[] = {
        {{"status"}, {"localhost:8000"}},
        {{"status", "--watch", "a:1"}, {"a:1"}},
        {{"diff", "a:1", "[::1]:2", "--limit=3"}, {"a:1", "[::1]:2"}},
        {{"backup", "file"}, {"localhost:8000", "file"}},
        {{"backup", "a:1", "--resume", "b:2"}, {"a:1", "b:2"}},
        {{"restore", "a:1", "/some/file"}, {"a:1", "/some/file"}},
        {{"restore", "./a:1"}, {"localhost:8000", "./a:1"}},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct config config;
        set_environment(NULL);
        check(parse(&config, rows[i].arguments) == 0, "row %zu: %s", i, config.error);
        for (unsigned w = 0; w < 2 && rows[i].words[w]; w++)
            check(w < config.command.word_count &&
                      strcmp(config.command.words[w], rows[i].words[w]) == 0,
                  "row %zu, word %u", i, w);
    }
}

static void test_bad_words(void **state)
{
    (void)state;
    static const struct {
        const char *arguments[5], *says;
    } rows[] = {
        {{"status", "nonsense"}, "\"nonsense\" is no HOST:PORT"},
        {{"status", "a:1", "b:1"}, "This was not expected: b:1"},
        {{"status", "-x"}, "This was not expected: -x"},
        {{"diff"}, "diff takes HOST:PORT of two nodes."},
        {{"diff", "a:1"}, "diff takes HOST:PORT of two nodes."},
        {{"diff", "a:1", "b"}, "\"b\" is no HOST:PORT"},
        {{"backup"}, "and a file."},
        {{"backup", ""}, "and a file."},
        {{"restore", "a:1", ""}, "and a file."},
        {{"backup", "a", "file"}, "\"a\" is no HOST:PORT"},
        {{"backup", "a:1"}, "backup a:1 names no file: write one behind the address, or ./a:1"},
        {{"restore", "--resume", "a:1"}, "restore a:1 names no file"},
        {{"backup", "a:1", "-"},
         "backup needs a file that it can go back in, not \"-\": name one."},
        {{"restore", "a:1", "-"}, "restore needs a file that it can go back in, not \"-\""},
        {{"restore", "a:1", "file", "more"}, "This was not expected: more"},
        {{"status", "--watch=maybe"}, "--watch is \"maybe\", but takes yes or no"},
        {{"status", "--interval", "0"}, "--interval"},
        {{"diff", "a:1", "b:1", "--limit=0"}, "--limit"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct config config;
        set_environment(NULL);
        check(parse(&config, rows[i].arguments) == -EINVAL, "row %zu", i);
        check_sentence(&config, rows[i].says);
    }
}

static void test_options_that_stand_alone(void **state)
{
    (void)state;
    struct config config;
    set_environment(NULL);
    assert_int_equal(PARSE(&config, "status"), 0);
    assert_false(config.command.watch || config.command.json);
    assert_int_equal(config.command.interval_us, 2000000);
    assert_int_equal(PARSE(&config, "status", "--watch", "--json", "--interval=500ms"), 0);
    assert_true(config.command.watch && config.command.json);
    assert_int_equal(config.command.interval_us, 500000);
    set_environment("VELOUR_FOG_JSON=yes");
    assert_int_equal(PARSE(&config, "status"), 0);
    assert_true(config.command.json);
    assert_int_equal(PARSE(&config, "status", "--json=no"), 0);
    assert_false(config.command.json);
}

static void test_clusters_of_the_command_line(void **state)
{
    (void)state;
    struct config config;
    set_environment("VELOUR_FOG_CLUSTER=a:1;b:2;c:3");
    assert_int_equal(PARSE(&config, "frontend", "--cluster", "d:4,e:5", "--cluster=f:6"), 0);
    assert_int_equal(config.frontend.cluster_count, 2);
    assert_string_equal(config.frontend.clusters[0].seeds[0], "d:4");
    assert_string_equal(config.frontend.clusters[0].seeds[1], "e:5");
    assert_string_equal(config.frontend.clusters[1].seeds[0], "f:6");
    /* A wrong one in the environment is said even when the command line has others. */
    set_environment("VELOUR_FOG_CLUSTER=a:1;;c:3");
    assert_int_equal(PARSE(&config, "frontend", "--cluster", "d:4"), -EINVAL);
    check_sentence(&config, "VELOUR_FOG_CLUSTER");
}

/* Those that have the keys and those that shall have them are lists of their own. */
static void test_clusters_of_a_move(void **state)
{
    (void)state;
    struct config config;
    struct frontend_config *frontend = &config.frontend;
    set_environment("VELOUR_FOG_CLUSTER=a:1 b:2");
    assert_int_equal(PARSE(&config, "frontend", "--next-cluster", "c:3;d:4", "--next-cluster=e:5"),
                     0);
    assert_int_equal(frontend->cluster_count, 2);
    assert_int_equal(frontend->other_count, 3);
    assert_string_equal(frontend->clusters[1].seeds[0], "b:2");
    assert_string_equal(frontend->others[0].seeds[0], "c:3");
    assert_string_equal(frontend->others[2].seeds[0], "e:5");
    assert_int_equal(frontend->other_side, SIDE_NEXT);
    set_environment("VELOUR_FOG_PREVIOUS_CLUSTER=a:1");
    assert_int_equal(PARSE(&config, "frontend", "--cluster", "b:2"), 0);
    assert_int_equal(frontend->other_side, SIDE_PREVIOUS);
    assert_int_equal(PARSE(&config, "frontend", "--cluster", "b:2", "--next-cluster", "c:3"), 0);
    assert_int_equal(frontend->other_count, 1);
    assert_string_equal(frontend->others[0].seeds[0], "c:3");
    assert_int_equal(frontend->other_side, SIDE_NEXT);
    set_environment(NULL);
    assert_int_equal(PARSE(&config, "frontend", "--cluster", "b:2"), 0);
    assert_int_equal(frontend->other_count, 0);
    assert_int_equal(PARSE(&config, "frontend", "--cluster", "b:2", "--next-cluster", "c:3",
                           "--previous-cluster", "d:4"),
                     -EINVAL);
    check_sentence(&config, "--next-cluster");
    assert_int_equal(PARSE(&config, "reshard", "--from", "a:1,b:1", "--to", "c:3", "--to", "d:4",
                           "--rate", "2M"),
                     0);
    assert_int_equal(config.reshard.from_count, 1);
    assert_int_equal(config.reshard.from[0].seed_count, 2);
    assert_string_equal(config.reshard.from[0].seeds[1], "b:1");
    assert_int_equal(config.reshard.to_count, 2);
    assert_string_equal(config.reshard.to[1].seeds[0], "d:4");
    assert_int_equal(config.command.rate, 2 << 20);
}

static size_t add_seeds(char *list, size_t room, size_t used, unsigned count, const char *name)
{
    for (unsigned i = 0; i < count; i++)
        used += (size_t)snprintf(list + used, room - used, "%s%s", i ? "," : "", name);
    return used;
}

/* Clusters, seeds of one, seeds of all, and the bytes of their names: each at its most, and one more. */
static void test_cluster_lists_are_full_at_their_ends(void **state)
{
    (void)state;
    static char list[CONFIG_NAMES_BYTES_MAX + 1000];
    struct config config;
    set_environment(NULL);
    add_seeds(list, sizeof list, 0, FRONTEND_SEEDS_MAX, "a:1");
    assert_int_equal(PARSE(&config, "frontend", "--cluster", list), 0);
    assert_int_equal(config.frontend.clusters[0].seed_count, FRONTEND_SEEDS_MAX);
    add_seeds(list, sizeof list, 0, FRONTEND_SEEDS_MAX + 1, "a:1");
    assert_int_equal(PARSE(&config, "frontend", "--cluster", list), -EINVAL);
    size_t used = 0;
    for (unsigned i = 0; i < FRONTEND_CLUSTERS_MAX; i++)
        used += (size_t)snprintf(list + used, sizeof list - used, "%sa:1", i ? " " : "");
    assert_int_equal(PARSE(&config, "frontend", "--cluster", list), 0);
    assert_int_equal(config.frontend.cluster_count, FRONTEND_CLUSTERS_MAX);
    assert_int_equal(PARSE(&config, "frontend", "--cluster", list, "--cluster", "b:1"), -EINVAL);
    used = 0;
    for (unsigned i = 0; i < CONFIG_SEEDS_MAX / FRONTEND_SEEDS_MAX; i++) {
        used += (size_t)snprintf(list + used, sizeof list - used, "%s", i ? ";" : "");
        used = add_seeds(list, sizeof list, used, FRONTEND_SEEDS_MAX, "a:1");
    }
    assert_int_equal(PARSE(&config, "frontend", "--cluster", list), 0);
    assert_int_equal(config.seed_count, CONFIG_SEEDS_MAX);
    assert_int_equal(PARSE(&config, "frontend", "--cluster", list, "--cluster", "b:1"), -EINVAL);
    check_sentence(&config, "--cluster");
}

static void test_names_of_clusters_fill_their_room(void **state)
{
    (void)state;
    static char list[CONFIG_NAMES_BYTES_MAX + 1000];
    struct config config;
    size_t used = 0;
    set_environment(NULL);
    for (unsigned i = 0; i < CONFIG_NAMES_BYTES_MAX / 256; i++)
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%0253u:1", i ? " " : "", i);
    assert_int_equal(used, CONFIG_NAMES_BYTES_MAX - 1);
    assert_int_equal(PARSE(&config, "frontend", "--cluster", list), 0);
    assert_int_equal(config.names_bytes, CONFIG_NAMES_BYTES_MAX);
    assert_int_equal(PARSE(&config, "frontend", "--cluster", list, "--cluster", "b:1"), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_good_values),
        cmocka_unit_test(test_bad_values),
        cmocka_unit_test(test_empty_values),
        cmocka_unit_test(test_what_was_given),
        cmocka_unit_test(test_many_options_and_the_last_one_wins),
        cmocka_unit_test(test_command_line_wins_over_environment),
        cmocka_unit_test(test_names_of_others_are_left_alone),
        cmocka_unit_test(test_allow_lists),
        cmocka_unit_test(test_allow_list_is_full_at_its_end),
        cmocka_unit_test(test_joins),
        cmocka_unit_test(test_join_list_is_full_at_its_end),
        cmocka_unit_test(test_wrong_arguments),
        cmocka_unit_test(test_long_arguments),
        cmocka_unit_test(test_actions),
        cmocka_unit_test(test_help_in_a_bad_environment),
        cmocka_unit_test(test_each_command_is_carried_out_by_its_own),
        cmocka_unit_test(test_help_fits_a_screen),
        cmocka_unit_test(test_help_names_every_option),
        cmocka_unit_test(test_frontends_have_the_shared_options),
        cmocka_unit_test(test_frontends_allow_private_networks),
        cmocka_unit_test(test_options_of_another_role),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_bad_words),
        cmocka_unit_test(test_options_that_stand_alone),
        cmocka_unit_test(test_clusters_of_the_command_line),
        cmocka_unit_test(test_clusters_of_a_move),
        cmocka_unit_test(test_cluster_lists_are_full_at_their_ends),
        cmocka_unit_test(test_names_of_clusters_fill_their_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
