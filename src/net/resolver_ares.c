/* c-ares has its own sockets; the loop watches them:
 *
 *   ask ─► ares_getaddrinfo ─► socket state ─► watched ─► ready ─► ares_process_fd ─► answered ─► end of turn: on_answer
 */
#include "net/resolver_ares.h"

#include <ares.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>

enum {
    ASK_TIMEOUT_MS = 1500, /* of one attempt with one server */
    ASK_TRIES = 2,
    FRESH_US = 60 * 1000 * 1000, /* for so long resolv.conf is not read again */
};

struct question {
    struct loop_deferred deferred;
    struct resolver_ares *resolver;
    struct lookup *lookup; /* NULL once it was cancelled */
    struct address addresses[RESOLVER_ADDRESSES_MAX];
    unsigned count;
};

struct watched {
    struct loop_watcher watcher; /* first, so that a watcher leads here */
    struct loop_deferred deferred;
    struct resolver_ares *resolver;
    struct watched *next;
    int fd;
};

struct resolver_ares {
    struct resolver resolver; /* first, so that a resolver leads here */
    struct loop *loop;
    const char *servers;
    ares_channel channel;
    bool started, ending;
    uint64_t started_us;
    unsigned asking;
    struct watched *watched;
    struct loop_timer timer;
};

static struct resolver_ares *self_of(struct resolver *resolver)
{
    return (struct resolver_ares *)resolver;
}

static void set_timer(struct resolver_ares *self)
{
    struct timeval wait;
    if (self->asking == 0 || !ares_timeout(self->channel, NULL, &wait))
        loop_timer_clear(self->loop, &self->timer);
    else
        loop_timer_set(self->loop, &self->timer,
                       self->loop->now_us + (uint64_t)wait.tv_sec * 1000000 +
                           (uint64_t)wait.tv_usec);
}

static void on_time(struct loop_timer *timer)
{
    struct resolver_ares *self =
        (struct resolver_ares *)((char *)timer - offsetof(struct resolver_ares, timer));
    ares_process_fd(self->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    set_timer(self);
}

/* Sockets */

static void on_ready(struct loop_watcher *watcher, unsigned ready)
{
    struct watched *watched = (struct watched *)watcher;
    struct resolver_ares *self = watched->resolver;
    ares_socket_t fd = watched->fd;
    if (fd < 0)
        return; /* it ended in this turn */
    ares_process_fd(self->channel, ready & (IO_READ | IO_BROKEN) ? fd : ARES_SOCKET_BAD,
                    ready & IO_WRITE ? fd : ARES_SOCKET_BAD);
    set_timer(self);
}

static void watched_free(struct loop_deferred *deferred)
{
    free((char *)deferred - offsetof(struct watched, deferred));
}

/* c-ares closes the socket, which ends the watch. */
static void watched_end(struct resolver_ares *self, struct watched **at)
{
    struct watched *watched = *at;
    *at = watched->next;
    watched->fd = -1;
    loop_defer(self->loop, &watched->deferred, watched_free);
}

static void watched_begin(struct resolver_ares *self, int fd, unsigned interest)
{
    struct io *io = self->loop->io;
    struct watched *watched = calloc(1, sizeof *watched);
    if (!watched)
        return; /* the question's time will be over */
    watched->watcher.on_ready = on_ready;
    watched->resolver = self;
    watched->fd = fd;
    if (io->ops->watch(io, fd, interest, &watched->watcher) != 0) {
        free(watched);
        return;
    }
    watched->next = self->watched;
    self->watched = watched;
}

static void on_socket_state(void *data, ares_socket_t fd, int reads, int writes)
{
    struct resolver_ares *self = data;
    struct io *io = self->loop->io;
    unsigned interest = (reads ? (unsigned)IO_READ : 0) | (writes ? (unsigned)IO_WRITE : 0);
    struct watched **at = &self->watched;
    while (*at && (*at)->fd != fd)
        at = &(*at)->next;
    if (*at && !interest)
        watched_end(self, at);
    else if (*at)
        io->ops->rewatch(io, fd, interest, &(*at)->watcher);
    else if (interest)
        watched_begin(self, fd, interest);
}

/* Answers */

static void question_tell(struct loop_deferred *deferred)
{
    struct question *question =
        (struct question *)((char *)deferred - offsetof(struct question, deferred));
    struct lookup *lookup = question->lookup;
    if (lookup) {
        lookup->data = NULL;
        lookup->on_answer(lookup, question->addresses, question->count);
    }
    free(question);
}

static bool address_of(const struct ares_addrinfo_node *node, struct address *out)
{
    *out = (struct address){0};
    if (node->ai_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)node->ai_addr;
        out->ip[10] = out->ip[11] = 255;
        memcpy(out->ip + 12, &in->sin_addr, 4);
        return true;
    }
    if (node->ai_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)node->ai_addr;
        memcpy(out->ip, &in6->sin6_addr, sizeof out->ip);
        return true;
    }
    return false;
}

static void question_add(struct question *question, const struct address *address)
{
    for (unsigned i = 0; i < question->count; i++)
        if (memcmp(question->addresses[i].ip, address->ip, sizeof address->ip) == 0)
            return;
    if (question->count < RESOLVER_ADDRESSES_MAX)
        question->addresses[question->count++] = *address;
}

static void on_addresses(void *data, int status, int timeouts, struct ares_addrinfo *result)
{
    struct question *question = data;
    struct resolver_ares *self = question->resolver;
    struct address address;
    (void)timeouts;
    self->asking--;
    if (result && status == ARES_SUCCESS)
        for (const struct ares_addrinfo_node *node = result->nodes; node; node = node->ai_next)
            if (address_of(node, &address))
                question_add(question, &address);
    if (result)
        ares_freeaddrinfo(result);
    if (self->ending) {
        free(question);
        return;
    }
    self->loop->again = true;
    loop_defer(self->loop, &question->deferred, question_tell);
}

/* Questions */

static void resolver_end(struct resolver_ares *self)
{
    if (self->started)
        ares_destroy(self->channel);
    self->started = false;
    while (self->watched)
        watched_end(self, &self->watched);
}

static int resolver_begin(struct resolver_ares *self)
{
    struct ares_options options = {
        .timeout = ASK_TIMEOUT_MS,
        .tries = ASK_TRIES,
        .sock_state_cb = on_socket_state,
        .sock_state_cb_data = self,
    };
    if (self->started && (self->asking > 0 || self->loop->now_us < self->started_us + FRESH_US))
        return 0;
    resolver_end(self);
    if (ares_init_options(&self->channel, &options,
                          ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB) !=
        ARES_SUCCESS)
        return -ENOMEM;
    self->started = true;
    self->started_us = self->loop->now_us;
    if (self->servers && ares_set_servers_ports_csv(self->channel, self->servers) != ARES_SUCCESS)
        return -EINVAL;
    return 0;
}

static int resolver_ask(struct resolver *resolver, struct lookup *lookup, const char *name)
{
    struct resolver_ares *self = self_of(resolver);
    const struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    size_t bytes = strlen(name);
    if (bytes == 0 || bytes > RESOLVER_NAME_BYTES_MAX)
        return -EINVAL;
    int error = resolver_begin(self);
    struct question *question = error ? NULL : calloc(1, sizeof *question);
    if (!question)
        return error ? error : -ENOMEM;
    question->resolver = self;
    question->lookup = lookup;
    lookup->data = question;
    self->asking++;
    ares_getaddrinfo(self->channel, name, NULL, &hints, on_addresses, question);
    set_timer(self);
    return 0;
}

static void resolver_cancel(struct resolver *resolver, struct lookup *lookup)
{
    struct question *question = lookup->data;
    (void)resolver;
    if (question)
        question->lookup = NULL;
    lookup->data = NULL;
}

static const struct resolver_ops ares_ops = {.ask = resolver_ask, .cancel = resolver_cancel};

struct resolver *resolver_ares_new(struct loop *loop, const char *servers)
{
    struct resolver_ares *self = calloc(1, sizeof *self);
    if (!self)
        return NULL;
    if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS || loop_timer_reserve(loop) != 0) {
        free(self);
        return NULL;
    }
    self->resolver.ops = &ares_ops;
    self->loop = loop;
    self->servers = servers;
    self->timer.on_time = on_time;
    return &self->resolver;
}

void resolver_ares_destroy(struct resolver *resolver)
{
    struct resolver_ares *self = self_of(resolver);
    self->ending = true;
    resolver_end(self);
    loop_run_deferred(self->loop);
    loop_timer_release(self->loop, &self->timer);
    ares_library_cleanup();
    free(self);
}
