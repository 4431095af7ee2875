/* One key of a small cluster: push, repair, deletes, members. README.md says what this stands for and what it assumes.
 *
 * One process picks any action that is possible, again and again; each is one step of the node that it names. `i` acts, `j` is
 * another node. Masks have a bit for each node; a record is 2 * version, and 1 more for a tombstone, so that the larger of two
 * records wins; 0 is none. */

#define NODES 3
#define VERSIONS 2

/* A story: tests/model/run sets these in the environment */
byte members;       /* nodes that are ready at first; the others are never there, or newcomers */
byte newcomers;     /* whether there are */
byte old_value;     /* some of the members have this record at first, whichever; 0: none */
byte first_horizon; /* what members have at first */
byte last_horizon;
byte kinds;      /* records that clients may write, a bit for each */
byte writes_max; /* and so on: how often each may happen */
byte losses_max; /* 99: any number */
byte cuts_max, crashes_max, goodbyes_max;
byte drops_max;   /* of living members, by a person */
byte flights_max; /* no repair begins while so many records are under way */
byte mutant;      /* a planted mistake, or 0 */

/* Planted mistakes: each must be found */
#define NO_REVIVAL (mutant == 1)       /* an older record does not make a buried delete count again */
#define LAST_COMER_WINS (mutant == 2)  /* a record replaces whatever is there */
#define NO_AGREEMENT (mutant == 3)     /* a buried delete is forgotten without asking anybody */
#define NO_WAITING (mutant == 4)       /* what was seen just after the horizon's step counts */
#define DEPARTED_COUNT (mutant == 5)   /* what was seen before somebody went counts */
#define GOODBYE_UNCHECKED (mutant == 6)
#define REPAIR_ENDS_EARLY (mutant == 7) /* though it has revived a delete */
#define READY_UNCHECKED (mutant == 8)  /* a newcomer is ready with its copy */
#define CHECKED_BEFORE (mutant == 9)   /* what a newcomer compared before a member went counts */

#define OFF 0
#define JOINING 1
#define CHECKING 2
#define READY 3
#define LEAVING 4
#define DEAD 5
#define LEFT 6

#define BIT(n) (1 << (n))
#define ALL (BIT(NODES) - 1)
#define AT(i, j) ((i) * NODES + (j))
#define IS_TOMB(r) ((r) & 1)
#define IS_VALUE(r) ((r) && !((r) & 1))
#define VERSION(r) ((r) >> 1)

/* A node */
byte state[NODES];
byte record[NODES];
bit buried[NODES];
bit waited[NODES];  /* what was under way when the horizon took its last step is no more */
bit revived[NODES]; /* at the horizon of now */
byte horizon[NODES];
byte here[NODES];   /* members, itself too */
byte gone[NODES];   /* members that have gone */
byte agreed[NODES]; /* members that were seen to agree since the tombstone was buried and since anybody went; only while it is buried */
byte missed[NODES]; /* members that may lack something; only while it leaves */
byte checked[NODES];

/* What is under way: records that i has sent to j, a bit for each; a copy for i (1 + record + 8 * donor) */
byte flight[NODES * NODES];
byte copy[NODES];
byte under_way; /* records in flight */

/* A repair of i with repair_with - 1 */
byte repair_with[NODES];
byte repair_gives[NODES];
byte repair_wants[NODES];
bit repair_revived[NODES];
bit repair_clears[NODES];

byte cut_off = NODES; /* the node that is, or NODES */
byte losses, cuts, crashes, drops, goodbyes, writes, repairs;

/* What only the checks know */
byte forgotten;    /* the largest tombstone that was dropped anywhere */
byte acknowledged; /* the largest record that a client was told is written */
bit excused;       /* a crash, or a goodbye with nobody there: what was acknowledged may be lost */
bit outcast[NODES]; /* dropped while it lived */
byte latest; /* the largest horizon that there was */
bit over;
byte came; /* the largest record that counted at a ready member when the newcomer came */

byte x, y, z; /* of loops; 0 between two steps */

#define LIVES(i) (state[i] >= JOINING && state[i] <= LEAVING)
#define LINKED(i, j) (cut_off != (i) && cut_off != (j))
#define REACHES(i, j) (LIVES(i) && LIVES(j) && LINKED(i, j))
#define KNOWS(i, j) (here[i] & BIT(j))
#define PAST_GRACE(i, r) (IS_TOMB(r) && VERSION(r) < horizon[i])
#define LISTS(i) (record[i] && !buried[i] && (!PAST_GRACE(i, record[i]) || revived[i]))
#define DIGEST(i) (buried[i] -> 0 : record[i])
#define OTHERS(i) (here[i] & ~BIT(i))

/* Data: src/data/store.c, store_digest.c */

inline check_visible(i)
{
    assert(!(IS_VALUE(record[i]) && record[i] < forgotten && !outcast[i]))
}

inline nobody_has_all(i)
{
    if
    :: state[i] == LEAVING ->
        missed[i] = OTHERS(i);
        repair_clears[i] = 0
    :: else
    fi
}

inline revive(i)
{
    if
    :: PAST_GRACE(i, record[i]) && !NO_REVIVAL ->
        if
        :: !LISTS(i) -> repair_revived[i] = (repair_with[i] -> 1 : 0)
        :: else
        fi;
        buried[i] = 0;
        agreed[i] = 0;
        revived[i] = 1
    :: else
    fi
}

inline put(i, r)
{
    record[i] = r;
    buried[i] = 0;
    revived[i] = 0;
    agreed[i] = 0
}

#define WINS(r, old) ((r) > (old) || (LAST_COMER_WINS && (r) != (old)))

inline merge(i, r)
{
    if
    :: WINS(r, record[i]) -> put(i, r)
    :: else
    fi;
    revive(i);
    check_visible(i)
}

inline bury(i)
{
    printf("bury %d\n", i);
    buried[i] = 1;
    agreed[i] = 0
}

inline adopt(i, r)
{
    if
    :: r > record[i] && PAST_GRACE(i, r) -> put(i, r); bury(i)
    :: else -> merge(i, r)
    fi
}

inline drop(i)
{
    printf("drop %d\n", i);
    forgotten = (record[i] > forgotten -> record[i] : forgotten);
    put(i, 0);
    x = 0;
    do
    :: x < NODES ->
        if
        :: LIVES(x) -> check_visible(x)
        :: else
        fi;
        x++
    :: else -> break
    od;
    x = 0
}

/* What is under way of records up to r */
#define IS_UP_TO(r, what) ((what) && (what) <= (r))
#define SENDS_NONE_UP_TO(j, r)                                                                     \
    (!(copy[j] && IS_UP_TO(r, (copy[j] - 1) % 8)) && !IS_UP_TO(r, repair_gives[j]) && !IS_UP_TO(r, repair_wants[j]))
#define ALL_FLIGHTS (flight[1] | flight[2] | flight[3] | flight[5] | flight[6] | flight[7])
#define NONE_UNDER_WAY_UP_TO(r)                                                                    \
    (!(ALL_FLIGHTS & (2 * BIT(r) - 1)) && SENDS_NONE_UP_TO(0, r) && SENDS_NONE_UP_TO(1, r) && SENDS_NONE_UP_TO(2, r))

/* Nothing is under way for as long as a grace period: README.md, "What it assumes" */
#define IS_LATEST(i) (horizon[i] >= latest)
#define TIME_PASSES(i)                                                                             \
    (!IS_LATEST(i) || horizon[i] > VERSIONS || NONE_UNDER_WAY_UP_TO(2 * horizon[i] + 1))

inline begin_horizon(i)
{
    revived[i] = 0;
    waited[i] = 0;
    agreed[i] = 0
}

/* Members: src/role/cluster.c, hello.c */

inline miss(i, j)
{
    if
    :: state[i] == LEAVING && KNOWS(i, j) ->
        missed[i] = missed[i] | BIT(j);
        repair_clears[i] = (repair_with[i] == (j) + 1 -> 0 : repair_clears[i])
    :: else
    fi
}

/* The nodes of a mask have gone, as i has heard */
inline depart(i, who)
{
    printf("depart %d %d\n", i, who);
    here[i] = here[i] & ~(who);
    gone[i] = gone[i] | (who);
    missed[i] = missed[i] & here[i];
    checked[i] = checked[i] & here[i];
    agreed[i] = (DEPARTED_COUNT -> agreed[i] & here[i] : 0);
    nobody_has_all(i)
}

/* Hears of members; who is new may lack everything */
inline admit(i, who)
{
    missed[i] = (state[i] == LEAVING -> missed[i] | ((who) & ~here[i]) : 0);
    here[i] = here[i] | (who)
}

/* What i has to say of members and of the horizon, taken in by j */
inline tell_members(i, j)
{
    z = gone[i] & ~gone[j] & ~BIT(j);
    if
    :: z -> depart(j, z)
    :: else
    fi;
    admit(j, here[i] & ~gone[j]);
    if
    :: state[i] == READY && horizon[i] > horizon[j] ->
        horizon[j] = horizon[i];
        begin_horizon(j)
    :: else
    fi;
    z = 0
}

/* Nothing is under way from who has gone, as far as i knows, and who can hear it has said hello: it waits CLUSTER_ANSWER_US */
#define ASKS(j, k) (repair_with[j] == (k) + 1 && repair_wants[j])
#define COPIES(j, k) (copy[j] && (copy[j] - 1) / 8 == (k))
#define SENDS(k, j) (flight[AT(k, j)] || ASKS(j, k) || COPIES(j, k))
#define STILL(i, k) (!(gone[i] & BIT(k)) || !(SENDS(k, 0) || SENDS(k, 1) || SENDS(k, 2)))
#define MET(i, k) (!REACHES(i, k) || !KNOWS(k, i) || KNOWS(i, k))
#define IS_STILL(i) (STILL(i, 0) && STILL(i, 1) && STILL(i, 2) && MET(i, 0) && MET(i, 1) && MET(i, 2))

#define HAS_WAITED(i) (waited[i] || NO_WAITING)

inline agree(i, j)
{
    agreed[i] = (buried[i] -> agreed[i] | BIT(j) : agreed[i])
}

/* The digest of j, as i hears it in a hello, is that of its own table */
inline same_there(i, j)
{
    if
    :: HAS_WAITED(i) && horizon[i] == horizon[j] && IS_STILL(i) && (gone[i] & ~gone[j]) == 0 -> agree(i, j)
    :: else
    fi;
    if
    :: state[i] == LEAVING -> missed[i] = missed[i] & ~BIT(j)
    :: state[i] == CHECKING && KNOWS(j, i) && flight[AT(i, j)] == 0 -> checked[i] = checked[i] | BIT(j)
    :: else
    fi
}

/* Repair: src/role/repair.c */


inline end_repair(i)
{
    repair_with[i] = 0;
    repair_gives[i] = 0;
    repair_wants[i] = 0;
    repair_revived[i] = 0;
    repair_clears[i] = 0;
    repairs--
}

inline end_repair_whole(i, j)
{
    if
    :: repair_clears[i] -> missed[i] = missed[i] & ~BIT(j)
    :: else
    fi;
    if
    :: state[i] == CHECKING && KNOWS(j, i) -> checked[i] = checked[i] | BIT(j)
    :: else
    fi;
    end_repair(i)
}

/* What one has now and the other has not */
inline compare(i, j)
{
    repair_gives[i] = (LISTS(i) && !(LISTS(j) && record[j] == record[i]) -> record[i] : 0);
    repair_wants[i] = (LISTS(j) && !(LISTS(i) && record[j] == record[i]) -> record[j] : 0);
    repair_revived[i] = 0
}

/* It ends when there is nothing to give or to take any more. When a delete was revived meanwhile, all begins anew. */
inline go_on(i, j)
{
    if
    :: repair_with[i] == (j) + 1 && repair_gives[i] == 0 && repair_wants[i] == 0 ->
        if
        :: repair_revived[i] && REACHES(i, j) && !REPAIR_ENDS_EARLY -> compare(i, j)
        :: else
        fi;
        if
        :: repair_gives[i] == 0 && repair_wants[i] == 0 && repair_revived[i] && !REPAIR_ENDS_EARLY -> end_repair(i)
        :: repair_gives[i] == 0 && repair_wants[i] == 0 && !(repair_revived[i] && !REPAIR_ENDS_EARLY) -> end_repair_whole(i, j)
        :: else
        fi
    :: else
    fi
}

/* Actions */

inline send(i, j, r)
{
    if
    :: r && !(flight[AT(i, j)] & BIT(r)) ->
        flight[AT(i, j)] = flight[AT(i, j)] | BIT(r);
        under_way++
    :: else
    fi
}

/* No clock is behind the horizon: it is a grace period behind the slowest one */
#define CLOCK_ALLOWS(r) (VERSION(r) >= latest)

inline write(i, r)
{
    printf("write %d %d\n", i, r);
    writes++;
    put(i, r);
    acknowledged = (!outcast[i] && r > acknowledged -> r : acknowledged);
    x = 0;
    do
    :: x < NODES ->
        if
        :: x != i && KNOWS(i, x) -> send(i, x, r)
        :: else
        fi;
        x++
    :: else -> break
    od;
    x = 0
}

inline deliver(i, j, r)
{
    printf("deliver %d %d %d\n", i, j, r);
    flight[AT(i, j)] = flight[AT(i, j)] & ~BIT(r);
    under_way--;
    if
    :: KNOWS(j, i) -> merge(j, r)
    :: else -> miss(i, j)
    fi
}

inline lose(i, j, r)
{
    printf("lose %d %d %d\n", i, j, r);
    flight[AT(i, j)] = flight[AT(i, j)] & ~BIT(r);
    under_way--;
    miss(i, j)
}

/* A hello of j, or its answer, comes to i; a node that does not know i can only answer */
inline hear(i, j)
{
    printf("hear %d %d\n", i, j);
    if
    :: !KNOWS(j, i) -> tell_members(i, j)
    :: else
    fi;
    tell_members(j, i);
    if
    :: DIGEST(i) == DIGEST(j) -> same_there(i, j)
    :: else
    fi
}

inline repair(i, j)
{
    printf("repair %d %d\n", i, j);
    tell_members(i, j); /* a hello led to it */
    tell_members(j, i);
    if
    :: DIGEST(i) == DIGEST(j) && HAS_WAITED(i) && horizon[i] == horizon[j] && IS_STILL(i) && (gone[i] & ~gone[j]) == 0 -> agree(i, j)
    :: else
    fi;
    if
    :: state[i] == READY ->
        compare(i, j);
        send(i, j, repair_gives[i]);
        send(j, i, repair_wants[i]);
        repair_gives[i] = 0;
        repair_wants[i] = 0
    :: else ->
        repairs++;
        repair_with[i] = (j) + 1;
        repair_clears[i] = state[i] == LEAVING;
        compare(i, j);
        go_on(i, j)
    fi
}

inline give(i, j)
{
    printf("give %d %d\n", i, j);
    z = repair_gives[i];
    repair_gives[i] = 0;
    if
    :: KNOWS(j, i) -> merge(j, z); z = 0; go_on(i, j)
    :: else -> z = 0; end_repair(i)
    fi
}

inline take(i, j)
{
    printf("take %d %d\n", i, j);
    z = repair_wants[i];
    repair_wants[i] = 0;
    merge(i, z);
    z = 0;
    go_on(i, j)
}

/* It breaks off; what was on its way may still come */
inline break_off(i, j)
{
    printf("break_off %d %d\n", i, j);
    send(i, j, repair_gives[i]);
    end_repair(i)
}

inline step_horizon(i)
{
    printf("step_horizon %d\n", i);
    horizon[i]++;
    latest = (horizon[i] > latest -> horizon[i] : latest);
    begin_horizon(i)
}

inline join(i, j)
{
    printf("join %d %d\n", i, j);
    state[i] = JOINING;
    here[i] = BIT(i) | here[j];
    came = 0;
    x = 0;
    do
    :: x < NODES ->
        came = (state[x] == READY && LISTS(x) && record[x] > came -> record[x] : came);
        x++
    :: else -> break
    od;
    x = 0;
    admit(j, BIT(i));
    gone[i] = gone[j];
    horizon[i] = (state[j] == READY -> horizon[j] : 0)
}

inline arrive(i)
{
    printf("arrive %d\n", i);
    z = (copy[i] - 1) % 8;
    copy[i] = 0;
    if
    :: z -> adopt(i, z)
    :: else
    fi;
    z = 0;
    state[i] = CHECKING;
    checked[i] = 0
}

/* A member that is ready has a delete of it, which is past the grace period */
#define DELETES(k, r) (state[k] == READY && PAST_GRACE(k, record[k]) && record[k] > (r))
#define IS_DELETED(r) ((r) <= forgotten || (IS_TOMB(r) && VERSION(r) < latest) || DELETES(0, r) || DELETES(1, r) || DELETES(2, r))

inline become_ready(i)
{
    printf("become_ready %d\n", i);
    assert(record[i] >= came || IS_DELETED(came) || excused || cuts);
    state[i] = READY;
    checked[i] = 0
}

#define IS_CHECKED(i, j)                                                                           \
    (READY_UNCHECKED || (i) == (j) || !KNOWS(i, j) || !LIVES(j) || !LINKED(i, j) ||                \
     state[j] == JOINING || state[j] == CHECKING || (state[j] == READY && (checked[i] & BIT(j))))

/* Its address refuses connections, or it is this node */
#define IS_NOBODY(i, j) ((i) == (j) || !KNOWS(i, j) || ((state[j] == DEAD || state[j] == LEFT) && LINKED(i, j)))

inline crash(i)
{
    printf("crash %d\n", i);
    checked[0] = (CHECKED_BEFORE -> checked[0] : 0);
    checked[1] = (CHECKED_BEFORE -> checked[1] : 0);
    checked[2] = (CHECKED_BEFORE -> checked[2] : 0);
    if
    :: repair_with[i] ->
        z = repair_with[i] - 1;
        break_off(i, z);
        z = 0
    :: else
    fi;
    put(i, 0);
    horizon[i] = 0;
    waited[i] = 0;
    here[i] = 0;
    gone[i] = 0;
    missed[i] = 0;
    checked[i] = 0;
    copy[i] = 0
}

inline cut(k)
{
    printf("cut %d\n", k);
    cuts++;
    cut_off = k;
    y = 0;
    do
    :: y < NODES ->
        if
        :: y == k -> checked[y] = 0
        :: else -> checked[y] = checked[y] & ~BIT(k)
        fi;
        nobody_has_all(y);
        y++
    :: else -> break
    od;
    y = 0
}

inline leave(i)
{
    printf("leave %d\n", i);
    goodbyes++;
    state[i] = LEAVING;
    nobody_has_all(i)
}

#define STAYS(i, j) ((i) != (j) && KNOWS(i, j) && REACHES(i, j) && state[j] != LEAVING)
#define PUSH_DONE(i, j) (!STAYS(i, j) || flight[AT(i, j)] == 0)
#define HAS_ALL(i, j) (STAYS(i, j) && !(missed[i] & BIT(j)))
#define SOMEONE_STAYS(i) (STAYS(i, 0) || STAYS(i, 1) || STAYS(i, 2))
#define ALL_PUSHED(i) (PUSH_DONE(i, 0) && PUSH_DONE(i, 1) && PUSH_DONE(i, 2))
#define ONE_HAS_ALL(i) (HAS_ALL(i, 0) || HAS_ALL(i, 1) || HAS_ALL(i, 2))
#define ONLY_HERE(i) (record[(i + 1) % 3] < record[i] && record[(i + 2) % 3] < record[i])
#define ALL_CHECKED(i) (IS_CHECKED(i, 0) && IS_CHECKED(i, 1) && IS_CHECKED(i, 2))
#define NOBODY_THERE(i) (IS_NOBODY(i, 0) && IS_NOBODY(i, 1) && IS_NOBODY(i, 2))

#define OTHERS_HAVE_ALL(i) (GOODBYE_UNCHECKED || (ALL_PUSHED(i) && (ONE_HAS_ALL(i) || !SOMEONE_STAYS(i))))

inline say_goodbye(i)
{
    printf("say_goodbye %d\n", i);
    if
    :: OTHERS(i) && (!SOMEONE_STAYS(i) || ((members == NODES || newcomers) && PAST_GRACE(i, record[i]) && ONLY_HERE(i))) -> excused = 1
    :: else
    fi;
    state[i] = LEFT;
    crash(i)
}

/* The end: no more faults, all is delivered, nodes compare until nothing changes */

#define STAND(i) (LIVES(i) && !outcast[i])

inline settle_pair(i, j)
{
    if
    :: (i) != (j) && STAND(i) && STAND(j) && KNOWS(i, j) ->
        here[j] = here[j] | BIT(i);
        tell_members(i, j);
        tell_members(j, i);
        if
        :: state[i] >= CHECKING && state[j] >= CHECKING && DIGEST(i) != DIGEST(j) ->
            z = (LISTS(i) -> record[i] : 0);
            y = (LISTS(j) -> record[j] : 0);
            if
            :: z && z != y -> merge(j, z)
            :: else
            fi;
            if
            :: y && z != y -> merge(i, y)
            :: else
            fi;
            y = 0;
            z = 0
        :: else
        fi
    :: else
    fi
}

/* A newcomer gathers from j */
inline settle_newcomer(i, j)
{
    if
    :: STAND(i) && state[i] == JOINING && STAND(j) && state[j] == READY && KNOWS(i, j) ->
        z = record[j];
        if
        :: z -> adopt(i, z)
        :: else
        fi;
        z = 0;
        state[i] = CHECKING
    :: else
    fi
}

inline settle_node(i)
{
    if
    :: STAND(i) && PAST_GRACE(i, record[i]) && !buried[i] && !revived[i] -> bury(i)
    :: else
    fi
}

#define SETTLE_ROUND                                                                               \
    d_step { settle_pair(0, 1) }; d_step { settle_pair(1, 2) }; d_step { settle_pair(0, 2) };      \
    d_step { settle_pair(1, 0) }; d_step { settle_pair(2, 1) }; d_step { settle_pair(2, 0) };      \
    d_step { settle_newcomer(2, 0); settle_newcomer(2, 1); settle_newcomer(1, 0); settle_newcomer(1, 2) }; \
    d_step { settle_node(0); settle_node(1); settle_node(2) }

inline settle_check(i)
{
    if
    :: STAND(i) && state[i] >= CHECKING ->
        assert(excused || !IS_VALUE(acknowledged) || record[i] == acknowledged);
        assert(excused || !IS_TOMB(acknowledged) || !IS_VALUE(record[i]));
        y = 0;
        do
        :: y < NODES ->
            if
            :: STAND(y) && state[y] >= CHECKING && y != i && KNOWS(i, y) ->
                assert(DIGEST(i) == DIGEST(y));
                assert((IS_VALUE(record[i]) -> record[i] : 0) == (IS_VALUE(record[y]) -> record[y] : 0))
            :: else
            fi;
            y++
        :: else -> break
        od;
        y = 0
    :: else
    fi
}

inline wipe()
{
    x = 0;
    do
    :: x < NODES -> crash(x); state[x] = OFF; outcast[x] = 0; x++
    :: else -> break
    od;
    x = 0;
    losses = 0; cuts = 0; crashes = 0; drops = 0; goodbyes = 0; writes = 0;
    cut_off = NODES; forgotten = 0; latest = 0; came = 0; acknowledged = 0; excused = 0;
    over = 1
}

#define NOTHING_UNDER_WAY (under_way == 0 && !(copy[0] | copy[1] | copy[2]) && repairs == 0)

/* The table of actions */

#define WRITE(i, r)                                                                                \
    :: LIVES(i) && writes < writes_max && (kinds & BIT(r)) && (i == 0 || writes || members < NODES) && VERSION(r) > VERSION(record[i]) && CLOCK_ALLOWS(r) -> d_step { write(i, r) }

#define DELIVER(i, j, r)                                                                           \
    :: (flight[AT(i, j)] & BIT(r)) && LIVES(j) && LINKED(i, j) -> d_step { deliver(i, j, r) }      \
    :: (flight[AT(i, j)] & BIT(r)) && LIVES(j) && losses < losses_max -> d_step { losses = losses + (losses_max < 99); lose(i, j, r) } \
    :: (flight[AT(i, j)] & BIT(r)) && (!LIVES(j) || !LINKED(i, j)) -> d_step { lose(i, j, r) }

/* Only when it can change anything */
#define WORTH_ASKING(i, j)                                                                         \
    ((buried[i] && !(agreed[i] & BIT(j)) && DIGEST(i) == DIGEST(j)) || (missed[i] & BIT(j)) || (state[i] == CHECKING && !(checked[i] & BIT(j))) ||                   \
     here[i] != here[j] || gone[i] != gone[j] || horizon[i] != horizon[j])

#define HELLO(i, j)                                                                                \
    :: REACHES(i, j) && KNOWS(i, j) && !(gone[j] & BIT(i)) && WORTH_ASKING(i, j) -> d_step { hear(i, j) }

#define REPAIR(i, j)                                                                               \
    :: repair_with[i] == 0 && under_way < flights_max && repairs == 0 && REACHES(i, j) && KNOWS(i, j) && KNOWS(j, i) && \
       ((state[i] == READY && state[j] == READY && DIGEST(i) != DIGEST(j)) ||                      \
        (state[i] == CHECKING && state[j] == READY && !(checked[i] & BIT(j))) ||                   \
        (state[i] == LEAVING && (missed[i] & BIT(j)) && state[j] != LEAVING)) -> d_step { repair(i, j) } \
    :: repair_with[i] == j + 1 && repair_gives[i] && LIVES(j) && LINKED(i, j) -> d_step { give(i, j) } \
    :: repair_with[i] == j + 1 && repair_wants[i] && LINKED(i, j) -> d_step { take(i, j) }         \
    :: repair_with[i] == j + 1 && !REACHES(i, j) -> d_step { break_off(i, j) }                     \
    :: repair_with[i] == j + 1 && REACHES(i, j) && losses < losses_max -> d_step { losses = losses + (losses_max < 99); break_off(i, j) }

#define JOIN(i, j)                                                                                 \
    :: state[i] == OFF && newcomers && !over && (state[j] == READY || state[j] == LEAVING) && LINKED(i, j) -> d_step { join(i, j) } \
    :: state[i] == JOINING && copy[i] == 0 && state[j] == READY && LINKED(i, j) && KNOWS(i, j) && KNOWS(j, i) -> \
        d_step { copy[i] = 1 + record[j] + 8 * j }                                                 \
    :: copy[i] && (copy[i] - 1) / 8 == j && !REACHES(i, j) -> d_step { copy[i] = 0 }

#define DEPART(i, k)                                                                               \
    :: LIVES(i) && KNOWS(i, k) && state[k] == LEFT && LINKED(i, k) -> d_step { depart(i, BIT(k)) } \
    :: LIVES(i) && KNOWS(i, k) && state[k] == DEAD -> d_step { depart(i, BIT(k)) }                 \
    :: LIVES(i) && KNOWS(i, k) && LIVES(k) && cut_off == k && drops < drops_max -> d_step { drops++; outcast[k] = 1; excused = 1; depart(i, BIT(k)) }

#define PAIR(i, j) DELIVER(i, j, 2) DELIVER(i, j, 3) DELIVER(i, j, 4) DELIVER(i, j, 5)             \
    HELLO(i, j) REPAIR(i, j) JOIN(i, j) DEPART(i, j)

#define ALL_AGREE(i) (((agreed[i] & OTHERS(i)) == OTHERS(i) && IS_STILL(i)) || NO_AGREEMENT)

#define NODE(i) WRITE(i, 2) WRITE(i, 3) WRITE(i, 4) WRITE(i, 5)                      \
    :: state[i] == READY && horizon[i] < last_horizon && TIME_PASSES(i) -> d_step { step_horizon(i) }                    \
    :: LIVES(i) && PAST_GRACE(i, record[i]) && !buried[i] && !revived[i] -> d_step { bury(i) }     \
    :: PAST_GRACE(i, record[i]) && !waited[i] && NONE_UNDER_WAY_UP_TO(record[i]) -> waited[i] = 1                       \
    :: state[i] == READY && buried[i] && ALL_AGREE(i) -> d_step { drop(i) } \
    :: state[i] == JOINING && copy[i] -> d_step { arrive(i) }                                      \
    :: state[i] == CHECKING && ALL_CHECKED(i) -> d_step { become_ready(i) }       \
    :: state[i] == JOINING && copy[i] == 0 && NOBODY_THERE(i) -> d_step { state[i] = READY }       \
    :: LIVES(i) && crashes < crashes_max -> d_step { crashes++; excused = 1; state[i] = DEAD; crash(i) } \
    :: LIVES(i) && cuts < cuts_max && cut_off == NODES -> d_step { cut(i) }                            \
    :: state[i] == READY && goodbyes < goodbyes_max -> d_step { leave(i) }                             \
    :: state[i] == LEAVING && OTHERS_HAVE_ALL(i) -> d_step { say_goodbye(i) }

init
{
    d_step {
        c_code {
#define SET(name) now.name = (unsigned char)(getenv(#name) ? atoi(getenv(#name)) : 0)
            SET(members); SET(newcomers); SET(old_value); SET(first_horizon); SET(last_horizon);
            SET(kinds); SET(writes_max); SET(losses_max); SET(cuts_max); SET(crashes_max);
            SET(goodbyes_max); SET(drops_max); SET(flights_max); SET(mutant);
        };
        latest = first_horizon;
        x = 0;
        do
        :: x < members ->
            state[x] = READY;
            here[x] = BIT(members) - 1;
            horizon[x] = first_horizon;
            x++
        :: else -> break
        od;
        x = 0
    };
    if :: record[0] = old_value :: true fi;
    if :: record[1] = old_value :: true fi;
    if :: members == NODES -> record[2] = old_value :: true fi;
    do
    NODE(0) NODE(1) PAIR(0, 1) PAIR(1, 0)
    NODE(2) PAIR(0, 2) PAIR(2, 0) PAIR(1, 2) PAIR(2, 1)
    :: cut_off != NODES -> cut_off = NODES
    :: !over && NOTHING_UNDER_WAY ->
        atomic {
            cut_off = NODES;
            SETTLE_ROUND;
            SETTLE_ROUND;
            SETTLE_ROUND;
            SETTLE_ROUND;
            d_step { settle_check(0) };
            d_step { settle_check(1) };
            d_step { settle_check(2) };
            d_step { wipe() }
        };
        break
    od
}
