// SPDX-License-Identifier: Apache-2.0
//
// Pairing: two hosts that never met learn each other's key, by one line of text that a person carries from one to the other.
//
//     server: blkrep token create  -> blkrep1-...   (its fingerprint, a 128-bit secret, a checksum; one line, good once, for an hour)
//     client: blkrep pair HOST     <- that line, from standard input or a file
//
// From the secret both sides derive an Ed25519 key. The server keeps only its public half, so its state can't be used to pair. On a TLS
// connection with ALPN blkrep-pair/1, whose server key the client has compared with the token before it says anything:
//
//     client                                             server
//                                     <----------------- welcome
//     u8 1, token id, string name, signature --------->  the token is known, not used, not expired; the signature is right
//                                     <----------------- u8 2, u8 role, string volumes            (or goodbye AUTH)
//
//     signature = Ed25519 by the token's key over "blkrep pair 1" || binding of this TLS connection || client's and server's fingerprint
//
// So the secret never crosses the wire, and a proof is worth nothing on another connection or for another key. A man in the middle fails
// at the fingerprint; who guesses has 2^128 tries to make, and three per token.
#ifndef BR_NET_PAIRING_H
#define BR_NET_PAIRING_H

#include "engine/net/registry.h"
#include "engine/net/tls.h"

#define BR_TOKEN_SECRET_BYTES 16
#define BR_TOKEN_TEXT_BYTES   93 // with the final zero
#define BR_TOKEN_LIFETIME_S   3600u
#define BR_TOKEN_FAILURES_MAX 3u

// What a token's text says.
struct br_token_text {
    struct br_fingerprint server;
    uint8_t secret[BR_TOKEN_SECRET_BYTES];
};
/** br_token_text_write - the one line, without a newline */
void br_token_text_write(const struct br_token_text *token, char text[BR_TOKEN_TEXT_BYTES]);
/** br_token_text_parse - blanks and newlines around it are ignored; -BR_E_USAGE when it is none or was copied wrongly */
BR_MUST_CHECK int br_token_text_parse(const char *text, size_t len, struct br_token_text *ret_token,
                                      struct br_err *reterr);

/**
 * br_token_create - make a token and durably keep what verifies it
 * @volumes     "" all, else names with a comma between
 * @lifetime_s  how long it is good
 */
BR_MUST_CHECK int br_token_create(int state_fd, const struct br_fingerprint *server, enum br_role role,
                                  const char *volumes, uint64_t lifetime_s, struct br_token_text *ret_token,
                                  struct br_err *reterr);
/** br_token_id - how audit lines and the registry call a token; says nothing about the secret */
BR_MUST_CHECK int br_token_id(const struct br_token_text *token, uint8_t ret_id[BR_TOKEN_ID_BYTES],
                              struct br_err *reterr);

/**
 * br_pair_client - the client's side: connect, prove, keep the server's key durably
 * @name  what the server shall call this client (the host's name); cut to what fits
 * Errors: those of br_tls_connect(); -BR_E_AUTH the server refused the token, and says why
 */
BR_MUST_CHECK int br_pair_client(int state_fd, const struct br_keys *keys, const struct br_token_text *token,
                                 const struct br_address *address, const char *name,
                                 const struct br_tls_options *options, struct br_client *ret_self,
                                 struct br_err *reterr);

/**
 * br_pair_serve - the server's side, on an accepted connection whose protocol is BR_TLS_PAIRING
 * @tls  welcomed here; stays the caller's, who closes it; was told the outcome in either case
 * @now  this host's clocks
 * Durable: the client is in the registry and the token used before the client hears of it; if it never does, it needs a new token
 * Errors: -BR_E_AUTH unknown, used, expired or wrong token
 */
BR_MUST_CHECK int br_pair_serve(struct br_tls *tls, int state_fd, const struct br_fingerprint *server,
                                const struct br_moment *now, struct br_client *ret_client, struct br_err *reterr);

// The two messages, for the code above and its fuzz target.
#define BR_PAIR_PROOF_BYTES 64
struct br_pair_request {
    uint8_t id[BR_TOKEN_ID_BYTES];
    char name[BR_CLIENT_NAME_BYTES];
    uint8_t proof[BR_PAIR_PROOF_BYTES];
};
/** br_pair_request_parse - -BR_E_PROTOCOL */
BR_MUST_CHECK int br_pair_request_parse(const void *bytes, size_t len, struct br_pair_request *ret_request,
                                        struct br_err *reterr);
/** br_pair_reply_parse - role and volumes that the server gave; -BR_E_PROTOCOL */
BR_MUST_CHECK int br_pair_reply_parse(const void *bytes, size_t len, struct br_client *ret_self, struct br_err *reterr);

#endif
