#include "base/exposition.h"

#include <inttypes.h>

void exposition_head(struct text *text, const char *name, const char *type, const char *help)
{
    text_add(text, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void exposition_sample(struct text *text, const char *name, struct slice labels, uint64_t value)
{
    text_add(text, "%s{%.*s} %" PRIu64 "\n", name, (int)labels.len, labels.data, value);
}

static void put_number(struct text *text, const char *name, const char *type, const char *help,
                       uint64_t value)
{
    exposition_head(text, name, type, help);
    text_add(text, "%s %" PRIu64 "\n", name, value);
}

void exposition_gauge(struct text *text, const char *name, const char *help, uint64_t value)
{
    put_number(text, name, "gauge", help, value);
}

void exposition_counter(struct text *text, const char *name, const char *help, uint64_t value)
{
    put_number(text, name, "counter", help, value);
}

void exposition_seconds(struct text *text, const char *name, const char *type, const char *help,
                        uint64_t us)
{
    exposition_head(text, name, type, help);
    text_add(text, "%s ", name);
    text_add_seconds(text, us);
    text_add(text, "\n");
}

void exposition_histogram(struct text *text, const char *name, const char *help,
                          const struct histogram *histogram)
{
    uint64_t count = 0;
    exposition_head(text, name, "histogram", help);
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS - 1; i++) {
        count += histogram->counts[i];
        text_add(text, "%s_bucket{le=\"", name);
        text_add_seconds(text, 1ULL << i);
        text_add(text, "\"} %" PRIu64 "\n", count);
    }
    count += histogram->counts[HISTOGRAM_BUCKETS - 1];
    text_add(text, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n%s_sum ", name, count, name);
    text_add_seconds(text, histogram->sum_us);
    text_add(text, "\n%s_count %" PRIu64 "\n", name, count);
}
