/* sim: runs the real node in simulated worlds, one a seed.
 *
 *   sim [--seeds N] [--first S]       seeds S to S + N - 1, 1,000 from 1 on by default; `sim N` is the same
 *   sim --seed S [--trace]            one seed again, exactly, told line by line
 *   sim [--cluster|--frontends|--moves] --mutants  plants each mistake of mutant.h in turn; all must be caught
 *   sim --mutants --half 1            every other of them; --half 2: the others
 *   sim --mutant NAME …               plants that one
 *   sim --cluster …                   simulates clusters, not single nodes
 *   sim --frontends …                 simulates front-ends with clusters behind them
 *   sim --moves …                     the same, while keys move to another number of partitions
 *   sim --starved …                   one story, in which each call fails in turn: see starved.h
 *   sim --scale PxN …                 a set-up of any size, measured: see scale.h
 *   sim --check-replay …              runs every seed twice, not only every 20th
 *   sim --verbose …                   a line for each seed
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cluster.h"
#include "fleet.h"
#include "run.h"
#include "scale.h"
#include "starved.h"

enum {
    SEEDS = 1000,
    REPLAY_EVERY = 20,
    MUTANT_SEEDS_MAX = 1000, /* within so many seeds a mutant must be caught */
    SHOWN_MAX = 10,          /* failures that are told in full */
};

struct options {
    uint64_t first, seeds;
    uint64_t half; /* of the mutants, 1 or 2; 0 for all */
    bool trace, mutants, check_replay, verbose, cluster, frontends, moves;
    enum mutant mutant;
    const char *program;
};

static const struct {
    const char *name, *text;
} mutants[MUTANT_STARVED] = {[MUTANT_NONE] = {"none", "nothing"},
#define X(id, name, text) [MUTANT_##id] = {name, text},
                             MUTANTS(X) CLUSTER_MUTANTS(X) FLEET_MUTANTS(X) MOVE_MUTANTS(X)
#undef X
};

/* For the handler of a crash, which must say which seed it was. */
static volatile uint64_t seed_under_way;

static void say_seed(void)
{
    char text[] = "\nseed                      was under way\n";
    char *at = text + 25;
    uint64_t seed = seed_under_way;
    do
        *at-- = (char)('0' + seed % 10);
    while (seed /= 10);
    if (write(STDERR_FILENO, text, sizeof text - 1) < 0)
        return;
}

static void on_signal(int number)
{
    say_seed();
    signal(number, SIG_DFL);
    raise(number);
}

/* Of the sanitizers' runtime, where there is one. */
__attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)(void));

static void watch_crashes(void)
{
    static const int signals[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGINT, SIGTERM};
    if (__sanitizer_set_death_callback)
        __sanitizer_set_death_callback(say_seed);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        if (!__sanitizer_set_death_callback || signals[i] == SIGINT || signals[i] == SIGTERM)
            signal(signals[i], on_signal);
}

static char *make_block(void)
{
    struct rng rng;
    char *block = malloc(SCENE_BLOCK_BYTES);
    if (!block)
        abort();
    rng_seed(&rng, 0, 0x626c6f636b);
    for (size_t i = 0; i < SCENE_BLOCK_BYTES; i += 8) {
        uint64_t word = rng_next(&rng);
        memcpy(block + i, &word, 8);
    }
    return block;
}

static void run_once(const struct options *options, uint64_t seed, bool trace, enum mutant mutant,
                     uint64_t again, const char *block, struct run_result *result)
{
    if (options->frontends || options->moves)
        fleet_run_seed(seed, options->moves, trace, mutant, again, block, result);
    else if (options->cluster)
        cluster_run_seed(seed, trace, mutant, again, result);
    else
        run_seed(seed, trace, mutant, again, block, result);
}

/* Runs a seed, twice where that is wanted: then both must be the same to the byte. */
static void run_checked(const struct options *options, uint64_t seed, enum mutant mutant,
                        const char *block, struct run_result *result)
{
    static struct run_result again;
    bool twice = options->check_replay || seed % REPLAY_EVERY == 0;
    seed_under_way = seed;
    run_once(options, seed, options->trace, mutant, 0, block, result);
    if (result->failed || !twice || options->trace)
        return;
    run_once(options, seed, false, mutant, 1, block, &again);
    if (again.hash == result->hash && again.now_us == result->now_us && !again.failed)
        return;
    result->failed = true;
    snprintf(result->failure, sizeof result->failure,
             "a second run of the seed goes another way: hash %016llx and %016llx",
             (unsigned long long)result->hash, (unsigned long long)again.hash);
}

static void counts_add(struct world_counts *sum, const struct world_counts *counts)
{
    uint64_t *to = (uint64_t *)sum;
    const uint64_t *from = (const uint64_t *)counts;
    for (size_t i = 0; i < sizeof *sum / sizeof *to; i++)
        to[i] += from[i];
}

static void show_failure(const struct options *options, uint64_t seed,
                         const struct run_result *result)
{
    printf("seed %llu failed at %llu us: %s\n", (unsigned long long)seed,
           (unsigned long long)result->now_us, result->failure);
    printf("  again: %s%s --seed %llu --trace", options->program,
           options->cluster     ? " --cluster"
           : options->frontends ? " --frontends"
           : options->moves     ? " --moves"
                                : "",
           (unsigned long long)seed);
    if (options->mutant)
        printf(" --mutant %s", mutants[options->mutant].name);
    putchar('\n');
    fflush(stdout);
}

static void show_counts(const struct world_counts *c, double seconds)
{
    typedef unsigned long long ull;
    double virtual_s = (double)c->virtual_us / 1e6;
    printf("%llu requests: %llu replies, %llu writes, %llu reads (%llu not modified, %llu absent), "
           "%llu waits, %llu pages, %llu refused, %llu timed out\n",
           (ull)c->requests, (ull)c->replies, (ull)c->writes, (ull)c->reads, (ull)c->not_modified,
           (ull)c->absent, (ull)c->waits, (ull)c->pages, (ull)c->refused, (ull)c->timeouts);
    printf("%llu connections: %llu reset by the way, %llu left by their client; %llu other faults, "
           "%llu waits interrupted\n",
           (ull)c->connections, (ull)c->resets, (ull)c->left, (ull)c->faults, (ull)c->interrupted);
    printf("%llu MB, %llu events, %llu turns, %.0f virtual seconds in %.1f of the processor: %.0f "
           "times "
           "as fast\n",
           (ull)c->bytes / 1000000, (ull)c->events, (ull)c->turns, virtual_s, seconds,
           virtual_s / (seconds > 0 ? seconds : 1));
}

static int run_seeds(const struct options *options, const char *block)
{
    static struct run_result result;
    struct world_counts sum = {0};
    uint64_t passed = 0, failed = 0;
    for (uint64_t i = 0; i < options->seeds; i++) {
        uint64_t seed = options->first + i;
        run_checked(options, seed, options->mutant, block, &result);
        counts_add(&sum, &result.counts);
        if (options->verbose)
            printf("seed %llu: %016llx, %llu replies, %.0f s\n", (unsigned long long)seed,
                   (unsigned long long)result.hash, (unsigned long long)result.counts.replies,
                   (double)result.now_us / 1e6);
        passed += !result.failed;
        if (result.failed && failed++ < SHOWN_MAX)
            show_failure(options, seed, &result);
    }
    show_counts(&sum, (double)clock() / CLOCKS_PER_SEC);
    printf("%llu passed, %llu failed\n", (unsigned long long)passed, (unsigned long long)failed);
    return failed ? 1 : 0;
}

/* Whether some seed catches the mutant; says which, and by what. */
static bool mutant_is_caught(struct options *options, enum mutant mutant, const char *block)
{
    static struct run_result result;
    options->check_replay = mutant == MUTANT_CHANCE;
    for (uint64_t i = 0; i < MUTANT_SEEDS_MAX; i++) {
        uint64_t seed = options->first + i;
        run_checked(options, seed, mutant, block, &result);
        if (!result.failed)
            continue;
        printf("ok %-16s seed %llu: %s\n", mutants[mutant].name, (unsigned long long)seed,
               result.failure);
        fflush(stdout);
        return true;
    }
    printf("not ok %-12s %s: no seed notices\n", mutants[mutant].name, mutants[mutant].text);
    return false;
}

static int run_mutants(struct options *options, const char *block)
{
    int first = options->moves       ? MUTANT_MOVES
                : options->frontends ? MUTANT_FLEETS
                : options->cluster   ? MUTANT_CLUSTERS
                                     : MUTANT_NONE + 1;
    int end = options->moves       ? MUTANT_STARVED
              : options->frontends ? MUTANT_MOVES
              : options->cluster   ? MUTANT_FLEETS
                                   : MUTANT_CLUSTERS;
    unsigned caught = 0, all = 0;
    for (int i = first; i < end; i++) {
        if (options->half && (unsigned)i % 2 != options->half - 1)
            continue;
        all++;
        caught += mutant_is_caught(options, (enum mutant)i, block);
    }
    printf("%u passed, %u failed\n", caught, all - caught);
    return caught == all ? 0 : 1;
}

static int usage(const char *program)
{
    fprintf(
        stderr,
        "usage: %s [N] [--seeds N] [--first S] [--seed S] [--trace] [--check-replay] [--verbose] "
        "[--cluster] [--frontends] [--moves]\n"
        "       %s --starved, %s --scale: each with options of its own\n"
        "       %s --mutants [--half H], or --mutant NAME and the above; NAME is one of:\n",
        program, program, program, program);
    for (int i = MUTANT_NONE + 1; i < MUTANT_STARVED; i++)
        fprintf(stderr, "  %-16s %s\n", mutants[i].name, mutants[i].text);
    return 2;
}

static bool mutant_parse(const char *name, enum mutant *mutant)
{
    for (int i = MUTANT_NONE + 1; i < MUTANT_STARVED; i++)
        if (strcmp(mutants[i].name, name) == 0) {
            *mutant = (enum mutant)i;
            return true;
        }
    return false;
}

static bool number_parse(const char *text, uint64_t *number)
{
    char *end;
    if (!text || *text < '0' || *text > '9')
        return false;
    *number = strtoull(text, &end, 10);
    return *end == 0;
}

/* Reads one option and what it takes. Returns how many words these are, 0 when they are wrong. */
static int option_parse(struct options *options, const char *word, const char *next)
{
    static const struct {
        const char *name;
        size_t place;
    } flags[] = {
        {"--trace", offsetof(struct options, trace)},
        {"--mutants", offsetof(struct options, mutants)},
        {"--check-replay", offsetof(struct options, check_replay)},
        {"--verbose", offsetof(struct options, verbose)},
        {"--cluster", offsetof(struct options, cluster)},
        {"--frontends", offsetof(struct options, frontends)},
        {"--moves", offsetof(struct options, moves)},
    };
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (strcmp(word, flags[i].name) == 0) {
            *((bool *)options + flags[i].place) = true;
            return 1;
        }
    if (number_parse(word, &options->seeds))
        return 1;
    if (strcmp(word, "--seeds") == 0)
        return number_parse(next, &options->seeds) ? 2 : 0;
    if (strcmp(word, "--half") == 0)
        return number_parse(next, &options->half) ? 2 : 0;
    if (strcmp(word, "--first") == 0)
        return number_parse(next, &options->first) ? 2 : 0;
    if (strcmp(word, "--mutant") == 0)
        return next && mutant_parse(next, &options->mutant) ? 2 : 0;
    options->seeds = 1;
    return strcmp(word, "--seed") == 0 && number_parse(next, &options->first) ? 2 : 0;
}

int main(int argc, char **argv)
{
    struct options options = {.first = 1, .seeds = SEEDS, .program = argv[0]};
    if (argc > 1 && strcmp(argv[1], "--starved") == 0)
        return starved_main(argc - 2, argv + 2);
    if (argc > 1 && strcmp(argv[1], "--scale") == 0)
        return scale_main(argc - 2, argv + 2);
    for (int i = 1; i < argc;) {
        int words = option_parse(&options, argv[i], argv[i + 1]);
        if (words == 0)
            return usage(argv[0]);
        i += words;
    }
    watch_crashes();
    char *block = make_block();
    int status = options.mutants ? run_mutants(&options, block) : run_seeds(&options, block);
    free(block);
    return status;
}
