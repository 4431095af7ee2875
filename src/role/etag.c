#include "role/etag.h"

static const struct slice absent = {"\"absent\"", 8};

static void put_hex(char *at, uint64_t value)
{
    static const char digits[] = "0123456789abcdef";
    for (int i = 15; i >= 0; i--, value >>= 4)
        at[i] = digits[value & 15];
}

struct slice etag_make(const struct record *record, char out[ETAG_BYTES])
{
    if (!record)
        return absent;
    out[0] = '"';
    put_hex(out + 1, record->version);
    out[17] = '-';
    put_hex(out + 18, record_digest(record));
    out[34] = '"';
    return (struct slice){out, ETAG_BYTES};
}

bool etag_in_list(struct slice tag, struct slice list)
{
    struct slice one;
    while (slice_next(&list, ',', &one)) {
        if (slice_equal(one, SLICE("*")) && !slice_equal(tag, absent))
            return true;
        if (slice_starts(one, SLICE("W/")))
            one = (struct slice){one.data + 2, one.len - 2};
        if (slice_equal(one, tag))
            return true;
    }
    return false;
}
