// SPDX-License-Identifier: Apache-2.0
//
// The identity record: what blkrep knows about one replica (or, on the source's side, about one consumer's last version). It lies in
// NAME.blkrep/identity as two slots of 4096 bytes; the newer valid one counts, the other is overwritten next, so that a torn write loses
// nothing. A slot is: magic, version, sequence, payload length, payload, zeros, XXH3-128 of all before it.
//
// State says what the bytes of the replica are:
//
//     NONE         nothing was copied yet
//     INCOMPLETE   a first copy is under way: blocks in [window_start, window_end) are unknown, the tree tells the rest (UNKNOWN leaf =
//                  not there yet). Never a version.
//     COMPLETE     exactly the version named by generation and root
//     APPLYING     the staged delta `stage` is committed and is being written over the parent: bytes in transition; finish completes it
//     REPLACING    a whole new file lies beside, complete and durable; only the rename is open
#ifndef BR_CODEC_IDENTITY_H
#define BR_CODEC_IDENTITY_H

#include "engine/codec/delta.h"

#define BR_IDENTITY_SLOT_BYTES  4096u
#define BR_IDENTITY_SAMPLES_MAX 16u

enum br_replica_state {
    BR_STATE_NONE = 0,
    BR_STATE_INCOMPLETE = 1,
    BR_STATE_COMPLETE = 2,
    BR_STATE_APPLYING = 3,
    BR_STATE_REPLACING = 4,
};

// What would move if something else wrote to the replica. Taken when a version is complete, compared before the next delta (G4).
struct br_evidence {
    bool valid;
    uint64_t size_bytes;
    uint64_t device;
    uint64_t inode;
    uint64_t mtime_ns;
    uint64_t ctime_ns;
};

struct br_identity {
    uint64_t sequence; // of the slot, set by the codec's caller
    enum br_replica_state state;
    struct br_uuid volume;           // whose content it is
    struct br_uuid replica;          // this replica's own id
    struct br_generation generation; // of the content (of the result while APPLYING or INCOMPLETE)
    struct br_generation previous;   // the parent while APPLYING; the generation before otherwise, for people
    struct br_hash root;             // of the result version; while INCOMPLETE all zero bytes
    struct br_tree tree;             // geometry, top hash and ref in the tree file; while APPLYING the result's
    struct br_tree previous_tree;    // while APPLYING the parent's
    uint64_t tree_file;              // number of the tree file: tree.N
    uint64_t tree_bytes;             // its length that belongs to this record; what is behind is garbage of a crash
    uint32_t sector_bytes;
    uint8_t consistency;
    uint64_t window_start_bytes; // INCOMPLETE only
    uint64_t window_end_bytes;
    uint64_t stage_bytes;        // APPLYING only: length of the staged stream
    struct br_uuid stage_id;     // its stream id
    struct br_evidence evidence; // COMPLETE only
    uint64_t taken_unix_ns;      // of the source's view
    uint64_t finished_unix_ns;   // when it became complete here
    uint64_t
        full_proof_unix_ns; // when every block was last proven: a first copy, a full verify, or the end of a recheck round
    uint64_t recheck_next_block;    // where the rolling recheck goes on
    uint64_t recheck_round_unix_ns; // when this round began
    uint64_t unreadable_blocks;
    char label[BR_LABEL_BYTES]; // the source's name, for people
};

/** br_identity_encode - one slot of BR_IDENTITY_SLOT_BYTES; can't fail: the struct always fits (static assert in identity.c) */
void br_identity_encode(const struct br_identity *identity, uint8_t slot[BR_IDENTITY_SLOT_BYTES]);
/**
 * br_identity_decode - one slot
 * Every field is range checked; unknown state, hash id or version is refused.
 * Errors: -BR_E_CORRUPT, -BR_E_VERSION, -BR_E_NOT_FOUND (all zeros: never written)
 */
BR_MUST_CHECK int br_identity_decode(const uint8_t slot[BR_IDENTITY_SLOT_BYTES], struct br_identity *ret_identity,
                                     struct br_err *reterr);
/** br_replica_state_name - "complete", ... for people and JSON */
const char *br_replica_state_name(enum br_replica_state state);
/** br_consistency_name - "none", "crash", "clean" */
const char *br_consistency_name(uint8_t consistency);

#endif
