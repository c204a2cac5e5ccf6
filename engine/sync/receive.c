// SPDX-License-Identifier: Apache-2.0
//
// A stream onto a replica. Data lands in the ring's buffers (decompressed there, or copied once) and stays borrowed by the replica until
// it is written, so the next frame is decoded meanwhile.
#include "engine/base/units.h"
#include "engine/codec/stream.h"
#include "engine/sync/sync.h"
#include "engine/sync/transfer.h"

#define BR_RECEIVE_READ_BYTES  (256u * 1024u)
#define BR_RECEIVE_PROGRESS_NS (100 * BR_NS_PER_MS)

struct br_receive {
    const struct br_receive_params *params;
    struct br_receive_result *result;
    const struct br_endpoint_ops *far;
    void *far_ctx;
    struct br_endpoint_info info;
    struct br_stream_decoder *decoder;
    void *spare; // a pool buffer: where the next data goes
    bool begun;
    bool there; // the replica has this version already: read on, take nothing
    struct br_delta_end end;
    uint64_t told_ns;
};

struct br_receive_loan {
    struct br_ring *ring;
    void *buffer;
};

static void br_receive_release(void *ctx)
{
    struct br_receive_loan *loan = ctx;

    br_ring_buffer_put(loan->ring, loan->buffer);
    free(loan);
}

// A buffer for the next data, waiting until the replica gives one back.
static int br_receive_spare(struct br_receive *receive, struct br_err *reterr)
{
    while (!receive->spare) {
        receive->spare = br_ring_buffer_get(receive->params->ring);
        if (!receive->spare && !br_ring_in_flight(receive->params->ring)) {
            return br_err_set(reterr, BR_E_INTERNAL, "no buffer left and nothing to wait for");
        }
        if (!receive->spare) {
            br_ring_wait(receive->params->ring, UINT64_MAX);
        }
    }
    br_stream_decoder_unpack_to(receive->decoder, receive->spare);
    return 0;
}

// Header ------------------------------------------------------------------------------------------------------------------------------

static int br_receive_foreign(const struct br_receive *receive, const char *what, struct br_err *reterr)
{
    const char *holds = receive->info.holds;

    return br_err_set(reterr, BR_E_TARGET_FOREIGN, "the target is %s%s%s%s", what, holds[0] ? " (" : "", holds,
                      holds[0] ? ")" : "");
}

// What a full stream may do to what is there.
static int br_receive_plan_full(struct br_receive *receive, struct br_replica_begin *begin, struct br_err *reterr)
{
    const struct br_identity *there = &receive->info.identity;
    bool overwrite = receive->params->overwrite;

    begin->mode = BR_MODE_FIRST;
    if (there->state == BR_STATE_NONE) {
        begin->target_is_zero = receive->info.zero;
        begin->discard_version = !receive->info.empty;
        return receive->info.empty || overwrite ? 0 : br_receive_foreign(receive, "not empty", reterr);
    }
    if (!br_uuid_equal(&there->volume, &begin->header.volume) && !overwrite) {
        return br_receive_foreign(receive, "another volume's replica", reterr);
    }
    if (there->state == BR_STATE_INCOMPLETE && br_uuid_equal(&there->volume, &begin->header.volume)) {
        return 0;
    }
    begin->discard_version = true;
    begin->mode = receive->info.is_block ? BR_MODE_FIRST : BR_MODE_REPLACE;
    if (!overwrite && receive->info.is_block) {
        return br_err_set(reterr, BR_E_REFUSED,
                          "a full stream onto a device gives its version up before the new one is there; "
                          "accept that with --overwrite");
    }
    if (!overwrite && begin->header.generation.counter <= there->generation.counter) {
        return br_err_set(
            reterr, BR_E_REFUSED,
            "the stream is generation %llu of the volume, the replica is at %llu; --overwrite gives that up",
            (unsigned long long)begin->header.generation.counter, (unsigned long long)there->generation.counter);
    }
    return 0;
}

static int br_receive_plan_delta(const struct br_receive *receive, struct br_replica_begin *begin,
                                 struct br_err *reterr)
{
    const struct br_identity *there = &receive->info.identity;

    begin->mode = BR_MODE_DELTA;
    if (there->state == BR_STATE_NONE) {
        return br_err_set(reterr, BR_E_WRONG_PARENT, "the target is no replica yet, the stream a delta");
    }
    if (!br_uuid_equal(&there->volume, &begin->header.volume)) {
        return br_receive_foreign(receive, "another volume's replica", reterr);
    }
    return there->state == BR_STATE_INCOMPLETE
               ? br_err_set(reterr, BR_E_INCOMPLETE, "a delta needs the version that it starts from")
               : 0;
}

static int br_receive_header(struct br_receive *receive, const struct br_delta_header *header, struct br_err *reterr)
{
    struct br_replica_begin begin = {.header = *header, .keeps_nothing = true};
    char have[32], need[32];

    receive->result->header = *header;
    int rc = receive->far->info(receive->far_ctx, &receive->info, reterr);
    if (rc < 0) {
        return rc;
    }
    if (receive->info.identity.state == BR_STATE_COMPLETE &&
        br_uuid_equal(&receive->info.identity.generation.id, &header->generation.id)) {
        receive->result->root = receive->info.identity.root;
        receive->there = true;
        return 0;
    }
    if (receive->info.capacity_bytes < header->size_bytes) {
        br_size_text(receive->info.capacity_bytes, have, sizeof(have));
        br_size_text(header->size_bytes, need, sizeof(need));
        return br_err_set(reterr, BR_E_TARGET_SMALL, "the target holds %s, the stream's version has %s", have, need);
    }
    rc = header->full ? br_receive_plan_full(receive, &begin, reterr) : br_receive_plan_delta(receive, &begin, reterr);
    receive->result->mode = begin.mode;
    if (!rc) {
        rc = receive->far->begin(receive->far_ctx, &begin, receive->params->overwrite, reterr);
        receive->begun = !rc;
    }
    return rc;
}

// Records -----------------------------------------------------------------------------------------------------------------------------

static int br_receive_batch(struct br_receive *receive, const struct br_stream_record *record, struct br_err *reterr)
{
    struct br_batch batch = record->batch;
    struct br_receive_loan *loan = malloc(sizeof(*loan));

    if (!loan) {
        return br_err_set(reterr, BR_E_NOMEM, "a batch");
    }
    if (batch.data_bytes && batch.data != receive->spare) {
        memcpy(receive->spare, batch.data, batch.data_bytes);
    }
    batch.data = receive->spare;
    *loan = (struct br_receive_loan){.ring = receive->params->ring, .buffer = receive->spare};
    receive->spare = NULL;
    br_stream_decoder_unpack_to(receive->decoder, NULL);
    receive->result->bytes_data += batch.data_bytes;
    int rc = receive->far->batch(receive->far_ctx, &batch, br_receive_release, loan, reterr);
    return rc < 0 ? rc : br_receive_spare(receive, reterr);
}

static int br_receive_record(struct br_receive *receive, const struct br_stream_record *record, struct br_err *reterr)
{
    if (receive->there) {
        return 0;
    }
    switch (record->type) {
    case BR_STREAM_HEADER: return br_receive_header(receive, &record->header, reterr);
    case BR_STREAM_DATA: return br_receive_batch(receive, record, reterr);
    case BR_STREAM_RUN: return receive->far->run(receive->far_ctx, &record->run, reterr);
    case BR_STREAM_END: receive->end = record->end; break;
    case BR_STREAM_RESIZE: // the header told both sizes
    case BR_STREAM_KEPT:   // never in a stream
    case BR_STREAM_NOTE: break;
    }
    return 0;
}

static void br_receive_tell(struct br_receive *receive)
{
    const struct br_receive_params *params = receive->params;
    uint64_t now_ns = br_ring_now_ns(params->ring);

    if (params->progress && now_ns - receive->told_ns >= BR_RECEIVE_PROGRESS_NS) {
        receive->told_ns = now_ns;
        params->progress(params->progress_ctx, receive->result->stream_bytes,
                         receive->begun ? receive->far->durable(receive->far_ctx) : 0);
    }
}

static int br_receive_bytes(struct br_receive *receive, const uint8_t *bytes, size_t len, struct br_err *reterr)
{
    struct br_stream_record record;
    int rc;

    while ((rc = br_stream_decoder_next(receive->decoder, &bytes, &len, &record, reterr)) > 0) {
        rc = br_receive_record(receive, &record, reterr);
        if (rc < 0) {
            return rc;
        }
    }
    return rc;
}

// Reads to the end of the input, so that what follows END is noticed before anything is committed.
static int br_receive_stream(struct br_receive *receive, uint8_t *bytes, struct br_err *reterr)
{
    const struct br_receive_params *params = receive->params;

    for (;;) {
        if (params->cancel && *params->cancel) {
            return br_err_set(reterr, BR_E_CANCELLED, "reading the stream");
        }
        int got = params->read(params->read_ctx, bytes, BR_RECEIVE_READ_BYTES, reterr);
        if (got < 0) {
            return got;
        }
        if (!got) {
            return br_stream_decoder_finish(receive->decoder, reterr);
        }
        receive->result->stream_bytes += (unsigned)got;
        int rc = br_receive_bytes(receive, bytes, (size_t)got, reterr);
        if (rc < 0) {
            return rc;
        }
        // What the replica's writes have to say is heard between reads, which may block.
        br_ring_wait(params->ring, 0);
        br_receive_tell(receive);
    }
}

static uint64_t br_receive_recheck_bytes(const struct br_receive *receive)
{
    const struct br_receive_params *params = receive->params;

    if (receive->result->mode != BR_MODE_DELTA) {
        return 0;
    }
    if (params->recheck_bytes != BR_RECHECK_DEFAULT) {
        return params->recheck_bytes;
    }
    return br_recheck_budget(&receive->info.identity, receive->end.data_bytes + receive->end.zero_bytes,
                             br_ring_unix_ns(params->ring), params->recheck_period_ns);
}

static int br_receive_commit(struct br_receive *receive, struct br_err *reterr)
{
    struct br_receive_result *result = receive->result;
    struct br_endpoint_info info;
    int rc;

    if (receive->there) {
        result->replica = receive->info.identity.replica;
        return 0;
    }
    result->root = receive->end.root;
    result->zero_bytes = receive->end.zero_bytes;
    result->unreadable_blocks = receive->end.unreadable_blocks;
    rc = receive->far->commit(receive->far_ctx, &receive->end, br_receive_recheck_bytes(receive), &result->far, reterr);
    if (rc < 0) {
        return rc;
    }
    receive->begun = false;
    result->new_version = true;
    if (!receive->far->info(receive->far_ctx, &info, NULL)) {
        result->replica = info.identity.replica;
    }
    return 0;
}

int br_receive_run(const struct br_receive_params *params, struct br_receive_result *result, struct br_err *reterr)
{
    struct br_receive receive = {
        .params = params, .result = result, .far = params->endpoint.ops, .far_ctx = params->endpoint.ctx};
    uint64_t start_ns = br_ring_now_ns(params->ring);
    uint8_t *bytes = malloc(BR_RECEIVE_READ_BYTES);

    *result = (struct br_receive_result){0};
    int rc = bytes ? br_stream_decoder_open(&receive.decoder, reterr) : br_err_set(reterr, BR_E_NOMEM, "a stream");
    if (!rc) {
        rc = br_receive_spare(&receive, reterr);
    }
    if (!rc) {
        rc = br_receive_stream(&receive, bytes, reterr);
    }
    if (!rc) {
        rc = br_receive_commit(&receive, reterr);
    }
    if (rc < 0 && receive.begun) {
        receive.far->abort(receive.far_ctx);
    }
    if (receive.spare) {
        br_ring_buffer_put(params->ring, receive.spare);
    }
    br_stream_decoder_close(receive.decoder);
    free(bytes);
    result->duration_ns = br_ring_now_ns(params->ring) - start_ns;
    return rc;
}
