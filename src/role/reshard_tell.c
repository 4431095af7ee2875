/* What resharding prints: where it has come to. */
#include <assert.h>
#include <stdio.h>

#include "base/text.h"
#include "role/reshard_state.h"

char *reshard_format(const struct reshard_told *told, bool terminal, char out[RESHARD_LINE_BYTES])
{
    struct text text = text_in(out, RESHARD_LINE_BYTES);
    if (told->pass == 0) { /* it has not begun */
        text_add(&text, "waits for %s", told->waiting);
        return out;
    }
    text_add(&text, "pass %u: ", told->pass);
    if (terminal && !told->waiting) /* its line has to fit it */
        bar_put(&text, told->permille);
    text_add(&text, "%u.%u %%, ", told->permille / 10, told->permille % 10);
    if (!terminal)
        text_add(&text, "%llu record%s, ", (unsigned long long)told->records,
                 text_plural(told->records));
    if (!terminal || !told->waiting)
        text_add(&text, "%llu new, %.1f MB/s", (unsigned long long)told->fresh,
                 (double)told->rate / 1e6);
    if (told->waiting)
        text_add(&text, "%swaits for %s", terminal ? "" : ", ", told->waiting);
    else
        bar_put_left(&text, told->elapsed_us, 0, told->permille, 0);
    return out;
}

static unsigned pass_permille(const struct reshard *reshard)
{
    uint64_t shards = 0, all = (uint64_t)reshard->config->from_count * STORE_SHARDS;
    assert(all > 0);
    for (unsigned i = 0; i < reshard->config->from_count; i++)
        shards += reshard->sources[i].done ? STORE_SHARDS : reshard->sources[i].shard;
    return (unsigned)(shards * 1000 / all);
}

void reshard_tell(struct reshard *reshard)
{
    char line[RESHARD_LINE_BYTES];
    const struct haul *haul = &reshard->haul;
    if (!bar_is_due(&reshard->haul.bar, haul->bytes))
        return;
    struct reshard_told told = {
        .pass = reshard->pass,
        .records = reshard->records,
        .fresh = reshard->fresh,
        .elapsed_us = haul->command->loop->now_us - reshard->pass_us,
        .rate = haul->bar.rate,
        .permille = pass_permille(reshard),
        .waiting = *haul->waiting ? haul->waiting : NULL,
    };
    bar_tell(&reshard->haul.bar, reshard_format(&told, haul->command->terminal, line));
}
