// SPDX-License-Identifier: Apache-2.0
//
// Channels for fuzz targets: a peer whose messages are the fuzzer's bytes, and one that is never heard.
#ifndef BR_T_SCRIPT_H
#define BR_T_SCRIPT_H

#include "engine/net/channel.h"

// Messages, each u16 length and bytes.
struct t_script {
    const uint8_t *data;
    size_t len;
};

/** t_script_next - the next message into @message, reset first; false when there is none left. A length that says too much is cut to what is there */
bool t_script_next(struct t_script *script, struct br_buf *message);

// A channel whose ctx is a struct t_script: what it holds comes as answers to whatever is sent, and when it has run out the network is gone. A
// message longer than one may be aborts the program.
extern const struct br_channel_ops t_script_ops;
// The same to whom an odd length says that the message is not there yet for who only looks (with a timeout of 0).
extern const struct br_channel_ops t_script_late_ops;

/** t_sink_ops - of a channel on which a session only speaks: @send gets what it says */
struct br_channel_ops t_sink_ops(int (*send)(void *ctx, const void *head, size_t head_len, const void *body,
                                             size_t body_len, struct br_err *reterr));

#endif
