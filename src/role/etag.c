#include "role/etag.h"

#include "base/digits.h"

static const struct slice absent = {"\"absent\"", 8};

struct slice etag_make(const struct record *record, char out[ETAG_BYTES])
{
    if (!record || record_is_tombstone(record))
        return absent;
    out[0] = '"';
    digits_hex(record->version, out + 1);
    out[17] = '-';
    digits_hex(record_digest(record), out + 18);
    out[34] = '"';
    return (struct slice){out, ETAG_BYTES};
}

bool etag_in_list(struct slice tag, struct slice list, enum etag_comparison comparison)
{
    struct slice one;
    while (slice_next(&list, ',', &one)) {
        if (slice_equal(one, SLICE("*")) && !slice_equal(tag, absent))
            return true;
        if (comparison == ETAG_WEAK && slice_starts(one, SLICE("W/")))
            one = (struct slice){one.data + 2, one.len - 2};
        if (slice_equal(one, tag))
            return true;
    }
    return false;
}
