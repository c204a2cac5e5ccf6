// SPDX-License-Identifier: Apache-2.0
//
// What is said between who uses a repository and blkrep serve, which keeps it, version 1. A channel (engine/net/channel.h) carries the messages
// whole, in order, authenticated; ALPN blkrep-store/1 says that it is these (engine/net/tls.h). They are the calls of a store (store.h).
//
// A message is a head of 8 bytes and a payload. Numbers are little-endian; a string is u16 length and bytes, without a zero byte; a name is a
// string of at most 95 bytes; an outcome is string code name ("NONE": none), u8 1 if an offset is meant, u64 offset, string text.
//
//     at  bytes  head
//      0   1     type
//      1   3     zero
//      4   4     number: of the question, repeated by its answer; of a write, in all its messages
//
//     type  from    name      payload                                                            answer
//      1    client  OPEN      "blkrepST", u16 lowest version, u16 highest, u8 role (enum br_role),  OPENED or ERROR
//                             string program, string repository
//      2    server  OPENED    u16 version, u8 role of the client, u64 credit, string program
//      3    client  PUT       name, the object's bytes                                           DONE
//      4    client  BEGIN     name; the number is new                                            none
//      5    client  PIECE     1 to 1 MiB of bytes                                                none
//      6    client  END       u8 1 keep, 0 drop                                                  none
//      7    server  CREDIT    u64 bytes of PIECEs taken so far                                   none
//      8    client  SETTLE                                                                       DONE
//      9    client  GET       u64 offset, u32 length (at most 1 MiB), name                       DATA or ERROR
//     10    server  DATA      just as many bytes
//     11    client  SIZE      name                                                               NUMBER or ERROR
//     12    client  ARRIVED   name                                                               NUMBER or ERROR
//     13    client  SPACE                                                                        NUMBER or ERROR
//     14    server  NUMBER    u64
//     15    client  LIST      string prefix                                                      NAMES..., DONE
//     16    server  NAMES     names
//     17    client  REMOVE    name                                                               DONE
//     18    server  DONE      outcome
//     19    server  ERROR     outcome; with number 0 the session is over
//     20    client  BYE
//
// GETs are answered as they end, all else in order. What a write fails with is the outcome of the next SETTLE; its PIECEs are passed over. A
// client has no more than the credit of PIECE bytes under way, so that neither side waits for the other to read first.
//
//     client                                            server
//     OPEN #1 writer of "main" ----------------------->  who is this client, what may it do there?
//                                                  <---  OPENED #1 writer, credit 6 MiB
//     LIST #2 "packs/" -------------------------------->
//                                                  <---  NAMES #2 ..., DONE #2
//     BEGIN #3 packs/e7/e7... -------------------------> a name of that form, not there?
//     PIECE #3 ---------------------------------------->
//                                                  <---  CREDIT 1 MiB
//     END #3 keep ------------------------------------->
//     SETTLE #4 ---------------------------------------> synced, named
//                                                  <---  DONE #4
//     PUT #5 points/... -------------------------------> whose volume is that?
//                                                  <---  DONE #5
//     BYE ---------------------------------------------->
#ifndef BR_REPO_STORE_WIRE_H
#define BR_REPO_STORE_WIRE_H

#include <assert.h>

#include "engine/net/channel.h"
#include "engine/repo/store.h"

#define BR_STORE_WIRE_VERSION       1u
#define BR_STORE_WIRE_MAGIC         "blkrepST"
#define BR_STORE_WIRE_HEAD_BYTES    8u
#define BR_STORE_WIRE_PIECE_MAX     (1024u * 1024u)
#define BR_STORE_WIRE_NAMES_MAX     (1024u * 1024u) // bytes of one NAMES
#define BR_STORE_WIRE_CREDIT        (6u * 1024u * 1024u)
#define BR_STORE_WIRE_CREDIT_MAX    (64u * 1024u * 1024u) // more is not believed
#define BR_STORE_WIRE_PROGRAM_BYTES 65u                   // with the final zero
#define BR_STORE_WIRE_NAME_BYTES    65u                   // of a repository, with the final zero

static_assert(BR_OBJECT_BYTES_MAX + 256 <= BR_MESSAGE_BYTES_MAX, "PUT fits the channel");

enum br_store_wire_type {
    BR_STORE_WIRE_OPEN = 1,
    BR_STORE_WIRE_OPENED = 2,
    BR_STORE_WIRE_PUT = 3,
    BR_STORE_WIRE_BEGIN = 4,
    BR_STORE_WIRE_PIECE = 5,
    BR_STORE_WIRE_END = 6,
    BR_STORE_WIRE_CREDITED = 7,
    BR_STORE_WIRE_SETTLE = 8,
    BR_STORE_WIRE_GET = 9,
    BR_STORE_WIRE_DATA = 10,
    BR_STORE_WIRE_SIZE = 11,
    BR_STORE_WIRE_ARRIVED = 12,
    BR_STORE_WIRE_SPACE = 13,
    BR_STORE_WIRE_NUMBER = 14,
    BR_STORE_WIRE_LIST = 15,
    BR_STORE_WIRE_NAMES = 16,
    BR_STORE_WIRE_REMOVE = 17,
    BR_STORE_WIRE_DONE = 18,
    BR_STORE_WIRE_ERROR = 19,
    BR_STORE_WIRE_BYE = 20,
    BR_STORE_WIRE_LAST = BR_STORE_WIRE_BYE,
};

// One message. What points lies in the bytes that were decoded, or is the caller's when encoding.
struct br_store_wire {
    enum br_store_wire_type type;
    uint32_t number;
    char name[BR_OBJECT_NAME_BYTES]; // PUT BEGIN GET SIZE ARRIVED REMOVE; LIST its prefix
    struct {
        uint16_t version_min;
        uint16_t version_max;
        uint8_t role;
        char repository[BR_STORE_WIRE_NAME_BYTES];
    } open;
    struct {
        uint16_t version;
        uint8_t role;
        uint64_t credit_bytes;
    } opened;
    char program[BR_STORE_WIRE_PROGRAM_BYTES]; // OPEN, OPENED
    bool keep;                                 // END
    uint64_t value;                            // CREDIT, NUMBER; GET: the offset
    uint32_t len_bytes;                        // GET
    struct br_err outcome;                     // DONE, ERROR; code 0: it went well
    const uint8_t *bytes;                      // PUT, PIECE, DATA, NAMES
    size_t bytes_len;
};

/** br_store_wire_encode - append a message to @to, without the bytes of PUT, PIECE, DATA and NAMES; the caller checks br_buf_failed() */
void br_store_wire_encode(const struct br_store_wire *message, struct br_buf *to);
/**
 * br_store_wire_decode - one whole message from a peer
 * Every field is bounded and every byte accounted for; whether a name may be an object's is not looked at.
 * Errors: -BR_E_PROTOCOL; -BR_E_VERSION an OPEN without the magic
 */
BR_MUST_CHECK int br_store_wire_decode(const void *bytes, size_t len, struct br_store_wire *ret_message,
                                       struct br_err *reterr);
/** br_store_wire_send - encode and send, with its bytes as the channel's second piece */
BR_MUST_CHECK int br_store_wire_send(const struct br_channel *channel, const struct br_store_wire *message,
                                     struct br_err *reterr);
/** br_store_wire_name - "OPEN", ...; "?" for what is unknown */
const char *br_store_wire_name(unsigned type);
/** br_store_wire_add_name, br_store_wire_next_name - names as NAMES has them; next: false at the end, or reader bad */
void br_store_wire_add_name(struct br_buf *names, const char *name);
bool br_store_wire_next_name(struct br_reader *names, char name[BR_OBJECT_NAME_BYTES]);

#endif
