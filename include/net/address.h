/* Addresses and networks: IPv4 and IPv6 as one kind, IPv4 in its mapped form (RFC 4291, 2.5.5.2).
 * Text in and out; no sockets, no look-ups. */
#ifndef NET_ADDRESS_H
#define NET_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

struct address {
    uint8_t ip[16];
    uint16_t port;
};

struct network {
    uint8_t ip[16];
    uint8_t prefix_bits; /* of the 128; an IPv4 network's bits + 96 */
};

enum {
    ADDRESS_TEXT_BYTES = 64, /* room for any address_format, NUL included */
    NETWORKS_MAX = 64,       /* of one allow-list */
};

/* Who may connect. */
struct allow_list {
    struct network networks[NETWORKS_MAX];
    uint8_t count;
};

/* One IP address, "10.0.0.1" or "fd00::1", with nothing around it. Returns 0 or -EINVAL. */
int address_parse_ip(struct slice text, uint8_t ip[16]);

/* "127.0.0.1:8000", "[::]:8000", "[fe80::1]:8000", ":8000" (any address), "8000" (the same).
 * Returns 0 or -EINVAL. */
int address_parse(struct slice text, struct address *out);

/* As address_parse reads it; mapped addresses as IPv4. Returns `out`. */
char *address_format(const struct address *address, char out[ADDRESS_TEXT_BYTES]);

bool address_equal(const struct address *a, const struct address *b);

bool address_is_ipv4(const struct address *address);

/* 0.0.0.0 or [::], whatever the port: where a server listens that does not know how it is reached. */
bool address_is_unspecified(const struct address *address);

/* "10.0.0.0/8", "fd00::/8", or one address. Bits beyond the prefix must be 0. Returns 0 or -EINVAL. */
int network_parse(struct slice text, struct network *out);

bool network_contains(const struct network *network, const struct address *address);

/* Loopback, link-local and the private ranges of RFC 1918 and RFC 4193. */
void allow_list_private(struct allow_list *list);

/* Adds one network. Returns 0, -EINVAL (not a network) or -ENOSPC (NETWORKS_MAX reached). */
int allow_list_add(struct allow_list *list, struct slice text);

bool allow_list_has(const struct allow_list *list, const struct address *address);

#endif
