#include <stdio.h>
#include <string.h>

#include "fleet.h"
#include "role/frontend_state.h"
#include "scene.h"

enum {
    SECOND = 1000 * 1000,
    QUIET_US = 10 * SECOND, /* after trouble, until all count each other */
    EXPIRY_US = 2 * SECOND, /* a write that is tried again may have begun to live so late */
    KNOWN_US = 3 * SECOND,  /* until front-ends know of a cluster */
};

typedef unsigned long long ull;

/* Keys, in any spelling */

static void put_key(struct fleet_client *client, const struct fleet_key *key)
{
    for (const char *at = key->name; *at; at++) {
        bool must = *at <= ' ' || *at == '%' || *at < 0;
        if (must || rng_chance(&client->rng, 100000))
            bytes_print(&client->out, rng_chance(&client->rng, 500000) ? "%%%02X" : "%%%02x",
                        (unsigned)(unsigned char)*at);
        else
            bytes_add(&client->out, at, 1);
    }
}

static void put_line(struct fleet_client *client, const struct fleet_call *call, const char *method)
{
    bytes_print(&client->out, "%s /", method);
    put_key(client, &client->fleet->keys[call->key]);
    bytes_print(&client->out, " HTTP/1.1\r\nHost: sim\r\n");
}

/* Values: "kKEYwID." and then a part of the block */

static uint64_t value_bytes(struct fleet_client *client)
{
    struct rng *rng = &client->rng;
    if (client->fleet->large && rng_chance(rng, 100000))
        return rng_spread(rng, 60000, FLEET_VALUE_BYTES_MAX);
    return rng_chance(rng, 100000) ? rng_spread(rng, 300, 70000) : rng_spread(rng, 20, 300);
}

static void put_value(struct fleet *fleet, struct fleet_write *write, struct bytes *out)
{
    size_t start = out->len;
    bytes_print(out, "k%uw%u.", write->key, write->id);
    size_t at = write->id * 977u % SCENE_BLOCK_BYTES;
    while (out->len - start < write->bytes) {
        size_t left = (size_t)write->bytes - (out->len - start), room = SCENE_BLOCK_BYTES - at;
        bytes_add(out, fleet->block + at, left < room ? left : room);
        at = 0;
    }
    write->bytes = out->len - start;
    struct fold fold;
    fold_init(&fold);
    fold_add(&fold, out->data + start, (size_t)write->bytes);
    write->fold = fold_end(&fold);
}

static void put_chunks(struct fleet_client *client, const struct bytes *value)
{
    size_t most = value->len / rng_between(&client->rng, 1, 8) + 1;
    for (size_t at = 0; at < value->len;) {
        size_t left = value->len - at, take = (size_t)rng_spread(&client->rng, most / 4 + 1, most);
        take = take < left ? take : left;
        bytes_print(&client->out, "%zx\r\n", take);
        bytes_add(&client->out, value->data + at, take);
        bytes_print(&client->out, "\r\n");
        at += take;
    }
    bytes_print(&client->out, "0\r\n\r\n");
}

/* Composing */

/* Its version is of the future then. */
static void put_after(struct fleet_client *client)
{
    struct fleet *fleet = client->fleet;
    if (!fleet->ahead || !rng_chance(&fleet->ahead_rng, 100000))
        return;
    uint64_t from_us = fleet->ahead_us ? fleet->ahead_us : fleet->offset_us + fleet->world.now_us;
    bytes_print(&client->out, "Fog-After: %llu\r\n",
                (ull)(from_us + rng_below(&fleet->ahead_rng, FLEET_AHEAD_US)));
}

static void put_copies(struct fleet_client *client, struct fleet_call *call)
{
    struct rng *rng = &client->rng;
    if (!rng_chance(rng, 200000))
        return;
    unsigned wait_s = (unsigned)rng_between(rng, 1, 3);
    call->wait_us = wait_s * SECOND;
    call->all_copies = rng_chance(rng, 700000);
    if (call->all_copies)
        bytes_print(&client->out, "Prefer: copies=all, wait=%u\r\n", wait_s);
    else
        bytes_print(&client->out, "Prefer: copies=%u, wait=%u\r\n",
                    (unsigned)rng_between(rng, 1, client->fleet->cluster_max), wait_s);
}

static void compose_set(struct fleet_client *client, struct fleet_call *call)
{
    struct fleet *fleet = client->fleet;
    struct rng *rng = &client->rng;
    struct bytes value = {0};
    struct fleet_write *write = call->write = fleet_write_new(fleet, call->key);
    bool chunked = rng_chance(rng, 150000);
    write->bytes = value_bytes(client);
    put_value(fleet, write, &value);
    call->streams = write->bytes > 60000;
    put_line(client, call, rng_chance(rng, 500000) ? "PUT" : "POST");
    if (rng_chance(rng, fleet->moves ? 150000 : 50000)) {
        unsigned ttl_s = (unsigned)rng_between(rng, 1, fleet->moves ? 60 : 20);
        write->ttl_us = ttl_s * (uint64_t)SECOND;
        fleet->keys[call->key].may_be_absent = true;
        bytes_print(&client->out, "Fog-TTL: %u\r\n", ttl_s);
    }
    if (rng_chance(rng, 200000))
        bytes_print(&client->out, "Content-Type: text/x%u\r\n", write->id % 10);
    call->expects = rng_chance(rng, 50000);
    if (call->expects)
        bytes_print(&client->out, "Expect: 100-continue\r\n");
    put_copies(client, call);
    put_after(client);
    if (chunked) {
        bytes_print(&client->out, "Transfer-Encoding: chunked\r\n\r\n");
        put_chunks(client, &value);
    } else {
        bytes_print(&client->out, "Content-Length: %zu\r\n\r\n", value.len);
        bytes_add(&client->out, value.data, value.len);
    }
    bytes_free(&value);
}

static void compose_delete(struct fleet_client *client, struct fleet_call *call)
{
    call->write = fleet_write_new(client->fleet, call->key);
    call->write->tombstone = true;
    client->fleet->keys[call->key].may_be_absent = true;
    put_line(client, call, "DELETE");
    put_copies(client, call);
    put_after(client);
    bytes_print(&client->out, "\r\n");
}

static void compose_read(struct fleet_client *client, struct fleet_call *call)
{
    struct rng *rng = &client->rng;
    put_line(client, call, call->kind == FLEET_HEAD ? "HEAD" : "GET");
    if (call->kind == FLEET_GET && client->seen[call->key] && rng_chance(rng, 300000)) {
        call->known = client->seen[call->key];
        snprintf(call->etag, sizeof call->etag, "%s", client->etags[call->key]);
        bytes_print(&client->out, "If-None-Match: %s\r\n", call->etag);
        if (rng_chance(rng, 300000)) {
            unsigned wait_s = (unsigned)rng_between(rng, 1, 5);
            call->wait_us = wait_s * SECOND;
            bytes_print(&client->out, "Prefer: wait=%u\r\n", wait_s);
        }
    }
    bytes_print(&client->out, "\r\n");
}

static void compose_other(struct fleet_client *client, struct fleet_call *call)
{
    static const char *const texts[] = {
        [FLEET_HEALTHY] = "GET /-/healthy HTTP/1.1\r\nHost: sim\r\n\r\n",
        [FLEET_NOT_ALLOWED] = "PATCH /key HTTP/1.1\r\nHost: sim\r\n\r\n",
        [FLEET_BAD_KEY] = "GET /%zz HTTP/1.1\r\nHost: sim\r\n\r\n",
        [FLEET_TOO_LARGE] = "PUT /key HTTP/1.1\r\nHost: sim\r\nContent-Length: 99999999\r\n\r\n",
    };
    bytes_add(&client->out, texts[call->kind], strlen(texts[call->kind]));
}

static enum fleet_kind kind_pick(struct rng *rng)
{
    uint64_t dice = rng_below(rng, 1000);
    if (dice < 40)
        return FLEET_HEALTHY + (dice < 20 ? 0 : dice < 28 ? 1 : dice < 38 ? 2 : 3);
    if (dice < 400)
        return FLEET_SET;
    if (dice < 460)
        return FLEET_DELETE;
    return dice < 530 ? FLEET_HEAD : FLEET_GET;
}

static const struct fleet_write *write_before(const struct fleet_client *client, unsigned key)
{
    const struct fleet_write *found = NULL;
    for (unsigned i = 0; i < client->call_count; i++) {
        const struct fleet_call *call = &client->calls[(client->call_first + i) % FLEET_DEPTH_MAX];
        if (call->key == key && call->write)
            found = call->write;
    }
    return found;
}

void fleet_call_compose(struct fleet_client *client, struct fleet_call *call)
{
    struct fleet *fleet = client->fleet;
    *call = (struct fleet_call){.kind = kind_pick(&client->rng)};
    call->key = (unsigned)rng_below(&client->rng, fleet->key_count);
    call->begun_us = fleet->world.now_us;
    call->before = write_before(client, call->key);
    const struct fleet_key *key = &fleet->keys[call->key];
    call->answered = key->answered[client->frontend];
    call->disturbed = fleet_key_disturbed(fleet, key);
    call->everywhere = key->everywhere_disturbed == call->disturbed ? key->everywhere : 0;
    if (call->kind == FLEET_SET)
        compose_set(client, call);
    else if (call->kind == FLEET_DELETE)
        compose_delete(client, call);
    else if (call->kind == FLEET_GET || call->kind == FLEET_HEAD)
        compose_read(client, call);
    else
        compose_other(client, call);
    if (call->write)
        call->write->before = call->before;
    call->end = client->out.len;
    fleet->world.counts.requests++;
}

/* Judging */

/* Whether no trouble explains that it is refused. */
static bool must_succeed(const struct fleet_client *client, const struct fleet_call *call)
{
    const struct fleet *fleet = client->fleet;
    uint64_t born_us = fleet_key_born_us(fleet, &fleet->keys[call->key]);
    if (fleet->strict)
        return true;
    return fleet->gentle && !call->streams && born_us && call->begun_us > born_us + KNOWN_US;
}

/* NULL also when two have the same: by clocks that are wrong, as both came after the same version of the future, or since one was overwritten
 * while it came, and tells what it would have. */
static struct fleet_write *write_of_version(struct fleet *fleet, unsigned key, uint64_t version)
{
    struct fleet_write *found = NULL;
    bool alike = fleet->troubles.skewed || fleet->ahead;
    for (unsigned i = 0; i < fleet->write_count && !alike; i++)
        for (unsigned v = 0; fleet->writes[i]->key == key && v < fleet->writes[i]->version_count;
             v++)
            if (fleet->writes[i]->versions[v] == version) {
                if (found && found != fleet->writes[i])
                    return NULL;
                found = fleet->writes[i];
            }
    return found;
}

/* What was answered with all copies is seen by who asks later, as long as nothing goes wrong with the cluster. */
static void check_everywhere(struct fleet_client *client, const struct fleet_call *call,
                             uint64_t version)
{
    struct fleet *fleet = client->fleet;
    const struct fleet_key *key = &fleet->keys[call->key];
    if (call->everywhere > version && fleet_key_disturbed(fleet, key) == call->disturbed &&
        (version || !key->may_be_absent))
        world_fail(&fleet->world, "%s reads version %llu of key %u, but all nodes had %llu before",
                   client->host.name, (ull)version, call->key, (ull)call->everywhere);
}

/* Soon after a write, the front-end that has answered it reads nothing older, unless something goes wrong with the cluster. */
static void check_recent(struct fleet_client *client, const struct fleet_call *call,
                         const struct fleet_answered *answered, uint64_t version)
{
    struct fleet *fleet = client->fleet;
    const struct fleet_key *key = &fleet->keys[call->key];
    bool same_life = fleet_frontend(fleet, client->frontend)->boots == client->boots;
    bool recent = answered->write && same_life && fleet->faults.reset_ppm == 0 &&
                  answered->write->begun_us + RECENT_US > fleet->world.now_us;
    if (recent && version < answered->version && !key->shares_place &&
        (version || !key->may_be_absent) && !fleet->troubles.skewed &&
        fleet_key_disturbed(fleet, key) == answered->disturbed && !fleet_key_stopping(fleet, key))
        world_fail(&fleet->world, "%s reads version %llu of key %u, after write %u had %llu",
                   client->host.name, (ull)version, call->key, answered->write->id,
                   (ull)answered->version);
}

/* The same of what its client has sent before it. */
static void check_order(struct fleet_client *client, const struct fleet_call *call,
                        uint64_t version)
{
    const struct fleet_write *before = call->before;
    check_recent(client, call, &call->answered, version);
    if (before && before->acked)
        check_recent(client, call,
                     &(struct fleet_answered){before, before->versions[0], call->disturbed},
                     version);
}

static void check_is_not_behind(struct fleet_client *client, const struct fleet_call *call,
                                const struct fleet_write *write)
{
    for (unsigned i = 0; i < client->call_count; i++)
        if (client->calls[(client->call_first + i) % FLEET_DEPTH_MAX].write == write)
            world_fail(&client->fleet->world, "%s reads write %u of key %u, which it sent later",
                       client->host.name, write->id, call->key);
}

/* By the nodes' clocks, which agree. */
static void check_expiry(struct fleet_client *client, const struct fleet_call *call,
                         const struct fleet_write *write)
{
    const struct fleet *fleet = client->fleet;
    if (write->ttl_us && write->acked && !fleet->troubles.skewed &&
        call->begun_us > write->acked_us + write->ttl_us + EXPIRY_US)
        world_fail(&client->fleet->world, "%s gets write %u of key %u after it has expired",
                   client->host.name, write->id, write->key);
}

static void judge_value(struct fleet_client *client, const struct fleet_call *call)
{
    struct fleet *fleet = client->fleet;
    const struct response *response = &client->response;
    unsigned key, id;
    char text[64];
    snprintf(text, sizeof text, "%.*s",
             (int)(response->kept_bytes < 60 ? response->kept_bytes : 60), response->kept);
    struct fleet_write *write = NULL;
    if (sscanf(text, "k%uw%u.", &key, &id) == 2 && id < fleet->write_count)
        write = fleet->writes[id];
    if (!write || write->key != call->key || key != call->key || write->tombstone ||
        write->refused) {
        world_fail(&fleet->world, "%s gets a value of key %u that nobody wrote: %.20s%s",
                   client->host.name, call->key, text,
                   write && write->refused ? ", or that was refused" : "");
        return;
    }
    if (write->bytes != response->fold.bytes || write->fold != fold_end(&response->fold))
        world_fail(&fleet->world, "%s gets other bytes of key %u than write %u had (%llu, %llu)",
                   client->host.name, call->key, id, (ull)response->fold.bytes, (ull)write->bytes);
    if (!response->has_version || !response->has_etag)
        world_fail(&fleet->world, "%s: a value without version or ETag", client->host.name);
    fleet_write_known(fleet, write, response->version, client->host.name);
    check_everywhere(client, call, response->version);
    check_order(client, call, response->version);
    check_is_not_behind(client, call, write);
    check_expiry(client, call, write);
    client->seen[call->key] = write;
    snprintf(client->etags[call->key], sizeof client->etags[0], "%s", response->etag);
}

static void judge_unchanged(struct fleet_client *client, const struct fleet_call *call)
{
    struct fleet *fleet = client->fleet;
    const struct response *response = &client->response;
    fleet->world.counts.not_modified++;
    if (!call->known || strcmp(call->etag, response->etag) != 0) {
        world_fail(&fleet->world, "%s: a 304 of key %u with ETag %s, asked with %s",
                   client->host.name, call->key, response->etag, call->etag);
        return;
    }
    fleet_write_known(fleet, call->known, response->version, client->host.name);
    check_everywhere(client, call, response->version);
    check_order(client, call, response->version);
}

static void judge_head(struct fleet_client *client, const struct fleet_call *call)
{
    const struct response *response = &client->response;
    const struct fleet_write *write = write_of_version(client->fleet, call->key, response->version);
    if (!response->has_length || !response->has_etag ||
        (write && (write->tombstone || write->bytes != response->length)))
        world_fail(&client->fleet->world, "%s: HEAD of key %u says %llu bytes", client->host.name,
                   call->key, (ull)response->length);
    check_everywhere(client, call, response->version);
    check_order(client, call, response->version);
}

static void judge_absence(struct fleet_client *client, const struct fleet_call *call)
{
    const struct response *response = &client->response;
    struct fleet_write *write = write_of_version(client->fleet, call->key, response->version);
    client->fleet->world.counts.absent++;
    if (response->has_version && write && !write->tombstone && !write->ttl_us)
        world_fail(&client->fleet->world, "%s: key %u is absent with the version of a value",
                   client->host.name, call->key);
    check_everywhere(client, call, response->has_version ? response->version : 0);
    check_order(client, call, response->has_version ? response->version : 0);
}

static unsigned nodes_up(const struct fleet *fleet, unsigned cluster)
{
    unsigned up = 0;
    for (unsigned i = 0; i < FLEET_NODES_MAX; i++)
        up += fleet->processes[i].running && fleet->processes[i].cluster == cluster;
    return up;
}

static void note_everywhere(struct fleet_client *client, const struct fleet_call *call)
{
    struct fleet *fleet = client->fleet;
    struct fleet_key *key = &fleet->keys[call->key];
    const struct response *response = &client->response;
    const struct fleet_process *frontend = fleet_frontend(fleet, client->frontend);
    unsigned have, of, home = key->home[fleet_stage_side(frontend->booted_stage)];
    uint64_t quiet_us = fleet_key_quiet_us(fleet, key);
    bool told = sscanf(response->copies, "%u/%u", &have, &of) == 2;
    if (!told || have > of)
        world_fail(&fleet->world, "%s: Fog-Copies is %s", client->host.name, response->copies);
    if (!told || have != of || have != nodes_up(fleet, home) || response->status != 200 ||
        !quiet_us || call->begun_us < quiet_us + QUIET_US || frontend->boots != client->boots ||
        fleet_key_disturbed(fleet, key) != call->disturbed)
        return;
    if (key->everywhere_disturbed != call->disturbed)
        key->everywhere = 0;
    key->everywhere_disturbed = call->disturbed;
    if (response->version > key->everywhere)
        key->everywhere = response->version;
    fleet->world.counts.waits++;
}

static void note_answered(struct fleet_client *client, const struct fleet_call *call)
{
    struct fleet *fleet = client->fleet;
    struct fleet_answered *answered = &fleet->keys[call->key].answered[client->frontend];
    uint64_t version = client->response.version;
    if (fleet_frontend(fleet, client->frontend)->boots == client->boots &&
        answered->version < version)
        *answered = (struct fleet_answered){call->write, version, call->disturbed};
}

static void judge_written(struct fleet_client *client, const struct fleet_call *call)
{
    struct fleet *fleet = client->fleet;
    const struct response *response = &client->response;
    if (!response->has_version) {
        world_fail(&fleet->world, "%s: a write without a version", client->host.name);
        return;
    }
    fleet_write_acked(fleet, call->write, response->version, client->host.name);
    note_answered(client, call);
    if (call->all_copies)
        note_everywhere(client, call);
}

/* Whether it is a write of a key that may have a version of the future, as a client has asked for it or a clock is wrong. When it was sent twice, and the key was written meanwhile, nobody can
 * tell whether it was carried out. */
static bool is_in_doubt(const struct fleet_client *client, const struct fleet_call *call)
{
    const struct fleet *fleet = client->fleet;
    bool may_have = fleet->ahead || fleet->troubles.skewed;
    return may_have && call->write && client->response.status == 502;
}

/* 503 says that it was not done, 502 that this is not known. */
static void judge_refusal(struct fleet_client *client, const struct fleet_call *call)
{
    struct fleet *fleet = client->fleet;
    unsigned status = client->response.status;
    fleet->world.counts.refused++;
    client->turned_away = call->streams;
    if (call->write && (status == 503 || client->lost))
        call->write->refused = true;
    if (call->write && call->write->known_us && call->write->refused)
        world_fail(&fleet->world, "%s: write %u was refused, but it was seen", client->host.name,
                   call->write->id);
    if (!client->lost && must_succeed(client, call) && !is_in_doubt(client, call))
        world_fail(&fleet->world, "%s: key %u gets %u in spite of nodes that are ready: %.*s",
                   client->host.name, call->key, status, (int)client->response.kept_bytes,
                   client->response.kept);
}

static void judge_other(struct fleet_client *client, const struct fleet_call *call)
{
    static const unsigned statuses[] = {[FLEET_HEALTHY] = 200,
                                        [FLEET_NOT_ALLOWED] = 405,
                                        [FLEET_BAD_KEY] = 400,
                                        [FLEET_TOO_LARGE] = 413};
    unsigned status = client->response.status;
    if (status != statuses[call->kind])
        world_fail(&client->fleet->world, "%s: %u instead of %u", client->host.name, status,
                   statuses[call->kind]);
    if (call->kind == FLEET_TOO_LARGE && !client->response.close)
        world_fail(&client->fleet->world, "%s: the connection goes on after a 413",
                   client->host.name);
}

static void judge_read(struct fleet_client *client, const struct fleet_call *call)
{
    unsigned status = client->response.status;
    client->fleet->world.counts.reads++;
    if (status == 200 && call->kind == FLEET_HEAD)
        judge_head(client, call);
    else if (status == 200)
        judge_value(client, call);
    else if (status == 204)
        judge_absence(client, call);
    else
        judge_unchanged(client, call);
}

void fleet_call_judge(struct fleet_client *client, struct fleet_call *call)
{
    struct fleet *fleet = client->fleet;
    unsigned status = client->response.status;
    bool reads = call->kind <= FLEET_HEAD;
    fleet->world.counts.replies++;
    if (call->kind >= FLEET_HEALTHY)
        judge_other(client, call);
    else if (status == 502 || status == 503)
        judge_refusal(client, call);
    else if (client->lost)
        world_fail(&fleet->world, "%s: the front-end of a wrong set-up answers %u",
                   client->host.name, status);
    else if (reads && (status == 200 || status == 204 || status == 304))
        judge_read(client, call);
    else if (!reads && (status == 200 || (status == 202 && call->wait_us)))
        judge_written(client, call);
    else
        world_fail(&fleet->world, "%s: %u to a request of kind %u: %.*s", client->host.name, status,
                   call->kind, (int)client->response.kept_bytes, client->response.kept);
}
