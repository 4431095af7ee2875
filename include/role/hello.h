/* The inside of hello: hello.c (who says it, and what comes of it), hello_text.c (what it says) and admission.c (who is told no). Nobody else
 * includes this. */
#ifndef ROLE_HELLO_H
#define ROLE_HELLO_H

#include "role/cluster_state.h"

/* What one says. Its slices point into the text that was read. */
struct hello {
    uint64_t protocol, clock, since, digest, records, horizon, gathered;
    struct slice cluster, partition;
    struct address you;
    bool has_you, joined, knows_us;
    struct member who;
};

/* hello_text.c */

const char *hello_cluster_name(const struct cluster *cluster);

/* I/N, or - for a node that holds all keys. */
void hello_partition(const struct cluster *cluster, char out[32]);

/* A hello of this node for the one at `you`, or for anybody when that is NULL. Valid until the next one. */
struct slice hello_to(struct cluster *cluster, const struct address *you);

/* The same, for who is in no cluster yet. Versions that know no `since` refuse all who have been in one for longer than members are
 * remembered, when they are new. */
struct slice hello_to_new(struct cluster *cluster, const struct address *you);

/* Calls `take` for each line of a member, in order, but the first, which is who speaks; without `take` it reads no further than that.
 * Fills *hello. Returns false when it makes no sense; lines before the one that makes none count, as each is a whole by itself. */
bool hello_parse(struct cluster *cluster, struct slice body, struct hello *hello,
                 void (*take)(struct cluster *, const struct member *));

/* Of another protocol only this much must be understood, so that each can say that it is another one. */
bool hello_is_foreign(const struct hello *hello);

/* admission.c */

/* Says why the two are not to be one cluster, or NULL. Valid until the next call. `body` is the whole of the hello. A newcomer that meets a
 * second part of its cluster is refused by that itself. */
const char *hello_refusal(struct cluster *cluster, const struct hello *hello, struct slice body);

/* Whether another node's refusal says that this one was dropped. */
bool hello_says_dropped(struct slice refusal);

/* This node is in no cluster any more, and says so, until it is restarted; `why` is a constant. */
void hello_be_refused(struct cluster *cluster, const char *why, const char *advice);
void hello_be_dropped(struct cluster *cluster);

#endif
