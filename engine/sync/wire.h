// SPDX-License-Identifier: Apache-2.0
//
// What is said in a sync session, version 1: the messages between the source's side (client) and blkrep serve (server). A channel
// (engine/net/channel.h) carries them whole, in order, authenticated; below it lies engine/net/tls.h. The delta itself travels as the frames
// of engine/codec/stream.h, one per message, so that what is received is checked by the same decoder as a file.
//
// A message is a head of 8 bytes and a payload. Numbers are little-endian; a string is u16 length and bytes, without a zero byte.
//
//     at  bytes  head
//      0   1     type
//      1   1     zero
//      2   2     lane: which of the session's connections; 0 is the first and, today, the only one
//      4   4     request: the asker's number, repeated by the answer; 0 where no answer is due
//
//     type  from    name      payload                                                                   answer
//      1    client  HELLO     "blkrepSS", u16 lowest version, u16 highest, u32 capabilities, session    WELCOME
//                             uuid (nil: a new one), u16 lanes wanted, u32 largest message, string program
//      2    server  WELCOME   u16 version, u32 capabilities of both, session uuid, u16 lanes,
//                             u32 largest message, u64 credit, string program
//      3    client  OPEN      u8 role (enum br_role), u8 flags: 1 a damaged identity counts as none,    OPENED
//                             2 a plan (capability 4): for a look, but refused as a writer would be;
//                             string volume
//      4    server  OPENED    u8 flags: 1 may write, 2 may replace what is there; of a plan: a writer could
//      5    client  GET_INFO                                                                            INFO
//      6    server  INFO      u64 capacity, u8 flags: 1 block device, 2 empty, 4 zero, origin uuid,
//                             string holds, identity slot (4096, engine/codec/identity.h)
//      7    client  GET_NODES u16 count (1 to 64), u64 ref each                                         NODES
//      8    server  NODES     u16 count, then u32 length and node each: the first ones asked for, at least one, as many as fit
//                             into 1 MiB; the client asks again for the rest
//      9    client  BEGIN     u8 mode (enum br_replica_mode), u8 flags: 1 target is zero, 2 absent      BEGUN
//                             keeps facts, 4 discard version, 8 overwrite; u64 expected bytes;
//                             the stream's preamble, HEADER and RESIZE
//     10    server  BEGUN
//     11    client  FRAME     one DATA, RUN or NOTE frame                                               none
//     12    server  CREDIT    u64 cost of all FRAMEs that were taken in and let go, u64 bytes durable   none
//     13    client  COMMIT    u64 recheck budget, the END frame                                         RESULT
//     14    client  RECHECK   u64 recheck budget                                                        RESULT
//     15    server  RESULT    u64 durable, u64 written, u64 rechecked, u64 mismatches, outcome
//     16    client  ABORT                                                                               ABORTED
//     17    server  ABORTED
//     18    client  VERIFY                                                                              PROGRESS..., VERIFIED
//     19    server  PROGRESS  u64 done, u64 total bytes
//     20    server  VERIFIED  u64 bad blocks, outcome
//     21    either  PING                                                                                PONG
//     22    either  PONG
//     23    server  ERROR     outcome; request 0: the delta under way has failed, or the session
//     24    client  BYE       the last message
//     25    client  GET_HELD  u64 first block, u32 most (1 to 16384)                                    HELD
//     26    server  HELD      u32 count (0: there are no more), then u64 block and leaf (32) each, ascending from the first block
//     27    client  KEEP      u16 count (1 to 16), then u64 block and leaf each                         none
//
//     outcome = string error name as in blkrep-errors(7) ("NONE": it went well), u8 has offset, u64 offset, string text
//
// GET_HELD, HELD and KEEP belong to the capability 2, held; without it in WELCOME they break the protocol. Between BEGIN of a DELTA and its COMMIT
// the client may ask which blocks the server holds from a delta that was cut (block, and leaf of the content), and name in KEEP, in block
// order with the FRAMEs, those that are to become just that instead of sending them. A KEEP that fails is told like a FRAME. It costs no
// credit: the data is read over there, one KEEP at a time.
//
// Types from 128 on that a peer does not know are passed over; other unknown types break the protocol. HELLO and ERROR stay readable in
// all versions, so that two versions that share none can say so.
//
// Flow: FRAMEs have no answers. A frame costs its head, table and the larger of body and decompressed body (br_wire_frame_cost()). The
// client never has more than WELCOME's credit outstanding, that is sent and not yet told by CREDIT. When a frame fails, the server says
// ERROR with request 0 at once and passes over what follows until ABORT or COMMIT (which fails the same way).
//
// Transcript: a small delta
//
//     client                                                 server
//     HELLO "blkrepSS" 1..1, zstd, new session, 1 lane --->
//                                                      <---  WELCOME 1, zstd, session 6f..., 1 lane, credit 8 MiB
//     OPEN #1 writer "db" ------------------------------->
//                                                      <---  OPENED #1 may write
//     GET_INFO #2 --------------------------------------->   (finishes a pending transition first)
//                                                      <---  INFO #2 COMPLETE, generation 7, root ...
//     BEGIN #3 DELTA, HEADER: generation 8 on 7 ---------->  parent and evidence are checked
//                                                      <---  BEGUN #3
//     FRAME DATA ----------------------------------------->
//     FRAME DATA ----------------------------------------->
//     FRAME RUN ------------------------------------------>
//                                                      <---  CREDIT 2 MiB let go, 0 durable
//     COMMIT #4 recheck 64 MiB, END ----------------------->  checks, commits, applies, rechecks
//                                                      <---  RESULT #4 durable 2 MiB, ..., NONE
//     BYE ------------------------------------------------>
//
// The same after a delta of which the first 2 MiB had come was cut; only the second half of block 9 is another one now
//
//     BEGIN #3 DELTA, HEADER: generation 8 on 7 ---------->
//                                                      <---  BEGUN #3
//     GET_HELD #4 from block 0, at most 4096 ------------->  reads and checks what it holds
//                                                      <---  HELD #4: 0..31
//     KEEP 0..8 ------------------------------------------>  proves it again, by its leaves
//     FRAME DATA block 9 --------------------------------->
//     KEEP 10..15 ---------------------------------------->
//     KEEP 16..31 ---------------------------------------->
//     GET_HELD #5 from block 32 -------------------------->
//                                                      <---  HELD #5: none
//     FRAME ... ------------------------------------------>
//
// As bytes: OPEN of volume "db" by a writer, request 1 (tests/unit/test_wire.c compares)
//
//     03 00 00 00  01 00 00 00   02 00  02 00 64 62
#ifndef BR_SYNC_WIRE_H
#define BR_SYNC_WIRE_H

#include <assert.h>

#include "engine/codec/stream.h"
#include "engine/net/channel.h"
#include "engine/sync/endpoint.h"

#define BR_WIRE_VERSION           1u
#define BR_WIRE_MAGIC             "blkrepSS"
#define BR_WIRE_HEAD_BYTES        8u
#define BR_WIRE_NAME_BYTES        256u // of a volume, with the final zero
#define BR_WIRE_PROGRAM_BYTES     65u  // with the final zero
#define BR_WIRE_NODES_MAX         64u
#define BR_WIRE_NODES_BYTES_MAX   (1024u * 1024u) // of one NODES answer, unless a single node is longer
#define BR_WIRE_MESSAGE_BYTES_MAX (BR_WIRE_HEAD_BYTES + 64u + BR_STREAM_FRAME_BYTES_MAX)
#define BR_WIRE_CREDIT_BYTES      (8u * 1024u * 1024u)
#define BR_WIRE_CREDIT_BYTES_MAX  (64u * 1024u * 1024u) // more than that is not believed
#define BR_WIRE_UNKNOWN_IGNORABLE 128u
#define BR_WIRE_HELD_MAX          16384u
#define BR_WIRE_HELD_BYTES        (8u + BR_HASH_BYTES) // of one block
#define BR_WIRE_CAPABILITY_ZSTD   1u
#define BR_WIRE_CAPABILITY_HELD   2u
#define BR_WIRE_CAPABILITY_PLAN   4u
#define BR_WIRE_CAPABILITIES      (BR_WIRE_CAPABILITY_ZSTD | BR_WIRE_CAPABILITY_HELD | BR_WIRE_CAPABILITY_PLAN)

static_assert(BR_WIRE_MESSAGE_BYTES_MAX <= BR_MESSAGE_BYTES_MAX, "every message fits the channel");
static_assert(BR_WIRE_NODES_BYTES_MAX + BR_TREE_NODE_BYTES_MAX + 4 * BR_WIRE_NODES_MAX + 16 <= BR_MESSAGE_BYTES_MAX,
              "NODES fit the channel");
static_assert(BR_WIRE_HELD_MAX * BR_WIRE_HELD_BYTES + 16 <= BR_WIRE_NODES_BYTES_MAX, "HELD fit where NODES do");
static_assert(BR_WIRE_CREDIT_BYTES >= 2 * BR_STREAM_FRAME_BYTES_MAX, "credit for more than a frame");

enum br_wire_type {
    BR_WIRE_HELLO = 1,
    BR_WIRE_WELCOME = 2,
    BR_WIRE_OPEN = 3,
    BR_WIRE_OPENED = 4,
    BR_WIRE_GET_INFO = 5,
    BR_WIRE_INFO = 6,
    BR_WIRE_GET_NODES = 7,
    BR_WIRE_NODES = 8,
    BR_WIRE_BEGIN = 9,
    BR_WIRE_BEGUN = 10,
    BR_WIRE_FRAME = 11,
    BR_WIRE_CREDIT = 12,
    BR_WIRE_COMMIT = 13,
    BR_WIRE_RECHECK = 14,
    BR_WIRE_RESULT = 15,
    BR_WIRE_ABORT = 16,
    BR_WIRE_ABORTED = 17,
    BR_WIRE_VERIFY = 18,
    BR_WIRE_PROGRESS = 19,
    BR_WIRE_VERIFIED = 20,
    BR_WIRE_PING = 21,
    BR_WIRE_PONG = 22,
    BR_WIRE_ERROR = 23,
    BR_WIRE_BYE = 24,
    BR_WIRE_GET_HELD = 25,
    BR_WIRE_HELD = 26,
    BR_WIRE_KEEP = 27,
    BR_WIRE_LAST = BR_WIRE_KEEP,
};

struct br_wire_hello {
    uint16_t version_min;
    uint16_t version_max;
    uint32_t capabilities;
    struct br_uuid session;
    uint16_t lanes;
    uint32_t message_bytes_max;
    char program[BR_WIRE_PROGRAM_BYTES];
};

struct br_wire_welcome {
    uint16_t version;
    uint32_t capabilities;
    struct br_uuid session;
    uint16_t lanes;
    uint32_t message_bytes_max;
    uint64_t credit_bytes;
    char program[BR_WIRE_PROGRAM_BYTES];
};

// One message. What points lies in the bytes that were decoded, or is the caller's when encoding.
struct br_wire_message {
    enum br_wire_type type;
    uint16_t lane;
    uint32_t request;
    bool unknown; // an unknown type that may be passed over; nothing else is set
    union {
        struct br_wire_hello hello;
        struct br_wire_welcome welcome;
        struct {
            uint8_t role;
            bool discard_damaged;
            bool plan;
            char volume[BR_WIRE_NAME_BYTES];
        } open;
        struct {
            bool may_write;
            bool may_replace;
        } opened;
        struct br_endpoint_info info;
        struct {
            unsigned count;
            uint64_t refs[BR_WIRE_NODES_MAX];
        } get_nodes;
        struct {
            unsigned count;
            const uint8_t *nodes[BR_WIRE_NODES_MAX];
            uint32_t lens[BR_WIRE_NODES_MAX];
        } nodes;
        struct {
            struct br_replica_begin begin; // all but the header, which is in the stream
            bool overwrite;
        } begin;
        struct {
            uint64_t taken_cost;
            uint64_t durable_bytes;
        } credit;
        struct {
            uint64_t first;
            uint32_t most;
        } get_held;
        struct {
            unsigned count;
            const struct br_held_block *blocks; // to be sent; NULL: those in @bytes
            const uint8_t *bytes;               // as they came: br_wire_held_block()
        } held;
        struct br_keep keep;
        uint64_t recheck_bytes; // COMMIT, RECHECK
        struct {
            struct br_replica_result result;
            struct br_err outcome; // code 0: it went well
        } result;
        struct {
            uint64_t done_bytes;
            uint64_t total_bytes;
        } progress;
        struct {
            uint64_t bad_blocks;
            struct br_err outcome;
        } verified;
        struct br_err error;
    };
    const uint8_t *stream; // BEGIN, FRAME, COMMIT: bytes of the delta stream
    size_t stream_len;
};

/**
 * br_wire_encode - append a message to @to; the caller checks br_buf_failed() once
 * Of FRAME only the head is written: the frame goes as the channel's second piece, or is appended by the caller.
 */
void br_wire_encode(const struct br_wire_message *message, struct br_buf *to);
/**
 * br_wire_decode - one whole message from a peer
 * Every field is bounded and every byte accounted for; what the stream bytes hold is for the stream decoder.
 * Errors: -BR_E_PROTOCOL; -BR_E_VERSION not a blkrep session at all (a HELLO without the magic)
 */
BR_MUST_CHECK int br_wire_decode(const void *bytes, size_t len, struct br_wire_message *ret_message,
                                 struct br_err *reterr);
/** br_wire_held_block - block @index of a HELD message that was decoded */
void br_wire_held_block(const struct br_wire_message *message, unsigned index, struct br_held_block *ret_block);
/** br_wire_name - "HELLO", ...; "?" for what is unknown */
const char *br_wire_name(unsigned type);
/** br_wire_put_outcome, br_wire_take_outcome - an error as messages have it, code 0 none; taken, its text is one printable line */
void br_wire_put_outcome(struct br_buf *to, const struct br_err *err);
void br_wire_take_outcome(struct br_reader *r, struct br_err *ret_err);
/** br_wire_frame_cost - what a frame (at least its head is given) takes of the credit */
uint64_t br_wire_frame_cost(const uint8_t frame_head[BR_STREAM_HEAD_BYTES]);
/** br_wire_send - encode and send a message that is not a FRAME */
BR_MUST_CHECK int br_wire_send(const struct br_channel *channel, const struct br_wire_message *message,
                               struct br_err *reterr);

#endif
