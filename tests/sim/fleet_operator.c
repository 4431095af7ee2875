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

static struct fleet *of_operator(struct fleet_operator *operator)
{
    return (struct fleet *)((char *)operator- offsetof(struct fleet, operator));
}

static struct fleet_process *process_of(struct fleet *fleet)
{
    return &fleet->processes[FLEET_OPERATOR];
}

static bool chance(struct fleet *fleet, uint32_t ppm)
{
    return rng_chance(&fleet->operator.rng, ppm);
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
    struct fleet_operator *operator= & fleet->operator;
    operator->over = true;
    operator->exit = process->command.exit;
    memcpy(operator->failure, process->command.failure, sizeof operator->failure);
    bytes_free(&operator->said);
    operator->said = process->said;
    process->said = (struct bytes){0};
    bytes_add(&operator->said, "", 1); /* ends it */
}

void fleet_operator_boot(struct fleet *fleet, struct fleet_process *process)
{
    const struct fleet_operator *operator= & fleet->operator;
    struct cli *cli = cli_new(&fleet->world, process->number + (uint64_t)1000 * ++process->boots,
                              name_of(operator->role));
    cli_word(cli, operator->words[0]);
    if (operator->role != CONFIG_STATUS)
        cli_word(cli, operator->words[1]);
    if (operator->json)
        cli_flag(cli, "json");
    if (operator->watch)
        cli_flag(cli, "watch");
    if (operator->watch)
        cli_option(cli, "interval", "1h", "700ms");
    if (operator->resume)
        cli_flag(cli, "resume");
    if (operator->rate)
        cli_option(cli, "rate", "1", "%lluK", (unsigned long long)operator->rate);
    if (operator->limit)
        cli_option(cli, "limit", "1", "%llu", (unsigned long long)operator->limit);
    cli->terminal = operator->terminal;
    process_boot_cli(&process->process, &fleet->cables, cli, process->host_number, process->boots);
    process->process.on_stopped = on_stopped;
    if (process->process.loop.stopped)
        on_stopped(&process->process);
}

static void run(struct fleet *fleet, enum config_role role)
{
    struct fleet_operator *operator= & fleet->operator;
    uint64_t now_us = fleet->world.now_us;
    operator->role = role;
    operator->json = operator->watch = operator->resume = false;
    operator->limit = operator->rate = 0;
    operator->terminal = chance(fleet, 300000);
    operator->run_us = now_us;
    operator->kill_us = 0;
    operator->running = true;
    operator->over = operator->interrupted = false;
    fleet_start_at(fleet, process_of(fleet), now_us);
}

/* Its process goes; it is killed if it has not ended. */
static void end_run(struct fleet *fleet)
{
    struct fleet_operator *operator= & fleet->operator;
    struct fleet_process *process = process_of(fleet);
    process->start_us = 0;
    if (process->running)
        fleet_kill(fleet, process);
    if (!operator->over && operator->role == CONFIG_BACKUP)
        fleet_archive_tear(fleet);
    operator->running = false;
}

/* Whom to ask: a front-end that knows what it does, or a node of side 0 (of the other one, when that is left alone). */
static struct fleet_process *somebody(struct fleet *fleet, bool frontends)
{
    struct fleet_operator *operator= & fleet->operator;
    for (unsigned tries = 0; tries < 100; tries++) {
        unsigned c = (unsigned)rng_below(&operator->rng, fleet->cluster_count);
        unsigned n = (unsigned)rng_below(&operator->rng, fleet->cluster_size[c]);
        unsigned f = (unsigned)rng_below(&operator->rng, fleet->frontend_count);
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
    snprintf(fleet->operator.words[i], sizeof fleet->operator.words[i], "%u.%u.%u.%u:%d", ip[0],
             ip[1], ip[2], ip[3], PROCESS_PORT);
}

static void run_status(struct fleet *fleet, const struct fleet_process *asked)
{
    struct fleet_operator *operator= & fleet->operator;
    run(fleet, CONFIG_STATUS);
    name_word(fleet, 0, asked);
    operator->json = chance(fleet, 500000);
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
    struct fleet_operator *operator= & fleet->operator;
    bool resume = !asked;
    run(fleet, CONFIG_BACKUP);
    if (!resume)
        name_word(fleet, 0, asked);
    fleet_archive_path(fleet, operator->words[1]);
    operator->resume = resume;
    operator->rate = chance(fleet, 300000) ? rng_spread(&operator->rng, 1000, 100000) : 0;
    if (!resume)
        fleet_archive_expect(fleet, quiet);
    operator->saving = true;
}

static void run_restore(struct fleet *fleet, bool resume)
{
    struct fleet_operator *operator= & fleet->operator;
    run(fleet, CONFIG_RESTORE);
    fleet_archive_path(fleet, operator->words[1]);
    operator->resume = resume;
    operator->rate = chance(fleet, 300000) ? rng_spread(&operator->rng, 1000, 100000) : 0;
}

/* Judging */

static void wrong(struct fleet *fleet, const char *what)
{
    const struct fleet_operator *operator= & fleet->operator;
    world_fail(&fleet->world, "velour-fog %s of %s %s (exit code %d): %.300s%.300s",
               name_of(operator->role), operator->words[0], what,
               (int)operator->exit, operator->failure, operator->said.data);
}

static bool says(const struct fleet *fleet, const char *text)
{
    return strstr(fleet->operator.said.data, text);
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
    if (!named || last == 0 || last > FLEET_NODES_MAX) {
        wrong(fleet, "names somebody whom nobody knows");
        return;
    }
    const struct fleet_process *node = &fleet->processes[last - 1];
    uint64_t run_us = fleet->operator.run_us, quiet_us = fleet->quiet_us[node->cluster];
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
    const struct fleet_operator *operator= & fleet->operator;
    struct slice text = slice_of(operator->said.data), well, count;
    if (!json_is_valid(text) || !json_find(text, "well", &well) ||
        !json_find(text, "problem_count", &count)) {
        wrong(fleet, "is no JSON");
        return;
    }
    if (json_is_true(well) != (operator->exit == COMMAND_FINE) ||
        json_is_true(well) != (json_to_number(count, -1) < 1))
        wrong(fleet, "does not know how it is");
    judge_partitions(fleet, text, "partitions");
    judge_partitions(fleet, text, "previous_partitions");
}

/* Of one that has ended by itself. */
static void judge(struct fleet *fleet)
{
    const struct fleet_operator *operator= & fleet->operator;
    bool fine = operator->exit == COMMAND_FINE;
    if (operator->exit ==
        COMMAND_USAGE ||(operator->exit == COMMAND_UNREACHED && !* operator->failure))
        wrong(fleet, "has no reason");
    if (operator->exit == COMMAND_UNREACHED)
        return;
    switch (operator->role) {
    case CONFIG_STATUS:
        if (operator->json)
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
    if (!fine && operator->role != CONFIG_STATUS && operator->role != CONFIG_DIFF && !*
                 operator->failure)
        wrong(fleet, "fails without a word");
}

/* While things go wrong */

static void begin_something(struct fleet *fleet)
{
    struct fleet_operator *operator= & fleet->operator;
    uint64_t dice = rng_below(&operator->rng, 100);
    const struct fleet_process *asked = somebody(fleet, chance(fleet, 700000));
    if (dice < 50) {
        run_status(fleet, asked);
        operator->watch = chance(fleet, 200000);
        operator->json &= !operator->watch;
    } else if (dice < 70) {
        run_diff(fleet, somebody(fleet, false), somebody(fleet, false));
        operator->limit = chance(fleet, 300000) ? rng_between(&operator->rng, 1, 3) : 0;
    } else {
        run_backup(fleet, operator->saving && chance(fleet, 600000) ? NULL : asked, false);
    }
    if (operator->watch || chance(fleet, 200000))
        operator->kill_us =
            fleet->world.now_us + rng_spread(&operator->rng, SECOND / 100, 8 * SECOND);
    else if (operator->role != CONFIG_STATUS)
        operator->kill_us =
            fleet->world.now_us + STATUS_US_MAX; /* it waits for who does not come */
}

static void lose_patience(struct fleet *fleet)
{
    struct fleet_operator *operator= & fleet->operator;
    struct fleet_process *process = process_of(fleet);
    if (!process->running || !chance(fleet, 500000)) {
        end_run(fleet);
        return;
    }
    operator->interrupted = true;
    operator->kill_us = fleet->world.now_us + 10 * SECOND; /* if it does not hear of it */
    fleet_stop(fleet, process);
}

static void go_on(struct fleet *fleet)
{
    struct fleet_operator *operator= & fleet->operator;
    uint64_t now_us = fleet->world.now_us;
    if (operator->over) {
        if (!operator->interrupted)
            judge(fleet);
        if (operator->role == CONFIG_BACKUP && operator->exit == COMMAND_FINE)
            operator->saving = false;
        end_run(fleet);
    } else if (operator->kill_us && now_us >= operator->kill_us) {
        lose_patience(fleet);
    } else if (operator->role == CONFIG_STATUS && !operator->watch && now_us> operator->run_us +
               STATUS_US_MAX) {
        world_fail(&fleet->world, "velour-fog status does not end");
    }
    if (!operator->running)
        operator->next_us = now_us + rng_spread(&operator->rng, SECOND / 10, 30 * SECOND);
}

static void on_tick(struct world_event *event)
{
    struct fleet *fleet = of_operator(
        (struct fleet_operator *)((char *)event - offsetof(struct fleet_operator, tick)));
    struct fleet_operator *operator= & fleet->operator;
    if (operator->finale)
        return;
    if (operator->running)
        go_on(fleet);
    else if (fleet->world.now_us >= operator->next_us)
        begin_something(fleet);
    world_event_set(&fleet->world, event, fleet->world.now_us + LOOK_US);
}

/* Files are kept in memory where that can be. */
static void make_folder(struct fleet_operator *operator)
{
    snprintf(operator->folder, sizeof operator->folder, "%s/velour-fog-sim-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(operator->folder))
        abort();
}

void fleet_operator_begin(struct fleet *fleet)
{
    struct fleet_operator *operator= & fleet->operator;
    struct fleet_process *process = process_of(fleet);
    rng_seed(&operator->rng, fleet->world.seed, 0x6f70657261746f72);
    operator->hired = chance(fleet, HIRED_PPM);
    process->retired = true; /* only the operator starts it */
    process->number = FLEET_OPERATOR;
    if (!operator->hired)
        return;
    fleet_host(fleet, FLEET_OPERATOR, 0, "o");
    make_folder(operator);
    operator->tick.run = on_tick;
    operator->next_us = rng_spread(&operator->rng, SECOND, 20 * SECOND);
    world_event_set(&fleet->world, &operator->tick, LOOK_US);
}

void fleet_operator_end(struct fleet *fleet)
{
    static const char *const ends[] = {"", ".part", ".progress", ".progress.part"};
    struct fleet_operator *operator= & fleet->operator;
    char path[96], name[128];
    bytes_free(&operator->said);
    if (!*operator->folder)
        return;
    fleet_archive_path(fleet, path);
    for (unsigned i = 0; i < sizeof ends / sizeof *ends; i++) {
        snprintf(name, sizeof name, "%s%s", path, ends[i]);
        unlink(name);
    }
    rmdir(operator->folder);
}

/* When all is quiet */

/* Steps on until the command has ended, or has been killed. Returns whether it has ended. */
static bool await(struct fleet *fleet)
{
    struct fleet_operator *operator= & fleet->operator;
    struct world *world = &fleet->world;
    while (!operator->over && world_step(world)) {
        if (operator->kill_us && world->now_us >= operator->kill_us)
            break;
        if (world->now_us > operator->run_us + QUIET_US_MAX)
            world_fail(world, "velour-fog %s does not end, though all is quiet",
                       name_of(operator->role));
    }
    end_run(fleet);
    if (operator->over && !world->failed)
        judge(fleet);
    return operator->over && !world->failed;
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
    const struct fleet_operator *operator= & fleet->operator;
    run_status(fleet, somebody(fleet, chance(fleet, 700000)));
    if (await(fleet) &&
        operator->exit !=
        COMMAND_FINE && !(fleet->troubles.skewed &&says(fleet, "The clock of ")) &&
        !says(fleet, "10.0.0.201:"))
        wrong(fleet, "finds something, though all is quiet");
}

static void find_the_same(struct fleet *fleet)
{
    const struct fleet_operator *operator= & fleet->operator;
    struct fleet_process *a = somebody(fleet, false);
    struct fleet_process *b =
        &fleet->processes[a->number - a->number % FLEET_CLUSTER_MAX +
                          rng_below(&fleet->operator.rng, fleet->cluster_size[a->cluster])];
    for (unsigned tries = TRIES; tries > 0 && !fleet->world.failed; tries--) {
        run_diff(fleet, a, b);
        if (await(fleet) && operator->exit == COMMAND_FINE)
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
    const char *begin = fleet->operator.said.data, *at = strstr(begin, text);
    while (at && at > begin && at[-1] != '\n' && at[-1] != ':')
        at--;
    return at ? (unsigned)strtoul(at, NULL, 10) : 0;
}

/* Two partitions have no key in common, so each key of both has to be named, up to the limit. What expires just then is moving. */
static void find_all_differ(struct fleet *fleet)
{
    struct fleet_operator *operator= & fleet->operator;
    const struct fleet_process *a = somebody(fleet, false), *b = somebody(fleet, false);
    unsigned of = records_of(fleet, a) + records_of(fleet, b);
    if (a->cluster == b->cluster ||
        fleet_side_of(fleet, a->cluster) != fleet_side_of(fleet, b->cluster))
        return;
    run_diff(fleet, a, b);
    operator->limit = chance(fleet, 300000) ? rng_between(&operator->rng, 1, 3) : 0;
    unsigned wanted = operator->limit && operator->limit<of ? (unsigned)operator->limit : of;
    if (!await(fleet))
        return;
    unsigned named = number_before(fleet, " differ"), moving = number_before(fleet, " more key");
    if (named + moving != wanted && !(operator->limit && moving))
        wrong(fleet, "does not name each key");
}

/* A node is killed, and missed. */
static void find_one_down(struct fleet *fleet)
{
    struct fleet_operator *operator= & fleet->operator;
    struct fleet_process *node = somebody(fleet, false);
    char sentence[128];
    node->retired = true;
    fleet_kill(fleet, node);
    node->retired = false;
    wait(fleet, NOTICED_US);
    run_status(fleet, somebody(fleet, true));
    name_word(fleet, 1, node);
    snprintf(sentence, sizeof sentence, "%s is down", operator->words[1]);
    if (await(fleet) && (operator->exit != COMMAND_WRONG || !says(fleet, sentence)))
        wrong(fleet, "does not find the node that is down");
    fleet_start_at(fleet, node, fleet->world.now_us);
    if (!fleet->world.failed)
        fleet_await_agreement(fleet);
}

/* Again and again, until nobody interrupts it. */
static bool save(struct fleet *fleet)
{
    struct fleet_operator *operator= & fleet->operator;
    run_backup(fleet, somebody(fleet, chance(fleet, 800000)), true);
    while (chance(fleet, 300000)) {
        operator->kill_us = fleet->world.now_us + rng_spread(&operator->rng, SECOND / 100, SECOND);
        if (await(fleet) || fleet->world.failed)
            break;
        run_backup(fleet, NULL, true);
    }
    if (operator->running)
        await(fleet);
    if (!fleet->world.failed && operator->exit != COMMAND_FINE)
        wrong(fleet, "fails, though all is quiet");
    return !fleet->world.failed;
}

static bool bring_back(struct fleet *fleet)
{
    struct fleet_operator *operator= & fleet->operator;
    run_restore(fleet, false);
    while (chance(fleet, 300000)) {
        operator->kill_us = fleet->world.now_us + rng_spread(&operator->rng, SECOND / 100, SECOND);
        if (await(fleet) || fleet->world.failed)
            break;
        run_restore(fleet, chance(fleet, 500000));
    }
    if (operator->running)
        await(fleet);
    if (!fleet->world.failed && operator->exit != COMMAND_FINE)
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
    struct fleet_operator *operator= & fleet->operator;
    if (!operator->hired)
        return;
    operator->finale = true;
    if (operator->running)
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
