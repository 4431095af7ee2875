/* Large blocks of memory, kept when they are freed and given again for the same size. To begin a node takes some megabytes, and a sanitizer
 * needs longer to give and take these than most inputs need for all else: with this, a fuzzer is up to ten times as fast. Blocks keep
 * their ends, which the sanitizer knows; so it does the first bytes of one that is free. */
#ifndef FUZZ_BLOCKS_H
#define FUZZ_BLOCKS_H

enum {
    BLOCK_BYTES_MIN = 128 * 1024, /* smaller ones are malloc's alone */
    BLOCKS_MAX = 32,
};

/* How many are taken and were not freed: a leak, once all should be. */
unsigned blocks_taken(void);

#endif
