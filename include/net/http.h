/* HTTP/1.x syntax (RFC 9112): one request head at a time out of a buffer, chunked bodies, escapes, names
 * of statuses. Pure: bytes in, structs out; no I/O, and no state between heads but what saves time (struct
 * http_reader). The only user of llhttp.
 *
 * A head is parsed only when it is whole in one buffer, so nothing is copied and an idle connection
 * holds no parser. What llhttp lets pass and RFC 9112 does not is refused here: anything that two
 * readers could read in two ways gets a 400. The answer never depends on how the bytes were cut. */
#ifndef NET_HTTP_H
#define NET_HTTP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

enum {
    HTTP_TARGET_BYTES_MAX = 16 * 1024, /* a longer request target is 414 */
    HTTP_HEAD_BYTES_MAX = 32 * 1024,   /* a longer head is 431 */
    HTTP_FIELDS_MAX = 16,              /* known fields kept of one head; more is 431 */
    HTTP_FIELDS_OWN = 12,             /* the same of a request without Via: a front-end adds some */
    HTTP_RECENT_MAX = 8,              /* kinds of requests whose fields are remembered */
    HTTP_RECENT_BYTES_MAX = 384,      /* of their fields; longer ones are not remembered */
    HTTP_CHUNK_LINE_BYTES_MAX = 1024, /* a chunk's size line with its extensions */
    HTTP_TRAILER_BYTES_MAX = 8 * 1024, /* all trailer lines together */
};

enum http_method {
    HTTP_GET,
    HTTP_HEAD,
    HTTP_POST,
    HTTP_PUT,
    HTTP_DELETE,
    HTTP_OTHER, /* one that HTTP knows and this store does not: 405. Its target may be * or host:port */
};

/* The fields that someone here reads; all others are checked for syntax and passed over. */
enum http_field_name {
    HTTP_FIELD_ACCEPT,
    HTTP_FIELD_ALLOW, /* of responses alone, as those marked so below */
    HTTP_FIELD_CONTENT_RANGE,
    HTTP_FIELD_CONTENT_TYPE,
    HTTP_FIELD_ETAG, /* of responses */
    HTTP_FIELD_FOG_AFTER,
    HTTP_FIELD_FOG_BEFORE,
    HTTP_FIELD_FOG_COPIES, /* of responses */
    HTTP_FIELD_FOG_FROM,
    HTTP_FIELD_FOG_TTL,
    HTTP_FIELD_FOG_VERSION,
    HTTP_FIELD_IF_MATCH,
    HTTP_FIELD_IF_NONE_MATCH,
    HTTP_FIELD_PREFER,
    HTTP_FIELD_RETRY_AFTER, /* of responses */
    HTTP_FIELD_VIA,
};

struct http_field {
    enum http_field_name name;
    struct slice value; /* trimmed */
};

/* One request head. Slices point into the buffer that was parsed. */
struct http_head {
    enum http_method method;
    uint8_t minor;        /* HTTP/1.minor */
    bool keep_alive;      /* the connection can serve another request after this one */
    bool chunked;         /* the body is chunked; else it is content_length bytes */
    bool expect_continue; /* the client awaits 100 before it sends the body; never on HTTP/1.0 */
    bool hop_options;     /* Connection has other options than close and keep-alive */
    uint8_t field_count;
    uint64_t content_length; /* 0 when there is no body */
    uint32_t head_bytes;     /* where the body starts, counted from the start of the buffer */
    struct slice target;     /* "/" first, to which an absolute form is brought; see HTTP_OTHER */
    struct http_field fields[HTTP_FIELDS_MAX];
};

enum http_result {
    HTTP_MORE, /* right so far, not whole: come back with more bytes */
    HTTP_OK,
    HTTP_BAD, /* refused: see struct http_error; the connection must be closed after the reply */
};

/* Why something was refused: a status and one plain sentence without a newline, both static. */
struct http_error {
    uint16_t status;
    const char *sentence;
};

/* The fields of a request that was taken, and what they were read as. */
struct http_recent {
    uint32_t bytes;        /* of text; 0: none */
    uint64_t used;         /* the reader's turn when it was found last */
    struct http_head head; /* its fields' values point into text */
    char text[HTTP_RECENT_BYTES_MAX];
};

/* What the parser remembers, to save time alone: a result is what it would be without. All of it is embedded, nothing to free. */
struct http_reader {
    uint64_t state[16]; /* behind the first line that nearly all heads have */
    uint64_t turn;      /* heads found or kept */
    uint32_t last;      /* where the last one was */
    struct http_recent recent[HTTP_RECENT_MAX];
};

void http_reader_init(struct http_reader *reader);

/* Parses one request head from the start of `data`. `reader` may be NULL. On HTTP_OK fills *head; on HTTP_BAD fills *error
 * (400, 414, 417, 431, 501 or 505). A few empty lines before the request line are passed over (RFC 9112,
 * 2.2). A body's length is told whatever the method is. Many mistakes are found before the head is whole.
 * A small GET whose fields are remembered costs a fifth of one whose fields are not; a head that is not whole, a fast scan of what is there. */
enum http_result http_head_parse(struct http_reader *reader, const char *data, size_t len,
                                 struct http_head *head, struct http_error *error);

/* The first field of that name, or NULL. Singletons (Content-Type, Fog-TTL, Fog-Version) never stand
 * twice in a head that was parsed; list fields may, so iterate over head->fields for those. */
const struct http_field *http_field_find(const struct http_head *head, enum http_field_name name);

/* One response head. Slices point into the buffer that was parsed. */
struct http_response {
    uint16_t status;
    uint8_t minor;    /* HTTP/1.minor */
    bool keep_alive;  /* the connection can serve another request after this one */
    bool chunked;     /* the body is chunked */
    bool hop_options; /* Connection has other options than close and keep-alive */
    bool
        has_length; /* the body is content_length bytes; without both it goes on to the connection's end */
    uint8_t field_count;
    uint64_t content_length;
    uint32_t head_bytes; /* where the body starts, counted from the start of the buffer */
    struct slice lines;  /* all fields as they came, each with its CRLF */
    struct http_field fields[HTTP_FIELDS_MAX];
};

/* Parses one response head (RFC 9112, 4 and 6) from the start of `data`, strictly; `reader` may be NULL here too. What two readers could read in two ways
 * is HTTP_BAD (error->status is 502 then). Whether there is a body also depends on the request (HEAD) and the status (1xx, 204,
 * 304): the caller knows. */
enum http_result http_response_parse(const struct http_reader *reader, const char *data, size_t len,
                                     struct http_response *response, struct http_error *error);

/* The first field of that name, or NULL. */
const struct http_field *http_response_find(const struct http_response *response,
                                            enum http_field_name name);

/* A chunked body's decoder (RFC 9112, 7.1). Embedded, no memory of its own. */
struct http_chunked {
    uint8_t state;
    uint64_t left;       /* of the present chunk's data */
    uint32_t line_bytes; /* of the present size line, or of all trailers */
    uint8_t digits;      /* of the present size */
};

void http_chunked_init(struct http_chunked *chunked);

/* Reads from `data` until the next run of body bytes is complete in it, the body ends, or `data` ends.
 * *used is how much of `data` was consumed; *body is a run of body bytes inside of the consumed part
 * (may be empty). Returns HTTP_MORE when more must follow (call again with what is left, if anything
 * is), HTTP_OK when the body with its trailers has ended, HTTP_BAD with *error (400 or 431). Call with
 * at least one byte, and not again after HTTP_OK or HTTP_BAD. A chunk has 2^62 bytes at most; extensions
 * and trailers are checked for syntax and dropped. */
enum http_result http_chunked_parse(struct http_chunked *chunked, struct slice data, size_t *used,
                                    struct slice *body, struct http_error *error);

/* How many bytes of memory the caller may still read ahead for: the rest of the present chunk, 0 when
 * it stands in framing. */
uint64_t http_chunked_left(const struct http_chunked *chunked);

/* So many bytes of the present chunk's data, at most http_chunked_left, were read past the decoder. */
void http_chunked_take(struct http_chunked *chunked, uint64_t bytes);

/* Percent-decodes `in` (RFC 3986, 2.1) once into `out`, which has room for in.len bytes and may be where
 * `in` is. Returns the decoded length, or -EINVAL at a bad escape. */
long http_percent_decode(struct slice in, char *out);

/* Percent-encodes all but unreserved characters and "/" into `out`, which has room for 3 * in.len
 * bytes. Returns the encoded length. */
size_t http_percent_encode(struct slice in, char *out);

/* "OK" for 200; "" for a status that this program never sends. */
const char *http_status_text(unsigned status);

#endif
