// SPDX-License-Identifier: Apache-2.0
//
// Hashes of leaves, nodes and pages. SHA-256 is OpenSSL's (its assembly picks SHA-NI, AVX2 or plain code at run time): the digest is
// fetched once per process and each thread keeps one context, because a fetch or an allocation per block would cost as much as a page.
// Losing memory for that one small context, or a libcrypto without SHA-256, ends the process: no version could be named without it.
#include "engine/map/tree_node.h"

#include <assert.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <xxhash.h>
#if defined(__x86_64__) && __has_include(<xxh_x86dispatch.h>)
#include <xxh_x86dispatch.h> // the library's own choice of AVX2 or AVX-512 at run time: three times the speed of its SSE2 on pages
#endif

static_assert(BR_PAGE_SECRET_BYTES >= XXH3_SECRET_SIZE_MIN, "XXH3 asks for a longer secret");
static_assert(BR_BLOCK_BYTES == BR_PAGE_BYTES * BR_PAGES_PER_BLOCK, "pages fill a block");

const struct br_hash br_hash_zero;
const struct br_hash br_hash_unreadable = {.bytes[BR_HASH_BYTES - 1] = 1};
const struct br_hash br_hash_unknown = {.bytes[BR_HASH_BYTES - 1] = 2};

static EVP_MD *sha256;
static pthread_key_t context_key; // only for its destructor at a thread's end
static pthread_once_t once = PTHREAD_ONCE_INIT;
static __thread EVP_MD_CTX *context;

static void free_context(void *ctx)
{
    EVP_MD_CTX_free(ctx);
}

static void fetch_sha256(void)
{
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    if (!sha256 || pthread_key_create(&context_key, free_context)) {
        abort();
    }
}

static EVP_MD_CTX *thread_context(void)
{
    if (!context) {
        pthread_once(&once, fetch_sha256);
        context = EVP_MD_CTX_new();
        if (!context || pthread_setspecific(context_key, context)) {
            abort();
        }
    }
    return context;
}

void br_hash_domain(const uint8_t domain[BR_HASH_DOMAIN_BYTES], const void *data, size_t len, struct br_hash *ret_hash)
{
    EVP_MD_CTX *ctx = thread_context();

    if (EVP_DigestInit_ex2(ctx, sha256, NULL) != 1 || EVP_DigestUpdate(ctx, domain, BR_HASH_DOMAIN_BYTES) != 1 ||
        EVP_DigestUpdate(ctx, data, len) != 1 || EVP_DigestFinal_ex(ctx, ret_hash->bytes, NULL) != 1) {
        abort();
    }
}

void br_leaf_hash(const void *data, size_t len_bytes, struct br_hash *ret_leaf)
{
    static const uint8_t domain[BR_HASH_DOMAIN_BYTES] = "blkrep leaf 1";

    assert(len_bytes > 0 && len_bytes <= BR_BLOCK_BYTES);
    if (br_is_zero(data, len_bytes)) {
        *ret_leaf = br_hash_zero;
    } else {
        br_hash_domain(domain, data, len_bytes, ret_leaf);
    }
}

uint64_t br_page_hash(const uint8_t secret[BR_PAGE_SECRET_BYTES], const void *page, size_t len_bytes)
{
    uint64_t hash = XXH3_64bits_withSecret(page, len_bytes, secret, BR_PAGE_SECRET_BYTES);
    return hash ? hash : 1;
}

void br_hash_text(const struct br_hash *hash, char text[2 * BR_HASH_BYTES + 1])
{
    static const char digits[] = "0123456789abcdef";

    for (unsigned i = 0; i < BR_HASH_BYTES; i++) {
        text[2 * i] = digits[hash->bytes[i] >> 4];
        text[2 * i + 1] = digits[hash->bytes[i] & 15];
    }
    text[2 * BR_HASH_BYTES] = 0;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool br_hash_parse(const char *text, struct br_hash *ret_hash)
{
    struct br_hash hash;

    for (unsigned i = 0; i < BR_HASH_BYTES; i++) {
        int high = hex_digit(text[2 * i]);
        int low = high < 0 ? -1 : hex_digit(text[2 * i + 1]);
        if (low < 0) {
            return false;
        }
        hash.bytes[i] = (uint8_t)(high << 4 | low);
    }
    if (text[2 * BR_HASH_BYTES]) {
        return false;
    }
    *ret_hash = hash;
    return true;
}
