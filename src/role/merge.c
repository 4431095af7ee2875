#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "data/wire.h"
#include "role/node_state.h"

struct merge {
    struct wire_reader reader;
    uint64_t applied;
    char sentence[200];
};

int merge_start(struct node *node, struct request *request)
{
    struct merge *merge = malloc(sizeof *merge);
    if (!merge)
        return -ENOMEM;
    merge->applied = 0;
    wire_reader_init(&merge->reader, store_heap(node->store), node->config.value_max);
    request->service_data = merge;
    return 0;
}

void merge_free(struct node *node, struct request *request)
{
    struct merge *merge = request->service_data;
    (void)node;
    wire_reader_free(&merge->reader);
    free(merge);
}

struct server_room merge_room(struct request *request)
{
    struct merge *merge = request->service_data;
    struct server_room room;
    room.data = wire_reader_room(&merge->reader, &room.len);
    return room;
}

/* What came before the place where it broke is in, and counted. */
static void merge_refuse(struct node *node, struct request *request, unsigned status,
                         const char *reason)
{
    struct merge *merge = request->service_data;
    snprintf(merge->sentence, sizeof merge->sentence,
             "The stream breaks at byte %llu: %s. The %llu records before it were read, %llu of "
             "them were new here.",
             (unsigned long long)merge->reader.offset, reason,
             (unsigned long long)merge->reader.records, (unsigned long long)merge->applied);
    request->error = (struct http_error){(uint16_t)status, merge->sentence};
    node->counters.merge_refused++;
}

static void merge_record(struct node *node, struct request *request, struct record *record)
{
    struct merge *merge = request->service_data;
    struct store_key key = store_key(node->store, record_key(record));
    enum store_result result = store_merge(node->store, &key, record, node->loop->wall_us);
    if (result == STORE_APPLIED) {
        merge->applied++;
        node->counters.merged++;
        return;
    }
    record_release(store_heap(node->store), record);
    if (result == STORE_STALE)
        node->counters.merge_stale++;
    else
        merge_refuse(node, request, 507, "this node is out of memory (--memory-max)");
}

void merge_filled(struct node *node, struct request *request, size_t bytes)
{
    struct merge *merge = request->service_data;
    struct record *record = NULL;
    switch (wire_reader_filled(&merge->reader, bytes, &record)) {
    case WIRE_MORE:
        break;
    case WIRE_RECORD:
        merge_record(node, request, record);
        break;
    case WIRE_BROKEN:
        merge_refuse(node, request, 400, merge->reader.reason);
        break;
    case WIRE_NO_ROOM:
        merge_refuse(node, request, 507, merge->reader.reason);
        break;
    }
}

/* A body that came whole. */
static void merge_whole(struct node *node, struct request *request)
{
    struct slice left = request->body;
    while (left.len > 0 && !request->error.status) {
        struct server_room room = merge_room(request);
        size_t take = left.len < room.len ? left.len : room.len;
        memcpy(room.data, left.data, take);
        left.data += take;
        left.len -= take;
        merge_filled(node, request, take);
    }
}

void merge_reply(struct node *node, struct request *request)
{
    if (!request->body_parts && merge_start(node, request) != 0) {
        reply_text(request, 503, "This node is out of memory for requests; try again.");
        return;
    }
    struct merge *merge = request->service_data;
    if (!request->body_parts)
        merge_whole(node, request);
    if (!request->error.status && !wire_reader_at_end(&merge->reader))
        merge_refuse(node, request, 400, "it ends without an end mark, so something is missing");
    if (request->error.status) {
        reply_text(request, request->error.status, request->error.sentence);
        return;
    }
    snprintf(merge->sentence, sizeof merge->sentence,
             "%llu records were read, %llu of them were new here.",
             (unsigned long long)merge->reader.records, (unsigned long long)merge->applied);
    reply_text(request, 200, merge->sentence);
}
