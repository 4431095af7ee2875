/* The inside of resharding, shared by reshard.c (its steps), reshard_source.c (one old cluster), reshard_target.c (one new cluster) and
 * reshard_tell.c (what is printed). Nobody else includes this.
 *
 *   old cluster ─► source ─► reader ─► route ─┬─► target: batches ─► new cluster
 *                    ▲                        └─► target: batches ─► new cluster
 *                    └── pauses while too much is unanswered ──┘
 *
 * Whom to ask, in each cluster, is a front-end's business, so there is one inside, that serves nobody. */
#ifndef ROLE_RESHARD_STATE_H
#define ROLE_RESHARD_STATE_H

#include "data/store.h"
#include "data/wire.h"
#include "role/frontend_state.h"
#include "role/reshard.h"

enum {
    RESHARD_TICK_US = 50 * 1000,
    RESHARD_PASS_US = 1000 * 1000,        /* between the beginnings of two passes, at least */
    RESHARD_PASSES_MAX = 60,              /* then somebody still writes to the old clusters */
    RESHARD_LOST_US = 60 * 1000 * 1000,   /* a cluster of which nobody is ready for so long */
    RESHARD_RETRY_US = 250 * 1000,        /* until another member is tried */
    RESHARD_CONNECT_US = 1000 * 1000,     /* a connection must stand after it */
    RESHARD_ANSWER_US = 10 * 1000 * 1000, /* a member that says nothing for so long is left */
    RESHARD_BATCH_BYTES = 256 * 1024,     /* of records in one request, unless one alone has more */
    RESHARD_BATCHES_MAX = 16,             /* on their way to one cluster */
    RESHARD_DAMAGED_MAX = 10,             /* streams that make no sense, one after the other */
    RESHARD_LINE_BYTES = 160,             /* of what is printed */
};

/* Of all batches that are not answered yet: no more is read beyond it. */
#define RESHARD_HELD_BYTES_MAX ((size_t)32 << 20)

/* Of deletes that are as old, it does not matter whether they were new: see reshard_is_settled. */
#define RESHARD_SETTLED_US ((uint64_t)10 * 1000000)

struct reshard;
struct target;

/* A connection to one of a cluster's members: another one when that fails. */
struct contact {
    struct partition *partition;
    struct upstream *upstream;
    struct address address; /* of the member */
    unsigned turn;          /* whom to take next */
    uint64_t next_us;       /* when */
    uint64_t lost_us;       /* since when nobody is ready; 0 while somebody is */
    bool busy;              /* connecting, open, or its end was not told yet */
};

/* Records in one request. */
struct batch {
    struct fetch fetch; /* first, so that a fetch leads here */
    struct target *target;
    struct batch *next;
    char *data;
    size_t len, room;
    uint64_t records;
    unsigned borrowed; /* by connections */
    bool counts;       /* what of it is new has to be nothing in the end */
    bool taken;        /* it is answered, and goes once nobody borrows it */
};

/* One old cluster. */
struct source {
    struct reshard *reshard;
    struct contact contact;
    struct call call;
    struct wire_reader reader;
    uint64_t newest;  /* version that this pass has seen */
    uint64_t settled; /* deletes up to this version are settled */
    uint32_t shard;   /* that it has come to */
    unsigned damaged; /* streams, one after the other */
    uint64_t digest;  /* of the member's table, when this pass began with it */
    bool calling, good, paused, done;
    bool broken;         /* more than one member was read in this pass */
    const char *trouble; /* why the stream was left; static */
};

/* One new cluster. */
struct target {
    struct reshard *reshard;
    struct contact contact;
    struct batch *open[2];      /* being filled: by batch->counts */
    struct batch *queue, **end; /* to be sent */
    unsigned in_flight;
    bool broken; /* more than one member was given what this pass has read */
};

enum reshard_step { RESHARD_LOOKING, RESHARD_COPYING, RESHARD_BETWEEN, RESHARD_OVER };

/* What is told of a pass. */
struct reshard_told {
    unsigned pass;
    uint64_t records, bytes, fresh; /* fresh: that were new where they came to */
    uint64_t elapsed_us;
    uint64_t rate; /* bytes in a second, of late */
    unsigned permille;
    const char *waiting; /* for whom; NULL */
};

struct reshard {
    struct loop *loop;
    struct log log; /* the front-end's, which nobody reads */
    struct reshard_config config;
    struct frontend *frontend;
    struct heap *heap;
    struct source *sources;
    struct target *targets;
    struct loop_timer tick;
    enum reshard_step step;
    enum reshard_result result;
    unsigned pass;
    unsigned clean_from;                /* passes have brought nothing new since this one */
    uint64_t pass_us;                   /* when this pass began; loop time */
    uint64_t counted;                   /* records of this pass that were new and count */
    uint64_t records, bytes, fresh;     /* of this pass */
    uint64_t all_fresh, all_bytes;      /* of all passes */
    uint64_t told_us, told_bytes, rate; /* the last line, and what was measured then */
    size_t held_bytes;                  /* in batches */
    bool line_open;                     /* the terminal's line is to be written over */
    char waiting[96];                   /* for whom; empty for nobody */
};

/* reshard.c */

/* Ends it. */
void reshard_fail(struct reshard *reshard, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Whether no more should be read now. */
bool reshard_is_full(const struct reshard *reshard);

/* Looks for a member to connect to. Returns whether it may go on. */
bool contact_tend(struct reshard *reshard, struct contact *contact);
int contact_init(struct reshard *reshard, struct contact *contact, struct partition *partition,
                 const struct upstream_ops *ops, void *owner);
void contact_free(struct contact *contact);

/* Its connection has ended: `error` as upstreams tell it. */
void contact_closed(struct reshard *reshard, struct contact *contact, int error);

/* "--from 0" and the like. Returns `out`. */
char *contact_name(const struct contact *contact, char out[32]);

/* reshard_source.c */

int source_init(struct source *source, struct reshard *reshard, struct partition *partition);
void source_free(struct source *source);
void source_begin(struct source *source); /* a pass */
void source_tick(struct source *source);

/* Whether no member that can be reached has what was not read: each was read whole in a pass from `clean_from` on, or has the same as
 * one that was. */
bool source_is_covered(const struct source *source, unsigned clean_from);

/* reshard_target.c */

int target_init(struct target *target, struct reshard *reshard, struct partition *partition);
void target_free(struct target *target);
void target_begin(struct target *target); /* a pass: with another member */
void target_tick(struct target *target);

/* Adds a record. Returns 0 or -ENOMEM. */
int target_add(struct target *target, const struct record *record, bool counts);

/* Sends what has been added. */
void target_flush(struct target *target);
bool target_is_empty(const struct target *target);

/* "… of them were new here.": how many. Returns false when it says something else. */
bool target_read_answer(struct slice body, uint64_t *fresh);

/* reshard_tell.c */

/* A line about a pass that goes on. Returns `out`. */
char *reshard_format(const struct reshard_told *told, bool terminal, char out[RESHARD_LINE_BYTES]);

/* Prints a sentence, or where it has come to when it is time for that. */
void reshard_say(struct reshard *reshard, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void reshard_tell(struct reshard *reshard);

#endif
