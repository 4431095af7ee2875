/* The page that GET / gives a browser: a file of the program, the same on nodes and front-ends. It asks /-/status and /-/history every
 * second. Its source is in src/page/; scripts/page makes one file of that while the program is built. */
#ifndef ROLE_PAGE_H
#define ROLE_PAGE_H

#include "net/server.h"

/* Made by scripts/page. */
extern const char page_file[];
extern const size_t page_file_bytes;
extern const char
    page_policy[]; /* its Content-Security-Policy: nothing but what is in it, by hash */

/* Replies with the page when the client asks for HTML; else does nothing and returns false. */
bool page_reply(struct request *request);

#endif
