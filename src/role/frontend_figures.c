/* What a front-end tells of itself. */
#include "base/text.h"
#include "role/frontend_state.h"

enum { FIGURES_BYTES = 16 * 1024 };

static unsigned partitions_reached(const struct frontend *frontend)
{
    unsigned reached = 0;
    for (unsigned i = 0; i < frontend->config.cluster_count; i++)
        reached += frontend->partitions[i].reached;
    return reached;
}

static void put_partitions(struct text *text, const struct frontend *frontend, bool reached)
{
    for (unsigned i = 0; i < frontend->config.cluster_count; i++)
        if (frontend->partitions[i].reached == reached)
            text_add(text, " %u", i);
}

/* Ready as soon as some keys can be reached: another front-end would not reach more. */
void frontend_reply_ready(struct frontend *frontend, struct request *request)
{
    char room[FIGURES_BYTES];
    struct text text = text_in(room, sizeof room);
    unsigned reached = partitions_reached(frontend), count = frontend->config.cluster_count;
    if (frontend->draining) {
        reply_text(request, 503, "This front-end is stopping.");
        return;
    }
    text_add(&text, "%s",
             reached == count ? "ready"
             : reached        ? "ready, but not for partition"
                              : "No partition has a node that is ready.");
    if (reached > 0 && reached < count)
        put_partitions(&text, frontend, false);
    text_add(&text, "\n");
    reply_content(request, reached > 0 ? 200 : 503, SLICE("text/plain; charset=utf-8"),
                  text_slice(&text));
}

static void put_backend(struct text *text, const struct backend *backend)
{
    char address[ADDRESS_TEXT_BYTES];
    const char *state = backend->wrong    ? "of another partition"
                        : backend->usable ? "ready"
                        : backend->up     ? "not ready"
                                          : "down";
    text_add(text, "  %s %s\n", address_format(&backend->address, address), state);
}

void frontend_reply_page(struct frontend *frontend, struct request *request)
{
    char room[FIGURES_BYTES];
    struct text text = text_in(room, sizeof room);
    text_add(&text, "Velour Fog front-end, %u of %u partitions reached\n",
             partitions_reached(frontend), frontend->config.cluster_count);
    for (unsigned i = 0; i < frontend->config.cluster_count; i++) {
        text_add(&text, "partition %u\n", i);
        for (unsigned j = 0; j < frontend->partitions[i].backend_count; j++)
            put_backend(&text, frontend->partitions[i].backends[j]);
    }
    reply_content(request, 200, SLICE("text/plain; charset=utf-8"), text_slice(&text));
}

void frontend_reply_status(struct frontend *frontend, struct request *request)
{
    frontend_reply_page(frontend, request);
}

void frontend_reply_metrics(struct frontend *frontend, struct request *request)
{
    frontend_reply_page(frontend, request);
}
