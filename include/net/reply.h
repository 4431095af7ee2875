/* Writes replies, into the buffer that the server sends at the end of each connection's turn.
 *
 *   reply_start(request, 200);
 *   reply_field(request, SLICE("ETag"), etag);
 *   reply_body(request, type, data, length);
 *
 * or, in one call, reply_text. A request gets exactly one reply. */
#ifndef NET_REPLY_H
#define NET_REPLY_H

#include "base/slice.h"
#include "net/server.h"

/* The status line, Date, and Connection where it is needed. */
void reply_start(struct request *request, unsigned status);

/* One header field; up to 512 bytes of value. */
void reply_field(struct request *request, struct slice name, struct slice value);
/* Whole lines of the head, each with its CRLF, that were made elsewhere. */
void reply_lines(struct request *request, struct slice lines);

void reply_field_number(struct request *request, struct slice name, uint64_t value);

/* Ends the head and the reply: Content-Length and the body, which is left out for HEAD. Not for 204 and 304:
 * those end with reply_end. */
void reply_body(struct request *request, struct slice body);

/* As reply_body, but the bytes of `piece` stay where they are until its release, which is called exactly once. */
void reply_body_ref(struct request *request, struct conn_piece piece);

/* Ends the reply without a body and without Content-Length: 204 and 304. */
void reply_end(struct request *request);

/* Ends a reply with one plain sentence as its body (a newline is added), text/plain. */
void reply_sentence(struct request *request, const char *sentence);

/* A whole reply of one plain sentence (a newline is added), text/plain. */
void reply_text(struct request *request, unsigned status, const char *sentence);

/* 405, with the methods that are possible. */
void reply_not_allowed(struct request *request, struct slice methods);

/* A whole reply of any length of text, copied. */
void reply_content(struct request *request, unsigned status, struct slice type,
                   struct slice content);

/* Ends the head of a reply whose length is not known (server_stream follows): chunked, or until the end of the
 * connection for HTTP/1.0. */
void reply_stream(struct request *request);

/* The same for one whose length is known. */
void reply_stream_sized(struct request *request, uint64_t bytes);

/* In on_stream: adds to the body; SERVER_STREAM_BYTES in all, plus one piece that may be larger when it is
 * borrowed. */
void reply_chunk(struct request *request, struct slice data);
void reply_chunk_ref(struct request *request, struct conn_piece piece);

/* In on_stream: whether enough was added for this time. */
bool reply_chunk_full(const struct request *request);

#endif
