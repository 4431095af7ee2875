/* An input as a script: parts, each with a byte that says which of 8 kinds it is of, and more; its length in two bytes, high one first; and
 * so many bytes. The last one may be cut. */
#ifndef FUZZ_SCRIPT_H
#define FUZZ_SCRIPT_H

#include "base/slice.h"
#include "frames.h"

enum { SCRIPT_KINDS = 8, SCRIPT_HEAD_BYTES = 3 };

struct script {
    struct slice bytes;
    size_t next[SCRIPT_KINDS]; /* where to look for the next part of a kind; 0 at first */
};

/* The bytes of the part at `at`, whose head is whole. */
static inline struct slice script_part(struct slice bytes, size_t at)
{
    const uint8_t *head = (const uint8_t *)bytes.data + at;
    size_t len = (size_t)head[1] << 8 | head[2], left = bytes.len - at - SCRIPT_HEAD_BYTES;
    return (struct slice){bytes.data + at + SCRIPT_HEAD_BYTES, len < left ? len : left};
}

/* The next part of this kind: its first byte, and what it has. Returns false, and sets nothing, when there is none any more. */
static inline bool script_find(struct script *script, unsigned kind, uint8_t *how,
                               struct slice *body)
{
    size_t *next = &script->next[kind];
    while (*next + SCRIPT_HEAD_BYTES <= script->bytes.len) {
        uint8_t first = (uint8_t)script->bytes.data[*next];
        struct slice part = script_part(script->bytes, *next);
        *next += SCRIPT_HEAD_BYTES + part.len;
        if (first % SCRIPT_KINDS != kind)
            continue;
        *how = first;
        *body = part;
        return true;
    }
    return false;
}

/* Gives the frames in all parts of these kinds (a bit each) the checks that they should have. */
static inline void script_mend(uint8_t *data, size_t size, unsigned kinds)
{
    struct slice bytes = {(const char *)data, size};
    for (size_t at = 0; at + SCRIPT_HEAD_BYTES <= size;) {
        size_t len = script_part(bytes, at).len;
        if (kinds >> data[at] % SCRIPT_KINDS & 1)
            frames_mend(data + at + SCRIPT_HEAD_BYTES, len);
        at += SCRIPT_HEAD_BYTES + len;
    }
}

#endif
