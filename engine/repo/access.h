// SPDX-License-Identifier: Apache-2.0
//
// Any byte of a recovery point, at once: for whoever serves it as a disk, or looks for a file in it.
//
//     range -> leaves -> slots (a block each: wait for frames -> put together and hashed on workers -> kept while there is room) -> caller's memory
//
// What a caller gets was proven against its leaf, whichever way it came (G6); what is missing, damaged, or was unreadable when the point was made
// is an error, and never zeros. Several reads go on beside one another, each by steps; the steps, and everything else of an access, are the
// ring's: one thread at a time. Threads that share one take turns under a lock of theirs (tools/nbdkit/plugin.c).
//
// Memory: ACCESS_SLOTS blocks and ACCESS_FRAMES frames, some 60 MiB, whatever the point's size and the number of reads.
#ifndef BR_REPO_ACCESS_H
#define BR_REPO_ACCESS_H

#include "engine/repo/version.h"

struct br_access;
struct br_access_slot;

/**
 * br_access_open - of @point
 * @repo  the caller's, must outlive it; its ring needs workers, and no buffers
 * Owner: br_access_close(); @point is copied    Errors: -BR_E_NOMEM; -BR_E_CORRUPT
 */
BR_MUST_CHECK int br_access_open(struct br_repo *repo, const struct br_point *point, struct br_access **ret_access,
                                 struct br_err *reterr);
/** br_access_close - waits for what is under way; every read of it has ended; NULL is fine */
void br_access_close(struct br_access *access);
/** br_access_point - what is read; valid while it is open */
const struct br_point *br_access_point(const struct br_access *access);

#define BR_ACCESS_WINDOW 32u // blocks that one read asks for at once

// A read, the caller's, at the same place from begin to end.
struct br_access_read {
    // the access's own
    uint8_t *to;
    uint64_t at_bytes; // everything before is in the caller's memory
    uint64_t end_bytes;
    uint64_t next_block; // that is not asked for yet
    bool ahead;          // it goes on where another one ended: more is likely to follow
    unsigned held;
    struct br_access_slot *window[BR_ACCESS_WINDOW]; // of the block at_bytes and those behind it; NULL: zeros
};

/** br_access_begin - @len bytes from @offset_bytes into @to; -BR_E_USAGE not within the point, and there is nothing to end */
BR_MUST_CHECK int br_access_begin(struct br_access *access, struct br_access_read *read, void *to, size_t len,
                                  uint64_t offset_bytes, struct br_err *reterr);
/**
 * br_access_step - go on with a read as far as it goes now
 * Returns 1 all is there; 0 not yet: br_ring_wait(), or another read's step, and again.
 * Errors: -BR_E_NOT_FOUND, -BR_E_CORRUPT a block that is missing or damaged, -BR_E_GAPS one that the source could not read, with its offset; what is
 * at @to then counts for nothing
 */
BR_MUST_CHECK int br_access_step(struct br_access *access, struct br_access_read *read, struct br_err *reterr);
/** br_access_end - after it, and at any time before: the read is over */
void br_access_end(struct br_access *access, struct br_access_read *read);
/** br_access_read - begin, steps and end at once; errors as theirs */
BR_MUST_CHECK int br_access_read(struct br_access *access, void *to, size_t len, uint64_t offset_bytes,
                                 struct br_err *reterr);

/**
 * br_access_extent - what begins at @offset_bytes: known zeros, or anything else
 * @ret_end_bytes  where it ends, or as far as was looked: some 64 MiB of data at most; > @offset_bytes, <= size
 * What can't be read is no zeros. Cost: tree nodes alone.
 */
BR_MUST_CHECK int br_access_extent(struct br_access *access, uint64_t offset_bytes, bool *ret_zero,
                                   uint64_t *ret_end_bytes, struct br_err *reterr);

#endif
