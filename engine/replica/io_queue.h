// SPDX-License-Identifier: Apache-2.0
//
// A bounded number of operations under way on one object, and the first error among them with its offset. All bulk I/O of a replica goes
// through such queues: what waits, waits here, so memory is bounded by the limit.
#ifndef BR_REPLICA_IO_QUEUE_H
#define BR_REPLICA_IO_QUEUE_H

#include "engine/ring/ring.h"

/** br_io_queue_done_fn - called once per operation that was taken, inside br_ring_wait(), whether it worked (io->result) or not */
typedef void br_io_queue_done_fn(void *ctx, const struct br_io *io);

struct br_io_queue_op;

struct br_io_queue {
    struct br_ring *ring;
    const char *what; // how messages name the object; the caller's
    unsigned in_flight;
    unsigned limit;
    struct br_io_queue_op *ops;
    struct br_io_queue_op *free_ops;
    bool failed;
    struct br_err err; // of the first operation that failed
};

/** br_io_queue_open - room for @limit operations; nothing else is allocated later */
BR_MUST_CHECK int br_io_queue_open(struct br_io_queue *queue, struct br_ring *ring, unsigned limit, const char *what,
                                   struct br_err *reterr);
/** br_io_queue_close - waits for what is under way; a zeroed struct is fine */
void br_io_queue_close(struct br_io_queue *queue);
/**
 * br_io_queue_submit - hand over one operation, waiting for room
 * @len_bytes  of a ZERO the range, which may be larger than memory; of a SYNC unused
 * @done       may be NULL
 * Once an operation failed, no further one is taken: the first error is returned and @done is not called.
 */
BR_MUST_CHECK int br_io_queue_submit(struct br_io_queue *queue, enum br_io_op op, struct br_file *file, void *buf,
                                     uint64_t len_bytes, uint64_t offset_bytes, br_io_queue_done_fn *done, void *ctx,
                                     struct br_err *reterr);
/** br_io_queue_drain - waits until nothing is under way, tells the first error */
BR_MUST_CHECK int br_io_queue_drain(struct br_io_queue *queue, struct br_err *reterr);
/** br_io_queue_error - the first error so far, without waiting */
BR_MUST_CHECK int br_io_queue_error(const struct br_io_queue *queue, struct br_err *reterr);
/** br_io_queue_fail - record an error that a done function found, unless there is one already */
void br_io_queue_fail(struct br_io_queue *queue, const struct br_err *err);

/** br_ring_step - runs callbacks until at least one ran; something must be under way (asserted) */
void br_ring_step(struct br_ring *ring);

#endif
