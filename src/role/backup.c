/* All records of a store to a file, one partition after the other:
 *
 *   FINDING whom to ask ──► SCANNING what is there (--resume) ──► LOOKING for a ready node of each ──► SETTLING ──► COPYING ──► over
 *                                                                                                       ▲───next partition───┘
 *
 * SETTLING finds out whom to read (cover.h), COPYING reads them.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "role/archive.h"
#include "role/cover.h"
#include "role/depot.h"

enum {
    SCAN_RECORDS = 20000,  /* looked at between two turns of the loop */
    SCAN_BYTES = 16 << 20, /* the same, and one record more */
};

enum backup_step {
    BACKUP_FINDING,
    BACKUP_SCANNING,
    BACKUP_LOOKING,
    BACKUP_SETTLING,
    BACKUP_COPYING,
};

struct backup {
    struct haul haul; /* first, so that a haul leads here */
    struct depot depot;
    const char *path;
    struct archive_reader reader; /* of what is there already */
    struct archive_writer writer;
    struct source *sources; /* by partition */
    struct loop_timer tick;
    enum backup_step step;
    bool hauls;                 /* haul_init was called */
    uint32_t partition, shard;  /* to go on with */
    struct archive_place begun, /* where that shard begins in the file, */
        stream;                 /* and where that partition does */
    struct cover cover;         /* of the partition in hands */
    unsigned rounds, reads;     /* of cover, and of its members, so far */
    bool apart;                 /* they do not agree, as the file says */
    uint64_t start_us;
    uint64_t pass_us, pass_bytes; /* when a member was begun to be read, and what was read before */
    unsigned start_permille;
};

/* Printing */

static unsigned permille(const struct backup *backup)
{
    uint64_t of = backup->depot.end - backup->depot.first;
    uint64_t partition = backup->partition - backup->depot.first;
    uint32_t shard =
        backup->partition < backup->depot.end ? backup->sources[backup->partition].shard : 0;
    if (backup->reads > 1) /* what a fellow has comes on top */
        shard = STORE_SHARDS;
    return (unsigned)((partition * STORE_SHARDS + shard) * 1000 / (of * STORE_SHARDS));
}

/* A terminal's line has to fit it. */
static void put_figures(const struct backup *backup, struct text *text)
{
    if (!backup->haul.command->terminal)
        text_add(text, "partition %u of %u, %llu record%s, ", backup->partition,
                 backup->depot.count, (unsigned long long)backup->writer.place.records,
                 text_plural(backup->writer.place.records));
    text_add(text, "%.1f MB, %.1f MB/s", (double)backup->writer.place.offset / 1e6,
             (double)backup->haul.bar.rate / 1e6);
}

static void tell(struct backup *backup)
{
    char line[BAR_LINE_BYTES];
    struct text text = text_in(line, sizeof line);
    struct haul *haul = &backup->haul;
    unsigned done = permille(backup);
    if (!bar_is_due(&haul->bar, haul->bytes))
        return;
    text_add(&text, "backup: ");
    if (haul->command->terminal && !*haul->waiting)
        bar_put(&text, done);
    text_add(&text, "%u.%u %%, ", done / 10, done % 10);
    if (*haul->waiting)
        text_add(&text, "waits for %s", haul->waiting);
    else
        put_figures(backup, &text);
    if (!*haul->waiting)
        bar_put_left(&text, haul->command->loop->now_us - backup->start_us, backup->start_permille,
                     done, 0);
    bar_tell(&haul->bar, line);
}

/* What has come so far can be gone on with. */
static void failed_to_write(struct backup *backup, const char *name)
{
    struct haul *haul = &backup->haul;
    if (backup->writer.error == -EEXIST)
        haul_fail(haul, "%s is there, and a link or no regular file: name another one.",
                  backup->path);
    else if (backup->writer.error == -EBUSY)
        haul_fail(haul, "Another backup writes %s: wait for its end, or name another file.", name);
    else
        haul_fail(haul, "Cannot write %s: %s.%s", name, strerror(-backup->writer.error),
                  backup->writer.fd < 0
                      ? ""
                      : " What is there stays; make room, and go on with --resume.");
}

/* Copying */

static void on_record(struct source *source, const struct record *record)
{
    struct backup *backup = (struct backup *)source->contact.haul;
    if (!haul_is_over(&backup->haul) && archive_put(&backup->writer, record) != 0)
        failed_to_write(backup, backup->writer.part);
}

static bool is_full(const struct haul *haul)
{
    const struct command *command = haul->command;
    const struct backup *backup = (const struct backup *)haul;
    return haul_rest_us(command->options.rate, haul->bytes - backup->pass_bytes,
                        command->loop->now_us - backup->pass_us) > 0;
}

static const struct haul_ops backup_haul_ops = {.is_full = is_full, .on_record = on_record};

static void finish(struct backup *backup)
{
    char of[48];
    struct haul *haul = &backup->haul;
    struct archive_place place = backup->writer.place;
    if (haul->command->terminal)
        bar_tell(&haul->bar, "backup: waits for the disk");
    if (archive_finish(&backup->writer) != 0) {
        failed_to_write(backup, backup->writer.part);
        return;
    }
    bar_say(&haul->bar, "Done: %llu record%s of %s %s in %s, %.1f MB; %.1f s\n",
            (unsigned long long)place.records, text_plural(place.records),
            depot_text(&backup->depot, of), place.records == 1 ? "is" : "are", backup->path,
            (double)place.offset / 1e6,
            (double)(haul->command->loop->now_us - backup->start_us) / 1e6);
    command_end(haul->command, COMMAND_FINE);
}

static void begin_partition(struct backup *backup)
{
    backup->rounds = backup->reads = 0;
    if (backup->partition == backup->depot.end) {
        finish(backup);
        return;
    }
    backup->step = BACKUP_SETTLING;
    cover_begin(&backup->cover, &backup->haul, backup->depot.upstreams,
                &backup->sources[backup->partition]);
}

static void end_partition(struct backup *backup)
{
    backup->partition++;
    backup->apart = false;
    if (archive_mark(&backup->writer) != 0)
        failed_to_write(backup, backup->writer.part);
    else
        begin_partition(backup);
}

/* All that were to be read have been. */
static void check_partition(struct backup *backup)
{
    switch (cover_state(&backup->cover)) {
    case COVER_OPEN:
        break;
    case COVER_WHOLE:
        end_partition(backup);
        break;
    case COVER_MISSING:
        backup->step = BACKUP_SETTLING;
        cover_begin(&backup->cover, &backup->haul, backup->depot.upstreams,
                    &backup->sources[backup->partition]);
        if (++backup->rounds == COVER_ROUNDS_MAX)
            haul_fail(&backup->haul,
                      "The nodes of partition %u do not agree, and could not all be read: run this "
                      "again when they are well.",
                      backup->partition);
        break;
    }
}

/* From the shard on that was come to. */
static void read_next(struct backup *backup)
{
    struct source *source = &backup->sources[backup->partition];
    const struct address *member = cover_next(&backup->cover);
    if (!member) {
        check_partition(backup);
        return;
    }
    bool apart = backup->apart || backup->rounds > 0 || !cover_agrees(&backup->cover);
    if (apart && !backup->apart && archive_apart(&backup->writer) != 0) {
        failed_to_write(backup, backup->writer.part);
        return;
    }
    backup->apart = apart;
    backup->step = BACKUP_COPYING;
    backup->reads++;
    backup->pass_us = backup->haul.command->loop->now_us;
    backup->pass_bytes = backup->haul.bytes;
    source->contact.wanted = member;
    source_begin(source, backup->shard);
    backup->shard = 0;
}

static void settle(struct backup *backup)
{
    *backup->haul.waiting = 0;
    if (cover_settle(&backup->cover))
        read_next(backup);
    else if (!haul_is_over(&backup->haul))
        tell(backup);
}

static void copy(struct backup *backup)
{
    struct source *source = &backup->sources[backup->partition];
    *backup->haul.waiting = 0;
    source_tick(source);
    if (haul_is_over(&backup->haul))
        return;
    tell(backup);
    if (source->done)
        read_next(backup);
}

/* Nothing is written before each partition has somebody who has it all. */
static void look(struct backup *backup)
{
    bool all = true;
    for (uint32_t i = backup->partition; i < backup->depot.end; i++)
        all = contact_look(&backup->sources[i].contact) && all;
    if (!all || haul_is_over(&backup->haul)) {
        if (!haul_is_over(&backup->haul) && *backup->haul.waiting)
            tell(backup);
        return;
    }
    backup->start_us = backup->haul.command->loop->now_us;
    backup->haul.flowing = true;
    backup->start_permille = permille(backup);
    begin_partition(backup);
}

/* Beginning */

static void create(struct backup *backup)
{
    const struct depot *depot = &backup->depot;
    struct archive_head head = {.partitions = depot->count, .partition = depot->count};
    if (depot->end - depot->first < depot->count)
        head.partition = depot->first;
    date_iso(backup->haul.command->loop->wall_us / 1000, head.begun);
    backup->step = BACKUP_LOOKING;
    backup->partition = depot->first;
    if (archive_create(&backup->writer, backup->path, &head) != 0)
        failed_to_write(backup, backup->writer.part ? backup->writer.part : backup->path);
}

/* What is behind the beginning of the last shard is taken again. */
static void append(struct backup *backup)
{
    char of[48];
    backup->step = BACKUP_LOOKING;
    archive_reader_close(&backup->reader);
    backup->apart = false;
    bar_say(&backup->haul.bar, "Going on with %s.part behind %llu record%s, %.1f MB of %s\n",
            backup->path, (unsigned long long)backup->begun.records,
            text_plural(backup->begun.records), (double)backup->begun.offset / 1e6,
            depot_text(&backup->depot, of));
    if (archive_append(&backup->writer, backup->path, &backup->begun) != 0)
        failed_to_write(backup, backup->writer.part ? backup->writer.part : backup->path);
}

static bool is_of_this_store(const struct backup *backup)
{
    const struct archive_head *head = &backup->reader.head;
    const struct depot *depot = &backup->depot;
    uint32_t wanted = depot->end - depot->first < depot->count ? depot->first : depot->count;
    return head->partitions == depot->count && head->partition == wanted;
}

/* Each shard's first record is where one could go on. Where members did not agree, what is there of the shards before is not all that
 * any of them had: there, it is only the first one's. */
static void scan_record(struct backup *backup, const struct record *record,
                        const struct archive_place *before)
{
    uint32_t shard = source_shard_of(record);
    if (backup->apart || (shard == backup->shard && backup->begun.offset > 0))
        return;
    backup->shard = shard;
    backup->begun = *before;
}

/* Returns false when there is no more. */
static bool scan_next(struct backup *backup)
{
    struct archive_reader *reader = &backup->reader;
    struct archive_place before = reader->place;
    struct record *record;
    switch (archive_next(reader, &record)) {
    case ARCHIVE_RECORD:
        scan_record(backup, record, &before);
        record_release(backup->haul.heap, record);
        return true;
    case ARCHIVE_NOTE:
        return true;
    case ARCHIVE_APART:
        backup->apart = true;
        backup->shard = 0;
        backup->begun = backup->stream;
        return true;
    case ARCHIVE_HEAD:
        backup->begun = backup->stream = reader->place;
        return is_of_this_store(backup);
    case ARCHIVE_MARK:
        backup->partition++;
        backup->apart = false;
        backup->shard = 0;
        backup->begun = backup->stream = reader->place;
        return backup->partition < backup->depot.end;
    default:
        return false;
    }
}

/* One that was killed early leaves a file of no bytes, a full disk less than a head. */
static void begin_anew(struct backup *backup)
{
    archive_reader_close(&backup->reader);
    create(backup);
}

static void scan(struct backup *backup)
{
    unsigned steps = SCAN_RECORDS;
    uint64_t from = backup->reader.place.offset;
    while (steps-- > 0 && backup->reader.place.offset - from < SCAN_BYTES)
        if (!scan_next(backup)) {
            if (backup->reader.head.partitions > 0 && is_of_this_store(backup))
                append(backup);
            else if (archive_reader_is_stub(&backup->reader))
                begin_anew(backup);
            else
                haul_fail(&backup->haul,
                          "%s.part is not of this store, or not from its beginning: remove it, or "
                          "begin anew without --resume.",
                          backup->path);
            return;
        }
}

/* With --resume, and nothing there to go on with, it begins. */
static void begin(struct backup *backup)
{
    char *part = archive_part_name(backup->path);
    int error = !part ? -ENOMEM
                : backup->haul.command->options.resume
                    ? archive_reader_open(&backup->reader, backup->haul.heap, part)
                    : -ENOENT;
    backup->partition = backup->depot.first;
    if (error && part && backup->haul.command->options.resume)
        archive_reader_close(&backup->reader);
    if (error == -ENOENT)
        create(backup);
    else if (error)
        haul_fail(&backup->haul, "Cannot read %s.part: %s.", backup->path, strerror(-error));
    else
        backup->step = BACKUP_SCANNING;
    free(part);
}

static void on_tick(struct loop_timer *timer)
{
    struct backup *backup =
        (struct backup *)(void *)((char *)timer - offsetof(struct backup, tick));
    struct loop *loop = backup->haul.command->loop;
    if (backup->step == BACKUP_FINDING)
        begin(backup);
    else if (backup->step == BACKUP_SCANNING)
        scan(backup);
    else if (backup->step == BACKUP_LOOKING)
        look(backup);
    else if (backup->step == BACKUP_SETTLING)
        settle(backup);
    else
        copy(backup);
    if (!haul_is_over(&backup->haul))
        loop_timer_set(loop, timer,
                       loop->now_us + (backup->step == BACKUP_SCANNING ? 0 : HAUL_TICK_US));
}

/* Life */

static int init_sources(struct backup *backup)
{
    const struct depot *depot = &backup->depot;
    char name[HAUL_NAME_BYTES];
    backup->sources = calloc(depot->count, sizeof *backup->sources);
    if (!backup->sources)
        return -ENOMEM;
    for (uint32_t i = depot->first; i < depot->end; i++) {
        snprintf(name, sizeof name, "partition %u", i);
        if (source_init(&backup->sources[i], &backup->haul, &backup->haul.frontend->partitions[i],
                        name) != 0)
            return -ENOMEM;
    }
    return 0;
}

static void on_found(struct depot *depot)
{
    struct backup *backup =
        (struct backup *)(void *)((char *)depot - offsetof(struct backup, depot));
    struct loop *loop = depot->command->loop;
    backup->hauls = true;
    backup->start_us = loop->now_us;
    if (haul_init(&backup->haul, &depot->clusters) != 0 || init_sources(backup) != 0)
        haul_fail(&backup->haul, "Out of memory.");
    else
        loop_timer_set(loop, &backup->tick, loop->now_us);
}

static void backup_destroy(void *state)
{
    struct backup *backup = state;
    struct command *command = backup->haul.command;
    command_end(command, COMMAND_WRONG); /* unless it has ended */
    for (uint32_t i = backup->depot.first; backup->sources && i < backup->depot.end; i++)
        source_free(&backup->sources[i]);
    cover_free(&backup->cover);
    archive_close(&backup->writer);
    if (backup->reader.buffer)
        archive_reader_close(&backup->reader);
    if (backup->hauls)
        haul_free(&backup->haul);
    depot_free(&backup->depot);
    loop_timer_release(command->loop, &backup->tick);
    free(backup->sources);
    free(backup);
}

static void *backup_start(struct command *command)
{
    struct backup *backup = calloc(1, sizeof *backup);
    if (!backup || loop_timer_reserve(command->loop) != 0) {
        free(backup);
        return NULL;
    }
    backup->haul.command = command;
    backup->haul.ops = &backup_haul_ops;
    backup->haul.repeat = "What was saved so far stays; when one is, go on with --resume.";
    backup->path = command->options.words[1];
    backup->tick.on_time = on_tick;
    if (depot_find(&backup->depot, command, command->options.words[0], on_found) == 0)
        return backup;
    backup_destroy(backup);
    return NULL;
}

static void backup_stop(void *state)
{
    struct backup *backup = state;
    if (!backup->writer.part)
        haul_fail(&backup->haul, "Stopped before it wrote anything; run it again.");
    else
        haul_fail(&backup->haul,
                  "Stopped. What was saved so far stays in %s.part; --resume goes on.",
                  backup->path);
}

const struct command_ops backup_command = {backup_start, backup_stop, backup_destroy};
