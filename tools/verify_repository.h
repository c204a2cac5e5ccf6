// SPDX-License-Identifier: Apache-2.0
//
// `blkrep verify` of a repository, and of one of its points.
#ifndef BR_TOOLS_VERIFY_REPOSITORY_H
#define BR_TOOLS_VERIFY_REPOSITORY_H

#include "tools/repository.h"

/** verify_repository - @repo, or the point @point of it when that is not ""; -BR_E_VERIFY something is missing or damaged */
BR_MUST_CHECK int verify_repository(struct cli *cli, const char *repo, const char *point, struct br_err *reterr);

#endif
