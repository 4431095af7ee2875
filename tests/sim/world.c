#include "world.h"

#include <assert.h>
#include <endian.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Chance */

static uint64_t rotate(uint64_t x, int by)
{
    return x << by | x >> (64 - by);
}

static uint64_t splitmix(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

void rng_seed(struct rng *rng, uint64_t seed, uint64_t stream)
{
    uint64_t state = stream;
    state = splitmix(&state) ^ seed;
    for (int i = 0; i < 4; i++)
        rng->state[i] = splitmix(&state);
}

uint64_t rng_next(struct rng *rng)
{
    uint64_t *s = rng->state;
    uint64_t result = rotate(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

uint64_t rng_below(struct rng *rng, uint64_t limit)
{
    assert(limit > 0);
    return rng_next(rng) % limit;
}

uint64_t rng_between(struct rng *rng, uint64_t low, uint64_t high)
{
    assert(low <= high);
    return high - low == UINT64_MAX ? rng_next(rng) : low + rng_below(rng, high - low + 1);
}

uint64_t rng_spread(struct rng *rng, uint64_t low, uint64_t high)
{
    unsigned bits_low = low ? 63 - (unsigned)__builtin_clzll(low) : 0;
    unsigned bits_high = high ? 63 - (unsigned)__builtin_clzll(high) : 0;
    uint64_t from = (uint64_t)1 << rng_between(rng, bits_low, bits_high);
    uint64_t value = rng_between(rng, from, 2 * from - 1);
    if (low == 0 && from == 1 && rng_chance(rng, 500000))
        return 0;
    return value < low ? low : value > high ? high : value;
}

bool rng_chance(struct rng *rng, uint32_t ppm)
{
    return ppm > 0 && rng_below(rng, 1000000) < ppm;
}

/* Events: a binary heap of pointers in heap[1..count]; each event knows its place. */

static bool event_before(const struct world_event *a, const struct world_event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

static void heap_put(struct world *world, uint32_t place, struct world_event *event)
{
    world->heap[place] = event;
    event->place = place;
}

static void heap_rise(struct world *world, struct world_event *event, uint32_t place)
{
    for (; place > 1 && event_before(event, world->heap[place / 2]); place /= 2)
        heap_put(world, place, world->heap[place / 2]);
    heap_put(world, place, event);
}

static void heap_sink(struct world *world, struct world_event *event, uint32_t place)
{
    for (uint32_t child; (child = place * 2) <= world->event_count; place = child) {
        if (child < world->event_count && event_before(world->heap[child + 1], world->heap[child]))
            child++;
        if (!event_before(world->heap[child], event))
            break;
        heap_put(world, place, world->heap[child]);
    }
    heap_put(world, place, event);
}

static void heap_grow(struct world *world)
{
    world->event_room = world->event_room ? world->event_room * 2 : 256;
    world->heap = realloc(world->heap, world->event_room * sizeof(struct world_event *));
    if (!world->heap)
        abort();
}

void world_event_clear(struct world *world, struct world_event *event)
{
    uint32_t place = event->place;
    if (place == 0)
        return;
    event->place = 0;
    struct world_event *last = world->heap[world->event_count--];
    if (last == event)
        return;
    if (place > 1 && event_before(last, world->heap[place / 2]))
        heap_rise(world, last, place);
    else
        heap_sink(world, last, place);
}

void world_event_set(struct world *world, struct world_event *event, uint64_t at_us)
{
    world_event_clear(world, event);
    if (world->event_count + 2 > world->event_room)
        heap_grow(world);
    event->at_us = at_us > world->now_us ? at_us : world->now_us;
    event->order = world->order++;
    heap_rise(world, event, ++world->event_count);
}

void world_event_hasten(struct world *world, struct world_event *event, uint64_t at_us)
{
    if (event->place == 0 || event->at_us > at_us)
        world_event_set(world, event, at_us);
}

bool world_step(struct world *world)
{
    if (world->failed || world->event_count == 0)
        return false;
    struct world_event *event = world->heap[1];
    world_event_clear(world, event);
    world->now_us = event->at_us;
    if (++world->counts.events > world->events_max)
        world_fail(world, "there is no end to it: %llu events",
                   (unsigned long long)world->events_max);
    event->run(event);
    return !world->failed;
}

void world_init(struct world *world, uint64_t seed, bool trace, enum mutant mutant)
{
    memset(world, 0, sizeof *world);
    world->seed = seed;
    world->events_max = WORLD_EVENTS_MAX;
    world->trace = trace;
    world->mutant = mutant;
    rng_seed(&world->mutant_rng, seed, 0x6d7574616e74);
}

void world_free(struct world *world)
{
    free(world->heap);
    world->heap = NULL;
}

/* What is told */

static void print_time(const struct world *world)
{
    printf("%6llu.%06llu ", (unsigned long long)(world->now_us / 1000000),
           (unsigned long long)(world->now_us % 1000000));
}

void world_fail(struct world *world, const char *format, ...)
{
    if (world->failed)
        return;
    world->failed = true;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(world->failure, sizeof world->failure, format, arguments);
    va_end(arguments);
    world_trace(world, "FAILED", "%s", world->failure);
}

void world_trace(const struct world *world, const char *who, const char *format, ...)
{
    if (!world->trace)
        return;
    print_time(world);
    printf("%-8s ", who);
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
}

static size_t print_byte(unsigned char byte)
{
    if (byte == '\n')
        return (size_t)printf("\\n");
    if (byte == '\r')
        return (size_t)printf("\\r");
    if (byte == '\\' || byte < 32 || byte > 126)
        return (size_t)printf("\\x%02x", byte);
    putchar(byte);
    return 1;
}

void world_trace_bytes(const struct world *world, const char *who, const char *what,
                       const char *data, size_t bytes)
{
    enum { COLUMNS = 400 };
    if (!world->trace)
        return;
    print_time(world);
    printf("%-8s %s %zu B: ", who, what, bytes);
    size_t used = 0;
    for (size_t i = 0; i < bytes && used < COLUMNS; i++)
        used += print_byte((unsigned char)data[i]);
    puts(used < COLUMNS ? "" : "...");
}

static uint64_t mix(uint64_t state, uint64_t word)
{
    return rotate(state ^ word, 29) * 0x9fb21c651e98df25u;
}

void world_note(struct world *world, uint64_t what, const char *data, size_t bytes)
{
    uint64_t hash = mix(mix(mix(world->hash, world->now_us), what), bytes);
    for (; bytes >= 8; data += 8, bytes -= 8) {
        uint64_t word;
        memcpy(&word, data, 8);
        hash = mix(hash, word);
    }
    uint64_t rest = 0;
    if (bytes)
        memcpy(&rest, data, bytes);
    world->hash = mix(hash, rest);
}

bool world_mutates(struct world *world, enum mutant mutant, uint32_t ppm)
{
    return world->mutant == mutant && rng_chance(&world->mutant_rng, ppm);
}

/* Folds: whole words as they come, what is left waits for more. */

void fold_init(struct fold *fold)
{
    *fold = (struct fold){.state = 0x2545f4914f6cdd1du};
}

static void fold_byte(struct fold *fold, unsigned char byte)
{
    fold->pending |= (uint64_t)byte << 8 * (fold->bytes & 7);
    if ((++fold->bytes & 7) == 0) {
        fold->state = mix(fold->state, fold->pending);
        fold->pending = 0;
    }
}

void fold_add(struct fold *fold, const char *data, size_t bytes)
{
    for (; bytes && fold->bytes & 7; bytes--)
        fold_byte(fold, (unsigned char)*data++);
    for (; bytes >= 8; data += 8, bytes -= 8) {
        uint64_t word;
        memcpy(&word, data, 8);
        fold->state = mix(fold->state, le64toh(word));
        fold->bytes += 8;
    }
    for (; bytes; bytes--)
        fold_byte(fold, (unsigned char)*data++);
}

uint64_t fold_end(const struct fold *fold)
{
    uint64_t hash = mix(mix(fold->state, fold->pending), fold->bytes);
    return hash ^ hash >> 32;
}
