/* Streams of records whose checks fit. Chance alone does not find a check of 64 bits, so half of the mutants get theirs mended, that
 * what stands behind a good frame is tried, too. Written from docs/http.md and role/archive.h, not from the program. */
#ifndef FUZZ_FRAMES_H
#define FUZZ_FRAMES_H

#include <stddef.h>
#include <stdint.h>

/* Gives each whole frame of a stream the check that it should have, each end mark its count, and each note that ends a backup its count
 * and checksum, up to what is no frame. */
void frames_mend(uint8_t *at, size_t left);

#endif
