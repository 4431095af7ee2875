#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "data/hash.h"
#include "role/archive.h"

char *archive_part_name(const char *path)
{
    char *name;
    return asprintf(&name, "%s.part", path) < 0 ? NULL : name;
}

static int write_all(struct archive_writer *writer, const char *data, size_t len)
{
    while (len > 0 && !writer->error) {
        ssize_t count = write(writer->fd, data, len);
        if (count < 0 && errno != EINTR)
            writer->error = -errno;
        if (count > 0) {
            data += count;
            len -= (size_t)count;
        }
    }
    return writer->error;
}

static int flush(struct archive_writer *writer)
{
    size_t used = writer->used;
    writer->used = 0;
    return write_all(writer, writer->buffer, used);
}

static int put(struct archive_writer *writer, struct slice bytes)
{
    writer->place.offset += bytes.len;
    if (bytes.len > ARCHIVE_BUFFER_BYTES - writer->used)
        flush(writer);
    if (bytes.len > ARCHIVE_BUFFER_BYTES)
        return write_all(writer, bytes.data, bytes.len);
    if (!writer->error && bytes.len > 0) {
        memcpy(writer->buffer + writer->used, bytes.data, bytes.len);
        writer->used += bytes.len;
    }
    return writer->error;
}

static int put_frame(struct archive_writer *writer, const char frame[WIRE_HEAD_BYTES],
                     struct slice data)
{
    writer->place.checksum = hash_seeded(frame, WIRE_HEAD_BYTES, writer->place.checksum);
    put(writer, (struct slice){frame, WIRE_HEAD_BYTES});
    return put(writer, data);
}

int archive_put(struct archive_writer *writer, const struct record *record)
{
    char frame[WIRE_HEAD_BYTES];
    wire_head(record, frame);
    writer->place.records++;
    writer->place.since_end++;
    return put_frame(writer, frame, wire_data(record));
}

int archive_mark(struct archive_writer *writer)
{
    char frame[WIRE_HEAD_BYTES];
    wire_end(writer->place.since_end, frame);
    writer->place.since_end = 0;
    return put_frame(writer, frame, (struct slice){0});
}

static int put_note(struct archive_writer *writer, const struct text *note)
{
    char frame[WIRE_HEAD_BYTES];
    wire_note(text_slice(note), frame);
    return put_frame(writer, frame, text_slice(note));
}

int archive_apart(struct archive_writer *writer)
{
    char room[WIRE_NOTE_BYTES_MAX];
    struct text note = text_in(room, sizeof room);
    text_add(&note, "velour-fog backup apart\n");
    return put_note(writer, &note);
}

/* A backup takes the place of what had its name: not that of a directory, a device or a pipe, nor of a link, such as /dev/stdout. */
static bool is_replaceable(const char *path)
{
    struct stat there;
    return lstat(path, &there) != 0 || S_ISREG(there.st_mode);
}

/* Whether the name still leads to what is open: who wrote it before may just have given it its last name. */
static bool is_named(int fd, const char *name)
{
    struct stat opened, named;
    return fstat(fd, &opened) == 0 && stat(name, &named) == 0 && opened.st_dev == named.st_dev &&
           opened.st_ino == named.st_ino;
}

/* For this process alone until it is closed. A file system that has no locks is no reason not to write. */
static int part_lock(const struct archive_writer *writer)
{
    bool taken = flock(writer->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    return taken || !is_named(writer->fd, writer->part) ? -EBUSY : 0;
}

static int writer_init(struct archive_writer *writer, const char *path, int flags)
{
    *writer = (struct archive_writer){.fd = -1};
    writer->path = strdup(path);
    writer->part = archive_part_name(path);
    writer->buffer = malloc(ARCHIVE_BUFFER_BYTES);
    if (!writer->path || !writer->part || !writer->buffer)
        return writer->error = -ENOMEM;
    if (!is_replaceable(path))
        return writer->error = -EEXIST;
    /* to open a pipe that nobody reads would wait for ever, and what a link leads to is nothing of ours */
    writer->fd = open(writer->part, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | flags, 0666);
    return writer->error = writer->fd < 0 ? -errno : part_lock(writer);
}

int archive_create(struct archive_writer *writer, const char *path, const struct archive_head *head)
{
    char room[WIRE_NOTE_BYTES_MAX];
    struct text note = text_in(room, sizeof room);
    int error = writer_init(writer, path, O_CREAT);
    if (error)
        return error;
    if (ftruncate(writer->fd, 0) != 0)
        return writer->error = -errno;
    text_add(&note, "velour-fog backup 1\nof %u\n", head->partitions);
    if (head->partition < head->partitions)
        text_add(&note, "only %u\n", head->partition);
    text_add(&note, "begun %s\n", head->begun);
    return put_note(writer, &note);
}

int archive_append(struct archive_writer *writer, const char *path,
                   const struct archive_place *place)
{
    int error = writer_init(writer, path, 0);
    if (error)
        return error;
    writer->place = *place;
    if (ftruncate(writer->fd, (off_t)place->offset) != 0 ||
        lseek(writer->fd, (off_t)place->offset, SEEK_SET) < 0)
        writer->error = -errno;
    return writer->error;
}

/* The new name, too, is on disk once its directory is. */
static void sync_directory(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *name = slash ? strndup(path, slash > path ? (size_t)(slash - path) : 1) : strdup(".");
    int fd = name ? open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    free(name);
    if (fd < 0)
        return;
    fsync(fd);
    close(fd);
}

int archive_finish(struct archive_writer *writer)
{
    char room[WIRE_NOTE_BYTES_MAX];
    struct text note = text_in(room, sizeof room);
    text_add(&note, "velour-fog backup end\nrecords %llu\nchecksum %016llx\n",
             (unsigned long long)writer->place.records, (unsigned long long)writer->place.checksum);
    put_note(writer, &note);
    flush(writer);
    if (!writer->error && fsync(writer->fd) != 0)
        writer->error = -errno;
    if (!writer->error && rename(writer->part, writer->path) != 0)
        writer->error = -errno;
    if (!writer->error)
        sync_directory(writer->path);
    return writer->error;
}

void archive_close(struct archive_writer *writer)
{
    if (!writer->buffer) /* never opened, or closed */
        return;
    if (writer->fd >= 0) {
        flush(writer);
        close(writer->fd);
    }
    free(writer->path);
    free(writer->part);
    free(writer->buffer);
    *writer = (struct archive_writer){.fd = -1, .error = writer->error};
}
