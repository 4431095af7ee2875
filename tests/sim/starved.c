#include "starved.h"

#include <errno.h>
#include <execinfo.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/pool.h"
#include "data/heap.h"
#include "net/resolver.h"
#include "role/cluster_state.h"

static const uint64_t CLOCK_US = 1700000000ULL * 1000000; /* at the beginning */

enum {
    SECOND = 1000 * 1000,
    SHORTAGE_US = 5 * SECOND,
    CHILDREN_MAX = 64,
    CASE_BYTES = 64,
    STUCK_S = 30, /* of the processor; a story takes much less than a second */
    FAILURES_SHOWN = 30,
    ANSWER_US = 300, /* of a question for a name */
    FRAMES = 10,     /* of the stack, that make a place */
    PLACES_MAX = 16384,
};

/* How calls fail */

#define CALLS(X)            \
    X(LISTEN, "listen")     \
    X(ACCEPT, "accept")     \
    X(CONNECT, "connect")   \
    X(REMOTE, "remote")     \
    X(RECV, "recv")         \
    X(SEND, "send")         \
    X(SHUTDOWN, "shutdown") \
    X(WATCH, "watch")       \
    X(WAIT, "wait")         \
    X(RESOLVE, "resolve")   \
    X(MALLOC, "malloc")     \
    X(CALLOC, "calloc")     \
    X(REALLOC, "realloc")   \
    X(MMAP, "mmap")         \
    X(MADVISE, "madvise")   \
    X(HEAP, "heap")         \
    X(POOL, "pool")

enum call_kind {
#define X(id, name) CALL_##id,
    CALLS(X)
#undef X
        CALL_KINDS,
};

static const char *const call_names[] = {
#define X(id, name) [CALL_##id] = name,
    CALLS(X)
#undef X
};

/* What else happens. */
enum effect {
    FAILS_ONLY,  /* nothing: it may be tried again */
    FAILS_BREAK, /* the connection is broken, for both sides */
    FAILS_TAKE,  /* the client who waited to be accepted is gone */
};

struct way {
    int error;
    enum effect effect;
};

enum { WAYS_MAX = 24 };

/* As the man pages have it, for sockets of TCP and what io_epoll.c does. What only a mistake in the program can bring about (EBADF, EFAULT,
 * EINVAL, ENOTSOCK …) is left out. EINTR comes as io_epoll.c tells it. */
static const struct way ways[CALL_KINDS][WAYS_MAX] = {
    [CALL_LISTEN] = {{EADDRINUSE, FAILS_ONLY},
                     {EADDRNOTAVAIL, FAILS_ONLY},
                     {EACCES, FAILS_ONLY},
                     {EAFNOSUPPORT, FAILS_ONLY},
                     {EPROTONOSUPPORT, FAILS_ONLY},
                     {EMFILE, FAILS_ONLY},
                     {ENFILE, FAILS_ONLY},
                     {ENOBUFS, FAILS_ONLY},
                     {ENOMEM, FAILS_ONLY}},
    [CALL_ACCEPT] = {{EAGAIN, FAILS_ONLY},          {ECONNABORTED, FAILS_ONLY}, /* EINTR */
                     {EMFILE, FAILS_ONLY},          {ENFILE, FAILS_ONLY},
                     {ENOBUFS, FAILS_ONLY},         {ENOMEM, FAILS_ONLY},
                     {ECONNABORTED, FAILS_TAKE},    {EPERM, FAILS_TAKE},
                     {EPROTO, FAILS_TAKE},          {ENETDOWN, FAILS_TAKE},
                     {ENOPROTOOPT, FAILS_TAKE},     {EHOSTDOWN, FAILS_TAKE},
                     {ENONET, FAILS_TAKE},          {EHOSTUNREACH, FAILS_TAKE},
                     {EOPNOTSUPP, FAILS_TAKE},      {ENETUNREACH, FAILS_TAKE},
                     {ETIMEDOUT, FAILS_TAKE},       {ENOSR, FAILS_TAKE},
                     {ESOCKTNOSUPPORT, FAILS_TAKE}, {EPROTONOSUPPORT, FAILS_TAKE}},
    [CALL_CONNECT] = {{EACCES, FAILS_ONLY},
                      {EPERM, FAILS_ONLY},
                      {EADDRINUSE, FAILS_ONLY},
                      {EADDRNOTAVAIL, FAILS_ONLY},
                      {EAFNOSUPPORT, FAILS_ONLY},
                      {EAGAIN, FAILS_ONLY},
                      {ECONNREFUSED, FAILS_ONLY},
                      {EINTR, FAILS_ONLY},
                      {ENETUNREACH, FAILS_ONLY},
                      {EHOSTUNREACH, FAILS_ONLY},
                      {ETIMEDOUT, FAILS_ONLY},
                      {EMFILE, FAILS_ONLY},
                      {ENFILE, FAILS_ONLY},
                      {ENOBUFS, FAILS_ONLY},
                      {ENOMEM, FAILS_ONLY}},
    [CALL_REMOTE] = {{ENOTCONN, FAILS_BREAK}, {ENOBUFS, FAILS_ONLY}},
    [CALL_RECV] = {{EAGAIN, FAILS_ONLY}, /* EINTR too */
                   {ENOMEM, FAILS_ONLY},
                   {ENOBUFS, FAILS_ONLY},
                   {ECONNRESET, FAILS_BREAK},
                   {ECONNREFUSED, FAILS_BREAK},
                   {ENOTCONN, FAILS_BREAK},
                   {ETIMEDOUT, FAILS_BREAK},
                   {EHOSTUNREACH, FAILS_BREAK},
                   {ENETUNREACH, FAILS_BREAK},
                   {EPIPE, FAILS_BREAK}},
    [CALL_SEND] = {{EAGAIN, FAILS_ONLY}, /* EINTR too */
                   {ENOMEM, FAILS_ONLY},
                   {ENOBUFS, FAILS_ONLY},
                   {EPERM, FAILS_ONLY},
                   {EACCES, FAILS_ONLY},
                   {ECONNRESET, FAILS_BREAK},
                   {ENOTCONN, FAILS_BREAK},
                   {EPIPE, FAILS_BREAK},
                   {ETIMEDOUT, FAILS_BREAK},
                   {EHOSTUNREACH, FAILS_BREAK},
                   {ENETUNREACH, FAILS_BREAK},
                   {ENETDOWN, FAILS_BREAK}},
    [CALL_SHUTDOWN] = {{ENOTCONN, FAILS_BREAK}},
    [CALL_WATCH] = {{ENOMEM, FAILS_ONLY}, {ENOSPC, FAILS_ONLY}},
    [CALL_WAIT] = {{EINTR, FAILS_ONLY}},
    [CALL_RESOLVE] = {{ENOMEM, FAILS_ONLY}, {EINVAL, FAILS_ONLY}, {ENOENT, FAILS_TAKE}},
    [CALL_MALLOC] = {{ENOMEM, FAILS_ONLY}},
    [CALL_CALLOC] = {{ENOMEM, FAILS_ONLY}},
    [CALL_REALLOC] = {{ENOMEM, FAILS_ONLY}},
    [CALL_MMAP] = {{ENOMEM, FAILS_ONLY}},
    [CALL_MADVISE] = {{ENOMEM, FAILS_ONLY}, {EAGAIN, FAILS_ONLY}},
    [CALL_HEAP] = {{ENOMEM, FAILS_ONLY}},
    [CALL_POOL] = {{ENOMEM, FAILS_ONLY}},
};

/* How long it goes on, for the process whose call has failed. */
enum span {
    SPAN_ONCE,
    SPAN_TWICE,    /* the next call of that kind fails, too */
    SPAN_SHORTAGE, /* whatever can fail with that error does, for SHORTAGE_US */
    SPANS,
};

static const char *const span_names[SPANS] = {"once", "twice", "shortage"};

static bool has_span(const struct way *way, enum span span)
{
    int e = way->error;
    bool runs_out = e == ENOMEM || e == ENOBUFS || e == EMFILE || e == ENFILE;
    return span != SPAN_SHORTAGE || (runs_out && way->effect == FAILS_ONLY);
}

/* What fails when */

static struct {
    bool on; /* a story is being told */
    struct world *world;
    const void *inside; /* the process that makes the calls now; NULL while the world does */
    struct loop *starting;
    const struct io_ops *real;
    uint64_t seen[CALL_KINDS];

    /* What has failed, or is to fail. */
    bool wanted, struck;
    enum call_kind kind;
    uint64_t number;
    const struct way *way;
    enum span span;
    const void *who;
    unsigned left; /* of SPAN_TWICE */
    uint64_t until_us;

    int64_t blocks, mapped; /* of memory, that processes have */

    /* Exploring: the children. */
    enum mutant mutant;
    bool mutated; /* made, where once is enough */
    int listener; /* whose accept has failed */
    bool explores,
        places; /* places: each call only the first time that it comes from where it comes from */
    uint64_t known_places[PLACES_MAX]; /* a hash table; 0 for free */
    unsigned place_count;
    uint64_t every, cases, told, passed, failed, failures_max;
    unsigned jobs, running;
    struct child {
        pid_t pid;
        char name[CASE_BYTES];
    } children[CHILDREN_MAX];
} starved;

static void case_name(char out[CASE_BYTES], enum call_kind kind, uint64_t number,
                      const struct way *way, enum span span)
{
    snprintf(out, CASE_BYTES, "%s:%llu:%s%s:%s", call_names[kind], (unsigned long long)number,
             strerrorname_np(way->error), way->effect == FAILS_TAKE ? "-gone" : "",
             span_names[span]);
}

bool starved_has_struck(void)
{
    return starved.struck;
}

bool starved_hides(const struct process *process)
{
    if (!starved.struck)
        return false;
    if (starved.span == SPAN_SHORTAGE)
        return starved.who != &process->loop;
    return starved.way->error == ECONNREFUSED ||
           (starved.kind == CALL_RESOLVE && starved.way->effect == FAILS_TAKE);
}

uint64_t starved_until_us(void)
{
    return starved.struck ? starved.until_us : UINT64_MAX;
}

/* Whether the planted mistake is this one, from the first failure of `kind` on (CALL_KINDS: of any). */
static bool mutates(enum mutant mutant, enum call_kind kind)
{
    return starved.mutant == mutant && starved.struck &&
           (kind == CALL_KINDS || kind == starved.kind);
}

/* The same for one that is made once. */
static bool mutates_once(enum mutant mutant)
{
    if (!starved.inside || starved.mutated || !mutates(mutant, CALL_KINDS))
        return false;
    starved.mutated = true;
    return true;
}

static const struct way *strike(enum call_kind kind, const struct way *way, enum span span)
{
    starved.struck = true;
    starved.wanted = starved.explores = false;
    starved.kind = kind;
    starved.number = starved.seen[kind];
    starved.way = way;
    starved.span = span;
    starved.who = starved.inside;
    starved.left = span == SPAN_TWICE;
    starved.until_us = starved.world->now_us + (span == SPAN_SHORTAGE ? SHORTAGE_US : 0);
    world_trace(starved.world, "STARVED", "%s %llu fails: %s", call_names[kind],
                (unsigned long long)starved.number, strerrorname_np(way->error));
    return way;
}

/* After the first failure. */
static const struct way *strike_again(enum call_kind kind)
{
    if (starved.inside != starved.who)
        return NULL;
    if (starved.left && kind == starved.kind) {
        starved.left--;
        return starved.way;
    }
    if (starved.world->now_us >= starved.until_us)
        return NULL;
    for (const struct way *way = ways[kind]; way->error; way++)
        if (way->error == starved.way->error && way->effect == FAILS_ONLY)
            return way;
    return NULL;
}

static void show_failure(const char *name, const char *why)
{
    printf("%s %s: %s\n", starved.mutant ? " " : "not ok", name, why);
}

static void reap(void)
{
    int status;
    pid_t pid = wait(&status);
    unsigned i = 0;
    while (i < starved.running && starved.children[i].pid != pid)
        i++;
    if (i == starved.running)
        return;
    bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    starved.passed += good;
    starved.failed += !good;
    char why[80];
    snprintf(why, sizeof why, "exit status %d", WEXITSTATUS(status));
    if (WIFSIGNALED(status))
        snprintf(why, sizeof why, "ended by signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    if (WIFSIGNALED(status) || (!good && WEXITSTATUS(status) != 1))
        show_failure(starved.children[i].name, why);
    starved.children[i] = starved.children[--starved.running];
}

/* Returns true in the child. */
static bool spawn(enum call_kind kind, const struct way *way, enum span span)
{
    while (starved.running >= starved.jobs)
        reap();
    struct child *child = &starved.children[starved.running];
    case_name(child->name, kind, starved.seen[kind], way, span);
    fflush(stdout);
    child->pid = fork();
    if (child->pid < 0) {
        perror("fork");
        exit(2);
    }
    starved.told++;
    if (child->pid > 0) {
        starved.running++;
        return false;
    }
    struct itimerval limit = {.it_value = {.tv_sec = STUCK_S}};
    setitimer(ITIMER_VIRTUAL, &limit, NULL);
    starved.running = 0;
    return true;
}

/* Whether a call of that kind has not come from here before: through the same functions at the same lines. */
static bool is_new_place(enum call_kind kind)
{
    void *frames[FRAMES];
    uint64_t hash = kind + 1;
    const void *before = starved.inside;
    starved.inside = NULL;
    int count = backtrace(frames, FRAMES);
    starved.inside = before;
    for (int i = 0; i < count; i++)
        hash = (hash ^ (uintptr_t)frames[i]) * 0x9e3779b97f4a7c15u;
    for (uint64_t at = hash >> 32;; at++) {
        uint64_t *place = &starved.known_places[at % PLACES_MAX];
        if (*place == hash)
            return false;
        if (*place)
            continue;
        if (++starved.place_count == PLACES_MAX)
            abort();
        *place = hash;
        return true;
    }
}

static const struct way *explore(enum call_kind kind)
{
    if (starved.places && !is_new_place(kind))
        return NULL;
    for (const struct way *way = ways[kind]; way->error; way++)
        for (enum span span = 0; span < SPANS; span++)
            if (has_span(way, span) && starved.cases++ % starved.every == 0 &&
                starved.failed < starved.failures_max && spawn(kind, way, span))
                return strike(kind, way, span);
    return NULL;
}

/* How this call fails; NULL: it does not. */
static const struct way *failure_of(enum call_kind kind)
{
    if (!starved.on || !starved.inside)
        return NULL;
    starved.seen[kind]++;
    if (starved.struck)
        return strike_again(kind);
    if (starved.explores)
        return explore(kind);
    if (starved.wanted && starved.kind == kind && starved.number == starved.seen[kind])
        return strike(kind, starved.way, starved.span);
    return NULL;
}

/* Whose calls they are. Each function of a process that the world calls comes through here. */

static const void *enter(const void *who)
{
    const void *before = starved.inside;
    starved.inside = starved.on ? who : NULL;
    return before;
}

static void leave(const void *before)
{
    starved.inside = before;
}

/* A function of the process `who`, without or with a result. */
#define ENTER(who, call)                 \
    do {                                 \
        const void *before = enter(who); \
        call;                            \
        leave(before);                   \
    } while (0)

void __real_loop_turn(struct loop *loop, int64_t wait_max_us);
void __wrap_loop_turn(struct loop *loop, int64_t wait_max_us);

void __wrap_loop_turn(struct loop *loop, int64_t wait_max_us)
{
    ENTER(loop, __real_loop_turn(loop, wait_max_us));
    if (starved.who == loop && mutates(MUTANT_SPINNING, CALL_KINDS))
        loop->again = true;
}

struct node *__real_node_new(struct loop *loop, struct log *log, const struct node_config *config);
struct node *__wrap_node_new(struct loop *loop, struct log *log, const struct node_config *config);

struct node *__wrap_node_new(struct loop *loop, struct log *log, const struct node_config *config)
{
    struct node *node;
    starved.starting = loop;
    ENTER(loop, node = __real_node_new(loop, log, config));
    return node;
}

int __real_node_listen(struct node *node, struct address *address, int inherited_fd);
int __wrap_node_listen(struct node *node, struct address *address, int inherited_fd);

int __wrap_node_listen(struct node *node, struct address *address, int inherited_fd)
{
    int error;
    ENTER(starved.starting, error = __real_node_listen(node, address, inherited_fd));
    return error;
}

struct frontend *__real_frontend_new(struct loop *loop, struct log *log,
                                     const struct frontend_config *config);
struct frontend *__wrap_frontend_new(struct loop *loop, struct log *log,
                                     const struct frontend_config *config);

struct frontend *__wrap_frontend_new(struct loop *loop, struct log *log,
                                     const struct frontend_config *config)
{
    struct frontend *frontend;
    starved.starting = loop;
    ENTER(loop, frontend = __real_frontend_new(loop, log, config));
    return frontend;
}

int __real_frontend_listen(struct frontend *frontend, struct address *address, int inherited_fd);
int __wrap_frontend_listen(struct frontend *frontend, struct address *address, int inherited_fd);

int __wrap_frontend_listen(struct frontend *frontend, struct address *address, int inherited_fd)
{
    int error;
    ENTER(starved.starting, error = __real_frontend_listen(frontend, address, inherited_fd));
    return error;
}

void starved_close(struct process *process)
{
    ENTER(&process->loop, process_close(process));
}

/* The kernel's side */

/* Runs `call` as the world, not as a process. */
#define OUTSIDE(call) ENTER(NULL, call)

static int starved_listen(struct io *io, const struct address *address, struct address *bound)
{
    const struct way *way = failure_of(CALL_LISTEN);
    int result = way ? -way->error : 0;
    if (!way)
        OUTSIDE(result = starved.real->listen(io, address, bound));
    return result;
}

static int starved_accept(struct io *io, int listener, struct address *peer)
{
    const struct way *way = failure_of(CALL_ACCEPT);
    if (way)
        starved.listener = listener;
    int fd = way ? -way->error : 0;
    if (!way || way->effect == FAILS_TAKE)
        OUTSIDE(fd = starved.real->accept(io, listener, peer));
    if (way && fd >= 0) {
        OUTSIDE(starved.real->close(io, fd));
        fd = -way->error;
    }
    return fd;
}

static int starved_connect(struct io *io, const struct address *address)
{
    const struct way *way = failure_of(CALL_CONNECT);
    int fd = way ? -way->error : 0;
    if (starved.inside == starved.who && mutates(MUTANT_GIVES_UP, CALL_CONNECT))
        fd = -ECONNREFUSED;
    else if (!way)
        OUTSIDE(fd = starved.real->connect(io, address));
    return fd;
}

static void break_if(struct io *io, int fd, const struct way *way)
{
    if (way && way->effect == FAILS_BREAK)
        OUTSIDE(io_sim_break(io, fd, way->error));
}

static void starved_remote(struct io *io, int fd, struct address *address)
{
    const struct way *way = failure_of(CALL_REMOTE);
    break_if(io, fd, way);
    if (way)
        *address = (struct address){0};
    else
        OUTSIDE(starved.real->remote(io, fd, address));
}

static ssize_t starved_recv(struct io *io, int fd, void *out, size_t bytes)
{
    const struct way *way = failure_of(CALL_RECV);
    ssize_t got = way ? -way->error : 0;
    break_if(io, fd, way);
    if (!way)
        OUTSIDE(got = starved.real->recv(io, fd, out, bytes));
    return got;
}

static ssize_t starved_send(struct io *io, int fd, const struct iovec *pieces, int count)
{
    const struct way *way = failure_of(CALL_SEND);
    ssize_t sent = way ? -way->error : 0;
    if (way && mutates(MUTANT_SWALLOWED_SEND, CALL_SEND)) {
        sent = 0;
        for (int i = 0; i < count; i++)
            sent += (ssize_t)pieces[i].iov_len;
        return sent;
    }
    break_if(io, fd, way);
    if (!way)
        OUTSIDE(sent = starved.real->send(io, fd, pieces, count));
    return sent;
}

static void starved_shutdown(struct io *io, int fd)
{
    const struct way *way = failure_of(CALL_SHUTDOWN);
    break_if(io, fd, way);
    if (!way)
        OUTSIDE(starved.real->shutdown(io, fd));
}

static void starved_close_socket(struct io *io, int fd)
{
    struct io_sim *sim = (struct io_sim *)io;
    sim->open_count += mutates_once(MUTANT_KEPT_SOCKET);
    OUTSIDE(starved.real->close(io, fd)); /* whatever it says, the socket is gone (close(2)) */
}

static int starved_watch(struct io *io, int fd, unsigned interest, void *data)
{
    const struct way *way = failure_of(CALL_WATCH);
    int error = way ? -way->error : 0;
    if (!way)
        OUTSIDE(error = starved.real->watch(io, fd, interest, data));
    return error;
}

static void starved_rewatch(struct io *io, int fd, unsigned interest, void *data)
{
    bool deaf = starved.inside == starved.who && fd == starved.listener;
    if (deaf && mutates(MUTANT_DEAF_LISTENER, CALL_ACCEPT))
        interest = 0;
    OUTSIDE(starved.real->rewatch(io, fd, interest, data));
}

static int starved_wait(struct io *io, struct io_event *events, int max, int64_t timeout_us)
{
    int count = 0;
    if (!failure_of(CALL_WAIT))
        OUTSIDE(count = starved.real->wait(io, events, max, timeout_us));
    return count;
}

/* Of each process that starts while a story is told. */
void __real_io_sim_init(struct io_sim *io, struct cables *cables, struct cable_host *host,
                        uint64_t stream);
void __wrap_io_sim_init(struct io_sim *io, struct cables *cables, struct cable_host *host,
                        uint64_t stream);

void __wrap_io_sim_init(struct io_sim *io, struct cables *cables, struct cable_host *host,
                        uint64_t stream)
{
    static struct io_ops ops;
    __real_io_sim_init(io, cables, host, stream);
    if (!starved.on)
        return;
    io_sim_step(
        io, (int64_t)(CLOCK_US + io->world->now_us - io_sim_wall_us(io))); /* all say the same */
    starved.real = io->io.ops;
    ops = *io->io.ops;
    ops.listen = starved_listen;
    ops.accept = starved_accept;
    ops.connect = starved_connect;
    ops.remote = starved_remote;
    ops.recv = starved_recv;
    ops.send = starved_send;
    ops.shutdown = starved_shutdown;
    ops.close = starved_close_socket;
    ops.watch = starved_watch;
    ops.rewatch = starved_rewatch;
    ops.wait = starved_wait;
    io->io.ops = &ops;
}

/* Planted mistakes between rooms of the node */

enum store_result __real_store_write(struct store *store, const struct store_key *key,
                                     struct record *record, uint64_t now_us);
enum store_result __wrap_store_write(struct store *store, const struct store_key *key,
                                     struct record *record, uint64_t now_us);

enum store_result __wrap_store_write(struct store *store, const struct store_key *key,
                                     struct record *record, uint64_t now_us)
{
    if (!mutates_once(MUTANT_UNMADE_WRITE))
        return __real_store_write(store, key, record, now_us);
    record_release(store_heap(store), record);
    return STORE_APPLIED;
}

bool __real_join_is_settled(const struct cluster *cluster);
bool __wrap_join_is_settled(const struct cluster *cluster);

bool __wrap_join_is_settled(const struct cluster *cluster)
{
    return mutates(MUTANT_ALONE, CALL_KINDS) || __real_join_is_settled(cluster);
}

/* Names */

static void on_answer_time(struct loop_timer *timer)
{
    struct starved_question *question =
        (struct starved_question *)((char *)timer - offsetof(struct starved_question, timer));
    struct lookup *lookup = question->lookup;
    question->lookup = NULL;
    lookup->data = NULL;
    lookup->failed = question->fails;
    lookup->on_answer(lookup, question->names->addresses,
                      question->unknown ? 0 : STARVED_ADDRESSES);
}

static int question_put(struct starved_names *names, struct lookup *lookup, bool unknown,
                        bool fails)
{
    struct loop *loop = &names->process->loop;
    for (unsigned i = 0; i < STARVED_LOOKUPS_MAX; i++) {
        struct starved_question *question = &names->questions[i];
        if (question->lookup)
            continue;
        if (!question->reserved && loop_timer_reserve(loop) != 0)
            abort();
        *question = (struct starved_question){.timer.on_time = on_answer_time,
                                              .lookup = lookup,
                                              .reserved = true,
                                              .unknown = unknown,
                                              .fails = fails,
                                              .names = names};
        lookup->data = question;
        loop_timer_set(loop, &question->timer, loop->now_us + ANSWER_US);
        return 0;
    }
    abort();
}

static int names_ask(struct resolver *resolver, struct lookup *lookup, const char *name)
{
    const struct way *way = failure_of(CALL_RESOLVE);
    int error = way && way->effect == FAILS_ONLY ? -way->error : 0;
    bool unknown = way || strcmp(name, "fog") != 0;
    if (!error)
        OUTSIDE(error = question_put((struct starved_names *)resolver, lookup, unknown, way));
    return error;
}

static void names_cancel(struct resolver *resolver, struct lookup *lookup)
{
    struct starved_names *names = (struct starved_names *)resolver;
    struct starved_question *question = lookup->data;
    if (!question)
        return;
    loop_timer_clear(&names->process->loop, &question->timer);
    question->lookup = NULL;
    lookup->data = NULL;
}

void starved_names_init(struct starved_names *names, struct process *process)
{
    static const struct resolver_ops ops = {names_ask, names_cancel};
    names->resolver.ops = &ops;
    names->process = process;
    memset(names->questions, 0, sizeof names->questions);
}

/* Memory. All of this program that asks for some comes through here, whatever it is linked with does not. */

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
void __real_free(void *block);
void *__real_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
int __real_munmap(void *start, size_t bytes);
int __real_madvise(void *start, size_t bytes, int advice);
void *__real_heap_alloc(struct heap *heap, size_t bytes, enum heap_use use);
void *__real_pool_take(struct pool *pool);

void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);
void __wrap_free(void *block);
void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
int __wrap_munmap(void *start, size_t bytes);
int __wrap_madvise(void *start, size_t bytes, int advice);
void *__wrap_heap_alloc(struct heap *heap, size_t bytes, enum heap_use use);
void *__wrap_pool_take(struct pool *pool);

static bool fails(enum call_kind kind)
{
    const struct way *way = failure_of(kind);
    if (way)
        errno = way->error;
    return way;
}

void *__wrap_malloc(size_t bytes)
{
    void *block = fails(CALL_MALLOC) ? NULL : __real_malloc(bytes);
    starved.blocks += block != NULL;
    return block;
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    void *block = fails(CALL_CALLOC) ? NULL : __real_calloc(count, bytes);
    starved.blocks += block != NULL;
    return block;
}

void *__wrap_realloc(void *old, size_t bytes)
{
    void *block = fails(CALL_REALLOC) ? NULL : __real_realloc(old, bytes);
    starved.blocks += block && !old;
    return block;
}

void __wrap_free(void *block)
{
    if (block && mutates_once(MUTANT_KEPT_BLOCK))
        return;
    starved.blocks -= block != NULL;
    __real_free(block);
}

void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    void *start =
        fails(CALL_MMAP) ? MAP_FAILED : __real_mmap(at, bytes, protection, flags, fd, offset);
    starved.mapped += start != MAP_FAILED ? (int64_t)bytes : 0;
    return start;
}

int __wrap_munmap(void *start, size_t bytes)
{
    starved.mapped -= (int64_t)bytes;
    return __real_munmap(start, bytes);
}

int __wrap_madvise(void *start, size_t bytes, int advice)
{
    return fails(CALL_MADVISE) ? -1 : __real_madvise(start, bytes, advice);
}

void *__wrap_heap_alloc(struct heap *heap, size_t bytes, enum heap_use use)
{
    return fails(CALL_HEAP) ? NULL : __real_heap_alloc(heap, bytes, use);
}

void *__wrap_pool_take(struct pool *pool)
{
    return fails(CALL_POOL) ? NULL : __real_pool_take(pool);
}

/* A story */

void starved_begin(struct world *world)
{
    starved.world = world;
    starved.on = true;
    starved.blocks = starved.mapped = 0;
    memset(starved.seen, 0, sizeof starved.seen);
}

const char *starved_end(void)
{
    static char why[80];
    starved.on = false;
    if (starved.blocks == 0 && starved.mapped == 0)
        return NULL;
    snprintf(why, sizeof why, "%lld blocks and %lld bytes of mappings are left",
             (long long)starved.blocks, (long long)starved.mapped);
    return why;
}

/* In the child: tells what came of it, and ends. */
static void child_end(const char *why)
{
    char name[CASE_BYTES];
    case_name(name, starved.kind, starved.number, starved.way, starved.span);
    if (why)
        show_failure(name, why);
    fflush(stdout);
    _exit(why ? 1 : 0);
}

/* Returns what was wrong without a failure, or NULL. */
static const char *explore_once(uint64_t failures_max)
{
    starved.failures_max = failures_max;
    starved.explores = true;
    starved.cases = starved.told = starved.passed = starved.failed = 0;
    starved.place_count = 0;
    memset(starved.known_places, 0, sizeof starved.known_places);
    const char *why = starved_story(false);
    if (starved.struck)
        child_end(why);
    while (starved.running)
        reap();
    return why;
}

static int explore_all(void)
{
    const char *why = explore_once(FAILURES_SHOWN);
    printf("calls:");
    for (enum call_kind kind = 0; kind < CALL_KINDS; kind++)
        printf(" %s %llu", call_names[kind], (unsigned long long)starved.seen[kind]);
    printf("\n%llu ways to fail, %llu of them tried\n", (unsigned long long)starved.cases,
           (unsigned long long)starved.told);
    if (why)
        printf("not ok without a failure: %s\n", why);
    printf("%llu passed, %llu failed\n", (unsigned long long)starved.passed + !why,
           (unsigned long long)starved.failed + (why != NULL));
    return why || starved.failed ? 1 : 0;
}

/* Each must be caught by a failure at one of the places. */
static int explore_mutants(void)
{
    static const char *const texts[] = {
#define X(id, name, text) name ": " text,
        STARVED_MUTANTS(X)
#undef X
    };
    unsigned caught = 0, count = MUTANT_COUNT - MUTANT_STARVED;
    starved.places = true;
    for (unsigned i = 0; i < count; i++) {
        starved.mutant = MUTANT_STARVED + i;
        bool found = !explore_once(1) && starved.failed > 0;
        caught += found;
        printf("%s %s, after %llu failures\n", found ? "ok" : "not ok", texts[i],
               (unsigned long long)starved.told);
    }
    printf("%u passed, %u failed\n", caught, count - caught);
    return caught == count ? 0 : 1;
}

static int tell_one(bool trace)
{
    const char *why = starved_story(trace);
    if (starved.wanted)
        why = "there was no such call";
    puts(why ? why : "all is well");
    return why ? 1 : 0;
}

/* The command line */

/* "send:123:ENOBUFS:once" */
static bool case_parse(const char *text)
{
    char name[CASE_BYTES];
    for (enum call_kind kind = 0; kind < CALL_KINDS; kind++)
        for (const struct way *way = ways[kind]; way->error; way++)
            for (enum span span = 0; span < SPANS; span++) {
                size_t len = strlen(call_names[kind]);
                if (strncmp(text, call_names[kind], len) != 0 || text[len] != ':')
                    continue;
                uint64_t number = strtoull(text + len + 1, NULL, 10);
                starved.seen[kind] = number;
                case_name(name, kind, number, way, span);
                if (strcmp(name, text) != 0 || !has_span(way, span))
                    continue;
                starved.wanted = true;
                starved.kind = kind;
                starved.number = number;
                starved.way = way;
                starved.span = span;
                return true;
            }
    return false;
}

static int usage(void)
{
    fprintf(stderr, "usage: sim --starved [--places] [--every N] [--jobs N]\n"
                    "       sim --starved --mutants [--every N]\n"
                    "       sim --starved --case CALL:NUMBER:ERROR:SPAN [--trace]\n");
    return 2;
}

int starved_main(int count, char **words)
{
    bool trace = false, mutants = false;
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    starved.every = 1;
    starved.jobs = processors < 1              ? 1
                   : processors > CHILDREN_MAX ? CHILDREN_MAX
                                               : (unsigned)processors;
    for (int i = 0; i < count; i++) {
        const char *next = i + 1 < count ? words[i + 1] : "";
        if (strcmp(words[i], "--trace") == 0)
            trace = true;
        else if (strcmp(words[i], "--case") == 0 && case_parse(next))
            i++;
        else if (strcmp(words[i], "--mutants") == 0)
            mutants = true;
        else if (strcmp(words[i], "--places") == 0)
            starved.places = true;
        else if (strcmp(words[i], "--every") == 0 && (starved.every = strtoull(next, NULL, 10)))
            i++;
        else if (strcmp(words[i], "--jobs") == 0 &&
                 (starved.jobs = (unsigned)strtoul(next, NULL, 10)))
            i++;
        else
            return usage();
    }
    if (starved.jobs > CHILDREN_MAX)
        return usage();
    if (mutants)
        return explore_mutants();
    return starved.wanted || trace ? tell_one(trace) : explore_all();
}
