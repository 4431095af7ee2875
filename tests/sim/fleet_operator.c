/* An operator, in some of the seeds. While clients go on and things go wrong he asks how all is, what two nodes do not agree on, and
 * saves what there is; and he loses patience, or his terminal. When all is quiet he stops a node and wants to be told, saves
 * everything, restores it where it is, and then into nodes that have lost everything.
 *
 * One command runs at a time, as a process of its own. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json_read.h"
#include "data/record.h"
#include "fleet.h"

enum {
    SECOND = 1000 * 1000,
    LOOK_US = SECOND / 10,
    STATUS_US_MAX = 60 * SECOND, /* whatever goes wrong, it has ended by then */
    QUIET_US_MAX = 90 * SECOND,  /* the same of the others, when nothing does */
    SOUND_US = 5 * SECOND,       /* after it, who is well is known to be */
    NOTICED_US = 15 * SECOND,    /* after it, who is down is known to be */
    TRIES = 10,                  /* as what expires does so on one node after the other */
    HIRED_PPM = 150000,
};

static struct fleet *of_operator(struct fleet_operator *op)
{
    return (struct fleet *)((char *)op - offsetof(struct fleet, op));
}

static struct fleet_process *process_of(struct fleet *fleet)
{
    return &fleet->processes[FLEET_OPERATOR];
}

static bool chance(struct fleet *fleet, uint32_t ppm)
{
    return rng_chance(&fleet->op.rng, ppm);
}

/* Running a command */

static const char *name_of(enum config_role role)
{
    return role == CONFIG_STATUS   ? "status"
           : role == CONFIG_DIFF   ? "diff"
           : role == CONFIG_BACKUP ? "backup"
                                   : "restore";
}

/* It may have said its last word long before its process is taken down. */
static void on_stopped(struct process *process)
{
    struct fleet_process *own =
        (struct fleet_process *)((char *)process - offsetof(struct fleet_process, process));
    struct fleet *fleet =
        (struct fleet *)((char *)(own - FLEET_OPERATOR) - offsetof(struct fleet, processes));
    struct fleet_operator *op = &fleet->op;
    if (op->over)
        return;
    op->over = true;
    op->exit = process->command.exit;
    memcpy(op->failure, process->command.failure, sizeof op->failure);
    bytes_free(&op->said);
    op->said = process->said;
    process->said = (struct bytes){0};
    bytes_add(&op->said, "", 1); /* ends it */
}

void fleet_operator_boot(struct fleet *fleet, struct fleet_process *process)
{
    const struct fleet_operator *op = &fleet->op;
    struct cli *cli =
        cli_new(&fleet->world, fleet_lot(process->number) + (uint64_t)1000 * ++process->boots,
                name_of(op->role));
    cli_word(cli, op->words[0]);
    if (op->role != CONFIG_STATUS)
        cli_word(cli, op->words[1]);
    if (op->json)
        cli_flag(cli, "json");
    if (op->watch)
        cli_flag(cli, "watch");
    if (op->watch)
        cli_option(cli, "interval", "1h", "700ms");
    if (op->resume)
        cli_flag(cli, "resume");
    if (op->rate)
        cli_option(cli, "rate", "1", "%lluK", (unsigned long long)op->rate);
    if (op->limit)
        cli_option(cli, "limit", "1", "%llu", (unsigned long long)op->limit);
    cli->terminal = op->terminal;
    process_boot_cli(&process->process, &fleet->cables, cli, process->host_number, process->boots);
    process->process.on_stopped = on_stopped;
    if (process->process.loop.stopped)
        on_stopped(&process->process);
}

static void run(struct fleet *fleet, enum config_role role)
{
    struct fleet_operator *op = &fleet->op;
    uint64_t now_us = fleet->world.now_us;
    op->role = role;
    op->json = op->watch = op->resume = false;
    op->limit = op->rate = 0;
    op->terminal = chance(fleet, 300000);
    op->run_us = now_us;
    op->kill_us = 0;
    op->running = true;
    op->over = op->interrupted = false;
    fleet_start_at(fleet, process_of(fleet), now_us);
}

/* Its process goes; it is killed if it has not ended. */
static void end_run(struct fleet *fleet)
{
    struct fleet_operator *op = &fleet->op;
    struct fleet_process *process = process_of(fleet);
    process->start_us = 0;
    if (process->running)
        fleet_kill(fleet, process);
    if (!op->over && op->role == CONFIG_BACKUP)
        fleet_archive_tear(fleet);
    op->running = false;
}

/* Whom to ask: a front-end that knows what it does, or a node of side 0 (of the other one, when that is left alone). */
static struct fleet_process *somebody(struct fleet *fleet, bool frontends)
{
    struct fleet_operator *op = &fleet->op;
    for (unsigned tries = 0; tries < 100; tries++) {
        unsigned c = (unsigned)rng_below(&op->rng, fleet->cluster_count);
        unsigned n = (unsigned)rng_below(&op->rng, fleet->cluster_size[c]);
        unsigned f = (unsigned)rng_below(&op->rng, fleet->frontend_count);
        struct fleet_process *frontend = fleet_frontend(fleet, f);
        if (frontends && !frontend->wrong)
            return frontend;
        if (!frontends && !fleet_is_retired(fleet, c))
            return &fleet->processes[c * FLEET_CLUSTER_MAX + n];
    }
    return fleet_frontend(fleet, 0);
}

static void name_word(struct fleet *fleet, unsigned i, const struct fleet_process *process)
{
    const uint8_t *ip = process->process.address.ip + 12;
    snprintf(fleet->op.words[i], sizeof fleet->op.words[i], "%u.%u.%u.%u:%d", ip[0], ip[1], ip[2],
             ip[3], PROCESS_PORT);
}

static void run_status(struct fleet *fleet, const struct fleet_process *asked)
{
    struct fleet_operator *op = &fleet->op;
    run(fleet, CONFIG_STATUS);
    name_word(fleet, 0, asked);
    op->json = chance(fleet, 500000);
}

static void run_diff(struct fleet *fleet, const struct fleet_process *a,
                     const struct fleet_process *b)
{
    run(fleet, CONFIG_DIFF);
    name_word(fleet, 0, a);
    name_word(fleet, 1, b);
}

static void run_backup(struct fleet *fleet, const struct fleet_process *asked, bool quiet)
{
    struct fleet_operator *op = &fleet->op;
    bool resume = !asked;
    run(fleet, CONFIG_BACKUP);
    if (!resume)
        name_word(fleet, 0, asked);
    fleet_archive_path(fleet, op->words[1]);
    op->resume = resume;
    op->rate = chance(fleet, 300000) ? rng_spread(&op->rng, 1000, 100000) : 0;
    if (!resume)
        fleet_archive_expect(fleet, quiet);
    op->saving = true;
}

static void run_restore(struct fleet *fleet, bool resume)
{
    struct fleet_operator *op = &fleet->op;
    run(fleet, CONFIG_RESTORE);
    fleet_archive_path(fleet, op->words[1]);
    op->resume = resume;
    op->rate = chance(fleet, 300000) ? rng_spread(&op->rng, 1000, 100000) : 0;
}

/* Judging */

static void wrong(struct fleet *fleet, const char *what)
{
    const struct fleet_operator *op = &fleet->op;
    for (char *at = op->said.data; at && *at; at++)
        *at = *at == '\n' ? ' ' : *at;
    world_fail(&fleet->world, "velour-fog %s of %s %s (exit code %d): %.300s%.300s",
               name_of(op->role), op->words[0], what, (int)op->exit, op->failure, op->said.data);
}

static bool says(const struct fleet *fleet, const char *text)
{
    return strstr(fleet->op.said.data, text);
}

static const struct fleet_process *node_of_lot(const struct fleet *fleet, unsigned lot)
{
    for (unsigned place = 0; place < FLEET_NODES_MAX; place++)
        if (fleet_lot(place) == lot)
            return &fleet->processes[place];
    return NULL;
}

/* A node may be called ready if it was there since the question, down if anything has been wrong with its cluster. */
static void judge_member(struct fleet *fleet, struct slice member)
{
    struct slice address, state;
    char text[64], name[32];
    unsigned last;
    bool named = json_find(member, "address", &address) && json_find(member, "state", &state) &&
                 sscanf(json_to_string(address, text, sizeof text), "10.0.0.%u:", &last) == 1;
    if (named && last == FLEET_NOBODY + 1)
        return;
    const struct fleet_process *node = named && last > 0 ? node_of_lot(fleet, last - 1) : NULL;
    if (!node) {
        wrong(fleet, "names somebody whom nobody knows");
        return;
    }
    uint64_t run_us = fleet->op.run_us, quiet_us = fleet->quiet_us[node->cluster];
    bool well = quiet_us && quiet_us + SOUND_US < run_us && (fleet->gentle || fleet->calm_us);
    json_to_string(state, name, sizeof name);
    if (strcmp(name, "ready") == 0 && !node->running && node->ended_us < run_us)
        wrong(fleet, "calls a node ready that is down");
    if (strcmp(name, "ready") != 0 && well)
        wrong(fleet, "does not call a node ready that is");
}

static void judge_partitions(struct fleet *fleet, struct slice status, const char *which)
{
    struct slice list, name, partition, members, left, member;
    if (!json_find(status, which, &list)) {
        wrong(fleet, "says nothing of partitions");
        return;
    }
    for (list = json_inside(list); json_next(&list, &name, &partition);)
        if (json_find(partition, "members", &members))
            for (left = json_inside(members); json_next(&left, &name, &member);)
                judge_member(fleet, member);
}

static void judge_json(struct fleet *fleet)
{
    const struct fleet_operator *op = &fleet->op;
    struct slice text = slice_of(op->said.data), well, count;
    if (!json_is_valid(text) || !json_find(text, "well", &well) ||
        !json_find(text, "problem_count", &count)) {
        wrong(fleet, "is no JSON");
        return;
    }
    if (json_is_true(well) != (op->exit == COMMAND_FINE) ||
        json_is_true(well) != (json_to_number(count, -1) < 1))
        wrong(fleet, "does not know how it is");
    judge_partitions(fleet, text, "partitions");
    judge_partitions(fleet, text, "previous_partitions");
    judge_partitions(fleet, text, "next_partitions");
}

/* Of one that has ended by itself. */
static void judge(struct fleet *fleet)
{
    const struct fleet_operator *op = &fleet->op;
    bool fine = op->exit == COMMAND_FINE;
    if (op->exit == COMMAND_USAGE || (op->exit == COMMAND_UNREACHED && !*op->failure))
        wrong(fleet, "has no reason");
    if (op->exit == COMMAND_UNREACHED)
        return;
    switch (op->role) {
    case CONFIG_STATUS:
        if (op->json)
            judge_json(fleet);
        else if (says(fleet, "All is well") != fine || says(fleet, " problem") == fine)
            wrong(fleet, "does not know how it is");
        break;
    case CONFIG_DIFF:
        if (says(fleet, " hold the same") != fine || says(fleet, " differ") == fine)
            wrong(fleet, "does not know what differs");
        break;
    case CONFIG_BACKUP:
        if (fine)
            fleet_archive_check(fleet);
        break;
    default:
        break;
    }
    if (!fine && op->role != CONFIG_STATUS && op->role != CONFIG_DIFF && !*op->failure)
        wrong(fleet, "fails without a word");
}

/* While things go wrong */

static void begin_something(struct fleet *fleet)
{
    struct fleet_operator *op = &fleet->op;
    uint64_t dice = rng_below(&op->rng, 100);
    const struct fleet_process *asked = somebody(fleet, chance(fleet, 700000));
    if (dice < 50) {
        run_status(fleet, asked);
        op->watch = chance(fleet, 200000);
        op->json &= !op->watch;
    } else if (dice < 70) {
        run_diff(fleet, somebody(fleet, false), somebody(fleet, false));
        op->limit = chance(fleet, 300000) ? rng_between(&op->rng, 1, 3) : 0;
    } else {
        run_backup(fleet, op->saving && chance(fleet, 600000) ? NULL : asked, false);
    }
    if (op->watch || chance(fleet, 200000))
        op->kill_us = fleet->world.now_us + rng_spread(&op->rng, SECOND / 100, 8 * SECOND);
    else if (op->role != CONFIG_STATUS)
        op->kill_us = fleet->world.now_us + STATUS_US_MAX; /* it waits for who does not come */
}

static void lose_patience(struct fleet *fleet)
{
    struct fleet_operator *op = &fleet->op;
    struct fleet_process *process = process_of(fleet);
    if (!process->running || !chance(fleet, 500000)) {
        end_run(fleet);
        return;
    }
    op->interrupted = true;
    op->kill_us = fleet->world.now_us + 10 * SECOND; /* if it does not hear of it */
    fleet_stop(fleet, process);
}

static void go_on(struct fleet *fleet)
{
    struct fleet_operator *op = &fleet->op;
    uint64_t now_us = fleet->world.now_us;
    if (op->over) {
        if (!op->interrupted)
            judge(fleet);
        if (op->role == CONFIG_BACKUP && op->exit == COMMAND_FINE)
            op->saving = false;
        end_run(fleet);
    } else if (op->kill_us && now_us >= op->kill_us) {
        lose_patience(fleet);
    } else if (op->role == CONFIG_STATUS && !op->watch && now_us > op->run_us + STATUS_US_MAX) {
        world_fail(&fleet->world, "velour-fog status does not end");
    }
    if (!op->running)
        op->next_us = now_us + rng_spread(&op->rng, SECOND / 10, 30 * SECOND);
}

static void on_tick(struct world_event *event)
{
    struct fleet *fleet = of_operator(
        (struct fleet_operator *)((char *)event - offsetof(struct fleet_operator, tick)));
    struct fleet_operator *op = &fleet->op;
    if (op->finale)
        return;
    if (op->running)
        go_on(fleet);
    else if (fleet->world.now_us >= op->next_us)
        begin_something(fleet);
    world_event_set(&fleet->world, event, fleet->world.now_us + LOOK_US);
}

/* Files are kept in memory where that can be. */
static void make_folder(struct fleet_operator *op)
{
    snprintf(op->folder, sizeof op->folder, "%s/velour-fog-sim-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(op->folder))
        abort();
}

void fleet_operator_begin(struct fleet *fleet)
{
    struct fleet_operator *op = &fleet->op;
    struct fleet_process *process = process_of(fleet);
    rng_seed(&op->rng, fleet->world.seed, 0x6f70657261746f72);
    op->hired = chance(fleet, HIRED_PPM);
    process->retired = true; /* only the operator starts it */
    process->number = FLEET_OPERATOR;
    if (!op->hired)
        return;
    fleet_host(fleet, FLEET_OPERATOR, 0, "o");
    make_folder(op);
    op->tick.run = on_tick;
    op->next_us = rng_spread(&op->rng, SECOND, 20 * SECOND);
    world_event_set(&fleet->world, &op->tick, LOOK_US);
}

void fleet_operator_end(struct fleet *fleet)
{
    static const char *const ends[] = {"", ".part", ".progress", ".progress.part"};
    struct fleet_operator *op = &fleet->op;
    char path[96], name[128];
    bytes_free(&op->said);
    if (!*op->folder)
        return;
    fleet_archive_path(fleet, path);
    for (unsigned i = 0; i < sizeof ends / sizeof *ends; i++) {
        snprintf(name, sizeof name, "%s%s", path, ends[i]);
        unlink(name);
    }
    rmdir(op->folder);
}

/* When all is quiet */

/* Steps on until the command has ended, or has been killed. Returns whether it has ended. */
static bool await(struct fleet *fleet)
{
    struct fleet_operator *op = &fleet->op;
    struct world *world = &fleet->world;
    while (!op->over && world_step(world)) {
        if (op->kill_us && world->now_us >= op->kill_us)
            break;
        if (world->now_us > op->run_us + QUIET_US_MAX)
            world_fail(world, "velour-fog %s does not end, though all is quiet", name_of(op->role));
    }
    end_run(fleet);
    if (op->over && !world->failed)
        judge(fleet);
    return op->over && !world->failed;
}

/* Steps on for some time. */
static void wait(struct fleet *fleet, uint64_t us)
{
    uint64_t until_us = fleet->world.now_us + us;
    while (fleet->world.now_us < until_us && world_step(&fleet->world))
        ;
}

/* Clocks that differ may be wrong, and that somebody was named who is never there; nothing else. */
static void find_all_well(struct fleet *fleet)
{
    const struct fleet_operator *op = &fleet->op;
    run_status(fleet, somebody(fleet, chance(fleet, 700000)));
    if (await(fleet) && op->exit != COMMAND_FINE &&
        !(fleet->troubles.skewed && says(fleet, "The clock of ")) && !says(fleet, "10.0.0.201:"))
        wrong(fleet, "finds something, though all is quiet");
}

static void find_the_same(struct fleet *fleet)
{
    const struct fleet_operator *op = &fleet->op;
    struct fleet_process *a = somebody(fleet, false);
    struct fleet_process *b =
        &fleet->processes[a->number - a->number % FLEET_CLUSTER_MAX +
                          rng_below(&fleet->op.rng, fleet->cluster_size[a->cluster])];
    for (unsigned tries = TRIES; tries > 0 && !fleet->world.failed; tries--) {
        run_diff(fleet, a, b);
        if (await(fleet) && op->exit == COMMAND_FINE)
            return;
        wait(fleet, 2 * SECOND);
    }
    if (!fleet->world.failed)
        wrong(fleet, "finds something, though all is quiet");
}

static unsigned records_of(struct fleet *fleet, const struct fleet_process *node)
{
    unsigned count = 0;
    for (unsigned i = 0; i < fleet->key_count; i++)
        count += fleet_record_at(fleet, node, i) != NULL;
    return count;
}

/* The number of a line like "12 keys differ.", or of "…: 1 more key was …"; 0 when there is none. */
static unsigned number_before(const struct fleet *fleet, const char *text)
{
    const char *begin = fleet->op.said.data, *at = strstr(begin, text);
    while (at && at > begin && at[-1] != '\n' && at[-1] != ':')
        at--;
    return at ? (unsigned)strtoul(at, NULL, 10) : 0;
}

/* Two partitions have no key in common, so each key of both has to be named, up to the limit. What expires just then is moving. */
static void find_all_differ(struct fleet *fleet)
{
    struct fleet_operator *op = &fleet->op;
    const struct fleet_process *a = somebody(fleet, false), *b = somebody(fleet, false);
    unsigned of = records_of(fleet, a) + records_of(fleet, b);
    if (a->cluster == b->cluster ||
        fleet_side_of(fleet, a->cluster) != fleet_side_of(fleet, b->cluster))
        return;
    run_diff(fleet, a, b);
    op->limit = chance(fleet, 300000) ? rng_between(&op->rng, 1, 3) : 0;
    unsigned wanted = op->limit && op->limit < of ? (unsigned)op->limit : of;
    if (!await(fleet))
        return;
    unsigned named = number_before(fleet, " differ"), moving = number_before(fleet, " more key");
    if (named + moving != wanted && !(op->limit && moving))
        wrong(fleet, "does not name each key");
}

/* A node is killed, and missed. */
static void find_one_down(struct fleet *fleet)
{
    struct fleet_operator *op = &fleet->op;
    struct fleet_process *node = somebody(fleet, false);
    char sentence[128];
    node->retired = true;
    fleet_kill(fleet, node);
    node->retired = false;
    wait(fleet, NOTICED_US);
    run_status(fleet, somebody(fleet, true));
    name_word(fleet, 1, node);
    snprintf(sentence, sizeof sentence, "%s is down", op->words[1]);
    if (await(fleet) && (op->exit != COMMAND_WRONG || !says(fleet, sentence)))
        wrong(fleet, "does not find the node that is down");
    fleet_start_at(fleet, node, fleet->world.now_us);
    if (!fleet->world.failed)
        fleet_await_agreement(fleet);
}

/* Again and again, until nobody interrupts it. */
static bool save(struct fleet *fleet)
{
    struct fleet_operator *op = &fleet->op;
    run_backup(fleet, somebody(fleet, chance(fleet, 800000)), true);
    while (chance(fleet, 300000)) {
        op->kill_us = fleet->world.now_us + rng_spread(&op->rng, SECOND / 100, SECOND);
        if (await(fleet) || fleet->world.failed)
            break;
        run_backup(fleet, NULL, true);
    }
    if (op->running)
        await(fleet);
    if (!fleet->world.failed && op->exit != COMMAND_FINE)
        wrong(fleet, "fails, though all is quiet");
    return !fleet->world.failed;
}

static bool bring_back(struct fleet *fleet)
{
    struct fleet_operator *op = &fleet->op;
    run_restore(fleet, false);
    while (chance(fleet, 300000)) {
        op->kill_us = fleet->world.now_us + rng_spread(&op->rng, SECOND / 100, SECOND);
        if (await(fleet) || fleet->world.failed)
            break;
        run_restore(fleet, chance(fleet, 500000));
    }
    if (op->running)
        await(fleet);
    if (!fleet->world.failed && op->exit != COMMAND_FINE)
        wrong(fleet, "fails, though all is quiet");
    return !fleet->world.failed;
}

/* All that were covered lose everything. */
static void lose_all(struct fleet *fleet)
{
    for (unsigned i = 0; i < FLEET_NODES_MAX; i++) {
        struct fleet_process *node = &fleet->processes[i];
        if (!node->running || !fleet_archive_covers(fleet, node->cluster))
            continue;
        node->retired = true;
        fleet_kill(fleet, node);
        node->retired = false;
        fleet_start_at(fleet, node, fleet->world.now_us + SECOND);
    }
    wait(fleet, 2 * SECOND);
    fleet_await_agreement(fleet);
}

static void save_and_restore(struct fleet *fleet)
{
    if (!save(fleet))
        return;
    if (chance(fleet, 500000) && bring_back(fleet)) {
        if (!says(fleet, " 0 of them were new"))
            wrong(fleet, "finds something new in what was just saved");
        fleet_archive_check_restored(fleet);
    }
    if (!fleet->world.failed && chance(fleet, 600000)) {
        lose_all(fleet);
        if (!fleet->world.failed && bring_back(fleet)) {
            fleet_await_agreement(fleet);
            fleet_archive_check_restored(fleet);
        }
    }
}

void fleet_operator_finale(struct fleet *fleet)
{
    struct fleet_operator *op = &fleet->op;
    if (!op->hired)
        return;
    op->finale = true;
    if (op->running)
        end_run(fleet);
    find_all_well(fleet);
    if (!fleet->world.failed)
        find_the_same(fleet);
    if (!fleet->world.failed)
        find_all_differ(fleet);
    if (!fleet->world.failed && chance(fleet, 400000))
        find_one_down(fleet);
    if (!fleet->world.failed)
        save_and_restore(fleet);
}
