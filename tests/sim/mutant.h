/* Planted mistakes, each in the io, in what a client observes, or where two rooms of the node meet, that show that the checks catch
 * them. `sim --mutants` makes each in turn until a seed fails, `sim --cluster --mutants` those of clusters, and `sim --mutant NAME`
 * one of them. */
#ifndef SIM_MUTANT_H
#define SIM_MUTANT_H

/* The identifier, its name, what is wrong. */
#define MUTANTS(X)                                                                         \
    X(DROPPED_BYTE, "dropped-byte", "a byte of a reply is lost on the way")                \
    X(FLIPPED_BIT, "flipped-bit", "a bit of a reply changes on the way")                   \
    X(EXTRA_BYTE, "extra-byte", "a byte follows a reply that nobody asked for")            \
    X(SWAPPED_REPLIES, "swapped-replies", "two pipelined replies come in the wrong order") \
    X(STALE_VALUE, "stale-value", "a GET is answered with an older value of its key")      \
    X(FALSE_ABSENCE, "false-absence", "a GET of a key that exists is answered with 204")   \
    X(FALSE_304, "false-304", "a GET of a key that has changed is answered with 304")      \
    X(LOST_WRITE, "lost-write", "a write goes to another key, and is acknowledged")        \
    X(LOST_DELETE, "lost-delete", "a DELETE goes to another key, and is acknowledged")     \
    X(TORN_WRITE, "torn-write", "a body that did not end is applied")                      \
    X(FROZEN_VERSION, "frozen-version",                                                    \
      "a write is acknowledged with the version of the one before")                        \
    X(NO_ETAG, "no-etag", "a 200 comes without its ETag")                                  \
    X(LATE_EXPIRY, "late-expiry", "values are visible after their expiry")                 \
    X(SHORT_WAIT, "short-wait", "a wait ends before its time")                             \
    X(LATE_WAKE, "late-wake", "a waiter hears of a change late")                           \
    X(DEAF, "deaf", "the node does not hear of bytes that have come")                      \
    X(BLOCKED, "blocked", "the node does not hear that there is room to write again")      \
    X(RESTLESS, "restless", "a socket is always reported as ready")                        \
    X(LEAK, "leak", "a closed socket stays open")                                          \
    X(CUT_OFF, "cut-off", "the node closes a connection that is in use")                   \
    X(CORRUPT_BACKUP, "corrupt-backup", "a bit of a backup changes")                       \
    X(LOST_BACKUP, "lost-backup", "a backup is never merged")                              \
    X(ENDLESS_DRAIN, "endless-drain", "the node is not told to stop")                      \
    X(CHANCE, "chance", "two runs of a seed go different ways")

#define CLUSTER_MUTANTS(X)                                                                        \
    X(OLDER_WINS, "older-wins", "now and then an older record wins over a newer one")             \
    X(TIES_KEPT, "ties-kept", "of two records of one version each node keeps its own")            \
    X(PUSH_DROPPED, "push-dropped", "what is pushed is empty now and then")                       \
    X(NO_REPAIR, "no-repair", "differences are seen and not mended")                              \
    X(REPAIR_ONE_WAY, "repair-one-way", "repair gives and does not take, in one direction only")  \
    X(SAME_DIGEST, "same-digest", "the digest of the table is not updated")                       \
    X(CURSOR_SKIPS, "cursor-skips", "a lagging member is told every other record")                \
    X(CURSOR_LOST, "cursor-lost", "a cursor whose record is written again is not moved on")       \
    X(LAG_QUEUES, "lag-queues", "a lag keeps all records that were written since")                \
    X(EARLY_DROP, "early-drop", "deletes are forgotten before all have agreed")                   \
    X(GATHER_SKIPS, "gather-skips", "a newcomer's copy lacks half of the shards")                 \
    X(EARLY_READY, "early-ready", "a newcomer answers for keys that it has not gathered")         \
    X(EARLY_GOODBYE, "early-goodbye", "a node leaves before others have what it has")             \
    X(SILENT_GOODBYE, "silent-goodbye", "nobody hears that a member has left")                    \
    X(MANY_COPIES, "many-copies", "each copy is counted twice")                                   \
    X(LONGER_TTL, "longer-ttl", "a merge gives a value an hour more")                             \
    X(LOST_MERGE, "lost-merge", "a record that is merged is lost now and then, and acknowledged") \
    X(BEYOND_MEMORY, "beyond-memory", "the table takes more than its limit")                      \
    X(LATE_PUSH, "late-push", "a member that answers is pushed to from the next tick on")

/* The same for front-ends (`sim --frontends --mutants`). */
#define FLEET_MUTANTS(X)                                                                          \
    X(OUT_OF_ORDER, "out-of-order", "a pipelined request is answered before the one ahead of it") \
    X(ROUTE, "route", "a key is sent to the partition after its own")                             \
    X(UNVERSIONED, "unversioned", "another try of a write has no version")                        \
    X(WRONG_CLOCK, "wrong-clock", "a write has its version by the front-end's own clock")         \
    X(LATE_TRY, "late-try", "a first try may be carried out at any time")                         \
    X(SAME_NODE, "same-node", "another try goes to the node that has just failed")                \
    X(OVERTAKES, "overtakes",                                                                     \
      "a request does not wait for what its client asked of its key before")                      \
    X(FORGOTTEN, "forgotten", "a request that waits for a node is forgotten")                     \
    X(DROPPED, "dropped", "a request that gave way to a long answer is not sent again")           \
    X(WRONG_OFFSET, "wrong-offset", "a long answer goes on one byte too early")                   \
    X(STAYS_PAUSED, "stays-paused", "a connection to a node is never read again")                 \
    X(UNFREED, "unfreed", "a request is never freed")                                             \
    X(FALSE_NO, "false-no", "a write that may have been carried out is refused")                  \
    X(HASTY, "hasty", "a member that is not ready is asked")                                      \
    X(ENVIRONMENT_WINS, "environment-wins", "the environment counts more than the command line")  \
    X(BLIND_STATUS, "blind-status", "velour-fog status finds nothing wrong")                      \
    X(FALSE_ALARM, "false-alarm",                                                                 \
      "velour-fog status takes a node that is there for one that is down")                        \
    X(BLIND_DIFF, "blind-diff", "velour-fog diff overlooks a key")                                \
    X(THIN_BACKUP, "thin-backup", "a record is left out of a backup")                             \
    X(OLD_BACKUP, "old-backup", "a backup has an older version of a record than it says")         \
    X(LOST_RESTORE, "lost-restore", "a record is not restored")                                   \
    X(COUNTS_BACK, "counts-back", "a counter goes back")                                          \
    X(OPEN_JSON, "open-json", "an object in a status is not closed")

/* And while keys move (`sim --moves --mutants`). */
#define MOVE_MUTANTS(X)                                                          \
    X(EARLY_DONE, "early-done", "reshard says that it is done while it copies")  \
    X(UNANSWERED, "unanswered",                                                  \
      "what a new cluster has not answered, or refused, counts as copied")       \
    X(DELETE_LEFT, "delete-left", "deletes are not carried over")                \
    X(TTL_LEFT, "ttl-left", "a value is carried over with an hour more to live") \
    X(ONLY_OWN, "only-own", "a front-end reads from its own clusters only")      \
    X(OLD_PLACE, "old-place", "a front-end writes to the other clusters")        \
    X(NOT_ASKED, "not-asked", "a front-end does not ask the other clusters for their version")

/* And where each call fails in turn (`sim --starved --mutants`): each is made from the first failure on. */
#define STARVED_MUTANTS(X)                                                                       \
    X(SWALLOWED_SEND, "swallowed-send", "a send that fails counts as done")                      \
    X(KEPT_BLOCK, "kept-block", "a block of memory is not freed")                                \
    X(KEPT_SOCKET, "kept-socket", "a socket is not closed")                                      \
    X(UNMADE_WRITE, "unmade-write", "a write is acknowledged, and not made")                     \
    X(DEAF_LISTENER, "deaf-listener", "after an accept that failed nobody is accepted any more") \
    X(GIVES_UP, "gives-up", "after a connect that failed no other one succeeds")                 \
    X(SPINNING, "spinning", "the loop turns again at once")                                      \
    X(ALONE, "alone", "a newcomer that could not ask takes it that nobody is there")

enum mutant {
    MUTANT_NONE,
#define X(id, name, text) MUTANT_##id,
    MUTANTS(X) CLUSTER_MUTANTS(X) FLEET_MUTANTS(X) MOVE_MUTANTS(X) STARVED_MUTANTS(X)
#undef X
        MUTANT_COUNT,
    MUTANT_CLUSTERS = MUTANT_OLDER_WINS, /* the first of them */
    MUTANT_FLEETS = MUTANT_OUT_OF_ORDER,
    MUTANT_MOVES = MUTANT_EARLY_DONE,
    MUTANT_STARVED = MUTANT_SWALLOWED_SEND,
};

#endif
