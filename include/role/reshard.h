/* Moving keys to another number of partitions: copies all records, deletes and times to live too, from the clusters that have them to
 * those that shall have them, while both serve. It goes over all again until a whole pass has brought nothing new: then each record
 * of the old clusters is known to be in its new one, or to be beaten by one that is there.
 *
 * Whatever it did stays, and doing it twice does no harm, so it may be killed at any time and run again. It deletes nothing.
 * It is a command: reshard_command, of role/command.h. */
#ifndef ROLE_RESHARD_H
#define ROLE_RESHARD_H

#include "role/frontend.h"

struct reshard_config {
    const struct frontend_cluster *from, *to; /* each in the order of partitions, 1 at least */
    unsigned from_count, to_count;
};

#endif
