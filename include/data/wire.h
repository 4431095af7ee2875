/* Records as bytes: the one format of /-/records, /-/merge, backups and (in time) peers.
 *
 *   byte  0     format: 1
 *         1     flags: 1 tombstone, 2 expires, 64 note, 128 end of stream
 *         2-3   key bytes
 *         4     type bytes
 *         5-7   0
 *         8-11  value bytes
 *        12-19  version, µs since 1970
 *        20-27  expiry, µs since 1970; 0 when it does not expire
 *        28-35  check: record_digest
 *        36-    key, type, value
 *
 * All numbers are big-endian. A stream ends with an end frame: no key, type and value, the count of records before
 * it in the stream as its version, and as its check an XXH3 hash of the frame's first 28 bytes. Streams may follow
 * one another. So a stream that was cut is always noticed.
 *
 * A note is a frame with flags of just 64, 1 to WIRE_NOTE_BYTES_MAX bytes of text as its value, and zeroes else; its check is the hash of
 * the text, seeded with that of the frame's first 28 bytes. It may stand between any two frames, counts as no record, and says nothing to
 * who merges: backup files have notes at their beginning and end. */
#ifndef DATA_WIRE_H
#define DATA_WIRE_H

#include "data/record.h"

enum {
    WIRE_HEAD_BYTES = 36,
    WIRE_NOTE_BYTES_MAX = 256,
};

/* Writes the frame that stands before a record's key, type and value. */
void wire_head(const struct record *record, char out[WIRE_HEAD_BYTES]);

/* Key, type and value of a record, as they follow its frame. */
struct slice wire_data(const struct record *record);

/* Writes an end frame. */
void wire_end(uint64_t count, char out[WIRE_HEAD_BYTES]);

/* Writes the frame that stands before a note's text. */
void wire_note(struct slice text, char out[WIRE_HEAD_BYTES]);

enum wire_result {
    WIRE_MORE,    /* more bytes must come */
    WIRE_RECORD,  /* *record is whole and checked; the caller owns it */
    WIRE_NOTE,    /* reader->note is whole and checked, until the next call */
    WIRE_BROKEN,  /* the bytes are no records, or a value is larger than value_max: see reason */
    WIRE_NO_ROOM, /* the heap says no */
};

/* Reads a stream. Embedded; wire_reader_free when done. */
struct wire_reader {
    struct heap *heap;
    uint64_t value_max;
    uint64_t offset;            /* of the present frame in the stream */
    uint64_t records;           /* read whole */
    uint64_t since_end;         /* of these, after the last end frame */
    const char *reason;         /* once broken: a clause, static */
    struct record *record;      /* under construction */
    uint64_t check;             /* that it must have */
    size_t filled;              /* bytes of the head, or of what follows it */
    size_t hashed;              /* of these, see record_hash_blocks */
    char head[WIRE_HEAD_BYTES]; /* of the frame that was completed last, or the next one */
    size_t note_bytes;          /* of a note under construction; 0 for none */
    struct slice note;
    char note_room[WIRE_NOTE_BYTES_MAX];
};

void wire_reader_init(struct wire_reader *reader, struct heap *heap, uint64_t value_max);
void wire_reader_free(struct wire_reader *reader);

/* Where the next bytes of the stream go, and how many of them at most: never 0. */
char *wire_reader_room(struct wire_reader *reader, size_t *room);

/* `bytes` were put there. */
enum wire_result wire_reader_filled(struct wire_reader *reader, size_t bytes,
                                    struct record **record);

/* Whether the stream may end here: right behind an end frame, or (an empty stream) before anything. */
bool wire_reader_at_end(const struct wire_reader *reader);

#endif
