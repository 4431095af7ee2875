#include "net/http_parts.h"

enum { VERSION_BYTES = 9, LINE_BYTES_MIN = VERSION_BYTES + 3 };

static enum http_result refuse(struct http_error *error)
{
    return http_refuse(error, 502, "The server's answer is malformed.");
}

/* "HTTP/1.1 200 OK": the reason may be missing, with or without its space (RFC 9112, 4). */
static enum http_result status_line_scan(const char *at, const char *end, const char **line_end,
                                         struct http_response *response, struct http_error *error)
{
    static const char usual[] = "HTTP/1.1 ", pattern[] = "HTTP/1.0 000";
    size_t here = (size_t)(end - at);
    bool is_usual = here >= VERSION_BYTES && memcmp(at, usual, VERSION_BYTES) == 0;
    for (size_t i = is_usual ? VERSION_BYTES : 0; i < LINE_BYTES_MIN && i < here; i++)
        if (pattern[i] == '0' ? !http_is_digit(at[i]) : at[i] != pattern[i])
            return refuse(error);
    if (here <= LINE_BYTES_MIN)
        return HTTP_MORE;
    response->minor = at[7] != '0';
    response->status = (uint16_t)((at[9] - '0') * 100 + (at[10] - '0') * 10 + (at[11] - '0'));
    const char *c = at + LINE_BYTES_MIN;
    if (response->status < 100 || response->status > 599 || (*c != ' ' && *c != '\r'))
        return refuse(error);
    while (c < end && http_is_text(*c))
        c++;
    if (c == end || (*c == '\r' && c + 1 == end))
        return HTTP_MORE;
    if (c[0] != '\r' || c[1] != '\n')
        return refuse(error);
    *line_end = c + 2;
    return HTTP_OK;
}

enum http_result http_response_parse(const struct http_reader *reader, const char *data, size_t len,
                                     struct http_response *response, struct http_error *error)
{
    struct http_start start = {.method = SLICE("GET "), .usual = HTTP_GET};
    struct http_head head;
    const char *end = data + (len < HTTP_HEAD_BYTES_MAX ? len : HTTP_HEAD_BYTES_MAX);
    const char *line_end = NULL, *head_end = NULL;
    enum http_result result = status_line_scan(data, end, &line_end, response, error);
    if (result == HTTP_OK)
        result = http_fields_scan(line_end, end, &head_end, error);
    if (result == HTTP_BAD || (result == HTTP_MORE && len >= HTTP_HEAD_BYTES_MAX))
        return refuse(error);
    if (result == HTTP_MORE)
        return HTTP_MORE;
    struct slice fields = {line_end, (size_t)(head_end - line_end)};
    start.minor = response->minor;
    if (http_fields_read(reader, &start, fields, &head, &response->has_length, error) != HTTP_OK)
        return refuse(error);
    response->keep_alive = head.keep_alive;
    response->chunked = head.chunked;
    response->hop_options = head.hop_options;
    response->content_length = head.content_length;
    response->head_bytes = (uint32_t)(head_end - data);
    response->lines = (struct slice){fields.data, fields.len - 2};
    response->field_count = head.field_count;
    memcpy(response->fields, head.fields, head.field_count * sizeof *head.fields);
    return HTTP_OK;
}

const struct http_field *http_response_find(const struct http_response *response,
                                            enum http_field_name name)
{
    for (unsigned i = 0; i < response->field_count; i++)
        if (response->fields[i].name == name)
            return &response->fields[i];
    return NULL;
}
