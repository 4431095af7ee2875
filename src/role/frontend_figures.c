#include "role/frontend_figures.h"

#include <errno.h>
#include <stdlib.h>

#include "net/reply.h"
#include "role/backend.h"
#include "role/frontend_state.h"
#include "role/lane.h"
#include "role/partition.h"

/* Ready as soon as some keys can be reached: another front-end would not reach more. */
void frontend_reply_ready(struct frontend *frontend, struct request *request)
{
    char room[FIGURES_TEXT_BYTES];
    struct text text = text_in(room, sizeof room);
    unsigned reached = 0, count = frontend->config.cluster_count;
    text_add(&text, "ready, but not for partition");
    for (unsigned i = 0; i < count; i++) {
        reached += frontend->partitions[i].reached;
        if (!frontend->partitions[i].reached)
            text_add(&text, " %u", i);
    }
    text_add(&text, "\n");
    if (frontend->draining)
        reply_text(request, 503, "This front-end is stopping.");
    else if (reached == 0)
        reply_text(request, 503, "No partition has a node that is ready.");
    else if (reached == count)
        reply_text(request, 200, "ready");
    else
        reply_content(request, 200, SLICE("text/plain; charset=utf-8"), text_slice(&text));
}

/* Members */

/* Two addresses may lead to one node; one of them is used. */
static bool is_used(const struct backend *backend)
{
    const struct partition *partition = backend->partition;
    for (unsigned i = 0; i < partition->usable_count; i++)
        if (partition->usable[i] == backend)
            return true;
    return false;
}

enum backend_state backend_state(const struct backend *backend)
{
    if (backend->wrong)
        return BACKEND_WRONG;
    if (!backend->up)
        return BACKEND_DOWN;
    if (!backend->usable)
        return BACKEND_UNREADY;
    return is_used(backend) ? BACKEND_READY : BACKEND_ALIAS;
}

const char *backend_state_name(enum backend_state state)
{
    static const char *const names[BACKEND_STATES] = {
        [BACKEND_WRONG] = "wrong_partition", [BACKEND_DOWN] = "down",
        [BACKEND_UNREADY] = "unready",       [BACKEND_READY] = "ready",
        [BACKEND_ALIAS] = "alias",
    };
    return names[state];
}

unsigned backend_in_flight(const struct backend *backend)
{
    unsigned count = backend->in_flight;
    for (const struct lane *lane = backend->lanes; lane; lane = lane->next)
        count += lane->first && !lane->first->counted;
    return count;
}

const struct backend *backend_walk_next(struct backend_walk *walk)
{
    const struct partition *partition = walk->partition;
    for (; walk->left > 0 && walk->state < BACKEND_STATES; walk->state++, walk->at = 0)
        while (walk->at < partition->backend_count) {
            const struct backend *backend = partition->backends[walk->at++];
            if (backend->leaving || backend_state(backend) != walk->state)
                continue;
            walk->left--;
            return backend;
        }
    return NULL;
}

/* Problems */

/* The text for the next one; what is too much is only counted. */
static struct text problem_add(struct frontend_figures *figures)
{
    unsigned i = figures->problem_count++;
    if (i < FRONTEND_PROBLEMS_MAX)
        return text_in(figures->problems[i], FRONTEND_PROBLEM_BYTES);
    return (struct text){.full = true};
}

static void tell_wrong(struct text *text, const struct backend *backend)
{
    const struct partition *partition = backend->partition;
    const struct side_words *words = partition_words(partition);
    unsigned number = partition->number, count = partition->count;
    char address[ADDRESS_TEXT_BYTES];
    address_format(&backend->address, address);
    if (backend->foreign) {
        text_add(text,
                 "%s is of another cluster (--cluster-name) than those that were ready first in "
                 "%s %u, and is not asked: correct %s, or restart this front-end.",
                 address, words->partition, number, words->option);
        return;
    }
    text_add(text, "%s was named for partition %u/%u, and ", address, number, count);
    if (backend->says[0] == '-')
        text_add(text, "knows of no partition: start it with --partition %u/%u.", number, count);
    else
        text_add(text,
                 "says that it is of %s: the order or number of %s is wrong, or its --partition.",
                 backend->says, words->option);
}

static void find_wrong(struct frontend_figures *figures, const struct partition *partition)
{
    for (unsigned i = 0; i < partition->backend_count; i++) {
        const struct backend *backend = partition->backends[i];
        if ((!backend->wrong && !backend->foreign) || backend->leaving)
            continue;
        struct text text = problem_add(figures);
        tell_wrong(&text, backend);
    }
}

static void find_apart(struct frontend_figures *figures, const struct partition *partition)
{
    const struct side_words *words = partition_words(partition);
    char address[ADDRESS_TEXT_BYTES], other[ADDRESS_TEXT_BYTES];
    for (unsigned i = 0; i < partition->backend_count; i++) {
        const struct backend *backend = partition->backends[i];
        const struct backend *first = partition_apart_from(backend);
        if (!first)
            continue;
        struct text text = problem_add(figures);
        text_add(&text,
                 "%s and %s are asked for %s %u, and neither is a member of the other's "
                 "cluster: correct --join or --cluster-name of one of the two, or %s.",
                 address_format(&backend->address, address), address_format(&first->address, other),
                 words->partition, partition->number, words->option);
    }
}

static void find_lost(struct frontend_figures *figures, const struct partition *partition)
{
    if (partition->reached)
        return;
    struct text text = problem_add(figures);
    text_add(&text, "No node of %s %u is ready: requests for its keys get %u.",
             partition_words(partition)->partition, partition->number,
             partition_trouble(partition).status);
}

/* The last place is for how many are left out. */
static void tell_more(struct frontend_figures *figures)
{
    struct text text =
        text_in(figures->problems[FRONTEND_PROBLEMS_MAX - 1], FRONTEND_PROBLEM_BYTES);
    text_add(&text, "There are %u more problems.",
             figures->problem_count - (FRONTEND_PROBLEMS_MAX - 1));
}

static void find_problems(struct frontend_figures *figures)
{
    for (unsigned i = 0; i < figures->partition_count; i++)
        find_wrong(figures, figures->partitions[i].partition);
    for (unsigned i = 0; i < figures->partition_count; i++)
        find_apart(figures, figures->partitions[i].partition);
    for (unsigned i = 0; i < figures->partition_count; i++)
        find_lost(figures, figures->partitions[i].partition);
    if (figures->problem_count > FRONTEND_PROBLEMS_MAX)
        tell_more(figures);
}

/* All of them */

static void gather_partition(const struct partition *partition, struct partition_figures *out)
{
    *out = (struct partition_figures){.partition = partition};
    for (unsigned i = 0; i < partition->backend_count; i++) {
        const struct backend *backend = partition->backends[i];
        out->in_flight += backend_in_flight(backend);
        out->connections += backend->lane_count;
        if (!backend->leaving)
            out->nodes[backend_state(backend)]++;
    }
}

static struct figures common_of(const struct frontend *frontend)
{
    const struct frontend_config *config = &frontend->config;
    return (struct figures){
        .role = "frontend",
        .loop = frontend->loop,
        .from = frontend->server,
        .config = &config->server,
        .latency_us = &frontend->latency_us,
        .resident_bytes = config->resident_bytes,
        .cpu_us = config->cpu_us,
        .files_max = config->files_max,
        .started_us = frontend->started_us,
        .started_wall_us = frontend->started_wall_us,
        .draining = frontend->draining,
    };
}

static uint64_t worse(uint64_t a, uint64_t b)
{
    return a == HISTORY_NONE || (b != HISTORY_NONE && b > a) ? b : a;
}

/* Of all nodes the slowest pushes, and of each partition the node with most: the others have as much, or are about to. */
static void sample_partition(const struct partition *partition, uint64_t *sample)
{
    uint64_t most = 0;
    for (unsigned i = 0; i < partition->backend_count; i++) {
        const struct backend *backend = partition->backends[i];
        if (!backend->usable)
            continue;
        most = backend->records > most ? backend->records : most;
        sample[HISTORY_PUSH_P50] = worse(sample[HISTORY_PUSH_P50], backend->push_p50_us);
        sample[HISTORY_PUSH_P99] = worse(sample[HISTORY_PUSH_P99], backend->push_p99_us);
    }
    sample[HISTORY_RECORDS] += most;
}

void frontend_take_sample(struct frontend *frontend)
{
    struct figures figures = common_of(frontend);
    figures_gather(&figures);
    uint64_t *sample = history_take(&frontend->history, &figures);
    sample[HISTORY_RECORDS] = 0;
    for (unsigned i = 0; i < frontend->config.cluster_count; i++)
        sample_partition(&frontend->partitions[i], sample);
}

/* Returns 0 or -ENOMEM. */
static int figures_init(struct frontend_figures *figures, const struct frontend *frontend)
{
    const struct frontend_config *config = &frontend->config;
    figures->common = common_of(frontend);
    figures->frontend = frontend;
    figures->count = config->cluster_count;
    figures->reached = figures->problem_count = 0;
    figures->partition_count = config->cluster_count + config->other_count;
    figures->partitions = calloc(figures->partition_count, sizeof *figures->partitions);
    if (!figures->partitions)
        return -ENOMEM;
    for (unsigned i = 0; i < figures->partition_count; i++) {
        bool other = i >= figures->count;
        gather_partition(other ? &frontend->others[i - figures->count] : &frontend->partitions[i],
                         &figures->partitions[i]);
        figures->reached += !other && frontend->partitions[i].reached;
    }
    figures->common.ready = figures->reached > 0 && !frontend->draining;
    figures_gather(&figures->common);
    figures->common.held = frontend->waiting; /* the server has deferred them */
    find_problems(figures);
    return 0;
}

unsigned frontend_figures_share(const struct frontend_figures *figures, unsigned max)
{
    unsigned share = max / figures->partition_count;
    return share ? share : 1;
}

/* Of any of the replies. */
static size_t text_bytes(const struct frontend_figures *figures)
{
    size_t bytes = FIGURES_TEXT_BYTES;
    unsigned share = frontend_figures_share(figures, FRONTEND_NODES_TOLD_MAX);
    for (unsigned i = 0; i < figures->partition_count; i++) {
        unsigned nodes = figures->partitions[i].partition->backend_count;
        bytes += FRONTEND_PARTITION_BYTES;
        bytes += (size_t)(nodes < share ? nodes : share) * FRONTEND_NODE_BYTES;
    }
    return bytes;
}

void frontend_figures_reply(struct frontend *frontend, struct request *request, struct slice type,
                            bool vary,
                            void (*put)(struct text *text, const struct frontend_figures *figures))
{
    struct frontend_figures figures;
    bool there = figures_init(&figures, frontend) == 0;
    size_t bytes = there ? text_bytes(&figures) : 0;
    char *room = there ? malloc(bytes) : NULL;
    if (room) {
        struct text text = text_in(room, bytes);
        put(&text, &figures);
        figures_reply_owned(request, type, &text, vary);
    } else {
        reply_text(request, 503, "This front-end is out of memory for requests; try again.");
    }
    free(figures.partitions);
}
