#include "role/ask.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

static int split_name(struct ask *ask, const char *name)
{
    const char *colon = strrchr(name, ':');
    unsigned long long port;
    if (!colon || strlen(name) >= sizeof ask->name ||
        !slice_number(slice_of(colon + 1), 65535, &port) || port == 0)
        return -EINVAL;
    bool bracketed = name[0] == '[' && colon - name >= 3 && colon[-1] == ']';
    size_t len = (size_t)(colon - name) - (bracketed ? 2 : 0);
    if (len == 0 || len >= sizeof ask->host)
        return -EINVAL;
    memcpy(ask->host, name + bracketed, len);
    ask->host[len] = 0;
    ask->port = (uint16_t)port;
    snprintf(ask->name, sizeof ask->name, "%s", name);
    return 0;
}

static struct ask *ask_of_lookup(struct lookup *lookup)
{
    return (struct ask *)(void *)((char *)lookup - offsetof(struct ask, lookup));
}

static struct ask *ask_of_fetch(struct fetch *fetch)
{
    return (struct ask *)(void *)((char *)fetch - offsetof(struct ask, fetch));
}

static void ask_answered(struct ask *ask, unsigned status, struct slice body)
{
    ask->busy = false;
    loop_timer_clear(ask->loop, &ask->timer);
    ask->on_answer(ask, status, body);
}

static void on_fetched(struct fetch *fetch, unsigned status, struct slice body)
{
    struct ask *ask = ask_of_fetch(fetch);
    if (ask->ending)
        return;
    if (status == 0)
        ask->trouble =
            fetch->overflow ? "gives a longer answer than this can hold" : "does not answer";
    ask_answered(ask, status, body);
}

static void ask_send(struct ask *ask)
{
    const struct conn_piece pieces[] = {
        {.data = ask->head ? "HEAD " : "GET ", .len = ask->head ? 5 : 4},
        {.data = ask->target, .len = strlen(ask->target)},
        {.data = " HTTP/1.1\r\nHost: ", .len = 17},
        {.data = ask->name, .len = strlen(ask->name)},
        {.data = "\r\n\r\n", .len = 4},
    };
    ask->waiting = false;
    ask->fetch.head_only = ask->head;
    ask->fetch.on_done = on_fetched;
    fetch_start(&ask->fetch, ask->upstream, pieces, 5);
}

static const char *trouble_of(int error)
{
    if (error == -ECONNREFUSED)
        return "refuses connections";
    if (error == -EHOSTUNREACH || error == -ENETUNREACH)
        return "cannot be reached";
    if (error == -EMFILE || error == -ENFILE)
        return "cannot be asked: this process may open no more files (ulimit -n)";
    return "does not answer";
}

/* Tries the address at hand, or the next one. */
static void ask_connect(struct ask *ask)
{
    while (ask->at < ask->count) {
        int error = upstream_connect(ask->upstream, &ask->addresses[ask->at]);
        if (error == 0 || error == -EBUSY) /* on_open or on_closed follows */
            return;
        ask->trouble = trouble_of(error);
        ask->at++;
    }
    ask->at = 0;
    ask->waiting = false;
    ask_answered(ask, 0, (struct slice){0});
}

static void on_open(struct upstream *upstream)
{
    struct ask *ask = upstream_owner(upstream);
    if (ask->waiting)
        ask_send(ask);
}

/* A question that is not on its way yet is asked at the next address; at the same one when it was only the connection of the question
 * before that has ended. */
static void on_closed(struct upstream *upstream, int error)
{
    struct ask *ask = upstream_owner(upstream);
    if (!ask->waiting)
        return;
    if (error) {
        ask->trouble = trouble_of(error);
        ask->at++;
    }
    ask_connect(ask);
}

static const struct upstream_ops ask_ops = {.on_open = on_open, .on_closed = on_closed};

static void on_looked_up(struct lookup *lookup, const struct address *addresses, unsigned count)
{
    struct ask *ask = ask_of_lookup(lookup);
    ask->count = count < ASK_ADDRESSES_MAX ? count : ASK_ADDRESSES_MAX;
    for (unsigned i = 0; i < ask->count; i++) {
        ask->addresses[i] = addresses[i];
        ask->addresses[i].port = ask->port;
    }
    ask->trouble = "has no address: its name is not known";
    ask_connect(ask);
}

static void ask_look_up(struct ask *ask)
{
    ask->lookup.on_answer = on_looked_up;
    if (ask->resolver->ops->ask(ask->resolver, &ask->lookup, ask->host) == 0)
        return;
    ask->trouble = "has no address: its name is not known";
    ask_connect(ask);
}

static void ask_start(struct ask *ask)
{
    ask->started = ask->waiting = true;
    loop_timer_set(ask->loop, &ask->timer, ask->loop->now_us + ASK_WHOLE_US);
    if (upstream_is_open(ask->upstream))
        ask_send(ask);
    else if (ask->count > 0)
        ask_connect(ask);
    else
        ask_look_up(ask);
}

/* It is to begin; or it takes too long, since the answer comes drop by drop. What comes before an answer has limits of its own. */
static void on_time(struct loop_timer *timer)
{
    struct ask *ask = (struct ask *)(void *)((char *)timer - offsetof(struct ask, timer));
    if (!ask->started)
        ask_start(ask);
    else if (ask->waiting)
        loop_timer_set(ask->loop, timer, ask->loop->now_us + ASK_WHOLE_US);
    else
        upstream_close(ask->upstream, -ETIMEDOUT);
}

static void ask_begin(struct ask *ask, const char *target, size_t body_max, bool head,
                      void (*on_answer)(struct ask *ask, unsigned status, struct slice body))
{
    assert(!ask->busy);
    ask->busy = true;
    ask->head = head;
    ask->trouble = NULL;
    ask->on_answer = on_answer;
    ask->fetch.body_max = body_max;
    ask->target = target;
    ask->waiting = ask->started = false;
    loop_timer_set(ask->loop, &ask->timer, ask->loop->now_us);
}

void ask_get(struct ask *ask, const char *target, size_t body_max,
             void (*on_answer)(struct ask *ask, unsigned status, struct slice body))
{
    ask_begin(ask, target, body_max, false, on_answer);
}

void ask_head(struct ask *ask, const char *target,
              void (*on_answer)(struct ask *ask, unsigned status, struct slice body))
{
    ask_begin(ask, target, 0, true, on_answer);
}

int ask_init(struct ask *ask, struct loop *loop, struct upstreams *upstreams,
             struct resolver *resolver, const char *name)
{
    static const struct upstream_config config = {ASK_CONNECT_US, ASK_ANSWER_US};
    assert(resolver);
    int error = split_name(ask, name);
    if (error)
        return error;
    if (loop_timer_reserve(loop) != 0)
        return -ENOMEM;
    ask->loop = loop;
    ask->resolver = resolver;
    ask->timer.on_time = on_time;
    ask->upstream = upstream_new(upstreams, &config, &ask_ops, ask);
    if (ask->upstream)
        return 0;
    ask_free(ask);
    return -ENOMEM;
}

void ask_free(struct ask *ask)
{
    if (!ask->loop)
        return;
    ask->ending = true;
    if (ask->lookup.data)
        ask->resolver->ops->cancel(ask->resolver, &ask->lookup);
    if (ask->upstream)
        upstream_destroy(ask->upstream);
    loop_timer_release(ask->loop, &ask->timer);
    memset(ask, 0, sizeof *ask);
}
