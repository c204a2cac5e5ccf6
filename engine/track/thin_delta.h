// SPDX-License-Identifier: Apache-2.0
//
// The output of thin_delta (thin-provisioning-tools) as extents: what differs between two thin volumes of a pool, of which one was a snapshot of
// the other. Running it, with the pool's metadata snapshot reserved, is the caller's. Format, of 0.9 (thin-provisioning/thin_delta.cc) and 1.x
// (src/thin/delta_visitor.rs), without --verbose:
//
//     <superblock uuid="" time="3" transaction="5" ... data_block_size="128" nr_data_blocks="512">
//       <diff left="1" right="2">
//         <same begin="0" length="17"/>  <different .../>  <left_only .../>  <right_only .../>     in blocks, ascending
//       </diff>
//     </superblock>
//
// Parsed strictly: anything else is damage, also a range that is missing. For that the blocks told are counted against what the kernel says is
// mapped in both volumes: the tool has had versions that dropped ranges (before 0.9 its loop ended when either list of mappings was
// fetched, not when it was compared; a fix of ranges in 1.0.6), and nothing in the output would show it.
//
// Bounded: 512 bytes for a tag, and the extent map.
#ifndef BR_TRACK_THIN_DELTA_H
#define BR_TRACK_THIN_DELTA_H

#include "engine/map/extent_map.h"

struct br_thin_delta;

struct br_thin_delta_params {
    uint64_t left_id;           // --thin1, the older one
    uint64_t right_id;          // --thin2
    uint64_t block_bytes;       // of the pool, by its table
    uint64_t left_mapped_bytes; // by `dmsetup status` of the volumes ("<mapped sectors> ..."), while neither is written
    uint64_t right_mapped_bytes;
    uint64_t volume_bytes; // what lies behind is not told
};

/** br_thin_delta_open - @map gets what differs: everything but "same"; must outlive what is opened */
BR_MUST_CHECK int br_thin_delta_open(const struct br_thin_delta_params *params, struct br_extent_map *map,
                                     struct br_thin_delta **ret_delta, struct br_err *reterr);
/**
 * br_thin_delta_bytes - the output's next bytes, in pieces of any size
 * Errors: -BR_E_CORRUPT not this format, other volumes or block size, ranges that don't ascend; at the offset in the output
 */
BR_MUST_CHECK int br_thin_delta_bytes(struct br_thin_delta *delta, const void *bytes, size_t len,
                                      struct br_err *reterr);
/**
 * br_thin_delta_finish - the output ended, and thin_delta's exit status was 0
 * Errors: -BR_E_TRUNCATED it should not have; -BR_E_CORRUPT the ranges are not all that is mapped. Without 0 @map is worth nothing.
 */
BR_MUST_CHECK int br_thin_delta_finish(struct br_thin_delta *delta, struct br_err *reterr);
/** br_thin_delta_close - NULL is fine */
void br_thin_delta_close(struct br_thin_delta *delta);

#endif
