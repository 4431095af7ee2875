/* The page that GET / gives a browser, as far as it is the same for nodes and front-ends; page_look.c has its style, its form and its
 * script, page_parts.c what figures stand in.
 *
 * The page is whole without its script: the figures of the moment stand in it. Each stands in an element that names its place in
 * /-/status (data-figure) and how it is written (data-unit); the script reads /-/status every second and writes it anew by the same
 * rules. Nothing comes from elsewhere, which the Content-Security-Policy in it makes sure of. */
#ifndef ROLE_PAGE_PARTS_H
#define ROLE_PAGE_PARTS_H

#include "role/figures.h"

/* How a figure is written, here and in the script. */
enum unit {
    UNIT_COUNT,
    UNIT_BYTES,
    UNIT_TIME, /* µs here, seconds in /-/status */
    UNIT_SPAN, /* as UNIT_TIME, in days, hours, minutes and seconds */
};

/* Whether a client asks for HTML. */
bool page_is_wanted(const struct http_head *head);

/* The parts, in their order: style, header (which is left open), tiles, table, form, script. */

void page_put_style(struct text *text);
void page_put_header(struct text *text, const struct figures *figures, const char *title,
                     struct slice state);

/* The last tiles, and the end of their list. */
void page_put_tiles_end(struct text *text, const struct figures *figures);

/* The table of figures, with its first rows; page_put_row adds others. */
void page_put_table(struct text *text, const struct figures *figures);
void page_put_table_end(struct text *text);

/* The form to try keys with, in a div that is left open. */
void page_put_form(struct text *text);

/* To the end of the document. `own` has the functions state(now), in a word or two, and tell(now), which shows what is not of a fixed
 * place; `now` is what /-/status says. */
void page_put_script(struct text *text, struct slice own);

/* Figures. `place` is the path in /-/status. */

void page_put_value(struct text *text, enum unit unit, uint64_t value);
void page_put_figure(struct text *text, const char *place, enum unit unit, uint64_t value);
void page_put_row(struct text *text, const char *label, const char *place, enum unit unit,
                  uint64_t value);

/* The second line of a tile: a limit that does not change; 0 for none. */
void page_put_limit(struct text *text, enum unit unit, uint64_t limit);

/* For who does not want HTML: connections and requests, a line each. */
void page_put_lines(struct text *text, const struct figures *figures);

#endif
