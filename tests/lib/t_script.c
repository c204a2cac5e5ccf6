// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/t_script.h"

#include <stdlib.h>

bool t_script_next(struct t_script *script, struct br_buf *message)
{
    br_buf_reset(message);
    if (script->len < 2) {
        return false;
    }
    size_t len = BR_MIN((size_t)br_get_u16(script->data), script->len - 2);
    br_buf_append(message, script->data + 2, len);
    script->data += 2 + len;
    script->len -= 2 + len;
    return true;
}

static int swallow(void *ctx, const void *head, size_t head_len, const void *body, size_t body_len,
                   struct br_err *reterr)
{
    (void)ctx;
    (void)head;
    (void)body;
    (void)reterr;
    return head_len + body_len > BR_MESSAGE_BYTES_MAX ? (abort(), 0) : 0;
}

static int next_line(void *ctx, struct br_buf *message, uint64_t timeout_ns, struct br_err *reterr)
{
    (void)timeout_ns;
    return t_script_next(ctx, message) ? 1 : br_err_set(reterr, BR_E_PEER, "the script has ended");
}

static int next_line_or_late(void *ctx, struct br_buf *message, uint64_t timeout_ns, struct br_err *reterr)
{
    const struct t_script *script = ctx;

    if (!timeout_ns && script->len >= 2 && br_get_u16(script->data) & 1) {
        br_buf_reset(message);
        return 0;
    }
    return next_line(ctx, message, timeout_ns, reterr);
}

static int hear_nothing(void *ctx, struct br_buf *message, uint64_t timeout_ns, struct br_err *reterr)
{
    (void)ctx;
    (void)message;
    (void)timeout_ns;
    return br_err_set(reterr, BR_E_PEER, "not used");
}

static uint64_t no_bytes(void *ctx)
{
    (void)ctx;
    return 0;
}

static void close_nothing(void *ctx)
{
    (void)ctx;
}

const struct br_channel_ops t_script_ops = {
    .send = swallow, .recv = next_line, .sent_bytes = no_bytes, .close = close_nothing};

const struct br_channel_ops t_script_late_ops = {
    .send = swallow, .recv = next_line_or_late, .sent_bytes = no_bytes, .close = close_nothing};

struct br_channel_ops t_sink_ops(int (*send)(void *ctx, const void *head, size_t head_len, const void *body,
                                             size_t body_len, struct br_err *reterr))
{
    return (struct br_channel_ops){.send = send, .recv = hear_nothing, .sent_bytes = no_bytes, .close = close_nothing};
}
