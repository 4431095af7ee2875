/* Fuzzes a node by what one client sends on one connection.
 *
 *   byte 0: how the bytes are cut, 0 for not at all
 *   the rest: what the client sends, and then no more
 *
 * What it is answered is what talk.h says; and then the node is as it was, save for its keys. */
#include "role/node_state.h"
#include "talk.h"

static struct bench bench;
static struct node *node;
static struct talk talk;

static void renew(void)
{
    struct store_counts counts = {.keys = 1};
    if (node)
        counts = store_counts(node->store);
    if (counts.keys + counts.tombstones == 0)
        return;
    if (node) {
        node_destroy(node);
        bench_end(&bench);
    }
    bench_start(&bench);
    node = bench_node(&bench, 1);
    bench_settle(&bench);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    renew();
    int client =
        talk_begin(&bench, 1, (struct slice){(const char *)data + 1, size - 1}, data[0], &talk);
    bench_settle(&bench);
    for (unsigned s = 0; bench.sockets[client].open; s++) {
        require(s < 40);
        bench_pass(&bench, BENCH_SECOND);
    }
    talk_end(&bench, client, &talk);
    bench_forget(&bench, client);
    require(server_connections(node->server) == 0 && server_held(node->server) == 0);
    return 0;
}
