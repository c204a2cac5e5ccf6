// SPDX-License-Identifier: Apache-2.0
//
// The audit trail: STATE/audit.ndjson, one line for every act that changes state or trust. Each line carries the SHA-256 of the line
// before it, so that a line changed, removed or slipped in later breaks the chain; the first carries zeros. `blkrep status --audit` checks.
//
//     {"seq":7,"time":"2026-11-24T03:05:00Z","uid":0,"pid":812,"verb":"sync","act":"commit","object":"/srv/a.img",...,"previous":"<hex>"}
#ifndef BR_TOOLS_AUDIT_H
#define BR_TOOLS_AUDIT_H

#include "tools/cli.h"

/**
 * audit_ready - make sure that a line can be written: the file is there and has room for one
 * Called before an act that must not happen unrecorded.
 * Errors: -BR_E_NO_SPACE and others name the file
 */
BR_MUST_CHECK int audit_ready(struct cli *cli, struct br_err *reterr);
/**
 * audit_append - add one line; takes the reference to @details (its members are put into the line), which may be NULL
 * @act     "commit", "refused", "pair", ...
 * @object  what it was done to
 * Durable when it returns 0. Writers of several processes take turns by a lock.
 */
BR_MUST_CHECK int audit_append(struct cli *cli, const char *act, const char *object, json_t *details,
                               struct br_err *reterr);
/**
 * audit_append_list - the same with @list, of short texts, as @key of @details; what is too long for a line begins in lines of its own before it
 * Takes both references.
 */
BR_MUST_CHECK int audit_append_list(struct cli *cli, const char *act, const char *object, const char *key, json_t *list,
                                    json_t *details, struct br_err *reterr);
/**
 * audit_check - walk the chain; returns the number of lines, or -BR_E_VERIFY naming the first line that breaks it
 * A last line without its end is what a crash left of a line that was never acknowledged: it doesn't count, and the next one replaces it.
 * Lines cut off from the end are not noticed by the chain alone.
 */
BR_MUST_CHECK int64_t audit_check(struct cli *cli, struct br_err *reterr);

#endif
