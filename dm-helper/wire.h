// SPDX-License-Identifier: Apache-2.0
//
// The bytes between client and helper: one SOCK_SEQPACKET message per request and one per reply, little-endian.
//
//     off len                                  What it bounds
//       0   4  magic "dmh1"                    a message is at most DMH_MESSAGE_MAX bytes; longer ones are cut by the socket and refused
//       4   2  op (enum dmh_op)                an op that the helper does not know is answered with -BR_E_UNSUPPORTED
//       6   2  flags: 1 reply, 2 descriptors   a reply brings at most one, a request as many as its op takes (none but for the few that
//              come with it (SCM_RIGHTS)       say so in request.h); one that brings others, or is a reply, ends the connection
//       8   4  sequence                        of the request; its reply carries the same
//      12   4  failed                          0, or 1 in the reply to a request that failed
//      16   4  payload length                  exactly the rest of the message
//      20      payload                         the op's struct, or the error of a failed request
//
// A payload is the members of the struct in request.h in their order, as the tables in wire.c list them: integers in their size, bool as
// one byte that is 0 or 1, text as u32 length and bytes without zero, a list as u32 count and its elements. Every bound is checked before
// a byte is copied; a payload that is not exactly as described, to its last byte, is refused.
//
// An error: the name of its code as text ("NOT_FOUND"), i32 errno of the failing call, text of at most 479 bytes.
//
// The dialogue. The client speaks first, and then waits for each reply before it sends the next request:
//
//     > 646d6831 0100 0000 01000000 00000000 04000000  01000000                        hello, version 1
//     < 646d6831 0100 0100 01000000 00000000 16000000  01000000 d2040000 04000000 2f000000 00000000 01 00
//                                                      version 1, pid 1234, dm 4.47.0, the peer is root, no udev
//     > 646d6831 0400 0000 02000000 00000000 06000000  02000000 6462                   volume "db"
//     < 646d6831 0400 0100 02000000 01000000 30000000  09000000 "NOT_FOUND" 00000000 1b000000 "volume db is not registered"
#ifndef DMH_WIRE_H
#define DMH_WIRE_H

#include "dm-helper/request.h"
#include "engine/base/bytes.h"
#include "engine/base/err.h"

#define DMH_CONNECTION_FD 3 // where a helper finds its connection: put there by dmh_client_spawn(), and by systemd

#define DMH_HEADER_BYTES 20
#define DMH_MESSAGE_MAX  (128 * 1024)

#define DMH_FLAG_REPLY UINT16_C(1)
#define DMH_FLAG_FD    UINT16_C(2)

struct dmh_header {
    uint16_t op;
    uint16_t flags;
    uint32_t sequence;
    uint32_t failed;
    uint32_t payload_bytes;
};

struct dmh_layout; // how one struct of request.h lies in a payload

/** dmh_request_layout, dmh_reply_layout - the layout of an op's request or reply; NULL for an op that is not in the table */
const struct dmh_layout *dmh_request_layout(uint16_t op);
const struct dmh_layout *dmh_reply_layout(uint16_t op);
/** dmh_request_fds_max - how many descriptors may come with a request; it takes at least one then, which its handler checks */
size_t dmh_request_fds_max(uint16_t op);
/** dmh_layout_size - sizeof the struct that a layout describes */
size_t dmh_layout_size(const struct dmh_layout *layout);
/** dmh_op_name - "window", ... for texts; "unknown" */
const char *dmh_op_name(uint16_t op);

/**
 * dmh_encode - append a whole message to @out
 * @body  the struct that @layout describes; its texts end with a zero within their arrays and its counts are within their maxima
 * Errors: -BR_E_USAGE a count or text is out of its bounds; -BR_E_LIMIT it would be longer than DMH_MESSAGE_MAX; -BR_E_NOMEM
 */
BR_MUST_CHECK int dmh_encode(const struct dmh_header *header, const struct dmh_layout *layout, const void *body,
                             struct br_buf *out, struct br_err *reterr);
/** dmh_encode_error - append a failed reply's whole message, which always fits */
BR_MUST_CHECK int dmh_encode_error(const struct dmh_header *header, const struct br_err *error, struct br_buf *out);
/** dmh_decode_header - check a message's header and that the rest is as long as it says; -BR_E_PROTOCOL */
BR_MUST_CHECK int dmh_decode_header(const uint8_t *bytes, size_t len, struct dmh_header *ret_header,
                                    struct br_err *reterr);
/** dmh_decode_body - fill the struct at @body (zeroed by this, dmh_layout_size() bytes) from a payload; -BR_E_PROTOCOL leaves it zeroed */
BR_MUST_CHECK int dmh_decode_body(const struct dmh_layout *layout, const uint8_t *payload, size_t len, void *body,
                                  struct br_err *reterr);
/** dmh_decode_error - the error that a failed reply carries, into @ret_error; -BR_E_PROTOCOL */
BR_MUST_CHECK int dmh_decode_error(const struct dmh_header *header, const uint8_t *payload, size_t len,
                                   struct br_err *ret_error, struct br_err *reterr);

#endif
