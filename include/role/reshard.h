/* Moving keys to another number of partitions: copies all records, deletes and times to live too, from the clusters that have them to
 * those that shall have them, while both serve. It goes over all again until a whole pass has brought nothing new: then each record
 * of the old clusters is known to be in its new one, or to be beaten by one that is there.
 *
 * Whatever it did stays, and doing it twice does no harm, so it may be killed at any time and run again. It deletes nothing. */
#ifndef ROLE_RESHARD_H
#define ROLE_RESHARD_H

#include "net/loop.h"
#include "role/frontend.h"

struct reshard_config {
    const struct frontend_cluster *from, *to; /* each in the order of partitions, 1 at least */
    unsigned from_count, to_count;
    struct resolver *resolver; /* for names; NULL: only IP addresses are taken */
    uint64_t rate;             /* bytes in a second that are moved at most; 0 for no limit */
    bool terminal;             /* what is printed goes to a terminal: one line that changes */
    void (*print)(void *context, const char *text);
    void *context;
    char *failure; /* where a sentence goes when it fails, RESHARD_FAILURE_BYTES */
};

enum { RESHARD_FAILURE_BYTES = 512 };

enum reshard_result {
    RESHARD_RUNNING,
    RESHARD_DONE,
    RESHARD_FAILED, /* also when it was stopped */
};

struct reshard;

/* Begins at once; loop->stopped becomes true when it is done or has failed. Returns NULL when out of memory. The caller owns it until
 * reshard_destroy; `loop`, its io, and what `config` points to outlive it. */
struct reshard *reshard_new(struct loop *loop, const struct reshard_config *config);
void reshard_destroy(struct reshard *reshard);

/* Ends it before it is done. */
void reshard_stop(struct reshard *reshard);

enum reshard_result reshard_result(const struct reshard *reshard);

#endif
