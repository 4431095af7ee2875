/* What a node says of one shard's records, /-/digest/GG/SS: read, and two of them compared. Pure. */
#ifndef ROLE_DIFF_LIST_H
#define ROLE_DIFF_LIST_H

#include <stdint.h>

#include "base/slice.h"

/* A record, by its line. */
struct diff_line {
    struct slice key; /* percent-encoded; in the text that was read */
    uint64_t digest, version;
    bool deleted;
};

struct diff_list {
    struct diff_line *lines; /* in the order of keys */
    unsigned count;
};

/* Returns 0, -EINVAL when the text is no such list, or -ENOMEM. The text stays as long as the list. */
int diff_list_read(struct diff_list *list, struct slice text);
void diff_list_free(struct diff_list *list);

/* Where two lists differ. */
struct diff_walk {
    const struct diff_list *a, *b;
    unsigned a_at, b_at;
};

/* The next key that differs: one of *a and *b is NULL when that list has not got it. Returns false when there is no more. */
bool diff_walk_next(struct diff_walk *walk, const struct diff_line **a, const struct diff_line **b);

/* Of two answers to /-/digest or below it, the next line's digest of both: its second word. Returns false when there is none, or the two
 * are not about the same. */
bool diff_next_digests(struct slice *a, struct slice *b, struct slice *a_digest,
                       struct slice *b_digest);

#endif
