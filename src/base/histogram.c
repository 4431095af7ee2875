#include "base/histogram.h"

uint64_t histogram_count(const struct histogram *h)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        count += h->counts[i];
    return count;
}

struct histogram histogram_since(const struct histogram *h, const struct histogram *before)
{
    struct histogram since = *h;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        since.counts[i] -= before->counts[i];
    since.sum_us -= before->sum_us;
    return since;
}

uint64_t histogram_quantile(const struct histogram *h, double part)
{
    uint64_t count = histogram_count(h);
    if (count == 0)
        return 0;
    uint64_t wanted = (uint64_t)(part * (double)count); /* rounded up, 1 at least */
    if (wanted == 0 || (double)wanted < part * (double)count)
        wanted++;
    uint64_t seen = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS - 1; i++) {
        seen += h->counts[i];
        if (seen >= wanted)
            return 1ULL << i;
    }
    return h->max_us;
}
