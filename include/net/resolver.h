/* Names to addresses, never blocking. Two makers, as for struct io: c-ares for the real world (net/resolver_ares.h), a table in
 * the simulator. */
#ifndef NET_RESOLVER_H
#define NET_RESOLVER_H

#include "net/address.h"

enum {
    RESOLVER_NAME_BYTES_MAX = 253,
    RESOLVER_ADDRESSES_MAX = 64, /* of one name; more are left out */
};

/* One question under way. Embedded in its owner. */
struct lookup {
    /* Exactly once unless it was cancelled, never from inside resolver_ask. `addresses` live until it returns; count is 0 when
     * the name has none or nobody answered in time. Each has port 0. */
    void (*on_answer)(struct lookup *lookup, const struct address *addresses, unsigned count);
    void *data; /* the resolver's; NULL while no question is under way */
    bool
        failed; /* as of on_answer with a count of 0: nobody has told, so the name may well have addresses */
};

struct resolver {
    const struct resolver_ops *ops;
};

struct resolver_ops {
    /* `name` is a host name, or an IP address as text; it is copied. Returns 0 or -errno (-ENOMEM, -EINVAL for what is no
     * name); then on_answer is not called. */
    int (*ask)(struct resolver *resolver, struct lookup *lookup, const char *name);

    /* Forgets a question; does nothing when none is under way. */
    void (*cancel)(struct resolver *resolver, struct lookup *lookup);
};

#endif
