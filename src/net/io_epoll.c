#include "net/io_epoll.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "net/cgroup.h"

enum {
    BACKLOG = 4096,                      /* the kernel cuts it to net.core.somaxconn */
    EVENTS_MAX = 512,                    /* of one epoll_wait */
    UNSENT_BYTES_ALL = 64 * 1024 * 1024, /* held beyond clients' windows, see limit_unsent */
    UNSENT_BYTES_MIN = 32 * 1024,        /* of these for each client at least */
    LISTEN_FDS_START = 3,                /* sd_listen_fds(3) */
    SLICE_NS = 100 * 1000,               /* of the processor at a time, see take_short_slices */
};

struct io_epoll {
    struct io io;
    bool reuse_ports;
    bool yields; /* the processor between turns, while work is left */
    int epoll;
    int signals; /* signalfd, -1 while not wanted */
    struct epoll_event events[EVENTS_MAX];
};

static struct io_epoll *self_of(struct io *io)
{
    return (struct io_epoll *)io;
}

/* Clocks and entropy */

static uint64_t clock_us(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static uint64_t epoll_monotonic_us(struct io *io)
{
    (void)io;
    return clock_us(CLOCK_MONOTONIC);
}

static uint64_t epoll_wall_us(struct io *io)
{
    (void)io;
    return clock_us(CLOCK_REALTIME);
}

static void epoll_random(struct io *io, void *out, size_t bytes)
{
    (void)io;
    char *at = out;
    while (bytes > 0) {
        ssize_t got = getrandom(at, bytes, 0);
        if (got <= 0)
            continue; /* only EINTR can happen here (getrandom(2)) */
        at += got;
        bytes -= (size_t)got;
    }
}

/* Addresses: IPv6 sockets carry both kinds, unless the machine has no IPv6. */

union socket_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_storage storage;
};

static socklen_t socket_address_make(const struct address *address, bool v4,
                                     union socket_address *out)
{
    memset(out, 0, sizeof *out);
    if (v4) {
        out->v4.sin_family = AF_INET;
        out->v4.sin_port = htons(address->port);
        memcpy(&out->v4.sin_addr, address->ip + 12, 4);
        return sizeof out->v4;
    }
    out->v6.sin6_family = AF_INET6;
    out->v6.sin6_port = htons(address->port);
    memcpy(&out->v6.sin6_addr, address->ip, 16);
    return sizeof out->v6;
}

static void address_of_socket(const union socket_address *from, struct address *out)
{
    memset(out, 0, sizeof *out);
    if (from->any.sa_family == AF_INET) {
        out->port = ntohs(from->v4.sin_port);
        out->ip[10] = out->ip[11] = 0xff;
        memcpy(out->ip + 12, &from->v4.sin_addr, 4);
    } else if (from->any.sa_family == AF_INET6) {
        out->port = ntohs(from->v6.sin6_port);
        memcpy(out->ip, &from->v6.sin6_addr, 16);
    }
}

/* Returns 0 or -errno. */
static int socket_bound_address(int fd, struct address *out)
{
    union socket_address bound = {0};
    socklen_t bytes = sizeof bound;
    if (getsockname(fd, &bound.any, &bytes) != 0)
        return -errno;
    address_of_socket(&bound, out);
    return 0;
}

static void socket_option(int fd, int level, int option, int value)
{
    setsockopt(fd, level, option, &value, sizeof value);
}

/* Sockets */

static int listen_on(const struct address *address, bool v4, bool reuse_port)
{
    int fd = socket(v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    union socket_address at;
    socklen_t bytes = socket_address_make(address, v4, &at);
    socket_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (reuse_port)
        socket_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (!v4)
        socket_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
    if (bind(fd, &at.any, bytes) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    int error = -errno;
    close(fd);
    return error;
}

static int epoll_listen(struct io *io, const struct address *address, struct address *bound)
{
    static const uint8_t any[16];
    bool reuse = self_of(io)->reuse_ports;
    int fd = listen_on(address, address_is_ipv4(address), reuse);
    bool no_ipv6 = fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL;
    if (no_ipv6 && memcmp(address->ip, any, sizeof any) == 0)
        fd = listen_on(address, true, reuse);
    int error = fd >= 0 ? socket_bound_address(fd, bound) : fd;
    if (!error)
        return fd;
    if (fd >= 0)
        close(fd);
    return error;
}

/* Without it the kernel holds megabytes for each client that reads slowly, and ten thousand of them use up what it has for all
 * sockets. Descriptors are numbered from the lowest free one on, so a number tells how many there are. */
static void limit_unsent(int fd)
{
    int part = UNSENT_BYTES_ALL / (fd + 1);
    socket_option(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT,
                  part > UNSENT_BYTES_MIN ? part : UNSENT_BYTES_MIN);
}

static int epoll_accept(struct io *io, int listener, struct address *peer)
{
    (void)io;
    union socket_address from = {0};
    socklen_t bytes = sizeof from;
    int fd = accept4(listener, &from.any, &bytes, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return errno == EINTR ? -ECONNABORTED : -errno;
    address_of_socket(&from, peer);
    socket_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    limit_unsent(fd);
    return fd;
}

static int epoll_connect(struct io *io, const struct address *address)
{
    (void)io;
    bool v4 = address_is_ipv4(address);
    int fd = socket(v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    union socket_address to;
    socklen_t bytes = socket_address_make(address, v4, &to);
    socket_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (connect(fd, &to.any, bytes) == 0 || errno == EINPROGRESS)
        return fd;
    int error = -errno;
    close(fd);
    return error;
}

static void epoll_remote(struct io *io, int fd, struct address *address)
{
    (void)io;
    union socket_address from = {0};
    socklen_t bytes = sizeof from;
    *address = (struct address){0};
    if (getpeername(fd, &from.any, &bytes) == 0)
        address_of_socket(&from, address);
}

static ssize_t result_of(ssize_t result)
{
    if (result >= 0)
        return result;
    return errno == EWOULDBLOCK ? -EAGAIN : -errno;
}

static ssize_t epoll_recv(struct io *io, int fd, void *out, size_t bytes)
{
    (void)io;
    return result_of(
        TEMP_FAILURE_RETRY(recv(fd, out, bytes, out ? 0 : MSG_TRUNC))); /* see tcp(7) */
}

static ssize_t epoll_send(struct io *io, int fd, const struct iovec *pieces, int count)
{
    (void)io;
    if (count == 1)
        return result_of(
            TEMP_FAILURE_RETRY(send(fd, pieces->iov_base, pieces->iov_len, MSG_NOSIGNAL)));
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)pieces,
                             .msg_iovlen = (size_t)count};
    return result_of(TEMP_FAILURE_RETRY(sendmsg(fd, &message, MSG_NOSIGNAL)));
}

static void epoll_shutdown(struct io *io, int fd)
{
    (void)io;
    shutdown(fd, SHUT_WR);
}

static void epoll_close(struct io *io, int fd)
{
    (void)io;
    close(fd);
}

/* Events */

static struct epoll_event event_make(unsigned interest, void *data)
{
    struct epoll_event event = {.data = {.ptr = data}};
    event.events |= interest & IO_READ ? (uint32_t)EPOLLIN : 0;
    event.events |= interest & IO_WRITE ? (uint32_t)EPOLLOUT : 0;
    event.events |= interest & IO_EDGE ? (uint32_t)EPOLLET | EPOLLRDHUP | EPOLLPRI : 0;
    return event;
}

static int epoll_watch(struct io *io, int fd, unsigned interest, void *data)
{
    struct epoll_event event = event_make(interest, data);
    return epoll_ctl(self_of(io)->epoll, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

static void epoll_rewatch(struct io *io, int fd, unsigned interest, void *data)
{
    struct epoll_event event = event_make(interest, data);
    int failed = epoll_ctl(self_of(io)->epoll, EPOLL_CTL_MOD, fd, &event);
    assert(!failed); /* fails only for a socket that is not watched */
}

static void epoll_unwatch(struct io *io, int fd)
{
    epoll_ctl(self_of(io)->epoll, EPOLL_CTL_DEL, fd, NULL);
}

static unsigned ready_of(uint32_t events)
{
    unsigned ready = 0;
    ready |= events & EPOLLIN ? IO_READ : 0u;
    ready |= events & EPOLLOUT ? IO_WRITE : 0u;
    ready |= events & (EPOLLRDHUP | EPOLLPRI) ? IO_ENDED : 0u;
    ready |= events & (EPOLLERR | EPOLLHUP) ? IO_BROKEN : 0u;
    return ready;
}

static int timeout_ms_of(int64_t timeout_us)
{
    if (timeout_us < 0)
        return -1;
    int64_t ms = (timeout_us + 999) / 1000;
    return ms > 3600000 ? 3600000 : (int)ms;
}

static int epoll_wait_events(struct io *io, struct io_event *events, int max, int64_t timeout_us)
{
    struct io_epoll *self = self_of(io);
    int wanted = max < EVENTS_MAX ? max : EVENTS_MAX;
    if (timeout_us == 0 && self->yields)
        sched_yield(); /* work is left, more than a turn's: others on this core may do one of theirs first */
    int count = epoll_wait(self->epoll, self->events, wanted, timeout_ms_of(timeout_us));
    for (int i = 0; i < count; i++)
        events[i] = (struct io_event){self->events[i].data.ptr, ready_of(self->events[i].events)};
    return count < 0 ? 0 : count;
}

static const struct io_ops epoll_ops = {
    .monotonic_us = epoll_monotonic_us,
    .wall_us = epoll_wall_us,
    .random = epoll_random,
    .listen = epoll_listen,
    .accept = epoll_accept,
    .connect = epoll_connect,
    .remote = epoll_remote,
    .recv = epoll_recv,
    .send = epoll_send,
    .shutdown = epoll_shutdown,
    .close = epoll_close,
    .watch = epoll_watch,
    .rewatch = epoll_rewatch,
    .unwatch = epoll_unwatch,
    .wait = epoll_wait_events,
};

static void raise_files_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* A front-end and a node that share a core would otherwise wait for each other for 3 ms and more at each step of a request, as long as
 * either has bulk to carry. From Linux 6.12 on the slice of a process is its own to choose, and one that yields gives up what it has left
 * of its slice for good: of a short one that is little, of an ordinary one most of its share. An older kernel takes no notice of the slice, and says
 * all the same that all is well: so it is asked for it again. Returns whether slices are short now. */
static bool take_short_slices(void)
{
    struct { /* sched_attr, its first version: sched_setattr(2); Debian 12 has no header with it */
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime_ns, deadline_ns, period_ns;
    } attributes = {.size = sizeof attributes};
    if (syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) != 0)
        return false;
    if (attributes.policy != SCHED_OTHER)
        return false;
    attributes.runtime_ns = SLICE_NS;
    return syscall(SYS_sched_setattr, 0, &attributes, 0) == 0 &&
           syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) == 0 &&
           attributes.runtime_ns == SLICE_NS;
}

struct io *io_epoll_new(void)
{
    struct io_epoll *self = malloc(sizeof *self);
    if (!self)
        return NULL;
    raise_files_limit();
    self->io.ops = &epoll_ops;
    self->reuse_ports = false;
    self->yields = take_short_slices();
    self->signals = -1;
    self->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (self->epoll >= 0)
        return &self->io;
    free(self);
    return NULL;
}

void io_epoll_destroy(struct io *io)
{
    struct io_epoll *self = self_of(io);
    if (self->signals >= 0)
        close(self->signals);
    close(self->epoll);
    free(self);
}

void io_epoll_reuse_ports(struct io *io)
{
    self_of(io)->reuse_ports = true;
}

/* Signals */

/* A blocked signal is kept even when it is ignored, as nohup has it. */
static bool is_ignored(int number)
{
    struct sigaction action;
    return sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

int io_epoll_watch_signals(struct io *io, void *data)
{
    struct io_epoll *self = self_of(io);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    if (!is_ignored(SIGHUP))
        sigaddset(&set, SIGHUP);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a write then fails with EFBIG, which can be told */
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
        return -errno;
    self->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (self->signals < 0)
        return -errno;
    return epoll_watch(io, self->signals, IO_READ, data);
}

int io_epoll_next_signal(struct io *io)
{
    struct signalfd_siginfo info;
    ssize_t got = read(self_of(io)->signals, &info, sizeof info);
    return got == (ssize_t)sizeof info ? (int)info.ssi_signo : 0;
}

/* systemd */

static uint64_t number_of_environment(const char *name)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : 0;
}

/* Whether a variable that names a process names this one, or is not set. */
static bool environment_is_mine(const char *name)
{
    return !getenv(name) || number_of_environment(name) == (uint64_t)getpid();
}

static int socket_option_of(int fd, int option)
{
    int value = 0;
    socklen_t bytes = sizeof value;
    return getsockopt(fd, SOL_SOCKET, option, &value, &bytes) == 0 ? value : -1;
}

static bool is_tcp_listener(int fd)
{
    int domain = socket_option_of(fd, SO_DOMAIN);
    return socket_option_of(fd, SO_ACCEPTCONN) > 0 && (domain == AF_INET || domain == AF_INET6) &&
           socket_option_of(fd, SO_TYPE) == SOCK_STREAM;
}

int io_epoll_inherited_listener(struct io *io, struct address *bound)
{
    (void)io;
    uint64_t count = number_of_environment("LISTEN_FDS");
    if (count == 0 || !environment_is_mine("LISTEN_PID"))
        return -ENOENT;
    if (count > 1) /* who connects to the others would wait for ever */
        return -E2BIG;
    int fd = LISTEN_FDS_START;
    if (!is_tcp_listener(fd))
        return -EINVAL;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    int error = socket_bound_address(fd, bound);
    return error ? error : fd;
}

bool io_epoll_notify(struct io *io, const char *state)
{
    (void)io;
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t bytes = path ? strlen(path) : 0;
    if (bytes < 2 || bytes >= sizeof to.sun_path || (path[0] != '/' && path[0] != '@'))
        return true;
    memcpy(to.sun_path, path, bytes);
    if (path[0] == '@') /* an abstract address */
        to.sun_path[0] = 0;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + bytes);
    ssize_t sent = sendto(fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT,
                          (struct sockaddr *)&to, length);
    bool full = sent < 0 && (errno == EAGAIN || errno == ENOBUFS);
    close(fd);
    return !full;
}

uint64_t io_epoll_watchdog_us(struct io *io)
{
    (void)io;
    return environment_is_mine("WATCHDOG_PID") ? number_of_environment("WATCHDOG_USEC") / 2 : 0;
}

bool io_epoll_stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat stat;
    if (!stream || sscanf(stream, "%llu:%llu", &device, &inode) != 2 ||
        fstat(STDERR_FILENO, &stat) != 0)
        return false;
    return stat.st_dev == device && stat.st_ino == inode;
}

/* stderr */

/* In a pipe or a socket that has room at all there is room for a line, but not in a terminal. That is opened once more: the file that was
 * handed over is the shell's too, and must wait for it. */
void io_epoll_unblock_stderr(void)
{
    int own = isatty(STDERR_FILENO)
                  ? open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)
                  : -1;
    if (own < 0)
        return;
    dup2(own, STDERR_FILENO);
    close(own);
}

bool io_epoll_write_stderr(void *sink, const char *line, unsigned bytes)
{
    struct pollfd file = {.fd = STDERR_FILENO, .events = POLLOUT};
    (void)sink;
    return poll(&file, 1, 0) == 1 && file.revents & POLLOUT &&
           write(STDERR_FILENO, line, bytes) == (ssize_t)bytes;
}

/* The process and the machine */

uint64_t io_epoll_resident_bytes(void)
{
    unsigned long long total = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (!file)
        return 0;
    int read = fscanf(file, "%llu %llu", &total, &resident);
    fclose(file);
    return read == 2 ? resident * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

uint64_t io_epoll_cpu_us(void)
{
    return clock_us(CLOCK_PROCESS_CPUTIME_ID);
}

uint64_t io_epoll_files_max(void)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 0;
}

uint64_t io_epoll_memory_bytes(void)
{
    uint64_t machine = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t group = cgroup_memory_bytes();
    return group < machine ? group : machine;
}
