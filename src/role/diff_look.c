/* Shards looked at twice. What was seen at first is kept as digests, 48 bytes a key, so that what the second look sees otherwise is
 * known to be moving, unless one side still lacks what the other one had then. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"
#include "data/hash.h"
#include "role/diff_state.h"

static void drop_lists(struct diff *diff)
{
    diff_list_free(&diff->a_list);
    diff_list_free(&diff->b_list);
}

/* The two lists that have come. Returns false when they make no sense. */
static bool take_lists(struct diff *diff)
{
    int a = diff_list_read(&diff->a_list, (struct slice){diff->a.body, diff->a.len});
    int b = diff_list_read(&diff->b_list, (struct slice){diff->b.body, diff->b.len});
    diff->walk = (struct diff_walk){.a = &diff->a_list, .b = &diff->b_list};
    if (a == 0 && b == 0)
        return true;
    drop_lists(diff);
    if (a == -ENOMEM || b == -ENOMEM)
        command_fail(diff->command, COMMAND_WRONG, "Out of memory.");
    else
        command_fail(diff->command, COMMAND_UNREACHED,
                     "What %s answers to GET %.40s is not known here.",
                     (a ? &diff->a : &diff->b)->ask.name, diff->a.target);
    return false;
}

static void ask_shard(struct diff *diff, void (*then)(struct diff *diff))
{
    unsigned shard = diff->shards[diff->shard_at];
    snprintf(diff->a.target, sizeof diff->a.target, "/-/digest/%02x/%02x",
             shard / DIFF_GROUP_SHARDS, shard % DIFF_GROUP_SHARDS);
    memcpy(diff->b.target, diff->a.target, 32);
    diff_ask(diff, true, true, false, then);
}

static uint64_t version_of(const struct diff_line *line)
{
    return line ? line->version : 0;
}

static uint64_t newer_version(const struct diff *diff)
{
    uint64_t a = version_of(diff->a_line), b = version_of(diff->b_line);
    return a > b ? a : b;
}

static uint64_t older_version(const struct diff *diff)
{
    uint64_t a = version_of(diff->a_line), b = version_of(diff->b_line);
    return a < b ? a : b;
}

/* The difference in hands. */
static struct diff_seen what_is_seen(const struct diff *diff)
{
    struct slice key = diff->a_line ? diff->a_line->key : diff->b_line->key;
    return (struct diff_seen){
        .shard = diff->shards[diff->shard_at],
        .key = hash_bytes(key.data, key.len),
        .a_digest = diff->a_line ? diff->a_line->digest : 0,
        .b_digest = diff->b_line ? diff->b_line->digest : 0,
        .newer = newer_version(diff),
    };
}

/* The first look */

static bool remember(struct diff *diff)
{
    if (diff->seen_count == diff->seen_room) {
        unsigned room = diff->seen_room ? diff->seen_room * 2 : 64;
        struct diff_seen *seen =
            room <= DIFF_SEEN_MAX ? realloc(diff->seen, room * sizeof *seen) : NULL;
        if (!seen) {
            command_fail(diff->command, COMMAND_WRONG, "Out of memory.");
            return false;
        }
        diff->seen = seen;
        diff->seen_room = room;
    }
    diff->seen[diff->seen_count++] = what_is_seen(diff);
    return true;
}

static bool has_enough(const struct diff *diff)
{
    uint64_t wanted = diff->command->options.limit - diff->named;
    return diff->shard_at == diff->shard_count || diff->seen_count >= DIFF_SEEN_PER_LOOK ||
           diff->seen_count >= 2 * wanted;
}

static void look_on(struct diff *diff);

static void on_first(struct diff *diff)
{
    if (!take_lists(diff))
        return;
    while (diff_walk_next(&diff->walk, &diff->a_line, &diff->b_line))
        if (!remember(diff))
            return;
    drop_lists(diff);
    diff->shard_at++;
    look_on(diff);
}

static void look_on(struct diff *diff)
{
    if (!has_enough(diff)) {
        ask_shard(diff, on_first);
        return;
    }
    diff->end = diff->shard_at;
    diff->shard_at = diff->first;
    loop_timer_set(diff->command->loop, &diff->wait, diff->command->loop->now_us + DIFF_WAIT_US);
}

void diff_look(struct diff *diff)
{
    if (diff->shard_at == diff->shard_count || diff->named == diff->command->options.limit) {
        diff_finish(diff);
        return;
    }
    diff->first = diff->shard_at;
    diff->seen_count = 0;
    look_on(diff);
}

/* The second look */

static void print_side(const struct diff *diff, const struct diff_side *side,
                       const struct diff_line *line, struct slice key, bool is_a)
{
    bool colours = diff->command->colours;
    char what[96];
    if (!line)
        snprintf(what, sizeof what, "absent");
    else if (line->deleted)
        snprintf(what, sizeof what, "deleted, version %llu", (unsigned long long)line->version);
    else if (side->status == 204)
        snprintf(what, sizeof what, "expired, version %llu", (unsigned long long)line->version);
    else
        snprintf(what, sizeof what, "%llu byte%s, version %llu",
                 (unsigned long long)side->ask.fetch.content_length,
                 text_plural(side->ask.fetch.content_length), (unsigned long long)line->version);
    command_print(diff->command, "%s%c %.*s  %s%s\n",
                  !colours ? ""
                  : is_a   ? "\033[31m"
                           : "\033[32m",
                  is_a ? '-' : '+', (int)key.len, key.data, what, colours ? "\033[0m" : "");
}

static void print_heads(const struct diff *diff)
{
    const char *bold = diff->command->colours ? "\033[1m" : "";
    const char *plain = diff->command->colours ? "\033[0m" : "";
    command_print(diff->command, "%s--- %s%s\n%s+++ %s%s\n", bold, diff->a.ask.name, plain, bold,
                  diff->b.ask.name, plain);
}

static void name_key(struct diff *diff)
{
    struct slice key = diff->a_line ? diff->a_line->key : diff->b_line->key;
    if (diff->named++ == 0)
        print_heads(diff);
    print_side(diff, &diff->a, diff->a_line, key, true);
    print_side(diff, &diff->b, diff->b_line, key, false);
}

static void walk_on(struct diff *diff);

static void on_sized(struct diff *diff)
{
    name_key(diff);
    walk_on(diff);
}

/* How long the values are, only their nodes know. Returns false when there are none. */
static bool ask_sizes(struct diff *diff)
{
    struct slice key = diff->a_line ? diff->a_line->key : diff->b_line->key;
    bool a = diff->a_line && !diff->a_line->deleted, b = diff->b_line && !diff->b_line->deleted;
    int len = key.len < DIFF_TARGET_BYTES - 2 ? (int)key.len : DIFF_TARGET_BYTES - 2;
    snprintf(diff->a.target, sizeof diff->a.target, "/%.*s", len, key.data);
    memcpy(diff->b.target, diff->a.target, sizeof diff->b.target);
    diff_ask(diff, a, b, true, on_sized);
    return a || b;
}

/* Whether it is as it was, or one side lacks what the other one had a second ago, however often that was written since. */
static bool is_still_so(const struct diff *diff, const struct diff_seen *then)
{
    const struct diff_seen now = what_is_seen(diff);
    bool unchanged = then->a_digest == now.a_digest && then->b_digest == now.b_digest;
    return unchanged || older_version(diff) < then->newer;
}

static bool was_seen(struct diff *diff)
{
    const struct diff_seen now = what_is_seen(diff);
    for (unsigned i = 0; i < diff->seen_count; i++) {
        struct diff_seen *seen = &diff->seen[i];
        if (seen->key == now.key && seen->shard == now.shard && is_still_so(diff, seen))
            return seen->again = true;
    }
    return false;
}

static void again_on(struct diff *diff);

/* Up to the next key whose sizes have to be asked for. */
static void walk_on(struct diff *diff)
{
    while (diff->named < diff->command->options.limit &&
           diff_walk_next(&diff->walk, &diff->a_line, &diff->b_line)) {
        if (!was_seen(diff))
            continue;
        if (ask_sizes(diff))
            return;
        name_key(diff);
    }
    drop_lists(diff);
    diff->shard_at++;
    again_on(diff);
}

static void on_second(struct diff *diff)
{
    if (!take_lists(diff))
        return;
    walk_on(diff);
}

static bool has_seen(const struct diff *diff, uint32_t shard)
{
    for (unsigned i = 0; i < diff->seen_count; i++)
        if (diff->seen[i].shard == shard)
            return true;
    return false;
}

/* What the first look saw and the second one did not see again was on its way. */
static void end_round(struct diff *diff)
{
    bool all = diff->named < diff->command->options.limit;
    for (unsigned i = 0; all && i < diff->seen_count; i++)
        diff->moving += !diff->seen[i].again;
    diff->shard_at = diff->end;
    diff_look(diff);
}

static void again_on(struct diff *diff)
{
    while (diff->shard_at < diff->end && !has_seen(diff, diff->shards[diff->shard_at]))
        diff->shard_at++;
    if (diff->shard_at == diff->end || diff->named == diff->command->options.limit)
        end_round(diff);
    else
        ask_shard(diff, on_second);
}

void diff_look_again(struct diff *diff)
{
    again_on(diff);
}
