#include "resolver_sim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct resolver_question {
    struct loop_timer answer;
    struct resolver_sim *resolver;
    struct lookup *lookup;
    struct resolver_question *next;
    struct address address;
    unsigned count; /* 0: it has none */
    bool silent;    /* nobody tells */
};

static void question_free(struct resolver_question *question)
{
    question->lookup->data = NULL;
    loop_timer_release(question->resolver->loop, &question->answer);
    free(question);
}

static void question_end(struct resolver_question *question)
{
    struct resolver_question **at = &question->resolver->questions;
    while (*at != question)
        at = &(*at)->next;
    *at = question->next;
    question_free(question);
}

static void on_time(struct loop_timer *timer)
{
    struct resolver_question *question =
        (struct resolver_question *)((char *)timer - offsetof(struct resolver_question, answer));
    struct lookup *lookup = question->lookup;
    struct address address = question->address;
    unsigned count = question->count;
    lookup->failed = question->silent;
    question_end(question);
    lookup->on_answer(lookup, &address, count);
}

/* An address as text is its own answer. */
static unsigned look_up(const struct resolver_sim *resolver, const char *name,
                        struct address *address)
{
    if (address_parse_ip((struct slice){name, strlen(name)}, address->ip) == 0)
        return 1;
    for (const struct cable_host *host = resolver->cables->hosts; host; host = host->next)
        if (strcmp(host->name, name) == 0) {
            memcpy(address->ip, host->ip, sizeof address->ip);
            return 1;
        }
    return 0;
}

static int ask(struct resolver *base, struct lookup *lookup, const char *name)
{
    struct resolver_sim *resolver = (struct resolver_sim *)base;
    const struct faults *faults = resolver->cables->faults;
    struct rng *rng = &resolver->rng;
    struct resolver_question *question = calloc(1, sizeof *question);
    if (!question || loop_timer_reserve(resolver->loop) != 0)
        abort();
    uint64_t us = 2 * rng_between(rng, faults->latency_us_min, faults->latency_us_max);
    bool lost = rng_chance(rng, faults->delay_ppm);
    question->resolver = resolver;
    question->lookup = lookup;
    question->silent = lost && !resolver->sure && rng_chance(rng, 500000);
    question->count = question->silent ? 0 : look_up(resolver, name, &question->address);
    if (!question->count)
        world_trace(resolver->cables->world, "names", "nobody knows %s", name);
    question->answer.on_time = on_time;
    question->next = resolver->questions;
    resolver->questions = question;
    lookup->data = question;
    loop_timer_set(resolver->loop, &question->answer,
                   resolver->loop->now_us + us + (lost ? faults->delay_us : 0));
    return 0;
}

static void cancel(struct resolver *base, struct lookup *lookup)
{
    (void)base;
    if (lookup->data)
        question_end(lookup->data);
}

static const struct resolver_ops ops = {ask, cancel};

void resolver_sim_init(struct resolver_sim *resolver, struct cables *cables, struct loop *loop,
                       uint64_t stream)
{
    *resolver = (struct resolver_sim){.resolver = {&ops}, .cables = cables, .loop = loop};
    rng_seed(&resolver->rng, cables->world->seed, 0x7265736f6c766572 + stream);
}

void resolver_sim_free(struct resolver_sim *resolver)
{
    struct resolver_question *next;
    for (struct resolver_question *at = resolver->questions; at; at = next) {
        next = at->next;
        question_free(at);
    }
    resolver->questions = NULL;
}
