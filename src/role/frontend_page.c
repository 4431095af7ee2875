/* GET / of a front-end: a page for those who ask for HTML, a few lines of text for all others. */
#include <inttypes.h>

#include "role/frontend_figures.h"
#include "role/page_parts.h"
#include "version.h"

#define PIECE(array) ((struct slice){array, sizeof(array) - 1})

static const char page_footer[] = "</div>\n"
                                  "</main>\n"
                                  "<footer>\n"
                                  "<nav aria-label=\"Operations\"><ul>\n"
                                  "<li><a href=\"/-/status\">Status</a> (JSON)</li>\n"
                                  "<li><a href=\"/-/metrics\">Metrics</a> (Prometheus)</li>\n"
                                  "<li><a href=\"/-/healthy\">Healthy</a></li>\n"
                                  "<li><a href=\"/-/ready\">Ready</a></li>\n"
                                  "</ul></nav>\n"
                                  "</footer>\n";

static const char page_script[] =
    "function state({draining, ready, partitions}) {\n"
    "  const reached = partitions.filter(p => p.reached).length, all = partitions.length;\n"
    "  return draining ? 'stopping' : reached === all ? 'ready'\n"
    "    : reached ? `ready for ${reached} of ${all} partitions` : 'not ready';\n"
    "}\n"
    "function tellFigures(tr, figures) {\n"
    "  for (const name of ['in_flight', 'requests', 'failures'])\n"
    "    tr.insertCell().textContent = units.count(figures[name]);\n"
    "}\n"
    "function tellPartition(name, p) {\n"
    "  const td = row(at('partitions'), name, p.reached ? 'reached' : 'not reached');\n"
    "  td.className = p.reached ? '' : 'bad';\n"
    "  td.parentNode.className = 'group';\n"
    "  tellFigures(td.parentNode, p);\n"
    "  for (const address in p.nodes) {\n"
    "    const node = p.nodes[address], wrong = node.state === 'wrong_partition';\n"
    "    const said = node.state.replace('_', ' ') + (wrong ? ` ${node.says}` : '');\n"
    "    const td = row(at('partitions'), address, said);\n"
    "    td.className = ['ready', 'alias'].includes(node.state) ? '' : 'bad';\n"
    "    tellFigures(td.parentNode, node);\n"
    "  }\n"
    "}\n"
    "function tell(now) {\n"
    "  const ready = now.partitions.reduce((sum, p) => sum + p.node_counts.ready, 0);\n"
    "  at('nodes').textContent = units.count(ready);\n"
    "  at('reached').textContent = now.partitions.filter(p => p.reached).length;\n"
    "  if (at('problems').textContent !== now.problems.join(''))\n"
    "    at('problems').replaceChildren(...now.problems.map(problem => {\n"
    "      const li = document.createElement('li');\n"
    "      li.textContent = problem;\n"
    "      return li;\n"
    "    }));\n"
    "  at('partitions').textContent = '';\n"
    "  for (const p of now.partitions) tellPartition(`Partition ${p.number}`, p);\n"
    "  for (const p of now.previous_partitions) tellPartition(`Previous ${p.number}`, p);\n"
    "}\n";

/* What it is doing, in a word or two. */
static void put_state(struct text *text, const struct frontend_figures *figures)
{
    if (figures->common.draining)
        text_add(text, "stopping");
    else if (figures->reached == figures->count)
        text_add(text, "ready");
    else if (figures->reached > 0)
        text_add(text, "ready for %u of %u partitions", figures->reached, figures->count);
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

static void put_problems(struct text *text, const struct frontend_figures *figures,
                         const char *before, const char *after)
{
    for (unsigned i = 0; i < figures->problem_count && i < FRONTEND_PROBLEMS_MAX; i++)
        text_add(text, "%s%s%s", before, figures->problems[i], after);
}

/* HTML */

static unsigned nodes_ready(const struct frontend_figures *figures)
{
    unsigned ready = 0;
    for (unsigned i = 0; i < figures->count; i++)
        ready += figures->partitions[i].nodes[BACKEND_READY];
    return ready;
}

static void put_tiles(struct text *text, const struct frontend_figures *figures)
{
    text_add(text,
             "<main>\n<dl class=\"tiles\">\n<div><dt>Partitions</dt><dd id=\"reached\">%u</dd>"
             "<dd class=\"quiet\">reached, of %u</dd></div>\n"
             "<div><dt>Nodes</dt><dd id=\"nodes\">%u</dd><dd class=\"quiet\">ready</dd></div>\n",
             figures->reached, figures->count, nodes_ready(figures));
    page_put_tiles_end(text, &figures->common);
}

static void put_rows(struct text *text, const struct frontend_figures *figures)
{
    const struct frontend_counters *counters = &figures->frontend->counters;
    page_put_row(text, "Tried again", "relays.retries", UNIT_COUNT, counters->retries);
    page_put_row(text, "Waited for a node", "relays.parked", UNIT_COUNT, counters->parked);
    page_put_row(text, "Answered by no node", "relays.unanswered", UNIT_COUNT,
                 counters->unanswered);
    page_put_row(text, "Refused as another partition's", "relays.misrouted", UNIT_COUNT,
                 counters->misrouted);
    page_put_row(text, "Memory", "memory.process_resident_bytes", UNIT_BYTES,
                 figures->common.process_resident_bytes);
    page_put_row(text, "Largest value allowed", "limits.value_max_bytes", UNIT_BYTES,
                 figures->frontend->config.value_max);
}

static void put_cells(struct text *text, uint64_t in_flight, uint64_t requests, uint64_t failures)
{
    const uint64_t values[] = {in_flight, requests, failures};
    for (unsigned i = 0; i < 3; i++) {
        text_add(text, "<td>");
        page_put_value(text, UNIT_COUNT, values[i]);
        text_add(text, "</td>");
    }
    text_add(text, "</tr>\n");
}

static void put_node_row(struct text *text, const struct backend *backend)
{
    enum backend_state state = backend_state(backend);
    char address[ADDRESS_TEXT_BYTES];
    text_add(text, "<tr><th scope=\"row\">%s</th><td%s>",
             address_format(&backend->address, address),
             state == BACKEND_READY || state == BACKEND_ALIAS ? "" : " class=\"bad\"");
    put_node_state(text, backend);
    text_add(text, "</td>");
    put_cells(text, backend_in_flight(backend), backend->requests, backend->failures);
}

static void put_partition_rows(struct text *text, const struct partition_figures *figures,
                               unsigned share)
{
    const struct partition *partition = figures->partition;
    struct backend_walk walk = {.partition = partition, .left = share};
    const struct backend *backend;
    text_add(text, "<tr class=\"group\"><th scope=\"row\">%s %u</th><td%s>%s</td>",
             partition_is_previous(partition) ? "Previous" : "Partition", partition->number,
             partition->reached ? "" : " class=\"bad\"",
             partition->reached ? "reached" : "not reached");
    put_cells(text, figures->in_flight, partition->requests, partition->failures);
    while ((backend = backend_walk_next(&walk)))
        put_node_row(text, backend);
}

static void put_partitions(struct text *text, const struct frontend_figures *figures)
{
    unsigned share = frontend_figures_share(figures, FRONTEND_NODES_TOLD_MAX);
    text_add(text, "<section aria-labelledby=\"partitions-title\">\n"
                   "<h2 id=\"partitions-title\">Partitions</h2>\n<div class=\"wide\"><table>\n"
                   "<caption class=\"quiet\">Whom this front-end asks.</caption>\n"
                   "<thead><tr><th scope=\"col\">Node</th><td>State</td><td>In flight</td>"
                   "<td>Requests</td><td>Failed</td></tr></thead>\n<tbody id=\"partitions\">\n");
    for (unsigned i = 0; i < figures->partition_count; i++)
        put_partition_rows(text, &figures->partitions[i], share);
    text_add(text, "</tbody>\n</table></div>\n</section>\n");
}

static void put_page(struct text *text, const struct frontend_figures *figures)
{
    char room[64];
    struct text state = text_in(room, sizeof room);
    put_state(&state, figures);
    page_put_style(text);
    page_put_header(text, &figures->common, "Velour Fog front-end", text_slice(&state));
    text_add(text, "<ul id=\"problems\" class=\"bad\" role=\"alert\">");
    put_problems(text, figures, "<li>", "</li>");
    text_add(text, "</ul>\n</header>\n");
    put_tiles(text, figures);
    page_put_table(text, &figures->common);
    put_rows(text, figures);
    page_put_table_end(text);
    page_put_form(text);
    put_partitions(text, figures);
    text_add_slice(text, PIECE(page_footer));
    page_put_script(text, PIECE(page_script));
}

/* Text */

static const char lines_usage[] =
    "\n"
    "  curl -d VALUE HOST:PORT/KEY               sets a key\n"
    "  curl --data-binary @FILE HOST:PORT/KEY    sets it to what is in a file\n"
    "  curl HOST:PORT/KEY                        gets it (204: there is no such key)\n"
    "  curl -X DELETE HOST:PORT/KEY              deletes it\n"
    "\n"
    "  /-/status    figures as JSON            /-/metrics   for Prometheus\n"
    "  /-/healthy   200 as long as it runs     /-/ready     200 as long as it serves\n"
    "  /            this; a page for browsers\n";

static void put_partition_lines(struct text *text, const struct partition *partition,
                                unsigned share)
{
    struct backend_walk walk = {.partition = partition, .left = share};
    const struct backend *backend;
    text_add(text, "%s %u: %s\n", partition_is_previous(partition) ? "previous" : "partition",
             partition->number, partition->reached ? "reached" : "NOT REACHED");
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
    page_put_value(text, UNIT_SPAN, figures->common.uptime_us);
    text_add(text, "\n");
    put_problems(text, figures, "\nPROBLEM: ", "\n");
    text_add(text, "\npartitions   %u of %u reached\nnodes        %u ready\nmemory       ",
             figures->reached, figures->count, nodes_ready(figures));
    page_put_value(text, UNIT_BYTES, figures->common.process_resident_bytes);
    text_add(text, "\n");
    page_put_lines(text, &figures->common);
    text_add(text, "\n");
    for (unsigned i = 0; i < figures->partition_count; i++)
        put_partition_lines(text, figures->partitions[i].partition, share);
    text_add_slice(text, PIECE(lines_usage));
}

void frontend_reply_page(struct frontend *frontend, struct request *request)
{
    if (page_is_wanted(&request->head))
        frontend_figures_reply(frontend, request, SLICE("text/html; charset=utf-8"), true,
                               put_page);
    else
        frontend_figures_reply(frontend, request, SLICE("text/plain; charset=utf-8"), true,
                               put_lines);
}
