/* A front-end's clusters: its own, and those of another number of partitions while keys move. Whatever is printed of one calls it as is said
 * here: an operator in the middle of a move must not be told the wrong direction. */
#ifndef ROLE_SIDE_H
#define ROLE_SIDE_H

enum side {
    SIDE_OWN,      /* --cluster: where it writes */
    SIDE_PREVIOUS, /* --previous-cluster: where keys move from */
    SIDE_NEXT,     /* --next-cluster: where they are to go */
    SIDES,
};

struct side_words {
    const char *name;      /* "previous": of a partition, before its number */
    const char *partition; /* "the previous partition": the same in a sentence */
    const char *label;     /* "previous-": the same in metrics */
    const char *list;      /* "previous_partitions": all of them, in JSON */
    const char *option;    /* "--previous-cluster": what they are named by */
    const char *move;      /* "are moving from": what keys do with them; NULL of the own ones */
};

const struct side_words *side_words(enum side side);

#endif
