// SPDX-License-Identifier: Apache-2.0
//
// The wire between two hosts: TLS 1.3 and nothing older, both sides with a self-signed Ed25519 key that the other has pinned
// (engine/net/keys.h). No CA, no names, no dates, no session resumption, no early data, no renegotiation.
//
// Inside TLS go frames. This is all of the wire format below the session's messages (engine/sync/session.h):
//
//     frame    = u32 little-endian word, payload          word = kind << 24 | payload bytes (at most BR_MESSAGE_BYTES_MAX)
//     kind 0   message      payload: one message of the session
//     kind 1   heartbeat    no payload; sent when nothing else was for `idle_ns`
//     kind 2   goodbye      payload: string code name (as in blkrep-errors(7)), string text; the last frame of its sender
//     kind 3   welcome      no payload; the server's first frame when it lets the client in, goodbye when it does not
//
//     client                                             server
//     TCP connect, ClientHello (ALPN blkrep/1) ------->
//                                     <----------------- ServerHello, its certificate: the client compares it with its pin
//     its certificate ------------------------------->   looks the fingerprint up in its registry
//                                     <----------------- welcome, or goodbye AUTH "not paired with this server"
//     message <-------------------------------------->   message
//     close_notify ---------------------------------->
//
// ALPN says what is spoken inside: blkrep/1 sessions, blkrep-pair/1 pairing (engine/net/pairing.h), blkrep-store/1 a repository
// (engine/repo/store_wire.h). A peer of another version shares no name with us and is told so by the handshake.
//
// One thread per connection owns the TLS state: it encrypts, sends, receives, decrypts, keeps alive and limits the rate, so that all of
// that overlaps with the reading, hashing and writing of the session's own thread. Both queues are bounded. A peer is dead when nothing
// at all came from it for `dead_ns`, while we were reading; a peer that is alive but slow is waited for.
#ifndef BR_NET_TLS_H
#define BR_NET_TLS_H

#include "engine/net/address.h"
#include "engine/net/channel.h"
#include "engine/net/keys.h"

enum br_tls_protocol { BR_TLS_SESSION, BR_TLS_PAIRING, BR_TLS_STORE };

// Zero means the default.
struct br_tls_options {
    uint64_t connect_timeout_ns;       // 10 s
    uint64_t handshake_timeout_ns;     // 10 s, the server's welcome included
    uint64_t idle_ns;                  // 5 s: a heartbeat after that much silence of ours
    uint64_t dead_ns;                  // 30 s: the peer is dead after that much silence of its
    uint64_t bytes_per_second;         // of what we send, TLS included; no limit
    uint64_t receive_bytes_per_second; // of what is read, so that TCP slows the peer down; no limit
    uint64_t rekey_bytes;        // 64 GiB: new keys after that much (AES-GCM wears out at about 400 GB, RFC 8446 5.5)
    size_t queue_bytes;          // 8 MiB: messages waiting to be sent; the receiving side has half of it
    const volatile bool *cancel; // gives br_tls_connect() up when it becomes true; NULL: never
    /**
     * watch - asked twice a second, on the connection's thread: may this connection go on?
     * A failure is told to the peer as a goodbye and ends the connection (see br_tls_goodbye).
     */
    int (*watch)(void *ctx, struct br_err *reterr);
    void *watch_ctx;
};

struct br_tls;

/**
 * br_tls_connect - connect, authenticate both ways, be welcomed
 * @expected  the only server key that is accepted
 * @keys      this side's identity; used during the call only
 * Blocks: at most connect and handshake timeout, or until @options->cancel    Owner: end with the channel's close
 * Errors: -BR_E_PEER -BR_E_TIMEOUT nothing there, or not in time; -BR_E_AUTH another key than @expected (both are named), or the server
 *         does not know us; -BR_E_PROTOCOL not a blkrep server; -BR_E_VERSION no common version; -BR_E_CANCELLED; whatever else the
 *         server's goodbye says
 */
BR_MUST_CHECK int br_tls_connect(const struct br_address *address, const struct br_keys *keys,
                                 const struct br_fingerprint *expected, enum br_tls_protocol protocol,
                                 const struct br_tls_options *options, struct br_tls **ret_tls, struct br_err *reterr);

/**
 * br_tls_accept - the server's side of the handshake, on an accepted socket
 * @fd  owned from now on, also on failure
 * Any Ed25519 key is accepted: the caller looks at br_tls_peer() and calls br_tls_welcome() or br_tls_turn_away(). Nothing that the
 * peer sends inside TLS is looked at before the welcome.
 */
BR_MUST_CHECK int br_tls_accept(int fd, const struct br_keys *keys, const struct br_tls_options *options,
                                struct br_tls **ret_tls, struct br_err *reterr);
/** br_tls_peer - the fingerprint that the peer proved to own; owned by @tls */
const struct br_fingerprint *br_tls_peer(const struct br_tls *tls);
/** br_tls_peer_text - the far end's address as text, for messages; owned by @tls */
const char *br_tls_peer_text(const struct br_tls *tls);
/** br_tls_protocol_of - what the client asked to speak */
enum br_tls_protocol br_tls_protocol_of(const struct br_tls *tls);

#define BR_TLS_BINDING_BYTES 32
/** br_tls_binding - 32 bytes that only the two ends of this very connection know (RFC 8446 7.5); owned by @tls */
const uint8_t *br_tls_binding(const struct br_tls *tls);

/** br_tls_watch - sets the options' watch, for who only knows it after the handshake; before br_tls_welcome() */
void br_tls_watch(struct br_tls *tls, int (*watch)(void *ctx, struct br_err *reterr), void *ctx);
/** br_tls_welcome - let the client in; messages flow from now on */
BR_MUST_CHECK int br_tls_welcome(struct br_tls *tls, struct br_err *reterr);
/** br_tls_turn_away - tell the client why not (for at most 2 s), then free @tls; instead of br_tls_welcome() */
void br_tls_turn_away(struct br_tls *tls, int code, const char *text);

/** br_tls_channel - the connection as a channel; its close frees @tls */
struct br_channel br_tls_channel(struct br_tls *tls);
/** br_tls_set_rate - changes the bandwidth limit of a connection in use; 0 lifts it */
void br_tls_set_rate(struct br_tls *tls, uint64_t bytes_per_second);
/**
 * br_tls_goodbye - end the connection, telling the peer why; what waits in both queues is dropped
 * The channel's functions fail with @code and @text from now on. Blocks: never
 */
void br_tls_goodbye(struct br_tls *tls, int code, const char *text);
/**
 * br_tls_finish - everything sent has reached the peer and it has closed its side, or @timeout_ns passed
 * For the side that spoke last: closing at once could destroy what the peer has not read yet. Only close may follow.
 */
void br_tls_finish(struct br_tls *tls, uint64_t timeout_ns);

// One frame word, for the connection and its fuzz target.
enum br_frame_kind { BR_FRAME_MESSAGE, BR_FRAME_HEARTBEAT, BR_FRAME_GOODBYE, BR_FRAME_WELCOME };
#define BR_FRAME_WORD_BYTES   4
#define BR_GOODBYE_BYTES_MAX  640
#define BR_GOODBYE_TEXT_BYTES 400
/** br_frame_word - what a frame begins with */
uint32_t br_frame_word(enum br_frame_kind kind, size_t payload_bytes);
/** br_frame_parse - checks a word from outside: -BR_E_PROTOCOL for an unknown kind or a length that the kind may not have */
BR_MUST_CHECK int br_frame_parse(uint32_t word, enum br_frame_kind *ret_kind, size_t *ret_payload_bytes,
                                 struct br_err *reterr);
/**
 * br_goodbye_parse - what the peer's goodbye says, as an error
 * @who  the peer, for the text
 * Returns the negated code; one that we don't know, or no success code at all, becomes -BR_E_PEER. Garbage: -BR_E_PROTOCOL
 */
int br_goodbye_parse(const void *payload, size_t len, const char *who, struct br_err *reterr);

#endif
