/* What resharding prints: sentences, and where it has come to. */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/text.h"
#include "role/reshard_state.h"

enum {
    TELL_TERMINAL_US = 200 * 1000,
    TELL_LINES_US = 1000 * 1000,
    BAR_CELLS = 20,
};

static void put_bar(struct text *text, unsigned permille)
{
    text_add(text, "[");
    for (unsigned i = 0; i < BAR_CELLS; i++)
        text_add(text, "%c", i * 1000 < permille * BAR_CELLS ? '#' : '-');
    text_add(text, "] ");
}

static void put_left(struct text *text, const struct reshard_told *told)
{
    uint64_t left_s = told->elapsed_us / told->permille * (1000 - told->permille) / 1000000;
    if (left_s >= 120)
        text_add(text, ", %llu min left", (unsigned long long)left_s / 60);
    else
        text_add(text, ", %llu s left", (unsigned long long)left_s);
}

char *reshard_format(const struct reshard_told *told, bool terminal, char out[RESHARD_LINE_BYTES])
{
    struct text text = text_in(out, RESHARD_LINE_BYTES);
    text_add(&text, "%spass %u: ", terminal ? "\r" : "", told->pass);
    if (terminal)
        put_bar(&text, told->permille);
    text_add(&text, "%u.%u %%, %llu records, %llu new, %.1f MB/s", told->permille / 10,
             told->permille % 10, (unsigned long long)told->records,
             (unsigned long long)told->fresh, (double)told->rate / 1e6);
    if (told->waiting)
        text_add(&text, ", waits for %s", told->waiting);
    else if (told->permille > 0)
        put_left(&text, told);
    text_add(&text, "%s", terminal ? "\033[K" : "\n");
    return out;
}

void reshard_say(struct reshard *reshard, const char *format, ...)
{
    char text[RESHARD_FAILURE_BYTES];
    va_list arguments;
    if (reshard->line_open)
        reshard->config.print(reshard->config.context, "\n");
    reshard->line_open = false;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    reshard->config.print(reshard->config.context, text);
}

static unsigned pass_permille(const struct reshard *reshard)
{
    uint64_t shards = 0, all = (uint64_t)reshard->config.from_count * STORE_SHARDS;
    assert(all > 0);
    for (unsigned i = 0; i < reshard->config.from_count; i++)
        shards += reshard->sources[i].done ? STORE_SHARDS : reshard->sources[i].shard;
    return (unsigned)(shards * 1000 / all);
}

void reshard_tell(struct reshard *reshard)
{
    char line[RESHARD_LINE_BYTES];
    uint64_t now_us = reshard->loop->now_us, since_us = now_us - reshard->told_us;
    bool terminal = reshard->config.terminal;
    if (since_us < (terminal ? TELL_TERMINAL_US : TELL_LINES_US))
        return;
    reshard->rate = (reshard->all_bytes - reshard->told_bytes) * 1000000 / since_us;
    reshard->told_us = now_us;
    reshard->told_bytes = reshard->all_bytes;
    struct reshard_told told = {
        .pass = reshard->pass,
        .records = reshard->records,
        .bytes = reshard->bytes,
        .fresh = reshard->fresh,
        .elapsed_us = now_us - reshard->pass_us,
        .rate = reshard->rate,
        .permille = pass_permille(reshard),
        .waiting = *reshard->waiting ? reshard->waiting : NULL,
    };
    reshard->config.print(reshard->config.context, reshard_format(&told, terminal, line));
    reshard->line_open = terminal;
}
