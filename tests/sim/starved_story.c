/* A story in which three nodes and a front-end do all that they ever do: they start, serve, are joined, gather, push, keep what a slow
 * member lacks, repair after a cut, drain. Whatever fails: nobody crashes or spins; what cannot start says so, and starts when it is
 * started again; each answer is right, or a refusal, or the connection ends, and soon after the failure every request succeeds; all that
 * was acknowledged is on all nodes; who is told to stop does so in time; and no socket, no memory is left. */
#include "starved.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fetch.h"
#include "role/cluster_state.h"
#include "role/node_state.h"

enum {
    SECOND = 1000 * 1000,
    NODES = 3,
    FRONTEND = NODES, /* its place */
    PROCESSES = NODES + 1,
    KEYS = 64,
    WRITES_MAX = 1000,
    DOUBTS_MAX = 16,
    VALUE_MAX = 1 << 20,
    LARGE = 200 * 1000,
    TICK_US = 20 * 1000,
    AGAIN_US = 250 * 1000,       /* after a refusal */
    START_AGAIN_US = 1 * SECOND, /* after one that failed */
    ANSWER_US = 10 * SECOND,     /* one try */
    SOON_US = 15 * SECOND,       /* within it a request succeeds that is tried again */
    AGREE_US = 60 * SECOND,      /* within it all are there, ready and of one mind */
    DRAIN_US = 10 * SECOND,
    HEAP_SLACK = 4096,
};

/* What is known of a key. A value is the number of the write that made it; 0 for none. */
struct known {
    char name[16];
    unsigned has;
    unsigned may[DOUBTS_MAX]; /* writes that were not answered */
    unsigned may_count;
    uint64_t version; /* of the last write that was acknowledged */
};

struct member_process {
    struct process process;
    struct starved_names names;
    bool running;
    unsigned boots;
    uint64_t start_us; /* when it is to be started; 0 for not */
};

struct story {
    struct world world;
    struct faults faults;
    struct limits limits;
    struct cables cables;
    struct member_process processes[PROCESSES];
    struct fetcher client, waiter;
    struct world_event tick; /* so that time passes */
    struct known keys[KEYS];
    unsigned key_count;
    size_t bytes_of[WRITES_MAX]; /* of the value of each write */
    unsigned writes;
    bool cut; /* n0 from n1 */
    char step[64];
    char etag[RESPONSE_TEXT_BYTES];
};

static struct story *story_of_tick(struct world_event *event)
{
    return (struct story *)((char *)event - offsetof(struct story, tick));
}

static void on_tick(struct world_event *event)
{
    struct story *story = story_of_tick(event);
    world_event_set(&story->world, event, story->world.now_us + TICK_US);
}

static bool is_cut(void *context, const struct cable_host *from, const struct cable_host *to)
{
    const struct story *story = context;
    const struct cable_host *a = &story->processes[0].process.host,
                            *b = &story->processes[1].process.host;
    return story->cut && ((from == a && to == b) || (from == b && to == a));
}

static void step(struct story *story, const char *name)
{
    snprintf(story->step, sizeof story->step, "%s", name);
    world_trace(&story->world, "STORY", "%s", name);
}

/* Processes */

static void boot(struct story *story, unsigned number)
{
    static const char *const seeds[] = {"fog:8000", "10.0.0.1:8000"};
    static const struct frontend_cluster cluster = {seeds, 2};
    struct member_process *own = &story->processes[number];
    struct node_config config = process_config(&story->limits);
    starved_names_init(&own->names, &own->process);
    own->start_us = 0;
    own->running = true;
    config.joins[0] = number == 1 ? "10.0.0.1:8000" : "fog:8000";
    config.join_count = number > 0;
    config.resolver = &own->names.resolver;
    if (number == FRONTEND) {
        struct frontend_config front = {.server = config.server,
                                        .clusters = &cluster,
                                        .cluster_count = 1,
                                        .resolver = config.resolver,
                                        .value_max = VALUE_MAX,
                                        .drain_us = DRAIN_US};
        process_boot_frontend(&own->process, &story->cables, &front, number, ++own->boots);
    } else {
        process_boot(&own->process, &story->cables, &config, number, ++own->boots);
    }
}

static void end_process(struct story *story, unsigned number)
{
    struct member_process *own = &story->processes[number];
    struct io_sim *io = &own->process.io;
    own->running = false;
    starved_close(&own->process);
    if (io->open_count && !story->world.failed)
        world_fail(&story->world, "%s: %u sockets of %s are still open at its end", story->step,
                   io->open_count, own->process.host.name);
    process_end(&own->process);
}

/* Starts what is to be started: as an operator's service manager does, again and again. */
static void tend(struct story *story)
{
    for (unsigned i = 0; i < PROCESSES; i++) {
        struct member_process *own = &story->processes[i];
        if (own->running || !own->start_us || own->start_us > story->world.now_us)
            continue;
        boot(story, i);
        int error = own->process.start_error;
        if (!error)
            continue;
        if (!starved_has_struck())
            world_fail(&story->world, "%s does not start: %s", own->process.host.name,
                       strerror(-error));
        end_process(story, i);
        own->start_us = story->world.now_us + START_AGAIN_US;
    }
}

static void pass(struct story *story, uint64_t us)
{
    uint64_t until_us = story->world.now_us + us;
    do {
        tend(story);
    } while (story->world.now_us < until_us && world_step(&story->world));
}

/* Requests */

static bool is_refusal(unsigned status)
{
    return status == 503 || status == 507 || status == 502 || status == 504;
}

/* One try. Returns the status, 0 for no answer. The sink's bytes are the caller's to free. */
static unsigned try(struct story *story, struct fetcher *fetcher, unsigned number,
                    const struct bytes *request, struct response *response,
                    struct response_sink *sink)
{
    bool answered = fetch(fetcher, &story->processes[number].process.address, request, response,
                          sink, ANSWER_US);
    if (!answered)
        fetcher_close(fetcher); /* nobody waits for it any more */
    return answered ? response->status : 0;
}

/* A refusal. Returns whether it may be tried again; it may not when nothing has failed, or for too long. */
static bool again(struct story *story, unsigned number, unsigned status, uint64_t since_us)
{
    uint64_t now_us = story->world.now_us, struck_us = starved_until_us();
    uint64_t from_us = struck_us != UINT64_MAX && struck_us > since_us ? struck_us : since_us;
    const char *name = story->processes[number].process.host.name;
    if (story->world.failed)
        return false;
    if (status && !is_refusal(status))
        world_fail(&story->world, "%s: %s says %u", story->step, name, status);
    else if (!starved_has_struck())
        world_fail(&story->world, "%s: %s says %u, and nothing has failed", story->step, name,
                   status);
    else if (now_us > from_us + SOON_US)
        world_fail(&story->world, "%s: %s still says %u", story->step, name, status);
    else
        pass(story, AGAIN_US);
    return !story->world.failed;
}

/* Asks until there is no refusal. Returns the status, 0 when the world has failed. */
static unsigned ask(struct story *story, unsigned number, const struct bytes *request,
                    struct response *response, struct response_sink *sink)
{
    uint64_t since_us = story->world.now_us;
    for (;;) {
        unsigned status = try(story, &story->client, number, request, response, sink);
        if (status && !is_refusal(status))
            return status;
        if (sink)
            sink->bytes = 0;
        if (!again(story, number, status, since_us))
            return 0;
    }
}

/* A request whose answer is always of the same status. */
static void ask_text(struct story *story, unsigned number, const char *text, unsigned wanted)
{
    struct bytes request = {0};
    struct response response;
    bytes_print(&request, "%s", text);
    unsigned status = ask(story, number, &request, &response, NULL);
    if (status && status != wanted)
        world_fail(&story->world, "%s: %u in place of %u", story->step, status, wanted);
    bytes_free(&request);
}

static void ask_page(struct story *story, unsigned number, const char *target)
{
    char text[200];
    snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: sim\r\n\r\n", target);
    ask_text(story, number, text, 200);
}

/* Values */

static char value_byte(unsigned write, size_t at)
{
    return (char)('A' + (write * 31 + at + at / 26 * 3) % 58);
}

static struct known *known_of(struct story *story, const char *name)
{
    for (unsigned i = 0; i < story->key_count; i++)
        if (strcmp(story->keys[i].name, name) == 0)
            return &story->keys[i];
    if (story->key_count == KEYS)
        abort();
    struct known *known = &story->keys[story->key_count++];
    snprintf(known->name, sizeof known->name, "%s", name);
    return known;
}

static bool is_value(const struct story *story, unsigned write, const struct response_sink *sink)
{
    if (story->bytes_of[write] != sink->bytes)
        return false;
    for (size_t i = 0; i < sink->bytes; i++)
        if (sink->data[i] != value_byte(write, i))
            return false;
    return true;
}

/* Somebody has read this, NULL for nothing. */
static void known_seen(struct story *story, unsigned number, struct known *known,
                       const struct response_sink *sink)
{
    for (unsigned i = 0; i <= known->may_count; i++) {
        unsigned write = i ? known->may[i - 1] : known->has;
        if (sink ? write == 0 || !is_value(story, write, sink) : write != 0)
            continue;
        known->has = write;
        known->may_count = 0;
        return;
    }
    world_fail(&story->world, "%s: %s has %s of %s in place of write %u (%u doubts)", story->step,
               story->processes[number].process.host.name, sink ? "something else" : "nothing",
               known->name, known->has, known->may_count);
}

static void known_written(struct story *story, struct known *known, unsigned write, unsigned status,
                          const struct response *response)
{
    if (status == 200 || status == 202) {
        if (response->version <= known->version)
            world_fail(&story->world, "%s: the version of %s does not grow", story->step,
                       known->name);
        known->version = response->version;
        known->has = write;
        known->may_count = 0;
    } else if (status != 503 && status != 507) { /* these say that nothing was done */
        if (known->may_count == DOUBTS_MAX)
            abort();
        known->may[known->may_count++] = write;
    }
}

enum form { FORM_LENGTH, FORM_CHUNKED, FORM_DELETE };

static void compose_write(struct bytes *request, const char *name, enum form form,
                          const char *fields, unsigned write, size_t bytes)
{
    enum { PARTS = 3 };
    bytes_print(request, "%s /%s HTTP/1.1\r\nHost: sim\r\n%s",
                form == FORM_DELETE ? "DELETE" : "PUT", name, fields);
    if (form == FORM_CHUNKED)
        bytes_print(request, "Transfer-Encoding: chunked\r\n\r\n");
    else
        bytes_print(request, "Content-Length: %zu\r\n\r\n", bytes);
    for (size_t at = 0, part = bytes / PARTS + 1; at < bytes; at += part) {
        size_t now = part < bytes - at ? part : bytes - at;
        if (form == FORM_CHUNKED)
            bytes_print(request, "%zx\r\n", now);
        char *to = bytes_grow(request, now);
        for (size_t i = 0; i < now; i++)
            to[i] = value_byte(write, at + i);
        if (form == FORM_CHUNKED)
            bytes_print(request, "\r\n");
    }
    if (form == FORM_CHUNKED)
        bytes_print(request, "0\r\n\r\n");
}

static void write_with(struct story *story, unsigned number, const char *name, enum form form,
                       const char *fields, size_t bytes)
{
    struct known *known = known_of(story, name);
    struct bytes request = {0};
    struct response response;
    if (++story->writes == WRITES_MAX)
        abort();
    unsigned write = form == FORM_DELETE ? 0 : story->writes, status;
    story->bytes_of[story->writes] = bytes;
    compose_write(&request, name, form, fields, write, bytes);
    uint64_t since_us = story->world.now_us;
    do {
        status = try(story, &story->client, number, &request, &response, NULL);
        known_written(story, known, write, status, &response);
    } while (status != 200 && status != 202 && again(story, number, status, since_us));
    bytes_free(&request);
}

static void put(struct story *story, unsigned number, const char *name, size_t bytes)
{
    write_with(story, number, name, FORM_LENGTH, "", bytes);
}

static void delete (struct story *story, unsigned number, const char *name)
{
    write_with(story, number, name, FORM_DELETE, "", 0);
}

static void get(struct story *story, unsigned number, const char *name)
{
    struct bytes request = {0};
    struct response response;
    struct response_sink sink = {0};
    bytes_print(&request, "GET /%s HTTP/1.1\r\nHost: sim\r\n\r\n", name);
    unsigned status = ask(story, number, &request, &response, &sink);
    if (status == 200 || status == 204)
        known_seen(story, number, known_of(story, name), status == 200 ? &sink : NULL);
    else if (status)
        world_fail(&story->world, "%s: GET gets %u", story->step, status);
    if (status == 200)
        snprintf(story->etag, sizeof story->etag, "%s", response.etag);
    free(sink.data);
    bytes_free(&request);
}

/* Starts a process, and asks it for a key until it serves: it refuses, or is right. */
static void start(struct story *story, unsigned number)
{
    struct bytes request = {0};
    struct response response;
    uint64_t until_us = story->world.now_us + AGREE_US;
    unsigned status = 0;
    story->processes[number].start_us = story->world.now_us + 1;
    bytes_print(&request, "GET /one HTTP/1.1\r\nHost: sim\r\n\r\n");
    while (!story->world.failed && status != 200 && status != 204) {
        struct response_sink sink = {0};
        pass(story, TICK_US);
        status = try(story, &story->client, number, &request, &response, &sink);
        if (status == 200 || (status == 204 && !starved_hides(&story->processes[number].process)))
            known_seen(story, number, known_of(story, "one"), status == 200 ? &sink : NULL);
        else if (story->world.now_us > until_us || (status && status != 204 && !is_refusal(status)))
            world_fail(&story->world, "%s: %s does not come to serve: %u", story->step,
                       story->processes[number].process.host.name, status);
        free(sink.data);
    }
    bytes_free(&request);
}

/* The one of the ETag that was seen last. */
static void get_unmodified(struct story *story, unsigned number, const char *name)
{
    char text[RESPONSE_TEXT_BYTES + 200];
    get(story, number, name);
    snprintf(text, sizeof text, "GET /%s HTTP/1.1\r\nHost: sim\r\nIf-None-Match: %s\r\n\r\n", name,
             story->etag);
    ask_text(story, number, text, 304);
}

static void get_all(struct story *story, unsigned number)
{
    for (unsigned i = 0; i < story->key_count; i++)
        get(story, number, story->keys[i].name);
}

/* A GET that waits for a change that comes through `writer`. */
static void wait_for_change(struct story *story, unsigned number, unsigned writer, const char *name)
{
    struct bytes request = {0};
    struct response response;
    struct response_sink sink = {0};
    get(story, number, name);
    bytes_print(&request,
                "GET /%s HTTP/1.1\r\nHost: sim\r\nPrefer: wait=5\r\nIf-None-Match: %s\r\n\r\n",
                name, story->etag);
    fetch_begin(&story->waiter, &story->processes[number].process.address, &request, &response,
                &sink);
    for (int i = 0; i < 10 && fetch_go_on(&story->waiter); i++)
        pass(story, TICK_US);
    bool refused = is_refusal(response.status) || (response.status == 304 && starved_has_struck());
    if (response.state == RESPONSE_DONE && !refused)
        world_fail(&story->world, "%s: it does not wait", story->step);
    put(story, writer, name, 50);
    bool answered = story->waiter.end && fetch_end(&story->waiter, ANSWER_US);
    if (!answered || is_refusal(response.status))
        again(story, number, answered ? response.status : 0, story->world.now_us);
    else if (response.status == 200)
        known_seen(story, number, known_of(story, name), &sink);
    else if (response.status != 304 || !starved_has_struck())
        world_fail(&story->world, "%s: %u in place of 200", story->step, response.status);
    fetcher_close(&story->waiter);
    free(sink.data);
    bytes_free(&request);
}

/* Listings and backups: whole, or not at all */

static bool is_listed(const struct response_sink *sink, const char *name)
{
    size_t len = strlen(name);
    for (const char *at = sink->data, *end = at + sink->bytes; at < end;) {
        const char *line = memchr(at, '\n', (size_t)(end - at));
        if (!line)
            return false;
        if ((size_t)(line - at) == len && memcmp(at, name, len) == 0)
            return true;
        at = line + 1;
    }
    return false;
}

/* What was read or written last is known for sure. */
static void check_listing(struct story *story, unsigned number)
{
    struct bytes request = {0};
    struct response response;
    struct response_sink sink = {0};
    bytes_print(&request, "GET /-/keys?limit=1000 HTTP/1.1\r\nHost: sim\r\n\r\n");
    unsigned status = ask(story, number, &request, &response, &sink), lines = 0, present = 0;
    for (size_t i = 0; i < sink.bytes; i++)
        lines += sink.data[i] == '\n';
    for (unsigned i = 0; status && i < story->key_count; i++) {
        const struct known *known = &story->keys[i];
        present += known->has != 0;
        if (is_listed(&sink, known->name) != (known->has != 0))
            world_fail(&story->world, "%s: the listing is wrong about %s", story->step,
                       known->name);
    }
    if (status && (status != 200 || lines != present))
        world_fail(&story->world, "%s: %u, %u keys are listed in place of %u", story->step, status,
                   lines, present);
    free(sink.data);
    bytes_free(&request);
}

/* What is merged where it came from is not new. */
static void check_backup(struct story *story, unsigned number)
{
    struct bytes request = {0}, restore = {0};
    struct response response;
    struct response_sink sink = {0}, said = {0};
    unsigned read = 0, new = 1, present = 0;
    bytes_print(&request, "GET /-/records HTTP/1.1\r\nHost: sim\r\n\r\n");
    unsigned status = ask(story, number, &request, &response, &sink);
    for (unsigned i = 0; i < story->key_count; i++)
        present += story->keys[i].has != 0;
    bytes_print(&restore, "POST /-/merge HTTP/1.1\r\nHost: sim\r\nContent-Length: %zu\r\n\r\n",
                sink.bytes);
    bytes_add(&restore, sink.data, sink.bytes);
    if (status)
        status = ask(story, number, &restore, &response, &said);
    if (status && (status != 200 || !said.bytes))
        world_fail(&story->world, "%s: %u", story->step, status);
    else if (status && (sscanf(response.kept, "%u records were read, %u", &read, &new) != 2 ||
                        new != 0 || read < present))
        world_fail(&story->world, "%s: %u records with %u new ones in place of %u", story->step,
                   read, new, present);
    free(said.data);
    free(sink.data);
    bytes_free(&restore);
    bytes_free(&request);
}

/* All nodes */

/* Who said goodbye to nobody who could hear it is down. */
static unsigned members_up(const struct cluster *cluster)
{
    unsigned up = 0;
    for (unsigned i = 0; i < cluster->members.count; i++)
        up += cluster->members.list[i]->state == MEMBER_HERE &&
              !member_is_down(cluster, cluster->members.list[i]);
    return up;
}

static bool is_settled(const struct story *story, unsigned number, unsigned count, uint64_t digest)
{
    const struct member_process *own = &story->processes[number];
    if (!own->running)
        return false;
    const struct node *node = own->process.node;
    return cluster_is_ready(node->cluster) && members_up(node->cluster) == count &&
           store_digest(node->store) == digest;
}

/* Waits until the nodes from `first` to `last`, which are all, know each other and have the same. */
static void agree(struct story *story, unsigned first, unsigned last)
{
    uint64_t since_us = story->world.now_us;
    for (;;) {
        const struct member_process *own = &story->processes[first];
        bool settled = own->running;
        for (unsigned i = first; i <= last && settled; i++)
            settled =
                is_settled(story, i, last - first + 1, store_digest(own->process.node->store));
        if (settled || story->world.failed)
            return;
        if (story->world.now_us > since_us + AGREE_US) {
            world_fail(&story->world, "%s: the nodes do not come to agree", story->step);
            return;
        }
        pass(story, AGAIN_US / 4);
    }
}

static void check_heap(struct story *story, unsigned number)
{
    const struct member_process *own = &story->processes[number];
    if (own->running && heap_used(store_heap(own->process.node->store)) >
                            process_table_bytes(own->process.node) + HEAP_SLACK)
        world_fail(&story->world, "%s: the heap of n%u has records that the table has not",
                   story->step, number);
}

/* They agree, and all that was acknowledged is on each of them. */
static void check_all(struct story *story, unsigned first, unsigned last)
{
    agree(story, first, last);
    for (unsigned i = first; i <= last; i++) {
        get_all(story, i);
        check_heap(story, i);
    }
}

static void stop(struct story *story, unsigned number)
{
    struct member_process *own = &story->processes[number];
    uint64_t until_us = story->world.now_us + DRAIN_US + 2 * SECOND;
    if (story->world.failed || !own->running)
        return;
    process_drain(&own->process);
    while (!own->process.stopped_us && story->world.now_us < until_us && world_step(&story->world))
        ;
    if (!own->process.stopped_us)
        world_fail(&story->world, "%s: %s does not end", story->step, own->process.host.name);
    end_process(story, number);
}

/* What happens */

static void serve(struct story *story)
{
    step(story, "read and write");
    get(story, 0, "one");
    put(story, 0, "one", 10);
    get_unmodified(story, 0, "one");
    put(story, 0, "one", 300);
    put(story, 0, "empty", 0);
    write_with(story, 0, "chunked", FORM_CHUNKED, "Content-Type: text/plain\r\n", LARGE);
    put(story, 0, "large", LARGE);
    put(story, 0, "gone", 5);
    delete (story, 0, "gone");
    write_with(story, 0, "brief", FORM_LENGTH, "Fog-TTL: 1\r\n", 20);
    ask_text(story, 0, "HEAD /one HTTP/1.1\r\nHost: sim\r\n\r\n", 200);
    step(story, "wait");
    wait_for_change(story, 0, 0, "one");
    step(story, "expiry");
    pass(story, SECOND + SECOND / 2);
    known_of(story, "brief")->has = known_of(story, "brief")->may_count = 0; /* in any case */
    get_all(story, 0);
    step(story, "listing");
    check_listing(story, 0);
    step(story, "backup");
    check_backup(story, 0);
}

static void tell(struct story *story, unsigned number)
{
    step(story, "pages");
    ask_page(story, number, "/");
    ask_page(story, number, "/-/healthy");
    ask_page(story, number, "/-/status");
    ask_page(story, number, "/-/metrics");
    ask_page(story, number, "/-/history");
    if (number != FRONTEND)
        ask_page(story, number, "/-/digest");
    ask_text(story, number, "GET /%zz HTTP/1.1\r\nHost: sim\r\n\r\n", 400);
    ask_text(story, number, "PATCH /one HTTP/1.1\r\nHost: sim\r\n\r\n", 405);
}

static void joined(struct story *story)
{
    step(story, "join and gather");
    start(story, 1);
    check_all(story, 0, 1);
    step(story, "push");
    write_with(story, 1, "one", FORM_LENGTH, "Prefer: copies=all, wait=2\r\n", 100);
    put(story, 1, "pushed", 1000);
    put(story, 0, "large", LARGE + 1);
    delete (story, 1, "chunked");
    check_all(story, 0, 1);
}

static void through_frontend(struct story *story)
{
    step(story, "front-end");
    start(story, FRONTEND);
    put(story, FRONTEND, "one", 11);
    put(story, FRONTEND, "streamed", LARGE);
    write_with(story, FRONTEND, "chunks", FORM_CHUNKED, "", LARGE / 4);
    delete (story, FRONTEND, "pushed");
    write_with(story, FRONTEND, "copied", FORM_LENGTH, "Prefer: copies=2, wait=2\r\n", 100);
    agree(story, 0, 1);
    get_all(story, FRONTEND);
    check_listing(story, FRONTEND);
    get_unmodified(story, FRONTEND, "one");
    step(story, "wait through the front-end");
    wait_for_change(story, FRONTEND, FRONTEND, "copied");
    tell(story, FRONTEND);
}

static void cut_and_repair(struct story *story)
{
    step(story, "cut");
    story->cut = true;
    pass(story, 4 * SECOND);
    put(story, 0, "left", 100);
    delete (story, 0, "one");
    put(story, 1, "right", 2000);
    put(story, 1, "large", LARGE);
    pass(story, SECOND);
    step(story, "repair");
    story->cut = false;
    check_all(story, 0, 1);
}

static void slow_member(struct story *story)
{
    char name[16];
    step(story, "join by name");
    start(story, 2);
    check_all(story, 0, 2);
    step(story, "a member that lags");
    process_pause(&story->processes[2].process, story->world.now_us + 2 * SECOND);
    for (unsigned i = 0; i < 12; i++) {
        snprintf(name, sizeof name, "lag%u", i % 8);
        put(story, i % 2, name, i % 3 ? 100 : LARGE);
    }
    check_all(story, 0, 2);
}

static void leave(struct story *story)
{
    step(story, "drain");
    put(story, 0, "last", 100);
    put(story, 0, "large", LARGE);
    stop(story, 0);
    check_all(story, 1, 2);
    get_all(story, FRONTEND);
    step(story, "drain of the front-end");
    stop(story, FRONTEND);
    step(story, "drain of the last but one");
    put(story, 2, "last", 10);
    stop(story, 2);
    check_all(story, 1, 1);
    step(story, "drain of the last");
    stop(story, 1);
}

static void happen(struct story *story)
{
    step(story, "start");
    start(story, 0);
    serve(story);
    tell(story, 0);
    joined(story);
    through_frontend(story);
    cut_and_repair(story);
    slow_member(story);
    leave(story);
}

/* Beginning and end */

static void begin(struct story *story, bool trace)
{
    world_init(&story->world, 1, trace, MUTANT_NONE);
    faults_end(&story->faults); /* the way is good: what fails is told one by one */
    story->limits = (struct limits){
        .idle_us = 300ULL * SECOND,
        .request_us = 30 * SECOND,
        .stall_us = 60 * SECOND,
        .drain_us = DRAIN_US,
        .grace_us = 86400ULL * SECOND,
        .forget_us = 86400ULL * SECOND,
        .value_max = VALUE_MAX,
        .connections_max = 1000,
    };
    cables_init(&story->cables, &story->world, &story->faults);
    story->cables.is_cut = is_cut;
    story->cables.context = story;
    fetcher_init(&story->client, &story->cables);
    fetcher_init(&story->waiter, &story->cables);
    story->waiter.host.ip[15]--;
    for (unsigned i = 0; i < PROCESSES; i++) {
        struct member_process *own = &story->processes[i];
        process_host(&own->process, &story->cables, i);
        own->process.may_not_start = true;
        for (unsigned j = 0; j < STARVED_ADDRESSES; j++)
            address_parse(slice_of(j == 0   ? "10.0.0.1:0"
                                   : j == 1 ? "10.0.0.2:0"
                                            : "10.0.0.3:0"),
                          &own->names.addresses[j]);
    }
    story->tick.run = on_tick;
    on_tick(&story->tick);
}

static void end(struct story *story)
{
    for (unsigned i = 0; i < PROCESSES; i++)
        if (story->processes[i].running)
            end_process(story, i);
    fetcher_close(&story->client);
    fetcher_close(&story->waiter);
    cables_free(&story->cables);
    world_free(&story->world);
}

const char *starved_story(bool trace)
{
    static struct story story;
    static char failure[WORLD_FAILURE_BYTES];
    memset(&story, 0, sizeof story);
    starved_begin(&story.world);
    begin(&story, trace);
    happen(&story);
    end(&story);
    const char *left = starved_end();
    snprintf(failure, sizeof failure, "%s",
             story.world.failed ? story.world.failure
             : left             ? left
                                : "");
    return *failure ? failure : NULL;
}
