#include "net/address.h"

#include <errno.h>

#include "unit.h"

static struct address address_must(const char *text)
{
    struct address address;
    check(address_parse(slice_of(text), &address) == 0, "\"%s\"", text);
    return address;
}

static struct network network_must(const char *text)
{
    struct network network;
    check(network_parse(slice_of(text), &network) == 0, "\"%s\"", text);
    return network;
}

/* Addresses */

static void test_good_addresses(void **state)
{
    (void)state;
    static const struct {
        const char *text, *formatted;
        bool ipv4;
    } rows[] = {
        {"127.0.0.1:8000", "127.0.0.1:8000", true},
        {"0.0.0.0:0", "0.0.0.0:0", true},
        {"255.255.255.255:65535", "255.255.255.255:65535", true},
        {"[::]:8000", "[::]:8000", false},
        {"[::1]:1", "[::1]:1", false},
        {"[fe80::1]:8000", "[fe80::1]:8000", false},
        {"[FD00:0:0::00AB]:80", "[fd00::ab]:80", false},
        {"[2001:db8:1:2:3:4:5:6]:443", "[2001:db8:1:2:3:4:5:6]:443", false},
        {"[::ffff:10.1.2.3]:80", "10.1.2.3:80", true},
        {"[::ffff:0a01:0203]:80", "10.1.2.3:80", true},
        {"[64:ff9b::10.1.2.3]:80", "[64:ff9b::a01:203]:80", false},
        {":8000", "[::]:8000", false},
        {"8000", "[::]:8000", false},
        {"0", "[::]:0", false},
        {"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
         "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", false},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char text[ADDRESS_TEXT_BYTES];
        struct address address = address_must(rows[i].text), again;
        assert_ptr_equal(address_format(&address, text), text);
        check_slice(slice_of(text), slice_of(rows[i].formatted), rows[i].text);
        check(address_is_ipv4(&address) == rows[i].ipv4, "%s", rows[i].text);
        again = address_must(text);
        assert_memory_equal(again.ip, address.ip, sizeof again.ip);
        assert_int_equal(again.port, address.port);
    }
}

static void test_bad_addresses(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "",
        ":",
        "::",
        "::1",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "127.0.0.1:-1",
        "127.0.0.1:+1",
        "127.0.0.1: 1",
        "127.0.0.1:1 ",
        " 127.0.0.1:1",
        "127.0.0.1:80a",
        "127.0.0.1:0x50",
        "127.0.0.1:99999999999999999999",
        "127.0.0:80",
        "127.1:80",
        "127.0.0.1.1:80",
        "256.0.0.1:80",
        "127.0.0.01:80",
        "0x7f.0.0.1:80",
        "localhost:80",
        "*:80",
        "[::1]",
        "[::1]80",
        "[::1]:",
        "[::1:80",
        "::1]:80",
        "[::1]:80:80",
        "[[::1]]:80",
        "[:::]:80",
        "[1::2::3]:80",
        "[12345::]:80",
        "[::g]:80",
        "[1:2:3:4:5:6:7:8:9]:80",
        "[::1%lo]:80",
        "[fe80::1%1]:80",
        "fe80::1:80",
        "[::1/128]:80",
        "10.0.0.0/8:80",
        "[",
        "]",
        "[]",
        "http://10.0.0.1:80",
        "[0000000000000000000000000000000000000000000000000000::1]:80",
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct address address;
        check(address_parse(slice_of(rows[i]), &address) == -EINVAL, "\"%s\"", rows[i]);
    }
}

static void test_random_addresses_come_back(void **state)
{
    (void)state;
    struct chance chance = chance_start(3);
    for (int round = 0; round < 20000; round++) {
        struct address address = {.port = (uint16_t)chance_next(&chance)}, again;
        char text[ADDRESS_TEXT_BYTES];
        for (size_t i = 0; i < sizeof address.ip; i++)
            address.ip[i] = chance_once_in(&chance, 2) ? 0 : (uint8_t)chance_next(&chance);
        if (chance_once_in(&chance, 4)) {
            memset(address.ip, 0, 10);
            memset(address.ip + 10, 255, 2);
        }
        again = address_must(address_format(&address, text));
        assert_memory_equal(again.ip, address.ip, sizeof again.ip);
        assert_int_equal(again.port, address.port);
    }
}

/* Parsing stops at the slice's end, wherever the bytes behind it lead. */
static void test_slices_end(void **state)
{
    (void)state;
    static const char text[] = "10.0.0.1:80009";
    struct address address;
    assert_int_equal(address_parse((struct slice){text, 13}, &address), 0);
    assert_int_equal(address.port, 8000);
    struct network network;
    assert_int_equal(network_parse((struct slice){"10.0.0.0/16", 10}, &network), -EINVAL);
    assert_int_equal(network_parse((struct slice){"10.0.0.0/88", 10}, &network), 0);
    assert_int_equal(network.prefix_bits, 96 + 8);
}

/* Networks */

static void test_good_networks(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        unsigned bits;
        const char *inside, *outside; /* outside may be NULL */
    } rows[] = {
        {"0.0.0.0/0", 96, "8.8.8.8:1", "[::1]:1"},
        {"10.0.0.0/8", 104, "10.255.255.255:1", "11.0.0.0:1"},
        {"10.0.0.0/8", 104, "[::ffff:10.1.1.1]:1", "[::10.1.1.1]:1"},
        {"172.16.0.0/12", 108, "172.31.255.255:1", "172.32.0.0:1"},
        {"192.168.1.0/24", 120, "192.168.1.77:1", "192.168.2.77:1"},
        {"10.1.2.3/32", 128, "10.1.2.3:1", "10.1.2.2:1"},
        {"10.1.2.3", 128, "10.1.2.3:1", "10.1.2.4:1"},
        {"::ffff:10.0.0.0/104", 104, "10.9.9.9:1", "11.0.0.0:1"},
        {"::/0", 0, "10.1.1.1:1", NULL},
        {"::/0", 0, "[2001:db8::1]:1", NULL},
        {"fd00::/8", 8, "[fdff::1]:1", "[fc00::1]:1"},
        {"fc00::/7", 7, "[fdff::1]:1", "[fe00::1]:1"},
        {"fe80::/10", 10, "[febf::1]:1", "[fec0::]:1"},
        {"2001:db8::1", 128, "[2001:db8::1]:1", "[2001:db8::2]:1"},
        {"2001:db8::1/128", 128, "[2001:db8::1]:1", "[2001:db8::]:1"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct network network = network_must(rows[i].text);
        struct address inside = address_must(rows[i].inside);
        check(network.prefix_bits == rows[i].bits, "%s", rows[i].text);
        check(network_contains(&network, &inside), "%s in %s", rows[i].inside, rows[i].text);
        if (!rows[i].outside)
            continue;
        struct address outside = address_must(rows[i].outside);
        check(!network_contains(&network, &outside), "%s in %s", rows[i].outside, rows[i].text);
    }
}

static void test_bad_networks(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "",
        "/",
        "/8",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.0/+8",
        "10.0.0.0/ 8",
        "10.0.0.0 /8",
        " 10.0.0.0/8",
        "10.0.0.0/8 ",
        "10.0.0.0/8/8",
        "10.0.0.0/255.0.0.0",
        "10.0.0.0/8x",
        "10.0.0/8",
        "10/8",
        "10.0.0.1/8",
        "10.128.0.0/8",
        "0.0.0.1/0",
        "10.0.0.1/31",
        "fd00::/129",
        "fd00::1/8",
        "::1/0",
        "fd00::/0x8",
        "[fd00::]/8",
        "fd00::/",
        "fe80::1%lo/64",
        "localhost",
        "private",
        "10.0.0.0:80",
        "*",
        "\"10.0.0.0\"/8",
        "256.0.0.0/8",
        "::1 ",
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct network network;
        check(network_parse(slice_of(rows[i]), &network) == -EINVAL, "\"%s\"", rows[i]);
    }
}

/* The first `bits` bits of `base`, all others 0. */
static void mask(const uint8_t base[16], unsigned bits, uint8_t out[16])
{
    memset(out, 0, 16);
    for (unsigned bit = 0; bit < bits; bit++)
        out[bit / 8] |= (uint8_t)(base[bit / 8] & 0x80u >> bit % 8);
}

static void flip(struct address *address, unsigned bit)
{
    address->ip[bit / 8] ^= (uint8_t)(0x80u >> bit % 8);
}

/* An address of which one bit differs from the network's is inside exactly when that bit is behind
 * the prefix. */
static void test_every_prefix_length(void **state)
{
    (void)state;
    static const char *const bases[] = {"[::]:0", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:0",
                                        "10.170.85.204:0",
                                        "[2001:db8:aaaa:5555:c3c3:f00f:1:8000]:0"};
    for (size_t i = 0; i < COUNT(bases); i++) {
        struct address base = address_must(bases[i]);
        for (unsigned bits = 0; bits <= 128; bits++) {
            struct network network = {.prefix_bits = (uint8_t)bits};
            mask(base.ip, bits, network.ip);
            check(network_contains(&network, &base), "%s/%u", bases[i], bits);
            for (unsigned bit = 0; bit < 128; bit++) {
                struct address other = base;
                flip(&other, bit);
                check(network_contains(&network, &other) == (bit >= bits), "%s/%u, bit %u",
                      bases[i], bits, bit);
            }
        }
    }
}

/* The text of every prefix, clean and with one bit set behind it. */
static void test_every_prefix_text(void **state)
{
    (void)state;
    for (unsigned ipv4 = 0; ipv4 <= 1; ipv4++)
        for (unsigned bits = 0; bits <= (ipv4 ? 32 : 128); bits++) {
            struct address base =
                address_must(ipv4 ? "170.85.255.1:0" : "[2a5f:ffff:aa55::ff01]:0");
            struct network network;
            unsigned prefix = bits + (ipv4 ? 96 : 0);
            for (unsigned bit = prefix; bit <= 128; bit++) {
                struct address address = base;
                char ip[ADDRESS_TEXT_BYTES], text[2 * ADDRESS_TEXT_BYTES];
                mask(base.ip, prefix, address.ip);
                if (bit < 128)
                    flip(&address, bit);
                address_format(&address, ip);
                size_t skip = ipv4 ? 0 : 1, end = strlen(ip) - 2 - skip;
                snprintf(text, sizeof text, "%.*s/%u", (int)(end - skip), ip + skip, bits);
                int wanted = bit < 128 ? -EINVAL : 0;
                check(network_parse(slice_of(text), &network) == wanted, "%s", text);
                check(wanted || network.prefix_bits == prefix, "%s", text);
            }
        }
}

/* Allow-lists */

static void test_private_list(void **state)
{
    (void)state;
    static const struct {
        const char *address;
        bool allowed;
    } rows[] = {
        {"127.0.0.1:1", true},
        {"127.255.255.255:1", true},
        {"126.255.255.255:1", false},
        {"128.0.0.0:1", false},
        {"[::1]:1", true},
        {"[::2]:1", false},
        {"[::]:1", false},
        {"10.0.0.0:1", true},
        {"10.255.255.255:1", true},
        {"9.255.255.255:1", false},
        {"11.0.0.0:1", false},
        {"172.16.0.0:1", true},
        {"172.31.255.255:1", true},
        {"172.15.255.255:1", false},
        {"172.32.0.0:1", false},
        {"192.168.0.0:1", true},
        {"192.168.255.255:1", true},
        {"192.167.255.255:1", false},
        {"192.169.0.0:1", false},
        {"169.254.0.1:1", true},
        {"169.253.255.255:1", false},
        {"169.255.0.0:1", false},
        {"[fe80::1]:1", true},
        {"[febf:ffff::]:1", true},
        {"[fe7f::1]:1", false},
        {"[fec0::1]:1", false},
        {"[fc00::1]:1", true},
        {"[fdff:ffff::1]:1", true},
        {"[fbff::1]:1", false},
        {"[fe00::1]:1", false},
        {"8.8.8.8:1", false},
        {"[2001:4860:4860::8888]:1", false},
        {"[::ffff:10.0.0.1]:1", true},
        {"[::ffff:8.8.8.8]:1", false},
        {"[::10.0.0.1]:1", false},
        {"0.0.0.0:1", false},
        {"255.255.255.255:1", false},
        {"100.64.0.1:1", false},
        {"224.0.0.1:1", false},
        {"[ff02::1]:1", false},
    };
    struct allow_list list = {.count = 63};
    allow_list_private(&list);
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct address address = address_must(rows[i].address);
        check(allow_list_has(&list, &address) == rows[i].allowed, "%s", rows[i].address);
    }
}

static void test_empty_list_allows_nobody(void **state)
{
    (void)state;
    struct allow_list list = {.count = 0};
    struct address address = address_must("127.0.0.1:1");
    assert_false(allow_list_has(&list, &address));
}

static void test_list_is_full_at_its_end(void **state)
{
    (void)state;
    struct allow_list list = {.count = 0};
    char text[32];
    for (int i = 0; i < NETWORKS_MAX; i++) {
        snprintf(text, sizeof text, "10.%d.0.0/16", i);
        assert_int_equal(allow_list_add(&list, SLICE("10.0.0.1/8")), -EINVAL);
        assert_int_equal(list.count, i);
        assert_int_equal(allow_list_add(&list, slice_of(text)), 0);
    }
    assert_int_equal(allow_list_add(&list, SLICE("10.200.0.0/16")), -ENOSPC);
    assert_int_equal(list.count, NETWORKS_MAX);
    struct address first = address_must("10.0.1.1:1"), last = address_must("10.63.1.1:1");
    struct address none = address_must("10.64.1.1:1");
    assert_true(allow_list_has(&list, &first));
    assert_true(allow_list_has(&list, &last));
    assert_false(allow_list_has(&list, &none));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_addresses),
        cmocka_unit_test(test_bad_addresses),
        cmocka_unit_test(test_random_addresses_come_back),
        cmocka_unit_test(test_slices_end),
        cmocka_unit_test(test_good_networks),
        cmocka_unit_test(test_bad_networks),
        cmocka_unit_test(test_every_prefix_length),
        cmocka_unit_test(test_every_prefix_text),
        cmocka_unit_test(test_private_list),
        cmocka_unit_test(test_empty_list_allows_nobody),
        cmocka_unit_test(test_list_is_full_at_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
