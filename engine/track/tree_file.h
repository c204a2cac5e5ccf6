// SPDX-License-Identifier: Apache-2.0
//
// The nodes of a replica's version trees in one append-only file, and the secret that its page hashes were made with: hashes and secret
// live and die together. A replica has tree.N, a source one per replica (to-REPLICA.tree.N); N grows with every compaction.
//
//     0    8  magic "blkrtree"                              record, 16-aligned:   0  4  length of the node
//     8    4  version, 1                                                          4  4  check: low half of XXH3-64, seed: the file's
//     12   4  length of this header, 512                                                checksum, of offset (8), length (4)
//     16  16  uuid of the replica                                                 8     the encoded node (engine/map/tree.h)
//     32   8  N                                                                         zeros up to a multiple of 16
//     40 192  page secret
//    232      zeros
//    504   8  the file's checksum: XXH3-64 (seed 0) of the 504 bytes before
//    512      records
//
// A ref is offset / 16 << 12 | record length / 16, so that the live part of the file can be added up without reading level 1 nodes.
// A record's check proves that the record is where it was written and of this file; its node's own checksum and the hash that links it
// prove the rest. How much of the file belongs to a version is not in the file but in the identity record (tree_bytes): what lies behind
// is garbage of a crash and is cut off.
//
// Appending never waits for the disk unless several MiB are on their way: writes are submitted as buffers of 1 MiB fill up, and nodes are
// read from them meanwhile. Not thread safe: it belongs to its ring's thread. Fetching may run the ring.
#ifndef BR_TRACK_TREE_FILE_H
#define BR_TRACK_TREE_FILE_H

#include "engine/base/uuid.h"
#include "engine/map/tree.h"
#include "engine/ring/ring.h"

#define BR_TREE_FILE_HEADER_BYTES 512u
#define BR_TREE_FILE_CACHE_BYTES  (4u * 1024u * 1024u) // nodes kept in memory

struct br_tree_file;

// Which file.
struct br_tree_file_name {
    struct br_dir *dir;     // the caller's, must outlive the file
    const char *stem;       // "tree": the file is called tree.N
    uint64_t number;        // N
    struct br_uuid replica; // whose versions; checked against the header
};

/**
 * br_tree_file_create - an empty file; one of that name, left by a crash, is overwritten
 * @ring    of the dir
 * @secret  BR_PAGE_SECRET_BYTES, copied; NULL: drawn at random
 * Durable: no, until br_tree_file_sync() returns 0
 */
BR_MUST_CHECK int br_tree_file_create(struct br_ring *ring, const struct br_tree_file_name *name, const uint8_t *secret,
                                      struct br_tree_file **ret_file, struct br_err *reterr);
/**
 * br_tree_file_open - the file, up to @tree_bytes
 * Not read only: what lies behind is cut off, and N - 1 and N + 1, leftovers of a compaction that a crash cut short, are removed.
 * Errors: -BR_E_NOT_FOUND; -BR_E_CORRUPT damaged, shorter than @tree_bytes, or another replica's; -BR_E_VERSION
 */
BR_MUST_CHECK int br_tree_file_open(struct br_ring *ring, const struct br_tree_file_name *name, uint64_t tree_bytes,
                                    bool read_only, struct br_tree_file **ret_file, struct br_err *reterr);
/** br_tree_file_close - waits for what is on its way; drops what was not synced from memory; NULL is fine */
void br_tree_file_close(struct br_tree_file *file);
/** br_tree_file_remove - unlink file @number; 0 also when it was not there; durable after br_dir_sync() */
BR_MUST_CHECK int br_tree_file_remove(struct br_dir *dir, const char *stem, uint64_t number, struct br_err *reterr);

/** br_tree_file_store - to read and write trees; valid while the file is open. Read only: keep fails with -BR_E_INTERNAL */
const struct br_tree_store *br_tree_file_store(const struct br_tree_file *file);
/** br_tree_file_secret - of the page hashes in it, BR_PAGE_SECRET_BYTES; valid while the file is open */
const uint8_t *br_tree_file_secret(const struct br_tree_file *file);
/** br_tree_file_number - N, for the identity's tree_file */
uint64_t br_tree_file_number(const struct br_tree_file *file);
/** br_tree_file_bytes - its length with all nodes kept so far, for the identity's tree_bytes */
uint64_t br_tree_file_bytes(const struct br_tree_file *file);
/**
 * br_tree_file_sync - all nodes kept before, and the file's name, are durable when it returns 0
 * After a failure, of this or of a write before, the file takes no more nodes: open it anew at its last recorded length.
 */
BR_MUST_CHECK int br_tree_file_sync(struct br_tree_file *file, struct br_err *reterr);

/** br_tree_file_live - bytes of the file that @tree needs, header included; reads all nodes but those of level 1 */
BR_MUST_CHECK int br_tree_file_live(struct br_tree_file *file, const struct br_tree *tree, uint64_t *ret_bytes,
                                    struct br_err *reterr);
/**
 * br_tree_file_compact - copy @tree, with its page hashes and their secret, to file N + 1, when that frees more than half of this file
 * @least_bytes  leave a file alone that is not longer than this; 0: 8 MiB
 * Returns 1 when it did: *ret_file is open and durable, *ret_tree is @tree there. The caller records both durably, closes this file and
 * removes it. Returns 0 when it is not worth it. Cost: O(live)
 */
BR_MUST_CHECK int br_tree_file_compact(struct br_tree_file *file, const struct br_tree *tree, uint64_t least_bytes,
                                       struct br_tree_file **ret_file, struct br_tree *ret_tree, struct br_err *reterr);

#endif
