// SPDX-License-Identifier: Apache-2.0
//
// Records go through a short queue, so that compression runs on the workers while order is kept: a record is sent when it is packed and all
// before it were sent. What can't be told at once (a failure while the pipeline runs) is kept and told by the next call.
#include "engine/sync/remote.h"

#include <inttypes.h>
#include <stdio.h>

#include "engine/base/units.h"
#include "engine/sync/pace.h"
#include "engine/sync/wire.h"

#define REMOTE_QUEUE      8u
#define REMOTE_POLL_NS    (BR_NS_PER_S / 2)
#define REMOTE_ABORT_NS   (30 * BR_NS_PER_S)
#define REMOTE_BYE_NS     (2 * BR_NS_PER_S)
#define REMOTE_WHAT_BYTES 512

enum remote_kind { REMOTE_BATCH, REMOTE_RUN, REMOTE_KEEP };

// A record on its way.
struct remote_record {
    struct br_remote *remote;
    struct br_job job;
    bool packed;
    enum remote_kind kind; // a RUN's frame is made when it is sent; a KEEP has none
    struct br_run run;
    struct br_keep keep;
    struct br_batch batch;
    br_release_fn *release;
    void *release_ctx;
    struct br_stream_frame frame;
    int level;  // zstd's
    int result; // of packing
    struct br_err err;
};

struct br_remote {
    struct br_remote_params params;
    char what[REMOTE_WHAT_BYTES];
    struct br_wire_welcome welcome;
    bool may_write; // as OPENED said
    bool may_replace;
    uint32_t last_request;
    bool dead; // the channel or the protocol is broken: nothing more is said

    bool delta; // BEGIN was answered, COMMIT or ABORT not yet
    struct br_stream_encoder encoder;
    struct br_err failed;  // of the delta under way, or of the session; code 0: not
    uint64_t frame_bytes;  // of all frames that the channel was given
    uint64_t before_bytes; // what it had sent before the first
    uint64_t sent_cost;
    uint64_t taken_cost;
    uint64_t durable_bytes;

    struct remote_record queue[REMOTE_QUEUE]; // a ring: first, then count
    unsigned first;
    unsigned count;
    bool sending; // send_ready() is at work
    struct br_pace pace;

    struct br_buf in;
};

static int remember(struct br_remote *remote, const struct br_err *err)
{
    if (!remote->failed.code) {
        remote->failed = *err;
    }
    return -err->code;
}

static int told(const struct br_remote *remote, struct br_err *reterr)
{
    if (reterr) {
        *reterr = remote->failed;
    }
    return -remote->failed.code;
}

// What the peer said, named by who said it.
static void from_peer(const struct br_remote *remote, struct br_err *err)
{
    (void)br_err_prefix(err, "%s", remote->what);
}

static int dies(struct br_remote *remote, struct br_err *err, struct br_err *reterr)
{
    remote->dead = true;
    remember(remote, err);
    return told(remote, reterr); // what the peer said before it went counts more than that it went
}

static int say(struct br_remote *remote, struct br_wire_message *message, bool wants_answer, struct br_err *reterr)
{
    struct br_err err = {0};

    if (remote->dead) {
        return told(remote, reterr);
    }
    if (wants_answer) {
        message->request = ++remote->last_request;
    }
    int rc = br_wire_send(&remote->params.channel, message, &err);
    return rc < 0 ? dies(remote, &err, reterr) : 0;
}

// Handles what needs no asker; false when the message is somebody's answer.
static bool is_news(struct br_remote *remote, const struct br_wire_message *message)
{
    if (message->unknown || message->type == BR_WIRE_PONG) {
        return true;
    }
    if (message->type == BR_WIRE_CREDIT) {
        remote->taken_cost = message->credit.taken_cost;
        remote->durable_bytes = message->credit.durable_bytes;
        return true;
    }
    if (message->type == BR_WIRE_ERROR && !message->request) {
        struct br_err err = message->error;
        if (!err.code) {
            br_err_set(&err, BR_E_PROTOCOL, "an ERROR without an error");
        }
        from_peer(remote, &err);
        remember(remote, &err);
        return true;
    }
    return false;
}

// One message that is not news. Returns 1 a message, 0 nothing within @timeout_ns (or news only), or an error that ends the session.
static int hear(struct br_remote *remote, uint64_t timeout_ns, struct br_wire_message *ret_message,
                struct br_err *reterr)
{
    struct br_channel *channel = &remote->params.channel;
    struct br_err err = {0};

    *ret_message = (struct br_wire_message){0};
    if (remote->dead) {
        return told(remote, reterr);
    }
    int rc = channel->ops->recv(channel->ctx, &remote->in, timeout_ns, &err);
    if (rc > 0) {
        rc = br_wire_decode(remote->in.data, remote->in.len, ret_message, &err);
        if (rc >= 0 && ret_message->type == BR_WIRE_CREDIT &&
            (ret_message->credit.taken_cost > remote->sent_cost ||
             ret_message->credit.taken_cost < remote->taken_cost)) {
            rc = br_err_set(&err, BR_E_PROTOCOL, "credit for what was not sent");
        }
        if (rc >= 0) {
            return is_news(remote, ret_message) ? 0 : 1;
        }
        from_peer(remote, &err);
    }
    return rc < 0 ? dies(remote, &err, reterr) : 0;
}

static bool is_cancelled(const struct br_remote *remote)
{
    return remote->params.cancel && *remote->params.cancel;
}

// Waits for the answer to the last request: @wanted, or an ERROR.
static int answer_of(struct br_remote *remote, enum br_wire_type wanted, bool cancellable,
                     struct br_wire_message *ret_message, struct br_err *reterr)
{
    struct br_err err = {0};

    for (;;) {
        int rc = hear(remote, REMOTE_POLL_NS, ret_message, reterr);
        if (rc < 0) {
            return rc;
        }
        if (rc == 0 && cancellable && is_cancelled(remote)) {
            return br_err_set(reterr, BR_E_CANCELLED, "waiting for %s", remote->what);
        }
        if (rc == 0) {
            continue;
        }
        if (ret_message->request != remote->last_request) {
            if (ret_message->request < remote->last_request) {
                continue; // of a request that was given up
            }
        } else if (ret_message->type == wanted ||
                   (wanted == BR_WIRE_VERIFIED && ret_message->type == BR_WIRE_PROGRESS)) {
            return 0;
        } else if (ret_message->type == BR_WIRE_ERROR && ret_message->error.code) {
            err = ret_message->error;
            from_peer(remote, &err);
            if (reterr) {
                *reterr = err;
            }
            return -err.code;
        }
        br_err_set(&err, BR_E_PROTOCOL, "%s: a %s message where %s is due", remote->what,
                   br_wire_name(ret_message->type), br_wire_name(wanted));
        return dies(remote, &err, reterr);
    }
}

static int ask(struct br_remote *remote, struct br_wire_message *question, enum br_wire_type wanted,
               struct br_wire_message *ret_answer, struct br_err *reterr)
{
    int rc = say(remote, question, true, reterr);

    return rc < 0 ? rc : answer_of(remote, wanted, true, ret_answer, reterr);
}

// What is in the queue ---------------------------------------------------------------------------------------------------------------

static int wait_for_credit(struct br_remote *remote, uint64_t cost, struct br_err *reterr)
{
    struct br_wire_message message;
    struct br_err err = {0};

    for (;;) {
        bool room = remote->sent_cost - remote->taken_cost + cost <= remote->welcome.credit_bytes;
        int rc = hear(remote, room ? 0 : REMOTE_POLL_NS, &message, reterr);
        if (rc > 0 && message.request == remote->last_request) {
            br_err_set(&err, BR_E_PROTOCOL, "%s: a %s message that nobody asked for", remote->what,
                       br_wire_name(message.type));
            rc = dies(remote, &err, reterr);
        }
        if (rc < 0) {
            return rc;
        }
        if (remote->failed.code) {
            return told(remote, reterr);
        }
        if (room) {
            return 0;
        }
        if (is_cancelled(remote)) {
            return br_err_set(reterr, BR_E_CANCELLED, "waiting for %s to take data", remote->what);
        }
    }
}

static int send_frame(struct br_remote *remote, const struct br_stream_frame *frame, struct br_err *reterr)
{
    struct br_channel *channel = &remote->params.channel;
    struct br_wire_message message = {.type = BR_WIRE_FRAME};
    struct br_buf head = {0};
    struct br_err err = {0};

    if (!remote->frame_bytes) {
        remote->before_bytes = channel->ops->sent_bytes(channel->ctx);
    }
    br_wire_encode(&message, &head);
    br_buf_append(&head, frame->head, frame->head_len);
    int rc = br_buf_failed(&head)
                 ? br_err_set(&err, BR_E_NOMEM, "sending a frame")
                 : channel->ops->send(channel->ctx, head.data, head.len, frame->body, frame->body_len, &err);
    br_buf_free(&head);
    if (rc < 0) {
        return dies(remote, &err, reterr);
    }
    remote->frame_bytes += frame->head_len + frame->body_len;
    remote->sent_cost += br_wire_frame_cost(frame->head);
    return 0;
}

static uint64_t record_cost(const struct remote_record *record)
{
    switch (record->kind) {
    case REMOTE_BATCH: return br_wire_frame_cost(record->frame.head);
    case REMOTE_RUN: return BR_STREAM_HEAD_BYTES + BR_STREAM_RUN_BYTES;
    case REMOTE_KEEP: break;
    }
    return 0;
}

static int send_record(struct br_remote *remote, struct remote_record *record, struct br_err *reterr)
{
    int rc = record->result;

    if (rc < 0) {
        *reterr = record->err;
        return rc;
    }
    rc = wait_for_credit(remote, record_cost(record), reterr);
    if (rc >= 0 && record->kind == REMOTE_KEEP) {
        struct br_wire_message message = {.type = BR_WIRE_KEEP, .keep = record->keep};
        return say(remote, &message, false, reterr);
    }
    if (rc >= 0) {
        // A RUN's frame is made here, as it has no costly part.
        rc = record->kind == REMOTE_RUN ? br_stream_run(&remote->encoder, &record->run, &record->frame, reterr)
                                        : br_stream_seal(&remote->encoder, &record->frame, reterr);
    }
    return rc < 0 ? rc : send_frame(remote, &record->frame, reterr);
}

// Sends from the front of the queue what is packed. After a failure records are only let go.
static void send_ready(struct br_remote *remote)
{
    if (remote->sending) {
        return;
    }
    remote->sending = true;
    while (remote->count && remote->queue[remote->first].packed) {
        struct remote_record *record = &remote->queue[remote->first];
        struct br_err err = {0};
        if (!remote->failed.code && send_record(remote, record, &err) < 0) {
            remember(remote, &err);
        }
        if (record->release) {
            record->release(record->release_ctx);
        }
        remote->first = (remote->first + 1) % REMOTE_QUEUE;
        remote->count--;
    }
    remote->sending = false;
}

static void pack_record(struct br_job *job)
{
    struct remote_record *record = job->ctx;

    record->result = br_stream_pack_batch(&record->remote->encoder.geometry, &record->batch, record->level,
                                          &record->frame, &record->err);
}

static void record_is_packed(struct br_job *job)
{
    struct remote_record *record = job->ctx;

    record->packed = true;
    send_ready(record->remote);
}

// Room for one more record; runs the ring while workers are behind.
static struct remote_record *next_record(struct br_remote *remote)
{
    while (remote->count == REMOTE_QUEUE) {
        br_ring_wait(remote->params.ring, REMOTE_POLL_NS);
    }
    struct remote_record *record = &remote->queue[(remote->first + remote->count++) % REMOTE_QUEUE];
    record->remote = remote;
    record->packed = false;
    record->kind = REMOTE_BATCH;
    record->release = NULL;
    record->result = 0;
    return record;
}

static void drain(struct br_remote *remote)
{
    send_ready(remote);
    while (remote->count) {
        br_ring_wait(remote->params.ring, REMOTE_POLL_NS);
    }
}

// The endpoint -----------------------------------------------------------------------------------------------------------------------

static int remote_info(void *ctx, struct br_endpoint_info *ret_info, struct br_err *reterr)
{
    struct br_remote *remote = ctx;
    struct br_wire_message question = {.type = BR_WIRE_GET_INFO}, answer;

    int rc = ask(remote, &question, BR_WIRE_INFO, &answer, reterr);
    if (rc >= 0) {
        *ret_info = answer.info;
        ret_info->may_write = remote->may_write;
        ret_info->may_replace = remote->may_replace;
    }
    return rc;
}

static int remote_fetch_nodes(void *ctx, const struct br_tree_link *links, unsigned count, struct br_buf *ret_nodes,
                              struct br_err *reterr)
{
    struct br_remote *remote = ctx;
    struct br_wire_message question = {.type = BR_WIRE_GET_NODES}, answer;

    for (unsigned done = 0; done < count; done += answer.nodes.count) {
        question.get_nodes.count = BR_MIN(count - done, BR_WIRE_NODES_MAX);
        for (unsigned i = 0; i < question.get_nodes.count; i++) {
            question.get_nodes.refs[i] = links[done + i].ref;
        }
        int rc = ask(remote, &question, BR_WIRE_NODES, &answer, reterr);
        if (rc < 0) {
            return rc;
        }
        if (answer.nodes.count > question.get_nodes.count) {
            return br_err_set(reterr, BR_E_PROTOCOL, "%s: more nodes than were asked for", remote->what);
        }
        for (unsigned i = 0; i < answer.nodes.count; i++) {
            br_buf_reset(&ret_nodes[done + i]);
            br_buf_append(&ret_nodes[done + i], answer.nodes.nodes[i], answer.nodes.lens[i]);
            if (br_buf_failed(&ret_nodes[done + i])) {
                return br_err_set(reterr, BR_E_NOMEM, "taking tree nodes");
            }
        }
    }
    return 0;
}

static int remote_begin(void *ctx, const struct br_replica_begin *begin, bool overwrite, struct br_err *reterr)
{
    struct br_remote *remote = ctx;
    struct br_stream_frame *frame = &remote->queue[0].frame; // free: no delta is under way
    struct br_wire_message question = {.type = BR_WIRE_BEGIN, .begin = {.begin = *begin, .overwrite = overwrite}};
    struct br_wire_message answer;

    if (remote->dead) {
        return told(remote, reterr);
    }
    int rc = br_stream_start(&remote->encoder, &begin->header, frame, reterr);
    if (rc < 0) {
        return rc;
    }
    remote->failed = (struct br_err){0};
    remote->durable_bytes = 0;
    question.stream = frame->head;
    question.stream_len = frame->head_len;
    rc = ask(remote, &question, BR_WIRE_BEGUN, &answer, reterr);
    remote->delta = rc >= 0;
    return rc;
}

static int level_of(struct br_remote *remote, const struct br_batch *batch)
{
    if (remote->params.level_if_it_pays &&
        !br_pace_batch(&remote->pace, batch->data_bytes, br_ring_now_ns(remote->params.ring))) {
        return 0;
    }
    return remote->params.level;
}

static int remote_batch(void *ctx, const struct br_batch *batch, br_release_fn *release, void *release_ctx,
                        struct br_err *reterr)
{
    struct br_remote *remote = ctx;
    struct remote_record *record = next_record(remote);

    record->batch = *batch;
    record->release = release;
    record->release_ctx = release_ctx;
    record->job = (struct br_job){.run = pack_record, .done = record_is_packed, .ctx = record};
    if (remote->failed.code) {
        record->packed = true; // is let go in its turn
    } else if ((record->level = level_of(remote, batch)) != 0) {
        br_ring_job(remote->params.ring, &record->job);
    } else {
        pack_record(&record->job);
        record->packed = true;
    }
    send_ready(remote);
    return remote->failed.code ? told(remote, reterr) : 0;
}

static int remote_run(void *ctx, const struct br_run *run, struct br_err *reterr)
{
    struct br_remote *remote = ctx;
    struct remote_record *record = next_record(remote);

    record->kind = REMOTE_RUN;
    record->run = *run;
    record->packed = true;
    send_ready(remote);
    return remote->failed.code ? told(remote, reterr) : 0;
}

static int remote_keep(void *ctx, const struct br_keep *keep, struct br_err *reterr)
{
    struct br_remote *remote = ctx;
    struct remote_record *record = next_record(remote);

    record->kind = REMOTE_KEEP;
    record->keep = *keep;
    record->packed = true;
    send_ready(remote);
    return remote->failed.code ? told(remote, reterr) : 0;
}

// An older server holds nothing.
static int remote_held(void *ctx, uint64_t from, struct br_held_block *ret_blocks, unsigned most, unsigned *ret_count,
                       struct br_err *reterr)
{
    struct br_remote *remote = ctx;
    struct br_wire_message question = {.type = BR_WIRE_GET_HELD,
                                       .get_held = {.first = from, .most = BR_MIN(most, BR_WIRE_HELD_MAX)}};
    struct br_wire_message answer;
    struct br_err err = {0};

    *ret_count = 0;
    if (!(remote->welcome.capabilities & BR_WIRE_CAPABILITY_HELD)) {
        return 0;
    }
    int rc = ask(remote, &question, BR_WIRE_HELD, &answer, reterr);
    if (rc < 0) {
        return rc;
    }
    for (unsigned i = 0; i < answer.held.count && i < most; i++) {
        br_wire_held_block(&answer, i, &ret_blocks[i]);
    }
    if (answer.held.count > question.get_held.most || (answer.held.count && ret_blocks[0].index < from)) {
        br_err_set(&err, BR_E_PROTOCOL, "%s: other blocks are held than were asked for", remote->what);
        return dies(remote, &err, reterr);
    }
    *ret_count = answer.held.count;
    return 0;
}

static int take_outcome(struct br_remote *remote, const struct br_err *outcome, struct br_err *reterr)
{
    struct br_err err = *outcome;

    if (!err.code) {
        return 0;
    }
    from_peer(remote, &err);
    if (reterr) {
        *reterr = err;
    }
    return -err.code;
}

static int remote_commit(void *ctx, const struct br_delta_end *end, uint64_t recheck_bytes,
                         struct br_replica_result *ret_result, struct br_err *reterr)
{
    struct br_remote *remote = ctx;
    struct br_wire_message question = {.type = BR_WIRE_COMMIT, .recheck_bytes = recheck_bytes}, answer;

    drain(remote);
    if (remote->failed.code) {
        return told(remote, reterr);
    }
    if (!br_delta_counts_equal(end, &remote->encoder.counts)) {
        return br_err_set(reterr, BR_E_INTERNAL, "the end counts other records than were sent");
    }
    struct br_stream_frame *frame = &remote->queue[0].frame;
    int rc = br_stream_end(&remote->encoder, &end->root, frame, reterr);
    if (rc < 0) {
        return rc;
    }
    question.stream = frame->head;
    question.stream_len = frame->head_len;
    rc = say(remote, &question, true, reterr);
    if (rc >= 0) {
        rc = answer_of(remote, BR_WIRE_RESULT, false, &answer, reterr);
    }
    if (rc < 0) {
        return rc;
    }
    remote->delta = false;
    *ret_result = answer.result.result;
    remote->durable_bytes = answer.result.result.bytes_durable;
    return take_outcome(remote, &answer.result.outcome, reterr);
}

static void remote_abort(void *ctx)
{
    struct br_remote *remote = ctx;
    struct br_wire_message question = {.type = BR_WIRE_ABORT}, answer;
    uint64_t until_ns = br_ring_now_ns(remote->params.ring) + REMOTE_ABORT_NS;
    bool given_up = !remote->failed.code;
    struct br_err err;

    if (given_up) {
        br_err_set(&err, BR_E_CANCELLED, "the delta was given up");
        remember(remote, &err);
    }
    drain(remote);
    if (given_up) { // what fails from here on is no matter of the delta's
        remote->failed = (struct br_err){0};
    }
    if (!remote->delta || remote->dead || say(remote, &question, true, NULL) < 0) {
        return;
    }
    remote->delta = false;
    // Facts of a first copy are being made durable over there; not waiting for ever is no loss.
    while (br_ring_now_ns(remote->params.ring) < until_ns) {
        int rc = hear(remote, REMOTE_POLL_NS, &answer, NULL);
        if (rc < 0 || (rc > 0 && answer.request == remote->last_request)) {
            return;
        }
    }
}

static int remote_recheck(void *ctx, uint64_t recheck_bytes, struct br_replica_result *ret_result,
                          struct br_err *reterr)
{
    struct br_remote *remote = ctx;
    struct br_wire_message question = {.type = BR_WIRE_RECHECK, .recheck_bytes = recheck_bytes}, answer;

    int rc = ask(remote, &question, BR_WIRE_RESULT, &answer, reterr);
    if (rc < 0) {
        return rc;
    }
    *ret_result = answer.result.result;
    return take_outcome(remote, &answer.result.outcome, reterr);
}

static uint64_t remote_durable(void *ctx)
{
    return ((struct br_remote *)ctx)->durable_bytes;
}

static int remote_verify(void *ctx, br_verify_progress_fn *progress, void *progress_ctx, uint64_t *ret_bad_blocks,
                         struct br_err *reterr)
{
    struct br_remote *remote = ctx;
    struct br_wire_message question = {.type = BR_WIRE_VERIFY}, answer;

    int rc = say(remote, &question, true, reterr);
    while (rc >= 0) {
        rc = answer_of(remote, BR_WIRE_VERIFIED, true, &answer, reterr);
        if (rc < 0 || answer.type == BR_WIRE_VERIFIED) {
            break;
        }
        rc = progress ? progress(progress_ctx, answer.progress.done_bytes, answer.progress.total_bytes) : 0;
        if (rc) {
            // The far end stops when nobody listens any more.
            struct br_err err;
            br_err_set(&err, rc < 0 ? -rc : BR_E_CANCELLED, "verifying %s was stopped", remote->what);
            return dies(remote, &err, reterr);
        }
    }
    if (rc < 0) {
        return rc;
    }
    *ret_bad_blocks = answer.verified.bad_blocks;
    return take_outcome(remote, &answer.verified.outcome, reterr);
}

static uint64_t remote_sent_bytes(void *ctx)
{
    const struct br_remote *remote = ctx;
    const struct br_channel *channel = &remote->params.channel;

    // What the channel was given may wait there still, or have been dropped with it.
    return remote->frame_bytes
               ? BR_MIN(remote->frame_bytes, channel->ops->sent_bytes(channel->ctx) - remote->before_bytes)
               : 0;
}

// The channel's close drops what is queued, so BYE is seen off first: the server answers it by closing.
static void say_bye(struct br_remote *remote)
{
    struct br_wire_message bye = {.type = BR_WIRE_BYE}, answer;
    uint64_t until_ns = br_ring_now_ns(remote->params.ring) + REMOTE_BYE_NS;

    if (say(remote, &bye, false, NULL) < 0) {
        return;
    }
    while (!remote->dead && br_ring_now_ns(remote->params.ring) < until_ns) {
        if (hear(remote, REMOTE_POLL_NS, &answer, NULL) < 0) {
            return;
        }
    }
}

static void remote_close(void *ctx)
{
    struct br_remote *remote = ctx;

    if (remote->delta) {
        remote_abort(remote);
    }
    drain(remote);
    say_bye(remote);
    remote->params.channel.ops->close(remote->params.channel.ctx);
    for (unsigned i = 0; i < REMOTE_QUEUE; i++) {
        br_stream_frame_free(&remote->queue[i].frame);
    }
    br_buf_free(&remote->in);
    free(remote);
}

static int shake_hands(struct br_remote *remote, struct br_err *reterr)
{
    struct br_wire_message hello = {
        .type = BR_WIRE_HELLO,
        .hello = {.version_min = BR_WIRE_VERSION,
                  .version_max = BR_WIRE_VERSION,
                  .capabilities = BR_WIRE_CAPABILITIES,
                  .lanes = 1,
                  .message_bytes_max = BR_MESSAGE_BYTES_MAX},
    };
    struct br_wire_message open = {
        .type = BR_WIRE_OPEN,
        .open = {.role = remote->params.role, .discard_damaged = remote->params.discard_damaged},
    };
    struct br_wire_message answer;

    snprintf(hello.hello.program, sizeof(hello.hello.program), "%s",
             remote->params.program ? remote->params.program : "blkrep");
    if (strlen(remote->params.volume) >= sizeof(open.open.volume)) {
        return br_err_set(reterr, BR_E_USAGE, "a volume's name of more than %zu bytes", sizeof(open.open.volume) - 1);
    }
    memcpy(open.open.volume, remote->params.volume, strlen(remote->params.volume) + 1);
    int rc = ask(remote, &hello, BR_WIRE_WELCOME, &answer, reterr);
    if (rc < 0) {
        return rc;
    }
    remote->welcome = answer.welcome;
    if (!(remote->welcome.capabilities & BR_WIRE_CAPABILITY_ZSTD)) {
        remote->params.level = 0;
    }
    open.open.plan = remote->params.plan && remote->welcome.capabilities & BR_WIRE_CAPABILITY_PLAN;
    rc = ask(remote, &open, BR_WIRE_OPENED, &answer, reterr);
    if (rc >= 0) {
        remote->may_write = answer.opened.may_write;
        remote->may_replace = answer.opened.may_replace;
    }
    return rc;
}

int br_remote_open(const struct br_remote_params *params, struct br_endpoint *ret_endpoint, struct br_err *reterr)
{
    static const struct br_endpoint_ops ops = {
        .info = remote_info,
        .fetch_nodes = remote_fetch_nodes,
        .begin = remote_begin,
        .batch = remote_batch,
        .run = remote_run,
        .held = remote_held,
        .keep = remote_keep,
        .commit = remote_commit,
        .abort = remote_abort,
        .recheck = remote_recheck,
        .durable = remote_durable,
        .verify = remote_verify,
        .sent_bytes = remote_sent_bytes,
        .close = remote_close,
    };
    struct br_remote *remote = calloc(1, sizeof(*remote));

    if (!remote) {
        params->channel.ops->close(params->channel.ctx);
        return br_err_set(reterr, BR_E_NOMEM, "beginning a session");
    }
    remote->params = *params;
    snprintf(remote->what, sizeof(remote->what), "%s", params->what ? params->what : params->volume);
    int rc = shake_hands(remote, reterr);
    if (rc < 0) {
        remote_close(remote); // a refusal leaves a channel, on which BYE is said
        return rc;
    }
    // Only the strings of the call are not kept.
    remote->params.volume = remote->params.what = remote->params.program = NULL;
    *ret_endpoint = (struct br_endpoint){.ops = &ops, .ctx = remote};
    return 0;
}
