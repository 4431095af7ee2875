/* Fuzzes backup files, as `restore` reads them: any bytes end in END, BROKEN or FAILED, and never in more records than there are bytes
 * for. From any place between two frames the rest reads the same again, as after a restart; and what ends well reads to the same records
 * in the reader of /-/merge. */
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "blocks.h"
#include "frames.h"
#include "require.h"
#include "role/archive.h"

enum { STEPS_MAX = 256, HEAP_BYTES = 64 << 20 };

static struct heap *heap;
static char path[64];
static int file = -1;

/* What one reading comes to. */
struct reading {
    struct archive_place places[STEPS_MAX];
    unsigned steps, records, tails; /* places[0] is the beginning */
    enum archive_result end;
    const char *reason;
    uint64_t digests;
};

static bool goes_on(enum archive_result result)
{
    return result < ARCHIVE_END;
}

static void read_on(struct archive_reader *reader, struct reading *out)
{
    enum archive_result result;
    out->places[0] = reader->place;
    do {
        struct record *record = NULL;
        uint64_t before = reader->place.offset;
        result = archive_next(reader, &record);
        require((record != NULL) == (result == ARCHIVE_RECORD));
        require(goes_on(result) ? reader->place.offset >= before + WIRE_HEAD_BYTES
                                : reader->place.offset == before);
        if (record) {
            out->digests = out->digests * 31 + record_digest(record);
            out->records++;
            record_release(heap, record);
        }
        out->tails += result == ARCHIVE_TAIL;
        if (goes_on(result) && ++out->steps < STEPS_MAX)
            out->places[out->steps] = reader->place;
    } while (goes_on(result));
    out->end = result;
    out->reason = reader->reason;
    require((result == ARCHIVE_BROKEN) == (reader->reason != NULL));
    require(reader->place.offset <= reader->bytes);
    require(result != ARCHIVE_END || reader->place.offset == reader->bytes);
}

static struct reading read_from(const struct archive_place *place)
{
    struct archive_reader reader;
    struct reading out = {0};
    unsigned taken = blocks_taken();
    require(archive_reader_open(&reader, heap, path) == 0);
    if (place)
        require(archive_reader_seek(&reader, place) == 0);
    read_on(&reader, &out);
    archive_reader_close(&reader);
    require(heap_used(heap) == 0 && blocks_taken() == taken);
    return out;
}

/* The same bytes as a body of /-/merge. */
static void check_merges(struct slice bytes, const struct reading *whole)
{
    struct wire_reader reader;
    struct record *record = NULL;
    uint64_t digests = 0;
    wire_reader_init(&reader, heap, RECORD_VALUE_BYTES_MAX);
    while (bytes.len > 0) {
        size_t room;
        char *to = wire_reader_room(&reader, &room);
        size_t take = bytes.len < room ? bytes.len : room;
        memcpy(to, bytes.data, take);
        enum wire_result result = wire_reader_filled(&reader, take, &record);
        require(result != WIRE_BROKEN);
        if (result == WIRE_RECORD) {
            digests = digests * 31 + record_digest(record);
            record_release(heap, record);
        }
        bytes = (struct slice){bytes.data + take, bytes.len - take};
    }
    require(wire_reader_at_end(&reader) && reader.records == whole->records);
    require(digests == whole->digests);
    wire_reader_free(&reader);
}

static void start(void)
{
    heap = heap_new(HEAP_BYTES);
    file = memfd_create("backup", MFD_CLOEXEC);
    require(heap && file >= 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!heap)
        start();
    require(ftruncate(file, 0) == 0 && pwrite(file, data, size, 0) == (ssize_t)size);
    struct reading whole = read_from(NULL);
    if (whole.end == ARCHIVE_END)
        check_merges((struct slice){(const char *)data, size}, &whole);
    unsigned last = whole.steps < STEPS_MAX ? whole.steps : STEPS_MAX - 1;
    unsigned middle = size ? data[size - 1] % (last + 1) : 0;
    if (middle == 0)
        return 0;
    struct reading rest = read_from(&whole.places[middle]);
    require(rest.end == whole.end && rest.reason == whole.reason);
    require(rest.steps == whole.steps - middle && rest.tails <= whole.tails);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed)
{
    size = LLVMFuzzerMutate(data, size, size_max);
    if (seed % 2)
        frames_mend(data, size);
    return size;
}
