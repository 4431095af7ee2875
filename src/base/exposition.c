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

/* "NAME SUFFIX{LABELS,MORE} ", braces only where there is something between them. */
static void put_name(struct text *text, const char *name, const char *suffix, struct slice labels,
                     const char *more)
{
    text_add(text, "%s%s", name, suffix);
    if (labels.len || *more)
        text_add(text, "{%.*s%s%s}", (int)labels.len, labels.data, labels.len && *more ? "," : "",
                 more);
    text_add(text, " ");
}

void exposition_buckets(struct text *text, const char *name, struct slice labels,
                        const struct histogram *histogram, unsigned step)
{
    char end[32];
    uint64_t count = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS - 1; i++) {
        count += histogram->counts[i];
        if (i % step)
            continue;
        struct text le = text_in(end, sizeof end);
        text_add(&le, "le=\"");
        text_add_seconds(&le, 1ULL << i);
        text_add(&le, "\"");
        put_name(text, name, "_bucket", labels, end);
        text_add(text, "%" PRIu64 "\n", count);
    }
    count += histogram->counts[HISTOGRAM_BUCKETS - 1];
    put_name(text, name, "_bucket", labels, "le=\"+Inf\"");
    text_add(text, "%" PRIu64 "\n", count);
    put_name(text, name, "_sum", labels, "");
    text_add_seconds(text, histogram->sum_us);
    text_add(text, "\n");
    put_name(text, name, "_count", labels, "");
    text_add(text, "%" PRIu64 "\n", count);
}

void exposition_histogram(struct text *text, const char *name, const char *help,
                          const struct histogram *histogram)
{
    exposition_head(text, name, "histogram", help);
    exposition_buckets(text, name, SLICE(""), histogram, 1);
}
