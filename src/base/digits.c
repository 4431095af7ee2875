#include "base/digits.h"

#include <endian.h>
#include <string.h>

static const char pairs[] = "0001020304050607080910111213141516171819"
                            "2021222324252627282930313233343536373839"
                            "4041424344454647484950515253545556575859"
                            "6061626364656667686970717273747576777879"
                            "8081828384858687888990919293949596979899";

size_t digits_decimal(uint64_t value, char out[DIGITS_DECIMAL_MAX])
{
    char text[DIGITS_DECIMAL_MAX];
    size_t at = sizeof text;
    while (value >= 100) {
        at -= 2;
        memcpy(text + at, pairs + 2 * (value % 100), 2);
        value /= 100;
    }
    if (value >= 10) {
        at -= 2;
        memcpy(text + at, pairs + 2 * value, 2);
    } else {
        text[--at] = (char)('0' + value);
    }
    memcpy(out, text + at, sizeof text - at);
    return sizeof text - at;
}

/* Eight digits at once, one in each byte: the first digit in the lowest byte. */
static uint64_t hex_of(uint32_t value)
{
    const uint64_t ones = 0x0101010101010101, low_digits = 0x000f000f000f000f;
    uint64_t x = __builtin_bswap32(value);
    x = (x | x << 16) & 0x0000ffff0000ffff;
    x = (x | x << 8) & 0x00ff00ff00ff00ff;
    x = (x >> 4 & low_digits) | (x & low_digits) << 8;
    uint64_t letters = (x + 6 * ones) >> 4 & ones; /* 1 in each byte of 10 or more */
    return x + '0' * ones + letters * ('a' - '0' - 10);
}

void digits_hex(uint64_t value, char out[DIGITS_HEX])
{
    uint64_t words[2] = {htole64(hex_of((uint32_t)(value >> 32))),
                         htole64(hex_of((uint32_t)value))};
    memcpy(out, words, sizeof words);
}
