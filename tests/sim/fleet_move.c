/* Keys on the move: an operator takes the steps of docs/partitions.md, forwards, or some of them and back, while clients go on and
 * things go wrong. A front-end's stage says what it was told:
 *
 *   0  the old clusters
 *   1  the old ones, and the new ones as those to come (--next-cluster)
 *   2  the new ones, and the old ones as those before (--previous-cluster)
 *   3  the new clusters
 */
#include <stdio.h>
#include <string.h>

#include "data/record.h"
#include "fleet.h"

enum {
    SECOND = 1000 * 1000,
    LOOK_US = SECOND / 10,
    ROLL_US_MAX = 150 * SECOND, /* for one step of the operator's, once there are no faults */
    COPY_US_MAX = 150 * SECOND,
    LOST_US = 65 * SECOND, /* so long after faults a reshard may fail for want of nodes */
    KILLS_MAX = 4,
};

static const struct fleet_step forwards[] = {
    {FLEET_ROLL, 1}, {FLEET_ROLL, 2},   {FLEET_COPY, 1},
    {FLEET_ROLL, 3}, {FLEET_RETIRE, 0}, {FLEET_ACT_END, 0},
};

static const struct fleet_step back_early[] = {
    {FLEET_ROLL, 1},
    {FLEET_ROLL, 0},
    {FLEET_RETIRE, 1},
    {FLEET_ACT_END, 0},
};

static const struct fleet_step back_on_the_way[] = {
    {FLEET_ROLL, 1}, {FLEET_ROLL, 2}, {FLEET_TRY, 1},    {FLEET_ROLL, 1},
    {FLEET_COPY, 0}, {FLEET_ROLL, 0}, {FLEET_RETIRE, 1}, {FLEET_ACT_END, 0},
};

static const struct fleet_step back_at_the_end[] = {
    {FLEET_ROLL, 1}, {FLEET_ROLL, 2}, {FLEET_COPY, 1}, {FLEET_ROLL, 3},   {FLEET_ROLL, 2},
    {FLEET_ROLL, 1}, {FLEET_COPY, 0}, {FLEET_ROLL, 0}, {FLEET_RETIRE, 1}, {FLEET_ACT_END, 0},
};

static struct fleet_process *reshard_of(struct fleet *fleet)
{
    return &fleet->processes[FLEET_RESHARD];
}

static bool is_up(const struct fleet *fleet, const struct fleet_process *process)
{
    return process->running && !process->draining &&
           process->paused_until_us <= fleet->world.now_us;
}

/* Time from which on all must go well. */
static uint64_t fair_us(const struct fleet *fleet)
{
    uint64_t step_us = fleet->move.step_us, calm_us = fleet->calm_us;
    return calm_us > step_us ? calm_us : step_us;
}

static void check_progress(struct fleet *fleet, uint64_t limit_us)
{
    const struct fleet_move *move = &fleet->move;
    if (fleet->calm_us && fleet->world.now_us > fair_us(fleet) + limit_us)
        world_fail(&fleet->world, "step %u of the move does not end",
                   (unsigned)(move->step - move->script));
}

/* Front-ends */

/* Everybody who could not see before what was written on another side does so from here on. */
static void note_turn(struct fleet *fleet)
{
    for (unsigned c = 0; c < fleet->cluster_count; c++)
        fleet->disturbed[c]++;
}

static void restart(struct fleet *fleet, struct fleet_process *frontend, unsigned stage)
{
    world_trace(&fleet->world, "operator", "%s is to be of stage %u", frontend->process.host.name,
                stage);
    frontend->stage = stage;
    if (!frontend->running || frontend->draining)
        return; /* it comes back like that */
    if (!fleet->gentle && rng_chance(&fleet->rng, 100000))
        fleet_kill(fleet, frontend);
    else
        fleet_stop(fleet, frontend);
}

/* One after the other; the next one when this one is there again. */
static bool roll(struct fleet *fleet, unsigned stage)
{
    for (unsigned i = 0; i < fleet->frontend_count; i++) {
        struct fleet_process *frontend = fleet_frontend(fleet, i);
        if (frontend->stage != stage) {
            restart(fleet, frontend, stage);
            return false;
        }
        if (!is_up(fleet, frontend) || frontend->booted_stage != stage)
            return false;
        if (i + 1 < fleet->frontend_count && fleet_frontend(fleet, i + 1)->stage != stage)
            fleet->move.next_us =
                fleet->world.now_us + rng_spread(&fleet->rng, 1000, fleet->move.apart_us_max);
    }
    return true;
}

/* Reshard */

/* What it says is true now: later its nodes may have died. */
static void on_stopped(struct process *process)
{
    struct fleet_process *reshard =
        (struct fleet_process *)((char *)process - offsetof(struct fleet_process, process));
    struct fleet *fleet =
        (struct fleet *)((char *)(reshard - FLEET_RESHARD) - offsetof(struct fleet, processes));
    if (process->command.exit == COMMAND_FINE && fleet->move.step->act == FLEET_COPY)
        fleet_history_moved(fleet, fleet->move.step->to);
}

void fleet_move_boot(struct fleet *fleet, struct fleet_process *process)
{
    const struct frontend_cluster *told = fleet->clusters[FLEET_FRONTENDS_MAX];
    unsigned to = fleet->move.step->to, from = 1 - to;
    struct cli *cli = cli_new(
        &fleet->world, fleet_lot(process->number) + (uint64_t)1000 * ++process->boots, "reshard");
    cli_clusters(cli, "from", told + fleet_side_first(fleet, from), fleet->side_count[from]);
    cli_clusters(cli, "to", told + fleet_side_first(fleet, to), fleet->side_count[to]);
    process_boot_cli(&process->process, &fleet->cables, cli, process->host_number, process->boots);
    process->process.on_stopped = on_stopped;
}

static void run_reshard(struct fleet *fleet)
{
    struct fleet_move *move = &fleet->move;
    uint64_t now_us = fleet->world.now_us;
    bool killed = fleet->move.step->act == FLEET_TRY || (!fleet->calm_us && move->kills_left);
    move->run_us = now_us;
    move->kill_us = killed ? now_us + rng_spread(&fleet->rng, SECOND / 100, 4 * SECOND) : 0;
    if (killed && move->kills_left)
        move->kills_left--;
    fleet_start_at(fleet, reshard_of(fleet), now_us);
}

static void reshard_failed(struct fleet *fleet)
{
    const char *why = reshard_of(fleet)->process.command.failure;
    world_trace(&fleet->world, "operator", "reshard fails: %s", why);
    if (fleet->calm_us && fleet->move.run_us > fleet->calm_us + LOST_US)
        world_fail(&fleet->world, "reshard fails without any fault: %s", why);
}

/* Runs it, again and again, until it says that it is done. */
static bool copy(struct fleet *fleet)
{
    struct fleet_process *process = reshard_of(fleet);
    struct fleet_move *move = &fleet->move;
    if (!process->running) {
        if (!process->start_us)
            run_reshard(fleet);
        return false;
    }
    const struct command *command = &process->process.command;
    if (!command->over && move->kill_us && fleet->world.now_us >= move->kill_us) {
        fleet_kill(fleet, process);
        return move->step->act == FLEET_TRY;
    }
    if (!command->over || process->draining)
        return false;
    bool done = command->exit == COMMAND_FINE;
    if (!done)
        reshard_failed(fleet);
    fleet_kill(fleet, process); /* it has ended */
    return done;
}

/* Old nodes */

static bool retire(struct fleet *fleet, unsigned side)
{
    bool gone = true;
    for (unsigned i = 0; i < FLEET_NODES_MAX; i++) {
        struct fleet_process *node = &fleet->processes[i];
        if (fleet_side_of(fleet, i / FLEET_CLUSTER_MAX) != side ||
            i / FLEET_CLUSTER_MAX >= fleet->cluster_count)
            continue;
        node->start_us = 0;
        gone = gone && !node->running;
        if (node->retired)
            continue;
        node->retired = true;
        if (node->running && !node->draining && rng_chance(&fleet->rng, 300000))
            fleet_kill(fleet, node);
        else if (node->running && !node->draining)
            fleet_stop(fleet, node);
    }
    return gone;
}

/* Steps */

/* What one node was told just before keys are copied, its fellows may not know. */
static void part_some(struct fleet *fleet)
{
    if (fleet->gentle || fleet->calm_us || !fleet->troubles.cut_ppm)
        return;
    for (unsigned c = 0; c < fleet->cluster_count; c++)
        if (rng_chance(&fleet->rng, 300000))
            fleet_part(fleet, c);
}

static void step_begin(struct fleet *fleet, const struct fleet_step *step)
{
    struct fleet_move *move = &fleet->move;
    static const char *const names[] = {"front-ends to stage", "keys to side", "some keys to side",
                                        "the end of side", "the end"};
    world_trace(&fleet->world, "operator", "%s %u", names[step->act], step->to);
    move->step = step;
    move->step_us = fleet->world.now_us;
    move->kills_left = (unsigned)rng_below(&fleet->rng, KILLS_MAX);
    if (step->act == FLEET_ROLL && (step->to == 1 || step->to == 2))
        move->proven = false;
    if (step->act == FLEET_ROLL || step->act == FLEET_COPY)
        part_some(fleet);
    if (step->act == FLEET_ROLL && (step->to == 0 || step->to == 3))
        note_turn(fleet);
    move->over = step->act == FLEET_ACT_END;
}

static bool step_go_on(struct fleet *fleet)
{
    const struct fleet_step *step = fleet->move.step;
    check_progress(fleet, step->act == FLEET_COPY ? COPY_US_MAX : ROLL_US_MAX);
    switch (step->act) {
    case FLEET_ROLL:
        return roll(fleet, step->to);
    case FLEET_COPY:
    case FLEET_TRY:
        return copy(fleet);
    case FLEET_RETIRE:
        return retire(fleet, step->to);
    default:
        return false;
    }
}

/* The new clusters are there before anything is told of them. */
static bool is_born(const struct fleet *fleet)
{
    for (unsigned c = 0; c < fleet->cluster_count; c++)
        if (!fleet->born_us[c])
            return false;
    return true;
}

static void on_tick(struct world_event *event)
{
    struct fleet_move *move =
        (struct fleet_move *)((char *)event - offsetof(struct fleet_move, tick));
    struct fleet *fleet = (struct fleet *)((char *)move - offsetof(struct fleet, move));
    uint64_t now_us = fleet->world.now_us;
    if (move->over)
        return;
    if (now_us >= move->next_us && !move->step && is_born(fleet))
        step_begin(fleet, move->script);
    else if (now_us >= move->next_us && move->step && step_go_on(fleet)) {
        step_begin(fleet, move->step + 1);
        move->next_us = now_us + rng_spread(&fleet->rng, 1000, move->apart_us_max);
    }
    world_event_set(&fleet->world, event, now_us + LOOK_US);
}

void fleet_move_begin(struct fleet *fleet)
{
    struct fleet_move *move = &fleet->move;
    uint64_t dice = rng_below(&fleet->rng, 100);
    move->script = dice < 65   ? forwards
                   : dice < 70 ? back_early
                   : dice < 85 ? back_on_the_way
                               : back_at_the_end;
    move->tick.run = on_tick;
    move->apart_us_max = rng_spread(&fleet->rng, SECOND / 10, 10 * SECOND);
    move->next_us = rng_spread(&fleet->rng, SECOND, 20 * SECOND);
    reshard_of(fleet)->retired = true; /* only the operator starts it */
    world_event_set(&fleet->world, &move->tick, LOOK_US);
}
