/* Fuzzes the commands of an operator by what servers answer to them: a node at 10.0.0.9, its fellow at 10.0.0.6, another cluster at 10.0.0.8,
 * a front-end of both at 10.0.0.7, and whoever is told of.
 *
 *   byte 0: bits 0-2 the command, see below
 *   byte 1: how it is run, see below
 *   then, again and again, one answer:
 *   byte 0: bits 0-2 to what, see below; 3-4 its status; 5 the bytes are cut; 6 the connection ends behind it; 7 in the middle
 *   bytes 1-2: how long its body is, big-endian; what is not there is left out
 *   its body; with the last status it is all that is said, and nothing when it is empty
 *
 * Of each kind the first answer that is left is given; when there is none any more, one that makes sense, or none. To /-/digest and to
 * /-/digest/GG a body that begins with 0 stands for a whole list: the bytes behind it are the lines that are each server's own.
 *
 * Whatever is said: what is asked is well formed; it is over in time, with an exit code that has a meaning and a sentence when it has
 * failed; what it prints has no bytes that a terminal would obey; a backup has its name when it is whole, and not before; what is said to
 * be copied was given away; and no memory, file, socket or timer is left. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/json_read.h"
#include "base/text.h"
#include "member.h"
#include "role/archive.h"
#include "role/command.h"
#include "role/reshard.h"
#include "script.h"

enum {
    BEGIN_BYTES = 2,
    CUT = 32,
    ENDS = 64,
    BREAKS = 128,
    RAW = 3, /* of the statuses */
    BODY_BYTES_MAX = 65535,
    SAID_BYTES = BODY_BYTES_MAX + 200,
    PRINTED_BYTES = 256 * 1024,
    RECORDS_MAX = 4096, /* that are told apart; with more, less is checked */
    FILE_RECORDS = 5,
    DIGEST_LINES = 128,
    STEP_US = BENCH_SECOND,
    STOP_US = 3 * BENCH_SECOND,
    OVER_STEPS = 600,      /* in which a command is over, with */
    OVER_STEPS_ANSWER = 70 /* so many more for each answer that was made up */
};

enum run { STATUS, STATUS_JSON, STATUS_WATCH, DIFF, BACKUP, RESTORE, RESHARD, RUNS = 8 };

/* How it is run. */
enum {
    BY_FRONTEND = 1,
    WITH_FELLOW = 2,
    ON_TERMINAL = 4,
    THEN_SILENT = 8, /* what makes sense is not said, either */
    RESUMED = 16,    /* when it has failed */
    STOPPED = 32,    /* by a signal */
    WITH_RATE = 64,
};

enum kind { OF_STATUS, OF_HISTORY, OF_MEMBERS, OF_READY, OF_DIGEST, OF_RECORDS, OF_MERGE, OF_KEY };

enum host { FELLOW = 6, FRONTEND = 7, OTHER = 8, NODE = 9 };

static const char *const targets[] = {
    [OF_STATUS] = "/-/status", [OF_HISTORY] = "/-/history", [OF_MEMBERS] = "/-/members",
    [OF_READY] = "/-/ready",   [OF_DIGEST] = "/-/digest",   [OF_RECORDS] = "/-/records",
    [OF_MERGE] = "/-/merge",
};
static const unsigned statuses[] = {200, 503, 507};

/* Records, by their digests. */
struct records {
    uint64_t digests[RECORDS_MAX];
    unsigned count;
    bool whole; /* of a stream: it has its end */
};

static struct bench bench;
static struct script script; /* of answers */
static uint8_t how_run;
static enum run what;
static unsigned made_up; /* answers so far */
static bool unsure;      /* one of them was bytes that may stand for anything */
static bool silent;
static struct records filed, /* in the file that is restored */
    told, last,              /* by all servers, and by the last one that was asked */
    given;                   /* merged */
static struct heap *heap;
static char folder[64], file[96], backup[96], part[128], progress[128];
static struct slice stream; /* of what is in the file */
static char printed[PRINTED_BYTES];
static size_t printed_bytes;

/* Records */

static void records_add(struct records *records, uint64_t digest)
{
    if (records->count < RECORDS_MAX)
        records->digests[records->count++] = digest;
}

static bool records_have(const struct records *records, uint64_t digest)
{
    for (unsigned i = 0; i < records->count; i++)
        if (records->digests[i] == digest)
            return true;
    return records->count == RECORDS_MAX;
}

static void check_within(const struct records *some, const struct records *all)
{
    for (unsigned i = 0; i < some->count; i++)
        require(records_have(all, some->digests[i]));
}

/* As far as it makes sense. */
static void records_read(struct records *records, struct slice bytes)
{
    struct wire_reader reader;
    enum wire_result result = WIRE_MORE;
    wire_reader_init(&reader, heap, RECORD_VALUE_BYTES_MAX);
    while (bytes.len > 0 && result < WIRE_BROKEN) {
        size_t room;
        struct record *record = NULL;
        char *to = wire_reader_room(&reader, &room);
        size_t take = bytes.len < room ? bytes.len : room;
        memcpy(to, bytes.data, take);
        bytes = (struct slice){bytes.data + take, bytes.len - take};
        result = wire_reader_filled(&reader, take, &record);
        if (record) {
            records_add(records, record_digest(record));
            record_release(heap, record);
        }
    }
    records->whole = result < WIRE_BROKEN && reader.offset > 0 && wire_reader_at_end(&reader);
    wire_reader_free(&reader);
}

/* What servers say */

static enum kind kind_of(const struct bench_request *request)
{
    enum kind kind = OF_STATUS;
    while (kind < OF_KEY && !slice_starts(request->head.target, slice_of(targets[kind])))
        kind++;
    return kind;
}

static void say_status(struct text *text, unsigned host)
{
    if (host == FRONTEND)
        text_add(text, "{\"role\":\"frontend\",\"ready\":true,\"partitions\":["
                       "{\"nodes\":{\"10.0.0.9:8000\":{\"state\":\"ready\"}}},"
                       "{\"nodes\":{\"10.0.0.8:8000\":{\"state\":\"ready\"}}}]}");
    else
        text_add(text, "{\"role\":\"node\",\"ready\":true,\"keys\":5,"
                       "\"cluster\":{\"members\":1,\"phase\":\"ready\"}}");
}

static void say_member(struct text *text, unsigned host)
{
    text_add(text, "member 10.0.0.%u:%d ready %016x 1795348800000000 0 0\n", host, BENCH_PORT,
             host);
}

static void say_hello(struct text *text, unsigned host)
{
    const char *partition = !(how_run & BY_FRONTEND) ? "-" : host == OTHER ? "1/2" : "0/2";
    text_add(text,
             "protocol 1\ncluster fog\npartition %s\njoined 1\nsince 1\nclock %llu\nhorizon 0\n"
             "digest 00000000000000ff\nrecords 5\ngathered 1000\n",
             partition, (unsigned long long)bench.io.ops->wall_us(&bench.io));
    say_member(text, host);
    if (how_run & WITH_FELLOW && host != OTHER)
        say_member(text, host == FELLOW ? NODE : FELLOW);
}

/* All are the same on each server but those that are named. */
static void say_digests(struct text *text, unsigned host, struct slice target, struct slice own)
{
    enum { ALL = sizeof "/-/digest" - 1, GROUP = ALL + 3 };
    unsigned different[DIGEST_LINES] = {0};
    if (target.len > GROUP) /* the records of a shard */
        return;
    for (size_t i = 0; i < own.len; i++)
        different[(uint8_t)own.data[i] % DIGEST_LINES] = host;
    if (target.len == ALL)
        text_add(text, "all %016x records 5\n", own.len ? host : 0);
    for (unsigned i = 0; i < DIGEST_LINES; i++)
        text_add(text, "%.*s%s%02x %016x\n", target.len == GROUP ? 2 : 0, target.data + GROUP - 2,
                 target.len == GROUP ? "/" : "", i, different[i]);
}

static void say_usual(struct text *text, unsigned host, enum kind kind,
                      const struct bench_request *request)
{
    struct records merged = {.count = 0};
    if (kind == OF_STATUS)
        say_status(text, host);
    else if (kind == OF_HISTORY)
        text_add(text, "{}");
    else if (kind == OF_MEMBERS)
        say_hello(text, host);
    else if (kind == OF_DIGEST)
        say_digests(text, host, request->head.target, (struct slice){0});
    else if (kind == OF_RECORDS)
        text_add_slice(text, stream);
    else if (kind == OF_MERGE) {
        records_read(&merged, request->body);
        text_add(text, "%u records were read, 0 of them were new here.\n", merged.count);
    }
}

/* A merge that a server took, and said so, counts as given; what it says may be anything. */
static void keep_records(enum kind kind, const struct bench_request *request, unsigned status,
                         struct slice body, bool breaks)
{
    if (kind == OF_MERGE && status == 200 && !breaks)
        records_read(&given, request->body);
    if (kind != OF_RECORDS)
        return;
    last = (struct records){.count = 0};
    records_read(&last, body);
    last.whole = last.whole && status == 200 && !breaks;
    for (unsigned i = 0; i < last.count; i++)
        records_add(&told, last.digests[i]);
}

static void check_asked(enum kind kind, const struct bench_request *request)
{
    struct records merged = {.count = 0};
    if (kind == OF_MERGE) {
        records_read(&merged, request->body);
        require(request->head.method == HTTP_POST && merged.whole);
    } else if (kind == OF_KEY) {
        require(request->head.method == HTTP_HEAD && what == DIFF);
    } else {
        require(request->head.method == HTTP_GET && request->body.len == 0);
    }
}

static void on_request(struct member_play *play, int fd, const struct bench_request *request)
{
    static char said[SAID_BYTES], room[BODY_BYTES_MAX];
    struct text text = text_in(room, sizeof room);
    struct slice body;
    uint8_t how = 0;
    unsigned host = bench.sockets[fd].remote.ip[15];
    enum kind kind = kind_of(request);
    check_asked(kind, request);
    bool scripted = script_find(&script, kind, &how, &body);
    made_up += scripted;
    if (!scripted && silent)
        return;
    if (!scripted)
        say_usual(&text, host, kind, request);
    else if (kind == OF_DIGEST && body.len > 0 && body.data[0] == 0)
        say_digests(&text, host, request->head.target, (struct slice){body.data + 1, body.len - 1});
    else
        text_add_slice(&text, body);
    body = text_slice(&text);
    unsigned status = how >> 3 & 3;
    int head = 0;
    if (status == RAW)
        unsure = true;
    else
        head = snprintf(said, sizeof said, "HTTP/1.1 %u Status\r\nContent-Length: %zu\r\n\r\n",
                        statuses[status], body.len);
    if (status != RAW)
        keep_records(kind, request, statuses[status], body, how & BREAKS);
    if (body.len && request->head.method != HTTP_HEAD)
        memcpy(said + head, body.data, body.len);
    else
        body.len = 0;
    struct slice all = {said, ((size_t)head + body.len) / (how & BREAKS ? 2 : 1)};
    (void)play;
    if (bench_feed(&bench, fd, all, how & CUT ? 1 + (unsigned)body.len : 0) &&
        how & (ENDS | BREAKS))
        bench_finish(&bench, fd);
}

/* Names are addresses, and are told of as soon as there is nothing else to do. */

static struct lookup *lookups[RECORDS_MAX];
static unsigned lookup_count;

static int resolver_ask(struct resolver *resolver, struct lookup *lookup, const char *name)
{
    struct address address;
    (void)resolver;
    require(lookup_count < RECORDS_MAX && !lookup->data);
    require(address_parse_ip(slice_of(name), address.ip) == 0);
    struct address *kept = malloc(sizeof *kept);
    require(kept);
    *kept = (struct address){0};
    memcpy(kept->ip, address.ip, sizeof kept->ip);
    lookup->data = kept;
    lookups[lookup_count++] = lookup;
    return 0;
}

static void resolver_cancel(struct resolver *resolver, struct lookup *lookup)
{
    (void)resolver;
    for (unsigned i = 0; i < lookup_count; i++)
        if (lookups[i] == lookup) {
            free(lookup->data);
            lookup->data = NULL;
            lookups[i] = lookups[--lookup_count];
            return;
        }
}

static bool resolver_answer(struct member_play *play)
{
    (void)play;
    if (lookup_count == 0)
        return false;
    struct lookup *lookup = lookups[0];
    struct address address = *(struct address *)lookup->data;
    resolver_cancel(NULL, lookup);
    lookup->on_answer(lookup, &address, 1);
    return true;
}

static const struct resolver_ops resolver_ops = {resolver_ask, resolver_cancel};
static struct resolver resolver = {&resolver_ops};

static struct member_play play = {
    .bench = &bench, .plays_all = true, .on_request = on_request, .on_quiet = resolver_answer};

/* What it prints */

static void on_print(void *context, const char *text)
{
    size_t len = strlen(text), room = sizeof printed - 1 - printed_bytes;
    (void)context;
    len = len < room ? len : room;
    memcpy(printed + printed_bytes, text, len);
    printed_bytes += len;
    printed[printed_bytes] = 0;
}

/* A terminal obeys a few things that the program itself says. */
static void check_text(const char *text, bool terminal)
{
    for (const char *at = text; *at; at++) {
        bool own = terminal && (*at == '\r' || (*at == 27 && at[1] == '['));
        require((unsigned char)*at >= ' ' ? *at != 127 : *at == '\n' || own);
    }
}

/* What has come of it */

static void check_backup(bool fine)
{
    struct archive_reader reader;
    struct records kept = {.count = 0};
    enum archive_result result;
    require((access(backup, F_OK) == 0) == fine);
    if (!fine)
        return;
    require(access(part, F_OK) != 0);
    require(archive_reader_open(&reader, heap, backup) == 0);
    unsigned tails = 0;
    do {
        struct record *record = NULL;
        result = archive_next(&reader, &record);
        tails += result == ARCHIVE_TAIL;
        if (record) {
            records_add(&kept, record_digest(record));
            record_release(heap, record);
        }
    } while (result < ARCHIVE_END);
    archive_reader_close(&reader);
    require(result == ARCHIVE_END && tails == 1);
    if (unsure)
        return;
    check_within(&kept, &told);
    require(last.whole || last.count == 0);
    check_within(&last, &kept);
}

static void check_status(const struct command *command)
{
    struct slice well;
    bool fine = command->exit == COMMAND_FINE;
    if (printed_bytes == 0 || printed_bytes == sizeof printed - 1 || what == STATUS_WATCH)
        return;
    if (what == STATUS) {
        require((strstr(printed, "All is well") != NULL) == fine);
        return;
    }
    struct slice text = {printed, printed_bytes};
    require(json_is_valid(text) && json_find(text, "well", &well));
    require(json_is_true(well) == fine);
}

/* Watching goes on until then. */
static bool stops(void)
{
    return how_run & STOPPED || what == STATUS_WATCH;
}

static void check_end(const struct command *command)
{
    bool fine = command->exit == COMMAND_FINE, failed = *command->failure;
    require(command->over);
    require(fine || command->exit == COMMAND_WRONG || command->exit == COMMAND_UNREACHED);
    require(!fine || !failed);
    require(command->exit != COMMAND_UNREACHED || failed);
    require(fine || failed || (what <= DIFF && printed_bytes > 0));
    require(failed || printed_bytes > 0);
    check_text(printed, how_run & ON_TERMINAL);
    check_text(command->failure, false);
    if (what < DIFF && !failed)
        check_status(command);
    if (fine && !unsure && what == RESTORE && !strstr(printed, " are of other partitions"))
        check_within(&filed, &given);
    if (fine && !unsure && what == RESHARD) {
        require(last.whole);
        check_within(&last, &given);
    }
    /* With nothing made up, nobody who is silent and nobody who stops it, all goes well. */
    if (made_up == 0 && !silent && !stops())
        require(fine);
}

/* A life */

static const struct command_ops *ops_of(void)
{
    static const struct command_ops *const list[] = {
        [STATUS] = &survey_command,       [STATUS_JSON] = &survey_command,
        [STATUS_WATCH] = &survey_command, [DIFF] = &diff_command,
        [BACKUP] = &backup_command,       [RESTORE] = &restore_command,
        [RESHARD] = &reshard_command,
    };
    return list[what];
}

static struct command command_of(bool resume)
{
    static const char *const old_seeds[] = {"10.0.0.9:8000"}, *const new_seeds[] = {
                                                                  "10.0.0.8:8000"};
    static const struct frontend_cluster from = {old_seeds, 1}, to = {new_seeds, 1};
    static const struct reshard_config reshard = {&from, &to, 1, 1};
    bool terminal = how_run & ON_TERMINAL;
    struct command command = {
        .loop = &bench.loop,
        .resolver = &resolver,
        .reshard = &reshard,
        .terminal = terminal,
        .colours = terminal,
        .print = on_print,
        .exit = COMMAND_WRONG,
        .options = {.words = {how_run & BY_FRONTEND ? "10.0.0.7:8000" : "10.0.0.9:8000",
                              what == DIFF     ? "10.0.0.8:8000"
                              : what == BACKUP ? backup
                                               : file},
                    .word_count = 2,
                    .watch = what == STATUS_WATCH,
                    .json = what == STATUS_JSON,
                    .resume = resume,
                    .interval_us = BENCH_SECOND,
                    .limit = 3,
                    .rate = how_run & WITH_RATE ? 1000 : 0},
    };
    return command;
}

static enum command_exit run(bool resume)
{
    struct command command = command_of(resume);
    uint64_t begin_us = bench.now_us;
    printed[printed_bytes = 0] = 0;
    last = (struct records){.count = 0};
    void *state = ops_of()->start(&command);
    require(state);
    for (unsigned steps = 0; !command.over; steps++) {
        require(steps < OVER_STEPS + OVER_STEPS_ANSWER * made_up);
        if (stops() && bench.now_us - begin_us >= STOP_US)
            ops_of()->stop(state);
        else
            member_pass(&play, STEP_US);
    }
    check_end(&command);
    ops_of()->destroy(state);
    require(lookup_count == 0);
    bench.loop.stopped = false;
    if (what == BACKUP)
        check_backup(command.exit == COMMAND_FINE);
    return command.exit;
}

static struct record *make_record(unsigned i)
{
    static const char *const keys[FILE_RECORDS] = {"a", "b", "c/d", "e", "f"};
    struct record_form form = {
        .key = slice_of(keys[i]),
        .type = {"text/plain", i == 1 ? 10 : 0},
        .version = 1795348800000000 + i,
        .expires_us = i == 2 ? 1895348800000000 : 0,
        .value_bytes = i == 3 ? 0 : 100 * i,
        .tombstone = i == 3,
    };
    struct record *record = record_new(heap, &form, HEAP_NORMAL);
    require(record);
    memset(record_value_room(record), 'v', form.value_bytes);
    record_seal(record);
    return record;
}

/* Two partitions have less to say, so that a stream is the same for each of them. */
static void make_file(void)
{
    static char room[FILE_RECORDS * 512];
    struct text text = text_in(room, sizeof room);
    struct archive_writer writer;
    struct archive_head head = {1, 1, "2026-11-26T01:05:45.000Z"};
    char frame[WIRE_HEAD_BYTES];
    require(archive_create(&writer, file, &head) == 0);
    for (unsigned i = 0; i < FILE_RECORDS; i++) {
        struct record *record = make_record(i);
        wire_head(record, frame);
        text_add_slice(&text, (struct slice){frame, sizeof frame});
        text_add_slice(&text, wire_data(record));
        require(archive_put(&writer, record) == 0);
        records_add(&filed, record_digest(record));
        record_release(heap, record);
    }
    wire_end(FILE_RECORDS, frame);
    text_add_slice(&text, (struct slice){frame, sizeof frame});
    stream = text_slice(&text);
    require(archive_mark(&writer) == 0 && archive_finish(&writer) == 0);
    archive_close(&writer);
}

static void forget_files(void)
{
    unlink(backup);
    unlink(part);
    unlink(progress);
}

static void remove_folder(void)
{
    forget_files();
    unlink(file);
    rmdir(folder);
}

static void start(void)
{
    heap = heap_new(0);
    snprintf(folder, sizeof folder, "%s/velour-fog-fuzz-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    require(heap && mkdtemp(folder));
    snprintf(file, sizeof file, "%s/file", folder);
    snprintf(backup, sizeof backup, "%s/backup", folder);
    snprintf(part, sizeof part, "%s.part", backup);
    snprintf(progress, sizeof progress, "%s.progress", file);
    atexit(remove_folder);
    make_file();
}

/* The number that the next file gets. */
static int next_file(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    close(fd);
    return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!heap)
        start();
    if (size < BEGIN_BYTES || data[0] % RUNS > RESHARD)
        return 0;
    what = data[0] % RUNS;
    how_run = what == RESHARD ? data[1] & (uint8_t)~BY_FRONTEND : data[1];
    silent = how_run & THEN_SILENT;
    unsure = false;
    made_up = 0;
    script = (struct script){.bytes = {(const char *)data + BEGIN_BYTES, size - BEGIN_BYTES}};
    told.count = given.count = 0;
    forget_files();
    int files = next_file();
    bench_start(&bench);
    if (run(false) != COMMAND_FINE && how_run & RESUMED && (what == BACKUP || what == RESTORE)) {
        silent = false;
        how_run &= (uint8_t)~STOPPED;
        run(true);
    }
    bench_end(&bench);
    require(heap_used(heap) == 0 && next_file() == files);
    return 0;
}

/* Half of the records get frames whose checks fit. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed)
{
    size = LLVMFuzzerMutate(data, size, size_max);
    if (seed % 2 && size > BEGIN_BYTES)
        script_mend(data + BEGIN_BYTES, size - BEGIN_BYTES, 1u << OF_RECORDS);
    return size;
}
