#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"
#include "role/diff_state.h"

/* Asking */

/* The answer to a HEAD gives no reason; side->body is of the one before. */
static void refuse(struct diff *diff, const struct diff_side *side)
{
    const char *body = side->body ? side->body : "";
    size_t len = strcspn(body, "\n");
    if (side->status == 0)
        command_fail(diff->command, COMMAND_UNREACHED, "%s %s.", side->ask.name, side->ask.trouble);
    else if (side->ask.head)
        command_fail(diff->command, COMMAND_UNREACHED, "%s answers to %.60s with %u.",
                     side->ask.name, side->target, side->status);
    else if (body[0] == '<')
        command_fail(diff->command, COMMAND_UNREACHED,
                     "%s is no Velour Fog: it answers to %.60s with %u, and with a page of HTML.",
                     side->ask.name, side->target, side->status);
    else
        command_fail(diff->command, COMMAND_UNREACHED, "%s answers to %.60s with %u: %.*s",
                     side->ask.name, side->target, side->status, len < 200 ? (int)len : 200, body);
}

/* The answer to a HEAD leaves what is there, as keys in hands point into it. */
static bool keep_body(struct diff_side *side, struct slice body)
{
    free(side->body);
    side->body = malloc(body.len + 1);
    side->len = side->body ? body.len : 0;
    if (!side->body)
        return false;
    if (body.len > 0)
        memcpy(side->body, body.data, body.len);
    side->body[body.len] = 0;
    return true;
}

static void on_members(struct diff *diff);

/* Who does not say whom it belongs to is asked for digests all the same: that answer says more. */
static bool is_refusal(const struct diff_side *side)
{
    if (side->status == 0)
        return true;
    if (side->diff->then == on_members)
        return false;
    return side->status != 200 && !(side->ask.head && side->status == 204);
}

static void on_answer(struct ask *ask, unsigned status, struct slice body)
{
    struct diff_side *side = (struct diff_side *)ask;
    struct diff *diff = side->diff;
    side->status = status;
    if (!ask->head && !keep_body(side, body))
        command_fail(diff->command, COMMAND_WRONG, "Out of memory.");
    else if (is_refusal(side))
        refuse(diff, side);
    if (--diff->pending == 0 && !diff->command->over)
        diff->then(diff);
}

static void side_ask(struct diff_side *side, bool head)
{
    side->diff->pending++;
    if (head)
        ask_head(&side->ask, side->target, on_answer);
    else
        ask_get(&side->ask, side->target, DIFF_LIST_BYTES_MAX, on_answer);
}

void diff_ask(struct diff *diff, bool a, bool b, bool head, void (*then)(struct diff *diff))
{
    diff->then = then;
    if (a)
        side_ask(&diff->a, head);
    if (b)
        side_ask(&diff->b, head);
}

static void ask_both(struct diff *diff, const char *target, void (*then)(struct diff *diff))
{
    snprintf(diff->a.target, sizeof diff->a.target, "%s", target);
    snprintf(diff->b.target, sizeof diff->b.target, "%s", target);
    diff_ask(diff, true, true, false, then);
}

/* Whether they are to hold the same */

/* The partition as its node says it, "I/N"; "-" when it holds all keys, or does not say. */
static struct slice partition_of(const struct diff_side *side)
{
    struct slice body = {side->body, side->len}, line;
    while (side->status == 200 && slice_next(&body, '\n', &line))
        if (slice_starts(line, SLICE("partition "))) {
            struct slice partition = {line.data + 10, line.len - 10};
            return slice_equal(partition, SLICE("0/1")) ? SLICE("-") : partition;
        }
    return SLICE("-");
}

static const char *print_partition(struct slice partition, char out[32])
{
    if (slice_equal(partition, SLICE("-")))
        return "all keys";
    snprintf(out, 32, "partition %.*s", partition.len < 20 ? (int)partition.len : 20,
             partition.data);
    return out;
}

static void on_all(struct diff *diff);

static void on_members(struct diff *diff)
{
    char a_room[32], b_room[32];
    struct slice a = partition_of(&diff->a), b = partition_of(&diff->b);
    if (!slice_equal(a, b))
        snprintf(diff->apart, sizeof diff->apart,
                 "%s holds %s, %s holds %s: each has keys of its own. Name two nodes of one "
                 "partition.\n",
                 diff->a.ask.name, print_partition(a, a_room), diff->b.ask.name,
                 print_partition(b, b_room));
    ask_both(diff, "/-/digest", on_all);
}

/* From the whole to shards */

/* Adds the numbers, from `first` on, of those of the next `count` digests that differ. What is not there is not the same: returns false
 * then, and the command has failed. */
static bool find_differing(struct diff *diff, struct slice a, struct slice b, unsigned first,
                           unsigned count, uint16_t *out, unsigned *out_count)
{
    struct slice left, right;
    for (unsigned i = 0; i < count; i++) {
        if (!diff_next_digests(&a, &b, &left, &right)) {
            command_fail(diff->command, COMMAND_UNREACHED,
                         "What %s or %s answers to GET %.40s is not known here.", diff->a.ask.name,
                         diff->b.ask.name, diff->a.target);
            return false;
        }
        if (!slice_equal(left, right))
            out[(*out_count)++] = (uint16_t)(first + i);
    }
    return true;
}

static void ask_group(struct diff *diff);

static void on_group(struct diff *diff)
{
    struct slice a = {diff->a.body, diff->a.len}, b = {diff->b.body, diff->b.len};
    unsigned first = diff->groups[diff->group_at++] * DIFF_GROUP_SHARDS;
    if (find_differing(diff, a, b, first, DIFF_GROUP_SHARDS, diff->shards, &diff->shard_count))
        ask_group(diff);
}

static void ask_group(struct diff *diff)
{
    char target[32];
    if (diff->group_at == diff->group_count) {
        diff_look(diff);
        return;
    }
    snprintf(target, sizeof target, "/-/digest/%02x", diff->groups[diff->group_at]);
    ask_both(diff, target, on_group);
}

static void read_records(struct diff *diff)
{
    const char *at = strstr(diff->a.body, " records ");
    diff->records = at ? strtoull(at + 9, NULL, 10) : 0;
}

static void on_all(struct diff *diff)
{
    struct slice a = {diff->a.body, diff->a.len}, b = {diff->b.body, diff->b.len}, left, right;
    read_records(diff);
    diff_next_digests(&a, &b, &left, &right); /* that of all */
    if (find_differing(diff, a, b, 0, DIFF_GROUPS, diff->groups, &diff->group_count))
        ask_group(diff);
}

void diff_finish(struct diff *diff)
{
    struct command *command = diff->command;
    unsigned long long named = diff->named, moving = diff->moving;
    bool rest = diff->end < diff->shard_count;
    if (named == 0)
        command_print(command, "%s and %s hold the same, %llu record%s.\n", diff->a.ask.name,
                      diff->b.ask.name, (unsigned long long)diff->records,
                      text_plural(diff->records));
    else
        command_print(command, "%llu key%s%s.\n", named, named == 1 ? " differs" : "s differ",
                      rest || named == command->options.limit ? ", and perhaps more (--limit)"
                                                              : "");
    if (moving > 0)
        command_print(command, "Writes are under way: %llu more key%s not the same just now.\n",
                      moving, moving == 1 ? " was" : "s were");
    if (diff->apart[0])
        command_print(command, "%s", diff->apart);
    command_end(command, named > 0 ? COMMAND_WRONG : COMMAND_FINE);
}

/* Life */

static void on_wait(struct loop_timer *timer)
{
    diff_look_again((struct diff *)(void *)((char *)timer - offsetof(struct diff, wait)));
}

static void side_free(struct diff_side *side)
{
    ask_free(&side->ask);
    free(side->body);
}

static void diff_destroy(void *state)
{
    struct diff *diff = state;
    side_free(&diff->a);
    side_free(&diff->b);
    if (diff->upstreams)
        upstreams_destroy(diff->upstreams);
    diff_list_free(&diff->a_list);
    diff_list_free(&diff->b_list);
    loop_timer_release(diff->command->loop, &diff->wait);
    free(diff->seen);
    free(diff);
}

static void diff_stop(void *state)
{
    struct diff *diff = state;
    command_fail(diff->command, COMMAND_WRONG, "Stopped.");
}

static int side_init(struct diff *diff, struct diff_side *side, const char *name)
{
    side->diff = diff;
    return ask_init(&side->ask, diff->command->loop, diff->upstreams, diff->command->resolver,
                    name);
}

static void *diff_start(struct command *command)
{
    struct diff *diff = calloc(1, sizeof *diff);
    if (!diff || loop_timer_reserve(command->loop) != 0) {
        free(diff);
        return NULL;
    }
    diff->command = command;
    diff->wait.on_time = on_wait;
    diff->upstreams = upstreams_new(command->loop);
    if (!diff->upstreams || side_init(diff, &diff->a, command->options.words[0]) != 0 ||
        side_init(diff, &diff->b, command->options.words[1]) != 0) {
        diff_destroy(diff);
        return NULL;
    }
    ask_both(diff, "/-/members", on_members);
    return diff;
}

const struct command_ops diff_command = {diff_start, diff_stop, diff_destroy};
