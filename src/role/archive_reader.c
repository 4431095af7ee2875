#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/hash.h"
#include "role/archive.h"

static const struct slice first_line = {"velour-fog backup 1", 19};
static const struct slice apart_line = {"velour-fog backup apart", 23};
static const struct slice last_line = {"velour-fog backup end", 21};

static enum archive_result broken(struct archive_reader *reader, const char *reason)
{
    reader->reason = reason;
    return ARCHIVE_BROKEN;
}

/* Notes. Lines that are not known are for later versions. */

static bool read_head(struct archive_reader *reader, struct slice text)
{
    struct archive_head *head = &reader->head;
    struct slice line, word;
    unsigned long long of = 0, only = 0;
    bool single = false;
    *head = (struct archive_head){0};
    while (slice_next(&text, '\n', &line)) {
        struct slice value = line;
        if (!slice_next(&value, ' ', &word))
            continue;
        if (slice_equal(word, SLICE("of")) && !slice_number(value, 65536, &of))
            return false;
        if (slice_equal(word, SLICE("only")) && !(single = slice_number(value, 65535, &only)))
            return false;
        if (slice_equal(word, SLICE("begun")) && value.len < sizeof head->begun)
            memcpy(head->begun, value.data, value.len);
    }
    head->partitions = (uint32_t)of;
    head->partition = single ? (uint32_t)only : (uint32_t)of;
    return of > 0 && (!single || only < of);
}

/* It speaks of what stands before it. */
static bool read_tail(const struct archive_place *before, struct slice text)
{
    struct slice line, word;
    unsigned long long records = UINT64_MAX;
    uint64_t checksum = ~before->checksum;
    while (slice_next(&text, '\n', &line)) {
        struct slice value = line;
        if (!slice_next(&value, ' ', &word))
            continue;
        if (slice_equal(word, SLICE("records")) && !slice_number(value, UINT64_MAX, &records))
            return false;
        if (slice_equal(word, SLICE("checksum")) && !slice_hex(value, &checksum))
            return false;
    }
    return records == before->records && checksum == before->checksum;
}

/* `before` is the place before the note. */
static enum archive_result take_note(struct archive_reader *reader,
                                     const struct archive_place *before)
{
    struct slice text = reader->wire.note, line = {0};
    slice_next(&text, '\n', &line);
    bool first = slice_equal(line, first_line), last = slice_equal(line, last_line);
    if (!first && !last)
        return slice_equal(line, apart_line) ? ARCHIVE_APART : ARCHIVE_NOTE;
    bool right = first ? !before->inside && before->since_end == 0 && read_head(reader, text)
                       : before->inside && before->since_end == 0 && read_tail(before, text);
    if (!right) {
        reader->place = *before;
        return broken(reader, first ? "the note of its beginning makes no sense"
                                    : "the note of its end does not fit what is before it");
    }
    reader->place.inside = first;
    if (last)
        return ARCHIVE_TAIL;
    reader->place.records = 0; /* several backups may stand in one file */
    reader->place.checksum = hash_seeded(reader->wire.head, WIRE_HEAD_BYTES, 0);
    return ARCHIVE_HEAD;
}

/* Reading */

/* Returns 0, -ENODATA at the end of the file, or another -errno. */
static int fill(struct archive_reader *reader)
{
    ssize_t count;
    do
        count = read(reader->fd, reader->buffer, ARCHIVE_BUFFER_BYTES);
    while (count < 0 && errno == EINTR);
    if (count < 0)
        return -errno;
    reader->at = 0;
    reader->filled = (size_t)count;
    return count == 0 ? -ENODATA : 0;
}

static enum archive_result at_end(struct archive_reader *reader)
{
    if (!wire_reader_at_end(&reader->wire))
        return broken(reader, "it is cut off there");
    if (reader->place.inside)
        return broken(reader, "it is cut off there: the note of its end is missing");
    if (reader->place.offset == 0)
        return broken(reader, "it is empty");
    return ARCHIVE_END;
}

/* A frame is whole: the place is behind it. */
static void step(struct archive_reader *reader)
{
    const struct wire_reader *wire = &reader->wire;
    reader->place.offset = wire->offset;
    reader->place.since_end = wire->since_end;
    reader->place.checksum = hash_seeded(wire->head, WIRE_HEAD_BYTES, reader->place.checksum);
}

static enum archive_result take_frame(struct archive_reader *reader, enum wire_result result)
{
    struct archive_place before = reader->place;
    switch (result) {
    case WIRE_RECORD:
        step(reader);
        reader->place.records++;
        return ARCHIVE_RECORD;
    case WIRE_NOTE:
        step(reader);
        return take_note(reader, &before);
    case WIRE_NO_ROOM:
        reader->error = -ENOMEM;
        return ARCHIVE_FAILED;
    case WIRE_BROKEN:
        return broken(reader, reader->wire.reason);
    default:
        step(reader);
        return ARCHIVE_MARK;
    }
}

enum archive_result archive_next(struct archive_reader *reader, struct record **record)
{
    for (;;) {
        if (reader->at == reader->filled) {
            reader->error = fill(reader);
            if (reader->error)
                return reader->error == -ENODATA ? at_end(reader) : ARCHIVE_FAILED;
        }
        size_t room, left = reader->filled - reader->at;
        char *to = wire_reader_room(&reader->wire, &room);
        size_t take = left < room ? left : room;
        memcpy(to, reader->buffer + reader->at, take);
        reader->at += take;
        enum wire_result result = wire_reader_filled(&reader->wire, take, record);
        if (result != WIRE_MORE || reader->wire.offset != reader->place.offset)
            return take_frame(reader, result);
    }
}

int archive_reader_seek(struct archive_reader *reader, const struct archive_place *place)
{
    struct heap *heap = reader->wire.heap;
    wire_reader_free(&reader->wire);
    wire_reader_init(&reader->wire, heap, RECORD_VALUE_BYTES_MAX);
    reader->wire.offset = place->offset;
    reader->wire.since_end = place->since_end;
    reader->place = *place;
    reader->at = reader->filled = 0;
    return lseek(reader->fd, (off_t)place->offset, SEEK_SET) < 0 ? -errno : 0;
}

bool archive_reader_is_stub(const struct archive_reader *reader)
{
    static const char note[] = {1, 64}; /* how its frame begins, see wire.h */
    size_t bytes = reader->bytes < sizeof note ? (size_t)reader->bytes : sizeof note;
    return reader->place.offset == 0 && !reader->wire.reason &&
           reader->bytes < WIRE_HEAD_BYTES + WIRE_NOTE_BYTES_MAX &&
           memcmp(reader->buffer, note, bytes) == 0;
}

int archive_reader_open(struct archive_reader *reader, struct heap *heap, const char *path)
{
    struct stat stat;
    /* to open a pipe that nobody writes to would wait for ever */
    *reader = (struct archive_reader){.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
    wire_reader_init(&reader->wire, heap, RECORD_VALUE_BYTES_MAX);
    if (reader->fd < 0 || fstat(reader->fd, &stat) != 0)
        return -errno;
    if (S_ISDIR(stat.st_mode))
        return -EISDIR;
    if (!S_ISREG(stat.st_mode) && !S_ISBLK(stat.st_mode))
        return -ESPIPE;
    reader->bytes = (uint64_t)stat.st_size;
    reader->buffer = malloc(ARCHIVE_BUFFER_BYTES);
    return reader->buffer ? 0 : -ENOMEM;
}

void archive_reader_close(struct archive_reader *reader)
{
    wire_reader_free(&reader->wire);
    free(reader->buffer);
    if (reader->fd >= 0)
        close(reader->fd);
    *reader = (struct archive_reader){.fd = -1};
}
