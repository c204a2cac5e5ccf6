// SPDX-License-Identifier: Apache-2.0
//
// Sealing: what a repository writes can be read, and changed unnoticed, only by who holds its key. One set of primitives, all OpenSSL's:
//
//     derive        HKDF-SHA256 (RFC 5869)          a key for one purpose out of another key
//     passphrase    scrypt (RFC 7914)               a key out of what a person knows
//     seal, unseal  AES-256-GCM (NIST SP 800-38D)   bytes under a key, a nonce that this key never saw before, and what they belong to
//     mac           HMAC-SHA256 (RFC 2104)          an id that says nothing about the content to who has not the key
//
// A sealing key lives for one object: it is derived with the object's own 256-bit random salt, so nonces are plain counters and can't meet.
// Keys are wiped from memory by who holds them.
#ifndef BR_CODEC_SEAL_H
#define BR_CODEC_SEAL_H

#include "engine/base/bytes.h"
#include "engine/base/err.h"

#define BR_KEY_BYTES      32u
#define BR_SALT_BYTES     32u
#define BR_SEAL_TAG_BYTES 16u
#define BR_MAC_BYTES      32u

struct br_key {
    uint8_t bytes[BR_KEY_BYTES];
};

/** br_wipe - zeros that the compiler does not leave out */
void br_wipe(void *bytes, size_t len);
/** br_key_wipe - for BR_AUTO_WIPE */
void br_key_wipe(struct br_key *key);
#define BR_AUTO_WIPE __attribute__((cleanup(br_key_wipe)))

/**
 * br_key_derive - HKDF-SHA256 of @from
 * @salt  BR_SALT_BYTES
 * @info  what the key is for: a text and, behind it, what it is bound to
 * Errors: -BR_E_NOMEM
 */
BR_MUST_CHECK int br_key_derive(const struct br_key *from, const uint8_t salt[BR_SALT_BYTES], const void *info,
                                size_t info_len, struct br_key *ret_key, struct br_err *reterr);

// What a passphrase costs who guesses: 128 * block * 2^log2_n bytes of memory, once for each guess.
struct br_scrypt {
    uint8_t salt[BR_SALT_BYTES];
    uint8_t log2_n; // BR_SCRYPT_LOG2_N_MIN .. MAX
    uint8_t block;  // r, 1..16
    uint8_t lanes;  // p, 1..16
};
#define BR_SCRYPT_LOG2_N_MIN 10u
#define BR_SCRYPT_LOG2_N_MAX 20u
#define BR_SCRYPT_BYTES_MAX  (UINT64_C(1) << 30) // a key that asks for more memory is refused
// OWASP's password storage guide, first of its scrypt rows: 128 MiB
#define BR_SCRYPT_LOG2_N 17u
#define BR_SCRYPT_BLOCK  8u
#define BR_SCRYPT_LANES  1u

/** br_key_from_passphrase - scrypt; -BR_E_LIMIT parameters out of range, -BR_E_NOMEM. Blocks: CPU only, some tenths of a second */
BR_MUST_CHECK int br_key_from_passphrase(const void *passphrase, size_t len, const struct br_scrypt *scrypt,
                                         struct br_key *ret_key, struct br_err *reterr);

/**
 * br_seal - encrypt and authenticate @len bytes in place
 * @nonce  of this key never used before
 * @aad    what the bytes belong to: authenticated, not encrypted
 * @tag    filled in
 * Thread safe; each thread keeps a context.    Errors: -BR_E_NOMEM, -BR_E_INTERNAL
 */
BR_MUST_CHECK int br_seal(const struct br_key *key, uint64_t nonce, const void *aad, size_t aad_len, void *bytes,
                          size_t len, uint8_t tag[BR_SEAL_TAG_BYTES], struct br_err *reterr);
/**
 * br_unseal - prove and decrypt in place
 * Errors: -BR_E_CORRUPT another key, nonce, aad, tag or content; @bytes are then zeros, so that nobody takes them for data
 */
BR_MUST_CHECK int br_unseal(const struct br_key *key, uint64_t nonce, const void *aad, size_t aad_len, void *bytes,
                            size_t len, const uint8_t tag[BR_SEAL_TAG_BYTES], struct br_err *reterr);

struct br_mac; // a key ready for use, by one thread at a time

/** br_mac_open - HMAC-SHA256 with @key, which is copied; -BR_E_NOMEM */
BR_MUST_CHECK int br_mac_open(const struct br_key *key, struct br_mac **ret_mac, struct br_err *reterr);
/** br_mac_close - NULL is fine */
void br_mac_close(struct br_mac *mac);
/** br_mac_of - the MAC of @len bytes; -BR_E_INTERNAL when the library fails */
BR_MUST_CHECK int br_mac_of(struct br_mac *mac, const void *bytes, size_t len, uint8_t ret_mac[BR_MAC_BYTES],
                            struct br_err *reterr);

#endif
