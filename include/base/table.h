/* A table for a terminal: cells as text, columns as wide as what is in them. */
#ifndef BASE_TABLE_H
#define BASE_TABLE_H

#include "base/text.h"

enum {
    TABLE_COLUMNS_MAX = 10,
    TABLE_CELL_BYTES = 72, /* NUL included; what is longer is cut */
};

struct table_cell {
    char text[TABLE_CELL_BYTES];
    const char
        *colour; /* a parameter of SGR (ECMA-48, 8.3.117), such as "32"; NULL for none; static */
};

struct table_row {
    struct table_cell cells[TABLE_COLUMNS_MAX];
    bool is_title; /* its first cell stands alone, and does not count for the width */
};

struct table {
    struct table_row *rows;
    unsigned count, room;
    unsigned columns;
    unsigned left; /* bits: columns that are aligned to the left */
};

void table_free(struct table *table);

/* Begins a row. Returns 0 or -ENOMEM. */
int table_add(struct table *table, bool is_title);

/* Fills a cell of the last row. */
void table_put(struct table *table, unsigned column, const char *colour, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* One row as a line, without its newline; TABLE_LINE_BYTES are enough for any. */
enum { TABLE_LINE_BYTES = TABLE_COLUMNS_MAX * (TABLE_CELL_BYTES + 16) + 16 };
void table_line(const struct table *table, unsigned row, bool colours, struct text *out);

#endif
