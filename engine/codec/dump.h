// SPDX-License-Identifier: Apache-2.0
//
// Any binary format of blkrep as lines of text, for `blkrep dump FILE`, for tests, and for people who want to believe. The kind is told by
// the magic: a delta stream ("blkrep stream "), an identity file ("blkrepID", two slots), a tree file ("blkrtree"). What is damaged is
// said at its place: the lines up to there come first, then the error.
#ifndef BR_CODEC_DUMP_H
#define BR_CODEC_DUMP_H

#include "engine/base/bytes.h"
#include "engine/base/err.h"

struct br_dump;

/** br_dump_line_fn - takes one line without a line end, printable whatever the file holds; non-zero stops the dump and is returned */
typedef int br_dump_line_fn(void *ctx, const char *line);

/**
 * br_dump_open - begin a dump
 * @blocks  also a line for each block of DATA
 */
BR_MUST_CHECK int br_dump_open(br_dump_line_fn *line, void *ctx, bool blocks, struct br_dump **ret_dump,
                               struct br_err *reterr);
/**
 * br_dump_bytes - the file's next bytes, in pieces of any size
 * Errors: -BR_E_CORRUPT not a format of blkrep, or damaged; -BR_E_VERSION; what @line returned
 */
BR_MUST_CHECK int br_dump_bytes(struct br_dump *dump, const void *bytes, size_t len, struct br_err *reterr);
/** br_dump_finish - the file ended; -BR_E_TRUNCATED when it should not have */
BR_MUST_CHECK int br_dump_finish(struct br_dump *dump, struct br_err *reterr);
/** br_dump_close - NULL is fine */
void br_dump_close(struct br_dump *dump);

#endif
