/* Which partition a key belongs to: SHA-1 of the key's bytes, as a 160-bit big-endian integer, modulo the number of partitions.
 * Clients compute it too (docs/partitions.md), so it is fixed for all time. The only user of libcrypto. */
#ifndef DATA_ROUTE_H
#define DATA_ROUTE_H

#include <stdint.h>

#include "base/slice.h"

enum { ROUTE_PARTITIONS_MAX = 65536 };

struct route;

/* For `partitions` from 1 to ROUTE_PARTITIONS_MAX. Returns NULL when out of memory. The caller owns it until route_destroy. */
struct route *route_new(uint32_t partitions);
void route_destroy(struct route *route);

/* From 0 to partitions - 1. Allocates nothing and cannot fail; for one partition nothing is hashed. */
uint32_t route_partition(const struct route *route, struct slice key);

#endif
