// SPDX-License-Identifier: Apache-2.0
#include "engine/net/keys.h"

#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "engine/net/base32.h"
#include "engine/net/trust_file.h"

// Private keys lie in OpenSSL's secure heap: locked, where the limit lets it, and in no core dump. A few keys of some hundred bytes.
#define BR_KEYS_HEAP_BYTES 32768
#define BR_KEYS_HEAP_LEAST 32

struct br_keys {
    EVP_PKEY *pkey;
    X509 *cert;
    struct br_fingerprint fingerprint;
};

void br_fingerprint_text(const struct br_fingerprint *fingerprint, char text[BR_FINGERPRINT_TEXT_BYTES])
{
    _Static_assert(BR_BASE32_CHARS(BR_FINGERPRINT_BYTES) + 1 == BR_FINGERPRINT_TEXT_BYTES, "text size");
    br_base32_text(fingerprint->bytes, BR_FINGERPRINT_BYTES, text);
}

bool br_fingerprint_parse(const char *text, struct br_fingerprint *ret_fingerprint)
{
    struct br_fingerprint parsed;

    if (!br_base32_parse(text, strlen(text), parsed.bytes, BR_FINGERPRINT_BYTES)) {
        return false;
    }
    *ret_fingerprint = parsed;
    return true;
}

bool br_fingerprint_of_cert(X509 *cert, struct br_fingerprint *ret_fingerprint)
{
    EVP_PKEY *pkey = X509_get0_pubkey(cert);
    unsigned char *der = NULL;
    int len;

    if (!pkey || EVP_PKEY_get_base_id(pkey) != EVP_PKEY_ED25519) {
        return false;
    }
    len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);
    if (len <= 0) {
        return false;
    }
    bool ok = EVP_Digest(der, (size_t)len, ret_fingerprint->bytes, NULL, EVP_sha256(), NULL) == 1;
    OPENSSL_free(der);
    return ok;
}

// A self-signed certificate that says nothing but the key. The dates are the widest that X.509 can write (RFC 5280 4.1.2.5).
static X509 *br_keys_certify(EVP_PKEY *pkey)
{
    X509 *cert = X509_new();
    X509_NAME *name = cert ? X509_get_subject_name(cert) : NULL;

    if (name && X509_set_version(cert, X509_VERSION_3) && ASN1_INTEGER_set(X509_get_serialNumber(cert), 1) &&
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"blkrep", -1, -1, 0) &&
        X509_set_issuer_name(cert, name) && ASN1_TIME_set_string(X509_getm_notBefore(cert), "19700101000000Z") &&
        ASN1_TIME_set_string(X509_getm_notAfter(cert), "99991231235959Z") && X509_set_pubkey(cert, pkey) &&
        X509_sign(cert, pkey, NULL)) {
        return cert;
    }
    X509_free(cert);
    return NULL;
}

static int br_keys_no_passphrase(char *buf, int size, int writing, void *ctx)
{
    (void)buf, (void)size, (void)writing, (void)ctx;
    return -1; // never ask on a terminal
}

static int br_keys_parse(const struct br_buf *pem, struct br_keys *keys, struct br_err *reterr)
{
    BIO *bio = BIO_new_mem_buf(pem->data, (int)pem->len);

    keys->pkey = bio ? PEM_read_bio_PrivateKey(bio, NULL, br_keys_no_passphrase, NULL) : NULL;
    BIO_free(bio);
    ERR_clear_error();
    if (!keys->pkey || EVP_PKEY_get_base_id(keys->pkey) != EVP_PKEY_ED25519) {
        return br_err_set(reterr, BR_E_CORRUPT,
                          BR_IDENTITY_FILE " in the state folder is not an Ed25519 key; put the right one back, or "
                                           "remove it and pair this host anew");
    }
    keys->cert = br_keys_certify(keys->pkey);
    if (!keys->cert || !br_fingerprint_of_cert(keys->cert, &keys->fingerprint)) {
        ERR_clear_error();
        return br_err_set(reterr, BR_E_INTERNAL, "OpenSSL could not sign a certificate with " BR_IDENTITY_FILE);
    }
    return 0;
}

static int br_keys_make(int state_fd, struct br_err *reterr)
{
    EVP_PKEY *pkey = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    BIO *bio = BIO_new(BIO_s_secmem());
    int rc;

    if (pkey && bio && PEM_write_bio_PKCS8PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL)) {
        char *pem = NULL;
        long len = BIO_get_mem_data(bio, &pem);
        rc = br_trust_create(state_fd, BR_IDENTITY_FILE, pem, (size_t)len, reterr);
    } else {
        rc = br_err_set(reterr, BR_E_INTERNAL, "OpenSSL could not make an Ed25519 key");
    }
    BIO_free(bio);
    EVP_PKEY_free(pkey);
    ERR_clear_error();
    return rc < 0 ? rc : 0;
}

int br_keys_load(int state_fd, bool make, struct br_keys **ret_keys, struct br_err *reterr)
{
    struct br_buf pem = {0};
    struct br_keys *keys = calloc(1, sizeof(*keys));
    int rc;

    if (!keys) {
        return br_err_set(reterr, BR_E_NOMEM, "loading " BR_IDENTITY_FILE);
    }
    if (!CRYPTO_secure_malloc_initialized()) {
        (void)CRYPTO_secure_malloc_init(BR_KEYS_HEAP_BYTES,
                                        BR_KEYS_HEAP_LEAST); // without it keys lie in the common heap
    }
    rc = br_trust_read(state_fd, BR_IDENTITY_FILE, true, &pem, reterr);
    if (rc == -BR_E_NOT_FOUND && make) {
        rc = br_keys_make(state_fd, reterr);
        if (!rc) {
            rc = br_trust_read(state_fd, BR_IDENTITY_FILE, true, &pem, reterr);
        }
    }
    if (!rc) {
        rc = br_keys_parse(&pem, keys, reterr);
    }
    if (pem.data) {
        OPENSSL_cleanse(pem.data, pem.capacity);
    }
    br_buf_free(&pem);
    if (rc) {
        br_keys_free(keys);
        return rc;
    }
    *ret_keys = keys;
    return 0;
}

void br_keys_free(struct br_keys *keys)
{
    if (keys) {
        X509_free(keys->cert);
        EVP_PKEY_free(keys->pkey);
        free(keys);
    }
}

const struct br_fingerprint *br_keys_fingerprint(const struct br_keys *keys)
{
    return &keys->fingerprint;
}

int br_keys_use(const struct br_keys *keys, SSL_CTX *tls, struct br_err *reterr)
{
    if (SSL_CTX_use_certificate(tls, keys->cert) != 1 || SSL_CTX_use_PrivateKey(tls, keys->pkey) != 1) {
        ERR_clear_error();
        return br_err_set(reterr, BR_E_INTERNAL, "OpenSSL does not take this host's identity");
    }
    return 0;
}
