/* One member of a cluster, as a front-end sees it: is it there, is it ready, what does it say of itself. Inside of the front-end, and of
 * what hauls records, alone. */
#ifndef ROLE_BACKEND_H
#define ROLE_BACKEND_H

#include "net/address.h"
#include "net/fetch.h"
#include "role/members.h"

enum {
    BACKEND_HELLO_US = 250 * 1000,    /* between two questions to one member whether it is ready */
    BACKEND_HANG_US = 1000 * 1000,    /* a member that does not answer for so long is down */
    BACKEND_CONNECT_US = 1000 * 1000, /* a connection must stand after it */
    BACKEND_RETRY_US = 1000 * 1000,   /* at most between two attempts to connect */
    BACKEND_HELLO_BYTES_MAX = 512 * 1024,
    BACKEND_APART_HELLOS = 20, /* so many, 5 s of them: one that joins has long told its cluster */
};

struct lane;
struct partition;
struct seed;

/* One member of a cluster, or an address where one may be. */
struct backend {
    struct partition *partition;
    struct address address;
    struct upstream *control;
    struct fetch ready_fetch, hello_fetch;
    struct lane *lanes;
    struct lane *shared, *spare; /* of these; NULL, or not open yet */
    struct lane *idle; /* of these, those alone without a request; the last one used is first */
    unsigned idle_count;
    uint64_t id; /* of the node that answers there; 0 before */
    uint64_t hello_due_us, retry_us, backoff_us;
    uint64_t asked_us;              /* when the hello under way was */
    uint64_t clock_us, clock_at_us; /* its wall clock was this at that loop time, or more */
    uint64_t digest;                /* of its table, as it last said */
    unsigned taken;                 /* of a contact's turns, the last one that it was taken in */
    unsigned read_pass;             /* of reshard, that last read all of it */
    unsigned twice_pass;            /* the same, and so did the one before */
    unsigned lane_count;
    unsigned in_flight; /* requests on shared lanes */
    unsigned apart;     /* hellos since it was seen to be of one cluster with the first one */
    struct seed *seed;  /* that named it, or a name of which it is an address; NULL for none */
    bool listed;        /* a member says that it is one */
    bool in_list;       /* the same, of a list that is being read */
    bool up;            /* it answers */
    bool is_ready;
    bool wrong;                 /* it is of another partition */
    bool foreign;               /* it is of another cluster */
    bool no_node;               /* what last answered there does not answer as a node does */
    bool usable;                /* requests can be sent there now */
    bool told;                  /* the same, as the log says it */
    bool leaving;               /* to be forgotten */
    char says[40];              /* its partition, as it says */
    enum member_phase phase;    /* what it is doing, the same */
    uint64_t records;           /* what it has, deletes too, the same */
    unsigned gathered_permille; /* how much of everything that is, the same */
    uint64_t push_p50_us,
        push_p99_us; /* how long its pushes took of late, the same; HISTORY_NONE when there were none */
    uint64_t requests, failures; /* so far */
};

struct backend *backend_new(struct partition *partition, const struct address *address);
void backend_destroy(struct backend *backend);
void backend_tick(struct backend *backend);
void backend_down(struct backend *backend, const char *why);

/* Sees to it that there are a shared and a spare connection, or begins them. */
void backend_tend_lanes(struct backend *backend);

/* Whether it can be used has changed, perhaps. */
void backend_update(struct backend *backend);

/* The connection for most requests, if one stands; else NULL. */
struct lane *backend_lane(struct backend *backend);

/* What its wall clock says now, or less: by as much as its last hello was on its way. */
uint64_t backend_clock_us(const struct backend *backend);

#endif
