#include <inttypes.h>

#include "role/node_figures.h"
#include "role/page_parts.h"
#include "version.h"

/* GET /: a page for those who ask for HTML, a few lines of text for all others. */

enum { PAGE_MEMBERS_MAX = 64 }; /* told one by one, as in /-/status */

static const char page_footer[] =
    "</div>\n"
    "</main>\n"
    "<footer>\n"
    "<nav aria-label=\"Operations\"><ul>\n"
    "<li><a href=\"/-/status\">Status</a> (JSON)</li>\n"
    "<li><a href=\"/-/metrics\">Metrics</a> (Prometheus)</li>\n"
    "<li><a href=\"/-/keys\">Keys</a> (a line each)</li>\n"
    "<li><a href=\"/-/records\" download=\"velour-fog.records\">Records</a> (a backup)</li>\n"
    "<li><a href=\"/-/digest\">Digest</a></li>\n"
    "<li><a href=\"/-/healthy\">Healthy</a></li>\n"
    "<li><a href=\"/-/ready\">Ready</a></li>\n"
    "</ul></nav>\n"
    "</footer>\n";

static const char page_script[] =
    "function tell({cluster: {members, clock_skew_seconds: skews}}) {\n"
    "  at('members').textContent = '';\n"
    "  for (const address in members) {\n"
    "    const td = row(at('members'), address, members[address]), skew = skews[address];\n"
    "    if (Math.abs(skew) > 1)\n"
    "      td.append(`, clock ${skew > 0 ? '+' : '\\u2212'}${Math.abs(skew).toFixed(1)} s`);\n"
    "  }\n"
    "}\n"
    "function state({draining, ready, cluster}) {\n"
    "  const gathered = cluster.gathered_permille;\n"
    "  return draining ? 'stopping' : ready ? 'ready' : gathered < 1000\n"
    "    ? `gathering, ${(gathered / 10).toFixed(1)} %` : 'not ready';\n"
    "}\n";

#define PIECE(array) ((struct slice){array, sizeof(array) - 1})

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

static void put_tiles(struct text *text, const struct node *node,
                      const struct node_figures *figures)
{
    text_add(text, "</header>\n<main>\n<dl class=\"tiles\">\n<div><dt>Keys</dt><dd>");
    page_put_figure(text, "keys", UNIT_COUNT, figures->store.keys);
    text_add(text, "</dd><dd class=\"quiet\">and ");
    page_put_figure(text, "tombstones", UNIT_COUNT, figures->store.tombstones);
    text_add(text, " deleted</dd></div>\n<div><dt>Memory</dt><dd>");
    page_put_figure(text, "memory.process_resident_bytes", UNIT_BYTES,
                    figures->common.process_resident_bytes);
    text_add(text, "</dd><dd class=\"quiet\">");
    page_put_limit(text, UNIT_BYTES, node->config.memory_max);
    text_add(text, "</dd></div>\n");
    page_put_tiles_end(text, &figures->common);
}

static void put_rows(struct text *text, const struct node *node, const struct node_figures *figures)
{
    page_put_row(text, "Memory in records", "memory.table_bytes", UNIT_BYTES, figures->table_bytes);
    page_put_row(text, "Memory held for records", "memory.table_resident_bytes", UNIT_BYTES,
                 figures->table_resident_bytes);
    if (figures->table_limit_bytes)
        page_put_row(text, "The most that records may take", "memory.table_limit_bytes", UNIT_BYTES,
                     figures->table_limit_bytes);
    page_put_row(text, "Values expired", "expired", UNIT_COUNT, figures->store.expired);
    page_put_row(text, "Largest value allowed", "limits.value_max_bytes", UNIT_BYTES,
                 node->config.value_max);
}

/* Who belongs to the cluster, what each is doing, and how far its clock is off when that is far. */
static void put_members(struct text *text, const struct node *node, const char *before,
                        const char *between, const char *after)
{
    const struct members *members = cluster_list(node->cluster);
    char address[ADDRESS_TEXT_BYTES];
    for (unsigned i = 0, shown = 0; i < members->count && shown < PAGE_MEMBERS_MAX; i++) {
        const struct member *member = members->list[i];
        struct peer_figures figures = cluster_peer_figures(node->cluster, member);
        if (member->state != MEMBER_HERE || members_at(members, &member->address) != member)
            continue;
        shown++;
        text_add(text, "%s%s%s%s", before, address_format(&member->address, address), between,
                 figures.is_up ? member_phase_name(member) : "down");
        if (figures.skew_us > CLUSTER_SKEW_US || figures.skew_us < -CLUSTER_SKEW_US)
            text_add(text, ", clock %s%.1f s", figures.skew_us > 0 ? "+" : "−",
                     (double)(figures.skew_us > 0 ? figures.skew_us : -figures.skew_us) / 1e6);
        text_add(text, "%s", after);
    }
}

static void put_cluster(struct text *text, const struct node *node)
{
    text_add(text,
             "<section aria-labelledby=\"members-title\">\n"
             "<h2 id=\"members-title\">Members</h2>\n<table>\n"
             "<caption class=\"quiet\">Who holds these keys, as this node sees it.</caption>\n"
             "<tbody id=\"members\">\n");
    put_members(text, node, "<tr><th scope=\"row\">", "</th><td>", "</td></tr>\n");
    text_add(text, "</tbody>\n</table>\n</section>\n");
}

static void put_page(struct text *text, const struct node *node, const struct node_figures *figures)
{
    char room[40];
    struct text state = text_in(room, sizeof room);
    put_state(&state, node, figures);
    page_put_style(text);
    page_put_header(text, &figures->common, "Velour Fog", text_slice(&state));
    put_tiles(text, node, figures);
    page_put_table(text, &figures->common);
    put_rows(text, node, figures);
    page_put_table_end(text);
    page_put_form(text);
    put_cluster(text, node);
    text_add_slice(text, PIECE(page_footer));
    page_put_script(text, PIECE(page_script));
}

static const char lines_usage[] =
    "\n"
    "  curl -d VALUE HOST:PORT/KEY               sets a key\n"
    "  curl --data-binary @FILE HOST:PORT/KEY    sets it to what is in a file\n"
    "  curl HOST:PORT/KEY                        gets it (204: there is no such key)\n"
    "  curl -X DELETE HOST:PORT/KEY              deletes it\n"
    "\n"
    "  /-/status    figures as JSON            /-/metrics   for Prometheus\n"
    "  /-/keys      all keys (?prefix=)        /-/digest    to compare nodes\n"
    "  /-/records   all records, a backup      /-/merge     POST them to restore\n"
    "  /-/healthy   200 as long as it runs     /-/ready     200 as long as it serves\n"
    "  /            this; a page for browsers\n";

static void put_lines(struct text *text, const struct node *node,
                      const struct node_figures *figures)
{
    text_add(text, "Velour Fog %s, an in-memory key-value store\n", VELOUR_FOG_VERSION);
    put_state(text, node, figures);
    text_add(text, ", up ");
    page_put_value(text, UNIT_SPAN, figures->common.uptime_us);
    text_add(text, "\n\nkeys         ");
    page_put_value(text, UNIT_COUNT, figures->store.keys);
    text_add(text, "\nmemory       ");
    page_put_value(text, UNIT_BYTES, figures->common.process_resident_bytes);
    text_add(text, " (");
    page_put_limit(text, UNIT_BYTES, node->config.memory_max);
    text_add(text, ")\n");
    page_put_lines(text, &figures->common);
    put_members(text, node, "member       ", " ", "\n");
    text_add_slice(text, PIECE(lines_usage));
}

void front_reply(struct node *node, struct request *request)
{
    char room[FIGURES_TEXT_BYTES];
    struct text text = text_in(room, sizeof room);
    struct node_figures figures;
    bool html = page_is_wanted(&request->head);
    node_figures_gather(node, &figures);
    if (html)
        put_page(&text, node, &figures);
    else
        put_lines(&text, node, &figures);
    figures_reply(request,
                  html ? SLICE("text/html; charset=utf-8") : SLICE("text/plain; charset=utf-8"),
                  &text, true);
}
