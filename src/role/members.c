#include "role/members.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/digits.h"

int members_init(struct members *members, uint64_t id, uint64_t stamp)
{
    struct member self = {.id = id, .stamp = stamp, .is_self = true};
    *members = (struct members){0};
    members->list = malloc(sizeof(struct member *));
    struct member *own = malloc(sizeof *own);
    if (!members->list || !own) {
        free(members->list);
        free(own);
        *members = (struct members){0};
        return -ENOMEM;
    }
    *own = self;
    members->list[0] = own;
    members->count = members->room = 1;
    return 0;
}

void members_free(struct members *members)
{
    for (unsigned i = 0; i < members->count; i++)
        free(members->list[i]);
    free(members->list);
    *members = (struct members){0};
}

struct member *members_self(const struct members *members)
{
    return members->list[0];
}

struct member *members_find(const struct members *members, uint64_t id)
{
    for (unsigned i = 0; i < members->count; i++)
        if (members->list[i]->id == id)
            return members->list[i];
    return NULL;
}

struct member *members_seek(struct members *members, uint64_t id)
{
    unsigned at = members->near;
    for (unsigned i = 0; i < members->count; i++, at++) {
        if (at >= members->count)
            at = 0;
        if (members->list[at]->id != id)
            continue;
        members->near = at;
        return members->list[at];
    }
    return NULL;
}

/* Whether `a` counts rather than `b`, which has the same address. */
static bool member_wins(const struct member *a, const struct member *b)
{
    return a->stamp != b->stamp ? a->stamp > b->stamp : a->id > b->id;
}

struct member *members_at(const struct members *members, const struct address *address)
{
    struct member *found = NULL;
    for (unsigned i = 0; i < members->count; i++) {
        struct member *member = members->list[i];
        if (member->state == MEMBER_HERE && address_equal(&member->address, address) &&
            (!found || member_wins(member, found)))
            found = member;
    }
    return found;
}

struct member *members_replaced_by(const struct members *members, const struct member *member)
{
    struct member *other = members_at(members, &member->address);
    return other == member ? NULL : other;
}

bool members_counts(const struct members *members, const struct member *member)
{
    return member->state == MEMBER_HERE && members_at(members, &member->address) == member;
}

unsigned members_here(const struct members *members)
{
    unsigned here = 0;
    for (unsigned i = 0; i < members->count; i++)
        here += members_counts(members, members->list[i]);
    return here;
}

void member_go(struct member *member, enum member_state state, uint64_t wall_us)
{
    member->state = state;
    member->gone_us = wall_us;
}

/* The member that has left first, of those that can be forgotten; 0, which is this node itself, when there is none. One that was
 * dropped may come back with what was deleted since, so it stays. */
static unsigned left_first(const struct members *members)
{
    unsigned first = 0;
    for (unsigned i = 1; i < members->count; i++) {
        const struct member *member = members->list[i];
        if (member->state == MEMBER_LEFT && !member->peer &&
            (!first || member->gone_us < members->list[first]->gone_us))
            first = i;
    }
    return first;
}

/* Forgets one before its time, for one that is here. Returns whether there is room. */
static bool members_make_room(struct members *members)
{
    unsigned first = left_first(members);
    if (!first)
        return false;
    struct member **place = &members->list[first];
    free(*place);
    members->count--;
    memmove(place, place + 1, (members->count - first) * sizeof *place);
    return true;
}

static bool members_add(struct members *members, const struct member *said)
{
    if (members->count == MEMBERS_MAX &&
        (said->state != MEMBER_HERE || !members_make_room(members)))
        return false;
    if (members->count == members->room) {
        unsigned room = members->room * 2 < MEMBERS_MAX ? members->room * 2 : MEMBERS_MAX;
        struct member **list =
            room > members->room ? realloc(members->list, room * sizeof(struct member *)) : NULL;
        if (!list)
            return false;
        members->list = list;
        members->room = room;
    }
    struct member *member = malloc(sizeof *member);
    if (!member)
        return false;
    *member = *said;
    member->is_self = false;
    member->replaced_us = 0;
    member->outbid = false;
    member->peer = NULL;
    members->list[members->count++] = member;
    return true;
}

bool members_merge(struct members *members, const struct member *said)
{
    struct member *member = members_seek(members, said->id);
    if (!member)
        return members_add(members, said);
    if (member->is_self)
        return false;
    if (said->heard_us > member->heard_us)
        member->heard_us = said->heard_us;
    if (said->joining_us > member->joining_us)
        member->joining_us = said->joining_us;
    bool moved = said->stamp > member->stamp;
    if (moved) {
        member->stamp = said->stamp;
        member->address = said->address;
    }
    bool goes = said->state > member->state;
    if (goes) {
        member->state = said->state;
        member->gone_us = said->gone_us;
    }
    return moved || goes;
}

void members_forget(struct members *members, uint64_t before_us)
{
    unsigned kept = 1;
    for (unsigned i = 1; i < members->count; i++) {
        struct member *member = members->list[i];
        if (member->state == MEMBER_HERE || member->gone_us >= before_us || member->peer)
            members->list[kept++] = member;
        else
            free(member);
    }
    members->count = kept;
}

/* Text */

static const char *const phases[] = {"joining", "ready", "leaving"};
static const char *const states[] = {"here", "left", "dropped"};

const char *phase_name(enum member_phase phase)
{
    return phases[phase];
}

const char *member_phase_name(const struct member *member)
{
    return member->state == MEMBER_HERE ? phases[member->phase] : states[member->state];
}

static void put_number(struct text *out, uint64_t number)
{
    char digits[1 + DIGITS_DECIMAL_MAX] = " ";
    text_add_slice(out, (struct slice){digits, 1 + digits_decimal(number, digits + 1)});
}

/* Of every member in every hello: without printf, which would take most of the time that a hello takes. */
void member_print(const struct member *member, bool is_down, uint64_t now_us, struct text *out)
{
    char address[ADDRESS_TEXT_BYTES];
    uint64_t ago_us = now_us > member->heard_us ? now_us - member->heard_us : 0;
    const char *phase =
        is_down && member->state == MEMBER_HERE ? "down" : member_phase_name(member);
    char id[DIGITS_HEX];
    digits_hex(member->id, id);
    text_add_slice(out, SLICE("member "));
    text_add_slice(out, slice_of(address_format(&member->address, address)));
    text_add_slice(out, SLICE(" "));
    text_add_slice(out, slice_of(phase));
    text_add_slice(out, SLICE(" "));
    text_add_slice(out, (struct slice){id, sizeof id});
    put_number(out, member->stamp);
    put_number(out, member->gone_us);
    put_number(out, member->is_self ? 0 : ago_us / 1000);
    text_add_slice(out, SLICE("\n"));
}

static int phase_parse(struct slice word, struct member *said)
{
    for (unsigned i = 0; i < sizeof phases / sizeof *phases; i++)
        if (slice_equal(word, slice_of(phases[i]))) {
            said->phase = (enum member_phase)i;
            return 0;
        }
    if (slice_equal(word, SLICE("down")))
        return 0;
    for (unsigned i = MEMBER_LEFT; i <= MEMBER_DROPPED; i++)
        if (slice_equal(word, slice_of(states[i]))) {
            said->state = (enum member_state)i;
            return 0;
        }
    return -EINVAL;
}

/* As slice_next, for words that have one blank between them and no quotes: a node reads some thousands of them a second. */
static struct slice next_word(struct slice *rest)
{
    struct slice word = {rest->data, 0};
    while (word.len < rest->len && word.data[word.len] != ' ')
        word.len++;
    size_t used = word.len + (word.len < rest->len);
    rest->data += used;
    rest->len -= used;
    return word;
}

int member_parse(struct slice line, uint64_t now_us, struct member *said)
{
    struct slice word[7];
    unsigned long long stamp, gone, ago_ms;
    *said = (struct member){0};
    for (unsigned i = 0; i < 7; i++)
        word[i] = next_word(&line);
    if (!slice_equal(word[0], SLICE("member")) || address_parse(word[1], &said->address) != 0 ||
        phase_parse(word[2], said) != 0 || !slice_hex(word[3], &said->id) || said->id == 0 ||
        !slice_number(word[4], UINT64_MAX, &stamp) || !slice_number(word[5], UINT64_MAX, &gone) ||
        !slice_number(word[6], UINT64_MAX / 1000, &ago_ms))
        return -EINVAL;
    said->stamp = stamp;
    said->gone_us = said->state == MEMBER_HERE ? 0 : gone;
    said->heard_us = now_us > ago_ms * 1000 ? now_us - ago_ms * 1000 : 0;
    said->joining_us = slice_equal(word[2], SLICE("joining")) ? said->heard_us : 0;
    return 0;
}
