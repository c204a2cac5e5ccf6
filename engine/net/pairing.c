// SPDX-License-Identifier: Apache-2.0
#include "engine/net/pairing.h"

#include <ctype.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <time.h>

#include "engine/base/units.h"
#include "engine/net/base32.h"

#define BR_TOKEN_PREFIX      "blkrep1-"
#define BR_TOKEN_CHECK_BYTES 4
#define BR_TOKEN_BODY_BYTES  (BR_FINGERPRINT_BYTES + BR_TOKEN_SECRET_BYTES)
#define BR_TOKEN_CHARS       BR_BASE32_CHARS(BR_TOKEN_BODY_BYTES + BR_TOKEN_CHECK_BYTES)
#define BR_PAIR_REQUEST      1
#define BR_PAIR_REPLY        2
#define BR_PAIR_WAIT_NS      (10 * BR_NS_PER_S)
#define BR_PAIR_DELAY_NS     (1 * BR_NS_PER_S) // before a wrong token is answered

_Static_assert(sizeof(BR_TOKEN_PREFIX) + BR_TOKEN_CHARS == BR_TOKEN_TEXT_BYTES, "token size");

// SHA-256 over a label and up to two pieces.
static bool br_pair_hash(const char *label, const void *a, size_t a_len, const void *b, size_t b_len, uint8_t out[32])
{
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    bool ok = digest && EVP_DigestInit_ex(digest, EVP_sha256(), NULL) == 1 &&
              EVP_DigestUpdate(digest, label, strlen(label) + 1) == 1 && EVP_DigestUpdate(digest, a, a_len) == 1 &&
              EVP_DigestUpdate(digest, b, b_len) == 1 && EVP_DigestFinal_ex(digest, out, NULL) == 1;

    EVP_MD_CTX_free(digest);
    return ok;
}

// The token's text ----------------------------------------------------------------------------------------------------------

static bool br_token_check(const uint8_t body[BR_TOKEN_BODY_BYTES], uint8_t check[BR_TOKEN_CHECK_BYTES])
{
    uint8_t hash[32];
    bool ok = br_pair_hash("blkrep token text 1", body, BR_TOKEN_BODY_BYTES, NULL, 0, hash);

    memcpy(check, hash, BR_TOKEN_CHECK_BYTES);
    return ok;
}

void br_token_text_write(const struct br_token_text *token, char text[BR_TOKEN_TEXT_BYTES])
{
    uint8_t bytes[BR_TOKEN_BODY_BYTES + BR_TOKEN_CHECK_BYTES] = {0};

    memcpy(bytes, token->server.bytes, BR_FINGERPRINT_BYTES);
    memcpy(bytes + BR_FINGERPRINT_BYTES, token->secret, BR_TOKEN_SECRET_BYTES);
    if (!br_token_check(bytes, bytes + BR_TOKEN_BODY_BYTES)) {
        memset(bytes + BR_TOKEN_BODY_BYTES, 0,
               BR_TOKEN_CHECK_BYTES); // no digest, no TLS either: it will be refused as miscopied
    }
    memcpy(text, BR_TOKEN_PREFIX, sizeof(BR_TOKEN_PREFIX));
    br_base32_text(bytes, sizeof(bytes), text + sizeof(BR_TOKEN_PREFIX) - 1);
    OPENSSL_cleanse(bytes, sizeof(bytes));
}

int br_token_text_parse(const char *text, size_t len, struct br_token_text *ret_token, struct br_err *reterr)
{
    static const size_t prefix = sizeof(BR_TOKEN_PREFIX) - 1;
    uint8_t bytes[BR_TOKEN_BODY_BYTES + BR_TOKEN_CHECK_BYTES], check[BR_TOKEN_CHECK_BYTES];

    while (len && isspace((unsigned char)text[len - 1])) {
        len--;
    }
    while (len && isspace((unsigned char)*text)) {
        text++;
        len--;
    }
    if (len < prefix || memcmp(text, BR_TOKEN_PREFIX, prefix) != 0) {
        return br_err_set(reterr, BR_E_USAGE, "this is not a token: one is a line that begins with " BR_TOKEN_PREFIX);
    }
    if (!br_base32_parse(text + prefix, len - prefix, bytes, sizeof(bytes)) || !br_token_check(bytes, check) ||
        memcmp(check, bytes + BR_TOKEN_BODY_BYTES, sizeof(check)) != 0) {
        OPENSSL_cleanse(bytes, sizeof(bytes));
        return br_err_set(reterr, BR_E_USAGE, "the token is not whole: copy the line again, all %zu characters of it",
                          prefix + BR_TOKEN_CHARS);
    }
    memcpy(ret_token->server.bytes, bytes, BR_FINGERPRINT_BYTES);
    memcpy(ret_token->secret, bytes + BR_FINGERPRINT_BYTES, BR_TOKEN_SECRET_BYTES);
    OPENSSL_cleanse(bytes, sizeof(bytes));
    return 0;
}

// The token's key -----------------------------------------------------------------------------------------------------------

static EVP_PKEY *br_token_key(const struct br_token_text *token)
{
    uint8_t seed[32];
    EVP_PKEY *key = NULL;

    if (br_pair_hash("blkrep token key 1", token->server.bytes, BR_FINGERPRINT_BYTES, token->secret,
                     BR_TOKEN_SECRET_BYTES, seed)) {
        key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, sizeof(seed));
    }
    OPENSSL_cleanse(seed, sizeof(seed));
    return key;
}

static int br_token_verifier(const struct br_token_text *token, uint8_t verifier[BR_TOKEN_VERIFIER_BYTES],
                             uint8_t id[BR_TOKEN_ID_BYTES], struct br_err *reterr)
{
    EVP_PKEY *key = br_token_key(token);
    size_t len = BR_TOKEN_VERIFIER_BYTES;
    uint8_t hash[32];
    bool ok = key && EVP_PKEY_get_raw_public_key(key, verifier, &len) == 1 &&
              br_pair_hash("blkrep token id 1", verifier, len, NULL, 0, hash);

    EVP_PKEY_free(key);
    ERR_clear_error();
    if (!ok) {
        return br_err_set(reterr, BR_E_INTERNAL, "OpenSSL could not derive a token's key");
    }
    memcpy(id, hash, BR_TOKEN_ID_BYTES);
    return 0;
}

int br_token_id(const struct br_token_text *token, uint8_t ret_id[BR_TOKEN_ID_BYTES], struct br_err *reterr)
{
    uint8_t verifier[BR_TOKEN_VERIFIER_BYTES];

    return br_token_verifier(token, verifier, ret_id, reterr);
}

static int br_token_add(void *ctx, struct br_registry *registry, struct br_err *reterr)
{
    return br_registry_put_token(registry, ctx, reterr);
}

int br_token_create(int state_fd, const struct br_fingerprint *server, enum br_role role, const char *volumes,
                    uint64_t lifetime_s, struct br_token_text *ret_token, struct br_err *reterr)
{
    struct br_token_text text = {.server = *server};
    struct br_token token = {.role = role, .lifetime_s = lifetime_s};

    if (!role || !br_volume_list_ok(volumes) || !lifetime_s) {
        return br_err_set(reterr, BR_E_USAGE,
                          "a token needs a role, a lifetime, and volume names made of A-Z a-z 0-9 _ -");
    }
    if (RAND_bytes(text.secret, sizeof(text.secret)) != 1) {
        ERR_clear_error();
        return br_err_set(reterr, BR_E_INTERNAL, "OpenSSL has no random numbers");
    }
    snprintf(token.volumes, sizeof(token.volumes), "%s", volumes);
    br_moment_now(&token.created);
    int rc = br_token_verifier(&text, token.verifier, token.id, reterr);
    rc = rc ? rc : br_registry_change(state_fd, br_token_add, &token, reterr);
    if (!rc) {
        *ret_token = text;
    }
    OPENSSL_cleanse(&text, sizeof(text));
    return rc;
}

// The proof -----------------------------------------------------------------------------------------------------------------

#define BR_PAIR_LABEL      "blkrep pair 1"
#define BR_PAIR_SAID_BYTES (sizeof(BR_PAIR_LABEL) + BR_TLS_BINDING_BYTES + 2 * BR_FINGERPRINT_BYTES)

static void br_pair_said(const uint8_t *binding, const struct br_fingerprint *client,
                         const struct br_fingerprint *server, uint8_t said[BR_PAIR_SAID_BYTES])
{
    memcpy(said, BR_PAIR_LABEL, sizeof(BR_PAIR_LABEL));
    said += sizeof(BR_PAIR_LABEL);
    memcpy(said, binding, BR_TLS_BINDING_BYTES);
    said += BR_TLS_BINDING_BYTES;
    memcpy(said, client->bytes, BR_FINGERPRINT_BYTES);
    memcpy(said + BR_FINGERPRINT_BYTES, server->bytes, BR_FINGERPRINT_BYTES);
}

static bool br_pair_sign(const struct br_token_text *token, const uint8_t said[BR_PAIR_SAID_BYTES],
                         uint8_t proof[BR_PAIR_PROOF_BYTES])
{
    EVP_PKEY *key = br_token_key(token);
    EVP_MD_CTX *signer = EVP_MD_CTX_new();
    size_t len = BR_PAIR_PROOF_BYTES;
    bool ok = key && signer && EVP_DigestSignInit(signer, NULL, NULL, NULL, key) == 1 &&
              EVP_DigestSign(signer, proof, &len, said, BR_PAIR_SAID_BYTES) == 1 && len == BR_PAIR_PROOF_BYTES;

    EVP_MD_CTX_free(signer);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return ok;
}

static bool br_pair_verify(const uint8_t verifier[BR_TOKEN_VERIFIER_BYTES], const uint8_t said[BR_PAIR_SAID_BYTES],
                           const uint8_t proof[BR_PAIR_PROOF_BYTES])
{
    EVP_PKEY *key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, verifier, BR_TOKEN_VERIFIER_BYTES);
    EVP_MD_CTX *checker = EVP_MD_CTX_new();
    bool ok = key && checker && EVP_DigestVerifyInit(checker, NULL, NULL, NULL, key) == 1 &&
              EVP_DigestVerify(checker, proof, BR_PAIR_PROOF_BYTES, said, BR_PAIR_SAID_BYTES) == 1;

    EVP_MD_CTX_free(checker);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return ok;
}

// The messages --------------------------------------------------------------------------------------------------------------

int br_pair_request_parse(const void *bytes, size_t len, struct br_pair_request *ret_request, struct br_err *reterr)
{
    struct br_reader reader = br_reader_init(bytes, len);
    struct br_pair_request request = {0};
    uint8_t kind = br_reader_u8(&reader);

    br_reader_copy(&reader, request.id, sizeof(request.id));
    br_reader_string(&reader, request.name, sizeof(request.name));
    br_reader_copy(&reader, request.proof, sizeof(request.proof));
    if (!br_reader_done(&reader) || kind != BR_PAIR_REQUEST) {
        return br_err_set(reterr, BR_E_PROTOCOL, "a pairing request that can't be read");
    }
    *ret_request = request;
    return 0;
}

int br_pair_reply_parse(const void *bytes, size_t len, struct br_client *ret_self, struct br_err *reterr)
{
    struct br_reader reader = br_reader_init(bytes, len);
    struct br_client self = {0};
    uint8_t kind = br_reader_u8(&reader), role = br_reader_u8(&reader);

    br_reader_string(&reader, self.volumes, sizeof(self.volumes));
    if (!br_reader_done(&reader) || kind != BR_PAIR_REPLY || role < BR_ROLE_READER || role > BR_ROLE_ADMIN ||
        !br_volume_list_ok(self.volumes)) {
        return br_err_set(reterr, BR_E_PROTOCOL, "a pairing reply that can't be read");
    }
    self.role = (enum br_role)role;
    *ret_self = self;
    return 0;
}

// The client's side ---------------------------------------------------------------------------------------------------------

static int br_pair_ask(struct br_tls *tls, const struct br_keys *keys, const struct br_token_text *token,
                       const char *name, struct br_client *ret_self, struct br_err *reterr)
{
    struct br_channel channel = br_tls_channel(tls);
    uint8_t said[BR_PAIR_SAID_BYTES], proof[BR_PAIR_PROOF_BYTES], id[BR_TOKEN_ID_BYTES];
    char called[BR_CLIENT_NAME_BYTES];
    struct br_buf message = {0};
    int rc = br_token_id(token, id, reterr);

    br_pair_said(br_tls_binding(tls), br_keys_fingerprint(keys), br_tls_peer(tls), said);
    if (!rc && !br_pair_sign(token, said, proof)) {
        rc = br_err_set(reterr, BR_E_INTERNAL, "OpenSSL could not sign with a token's key");
    }
    if (!rc) {
        snprintf(called, sizeof(called), "%s", name);
        br_buf_u8(&message, BR_PAIR_REQUEST);
        br_buf_append(&message, id, sizeof(id));
        br_buf_string(&message, called);
        br_buf_append(&message, proof, sizeof(proof));
        rc = br_buf_failed(&message) ? br_err_set(reterr, BR_E_NOMEM, "a pairing request")
                                     : channel.ops->send(tls, message.data, message.len, NULL, 0, reterr);
    }
    if (!rc) {
        rc = channel.ops->recv(tls, &message, BR_PAIR_WAIT_NS, reterr);
        rc = rc == 0  ? br_err_set(reterr, BR_E_TIMEOUT, "%s did not answer the pairing", br_tls_peer_text(tls))
             : rc > 0 ? br_pair_reply_parse(message.data, message.len, ret_self, reterr)
                      : rc;
    }
    br_buf_free(&message);
    return rc;
}

int br_pair_client(int state_fd, const struct br_keys *keys, const struct br_token_text *token,
                   const struct br_address *address, const char *name, const struct br_tls_options *options,
                   struct br_client *ret_self, struct br_err *reterr)
{
    struct br_server server = {.fingerprint = token->server, .address = *address};
    struct br_moment now;
    struct br_tls *tls;
    struct br_client self = {0};
    int rc = br_tls_connect(address, keys, &token->server, BR_TLS_PAIRING, options, &tls, reterr);

    if (rc) {
        return rc;
    }
    rc = br_pair_ask(tls, keys, token, name, &self, reterr);
    br_tls_channel(tls).ops->close(tls);
    if (!rc) {
        br_moment_now(&now);
        server.created_unix_s = now.unix_s;
        rc = br_servers_keep(state_fd, &server, reterr);
    }
    if (!rc) {
        self.fingerprint = *br_keys_fingerprint(keys);
        snprintf(self.name, sizeof(self.name), "%s", name);
        *ret_self = self;
    }
    return rc;
}

// The server's side ---------------------------------------------------------------------------------------------------------

struct br_pair_attempt {
    const struct br_pair_request *request;
    const struct br_moment *now;
    const uint8_t *said;
    struct br_client client;
    struct br_err refusal; // code set: refused, but the registry is to be written (a failure was counted)
};

static int br_pair_settle(void *ctx, struct br_registry *registry, struct br_err *reterr)
{
    struct br_pair_attempt *attempt = ctx;
    struct br_token *token = br_registry_token(registry, attempt->request->id);

    if (!token) {
        return br_err_set(
            reterr, BR_E_AUTH,
            "this server does not know this token: it is another server's, or long expired; create a new one");
    }
    if (!br_pair_verify(token->verifier, attempt->said, attempt->request->proof)) {
        token->failures++;
        token->used = token->used || token->failures >= BR_TOKEN_FAILURES_MAX;
        (void)br_err_set(&attempt->refusal, BR_E_AUTH, "the proof for this token is wrong; create a new token");
        return 0;
    }
    if (token->used) {
        return br_err_set(reterr, BR_E_AUTH, "this token was used already; create a new one");
    }
    if (br_token_expired(token, attempt->now)) {
        return br_err_set(reterr, BR_E_AUTH, "this token has expired; create a new one");
    }
    token->used = true;
    attempt->client.role = token->role;
    attempt->client.created_unix_s = attempt->now->unix_s;
    snprintf(attempt->client.volumes, sizeof(attempt->client.volumes), "%s", token->volumes);
    return br_registry_put_client(registry, &attempt->client, reterr);
}

static int br_pair_decide(struct br_tls *tls, int state_fd, const struct br_fingerprint *server,
                          const struct br_moment *now, const struct br_pair_request *request,
                          struct br_client *ret_client, struct br_err *reterr)
{
    uint8_t said[BR_PAIR_SAID_BYTES];
    struct br_pair_attempt attempt = {.request = request, .now = now, .said = said};

    br_pair_said(br_tls_binding(tls), br_tls_peer(tls), server, said);
    attempt.client.fingerprint = *br_tls_peer(tls);
    snprintf(attempt.client.name, sizeof(attempt.client.name), "%s", request->name);
    int rc = br_registry_change(state_fd, br_pair_settle, &attempt, reterr);
    if (!rc && attempt.refusal.code) {
        rc = -attempt.refusal.code;
        if (reterr) {
            *reterr = attempt.refusal;
        }
    }
    if (rc == -BR_E_AUTH) {
        nanosleep(&(struct timespec){.tv_sec = BR_PAIR_DELAY_NS / BR_NS_PER_S}, NULL);
    }
    if (!rc) {
        *ret_client = attempt.client;
    }
    return rc;
}

static int br_pair_answer(struct br_tls *tls, const struct br_client *client, struct br_err *reterr)
{
    struct br_channel channel = br_tls_channel(tls);
    struct br_buf reply = {0};

    br_buf_u8(&reply, BR_PAIR_REPLY);
    br_buf_u8(&reply, (uint8_t)client->role);
    br_buf_string(&reply, client->volumes);
    int rc = br_buf_failed(&reply) ? br_err_set(reterr, BR_E_NOMEM, "a pairing reply")
                                   : channel.ops->send(tls, reply.data, reply.len, NULL, 0, reterr);
    br_buf_free(&reply);
    return rc;
}

int br_pair_serve(struct br_tls *tls, int state_fd, const struct br_fingerprint *server, const struct br_moment *now,
                  struct br_client *ret_client, struct br_err *reterr)
{
    struct br_channel channel = br_tls_channel(tls);
    struct br_pair_request request;
    struct br_buf message = {0};
    struct br_client client = {0};
    struct br_err why = {0};
    int rc = br_tls_welcome(tls, &why);

    if (!rc) {
        rc = channel.ops->recv(tls, &message, BR_PAIR_WAIT_NS, &why);
        rc = rc == 0  ? br_err_set(&why, BR_E_TIMEOUT, "%s did not ask to be paired in time", br_tls_peer_text(tls))
             : rc > 0 ? br_pair_request_parse(message.data, message.len, &request, &why)
                      : rc;
    }
    rc = rc ? rc : br_pair_decide(tls, state_fd, server, now, &request, &client, &why);
    if (rc) {
        br_tls_goodbye(tls, why.code, why.text);
    } else {
        (void)br_pair_answer(tls, &client, NULL); // it is paired, whether it hears of it or not
    }
    br_tls_finish(tls, 2 * BR_NS_PER_S);
    br_buf_free(&message);
    if (rc) {
        if (reterr) {
            *reterr = why;
        }
        return rc;
    }
    *ret_client = client;
    return 0;
}
