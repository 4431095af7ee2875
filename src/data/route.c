/* The functions below EVP, though OpenSSL 3 calls them deprecated: they allocate nothing and cannot fail, where EVP allocates
 * for each hash (OpenSSL 3.0), takes no less time, and first starts all of libcrypto. */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "data/route.h"

#include <assert.h>
#include <stdlib.h>

#include <openssl/sha.h>

struct route {
    uint32_t partitions;
};

struct route *route_new(uint32_t partitions)
{
    struct route *route = malloc(sizeof *route);
    assert(partitions >= 1 && partitions <= ROUTE_PARTITIONS_MAX);
    if (route)
        route->partitions = partitions;
    return route;
}

void route_destroy(struct route *route)
{
    free(route);
}

uint32_t route_partition(const struct route *route, struct slice key)
{
    unsigned char hash[SHA_DIGEST_LENGTH];
    uint64_t rest = 0;
    SHA_CTX context;
    if (route->partitions == 1)
        return 0;
    SHA1_Init(&context);
    SHA1_Update(&context, key.data, key.len);
    SHA1_Final(hash, &context);
    for (unsigned i = 0; i < sizeof hash; i += 4) {
        uint32_t word = (uint32_t)hash[i] << 24 | (uint32_t)hash[i + 1] << 16 |
                        (uint32_t)hash[i + 2] << 8 | hash[i + 3];
        rest = (rest << 32 | word) % route->partitions;
    }
    return (uint32_t)rest;
}
