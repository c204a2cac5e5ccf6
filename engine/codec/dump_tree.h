// SPDX-License-Identifier: Apache-2.0
//
// The part of a dump that reads tree files (engine/track/tree_file.h has the format): header, then one line per node. Used by dump.c only.
#ifndef BR_CODEC_DUMP_TREE_H
#define BR_CODEC_DUMP_TREE_H

#include "engine/codec/dump.h"

#define BR_DUMP_TREE_MAGIC "blkrtree"

struct br_dump_tree;

/** br_dump_tree_open - a dump of a tree file; lines go to @line, whose non-zero answer ends it */
BR_MUST_CHECK int br_dump_tree_open(br_dump_line_fn *line, void *ctx, struct br_dump_tree **ret_tree,
                                    struct br_err *reterr);
/** br_dump_tree_close - NULL is fine */
void br_dump_tree_close(struct br_dump_tree *tree);
/**
 * br_dump_tree_bytes - the file's next bytes
 * Errors: -BR_E_CORRUPT -BR_E_VERSION the header; what @line returned. A record that is not whole and right ends the nodes and is no
 *         error: only the identity knows how much of the file belongs to a version.
 */
BR_MUST_CHECK int br_dump_tree_bytes(struct br_dump_tree *tree, const void *bytes, size_t len, struct br_err *reterr);
/** br_dump_tree_finish - the file ended; -BR_E_TRUNCATED within the header */
BR_MUST_CHECK int br_dump_tree_finish(struct br_dump_tree *tree, struct br_err *reterr);

#endif
