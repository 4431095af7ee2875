#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run.h"

enum {
    SECOND = 1000 * 1000,
    ANSWER_US = 60 * SECOND, /* in a world without faults nothing takes longer */
    LINGER_US = 60 * SECOND,
    DRAIN_CLIENTS = 6,
    DRAIN_CALLS = 40,
};

typedef unsigned long long ull;

/* What a node says of one key. */
struct answer {
    unsigned status;
    uint64_t version, hash, bytes;
    bool expires;
    char etag[RESPONSE_TEXT_BYTES], type[RESPONSE_TEXT_BYTES];
};

static struct world *world_of(struct run *run)
{
    return &run->scene.world;
}

static bool never(const struct run *run)
{
    (void)run;
    return false;
}

static void pass_time(struct run *run, uint64_t us)
{
    run_until(run, never, run->scene.world.now_us + us);
}

/* Asks a node for something under /-/. The text is in the sink, which is the caller's to free. */
static bool ask(struct run *run, const struct process *process, const char *target,
                struct response_sink *text)
{
    struct response response;
    struct bytes request = {0};
    bytes_print(&request, "GET %s HTTP/1.1\r\nHost: sim\r\n\r\n", target);
    text->bytes = 0;
    bool whole = fetch(&run->fetcher, &process->address, &request, &response, text, ANSWER_US);
    bytes_free(&request);
    if (whole && response.status == 200)
        return true;
    world_fail(world_of(run), "%s of %s gets no answer, or %u", target, process->host.name,
               response.status);
    return false;
}

/* Keys */

static struct answer answer_of(const struct response *response)
{
    struct answer answer = {
        .status = response->status,
        .version = response->version,
        .hash = fold_end(&response->fold),
        .bytes = response->fold.bytes,
        .expires = response->has_ttl,
    };
    memcpy(answer.etag, response->etag, sizeof answer.etag);
    memcpy(answer.type, response->type, sizeof answer.type);
    return answer;
}

/* Reads a key; the model judges it as if it had been asked at `sent_us` (0: now). */
static struct answer read_key(struct run *run, const struct process *process, struct model_key *key,
                              uint64_t sent_us)
{
    struct scene *scene = &run->scene;
    uint64_t *floors = calloc(scene->model.key_count, sizeof *floors);
    struct judge_place place = {.scene = scene, .who = process->host.name, .own_floors = floors};
    struct response response;
    struct bytes request = {0};
    struct call call;
    call_compose_read(&call, key, &request, 0);
    call.begun_us = call.sent_us = sent_us ? sent_us : scene->world.now_us;
    if (fetch(&run->fetcher, &process->address, &request, &response, NULL, ANSWER_US))
        judge_reply(&place, &call, &response);
    else
        world_fail(&scene->world, "%s does not answer a read of key %u", process->host.name,
                   key->number);
    bytes_free(&request);
    free(floors);
    return answer_of(&response);
}

static bool answers_agree(const struct answer *a, const struct answer *b)
{
    /* One whose time ends just now may be there, and then not. */
    if (a->status != b->status)
        return a->expires || b->expires;
    return a->version == b->version && a->hash == b->hash && a->bytes == b->bytes &&
           strcmp(a->etag, b->etag) == 0 && strcmp(a->type, b->type) == 0;
}

/* Each key must be what the model allows, and the same when it is asked for again. */
static struct answer *read_all(struct run *run)
{
    struct model *model = &run->scene.model;
    struct answer *answers = calloc(model->key_count, sizeof *answers);
    if (!answers)
        abort();
    for (unsigned i = 0; i < model->key_count && !run->scene.world.failed; i++) {
        answers[i] = read_key(run, &run->node, &model->keys[i], 0);
        struct answer again = read_key(run, &run->node, &model->keys[i], 0);
        if (!answers_agree(&answers[i], &again))
            world_fail(world_of(run), "key %u changes while nobody writes", i);
    }
    return answers;
}

/* The list of keys */

static void put_line(struct bytes *out, const struct model_key *key)
{
    bytes_print(out, "\n");
    for (size_t i = 0; i < key->name_bytes; i++) {
        unsigned char byte = (unsigned char)key->name[i];
        bool plain = (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') ||
                     (byte >= 'A' && byte <= 'Z') || (byte && strchr("-._~/", byte));
        if (plain)
            *bytes_grow(out, 1) = (char)byte;
        else
            bytes_print(out, "%%%02X", byte);
    }
    bytes_print(out, "\n");
}

/* Whether the list, which begins with a line end, has the key. */
static bool list_has(const struct bytes *list, const struct model_key *key)
{
    struct bytes line = {0};
    put_line(&line, key);
    bool has = memmem(list->data, list->len, line.data, line.len) != NULL;
    bytes_free(&line);
    return has;
}

static void check_lines(struct run *run, const struct bytes *list, const struct answer *answers)
{
    const struct model *model = &run->scene.model;
    unsigned expected = 0, unsure = 0, lines = 0;
    for (size_t i = 1; i < list->len; i++)
        lines += list->data[i] == '\n';
    for (unsigned i = 0; i < model->key_count; i++) {
        bool here = answers[i].status == 200, listed = list_has(list, &model->keys[i]);
        expected += here;
        unsure += here && answers[i].expires;
        if (here != listed && !answers[i].expires)
            world_fail(world_of(run), "key %u reads %u, but is %s the list of keys", i,
                       answers[i].status, listed ? "in" : "not in");
    }
    if (lines > expected || lines + unsure < expected)
        world_fail(world_of(run), "%u keys are listed, but %u exist", lines, expected);
}

/* The list of keys must be those that can be read. */
static void check_list(struct run *run, const struct answer *answers)
{
    struct response_sink told = {0};
    struct bytes list = {0};
    bytes_print(&list, "\n");
    if (ask(run, &run->node, "/-/keys?prefix=", &told)) {
        bytes_add(&list, told.data, told.bytes);
        check_lines(run, &list, answers);
    }
    bytes_free(&list);
    free(told.data);
}

/* The second node */

static void start_second(struct run *run)
{
    struct scene *scene = &run->scene;
    struct limits limits = scene->limits;
    limits.memory_max = 0;
    limits.connections_max = LIMITS_CONNECTIONS;
    process_start(&run->second, &scene->cables, &limits, 1);
    run->has_second = true;
    /* Its clock tells the same time, so that values expire on both at once. */
    run->second.io.steps[0].offset_us = io_sim_wall_us(&run->node.io) - scene->world.now_us;
    loop_update_time(&run->second.loop);
}

static void merge(struct run *run, const struct response_sink *backup)
{
    struct response response;
    struct bytes request = {0};
    if (world_mutates(world_of(run), MUTANT_LOST_BACKUP, 1000000))
        return;
    bytes_print(&request, "POST /-/merge HTTP/1.1\r\nHost: sim\r\nContent-Length: %zu\r\n\r\n",
                backup->bytes);
    bytes_add(&request, backup->data, backup->bytes);
    if (backup->bytes && world_mutates(world_of(run), MUTANT_CORRUPT_BACKUP, 1000000))
        request.data[request.len - 1 - rng_below(&run->rng, backup->bytes)] ^= 1;
    bool whole = fetch(&run->fetcher, &run->second.address, &request, &response, NULL, ANSWER_US);
    if (!whole || response.status != 200)
        world_fail(world_of(run), "a backup of %zu B is not taken: %u", backup->bytes,
                   response.status);
    bytes_free(&request);
}

/* A backup that was taken under load must hold, for each key, something that was true meanwhile. */
static void check_early_backup(struct run *run)
{
    struct model *model = &run->scene.model;
    if (run->backup.bytes == 0)
        return;
    merge(run, &run->backup);
    for (unsigned i = 0; i < model->key_count && !run->scene.world.failed; i++)
        read_key(run, &run->second, &model->keys[i], run->backup_sent_us);
}

static void check_digests(struct run *run)
{
    struct response_sink first = {0}, second = {0};
    bool same = false;
    /* What expires does so at the next tick, which is not the same on both. */
    for (int i = 0; i < 5 && !same && !run->scene.world.failed; i++) {
        if (i)
            pass_time(run, SECOND);
        if (ask(run, &run->node, "/-/digest", &first) &&
            ask(run, &run->second, "/-/digest", &second))
            same = first.bytes == second.bytes && memcmp(first.data, second.data, first.bytes) == 0;
    }
    if (!same)
        world_fail(world_of(run), "the digests of a node and of its copy differ: %.40s, %.40s",
                   first.data ? first.data : "", second.data ? second.data : "");
    free(first.data);
    free(second.data);
}

static void check_copy(struct run *run, const struct answer *answers)
{
    struct model *model = &run->scene.model;
    struct response_sink backup = {0};
    if (ask(run, &run->node, "/-/records", &backup))
        merge(run, &backup);
    free(backup.data);
    for (unsigned i = 0; i < model->key_count && !run->scene.world.failed; i++) {
        struct answer copy = read_key(run, &run->second, &model->keys[i], 0);
        if (!answers_agree(&answers[i], &copy))
            world_fail(world_of(run), "key %u of the copy differs: %u %s, %u %s", i,
                       answers[i].status, answers[i].etag, copy.status, copy.etag);
    }
    if (!run->scene.world.failed)
        check_digests(run);
}

/* Connections that nobody uses must not stay. */
static void check_idle(struct run *run)
{
    const struct limits *limits = &run->scene.limits;
    char summary[200];
    fetcher_close(&run->fetcher);
    pass_time(run, limits->idle_us + limits->request_us + limits->stall_us + LINGER_US);
    unsigned open = io_sim_connections(&run->node.io);
    node_summary(run->node.node, summary, sizeof summary);
    if (open || !strstr(summary, " 0 connections"))
        world_fail(world_of(run), "%u connections stay open: %s", open, summary);
}

/* Draining */

static bool node_is_stopped(const struct run *run)
{
    return run->node.stopped_us != 0;
}

static void check_drain(struct run *run, const struct faults *faults)
{
    struct scene *scene = &run->scene;
    uint64_t slack_us = faults_slack_us(faults) + 200000;
    bool calm = rng_chance(&run->rng, 500000);
    fetcher_close(&run->fetcher);
    if (!calm)
        scene->faults = *faults;
    for (unsigned i = 0; i < run->client_count && i < DRAIN_CLIENTS; i++)
        if (!run->clients[i].stranger)
            sim_client_call_again(&run->clients[i], DRAIN_CALLS);
    pass_time(run, rng_spread(&run->rng, 1000, 2 * SECOND));
    scene->draining = true;
    uint64_t since_us = scene->draining_us = scene->world.now_us;
    process_drain(&run->node);
    world_trace(&scene->world, run->node.host.name, "is told to stop");
    run_until(run, node_is_stopped, since_us + scene->limits.drain_us + slack_us);
    if (!node_is_stopped(run))
        world_fail(&scene->world, "the node has not stopped %llu us after it was told to",
                   (ull)(scene->world.now_us - since_us));
}

void finale(struct run *run)
{
    struct faults faults = run->scene.faults;
    faults_end(&run->scene.faults);
    for (struct cable_host *host = run->scene.cables.hosts; host; host = host->next)
        host->cut_until_us = 0;
    check_idle(run);
    struct answer *answers = run->scene.world.failed ? NULL : read_all(run);
    if (!run->scene.world.failed)
        check_list(run, answers);
    if (!run->scene.world.failed) {
        start_second(run);
        check_early_backup(run);
    }
    if (!run->scene.world.failed)
        check_copy(run, answers);
    if (!run->scene.world.failed)
        check_drain(run, &faults);
    free(answers);
}
