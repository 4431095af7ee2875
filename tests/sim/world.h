/* The simulated world's floor: virtual time, events in a fixed order, chance from one seed, the trace and
 * its hash, and the first thing that went wrong.
 *
 * Nothing here or above it reads a real clock or real entropy, so a seed always tells the same story. */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mutant.h"

/* xoshiro256** (Blackman and Vigna). Each part of the world has its own, so that one more draw in one
 * part changes nothing in the others. */
struct rng {
    uint64_t state[4];
};

void rng_seed(struct rng *rng, uint64_t seed, uint64_t stream);
uint64_t rng_next(struct rng *rng);

/* From 0 to limit - 1; limit is at least 1. */
uint64_t rng_below(struct rng *rng, uint64_t limit);

/* Both ends are included. */
uint64_t rng_between(struct rng *rng, uint64_t low, uint64_t high);

/* As rng_between, but each power of two in the range is about equally likely. */
uint64_t rng_spread(struct rng *rng, uint64_t low, uint64_t high);

/* True `ppm` times in a million. */
bool rng_chance(struct rng *rng, uint32_t ppm);

/* Something that happens at a time. Embedded in its owner, who zeroes it first. */
struct world_event {
    void (*run)(struct world_event *event);
    uint64_t at_us;
    uint64_t order; /* events of one time happen in the order in which they were set */
    uint32_t place; /* in the heap, counted from 1; 0 while not set */
};

/* What was exercised, summed over seeds. */
struct world_counts {
    uint64_t requests, replies, writes, reads, waits, pages;
    uint64_t not_modified, absent, refused, expired;
    uint64_t connections, resets, left, timeouts, faults, interrupted;
    uint64_t bytes, turns, events, virtual_us;
};

enum {
    WORLD_FAILURE_BYTES = 1000,
    WORLD_EVENTS_MAX = 3000000, /* of one seed, if it says nothing else */
};

struct world {
    uint64_t seed;
    uint64_t now_us;
    uint64_t order;
    uint64_t hash; /* of all bytes on all cables, with their times */
    struct world_event **heap;
    uint32_t event_count, event_room;
    uint64_t events_max; /* more is a world that runs in circles */
    bool trace;
    bool failed;
    char failure[WORLD_FAILURE_BYTES];
    enum mutant mutant; /* a planted mistake, or MUTANT_NONE */
    struct rng mutant_rng;
    uint64_t run; /* which time this seed is run in this process; only MUTANT_REPLAY looks at it */
    struct world_counts counts;
};

/* What came of a seed. */
struct run_result {
    bool failed;
    char failure[WORLD_FAILURE_BYTES];
    uint64_t now_us;
    uint64_t hash;
    struct world_counts counts;
};

void world_init(struct world *world, uint64_t seed, bool trace, enum mutant mutant);
void world_free(struct world *world);

/* Sets or moves an event; one that would be in the past happens now. Clears one that is set. */
void world_event_set(struct world *world, struct world_event *event, uint64_t at_us);
void world_event_clear(struct world *world, struct world_event *event);

/* As world_event_set, unless it is set to an earlier time already. */
void world_event_hasten(struct world *world, struct world_event *event, uint64_t at_us);

/* Leaps to the next event and runs it. Returns false when there is none, or something is wrong. */
bool world_step(struct world *world);

/* Notes the first thing that is wrong; after it the world stands still. */
void world_fail(struct world *world, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A line of the trace, if it is wanted. */
void world_trace(const struct world *world, const char *who, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Bytes in the trace, made printable, cut short. */
void world_trace_bytes(const struct world *world, const char *who, const char *what,
                       const char *data, size_t bytes);

/* Mixes bytes and what they belong to into the hash. */
void world_note(struct world *world, uint64_t what, const char *data, size_t bytes);

/* Whether the planted mistake is `mutant`, and is to be made now (`ppm` in a million times). */
bool world_mutates(struct world *world, enum mutant mutant, uint32_t ppm);

/* A hash of bytes that come in pieces: the same however they are cut. */
struct fold {
    uint64_t state, pending;
    uint64_t bytes;
};

void fold_init(struct fold *fold);
void fold_add(struct fold *fold, const char *data, size_t bytes);
uint64_t fold_end(const struct fold *fold);

#endif
