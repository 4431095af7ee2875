/* What each process sends and takes, by what the connection is for, and what processor time its turns take.
 *
 * The processor time is that of the real program, with the simulated network in place of the kernel. */
#include <limits.h>
#include <string.h>
#include <time.h>

#include "scale.h"

const char *const scale_way_names[SCALE_WAYS] = {
    [SCALE_UNKNOWN] = "unknown", [SCALE_HELLO] = "hello",   [SCALE_PUSH] = "push",
    [SCALE_REPAIR] = "repair",   [SCALE_COPY] = "copy",     [SCALE_ASK] = "ask",
    [SCALE_RELAY] = "relay",     [SCALE_CLIENT] = "client",
};

static const struct io_ops *plain_ops; /* of the simulated io: the same for all */
static struct io_ops metered_ops;

static struct scale_process *process_of(struct io *io)
{
    return ((struct io_sim *)io)->owner;
}

/* By the first request on it; all that follow are of its kind. */
static enum scale_way way_of_request(enum scale_role role, struct slice request)
{
    static const struct {
        const char *start;
        enum scale_way way;
    } starts[] = {
        {"POST /-/members ", SCALE_HELLO}, {"POST /-/merge ", SCALE_PUSH},
        {"POST /-/digest", SCALE_REPAIR},  {"POST /-/records ", SCALE_REPAIR},
        {"GET /-/records", SCALE_COPY},
    };
    if (role == SCALE_FRONTEND)
        return slice_starts(request, SLICE("GET /-/ready ")) ? SCALE_ASK : SCALE_RELAY;
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++)
        if (slice_starts(request, slice_of(starts[i].start)))
            return starts[i].way;
    return SCALE_UNKNOWN;
}

static uint64_t requests_in(struct slice bytes)
{
    uint64_t count = 0;
    const char *end = bytes.data + bytes.len, *at = bytes.data;
    while ((at = memmem(at, (size_t)(end - at), " HTTP/1.1\r\n", 11)) != NULL) {
        count++;
        at += 11;
    }
    return count;
}

static bool calls(const struct cable_end *end)
{
    return end == &end->cable->ends[0];
}

static ssize_t metered_send(struct io *io, int fd, const struct iovec *pieces, int count)
{
    struct scale_process *process = process_of(io);
    struct cable_end *end = io_sim_end(io, fd);
    ssize_t sent = plain_ops->send(io, fd, pieces, count);
    if (sent <= 0)
        return sent;
    if (!end->cable->tag && calls(end))
        end->cable->tag = (uint8_t)way_of_request(
            process->role, (struct slice){pieces[0].iov_base, pieces[0].iov_len});
    struct scale_flow *flow = &process->tally.flows[end->cable->tag];
    flow->sends++;
    flow->packets += ((uint64_t)sent + SCALE_PACKET_BYTES - 1) / SCALE_PACKET_BYTES;
    flow->bytes += (uint64_t)sent;
    size_t left = (size_t)sent;
    for (int i = 0; i < count && left > 0 && calls(end); i++) {
        size_t bytes = pieces[i].iov_len < left ? pieces[i].iov_len : left;
        flow->requests += requests_in((struct slice){pieces[i].iov_base, bytes});
        left -= bytes;
    }
    return sent;
}

static ssize_t metered_recv(struct io *io, int fd, void *out, size_t bytes)
{
    ssize_t got = plain_ops->recv(io, fd, out, bytes);
    if (got > 0)
        process_of(io)->tally.flows[io_sim_end(io, fd)->cable->tag].taken += (uint64_t)got;
    return got;
}

static uint64_t cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void metered_turn(struct world_event *event)
{
    struct scale_process *process =
        (struct scale_process *)(void *)((char *)event - offsetof(struct process, turn));
    uint64_t before_ns = cpu_ns();
    process->plain_turn(event);
    process->tally.cpu_ns += cpu_ns() - before_ns;
    process->tally.turns++;
    if (process->role == SCALE_NODE)
        scale_watch_turn(process);
}

void scale_meter(struct scale_process *process)
{
    struct io *io = &process->process.io.io;
    if (io->ops != &metered_ops) {
        plain_ops = io->ops;
        metered_ops = *plain_ops;
        metered_ops.send = metered_send;
        metered_ops.recv = metered_recv;
        io->ops = &metered_ops;
    }
    process->process.io.many = true;
    process->plain_turn = process->process.turn.run;
    process->process.turn.run = metered_turn;
}

static void tally_add(struct scale_tally *sum, const struct scale_tally *tally)
{
    uint64_t *to = (uint64_t *)sum;
    const uint64_t *from = (const uint64_t *)tally;
    for (size_t i = 0; i < sizeof *sum / sizeof *to; i++)
        to[i] += from[i];
}

struct scale_tally scale_sum(const struct scale *scale, enum scale_role role, unsigned partition)
{
    struct scale_tally sum = {0};
    for (unsigned i = 0; i < scale->process_count; i++) {
        const struct scale_process *process = &scale->processes[i];
        if (process->role == role && (partition == UINT_MAX || process->partition == partition))
            tally_add(&sum, &process->tally);
    }
    return sum;
}

struct scale_tally scale_since(const struct scale_tally *before, const struct scale_tally *now)
{
    struct scale_tally since = *now;
    uint64_t *to = (uint64_t *)&since;
    const uint64_t *from = (const uint64_t *)before;
    for (size_t i = 0; i < sizeof since / sizeof *to; i++)
        to[i] -= from[i];
    return since;
}
