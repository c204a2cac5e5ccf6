// SPDX-License-Identifier: Apache-2.0
//
// Two kinds of failure are kept apart: what a request fails with goes to the client as its answer, and the session goes on; what breaks
// the protocol or the channel is the return value, and the session is over.
#include "engine/sync/session.h"

#include <inttypes.h>
#include <stdio.h>

#include "engine/base/units.h"

#define SESSION_POLL_NS     (BR_NS_PER_S / 2)
#define SESSION_RING_NS     (2 * BR_NS_PER_MS)
#define SESSION_PROGRESS    (16 * BR_MIB)
#define SESSION_CREDIT_PART 4u // a CREDIT is due when this part of the credit was let go

enum session_state {
    SESSION_GREETING,
    SESSION_GREETED,
    SESSION_OPEN,
    SESSION_RECEIVING,
    SESSION_OVER,
};

// Data that the replica was given and has not let go. Kept and used again.
struct session_batch {
    struct br_session *session;
    struct session_batch *next; // while free
    struct br_buf message;      // where the data lies when it came as it is
    uint8_t *raw;               // where it lies when it came compressed
    uint64_t cost;
};

struct br_session {
    struct br_session_params params;
    char program[BR_WIRE_PROGRAM_BYTES];
    enum session_state state;
    uint32_t capabilities; // of both
    uint32_t request;      // being answered

    char volume_name[BR_WIRE_NAME_BYTES];
    struct br_session_volume volume;

    struct br_stream_decoder *decoder;
    struct br_err delta_failed; // code 0: not
    uint64_t received_cost;
    uint64_t taken_cost;
    uint64_t told_cost;
    struct session_batch *free_batches;
    unsigned held_batches;
    uint64_t verify_told_bytes;
    bool told_begun; // the host knows of the delta under way
};

static int say(struct br_session *session, struct br_wire_message *message, struct br_err *reterr)
{
    message->request = session->request;
    return br_wire_send(&session->params.channel, message, reterr);
}

static int say_error(struct br_session *session, const struct br_err *err, struct br_err *reterr)
{
    struct br_wire_message message = {.type = BR_WIRE_ERROR, .error = *err};

    return say(session, &message, reterr);
}

// Ends the session; the client is told as far as the channel still goes.
static int end_with(struct br_session *session, const struct br_err *err, struct br_err *reterr)
{
    int rc = say_error(session, err, NULL);

    (void)rc; // the session is over anyway
    session->state = SESSION_OVER;
    if (reterr) {
        *reterr = *err;
    }
    return -err->code;
}

static int out_of_place(struct br_session *session, const struct br_wire_message *message, struct br_err *reterr)
{
    struct br_err err;

    br_err_set(&err, BR_E_PROTOCOL, "a %s message out of place", br_wire_name(message->type));
    return end_with(session, &err, reterr);
}

int br_session_open(const struct br_session_params *params, struct br_session **ret_session, struct br_err *reterr)
{
    struct br_session *session = calloc(1, sizeof(*session));

    if (!session) {
        return br_err_set(reterr, BR_E_NOMEM, "beginning a session");
    }
    session->params = *params;
    if (!session->params.credit_bytes) {
        session->params.credit_bytes = BR_WIRE_CREDIT_BYTES;
    }
    snprintf(session->program, sizeof(session->program), "%s", params->program ? params->program : "blkrep");
    *ret_session = session;
    return 0;
}

static void drop_decoder(struct br_session *session)
{
    br_stream_decoder_close(session->decoder);
    session->decoder = NULL;
    session->delta_failed = (struct br_err){0};
}

static bool volume_is_open(const struct br_session *session)
{
    return session->volume.endpoint.ops != NULL;
}

void br_session_close(struct br_session *session)
{
    if (!session) {
        return;
    }
    if (session->decoder) {
        session->volume.endpoint.ops->abort(session->volume.endpoint.ctx);
    }
    while (session->held_batches && br_ring_in_flight(session->params.ring)) {
        br_ring_wait(session->params.ring, BR_NS_PER_S);
    }
    if (volume_is_open(session)) {
        session->volume.endpoint.ops->close(session->volume.endpoint.ctx);
    }
    drop_decoder(session);
    while (session->free_batches) {
        struct session_batch *batch = session->free_batches;
        session->free_batches = batch->next;
        br_buf_free(&batch->message);
        free(batch->raw);
        free(batch);
    }
    free(session);
}

bool br_session_busy(const struct br_session *session)
{
    return session->held_batches > 0;
}

// Greeting and opening -----------------------------------------------------------------------------------------------------------------

static int greet(struct br_session *session, const struct br_wire_message *message, struct br_err *reterr)
{
    const struct br_wire_hello *hello = &message->hello;
    struct br_err err;

    if (session->state != SESSION_GREETING) {
        return out_of_place(session, message, reterr);
    }
    if (hello->version_min > BR_WIRE_VERSION || hello->version_max < BR_WIRE_VERSION) {
        br_err_set(&err, BR_E_VERSION, "the client speaks session versions %u to %u, this server version %u",
                   hello->version_min, hello->version_max, BR_WIRE_VERSION);
        return end_with(session, &err, reterr);
    }
    if (!br_uuid_is_nil(&hello->session)) {
        br_err_set(&err, BR_E_UNSUPPORTED, "this server knows no second lane of a session");
        return end_with(session, &err, reterr);
    }
    if (!hello->lanes || hello->message_bytes_max < BR_WIRE_NODES_BYTES_MAX + BR_TREE_NODE_BYTES_MAX + 1024) {
        br_err_set(&err, BR_E_PROTOCOL, "a HELLO that leaves no room for a session");
        return end_with(session, &err, reterr);
    }
    struct br_wire_message welcome = {
        .type = BR_WIRE_WELCOME,
        .welcome = {.version = BR_WIRE_VERSION,
                    .capabilities = hello->capabilities & BR_WIRE_CAPABILITIES,
                    .session = br_ring_new_uuid(session->params.ring),
                    .lanes = 1,
                    .message_bytes_max = BR_MESSAGE_BYTES_MAX,
                    .credit_bytes = session->params.credit_bytes},
    };
    memcpy(welcome.welcome.program, session->program, sizeof(session->program));
    session->capabilities = welcome.welcome.capabilities;
    session->state = SESSION_GREETED;
    return say(session, &welcome, reterr);
}

static int open_volume(struct br_session *session, const struct br_wire_message *message, struct br_err *reterr)
{
    struct br_session_host *host = &session->params.host;
    struct br_session_volume volume = {0};
    struct br_err err = {0};

    if (session->state != SESSION_GREETED) {
        return out_of_place(session, message, reterr);
    }
    int rc = host->open_volume(host->ctx, message->open.volume, message->open.role, message->open.discard_damaged,
                               message->open.plan, &volume, &err);
    if (rc < 0) {
        return say_error(session, &err, reterr);
    }
    session->volume = volume;
    memcpy(session->volume_name, message->open.volume, sizeof(session->volume_name));
    session->state = SESSION_OPEN;
    struct br_wire_message opened = {
        .type = BR_WIRE_OPENED,
        .opened = {.may_write = volume.may_write, .may_replace = volume.may_replace},
    };
    session->volume.may_write = volume.may_write && !message->open.plan;
    return say(session, &opened, reterr);
}

// Looking ------------------------------------------------------------------------------------------------------------------------------

static int give_info(struct br_session *session, const struct br_wire_message *message, struct br_err *reterr)
{
    struct br_wire_message answer = {.type = BR_WIRE_INFO};
    struct br_err err = {0};

    if (session->state != SESSION_OPEN && session->state != SESSION_RECEIVING) {
        return out_of_place(session, message, reterr);
    }
    int rc = session->volume.endpoint.ops->info(session->volume.endpoint.ctx, &answer.info, &err);
    return rc < 0 ? say_error(session, &err, reterr) : say(session, &answer, reterr);
}

static int give_nodes(struct br_session *session, const struct br_wire_message *message, struct br_err *reterr)
{
    const struct br_endpoint *endpoint = &session->volume.endpoint;
    struct br_wire_message answer = {.type = BR_WIRE_NODES};
    struct br_buf nodes[BR_WIRE_NODES_MAX] = {{0}};
    struct br_err err = {0};
    size_t bytes = 0;
    int rc = 0;

    if (session->state != SESSION_OPEN) {
        return out_of_place(session, message, reterr);
    }
    // One by one, since what does not fit into this answer must not be read in vain.
    while (answer.nodes.count < message->get_nodes.count && bytes < BR_WIRE_NODES_BYTES_MAX && rc >= 0) {
        unsigned i = answer.nodes.count;
        // The wire names a node by its ref alone; that is enough for a replica's.
        struct br_tree_link link = {.ref = message->get_nodes.refs[i]};
        rc = endpoint->ops->fetch_nodes(endpoint->ctx, &link, 1, &nodes[i], &err);
        answer.nodes.nodes[i] = nodes[i].data;
        answer.nodes.lens[i] = (uint32_t)nodes[i].len;
        bytes += nodes[i].len;
        answer.nodes.count++;
    }
    rc = rc < 0 ? say_error(session, &err, reterr) : say(session, &answer, reterr);
    for (unsigned i = 0; i < BR_WIRE_NODES_MAX; i++) {
        br_buf_free(&nodes[i]);
    }
    return rc;
}

static int tell_verify_progress(void *ctx, uint64_t done_bytes, uint64_t total_bytes)
{
    struct br_session *session = ctx;
    struct br_wire_message message = {
        .type = BR_WIRE_PROGRESS,
        .progress = {.done_bytes = done_bytes, .total_bytes = total_bytes},
    };

    if (done_bytes < session->verify_told_bytes + SESSION_PROGRESS && done_bytes < total_bytes) {
        return 0;
    }
    session->verify_told_bytes = done_bytes;
    return say(session, &message, NULL); // a client that went away ends the verify
}

static int verify(struct br_session *session, const struct br_wire_message *message, struct br_err *reterr)
{
    const struct br_endpoint *endpoint = &session->volume.endpoint;
    struct br_wire_message answer = {.type = BR_WIRE_VERIFIED};

    if (session->state != SESSION_OPEN) {
        return out_of_place(session, message, reterr);
    }
    session->verify_told_bytes = 0;
    int rc = endpoint->ops->verify(endpoint->ctx, tell_verify_progress, session, &answer.verified.bad_blocks,
                                   &answer.verified.outcome);
    if (rc >= 0) {
        answer.verified.outcome = (struct br_err){0};
    }
    return say(session, &answer, reterr);
}

// A delta ------------------------------------------------------------------------------------------------------------------------------

// What the target is, seen from here, against what the client wants to do to it (G8).
static int may_begin(const struct br_session *session, const struct br_wire_message *message,
                     const struct br_replica_begin *begin, const struct br_endpoint_info *info, struct br_err *reterr)
{
    bool loses = br_endpoint_loses(info, begin->mode, &begin->header.volume);

    if (!session->volume.may_write) {
        return br_err_set(reterr, BR_E_AUTH, "volume %s was opened for reading", session->volume_name);
    }
    if (begin->header.size_bytes > info->capacity_bytes) {
        return br_err_set(reterr, BR_E_TARGET_SMALL,
                          "volume %s holds at most %" PRIu64 " bytes, %" PRIu64 " are needed", session->volume_name,
                          info->capacity_bytes, begin->header.size_bytes);
    }
    if (begin->target_is_zero && !info->zero) {
        return br_err_set(reterr, BR_E_FOREIGN_WRITE, "volume %s is not empty any more", session->volume_name);
    }
    if (loses && !message->begin.overwrite) {
        return br_err_set(reterr, BR_E_TARGET_FOREIGN, "volume %s holds %s", session->volume_name,
                          info->holds[0] ? info->holds : "another version or data of another origin");
    }
    if (loses && !session->volume.may_replace) {
        return br_err_set(reterr, BR_E_AUTH, "this client may not replace what volume %s holds", session->volume_name);
    }
    return 0;
}

// Reads HEADER (and RESIZE) of the stream that BEGIN carries.
static int read_stream_start(struct br_session *session, const struct br_wire_message *message,
                             struct br_delta_header *ret_header, struct br_err *reterr)
{
    struct br_stream_record record;
    const uint8_t *bytes = message->stream;
    size_t len = message->stream_len;
    int rc;

    drop_decoder(session);
    rc = br_stream_decoder_open(&session->decoder, reterr);
    if (rc < 0) {
        return rc;
    }
    do {
        rc = br_stream_decoder_next(session->decoder, &bytes, &len, &record, reterr);
    } while (rc > 0 && (record.type == BR_STREAM_HEADER || record.type == BR_STREAM_RESIZE));
    if (rc < 0) {
        return rc;
    }
    const struct br_delta_header *header = br_stream_decoder_header(session->decoder);
    if (rc > 0 || !header) {
        return br_err_set(reterr, BR_E_CORRUPT, "a BEGIN without the beginning of a stream");
    }
    *ret_header = *header;
    return 0;
}

// Tells what was let go when it is at least @least.
static int tell_credit(struct br_session *session, uint64_t least, struct br_err *reterr)
{
    if (session->state != SESSION_RECEIVING || session->taken_cost - session->told_cost < least) {
        return 0;
    }
    struct br_wire_message credit = {
        .type = BR_WIRE_CREDIT,
        .credit = {.taken_cost = session->taken_cost,
                   .durable_bytes = session->volume.endpoint.ops->durable(session->volume.endpoint.ctx)},
    };
    session->told_cost = session->taken_cost;
    return br_wire_send(&session->params.channel, &credit, reterr);
}

int br_session_tick(struct br_session *session, struct br_err *reterr)
{
    const struct br_endpoint *endpoint = &session->volume.endpoint;
    struct br_err err = {0};

    // Without this the last batches within the credit would wait for one more, which the client may not send.
    if (session->state == SESSION_RECEIVING && !session->delta_failed.code && endpoint->ops->push &&
        endpoint->ops->push(endpoint->ctx, &err) < 0) {
        session->delta_failed = err;
        session->request = 0;
        int rc = say_error(session, &err, reterr);
        if (rc < 0) {
            return rc;
        }
    }
    return tell_credit(session, session->params.credit_bytes / SESSION_CREDIT_PART, reterr);
}

// A run that finds no changes begins a delta too, and gives it up: the host hears of those that do something.
static void tell_begun(struct br_session *session)
{
    struct br_session_host *host = &session->params.host;

    if (!session->told_begun && host->begun) {
        host->begun(host->ctx, session->volume_name, br_stream_decoder_header(session->decoder));
    }
    session->told_begun = true;
}

static int begin(struct br_session *session, const struct br_wire_message *message, struct br_err *reterr)
{
    const struct br_endpoint *endpoint = &session->volume.endpoint;
    struct br_replica_begin wanted = message->begin.begin;
    struct br_wire_message begun = {.type = BR_WIRE_BEGUN};
    struct br_endpoint_info info;
    struct br_err err = {0};

    if (session->state != SESSION_OPEN) {
        return out_of_place(session, message, reterr);
    }
    wanted.keeps_nothing = !(session->capabilities & BR_WIRE_CAPABILITY_HELD);
    int rc = read_stream_start(session, message, &wanted.header, &err);
    if (rc >= 0) {
        rc = endpoint->ops->info(endpoint->ctx, &info, &err);
    }
    if (rc >= 0) {
        rc = may_begin(session, message, &wanted, &info, &err);
    }
    if (rc >= 0) {
        rc = endpoint->ops->begin(endpoint->ctx, &wanted, message->begin.overwrite, &err);
    }
    if (rc < 0) {
        drop_decoder(session);
        return say_error(session, &err, reterr);
    }
    session->state = SESSION_RECEIVING;
    session->told_begun = false;
    if (wanted.mode == BR_MODE_FIRST) { // the target is a first copy from now on, whatever comes
        tell_begun(session);
    }
    rc = tell_credit(session, 1, reterr); // what an aborted delta had left untold
    return rc < 0 ? rc : say(session, &begun, reterr);
}

static struct session_batch *get_batch(struct br_session *session)
{
    struct session_batch *batch = session->free_batches;

    if (batch) {
        session->free_batches = batch->next;
    } else {
        batch = calloc(1, sizeof(*batch));
    }
    if (batch) {
        batch->session = session;
        session->held_batches++;
    }
    return batch;
}

// The replica needs the data no longer. May run inside the ring, so nothing is sent from here: br_session_tick() does.
static void release_batch(void *ctx)
{
    struct session_batch *batch = ctx;
    struct br_session *session = batch->session;

    session->taken_cost += batch->cost;
    session->held_batches--;
    batch->next = session->free_batches;
    session->free_batches = batch;
}

// Decodes one frame into @record; a batch's data stays valid as long as @holder.
static int decode_frame(struct br_session *session, const struct br_wire_message *message, struct session_batch *holder,
                        struct br_stream_record *record, struct br_err *reterr)
{
    const uint8_t *bytes = message->stream;
    size_t len = message->stream_len;

    if (bytes[BR_STREAM_AT_FLAGS] & BR_STREAM_FLAG_ZSTD) {
        holder->raw = holder->raw ? holder->raw : malloc(BR_BATCH_DATA_MAX);
        if (!holder->raw) {
            return br_err_set(reterr, BR_E_NOMEM, "reading a compressed frame");
        }
    }
    br_stream_decoder_unpack_to(session->decoder, holder->raw);
    return br_stream_decoder_next(session->decoder, &bytes, &len, record, reterr);
}

static int take_frame(struct br_session *session, const struct br_wire_message *wire, struct br_buf *message,
                      struct session_batch *holder, struct br_err *reterr)
{
    const struct br_endpoint *endpoint = &session->volume.endpoint;
    struct br_stream_record record;

    int rc = decode_frame(session, wire, holder, &record, reterr);
    if (rc <= 0 || record.type == BR_STREAM_NOTE) {
        release_batch(holder);
        return BR_MIN(rc, 0);
    }
    tell_begun(session);
    if (record.type == BR_STREAM_RUN) {
        rc = endpoint->ops->run(endpoint->ctx, &record.run, reterr);
        release_batch(holder);
        return rc;
    }
    if (record.type != BR_STREAM_DATA) {
        release_batch(holder);
        return br_err_set(reterr, BR_E_PROTOCOL, "a frame of type %u where only data may be", record.type);
    }
    if (record.in_place) {
        struct br_buf spare = holder->message;
        holder->message = *message;
        *message = spare;
    }
    return endpoint->ops->batch(endpoint->ctx, &record.batch, release_batch, holder, reterr);
}

static int frame(struct br_session *session, const struct br_wire_message *wire, struct br_buf *message,
                 struct br_err *reterr)
{
    struct br_err err = {0};

    if (session->state != SESSION_RECEIVING) {
        return out_of_place(session, wire, reterr);
    }
    uint64_t cost = br_wire_frame_cost(wire->stream);
    size_t whole = (size_t)BR_STREAM_HEAD_BYTES + br_get_u16(wire->stream + BR_STREAM_AT_TABLE_BYTES) +
                   br_get_u32(wire->stream + BR_STREAM_AT_BODY_BYTES);
    session->received_cost += cost;
    if (whole != wire->stream_len || cost > BR_STREAM_FRAME_BYTES_MAX ||
        session->received_cost - session->told_cost > session->params.credit_bytes) {
        br_err_set(&err, BR_E_PROTOCOL,
                   whole != wire->stream_len ? "a FRAME message that is not one frame" : "frames beyond the credit");
        return end_with(session, &err, reterr);
    }
    if (session->delta_failed.code) {
        session->taken_cost += cost;
        return br_session_tick(session, reterr);
    }
    struct session_batch *holder = get_batch(session);
    if (!holder) {
        session->taken_cost += cost;
        br_err_set(&err, BR_E_NOMEM, "taking a batch");
    } else {
        holder->cost = cost;
        int rc = take_frame(session, wire, message, holder, &err);
        if (rc >= 0) {
            return br_session_tick(session, reterr);
        }
    }
    session->delta_failed = err;
    session->request = 0;
    return say_error(session, &err, reterr);
}

// May the client speak of held blocks now?
static bool may_speak_of_held(const struct br_session *session)
{
    return session->state == SESSION_RECEIVING && session->capabilities & BR_WIRE_CAPABILITY_HELD;
}

static int give_held(struct br_session *session, const struct br_wire_message *message, struct br_err *reterr)
{
    const struct br_endpoint *endpoint = &session->volume.endpoint;
    struct br_wire_message answer = {.type = BR_WIRE_HELD};
    struct br_err err = session->delta_failed;

    if (!may_speak_of_held(session)) {
        return out_of_place(session, message, reterr);
    }
    if (err.code) {
        return say_error(session, &err, reterr);
    }
    struct br_held_block *blocks = calloc(message->get_held.most, sizeof(*blocks));
    int rc = blocks ? 0 : br_err_set(&err, BR_E_NOMEM, "telling what is held");
    if (rc >= 0 && endpoint->ops->held) {
        rc = endpoint->ops->held(endpoint->ctx, message->get_held.first, blocks, message->get_held.most,
                                 &answer.held.count, &err);
    }
    answer.held.blocks = blocks;
    rc = rc < 0 ? say_error(session, &err, reterr) : say(session, &answer, reterr);
    free(blocks);
    return rc;
}

static int keep(struct br_session *session, const struct br_wire_message *message, struct br_err *reterr)
{
    const struct br_endpoint *endpoint = &session->volume.endpoint;
    struct br_err err = {0};
    int rc = 0;

    if (!may_speak_of_held(session)) {
        return out_of_place(session, message, reterr);
    }
    if (!session->delta_failed.code) {
        rc = endpoint->ops->keep ? endpoint->ops->keep(endpoint->ctx, &message->keep, &err)
                                 : br_err_set(&err, BR_E_CORRUPT, "blocks are to be kept, and nothing is held");
    }
    if (rc >= 0) {
        return br_session_tick(session, reterr);
    }
    session->delta_failed = err;
    session->request = 0;
    return say_error(session, &err, reterr);
}

// Reads the END frame that COMMIT carries.
static int read_stream_end(struct br_session *session, const struct br_wire_message *message,
                           struct br_delta_end *ret_end, struct br_err *reterr)
{
    struct br_stream_record record;
    const uint8_t *bytes = message->stream;
    size_t len = message->stream_len;

    if (session->delta_failed.code) {
        *reterr = session->delta_failed;
        return -session->delta_failed.code;
    }
    int rc = br_stream_decoder_next(session->decoder, &bytes, &len, &record, reterr);
    if (rc < 0) {
        return rc;
    }
    if (rc == 0 || record.type != BR_STREAM_END || len) {
        return br_err_set(reterr, BR_E_CORRUPT, "a COMMIT without the end of the stream");
    }
    *ret_end = record.end;
    return 0;
}

static int commit(struct br_session *session, const struct br_wire_message *message, struct br_err *reterr)
{
    const struct br_endpoint *endpoint = &session->volume.endpoint;
    struct br_session_host *host = &session->params.host;
    struct br_wire_message answer = {.type = BR_WIRE_RESULT};
    struct br_delta_end end;
    struct br_err err = {0};

    if (session->state != SESSION_RECEIVING) {
        return out_of_place(session, message, reterr);
    }
    int rc = read_stream_end(session, message, &end, &err);
    if (rc >= 0) {
        tell_begun(session);
        rc = endpoint->ops->commit(endpoint->ctx, &end, message->recheck_bytes, &answer.result.result, &err);
    }
    if (rc < 0) {
        endpoint->ops->abort(endpoint->ctx);
        answer.result.outcome = err;
    }
    if (host->finished) {
        host->finished(host->ctx, session->volume_name, br_stream_decoder_header(session->decoder),
                       &answer.result.result, &answer.result.outcome);
    }
    drop_decoder(session);
    session->state = SESSION_OPEN;
    return say(session, &answer, reterr);
}

static int recheck(struct br_session *session, const struct br_wire_message *message, struct br_err *reterr)
{
    const struct br_endpoint *endpoint = &session->volume.endpoint;
    struct br_wire_message answer = {.type = BR_WIRE_RESULT};
    struct br_err err = {0};
    int rc;

    if (session->state != SESSION_OPEN) {
        return out_of_place(session, message, reterr);
    }
    if (session->volume.may_write) {
        rc = endpoint->ops->recheck(endpoint->ctx, message->recheck_bytes, &answer.result.result, &err);
    } else {
        rc = br_err_set(&err, BR_E_AUTH, "volume %s was opened for reading", session->volume_name);
    }
    if (rc < 0) {
        answer.result.outcome = err;
    }
    return say(session, &answer, reterr);
}

static int abort_delta(struct br_session *session, const struct br_wire_message *message, struct br_err *reterr)
{
    struct br_wire_message answer = {.type = BR_WIRE_ABORTED};

    if (session->state != SESSION_OPEN && session->state != SESSION_RECEIVING) {
        return out_of_place(session, message, reterr);
    }
    if (session->state == SESSION_RECEIVING) {
        session->volume.endpoint.ops->abort(session->volume.endpoint.ctx);
        drop_decoder(session);
        session->state = SESSION_OPEN;
    }
    return say(session, &answer, reterr);
}

int br_session_message(struct br_session *session, struct br_buf *message, struct br_err *reterr)
{
    struct br_wire_message wire, pong = {.type = BR_WIRE_PONG};
    struct br_err err = {0};

    session->request = 0;
    if (session->state == SESSION_OVER) {
        return br_err_set(reterr, BR_E_PROTOCOL, "a message after the session's end");
    }
    if (br_wire_decode(message->data, message->len, &wire, &err) < 0) {
        return end_with(session, &err, reterr);
    }
    if (wire.unknown) {
        return 0;
    }
    session->request = wire.request;
    switch (wire.type) {
    case BR_WIRE_HELLO: return greet(session, &wire, reterr);
    case BR_WIRE_OPEN: return open_volume(session, &wire, reterr);
    case BR_WIRE_GET_INFO: return give_info(session, &wire, reterr);
    case BR_WIRE_GET_NODES: return give_nodes(session, &wire, reterr);
    case BR_WIRE_BEGIN: return begin(session, &wire, reterr);
    case BR_WIRE_FRAME: return frame(session, &wire, message, reterr);
    case BR_WIRE_GET_HELD: return give_held(session, &wire, reterr);
    case BR_WIRE_KEEP: return keep(session, &wire, reterr);
    case BR_WIRE_COMMIT: return commit(session, &wire, reterr);
    case BR_WIRE_RECHECK: return recheck(session, &wire, reterr);
    case BR_WIRE_ABORT: return abort_delta(session, &wire, reterr);
    case BR_WIRE_VERIFY: return verify(session, &wire, reterr);
    case BR_WIRE_PING: return say(session, &pong, reterr);
    case BR_WIRE_PONG: return 0;
    case BR_WIRE_BYE: session->state = SESSION_OVER; return 1;
    default: return out_of_place(session, &wire, reterr);
    }
}

// Waits for a message, or runs the ring while the replica works. Returns as the channel's recv.
static int receive(struct br_session *session, struct br_buf *message, struct br_err *reterr)
{
    struct br_channel *channel = &session->params.channel;
    struct br_ring *ring = session->params.ring;

    if (!br_session_busy(session) || !br_ring_in_flight(ring)) {
        return channel->ops->recv(channel->ctx, message, SESSION_POLL_NS, reterr);
    }
    int rc = channel->ops->recv(channel->ctx, message, 0, reterr);
    if (rc == 0) {
        br_ring_wait(ring, SESSION_RING_NS);
    } else if (rc > 0) {
        br_ring_wait(ring, 0);
    }
    return rc;
}

int br_session_serve(struct br_session *session, const volatile bool *stop, struct br_err *reterr)
{
    struct br_buf message = {0};
    struct br_err err;
    int rc;

    do {
        if (stop && *stop) {
            br_err_set(&err, BR_E_CANCELLED, "the server is being stopped");
            session->request = 0;
            rc = end_with(session, &err, reterr);
            break;
        }
        rc = receive(session, &message, reterr);
        if (rc > 0) {
            rc = br_session_message(session, &message, reterr);
        } else if (rc == 0) {
            rc = br_session_tick(session, reterr);
        }
    } while (rc == 0);
    br_buf_free(&message);
    return BR_MIN(rc, 0);
}
