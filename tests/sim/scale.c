/* The command line, and the life of all processes. */
#include "scale.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/route.h"

enum {
    SECOND = 1000 * 1000,
    LATENCY_US_MIN = 50, /* one way */
    LATENCY_US_MAX = 150,
    PIPE_BYTES = 256 * 1024,
    TURN_US_MAX = 10,
    PROCESSES_MAX = 65000, /* each has an address of its own */
};

/* A network of one building, and machines that are not busy. */
static void faults_none(struct faults *faults)
{
    faults_end(faults);
    faults->latency_us_min = LATENCY_US_MIN;
    faults->latency_us_max = LATENCY_US_MAX;
    faults->pipe_bytes_min = faults->pipe_bytes_max = PIPE_BYTES;
    faults->turn_us_max = TURN_US_MAX;
}

static void limits_default(struct limits *limits)
{
    *limits = (struct limits){
        .idle_us = 3600ULL * SECOND,
        .request_us = 30 * SECOND,
        .stall_us = 120 * SECOND,
        .drain_us = 10 * SECOND,
        .grace_us = 86400ULL * SECOND,
        .forget_us = 86400ULL * SECOND,
        .value_max = 1024ULL * 1024,
        .connections_max = 65000,
    };
}

static void *allocate(size_t count, size_t bytes)
{
    void *memory = calloc(count + 1, bytes);
    if (!memory)
        abort();
    return memory;
}

/* Processes */

static unsigned number_of(const struct scale_process *process)
{
    return (unsigned)(process - process->scale->processes);
}

void scale_boot_node(struct scale *scale, struct scale_process *process)
{
    struct node_config config = process_config(&scale->limits);
    const struct frontend_cluster *fellows = &scale->clusters[process->partition];
    config.join_count = fellows->seed_count;
    memcpy(config.joins, fellows->seeds, fellows->seed_count * sizeof(const char *));
    config.partition = process->partition;
    config.partitions = scale->options.partitions;
    process_boot(&process->process, &scale->cables, &config, number_of(process), 0);
    scale_meter(process);
    process->running = true;
}

void scale_boot_frontend(struct scale *scale, struct scale_process *process)
{
    struct frontend_config config = {
        .server = process_config(&scale->limits).server,
        .clusters = scale->clusters,
        .cluster_count = scale->options.partitions,
        .value_max = scale->limits.value_max,
        .drain_us = scale->limits.drain_us,
    };
    process_boot_frontend(&process->process, &scale->cables, &config, number_of(process), 0);
    scale_meter(process);
    process->running = true;
}

void scale_end(struct scale_process *process)
{
    if (process->running)
        process_end(&process->process);
    process->running = false;
}

static void processes_make(struct scale *scale)
{
    const struct scale_options *options = &scale->options;
    scale->node_count = options->partitions * options->nodes;
    scale->process_count = scale->node_count + options->frontends + 1;
    scale->processes = allocate(scale->process_count, sizeof *scale->processes);
    for (unsigned i = 0; i < scale->process_count; i++) {
        struct scale_process *process = &scale->processes[i];
        process->scale = scale;
        bool is_frontend = i >= scale->node_count && i + 1 < scale->process_count;
        process->role = is_frontend ? SCALE_FRONTEND : SCALE_NODE;
        process->partition = i < scale->node_count ? i / options->nodes : 0;
        process_host(&process->process, &scale->cables, i);
    }
}

/* What nodes are told to join, and front-ends of each partition: the first nodes of it. */
static void seeds_make(struct scale *scale)
{
    unsigned each = scale_seed_count(scale), partitions = scale->options.partitions;
    scale->seed_texts = allocate((size_t)partitions * each, sizeof *scale->seed_texts);
    scale->seeds = allocate((size_t)partitions * each, sizeof *scale->seeds);
    scale->clusters = allocate(partitions, sizeof *scale->clusters);
    for (unsigned p = 0; p < partitions; p++) {
        for (unsigned i = 0; i < each; i++)
            scale->seeds[p * each + i] = address_format(&scale_node(scale, p, i)->process.address,
                                                        scale->seed_texts[p * each + i]);
        scale->clusters[p] = (struct frontend_cluster){&scale->seeds[p * each], each};
    }
}

static unsigned partition_of(const struct scale *scale, uint32_t key)
{
    char room[SCALE_KEY_BYTES_MAX];
    return route_partition(scale->route, scale_key(key, room));
}

/* Sorts all keys by partition. */
static void keys_make(struct scale *scale)
{
    unsigned partitions = scale->options.partitions;
    uint32_t count = (uint32_t)scale->options.keys;
    scale->route = route_new(partitions);
    scale->keys = allocate(count, sizeof *scale->keys);
    scale->key_first = allocate(partitions, sizeof *scale->key_first);
    scale->key_count = allocate(partitions, sizeof *scale->key_count);
    uint32_t *home = allocate(count, sizeof *home);
    for (uint32_t key = 0; key < count; key++)
        scale->key_count[home[key] = partition_of(scale, key)]++;
    for (unsigned p = 1; p < partitions; p++)
        scale->key_first[p] = scale->key_first[p - 1] + scale->key_count[p - 1];
    unsigned *next = allocate(partitions, sizeof *next);
    for (uint32_t key = 0; key < count; key++)
        scale->keys[scale->key_first[home[key]] + next[home[key]]++] = key;
    free(next);
    free(home);
}

static void clients_make(struct scale *scale)
{
    const struct scale_options *options = &scale->options;
    scale->client_count =
        options->partitions > options->frontends ? options->partitions : options->frontends;
    scale->clients = allocate(scale->client_count, sizeof *scale->clients);
    for (unsigned i = 0; i < scale->client_count; i++)
        scale_client_init(&scale->clients[i], scale, i);
}

static void begin(struct scale *scale)
{
    world_init(&scale->world, scale->options.seed, scale->options.trace, MUTANT_NONE);
    scale->world.events_max = UINT64_MAX;
    rng_seed(&scale->rng, scale->options.seed, 0x7363616c65);
    faults_none(&scale->faults);
    limits_default(&scale->limits);
    cables_init(&scale->cables, &scale->world, &scale->faults);
    processes_make(scale);
    seeds_make(scale);
    keys_make(scale);
    clients_make(scale);
}

static void end(struct scale *scale)
{
    for (unsigned i = 0; i < scale->client_count; i++)
        scale_client_free(&scale->clients[i]);
    for (unsigned i = 0; i < scale->process_count; i++)
        scale_end(&scale->processes[i]);
    cables_free(&scale->cables);
    world_free(&scale->world);
    route_destroy(scale->route);
    free(scale->clients);
    free(scale->keys);
    free(scale->key_first);
    free(scale->key_count);
    free(scale->clusters);
    free(scale->seeds);
    free(scale->seed_texts);
    free(scale->processes);
}

/* The command line */

static int usage(void)
{
    fprintf(stderr,
            "usage: sim --scale PxN [option]…: P partitions of N nodes\n"
            "  --frontends F      before them (1)\n"
            "  --keys K           that there are (10000)\n"
            "  --value-bytes B    of each (100)\n"
            "  --writes W         one after the other, and ten times as many at once (200)\n"
            "  --differing D      keys that one node has missed; repeatable (100)\n"
            "  --idle S           seconds in which nothing is asked for (5)\n"
            "  --seed S           of the way that each message takes (1)\n"
            "  --trace            told line by line\n");
    return 2;
}

static bool number_parse(const char *text, uint64_t least, uint64_t most, uint64_t *number)
{
    char *rest;
    if (!text || *text < '0' || *text > '9')
        return false;
    *number = strtoull(text, &rest, 10);
    return *rest == 0 && *number >= least && *number <= most;
}

static bool size_parse(const char *text, struct scale_options *options)
{
    int used = 0;
    if (!text || text[strspn(text, "0123456789x")] || /* sscanf takes signs and blanks */
        sscanf(text, "%5ux%5u%n", &options->partitions, &options->nodes, &used) != 2)
        return false;
    return text[used] == 0 && options->partitions >= 1 &&
           options->partitions <= FRONTEND_CLUSTERS_MAX && options->nodes >= 2;
}

/* Reads an option that takes a number. Returns whether there was one. */
static bool option_parse(struct scale_options *options, const char *word, const char *next)
{
    uint64_t number = 0;
    if (strcmp(word, "--frontends") == 0 && number_parse(next, 1, 1000, &number))
        options->frontends = (unsigned)number;
    else if (strcmp(word, "--keys") == 0)
        return number_parse(next, 1, UINT32_MAX / 2, &options->keys);
    else if (strcmp(word, "--value-bytes") == 0)
        return number_parse(next, SCALE_MARK_BYTES, 64 * 1024, &options->value_bytes);
    else if (strcmp(word, "--writes") == 0)
        return number_parse(next, 1, 100000, &options->writes);
    else if (strcmp(word, "--idle") == 0)
        return number_parse(next, 1, 3600, &options->idle_seconds);
    else if (strcmp(word, "--seed") == 0)
        return number_parse(next, 0, UINT64_MAX, &options->seed);
    else if (strcmp(word, "--differing") == 0 && options->differing_count < SCALE_DIFFERING_MAX &&
             number_parse(next, 1, UINT32_MAX / 2, &number))
        options->differing[options->differing_count++] = number;
    return number > 0;
}

int scale_main(int count, char **words)
{
    static struct scale scale;
    scale.options = (struct scale_options){
        .frontends = 1,
        .keys = 10000,
        .value_bytes = 100,
        .writes = 200,
        .idle_seconds = 5,
        .seed = 1,
    };
    if (count < 1 || !size_parse(words[0], &scale.options))
        return usage();
    for (int i = 1; i < count; i++) {
        if (strcmp(words[i], "--trace") == 0)
            scale.options.trace = true;
        else if (i + 1 < count && option_parse(&scale.options, words[i], words[i + 1]))
            i++;
        else
            return usage();
    }
    if (scale.options.differing_count == 0)
        scale.options.differing[scale.options.differing_count++] = 100;
    if (scale.options.partitions * scale.options.nodes + scale.options.frontends > PROCESSES_MAX)
        return usage();
    begin(&scale);
    scale_story(&scale);
    end(&scale);
    printf("%u passed, %u failed\n", scale.passed, scale.failed);
    return scale.failed ? 1 : 0;
}
