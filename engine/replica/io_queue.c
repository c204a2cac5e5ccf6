// SPDX-License-Identifier: Apache-2.0
#include "engine/replica/io_queue.h"

#include <assert.h>

struct br_io_queue_op {
    struct br_io io;
    struct br_io_queue *queue;
    br_io_queue_done_fn *done;
    void *ctx;
    struct br_io_queue_op *next_free;
};

void br_ring_step(struct br_ring *ring)
{
    while (br_ring_wait(ring, UINT64_MAX) == 0) {
        assert(br_ring_in_flight(ring) > 0);
    }
}

int br_io_queue_open(struct br_io_queue *queue, struct br_ring *ring, unsigned limit, const char *what,
                     struct br_err *reterr)
{
    assert(limit > 0);
    *queue = (struct br_io_queue){.ring = ring, .what = what, .limit = limit};
    queue->ops = calloc(limit, sizeof(*queue->ops));
    if (!queue->ops) {
        return br_err_set(reterr, BR_E_NOMEM, "%s: queue of %u operations", what, limit);
    }
    for (unsigned i = 0; i < limit; i++) {
        queue->ops[i].queue = queue;
        queue->ops[i].next_free = queue->free_ops;
        queue->free_ops = &queue->ops[i];
    }
    return 0;
}

static void br_io_queue_wait_all(struct br_io_queue *queue)
{
    while (queue->in_flight > 0) {
        br_ring_step(queue->ring);
    }
}

void br_io_queue_close(struct br_io_queue *queue)
{
    br_io_queue_wait_all(queue);
    free(queue->ops);
    *queue = (struct br_io_queue){0};
}

static const char *br_io_op_verb(enum br_io_op op)
{
    switch (op) {
    case BR_IO_READ: return "reading";
    case BR_IO_WRITE: return "writing";
    case BR_IO_SYNC: return "making durable";
    case BR_IO_ZERO: return "zeroing";
    }
    return "using";
}

void br_io_queue_fail(struct br_io_queue *queue, const struct br_err *err)
{
    if (!queue->failed) {
        queue->failed = true;
        queue->err = *err;
    }
}

static void br_io_queue_completed(struct br_io *io)
{
    struct br_io_queue_op *op = io->ctx;
    struct br_io_queue *queue = op->queue;
    assert(queue->in_flight > 0);
    if (io->result < 0) {
        struct br_err err = {0};
        if (io->os_errno > 0) {
            br_err_os(&err, io->os_errno, "%s %s", br_io_op_verb(io->op), queue->what);
        } else {
            br_err_set(&err, -io->result, "%s %s", br_io_op_verb(io->op), queue->what);
        }
        err.code = -io->result;
        err.os_errno = io->os_errno;
        err.has_offset = io->op != BR_IO_SYNC;
        err.offset_bytes = io->offset_bytes;
        br_io_queue_fail(queue, &err);
    }
    br_io_queue_done_fn *done = op->done;
    if (done) {
        done(op->ctx, io);
    }
    queue->in_flight--;
    op->next_free = queue->free_ops;
    queue->free_ops = op;
}

int br_io_queue_submit(struct br_io_queue *queue, enum br_io_op op, struct br_file *file, void *buf, uint64_t len_bytes,
                       uint64_t offset_bytes, br_io_queue_done_fn *done, void *ctx, struct br_err *reterr)
{
    while (!queue->failed && !queue->free_ops) {
        br_ring_step(queue->ring);
    }
    if (queue->failed) {
        return br_io_queue_error(queue, reterr);
    }
    struct br_io_queue_op *taken = queue->free_ops;
    queue->free_ops = taken->next_free;
    taken->done = done;
    taken->ctx = ctx;
    taken->io = (struct br_io){
        .op = op,
        .file = file,
        .buf = buf,
        .len_bytes = op == BR_IO_READ || op == BR_IO_WRITE ? (size_t)len_bytes : 0,
        .zero_bytes = op == BR_IO_ZERO ? len_bytes : 0,
        .offset_bytes = offset_bytes,
        .done = br_io_queue_completed,
        .ctx = taken,
    };
    queue->in_flight++;
    br_ring_submit(queue->ring, &taken->io);
    return 0;
}

int br_io_queue_error(const struct br_io_queue *queue, struct br_err *reterr)
{
    if (!queue->failed) {
        return 0;
    }
    if (reterr) {
        *reterr = queue->err;
    }
    return -queue->err.code;
}

int br_io_queue_drain(struct br_io_queue *queue, struct br_err *reterr)
{
    br_io_queue_wait_all(queue);
    return br_io_queue_error(queue, reterr);
}
