/* Numbers as text, quickly: they stand in every reply. */
#ifndef BASE_DIGITS_H
#define BASE_DIGITS_H

#include <stddef.h>
#include <stdint.h>

enum {
    DIGITS_DECIMAL_MAX = 20, /* of any 64-bit number */
    DIGITS_HEX = 16,
};

/* Writes `value` in decimal, without a NUL; what is in `out` behind the digits is lost. Returns how many digits. */
size_t digits_decimal(uint64_t value, char out[DIGITS_DECIMAL_MAX]);

/* Writes `value` in 16 hexadecimal digits, without a NUL. */
void digits_hex(uint64_t value, char out[DIGITS_HEX]);

#endif
