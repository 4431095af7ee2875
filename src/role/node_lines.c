#include "role/lines.h"
#include "role/node_figures.h"
#include "role/page.h"
#include "version.h"

/* GET /: the page for those who ask for HTML, a few lines of text for all others. */

/* What it is doing, in a word or two. */
static void put_state(struct text *text, const struct node *node,
                      const struct node_figures *figures)
{
    unsigned permille = cluster_gathered_permille(node->cluster);
    if (node->draining)
        text_add(text, "stopping");
    else if (figures->common.ready)
        text_add(text, "ready");
    else if (permille < 1000)
        text_add(text, "gathering, %u.%u %%", permille / 10, permille % 10);
    else
        text_add(text, "not ready");
}

/* Who belongs to the cluster, what each is doing, and how far its clock is off when that is far. */
static void put_members(struct text *text, const struct node *node)
{
    struct node_members members;
    char address[ADDRESS_TEXT_BYTES];
    node_members_gather(node, &members);
    for (unsigned i = 0; i < members.told_count; i++) {
        const struct member *member = members.told[i];
        struct peer_figures figures = cluster_peer_figures(node->cluster, member);
        text_add(text, "member       %s %s", address_format(&member->address, address),
                 figures.is_up ? member_phase_name(member) : "down");
        if (figures.skew_us > CLUSTER_SKEW_US || figures.skew_us < -CLUSTER_SKEW_US)
            text_add(text, ", clock %s%.1f s", figures.skew_us > 0 ? "+" : "−",
                     (double)(figures.skew_us > 0 ? figures.skew_us : -figures.skew_us) / 1e6);
        text_add(text, "\n");
    }
    if (members.all > members.told_count)
        text_add(text, "             and %u more\n", members.all - members.told_count);
}

static const char usage[] =
    "\n"
    "  curl -d VALUE HOST:PORT/KEY               sets a key\n"
    "  curl --data-binary @FILE HOST:PORT/KEY    sets it to what is in a file\n"
    "  curl HOST:PORT/KEY                        gets it (204: there is no such key)\n"
    "  curl -X DELETE HOST:PORT/KEY              deletes it\n"
    "\n"
    "  /-/status    figures as JSON            /-/metrics   for Prometheus\n"
    "  /-/keys      all keys (?prefix=)        /-/digest    to compare nodes\n"
    "  /-/records   all records, a backup      /-/merge     POST them to restore\n"
    "  /-/history   the last minutes           /-/members   who is in the cluster\n"
    "  /-/healthy   200 as long as it runs     /-/ready     200 as long as it serves\n"
    "  /            this; a page for browsers\n";

static void put_lines(struct text *text, const struct node *node,
                      const struct node_figures *figures)
{
    text_add(text, "Velour Fog %s, an in-memory key-value store\n", VELOUR_FOG_VERSION);
    put_state(text, node, figures);
    text_add(text, ", up ");
    lines_put_value(text, UNIT_SPAN, figures->common.uptime_us);
    text_add(text, "\n\nkeys         ");
    lines_put_value(text, UNIT_COUNT, figures->store.keys);
    text_add(text, "\nmemory       ");
    lines_put_value(text, UNIT_BYTES, figures->common.process_resident_bytes);
    text_add(text, " (");
    lines_put_limit(text, UNIT_BYTES, node->config.memory_max);
    text_add(text, ")\n");
    lines_put_server(text, &figures->common);
    put_members(text, node);
    text_add(text, "%s", usage);
}

void front_reply(struct node *node, struct request *request)
{
    char room[FIGURES_TEXT_BYTES];
    struct text text = text_in(room, sizeof room);
    struct node_figures figures;
    if (page_reply(request))
        return;
    node_figures_gather(node, &figures);
    put_lines(&text, node, &figures);
    figures_reply(request, SLICE("text/plain; charset=utf-8"), &text, true);
}
