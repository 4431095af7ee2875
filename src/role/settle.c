#include "role/settle.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "role/diff_list.h"

static void settle_ask(struct settle *settle);

static void side_free(struct settle_side *side)
{
    ask_free(&side->ask);
    free(side->body);
    side->body = NULL;
}

static void settle_rest(struct settle *settle)
{
    uint64_t now_us = settle->command->loop->now_us;
    settle->next_us = now_us + SETTLE_AGAIN_US;
    settle->state = settle->left == 0            ? SETTLE_SAME
                    : now_us >= settle->until_us ? SETTLE_APART
                                                 : SETTLE_RESTING;
}

static void mark(struct settle *settle, unsigned first, unsigned count)
{
    for (unsigned i = first; i < first + count; i++) {
        settle->left -= !settle->same[i];
        settle->same[i] = true;
    }
}

static bool is_marked(const struct settle *settle, unsigned group)
{
    for (unsigned i = 0; i < SETTLE_GROUP_SHARDS; i++)
        if (!settle->same[group * SETTLE_GROUP_SHARDS + i])
            return false;
    return true;
}

/* The next group that differs, or the end of this look. */
static void settle_next(struct settle *settle)
{
    if (settle->group_at == settle->group_count) {
        settle_rest(settle);
        return;
    }
    snprintf(settle->target, sizeof settle->target, "/-/digest/%02x",
             settle->groups[settle->group_at]);
    settle_ask(settle);
}

/* Returns whether both have told of so many parts, which are marked where they are the same. */
static bool compare_shards(struct settle *settle, struct slice a, struct slice b)
{
    unsigned first = settle->groups[settle->group_at++] * SETTLE_GROUP_SHARDS;
    struct slice left, right;
    for (unsigned i = 0; i < SETTLE_GROUP_SHARDS; i++) {
        if (!diff_next_digests(&a, &b, &left, &right))
            return false;
        if (slice_equal(left, right))
            mark(settle, first + i, 1);
    }
    return true;
}

static bool compare_groups(struct settle *settle, struct slice a, struct slice b)
{
    struct slice left, right;
    settle->group_at = settle->group_count = 0;
    if (!diff_next_digests(&a, &b, &left, &right)) /* that of all */
        return false;
    for (unsigned i = 0; i < STORE_GROUPS; i++) {
        if (!diff_next_digests(&a, &b, &left, &right))
            return false;
        if (slice_equal(left, right))
            mark(settle, i * SETTLE_GROUP_SHARDS, SETTLE_GROUP_SHARDS);
        else if (!is_marked(settle, i))
            settle->groups[settle->group_count++] = (uint8_t)i;
    }
    return true;
}

static void on_answer(struct ask *ask, unsigned status, struct slice body)
{
    struct settle_side *side = (struct settle_side *)ask;
    struct settle *settle = side->settle;
    free(side->body);
    side->body = status == 200 ? strndup(body.data, body.len) : NULL;
    if (--settle->pending > 0)
        return;
    bool whole = strcmp(settle->target, "/-/digest") == 0, fine = false;
    if (settle->a.body && settle->b.body)
        fine = (whole ? compare_groups : compare_shards)(settle, slice_of(settle->a.body),
                                                         slice_of(settle->b.body));
    if (fine)
        settle_next(settle);
    else
        settle->state = SETTLE_SILENT;
}

static void settle_ask(struct settle *settle)
{
    settle->state = SETTLE_ASKING;
    settle->pending = 2;
    ask_get(&settle->a.ask, settle->target, SETTLE_BYTES_MAX, on_answer);
    ask_get(&settle->b.ask, settle->target, SETTLE_BYTES_MAX, on_answer);
}

static int side_init(struct settle *settle, struct settle_side *side, struct upstreams *upstreams,
                     const struct address *address)
{
    char name[ADDRESS_TEXT_BYTES];
    struct command *command = settle->command;
    side->settle = settle;
    return ask_init(&side->ask, command->loop, upstreams, command->resolver,
                    address_format(address, name));
}

static void settle_look(struct settle *settle)
{
    snprintf(settle->target, sizeof settle->target, "/-/digest");
    settle_ask(settle);
}

int settle_start(struct settle *settle, struct command *command, struct upstreams *upstreams,
                 const struct address *a, const struct address *b, uint64_t until_us)
{
    settle_free(settle);
    settle->command = command;
    settle->until_us = until_us;
    settle->left = STORE_SHARDS;
    int error = side_init(settle, &settle->a, upstreams, a);
    if (!error)
        error = side_init(settle, &settle->b, upstreams, b);
    if (!error)
        settle_look(settle);
    return error;
}

enum settle_state settle_tick(struct settle *settle)
{
    if (settle->state == SETTLE_RESTING && settle->command->loop->now_us >= settle->next_us)
        settle_look(settle);
    return settle->state;
}

void settle_free(struct settle *settle)
{
    side_free(&settle->a);
    side_free(&settle->b);
    memset(settle, 0, sizeof *settle);
}
