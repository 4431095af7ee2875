#include "role/haul.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void haul_fail(struct haul *haul, const char *format, ...)
{
    char text[COMMAND_FAILURE_BYTES];
    va_list arguments;
    if (haul_is_over(haul))
        return;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    bar_close(&haul->bar);
    command_fail(haul->command, COMMAND_WRONG, "%s", text);
}

uint64_t haul_rest_us(uint64_t rate, uint64_t bytes, uint64_t elapsed_us)
{
    uint64_t due_us = rate ? bytes / rate * 1000000 + bytes % rate * 1000000 / rate : 0;
    return due_us > elapsed_us ? due_us - elapsed_us : 0;
}

/* Contacts */

int contact_init(struct contact *contact, struct haul *haul, struct partition *partition,
                 const char *name, const struct upstream_ops *ops, void *owner)
{
    static const struct upstream_config config = {HAUL_CONNECT_US, HAUL_ANSWER_US};
    contact->haul = haul;
    contact->partition = partition;
    snprintf(contact->name, sizeof contact->name, "%s", name);
    contact->upstream = upstream_new(haul->frontend->upstreams, &config, ops, owner);
    return contact->upstream ? 0 : -ENOMEM;
}

void contact_free(struct contact *contact)
{
    if (contact->upstream)
        upstream_destroy(contact->upstream);
}

void contact_closed(struct contact *contact, int error)
{
    contact->busy = false;
    contact->next_us = contact->haul->command->loop->now_us + (error ? HAUL_RETRY_US : 0);
    if (error)
        contact->wanted = NULL;
}

static struct backend *usable_at(const struct contact *contact, const struct address *address)
{
    const struct partition *partition = contact->partition;
    for (unsigned i = 0; i < partition->usable_count; i++) {
        assert(partition->usable[i]);
        if (address_equal(&partition->usable[i]->address, address))
            return partition->usable[i];
    }
    return NULL;
}

struct backend *contact_member(const struct contact *contact)
{
    return usable_at(contact, &contact->address);
}

struct backend *contact_next(const struct contact *contact)
{
    const struct partition *partition = contact->partition;
    struct backend *next = contact->wanted ? usable_at(contact, contact->wanted) : NULL;
    if (next)
        return next;
    next = partition->usable[0];
    for (unsigned i = 1; i < partition->usable_count; i++)
        if (partition->usable[i]->taken < next->taken)
            next = partition->usable[i];
    return next;
}

static void contact_connect(struct contact *contact)
{
    struct backend *member = contact_next(contact);
    member->taken = ++contact->turn;
    contact->address = member->address;
    contact->busy = upstream_connect(contact->upstream, &contact->address) == 0;
}

/* Tells of it after a moment. Returns whether it is not to be borne any longer. `since_us` is now when it was 0. */
static bool contact_waits(const struct contact *contact, uint64_t *since_us, const char *until)
{
    struct haul *haul = contact->haul;
    uint64_t now_us = haul->command->loop->now_us;
    if (!*since_us)
        *since_us = now_us;
    if (now_us - *since_us >= HAUL_PATIENCE_US)
        snprintf(haul->waiting, sizeof haul->waiting, "a node of %s that %s", contact->name, until);
    return now_us - *since_us >= HAUL_LOST_US;
}

static void contact_lost(struct contact *contact)
{
    char address[ADDRESS_TEXT_BYTES];
    struct haul *haul = contact->haul;
    const struct partition *partition = contact->partition;
    if (!contact_waits(contact, &contact->lost_us, "is ready"))
        return;
    if (partition->backend_count > 0)
        haul_fail(haul, "No node of %s is ready: see curl %s/-/ready. %s", contact->name,
                  address_format(&partition->backends[0]->address, address), haul->repeat);
    else
        haul_fail(haul, "No node of %s is known: its name has no address. %s", contact->name,
                  haul->repeat);
}

void contact_failed(struct contact *contact)
{
    char address[ADDRESS_TEXT_BYTES];
    struct haul *haul = contact->haul;
    if (contact_waits(contact, &contact->failed_us, "answers"))
        haul_fail(
            haul,
            "No node of %s is able to answer: every try of the last %u s has failed, the last "
            "one at %s. %s",
            contact->name, HAUL_LOST_US / 1000000, address_format(&contact->address, address),
            haul->repeat);
}

void contact_went_on(struct contact *contact)
{
    contact->failed_us = 0;
}

bool contact_tend(struct contact *contact)
{
    if (contact->partition->usable_count == 0)
        contact_lost(contact);
    else
        contact->lost_us = 0;
    if (contact->failed_us && !contact->lost_us)
        contact_waits(contact, &contact->failed_us, "answers");
    if (contact->busy && !contact_member(contact))
        upstream_close(contact->upstream, -ECONNRESET);
    else if (!contact->busy && contact->partition->usable_count > 0 &&
             contact->haul->command->loop->now_us >= contact->next_us)
        contact_connect(contact);
    return upstream_is_open(contact->upstream);
}

/* Is this the cluster that it should be? Who was not named, but is listed by one that was, is passed over when it is of another one: the
 * address of a member that is gone may have been given to somebody else. */
static bool check_partition(struct contact *contact)
{
    char address[ADDRESS_TEXT_BYTES];
    const struct partition *partition = contact->partition;
    for (unsigned i = 0; i < partition->backend_count; i++) {
        const struct backend *backend = partition->backends[i];
        if (!backend->foreign || !backend->seed)
            continue;
        haul_fail(contact->haul,
                  "%s is named as a node of %s, but is of another cluster (--cluster-name) than "
                  "one that was named with it.",
                  address_format(&backend->address, address), contact->name);
        return false;
    }
    for (unsigned i = 0; i < partition->backend_count; i++) {
        const struct backend *backend = partition->backends[i];
        if (!backend->wrong || !backend->seed)
            continue;
        haul_fail(contact->haul,
                  "%s is named as partition %u of %u (%s), but says that it is %s. Each cluster "
                  "must be named once, in the order of partitions.",
                  address_format(&backend->address, address), partition->number, partition->count,
                  contact->name, backend->says);
        return false;
    }
    return partition->usable_count > 0;
}

void contact_check_named(struct contact *contact)
{
    char address[ADDRESS_TEXT_BYTES];
    const struct partition *partition = contact->partition;
    for (unsigned i = 0; i < partition->backend_count; i++)
        if (partition->backends[i]->no_node && partition->backends[i]->seed)
            haul_fail(contact->haul,
                      "%s is named by %s, but is no node. Front-ends have no keys themselves: "
                      "name nodes.",
                      address_format(&partition->backends[i]->address, address), contact->name);
}

bool contact_look(struct contact *contact)
{
    if (check_partition(contact))
        return true;
    contact_lost(contact);
    return false;
}

/* Life */

static bool log_nothing(void *sink, const char *line, unsigned bytes)
{
    (void)sink, (void)line, (void)bytes;
    return true;
}

static uint64_t no_clock(void *clock)
{
    (void)clock;
    return 0;
}

int haul_init(struct haul *haul, const struct frontend_config *clusters)
{
    struct loop *loop = haul->command->loop;
    haul->bar = (struct bar){.command = haul->command, .told_us = loop->now_us};
    haul->log = (struct log){
        .level = LOG_ERROR_LEVEL, .journald = false, .wall_us = no_clock, .write = log_nothing};
    haul->heap = heap_new(0);
    haul->frontend = frontend_new(loop, &haul->log, clusters);
    if (!haul->heap || !haul->frontend)
        return -ENOMEM;
    loop_timer_set(loop, &haul->frontend->tick, loop->now_us);
    return 0;
}

void haul_free(struct haul *haul)
{
    if (haul->frontend)
        frontend_destroy(haul->frontend);
    if (haul->heap)
        heap_destroy(haul->heap);
}
