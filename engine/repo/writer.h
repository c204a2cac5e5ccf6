// SPDX-License-Identifier: Apache-2.0
//
// Writing chunks into packs. A chunk that the repository has already, in a pack that this host wrote or proved and that is not doomed, is not
// written again.
//
//     chunk -> frame being filled (1 MiB raw) -> worker: zstd, seal -> pack, in the order of the frames -> store
//
// Frames are sealed beside one another and beside whatever fills the next one. A pack ends when it has BR_PACK_TARGET_BYTES. What is in packs that
// are not durable yet is remembered here; when some have gathered, or at br_writer_settle(), the store settles and the index takes them in.
//
// A writer that is closed before it settled leaves packs that no point names: they cost space until a prune, and the next writer finds what is in
// them.
#ifndef BR_REPO_WRITER_H
#define BR_REPO_WRITER_H

#include "engine/repo/repo.h"

#define BR_PACK_TARGET_BYTES (32u * 1024u * 1024u)
#define BR_REPO_ZSTD_LEVEL   3

struct br_writer;

// What a repair stores: what is in no pack but these, which are damaged; all others count, whoever wrote them.
struct br_repair {
    const uint32_t *packs; // numbers in the index, ascending
    size_t count;
};

struct br_writer_params {
    struct br_repo *repo;
    struct br_uuid run;             // written into every pack
    int level;                      // of zstd; 0 none
    uint64_t target_bytes;          // of a pack; 0: BR_PACK_TARGET_BYTES
    bool anew;                      // store all that is put, whatever other packs have
    const struct br_repair *repair; // NULL no repair
};

struct br_writer_counts {
    uint64_t chunks;        // put
    uint64_t chunks_stored; // of them not there before
    uint64_t raw_bytes;     // of these
    uint64_t stored_bytes;  // what the packs came to
    uint64_t durable_bytes; // raw, in packs that are durable
    uint64_t packs;
};

/** br_writer_open - nothing is written before there is a chunk */
BR_MUST_CHECK int br_writer_open(const struct br_writer_params *params, struct br_writer **ret_writer,
                                 struct br_err *reterr);
/** br_writer_close - waits for what is under way; a pack that is not whole is dropped; NULL is fine */
void br_writer_close(struct br_writer *writer);
/**
 * br_writer_has - is a chunk of this id there, so that it need not be made? A look-up, as br_writer_put() does it itself
 * Returns 1 or 0
 */
BR_MUST_CHECK int br_writer_has(struct br_writer *writer, const struct br_chunk_id *id, struct br_err *reterr);
/**
 * br_writer_put - one chunk, copied
 * @chunk  kind, length, id; of an overlay its base, which must be put before, or be there
 * Returns 1 when it is stored, 0 when it was there. May run the ring.
 * Errors: also those of what was put before; after the first one only close follows
 */
BR_MUST_CHECK int br_writer_put(struct br_writer *writer, const struct br_chunk_entry *chunk, const void *bytes,
                                struct br_err *reterr);
/** br_writer_settle - all that was put is durable, and in the index, when it returns 0 */
BR_MUST_CHECK int br_writer_settle(struct br_writer *writer, struct br_err *reterr);
/** br_writer_counts_of - so far; stored_bytes are whole after settle */
const struct br_writer_counts *br_writer_counts_of(const struct br_writer *writer);
/**
 * br_writer_find - what is known of a chunk that was put, or is in the index
 * Returns 1 with kind, length and base, and whether this host wrote or proved it, an overlay with its base; 0 not known
 */
BR_MUST_CHECK int br_writer_find(struct br_writer *writer, const struct br_chunk_id *id,
                                 struct br_chunk_entry *ret_chunk, bool *ret_proven, struct br_err *reterr);

#endif
