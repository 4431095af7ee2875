#include "net/cgroup.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { PATH_BYTES = 4096 };

/* Behind the hierarchies of version 1, where there are any, that of version 2 stands: "0::/PATH". Fills in the path. */
static bool own_group(char path[PATH_BYTES])
{
    FILE *file = fopen("/proc/self/cgroup", "re");
    char line[PATH_BYTES];
    bool found = false;
    while (file && !found && fgets(line, sizeof line, file))
        found = sscanf(line, "0::%4095[^\n]", path) == 1;
    if (file)
        (void)fclose(file);
    return found;
}

static uint64_t limit_of(const char *group)
{
    char path[PATH_BYTES + 64];
    unsigned long long bytes = UINT64_MAX;
    snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.max", group);
    FILE *file = fopen(path, "re");
    if (!file)
        return UINT64_MAX;
    bool found = fscanf(file, "%llu", &bytes) == 1; /* "max" is no number */
    (void)fclose(file);
    return found ? bytes : UINT64_MAX;
}

uint64_t cgroup_memory_bytes(void)
{
    char group[PATH_BYTES];
    uint64_t least = UINT64_MAX;
    if (!own_group(group))
        return UINT64_MAX;
    for (char *end = group + strlen(group); end; end = strrchr(group, '/')) {
        *end = 0;
        uint64_t bytes = limit_of(group);
        least = bytes < least ? bytes : least;
    }
    return least;
}
