/* GET /-/keys of a front-end: keys by prefix, of all partitions. Inside of the front-end alone. */
#ifndef ROLE_SEARCH_H
#define ROLE_SEARCH_H

#include "base/slice.h"

enum {
    /* How many lists are made at a time, of how many keys (a sentence in search.c says so, too), what one node may answer, and how
     * soon it must say something. */
    SEARCHES_MAX = 16,
    SEARCH_KEYS_MAX = 1000,
    SEARCH_BYTES_MAX = 13 * 1024 * 1024,
    SEARCH_ANSWER_US = 30 * 1000 * 1000,
};

struct backend;
struct frontend;
struct request;
struct search;

/* Its head is looked at first, and refused when the query is wrong. */

void search_on_head(struct request *request, struct slice query);
void search_on_request(struct frontend *frontend, struct request *request, struct slice query);
void search_free(struct search *search);

/* This member is down: whoever asks it asks another one. */
void searches_leave(const struct backend *backend);

#endif
