/* What a backup must have: of each key no less than was known to be on all its nodes when it was begun, and nothing that nobody wrote. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/record.h"
#include "fleet.h"
#include "role/archive.h"

enum { HEAD_BYTES = 200 }; /* more than the first note has */

typedef unsigned long long ull;

static struct fleet_operator *operator_of(struct fleet *fleet)
{
    return &fleet->op;
}

void fleet_archive_path(const struct fleet *fleet, char out[96])
{
    snprintf(out, 96, "%s/fog.backup", fleet->op.folder);
}

bool fleet_archive_covers(const struct fleet *fleet, unsigned cluster)
{
    const struct fleet_operator *op = &fleet->op;
    unsigned side = fleet_side_of(fleet, cluster);
    return op->partition == op->partitions ||
           op->partition == cluster - fleet_side_first(fleet, side);
}

/* A cluster's first node. */
static const struct fleet_process *first_of(const struct fleet *fleet, unsigned cluster)
{
    return &fleet->processes[cluster * FLEET_CLUSTER_MAX];
}

/* The cluster that a key is in, once it has moved. */
static unsigned home_of(const struct fleet *fleet, unsigned key)
{
    const unsigned *home = fleet->keys[key].home;
    return fleet_is_retired(fleet, home[0]) ? home[1] : home[0];
}

void fleet_archive_expect(struct fleet *fleet, bool quiet)
{
    struct fleet_operator *op = operator_of(fleet);
    memset(op->saved, 0, sizeof op->saved);
    for (unsigned i = 0; i < fleet->key_count; i++) {
        const struct fleet_key *key = &fleet->keys[i];
        struct fleet_saved *saved = &op->saved[i];
        const struct record *record =
            quiet ? fleet_record_at(fleet, first_of(fleet, home_of(fleet, i)), i) : NULL;
        saved->disturbed = fleet_key_disturbed(fleet, key);
        if (record) {
            saved->version = record->version;
            saved->digest = record_expires_us(record) ? 0 : record_digest(record);
        } else if (!quiet && !fleet->moves && key->everywhere_disturbed == saved->disturbed) {
            saved->version = key->everywhere;
        }
    }
}

void fleet_archive_tear(struct fleet *fleet)
{
    char path[96], part[128];
    fleet_archive_path(fleet, path);
    snprintf(part, sizeof part, "%s.part", path);
    FILE *file = fopen(part, "r+");
    if (!file)
        return;
    fseek(file, 0, SEEK_END);
    long bytes = ftell(file);
    uint64_t left = rng_below(&operator_of(fleet)->rng, (uint64_t)bytes + 1);
    if (left < HEAD_BYTES) /* it goes to the disk in one piece with what follows it */
        left = 0;
    if (ftruncate(fileno(file), (off_t)left) != 0)
        abort();
    fclose(file);
}

/* A record that is in it: somebody must have written that. */
static void note_record(struct fleet *fleet, const struct record *record)
{
    struct fleet_operator *op = operator_of(fleet);
    struct slice name = record_key(record), value = record_value(record);
    for (unsigned i = 0; i < fleet->key_count; i++) {
        if (!slice_equal(name, slice_of(fleet->keys[i].name)))
            continue;
        const struct fleet_write *write = fleet_explain(fleet, i, record);
        struct fold fold;
        fold_init(&fold);
        fold_add(&fold, value.data, value.len);
        if (write && !record_is_tombstone(record) && fold_end(&fold) != write->fold)
            world_fail(&fleet->world, "a backup has other bytes of key %u than were written", i);
        op->found[i] = record->version;
        op->digests[i] = record_digest(record);
        op->expires[i] = record_expires_us(record);
        return;
    }
    world_fail(&fleet->world, "a backup has a key that nobody wrote: %.*s", (int)name.len,
               name.data);
}

static void read_all(struct fleet *fleet, struct archive_reader *reader, struct heap *heap)
{
    struct fleet_operator *op = operator_of(fleet);
    struct record *record;
    for (;;)
        switch (archive_next(reader, &record)) {
        case ARCHIVE_RECORD:
            note_record(fleet, record);
            record_release(heap, record);
            break;
        case ARCHIVE_HEAD:
            op->partition = reader->head.partition;
            op->partitions = reader->head.partitions;
            break;
        case ARCHIVE_END:
            return;
        case ARCHIVE_BROKEN:
        case ARCHIVE_FAILED:
            world_fail(&fleet->world, "a backup that is done is not whole: %s",
                       reader->reason ? reader->reason : strerror(-reader->error));
            return;
        default:
            break;
        }
}

static void check_key(struct fleet *fleet, unsigned i)
{
    const struct fleet_operator *op = operator_of(fleet);
    const struct fleet_saved *saved = &op->saved[i];
    if (!fleet_archive_covers(fleet, home_of(fleet, i)) ||
        saved->disturbed != fleet_key_disturbed(fleet, &fleet->keys[i]))
        return;
    if (op->found[i] < saved->version)
        world_fail(&fleet->world, "a backup has version %llu of key %u, but all nodes had %llu",
                   (ull)op->found[i], i, (ull)saved->version);
    else if (saved->digest && saved->digest != op->digests[i])
        world_fail(&fleet->world, "a backup says something else of key %u than the nodes", i);
}

void fleet_archive_check(struct fleet *fleet)
{
    struct fleet_operator *op = operator_of(fleet);
    struct archive_reader reader;
    struct heap *heap = heap_new(0);
    char path[96];
    fleet_archive_path(fleet, path);
    memset(op->found, 0, sizeof op->found);
    memset(op->digests, 0, sizeof op->digests);
    if (!heap)
        abort();
    if (archive_reader_open(&reader, heap, path) == 0)
        read_all(fleet, &reader, heap);
    else
        world_fail(&fleet->world, "a backup that is done cannot be read");
    archive_reader_close(&reader);
    heap_destroy(heap);
    for (unsigned i = 0; i < fleet->key_count && !fleet->world.failed; i++)
        check_key(fleet, i);
}

static void check_node(struct fleet *fleet, const struct fleet_process *node)
{
    const struct fleet_operator *op = operator_of(fleet);
    for (unsigned i = 0; i < fleet->key_count; i++) {
        if (home_of(fleet, i) != node->cluster || !op->digests[i])
            continue;
        struct record *record = fleet_record_at(fleet, node, i);
        bool expires = op->expires[i];
        uint64_t version = record ? record->version : 0;
        if (version != op->found[i] && !(expires && !record))
            world_fail(&fleet->world, "%s has version %llu of key %u, but %llu was restored",
                       node->process.host.name, (ull)version, i, (ull)op->found[i]);
        else if (!expires && record_digest(record) != op->digests[i])
            world_fail(&fleet->world, "%s says something else of key %u than was restored",
                       node->process.host.name, i);
    }
}

void fleet_archive_check_restored(struct fleet *fleet)
{
    for (unsigned i = 0; i < FLEET_NODES_MAX; i++) {
        const struct fleet_process *node = &fleet->processes[i];
        if (node->running && fleet_archive_covers(fleet, node->cluster))
            check_node(fleet, node);
    }
}
