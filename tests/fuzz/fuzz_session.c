// SPDX-License-Identifier: Apache-2.0
//
// A hostile client. The input is a list of messages, each u16 length and bytes. Bit 7 of the first byte of a message says that its
// stream part gets right checksums and sequence first, so that the search gets behind them. The replica in memory behind the session aborts the
// program when something is handed to it that the session should have refused.
#include "engine/codec/stream_sums.h"
#include "engine/ring/sim.h"
#include "engine/sync/session.h"
#include "tests/lib/t_far.h"
#include "tests/lib/t_script.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes);

static struct t_far far;
static uint64_t chain, sequence;

static int say_nothing(void *ctx, const void *head, size_t head_len, const void *body, size_t body_len,
                       struct br_err *reterr)
{
    struct br_wire_message message;

    (void)ctx;
    (void)body;
    if (body_len || br_wire_decode(head, head_len, &message, reterr) < 0) {
        abort(); // what a session says must be readable
    }
    return 0;
}

static int open_volume(void *ctx, const char *volume, uint8_t role, bool discard_damaged, bool plan,
                       struct br_session_volume *ret_volume, struct br_err *reterr)
{
    (void)ctx;
    (void)discard_damaged;
    (void)plan;
    if (volume[0] == '-') {
        return br_err_set(reterr, BR_E_NOT_FOUND, "no such volume");
    }
    *ret_volume =
        (struct br_session_volume){.endpoint = t_far_endpoint(&far), .may_write = role > 1, .may_replace = role > 2};
    return 0;
}

// Seals the frames from @at on in place, for as long as they can be told apart.
static void seal(uint8_t *bytes, size_t len, size_t at)
{
    while (at + BR_STREAM_HEAD_BYTES <= len) {
        uint8_t *head = bytes + at;
        size_t table_len = br_get_u16(head + BR_STREAM_AT_TABLE_BYTES);
        size_t body_len = br_get_u32(head + BR_STREAM_AT_BODY_BYTES);
        if (table_len + body_len > len - at - BR_STREAM_HEAD_BYTES) {
            return;
        }
        memcpy(head, BR_STREAM_MAGIC, 4);
        br_put_u64(head + BR_STREAM_AT_SEQUENCE, sequence++);
        uint64_t payload = br_stream_sum_payload(head + BR_STREAM_HEAD_BYTES, table_len,
                                                 head + BR_STREAM_HEAD_BYTES + table_len, body_len);
        chain = br_stream_sum_frame(head, payload, chain);
        br_put_u64(head + BR_STREAM_AT_CHECKSUM, chain);
        at += BR_STREAM_HEAD_BYTES + table_len + body_len;
    }
}

static void seal_message(struct br_buf *message)
{
    if (!message->len || !(message->data[0] & 0x80)) {
        return;
    }
    message->data[0] &= 0x7f;
    switch (message->data[0]) {
    case BR_WIRE_BEGIN:
        chain = br_stream_sum_start();
        sequence = 0;
        if (message->len >= 18 + BR_STREAM_PREAMBLE_BYTES) {
            memcpy(message->data + 18, BR_STREAM_PREAMBLE, BR_STREAM_PREAMBLE_BYTES);
            seal(message->data, message->len, 18 + BR_STREAM_PREAMBLE_BYTES);
        }
        break;
    case BR_WIRE_FRAME: seal(message->data, message->len, BR_WIRE_HEAD_BYTES); break;
    case BR_WIRE_COMMIT: seal(message->data, message->len, BR_WIRE_HEAD_BYTES + 8); break;
    default: break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes)
{
    const struct br_channel_ops ops = t_sink_ops(say_nothing);
    static struct br_sim *sim;
    static struct br_ring *ring;
    struct br_session *session;
    struct br_buf message = {0};
    int rc = 0;

    if (!sim) {
        struct br_sim_options options = {.seed = 1};
        sim = br_sim_new(&options);
        if (br_sim_ring(sim, NULL, &ring, NULL)) {
            abort();
        }
    }
    t_far_init(&far);
    far.holds_count = 2;
    far.holds[0] = (struct br_held_block){.index = 1, .leaf = {{0x11}}};
    far.holds[1] = (struct br_held_block){.index = 3, .leaf = {{0x33}}};
    far.hold_batches = len_bytes & 1;
    chain = sequence = 0;
    struct br_session_params params = {
        .channel = {.ops = &ops}, .ring = ring, .host = {.open_volume = open_volume}, .program = "fuzz"};
    if (br_session_open(&params, &session, NULL)) {
        return 0;
    }
    struct t_script script = {data, len_bytes};
    while (rc == 0 && t_script_next(&script, &message)) {
        seal_message(&message);
        rc = br_session_message(session, &message, NULL);
    }
    br_session_close(session);
    br_buf_free(&message);
    if (far.opens != far.closes || far.staged || far.held_count) {
        abort(); // a session that ended holds nothing
    }
    t_far_free(&far);
    return 0;
}
