/* Names by c-ares: /etc/hosts and the name servers of resolv.conf. The only user of c-ares. */
#ifndef NET_RESOLVER_ARES_H
#define NET_RESOLVER_ARES_H

#include "net/loop.h"
#include "net/resolver.h"

/* c-ares starts with the first question, and anew when resolv.conf may have changed since. `servers` are name servers in place of
 * those of the system ("127.0.0.1:5353,…"), or NULL. Returns NULL when out of memory. The caller owns it until
 * resolver_ares_destroy, which forgets all questions. */
struct resolver *resolver_ares_new(struct loop *loop, const char *servers);
void resolver_ares_destroy(struct resolver *resolver);

#endif
