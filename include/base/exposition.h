/* The text format 0.0.4 of Prometheus, into a text: what it calls exposition. A metric is its head, then its samples without anything in between;
 * the first functions write both. Names, help and labels are the program's own, and need no escape. */
#ifndef BASE_EXPOSITION_H
#define BASE_EXPOSITION_H

#include "base/histogram.h"
#include "base/text.h"

#define EXPOSITION_TYPE "text/plain; version=0.0.4; charset=utf-8"

void exposition_gauge(struct text *text, const char *name, const char *help, uint64_t value);
void exposition_counter(struct text *text, const char *name, const char *help, uint64_t value);

/* `type` is "gauge" or "counter"; `us` comes out in seconds, exactly. */
void exposition_seconds(struct text *text, const char *name, const char *type, const char *help,
                        uint64_t us);

void exposition_histogram(struct text *text, const char *name, const char *help,
                          const struct histogram *histogram);

/* A metric that has labels: its head, and each of its samples. `labels` is what stands between the braces. */
void exposition_head(struct text *text, const char *name, const char *type, const char *help);
void exposition_sample(struct text *text, const char *name, struct slice labels, uint64_t value);

/* The samples of one histogram, which may have no labels. Of its buckets each `step`th is told, and the last one: fewer of them for what
 * there are many of. */
void exposition_buckets(struct text *text, const char *name, struct slice labels,
                        const struct histogram *histogram, unsigned step);

#endif
