#include "base/digits.h"

#include <inttypes.h>

#include "unit.h"

static void check_number(uint64_t value)
{
    char decimal[DIGITS_DECIMAL_MAX + 2], hex[DIGITS_HEX + 2], wanted[32];
    memset(decimal, '#', sizeof decimal);
    memset(hex, '#', sizeof hex);
    size_t len = digits_decimal(value, decimal);
    int wanted_len = snprintf(wanted, sizeof wanted, "%" PRIu64, value);
    assert_int_equal(len, wanted_len);
    assert_memory_equal(decimal, wanted, len);
    for (size_t i = DIGITS_DECIMAL_MAX; i < sizeof decimal; i++)
        assert_int_equal(decimal[i], '#');
    digits_hex(value, hex);
    snprintf(wanted, sizeof wanted, "%016" PRIx64 "##", value);
    assert_memory_equal(hex, wanted, sizeof hex);
}

static void test_edges(void **state)
{
    (void)state;
    for (uint64_t power = 1, i = 0; i < 20; i++, power *= 10)
        for (uint64_t by = 0; by < 3; by++) {
            check_number(power + by - 1);
            check_number(power * 9 + by - 1);
        }
    for (unsigned bit = 0; bit < 64; bit++)
        for (uint64_t by = 0; by < 3; by++)
            check_number((1ULL << bit) + by - 1);
    check_number(UINT64_MAX);
    /* Each digit at each place. */
    for (unsigned place = 0; place < 16; place++)
        for (uint64_t digit = 0; digit < 16; digit++)
            check_number(digit << 4 * place);
}

static void test_random_numbers(void **state)
{
    (void)state;
    struct chance chance = chance_start(26);
    for (int i = 0; i < 100000; i++)
        check_number(chance_next(&chance) >> chance_below(&chance, 64));
    for (uint64_t i = 0; i < 20000; i++)
        check_number(i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_edges),
        cmocka_unit_test(test_random_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
