#include "frames.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "data/hash.h"
#include "data/wire.h"

enum { NOTE = 64, END = 128 };

static const char first_line[] = "velour-fog backup 1\n", last_line[] = "velour-fog backup end\n";

/* What a backup's last note counts. */
struct sums {
    uint64_t since_end, records, checksum;
};

static uint64_t number_at(const uint8_t *at, unsigned bytes)
{
    uint64_t value = 0;
    while (bytes-- > 0)
        value = value << 8 | *at++;
    return value;
}

static void put_number(uint8_t *at, uint64_t value)
{
    for (int i = 7; i >= 0; i--, value >>= 8)
        at[i] = (uint8_t)value;
}

static uint64_t digest_of(const uint8_t *head, size_t key, size_t type, size_t value)
{
    uint64_t words[4] = {hash_bytes(head + WIRE_HEAD_BYTES, key + type + value),
                         number_at(head + 12, 8), number_at(head + 20, 8),
                         (uint64_t)value << 32 | key << 16 | type << 8 | (head[1] & 3)};
    for (int i = 0; i < 4 && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__; i++)
        words[i] = __builtin_bswap64(words[i]);
    return hash_bytes(words, sizeof words);
}

static bool begins(const uint8_t *text, size_t bytes, const char *with)
{
    return bytes >= strlen(with) && memcmp(text, with, strlen(with)) == 0;
}

/* The last note of a backup keeps its length: what does not fit into it is cut. */
static void mend_note(uint8_t *text, size_t bytes, const struct sums *sums)
{
    char right[WIRE_NOTE_BYTES_MAX + 1];
    if (!begins(text, bytes, last_line))
        return;
    int len = snprintf(right, sizeof right, "%srecords %llu\nchecksum %016llx\n", last_line,
                       (unsigned long long)sums->records, (unsigned long long)sums->checksum);
    memcpy(text, right, (size_t)len < bytes ? (size_t)len : bytes);
}

static uint64_t check_of(const uint8_t *head, size_t key, size_t type, size_t value)
{
    if (head[1] == END)
        return hash_bytes(head, 28);
    if (head[1] == NOTE)
        return hash_seeded(head + WIRE_HEAD_BYTES, value, hash_bytes(head, 28));
    return digest_of(head, key, type, value);
}

static void count(const uint8_t *head, size_t value, struct sums *sums)
{
    bool begun = head[1] == NOTE && begins(head + WIRE_HEAD_BYTES, value, first_line);
    sums->since_end = head[1] == END ? 0 : sums->since_end + (head[1] != NOTE);
    sums->records = begun ? 0 : sums->records + (head[1] < NOTE);
    sums->checksum = hash_seeded(head, WIRE_HEAD_BYTES, begun ? 0 : sums->checksum);
}

void frames_mend(uint8_t *at, size_t left)
{
    struct sums sums = {0};
    while (left >= WIRE_HEAD_BYTES) {
        size_t key = (size_t)number_at(at + 2, 2), type = at[4],
               value = (size_t)number_at(at + 8, 4), frame = WIRE_HEAD_BYTES + key + type + value;
        if (frame > left)
            return;
        if (at[1] == END)
            put_number(at + 12, sums.since_end);
        if (at[1] == NOTE)
            mend_note(at + WIRE_HEAD_BYTES, value, &sums);
        put_number(at + 28, check_of(at, key, type, value));
        count(at, value, &sums);
        at += frame;
        left -= frame;
    }
}
