// SPDX-License-Identifier: Apache-2.0
//
// What a delta says, as data: the vocabulary that the pipeline, the stream codec, the session and the replica share.
//
//     header   from which version to which, of which volume; size, consistency
//     batch    up to 16 blocks: for each its new leaf, which of its pages carry data, which became zeros
//     run      a run of whole blocks that became ZERO, discarded or UNREADABLE
//     keep     blocks that become what the receiver holds already, staged by a run that was cut: which, and their leaves, no data
//     end      the root that must result; nothing becomes a version without it
//
// Records come in ascending block order, each block at most once: a decoder refuses anything else, so that a replayed or reordered record
// can't pass. A page that is neither in `pages` nor in `zeros` keeps the parent's content.
#ifndef BR_CODEC_DELTA_H
#define BR_CODEC_DELTA_H

#include "engine/base/uuid.h"
#include "engine/map/tree.h"

#define BR_BATCH_BLOCKS_MAX 16u
#define BR_BATCH_DATA_MAX   (1024u * 1024u)
#define BR_LABEL_BYTES      256u

// A version of a volume in the chain of versions that blkrep made. Counter alone is for people; id is what is compared.
struct br_generation {
    uint64_t counter;
    struct br_uuid id;        // 128 random bits
    struct br_uuid parent_id; // nil for a first copy
};

enum br_consistency {
    BR_CONSISTENCY_NONE = 0,  // the source could change while it was read; for ever
    BR_CONSISTENCY_CRASH = 1, // one moment, as after a power cut
    BR_CONSISTENCY_CLEAN = 2, // nothing could write: unmounted, or frozen through the file system
};

struct br_delta_header {
    struct br_uuid stream_id;
    struct br_uuid volume;           // uuid of the volume
    bool full;                       // no parent: every non-zero block is in it, what is absent is zeros
    struct br_generation generation; // of the result; parent_id is the parent's id unless full
    struct br_hash parent_root;      // all zero bytes when full
    uint64_t parent_size_bytes;      // 0 when full
    uint64_t size_bytes;             // of the result
    uint32_t sector_bytes;           // of the source
    uint8_t hash_id;                 // BR_HASH_SHA256
    uint8_t consistency;             // enum br_consistency
    uint64_t taken_unix_ns;          // for people, never compared
    char label[BR_LABEL_BYTES];      // the source's name as the user gave it, for people
};

struct br_batch_block {
    uint64_t index;
    struct br_hash leaf;
    uint16_t pages; // bit p: page p's new content is in data
    uint16_t zeros; // bit p: page p became zeros; disjoint from pages
};

struct br_batch {
    unsigned block_count; // 1..16, ascending index
    struct br_batch_block blocks[BR_BATCH_BLOCKS_MAX];
    const uint8_t *data; // the pages' contents, ascending; the volume's last page may be short
    size_t data_bytes;   // exactly what the masks call for, at most 1 MiB
};

enum br_run_kind {
    BR_RUN_ZERO = 1,       // reads as zeros
    BR_RUN_DISCARD = 2,    // reads as zeros, and the source had it deallocated: free the space where that is possible
    BR_RUN_UNREADABLE = 3, // the source could not be read there: content unknown, named in the version for ever
};

struct br_run {
    enum br_run_kind kind;
    uint64_t first; // block
    uint64_t count; // blocks, > 0
};

// A block whose new content the receiver holds, and the leaf of that content.
struct br_held_block {
    uint64_t index;
    struct br_hash leaf;
};

// No record of its own in a stream, and counted by nobody: whether it is right shows in the root.
struct br_keep {
    unsigned count; // 1..16, ascending index
    struct br_held_block blocks[BR_BATCH_BLOCKS_MAX];
};

struct br_delta_end {
    struct br_hash root; // of the result
    uint64_t data_bytes; // sum over all batches
    uint64_t zero_bytes; // made zero by runs and page masks
    uint64_t unreadable_blocks;
    uint64_t records; // batches and runs before it
};

/** br_page_bytes - length of page @page of block @index in a volume of @geometry; 0 behind its end */
uint32_t br_page_bytes(const struct br_tree_geometry *geometry, uint64_t index, unsigned page);
/** br_block_pages - mask of the pages that block @index has (0xffff but for the tail) */
uint16_t br_block_pages(const struct br_tree_geometry *geometry, uint64_t index);
/** br_block_data_bytes - how much of its batch's data belongs to @block */
size_t br_block_data_bytes(const struct br_batch_block *block, const struct br_tree_geometry *geometry);
/**
 * br_batch_check - masks within the block, disjoint, blocks ascending and inside the volume, data_bytes exactly as the masks call for
 * Errors: -BR_E_CORRUPT with what is wrong
 */
BR_MUST_CHECK int br_batch_check(const struct br_batch *batch, const struct br_tree_geometry *geometry,
                                 struct br_err *reterr);

/** br_keep_check - blocks ascending and inside the volume, leaves that are no special ones; -BR_E_CORRUPT with what is wrong */
BR_MUST_CHECK int br_keep_check(const struct br_keep *keep, const struct br_tree_geometry *geometry,
                                struct br_err *reterr);
/** br_run_check - kind known, count > 0, inside the volume; -BR_E_CORRUPT with what is wrong */
BR_MUST_CHECK int br_run_check(const struct br_run *run, const struct br_tree_geometry *geometry,
                               struct br_err *reterr);
/**
 * br_delta_header_check - every field in range, and full or a parent, not both
 * Errors: -BR_E_CORRUPT names the field; -BR_E_VERSION a hash id that this program doesn't know
 */
BR_MUST_CHECK int br_delta_header_check(const struct br_delta_header *header, struct br_err *reterr);
/**
 * br_delta_count_batch, br_delta_count_run - add one checked record to the counters of @end; root is left alone
 * Source, encoder, decoder and replica all count through these, so that equal deltas have equal ends.
 */
void br_delta_count_batch(struct br_delta_end *end, const struct br_batch *batch,
                          const struct br_tree_geometry *geometry);
void br_delta_count_run(struct br_delta_end *end, const struct br_run *run, const struct br_tree_geometry *geometry);
/** br_delta_counts_equal - all counters agree; roots are not compared */
bool br_delta_counts_equal(const struct br_delta_end *a, const struct br_delta_end *b);

#endif
