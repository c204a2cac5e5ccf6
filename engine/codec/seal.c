// SPDX-License-Identifier: Apache-2.0
#include "engine/codec/seal.h"

#include <assert.h>
#include <limits.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <pthread.h>

#define SEAL_NONCE_BYTES 12u

struct br_mac {
    EVP_MAC *algorithm;
    EVP_MAC_CTX *context;
};

static EVP_CIPHER *aes;
static pthread_key_t context_key; // only for its destructor at a thread's end
static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool fetched;
static __thread EVP_CIPHER_CTX *context;

static void free_context(void *ctx)
{
    EVP_CIPHER_CTX_free(ctx);
}

static void fetch_aes(void)
{
    aes = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    fetched = aes && !pthread_key_create(&context_key, free_context);
}

static EVP_CIPHER_CTX *thread_context(void)
{
    pthread_once(&once, fetch_aes);
    if (!context && fetched) {
        context = EVP_CIPHER_CTX_new();
        if (context && pthread_setspecific(context_key, context)) {
            EVP_CIPHER_CTX_free(context);
            context = NULL;
        }
    }
    return context;
}

void br_wipe(void *bytes, size_t len)
{
    OPENSSL_cleanse(bytes, len);
}

void br_key_wipe(struct br_key *key)
{
    OPENSSL_cleanse(key, sizeof(*key));
}

static int derive(const char *algorithm, const OSSL_PARAM *params, struct br_key *ret_key, struct br_err *reterr)
{
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, algorithm, NULL);
    EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
    struct br_key key;
    int ok = ctx ? EVP_KDF_derive(ctx, key.bytes, sizeof(key.bytes), params) : 0;

    EVP_KDF_CTX_free(ctx);
    EVP_KDF_free(kdf);
    if (ok != 1) {
        return br_err_set(reterr, BR_E_NOMEM, "deriving a key with %s", algorithm);
    }
    *ret_key = key;
    br_key_wipe(&key);
    return 0;
}

// OpenSSL's parameters are not const, and it writes to none of them.
static OSSL_PARAM octets(const char *name, const void *bytes, size_t len)
{
    union {
        const void *in;
        void *out;
    } pun = {.in = bytes};

    return OSSL_PARAM_construct_octet_string(name, pun.out, len);
}

int br_key_derive(const struct br_key *from, const uint8_t salt[BR_SALT_BYTES], const void *info, size_t info_len,
                  struct br_key *ret_key, struct br_err *reterr)
{
    char digest[] = "SHA256";
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
        octets(OSSL_KDF_PARAM_KEY, from->bytes, sizeof(from->bytes)),
        octets(OSSL_KDF_PARAM_SALT, salt, BR_SALT_BYTES),
        octets(OSSL_KDF_PARAM_INFO, info, info_len),
        OSSL_PARAM_construct_end(),
    };

    return derive("HKDF", params, ret_key, reterr);
}

int br_key_from_passphrase(const void *passphrase, size_t len, const struct br_scrypt *scrypt, struct br_key *ret_key,
                           struct br_err *reterr)
{
    if (scrypt->log2_n < BR_SCRYPT_LOG2_N_MIN || scrypt->log2_n > BR_SCRYPT_LOG2_N_MAX || !scrypt->block ||
        scrypt->block > 16 || !scrypt->lanes || scrypt->lanes > 16 ||
        (UINT64_C(128) << scrypt->log2_n) * scrypt->block > BR_SCRYPT_BYTES_MAX) {
        return br_err_set(reterr, BR_E_LIMIT, "scrypt with N = 2^%u, r = %u, p = %u", scrypt->log2_n, scrypt->block,
                          scrypt->lanes);
    }
    uint64_t n = UINT64_C(1) << scrypt->log2_n;
    uint32_t r = scrypt->block;
    uint32_t p = scrypt->lanes;
    uint64_t room = 128 * r * (n + p + 2) + BR_MIB;
    const OSSL_PARAM params[] = {
        octets(OSSL_KDF_PARAM_PASSWORD, passphrase, len),
        octets(OSSL_KDF_PARAM_SALT, scrypt->salt, sizeof(scrypt->salt)),
        OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_N, &n),
        OSSL_PARAM_construct_uint32(OSSL_KDF_PARAM_SCRYPT_R, &r),
        OSSL_PARAM_construct_uint32(OSSL_KDF_PARAM_SCRYPT_P, &p),
        OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_MAXMEM, &room),
        OSSL_PARAM_construct_end(),
    };

    return derive("SCRYPT", params, ret_key, reterr);
}

static bool cipher_begin(EVP_CIPHER_CTX *ctx, const struct br_key *key, uint64_t nonce, const void *aad, size_t aad_len,
                         int encrypt)
{
    uint8_t iv[SEAL_NONCE_BYTES] = {0};
    int done;

    br_put_u64(iv, nonce);
    return EVP_CipherInit_ex2(ctx, aes, key->bytes, iv, encrypt, NULL) == 1 &&
           (!aad_len || EVP_CipherUpdate(ctx, NULL, &done, aad, (int)aad_len) == 1);
}

int br_seal(const struct br_key *key, uint64_t nonce, const void *aad, size_t aad_len, void *bytes, size_t len,
            uint8_t tag[BR_SEAL_TAG_BYTES], struct br_err *reterr)
{
    EVP_CIPHER_CTX *ctx = thread_context();
    uint8_t rest[16];
    int done;

    assert(len <= INT_MAX && aad_len <= INT_MAX);
    if (!ctx) {
        return br_err_set(reterr, BR_E_NOMEM, "sealing %zu bytes", len);
    }
    if (!cipher_begin(ctx, key, nonce, aad, aad_len, 1) ||
        (len && EVP_CipherUpdate(ctx, bytes, &done, bytes, (int)len) != 1) ||
        EVP_CipherFinal_ex(ctx, rest, &done) != 1 ||
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, BR_SEAL_TAG_BYTES, tag) != 1) {
        return br_err_set(reterr, BR_E_INTERNAL, "AES-256-GCM failed on %zu bytes", len);
    }
    return 0;
}

int br_unseal(const struct br_key *key, uint64_t nonce, const void *aad, size_t aad_len, void *bytes, size_t len,
              const uint8_t tag[BR_SEAL_TAG_BYTES], struct br_err *reterr)
{
    EVP_CIPHER_CTX *ctx = thread_context();
    uint8_t expected[BR_SEAL_TAG_BYTES], rest[16];
    int done;

    assert(len <= INT_MAX && aad_len <= INT_MAX);
    memcpy(expected, tag, sizeof(expected));
    if (!ctx) {
        return br_err_set(reterr, BR_E_NOMEM, "opening %zu bytes", len);
    }
    if (!cipher_begin(ctx, key, nonce, aad, aad_len, 0) ||
        (len && EVP_CipherUpdate(ctx, bytes, &done, bytes, (int)len) != 1) ||
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, BR_SEAL_TAG_BYTES, expected) != 1 ||
        EVP_CipherFinal_ex(ctx, rest, &done) != 1) {
        if (len) {
            memset(bytes, 0, len);
        }
        return br_err_set(reterr, BR_E_CORRUPT, "sealed bytes don't open");
    }
    return 0;
}

int br_mac_open(const struct br_key *key, struct br_mac **ret_mac, struct br_err *reterr)
{
    struct br_mac *mac = calloc(1, sizeof(*mac));
    char digest[] = "SHA256";
    const OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                                 OSSL_PARAM_construct_end()};

    if (!mac || !(mac->algorithm = EVP_MAC_fetch(NULL, "HMAC", NULL)) ||
        !(mac->context = EVP_MAC_CTX_new(mac->algorithm)) ||
        EVP_MAC_init(mac->context, key->bytes, sizeof(key->bytes), params) != 1) {
        br_mac_close(mac);
        return br_err_set(reterr, BR_E_NOMEM, "HMAC-SHA256");
    }
    *ret_mac = mac;
    return 0;
}

void br_mac_close(struct br_mac *mac)
{
    if (mac) {
        EVP_MAC_CTX_free(mac->context);
        EVP_MAC_free(mac->algorithm);
        free(mac);
    }
}

int br_mac_of(struct br_mac *mac, const void *bytes, size_t len, uint8_t ret_mac[BR_MAC_BYTES], struct br_err *reterr)
{
    size_t got;

    // Without a key it begins anew with the one that it has.
    if (EVP_MAC_init(mac->context, NULL, 0, NULL) != 1 || EVP_MAC_update(mac->context, bytes, len) != 1 ||
        EVP_MAC_final(mac->context, ret_mac, &got, BR_MAC_BYTES) != 1 || got != BR_MAC_BYTES) {
        return br_err_set(reterr, BR_E_INTERNAL, "HMAC-SHA256 failed");
    }
    return 0;
}
