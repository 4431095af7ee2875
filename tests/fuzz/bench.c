/* Its own branches are of no interest: the fuzzer is faster when it does not look. */
#pragma clang attribute push(__attribute__((no_sanitize("coverage"))), apply_to = function)

#include "bench.h"

#include <errno.h>
#include <string.h>

#include "blocks.h"

static struct bench *bench_of(struct io *io)
{
    return (struct bench *)io;
}

/* splitmix64 */
static uint64_t next_chance(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

static void bytes_add(struct bench_bytes *bytes, const void *data, size_t len)
{
    if (bytes->len + len > bytes->room) {
        bytes->room = 2 * (bytes->len + len);
        bytes->data = realloc(bytes->data, bytes->room);
        require(bytes->data);
    }
    if (len)
        memcpy(bytes->data + bytes->len, data, len);
    bytes->len += len;
}

static struct address address_of(unsigned host, unsigned port)
{
    struct address address = {.port = (uint16_t)port};
    address.ip[10] = address.ip[11] = 255;
    address.ip[12] = 10;
    address.ip[15] = (uint8_t)host;
    return address;
}

static bool same_address(const struct address *a, const struct address *b)
{
    return memcmp(a->ip, b->ip, sizeof a->ip) == 0 && a->port == b->port;
}

/* Sockets */

static int socket_new(struct bench *bench)
{
    for (int fd = 0; fd < BENCH_SOCKETS_MAX; fd++) {
        struct bench_socket *socket = &bench->sockets[fd];
        if (socket->open || socket->kept)
            continue;
        struct bench_bytes in = socket->in, out = socket->out;
        in.len = in.at = out.len = out.at = 0;
        *socket = (struct bench_socket){
            .open = true, .other = -1, .in = in, .out = out, .life = socket->life + 1};
        bench->sockets_used = fd < bench->sockets_used ? bench->sockets_used : fd + 1;
        return fd;
    }
    return -EMFILE;
}

static struct bench_socket *socket_of(struct io *io, int fd)
{
    require(fd >= 0 && fd < BENCH_SOCKETS_MAX && bench_of(io)->sockets[fd].open);
    return &bench_of(io)->sockets[fd];
}

static int listener_at(const struct bench *bench, const struct address *address)
{
    for (int fd = 0; fd < bench->sockets_used; fd++)
        if (bench->sockets[fd].listening && same_address(&bench->sockets[fd].local, address))
            return fd;
    return -1;
}

static size_t room_of(const struct bench *bench, const struct bench_socket *socket)
{
    if (socket->mine || socket->other < 0)
        return SIZE_MAX;
    const struct bench_bytes *in = &bench->sockets[socket->other].in;
    return in->len - in->at < BENCH_ROOM_BYTES ? BENCH_ROOM_BYTES - (in->len - in->at) : 0;
}

/* The functions of struct io_ops */

static uint64_t bench_monotonic_us(struct io *io)
{
    return bench_of(io)->now_us;
}

static uint64_t bench_wall_us(struct io *io)
{
    return bench_of(io)->now_us + 1795348800000000;
}

static void bench_random(struct io *io, void *out, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        ((char *)out)[i] = (char)next_chance(&bench_of(io)->chance);
}

static int bench_listen(struct io *io, const struct address *address, struct address *bound)
{
    struct bench *bench = bench_of(io);
    int fd = socket_new(bench);
    require(fd >= 0);
    bench->sockets[fd].listening = true;
    bench->sockets[fd].local = *bound = *address;
    return fd;
}

static int bench_accept(struct io *io, int listener, struct address *peer)
{
    struct bench *bench = bench_of(io);
    const struct bench_socket *at = socket_of(io, listener);
    require(at->listening);
    for (int fd = 0; fd < bench->sockets_used; fd++) {
        struct bench_socket *socket = &bench->sockets[fd];
        if (!socket->open || !socket->waiting || !same_address(&socket->local, &at->local))
            continue;
        socket->waiting = false;
        *peer = socket->remote;
        return fd;
    }
    return -EAGAIN;
}

/* The end of a connection that is to be accepted. */
static int knock(struct bench *bench, const struct address *at, const struct address *from)
{
    int fd = socket_new(bench);
    if (fd < 0)
        return fd;
    bench->sockets[fd].waiting = true;
    bench->sockets[fd].local = *at;
    bench->sockets[fd].remote = *from;
    return fd;
}

static int bench_call(struct io *io, const struct address *address)
{
    struct bench *bench = bench_of(io);
    struct address from = address_of(98, 5000);
    int fd = socket_new(bench);
    if (fd < 0)
        return fd;
    bench->sockets[fd].remote = *address;
    bench->sockets[fd].local = from;
    bench->sockets[fd].mine = listener_at(bench, address) < 0;
    if (bench->sockets[fd].mine)
        return fd;
    int other = knock(bench, address, &from);
    if (other < 0) {
        bench->sockets[fd].open = false;
        return other;
    }
    bench->sockets[fd].other = other;
    bench->sockets[other].other = fd;
    return fd;
}

static void bench_remote(struct io *io, int fd, struct address *address)
{
    *address = socket_of(io, fd)->remote;
}

static ssize_t bench_recv(struct io *io, int fd, void *out, size_t bytes)
{
    struct bench_socket *socket = socket_of(io, fd);
    size_t here = socket->in.len - socket->in.at;
    require(bytes > 0 && !socket->listening && !socket->waiting);
    if (here == 0)
        return socket->broken ? -ECONNRESET : socket->ended ? 0 : -EAGAIN;
    size_t take = here < bytes ? here : bytes;
    if (out)
        memcpy(out, socket->in.data + socket->in.at, take);
    socket->in.at += take;
    if (socket->in.at == socket->in.len)
        socket->in.at = socket->in.len = 0;
    return (ssize_t)take;
}

static ssize_t bench_send(struct io *io, int fd, const struct iovec *pieces, int count)
{
    struct bench_socket *socket = socket_of(io, fd);
    size_t room = room_of(bench_of(io), socket), sent = 0;
    require(!socket->shut && !socket->listening);
    if (socket->broken || (!socket->mine && socket->other < 0))
        return -EPIPE;
    for (int i = 0; i < count && sent < room; i++) {
        size_t take = pieces[i].iov_len < room - sent ? pieces[i].iov_len : room - sent;
        struct bench_bytes *to =
            socket->mine ? &socket->out : &bench_of(io)->sockets[socket->other].in;
        bytes_add(to, pieces[i].iov_base, take);
        sent += take;
    }
    return sent || room ? (ssize_t)sent : -EAGAIN;
}

static void bench_shutdown(struct io *io, int fd)
{
    struct bench_socket *socket = socket_of(io, fd);
    require(!socket->shut);
    socket->shut = true;
    if (socket->other >= 0)
        bench_of(io)->sockets[socket->other].ended = true;
}

static void bench_close(struct io *io, int fd)
{
    struct bench_socket *socket = socket_of(io, fd);
    if (socket->other >= 0) {
        struct bench_socket *other = &bench_of(io)->sockets[socket->other];
        other->ended = true;
        other->broken |= socket->in.at < socket->in.len;
        other->other = -1;
    }
    socket->open = socket->watched = socket->listening = false;
}

static int bench_watch(struct io *io, int fd, unsigned interest, void *data)
{
    struct bench_socket *socket = socket_of(io, fd);
    require(!socket->watched);
    socket->watched = true;
    socket->interest = interest;
    socket->data = data;
    return 0;
}

static void bench_rewatch(struct io *io, int fd, unsigned interest, void *data)
{
    struct bench_socket *socket = socket_of(io, fd);
    require(socket->watched);
    socket->interest = interest;
    socket->data = data;
}

static void bench_unwatch(struct io *io, int fd)
{
    struct bench_socket *socket = socket_of(io, fd);
    require(socket->watched);
    socket->watched = false;
}

static bool someone_waits(const struct bench *bench, const struct bench_socket *at)
{
    for (int fd = 0; fd < bench->sockets_used; fd++)
        if (bench->sockets[fd].open && bench->sockets[fd].waiting &&
            same_address(&bench->sockets[fd].local, &at->local))
            return true;
    return false;
}

static unsigned ready(const struct bench *bench, const struct bench_socket *socket)
{
    unsigned now = socket->broken ? IO_BROKEN : 0;
    bool readable = socket->listening ? someone_waits(bench, socket)
                                      : socket->in.at < socket->in.len || socket->ended;
    if (!socket->open || !socket->watched)
        return 0;
    if (socket->interest & IO_READ && (readable || socket->broken))
        now |= IO_READ;
    if (socket->interest & IO_WRITE && room_of(bench, socket) > 0)
        now |= IO_WRITE;
    return now;
}

static int bench_wait(struct io *io, struct io_event *events, int max, int64_t timeout_us)
{
    struct bench *bench = bench_of(io);
    int count = 0;
    for (int fd = 0; fd < bench->sockets_used && count < max; fd++) {
        unsigned now = ready(bench, &bench->sockets[fd]);
        if (now)
            events[count++] = (struct io_event){bench->sockets[fd].data, now};
    }
    bench->events = count;
    if (count == 0 && timeout_us > 0)
        bench->now_us += (uint64_t)timeout_us;
    return count;
}

static const struct io_ops bench_ops = {
    .monotonic_us = bench_monotonic_us,
    .wall_us = bench_wall_us,
    .random = bench_random,
    .listen = bench_listen,
    .accept = bench_accept,
    .connect = bench_call,
    .remote = bench_remote,
    .recv = bench_recv,
    .send = bench_send,
    .shutdown = bench_shutdown,
    .close = bench_close,
    .watch = bench_watch,
    .rewatch = bench_rewatch,
    .unwatch = bench_unwatch,
    .wait = bench_wait,
};

/* Life */

static uint64_t log_wall_us(void *clock)
{
    return bench_wall_us(clock);
}

static bool log_nothing(void *sink, const char *line, unsigned bytes)
{
    (void)sink;
    require(bytes > 0 && line[bytes - 1] == '\n' && !memchr(line, '\n', bytes - 1));
    return true;
}

void bench_start(struct bench *bench)
{
    memset(bench, 0, sizeof *bench);
    bench->io.ops = &bench_ops;
    bench->now_us = 5 * BENCH_SECOND;
    bench->log = (struct log){.level = LOG_DEBUG_LEVEL,
                              .wall_us = log_wall_us,
                              .clock = &bench->io,
                              .write = log_nothing};
    loop_init(&bench->loop, &bench->io);
}

void bench_end(struct bench *bench)
{
    require(bench->loop.timer_reserved == 0);
    loop_free(&bench->loop);
    for (int fd = 0; fd < bench->sockets_used; fd++) {
        struct bench_socket *socket = &bench->sockets[fd];
        require(!socket->open || socket->waiting);
        free(socket->in.data);
        free(socket->out.data);
    }
    require(blocks_taken() == 0);
}

static struct server_config server_config(void)
{
    struct server_config config = {
        .connections_max = BENCH_SOCKETS_MAX,
        .idle_us = (uint64_t)300 * BENCH_SECOND,
        .request_us = 30 * BENCH_SECOND,
        .stall_us = 60 * BENCH_SECOND,
    };
    allow_list_private(&config.allow);
    return config;
}

struct node *bench_node(struct bench *bench, unsigned host)
{
    return bench_joiner(bench, host, 0);
}

struct node *bench_joiner(struct bench *bench, unsigned host, unsigned member)
{
    static char join[32];
    struct node_config config = {
        .server = server_config(),
        .value_max = BENCH_VALUE_MAX,
        .grace_us = (uint64_t)86400 * BENCH_SECOND,
        .forget_us = (uint64_t)86400 * BENCH_SECOND,
        .drain_us = 5 * BENCH_SECOND,
        .joins = {join},
        .join_count = member != 0,
    };
    snprintf(join, sizeof join, "10.0.0.%u:%d", member, BENCH_PORT);
    struct address address = address_of(host, BENCH_PORT);
    struct node *node = node_new(&bench->loop, &bench->log, &config);
    require(node && node_listen(node, &address, -1) == 0);
    return node;
}

struct frontend *bench_frontend(struct bench *bench, unsigned host, unsigned member)
{
    static char seed[32];
    static const char *const seeds[] = {seed};
    static const struct frontend_cluster cluster = {seeds, 1};
    struct frontend_config config = {
        .server = server_config(),
        .clusters = &cluster,
        .cluster_count = 1,
        .value_max = BENCH_VALUE_MAX,
        .drain_us = 5 * BENCH_SECOND,
    };
    struct address address = address_of(host, BENCH_PORT);
    snprintf(seed, sizeof seed, "10.0.0.%u:%d", member, BENCH_PORT);
    struct frontend *frontend = frontend_new(&bench->loop, &bench->log, &config);
    require(frontend && frontend_listen(frontend, &address, -1) == 0);
    return frontend;
}

/* The other end */

int bench_connect(struct bench *bench, unsigned host)
{
    struct address at = address_of(host, BENCH_PORT), from = address_of(99, 5000);
    int fd = knock(bench, &at, &from);
    require(fd >= 0);
    bench->sockets[fd].mine = bench->sockets[fd].kept = true;
    return fd;
}

int bench_next_call(const struct bench *bench, unsigned host, int after)
{
    struct address at = address_of(host, BENCH_PORT);
    for (int fd = after + 1; fd < bench->sockets_used; fd++)
        if (bench->sockets[fd].open && bench->sockets[fd].mine &&
            (host == 0 || same_address(&bench->sockets[fd].remote, &at)))
            return fd;
    return -1;
}

bool bench_feed(struct bench *bench, int fd, struct slice bytes, unsigned cut)
{
    struct bench_socket *socket = &bench->sockets[fd];
    unsigned life = socket->life;
    uint64_t chance = cut;
    while (bytes.len > 0 && socket->open && socket->life == life && !socket->ended) {
        uint64_t dice = next_chance(&chance);
        size_t most = dice % 4 ? 64 : 1 + bytes.len;
        size_t piece = cut ? 1 + (size_t)(dice >> 8) % most : bytes.len;
        piece = piece < bytes.len ? piece : bytes.len;
        bytes_add(&socket->in, bytes.data, piece);
        bytes = (struct slice){bytes.data + piece, bytes.len - piece};
        if (bytes.len > 0)
            loop_turn(&bench->loop, 0);
    }
    return socket->open && socket->life == life;
}

void bench_finish(struct bench *bench, int fd)
{
    bench->sockets[fd].ended = true;
}

void bench_hang_up(struct bench *bench, int fd)
{
    struct bench_socket *socket = &bench->sockets[fd];
    socket->in.len = socket->in.at = 0;
    socket->ended = socket->broken = true;
}

struct slice bench_output(const struct bench *bench, int fd)
{
    return (struct slice){bench->sockets[fd].out.data, bench->sockets[fd].out.len};
}

void bench_forget(struct bench *bench, int fd)
{
    bench->sockets[fd].kept = false;
}

void bench_settle(struct bench *bench)
{
    unsigned turns = 0;
    do {
        require(++turns < 20000);
        loop_turn(&bench->loop, 0);
    } while (bench->loop.again || bench->events > 0);
}

void bench_pass(struct bench *bench, uint64_t us)
{
    uint64_t until_us = bench->now_us + us;
    bench_settle(bench);
    while (bench->now_us < until_us) {
        loop_turn(&bench->loop, (int64_t)(until_us - bench->now_us));
        bench_settle(bench);
    }
}

/* What bytes say */

static enum http_result read_chunks(struct slice bytes, size_t *used, unsigned *status)
{
    struct http_chunked chunked;
    struct http_error error = {0};
    struct slice body;
    http_chunked_init(&chunked);
    for (*used = 0; *used < bytes.len;) {
        size_t part = 0;
        enum http_result result = http_chunked_parse(
            &chunked, (struct slice){bytes.data + *used, bytes.len - *used}, &part, &body, &error);
        *used += part;
        *status = error.status;
        if (result != HTTP_MORE)
            return result;
    }
    return HTTP_MORE;
}

enum http_result bench_read_request(struct slice bytes, struct bench_request *out, unsigned *status)
{
    struct http_error error = {0};
    out->head = (struct http_head){0};
    enum http_result result =
        bytes.len ? http_head_parse(NULL, bytes.data, bytes.len, &out->head, &error) : HTTP_MORE;
    *status = error.status;
    if (result != HTTP_OK) {
        out->head = (struct http_head){0};
        return result;
    }
    struct slice rest = {bytes.data + out->head.head_bytes, bytes.len - out->head.head_bytes};
    size_t used = (size_t)out->head.content_length;
    if (out->head.chunked)
        result = read_chunks(rest, &used, status);
    else if (out->head.content_length > rest.len)
        result = HTTP_MORE;
    if (result == HTTP_OK)
        out->body = (struct slice){rest.data, used};
    return result;
}

void bench_read_requests(struct slice bytes, struct bench_requests *out)
{
    out->count = 0;
    out->used = 0;
    for (;;) {
        struct bench_request *request = &out->list[out->count];
        struct slice rest = {bytes.data + out->used, bytes.len - out->used};
        out->result = bench_read_request(rest, request, &out->status);
        if (out->result != HTTP_OK)
            return;
        out->used += request->head.head_bytes + request->body.len;
        if (++out->count == BENCH_REQUESTS_MAX || !request->head.keep_alive)
            return;
    }
}

struct slice bench_body(const struct bench_request *request, char *room)
{
    struct http_chunked chunked;
    struct http_error error;
    struct slice rest = request->body, part, body = {room, 0};
    if (!request->head.chunked)
        return request->body;
    http_chunked_init(&chunked);
    while (rest.len > 0) {
        size_t used = 0;
        require(http_chunked_parse(&chunked, rest, &used, &part, &error) != HTTP_BAD);
        if (part.len)
            memcpy(room + body.len, part.data, part.len);
        body.len += part.len;
        rest = (struct slice){rest.data + used, rest.len - used};
    }
    return body;
}

#pragma clang attribute pop
