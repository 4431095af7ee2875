/* Who belongs to the cluster. Each node keeps the whole list and tells it in every hello; lists are merged by rules that give the
 * same result in whatever order one hears of things, so all nodes come to agree on it. Pure: no socket, no clock.
 *
 * A member is one life of one node: it has a number (id) that it drew when it started, so a node that was restarted is another
 * member, at the same address or elsewhere. Once a member is gone it stays so. */
#ifndef ROLE_MEMBERS_H
#define ROLE_MEMBERS_H

#include "base/text.h"
#include "net/address.h"

enum {
    MEMBERS_MAX = 1024,          /* known at a time, those that are gone too */
    MEMBER_LINE_BYTES_MAX = 256, /* of one member in a hello */
};

enum member_state {
    MEMBER_HERE,
    MEMBER_LEFT,    /* said goodbye, or was replaced at its address */
    MEMBER_DROPPED, /* was not heard of for too long, or dropped by hand */
};

/* What a node is doing, as it tells itself. */
enum member_phase {
    PHASE_JOINING, /* has not gathered everything */
    PHASE_READY,
    PHASE_LEAVING,
};

struct peer;

struct member {
    uint64_t id;
    struct address address;
    uint64_t
        stamp; /* of two members at one address the one with the larger stamp counts; µs since 1970 when it started, or more */
    uint64_t gone_us;    /* wall clock, by whoever saw it go; 0 while it is here */
    uint64_t heard_us;   /* loop time at which it last was heard of, by any member */
    uint64_t joining_us; /* the same, of when it had not gathered everything yet */
    uint64_t
        replaced_us; /* loop time since when another member has its address; 0 while none has */
    uint64_t
        refused_us; /* loop time at which its address last refused a connection: nobody is there */
    enum member_state state;
    enum member_phase phase; /* as last told */
    unsigned
        gathered_permille; /* the same: how much of everything it has; 0 when it was not told */
    bool is_self;
    bool
        outbid; /* this node has taken a larger stamp than its, as one that answers at the address of both */
    struct peer *peer; /* the cluster's */
};

struct members {
    struct member **list; /* this node itself is the first */
    unsigned count, room;
    unsigned near; /* where members_seek found the last one */
};

/* Sets up the list with this node in it. Returns 0 or -ENOMEM. */
int members_init(struct members *members, uint64_t id, uint64_t stamp);
void members_free(struct members *members);

struct member *members_self(const struct members *members);

/* NULL when there is none. */
struct member *members_find(const struct members *members, uint64_t id);

/* The same. Lists are told in about the same order by all, so each one is found next to the one before: there may be a thousand of lives that
 * are over, and each member tells of all of them twice a second. */
struct member *members_seek(struct members *members, uint64_t id);

/* The member that counts at an address, of those that are here; NULL when there is none. */
struct member *members_at(const struct members *members, const struct address *address);

/* The member that counts at this one's address instead of it; NULL when there is none. */
struct member *members_replaced_by(const struct members *members, const struct member *member);

/* Whether it is here, and counts at its address. Who tells of members tells of these: for some seconds, a node that was restarted is
 * there twice. */
bool members_counts(const struct members *members, const struct member *member);

/* How many are so, this node too. */
unsigned members_here(const struct members *members);

/* Takes in what somebody says of a member. `said` has id, address, stamp, gone_us, heard_us, state and phase. Returns whether that
 * was news (it came, went or moved). Nobody can say of this node itself that it is gone or elsewhere. When MEMBERS_MAX are known,
 * one that is here takes the place of the one that has left first; else it is not taken. */
bool members_merge(struct members *members, const struct member *said);

/* A member goes, as this node has found out. */
void member_go(struct member *member, enum member_state state, uint64_t wall_us);

/* Forgets members that went before `before_us` of the wall clock. Their `peer` must be NULL. */
void members_forget(struct members *members, uint64_t before_us);

/* One line: "member ADDRESS PHASE ID STAMP GONE HEARD\n", PHASE being joining, ready, leaving, left, dropped, or down when
 * `is_down`; HEARD the ms since it was heard of. */
void member_print(const struct member *member, bool is_down, uint64_t now_us, struct text *out);

/* Reads such a line, without its newline. Returns 0 or -EINVAL. */
int member_parse(struct slice line, uint64_t now_us, struct member *said);

const char *phase_name(enum member_phase phase);

/* The same, or "left" or "dropped". */
const char *member_phase_name(const struct member *member);

#endif
