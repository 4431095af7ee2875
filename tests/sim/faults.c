#include "faults.h"

#include <string.h>

enum {
    MS = 1000,
    SECOND = 1000 * 1000,
    KIB = 1024,
};

/* A rate that is 0 in `one_in` - 1 of `one_in` seeds, and else of any magnitude up to `ppm`. */
static uint32_t rate(struct rng *rng, uint32_t one_in, uint32_t ppm)
{
    uint64_t value = rng_spread(rng, ppm / 16 + 1, ppm);
    return rng_below(rng, one_in) == 0 ? (uint32_t)value : 0;
}

static void faults_pick_way(struct faults *faults, struct rng *rng)
{
    faults->latency_us_min = rng_spread(rng, 5, 500);
    faults->latency_us_max = faults->latency_us_min + rng_spread(rng, 1, 20 * MS);
    faults->delay_ppm = rate(rng, 3, 20000);
    faults->delay_us = 200 * MS;
    faults->segments_max = (uint32_t)rng_between(rng, 1, 6);
    faults->reset_ppm = rate(rng, 3, 20000);
    faults->reset_discards = rng_chance(rng, 500000);
    faults->pipe_bytes_min = rng_spread(rng, 512, 64 * KIB);
    faults->pipe_bytes_max = rng_spread(rng, faults->pipe_bytes_min, 256 * KIB);
    faults->pipe_low_water = rng_chance(rng, 500000);
    faults->backlog_max = (uint32_t)rng_spread(rng, 1, 64);
}

static void faults_pick_kernel(struct faults *faults, struct rng *rng)
{
    faults->short_read_ppm = rate(rng, 2, 300000);
    faults->short_write_ppm = rate(rng, 2, 300000);
    faults->accept_failure_ppm = rate(rng, 4, 300000);
    faults->accept_abort_ppm = rate(rng, 6, 100000);
    faults->watch_failure_ppm = rate(rng, 6, 50000);
    faults->interrupt_ppm = rate(rng, 3, 200000);
    faults->false_ready_ppm = rate(rng, 3, 100000);
    faults->files_max = rng_below(rng, 8) == 0 ? (uint32_t)rng_between(rng, 2, 10) : 0;
}

static void faults_pick_process(struct faults *faults, struct rng *rng)
{
    faults->turn_us_max = rng_spread(rng, 1, 2 * MS);
    faults->pause_ppm = rate(rng, 5, 2000);
    faults->pause_us_max = rng_spread(rng, 1 * MS, 2 * SECOND);
    faults->clock_steps = rng_below(rng, 3) == 0 ? (uint32_t)rng_between(rng, 1, 12) : 0;
    faults->clock_step_us_max = rng_spread(rng, 1 * MS, (uint64_t)3600 * SECOND);
    faults->cuts = rng_below(rng, 5) == 0 ? (uint32_t)rng_between(rng, 1, 6) : 0;
    faults->cut_us_max = rng_spread(rng, 10 * MS, 20 * (uint64_t)SECOND);
}

void faults_pick(struct faults *faults, uint64_t seed)
{
    struct rng rng;
    rng_seed(&rng, seed, 0x6661756c7473);
    memset(faults, 0, sizeof *faults);
    faults_pick_way(faults, &rng);
    faults_pick_kernel(faults, &rng);
    faults_pick_process(faults, &rng);
}

static void habits_pick_calls(struct habits *habits, struct rng *rng)
{
    habits->write_ppm = (uint32_t)rng_between(rng, 150000, 600000);
    habits->delete_ppm = rate(rng, 2, 200000);
    habits->head_ppm = rate(rng, 2, 100000);
    habits->page_ppm = rate(rng, 2, 100000);
    habits->bad_ppm = rate(rng, 2, 50000);
    habits->chunked_ppm = rate(rng, 2, 600000);
    habits->typed_ppm = rate(rng, 2, 600000);
    habits->ttl_ppm = rate(rng, 2, 300000);
    habits->expect_ppm = rate(rng, 3, 100000);
    habits->old_http_ppm = rate(rng, 3, 50000);
    habits->match_ppm = rate(rng, 2, 800000);
    habits->wait_ppm = rate(rng, 2, 1000000);
    habits->close_ppm = rate(rng, 3, 50000);
    habits->leave_ppm = rate(rng, 2, 50000);
    habits->nap_ppm = rate(rng, 4, 10000);
    habits->half_close_ppm = rate(rng, 2, 600000);
    habits->too_large_ppm = rate(rng, 4, 50000);
}

void habits_pick(struct habits *habits, uint64_t seed)
{
    struct rng rng;
    rng_seed(&rng, seed, 0x686162697473);
    memset(habits, 0, sizeof *habits);
    habits->clients = (uint32_t)rng_between(&rng, 1, 20);
    uint32_t calls = (uint32_t)rng_spread(&rng, 300, 3000);
    habits->calls_min = calls / habits->clients / 2 + 1;
    habits->calls_max = calls / habits->clients * 3 / 2 + 2;
    habits->session_max = (uint32_t)rng_spread(&rng, 4, 400);
    habits->depth_max = rng_below(&rng, 3) == 0 ? 1 : (uint32_t)rng_spread(&rng, 2, 30);
    habits->think_us_max = rng_spread(&rng, 10, 8 * SECOND);
    habits->keys_own = (uint32_t)rng_between(&rng, 0, 6);
    habits->keys_shared = (uint32_t)rng_between(&rng, 1, 8);
    habits->value_bytes_max = (uint32_t)rng_spread(&rng, 64, 200 * KIB);
    habits->chopper_ppm = rate(&rng, 2, 500000);
    habits->slow_reader_ppm = rate(&rng, 2, 400000);
    habits->stranger_ppm = rate(&rng, 5, 200000);
    habits->sleeper_ppm = rate(&rng, 2, 600000);
    habits_pick_calls(habits, &rng);
}

void limits_pick(struct limits *limits, const struct habits *habits, uint64_t seed)
{
    struct rng rng;
    rng_seed(&rng, seed, 0x6c696d697473);
    limits->idle_us = rng_spread(&rng, 1 * SECOND, 120 * SECOND);
    limits->request_us = rng_spread(&rng, 1 * SECOND, 60 * SECOND);
    limits->stall_us = rng_spread(&rng, 1 * SECOND, 60 * SECOND);
    limits->drain_us = rng_spread(&rng, 200 * MS, 20 * SECOND);
    limits->grace_us = limits->forget_us = (uint64_t)24 * 3600 * SECOND;
    limits->value_max = habits->value_bytes_max;
    limits->memory_max =
        rng_below(&rng, 6) == 0 ? rng_spread(&rng, 1 * KIB * KIB, 8 * KIB * KIB) : 0;
    limits->connections_max =
        rng_below(&rng, 8) == 0 ? (uint32_t)rng_between(&rng, 2, 8) : LIMITS_CONNECTIONS;
}

void faults_end(struct faults *faults)
{
    *faults = (struct faults){
        .latency_us_min = 20,
        .latency_us_max = 50,
        .segments_max = 1,
        .pipe_bytes_min = 64 * KIB,
        .pipe_bytes_max = 64 * KIB,
        .backlog_max = 128,
        .turn_us_max = 10,
    };
}

uint64_t faults_slack_us(const struct faults *faults)
{
    uint64_t way = faults->latency_us_max + (faults->delay_ppm ? 4 * faults->delay_us : 0);
    uint64_t turns = 50 * faults->turn_us_max + (faults->pause_ppm ? 2 * faults->pause_us_max : 0);
    return 4 * way + turns + 20 * MS;
}
