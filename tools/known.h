// SPDX-License-Identifier: Apache-2.0
//
// What this host has synced where: STATE/known/HASH.json, one small file per source and replica, written after every run. `blkrep status`
// reads them; losing them costs the overview only.
#ifndef BR_TOOLS_KNOWN_H
#define BR_TOOLS_KNOWN_H

#include "tools/cli.h"

/**
 * known_record - note the outcome of a run; @facts is kept (its members are what status shows); takes the reference
 * The facts of the last good run survive a failed one: a failed run passes only what it knows.
 * Errors are for a warning: the run itself is over.
 */
BR_MUST_CHECK int known_record(struct cli *cli, const char *source, const char *replica, json_t *facts,
                               struct br_err *reterr);
/** known_record_failure - known_record() of a run that failed before it began; a pair that is not known yet stays so */
BR_MUST_CHECK int known_record_failure(struct cli *cli, const char *source, const char *replica, json_t *facts,
                                       struct br_err *reterr);
/** known_find - what is noted of one pair; NULL when nothing is; the caller's reference */
json_t *known_find(struct cli *cli, const char *source, const char *replica);
/** known_count - how many name @replica */
BR_MUST_CHECK int known_count(struct cli *cli, const char *replica, struct br_err *reterr);
/** known_forget - drop all that names @replica; returns how many */
BR_MUST_CHECK int known_forget(struct cli *cli, const char *replica, struct br_err *reterr);
/** known_list - a JSON array of all, sorted by source and replica; the caller's reference */
BR_MUST_CHECK int known_list(struct cli *cli, json_t **ret_list, struct br_err *reterr);

#endif
