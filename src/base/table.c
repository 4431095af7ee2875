#include "base/table.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROWS_AT_FIRST = 16 };

void table_free(struct table *table)
{
    free(table->rows);
    table->rows = NULL;
    table->count = table->room = 0;
}

int table_add(struct table *table, bool is_title)
{
    if (table->count == table->room) {
        unsigned room = table->room ? table->room * 2 : ROWS_AT_FIRST;
        struct table_row *rows = realloc(table->rows, room * sizeof *rows);
        if (!rows)
            return -ENOMEM;
        table->rows = rows;
        table->room = room;
    }
    struct table_row *row = &table->rows[table->count++];
    memset(row, 0, sizeof *row);
    row->is_title = is_title;
    return 0;
}

void table_put(struct table *table, unsigned column, const char *colour, const char *format, ...)
{
    va_list arguments;
    assert(table->count > 0 && column < table->columns);
    struct table_cell *cell = &table->rows[table->count - 1].cells[column];
    cell->colour = colour;
    va_start(arguments, format);
    vsnprintf(cell->text, sizeof cell->text, format, arguments);
    va_end(arguments);
}

static unsigned width_of(const struct table *table, unsigned column)
{
    unsigned width = 0;
    for (unsigned i = 0; i < table->count; i++) {
        unsigned len = (unsigned)strlen(table->rows[i].cells[column].text);
        if (!table->rows[i].is_title && len > width)
            width = len;
    }
    return width;
}

static void put_cell(const struct table_cell *cell, unsigned width, bool left, bool colours,
                     struct text *out)
{
    bool coloured = colours && cell->colour;
    int pad = (int)(width - (unsigned)strlen(cell->text));
    text_add(out, "%*s", left ? 0 : pad, "");
    text_add(out, "%s%s%s%s%s", coloured ? "\033[" : "", coloured ? cell->colour : "",
             coloured ? "m" : "", cell->text, coloured ? "\033[0m" : "");
    text_add(out, "%*s", left ? pad : 0, "");
}

/* A line ends with its last text, and not with blanks. */
static void trim(struct text *out)
{
    while (out->len > 0 && out->data[out->len - 1] == ' ')
        out->data[--out->len] = 0;
}

void table_line(const struct table *table, unsigned row, bool colours, struct text *out)
{
    const struct table_row *line = &table->rows[row];
    for (unsigned column = 0; column < (line->is_title ? 1 : table->columns); column++) {
        unsigned own = (unsigned)strlen(line->cells[column].text);
        unsigned width = line->is_title ? own : width_of(table, column);
        if (column > 0 && width > 0)
            text_add(out, "  ");
        put_cell(&line->cells[column], width, line->is_title || table->left >> column & 1, colours,
                 out);
    }
    trim(out);
}
