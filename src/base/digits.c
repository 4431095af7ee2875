#include "base/digits.h"

#include <endian.h>
#include <string.h>

/* Eight digits at once, one in each byte: the first digit in the lowest byte. By halves: each lane of the word is divided, by a
 * multiplication that is exact for what it may hold, and then has the quotient in its lower half and the rest in its upper one. */
static uint64_t decimal_of(uint32_t value)
{
    uint64_t fours = value / 10000 | (uint64_t)(value % 10000) << 32;
    uint64_t hundreds = fours * 10486 >> 20 & 0x0000007f0000007f;
    uint64_t twos = hundreds | (fours - hundreds * 100) << 16;
    uint64_t tens = twos * 103 >> 10 & 0x000f000f000f000f;
    return tens | (twos - tens * 10) << 8;
}

enum { BLOCK_DIGITS = 8, BLOCK = 100000000 };

/* Eight characters, the first digit in the lowest byte; `skip` digits are left out at the beginning. */
static void block_put(uint64_t digits, size_t skip, char *out)
{
    uint64_t text = htole64((digits + 0x3030303030303030) >> 8 * skip);
    memcpy(out, &text, BLOCK_DIGITS);
}

/* Without leading zeros: behind the digits, there is room for these. */
static size_t block_put_first(uint32_t value, char *out)
{
    uint64_t digits = decimal_of(value);
    size_t zeros = digits ? (size_t)__builtin_ctzll(digits) / 8 : BLOCK_DIGITS - 1;
    block_put(digits, zeros, out);
    return BLOCK_DIGITS - zeros;
}

size_t digits_decimal(uint64_t value, char out[DIGITS_DECIMAL_MAX])
{
    if (value < BLOCK)
        return block_put_first((uint32_t)value, out);
    size_t digits = digits_decimal(value / BLOCK, out);
    block_put(decimal_of((uint32_t)(value % BLOCK)), 0, out + digits);
    return digits + BLOCK_DIGITS;
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
