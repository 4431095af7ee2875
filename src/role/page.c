#include <inttypes.h>

#include "base/date.h"
#include "role/figures.h"
#include "version.h"

/* GET /: a page for those who ask for HTML, a few lines of text for all others.
 *
 * The page is whole without its script: the figures of the moment stand in it. Each stands in an
 * element that names its place in /-/status (data-figure) and how it is written (data-unit); the
 * script reads /-/status every second and writes it anew by the same rules. Nothing comes from
 * elsewhere, which the Content-Security-Policy in it makes sure of.
 *
 * Its parts are in several strings since C promises no more than 4095 bytes for one. */

enum { PAGE_MEMBERS_MAX = 64 }; /* told one by one, as in /-/status */

/* How a figure is written, here and in the script. */
enum unit {
    UNIT_COUNT,
    UNIT_BYTES,
    UNIT_TIME, /* µs here, seconds in /-/status */
    UNIT_SPAN, /* as UNIT_TIME, in days, hours, minutes and seconds */
};

static const char *const unit_names[] = {
    [UNIT_COUNT] = "count", [UNIT_BYTES] = "bytes", [UNIT_TIME] = "time", [UNIT_SPAN] = "span"};

static const char page_style[] =
    "<!doctype html>\n"
    "<html lang=\"en\">\n"
    "<head>\n"
    "<meta charset=\"utf-8\">\n"
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<meta name=\"color-scheme\" content=\"light dark\">\n"
    "<title>Velour Fog</title>\n"
    "<link rel=\"icon\" href=\"data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' "
    "viewBox='0 0 16 16'%3E%3Cg stroke='%237a5cb0' stroke-width='2.4' stroke-linecap='round'%3E"
    "%3Cpath d='M3 4h8M5 8h9M2 12h9'/%3E%3C/g%3E%3C/svg%3E\">\n"
    "<style>\n"
    ":root { --back: #f5f3f8; --card: #fff; --text: #211c2b; --quiet: #625a70; --line: #dcd6e5;\n"
    "  --edge: #8a8199; --accent: #5f3f9e; --on-accent: #fff; --good: #1d6b3f; --bad: #a3262c;\n"
    "  color-scheme: light dark }\n"
    "@media (prefers-color-scheme: dark) { :root {\n"
    "  --back: #15121b; --card: #211d2a; --text: #ece8f3; --quiet: #aba2ba; --line: #39334a;\n"
    "  --edge: #80778f; --accent: #bda2f2; --on-accent: #1b1326; --good: #7fd3a1;\n"
    "  --bad: #ff9a9a } }\n"
    "* { box-sizing: border-box }\n"
    "body { margin: 0; background: var(--back); color: var(--text); line-height: 1.5;\n"
    "  font-family: system-ui, \"Segoe UI\", Roboto, \"Helvetica Neue\", Arial, sans-serif }\n"
    "header, main, footer { max-width: 72rem; margin: 0 auto; padding: 0 1rem }\n"
    "header { padding-top: 1.5rem }\n"
    "h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 }\n"
    "h2 { font-size: 1.05rem; margin: 0 0 .75rem }\n"
    "p { margin: .25rem 0 .75rem }\n"
    "a { color: var(--accent) }\n"
    "[hidden] { display: none !important }\n"
    ".quiet { color: var(--quiet); font-size: .9rem }\n"
    ".bad { color: var(--bad) }\n"
    "#ready { font-weight: 600; color: var(--good) }\n"
    "#ready.bad { color: var(--bad) }\n"
    ".tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr));\n"
    "  gap: .75rem; margin: 0 }\n"
    ".tiles > div, section { background: var(--card); border: 1px solid var(--line);\n"
    "  border-radius: .6rem }\n"
    ".tiles > div { padding: .75rem 1rem }\n"
    ".tiles dt { color: var(--quiet); font-size: .9rem }\n"
    ".tiles dd { margin: 0 }\n"
    ".tiles dd:nth-of-type(1) { font-size: 1.5rem; line-height: 1.3;\n"
    "  font-variant-numeric: tabular-nums }\n"
    "main { display: grid; gap: 1rem; align-items: start }\n"
    "main > * { min-width: 0 }\n"
    "section { padding: 1rem }\n"
    "@media (min-width: 56rem) {\n"
    "  main { grid-template-columns: 1fr 1fr }\n"
    "  .tiles { grid-column: 1 / -1 } }\n"
    "table { width: 100%; border-collapse: collapse }\n"
    "caption { text-align: left; padding-bottom: .5rem }\n"
    "th, td { padding: .3rem 0; border-top: 1px solid var(--line); text-align: left;\n"
    "  vertical-align: baseline }\n"
    "th { font-weight: normal; color: var(--quiet); padding-right: 1rem }\n"
    "td { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }\n";

static const char page_style_form[] =
    "label { display: block; font-weight: 600; margin: .75rem 0 .25rem }\n"
    "input, textarea { width: 100%; padding: .5rem .6rem; background: var(--back);\n"
    "  color: inherit; font: 1rem/1.4 ui-monospace, Menlo, Consolas, monospace;\n"
    "  border: 1px solid var(--edge); border-radius: .4rem }\n"
    "textarea { resize: vertical }\n"
    "button { font: inherit; font-weight: 600; padding: .45rem 1.1rem; margin: .5rem .25rem 0 0;\n"
    "  border: 1px solid var(--accent); border-radius: .4rem; background: transparent;\n"
    "  color: var(--accent); cursor: pointer }\n"
    "button:first-of-type { background: var(--accent); color: var(--on-accent) }\n"
    "button:hover { filter: brightness(1.1) }\n"
    "button:disabled { opacity: .6; cursor: default }\n"
    ":focus-visible { outline: 3px solid var(--accent); outline-offset: 2px }\n"
    "#answer { margin-top: 1rem }\n"
    "code, pre, td.code { font-family: ui-monospace, Menlo, Consolas, monospace;\n"
    "  font-size: .9rem; white-space: pre-wrap; overflow-wrap: anywhere }\n"
    "pre { margin: .5rem 0; padding: .6rem; background: var(--back); border-radius: .4rem;\n"
    "  overflow: auto; max-height: 20rem }\n"
    "footer { padding-top: 1rem; padding-bottom: 2rem }\n"
    "footer ul { margin: 0; padding: 0; list-style: none; display: flex; flex-wrap: wrap;\n"
    "  gap: .25rem 1.25rem }\n"
    "@media (prefers-reduced-motion: no-preference) { button { transition: filter .1s } }\n"
    "</style>\n"
    "</head>\n"
    "<body>\n";

static const char page_form[] =
    "<div>\n"
    "<section id=\"try\" aria-labelledby=\"try-title\" hidden>\n"
    "<h2 id=\"try-title\">Get, set or delete a key</h2>\n"
    "<form id=\"form\">\n"
    "<label for=\"key\">Key</label>\n"
    "<input id=\"key\" required maxlength=\"4096\" autocapitalize=\"off\" autocomplete=\"off\"\n"
    "  spellcheck=\"false\">\n"
    "<label for=\"value\">Value <span class=\"quiet\">(used by Set)</span></label>\n"
    "<textarea id=\"value\" rows=\"3\" autocapitalize=\"off\" spellcheck=\"false\"></textarea>\n"
    "<button value=\"GET\">Get</button>\n"
    "<button value=\"PUT\">Set</button>\n"
    "<button value=\"DELETE\">Delete</button>\n"
    "</form>\n"
    "<div id=\"answer\" hidden>\n"
    "<p role=\"status\" id=\"outcome\"></p>\n"
    "<table><caption class=\"quiet\">The answer</caption><tbody id=\"fields\"></tbody></table>\n"
    "<pre id=\"body\" tabindex=\"0\" role=\"region\" aria-label=\"Value\"></pre>\n"
    "</div>\n"
    "</section>\n"
    "<noscript><section><h2>Get, set or delete a key</h2>\n"
    "<p>Without a script this page only shows figures, those of the moment at which it was\n"
    "loaded. Use curl, or any other HTTP client:</p>\n"
    "<pre>curl -d VALUE HOST:PORT/KEY\n"
    "curl HOST:PORT/KEY\n"
    "curl -X DELETE HOST:PORT/KEY</pre></section></noscript>\n";

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

static const char page_script_figures[] =
    "<script>\n"
    "'use strict';\n"
    "const at = id => document.getElementById(id);\n"
    "const units = {\n"
    "  count: n => n.toLocaleString('en'),\n"
    "  bytes: n => {\n"
    "    const names = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];\n"
    "    let i = 0;\n"
    "    for (; n >= 1024 && i < 4; i++) n /= 1024;\n"
    "    return (i ? n.toFixed(1) : n) + ' ' + names[i];\n"
    "  },\n"
    "  time: s => s < 0.001 ? Math.round(s * 1e6) + ' \\u00b5s'\n"
    "    : s < 1 ? (s * 1e3).toFixed(1) + ' ms' : s.toFixed(2) + ' s',\n"
    "  span: s => {\n"
    "    s = Math.floor(s);\n"
    "    const m = Math.floor(s / 60), h = Math.floor(m / 60), d = Math.floor(h / 24);\n"
    "    return d ? `${d} d ${h % 24} h` : h ? `${h} h ${m % 60} min`\n"
    "      : m ? `${m} min ${s % 60} s` : `${s} s`;\n"
    "  },\n"
    "};\n"
    "\n"
    "const figures = document.querySelectorAll('[data-figure]');\n"
    "let before = null;\n"
    "function tellMember(address, {members, clock_skew_seconds: skews}) {\n"
    "  const tr = document.createElement('tr'), th = document.createElement('th');\n"
    "  const td = tr.insertCell(), skew = skews[address];\n"
    "  th.scope = 'row';\n"
    "  th.textContent = address;\n"
    "  tr.prepend(th);\n"
    "  td.textContent = members[address];\n"
    "  if (Math.abs(skew) > 1)\n"
    "    td.append(`, clock ${skew > 0 ? '+' : '\\u2212'}${Math.abs(skew).toFixed(1)} s`);\n"
    "  return tr;\n"
    "}\n"
    "function state({draining, ready, cluster}) {\n"
    "  const gathered = cluster.gathered_permille;\n"
    "  return draining ? 'stopping' : ready ? 'ready' : gathered < 1000\n"
    "    ? `gathering, ${(gathered / 10).toFixed(1)} %` : 'not ready';\n"
    "}\n"
    "function show(now) {\n"
    "  for (const e of figures) {\n"
    "    const value = e.dataset.figure.split('.').reduce((o, name) => o?.[name], now);\n"
    "    e.textContent = value == null ? '\\u2013' : units[e.dataset.unit](value);\n"
    "  }\n"
    "  at('version').textContent = now.version;\n"
    "  at('ready').textContent = state(now);\n"
    "  at('ready').className = now.ready ? '' : 'bad';\n"
    "  at('members').replaceChildren(...Object.keys(now.cluster.members)\n"
    "    .map(address => tellMember(address, now.cluster)));\n"
    "  if (before?.started === now.started) {\n"
    "    const seconds = now.uptime_seconds - before.uptime_seconds;\n"
    "    const requests = now.requests.total - before.requests.total;\n"
    "    at('rate').textContent = units.count(Math.round(requests / Math.max(seconds, 0.001)));\n"
    "  }\n"
    "  before = now;\n"
    "}\n"
    "\n"
    "let answered = new Date();\n"
    "async function renew() {\n"
    "  try {\n"
    "    if (!document.hidden) {\n"
    "      const signal = AbortSignal.timeout(5000);\n"
    "      const r = await fetch('/-/status', {cache: 'no-store', signal});\n"
    "      show(await r.json());\n"
    "      answered = new Date();\n"
    "      at('lost').textContent = '';\n"
    "    }\n"
    "  } catch {\n"
    "    const time = answered.toLocaleTimeString();\n"
    "    if (!at('lost').textContent)\n"
    "      at('lost').textContent = `The node does not answer. The figures are of ${time}.`;\n"
    "  }\n"
    "  setTimeout(renew, 1000);\n"
    "}\n"
    "at('live').textContent = 'Since the node started; renewed every second.';\n"
    "at('rate-tile').hidden = false;\n"
    "renew();\n"
    "\n";

/* "." and ".." are the only keys that a browser cannot ask for: it shortens such paths. */
static const char page_script_form[] =
    "const shown = 65536;\n"
    "const headers = [['Version', 'Fog-Version'], ['ETag', 'ETag'], ['Type', 'Content-Type'],\n"
    "  ['Seconds left', 'Fog-TTL']];\n"
    "function row(name, text) {\n"
    "  const tr = at('fields').insertRow(), th = document.createElement('th');\n"
    "  th.scope = 'row';\n"
    "  th.textContent = name;\n"
    "  tr.append(th);\n"
    "  const td = tr.insertCell();\n"
    "  td.className = 'code';\n"
    "  td.textContent = text;\n"
    "}\n"
    "function outcome(text, bad) {\n"
    "  at('answer').hidden = false;\n"
    "  at('outcome').textContent = text;\n"
    "  at('outcome').className = bad ? 'bad' : '';\n"
    "  at('fields').textContent = at('body').textContent = '';\n"
    "  at('fields').parentNode.hidden = at('body').hidden = true;\n"
    "}\n"
    "async function ask(method, key, value) {\n"
    "  if (key === '.' || key === '..')\n"
    "    return outcome('A browser cannot ask for this key; curl --path-as-is can.', true);\n"
    "  const path = '/' + encodeURIComponent(key);\n"
    "  const body = method === 'PUT' ? value : undefined;\n"
    "  const r = await fetch(path, {method, body, cache: 'no-store'});\n"
    "  const data = await r.blob();\n"
    "  const done = {GET: units.bytes(data.size), PUT: 'set', DELETE: 'deleted'}[method];\n"
    "  const what = r.status === 204 ? ': there is no such key' : r.ok ? ': ' + done : '';\n"
    "  outcome(`${r.status} ${r.statusText}${what}`, !r.ok);\n"
    "  row('Request', `${method} ${path}`);\n"
    "  for (const [name, field] of headers)\n"
    "    if (r.headers.has(field)) row(name, r.headers.get(field));\n"
    "  at('fields').parentNode.hidden = false;\n"
    "  at('body').textContent = await data.slice(0, shown).text();\n"
    "  if (data.size > shown)\n"
    "    at('body').append(`\\n\\u2026 and ${units.bytes(data.size - shown)} more`);\n"
    "  at('body').hidden = data.size === 0;\n"
    "}\n"
    "at('form').addEventListener('submit', async event => {\n"
    "  event.preventDefault();\n"
    "  const buttons = at('form').querySelectorAll('button');\n"
    "  const method = event.submitter?.value || 'GET';\n"
    "  for (const b of buttons) b.disabled = true;\n"
    "  try {\n"
    "    await ask(method, at('key').value, at('value').value);\n"
    "  } catch (e) {\n"
    "    const unsendable = 'This key is not text that can be sent.';\n"
    "    outcome(e instanceof URIError ? unsendable : 'The node does not answer.', true);\n"
    "  }\n"
    "  for (const b of buttons) b.disabled = false;\n"
    "  event.submitter?.focus();\n"
    "});\n"
    "at('try').hidden = false;\n"
    "</script>\n"
    "</body>\n"
    "</html>\n";

#define PIECE(array) ((struct slice){array, sizeof(array) - 1})

/* With a comma between groups of three digits. */
static void put_count(struct text *text, uint64_t value)
{
    if (value < 1000) {
        text_add(text, "%" PRIu64, value);
        return;
    }
    put_count(text, value / 1000);
    text_add(text, ",%03" PRIu64, value % 1000);
}

static void put_bytes(struct text *text, uint64_t bytes)
{
    static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    unsigned i = 0;
    double size = (double)bytes;
    for (; size >= 1024 && i < 4; i++)
        size /= 1024;
    text_add(text, "%.*f %s", i > 0, size, names[i]);
}

static void put_time(struct text *text, uint64_t us)
{
    if (us < 1000)
        text_add(text, "%" PRIu64 " µs", us);
    else if (us < 1000000)
        text_add(text, "%.1f ms", (double)us / 1e3);
    else
        text_add(text, "%.2f s", (double)us / 1e6);
}

static void put_span(struct text *text, uint64_t us)
{
    uint64_t seconds = us / 1000000, minutes = seconds / 60, hours = minutes / 60,
             days = hours / 24;
    if (days)
        text_add(text, "%" PRIu64 " d %" PRIu64 " h", days, hours % 24);
    else if (hours)
        text_add(text, "%" PRIu64 " h %" PRIu64 " min", hours, minutes % 60);
    else if (minutes)
        text_add(text, "%" PRIu64 " min %" PRIu64 " s", minutes, seconds % 60);
    else
        text_add(text, "%" PRIu64 " s", seconds);
}

static void put_value(struct text *text, enum unit unit, uint64_t value)
{
    static void (*const writers[])(struct text *, uint64_t) = {[UNIT_COUNT] = put_count,
                                                               [UNIT_BYTES] = put_bytes,
                                                               [UNIT_TIME] = put_time,
                                                               [UNIT_SPAN] = put_span};
    writers[unit](text, value);
}

/* `place` is the figure's path in /-/status. */
static void put_figure(struct text *text, const char *place, enum unit unit, uint64_t value)
{
    text_add(text, "<span data-figure=\"%s\" data-unit=\"%s\">", place, unit_names[unit]);
    put_value(text, unit, value);
    text_add(text, "</span>");
}

/* What it is doing, in a word or two. */
static void put_state(struct text *text, const struct node *node, const struct figures *figures)
{
    unsigned permille = cluster_gathered_permille(node->cluster);
    if (node->draining)
        text_add(text, "stopping");
    else if (figures->ready)
        text_add(text, "ready");
    else if (permille < 1000)
        text_add(text, "gathering, %u.%u %%", permille / 10, permille % 10);
    else
        text_add(text, "not ready");
}

static void put_header(struct text *text, const struct node *node, const struct figures *figures)
{
    text_add(text, "<header>\n<h1>Velour Fog</h1>\n<p class=\"quiet\"><span id=\"ready\"%s>",
             figures->ready ? "" : " class=\"bad\"");
    put_state(text, node, figures);
    text_add(text, "</span> · version <span id=\"version\">%s</span> · up ", VELOUR_FOG_VERSION);
    put_figure(text, "uptime_seconds", UNIT_SPAN, figures->uptime_us);
    text_add(text, "</p>\n<p id=\"lost\" class=\"bad\" role=\"alert\"></p>\n</header>\n");
}

/* The second line of a tile: a limit that does not change. */
static void put_limit(struct text *text, enum unit unit, uint64_t limit)
{
    if (limit) {
        text_add(text, "of ");
        put_value(text, unit, limit);
    } else
        text_add(text, "no limit");
}

static void put_tiles(struct text *text, const struct node *node, const struct figures *figures)
{
    text_add(text, "<main>\n<dl class=\"tiles\">\n<div><dt>Keys</dt><dd>");
    put_figure(text, "keys", UNIT_COUNT, figures->store.keys);
    text_add(text, "</dd><dd class=\"quiet\">and ");
    put_figure(text, "tombstones", UNIT_COUNT, figures->store.tombstones);
    text_add(text, " deleted</dd></div>\n<div><dt>Memory</dt><dd>");
    put_figure(text, "memory.process_resident_bytes", UNIT_BYTES, figures->process_resident_bytes);
    text_add(text, "</dd><dd class=\"quiet\">");
    put_limit(text, UNIT_BYTES, node->config.memory_max);
    text_add(text, "</dd></div>\n<div><dt>Connections</dt><dd>");
    put_figure(text, "connections.open", UNIT_COUNT, figures->connections);
    text_add(text, "</dd><dd class=\"quiet\">");
    put_limit(text, UNIT_COUNT, node->config.server.connections_max);
    text_add(text,
             "</dd></div>\n<div id=\"rate-tile\" hidden><dt>Requests</dt><dd id=\"rate\">–</dd>"
             "<dd class=\"quiet\">a second</dd></div>\n</dl>\n");
}

static void put_row(struct text *text, const char *label, const char *place, enum unit unit,
                    uint64_t value)
{
    text_add(text, "<tr><th scope=\"row\">%s</th><td>", label);
    put_figure(text, place, unit, value);
    text_add(text, "</td></tr>\n");
}

static void put_request_rows(struct text *text, const struct figures *figures)
{
    const struct histogram *latency = &figures->server->latency_us;
    put_row(text, "Requests", "requests.total", UNIT_COUNT, figures->requests);
    put_row(text, "Requests refused (4xx)", "requests.status_4xx", UNIT_COUNT,
            figures->by_class[4]);
    put_row(text, "Requests failed (5xx)", "requests.status_5xx", UNIT_COUNT, figures->by_class[5]);
    put_row(text, "Requests that wait for a change", "connections.held", UNIT_COUNT, figures->held);
    put_row(text, "Time to answer, half are within", "latency_seconds.p50", UNIT_TIME,
            figures_quantile(latency, 0.5));
    put_row(text, "99 % are within", "latency_seconds.p99", UNIT_TIME,
            figures_quantile(latency, 0.99));
    put_row(text, "The longest", "latency_seconds.max", UNIT_TIME, latency->max_us);
}

static void put_rows(struct text *text, const struct node *node, const struct figures *figures)
{
    const struct server_counters *counters = figures->server;
    put_request_rows(text, figures);
    put_row(text, "Received", "bytes.received", UNIT_BYTES, node->loop->received_bytes);
    put_row(text, "Sent", "bytes.sent", UNIT_BYTES, node->loop->sent_bytes);
    put_row(text, "Connections accepted", "connections.accepted", UNIT_COUNT, counters->accepted);
    put_row(text, "Refused: network not allowed", "connections.refused_network", UNIT_COUNT,
            counters->refused_network);
    put_row(text, "Refused: too many", "connections.refused_full", UNIT_COUNT,
            counters->refused_full);
    put_row(text, "Memory in records", "memory.table_bytes", UNIT_BYTES, figures->table_bytes);
    put_row(text, "Memory held for records", "memory.table_resident_bytes", UNIT_BYTES,
            figures->table_resident_bytes);
    if (figures->table_limit_bytes)
        put_row(text, "The most that records may take", "memory.table_limit_bytes", UNIT_BYTES,
                figures->table_limit_bytes);
    put_row(text, "Values expired", "expired", UNIT_COUNT, figures->store.expired);
    put_row(text, "Largest value allowed", "limits.value_max_bytes", UNIT_BYTES,
            node->config.value_max);
}

static void put_table(struct text *text, const struct node *node, const struct figures *figures)
{
    char now[DATE_HTTP_BYTES];
    date_http(node->loop->wall_us / 1000000, now);
    text_add(text,
             "<section aria-labelledby=\"figures-title\">\n<h2 id=\"figures-title\">Figures</h2>\n"
             "<table>\n<caption class=\"quiet\" id=\"live\">Since the node started, as of "
             "%.*s.</caption>\n<tbody>\n",
             DATE_HTTP_BYTES, now);
    put_rows(text, node, figures);
    text_add(text, "</tbody>\n</table>\n</section>\n");
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

static void put_page(struct text *text, const struct node *node, const struct figures *figures)
{
    text_add_slice(text, PIECE(page_style));
    text_add_slice(text, PIECE(page_style_form));
    put_header(text, node, figures);
    put_tiles(text, node, figures);
    put_table(text, node, figures);
    text_add_slice(text, PIECE(page_form));
    put_cluster(text, node);
    text_add_slice(text, PIECE(page_footer));
    text_add_slice(text, PIECE(page_script_figures));
    text_add_slice(text, PIECE(page_script_form));
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

static void put_lines(struct text *text, const struct node *node, const struct figures *figures)
{
    text_add(text, "Velour Fog %s, an in-memory key-value store\n", VELOUR_FOG_VERSION);
    put_state(text, node, figures);
    text_add(text, ", up ");
    put_span(text, figures->uptime_us);
    text_add(text, "\n\nkeys         ");
    put_count(text, figures->store.keys);
    text_add(text, "\nmemory       ");
    put_bytes(text, figures->process_resident_bytes);
    text_add(text, " (");
    put_limit(text, UNIT_BYTES, node->config.memory_max);
    text_add(text, ")\nconnections  ");
    put_count(text, figures->connections);
    text_add(text, " (");
    put_limit(text, UNIT_COUNT, node->config.server.connections_max);
    text_add(text, ")\nrequests     ");
    put_count(text, figures->requests);
    text_add(text, "\n");
    put_members(text, node, "member       ", " ", "\n");
    text_add_slice(text, PIECE(lines_usage));
}

/* Whether a media type of this list (RFC 9110, 12.5.1) is text/html. */
static bool list_has_html(struct slice list)
{
    struct slice part, type;
    while (slice_next(&list, ',', &part))
        if (slice_next(&part, ';', &type) && slice_equal_nocase(type, SLICE("text/html")))
            return true;
    return false;
}

static bool wants_html(const struct http_head *head)
{
    for (unsigned i = 0; i < head->field_count; i++)
        if (head->fields[i].name == HTTP_FIELD_ACCEPT && list_has_html(head->fields[i].value))
            return true;
    return false;
}

void front_reply(struct node *node, struct request *request)
{
    char room[FIGURES_TEXT_BYTES];
    struct text text = text_in(room, sizeof room);
    struct figures figures;
    bool html = wants_html(&request->head);
    figures_gather(node, &figures);
    if (html)
        put_page(&text, node, &figures);
    else
        put_lines(&text, node, &figures);
    figures_reply(request,
                  html ? SLICE("text/html; charset=utf-8") : SLICE("text/plain; charset=utf-8"),
                  &text, true);
}
