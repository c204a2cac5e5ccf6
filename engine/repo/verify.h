// SPDX-License-Identifier: Apache-2.0
//
// Is a repository what it should be? Two questions, answered apart:
//
//     complete   is everything there that the points need: every node and every chunk of every version, and what overlays lie over
//     intact     is what is there what was written: every frame of every pack opens (all data is read)
//
// Completeness reads nodes only, and of a point that shares nodes with the one before only those that differ, so that a thousand points
// cost little more than one. What a point's blocks really hold is proven by reading the point (engine/repo/reader.h).
#ifndef BR_REPO_VERIFY_H
#define BR_REPO_VERIFY_H

#include "engine/repo/frames.h"

struct br_repo_verify_progress {
    uint64_t done;  // points, then bytes of packs
    uint64_t total; // the same, 0 not known
    bool reading;   // packs, not points
};

struct br_repo_verify_params {
    struct br_repo *repo;
    const struct br_point *points; // those to check, of one volume one behind the other, oldest first
    size_t point_count;
    bool data;            // read packs
    uint64_t share_bytes; // with data: so much of them at least, from where the last such run stopped; 0 all
    bool points_only;     // of packs not even the length is looked at
    bool every;           // name all that a point lacks, not the first of it alone
    bool lasting;         // what is only in packs that a prune means to delete is missing (br_doomed_avoid())
    uint32_t
        without_epoch; // not 0: is all there without what is sealed in this epoch? Only completeness is looked at then
    /** incomplete - called for each point that lacks something; NULL none */
    void (*incomplete)(void *ctx, const struct br_point *point);
    /** damaged - called for each pack that is damaged, ascending, with its number in the index; NULL none */
    void (*damaged)(void *ctx, uint32_t pack);
    /** bad - called for each thing that is wrong, named in words; NULL none */
    void (*bad)(void *ctx, const char *what);
    void (*progress)(void *ctx, const struct br_repo_verify_progress *progress); // NULL none
    void *ctx;
    const volatile bool *cancel; // NULL never
};

struct br_repo_verify_result {
    uint64_t points;
    uint64_t points_incomplete; // lack at least one node or chunk
    uint64_t chunks;            // looked up
    uint64_t chunks_missing;
    uint64_t trees_lacking; // points of which a node is missing, so that nobody knows how many chunks below it are
    uint64_t packs;         // read
    uint64_t packs_damaged;
    uint64_t frames_damaged;
    uint64_t packs_proven; // that this host did not write, and of which each chunk was now found to be what its id says
    uint64_t bytes_read;   // of packs
    uint64_t bytes_stored; // in all packs, read or not
};

/**
 * br_repo_verify - @ret_result is filled in also when it fails
 * Returns 0 when all was looked at, whatever was found.    Errors: -BR_E_CANCELLED; -BR_E_NOMEM; of the index
 */
BR_MUST_CHECK int br_repo_verify(const struct br_repo_verify_params *params, struct br_repo_verify_result *ret_result,
                                 struct br_err *reterr);

#endif
