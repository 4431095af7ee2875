/* A backup as a file: streams of records (data/wire.h) between two notes, so that the file can be restored by curl as it is, and is known
 * to be whole by who reads the notes.
 *
 *   note   "velour-fog backup 1\nof 2\nbegun 2026-11-26T01:05:45.000Z\n"     with "only 1" when it has that partition alone
 *   stream of partition 0, its records shard by shard, and an end mark
 *   stream of partition 1 …
 *   note   "velour-fog backup end\nrecords 1204\nchecksum 0123456789abcdef\n"
 *
 * Between two frames of a stream there may be
 *   note   "velour-fog backup apart\n"     what comes from here to the mark is of several members, which did not agree: who goes on with
 *                                          such a file before that mark has to begin with the first frame of the stream
 *
 * The checksum is a chain over all frames before the last note: XXH3-64 of each frame's first 36 bytes, seeded with the sum so far (0
 * at first). These have a check of what follows them, so it covers every byte. What curl got from /-/records is read as well: there
 * are no notes, and each stream must end with its mark. */
#ifndef ROLE_ARCHIVE_H
#define ROLE_ARCHIVE_H

#include "base/date.h"
#include "data/wire.h"

enum { ARCHIVE_BUFFER_BYTES = 1024 * 1024 }; /* read or written at a time */

/* What the first note says. */
struct archive_head {
    uint32_t partition, partitions; /* the one that it has; partition == partitions: all of them */
    char begun[DATE_ISO_BYTES + 1];
};

/* A place between two frames, and all that must be known to go on there. */
struct archive_place {
    uint64_t offset;
    uint64_t records;   /* before it */
    uint64_t since_end; /* of these, behind the last end mark */
    uint64_t checksum;  /* of the frames before it */
    uint64_t inside;    /* 1 between a first note and its last one, else 0 */
};

/* Writing: to PATH.part, which becomes PATH when it is whole. Errors are told as -errno, the first one for good: a caller may look at
 * the end alone. */
struct archive_writer {
    int fd; /* below 0: closed */
    int error;
    char *path, *part; /* the names */
    char *buffer;
    size_t used;
    struct archive_place place;
};

/* The name of the file that is written to, "PATH.part"; NULL when out of memory. To be freed. */
char *archive_part_name(const char *path);

/* Begins anew, or at a place of PATH.part: what is behind it goes. Returns 0 or -errno, -EEXIST when PATH is there and
 * a link or no regular file, -EBUSY while another process writes PATH.part. archive_close in any case. */
int archive_create(struct archive_writer *writer, const char *path,
                   const struct archive_head *head);
int archive_append(struct archive_writer *writer, const char *path,
                   const struct archive_place *place);

int archive_put(struct archive_writer *writer, const struct record *record);

/* Says that several members are read which do not agree. */
int archive_apart(struct archive_writer *writer);

/* Ends the stream of a partition. */
int archive_mark(struct archive_writer *writer);

/* Puts the last note, and gives the file its name once it is on disk. */
int archive_finish(struct archive_writer *writer);

/* Writes what is left; what was written stays. */
void archive_close(struct archive_writer *writer);

enum archive_result {
    ARCHIVE_RECORD, /* *record is the caller's */
    ARCHIVE_MARK,   /* a stream has ended */
    ARCHIVE_NOTE,   /* one that says nothing to this version */
    ARCHIVE_APART,  /* the stream is of members that do not agree */
    ARCHIVE_HEAD,   /* reader->head is known */
    ARCHIVE_TAIL,   /* the last note was there, and is right */
    ARCHIVE_END,    /* of the file, and all is right */
    ARCHIVE_BROKEN, /* reader->reason at reader->place.offset */
    ARCHIVE_FAILED, /* reader->error: it cannot be read, or there is no memory for it */
};

/* Reading. */
struct archive_reader {
    int fd;
    int error;
    uint64_t bytes; /* of the file */
    struct wire_reader wire;
    char *buffer;
    size_t at, filled;
    struct archive_place place; /* behind the last whole frame */
    struct archive_head head;
    const char *reason; /* a clause, static */
};

/* Returns 0 or -errno, -ESPIPE for a pipe and the like. archive_reader_close in any case. */
int archive_reader_open(struct archive_reader *reader, struct heap *heap, const char *path);
void archive_reader_close(struct archive_reader *reader);

/* Whether the file ends before its head does, as far as it is there: then nothing is in it. To be asked when archive_next has said BROKEN at first. */
bool archive_reader_is_stub(const struct archive_reader *reader);

/* Goes to a place that archive_next has stood at before. Returns 0 or -errno. */
int archive_reader_seek(struct archive_reader *reader, const struct archive_place *place);

/* Goes on to what comes next. Not after END, BROKEN and FAILED, but for a seek. */
enum archive_result archive_next(struct archive_reader *reader, struct record **record);

#endif
