/* A question, from ask to answer:
 *
 *   ask ─► asked (c-ares has it) ─► answered ─► told, by the timer
 *     └───────── an IP address ────────┘
 *
 * c-ares may answer from inside of any of its functions, so its answers are only noted there. One timer tells them, and is for
 * c-ares' own time limits and those of the questions too. c-ares cannot be made to forget one question alone: one that was
 * cancelled or is overdue loses its lookup and stays until c-ares lets go of it. */
#include "net/resolver_ares.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ares_get_servers_ports, whose successor c-ares 1.18 of Debian 12 does not have */
#define CARES_NO_DEPRECATED
#include <ares.h>

/* A socket of c-ares, which opens and closes it. Its place may be taken by another one while events of the first are still on
 * their way: then c-ares looks and finds nothing. */
struct resolver_socket {
    struct loop_watcher watcher; /* first, so that a watcher leads here */
    struct resolver_ares *resolver;
    int fd; /* -1 while the place is free */
};

struct question {
    struct resolver_ares *resolver;
    struct lookup *lookup;          /* NULL once nobody waits for it */
    struct question *next, **place; /* in the list that it is in: asked or answered */
    uint64_t due_us;
    bool answered;
    bool failed; /* see struct lookup */
    unsigned count;
    struct address addresses[RESOLVER_ADDRESSES_MAX];
};

struct question_list {
    struct question *first, **end;
};

struct resolver_ares {
    struct resolver resolver; /* first, so that a resolver leads here */
    struct loop *loop;
    const char *servers;
    ares_channel channel; /* NULL until there is a question for it */
    uint64_t started_us;  /* the channel */
    unsigned held;        /* questions that c-ares has */
    struct question_list asked, answered;
    struct loop_timer timer;
    bool telling;
    struct resolver_socket sockets[RESOLVER_SOCKETS_MAX];
};

static struct resolver_ares *self_of(struct resolver *resolver)
{
    return (struct resolver_ares *)resolver;
}

/* Lists: at the end in, from anywhere out. */

static void list_init(struct question_list *list)
{
    list->first = NULL;
    list->end = &list->first;
}

static void list_add(struct question_list *list, struct question *question)
{
    question->next = NULL;
    question->place = list->end;
    *list->end = question;
    list->end = &question->next;
}

static void list_remove(struct question_list *list, struct question *question)
{
    *question->place = question->next;
    if (question->next)
        question->next->place = question->place;
    else
        list->end = question->place;
}

/* Time */

static uint64_t channel_due_us(const struct resolver_ares *self)
{
    struct timeval left;
    if (!self->channel || !ares_timeout(self->channel, NULL, &left))
        return UINT64_MAX;
    return self->loop->now_us + (uint64_t)left.tv_sec * 1000000 + (uint64_t)left.tv_usec;
}

static void set_timer(struct resolver_ares *self)
{
    uint64_t at_us = channel_due_us(self);
    if (self->asked.first && self->asked.first->due_us < at_us)
        at_us = self->asked.first->due_us;
    if (self->answered.first)
        at_us = self->loop->now_us;
    if (at_us == UINT64_MAX)
        loop_timer_clear(self->loop, &self->timer);
    else
        loop_timer_set(self->loop, &self->timer, at_us);
}

/* Answers */

static void add_address(struct question *question, const struct address *address)
{
    for (unsigned i = 0; i < question->count; i++)
        if (memcmp(question->addresses[i].ip, address->ip, sizeof address->ip) == 0)
            return;
    if (question->count < RESOLVER_ADDRESSES_MAX)
        question->addresses[question->count++] = *address;
}

static void take_addresses(struct question *question, const struct ares_addrinfo *found, int family)
{
    for (const struct ares_addrinfo_node *node = found->nodes; node; node = node->ai_next) {
        struct address address = {0};
        if (node->ai_family != family)
            continue;
        if (family == AF_INET) {
            const struct sockaddr_in *v4 = (const void *)node->ai_addr;
            address.ip[10] = address.ip[11] = 0xff;
            memcpy(address.ip + 12, &v4->sin_addr, 4);
        } else {
            const struct sockaddr_in6 *v6 = (const void *)node->ai_addr;
            memcpy(address.ip, &v6->sin6_addr, 16);
        }
        add_address(question, &address);
    }
}

/* Whether it was not told that there is nothing of this name: servers are silent, out of reach, or say that they cannot tell. */
static bool is_failure(int status)
{
    return status != ARES_SUCCESS && status != ARES_ENOTFOUND && status != ARES_ENODATA &&
           status != ARES_EBADNAME;
}

static void on_found(void *data, int status, int timeouts, struct ares_addrinfo *found)
{
    struct question *question = data;
    struct resolver_ares *self = question->resolver;
    (void)timeouts;
    self->held--;
    if (!question->lookup) {
        free(question);
    } else {
        if (status == ARES_SUCCESS) {
            take_addresses(question, found, AF_INET);
            take_addresses(question, found, AF_INET6);
        }
        list_remove(&self->asked, question);
        list_add(&self->answered, question);
        question->answered = true;
        question->failed = is_failure(status);
    }
    if (found)
        ares_freeaddrinfo(found);
}

/* The asker, if there still is one, waits no longer. */
static struct lookup *question_detach(struct question *question)
{
    struct lookup *lookup = question->lookup;
    question->lookup = NULL;
    if (lookup)
        lookup->data = NULL;
    return lookup;
}

static void tell_overdue(struct resolver_ares *self)
{
    for (struct question *question;
         (question = self->asked.first) && question->due_us <= self->loop->now_us;) {
        struct lookup *lookup = question_detach(question);
        list_remove(&self->asked, question);
        if (!lookup)
            continue;
        lookup->failed = true;
        lookup->on_answer(lookup, NULL, 0);
    }
}

/* Tells what is answered by now, not what the told ones ask. */
static void tell_answered(struct resolver_ares *self)
{
    struct question *question = self->answered.first, *next;
    list_init(&self->answered);
    for (; question; question = next) {
        struct lookup *lookup = question_detach(question);
        next = question->next;
        if (lookup) {
            lookup->failed = question->failed;
            lookup->on_answer(lookup, question->addresses, question->count);
        }
        free(question);
    }
}

/* Once nobody waits for anything, c-ares need not go on. */
static void drop_unwanted(struct resolver_ares *self)
{
    if (!self->asked.first && self->held > 0)
        ares_cancel(self->channel);
}

static void on_time(struct loop_timer *timer)
{
    struct resolver_ares *self =
        (struct resolver_ares *)((char *)timer - offsetof(struct resolver_ares, timer));
    if (self->channel)
        ares_process_fd(self->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    self->telling = true;
    tell_answered(self);
    tell_overdue(self);
    self->telling = false;
    drop_unwanted(self);
    set_timer(self);
}

/* Sockets */

static void on_ready(struct loop_watcher *watcher, unsigned ready)
{
    struct resolver_socket *socket = (struct resolver_socket *)watcher;
    struct resolver_ares *self = socket->resolver;
    if (socket->fd < 0 || !self->channel)
        return;
    ares_process_fd(self->channel, ready & (IO_READ | IO_BROKEN) ? socket->fd : ARES_SOCKET_BAD,
                    ready & (IO_WRITE | IO_BROKEN) ? socket->fd : ARES_SOCKET_BAD);
    set_timer(self);
}

static struct resolver_socket *socket_find(struct resolver_ares *self, int fd)
{
    for (unsigned i = 0; i < RESOLVER_SOCKETS_MAX; i++)
        if (self->sockets[i].fd == fd)
            return &self->sockets[i];
    return NULL;
}

/* c-ares wants another thing of a socket; nothing, before it closes it, but not when it is out of memory: then the same number may be
 * another socket's by now. One that cannot be watched stays silent, and its questions go unanswered. */
static void on_socket(void *data, ares_socket_t fd, int readable, int writable)
{
    struct resolver_ares *self = data;
    struct io *io = self->loop->io;
    struct resolver_socket *socket = socket_find(self, fd);
    unsigned interest = (readable ? IO_READ : 0u) | (writable ? IO_WRITE : 0u);
    if (socket) {
        io->ops->unwatch(io, fd);
        socket->fd = -1;
    }
    struct resolver_socket *place = interest ? socket_find(self, -1) : NULL;
    if (place && io->ops->watch(io, fd, interest, &place->watcher) == 0)
        place->fd = fd;
}

/* The channel */

static int errno_of(int status)
{
    return status == ARES_SUCCESS ? 0 : status == ARES_ENOMEM ? -ENOMEM : -EIO;
}

/* With no settings of the system when they cannot be read: /etc/hosts may still know the name. */
static int channel_init(struct resolver_ares *self, int try_ms)
{
    char files_then_dns[] = "fb", nothing[] = "/dev/null";
    struct ares_options options = {
        .timeout = try_ms,
        .tries = RESOLVER_TRIES,
        .lookups = files_then_dns,
        .sock_state_cb = on_socket,
        .sock_state_cb_data = self,
        .resolvconf_path = nothing,
    };
    int chosen = ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS | ARES_OPT_SOCK_STATE_CB;
#ifdef ARES_OPT_QUERY_CACHE
    chosen |= ARES_OPT_QUERY_CACHE; /* of no seconds: who asks again wants to know what is new */
#endif
    int status = ares_init_options(&self->channel, &options, chosen);
    if (status == ARES_EFILE)
        status = ares_init_options(&self->channel, &options, chosen | ARES_OPT_RESOLVCONF);
    if (status != ARES_SUCCESS)
        self->channel = NULL;
    return status;
}

static void channel_end(struct resolver_ares *self)
{
    if (!self->channel)
        return;
    ares_destroy(self->channel);
    self->channel = NULL;
    for (unsigned i = 0; i < RESOLVER_SOCKETS_MAX; i++)
        self->sockets[i].fd = -1;
}

static int channel_open(struct resolver_ares *self, int try_ms)
{
    int status = channel_init(self, try_ms);
    if (status == ARES_SUCCESS && self->servers)
        status = ares_set_servers_ports_csv(self->channel, self->servers);
    if (status != ARES_SUCCESS)
        channel_end(self);
    return status;
}

static int servers_count(const struct resolver_ares *self)
{
    struct ares_addr_port_node *servers = NULL;
    int count = 0;
    if (ares_get_servers_ports(self->channel, &servers) != ARES_SUCCESS)
        return 0;
    for (const struct ares_addr_port_node *server = servers; server; server = server->next)
        count++;
    ares_free_data(servers);
    return count;
}

/* Returns 0 or -errno. How many servers there are is known only then, and c-ares cannot be told another time limit. */
static int channel_start(struct resolver_ares *self)
{
    bool old = self->loop->now_us - self->started_us >= RESOLVER_REREAD_US;
    if (old && !self->asked.first)
        channel_end(self);
    if (self->channel)
        return 0;
    int status = channel_open(self, RESOLVER_TRY_MS);
    int servers = status == ARES_SUCCESS ? servers_count(self) : 0;
    if (servers > 1) {
        channel_end(self);
        status = channel_open(self, RESOLVER_TRY_MS / servers + 1);
    }
    self->started_us = self->loop->now_us;
    return errno_of(status);
}

/* Questions */

/* Whether it is made of what names are made of. DNS could carry more, but nobody's hosts are called so. */
static bool is_name(const char *name)
{
    size_t len = strnlen(name, RESOLVER_NAME_BYTES_MAX + 1);
    size_t good = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._");
    return len > 0 && len <= RESOLVER_NAME_BYTES_MAX && good == len;
}

static struct question *question_new(struct resolver_ares *self, struct lookup *lookup)
{
    struct question *question = malloc(sizeof *question);
    if (!question)
        return NULL;
    question->resolver = self;
    question->lookup = lookup;
    question->due_us = self->loop->now_us + RESOLVER_LIMIT_US;
    question->answered = question->failed = false;
    question->count = 0;
    lookup->data = question;
    return question;
}

/* What needs no asking. */
static int answer_now(struct resolver_ares *self, struct lookup *lookup,
                      const struct address *addresses, unsigned count)
{
    struct question *question = question_new(self, lookup);
    if (!question)
        return -ENOMEM;
    for (unsigned i = 0; i < count; i++)
        add_address(question, &addresses[i]);
    list_add(&self->answered, question);
    question->answered = true;
    return 0;
}

static int ask_about_name(struct resolver_ares *self, struct lookup *lookup, const char *name)
{
    struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC, .ai_flags = ARES_AI_NOSORT};
    int error = channel_start(self);
    struct question *question = error ? NULL : question_new(self, lookup);
    if (!question)
        return error ? error : -ENOMEM;
    list_add(&self->asked, question);
    self->held++;
    ares_getaddrinfo(self->channel, name, NULL, &hints, on_found, question);
    return 0;
}

/* Fills in the addresses of a name that is one itself, or always means this machine (RFC 6761, 6.3), though there be no /etc/hosts. Returns
 * how many; 0 for any other name. */
static unsigned known_addresses(const char *name, struct address addresses[2])
{
    static const char *const loopback[] = {"127.0.0.1", "::1"};
    bool is_ip = address_parse_ip(slice_of(name), addresses[0].ip) == 0;
    if (is_ip || strcasecmp(name, "localhost") != 0)
        return is_ip;
    for (unsigned i = 0; i < 2; i++)
        (void)address_parse_ip(slice_of(loopback[i]), addresses[i].ip);
    return 2;
}

static int ask(struct resolver *resolver, struct lookup *lookup, const char *name)
{
    struct resolver_ares *self = self_of(resolver);
    struct address known[2] = {0};
    unsigned count = known_addresses(name, known);
    assert(!lookup->data);
    if (count == 0 && !is_name(name))
        return -EINVAL;
    int error = count ? answer_now(self, lookup, known, count) : ask_about_name(self, lookup, name);
    set_timer(self);
    return error;
}

static void cancel(struct resolver *resolver, struct lookup *lookup)
{
    struct resolver_ares *self = self_of(resolver);
    struct question *question = lookup->data;
    if (!question)
        return;
    question_detach(question);
    if (question->answered) /* its turn comes, and nobody is told */
        return;
    list_remove(&self->asked, question);
    drop_unwanted(self);
    set_timer(self);
}

static const struct resolver_ops resolver_ares_ops = {.ask = ask, .cancel = cancel};

/* Life */

struct resolver *resolver_ares_new(struct loop *loop, const char *servers)
{
    struct resolver_ares *self = calloc(1, sizeof *self);
    if (!self || loop_timer_reserve(loop) != 0) {
        free(self);
        return NULL;
    }
    self->resolver.ops = &resolver_ares_ops;
    self->loop = loop;
    self->servers = servers;
    self->timer.on_time = on_time;
    list_init(&self->asked);
    list_init(&self->answered);
    for (unsigned i = 0; i < RESOLVER_SOCKETS_MAX; i++)
        self->sockets[i] = (struct resolver_socket){{on_ready}, self, -1};
    return &self->resolver;
}

void resolver_ares_destroy(struct resolver *resolver)
{
    struct resolver_ares *self = self_of(resolver);
    assert(!self->telling);
    for (struct question *question = self->asked.first; question; question = question->next)
        question_detach(question);
    channel_end(self); /* which lets go of all of them */
    for (struct question *question = self->answered.first, *next; question; question = next) {
        next = question->next;
        question_detach(question);
        free(question);
    }
    loop_timer_release(self->loop, &self->timer);
    free(self);
}
