#include "role/census.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json_read.h"

static void census_end(struct census *census)
{
    census->on_done(census);
}

static void __attribute__((format(printf, 2, 3)))
census_fail(struct census *census, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(census->failure, sizeof census->failure, format, arguments);
    va_end(arguments);
    census->failed = true;
    census_end(census);
}

int census_add(struct census *census, struct slice name, unsigned partition)
{
    if (name.len == 0 || name.len >= sizeof census->places->name)
        return -EINVAL;
    for (unsigned i = 0; i < census->count; i++)
        if (census->places[i].partition == partition &&
            slice_equal(slice_of(census->places[i].name), name))
            return (int)i;
    if (census->count == CENSUS_PLACES_MAX)
        return -ENOSPC;
    if (census->count == census->room) {
        unsigned room = census->room ? census->room * 2 : 16;
        struct census_place *places = realloc(census->places, room * sizeof *places);
        if (!places)
            return -ENOMEM;
        census->places = places;
        census->room = room;
    }
    struct census_place *place = &census->places[census->count];
    memcpy(place->name, name.data, name.len);
    place->name[name.len] = 0;
    place->partition = partition;
    place->heard = false;
    return (int)census->count++;
}

/* What was told before is kept until there is something else. */
static void census_forget(struct census *census)
{
    census->is_frontend = false;
    census->apart[0] = 0;
    census->count = census->partitions = census->others = 0;
    census->partition = census->partition_of = 0;
}

/* Names of others are addresses: nothing else is looked up, or shown. */
static bool is_address(struct slice name)
{
    struct address address;
    return address_parse(name, &address) == 0;
}

/* Front-ends */

static void read_node(struct census *census, struct slice name, struct slice node, unsigned number)
{
    struct slice state, apart;
    if (!is_address(name))
        return;
    if (json_find(node, "apart", &apart) && json_is_true(apart))
        snprintf(census->apart, sizeof census->apart, "%.*s", (int)name.len, name.data);
    if (!json_find(node, "state", &state) || !slice_equal(state, SLICE("\"alias\"")))
        census_add(census, name, number);
}

/* Returns how many partitions there are. */
static unsigned read_partitions(struct census *census, struct slice list, unsigned first)
{
    struct slice rest = json_inside(list), name, partition, nodes, node;
    unsigned number = first;
    while (number < CENSUS_PARTITIONS_MAX && json_next(&rest, &name, &partition)) {
        if (json_find(partition, "nodes", &nodes)) {
            struct slice left = json_inside(nodes);
            while (json_next(&left, &name, &node))
                read_node(census, name, node, number);
        }
        number++;
    }
    return number - first;
}

static void read_frontend(struct census *census, struct slice status)
{
    struct slice list;
    census_forget(census);
    census->is_frontend = true;
    if (json_find(status, side_words(SIDE_OWN)->list, &list))
        census->partitions = read_partitions(census, list, 0);
    for (enum side side = SIDE_PREVIOUS; side < SIDES && census->others == 0; side++)
        if (json_find(status, side_words(side)->list, &list)) {
            census->others = read_partitions(census, list, census->partitions);
            census->other_side = side;
        }
    if (census->partitions == 0)
        census_fail(census, "%s says that it is a front-end, but of no partitions.",
                    census->ask.name);
    else
        census_end(census);
}

/* Nodes */

bool census_member_line(struct slice line, struct slice *address, struct slice *phase)
{
    struct slice word;
    return slice_next(&line, ' ', &word) && slice_equal(word, SLICE("member")) &&
           slice_next(&line, ' ', address) && is_address(*address) &&
           slice_next(&line, ' ', phase) && !slice_equal(*phase, SLICE("left")) &&
           !slice_equal(*phase, SLICE("dropped"));
}

struct slice census_own_name(struct slice address, const char *asked)
{
    bool nowhere =
        slice_starts(address, SLICE("0.0.0.0:")) || slice_starts(address, SLICE("[::]:"));
    return nowhere ? slice_of(asked) : address;
}

static void read_partition(struct census *census, struct slice value)
{
    struct slice first;
    unsigned long long partition, count;
    if (slice_next(&value, '/', &first) && slice_number(first, 65535, &partition) &&
        slice_number(value, 65536, &count) && partition < count) {
        census->partition = (uint32_t)partition;
        census->partition_of = (uint32_t)count;
    }
}

/* For some seconds a node that was restarted is told of twice: its life before is down. */
static void take_member(struct census *census, struct slice name, struct slice phase)
{
    int at = census_add(census, name, 0);
    if (at >= 0 && !slice_equal(phase, SLICE("down")))
        census->places[at].heard = true;
}

static void on_members(struct ask *ask, unsigned status, struct slice body)
{
    struct census *census = (struct census *)ask;
    struct slice line, address, phase;
    bool own = true;
    if (status != 200) {
        census_fail(census, "%s %s.", ask->name,
                    status ? "does not say who belongs to its cluster" : ask->trouble);
        return;
    }
    census_forget(census);
    while (slice_next(&body, '\n', &line))
        if (slice_starts(line, SLICE("partition "))) {
            read_partition(census, (struct slice){line.data + 10, line.len - 10});
        } else if (census_member_line(line, &address, &phase)) {
            take_member(census, own ? census_own_name(address, ask->name) : address, phase);
            own = false;
        }
    census->partitions = 1;
    census_end(census);
}

/* Both */

static void on_status(struct ask *ask, unsigned status, struct slice body)
{
    struct census *census = (struct census *)ask;
    struct slice role = {0};
    if (status == 0) {
        census_fail(census, "%s %s.", ask->name, ask->trouble);
        return;
    }
    if (status != 200 || !json_is_valid(body) || !json_find(body, "role", &role)) {
        census_fail(census,
                    "%s is no Velour Fog: what it answers to GET /-/status is not known "
                    "here (%u).",
                    ask->name, status);
        return;
    }
    census->status = strndup(body.data, body.len);
    if (!census->status)
        census_fail(census, "Out of memory.");
    else if (slice_equal(role, SLICE("\"frontend\"")))
        read_frontend(census, body);
    else
        ask_get(ask, "/-/members", CENSUS_MEMBERS_BYTES_MAX, on_members);
}

void census_take(struct census *census, void (*on_done)(struct census *census))
{
    free(census->status);
    census->status = NULL;
    census->on_done = on_done;
    census->failed = false;
    ask_get(&census->ask, "/-/status", CENSUS_STATUS_BYTES_MAX, on_status);
}

int census_init(struct census *census, struct loop *loop, struct upstreams *upstreams,
                struct resolver *resolver, const char *name)
{
    return ask_init(&census->ask, loop, upstreams, resolver, name);
}

void census_free(struct census *census)
{
    ask_free(&census->ask);
    free(census->status);
    free(census->places);
    census->status = NULL;
    census->places = NULL;
}
