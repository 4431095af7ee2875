/* What is known of each write: which versions it was seen with, and since when. With nodes whose clocks agree, what began after
 * something was known is newer than it, however often either of them was tried. */
#include <stdio.h>
#include <stdlib.h>

#include "data/record.h"
#include "fleet.h"

enum {
    SECOND = 1000 * 1000,
    ESTIMATE_US = 2 * SECOND, /* how well a front-end knows its nodes' clock at worst */
    DEATH_SEEN_US = SECOND,   /* after it, all who ask know that a node has died */
    SOUND_US = 5 * SECOND,    /* after it, all know that a node is well */
};

typedef unsigned long long ull;

static void *grow(void *list, unsigned count, unsigned *room, size_t size)
{
    if (count < *room)
        return list;
    *room = *room ? 2 * *room : 64;
    list = realloc(list, *room * size);
    if (!list)
        abort();
    return list;
}

struct fleet_write *fleet_write_new(struct fleet *fleet, unsigned key)
{
    struct fleet_write *write = calloc(1, sizeof *write);
    if (!write)
        abort();
    fleet->writes =
        grow(fleet->writes, fleet->write_count, &fleet->write_room, sizeof *fleet->writes);
    write->key = key;
    write->id = fleet->write_count;
    write->begun_us = fleet->world.now_us;
    fleet->writes[fleet->write_count++] = write;
    fleet->world.counts.writes++;
    return write;
}

static void floor_raise(struct fleet *fleet, struct fleet_key *key, uint64_t version)
{
    if (key->floor_count && key->floors[key->floor_count - 1].version >= version)
        return;
    key->floors = grow(key->floors, key->floor_count, &key->floor_room, sizeof *key->floors);
    key->floors[key->floor_count++] = (struct fleet_floor){fleet->world.now_us, version};
}

/* The largest version that was known at a time. */
static uint64_t floor_at(const struct fleet_key *key, uint64_t at_us)
{
    for (unsigned i = key->floor_count; i > 0; i--)
        if (key->floors[i - 1].at_us < at_us)
            return key->floors[i - 1].version;
    return 0;
}

static uint64_t latest_of(const struct fleet_write *write)
{
    uint64_t latest = 0;
    for (unsigned i = 0; i < write->version_count; i++)
        latest = write->versions[i] > latest ? write->versions[i] : latest;
    return latest;
}

/* Whether none of them was known when the other one was begun. */
static bool are_concurrent(const struct fleet_write *a, const struct fleet_write *b)
{
    bool a_first = a->known_us && a->known_us < b->begun_us;
    bool b_first = b->known_us && b->known_us < a->begun_us;
    return !a_first && !b_first;
}

/* No two writes of a key have the same version, unless they were under way at once: one that is tried again has the time of its first
 * try, which may be, to the microsecond, that of one which a node has versioned. Then the order of records says which one wins. */
static void check_unique(struct fleet *fleet, const struct fleet_write *write, uint64_t version,
                         const char *who)
{
    for (unsigned i = 0; i < fleet->write_count; i++) {
        const struct fleet_write *other = fleet->writes[i];
        if (other == write || other->key != write->key || are_concurrent(write, other))
            continue;
        for (unsigned v = 0; v < other->version_count; v++)
            if (other->versions[v] == version)
                world_fail(&fleet->world,
                           "%s: version %llu of key %u is of write %u, and of write %u", who,
                           (ull)version, write->key, write->id, other->id);
    }
}

/* A write that is tried again must not come back over one that was begun when it was known already. Nodes' clocks agree here. */
static void check_not_revived(struct fleet *fleet, const struct fleet_write *write,
                              uint64_t version, const char *who)
{
    if (!write->known_us || version < fleet->offset_us + write->known_us)
        return;
    for (unsigned i = 0; i < fleet->write_count; i++) {
        const struct fleet_write *later = fleet->writes[i];
        if (later->key == write->key && later->known_us && later->begun_us > write->known_us &&
            version > latest_of(later))
            world_fail(
                &fleet->world,
                "%s: write %u of key %u comes back with version %llu over write %u, which was "
                "begun after it and had %llu",
                who, write->id, write->key, (ull)version, later->id, (ull)latest_of(later));
    }
}

/* A delete that is sent twice to a key that has a version of the future, and is deleted, is answered with that version: whether it was carried
 * out cannot be told, and does not matter. */
static bool may_share(const struct fleet *fleet, const struct fleet_write *write,
                      const struct fleet_write *later)
{
    return (fleet->ahead || fleet->troubles.skewed) && write->tombstone && later->tombstone;
}

/* What a client has sent behind a write of the same key is the later one, though it did not wait for the answer. (One whose answer was 502
 * may still be carried out.) */
static void check_order(struct fleet *fleet, const struct fleet_write *write, uint64_t version,
                        const char *who)
{
    const struct fleet_write *before = write->before;
    if (before && before->acked && version <= latest_of(before) &&
        !(version == latest_of(before) && may_share(fleet, before, write)))
        world_fail(&fleet->world, "%s: write %u of key %u has version %llu, and %u before it %llu",
                   who, write->id, write->key, (ull)version, before->id, (ull)latest_of(before));
    for (unsigned i = write->id + 1; i < fleet->write_count; i++) {
        const struct fleet_write *later = fleet->writes[i];
        if (later->before == write && write->acked && later->known_us &&
            version >= latest_of(later) &&
            !(version == latest_of(later) && may_share(fleet, write, later)))
            world_fail(&fleet->world,
                       "%s: write %u of key %u comes back with version %llu over write %u, which "
                       "its client sent behind it and had %llu",
                       who, write->id, write->key, (ull)version, later->id, (ull)latest_of(later));
    }
}

void fleet_write_known(struct fleet *fleet, struct fleet_write *write, uint64_t version,
                       const char *who)
{
    for (unsigned i = 0; i < write->version_count; i++)
        if (write->versions[i] == version)
            return;
    if (fleet_is_ordered(fleet)) {
        check_unique(fleet, write, version, who);
        check_not_revived(fleet, write, version, who);
        check_order(fleet, write, version, who);
    }
    if (write->version_count < FLEET_VERSIONS_MAX)
        write->versions[write->version_count++] = version;
    if (!write->known_us)
        write->known_us = fleet->world.now_us;
    floor_raise(fleet, &fleet->keys[write->key], version);
}

static bool is_of_delete(const struct fleet *fleet, const struct fleet_write *write,
                         uint64_t version)
{
    for (unsigned i = 0; i < fleet->write_count; i++) {
        const struct fleet_write *other = fleet->writes[i];
        for (unsigned v = 0; v < other->version_count; v++)
            if (other != write && other->key == write->key && other->tombstone &&
                other->versions[v] == version)
                return true;
    }
    return false;
}

void fleet_write_acked(struct fleet *fleet, struct fleet_write *write, uint64_t version,
                       const char *who)
{
    uint64_t slack_us = fleet->strict || fleet->gentle ? ESTIMATE_US / 20 : ESTIMATE_US;
    uint64_t since_us = write->begun_us > slack_us ? write->begun_us - slack_us : 0;
    uint64_t floor = floor_at(&fleet->keys[write->key], since_us);
    /* A delete that is tried again, of what another one had deleted in the future. */
    if (fleet->ahead && write->tombstone && version == floor &&
        is_of_delete(fleet, write, version)) {
        write->acked = true;
        write->acked_us = fleet->world.now_us;
        return;
    }
    if (fleet_is_ordered(fleet) && version <= floor)
        world_fail(
            &fleet->world,
            "%s: write %u of key %u is answered with version %llu, but %llu was known before "
            "it began",
            who, write->id, write->key, (ull)version, (ull)floor);
    write->acked = true;
    write->acked_us = fleet->world.now_us;
    fleet_write_known(fleet, write, version, who);
}

static bool has(struct fleet *fleet, const struct fleet_process *process,
                const struct fleet_write *write)
{
    const struct record *record = fleet_record_at(fleet, process, write->key);
    return record && record->version >= latest_of(write);
}

/* Once keys have moved, only where they are now counts. */
static bool someone_has(struct fleet *fleet, const struct fleet_process *but,
                        const struct fleet_write *write)
{
    const struct fleet_move *move = &fleet->move;
    for (unsigned i = 0; i < FLEET_NODES_MAX; i++) {
        const struct fleet_process *process = &fleet->processes[i];
        bool counts = !move->proven || fleet_side_of(fleet, process->cluster) == move->proven_side;
        if (process != but && process->running && counts && has(fleet, process, write))
            return true;
    }
    return false;
}

void fleet_history_death(struct fleet *fleet, const struct fleet_process *dying)
{
    unsigned side = fleet_side_of(fleet, dying->cluster);
    for (unsigned i = 0; i < fleet->write_count; i++) {
        struct fleet_write *write = fleet->writes[i];
        if (has(fleet, dying, write))
            write->lost_us[side] = fleet->world.now_us;
        if (fleet->keys[write->key].home[side] == dying->cluster && !write->excused &&
            !someone_has(fleet, dying, write))
            write->excused = true;
    }
}

/* Somebody who could be asked, and for long enough. */
static const struct fleet_process *sound_holder(struct fleet *fleet, unsigned side,
                                                const struct fleet_write *write)
{
    for (unsigned i = 0; i < FLEET_NODES_MAX; i++) {
        const struct fleet_process *process = &fleet->processes[i];
        if (process->running && fleet_side_of(fleet, process->cluster) == side &&
            process->sound_us && process->sound_us + SOUND_US < fleet->world.now_us &&
            has(fleet, process, write))
            return process;
    }
    return NULL;
}

/* Each old node is read in two passes on end, or has the same as one that was, and each pass gives to another member of a new cluster than
 * the one before: so two have it, where two could be asked all the time, and one of them may be lost from here on. */
static void check_second(struct fleet *fleet, unsigned side, const struct fleet_write *write)
{
    uint64_t run_us = fleet->move.run_us;
    unsigned able = 0, have = 0;
    if (!write->acked || write->acked_us > run_us || write->lost_us[side] >= run_us ||
        !sound_holder(fleet, 1 - side, write))
        return;
    for (unsigned i = 0; i < FLEET_NODES_MAX; i++) {
        const struct fleet_process *process = &fleet->processes[i];
        if (!process->running || process->cluster != fleet->keys[write->key].home[side])
            continue;
        able += process->sound_us && process->sound_us + SOUND_US < run_us;
        have += has(fleet, process, write);
    }
    if (able >= 2 && have < 2)
        world_fail(&fleet->world,
                   "all keys are said to have moved, but write %u of key %u was given to one node "
                   "alone",
                   write->id, write->key);
}

/* Of one version, both sides say the same: value, type, and when it expires. */
static void check_same(struct fleet *fleet, unsigned key, const struct fleet_process *a,
                       const struct fleet_process *b)
{
    const struct record *one = fleet_record_at(fleet, a, key);
    const struct record *other = fleet_record_at(fleet, b, key);
    if (one && other && one->version == other->version && !record_is_tombstone(one) &&
        !record_is_tombstone(other) && record_compare(one, other) != 0)
        world_fail(&fleet->world, "key %u of version %llu is not the same on %s and %s", key,
                   (ull)one->version, a->process.host.name, b->process.host.name);
}

static void check_all_same(struct fleet *fleet)
{
    for (unsigned i = 0; i < FLEET_NODES_MAX; i++)
        for (unsigned j = 0; j < i; j++)
            for (unsigned key = 0; key < fleet->key_count; key++)
                if (fleet->processes[i].running && fleet->processes[j].running &&
                    fleet->processes[i].cluster != fleet->processes[j].cluster)
                    check_same(fleet, key, &fleet->processes[i], &fleet->processes[j]);
}

void fleet_history_moved(struct fleet *fleet, unsigned to)
{
    fleet->move.proven = true;
    fleet->move.proven_side = to;
    if (!fleet->troubles.skewed)
        check_all_same(fleet);
    for (unsigned i = 0; i < fleet->write_count; i++) {
        struct fleet_write *write = fleet->writes[i];
        check_second(fleet, to, write);
        /* Who has died just now may have been given it, and nobody can know yet. */
        bool just_lost =
            write->lost_us[to] && fleet->world.now_us < write->lost_us[to] + DEATH_SEEN_US;
        if (write->excused || just_lost || someone_has(fleet, NULL, write))
            continue;
        const struct fleet_process *holder =
            write->acked ? sound_holder(fleet, 1 - to, write) : NULL;
        if (holder)
            world_fail(&fleet->world,
                       "all keys are said to have moved, but write %u of key %u is on %s alone", i,
                       write->key, holder->process.host.name);
        write->excused = true;
    }
}
