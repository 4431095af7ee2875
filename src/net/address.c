#include "net/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/digits.h"

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

int address_parse_ip(struct slice text, uint8_t ip[16])
{
    char copy[48];
    if (text.len == 0 || text.len >= sizeof copy)
        return -EINVAL;
    memcpy(copy, text.data, text.len);
    copy[text.len] = 0;
    if (memchr(copy, ':', text.len))
        return inet_pton(AF_INET6, copy, ip) == 1 ? 0 : -EINVAL;
    memcpy(ip, mapped_prefix, sizeof mapped_prefix);
    return inet_pton(AF_INET, copy, ip + 12) == 1 ? 0 : -EINVAL;
}

static int port_parse(struct slice text, uint16_t *out)
{
    unsigned long long port;
    if (!slice_number(text, 65535, &port))
        return -EINVAL;
    *out = (uint16_t)port;
    return 0;
}

/* Splits "[v6]:port", "v4:port", ":port" and "port". */
static int host_port_split(struct slice text, struct slice *host, struct slice *port)
{
    *host = (struct slice){0};
    *port = text;
    const char *colon = memrchr(text.data, ':', text.len);
    if (!colon)
        return 0;
    *host = (struct slice){text.data, (size_t)(colon - text.data)};
    *port = (struct slice){colon + 1, text.len - host->len - 1};
    bool bracketed = host->len >= 2 && host->data[0] == '[' && host->data[host->len - 1] == ']';
    if (bracketed)
        *host = (struct slice){host->data + 1, host->len - 2};
    else if (memchr(host->data, ':', host->len))
        return -EINVAL;
    return 0;
}

int address_parse(struct slice text, struct address *out)
{
    struct slice host, port;
    memset(out, 0, sizeof *out);
    if (text.len == 0 || host_port_split(text, &host, &port) != 0)
        return -EINVAL;
    if (host.len > 0 && address_parse_ip(host, out->ip) != 0)
        return -EINVAL;
    return port_parse(port, &out->port);
}

bool address_equal(const struct address *a, const struct address *b)
{
    return a->port == b->port && memcmp(a->ip, b->ip, sizeof a->ip) == 0;
}

bool address_is_unspecified(const struct address *address)
{
    static const uint8_t any4[16] = {[10] = 255, [11] = 255}, any6[16] = {0};
    return memcmp(address->ip, any4, 16) == 0 || memcmp(address->ip, any6, 16) == 0;
}

bool address_is_ipv4(const struct address *address)
{
    return memcmp(address->ip, mapped_prefix, sizeof mapped_prefix) == 0;
}

char *address_format(const struct address *address, char out[ADDRESS_TEXT_BYTES])
{
    char ip[INET6_ADDRSTRLEN] = "", *at = out;
    if (address_is_ipv4(address)) { /* in every line of every hello */
        for (int i = 12; i < 16; i++) {
            at += digits_decimal(address->ip[i], at);
            *at++ = i < 15 ? '.' : ':';
        }
        at[digits_decimal(address->port, at)] = 0;
    } else {
        inet_ntop(AF_INET6, address->ip, ip, sizeof ip);
        snprintf(out, ADDRESS_TEXT_BYTES, "[%s]:%u", ip, address->port);
    }
    return out;
}

/* Whether the first `bits` bits are the same. */
static bool prefix_equal(const uint8_t a[16], const uint8_t b[16], unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;
    if (memcmp(a, b, whole) != 0)
        return false;
    return rest == 0 || ((a[whole] ^ b[whole]) >> (8 - rest)) == 0;
}

static bool prefix_is_clean(const struct network *network)
{
    struct network ones = *network;
    for (unsigned bit = network->prefix_bits; bit < 128; bit++)
        ones.ip[bit / 8] &= (uint8_t) ~(0x80u >> (bit % 8));
    return memcmp(ones.ip, network->ip, sizeof ones.ip) == 0;
}

int network_parse(struct slice text, struct network *out)
{
    const char *slash = text.len ? memchr(text.data, '/', text.len) : NULL;
    struct slice ip = {text.data, slash ? (size_t)(slash - text.data) : text.len};
    if (address_parse_ip(ip, out->ip) != 0)
        return -EINVAL;
    bool ipv4 = !memchr(ip.data, ':', ip.len);
    unsigned long long count = 128;
    if (slash) {
        struct slice bits = {slash + 1, text.len - ip.len - 1};
        if (!slice_number(bits, ipv4 ? 32 : 128, &count))
            return -EINVAL;
        count += ipv4 ? 96 : 0;
    }
    out->prefix_bits = (uint8_t)count;
    return prefix_is_clean(out) ? 0 : -EINVAL;
}

bool network_contains(const struct network *network, const struct address *address)
{
    return prefix_equal(network->ip, address->ip, network->prefix_bits);
}

void allow_list_private(struct allow_list *list)
{
    static const char *const networks[] = {
        "127.0.0.0/8",    "::1",       "10.0.0.0/8", "172.16.0.0/12", "fc00::/7", "192.168.0.0/16",
        "169.254.0.0/16", "fe80::/10",
    };
    list->count = 0;
    for (unsigned i = 0; i < sizeof networks / sizeof *networks; i++)
        allow_list_add(list, slice_of(networks[i]));
}

int allow_list_add(struct allow_list *list, struct slice text)
{
    if (list->count == NETWORKS_MAX)
        return -ENOSPC;
    int error = network_parse(text, &list->networks[list->count]);
    if (error == 0)
        list->count++;
    return error;
}

bool allow_list_has(const struct allow_list *list, const struct address *address)
{
    for (unsigned i = 0; i < list->count; i++)
        if (network_contains(&list->networks[i], address))
            return true;
    return false;
}
