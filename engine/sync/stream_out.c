// SPDX-License-Identifier: Apache-2.0
#include "engine/sync/stream_out.h"

static int write_frame(struct br_stream_out *out, const struct br_stream_frame *frame, struct br_err *reterr)
{
    int rc = out->write(out->write_ctx, frame->head, frame->head_len, reterr);

    if (!rc && frame->body_len) {
        rc = out->write(out->write_ctx, frame->body, frame->body_len, reterr);
    }
    return rc;
}

static void pack(struct br_job *job)
{
    struct br_stream_item *item = job->ctx;

    item->result = br_stream_pack_batch(&item->out->geometry, &item->batch, item->out->level, &item->frame, &item->err);
}

static void packed(struct br_job *job)
{
    struct br_stream_item *item = job->ctx;

    item->packed = true;
}

static int emit(struct br_stream_out *out, struct br_stream_item *item, struct br_err *reterr)
{
    int rc;

    if (item->is_run) {
        rc = br_stream_run(&out->encoder, &item->run, &item->frame, reterr);
    } else if (item->result < 0) {
        rc = item->result;
        if (reterr) {
            *reterr = item->err;
        }
    } else {
        rc = br_stream_seal(&out->encoder, &item->frame, reterr);
    }
    return rc < 0 ? rc : write_frame(out, &item->frame, reterr);
}

// Deals with the head, waiting until it is packed.
static int deal_with_head(struct br_stream_out *out, bool drop, struct br_err *reterr)
{
    struct br_stream_item *item = &out->items[out->head];
    int rc = 0;

    while (!item->packed) {
        br_ring_wait(out->ring, UINT64_MAX);
    }
    if (!drop) {
        rc = emit(out, item, reterr);
    }
    if (!item->is_run) {
        item->release(item->release_ctx);
    }
    out->head = (out->head + 1) % BR_STREAM_OUT_FRAMES;
    out->used--;
    return rc;
}

// Writes what is packed, and as much more as makes room for one item.
static int make_room(struct br_stream_out *out, struct br_err *reterr)
{
    while (out->used && (out->used == BR_STREAM_OUT_FRAMES || out->items[out->head].packed)) {
        int rc = deal_with_head(out, false, reterr);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

static struct br_stream_item *tail(struct br_stream_out *out)
{
    struct br_stream_item *item = &out->items[(out->head + out->used++) % BR_STREAM_OUT_FRAMES];

    item->out = out;
    item->is_run = false;
    item->packed = false;
    return item;
}

static int sink_batch(void *ctx, const struct br_batch *batch, void (*release)(void *), void *release_ctx,
                      struct br_err *reterr)
{
    struct br_stream_out *out = ctx;
    int rc = make_room(out, reterr);

    if (rc < 0) {
        release(release_ctx);
        return rc;
    }
    struct br_stream_item *item = tail(out);
    item->batch = *batch;
    item->release = release;
    item->release_ctx = release_ctx;
    item->job = (struct br_job){.run = pack, .done = packed, .ctx = item};
    br_ring_job(out->ring, &item->job);
    return 0;
}

static int sink_run(void *ctx, const struct br_run *run, struct br_err *reterr)
{
    struct br_stream_out *out = ctx;
    int rc = make_room(out, reterr);

    if (rc < 0) {
        return rc;
    }
    struct br_stream_item *item = tail(out);
    item->is_run = true;
    item->packed = true;
    item->run = *run;
    return 0;
}

int br_stream_out_start(struct br_stream_out *out, const struct br_delta_header *header, struct br_err *reterr)
{
    struct br_stream_frame frame = {0};
    int rc = br_stream_start(&out->encoder, header, &frame, reterr);

    rc = rc < 0 ? rc : write_frame(out, &frame, reterr);
    br_stream_frame_free(&frame);
    return rc;
}

struct br_sink br_stream_out_sink(struct br_stream_out *out)
{
    return (struct br_sink){.batch = sink_batch, .run = sink_run, .ctx = out};
}

int br_stream_out_drain(struct br_stream_out *out, bool drop, struct br_err *reterr)
{
    int rc = 0;

    while (out->used) {
        bool dropped = drop || rc < 0;
        int head = deal_with_head(out, dropped, dropped ? NULL : reterr);

        rc = rc < 0 ? rc : head;
    }
    return rc;
}

int br_stream_out_end(struct br_stream_out *out, const struct br_hash *root, struct br_err *reterr)
{
    struct br_stream_frame frame = {0};
    int rc = br_stream_end(&out->encoder, root, &frame, reterr);

    rc = rc < 0 ? rc : write_frame(out, &frame, reterr);
    br_stream_frame_free(&frame);
    return rc;
}

void br_stream_out_free(struct br_stream_out *out)
{
    for (unsigned i = 0; i < BR_STREAM_OUT_FRAMES; i++) {
        br_stream_frame_free(&out->items[i].frame);
    }
}
