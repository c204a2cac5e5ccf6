// SPDX-License-Identifier: Apache-2.0
//
// Who a host is: an Ed25519 key, made on first use, kept in the state folder as `identity.key` (PKCS #8 PEM, mode 0600). TLS wants a
// certificate, so one is signed by the key itself each time it is loaded; nothing in it but the public key is ever looked at. There is
// no CA, and validity dates are ignored: peers pin the key, so a clock decades off changes nothing.
//
// The fingerprint is SHA-256 over the SubjectPublicKeyInfo (RFC 5280 4.1), written as 52 characters of base 32.
#ifndef BR_NET_KEYS_H
#define BR_NET_KEYS_H

#include "engine/base/bytes.h"
#include "engine/base/err.h"

#define BR_FINGERPRINT_BYTES      32
#define BR_FINGERPRINT_TEXT_BYTES 53 // with the final zero
#define BR_IDENTITY_FILE          "identity.key"

struct br_fingerprint {
    uint8_t bytes[BR_FINGERPRINT_BYTES];
};

/** br_fingerprint_text - 52 lower-case characters and a final zero */
void br_fingerprint_text(const struct br_fingerprint *fingerprint, char text[BR_FINGERPRINT_TEXT_BYTES]);
/** br_fingerprint_parse - true when @text is exactly one fingerprint */
bool br_fingerprint_parse(const char *text, struct br_fingerprint *ret_fingerprint);
static inline bool br_fingerprint_equal(const struct br_fingerprint *a, const struct br_fingerprint *b)
{
    return !memcmp(a->bytes, b->bytes, BR_FINGERPRINT_BYTES);
}

struct br_keys;

/**
 * br_keys_load - the identity kept in the state folder
 * @state_fd  the folder; stays the caller's
 * @make      make one when there is none; two processes that do so at once end up with the same one
 * Durable: a key that was made is on disk before it is used
 * Errors: -BR_E_NOT_FOUND none and not @make; -BR_E_PERMISSION others may read it; -BR_E_CORRUPT not an Ed25519 key
 */
BR_MUST_CHECK int br_keys_load(int state_fd, bool make, struct br_keys **ret_keys, struct br_err *reterr);
/** br_keys_free - forgets it; NULL is fine */
void br_keys_free(struct br_keys *keys);
/** br_keys_fingerprint - owned by @keys */
const struct br_fingerprint *br_keys_fingerprint(const struct br_keys *keys);

struct ssl_ctx_st;
struct x509_st;
/** br_keys_use - make a TLS context present this identity */
BR_MUST_CHECK int br_keys_use(const struct br_keys *keys, struct ssl_ctx_st *tls, struct br_err *reterr);
/** br_fingerprint_of_cert - false unless the certificate's key is Ed25519 */
BR_MUST_CHECK bool br_fingerprint_of_cert(struct x509_st *cert, struct br_fingerprint *ret_fingerprint);

#endif
