#include "role/cover.h"

#include <stdio.h>

static struct backend *member_at(const struct cover *cover, const struct address *address)
{
    const struct partition *partition = cover->source->contact.partition;
    for (unsigned i = 0; i < partition->usable_count; i++)
        if (address_equal(&partition->usable[i]->address, address))
            return partition->usable[i];
    return NULL;
}

static bool is_read(const struct cover *cover, unsigned i)
{
    const struct backend *member = member_at(cover, &cover->members[i]);
    return member && member->read_pass > 0;
}

static bool group_is_read(const struct cover *cover)
{
    for (unsigned i = 0; i < cover->count; i++)
        if (cover->same[i] && is_read(cover, i))
            return true;
    return false;
}

void cover_begin(struct cover *cover, struct haul *haul, struct upstreams *upstreams,
                 struct source *source)
{
    settle_free(&cover->settle);
    *cover = (struct cover){.haul = haul,
                            .upstreams = upstreams,
                            .source = source,
                            .since_us = haul->command->loop->now_us};
}

void cover_free(struct cover *cover)
{
    settle_free(&cover->settle);
}

/* Who is to be compared: once all have said whether they are ready, and the list is long enough for those of one cluster. */
static bool take_members(struct cover *cover)
{
    const struct partition *partition = cover->source->contact.partition;
    if (source_is_open(cover->source) || !contact_look(&cover->source->contact))
        return false;
    cover->since_us = cover->haul->command->loop->now_us;
    for (unsigned i = 0; i < partition->usable_count && i < COVER_MEMBERS_MAX; i++)
        cover->members[cover->count++] = partition->usable[i]->address;
    cover->same[0] = true;
    return true;
}

static void compare(struct cover *cover)
{
    if (settle_start(&cover->settle, cover->haul->command, cover->upstreams, &cover->members[0],
                     &cover->members[cover->at], cover->since_us + SETTLE_US) != 0)
        haul_fail(cover->haul, "Out of memory.");
}

static bool is_waiting(const struct cover *cover)
{
    return cover->settle.state == SETTLE_ASKING || cover->settle.state == SETTLE_RESTING;
}

/* One fellow after the other. */
static void compare_on(struct cover *cover)
{
    if (cover->at > 0) {
        settle_tick(&cover->settle);
        if (is_waiting(cover))
            return;
        cover->same[cover->at] = cover->settle.state == SETTLE_SAME;
    }
    cover->settled = ++cover->at == cover->count;
    if (!cover->settled)
        compare(cover);
}

bool cover_settle(struct cover *cover)
{
    struct haul *haul = cover->haul;
    if (cover->count > 0 || take_members(cover))
        compare_on(cover);
    if (!cover->settled && haul->command->loop->now_us - cover->since_us >= HAUL_PATIENCE_US &&
        !*haul->waiting)
        snprintf(haul->waiting, sizeof haul->waiting, "the nodes of %s to %s",
                 cover->source->contact.name, cover->count > 0 ? "agree" : "answer");
    if (!cover->settled)
        return false;
    settle_free(&cover->settle);
    cover->at = 0;
    cover->group = group_is_read(cover);
    return true;
}

bool cover_agrees(const struct cover *cover)
{
    for (unsigned i = 0; i < cover->count; i++)
        if (!cover->same[i])
            return false;
    return true;
}

/* One of those that have the same; the first one when none of them is there any more: then somebody else is read in its place, and that is
 * found out in the end. */
static const struct address *one_of_group(const struct cover *cover)
{
    for (unsigned i = 0; i < cover->count; i++)
        if (cover->same[i] && member_at(cover, &cover->members[i]))
            return &cover->members[i];
    return &cover->members[0];
}

const struct address *cover_next(struct cover *cover)
{
    if (!cover->group && !cover->tried) {
        cover->tried = true;
        return one_of_group(cover);
    }
    if (!cover->group) /* when it was lost, who went on is one of them, if all are */
        cover->group = cover_agrees(cover) || group_is_read(cover);
    for (; cover->at < cover->count; cover->at++)
        if (!cover->same[cover->at] && !is_read(cover, cover->at) &&
            member_at(cover, &cover->members[cover->at]))
            return &cover->members[cover->at++];
    return NULL;
}

static bool is_covered(const struct cover *cover, const struct backend *member)
{
    if (member->read_pass > 0)
        return true;
    for (unsigned i = 0; i < cover->count; i++)
        if (address_equal(&cover->members[i], &member->address))
            return cover->same[i] && cover->group;
    return false;
}

enum cover_state cover_state(const struct cover *cover)
{
    const struct partition *partition = cover->source->contact.partition;
    if (source_is_open(cover->source))
        return COVER_OPEN;
    for (unsigned i = 0; i < partition->usable_count && i < COVER_MEMBERS_MAX; i++)
        if (!is_covered(cover, partition->usable[i]))
            return COVER_MISSING;
    return COVER_WHOLE;
}
