#include "role/page.h"

#include "net/reply.h"

/* Whether a media type of this list (RFC 9110, 12.5.1) is text/html. */
static bool list_has_html(struct slice list)
{
    struct slice part, type;
    while (slice_next(&list, ',', &part))
        if (slice_next(&part, ';', &type) && slice_equal_nocase(type, SLICE("text/html")))
            return true;
    return false;
}

static bool page_is_wanted(const struct http_head *head)
{
    for (unsigned i = 0; i < head->field_count; i++)
        if (head->fields[i].name == HTTP_FIELD_ACCEPT && list_has_html(head->fields[i].value))
            return true;
    return false;
}

/* It is the program's own. */
static void keep(void *context, void *owner)
{
    (void)context;
    (void)owner;
}

bool page_reply(struct request *request)
{
    if (!page_is_wanted(&request->head))
        return false;
    reply_start(request, 200);
    reply_field(request, SLICE("Content-Type"), SLICE("text/html; charset=utf-8"));
    reply_field(request, SLICE("Cache-Control"), SLICE("no-store"));
    reply_field(request, SLICE("Vary"), SLICE("Accept"));
    reply_field(request, SLICE("Content-Security-Policy"), slice_of(page_policy));
    reply_field(request, SLICE("X-Content-Type-Options"), SLICE("nosniff"));
    reply_field(request, SLICE("Referrer-Policy"), SLICE("no-referrer"));
    reply_body_ref(request,
                   (struct conn_piece){.data = page_file, .len = page_file_bytes, .release = keep});
    return true;
}
