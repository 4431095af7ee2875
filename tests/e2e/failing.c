/* Preloaded into the program (LD_PRELOAD): one call of one function fails. From the environment: FAILING=NAME:NUMBER:ERRNO says which,
 * counted from 1; FAILING_COUNTS=FILE wants to know at the end how often each was called, a line each. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NAMES(X)                      \
    X(malloc, "malloc")               \
    X(calloc, "calloc")               \
    X(realloc, "realloc")             \
    X(socket, "socket")               \
    X(bind, "bind")                   \
    X(listen, "listen")               \
    X(getsockname, "getsockname")     \
    X(setsockopt, "setsockopt")       \
    X(accept4, "accept4")             \
    X(recv, "recv")                   \
    X(send, "send")                   \
    X(epoll_create1, "epoll_create1") \
    X(epoll_ctl, "epoll_ctl")         \
    X(epoll_wait, "epoll_wait")       \
    X(signalfd, "signalfd")           \
    X(read, "read")                   \
    X(fcntl, "fcntl")                 \
    X(fopen, "fopen")                 \
    X(getrandom, "getrandom")         \
    X(setrlimit, "setrlimit")

enum name {
#define X(name, text) NAME_##name,
    NAMES(X)
#undef X
        NAME_COUNT,
};

static const char *const names[] = {
#define X(name, text) text,
    NAMES(X)
#undef X
};

/* All calls are made by the one thread of the program. */
static unsigned long counts[NAME_COUNT];

/* Called from within malloc: so it allocates nothing. */
static bool fails(enum name name)
{
    const char *which = getenv("FAILING");
    size_t len = strlen(names[name]);
    char *end;
    counts[name]++;
    if (!which || strncmp(which, names[name], len) != 0 || which[len] != ':' ||
        strtoul(which + len + 1, &end, 10) != counts[name] || *end != ':')
        return false;
    errno = atoi(end + 1);
    return true;
}

__attribute__((destructor)) static void tell(void)
{
    const char *path = getenv("FAILING_COUNTS");
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
    for (int i = 0; fd >= 0 && i < NAME_COUNT; i++)
        dprintf(fd, "%s %lu\n", names[i], counts[i]);
    if (fd >= 0)
        close(fd);
}

/* The names of parameters are the system's own affair.
 * NOLINTBEGIN(readability-inconsistent-declaration-parameter-name) */

/* Of glibc, for those who put themselves in the place of malloc. */
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *old, size_t bytes);

void *malloc(size_t bytes)
{
    return fails(NAME_malloc) ? NULL : __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes)
{
    return fails(NAME_calloc) ? NULL : __libc_calloc(count, bytes);
}

void *realloc(void *old, size_t bytes)
{
    return fails(NAME_realloc) ? NULL : __libc_realloc(old, bytes);
}

/* The others go to the kernel by themselves. */
#define CALL(result, name, parameters, ...)                                          \
    result name parameters                                                           \
    {                                                                                \
        return (result)(fails(NAME_##name) ? -1 : syscall(SYS_##name, __VA_ARGS__)); \
    }

CALL(int, socket, (int family, int type, int protocol), family, type, protocol)
CALL(int, bind, (int fd, __CONST_SOCKADDR_ARG at, socklen_t len), fd, at.__sockaddr__, len)
CALL(int, listen, (int fd, int backlog), fd, backlog)
CALL(int, getsockname, (int fd, __SOCKADDR_ARG at, socklen_t *len), fd, at.__sockaddr__, len)
CALL(int, setsockopt, (int fd, int level, int name, const void *value, socklen_t len), fd, level,
     name, value, len)
CALL(int, accept4, (int fd, __SOCKADDR_ARG from, socklen_t *len, int flags), fd, from.__sockaddr__,
     len, flags)
CALL(int, epoll_create1, (int flags), flags)
CALL(ssize_t, read, (int fd, void *out, size_t bytes), fd, out, bytes)
CALL(ssize_t, getrandom, (void *out, size_t bytes, unsigned flags), out, bytes, flags)

/* To change or end a watch allocates nothing (fs/eventpoll.c): it fails for descriptors alone that are not watched. */
int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
    return operation == EPOLL_CTL_ADD && fails(NAME_epoll_ctl)
               ? -1
               : (int)syscall(SYS_epoll_ctl, epoll, operation, fd, event);
}

int epoll_wait(int epoll, struct epoll_event *events, int max, int timeout)
{
    return fails(NAME_epoll_wait)
               ? -1
               : (int)syscall(SYS_epoll_pwait, epoll, events, max, timeout, NULL, 0);
}

ssize_t recv(int fd, void *out, size_t bytes, int flags)
{
    return fails(NAME_recv) ? -1 : syscall(SYS_recvfrom, fd, out, bytes, flags, NULL, NULL);
}

ssize_t send(int fd, const void *data, size_t bytes, int flags)
{
    return fails(NAME_send) ? -1 : syscall(SYS_sendto, fd, data, bytes, flags, NULL, 0);
}

int signalfd(int fd, const sigset_t *set, int flags)
{
    enum { KERNEL_SET_BYTES = 8 };
    return fails(NAME_signalfd) ? -1
                                : (int)syscall(SYS_signalfd4, fd, set, KERNEL_SET_BYTES, flags);
}

int setrlimit(__rlimit_resource_t resource, const struct rlimit *limit)
{
    return fails(NAME_setrlimit) ? -1 : (int)syscall(SYS_prlimit64, 0, resource, limit, NULL);
}

int fcntl(int fd, int command, ...)
{
    va_list arguments;
    va_start(arguments, command);
    long argument = va_arg(arguments, long);
    va_end(arguments);
    return fails(NAME_fcntl) ? -1 : (int)syscall(SYS_fcntl, fd, command, argument);
}

FILE *fopen(const char *path, const char *mode)
{
    FILE *(*real)(const char *, const char *);
    *(void **)&real = dlsym(RTLD_NEXT, "fopen");
    return fails(NAME_fopen) ? NULL : real(path, mode);
}

/* NOLINTEND(readability-inconsistent-declaration-parameter-name) */
