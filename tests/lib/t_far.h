// SPDX-License-Identifier: Apache-2.0
//
// A replica in memory behind the endpoint vtable: no disk, no tree, but it asks of its caller what a real one asks and keeps the bytes, so
// that a conversation can be tested for what arrives. A delta shows only after commit.
#ifndef T_FAR_H
#define T_FAR_H

#include "engine/sync/endpoint.h"

struct t_far {
    struct br_identity identity;
    uint64_t capacity_bytes;
    bool is_block;
    bool empty;
    uint8_t *bytes; // of the version
    uint64_t size_bytes;
    uint8_t *staged; // of the delta under way, NULL none
    struct br_replica_begin begun;
    struct br_delta_end counted;
    uint64_t next_block;

    // What it says that it holds of a cut delta; the content of such a block is the first byte of its leaf, all over.
    struct br_held_block holds[8];
    unsigned holds_count;

    // What the test wants
    unsigned fail_record; // this batch or run (1: the first) fails with NO_SPACE
    bool fail_commit;
    bool hold_batches; // keep data until commit, abort or t_far_let_go()
    uint64_t bad_blocks;

    // What the test asks
    unsigned records, commits, aborts, opens, closes, rechecks, kept_blocks;
    struct {
        br_release_fn *release;
        void *ctx;
        const uint8_t *data;
        size_t len;
        uint32_t first_word;
    } held[64];
    unsigned held_count;
};

/** t_far_init - an empty file that is no replica yet */
void t_far_init(struct t_far *replica);
void t_far_free(struct t_far *replica);
/** t_far_endpoint - its vtable; the replica outlives closing it */
struct br_endpoint t_far_endpoint(struct t_far *replica);
/** t_far_let_go - release what is held, after checking that its bytes were left alone */
void t_far_let_go(struct t_far *replica);

#endif
