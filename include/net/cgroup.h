/* What the control groups that this process is in let it have. */
#ifndef NET_CGROUP_H
#define NET_CGROUP_H

#include <stdint.h>

/* The least memory limit of its own group and of all that this one is in, as far as they can be seen from here: version 2 (cgroups(7)).
 * UINT64_MAX when there is none. */
uint64_t cgroup_memory_bytes(void);

#endif
