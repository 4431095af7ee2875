/* The resolver of the real world: /etc/hosts, and then the servers of /etc/resolv.conf, through c-ares. It blocks no longer than
 * reading these two files takes.
 *
 * c-ares is started by the first question that needs it, so a node without names pays nothing; and anew after a minute, by the
 * next question while none is under way, so that changes of resolv.conf are seen. */
#ifndef NET_RESOLVER_ARES_H
#define NET_RESOLVER_ARES_H

#include "net/loop.h"
#include "net/resolver.h"

enum {
    RESOLVER_LIMIT_US = 5 * 1000 * 1000, /* of a question; then it has no answer */
    /* Of all servers together at first, then twice that. c-ares tells half of an answer only when it is through, which must be before the
     * limit: some servers say nothing to questions for IPv6. */
    RESOLVER_TRY_MS = 1500,
    RESOLVER_TRIES = 2,                    /* of each server */
    RESOLVER_REREAD_US = 60 * 1000 * 1000, /* settings older than this are read anew */
    RESOLVER_SOCKETS_MAX = 32,             /* watched at a time; on others no answer is heard */
};

/* `servers` are the DNS servers to ask, "10.0.0.1,127.0.0.1:5353", or NULL for those of the system; the text outlives the
 * resolver. Returns NULL when out of memory. The caller owns it until resolver_ares_destroy; `loop` and its io outlive it.
 *
 * Of an answer's addresses those of IPv4 come first, as what is taken first should not depend on which of the two answers of DNS
 * comes first; apart from that the order is kept, and what comes twice is left out. A name that cannot be one (a space in it,
 * empty, too long) is -EINVAL at once. */
struct resolver *resolver_ares_new(struct loop *loop, const char *servers);

/* Questions under way are forgotten. Not from inside of on_answer. */
void resolver_ares_destroy(struct resolver *resolver);

#endif
