// SPDX-License-Identifier: Apache-2.0
//
// Objects of a repository as lines of text, for `blkrep dump`: what is in clear, and what is sealed, opened and proven. Keys are never printed.
#ifndef BR_REPO_OBJECT_DUMP_H
#define BR_REPO_OBJECT_DUMP_H

#include "engine/codec/dump.h"
#include "engine/repo/repo.h"

/**
 * br_object_dump - one object
 * @chunks  of a pack also a line for each chunk
 * Errors: -BR_E_NOT_FOUND; -BR_E_CORRUPT, -BR_E_VERSION, after the lines of what could be read; what @line returned
 */
BR_MUST_CHECK int br_object_dump(struct br_repo *repo, const char *name, bool chunks, br_dump_line_fn *line, void *ctx,
                                 struct br_err *reterr);

#endif
