#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "role/intake.h"
#include "role/node_state.h"

struct merge {
    struct intake intake;
    char sentence[200];
};

/* What members send is theirs to tell the others; what anybody else sends is for this node to tell. Members also may send values
 * beyond this node's --value-max, since all must have the same. All members are of one partition, which hellos make sure of. What a member sends is taken whole or not at all. */
int merge_start(struct node *node, struct request *request)
{
    struct merge *merge = malloc(sizeof *merge);
    bool member = http_field_find(&request->head, HTTP_FIELD_FOG_FROM) != NULL;
    if (!merge)
        return -ENOMEM;
    intake_init(&merge->intake, node->store,
                member ? RECORD_VALUE_BYTES_MAX : node->config.value_max, !member);
    merge->intake.whole = member;
    merge->intake.route = member ? NULL : node->route;
    merge->intake.partition = node->config.partition;
    request->service_data = merge;
    return 0;
}

void merge_free(struct node *node, struct request *request)
{
    struct merge *merge = request->service_data;
    (void)node;
    intake_free(&merge->intake);
    free(merge);
}

struct server_room merge_room(struct request *request)
{
    struct merge *merge = request->service_data;
    struct server_room room;
    room.data = wire_reader_room(&merge->intake.reader, &room.len);
    return room;
}

static void tell_broken(struct node *node, const struct request *request, const char *reason,
                        const char *advice)
{
    struct address remote = {0};
    char text[ADDRESS_TEXT_BYTES];
    request_remote(request, &remote);
    log_condition(node->log, LOG_WARN_LEVEL, "merge-refused", reason,
                  "address=%s msg=\"%s\" do=\"%s\"", address_format(&remote, text), reason, advice);
}

/* Of what is no member's, that which came before the place where it broke is in, and counted. */
static void merge_refuse(struct node *node, struct request *request, unsigned status,
                         const char *reason)
{
    struct merge *merge = request->service_data;
    snprintf(merge->sentence, sizeof merge->sentence,
             "The stream breaks at byte %llu: %s. The %llu records before it were read, %llu of "
             "them were new here.",
             (unsigned long long)merge->intake.reader.offset, reason,
             (unsigned long long)(merge->intake.applied + merge->intake.stale),
             (unsigned long long)merge->intake.applied);
    request->error = (struct http_error){(uint16_t)status, merge->sentence};
    node->counters.merge_refused++;
    if (status == 507)
        node_tell_full(node);
    else
        tell_broken(node, request, reason,
                    status == 421
                        ? "restore it with velour-fog restore, which gives each record to its "
                          "own partition"
                        : "look at who sends it: a backup that is cut, a connection that "
                          "damages bytes, or another version");
}

/* Refuses when the stream has ended in the middle of something. */
static void merge_check(struct node *node, struct request *request)
{
    struct merge *merge = request->service_data;
    if (merge->intake.broken)
        merge_refuse(node, request, 400, merge->intake.reader.reason);
    else if (merge->intake.full)
        merge_refuse(node, request, 507, "this node is out of memory (--memory-max)");
    else if (merge->intake.foreign)
        merge_refuse(node, request, 421,
                     "the key of a record belongs to another partition than this node's");
}

void merge_filled(struct node *node, struct request *request, size_t bytes)
{
    struct merge *merge = request->service_data;
    uint64_t applied = merge->intake.applied, stale = merge->intake.stale;
    if (!intake_filled(&merge->intake, bytes, node->loop->wall_us))
        merge_check(node, request);
    node->counters.merged += merge->intake.applied - applied;
    node->counters.merge_stale += merge->intake.stale - stale;
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
    if (!request->error.status && !wire_reader_at_end(&merge->intake.reader))
        merge_refuse(node, request, 400, "it ends without an end mark, so something is missing");
    else if (!request->error.status)
        merge_check(node, request);
    if (request->error.status) {
        reply_text(request, request->error.status, request->error.sentence);
        return;
    }
    snprintf(merge->sentence, sizeof merge->sentence,
             "%llu records were read, %llu of them were new here.",
             (unsigned long long)merge->intake.reader.records,
             (unsigned long long)merge->intake.applied);
    reply_text(request, 200, merge->sentence);
}
