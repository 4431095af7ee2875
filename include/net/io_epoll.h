/* The real world: Linux sockets, epoll, clocks, getrandom; and what only a real process has: signals,
 * sockets handed over by systemd, and its notifications. */
#ifndef NET_IO_EPOLL_H
#define NET_IO_EPOLL_H

#include <stdbool.h>

#include "net/io.h"

/* Raises the limit on file descriptors to the hard one. Returns NULL when out of memory or of file
 * descriptors, as errno says. The caller owns it until io_epoll_destroy. */
struct io *io_epoll_new(void);
void io_epoll_destroy(struct io *io);

/* From now on a port that is listened on may be shared with other processes of the same user that share it too: the kernel
 * spreads connections over them (SO_REUSEPORT, socket(7)). */
void io_epoll_reuse_ports(struct io *io);

/* From now on SIGTERM, SIGINT and SIGHUP are events that carry `data`, and SIGPIPE and SIGXFSZ are ignored.
 * Returns 0 or -errno. */
int io_epoll_watch_signals(struct io *io, void *data);

/* The number of the next signal that came in, or 0. */
int io_epoll_next_signal(struct io *io);

/* A listening socket that systemd handed over (sd_listen_fds(3)), its address in *bound. Returns -ENOENT
 * when there is none, -E2BIG when there are several, -EINVAL when it is no listening TCP socket, or another -errno. */
int io_epoll_inherited_listener(struct io *io, struct address *bound);

/* Tells systemd (sd_notify(3)), for example "READY=1". Does nothing when it does not listen. Returns false when there is no room for more now. */
bool io_epoll_notify(struct io *io, const char *state);

/* How often systemd wants to hear WATCHDOG=1, half of its limit in microseconds; 0 when it does not. */
uint64_t io_epoll_watchdog_us(struct io *io);

/* Whether stderr is the journal's: JOURNAL_STREAM names it (systemd.exec(5)). */
bool io_epoll_stderr_is_journal(void);

/* Whoever reads stderr may stand still, which is to hold up nothing: from now on a line that finds no room there is not written, and false is
 * returned. (A pipe that others write to as well may be full all the same, just then.) */
void io_epoll_unblock_stderr(void);
bool io_epoll_write_stderr(void *sink, const char *line, unsigned bytes);

/* Bytes of this process in memory (RSS), 0 when that cannot be told. */
uint64_t io_epoll_resident_bytes(void);

/* Microseconds of processor time that this process has used. */
uint64_t io_epoll_cpu_us(void);

/* File descriptors: how many this process may have. */
uint64_t io_epoll_files_max(void);

/* The memory that this process may use: of the machine, or of its control groups when that is less. */
uint64_t io_epoll_memory_bytes(void);

#endif
