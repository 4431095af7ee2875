/* A stream of records on its way into the store: what /-/merge, repair and gathering have in common. */
#ifndef ROLE_INTAKE_H
#define ROLE_INTAKE_H

#include "data/route.h"
#include "data/store.h"
#include "data/wire.h"

enum { INTAKE_KEPT_MAX = 8192 }; /* records of a stream that is taken as a whole */

struct intake {
    struct store *store;
    struct wire_reader reader;
    uint64_t applied, stale;
    uint32_t shard; /* of the last record */
    bool local;     /* the records are for this node to tell others (RECORD_LOCAL) */
    bool whole;     /* records are kept until the stream's end mark: a broken one changes nothing */
    bool deletes;   /* there are only these: one without room does not end it */
    bool copy;      /* of all that another member has: see store_adopt */
    const struct route *route; /* NULL, or keys of other partitions than this are refused */
    uint32_t partition;
    bool broken;          /* it ends here: the bytes are no records (reader.reason) */
    bool foreign;         /* the same: a key is of another partition */
    bool full;            /* there was no room: it ends there, but for `deletes` and `whole` */
    struct record **kept; /* each with a reference */
    unsigned kept_count, kept_room;
};

void intake_init(struct intake *intake, struct store *store, uint64_t value_max, bool local);
void intake_free(struct intake *intake);

/* `bytes` were put where wire_reader_room said. Returns false when it ends here: it is broken, foreign or full. */
bool intake_filled(struct intake *intake, size_t bytes, uint64_t now_us);

/* Takes bytes from elsewhere. Returns as intake_filled. */
bool intake_take(struct intake *intake, struct slice bytes, uint64_t now_us);

#endif
