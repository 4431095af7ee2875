#include "role/archive.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "records.h"
#include "role/progress.h"

enum { FILE_BYTES_MAX = 64 * 1024, RECORDS = 5 };

static struct heap *heap;
static char directory[64], path[80], part[96];

static int set_up(void **state)
{
    (void)state;
    snprintf(directory, sizeof directory, "/tmp/fog-archive-XXXXXX");
    heap = heap_new(0);
    if (!heap || !mkdtemp(directory))
        return -1;
    snprintf(path, sizeof path, "%s/file", directory);
    snprintf(part, sizeof part, "%s.part", path);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    uint64_t used = heap_used(heap);
    heap_destroy(heap);
    unlink(path);
    unlink(part);
    return used == 0 && rmdir(directory) == 0 ? 0 : -1;
}

static const struct archive_head two_partitions = {2, 2, "2026-11-26T01:05:45.000Z"};

static struct said said_number(unsigned number)
{
    static char keys[RECORDS][16];
    snprintf(keys[number], sizeof keys[number], "key-%u", number);
    struct said said = {.key = slice_of(keys[number]), .version = 1000 + number};
    said.tombstone = number == 1;
    if (!said.tombstone)
        said.value = slice_of(number == 2 ? "" : "value");
    if (number == 3) {
        said.type = SLICE("text/plain");
        said.expires_us = 5000;
    }
    return said;
}

static void put_number(struct archive_writer *writer, unsigned number)
{
    const struct said said = said_number(number);
    struct record *record = said_record(heap, &said);
    assert_non_null(record);
    assert_int_equal(archive_put(writer, record), 0);
    record_release(heap, record);
}

/* Records 0 to 2, a mark, 3 and 4, a mark. */
static void put_all(struct archive_writer *writer)
{
    for (unsigned i = 0; i < RECORDS; i++) {
        put_number(writer, i);
        if (i == 2 || i == RECORDS - 1)
            assert_int_equal(archive_mark(writer), 0);
    }
}

static void write_file(void)
{
    struct archive_writer writer;
    assert_int_equal(archive_create(&writer, path, &two_partitions), 0);
    put_all(&writer);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(archive_finish(&writer), 0);
    archive_close(&writer);
    assert_int_equal(access(part, F_OK), -1);
}

static size_t load(const char *name, char *out)
{
    int fd = open(name, O_RDONLY);
    assert_true(fd >= 0);
    ssize_t len = read(fd, out, FILE_BYTES_MAX);
    close(fd);
    assert_true(len >= 0 && len < FILE_BYTES_MAX);
    return (size_t)len;
}

static void save(const char *name, const char *bytes, size_t len)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), len);
    close(fd);
}

/* Reads to the end. Returns how it ended; `records` counts. */
static enum archive_result read_file(const char *name, unsigned *records,
                                     struct archive_reader *reader)
{
    struct record *record;
    enum archive_result result;
    *records = 0;
    assert_int_equal(archive_reader_open(reader, heap, name), 0);
    while ((result = archive_next(reader, &record)) < ARCHIVE_END) {
        if (result != ARCHIVE_RECORD)
            continue;
        const struct said said = said_number(*records % RECORDS);
        check(record_says(record, &said), "record %u", *records);
        record_release(heap, record);
        ++*records;
    }
    return result;
}

static void check_file(const char *name, enum archive_result wanted, unsigned wanted_records)
{
    struct archive_reader reader;
    unsigned records;
    enum archive_result result = read_file(name, &records, &reader);
    check(result == wanted, "%d: %s", result, reader.reason);
    assert_int_equal(records, wanted_records);
    archive_reader_close(&reader);
}

/* A note within a stream: counted as nothing, and covered by the checksum. */
static void test_members_apart(void **state)
{
    (void)state;
    struct archive_writer writer;
    struct archive_reader reader;
    struct record *record;
    unsigned apart = 0, records = 0;
    assert_int_equal(archive_create(&writer, path, &two_partitions), 0);
    put_number(&writer, 0);
    assert_int_equal(archive_apart(&writer), 0);
    put_number(&writer, 1);
    assert_int_equal(archive_mark(&writer), 0);
    assert_int_equal(archive_finish(&writer), 0);
    archive_close(&writer);
    assert_int_equal(archive_reader_open(&reader, heap, path), 0);
    for (enum archive_result result; (result = archive_next(&reader, &record)) != ARCHIVE_END;) {
        assert_true(result < ARCHIVE_END);
        if (result == ARCHIVE_RECORD)
            record_release(heap, record);
        records += result == ARCHIVE_RECORD;
        apart += result == ARCHIVE_APART;
        check(result != ARCHIVE_APART || records == 1, "after %u records", records);
    }
    archive_reader_close(&reader);
    assert_int_equal(records, 2);
    assert_int_equal(apart, 1);
}

static void test_round_trip(void **state)
{
    (void)state;
    struct archive_reader reader;
    unsigned records;
    write_file();
    assert_int_equal(read_file(path, &records, &reader), ARCHIVE_END);
    assert_int_equal(records, RECORDS);
    assert_int_equal(reader.place.records, RECORDS);
    assert_int_equal(reader.place.offset, reader.bytes);
    assert_int_equal(reader.head.partitions, 2);
    assert_int_equal(reader.head.partition, 2);
    assert_string_equal(reader.head.begun, two_partitions.begun);
    archive_reader_close(&reader);
}

/* Cut at any byte, it is refused; save at the very end. */
static void test_every_truncation(void **state)
{
    (void)state;
    static char bytes[FILE_BYTES_MAX];
    write_file();
    size_t len = load(path, bytes);
    for (size_t cut = 0; cut < len; cut++) {
        struct archive_reader reader;
        unsigned records;
        save(path, bytes, cut);
        check(read_file(path, &records, &reader) == ARCHIVE_BROKEN, "cut at %zu", cut);
        check(reader.place.offset <= cut && reader.reason, "cut at %zu", cut);
        archive_reader_close(&reader);
    }
}

static void test_every_flipped_bit(void **state)
{
    (void)state;
    static char bytes[FILE_BYTES_MAX];
    write_file();
    size_t len = load(path, bytes);
    for (size_t bit = 0; bit < len * 8; bit++) {
        struct archive_reader reader;
        unsigned records;
        bytes[bit / 8] ^= (char)(1 << bit % 8);
        save(path, bytes, len);
        check(read_file(path, &records, &reader) == ARCHIVE_BROKEN, "bit %zu", bit);
        check(reader.place.offset <= bit / 8, "bit %zu: byte %llu", bit,
              (unsigned long long)reader.place.offset);
        archive_reader_close(&reader);
        bytes[bit / 8] ^= (char)(1 << bit % 8);
    }
}

/* A record or a whole stream that is missing, or stands twice, fits each check but the last. */
static void test_parts_that_are_moved(void **state)
{
    (void)state;
    static char bytes[FILE_BYTES_MAX], other[FILE_BYTES_MAX];
    struct archive_reader reader;
    struct record *record;
    uint64_t marks[3] = {0};
    unsigned count = 0;
    write_file();
    size_t len = load(path, bytes);
    assert_int_equal(archive_reader_open(&reader, heap, path), 0);
    for (enum archive_result result; (result = archive_next(&reader, &record)) != ARCHIVE_END;) {
        if (result == ARCHIVE_RECORD)
            record_release(heap, record);
        else if (result != ARCHIVE_TAIL)
            marks[count++] = reader.place.offset;
    }
    archive_reader_close(&reader);
    assert_int_equal(count, 3); /* behind the head and the two streams */
    memcpy(other, bytes, marks[1]);
    memcpy(other + marks[1], bytes + marks[2], len - marks[2]);
    save(path, other, len - (marks[2] - marks[1]));
    check_file(path, ARCHIVE_BROKEN, 3);
    memcpy(other, bytes, marks[0]);
    memcpy(other + marks[0], bytes + marks[1], marks[2] - marks[1]);
    memcpy(other + marks[0] + marks[2] - marks[1], bytes + marks[0], marks[1] - marks[0]);
    memcpy(other + marks[2], bytes + marks[2], len - marks[2]);
    assert_int_not_equal(memcmp(other, bytes, len), 0);
    save(path, other, len);
    assert_int_equal(archive_reader_open(&reader, heap, path), 0);
    enum archive_result result;
    while ((result = archive_next(&reader, &record)) < ARCHIVE_END)
        if (result == ARCHIVE_RECORD)
            record_release(heap, record);
    assert_int_equal(result, ARCHIVE_BROKEN);
    assert_int_equal(reader.place.offset, marks[2]);
    archive_reader_close(&reader);
}

/* A backup that begins inside of another one: what is whole ends before it. */
static void test_beginning_in_the_middle(void **state)
{
    (void)state;
    static char bytes[FILE_BYTES_MAX], other[FILE_BYTES_MAX];
    struct archive_reader reader;
    struct record *record;
    write_file();
    size_t len = load(path, bytes);
    assert_int_equal(archive_reader_open(&reader, heap, path), 0);
    assert_int_equal(archive_next(&reader, &record), ARCHIVE_HEAD);
    struct archive_place behind = reader.place;
    archive_reader_close(&reader);
    memcpy(other, bytes, behind.offset);
    memcpy(other + behind.offset, bytes, len);
    save(path, other, behind.offset + len);
    assert_int_equal(archive_reader_open(&reader, heap, path), 0);
    assert_int_equal(archive_next(&reader, &record), ARCHIVE_HEAD);
    assert_int_equal(archive_next(&reader, &record), ARCHIVE_BROKEN);
    assert_memory_equal(&reader.place, &behind, sizeof behind);
    archive_reader_close(&reader);
}

/* Several backups in one file, and what /-/records gives, are whole too. */
static void test_other_files_that_are_whole(void **state)
{
    (void)state;
    static char bytes[FILE_BYTES_MAX];
    char end[WIRE_HEAD_BYTES];
    write_file();
    size_t len = load(path, bytes);
    memcpy(bytes + len, bytes, len);
    save(path, bytes, 2 * len);
    check_file(path, ARCHIVE_END, 2 * RECORDS);
    wire_end(0, end);
    save(path, end, sizeof end);
    check_file(path, ARCHIVE_END, 0);
    save(path, "", 0);
    check_file(path, ARCHIVE_BROKEN, 0);
}

/* Wherever writing is broken off, it can go on, and the file is the same in the end. */
static void test_going_on(void **state)
{
    (void)state;
    static char bytes[FILE_BYTES_MAX], other[FILE_BYTES_MAX];
    write_file();
    size_t len = load(path, bytes);
    for (unsigned at = 0; at <= RECORDS; at++) {
        struct archive_writer writer;
        struct archive_place place = {0};
        assert_int_equal(archive_create(&writer, path, &two_partitions), 0);
        for (unsigned i = 0; i < RECORDS; i++) {
            if (i == at)
                place = writer.place;
            put_number(&writer, i);
            if (i == 2 || i == RECORDS - 1)
                archive_mark(&writer);
        }
        if (at == RECORDS)
            place = writer.place;
        archive_close(&writer);
        assert_int_equal(archive_append(&writer, path, &place), 0);
        for (unsigned i = at; i < RECORDS; i++) {
            put_number(&writer, i);
            if (i == 2 || i == RECORDS - 1)
                archive_mark(&writer);
        }
        assert_int_equal(archive_finish(&writer), 0);
        archive_close(&writer);
        assert_int_equal(load(path, other), len);
        assert_memory_equal(bytes, other, len);
    }
}

/* Reading can go on at any place that it has stood at. */
static void test_seeking(void **state)
{
    (void)state;
    struct archive_reader reader;
    struct archive_place places[16];
    struct record *record;
    unsigned count = 0;
    write_file();
    assert_int_equal(archive_reader_open(&reader, heap, path), 0);
    for (enum archive_result result = ARCHIVE_HEAD; result != ARCHIVE_END;) {
        places[count++] = reader.place;
        result = archive_next(&reader, &record);
        if (result == ARCHIVE_RECORD)
            record_release(heap, record);
    }
    for (unsigned i = 0; i < count; i++) {
        unsigned records = 0;
        enum archive_result result;
        assert_int_equal(archive_reader_seek(&reader, &places[i]), 0);
        while ((result = archive_next(&reader, &record)) < ARCHIVE_END)
            if (result == ARCHIVE_RECORD) {
                record_release(heap, record);
                records++;
            }
        check(result == ARCHIVE_END, "place %u: %s", i, reader.reason);
        assert_int_equal(records + places[i].records, RECORDS);
    }
    archive_reader_close(&reader);
}

/* The disk is full: the first error stays, and what was written is still there. */
static void test_full_disk(void **state)
{
    (void)state;
    static const struct rlimit little = {4096, RLIM_INFINITY};
    struct rlimit before;
    struct archive_writer writer;
    struct stat stat_of_part;
    static char value[100000];
    const struct said said = {.key = SLICE("k"), .value = {value, sizeof value}, .version = 1};
    struct record *record = said_record(heap, &said);
    assert_non_null(record);
    assert_int_equal(archive_create(&writer, path, &two_partitions), 0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
    for (unsigned i = 0; i < 30; i++)
        archive_put(&writer, record);
    int error = archive_finish(&writer);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(error, -EFBIG);
    archive_close(&writer);
    record_release(heap, record);
    assert_int_equal(stat(part, &stat_of_part), 0);
    assert_int_equal(stat_of_part.st_size, 4096);
    assert_int_equal(access(path, F_OK), -1);
}

static void test_files_that_cannot_be(void **state)
{
    (void)state;
    struct archive_reader reader;
    struct archive_writer writer;
    assert_int_equal(archive_reader_open(&reader, heap, path), -ENOENT);
    archive_reader_close(&reader);
    assert_int_equal(archive_reader_open(&reader, heap, directory), -EISDIR);
    archive_reader_close(&reader);
    assert_int_equal(archive_create(&writer, "/nowhere/at/all", &two_partitions), -ENOENT);
    archive_close(&writer);
    archive_close(&writer); /* does nothing */
}

static void test_what_is_no_file(void **state)
{
    (void)state;
    struct archive_writer writer;
    struct stat there;
    const struct archive_place beginning = {0};
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(archive_create(&writer, path, &two_partitions), -EEXIST);
    archive_close(&writer);
    assert_int_equal(archive_append(&writer, path, &beginning), -EEXIST);
    archive_close(&writer);
    assert_int_equal(stat(path, &there), 0);
    assert_true(S_ISFIFO(there.st_mode));
    assert_int_equal(access(part, F_OK), -1);
}

/* Two backups to one file: the second one changes nothing of the first. */
static void test_two_writers(void **state)
{
    (void)state;
    struct archive_writer first, second;
    const struct archive_place beginning = {0};
    assert_int_equal(archive_create(&first, path, &two_partitions), 0);
    put_all(&first);
    assert_int_equal(archive_create(&second, path, &two_partitions), -EBUSY);
    archive_close(&second);
    assert_int_equal(archive_append(&second, path, &beginning), -EBUSY);
    archive_close(&second);
    assert_int_equal(archive_finish(&first), 0);
    archive_close(&first);
    check_file(path, ARCHIVE_END, RECORDS);
    assert_int_equal(unlink(path), 0);
    write_file(); /* nobody holds it any more */
}

static void test_progress(void **state)
{
    (void)state;
    const struct progress_of of = {0x123456789abcdef0, 5000, "localhost:8000"};
    const struct progress_of others[] = {{0x123456789abcdef1, 5000, "localhost:8000"},
                                         {0x123456789abcdef0, 5001, "localhost:8000"},
                                         {0x123456789abcdef0, 5000, "localhost:8001"}};
    const struct archive_place place = {4000, 17, 3, 0xfedcba9876543210, 1};
    struct archive_place seen = {0};
    assert_int_equal(progress_read(path, &of, &seen), -ENOENT);
    assert_int_equal(progress_write(path, &of, &place), 0);
    assert_int_equal(progress_read(path, &of, &seen), 0);
    assert_memory_equal(&seen, &place, sizeof place);
    for (size_t i = 0; i < COUNT(others); i++)
        check(progress_read(path, &others[i], &seen) == -EINVAL, "row %zu", i);
    progress_remove(path);
    assert_int_equal(progress_read(path, &of, &seen), -ENOENT);
    assert_int_equal(progress_write("/nowhere/at/all", &of, &place), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_members_apart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_every_truncation, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_every_flipped_bit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_parts_that_are_moved, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_other_files_that_are_whole, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_beginning_in_the_middle, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_going_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_seeking, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_full_disk, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_files_that_cannot_be, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_no_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_two_writers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_progress, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
