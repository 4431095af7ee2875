/* Records between this process and clusters: what resharding, backup and restore share. haul.c has whom to ask, source.c how the
 * records of a cluster are read, target.c how records are given to one.
 *
 *   cluster ─► source ─► the owner ─► target: batches ─► cluster
 *                ▲                       │
 *                └── pauses while too much is unanswered
 *
 * Whom to ask, in each cluster, is a front-end's business, so there is one inside, that serves nobody. */
#ifndef ROLE_HAUL_H
#define ROLE_HAUL_H

#include "data/store.h"
#include "data/wire.h"
#include "net/fetch.h"
#include "role/backend.h"
#include "role/bar.h"
#include "role/command.h"
#include "role/frontend_state.h"
#include "role/partition.h"

enum {
    HAUL_TICK_US = 50 * 1000,          /* how often all this is looked after */
    HAUL_LOST_US = 60 * 1000 * 1000,   /* a cluster where nobody is ready, or every try fails */
    HAUL_PATIENCE_US = 1000 * 1000,    /* the same, until that is told */
    HAUL_RETRY_US = 250 * 1000,        /* until another member is tried */
    HAUL_CONNECT_US = 1000 * 1000,     /* a connection must stand after it */
    HAUL_ANSWER_US = 10 * 1000 * 1000, /* a member that says nothing for so long is left */
    HAUL_IDLE_US = 500 * 1000,         /* after which a target shows that it is still there */
    HAUL_BATCH_BYTES = 256 * 1024,     /* of records in one request, unless one alone has more */
    HAUL_BATCHES_MAX = 16,             /* on their way to one cluster */
    HAUL_DAMAGED_MAX = 10,             /* streams that make no sense, one after the other */
    HAUL_NAME_BYTES = 32,
};

/* Of all batches that are not answered yet: no more is read beyond it. */
#define HAUL_HELD_BYTES_MAX ((size_t)32 << 20)

struct haul;
struct source;
struct target;
struct batch;

/* What its owner hears. Those that it has no use for may be NULL. */
struct haul_ops {
    /* Whether no more should be read now. */
    bool (*is_full)(const struct haul *haul);

    /* A record has come; it is the source's. */
    void (*on_record)(struct source *source, const struct record *record);

    /* A batch was answered: `fresh` of its records were new there. */
    void (*on_merged)(const struct batch *batch, uint64_t fresh);
};

/* Embedded in its owner. */
struct haul {
    struct command *command;
    struct bar bar;
    struct log log; /* the front-end's, which nobody reads */
    struct frontend *frontend;
    struct heap *heap;
    const struct haul_ops *ops;
    size_t held_bytes;  /* in batches */
    uint64_t bytes;     /* that sources have read, in all */
    bool all_deletes;   /* those past the grace period are read, too */
    bool flowing;       /* records are taken; what comes at another time is passed over */
    char waiting[96];   /* for whom; empty for nobody */
    const char *repeat; /* ends the sentence of a failure: what is done about it; static */
};

/* A connection to one of a cluster's members: another one when that fails. */
struct contact {
    struct haul *haul;
    struct partition *partition;
    char name[HAUL_NAME_BYTES]; /* of its cluster, for sentences */
    struct upstream *upstream;
    struct address address;       /* of the member */
    unsigned turn;                /* so many members were taken */
    const struct address *wanted; /* the same, as long as it can be used; NULL for anybody */
    uint64_t next_us;             /* when */
    uint64_t lost_us;             /* since when nobody is ready; 0 while somebody is */
    uint64_t
        failed_us; /* when the first try has failed since something was last done; 0 for none */
    bool busy;     /* connecting, open, or its end was not told yet */
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
    bool counts;       /* as the owner said */
    bool taken;        /* it is answered, and goes once nobody borrows it */
};

/* A cluster that is read. */
struct source {
    struct contact contact;
    struct call call;
    struct wire_reader reader;
    uint64_t newest;   /* version that has come since source_begin */
    uint64_t clock_us; /* resharding's: of its members, when the pass was begun; 0: not known */
    uint64_t settled;  /* the same: deletes up to this version are settled */
    uint32_t shard;    /* that it has come to */
    unsigned damaged;  /* streams, one after the other */
    unsigned pass;     /* source_begin was called so often */
    uint64_t digest;   /* of the member's table, when this pass began with it */
    uint64_t before;   /* the same of the pass before; what is not the same was not read twice */
    bool calling, good, paused, done;
    bool broken;         /* more than one member was read in this pass */
    const char *trouble; /* why the stream was left; static */
};

/* A cluster that is given records. */
struct target {
    struct contact contact;
    struct batch *open[2];      /* being filled: by batch->counts */
    struct batch *queue, **end; /* to be sent */
    unsigned in_flight;
    uint64_t sent_us; /* when the last batch was, or its connection was opened */
    bool turning;     /* its connection ends since it goes on to another member */
    bool broken;      /* more than one member was given what came since target_turn */
    bool sure;        /* a restore's: it has all that there is for it */
};

/* haul.c */

/* `clusters` names whom to ask, and outlives it; haul->command, ops and repeat are set. Returns 0 or -ENOMEM; haul_free in any case. */
int haul_init(struct haul *haul, const struct frontend_config *clusters);
void haul_free(struct haul *haul);

static inline bool haul_is_over(const struct haul *haul)
{
    return haul->command->over;
}

/* Ends the command with COMMAND_WRONG. */
void haul_fail(struct haul *haul, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* How long to wait, in µs, until `bytes`, `elapsed_us` after the first of them, are no more than the rate, in bytes a second, lets through; 0
 * for not at all, as always with rate 0. */
uint64_t haul_rest_us(uint64_t rate, uint64_t bytes, uint64_t elapsed_us);

/* Looks for a member to connect to. Returns whether it may go on. */
bool contact_tend(struct contact *contact);

/* Whether its cluster has a node that is ready, and the right partition; it fails when the partition is wrong, or nobody is ready for
 * too long. */
bool contact_look(struct contact *contact);

/* It fails when one that was named for its cluster answers, and is no node: to wait for it would be in vain. For addresses that a person
 * has just given; one of a member that is gone may lead elsewhere by now. */
void contact_check_named(struct contact *contact);

int contact_init(struct contact *contact, struct haul *haul, struct partition *partition,
                 const char *name, const struct upstream_ops *ops, void *owner);
void contact_free(struct contact *contact);

/* The member that it is connected to, or was last; NULL when that cannot be used. */
struct backend *contact_member(const struct contact *contact);

/* Whom to connect to: who is wanted, or else who was not taken for longest, so that it is never the last one again while there is
 * another, whoever comes and goes. There is one at least. */
struct backend *contact_next(const struct contact *contact);

/* Its connection has ended: `error` as upstreams tell it. */
void contact_closed(struct contact *contact, int error);

/* What is to be done there was done in part, or was not: it fails when only the latter was for too long. */
void contact_went_on(struct contact *contact);
void contact_failed(struct contact *contact);

/* source.c */

int source_init(struct source *source, struct haul *haul, struct partition *partition,
                const char *name);
void source_free(struct source *source);

/* All records from a shard on: another pass. */
void source_begin(struct source *source, uint32_t shard);

/* Before source_begin: the next pass reads the member that the last one has read, unless that counts already; see source_is_covered. */
void source_stay(struct source *source, unsigned counts_from);
void source_tick(struct source *source);

/* Whether it is not known yet who can be read. */
bool source_is_open(const struct source *source);

/* Whether no member that can be reached has what was not read twice: each was read whole in two passes on end, the second one being
 * `counts_from` or later, or has the same as one that was. */
bool source_is_covered(const struct source *source, unsigned counts_from);

/* The shard of a record, which is the same on all nodes. */
uint32_t source_shard_of(const struct record *record);

/* target.c */

int target_init(struct target *target, struct haul *haul, struct partition *partition,
                const char *name);
void target_free(struct target *target);
void target_turn(struct target *target); /* from now on with another member, if there is one */
void target_tick(struct target *target);

/* Adds a record. Returns 0 or -ENOMEM. */
int target_add(struct target *target, const struct record *record, bool counts);

/* Sends what has been added. */
void target_flush(struct target *target);
bool target_is_empty(const struct target *target);

/* "… of them were new here.": how many. Returns false when it says something else. */
bool target_read_answer(struct slice body, uint64_t *fresh);

#endif
