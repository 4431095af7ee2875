/* GET / of a front-end: the page for those who ask for HTML, a few lines of text for all others. */
#include "role/backend.h"
#include "role/frontend_figures.h"
#include "role/lines.h"
#include "role/page.h"
#include "role/partition.h"
#include "version.h"

/* What it is doing, in a word or two. */
static void put_state(struct text *text, const struct frontend_figures *figures)
{
    if (figures->common.draining)
        text_add(text, "stopping");
    else if (figures->reached == figures->count)
        text_add(text, "ready");
    else if (figures->reached > 0)
        text_add(text, "ready for %u of %u partition%s", figures->reached, figures->count,
                 text_plural(figures->count));
    else
        text_add(text, "not ready");
}

/* "wrong partition 1/2" */
static void put_node_state(struct text *text, const struct backend *backend)
{
    if (backend->wrong)
        text_add(text, "wrong partition %s", backend->says);
    else
        text_add(text, "%s", backend_state_name(backend_state(backend)));
}

static void put_problems(struct text *text, const struct frontend_figures *figures)
{
    for (unsigned i = 0; i < figures->problem_count && i < FRONTEND_PROBLEMS_MAX; i++)
        text_add(text, "\nPROBLEM: %s\n", figures->problems[i]);
}

static unsigned nodes_ready(const struct frontend_figures *figures)
{
    unsigned ready = 0;
    for (unsigned i = 0; i < figures->count; i++)
        ready += figures->partitions[i].nodes[BACKEND_READY];
    return ready;
}

static const char usage[] =
    "\n"
    "  curl -d VALUE HOST:PORT/KEY               sets a key\n"
    "  curl --data-binary @FILE HOST:PORT/KEY    sets it to what is in a file\n"
    "  curl HOST:PORT/KEY                        gets it (204: there is no such key)\n"
    "  curl -X DELETE HOST:PORT/KEY              deletes it\n"
    "\n"
    "  /-/status    figures as JSON            /-/metrics   for Prometheus\n"
    "  /-/history   the last minutes           /-/keys      keys (?limit=N&prefix=)\n"
    "  /-/healthy   200 as long as it runs     /-/ready     200 as long as it serves\n"
    "  /            this; a page for browsers\n";

static void put_partition_lines(struct text *text, const struct partition *partition,
                                unsigned share)
{
    struct backend_walk walk = {.partition = partition, .left = share};
    const struct backend *backend;
    text_add(text, "%s %u: %s\n", partition_words(partition)->name, partition->number,
             partition->reached ? "reached" : "NOT REACHED");
    while ((backend = backend_walk_next(&walk))) {
        char address[ADDRESS_TEXT_BYTES];
        text_add(text, "  %s ", address_format(&backend->address, address));
        put_node_state(text, backend);
        text_add(text, "\n");
    }
}

static void put_lines(struct text *text, const struct frontend_figures *figures)
{
    unsigned share = frontend_figures_share(figures, FRONTEND_NODES_TOLD_MAX);
    text_add(text, "Velour Fog %s, a front-end of an in-memory key-value store\n",
             VELOUR_FOG_VERSION);
    put_state(text, figures);
    text_add(text, ", up ");
    lines_put_value(text, UNIT_SPAN, figures->common.uptime_us);
    text_add(text, "\n");
    put_problems(text, figures);
    text_add(text, "\npartitions   %u of %u reached\nnodes        %u ready\nmemory       ",
             figures->reached, figures->count, nodes_ready(figures));
    lines_put_value(text, UNIT_BYTES, figures->common.process_resident_bytes);
    text_add(text, "\n");
    lines_put_server(text, &figures->common);
    text_add(text, "\n");
    for (unsigned i = 0; i < figures->partition_count; i++)
        put_partition_lines(text, figures->partitions[i].partition, share);
    text_add(text, "%s", usage);
}

void frontend_reply_front(struct frontend *frontend, struct request *request)
{
    if (!page_reply(request))
        frontend_figures_reply(frontend, request, SLICE("text/plain; charset=utf-8"), true,
                               put_lines);
}
