// SPDX-License-Identifier: Apache-2.0
//
// A recovery key and the page that it is printed on, for the verbs that make one: key add and init.
#ifndef BR_TOOLS_RECOVERY_H
#define BR_TOOLS_RECOVERY_H

#include "tools/repository.h"

/**
 * recovery_add - draw a recovery key and add it; the page goes to --sheet, or is printed, with the key as recovery_key in the exit object
 * @repository  open for writing, encrypted
 * @how         label and cost; the secret is drawn here
 * Errors: those of the sheet, of which nothing is added then; of the repository
 */
BR_MUST_CHECK int recovery_add(struct cli *cli, const struct repository *repository, const struct br_repo_new_key *how,
                               struct br_uuid *ret_id, struct br_err *reterr);

#endif
