/* What happens, phase by phase: each is measured, and told as one line of JSON. */
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "role/cluster_state.h"
#include "role/node_state.h"
#include "scale.h"

enum {
    MS = 1000,
    SECOND = 1000 * 1000,
    START_US = 100 * MS, /* all nodes are started within it, and then all front-ends */
    LOOK_US = 5 * MS,    /* between two looks whether all know, where looking takes long */
    LIMIT_US = 120 * SECOND,
    SETTLE_US = 2 * SECOND, /* until the last phase is over for all */
    FILL_DEPTH = 64,
    BURST_DEPTH = 32,
    BURST_WRITES = 10, /* times as many at once as one after the other */
    START_HELLOS = 4,  /* at most from each node to each of its partition, until all know all */
    CUT_US = 8 * SECOND,
    CUT_WRITE_US = 5 * SECOND, /* after the cut began: all know of it by then */
};

typedef unsigned long long ull;

/* Time */

static void on_alarm(struct world_event *event)
{
    (void)event; /* it is there so that time stands still at that moment */
}

static void pass_time(struct scale *scale, uint64_t us)
{
    struct world_event alarm = {.run = on_alarm};
    uint64_t until_us = scale->world.now_us + us;
    world_event_set(&scale->world, &alarm, until_us);
    while (scale->world.now_us < until_us && world_step(&scale->world))
        ;
    world_event_clear(&scale->world, &alarm);
}

/* Something that becomes true. */
struct goal {
    bool (*is_so)(struct scale *scale);
    const char *what;
    uint64_t after_us;        /* how long that took */
    struct scale_flow hellos; /* until then, of the nodes of the first partition */
};

/* Goes on until all of them have been true, and looks every so often. */
static void await(struct scale *scale, struct goal *goals, unsigned count, uint64_t every_us)
{
    uint64_t begun_us = scale->world.now_us;
    scale->looked = 0;
    for (unsigned left = count; left > 0 && !scale->world.failed;) {
        left = 0;
        for (unsigned i = 0; i < count; i++) {
            if (!goals[i].after_us && goals[i].is_so(scale)) {
                goals[i].after_us = scale->world.now_us - begun_us + 1;
                goals[i].hellos = scale_sum(scale, SCALE_NODE, 0).flows[SCALE_HELLO];
            }
            left += !goals[i].after_us;
            if (!goals[i].after_us && scale->world.now_us > begun_us + LIMIT_US)
                world_fail(&scale->world, "not within %d s: %s", LIMIT_US / SECOND, goals[i].what);
        }
        if (left)
            pass_time(scale, every_us);
    }
}

static uint64_t await_one(struct scale *scale, bool (*is_so)(struct scale *), const char *what,
                          uint64_t every_us)
{
    struct goal goal = {.is_so = is_so, .what = what};
    await(scale, &goal, 1, every_us);
    return goal.after_us;
}

/* Checks */

static void check(struct scale *scale, bool is_so, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void check(struct scale *scale, bool is_so, const char *format, ...)
{
    scale->passed += is_so;
    scale->failed += !is_so;
    if (is_so)
        return;
    va_list arguments;
    va_start(arguments, format);
    printf("not ok ");
    vprintf(format, arguments);
    putchar('\n');
    va_end(arguments);
}

/* Phases */

struct phase {
    const char *name;
    unsigned partition; /* whose nodes are told of; UINT_MAX: of all */
    uint64_t begun_us;
    struct scale_tally before[SCALE_ROLES], took[SCALE_ROLES];
    struct bytes extra; /* ,"name":value… */
};

static struct scale_tally sum(const struct scale *scale, const struct phase *phase,
                              enum scale_role role)
{
    return scale_sum(scale, role, role == SCALE_FRONTEND ? UINT_MAX : phase->partition);
}

static void phase_begin(struct scale *scale, struct phase *phase, const char *name,
                        unsigned partition)
{
    *phase = (struct phase){.name = name, .partition = partition, .begun_us = scale->world.now_us};
    for (enum scale_role role = 0; role < SCALE_ROLES; role++)
        phase->before[role] = sum(scale, phase, role);
}

static void add(struct phase *phase, const char *name, uint64_t value)
{
    bytes_print(&phase->extra, ",\"%s\":%llu", name, (ull)value);
}

static void add_of(struct phase *phase, const char *whom, const char *what, uint64_t value)
{
    char name[40];
    snprintf(name, sizeof name, "%s_%s", whom, what);
    add(phase, name, value);
}

static void tell_tally(const char *name, const struct scale_tally *tally)
{
    printf(",\"%s\":{\"cpu_us\":%llu,\"turns\":%llu", name, (ull)tally->cpu_ns / 1000,
           (ull)tally->turns);
    for (enum scale_way way = 0; way < SCALE_WAYS; way++) {
        const struct scale_flow *flow = &tally->flows[way];
        if (flow->sends || flow->taken)
            printf(",\"%s\":{\"requests\":%llu,\"sends\":%llu,\"packets\":%llu,\"bytes\":%llu,"
                   "\"taken\":%llu}",
                   scale_way_names[way], (ull)flow->requests, (ull)flow->sends, (ull)flow->packets,
                   (ull)flow->bytes, (ull)flow->taken);
    }
    putchar('}');
}

static void phase_end(struct scale *scale, struct phase *phase)
{
    static const char *const names[SCALE_ROLES] = {"node", "frontend"};
    const struct scale_options *options = &scale->options;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("{\"phase\":\"%s\",\"partitions\":%u,\"nodes\":%u,\"frontends\":%u,\"keys\":%llu,"
           "\"value_bytes\":%llu,\"us\":%llu",
           phase->name, options->partitions, options->nodes, options->frontends, (ull)options->keys,
           (ull)options->value_bytes, (ull)(scale->world.now_us - phase->begun_us));
    for (enum scale_role role = 0; role < SCALE_ROLES; role++) {
        struct scale_tally now = sum(scale, phase, role);
        phase->took[role] = scale_since(&phase->before[role], &now);
        tell_tally(names[role], &phase->took[role]);
    }
    printf("%.*s,\"simulator_kb\":%ld}\n", (int)phase->extra.len,
           phase->extra.data ? phase->extra.data : "", usage.ru_maxrss);
    fflush(stdout);
    bytes_free(&phase->extra);
}

static const struct scale_flow *flow(const struct phase *phase, enum scale_role role,
                                     enum scale_way way)
{
    return &phase->took[role].flows[way];
}

/* The beginning */

static void start_nodes(struct scale *scale)
{
    struct phase phase;
    phase_begin(scale, &phase, "start", UINT_MAX);
    for (unsigned i = 0; i < scale->node_count; i++) {
        scale_boot_node(scale, &scale->processes[i]);
        pass_time(scale, START_US / scale->node_count);
    }
    await_one(scale, scale_nodes_are_well, "all nodes are ready and know each other", LOOK_US);
    add(&phase, "well_us", scale->world.now_us - phase.begun_us);
    phase_end(scale, &phase);
    uint64_t hellos = flow(&phase, SCALE_NODE, SCALE_HELLO)->requests;
    uint64_t pairs = (uint64_t)scale->node_count * scale->options.nodes;
    check(scale, hellos <= START_HELLOS * pairs, "%llu hellos until %u nodes know each other",
          (ull)hellos, scale->node_count);
}

static uint64_t heap_bytes(struct scale *scale)
{
    uint64_t bytes = 0;
    for (unsigned i = 0; i < scale->node_count; i++)
        bytes += heap_resident(store_heap(scale->processes[i].process.node->store));
    return bytes;
}

/* Each partition's keys through one of its nodes. */
static void fill(struct scale *scale)
{
    struct phase phase;
    unsigned each = scale->options.nodes - 1;
    phase_begin(scale, &phase, "fill", UINT_MAX);
    for (unsigned p = 0; p < scale->options.partitions; p++)
        scale_client_write(&scale->clients[p],
                           &scale_node(scale, p, p % scale->options.nodes)->process.address,
                           &scale->keys[scale->key_first[p]], scale->key_count[p], FILL_DEPTH);
    add(&phase, "written_us", await_one(scale, scale_clients_are_done, "all keys are written", MS));
    add(&phase, "agree_us", await_one(scale, scale_nodes_agree, "all nodes have all keys", MS));
    add(&phase, "heap_bytes", heap_bytes(scale));
    phase_end(scale, &phase);
    uint64_t bytes = scale->options.keys * each * scale->options.value_bytes;
    check(scale, flow(&phase, SCALE_NODE, SCALE_PUSH)->taken >= bytes,
          "keys reach the other nodes by push");
    check(scale, flow(&phase, SCALE_NODE, SCALE_PUSH)->requests <= scale->options.keys * each,
          "no more than one push for each write and fellow");
}

static void start_frontends(struct scale *scale)
{
    struct phase phase;
    uint64_t connections = 0;
    phase_begin(scale, &phase, "frontends", UINT_MAX);
    for (unsigned i = 0; i < scale->options.frontends; i++) {
        scale_boot_frontend(scale, scale_frontend(scale, i));
        pass_time(scale, START_US / scale->options.frontends);
    }
    await_one(scale, scale_frontends_know_all, "all front-ends can use all nodes", LOOK_US);
    add(&phase, "know_us", scale->world.now_us - phase.begun_us);
    pass_time(scale, SETTLE_US + SECOND); /* of the two that are for all, one is made anew once */
    for (unsigned i = 0; i < scale->options.frontends; i++)
        connections += io_sim_connections(&scale_frontend(scale, i)->process.io);
    add(&phase, "connections", connections);
    phase_end(scale, &phase);
    check(scale, connections == 3ULL * scale->options.frontends * scale->node_count,
          "three connections from each front-end to each node, not %llu in all", (ull)connections);
}

/* Idle */

static void check_hellos(struct scale *scale, const struct phase *phase)
{
    uint64_t pairs = (uint64_t)scale->node_count * (scale->options.nodes - 1);
    double hellos = (double)flow(phase, SCALE_NODE, SCALE_HELLO)->requests / (double)pairs /
                    (double)scale->options.idle_seconds;
    check(scale, hellos > 1.5 && hellos < 2.2,
          "a node says hello %.2f times a second to each other", hellos);
    for (enum scale_way way = SCALE_PUSH; way <= SCALE_COPY; way++)
        check(scale, flow(phase, SCALE_NODE, way)->sends == 0, "nodes that are idle have no %s",
              scale_way_names[way]);
}

static void idle(struct scale *scale, const char *name)
{
    struct phase phase;
    phase_begin(scale, &phase, name, UINT_MAX);
    pass_time(scale, scale->options.idle_seconds * SECOND);
    phase_end(scale, &phase);
    check_hellos(scale, &phase);
    if (!scale_frontend(scale, 0)->running)
        return;
    uint64_t pairs = (uint64_t)scale->node_count * scale->options.frontends;
    double asked = (double)flow(&phase, SCALE_FRONTEND, SCALE_ASK)->requests / (double)pairs /
                   (double)scale->options.idle_seconds;
    check(scale, asked > 6 && asked < 9,
          "a front-end asks each node %.2f things a second, whether it is ready and whom it knows",
          asked);
}

/* Writes */

static int number_order(const void *a, const void *b)
{
    uint64_t one = *(const uint64_t *)a, other = *(const uint64_t *)b;
    return one < other ? -1 : one > other;
}

static void add_spread(struct phase *phase, const char *name, uint64_t *values, uint64_t count)
{
    qsort(values, count, sizeof *values, number_order);
    add_of(phase, name, "p50_us", values[count / 2]);
    add_of(phase, name, "p99_us", values[count * 99 / 100]);
}

static unsigned partition_of(const struct scale *scale, unsigned at)
{
    unsigned low = 0, high = scale->options.partitions - 1;
    while (low < high) {
        unsigned middle = (low + high + 1) / 2;
        if (scale->key_first[middle] <= at)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

/* A write through a front-end, until all nodes of its partition have it. */
static void write_one(struct scale *scale, unsigned frontend, uint64_t *answered_us,
                      uint64_t *everywhere_us)
{
    struct scale_watched *watched = &scale->watched;
    unsigned at = (unsigned)rng_below(&scale->rng, scale->options.keys);
    uint64_t begun_us = scale->world.now_us;
    *watched = (struct scale_watched){.on = true, .partition = partition_of(scale, at)};
    scale_key(scale->keys[at], watched->key);
    scale_mark(scale->write_number + 1, watched->mark);
    scale_client_write(&scale->clients[frontend], &scale_frontend(scale, frontend)->process.address,
                       &scale->keys[at], 1, 1);
    while ((watched->on || !scale_client_is_done(&scale->clients[frontend])) &&
           scale->world.now_us < begun_us + LIMIT_US && world_step(&scale->world))
        ;
    if (watched->on)
        world_fail(&scale->world, "a write does not come to all nodes");
    *answered_us = scale->clients[frontend].answered_us - begun_us;
    *everywhere_us = watched->everywhere_us - begun_us;
    pass_time(scale, MS);
}

static void write_alone(struct scale *scale)
{
    struct phase phase;
    uint64_t count = scale->options.writes, *answered = calloc(count, sizeof *answered);
    uint64_t *everywhere = calloc(count, sizeof *everywhere);
    if (!answered || !everywhere)
        abort();
    for (unsigned i = 0; i < scale->options.frontends; i++) /* connects */
        write_one(scale, i, answered, everywhere);
    phase_begin(scale, &phase, "writes", UINT_MAX);
    for (unsigned i = 0, frontend = 0; i < count; i++) {
        write_one(scale, frontend, &answered[i], &everywhere[i]);
        frontend = frontend + 1 < scale->options.frontends ? frontend + 1 : 0;
    }
    add(&phase, "writes", count);
    add_spread(&phase, "answered", answered, count);
    add_spread(&phase, "everywhere", everywhere, count);
    free(answered);
    free(everywhere);
    phase_end(scale, &phase);
    check(scale, flow(&phase, SCALE_FRONTEND, SCALE_RELAY)->requests == count,
          "a front-end passes each of %llu writes on once", (ull)count);
    check(scale,
          flow(&phase, SCALE_NODE, SCALE_PUSH)->requests == count * (scale->options.nodes - 1),
          "a write alone is pushed once to each fellow");
}

/* Many at once: what comes to a node at one time is told to the others together. */
static void write_at_once(struct scale *scale)
{
    struct phase phase;
    unsigned frontends = scale->options.frontends;
    unsigned each = (unsigned)(scale->options.writes * BURST_WRITES / frontends + 1);
    unsigned count = each * frontends;
    uint32_t *keys = calloc(count, sizeof *keys);
    if (!keys)
        abort();
    for (unsigned i = 0; i < count; i++)
        keys[i] = scale->keys[rng_below(&scale->rng, scale->options.keys)];
    phase_begin(scale, &phase, "burst", UINT_MAX);
    for (unsigned i = 0; i < frontends; i++)
        scale_client_write(&scale->clients[i], &scale_frontend(scale, i)->process.address,
                           keys + (size_t)i * each, each, BURST_DEPTH);
    add(&phase, "writes", count);
    add(&phase, "written_us", await_one(scale, scale_clients_are_done, "all is written", MS));
    add(&phase, "agree_us", await_one(scale, scale_nodes_agree, "all nodes have it", MS));
    phase_end(scale, &phase);
    free(keys);
    check(scale,
          flow(&phase, SCALE_NODE, SCALE_PUSH)->requests <=
              (uint64_t)count * (scale->options.nodes - 1),
          "writes at once are pushed no more often than alone");
}

/* Repair */

/* Records that members of a partition have given each other in repairs, so far. */
static uint64_t repaired(struct scale *scale, unsigned partition)
{
    uint64_t records = 0;
    for (unsigned i = 0; i < scale->options.nodes; i++) {
        const struct cluster_counters *counters =
            cluster_counters(scale_node(scale, partition, i)->process.node->cluster);
        records += counters->repair_pulled + counters->repair_pushed;
    }
    return records;
}

/* The last node of the first partition is cut off from all while some of its keys are written. */
static void repair(struct scale *scale, uint64_t differing)
{
    struct phase phase;
    struct scale_process *lost = scale_node(scale, 0, scale->options.nodes - 1);
    uint64_t until_us = scale->world.now_us + CUT_US;
    unsigned count = differing < scale->key_count[0] ? (unsigned)differing : scale->key_count[0];
    scale->subject = scale->options.nodes - 1;
    cable_host_cut(&scale->cables, &lost->process.host, until_us);
    pass_time(scale, CUT_WRITE_US);
    scale_client_write(&scale->clients[0], &scale_node(scale, 0, 0)->process.address, scale->keys,
                       count, FILL_DEPTH);
    await_one(scale, scale_clients_are_done, "the others take writes", MS);
    pass_time(scale, until_us > scale->world.now_us ? until_us - scale->world.now_us : 0);
    uint64_t before = repaired(scale, 0);
    phase_begin(scale, &phase, "repair", 0);
    add(&phase, "agree_us",
        await_one(scale, scale_subject_agrees, "the node that was cut off has all", MS));
    uint64_t records = repaired(scale, 0) - before;
    add(&phase, "differing", count);
    add(&phase, "of_keys", scale->key_count[0]);
    add(&phase, "records", records);
    phase_end(scale, &phase);
    check(scale, records >= count && records <= 2ULL * count,
          "%u keys that one node has missed are told it once, not %llu", count, (ull)records);
    pass_time(scale, SETTLE_US);
}

/* Members */

static void tell_membership(struct scale *scale, const char *name, void (*change)(struct scale *),
                            struct goal *goals, unsigned count)
{
    struct phase phase;
    phase_begin(scale, &phase, name, 0);
    change(scale);
    await(scale, goals, count, MS);
    for (unsigned i = 0; i < count; i++) {
        const struct scale_flow *before = &phase.before[SCALE_NODE].flows[SCALE_HELLO];
        add_of(&phase, goals[i].what, "us", goals[i].after_us);
        add_of(&phase, goals[i].what, "hellos", goals[i].hellos.requests - before->requests);
        add_of(&phase, goals[i].what, "hello_bytes", goals[i].hellos.bytes - before->bytes);
    }
    phase_end(scale, &phase);
    pass_time(scale, SETTLE_US);
}

static void kill_process(struct scale *scale)
{
    scale_end(&scale->processes[scale->subject]);
}

static void cut_for_good(struct scale *scale)
{
    cable_host_cut(&scale->cables, &scale->processes[scale->subject].process.host, UINT64_MAX);
}

static void boot(struct scale *scale)
{
    scale_boot_node(scale, &scale->processes[scale->subject]);
}

/* One node more comes; another one's process is killed; the machine of the new one falls silent. */
static void change_members(struct scale *scale)
{
    struct goal gone[] = {{.is_so = scale_fellows_miss_subject, .what = "fellows"},
                          {.is_so = scale_frontends_shun_subject, .what = "frontends"}};
    struct goal silent[] = {{.is_so = scale_fellows_miss_subject, .what = "fellows"},
                            {.is_so = scale_frontends_shun_subject, .what = "frontends"}};
    struct goal here[] = {{.is_so = scale_fellows_know_subject, .what = "fellows"},
                          {.is_so = scale_subject_is_ready, .what = "ready"},
                          {.is_so = scale_frontends_use_subject, .what = "frontends"}};
    scale->subject = scale->process_count - 1;
    tell_membership(scale, "join", boot, here, 3);
    scale->subject = scale->options.nodes - 1;
    tell_membership(scale, "crash", kill_process, gone, 2);
    scale->subject = scale->process_count - 1;
    tell_membership(scale, "silence", cut_for_good, silent, 2);
    check(scale, gone[0].after_us < SECOND / 2 && gone[1].after_us < SECOND / 2,
          "all hear of a process that ends");
    check(scale, silent[0].after_us < 4 * SECOND && silent[1].after_us < 2 * SECOND,
          "all notice a machine that is silent");
    check(scale, here[2].after_us < 10 * SECOND, "a newcomer is used soon");
}

void scale_story(struct scale *scale)
{
    start_nodes(scale);
    fill(scale);
    pass_time(scale, SETTLE_US);
    idle(scale, "idle-nodes");
    start_frontends(scale);
    idle(scale, "idle");
    write_alone(scale);
    write_at_once(scale);
    pass_time(scale, SETTLE_US);
    for (unsigned i = 0; i < scale->options.differing_count && !scale->world.failed; i++)
        repair(scale, scale->options.differing[i]);
    if (!scale->world.failed)
        change_members(scale);
    check(scale, !scale->world.failed, "%s", scale->world.failure);
}
