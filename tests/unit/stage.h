/* What the tests of nodes and clusters stand on: a loop over a fake io, and a log that nobody reads. */
#ifndef UNIT_STAGE_H
#define UNIT_STAGE_H

#include "base/log.h"
#include "fake_io.h"
#include "net/loop.h"
#include "unit.h"

enum { STAGE_START_US = 1000 * 1000 * 1000 }; /* the time at the beginning */

static inline bool stage_write(void *sink, const char *line, unsigned bytes)
{
    (void)sink, (void)line, (void)bytes;
    return true;
}

static inline uint64_t stage_clock(void *clock)
{
    (void)clock;
    return 0;
}

/* Returns the io of the loop, which may connect. stage_end is the end of both. */
static inline struct fake_io *stage_begin(struct loop *loop, struct log *log)
{
    struct fake_io *io = fake_io_new();
    io->now_us = STAGE_START_US;
    io->may_connect = true;
    loop_init(loop, &io->io);
    *log = (struct log){.wall_us = stage_clock, .write = stage_write};
    return io;
}

static inline void stage_end(struct loop *loop, struct fake_io *io)
{
    loop_free(loop);
    fake_io_destroy(io);
}

#endif
