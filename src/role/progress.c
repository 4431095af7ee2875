#include "role/progress.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/text.h"

enum { TEXT_BYTES = 1024 };

static const char form[] = "velour-fog restore 1\nof %016llx %llu\nto %s\n";

static char *name_of(const char *path, const char *end)
{
    char *name;
    return asprintf(&name, "%s.progress%s", path, end) < 0 ? NULL : name;
}

/* What is the same in each file of one restore. */
static void put_begin(struct text *text, const struct progress_of *of)
{
    text_add(text, form, (unsigned long long)of->checksum, (unsigned long long)of->bytes, of->to);
}

static int write_file(const char *name, struct slice text)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK, 0666), error = 0;
    if (fd < 0)
        return -errno;
    ssize_t count = write(fd, text.data, text.len);
    if (count != (ssize_t)text.len)
        error = count < 0 ? -errno : -ENOSPC;
    return close(fd) != 0 && !error ? -errno : error;
}

int progress_write(const char *path, const struct progress_of *of,
                   const struct archive_place *place)
{
    char room[TEXT_BYTES];
    struct text text = text_in(room, sizeof room);
    char *name = name_of(path, ""), *anew = name_of(path, ".new");
    put_begin(&text, of);
    text_add(&text, "at %llu %llu %llu %llu %016llx\n", (unsigned long long)place->offset,
             (unsigned long long)place->records, (unsigned long long)place->since_end,
             (unsigned long long)place->inside, (unsigned long long)place->checksum);
    int error = !name || !anew ? -ENOMEM : write_file(anew, text_slice(&text));
    if (!error && rename(anew, name) != 0)
        error = -errno;
    free(name);
    free(anew);
    return error;
}

static bool read_place(struct slice rest, struct archive_place *place)
{
    uint64_t *const numbers[] = {&place->offset, &place->records, &place->since_end,
                                 &place->inside};
    struct slice word;
    unsigned long long number;
    for (unsigned i = 0; i < 4; i++) {
        if (!slice_next(&rest, ' ', &word) || !slice_number(word, UINT64_MAX, &number))
            return false;
        *numbers[i] = number;
    }
    return slice_hex(slice_trim(rest), &place->checksum);
}

static int parse(struct slice text, const struct progress_of *of, struct archive_place *place)
{
    char room[TEXT_BYTES];
    struct text begin = text_in(room, sizeof room);
    put_begin(&begin, of);
    text_add(&begin, "at ");
    if (!slice_starts(text, text_slice(&begin)) || text.data[text.len - 1] != '\n')
        return -EINVAL;
    struct slice rest = {text.data + begin.len, text.len - begin.len - 1};
    return read_place(rest, place) && place->offset <= of->bytes ? 0 : -EINVAL;
}

int progress_read(const char *path, const struct progress_of *of, struct archive_place *place)
{
    char room[TEXT_BYTES], *name = name_of(path, "");
    int fd = name ? open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1,
        error = name ? -errno : -ENOMEM;
    free(name);
    if (fd < 0)
        return error;
    ssize_t count = read(fd, room, sizeof room);
    error = count < 0 ? -errno : count == 0 ? -EINVAL : 0;
    close(fd);
    return error ? error : parse((struct slice){room, (size_t)count}, of, place);
}

void progress_remove(const char *path)
{
    char *name = name_of(path, "");
    if (name)
        unlink(name);
    free(name);
}
