/* What a hello says, line by line: docs/protocol.md has all lines. */
#include <stdio.h>

#include "role/hello.h"

void hello_partition(const struct cluster *cluster, char out[32])
{
    const struct node_config *config = cluster->config;
    if (config->partitions)
        snprintf(out, 32, "%u/%u", config->partition, config->partitions);
    else
        snprintf(out, 32, "-");
}

const char *hello_cluster_name(const struct cluster *cluster)
{
    return cluster->config->cluster_name ? cluster->config->cluster_name : "fog";
}

static void put_hello(struct cluster *cluster, const struct address *you, bool joined,
                      struct text *text)
{
    char partition[32], address[ADDRESS_TEXT_BYTES];
    struct store_counts counts = store_counts(cluster->store);
    hello_partition(cluster, partition);
    text_add(text, "protocol %d\ncluster %s\npartition %s\njoined %d\nclock %llu\n", HELLO_PROTOCOL,
             hello_cluster_name(cluster), partition, joined,
             (unsigned long long)cluster->loop->wall_us);
    text_add(text, "since %llu\nhorizon %llu\ndigest %016llx\nrecords %llu\n",
             (unsigned long long)cluster->since_us, (unsigned long long)cluster_horizon_us(cluster),
             (unsigned long long)store_digest(cluster->store),
             (unsigned long long)(counts.keys + counts.tombstones - counts.buried));
    text_add(text, "gathered %u\n", cluster_gathered_permille(cluster));
    if (cluster->push_p50_us != UINT64_MAX)
        text_add(text, "push %llu %llu\n", (unsigned long long)cluster->push_p50_us,
                 (unsigned long long)cluster->push_p99_us);
    if (you)
        text_add(text, "you %s\n", address_format(you, address));
    for (unsigned i = 0; i < cluster->members.count; i++)
        if (!cluster->torn || cluster->members.list[i]->state != MEMBER_DROPPED)
            member_print(cluster->members.list[i],
                         member_is_down(cluster, cluster->members.list[i]), cluster->loop->now_us,
                         text);
}

struct slice hello_to(struct cluster *cluster, const struct address *you)
{
    struct text text = text_in(cluster->scratch, HELLO_BYTES_MAX);
    put_hello(cluster, you, cluster->joined, &text);
    return text_slice(&text);
}

struct slice hello_to_new(struct cluster *cluster, const struct address *you)
{
    struct text text = text_in(cluster->scratch, HELLO_BYTES_MAX);
    put_hello(cluster, you, false, &text);
    return text_slice(&text);
}

struct slice hello_print(struct cluster *cluster, char *room, size_t room_bytes)
{
    struct text text = text_in(room, room_bytes);
    put_hello(cluster, NULL, cluster->joined, &text);
    return text_slice(&text);
}

static bool read_number(struct slice value, uint64_t *out)
{
    unsigned long long number;
    if (!slice_number(value, UINT64_MAX, &number))
        return false;
    *out = number;
    return true;
}

/* Returns false when a line that is known makes no sense. Lines that are not known are for later protocols. */
static bool read_line(struct slice name, struct slice value, struct hello *hello)
{
    uint64_t joined;
    if (slice_equal(name, SLICE("protocol")))
        return read_number(value, &hello->protocol);
    if (slice_equal(name, SLICE("cluster")))
        hello->cluster = value;
    else if (slice_equal(name, SLICE("partition")))
        hello->partition = value;
    else if (slice_equal(name, SLICE("joined"))) {
        if (!read_number(value, &joined))
            return false;
        hello->joined = joined;
    } else if (slice_equal(name, SLICE("clock")))
        return read_number(value, &hello->clock);
    else if (slice_equal(name, SLICE("digest")))
        return slice_hex(value, &hello->digest);
    else if (slice_equal(name, SLICE("since")))
        return read_number(value, &hello->since);
    else if (slice_equal(name, SLICE("horizon")))
        return read_number(value, &hello->horizon);
    else if (slice_equal(name, SLICE("records")))
        return read_number(value, &hello->records);
    else if (slice_equal(name, SLICE("gathered")))
        return read_number(value, &hello->gathered);
    else if (slice_equal(name, SLICE("you")))
        return hello->has_you = address_parse(value, &hello->you) == 0;
    return true;
}

bool hello_parse(struct cluster *cluster, struct slice body, struct hello *hello,
                 void (*take)(struct cluster *, const struct member *))
{
    struct slice line;
    uint64_t now_us = cluster->loop->now_us;
    *hello = (struct hello){0};
    while (slice_next(&body, '\n', &line)) {
        struct slice rest = line, name;
        struct member member;
        if (!slice_next(&rest, ' ', &name) || line.len == 0)
            continue;
        if (!slice_equal(name, SLICE("member"))) {
            if (!read_line(name, rest, hello))
                return false;
            continue;
        }
        if (member_parse(line, now_us, &member) != 0)
            return false;
        if (member.id == self_of(cluster)->id)
            hello->knows_us = member.state == MEMBER_HERE;
        if (hello->who.id != 0)
            take(cluster, &member);
        else
            hello->who = member;
        if (!take)
            break;
    }
    return hello->who.id != 0 && hello->protocol != 0;
}

bool hello_is_foreign(const struct hello *hello)
{
    return hello->protocol != 0 && hello->protocol != HELLO_PROTOCOL;
}
