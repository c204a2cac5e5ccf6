// SPDX-License-Identifier: Apache-2.0
//
// Contexts, the handshake, and what OpenSSL's failures mean. The connection's thread is in tls_channel.c.
#include "engine/net/tls.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
#if defined(__aarch64__)
#include <sys/auxv.h>
#include <asm/hwcap.h>
#endif

#include "engine/base/units.h"
#include "engine/net/clock.h"
#include "engine/net/tls_wire.h"

#define BR_TLS_BINDING_LABEL "EXPORTER-blkrep-binding-1" // RFC 8446 7.5, RFC 5705
#define BR_TLS_TURN_AWAY_NS  (2 * BR_NS_PER_S)

// ALPN names with their length before them (RFC 7301 3.1).
static const unsigned char br_tls_alpn_session[] = "\x08"
                                                   "blkrep/1";
static const unsigned char br_tls_alpn_pairing[] = "\x0d"
                                                   "blkrep-pair/1";
static const unsigned char br_tls_alpn_store[] = "\x0e"
                                                 "blkrep-store/1";

static const struct {
    const unsigned char *wire;
    unsigned len;
} br_tls_alpn[] = {
    [BR_TLS_SESSION] = {br_tls_alpn_session, sizeof(br_tls_alpn_session) - 1},
    [BR_TLS_PAIRING] = {br_tls_alpn_pairing, sizeof(br_tls_alpn_pairing) - 1},
    [BR_TLS_STORE] = {br_tls_alpn_store, sizeof(br_tls_alpn_store) - 1},
};

static struct br_tls_options br_tls_defaults(const struct br_tls_options *given)
{
    struct br_tls_options options = given ? *given : (struct br_tls_options){0};
#define BR_DEFAULT(field, value) options.field = options.field ? options.field : (value)
    BR_DEFAULT(connect_timeout_ns, 10 * BR_NS_PER_S);
    BR_DEFAULT(handshake_timeout_ns, 10 * BR_NS_PER_S);
    BR_DEFAULT(idle_ns, 5 * BR_NS_PER_S);
    BR_DEFAULT(dead_ns, 30 * BR_NS_PER_S);
    BR_DEFAULT(rekey_bytes, 64 * BR_GIB);
    BR_DEFAULT(queue_bytes, 8 * BR_MIB);
#undef BR_DEFAULT
    return options;
}

// The context -----------------------------------------------------------------------------------------------------------

static bool br_tls_has_aes(void)
{
#if defined(__x86_64__) || defined(__i386__)
    return __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul");
#elif defined(__aarch64__)
    return (getauxval(AT_HWCAP) & (HWCAP_AES | HWCAP_PMULL)) == (HWCAP_AES | HWCAP_PMULL);
#else
    return false;
#endif
}

static int br_tls_verify(X509_STORE_CTX *store, void *arg)
{
    struct br_tls *tls = arg;
    X509 *cert = X509_STORE_CTX_get0_cert(store);

    if (!cert || !br_fingerprint_of_cert(cert, &tls->peer)) {
        X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_UNTRUSTED);
        return 0;
    }
    if (tls->expected && !br_fingerprint_equal(tls->expected, &tls->peer)) {
        tls->peer_refused = true;
        X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REJECTED);
        return 0;
    }
    X509_STORE_CTX_set_error(store, X509_V_OK);
    return 1;
}

static int br_tls_choose(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
                         unsigned in_len, void *arg)
{
    struct br_tls *tls = arg;

    (void)ssl;
    for (size_t i = 0; i < BR_ARRAY_LEN(br_tls_alpn); i++) {
        unsigned char *chosen;
        if (SSL_select_next_proto(&chosen, out_len, br_tls_alpn[i].wire, br_tls_alpn[i].len, in, in_len) ==
            OPENSSL_NPN_NEGOTIATED) {
            tls->protocol = (enum br_tls_protocol)i;
            *out = chosen;
            return SSL_TLSEXT_ERR_OK;
        }
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static bool br_tls_configure(SSL_CTX *context, struct br_tls *tls)
{
    // The server's order decides, but a client that puts ChaCha first (no AES in its CPU) gets it.
    const char *suites = br_tls_has_aes() ? "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256"
                                          : "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256";

    SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                     SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_cert_verify_callback(context, br_tls_verify, tls);
    SSL_CTX_set_alpn_select_cb(context, br_tls_choose, tls);
    SSL_CTX_set_max_cert_list(context, 4096);
    return SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) &&
           SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) && SSL_CTX_set_ciphersuites(context, suites) &&
           SSL_CTX_set1_sigalgs_list(context, "ed25519") && SSL_CTX_set_num_tickets(context, 0) &&
           SSL_CTX_set_max_early_data(context, 0) && SSL_CTX_set_recv_max_early_data(context, 0);
}

// @fd is the connection's from here on, also on failure.
static int br_tls_new(int fd, bool server, const struct br_keys *keys, const struct br_tls_options *options,
                      struct br_tls **ret_tls, struct br_err *reterr)
{
    struct br_tls *tls = calloc(1, sizeof(*tls));
    int on = 1, rc;

    if (!tls) {
        close(fd);
        return br_err_set(reterr, BR_E_NOMEM, "a connection");
    }
    tls->server = server;
    tls->options = br_tls_defaults(options);
    tls->wake_fd = -1;
    rc = br_tls_wire_open(&tls->wire, fd, reterr);
    if (rc) {
        free(tls);
        return rc;
    }
    pthread_mutex_init(&tls->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&tls->can_send, &monotonic);
    pthread_cond_init(&tls->can_receive, &monotonic);
    pthread_condattr_destroy(&monotonic);
    tls->wanted_rate = tls->options.bytes_per_second;
    br_address_of_fd(fd, tls->peer_text);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on,
               sizeof(on)); // what we send is whole already; fails on no TCP, harmlessly
    tls->context = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
    if (tls->context && br_tls_configure(tls->context, tls)) {
        rc = br_keys_use(keys, tls->context, reterr);
        tls->ssl = rc ? NULL : SSL_new(tls->context);
    }
    BIO *bio = tls->ssl ? br_tls_wire_bio(&tls->wire) : NULL;
    if (!bio) {
        ERR_clear_error();
        br_tls_free(tls);
        return rc ? rc : br_err_set(reterr, BR_E_NOMEM, "TLS state of a connection");
    }
    SSL_set_bio(tls->ssl, bio, bio);
    *ret_tls = tls;
    return 0;
}

// Failures --------------------------------------------------------------------------------------------------------------

int br_tls_error(const struct br_tls *tls, const char *doing, struct br_err *reterr)
{
    unsigned long first = ERR_peek_error();
    const char *text = first ? ERR_reason_error_string(first) : NULL;
    int reason = ERR_GET_REASON(first);

    ERR_clear_error();
    if (tls->peer_refused) {
        char expected[BR_FINGERPRINT_TEXT_BYTES], seen[BR_FINGERPRINT_TEXT_BYTES];
        br_fingerprint_text(tls->expected, expected);
        br_fingerprint_text(&tls->peer, seen);
        return br_err_set(
            reterr, BR_E_AUTH,
            "%s has the key %s, but %s is expected: another host answers there, someone is in between, or "
            "the server got a new identity",
            tls->peer_text, seen, expected);
    }
    if (!first && tls->wire.in_eof) {
        reason = SSL_R_UNEXPECTED_EOF_WHILE_READING;
    }
    switch (reason) {
    case SSL_R_UNEXPECTED_EOF_WHILE_READING:
        return br_err_set(reterr, BR_E_PEER, "%s: %s closed the connection", doing, tls->peer_text);
    case SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL:
    case SSL_R_NO_APPLICATION_PROTOCOL:
        return br_err_set(reterr, BR_E_VERSION, "%s speaks no version of the blkrep protocol that this side does",
                          tls->peer_text);
    case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_NO_SHARED_CIPHER:
        return br_err_set(reterr, BR_E_PROTOCOL, "%s: %s does not speak TLS 1.3 as blkrep does", doing, tls->peer_text);
    case SSL_R_HTTP_REQUEST:
    case SSL_R_WRONG_VERSION_NUMBER:
        return br_err_set(reterr, BR_E_PROTOCOL, "%s: %s does not speak TLS; is it blkrep?", doing, tls->peer_text);
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
        return br_err_set(reterr, BR_E_AUTH, "%s: %s and this side do not accept each other's identity", doing,
                          tls->peer_text);
    default:
        return br_err_set(reterr, BR_E_PROTOCOL, "%s: TLS with %s failed: %s", doing, tls->peer_text,
                          text ? text : "the peer broke off");
    }
}

static int br_tls_socket_error(const struct br_tls *tls, int os_errno, const char *doing, struct br_err *reterr)
{
    return br_err_set(reterr, os_errno == ETIMEDOUT ? BR_E_TIMEOUT : BR_E_PEER, "%s with %s: %s", doing, tls->peer_text,
                      strerror(os_errno));
}

// The handshake ---------------------------------------------------------------------------------------------------------

static int br_tls_wait(struct br_tls *tls, uint64_t deadline_ns, struct br_err *reterr)
{
    struct pollfd wait = {.fd = tls->wire.fd, .events = POLLIN};
    int ms = br_clock_look_ms(deadline_ns, tls->options.cancel);

    if (br_tls_wire_pending(&tls->wire)) {
        wait.events |= POLLOUT;
    }
    if (ms == 0) {
        return br_err_set(reterr, BR_E_TIMEOUT, "%s did not finish the TLS handshake in time", tls->peer_text);
    }
    if (br_clock_cancelled(tls->options.cancel)) {
        return br_err_set(reterr, BR_E_CANCELLED, "the TLS handshake with %s", tls->peer_text);
    }
    if (poll(&wait, 1, ms) < 0 && errno != EINTR) {
        return br_tls_socket_error(tls, errno, "handshake", reterr);
    }
    return 0;
}

static int br_tls_handshake(struct br_tls *tls, struct br_err *reterr)
{
    uint64_t deadline_ns = br_clock_ns() + tls->options.handshake_timeout_ns;

    for (;;) {
        ERR_clear_error();
        int done = SSL_do_handshake(tls->ssl);
        int why = done == 1 ? SSL_ERROR_NONE : SSL_get_error(tls->ssl, done);
        int failed = br_tls_wire_send(&tls->wire); // an alert too
        if (why != SSL_ERROR_NONE && why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE) {
            return br_tls_error(tls, "handshake", reterr);
        }
        if (failed) {
            return br_tls_socket_error(tls, -failed, "handshake", reterr);
        }
        if (why == SSL_ERROR_NONE && !br_tls_wire_pending(&tls->wire)) {
            return 0;
        }
        int rc = br_tls_wait(tls, deadline_ns, reterr);
        failed = rc ? 0 : br_tls_wire_receive(&tls->wire);
        if (rc || failed < 0) {
            return rc ? rc : br_tls_socket_error(tls, -failed, "handshake", reterr);
        }
    }
}

// What must hold of a finished handshake, whatever OpenSSL's defaults become.
static int br_tls_settle(struct br_tls *tls, struct br_err *reterr)
{
    const unsigned char *alpn = NULL;
    unsigned alpn_len = 0;

    SSL_get0_alpn_selected(tls->ssl, &alpn, &alpn_len);
    const unsigned char *wanted = br_tls_alpn[tls->protocol].wire;
    if (alpn_len != wanted[0] || memcmp(alpn, wanted + 1, alpn_len)) {
        return br_err_set(reterr, BR_E_VERSION, "%s speaks no version of the blkrep protocol that this side does",
                          tls->peer_text);
    }
    if (SSL_version(tls->ssl) != TLS1_3_VERSION || SSL_session_reused(tls->ssl) ||
        !SSL_get0_peer_certificate(tls->ssl)) {
        return br_err_set(reterr, BR_E_AUTH, "TLS with %s is not what blkrep asks for", tls->peer_text);
    }
    if (SSL_export_keying_material(tls->ssl, tls->binding, sizeof(tls->binding), BR_TLS_BINDING_LABEL,
                                   sizeof(BR_TLS_BINDING_LABEL) - 1, NULL, 0, 0) != 1) {
        return br_tls_error(tls, "deriving the connection's binding", reterr);
    }
    return 0;
}

int br_tls_connect(const struct br_address *address, const struct br_keys *keys, const struct br_fingerprint *expected,
                   enum br_tls_protocol protocol, const struct br_tls_options *options, struct br_tls **ret_tls,
                   struct br_err *reterr)
{
    struct br_tls_options all = br_tls_defaults(options);
    struct br_tls *tls;
    int fd, rc = br_address_connect(address, all.connect_timeout_ns, all.cancel, &fd, reterr);

    if (rc) {
        return rc;
    }
    uint64_t deadline_ns = br_clock_ns() + all.handshake_timeout_ns;
    rc = br_tls_new(fd, false, keys, &all, &tls, reterr);
    if (rc) {
        return rc;
    }
    tls->protocol = protocol;
    tls->expected = expected;
    br_address_text(address, tls->peer_text);
    SSL_set_connect_state(tls->ssl);
    if (SSL_set_alpn_protos(tls->ssl, br_tls_alpn[protocol].wire, br_tls_alpn[protocol].len)) { // 0 is success
        rc = br_err_set(reterr, BR_E_NOMEM, "TLS state of a connection");
    }
    rc = rc ? rc : br_tls_handshake(tls, reterr);
    rc = rc ? rc : br_tls_settle(tls, reterr);
    tls->expected = NULL;
    rc = rc ? rc : br_tls_start(tls, reterr);
    rc = rc ? rc : br_tls_await_welcome(tls, deadline_ns, reterr);
    if (rc) {
        br_tls_free(tls);
        return rc;
    }
    *ret_tls = tls;
    return 0;
}

int br_tls_accept(int fd, const struct br_keys *keys, const struct br_tls_options *options, struct br_tls **ret_tls,
                  struct br_err *reterr)
{
    struct br_tls *tls;
    int rc = br_tls_new(fd, true, keys, options, &tls, reterr);

    if (rc) {
        return rc;
    }
    SSL_set_accept_state(tls->ssl);
    rc = br_tls_handshake(tls, reterr);
    rc = rc ? rc : br_tls_settle(tls, reterr);
    if (rc) {
        br_tls_free(tls);
        return rc;
    }
    *ret_tls = tls;
    return 0;
}

const struct br_fingerprint *br_tls_peer(const struct br_tls *tls)
{
    return &tls->peer;
}

const char *br_tls_peer_text(const struct br_tls *tls)
{
    return tls->peer_text;
}

enum br_tls_protocol br_tls_protocol_of(const struct br_tls *tls)
{
    return tls->protocol;
}

const uint8_t *br_tls_binding(const struct br_tls *tls)
{
    return tls->binding;
}

void br_tls_watch(struct br_tls *tls, int (*watch)(void *ctx, struct br_err *reterr), void *ctx)
{
    tls->options.watch = watch;
    tls->options.watch_ctx = ctx;
}

int br_tls_welcome(struct br_tls *tls, struct br_err *reterr)
{
    int rc = br_tls_start(tls, reterr);

    if (!rc) {
        br_tls_queue_frame(tls, BR_FRAME_WELCOME, NULL, 0);
    }
    return rc;
}

void br_tls_turn_away(struct br_tls *tls, int code, const char *text)
{
    tls->options.watch = NULL;
    if (!br_tls_start(tls, NULL)) {
        br_tls_goodbye(tls, code, text);
        br_tls_finish(tls, BR_TLS_TURN_AWAY_NS);
    }
    br_tls_free(tls);
}

// Frames ----------------------------------------------------------------------------------------------------------------

uint32_t br_frame_word(enum br_frame_kind kind, size_t payload_bytes)
{
    return (uint32_t)kind << 24 | (uint32_t)payload_bytes;
}

int br_frame_parse(uint32_t word, enum br_frame_kind *ret_kind, size_t *ret_payload_bytes, struct br_err *reterr)
{
    unsigned kind = word >> 24;
    size_t len = word & 0xffffff;
    size_t most = kind == BR_FRAME_MESSAGE ? BR_MESSAGE_BYTES_MAX : kind == BR_FRAME_GOODBYE ? BR_GOODBYE_BYTES_MAX : 0;
    size_t least = kind == BR_FRAME_MESSAGE || kind == BR_FRAME_GOODBYE ? 1 : 0;

    if (kind > BR_FRAME_WELCOME) {
        return br_err_set(reterr, BR_E_PROTOCOL, "a frame of unknown kind %u", kind);
    }
    if (len < least || len > most) {
        return br_err_set(reterr, BR_E_PROTOCOL, "a frame of kind %u and %zu bytes, where %zu to %zu are allowed", kind,
                          len, least, most);
    }
    *ret_kind = (enum br_frame_kind)kind;
    *ret_payload_bytes = len;
    return 0;
}

int br_goodbye_parse(const void *payload, size_t len, const char *who, struct br_err *reterr)
{
    struct br_reader reader = br_reader_init(payload, len);
    char name[64], text[BR_GOODBYE_TEXT_BYTES], shown[BR_GOODBYE_TEXT_BYTES];

    br_reader_string(&reader, name, sizeof(name));
    br_reader_string(&reader, text, sizeof(text));
    if (!br_reader_done(&reader)) {
        return br_err_set(reterr, BR_E_PROTOCOL, "%s ended the connection with a goodbye that can't be read", who);
    }
    br_quote(text, shown, sizeof(shown));
    return br_err_set(reterr, br_err_from_peer(name), "%s says: %s", who, shown);
}
