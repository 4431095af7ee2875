/* How far a restore has come, in a small file beside the backup, "FILE.progress": so that one that was stopped can go on. */
#ifndef ROLE_PROGRESS_H
#define ROLE_PROGRESS_H

#include "role/archive.h"

/* Of which backup: the sum over the whole file, and its size. Returned by who has checked it. */
struct progress_of {
    uint64_t checksum, bytes;
    const char *to; /* the store, as it was named */
};

/* Writes it anew, whole or not at all. Returns 0 or -errno. */
int progress_write(const char *path, const struct progress_of *of,
                   const struct archive_place *place);

/* Returns 0, -ENOENT when there is none, -EINVAL when it is of another backup or another store, or another -errno. */
int progress_read(const char *path, const struct progress_of *of, struct archive_place *place);

/* It is done with. */
void progress_remove(const char *path);

#endif
