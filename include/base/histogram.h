/* A histogram of microseconds in fixed buckets, as Prometheus wants them: no memory of its own, and
 * adding costs a few instructions. */
#ifndef BASE_HISTOGRAM_H
#define BASE_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_BUCKETS = 25 }; /* up to 1, 2, 4, … 2^23 µs (8.4 s), and beyond */

struct histogram {
    uint64_t counts
        [HISTOGRAM_BUCKETS]; /* counts[i]: values in (2^(i-1), 2^i] µs; the last one has no end */
    uint64_t sum_us;
    uint64_t max_us;
};

/* Counts `count` events that took `us` each. */
static inline void histogram_add(struct histogram *h, uint64_t us, uint64_t count)
{
    unsigned bucket = us <= 1 ? 0 : 64 - (unsigned)__builtin_clzll(us - 1);
    if (bucket >= HISTOGRAM_BUCKETS)
        bucket = HISTOGRAM_BUCKETS - 1;
    h->counts[bucket] += count;
    h->sum_us += us * count;
    if (us > h->max_us)
        h->max_us = us;
}

uint64_t histogram_count(const struct histogram *h);

/* What was added since `before`, an earlier state of the same one. Its max_us is that of the whole time. */
struct histogram histogram_since(const struct histogram *h, const struct histogram *before);

/* The upper end in µs of the bucket in which the fraction `part` (0 to 1) of all values is reached;
 * 0 when there are none. */
uint64_t histogram_quantile(const struct histogram *h, double part);

#endif
