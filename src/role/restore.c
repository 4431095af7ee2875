/* A backup into a store:
 *
 *   FINDING whom to ask ──► CHECKING the file ──► LOOKING for a ready node of each partition ──► COPYING ◄──► DRAINING ──► over
 *
 * DRAINING waits until everything that was given away is answered; then the place in the file is noted, so that a restore that is
 * stopped can go on there.
 *
 * A node that is lost takes with it what it was given and has not told its fellows yet. So when a connection was lost, its cluster is
 * given all of the file once more.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "data/route.h"
#include "role/depot.h"
#include "role/progress.h"

enum {
    CHECK_RECORDS = 20000,  /* between two turns of the loop */
    CHECK_BYTES = 16 << 20, /* the same, and one record more */
    NOTE_US = 1000 * 1000,  /* between two notes of how far it has come */
    PASSES_MAX = 10,        /* over the file, each after a node was lost in the one before */
};

enum restore_step {
    RESTORE_FINDING,
    RESTORE_CHECKING,
    RESTORE_LOOKING,
    RESTORE_COPYING,
    RESTORE_DRAINING,
};

struct restore {
    struct haul haul; /* first, so that a haul leads here */
    struct depot depot;
    const char *path;
    struct archive_reader reader;
    struct progress_of of;
    struct target *targets; /* by partition */
    struct loop_timer tick;
    enum restore_step step;
    bool hauls;              /* haul_init was called */
    bool read;               /* to the end */
    bool unnoted;            /* it was said that progress cannot be noted */
    bool noted;              /* there is a note of how far it has come */
    uint64_t records, fresh; /* given away by this run, and of these, new there */
    uint64_t elsewhere;      /* of partitions that a node is not of */
    uint64_t start_us, noted_us, start_offset;
    unsigned passes; /* over the file, that are over */
};

/* Printing */

static unsigned permille(const struct restore *restore, uint64_t offset)
{
    uint64_t bytes = restore->reader.bytes;
    return bytes ? (unsigned)(offset * 1000 / bytes) : 0;
}

/* A terminal's line has to fit it. */
static void put_figures(const struct restore *restore, struct text *text)
{
    const struct archive_place *place = &restore->reader.place;
    if (!restore->haul.command->terminal)
        text_add(text, "%llu record%s, ", (unsigned long long)place->records,
                 text_plural(place->records));
    if (restore->step >= RESTORE_COPYING)
        text_add(text, "%llu new, ", (unsigned long long)restore->fresh);
    if (!restore->haul.command->terminal)
        text_add(text, "%.1f MB, ", (double)place->offset / 1e6);
    text_add(text, "%.1f MB/s", (double)restore->haul.bar.rate / 1e6);
}

/* How long the rate has it wait until it may be at that place in the file. */
static uint64_t rest_us(const struct restore *restore, uint64_t offset)
{
    const struct command *command = restore->haul.command;
    return haul_rest_us(command->options.rate, offset - restore->start_offset,
                        command->loop->now_us - restore->start_us);
}

static void tell(struct restore *restore, const char *doing)
{
    char line[BAR_LINE_BYTES];
    struct text text = text_in(line, sizeof line);
    struct haul *haul = &restore->haul;
    unsigned done = permille(restore, restore->reader.place.offset);
    if (!bar_is_due(&haul->bar, restore->reader.place.offset))
        return;
    text_add(&text, "%s: ", doing);
    if (haul->command->terminal && !*haul->waiting)
        bar_put(&text, done);
    text_add(&text, "%u.%u %%, ", done / 10, done % 10);
    if (*haul->waiting)
        text_add(&text, "waits for %s", haul->waiting);
    else
        put_figures(restore, &text);
    if (!*haul->waiting)
        bar_put_left(&text, haul->command->loop->now_us - restore->start_us,
                     permille(restore, restore->start_offset), done,
                     restore->step >= RESTORE_COPYING ? rest_us(restore, restore->reader.bytes)
                                                      : 0);
    bar_tell(&haul->bar, line);
}

/* What is not right with the file. */
static void refuse(struct restore *restore, enum archive_result result)
{
    const struct archive_reader *reader = &restore->reader;
    const char *nothing = restore->step == RESTORE_CHECKING ? " Nothing was restored." : "";
    const char *rest = reader->place.offset
                           ? " (curl -T FILE HOST:PORT/-/merge takes what is before that place.)"
                           : "";
    if (result == ARCHIVE_FAILED)
        haul_fail(&restore->haul, "Cannot read %s: %s.%s", restore->path, strerror(-reader->error),
                  nothing);
    else
        haul_fail(&restore->haul, "%s is damaged at byte %llu: %s.%s%s", restore->path,
                  (unsigned long long)reader->place.offset, reader->reason, nothing, rest);
}

/* Giving away */

static void on_merged(const struct batch *batch, uint64_t fresh)
{
    struct restore *restore = (struct restore *)batch->target->contact.haul;
    struct loop *loop = restore->haul.command->loop;
    restore->fresh += fresh;
    if (!haul_is_over(&restore->haul))
        loop_timer_set(loop, &restore->tick, loop->now_us); /* there is room for more */
}

static const struct haul_ops restore_haul_ops = {.on_merged = on_merged};

static void flush(struct restore *restore)
{
    for (uint32_t i = restore->depot.first; i < restore->depot.end; i++)
        target_flush(&restore->targets[i]);
}

static bool is_answered(const struct restore *restore)
{
    for (uint32_t i = restore->depot.first; i < restore->depot.end; i++)
        if (!target_is_empty(&restore->targets[i]))
            return false;
    return true;
}

static void give(struct restore *restore, const struct record *record)
{
    uint32_t to = route_partition(restore->haul.frontend->route, record_key(record));
    if (to < restore->depot.first || to >= restore->depot.end) {
        restore->elsewhere++;
        return;
    }
    restore->records++;
    if (!restore->targets[to].sure && target_add(&restore->targets[to], record, false) != 0)
        haul_fail(&restore->haul, "Out of memory.");
}

static bool is_full(const struct restore *restore)
{
    return restore->haul.held_bytes >= HAUL_HELD_BYTES_MAX ||
           rest_us(restore, restore->reader.place.offset) > 0;
}

/* Reads on until too much is unanswered. */
static void pump(struct restore *restore)
{
    uint64_t from = restore->reader.place.offset;
    struct record *record;
    while (!restore->read && !haul_is_over(&restore->haul) && !is_full(restore) &&
           restore->reader.place.offset - from < HAUL_HELD_BYTES_MAX) {
        enum archive_result result = archive_next(&restore->reader, &record);
        if (result == ARCHIVE_RECORD) {
            give(restore, record);
            record_release(restore->haul.heap, record);
        } else if (result == ARCHIVE_END) {
            restore->read = true;
        } else if (result == ARCHIVE_BROKEN || result == ARCHIVE_FAILED) {
            refuse(restore, result);
        }
    }
}

static void finish(struct restore *restore)
{
    char of[48];
    struct haul *haul = &restore->haul;
    progress_remove(restore->path);
    bar_say(&haul->bar, "Done: %llu record%s of %s %s given to %s, %llu of them %s new; %.1f s\n",
            (unsigned long long)restore->records, text_plural(restore->records), restore->path,
            text_were(restore->records), depot_text(&restore->depot, of),
            (unsigned long long)restore->fresh, text_were(restore->fresh),
            (double)(haul->command->loop->now_us - restore->start_us) / 1e6);
    if (restore->elsewhere)
        bar_say(&haul->bar,
                "%llu record%s %s of other partitions, and %s left out: restore through a "
                "front-end, or to a node of each partition.\n",
                (unsigned long long)restore->elsewhere, text_plural(restore->elsewhere),
                restore->elsewhere == 1 ? "is" : "are", text_were(restore->elsewhere));
    command_end(haul->command, COMMAND_FINE);
}

/* Whether a cluster may have lost what it was given in this pass. */
static bool is_broken(const struct restore *restore)
{
    for (uint32_t i = restore->depot.first; i < restore->depot.end; i++)
        if (restore->targets[i].broken && !restore->targets[i].sure)
            return true;
    return false;
}

static int restore_begin(struct restore *restore, const struct archive_place *place)
{
    restore->start_us = restore->noted_us = restore->haul.command->loop->now_us;
    restore->start_offset = restore->haul.bar.told_bytes = place->offset;
    restore->records = restore->fresh = restore->elsewhere = 0;
    restore->read = false;
    return archive_reader_seek(&restore->reader, place);
}

/* All once more, from the beginning, to those who may have lost what they were given. */
static void give_again(struct restore *restore)
{
    const struct archive_place beginning = {0};
    struct haul *haul = &restore->haul;
    if (++restore->passes == PASSES_MAX) {
        haul_fail(haul,
                  "Nodes were lost each of the %u times that the file was given, and what "
                  "they had been given may be lost with them: run this again when they are "
                  "well.",
                  restore->passes);
        return;
    }
    bar_say(&haul->bar,
            "A node was lost, and what it was given may be lost with it: its cluster is given all "
            "of %s again; %llu record%s %s new so far.\n",
            restore->path, (unsigned long long)restore->fresh, text_plural(restore->fresh),
            text_were(restore->fresh));
    for (uint32_t i = restore->depot.first; i < restore->depot.end; i++) {
        restore->targets[i].sure = restore->targets[i].sure || !restore->targets[i].broken;
        restore->targets[i].broken = false;
    }
    int error = restore_begin(restore, &beginning);
    restore->step = RESTORE_COPYING;
    if (error)
        haul_fail(haul, "Cannot read %s: %s.", restore->path, strerror(-error));
}

/* Whoever goes on with this one, however it ends, must not go on behind what may be lost. */
static void forget_note(struct restore *restore)
{
    if (!restore->noted || !is_broken(restore))
        return;
    progress_remove(restore->path);
    restore->noted = false;
}

/* That it cannot be noted is no reason to stop. No place is noted behind which something may be lost. */
static void note(struct restore *restore)
{
    struct haul *haul = &restore->haul;
    restore->noted_us = haul->command->loop->now_us;
    if (is_broken(restore))
        return;
    int error = progress_write(restore->path, &restore->of, &restore->reader.place);
    if (error && !restore->unnoted)
        bar_say(&haul->bar, "Cannot write %s.progress: %s; --resume will not be possible.\n",
                restore->path, strerror(-error));
    restore->unnoted = error;
    restore->noted = restore->noted || !error;
}

static void copy(struct restore *restore)
{
    struct haul *haul = &restore->haul;
    *haul->waiting = 0;
    if (restore->step == RESTORE_COPYING)
        pump(restore);
    flush(restore);
    for (uint32_t i = restore->depot.first; i < restore->depot.end; i++)
        if (!restore->targets[i].sure)
            target_tick(&restore->targets[i]);
    forget_note(restore);
    if (haul_is_over(haul))
        return;
    tell(restore, "restore");
    if (restore->read || haul->command->loop->now_us - restore->noted_us >= NOTE_US)
        restore->step = RESTORE_DRAINING;
    if (restore->step != RESTORE_DRAINING || !is_answered(restore))
        return;
    restore->step = RESTORE_COPYING;
    if (!restore->read)
        note(restore);
    else if (is_broken(restore))
        give_again(restore);
    else
        finish(restore);
}

/* Beginning */

static void look(struct restore *restore)
{
    bool all = true;
    for (uint32_t i = restore->depot.first; i < restore->depot.end; i++)
        all = contact_look(&restore->targets[i].contact) && all;
    if (haul_is_over(&restore->haul))
        return;
    if (!all) {
        tell(restore, "restore");
        return;
    }
    restore->step = RESTORE_COPYING;
    restore->start_us = restore->noted_us = restore->haul.command->loop->now_us;
}

static void resume(struct restore *restore, struct archive_place *place)
{
    int error = progress_read(restore->path, &restore->of, place);
    restore->noted = error == 0;
    if (error == 0)
        bar_say(&restore->haul.bar, "Going on behind %llu record%s, %.1f MB\n",
                (unsigned long long)place->records, text_plural(place->records),
                (double)place->offset / 1e6);
    else if (error == -EINVAL)
        haul_fail(&restore->haul,
                  "%s.progress is of another backup or another store: remove it, or begin anew "
                  "without --resume.",
                  restore->path);
    else if (error != -ENOENT)
        haul_fail(&restore->haul, "Cannot read %s.progress: %s.", restore->path, strerror(-error));
}

static void checked(struct restore *restore)
{
    struct archive_place place = {0};
    struct command *command = restore->haul.command;
    restore->of = (struct progress_of){restore->reader.place.checksum, restore->reader.bytes,
                                       command->options.words[0]};
    if (command->options.resume)
        resume(restore, &place);
    else
        progress_remove(restore->path); /* of one before, which may have been to what is no more */
    if (haul_is_over(&restore->haul))
        return;
    int error = restore_begin(restore, &place);
    restore->step = RESTORE_LOOKING;
    if (error)
        haul_fail(&restore->haul, "Cannot read %s: %s.", restore->path, strerror(-error));
}

static void check_file(struct restore *restore)
{
    struct record *record;
    uint64_t from = restore->reader.place.offset;
    tell(restore, "check");
    for (unsigned steps = CHECK_RECORDS;
         steps > 0 && restore->reader.place.offset - from < CHECK_BYTES; steps--) {
        enum archive_result result = archive_next(&restore->reader, &record);
        if (result == ARCHIVE_RECORD) {
            record_release(restore->haul.heap, record);
        } else if (result == ARCHIVE_END) {
            checked(restore);
            return;
        } else if (result == ARCHIVE_BROKEN || result == ARCHIVE_FAILED) {
            refuse(restore, result);
            return;
        }
    }
}

static void begin(struct restore *restore)
{
    int error = archive_reader_open(&restore->reader, restore->haul.heap, restore->path);
    restore->step = RESTORE_CHECKING;
    if (error == -ESPIPE)
        haul_fail(&restore->haul,
                  "%s is no file, and what is read only once cannot be checked before it is "
                  "restored: save it to a file first.",
                  restore->path);
    else if (error)
        haul_fail(&restore->haul, "Cannot read %s: %s.", restore->path, strerror(-error));
}

static void on_tick(struct loop_timer *timer)
{
    struct restore *restore =
        (struct restore *)(void *)((char *)timer - offsetof(struct restore, tick));
    struct loop *loop = restore->haul.command->loop;
    if (restore->step == RESTORE_FINDING)
        begin(restore);
    else if (restore->step == RESTORE_CHECKING)
        check_file(restore);
    else if (restore->step == RESTORE_LOOKING)
        look(restore);
    else
        copy(restore);
    if (!haul_is_over(&restore->haul))
        loop_timer_set(loop, timer,
                       loop->now_us + (restore->step == RESTORE_CHECKING ? 0 : HAUL_TICK_US));
}

/* Life */

static int init_targets(struct restore *restore)
{
    const struct depot *depot = &restore->depot;
    char name[HAUL_NAME_BYTES];
    restore->targets = calloc(depot->count, sizeof *restore->targets);
    if (!restore->targets)
        return -ENOMEM;
    for (uint32_t i = depot->first; i < depot->end; i++) {
        snprintf(name, sizeof name, "partition %u", i);
        if (target_init(&restore->targets[i], &restore->haul,
                        &restore->haul.frontend->partitions[i], name) != 0)
            return -ENOMEM;
    }
    return 0;
}

static void on_found(struct depot *depot)
{
    struct restore *restore =
        (struct restore *)(void *)((char *)depot - offsetof(struct restore, depot));
    struct loop *loop = depot->command->loop;
    restore->hauls = true;
    restore->start_us = loop->now_us;
    if (haul_init(&restore->haul, &depot->clusters) != 0 || init_targets(restore) != 0)
        haul_fail(&restore->haul, "Out of memory.");
    else
        loop_timer_set(loop, &restore->tick, loop->now_us);
}

static void restore_destroy(void *state)
{
    struct restore *restore = state;
    struct command *command = restore->haul.command;
    command_end(command, COMMAND_WRONG); /* unless it has ended */
    for (uint32_t i = restore->depot.first; restore->targets && i < restore->depot.end; i++)
        target_free(&restore->targets[i]);
    if (restore->step != RESTORE_FINDING)
        archive_reader_close(&restore->reader);
    if (restore->hauls)
        haul_free(&restore->haul);
    depot_free(&restore->depot);
    loop_timer_release(command->loop, &restore->tick);
    free(restore->targets);
    free(restore);
}

static void *restore_start(struct command *command)
{
    struct restore *restore = calloc(1, sizeof *restore);
    if (!restore || loop_timer_reserve(command->loop) != 0) {
        free(restore);
        return NULL;
    }
    restore->haul.command = command;
    restore->haul.ops = &restore_haul_ops;
    restore->haul.repeat = "What was restored so far stays; when one is, run this again.";
    restore->path = command->options.words[1];
    restore->tick.on_time = on_tick;
    if (depot_find(&restore->depot, command, command->options.words[0], on_found) == 0)
        return restore;
    restore_destroy(restore);
    return NULL;
}

static void restore_stop(void *state)
{
    struct restore *restore = state;
    haul_fail(&restore->haul, "Stopped. What was restored so far stays; run this again, or with "
                              "--resume to go on behind what is known to be there.");
}

const struct command_ops restore_command = {restore_start, restore_stop, restore_destroy};
