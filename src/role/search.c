/* GET /-/keys of a front-end: a member of each partition is asked in turn, and what they answer is joined. All of it is kept until it is
 * whole, so there is a limit of keys; who wants all asks a node of each partition.
 *
 *   connect ──► ask ──► answer ──► close ──► the next partition, until there are enough keys ──► reply
 *      ▲                  │ none
 *      └── another member ┘
 */
#include "role/search.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "net/fetch.h"
#include "net/reply.h"
#include "role/backend.h"
#include "role/frontend_state.h"
#include "role/partition.h"
#include "role/relay.h"

struct search {
    struct frontend *frontend;
    struct request *request;        /* deferred */
    struct search *previous, *next; /* of its front-end */
    struct upstream *upstream;
    struct fetch fetch;
    unsigned partition;      /* that is asked */
    unsigned tries;          /* at members of it */
    struct backend *backend; /* that is asked; NULL for none, or when it is down by now */
    uint64_t avoid;          /* the member that has just failed; 0 for none */
    uint64_t until_us;       /* later this partition is not tried again */
    unsigned limit, found;
    bool answered; /* by this partition */
    bool ended;
    char *keys; /* lines, malloc'd */
    size_t bytes;
    uint16_t status; /* of a refusal; 0 for none */
    const char *sentence;
    size_t prefix_bytes;
    char prefix[]; /* percent-encoded as it came */
};

static void search_refuse(struct search *search, uint16_t status, const char *sentence)
{
    search->status = status;
    search->sentence = sentence;
}

static void search_lost(struct search *search)
{
    search_refuse(search, 503, "A node did not answer, so not all keys can be listed; try again.");
}

/* Answering */

static void free_keys(void *context, void *owner)
{
    (void)context;
    free(owner);
}

static void search_reply(struct service *service, struct request *request)
{
    struct search *search = request->service_data;
    (void)service;
    if (search->status) {
        reply_text(request, search->status, search->sentence);
        return;
    }
    reply_start(request, 200);
    struct conn_piece piece = {search->keys, search->bytes, free_keys, NULL, search->keys};
    search->keys = NULL;
    reply_field(request, SLICE("Content-Type"), SLICE("text/plain; charset=utf-8"));
    reply_body_ref(request, piece);
}

static void search_end(struct search *search)
{
    search->ended = true;
    server_answer_deferred(search->request, search_reply);
}

/* Asking */

/* One by chance, but not who has just failed unless there is nobody else; NULL when nobody is ready. */
static struct backend *search_choose(const struct search *search)
{
    struct frontend *frontend = search->frontend;
    const struct partition *partition = &frontend->partitions[search->partition];
    unsigned count = partition->usable_count;
    if (count == 0)
        return NULL;
    unsigned chosen = frontend_chance(frontend, count);
    if (partition->usable[chosen]->id == search->avoid)
        chosen = (chosen + 1) % count;
    return partition->usable[chosen];
}

static void search_try(struct search *search)
{
    search->answered = false;
    search->tries++;
    search->backend = search_choose(search);
    if (!search->backend)
        search_refuse(
            search, 503,
            "A partition has no node that is ready, so not all keys can be listed; try again.");
    else if (upstream_connect(search->upstream, &search->backend->address) != 0)
        search_lost(search);
    if (search->status)
        search_end(search);
    else
        search->avoid = search->backend->id;
}

static void search_next(struct search *search)
{
    const struct frontend *frontend = search->frontend;
    search->tries = 0;
    search->avoid = 0;
    search->until_us = frontend->loop->now_us + SEARCH_ANSWER_US;
    if (search->status || search->found >= search->limit ||
        search->partition == frontend->config.cluster_count)
        search_end(search);
    else
        search_try(search);
}

static bool search_may_try_again(const struct search *search)
{
    return search->tries < RELAY_TRIES_MAX && search->frontend->loop->now_us < search->until_us;
}

static bool search_add(struct search *search, struct slice lines)
{
    if (lines.len == 0)
        return true;
    char *keys = realloc(search->keys, search->bytes + lines.len);
    if (!keys)
        return false;
    search->keys = keys;
    memcpy(keys + search->bytes, lines.data, lines.len);
    search->bytes += lines.len;
    for (size_t i = 0; i < lines.len; i++)
        search->found += lines.data[i] == '\n';
    return true;
}

static void search_on_done(struct fetch *fetch, unsigned status, struct slice body)
{
    struct search *search = (struct search *)((char *)fetch - offsetof(struct search, fetch));
    if (search->ended)
        return;
    search->answered = status == 200;
    if (status == 400)
        search_refuse(search, 400, "The prefix is too long, or has a bad percent escape.");
    else if (status == 200 && !search_add(search, body))
        search_refuse(search, 503, "This front-end is out of memory for requests; try again.");
    upstream_close(search->upstream, 0);
}

static void search_on_open(struct upstream *upstream)
{
    struct search *search = upstream_owner(upstream);
    char head[80];
    int len =
        snprintf(head, sizeof head, "GET /-/keys?limit=%u&prefix=", search->limit - search->found);
    struct conn_piece pieces[] = {
        {.data = head, .len = (size_t)len},
        {.data = search->prefix, .len = search->prefix_bytes},
        {.data = " HTTP/1.1\r\nHost: fog\r\n\r\n", .len = 24},
    };
    fetch_start(&search->fetch, upstream, pieces, 3);
}

static void search_on_closed(struct upstream *upstream, int error)
{
    struct search *search = upstream_owner(upstream);
    (void)error;
    search->backend = NULL;
    if (!search->answered && !search->status && search_may_try_again(search)) {
        search_try(search);
        return;
    }
    if (!search->answered && !search->status)
        search_lost(search);
    search->partition++;
    search_next(search);
}

static const struct upstream_ops search_ops = {
    .on_open = search_on_open,
    .on_closed = search_on_closed,
};

/* Who hangs is known long before its answer is overdue, which may take a while by itself. */
void searches_leave(const struct backend *backend)
{
    for (struct search *search = backend->partition->frontend->first_search; search;
         search = search->next) {
        if (search->backend != backend)
            continue;
        search->backend = NULL;
        upstream_close(search->upstream, -ECONNRESET);
    }
}

/* Life */

static void search_add_to_list(struct search *search)
{
    struct frontend *frontend = search->frontend;
    search->next = frontend->first_search;
    if (search->next)
        search->next->previous = search;
    frontend->first_search = search;
    frontend->searches++;
}

static void search_remove(struct search *search)
{
    struct frontend *frontend = search->frontend;
    *(search->previous ? &search->previous->next : &frontend->first_search) = search->next;
    if (search->next)
        search->next->previous = search->previous;
    frontend->searches--;
}

void search_free(struct search *search)
{
    search->ended = true;
    search_remove(search);
    if (search->upstream)
        upstream_destroy(search->upstream);
    free(search->keys);
    free(search);
}

static struct search *search_new(struct frontend *frontend, const struct key_list *list)
{
    static const struct upstream_config config = {BACKEND_CONNECT_US, SEARCH_ANSWER_US};
    if (frontend->searches == SEARCHES_MAX)
        return NULL;
    struct search *search = calloc(1, sizeof *search + list->prefix.len);
    if (!search)
        return NULL;
    search->frontend = frontend;
    search_add_to_list(search);
    search->limit = (unsigned)list->limit;
    search->fetch = (struct fetch){.on_done = search_on_done, .body_max = SEARCH_BYTES_MAX};
    search->prefix_bytes = list->prefix.len;
    if (list->prefix.len)
        memcpy(search->prefix, list->prefix.data, list->prefix.len);
    search->upstream = upstream_new(frontend->upstreams, &config, &search_ops, search);
    if (search->upstream)
        return search;
    search_free(search);
    return NULL;
}

void search_on_head(struct request *request, struct slice query)
{
    struct key_list list;
    if (!key_list_read(query, &list))
        request_refuse(request, 400,
                       "Only ?limit=N, ?prefix=P or ?limit=N&prefix=P can stand behind /-/keys.");
    else if (list.limit > SEARCH_KEYS_MAX)
        request_refuse(
            request, 400,
            "A front-end lists 1000 keys at most: say ?limit=N, and then &prefix= if you like; or "
            "ask a node of each partition.");
    else
        request->deferrable = true;
}

void search_on_request(struct frontend *frontend, struct request *request, struct slice query)
{
    struct key_list list;
    if (request_follows_write(request) && server_postpone(request))
        return; /* it goes on connections of its own, and has to see what was written */
    key_list_read(query, &list);
    struct search *search = search_new(frontend, &list);
    struct request *deferred = search ? server_defer(request) : NULL;
    if (!deferred) {
        if (search)
            search_free(search);
        if (!server_postpone(request))
            reply_text(request, 503, "This front-end has no room for one more request; try again.");
        return;
    }
    search->request = deferred;
    deferred->service_data = search;
    search_next(search);
}
